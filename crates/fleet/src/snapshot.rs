//! What was observed of a fleet at one instant: the planner's whole input beside policy and signals.

use crate::carbon::{Provenance, Series, Spread};
use crate::cluster::Rates;
use crate::id::{ClusterId, GridZone, RegionId};
use crate::resources::Resources;
use crate::time::Instant;
use crate::workload::Workload;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One cluster as observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSnapshot {
    /// Which.
    pub id: ClusterId,
    /// Cloud region.
    pub region: RegionId,
    /// Grid zone.
    pub grid_zone: GridZone,
    /// Whether its API answered; capacity of an unreachable cluster is unknown, so nothing new goes there.
    pub reachable: bool,
    /// Labels for `clusters` selectors, `name`, `region`, `zone` included.
    pub labels: BTreeMap<String, String>,
    /// Sum of allocatable over ready, schedulable nodes.
    pub allocatable: Resources,
    /// Allocatable less what other work holds (our own Jobs' copies not counted): what placement may promise.
    pub free: Resources,
    /// Allocatable of each ready, schedulable node: a pod larger than all of them fits nowhere.
    pub nodes: Vec<Resources>,
    /// Power and price at the margin.
    pub rates: Rates,
    /// Forecast intensity from now on.
    pub intensity: Series,
    /// How far off that may be; `None`: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Where the intensity came from.
    pub intensity_from: Provenance,
}

/// A fleet at one instant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// When it was taken.
    pub at: Instant,
    /// The clusters, ordered by id.
    pub clusters: Vec<ClusterSnapshot>,
    /// Held, running and paused Jobs that are ours to place, ordered by key.
    pub workloads: Vec<Workload>,
    /// Jobs thought to come: room is kept for them as far as no Job that is here is late for it.
    #[serde(default)]
    pub expected: Vec<Workload>,
    /// Round trip in ms between clusters, `latency_ms[from][to]`, in the order of `clusters`.
    pub latency_ms: Vec<Vec<f64>>,
    /// Energy to move one GB (10⁹ bytes), in kWh, `transfer_kwh_per_gb[from][to]`; 0 on the diagonal.
    pub transfer_kwh_per_gb: Vec<Vec<f64>>,
    /// Money to move one GB between two clusters.
    pub transfer_price_per_gb: f64,
}
