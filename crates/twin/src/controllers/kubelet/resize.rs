//! Resizing in place: what a running container is given, and when it has it.
//!
//! As kubelet's `allocation` manager, version 1.36: another amount is allocated if the node has room beside what its other pods
//! were allocated, else the resize is deferred until one of them goes or shrinks; it is never infeasible, because that is
//! said of nodes with static CPU or memory managers and of swap. What was allocated, the containers have after a moment
//! ([`ACTUATION`]); those whose `resizePolicy` says so are started again for it. A memory limit below what the container
//! is stated to use is not set.

use super::scene::{Said, Scene, container};
use super::{Kubelet, Run, Stage};
use crate::amounts;
use crate::apiserver::quantity::Quantity;
use crate::controllers::Cx;
use crate::work;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// From allocating to the containers having it: control groups are written; assumed.
const ACTUATION: Span = Span::from_seconds(1);

/// What a container was given that has not got what its spec says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) allocated: ResourceRequirements,
    pub(super) actual: ResourceRequirements,
}

/// A resize on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resize {
    /// Why it waits, since when, and of which generation of the pod.
    pub(super) pending: Option<(String, Instant, Option<i64>)>,
    /// What was allocated: when the containers have it, since when, and of which generation.
    pub(super) progress: Option<Progress>,
}

/// What was allocated and the containers have not got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) until: Instant,
    pub(super) since: Instant,
    pub(super) generation: Option<i64>,
    /// Why it cannot be done.
    pub(super) error: Option<String>,
}

fn resources(container: &Container) -> ResourceRequirements {
    container.resources.clone().unwrap_or_default()
}

/// An amount of a list in billionths.
fn nanos(resources: &ResourceRequirements, list: &str, name: &str) -> Option<i128> {
    let list = if list == "limits" { &resources.limits } else { &resources.requests };
    Quantity::parse(&list.as_ref()?.get(name)?.0).ok().map(Quantity::nanos)
}

/// Whether a container is to be started again for this change.
fn needs_restart(container: &Container, from: &ResourceRequirements, to: &ResourceRequirements) -> bool {
    container.resize_policy.iter().flatten().any(|policy| {
        let differs =
            |list| nanos(from, list, &policy.resource_name) != nanos(to, list, &policy.resource_name);
        policy.restart_policy == "RestartContainer" && (differs("limits") || differs("requests"))
    })
}

impl Run {
    /// Somebody changed what containers are to have: what they were given before is kept.
    pub(super) fn note_resize(&mut self, before: &PodSpec, now: &PodSpec) {
        for at in 0..self.units.len() {
            let (Some((old, _)), Some((new, _))) = (container(before, at), container(now, at)) else {
                return;
            };
            if self.units[at].given.is_none() && resources(old) != resources(new) {
                let given = Given { allocated: resources(old), actual: resources(old) };
                self.units[at].given = Some(Box::new(given));
            }
        }
    }
    fn is_allocated(&self, spec: &PodSpec) -> bool {
        let each = self.units.iter().enumerate();
        each.into_iter().all(|(at, unit)| match (&unit.given, container(spec, at)) {
            (Some(given), Some((container, _))) => given.allocated == resources(container),
            _ => true,
        })
    }
    /// What was allocated reaches the containers, if it is time.
    pub(super) fn actuate(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        let now = scene.now();
        let Some(progress) = self.resize.progress.as_ref().filter(|p| p.until <= now) else { return false };
        let (since, generation) = (progress.since, progress.generation);
        let mut error = None;
        for at in 0..self.units.len() {
            let Some((container, _)) = scene.container(at) else { continue };
            let Some(given) = self.units[at].given.clone().filter(|given| given.actual != given.allocated)
            else {
                continue;
            };
            let runs = self.units[at].running().is_some();
            if runs && needs_restart(container, &given.actual, &given.allocated) {
                let text = format!("Container {} resize requires restart", container.name);
                let grace = Span::from_seconds(super::sync::grace(scene));
                self.ask_to_stop(at, grace, Some(text), scene);
            } else if let Some(why) = self.too_small(at, container, &given.allocated, scene).filter(|_| runs)
            {
                error = Some(why);
                continue;
            }
            if let Some(own) = &mut self.units[at].given {
                own.actual = own.allocated.clone();
            }
            self.limit_memory(at, container, &given.allocated, scene);
        }
        if let Some(error) = error {
            let news = self.resize.progress.as_ref().is_some_and(|p| p.error.as_ref() != Some(&error));
            if news {
                say(scene, true, "ResizeError", "Pod resize error", Some(&error));
            }
            let progress = Progress { until: Instant::FAR_FUTURE, since, generation, error: Some(error) };
            self.resize.progress = Some(progress);
            return news;
        }
        self.resize.progress = None;
        if self.is_allocated(scene.spec) {
            self.units.iter_mut().for_each(|unit| unit.given = None);
        }
        say(scene, false, "ResizeCompleted", "Pod resize completed", None);
        true
    }
    /// Why a running container cannot be held to so little memory.
    fn too_small(
        &self,
        at: usize,
        container: &Container,
        to: &ResourceRequirements,
        scene: &Scene<'_, '_>,
    ) -> Option<String> {
        let profile = work::memory(scene.pod, container)?;
        let limit = i64::try_from(nanos(to, "limits", "memory")? / 1_000_000_000).ok()?;
        let used = profile.at(scene.now() - self.units[at].running()?.since);
        (used > limit).then(|| {
            format!(
                "attempting to set container \"{}\" memory limit ({limit}) below current usage ({used})",
                container.name
            )
        })
    }
    /// A container has another limit of memory.
    fn limit_memory(
        &mut self,
        at: usize,
        container: &Container,
        to: &ResourceRequirements,
        scene: &Scene<'_, '_>,
    ) {
        let limit = nanos(to, "limits", "memory").and_then(|nanos| i64::try_from(nanos / 1_000_000_000).ok());
        let profile = work::memory(scene.pod, container);
        let now = scene.now();
        if let Some(running) = self.units[at].running_mut() {
            let since = running.since;
            let over = profile.zip(limit).and_then(|(profile, limit)| profile.exceeds(limit, now - since));
            running.memory_over = over.map(|after| since + after);
        }
    }
}

/// Says what becomes of a resize, with what the pod is to have.
fn say(scene: &mut Scene<'_, '_>, warning: bool, reason: &'static str, head: &str, error: Option<&str>) {
    let message = message(scene.pod, scene.spec, head, error);
    scene.said.push(Said { warning, reason, field: None, message });
}

fn message(pod: &Pod, spec: &PodSpec, head: &str, error: Option<&str>) -> String {
    let all = |list: &[Container]| -> Vec<serde_json::Value> {
        list.iter().map(|c| json!({"name": c.name, "resources": resources(c)})).collect()
    };
    let mut text = String::from("{");
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    if !inits.is_empty() {
        text.push_str(&format!("\"initContainers\":{},", json!(all(inits))));
    }
    let generation = pod.metadata.generation.unwrap_or(0);
    text.push_str(&format!("\"containers\":{},\"generation\":{generation}", json!(all(&spec.containers))));
    if let Some(error) = error {
        text.push_str(&format!(",\"error\":{}", json!(error)));
    }
    format!("{head}: {text}}}")
}

impl Kubelet {
    /// Allocates what a pod is to have, if its node has it; what there is to be said.
    pub(super) fn allocate(
        &mut self,
        cx: &Cx<'_>,
        uid: &Arc<str>,
        pod: &Pod,
        spec: &PodSpec,
    ) -> Option<Said> {
        let run = self.runs.get(uid).filter(|run| run.stage == Stage::Live && run.ending.is_none())?;
        let node = run.node.clone();
        if run.is_allocated(spec) {
            if run.resize.pending.is_some() {
                self.runs.get_mut(uid)?.resize.pending = None;
            }
            return None;
        }
        let generation = pod.metadata.generation;
        let lacking = self.lacks(cx, uid, pod);
        let run = self.runs.get_mut(uid)?;
        let Some(why) = lacking else {
            for (at, unit) in run.units.iter_mut().enumerate() {
                if let (Some(given), Some((container, _))) = (&mut unit.given, container(spec, at)) {
                    given.allocated = resources(container);
                }
            }
            self.residents.remove(uid, run);
            run.asks = asks(pod);
            self.residents.insert(uid, run);
            let until = cx.now + ACTUATION;
            run.resize = Resize {
                pending: None,
                progress: Some(Progress { until, since: cx.now, generation, error: None }),
            };
            self.unblock(&node, Some(uid));
            let message = message(pod, spec, "Pod resize started", None);
            return Some(Said { warning: false, reason: "ResizeStarted", field: None, message });
        };
        let news = run.resize.pending.as_ref().is_none_or(|(_, _, of)| *of != generation);
        let since = run.resize.pending.as_ref().map_or(cx.now, |(_, since, _)| *since);
        run.resize.pending = Some((why.clone(), since, generation));
        self.deferred.entry(node).or_default().insert(uid.clone());
        let message = message(pod, spec, "Pod resize Deferred", Some(&why));
        news.then_some(Said { warning: true, reason: "ResizeDeferred", field: None, message })
    }
    /// What a pod's node has too little of, in the kubelet's words.
    fn lacks(&mut self, cx: &Cx<'_>, uid: &Arc<str>, pod: &Pod) -> Option<String> {
        let node = pod.spec.as_ref()?.node_name.as_deref()?;
        let room = amounts::allocatable(cx.node(node)?);
        let (all, own) = (self.held(cx, node, false), self.runs.get(uid)?.asks);
        let used = (all.cpu_millis - own.0, all.memory_bytes - own.1);
        let wanted = asks(pod);
        let each =
            [("cpu", wanted.0, used.0, room.cpu_millis), ("memory", wanted.1, used.1, room.memory_bytes)];
        let (name, wanted, used, room) =
            each.into_iter().find(|(_, wanted, used, room)| *wanted > 0 && *wanted > room - used)?;
        let why = "Node didn't have enough resource";
        Some(format!("{why}: {name}, requested: {wanted}, used: {used}, capacity: {room}"))
    }
    /// Resizes that wait for room on a node are looked at again.
    pub(super) fn unblock(&mut self, node: &str, but: Option<&Arc<str>>) {
        let Some(waiting) = self.deferred.remove(node) else { return };
        let places = waiting.into_iter().filter(|uid| Some(uid) != but).filter_map(|uid| {
            let place = self.runs.get(&uid)?.place.clone();
            Some((place, uid))
        });
        let places: Vec<_> = places.collect();
        self.dirty.extend(places);
    }
}

/// CPU in thousandths of a core and memory in bytes that a pod asks for.
pub(super) fn asks(pod: &Pod) -> (i64, i64) {
    let asked = amounts::requested(pod);
    (asked.cpu_millis, asked.memory_bytes)
}
