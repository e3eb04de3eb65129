//! Where and when each Job runs (PRODUCT rows P1–P6, P8).
//!
//! [`plan`] turns a snapshot into a [`Schedule`]; [`explain`] says why. In-time first, by priority;
//! then Jobs that may not wait, as early as can be; then grams (and money at the carbon price); then
//! money; then the earlier start. A method is a module: `solve` (planned together, with a proven
//! bound), `baseline` (`score`, `soonest`). Left out: which node a pod lands on over time (a Job's
//! pods must fit empty nodes), transfer time, idle power.

mod alone;
mod anneal;
mod baseline;
mod branch;
mod construct;
pub(crate) mod draw;
mod dual;
#[cfg(test)]
mod exhaustive;
mod explain;
mod interruptible;
pub(crate) mod limit;
mod menu;
pub(crate) mod model;
mod modes;
mod prices;
pub mod problem;
mod saving;
mod scan;
mod schedule;
mod skeleton;
mod solve;
mod state;

pub use explain::{Alternative, Exclusion, Explanation, explain};
pub use saving::{Change, Saving};
pub use schedule::{Assignment, Interval, Late, Price, Resource, Schedule, Unplaced};
pub use solve::{Budget, Solution, pass, solve, solve_within};

use fleet::{Policy, PolicyKind, Snapshot, Span};
use model::Model;

/// A Job is planned for at least this long, an overrunning one to go on for it.
pub const LENGTH_MIN: Span = model::LENGTH_MIN;

/// How long prices hold in fleets too large to work them out in every plan.
pub const PRICES_LAST: Span = Span::from_seconds(15 * 60);

/// How much effort planning may take, in (job, slot) evaluations; 5 to 10 ns each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effort(pub u64);

impl Default for Effort {
    /// For some hundred open Jobs 5 to 10 ms; planning round after round goes on where the last ended.
    fn default() -> Effort {
        Effort(500_000)
    }
}

/// A plan of all Jobs of a large fleet takes so many times the work of asking each once.
const PASSES: u64 = 24;

/// Plans every Job of the snapshot. With `previous`, a Job that has not started stays where it was
/// planned unless moving it gains a quarter of what the forecasts are off by ([`fleet::ClusterSnapshot::spread`];
/// 5 % of its grams for a day ahead), or room is short. Every Job is in exactly one of `assignments` and `unplaced`, however small the effort. Where asking every Job once for its best place is more
/// than the effort, only what changed since `previous` is planned, at its prices and without a bound; but once in
/// [`PRICES_LAST`] all Jobs are, with so much more effort as that takes.
pub fn plan(snapshot: &Snapshot, policy: &Policy, previous: Option<&Schedule>, effort: Effort) -> Schedule {
    let optimal = policy.kind == PolicyKind::Optimal;
    let model = Model::new(snapshot, policy, previous.filter(|_| optimal));
    let solution = if optimal {
        let prices = model.prices(previous);
        let pass = solve::pass(&model.problem);
        let too_many = effort.0 > 0 && pass > effort.0 && solve::known(&model.problem);
        match previous.filter(|previous| too_many && model.fresh(previous)) {
            Some(previous) => {
                let restless = model.restless(previous, policy);
                solve::solve_changes(&model.problem, &prices, &restless, effort.0)
            }
            None if too_many => solve::solve(&model.problem, &prices, pass * PASSES),
            None => solve::solve(&model.problem, &prices, effort.0),
        }
    } else {
        let (places, work) = baseline::place_in_order(&model, policy);
        solve::Solution { places, bound: None, priced: true, prices: Vec::new(), work }
    };
    let priced_at = previous.filter(|_| !solution.priced).map_or(snapshot.at, |previous| previous.priced_at);
    Schedule { priced_at, ..schedule::assemble(model, policy, &solution) }
}
