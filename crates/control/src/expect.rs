//! Jobs thought to come ([`planner::arrivals`]): as many, as large and as urgent as came in the last day.
//!
//! To defer a Job is to borrow room from a future that Jobs nobody knows yet want too. So plans keep room
//! for them, and where that fails nothing is deferred for carbon (`Control::plan_if_due`). What came is
//! learnt anew after a restart, from the Jobs that are still there.

use crate::jobs::Tracked;
use crate::state::Control;
use fleet::{Instant, PolicyKind, Span, Workload};
use planner::arrivals::Arrivals;

/// After this time the same comes again: a day, so that nights and days are both in it.
const PERIOD: Span = Span::DAY;
/// Before a day is known, what came is thought to come again after what is known, but not before this.
const PERIOD_MIN: Span = Span::from_seconds(6 * 3600);
/// Jobs expected in a plan at most: the nearest.
const EXPECTED_MAX: usize = 300;

/// Nothing has come yet.
pub(crate) fn none() -> Arrivals<Workload> {
    Arrivals::new(PERIOD.as_nanos(), PERIOD_MIN.as_nanos())
}

/// What is thought to come in the next `PERIOD`, the nearest first.
fn expected(arrivals: &Arrivals<Workload>, now: Instant) -> Vec<Workload> {
    let later = |(later, seen): (i64, &Workload)| {
        let later = Span::from_nanos(later);
        let (release, deadline) = (seen.release + later, seen.deadline.map(|at| at + later));
        Workload { release, deadline, ..seen.clone() }
    };
    arrivals.expected(now.as_unix_nanos()).into_iter().take(EXPECTED_MAX).map(later).collect()
}

impl Control {
    /// Learns from a Job that came.
    pub(crate) fn learn_arrival(&mut self, tracked: &Tracked) {
        let mut job = self.as_it_came(tracked);
        (job.shapes, job.may_be_cut) = (Vec::new(), false);
        // One without a deadline may not wait.
        job.deadline.get_or_insert(job.release + job.duration + self.settings.plan_margin);
        self.arrivals.take_in(job.release.as_unix_nanos(), job, self.now.as_unix_nanos());
    }

    /// What is thought to come; nothing under a policy that plans nothing ahead.
    pub(crate) fn expected_jobs(&self) -> Vec<Workload> {
        match self.settings.policy.kind {
            PolicyKind::Optimal => expected(&self.arrivals, self.now),
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

    #[test]
    fn what_came_comes_again_a_day_later_with_as_much_time() {
        let mut arrivals = none();
        for hour in [0, 3, 20, 30] {
            let now = (START + hours(hour)).as_unix_nanos();
            arrivals.take_in(now, came(hour), now);
        }
        let ahead = expected(&arrivals, START + hours(40));
        assert!(ahead.iter().all(|job| job.deadline == Some(job.release + hours(5))));
        let releases: Vec<i64> = ahead.iter().map(|job| (job.release - START).as_seconds() / 3600).collect();
        assert_eq!(releases, [44, 54]);
    }
}
