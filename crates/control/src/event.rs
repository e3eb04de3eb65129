//! What happened: everything `Control` learns about the world.

use crate::distances::RoundTrip;
use crate::effect::EffectId;
use crate::inventory::{InventoryKind, Told};
use crate::job::Job;
use crate::lease::Leader;
use crate::usage::UsageReport;
use fleet::{
    ClusterId, GramsCo2PerHour, GridZone, Instant, JobKey, Mode, MoneyPerHour, NodeName, NodePower,
    PolicyKind, Provenance, RatesFrom, RegionId, Resources, Series,
};
use ledger::Labels;
use ledger::allocation::Owner;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something `Control` is told. Events of one cluster arrive in the order they happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A cluster of the fleet, as configured; comes before anything else about it.
    Cluster(ClusterFacts),
    /// The cluster's API began or ceased to answer.
    Reachable {
        /// Which.
        cluster: ClusterId,
        /// `Err`: it does not, and why; what is known of it holds no more.
        reachable: Result<(), String>,
    },
    /// The first lists of the cluster are complete: what was not seen by now is not there.
    Synced {
        /// Which.
        cluster: ClusterId,
    },
    /// Who may write to the cluster, where several processes share a fleet.
    Leading {
        /// Which.
        cluster: ClusterId,
        /// This process, another, or nobody.
        leader: Leader,
    },
    /// A node as it is now; `None`: gone.
    Node {
        /// Where.
        cluster: ClusterId,
        /// Which.
        node: NodeName,
        /// Its state.
        now: Option<NodeObservation>,
    },
    /// A pod as it is now; `None`: gone.
    Pod {
        /// Where.
        cluster: ClusterId,
        /// `NAMESPACE/NAME`.
        pod: Arc<str>,
        /// Its state.
        now: Option<PodObservation>,
    },
    /// A Job as it is now.
    Job {
        /// Where.
        cluster: ClusterId,
        /// The object.
        job: Arc<Job>,
    },
    /// A Job is gone.
    JobGone {
        /// Where.
        cluster: ClusterId,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Values of a PriorityClass; `None`: gone.
    Priority {
        /// Where.
        cluster: ClusterId,
        /// Its name.
        class: String,
        /// Its value.
        value: Option<i32>,
    },
    /// A grid zone's intensity: what was, and what is expected.
    Intensity {
        /// Zone.
        zone: GridZone,
        /// Actual values as far as known; the last one holds on.
        actual: Series,
        /// Where `actual` came from.
        actual_from: Provenance,
        /// Expected values from now on.
        forecast: Series,
        /// Where the forecast came from.
        forecast_from: Provenance,
    },
    /// What a cluster's nodes and pods used lately.
    Usage {
        /// Where.
        cluster: ClusterId,
        /// `Err`: nobody says any more, and why.
        report: Result<Arc<UsageReport>, String>,
    },
    /// How long a cluster's API server takes to answer.
    RoundTrip {
        /// Where.
        cluster: ClusterId,
        /// As it is known now; `None`: it does not answer.
        trip: Option<RoundTrip>,
    },
    /// What a cluster has beside nodes, pods and Jobs.
    Inventory {
        /// Where.
        cluster: ClusterId,
        /// Of which kind.
        kind: InventoryKind,
        /// What is told.
        told: Told,
    },
    /// An effect has been carried out, or not.
    Done {
        /// Which.
        effect: EffectId,
        /// How it went.
        result: Result<Outcome, Failure>,
    },
    /// What a person wants.
    Order(Order),
}

/// What is configured or measured once about a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterFacts {
    /// Name in the fleet.
    pub id: ClusterId,
    /// Region.
    pub region: RegionId,
    /// Grid zone.
    pub grid_zone: GridZone,
    /// Facility factor in thousandths.
    pub pue_milli: i64,
    /// Labels selectors see.
    pub labels: BTreeMap<String, String>,
    /// Who may change it.
    pub mode: Mode,
    /// How people reach it: the kubeconfig context of `kubectl` commands we print.
    pub context: String,
    /// What tells it from every other cluster, whatever it is called: the uid of its namespace `kube-system`.
    /// `None`: not known, or a twin, whose names are its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// A node as the planner and the account need it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeObservation {
    /// What pods may ask for in all.
    pub allocatable: Resources,
    /// What the machine has: vCPUs the power model is for.
    pub capacity: Resources,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether new pods may come (not cordoned, no NoSchedule taint).
    pub schedulable: bool,
    /// Idle and full power at the server.
    pub power: NodePower,
    /// Price of the node.
    pub price: MoneyPerHour,
    /// Embodied emissions of the node, amortised; `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embodied: Option<GramsCo2PerHour>,
    /// Where power and price came from.
    #[serde(default)]
    pub rates_from: RatesFrom,
    /// Its labels that say where it stands and what it is: zone, instance type, pool ([`crate::observe::NODE_LABELS`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A pod that still holds resources, or is about to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodObservation {
    /// Node it is bound to.
    pub node: Option<NodeName>,
    /// Its requests.
    pub requests: Resources,
    /// Whether its containers run now (power is drawn).
    pub running: bool,
    /// Whether it holds its requests (not Succeeded or Failed).
    pub active: bool,
    /// Since when all its containers have run; `None` while one has not started, or waits to start again.
    pub started: Option<Instant>,
    /// When the last of its containers ended for good.
    pub ended: Option<Instant>,
    /// Whether it ended without success: what it did is lost.
    pub failed: bool,
    /// Name of the Job that owns it, in its namespace.
    pub job: Option<String>,
    /// Its namespace.
    pub namespace: String,
    /// What it belongs to, as people call it.
    pub owner: Owner,
    /// Its labels, without those that tell single pods apart.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// A Job's identity and version, from a write's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct JobVersion {
    /// The object after the write.
    pub job: Arc<Job>,
}

/// What an effect gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The Job after the write.
    Job(JobVersion),
    /// Done, nothing to tell.
    Done,
}

/// Why an effect was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The API server refused: HTTP code, reason and its words.
    Refused {
        /// HTTP status code.
        code: u16,
        /// `AlreadyExists`, `NotFound`, `Conflict`, `Invalid`, `Forbidden`…
        reason: String,
        /// Its words.
        message: String,
    },
    /// No answer; it may or may not have been done.
    Unanswered {
        /// What was tried.
        message: String,
    },
}

/// What a person asks of the product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Order {
    /// Yes to the plan of one Job, and to later moves inside its window.
    Approve {
        /// Which.
        job: JobKey,
    },
    /// Let a Job go: start it now, at home if it is not committed elsewhere.
    Release {
        /// Which; `None`: every held Job.
        job: Option<JobKey>,
    },
    /// Change the mode of every cluster.
    Mode {
        /// To this.
        mode: Mode,
    },
    /// Change the placement policy.
    Policy {
        /// To this.
        kind: PolicyKind,
    },
}
