//! `kubercarbon solve`: a placement problem from a file, its solution, and what both are worth.
//!
//! The planner counts work and never looks at a clock; this command does, between slices of work. An
//! answer is scored by the format's own rules before anything is written; one that breaks a rule is not
//! written at all.

use super::Fault;
use crate::format;
use crate::options::{Common, Destination, Solve};
use crate::table::{Align, Table};
use anyhow::Context;
use fleet::Span;
use fleet::quantity::significant;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use planner::instance::{
    Evaluation, Instance, Intensity, Solution, evaluate, greedy_fifo_min_carbon, qos_only,
};
use planner::placement;
use planner::placement::problem::Problem;
use serde::Serialize;
use server::wall::Stopwatch;
use std::io::Write;
use std::path::Path;

/// How long to search when nothing is said: long enough for a good plan of thousands of jobs.
const BUDGET: Span = Span::from_seconds(5);
/// Units of work between two looks at the clock at most: a few milliseconds.
const STRIDE: u64 = 100_000;

/// What a search does once its budget is gone, in passes over all jobs: it closes gaps and proves its bound. Measured on XL2
/// (2.7) and XL1 (1.2).
const CLOSING_PASSES: f64 = 3.0;
/// Largest part of the budget that is kept for it.
const CLOSING_MOST: f64 = 0.5;

/// What one plan is worth.
#[derive(Serialize)]
struct Row {
    plan: &'static str,
    in_time: usize,
    weight_in_time: f64,
    /// Scored with the intensity as it really will be.
    carbon_g: f64,
    carbon_run_g: f64,
    carbon_transfer_g: f64,
    carbon_resume_g: f64,
    /// The same plan scored with the forecast.
    carbon_forecast_g: f64,
    energy_kwh: f64,
    money: f64,
}

/// What is printed.
#[derive(Serialize)]
struct Summary {
    instance: String,
    jobs: usize,
    clusters: usize,
    slots: usize,
    weight: f64,
    /// Which intensity the plans were made with; bound and gap are about the same.
    planned_on: &'static str,
    plans: Vec<Row>,
    /// Of all plans with the same jobs in time.
    lower_bound_g: Option<f64>,
    gap_percent: Option<f64>,
    seconds: f64,
    work: u64,
    seed: u64,
}

pub fn run(common: &Common, options: &Solve) -> anyhow::Result<()> {
    let name = options.instance.display().to_string();
    let instance = read(&options.instance, &name)?;
    if !common.quiet {
        for place in &instance.ignored {
            eprintln!("warning: {name}: {place}: not a key of format placement-1, ignored");
        }
    }
    let to = match &common.output {
        Destination::File(path) => Some(path.as_path()),
        Destination::Print(_) => None,
    };
    if let Some(path) = to {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let there = folder.is_none_or(Path::is_dir);
        // Told before the search, not after it.
        anyhow::ensure!(there, "write {}: no such folder", path.display());
    }
    let watch = Stopwatch::start();
    let problem = instance.problem(options.intensity);
    let found = search(&problem, options, &watch, &progress(common.quiet, &instance.name));
    let solution = Solution::from_places(&instance, &found.places);
    let seconds = in_seconds(watch.elapsed());
    let row = score(&instance, "solve", &solution)?;
    let stdout = to.is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = to {
        write(path, &solution.to_json())?;
    }
    let planned = if options.intensity == Intensity::Actual { row.carbon_g } else { row.carbon_forecast_g };
    let bound = found.bound.map(|bound| bound.min(planned));
    let mut plans = vec![row];
    if options.compare {
        plans.push(score(&instance, "qos_only", &qos_only(&instance))?);
        let greedy = greedy_fifo_min_carbon(&instance, options.intensity);
        plans.push(score(&instance, "greedy_fifo_min_carbon", &greedy)?);
    }
    let gap = bound.map(|bound| if planned > 0.0 { (planned - bound) / planned * 100.0 } else { 0.0 });
    let summary = Summary {
        jobs: instance.jobs.len(),
        clusters: instance.clusters.len(),
        slots: instance.slots,
        weight: instance.jobs.iter().map(|job| job.priority).sum(),
        instance: instance.name,
        planned_on: options.intensity.as_str(),
        plans,
        lower_bound_g: bound,
        gap_percent: gap,
        seconds,
        work: found.work,
        seed: options.seed,
    };
    let output = options.format.unwrap_or(common.print());
    let text = format::shown(output, &summary, |wide| render(&summary, wide))?;
    if stdout {
        eprint!("{text}");
        return Ok(());
    }
    if to.is_none() && !common.quiet {
        eprintln!("the solution was not kept: -o FILE writes it");
    }
    format::print(&text)
}

fn read(path: &Path, name: &str) -> anyhow::Result<Instance> {
    let bytes = if path.as_os_str() == "-" {
        server::signals::bounded(name, std::io::stdin().lock())?
    } else {
        server::signals::read_bounded(path)?
    };
    let text = server::signals::plain(name, &bytes)?;
    Instance::parse(&text).map_err(|error| anyhow::anyhow!("{name}: {error}"))
}

/// Searches until the budget is gone or the work is done.
fn search(problem: &Problem, options: &Solve, watch: &Stopwatch, bar: &ProgressBar) -> placement::Solution {
    const SHARES: u64 = 10_000;
    let total = in_seconds(options.budget.unwrap_or(BUDGET));
    let closing = CLOSING_PASSES * placement::pass(problem) as f64;
    bar.set_length(SHARES);
    let mut share = |work: u64| {
        let share = match options.work {
            Some(most) => work as f64 / most.max(1) as f64,
            None => {
                let gone = in_seconds(watch.elapsed());
                // At the pace so far.
                let kept = closing * gone / work.max(1) as f64;
                gone / (total - kept.min(CLOSING_MOST * total))
            }
        };
        bar.set_position((share * SHARES as f64) as u64);
        share
    };
    let stride = options.work.map_or(STRIDE, |work| (work / 1000).clamp(1, STRIDE));
    let solution =
        placement::solve_within(problem, &[], options.seed, placement::Budget { share: &mut share, stride });
    bar.finish_and_clear();
    solution
}

fn in_seconds(span: Span) -> f64 {
    span.as_nanos() as f64 / 1e9
}

/// A bar on stderr, when that is a terminal.
fn progress(quiet: bool, name: &str) -> ProgressBar {
    let bar = ProgressBar::new(1);
    if quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = "{msg} [{bar:30}] {percent:>3} %  {elapsed} gone, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(name.to_owned());
    bar.tick();
    bar
}

/// What a plan is worth; a plan that breaks a rule is our fault.
fn score(instance: &Instance, plan: &'static str, solution: &Solution) -> anyhow::Result<Row> {
    let worth = |intensity| -> anyhow::Result<Evaluation> {
        evaluate(instance, solution, intensity).map_err(|violations| {
            let told: Vec<String> = violations.iter().map(|v| format!("\n  {v}")).collect();
            anyhow::Error::new(Fault)
                .context(format!("{plan}: breaks a rule, nothing is written:{}", told.concat()))
        })
    };
    let (actual, forecast) = (worth(Intensity::Actual)?, worth(Intensity::Forecast)?);
    Ok(Row {
        plan,
        in_time: actual.in_time,
        weight_in_time: actual.weight_in_time,
        carbon_g: actual.carbon_g(),
        carbon_run_g: actual.carbon_run_g,
        carbon_transfer_g: actual.carbon_transfer_g,
        carbon_resume_g: actual.carbon_resume_g,
        carbon_forecast_g: forecast.carbon_g(),
        energy_kwh: actual.energy_kwh,
        money: actual.money,
    })
}

/// Writes a file whole or not at all; `-` is stdout. What is no ordinary file is written to as it is.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let name = path.display();
    if path.as_os_str() == "-" {
        return format::print(text);
    }
    // A link stays a link: what it leads to is replaced.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if std::fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
        return std::fs::write(&path, text).with_context(|| format!("write {name}"));
    }
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}.new", std::process::id()));
    let written = std::fs::File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        // It may not even be there; the error that counts is the first.
        let _ = std::fs::remove_file(&beside);
    }
    written.with_context(|| format!("write {name}"))
}

fn render(summary: &Summary, wide: bool) -> String {
    let forecast = wide || summary.planned_on == Intensity::Forecast.as_str();
    let mut head = vec![
        ("PLAN", Align::Left),
        ("IN TIME", Align::Right),
        ("WEIGHT", Align::Right),
        ("kgCO2e ACTUAL", Align::Right),
    ];
    if forecast {
        head.push(("FORECAST", Align::Right));
    }
    head.extend([("kWh", Align::Right), ("MONEY", Align::Right)]);
    if wide {
        head.extend([("kgCO2e RUN", Align::Right), ("TRANSFER", Align::Right), ("RESUME", Align::Right)]);
    }
    let mut table = Table::new(&head);
    let kg = |grams: f64| significant(grams / 1000.0);
    for row in &summary.plans {
        let mut cells = vec![
            row.plan.to_owned(),
            format!("{} of {}", row.in_time, summary.jobs),
            format!("{} of {}", row.weight_in_time, summary.weight),
            kg(row.carbon_g),
        ];
        if forecast {
            cells.push(kg(row.carbon_forecast_g));
        }
        cells.extend([significant(row.energy_kwh), significant(row.money)]);
        if wide {
            cells.extend([row.carbon_run_g, row.carbon_transfer_g, row.carbon_resume_g].map(kg));
        }
        table.row(cells);
    }
    let Summary { instance, jobs, clusters, slots, planned_on, seconds, work, seed, .. } = summary;
    let bound = match (summary.lower_bound_g, summary.gap_percent) {
        (Some(bound), Some(gap)) => format!(
            "lower bound {} kgCO2e ({planned_on}, with the same jobs in time), gap {} %",
            kg(bound),
            significant(gap)
        ),
        _ => "no lower bound was found".to_owned(),
    };
    format!(
        "{instance}: {jobs} jobs, {clusters} clusters, {slots} slots; planned on {planned_on} intensity\n\n{}\n{bound}\n{} s, {work} units of work, seed {seed}\n",
        table.render(),
        significant(*seconds)
    )
}
