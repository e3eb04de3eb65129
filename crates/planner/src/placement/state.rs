//! A plan under construction: who runs where, and what room is left.
//!
//! Invariant: `room` is the problem's room less what every placed job holds; a place is only taken
//! when it fits (a running job, which holds its place already, is the exception).

use super::interruptible::Search;
use super::prices::Prices;
use super::problem::{Amounts, Place, Problem, RESOURCES, Value};
use super::scan::Scan;
use std::rc::Rc;

/// A plan under construction.
#[derive(Clone)]
pub struct State<'a> {
    /// The problem.
    pub problem: &'a Problem,
    /// Room left.
    pub room: Vec<Amounts>,
    /// Where each job is.
    pub places: Vec<Option<Place>>,
    /// Who runs in each slot, `[cluster · slots + slot]`.
    pub here: Vec<Vec<u32>>,
    /// What each job's place is worth.
    pub values: Vec<Value>,
    /// What capacity costs those who are here for the sake of those who are not yet; part of what a place is worth.
    pub toll: Option<Rc<Prices>>,
    /// Work units used.
    pub work: u64,
}

impl<'a> State<'a> {
    /// With nothing placed.
    pub fn new(problem: &'a Problem) -> State<'a> {
        State {
            problem,
            room: problem.room.clone(),
            here: vec![Vec::new(); problem.room.len()],
            places: vec![None; problem.jobs.len()],
            values: problem.jobs.iter().map(|job| problem.unplaced(job)).collect(),
            toll: None,
            work: 0,
        }
    }

    /// Worth of the whole plan.
    pub fn total(&self) -> Value {
        self.values.iter().fold(Value::default(), |sum, value| sum + *value)
    }

    /// Changes the room of every slot a place overlaps by `sign` times the job's demand.
    fn hold(&mut self, job: usize, place: &Place, sign: i64) {
        let demand = *self.problem.jobs[job].holds(place);
        let base = place.cluster * self.problem.slots;
        for run in &place.runs {
            let slots = self.problem.overlapped(*run);
            self.work += slots.len() as u64;
            for slot in slots {
                let room = &mut self.room[base + slot];
                for resource in 0..RESOURCES {
                    room[resource] -= sign * demand[resource];
                }
                let here = &mut self.here[base + slot];
                if sign > 0 {
                    here.push(job as u32);
                } else if let Some(at) = here.iter().position(|other| *other == job as u32) {
                    here.swap_remove(at);
                }
            }
        }
    }

    /// What a place is worth to a job, with what it pays for capacity.
    pub fn value(&self, job: usize, place: &Place) -> Value {
        let item = &self.problem.jobs[job];
        let mut value = self.problem.value(item, place);
        if let Some(toll) = &self.toll {
            let pays = |run: &(i64, i64)| {
                let slots = self.problem.overlapped(*run);
                toll.of(place.cluster, item.holds(place), slots.start, slots.end)
            };
            value.cost += place.runs.iter().map(pays).sum::<f64>();
        }
        value
    }

    /// From here on capacity costs nothing.
    pub fn lift_toll(&mut self) {
        self.toll = None;
        for job in 0..self.places.len() {
            if let Some(place) = &self.places[job] {
                self.values[job] = self.value(job, place);
            }
        }
    }

    /// Places a job.
    pub fn put(&mut self, job: usize, place: Place) {
        let value = self.value(job, &place);
        self.put_valued(job, place, value);
    }

    /// Places a job where what the place is worth is known.
    pub fn put_valued(&mut self, job: usize, place: Place, value: Value) {
        self.hold(job, &place, 1);
        self.values[job] = value;
        self.places[job] = Some(place);
    }

    /// Takes a job out; its place, if it had one.
    pub fn take(&mut self, job: usize) -> Option<Place> {
        let place = self.places[job].take()?;
        self.hold(job, &place, -1);
        self.values[job] = self.problem.unplaced(&self.problem.jobs[job]);
        Some(place)
    }

    /// The best place for a job in the room left: in time and cheapest, else as soon as it can.
    pub fn best(&mut self, job: usize, prices: Option<&Prices>) -> Option<Place> {
        best(self.problem, &self.room, job, prices, &mut self.work)
    }

    /// Takes the best place, if there is one.
    pub fn insert(&mut self, job: usize, prices: Option<&Prices>) -> bool {
        let Some(place) = self.best(job, prices) else { return false };
        self.put(job, place);
        true
    }
}

/// The best place for a job in `room`.
pub fn best(
    problem: &Problem,
    room: &[Amounts],
    job: usize,
    prices: Option<&Prices>,
    work: &mut u64,
) -> Option<Place> {
    let job = &problem.jobs[job];
    let mut best: Option<(i128, f64, Place)> = None;
    for job in job.modes().filter(|job| !job.prompt) {
        // Less is left undone where that is possible; then the cheapest.
        if best.as_ref().is_some_and(|best| job.short > best.0) {
            continue;
        }
        let found = cheapest_in_time(&Scan { problem, room, prices, job }, work);
        if let Some((score, place)) = found
            && best.as_ref().is_none_or(|best| (job.short, score) < (best.0, best.1))
        {
            best = Some((job.short, score, place));
        }
    }
    if best.is_some() || job.optional {
        return best.map(|best| best.2);
    }
    let scan = Scan { problem, room, prices, job };
    scan.earliest(work).map(|pick| Place::contiguous(job, pick.cluster, pick.start))
}

/// The cheapest place of one mode and its score; staying where it was planned is worth what moving has to gain.
fn cheapest_in_time(scan: &Scan<'_>, work: &mut u64) -> Option<(f64, Place)> {
    let Scan { problem, room, prices, job } = *scan;
    let pick = scan.cheapest(job.deadline, work);
    let mut best = pick.map(|p| (p.score, Place::contiguous(job, p.cluster, p.start)));
    for cluster in (0..problem.clusters).filter(|_| job.pausable) {
        let found =
            Search { problem, room, prices, job, cluster, pause_now: false }.cheapest(job.deadline, work);
        if let Some((score, place)) = found
            && best.as_ref().is_none_or(|best| score < best.0)
        {
            best = Some((score, place));
        }
    }
    let Some((before, gain)) = job.sticky.as_ref().filter(|sticky| sticky.0.mode == job.mode) else {
        return best;
    };
    if before.end() <= job.deadline && problem.has_room(room, job, before) {
        let priced = |run: &(i64, i64)| {
            let slots = problem.overlapped(*run);
            prices.map_or(0.0, |p| p.of(before.cluster, &job.demand, slots.start, slots.end))
        };
        let stay = problem.cost(job, before) + before.runs.iter().map(priced).sum::<f64>();
        if best.as_ref().is_none_or(|best| stay <= best.0 + gain) {
            return Some((stay - gain, before.clone()));
        }
    }
    best
}
