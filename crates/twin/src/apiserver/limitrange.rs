//! LimitRange: what containers that say nothing ask for, and the least and the most a pod, a container or a claim may ask for.
//!
//! Refusals are worded as the server's, resources in order of their names.

use super::quantity::Quantity;
use super::quota::{Usage, amounts, of_pod};
use super::status::Status;
use crate::kind::Kind;
use crate::object::Body;
use crate::store::Objects;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static LIMIT_RANGES: LazyLock<Kind> = LazyLock::new(|| Kind::document("", "limitranges"));

/// Says what was filled in, and by whom.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Whether there are limits anywhere.
pub(super) fn any(objects: &Objects) -> bool {
    objects.count(*LIMIT_RANGES) > 0
}

/// The limits of a namespace, a list for each LimitRange.
fn limits(objects: &Objects, namespace: &str) -> Vec<Vec<Value>> {
    let of = |body: &Body| body.get("spec")?.get("limits")?.as_array().cloned();
    let documents = objects.list(*LIMIT_RANGES, Some(namespace)).filter_map(|s| s.object.as_document());
    documents.filter_map(|document| of(&document.body)).collect()
}

fn containers<'a>(doc: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    doc.pointer(&format!("/spec/{list}")).and_then(Value::as_array).into_iter().flatten()
}

/// Fills in what a container does not say; the names of what was, in order.
fn fill(container: &mut Value, part: &str, defaults: &Map<String, Value>) -> Vec<String> {
    if defaults.is_empty() {
        return Vec::new();
    }
    let slot = &mut container["resources"];
    if !slot.is_object() {
        *slot = json!({});
    }
    let slot = &mut slot[part];
    if !slot.is_object() {
        *slot = json!({});
    }
    let mut filled = Vec::new();
    for (name, amount) in defaults {
        if slot.get(name).is_none() {
            slot[name] = amount.clone();
            filled.push(name.clone());
        }
    }
    filled
}

/// Fills in a new pod's requests and limits.
pub(super) fn default(objects: &Objects, namespace: &str, doc: &mut Value) {
    for limits in limits(objects, namespace) {
        let of_container = limits.iter().filter(|limit| limit["type"] == "Container");
        let (mut requests, mut most) = (Map::new(), Map::new());
        for limit in of_container {
            let part = |key: &str| limit.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
            requests.extend(part("defaultRequest"));
            most.extend(part("default"));
        }
        let mut said = Vec::new();
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            let all = doc.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
            for container in all.into_iter().flatten() {
                let limits = fill(container, "limits", &most);
                let requests = fill(container, "requests", &requests);
                let name = container["name"].as_str().unwrap_or_default();
                for (filled, part) in [(requests, "request"), (limits, "limit")] {
                    if !filled.is_empty() {
                        said.push(format!("{} {part} for {what} {name}", filled.join(", ")));
                    }
                }
            }
        }
        if !said.is_empty() {
            let notes = &mut doc["metadata"]["annotations"];
            if !notes.is_object() {
                *notes = json!({});
            }
            notes[ANNOTATION] = json!(format!("LimitRanger plugin set: {}", said.join("; ")));
        }
    }
}

/// What is asked for, and under which limit's type.
struct Asked<'a> {
    of: &'a str,
    requests: &'a Usage,
    limits: &'a Usage,
}

impl Asked<'_> {
    fn least(&self, name: &str, bound: Quantity, errors: &mut Vec<String>) {
        let head = format!("minimum {name} usage per {} is {bound}", self.of);
        let below = |amount: &&Quantity| amount.nanos() < bound.nanos();
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => errors.push(format!("{head}.  No request is specified")),
            (Some(request), _) if below(&request) => errors.push(format!("{head}, but request is {request}")),
            (_, Some(limit)) if below(&limit) => errors.push(format!("{head}, but limit is {limit}")),
            _ => {}
        }
    }
    fn most(&self, name: &str, bound: Quantity, errors: &mut Vec<String>) {
        let head = format!("maximum {name} usage per {} is {bound}", self.of);
        let above = |amount: &&Quantity| amount.nanos() > bound.nanos();
        match (self.requests.get(name), self.limits.get(name)) {
            (_, None) => errors.push(format!("{head}.  No limit is specified")),
            (_, Some(limit)) if above(&limit) => errors.push(format!("{head}, but limit is {limit}")),
            (Some(request), _) if above(&request) => errors.push(format!("{head}, but request is {request}")),
            _ => {}
        }
    }
    /// Claims have no limits; the most they may request is told of requests.
    fn most_requested(&self, name: &str, bound: Quantity, errors: &mut Vec<String>) {
        let head = format!("maximum {name} usage per {} is {bound}", self.of);
        match self.requests.get(name) {
            None => errors.push(format!("{head}.  No request is specified")),
            Some(request) if request.nanos() > bound.nanos() => {
                errors.push(format!("{head}, but request is {request}"));
            }
            Some(_) => {}
        }
    }
    fn ratio(&self, name: &str, bound: Quantity, errors: &mut Vec<String>) {
        let head = format!("{name} max limit to request ratio per {} is {bound}", self.of);
        let some = |usage: &Usage| usage.get(name).map(|amount| amount.nanos()).filter(|n| *n != 0);
        match (some(self.requests), some(self.limits)) {
            (None, _) => errors.push(format!("{head}, but no request is specified or request is 0")),
            (_, None) => errors.push(format!("{head}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let ratio = limit as f64 / request as f64;
                if ratio > bound.nanos() as f64 / super::quantity::NANO as f64 {
                    errors.push(format!("{head}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
    /// Holds it to a limit.
    fn check(&self, limit: &Value, errors: &mut Vec<String>) {
        let each = |key: &str| amounts(limit.get(key)).into_iter();
        each("min").for_each(|(name, bound)| self.least(&name, bound, errors));
        if self.of == "PersistentVolumeClaim" {
            return each("max").for_each(|(name, bound)| self.most_requested(&name, bound, errors));
        }
        each("max").for_each(|(name, bound)| self.most(&name, bound, errors));
        each("maxLimitRequestRatio").for_each(|(name, bound)| self.ratio(&name, bound, errors));
    }
}

/// Holds a pod or a claim to the limits of its namespace.
pub(super) fn check(objects: &Objects, kind: Kind, namespace: &str, doc: &Value) -> Result<(), Status> {
    let claim = kind.is("", "persistentvolumeclaims");
    if kind != Kind::Pod && !claim {
        return Ok(());
    }
    for limits in limits(objects, namespace) {
        let mut errors = Vec::new();
        for limit in &limits {
            let of = limit["type"].as_str().unwrap_or_default();
            let parts: Vec<(Usage, Usage)> = match (of, claim) {
                ("PersistentVolumeClaim", true) => {
                    vec![(amounts(doc.pointer("/spec/resources/requests")), Usage::new())]
                }
                ("Pod", false) => vec![(of_pod(&doc["spec"], "requests"), of_pod(&doc["spec"], "limits"))],
                ("Container", false) => {
                    let part = |c: &Value, key: &str| amounts(c.pointer(&format!("/resources/{key}")));
                    let all = containers(doc, "containers").chain(containers(doc, "initContainers"));
                    all.map(|container| (part(container, "requests"), part(container, "limits"))).collect()
                }
                _ => continue,
            };
            for (requests, limits) in &parts {
                Asked { of, requests, limits }.check(limit, &mut errors);
            }
        }
        if !errors.is_empty() {
            let why = if errors.len() == 1 { errors.concat() } else { format!("[{}]", errors.join(", ")) };
            let name = doc.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            return Err(Status::forbidden(kind.resource(), name, &why));
        }
    }
    Ok(())
}
