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
