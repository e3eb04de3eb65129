//! One look at one Job: what there is of it, what is to become of it, and its status.

use super::backoff::{Record, restarts};
use super::index::Index;
use super::indexes::Indexes;
use super::policy::{self, Action};
use super::status::{condition, ensure, has_condition};
use super::{SOURCE, TRACKING, backoff, pods};
use crate::controllers::events::About;
use crate::controllers::owned::reference;
use crate::controllers::podcontrol::{self, is_active, number, ready_since};
use crate::controllers::scheduler::Selector;
use crate::controllers::{Cx, is_deleting, is_terminal, phase, time};
use crate::object::{Object, drop_finalizer};
use crate::store::Stored;
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is to become of a Job.
pub(super) struct Goal {
    pub(super) success: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Goal {
    fn fail(reason: &str, message: &str) -> Option<Goal> {
        Some(Goal { success: false, reason: reason.to_owned(), message: message.to_owned() })
    }
    pub(super) fn succeed(reason: &str, message: &str) -> Option<Goal> {
        Some(Goal { success: true, reason: reason.to_owned(), message: message.to_owned() })
    }
}

/// The look.
pub(super) struct Look<'a, 'b> {
    pub(super) cx: &'a mut Cx<'b>,
    pub(super) object: &'a Object,
    pub(super) job: &'a Job,
    pub(super) spec: &'a JobSpec,
    pub(super) about: About<'a>,
    pub(super) status: JobStatus,
    /// Its pods as they were, by name.
    pub(super) pods: Vec<Arc<Stored>>,
    pub(super) record: Record,
    pub(super) active: i32,
    pub(super) ready: i32,
    pub(super) terminating: i32,
    /// With those that have ended since the status was written.
    pub(super) succeeded: i32,
    failed: i32,
    /// Indexes that have succeeded, as far as they are in the status.
    pub(super) known_indexes: Indexes,
    pub(super) succeeded_indexes: Indexes,
    /// With a limit per index.
    pub(super) failed_indexes: Option<Indexes>,
    /// With a limit per index: the pod a new pod of an index takes its count of failures from.
    pub(super) delayed: BTreeMap<i32, Arc<Stored>>,
}

impl<'a, 'b> Look<'a, 'b> {
    pub(super) fn new(
        cx: &'a mut Cx<'b>,
        object: &'a Object,
        job: &'a Job,
        spec: &'a JobSpec,
        index: &Index,
        record: Record,
    ) -> Look<'a, 'b> {
        let pods = claim(cx, object, job, index);
        let mut status = job.status.clone().unwrap_or_default();
        status.uncounted_terminated_pods.get_or_insert_default();
        Look {
            cx,
            object,
            job,
            spec,
            about: About::new(object),
            status,
            pods,
            record,
            active: 0,
            ready: 0,
            terminating: 0,
            succeeded: 0,
            failed: 0,
            known_indexes: Indexes::default(),
            succeeded_indexes: Indexes::default(),
            failed_indexes: None,
            delayed: BTreeMap::new(),
        }
    }
    pub(super) fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }
    pub(super) fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or(false)
    }
    pub(super) fn completions(&self) -> i32 {
        self.spec.completions.unwrap_or(0)
    }
    /// Whether a pod is replaced only when it has failed, not as soon as it is told to go.
    pub(super) fn replaces_failed_only(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
            || self.spec.pod_failure_policy.is_some()
    }
    /// Whether a pod counts as failed.
    pub(super) fn is_failed(&self, pod: &Pod) -> bool {
        let going = !self.replaces_failed_only() && is_deleting(&pod.metadata) && phase(pod) != "Succeeded";
        phase(pod) == "Failed" || going
    }
    /// A pod's index, if it is one the Job has.
    pub(super) fn valid_index(&self, pod: &Pod) -> Option<i32> {
        pods::index_of(pod).filter(|index| *index < self.completions())
    }
    /// Takes the look; returns what is to be remembered.
    pub(super) fn run(mut self) -> Record {
        self.take_stock();
        if self.is_indexed() {
            self.take_stock_of_indexes();
        }
        if self.status.start_time.is_none() && !self.is_suspended() {
            self.status.start_time = Some(time(self.cx.now));
        }
        let mut goal = self.goal();
        if goal.is_some() {
            let active: Vec<Arc<Stored>> = self.active_pods();
            self.delete(&active, true);
        } else {
            let managed = !is_deleting(&self.job.metadata);
            if managed {
                self.manage();
            }
            let done = match self.spec.completions {
                None => self.succeeded > 0,
                Some(wanted) => self.succeeded >= wanted,
            };
            if done && self.active == 0 {
                goal = Goal::succeed("CompletionsReached", "Reached expected number of succeeded pods");
            } else if managed {
                self.suspend_or_resume();
            }
        }
        self.status.active = (self.active > 0).then_some(self.active);
        self.status.ready = Some(self.ready);
        self.status.terminating = Some(self.terminating);
        self.track(goal)
    }
    pub(super) fn active_pods(&self) -> Vec<Arc<Stored>> {
        self.pods.iter().filter(|stored| stored.object.as_pod().is_some_and(is_active)).cloned().collect()
    }
    /// Counts pods as they are.
    fn take_stock(&mut self) {
        let all: Vec<&Pod> = podcontrol::pods(&self.pods).collect();
        let active = all.iter().filter(|pod| is_active(pod));
        self.active = number(active.clone().count());
        self.ready = number(active.filter(|pod| ready_since(pod).is_some()).count());
        let going = |pod: &&&Pod| !is_terminal(pod) && is_deleting(&pod.metadata);
        self.terminating = number(all.iter().filter(going).count());
        let (listed_succeeded, listed_failed) = self.listed();
        let fresh = |listed: &[String], pod: &&Pod| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let valid = !self.is_indexed() || self.valid_index(pod).is_some();
            pods::is_tracked(pod) && valid && !listed.iter().any(|l| l == uid)
        };
        let is = |pod: &&Pod, succeeded: bool| {
            if succeeded { phase(pod) == "Succeeded" } else { self.is_failed(pod) }
        };
        let succeeded: Vec<&Pod> =
            all.iter().copied().filter(|pod| is(pod, true) && fresh(&listed_succeeded, pod)).collect();
        let failed: Vec<&Pod> =
            all.iter().copied().filter(|pod| is(pod, false) && fresh(&listed_failed, pod)).collect();
        let policy = self.spec.pod_failure_policy.as_ref();
        let counted = number(failed.iter().filter(|pod| policy::counts(policy, pod)).count());
        let record = self.record.after(&succeeded, &failed);
        self.succeeded =
            self.status.succeeded.unwrap_or(0) + number(succeeded.len() + listed_succeeded.len());
        self.failed = self.status.failed.unwrap_or(0) + counted + number(listed_failed.len());
        if self.spec.backoff_limit_per_index.is_none() {
            self.record = record;
        }
    }
    /// Pods that are noted to have ended, and not counted yet.
    pub(super) fn listed(&self) -> (Vec<String>, Vec<String>) {
        let listed = self.status.uncounted_terminated_pods.clone().unwrap_or_default();
        (listed.succeeded.unwrap_or_default(), listed.failed.unwrap_or_default())
    }
    fn take_stock_of_indexes(&mut self) {
        let completions = self.completions();
        let indexes =
            |text: &Option<String>| Indexes::parse(text.as_deref().unwrap_or_default(), completions);
        let all: Vec<(i32, &Arc<Stored>, &Pod)> = self
            .pods
            .iter()
            .filter_map(|stored| Some((stored, stored.object.as_pod()?)))
            .filter(|(_, pod)| pods::is_tracked(pod))
            .filter_map(|(stored, pod)| Some((self.valid_index(pod)?, stored, pod)))
            .collect();
        let known = indexes(&self.status.completed_indexes);
        let new = all.iter().filter(|(.., pod)| phase(pod) == "Succeeded").map(|(index, ..)| *index);
        let succeeded = known.union(&Indexes::of(new));
        let mut failed = None;
        let mut delayed: BTreeMap<i32, Arc<Stored>> = BTreeMap::new();
        if let Some(limit) = self.spec.backoff_limit_per_index {
            let new = all.iter().filter(|(.., pod)| self.fails_index(pod, limit)).map(|(index, ..)| *index);
            let all_failed = indexes(&self.status.failed_indexes).union(&Indexes::of(new));
            let active: Vec<i32> = podcontrol::pods(&self.pods)
                .filter(|pod| is_active(pod))
                .filter_map(pods::index_of)
                .collect();
            let active = Indexes::of(active);
            for (index, stored, pod) in all.iter().filter(|(.., pod)| self.is_failed(pod)) {
                if succeeded.has(*index) || all_failed.has(*index) || active.has(*index) {
                    continue;
                }
                let later =
                    |held: &Arc<Stored>| held.object.as_pod().is_none_or(|held| order(held) <= order(pod));
                if delayed.get(index).is_none_or(later) {
                    delayed.insert(*index, (*stored).clone());
                }
            }
            failed = Some(all_failed);
        }
        self.succeeded = succeeded.total();
        (self.known_indexes, self.succeeded_indexes) = (known, succeeded);
        (self.failed_indexes, self.delayed) = (failed, delayed);
    }
    /// Whether a failed pod is the last its index may have.
    fn fails_index(&self, pod: &Pod, limit: i32) -> bool {
        if !self.is_failed(pod) {
            return false;
        }
        match policy::judge(self.spec.pod_failure_policy.as_ref(), pod) {
            Some(Action::FailIndex) => true,
            Some(Action::Ignore) => false,
            _ => pods::count_of(pod, pods::FAILURES) >= limit,
        }
    }
    /// What is to become of the Job, if that is decided.
    fn goal(&mut self) -> Option<Goal> {
        let decided = |kind| condition(&self.status, kind).filter(|c| c.status == "True");
        for (kind, success) in [("SuccessCriteriaMet", true), ("FailureTarget", false)] {
            if let Some(condition) = decided(kind) {
                let (reason, message) = (condition.reason.clone(), condition.message.clone());
                let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
                return Some(Goal { success, reason, message });
            }
        }
        self.failed_by_policy().or_else(|| self.failed_by_limits()).or_else(|| self.decided_by_indexes())
    }
    fn failed_by_policy(&self) -> Option<Goal> {
        let policy = self.spec.pod_failure_policy.as_ref()?;
        let mut failed = podcontrol::pods(&self.pods).filter(|pod| self.is_failed(pod));
        let message = failed.find_map(|pod| match policy::judge(Some(policy), pod)? {
            Action::FailJob(message) => Some(message),
            _ => None,
        })?;
        Goal::fail("PodFailurePolicy", &message)
    }
    fn failed_by_limits(&mut self) -> Option<Goal> {
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let template = self.spec.template.spec.as_ref();
        let on_failure = template.and_then(|s| s.restart_policy.as_deref()) == Some("OnFailure");
        let restarts: i32 = if on_failure { podcontrol::pods(&self.pods).map(restarts).sum() } else { 0 };
        let restarted_out = on_failure && if limit == 0 { restarts > 0 } else { restarts >= limit };
        if self.failed > limit || restarted_out {
            return Goal::fail("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        let seconds = self.spec.active_deadline_seconds.filter(|_| !self.is_suspended())?;
        let start = Instant::from_jiff(self.status.start_time.as_ref()?.0);
        let end = start + Span::from_seconds(seconds);
        if end <= self.cx.now {
            return Goal::fail("DeadlineExceeded", "Job was active longer than specified deadline");
        }
        self.wake_at(end);
        None
    }
    fn decided_by_indexes(&self) -> Option<Goal> {
        if !self.is_indexed() {
            return None;
        }
        if let Some(failed) = self.failed_indexes.as_ref().map(Indexes::total) {
            if self.spec.max_failed_indexes.is_some_and(|most| failed > most) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                return Goal::fail("MaxFailedIndexesExceeded", message);
            }
            if failed > 0 && failed + self.succeeded_indexes.total() >= self.completions() {
                return Goal::fail("FailedIndexes", "Job has failed indexes");
            }
        }
        let policy = self.spec.success_policy.as_ref();
        let message = policy::met(policy, self.completions(), &self.succeeded_indexes)?;
        Goal::succeed("SuccessPolicy", &message)
    }
    fn suspend_or_resume(&mut self) {
        let suspended = self.is_suspended();
        let (reason, event, message) = if suspended {
            ("JobSuspended", "Suspended", "Job suspended")
        } else {
            ("JobResumed", "Resumed", "Job resumed")
        };
        if !suspended && !has_condition(&self.status, "Suspended") {
            return;
        }
        if ensure(&mut self.status, "Suspended", suspended, (reason, message), self.cx.now) {
            self.cx.normal(&self.about, SOURCE, event, message.to_owned());
            // Its deadline counts the time it is active.
            self.status.start_time = (!suspended).then(|| time(self.cx.now));
        }
    }
    /// Has the Job looked at again at `at`.
    pub(super) fn wake_at(&mut self, at: Instant) {
        if self.record.wake.is_none_or(|set| set > at) {
            self.record.wake = Some(at);
            let uid = self.object.uid().into();
            self.cx.timers.set(at, Priority::Controller, Task::Job { uid });
        }
    }
}

/// By which the last failed pod of an index is found.
fn order(pod: &Pod) -> (i32, Instant) {
    (pods::count_of(pod, pods::FAILURES) + pods::count_of(pod, pods::IGNORED), backoff::finished_at(pod))
}

/// The pods of a Job, after taking in those that it selects and nobody controls, and letting go those it no longer
/// selects. A Job that is being deleted does neither.
fn claim(cx: &mut Cx<'_>, object: &Object, job: &Job, index: &Index) -> Vec<Arc<Stored>> {
    let selector = Selector::new(job.spec.as_ref().and_then(|s| s.selector.as_ref()));
    let selects = |pod: &Pod| pod.metadata.labels.as_ref().is_some_and(|labels| selector.matches(labels));
    // A Job that does not select its own pods, which no API server takes, keeps what it has and takes in nothing: else it
    // would make and let go pods without end.
    let template = job.spec.as_ref().and_then(|s| s.template.metadata.as_ref()?.labels.as_ref());
    let sound = template.is_some_and(|labels| selector.matches(labels));
    let going = is_deleting(&job.metadata) || !sound;
    let mut claimed = Vec::new();
    for stored in index.pods(object.uid()) {
        let Some(pod) = stored.object.as_pod() else { continue };
        if !sound || selects(pod) {
            claimed.push(stored);
        } else if !going && !is_deleting(&pod.metadata) {
            rewrite(cx, pod, |pod| {
                let owners = pod.metadata.owner_references.get_or_insert_default();
                owners.retain(|owner| owner.uid != object.uid());
                drop_finalizer(&mut pod.metadata, TRACKING);
            });
        }
    }
    if going {
        return claimed;
    }
    let orphans: Vec<Arc<Stored>> = index.orphans(object.namespace()).cloned().collect();
    for pod in podcontrol::pods(&orphans).filter(|pod| !is_deleting(&pod.metadata) && selects(pod)) {
        claimed.extend(rewrite(cx, pod, |pod| {
            pod.metadata.owner_references.get_or_insert_default().push(reference(object));
            let finalizers = pod.metadata.finalizers.get_or_insert_default();
            if finalizers.iter().all(|f| f != TRACKING) {
                finalizers.push(TRACKING.to_owned());
            }
        }));
    }
    claimed.sort_by(|a, b| a.object.name().cmp(b.object.name()));
    claimed
}

/// Changes a pod, if it has the owners it was seen with.
fn rewrite(cx: &mut Cx<'_>, seen: &Pod, change: impl FnOnce(&mut Pod)) -> Option<Arc<Stored>> {
    let meta = &seen.metadata;
    let uid = meta.uid.as_deref().unwrap_or_default();
    let stored = cx.pod(meta.namespace.as_deref()?, meta.name.as_deref()?, uid)?;
    let mut pod = stored.object.as_pod()?.clone();
    if pod.metadata.owner_references != meta.owner_references {
        return None;
    }
    change(&mut pod);
    pod.metadata.owner_references = pod.metadata.owner_references.filter(|all| !all.is_empty());
    pod.metadata.finalizers = pod.metadata.finalizers.filter(|all| !all.is_empty());
    Some(cx.objects.put(Object::Pod(Box::new(pod))))
}
