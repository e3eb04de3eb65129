//! Plans of the default policy and effort, held against every rule.

use crate::fleets::policy;
use fleet::{PolicyKind, Snapshot, Workload};
use planner::check::{self, Violation};
use planner::placement::{Assignment, Effort, Schedule, plan};

/// The plan, which keeps every rule.
pub fn optimal(snapshot: &Snapshot) -> Schedule {
    let schedule = plan(snapshot, &policy(PolicyKind::Optimal), None, Effort::default());
    assert_eq!(check::schedule(snapshot, &schedule), Vec::<Violation>::new());
    schedule
}

/// Where a Job is in it.
pub fn of<'a>(schedule: &'a Schedule, job: &Workload) -> &'a Assignment {
    schedule.get(&job.key).unwrap_or_else(|| panic!("{} is not placed: {:?}", job.key, schedule.unplaced))
}

/// Dirty but for hours 5 and 6.
pub const NIGHT: [f64; 24] = {
    let mut grams = [500.0; 24];
    grams[5] = 100.0;
    grams[6] = 100.0;
    grams
};
