//! `kubelet`: starts the pods bound to its node, runs their work, ends them, and says so in their status.
//!
//! One state machine per pod, for all nodes of the cluster: starting, running, waiting to be restarted,
//! stopping, or lost with its machine. Timers carry the pod's turn; a timer of an earlier turn is void.
//! Invariant: a pod whose containers run has a node that is up. Left out: probes, init containers'
//! and sidecars' own run times (their requests count), preStop hooks, resource admission of pods bound
//! by hand, and a node's heartbeats (derived on read, not events).

mod adopt;
mod host;
mod podstatus;
pub(crate) use podstatus::set_condition;
mod restart;

use super::{Cx, Place, is_deleting, is_terminal, volumes};
use crate::controllers::events::About;
use crate::import::Durations;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::work;
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use host::Host;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// From binding to running when the image is there: sandbox, network and container creation. Within the
/// 5 s that the Kubernetes pod start-up objective allows; assumed.
const CONTAINER_START: Span = Span::from_seconds(2);
/// Pulling an image a node has not seen: 400 MB at 50 MB/s; assumed.
const IMAGE_PULL: Span = Span::from_seconds(8);
/// From SIGTERM to the end of a container that handles it.
const STOP: Span = Span::from_seconds(1);
/// Exit code of a container ended by SIGTERM, and of one that was lost with its machine.
const EXIT_SIGTERM: i32 = 143;
const EXIT_LOST: i32 = 137;

/// Progress a stopped pod of an interruptible Job has saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Checkpoint {
    /// Completion index, of an Indexed Job.
    index: Option<Arc<str>>,
    /// Run time left.
    left: Span,
    exit_code: i32,
}

/// Where a pod is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// Waits for its volumes to be attached.
    Mounting,
    Starting,
    Running {
        since: Instant,
        /// `None`: for ever.
        until: Option<Instant>,
        /// Part of the run that only takes up saved work again.
        cost: Span,
        exit_code: i32,
    },
    /// Ended, and to be started again.
    BackOff,
    Stopping,
    /// Its machine went down under it.
    Lost,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    place: Place,
    node: Arc<str>,
    turn: u32,
    step: Step,
    /// Last number of its address on the node.
    address: Option<u16>,
    /// Whether the image had to be pulled.
    pulled: bool,
}

/// The state of all kubelets of a cluster.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kubelet {
    runs: BTreeMap<Arc<str>, Run>,
    hosts: BTreeMap<Arc<str>, Host>,
    /// Saved progress by the Job's uid.
    checkpoints: BTreeMap<Arc<str>, Vec<Checkpoint>>,
    /// How long Jobs last that do not say so; `None`: the cluster is not an imported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durations: Option<Durations>,
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

impl Kubelet {
    pub(crate) fn observe(&mut self, change: &Change) {
        match &change.object.object {
            Object::Pod(pod) => self.observe_pod(pod, change),
            Object::Node(node) if change.kind != ChangeKind::Deleted => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                self.hosts.entry(name.into()).or_insert_with(|| Host::new(node));
            }
            Object::Document(doc) if volumes::is_attached(doc) => {
                let node = volumes::node_of(doc);
                let waits = |(_, run): &(&Arc<str>, &Run)| *run.node == *node && run.step == Step::Mounting;
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
            self.forget(uid);
            return;
        }
        let bound = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        let run = self.runs.get(uid);
        let fresh = run.is_none() && !is_terminal(pod);
        let stop = is_deleting(&pod.metadata) && run.is_none_or(|r| r.step != Step::Stopping);
        if bound && (fresh || stop) {
            let object = &change.object.object;
            self.dirty.push(((object.namespace().into(), object.name().into()), uid.into()));
        }
    }
    fn forget(&mut self, uid: &str) {
        let Some(run) = self.runs.remove(uid) else { return };
        if let (Some(host), Some(address)) = (self.hosts.get_mut(&run.node), run.address) {
            host.free(address);
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let dirty = std::mem::take(&mut self.dirty);
        let any = !dirty.is_empty();
        for (place, uid) in dirty {
            let Some(stored) = cx.pod(&place.0, &place.1, &uid) else { continue };
            let Object::Pod(pod) = &stored.object else { continue };
            match (is_deleting(&pod.metadata), self.runs.contains_key(&uid)) {
                (true, false) => cx.finish_delete(Kind::Pod, &place.0, &place.1),
                (true, true) => self.stop(cx, &uid, &stored.object, pod),
                (false, false) if !is_terminal(pod) => self.admit(cx, place, uid, pod),
                (false, true) => self.mounted(cx, &uid, pod),
                (false, _) => {}
            }
        }
        any
    }
    /// A timer of a pod fired.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, turn: u32) {
        let Some(run) = self.runs.get(uid).filter(|run| run.turn == turn) else { return };
        let Some(stored) = cx.pod(&run.place.0, &run.place.1, uid) else { return };
        let Object::Pod(pod) = &stored.object else { return };
        match run.step.clone() {
            Step::Starting => self.start(cx, uid, &stored.object, pod),
            Step::Running { since, exit_code, .. } => {
                self.end(cx, uid, &stored.object, pod, (since, exit_code))
            }
            Step::BackOff => self.again(cx, uid, pod),
            Step::Stopping => self.stopped(cx, uid, pod),
            Step::Mounting | Step::Lost => {}
        }
    }
    /// Begins to start a pod once its volumes are where it is.
    fn mounted(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, pod: &Pod) {
        let Some(run) = self.runs.get(uid).filter(|run| run.step == Step::Mounting) else { return };
        if volumes::attached(cx, pod) {
            let delay = if run.pulled { IMAGE_PULL + CONTAINER_START } else { CONTAINER_START };
            self.turn(cx, uid, Step::Starting, Some(cx.now + delay));
        }
    }
    /// Moves a pod to its next step, which ends at `end`.
    fn turn(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, step: Step, end: Option<Instant>) {
        let Some(run) = self.runs.get_mut(uid) else { return };
        run.turn += 1;
        run.step = step;
        if let Some(end) = end {
            let task = Task::Pod { uid: uid.clone(), turn: run.turn };
            cx.timers.set(end.max(cx.now), Priority::Kubelet, task);
        }
    }
    /// Takes a newly bound pod in.
    fn admit(&mut self, cx: &mut Cx<'_>, place: Place, uid: Arc<str>, pod: &Pod) {
        let Some(spec) = &pod.spec else { return };
        let Some(node) = spec.node_name.as_deref() else { return };
        let Some(host) = self.hosts.get_mut(node) else { return };
        let address = host.take();
        let images = spec.containers.iter().filter_map(|c| c.image.as_deref());
        let pulled = images.fold(false, |pulled, image| host.pull(image) | pulled);
        let (down, ips) = (host.down, host.addresses(address));
        let run = Run { place, node: node.into(), turn: 0, step: Step::Lost, address, pulled };
        self.runs.insert(uid.clone(), run);
        if down {
            return;
        }
        let mut next = pod.clone();
        podstatus::creating(&mut next, &ips.host, cx.now);
        cx.put_pod(next);
        self.turn(cx, &uid, Step::Mounting, None);
        self.mounted(cx, &uid, pod);
    }
    /// The containers of a pod start to run.
    fn start(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, object: &Object, pod: &Pod) {
        let job = job_of(cx, pod);
        let job = job.as_ref().and_then(|s| s.object.as_job());
        let (work, cost) = self.work(cx, pod, job);
        let until = work.run_for.map(|span| cx.now + span);
        self.turn(cx, uid, Step::Running { since: cx.now, until, cost, exit_code: work.exit_code }, until);
        let Some(run) = self.runs.get_mut(uid) else { return };
        let pulled = std::mem::take(&mut run.pulled);
        let Some(host) = self.hosts.get(&run.node) else { return };
        let ips = host.addresses(run.address);
        let source = host.source(&run.node);
        for container in pod.spec.iter().flat_map(|s| &s.containers) {
            let about = About::new(object).container(&container.name);
            let image = container.image.as_deref().unwrap_or_default();
            let text = if pulled {
                let took = IMAGE_PULL.as_seconds();
                format!("Successfully pulled image \"{image}\" in {took}s ({took}s including waiting)")
            } else {
                format!("Container image \"{image}\" already present on machine")
            };
            cx.normal(&about, source, "Pulled", text);
            cx.normal(&about, source, "Created", format!("Created container: {}", container.name));
            cx.normal(&about, source, "Started", format!("Started container {}", container.name));
        }
        let mut next = pod.clone();
        podstatus::running(&mut next, &ips.pod, cx.now);
        cx.put_pod(next);
    }
    /// What a pod will do, and how much of it is only taking up saved work again.
    fn work(&mut self, cx: &Cx<'_>, pod: &Pod, job: Option<&Job>) -> (work::Work, Span) {
        let learnt = self.durations.as_ref().zip(job).map(|(known, job)| known.expected(job));
        let fresh = work::of(pod, job, learnt, cx.seed);
        let Some(uid) = job.and_then(|j| j.metadata.uid.as_deref()) else { return (fresh, Span::ZERO) };
        let Some(saved) = self.checkpoints.get_mut(uid) else { return (fresh, Span::ZERO) };
        let Some(at) = saved.iter().position(|c| c.index.as_deref() == index_of(pod)) else {
            return (fresh, Span::ZERO);
        };
        let checkpoint = saved.remove(at);
        if saved.is_empty() {
            self.checkpoints.remove(uid);
        }
        let run_for = Some(checkpoint.left + work::RESTART_COST);
        (work::Work { run_for, exit_code: checkpoint.exit_code }, work::RESTART_COST)
    }
    /// The containers of a pod have ended by themselves.
    fn end(
        &mut self,
        cx: &mut Cx<'_>,
        uid: &Arc<str>,
        object: &Object,
        pod: &Pod,
        (since, exit_code): (Instant, i32),
    ) {
        let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always");
        let again = policy == "Always" || (policy == "OnFailure" && exit_code != 0);
        if again {
            self.back_off(cx, uid, object, pod, (since, exit_code));
            return;
        }
        let mut next = pod.clone();
        podstatus::ended(&mut next, since, exit_code, cx.now);
        cx.put_pod(next);
        self.forget(uid);
    }
    /// Tells a pod to end; what it saves, it saves now.
    fn stop(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, object: &Object, pod: &Pod) {
        let Some(run) = self.runs.get(uid) else { return };
        let (step, node) = (run.step.clone(), run.node.clone());
        if matches!(step, Step::Stopping | Step::Lost) {
            // A lost pod stays until its machine is back.
            return;
        }
        if let Step::Running { until: Some(until), since, cost, exit_code } = step {
            let job = job_of(cx, pod);
            if let Some(job) =
                job.as_ref().and_then(|s| s.object.as_job()).filter(|j| work::is_interruptible(j))
            {
                let left = (until - cx.now).min(until - since - cost).max(Span::ZERO);
                let saved = Checkpoint { index: index_of(pod).map(Arc::from), left, exit_code };
                let key = job.metadata.uid.as_deref().unwrap_or_default();
                self.checkpoints.entry(key.into()).or_default().push(saved);
            }
        }
        if let Some(host) = self.hosts.get(&node) {
            let source = host.source(&node);
            for container in pod.spec.iter().flat_map(|s| &s.containers) {
                let about = About::new(object).container(&container.name);
                cx.normal(&about, source, "Killing", format!("Stopping container {}", container.name));
            }
        }
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let end = if grace == 0 { cx.now } else { cx.now + STOP };
        self.turn(cx, uid, Step::Stopping, Some(end));
    }
    /// A pod that was told to end has ended.
    fn stopped(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, pod: &Pod) {
        let Some(run) = self.runs.get(uid) else { return };
        let place = run.place.clone();
        let mut next = pod.clone();
        podstatus::ended(&mut next, cx.now, EXIT_SIGTERM, cx.now);
        cx.put_pod(next);
        cx.finish_delete(Kind::Pod, &place.0, &place.1);
        self.forget(uid);
    }
}
