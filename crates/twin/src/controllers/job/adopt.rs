//! Jobs that another controller has run so far.
//!
//! The real controller counts a pod's end in three writes: it lists the pod in `uncountedTerminatedPods`, takes
//! its finalizer off the pod, and adds it to the counters. So a pod that has ended is in the counters unless it is
//! in that list or still has the finalizer. Invariant: nobody is counted twice, nobody is forgotten.

use super::track::{PodFact, Tracked};
use super::{JobController, managed_elsewhere};
use crate::controllers::is_terminal;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;

/// The finalizer that says a pod has not been counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Most completion indexes a Job may have.
const INDEXES_MAX: usize = 100_000;

/// Whether a pod waits to be counted by whoever ran its Job before.
fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|f| f == TRACKING)
}

/// Takes the finalizer off that no controller here would take off.
pub(crate) fn untrack(pod: &mut Pod) {
    if let Some(finalizers) = &mut pod.metadata.finalizers {
        finalizers.retain(|f| f != TRACKING);
        if finalizers.is_empty() {
            pod.metadata.finalizers = None;
        }
    }
}

/// Completion indexes as Kubernetes writes them: `0,2-5`.
fn indexes(text: &str) -> BTreeSet<i32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<i32>().ok()?..=last.trim().parse::<i32>().ok()?)
    };
    text.split(',').filter_map(range).flatten().take(INDEXES_MAX).collect()
}

impl JobController {
    /// Takes up a Job with what has been counted of it, and its pods as they are.
    pub(crate) fn adopt<'a>(&mut self, job: &Job, pods: impl Iterator<Item = &'a Pod>) {
        let Some(uid) = job.metadata.uid.as_deref().filter(|_| !managed_elsewhere(job)) else { return };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut tracked = Tracked::new(&text(&job.metadata.namespace), &text(&job.metadata.name));
        let status = job.status.clone().unwrap_or_default();
        let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
        let (succeeded, failed) =
            (uncounted.succeeded.unwrap_or_default(), uncounted.failed.unwrap_or_default());
        let number = |listed: &[String]| i32::try_from(listed.len()).unwrap_or(i32::MAX);
        tracked.succeeded = status.succeeded.unwrap_or(0).saturating_add(number(&succeeded));
        tracked.failed = status.failed.unwrap_or(0).saturating_add(number(&failed));
        tracked.completed = status.completed_indexes.as_deref().map(indexes).unwrap_or_default();
        for pod in pods {
            let (Some(uid), Some(name)) = (&pod.metadata.uid, &pod.metadata.name) else { continue };
            let mut fact = PodFact::new(name, pod);
            fact.update(pod);
            fact.counted =
                is_terminal(pod) && (!is_tracked(pod) || succeeded.contains(uid) || failed.contains(uid));
            tracked.completed.extend(fact.index.filter(|_| succeeded.contains(uid)));
            tracked.pods.insert(uid.as_str().into(), fact);
        }
        self.jobs.insert(uid.into(), tracked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(uid: &str, phase: &str, tracked: bool) -> Pod {
        let finalizers = if tracked { json!([TRACKING]) } else { Value::Null };
        let meta = json!({"name": uid, "uid": uid, "finalizers": finalizers});
        serde_json::from_value(json!({"metadata": meta, "status": {"phase": phase}})).unwrap()
    }

    #[test]
    fn each_end_counts_once_however_far_it_had_been_counted() {
        let job = json!({"metadata": {"name": "j", "namespace": "a", "uid": "j"}, "spec": {"template": {}},
            "status": {"succeeded": 5, "failed": 1, "uncountedTerminatedPods": {"succeeded": ["listed", "gone"], "failed": []}}});
        let job: Job = serde_json::from_value(job).unwrap();
        let pods = [
            pod("counted", "Succeeded", false),
            pod("listed", "Succeeded", true),
            pod("new", "Succeeded", true),
            pod("running", "Running", true),
        ];
        let mut controller = JobController::default();
        controller.adopt(&job, pods.iter());
        let tracked = controller.jobs.get("j").unwrap();
        assert_eq!(
            (tracked.succeeded, tracked.failed),
            (7, 1),
            "counters and list; the new one is yet to be noted"
        );
        let counted: Vec<bool> = tracked.pods.values().map(|p| p.counted).collect();
        assert_eq!(counted, [true, true, false, false], "by uid: counted, listed, new, running");
    }

    #[test]
    fn indexes_are_read_as_they_are_written() {
        assert_eq!(indexes("0,2-4,x").into_iter().collect::<Vec<_>>(), [0, 2, 3, 4]);
        assert_eq!(indexes("").len(), 0);
        assert_eq!(indexes("0-2000000000").len(), INDEXES_MAX);
    }
}
