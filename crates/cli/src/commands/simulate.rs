//! `kubercarbon simulate`: policies compared on a twin, as fast as it goes.

use crate::format;
use crate::options::{Common, Simulate};
use crate::table::{Align, Table};
use anyhow::Context;
use control::simulate::{self, Assumptions, Row, Scenario, TraceJob, ZoneSeries};
use fleet::quantity::significant;
use fleet::{FleetSpec, GridZone, Instant, Provenance, SignalKind, Span};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;

/// History a forecast looks back on.
const HISTORY: Span = Span::from_seconds(14 * 86_400);
/// After the last arrival, signals go on for this long.
const AFTER: Span = Span::from_seconds(35 * 86_400);

#[derive(Serialize)]
struct Result {
    policies: Vec<Row>,
    assumptions: Vec<String>,
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
    let scenario = Scenario { fleet, carbon, jobs, from, to, seed: options.seed };
    let mut rows = Vec::new();
    for policy in &options.policy {
        let bar = progress(common.quiet, policy.as_str(), &scenario);
        let (row, _) = simulate::run(&scenario, *policy, &mut |at| {
            bar.set_position((at - scenario.from).as_seconds().max(0) as u64);
        });
        bar.finish_and_clear();
        rows.push(row);
    }
    if !common.quiet {
        for note in &notes {
            eprintln!("assumed: {note}");
        }
    }
    let result = Result { policies: rows, assumptions: notes };
    format::show(common.print(), &result, |wide| render(&result.policies, wide))
}

/// What the fleet's nodes are taken to embody where nobody knows.
fn embodied_note(fleet: &FleetSpec) -> Option<String> {
    let unknown = fleet.embodied_unknown();
    let named = unknown.join(", ");
    (!unknown.is_empty()).then(|| format!("embodied carbon of {named} is unknown and counts as 0"))
}

/// A bar on stderr, when that is a terminal.
fn progress(quiet: bool, policy: &str, scenario: &Scenario) -> ProgressBar {
    let length = (scenario.to - scenario.from).as_seconds().max(1) as u64;
    let bar = ProgressBar::new(length);
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = "{msg:>8} [{bar:30}] {percent:>3} %  {elapsed} gone, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(policy.to_owned());
    bar
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

fn render(rows: &[Row], wide: bool) -> String {
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
