//! The solver's own dense form of placement: jobs, clusters, slots.
//!
//! Times are whole units (nanoseconds in practice) since the start of slot 0; amounts are whole
//! (nanocores, bytes, GPUs, pods), so capacity is exact; costs are `f64` grams. Intensity is whole
//! mg/kWh per slot with integer prefix sums, so that options that cost the same compare as equal.
//! A job may have several modes, each with a length, a demand and costs of its own (as in multi-mode project
//! scheduling); it runs in one of them. A run occupies every slot it overlaps. Beyond the last slot intensity holds its last value and
//! nothing starts, so whoever holds the last slot may go on.

use std::ops::{Add, AddAssign, Sub};
use std::rc::Rc;

/// CPU, memory, GPUs, pods.
pub const RESOURCES: usize = 4;
/// An amount of each resource.
pub type Amounts = [i64; RESOURCES];

/// Differences of costs below this share of them are rounding.
const ROUNDING: f64 = 1e-9;

/// A job at one cluster.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Grams per (mg/kWh · slot) while it runs: kW × hours of a slot ÷ 1000.
    pub grams: f64,
    /// What being here costs whatever the time, in grams (money at the carbon price, embodied emissions).
    pub fixed: f64,
    /// Money for run and transfer; breaks ties.
    pub money: f64,
    /// Grams per mg/kWh for bringing the data here: kWh ÷ 1000, charged at the mean of both ends.
    pub moving: f64,
    /// Grams per mg/kWh of a resume after a pause, charged where it resumes: kWh ÷ 1000.
    pub resume: f64,
}

/// Where and when a job runs: runs `[from, to)` in order, on one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the cluster.
    pub cluster: usize,
    /// Which of the job's modes.
    pub mode: u8,
    /// The runs.
    pub runs: Vec<(i64, i64)>,
}

impl Place {
    /// One run of a job, in the mode it is given in.
    pub fn contiguous(job: &Job, cluster: usize, start: i64) -> Place {
        Place { cluster, mode: job.mode, runs: vec![(start, start + job.length)] }
    }
    /// First start.
    pub fn start(&self) -> i64 {
        self.runs.first().map_or(0, |run| run.0)
    }
    /// Last end.
    pub fn end(&self) -> i64 {
        self.runs.last().map_or(0, |run| run.1)
    }
}

/// A job to place.
#[derive(Clone, Debug)]
pub struct Job {
    /// What being in time is worth; compared before anything else.
    pub weight: i128,
    /// How much of that is lost although it is in time: in this mode some of its work is left undone.
    pub short: i128,
    /// May not be delayed: delay is compared before cost.
    pub prompt: bool,
    /// Earliest start.
    pub from: i64,
    /// Must end by then; `i64::MAX` without one.
    pub deadline: i64,
    /// How long it runs.
    pub length: i64,
    /// What it holds while it runs.
    pub demand: Amounts,
    /// For each cluster; `None`: may not run there.
    pub sites: Rc<[Option<Site>]>,
    /// Cluster its data lies at.
    pub data_at: Option<usize>,
    /// May be paused and resumed.
    pub pausable: bool,
    /// Runs now: its first run starts at `from`.
    pub running: bool,
    /// Ran until `from`: if it may pause, going on there moves nothing.
    pub continues: bool,
    /// Starts off the slots' boundaries worth trying.
    pub extra_starts: Vec<i64>,
    /// May be left out when it cannot be in time; else it runs as soon as it can.
    pub optional: bool,
    /// Where it was planned before, and the grams any other place must gain to be preferred.
    pub sticky: Option<(Place, f64)>,
    /// Which of its modes this is; the first is 0.
    pub mode: u8,
    /// Of the first mode all others, in order. Only the first may be late, and what runs has no others.
    pub others: Vec<Job>,
}

impl Job {
    /// All modes, the first first.
    pub fn modes(&self) -> impl Iterator<Item = &Job> {
        std::iter::once(self).chain(&self.others)
    }
    /// One of its modes; asked of a mode that is not the first, that mode itself.
    #[inline]
    pub fn mode(&self, mode: u8) -> &Job {
        if mode == self.mode {
            self
        } else {
            self.others.get(usize::from(mode).wrapping_sub(1)).unwrap_or(self)
        }
    }
    /// Whether it may have more than one run: what lasts no longer than a slot and has not begun has nothing to pause.
    pub fn pauses(&self, slot: i64) -> bool {
        self.pausable && (self.running || self.length > slot)
    }
    /// What a place holds while it runs.
    #[inline]
    pub fn holds(&self, place: &Place) -> &Amounts {
        &self.mode(place.mode).demand
    }
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Number of slots.
    pub slots: usize,
    /// Length of a slot.
    pub slot: i64,
    /// Number of clusters.
    pub clusters: usize,
    /// Capacity left, `[cluster · slots + slot]`; may be negative.
    pub room: Vec<Amounts>,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Jobs go back to where they were planned wherever moving them does not gain what it must, whatever that costs
    /// those that may be left out.
    pub calm: bool,
    /// mg/kWh; whole numbers below 2⁵³, as are their sums, so differences are exact.
    intensity: Vec<f64>,
    prefix: Vec<f64>,
}

/// What a place is worth; smaller is better, the first difference decides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Value {
    /// Weight of jobs not in time.
    pub missed: i128,
    /// Time lost by jobs that may not wait or are late anyway.
    pub delay: f64,
    /// Grams.
    pub cost: f64,
    /// Money.
    pub money: f64,
    /// Start times, so that of equals the earlier wins.
    pub start: f64,
}

impl Value {
    /// A total order: the first difference decides, rounding and all.
    pub fn rank(&self, other: &Value) -> std::cmp::Ordering {
        let order = self.missed.cmp(&other.missed).then(self.delay.total_cmp(&other.delay));
        let order = order.then(self.cost.total_cmp(&other.cost)).then(self.money.total_cmp(&other.money));
        order.then(self.start.total_cmp(&other.start))
    }

    /// Whether this is better by more than rounding.
    pub fn better_than(&self, other: &Value) -> bool {
        if self.missed != other.missed {
            return self.missed < other.missed;
        }
        for (a, b) in [(self.delay, other.delay), (self.cost, other.cost), (self.money, other.money)] {
            let order = by_cost(a, b);
            if order.is_ne() {
                return order.is_lt();
            }
        }
        self.start < other.start
    }
}

/// Order of costs up to rounding.
pub fn by_cost(a: f64, b: f64) -> std::cmp::Ordering {
    let rounding = ROUNDING * (magnitude(a) + magnitude(b));
    if magnitude(a - b) <= rounding { std::cmp::Ordering::Equal } else { a.total_cmp(&b) }
}

fn magnitude(x: f64) -> f64 {
    if x < 0.0 { -x } else { x }
}

impl Add for Value {
    type Output = Value;
    fn add(self, other: Value) -> Value {
        Value {
            missed: self.missed.saturating_add(other.missed),
            delay: self.delay + other.delay,
            cost: self.cost + other.cost,
            money: self.money + other.money,
            start: self.start + other.start,
        }
    }
}
impl AddAssign for Value {
    fn add_assign(&mut self, other: Value) {
        *self = *self + other;
    }
}
impl Sub for Value {
    type Output = Value;
    fn sub(self, other: Value) -> Value {
        Value {
            missed: self.missed.saturating_sub(other.missed),
            delay: self.delay - other.delay,
            cost: self.cost - other.cost,
            money: self.money - other.money,
            start: self.start - other.start,
        }
    }
}

/// A demand as the least room it needs, so that one comparison a resource tells whether it fits.
pub fn least_room(demand: &Amounts) -> Amounts {
    demand.map(|need| if need <= 0 { i64::MIN } else { need })
}

/// Whether `demand` fits into `room`; asking for none of a resource fits even where it is overdrawn.
#[inline]
pub fn fits(demand: &Amounts, room: &Amounts) -> bool {
    // All four at once: a branch each costs more than it saves.
    let mut fits = true;
    for resource in 0..RESOURCES {
        fits &= (demand[resource] <= 0) | (demand[resource] <= room[resource]);
    }
    fits
}

impl Problem {
    /// `intensity` in mg/kWh and `room`, both `[cluster · slots + slot]`.
    pub fn new(slots: usize, slot: i64, room: Vec<Amounts>, intensity: Vec<i64>, jobs: Vec<Job>) -> Problem {
        let clusters = room.len() / slots.max(1);
        let mut prefix = Vec::with_capacity(clusters * (slots + 1));
        for cluster in 0..clusters {
            let mut sum = 0;
            prefix.push(0.0);
            for value in &intensity[cluster * slots..(cluster + 1) * slots] {
                sum += value;
                prefix.push(sum as f64);
            }
        }
        let intensity = intensity.into_iter().map(|value| value as f64).collect();
        Problem { slots, slot, clusters, room, jobs, calm: false, intensity, prefix }
    }

    /// Intensity of a slot in mg/kWh; beyond the last, the last.
    pub fn intensity(&self, cluster: usize, slot: usize) -> f64 {
        self.intensity[cluster * self.slots + slot.min(self.slots - 1)]
    }

    /// Intensities of a cluster, slot by slot, and their sums before each slot.
    pub fn curve(&self, cluster: usize) -> (&[f64], &[f64]) {
        let (values, sums) = (cluster * self.slots, cluster * (self.slots + 1));
        (&self.intensity[values..values + self.slots], &self.prefix[sums..=sums + self.slots])
    }

    /// Sum of intensity over whole slots `[lo, hi)` inside the horizon.
    pub fn whole_slots(&self, cluster: usize, lo: usize, hi: usize) -> f64 {
        let base = cluster * (self.slots + 1);
        self.prefix[base + hi] - self.prefix[base + lo]
    }

    /// Integral of intensity over `[from, to)`, in mg/kWh · slots.
    pub fn units(&self, cluster: usize, from: i64, to: i64) -> f64 {
        let part = |time: i64| {
            let whole = ((time / self.slot) as usize).min(self.slots);
            let rest = (time - whole as i64 * self.slot) as f64 / self.slot as f64;
            (whole, rest * self.intensity(cluster, whole))
        };
        let ((lo, before), (hi, after)) = (part(from), part(to));
        self.whole_slots(cluster, lo, hi) + (after - before)
    }

    /// Slots `[lo, hi)` a run overlaps, inside the horizon.
    #[inline]
    pub fn overlapped(&self, run: (i64, i64)) -> std::ops::Range<usize> {
        let lo = ((run.0 / self.slot) as usize).min(self.slots);
        let hi = (((run.1 + self.slot - 1) / self.slot) as usize).min(self.slots);
        lo..hi
    }

    /// Grams of bringing the data to `cluster` for a start in `slot`.
    pub fn moving(&self, job: &Job, site: &Site, cluster: usize, slot: usize) -> f64 {
        if site.moving == 0.0 || (job.continues && slot as i64 * self.slot == job.from) {
            return 0.0;
        }
        let there = self.intensity(cluster, slot);
        let here = job.data_at.map_or(there, |source| self.intensity(source, slot));
        site.moving * ((here + there) * 0.5)
    }

    /// Grams of a place: run, resumes, transfer, fixed; no penalty for moving a plan.
    pub fn cost(&self, job: &Job, place: &Place) -> f64 {
        let job = job.mode(place.mode);
        let Some(site) = job.sites[place.cluster] else { return f64::INFINITY };
        let mut cost = site.fixed;
        for (i, run) in place.runs.iter().enumerate() {
            let slot = (run.0 / self.slot) as usize;
            cost += site.grams * self.units(place.cluster, run.0, run.1);
            if i > 0 || (job.running && run.0 > job.from) {
                cost += site.resume * self.intensity(place.cluster, slot);
            } else if !job.running {
                cost += self.moving(job, &site, place.cluster, slot);
            }
        }
        cost
    }

    /// What a place is worth to a job.
    pub fn value(&self, job: &Job, place: &Place) -> Value {
        let job = job.mode(place.mode);
        let late = place.end() > job.deadline;
        let waits = place.end() - job.from - job.length;
        let penalty = match &job.sticky {
            Some((before, gain)) if before != place => *gain,
            _ => 0.0,
        };
        Value {
            missed: if late { job.weight } else { job.short },
            delay: if late || job.prompt { waits as f64 } else { 0.0 },
            cost: self.cost(job, place) + penalty,
            money: job.sites[place.cluster].map_or(0.0, |site| site.money),
            start: place.start() as f64,
        }
    }

    /// What one run from `start` on is worth, when its grams are known.
    pub fn value_at(&self, job: &Job, cluster: usize, start: i64, grams: f64) -> Value {
        let late = start.saturating_add(job.length) > job.deadline;
        let run = [(start, start + job.length)];
        let before = |place: &Place| place.cluster == cluster && place.mode == job.mode && place.runs == run;
        let penalty =
            job.sticky.as_ref().map_or(0.0, |(place, gain)| if before(place) { 0.0 } else { *gain });
        Value {
            missed: if late { job.weight } else { job.short },
            delay: if late || job.prompt { (start - job.from) as f64 } else { 0.0 },
            cost: grams + penalty,
            money: job.sites[cluster].map_or(0.0, |site| site.money),
            start: start as f64,
        }
    }

    /// What not being placed at all is worth: worse than any place, unless it may be left out.
    pub fn unplaced(&self, job: &Job) -> Value {
        let missed = if job.deadline == i64::MAX { 0 } else { job.weight };
        let delay = if job.optional { 0.0 } else { 1e18 };
        Value { missed, delay, ..Value::default() }
    }

    /// Whether a job fits in every slot the place overlaps.
    pub fn has_room(&self, room: &[Amounts], job: &Job, place: &Place) -> bool {
        let demand = job.holds(place);
        let base = place.cluster * self.slots;
        place.runs.iter().all(|run| self.overlapped(*run).all(|t| fits(demand, &room[base + t])))
    }
}
