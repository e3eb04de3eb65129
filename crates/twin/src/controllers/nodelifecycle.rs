//! `nodelifecycle` and taint eviction.
//!
//! A node whose machine has been silent for the grace period gets its conditions set to Unknown. Nodes that are not ready,
//! under pressure, without network or cordoned are tainted NoSchedule at once ([`no_schedule`]); those that are not ready
//! NoExecute as well, when it is their turn in their zone ([`zones`]). Pods that do not tolerate a NoExecute taint are
//! deleted, those that tolerate it for a while when the while is over. A node that has said nothing of being ready for a minute
//! after it was made is unknown as well. Heartbeats themselves are no events: `lastHeartbeatTime` and the Leases are not renewed.

mod zones;

use super::kubelet::set_condition as set_pod_condition;
use super::node::{is_ready, readiness, taints, zone};
use super::{Cx, Place, is_deleting, is_terminal, time};
use crate::controllers::events::{About, Source};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, PodCondition, Taint, Toleration};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zones::Zones;

const NO_EXECUTE: &str = "NoExecute";
const NO_SCHEDULE: &str = "NoSchedule";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Which condition of a node, and which status of it, taints the node how.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
/// How long a new node may say nothing of being ready (`--node-startup-grace-period`).
const STARTUP: Span = Span::from_seconds(60);
/// What is said of a node that no longer says anything, and of one that never did.
const STOPPED_POSTING: &str = "Kubelet stopped posting node status.";
const NEVER_POSTED: &str = "Kubelet never posted node status.";
/// The conditions a node is given that says nothing of being ready, in this order.
const HEALTH: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const SOURCE: Source<'static> = Source { component: "node-controller", host: None };
const EVICTION: Source<'static> = Source { component: "taint-eviction-controller", host: None };

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NodeLifecycle {
    /// Nodes with a NoExecute taint.
    tainted: BTreeSet<Arc<str>>,
    #[serde(default, skip_serializing_if = "Zones::is_idle")]
    zones: Zones,
    /// When a node's turn to be tainted comes, if a timer is set for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turn_at: Option<Instant>,
    /// Whether nodes have come, gone or changed in what they are tainted by.
    #[serde(skip)]
    changed: bool,
    /// Whether a turn may have come.
    #[serde(skip)]
    turn: bool,
    /// Nodes whose pods, and pods whose node, are to be looked at; empty at rest.
    #[serde(skip)]
    nodes: BTreeSet<Arc<str>>,
    #[serde(skip)]
    pods: BTreeSet<Place>,
}

/// A node's name and zone, and the taint for what it says of being ready, if it says anything.
type Said = (Arc<str>, String, Option<Option<&'static str>>);

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
    pub(crate) fn observe(&mut self, cx: &mut Cx<'_>, change: &Change) {
        let object = &change.object.object;
        match object {
            Object::Node(node) => {
                let taints = no_execute(node);
                let old = change.previous.as_ref().and_then(|p| p.object.as_node());
                let said = |node: &Node| !readiness(node).is_empty();
                if change.kind != ChangeKind::Deleted && !said(node) && old.is_none_or(said) {
                    expect_status(cx, object);
                }
                let states = |node: &Node| (readiness(node).to_owned(), zone(node), no_schedule(node));
                self.changed |= change.kind == ChangeKind::Deleted
                    || old.is_none_or(|old| {
                        states(old) != states(node) || self::taints(old) != self::taints(node)
                    });
                let before = old.map(no_execute);
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
        let mut acted = self.taint_nodes(cx);
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

impl NodeLifecycle {
    /// A node's turn to be tainted may have come.
    pub(crate) fn wake(&mut self) {
        self.turn_at = None;
        (self.turn, self.changed) = (true, true);
    }
    /// Gives every node the taints of its condition, NoExecute when it is its turn; whether any was changed.
    fn taint_nodes(&mut self, cx: &mut Cx<'_>) -> bool {
        if !std::mem::take(&mut self.changed) {
            return false;
        }
        let all = cx.objects.list(Kind::Node, None);
        let all = all.filter_map(|stored| Some((Arc::from(stored.object.name()), stored.object.as_node()?)));
        let all: Vec<Said> = all.map(|(name, node)| (name, zone(node), taint_for(readiness(node)))).collect();
        let mut acted = false;
        // Those that say nothing of being ready are cordoned like others.
        for (name, ..) in all.iter().filter(|(.., taint)| taint.is_none()) {
            acted |= set_taints(cx, name, None);
        }
        let says = all.into_iter().filter_map(|(name, zone, taint)| Some((name, zone, taint?)));
        let nodes: Vec<(Arc<str>, String, Option<&str>)> = says.collect();
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (_, zone, taint) in &nodes {
            let count = counts.entry(zone.clone()).or_default();
            *(if taint.is_none() { &mut count.0 } else { &mut count.1 }) += 1;
        }
        let stopped = self.zones.look(&counts, cx.now);
        for (name, zone, taint) in &nodes {
            let Some(node) = cx.node(name) else { continue };
            // One that is tainted for eviction stays so, under the key that fits now, unless evictions stop.
            let marked = no_execute(node).iter().any(|t| evicts(t)) && !stopped;
            match taint {
                Some(_) if !marked => self.zones.wait(zone, name),
                _ => self.zones.forget(name),
            }
            acted |= set_taints(cx, name, taint.filter(|_| marked));
        }
        // Turns come by a timer, so that all nodes whose silence is noticed at one instant are counted before.
        if std::mem::take(&mut self.turn) {
            for name in self.zones.due(cx.now) {
                let taint = cx.node(&name).and_then(|node| taint_for(readiness(node))).flatten();
                acted |= set_taints(cx, &name, taint);
            }
        }
        if let Some(at) = self.zones.next_at().map(|at| at.max(cx.now))
            && self.turn_at.is_none_or(|set| at < set)
        {
            self.turn_at = Some(at);
            cx.timers.set(at, Priority::Controller, Task::Taint);
        }
        acted
    }
}

/// The key of the taint for a node whose condition Ready says so; `None`: it says nothing, and the node is left alone.
fn taint_for(readiness: &str) -> Option<Option<&'static str>> {
    match readiness {
        "" => None,
        "True" => Some(None),
        "False" => Some(Some(NOT_READY)),
        _ => Some(Some(UNREACHABLE)),
    }
}

/// The keys by which a node's conditions, and its being cordoned, keep new pods away.
fn no_schedule(node: &Node) -> Vec<&'static str> {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let by = |kind: &str, status: &str| {
        let found = TAINTS.iter().find(|(of, is, _)| *of == kind && *is == status);
        found.map(|(.., key)| *key)
    };
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let conditions = conditions.iter().filter_map(|c| by(&c.type_, &c.status));
    conditions.chain(cordoned.then_some(UNSCHEDULABLE)).collect()
}

/// Whether the controller itself evicts by this taint.
fn evicts(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && (taint.key == UNREACHABLE || taint.key == NOT_READY)
}

/// Whether the controller itself gives nodes this taint.
fn is_own(taint: &Taint) -> bool {
    let keeps_away = || taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(.., key)| *key == taint.key);
    evicts(taint) || (taint.effect == NO_SCHEDULE && keeps_away())
}

/// Gives a node the taints it is to have, `evict` to evict its pods too, and takes the controller's others away; whether
/// that changed anything.
fn set_taints(cx: &mut Cx<'_>, name: &str, evict: Option<&str>) -> bool {
    let Some(old) = cx.node(name) else { return false };
    let wanted = no_schedule(old).into_iter().map(|key| (key, NO_SCHEDULE));
    let wanted: Vec<(&str, &str)> = wanted.chain(evict.map(|key| (key, NO_EXECUTE))).collect();
    let is = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let stays = |taint: &&Taint| !is_own(taint) || wanted.iter().any(|w| is(taint, w));
    let mut kept: Vec<Taint> = taints(old).iter().filter(stays).cloned().collect();
    let before = kept.len();
    for (key, effect) in wanted.iter().filter(|w| !taints(old).iter().any(|taint| is(taint, w))) {
        kept.push(Taint {
            key: (*key).to_owned(),
            effect: (*effect).to_owned(),
            time_added: Some(time(cx.now)),
            value: None,
        });
    }
    if before == kept.len() && before == taints(old).len() {
        return false;
    }
    let mut node = old.clone();
    node.spec.get_or_insert_default().taints = Some(kept).filter(|taints| !taints.is_empty());
    cx.objects.put(Object::Node(Box::new(node)));
    true
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

/// A node's silence is noticed: its conditions become Unknown, its pods are not ready.
pub(crate) fn mark_unreachable(cx: &mut Cx<'_>, name: &str) {
    let Some(stored) = cx.objects.get(Kind::Node, "", name).cloned() else { return };
    let Object::Node(node) = &stored.object else { return };
    let mut node = node.clone();
    for condition in node.status.get_or_insert_default().conditions.iter_mut().flatten() {
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.message = Some(STOPPED_POSTING.to_owned());
        condition.last_transition_time = Some(time(cx.now));
    }
    // One that has said itself that it is not ready was not ready before.
    if stored.object.as_node().is_some_and(is_ready) {
        let text = format!("Node {name} status is now: NodeNotReady");
        cx.normal(&About::new(&stored.object), SOURCE, "NodeNotReady", text);
    }
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

fn created(object: &Object) -> Option<Instant> {
    object.meta().creation_timestamp.as_ref().map(|time| Instant::from_jiff(time.0))
}

/// Looks again at a node that says nothing of being ready, once it should have.
fn expect_status(cx: &mut Cx<'_>, node: &Object) {
    let at = created(node).unwrap_or(cx.now) + STARTUP;
    let task = Task::NeverPosted { node: node.name().into(), uid: node.uid().into() };
    cx.timers.set(at.max(cx.now), Priority::Controller, task);
}

/// A node has said nothing of being ready for too long: nobody knows how it is.
pub(crate) fn mark_never_posted(cx: &mut Cx<'_>, name: &str, uid: &str) {
    let Some(stored) = cx.objects.get(Kind::Node, "", name).filter(|s| s.object.uid() == uid).cloned() else {
        return;
    };
    let Object::Node(node) = &stored.object else { return };
    if !readiness(node).is_empty() {
        return;
    }
    let mut node = node.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    for kind in HEALTH {
        let unknown = |reason: &str, message: &str, heartbeat| NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: heartbeat,
            last_transition_time: Some(time(cx.now)),
        };
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(own) if own.status == "Unknown" => {}
            Some(own) => {
                let heartbeat = own.last_heartbeat_time.clone();
                *own = unknown("NodeStatusUnknown", STOPPED_POSTING, heartbeat);
            }
            None => {
                let heartbeat = created(&stored.object).map(time);
                conditions.push(unknown("NodeStatusNeverUpdated", NEVER_POSTED, heartbeat));
            }
        }
    }
    cx.objects.put(Object::Node(node));
}

/// A node is back: its conditions are as they were at first, and the taints are gone.
pub(crate) fn mark_ready(cx: &mut Cx<'_>, name: &str) {
    let Some(stored) = cx.objects.get(Kind::Node, "", name).cloned() else { return };
    let Object::Node(node) = &stored.object else { return };
    let mut node = node.clone();
    node.status.get_or_insert_default().conditions = Some(crate::world::node_conditions(cx.now));
    // A cordon stays.
    let stays = |taint: &&Taint| !is_own(taint) || taint.key == UNSCHEDULABLE;
    let kept: Vec<Taint> = taints(&node).iter().filter(stays).cloned().collect();
    node.spec.get_or_insert_default().taints = Some(kept).filter(|taints| !taints.is_empty());
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
