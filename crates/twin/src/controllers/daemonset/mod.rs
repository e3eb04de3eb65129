//! `daemonset`: one pod on each node that its template may be on.
//!
//! Pods name their node by affinity and are bound by the scheduler, as in Kubernetes. A rolling update replaces as many
//! as may be unavailable, or makes the new pod first where the set may surge. Nodes are taken in the order of their
//! names. Everything follows from the objects, but for the back-off between failed pods of a node ([`backoff`]).

mod backoff;
mod rollout;
mod template;

use super::events::{About, Source};
use super::history::{self, Revision};
use super::nodelifecycle::tolerates;
use super::owned::{KINDS, place};
use super::podcontrol::{
    REFUSED_RETRY, Refusal, available_at, integer, number, part, pods, ready_since, to_part,
};
use super::replicaset::{selector, selects};
use super::scheduler::PodInfo;
use super::workloads::{Look, Wakes, dirty_kinds};
use super::{Cx, Place, is_deleting, phase};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use backoff::BackOffs;
use fleet::Instant;
use k8s_openapi::api::apps::v1::{DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod, PodTemplateSpec, Toleration};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use template::target;

const SOURCE: Source<'static> = Source { component: "daemonset-controller", host: None };

/// The controller's state: sets to look at (empty at rest), and how long failed pods are left.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct DaemonSets {
    #[serde(skip)]
    dirty: BTreeSet<(Kind, Place)>,
    #[serde(default)]
    back_offs: BackOffs,
}

impl DaemonSets {
    /// Whether nothing is remembered.
    pub(crate) fn is_idle(&self) -> bool {
        self.back_offs.is_empty()
    }
    /// Looks at a set in the next round.
    pub(crate) fn look(&mut self, place: Place) {
        self.dirty.insert((KINDS.daemon_set, place));
    }
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        dirty_kinds(cx, change, &[KINDS.daemon_set], Kind::Pod, &mut self.dirty);
        let decides =
            |node: &Node| (node.metadata.labels.clone(), node.spec.as_ref().and_then(|s| s.taints.clone()));
        if let Object::Node(node) = &change.object.object {
            let before = change.previous.as_ref().and_then(|p| p.object.as_node()).map(decides);
            if change.kind == ChangeKind::Deleted || before.is_none_or(|before| before != decides(node)) {
                let all = cx.objects.list(KINDS.daemon_set, None);
                self.dirty.extend(all.map(|stored| (KINDS.daemon_set, place(&stored.object))));
            }
        }
    }
    pub(crate) fn run(&mut self, look: &mut Look<'_, '_, '_>) -> bool {
        let mut acted = false;
        for (kind, place) in std::mem::take(&mut self.dirty) {
            if let Some(stored) = look.cx.objects.get(kind, &place.0, &place.1).cloned() {
                acted |= sync(look, &mut self.back_offs, &stored.object);
            }
        }
        acted
    }
}

/// What a set's pod may do on a node.
#[derive(Clone, Copy)]
struct Welcome {
    /// One is to be there.
    wanted: bool,
    /// One that is there may stay.
    may_stay: bool,
}

/// One look at one set.
struct Sync<'a, 'b> {
    cx: &'a mut Cx<'b>,
    wakes: &'a mut Wakes,
    back_offs: &'a mut BackOffs,
    object: &'a Object,
    about: About<'a>,
    spec: DaemonSetSpec,
    template: PodTemplateSpec,
    /// The revision's mark on pods.
    hash: String,
    nodes: Vec<(String, Welcome)>,
    /// Its pods by the node they are for.
    pods: BTreeMap<String, Vec<&'a Pod>>,
    /// Pods deleted by this look.
    deleted: BTreeSet<String>,
}

/// Brings one set on by a step; whether anything changed.
fn sync(look: &mut Look<'_, '_, '_>, back_offs: &mut BackOffs, object: &Object) -> bool {
    let Look { cx, owned, wakes } = look;
    let Some(spec) = part::<DaemonSetSpec>(object, "spec") else { return false };
    let version = cx.objects.version();
    let selector = selector(object);
    let claimed = owned.claim(cx, object, Kind::Pod, &|pod| selects(&selector, pod));
    if is_deleting(object.meta()) {
        return cx.objects.version() != version;
    }
    let revisions = history::revisions(cx, owned, object);
    let Some(hash) = revisions.last().map(|r| r.hash().to_owned()) else { return false };
    let mut by_node: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
    for pod in pods(&claimed) {
        if let Some(node) = target(pod) {
            by_node.entry(node.to_owned()).or_default().push(pod);
        }
    }
    for list in by_node.values_mut() {
        list.sort_by(|a, b| age(a).cmp(&age(b)));
    }
    let template = template::daemon(&spec);
    let nodes = welcomes(cx, &template);
    let (about, limit) = (About::new(object), spec.revision_history_limit);
    let mut sync = Sync {
        cx,
        wakes,
        back_offs,
        object,
        about,
        spec,
        template,
        hash,
        nodes,
        pods: by_node,
        deleted: BTreeSet::new(),
    };
    let before = sync.cx.objects.version();
    sync.manage();
    // What that changed is heard of before more is replaced.
    if sync.cx.objects.version() == before {
        sync.roll();
    }
    sync.write();
    let used: BTreeSet<&str> = pods(&claimed).filter_map(mark).collect();
    let kept = |revision: &&Revision| used.contains(revision.hash());
    let mut used: BTreeSet<String> = revisions.iter().filter(kept).map(|r| r.name.clone()).collect();
    used.extend(revisions.last().map(|r| r.name.clone()));
    history::truncate(cx, object, &revisions, &used, limit);
    cx.objects.version() != version
}

/// Older first; of one age by name.
fn age(pod: &Pod) -> (Instant, &str) {
    let at = pod.metadata.creation_timestamp.as_ref().map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0));
    (at, name(pod))
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// The mark of the revision a pod is of.
fn mark(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(history::REVISION).map(String::as_str)
}

/// What pods of a template may do on each node.
fn welcomes(cx: &Cx<'_>, template: &PodTemplateSpec) -> Vec<(String, Welcome)> {
    let spec = template.spec.clone().unwrap_or_default();
    let tolerations: Vec<Toleration> = spec.tolerations.clone().unwrap_or_default();
    let only = spec.node_name.clone().filter(|name| !name.is_empty());
    let info = PodInfo::new(&Pod { spec: Some(spec), ..Pod::default() });
    let empty = BTreeMap::new();
    let welcome = |node: &Node| {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
        let fits = only.as_deref().is_none_or(|only| only == name) && info.may_be_on(name, labels);
        let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
        let bears = |effects: &[&str]| {
            let hard = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
            hard.into_iter().all(|taint| tolerations.iter().any(|t| tolerates(t, taint)))
        };
        Welcome {
            wanted: fits && bears(&["NoSchedule", "NoExecute"]),
            may_stay: fits && bears(&["NoExecute"]),
        }
    };
    let nodes = cx.objects.list(Kind::Node, None).filter_map(|stored| stored.object.as_node());
    nodes.map(|node| (node.metadata.name.clone().unwrap_or_default(), welcome(node))).collect()
}

/// The pods that DaemonSets would have on a node, as they are made; names and uids are made of those of set and node.
pub(crate) fn daemons_for(cx: &Cx<'_>, node: &Node) -> Vec<Pod> {
    let empty = BTreeMap::new();
    let (name, labels) = (node.metadata.name.as_deref().unwrap_or_default(), &node.metadata.labels);
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
    let hard = |taint: &&k8s_openapi::api::core::v1::Taint| taint.effect != "PreferNoSchedule";
    let mut pods = Vec::new();
    for stored in cx.objects.list(KINDS.daemon_set, None) {
        let object = &stored.object;
        let Some(spec) = part::<DaemonSetSpec>(object, "spec") else { continue };
        let template = template::daemon(&spec);
        let mut spec = template.spec.clone().unwrap_or_default();
        let tolerations = spec.tolerations.clone().unwrap_or_default();
        let bears = taints.iter().filter(hard).all(|t| tolerations.iter().any(|own| tolerates(own, t)));
        let info = PodInfo::new(&Pod { spec: Some(spec.clone()), ..Pod::default() });
        if is_deleting(object.meta()) || !bears || !info.may_be_on(name, labels.as_ref().unwrap_or(&empty)) {
            continue;
        }
        spec.node_name = Some(name.to_owned());
        let metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            name: Some(format!("{}-{name}", object.name())),
            namespace: Some(object.namespace().to_owned()),
            uid: Some(format!("{}/{name}", object.uid())),
            labels: template.metadata.as_ref().and_then(|meta| meta.labels.clone()),
            ..Default::default()
        };
        pods.push(Pod { metadata, spec: Some(spec), status: None });
    }
    pods
}

impl<'a> Sync<'a, '_> {
    fn on(&self, node: &str) -> Vec<&'a Pod> {
        self.pods.get(node).cloned().unwrap_or_default()
    }
    fn is_available(&self, pod: &Pod) -> bool {
        let min_ready = i64::from(self.spec.min_ready_seconds.unwrap_or(0));
        available_at(pod, min_ready).is_some_and(|at| at <= self.cx.now)
    }
    fn is_new(&self, pod: &Pod) -> bool {
        mark(pod) == Some(&self.hash)
    }
    /// Makes pods where there are none, and deletes those that have no business where they are.
    fn manage(&mut self) {
        self.cx.under_way.begin(self.object.uid());
        let known: BTreeSet<String> = self.nodes.iter().map(|(name, _)| name.clone()).collect();
        for (node, welcome) in self.nodes.clone() {
            let here = self.on(&node);
            if welcome.wanted && here.is_empty() {
                self.create(&node);
            } else if welcome.may_stay {
                self.tidy(&node, &here);
            } else {
                here.into_iter().for_each(|pod| self.delete(pod));
            }
        }
        // Pods that were for a node which is gone before they were bound.
        let bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        let lost: Vec<&Pod> = self
            .pods
            .iter()
            .filter(|(node, _)| !known.contains(*node))
            .flat_map(|(_, pods)| pods.iter().copied())
            .filter(|pod| !bound(pod))
            .collect();
        lost.into_iter().for_each(|pod| self.delete(pod));
    }
    /// Keeps one pod on a node, or an old and a new one where the set surges.
    fn tidy(&mut self, node: &str, here: &[&'a Pod]) {
        let mut live = Vec::new();
        for pod in here.iter().copied().filter(|pod| !is_deleting(&pod.metadata)) {
            let place = format!("{}/{}", self.object.namespace(), name(pod));
            match phase(pod) {
                "Failed" => {
                    let key = self.failures_of(node);
                    if let Some(wait) = self.back_offs.fail(&key, self.cx.now) {
                        let again = self.cx.now + wait;
                        self.wakes.set(self.cx, self.object, again);
                        continue;
                    }
                    let text = format!("Found failed daemon pod {place} on node {node}, will try to kill it");
                    self.cx.warning(&self.about, SOURCE, "FailedDaemonPod", text);
                    self.delete(pod);
                }
                "Succeeded" => {
                    let text =
                        format!("Found succeeded daemon pod {place} on node {node}, will try to delete it");
                    self.cx.normal(&self.about, SOURCE, "SucceededDaemonPod", text);
                    self.delete(pod);
                }
                _ => live.push(pod),
            }
        }
        if live.len() <= 1 {
            return;
        }
        if self.surge() == 0 {
            live.into_iter().skip(1).for_each(|pod| self.delete(pod));
            return;
        }
        let new = live.iter().copied().find(|pod| self.is_new(pod));
        let old = live.iter().copied().find(|pod| !self.is_new(pod));
        let kept = |pod: &Pod| [new, old].into_iter().flatten().any(|kept| name(kept) == name(pod));
        live.iter().copied().filter(|pod| !kept(pod)).for_each(|pod| self.delete(pod));
        if let (Some(new), Some(old)) = (new, old)
            && (ready_since(old).is_none() || self.is_available(new))
        {
            self.delete(old);
        }
    }
    /// What failures of a set on a node are counted by.
    fn failures_of(&self, node: &str) -> String {
        let seen = integer(self.object, "status", "observedGeneration").unwrap_or(0);
        format!("{}/{seen}/{node}", self.object.uid())
    }
    fn create(&mut self, node: &str) {
        let template = self.template.clone();
        let base = format!("{}-", self.object.name());
        let mut pod = self.cx.pod_of(&template, self.object, &base);
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(history::REVISION.to_owned(), self.hash.clone());
        let generation =
            integer_annotation(self.object).unwrap_or(self.object.meta().generation.unwrap_or(1));
        labels.insert("pod-template-generation".to_owned(), generation.to_string());
        template::bind(&mut pod, node);
        match self.cx.create_pod(pod) {
            Ok(stored) => {
                let text = format!("Created pod: {}", stored.object.name());
                self.cx.normal(&self.about, SOURCE, "SuccessfulCreate", text);
            }
            Err(Refusal::NamespaceEnds | Refusal::UnderWay) => {}
            Err(Refusal::Text(why)) => {
                self.wakes.set(self.cx, self.object, self.cx.now + REFUSED_RETRY);
                let text = format!("Error creating: {why}");
                self.cx.warning(&self.about, SOURCE, "FailedCreate", text);
            }
        }
    }
    fn delete(&mut self, pod: &Pod) {
        if self.deleted.insert(name(pod).to_owned()) {
            self.cx.delete_pod(&self.about, SOURCE, pod);
        }
    }
    /// Writes the counters.
    fn write(&mut self) {
        let old: DaemonSetStatus = part(self.object, "status").unwrap_or_default();
        let mut status = DaemonSetStatus {
            collision_count: old.collision_count,
            conditions: old.conditions,
            observed_generation: self.object.meta().generation,
            ..DaemonSetStatus::default()
        };
        let (mut available, mut updated) = (0, 0);
        for (node, welcome) in &self.nodes {
            let here = self.on(node);
            if !welcome.wanted {
                status.number_misscheduled += i32::from(!here.is_empty());
                continue;
            }
            status.desired_number_scheduled += 1;
            let Some(pod) = here.first() else { continue };
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(ready_since(pod).is_some());
            available += i32::from(self.is_available(pod));
            updated += i32::from(self.is_new(pod));
        }
        let some = |count: i32| (count > 0).then_some(count);
        status.number_available = some(available);
        status.number_unavailable = some(status.desired_number_scheduled - available);
        status.updated_number_scheduled = some(updated);
        self.cx.put_status(self.object, to_part(&status));
        let min_ready = integer(self.object, "spec", "minReadySeconds").unwrap_or(0);
        let all = self.pods.values().flatten();
        let coming = all.filter_map(|pod| available_at(pod, min_ready)).filter(|at| *at > self.cx.now).min();
        if let Some(at) = coming {
            self.wakes.set(self.cx, self.object, at);
        }
    }
    fn surge(&self) -> i32 {
        self.bounds().0
    }
    /// How many nodes are to have a pod.
    fn desired(&self) -> i32 {
        number(self.nodes.iter().filter(|(_, welcome)| welcome.wanted).count())
    }
}

/// How often the template has changed, as the old annotation counts it.
fn integer_annotation(object: &Object) -> Option<i64> {
    super::podcontrol::annotation(object, "deprecated.daemonset.template.generation")?.parse().ok()
}
