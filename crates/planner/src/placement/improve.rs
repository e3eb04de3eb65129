//! Local search from a complete plan: never worse, bounded by counted work.
//!
//! Moves, each kept only when the sum over the jobs it touched is better: take one job out and put it
//! back at its best; force a job into the place it would choose alone and put those it displaces back
//! elsewhere (pairs and small groups); take a small neighbourhood around a contested place out and put
//! it back in other orders. The order of tries is fixed (a seeded generator), so results repeat.

use super::branch::{EXACT_JOBS, best_of_all};
use super::lagrangian::Prices;
use super::problem::{Place, RESOURCES, Value, fits};
use super::scan::Scan;
use super::state::{State, best};

/// Most jobs one forced insertion may displace.
const DISPLACED_MAX: usize = 6;
/// Jobs in a neighbourhood.
const NEIGHBOURHOOD: usize = 8;
/// Orders tried for each neighbourhood.
const ORDERS: usize = 3;
/// Starts tried for a job that is late, on each cluster.
const LATE_TRIES: i64 = 8;
/// Full passes at most; each must have found something for the next to begin.
const PASSES: usize = 200;

/// A small generator (xorshift, G. Marsaglia 2003) for the order of tries.
struct Tries(u64);

impl Tries {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
    fn shuffle(&mut self, items: &mut [usize]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.next(i + 1));
        }
    }
}

/// What jobs would have if nobody else ran: it does not change while others move.
struct Alone {
    place: Option<Place>,
    value: Value,
    /// Places worth forcing; found when first needed.
    wishes: Option<Vec<Place>>,
}

/// Improves until a pass finds nothing or `limit` units of work are used.
pub fn improve(state: &mut State<'_>, prices: Option<&Prices>, limit: u64) {
    let mut tries = Tries(0x9E37_79B9_7F4A_7C15);
    if state.work >= limit {
        return;
    }
    let mut alone = alone(state);
    for _ in 0..PASSES {
        let mut found = false;
        let unhappy = contested(state, &alone);
        for job in &unhappy {
            if state.work >= limit {
                return;
            }
            found |= reinsert(state, *job);
        }
        for job in &unhappy {
            if state.work >= limit {
                return;
            }
            let late = state.values[*job].missed > 0;
            if alone[*job].wishes.is_none() || late {
                alone[*job].wishes = Some(wishes(state, *job, alone[*job].place.as_ref()));
            }
            for place in alone[*job].wishes.iter().flatten() {
                found |= force(state, *job, place);
            }
        }
        for job in &unhappy {
            if state.work >= limit {
                return;
            }
            if let Some(wish) = &alone[*job].place {
                found |= neighbourhood(state, *job, wish, prices, &mut tries);
            }
        }
        if !found {
            return;
        }
    }
}

fn alone(state: &mut State<'_>) -> Vec<Alone> {
    let problem = state.problem;
    let mut all = Vec::with_capacity(problem.jobs.len());
    for (job, item) in problem.jobs.iter().enumerate() {
        let place = best(problem, &problem.room, job, None, &mut state.work);
        let value = place.as_ref().map_or(problem.unplaced(item), |place| problem.value(item, place));
        all.push(Alone { place, value, wishes: None });
    }
    all
}

/// Takes a job out and puts it back at its best.
fn reinsert(state: &mut State<'_>, job: usize) -> bool {
    let before = state.values[job];
    let Some(place) = state.take(job) else { return state.insert(job, None) };
    match state.best(job, None) {
        Some(better) if state.problem.value(&state.problem.jobs[job], &better).better_than(&before) => {
            state.put(job, better);
            true
        }
        _ => {
            state.put(job, place);
            false
        }
    }
}

/// Jobs that would have a better place if nobody else ran, those that lose most first.
fn contested(state: &State<'_>, alone: &[Alone]) -> Vec<usize> {
    let loses = |(job, alone): (usize, &Alone)| {
        let value = state.values[job];
        alone.value.better_than(&value).then(|| (value - alone.value, job))
    };
    let mut unhappy: Vec<(Value, usize)> = alone.iter().enumerate().filter_map(loses).collect();
    let key = |a: &(Value, usize), b: &(Value, usize)| {
        let (x, y) = (b.0, a.0);
        let order = x.missed.cmp(&y.missed).then(x.delay.total_cmp(&y.delay));
        order.then(x.cost.total_cmp(&y.cost)).then(a.1.cmp(&b.1))
    };
    unhappy.sort_by(key);
    unhappy.into_iter().map(|u| u.1).collect()
}

/// Places a job would choose alone: the best on each cluster, and for a late one several starts.
fn wishes(state: &mut State<'_>, job: usize, alone: Option<&Place>) -> Vec<Place> {
    let problem = state.problem;
    let item = &problem.jobs[job];
    let mut wishes = Vec::new();
    wishes.extend(alone.cloned());
    for cluster in 0..problem.clusters {
        if item.sites[cluster].is_none() || item.running {
            continue;
        }
        let mut alone = item.clone();
        for (other, site) in alone.sites.iter_mut().enumerate() {
            if other != cluster {
                *site = None;
            }
        }
        let scan = Scan { problem, room: &problem.room, prices: None, job: &alone };
        let pick = if item.prompt {
            scan.earliest(&mut state.work)
        } else {
            scan.cheapest(item.deadline, &mut state.work)
        };
        let Some(pick) = pick else { continue };
        wishes.push(Place::contiguous(cluster, pick.start, item.length));
        let late = state.values[job].missed > 0;
        let last = item.deadline.saturating_sub(item.length);
        if !late || item.prompt || last < item.from {
            continue;
        }
        for i in 0..LATE_TRIES {
            let start = item.from + (last - item.from) / (LATE_TRIES - 1) * i;
            let start =
                if i == LATE_TRIES - 1 { last } else { (start / problem.slot * problem.slot).max(item.from) };
            let place = Place::contiguous(cluster, start, item.length);
            if problem.has_room(&problem.room, &item.demand, &place) {
                wishes.push(place);
            }
        }
    }
    wishes.dedup();
    wishes
}

/// Jobs that must go for `demand` to fit at `place`; `None` when that takes too many.
fn in_the_way(state: &State<'_>, job: usize, place: &Place) -> Option<Vec<usize>> {
    let problem = state.problem;
    let demand = problem.jobs[job].demand;
    let base = place.cluster * problem.slots;
    let mut room: Vec<(usize, [i64; RESOURCES])> = Vec::new();
    for run in &place.runs {
        room.extend(problem.overlapped(*run).map(|slot| (slot, state.room[base + slot])));
    }
    let mut out: Vec<usize> = Vec::new();
    while let Some((tight, have)) = room.iter().find(|(_, have)| !fits(&demand, have)).copied() {
        let short = |r: usize| demand[r] > 0 && demand[r] > have[r];
        let lacking = (0..RESOURCES).find(|r| short(*r)).unwrap_or(0);
        let here = |other: &usize| {
            let place_of = state.places[*other].as_ref();
            place_of.is_some_and(|p| {
                p.cluster == place.cluster && p.runs.iter().any(|r| problem.overlapped(*r).contains(&tight))
            })
        };
        let candidates =
            (0..problem.jobs.len()).filter(|o| *o != job && !out.contains(o) && !problem.jobs[*o].running);
        let holds = candidates.filter(here).filter(|o| problem.jobs[*o].demand[lacking] > 0);
        // The least important first; of those the one that frees most.
        let chosen =
            holds.min_by_key(|o| (problem.jobs[*o].weight, -problem.jobs[*o].demand[lacking], *o))?;
        out.push(chosen);
        if out.len() > DISPLACED_MAX {
            return None;
        }
        let runs = state.places[chosen].as_ref().map(|p| p.runs.clone()).unwrap_or_default();
        for (slot, have) in &mut room {
            if runs.iter().any(|run| problem.overlapped(*run).contains(slot)) {
                for (amount, freed) in have.iter_mut().zip(&problem.jobs[chosen].demand) {
                    *amount += freed;
                }
            }
        }
    }
    Some(out)
}

/// Takes jobs out, runs `rebuild`, and keeps the outcome only when all are placed and it is better.
fn attempt(state: &mut State<'_>, jobs: &[usize], rebuild: impl FnOnce(&mut State<'_>)) -> bool {
    let sum = |state: &State<'_>| jobs.iter().fold(Value::default(), |sum, job| sum + state.values[*job]);
    let before = sum(state);
    let places: Vec<Option<Place>> = jobs.iter().map(|job| state.take(*job)).collect();
    rebuild(state);
    let lost = jobs.iter().zip(&places).any(|(job, place)| {
        place.is_some() && state.places[*job].is_none() && !state.problem.jobs[*job].optional
    });
    if !lost && sum(state).better_than(&before) {
        return true;
    }
    for job in jobs {
        state.take(*job);
    }
    for (job, place) in jobs.iter().zip(places) {
        if let Some(place) = place {
            state.put(*job, place);
        }
    }
    false
}

/// Puts a job where it wants to be; those in the way find other places.
fn force(state: &mut State<'_>, job: usize, place: &Place) -> bool {
    let problem = state.problem;
    if !problem.value(&problem.jobs[job], place).better_than(&state.values[job]) {
        return false;
    }
    let held = state.take(job);
    let displaced = in_the_way(state, job, place);
    if let Some(held) = held {
        state.put(job, held);
    }
    state.work += problem.jobs.len() as u64;
    let Some(mut displaced) = displaced else { return false };
    displaced.sort_by_key(|o| (std::cmp::Reverse(problem.jobs[*o].weight), problem.jobs[*o].deadline, *o));
    let mut jobs = vec![job];
    jobs.extend(&displaced);
    attempt(state, &jobs, |state| {
        if problem.has_room(&state.room, &problem.jobs[job].demand, place) {
            state.put(job, place.clone());
        }
        for other in displaced {
            state.insert(other, None);
        }
    })
}

/// Others that run about when and where a job wants to: on that cluster first, then anywhere near in
/// time, then anyone; who comes first among equals is drawn.
fn neighbours(state: &State<'_>, job: usize, wish: &Place, tries: &mut Tries) -> Vec<usize> {
    let problem = state.problem;
    let count = problem.jobs.len();
    let length = problem.jobs[job].length;
    let class = |other: usize| {
        let Some(place) = &state.places[other] else { return 3 };
        let near = place.start() < wish.end() + length && place.end() + length > wish.start();
        match (
            place.cluster == wish.cluster && place.start() < wish.end() && place.end() > wish.start(),
            near,
        ) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    };
    let mut classes: [Vec<usize>; 4] = Default::default();
    let first = tries.next(count);
    for other in (first..count).chain(0..first) {
        if other == job || problem.jobs[other].running {
            continue;
        }
        let class = &mut classes[class(other)];
        if class.len() < 2 * NEIGHBOURHOOD {
            class.push(other);
        }
    }
    classes.iter_mut().for_each(|class| tries.shuffle(class));
    classes.concat()
}

/// Takes a job and its neighbours out: a few are put back in the best way there is, more in other orders.
fn neighbourhood(
    state: &mut State<'_>,
    job: usize,
    wish: &Place,
    prices: Option<&Prices>,
    tries: &mut Tries,
) -> bool {
    let problem = state.problem;
    let others = neighbours(state, job, wish, tries);
    state.work += problem.jobs.len() as u64;
    let mut jobs = vec![job];
    jobs.extend(others);
    let few = &jobs[..jobs.len().min(EXACT_JOBS)];
    let places: Vec<Option<Place>> = few.iter().map(|j| state.places[*j].clone()).collect();
    if attempt(state, few, |state| best_of_all(state, few, &places)) {
        return true;
    }
    jobs.truncate(NEIGHBOURHOOD);
    for round in 0..ORDERS {
        let mut order = jobs.clone();
        if round > 0 {
            tries.shuffle(&mut order);
        }
        let priced = if round == 1 { prices } else { None };
        let better = attempt(state, &jobs, |state| {
            for other in order {
                state.insert(other, priced);
            }
        });
        if better {
            return true;
        }
    }
    false
}
