//! What has to be so once all faults have ended and time has passed: everything is as its spec asks.

use super::checks::{self, is_ready};
use crate::World;
use crate::controllers::owned::controller;
use crate::controllers::{is_deleting, is_terminal, phase};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Objects, Stored};
use fleet::{ClusterId, Instant, Span};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a world that was saved goes on beside the one it was saved from.
const LOADED_FOR: Span = Span::from_seconds(900);
/// The longest a Job that is at work has nothing new: the longest task drawn, and the longest back-off after it.
const ATTEMPT_MAX: Span = Span::from_seconds(1200 + 600 + 60);

fn all(objects: &Objects, group: &str, plural: &'static str) -> Vec<Value> {
    objects.list(Kind::document(group, plural), None).map(|stored| stored.object.to_value()).collect()
}

fn number(document: &Value, pointer: &str) -> i64 {
    document.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap_or_default()
}

fn expect(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("at the end {}", what())) }
}

/// Everything is as it was asked for.
pub(super) fn check(world: &World, home: &ClusterId) -> Result<(), String> {
    checks::conserved(world, home)?;
    let Some(objects) = world.objects(home) else { return Ok(()) };
    nodes(objects)?;
    let pods: Vec<&Arc<Stored>> = objects.list(Kind::Pod, None).collect();
    each_pod(objects, &pods)?;
    deployments(objects)?;
    sets(objects)?;
    jobs(objects, world.now())?;
    budgets_and_autoscalers(objects)?;
    endpoints(objects, &pods)?;
    volumes(objects, &pods)
}

fn nodes(objects: &Objects) -> Result<(), String> {
    for stored in objects.list(Kind::Node, None) {
        let node = stored.object.to_value();
        for condition in node["status"]["conditions"].as_array().into_iter().flatten() {
            let wanted = if condition["type"] == "Ready" { "True" } else { "False" };
            expect(condition["status"] == wanted, || format!("node {}: {condition}", name(&node)))?;
        }
        let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
        let leaving = node["spec"]["taints"].to_string().contains("ClusterAutoscaler");
        let cordoned = node["spec"]["unschedulable"] == true;
        expect(leaving || (taints == 0 && !cordoned), || format!("node {}: {}", name(&node), node["spec"]))?;
    }
    Ok(())
}

fn each_pod(objects: &Objects, pods: &[&Arc<Stored>]) -> Result<(), String> {
    for stored in pods {
        let Object::Pod(pod) = &stored.object else { continue };
        let (own, phase) = (stored.object.name(), phase(pod));
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        expect(!is_deleting(&pod.metadata) || phase == "Running", || {
            format!("pod {own} is {phase} and being deleted")
        })?;
        expect(node.is_some() || is_terminal(pod), || {
            format!("pod {own} has no node: {}", stored.object.to_value()["status"])
        })?;
        if let Some(owner) = controller(&pod.metadata) {
            let kind = objects.kind_of(&owner.api_version, &owner.kind);
            let there = kind.and_then(|kind| objects.get(kind, stored.object.namespace(), &owner.name));
            let holds = there.is_some_and(|there| there.object.uid() == owner.uid);
            expect(holds || is_deleting(&pod.metadata), || {
                format!("pod {own} is left, its {} {} is gone", owner.kind, owner.name)
            })?;
        }
    }
    Ok(())
}

/// Whether pods of a template stay up: those that crash again and again come and go.
fn is_steady(document: &Value) -> bool {
    document["spec"]["template"]["metadata"]["annotations"].get("twin.kubercarbon.io/crash-after").is_none()
}

fn deployments(objects: &Objects) -> Result<(), String> {
    for own in all(objects, "apps", "deployments") {
        let (wanted, status) = (number(&own, "/spec/replicas"), &own["status"]);
        let seen = status["observedGeneration"] == own["metadata"]["generation"];
        let counts = |field: &str| status[field].as_i64().unwrap_or(0);
        let whole = counts("replicas") == wanted && counts("updatedReplicas") == wanted;
        let up = counts("availableReplicas") == wanted || !is_steady(&own);
        expect(seen && whole && up, || format!("deployment {} of {wanted}: {status}", name(&own)))?;
    }
    Ok(())
}

fn sets(objects: &Objects) -> Result<(), String> {
    for own in all(objects, "apps", "statefulsets") {
        let (wanted, status) = (number(&own, "/spec/replicas"), &own["status"]);
        let counts = |field: &str| status[field].as_i64().unwrap_or(0);
        let up =
            (counts("readyReplicas") == wanted && counts("updatedReplicas") == wanted) || !is_steady(&own);
        let whole = counts("replicas") == wanted || !is_steady(&own);
        expect(whole && up, || format!("statefulset {} of {wanted}: {status}", name(&own)))?;
    }
    let nodes = objects.count(Kind::Node) as i64;
    for own in all(objects, "apps", "daemonsets") {
        let status = &own["status"];
        let counts = |field: &str| status[field].as_i64().unwrap_or(0);
        let up =
            counts("numberReady") == nodes && counts("updatedNumberScheduled") == nodes || !is_steady(&own);
        expect(counts("desiredNumberScheduled") == nodes && up, || {
            format!("daemonset {} on {nodes} nodes: {status}", name(&own))
        })?;
    }
    Ok(())
}

/// Whether a container of a Job's pods began or ended lately. Tasks that fail are tried again up to seven times, which may take
/// longer than the rest.
fn is_at_work(objects: &Objects, job: &Object, now: Instant) -> bool {
    fn is_late(value: &Value, since: Instant) -> bool {
        let at = |(key, value): (&String, &Value)| match value.as_str() {
            Some(text) => {
                let stamp = matches!(key.as_str(), "startTime" | "startedAt" | "finishedAt");
                stamp && Instant::parse(text).is_ok_and(|at| at >= since)
            }
            None => is_late(value, since),
        };
        value.as_object().is_some_and(|all| all.iter().any(at))
            || value.as_array().is_some_and(|all| all.iter().any(|value| is_late(value, since)))
    }
    let own =
        |stored: &&Arc<Stored>| controller(stored.object.meta()).is_some_and(|owner| owner.uid == job.uid());
    let mut pods = objects.list(Kind::Pod, None).filter(own);
    pods.any(|pod| is_late(&pod.object.to_value()["status"], now - ATTEMPT_MAX))
}

fn jobs(objects: &Objects, now: Instant) -> Result<(), String> {
    for stored in objects.list(Kind::Job, None) {
        let own = stored.object.to_value();
        let conditions = own["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let finished = conditions
            .iter()
            .any(|c| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True");
        let by_cron = controller(stored.object.meta()).is_some_and(|owner| owner.kind == "CronJob");
        let held = own["spec"]["suspend"] == true;
        let goes_on = || is_at_work(objects, &stored.object, now);
        expect(finished || by_cron || held || goes_on(), || {
            format!("job {} has not finished, and nothing of it happens: {}", name(&own), own["status"])
        })?;
        if finished {
            expect(number(&own, "/status/active") == 0, || {
                format!("job {} has finished and has active pods", name(&own))
            })?;
            let uncounted = &own["status"]["uncountedTerminatedPods"];
            let none = |field: &str| uncounted[field].as_array().is_none_or(Vec::is_empty);
            expect(none("succeeded") && none("failed"), || {
                format!("job {} has uncounted pods: {uncounted}", name(&own))
            })?;
        }
    }
    Ok(())
}

fn budgets_and_autoscalers(objects: &Objects) -> Result<(), String> {
    for own in all(objects, "policy", "poddisruptionbudgets") {
        let app = own["spec"]["selector"]["matchLabels"]["app"].as_str().unwrap_or_default();
        let ready = objects.list(Kind::Pod, None).filter_map(|s| s.object.as_pod()).filter(|pod| {
            let is = pod
                .metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels.get("app").is_some_and(|own| own == app));
            is && is_ready(pod) && !is_deleting(&pod.metadata)
        });
        let healthy = number(&own, "/status/currentHealthy");
        expect(healthy == ready.count() as i64, || format!("budget {}: {}", name(&own), own["status"]))?;
    }
    for own in all(objects, "autoscaling", "horizontalpodautoscalers") {
        let (now, wanted) =
            (number(&own, "/status/currentReplicas"), number(&own, "/status/desiredReplicas"));
        let target = all(objects, "apps", "deployments").into_iter().find(|target| name(target) == "web");
        expect(now == wanted || target.is_none_or(|target| !is_steady(&target)), || {
            format!("autoscaler {}: {}", name(&own), own["status"])
        })?;
    }
    Ok(())
}

/// The ready addresses of a Service are those of its ready pods.
fn endpoints(objects: &Objects, pods: &[&Arc<Stored>]) -> Result<(), String> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for slice in all(objects, "discovery.k8s.io", "endpointslices") {
        let service = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or_default();
        let own = found.entry(service.to_owned()).or_default();
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] == true {
                own.extend(endpoint["addresses"][0].as_str().map(str::to_owned));
            }
        }
    }
    for service in all(objects, "", "services") {
        let Some(app) = service["spec"]["selector"]["app"].as_str() else { continue };
        let of = pods.iter().filter_map(|stored| stored.object.as_pod()).filter(|pod| {
            let is = pod
                .metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels.get("app").is_some_and(|own| own == app));
            is && is_ready(pod) && !is_deleting(&pod.metadata)
        });
        let ips: BTreeSet<String> = of.filter_map(|pod| pod.status.as_ref()?.pod_ip.clone()).collect();
        let slices = found.remove(name(&service)).unwrap_or_default();
        expect(slices == ips, || {
            format!("service {} has endpoints {slices:?}, its pods are at {ips:?}", name(&service))
        })?;
    }
    Ok(())
}

/// Claims in use are bound, and volumes are attached where pods use them, and nowhere else.
fn volumes(objects: &Objects, pods: &[&Arc<Stored>]) -> Result<(), String> {
    let claims = all(objects, "", "persistentvolumeclaims");
    let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
    for stored in pods {
        let Some(pod) = stored.object.as_pod().filter(|pod| !is_terminal(pod)) else { continue };
        let Some(spec) = &pod.spec else { continue };
        for volume in spec.volumes.iter().flatten() {
            let Some(source) = &volume.persistent_volume_claim else { continue };
            let claim = claims.iter().find(|claim| name(claim) == source.claim_name);
            let bound = claim.filter(|claim| claim["status"]["phase"] == "Bound");
            let bound = bound.and_then(|claim| claim["spec"]["volumeName"].as_str());
            expect(bound.is_some(), || {
                format!("claim {} of pod {} is not bound", source.claim_name, stored.object.name())
            })?;
            let node = spec.node_name.clone().unwrap_or_default();
            wanted.insert((bound.unwrap_or_default().to_owned(), node));
        }
    }
    let attached = all(objects, "storage.k8s.io", "volumeattachments").into_iter().map(|own| {
        let text =
            |pointer: &str| own.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("/spec/source/persistentVolumeName"), text("/spec/nodeName"))
    });
    let attached: BTreeSet<(String, String)> = attached.collect();
    expect(attached == wanted, || format!("volumes are attached as {attached:?}, and needed as {wanted:?}"))
}

/// A world that was saved and loaded, so that all it derives is worked out anew, goes on as the one it was saved from.
pub(super) fn goes_on_alike(world: &mut World, state: &[u8]) -> Result<(), String> {
    let bytes =
        |world: &World| serde_json::to_vec(world).map_err(|error| format!("cannot be saved: {error}"));
    let mut loaded: World =
        serde_json::from_slice(state).map_err(|error| format!("cannot be loaded: {error}"))?;
    expect(bytes(&loaded)? == state, || "a world that was loaded is another".to_owned())?;
    let until = world.now() + LOADED_FOR;
    world.advance_to(until);
    loaded.advance_to(until);
    expect(bytes(&loaded)? == bytes(world)?, || "a world that was loaded goes on otherwise".to_owned())
}
