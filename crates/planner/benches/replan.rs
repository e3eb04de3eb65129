//! How long a fleet that has a plan takes to get the next one after something happened.
//!
//! `cargo bench -p planner --bench replan [-- JOBS CLUSTERS HOURS [EFFORT [FIRST]]]` (default 20000 50 168, the size of XL, and
//! the default effort). Figures, never pass or fail. The first plan is made with much effort; then, each from
//! that plan: nothing happens, a job arrives, one ends, one overruns, forecasts move, a node is lost.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used)] // Fixtures shared with tests.

#[path = "../tests/fleets/mod.rs"]
mod fleets;
#[path = "../tests/fleets/large.rs"]
mod large;

use fleet::{GramsCo2PerKwh, PolicyKind, Series, Snapshot, Span};
use fleets::{at, due, job, policy};
use large::{fleet_of, id};
use planner::check;
use planner::placement::{Effort, Schedule, plan};
use std::time::Instant;

/// Effort of the first plan unless said otherwise, in evaluations for each job.
const FIRST: u64 = 20_000;
/// Each replanning is timed so often; the quickest counts.
const TIMES: usize = 20;

/// Three minutes later, as every change is found: what was due has been started.
fn later(s: &Snapshot, plan: &Schedule) -> Snapshot {
    let mut s = Snapshot { at: s.at + Span::MINUTE.scaled(3, 1), ..s.clone() };
    for job in &mut s.workloads {
        let Some(a) = plan.get(&job.key).filter(|a| a.runs_at(s.at)) else { continue };
        (job.running, job.pinned) = (true, Some(a.cluster.clone()));
        job.duration = job.duration - (s.at - a.start());
    }
    s
}

/// What happens to a fleet.
type Change = fn(&mut Snapshot);

fn arrives(s: &mut Snapshot) {
    let mut new = due(job("new", 0, 2.0, 3.0), at(30, 0));
    new.key.cluster = id(0);
    s.workloads.push(new);
    s.workloads.sort_by(|a, b| a.key.cmp(&b.key));
}

fn ends(s: &mut Snapshot) {
    s.workloads.remove(s.workloads.len() / 2);
}

fn overruns(s: &mut Snapshot) {
    let middle = s.workloads.len() / 2;
    let job = &mut s.workloads[middle];
    job.duration = job.duration.scaled(3, 2);
}

fn forecasts_move(s: &mut Snapshot) {
    for (i, cluster) in s.clusters.iter_mut().enumerate() {
        let factor = |hour: usize| 1.0 + ((hour / 6 + i) % 5) as f64 * 0.02 - 0.04;
        let values = cluster.intensity.values().iter().enumerate();
        let moved = values.map(|(hour, v)| GramsCo2PerKwh::from_grams_f64(v.as_grams_f64() * factor(hour)));
        cluster.intensity =
            Series::new(cluster.intensity.start(), cluster.intensity.step(), moved.collect()).unwrap();
    }
}

fn node_lost(s: &mut Snapshot) {
    let cluster = &mut s.clusters[3];
    let node = cluster.nodes.remove(0);
    cluster.allocatable = cluster.allocatable.saturating_sub(node);
    cluster.free = cluster.free.saturating_sub(node);
}

/// Jobs that are elsewhere, or at another time, than they were.
fn moved(before: &Schedule, after: &Schedule) -> usize {
    let same = |a: &planner::placement::Assignment| {
        before.get(&a.key).is_none_or(|b| (&b.cluster, b.end()) == (&a.cluster, a.end()))
    };
    after.assignments.iter().filter(|a| !same(a)).count()
}

fn main() {
    let figures: Vec<u64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let of = |at: usize, otherwise: u64| figures.get(at).copied().unwrap_or(otherwise);
    let (jobs, clusters, hours) = (of(0, 20_000), of(1, 50), of(2, 168));
    let effort = Effort(of(3, Effort::default().0));
    let s = fleet_of(jobs as usize, clusters as usize, hours);
    let policy = policy(PolicyKind::Optimal);
    let begin = Instant::now();
    let first = plan(&s, &policy, None, Effort(of(4, FIRST) * jobs));
    println!(
        "{jobs} jobs, {clusters} clusters, {hours} h: first plan {:.1} s, {}, gap {:.2} %, late {}",
        begin.elapsed().as_secs_f64(),
        first.carbon,
        first.gap().unwrap_or(1.0) * 100.0,
        first.late.len()
    );
    let changes: [(&str, Change); 6] = [
        ("nothing", |_| ()),
        ("a job arrives", arrives),
        ("a job ends", ends),
        ("a job overruns", overruns),
        ("forecasts move", forecasts_move),
        ("a node is lost", node_lost),
    ];
    for (name, change) in changes {
        let mut next = later(&s, &first);
        change(&mut next);
        let mut best = f64::INFINITY;
        let mut second = None;
        for _ in 0..TIMES {
            let begin = Instant::now();
            let schedule = plan(&next, &policy, Some(&first), effort);
            best = best.min(begin.elapsed().as_secs_f64() * 1e3);
            second = Some(schedule);
        }
        let Some(second) = second else { continue };
        let broken = check::schedule(&next, &second);
        assert!(broken.is_empty(), "{broken:?}");
        println!(
            "{name:<15} {best:>8.1} ms, {}, {:>7.2} M evaluations, late {}, moved {}",
            second.carbon,
            second.effort as f64 / 1e6,
            second.late.len(),
            moved(&first, &second)
        );
    }
}
