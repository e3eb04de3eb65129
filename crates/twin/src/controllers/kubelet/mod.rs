//! `kubelet`: starts the pods bound to its node, runs their containers, ends them, and says so in their status.
//!
//! One state machine a pod, for all nodes of the cluster: what its containers do is in [`unit`], which start and end when
//! in [`sync`], a running one with its hooks, probes and end in [`running`], images in [`image`], other amounts for running
//! containers in [`resize`], and what all that looks like in [`podstatus`]. A pod has one timer, for what is due next of
//! it; timers carry the pod's turn, and one of an earlier turn is void. Invariants: a pod whose containers run has a node
//! that is up; looking at a pod twice at one instant changes nothing; nothing is executed. Which pods a node takes in says
//! [`admission`]. What happens where a node runs short of memory or disk is in [`pressure`], what under faults in [`fault`],
//! when a machine is told to shut down in [`shutdown`], what is done for critical pods in [`preemption`], and about those that
//! nobody bound in [`statics`]. Left out: ephemeral containers, and a node's heartbeats (derived on read, not events).

mod admission;
mod adopt;
mod fault;
mod host;
mod image;
mod listening;
mod podstatus;
mod preemption;
mod pressure;
mod probe;
mod resize;
mod running;
mod scene;
mod shutdown;
mod statics;
mod sync;
mod unit;
pub(crate) use podstatus::set_condition;
mod restart;

use super::{Cx, Place, is_deleting, is_terminal, volumes};
use crate::controllers::events::About;
use crate::controllers::node::is_ready;
use crate::import::Durations;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::work::{self, files::Volumes};
use crate::world::{Priority, Task};
use admission::{Admission, REFUSAL, Refusal, Residents};
use fault::{FULL_SPEED, slowed};
use fleet::{Instant, Span, Version};
use host::Host;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use pressure::Pressure;
use resize::Resize;
use scene::Scene;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use sync::{Ending, Why};
use unit::{Doing, Unit};

/// From binding to having a sandbox with a network, and from there to a container that runs, its image being there.
/// Together within the 5 s that the Kubernetes pod start-up objective allows; assumed.
const SANDBOX: Span = Span::from_seconds(1);
const CONTAINER_START: Span = Span::from_seconds(1);
/// Pulling an image a node has not seen: 400 MB at 50 MB/s; assumed.
const IMAGE_PULL: Span = Span::from_seconds(8);
/// From SIGTERM to the end of a container that heeds it, and what taking down a pod takes that runs nothing; assumed.
const STOP: Span = Span::from_seconds(1);
/// Seconds a pod gets to end when it does not say.
const GRACE_SECONDS: i64 = 30;
/// Exit code of a container ended by SIGTERM, and of one that was killed or lost with its machine.
const EXIT_SIGTERM: i32 = 143;
const EXIT_KILLED: i32 = 137;
/// What is said of a pod that was active for as long as it may.
const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// Progress a stopped pod of an interruptible Job has saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Checkpoint {
    /// Completion index, of an Indexed Job.
    index: Option<Arc<str>>,
    container: Arc<str>,
    /// Run time left.
    left: Span,
    exit_code: i32,
}

/// Where a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Waits for its volumes to be attached.
    Mounting,
    Live,
    /// Was found waiting for something the twin does not know, and goes on waiting.
    Stuck,
    /// Its machine went down under it.
    Lost,
    /// Its node does not take it in, which is said in a moment.
    Refused,
    /// It waits for others to end, which is when its node takes it in.
    Preempting,
}

/// A pod on its node.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    place: Place,
    node: Arc<str>,
    /// Of the kubelet that runs it.
    #[serde(default = "server", skip_serializing_if = "is_server")]
    version: Version,
    turn: u32,
    /// When its timer goes off.
    armed: Option<Instant>,
    stage: Stage,
    /// Last number of its address on the node.
    address: Option<u16>,
    /// When the kubelet took it in.
    admitted: Instant,
    /// When it has a sandbox.
    sandbox_at: Instant,
    /// Its containers: so many init containers first.
    units: Vec<Unit>,
    inits: usize,
    /// Files of its volumes, and how often some of its files have changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    volumes: Volumes,
    changes: u64,
    ending: Option<Ending>,
    /// CPU and memory it was allocated: thousandths of a core, bytes.
    #[serde(default)]
    asks: (i64, i64),
    #[serde(default)]
    resize: Resize,
    /// Whether annotations say what it uses.
    #[serde(default)]
    stated: bool,
    /// Why its node evicts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evicted: Option<Box<str>>,
    /// Why it is not taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<Box<Refusal>>,
    /// The pods that have to end before it is taken in and have not been told to, in order.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    victims: VecDeque<Arc<str>>,
    /// What its kubelet read, if it runs the pod by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<Box<Pod>>,
}

fn server() -> Version {
    Version::SERVER
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_server(version: &Version) -> bool {
    *version == Version::SERVER
}

/// The state of all kubelets of a cluster.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kubelet {
    runs: BTreeMap<Arc<str>, Run>,
    hosts: BTreeMap<Arc<str>, Host>,
    /// Files on disks and in directories of nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    disks: Volumes,
    /// Saved progress by the Job's uid.
    checkpoints: BTreeMap<Arc<str>, Vec<Checkpoint>>,
    /// How long Jobs last that do not say so; `None`: the cluster is not an imported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durations: Option<Durations>,
    /// Pods of each node whose resize waits for room.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    deferred: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Nodes that may be short of something, or whose pods will use other amounts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pressure: BTreeMap<Arc<str>, Pressure>,
    /// Whether no kubelet reaches the API server, and whether no registry answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    mute: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    no_registry: bool,
    #[serde(skip)]
    residents: Residents,
    /// Nodes that shut down and whose group of pods has ended, and those whose machine is off for it; empty at rest.
    #[serde(skip)]
    ended_groups: BTreeSet<Arc<str>>,
    #[serde(skip)]
    off: Vec<Arc<str>>,
    /// Pods that end for a critical one, and for which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    preempted: BTreeMap<Arc<str>, Arc<str>>,
    /// Critical pods one of whose victims has ended, nodes whose static pods are to be looked at, and static pods without
    /// a mirror; empty at rest.
    #[serde(skip)]
    freed: BTreeSet<Arc<str>>,
    #[serde(skip)]
    starting: BTreeSet<Arc<str>>,
    #[serde(skip)]
    unmirrored: Vec<Arc<str>>,
    /// Pods to look at; empty at rest.
    #[serde(skip)]
    dirty: Vec<(Place, Arc<str>)>,
}

/// The Job that owns a pod, if it is still there.
fn job_of(cx: &Cx<'_>, pod: &Pod) -> Option<Arc<crate::store::Stored>> {
    let owner = pod.metadata.owner_references.as_ref()?.iter().find(|o| o.controller == Some(true))?;
    let namespace = pod.metadata.namespace.as_deref()?;
    let stored = cx.objects.get(Kind::Job, namespace, &owner.name)?;
    (owner.kind == "Job" && stored.object.uid() == owner.uid).then(|| stored.clone())
}

fn index_of(pod: &Pod) -> Option<&str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get("batch.kubernetes.io/job-completion-index").map(String::as_str)
}

/// Whether somebody else changed what a kubelet acts on: the spec, or a condition it waits for.
fn concerns(pod: &Pod, before: &Pod) -> bool {
    let gated = pod.spec.as_ref().is_some_and(|s| s.readiness_gates.as_ref().is_some_and(|g| !g.is_empty()));
    let conditions = |pod: &Pod| pod.status.as_ref().and_then(|s| s.conditions.clone());
    pod.metadata.generation != before.metadata.generation || (gated && conditions(pod) != conditions(before))
}

impl Kubelet {
    pub(crate) fn observe(&mut self, change: &Change) {
        match &change.object.object {
            Object::Pod(pod) => self.observe_pod(pod, change),
            Object::Node(node) if change.kind != ChangeKind::Deleted => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                let was = change.previous.as_ref().and_then(|previous| previous.object.as_node());
                if is_ready(node) != was.is_some_and(is_ready) || was.is_none() {
                    self.starting.insert(name.into());
                }
                self.hosts.entry(name.into()).or_insert_with(|| Host::new(node));
            }
            Object::Node(_) => {
                let name = change.object.object.name();
                if self.hosts.get(name).is_some_and(|host| host.gone) {
                    self.hosts.remove(name);
                }
            }
            Object::Document(doc) if volumes::is_attached(doc) => {
                let node = volumes::node_of(doc);
                let waits = |(_, run): &(&Arc<str>, &Run)| *run.node == *node && run.stage == Stage::Mounting;
                let all = self.runs.iter().filter(waits);
                self.dirty.extend(all.map(|(uid, run)| (run.place.clone(), uid.clone())));
            }
            Object::Job(job) if change.kind == ChangeKind::Deleted => {
                self.checkpoints.remove(job.metadata.uid.as_deref().unwrap_or_default());
            }
            _ => {}
        }
    }
    fn observe_pod(&mut self, pod: &Pod, change: &Change) {
        let Some(uid) = pod.metadata.uid.as_deref() else { return };
        if change.kind == ChangeKind::Deleted {
            let there = |run: &Run| self.hosts.get(&run.node).is_some_and(|host| !host.gone);
            match self.runs.get(uid) {
                // It was only shown.
                Some(run) if run.manifest.is_some() && run.stage != Stage::Refused && there(run) => {
                    self.unmirrored.push(uid.into())
                }
                _ => self.forget(uid),
            }
            return;
        }
        let bound = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        let run = self.runs.get(uid);
        let fresh = run.is_none() && !is_terminal(pod);
        let before = change.previous.as_ref().and_then(|previous| previous.object.as_pod());
        let grace = |pod: &Pod| pod.metadata.deletion_grace_period_seconds;
        let stop = is_deleting(&pod.metadata)
            && (run.is_none_or(|run| run.ending.is_none_or(|ending| ending.why != Why::Deleted))
                || before.is_some_and(|before| grace(before) != grace(pod)));
        let other = run.is_some_and(|run| run.manifest.is_none())
            && before.is_some_and(|before| concerns(pod, before));
        if let (Some(before), Some(now)) = (before.and_then(|b| b.spec.as_ref()), &pod.spec)
            && other
            && let Some(run) = self.runs.get_mut(uid)
        {
            run.note_resize(before, now);
        }
        if bound && (fresh || stop || other) {
            let object = &change.object.object;
            self.dirty.push(((object.namespace().into(), object.name().into()), uid.into()));
        }
    }
    fn forget(&mut self, uid: &str) {
        let Some(run) = self.runs.remove(uid) else { return };
        self.residents.remove(uid, &run);
        self.note_end(&run.node, uid);
        if let (Some(host), Some(address)) = (self.hosts.get_mut(&run.node), run.address) {
            host.free(address);
        }
        self.unblock(&run.node, None);
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let dirty = std::mem::take(&mut self.dirty);
        let any = !dirty.is_empty();
        for (place, uid) in dirty {
            let Some(stored) = cx.pod(&place.0, &place.1, &uid) else { continue };
            let Object::Pod(pod) = &stored.object else { continue };
            let cut =
                pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|node| self.is_cut(node));
            if cut {
                continue;
            }
            match (is_deleting(&pod.metadata), self.runs.contains_key(&uid)) {
                (true, false) => cx.finish_delete(Kind::Pod, &place.0, &place.1),
                (true, true) => self.stop(cx, &uid, pod),
                (false, false) if !is_terminal(pod) => self.admit(cx, place, uid, pod, None),
                (false, true) => {
                    self.mounted(cx, &uid, pod);
                    self.look(cx, &uid);
                }
                (false, _) => {}
            }
        }
        let others = [self.start_statics(cx), self.go_on_preempting(cx), self.go_on_shutting_down(cx)];
        any || others.contains(&true)
    }
    /// A timer of a pod fired.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, turn: u32) {
        let Some(run) = self.runs.get_mut(uid).filter(|run| run.turn == turn) else { return };
        run.armed = None;
        if run.stage == Stage::Refused {
            let node = run.node.clone();
            // Who is not heard says so later.
            if !self.is_cut(&node) {
                self.refuse(cx, uid);
            }
            return;
        }
        self.look(cx, uid);
    }
    /// Takes a newly bound pod in, or refuses it, or has others end for it first. `manifest`: of a static pod.
    fn admit(&mut self, cx: &mut Cx<'_>, place: Place, uid: Arc<str>, pod: &Pod, manifest: Option<Box<Pod>>) {
        let Some(spec) = &pod.spec else { return };
        let Some(node) = spec.node_name.as_deref() else { return };
        let Some(down) = self.hosts.get(node).map(|host| host.down) else { return };
        let mut run = Run::new(place, node, spec, cx.now);
        run.version = self.settings(cx, node).map_or(Version::SERVER, |set| set.version);
        run.asks = resize::asks(pod);
        run.stated = pressure::is_stated(pod);
        run.manifest = manifest;
        let own = (spec, run.manifest.as_deref());
        let admission = if down { Admission::Taken } else { self.admission(cx, pod, own, node) };
        match admission {
            Admission::Refused(refusal) => {
                run.refusal = Some(Box::new(refusal));
                run.stage = Stage::Refused;
                run.arm(cx, &uid, Some(cx.now + REFUSAL));
                self.runs.insert(uid, run);
            }
            Admission::After(victims) => {
                (run.victims, run.stage) = (victims.into(), Stage::Preempting);
                self.residents.insert(&uid, &run);
                self.runs.insert(uid.clone(), run);
                self.preempt_next(cx, &uid);
            }
            Admission::Taken => {
                self.residents.insert(&uid, &run);
                if down {
                    run.address = self.hosts.get_mut(node).and_then(Host::take);
                    self.runs.insert(uid, run);
                    return;
                }
                self.runs.insert(uid.clone(), run);
                self.take_in(cx, &uid, pod);
            }
        }
    }
    /// Begins with a pod that has been let in.
    fn take_in(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, pod: &Pod) {
        let Some(run) = self.runs.get_mut(uid) else { return };
        run.address = self.hosts.get_mut(&run.node).and_then(Host::take);
        (run.stage, run.admitted) = (Stage::Mounting, cx.now);
        let node = run.node.clone();
        if !self.is_cut(&node) {
            self.show(cx, uid, pod);
        }
        self.mounted(cx, uid, pod);
        self.look(cx, uid);
    }
    /// Begins to start a pod once its volumes are where it is.
    fn mounted(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, pod: &Pod) {
        let Some(run) = self.runs.get_mut(uid).filter(|run| run.stage == Stage::Mounting) else { return };
        if volumes::attached(cx, pod) {
            run.stage = Stage::Live;
            let speed = self.hosts.get(&run.node).map_or(FULL_SPEED, |host| host.speed_percent);
            run.sandbox_at = cx.now + slowed(SANDBOX, speed);
        }
    }
    /// Does what is due of a pod, says what happened, and sets the timer for what is due next.
    fn look(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) {
        let Some(run) = self.runs.get(uid).filter(|run| run.stage == Stage::Live) else { return };
        let Some(stored) = cx.pod(&run.place.0, &run.place.1, uid) else { return };
        let Object::Pod(pod) = &stored.object else { return };
        let Some(spec) = &pod.spec else { return };
        let cut = self.is_cut(&run.node);
        let told = if cut { None } else { self.allocate(cx, uid, pod, spec) };
        let registry = !self.no_registry;
        let Some(mut run) = self.runs.remove(uid) else { return };
        let Some(host) = self.hosts.get_mut(&run.node) else { return };
        let node = run.node.clone();
        let (said, due) = {
            let (disks, checkpoints) = (&mut self.disks, &mut self.checkpoints);
            let durations = self.durations.as_ref();
            let node = &*node;
            let mut scene = Scene {
                cx,
                pod,
                spec,
                node,
                host,
                disks,
                checkpoints,
                durations,
                registry,
                version: run.version,
                said: told.into_iter().collect(),
            };
            run.sync(&mut scene);
            let due = run.due(&scene);
            (scene.said, due)
        };
        for each in said.into_iter().filter(|_| !cut) {
            let about = About::new(&stored.object);
            let about = if let Some(field) = each.field { about.field(field) } else { about };
            let source = host.source(&node);
            if each.warning {
                cx.warning(&about, source, each.reason, each.message);
            } else {
                cx.normal(&about, source, each.reason, each.message);
            }
        }
        run.arm(cx, uid, due);
        let over = run.is_over(cx.now);
        self.runs.insert(uid.clone(), run);
        // What a pod takes that states nothing may be missing to one that does.
        if self.residents.state(&self.runs, &node) {
            self.watch_node(cx, &node, cx.now);
        }
        if cut {
            if over {
                self.note_end(&node, uid);
            }
            return;
        }
        self.show(cx, uid, pod);
        if over {
            self.forget(uid);
            if is_deleting(&pod.metadata) {
                cx.finish_delete(Kind::Pod, stored.object.namespace(), stored.object.name());
            }
        }
    }
    /// Writes the status of a pod if it is another than before.
    fn show(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, pod: &Pod) {
        let (Some(run), Some(spec)) = (self.runs.get(uid), &pod.spec) else { return };
        let Some(host) = self.hosts.get(&run.node) else { return };
        let ips = host.addresses(run.address);
        let pod_ip = if spec.host_network == Some(true) { &ips.host } else { &ips.pod };
        let shows = podstatus::Shows { host_ip: &ips.host, pod_ip };
        let status = podstatus::of(run, pod, spec, &shows, cx.now);
        if pod.status.as_ref() != Some(&status) {
            cx.put_pod(Pod { metadata: pod.metadata.clone(), spec: pod.spec.clone(), status: Some(status) });
        }
    }
    /// Tells a pod to end; what it saves, it saves now.
    fn stop(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, pod: &Pod) {
        let Some(run) = self.runs.get(uid) else { return };
        if run.stage == Stage::Lost {
            // A lost pod stays until its machine is back.
            return;
        }
        if run.manifest.is_some() {
            // Its mirror goes, and is made again.
            return cx.finish_delete(Kind::Pod, &run.place.0, &run.place.1);
        }
        if matches!(run.stage, Stage::Refused | Stage::Preempting) {
            let place = run.place.clone();
            self.forget(uid);
            return cx.finish_delete(Kind::Pod, &place.0, &place.1);
        }
        if run.ending.is_none_or(|ending| ending.why != Why::Deleted) {
            self.save(cx, uid, pod);
        }
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(GRACE_SECONDS);
        let Some(run) = self.runs.get_mut(uid) else { return };
        run.stage = Stage::Live;
        run.end(Why::Deleted, grace, cx.now);
        self.look(cx, uid);
    }
    /// Keeps the progress of an interruptible Job's pod.
    fn save(&mut self, cx: &Cx<'_>, uid: &Arc<str>, pod: &Pod) {
        let (Some(run), Some(spec)) = (self.runs.get(uid), &pod.spec) else { return };
        let stored = job_of(cx, pod);
        let job = stored.as_ref().and_then(|s| s.object.as_job()).filter(|job| work::is_interruptible(job));
        let Some(job) = job else { return };
        let speed = self.hosts.get(&run.node).map_or(FULL_SPEED, |host| host.speed_percent);
        let apps = run.units.iter().skip(run.inits).zip(&spec.containers);
        let saved = apps.filter_map(|(unit, container)| {
            let running = unit.running()?;
            let Doing::Until { at: Some(until), code, cost } = running.doing else { return None };
            let left = (until - cx.now).min(until - running.since - cost).max(Span::ZERO);
            let left = left.scaled(i64::from(speed), i64::from(FULL_SPEED));
            let index = index_of(pod).map(Arc::from);
            Some(Checkpoint { index, container: container.name.as_str().into(), left, exit_code: code })
        });
        let saved: Vec<Checkpoint> = saved.collect();
        if !saved.is_empty() {
            let key = job.metadata.uid.as_deref().unwrap_or_default();
            self.checkpoints.entry(key.into()).or_default().extend(saved);
        }
    }
}

impl Run {
    /// A pod that was just taken in.
    fn new(place: Place, node: &str, spec: &PodSpec, now: Instant) -> Run {
        let inits = spec.init_containers.as_ref().map_or(0, Vec::len);
        Run {
            place,
            node: node.into(),
            version: Version::SERVER,
            turn: 0,
            armed: None,
            stage: Stage::Lost,
            address: None,
            admitted: now,
            sandbox_at: Instant::FAR_FUTURE,
            units: vec![Unit::new(); inits + spec.containers.len()],
            inits,
            volumes: Volumes::new(),
            changes: 0,
            ending: None,
            asks: (0, 0),
            resize: Resize::default(),
            stated: false,
            evicted: None,
            refusal: None,
            victims: VecDeque::new(),
            manifest: None,
        }
    }
    /// Sets the timer for what is due next, unless it is set for then.
    fn arm(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, due: Option<Instant>) {
        if due == self.armed {
            return;
        }
        self.turn += 1;
        self.armed = due;
        if let Some(due) = due {
            let task = Task::Pod { uid: uid.clone(), turn: self.turn };
            cx.timers.set(due.max(cx.now), Priority::Kubelet, task);
        }
    }
}
