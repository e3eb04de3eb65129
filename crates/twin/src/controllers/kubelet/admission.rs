//! Whether a node takes in a pod that was bound to it.
//!
//! As kubelet's eviction manager and `predicateAdmitHandler`, version 1.36, whose words these are: no pressure, room beside what
//! the node's other pods were allocated, then node selector and affinity, host ports, and NoExecute taints, and last whether it
//! shuts down; the first that fails is the reason. A pod that is refused has failed, and whoever owns it makes another. A
//! critical pod that only lacks room is taken in once others have ended for it ([`super::preemption`]); taints do not keep a
//! static pod away. Invariant: a refused pod holds nothing of its node. Left out: device, CPU and topology managers.

use super::podstatus::observed;
use super::preemption::{Need, is_critical};
use super::shutdown::REJECTED;
use super::{Kubelet, Run};
use crate::amounts::{self, Amounts};
use crate::controllers::events::About;
use crate::controllers::node::taints;
use crate::controllers::nodelifecycle::tolerates;
use crate::controllers::scheduler::PodInfo;
use crate::controllers::{Cx, time};
use fleet::Span;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, PodStatus, Taint};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// From hearing of a pod to having said that it is refused; assumed. A controller that makes another at once for the
/// same node takes at least so long for each.
pub(super) const REFUSAL: Span = Span::from_seconds(1);

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    reason: String,
    message: String,
}

/// What becomes of a pod that was bound to a node.
pub(super) enum Admission {
    /// It is taken in.
    Taken,
    /// It has failed.
    Refused(Refusal),
    /// It is taken in once these pods have ended, one after the other.
    After(Vec<Arc<str>>),
}

/// Something there is too little of.
struct Short {
    name: String,
    requested: i64,
    used: i64,
    capacity: i64,
}

impl Short {
    fn need(&self) -> Need {
        Need { name: self.name.clone(), amount: self.requested - (self.capacity - self.used) }
    }
}

impl Refusal {
    fn lacking(Short { name, requested, used, capacity }: &Short) -> Refusal {
        let why = "Node didn't have enough resource";
        Refusal {
            reason: format!("OutOf{name}"),
            message: format!("{why}: {name}, requested: {requested}, used: {used}, capacity: {capacity}"),
        }
    }
    /// No room could be made.
    fn unexpected(why: &str) -> Refusal {
        let head = "Unexpected error while attempting to recover from admission failure";
        Refusal { reason: "UnexpectedAdmissionError".to_owned(), message: format!("{head}: {why}") }
    }
    fn predicate(name: &str, why: &str) -> Refusal {
        Refusal { reason: name.to_owned(), message: format!("Predicate {name} failed: {why}") }
    }
}

/// The pods a node has taken in, and what they were allocated together.
#[derive(Clone, Debug, Default)]
pub(super) struct Resident {
    uids: BTreeSet<Arc<str>>,
    cpu_millis: i64,
    memory_bytes: i64,
    /// How many of them state what they use.
    stated: u32,
}

impl Resident {
    fn change(&mut self, asks: (i64, i64), sign: i64) {
        self.cpu_millis += sign * asks.0;
        self.memory_bytes += sign * asks.1;
    }
}

/// The same for all nodes. Follows from the runs: it is not saved, and is read anew after loading.
#[derive(Debug, Default)]
pub(super) struct Residents(Option<BTreeMap<Arc<str>, Resident>>);

impl Residents {
    fn of(&mut self, runs: &BTreeMap<Arc<str>, Run>, node: &str) -> Option<&Resident> {
        if self.0.is_none() {
            self.0 = Some(BTreeMap::new());
            runs.iter().for_each(|(uid, run)| self.insert(uid, run));
        }
        self.0.as_ref()?.get(node)
    }
    /// Whether a pod of a node states what it uses.
    pub(super) fn state(&mut self, runs: &BTreeMap<Arc<str>, Run>, node: &str) -> bool {
        self.of(runs, node).is_some_and(|resident| resident.stated > 0)
    }
    pub(super) fn insert(&mut self, uid: &Arc<str>, run: &Run) {
        let Some(all) = self.0.as_mut().filter(|_| run.refusal.is_none()) else { return };
        let resident = all.entry(run.node.clone()).or_default();
        if resident.uids.insert(uid.clone()) {
            resident.stated += u32::from(run.stated);
            resident.change(run.asks, 1);
        }
    }
    pub(super) fn remove(&mut self, uid: &str, run: &Run) {
        let resident = self.0.as_mut().and_then(|all| all.get_mut(&run.node));
        if let Some(resident) = resident.filter(|resident| resident.uids.contains(uid)) {
            resident.uids.remove(uid);
            resident.stated = resident.stated.saturating_sub(u32::from(run.stated));
            resident.change(run.asks, -1);
        }
    }
}

/// Whether a resource is one that devices bring, which only nodes that have it count.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.starts_with("hugepages-") && !name.starts_with("kubernetes.io/")
}

fn has_ports(spec: &PodSpec) -> bool {
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.flat_map(|c| c.ports.iter().flatten()).any(|port| port.host_port.is_some_and(|number| number > 0))
}

/// Whether a pod's selectors may keep it off a node.
fn selects(spec: &PodSpec) -> bool {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    spec.node_selector.as_ref().is_some_and(|labels| !labels.is_empty())
        || affinity.is_some_and(|a| a.required_during_scheduling_ignored_during_execution.is_some())
}

/// What there is too little of for a pod beside others, in the order the kubelet looks.
fn shortages(asked: &Amounts, used: &Amounts, room: &Amounts) -> Vec<Short> {
    let pods = (used.pods + 1 > room.pods).then_some(("pods", 1, used.pods, room.pods));
    let others =
        asked.others.iter().filter(|(name, _)| !is_extended(name) || room.others.contains_key(*name));
    let others = others.map(|(name, asked)| (name.as_str(), *asked, used.other(name), room.other(name)));
    let plain = [
        ("cpu", asked.cpu_millis, used.cpu_millis, room.cpu_millis),
        ("memory", asked.memory_bytes, used.memory_bytes, room.memory_bytes),
    ];
    let all = plain.into_iter().chain(others);
    let all =
        pods.into_iter().chain(all.filter(|(_, asked, used, room)| *asked > 0 && *asked > *room - *used));
    let short = |(name, requested, used, capacity): (&str, i64, i64, i64)| Short {
        name: name.to_owned(),
        requested,
        used,
        capacity,
    };
    all.map(short).collect()
}

impl Kubelet {
    /// What the pods of a node hold. What few pods ask for is only looked up where `all` is asked.
    pub(super) fn held(&mut self, cx: &Cx<'_>, node: &str, all: bool) -> Amounts {
        let Some(resident) = self.residents.of(&self.runs, node) else { return Amounts::default() };
        let mut held = Amounts {
            pods: i64::try_from(resident.uids.len()).unwrap_or(i64::MAX),
            cpu_millis: resident.cpu_millis,
            memory_bytes: resident.memory_bytes,
            ..Amounts::default()
        };
        for run in resident.uids.iter().filter(|_| all).filter_map(|uid| self.runs.get_key_value(uid)) {
            let (uid, Run { place, .. }) = run;
            if let Some(pod) = cx.pod(&place.0, &place.1, uid).as_ref().and_then(|s| s.object.as_pod()) {
                let others = amounts::requested(pod).others;
                held.add(&Amounts { others, ..Amounts::default() });
            }
        }
        held
    }
    /// The pods a node has taken in.
    pub(super) fn on(&mut self, node: &str) -> Vec<Arc<str>> {
        let resident = self.residents.of(&self.runs, node);
        resident.map(|resident| resident.uids.iter().cloned().collect()).unwrap_or_default()
    }
    /// What becomes of a pod that was just bound to a node and is not among its pods yet; of a static one, `manifest` is
    /// what the kubelet read.
    pub(super) fn admission(
        &mut self,
        cx: &Cx<'_>,
        pod: &Pod,
        (spec, manifest): (&PodSpec, Option<&Pod>),
        name: &str,
    ) -> Admission {
        let Some(node) = cx.node(name) else { return Admission::Taken };
        if let Some(condition) = self.pressed(pod, node).filter(|_| manifest.is_none()) {
            let message = format!("The node had condition: [{condition}]. ");
            return Admission::Refused(Refusal { reason: "Evicted".to_owned(), message });
        }
        let asked = amounts::requested(pod);
        let mut short = Vec::new();
        // A node that says nothing of what it has (somebody made its object by hand) is taken to have it.
        if node.status.as_ref().is_some_and(|status| status.allocatable.is_some()) {
            let held = self.held(cx, name, !asked.others.is_empty());
            short = shortages(&asked, &held, &amounts::allocatable(node));
        }
        let priority = manifest.map_or(Some(spec), |own| own.spec.as_ref()).and_then(|spec| spec.priority);
        let critical = is_critical(manifest.is_some(), priority);
        if let Some(first) = short.first().filter(|_| !critical) {
            return Admission::Refused(Refusal::lacking(first));
        }
        if let Some(refusal) = self.predicates(cx, pod, (spec, manifest.is_some()), node) {
            return Admission::Refused(refusal);
        }
        let needs: Vec<Need> = short.iter().map(Short::need).collect();
        let chosen = match needs[..] {
            [] => Ok(Vec::new()),
            _ => self.victims(cx, name, (manifest.is_some(), priority), &needs),
        };
        let victims = match chosen {
            Ok(victims) => victims,
            Err(why) => return Admission::Refused(Refusal::unexpected(&why)),
        };
        if self.hosts.get(name).is_some_and(|host| host.shutdown.is_some()) {
            let (reason, message) = REJECTED;
            let refusal = Refusal { reason: reason.to_owned(), message: message.to_owned() };
            return Admission::Refused(refusal);
        }
        if victims.is_empty() { Admission::Taken } else { Admission::After(victims) }
    }
    fn predicates(
        &mut self,
        cx: &Cx<'_>,
        pod: &Pod,
        (spec, is_static): (&PodSpec, bool),
        node: &Node,
    ) -> Option<Refusal> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let none = BTreeMap::new();
        let labels = node.metadata.labels.as_ref().unwrap_or(&none);
        if selects(spec) && !PodInfo::new(pod).may_be_on(name, labels) {
            let why = "node(s) didn't match Pod's node affinity/selector";
            return Some(Refusal::predicate("NodeAffinity", why));
        }
        if has_ports(spec) && self.ports_are_taken(cx, pod, name) {
            let why = "node(s) didn't have free ports for the requested pod ports";
            return Some(Refusal::predicate("NodePorts", why));
        }
        let tolerated = |taint: &Taint| spec.tolerations.iter().flatten().any(|t| tolerates(t, taint));
        let mut taints = taints(node).iter().filter(|taint| taint.effect == "NoExecute");
        let why = "node(s) had taints that the pod didn't tolerate";
        taints
            .any(|taint| !is_static && !tolerated(taint))
            .then(|| Refusal::predicate("TaintToleration", why))
    }
    fn ports_are_taken(&mut self, cx: &Cx<'_>, pod: &Pod, node: &str) -> bool {
        let wanted = PodInfo::new(pod);
        let Some(resident) = self.residents.of(&self.runs, node) else { return false };
        resident.uids.iter().any(|uid| {
            let stored = self.runs.get(uid).and_then(|run| cx.pod(&run.place.0, &run.place.1, uid));
            let other = stored.as_ref().and_then(|stored| stored.object.as_pod());
            let other = other.filter(|other| other.spec.as_ref().is_some_and(has_ports));
            other.is_some_and(|other| wanted.takes_ports_of(&PodInfo::new(other)))
        })
    }
    /// A refused pod has failed.
    pub(super) fn refuse(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) {
        let Some(run) = self.runs.get_mut(uid) else { return };
        let (place, node, refusal) = (run.place.clone(), run.node.clone(), run.refusal.take());
        let version = run.version;
        self.forget(uid);
        let Some(Refusal { reason, message }) = refusal.map(|refusal| *refusal) else { return };
        let Some(stored) = cx.pod(&place.0, &place.1, uid) else { return };
        let (Some(pod), Some(host)) = (stored.object.as_pod(), self.hosts.get(&node)) else { return };
        cx.warning(&About::new(&stored.object), host.source(&node), &reason, message.clone());
        let old = pod.status.clone().unwrap_or_default();
        let mut conditions = old.conditions.unwrap_or_default();
        conditions.retain(|condition| !super::podstatus::OWN.contains(&condition.type_.as_str()));
        let status = PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(reason),
            message: Some(format!("Pod was rejected: {message}")),
            qos_class: old.qos_class,
            start_time: old.start_time.or_else(|| Some(time(cx.now))),
            conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
            observed_generation: observed(version, pod.metadata.generation),
            ..PodStatus::default()
        };
        cx.put_pod(Pod { metadata: pod.metadata.clone(), spec: pod.spec.clone(), status: Some(status) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(cpu: i64, memory: i64, pods: i64, others: &[(&str, i64)]) -> Amounts {
        let others = others.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect();
        Amounts { cpu_millis: cpu, memory_bytes: memory, pods, others }
    }
    fn reason(asked: &Amounts, used: &Amounts, room: &Amounts) -> Option<String> {
        lacking(asked, used, room).map(|refusal| refusal.reason)
    }
    fn lacking(asked: &Amounts, used: &Amounts, room: &Amounts) -> Option<Refusal> {
        shortages(asked, used, room).first().map(Refusal::lacking)
    }

    #[test]
    fn the_first_thing_there_is_too_little_of_is_the_reason() {
        let room = amounts(1000, 4096, 2, &[("ephemeral-storage", 10), ("example.com/gpu", 1)]);
        let used = amounts(600, 1024, 1, &[("ephemeral-storage", 8)]);
        assert_eq!(reason(&amounts(400, 3072, 1, &[("ephemeral-storage", 2)]), &used, &room), None);
        let both = lacking(&amounts(401, 9000, 1, &[]), &used, &room).unwrap();
        assert_eq!(
            both.message,
            "Node didn't have enough resource: cpu, requested: 401, used: 600, capacity: 1000"
        );
        assert_eq!(reason(&amounts(0, 3073, 1, &[]), &used, &room).as_deref(), Some("OutOfmemory"));
        let disk = amounts(0, 0, 1, &[("ephemeral-storage", 3)]);
        assert_eq!(reason(&disk, &used, &room).as_deref(), Some("OutOfephemeral-storage"));
        let full = amounts(0, 0, 2, &[]);
        assert_eq!(reason(&amounts(0, 0, 1, &[]), &full, &room).as_deref(), Some("OutOfpods"));
    }

    #[test]
    fn devices_count_only_where_the_node_has_them() {
        let gpu = amounts(0, 0, 1, &[("example.com/gpu", 2)]);
        let room = amounts(1000, 4096, 2, &[("example.com/gpu", 1)]);
        let used = amounts(0, 0, 0, &[]);
        assert_eq!(reason(&gpu, &used, &room).as_deref(), Some("OutOfexample.com/gpu"));
        assert_eq!(reason(&gpu, &used, &amounts(1000, 4096, 2, &[])), None);
    }
}
