//! A Deployment's status and conditions, and the clock of its progress.

use super::{NO_DEADLINE, Sync};
use crate::controllers::time;
use fleet::{Instant, Span};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSetCondition};
use serde::Deserialize;

pub(super) const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
/// Reasons of `Progressing` that other rules ask for.
const DONE: &str = "NewReplicaSetAvailable";
const LATE: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
/// How long after the deadline the look that finds it passed comes, as in the real controller.
const AFTER_DEADLINE: Span = Span::from_seconds(1);

/// A condition by type.
pub(super) fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(all) = &mut status.conditions {
        all.retain(|c| c.type_ != kind);
        if all.is_empty() {
            status.conditions = None;
        }
    }
}

/// Sets a condition: with the same status and reason it stays, with the same status it keeps its time of transition.
fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = condition(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
    }
    remove(status, &new.type_.clone());
    status.conditions.get_or_insert_default().push(new);
}

fn count(number: Option<i32>) -> i32 {
    number.unwrap_or(0)
}

impl Sync<'_, '_> {
    pub(super) fn has_deadline(&self) -> bool {
        self.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != NO_DEADLINE)
    }
    fn new_condition(&self, kind: &str, value: &str, reason: &str, message: String) -> DeploymentCondition {
        DeploymentCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: Some(time(self.cx.now)),
            last_transition_time: Some(time(self.cx.now)),
        }
    }
    /// Sets `Progressing` in the status kept.
    pub(super) fn progressing(&mut self, value: &str, reason: &str, message: String) {
        let new = self.new_condition(PROGRESSING, value, reason, message);
        set(&mut self.status, new);
    }
    /// Notes that a Deployment is paused or goes on, so that its progress is not timed while it may not progress.
    pub(super) fn note_pause(&mut self) {
        let reason = condition(&self.status, PROGRESSING).and_then(|c| c.reason.as_deref());
        let (late, noted) = (reason == Some(LATE), reason == Some(PAUSED));
        if !self.has_deadline() || late {
            return;
        }
        match (self.paused(), noted) {
            (true, false) => self.progressing("Unknown", PAUSED, "Deployment is paused".to_owned()),
            (false, true) => {
                self.progressing("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned());
            }
            _ => return,
        }
        self.write();
    }
    /// Whether a status says that all pods are new and available.
    pub(super) fn is_complete(&self, status: &DeploymentStatus) -> bool {
        count(status.updated_replicas) == self.wanted
            && count(status.replicas) == self.wanted
            && count(status.available_replicas) == self.wanted
            && status.observed_generation.unwrap_or(0) >= self.object.meta().generation.unwrap_or(0)
    }
    /// Counters and `Available`; everything else as it was.
    fn counted(&self) -> DeploymentStatus {
        let sum = |field: &str| -> i32 { self.sets.iter().map(|set| set.counted(field)).sum() };
        let some = |number: i32| (number != 0).then_some(number);
        let available = sum("availableReplicas");
        let total: i32 = self.sets.iter().map(|set| set.wanted).sum();
        let mut status = DeploymentStatus {
            available_replicas: some(available),
            collision_count: self.status.collision_count,
            conditions: self.status.conditions.clone(),
            observed_generation: self.object.meta().generation,
            ready_replicas: some(sum("readyReplicas")),
            replicas: some(sum("replicas")),
            terminating_replicas: Some(sum("terminatingReplicas")),
            unavailable_replicas: some((total - available).max(0)),
            updated_replicas: some(self.newest().map_or(0, |set| set.counted("replicas"))),
        };
        let new = if available >= self.min_available() {
            let text = "Deployment has minimum availability.".to_owned();
            self.new_condition(AVAILABLE, "True", "MinimumReplicasAvailable", text)
        } else {
            let text = "Deployment does not have minimum availability.".to_owned();
            self.new_condition(AVAILABLE, "False", "MinimumReplicasUnavailable", text)
        };
        set(&mut status, new);
        status
    }
    /// The status where nothing is rolled out.
    pub(super) fn sync_status(&mut self) {
        self.status = self.counted();
    }
    /// The status where something is, or was.
    pub(super) fn sync_rollout(&mut self) {
        let mut next = self.counted();
        if !self.has_deadline() {
            remove(&mut next, PROGRESSING);
        }
        let reason = condition(&self.status, PROGRESSING).and_then(|c| c.reason.clone());
        let done = next.replicas == next.updated_replicas && reason.as_deref() == Some(DONE);
        if self.has_deadline() && !done {
            self.judge(&mut next);
        }
        match self.failure() {
            Some(failure) => set(&mut next, failure),
            None => remove(&mut next, FAILURE),
        }
        self.watch_deadline(&next);
        self.status = next;
    }
    /// Says whether the rollout is done, goes on, or takes too long.
    fn judge(&mut self, next: &mut DeploymentStatus) {
        let subject = match self.newest() {
            Some(set) => format!("ReplicaSet \"{}\"", set.name()),
            None => format!("Deployment \"{}\"", self.object.name()),
        };
        if self.is_complete(next) {
            let text = format!("{subject} has successfully progressed.");
            set(next, self.new_condition(PROGRESSING, "True", DONE, text));
        } else if self.has_progressed(next) {
            let text = format!("{subject} is progressing.");
            let mut new = self.new_condition(PROGRESSING, "True", "ReplicaSetUpdated", text);
            // Each progress winds the clock, whatever the reason was before.
            if let Some(old) = condition(&self.status, PROGRESSING) {
                if old.status == "True" {
                    new.last_transition_time = old.last_transition_time.clone();
                }
                remove(next, PROGRESSING);
            }
            set(next, new);
        } else if self.is_late(next) {
            let text = format!("{subject} has timed out progressing.");
            set(next, self.new_condition(PROGRESSING, "False", LATE, text));
        }
    }
    fn has_progressed(&self, next: &DeploymentStatus) -> bool {
        let old = &self.status;
        let outdated = |s: &DeploymentStatus| count(s.replicas) - count(s.updated_replicas);
        count(next.updated_replicas) > count(old.updated_replicas)
            || outdated(next) < outdated(old)
            || count(next.ready_replicas) > count(old.ready_replicas)
            || count(next.available_replicas) > count(old.available_replicas)
    }
    fn deadline(&self, status: &DeploymentStatus) -> Option<Instant> {
        let updated = condition(status, PROGRESSING)?.last_update_time.as_ref()?;
        let seconds = self.spec.progress_deadline_seconds?;
        Some(Instant::from_jiff(updated.0) + Span::from_seconds(i64::from(seconds)))
    }
    fn is_late(&self, status: &DeploymentStatus) -> bool {
        match condition(status, PROGRESSING).and_then(|c| c.reason.as_deref()) {
            None | Some(DONE) => false,
            Some(LATE) => true,
            Some(_) => self.deadline(status).is_some_and(|deadline| deadline < self.cx.now),
        }
    }
    /// Has the Deployment looked at when its progress may have taken too long.
    fn watch_deadline(&mut self, status: &DeploymentStatus) {
        let reason = condition(status, PROGRESSING).and_then(|c| c.reason.as_deref());
        if !self.has_deadline() || matches!(reason, None | Some(DONE | LATE)) || self.is_complete(status) {
            return;
        }
        if let Some(deadline) = self.deadline(status).filter(|deadline| *deadline >= self.cx.now) {
            self.wakes.set(self.cx, self.object, deadline + AFTER_DEADLINE);
        }
    }
    /// Why a ReplicaSet cannot have its pods, that of the current template first.
    fn failure(&self) -> Option<DeploymentCondition> {
        let order = self.current.into_iter().chain(self.old());
        order.into_iter().find_map(|at| {
            let all = self.sets[at].object().as_document()?.body.get("status")?.get("conditions")?;
            let found = all.as_array()?.iter().find(|c| c.get("type").is_some_and(|kind| kind == FAILURE))?;
            let found = ReplicaSetCondition::deserialize(found).ok()?;
            Some(DeploymentCondition {
                type_: found.type_,
                status: found.status,
                reason: found.reason,
                message: found.message,
                last_update_time: found.last_transition_time.clone(),
                last_transition_time: found.last_transition_time,
            })
        })
    }
}
