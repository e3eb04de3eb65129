//! Counting pods that have ended: noted in the status, released, counted.
//!
//! Three writes, in this order, so that a pod is counted once whichever of them is the last that comes through.

use super::backoff::Record;
use super::look::{Goal, Look};
use super::pods::{index_of, is_tracked};
use super::status::{ensure, has_condition};
use super::{SOURCE, index, policy};
use crate::controllers::podcontrol::number;
use crate::controllers::{is_deleting, phase, time};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::Stored;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most pods noted at a time (`MaxUncountedPods`), so that the status stays small.
const NOTED_MAX: usize = 500;

/// Which pods are counted by this look.
struct Ended {
    pods: Vec<Arc<Stored>>,
    /// There are more.
    more: bool,
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

impl Look<'_, '_> {
    /// Counts what has ended, and writes the status; returns what is to be remembered.
    pub(super) fn track(mut self, goal: Option<Goal>) -> Record {
        let held = |stored: &&Arc<Stored>| stored.object.as_pod().is_some_and(is_tracked);
        let mut tracked: BTreeSet<String> =
            self.pods.iter().filter(held).map(|stored| stored.object.uid().to_owned()).collect();
        self.count(&tracked);
        let ended = self.note_ended(goal.as_ref());
        if self.is_indexed() {
            let text = |indexes: &super::indexes::Indexes| indexes.to_string();
            self.status.succeeded = Some(self.succeeded_indexes.total()).filter(|n| *n > 0);
            self.status.completed_indexes = Some(text(&self.succeeded_indexes)).filter(|t| !t.is_empty());
            self.status.failed_indexes = self.failed_indexes.as_ref().map(text);
        }
        if let Some(goal) = &goal {
            let interim = if goal.success { "SuccessCriteriaMet" } else { "FailureTarget" };
            if !has_condition(&self.status, interim) {
                ensure(&mut self.status, interim, true, (&goal.reason, &goal.message), self.cx.now);
            }
        }
        self.write();
        for stored in &ended.pods {
            if let Some(pod) = stored.object.as_pod() {
                index::release(self.cx, pod);
            }
            tracked.remove(stored.object.uid());
        }
        self.count(&tracked);
        let goal = goal.filter(|_| !ended.more && self.may_finish());
        if let Some(goal) = &goal {
            let kind = if goal.success { "Complete" } else { "Failed" };
            ensure(&mut self.status, kind, true, (&goal.reason, &goal.message), self.cx.now);
            if goal.success {
                self.status.completion_time = Some(time(self.cx.now));
            }
        }
        self.write();
        if let Some(goal) = goal {
            self.announce(goal);
        }
        self.record
    }
    /// Whether all its pods have ended and are counted.
    fn may_finish(&self) -> bool {
        let (succeeded, failed) = self.listed();
        succeeded.is_empty() && failed.is_empty() && self.terminating == 0
    }
    fn announce(&mut self, goal: Goal) {
        if !goal.success {
            self.cx.warning(&self.about, SOURCE, &goal.reason, goal.message);
            return;
        }
        let succeeded = self.status.succeeded.unwrap_or(0);
        if self.spec.completions.is_some_and(|wanted| succeeded > wanted) {
            let text = "Too many succeeded pods running after completion count reached";
            self.cx.warning(&self.about, SOURCE, "TooManySucceededPods", text.to_owned());
        }
        self.cx.normal(&self.about, SOURCE, "Completed", "Job completed".to_owned());
    }
    /// Adds to the counters what is noted and no longer tracked.
    fn count(&mut self, tracked: &BTreeSet<String>) {
        let (succeeded, failed) = self.listed();
        let split = |listed: Vec<String>| -> (Vec<String>, i32) {
            let all = listed.len();
            let left: Vec<String> = listed.into_iter().filter(|uid| tracked.contains(uid)).collect();
            let counted = number(all - left.len());
            (left, counted)
        };
        let ((succeeded, more_succeeded), (failed, more_failed)) = (split(succeeded), split(failed));
        let add = |counter: &mut Option<i32>, more: i32| {
            *counter = Some(counter.unwrap_or(0) + more).filter(|n| *n > 0);
        };
        add(&mut self.status.succeeded, more_succeeded);
        add(&mut self.status.failed, more_failed);
        let listed = self.status.uncounted_terminated_pods.get_or_insert_default();
        listed.succeeded = Some(succeeded).filter(|all| !all.is_empty());
        listed.failed = Some(failed).filter(|all| !all.is_empty());
    }
    /// Notes the pods that have ended.
    fn note_ended(&mut self, goal: Option<&Goal>) -> Ended {
        let mut pods: Vec<Arc<Stored>> = self.pods.clone();
        if self.is_indexed() {
            pods.sort_by_key(|stored| stored.object.as_pod().and_then(index_of));
        }
        let (mut succeeded, mut failed) = self.listed();
        let known: BTreeSet<String> = succeeded.iter().chain(&failed).cloned().collect();
        let mut new_indexes = BTreeSet::new();
        let mut ended = Ended { pods: Vec::new(), more: false };
        for stored in pods {
            let Some(pod) = stored.object.as_pod().filter(|pod| is_tracked(pod)) else { continue };
            let fails = self.is_failed(pod);
            if !self.lets_go(pod, fails, goal.is_some()) {
                continue;
            }
            let valid = self.valid_index(pod);
            let counts = (!self.is_indexed() || valid.is_some()) && !known.contains(uid(pod));
            if phase(pod) == "Succeeded" {
                match valid.filter(|_| self.is_indexed()) {
                    Some(index) if !self.known_indexes.has(index) => {
                        new_indexes.insert(index);
                    }
                    None if counts => succeeded.push(uid(pod).to_owned()),
                    _ => {}
                }
            } else if (fails || goal.is_some_and(|goal| !goal.success))
                && counts
                && policy::counts(self.spec.pod_failure_policy.as_ref(), pod)
            {
                failed.push(uid(pod).to_owned());
            }
            ended.pods.push(stored);
            if new_indexes.len() + succeeded.len() + failed.len() >= NOTED_MAX {
                ended.more = true;
                break;
            }
        }
        let listed = self.status.uncounted_terminated_pods.get_or_insert_default();
        listed.succeeded = Some(succeeded).filter(|all| !all.is_empty());
        listed.failed = Some(failed).filter(|all| !all.is_empty());
        ended
    }
    /// Whether a pod may be released: it has ended, or the Job has. A failed pod of an index that is still to be replaced
    /// is kept, for its replacement to take up its count of failures.
    fn lets_go(&self, pod: &Pod, fails: bool, decided: bool) -> bool {
        if is_deleting(&self.job.metadata) || decided || phase(pod) == "Succeeded" {
            return true;
        }
        let waits = |index| self.delayed.get(&index).is_some_and(|last| last.object.uid() == uid(pod));
        fails && !index_of(pod).is_some_and(waits)
    }
    /// Writes the status where it differs.
    fn write(&mut self) {
        let object = self.object;
        let Some(stored) = self.cx.objects.get(Kind::Job, object.namespace(), object.name()) else { return };
        let Object::Job(job) = &stored.object else { return };
        if job.status.as_ref() == Some(&self.status) {
            return;
        }
        let mut job = job.clone();
        job.status = Some(self.status.clone());
        self.cx.objects.put(Object::Job(job));
    }
}
