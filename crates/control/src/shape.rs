//! With how many pods at a time a Job runs, and until when at the latest.
//!
//! What a plan chose is written on the home Job with its copy's place, so that it is read from there after
//! a restart. The home Job's own spec stays as its owner wrote it; only copies differ.

use crate::jobs::{self, Style, Tracked};
use crate::state::Control;
use fleet::{Instant, Resources, Shape, Span};
use k8s_openapi::api::batch::v1 as api;
use planner::contract::EXPECTED_DURATION;
use planner::elastic::Asked;

impl Tracked {
    /// What its owner wrote.
    pub fn asked(&self) -> Asked {
        let completions = self.job.spec.as_ref().and_then(|spec| spec.completions);
        Asked { parallelism: jobs::parallelism(&self.job), completions: completions.map(i64::from) }
    }

    /// Pods at a time of the copy that is or may be; as its owner wrote while there is none.
    pub fn pods(&self) -> i64 {
        let written =
            jobs::annotation(&self.job, jobs::PODS_ANNOTATION).filter(|_| self.committed().is_some());
        written
            .and_then(|text| text.parse().ok())
            .filter(|pods| *pods > 0)
            .unwrap_or(self.asked().parallelism)
    }

    /// What all its pods ask for together.
    pub fn demand(&self) -> Resources {
        self.pod.times(self.pods())
    }

    /// A run time at so many pods at a time, as it is at those asked for; the other way round it is
    /// [`Tracked::at_pods`].
    pub fn as_asked(&self, took: Span, pods: i64) -> Span {
        self.asked().as_asked(&self.contract.scaling, took, pods)
    }

    /// A run time at the pods at a time asked for, as it is at so many.
    pub fn at_pods(&self, lasts: Span, pods: i64) -> Span {
        self.asked().lasts(&self.contract.scaling, lasts, pods)
    }

    /// Other numbers of pods at a time it may be started with, and what it lasts with each; `lasts` is what it does as asked.
    fn others(&self, lasts: Span) -> impl Iterator<Item = (i64, Span)> {
        let free = self.style != Style::InPlace && self.committed().is_none();
        let others = free.then(|| self.asked().others(&self.contract));
        others.into_iter().flatten().map(move |pods| (pods, self.at_pods(lasts, pods)))
    }
}

impl Control {
    /// Pods at a time it would start with now: as planned, where a copy runs for it.
    pub(crate) fn pods_to_start(&self, tracked: &Tracked) -> i64 {
        if tracked.style == Style::InPlace || tracked.committed().is_some() {
            return tracked.pods();
        }
        self.assignment(&tracked.key).map_or(tracked.asked().parallelism, |a| a.parallelism)
    }

    /// Other ways to run a Job that has not been started, of which the planner may choose.
    pub(crate) fn shapes(&self, tracked: &Tracked) -> Vec<Shape> {
        let safe = |(parallelism, lasts)| Shape {
            parallelism,
            duration: crate::guard::safe_duration(lasts, &self.settings.policy),
        };
        tracked.others(self.expected(tracked)).map(safe).collect()
    }

    /// What a Job lasts the quickest way it may run.
    pub(crate) fn quickest(&self, tracked: &Tracked) -> Span {
        let expected = self.expected(tracked);
        tracked.others(expected).map(|(_, lasts)| lasts).fold(expected, Span::min)
    }

    /// Gives a copy the pods at a time it is to run with, and what it is then expected to last.
    pub(crate) fn shape_copy(&self, tracked: &Tracked, copy: &mut api::Job) {
        let pods = self.pods_to_start(tracked);
        if pods != tracked.asked().parallelism {
            if let Some(spec) = &mut copy.spec {
                spec.parallelism = i32::try_from(pods).ok();
            }
            let expected = tracked.contract.expected_duration.map(|asked| tracked.at_pods(asked, pods));
            let annotations = copy.metadata.annotations.get_or_insert_default();
            annotations.remove(EXPECTED_DURATION);
            annotations.extend(expected.map(|lasts| (EXPECTED_DURATION.to_owned(), lasts.to_string())));
        }
        if let (Some(spec), Some(seconds)) = (&mut copy.spec, self.seconds_left(tracked)) {
            spec.active_deadline_seconds = Some(seconds);
        }
    }

    /// Of a Job that is stopped at its deadline, the seconds a run that starts now may last: at least one, and no
    /// more than its owner allows a run.
    pub(crate) fn seconds_left(&self, tracked: &Tracked) -> Option<i64> {
        let left = (stops_at(tracked)? - self.now).as_seconds().max(1);
        let own = tracked.job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        Some(own.map_or(left, |own| own.min(left)))
    }
}

/// When a Job is stopped, done or not.
pub(crate) fn stops_at(tracked: &Tracked) -> Option<Instant> {
    tracked.contract.deadline.filter(|_| tracked.contract.stop_at_deadline)
}
