//! The solver's form of an instance.
//!
//! Times are seconds since slot 0. Amounts and capacities are whole billionths of a core, GiB and GPU
//! (demands rounded up, capacities down, so that no plan promises more than there is); pods are not
//! counted. Intensity is whole mg/kWh, rounded; the published instances have two decimals of g/kWh and
//! so lose nothing. Costs are grams: a slot of a job costs `Site::grams` × mg/kWh, a resume
//! `Site::resume` × mg/kWh of its slot, and transfer is a fixed number of grams.

use super::{Cluster, Instance, Intensity, Job};
use crate::placement::problem::{Amounts, Job as Item, Problem, Site};

/// Parts a core, a GiB, a GPU is counted in.
const PARTS: f64 = 1e9;
/// Pods there is room for: more than there can be jobs, and little enough to be summed over all slots.
const PODS: i64 = 1 << 40;
/// Parts a unit of priority is counted in: six decimals, and sums that an `f64` still holds exactly.
const WEIGHT_PARTS: f64 = 1e6;

/// `value` in whole parts, rounded up or down; what a decimal figure is off by in binary is none of it.
fn parts(value: f64, up: bool) -> i64 {
    let exact = value * PARTS;
    let nearest = (exact + 0.5).floor();
    let noise = 1e-3 + exact * 1e-15;
    if nearest - exact <= noise && exact - nearest <= noise {
        nearest as i64
    } else if up {
        exact.ceil() as i64
    } else {
        exact.floor() as i64
    }
}

/// What a cluster has left in a slot.
pub(crate) fn room(cluster: &Cluster, slot: usize) -> Amounts {
    let [cores, memory, gpus] = [0, 1, 2].map(|r| parts(cluster.room_at(r, slot), false));
    [cores, memory, gpus, PODS]
}

/// Whole mg/kWh.
pub(crate) fn milligrams_of(grams: f64) -> i64 {
    (grams * 1000.0 + 0.5).floor() as i64
}

impl Instance {
    /// The problem of placing the jobs under an intensity. A job that cannot be in time may be left out;
    /// so may any other, at the price of its priority. Nothing ends after the last slot.
    pub fn problem(&self, intensity: Intensity) -> Problem {
        let mut rooms: Vec<Amounts> = Vec::with_capacity(self.clusters.len() * self.slots);
        let mut milligrams = Vec::with_capacity(rooms.capacity());
        for cluster in &self.clusters {
            rooms.extend((0..self.slots).map(|slot| room(cluster, slot)));
            milligrams.extend(cluster.intensity(intensity).iter().map(|grams| milligrams_of(*grams)));
        }
        let jobs = self.jobs.iter().map(|job| self.item(job)).collect();
        Problem::new(self.slots, i64::from(self.slot_seconds), rooms, milligrams, jobs)
    }

    /// A job in the solver's form.
    pub(crate) fn item(&self, job: &Job) -> Item {
        let time = |slots: usize| slots as i64 * i64::from(self.slot_seconds);
        let site = |(index, cluster)| job.allows(index).then(|| self.site(job, index, cluster));
        let [cores, memory, gpus] = job.need.map(|amount| parts(amount, true));
        Item {
            short: 0,
            weight: (job.priority * WEIGHT_PARTS + 0.5).floor() as i128,
            prompt: false,
            from: time(job.arrival),
            deadline: time(job.deadline.min(self.slots)),
            length: time(job.duration),
            demand: [cores, memory, gpus, 0],
            sites: self.clusters.iter().enumerate().map(site).collect(),
            data_at: Some(job.home),
            pausable: job.interruptible,
            running: false,
            continues: false,
            extra_starts: Vec::new(),
            optional: true,
            sticky: None,
            mode: 0,
            others: Vec::new(),
        }
    }

    fn site(&self, job: &Job, index: usize, cluster: &Cluster) -> Site {
        Site {
            grams: self.kwh_per_slot(job, cluster) / 1000.0,
            fixed: self.transfer_grams(job, index),
            money: self.money(job, index),
            moving: 0.0,
            resume: job.resume_kwh / 1000.0,
        }
    }
}
