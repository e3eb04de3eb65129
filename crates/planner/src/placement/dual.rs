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
use super::problem::{Amounts, Problem, RESOURCES};

/// How long overfill is remembered: weight of the past in its average, and in that of its square.
const PAST: (f64, f64) = (0.9, 0.95);
/// Added to the root of the mean square, as a share of room: keeps quiet cells quiet.
const QUIET: f64 = 1e-3;

/// What a job chose.
#[derive(Clone, Debug, Default)]
struct Chosen {
    score: f64,
    cluster: u16,
    slots: Vec<u16>,
}

/// The relaxation of a problem, and the best bound found so far.
pub struct Dual<'a> {
    problem: &'a Problem,
    /// Each job has to end by then; `None`: it is left out.
    until: Vec<Option<i64>>,
    prices: Prices,
    best: Option<(f64, Prices)>,
    /// For each job, what its clusters cost at least without prices, cheapest first.
    floors: Vec<Vec<(f64, u16)>>,
    chosen: Vec<Chosen>,
    /// What each job's best place in each cluster cost when it was last looked at, and at which step.
    seen: Vec<(f64, u32)>,
    /// For each step the sum so far of the largest fall of a price, `[cluster · RESOURCES + resource]`.
    fallen: Vec<Vec<f64>>,
    /// What the choices hold, `[cluster · slots + slot]`.
    held: Vec<Amounts>,
    mean: Vec<f64>,
    square: Vec<f64>,
    /// Products of `PAST` so far.
    past: (f64, f64),
    alone: Alone<'a>,
}

impl<'a> Dual<'a> {
    /// A relaxation at the given prices, `[(cluster · RESOURCES + resource) · slots + slot]`, or at zero.
    pub fn new(problem: &'a Problem, until: Vec<Option<i64>>, price: &[f64], work: &mut u64) -> Dual<'a> {
        let mut prices = Prices::zero(problem);
        for (mine, given) in prices.price.iter_mut().zip(price) {
            *mine = given.max(0.0);
        }
        prices.sum_up();
        let (size, jobs) = (prices.price.len(), problem.jobs.len());
        let mut dual = Dual {
            problem,
            until,
            prices,
            best: None,
            floors: vec![Vec::new(); jobs],
            chosen: vec![Chosen { cluster: u16::MAX, ..Chosen::default() }; jobs],
            seen: vec![(f64::NEG_INFINITY, 0); jobs * problem.clusters],
            fallen: vec![vec![0.0; problem.clusters * RESOURCES]],
            held: vec![[0; RESOURCES]; problem.room.len()],
            mean: vec![0.0; size],
            square: vec![0.0; size],
            past: (1.0, 1.0),
            alone: Alone::new(problem),
        };
        for job in 0..jobs {
            dual.find_floors(job, work);
        }
        dual.evaluate(work);
        dual
    }

    fn find_floors(&mut self, index: usize, work: &mut u64) {
        let job = &self.problem.jobs[index];
        let mut floors = Vec::new();
        if let Some(until) = self.until[index] {
            self.alone.look_at(job, until);
            for (cluster, site) in job.sites.iter().enumerate() {
                let Some(site) = site else { continue };
                if let Some((score, _)) = self.alone.best(None, job, cluster, site, work) {
                    floors.push((score, cluster as u16));
                }
            }
        }
        floors.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.floors[index] = floors;
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
    pub fn restart(&mut self, until: Vec<Option<i64>>, work: &mut u64) {
        *self = Dual::new(self.problem, until, &[], work);
    }

    /// The bound for other limits at the best prices found.
    pub fn rebound(&mut self, until: Vec<Option<i64>>, work: &mut u64) {
        for (job, until) in until.into_iter().enumerate() {
            if self.until[job] != until {
                self.until[job] = until;
                self.find_floors(job, work);
            }
        }
        if let Some((_, prices)) = self.best.take() {
            self.prices = prices;
            self.seen.fill((f64::NEG_INFINITY, 0));
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

    /// Asks every job and moves the prices by about `pace` grams.
    pub fn step(&mut self, pace: f64, work: &mut u64) {
        for job in 0..self.problem.jobs.len() {
            self.ask(job, work);
        }
        self.past = (self.past.0 * PAST.0, self.past.1 * PAST.1);
        let (slots, room) = (self.problem.slots, &self.problem.room);
        let mut fallen = self.fallen[self.fallen.len() - 1].clone();
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
                *mean = PAST.0 * *mean + (1.0 - PAST.0) * excess;
                *square = PAST.1 * *square + (1.0 - PAST.1) * (excess * excess);
                let root = (*square / (1.0 - self.past.1)).sqrt() + QUIET;
                let before = *price;
                *price = (*price + pace * (*mean / (1.0 - self.past.0)) / root).max(0.0);
                most = most.max(before - *price);
            }
            *fallen += most;
        }
        self.fallen.push(fallen);
        self.prices.sum_up();
    }

    /// One job's best choice at the present prices; `false` when it fits nowhere even alone.
    fn ask(&mut self, index: usize, work: &mut u64) -> bool {
        let Some(until) = self.until[index] else {
            self.hold(index, -1);
            self.chosen[index] = Chosen::default();
            return true;
        };
        let problem = self.problem;
        let job = &problem.jobs[index];
        self.alone.look_at(job, until);
        let first = self.chosen[index].cluster;
        let mut best: Option<(f64, u16, i64)> = None;
        for (floor, cluster) in
            std::iter::once((f64::NEG_INFINITY, first)).chain(self.floors[index].iter().copied())
        {
            if best.is_some_and(|best| floor > best.0) {
                break;
            }
            let site = job.sites.get(usize::from(cluster)).and_then(Option::as_ref);
            let Some(site) = site.filter(|_| cluster != first || floor == f64::NEG_INFINITY) else {
                continue;
            };
            if best.is_some_and(|best| self.at_least(index, usize::from(cluster)) > best.0) {
                continue;
            }
            let found = self.alone.best(Some(&self.prices), job, usize::from(cluster), site, work);
            let score = found.map_or(f64::INFINITY, |found| found.0);
            self.seen[index * problem.clusters + usize::from(cluster)] =
                (score, self.fallen.len() as u32 - 1);
            if let Some((score, start)) = found
                && best.is_none_or(|b| score < b.0 || (score == b.0 && cluster < b.1))
            {
                best = Some((score, cluster, start));
            }
        }
        let Some((score, cluster, start)) = best else { return false };
        self.hold(index, -1);
        let chosen = &mut self.chosen[index];
        chosen.score = score;
        chosen.cluster = cluster;
        chosen.slots.clear();
        if start == RELAXED {
            if let Some(site) = &job.sites[usize::from(cluster)] {
                let prices = Some(&self.prices);
                let search = Search::new(problem, &problem.room, prices, job, usize::from(cluster));
                search.relaxed(site, until, &mut self.alone.slots);
                chosen.slots.extend(self.alone.slots.iter().map(|(_, slot)| *slot as u16));
            }
        } else {
            chosen.slots.extend(problem.overlapped((start, start + job.length)).map(|slot| slot as u16));
        }
        self.hold(index, 1);
        true
    }

    /// A lower bound on a job's score in a cluster: what it was, less what prices fell since.
    fn at_least(&self, index: usize, cluster: usize) -> f64 {
        let job = &self.problem.jobs[index];
        let (score, step) = self.seen[index * self.problem.clusters + cluster];
        let (then, now) = (&self.fallen[step as usize], &self.fallen[self.fallen.len() - 1]);
        let row = cluster * RESOURCES;
        let mut fell = 0.0;
        for (resource, need) in job.demand.iter().enumerate() {
            fell += *need as f64
                * self.prices.scale[row + resource]
                * (now[row + resource] - then[row + resource]);
        }
        // A run off the boundaries overlaps one slot more.
        let span = (job.length + self.problem.slot - 1) / self.problem.slot + 1;
        score - fell * span as f64
    }

    /// Adds or takes away what a job's choice holds.
    fn hold(&mut self, index: usize, sign: i64) {
        let chosen = &self.chosen[index];
        let base = usize::from(chosen.cluster) * self.problem.slots;
        for slot in &chosen.slots {
            let held = &mut self.held[base + usize::from(*slot)];
            for (held, need) in held.iter_mut().zip(&self.problem.jobs[index].demand) {
                *held += sign * need;
            }
        }
    }
}
