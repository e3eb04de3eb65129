//! The `optimal` method: jobs planned together.
//!
//! A first plan (warm where there was one), prices from the relaxation, a second plan under those
//! prices, annealing from the better one, and the bound for what came out. How long each takes is said
//! by a share of the whole that only ever grows: counted work, or the clock of whoever asks. Where most jobs
//! were planned before and to ask each of them once is more than there is time for, only what changed is looked
//! at, at the prices known.

use super::anneal::{About, Anneal, overloaded};
use super::branch;
use super::construct::{fill, warm};
use super::dual::{Asked, Dual};
use super::menu::Menu;
use super::prices::Prices;
use super::problem::{Job, Place, Problem};
use super::skeleton::skeleton;
use super::state::State;

/// The relaxation ends at this share of the whole.
const PRICED_AT: f64 = 0.35;
/// Rounds of the relaxation at most: more gain nothing.
const ROUNDS_MAX: usize = 256;
/// Where there is no time for so many, the first rounds ask the jobs in parts, at half the pace; the rest at a little less
/// than all of it.
const PARTS: usize = 4;
const ROUNDS_IN_PARTS: usize = 40;
const PACE_IN_PARTS: f64 = 0.5;
const PACE_AFTER_PARTS: f64 = 0.7;
/// The pace of prices shrinks to a hundredth in this many parts.
const PACE_PARTS: usize = 64;
/// The 64th root of 1/100.
const SLOWER: f64 = 0.930_572_040_929_699;
/// Pace at first: so many times the mean price that would pay for the whole plan.
const PACE: f64 = 3.0;
/// Pace where prices are known.
const PACE_WARM: f64 = 0.1;
/// Parts of an annealing.
pub const HEAT_PARTS: u64 = 100;
/// Heat of an annealing at first and at last, in mean costs of a job; and the 100th root of their ratio.
const HEAT: (f64, f64) = (2.0, 0.937046003177026);
/// The same where a plan was known: the search stays near it.
const HEAT_WARM: (f64, f64) = (0.05, 0.972257971295249);
/// The same for a second annealing.
const HEAT_AGAIN: (f64, f64) = (0.2, 0.958872608495740);
/// A plan begun with the largest jobs is ready at this share of the whole, the best of several: one for so much of the
/// work there is time for, times the jobs, within limits.
const SKELETON_AT: f64 = 0.6;
const BEGINNING_WORK: f64 = 1.8e5;
const BEGINNINGS: (f64, f64) = (2.0, 8.0);
/// After an annealing of all jobs alike it is ready at this part of what is left.
const SKELETON_OF_REST: f64 = 0.4;
/// Where there is so much work a job, half of what is left after the prices goes into an annealing of all jobs alike; of
/// more jobs than so many the large ones decide, and all of it goes to those.
const RICH_WORK: f64 = 5e5;
const PLAIN: f64 = 0.5;
const PLAIN_JOBS: usize = 512;
/// Share of the whole that going back to where jobs were planned may take beyond the annealing's end.
const BACK: f64 = 0.25;
/// A problem of so many jobs at most is annealed several times over: once for so much of the work there is time for,
/// within limits.
const AGAIN_JOBS: usize = 32;
const AGAIN_WORK: f64 = 1.2e6;
const AGAIN: (f64, f64) = (4.0, 64.0);
/// Where jobs are left out, a first annealing ends at this share of the whole, and prices without them
/// are ready at that.
const LEFT_OUT_AT: f64 = 0.55;
const REPRICED_AT: f64 = 0.65;

/// Of jobs that may stay where they were planned, so many are looked at after a change.
const RESTLESS: usize = 64;

/// A plan and how good it is.
pub struct Solution {
    /// Where each job runs; `None`: nowhere.
    pub places: Vec<Option<Place>>,
    /// Lower bound in grams over every plan in which the same jobs are in time and none of the others
    /// ends later; `None` when no bound was found.
    pub bound: Option<f64>,
    /// Whether prices and bound were worked out anew.
    pub priced: bool,
    /// Prices of capacity behind the bound, `[(cluster · RESOURCES + resource) · slots + slot]`.
    pub prices: Vec<f64>,
    /// Work units used.
    pub work: u64,
}

/// By when each job has to end in any plan the bound speaks of, and how much it may leave undone.
fn limits(state: &State<'_>) -> Vec<Option<Asked>> {
    let limit = |(job, place): (&Job, &Option<Place>)| {
        let place = place.as_ref()?;
        let (end, short) = (place.end(), job.mode(place.mode).short);
        let until = if job.prompt || end > job.deadline { end } else { job.deadline };
        Some(Asked { until, short })
    };
    state.problem.jobs.iter().zip(&state.places).map(limit).collect()
}

/// The same, hoping that whoever can be in time alone will be.
fn hoped(state: &State<'_>) -> Vec<Option<Asked>> {
    let mut limits = limits(state);
    for (job, limit) in state.problem.jobs.iter().zip(&mut limits) {
        let alone = |job: &Job| job.short == 0 && job.from.saturating_add(job.length) <= job.deadline;
        if !job.prompt && !job.running && job.modes().any(alone) {
            *limit = Some(Asked { until: job.deadline, short: 0 });
        }
    }
    limits
}

/// Grams of the jobs placed, without penalties.
fn grams(state: &State<'_>) -> f64 {
    let cost = |(job, place): (&Job, &Option<Place>)| {
        place.as_ref().map_or(0.0, |place| state.problem.cost(job, place))
    };
    state.problem.jobs.iter().zip(&state.places).map(cost).sum()
}

/// How a search is told how far it has come.
pub struct Budget<'b> {
    /// Share of the whole used, given the work units used; 1 and more: stop.
    pub share: &'b mut dyn FnMut(u64) -> f64,
    /// Work units between two questions at most.
    pub stride: u64,
}

/// Plans all jobs together within about `effort` units of work; `prices` are those of an earlier round.
pub fn solve(problem: &Problem, prices: &[f64], effort: u64) -> Solution {
    let mut share = |work: u64| if effort == 0 { 1.0 } else { work as f64 / effort as f64 };
    let budget = Budget { share: &mut share, stride: (effort / 400).max(1) };
    solve_within(problem, prices, 0, budget)
}

/// Whether most jobs were planned before.
pub fn known(problem: &Problem) -> bool {
    2 * problem.jobs.iter().filter(|job| job.sticky.is_some()).count() > problem.jobs.len()
}

/// Work units it takes to ask each job once for its best place.
pub fn pass(problem: &Problem) -> u64 {
    let end = problem.slots as i64 * problem.slot;
    let ask = |job: &Job| {
        let starts = (job.deadline.min(end) - job.length - job.from).max(0) / problem.slot + 1;
        job.sites.iter().flatten().count() as u64 * starts as u64
    };
    problem.jobs.iter().flat_map(Job::modes).map(ask).sum()
}

/// Plans what changed within about `effort` units of work, where the rest stays as it was: whoever has no place,
/// lost it or is late, then `restless` in their order. The prices stay; nothing is proven.
pub fn solve_changes(problem: &Problem, prices: &[f64], restless: &[usize], effort: u64) -> Solution {
    let mut state = warm(problem);
    let prices = Prices::given(problem, prices);
    let kept = |job: &usize| {
        let before = problem.jobs[*job].sticky.as_ref().map(|sticky| &sticky.0);
        state.values[*job].missed == 0 && before.is_some() && before == state.places[*job].as_ref()
    };
    let mut about: Vec<usize> = (0..problem.jobs.len()).filter(|job| !kept(job)).collect();
    let others = restless.iter().filter(|job| kept(job)).take(RESTLESS);
    about.extend(others.copied());
    let mut share = |work: u64| if effort == 0 { 1.0 } else { work as f64 / effort as f64 };
    let mut budget = Budget { share: &mut share, stride: (effort / 400).max(1) };
    let mut menu = Menu::new(problem, &prices);
    anneal_once(&mut state, &mut menu, About::These(&about), HEAT_WARM, 1.0, 0, &mut budget);
    settle(&mut state, &about);
    Solution { bound: None, priced: false, prices: prices.price, work: state.work, places: state.places }
}

/// Plans all jobs together within a budget; the same seed and shares, the same plan.
pub fn solve_within(problem: &Problem, prices: &[f64], seed: u64, mut budget: Budget<'_>) -> Solution {
    let mut state = warm(problem);
    let jobs = problem.jobs.len();
    // Where most stay where they were planned, a second plan from nothing has little to add.
    let known = known(problem);
    let mut dual = Dual::new(problem, hoped(&state), prices, &mut state.work);
    let cold = !prices.iter().any(|price| *price > 0.0);
    price(&mut dual, &mut state, cold, PRICED_AT, &mut budget);
    if !known && (budget.share)(state.work) < 1.0 {
        let mut other = State::new(problem);
        other.work = state.work;
        fill(&mut other, dual.prices());
        state.work = other.work;
        if other.total().better_than(&state.total()) {
            state = other;
        }
    }
    let left_out = |state: &State<'_>| state.places.iter().any(Option::is_none);
    let mut heat = if known { HEAT_WARM } else { HEAT };
    let mut end = if left_out(&state) { LEFT_OUT_AT } else { 1.0 };
    let mut menu = Menu::new(problem, dual.prices());
    let plain = plain(&mut state, &mut menu, heat, seed, &mut budget);
    let mut before = None;
    let share = (budget.share)(state.work);
    let ready = if plain.is_some() { share + (1.0 - share) * SKELETON_OF_REST } else { SKELETON_AT };
    if let Some(begun) = begun(&mut state, &mut menu, seed, ready, &mut budget) {
        // Whoever it leaves out is brought in by what follows, or else it was for nothing.
        before = Some(std::mem::replace(&mut state, begun));
        (heat, end) = (HEAT_AGAIN, 1.0);
    }
    anneal(&mut state, &mut menu, heat, end, seed, &mut budget);
    if end < 1.0 {
        let missed = state.total().missed;
        if left_out(&state) && overloaded(problem, missed) && (budget.share)(state.work) < 1.0 {
            // With those left out the prices were as high as they could get. Where they are few, there is little to it,
            // and to begin anew takes long.
            dual.restart(limits(&state), &mut state.work);
            price(&mut dual, &mut state, true, REPRICED_AT, &mut budget);
            menu = Menu::new(problem, dual.prices());
        }
        anneal(&mut state, &mut menu, HEAT_AGAIN, 1.0, seed, &mut budget);
    }
    if let Some(other) = plain.filter(|other| other.total().better_than(&state.total())) {
        state = State { work: state.work, ..other };
    }
    if let Some(before) = before.filter(|before| before.total().better_than(&state.total())) {
        state = State { work: state.work, ..before };
    }
    settle(&mut state, &(0..jobs).collect::<Vec<_>>());
    if jobs <= branch::EXACT_JOBS {
        branch::polish(&mut state);
    }
    dual.rebound(limits(&state), &mut state.work);
    Solution {
        bound: dual.bound(),
        priced: true,
        prices: dual.prices().price.clone(),
        work: state.work,
        places: state.places,
    }
}

/// A plan annealed from the one there is, all jobs alike, where there is work enough for that and for one begun with the
/// largest: which of the two ends better is a matter of the problem. Its work counts in any case.
fn plain<'p>(
    state: &mut State<'p>,
    menu: &mut Menu<'_>,
    heat: (f64, f64),
    seed: u64,
    budget: &mut Budget<'_>,
) -> Option<State<'p>> {
    let share = (budget.share)(state.work);
    let (whole, jobs) = (state.work as f64 / share.max(1e-9), state.places.len());
    if !may_begin(state) || jobs > PLAIN_JOBS || whole < RICH_WORK * jobs as f64 || share >= 1.0 {
        return None;
    }
    let mut other = state.clone();
    anneal_once(&mut other, menu, About::All, heat, share + (1.0 - share) * PLAIN, seed, budget);
    state.work = other.work;
    Some(other)
}

/// Whether a plan may be begun with the largest jobs: where there are many, none was planned before, and nearly all can be
/// in time.
fn may_begin(state: &State<'_>) -> bool {
    let planned = state.problem.jobs.iter().any(|job| job.sticky.is_some());
    !planned && state.places.len() > AGAIN_JOBS && !overloaded(state.problem, state.total().missed)
}

/// A plan begun with the largest jobs by a share of the whole, where that may be and time is left; its work counts in any
/// case.
fn begun<'p>(
    state: &mut State<'p>,
    menu: &mut Menu<'_>,
    seed: u64,
    ready: f64,
    budget: &mut Budget<'_>,
) -> Option<State<'p>> {
    let (jobs, from) = (state.places.len(), (budget.share)(state.work));
    if !may_begin(state) || from >= ready {
        return None;
    }
    let mean = grams(state) / jobs as f64;
    let mut begun = None::<State<'_>>;
    let whole = state.work as f64 / from.max(1e-9);
    let times = (whole / (BEGINNING_WORK * jobs as f64)).clamp(BEGINNINGS.0, BEGINNINGS.1) as u64;
    for time in 1..=times {
        let end = from + (ready - from) * time as f64 / times as f64;
        let seed = seed.wrapping_mul(times).wrapping_add(time - 1);
        let mut next = skeleton(state, menu, mean, end, seed, budget);
        state.work = next.work;
        if let Some(last) = begun
            && last.total().cost < next.total().cost
        {
            next = State { work: next.work, ..last };
        }
        begun = Some(next);
    }
    begun.filter(|begun| !overloaded(begun.problem, begun.total().missed))
}

/// Rounds of the relaxation until `end`, a share of the whole budget, at a pace that shrinks on the way; from prices
/// of nothing if `cold`.
fn price(dual: &mut Dual<'_>, state: &mut State<'_>, cold: bool, end: f64, budget: &mut Budget<'_>) {
    let cells = dual.prices().price.len().max(1);
    let mut pace = grams(state) / cells as f64 * if cold { PACE } else { PACE_WARM };
    let begin = (budget.share)(state.work);
    let (mut part, mut short) = (0, false);
    for round in 0..ROUNDS_MAX {
        let share = ((budget.share)(state.work) - begin) / (end - begin);
        if begin >= end || share >= 1.0 {
            break;
        }
        let parts = ((share * PACE_PARTS as f64) as usize).max(round * PACE_PARTS / ROUNDS_MAX);
        for _ in part..parts {
            pace *= SLOWER;
        }
        part = part.max(parts);
        // The first round, which looks at every place, tells how many there is time for.
        short |= cold && round == 1 && share * ROUNDS_MAX as f64 > 1.0;
        let (in_parts, slower) = match (short, (1..ROUNDS_IN_PARTS).contains(&round)) {
            (true, true) => (PARTS, PACE_IN_PARTS),
            (true, false) => (1, PACE_AFTER_PARTS),
            (false, _) => (1, 1.0),
        };
        dual.round(in_parts, pace * slower, &mut state.work);
    }
    dual.evaluate(&mut state.work);
}

/// Takes each of these jobs out once and puts it back where that is better, be it only cheaper in money or sooner:
/// the annealing looks at grams alone.
fn settle(state: &mut State<'_>, jobs: &[usize]) {
    for job in jobs.iter().copied() {
        let before = state.values[job];
        let Some(place) = state.take(job) else { continue };
        let better = state
            .best(job, None)
            .filter(|better| state.problem.value(&state.problem.jobs[job], better).better_than(&before));
        state.put(job, better.unwrap_or(place));
    }
}

/// Anneals until `end`, a share of the whole budget; a problem of a few jobs several times over from the same
/// plan, since each search ends in one of a few corners.
fn anneal(
    state: &mut State<'_>,
    menu: &mut Menu<'_>,
    heat: (f64, f64),
    end: f64,
    seed: u64,
    budget: &mut Budget<'_>,
) {
    if state.places.len() > AGAIN_JOBS {
        anneal_once(state, menu, About::All, heat, end, seed, budget);
        return;
    }
    let (begin, first) = ((budget.share)(state.work), state.clone());
    let whole = state.work as f64 / begin.max(1e-9);
    let times = (whole / AGAIN_WORK).clamp(AGAIN.0, AGAIN.1) as u64;
    for time in 1..=times {
        let mut other = State { work: state.work, ..first.clone() };
        let until = begin + (end - begin) * time as f64 / times as f64;
        let seed = seed.wrapping_mul(times).wrapping_add(time);
        anneal_once(&mut other, menu, About::All, heat, until, seed, budget);
        state.work = other.work;
        if other.total().better_than(&state.total()) {
            *state = other;
        }
    }
}

/// Anneals until `end`, a share of the whole budget.
fn anneal_once(
    state: &mut State<'_>,
    menu: &mut Menu<'_>,
    about: About<'_>,
    (from, cooler): (f64, f64),
    end: f64,
    seed: u64,
    budget: &mut Budget<'_>,
) {
    let begin = (budget.share)(state.work);
    if begin >= end || state.places.is_empty() {
        return;
    }
    let mut heat = grams(state) / state.places.len() as f64 * from;
    let mut anneal = Anneal::new(state, menu, about, seed);
    let mut part = 0;
    loop {
        let share = ((budget.share)(anneal.work()) - begin) / (end - begin);
        if share >= 1.0 {
            break;
        }
        let parts = (share * HEAT_PARTS as f64) as u64;
        for _ in part..parts {
            heat *= cooler;
        }
        part = part.max(parts);
        anneal.run(heat, anneal.work() + budget.stride);
    }
    anneal.finish();
    // Where not all can be in time, every place counts.
    if state.problem.calm && state.total().missed == 0 {
        let back = Anneal::new(state, menu, About::These(&[]), seed);
        back.go_back(|work| (budget.share)(work) < end + BACK);
    }
}
