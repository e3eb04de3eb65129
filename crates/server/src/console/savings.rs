//! The page Savings: against "at once, at home", over time, by cluster and namespace, line by line.

use super::ask::Ask;
use super::chart::{self, Window};
use super::csv::{self, Table};
use super::fleet as fleet_page;
use super::format::{Reader, carbon, count, money, percent, rough};
use super::jobs::{job_path, route};
use super::layout::{badge, empty, first_job, time};
use super::text::M;
use control::View;
use fleet::{GramsCo2, Instant, Span};
use ledger::Entry;
use ledger::summary::{Line, Summary};
use maud::{Markup, html};

/// Ledger lines on one page.
const ROWS: usize = 100;

/// Points of the curve, at most: more cannot be told apart on a screen.
const POINTS_MAX: usize = 800;

/// The page.
pub fn page(ask: &Ask, view: &View, entries: &[Entry], summary: &Summary) -> Markup {
    let reader = ask.reader;
    if entries.is_empty() {
        let commands = [&first_job(view), "kubercarbon report"];
        return empty(reader, M::EmptySavings, M::EmptySavingsHow, &commands);
    }
    let clusters: Vec<(String, Line)> = summary.clusters.iter().map(|(id, l)| (id.to_string(), *l)).collect();
    let namespaces: Vec<(String, Line)> =
        summary.namespaces.iter().map(|(n, l)| (n.to_string(), *l)).collect();
    html! {
        h1.hidden { (reader.say(M::Savings)) }
        (fleet_page::headline(reader, view, summary))
        (over_time(reader, entries, summary))
        div.columns {
            (groups(reader, view, M::ByCluster, M::Cluster, &clusters, &summary.total))
            (groups(reader, view, M::ByNamespace, M::Namespace, &namespaces, &summary.total))
        }
        (method(reader, summary))
        (lines(ask, view, entries))
    }
}

/// Saved grams so far after each finished Job, in order of time, thinned to [`POINTS_MAX`].
fn cumulative(entries: &[Entry]) -> Vec<(Instant, f64)> {
    let mut done: Vec<(Instant, GramsCo2)> = entries.iter().map(|e| (e.finished, e.saved_carbon())).collect();
    done.sort();
    let every = done.len().div_ceil(POINTS_MAX).max(1);
    let mut sum = GramsCo2::ZERO;
    let mut points = Vec::new();
    for (i, (at, saved)) in done.iter().enumerate() {
        sum += *saved;
        if (i + 1) % every == 0 || i + 1 == done.len() {
            points.push((*at, sum.as_grams_f64()));
        }
    }
    points
}

fn over_time(reader: Reader, entries: &[Entry], summary: &Summary) -> Markup {
    let points = cumulative(entries);
    let from = entries.iter().map(|e| e.created).min().unwrap_or(Instant::EPOCH);
    let to = points.last().map_or(from, |p| p.0).max(from + Span::HOUR);
    let window = Window { from, to };
    let total = carbon(summary.total.saved_carbon);
    let words = [total.clone(), reader.moment(from), reader.moment(to), entries.len().to_string()];
    let words = reader.lang.fill(M::SavedText, &[&words[0], &words[1], &words[2], &words[3]]);
    html! {
        section.block aria-labelledby="over-title" {
            header { h2 id="over-title" { (reader.say(M::SavedOverTime)) } p.soft { (total) " CO2e" } }
            (chart::rising("saved", &points, window, reader.say(M::SavedOverTime), &words))
            p.ends { span { (reader.moment(from)) } span { (reader.moment(to)) } }
        }
    }
}

fn figures(view: &View, line: &Line) -> Markup {
    let (saved, base) = (line.saved_carbon.as_grams_f64(), line.baseline.carbon.as_grams_f64());
    html! {
        td.number { (count(line.jobs)) }
        td.number { (carbon(line.actual.carbon)) }
        td.number { (carbon(line.saved_carbon)) }
        td.number { @if base > 0.0 { (percent(saved / base)) } @else { "–" } }
        td.number { (money(line.saved_cost.as_units_f64(), &view.currency)) }
    }
}

fn groups(reader: Reader, view: &View, title: M, name: M, rows: &[(String, Line)], total: &Line) -> Markup {
    html! {
        section.block {
            header { h2 { (reader.say(title)) } }
            div.table tabindex="0" role="group" aria-label=(reader.say(title)) {
                table {
                    thead {
                        tr {
                            th scope="col" { (reader.say(name)) }
                            th.number scope="col" { (reader.say(M::Jobs)) }
                            th.number scope="col" { (reader.say(M::Emitted)) }
                            th.number scope="col" { (reader.say(M::SavedCarbon)) }
                            th.number scope="col" { (reader.say(M::SavedPerCent)) }
                            th.number scope="col" { (reader.say(M::SavedMoney)) }
                        }
                    }
                    tbody { @for (name, line) in rows { tr { th scope="row" { (name) } (figures(view, line)) } } }
                    tfoot { tr { th scope="row" { (reader.say(M::Total)) } (figures(view, total)) } }
                }
            }
        }
    }
}

fn method(reader: Reader, summary: &Summary) -> Markup {
    html! {
        details.block.method id="method" {
            summary { (reader.say(M::Method)) }
            p { (reader.lang.fill(M::MethodBaseline, &[reader.say(M::AtOnceHome)])) }
            p lang="en" { (ledger::method(summary.total.counts_embodied())) "." }
            @if let Some(worst) = &summary.provenance {
                p { (reader.lang.fill(M::WorstSource, &[&worst.source, reader.kind(worst.kind)])) }
            }
        }
    }
}

fn lines(ask: &Ask, view: &View, entries: &[Entry]) -> Markup {
    let reader = ask.reader;
    let pages = entries.len().div_ceil(ROWS).max(1);
    let page = ask.get("page").and_then(|p| p.parse::<usize>().ok()).unwrap_or(1).clamp(1, pages);
    let shown: Vec<&Entry> = entries.iter().rev().skip((page - 1) * ROWS).take(ROWS).collect();
    let counts = [shown.len().to_string(), entries.len().to_string()];
    html! {
        section.block aria-labelledby="ledger-title" {
            header {
                h2 id="ledger-title" { (reader.say(M::Ledger)) }
                p.soft { (reader.lang.fill(M::ShownOf, &[&counts[0], &counts[1]])) }
                a.csv href=(ask.with("format", Some("csv"))) { "CSV" }
            }
            div.table tabindex="0" role="group" aria-labelledby="ledger-title" {
                table {
                    thead {
                        tr {
                            th scope="col" { (reader.say(M::Job)) }
                            th scope="col" { (reader.say(M::Ran)) }
                            th.number scope="col" { (reader.say(M::Finished)) }
                            th.number scope="col" { (reader.say(M::Wait)) }
                            th.number scope="col" { (reader.say(M::Energy)) }
                            th.number scope="col" { (reader.say(M::Emitted)) }
                            th.number scope="col" { (reader.say(M::Baseline)) }
                            th.number scope="col" { (reader.say(M::Saved)) }
                            th.number scope="col" { (reader.say(M::SavedMoney)) }
                            th scope="col" { (reader.say(M::Source)) }
                        }
                    }
                    tbody { @for entry in shown { (line(reader, view, entry)) } }
                }
            }
            @if pages > 1 {
                nav.pages {
                    @if page > 1 { a href=(ask.with("page", Some(&(page - 1).to_string()))) data-go { (reader.say(M::PreviousPage)) } }
                    @if page < pages { a href=(ask.with("page", Some(&(page + 1).to_string()))) data-go { (reader.say(M::NextPage)) } }
                }
            }
        }
    }
}

fn line(reader: Reader, view: &View, entry: &Entry) -> Markup {
    let here = entry.cluster();
    html! {
        tr id=(entry.id) {
            th scope="row" {
                a href=(job_path(&entry.job)) data-go { (entry.job.name) } " " span.soft { (entry.job.namespace) }
                @if !entry.succeeded { " " span.badge.bad { (reader.say(M::Failed)) } }
                @if entry.in_time() == Some(false) { " " span.badge.bad { (reader.say(M::Late)) } }
            }
            td { (route(&entry.job.cluster, Some(here))) }
            td.number { (time(reader, entry.finished)) }
            td.number { (rough(entry.wait())) }
            td.number { (entry.actual.energy) }
            td.number { (carbon(entry.actual.carbon)) }
            td.number { (carbon(entry.baseline.footprint.carbon)) }
            td.number { b { (carbon(entry.saved_carbon())) } }
            td.number { (money(entry.saved_cost().as_units_f64(), &view.currency)) }
            td { span title=(entry.provenance().source) { (badge(reader, entry.provenance().kind)) } }
        }
    }
}

/// The whole ledger as a table, oldest line first.
pub fn table(view: &View, entries: &[Entry]) -> Table {
    let when = |at: Instant| csv::text(at.to_rfc3339_seconds());
    let row = |e: &Entry| {
        vec![
            csv::text(&e.id),
            csv::text(&e.job.cluster),
            csv::text(&e.job.namespace),
            csv::text(&e.job.name),
            csv::text(e.cluster()),
            when(e.created),
            when(e.started),
            when(e.finished),
            csv::maybe(e.deadline.map(Instant::to_rfc3339_seconds)),
            csv::text(e.succeeded),
            csv::maybe(e.in_time()),
            csv::number(e.actual.energy.as_kwh_f64()),
            csv::number(e.actual.carbon.as_grams_f64()),
            csv::number(e.baseline.footprint.carbon.as_grams_f64()),
            csv::number(e.saved_carbon().as_grams_f64()),
            csv::number(e.actual.cost.as_units_f64()),
            csv::number(e.baseline.footprint.cost.as_units_f64()),
            csv::number(e.saved_cost().as_units_f64()),
            csv::text(&view.currency),
            csv::text(&e.baseline.what),
            csv::text(&e.provenance().source),
            csv::text(crate::api::model::word(&e.provenance().kind)),
            csv::text(&e.method),
        ]
    };
    Table {
        name: "ledger",
        head: &[
            "id",
            "home",
            "namespace",
            "name",
            "cluster",
            "created",
            "started",
            "finished",
            "deadline",
            "succeeded",
            "in_time",
            "energy_kwh",
            "carbon_gco2e",
            "baseline_gco2e",
            "saved_gco2e",
            "cost",
            "baseline_cost",
            "saved_cost",
            "currency",
            "baseline",
            "carbon_source",
            "carbon_kind",
            "method",
        ],
        rows: entries.iter().map(row).collect(),
    }
}
