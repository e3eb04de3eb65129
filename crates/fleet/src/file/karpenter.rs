//! What a fleet file says of Karpenter: its pools read, their requirements held against the instance types there are.
//!
//! A pool is written as a `NodePool` is (`template`, `disruption`, `limits`, `weight`), with its name, and beside these what
//! only a twin needs: how machines boot, and when they are taken away or not to be had. Requirements may speak of the
//! labels that an instance type gives a node ([`karpenter::instance_labels`] and the well-known ones); of any other they may
//! say the one value that it has.

use super::supply::{DelayFile, ShortageFile, SpotFile};
use super::{Error, Group, amount, field, node_group_at};
use crate::builtin;
use crate::cluster::NodeGroup;
use crate::id::{InstanceType, ObjectName, RegionId};
use crate::instances::Instances;
use crate::karpenter::{
    self, BATCH, BUDGETS_MAX, Budget, CAPACITY_TYPE, ConsolidationPolicy, Disruption, EXPIRE_AFTER,
    INSTANCE_TYPE, Karpenter, NODEPOOL, NodePool, NodeTaint, POOLS_MAX, PoolLimits, Reason, Share,
};
use crate::quantity::{Bytes, MoneyPerHour};
use crate::time::Span;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

const ZONE: &str = "topology.kubernetes.io/zone";
const ARCH: &str = "kubernetes.io/arch";
const OS: &str = "kubernetes.io/os";
/// Most requirements of a pool, as the real one's schema bounds them.
const REQUIREMENTS_MAX: usize = 100;
/// Longest a batch of pods may be gathered.
const BATCH_LONGEST: Span = Span::from_seconds(300);
/// Longest a node may be said to live, or to wait for anything: a hundred years.
const LONGEST: Span = Span::from_seconds(100 * 365 * 86_400);
/// Words for schedules that cron knows.
const SCHEDULES: [&str; 7] =
    ["@annually", "@yearly", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KarpenterFile {
    #[serde(default)]
    batch_idle_duration: Option<Span>,
    #[serde(default)]
    batch_max_duration: Option<Span>,
    #[serde(default)]
    feature_gates: Gates,
    node_pools: Vec<PoolFile>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Gates {
    #[serde(default)]
    spot_to_spot_consolidation: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PoolFile {
    name: String,
    #[serde(default)]
    template: Template,
    #[serde(default)]
    disruption: DisruptionFile,
    #[serde(default)]
    limits: BTreeMap<String, Value>,
    #[serde(default)]
    weight: Option<u32>,
    #[serde(default)]
    boot_time: Option<DelayFile>,
    #[serde(default)]
    join_time: Option<DelayFile>,
    #[serde(default)]
    max_pods: Option<u32>,
    /// When spot machines are taken away.
    #[serde(default)]
    spot: Option<SpotFile>,
    #[serde(default)]
    shortages: Vec<PoolShortage>,
}

/// Machines that are not to be had.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PoolShortage {
    instance_type: String,
    #[serde(default)]
    capacity_type: Option<String>,
    #[serde(default)]
    at_most: Option<u32>,
    #[serde(default)]
    until: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: TemplateSpec,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TemplateSpec {
    #[serde(default)]
    requirements: Vec<Requirement>,
    #[serde(default)]
    taints: Vec<NodeTaint>,
    #[serde(default)]
    expire_after: Option<String>,
    #[serde(default)]
    termination_grace_period: Option<Span>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DisruptionFile {
    #[serde(default)]
    consolidation_policy: ConsolidationPolicy,
    #[serde(default)]
    consolidate_after: Option<String>,
    #[serde(default)]
    budgets: Option<Vec<BudgetFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetFile {
    nodes: Value,
    #[serde(default)]
    reasons: Vec<Reason>,
    #[serde(default)]
    schedule: Option<String>,
    #[serde(default)]
    duration: Option<Span>,
}

/// What its pools are chosen from.
pub(super) struct Offered<'a> {
    pub(super) region: &'a RegionId,
    pub(super) instances: &'a Instances,
    /// Names of node groups, which pools may not have too.
    pub(super) taken: Vec<&'a str>,
}

/// Reads and checks how Karpenter is set.
pub(super) fn karpenter(path: &str, file: &KarpenterFile, from: &Offered<'_>) -> Result<Karpenter, Error> {
    let idle = file.batch_idle_duration.unwrap_or(BATCH.0);
    let most = file.batch_max_duration.unwrap_or(BATCH.1);
    super::supply::span(&format!("{path}.batchMaxDuration"), most, (Span::ZERO, BATCH_LONGEST))?;
    super::supply::span(&format!("{path}.batchIdleDuration"), idle, (Span::ZERO, most))?;
    if file.node_pools.is_empty() || file.node_pools.len() > POOLS_MAX {
        let found = format!("{} pools", file.node_pools.len());
        return Err(field(format!("{path}.nodePools"), found, format!("1 to {POOLS_MAX}")));
    }
    let mut node_pools: Vec<NodePool> = Vec::new();
    for (i, own) in file.node_pools.iter().enumerate() {
        let path = format!("{path}.nodePools[{i}]");
        let known = node_pools.iter().any(|pool| pool.name == own.name);
        if known || from.taken.contains(&&*own.name) {
            let expected = "a name of its own for each pool and node group";
            return Err(field(format!("{path}.name"), format!("{:?} a second time", own.name), expected));
        }
        node_pools.push(pool(&path, own, from)?);
    }
    node_pools.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.name.cmp(&b.name)));
    let spot_to_spot = file.feature_gates.spot_to_spot_consolidation;
    Ok(Karpenter { batch: (idle, most), spot_to_spot, node_pools })
}

fn pool(path: &str, own: &PoolFile, from: &Offered<'_>) -> Result<NodePool, Error> {
    ObjectName::new(&own.name)
        .map_err(|e| field(format!("{path}.name"), format!("{:?}", e.found), "a node pool name"))?;
    if let Some(weight) = own.weight.filter(|weight| !(1..=100).contains(weight)) {
        return Err(field(format!("{path}.weight"), weight.to_string(), "1 to 100"));
    }
    let spec = &own.template.spec;
    let expire_after = maybe(&format!("{path}.template.spec.expireAfter"), spec.expire_after.as_deref())?;
    let offerings = offerings(path, own, from)?;
    Ok(NodePool {
        name: own.name.clone(),
        weight: own.weight.unwrap_or(0),
        expire_after: expire_after.unwrap_or(Some(EXPIRE_AFTER)),
        termination_grace_period: spec.termination_grace_period,
        disruption: disruption(&format!("{path}.disruption"), &own.disruption)?,
        limits: limits(&format!("{path}.limits"), &own.limits)?,
        offerings,
    })
}

/// A duration or `Never`; the outer `None`: nothing is stated.
fn maybe(path: &str, text: Option<&str>) -> Result<Option<Option<Span>>, Error> {
    match text {
        None => Ok(None),
        Some("Never") => Ok(Some(None)),
        Some(text) => match Span::parse(text) {
            Ok(span) if span <= LONGEST => Ok(Some(Some(span))),
            _ => Err(field(path, format!("{text:?}"), "a duration such as 90s, 15m or 720h, or Never")),
        },
    }
}

fn disruption(path: &str, file: &DisruptionFile) -> Result<Disruption, Error> {
    let after = maybe(&format!("{path}.consolidateAfter"), file.consolidate_after.as_deref())?;
    let budgets = match &file.budgets {
        None => vec![karpenter::BUDGET],
        Some(all) if all.len() > BUDGETS_MAX => {
            let found = format!("{} budgets", all.len());
            return Err(field(format!("{path}.budgets"), found, format!("at most {BUDGETS_MAX}")));
        }
        Some(all) => {
            let each = all.iter().enumerate();
            each.map(|(i, own)| budget(&format!("{path}.budgets[{i}]"), own)).collect::<Result<_, _>>()?
        }
    };
    let consolidation_policy = file.consolidation_policy;
    Ok(Disruption { consolidation_policy, consolidate_after: after.unwrap_or(Some(Span::ZERO)), budgets })
}

fn budget(path: &str, file: &BudgetFile) -> Result<Budget, Error> {
    let text = file.nodes.as_str().map_or_else(|| file.nodes.to_string(), str::to_owned);
    let nodes = match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|percent| *percent <= 100).map(Share::Percent),
        None => text.parse().ok().map(Share::Nodes),
    };
    let nodes = nodes.ok_or_else(|| {
        field(format!("{path}.nodes"), format!("{text:?}"), "a number of nodes, or a share from 0% to 100%")
    })?;
    let window = match (&file.schedule, file.duration) {
        (None, None) => None,
        (Some(schedule), Some(duration)) => {
            if !SCHEDULES.contains(&schedule.as_str()) && schedule.split_whitespace().count() != 5 {
                let expected = "the five fields of cron (UTC), or a word such as @daily";
                return Err(field(format!("{path}.schedule"), format!("{schedule:?}"), expected));
            }
            Some((schedule.clone(), duration))
        }
        _ => return Err(field(path, "schedule or duration alone", "both or neither")),
    };
    Ok(Budget { nodes, reasons: file.reasons.clone(), window })
}

fn limits(path: &str, file: &BTreeMap<String, Value>) -> Result<PoolLimits, Error> {
    let mut limits = PoolLimits::default();
    for (name, value) in file {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let wrong = |expected: &str| field(format!("{path}.{name}"), format!("{text:?}"), expected);
        match name.as_str() {
            "cpu" => {
                let millis = amount::millis(&text);
                limits.cpu_millis = Some(millis.ok_or_else(|| wrong("cores, such as 16 or 1500m"))?);
            }
            "memory" => {
                let bytes = amount::bytes(&text).ok_or_else(|| wrong("memory, such as 64Gi"))?;
                limits.memory = Some(Bytes::from_bytes(bytes));
            }
            "nodes" => limits.nodes = Some(text.parse().map_err(|_| wrong("a number of nodes"))?),
            _ => return Err(field(format!("{path}.{name}"), text, "limits of cpu, memory or nodes")),
        }
    }
    Ok(limits)
}

/// Requirements of an instance's labels, of zones, and labels that were required outright.
struct Required<'a> {
    of_instance: Vec<&'a Requirement>,
    zones: Vec<&'a Requirement>,
    labels: BTreeMap<String, String>,
}

fn is_of_instance(key: &str) -> bool {
    [INSTANCE_TYPE, CAPACITY_TYPE, ARCH, OS].contains(&key) || key.starts_with("karpenter.k8s.aws/instance-")
}

fn required<'a>(path: &str, all: &'a [Requirement]) -> Result<Required<'a>, Error> {
    let path = format!("{path}.template.spec.requirements");
    if all.len() > REQUIREMENTS_MAX {
        return Err(field(path, format!("{} entries", all.len()), format!("at most {REQUIREMENTS_MAX}")));
    }
    let mut required = Required { of_instance: Vec::new(), zones: Vec::new(), labels: BTreeMap::new() };
    for (i, own) in all.iter().enumerate() {
        let at = format!("{path}[{i}]");
        let fits = match own.operator.as_str() {
            "In" | "NotIn" => !own.values.is_empty(),
            "Exists" | "DoesNotExist" => own.values.is_empty(),
            "Gt" | "Lt" => own.values.len() == 1 && own.values[0].parse::<i64>().is_ok(),
            _ => {
                let expected = "one of In, NotIn, Exists, DoesNotExist, Gt, Lt";
                return Err(field(format!("{at}.operator"), format!("{:?}", own.operator), expected));
            }
        };
        if !fits {
            let found = format!("{} values", own.values.len());
            let expected = format!("what {} takes: some values, none, or one number", own.operator);
            return Err(field(format!("{at}.values"), found, expected));
        }
        match (own.key.as_str(), own.operator.as_str(), own.values.as_slice()) {
            (ZONE, ..) => required.zones.push(own),
            (key, ..) if is_of_instance(key) => required.of_instance.push(own),
            (key, "In", [value]) if key != NODEPOOL => {
                required.labels.insert(key.to_owned(), value.clone());
            }
            (key, ..) => {
                let expected = "a label that instance types give (node.kubernetes.io/instance-type, \
                    karpenter.sh/capacity-type, kubernetes.io/arch, topology.kubernetes.io/zone, \
                    karpenter.k8s.aws/instance-family and the like), or another with the one value it has";
                return Err(field(format!("{at}.key"), format!("{key:?}"), expected));
            }
        }
    }
    Ok(required)
}

fn matches(requirement: &Requirement, labels: &BTreeMap<String, String>) -> bool {
    let found = labels.get(&requirement.key).filter(|value| !value.is_empty());
    let limit = || requirement.values.first().and_then(|value| value.parse::<i64>().ok());
    let number = found.and_then(|value| value.parse::<i64>().ok());
    let compare =
        |holds: fn(&i64, &i64) -> bool| number.zip(limit()).is_some_and(|(n, limit)| holds(&n, &limit));
    match requirement.operator.as_str() {
        "In" => found.is_some_and(|value| requirement.values.contains(value)),
        "NotIn" => found.is_none_or(|value| !requirement.values.contains(value)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => compare(i64::gt),
        _ => compare(i64::lt),
    }
}

/// The zones that are left of a region's, or that are named.
fn zones(path: &str, region: &RegionId, all: &[&Requirement]) -> Result<Vec<String>, Error> {
    let named = all.iter().find(|r| r.operator == "In").map(|r| r.values.clone());
    let mut zones = named.unwrap_or_else(|| super::zones(region));
    zones.retain(|zone| {
        let labels = BTreeMap::from([(ZONE.to_owned(), zone.clone())]);
        all.iter().all(|requirement| matches(requirement, &labels))
    });
    if zones.is_empty() {
        let place = format!("{path}.template.spec.requirements");
        return Err(field(place, "no zone is left", "requirements that some zone meets"));
    }
    Ok(zones)
}

/// All machines that a pool may ask for, the cheapest first; of those that cost the same, by name.
fn offerings(path: &str, own: &PoolFile, from: &Offered<'_>) -> Result<Vec<NodeGroup>, Error> {
    let required = required(path, &own.template.spec.requirements)?;
    let zones = zones(path, from.region, &required.zones)?;
    let named = required.of_instance.iter().filter(|r| r.key == INSTANCE_TYPE && r.operator == "In");
    let named: Vec<&str> = named.flat_map(|r| &r.values).map(String::as_str).collect();
    let types: Vec<&str> = if named.is_empty() { builtin::instance_ids().collect() } else { named.clone() };
    let prices = builtin::prices(from.region);
    let mut offerings = Vec::new();
    for name in types {
        for (spot, capacity_type) in [(false, "on-demand"), (true, "spot")] {
            let listed = prices.get(name).map(|both| both[usize::from(spot)]);
            let id = InstanceType::new(name).ok();
            let stated = id.is_some_and(|id| from.instances.stated(&id, Some(from.region)).price.is_some());
            if listed.is_none() && !stated && named.is_empty() {
                continue;
            }
            let at = Candidate { name, spot, capacity_type, listed };
            if let Some(offering) = offering(path, own, from, (&required, &zones), &at)? {
                offerings.push(offering);
            }
        }
    }
    if offerings.is_empty() {
        let place = format!("{path}.template.spec.requirements");
        return Err(field(place, "no instance type is left", "requirements that some instance type meets"));
    }
    for shortage in &own.shortages {
        let known =
            offerings.iter().any(|offering| offering.instance_type.as_str() == shortage.instance_type);
        if !known {
            let expected = "an instance type that the pool may ask for";
            let found = format!("{:?}", shortage.instance_type);
            return Err(field(format!("{path}.shortages"), found, expected));
        }
    }
    offerings.sort_by(|a, b| a.price.cmp(&b.price).then_with(|| a.name.cmp(&b.name)));
    Ok(offerings)
}

/// An instance type at a capacity type, and its list price.
struct Candidate<'a> {
    name: &'a str,
    spot: bool,
    capacity_type: &'static str,
    listed: Option<(MoneyPerHour, &'static str)>,
}

/// One offering, unless the requirements rule it out.
fn offering(
    path: &str,
    own: &PoolFile,
    from: &Offered<'_>,
    (required, zones): (&Required<'_>, &[String]),
    at: &Candidate<'_>,
) -> Result<Option<NodeGroup>, Error> {
    let shortage = own.shortages.iter().find(|short| {
        short.instance_type == at.name
            && short.capacity_type.as_deref().is_none_or(|own| own == at.capacity_type)
    });
    let suffix = if at.spot { "-spot" } else { "" };
    let group = Group {
        name: own.name.clone(),
        instance_type: at.name.to_owned(),
        zones: zones.to_vec(),
        max_pods: own.max_pods,
        boot_time: own.boot_time.clone(),
        join_time: own.join_time.clone(),
        shortage: shortage.map(|short| ShortageFile::new(short.at_most, short.until)),
        spot: at.spot.then(|| own.spot.clone().unwrap_or_default()),
        ..Group::default()
    };
    let mut made = node_group_at(path, &group, (from.region, from.instances), at.listed)?;
    let mut labels = karpenter::instance_labels(at.name, made.vcpu, made.memory);
    let arch = if builtin::is_arm(at.name) { "arm64" } else { "amd64" };
    for (key, value) in
        [(INSTANCE_TYPE, at.name), (CAPACITY_TYPE, at.capacity_type), (ARCH, arch), (OS, "linux")]
    {
        labels.insert(key.to_owned(), value.to_owned());
    }
    if !required.of_instance.iter().all(|requirement| matches(requirement, &labels)) {
        return Ok(None);
    }
    labels.insert(NODEPOOL.to_owned(), own.name.clone());
    labels.extend(own.template.metadata.labels.clone());
    labels.extend(required.labels.clone());
    made.name = format!("{}-{}{suffix}", own.name, at.name);
    made.node_pool = Some(own.name.clone());
    made.labels = labels;
    made.taints.clone_from(&own.template.spec.taints);
    Ok(Some(made))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse;

    fn fleet(pool: &str) -> String {
        format!(
            "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  \
            nodeGroups: [{{name: base, instanceType: m6i.large, count: 1}}]\n  karpenter:\n    nodePools:\n    - {{name: default, {pool}}}\n"
        )
    }

    fn read(pool: &str) -> NodePool {
        parse(&fleet(pool)).unwrap().clusters.remove(0).karpenter.unwrap().node_pools.remove(0)
    }

    const SMALL: &str = "template: {spec: {requirements: [\
        {key: karpenter.k8s.aws/instance-family, operator: In, values: [m6i]}, \
        {key: karpenter.k8s.aws/instance-cpu, operator: Lt, values: ['9']}]}}";

    #[test]
    fn requirements_leave_the_types_that_meet_them() {
        let pool = read(SMALL);
        let names: Vec<&str> = pool.offerings.iter().map(|offering| offering.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "default-m6i.large-spot",
                "default-m6i.xlarge-spot",
                "default-m6i.large",
                "default-m6i.2xlarge-spot",
                "default-m6i.xlarge",
                "default-m6i.2xlarge"
            ],
            "by price"
        );
        let spot = &pool.offerings[0];
        assert_eq!(spot.labels[CAPACITY_TYPE], "spot");
        assert!(spot.supply.spot.is_some() && pool.offerings[2].supply.spot.is_none());
        assert_eq!(spot.sources.split(", ").nth(1), Some("price: spot"));
        assert_eq!((pool.disruption.clone(), pool.expire_after), (Disruption::default(), Some(EXPIRE_AFTER)));
        let arm = read(
            "template: {spec: {requirements: [{key: kubernetes.io/arch, operator: In, values: [arm64]}, \
            {key: karpenter.sh/capacity-type, operator: NotIn, values: [spot]}]}}",
        );
        assert!(arm.offerings.len() > 20);
        assert!(
            arm.offerings
                .iter()
                .all(|o| builtin::is_arm(o.instance_type.as_str()) && o.supply.spot.is_none())
        );
    }

    #[test]
    fn what_is_stated_of_a_pool_is_kept() {
        let pool = read(
            "weight: 10, limits: {cpu: 16, memory: 64Gi, nodes: 5}, maxPods: 30, spot: {interruptAt: [1h]}, \
            shortages: [{instanceType: m6i.large, capacityType: spot, until: 2h}], \
            disruption: {consolidationPolicy: WhenEmpty, consolidateAfter: Never, \
            budgets: [{nodes: '0', schedule: '0 9 * * 1-5', duration: 8h, reasons: [Underutilized]}, {nodes: 20%}]}, \
            template: {metadata: {labels: {team: shop}}, spec: {expireAfter: Never, terminationGracePeriod: 5m, \
            taints: [{key: a, effect: NoSchedule}], requirements: [{key: tier, operator: In, values: [web]}, \
            {key: topology.kubernetes.io/zone, operator: In, values: [ap-northeast-2b]}, \
            {key: node.kubernetes.io/instance-type, operator: In, values: [m6i.large, m6i.xlarge]}]}}",
        );
        assert_eq!((pool.weight, pool.expire_after), (10, None));
        let limits =
            PoolLimits { cpu_millis: Some(16_000), memory: Some(Bytes::from_gib(64)), nodes: Some(5) };
        assert_eq!(pool.limits, limits);
        assert_eq!(pool.disruption.consolidate_after, None);
        let daily = Budget {
            nodes: Share::Nodes(0),
            reasons: vec![Reason::Underutilized],
            window: Some(("0 9 * * 1-5".to_owned(), Span::from_seconds(8 * 3600))),
        };
        let tenth = Budget { nodes: Share::Percent(20), ..karpenter::BUDGET };
        assert_eq!(pool.disruption.budgets, [daily, tenth]);
        assert_eq!(pool.offerings.len(), 4);
        let of = |name: &str| pool.offerings.iter().find(|o| o.name == name).unwrap();
        let spot = of("default-m6i.large-spot");
        assert_eq!(spot.zones, ["ap-northeast-2b"]);
        assert_eq!((spot.labels["team"].as_str(), spot.labels["tier"].as_str()), ("shop", "web"));
        assert_eq!((spot.pods, spot.taints.len()), (30, 1));
        assert_eq!(spot.supply.shortage.and_then(|short| short.until), Some(Span::from_seconds(7200)));
        assert_eq!(of("default-m6i.large").supply.shortage, None);
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        let pool = "clusters[0].karpenter.nodePools[0]";
        let requirement = |text: &str| format!("template: {{spec: {{requirements: [{text}]}}}}");
        let cases = [
            ("weight: 0".to_owned(), format!("{pool}.weight: 0: expected 1 to 100")),
            (
                "disruption: {budgets: [{nodes: 120%}]}".to_owned(),
                format!(
                    "{pool}.disruption.budgets[0].nodes: \"120%\": expected a number of nodes, or a share"
                ),
            ),
            (
                "disruption: {budgets: [{nodes: 1, schedule: '@daily'}]}".to_owned(),
                format!("{pool}.disruption.budgets[0]: schedule or duration alone: expected both or neither"),
            ),
            (
                "disruption: {consolidateAfter: soon}".to_owned(),
                format!("{pool}.disruption.consolidateAfter: \"soon\": expected a duration"),
            ),
            ("limits: {cpu: lots}".to_owned(), format!("{pool}.limits.cpu: \"lots\": expected cores")),
            (
                requirement("{key: tier, operator: NotIn, values: [web]}"),
                format!("{pool}.template.spec.requirements[0].key: \"tier\": expected a label that"),
            ),
            (
                requirement("{key: kubernetes.io/arch, operator: Near, values: [a]}"),
                format!("{pool}.template.spec.requirements[0].operator: \"Near\": expected one of In"),
            ),
            (
                requirement("{key: kubernetes.io/arch, operator: In, values: [riscv64]}"),
                format!("{pool}.template.spec.requirements: no instance type is left"),
            ),
            (
                requirement("{key: node.kubernetes.io/instance-type, operator: In, values: [m9.huge]}"),
                format!("{pool}.instanceType: \"m9.huge\": expected an instance type of the built-in table"),
            ),
            (
                "shortages: [{instanceType: m9.huge}]".to_owned(),
                format!("{pool}.shortages: \"m9.huge\": expected an instance type that the pool may ask for"),
            ),
        ];
        for (text, expected) in cases {
            let error = parse(&fleet(&text)).unwrap_err().to_string();
            assert!(error.starts_with(&expected), "{error}\nnot\n{expected}");
        }
        let twice =
            parse(&fleet("weight: 1").replace("name: default", "name: base")).unwrap_err().to_string();
        assert!(twice.contains("\"base\" a second time"), "{twice}");
        let both = fleet("weight: 1").replace("  karpenter:", "  clusterAutoscaler: {}\n  karpenter:");
        assert!(parse(&both).unwrap_err().to_string().contains("clusterAutoscaler or karpenter"));
        let grows = fleet("weight: 1").replace("count: 1", "count: 1, max: 3");
        assert!(parse(&grows).unwrap_err().to_string().contains("nodeGroups[0].max"));
        let alone = fleet("weight: 1").replace("count: 1", "count: 0");
        assert!(parse(&alone).is_ok(), "pools may begin with nothing");
    }
}
