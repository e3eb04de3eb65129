//! The page Signals: each grid zone's carbon, where it comes from and how old it is; below, every source of the zone, why
//! no better one is used, whether it is asked, and how far off forecasts were.

use super::ask::Ask;
use super::chart::{self, Window};
use super::csv::{self, Table};
use super::format::{Reader, number};
use super::layout::{badge, empty};
use super::text::M;
use crate::signals::errors::{ForecastError, LEADS};
use crate::signals::{Basis, SourceState, Sources};
use control::{ClusterView, View};
use fleet::{GridZone, Provenance, Span};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// A zone: the first cluster in it (all share its signal), and the names of all.
fn zones(view: &View) -> BTreeMap<&GridZone, (&ClusterView, Vec<&str>)> {
    let mut zones: BTreeMap<&GridZone, (&ClusterView, Vec<&str>)> = BTreeMap::new();
    for c in view.clusters.iter().filter(|c| c.intensity.is_some() || c.forecast.is_some()) {
        zones.entry(&c.facts.grid_zone).or_insert((c, Vec::new())).1.push(c.facts.id.as_str());
    }
    zones
}

/// The page.
pub fn page(ask: &Ask, view: &View, sources: &Sources) -> Markup {
    let reader = ask.reader;
    let zones = zones(view);
    if zones.is_empty() {
        return empty(
            reader,
            M::EmptySignals,
            M::EmptySignalsHow,
            &["kubercarbon up", "kubercarbon signals"],
        );
    }
    html! {
        h1.hidden { (reader.say(M::Signals)) }
        section.block {
            header {
                h2 { (reader.say(M::Signals)) }
                a.csv href=(ask.with("format", Some("csv"))) { "CSV" }
            }
            div.table tabindex="0" role="group" aria-label=(reader.say(M::Signals)) {
                table {
                    thead {
                        tr {
                            th scope="col" { (reader.say(M::Zone)) }
                            th scope="col" { (reader.say(M::Feeds)) }
                            th.number scope="col" { (reader.say(M::NowUnit)) }
                            th.number scope="col" { (reader.say(M::RangeUnit)) }
                            th scope="col" { (reader.say(M::Now)) }
                            th scope="col" { (reader.say(M::Forecast)) }
                        }
                    }
                    tbody {
                        @for (zone, (c, clusters)) in &zones {
                            tr {
                                th scope="row" { (zone) @if let Some(name) = &c.zone_name { " " span.soft { (name) } } }
                                td { (clusters.join(", ")) }
                                td.number { @if let Some(now) = c.intensity { b { (number(now.as_grams_f64())) } } @else { "–" } }
                                td.number { (range(view, c)) }
                                td.source { (source(reader, view, c.intensity_from.as_ref())) }
                                td.source { (source(reader, view, c.forecast_from.as_ref())) }
                            }
                        }
                    }
                }
            }
        }
        (chain(ask, view, sources))
        div.cards {
            @for (zone, (c, _)) in &zones {
                @if let Some(series) = &c.forecast {
                    article.card {
                        header { h2 { (zone) } @if let Some(name) = &c.zone_name { p.where { (name) } } }
                        (chart::day(reader, &format!("zone-{zone}"), series, view.at))
                    }
                }
            }
        }
    }
}

/// Every source of every zone.
fn chain(ask: &Ask, view: &View, sources: &Sources) -> Markup {
    let reader = ask.reader;
    let shown: Vec<_> = sources.iter().filter(|(_, states)| !states.is_empty()).collect();
    if shown.is_empty() {
        return html! {};
    }
    html! {
        section.block {
            header {
                h2 { (reader.say(M::SourcesHead)) }
                a.csv href=(format!("{}&table=sources", ask.with("format", Some("csv")))) { "CSV" }
            }
            div.table tabindex="0" role="group" aria-label=(reader.say(M::SourcesHead)) {
                table.chain {
                    thead {
                        tr {
                            th scope="col" { (reader.say(M::Zone)) }
                            th scope="col" { (reader.say(M::Source)) }
                            th scope="col" { (reader.say(M::StateHead)) }
                            th scope="col" { (reader.say(M::BasisHead)) }
                            th scope="col" { (reader.say(M::LastFigure)) }
                            @for lead in LEADS {
                                th.number scope="col" { (reader.lang.fill(M::ErrorHead, &[&lead.to_string()])) }
                            }
                            th scope="col" { (reader.say(M::WhyNotUsed)) }
                        }
                    }
                    tbody {
                        @for (zone, states) in &shown {
                            @for state in *states { (row(reader, view, zone, state)) }
                        }
                    }
                }
            }
            p.soft { (reader.say(M::ErrorWhat)) }
        }
    }
}

fn row(reader: Reader, view: &View, zone: &GridZone, state: &SourceState) -> Markup {
    let (used, alone) = (state.used, state.standing.rests_until);
    let basis = match state.basis {
        Basis::Average => M::Average,
        Basis::Marginal => M::Marginal,
    };
    html! {
        tr {
            th scope="row" { (zone) }
            td { span lang="en" { (state.source) } }
            td {
                @if used { b { (reader.say(M::SourceUsed)) } } @else { (reader.say(M::SourceUnused)) }
                @if let Some(until) = alone {
                    br; span.soft { (reader.lang.fill(M::LeftAlone, &[&reader.moment(until)])) }
                } @else if let Some(again) = state.standing.again {
                    br; span.soft { (reader.lang.fill(M::AskedAgain, &[&reader.moment(again)])) }
                }
            }
            td { (reader.say(basis)) }
            td { @if let Some(at) = state.as_of { (reader.age(at, view.at)) } @else { "–" } }
            @for lead in LEADS { td.number { (error(reader, &state.errors, lead)) } }
            td.source { @if let Some(why) = &state.why { span.soft lang="en" { (why) } } @else { "–" } }
        }
    }
}

/// The measured errors so many hours ahead: of the source's own forecasts, and of those learnt from its past.
fn error(reader: Reader, errors: &[ForecastError], lead: i64) -> Markup {
    let of_lead: Vec<&ForecastError> = errors.iter().filter(|error| error.lead_hours == lead).collect();
    html! {
        @if of_lead.is_empty() { "–" }
        @for (i, error) in of_lead.iter().enumerate() {
            @if i > 0 { br; }
            span title=(reader.lang.fill(M::OverHours, &[&error.hours.to_string()])) {
                (number(error.mape_percent)) " "
                span.soft { (reader.say(if error.own { M::ErrorOwn } else { M::ErrorLearnt })) }
            }
        }
    }
}

fn range(view: &View, c: &ClusterView) -> String {
    let Some(series) = &c.forecast else { return "–".to_owned() };
    let e = chart::extremes(series, Window { from: view.at, to: view.at + Span::DAY });
    format!("{} – {}", number(e.least.1), number(e.most.1))
}

fn source(reader: Reader, view: &View, from: Option<&Provenance>) -> Markup {
    html! {
        @match from {
            Some(from) => {
                (badge(reader, from.kind)) " " (reader.age(from.as_of, view.at)) br;
                span.soft lang="en" { (from.source) }
            }
            None => "–"
        }
    }
}

/// The forecasts as a table, one row an hour and zone.
pub fn table(view: &View) -> Table {
    let mut rows = Vec::new();
    for (zone, (c, _)) in zones(view) {
        let from = c.forecast_from.as_ref();
        let Some(series) = &c.forecast else { continue };
        let mut at = series.start();
        for value in series.values() {
            rows.push(vec![
                csv::text(zone),
                csv::text(at.to_rfc3339_seconds()),
                csv::number(value.as_grams_f64()),
                csv::maybe(from.map(|p| crate::api::model::word(&p.kind))),
                csv::maybe(from.map(|p| &p.source)),
                csv::maybe(from.map(|p| p.as_of.to_rfc3339_seconds())),
            ]);
            at += series.step();
        }
    }
    Table { name: "signals", head: &["zone", "time_utc", "gco2e_per_kwh", "kind", "source", "as_of"], rows }
}

/// Every source of every zone as a table, one row a source and forecast error, or a source where none is known.
pub fn sources_table(sources: &Sources) -> Table {
    let mut rows = Vec::new();
    for (zone, states) in sources {
        for state in states {
            let time = |at: Option<fleet::Instant>| csv::maybe(at.map(fleet::Instant::to_rfc3339_seconds));
            let row = |error: Option<&ForecastError>| {
                vec![
                    csv::text(zone),
                    csv::text(&state.source),
                    csv::text(if state.used { "true" } else { "false" }),
                    csv::text(state.basis),
                    time(state.as_of),
                    time(state.standing.again),
                    time(state.standing.rests_until),
                    csv::maybe(error.map(|e| if e.own { "own" } else { "learnt" })),
                    csv::Cell::Number(error.map(|e| e.lead_hours as f64)),
                    csv::Cell::Number(error.map(|e| e.mape_percent)),
                    csv::Cell::Number(error.map(|e| e.hours as f64)),
                    csv::maybe(state.why.as_deref()),
                ]
            };
            match state.errors.is_empty() {
                true => rows.push(row(None)),
                false => rows.extend(state.errors.iter().map(|error| row(Some(error)))),
            }
        }
    }
    let head = &[
        "zone",
        "source",
        "used",
        "counts",
        "last_figure_utc",
        "asked_again_utc",
        "left_alone_until_utc",
        "forecast_by",
        "lead_hours",
        "mape_percent",
        "hours",
        "why",
    ];
    Table { name: "sources", head, rows }
}
