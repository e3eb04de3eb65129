//! From Kubernetes objects to observations, the same for every driver.

use crate::event::{NodeObservation, PodObservation};
use fleet::{
    InstanceType, Instances, Instant, MoneyPerHour, NodeName, NodePower, NodeRates, RateSource, RatesFrom,
    RegionId, Resources, Span, Watts, builtin,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use ledger::Labels;
use ledger::allocation::Owner;
use std::sync::Arc;
use twin::apiserver::resources::amounts;

/// Idle and full watts per vCPU where the instance type is unknown: the averages of the Cloud Carbon
/// Footprint methodology for AWS (0.74 and 3.5 W).
const WATTS_PER_VCPU: (f64, f64) = (0.74, 3.5);
/// Price of a vCPU-hour where no list price is known, in USD: an m6i.large in us-east-1 by vCPU.
const PRICE_PER_VCPU: f64 = 0.048;

/// Labels of nodes that say where one stands and what it is: the well-known ones, and the pools of common providers.
pub const NODE_LABELS: [&str; 8] = [
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/arch",
    "eks.amazonaws.com/nodegroup",
    "cloud.google.com/gke-nodepool",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
    "karpenter.sh/capacity-type",
];
/// Most labels of a pod that are kept, the first by name.
const LABELS_MAX: usize = 16;
/// Most bytes of a label's value that are kept: Kubernetes allows 63.
const LABEL_VALUE_MAX: usize = 63;
/// Labels that tell one pod, or one version of a workload, from another: kept, each pod would be a row of its own.
const POD_LABELS_LEFT_OUT: [&str; 11] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "job-name",
    "controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "kubercarbon.io/origin-uid",
];
/// Furthest a CronJob's run may begin after the minute that its Job is named for.
const CRON_LATE_MAX: Span = Span::from_seconds(8 * 86_400);

/// Region, by the well-known label.
pub fn region(node: &Node) -> Option<RegionId> {
    let labels = node.metadata.labels.as_ref()?;
    RegionId::new(labels.get("topology.kubernetes.io/region")?).ok()
}

/// A node as the planner needs it. Power, price and embodied emissions come from `known` (the fleet file's
/// node group), else from the built-in tables by instance type and region, else power and price from
/// averages per vCPU; embodied emissions stay unknown.
pub fn node(node: &Node, known: Option<NodeRates>) -> NodeObservation {
    node_with(node, known, &Instances::default())
}

/// The same, where a person states something about instance types: that comes before the tables.
pub fn node_with(node: &Node, known: Option<NodeRates>, instances: &Instances) -> NodeObservation {
    let status = node.status.as_ref();
    let capacity = amounts(status.and_then(|s| s.capacity.as_ref()));
    let allocatable = amounts(status.and_then(|s| s.allocatable.as_ref()));
    let NodeRates { power, price, embodied, from } =
        known.unwrap_or_else(|| rates(node, capacity, instances));
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let spec = node.spec.as_ref();
    let taints = spec.and_then(|s| s.taints.as_deref()).unwrap_or_default();
    NodeObservation {
        allocatable,
        capacity,
        ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        schedulable: !spec.and_then(|s| s.unschedulable).unwrap_or(false)
            && !taints.iter().any(|t| t.effect == "NoSchedule" || t.effect == "NoExecute"),
        power,
        price,
        embodied,
        rates_from: from,
        labels: NODE_LABELS
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), node.metadata.labels.as_ref()?.get(*key)?.clone())))
            .collect(),
    }
}

/// Power, price and embodied emissions of a node by its instance type and region.
fn rates(node: &Node, capacity: Resources, instances: &Instances) -> NodeRates {
    let vcpu = capacity.cpu.as_cores_f64();
    let labels = node.metadata.labels.as_ref();
    let name = labels.and_then(|l| l.get("node.kubernetes.io/instance-type"));
    let kind = name.and_then(|text| InstanceType::new(text).ok());
    let region = region(node);
    let stated = kind.as_ref().map(|kind| instances.stated(kind, region.as_ref())).unwrap_or_default();
    let table = kind.as_ref().and_then(builtin::instance);
    let listed = || {
        let (price, _) = builtin::on_demand_price(region.as_ref()?, kind.as_ref()?)?;
        Some((price, RateSource::Table))
    };
    let average = NodePower {
        idle: Watts::from_watts_f64(vcpu * WATTS_PER_VCPU.0),
        full: Watts::from_watts_f64(vcpu * WATTS_PER_VCPU.1),
    };
    let (power, power_from) = (stated.power.map(|power| (power, RateSource::Instances)))
        .or_else(|| table.as_ref().map(|i| (i.power, RateSource::Table)))
        .unwrap_or((average, RateSource::Average));
    let (price, price_from) = (stated.price.map(|price| (price, RateSource::Instances)))
        .or_else(listed)
        .unwrap_or((MoneyPerHour::from_units_f64(vcpu * PRICE_PER_VCPU), RateSource::Average));
    let embodied = stated.embodied.or_else(|| table.and_then(|i| i.embodied));
    NodeRates { power, price, embodied, from: RatesFrom { power: power_from, price: price_from } }
}

/// What a node of which nothing is configured draws, costs and embodies.
pub fn rates_of(of: &Node) -> NodeRates {
    let NodeObservation { power, price, embodied, rates_from: from, .. } = node(of, None);
    NodeRates { power, price, embodied, from }
}

/// When the last of a pod's containers started, and when the last one ended; `None` where one has not.
/// The pod's own `status.startTime` is when the kubelet took it in, before images are pulled.
fn containers_ran(pod: &Pod) -> (Option<Instant>, Option<Instant>) {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let started = |c: &ContainerStatus| {
        let state = c.state.as_ref()?;
        let ran = state.running.as_ref().and_then(|r| r.started_at.clone());
        ran.or_else(|| state.terminated.as_ref()?.started_at.clone()).map(|t| Instant::from_jiff(t.0))
    };
    let ended = |c: &ContainerStatus| {
        let end = c.state.as_ref()?.terminated.as_ref()?.finished_at.clone()?;
        Some(Instant::from_jiff(end.0))
    };
    let last = |of: &dyn Fn(&ContainerStatus) -> Option<Instant>| {
        statuses.iter().map(of).collect::<Option<Vec<Instant>>>()?.into_iter().max()
    };
    (last(&started), last(&ended))
}

/// What a pod belongs to, as people call it: of a ReplicaSet its Deployment, of a CronJob's Job the CronJob; else its
/// controller, else the pod itself.
fn owner(pod: &Pod) -> Owner {
    let meta = &pod.metadata;
    let named = |kind: &str, name: &str| Owner { kind: kind.into(), name: name.into() };
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let Some(controller) = owners.iter().find(|o| o.controller == Some(true)) else {
        return named("Pod", meta.name.as_deref().unwrap_or_default());
    };
    let name = controller.name.as_str();
    match controller.kind.as_str() {
        "ReplicaSet" => {
            let hash = meta.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
            let head = hash.and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-'));
            head.map_or_else(|| named("ReplicaSet", name), |head| named("Deployment", head))
        }
        "Job" => cron_job(pod, name).map_or_else(|| named("Job", name), |head| named("CronJob", head)),
        kind => named(kind, name),
    }
}

/// The CronJob whose run a Job is: its controller names Jobs `NAME-MINUTE`, by the scheduled minute since the epoch.
fn cron_job<'a>(pod: &Pod, job: &'a str) -> Option<&'a str> {
    let (head, minute) = job.rsplit_once('-')?;
    let minute: i64 = minute.parse().ok().filter(|_| minute.len() >= 8)?;
    let created = Instant::from_jiff(pod.metadata.creation_timestamp.as_ref()?.0);
    let scheduled = Instant::from_unix_seconds(minute.checked_mul(60)?);
    let late = created - scheduled;
    (!head.is_empty() && late >= Span::ZERO && late <= CRON_LATE_MAX).then_some(head)
}

/// Labels of a pod that tell work apart.
fn labels(pod: &Pod) -> Labels {
    let all = pod.metadata.labels.iter().flatten();
    let kept = all.filter(|(key, _)| !POD_LABELS_LEFT_OUT.contains(&key.as_str())).take(LABELS_MAX);
    let value = |text: &str| text.chars().take(LABEL_VALUE_MAX).collect::<String>();
    kept.map(|(key, text)| (Arc::from(key.as_str()), Arc::from(value(text)))).collect()
}

/// A pod as capacity and power accounting need it.
pub fn pod(pod: &Pod) -> PodObservation {
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let (started, ended) = containers_ran(pod);
    PodObservation {
        started,
        ended,
        failed: phase == "Failed",
        node: spec.and_then(|s| s.node_name.as_deref()).and_then(|n| NodeName::new(n).ok()),
        requests: spec.map_or(Resources::ZERO, twin::apiserver::pod_requests),
        running: phase == "Running",
        active: phase != "Succeeded" && phase != "Failed",
        job: owners.iter().find(|o| o.kind == "Job" && o.controller == Some(true)).map(|o| o.name.clone()),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        owner: owner(pod),
        labels: labels(pod),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::instances::Stated;
    use serde_json::{Value, json};

    fn seen(metadata: Value) -> PodObservation {
        pod(&serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": []}})).unwrap())
    }
    fn owned(kind: &str, name: &str, created: &str, labels: Value) -> String {
        let owners =
            json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true}]);
        seen(json!({"name": "p", "labels": labels, "ownerReferences": owners, "creationTimestamp": created}))
            .owner
            .to_string()
    }

    #[test]
    fn a_pod_belongs_to_what_a_person_wrote() {
        let hash = json!({"pod-template-hash": "5d4f8c7b9"});
        let at = "2026-11-28T10:00:03Z";
        // 2026-11-28T10:00:00Z is minute 29,931,000 since the epoch.
        for (kind, name, labels, owner) in [
            ("ReplicaSet", "web-api-5d4f8c7b9", &hash, "Deployment/web-api"),
            ("ReplicaSet", "canary", &hash, "ReplicaSet/canary"),
            ("ReplicaSet", "5d4f8c7b9", &hash, "ReplicaSet/5d4f8c7b9"),
            ("StatefulSet", "db", &json!({}), "StatefulSet/db"),
            ("DaemonSet", "logs", &json!({}), "DaemonSet/logs"),
            ("Job", "nightly-29931000", &json!({}), "CronJob/nightly"),
            ("Job", "nightly-29931001", &json!({}), "Job/nightly-29931001"),
            ("Job", "report-20261128", &json!({}), "Job/report-20261128"),
            ("Job", "fit-7", &json!({}), "Job/fit-7"),
            ("Node", "node-1", &json!({}), "Node/node-1"),
            ("Workflow", "etl", &json!({}), "Workflow/etl"),
        ] {
            assert_eq!(owned(kind, name, at, labels.clone()), owner);
        }
        assert_eq!(seen(json!({"name": "shell"})).owner.to_string(), "Pod/shell");
    }

    #[test]
    fn labels_tell_work_apart_and_not_pods() {
        let mut all = json!({"app": "web", "pod-template-hash": "x", "job-name": "j", "controller-uid": "u",
            "batch.kubernetes.io/job-name": "j", "statefulset.kubernetes.io/pod-name": "p"});
        let found = seen(json!({"name": "p", "labels": all.clone()})).labels;
        assert_eq!(found.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["app=web"]);
        (0..40).for_each(|i| all[format!("team{i:02}")] = json!("x".repeat(100)));
        let found = seen(json!({"name": "p", "labels": all})).labels;
        assert_eq!(found.len(), LABELS_MAX);
        assert!(found.iter().all(|(_, value)| value.len() <= LABEL_VALUE_MAX));
    }

    #[test]
    fn a_node_says_where_it_stands_and_what_it_is() {
        let labels =
            json!({"topology.kubernetes.io/zone": "a", "karpenter.sh/nodepool": "spot", "other": "x"});
        let seen = node(&serde_json::from_value(json!({"metadata": {"labels": labels}})).unwrap(), None);
        let found: Vec<&str> = seen.labels.values().map(String::as_str).collect();
        assert_eq!(found, ["spot", "a"]);
    }

    fn of(kind: &str) -> Node {
        let labels = json!({"topology.kubernetes.io/region": "ap-northeast-2", "node.kubernetes.io/instance-type": kind});
        let node =
            json!({"metadata": {"labels": labels}, "status": {"capacity": {"cpu": "4", "memory": "8Gi"}}});
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn where_a_nodes_rates_come_from_is_said() {
        let mut stated = Instances::default();
        let price = Some(MoneyPerHour::from_units_f64(0.5));
        let own = |price| Stated { price, ..Stated::default() };
        assert!(stated.insert(InstanceType::new("m6i.xlarge").unwrap(), None, own(price)));
        let from = |kind: &str, instances: &Instances| node_with(&of(kind), None, instances).rates_from;
        let none = Instances::default();
        let both = |source| RatesFrom { power: source, price: source };
        assert_eq!(from("m6i.xlarge", &none), both(RateSource::Table));
        assert_eq!(from("rack-1", &none), both(RateSource::Average));
        assert_eq!(
            from("m6i.xlarge", &stated),
            RatesFrom { power: RateSource::Table, price: RateSource::Instances }
        );
        assert_eq!(Some(node_with(&of("m6i.xlarge"), None, &stated).price), price);
        let average = node(&of("rack-1"), None);
        assert_eq!(
            (average.power.idle, average.price),
            (Watts::from_watts_f64(2.96), MoneyPerHour::from_units_f64(0.192))
        );
    }
}
