//! A plan begun with what burns most: large jobs first, alone among themselves, the others after them.
//!
//! Who of the largest jobs is where is settled while an annealing is hot, and there most steps are lost on all the
//! small ones in the way. So a job enters once the threshold has come down to its size, and until all are in, those
//! who are pay the prices of capacity for those who are not: to a large job the rest is worth what the relaxation
//! says. A step costs little, since few are there.

use super::anneal::{About, Anneal, TAKES_PART};
use super::construct::{fill, insert};
use super::menu::Menu;
use super::solve::{Budget, HEAT_PARTS};
use super::state::State;
use std::rc::Rc;

/// Heat at first, in mean costs of a job; and the 100th root of the part of it, a hundredth, at which the rest comes in.
const HEAT: (f64, f64) = (2.0, 0.954992586021436);
/// The largest jobs that are there from the beginning.
const FIRST: usize = 16;

/// A plan of all jobs, begun with the largest. It goes on counting from `state`'s work until `end`, a share of the whole;
/// `mean` is about what a job costs, in grams.
pub fn skeleton<'p>(
    state: &State<'p>,
    menu: &mut Menu<'_>,
    mean: f64,
    end: f64,
    seed: u64,
    budget: &mut Budget<'_>,
) -> State<'p> {
    let problem = state.problem;
    let prices = Rc::new(menu.prices.clone());
    let mut state = State { work: state.work, toll: Some(prices.clone()), ..State::new(problem) };
    let order = by_cost(&mut state, menu);
    let jobs: Vec<usize> = order.iter().map(|job| job.1).collect();
    let (begin, mut placed) = ((budget.share)(state.work), 0);
    let mut heat = HEAT.0 * mean;
    for part in 1..=HEAT_PARTS {
        let until = begin + (end - begin) * part as f64 / HEAT_PARTS as f64;
        let taking_part = order.partition_point(|job| job.0 >= TAKES_PART * heat).max(FIRST.min(jobs.len()));
        for job in jobs.get(placed..taking_part).unwrap_or_default() {
            insert(&mut state, *job, Some(&prices));
        }
        placed = placed.max(taking_part);
        let about = About::First(&jobs[..placed]);
        let mut anneal =
            Anneal::new(&mut state, menu, about, seed.wrapping_mul(HEAT_PARTS).wrapping_add(part));
        while (budget.share)(anneal.work()) < until {
            anneal.run(heat, anneal.work() + budget.stride);
        }
        heat *= HEAT.1;
    }
    fill(&mut state, &prices);
    state.lift_toll();
    state
}

/// Jobs by what they cost at least, dearest first; what may not wait or runs already before them.
fn by_cost(state: &mut State<'_>, menu: &mut Menu<'_>) -> Vec<(f64, usize)> {
    let problem = state.problem;
    let mut cost = |job: usize| {
        let item = &problem.jobs[job];
        if item.running || item.prompt { f64::INFINITY } else { menu.least(job, &mut state.work) }
    };
    let mut order: Vec<(f64, usize)> = (0..problem.jobs.len()).map(|job| (cost(job), job)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    order
}
