//! Conditions of a Job, and the shorthand of completed indexes.

use crate::controllers::time;
use fleet::Instant;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use std::collections::BTreeSet;

/// What is to become of a Job.
pub(super) enum Verdict {
    Continue,
    Succeed,
    Fail { reason: String, message: String },
}

impl Verdict {
    pub(super) fn fail(reason: &str, message: &str) -> Verdict {
        Verdict::Fail { reason: reason.to_owned(), message: message.to_owned() }
    }
}

/// A condition by type.
pub(super) fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// Whether a condition is there and true.
pub(super) fn has_condition(status: &JobStatus, kind: &str) -> bool {
    condition(status, kind).is_some_and(|c| c.status == "True")
}

/// Sets a condition; one that already has this status stays as it is.
pub(super) fn set_condition(
    status: &mut JobStatus,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Instant,
) {
    let value = if holds { "True" } else { "False" };
    if condition(status, kind).is_some_and(|c| c.status == value) {
        return;
    }
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
        Some(old) => *old = new,
        None => conditions.push(new),
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

/// Indexes as Kubernetes writes them: `0,2-5`; two in a row are `2,3`.
pub(super) fn ranges(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let text = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_as_ranges() {
        let text = |indexes: &[i32]| ranges(&indexes.iter().copied().collect());
        assert_eq!(text(&[0, 2, 3, 4, 5, 7, 8]), "0,2-5,7,8");
        assert_eq!(text(&[]), "");
    }
}
