//! From a snapshot to the solver's dense problem and back.
//!
//! Slots are absolute: 15 minutes when deadlines and earliest ends lie within 4 days, else an hour; at
//! most 14 days of them. Where a deadline lies beyond, the Job is planned to end inside the horizon
//! and planned again later. Running Jobs that cannot pause are not in the problem: their room is taken
//! out of it.

use super::limit::{Sizes, committed};
use super::modes::{Like, Mode, PARTS, Sites};
use super::problem::{Amounts, Job, Place, Problem, RESOURCES, Site};
use super::{Assignment, Interval, PRICES_LAST, Price, Resource, Schedule, Unplaced};
use fleet::{GramsCo2, Instant, Policy, Resources, Snapshot, Span, Workload};
use ledger::Footprint;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

/// Slots while everything ends within [`FINE_HORIZON`].
const FINE_SLOT: Span = Span::from_seconds(900);
/// Slots otherwise.
const COARSE_SLOT: Span = Span::HOUR;
/// How far quarters of an hour reach: finer further out would be finer than any forecast.
const FINE_HORIZON: Span = Span::from_seconds(4 * 86_400);
/// How far is planned at all.
pub(crate) const HORIZON_MAX: Span = Span::from_seconds(14 * 86_400);
/// A Job is taken to last at least this long, an overrunning one to go on for it.
pub(crate) const LENGTH_MIN: Span = Span::from_seconds(1);
/// Energy of a resume as time of running: pod start, image and state read again.
const RESUME: Span = Span::from_seconds(120);
/// What moving a planned Job must gain, as a share of its grams: so much of what the forecasts are off by, between where
/// it was planned and where it could go at the latest. About half of the mean error: 5 % for a day ahead.
const MOVE_GAIN: f64 = 0.25;
/// The least it must gain: the next hours are known well, but what starting elsewhere costs is not.
const MOVE_GAIN_MIN: f64 = 0.01;
/// How far off forecasts are taken to be where nobody says, in thousandths: as those of a day ahead are in most zones.
const SPREAD_USUAL: i64 = 200;
/// Weights of being in time are capped here, so that their sums stay exact.
const WEIGHT_MAX: i128 = 1_000_000_000_000_000_000_000_000_000_000;

/// How long a Job is planned for.
pub(crate) fn length(workload: &Workload) -> Span {
    workload.duration.max(LENGTH_MIN)
}

/// A snapshot as a problem.
pub(crate) struct Model<'a> {
    pub snapshot: &'a Snapshot,
    /// Start of slot 0.
    pub origin: Instant,
    pub slot: Span,
    pub problem: Problem,
    /// For each job of the problem, its index in the snapshot.
    pub jobs: Vec<usize>,
    /// For each of them the ways it may run; none where there is but one.
    pub modes: Vec<Vec<Mode>>,
    /// Running Jobs that stay as they are, and their cluster's index.
    pub fixed: Vec<(usize, usize)>,
    pub unplaced: Vec<Unplaced>,
    /// Nodes of each cluster by size.
    pub sizes: Vec<Sizes>,
    /// What Jobs cost, by what that hangs on; looked up only, never gone through.
    pub known: RefCell<HashMap<Like, Sites>>,
}

fn amounts(r: Resources) -> Amounts {
    [r.cpu.as_nanos(), r.memory.as_bytes(), r.gpu, r.pods]
}

/// Gives a job, in all its modes, what it counts to have it in time; what is left undone counts as that part of it.
pub(super) fn weigh(job: &mut Job, modes: &[Mode], weight: i128) {
    job.weight = weight;
    for (other, mode) in job.others.iter_mut().zip(modes.iter().skip(1)) {
        other.weight = weight;
        other.short = weight / i128::from(PARTS) * i128::from(mode.undone_parts);
    }
}

impl<'a> Model<'a> {
    /// The problem of a snapshot; `previous` makes moving what was planned cost something.
    pub fn new(snapshot: &'a Snapshot, policy: &Policy, previous: Option<&Schedule>) -> Model<'a> {
        let (slot, slots) = grid(snapshot);
        let origin = snapshot.at.floor_to(slot);
        let mut room: Vec<Amounts> = Vec::with_capacity(snapshot.clusters.len() * slots);
        let mut intensity = Vec::with_capacity(snapshot.clusters.len() * slots);
        for cluster in &snapshot.clusters {
            room.extend(std::iter::repeat_n(amounts(cluster.free), slots));
            let values = cluster.intensity.resample(origin, slot, slots);
            intensity.extend(values.into_iter().map(fleet::GramsCo2PerKwh::as_milligrams));
        }
        let mut problem = Problem::new(slots, slot.as_nanos(), room, intensity, Vec::new());
        problem.calm = true;
        let mut model = Model {
            snapshot,
            origin,
            slot,
            problem,
            jobs: Vec::new(),
            modes: Vec::new(),
            fixed: Vec::new(),
            unplaced: Vec::new(),
            sizes: snapshot.clusters.iter().map(Sizes::of).collect(),
            known: RefCell::default(),
        };
        let keys = || snapshot.workloads.iter().map(|workload| &workload.key);
        let mut before = previous.map(|previous| previous.of_each(keys()));
        for (index, workload) in snapshot.workloads.iter().enumerate() {
            let before = before.as_mut().and_then(Iterator::next).flatten();
            model.take_in(index, workload, policy, before);
        }
        for workload in &snapshot.expected {
            model.expect(workload, policy);
        }
        model.weigh();
        model
    }

    /// Units since the start of slot 0.
    pub fn time(&self, at: Instant) -> i64 {
        (at - self.origin).as_nanos()
    }

    fn take_in(&mut self, index: usize, workload: &Workload, policy: &Policy, before: Option<&Assignment>) {
        let unplaced = |reason: String| Unplaced { key: workload.key.clone(), reason };
        if workload.running {
            let here = committed(workload);
            let cluster = self.snapshot.clusters.iter().position(|c| Some(&c.id) == here);
            let Some(cluster) = cluster else {
                let name = here.map_or("?", |id| id.as_str());
                self.unplaced.push(unplaced(format!("it runs in {name}, which is not in the fleet")));
                return;
            };
            let end = self.snapshot.at + length(workload);
            let slack = workload.deadline.is_some_and(|deadline| end < deadline);
            if !(workload.interruptible
                && slack
                && !workload.prompt
                && self.snapshot.clusters[cluster].reachable)
            {
                self.keep(index, cluster, workload);
                return;
            }
        }
        let (mut job, modes) = match self.item(workload, policy) {
            Ok(item) => item,
            Err(why) => {
                self.unplaced.push(unplaced(why));
                return;
            }
        };
        if job.from >= self.problem.slots as i64 * self.problem.slot {
            let days = HORIZON_MAX.as_seconds() / 86_400;
            self.unplaced.push(unplaced(format!(
                "it may not start before {}, more than {days} days ahead",
                workload.release
            )));
            return;
        }
        job.sticky = self.before(workload, &job, &modes, before);
        for other in &mut job.others {
            other.sticky.clone_from(&job.sticky);
        }
        self.jobs.push(index);
        self.modes.push(modes);
        self.problem.jobs.push(job);
    }

    /// A Job thought to come takes part with the least weight, and may be left out.
    fn expect(&mut self, workload: &Workload, policy: &Policy) {
        let Ok(sites) = self.sites(workload, policy) else { return };
        let job = self.job(workload, sites);
        if job.from < self.problem.slots as i64 * self.problem.slot {
            // One run is far less to search for, and takes hardly more room.
            self.problem.jobs.push(Job { optional: true, pausable: false, ..job });
        }
    }

    /// A running Job stays: its room is gone until it ends.
    fn keep(&mut self, index: usize, cluster: usize, workload: &Workload) {
        let from = self.time(self.snapshot.at);
        let demand = amounts(workload.demand());
        for slot in self.problem.overlapped((from, from + length(workload).as_nanos())) {
            let room = &mut self.problem.room[cluster * self.problem.slots + slot];
            room.iter_mut().zip(&demand).for_each(|(have, need)| *have -= need);
        }
        self.fixed.push((index, cluster));
    }

    /// Energy to bring a Job's data to a cluster, in kWh; nothing once it is committed there.
    fn moving_kwh(&self, cluster: usize, workload: &Workload) -> f64 {
        let Some(data) = workload.data.as_ref().filter(|d| d.at != self.snapshot.clusters[cluster].id) else {
            return 0.0;
        };
        if committed(workload).is_some() {
            return 0.0;
        }
        data.size.as_gb_f64() * self.kwh_per_gb(&data.at, cluster)
    }

    /// kWh per GB; from a cluster nothing is known of, the most it is from any.
    fn kwh_per_gb(&self, from: &fleet::ClusterId, to: usize) -> f64 {
        let table = &self.snapshot.transfer_kwh_per_gb;
        let entry = |row: &Vec<f64>| row.get(to).copied().unwrap_or(0.0);
        match self.snapshot.clusters.iter().position(|c| c.id == *from) {
            Some(source) => table.get(source).map_or(0.0, entry),
            None => table.iter().map(entry).fold(0.0, f64::max),
        }
    }

    /// What a Job costs in a cluster.
    pub fn site(&self, c: usize, workload: &Workload, policy: &Policy) -> Site {
        let cluster = &self.snapshot.clusters[c];
        let demand = workload.demand();
        let kwh_per_slot =
            ledger::power(demand, cluster.rates).as_watts_f64() / 1000.0 * self.slot.as_hours_f64();
        let run = ledger::price(demand, cluster.rates) * length(workload);
        let kwh = self.moving_kwh(c, workload);
        let moved = match &workload.data {
            Some(data) if kwh > 0.0 => data.size.as_gb_f64() * self.snapshot.transfer_price_per_gb,
            _ => 0.0,
        };
        let money = run.as_units_f64() + moved;
        // The same whatever the time, with pauses or without: it is borne while the Job runs.
        let embodied = ledger::embodied(demand, cluster.rates) * length(workload);
        Site {
            grams: kwh_per_slot / 1000.0,
            fixed: money * policy.grams_per_money() + embodied.as_grams_f64(),
            money,
            moving: kwh / 1000.0,
            resume: kwh_per_slot / 1000.0 * (RESUME.as_hours_f64() / self.slot.as_hours_f64()),
        }
    }

    /// A Job as the solver has it, at the least weight.
    pub fn job(&self, workload: &Workload, sites: Sites) -> Job {
        let from = self.time(workload.release.max(self.snapshot.at));
        let length = length(workload).as_nanos();
        let horizon = self.problem.slots as i64 * self.problem.slot;
        let deadline = workload.deadline.map_or(i64::MAX, |deadline| self.time(deadline));
        let mut extra_starts = vec![from];
        // Within the horizon the exact latest start counts too: a boundary before it may be taken.
        if !workload.running && deadline < horizon && deadline.saturating_sub(length) > from {
            extra_starts.push(deadline - length);
        }
        Job {
            weight: 1,
            short: 0,
            prompt: workload.deadline.is_none() || workload.prompt,
            from,
            deadline,
            length,
            demand: amounts(workload.demand()),
            sites,
            data_at: workload
                .data
                .as_ref()
                .and_then(|d| self.snapshot.clusters.iter().position(|c| c.id == d.at)),
            pausable: workload.interruptible && workload.deadline.is_some() && !workload.prompt,
            running: workload.running,
            continues: false,
            extra_starts,
            optional: false,
            sticky: None,
            mode: 0,
            others: Vec::new(),
        }
    }

    /// Where a Job was planned, brought up to now, and what moving it must gain.
    fn before(
        &self,
        workload: &Workload,
        job: &Job,
        modes: &[Mode],
        before: Option<&Assignment>,
    ) -> Option<(Place, f64)> {
        let old = before?;
        let mode = self.mode_of(modes, workload, old)?;
        let job = job.mode(mode);
        let cluster = self.snapshot.clusters.iter().position(|c| c.id == old.cluster)?;
        job.sites[cluster]?;
        let mut runs: Vec<(i64, i64)> = Vec::new();
        let mut left = job.length;
        for run in &old.runs {
            let (from, to) = (self.time(run.from).max(job.from), self.time(run.to));
            if to > from && left > 0 {
                let used = left.min(to - from);
                runs.push((from, from + used));
                left -= used;
            }
        }
        if let Some(last) = runs.last_mut() {
            last.1 += left;
        }
        if old.runs.len() <= 1 {
            let start = old.runs.first().map_or(job.from, |run| self.time(run.from)).max(job.from);
            runs = vec![(start, start + job.length)];
        }
        let inside = runs.first().is_some_and(|run| run.0 < self.problem.slots as i64 * self.problem.slot);
        let place = Place { cluster, mode, runs };
        let split = place.runs.len() > 1 || (job.running && place.start() > job.from);
        if !inside || (split && !job.pausable) {
            return None;
        }
        let gain = self.problem.cost(job, &place) * self.move_gain(job, &place);
        Some((place, gain))
    }

    /// What moving a Job from a place must gain, as a share of its grams: two figures are compared, and each is off.
    fn move_gain(&self, job: &Job, place: &Place) -> f64 {
        let off = |cluster: usize, end: i64| {
            let ahead = Span::from_nanos(end - self.time(self.snapshot.at));
            let spread = self.snapshot.clusters[cluster].spread.as_ref();
            spread.map_or(SPREAD_USUAL, |spread| spread.permille(ahead)) as f64 / 1000.0
        };
        let latest = job.deadline.min(self.problem.slots as i64 * self.problem.slot).max(place.end());
        let sites = || job.sites.iter().enumerate().filter(|(_, site)| site.is_some());
        let elsewhere =
            sites().map(|(cluster, _)| off(cluster, latest)).sum::<f64>() / sites().count().max(1) as f64;
        (MOVE_GAIN * (off(place.cluster, place.end()) + elsewhere) / 2.0).max(MOVE_GAIN_MIN)
    }

    /// Ranks priorities: one job in time of a higher one is worth more than all of the lower ones; where work
    /// may be left undone, so is the smallest part of it.
    fn weigh(&mut self) {
        let of = |i: &usize| self.snapshot.workloads[*i].priority;
        let ranks: BTreeSet<i32> = self.jobs.iter().map(of).collect();
        let cut = self.modes.iter().flatten().any(|mode| mode.undone_parts > 0);
        let parts = if cut { i128::from(PARTS) } else { 1 };
        let base = (self.jobs.len() as i128 + 1) * parts;
        let mut weight = (self.problem.jobs.len() - self.jobs.len() + 1) as i128 * parts;
        for rank in ranks {
            for ((job, i), modes) in self.problem.jobs.iter_mut().zip(&self.jobs).zip(&self.modes) {
                if self.snapshot.workloads[*i].priority != rank {
                    continue;
                }
                weigh(job, modes, weight);
            }
            weight = weight.saturating_mul(base).min(WEIGHT_MAX);
        }
    }

    /// What runs of a Job in a cluster are forecast to burn, transfer included.
    pub fn footprint(&self, workload: &Workload, cluster: usize, runs: &[Interval]) -> Footprint {
        let place = &self.snapshot.clusters[cluster];
        let burn = |run: &Interval| {
            ledger::footprint(workload.demand(), place.rates, &place.intensity, run.from, run.to)
        };
        let total: Footprint = runs.iter().map(burn).sum();
        let Some(data) = workload.data.as_ref().filter(|_| self.moving_kwh(cluster, workload) > 0.0) else {
            return total;
        };
        let start = runs.first().map_or(self.snapshot.at, |run| run.from);
        let source = self.snapshot.clusters.iter().find(|c| c.id == data.at).map(|c| &c.intensity);
        let intensity = ledger::transfer_intensity(source, &place.intensity, start);
        let kwh_per_gb = self.kwh_per_gb(&data.at, cluster);
        total + ledger::transfer(data.size, kwh_per_gb, self.snapshot.transfer_price_per_gb, intensity)
    }

    /// Prices of an earlier schedule on this problem's slots; none where slots differ in length.
    pub fn prices(&self, previous: Option<&Schedule>) -> Vec<f64> {
        let slots = self.problem.slots;
        let mut prices = vec![0.0; self.problem.clusters * RESOURCES * slots];
        let known = previous.filter(|p| p.slot == self.slot).map_or(&[][..], |p| &p.prices[..]);
        for price in known {
            let cluster = self.snapshot.clusters.iter().position(|c| c.id == price.cluster);
            let resource = Resource::ALL.iter().position(|r| *r == price.resource);
            let slot = usize::try_from(self.time(price.from).div_euclid(self.problem.slot)).ok();
            if let (Some(cluster), Some(resource), Some(slot)) =
                (cluster, resource, slot.filter(|slot| *slot < slots))
            {
                prices[(cluster * RESOURCES + resource) * slots + slot] = price.grams.as_grams_f64();
            }
        }
        prices
    }

    /// Prices by cluster, resource and time; those that round to nothing are left out.
    pub fn price_list(&self, prices: &[f64]) -> Vec<Price> {
        let slots = self.problem.slots;
        let one = |(i, price): (usize, &f64)| {
            let (row, slot) = (i / slots, i % slots);
            Price {
                cluster: self.snapshot.clusters[row / RESOURCES].id.clone(),
                resource: Resource::ALL[row % RESOURCES],
                from: self.origin + self.slot.scaled(slot as i64, 1),
                grams: GramsCo2::from_grams_f64(*price),
            }
        };
        prices.iter().enumerate().map(one).filter(|price| price.grams > GramsCo2::ZERO).collect()
    }

    /// Whether the prices of an earlier schedule still hold.
    pub fn fresh(&self, previous: &Schedule) -> bool {
        previous.slot == self.slot && self.snapshot.at - previous.priced_at < PRICES_LAST
    }

    /// Jobs that were planned before, those first whose plan has become dearer by most.
    pub fn restless(&self, previous: &Schedule, policy: &Policy) -> Vec<usize> {
        let money = policy.grams_per_money();
        let keys = self.jobs.iter().map(|index| &self.snapshot.workloads[*index].key);
        let dearer = |(job, before): (usize, Option<&Assignment>)| {
            let item = &self.problem.jobs[job];
            let was = before?.footprint;
            let now = self.problem.cost(item, &item.sticky.as_ref()?.0);
            Some((now - was.carbon.as_grams_f64() - was.cost.as_units_f64() * money, job))
        };
        let mut all: Vec<(f64, usize)> = previous.of_each(keys).enumerate().filter_map(dearer).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.into_iter().map(|(_, job)| job).collect()
    }

    /// A place in the fleet's time.
    pub fn intervals(&self, place: &Place) -> Vec<Interval> {
        let at = |time: i64| self.origin + Span::from_nanos(time);
        place.runs.iter().map(|run| Interval { from: at(run.0), to: at(run.1) }).collect()
    }

    /// The assignment of a Job to runs in a cluster.
    pub fn assignment(&self, workload: &Workload, cluster: usize, runs: Vec<Interval>) -> Assignment {
        let end = runs.last().map_or(self.snapshot.at, |run| run.to);
        Assignment {
            key: workload.key.clone(),
            cluster: self.snapshot.clusters[cluster].id.clone(),
            parallelism: workload.parallelism.max(1),
            undone: Span::ZERO,
            footprint: self.footprint(workload, cluster, &runs),
            in_time: workload.real_deadline().is_none_or(|deadline| end <= deadline),
            runs,
        }
    }
}

/// Length of a slot and how many there are.
fn grid(snapshot: &Snapshot) -> (Span, usize) {
    let mut needed = Span::HOUR;
    let mut queue = 0.0;
    let mut longest = Span::ZERO;
    for workload in &snapshot.workloads {
        let ready = workload.release.max(snapshot.at) - snapshot.at;
        let until = workload.deadline.map_or(Span::ZERO, |deadline| deadline - snapshot.at);
        needed = needed.max(until.max(ready + length(workload)));
        longest = longest.max(length(workload));
        queue += length(workload).as_hours_f64() * least_share(snapshot, workload);
    }
    let slot = if needed <= FINE_HORIZON { FINE_SLOT } else { COARSE_SLOT };
    // Room behind the deadlines for those that have to queue: all work at half the fleet's best fit.
    let reachable = snapshot.clusters.iter().filter(|c| c.reachable).count().max(1);
    let queue = Span::from_hours_f64(2.0 * queue / reachable as f64).unwrap_or(HORIZON_MAX);
    let whole = needed.max(queue + longest).as_nanos().min(HORIZON_MAX.as_nanos());
    let head = (snapshot.at - snapshot.at.floor_to(slot)).as_nanos();
    let slots = (whole + head + slot.as_nanos() - 1) / slot.as_nanos() + 1;
    (slot, slots as usize)
}

/// The share of a cluster's free CPU or memory a Job takes where it takes least.
fn least_share(snapshot: &Snapshot, workload: &Workload) -> f64 {
    let demand = workload.demand();
    let share = |free: Resources| {
        let cpu = demand.cpu.as_nanos() as f64 / free.cpu.as_nanos().max(1) as f64;
        let memory = demand.memory.as_bytes() as f64 / free.memory.as_bytes().max(1) as f64;
        cpu.max(memory).min(1.0)
    };
    snapshot.clusters.iter().map(|c| share(c.free)).fold(1.0, f64::min)
}
