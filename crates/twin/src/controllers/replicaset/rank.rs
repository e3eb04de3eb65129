//! Which pods a ReplicaSet deletes first (`ActivePodsWithRanks`).
//!
//! Ages are compared on a logarithmic scale, so that among pods of about the same age chance decides: their uids.

use crate::controllers::podcontrol::{self, ready_since};
use fleet::Instant;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::cmp::Ordering;

/// What a pod says its deletion costs.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// As many are sorted by insertion, as Go's library does.
const INSERTION_MAX: usize = 12;

/// Orders pods, those to delete first first. `ranks` says of each how many pods of related sets are on its node.
pub fn deletion_order<'a>(pods: &[&'a Pod], ranks: &[usize], now: Instant) -> Vec<&'a Pod> {
    let keys = pods.iter().copied().zip(ranks.iter().copied());
    let keys: Vec<Key<'a>> = keys.map(|(pod, rank)| Key::of(pod, rank, now)).collect();
    sorted(keys).into_iter().map(|key| key.pod).collect()
}

/// Sorts by [`Key::compare`]. That is Kubernetes' comparison and no order: of two pods of the same age the uid says
/// nothing, of two of about the same age it decides, so that three may stand in a circle. The library's own sort refuses
/// such comparisons; this one puts every pod somewhere.
fn sorted(keys: Vec<Key<'_>>) -> Vec<Key<'_>> {
    if keys.len() <= INSERTION_MAX {
        let mut found: Vec<Key<'_>> = Vec::with_capacity(keys.len());
        for key in keys {
            let at =
                found.iter().rposition(|other| key.compare(other) != Ordering::Less).map_or(0, |at| at + 1);
            found.insert(at, key);
        }
        return found;
    }
    let mut left = keys;
    let right = left.split_off(left.len() / 2);
    let (left, right) = (sorted(left), sorted(right));
    let mut found = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if b.compare(a) == Ordering::Less { right.next() } else { left.next() };
        found.extend(next);
    }
    found.extend(left);
    found.extend(right);
    found
}

/// What pods are compared by.
struct Key<'a> {
    pod: &'a Pod,
    bound: bool,
    life: u8,
    cost: i32,
    rank: usize,
    /// Since when it is ready.
    ready: Option<Age>,
    restarts: (i32, i32),
    created: Option<Age>,
}

/// A time, and of which order of magnitude it is ago; what has no time counts as young.
#[derive(Clone, Copy)]
struct Age {
    at: Option<Instant>,
    magnitude: i64,
}

impl Age {
    fn of(at: Instant, now: Instant) -> Age {
        let nanos = u64::try_from((now - at).as_nanos()).ok().filter(|nanos| *nanos > 0);
        let magnitude = nanos.map_or(-1, |nanos| i64::from(nanos.ilog2()));
        Age { at: Some(at).filter(|at| *at != Instant::EPOCH), magnitude }
    }
}

impl<'a> Key<'a> {
    fn of(pod: &'a Pod, rank: usize, now: Instant) -> Key<'a> {
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
        let created = pod.metadata.creation_timestamp.as_ref().map(|t| Instant::from_jiff(t.0));
        Key {
            pod,
            bound: node.is_some_and(|name| !name.is_empty()),
            life: match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
                Some("Unknown") => 1,
                Some("Running") => 2,
                _ => 0,
            },
            cost: cost(pod),
            rank,
            ready: ready_since(pod).map(|since| Age::of(since, now)),
            restarts: restarts(pod),
            created: created.map(|at| Age::of(at, now)),
        }
    }
    fn compare(&self, other: &Key<'_>) -> Ordering {
        self.bound
            .cmp(&other.bound)
            .then_with(|| self.life.cmp(&other.life))
            .then_with(|| self.ready.is_some().cmp(&other.ready.is_some()))
            .then_with(|| self.cost.cmp(&other.cost))
            .then_with(|| other.rank.cmp(&self.rank))
            .then_with(|| match (self.ready, other.ready) {
                (Some(own), Some(theirs)) => self.younger(other, Some(own), Some(theirs)),
                _ => Ordering::Equal,
            })
            .then_with(|| other.restarts.cmp(&self.restarts))
            .then_with(|| self.younger(other, self.created, other.created))
    }
    /// The younger first, by orders of magnitude.
    fn younger(&self, other: &Key<'_>, own: Option<Age>, theirs: Option<Age>) -> Ordering {
        let known = |age: Option<Age>| age.and_then(|age| Some((age.at?, age.magnitude)));
        let (Some((a, near)), Some((b, far))) = (known(own), known(theirs)) else {
            return known(own).is_some().cmp(&known(theirs).is_some());
        };
        if a == b {
            return Ordering::Equal;
        }
        near.cmp(&far).then_with(|| self.pod.metadata.uid.cmp(&other.pod.metadata.uid))
    }
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

    /// Ages of three pods that stand in a circle, many times over: nobody is lost and nothing fails.
    #[test]
    fn circles_are_put_in_some_order() {
        let pod = |number: i64| -> Pod {
            let second = [0, 7, 0, 11][usize::try_from(number % 4).unwrap()];
            let time = format!("2026-01-01T00:00:{second:02}Z");
            serde_json::from_value(json!({
                "metadata": {"name": format!("p{number}"), "uid": format!("{:03}", number * 37 % 101), "creationTimestamp": time},
                "spec": {"containers": [], "nodeName": "n"},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]},
            }))
            .unwrap()
        };
        let pods: Vec<Pod> = (0..100).map(pod).collect();
        let all: Vec<&Pod> = pods.iter().collect();
        let now = Instant::parse("2026-01-01T00:01:00Z").unwrap();
        let order = deletion_order(&all, &[1; 100], now);
        let mut names: Vec<_> = order.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 100);
    }

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
