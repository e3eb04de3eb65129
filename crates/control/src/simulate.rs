//! Months in seconds: the whole loop on a twin in virtual time, one run a policy.
//!
//! Honest by construction: the loop sees forecasts made from the past only, and is scored by what
//! really happened. The same scenario and seed give the same bytes.

mod course;

pub use course::{ClusterCourse, Course, Served};

use crate::event::Event;
use crate::twin_driver::{self, TwinDriver};
use course::Recorder;
use fleet::{
    ClusterId, FleetSpec, GridZone, Instant, Joules, Money, PolicyKind, Provenance, Resources, Series,
    SignalKind, Span,
};
use k8s_openapi::api::batch::v1::Job;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use twin::apiserver::{Options, Request, Verb};
use twin::random::Stream;
use twin::{Kind, World};

/// Namespace the Jobs of a trace are created in.
const NAMESPACE: &str = "default";
/// How long after the last day work still under way is given to finish.
const FINISH_WITHIN: Span = Span::from_seconds(21 * 86_400);
/// How far forecasts reach.
const FORECAST_HOURS: usize = 14 * 24;

/// Actual intensity of a grid zone, history before the start included.
#[derive(Clone, Debug)]
pub struct ZoneSeries {
    /// The values.
    pub series: Series,
    /// Where they came from.
    pub from: Provenance,
    /// The values repeat by rule (typical year), so the forecast is the series itself.
    pub periodic: bool,
}

/// Hourly prices of electricity in a grid zone, negative ones among them.
#[derive(Clone, Debug, PartialEq)]
pub struct ZonePrices {
    /// When the first hour begins.
    pub start: Instant,
    /// Price of a kWh, hour by hour.
    pub per_kwh: Vec<Money>,
    /// Where they came from.
    pub source: String,
}

impl ZonePrices {
    /// What energy costs that was drawn within the hour of an instant; hours beyond the ends have the price of the last
    /// one, or the first.
    pub fn cost(&self, energy: Joules, within: Instant) -> Money {
        let hour = (within - self.start).as_nanos().div_euclid(Span::HOUR.as_nanos());
        let last = self.per_kwh.len().saturating_sub(1);
        let hour = usize::try_from(hour).unwrap_or(0).min(last);
        let price = self.per_kwh.get(hour).map_or(0, |price| price.as_nanos());
        // A kWh is 3.6 × 10¹² µJ.
        let (product, kwh) = (energy.as_microjoules().saturating_mul(price), 3_600_000_000_000);
        Money::from_nanos((product + product.signum() * kwh / 2) / kwh)
    }
}

/// One Job of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceJob {
    /// After the start.
    pub arrival: Span,
    /// Run time.
    pub length: Span,
    /// Cores.
    pub cpus: f64,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The fleet.
    pub fleet: FleetSpec,
    /// Intensity of every zone of the fleet.
    pub carbon: BTreeMap<GridZone, ZoneSeries>,
    /// What every cluster runs beside the Jobs: the objects and recorded requests of a scenario file.
    pub services: Option<twin::scenario::Scenario>,
    /// Prices of electricity, of zones where they are known.
    pub prices: BTreeMap<GridZone, ZonePrices>,
    /// Jobs: when, where at home, what.
    pub jobs: Vec<(Instant, ClusterId, Job)>,
    /// First instant.
    pub from: Instant,
    /// No Job arrives after this.
    pub to: Instant,
    /// Seed of everything random.
    pub seed: u64,
}

/// One policy's result; the field names are those of `simulate -o json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Policy.
    pub policy: PolicyKind,
    /// Jobs that arrived.
    pub jobs: usize,
    /// Jobs that finished by their deadline.
    pub in_time: usize,
    /// Jobs that did not finish by the end of the run.
    pub unfinished: usize,
    /// Emissions of the Jobs' runs and transfers, kg CO2e, embodied ones included where they are counted.
    pub carbon_kg: f64,
    /// Of those, embodied in the nodes, kg CO2e; 0 where they are not counted.
    pub embodied_kg: f64,
    /// Energy of the Jobs' runs, kWh.
    pub energy_kwh: f64,
    /// Cost of the Jobs' runs and transfers.
    pub cost_usd: f64,
    /// Mean time from arrival to start, hours.
    pub mean_wait_h: f64,
    /// Core-hours run over core-hours there were, from the start to the last finish.
    pub busy_share: f64,
    /// Operational emissions of the idle nodes in that time, kg CO2e; the same work leaves them much the same.
    pub idle_carbon_kg: f64,
    /// Energy of all machines, PUE included, kWh: by their own curves, busy and idle.
    pub machines_kwh: f64,
    /// Emissions of that energy, kg CO2e.
    pub machines_carbon_kg: f64,
    /// Price of all machines.
    pub machines_usd: f64,
    /// What that energy would cost at the zones' hourly prices of electricity, where those of all zones are known. Prices
    /// of machines of a cloud have it in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub electricity_usd: Option<f64>,
    /// How the Services were, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
}

/// What came of one policy.
#[derive(Debug)]
pub struct Run {
    /// The result.
    pub row: Row,
    /// Ledger lines, in the order they came.
    pub ledger: Vec<ledger::Entry>,
    /// How it went over time.
    pub course: Course,
    /// Objects of Services that the API refused, with its words.
    pub refused: Vec<String>,
}

/// What a trace does not say, and what is taken instead. Printed with every result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assumptions {
    /// Memory for each core, GiB.
    pub memory_gib_per_core: f64,
    /// Cores of one pod at most; larger Jobs run as several pods side by side.
    pub pod_cores_max: f64,
    /// Jobs with more cores are cut to this.
    pub job_cores_max: f64,
    /// Share of Jobs that may be paused.
    pub interruptible_share: f64,
}

impl Default for Assumptions {
    fn default() -> Assumptions {
        Assumptions {
            memory_gib_per_core: 3.0,
            pod_cores_max: 1.95,
            job_cores_max: 32.0,
            interruptible_share: 0.0,
        }
    }
}

impl Assumptions {
    /// In words, one a line.
    pub fn describe(&self) -> Vec<String> {
        vec![
            format!("memory: {} GiB a core (the trace has none)", self.memory_gib_per_core),
            format!("pods of at most {} cores side by side; Jobs cut to {} cores", self.pod_cores_max, self.job_cores_max),
            "deadline: run time plus slack; slack 0-1 h for 15 %, 0.3-1.5 x run time for 30 %, 4-36 h for 55 %".to_owned(),
            "home cluster: drawn evenly; no input data to move; stated duration within -5..+8 % of the real one".to_owned(),
            format!("interruptible: {} % of the Jobs", self.interruptible_share * 100.0),
        ]
    }
}

/// Jobs of a trace as Kubernetes Jobs under the contract, drawn by `seed`.
pub fn trace_jobs(
    trace: &[TraceJob],
    assumptions: &Assumptions,
    fleet: &FleetSpec,
    from: Instant,
    to: Instant,
    seed: u64,
) -> Vec<(Instant, ClusterId, Job)> {
    let mut draw = Stream::new(seed, "trace");
    let mut jobs = Vec::new();
    for (i, line) in trace.iter().enumerate() {
        let (home, slack_kind, slack, error, pause) =
            (draw.below(fleet.clusters.len() as u64), draw.unit(), draw.unit(), draw.unit(), draw.unit());
        let at = from + line.arrival;
        if at >= to {
            break;
        }
        let length = line.length.max(Span::MINUTE);
        let stated = length.scaled((950.0 + 130.0 * error) as i64, 1000);
        // The window leaves room for the safe duration of what is stated, or no policy could keep it.
        let least = stated.scaled(11, 10) + Span::from_seconds(300);
        let slack = match slack_kind {
            k if k < 0.15 => Span::HOUR.scaled((slack * 1000.0) as i64, 1000),
            k if k < 0.45 => length.scaled((300.0 + 1200.0 * slack) as i64, 1000),
            _ => Span::HOUR.scaled((4000.0 + 32_000.0 * slack) as i64, 1000),
        };
        let cpus = line.cpus.clamp(0.1, assumptions.job_cores_max);
        let pods = (cpus / assumptions.pod_cores_max).ceil().max(1.0);
        let job = job_document(&Shape {
            name: format!("trace-{i:06}"),
            length,
            stated,
            within: least + slack,
            interruptible: pause < assumptions.interruptible_share,
            pods: pods as i32,
            cpu_milli: (cpus / pods * 1000.0).round() as i64,
            memory_mib: (cpus / pods * assumptions.memory_gib_per_core * 1024.0).round() as i64,
        });
        let Some(job) = job else { continue };
        jobs.push((at, fleet.clusters[home as usize].id.clone(), job));
    }
    jobs
}

struct Shape {
    name: String,
    length: Span,
    stated: Span,
    within: Span,
    interruptible: bool,
    pods: i32,
    cpu_milli: i64,
    memory_mib: i64,
}

fn job_document(shape: &Shape) -> Option<Job> {
    let seconds = |span: Span| format!("{}s", span.as_seconds().max(1));
    let mut annotations = BTreeMap::from([
        ("kubercarbon.io/expected-duration", seconds(shape.stated)),
        ("kubercarbon.io/finish-within", seconds(shape.within)),
    ]);
    if shape.interruptible {
        annotations.insert("kubercarbon.io/interruptible", "true".to_owned());
    }
    let requests =
        json!({"cpu": format!("{}m", shape.cpu_milli), "memory": format!("{}Mi", shape.memory_mib)});
    serde_json::from_value(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": shape.name,
            "namespace": NAMESPACE,
            "labels": {crate::PLACEMENT_LABEL: "managed"},
            "annotations": annotations,
        },
        "spec": {
            "suspend": true,
            "managedBy": crate::MANAGED_BY,
            "parallelism": shape.pods,
            "completions": shape.pods,
            "backoffLimit": 0,
            // Finished Jobs go, so that a month does not pile up.
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"annotations": {"twin.kubercarbon.io/run-for": seconds(shape.length)}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "work", "image": "trace", "resources": {"requests": requests}}],
                },
            },
        },
    }))
    .ok()
}

/// Runs the scenario under one policy. `progress` is told the virtual time now and then.
pub fn run(scenario: &Scenario, policy: PolicyKind, progress: &mut dyn FnMut(Instant)) -> Run {
    let mut fleet = scenario.fleet.clone();
    fleet.policy.kind = policy;
    fleet.demo = None;
    let mut world = World::new(&fleet, scenario.from, scenario.seed);
    for (at, home, job) in &scenario.jobs {
        world.schedule(*at, home, create(job));
    }
    let mut refused = Vec::new();
    for cluster in fleet.clusters.iter().map(|cluster| &cluster.id) {
        refused.extend(scenario.services.iter().flat_map(|services| services.put(&mut world, cluster)));
    }
    let settings = twin_driver::settings(&fleet);
    let mut driver = TwinDriver::new(world, settings);
    tell_intensity(&mut driver, scenario, scenario.from);
    driver.begin();
    let mut at = scenario.from;
    let mut recorder = Recorder::new(scenario);
    let last = scenario.to + FINISH_WITHIN;
    while at < last && (at < scenario.to || driver.ledger.len() < scenario.jobs.len()) {
        at = (at + Span::HOUR).floor_to(Span::HOUR);
        driver.run_until(at);
        recorder.sample(&driver);
        tell_intensity(&mut driver, scenario, at);
        progress(at);
    }
    let row = Row {
        served: recorder.served(&driver),
        machines_kwh: recorder.drawn.energy.as_kwh_f64(),
        machines_carbon_kg: recorder.drawn.carbon.as_kg_f64(),
        machines_usd: recorder.drawn.machines.as_units_f64(),
        electricity_usd: recorder.drawn.electricity.map(Money::as_units_f64),
        ..row(scenario, policy, &driver)
    };
    Run { row, ledger: driver.ledger, course: recorder.course, refused }
}

fn create(job: &Job) -> Request {
    Request {
        verb: Verb::Create,
        kind: Kind::Job,
        namespace: NAMESPACE.to_owned(),
        name: String::new(),
        subresource: None,
        body: serde_json::to_value(job).unwrap_or_default(),
        options: Options::default(),
    }
}

/// Tells the loop each zone's intensity: what was, and a forecast from the past alone.
fn tell_intensity(driver: &mut TwinDriver, scenario: &Scenario, now: Instant) {
    for (zone, known) in &scenario.carbon {
        let (forecast, source, kind) = if known.periodic {
            (known.series.clone(), known.from.source.clone(), known.from.kind)
        } else {
            let made = planner::forecast::forecast(&known.series, now, FORECAST_HOURS);
            (made, planner::forecast::source(&known.from.source), SignalKind::Forecast)
        };
        driver.tell(Event::Intensity {
            zone: zone.clone(),
            actual: known.series.clone(),
            actual_from: known.from.clone(),
            forecast,
            forecast_from: Provenance { source, kind, as_of: now },
        });
    }
}

fn row(scenario: &Scenario, policy: PolicyKind, driver: &TwinDriver) -> Row {
    let summary = ledger::summary::summarize(&driver.ledger);
    let total = &summary.total;
    let end = driver.ledger.iter().map(|e| e.finished).max().unwrap_or(scenario.to).max(scenario.to);
    let cores: f64 = scenario
        .fleet
        .clusters
        .iter()
        .flat_map(|c| &c.node_groups)
        .map(|g| (g.vcpu * i64::from(g.count)) as f64)
        .sum();
    let there = cores * (end - scenario.from).as_hours_f64();
    let demand: BTreeMap<&str, Resources> = scenario
        .jobs
        .iter()
        .filter_map(|(_, _, job)| Some((job.metadata.name.as_deref()?, demand(job))))
        .collect();
    let ran = |e: &ledger::Entry| {
        let hours: f64 = e.runs.iter().map(|r| (r.run.to - r.run.from).as_hours_f64()).sum();
        hours * demand.get(e.job.name.as_str()).map_or(0.0, |d| d.cpu.as_cores_f64())
    };
    let done = driver.ledger.len().max(1) as f64;
    let idle: f64 = driver
        .control
        .view(driver.world.now())
        .clusters
        .iter()
        .filter_map(|c| Some(c.totals.as_ref()?.idle.carbon.as_kg_f64()))
        .sum();
    Row {
        policy,
        jobs: scenario.jobs.len(),
        in_time: total.in_time as usize,
        unfinished: scenario.jobs.len().saturating_sub(driver.ledger.len()),
        carbon_kg: total.actual.carbon.as_kg_f64(),
        embodied_kg: total.actual.embodied.as_kg_f64(),
        energy_kwh: total.actual.energy.as_kwh_f64(),
        cost_usd: total.actual.cost.as_units_f64(),
        mean_wait_h: total.wait.as_hours_f64() / done,
        busy_share: driver.ledger.iter().map(ran).sum::<f64>() / there.max(1e-9),
        idle_carbon_kg: idle,
        machines_kwh: 0.0,
        machines_carbon_kg: 0.0,
        machines_usd: 0.0,
        electricity_usd: None,
        served: None,
    }
}

fn demand(job: &Job) -> Resources {
    let job = crate::job::Job::from(job.clone());
    job.spec.as_ref().map_or(Resources::ZERO, |spec| spec.pod).times(crate::jobs::parallelism(&job))
}
