//! `nodelifecycle` and taint eviction, in a first form.
//!
//! A node whose machine has been silent for the grace period gets its conditions set to Unknown and is
//! tainted; pods that do not tolerate a NoExecute taint are deleted, those that tolerate it for a while
//! when the while is over. Left out: rate limits per zone, and stopping evictions when every node is
//! silent. Heartbeats themselves are no events: `lastHeartbeatTime` and the Leases are not renewed.

use super::kubelet::set_condition as set_pod_condition;
use super::node::taints;
use super::{Cx, Place, is_deleting, is_terminal, time};
use crate::controllers::events::{About, Source};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

const NO_EXECUTE: &str = "NoExecute";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const SOURCE: Source<'static> = Source { component: "node-controller", host: None };
const EVICTION: Source<'static> = Source { component: "taint-eviction-controller", host: None };

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NodeLifecycle {
    /// Nodes with a NoExecute taint.
    tainted: BTreeSet<Arc<str>>,
    /// Nodes whose pods, and pods whose node, are to be looked at; empty at rest.
    #[serde(skip)]
    nodes: BTreeSet<Arc<str>>,
    #[serde(skip)]
    pods: BTreeSet<Place>,
}

fn no_execute(node: &Node) -> Vec<&Taint> {
    taints(node).iter().filter(|t| t.effect == NO_EXECUTE).collect()
}

/// Whether a toleration covers a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    if toleration.effect.as_deref().is_some_and(|e| !e.is_empty() && e != taint.effect) {
        return false;
    }
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        _ => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("")
        }
    }
}

/// When a pod has to leave its node: `Some(None)` never, `None` at once.
fn leaves_at(pod: &Pod, taints: &[&Taint], now: Instant) -> Option<Option<Instant>> {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    let mut earliest: Option<Instant> = None;
    for taint in taints {
        let matching: Vec<&Toleration> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if matching.is_empty() {
            return None;
        }
        let since = taint.time_added.as_ref().map_or(now, |t| Instant::from_jiff(t.0));
        if let Some(seconds) = matching.iter().filter_map(|t| t.toleration_seconds).min() {
            let at = since + Span::from_seconds(seconds.max(0));
            earliest = Some(earliest.map_or(at, |e| e.min(at)));
        }
    }
    Some(earliest)
}

impl NodeLifecycle {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        match object {
            Object::Node(node) => {
                let taints = no_execute(node);
                let before = change.previous.as_ref().and_then(|p| p.object.as_node()).map(no_execute);
                if taints.is_empty() || change.kind == ChangeKind::Deleted {
                    self.tainted.remove(object.name());
                } else if before.is_none_or(|before| before != taints) {
                    self.tainted.insert(object.name().into());
                    self.nodes.insert(object.name().into());
                }
            }
            Object::Pod(pod) if !self.tainted.is_empty() && change.kind != ChangeKind::Deleted => {
                let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
                let before = change.previous.as_ref().and_then(|p| p.object.as_pod());
                let newly = before.is_none_or(|b| b.spec.as_ref().is_none_or(|s| s.node_name.is_none()));
                if newly && node.is_some_and(|node| self.tainted.contains(node)) {
                    self.pods.insert((object.namespace().into(), object.name().into()));
                }
            }
            _ => {}
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        while let Some(node) = self.nodes.pop_first() {
            for stored in cx.objects.list(Kind::Pod, None) {
                if stored.object.as_pod().and_then(|p| p.spec.as_ref()?.node_name.as_deref()) == Some(&*node)
                {
                    self.pods.insert((stored.object.namespace().into(), stored.object.name().into()));
                }
            }
        }
        while let Some(place) = self.pods.pop_first() {
            acted |= consider(cx, &place, None);
        }
        acted
    }
}

/// Evicts a pod that may stay no longer, or sets a timer for when it may not.
pub(crate) fn consider(cx: &mut Cx<'_>, (namespace, name): &Place, uid: Option<&str>) -> bool {
    let Some(stored) = cx.objects.get(Kind::Pod, namespace, name).cloned() else { return false };
    let Object::Pod(pod) = &stored.object else { return false };
    if uid.is_some_and(|uid| uid != stored.object.uid()) || is_deleting(&pod.metadata) || is_terminal(pod) {
        return false;
    }
    let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) else { return false };
    let Some(node) = cx.node(node) else { return false };
    let at = match leaves_at(pod, &no_execute(node), cx.now) {
        Some(None) => return false,
        Some(Some(at)) => at,
        None => cx.now,
    };
    if at > cx.now {
        if uid.is_none() {
            let uid = stored.object.uid().into();
            let task = Task::Evict { namespace: namespace.clone(), name: name.clone(), uid };
            cx.timers.set(at, Priority::Controller, task);
        }
        return false;
    }
    let mut next = pod.clone();
    let conditions = next.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("DeletionByTaintManager".to_owned()),
        message: Some("Taint manager: deleting due to NoExecute taint".to_owned()),
        last_transition_time: Some(time(cx.now)),
        ..PodCondition::default()
    });
    let about = About::new(&stored.object);
    cx.normal(
        &about,
        EVICTION,
        "TaintManagerEviction",
        format!("Marking for deletion Pod {namespace}/{name}"),
    );
    cx.put_pod(next);
    cx.delete(Kind::Pod, namespace, name);
    true
}

/// A node's silence is noticed: its conditions become Unknown, it is tainted, its pods are not ready.
pub(crate) fn mark_unreachable(cx: &mut Cx<'_>, name: &str) {
    let Some(stored) = cx.objects.get(Kind::Node, "", name).cloned() else { return };
    let Object::Node(node) = &stored.object else { return };
    let mut node = node.clone();
    for condition in node.status.get_or_insert_default().conditions.iter_mut().flatten() {
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.message = Some("Kubelet stopped posting node status.".to_owned());
        condition.last_transition_time = Some(time(cx.now));
    }
    let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
    taints.retain(|t| t.key != UNREACHABLE);
    for effect in ["NoSchedule", NO_EXECUTE] {
        taints.push(Taint {
            key: UNREACHABLE.to_owned(),
            effect: effect.to_owned(),
            time_added: Some(time(cx.now)),
            value: None,
        });
    }
    let about = About::new(&stored.object);
    cx.normal(&about, SOURCE, "NodeNotReady", format!("Node {name} status is now: NodeNotReady"));
    cx.objects.put(Object::Node(node));
    let pods: Vec<_> = cx.objects.list(Kind::Pod, None).cloned().collect();
    for stored in pods {
        let Object::Pod(pod) = &stored.object else { continue };
        let here = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(name);
        if here && !is_terminal(pod) {
            let mut pod = pod.clone();
            set_pod_condition(
                pod.status.get_or_insert_default(),
                "Ready",
                false,
                Some("NodeNotReady"),
                cx.now,
            );
            cx.put_pod(pod);
        }
    }
}

/// A node is back: its conditions are as they were at first, and the taint is gone.
pub(crate) fn mark_ready(cx: &mut Cx<'_>, name: &str) {
    let Some(stored) = cx.objects.get(Kind::Node, "", name).cloned() else { return };
    let Object::Node(node) = &stored.object else { return };
    let mut node = node.clone();
    node.status.get_or_insert_default().conditions = Some(crate::world::node_conditions(cx.now));
    if let Some(spec) = &mut node.spec
        && let Some(taints) = &mut spec.taints
    {
        taints.retain(|t| t.key != UNREACHABLE);
        if taints.is_empty() {
            spec.taints = None;
        }
    }
    let about = About::new(&stored.object);
    let source = Source { component: "kubelet", host: Some(name) };
    cx.normal(&about, source, "NodeReady", format!("Node {name} status is now: NodeReady"));
    cx.objects.put(Object::Node(node));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_match_as_the_api_says() {
        let taint = |key: &str, value: &str| Taint {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            effect: NO_EXECUTE.to_owned(),
            time_added: None,
        };
        let toleration = |key: Option<&str>, operator: &str, effect: Option<&str>| Toleration {
            key: key.map(str::to_owned),
            operator: Some(operator.to_owned()),
            effect: effect.map(str::to_owned),
            value: Some("v".to_owned()),
            toleration_seconds: None,
        };
        assert!(tolerates(&toleration(None, "Exists", None), &taint("a", "x")));
        assert!(tolerates(&toleration(Some("a"), "Equal", Some(NO_EXECUTE)), &taint("a", "v")));
        assert!(!tolerates(&toleration(Some("a"), "Equal", None), &taint("a", "x")));
        assert!(!tolerates(&toleration(Some("a"), "Exists", Some("NoSchedule")), &taint("a", "x")));
        assert!(!tolerates(&toleration(Some("b"), "Exists", None), &taint("a", "x")));
    }
}
