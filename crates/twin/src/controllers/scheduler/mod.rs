//! `scheduler`: binds pending pods to nodes, deciding as kube-scheduler 1.36 does, by its default profile or those of a
//! [`Config`]. Pods that name another scheduler are left alone.
//!
//! [`Cluster`] is what it knows, kept up to date by single changes; [`decide`] is the pure decision with
//! every reason; the queue says who is tried when. Chance (one of equally good nodes, where a search for
//! victims begins) comes from a random stream of its own. Binding takes no time. Invariant: what is
//! requested on a node never exceeds its allocatable, except by pods bound by hand. What it knows is
//! derived from the objects and not saved; the order of nodes, where the next search begins, the queue and the
//! random stream are.

mod advice;
mod attempt;
mod binding;
mod capacity;
mod cluster;
pub mod config;
mod counts;
mod cycle;
mod decision;
mod kins;
mod labels;
mod node;
mod plugins;
mod pod;
mod profile;
mod queue;
mod rooms;
mod simulation;
mod status;
mod storage;
mod surroundings;
mod templates;

pub use advice::{Advice, advise};
pub use attempt::Search;
pub use capacity::{Capacity, capacity};
pub use cluster::Cluster;
pub use config::Config;
pub use decision::{Decision, decide};
pub(crate) use labels::{Labels, Selector};
pub use plugins::defaultpreemption::{Candidate, Preemption};
pub use pod::PodInfo;
pub use profile::{Fit, Profile, Resource, SpreadDefault, SpreadDefaults, Strategy};
pub(crate) use simulation::{Asking, Simulation};
pub use status::{Code, Plugin, Rejection};

use super::{Cx, is_deleting, is_terminal, phase, time};
use crate::amounts;
use crate::controllers::events::{About, Source};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Objects};
use crate::world::{Priority, Task};
use attempt::{Nomination, Outcome, Unfit};
use binding::{Awaiting, announce};
use fleet::Instant;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use kins::Kin;
use queue::{News, Queue};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use surroundings::Surrounding;

/// The scheduler's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scheduler {
    queue: Queue,
    /// Nodes in the order they came, zone by zone.
    nodes: Vec<Arc<str>>,
    search: Option<Search>,
    /// Pods whose claims are being bound, by uid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    binding: BTreeMap<Arc<str>, Awaiting>,
    /// `None` until it has been read from the objects.
    #[serde(skip)]
    cluster: Option<Box<Cluster>>,
    #[serde(skip)]
    config: Config,
    /// Empty at rest.
    #[serde(skip)]
    news: News,
    /// When those who wait were last told anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_at: Option<Instant>,
    /// Whether pods have left since, and a timer is set for telling anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

/// The name of the scheduler a pod asks for.
fn name_of(pod: &Pod) -> &str {
    let stated = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    stated.filter(|name| !name.is_empty()).unwrap_or(profile::DEFAULT_NAME)
}

/// Whether one of these schedulers is to bind the pod.
fn is_mine(config: &Config, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.node_name.is_none()
        && config.profile(name_of(pod)).is_some()
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
        && !is_deleting(&pod.metadata)
        && phase(pod) == "Pending"
}

/// The node a pod is bound to, unless it has ended.
fn holds(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty() && !is_terminal(pod))
}

/// Reads what the scheduler knows from the objects; nodes known before keep their order.
fn read(objects: &Objects, order: &[Arc<str>], config: &Config) -> Cluster {
    let mut cluster = Cluster::new();
    for stored in objects.list(Kind::Namespace, None) {
        if let Object::Namespace(namespace) = &stored.object {
            cluster.put_namespace(namespace);
        }
    }
    for stored in Surrounding::kinds().flat_map(|kind| objects.list(kind, None)) {
        if let Some(surrounding) = Surrounding::of(&stored.object) {
            surrounding.put(&mut cluster, &stored.object);
        }
    }
    for name in order {
        if let Some(node) = objects.get(Kind::Node, "", name).and_then(|s| s.object.as_node()) {
            cluster.put_node(node);
        }
    }
    for node in objects.list(Kind::Node, None).filter_map(|s| s.object.as_node()) {
        cluster.put_node(node);
    }
    for pod in objects.list(Kind::Pod, None).filter_map(|s| s.object.as_pod()) {
        let nominated = pod.status.as_ref().is_some_and(|s| s.nominated_node_name.is_some());
        if holds(pod).is_some() || (nominated && is_mine(config, pod)) {
            cluster.put_pod(pod);
        }
    }
    cluster
}

/// Takes back a change that is yet to be heard of, so that hearing of it is the news it is.
fn undo(cluster: &mut Cluster, change: &Change) {
    let before = change.previous.as_ref().map(|p| &p.object);
    let name = change.object.object.name();
    match (&change.object.object, before) {
        (Object::Node(_), Some(Object::Node(old))) => cluster.put_node(old),
        (Object::Node(_), _) => cluster.remove_node(name),
        (Object::Namespace(_), Some(Object::Namespace(old))) => cluster.put_namespace(old),
        (Object::Namespace(_), _) => cluster.remove_namespace(name),
        (Object::Pod(pod), before) => {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            cluster.release(uid);
            if let Some(Object::Pod(old)) = before
                && let Some(node) = holds(old)
            {
                let old = Arc::new(cluster.digest(old));
                cluster.place(node, old);
            }
        }
        (object, before) => {
            if let Some(surrounding) = Surrounding::of(object) {
                match before {
                    Some(old) => surrounding.put(cluster, old),
                    None => surrounding.remove(cluster, object),
                }
            }
        }
    }
}

impl Scheduler {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        self.learn(cx, &[change]);
        match &change.object.object {
            Object::Node(node) => self.observe_node(node, change.kind),
            Object::Pod(pod) => self.observe_pod(pod, change),
            Object::Namespace(namespace) => {
                let Some(cluster) = &mut self.cluster else { return };
                self.news.namespaces = true;
                match change.kind {
                    ChangeKind::Deleted => cluster.remove_namespace(change.object.object.name()),
                    _ => cluster.put_namespace(namespace),
                }
            }
            object => self.observe_surrounding(object, change),
        }
    }
    fn observe_surrounding(&mut self, object: &Object, change: &Change) {
        let (Some(cluster), Some(surrounding)) = (&mut self.cluster, Surrounding::of(object)) else { return };
        self.news.storage |= surrounding.is_storage();
        let before = change.previous.as_ref().map(|previous| &previous.object);
        match change.kind {
            ChangeKind::Modified if before.is_some_and(|before| surrounding.stays(before, object)) => {}
            ChangeKind::Deleted => surrounding.remove(cluster, object),
            _ => surrounding.put(cluster, object),
        }
    }
    /// Takes over the configuration of the cluster.
    fn configure(&mut self, cx: &Cx<'_>) {
        let Some(document) = cx.scheduler else { return };
        self.config = Config::read(document).expect("it was checked when the fleet was read");
        self.queue.backoff = self.config.backoff;
    }
    fn observe_node(&mut self, node: &Node, kind: ChangeKind) {
        let Some(cluster) = &mut self.cluster else { return };
        let name = node.metadata.name.as_deref().unwrap_or_default();
        self.news.nodes = true;
        if kind == ChangeKind::Deleted {
            cluster.remove_node(name);
        } else {
            cluster.put_node(node);
            self.news.gained.insert(name.into());
        }
    }
    fn observe_pod(&mut self, pod: &Pod, change: &Change) {
        let Some(uid) = pod.metadata.uid.as_deref() else { return };
        let gone = change.kind == ChangeKind::Deleted;
        if self.still_binding(uid, pod, change) {
            return;
        }
        match holds(pod).filter(|_| !gone) {
            Some(node) => self.observe_bound(uid, node, pod, change.previous.as_ref().map(|p| &p.object)),
            None => self.release(uid),
        }
        if gone || !is_mine(&self.config, pod) {
            self.queue.remove(uid);
            self.withdraw(uid);
        } else if !self.queue.contains(uid) {
            self.enqueue(uid, pod);
        } else if let Some(Object::Pod(old)) = change.previous.as_ref().map(|p| &p.object)
            && (old.spec != pod.spec || old.metadata.labels != pod.metadata.labels)
        {
            self.queue.renew(uid);
        }
    }
    /// A pod is to be bound.
    fn enqueue(&mut self, uid: &str, pod: &Pod) {
        let priority = pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
        let created = pod.metadata.creation_timestamp.as_ref();
        let since = created.map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0));
        let text = |text: &'_ Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        self.queue.add(&namespace, &name, uid, priority, since);
    }
    fn observe_bound(&mut self, uid: &str, node: &str, pod: &Pod, before: Option<&Object>) {
        let Some(cluster) = &mut self.cluster else { return };
        let mut resized = false;
        if let Some(old) = cluster.placed(uid) {
            resized = matches!(before, Some(Object::Pod(before)) if amounts::may_differ(before, pod));
            let start = pod.status.as_ref().and_then(|s| s.start_time.as_ref());
            let started = start.map(|t| Instant::from_jiff(t.0));
            let labels = pod.metadata.labels.as_ref();
            let same = labels.map_or(old.labels.is_empty(), |l| *l == old.labels);
            let alike = same && old.terminating == is_deleting(&pod.metadata);
            if alike && !resized {
                if started != old.start {
                    cluster.touch(uid, |info| info.start = started);
                }
                return;
            }
            if !same {
                self.news.left.push(old.clone());
            }
            resized &= alike;
            let node = cluster.release(uid);
            // Whoever lacked what it has given back is found by the room there is now.
            self.news.gained.extend(node.filter(|_| resized));
        }
        let info = Arc::new(cluster.digest(pod));
        if info.terminating && !resized {
            self.news.left.push(info.clone());
        }
        if !resized {
            self.news.came.push(info.clone());
        }
        cluster.place(node, info);
    }
    fn release(&mut self, uid: &str) {
        let Some(cluster) = &mut self.cluster else { return };
        let Some(info) = cluster.placed(uid).cloned() else { return };
        self.news.gained.extend(cluster.release(uid));
        self.news.left.push(info);
        self.news.departed = true;
    }
    /// A pod no longer waits for room on a node: whoever had to leave it free may have it.
    fn withdraw(&mut self, uid: &str) {
        if let Some(cluster) = &mut self.cluster {
            self.news.gained.extend(cluster.withdraw(uid));
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(cluster) = &mut self.cluster else { return false };
        if self.queue.is_idle() && self.news.is_empty() {
            return false;
        }
        let mut news = std::mem::take(&mut self.news);
        if self.queue.waits() {
            news.locate(cluster);
        }
        if news.storage {
            self.bind_reserved(cx);
        }
        let Some(cluster) = &self.cluster else { return false };
        if news.nodes {
            self.nodes = cluster.names().cloned().collect();
        }
        if !news.is_empty() {
            self.queue.hear(&news, cluster, (cx.objects, &self.config), cx.now);
        }
        while let Some(cluster) = &self.cluster
            && let Some(uid) = self.queue.pop(&news, cluster, cx.now)
        {
            self.attempt(cx, &uid, true);
        }
        if news.departed {
            self.retell(cx);
        }
        if let Some(at) = self.queue.next_flush(cx.now) {
            cx.timers.set(at, Priority::Controller, Task::Unschedulable);
        }
        true
    }
    /// Pods have left: kube-scheduler tries everybody who lacked room, though most still do. What those are told may be
    /// another thing by now; it is worked out once for all who ask for the same, at once, and again on the half minute
    /// where pods go on leaving.
    fn retell(&mut self, cx: &mut Cx<'_>) {
        let recently = self.told_at.is_some_and(|at| queue::next_look(at) > cx.now);
        if recently {
            if !std::mem::replace(&mut self.stale, true) {
                let at = queue::next_look(cx.now);
                cx.timers.set(at, Priority::Controller, Task::Unschedulable);
            }
            return;
        }
        if self.queue.waits() {
            self.told_at = Some(cx.now);
            let kins = self.queue.alike(cx.objects, &self.config, cx.now);
            self.tell_anew(cx, kins);
        }
    }
    /// Tries those in vain again who would be told something else, or would get further.
    fn tell_anew(&mut self, cx: &mut Cx<'_>, mut kins: BTreeSet<Kin>) {
        kins.retain(|kin| self.queue.one_of(*kin).is_some_and(|uid| self.would_hear_else(cx, &uid)));
        let kins: Vec<Kin> = kins.into_iter().collect();
        for uid in self.queue.all_of(&kins, cx.now) {
            self.attempt(cx, &uid, false);
        }
    }
    /// Whether a waiting pod would be told something else than it was. Draws no lots.
    fn would_hear_else(&mut self, cx: &Cx<'_>, uid: &Arc<str>) -> bool {
        let (Some(cluster), Some(waiting)) = (&mut self.cluster, self.queue.get_mut(uid)) else {
            return false;
        };
        let Some(stored) = cx.pod(&waiting.namespace, &waiting.name, uid) else { return false };
        let profile = stored.object.as_pod().and_then(|pod| self.config.profile(name_of(pod)));
        let (Some(profile), Some(info), Some(mut search)) = (profile, &waiting.info, self.search.clone())
        else {
            return false;
        };
        match search.attempt(cluster, info, profile) {
            Outcome::Fits(_) => true,
            Outcome::Unfit(unfit) => {
                let moves = matches!(&unfit.nomination, Nomination::To(to) if Some(&to.node) != info.nominated.as_ref());
                moves || waiting.message.as_ref() != Some(&unfit.message)
            }
        }
    }
    /// Looks who has waited too long without being tried, and who is to be told anew.
    pub(crate) fn flush(&mut self, cx: &mut Cx<'_>) {
        self.learn(cx, &[]);
        if std::mem::take(&mut self.stale) {
            self.retell(cx);
        }
        if !self.queue.is_flush_due(cx.now) {
            return;
        }
        let lowest = self.cluster.as_ref().and_then(|cluster| cluster.lowest_priority());
        let in_vain = self.queue.flush(cx.objects, &self.config, lowest, cx.now);
        self.tell_anew(cx, in_vain);
        if self.queue.is_idle()
            && let Some(at) = self.queue.next_flush(cx.now)
        {
            cx.timers.set(at, Priority::Controller, Task::Unschedulable);
        }
    }
    /// Reads what the scheduler knows, if it does not know it yet; some changes are yet to be heard of.
    fn learn(&mut self, cx: &Cx<'_>, unheard: &[&Change]) {
        if self.cluster.is_some() {
            return;
        }
        self.configure(cx);
        let mut cluster = read(cx.objects, &self.nodes, &self.config);
        cx.objects
            .unseen()
            .rev()
            .chain(unheard.iter().copied())
            .for_each(|change| undo(&mut cluster, change));
        self.reserve_again(cx, &mut cluster);
        self.cluster = Some(Box::new(cluster));
    }
    /// Tries to bind one pod. One that is only told anew keeps its place in line.
    fn attempt(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, counts: bool) {
        let (Some(cluster), Some(waiting)) = (&mut self.cluster, self.queue.get_mut(uid)) else { return };
        let Some(stored) = cx.pod(&waiting.namespace, &waiting.name, uid) else { return };
        let Object::Pod(pod) = &stored.object else { return };
        let Some(profile) = self.config.profile(name_of(pod)) else { return };
        let info = match &waiting.info {
            Some(info) => info.clone(),
            None => waiting.info.insert(Arc::new(profile.adapt(cluster.digest(pod)))).clone(),
        };
        let seed = cx.seed;
        let id = cx.timers.cluster;
        let search = self.search.get_or_insert_with(|| Search::new(seed, &format!("scheduler/{id}")));
        let patience = profile.bind_timeout;
        match search.attempt(cluster, &info, profile) {
            Outcome::Fits(node) if self.reserve(cx, &info, &node, patience) => {}
            Outcome::Fits(node) => self.bind(cx, &stored.object, pod, info, &node),
            Outcome::Unfit(unfit) => {
                if counts || matches!(unfit.nomination, Nomination::To(_)) {
                    self.queue.failed(&info.uid, unfit.against, cx.now);
                } else {
                    self.queue.told(&info.uid, unfit.against);
                }
                self.refuse(cx, &stored.object, pod, &info, unfit);
            }
        }
    }
    fn bind(&mut self, cx: &mut Cx<'_>, object: &Object, pod: &Pod, info: Arc<PodInfo>, node: &Arc<str>) {
        let Some(cluster) = &mut self.cluster else { return };
        self.queue.remove(&info.uid);
        cluster.withdraw(&info.uid);
        let mut placed = Arc::unwrap_or_clone(info);
        placed.node = Some(node.clone());
        placed.nominated = None;
        let placed = Arc::new(placed);
        cluster.place(node, placed.clone());
        if !self.queue.is_empty() {
            self.news.came.push(placed);
        }
        announce(cx, object, pod, node);
    }
    /// A pod goes nowhere for now: says so, and makes room if that is to be done.
    fn refuse(&mut self, cx: &mut Cx<'_>, object: &Object, pod: &Pod, info: &Arc<PodInfo>, unfit: Unfit) {
        let nominated = match &unfit.nomination {
            Nomination::Keep => info.nominated.clone(),
            Nomination::Clear => None,
            Nomination::To(candidate) => Some(candidate.node.clone()),
        };
        let moved = nominated != info.nominated;
        if moved {
            self.withdraw(&info.uid);
        }
        let Some(waiting) = self.queue.get_mut(&info.uid) else { return };
        let told = waiting.message.as_ref() == Some(&unfit.message);
        waiting.message = Some(unfit.message.clone());
        let renominated = PodInfo { nominated: nominated.clone(), ..(**info).clone() };
        let renominated = Arc::new(renominated);
        waiting.info = Some(renominated.clone());
        if let Nomination::To(candidate) = &unfit.nomination {
            self.make_room(cx, candidate, &renominated, name_of(pod));
        }
        if told && !moved {
            return;
        }
        let scheduler = name_of(pod).to_owned();
        let mut pod = pod.clone();
        pod.status.get_or_insert_default().nominated_node_name = nominated.map(|n| n.to_string());
        set_scheduled(&mut pod, cx.now, Some((unfit.reason, &unfit.message)));
        cx.put_pod(pod);
        if !told {
            let source = Source { component: &scheduler, host: None };
            cx.warning(&About::new(object), source, "FailedScheduling", unfit.message);
        }
    }
    /// Deletes the victims, and takes the node from less important pods that wait for it.
    fn make_room(&mut self, cx: &mut Cx<'_>, candidate: &Candidate, pod: &Arc<PodInfo>, scheduler: &str) {
        let Some(cluster) = &mut self.cluster else { return };
        let others = cluster.nominated.get(&candidate.node).cloned().unwrap_or_default();
        for other in others.into_iter().filter(|o| o.priority < pod.priority) {
            cluster.withdraw(&other.uid);
            if let Some(waiting) = self.queue.get_mut(&other.uid) {
                waiting.info = Some(Arc::new(PodInfo { nominated: None, ..(*other).clone() }));
            }
            if let Some(stored) = cx.pod(&other.namespace, &other.name, &other.uid)
                && let Object::Pod(old) = &stored.object
            {
                let mut next = old.clone();
                next.status.get_or_insert_default().nominated_node_name = None;
                cx.put_pod(next);
            }
        }
        cluster.nominate(pod.clone());
        for victim in &candidate.victims {
            preempt(cx, victim, pod, (&candidate.node, scheduler));
        }
    }
    /// The first node, if any, on which more is requested than it has: a broken invariant.
    pub(crate) fn overcommitted(&self) -> Option<(&str, String)> {
        let ignored = |name: &str| self.config.profiles.iter().any(|profile| profile.fit.ignores(name));
        self.cluster.as_ref()?.overcommitted_but(ignored)
    }
}

/// Deletes a pod to make room for another.
fn preempt(cx: &mut Cx<'_>, victim: &PodInfo, pod: &PodInfo, (node, scheduler): (&str, &str)) {
    let Some(stored) = cx.pod(&victim.namespace, &victim.name, &victim.uid) else { return };
    let Object::Pod(old) = &stored.object else { return };
    if is_deleting(&old.metadata) {
        return;
    }
    let mut next = old.clone();
    let condition = PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("PreemptionByScheduler".to_owned()),
        message: Some(format!("{scheduler}: preempting to accommodate a higher priority pod")),
        last_transition_time: Some(time(cx.now)),
        ..PodCondition::default()
    };
    let conditions = next.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|c| c.type_ != condition.type_);
    conditions.push(condition);
    cx.put_pod(next);
    let text = format!("Preempted by pod {} on node {node}", pod.uid);
    let source = Source { component: scheduler, host: None };
    cx.normal(&About::new(&stored.object), source, "Preempted", text);
    cx.delete(Kind::Pod, &victim.namespace, &victim.name);
}

/// Sets the condition PodScheduled: true, or false with reason and message.
fn set_scheduled(pod: &mut Pod, now: Instant, failure: Option<(&str, &str)>) {
    let status = pod.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter().position(|c| c.type_ == "PodScheduled");
    let value = if failure.is_some() { "False" } else { "True" };
    let unchanged = old.filter(|i| conditions[*i].status == value);
    let since = unchanged.and_then(|i| conditions[i].last_transition_time.clone());
    let new = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: value.to_owned(),
        reason: failure.map(|(reason, _)| reason.to_owned()),
        message: failure.map(|(_, message)| message.to_owned()),
        last_transition_time: Some(since.unwrap_or_else(|| time(now))),
        ..PodCondition::default()
    };
    match old {
        Some(i) => conditions[i] = new,
        None => conditions.push(new),
    }
}
