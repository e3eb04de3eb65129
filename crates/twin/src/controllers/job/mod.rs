//! `job`: runs Jobs to completion.
//!
//! Creates and deletes pods, counts how they end, keeps the status and its conditions, and backs off
//! after failures. A Job whose `managedBy` names somebody else is not looked at at all. Pods are
//! followed without the tracking finalizer: this controller hears of every change, so it cannot miss an
//! end. Invariant: each pod is counted at most once. Left out: `podFailurePolicy`, `successPolicy`,
//! `backoffLimitPerIndex`, adoption of orphaned pods, and the real controller's batching of status
//! writes by one second (here: by instant).

mod adopt;
mod pods;
mod status;
mod track;

use super::{Cx, is_deleting, time};
use crate::controllers::events::{About, Source};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::Change;
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use adopt::untrack;
pub(crate) use pods::{admit, qos_class};
pub(crate) use status::finished_at;
use status::{Verdict, condition, has_condition, set_condition};
use track::Tracked;

/// The value of `managedBy` that means this controller.
const CONTROLLER: &str = "kubernetes.io/job-controller";
const SOURCE: Source<'static> = Source { component: "job-controller", host: None };
/// First delay after a failed pod, and the longest (`DefaultJobPodFailureBackOff`, `MaxJobPodFailureBackOff`).
const BACKOFF_FIRST: Span = Span::from_seconds(10);
const BACKOFF_MAX: Span = Span::from_seconds(600);
/// Most pods created or deleted in one go (`MaxPodCreateDeletePerSync`).
const PODS_PER_SYNC_MAX: usize = 500;

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct JobController {
    jobs: BTreeMap<Arc<str>, Tracked>,
    /// Jobs to look at; empty at rest.
    #[serde(skip)]
    dirty: BTreeSet<Arc<str>>,
}

/// Whether somebody else runs this Job.
fn managed_elsewhere(job: &Job) -> bool {
    let by = job.spec.as_ref().and_then(|s| s.managed_by.as_deref());
    by.is_some_and(|by| by != CONTROLLER)
}

impl JobController {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let touched = match &change.object.object {
            Object::Job(job) => self.observe_job(job, change),
            Object::Pod(pod) => self.observe_pod(pod, change, cx.now),
            _ => None,
        };
        self.dirty.extend(touched);
    }
    /// A timer fired.
    pub(crate) fn wake(&mut self, uid: &Arc<str>) {
        if let Some(tracked) = self.jobs.get_mut(uid) {
            tracked.wake = None;
            self.dirty.insert(uid.clone());
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        for uid in std::mem::take(&mut self.dirty) {
            acted |= self.sync(cx, &uid);
        }
        acted
    }
    /// Brings one Job's pods and status to what they should be.
    fn sync(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) -> bool {
        let Some(tracked) = self.jobs.get_mut(uid) else { return false };
        let Some(stored) = cx.objects.get(Kind::Job, &tracked.namespace, &tracked.name).cloned() else {
            return false;
        };
        let Object::Job(job) = &stored.object else { return false };
        if stored.object.uid() != &**uid || is_deleting(&job.metadata) || finished_at(job).is_some() {
            return false;
        }
        let Some(spec) = &job.spec else { return false };
        let about = About::new(&stored.object);
        let mut status = job.status.clone().unwrap_or_default();
        let mut sync = Sync { cx, tracked, job, spec, about };
        let more = sync.act(&mut status);
        sync.count(&mut status);
        if more {
            self.dirty.insert(uid.clone());
        }
        if job.status.as_ref() == Some(&status) {
            return more;
        }
        let mut job = job.clone();
        job.status = Some(status);
        cx.objects.put(Object::Job(job));
        true
    }
}

/// One look at one Job.
struct Sync<'a, 'b> {
    cx: &'a mut Cx<'b>,
    tracked: &'a mut Tracked,
    job: &'a Job,
    spec: &'a JobSpec,
    about: About<'a>,
}

impl Sync<'_, '_> {
    /// Acts on the pods and sets conditions; whether there is more to do at once.
    fn act(&mut self, status: &mut JobStatus) -> bool {
        let suspended = self.spec.suspend.unwrap_or(false);
        if !suspended && status.start_time.is_none() {
            status.start_time = Some(time(self.cx.now));
        }
        match self.verdict(status) {
            Verdict::Fail { reason, message } => {
                set_condition(status, "FailureTarget", true, &reason, &message, self.cx.now);
                let more = self.delete_active(usize::MAX);
                if self.tracked.live() == 0 {
                    set_condition(status, "Failed", true, &reason, &message, self.cx.now);
                    self.cx.warning(&self.about, SOURCE, &reason, message);
                }
                more
            }
            Verdict::Succeed => {
                let (reason, message) = ("CompletionsReached", "Reached expected number of succeeded pods");
                set_condition(status, "SuccessCriteriaMet", true, reason, message, self.cx.now);
                let more = self.delete_active(usize::MAX);
                if self.tracked.live() == 0 {
                    set_condition(status, "Complete", true, reason, message, self.cx.now);
                    status.completion_time = Some(time(self.cx.now));
                    self.cx.normal(&self.about, SOURCE, "Completed", "Job completed".to_owned());
                }
                more
            }
            Verdict::Continue if suspended => self.suspend(status),
            Verdict::Continue => self.proceed(status),
        }
    }
    fn verdict(&mut self, status: &JobStatus) -> Verdict {
        if let Some(target) = condition(status, "FailureTarget").filter(|c| c.status == "True") {
            let (reason, message) = (target.reason.clone(), target.message.clone());
            return Verdict::Fail {
                reason: reason.unwrap_or_default(),
                message: message.unwrap_or_default(),
            };
        }
        if has_condition(status, "SuccessCriteriaMet") {
            return Verdict::Succeed;
        }
        if let Some(end) = self.deadline(status)
            && !self.spec.suspend.unwrap_or(false)
        {
            if end <= self.cx.now {
                return Verdict::fail("DeadlineExceeded", "Job was active longer than specified deadline");
            }
            self.wake_at(end);
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let restarts = self.tracked.restarts();
        let on_failure =
            self.spec.template.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) == Some("OnFailure");
        let restarted_out = on_failure && if limit == 0 { restarts > 0 } else { restarts >= limit };
        if self.tracked.failed > limit || restarted_out {
            return Verdict::fail("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        let done = match self.spec.completions {
            Some(wanted) => self.tracked.succeeded >= wanted,
            None => self.tracked.succeeded > 0 && self.tracked.live() == 0,
        };
        if done { Verdict::Succeed } else { Verdict::Continue }
    }
    fn deadline(&self, status: &JobStatus) -> Option<Instant> {
        let seconds = self.spec.active_deadline_seconds?;
        let start = Instant::from_jiff(status.start_time.as_ref()?.0);
        Some(start + Span::from_seconds(seconds))
    }
    fn suspend(&mut self, status: &mut JobStatus) -> bool {
        let more = self.delete_active(usize::MAX);
        status.start_time = None;
        if !has_condition(status, "Suspended") {
            set_condition(status, "Suspended", true, "JobSuspended", "Job suspended", self.cx.now);
            self.cx.normal(&self.about, SOURCE, "Suspended", "Job suspended".to_owned());
        }
        more
    }
    fn proceed(&mut self, status: &mut JobStatus) -> bool {
        if has_condition(status, "Suspended") {
            set_condition(status, "Suspended", false, "JobResumed", "Job resumed", self.cx.now);
            status.start_time = Some(time(self.cx.now));
            self.cx.normal(&self.about, SOURCE, "Resumed", "Job resumed".to_owned());
        }
        let parallelism = self.spec.parallelism.unwrap_or(1).max(0);
        let active = self.tracked.active();
        let wanted = match self.spec.completions {
            Some(completions) => parallelism.min((completions - self.tracked.succeeded).max(0)),
            None if self.tracked.succeeded > 0 => active.min(parallelism),
            None => parallelism,
        };
        if active > wanted {
            return self.delete_active(usize::try_from(active - wanted).unwrap_or(0));
        }
        if active == wanted {
            return false;
        }
        match self.backoff_end() {
            Some(end) if end > self.cx.now => {
                self.wake_at(end);
                false
            }
            _ => self.create(usize::try_from(wanted - active).unwrap_or(0)),
        }
    }
    /// Until when no pod is created because of failures.
    fn backoff_end(&self) -> Option<Instant> {
        let last = self.tracked.last_failure?;
        let doublings = self.tracked.failures_in_row.saturating_sub(1).min(10);
        let delay = BACKOFF_FIRST.scaled(1 << doublings, 1).min(BACKOFF_MAX);
        (self.tracked.failures_in_row > 0).then(|| last + delay)
    }
    fn wake_at(&mut self, at: Instant) {
        if self.tracked.wake.is_none_or(|set| set > at) {
            self.tracked.wake = Some(at);
            let uid = self.job.metadata.uid.as_deref().unwrap_or_default().into();
            self.cx.timers.set(at, Priority::Controller, Task::Job { uid });
        }
    }
    /// Brings the counters up to date.
    fn count(&mut self, status: &mut JobStatus) {
        let some = |n: i32| (n > 0).then_some(n);
        status.active = some(self.tracked.active());
        status.ready = Some(self.tracked.ready());
        status.terminating = Some(self.tracked.terminating());
        status.succeeded = some(self.tracked.succeeded);
        status.failed = some(self.tracked.failed);
        status.uncounted_terminated_pods.get_or_insert_default();
        if self.spec.completion_mode.as_deref() == Some("Indexed") && !self.tracked.completed.is_empty() {
            status.completed_indexes = Some(status::ranges(&self.tracked.completed));
        }
    }
}
