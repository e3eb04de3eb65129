//! How fast and how well placement plans: jobs, clusters, slots, milliseconds, jobs/s, gap to the bound.
//!
//! Figures, never pass or fail. The fleet is made up: hourly intensities with a solar dip and weather
//! from a fixed recurrence, clusters loaded to about half over two days.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used)] // Fixtures shared with tests.

#[path = "../tests/fleets/mod.rs"]
mod fleets;

use fleet::{PolicyKind, Snapshot, Span, Workload};
use fleets::{at, cluster, due, job, policy, snapshot};
use planner::check;
use planner::placement::{Effort, Schedule, explain, plan};
use std::time::Instant;

/// A fixed linear recurrence: the same figures on every machine.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn intensity(i: usize, hours: usize, draws: &mut Draws) -> Vec<f64> {
    let base = [380.0, 190.0, 520.0, 450.0, 300.0, 420.0][i];
    let mut weather = 0.0;
    (0..hours)
        .map(|h| {
            weather = 0.95 * weather + draws.below(41) as f64 - 20.0;
            let sun = if (8..17).contains(&((h + 4 * i) % 24)) { base * 0.3 } else { 0.0 };
            (base - sun + weather).max(5.0)
        })
        .collect()
}

fn fleet_of(jobs: usize, nodes: i64, hours: i64, pausing: bool) -> Snapshot {
    let mut draws = Draws(7);
    let clusters = (0..6).map(|i| cluster(i, nodes, &intensity(i, 24 * 15, &mut draws))).collect();
    let made: Vec<Workload> = (0..jobs)
        .map(|i| {
            let length = 0.25 * (1 + draws.below(24)) as f64;
            let mut w =
                job(&format!("job-{i:05}"), draws.below(6) as usize, length, (1 + draws.below(7)) as f64);
            w.parallelism = 1 + draws.below(3) as i64;
            let slack = draws.below((hours as u64 * 60).saturating_sub((length * 60.0) as u64) + 1) as i64;
            w = due(w, at(0, 7 + (length * 60.0) as i64 + slack));
            w.interruptible = pausing && draws.below(5) < 2;
            w
        })
        .collect();
    snapshot(at(0, 7), clusters, made)
}

fn report(name: &str, s: &Snapshot, schedule: &Schedule, taken: std::time::Duration) {
    let millis = taken.as_secs_f64() * 1e3;
    let hours =
        s.workloads.iter().filter_map(|w| w.deadline).map(|d| d - s.at).max().map_or(0.0, Span::as_hours_f64);
    println!(
        "{name:<36} {:>6} jobs {:>2} clusters {:>5.0} slots {:>9.2} ms {:>10.0} jobs/s {:>8.2} kg gap {:>6} late {:>4} work {:>5.1} M",
        s.workloads.len(),
        s.clusters.len(),
        hours / schedule.slot.as_hours_f64(),
        millis,
        s.workloads.len() as f64 / taken.as_secs_f64(),
        schedule.carbon.as_kg_f64(),
        schedule.gap().map_or_else(|| "-".to_owned(), |gap| format!("{:.2} %", gap * 100.0)),
        schedule.late.len(),
        schedule.effort as f64 / 1e6,
    );
    let broken = check::schedule(s, schedule);
    assert!(broken.is_empty(), "{broken:?}");
}

/// Shortest of some repeats, and the last outcome.
fn timed(repeats: usize, mut run: impl FnMut() -> Schedule) -> (Schedule, std::time::Duration) {
    let mut best = std::time::Duration::MAX;
    let mut last = None;
    for _ in 0..repeats {
        let begin = Instant::now();
        last = Some(run());
        best = best.min(begin.elapsed());
    }
    (last.expect("at least one repeat"), best)
}

fn main() {
    let optimal = policy(PolicyKind::Optimal);
    // `cargo bench -p planner -- pausing` runs the cases whose name holds the word.
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    for (name, jobs, nodes, hours, pausing) in [
        ("48 h", 300, 14, 48, false),
        ("48 h, tight", 300, 7, 48, false),
        ("48 h, 40 % pausing", 300, 14, 48, true),
        ("10 days", 3000, 30, 240, false),
    ] {
        if !name.contains(&wanted) {
            continue;
        }
        let s = fleet_of(jobs, nodes, hours, pausing);
        let (cold, taken) = timed(3, || plan(&s, &optimal, None, Effort::default()));
        report(&format!("{name}: cold"), &s, &cold, taken);
        let mut next = s.clone();
        next.at = s.at + Span::MINUTE;
        let (warm, taken) = timed(3, || plan(&next, &optimal, Some(&cold), Effort::default()));
        report(&format!("{name}: warm, a minute on"), &next, &warm, taken);
        let mut later = warm.clone();
        for _ in 0..10 {
            later = plan(&next, &optimal, Some(&later), Effort::default());
        }
        let (later, taken) = timed(1, || plan(&next, &optimal, Some(&later), Effort::default()));
        report(&format!("{name}: warm, 12th round"), &next, &later, taken);
        let (much, taken) = timed(1, || plan(&s, &optimal, None, Effort(300_000_000)));
        report(&format!("{name}: cold, 150 x effort"), &s, &much, taken);
        for kind in [PolicyKind::Score, PolicyKind::Soonest] {
            let (schedule, taken) = timed(3, || plan(&s, &policy(kind), None, Effort::default()));
            report(&format!("{name}: {}", kind.as_str()), &s, &schedule, taken);
        }
        let key = &s.workloads[jobs / 2].key;
        let begin = Instant::now();
        let found = explain(&s, &optimal, &cold, key, 5).map_or(0, |e| e.alternatives.len());
        println!(
            "{name}: explain one job ({found} alternatives): {:.2} ms",
            begin.elapsed().as_secs_f64() * 1e3
        );
    }
}
