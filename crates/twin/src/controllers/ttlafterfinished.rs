//! `ttlafterfinished`: deletes a finished Job `ttlSecondsAfterFinished` after it ended.
//!
//! In the foreground: it stays until garbage collection has its pods gone.

use super::{Cx, Place, garbagecollector, is_deleting};
use crate::controllers::job::finished_at;
use crate::kind::Kind;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::batch::v1::Job;

/// When a Job's time to live is over.
fn expires_at(job: &Job) -> Option<Instant> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if is_deleting(&job.metadata) {
        return None;
    }
    Some(finished_at(job)? + Span::from_seconds(i64::from(seconds)))
}

/// Sets a timer when a Job's end of life becomes known or moves. The timers are the whole state.
pub(crate) fn observe(cx: &mut Cx<'_>, change: &Change) {
    let Some(job) = change.object.object.as_job() else { return };
    if change.kind == ChangeKind::Deleted {
        return;
    }
    let before = change.previous.as_ref().and_then(|p| p.object.as_job()).and_then(expires_at);
    let Some(at) = expires_at(job).filter(|at| Some(*at) != before) else { return };
    let object = &change.object.object;
    let task = Task::Expire {
        namespace: object.namespace().into(),
        name: object.name().into(),
        uid: object.uid().into(),
    };
    cx.timers.set(at.max(cx.now), Priority::Controller, task);
}

/// A timer fired.
pub(crate) fn expire(cx: &mut Cx<'_>, (namespace, name): &Place, uid: &str) {
    let stored = cx.objects.get(Kind::Job, namespace, name).filter(|s| s.object.uid() == uid);
    let due =
        stored.filter(|s| s.object.as_job().and_then(expires_at).is_some_and(|at| at <= cx.now)).cloned();
    if let Some(stored) = due {
        garbagecollector::delete_in_foreground(cx, &stored.object, false);
    }
}
