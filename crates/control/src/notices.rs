//! Events on the home Job: why it waits, where it went, what it saved.
//!
//! An event's name is made from the Job's uid, the reason and (mostly) the text, so that telling the same thing
//! twice (after a restart, say) is refused by the API server as already there.

use crate::effect::ApiCall;
use crate::jobs;
use crate::state::{Control, Purpose};
use fleet::{Instant, JobKey};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

/// Longest message an event may carry.
const MESSAGE_MAX: usize = 1024;
/// Events told about one Job in one run of the process; more say nothing new.
const TOLD_MAX: usize = 64;

/// How an event is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Normal,
    Warning,
}

/// FNV-1a; only has to tell texts apart.
fn hash(parts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

impl Control {
    /// Tells the owner of a Job something, once in these words.
    pub(crate) fn tell(&mut self, key: &JobKey, tone: Tone, reason: &str, message: &str) {
        self.tell_as(key, tone, reason, message, message);
    }

    /// Tells the owner of a Job something, once whatever the words: figures in them change with time.
    pub(crate) fn tell_once(&mut self, key: &JobKey, tone: Tone, reason: &str, message: &str) {
        self.tell_as(key, tone, reason, message, "");
    }

    fn tell_as(&mut self, key: &JobKey, tone: Tone, reason: &str, message: &str, distinct: &str) {
        let Some(tracked) = self.jobs.get_mut(key) else { return };
        if tracked.quiet_until.is_some_and(|until| until > self.now) {
            return;
        }
        let uid = jobs::uid(&tracked.job).to_owned();
        let name = hash(&[&uid, reason, distinct]);
        if tracked.told.contains(&name) || tracked.told.len() >= TOLD_MAX {
            return;
        }
        tracked.told.push(name);
        let version = tracked.job.metadata.resource_version.clone();
        let stamp = Time(Instant::from_unix_seconds(self.now.as_unix_seconds()).to_jiff());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{name:016x}", key.name)),
                namespace: Some(key.namespace.to_string()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("batch/v1".to_owned()),
                kind: Some("Job".to_owned()),
                name: Some(key.name.to_string()),
                namespace: Some(key.namespace.to_string()),
                uid: Some(uid),
                resource_version: version,
                ..ObjectReference::default()
            },
            type_: Some(if tone == Tone::Normal { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.chars().take(MESSAGE_MAX).collect()),
            source: Some(EventSource { component: Some(jobs::MANAGER.to_owned()), host: None }),
            reporting_component: Some(jobs::MANAGER.to_owned()),
            count: Some(1),
            first_timestamp: Some(stamp.clone()),
            last_timestamp: Some(stamp),
            ..Event::default()
        };
        self.call(
            Purpose::Tell(key.clone(), name),
            key.cluster.clone(),
            ApiCall::CreateEvent { event: Box::new(event) },
        );
    }
}
