//! A product without clusters: two clusters, forty Jobs that run on a fixed schedule, and a ledger made by
//! the real arithmetic, as a function of one instant. What is asked of it is written down.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]
#![allow(dead_code)] // each test binary uses its own part of it

use control::{
    ClusterFacts, ClusterView, Decision, Draw, JobPhase, JobView, Order, RunView, Top, TopOf, TopRow,
    TotalsView, View, WaitingPod, WhatIfError,
};
use fleet::{
    Action, Bytes, ClusterId, Cpu, DataSource, GramsCo2, GramsCo2PerKwh, GridZone, Instant, JobKey, Mode,
    Money, MoneyPerHour, ObjectName, PlacementContract, Plan, PolicyKind, Provenance, Rates, RegionId,
    Resources, Scaling, Series, Span, Step, Watts, builtin, plan,
};
use futures::future::BoxFuture;
use ledger::accounts::{Accounts, By, Fold, Part, Question};
use ledger::meter::Rate;
use ledger::{Account, Entry, Footprint, Place, Run};
use planner::placement::{Alternative, Assignment, Change, Exclusion, Explanation, Interval, Saving};
use serde_json::{Value, json};
use server::backend::{Backend, Clock, ClockOrder, OrderError, PlaceError, Speed};
use server::fit::{Advice, Capacity, Rejected, RunsOut, WhyPod};
use server::room::{self, Asked};
use server::signals::errors::ForecastError;
use server::signals::{Basis, SourceState, Sources};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::watch;

mod hours;

use hours::hours;

pub const START: &str = "2026-11-21T22:20:00Z";

/// What the fake shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Two clusters, forty Jobs.
    Busy,
    /// Nothing at all.
    Empty,
    /// Words that try to break out of pages and tables.
    Hostile,
}

/// One Job's fate.
#[derive(Clone, Debug)]
struct Fate {
    key: JobKey,
    uid: String,
    created: Instant,
    target: ClusterId,
    runs: Vec<(Instant, Instant)>,
    deadline: Option<Instant>,
    cores: i64,
    gib: i64,
    interruptible: bool,
    fails: bool,
    data: bool,
}

pub struct Fake {
    scene: Scene,
    fates: Vec<Fate>,
    state: RwLock<(Arc<View>, Vec<Entry>)>,
    clock: Mutex<Clock>,
    version: watch::Sender<u64>,
    pub orders: Mutex<Vec<Order>>,
    pub applied: Mutex<Vec<Value>>,
}

pub fn at(text: &str) -> Instant {
    Instant::parse(text).unwrap()
}

pub fn key(cluster: &str, name: &str) -> JobKey {
    JobKey {
        cluster: ClusterId::new(cluster).unwrap(),
        namespace: ObjectName::new("demo").unwrap(),
        name: ObjectName::new(name).unwrap(),
    }
}

fn minutes(count: i64) -> Span {
    Span::MINUTE.scaled(count, 1)
}

/// A small linear congruential generator: the same Jobs each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % below) as i64
    }
}

const NAMES: [&str; 8] = [
    "train-bert",
    "nightly-etl",
    "render",
    "fold-protein",
    "reindex",
    "backup-verify",
    "tile-maps",
    "score-users",
];

fn fates(start: Instant) -> Vec<Fate> {
    let mut dice = Dice(7);
    let grid = |name: &'static str| {
        (name, builtin::typical_year(&zone(name), start - Span::DAY.scaled(2, 1), 120).unwrap().0)
    };
    let grids = [grid("kr"), grid("jp")];
    (0..40)
        .map(|i| {
            let home = if dice.roll(3) == 0 { "jp" } else { "kr" };
            let created = start + minutes(dice.roll(24 * 60) - 24 * 60 + 20);
            let slots = 4 + dice.roll(80);
            let length = minutes(20 + 10 * dice.roll(16));
            let interruptible = dice.roll(6) == 0;
            // The cleanest slot of either cluster inside its window.
            let places = ["kr", "jp"].into_iter().flat_map(|c| (0..slots).map(move |slot| (c, slot)));
            let mean = |c: &str, slot: i64| {
                let (_, series) = grids.iter().find(|(name, _)| *name == c).unwrap();
                let from = created + minutes(15 * slot);
                series.mean(from, from + length)
            };
            let (target, slot) = places.min_by_key(|(c, slot)| mean(c, *slot)).unwrap();
            let first = created + minutes(15 * slot);
            let runs = if interruptible {
                let half = length.scaled(1, 2);
                vec![(first, first + half), (first + half + minutes(90), first + length + minutes(90))]
            } else {
                vec![(first, first + length)]
            };
            let end = runs.last().unwrap().1;
            Fate {
                key: key(home, &format!("{}-{i:02}", NAMES[dice.roll(8) as usize])),
                uid: format!("uid-{i:02}"),
                created,
                target: ClusterId::new(target).unwrap(),
                runs,
                deadline: (dice.roll(5) > 0).then(|| end + minutes(30 + 15 * dice.roll(30))),
                cores: 2 + dice.roll(10),
                gib: 2 + dice.roll(24),
                interruptible,
                fails: dice.roll(12) == 0,
                data: dice.roll(4) == 0,
            }
        })
        .collect()
}

fn rates(cluster: &ClusterId) -> Rates {
    let price = if cluster.as_str() == "kr" { 0.0590 } else { 0.0620 };
    Rates {
        core_power: Watts::from_watts_f64(4.4),
        gpu_power: Watts::ZERO,
        core_price: MoneyPerHour::from_units_f64(price),
        gpu_price: MoneyPerHour::ZERO,
        embodied: None,
    }
}

fn zone(cluster: &str) -> GridZone {
    GridZone::new(if cluster == "kr" { "KR" } else { "JP-TK" }).unwrap()
}

fn actual(cluster: &str, now: Instant) -> (Series, Provenance) {
    let (typical, from) =
        builtin::typical_year(&zone(cluster), now - Span::DAY.scaled(3, 1), 24 * 4).unwrap();
    let wobble = |(i, v): (usize, &GramsCo2PerKwh)| {
        GramsCo2PerKwh::from_grams_f64(v.as_grams_f64() * (1.0 + 0.06 * ((i % 7) as f64 - 3.0) / 3.0))
    };
    let values = typical.values().iter().enumerate().map(wobble).collect();
    let from = Provenance { as_of: now - minutes(18), ..from };
    (Series::new(typical.start(), typical.step(), values).unwrap(), from)
}

/// Power and money of a cluster: half of it idle, the rest by cores.
fn draw(name: &str, demand: Resources) -> Draw {
    let price = if name == "kr" { 2.832 } else { 2.976 };
    let rate = |watts: f64, price: f64, cpu: Cpu| Rate {
        power: Watts::from_watts_f64(watts),
        price: MoneyPerHour::from_units_f64(price),
        cpu_requested: cpu,
        cpu_used: cpu,
        ..Rate::default()
    };
    Draw {
        idle: rate(220.0, price - 0.06 * demand.cpu.as_cores_f64() - 0.4, Cpu::from_cores(41) - demand.cpu),
        managed: rate(4.4 * demand.cpu.as_cores_f64(), 0.06 * demand.cpu.as_cores_f64(), demand.cpu),
        other: rate(40.0, 0.4, Cpu::from_millis(6300)),
    }
}

fn cluster(name: &str, now: Instant, jobs: &[JobView]) -> ClusterView {
    let id = ClusterId::new(name).unwrap();
    let region = RegionId::new(if name == "kr" { "ap-northeast-2" } else { "ap-northeast-1" }).unwrap();
    let (actual, actual_from) = actual(name, now);
    let (forecast, forecast_from) = builtin::typical_year(&zone(name), now, 24 * 4).unwrap();
    let here = |phases: &[JobPhase]| {
        jobs.iter().filter(|j| j.cluster.as_ref() == Some(&id) && phases.contains(&j.phase)).count()
    };
    let running = jobs.iter().filter(|j| j.cluster.as_ref() == Some(&id) && j.phase == JobPhase::Running);
    let demand: Resources = running.map(|j| j.demand).sum();
    ClusterView {
        zone_name: builtin::zone_name(&zone(name)).map(str::to_owned),
        reachable: true,
        silence: None,
        leader: None,
        leader_since: None,
        nodes: (6, 6),
        allocatable: Resources {
            cpu: Cpu::from_millis(47_460),
            memory: Bytes::from_gib(174),
            gpu: 0,
            pods: 348,
        },
        requested: demand
            + Resources { cpu: Cpu::from_millis(6300), memory: Bytes::from_gib(21), gpu: 0, pods: 40 },
        intensity: Some(actual.at(now)),
        intensity_from: Some(actual_from),
        forecast: Some(forecast),
        actual: Some(actual),
        forecast_from: Some(forecast_from),
        power: Watts::from_watts_f64(260.0 + 4.4 * demand.cpu.as_cores_f64()),
        price: MoneyPerHour::from_units_f64(if name == "kr" { 2.832 } else { 2.976 }),
        draw: draw(name, demand),
        use_from: None,
        totals: None,
        held: here(&[JobPhase::Held, JobPhase::Paused]),
        running: here(&[JobPhase::Running, JobPhase::Starting]),
        facts: ClusterFacts {
            grid_zone: zone(name),
            region,
            pue_milli: 1150,
            labels: BTreeMap::new(),
            mode: Mode::Auto,
            context: name.to_owned(),
            uid: None,
            id,
        },
    }
}

fn phase(fate: &Fate, now: Instant) -> JobPhase {
    let end = fate.runs.last().unwrap().1;
    let begun = fate.runs[0].0 <= now;
    let inside = fate.runs.iter().any(|(from, to)| *from <= now && now < *to);
    match (end <= now, inside, begun) {
        (true, ..) if fate.fails => JobPhase::Failed,
        (true, ..) => JobPhase::Succeeded,
        (_, true, _) => JobPhase::Running,
        (_, _, true) => JobPhase::Paused,
        _ => JobPhase::Held,
    }
}

fn job(fate: &Fate, now: Instant) -> JobView {
    let phase = phase(fate, now);
    let done = fate.runs.iter().filter(|(from, _)| *from <= now);
    let ahead = fate.runs.iter().filter(|(_, to)| *to > now);
    let length = fate.runs.iter().fold(Span::ZERO, |sum, (from, to)| sum + (*to - *from));
    let waits = matches!(phase, JobPhase::Held | JobPhase::Paused);
    JobView {
        key: fate.key.clone(),
        uid: fate.uid.clone(),
        phase,
        movable: true,
        created: fate.created,
        contract: PlacementContract {
            deadline: fate.deadline,
            expected_duration: Some(length),
            interruptible: fate.interruptible,
            clusters: None,
            data: fate.data.then(|| DataSource { size: Bytes::from_gib(2), at: fate.key.cluster.clone() }),
            parallelism: None,
            scaling: Scaling::Linear,
            stop_at_deadline: false,
        },
        errors: Vec::new(),
        demand: Resources {
            cpu: Cpu::from_cores(fate.cores),
            memory: Bytes::from_gib(fate.gib),
            gpu: 0,
            pods: 1,
        },
        priority: 0,
        awaits_yes: false,
        latest_start: fate.deadline.map(|d| d - length).filter(|_| waits),
        cluster: Some(fate.target.clone()),
        copy: (phase != JobPhase::Held).then(|| format!("{}-a1b2c3d4", fate.key.name)),
        planned: ahead.map(|(from, to)| RunView { from: *from, to: Some(*to) }).collect(),
        runs: done.map(|(from, to)| RunView { from: *from, to: (*to <= now).then_some(*to) }).collect(),
        forecast: None,
        owner: None,
        owned: None,
        late: None,
        sentence: match phase {
            JobPhase::Held => format!("waits for {} in {}", fate.runs[0].0.to_rfc3339_seconds(), fate.target),
            JobPhase::Running => format!("runs in {}", fate.target),
            _ => format!("ran in {}", fate.target),
        },
    }
}

fn entry(fate: &Fate, now: Instant) -> Entry {
    let place = |name: &str| {
        let (intensity, provenance) = actual(name, now);
        let id = ClusterId::new(name).unwrap();
        (id.clone(), Place { rates: rates(&id), intensity, provenance })
    };
    let places: BTreeMap<ClusterId, Place> = ["kr", "jp"].into_iter().map(place).collect();
    let finished = fate.runs.last().unwrap().1;
    let runs = fate.runs.iter().map(|(from, to)| Run { cluster: fate.target.clone(), from: *from, to: *to });
    ledger::account(&Account {
        job: fate.key.clone(),
        uid: fate.uid.clone(),
        recorded: finished,
        created: fate.created,
        finished,
        deadline: fate.deadline,
        succeeded: !fate.fails,
        demand: Resources {
            cpu: Cpu::from_cores(fate.cores),
            memory: Bytes::from_gib(fate.gib),
            gpu: 0,
            pods: 1,
        },
        baseline: None,
        data: fate.data.then(|| DataSource { size: Bytes::from_gib(2), at: fate.key.cluster.clone() }),
        runs: runs.collect(),
        places: &places,
        transfer_kwh_per_gb: 0.0025,
        transfer_price_per_gb: 0.002,
    })
    .unwrap()
}

fn hostile(view: &mut View) {
    let script = "<script>alert(\"x\")</script>";
    for c in &mut view.clusters {
        c.zone_name = Some(script.to_owned());
        c.facts.context = format!("\"'>{script}");
        if let Some(from) = &mut c.intensity_from {
            from.source = format!("=HYPERLINK({script})");
        }
    }
    for job in &mut view.jobs {
        job.sentence = format!("={script}");
        job.late = Some(format!("@late,{script}"));
        job.errors = vec![format!("</section>{script}")];
        job.contract.clusters = Some(format!("a in ({script})"));
        job.copy = Some(format!("copy'{script}"));
    }
}

fn build(scene: Scene, fates: &[Fate], now: Instant) -> (View, Vec<Entry>) {
    let there = fates.iter().filter(|f| scene != Scene::Empty && f.created <= now);
    let mut jobs: Vec<JobView> = there.clone().map(|fate| job(fate, now)).collect();
    // The oldest finished ones are only in the ledger any more.
    jobs.retain(|j| !matches!(j.phase, JobPhase::Succeeded) || j.created > now - minutes(14 * 60));
    jobs.sort_by(|a, b| a.key.cmp(&b.key));
    if let Some(first) = jobs.iter_mut().find(|j| j.phase == JobPhase::Held) {
        first.late = Some("asks for 8 cores until 09:10; both clusters are full until 08:45".to_owned());
    }
    let mut entries: Vec<Entry> =
        there.filter(|f| f.runs.last().unwrap().1 <= now).map(|fate| entry(fate, now)).collect();
    entries.sort_by_key(|e| e.finished);
    let count = |wanted: &[JobPhase]| jobs.iter().filter(|j| wanted.contains(&j.phase)).count();
    let clusters = if scene == Scene::Empty {
        Vec::new()
    } else {
        vec![cluster("jp", now, &jobs), cluster("kr", now, &jobs)]
    };
    let mut view = View {
        at: now,
        mode: Mode::Auto,
        policy: PolicyKind::Optimal,
        currency: "USD".to_owned(),
        totals: TotalsView {
            held: count(&[JobPhase::Held, JobPhase::Paused]),
            running: count(&[JobPhase::Running, JobPhase::Starting]),
            finished: count(&[JobPhase::Succeeded, JobPhase::Failed]),
            late: jobs.iter().filter(|j| j.late.is_some()).count(),
        },
        planned_at: (scene != Scene::Empty).then(|| now - minutes(3)),
        planned_carbon: (scene != Scene::Empty).then(|| (GramsCo2::from_grams_f64(1184.0), Some(0.0107))),
        scarce: scene == Scene::Hostile,
        clusters,
        jobs,
    };
    if scene == Scene::Hostile {
        hostile(&mut view);
    }
    (view, entries)
}

impl Fake {
    pub fn new(scene: Scene) -> Arc<Fake> {
        let now = at(START);
        let fates = fates(now);
        let (view, entries) = build(scene, &fates, now);
        Arc::new(Fake {
            scene,
            fates,
            state: RwLock::new((Arc::new(view), entries)),
            clock: Mutex::new(Clock { twin: true, speed: Speed::Times(600.0), paused: false, at: now }),
            version: watch::Sender::new(1),
            orders: Mutex::new(Vec::new()),
            applied: Mutex::new(Vec::new()),
        })
    }

    /// Lets time pass.
    pub fn advance(&self, span: Span) {
        let now = self.view().at + span;
        let (view, entries) = build(self.scene, &self.fates, now);
        *self.state.write().unwrap() = (Arc::new(view), entries);
        self.clock.lock().unwrap().at = now;
        self.version.send_modify(|version| *version += 1);
    }

    /// Shows something else.
    pub fn change(&self, change: impl FnOnce(&mut View)) {
        let mut view = (*self.view()).clone();
        change(&mut view);
        self.state.write().unwrap().0 = Arc::new(view);
        self.touch();
    }

    /// Says that something changed.
    pub fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.state.read().unwrap().1.clone()
    }

    fn alternative(&self, job: &JobView, cluster: &ClusterId, start: Instant) -> Alternative {
        let length = job.contract.expected_duration.unwrap_or(Span::HOUR);
        let view = self.view();
        let series =
            view.clusters.iter().find(|c| c.facts.id == *cluster).and_then(|c| c.forecast.clone()).unwrap();
        let Footprint { energy, carbon, embodied, cost } =
            ledger::footprint(job.demand, rates(cluster), &series, start, start + length);
        let in_time = job.contract.deadline.is_none_or(|d| start + length <= d);
        let (cluster, end) = (cluster.clone(), start + length);
        Alternative { cluster, start, end, parallelism: 1, carbon, embodied, cost, energy, in_time }
    }

    /// One of each kind.
    fn would_save(&self, job: &JobView, cluster: &ClusterId, start: Instant) -> Vec<Saving> {
        let there = self.alternative(job, cluster, start);
        let saving = |change, grams, cost: Option<f64>| Saving {
            change,
            carbon: GramsCo2::from_grams_f64(grams),
            cost: cost.map(Money::from_units_f64),
            instead: cost.map(|_| Assignment {
                key: job.key.clone(),
                cluster: cluster.clone(),
                runs: vec![Interval { from: start, to: there.end }],
                parallelism: 1,
                undone: Span::ZERO,
                footprint: Footprint {
                    energy: there.energy,
                    carbon: there.carbon,
                    cost: there.cost,
                    embodied: there.embodied,
                },
                in_time: true,
            }),
            sentence: format!("something would save {grams} g"),
        };
        let (deadline, cluster) = (start + Span::DAY, cluster.clone());
        let limit = "a limit".to_owned();
        let cores = Cpu::from_millis(10_000);
        vec![
            saving(Change::Slack { by: Span::HOUR, deadline }, 41.0, Some(0.0)),
            saving(Change::Cluster { cluster: cluster.clone(), limit: limit.clone() }, 31.0, Some(-0.25)),
            saving(Change::Nodes { cluster: cluster.clone(), limit }, 21.0, Some(0.5)),
            saving(Change::Cores { cluster, cores, from: start, to: deadline }, 11.0, None),
        ]
    }
}

impl Backend for Fake {
    fn view(&self) -> Arc<View> {
        self.state.read().unwrap().0.clone()
    }
    fn clock(&self) -> Clock {
        *self.clock.lock().unwrap()
    }
    fn sources(&self) -> Sources {
        let why = Some("no account: set KUBERCARBON_WATTTIME_USER".to_owned());
        let live = SourceState::new("WattTime", Basis::Marginal, false, why);
        let mut typical = SourceState::new("typical year", Basis::Average, true, None);
        let error = |lead_hours, mape_percent| ForecastError {
            own: false,
            lead_hours,
            mape_percent,
            hours: 96,
            since: at(START) - Span::DAY,
        };
        typical.errors = vec![error(24, 12.345), error(96, 23.456)];
        Sources::from([(zone("kr"), vec![live, typical])])
    }
    fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
    fn ledger(&self) -> BoxFuture<'_, anyhow::Result<Vec<Entry>>> {
        Box::pin(async { Ok(self.entries()) })
    }
    fn accounts(&self, question: Question) -> BoxFuture<'_, anyhow::Result<Accounts>> {
        Box::pin(async move {
            let mut fold = Fold::new(question);
            hours(self.scene, self.view().at).iter().for_each(|entry| fold.take_in(entry));
            Ok(fold.finish())
        })
    }
    fn waiting_pods(&self, most: usize) -> (Vec<WaitingPod>, usize) {
        let name = match self.scene {
            Scene::Empty => return (Vec::new(), 0),
            Scene::Busy => "demo/big",
            Scene::Hostile => "demo/=<script>alert(1)</script>",
        };
        let requests = Resources { cpu: Cpu::from_cores(64), memory: Bytes::from_gib(256), gpu: 0, pods: 1 };
        let pod = WaitingPod { cluster: ClusterId::new("kr").unwrap(), pod: name.into(), requests };
        (vec![pod; most.min(1)], 1)
    }
    /// As the cluster `kr` would answer; the other does not.
    fn room(&self, cluster: ClusterId, asked: Asked) -> BoxFuture<'_, anyhow::Result<Arc<room::Answer>>> {
        Box::pin(async move {
            anyhow::ensure!(cluster.as_str() == "kr", "read {cluster}: no answer <within> 15 s");
            let said = "0/6 nodes are available: 6 Insufficient <cpu>.".to_owned();
            let capacity = Capacity {
                pods: 17,
                at_least: false,
                by_node: [("kr-general-0".to_owned(), 9), ("kr-general-1".to_owned(), 8)].into(),
                runs_out: vec![RunsOut {
                    reason: "Insufficient memory".to_owned(),
                    nodes: (0..6).map(|i| format!("kr-general-{i}")).collect(),
                }],
                message: Some(said.clone()),
                unread: vec!["services: 403".to_owned()],
            };
            Ok(Arc::new(match asked {
                Asked::Capacity { .. } => room::Answer::Capacity(capacity),
                Asked::Why { name, .. } if name != "big" => room::Answer::Why(None),
                Asked::Why { namespace, name } => room::Answer::Why(Some(WhyPod {
                    pod: format!("{namespace}/{name}"),
                    phase: "Pending".to_owned(),
                    node: None,
                    said: Some(said),
                    unknown: None,
                    fits: Vec::new(),
                    rejected: vec![Rejected {
                        node: "kr-general-0".to_owned(),
                        plugin: None,
                        reasons: vec!["Insufficient cpu".to_owned()],
                    }],
                    message: None,
                    preemption: None,
                    advice: vec![Advice {
                        change: "spec.containers[0].resources.requests.cpu: at most 6".to_owned(),
                        nodes: vec!["kr-general-1".to_owned()],
                    }],
                    unread: Vec::new(),
                })),
            }))
        })
    }
    fn top(&self, of: &TopOf) -> Top {
        let row = |part: Part, rate: Rate, idle: Rate| TopRow {
            part,
            rate,
            idle,
            shared: Rate::default(),
            carbon_per_hour: (rate.power * Span::HOUR) * GramsCo2PerKwh::from_grams_f64(400.0),
            idle_carbon_per_hour: (idle.power * Span::HOUR) * GramsCo2PerKwh::from_grams_f64(400.0),
            place: None,
        };
        let view = self.view();
        let all = |c: &ClusterView| c.draw.idle + c.draw.busy();
        let mut rows: Vec<TopRow> = match of {
            TopOf::By(By::Namespace) => {
                let busy = view.clusters.iter().map(|c| c.draw.busy()).fold(Rate::default(), |a, b| a + b);
                let idle = view.clusters.iter().map(|c| c.draw.idle).fold(Rate::default(), |a, b| a + b);
                let name = if self.scene == Scene::Hostile { "a\"b\\c\nd" } else { "demo" };
                let named = Part::Named { cluster: None, namespace: None, name: name.to_owned() };
                vec![row(named, busy, Rate::default()), row(Part::Idle, idle, idle)]
            }
            _ => view.clusters.iter().map(|c| row(By::cluster(&c.facts.id), all(c), c.draw.idle)).collect(),
        };
        rows.retain(|row| row.rate != Rate::default());
        let mut total = row(By::of_total(), Rate::default(), Rate::default());
        for row in &rows {
            total.rate += row.rate;
            total.idle += row.idle;
            total.carbon_per_hour += row.carbon_per_hour;
        }
        Top { rows, total, use_from: None }
    }
    fn journal(&self, after: i64, limit: u32) -> BoxFuture<'_, anyhow::Result<Vec<Value>>> {
        let lines = (1..=5i64).filter(|seq| *seq > after).take(limit as usize);
        let lines = lines
            .map(|seq| json!({"seq": seq, "at": START, "kind": "intent", "key": "k", "body": {}}))
            .collect();
        Box::pin(async { Ok(lines) })
    }
    fn plan(&self) -> Plan {
        let view = self.view();
        let step = |job: &JobView| {
            let run = job.planned.iter().find(|run| run.from > view.at)?;
            Some(Step {
                id: format!("{}/0", job.key),
                at: run.from,
                after: Vec::new(),
                cluster: job.cluster.clone()?,
                object: plan::ObjectRef {
                    kind: "Job".to_owned(),
                    namespace: job.key.namespace.clone(),
                    name: job.key.name.clone(),
                    uid: job.uid.clone(),
                },
                action: Action::Start { target: job.cluster.clone()? },
                precondition: plan::Precondition { uid: Some(job.uid.clone()), suspend: Some(true) },
                expect: format!("runs until {}", run.to?.to_rfc3339_seconds()),
                undo: format!(
                    "kubectl --context {} -n {} delete job {}",
                    job.key.cluster, job.key.namespace, job.key.name
                ),
                reason: format!("waits for the cleanest hour of {}", job.cluster.clone()?),
            })
        };
        let mut steps: Vec<Step> = view.jobs.iter().filter_map(step).collect();
        steps.sort_by_key(|s| s.at);
        Plan {
            api_version: plan::API_VERSION.to_owned(),
            kind: "Plan".to_owned(),
            title: format!("{} starts and resumes ahead", steps.len()),
            created: view.at,
            steps,
        }
    }
    fn place(
        &self,
        home: Option<ClusterId>,
        job: Value,
        alternatives: usize,
    ) -> Result<Decision, PlaceError> {
        if job["kind"] != "Job" {
            return Err(PlaceError::Job(format!("kind: {}: expected Job", job["kind"])));
        }
        let home = home.ok_or_else(|| PlaceError::Home { known: "jp, kr".to_owned() })?;
        let view = self.view();
        if !view.clusters.iter().any(|c| c.facts.id == home) {
            return Err(WhatIfError::Cluster { found: home.to_string(), known: "jp, kr".to_owned() }.into());
        }
        let held = view.jobs.iter().find(|j| j.phase == JobPhase::Held).unwrap();
        Ok(self.why(&held.key, alternatives)?)
    }
    fn why(&self, key: &JobKey, alternatives: usize) -> Result<Decision, WhatIfError> {
        let view = self.view();
        let job =
            view.jobs.iter().find(|j| j.key == *key).ok_or_else(|| WhatIfError::Unknown(key.to_string()))?;
        let target = job.cluster.clone().unwrap();
        let open = job.planned.first().map(|run| run.from.max(view.at));
        let explanation = open.map(|start| {
            let chosen = self.alternative(job, &target, start);
            let places = view.clusters.iter().map(|c| &c.facts.id);
            let mut others: Vec<Alternative> = places
                .flat_map(|c| (0..12).map(move |i| (c, i)))
                .map(|(c, i)| self.alternative(job, c, view.at + minutes(45 * i)))
                .collect();
            others.sort_by_key(|a| a.carbon);
            others.truncate(alternatives);
            let base = self.alternative(job, &key.cluster, view.at);
            Explanation {
                would_save: self.would_save(job, &target, start),
                sentence: format!(
                    "starts in {} at {} and emits {} CO2e there; at once in {} it would be {}: the grid of {} is cleaner then, and 8 of 47 cores are free",
                    target, start.to_rfc3339_seconds(), chosen.carbon, key.cluster, base.carbon, target
                ),
                chosen,
                alternatives: others,
                at_once_at_home: Some(base),
                excluded: vec![Exclusion { cluster: ClusterId::new("eu").unwrap(), limit: "selector region in (ap-northeast-1, ap-northeast-2) does not match region=eu-north-1".to_owned() }],
            }
        });
        Ok(Decision {
            job: key.clone(),
            at: view.at,
            run_time: control::RunTime {
                expected: job.contract.expected_duration.unwrap_or(fleet::Span::HOUR),
                from: control::RunTimeFrom::Stated,
            },
            latest_start: job.latest_start,
            explanation,
            warnings: Vec::new(),
        })
    }
    fn apply(&self, home: Option<ClusterId>, job: Value) -> BoxFuture<'_, Result<Value, PlaceError>> {
        Box::pin(async move {
            if job["metadata"]["name"] == "taken" {
                return Err(PlaceError::Refused {
                    cluster: home.unwrap(),
                    code: 409,
                    message: "jobs.batch \"taken\" already exists".to_owned(),
                });
            }
            self.applied.lock().unwrap().push(job.clone());
            Ok(job)
        })
    }
    fn order(&self, order: Order) -> Result<(), OrderError> {
        if let Order::Release { job: Some(job) } | Order::Approve { job } = &order
            && !self.view().jobs.iter().any(|j| j.key == *job)
        {
            return Err(OrderError::Unknown(job.clone()));
        }
        self.orders.lock().unwrap().push(order);
        Ok(())
    }
    fn set_clock(&self, order: ClockOrder) -> Result<(), OrderError> {
        let mut clock = self.clock.lock().unwrap();
        if !clock.twin {
            return Err(OrderError::WallClock);
        }
        match order {
            ClockOrder::Pause => clock.paused = true,
            ClockOrder::Resume => clock.paused = false,
            ClockOrder::Speed(speed) => clock.speed = speed,
        }
        drop(clock);
        self.version.send_modify(|version| *version += 1);
        Ok(())
    }
}

/// An answer: status, headers, body as text.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

/// Sends a request straight into the router, from a page of our own unless `headers` say otherwise.
pub async fn send(
    fake: &Arc<Fake>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    use tower::ServiceExt;
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:8080");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(axum::body::Body::from(body.to_owned())).unwrap();
    let response = server::console::site(fake.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 16 << 20).await.unwrap();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

pub async fn get(fake: &Arc<Fake>, path: &str) -> Answer {
    send(fake, "GET", path, &[("accept", "text/html,application/json")], "").await
}
