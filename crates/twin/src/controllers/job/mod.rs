//! `job`: runs Jobs to completion.
//!
//! Creates and deletes pods, counts how they end, keeps the status and its conditions, and backs off after failures. A Job
//! whose `managedBy` names somebody else is not looked at at all. One look is the real controller's sync, in its order
//! (`syncJob` of Kubernetes 1.36), and reads all it knows from the objects: a pod's end is listed in
//! `uncountedTerminatedPods`, then its finalizer is taken off, then it is added to the counters. Invariant: each pod is
//! counted at most once, whenever it stops. Remembered are only failures in a row and timers. Left out: the real
//! controller's batching of looks by one second (here: by instant), and the pod groups of gangs (alpha).

mod backoff;
mod index;
mod indexes;
mod look;
mod manage;
mod pods;
mod policy;
mod status;
mod track;

use super::{Cx, Place, is_deleting};
use crate::controllers::events::Source;
use crate::controllers::owned::controller;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::Change;
use backoff::Record;
use index::Index;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use look::Look;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use pods::{admit, qos_class};
pub(crate) use status::finished_at;

/// The value of `managedBy` that means this controller.
const CONTROLLER: &str = "kubernetes.io/job-controller";
/// The finalizer that says that a pod has not been counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const SOURCE: Source<'static> = Source { component: "job-controller", host: None };
/// Most pods created or deleted in one look (`MaxPodCreateDeletePerSync`).
const PODS_PER_LOOK_MAX: usize = 500;

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct JobController {
    /// Jobs with failures in a row, or a timer.
    #[serde(default)]
    records: BTreeMap<Arc<str>, Record>,
    /// Of a program that knew no finalizers: pods that run are still to be given theirs.
    #[serde(default = "yes")]
    untracked: bool,
    #[serde(skip)]
    index: Index,
    /// Jobs to look at; empty at rest.
    #[serde(skip)]
    dirty: BTreeSet<Arc<str>>,
    /// Pods whose finalizer nobody else takes off; empty at rest.
    #[serde(skip)]
    strays: BTreeSet<Place>,
}

fn yes() -> bool {
    true
}

/// Whether somebody else runs this Job.
fn managed_elsewhere(job: &Job) -> bool {
    let by = job.spec.as_ref().and_then(|s| s.managed_by.as_deref());
    by.is_some_and(|by| by != CONTROLLER)
}

impl JobController {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        self.index.read(cx);
        let object = &change.object.object;
        let news = self.index.observe(change);
        self.dirty.extend(news.jobs);
        self.strays.extend(news.strays);
        let before = change.previous.as_ref().map(|previous| previous.object.meta());
        let seen = before.is_some_and(|b| controller(b).is_none() && b.labels == object.meta().labels);
        if let Object::Pod(pod) = object
            && controller(&pod.metadata).is_none()
            && !is_deleting(&pod.metadata)
            && !seen
        {
            self.offer(cx, pod);
        }
    }
    /// Has the Jobs look that select a pod nobody controls.
    fn offer(&mut self, cx: &Cx<'_>, pod: &Pod) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for stored in cx.objects.list(Kind::Job, Some(namespace)) {
            if let Object::Job(job) = &stored.object
                && self.index.place(stored.object.uid()).is_some()
                && finished_at(job).is_none()
                && pods::selects(job, pod)
            {
                self.dirty.insert(stored.object.uid().into());
            }
        }
    }
    /// A timer fired.
    pub(crate) fn wake(&mut self, cx: &Cx<'_>, uid: &Arc<str>) {
        self.index.read(cx);
        if let Some(record) = self.records.get_mut(uid) {
            record.wake = None;
        }
        self.dirty.insert(uid.clone());
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        if std::mem::take(&mut self.untracked) {
            self.index.read(cx);
            acted |= self.track_all(cx);
        }
        for uid in std::mem::take(&mut self.dirty) {
            acted |= self.sync(cx, &uid);
        }
        for place in std::mem::take(&mut self.strays) {
            acted |= self.let_go(cx, &place);
        }
        acted
    }
    /// Brings one Job's pods and status to what they should be.
    fn sync(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) -> bool {
        let stored =
            self.index.place(uid).and_then(|(namespace, name)| cx.objects.get(Kind::Job, namespace, name));
        let Some(stored) = stored.filter(|stored| stored.object.uid() == &**uid).cloned() else {
            self.records.remove(uid);
            return false;
        };
        let Object::Job(job) = &stored.object else { return false };
        if finished_at(job).is_some() {
            // The finalizers of all its pods are off; whoever has one now got it later.
            self.records.remove(uid);
            let left =
                self.index.pods(uid).into_iter().filter(|s| s.object.as_pod().is_some_and(pods::is_tracked));
            self.strays.extend(left.map(|s| (s.object.namespace().into(), s.object.name().into())));
            return false;
        }
        let Some(spec) = &job.spec else { return false };
        let before = cx.objects.version();
        let record = self.records.get(uid).cloned().unwrap_or_default();
        let record = Look::new(cx, &stored.object, job, spec, &self.index, record).run();
        if record == Record::default() {
            self.records.remove(uid);
        } else {
            self.records.insert(uid.clone(), record);
        }
        cx.objects.version() != before
    }
    /// Takes the finalizer off a pod whose Job is gone, finished, or not its Job any more.
    fn let_go(&self, cx: &mut Cx<'_>, (namespace, name): &Place) -> bool {
        let Some(stored) = cx.objects.get(Kind::Pod, namespace, name).cloned() else { return false };
        let Some(pod) = stored.object.as_pod() else { return false };
        if let Some(owner) = controller(&pod.metadata) {
            let job = cx.objects.get(Kind::Job, namespace, &owner.name);
            let job = job.filter(|job| job.object.uid() == owner.uid).and_then(|job| job.object.as_job());
            let kept = job.is_some_and(|job| managed_elsewhere(job) || finished_at(job).is_none());
            if owner.kind != "Job" || kept {
                return false;
            }
        }
        index::release(cx, pod)
    }
    /// Gives the pods that run the finalizer they were made without.
    fn track_all(&self, cx: &mut Cx<'_>) -> bool {
        let before = cx.objects.version();
        for stored in self.index.jobs().flat_map(|uid| self.index.pods(uid)) {
            let running = |pod: &&Pod| !super::is_terminal(pod) && !pods::is_tracked(pod);
            if let Some(pod) =
                stored.object.as_pod().filter(running).filter(|pod| !is_deleting(&pod.metadata))
            {
                let mut pod = pod.clone();
                pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
                cx.put_pod(pod);
            }
        }
        cx.objects.version() != before
    }
}
