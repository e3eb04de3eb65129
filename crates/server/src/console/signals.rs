//! The page Signals: each grid zone's carbon, where it comes from and how old it is.

use super::ask::Ask;
use super::chart::{self, Window};
use super::csv::{self, Table};
use super::format::{Reader, number};
use super::layout::{badge, empty};
use super::text::M;
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
pub fn page(ask: &Ask, view: &View) -> Markup {
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
