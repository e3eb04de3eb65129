//! Which pods belong to which Job, kept up to date by changes.
//!
//! It follows from the objects, so it is not saved and is read anew after loading. Pods that have succeeded and been
//! counted are left out, so that a Job of many completions is not walked again for each. Those that failed stay: a
//! `podFailurePolicy` looks at them whether they are counted or not.

use super::pods::is_tracked;
use super::{TRACKING, managed_elsewhere};
use crate::controllers::owned::{controller, place};
use crate::controllers::{Cx, Place, phase};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Stored};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Pods by the uid of their Job, by name.
    by_job: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Stored>>>,
    /// Pods nobody controls, by namespace.
    orphans: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Stored>>>,
    /// Jobs run here, by uid.
    jobs: BTreeMap<Arc<str>, Place>,
    read: bool,
}

/// What a change may matter to.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Jobs to look at.
    pub(super) jobs: Vec<Arc<str>>,
    /// Pods with a finalizer that no Job will take off.
    pub(super) strays: Vec<Place>,
}

/// The uid of the Job that controls a pod.
pub(super) fn job_of(pod: &Pod) -> Option<&str> {
    controller(&pod.metadata).filter(|owner| owner.kind == "Job").map(|owner| owner.uid.as_str())
}

impl Index {
    /// Reads all objects, once.
    pub(super) fn read(&mut self, cx: &Cx<'_>) {
        if std::mem::replace(&mut self.read, true) {
            return;
        }
        for stored in cx.objects.list(Kind::Job, None) {
            self.note_job(&stored.object);
        }
        for stored in cx.objects.list(Kind::Pod, None) {
            self.insert(stored);
        }
    }
    /// Where a Job is.
    pub(super) fn place(&self, uid: &str) -> Option<&Place> {
        self.jobs.get(uid)
    }
    /// Pods of a Job, by name.
    pub(super) fn pods(&self, uid: &str) -> Vec<Arc<Stored>> {
        self.by_job.get(uid).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }
    /// Pods of a namespace that nobody controls.
    pub(super) fn orphans(&self, namespace: &str) -> impl Iterator<Item = &Arc<Stored>> {
        self.orphans.get(namespace).into_iter().flat_map(BTreeMap::values)
    }
    /// All Jobs run here.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Arc<str>> {
        self.jobs.keys()
    }
    fn note_job(&mut self, object: &Object) {
        let Object::Job(job) = object else { return };
        if !managed_elsewhere(job) {
            self.jobs.insert(object.uid().into(), place(object));
        }
    }
    /// Where a pod is kept, if it is.
    fn shelf(&mut self, pod: &Pod) -> Option<&mut BTreeMap<Arc<str>, Arc<Stored>>> {
        let tracked = is_tracked(pod);
        match controller(&pod.metadata) {
            None => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                Some(self.orphans.entry(namespace.into()).or_default())
            }
            Some(owner) if owner.kind == "Job" && (tracked || phase(pod) != "Succeeded") => {
                Some(self.by_job.entry(owner.uid.as_str().into()).or_default())
            }
            Some(_) => None,
        }
    }
    fn insert(&mut self, stored: &Arc<Stored>) {
        let Some(pod) = stored.object.as_pod() else { return };
        if let Some(shelf) = self.shelf(pod) {
            shelf.insert(stored.object.name().into(), stored.clone());
        }
    }
    fn remove(&mut self, object: &Object) {
        let Some(pod) = object.as_pod() else { return };
        let (shelves, key) = match controller(&pod.metadata) {
            None => (&mut self.orphans, object.namespace()),
            Some(owner) if owner.kind == "Job" => (&mut self.by_job, owner.uid.as_str()),
            Some(_) => return,
        };
        if let Some(shelf) = shelves.get_mut(key) {
            shelf.remove(object.name());
            if shelf.is_empty() {
                shelves.remove(key);
            }
        }
    }
    /// Takes in a change.
    pub(super) fn observe(&mut self, change: &Change) -> News {
        match &change.object.object {
            Object::Job(_) => self.observe_job(change),
            Object::Pod(pod) => self.observe_pod(pod, change),
            _ => News::default(),
        }
    }
    fn observe_job(&mut self, change: &Change) -> News {
        let object = &change.object.object;
        let uid: Arc<str> = object.uid().into();
        if change.kind != ChangeKind::Deleted {
            self.note_job(object);
            let jobs = self.jobs.contains_key(&uid).then_some(uid).into_iter().collect();
            return News { jobs, strays: Vec::new() };
        }
        self.jobs.remove(&uid);
        let tracked = |stored: &&Arc<Stored>| stored.object.as_pod().is_some_and(is_tracked);
        let left = self.by_job.get(&uid).into_iter().flat_map(BTreeMap::values).filter(tracked);
        News { jobs: Vec::new(), strays: left.map(|stored| place(&stored.object)).collect() }
    }
    fn observe_pod(&mut self, pod: &Pod, change: &Change) -> News {
        let object = &change.object.object;
        let mut news = News::default();
        let mut owners = BTreeSet::new();
        if let Some(previous) = &change.previous {
            self.remove(&previous.object);
            owners.extend(previous.object.as_pod().and_then(job_of).map(Arc::from));
        }
        owners.extend(job_of(pod).map(Arc::from));
        if change.kind != ChangeKind::Deleted {
            self.insert(&change.object);
            let owned = owners.iter().any(|uid: &Arc<str>| self.jobs.contains_key(uid));
            if !owned && is_tracked(pod) {
                news.strays.push(place(object));
            }
        }
        news.jobs.extend(owners.into_iter().filter(|uid| self.jobs.contains_key(uid)));
        news
    }
}

/// Takes the finalizer off a pod, if it is still the one that was looked at and has it; a pod that only waited for that
/// is gone. Returns whether it did.
pub(super) fn release(cx: &mut Cx<'_>, pod: &Pod) -> bool {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    cx.pod(namespace, name, uid).is_some() && cx.release(Kind::Pod, namespace, name, TRACKING)
}
