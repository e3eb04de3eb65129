//! The `optimal` method: jobs planned together.
//!
//! A first plan (warm where there was one), prices from the relaxation, a second plan under those
//! prices, local search from the better one, and the bound for what came out.

use super::construct::{fill, warm};
use super::improve::improve;
use super::lagrangian::Relaxation;
use super::problem::{Place, Problem};
use super::state::State;

/// Steps of the relaxation at most.
const ROUNDS: usize = 60;
/// Share of the effort the relaxation may take: one part in this many.
const RELAXATION_SHARE: u64 = 3;

/// A plan and how good it is.
pub struct Solution {
    /// Where each job runs; `None`: nowhere.
    pub places: Vec<Option<Place>>,
    /// Lower bound in grams over every plan in which the same jobs are in time and none of the others
    /// ends later; `None` when no bound was found.
    pub bound: Option<f64>,
    /// Prices of capacity behind the bound, `[(cluster · RESOURCES + resource) · slots + slot]`.
    pub prices: Vec<f64>,
    /// Work units used.
    pub work: u64,
}

/// By when each job has to end in any plan the bound speaks of.
fn limits(state: &State<'_>) -> Vec<Option<i64>> {
    let limit = |(job, place): (&super::problem::Job, &Option<Place>)| {
        let end = place.as_ref()?.end();
        Some(if job.prompt || end > job.deadline { end } else { job.deadline })
    };
    state.problem.jobs.iter().zip(&state.places).map(limit).collect()
}

/// Grams of the jobs placed, without penalties.
fn grams(state: &State<'_>) -> f64 {
    let cost = |(job, place): (&super::problem::Job, &Option<Place>)| {
        place.as_ref().map_or(0.0, |place| state.problem.cost(job, place))
    };
    state.problem.jobs.iter().zip(&state.places).map(cost).sum()
}

/// Plans all jobs together within about `effort` units of work; `prices` are those of an earlier round.
pub fn solve(problem: &Problem, prices: &[f64], effort: u64) -> Solution {
    let mut state = warm(problem);
    let mut before = limits(&state);
    let mut relaxation = Relaxation::new(problem, before.clone());
    relaxation.begin_with(prices);
    let mut work = state.work;
    relaxation.improve(ROUNDS, grams(&state), work + effort / RELAXATION_SHARE, &mut work);
    state.work = work;
    let priced = relaxation.prices().cloned();
    // Where most stay where they were planned, a second plan from nothing has little to add.
    let known = problem.jobs.iter().filter(|job| job.sticky.is_some()).count();
    if priced.is_some() && work < effort && 2 * known <= problem.jobs.len() {
        let mut other = State::new(problem);
        other.work = work;
        fill(&mut other, priced.as_ref());
        let limit = other.work + (effort - work.min(effort)) / 4;
        improve(&mut other, priced.as_ref(), limit.min(effort));
        let used = other.work;
        if other.total().better_than(&state.total()) {
            state = other;
        }
        state.work = used;
    }
    improve(&mut state, priced.as_ref(), effort);
    let after = limits(&state);
    let looser = |(a, b): (&Option<i64>, &Option<i64>)| match (a, b) {
        (Some(before), Some(after)) => after <= before,
        (before, after) => before.is_none() && after.is_none(),
    };
    if !before.iter().zip(&after).all(looser) {
        before = after;
        relaxation.rebound(before, &mut state.work);
    }
    Solution {
        bound: relaxation.bound(),
        prices: relaxation.best_prices(),
        work: state.work,
        places: state.places,
    }
}
