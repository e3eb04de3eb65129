//! Jobs thought to come: as many, as large and as urgent as came in the last day, each a day later.
//!
//! To defer a Job is to borrow room from a future that Jobs nobody knows yet want too. So plans keep room
//! for them, and where that fails nothing is deferred for carbon (`Control::plan_if_due`). What came is
//! learnt anew after a restart, from the Jobs that are still there.

use crate::jobs::Tracked;
use crate::state::Control;
use fleet::{Instant, PolicyKind, Span, Workload};
use std::collections::VecDeque;

/// After this time the same comes again: a day, so that nights and days are both in it.
const PERIOD: Span = Span::DAY;
/// Before a day is known, what came is thought to come again after what is known, but not before this.
const PERIOD_MIN: Span = Span::from_seconds(6 * 3600);
/// Arrivals remembered at most: the latest.
const ARRIVALS_MAX: usize = 10_000;
/// Jobs expected in a plan at most: the nearest.
const EXPECTED_MAX: usize = 300;

/// Jobs that came within the last day, in the order they were seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals {
    since: Option<Instant>,
    seen: VecDeque<Workload>,
}

impl Arrivals {
    /// Takes in a Job that came at its `release`.
    fn take_in(&mut self, job: Workload, now: Instant) {
        let came = job.release;
        self.since = Some(self.since.map_or(came, |since| since.min(came)));
        while self.seen.len() >= ARRIVALS_MAX || self.seen.front().is_some_and(|j| j.release + PERIOD < now) {
            self.seen.pop_front();
        }
        if came + PERIOD >= now {
            self.seen.push_back(job);
        }
    }

    /// What is thought to come in the next `PERIOD`, the nearest first.
    fn expected(&self, now: Instant) -> Vec<Workload> {
        let Some(since) = self.since else { return Vec::new() };
        let period = (now - since).max(PERIOD_MIN).min(PERIOD);
        let mut jobs = Vec::new();
        for seen in &self.seen {
            let mut later = period;
            while seen.release + later < now + PERIOD {
                if seen.release + later > now {
                    let (release, deadline) = (seen.release + later, seen.deadline.map(|at| at + later));
                    jobs.push(Workload { release, deadline, ..seen.clone() });
                }
                later += period;
            }
        }
        jobs.sort_by_key(|job| job.release);
        jobs.truncate(EXPECTED_MAX);
        jobs
    }
}

impl Control {
    /// Learns from a Job that came.
    pub(crate) fn learn_arrival(&mut self, tracked: &Tracked) {
        let mut job = self.as_it_came(tracked);
        (job.shapes, job.may_be_cut) = (Vec::new(), false);
        // One without a deadline may not wait.
        job.deadline.get_or_insert(job.release + job.duration + self.settings.plan_margin);
        self.arrivals.take_in(job, self.now);
    }

    /// What is thought to come; nothing under a policy that plans nothing ahead.
    pub(crate) fn expected_jobs(&self) -> Vec<Workload> {
        match self.settings.policy.kind {
            PolicyKind::Optimal => self.arrivals.expected(self.now),
            PolicyKind::Score | PolicyKind::Soonest => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{ClusterId, JobKey, ObjectName, Resources};

    const START: Instant = Instant::from_unix_nanos(1_700_000_000_000_000_000);

    fn hours(count: i64) -> Span {
        Span::HOUR.scaled(count, 1)
    }

    fn came(hour: i64) -> Workload {
        let name = || ObjectName::new("job").unwrap();
        let release = START + hours(hour);
        Workload {
            key: JobKey { cluster: ClusterId::new("kr").unwrap(), namespace: name(), name: name() },
            release,
            deadline: Some(release + hours(5)),
            margin: Span::ZERO,
            prompt: false,
            duration: Span::HOUR,
            duration_stated: true,
            pod: Resources::ZERO,
            parallelism: 1,
            interruptible: false,
            allowed: None,
            data: None,
            priority: 0,
            pinned: None,
            running: false,
            shapes: Vec::new(),
            may_be_cut: false,
        }
    }

    fn expected(arrivals: &Arrivals, hour: i64) -> Vec<i64> {
        let ahead = arrivals.expected(START + hours(hour));
        assert!(ahead.iter().all(|job| job.deadline == Some(job.release + hours(5))));
        ahead.iter().map(|job| (job.release - START).as_seconds() / 3600).collect()
    }

    #[test]
    fn what_came_comes_again_a_day_later() {
        let mut arrivals = Arrivals::default();
        for hour in [0, 3, 20, 30, 31] {
            arrivals.take_in(came(hour), START + hours(hour));
        }
        assert_eq!(expected(&arrivals, 40), [44, 54, 55]);
        arrivals.take_in(came(60), START + hours(60));
        assert_eq!(expected(&arrivals, 60), [0; 0], "nothing came for a day but what is here now");
        assert_eq!(expected(&arrivals, 61), [84]);
    }

    #[test]
    fn before_a_day_is_known_it_comes_again_after_what_is_known() {
        let mut arrivals = Arrivals::default();
        assert_eq!(expected(&arrivals, 0), [0; 0]);
        arrivals.take_in(came(0), START);
        assert_eq!(expected(&arrivals, 1), [6, 12, 18, 24]);
        arrivals.take_in(came(8), START + hours(8));
        assert_eq!(expected(&arrivals, 10), [18, 20, 28, 30]);
    }
}
