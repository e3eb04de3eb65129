//! The page Fleet: clusters as cards, and what was saved so far.

use super::ask::Ask;
use super::chart;
use super::csv::{self, Table};
use super::format::{Reader, carbon, count, money, number, percent, power, price, share};
use super::layout::{badge, empty};
use super::text::M;
use control::lease::Leader;
use control::{ClusterView, View};
use fleet::{Instant, SignalKind};
use ledger::summary::Summary;
use maud::{Markup, html};

/// Worst kind among the figures of a view's clusters.
pub fn worst(view: &View) -> Option<SignalKind> {
    let of = |c: &ClusterView| {
        let kinds = [&c.intensity_from, &c.forecast_from];
        kinds.into_iter().flatten().map(|from| from.kind).max()
    };
    view.clusters.iter().filter_map(of).max()
}

/// The page.
pub fn page(ask: &Ask, view: &View, summary: &Summary) -> Markup {
    let reader = ask.reader;
    if view.clusters.is_empty() {
        let commands = ["kubercarbon up", "kubercarbon up --context prod-a --context prod-b"];
        return empty(reader, M::EmptyFleet, M::EmptyFleetHow, &commands);
    }
    html! {
        h1.hidden { (reader.say(M::Fleet)) }
        (headline(reader, view, summary))
        div.cards { @for c in &view.clusters { (card(reader, view, c)) } }
        p.below { a href=(ask.with("format", Some("csv"))) { "CSV" } }
    }
}

/// `23% less than at once, at home`.
pub fn against(reader: Reader, saved: f64, baseline: f64) -> String {
    if saved == 0.0 || baseline <= 0.0 {
        return reader.say(M::SameAsBaseline).to_owned();
    }
    let message = if saved > 0.0 { M::OfBaseline } else { M::MoreThanBaseline };
    reader.lang.fill(message, &[&percent((saved / baseline).abs())])
}

/// Saved so far, with the baseline named.
pub fn headline(reader: Reader, view: &View, summary: &Summary) -> Markup {
    let line = &summary.total;
    let (saved, base) = (line.saved_carbon.as_grams_f64(), line.baseline.carbon.as_grams_f64());
    let (spared, cost) = (line.saved_cost.as_units_f64(), line.baseline.cost.as_units_f64());
    let due = line.in_time + line.late;
    let totals = &view.totals;
    html! {
        section.headline aria-label=(reader.say(M::Savings)) {
            div.figure.lead {
                h2 { (reader.say(M::SavedCarbon)) }
                p.big.more[saved < 0.0] { (carbon(line.saved_carbon)) " " small { "CO2e" } }
                p.note { @if line.jobs == 0 { (reader.say(M::Against)) } @else { (against(reader, saved, base)) } }
            }
            div.figure {
                h2 { (reader.say(M::SavedMoney)) }
                p.big { (money(spared, &view.currency)) }
                p.note { @if line.jobs == 0 { (reader.say(M::Against)) } @else { (against(reader, spared, cost)) } }
            }
            div.figure {
                h2 { (reader.say(M::JobsFinished)) }
                p.big { (count(line.jobs)) }
                p.note {
                    @if due == 0 { (reader.say(M::NoneWithDeadline)) }
                    @else { (reader.lang.fill(M::InTimeOf, &[&line.in_time.to_string(), &due.to_string()])) }
                }
            }
            div.figure {
                h2 { (reader.say(M::HeldAndRunning)) }
                p.big { (totals.held) " · " (totals.running) }
                p.note.bad[totals.late > 0] {
                    @if totals.late > 0 { (reader.lang.fill(M::LateCount, &[&totals.late.to_string()])) }
                    @else { (reader.say(M::NoneLate)) }
                }
                @if view.scarce { p.note { (reader.say(M::RoomScarce)) } }
            }
        }
    }
}

/// How much of what there is has been asked for, 0 to 1.
fn part(used: f64, whole: f64) -> f64 {
    if whole > 0.0 { (used / whole).clamp(0.0, 1.0) } else { 0.0 }
}

fn bar(reader: Reader, name: M, used: f64, whole: f64, unit: &str) -> Markup {
    let filled = part(used, whole);
    html! {
        div.load {
            span.name { (reader.say(name)) }
            span.value { b { (percent(filled)) } " " span.unit { (number(used)) " / " (number(whole)) " " (unit) } }
            svg.bar width="100%" height="6" aria-hidden="true" {
                rect.track width="100%" height="6" rx="3" {}
                rect.fill.full[filled > 0.9] width=(share(filled)) height="6" rx="3" {}
            }
        }
    }
}

fn card(reader: Reader, view: &View, c: &ClusterView) -> Markup {
    let id = c.facts.id.as_str();
    html! {
        article.card id={ "cluster-" (id) } aria-labelledby={ "name-" (id) } {
            header {
                h2 id={ "name-" (id) } { (id) }
                p.where {
                    (c.facts.region) " · " (c.facts.grid_zone)
                    @if let Some(name) = &c.zone_name { " " span.soft { (name) } }
                }
                @if let Some(silence) = &c.silence {
                    span.badge.bad title=(silence.why) {
                        (reader.lang.fill(M::UnknownSince, &[&reader.date_time(silence.since)]))
                    }
                } @else if !c.reachable { span.badge.bad { (reader.say(M::Unreachable)) } }
            }
            div.carbon {
                p.now {
                    @match c.intensity {
                        Some(now) => { span.big { (number(now.as_grams_f64())) } " gCO2e/kWh" }
                        None => { span.soft { (reader.say(M::NoSignal)) } }
                    }
                }
                p.soft { (reader.say(M::CarbonNow)) }
            }
            @if let Some(series) = &c.forecast { (chart::day(reader, &format!("curve-{id}"), series, view.at)) }
            div.loads {
                (bar(reader, M::Load, c.requested.cpu.as_cores_f64(), c.allocatable.cpu.as_cores_f64(), "vCPU"))
                (bar(reader, M::Memory, c.requested.memory.as_gib_f64(), c.allocatable.memory.as_gib_f64(), "GiB"))
            }
            dl.facts {
                div { dt { (reader.say(M::Power)) } dd { (power(c.power)) } }
                div title=(reader.say(M::PriceOf)) {
                    dt { (reader.say(M::Cost)) }
                    dd { (reader.lang.fill(M::PerHour, &[&price(c.price, &view.currency)])) }
                }
                div {
                    dt { (reader.say(M::HeldAndRunning)) }
                    dd { a href="/jobs" data-go { (c.held) " · " (c.running) } }
                }
                div { dt { (reader.say(M::Nodes)) } dd { (c.nodes.0) " / " (c.nodes.1) } }
            }
            (acts(reader, c))
            (sources(reader, view, c))
        }
    }
}

/// Who writes to the cluster, where several processes may.
fn acts(reader: Reader, c: &ClusterView) -> Markup {
    let since = c.leader_since.map(|at| reader.date_time(at)).unwrap_or_default();
    let led = |who: &str| reader.lang.fill(M::LedSince, &[who, &since]);
    html! {
        @if let Some(leader) = &c.leader {
            p.acts {
                span.soft { (reader.say(M::ActsHere)) } " "
                @match leader {
                    Leader::Us => { (led(reader.say(M::ThisProcess))) }
                    Leader::Other(who) => { (led(who)) }
                    Leader::Nobody(why) => {
                        span.bad { (reader.lang.fill(M::NobodySince, &[&since])) } ": " span.soft lang="en" { (why) }
                    }
                }
            }
        }
    }
}

/// Freshness, source and kind of the carbon figures.
fn sources(reader: Reader, view: &View, c: &ClusterView) -> Markup {
    html! {
        footer.sources {
            @if let Some(from) = &c.intensity_from {
                p {
                    (reader.say(M::Now)) " " (badge(reader, from.kind)) " "
                    span.age { (reader.age(from.as_of, view.at)) } " "
                    span.soft lang="en" { (from.source) }
                }
            }
            @if let Some(from) = c.forecast_from.as_ref().filter(|from| Some(*from) != c.intensity_from.as_ref()) {
                p {
                    (reader.say(M::Next24)) " " (badge(reader, from.kind)) " "
                    span.age { (reader.age(from.as_of, view.at)) } " "
                    @if c.intensity_from.as_ref().is_none_or(|now| now.source != from.source) {
                        span.soft lang="en" { (from.source) }
                    }
                }
            }
        }
    }
}

/// Who writes to the cluster: `this process`, another by its name, or `nobody`.
fn acting(c: &ClusterView) -> Option<&str> {
    c.leader.as_ref().map(|leader| match leader {
        Leader::Us => "this process",
        Leader::Other(who) => who.as_str(),
        Leader::Nobody(_) => "nobody",
    })
}

/// The clusters as a table.
pub fn table(view: &View) -> Table {
    let row = |c: &ClusterView| {
        vec![
            csv::text(&c.facts.id),
            csv::text(&c.facts.region),
            csv::text(&c.facts.grid_zone),
            csv::text(c.reachable),
            csv::Cell::Number(c.intensity.map(|i| i.as_grams_f64())),
            csv::maybe(c.intensity_from.as_ref().map(|p| &p.source)),
            csv::maybe(c.intensity_from.as_ref().map(|p| crate::api::model::word(&p.kind))),
            csv::number(c.requested.cpu.as_cores_f64()),
            csv::number(c.allocatable.cpu.as_cores_f64()),
            csv::number(c.requested.memory.as_gib_f64()),
            csv::number(c.allocatable.memory.as_gib_f64()),
            csv::number(c.power.as_watts_f64()),
            csv::number(c.price.as_units_f64()),
            csv::text(&view.currency),
            csv::number(c.held as f64),
            csv::number(c.running as f64),
            csv::maybe(acting(c)),
            csv::maybe(c.leader_since.map(Instant::to_rfc3339_seconds)),
        ]
    };
    Table {
        name: "clusters",
        head: &[
            "cluster",
            "region",
            "grid_zone",
            "reachable",
            "carbon_g_per_kwh",
            "carbon_source",
            "carbon_kind",
            "cpu_requested_cores",
            "cpu_allocatable_cores",
            "memory_requested_gib",
            "memory_allocatable_gib",
            "power_w",
            "price_per_hour",
            "currency",
            "jobs_held",
            "jobs_running",
            "acts",
            "acts_since",
        ],
        rows: view.clusters.iter().map(row).collect(),
    }
}
