//! Amounts of resources as objects state them: quantities parsed, a pod's effective request, a node's room.
//!
//! Units: CPU in thousandths of a core, rounded up as kube-scheduler does; everything else in whole
//! units, rounded up. The rule of a pod's request is the API's: the larger of all containers (and
//! sidecars) together and each init container with the sidecars started before it, unless the pod as a
//! whole states another amount, plus overhead. While a pod is resized in place, each of its containers holds the most of
//! what is asked for, was allocated, and is in force ([`all`]).

use crate::apiserver::quantity;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Node, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// CPU a container without a CPU request counts as when nodes are scored (kube-scheduler's default).
const CPU_MILLIS_UNSTATED: i64 = 100;
/// Memory a container without a memory request counts as when nodes are scored: 200 MiB.
const MEMORY_BYTES_UNSTATED: i64 = 200 << 20;

/// Amounts of the resources the scheduler counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

type List = BTreeMap<String, Quantity>;

/// What a container's status says it was allocated, and what is in force.
fn in_status<'a>(statuses: Option<&'a Vec<ContainerStatus>>, name: &str) -> [Option<&'a List>; 2] {
    let Some(status) = statuses.into_iter().flatten().find(|status| status.name == name) else {
        return [None, None];
    };
    let actual = status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    // Both or neither count, as in Kubernetes.
    [actual, status.allocated_resources.as_ref().filter(|_| status.resources.is_some())]
}

/// The containers of a pod with what its status says of each.
fn held(pod: &Pod) -> impl Iterator<Item = (&Container, [Option<&List>; 2])> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let main = spec.into_iter().flat_map(|spec| &spec.containers);
    let sidecar = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten()).filter(sidecar);
    let of_main = status.and_then(|status| status.container_statuses.as_ref());
    let of_sidecars = status.and_then(|status| status.init_container_statuses.as_ref());
    let main = main.map(move |c| (c, in_status(of_main, &c.name)));
    main.chain(sidecars.map(move |c| (c, in_status(of_sidecars, &c.name))))
}

/// Whether some container holds something else than it asks for.
pub(crate) fn is_resized(pod: &Pod) -> bool {
    held(pod).any(|(container, lists)| {
        let asked = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        lists.into_iter().flatten().any(|list| asked.map_or(!list.is_empty(), |asked| asked != list))
    })
}

/// What the containers of a pod state, in order.
fn stated(pod: &Pod) -> impl Iterator<Item = Option<&ResourceRequirements>> {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let main = pod.spec.iter().flat_map(|spec| &spec.containers);
    init.chain(main).map(|container| container.resources.as_ref())
}

/// Whether two states of a pod may differ in what it holds.
pub(crate) fn may_differ(old: &Pod, new: &Pod) -> bool {
    is_resized(old) || is_resized(new) || !stated(old).eq(stated(new))
}

/// The larger of two lists, resource by resource.
fn most(list: &mut List, other: &List) {
    for (name, amount) in other {
        if list.get(name).is_none_or(|own| nanos(&own.0) < nanos(&amount.0)) {
            list.insert(name.clone(), amount.clone());
        }
    }
}

/// A pod's spec with what its containers hold in place of what they ask for.
fn held_spec(pod: &Pod) -> Option<Cow<'_, PodSpec>> {
    let spec = pod.spec.as_ref()?;
    if !is_resized(pod) {
        return Some(Cow::Borrowed(spec));
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let infeasible =
        conditions.iter().any(|c| c.type_ == "PodResizePending" && c.reason.as_deref() == Some("Infeasible"));
    let mut amounts: BTreeMap<&str, List> = BTreeMap::new();
    for (container, lists) in held(pod).filter(|(_, lists)| lists.iter().any(Option::is_some)) {
        let asked = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let list = amounts.entry(&container.name).or_default();
        asked
            .filter(|_| !infeasible)
            .into_iter()
            .chain(lists.into_iter().flatten())
            .for_each(|l| most(list, l));
    }
    let mut spec = spec.clone();
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some(list) = amounts.remove(container.name.as_str()) {
            container.resources.get_or_insert_default().requests = Some(list);
        }
    }
    Some(Cow::Owned(spec))
}

/// What a pod holds on its node or asks for, and the CPU and memory it counts as when nodes are scored, once it is placed
/// and while it is not: see [`scored`] and [`scored_incoming`].
pub(crate) fn all(pod: &Pod) -> (Amounts, (i64, i64), (i64, i64)) {
    let Some(spec) = held_spec(pod) else { return Default::default() };
    let spec = spec.as_ref();
    let asked = of_spec(spec, (0, 0), whole(spec));
    let states = |c: &Container| {
        let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        requests.is_some_and(|r| r.contains_key("cpu") && r.contains_key("memory"))
    };
    if whole(spec).is_none() && spec.init_containers.iter().flatten().chain(&spec.containers).all(states) {
        let same = (asked.cpu_millis, asked.memory_bytes);
        return (asked, same, same);
    }
    let scored = scored(spec, &asked);
    (asked, scored, scored_incoming(spec))
}

/// CPU and memory a placed pod counts as when nodes are scored: containers without requests get
/// kube-scheduler's 100m and 200 MiB, unless the pod as a whole states the amount.
fn scored(spec: &PodSpec, asked: &Amounts) -> (i64, i64) {
    let mut unstated = (CPU_MILLIS_UNSTATED, MEMORY_BYTES_UNSTATED);
    if whole(spec).is_some() {
        unstated.0 = if asked.cpu_millis == 0 { unstated.0 } else { 0 };
        unstated.1 = if asked.memory_bytes == 0 { unstated.1 } else { 0 };
    }
    let amounts = of_spec(spec, unstated, whole(spec));
    (amounts.cpu_millis, amounts.memory_bytes)
}

/// CPU and memory a pod that is to be placed counts as: as kube-scheduler does, what is stated for the pod
/// as a whole is passed over.
fn scored_incoming(spec: &PodSpec) -> (i64, i64) {
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

    #[test]
    fn while_it_is_resized_a_pod_holds_the_most_of_what_it_has_and_wants() {
        let pod = |asked: &str, allocated: &str, actual: &str, reason: &str| -> Pod {
            let conditions =
                serde_json::json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "p"},
                "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": asked, "memory": "1Gi"}}},
                    {"name": "b", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
                "status": {"conditions": conditions, "containerStatuses": [{"name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "allocatedResources": {"cpu": allocated, "memory": "1Gi"},
                    "resources": {"requests": {"cpu": actual, "memory": "1Gi"}}}]},
            }))
            .unwrap()
        };
        for (asked, allocated, actual, reason, millis) in [
            ("2", "2", "2", "", 3000),
            ("4", "2", "2", "Deferred", 5000),
            ("4", "2", "2", "Infeasible", 3000),
            ("1", "2", "2", "", 3000),
            ("1", "1", "2", "", 3000),
            ("1", "1", "1", "", 2000),
        ] {
            let pod = pod(asked, allocated, actual, reason);
            let (held, scored, _) = all(&pod);
            assert_eq!(
                (held.cpu_millis, scored.0),
                (millis, millis),
                "{asked} {allocated} {actual} {reason}"
            );
            assert_eq!(is_resized(&pod), asked != allocated || asked != actual);
        }
        let (before, after) = (pod("2", "2", "2", ""), pod("3", "2", "2", ""));
        assert!(may_differ(&before, &after) && !may_differ(&before, &before));
    }
}
