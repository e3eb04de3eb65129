//! Tests a schedule against every rule it must keep, from the snapshot alone.
//!
//! Nothing is shared with the solvers but the vocabulary and the least length of a run, so that a
//! solver's mistake cannot hide here. Capacity is exact: demands are summed at every start, in the
//! schedule's own times, not in slots. Node-level fit over time is left out, as it is in planning.

use crate::placement::{Assignment, LENGTH_MIN, Schedule};
use fleet::{ClusterId, ClusterSnapshot, Instant, JobKey, Resources, Snapshot, Span, Workload};
use std::collections::BTreeMap;

/// A rule that a schedule breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A Job of the snapshot is neither placed nor named as unplaced, or both, or more than once.
    #[error("{key}: stands {found} times among assignments and unplaced, expected once")]
    Count {
        /// The Job.
        key: JobKey,
        /// How often it stands there.
        found: usize,
    },
    /// A Job stands in the schedule that is not in the snapshot.
    #[error("{key}: not in the snapshot")]
    Unknown {
        /// The Job.
        key: JobKey,
    },
    /// It runs in a cluster it may not run in.
    #[error("{key}: in {cluster}: {why}")]
    Cluster {
        /// The Job.
        key: JobKey,
        /// Where.
        cluster: ClusterId,
        /// Why it may not.
        why: &'static str,
    },
    /// Its runs are not what its contract allows.
    #[error("{key}: {what}: found {found}, expected {expected}")]
    Runs {
        /// The Job.
        key: JobKey,
        /// Which rule.
        what: &'static str,
        /// What the schedule says.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// More is promised than there is.
    #[error("{cluster} at {at}: {held} {resource} promised, {free} can be")]
    Capacity {
        /// Where.
        cluster: ClusterId,
        /// From when.
        at: Instant,
        /// `nanocores`, `bytes`, `GPUs`, `pods`.
        resource: &'static str,
        /// Promised.
        held: i64,
        /// What may be.
        free: i64,
    },
}

/// Every rule `schedule` breaks; empty: none.
pub fn schedule(snapshot: &Snapshot, schedule: &Schedule) -> Vec<Violation> {
    let mut violations = counts(snapshot, schedule);
    let by_key: BTreeMap<&JobKey, &Workload> = snapshot.workloads.iter().map(|w| (&w.key, w)).collect();
    for assignment in &schedule.assignments {
        let Some(workload) = by_key.get(&assignment.key) else { continue };
        violations.extend(cluster(snapshot, workload, assignment));
        violations.extend(runs(snapshot, workload, assignment));
        violations.extend(flags(schedule, workload, assignment));
    }
    for cluster in &snapshot.clusters {
        violations.extend(capacity(cluster, schedule, &by_key));
    }
    violations
}

fn counts(snapshot: &Snapshot, schedule: &Schedule) -> Vec<Violation> {
    let mut found: BTreeMap<&JobKey, usize> = snapshot.workloads.iter().map(|w| (&w.key, 0)).collect();
    let mut violations = Vec::new();
    let named = schedule.assignments.iter().map(|a| &a.key).chain(schedule.unplaced.iter().map(|u| &u.key));
    for key in named {
        match found.get_mut(key) {
            Some(count) => *count += 1,
            None => violations.push(Violation::Unknown { key: key.clone() }),
        }
    }
    let wrong = found.into_iter().filter(|(_, count)| *count != 1);
    violations.extend(wrong.map(|(key, found)| Violation::Count { key: key.clone(), found }));
    violations
}

/// The cluster a Job must stay in, if any.
fn committed(workload: &Workload) -> Option<&ClusterId> {
    workload.pinned.as_ref().or(workload.running.then_some(&workload.key.cluster))
}

fn cluster(snapshot: &Snapshot, workload: &Workload, assignment: &Assignment) -> Option<Violation> {
    let wrong = |why| {
        Some(Violation::Cluster { key: assignment.key.clone(), cluster: assignment.cluster.clone(), why })
    };
    let Some(place) = snapshot.clusters.iter().find(|c| c.id == assignment.cluster) else {
        return wrong("not in the snapshot");
    };
    if let Some(stay) = committed(workload) {
        if *stay != assignment.cluster {
            return wrong("committed to another cluster");
        }
    } else if workload.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&assignment.cluster)) {
        return wrong("its contract does not allow this cluster");
    }
    if workload.running {
        return None;
    }
    if !place.reachable {
        return wrong("the cluster does not answer");
    }
    let asked = |need: i64, have: i64| need <= 0 || need <= have;
    let holds = |node: &Resources| {
        let pod = workload.pod;
        asked(pod.cpu.as_nanos(), node.cpu.as_nanos())
            && asked(pod.memory.as_bytes(), node.memory.as_bytes())
            && asked(pod.gpu, node.gpu)
            && asked(pod.pods, node.pods)
    };
    if !place.nodes.iter().any(holds) { wrong("its pod fits no node") } else { None }
}

/// How long a Job lasts with the pods at a time it is given; `None` when it may not have so many.
fn lasts(workload: &Workload, assignment: &Assignment) -> Option<Span> {
    if assignment.parallelism == workload.parallelism.max(1) {
        return Some(workload.duration.max(LENGTH_MIN));
    }
    let open = !workload.running && committed(workload).is_none();
    let shape = workload.shapes.iter().find(|shape| shape.parallelism == assignment.parallelism);
    shape.filter(|_| open).map(|shape| shape.duration.max(LENGTH_MIN))
}

fn runs(snapshot: &Snapshot, workload: &Workload, assignment: &Assignment) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |what: &'static str, found: String, expected: String| {
        violations.push(Violation::Runs { key: assignment.key.clone(), what, found, expected });
    };
    let planned = assignment.runs.iter().fold(Span::ZERO, |sum, run| sum + (run.to - run.from));
    match lasts(workload, assignment) {
        Some(needed) if planned + assignment.undone != needed => {
            wrong("run time", (planned + assignment.undone).to_string(), needed.to_string());
        }
        Some(_) => {}
        None => {
            let expected = format!("{} or one of its other shapes", workload.parallelism);
            wrong("pods at a time", assignment.parallelism.to_string(), expected);
        }
    }
    let cut = assignment.undone != Span::ZERO;
    if cut && !(workload.may_be_cut && planned > Span::ZERO && assignment.undone > Span::ZERO) {
        wrong("left undone", assignment.undone.to_string(), "nothing".to_owned());
    }
    if cut && workload.deadline.is_none_or(|deadline| assignment.end() > deadline) {
        wrong("end of what leaves work undone", assignment.end().to_string(), "its deadline".to_owned());
    }
    let ready = workload.release.max(snapshot.at);
    if assignment.start() < ready && !workload.running {
        wrong("start", assignment.start().to_string(), format!("{ready} or later"));
    }
    if assignment.runs.len() > 1 && !workload.interruptible {
        wrong("runs", assignment.runs.len().to_string(), "one: it may not be paused".to_owned());
    }
    let ordered = assignment.runs.windows(2).all(|pair| pair[0].to < pair[1].from);
    if !ordered || assignment.runs.iter().any(|run| run.to <= run.from) {
        wrong(
            "order of runs",
            "overlapping or empty runs".to_owned(),
            "increasing runs with pauses between".to_owned(),
        );
    }
    if workload.running && !workload.interruptible && assignment.start() != snapshot.at {
        wrong("start", assignment.start().to_string(), format!("{}: it runs now", snapshot.at));
    }
    violations
}

fn flags(schedule: &Schedule, workload: &Workload, assignment: &Assignment) -> Vec<Violation> {
    let mut violations = Vec::new();
    let in_time = workload.real_deadline().is_none_or(|deadline| assignment.end() <= deadline);
    let named = schedule.late.iter().filter(|late| late.key == assignment.key).count();
    let mut wrong = |what: &'static str, found: String, expected: String| {
        violations.push(Violation::Runs { key: assignment.key.clone(), what, found, expected });
    };
    if assignment.in_time != in_time {
        wrong("in time", assignment.in_time.to_string(), in_time.to_string());
    }
    if named != usize::from(!in_time) {
        wrong("named as late", named.to_string(), usize::from(!in_time).to_string());
    }
    violations
}

const RESOURCES: [&str; 4] = ["nanocores", "bytes", "GPUs", "pods"];

fn amounts(r: Resources) -> [i64; 4] {
    [r.cpu.as_nanos(), r.memory.as_bytes(), r.gpu, r.pods]
}

/// Sums demands at every start; what runs already may hold more than there is, but nothing beside it.
fn capacity(
    cluster: &ClusterSnapshot,
    schedule: &Schedule,
    by_key: &BTreeMap<&JobKey, &Workload>,
) -> Vec<Violation> {
    let mut changes: BTreeMap<Instant, [[i64; 4]; 2]> = BTreeMap::new();
    for assignment in schedule.assignments.iter().filter(|a| a.cluster == cluster.id) {
        let Some(workload) = by_key.get(&assignment.key) else { continue };
        let demand = amounts(workload.pod.times(assignment.parallelism));
        for run in &assignment.runs {
            for (at, sign) in [(run.from, 1), (run.to, -1)] {
                let change = changes.entry(at).or_default();
                for resource in 0..demand.len() {
                    change[0][resource] += sign * demand[resource];
                    change[1][resource] += sign * if workload.running { demand[resource] } else { 0 };
                }
            }
        }
    }
    let (mut held, mut running) = ([0i64; 4], [0i64; 4]);
    let free = amounts(cluster.free);
    let mut violations = Vec::new();
    for (at, change) in changes {
        for resource in 0..held.len() {
            held[resource] += change[0][resource];
            running[resource] += change[1][resource];
            let may = free[resource].max(running[resource]).max(0);
            if held[resource] > may {
                violations.push(Violation::Capacity {
                    cluster: cluster.id.clone(),
                    at,
                    resource: RESOURCES[resource],
                    held: held[resource],
                    free: may,
                });
            }
        }
    }
    violations
}
