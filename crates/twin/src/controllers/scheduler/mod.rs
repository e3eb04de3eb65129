//! `scheduler`: binds pending pods to nodes.
//!
//! Works on its own compact arrays of what nodes have and pods ask for, kept up to date by events.
//! Pods go by priority, then by when they came. A pod that fits nowhere waits until a node gains room
//! that would hold it (or changes in another way); nothing is polled. Ties between nodes go to the
//! first name, where kube-scheduler picks at random. Binding takes no time. Invariant: what is
//! requested on a node never exceeds its allocatable, except by pods bound by hand. Left out:
//! preemption, preferred affinity and taints, inter-pod affinity, topology spread, ports, volumes,
//! image locality, sampling of nodes in clusters above 100 nodes.

mod filter;
mod score;

use super::{Cx, is_deleting, is_terminal, phase, time};
use crate::amounts::{self, Amounts};
use crate::controllers::events::{About, Source};
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use fleet::Instant;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The scheduler's name in `spec.schedulerName`.
const NAME: &str = "default-scheduler";
const SOURCE: Source<'static> = Source { component: NAME, host: None };

/// A node as the scheduler sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct NodeInfo {
    labels: BTreeMap<String, String>,
    /// Taints with effect NoSchedule or NoExecute.
    taints: Vec<Taint>,
    unschedulable: bool,
    allocatable: Amounts,
    used: Amounts,
    /// CPU and memory requested, with kube-scheduler's stand-ins for what is not stated.
    scored_cpu_millis: i64,
    scored_memory_bytes: i64,
    /// Whether there is a Node object; pods may outlive it for a moment.
    known: bool,
}

impl NodeInfo {
    fn describe(&mut self, node: &Node) {
        let spec = node.spec.as_ref();
        let taints = spec.and_then(|s| s.taints.as_ref()).into_iter().flatten();
        self.taints = taints.filter(|t| t.effect != "PreferNoSchedule").cloned().collect();
        self.unschedulable = spec.and_then(|s| s.unschedulable).unwrap_or(false);
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.allocatable = amounts::allocatable(node);
        self.known = true;
    }
}

/// A pod that holds room on a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Placed {
    node: Arc<str>,
    request: Amounts,
    scored: (i64, i64),
}

/// Order of the queue: higher priority first, then earlier, then as they were heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Rank {
    /// Negated priority.
    urgency: i64,
    since: Instant,
    number: u64,
}

/// A pod that is to be bound.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    namespace: Arc<str>,
    name: Arc<str>,
    uid: Arc<str>,
    request: Amounts,
    scored: (i64, i64),
    /// Whether there has been an attempt, and why it failed.
    tried: bool,
    message: Option<String>,
}

/// The scheduler's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scheduler {
    nodes: BTreeMap<Arc<str>, NodeInfo>,
    placed: BTreeMap<Arc<str>, Placed>,
    #[serde(with = "crate::world::pairs")]
    waiting: BTreeMap<Rank, Waiting>,
    ranks: BTreeMap<Arc<str>, Rank>,
    number: u64,
    /// Pods to try at once; empty at rest.
    #[serde(skip)]
    fresh: BTreeSet<Rank>,
    /// Nodes that have gained something since the last pass; empty at rest.
    #[serde(skip)]
    gained: BTreeSet<Arc<str>>,
}

/// Whether this scheduler is to bind the pod.
fn is_mine(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.node_name.is_none()
        && spec.scheduler_name.as_deref().is_none_or(|name| name == NAME)
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
        && !is_deleting(&pod.metadata)
        && phase(pod) == "Pending"
}

impl Scheduler {
    pub(crate) fn observe(&mut self, change: &Change) {
        match &change.object.object {
            Object::Node(node) => self.observe_node(node, change.kind),
            Object::Pod(pod) => self.observe_pod(pod, change),
            _ => {}
        }
    }
    fn observe_node(&mut self, node: &Node, kind: ChangeKind) {
        let name: Arc<str> = node.metadata.name.as_deref().unwrap_or_default().into();
        if kind == ChangeKind::Deleted {
            if let Some(info) = self.nodes.get_mut(&name) {
                info.known = false;
            }
            self.drop_if_unused(&name);
            return;
        }
        self.nodes.entry(name.clone()).or_default().describe(node);
        self.gained.insert(name);
    }
    fn drop_if_unused(&mut self, node: &str) {
        if self.nodes.get(node).is_some_and(|info| !info.known && info.used.pods == 0) {
            self.nodes.remove(node);
        }
    }
    fn observe_pod(&mut self, pod: &Pod, change: &Change) {
        let Some(uid) = pod.metadata.uid.as_deref() else { return };
        let gone = change.kind == ChangeKind::Deleted || is_terminal(pod);
        let bound = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
        match bound {
            Some(node) if !gone => {
                if !self.placed.contains_key(uid) {
                    self.place(uid.into(), node.into(), amounts::requested(pod), amounts::scored(pod));
                }
            }
            _ => self.release(uid),
        }
        if !gone && is_mine(pod) {
            if !self.ranks.contains_key(uid) {
                self.enqueue(uid, pod, change);
            }
        } else if let Some(rank) = self.ranks.remove(uid) {
            self.waiting.remove(&rank);
            self.fresh.remove(&rank);
        }
    }
    fn enqueue(&mut self, uid: &str, pod: &Pod, change: &Change) {
        let object = &change.object.object;
        let created = pod.metadata.creation_timestamp.as_ref();
        self.number += 1;
        let rank = Rank {
            urgency: -i64::from(pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)),
            since: created.map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0)),
            number: self.number,
        };
        let waiting = Waiting {
            namespace: object.namespace().into(),
            name: object.name().into(),
            uid: uid.into(),
            request: amounts::requested(pod),
            scored: amounts::scored(pod),
            tried: false,
            message: None,
        };
        self.ranks.insert(waiting.uid.clone(), rank);
        self.waiting.insert(rank, waiting);
        self.fresh.insert(rank);
    }
    fn place(&mut self, uid: Arc<str>, node: Arc<str>, request: Amounts, scored: (i64, i64)) {
        let info = self.nodes.entry(node.clone()).or_default();
        info.used.add(&request);
        info.scored_cpu_millis += scored.0;
        info.scored_memory_bytes += scored.1;
        self.placed.insert(uid, Placed { node, request, scored });
    }
    fn release(&mut self, uid: &str) {
        let Some(placed) = self.placed.remove(uid) else { return };
        if let Some(info) = self.nodes.get_mut(&placed.node) {
            info.used.subtract(&placed.request);
            info.scored_cpu_millis -= placed.scored.0;
            info.scored_memory_bytes -= placed.scored.1;
        }
        self.drop_if_unused(&placed.node);
        self.gained.insert(placed.node);
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.fresh.is_empty() && self.gained.is_empty() {
            return false;
        }
        let gained = std::mem::take(&mut self.gained);
        let fresh = std::mem::take(&mut self.fresh);
        // In the order of the queue; whether a node still holds a pod is asked when its turn comes,
        // because those before it may have taken the room.
        let ranks: Vec<Rank> = if gained.is_empty() {
            fresh.into_iter().collect()
        } else {
            self.waiting.keys().copied().collect()
        };
        for rank in ranks {
            let Some(waiting) = self.waiting.get(&rank) else { continue };
            let holds = |name: &Arc<str>| {
                self.nodes.get(name).is_some_and(|n| n.known && waiting.request.fits(&n.allocatable, &n.used))
            };
            if !waiting.tried || gained.iter().any(holds) {
                self.attempt(cx, rank);
            }
        }
        true
    }
    /// Tries to bind one pod.
    fn attempt(&mut self, cx: &mut Cx<'_>, rank: Rank) {
        let Some(waiting) = self.waiting.get_mut(&rank) else { return };
        waiting.tried = true;
        let Some(stored) = cx.pod(&waiting.namespace, &waiting.name, &waiting.uid) else { return };
        let Object::Pod(pod) = &stored.object else { return };
        let nodes = self.nodes.iter().filter(|(_, info)| info.known);
        let mut best: Option<(i64, &Arc<str>)> = None;
        let mut reasons = filter::Reasons::default();
        for (name, info) in nodes {
            if !filter::passes(pod, name, info, &waiting.request, &mut reasons) {
                continue;
            }
            let score = score::total(info, &waiting.request, waiting.scored);
            if best.is_none_or(|(other, _)| score > other) {
                best = Some((score, name));
            }
        }
        let about = About::new(&stored.object);
        if let Some((_, node)) = best {
            let node = node.clone();
            let text = format!("Successfully assigned {}/{} to {node}", waiting.namespace, waiting.name);
            let (uid, request, scored) = (waiting.uid.clone(), waiting.request.clone(), waiting.scored);
            self.waiting.remove(&rank);
            self.ranks.remove(&uid);
            self.place(uid, node.clone(), request, scored);
            let mut pod = pod.clone();
            pod.spec.get_or_insert_default().node_name = Some(node.to_string());
            set_scheduled(&mut pod, cx.now, None);
            cx.put_pod(pod);
            cx.normal(&about, SOURCE, "Scheduled", text);
            return;
        }
        let message = reasons.message();
        if waiting.message.as_ref() == Some(&message) {
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&rank) {
            waiting.message = Some(message.clone());
        }
        let mut pod = pod.clone();
        set_scheduled(&mut pod, cx.now, Some(&message));
        cx.put_pod(pod);
        cx.warning(&about, SOURCE, "FailedScheduling", message);
    }
    /// The first node, if any, on which more is requested than it has: a broken invariant.
    pub(crate) fn overcommitted(&self) -> Option<(&str, String)> {
        let over = |info: &NodeInfo| {
            let (have, used) = (&info.allocatable, &info.used);
            info.known
                && (used.cpu_millis > have.cpu_millis
                    || used.memory_bytes > have.memory_bytes
                    || used.pods > have.pods)
        };
        let (name, info) = self.nodes.iter().find(|(_, info)| over(info))?;
        Some((name, format!("requested {:?}, allocatable {:?}", info.used, info.allocatable)))
    }
}

/// Sets the condition PodScheduled: true, or false with the reason why not.
fn set_scheduled(pod: &mut Pod, now: Instant, failure: Option<&str>) {
    let status = pod.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter().position(|c| c.type_ == "PodScheduled");
    let value = if failure.is_some() { "False" } else { "True" };
    let unchanged = old.filter(|i| conditions[*i].status == value);
    let since = unchanged.and_then(|i| conditions[i].last_transition_time.clone());
    let new = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: value.to_owned(),
        reason: failure.map(|_| "Unschedulable".to_owned()),
        message: failure.map(str::to_owned),
        last_transition_time: Some(since.unwrap_or_else(|| time(now))),
        ..PodCondition::default()
    };
    match old {
        Some(i) => conditions[i] = new,
        None => conditions.push(new),
    }
}
