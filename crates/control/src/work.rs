//! What the pods of a Job have done: from when a run counts.
//!
//! A Job's `startTime` is when its controller took it up; its pods may wait for a node long after that.
//! So a run counts from when its containers run, read from the pods, which stay as long as their Job.

use crate::event::PodObservation;
use crate::job::Job;
use crate::jobs;
use fleet::{Instant, Span};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One pod's run.
#[derive(Clone, Copy, Debug)]
struct PodRun {
    started: Option<Instant>,
    ended: Option<Instant>,
    failed: bool,
}

/// The runs of the pods of every Job in a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodRuns {
    /// By namespace and name of the Job, and by the pod's name.
    of: BTreeMap<String, BTreeMap<String, BTreeMap<Arc<str>, PodRun>>>,
    owner: BTreeMap<Arc<str>, (String, String)>,
}

/// How the run under way of a Job began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// When its pods started on the mean: run time from here on, times all its pods, is what they ran.
    pub mean: Instant,
    /// When the last pod it needs at a time started; `None` while one waits.
    pub whole: Option<Instant>,
}

impl PodRuns {
    /// Takes in a pod as it is now.
    pub fn see(&mut self, name: &Arc<str>, now: Option<&PodObservation>) {
        if let Some(seen) = now {
            let Some(job) = &seen.job else { return };
            let run = PodRun { started: seen.started, ended: seen.ended, failed: seen.failed };
            let known = self.of.get_mut(&seen.namespace).and_then(|all| all.get_mut(job)?.get_mut(name));
            if let Some(known) = known {
                *known = run;
                return;
            }
            let (namespace, job) = (seen.namespace.clone(), job.clone());
            self.owner.insert(name.clone(), (namespace.clone(), job.clone()));
            let all = self.of.entry(namespace).or_default();
            all.entry(job).or_default().insert(name.clone(), run);
        } else if let Some((namespace, job)) = self.owner.remove(name)
            && let Some(all) = self.of.get_mut(&namespace)
            && let Some(pods) = all.get_mut(&job)
        {
            pods.remove(name);
            if pods.is_empty() {
                all.remove(&job);
            }
        }
    }

    /// Names of the pods of a Job, ended ones included.
    pub fn pods(&self, namespace: &str, job: &str) -> impl Iterator<Item = &Arc<str>> {
        self.of(namespace, job).into_iter().flat_map(BTreeMap::keys)
    }
    fn of(&self, namespace: &str, job: &str) -> Option<&BTreeMap<Arc<str>, PodRun>> {
        self.of.get(namespace)?.get(job)
    }

    /// How the run of a Job began that is under way, or was its last; `None` before any of its pods runs.
    /// Where its pods are gone, the Job's own start has to do.
    pub fn begun(&self, job: &Job) -> Option<Begun> {
        let start = jobs::start_time(job)?;
        let (namespace, name) = jobs::named(job);
        let Some(pods) = self.of(namespace, name) else {
            return jobs::finished(job).map(|_| Begun { mean: start, whole: Some(start) });
        };
        // What ended before belongs to a run before a pause.
        let now: Vec<&PodRun> = pods.values().filter(|p| p.ended.is_none_or(|end| end > start)).collect();
        let succeeded = now.iter().filter(|p| p.ended.is_some() && !p.failed).count();
        // The Job may say that pods succeeded before they are seen to: only after a pause is that of an earlier run.
        let resumed = now.len() < pods.len() || !jobs::earlier_runs(job).is_empty();
        let whole = usize::try_from(jobs::parallelism(job)).unwrap_or(1);
        let needed = if resumed { jobs::pods_left(job, succeeded) } else { whole };
        let starts = |lasting: bool| {
            let of = now.iter().filter(|p| !(lasting && p.failed)).filter_map(|p| p.started);
            let mut all: Vec<Instant> = of.map(|at| at.max(start)).collect();
            all.sort();
            all.truncate(needed);
            all
        };
        let (all, lasting) = (starts(false), starts(true));
        let waited = all.iter().fold(Span::ZERO, |sum, at| sum + (*at - start));
        let mean = start + waited.scaled(1, i64::try_from(all.len()).unwrap_or(i64::MAX));
        let whole = lasting.last().copied().filter(|_| lasting.len() == needed);
        (!all.is_empty()).then_some(Begun { mean, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Resources;
    use ledger::Labels;
    use ledger::allocation::Owner;
    use serde_json::json;

    fn at(seconds: i64) -> Instant {
        Instant::from_unix_seconds(1_700_000_000 + seconds)
    }

    fn job(pods: i32, completions: i32, succeeded: i32) -> Job {
        serde_json::from_value(json!({
            "metadata": {"name": "j", "namespace": "n"},
            "spec": {"parallelism": pods, "completions": completions, "template": {}},
            "status": {"startTime": at(0).to_rfc3339_seconds(), "succeeded": succeeded},
        }))
        .unwrap()
    }

    fn begun(job: &Job, pods: &[(Option<i64>, Option<i64>, bool)]) -> Option<(i64, Option<i64>)> {
        let mut runs = PodRuns::default();
        for (i, (started, ended, failed)) in pods.iter().enumerate() {
            let seen = PodObservation {
                node: None,
                requests: Resources::ZERO,
                running: false,
                active: ended.is_none(),
                started: started.map(at),
                ended: ended.map(at),
                failed: *failed,
                job: Some("j".to_owned()),
                namespace: "n".to_owned(),
                owner: Owner { kind: "Job".into(), name: "j".into() },
                labels: Labels::default(),
            };
            runs.see(&Arc::from(format!("n/j-{i}")), Some(&seen));
        }
        let begun = runs.begun(job)?;
        Some(((begun.mean - at(0)).as_seconds(), begun.whole.map(|at_| (at_ - at(0)).as_seconds())))
    }

    #[test]
    fn a_run_is_whole_when_as_many_pods_run_as_it_needs_at_a_time() {
        let (waits, ran) = ((None, None, false), |from| (Some(from), None, false));
        assert_eq!(begun(&job(2, 2, 0), &[]), None);
        assert_eq!(begun(&job(2, 2, 0), &[waits, waits]), None);
        assert_eq!(begun(&job(2, 2, 0), &[ran(10), waits]), Some((10, None)));
        assert_eq!(begun(&job(2, 2, 0), &[ran(10), ran(30)]), Some((20, Some(30))));
        // A later wave's pod changes nothing.
        let wave = [(Some(10), Some(60), false), ran(30), ran(70)];
        assert_eq!(begun(&job(2, 5, 1), &wave), Some((20, Some(30))));
    }

    #[test]
    fn a_run_is_the_same_before_and_after_its_pods_are_seen_to_end() {
        let (ran, ended) = (|from| (Some(from), None, false), |from| (Some(from), Some(90), false));
        let expected = Some((20, Some(30)));
        assert_eq!(begun(&job(3, 3, 3), &[ran(10), ran(20), ran(30)]), expected);
        assert_eq!(begun(&job(3, 3, 3), &[ended(10), ran(20), ended(30)]), expected);
        assert_eq!(begun(&job(3, 3, 3), &[ended(10), ended(20), ended(30)]), expected);
    }

    #[test]
    fn what_failed_is_charged_but_no_progress_and_earlier_runs_count_for_neither() {
        let failed = (Some(10), Some(50), true);
        assert_eq!(begun(&job(1, 1, 0), &[failed, (None, None, false)]), Some((10, None)));
        assert_eq!(begun(&job(1, 1, 0), &[failed, (Some(70), None, false)]), Some((10, Some(70))));
        // One of two completions was reached before a pause: one pod is left to run.
        let earlier = (Some(-90), Some(-50), false);
        assert_eq!(begun(&job(2, 2, 1), &[earlier, (None, None, false)]), None);
        assert_eq!(begun(&job(2, 2, 1), &[earlier, (Some(20), None, false)]), Some((20, Some(20))));
    }
}
