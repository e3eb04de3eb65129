//! What the controller remembers of each Job: its pods and how many have ended, and how.

use super::{JobController, managed_elsewhere};
use crate::controllers::{is_deleting, phase};
use crate::store::{Change, ChangeKind};
use fleet::Instant;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Annotation and label that carry a pod's completion index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    Active,
    Terminating,
    Ended,
}

/// A pod of a Job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PodFact {
    pub(super) name: Arc<str>,
    pub(super) stage: Stage,
    ready: bool,
    bound: bool,
    restarts: i32,
    pub(super) index: Option<i32>,
    /// Deleted by this controller: not a failure.
    pub(super) released: bool,
    pub(super) counted: bool,
}

/// A Job this controller runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tracked {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    /// Pods by uid.
    pub(super) pods: BTreeMap<Arc<str>, PodFact>,
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    /// Completion indexes that have succeeded.
    pub(super) completed: BTreeSet<i32>,
    /// Failures since the last success.
    pub(super) failures_in_row: u32,
    pub(super) last_failure: Option<Instant>,
    /// The earliest timer set.
    pub(super) wake: Option<Instant>,
    /// `podReplacementPolicy: Failed`: a terminating pod counts only once it has ended.
    replace_failed_only: bool,
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl Tracked {
    pub(super) fn new(namespace: &str, name: &str) -> Tracked {
        Tracked {
            namespace: namespace.into(),
            name: name.into(),
            pods: BTreeMap::new(),
            succeeded: 0,
            failed: 0,
            completed: BTreeSet::new(),
            failures_in_row: 0,
            last_failure: None,
            wake: None,
            replace_failed_only: false,
        }
    }
    fn at(&self, stage: Stage) -> i32 {
        number(self.pods.values().filter(|p| p.stage == stage).count())
    }
    pub(super) fn active(&self) -> i32 {
        self.at(Stage::Active)
    }
    pub(super) fn terminating(&self) -> i32 {
        self.at(Stage::Terminating)
    }
    /// Pods that have not ended.
    pub(super) fn live(&self) -> i32 {
        self.active() + self.terminating()
    }
    pub(super) fn ready(&self) -> i32 {
        number(self.pods.values().filter(|p| p.stage == Stage::Active && p.ready).count())
    }
    /// Container restarts of pods that have not ended.
    pub(super) fn restarts(&self) -> i32 {
        self.pods.values().filter(|p| p.stage != Stage::Ended).map(|p| p.restarts).sum()
    }
    /// Active pods, those to delete first first: not yet bound, not ready, then the newest name last.
    pub(super) fn deletion_order(&self) -> Vec<Arc<str>> {
        let active = self.pods.iter().filter(|(_, p)| p.stage == Stage::Active);
        let mut order: Vec<(bool, bool, i32, &Arc<str>)> =
            active.map(|(uid, p)| (p.bound, p.ready, -p.index.unwrap_or(0), uid)).collect();
        order.sort();
        order.into_iter().map(|(.., uid)| uid.clone()).collect()
    }
    /// Takes in a pod this controller has just created.
    pub(super) fn note_new(&mut self, uid: &str, pod: &Pod, now: Instant) {
        self.note(uid, pod, false, now);
    }
    fn note(&mut self, uid: &str, pod: &Pod, gone: bool, now: Instant) {
        let replace_failed_only = self.replace_failed_only;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let fact = self.pods.entry(uid.into()).or_insert_with(|| PodFact::new(name, pod));
        fact.update(pod);
        let succeeded = phase(pod) == "Succeeded";
        let ended =
            phase(pod) == "Failed" || gone || (fact.stage == Stage::Terminating && !replace_failed_only);
        if !fact.counted && succeeded {
            fact.counted = true;
            let index = fact.index;
            // Two pods of one index count once.
            if index.is_none_or(|index| self.completed.insert(index)) {
                self.succeeded += 1;
            }
            self.failures_in_row = 0;
        } else if !fact.counted && !fact.released && ended {
            fact.counted = true;
            self.failed += 1;
            self.failures_in_row += 1;
            self.last_failure = Some(now);
        }
        if gone {
            self.pods.remove(uid);
        }
    }
}

impl PodFact {
    pub(super) fn new(name: &str, pod: &Pod) -> PodFact {
        let index = pod.metadata.annotations.as_ref().and_then(|a| a.get(INDEX));
        PodFact {
            name: name.into(),
            stage: Stage::Active,
            ready: false,
            bound: false,
            restarts: 0,
            index: index.and_then(|i| i.parse().ok()),
            released: false,
            counted: false,
        }
    }
    pub(super) fn update(&mut self, pod: &Pod) {
        let status = pod.status.as_ref();
        let statuses = status.and_then(|s| s.container_statuses.as_ref());
        self.restarts = statuses.into_iter().flatten().map(|c| c.restart_count).sum();
        let conditions = status.and_then(|s| s.conditions.as_ref());
        self.ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        self.bound = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        self.stage = match phase(pod) {
            "Succeeded" | "Failed" => Stage::Ended,
            _ if is_deleting(&pod.metadata) => Stage::Terminating,
            _ => Stage::Active,
        };
    }
}

impl JobController {
    /// Takes in a change of a Job; returns its uid if it is to be looked at.
    pub(super) fn observe_job(&mut self, job: &Job, change: &Change) -> Option<Arc<str>> {
        let uid: Arc<str> = job.metadata.uid.as_deref()?.into();
        if change.kind == ChangeKind::Deleted {
            self.jobs.remove(&uid);
            return None;
        }
        if managed_elsewhere(job) {
            return None;
        }
        let object = &change.object.object;
        let tracked =
            self.jobs.entry(uid.clone()).or_insert_with(|| Tracked::new(object.namespace(), object.name()));
        let policy = job.spec.as_ref().and_then(|s| s.pod_replacement_policy.as_deref());
        tracked.replace_failed_only = policy == Some("Failed");
        Some(uid)
    }
    /// Takes in a change of a pod; returns the uid of its Job.
    pub(super) fn observe_pod(&mut self, pod: &Pod, change: &Change, now: Instant) -> Option<Arc<str>> {
        let owners = pod.metadata.owner_references.as_ref()?;
        let owner = owners.iter().find(|o| o.controller == Some(true) && o.kind == "Job")?;
        let job = self.jobs.get_key_value(owner.uid.as_str())?.0.clone();
        let uid = pod.metadata.uid.as_deref()?;
        let tracked = self.jobs.get_mut(&job)?;
        tracked.note(uid, pod, change.kind == ChangeKind::Deleted, now);
        Some(job)
    }
}
