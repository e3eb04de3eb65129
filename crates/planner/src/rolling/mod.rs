//! Planning round after round: what runs now, while jobs arrive that nobody knew of.
//!
//! [`Rolling`] plans every known job over the hours ahead each time it is asked, and says which run in
//! the present slot. It keeps the prices and the plan of the round before, and learns from what arrived
//! what to expect: expected jobs take part in the plan with the least weight, so that prices reflect
//! them and those with little slack find room. What was started is never sacrificed for what was not.
//! [`Scenario`] is the online test (format `online-1`), [`Play`] plays it. Pure: no clock, no files;
//! effort is counted work.

mod expected;
mod forecast;
mod play;
mod scenario;
#[cfg(test)]
mod tests;

pub use forecast::Forecast;
pub use play::Play;
pub use scenario::{Error, Issued, Scenario};

use crate::instance::problem::{milligrams_of, room};
use crate::instance::{Instance, Job};
use crate::placement::problem::{Amounts, Job as Item, Place, Problem, RESOURCES, fits};
use crate::placement::{Budget, solve_within};
use expected::Expected;
use std::collections::BTreeMap;
use std::rc::Rc;

/// How many times a started job weighs what it weighed before.
const STARTED: i128 = 1000;
/// mg/kWh at which the grams of moving a plan are reckoned.
const USUAL: f64 = 200_000.0;
/// Questions to the budget in a round.
const STRIDES: u64 = 200;

/// How a round is planned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Work of a round, in (job, slot) evaluations; 5 to 10 ns each.
    pub effort: u64,
    /// Slots planned ahead at most; no fewer than the longest job runs.
    pub ahead: usize,
    /// Slots ahead in which arrivals are expected; 0: none are.
    pub expect: usize,
    /// Share of its grams a planned job must gain to be moved.
    pub stick: f64,
    /// Seed of the search.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { effort: 20_000_000, ahead: 72, expect: 12, stick: 0.01, seed: 0 }
    }
}

/// A job that has arrived and has not ended.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The job.
    pub job: &'a Job,
    /// Slots it has run.
    pub done: usize,
    /// Where it was started; it stays there.
    pub cluster: Option<usize>,
    /// Whether it ran in the slot before.
    pub running: bool,
}

/// What is known in a slot.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// The present slot.
    pub now: usize,
    /// The clusters; of them only capacities, power and prices are read, and no jobs.
    pub instance: &'a Instance,
    /// gCO2e/kWh of each cluster, for `Settings::ahead` slots from now, or fewer where the instance ends
    /// before.
    pub intensity: &'a [Vec<f64>],
    /// The jobs.
    pub jobs: &'a [Known<'a>],
    /// Jobs that are known to arrive in later slots; `None`: it is to be guessed what will.
    pub coming: Option<&'a [&'a Job]>,
}

/// Plans round after round.
#[derive(Clone, Debug)]
pub struct Rolling {
    settings: Settings,
    expected: Expected,
    /// Prices of the round before, and its number of slots.
    prices: (Vec<f64>, usize),
    /// Where jobs were planned, in slots, by id.
    plan: BTreeMap<String, Place>,
}

impl Rolling {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Rolling {
        Rolling { settings, expected: Expected::new(), prices: (Vec::new(), 0), plan: BTreeMap::new() }
    }

    /// Which jobs run in the present slot and where: (index into `round.jobs`, cluster). What was
    /// started and may not pause is always among them.
    pub fn plan(&mut self, round: &Round<'_>) -> Vec<(usize, usize)> {
        self.expected.learn(round);
        let slots = round.intensity.first().map_or(0, Vec::len).min(self.settings.ahead);
        if slots == 0 {
            return Vec::new();
        }
        let mut problem = self.problem(round, slots);
        let (held, free) = split(round.jobs);
        hold(&mut problem, round, &held);
        for index in &free {
            let item = self.item(round, &round.jobs[*index], problem.slot);
            problem.jobs.push(item);
        }
        match round.coming {
            Some(coming) => problem.jobs.extend(coming.iter().map(|job| announced(round, job, slots))),
            None => problem.jobs.extend(self.expected.jobs(round, slots, self.settings.expect)),
        }
        let prices = self.shifted(slots);
        let effort = self.settings.effort.max(1);
        let mut share = |work: u64| work as f64 / effort as f64;
        let budget = Budget { share: &mut share, stride: (effort / STRIDES).max(1) };
        let seed = self.settings.seed.wrapping_add(round.now as u64);
        let solution = solve_within(&problem, &prices, seed, budget);
        self.prices = (solution.prices, slots);
        self.remember(round, &free, &solution.places, problem.slot);
        let mut now: Vec<(usize, usize)> =
            held.iter().filter_map(|index| Some((*index, round.jobs[*index].cluster?))).collect();
        now.extend(starting(&problem, &free, &solution.places));
        now
    }

    fn problem(&self, round: &Round<'_>, slots: usize) -> Problem {
        let clusters = &round.instance.clusters;
        let slot = i64::from(round.instance.slot_seconds);
        let rooms = clusters.iter().flat_map(|cluster| (0..slots).map(|t| room(cluster, round.now + t)));
        let intensity =
            round.intensity.iter().flat_map(|curve| curve[..slots].iter().map(|g| milligrams_of(*g)));
        Problem::new(slots, slot, rooms.collect(), intensity.collect(), Vec::new())
    }

    /// A job that may be placed, as what is left of it.
    fn item(&self, round: &Round<'_>, known: &Known<'_>, slot: i64) -> Item {
        let job = known.job;
        let mut item = round.instance.item(job);
        let ahead = |time: usize| (time as i64 - round.now as i64) * slot;
        item.from = 0;
        item.deadline = ahead(job.deadline);
        item.length = left(known) as i64 * slot;
        item.optional = false;
        item.weight *= 1 + STARTED;
        if let Some(cluster) = known.cluster {
            item.weight *= STARTED;
            pin(&mut item, cluster, known.running);
        }
        item.sticky = self.before(&job.id, &item, round.now, slot);
        item
    }

    /// Where it was planned in the round before, if that is still to come.
    fn before(&self, id: &str, item: &Item, now: usize, slot: i64) -> Option<(Place, f64)> {
        let place = self.plan.get(id)?;
        let now = now as i64;
        let runs = place.runs.iter().filter(|run| run.1 > now);
        let runs: Vec<(i64, i64)> =
            runs.map(|run| ((run.0.max(now) - now) * slot, (run.1 - now) * slot)).collect();
        let length: i64 = runs.iter().map(|run| run.1 - run.0).sum();
        let site = item.sites[place.cluster].as_ref()?;
        let grams = site.grams * (length / slot) as f64 * USUAL;
        (length == item.length).then_some((Place { runs, ..place.clone() }, grams * self.settings.stick))
    }

    /// The prices of the round before, one slot on.
    fn shifted(&self, slots: usize) -> Vec<f64> {
        let (prices, before) = &self.prices;
        let row = |row: &[f64]| -> Vec<f64> {
            (0..slots).map(|t| row.get(t + 1).copied().unwrap_or(0.0)).collect()
        };
        if *before == 0 { Vec::new() } else { prices.chunks(*before).flat_map(row).collect() }
    }

    fn remember(&mut self, round: &Round<'_>, free: &[usize], places: &[Option<Place>], slot: i64) {
        let now = round.now as i64;
        self.plan.clear();
        let real = free.iter().map(|index| round.jobs[*index].job.id.clone());
        for (id, place) in real.zip(places) {
            let Some(place) = place else { continue };
            let runs = place.runs.iter().map(|run| (run.0 / slot + now, run.1 / slot + now)).collect();
            self.plan.insert(id, Place { runs, ..place.clone() });
        }
    }
}

/// A job that is known to arrive later.
fn announced(round: &Round<'_>, job: &Job, slots: usize) -> Item {
    let mut item = round.instance.item(job);
    let slot = i64::from(round.instance.slot_seconds);
    item.from = (job.arrival - round.now) as i64 * slot;
    item.deadline = job.deadline.saturating_sub(round.now).min(slots) as i64 * slot;
    item.weight *= 1 + STARTED;
    item
}

/// Slots a job has still to run.
fn left(known: &Known<'_>) -> usize {
    known.job.duration.saturating_sub(known.done).max(1)
}

/// Those that have to go on, and those that may be placed.
fn split(jobs: &[Known<'_>]) -> (Vec<usize>, Vec<usize>) {
    (0..jobs.len()).partition(|index| jobs[*index].cluster.is_some() && !jobs[*index].job.interruptible)
}

/// Takes the room of what has to go on.
fn hold(problem: &mut Problem, round: &Round<'_>, held: &[usize]) {
    for known in held.iter().map(|index| &round.jobs[*index]) {
        let Some(cluster) = known.cluster else { continue };
        let demand = round.instance.item(known.job).demand;
        let slots = left(known).min(problem.slots);
        for room in &mut problem.room[cluster * problem.slots..][..slots] {
            (0..RESOURCES).for_each(|r| room[r] -= demand[r]);
        }
    }
}

/// Keeps a started job on its cluster: its data is there, and starting again is a resume.
fn pin(item: &mut Item, cluster: usize, running: bool) {
    for (index, site) in Rc::make_mut(&mut item.sites).iter_mut().enumerate() {
        *site = site.filter(|_| index == cluster);
        if let Some(site) = site {
            site.fixed = 0.0;
            site.moving = site.resume;
        }
    }
    item.data_at = None;
    item.continues = running;
}

/// Who runs in the first slot; the room is looked at once more.
fn starting(problem: &Problem, free: &[usize], places: &[Option<Place>]) -> Vec<(usize, usize)> {
    let mut room: Vec<Amounts> = problem.room.iter().step_by(problem.slots).copied().collect();
    let mut now = Vec::new();
    for ((index, place), item) in free.iter().zip(places).zip(&problem.jobs) {
        let Some(place) = place.as_ref().filter(|place| place.start() == 0) else { continue };
        let room = &mut room[place.cluster];
        if fits(&item.demand, room) {
            (0..RESOURCES).for_each(|r| room[r] -= item.demand[r]);
            now.push((*index, place.cluster));
        }
    }
    now
}
