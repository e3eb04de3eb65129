//! The fleet file: YAML in, a checked [`FleetSpec`] with every default filled in from the built-in
//! tables out. Errors name line and column or field, what was found and what was expected.

mod amount;
mod karpenter;
mod kubelet;
mod supply;
mod tariff;

use crate::builtin;
use crate::cluster::{
    ClusterSpec, DemoSpec, FleetSpec, NodeGroup, NodePower, PowerCurve, RateSource, RatesFrom, Reserved,
};
use crate::id::{ClusterId, GridZone, InstanceType, RegionId};
use crate::instances::Instances;
use crate::karpenter::Karpenter;
use crate::kubelet::KubeletSpec;
use crate::plan::API_VERSION;
use crate::policy::Policy;
use crate::quantity::{Bytes, GramsCo2PerHour, MoneyPerHour, Watts};
use crate::supply::Autoscaler;
use crate::time::Span;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter};
use std::collections::BTreeMap;

/// Largest fleet file read, in bytes.
pub const SIZE_MAX: usize = 1 << 20;
/// Most clusters in a fleet file.
pub const CLUSTERS_MAX: usize = 200;
/// Most nodes in one cluster.
pub const NODES_MAX: u32 = 5000;
/// Pods on a node where nothing is stated: the kubelet's default (`maxPods`).
const PODS: u32 = 110;
/// Most pods that may be stated for a node.
const PODS_MAX: u32 = 1000;

/// Most embodied emissions of a node, in g CO2e an hour: 350 t over 4 years, a hundred times the table's largest.
const EMBODIED_MAX: f64 = 10_000.0;

/// What is wrong with a fleet file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too large to read.
    #[error("{found} bytes: expected at most {SIZE_MAX}")]
    Size {
        /// Its size.
        found: usize,
    },
    /// Not YAML, or not of this shape; the text has line and column.
    #[error("{0}")]
    Shape(String),
    /// A field's value cannot be.
    #[error("{field}: {found}: expected {expected}")]
    Field {
        /// Path of the field, e.g. `clusters[1].region`.
        field: String,
        /// What stood there.
        found: String,
        /// What would do.
        expected: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    currency: Option<String>,
    clusters: Vec<Cluster>,
    #[serde(default)]
    policy: Policy,
    #[serde(default)]
    demo: Option<DemoSpec>,
    #[serde(default)]
    transfer: Transfer,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Transfer {
    price_per_gb: f64,
    kwh_per_gb_near: f64,
    kwh_per_gb_far: f64,
}

/// Price of a GB moved between clusters where none is stated: the usual inter-region list price of AWS.
pub const TRANSFER_PRICE_PER_GB: f64 = 0.02;
/// Energy of a GB moved where none is stated, in kWh: on one continent, and between continents.
pub const TRANSFER_KWH_PER_GB: (f64, f64) = (0.0025, 0.0075);

impl Default for Transfer {
    fn default() -> Transfer {
        let (kwh_per_gb_near, kwh_per_gb_far) = TRANSFER_KWH_PER_GB;
        Transfer { price_per_gb: TRANSFER_PRICE_PER_GB, kwh_per_gb_near, kwh_per_gb_far }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cluster {
    name: String,
    region: String,
    #[serde(default)]
    grid_zone: Option<String>,
    #[serde(default)]
    pue: Option<f64>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    node_groups: Vec<Group>,
    #[serde(default)]
    scheduler: Option<Value>,
    #[serde(default)]
    cluster_autoscaler: Option<Autoscaler>,
    #[serde(default)]
    karpenter: Option<karpenter::KarpenterFile>,
    #[serde(default)]
    prices: Option<tariff::PricesFile>,
    /// Pods that every node runs by itself.
    #[serde(default)]
    static_pods: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Group {
    name: String,
    instance_type: String,
    count: u32,
    #[serde(default)]
    zones: Vec<String>,
    #[serde(default)]
    idle_watts: Option<f64>,
    #[serde(default)]
    full_watts: Option<f64>,
    #[serde(default)]
    price_per_hour: Option<f64>,
    #[serde(default)]
    embodied_grams_per_hour: Option<f64>,
    #[serde(default)]
    max_pods: Option<u32>,
    #[serde(default)]
    kube_reserved: Option<ReservedFile>,
    #[serde(default)]
    min: Option<u32>,
    #[serde(default)]
    max: Option<u32>,
    #[serde(default)]
    boot_time: Option<supply::DelayFile>,
    #[serde(default)]
    join_time: Option<supply::DelayFile>,
    #[serde(default)]
    shortage: Option<supply::ShortageFile>,
    #[serde(default)]
    spot: Option<supply::SpotFile>,
    #[serde(default)]
    kubelet_version: Option<String>,
    #[serde(default)]
    shutdown_grace_period: Option<Span>,
    #[serde(default)]
    shutdown_grace_period_critical_pods: Option<Span>,
    #[serde(default)]
    shutdown_grace_period_by_pod_priority: Vec<kubelet::PriorityFile>,
    #[serde(default)]
    static_pods: Vec<Value>,
}

impl Group {
    /// What is said of its kubelets, beside the pods that all nodes of the cluster run by themselves.
    fn kubelet<'a>(&'a self, of_cluster: &'a [Value]) -> kubelet::KubeletFile<'a> {
        kubelet::KubeletFile {
            version: self.kubelet_version.as_deref(),
            grace: self.shutdown_grace_period,
            grace_critical: self.shutdown_grace_period_critical_pods,
            by_priority: &self.shutdown_grace_period_by_pod_priority,
            static_pods: [of_cluster, &self.static_pods],
        }
    }
}

/// What the kubelet keeps; what is not stated of it is none.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservedFile {
    #[serde(default)]
    cpu: Option<Value>,
    #[serde(default)]
    memory: Option<Value>,
}

fn field(field: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Field { field: field.into(), found: found.into(), expected: expected.into() }
}

/// Reads YAML, or JSON, whose shape others know.
pub fn document(text: &str) -> Result<Value, Error> {
    if text.len() > SIZE_MAX {
        return Err(Error::Size { found: text.len() });
    }
    yaml(text)
}

/// Reads YAML, or JSON. The error has line and column, and shows the place.
///
/// # Errors
/// What is no YAML, or not of this shape.
pub fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_saphyr::from_str(text).map_err(|error| {
        let said = error.to_string();
        // The reader begins with that word where it shows the place, and whoever prints this has said it.
        Error::Shape(said.strip_prefix("error: ").map(str::to_owned).unwrap_or(said))
    })
}

/// Reads a fleet of twins that was put together from what a person wrote elsewhere. The error has no line: nobody wrote any.
///
/// # Errors
/// As of [`parse`].
pub fn parse_value(document: &Value) -> Result<FleetSpec, Error> {
    let file = serde_saphyr::from_str(&document.to_string()).map_err(|error| {
        let said = DefaultMessageFormatter.format_message(error.without_snippet());
        Error::Shape(said.chars().filter(|c| !c.is_control()).collect())
    })?;
    inhabited(check(file, &Instances::default())?)
}

/// Reads a fleet file of twins.
pub fn parse(text: &str) -> Result<FleetSpec, Error> {
    parse_with(text, &Instances::default())
}

/// The same, where a person states something about instance types.
pub fn parse_with(text: &str, instances: &Instances) -> Result<FleetSpec, Error> {
    inhabited(read(text, instances)?)
}

/// Refuses clusters that have no nodes and never get any.
fn inhabited(fleet: FleetSpec) -> Result<FleetSpec, Error> {
    for (i, cluster) in fleet.clusters.iter().enumerate() {
        let may_grow = |group: &NodeGroup| group.limits.is_some_and(|limits| limits.max > 0);
        let none = cluster.node_groups.iter().all(|group| group.count == 0 && !may_grow(group));
        if none && cluster.karpenter.is_none() {
            let expected = format!("1 to {NODES_MAX}");
            return Err(field(format!("clusters[{i}].nodeGroups"), "0 nodes", expected));
        }
    }
    Ok(fleet)
}

/// Reads a fleet file that says what clusters do not say themselves; their nodes they do.
pub fn parse_stated(text: &str) -> Result<FleetSpec, Error> {
    read(text, &Instances::default())
}

fn read(text: &str, instances: &Instances) -> Result<FleetSpec, Error> {
    if text.len() > SIZE_MAX {
        return Err(Error::Size { found: text.len() });
    }
    check(yaml(text)?, instances)
}

fn check(file: File, instances: &Instances) -> Result<FleetSpec, Error> {
    for (name, found, expected) in
        [("apiVersion", &file.api_version, API_VERSION), ("kind", &file.kind, "Fleet")]
    {
        if found != expected {
            return Err(field(name, format!("{found:?}"), expected));
        }
    }
    if file.clusters.is_empty() || file.clusters.len() > CLUSTERS_MAX {
        return Err(field(
            "clusters",
            format!("{} clusters", file.clusters.len()),
            format!("1 to {CLUSTERS_MAX}"),
        ));
    }
    check_range("policy.durationMarginPercent", file.policy.duration_margin_percent as f64, 0.0, 100.0)?;
    for (name, value) in [
        ("pricePerGb", file.transfer.price_per_gb),
        ("kwhPerGbNear", file.transfer.kwh_per_gb_near),
        ("kwhPerGbFar", file.transfer.kwh_per_gb_far),
    ] {
        check_range(&format!("transfer.{name}"), value, 0.0, 1000.0)?;
    }
    if let Some(demo) = &file.demo {
        check_range("demo.jobsPerHour", demo.jobs_per_hour, 0.0, 1000.0)?;
        crate::id::ObjectName::new(&demo.namespace)
            .map_err(|e| field("demo.namespace", format!("{:?}", e.found), "a namespace"))?;
    }
    let mut clusters: Vec<ClusterSpec> = Vec::with_capacity(file.clusters.len());
    for (i, cluster) in file.clusters.iter().enumerate() {
        let path = format!("clusters[{i}]");
        let spec = cluster_spec(&path, cluster, instances)?;
        if clusters.iter().any(|c| c.id == spec.id) {
            return Err(field(
                format!("{path}.name"),
                format!("{:?} a second time", cluster.name),
                "a name of its own for each cluster",
            ));
        }
        clusters.push(spec);
    }
    Ok(FleetSpec {
        name: file.metadata.name.unwrap_or_else(|| "fleet".to_owned()),
        currency: file.currency.unwrap_or_else(|| "USD".to_owned()),
        clusters,
        policy: file.policy,
        demo: file.demo,
        transfer_price_per_gb: file.transfer.price_per_gb,
        transfer_kwh_per_gb: (file.transfer.kwh_per_gb_near, file.transfer.kwh_per_gb_far),
    })
}

fn check_range(name: &str, value: f64, low: f64, high: f64) -> Result<(), Error> {
    if value.is_finite() && (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(field(name, value.to_string(), format!("a number from {low} to {high}")))
    }
}

fn cluster_spec(path: &str, cluster: &Cluster, instances: &Instances) -> Result<ClusterSpec, Error> {
    let id = ClusterId::new(&cluster.name)
        .map_err(|e| field(format!("{path}.name"), format!("{:?}", e.found), "a cluster name"))?;
    let region_id = RegionId::new(&cluster.region)
        .map_err(|e| field(format!("{path}.region"), format!("{:?}", e.found), "a region"))?;
    let region = builtin::region(&region_id);
    let grid_zone = match (&cluster.grid_zone, &region) {
        (Some(zone), _) => GridZone::new(zone)
            .map_err(|e| field(format!("{path}.gridZone"), format!("{:?}", e.found), "a grid zone"))?,
        (None, Some(region)) => region.grid_zone.clone(),
        (None, None) => {
            return Err(field(
                format!("{path}.region"),
                format!("{:?}", cluster.region),
                format!(
                    "a region of the built-in table ({}), or a gridZone beside it",
                    nearest(&cluster.region, builtin::region_ids())
                ),
            ));
        }
    };
    // 1.135: the mean PUE of AWS by the Cloud Carbon Footprint methodology, where the region is unknown.
    let pue_milli = match cluster.pue {
        Some(pue) => {
            check_range(&format!("{path}.pue"), pue, 1.0, 5.0)?;
            (pue * 1000.0).round() as i64
        }
        None => region.as_ref().map_or(1135, |r| r.pue_milli),
    };
    let mut node_groups = Vec::with_capacity(cluster.node_groups.len());
    for (g, group) in cluster.node_groups.iter().enumerate() {
        let path = format!("{path}.nodeGroups[{g}]");
        let kubelet = kubelet::kubelet(&path, &group.kubelet(&cluster.static_pods))?;
        node_groups.push(NodeGroup { kubelet, ..node_group(&path, group, &region_id, instances)? });
    }
    let nodes: u64 = node_groups.iter().map(|g: &NodeGroup| u64::from(g.count)).sum();
    if nodes > u64::from(NODES_MAX) {
        return Err(field(
            format!("{path}.nodeGroups"),
            format!("{nodes} nodes"),
            format!("1 to {NODES_MAX}"),
        ));
    }
    let scheduler = cluster.scheduler.clone().filter(|stated| !stated.is_null());
    if let Some(other) = scheduler.as_ref().filter(|s| !s.is_object() && !s.is_string()) {
        let expected = "a KubeSchedulerConfiguration, or the path of a file with one";
        return Err(field(format!("{path}.scheduler"), other.to_string(), expected));
    }
    if let Some(stated) = &cluster.cluster_autoscaler {
        supply::autoscaler(&format!("{path}.clusterAutoscaler"), stated)?;
    }
    let karpenter = karpenter(path, cluster, &region_id, (&node_groups, instances))?;
    Ok(ClusterSpec {
        id,
        region: region_id,
        grid_zone,
        pue_milli,
        labels: cluster.labels.clone(),
        node_groups,
        scheduler,
        autoscaler: cluster.cluster_autoscaler.clone(),
        karpenter,
        tariffs: tariff::tariffs(&format!("{path}.prices"), cluster.prices.as_ref())?,
    })
}

/// How Karpenter is set, if it is there: beside it no other autoscaler decides of nodes.
fn karpenter(
    path: &str,
    cluster: &Cluster,
    region: &RegionId,
    (groups, instances): (&[NodeGroup], &Instances),
) -> Result<Option<Karpenter>, Error> {
    let Some(stated) = &cluster.karpenter else { return Ok(None) };
    if cluster.cluster_autoscaler.is_some() {
        let expected = "clusterAutoscaler or karpenter: they ignore each other's nodes";
        return Err(field(format!("{path}.karpenter"), "both", expected));
    }
    if let Some(grows) = groups.iter().position(|group| group.limits.is_some()) {
        let place = format!("{path}.nodeGroups[{grows}].max");
        return Err(field(place, "an autoscaled group", "groups of a fixed count beside karpenter"));
    }
    let taken = groups.iter().map(|group| group.name.as_str()).collect();
    let offered = karpenter::Offered { region, instances, taken };
    karpenter::karpenter(&format!("{path}.karpenter"), stated, &offered).map(Some)
}

/// What an instance type is, by what is stated of it, else by the built-in table.
struct Machine {
    vcpu: i64,
    memory: Bytes,
    gpu: i64,
    power: NodePower,
    curve: Option<PowerCurve>,
    power_from: RateSource,
    watts_source: String,
    price: Option<MoneyPerHour>,
    embodied: (Option<GramsCo2PerHour>, &'static str),
}

/// What the text is called by whom instances are stated.
const STATED: &str = "instances file";

fn machine(
    path: &str,
    group: &Group,
    region: &RegionId,
    instances: &Instances,
) -> Result<(InstanceType, Machine), Error> {
    let name = &group.instance_type;
    let unknown = || {
        field(
            format!("{path}.instanceType"),
            format!("{name:?}"),
            format!(
                "an instance type of the built-in table ({}), or of an instances file with its watts, vCPUs and memory",
                nearest(name, builtin::instance_ids())
            ),
        )
    };
    let id = InstanceType::new(name).map_err(|_| unknown())?;
    let (stated, listed) = (instances.stated(&id, Some(region)), builtin::instance(&id));
    let size = |i: &builtin::Instance| (i.vcpu, i.memory, i.gpu);
    let (vcpu, memory, gpu) = listed
        .as_ref()
        .map(size)
        .or_else(|| stated.vcpu.zip(stated.memory).map(|(vcpu, memory)| (vcpu, memory, 0)))
        .ok_or_else(unknown)?;
    let table = listed.as_ref().map(|i| (i.power, RateSource::Table, i.watts_source.clone()));
    let own = stated.power.map(|power| (power, RateSource::Instances, STATED.to_owned()));
    let (power, power_from, watts_source) = own.or(table).ok_or_else(unknown)?;
    let listed_embodied = listed.as_ref().and_then(|i| i.embodied);
    let embodied = match (stated.embodied, listed_embodied) {
        (Some(grams), _) => (Some(grams), STATED),
        (None, Some(grams)) => (Some(grams), "built-in table"),
        (None, None) => (None, "unknown"),
    };
    let (vcpu, memory) = (stated.vcpu.unwrap_or(vcpu), stated.memory.unwrap_or(memory));
    let price = stated.price;
    let curve = listed.as_ref().and_then(|i| i.curve).filter(|_| power_from == RateSource::Table);
    Ok((id, Machine { vcpu, memory, gpu, power, curve, power_from, watts_source, price, embodied }))
}

/// What a node of a group costs, where that is from, and the same in a word.
fn price(
    path: &str,
    group: &Group,
    region: &RegionId,
    instance_type: &InstanceType,
    (machine, listed): (&Machine, Option<(MoneyPerHour, &'static str)>),
) -> Result<(MoneyPerHour, &'static str, RateSource), Error> {
    Ok(match (group.price_per_hour, machine.price, listed) {
        (Some(price), ..) => {
            check_range(&format!("{path}.pricePerHour"), price, 0.0, 10_000.0)?;
            (MoneyPerHour::from_units_f64(price), "fleet file", RateSource::FleetFile)
        }
        (None, Some(price), _) => (price, STATED, RateSource::Instances),
        (None, None, Some((price, source))) => (price, source, RateSource::Table),
        (None, None, None) => {
            return Err(field(
                format!("{path}.pricePerHour"),
                format!("no list price of {instance_type} in {region}"),
                "a price per hour in the fleet file",
            ));
        }
    })
}

fn node_group(
    path: &str,
    group: &Group,
    region: &RegionId,
    instances: &Instances,
) -> Result<NodeGroup, Error> {
    let listed = InstanceType::new(&group.instance_type).ok().and_then(|id| match group.spot {
        Some(_) => builtin::spot_price(region, &id),
        None => builtin::on_demand_price(region, &id),
    });
    node_group_at(path, group, (region, instances), listed)
}

/// The same, where the list price is known.
fn node_group_at(
    path: &str,
    group: &Group,
    (region, instances): (&RegionId, &Instances),
    listed: Option<(MoneyPerHour, &'static str)>,
) -> Result<NodeGroup, Error> {
    let (instance_type, machine) = machine(path, group, region, instances)?;
    crate::id::ObjectName::new(&group.name)
        .map_err(|e| field(format!("{path}.name"), format!("{:?}", e.found), "a node group name"))?;
    if group.count > NODES_MAX {
        return Err(field(format!("{path}.count"), group.count.to_string(), format!("at most {NODES_MAX}")));
    }
    let limits = supply::limits(path, group.count, group.min, group.max)?;
    let delays = (group.boot_time.as_ref(), group.join_time.as_ref());
    let supply = supply::supply(path, delays, group.shortage.as_ref(), group.spot.as_ref())?;
    let (price, price_source, price_from) = price(path, group, region, &instance_type, (&machine, listed))?;
    for (name, watts) in [("idleWatts", group.idle_watts), ("fullWatts", group.full_watts)] {
        check_range(&format!("{path}.{name}"), watts.unwrap_or(0.0), 0.0, 100_000.0)?;
    }
    let max_pods = group.max_pods.unwrap_or(PODS);
    if !(1..=PODS_MAX).contains(&max_pods) {
        return Err(field(format!("{path}.maxPods"), max_pods.to_string(), format!("1 to {PODS_MAX}")));
    }
    let (embodied, embodied_source) = match group.embodied_grams_per_hour {
        Some(grams) => {
            check_range(&format!("{path}.embodiedGramsPerHour"), grams, 0.0, EMBODIED_MAX)?;
            (Some(GramsCo2PerHour::from_grams_f64(grams)), "fleet file")
        }
        None => machine.embodied,
    };
    let watts = |stated: Option<f64>, listed: Watts| stated.map_or(listed, Watts::from_watts_f64);
    let of_file = group.idle_watts.is_some() || group.full_watts.is_some();
    let zones = if group.zones.is_empty() { zones(region) } else { group.zones.clone() };
    let watts_source = &machine.watts_source;
    Ok(NodeGroup {
        name: group.name.clone(),
        count: group.count,
        zones,
        vcpu: machine.vcpu,
        memory: machine.memory,
        gpu: machine.gpu,
        pods: i64::from(max_pods),
        reserved: group.kube_reserved.as_ref().map(|own| reserved(path, own, &machine)).transpose()?,
        power: NodePower {
            idle: watts(group.idle_watts, machine.power.idle),
            full: watts(group.full_watts, machine.power.full),
        },
        curve: machine.curve.filter(|_| !of_file),
        price,
        embodied,
        sources: format!("watts: {watts_source}, price: {price_source}, embodied: {embodied_source}"),
        rates_from: RatesFrom {
            power: if of_file { RateSource::FleetFile } else { machine.power_from },
            price: price_from,
        },
        limits,
        supply,
        kubelet: KubeletSpec::default(),
        instance_type,
        node_pool: None,
        labels: BTreeMap::new(),
        taints: Vec::new(),
    })
}

/// What a kubelet is stated to keep of its node.
fn reserved(path: &str, stated: &ReservedFile, machine: &Machine) -> Result<Reserved, Error> {
    let amount =
        |name: &str, stated: &Option<Value>, read: fn(&str) -> Option<i64>, most: i64, expected: &str| {
            let Some(value) = stated else { return Ok(0) };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let found = read(&text).filter(|amount| *amount <= most);
            found.ok_or_else(|| field(format!("{path}.kubeReserved.{name}"), format!("{text:?}"), expected))
        };
    let (cpu, memory) = (machine.vcpu * 1000, machine.memory.as_bytes());
    Ok(Reserved {
        cpu_millis: amount("cpu", &stated.cpu, amount::millis, cpu, "CPU of the node, such as 80m")?,
        memory: Bytes::from_bytes(amount(
            "memory",
            &stated.memory,
            amount::bytes,
            memory,
            "memory of the node, such as 255Mi",
        )?),
    })
}

/// The zones of a region where none are stated.
fn zones(region: &RegionId) -> Vec<String> {
    ["a", "b", "c"].iter().map(|letter| format!("{region}{letter}")).collect()
}

/// Up to three known names that look like `found`, for a hint.
fn nearest(found: &str, known: impl Iterator<Item = &'static str>) -> String {
    let shared = |name: &str| name.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
    let mut all: Vec<(usize, &str)> = known.map(|name| (shared(name), name)).collect();
    all.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let names: Vec<&str> = all.iter().take(3).map(|(_, name)| *name).collect();
    format!("e.g. {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
metadata: {name: demo}
clusters:
- name: kr
  region: ap-northeast-2
  nodeGroups:
  - {name: general, instanceType: m6i.2xlarge, count: 6}
";

    #[test]
    fn what_the_reader_of_yaml_says_is_told_once() {
        let bad = GOOD.replace("count: 6", "cuont: 6");
        let told = parse(&bad).unwrap_err().to_string();
        assert!(
            told.starts_with("line 8 column 48: unknown field `cuont`, expected one of name, instanceType"),
            "{told}"
        );
        assert!(told.contains("cuont: 6"), "the place is shown: {told}");
        // What nobody wrote has no line.
        let value: Value = yaml(&bad).unwrap();
        let told = parse_value(&value).unwrap_err().to_string();
        assert!(told.starts_with("unknown field `cuont`, expected one of name, instanceType"), "{told}");
        assert!(!told.contains("line"), "{told}");
    }

    #[test]
    fn defaults_come_from_the_tables() {
        let fleet = parse(GOOD).unwrap();
        let kr = &fleet.clusters[0];
        assert_eq!(kr.grid_zone.as_str(), "KR");
        assert_eq!(kr.node_groups[0].zones, ["ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"]);
        assert_eq!(kr.node_groups[0].price, MoneyPerHour::from_units_f64(0.472));
        assert_eq!(kr.selector_labels()["zone"], "KR");
    }

    #[test]
    fn pods_of_a_node_are_the_kubelets_or_stated() {
        let pods = |text: &str| Ok::<_, Error>(parse(text)?.clusters[0].node_groups[0].pods);
        assert_eq!(pods(GOOD).unwrap(), 110);
        let with = |most: &str| GOOD.replacen("count: ", &format!("maxPods: {most}, count: "), 1);
        assert_eq!(pods(&with("17")).unwrap(), 17);
        let error = pods(&with("0")).unwrap_err().to_string();
        assert!(error.ends_with(".maxPods: 0: expected 1 to 1000"), "{error}");
    }

    #[test]
    fn embodied_carbon_is_stated_listed_or_unknown_and_not_counted_unasked() {
        let group = |text: &str| parse(text).unwrap().clusters[0].node_groups[0].clone();
        assert_eq!(group(GOOD).embodied, Some(GramsCo2PerHour::from_grams_f64(3.19)));
        let stated = group(&GOOD.replace("count: 6", "count: 6, embodiedGramsPerHour: 12.5"));
        assert_eq!(stated.embodied, Some(GramsCo2PerHour::from_grams_f64(12.5)));
        let unknown =
            group(&GOOD.replace("m6i.2xlarge", "c6i.2xlarge").replace("count", "pricePerHour: 1, count"));
        assert_eq!(unknown.embodied, None);
        assert!(unknown.sources.ends_with("embodied: unknown"), "{}", unknown.sources);
        assert!(!parse(GOOD).unwrap().policy.embodied);
        assert!(parse(&format!("{GOOD}policy: {{embodied: true}}\n")).unwrap().policy.embodied);
        let group = "instanceType: c6i.2xlarge, pricePerHour: 1";
        let text = format!("{GOOD}policy: {{embodied: true}}\n").replace("instanceType: m6i.2xlarge", group);
        assert_eq!(parse(&text).unwrap().embodied_unknown(), ["kr/general (c6i.2xlarge)"]);
        assert!(parse(&text.replace("true", "false")).unwrap().embodied_unknown().is_empty());
        let off = serde_json::to_string(&Policy::default()).unwrap();
        assert!(!off.contains("embodied"), "off, a policy is written as before: {off}");
    }

    #[test]
    fn what_a_kubelet_keeps_may_be_stated() {
        let kept = |text: &str| {
            let text = GOOD.replacen("count: ", &format!("kubeReserved: {text}, count: "), 1);
            parse(&text)
                .map(|fleet| fleet.clusters[0].node_groups[0].reserved)
                .map_err(|error| error.to_string())
        };
        let own = |cpu_millis, mib| Ok(Some(Reserved { cpu_millis, memory: Bytes::from_mib(mib) }));
        assert_eq!(parse(GOOD).unwrap().clusters[0].node_groups[0].reserved, None);
        assert_eq!(kept("{cpu: 80m, memory: 255Mi}"), own(80, 255));
        assert_eq!(kept("{cpu: 1}"), own(1000, 0));
        assert_eq!(kept("{}"), own(0, 0));
        let wrong = kept("{memory: 64Gi}").unwrap_err();
        assert!(
            wrong.starts_with("clusters[0].nodeGroups[0].kubeReserved.memory: \"64Gi\": expected memory"),
            "{wrong}"
        );
        assert!(kept("{cpu: lots}").unwrap_err().contains("expected CPU of the node"));
    }

    #[test]
    fn what_is_stated_of_instances_comes_before_the_table_and_after_the_file() {
        let (kind, region) =
            (|name| InstanceType::new(name).unwrap(), RegionId::new("ap-northeast-2").unwrap());
        let watts =
            |idle, full| NodePower { idle: Watts::from_watts_f64(idle), full: Watts::from_watts_f64(full) };
        let price = Some(MoneyPerHour::from_units_f64(0.2));
        let own = crate::instances::Stated {
            price,
            power: Some(watts(9.0, 90.0)),
            vcpu: Some(12),
            memory: Some(Bytes::from_gib(48)),
            ..Default::default()
        };
        let mut all = Instances::default();
        assert!(all.insert(
            kind("m6i.2xlarge"),
            Some(region),
            crate::instances::Stated { price, ..Default::default() }
        ));
        assert!(all.insert(kind("rack-1"), None, own));
        let group = |text: &str| parse_with(text, &all).unwrap().clusters[0].node_groups[0].clone();
        let listed = group(GOOD);
        assert_eq!((Some(listed.price), listed.vcpu), (price, 8));
        assert_eq!(listed.rates_from, RatesFrom { power: RateSource::Table, price: RateSource::Instances });
        let rack = group(&GOOD.replace("m6i.2xlarge", "rack-1"));
        assert_eq!((rack.power, rack.vcpu, rack.memory), (watts(9.0, 90.0), 12, Bytes::from_gib(48)));
        assert!(rack.sources.starts_with("watts: instances file, price: instances file"), "{}", rack.sources);
        let stated = group(&GOOD.replace("count: 6", "count: 6, pricePerHour: 7, idleWatts: 1"));
        assert_eq!(
            (stated.price, stated.power.idle),
            (MoneyPerHour::from_units_f64(7.0), Watts::from_watts_f64(1.0))
        );
        assert_eq!(
            stated.rates_from,
            RatesFrom { power: RateSource::FleetFile, price: RateSource::FleetFile }
        );
        assert!(
            parse(&GOOD.replace("m6i.2xlarge", "rack-1"))
                .unwrap_err()
                .to_string()
                .contains("or of an instances file")
        );
    }

    #[test]
    fn errors_say_where_what_and_what_was_expected() {
        let cases = [
            (
                ("ap-northeast-2", "ap-northeast-9"),
                "clusters[0].region: \"ap-northeast-9\": expected a region of the built-in table (e.g. ap-northeast-1",
            ),
            (
                ("m6i.2xlarge", "m6i.3xlarge"),
                "clusters[0].nodeGroups[0].instanceType: \"m6i.3xlarge\": expected an instance type",
            ),
            (("count: 6", "count: 6000"), "clusters[0].nodeGroups[0].count: 6000: expected at most 5000"),
            (("kind: Fleet", "kind: Fleets"), "kind: \"Fleets\": expected Fleet"),
            (
                ("count: 6", "count: 6, embodiedGramsPerHour: -1"),
                "clusters[0].nodeGroups[0].embodiedGramsPerHour: -1: expected a number from 0 to 10000",
            ),
            (("name: kr", "name: k r"), "clusters[0].name: \"k r\": expected a cluster name"),
        ];
        for ((from, to), expected) in cases {
            let error = parse(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let maybe = format!("{GOOD}policy: {{embodied: maybe}}\n");
        let error = parse(&maybe).unwrap_err().to_string();
        assert!(error.contains("embodied") || error.contains("bool"), "{error}");
        assert!(error.contains("line 9"), "{error}");
        let error = parse(&GOOD.replace("region:", "regoin:")).unwrap_err().to_string();
        assert!(error.contains("regoin") && error.contains("line 6"), "{error}");
    }
}
