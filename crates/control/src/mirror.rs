//! What the home Job should look like, given its copy: pure functions.
//!
//! The API server accepts status writes of a managed Job only in a certain order; the rules were
//! observed on a live 1.36 server. `spec.suspend` is written before the status; a finished status is
//! written whole (interim and final condition, `startTime`, counters) in one go.

use crate::job::Job;
use crate::jobs;
use fleet::Instant;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

/// The next write that brings the home Job nearer to its copy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// Merge patch of the spec.
    Spec(Value),
    /// Merge patch of the status.
    Status(Value),
}

/// What happens to the work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// No copy runs: the home Job is held (or paused), for this reason.
    Held(&'a str),
    /// The copy has started.
    Running(&'a Job),
    /// The copy is finished.
    Finished(&'a Job),
}

/// The next write to make, or `None` when the home Job already says what it should.
pub(crate) fn next_write(home: &Job, source: Source<'_>, now: Instant) -> Option<Write> {
    let suspend = matches!(source, Source::Held(_));
    // Where somebody else keeps the spec, the status alone has to say it.
    if jobs::suspended(home) != suspend && !crate::owner::keeps_spec(home) {
        return Some(Write::Spec(json!({"suspend": suspend})));
    }
    let current = home.status.clone().unwrap_or_default();
    let wanted = match source {
        Source::Held(reason) => held(&current, reason, now),
        Source::Running(copy) => running(&current, copy, now),
        Source::Finished(copy) => finished(&current, copy, now),
    };
    let mut patch = difference(&current, &wanted);
    if matches!(source, Source::Finished(_)) && !patch.is_empty() {
        // A Job that has ended has no pods, or the server refuses its end; and what was seen of it last may be older than
        // a write of ours that came to no answer.
        for field in ["active", "ready", "terminating"] {
            patch.entry(field).or_insert(json!(0));
        }
    }
    (!patch.is_empty()).then_some(Write::Status(Value::Object(patch)))
}

fn held(current: &JobStatus, reason: &str, now: Instant) -> JobStatus {
    let mut status = counters(current, current);
    status.start_time = None;
    status.active = Some(0);
    status.ready = Some(0);
    status.terminating = current.terminating.map(|_| 0);
    status.conditions = conditions(current, &[("Suspended", "True", "JobSuspended", reason)], now);
    status
}

fn running(current: &JobStatus, copy: &Job, now: Instant) -> JobStatus {
    let theirs = copy.status.clone().unwrap_or_default();
    let active = theirs.active.unwrap_or(0);
    let mut status = counters(current, &theirs);
    // Immutable once set while unsuspended; a pause too short to be mirrored leaves the old one standing.
    status.start_time = current.start_time.clone().or(theirs.start_time);
    status.active = Some(active);
    status.ready = Some(theirs.ready.unwrap_or(0).min(active));
    status.terminating = theirs.terminating;
    status.conditions = match was_suspended(current) {
        true => conditions(current, &[("Suspended", "False", "JobResumed", "Job resumed")], now),
        false => current.conditions.clone(),
    };
    status
}

fn finished(current: &JobStatus, copy: &Job, now: Instant) -> JobStatus {
    let theirs = copy.status.clone().unwrap_or_default();
    let mut status = counters(current, &theirs);
    let created = copy.metadata.creation_timestamp.clone();
    status.start_time = current.start_time.clone().or(theirs.start_time).or(created);
    status.active = Some(0);
    status.ready = Some(0);
    status.terminating = current.terminating.map(|_| 0);
    let final_condition = |kind: &str| jobs::condition(copy, kind);
    let mut set: Vec<(&str, &str, String, String)> = Vec::new();
    if was_suspended(current) {
        set.push(("Suspended", "False", "JobResumed".to_owned(), "Job resumed".to_owned()));
    }
    let (interim, last, found) = match final_condition("Complete") {
        Some(condition) => {
            status.completion_time = theirs.completion_time.clone();
            ("SuccessCriteriaMet", "Complete", Some(condition))
        }
        None => ("FailureTarget", "Failed", final_condition("Failed")),
    };
    let reason = found.and_then(|c| c.reason.clone()).unwrap_or_else(|| "CompletionsReached".to_owned());
    let message = found.and_then(|c| c.message.clone()).unwrap_or_default();
    set.push((interim, "True", reason.clone(), message.clone()));
    set.push((last, "True", reason, message));
    let set: Vec<(&str, &str, &str, &str)> =
        set.iter().map(|(k, s, r, m)| (*k, *s, r.as_str(), m.as_str())).collect();
    status.conditions = conditions(current, &set, now);
    status
}

/// The counts and indexes of finished pods. The server takes no lower counts than before: where a copy was made anew, those
/// of the last one stand until they are passed.
fn counters(current: &JobStatus, theirs: &JobStatus) -> JobStatus {
    JobStatus {
        succeeded: theirs.succeeded.max(current.succeeded),
        failed: theirs.failed.max(current.failed),
        completed_indexes: theirs.completed_indexes.clone(),
        failed_indexes: theirs.failed_indexes.clone(),
        ..JobStatus::default()
    }
}

fn was_suspended(status: &JobStatus) -> bool {
    status.conditions.as_ref().is_some_and(|all| all.iter().any(|c| c.type_ == "Suspended"))
}

/// The current conditions with some set; a condition that keeps its status keeps its transition time.
fn conditions(
    current: &JobStatus,
    set: &[(&str, &str, &str, &str)],
    now: Instant,
) -> Option<Vec<JobCondition>> {
    let mut all = current.conditions.clone().unwrap_or_default();
    let stamp = Time(Instant::from_unix_seconds(now.as_unix_seconds()).to_jiff());
    for (kind, status, reason, message) in set {
        let old = all.iter().position(|c| c.type_ == *kind);
        let since =
            old.filter(|i| all[*i].status == *status).and_then(|i| all[i].last_transition_time.clone());
        let probed = old.filter(|i| all[*i].status == *status).and_then(|i| all[i].last_probe_time.clone());
        let condition = JobCondition {
            type_: (*kind).to_owned(),
            status: (*status).to_owned(),
            reason: Some((*reason).to_owned()),
            message: Some((*message).to_owned()),
            last_transition_time: since.or_else(|| Some(stamp.clone())),
            last_probe_time: probed.or_else(|| Some(stamp.clone())),
        };
        match old {
            Some(i) => all[i] = condition,
            None => all.push(condition),
        }
    }
    Some(all)
}

/// Merge patch from one status to another, over the fields we write. Zero and absent are the same.
fn difference(current: &JobStatus, wanted: &JobStatus) -> Map<String, Value> {
    const FIELDS: [&str; 10] = [
        "active",
        "ready",
        "succeeded",
        "failed",
        "terminating",
        "startTime",
        "completionTime",
        "completedIndexes",
        "failedIndexes",
        "conditions",
    ];
    let (old, new) = (json!(current), json!(wanted));
    let mut patch = Map::new();
    for field in FIELDS {
        let (a, b) = (old.get(field).unwrap_or(&Value::Null), new.get(field).unwrap_or(&Value::Null));
        let nothing = |v: &Value| v.is_null() || *v == json!(0);
        if a != b && !(nothing(a) && nothing(b)) {
            patch.insert(field.to_owned(), b.clone());
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    use k8s_openapi::api::batch::v1 as api;

    fn job(value: Value) -> api::Job {
        let mut whole =
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "b"}});
        json_patch::merge(&mut whole, &value);
        serde_json::from_value(whole).unwrap()
    }
    fn apply(home: &mut api::Job, write: &Write) {
        let mut value = serde_json::to_value(&*home).unwrap();
        let patch = match write {
            Write::Spec(spec) => json!({"spec": spec}),
            Write::Status(status) => json!({"status": status}),
        };
        json_patch::merge(&mut value, &patch);
        *home = serde_json::from_value(value).unwrap();
    }
    fn kept(job: &api::Job) -> Job {
        job.clone().into()
    }
    fn settle(home: &mut api::Job, source: Source<'_>) -> Vec<Write> {
        let mut writes = Vec::new();
        while let Some(write) = next_write(&kept(home), source, Instant::from_unix_seconds(1_700_000_000)) {
            apply(home, &write);
            writes.push(write);
            assert!(writes.len() < 5, "does not settle: {writes:?}");
        }
        writes
    }

    #[test]
    fn counts_do_not_fall_when_a_copy_is_made_anew() {
        let mut home =
            job(json!({"spec": {"suspend": false, "template": {"spec": {"containers": [{"name": "c"}]}}},
            "status": {"startTime": "2026-01-01T00:00:00Z", "active": 1, "succeeded": 2, "failed": 1}}));
        let anew = job(
            json!({"status": {"startTime": "2026-01-01T02:00:00Z", "active": 2, "ready": 1, "failed": 3}}),
        );
        settle(&mut home, Source::Running(&kept(&anew)));
        let status = home.status.unwrap();
        assert_eq!((status.active, status.succeeded, status.failed), (Some(2), Some(2), Some(3)));
    }

    #[test]
    fn an_end_says_that_no_pods_are_left_whatever_was_seen_last() {
        let seen =
            job(json!({"spec": {"suspend": false, "template": {"spec": {"containers": [{"name": "c"}]}}},
            "status": {"startTime": "2026-01-01T00:00:00Z"}}));
        let done = job(
            json!({"status": {"startTime": "2026-01-01T00:00:00Z", "succeeded": 1, "completionTime": "2026-01-01T01:00:00Z",
            "conditions": [{"type": "Complete", "status": "True"}]}}),
        );
        let now = Instant::from_unix_seconds(1_700_000_000);
        let Some(Write::Status(patch)) = next_write(&kept(&seen), Source::Finished(&kept(&done)), now) else {
            panic!("nothing is written")
        };
        assert_eq!([&patch["active"], &patch["ready"], &patch["terminating"]], [0, 0, 0]);
    }

    #[test]
    fn a_life_is_mirrored_in_the_order_the_server_accepts() {
        let template = json!({"template": {"spec": {"containers": [{"name": "c"}]}}, "suspend": true});
        let mut home = job(json!({"spec": template}));
        let copy = job(
            json!({"spec": {"suspend": false, "template": template["template"]}, "status": {"startTime": "2026-01-01T00:00:00Z", "active": 1, "ready": 2}}),
        );
        assert_eq!(settle(&mut home, Source::Held("held")).len(), 1);
        assert_eq!(jobs::condition(&kept(&home), "Suspended").unwrap().message.as_deref(), Some("held"));
        let writes = settle(&mut home, Source::Running(&kept(&copy)));
        assert!(matches!(&writes[..], [Write::Spec(_), Write::Status(_)]), "{writes:?}");
        assert_eq!(home.status.as_ref().unwrap().ready, Some(1), "ready never exceeds active");
        assert!(jobs::condition(&kept(&home), "Suspended").is_none());

        let writes = settle(&mut home, Source::Held("paused"));
        assert!(matches!(&writes[..], [Write::Spec(_), Write::Status(_)]), "{writes:?}");
        assert_eq!(home.status.as_ref().unwrap().start_time, None);

        let mut done = copy.clone();
        done.status = serde_json::from_value(json!({"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T01:00:00Z", "succeeded": 1,
            "conditions": [{"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached"}, {"type": "Complete", "status": "True", "reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}]})).unwrap();
        let writes = settle(&mut home, Source::Finished(&kept(&done)));
        assert!(matches!(&writes[..], [Write::Spec(_), Write::Status(_)]), "{writes:?}");
        assert_eq!(jobs::finished(&kept(&home)), Some(true));
        assert!(jobs::condition(&kept(&home), "SuccessCriteriaMet").is_some());
        assert_eq!(jobs::finish_time(&kept(&home)), Some(Instant::parse("2026-01-01T01:00:00Z").unwrap()));
    }

    #[test]
    fn a_failure_is_mirrored_with_its_reason() {
        let template = json!({"template": {"spec": {"containers": [{"name": "c"}]}}, "suspend": true});
        let mut home = job(json!({"spec": template}));
        let failed = job(
            json!({"spec": {"template": template["template"]}, "status": {"startTime": "2026-01-01T00:00:00Z", "failed": 1, "conditions": [
            {"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"},
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]}}),
        );
        settle(&mut home, Source::Finished(&kept(&failed)));
        let conditions = home.status.unwrap().conditions.unwrap();
        let kinds: Vec<_> =
            conditions.iter().map(|c| (c.type_.as_str(), c.reason.as_deref().unwrap())).collect();
        assert_eq!(kinds, [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]);
    }
}
