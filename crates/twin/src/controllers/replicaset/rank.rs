//! Which pods a ReplicaSet deletes first (`ActivePodsWithRanks`).
//!
//! Ages are compared on a logarithmic scale, so that among pods of about the same age chance decides: their uids.

use crate::controllers::podcontrol::{self, ready_since};
use fleet::Instant;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::cmp::Ordering;

/// What a pod says its deletion costs.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Orders pods, those to delete first first. `ranks` says of each how many pods of related sets are on its node.
pub fn deletion_order<'a>(pods: &[&'a Pod], ranks: &[usize], now: Instant) -> Vec<&'a Pod> {
    let mut order: Vec<(&Pod, usize)> = pods.iter().copied().zip(ranks.iter().copied()).collect();
    order.sort_by(|a, b| compare(*a, *b, now));
    order.into_iter().map(|(pod, _)| pod).collect()
}

fn compare((a, rank_a): (&Pod, usize), (b, rank_b): (&Pod, usize), now: Instant) -> Ordering {
    let bound = |pod: &Pod| {
        pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|name| !name.is_empty())
    };
    let life = |pod: &Pod| match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
        Some("Unknown") => 1,
        Some("Running") => 2,
        _ => 0,
    };
    let ready = |pod: &Pod| ready_since(pod).is_some();
    bound(a)
        .cmp(&bound(b))
        .then_with(|| life(a).cmp(&life(b)))
        .then_with(|| ready(a).cmp(&ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| match (ready_since(a), ready_since(b)) {
            (Some(since_a), Some(since_b)) => younger((a, Some(since_a)), (b, Some(since_b)), now),
            _ => Ordering::Equal,
        })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger((a, created(a)), (b, created(b)), now))
}

fn created(pod: &Pod) -> Option<Instant> {
    pod.metadata.creation_timestamp.as_ref().map(|t| Instant::from_jiff(t.0))
}

/// The younger first, by orders of magnitude; what has no time counts as young.
fn younger(
    (pod_a, a): (&Pod, Option<Instant>),
    (pod_b, b): (&Pod, Option<Instant>),
    now: Instant,
) -> Ordering {
    let known = |at: Option<Instant>| at.filter(|at| *at != Instant::EPOCH);
    let (Some(a), Some(b)) = (known(a), known(b)) else {
        return known(a).is_some().cmp(&known(b).is_some());
    };
    if a == b {
        return Ordering::Equal;
    }
    let magnitude = |at: Instant| {
        let age = now - at;
        u64::try_from(age.as_nanos()).ok().filter(|nanos| *nanos > 0).map_or(-1, |n| i64::from(n.ilog2()))
    };
    magnitude(a).cmp(&magnitude(b)).then_with(|| pod_a.metadata.uid.cmp(&pod_b.metadata.uid))
}

fn cost(pod: &Pod) -> i32 {
    let stated = pod.metadata.annotations.as_ref().and_then(|a| a.get(COST));
    // Written as Go prints it: no plus sign, no leading zeros.
    let plain =
        |text: &&String| *text == "0" || text.starts_with(|c: char| c == '-' || ('1'..='9').contains(&c));
    stated.filter(plain).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Most restarts of a container, then of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let status = pod.status.as_ref();
    let most = |list: Option<&Vec<ContainerStatus>>, counts: &dyn Fn(&str) -> bool| {
        let counted = list.into_iter().flatten().filter(|c| counts(&c.name));
        counted.map(|c| c.restart_count).max().unwrap_or(0)
    };
    let containers = most(status.and_then(|s| s.container_statuses.as_ref()), &|_| true);
    let sidecar = |name: &str| {
        let all = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref());
        all.into_iter().flatten().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
    };
    (containers, most(status.and_then(|s| s.init_container_statuses.as_ref()), &sidecar))
}

/// How many of the active pods among `related` are on each pod's node.
pub(super) fn ranks(pods: &[&Pod], related: &[&Pod]) -> Vec<usize> {
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
    let mut counts: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for pod in related.iter().filter(|pod| podcontrol::is_active(pod)) {
        *counts.entry(node(pod)).or_default() += 1;
    }
    pods.iter().map(|pod| counts.get(&node(pod)).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unbound_then_pending_then_unready_go_first() {
        let pod = |name: &str, node: &str, phase: &str, ready: &str| -> Pod {
            let conditions =
                json!([{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"containers": [], "nodeName": node}, "status": {"phase": phase, "conditions": conditions},
            }))
            .unwrap()
        };
        let pods = [
            pod("ready", "n", "Running", "True"),
            pod("unready", "n", "Running", "False"),
            pod("pending", "n", "Pending", "False"),
            pod("unbound", "", "Pending", "False"),
        ];
        let now = Instant::parse("2026-01-01T01:00:00Z").unwrap();
        let all: Vec<&Pod> = pods.iter().collect();
        let order = deletion_order(&all, &[1, 1, 1, 1], now);
        let names: Vec<&str> = order.iter().filter_map(|p| p.metadata.name.as_deref()).collect();
        assert_eq!(names, ["unbound", "pending", "unready", "ready"]);
    }
}
