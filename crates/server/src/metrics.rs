//! `/metrics`: what the product knows, for Prometheus (text format 0.0.4).
//!
//! Invariants: units stand in the names; label values come from clusters, their namespaces (the [`NAMESPACES_MAX`] dearest, the
//! rest as one), grid zones and fixed words, so that their number is bounded; a series stands once. Counters count
//! since this process first saw a cluster, and begin anew with it; the ledger and `/api/v1/accounts` keep what was before.
//! docs/metrics.md lists every family.

use crate::backend::{Backend, SharedBackend};
use crate::problem::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use control::{ClusterView, JobPhase, TopOf, View};
use fleet::{Instant, Provenance};
use http::header;
use ledger::Footprint;
use ledger::accounts::{By, Part};
use ledger::meter::Rate;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Namespaces with series of their own.
const NAMESPACES_MAX: usize = 50;
/// Media type of the format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family is.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

/// A label's value within quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Labels of a sample.
type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Text {
    /// A family with its samples; one without any is left out.
    fn family<'a>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        let mut lines = String::new();
        for (labels, value) in samples {
            let pairs: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let set = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "kubercarbon_{name}{set} {value}");
        }
        if lines.is_empty() {
            return;
        }
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.0, "# HELP kubercarbon_{name} {help}\n# TYPE kubercarbon_{name} {kind}\n{lines}");
    }
}

const PARTS: [&str; 3] = ["idle", "managed", "other"];

fn rates(c: &ClusterView) -> [Rate; 3] {
    [c.draw.idle, c.draw.managed, c.draw.other]
}

/// One sample a cluster and part.
fn parts<'a>(view: &'a View, value: impl Fn(&ClusterView) -> Option<[f64; 3]>) -> Vec<(Labels<'a>, f64)> {
    let mut samples = Vec::new();
    for c in &view.clusters {
        for (part, value) in PARTS.into_iter().zip(value(c).into_iter().flatten()) {
            samples.push((vec![("cluster", c.facts.id.as_str()), ("part", part)], value));
        }
    }
    samples
}

fn each<'a>(view: &'a View, value: impl Fn(&ClusterView) -> Option<f64>) -> Vec<(Labels<'a>, f64)> {
    let sample = |c: &'a ClusterView| Some((vec![("cluster", c.facts.id.as_str())], value(c)?));
    view.clusters.iter().filter_map(sample).collect()
}

fn clusters(text: &mut Text, view: &View) {
    use Kind::{Counter, Gauge};
    text.family("cluster_reachable", Gauge, "Whether the cluster's API answers and has been listed.", {
        each(view, |c| Some(f64::from(u8::from(c.reachable))))
    });
    text.family(
        "cluster_nodes_ready",
        Gauge,
        "Nodes that are ready.",
        each(view, |c| Some(c.nodes.0 as f64)),
    );
    text.family("cluster_nodes", Gauge, "Nodes.", each(view, |c| Some(c.nodes.1 as f64)));
    let power = |c: &ClusterView| Some(rates(c).map(|rate| rate.power.as_watts_f64()));
    text.family("power_watts", Gauge, "Power drawn now, PUE included.", parts(view, power));
    let price = |c: &ClusterView| Some(rates(c).map(|rate| rate.price.as_units_f64()));
    text.family(
        "cost_per_hour",
        Gauge,
        "Money spent now, in the fleet's currency an hour.",
        parts(view, price),
    );
    let total = |of: fn(Footprint) -> f64| {
        move |c: &ClusterView| c.totals.map(|t| [t.idle, t.managed, t.other].map(of))
    };
    let energy = total(|f| f.energy.as_kwh_f64());
    text.family(
        "energy_kwh_total",
        Counter,
        "Energy since this process first saw the cluster.",
        parts(view, energy),
    );
    let carbon = total(|f| f.carbon.as_grams_f64());
    let help = "Emissions of that energy in grams of CO2 equivalent; embodied ones are not in it.";
    text.family("carbon_grams_total", Counter, help, parts(view, carbon));
    let cost = total(|f| f.cost.as_units_f64());
    text.family("cost_total", Counter, "Money since then, in the fleet's currency.", parts(view, cost));
    let help = "Carbon intensity of the cluster's grid zone now.";
    text.family(
        "carbon_intensity_grams_per_kwh",
        Gauge,
        help,
        each(view, |c| Some(c.intensity?.as_grams_f64())),
    );
}

/// CPU and memory: what there is, what is requested, used, and of that measured.
fn amounts(text: &mut Text, view: &View) {
    let mut cores: Vec<(Labels<'_>, f64)> = Vec::new();
    let mut bytes: Vec<(Labels<'_>, f64)> = Vec::new();
    for c in &view.clusters {
        let (busy, idle) = (c.draw.busy(), c.draw.idle);
        let mut sample = |kind: &'static str, cpu: Option<fleet::Cpu>, memory: Option<fleet::Bytes>| {
            let labels = || vec![("cluster", c.facts.id.as_str()), ("kind", kind)];
            cores.extend(cpu.map(|cpu| (labels(), cpu.as_cores_f64())));
            bytes.extend(memory.map(|memory| (labels(), memory.as_bytes() as f64)));
        };
        let memory = busy.memory_requested + idle.memory_requested;
        sample("capacity", Some(busy.cpu_requested + idle.cpu_requested), Some(memory));
        sample("requested", Some(busy.cpu_requested), Some(busy.memory_requested));
        sample("used", Some(busy.cpu_used), Some(busy.memory_used));
        sample("measured", Some(busy.cpu_measured), None);
    }
    let help =
        "CPU by kind; used is measured, else what running pods request, and measured is what of it was.";
    text.family("cpu_cores", Kind::Gauge, help, cores);
    text.family("memory_bytes", Kind::Gauge, "Memory by kind, as for CPU.", bytes);
}

fn namespaces(text: &mut Text, backend: &dyn Backend) {
    let top = backend.top(&TopOf::By(By::Namespace));
    let mut all: BTreeMap<String, [f64; 3]> = BTreeMap::new();
    let mut named = 0;
    // Rows come dearest first.
    for row in &top.rows {
        let name = match &row.part {
            Part::Named { name, .. } if named < NAMESPACES_MAX => {
                named += 1;
                name.clone()
            }
            Part::Shared => "(shared)".to_owned(),
            Part::Idle => "(idle)".to_owned(),
            _ => "(other)".to_owned(),
        };
        let values = [
            row.rate.power.as_watts_f64(),
            row.rate.price.as_units_f64(),
            row.carbon_per_hour.as_grams_f64(),
        ];
        let sums = all.entry(name).or_default();
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    for (i, (name, help)) in [
        (
            "namespace_power_watts",
            "Power of the namespace's pods now, over all clusters; idle and shared apart.",
        ),
        ("namespace_cost_per_hour", "Money of the namespace's pods now, in the fleet's currency an hour."),
        (
            "namespace_carbon_grams_per_hour",
            "Emissions of the namespace's pods at the present power and intensity.",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let samples = all.iter().map(|(name, values)| (vec![("namespace", name.as_str())], values[i]));
        text.family(name, Kind::Gauge, help, samples);
    }
}

const PHASES: [(JobPhase, &str); 7] = [
    (JobPhase::Held, "held"),
    (JobPhase::Starting, "starting"),
    (JobPhase::Running, "running"),
    (JobPhase::Paused, "paused"),
    (JobPhase::Succeeded, "succeeded"),
    (JobPhase::Failed, "failed"),
    (JobPhase::Deleting, "deleting"),
];

fn jobs(text: &mut Text, view: &View, entries: &[ledger::Entry]) {
    use Kind::Gauge;
    let counted = PHASES.map(|(phase, word)| {
        (vec![("phase", word)], view.jobs.iter().filter(|job| job.phase == phase).count() as f64)
    });
    text.family("jobs", Gauge, "Jobs under placement that are listed, by phase.", counted);
    let one = |value: f64| [(Vec::new(), value)];
    text.family("jobs_late", Gauge, "Open Jobs that will not be in time.", one(view.totals.late as f64));
    let total = ledger::summary::summarize(entries).total;
    let failed = total.jobs - total.succeeded;
    let results = [("succeeded", total.succeeded), ("failed", failed)];
    let results = results.map(|(word, count)| (vec![("result", word)], count as f64));
    text.family("finished_jobs_total", Kind::Counter, "Jobs in the ledger.", results);
    let in_time =
        [("yes", total.in_time), ("no", total.late)].map(|(word, n)| (vec![("in_time", word)], n as f64));
    text.family("finished_jobs_with_deadline_total", Kind::Counter, "Of those with a deadline.", in_time);
    let help = "Saved against the same run at once, at home, in grams of CO2 equivalent; corrected as carbon comes to be known.";
    text.family("saved_carbon_grams", Gauge, help, one(total.saved_carbon.as_grams_f64()));
    let help = "Money saved against the same run at once, at home, in the fleet's currency.";
    text.family("saved_cost", Gauge, help, one(total.saved_cost.as_units_f64()));
}

fn signals(text: &mut Text, view: &View) {
    let age = |from: &Provenance, at: Instant| (at - from.as_of).as_seconds() as f64;
    let mut zones: BTreeMap<(&str, &str, &str), f64> = BTreeMap::new();
    for c in &view.clusters {
        for (signal, from) in [("actual", &c.intensity_from), ("forecast", &c.forecast_from)] {
            let Some(from) = from else { continue };
            let kind = match from.kind {
                fleet::SignalKind::Measured => "measured",
                fleet::SignalKind::Forecast => "forecast",
                fleet::SignalKind::Estimated => "estimated",
                fleet::SignalKind::Assumed => "assumed",
            };
            zones.insert((c.facts.grid_zone.as_str(), signal, kind), age(from, view.at));
        }
    }
    let samples = zones.iter().map(|((zone, signal, kind), age)| {
        (vec![("zone", *zone), ("signal", *signal), ("kind", *kind)], *age)
    });
    text.family("signal_age_seconds", Kind::Gauge, "Age of the carbon signal on the fleet's clock.", samples);
}

fn work(text: &mut Text, backend: &dyn Backend, view: &View) {
    use Kind::{Counter, Gauge};
    let one = |value: f64| [(Vec::new(), value)];
    let work = backend.work();
    text.family("events_total", Counter, "Events the loop has handled.", one(work.events as f64));
    text.family("steps_total", Counter, "Steps the loop has taken.", one(work.steps as f64));
    text.family("step_seconds_total", Counter, "Wall time of those steps.", one(work.step_seconds));
    text.family("plans_total", Counter, "Plans made.", one(work.plans as f64));
    let help = "Wall time of the step that made the last plan.";
    text.family("plan_seconds", Gauge, help, work.plan_seconds.map(|seconds| (Vec::new(), seconds)));
    let age = view.planned_at.map(|at| (Vec::new(), (view.at - at).as_seconds() as f64));
    text.family("plan_age_seconds", Gauge, "Age of the schedule in force on the fleet's clock.", age);
    let gap = view.planned_carbon.and_then(|(_, gap)| gap).map(|gap| (Vec::new(), gap));
    let help = "By which share of what it minimises the schedule can be above the least possible at most.";
    text.family("plan_gap_ratio", Gauge, help, gap);
    text.family("room_is_scarce", Gauge, "Whether no Job waits for cleaner hours.", {
        one(f64::from(u8::from(view.scarce)))
    });
    let version = vec![("version", env!("CARGO_PKG_VERSION")), ("currency", view.currency.as_str())];
    text.family(
        "build_info",
        Gauge,
        "The version that runs, and the currency of all money.",
        [(version, 1.0)],
    );
}

/// The whole text.
fn exposition(backend: &dyn Backend, entries: &[ledger::Entry]) -> String {
    let (mut text, view) = (Text::default(), backend.view());
    work(&mut text, backend, &view);
    clusters(&mut text, &view);
    amounts(&mut text, &view);
    namespaces(&mut text, backend);
    jobs(&mut text, &view, entries);
    signals(&mut text, &view);
    text.0
}

/// `GET /metrics`.
pub async fn serve(State(backend): State<SharedBackend>) -> Result<Response, Problem> {
    let entries = backend.ledger().await.map_err(|e| Problem::internal("read the ledger", &e))?;
    let text = exposition(backend.as_ref(), &entries);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut text = Text::default();
        text.family("x", Kind::Gauge, "a\\b\nc", [(vec![("k", "a\"b\\c\nd")], 1.5)]);
        text.family("empty", Kind::Counter, "none", []);
        assert_eq!(
            text.0,
            "# HELP kubercarbon_x a\\\\b\\nc\n# TYPE kubercarbon_x gauge\nkubercarbon_x{k=\"a\\\"b\\\\c\\nd\"} 1.5\n"
        );
    }
}
