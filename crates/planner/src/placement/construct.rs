//! A first plan: jobs inserted one by one, each at its best place in the room left.
//!
//! Order: what runs already, then by weight of being in time, then what may not wait, then by slack
//! (deadline less earliest end), then by size: who has little choice chooses first.

use super::prices::Prices;
use super::problem::{Place, Problem};
use super::state::State;
use std::cmp::Reverse;

/// The order jobs are inserted in.
pub fn order(problem: &Problem) -> Vec<usize> {
    let mut order: Vec<usize> = (0..problem.jobs.len()).collect();
    order.sort_by_cached_key(|&i| {
        let job = &problem.jobs[i];
        let open = job.prompt && job.deadline == i64::MAX;
        let slack = if open { 0 } else { job.deadline.saturating_sub(job.from).saturating_sub(job.length) };
        // A deadline that cannot be met gives no claim before those that can.
        let weight = if slack < 0 { 0 } else { job.weight };
        (!job.running, Reverse(weight), !open, slack, Reverse(job.length), i)
    });
    order
}

/// The order jobs are inserted in at prices: what cannot choose first, then who burns most.
fn by_size(problem: &Problem) -> Vec<usize> {
    let mut order = order(problem);
    let size = |i: &usize| {
        let job = &problem.jobs[*i];
        let grams = job.sites.iter().flatten().map(|site| site.grams).fold(0.0, f64::max);
        if job.running || job.prompt { f64::INFINITY } else { grams * job.length as f64 }
    };
    order.sort_by(|a, b| size(b).total_cmp(&size(a)));
    order
}

/// Inserts every job that has no place yet, at prices.
pub fn fill(state: &mut State<'_>, prices: &Prices) {
    by_size(state.problem).into_iter().for_each(|job| insert(state, job, Some(prices)));
}

/// Inserts a job that has no place yet.
pub fn insert(state: &mut State<'_>, job: usize, prices: Option<&Prices>) {
    if state.places[job].is_some() || state.insert(job, prices) {
        return;
    }
    let item = &state.problem.jobs[job];
    let home = item.sites.iter().position(Option::is_some);
    // It runs already: that the room is overdrawn does not move it.
    if let (true, Some(cluster)) = (item.running, home) {
        state.put(job, Place::contiguous(item, cluster, item.from));
    }
}

/// Keeps what was planned before where it still fits and is in time, then inserts the rest. What runs has
/// its place before anything else is kept.
pub fn warm(problem: &Problem) -> State<'_> {
    let mut state = State::new(problem);
    let order = order(problem);
    for job in order.iter().copied() {
        let item = &problem.jobs[job];
        if let Some((place, _)) = &item.sticky
            && place.end() <= item.deadline
            && problem.has_room(&state.room, item, place)
        {
            state.put(job, place.clone());
        } else if item.running {
            insert(&mut state, job, None);
        }
    }
    order.into_iter().for_each(|job| insert(&mut state, job, None));
    state
}
