//! What nodes and pods really use, as whoever measures it says.
//!
//! Invariants: a report is of one cluster and one window of time; amounts are means over that window (memory: the
//! working set at its end). Who is not in a report was not measured: its requests stand for its use, marked
//! assumed. A report that is older than [`AGE_MAX`] says nothing any more.

use fleet::{Bytes, Cpu, Instant, MoneyPerHour, NodeName, Provenance, Span, Watts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How old a report may be before requests stand in again: metrics-server and Prometheus measure every 15 to 60 s,
/// so that five minutes are several reports missed in a row.
pub const AGE_MAX: Span = Span::from_seconds(300);

/// One look at a cluster's use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    /// End of the window that was measured.
    pub at: Instant,
    /// Who measured: `metrics.k8s.io`, `prometheus HOST`…
    pub from: Provenance,
    /// By pod, `NAMESPACE/NAME`.
    pub pods: BTreeMap<String, PodUse>,
    /// By node.
    pub nodes: BTreeMap<NodeName, NodeUse>,
}

/// What a pod used: the sum over its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodUse {
    /// Mean over the window.
    pub cpu: Cpu,
    /// Working set.
    pub memory: Bytes,
    /// Power it drew above the node's idle power, at the server; `None`: not measured (only Kepler does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Watts>,
}

/// What a node used: its pods and the system together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeUse {
    /// Mean over the window.
    pub cpu: Cpu,
    /// Working set.
    pub memory: Bytes,
    /// Power of the whole machine, idle power included, at the server; `None`: not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Watts>,
    /// What it costs, where OpenCost says so; `None`: the price of its instance type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<MoneyPerHour>,
}
