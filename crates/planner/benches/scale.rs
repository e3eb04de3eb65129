//! How long until there is a plan, and until it is proven to be within 1 % of the best, from 20 jobs to
//! 20,000; and how both grow with jobs, clusters and slots, one at a time.
//!
//! `cargo bench -p planner --bench scale [-- S M L XL jobs clusters slots]`. Figures, never pass or fail.
//! *First* is planning with no effort: every job has its place, and a bound at no prices. *5 %* and *1 %*
//! are the first runs within that of their bound, each run from nothing with twice the effort of the one
//! before; where one took longer than [`ENOUGH`] it is the last, and the gap is what it came to. Growth
//! is shown up to 5 %. Fleets are made up from a fixed recurrence: intensity falls by day and drifts with
//! the weather, a tenth of the jobs hold GPUs, and nodes are as many as keep cores and GPUs about
//! 40 % busy.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used)] // Fixtures shared with tests.

#[path = "../tests/fleets/mod.rs"]
mod fleets;
#[path = "../tests/fleets/large.rs"]
mod large;

use fleet::{PolicyKind, Snapshot};
use fleets::policy;
use large::fleet_of;
use planner::check;
use planner::placement::{Effort, Schedule, explain, plan};
use std::time::{Duration, Instant};

/// Shares of the bound within which a plan is near, and good enough.
const GAPS: [f64; 2] = [0.05, 0.01];
/// No run follows one that took this long; for the largest fleet, and for all others.
const ENOUGH: [Duration; 2] = [Duration::from_secs(12), Duration::from_secs(3)];
fn timed(s: &Snapshot, effort: u64) -> (Schedule, Duration) {
    let begin = Instant::now();
    let schedule = plan(s, &policy(PolicyKind::Optimal), None, Effort(effort));
    let taken = begin.elapsed();
    let broken = check::schedule(s, &schedule);
    assert!(broken.is_empty(), "{broken:?}");
    (schedule, taken)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One row, up to a gap; how long the first plan took, and the first within 5 %, in ms.
fn row(name: &str, (jobs, clusters, hours): (usize, usize, u64), until: f64) -> (f64, Option<f64>) {
    let s = fleet_of(jobs, clusters, hours);
    let (first, to_first) = timed(&s, 0);
    let gap = |schedule: &Schedule| schedule.gap().unwrap_or(1.0);
    let slots = hours as f64 / first.slot.as_hours_f64();
    let mut effort = (jobs as f64 * slots) as u64;
    let mut near = None;
    let (last, taken) = loop {
        let (last, taken) = timed(&s, effort);
        if gap(&last) <= GAPS[0] {
            near.get_or_insert(millis(taken));
        }
        if gap(&last) <= until || taken >= ENOUGH[usize::from(name != "XL")] {
            break (last, taken);
        }
        effort *= 2;
    };
    let begin = Instant::now();
    let why = explain(&s, &policy(PolicyKind::Optimal), &last, &s.workloads[jobs / 2].key, 5);
    println!(
        "{name:<8} {jobs:>6} jobs {clusters:>2} clusters {slots:>3.0} slots of {:>2.0} min: first {:>7.1} ms, gap {:>5.2} %; \
         5 % {:>7} ms; {} {:>7.1} ms, gap {:>5.2} %, {:>6.1} M evaluations, late {}; explain {:>5.1} ms ({} would save)",
        last.slot.as_hours_f64() * 60.0,
        millis(to_first),
        gap(&first) * 100.0,
        near.map_or_else(|| "-".to_owned(), |near| format!("{near:.1}")),
        if gap(&last) <= GAPS[1] { "1 %  " } else { "final" },
        millis(taken),
        gap(&last) * 100.0,
        last.effort as f64 / 1e6,
        last.late.len(),
        millis(begin.elapsed()),
        why.map_or(0, |why| why.would_save.len()),
    );
    (millis(to_first), near)
}

/// Rows that differ in one measure, each twice the one before.
fn growth(name: &str, cases: &[(usize, usize, u64)]) {
    let mut before: Option<(f64, Option<f64>)> = None;
    for case in cases {
        let now = row(name, *case, GAPS[0]);
        if let Some(before) = before {
            let near = before.1.zip(now.1).map_or_else(|| "-".to_owned(), |(a, b)| format!("{:.1}", b / a));
            println!("{name:<8} doubled: first x {:.1}, 5 % x {near}", now.0 / before.0);
        }
        before = Some(now);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|a| a == name);
    for (name, jobs, clusters, hours) in
        [("S", 20, 5, 48), ("M", 200, 8, 72), ("L", 2_000, 20, 168), ("XL", 20_000, 50, 168)]
    {
        if wanted(name) {
            row(name, (jobs, clusters, hours), GAPS[1]);
        }
    }
    let of = |make: &dyn Fn(usize) -> (usize, usize, u64)| [1, 2, 4, 8].map(make);
    for (name, cases) in [
        ("jobs", of(&|n| (100 * n, 8, 72))),
        ("clusters", of(&|n| (400, 4 * n, 72))),
        // Slots of a quarter of an hour up to 96 h.
        ("slots", of(&|n| (400, 8, 12 * n as u64))),
    ] {
        if wanted(name) {
            growth(name, &cases);
        }
    }
}
