//! Prices on capacity: a Lagrangian relaxation.
//!
//! With a price ≥ 0 on each (cluster, slot, resource), every job chooses alone; the sum of what they
//! pay less what the capacity is worth is a lower bound on the cost of any plan that keeps to capacity,
//! whatever the prices. Prices rise where the choices overfill and fall where they do not, each at a
//! pace of its own (averages of the overfill and of its square, D. Kingma and J. Ba 2015), which
//! shrinks from step to step.
//! Amounts are shares of the cluster's room, so that the prices of different resources compare. A
//! cluster is not looked at where its cheapest unpriced place, or what it cost when last looked at less
//! what prices fell since, is dearer than what was found.

use super::alone::{Alone, RELAXED};
use super::interruptible::Search;
use super::prices::Prices;
use super::problem::{Amounts, Job, Problem, RESOURCES};

/// How long overfill is remembered: weight of the past in its average, where jobs are asked all at once and in parts,
/// and in that of its square.
const PAST: f64 = 0.9;
const PAST_IN_PARTS: f64 = 0.7;
const PAST_OF_SQUARE: f64 = 0.95;
/// Added to the root of the mean square, as a share of room: keeps quiet cells quiet.
const QUIET: f64 = 1e-3;

/// What a job chose.
#[derive(Clone, Debug, Default)]
struct Chosen {
    score: f64,
    cluster: u16,
    /// Which of its sights.
    sight: u16,
    mode: u8,
    slots: Vec<u16>,
}

/// A cluster as a job sees it, in one of its modes.
#[derive(Clone, Copy, Debug)]
struct Sight {
    /// What its best place there costs without prices.
    floor: f64,
    /// What it cost when it was last looked at, and at which step.
    seen: f64,
    step: u32,
    cluster: u16,
    mode: u8,
}

/// What the bound asks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// It ends by then.
    pub until: i64,
    /// Weight of what is left undone at most.
    pub short: i128,
}

impl Asked {
    /// By when a mode of the job has to end.
    fn by(&self, job: &Job) -> i64 {
        if job.mode > 0 { self.until.min(job.deadline) } else { self.until }
    }
}

/// The relaxation of a problem, and the best bound found so far.
pub struct Dual<'a> {
    problem: &'a Problem,
    /// What is asked of each job; `None`: it is left out.
    until: Vec<Option<Asked>>,
    prices: Prices,
    best: Option<(f64, Prices)>,
    /// For each job asked so far its clusters, the cheapest without prices first.
    sights: Vec<Vec<Sight>>,
    chosen: Vec<Chosen>,
    /// For each step the sum so far of the largest fall of a price, `[step · rows + row]`, a row being
    /// `cluster · RESOURCES + resource`.
    fallen: Vec<f64>,
    /// What the choices hold, `[cluster · slots + slot]`.
    held: Vec<Amounts>,
    mean: Vec<f64>,
    square: Vec<f64>,
    /// Products of these weights so far.
    past: (f64, f64),
    alone: Alone<'a>,
}

impl<'a> Dual<'a> {
    /// A relaxation at the given prices, `[(cluster · RESOURCES + resource) · slots + slot]`, or at zero.
    pub fn new(problem: &'a Problem, until: Vec<Option<Asked>>, price: &[f64], work: &mut u64) -> Dual<'a> {
        let prices = Prices::given(problem, price);
        let (size, jobs) = (prices.price.len(), problem.jobs.len());
        let mut dual = Dual {
            problem,
            until,
            prices,
            best: None,
            sights: vec![Vec::new(); jobs],
            chosen: vec![Chosen::default(); jobs],
            fallen: vec![0.0; problem.clusters * RESOURCES],
            held: vec![[0; RESOURCES]; problem.room.len()],
            mean: vec![0.0; size],
            square: vec![0.0; size],
            past: (1.0, 1.0),
            alone: Alone::new(problem),
        };
        if price.iter().any(|price| *price > 0.0) {
            dual.evaluate(work);
        }
        dual
    }

    fn find_sights(&mut self, index: usize, asked: Asked, work: &mut u64) {
        let job = &self.problem.jobs[index];
        let mut sights = Vec::with_capacity(job.sites.len());
        for job in job.modes().filter(|job| job.short <= asked.short) {
            self.alone.look_at(job, asked.by(job));
            for (cluster, site) in job.sites.iter().enumerate() {
                let Some(site) = site else { continue };
                if let Some((floor, _)) = self.alone.best(None, job, cluster, site, work) {
                    let (cluster, mode) = (cluster as u16, job.mode);
                    sights.push(Sight { floor, seen: f64::NEG_INFINITY, step: 0, cluster, mode });
                }
            }
        }
        let place = |sight: &Sight| (sight.cluster, sight.mode);
        sights.sort_by(|a, b| a.floor.total_cmp(&b.floor).then(place(a).cmp(&place(b))));
        self.sights[index] = sights;
    }

    /// The prices of the best bound.
    pub fn prices(&self) -> &Prices {
        self.best.as_ref().map_or(&self.prices, |best| &best.1)
    }
    /// The best bound, in grams; `None` when some job fits nowhere even alone.
    pub fn bound(&self) -> Option<f64> {
        self.best.as_ref().map(|best| best.0)
    }

    /// Begins anew with other limits, at no prices.
    pub fn restart(&mut self, until: Vec<Option<Asked>>, work: &mut u64) {
        *self = Dual::new(self.problem, until, &[], work);
    }

    /// The bound for other limits at the best prices found.
    pub fn rebound(&mut self, until: Vec<Option<Asked>>, work: &mut u64) {
        for (job, until) in until.into_iter().enumerate() {
            if self.until[job] != until {
                self.until[job] = until;
                self.sights[job].clear();
            }
        }
        if let Some((_, prices)) = self.best.take() {
            self.prices = prices;
            self.sights.iter_mut().flatten().for_each(|sight| sight.seen = f64::NEG_INFINITY);
        }
        self.evaluate(work);
    }

    /// Asks every job at the present prices, and keeps the bound if it is the best.
    pub fn evaluate(&mut self, work: &mut u64) {
        let mut bound = 0.0;
        for job in 0..self.problem.jobs.len() {
            if !self.ask(job, work) {
                return;
            }
            bound += self.chosen[job].score;
        }
        let slots = self.problem.slots;
        for (row, price) in self.prices.price.chunks(slots).enumerate() {
            let room = &self.problem.room[row / RESOURCES * slots..][..slots];
            let worth: f64 =
                price.iter().zip(room).map(|(price, room)| price * room[row % RESOURCES].max(0) as f64).sum();
            bound -= worth * self.prices.scale[row];
        }
        if self.best.as_ref().is_none_or(|best| bound > best.0) {
            self.best = Some((bound, self.prices.clone()));
        }
    }

    /// Asks every job once, in so many parts, and moves the prices by about `pace` grams after each. In parts prices
    /// get further for the same work, since not all jobs run to the same cheap slots at a time; all at once they get
    /// nearer to the best in the end.
    pub fn round(&mut self, parts: usize, pace: f64, work: &mut u64) {
        let past = if parts == 1 { PAST } else { PAST_IN_PARTS };
        for part in 0..parts {
            for job in (part..self.problem.jobs.len()).step_by(parts) {
                self.ask(job, work);
            }
            self.step(pace, past);
        }
    }

    /// Moves the prices by about `pace` grams.
    fn step(&mut self, pace: f64, past: f64) {
        self.past = (self.past.0 * past, self.past.1 * PAST_OF_SQUARE);
        let (slots, room) = (self.problem.slots, &self.problem.room);
        let rows = self.prices.scale.len();
        let mut fallen = self.fallen[self.fallen.len() - rows..].to_vec();
        for (row, fallen) in fallen.iter_mut().enumerate() {
            let mut most = 0.0f64;
            let (base, resource, scale) = (row / RESOURCES * slots, row % RESOURCES, self.prices.scale[row]);
            for slot in 0..slots {
                let i = row * slots + slot;
                let price = &mut self.prices.price[i];
                let excess =
                    (self.held[base + slot][resource] - room[base + slot][resource].max(0)) as f64 * scale;
                // Where nothing is asked for and nothing overfilled there is nothing to learn.
                let excess = if *price <= 0.0 { excess.max(0.0) } else { excess };
                let (mean, square) = (&mut self.mean[i], &mut self.square[i]);
                *mean = past * *mean + (1.0 - past) * excess;
                *square = PAST_OF_SQUARE * *square + (1.0 - PAST_OF_SQUARE) * (excess * excess);
                let root = (*square / (1.0 - self.past.1)).sqrt() + QUIET;
                let before = *price;
                *price = (*price + pace * (*mean / (1.0 - self.past.0)) / root).max(0.0);
                most = most.max(before - *price);
            }
            *fallen += most;
        }
        self.fallen.extend(fallen);
        self.prices.sum_up();
    }

    /// One job's best choice at the present prices; `false` when it fits nowhere even alone.
    fn ask(&mut self, index: usize, work: &mut u64) -> bool {
        let Some(asked) = self.until[index] else {
            self.hold(index, -1);
            self.chosen[index] = Chosen::default();
            return true;
        };
        if self.sights[index].is_empty() {
            self.find_sights(index, asked, work);
        }
        let problem = self.problem;
        let whole = &problem.jobs[index];
        self.alone.look_at(whole, asked.by(whole));
        let mut looked_at = whole.mode;
        let mut sights = std::mem::take(&mut self.sights[index]);
        let rows = self.prices.scale.len();
        let step = (self.fallen.len() / rows) as u32 - 1;
        let mut best: Option<(f64, (u16, u8), i64)> = None;
        let first = usize::from(self.chosen[index].sight).min(sights.len().saturating_sub(1));
        let mut which = 0;
        for at in std::iter::once(first).chain(0..sights.len()) {
            let Some(sight) = sights.get_mut(at) else { break };
            if let Some((score, ..)) = best {
                if sight.floor > score {
                    break;
                }
                let job = whole.mode(sight.mode);
                if (at == first && sight.step == step) || self.at_least(job, sight, step) > score {
                    continue;
                }
            }
            let (cluster, job) = (usize::from(sight.cluster), whole.mode(sight.mode));
            let Some(site) = &job.sites[cluster] else { continue };
            if looked_at != sight.mode {
                self.alone.look_at(job, asked.by(job));
                looked_at = sight.mode;
            }
            let found = self.alone.best(Some(&self.prices), job, cluster, site, work);
            sight.seen = found.map_or(f64::INFINITY, |found| found.0);
            sight.step = step;
            if let Some((score, start)) = found
                && best.is_none_or(|b| score < b.0 || (score == b.0 && (sight.cluster, sight.mode) < b.1))
            {
                best = Some((score, (sight.cluster, sight.mode), start));
                which = at;
            }
        }
        self.sights[index] = sights;
        let Some((score, (cluster, mode), start)) = best else { return false };
        let job = whole.mode(mode);
        self.hold(index, -1);
        let chosen = &mut self.chosen[index];
        chosen.score = score;
        chosen.cluster = cluster;
        chosen.mode = mode;
        chosen.sight = which as u16;
        chosen.slots.clear();
        if start == RELAXED {
            if let Some(site) = &job.sites[usize::from(cluster)] {
                let prices = Some(&self.prices);
                let search = Search::new(problem, &problem.room, prices, job, usize::from(cluster));
                search.relaxed(site, asked.by(job), &mut self.alone.slots);
                chosen.slots.extend(self.alone.slots.iter().map(|(_, slot)| *slot as u16));
            }
        } else {
            chosen.slots.extend(problem.overlapped((start, start + job.length)).map(|slot| slot as u16));
        }
        self.hold(index, 1);
        true
    }

    /// A lower bound on a job's score in a cluster: what it was, less what prices fell since.
    fn at_least(&self, job: &Job, sight: &Sight, step: u32) -> f64 {
        let (rows, row) = (self.prices.scale.len(), usize::from(sight.cluster) * RESOURCES);
        let then = &self.fallen[sight.step as usize * rows + row..][..RESOURCES];
        let now = &self.fallen[step as usize * rows + row..][..RESOURCES];
        let scale = &self.prices.scale[row..][..RESOURCES];
        let mut fell = 0.0;
        for resource in 0..RESOURCES {
            fell += job.demand[resource].max(0) as f64 * scale[resource] * (now[resource] - then[resource]);
        }
        // A run off the boundaries overlaps one slot more.
        let span = (job.length + self.problem.slot - 1) / self.problem.slot + 1;
        sight.seen - fell * span as f64
    }

    /// Adds or takes away what a job's choice holds.
    fn hold(&mut self, index: usize, sign: i64) {
        let chosen = &self.chosen[index];
        let base = usize::from(chosen.cluster) * self.problem.slots;
        let demand = &self.problem.jobs[index].mode(chosen.mode).demand;
        for slot in &chosen.slots {
            let held = &mut self.held[base + usize::from(*slot)];
            for (held, need) in held.iter_mut().zip(demand) {
                *held += sign * need;
            }
        }
    }
}
