//! From Kubernetes objects to observations, the same for every driver.

use crate::event::{NodeObservation, PodObservation};
use fleet::{
    InstanceType, Instant, MoneyPerHour, NodeName, NodePower, NodeRates, RegionId, Resources, Watts, builtin,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use twin::apiserver::resources::amounts;

/// Idle and full watts per vCPU where the instance type is unknown: the averages of the Cloud Carbon
/// Footprint methodology for AWS (0.74 and 3.5 W).
const WATTS_PER_VCPU: (f64, f64) = (0.74, 3.5);
/// Price of a vCPU-hour where no list price is known, in USD: an m6i.large in us-east-1 by vCPU.
const PRICE_PER_VCPU: f64 = 0.048;

/// Region, by the well-known label.
pub fn region(node: &Node) -> Option<RegionId> {
    let labels = node.metadata.labels.as_ref()?;
    RegionId::new(labels.get("topology.kubernetes.io/region")?).ok()
}

/// A node as the planner needs it. Power, price and embodied emissions come from `known` (the fleet file's
/// node group), else from the built-in tables by instance type and region, else power and price from
/// averages per vCPU; embodied emissions stay unknown.
pub fn node(node: &Node, known: Option<NodeRates>) -> NodeObservation {
    let status = node.status.as_ref();
    let labels = node.metadata.labels.as_ref();
    let capacity = amounts(status.and_then(|s| s.capacity.as_ref()));
    let allocatable = amounts(status.and_then(|s| s.allocatable.as_ref()));
    let vcpu = capacity.cpu.as_cores_f64();
    let instance_type = labels
        .and_then(|l| l.get("node.kubernetes.io/instance-type"))
        .and_then(|text| InstanceType::new(text).ok());
    let instance = instance_type.as_ref().and_then(builtin::instance);
    let average = NodePower {
        idle: Watts::from_watts_f64(vcpu * WATTS_PER_VCPU.0),
        full: Watts::from_watts_f64(vcpu * WATTS_PER_VCPU.1),
    };
    let embodied = known.map_or_else(|| instance.as_ref().and_then(|i| i.embodied), |k| k.embodied);
    let power = known.map_or_else(|| instance.map_or(average, |i| i.power), |k| k.power);
    let listed = || {
        let price =
            region(node).zip(instance_type.as_ref()).and_then(|(r, i)| builtin::on_demand_price(&r, i));
        price.map_or_else(|| MoneyPerHour::from_units_f64(vcpu * PRICE_PER_VCPU), |(price, _)| price)
    };
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
        price: known.map_or_else(listed, |k| k.price),
        embodied,
    }
}

/// What a node of which nothing is configured draws, costs and embodies.
pub fn rates(of: &Node) -> NodeRates {
    let NodeObservation { power, price, embodied, .. } = node(of, None);
    NodeRates { power, price, embodied }
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
    }
}
