//! Taking nodes away: the taint, the drain, the machine.
//!
//! A node is tainted and cordoned, five seconds later emptied (or, if it is empty, looked at once more), and then its machine
//! told to stop. What fails leaves the node as it was. One state machine a node; it is kept with the world. Method:
//! `core/scaledown/actuation` of cluster-autoscaler 1.36. Left out: eviction of DaemonSets' pods, which end with the
//! machine, and `delay-deletion` annotations.

use super::template::{CANDIDATE, TO_BE_DELETED};
use super::{SOURCE, about_status};
use crate::cloud::Cloud;
use crate::controllers::Cx;
use crate::controllers::evictor::{Emptying, Progress, Ways, tell};
use crate::controllers::node::taints;
use crate::kind::Kind;
use crate::object::Object;
use fleet::supply::Autoscaler;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::scaledown::{Inventory, Removable};

/// From the taint until anything is done (`--node-delete-delay-after-taint`).
const AFTER_TAINT: Span = Span::from_seconds(5);
/// How long after a refusal a pod is asked again, how often pods are looked for, and how long after their longest grace.
const RETRY: Span = Span::from_seconds(10);
const POLL: Span = Span::from_seconds(5);
const HEADROOM: Span = Span::from_seconds(30);

/// A node being taken away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Deletion {
    pub(super) group: Arc<str>,
    pub(super) drains: bool,
    /// When something is due.
    pub(super) next: Instant,
    emptying: Option<Emptying>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    UnderWay,
    Deleted,
    Failed,
}

/// Changes a node's spec, if there is such a node and anything changes.
fn change(cx: &mut Cx<'_>, name: &str, change: impl FnOnce(&mut Node)) {
    let Some(old) = cx.node(name) else { return };
    let mut node = old.clone();
    change(&mut node);
    if node != *old {
        cx.objects.put(Object::Node(Box::new(node)));
    }
}

fn add_taint(node: &mut Node, key: &str, effect: &str, now: Instant) {
    let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
    if !taints.iter().any(|taint| taint.key == key) {
        let value = Some(now.as_unix_seconds().to_string());
        taints.push(Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None });
    }
}

fn remove_taint(node: &mut Node, key: &str) {
    let spec = node.spec.get_or_insert_default();
    let kept: Vec<Taint> = spec.taints.take().into_iter().flatten().filter(|t| t.key != key).collect();
    spec.taints = Some(kept).filter(|taints| !taints.is_empty());
}

/// Gives a node the soft taint of those that will be taken away, or takes it off.
pub(super) fn mark(cx: &mut Cx<'_>, name: &str, unneeded: bool) {
    let now = cx.now;
    change(cx, name, |node| match unneeded {
        true => add_taint(node, CANDIDATE, "PreferNoSchedule", now),
        false if taints(node).iter().any(|taint| taint.key == CANDIDATE) => remove_taint(node, CANDIDATE),
        false => {}
    });
}

fn say_of_node(cx: &mut Cx<'_>, name: &str, warning: bool, reason: &str, message: &str) {
    let kind = if warning { "Warning" } else { "Normal" };
    cx.tell((Kind::Node, "", name), SOURCE, (kind, reason), message.to_owned());
}

/// Begins to take a node away.
pub(super) fn begin(cx: &mut Cx<'_>, found: &Removable, set: &Autoscaler) -> Deletion {
    let (node, now) = (&found.node, cx.now);
    change(cx, node, |node| {
        add_taint(node, TO_BE_DELETED, "NoSchedule", now);
        if set.cordon_node_before_terminating {
            node.spec.get_or_insert_default().unschedulable = Some(true);
        }
    });
    say_of_node(cx, node, false, "ScaleDown", "marked the node as toBeDeleted/unschedulable");
    let (utilization, cpu, memory) = found.utilization;
    let (reason, message) = match found.is_empty {
        true => ("ScaleDownEmpty", format!("Scale-down: removing empty node {node:?}")),
        false => {
            let which = if cpu >= memory { "cpu" } else { "memory" };
            let pods = found.pods.join(",");
            let used = format!("{{{cpu} {memory} 0 {which} {utilization}}}");
            let text =
                format!("Scale-down: removing node {node}, utilization: {used}, pods to reschedule: {pods}");
            ("ScaleDown", text)
        }
    };
    about_status(cx, reason, message, false);
    Deletion { group: found.group.clone(), drains: !found.is_empty, next: now + AFTER_TAINT, emptying: None }
}

impl Deletion {
    /// Does what is due.
    pub(super) fn step(
        &mut self,
        cx: &mut Cx<'_>,
        cloud: &mut Cloud,
        node: &Arc<str>,
        set: &Autoscaler,
    ) -> Outcome {
        if cx.node(node).is_none() {
            return Outcome::Failed;
        }
        if self.emptying.is_none() {
            let inventory = Inventory::new(cx.objects, cx.spec, cx.now);
            let pods: Vec<Pod> = match inventory.to_move(node, set) {
                Ok(pods) => pods.into_iter().cloned().collect(),
                Err((why, _)) => return self.fail(cx, node, &why),
            };
            if !self.drains && !pods.is_empty() {
                let why = format!("failed to delete empty node {node:?}, new pods scheduled");
                return self.fail(cx, node, &why);
            }
            self.emptying = Some(self.empty(cx, node, &pods, set));
        }
        let Some(emptying) = &mut self.emptying else { return Outcome::UnderWay };
        match emptying.step(cx) {
            Progress::Waits => {
                self.next = emptying.next;
                Outcome::UnderWay
            }
            Progress::Empty => self.delete(cx, cloud, node),
            Progress::GivenUp(pods) => {
                for pod in &pods {
                    let told = (true, "ScaleDownFailed", "failed to delete pod for ScaleDown");
                    tell(cx, pod, SOURCE, told);
                }
                let names: Vec<String> = pods.iter().map(|(space, name)| format!("{space}/{name}")).collect();
                let names = names.join(", ");
                let why = format!("Failed to drain node /{node}: {names} not evicted within allowed timeout");
                self.fail(cx, node, &why)
            }
        }
    }
    fn empty(&self, cx: &mut Cx<'_>, node: &str, pods: &[Pod], set: &Autoscaler) -> Emptying {
        let text = |part: &Option<String>| Arc::from(part.as_deref().unwrap_or_default());
        for pod in pods {
            let place = (text(&pod.metadata.namespace), text(&pod.metadata.name));
            tell(cx, &place, SOURCE, (false, "ScaleDown", "deleting pod for node scale down"));
        }
        let grace_max = i64::from(set.max_graceful_termination_sec);
        let wait = Span::from_seconds(grace_max) + HEADROOM;
        let (patience, grace_max) = (set.max_pod_eviction_time, Some(grace_max));
        let ways = Ways { retry: RETRY, patience, poll: POLL, wait, grace_max };
        Emptying::new(node, pods, ways, cx.now)
    }
    fn delete(&self, cx: &mut Cx<'_>, cloud: &mut Cloud, node: &str) -> Outcome {
        say_of_node(cx, node, false, "ScaleDown", "node removed by cluster autoscaler");
        let (reason, message) = match self.drains {
            true => ("ScaleDown", format!("Scale-down: node {node} removed with drain")),
            false => ("ScaleDownEmpty", format!("Scale-down: empty node {node} removed")),
        };
        about_status(cx, reason, message, false);
        cloud.delete(cx, node);
        Outcome::Deleted
    }
    /// Leaves the node as it was.
    fn fail(&self, cx: &mut Cx<'_>, node: &str, why: &str) -> Outcome {
        change(cx, node, |node| {
            remove_taint(node, TO_BE_DELETED);
            node.spec.get_or_insert_default().unschedulable = None;
        });
        let message = match self.drains {
            true => format!("failed to drain and delete node: {why}"),
            false => format!("failed to delete empty node: {why}"),
        };
        say_of_node(cx, node, true, "ScaleDownFailed", &message);
        Outcome::Failed
    }
}
