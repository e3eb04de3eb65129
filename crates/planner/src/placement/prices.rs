//! Prices of capacity, in grams per share of a cluster's room and slot, with their sums.

use super::problem::{Amounts, Problem, RESOURCES};

/// Prices, and their sums before each slot.
#[derive(Clone, Debug)]
pub struct Prices {
    slots: usize,
    /// `[(cluster · RESOURCES + resource) · slots + slot]`; not negative.
    pub price: Vec<f64>,
    /// `[(cluster · RESOURCES + resource) · (slots + 1) + slot]`: sums of prices before the slot.
    prefix: Vec<f64>,
    /// Whether any price of this cluster and resource is above zero.
    active: Vec<bool>,
    /// One over the cluster's largest room.
    pub scale: Vec<f64>,
}

impl Prices {
    /// All at zero.
    pub fn zero(problem: &Problem) -> Prices {
        let (slots, rows) = (problem.slots, problem.clusters * RESOURCES);
        let largest = |i: usize| {
            let (cluster, resource) = (i / RESOURCES, i % RESOURCES);
            let room = &problem.room[cluster * slots..(cluster + 1) * slots];
            room.iter().map(|amounts| amounts[resource]).max().unwrap_or(0).max(1)
        };
        Prices {
            slots,
            price: vec![0.0; rows * slots],
            prefix: vec![0.0; rows * (slots + 1)],
            active: vec![false; rows],
            scale: (0..rows).map(|i| 1.0 / largest(i) as f64).collect(),
        }
    }

    /// As given, `[(cluster · RESOURCES + resource) · slots + slot]`; zero where nothing is.
    pub fn given(problem: &Problem, price: &[f64]) -> Prices {
        let mut prices = Prices::zero(problem);
        for (mine, given) in prices.price.iter_mut().zip(price) {
            *mine = given.max(0.0);
        }
        prices.sum_up();
        prices
    }

    /// What `demand` pays for slots `[lo, hi)`.
    pub fn of(&self, cluster: usize, demand: &Amounts, lo: usize, hi: usize) -> f64 {
        let rows = self.rows(cluster, demand);
        rows.map(|(share, sums, _)| share * (sums[hi] - sums[lo])).sum()
    }

    /// For each resource with a price that `demand` asks for: its share of the room, the sums of prices
    /// before each slot, and the prices.
    pub fn rows<'p>(
        &'p self,
        cluster: usize,
        demand: &'p Amounts,
    ) -> impl Iterator<Item = (f64, &'p [f64], &'p [f64])> + 'p {
        let slots = self.slots;
        demand.iter().enumerate().filter_map(move |(resource, need)| {
            let i = cluster * RESOURCES + resource;
            (self.active[i] && *need > 0).then(|| {
                let sums = &self.prefix[i * (slots + 1)..][..=slots];
                (*need as f64 * self.scale[i], sums, &self.price[i * slots..][..slots])
            })
        })
    }

    /// Brings the sums up to the prices.
    pub fn sum_up(&mut self) {
        let slots = self.slots;
        for row in 0..self.active.len() {
            let mut sum = 0.0;
            let mut active = false;
            for slot in 0..slots {
                let price = self.price[row * slots + slot];
                active |= price > 0.0;
                sum += price;
                self.prefix[row * (slots + 1) + slot + 1] = sum;
            }
            self.active[row] = active;
        }
    }
}
