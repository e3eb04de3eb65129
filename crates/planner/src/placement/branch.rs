//! The best way to place a few jobs in the room left: branch and bound over their starts.
//!
//! Options are tried best first, job by job; a branch ends when even the best options of the jobs still
//! out cannot beat what was found. Bounded by nodes: on tiny problems it tries everything, on large
//! ones it is a strong local move. Pauses are not searched: a pausing job keeps the runs it had or
//! gets one run.

use super::problem::{Job, Place, Value};
use super::scan::Scan;
use super::state::State;

/// Jobs placed together at most.
pub const EXACT_JOBS: usize = 4;
/// Options kept of each job.
const OPTIONS_MAX: usize = 96;
/// Starts looked at beyond the last that is in time: who is late may be exchanged.
const LATE_SLOTS: usize = 32;
/// Nodes at most, shared by the jobs of the problem, since each of them may ask.
const NODES: usize = 60_000;
/// Nodes at least.
const NODES_MIN: usize = 300;

struct Search<'s, 'p> {
    state: &'s mut State<'p>,
    jobs: Vec<usize>,
    options: Vec<Vec<(Value, Place)>>,
    /// Sum of the best options from this job on.
    rest: Vec<Value>,
    chosen: Vec<usize>,
    best: Option<(Value, Vec<usize>)>,
    nodes: usize,
}

/// Looks for something better than the plan of a problem of a few jobs by trying everything.
pub fn polish(state: &mut State<'_>) {
    let jobs: Vec<usize> = (0..state.places.len()).filter(|job| !state.problem.jobs[*job].running).collect();
    let before = state.total();
    let places: Vec<Option<Place>> = jobs.iter().map(|job| state.take(*job)).collect();
    best_of_all(state, &jobs, &places);
    let lost = jobs.iter().zip(&places).any(|(job, place)| place.is_some() && state.places[*job].is_none());
    if lost || !state.total().better_than(&before) {
        for (job, place) in jobs.iter().zip(places) {
            state.take(*job);
            if let Some(place) = place {
                state.put(*job, place);
            }
        }
    }
}

/// Puts `jobs` (taken out, from `places`) where they are best together; leaves those out that a search
/// cut short found no place for.
fn best_of_all(state: &mut State<'_>, jobs: &[usize], places: &[Option<Place>]) {
    let options: Vec<Vec<(Value, Place)>> =
        jobs.iter().zip(places).map(|(job, place)| options(state, *job, place.as_ref())).collect();
    let mut rest = vec![Value::default(); jobs.len() + 1];
    for i in (0..jobs.len()).rev() {
        let Some(first) = options[i].first() else { return };
        rest[i] = rest[i + 1] + first.0;
    }
    let nodes = (NODES / state.problem.jobs.len().max(1)).max(NODES_MIN);
    let jobs = jobs.to_vec();
    let mut search = Search { state, jobs, options, rest, chosen: Vec::new(), best: None, nodes };
    search.branch(Value::default());
    let Search { state, jobs, mut options, best, .. } = search;
    let Some((_, chosen)) = best else { return };
    for ((job, options), i) in jobs.iter().zip(&mut options).zip(chosen) {
        state.put(*job, options.swap_remove(i).1);
    }
}

/// Places of a job that fit with the others of the group out, best first.
fn options(state: &mut State<'_>, job: usize, before: Option<&Place>) -> Vec<(Value, Place)> {
    let problem = state.problem;
    let item = &problem.jobs[job];
    let mut starts: Vec<(Value, u8, usize, i64)> = Vec::new();
    for mode in item.modes() {
        starts_of(state, mode, &mut starts);
    }
    state.work += 8 * starts.len() as u64;
    let order = |a: &(Value, u8, usize, i64), b: &(Value, u8, usize, i64)| {
        a.0.rank(&b.0).then((a.2, a.1).cmp(&(b.2, b.1)))
    };
    if starts.len() > OPTIONS_MAX {
        starts.select_nth_unstable_by(OPTIONS_MAX, order);
        starts.truncate(OPTIONS_MAX);
    }
    let built = |(value, mode, cluster, start)| (value, Place::contiguous(item.mode(mode), cluster, start));
    let mut found: Vec<(Value, Place)> = starts.into_iter().map(built).collect();
    let known = before.into_iter().chain(item.sticky.as_ref().map(|sticky| &sticky.0));
    for place in known.filter(|place| problem.has_room(&state.room, item, place)) {
        found.push((problem.value(item, place), place.clone()));
    }
    found.sort_by(|a, b| a.0.rank(&b.0).then(a.1.cluster.cmp(&b.1.cluster)));
    found
}

/// Starts of one mode that fit; those of the first mode that are late as well.
fn starts_of(state: &mut State<'_>, item: &Job, starts: &mut Vec<(Value, u8, usize, i64)>) {
    let problem = state.problem;
    let first = ((item.from + problem.slot - 1) / problem.slot) as usize;
    let last = match item.deadline.checked_sub(item.length) {
        Some(last) if item.mode > 0 && last >= item.from => (last / problem.slot) as usize + 1,
        _ if item.mode > 0 => return,
        Some(last) if !item.prompt && last >= item.from => (last / problem.slot) as usize + 1 + LATE_SLOTS,
        // It is late or may not wait: starts far out are of no use, but it may have to queue.
        _ => first + OPTIONS_MAX,
    };
    let until = last as i64 * problem.slot - 1;
    let scan = Scan { problem, room: &state.room, prices: None, job: item };
    for cluster in 0..problem.clusters {
        let Some(site) = item.sites[cluster] else { continue };
        scan.each_aligned(cluster, &site, until, &mut state.work, &mut |start, cost| {
            starts.push((problem.value_at(item, cluster, start, cost), item.mode, cluster, start));
        });
        for start in &item.extra_starts {
            let place = Place::contiguous(item, cluster, *start);
            let usable = item.mode == 0 || place.end() <= item.deadline;
            if usable && problem.has_room(&state.room, item, &place) {
                starts.push((problem.value(item, &place), item.mode, cluster, *start));
            }
        }
    }
}

impl Search<'_, '_> {
    fn branch(&mut self, so_far: Value) {
        let depth = self.chosen.len();
        if depth == self.jobs.len() {
            if self.best.as_ref().is_none_or(|best| so_far.better_than(&best.0)) {
                self.best = Some((so_far, self.chosen.clone()));
            }
            return;
        }
        let job = self.jobs[depth];
        for i in 0..self.options[depth].len() {
            if self.nodes == 0 {
                return;
            }
            self.nodes -= 1;
            let with = so_far + self.options[depth][i].0;
            let hopeless = |best: &(Value, Vec<usize>)| !(with + self.rest[depth + 1]).better_than(&best.0);
            if self.best.as_ref().is_some_and(hopeless) {
                return;
            }
            let problem = self.state.problem;
            let item = &problem.jobs[job];
            self.state.work += (item.length / problem.slot) as u64 + 1;
            if !problem.has_room(&self.state.room, item, &self.options[depth][i].1) {
                continue;
            }
            let place = self.options[depth][i].1.clone();
            self.state.put(job, place);
            self.chosen.push(i);
            self.branch(with);
            self.chosen.pop();
            self.state.take(job);
        }
    }
}
