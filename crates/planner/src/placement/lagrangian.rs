//! Prices on capacity: a Lagrangian relaxation solved by subgradient steps.
//!
//! With a price ≥ 0 on each (cluster, slot, resource), every job chooses alone; the sum of what they
//! pay less what the capacity is worth is a lower bound on the cost of any plan that keeps to capacity,
//! whatever the prices. Prices rise where the choices overfill and fall where they do not (step of
//! B. T. Polyak, halved while it does not help). Amounts are shares of the cluster's room, so that the
//! prices of different resources compare.

use super::interruptible::Search;
use super::problem::{Amounts, Problem, RESOURCES};
use super::scan::Scan;

/// Steps without a better bound before the step is halved.
const PATIENCE: usize = 4;
/// Steps taken however small the limit: the bound at the prices given, and at better ones.
const ROUNDS_MIN: usize = 2;
/// A bound this close to the plan cannot be told from it.
const CLOSE: f64 = 1e-6;

/// Prices of capacity, in grams per share of a cluster's room and slot.
#[derive(Clone, Debug)]
pub struct Prices {
    slots: usize,
    /// `[(cluster · RESOURCES + resource) · (slots + 1) + slot]`: sums of prices before the slot.
    prefix: Vec<f64>,
    /// Whether any price of this cluster and resource is above zero.
    active: Vec<bool>,
    /// One over the cluster's largest room.
    scale: Vec<f64>,
}

impl Prices {
    /// What `demand` pays for slots `[lo, hi)`.
    pub fn of(&self, cluster: usize, demand: &Amounts, lo: usize, hi: usize) -> f64 {
        let mut sum = 0.0;
        for (resource, need) in demand.iter().enumerate() {
            let i = cluster * RESOURCES + resource;
            if self.active[i] {
                let base = i * (self.slots + 1);
                sum += *need as f64 * self.scale[i] * (self.prefix[base + hi] - self.prefix[base + lo]);
            }
        }
        sum
    }

    /// For each resource with a price that `demand` asks for: its share of the room, and the sums of
    /// prices before each slot.
    pub fn rows(&self, cluster: usize, demand: &Amounts) -> Vec<(f64, &[f64])> {
        let mut rows = Vec::new();
        for (resource, need) in demand.iter().enumerate() {
            let i = cluster * RESOURCES + resource;
            if self.active[i] && *need > 0 {
                let base = i * (self.slots + 1);
                rows.push((*need as f64 * self.scale[i], &self.prefix[base..=base + self.slots]));
            }
        }
        rows
    }
}

/// The relaxation of a problem, and the best bound found so far.
pub struct Relaxation<'a> {
    problem: &'a Problem,
    /// Each job has to end by then; `None`: it is left out.
    until: Vec<Option<i64>>,
    price: Vec<f64>,
    prices: Prices,
    best: Option<(f64, Prices)>,
    step: f64,
    stale: usize,
}

/// What the jobs chose at some prices.
struct Choice {
    bound: f64,
    /// Use less room, in shares, `[(cluster · RESOURCES + resource) · slots + slot]`.
    excess: Vec<f64>,
}

impl<'a> Relaxation<'a> {
    /// A relaxation with all prices at zero.
    pub fn new(problem: &'a Problem, until: Vec<Option<i64>>) -> Relaxation<'a> {
        let (slots, rows) = (problem.slots, problem.clusters * RESOURCES);
        let largest = |i: usize| {
            let (cluster, resource) = (i / RESOURCES, i % RESOURCES);
            let room = &problem.room[cluster * slots..(cluster + 1) * slots];
            room.iter().map(|amounts| amounts[resource]).max().unwrap_or(0).max(1)
        };
        let prices = Prices {
            slots,
            prefix: vec![0.0; rows * (slots + 1)],
            active: vec![false; rows],
            scale: (0..rows).map(|i| 1.0 / largest(i) as f64).collect(),
        };
        Relaxation { problem, until, price: vec![0.0; rows * slots], prices, best: None, step: 1.0, stale: 0 }
    }

    /// Begins from known prices, `[(cluster · RESOURCES + resource) · slots + slot]`.
    pub fn begin_with(&mut self, price: &[f64]) {
        for (mine, given) in self.price.iter_mut().zip(price) {
            *mine = given.max(0.0);
        }
        self.sum_up();
    }

    /// The single prices of the best bound, in the same order.
    pub fn best_prices(&self) -> Vec<f64> {
        self.best.as_ref().map_or_else(Vec::new, |best| unsummed(&best.1))
    }

    /// The prices of the best bound.
    pub fn prices(&self) -> Option<&Prices> {
        self.best.as_ref().map(|best| &best.1)
    }
    /// The best bound, in grams.
    pub fn bound(&self) -> Option<f64> {
        self.best.as_ref().map(|best| best.0)
    }

    /// The bound for other limits at the best prices found.
    pub fn rebound(&mut self, until: Vec<Option<i64>>, work: &mut u64) {
        self.until = until;
        if let Some((_, prices)) = self.best.take() {
            self.price = unsummed(&prices);
            self.prices = prices;
        }
        if let Some(choice) = self.choose(work) {
            self.best = Some((choice.bound, self.prices.clone()));
        }
    }

    /// At most `rounds` steps towards a plan that costs `target`, while `work` stays below `limit` (but two).
    pub fn improve(&mut self, rounds: usize, target: f64, limit: u64, work: &mut u64) {
        for round in 0..rounds {
            if *work >= limit && round >= ROUNDS_MIN {
                return;
            }
            let Some(choice) = self.choose(work) else { return };
            if self.best.as_ref().is_none_or(|best| choice.bound > best.0) {
                self.best = Some((choice.bound, self.prices.clone()));
                self.stale = 0;
            } else {
                self.stale += 1;
                if self.stale >= PATIENCE {
                    self.step *= 0.5;
                    self.stale = 0;
                }
            }
            if target - choice.bound <= CLOSE * target || !self.reprice(&choice, target) {
                return;
            }
        }
    }

    /// Every job's own best choice at the present prices.
    fn choose(&self, work: &mut u64) -> Option<Choice> {
        let problem = self.problem;
        let mut bound = 0.0;
        let mut excess = vec![0.0; self.price.len()];
        for (i, price) in self.price.iter().enumerate() {
            let (row, slot) = (i / problem.slots, i % problem.slots);
            let room = problem.room[(row / RESOURCES) * problem.slots + slot][row % RESOURCES].max(0);
            let share = room as f64 * self.prices.scale[row];
            excess[i] = -share;
            bound -= price * share;
        }
        for (job, until) in problem.jobs.iter().zip(&self.until) {
            let Some(until) = *until else { continue };
            let mut hold = |cluster: usize, slots: &mut dyn Iterator<Item = usize>| {
                for slot in slots {
                    for (resource, need) in job.demand.iter().enumerate() {
                        let row = cluster * RESOURCES + resource;
                        excess[row * problem.slots + slot] += *need as f64 * self.prices.scale[row];
                    }
                }
            };
            let scan = Scan { problem, room: &problem.room, prices: Some(&self.prices), job };
            let pick = scan.cheapest(until, work);
            let mut relaxed: Option<(f64, usize, Vec<usize>)> = None;
            for cluster in (0..problem.clusters).filter(|_| job.pausable) {
                let search = Search {
                    problem,
                    room: &problem.room,
                    prices: Some(&self.prices),
                    job,
                    cluster,
                    pause_now: false,
                };
                if let Some((score, slots)) = search.relaxed(until, work)
                    && relaxed.as_ref().is_none_or(|best| score < best.0)
                {
                    relaxed = Some((score, cluster, slots));
                }
            }
            match (pick, relaxed) {
                (pick, Some((score, cluster, slots))) if pick.is_none_or(|p| score < p.score) => {
                    bound += score;
                    hold(cluster, &mut slots.into_iter());
                }
                (Some(pick), _) => {
                    bound += pick.score;
                    hold(pick.cluster, &mut problem.overlapped((pick.start, pick.start + job.length)));
                }
                // A job that fits nowhere even alone: the limits are not those of a plan.
                (None, _) => return None,
            }
        }
        Some(Choice { bound, excess })
    }

    /// Moves the prices; `false` when every job can have its choice (nothing is overfilled or priced).
    fn reprice(&mut self, choice: &Choice, target: f64) -> bool {
        let moves = |(price, excess): (&f64, &f64)| *price > 0.0 || *excess > 0.0;
        let norm: f64 = self.price.iter().zip(&choice.excess).filter(|p| moves(*p)).map(|(_, e)| e * e).sum();
        let overfilled = choice.excess.iter().any(|excess| *excess > CLOSE);
        if norm <= 0.0 || (!overfilled && self.price.iter().all(|price| *price <= 0.0)) {
            return false;
        }
        let gap = (target - choice.bound).max(target * 0.001);
        let factor = self.step * gap / norm;
        for (price, excess) in self.price.iter_mut().zip(&choice.excess) {
            *price = (*price + factor * excess).max(0.0);
        }
        self.sum_up();
        true
    }

    fn sum_up(&mut self) {
        let slots = self.problem.slots;
        for row in 0..self.prices.active.len() {
            let mut sum = 0.0;
            let mut active = false;
            for slot in 0..slots {
                let price = self.price[row * slots + slot];
                active |= price > 0.0;
                sum += price;
                self.prices.prefix[row * (slots + 1) + slot + 1] = sum;
            }
            self.prices.active[row] = active;
        }
    }
}

/// The single prices behind their sums. Differences of sums may be off by rounding, and a price must
/// not be negative, so they are clamped; any prices ≥ 0 give a valid bound.
fn unsummed(prices: &Prices) -> Vec<f64> {
    let slots = prices.slots;
    let mut price = Vec::with_capacity(prices.active.len() * slots);
    for row in prices.prefix.chunks(slots + 1) {
        price.extend(row.windows(2).map(|pair| (pair[1] - pair[0]).max(0.0)));
    }
    price
}
