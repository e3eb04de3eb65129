//! How a simulated fleet went, hour by hour: for plots, and for what the machines drew in all.
//!
//! What flows in an hour is the difference of two exact sums, so that the hours sum to the whole, to the last unit. Emissions
//! and electricity are an hour's energy times that hour's intensity and price: exact where those are hourly, as they are in all
//! files that are read.

use super::Scenario;
use crate::twin_driver::TwinDriver;
use fleet::{ClusterId, ClusterSpec, GramsCo2, GramsCo2PerKwh, Instant, Joules, Money, Span};
use serde::{Deserialize, Serialize};
use twin::{EnergyTotals, Kind, ServiceTraffic};

/// How the fleet went, hour by hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Course {
    /// Jobs that had come by the end of each hour.
    pub arrived: Vec<usize>,
    /// Those of them that had finished.
    pub finished: Vec<usize>,
    /// The clusters, by name.
    pub clusters: Vec<ClusterCourse>,
}

/// How one cluster went, hour by hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCourse {
    /// Its name.
    pub cluster: String,
    /// Nodes there are, at the end of each hour.
    pub nodes: Vec<usize>,
    /// Cores that running containers request: mean of each hour.
    pub busy_cores: Vec<f64>,
    /// Energy the machines drew in each hour, PUE included, kWh.
    pub kwh: Vec<f64>,
    /// Emissions of that energy, kg CO2e.
    pub carbon_kg: Vec<f64>,
    /// Price of the machines in each hour, in the fleet's currency.
    pub cost: Vec<f64>,
    /// Carbon intensity as it really was: mean of each hour, g CO2e/kWh.
    pub intensity: Vec<f64>,
    /// What the energy costs at the hour's price of electricity; empty where none is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub electricity: Vec<f64>,
    /// Requests a second to all Services: mean of each hour; empty where there are none, as what follows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests_per_second: Vec<f64>,
    /// Those without an answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors_per_second: Vec<f64>,
    /// Milliseconds within which 50, 95 and 99 % of answers are there, of the slowest Service, at the end of each hour.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latency_milliseconds: Vec<[Option<f64>; 3]>,
}

/// How all Services of the fleet were over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// All requests.
    pub requests: i64,
    /// Those without an answer.
    pub failed: i64,
    /// Milliseconds within which half of the answers were there, of the slowest Service of any cluster.
    pub p50_milliseconds: Option<f64>,
    /// The same of 95 %.
    pub p95_milliseconds: Option<f64>,
    /// The same of 99 %.
    pub p99_milliseconds: Option<f64>,
}

/// What all machines came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drawn {
    pub(super) energy: Joules,
    pub(super) carbon: GramsCo2,
    pub(super) machines: Money,
    /// `None`: the price of some zone is not known.
    pub(super) electricity: Option<Money>,
}

/// Sums up to the last look at a cluster.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    totals: EnergyTotals,
    requests: i64,
    failed: i64,
}

/// A course as it is recorded.
pub(super) struct Recorder<'a> {
    scenario: &'a Scenario,
    clusters: Vec<&'a ClusterSpec>,
    pub(super) course: Course,
    pub(super) drawn: Drawn,
    before: Vec<Before>,
    at: Instant,
}

fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

/// The largest of each quantile, in milliseconds.
fn slowest<'a>(all: impl Iterator<Item = &'a [Option<f64>; 3]>) -> [Option<f64>; 3] {
    let mut worst = [None; 3];
    for own in all {
        for (worst, own) in worst.iter_mut().zip(own) {
            let own: Option<f64> = own.map(milliseconds);
            *worst = match (*worst, own) {
                (Some(one), Some(other)) => Some(f64::max(one, other)),
                (one, other) => one.or(other),
            };
        }
    }
    worst
}

impl<'a> Recorder<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Recorder<'a> {
        let mut clusters: Vec<&ClusterSpec> = scenario.fleet.clusters.iter().collect();
        clusters.sort_by(|one, other| one.id.cmp(&other.id));
        let own =
            |spec: &&ClusterSpec| ClusterCourse { cluster: spec.id.to_string(), ..ClusterCourse::default() };
        let course = Course { clusters: clusters.iter().map(own).collect(), ..Course::default() };
        let priced = clusters.iter().all(|spec| scenario.prices.contains_key(&spec.grid_zone));
        let drawn = Drawn { electricity: priced.then_some(Money::ZERO), ..Drawn::default() };
        let before = vec![Before::default(); clusters.len()];
        Recorder { scenario, clusters, course, drawn, before, at: scenario.from }
    }
    /// Ends the hour under way, at the world's present instant.
    pub(super) fn sample(&mut self, driver: &TwinDriver) {
        let now = driver.world.now();
        let arrived = self.scenario.jobs.iter().filter(|(at, _, _)| *at <= now).count();
        self.course.arrived.push(arrived);
        self.course.finished.push(driver.ledger.len());
        for at in 0..self.clusters.len() {
            self.sample_machines(at, driver, now);
            if self.scenario.services.is_some() {
                self.sample_services(at, driver, now);
            }
        }
        self.at = now;
    }
    fn sample_machines(&mut self, at: usize, driver: &TwinDriver, now: Instant) {
        let (spec, own, before) = (self.clusters[at], &mut self.course.clusters[at], &mut self.before[at]);
        let hours = (now - self.at).as_hours_f64().max(1e-9);
        let totals = driver.world.energy(&spec.id).unwrap_or_default();
        let energy = totals.energy() - before.totals.energy();
        let known = self.scenario.carbon.get(&spec.grid_zone);
        let intensity = known.map_or(GramsCo2PerKwh::ZERO, |known| known.series.mean(self.at, now));
        let (carbon, cost) = (energy * intensity, totals.cost - before.totals.cost);
        let busy = (totals.busy_cpu_time - before.totals.busy_cpu_time) as f64 / 1e9;
        own.nodes.push(driver.world.objects(&spec.id).map_or(0, |all| all.list(Kind::Node, None).count()));
        own.busy_cores.push(busy / (hours * Span::HOUR.as_nanos() as f64));
        own.kwh.push(energy.as_kwh_f64());
        own.carbon_kg.push(carbon.as_kg_f64());
        own.cost.push(cost.as_units_f64());
        own.intensity.push(intensity.as_grams_f64());
        if let Some(prices) = self.scenario.prices.get(&spec.grid_zone) {
            let electricity = prices.cost(energy, self.at);
            own.electricity.push(electricity.as_units_f64());
            self.drawn.electricity = self.drawn.electricity.map(|sum| sum + electricity);
        }
        self.drawn.energy += energy;
        self.drawn.carbon += carbon;
        self.drawn.machines += cost;
        before.totals = totals;
    }
    fn sample_services(&mut self, at: usize, driver: &TwinDriver, now: Instant) {
        let (spec, own, before) = (self.clusters[at], &mut self.course.clusters[at], &mut self.before[at]);
        let seconds = (now - self.at).as_hours_f64().max(1e-9) * 3600.0;
        let all = driver.world.traffic(&spec.id);
        let requests: i64 = all.iter().map(|service| service.counts.requests).sum();
        let failed: i64 = all.iter().map(|service| service.counts.failed()).sum();
        own.requests_per_second.push((requests - before.requests) as f64 / seconds);
        own.errors_per_second.push((failed - before.failed) as f64 / seconds);
        let pace = |service: &ServiceTraffic| {
            let pace = &service.pace;
            [pace.p50_seconds, pace.p95_seconds, pace.p99_seconds]
        };
        let paces: Vec<[Option<f64>; 3]> = all.iter().map(pace).collect();
        own.latency_milliseconds.push(slowest(paces.iter()));
        (before.requests, before.failed) = (requests, failed);
    }
    /// How the Services were until now.
    pub(super) fn served(&self, driver: &TwinDriver) -> Option<Served> {
        self.scenario.services.as_ref()?;
        let ids: Vec<&ClusterId> = self.clusters.iter().map(|spec| &spec.id).collect();
        let all: Vec<ServiceTraffic> = ids.into_iter().flat_map(|id| driver.world.traffic(id)).collect();
        let [p50, p95, p99] = slowest(all.iter().map(|service| &service.answered_within_seconds));
        Some(Served {
            requests: all.iter().map(|service| service.counts.requests).sum(),
            failed: all.iter().map(|service| service.counts.failed()).sum(),
            p50_milliseconds: p50,
            p95_milliseconds: p95,
            p99_milliseconds: p99,
        })
    }
}
