//! Further workloads for the scenarios of the online test, which come with one each.
//!
//! Drawn by the definition in the benchmark's README: arrivals for all but the last three days, about 6 an hour, by a
//! daily cycle (Poisson; the mean hour swings by 55 %, most at half past two in the afternoon); durations log-normal,
//! median 4 h, σ 0.8, 1 to 24 h; 2 to 32 cores; slack 0 to 1 h for 15 %, 0.3 to 1.5 times the duration for 30 %, 4 to
//! 36 h for 55 %; data log-normal, median 3.9 GB, σ 1.2, 300 GB at most, at any cluster alike; capacity such that the
//! load is 50 %. What the definition leaves open is drawn as the six files look: sizes of clusters 3:4:5:6, each with
//! the daily shape it has in the file, 6 GiB a core; facility factors 1.1 to 1.4, 4 to 6.7 W a core, 0.026 to 0.045
//! an hour and core; 2, 4 or 8 GiB a core asked for. Carbon, what came before, forecasts and what moving a GB costs
//! stay the scenario's. The same seed gives the same jobs whether they may pause or not.

use planner::instance::{Cluster, Job};
use planner::rolling::Scenario;

/// Slots in which nothing arrives any more.
const TO_FINISH: usize = 72;
const ARRIVALS_AN_HOUR: f64 = 6.1;
const SWING: f64 = 0.55;
const BUSIEST_HOUR: f64 = 14.5;
const LOAD: f64 = 0.5;
/// Cores asked for, memory of each, and sizes of clusters; each entry as likely as any other.
const CORES: [f64; 8] = [2.0, 4.0, 4.0, 8.0, 8.0, 16.0, 16.0, 32.0];
const GIB_A_CORE: [f64; 4] = [2.0, 4.0, 4.0, 8.0];
const SIZES: [f64; 4] = [0.75, 1.0, 1.25, 1.5];

/// Splitmix64 (G. Steele, D. Lea, C. Flood 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// In [0, 1).
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.share()
    }
    fn below(&mut self, below: usize) -> usize {
        (self.share() * below as f64) as usize
    }
    fn one_of(&mut self, of: &[f64]) -> f64 {
        of[self.below(of.len())]
    }
    /// Standard normal (G. Box, M. Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
    fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }
    /// Poisson, by D. Knuth's product of shares.
    fn poisson(&mut self, mean: f64) -> usize {
        let (least, mut product, mut count) = ((-mean).exp(), self.share(), 0);
        while product > least {
            product *= self.share();
            count += 1;
        }
        count
    }
}

fn rounded(value: f64, decimals: i32) -> f64 {
    let parts = 10f64.powi(decimals);
    (value * parts).round() / parts
}

/// The scenario with another workload.
pub fn drawn(file: &Scenario, seed: u64) -> Scenario {
    let mut scenario = file.clone();
    let instance = &mut scenario.instance;
    let mut draws = Draws(seed.wrapping_mul(0xA076_1D64_78BD_642F) ^ 0x0E70_37ED_1A0B_428D);
    let pausing = instance.jobs.first().is_some_and(|job| job.interruptible);
    let end = instance.slots.saturating_sub(TO_FINISH);
    instance.jobs.clear();
    for arrival in 0..end {
        let angle = std::f64::consts::TAU * ((arrival % 24) as f64 - BUSIEST_HOUR) / 24.0;
        for _ in 0..draws.poisson(ARRIVALS_AN_HOUR * (1.0 + SWING * angle.cos())) {
            let id = format!("j{:05}", instance.jobs.len());
            let job = job(&mut draws, id, arrival, instance.clusters.len(), pausing);
            instance.jobs.push(job);
        }
    }
    let asked: f64 = instance.jobs.iter().map(|job| job.need[0] * job.duration as f64).sum();
    let sizes: Vec<f64> = instance.clusters.iter().map(|_| draws.one_of(&SIZES)).collect();
    let unit = asked / LOAD / end as f64 / sizes.iter().sum::<f64>();
    for (cluster, size) in instance.clusters.iter_mut().zip(sizes) {
        resize(cluster, unit * size, &mut draws);
    }
    scenario
}

fn job(draws: &mut Draws, id: String, arrival: usize, clusters: usize, interruptible: bool) -> Job {
    let hours = draws.log_normal(4.0, 0.8).round().clamp(1.0, 24.0);
    let slack = match draws.share() {
        share if share < 0.15 => draws.share(),
        share if share < 0.45 => draws.between(0.3, 1.5) * hours,
        _ => draws.between(4.0, 36.0),
    };
    let cores = draws.one_of(&CORES);
    let duration = hours as usize;
    Job {
        id,
        arrival,
        duration,
        deadline: arrival + duration + slack.round() as usize,
        need: [cores, cores * draws.one_of(&GIB_A_CORE), 0.0],
        priority: 1.0,
        interruptible,
        resume_kwh: rounded(0.1 * cores * 6.0 * 1.2 / 1000.0, 4),
        clusters: None,
        home: draws.below(clusters),
        data_gb: rounded(draws.log_normal(3.9, 1.2).min(300.0), 1),
    }
}

/// Another size, power and price; the shape of the day stays.
fn resize(cluster: &mut Cluster, cores: f64, draws: &mut Draws) {
    let [held, memory, _] = &mut cluster.room;
    let mean = held.iter().sum::<f64>() / held.len() as f64;
    held.iter_mut().for_each(|have| *have = (*have / mean * cores).round());
    *memory = held.iter().map(|cores| cores * 6.0).collect();
    cluster.pue = rounded(draws.between(1.1, 1.4), 2);
    cluster.watt_core = rounded(draws.between(4.0, 6.7), 2);
    cluster.price_core_hour = rounded(draws.between(0.026, 0.045), 4);
}
