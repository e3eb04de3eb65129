//! How long a Job waits before it makes the next pod: 10 s after a failure, twice that after each further one, at most
//! 10 minutes; a success begins anew.

use crate::controllers::phase;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

/// First delay after a failed pod, and the longest (`DefaultJobPodFailureBackOff`, `MaxJobPodFailureBackOff`).
const FIRST: Span = Span::from_seconds(10);
const LONGEST: Span = Span::from_seconds(600);

/// What is remembered of a Job that its objects do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Failures since the last success, and the last of them.
    failures: u32,
    last_failure: Option<Instant>,
    /// The earliest timer set.
    pub(super) wake: Option<Instant>,
}

impl Record {
    /// The record with pods that have ended since.
    pub(super) fn after(&self, succeeded: &[&Pod], failed: &[&Pod]) -> Record {
        let mut next = self.clone();
        let last_success = succeeded.iter().map(|pod| finished_at(pod)).max();
        if last_success.is_some() {
            (next.failures, next.last_failure) = (0, None);
        }
        let since =
            failed.iter().map(|pod| finished_at(pod)).filter(|at| last_success.is_none_or(|s| *at > s));
        for at in since {
            next.failures = next.failures.saturating_add(1);
            next.last_failure = next.last_failure.max(Some(at));
        }
        if last_success.is_none() && !failed.is_empty() {
            next.last_failure = failed.iter().map(|pod| finished_at(pod)).max();
        }
        next
    }
    /// Until when no pod is made because of failures.
    pub(super) fn end(&self) -> Option<Instant> {
        self.last_failure.map(|last| last + delay(self.failures))
    }
}

/// The delay after so many failures in a row.
pub(super) fn delay(failures: u32) -> Span {
    match failures {
        0 => Span::ZERO,
        // 10 s doubled seven times are beyond the longest.
        n => FIRST.scaled(1 << (n - 1).min(7), 1).min(LONGEST),
    }
}

fn instant(time: &Time) -> Instant {
    Instant::from_jiff(time.0)
}

/// When a pod ended: the end of its last container, else when it stopped being ready, was told to go, or was made.
pub(super) fn finished_at(pod: &Pod) -> Instant {
    let status = pod.status.as_ref();
    let sidecar = |name: &str| {
        let all = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref());
        all.into_iter().flatten().any(|c| c.name == name && c.restart_policy.as_deref() == Some("Always"))
    };
    let own = status.into_iter().flat_map(|s| s.container_statuses.iter().flatten());
    let beside = status.into_iter().flat_map(|s| s.init_container_statuses.iter().flatten());
    let counted: Vec<&ContainerStatus> = own.chain(beside.filter(|c| sidecar(&c.name))).collect();
    let end = |container: &ContainerStatus| {
        Some(instant(container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?))
    };
    let ends: Option<Vec<Instant>> = counted.iter().map(|container| end(container)).collect();
    let unready = || {
        let conditions = status.and_then(|s| s.conditions.as_ref());
        let ready = conditions.into_iter().flatten().find(|c| c.type_ == "Ready" && c.status == "False");
        ready.and_then(|c| c.last_transition_time.as_ref()).map(instant)
    };
    let told = || {
        let at = instant(pod.metadata.deletion_timestamp.as_ref()?);
        Some(at - Span::from_seconds(pod.metadata.deletion_grace_period_seconds.unwrap_or(0)))
    };
    let made = || pod.metadata.creation_timestamp.as_ref().map_or(Instant::EPOCH, instant);
    ends.and_then(|ends| ends.into_iter().max()).or_else(unready).or_else(told).unwrap_or_else(made)
}

/// Restarts of the containers of a pod that has not ended.
pub(super) fn restarts(pod: &Pod) -> i32 {
    if !matches!(phase(pod), "Running" | "Pending") {
        return 0;
    }
    let status = pod.status.as_ref();
    let own = status.into_iter().flat_map(|s| s.container_statuses.iter().flatten());
    let first = status.into_iter().flat_map(|s| s.init_container_statuses.iter().flatten());
    own.chain(first).map(|c| c.restart_count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(seconds: i64) -> Pod {
        let at = |seconds| Instant::from_unix_seconds(seconds).to_rfc3339_seconds();
        serde_json::from_value(json!({
            "metadata": {"name": "p", "creationTimestamp": at(1)},
            "status": {"phase": "Failed", "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": at(seconds)}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn delays_double_up_to_ten_minutes() {
        let seconds: Vec<i64> = (0..9).map(|n| delay(n).as_seconds()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(delay(u32::MAX).as_seconds(), 600);
    }

    #[test]
    fn a_success_begins_anew() {
        let pods: Vec<Pod> = [100, 110, 120].map(pod).into();
        let end = |record: &Record| record.end().map(|at| at.as_unix_seconds());
        let two = Record::default().after(&[], &[&pods[1], &pods[0]]);
        assert_eq!(end(&two), Some(130), "20 s after the later one");
        assert_eq!(end(&two.after(&[], &[&pods[2]])), Some(160));
        assert_eq!(end(&two.after(&[&pods[2]], &[])), None);
        assert_eq!(end(&two.after(&[&pods[1]], &[&pods[0], &pods[2]])), Some(130), "one has failed since");
    }

    #[test]
    fn a_pod_without_a_container_that_ended_has_ended_when_it_was_told_to() {
        let mut pod = pod(50);
        assert_eq!(finished_at(&pod).as_unix_seconds(), 50);
        pod.status = None;
        assert_eq!(finished_at(&pod).as_unix_seconds(), 1);
        pod.metadata.deletion_timestamp = Some(Time(Instant::from_unix_seconds(90).to_jiff()));
        pod.metadata.deletion_grace_period_seconds = Some(30);
        assert_eq!(finished_at(&pod).as_unix_seconds(), 60);
    }
}
