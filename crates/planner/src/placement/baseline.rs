//! The policies that do not plan: `soonest` and the linear `score`. One job after the other in order
//! of arrival, each as early as it can; nothing is shifted in time but for want of room.

use super::model::Model;
use super::problem::{Amounts, Place};
use super::scan::Scan;
use super::state::State;
use fleet::{ClusterSnapshot, Policy, PolicyKind, Workload};

/// Order of arrival: release, then key; what runs already holds its place first.
fn arrivals(model: &Model<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..model.jobs.len()).collect();
    let workload = |i: usize| &model.snapshot.workloads[model.jobs[i]];
    order.sort_by(|&a, &b| {
        let (x, y) = (workload(a), workload(b));
        y.running.cmp(&x.running).then(x.release.cmp(&y.release)).then_with(|| x.key.cmp(&y.key))
    });
    order
}

/// Places for every job of the model under `score` or `soonest`; and the work it took.
pub(crate) fn place_in_order(model: &Model<'_>, policy: &Policy) -> (Vec<Option<Place>>, u64) {
    let mut state = State::new(&model.problem);
    for job in arrivals(model) {
        let item = &model.problem.jobs[job];
        let scan = Scan { problem: &model.problem, room: &state.room, prices: None, job: item };
        let mut starts: Vec<(usize, i64)> = Vec::new();
        for cluster in 0..model.problem.clusters {
            if let Some(start) = scan.earliest_in(cluster, &mut state.work) {
                starts.push((cluster, start));
            }
        }
        let held = item.sites.iter().position(Option::is_some).filter(|_| item.running);
        let Some(first) = starts.iter().map(|s| s.1).min() else {
            if let Some(cluster) = held {
                state.put(job, Place::contiguous(item, cluster, item.from));
            }
            continue;
        };
        let workload = &model.snapshot.workloads[model.jobs[job]];
        let rank = |cluster: usize| {
            let rank = match policy.kind {
                PolicyKind::Score => score(model, &state.room, workload, policy, cluster, first),
                _ => latency(model, workload, cluster),
            };
            let home = model.snapshot.clusters[cluster].id != workload.key.cluster;
            (if policy.kind == PolicyKind::Score { false } else { home }, rank, cluster)
        };
        let soonest = starts.iter().filter(|s| s.1 == first).map(|s| rank(s.0));
        let chosen = soonest.min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        if let Some((_, _, cluster)) = chosen {
            state.put(job, Place::contiguous(item, cluster, first));
        }
    }
    (state.places, state.work)
}

/// Round trip from a Job's home, in ms; from a home outside the fleet, none.
fn latency(model: &Model<'_>, workload: &Workload, cluster: usize) -> f64 {
    let home = model.snapshot.clusters.iter().position(|c| c.id == workload.key.cluster);
    let row = home.and_then(|home| model.snapshot.latency_ms.get(home));
    row.and_then(|row| row.get(cluster)).copied().unwrap_or(0.0)
}

/// Per cent of an allocatable amount that is asked for when `left` of it is not.
fn percent(allocatable: i64, left: i64) -> f64 {
    if allocatable <= 0 { 100.0 } else { (allocatable - left) as f64 / allocatable as f64 * 100.0 }
}

/// The linear score of a cluster at a start, as the cluster is then without the job; lowest wins.
fn score(
    model: &Model<'_>,
    room: &[Amounts],
    workload: &Workload,
    policy: &Policy,
    cluster: usize,
    start: i64,
) -> f64 {
    let place: &ClusterSnapshot = &model.snapshot.clusters[cluster];
    let slot = (start / model.problem.slot) as usize;
    let left = room[cluster * model.problem.slots + slot];
    let at = model.origin + fleet::Span::from_nanos(start);
    policy.score_weights.score(
        percent(place.allocatable.cpu.as_nanos(), left[0]),
        percent(place.allocatable.memory.as_bytes(), left[1]),
        place.intensity.at(at).as_grams_f64(),
        latency(model, workload, cluster),
    )
}
