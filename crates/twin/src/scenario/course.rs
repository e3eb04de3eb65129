//! How a scenario's cluster went over time, for plots: the run cut into [`STEPS`] even steps.
//!
//! What flows (power, carbon, requests) is the mean of a step, taken as the difference of two exact sums, so that the steps
//! sum to the whole; what can be counted (nodes, pods) stands at the end of a step; latency and backlogs are the worst seen
//! at any change within a step, so that no spike falls between two samples. Reading changes nothing: a run with samples is
//! the run without. Units are in the names of the fields; times are seconds since the start.

use crate::kind::Kind;
use crate::physics::EnergyTotals;
use crate::store::Objects;
use crate::traffic::{Counts, Tally};
use crate::{QueueTraffic, ServiceTraffic, World};
use fleet::{ClusterId, Instant, Series, Span};
use serde::Serialize;
use std::collections::BTreeMap;

/// Steps of a course: as many as a plot of a screen's width shows apart.
pub const STEPS: i64 = 240;

/// How a cluster went over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Course {
    /// Length of a step, in seconds.
    pub step_seconds: f64,
    /// The cluster, step by step.
    pub steps: Vec<CourseStep>,
    /// The requests to each Service, by namespace and name.
    pub services: Vec<ServiceCourse>,
    /// The messages of each queue, by namespace, workload and name.
    pub queues: Vec<QueueCourse>,
}

/// A cluster in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CourseStep {
    /// When it ends.
    pub until_seconds: f64,
    /// Nodes there are, at its end.
    pub nodes: usize,
    /// Those of them that are ready.
    pub nodes_ready: usize,
    /// Pods that run.
    pub pods_running: usize,
    /// Pods that wait for a node or to start.
    pub pods_pending: usize,
    /// CPU that running containers request, as a share of what there is, 0 to 1: mean.
    pub busy_share: f64,
    /// Power, PUE included: mean, in watts.
    pub power_watts: f64,
    /// Carbon intensity of the electricity: mean, in g CO2e/kWh; `None`: none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intensity: Option<f64>,
    /// Energy so far.
    pub kwh: f64,
    /// Emissions of that energy so far, in g CO2e.
    pub gco2e: f64,
    /// Price of the machines so far, in the fleet's currency.
    pub cost: f64,
}

/// The requests to a Service over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCourse {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Which step of the course is its first, from 0.
    pub first: usize,
    /// Step by step.
    pub steps: Vec<ServiceStep>,
}

/// The requests to a Service in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStep {
    /// Requests a second: mean.
    pub requests_per_second: f64,
    /// Requests a second that got no answer: mean.
    pub errors_per_second: f64,
    /// Milliseconds within which half of the answers were there: the worst within the step; `None`: there were none.
    pub p50_milliseconds: Option<f64>,
    /// The same of 95 %.
    pub p95_milliseconds: Option<f64>,
    /// The same of 99 %.
    pub p99_milliseconds: Option<f64>,
    /// Pods that serve, at its end.
    pub serving: u32,
}

/// The messages of a queue over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueCourse {
    /// Of the workload.
    pub namespace: String,
    /// Whose pods take from it.
    pub workload: String,
    /// Its own name.
    pub queue: String,
    /// Which step of the course is its first, from 0.
    pub first: usize,
    /// Step by step.
    pub steps: Vec<QueueStep>,
}

/// The messages of a queue in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStep {
    /// Messages a second that came: mean.
    pub messages_per_second: f64,
    /// Messages waiting: the most within the step.
    pub waiting_max: i64,
    /// How long the oldest had waited, in seconds: the longest within the step.
    pub oldest_seconds_max: f64,
    /// Dead letters so far.
    pub dead: i64,
}

#[derive(Debug, Default)]
struct OwnService {
    first: usize,
    counted: Counts,
    worst: [Option<f64>; 3],
    steps: Vec<ServiceStep>,
}

#[derive(Debug, Default)]
struct OwnQueue {
    first: usize,
    counted: Tally,
    waiting_max: i64,
    oldest_max: f64,
    steps: Vec<QueueStep>,
}

/// A course as it is recorded.
#[derive(Debug)]
pub(super) struct Recorder {
    start: Instant,
    length: Span,
    totals: EnergyTotals,
    steps: Vec<CourseStep>,
    services: BTreeMap<(String, String), OwnService>,
    queues: BTreeMap<(String, String, String), OwnQueue>,
}

/// The larger of two figures either of which may be missing.
fn worse(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

impl Recorder {
    pub(super) fn new(start: Instant, length: Span) -> Recorder {
        let (services, queues) = (BTreeMap::new(), BTreeMap::new());
        Recorder { start, length, totals: EnergyTotals::default(), steps: Vec::new(), services, queues }
    }
    /// When step number `step`, counted from 0, ends.
    fn end(&self, step: usize) -> Instant {
        self.start + self.length.scaled(step as i64 + 1, STEPS)
    }
    /// When the step under way ends; `None`: all are over.
    pub(super) fn due(&self) -> Option<Instant> {
        let step = self.steps.len();
        ((step as i64) < STEPS && self.length > Span::ZERO).then(|| self.end(step))
    }
    /// Takes in how requests and messages go after a change.
    pub(super) fn see(&mut self, requests: &[ServiceTraffic], messages: &[QueueTraffic]) {
        for now in requests {
            let own = self.services.entry((now.namespace.clone(), now.name.clone())).or_default();
            let pace = [now.pace.p50_seconds, now.pace.p95_seconds, now.pace.p99_seconds];
            for (worst, now) in own.worst.iter_mut().zip(pace) {
                *worst = worse(*worst, now);
            }
        }
        for now in messages {
            let key = (now.namespace.clone(), now.workload.clone(), now.name.clone());
            let own = self.queues.entry(key).or_default();
            own.waiting_max = own.waiting_max.max(now.counts.waiting);
            own.oldest_max = own.oldest_max.max(now.oldest_seconds);
        }
    }
    /// Ends the step under way, at the world's present instant.
    pub(super) fn sample(&mut self, world: &World, home: &ClusterId, intensity: Option<&Series>) {
        let requests = world.traffic(home);
        let messages = world.messages(home);
        self.see(&requests, &messages);
        let now = world.now();
        let from = if self.steps.is_empty() { self.start } else { self.end(self.steps.len() - 1) };
        let seconds = ((now - from).as_nanos() as f64 / 1e9).max(1e-9);
        let totals = world.energy(home).unwrap_or_default();
        let cpu_time = totals.cpu_time - self.totals.cpu_time;
        let busy = totals.busy_cpu_time - self.totals.busy_cpu_time;
        let drawn = (totals.energy() - self.totals.energy()).as_kwh_f64();
        let counted = world.objects(home).map(counted).unwrap_or_default();
        self.steps.push(CourseStep {
            until_seconds: (now - self.start).as_nanos() as f64 / 1e9,
            busy_share: if cpu_time == 0 { 0.0 } else { busy as f64 / cpu_time as f64 },
            power_watts: drawn * 3.6e6 / seconds,
            intensity: intensity.map(|series| series.mean(from, now).as_grams_f64()),
            kwh: totals.energy().as_kwh_f64(),
            gco2e: totals.carbon().as_grams_f64(),
            cost: world.spending(home).unwrap_or_default().total().as_units_f64(),
            ..counted
        });
        self.totals = totals;
        self.sample_requests(&requests, seconds);
        self.sample_messages(&messages, seconds);
    }
    fn sample_requests(&mut self, requests: &[ServiceTraffic], seconds: f64) {
        for now in requests {
            let own = self.services.entry((now.namespace.clone(), now.name.clone())).or_default();
            if own.steps.is_empty() {
                own.first = self.steps.len() - 1;
            }
            let since = |now: i64, before: i64| (now - before).max(0) as f64 / seconds;
            let [p50, p95, p99] = std::mem::take(&mut own.worst).map(|worst| worst.map(milliseconds));
            own.steps.push(ServiceStep {
                requests_per_second: since(now.counts.requests, own.counted.requests),
                errors_per_second: since(now.counts.failed(), own.counted.failed()),
                p50_milliseconds: p50,
                p95_milliseconds: p95,
                p99_milliseconds: p99,
                serving: now.serving,
            });
            own.counted = now.counts;
        }
    }
    fn sample_messages(&mut self, messages: &[QueueTraffic], seconds: f64) {
        for now in messages {
            let key = (now.namespace.clone(), now.workload.clone(), now.name.clone());
            let own = self.queues.entry(key).or_default();
            if own.steps.is_empty() {
                own.first = self.steps.len() - 1;
            }
            own.steps.push(QueueStep {
                messages_per_second: (now.counts.messages - own.counted.messages).max(0) as f64 / seconds,
                waiting_max: std::mem::take(&mut own.waiting_max),
                oldest_seconds_max: std::mem::take(&mut own.oldest_max),
                dead: now.counts.expired + now.counts.overflowed,
            });
            own.counted = now.counts;
        }
    }
    /// All of it, at the end.
    pub(super) fn course(self) -> Course {
        let services = self.services.into_iter().map(|((namespace, service), own)| ServiceCourse {
            namespace,
            service,
            first: own.first,
            steps: own.steps,
        });
        let queues = self.queues.into_iter().map(|((namespace, workload, queue), own)| QueueCourse {
            namespace,
            workload,
            queue,
            first: own.first,
            steps: own.steps,
        });
        Course {
            step_seconds: self.length.as_nanos() as f64 / 1e9 / STEPS as f64,
            steps: self.steps,
            services: services.collect(),
            queues: queues.collect(),
        }
    }
}

/// Nodes and pods as they are.
fn counted(objects: &Objects) -> CourseStep {
    let mut step = CourseStep::default();
    for stored in objects.list(Kind::Node, None) {
        let Some(node) = stored.object.as_node() else { continue };
        let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        step.nodes += 1;
        step.nodes_ready += usize::from(conditions.any(|c| c.type_ == "Ready" && c.status == "True"));
    }
    for stored in objects.list(Kind::Pod, None) {
        let phase = stored.object.as_pod().and_then(|pod| pod.status.as_ref()?.phase.as_deref());
        step.pods_running += usize::from(phase == Some("Running"));
        step.pods_pending += usize::from(matches!(phase, None | Some("Pending")));
    }
    step
}
