//! Taking a node away: the taint, the drain, the machine.
//!
//! Pods are evicted, those of DaemonSets after the others and critical ones last; who is refused is asked again after
//! 100 ms, then twice as long each time, at most 10 s. What holds a pod holds the node, unless the pool has a
//! `terminationGracePeriod`: then pods are deleted in time to be gone by its end. The machine goes at least 5 s after the
//! drain began, once disks are detached. Method: `pkg/controllers/node/termination` of Karpenter 1.14. Left out: the
//! finalizer; the Node goes with its machine.

use super::pods::{DISRUPTED, given_up_at, is_evictable, is_waited_for, node_of, turn};
use super::{SOURCE, say_of};
use crate::cloud::Cloud;
use crate::controllers::Cx;
use crate::controllers::evictor::{Who, evict, tell, who};
use crate::controllers::node::is_tainted;
use crate::kind::Kind;
use crate::object::Object;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shortest time from the beginning of a drain until the machine goes.
const DRAIN_MIN: Span = Span::from_seconds(5);
/// First and longest pause after a refused eviction.
const RETRY: (Span, Span) = (Span::from_millis(100), Span::from_seconds(10));
/// Doublings after which a pause is the longest in any case.
const DOUBLINGS_MAX: u32 = 7;
/// Seconds a pod gets to end when it does not say.
const GRACE_SECONDS: i64 = 30;
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A node being taken away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Termination {
    since: Instant,
    /// Why, for those who are evicted.
    reason: String,
    /// When all pods have to be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<Instant>,
    /// Refused evictions in a row, and when the next is asked for, by uid.
    refused: BTreeMap<Arc<str>, (u32, Instant)>,
    /// How many pods were last said to be waited for.
    waited: usize,
    /// When something is due; `None`: when something changes.
    pub(super) next: Option<Instant>,
}

/// Changes a node, if there is such a node and anything changes.
fn change(cx: &mut Cx<'_>, name: &str, change: impl FnOnce(&mut Node)) {
    let Some(old) = cx.node(name) else { return };
    let mut node = old.clone();
    change(&mut node);
    if node != *old {
        cx.objects.put(Object::Node(Box::new(node)));
    }
}

/// Has a node take no more pods.
pub(super) fn taint(cx: &mut Cx<'_>, name: &str) {
    change(cx, name, |node| {
        if is_tainted(node, DISRUPTED) {
            return;
        }
        let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
        let (key, effect) = (DISRUPTED.to_owned(), "NoSchedule".to_owned());
        taints.push(Taint { key, effect, value: None, time_added: None });
    });
}

/// Has it take pods again.
pub(super) fn untaint(cx: &mut Cx<'_>, name: &str) {
    change(cx, name, |node| {
        let spec = node.spec.get_or_insert_default();
        let kept: Vec<Taint> =
            spec.taints.take().into_iter().flatten().filter(|t| t.key != DISRUPTED).collect();
        spec.taints = Some(kept).filter(|taints| !taints.is_empty());
    });
}

/// Says of a node what has become of it: a label that stays.
pub(super) fn label(cx: &mut Cx<'_>, name: &str, key: &str, value: &str) {
    change(cx, name, |node| {
        node.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    });
}

fn pause(refusals: u32) -> Span {
    RETRY.0.scaled(1 << refusals.saturating_sub(1).min(DOUBLINGS_MAX), 1).min(RETRY.1)
}

fn grace(pod: &Pod) -> Span {
    let stated = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    Span::from_seconds(stated.unwrap_or(GRACE_SECONDS).max(0))
}

impl Termination {
    /// Begins; pods are deleted by the end of the grace period, if there is one.
    pub(super) fn new(cx: &mut Cx<'_>, node: &str, reason: &str, period: Option<Span>) -> Termination {
        taint(cx, node);
        label(cx, node, EXCLUDED, "karpenter");
        let deadline = period.map(|period| cx.now + period);
        if let Some(deadline) = deadline {
            let message = format!("All pods will be deleted by {}", deadline.to_rfc3339_seconds());
            say_of(cx, node, ("Warning", "TerminationGracePeriodExpiring"), message);
        }
        let reason = reason.to_owned();
        let (since, refused, next) = (cx.now, BTreeMap::new(), Some(cx.now));
        Termination { since, reason, deadline, refused, waited: 0, next }
    }
    /// Does what is due; whether the machine has been told to stop.
    pub(super) fn step(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, node: &Arc<str>) -> bool {
        self.next = None;
        let on = cx.objects.list(Kind::Pod, None).filter_map(|stored| stored.object.as_pod());
        let on = on.filter(|pod| node_of(pod) == Some(node) && is_waited_for(pod, cx.now));
        let waiting: Vec<Pod> = on.cloned().collect();
        if waiting.is_empty() {
            let earliest = self.since + DRAIN_MIN;
            if cx.now < earliest {
                self.next = Some(earliest);
                return false;
            }
            if !self.disks_are_off(cx, node) {
                return false;
            }
            cloud.delete(cx, node);
            return true;
        }
        if waiting.len() != self.waited {
            self.waited = waiting.len();
            let message = format!("Failed to drain node, {} pods are waiting to be evicted", waiting.len());
            say_of(cx, node, ("Warning", "FailedDraining"), message);
        }
        self.drain(cx, &waiting);
        false
    }
    fn wait_until(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
    fn drain(&mut self, cx: &mut Cx<'_>, waiting: &[Pod]) {
        let late = |pod: &Pod| self.deadline.map(|deadline| deadline - grace(pod));
        let (forced, rest): (Vec<&Pod>, Vec<&Pod>) =
            waiting.iter().partition(|pod| late(pod).is_some_and(|at| at <= cx.now));
        let turns: Vec<Instant> = rest.iter().filter_map(|pod| late(pod)).collect();
        turns.into_iter().for_each(|at| self.wait_until(at));
        for pod in forced {
            let ((namespace, name), _) = who(pod);
            cx.delete(Kind::Pod, &namespace, &name);
        }
        waiting.iter().filter_map(given_up_at).for_each(|at| self.wait_until(at + Span::from_nanos(1)));
        let Some(first) = rest.iter().map(|pod| turn(pod)).min() else { return };
        let now = cx.now;
        for pod in rest.into_iter().filter(|pod| turn(pod) == first && is_evictable(pod, now)) {
            self.ask(cx, &who(pod));
        }
    }
    /// Asks for one eviction, unless it was refused a short while ago.
    fn ask(&mut self, cx: &mut Cx<'_>, pod: &Who) {
        let (refusals, next) = self.refused.get(&pod.1).copied().unwrap_or((0, cx.now));
        if next > cx.now {
            return self.wait_until(next);
        }
        if evict(cx, pod, None) {
            self.refused.remove(&pod.1);
            let message = format!("Evicted pod: {}", self.reason);
            tell(cx, &pod.0, SOURCE, (false, "Evicted", &message));
            return;
        }
        let next = cx.now + pause(refusals + 1);
        self.refused.insert(pod.1.clone(), (refusals + 1, next));
        self.wait_until(next);
    }
    /// Whether no disk is attached to the node any more that a pod could take along.
    fn disks_are_off(&self, cx: &mut Cx<'_>, node: &str) -> bool {
        if self.deadline.is_some_and(|deadline| deadline < cx.now) {
            return true;
        }
        let kind = Kind::document("storage.k8s.io", "volumeattachments");
        let of_node = |doc: &&crate::object::Document| {
            doc.body.get("spec").and_then(|spec| spec.get("nodeName")).is_some_and(|name| name == node)
        };
        let mut attached = cx.objects.list(kind, None).filter_map(|stored| stored.object.as_document());
        !attached.any(|doc| of_node(&doc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_ten_seconds() {
        let millis = [1, 2, 3, 7, 8, 90].map(|refusals| pause(refusals).as_nanos() / 1_000_000);
        assert_eq!(millis, [100, 200, 400, 6400, 10_000, 10_000]);
    }
}
