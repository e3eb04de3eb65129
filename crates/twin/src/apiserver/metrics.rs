//! `metrics.k8s.io`: what nodes and pods use, as metrics-server tells it.
//!
//! In a twin what a running container asks for stands for what it uses, as in its power (decision 8), unless annotations
//! say otherwise: its CPU and memory (docs/pods.md), over the time since its pod was started, or what [`crate::load`] reads.
//! As of a real server, a pod is told of once it ran for one window. Units: nanocores, kibibytes.

use super::selector::Selectors;
use super::status::Status;
use crate::controllers::owned::controller;
use crate::controllers::podcontrol::ready_since;
use crate::horizontal::{Usage, Used};
use crate::kind::{Kind, Resource};
use crate::load::Bearers;
use crate::store::{Objects, Stored};
use crate::work;
use fleet::{Bytes, Cpu, Instant, Resources, Span};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The group, and its one version.
pub const GROUP: &str = "metrics.k8s.io";
/// Its one version.
pub const VERSION: &str = "v1beta1";
/// What the API server says of an API for which nobody answers.
pub(crate) const UNAVAILABLE: &str = "the server is currently unable to handle the request";
/// What an average is over: metrics-server's manifests ask as often.
pub(crate) const WINDOW: Span = Span::from_seconds(15);

static RESOURCES: LazyLock<[Resource; 2]> = LazyLock::new(|| {
    [("nodes", "NodeMetrics", false), ("pods", "PodMetrics", true)].map(|(plural, name, namespaced)| {
        Resource {
            group: GROUP,
            version: VERSION,
            name,
            plural,
            singular: "",
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced,
            verbs: vec!["get", "list"],
            status: false,
            scale: false,
            subresources: Vec::new(),
            custom: false,
        }
    })
});

/// What discovery says of them. They are no kinds: nothing of them is kept.
pub fn resources() -> &'static [Resource] {
    &*RESOURCES
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// `nodes` or `pods`.
    pub plural: String,
    /// Of one namespace.
    pub namespace: Option<String>,
    /// Of one object; empty: of all.
    pub name: String,
    /// Label selector.
    pub label_selector: String,
    /// Field selector, as of the objects measured.
    pub field_selector: String,
}

/// The refusal of what is not there.
fn not_found(plural: &str, name: &str) -> Status {
    Status {
        name: name.to_owned(),
        group: GROUP.to_owned(),
        kind: plural.to_owned(),
        ..Status::new(404, "NotFound", format!("{plural}.{GROUP} {name:?} not found"))
    }
}

/// Answers, at `now`.
///
/// # Errors
/// When there is no such resource or object, a selector is no good, or nothing answers for the API.
pub fn answer(objects: &Objects, now: Instant, question: &Question) -> Result<Value, Status> {
    let resource = resources().iter().find(|resource| resource.plural == question.plural);
    let resource = resource.filter(|resource| resource.namespaced || question.namespace.is_none());
    let resource = resource
        .ok_or_else(|| Status::new(404, "NotFound", "the server could not find the requested resource"))?;
    if !objects.has_metrics() {
        return Err(Status::new(503, "ServiceUnavailable", UNAVAILABLE));
    }
    let kind = if resource.namespaced { Kind::Pod } else { Kind::Node };
    let selectors = Selectors::of(objects, kind, &question.label_selector, &question.field_selector)?;
    let namespace = question.namespace.as_deref();
    let pods = objects.list(Kind::Pod, namespace).filter_map(|stored| stored.object.as_pod());
    let bearers = Bearers::of(objects, pods);
    let use_of_nodes = if kind == Kind::Node { by_node(objects, &bearers, now) } else { BTreeMap::new() };
    let measured = |stored: &Stored| match stored.object.as_pod() {
        Some(pod) => pod_metrics(objects, &bearers, pod, now),
        None => Some(node_metrics(stored, now, &use_of_nodes)),
    };
    if !question.name.is_empty() {
        let found = objects.get(kind, namespace.unwrap_or_default(), &question.name);
        return found
            .and_then(|stored| measured(stored))
            .ok_or_else(|| not_found(resource.plural, &question.name));
    }
    let all = objects.list(kind, namespace).filter(|stored| selectors.matches(stored));
    let items: Vec<Value> = all.filter_map(|stored| measured(stored)).collect();
    Ok(json!({
        "kind": format!("{}List", resource.name), "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": items,
    }))
}

fn head(
    stored: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    kind: &str,
    now: Instant,
) -> Value {
    let now = now.to_rfc3339_seconds();
    let mut meta = json!({"name": stored.name, "creationTimestamp": now});
    if let Some(namespace) = &stored.namespace {
        meta["namespace"] = json!(namespace);
    }
    if let Some(labels) = stored.labels.as_ref().filter(|labels| !labels.is_empty()) {
        meta["labels"] = json!(labels);
    }
    json!({
        "kind": kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": meta, "timestamp": now,
        "window": format!("{}s", WINDOW.as_seconds()),
    })
}

fn usage(used: Resources) -> Value {
    json!({"cpu": format!("{}n", used.cpu.as_nanos()), "memory": format!("{}Ki", used.memory.as_bytes() / 1024)})
}

/// When a pod was started that has run for long enough to be told of.
fn measured_since(pod: &Pod, now: Instant) -> Option<Instant> {
    let status = pod.status.as_ref()?;
    let since = Instant::from_jiff(status.start_time.as_ref()?.0);
    (status.phase.as_deref() == Some("Running") && since + WINDOW <= now).then_some(since)
}

/// Which containers a pod's status tells of, and whether they run.
fn running(pod: &Pod) -> impl Iterator<Item = (&str, bool)> {
    let status = pod.status.iter();
    let all = status.flat_map(|s| s.container_statuses.iter().chain(&s.init_container_statuses).flatten());
    all.map(|own| (own.name.as_str(), own.state.as_ref().is_some_and(|state| state.running.is_some())))
}

/// The containers of a pod that run, by name, with what they use; `None`: it does not run, or not for long enough.
fn containers<'a>(
    objects: &Objects,
    bearers: &Bearers,
    pod: &'a Pod,
    now: Instant,
) -> Option<Vec<(&'a str, Resources)>> {
    let since = measured_since(pod, now)?;
    containers_after(objects, bearers, pod, now - since)
}

/// The same for one that has run for so long.
fn containers_after<'a>(
    objects: &Objects,
    bearers: &Bearers,
    pod: &'a Pod,
    age: Span,
) -> Option<Vec<(&'a str, Resources)>> {
    let spec = pod.spec.as_ref()?;
    let runs = |name: &str| running(pod).find(|(own, _)| *own == name).is_some_and(|(_, runs)| runs);
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let running: Vec<&Container> = all.filter(|container| runs(&container.name)).collect();
    let mut used = bearers.used(objects, pod, &running);
    for (container, used) in running.iter().zip(&mut used) {
        if let Some(profile) = work::memory(pod, container) {
            used.memory = Bytes::from_bytes(profile.at(age));
        }
        if let Some(profile) = work::cpu(pod, container) {
            used.cpu = Cpu::from_nanos(profile.at(age));
        }
    }
    Some(running.iter().map(|container| container.name.as_str()).zip(used).collect())
}

/// What the last pod was found to use: most pods of a workload use the same.
#[derive(Debug, Default)]
pub(crate) struct Last<'a>(Option<(&'a Pod, Used)>);

/// Whether the containers of two pods are called the same and ask for the same.
fn ask_alike(a: &PodSpec, b: &PodSpec) -> bool {
    let asks = |a: &Container, b: &Container| {
        a.name == b.name && a.resources == b.resources && a.restart_policy == b.restart_policy
    };
    let all =
        |a: &[Container], b: &[Container]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| asks(a, b));
    let (inits, others) = (a.init_containers.as_deref(), b.init_containers.as_deref());
    all(&a.containers, &b.containers)
        && all(inits.unwrap_or_default(), others.unwrap_or_default())
        && a.resources == b.resources
}

/// Whether what a pod uses goes with time.
pub(crate) fn is_timed(pod: &Pod) -> bool {
    let mut said = pod.metadata.annotations.iter().flatten();
    said.any(|(key, value)| work::varies(key, value))
}

/// Whether there may be pods of which it is sure that they use what this one does.
pub(crate) fn is_like_any(pod: &Pod) -> bool {
    controller(&pod.metadata).is_some() && !is_timed(pod)
}

/// Whether two pods surely use the same: one controller, one template, the same containers running, both ready or neither,
/// and nothing that is said of one alone or goes with time.
pub(crate) fn are_alike(a: &Pod, b: &Pod) -> bool {
    fn owner(pod: &Pod) -> Option<&str> {
        controller(&pod.metadata).map(|owner| owner.uid.as_str())
    }
    let (Some(one), Some(other)) = (&a.spec, &b.spec) else { return false };
    a.metadata.annotations == b.metadata.annotations
        && is_like_any(a)
        && owner(a) == owner(b)
        && ready_since(a).is_some() == ready_since(b).is_some()
        && ask_alike(one, other)
        && running(a).eq(running(b))
}

/// What an autoscaler is told of a pod.
pub(crate) fn usage_of<'a>(
    objects: &Objects,
    bearers: &Bearers,
    pod: &'a Pod,
    now: Instant,
    last: &mut Last<'a>,
) -> Option<Usage> {
    measured_since(pod, now).filter(|_| objects.has_metrics())?;
    let told = |containers| Some(Usage { at: now, window: WINDOW, containers });
    // Requests of Services come to some pods and not to others.
    let borne = |pod: &Pod| pod.metadata.uid.as_deref().and_then(|uid| objects.borne(uid));
    let alike = |like: &Pod| borne(like) == borne(pod) && are_alike(like, pod);
    if let Some((_, used)) = last.0.as_ref().filter(|(like, _)| alike(like)) {
        return told(used.clone());
    }
    let used = in_milli(containers(objects, bearers, pod, now)?);
    last.0 = Some((pod, used.clone()));
    told(used)
}

/// What an autoscaler is told of a pod that runs.
pub(crate) fn used_by(objects: &Objects, bearers: &Bearers, pod: &Pod, now: Instant) -> Option<Used> {
    containers(objects, bearers, pod, now).map(in_milli)
}

/// What it is told of a pod that runs and is [alike](are_alike) to this one, for which nobody sends requests.
pub(crate) fn used_like(objects: &Objects, bearers: &Bearers, pod: &Pod) -> Option<Used> {
    // It does not matter for how long: nothing goes with time.
    containers_after(objects, bearers, pod, Span::ZERO).map(in_milli)
}

fn in_milli(used: Vec<(&str, Resources)>) -> Used {
    let milli = |used: Resources| {
        let cpu = used.cpu.as_nanos();
        let cpu = cpu / 1_000_000 + i64::from(cpu % 1_000_000 != 0);
        let memory = used.memory.as_bytes().saturating_mul(1000);
        BTreeMap::from([("cpu".to_owned(), cpu), ("memory".to_owned(), memory)])
    };
    used.into_iter().map(|(name, used)| (name.to_owned(), milli(used))).collect()
}

fn pod_metrics(objects: &Objects, bearers: &Bearers, pod: &Pod, now: Instant) -> Option<Value> {
    let containers = containers(objects, bearers, pod, now)?;
    let mut metrics = head(&pod.metadata, "PodMetrics", now);
    let all = containers.iter().map(|(name, used)| json!({"name": name, "usage": usage(*used)}));
    metrics["containers"] = all.collect();
    Some(metrics)
}

/// What the pods on each node use.
fn by_node(objects: &Objects, bearers: &Bearers, now: Instant) -> BTreeMap<String, Resources> {
    let mut all: BTreeMap<String, Resources> = BTreeMap::new();
    for pod in objects.list(Kind::Pod, None).filter_map(|stored| stored.object.as_pod()) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if let (Some(node), Some(containers)) = (node, containers(objects, bearers, pod, now)) {
            let used: Resources = containers.iter().map(|(_, used)| *used).sum();
            *all.entry(node.clone()).or_insert(Resources::ZERO) += used;
        }
    }
    all
}

fn node_metrics(stored: &Stored, now: Instant, used: &BTreeMap<String, Resources>) -> Value {
    let mut metrics = head(stored.object.meta(), "NodeMetrics", now);
    metrics["usage"] = usage(used.get(stored.object.name()).copied().unwrap_or(Resources::ZERO));
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;

    const START: &str = "2026-05-01T09:00:00Z";

    fn cluster() -> Objects {
        let mut objects = Objects::new();
        for node in ["n", "m"] {
            let node = json!({"metadata": {"name": node, "labels": {"name": node}}});
            objects.put(Object::from_value(Kind::Node, &node).unwrap());
        }
        let container = |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu, "memory": "3Mi"}}});
        for (name, phase) in [("p", "Running"), ("q", "Running"), ("r", "Succeeded")] {
            let pod = json!({"metadata": {"name": name, "namespace": "a", "labels": {"name": name}},
                "spec": {"nodeName": "n", "containers": [container("c", "250m"), container("d", "1")]},
                "status": {"phase": phase, "startTime": START, "containerStatuses": [
                    {"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": START}}},
                    {"name": "d", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}]}});
            objects.put(Object::from_value(Kind::Pod, &pod).unwrap());
        }
        objects
    }

    fn ask(plural: &str, name: &str, labels: &str, seconds: i64) -> Result<Value, u16> {
        let namespace = (plural == "pods").then(|| "a".to_owned());
        let question = Question {
            plural: plural.to_owned(),
            namespace,
            name: name.to_owned(),
            label_selector: labels.to_owned(),
            field_selector: String::new(),
        };
        let now = Instant::parse(START).unwrap() + Span::from_seconds(seconds);
        answer(&cluster(), now, &question).map_err(|status| status.code)
    }

    #[test]
    fn what_runs_uses_what_it_asks_for() {
        let pod = ask("pods", "p", "", 15).unwrap();
        assert_eq!(
            pod["containers"],
            json!([{"name": "c", "usage": {"cpu": "250000000n", "memory": "3072Ki"}}])
        );
        assert_eq!(ask("pods", "p", "", 14), Err(404), "it has not run for a window");
        assert_eq!(ask("pods", "r", "", 100), Err(404), "it is over");
        let names = |list: Value| -> Vec<String> {
            let items = list["items"].as_array().unwrap();
            items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(ask("pods", "", "", 15).unwrap()), ["p", "q"]);
        assert_eq!(names(ask("pods", "", "name=q", 15).unwrap()), ["q"]);
        assert_eq!(names(ask("nodes", "", "", 15).unwrap()), ["m", "n"]);
        assert_eq!(
            ask("nodes", "n", "", 15).unwrap()["usage"],
            json!({"cpu": "500000000n", "memory": "6144Ki"})
        );
        assert_eq!(ask("nodes", "m", "", 15).unwrap()["usage"]["cpu"], "0n");
        assert_eq!((ask("nodes", "x", "", 15), ask("jobs", "", "", 15)), (Err(404), Err(404)));
    }
}
