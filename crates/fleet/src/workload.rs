//! Work the planner places: what a Job asks for and what its contract (PRODUCT row P1) allows.

use crate::id::{ClusterId, ObjectName};
use crate::quantity::Bytes;
use crate::resources::Resources;
use crate::time::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A Job of the fleet: where its home is, and its namespace and name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobKey {
    /// Home cluster.
    pub cluster: ClusterId,
    /// Namespace in the home cluster.
    pub namespace: ObjectName,
    /// Name in the home cluster.
    pub name: ObjectName,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.cluster, self.namespace, self.name)
    }
}

/// Input data of a Job (annotation `kubercarbon.io/data`, e.g. `40Gi@kr`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataSource {
    /// How much has to be there when the Job starts.
    pub size: Bytes,
    /// The cluster it lies at.
    pub at: ClusterId,
}

/// What the annotations of row P1 say, parsed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementContract {
    /// Must be finished by then; `None`: no delay is allowed, only another place.
    pub deadline: Option<Instant>,
    /// The whole Job at its parallelism; `None`: to be learnt.
    pub expected_duration: Option<Span>,
    /// Whether it may be paused and resumed.
    pub interruptible: bool,
    /// Label selector over the clusters, as written; `None`: any.
    pub clusters: Option<String>,
    /// Input data that would have to be moved.
    pub data: Option<DataSource>,
    /// Pods at a time it may run with instead, smallest and largest; `None`: only as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<(i64, i64)>,
    /// How much faster it runs with more pods at a time.
    #[serde(default)]
    pub scaling: Scaling,
    /// Whether it is stopped at its deadline, done or not, rather than finished late.
    #[serde(default)]
    pub stop_at_deadline: bool,
}

/// How much faster a Job runs with several pods at a time than with one: its speed-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scaling {
    /// As many times as there are pods.
    #[default]
    Linear,
    /// 1 / ((1 − p) + p / pods), where p, 0 to 1, is the part of the work that can be shared (G. Amdahl 1967).
    Amdahl(f64),
    /// Measured: pods at a time and the speed-up with them, both rising; a straight line between two, the
    /// first and the last hold beyond.
    Measured(Vec<(i64, f64)>),
}

impl Scaling {
    /// The speed-up with so many pods at a time; above zero.
    pub fn speed_up(&self, pods: i64) -> f64 {
        let pods = pods.max(1);
        match self {
            Scaling::Linear => pods as f64,
            Scaling::Amdahl(part) => 1.0 / ((1.0 - part) + part / pods as f64),
            Scaling::Measured(points) => measured(points, pods),
        }
    }
}

fn measured(points: &[(i64, f64)], pods: i64) -> f64 {
    let after = points.partition_point(|point| point.0 <= pods);
    match (after.checked_sub(1).and_then(|at| points.get(at)), points.get(after)) {
        (Some(low), Some(high)) => low.1 + (high.1 - low.1) * (pods - low.0) as f64 / (high.0 - low.0) as f64,
        (Some(one), None) | (None, Some(one)) => one.1,
        (None, None) => pods as f64,
    }
}

/// A way to run a Job: with so many pods at a time it lasts so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// Pods at a time.
    pub parallelism: i64,
    /// Expected run time, safety margin included.
    pub duration: Span,
}

/// A Job as the planner sees it. Times are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Where it comes from.
    pub key: JobKey,
    /// Not before.
    pub release: Instant,
    /// Must be finished by then; `None`: as soon as it can.
    pub deadline: Option<Instant>,
    /// How much earlier than its real deadline that is.
    #[serde(default)]
    pub margin: Span,
    /// Whether it starts as soon as there is room although its deadline would allow a delay.
    #[serde(default)]
    pub prompt: bool,
    /// Expected run time at full parallelism, safety margin included.
    pub duration: Span,
    /// Whether the duration was stated (`false`: learnt or assumed).
    pub duration_stated: bool,
    /// Requests of one pod.
    pub pod: Resources,
    /// Pods at a time (min of parallelism and completions left).
    pub parallelism: i64,
    /// May be paused.
    pub interruptible: bool,
    /// Indices into the snapshot's clusters it may run in; `None`: all.
    pub allowed: Option<Vec<ClusterId>>,
    /// Input data, and where it lies.
    pub data: Option<DataSource>,
    /// Value of its PriorityClass; higher goes first when not all can be in time.
    pub priority: i32,
    /// Where it runs, if it has been started (or is committed to a cluster while paused).
    pub pinned: Option<ClusterId>,
    /// Whether it runs now (and so holds its place until it ends).
    pub running: bool,
    /// Other ways to run it, one of which may be chosen where it may wait and has not been started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shapes: Vec<Shape>,
    /// Whether some of its work may be left undone where it cannot all be done by its deadline.
    #[serde(default)]
    pub may_be_cut: bool,
}

impl Workload {
    /// What it holds while it runs: parallelism × the pod's requests.
    pub fn demand(&self) -> Resources {
        self.pod.times(self.parallelism.max(1))
    }
    /// The deadline people stated: plans keep a margin before it.
    pub fn real_deadline(&self) -> Option<Instant> {
        self.deadline.map(|deadline| deadline + self.margin)
    }
    /// The latest start that still meets the deadline.
    pub fn latest_start(&self) -> Option<Instant> {
        self.deadline.map(|deadline| deadline - self.duration)
    }
}
