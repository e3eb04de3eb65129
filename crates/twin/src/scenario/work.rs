//! The Jobs of a scenario, and whether they were done in time.
//!
//! A Job is due at its annotation `kubercarbon.io/deadline` (RFC 3339), or `kubercarbon.io/finish-within` after it was made.
//! It is late if it is not complete by then: it was complete later, failed, or is open still and the time is over. A Job that
//! says nothing is never late. Invariant: jobs = complete + failed + open.

use crate::kind::Kind;
use crate::store::{Change, ChangeKind, Objects};
use fleet::{Instant, Span};
use k8s_openapi::api::batch::v1::Job;
use serde::Serialize;
use std::collections::BTreeMap;

/// What became of the Jobs there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// All that were made.
    pub jobs: usize,
    /// Complete.
    pub complete: usize,
    /// Failed.
    pub failed: usize,
    /// Neither, at the end, or taken away before.
    pub open: usize,
    /// Those of them that were due and not complete in time.
    pub late: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Own {
    due: Option<Instant>,
    complete: Option<Instant>,
    failed: bool,
}

/// What was seen of Jobs, by uid.
#[derive(Debug, Default)]
pub(super) struct Seen {
    jobs: BTreeMap<String, Own>,
}

/// When a Job has to be complete, if it says so.
fn due(job: &Job) -> Option<Instant> {
    let annotations = job.metadata.annotations.as_ref()?;
    if let Some(deadline) = annotations.get("kubercarbon.io/deadline") {
        return Instant::parse(deadline).ok();
    }
    let within = Span::parse(annotations.get("kubercarbon.io/finish-within")?).ok()?;
    Some(Instant::from_jiff(job.metadata.creation_timestamp.as_ref()?.0).saturating_add(within))
}

impl Seen {
    /// Takes in what changed after a version.
    pub(super) fn take(&mut self, objects: &Objects, version: u64, now: Instant) {
        let Ok(changes) = objects.changes_since(version) else { return };
        for Change { kind, object, .. } in changes.filter(|change| change.object.object.kind() == Kind::Job) {
            let Some(job) = object.object.as_job().filter(|_| *kind != ChangeKind::Deleted) else { continue };
            let own = self.jobs.entry(object.object.uid().to_owned()).or_default();
            let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
            for condition in conditions.filter(|condition| condition.status == "True") {
                match condition.type_.as_str() {
                    "Complete" => own.complete = own.complete.or(Some(now)),
                    "Failed" => own.failed = true,
                    _ => {}
                }
            }
            own.due = due(job);
        }
    }
    /// What became of them, at the end.
    pub(super) fn report(&self, end: Instant) -> Work {
        let mut work = Work { jobs: self.jobs.len(), ..Work::default() };
        for own in self.jobs.values() {
            let late = match (own.due, own.complete) {
                (None, _) => false,
                (Some(due), Some(at)) => at > due,
                (Some(due), None) => own.failed || end > due,
            };
            work.complete += usize::from(own.complete.is_some());
            work.failed += usize::from(own.complete.is_none() && own.failed);
            work.late += usize::from(late);
        }
        work.open = work.jobs - work.complete - work.failed;
        work
    }
}
