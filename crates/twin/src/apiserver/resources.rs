//! What a pod asks for, as the scheduler counts it.
//!
//! Containers are summed; sidecars (init containers with restart policy Always) run beside them; an
//! ordinary init container needs its own request on top of the sidecars started before it; the larger of
//! both counts, plus overhead. Units: nanocores, bytes, whole GPUs, pods.

use super::quantity::{NANO, Quantity};
use fleet::{Bytes, Cpu, Resources};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource;
use std::collections::BTreeMap;

/// Resource name of GPUs.
pub const GPU: &str = "nvidia.com/gpu";

type List = BTreeMap<String, resource::Quantity>;

/// An amount in nano-units; 0 when it is missing or unreadable (validation refuses the latter).
fn nanos(list: Option<&List>, name: &str) -> i128 {
    list.and_then(|l| l.get(name)).and_then(|q| Quantity::parse(&q.0).ok()).map_or(0, Quantity::nanos)
}

fn narrow(value: i128) -> i64 {
    value.clamp(0, i128::from(i64::MAX)) as i64
}

/// Whole units, rounded up.
fn units(value: i128) -> i64 {
    narrow(value / NANO + i128::from(value % NANO > 0))
}

/// A list of amounts (requests, allocatable, overhead) as [`Resources`]; `pods` as listed.
pub fn amounts(list: Option<&List>) -> Resources {
    Resources {
        cpu: Cpu::from_nanos(narrow(nanos(list, "cpu"))),
        memory: Bytes::from_bytes(units(nanos(list, "memory"))),
        gpu: units(nanos(list, GPU)),
        pods: units(nanos(list, "pods")),
    }
}

/// What a container asks for.
pub(crate) fn container(container: &Container) -> Resources {
    let Some(resources) = &container.resources else { return Resources::ZERO };
    let (requests, limits) = (resources.requests.as_ref(), resources.limits.as_ref());
    // A limit without a request is a request: defaulting does this for served objects, templates included.
    let either = |name: &str| if requests.is_some_and(|r| r.contains_key(name)) { requests } else { limits };
    Resources {
        cpu: amounts(either("cpu")).cpu,
        memory: amounts(either("memory")).memory,
        gpu: amounts(either(GPU)).gpu,
        pods: 0,
    }
}

/// Fills in what a pod asks for as the API server does with every pod it takes: a limit without a request is a request, and
/// what is stated for the pod as a whole is completed.
pub(crate) fn complete_requests(spec: &mut PodSpec) {
    for own in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let Some(resources) = &mut own.resources else { continue };
        let Some(limits) = resources.limits.as_ref().filter(|limits| !limits.is_empty()) else { continue };
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    if spec.resources.is_none() {
        return;
    }
    let Ok(serde_json::Value::Object(mut doc)) = serde_json::to_value(&*spec) else { return };
    super::defaults::pod_level(&mut doc);
    let resources = doc.remove("resources").map(serde_json::from_value);
    if let Some(Ok(resources)) = resources {
        spec.resources = Some(resources);
    }
}

/// Quality of service class of a pod with its requests filled in.
pub(crate) fn qos_class(spec: &PodSpec) -> &'static str {
    serde_json::to_value(spec).map_or("BestEffort", |doc| super::defaults::qos_class(&doc))
}

/// Whether some container asks for `name`: then a limit of the pod as a whole is no request.
fn containers_name(spec: &PodSpec, name: &str) -> bool {
    let listed = |list: &Option<List>| list.as_ref().is_some_and(|l| l.contains_key(name));
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .filter_map(|c| c.resources.as_ref())
        .any(|r| listed(&r.requests) || listed(&r.limits))
}

/// What a pod of this spec asks for; `pods` is 1.
pub fn pod_requests(spec: &PodSpec) -> Resources {
    let mut running: Resources = spec.containers.iter().map(container).sum();
    let mut sidecars = Resources::ZERO;
    let mut starting = Resources::ZERO;
    for init in spec.init_containers.iter().flatten() {
        let own = container(init);
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars += own;
            starting = starting.max(sidecars);
        } else {
            starting = starting.max(sidecars + own);
        }
    }
    running += sidecars;
    let mut total = running.max(starting);
    if let Some(pod) = &spec.resources {
        // Requests of the pod as a whole take the place of the sum, resource by resource.
        let whole = |name: &str| {
            let listed = |l: &Option<List>| l.as_ref().is_some_and(|l| l.contains_key(name));
            if listed(&pod.requests) {
                pod.requests.as_ref()
            } else if listed(&pod.limits) && !containers_name(spec, name) {
                pod.limits.as_ref()
            } else {
                None
            }
        };
        if let Some(list) = whole("cpu") {
            total.cpu = amounts(Some(list)).cpu;
        }
        if let Some(list) = whole("memory") {
            total.memory = amounts(Some(list)).memory;
        }
    }
    let overhead = Resources { pods: 0, ..amounts(spec.overhead.as_ref()) };
    Resources { pods: 1, ..total + overhead }
}
