//! What keeps a Job out of a cluster, in words with both figures.

use fleet::quantity::{counted, plain as figure};
use fleet::{ClusterId, ClusterSnapshot, Resources, Workload};
use std::fmt;

/// Why a Job cannot run in a cluster at any time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Limit {
    /// It has been started, or its data brought, elsewhere.
    Committed(ClusterId),
    /// Its contract does not name this cluster.
    NotAllowed,
    /// The cluster's API does not answer.
    Unreachable,
    /// One pod is larger than the largest node: resource, need, largest, unit.
    Pod(&'static str, f64, f64),
    /// Not so many pods fit on the nodes even when they are empty.
    Pods(i64, i64),
    /// All pods together ask for more than there is: resource, need, room, unit.
    Room(&'static str, f64, f64),
}

/// The unit of an amount as it is said of one: of those of [`exceeding`].
pub(crate) fn of_one(unit: &'static str) -> &'static str {
    match unit {
        "cores" => "core",
        "GPUs" => "GPU",
        "pod places" => "pod place",
        other => other,
    }
}

fn amount(value: f64, unit: &'static str) -> String {
    counted(value, of_one(unit), unit)
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Committed(cluster) => write!(f, "it is committed to {cluster}"),
            Limit::NotAllowed => write!(f, "its contract does not allow this cluster"),
            Limit::Unreachable => write!(f, "the cluster does not answer"),
            Limit::Pod(what, need, largest) => {
                write!(f, "pod asks for {}; the largest node has {}", amount(*need, what), figure(*largest))
            }
            Limit::Pods(need, places) => {
                write!(
                    f,
                    "{} at a time; the nodes, when empty, have places for {places} of this size",
                    counted(*need as f64, "pod", "pods")
                )
            }
            Limit::Room(what, need, room) => {
                write!(
                    f,
                    "all pods together ask for {}; {} can be promised",
                    amount(*need, what),
                    figure(*room)
                )
            }
        }
    }
}

/// Each resource of two amounts, in the unit people read, where the first is more than the second.
fn exceeding(need: Resources, have: Resources) -> Option<(&'static str, f64, f64)> {
    let pairs = [
        ("cores", need.cpu.as_cores_f64(), have.cpu.as_cores_f64(), need.cpu > have.cpu),
        ("GiB of memory", need.memory.as_gib_f64(), have.memory.as_gib_f64(), need.memory > have.memory),
        ("GPUs", need.gpu as f64, have.gpu as f64, need.gpu > have.gpu),
        ("pod places", need.pods as f64, have.pods as f64, need.pods > have.pods),
    ];
    let asked = [!need.cpu.is_zero(), !need.memory.is_zero(), need.gpu > 0, need.pods > 0];
    let found = pairs.into_iter().zip(asked).find(|(pair, asked)| pair.3 && *asked);
    found.map(|((what, need, have, _), _)| (what, need, have))
}

/// A cluster's nodes by size, each size once: every Job asks every cluster.
#[derive(Debug, Default)]
pub(crate) struct Sizes(Vec<(Resources, i64)>);

impl Sizes {
    /// Of a cluster.
    pub fn of(cluster: &ClusterSnapshot) -> Sizes {
        let mut sizes: Vec<(Resources, i64)> = Vec::new();
        for node in &cluster.nodes {
            match sizes.iter_mut().find(|size| size.0 == *node) {
                Some(size) => size.1 += 1,
                None => sizes.push((*node, 1)),
            }
        }
        Sizes(sizes)
    }

    fn iter(&self) -> impl Iterator<Item = &Resources> {
        self.0.iter().map(|size| &size.0)
    }

    /// How many pods of this size empty nodes have places for.
    fn places(&self, workload: &Workload) -> i64 {
        let wanted = workload.parallelism.max(1);
        let on = |node: &Resources| node.count_of(workload.pod).unwrap_or(wanted).clamp(0, wanted);
        self.0.iter().map(|(node, count)| on(node).saturating_mul(*count)).fold(0, i64::saturating_add)
    }
}

/// The cluster a Job is committed to, if it is.
pub(crate) fn committed(workload: &Workload) -> Option<&ClusterId> {
    let home = workload.running.then_some(&workload.key.cluster);
    workload.pinned.as_ref().or(home)
}

/// What keeps `workload` from starting in `cluster` at any time; `None`: nothing.
pub(crate) fn limit(cluster: &ClusterSnapshot, sizes: &Sizes, workload: &Workload) -> Option<Limit> {
    match committed(workload) {
        Some(other) if *other != cluster.id => return Some(Limit::Committed(other.clone())),
        None if workload.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&cluster.id)) => {
            return Some(Limit::NotAllowed);
        }
        _ => {}
    }
    if !cluster.reachable {
        return Some(Limit::Unreachable);
    }
    let fitting = sizes.iter().any(|node| exceeding(workload.pod, *node).is_none());
    if !fitting {
        let largest = sizes.iter().fold(Resources::ZERO, |most, node| most.max(*node));
        // Nodes may each lack something else: then name what the node with most CPU lacks.
        let closest = sizes.iter().max_by_key(|node| (node.cpu, node.memory)).copied().unwrap_or_default();
        let lacking = exceeding(workload.pod, largest).or_else(|| exceeding(workload.pod, closest));
        let (what, need, have) = lacking.unwrap_or(("pod places", workload.pod.pods as f64, 0.0));
        return Some(Limit::Pod(what, need, have));
    }
    let places = sizes.places(workload);
    if places < workload.parallelism.max(1) {
        return Some(Limit::Pods(workload.parallelism, places));
    }
    exceeding(workload.demand(), cluster.free).map(|(what, need, have)| Limit::Room(what, need, have))
}

/// Why a Job fits nowhere, from every cluster's limit.
pub(crate) fn nowhere(limits: &[(&ClusterId, Limit)]) -> String {
    let allowed: Vec<&(&ClusterId, Limit)> =
        limits.iter().filter(|l| !matches!(l.1, Limit::NotAllowed | Limit::Committed(_))).collect();
    if allowed.is_empty() {
        let committed =
            limits.iter().find_map(|l| if let Limit::Committed(c) = &l.1 { Some(c) } else { None });
        return match committed {
            Some(cluster) => format!("it is committed to {cluster}, which is not in the fleet"),
            None if limits.len() == 1 => {
                "its contract does not allow the one cluster of the fleet".to_owned()
            }
            None => format!("its contract allows none of the {} clusters of the fleet", limits.len()),
        };
    }
    let mut largest: Option<(&'static str, f64, f64)> = None;
    for (_, limit) in &allowed {
        match (limit, largest) {
            (Limit::Pod(what, need, have), None) => largest = Some((what, *need, *have)),
            (Limit::Pod(what, need, have), Some(most)) if *what == most.0 => {
                largest = Some((what, *need, have.max(most.2)));
            }
            _ => return each(&allowed),
        }
    }
    largest.map_or_else(
        || each(&allowed),
        |(what, need, have)| {
            let (need, have) = (amount(need, what), figure(have));
            format!("pod asks for {need}; the largest node of any allowed cluster has {have}")
        },
    )
}

/// Clusters named one by one in a reason, at most.
const NAMED_MAX: usize = 5;

fn each(limits: &[&(&ClusterId, Limit)]) -> String {
    let named: Vec<String> =
        limits.iter().take(NAMED_MAX).map(|(id, limit)| format!("{id}: {limit}")).collect();
    let more = limits.len().saturating_sub(NAMED_MAX);
    let more = match more {
        0 => String::new(),
        more => format!("; and {}", counted(more as f64, "more cluster", "more clusters")),
    };
    named.join("; ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_said_of_one() {
        for (limit, text) in [
            (Limit::Pod("cores", 1.0, 0.5), "pod asks for 1 core; the largest node has 0.5"),
            (Limit::Pod("cores", 1.5, 1.0), "pod asks for 1.5 cores; the largest node has 1"),
            (Limit::Pod("GiB of memory", 1.0, 0.5), "pod asks for 1 GiB of memory; the largest node has 0.5"),
            (Limit::Room("GPUs", 1.0, 0.0), "all pods together ask for 1 GPU; 0 can be promised"),
            (Limit::Pods(1, 0), "1 pod at a time; the nodes, when empty, have places for 0 of this size"),
        ] {
            assert_eq!(limit.to_string(), text);
        }
        let (ids, wide) =
            (["a", "b", "c", "d", "e", "f"].map(|id| ClusterId::new(id).unwrap()), Limit::Pods(9, 1));
        let limits: Vec<(&ClusterId, Limit)> = ids.iter().map(|id| (id, wide.clone())).collect();
        assert!(nowhere(&limits).ends_with("; and 1 more cluster"), "{}", nowhere(&limits));
    }
}
