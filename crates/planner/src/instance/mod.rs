//! Placement problems as files (format `placement-1`): reading, the solver's form, solutions, scores.
//!
//! An instance says what hours there are, what clusters have left for batch jobs in each, how clean
//! their grid is, and which jobs want to run. Times are whole slots from 0, slot `t` being `[t, t + 1)`;
//! cores, GiB and GPUs may be fractions; intensity is gCO2e/kWh; carbon is grams; money has no currency.
//!
//! Reading is strict and bounded: [`Instance::parse`] takes bytes already in memory, at most
//! [`limits::BYTES_MAX`] of them, and refuses what cannot be with its place, what stood there and what
//! was expected. [`evaluate`] scores a solution by the format's own rules and shares nothing with the
//! solver. Left out: opening and decompressing files, clocks.

mod baseline;
mod document;
mod evaluate;
mod fields;
pub mod limits;
mod parse;
pub(crate) mod problem;
#[cfg(test)]
mod refusals;
mod solution;

pub use baseline::{greedy_fifo_min_carbon, qos_only};
pub use evaluate::{Evaluation, Violation, evaluate};
pub use fields::{Errors, Fault};
pub use parse::Error;
pub use solution::{Segment, Solution, SolutionError};

/// Which intensity a figure or a plan is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intensity {
    /// As forecast at slot 0: all that an honest planner knows.
    Forecast,
    /// As it will really be: what plans are scored by, and what a clairvoyant plans with.
    Actual,
}

impl Intensity {
    /// Its name in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Intensity::Forecast => "forecast",
            Intensity::Actual => "actual",
        }
    }
}

/// What jobs hold and clusters have: cores, GiB of memory, GPUs.
pub type Amounts = [f64; 3];

/// The keys of [`Amounts`] in the format.
pub const AMOUNTS: [&str; 3] = ["cpu", "mem_gib", "gpu"];

/// A cluster of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name, unlike any other's.
    pub name: String,
    /// What is left for these jobs: of each resource one figure, or one a slot.
    pub room: [Vec<f64>; 3],
    /// gCO2e/kWh in each slot, as it really is.
    pub carbon: Vec<f64>,
    /// gCO2e/kWh in each slot, as forecast at slot 0.
    pub carbon_forecast: Vec<f64>,
    /// Power of the facility per power of its machines, at least 1.
    pub pue: f64,
    /// Watts of a busy core beyond idle.
    pub watt_core: f64,
    /// Watts of a busy GPU beyond idle.
    pub watt_gpu: f64,
    /// Money per core and hour.
    pub price_core_hour: f64,
    /// Money per GPU and hour.
    pub price_gpu_hour: f64,
}

impl Cluster {
    /// gCO2e/kWh in each slot.
    pub fn intensity(&self, intensity: Intensity) -> &[f64] {
        match intensity {
            Intensity::Forecast => &self.carbon_forecast,
            Intensity::Actual => &self.carbon,
        }
    }
    /// What is left of a resource (index into [`AMOUNTS`]) in a slot.
    pub fn room_at(&self, resource: usize, slot: usize) -> f64 {
        match self.room[resource].as_slice() {
            [one] => *one,
            each => each[slot],
        }
    }
}

/// A job of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id, unlike any other's.
    pub id: String,
    /// May not start before this slot.
    pub arrival: usize,
    /// Runs so many slots, at least one.
    pub duration: usize,
    /// Is in time when its last slot ends by here; may lie beyond the last slot, and may leave too
    /// little time: such a job can only be missed.
    pub deadline: usize,
    /// What it holds in every slot it runs.
    pub need: Amounts,
    /// What being in time is worth.
    pub priority: f64,
    /// May pause and resume, on the same cluster.
    pub interruptible: bool,
    /// kWh for each resume.
    pub resume_kwh: f64,
    /// Clusters it may run on; `None`: all.
    pub clusters: Option<Vec<usize>>,
    /// The cluster its data is at.
    pub home: usize,
    /// GB moved once when it runs elsewhere.
    pub data_gb: f64,
}

impl Job {
    /// Whether it may run on a cluster.
    pub fn allows(&self, cluster: usize) -> bool {
        self.clusters.as_ref().is_none_or(|allowed| allowed.contains(&cluster))
    }
}

/// A placement problem from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its name; empty where it has none.
    pub name: String,
    /// Number of slots.
    pub slots: usize,
    /// Length of a slot in seconds.
    pub slot_seconds: u32,
    /// The clusters; jobs name them by their index.
    pub clusters: Vec<Cluster>,
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Grams per GB moved, `[from · clusters + to]`.
    pub transfer_g_per_gb: Vec<f64>,
    /// Money per GB moved.
    pub transfer_price_per_gb: f64,
    /// Keys the format does not know, each with the first place it stands at: they were not read.
    pub ignored: Vec<String>,
}

impl Instance {
    /// Length of a slot in hours.
    pub fn slot_hours(&self) -> f64 {
        f64::from(self.slot_seconds) / 3600.0
    }
    /// kWh at the meter for a slot of a job on a cluster.
    pub fn kwh_per_slot(&self, job: &Job, cluster: &Cluster) -> f64 {
        let [cores, _, gpus] = job.need;
        (cores * cluster.watt_core + gpus * cluster.watt_gpu) * cluster.pue / 1000.0 * self.slot_hours()
    }
    /// Grams for bringing a job's data to a cluster.
    pub fn transfer_grams(&self, job: &Job, cluster: usize) -> f64 {
        job.data_gb * self.transfer_g_per_gb[job.home * self.clusters.len() + cluster]
    }
    /// Money for a job on a cluster: run, and transfer where it is not at home.
    pub fn money(&self, job: &Job, cluster: usize) -> f64 {
        let place = &self.clusters[cluster];
        let [cores, _, gpus] = job.need;
        let an_hour = cores * place.price_core_hour + gpus * place.price_gpu_hour;
        let run = job.duration as f64 * self.slot_hours() * an_hour;
        if cluster == job.home { run } else { run + job.data_gb * self.transfer_price_per_gb }
    }
}
