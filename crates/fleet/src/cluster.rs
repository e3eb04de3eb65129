//! Clusters as they are described: where they stand, what they are made of, what they burn and cost.

use crate::carbon::SignalKind;
use crate::id::{ClusterId, GridZone, InstanceType, RegionId};
use crate::karpenter::{Karpenter, NodeTaint};
use crate::kubelet::KubeletSpec;
use crate::policy::Policy;
use crate::quantity::{Bytes, GramsCo2PerHour, MoneyPerHour, Watts};
use crate::supply::{Autoscaler, Limits, Supply};
use crate::tariff::Tariffs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Power of a node: idle and at full load, in between linear in the CPU requested or used.
///
/// Method: the linear model `idle + u·(full − idle)` of the Cloud Carbon Footprint methodology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePower {
    /// At no load.
    pub idle: Watts,
    /// With every vCPU busy.
    pub full: Watts,
}

impl NodePower {
    /// What a busy share `used / capacity` of the node adds to its idle power.
    pub fn dynamic(&self, used_nanocores: i64, capacity_nanocores: i64) -> Watts {
        (self.full - self.idle).scaled(used_nanocores.clamp(0, capacity_nanocores), capacity_nanocores)
    }
}

/// What a node draws at 10 % and at 50 % load, at the server; between the points of [`NodePower`] and these it is linear.
///
/// Source: Teads' AWS EC2 dataset (CPU, memory, GPUs and the rest of the machine), 2 to 100,000 W.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PowerCurve {
    /// At 10 %.
    pub tenth: Watts,
    /// At 50 %.
    pub half: Watts,
}

/// What a kubelet keeps of its node for the system (`kubeReserved`, `systemReserved`); besides, it keeps 100 MiB of memory free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reserved {
    /// Thousandths of a core.
    pub cpu_millis: i64,
    /// Memory.
    pub memory: Bytes,
}

/// Nodes of one kind in one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeGroup {
    /// Name; nodes are called `CLUSTER-NAME-N`.
    pub name: String,
    /// Instance type of each node.
    pub instance_type: InstanceType,
    /// How many nodes.
    pub count: u32,
    /// Availability zones the nodes are dealt over, in turn.
    pub zones: Vec<String>,
    /// vCPUs of a node.
    pub vcpu: i64,
    /// Memory of a node.
    pub memory: Bytes,
    /// GPUs of a node.
    pub gpu: i64,
    /// Most pods on a node.
    pub pods: i64,
    /// What the kubelet keeps of a node for the system; `None`: what EKS has it keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reserved>,
    /// Idle and full power of a node, at the server (before PUE).
    pub power: NodePower,
    /// Where the table says what it draws in between, and nobody else says what it draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<PowerCurve>,
    /// Price of a node: on demand, or of a spot machine.
    pub price: MoneyPerHour,
    /// Embodied emissions of a node, amortised; `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embodied: Option<GramsCo2PerHour>,
    /// Where power, price and embodied emissions came from, for display.
    pub sources: String,
    /// The same of power and price, in a word each.
    #[serde(default, skip_serializing_if = "RatesFrom::is_default")]
    pub rates_from: RatesFrom,
    /// How many nodes it may have; `None`: it keeps those it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How its machines come and go.
    #[serde(default, skip_serializing_if = "Supply::is_default")]
    pub supply: Supply,
    /// The Karpenter pool it is an offering of; `None`: it is a group of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_pool: Option<String>,
    /// Labels its nodes have besides those every node has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints its nodes have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<NodeTaint>,
    /// How its kubelets are set.
    #[serde(default, skip_serializing_if = "KubeletSpec::is_default")]
    pub kubelet: KubeletSpec,
}

/// Where a node's power or price came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateSource {
    /// Averages per vCPU: the instance type is in no table.
    #[default]
    Average,
    /// The built-in tables.
    Table,
    /// A file of instance types ([`crate::Instances`]).
    Instances,
    /// The fleet file.
    FleetFile,
    /// OpenCost.
    OpenCost,
    /// Kepler.
    Kepler,
}

impl RateSource {
    /// How sure it is: only Kepler meters; what a person or OpenCost says is of this fleet, though worked out from
    /// lists; tables and averages stand in.
    pub fn kind(self) -> SignalKind {
        match self {
            RateSource::Average | RateSource::Table => SignalKind::Assumed,
            RateSource::Instances | RateSource::FleetFile | RateSource::OpenCost => SignalKind::Estimated,
            RateSource::Kepler => SignalKind::Measured,
        }
    }
}

/// Where a node's power and price came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RatesFrom {
    /// Idle and full power.
    pub power: RateSource,
    /// Price.
    pub price: RateSource,
}

impl RatesFrom {
    /// Whether both are averages.
    pub fn is_default(&self) -> bool {
        *self == RatesFrom::default()
    }
}

/// What a node draws, costs and embodies: what is configured of it, and not observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRates {
    /// Idle and full power at the server, before PUE.
    pub power: NodePower,
    /// Price of the node.
    pub price: MoneyPerHour,
    /// Embodied emissions, amortised; `None`: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embodied: Option<GramsCo2PerHour>,
    /// Where power and price came from.
    #[serde(default, skip_serializing_if = "RatesFrom::is_default")]
    pub from: RatesFrom,
}

/// One cluster of the fleet file, every default filled in from the built-in tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Its name in the fleet.
    pub id: ClusterId,
    /// Cloud region.
    pub region: RegionId,
    /// Grid zone that feeds it.
    pub grid_zone: GridZone,
    /// Facility factor in thousandths (1270 = 1.27).
    pub pue_milli: i64,
    /// Labels for `kubercarbon.io/clusters` selectors; `name`, `region` and `zone` are added.
    pub labels: BTreeMap<String, String>,
    /// Its nodes.
    pub node_groups: Vec<NodeGroup>,
    /// How its scheduler decides: a `KubeSchedulerConfiguration`, or the path of a file with one until that is read.
    /// Nothing here knows what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<serde_json::Value>,
    /// How its autoscaler is set; it runs where a node group has limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Autoscaler>,
    /// How Karpenter is set, where it is there instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub karpenter: Option<Karpenter>,
    /// What disks and traffic between zones cost.
    #[serde(default, skip_serializing_if = "Tariffs::is_default")]
    pub tariffs: Tariffs,
}

impl ClusterSpec {
    /// Its node groups, and what its Karpenter pools may ask for.
    pub fn groups(&self) -> impl Iterator<Item = &NodeGroup> {
        self.node_groups.iter().chain(self.karpenter.iter().flat_map(Karpenter::offerings))
    }
    /// The one of these that has this name.
    pub fn group(&self, name: &str) -> Option<&NodeGroup> {
        self.groups().find(|group| group.name == name)
    }
    /// Labels a selector sees: the stated ones plus `name`, `region`, `zone`.
    pub fn selector_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.insert("name".to_owned(), self.id.to_string());
        labels.insert("region".to_owned(), self.region.to_string());
        labels.insert("zone".to_owned(), self.grid_zone.to_string());
        labels
    }
}

/// Seeded stream of demo Jobs a twin fleet creates by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DemoSpec {
    /// Mean arrivals per hour over the whole fleet (0–1000).
    pub jobs_per_hour: f64,
    /// Namespace the Jobs are created in.
    pub namespace: String,
}

impl Default for DemoSpec {
    fn default() -> DemoSpec {
        DemoSpec { jobs_per_hour: 3.0, namespace: "demo".to_owned() }
    }
}

/// A fleet file, checked and complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetSpec {
    /// Name of the fleet.
    pub name: String,
    /// ISO 4217 code every price is in.
    pub currency: String,
    /// The clusters, in the order of the file.
    pub clusters: Vec<ClusterSpec>,
    /// Placement policy.
    pub policy: Policy,
    /// Demo stream; `None`: none.
    pub demo: Option<DemoSpec>,
    /// Money per GB (10⁹ bytes) moved between clusters.
    pub transfer_price_per_gb: f64,
    /// Energy per GB moved, in kWh: (same continent, other).
    pub transfer_kwh_per_gb: (f64, f64),
}

impl FleetSpec {
    /// Where embodied emissions are to be counted, the node groups whose figure is unknown and counts as zero.
    pub fn embodied_unknown(&self) -> Vec<String> {
        let groups = self.clusters.iter().flat_map(|c| c.node_groups.iter().map(move |g| (c, g)));
        groups
            .filter(|(_, group)| self.policy.embodied && group.embodied.is_none())
            .map(|(cluster, group)| format!("{}/{} ({})", cluster.id, group.name, group.instance_type))
            .collect()
    }
}

/// What a core and a GPU burn and cost at a cluster, at the margin: the planner's view of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Power of one more busy core, PUE included.
    pub core_power: Watts,
    /// Power of one busy GPU, PUE included.
    pub gpu_power: Watts,
    /// Price of a core for an hour: the node's price shared by its vCPUs.
    pub core_price: MoneyPerHour,
    /// Price of a GPU for an hour; zero where it is part of the core price.
    pub gpu_price: MoneyPerHour,
    /// Embodied emissions at the margin; `None`: not to be counted ([`Policy::embodied`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embodied: Option<EmbodiedRate>,
}

/// Embodied emissions of a cluster's nodes, shared by their vCPUs.
///
/// GPUs have no share of their own: the table states one figure an instance, GPUs included, so a core of a
/// GPU instance bears part of its GPUs, whether the work uses them or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmbodiedRate {
    /// Of one core for an hour, PUE not applied: a mean over the nodes, weighted by their vCPUs.
    pub core: GramsCo2PerHour,
    /// Thousandths of the vCPUs whose nodes' figure is unknown, rounded up; they count as zero in `core`.
    pub unknown_permille: i64,
}
