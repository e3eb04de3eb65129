//! What an object uses of what quotas count, and which quotas are about it.
//!
//! Amounts are quantities as objects state them. A pod that has ended uses nothing but its place among all pods
//! (`count/pods`). Leaves out device classes, and what status says a pod was given beyond its spec.

use super::super::quantity::{Format, NANO, Quantity};
use crate::kind::Kind;
use serde_json::Value;
use std::collections::BTreeMap;

/// Amounts by the names of resources.
pub type Usage = BTreeMap<String, Quantity>;

/// What stands before a resource in a quota's name for requests and limits.
const REQUESTS: &str = "requests.";
const LIMITS: &str = "limits.";
/// What follows a storage class in a quota's name.
const CLASS: &str = ".storageclass.storage.k8s.io/";
/// Core kinds that are counted under their own name as well.
const COUNTED: [&str; 5] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets", "services"];

const ZERO: Quantity = Quantity::from_nanos(0, Format::DecimalSi);

pub(super) fn count(number: usize) -> Quantity {
    Quantity::from_nanos(i128::try_from(number).unwrap_or(i128::MAX / NANO) * NANO, Format::DecimalSi)
}

/// The sum, written as the first is unless that is nothing.
pub(crate) fn sum(a: Quantity, b: Quantity) -> Quantity {
    let format = if a.nanos() == 0 { b.format() } else { a.format() };
    Quantity::from_nanos(a.nanos().saturating_add(b.nanos()), format)
}

/// Adds `more`, `sign` times, entry by entry.
pub(crate) fn add(to: &mut Usage, more: &Usage, sign: i128) {
    for (name, amount) in more {
        let signed = Quantity::from_nanos(sign * amount.nanos(), amount.format());
        let slot = to.entry(name.clone()).or_insert(ZERO);
        *slot = sum(*slot, signed);
    }
}

/// Adds amounts, entry by entry.
pub(crate) fn add_up(to: &mut Usage, more: &Usage) {
    add(to, more, 1);
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The amounts of a list of resources; what cannot be read was refused before.
pub(crate) fn amounts(value: Option<&Value>) -> Usage {
    let all = value.and_then(Value::as_object).into_iter().flatten();
    let amount = |(name, value): (&String, &Value)| {
        let quantity = match value {
            Value::String(text) => Quantity::parse(text).ok()?,
            other => Quantity::parse(&other.to_string()).ok()?,
        };
        Some((name.clone(), quantity))
    };
    all.filter_map(amount).collect()
}

/// What a pod's containers ask for together, whatever is stated for the pod as a whole: `of` is `requests` or `limits`.
pub(crate) fn of_containers(spec: &Value, of: &str) -> Usage {
    let own = |container: &Value| amounts(container.pointer(&format!("/resources/{of}")));
    let mut total = Usage::new();
    list(spec, "/containers").for_each(|container| add(&mut total, &own(container), 1));
    let (mut sidecars, mut starting) = (Usage::new(), Usage::new());
    for container in list(spec, "/initContainers") {
        let mut needed = own(container);
        if text(container, "/restartPolicy") == "Always" {
            add(&mut total, &needed, 1);
            add(&mut sidecars, &needed, 1);
            needed = sidecars.clone();
        } else {
            add(&mut needed, &sidecars, 1);
        }
        raise(&mut starting, needed);
    }
    raise(&mut total, starting);
    total
}

/// What a pod's spec asks for in all: `of` is `requests` or `limits`.
pub(crate) fn of_pod(spec: &Value, of: &str) -> Usage {
    let mut total = of_containers(spec, of);
    for (name, amount) in amounts(spec.pointer(&format!("/resources/{of}"))) {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            total.insert(name, amount);
        }
    }
    for (name, amount) in amounts(spec.get("overhead")) {
        // A limit is raised only where there is one; none is not one.
        if of == "requests" || total.get(&name).is_some_and(|limit| limit.nanos() != 0) {
            let slot = total.entry(name).or_insert(ZERO);
            *slot = sum(*slot, amount);
        }
    }
    total
}

fn raise(to: &mut Usage, other: Usage) {
    for (name, amount) in other {
        let slot = to.entry(name).or_insert(amount);
        if amount.nanos() > slot.nanos() {
            *slot = amount;
        }
    }
}

/// Requests and limits under the names quotas have for them.
pub(super) fn compute(requests: &Usage, limits: &Usage) -> Usage {
    let mut usage = Usage::new();
    for (name, amount) in requests {
        let plain =
            matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
        if plain {
            usage.insert(name.clone(), *amount);
        }
        // Of other resources there are no limits of their own to be counted.
        if plain || name.contains('/') {
            usage.insert(format!("{REQUESTS}{name}"), *amount);
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("{LIMITS}{name}"), *amount);
        }
    }
    usage
}

fn pod(doc: &Value, usage: &mut Usage) {
    if matches!(text(doc, "/status/phase"), "Failed" | "Succeeded") {
        return;
    }
    usage.insert("pods".to_owned(), count(1));
    let spec = &doc["spec"];
    usage.extend(compute(&of_pod(spec, "requests"), &of_pod(spec, "limits")));
}

fn service(doc: &Value, usage: &mut Usage) {
    let ports = list(doc, "/spec/ports").count();
    let named =
        list(doc, "/spec/ports").filter(|port| port["nodePort"].as_i64().is_some_and(|p| p != 0)).count();
    let of = text(doc, "/spec/type");
    let given = doc.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
    let node_ports = match of {
        "NodePort" => ports,
        "LoadBalancer" if given => ports,
        "LoadBalancer" => named,
        _ => 0,
    };
    usage.insert("services.nodeports".to_owned(), count(node_ports));
    usage.insert("services.loadbalancers".to_owned(), count(usize::from(of == "LoadBalancer")));
}

fn claim(doc: &Value, usage: &mut Usage) {
    usage.insert("persistentvolumeclaims".to_owned(), count(1));
    let storage = amounts(doc.pointer("/spec/resources/requests")).get("storage").copied();
    let class = text(doc, "/spec/storageClassName");
    if let Some(storage) = storage {
        usage.insert("requests.storage".to_owned(), storage);
    }
    if !class.is_empty() {
        usage.insert(format!("{class}{CLASS}persistentvolumeclaims"), count(1));
        usage.extend(storage.map(|storage| (format!("{class}{CLASS}requests.storage"), storage)));
    }
}

/// All an object uses.
fn usage(kind: Kind, doc: &Value) -> Usage {
    let resource = kind.resource();
    let mut usage = Usage::from([(format!("count/{}", resource.qualified()), count(1))]);
    if !resource.group.is_empty() {
        return usage;
    }
    if COUNTED.contains(&resource.plural) {
        usage.insert(resource.plural.to_owned(), count(1));
    }
    match resource.plural {
        "pods" => pod(doc, &mut usage),
        "services" => service(doc, &mut usage),
        "persistentvolumeclaims" => claim(doc, &mut usage),
        _ => {}
    }
    usage
}

/// What a pod asks for, and how it counts: for whoever compares with Kubernetes.
#[derive(Clone, Debug)]
pub struct PodResources {
    /// Effective requests.
    pub requests: Usage,
    /// Effective limits.
    pub limits: Usage,
    /// Quality of service class.
    pub qos_class: &'static str,
    /// What it counts as in quotas.
    pub quota: Usage,
}

/// What a pod with its defaults filled in asks for, and how it counts.
pub fn pod_resources(doc: &Value) -> PodResources {
    let spec = &doc["spec"];
    PodResources {
        requests: of_pod(spec, "requests"),
        limits: of_pod(spec, "limits"),
        qos_class: super::super::defaults::qos_class(spec),
        quota: usage(Kind::Pod, doc),
    }
}

/// Whether a pod may look for others in other namespaces.
fn crosses(doc: &Value) -> bool {
    let term = |term: &Value| {
        let named = term.get("namespaces").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
        named || term.get("namespaceSelector").is_some_and(Value::is_object)
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|of| {
        let base = format!("/spec/affinity/{of}");
        let hard = list(doc, &format!("{base}/requiredDuringSchedulingIgnoredDuringExecution")).any(term);
        let preferred = format!("{base}/preferredDuringSchedulingIgnoredDuringExecution");
        let soft = list(doc, &preferred);
        hard || soft.filter_map(|weighted| weighted.get("podAffinityTerm")).any(term)
    })
}

/// Whether a value is what a scope's selector asks for.
fn selects(requirement: &Value, value: &str) -> bool {
    let among = || list(requirement, "/values").any(|wanted| wanted == value);
    match text(requirement, "/operator") {
        "Exists" => !value.is_empty(),
        "DoesNotExist" => value.is_empty(),
        "In" => !value.is_empty() && among(),
        // As label selectors have it: what is not there is not among them.
        "NotIn" => value.is_empty() || !among(),
        _ => false,
    }
}

/// Whether an object is in a scope.
fn within(kind: Kind, doc: &Value, scope: &str, requirement: &Value) -> bool {
    let best_effort = || super::super::defaults::qos_class(&doc["spec"]) == "BestEffort";
    let terminating =
        || doc.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|s| s >= 0);
    match (kind == Kind::Pod, scope) {
        (true, "Terminating") => terminating(),
        (true, "NotTerminating") => !terminating(),
        (true, "BestEffort") => best_effort(),
        (true, "NotBestEffort") => !best_effort(),
        (true, "PriorityClass") => selects(requirement, text(doc, "/spec/priorityClassName")),
        (true, "CrossNamespacePodAffinity") => crosses(doc),
        (false, "VolumeAttributesClass") if kind.is("", "persistentvolumeclaims") => {
            selects(requirement, text(doc, "/spec/volumeAttributesClassName"))
        }
        _ => false,
    }
}

/// What an object uses of what a quota's `spec` counts; nothing where the quota is not about it.
pub(crate) fn measure(spec: &Value, kind: Kind, doc: &Value) -> Usage {
    let exists = serde_json::json!({"operator": "Exists"});
    let scopes = list(spec, "/scopes").filter_map(|scope| Some((scope.as_str()?, &exists)));
    let selectors = list(spec, "/scopeSelector/matchExpressions");
    let mut all = scopes.chain(selectors.map(|requirement| (text(requirement, "/scopeName"), requirement)));
    if !all.all(|(scope, requirement)| within(kind, doc, scope, requirement)) {
        return Usage::new();
    }
    let mut usage = usage(kind, doc);
    usage.retain(|name, _| spec.pointer("/hard").and_then(|hard| hard.get(name)).is_some());
    usage
}
