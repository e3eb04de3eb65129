//! Amounts of resources as objects state them: quantities parsed, a pod's effective request, a node's room.
//!
//! Units: CPU in thousandths of a core, rounded up as kube-scheduler does; everything else in whole
//! units, rounded up. The rule of a pod's request is the API's: the larger of all containers (and
//! sidecars) together and each init container with the sidecars started before it, unless the pod as a
//! whole states another amount, plus overhead. Left out: in-place resize.

use crate::apiserver::quantity;
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// CPU a container without a CPU request counts as when nodes are scored (kube-scheduler's default).
const CPU_MILLIS_UNSTATED: i64 = 100;
/// Memory a container without a memory request counts as when nodes are scored: 200 MiB.
const MEMORY_BYTES_UNSTATED: i64 = 200 << 20;

/// Amounts of the resources the scheduler counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Amounts {
    /// Thousandths of a core.
    pub cpu_millis: i64,
    /// Bytes.
    pub memory_bytes: i64,
    /// Pods.
    pub pods: i64,
    /// Everything else (`ephemeral-storage`, `nvidia.com/gpu`…), in whole units.
    pub others: BTreeMap<String, i64>,
}

impl Amounts {
    pub(crate) fn add(&mut self, other: &Amounts) {
        self.change(other, 1);
    }
    pub(crate) fn subtract(&mut self, other: &Amounts) {
        self.change(other, -1);
    }
    fn change(&mut self, other: &Amounts, sign: i64) {
        self.cpu_millis += sign * other.cpu_millis;
        self.memory_bytes += sign * other.memory_bytes;
        self.pods += sign * other.pods;
        for (name, amount) in &other.others {
            let entry = self.others.entry(name.clone()).or_default();
            *entry += sign * amount;
            if *entry == 0 {
                self.others.remove(name);
            }
        }
    }
    pub(crate) fn other(&self, name: &str) -> i64 {
        self.others.get(name).copied().unwrap_or(0)
    }
    fn raise(&mut self, other: &Amounts) {
        self.cpu_millis = self.cpu_millis.max(other.cpu_millis);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        for (name, amount) in &other.others {
            let entry = self.others.entry(name.clone()).or_default();
            *entry = (*entry).max(*amount);
        }
    }
    /// Takes over what a list states for the pod as a whole.
    fn replace(&mut self, stated: &Amounts, list: &BTreeMap<String, Quantity>) {
        for name in list.keys() {
            match name.as_str() {
                "cpu" => self.cpu_millis = stated.cpu_millis,
                "memory" => self.memory_bytes = stated.memory_bytes,
                name if name.starts_with("hugepages-") => {
                    self.others.insert(name.to_owned(), stated.other(name));
                }
                _ => {}
            }
        }
    }
}

/// A quantity in billionths of its unit. Quantities were validated when they were written; one that is
/// not readable counts as none.
fn nanos(text: &str) -> i128 {
    quantity::Quantity::parse(text).map_or(0, quantity::Quantity::nanos)
}

fn rounded_up(nanos: i128, unit: i128) -> i64 {
    let down = nanos.div_euclid(unit);
    let up = if nanos.rem_euclid(unit) == 0 { down } else { down + 1 };
    i64::try_from(up).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

fn amounts(list: &BTreeMap<String, Quantity>) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, quantity) in list {
        let nanos = nanos(&quantity.0);
        match name.as_str() {
            "cpu" => amounts.cpu_millis = rounded_up(nanos, 1_000_000),
            "memory" => amounts.memory_bytes = rounded_up(nanos, 1_000_000_000),
            "pods" => amounts.pods = rounded_up(nanos, 1_000_000_000),
            _ => {
                let whole = rounded_up(nanos, 1_000_000_000);
                if whole != 0 {
                    amounts.others.insert(name.clone(), whole);
                }
            }
        }
    }
    amounts
}

/// What is assumed of a container that does not state its CPU (thousandths of a core) or memory (bytes).
type Unstated = (i64, i64);

fn container(container: &Container, unstated: Unstated) -> Amounts {
    let requests = container.resources.as_ref().and_then(|r| r.requests.as_ref());
    let mut amounts = requests.map(amounts).unwrap_or_default();
    amounts.pods = 0;
    let states = |name: &str| requests.is_some_and(|r| r.contains_key(name));
    if !states("cpu") {
        amounts.cpu_millis = unstated.0;
    }
    if !states("memory") {
        amounts.memory_bytes = unstated.1;
    }
    amounts
}

/// What is stated for the pod as a whole.
fn whole(spec: &PodSpec) -> Option<&BTreeMap<String, Quantity>> {
    spec.resources.as_ref().and_then(|r| r.requests.as_ref()).filter(|r| !r.is_empty())
}

fn of_spec(spec: &PodSpec, unstated: Unstated, whole: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let mut total = Amounts::default();
    for each in &spec.containers {
        total.add(&container(each, unstated));
    }
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for each in spec.init_containers.iter().flatten() {
        let mut need = container(each, unstated);
        if each.restart_policy.as_deref() == Some("Always") {
            total.add(&need);
            sidecars.add(&need);
            need = sidecars.clone();
        } else {
            need.add(&sidecars);
        }
        peak.raise(&need);
    }
    total.raise(&peak);
    if let Some(whole) = whole {
        total.replace(&amounts(whole), whole);
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&amounts(overhead));
    }
    total.pods = 1;
    total
}

/// What a pod asks for.
pub(crate) fn requested(pod: &Pod) -> Amounts {
    pod.spec.as_ref().map(|spec| of_spec(spec, (0, 0), whole(spec))).unwrap_or_default()
}

/// What a pod asks for, and the CPU and memory it counts as when nodes are scored, once it is placed and
/// while it is not: see [`scored`] and [`scored_incoming`].
pub(crate) fn all(pod: &Pod) -> (Amounts, (i64, i64), (i64, i64)) {
    let asked = requested(pod);
    let states = |c: &Container| {
        let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        requests.is_some_and(|r| r.contains_key("cpu") && r.contains_key("memory"))
    };
    let stated = |spec: &PodSpec| {
        whole(spec).is_none() && spec.init_containers.iter().flatten().chain(&spec.containers).all(states)
    };
    if pod.spec.as_ref().is_some_and(stated) {
        let same = (asked.cpu_millis, asked.memory_bytes);
        return (asked, same, same);
    }
    (asked, scored(pod), scored_incoming(pod))
}

/// CPU and memory a placed pod counts as when nodes are scored: containers without requests get
/// kube-scheduler's 100m and 200 MiB, unless the pod as a whole states the amount.
fn scored(pod: &Pod) -> (i64, i64) {
    let Some(spec) = &pod.spec else { return (0, 0) };
    let mut unstated = (CPU_MILLIS_UNSTATED, MEMORY_BYTES_UNSTATED);
    if whole(spec).is_some() {
        let asked = requested(pod);
        unstated.0 = if asked.cpu_millis == 0 { unstated.0 } else { 0 };
        unstated.1 = if asked.memory_bytes == 0 { unstated.1 } else { 0 };
    }
    let amounts = of_spec(spec, unstated, whole(spec));
    (amounts.cpu_millis, amounts.memory_bytes)
}

/// CPU and memory a pod that is to be placed counts as: as kube-scheduler does, what is stated for the pod
/// as a whole is passed over.
fn scored_incoming(pod: &Pod) -> (i64, i64) {
    let Some(spec) = &pod.spec else { return (0, 0) };
    let amounts = of_spec(spec, (CPU_MILLIS_UNSTATED, MEMORY_BYTES_UNSTATED), None);
    (amounts.cpu_millis, amounts.memory_bytes)
}

/// What a node has for pods.
pub(crate) fn allocatable(node: &Node) -> Amounts {
    node.status.as_ref().and_then(|s| s.allocatable.as_ref()).map(amounts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ResourceRequirements;

    fn asking(cpu: &str, always: bool) -> Container {
        let requests = BTreeMap::from([("cpu".to_owned(), Quantity(cpu.to_owned()))]);
        Container {
            resources: Some(ResourceRequirements { requests: Some(requests), ..Default::default() }),
            restart_policy: always.then(|| "Always".to_owned()),
            ..Container::default()
        }
    }

    #[test]
    fn init_containers_and_sidecars_count_as_the_api_says() {
        let spec = PodSpec {
            containers: vec![asking("1", false), asking("500m", false)],
            init_containers: Some(vec![asking("200m", true), asking("3", false), asking("100m", true)]),
            ..PodSpec::default()
        };
        let amounts = of_spec(&spec, (0, 0), None);
        // Containers and sidecars: 1500 + 300; the init container beside the first sidecar: 3200.
        assert_eq!((amounts.cpu_millis, amounts.pods), (3200, 1));
        assert_eq!(of_spec(&spec, (0, 200), None).memory_bytes, 4 * 200);
    }
}
