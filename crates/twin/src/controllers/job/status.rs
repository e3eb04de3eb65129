//! Conditions of a Job.

use crate::controllers::time;
use fleet::Instant;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};

/// A condition by type.
pub(super) fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// Whether a condition is there and true.
pub(super) fn has_condition(status: &JobStatus, kind: &str) -> bool {
    condition(status, kind).is_some_and(|c| c.status == "True")
}

/// Sets a condition; one that is not there is not set to false. Whether anything changed.
pub(super) fn ensure(
    status: &mut JobStatus,
    kind: &str,
    holds: bool,
    (reason, message): (&str, &str),
    now: Instant,
) -> bool {
    let value = if holds { "True" } else { "False" };
    let new = JobCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(time(now)),
        last_transition_time: Some(time(now)),
    };
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(old) if old.status == value && old.reason == new.reason && old.message == new.message => false,
        Some(old) => {
            *old = new;
            true
        }
        None if holds => {
            conditions.push(new);
            true
        }
        None => false,
    }
}

/// When a Job ended; `None` while it has not.
pub(crate) fn finished_at(job: &Job) -> Option<Instant> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions
        .iter()
        .find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    Some(end.last_transition_time.as_ref().map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0)))
}
