//! `kubercarbon simulate`: policies compared on a twin, as fast as it goes.

use crate::options::{Common, Simulate};
use crate::table::{Align, Table};
use crate::{format, progress, report};
use anyhow::Context;
use control::simulate::{self, Assumptions, Course, Row, Scenario, TraceJob, ZonePrices, ZoneSeries};
use fleet::quantity::significant;
use fleet::{FleetSpec, GridZone, Instant, Provenance, SignalKind, Span};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// History a forecast looks back on.
const HISTORY: Span = Span::from_seconds(14 * 86_400);
/// After the last arrival, signals go on for this long.
const AFTER: Span = Span::from_seconds(35 * 86_400);

#[derive(Serialize)]
struct Result {
    policies: Vec<Row>,
    assumptions: Vec<String>,
    /// How each policy went, in the same order, hour by hour.
    courses: Vec<Course>,
}

pub fn run(common: &Common, options: &Simulate) -> anyhow::Result<()> {
    let fleet = server::up::read_fleet(options.fleet.as_deref(), &fleet::Instances::default())?;
    // The command line has both where it has no scenario.
    let (Some(from), Some(jobs_file)) = (options.from, &options.jobs) else {
        anyhow::bail!("--from and --jobs: expected both, or a scenario file");
    };
    let to = from + Span::DAY.scaled(i64::from(options.days), 1);
    let mut notes = Vec::new();
    let carbon = zones(options, &fleet, from, to, &mut notes)?;
    let assumptions = Assumptions { interruptible_share: options.interruptible, ..Assumptions::default() };
    let bytes = server::signals::read_bounded(jobs_file)?;
    let trace = server::trace::read_trace(&jobs_file.display().to_string(), &bytes)?;
    let trace: Vec<TraceJob> =
        trace.jobs.iter().map(|j| TraceJob { arrival: j.arrival, length: j.length, cpus: j.cpus }).collect();
    let jobs = simulate::trace_jobs(&trace, &assumptions, &fleet, from, to, options.seed);
    anyhow::ensure!(
        !jobs.is_empty(),
        "{}: no Job arrives in the {} days from the start",
        jobs_file.display(),
        options.days
    );
    notes.extend(assumptions.describe());
    notes.extend(embodied_note(&fleet));
    let services = options.services.as_deref().map(|file| services(file, options)).transpose()?;
    let prices = options.prices.as_deref().map(prices).transpose()?.unwrap_or_default();
    let scenario = Scenario { fleet, carbon, services, prices, jobs, from, to, seed: options.seed };
    let (mut rows, mut courses) = (Vec::new(), Vec::new());
    let length = (scenario.to - scenario.from).as_seconds().max(1) as u64;
    for policy in &options.policy {
        let bar = progress::bar(common.quiet, policy.as_str(), length);
        let run = simulate::run(&scenario, *policy, &mut |at| {
            bar.set_position((at - scenario.from).as_seconds().max(0) as u64);
        });
        bar.finish_and_clear();
        if let Some(why) = run.refused.first() {
            anyhow::bail!("--services: {why}");
        }
        rows.push(run.row);
        courses.push(run.course);
    }
    if !common.quiet {
        for note in &notes {
            eprintln!("assumed: {note}");
        }
    }
    let result = Result { policies: rows, assumptions: notes, courses };
    if let Some(place) = &options.report {
        write_report(place, &page(&scenario, &result), common.quiet)?;
    }
    format::show(common.print(), &result, |wide| render(&result, wide))
}

/// What the fleet's nodes are taken to embody where nobody knows.
fn embodied_note(fleet: &FleetSpec) -> Option<String> {
    let unknown = fleet.embodied_unknown();
    let named = unknown.join(", ");
    (!unknown.is_empty()).then(|| format!("embodied carbon of {named} is unknown and counts as 0"))
}

/// What clusters run beside the Jobs.
fn services(file: &Path, options: &Simulate) -> anyhow::Result<server::scenario::Scenario> {
    let name = || file.display().to_string();
    let text = super::scenario::text(file)?;
    super::scenario::read(file, &text, &[], &Simulate { carbon: None, ..options.clone() }).with_context(name)
}

fn prices(file: &Path) -> anyhow::Result<BTreeMap<GridZone, ZonePrices>> {
    let bytes = server::signals::read_bounded(file)?;
    Ok(server::electricity::read_csv(&file.display().to_string(), &bytes)?)
}

fn page(scenario: &Scenario, result: &Result) -> report::Page {
    let mut carbon = Vec::new();
    for known in scenario.carbon.values() {
        let own = (known.from.source.clone(), known.from.kind);
        if !carbon.contains(&own) {
            carbon.push(own);
        }
    }
    let command = super::scenario::command();
    report::policies::page(&report::policies::Results {
        fleet: &scenario.fleet,
        from: scenario.from,
        rows: &result.policies,
        courses: &result.courses,
        assumptions: &result.assumptions,
        carbon: &carbon,
        prices: scenario.prices.values().next().map(|prices| prices.source.as_str()),
        command: &command,
    })
}

/// Writes a page, and says where.
pub fn write_report(place: &Path, page: &report::Page, quiet: bool) -> anyhow::Result<()> {
    let text = report::html(page);
    std::fs::write(place, &text).with_context(|| format!("write the report {}", place.display()))?;
    if !quiet {
        eprintln!("report: {} ({} KB)", place.display(), text.len().div_ceil(1000));
    }
    Ok(())
}

/// Intensity of every zone of the fleet, with history for the forecasts.
fn zones(
    options: &Simulate,
    fleet: &FleetSpec,
    from: Instant,
    to: Instant,
    notes: &mut Vec<String>,
) -> anyhow::Result<BTreeMap<GridZone, ZoneSeries>> {
    let file = options.carbon.as_deref().map(server::signals::read_carbon).transpose()?;
    let mut zones = BTreeMap::new();
    for cluster in &fleet.clusters {
        let zone = &cluster.grid_zone;
        if zones.contains_key(zone) {
            continue;
        }
        let known = match &file {
            Some(file) => {
                let place = || format!("carbon of cluster {}", cluster.id);
                file.series(zone, from, to).with_context(place)?;
                // History for the forecasts and hours after the last arrival, as far as the file reaches.
                let (first, last) = file.period(zone).unwrap_or((from, to));
                let known =
                    file.series(zone, first.max(from - HISTORY), last.min(to + AFTER)).with_context(place)?;
                notes.extend(known.filled.iter().map(|gap| format!("{gap}: held at the value before")));
                let from = Provenance { source: file.name.clone(), kind: SignalKind::Measured, as_of: to };
                ZoneSeries { series: known.series, from, periodic: false }
            }
            None => {
                let hours = usize::try_from((to + AFTER - (from - HISTORY)).as_seconds() / 3600).unwrap_or(0);
                let (series, from) = fleet::builtin::typical_year(zone, from - HISTORY, hours)
                    .with_context(|| format!("grid zone {zone} of cluster {} is not in the built-in typical year: expected --carbon FILE", cluster.id))?;
                notes.push(from.source.clone());
                ZoneSeries { series, from, periodic: true }
            }
        };
        zones.insert(zone.clone(), known);
    }
    Ok(zones)
}

fn render(result: &Result, wide: bool) -> String {
    let rows = &result.policies;
    let mut text = jobs(rows, wide);
    if rows.iter().any(|row| row.served.is_some()) {
        text.push('\n');
        text.push_str(&served(rows));
    }
    if wide {
        text.push('\n');
        text.push_str(&machines(result));
    }
    text
}

/// How the Services were under each policy.
fn served(rows: &[Row]) -> String {
    let right = Align::Right;
    let mut table = Table::new(&[
        ("SERVICES UNDER", Align::Left),
        ("REQUESTS", right),
        ("FAILED", right),
        ("P50 ms", right),
        ("P95 ms", right),
        ("P99 ms", right),
    ]);
    for row in rows {
        let Some(own) = &row.served else { continue };
        let millis = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), significant);
        let [p50, p95, p99] = [own.p50_milliseconds, own.p95_milliseconds, own.p99_milliseconds].map(millis);
        let policy = row.policy.as_str().to_owned();
        table.row(vec![policy, own.requests.to_string(), own.failed.to_string(), p50, p95, p99]);
    }
    table.render()
}

/// What all machines came to under each policy, until the last Job had finished: so many hours.
fn machines(result: &Result) -> String {
    let (rows, right) = (&result.policies, Align::Right);
    let priced = rows.iter().any(|row| row.electricity_usd.is_some());
    let mut head = vec![
        ("ALL MACHINES UNDER", Align::Left),
        ("HOURS", right),
        ("kWh", right),
        ("kgCO2e", right),
        ("USD", right),
    ];
    if priced {
        head.push(("ELECTRICITY USD", right));
    }
    let mut table = Table::new(&head);
    for (row, course) in rows.iter().zip(&result.courses) {
        let mut cells = vec![row.policy.as_str().to_owned(), course.arrived.len().to_string()];
        cells.extend([row.machines_kwh, row.machines_carbon_kg, row.machines_usd].map(significant));
        if priced {
            cells.push(row.electricity_usd.map_or_else(|| "-".to_owned(), significant));
        }
        table.row(cells);
    }
    table.render()
}

fn jobs(rows: &[Row], wide: bool) -> String {
    let mut head = vec![
        ("POLICY", Align::Left),
        ("JOBS", Align::Right),
        ("IN TIME", Align::Right),
        ("kgCO2e", Align::Right),
        ("USD", Align::Right),
        ("MEAN WAIT h", Align::Right),
        ("BUSY %", Align::Right),
    ];
    if wide {
        head.extend([("kWh", Align::Right), ("UNFINISHED", Align::Right), ("IDLE kgCO2e", Align::Right)]);
    }
    let embodied = wide && rows.iter().any(|row| row.embodied_kg > 0.0);
    if embodied {
        head.push(("EMBODIED kg", Align::Right));
    }
    let mut table = Table::new(&head);
    for row in rows {
        let mut cells = vec![
            row.policy.as_str().to_owned(),
            row.jobs.to_string(),
            row.in_time.to_string(),
            significant(row.carbon_kg),
            significant(row.cost_usd),
            significant(row.mean_wait_h),
            significant(row.busy_share * 100.0),
        ];
        if wide {
            cells.extend([
                significant(row.energy_kwh),
                row.unfinished.to_string(),
                significant(row.idle_carbon_kg),
            ]);
        }
        if embodied {
            cells.push(significant(row.embodied_kg));
        }
        table.row(cells);
    }
    table.render()
}
