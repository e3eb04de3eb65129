//! What has to hold after every instant, by what changed in it.

use crate::amounts;
use crate::apiserver::selector::LabelSelector;
use crate::controllers::owned::controller;
use crate::controllers::{is_deleting, is_terminal};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Objects, Stored};
use crate::world::World;
use fleet::ClusterId;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// After so many instants what costs more than what changed is looked at.
const SELDOM: u64 = 64;

/// What was seen of a pod.
#[derive(Clone, Debug)]
struct SeenPod {
    node: Option<String>,
    ended: bool,
    deleting: bool,
    /// CPU in thousandths, memory in bytes.
    asks: (i64, i64),
}

/// What was seen of a Job.
#[derive(Clone, Copy, Debug, Default)]
struct SeenJob {
    succeeded: i32,
    failed: i32,
    finished: bool,
    completed: bool,
}

/// What is remembered from instant to instant.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pods: BTreeMap<String, SeenPod>,
    jobs: BTreeMap<String, SeenJob>,
    /// Of each node: CPU and memory its pods ask for, and how many there are.
    used: BTreeMap<String, (i64, i64, i64)>,
    looks: u64,
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn condition<'a>(node: &'a Node, kind: &str) -> &'a str {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().find(|c| c.type_ == kind).map_or("", |c| c.status.as_str())
}

fn seen_job(job: &Job) -> SeenJob {
    let Some(status) = &job.status else { return SeenJob::default() };
    let is = |kind: &str| status.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True");
    SeenJob {
        succeeded: status.succeeded.unwrap_or(0),
        failed: status.failed.unwrap_or(0),
        finished: is("Complete") || is("Failed"),
        completed: status.completion_time.is_some(),
    }
}

impl Checks {
    /// Looks at what changed; `sound`: the API server has not been at fault of late.
    pub(super) fn look(
        &mut self,
        objects: &Objects,
        changes: &[Change],
        since: u64,
        sound: bool,
    ) -> Result<(), String> {
        self.looks += 1;
        let (mut last, mut nodes) = (since, BTreeSet::new());
        let (mut owners, mut attachments) = (Vec::new(), false);
        for change in changes {
            let object = &change.object.object;
            if change.version <= last {
                return Err(format!("version {} comes after {last}", change.version));
            }
            if change.told().object.meta().resource_version.as_deref()
                != Some(change.version.to_string().as_str())
            {
                return Err(format!("{} has another resourceVersion than its write", told(object)));
            }
            last = change.version;
            if let Some(before) = &change.previous
                && before.object.uid() != object.uid()
            {
                return Err(format!("{} has another uid than before", told(object)));
            }
            match object {
                Object::Pod(pod) => self.pod(pod, change, &mut nodes)?,
                Object::Job(job) => self.job(job, change)?,
                Object::Node(node) => {
                    nodes.insert(node.metadata.name.clone().unwrap_or_default());
                }
                other => attachments |= other.kind().resource().plural == "volumeattachments",
            }
            let owns = !matches!(object.kind(), Kind::Event | Kind::Pod | Kind::Lease | Kind::Node);
            if change.kind == ChangeKind::Deleted && owns {
                owners.push(object.uid().to_owned());
            }
        }
        for node in &nodes {
            self.node(objects, node)?;
        }
        if attachments {
            attached_once(objects)?;
        }
        if sound && !owners.is_empty() {
            no_orphans(objects, &owners)?;
        }
        Ok(())
    }
    fn pod(&mut self, pod: &Pod, change: &Change, nodes: &mut BTreeSet<String>) -> Result<(), String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let asked = amounts::requested(pod);
        let now = SeenPod {
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            ended: is_terminal(pod),
            deleting: is_deleting(&pod.metadata),
            asks: (asked.cpu_millis, asked.memory_bytes),
        };
        let before = self.pods.remove(&uid);
        if let Some(before) = &before {
            self.count(before, -1);
            if before.node.is_some() && before.node != now.node {
                return Err(format!("{} was on {:?} and is on {:?}", told_pod(pod), before.node, now.node));
            }
            if before.ended && !now.ended {
                return Err(format!("{} had ended and runs again", told_pod(pod)));
            }
            if before.deleting && !now.deleting {
                return Err(format!("{} was being deleted and is not any more", told_pod(pod)));
            }
        }
        if now.ended && is_ready(pod) {
            return Err(format!("{} has ended and is ready", told_pod(pod)));
        }
        nodes.extend(now.node.clone());
        if change.kind != ChangeKind::Deleted {
            self.count(&now, 1);
            self.pods.insert(uid, now);
        }
        Ok(())
    }
    fn count(&mut self, pod: &SeenPod, sign: i64) {
        let Some(node) = pod.node.as_ref().filter(|_| !pod.ended) else { return };
        let own = self.used.entry(node.clone()).or_default();
        *own = (own.0 + sign * pod.asks.0, own.1 + sign * pod.asks.1, own.2 + sign);
    }
    /// A node has room for what was bound to it, and no pod is ready on one that is not heard of.
    fn node(&self, objects: &Objects, name: &str) -> Result<(), String> {
        let Some(node) = objects.get(Kind::Node, "", name).and_then(|s| s.object.as_node()) else {
            return Ok(());
        };
        let (room, used) = (amounts::allocatable(node), self.used.get(name).copied().unwrap_or_default());
        if used.0 > room.cpu_millis || used.1 > room.memory_bytes || used.2 > room.pods {
            return Err(format!(
                "node {name}: pods ask for {used:?} of {}m, {} bytes, {} pods",
                room.cpu_millis, room.memory_bytes, room.pods
            ));
        }
        if condition(node, "Ready") == "Unknown" {
            let on = |pod: &&Pod| {
                pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(name) && is_ready(pod)
            };
            let mut pods = objects.list(Kind::Pod, None).filter_map(|stored| stored.object.as_pod());
            if let Some(pod) = pods.find(on) {
                return Err(format!("{} is ready on {name}, of which nothing is heard", told_pod(pod)));
            }
        }
        Ok(())
    }
    fn job(&mut self, job: &Job, change: &Change) -> Result<(), String> {
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let now = seen_job(job);
        let name = job.metadata.name.clone().unwrap_or_default();
        let before = self.jobs.get(&uid).copied().unwrap_or_default();
        if now.succeeded < before.succeeded || now.failed < before.failed {
            return Err(format!("job {name}: counts fall from {before:?} to {now:?}"));
        }
        if before.finished && !now.finished || before.completed && !now.completed {
            return Err(format!("job {name} had finished and has not any more"));
        }
        let (spec, status) = (job.spec.clone().unwrap_or_default(), job.status.clone().unwrap_or_default());
        let (active, ready) = (status.active.unwrap_or(0), status.ready.unwrap_or(0));
        let most = spec.parallelism.unwrap_or(1);
        if active > most || ready > active {
            return Err(format!("job {name}: {ready} ready of {active} active, of at most {most}"));
        }
        if spec.completions.is_some_and(|wanted| now.succeeded > wanted) {
            return Err(format!("job {name}: {} of {:?} succeeded", now.succeeded, spec.completions));
        }
        if change.kind == ChangeKind::Deleted {
            self.jobs.remove(&uid);
        } else {
            self.jobs.insert(uid, now);
        }
        Ok(())
    }
    /// What is known of the cluster beside its objects.
    pub(super) fn look_at_world(&self, world: &World, home: &ClusterId) -> Result<(), String> {
        if let Some(over) = world.overcommitted() {
            return Err(over);
        }
        if self.looks.is_multiple_of(SELDOM) { conserved(world, home) } else { Ok(()) }
    }
    /// Why a pod must not be evicted; `None`: it may be, or there is no budget for it.
    pub(super) fn may_be_evicted(&self, objects: &Objects, pod: &Stored) -> Option<String> {
        let own = pod.object.as_pod()?;
        if is_terminal(own) || is_deleting(&own.metadata) || !is_ready(own) {
            return None;
        }
        let labels = own.metadata.labels.clone().unwrap_or_default();
        let budgets =
            objects.list(Kind::document("policy", "poddisruptionbudgets"), Some(pod.object.namespace()));
        for stored in budgets {
            let body = stored.object.to_value();
            let Some(app) = body["spec"]["selector"]["matchLabels"]["app"].as_str() else { continue };
            if labels.get("app").map(String::as_str) != Some(app) {
                continue;
            }
            let selector = LabelSelector::parse(&format!("app={app}")).ok()?;
            let all = objects.list(Kind::Pod, Some(pod.object.namespace())).filter_map(|s| s.object.as_pod());
            let none = BTreeMap::new();
            let all: Vec<&Pod> =
                all.filter(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&none))).collect();
            let healthy =
                all.iter().filter(|pod| is_ready(pod) && !is_deleting(&pod.metadata)).count() as i64;
            let least = least(objects, own, &body["spec"])?;
            if healthy - 1 < least {
                return Some(format!("{healthy} are healthy and {least} have to be"));
            }
        }
        None
    }
}

/// How many pods of a budget have to be healthy, by how many its pods' owner asks for; `None`: that is not known.
fn least(objects: &Objects, pod: &Pod, spec: &Value) -> Option<i64> {
    if let Some(number) = spec["minAvailable"].as_i64() {
        return Some(number);
    }
    let owner = controller(&pod.metadata)?;
    let namespace = pod.metadata.namespace.as_deref()?;
    let set = objects.get(objects.kind_of(&owner.api_version, &owner.kind)?, namespace, &owner.name)?;
    let above = controller(set.object.meta());
    let top = match above {
        Some(above) => {
            objects.get(objects.kind_of(&above.api_version, &above.kind)?, namespace, &above.name)?
        }
        None => set,
    };
    let wanted = top.object.to_value()["spec"]["replicas"].as_i64()?;
    match (&spec["minAvailable"], spec["maxUnavailable"].as_i64()) {
        (_, Some(most)) => Some(wanted - most),
        (Value::String(percent), _) => {
            let percent: i64 = percent.trim_end_matches('%').parse().ok()?;
            Some((wanted * percent + 99) / 100)
        }
        _ => None,
    }
}

fn told(object: &Object) -> String {
    format!("{} {}", object.kind().resource().name, object.name())
}

fn told_pod(pod: &Pod) -> String {
    format!("pod {}", pod.metadata.name.as_deref().unwrap_or_default())
}

/// A volume is attached to at most one node.
fn attached_once(objects: &Objects) -> Result<(), String> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for stored in objects.list(Kind::document("storage.k8s.io", "volumeattachments"), None) {
        let body = stored.object.to_value();
        let text =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        if body["status"]["attached"] != true {
            continue;
        }
        let (volume, node) = (text("/spec/source/persistentVolumeName"), text("/spec/nodeName"));
        if let Some(other) = seen.insert(volume.clone(), node.clone()) {
            return Err(format!("volume {volume} is attached to {other} and to {node}"));
        }
    }
    Ok(())
}

/// Nothing is left whose controller is gone, unless it is being deleted.
pub(super) fn no_orphans(objects: &Objects, gone: &[String]) -> Result<(), String> {
    let plurals =
        [("apps", "replicasets"), ("apps", "controllerrevisions"), ("discovery.k8s.io", "endpointslices")];
    let kinds = [Kind::Pod, Kind::Job]
        .into_iter()
        .chain(plurals.map(|(group, plural)| Kind::document(group, plural)));
    for kind in kinds {
        for stored in objects.list(kind, None) {
            let meta = stored.object.meta();
            let Some(owner) = controller(meta).filter(|owner| gone.contains(&owner.uid)) else { continue };
            if !is_deleting(meta) {
                return Err(format!(
                    "{} is left, its {} {} is gone",
                    told(&stored.object),
                    owner.kind,
                    owner.name
                ));
            }
        }
    }
    Ok(())
}

/// Requests and messages are all accounted for; energy is the sum of its parts.
pub(super) fn conserved(world: &World, home: &ClusterId) -> Result<(), String> {
    for own in world.traffic(home) {
        let counts = own.counts;
        let sum = counts.answered + counts.failed() + counts.under_way;
        let least = [
            counts.answered,
            counts.refused,
            counts.queue_full,
            counts.timed_out,
            counts.cut,
            counts.under_way,
        ];
        if sum != counts.requests || least.iter().any(|count| *count < 0) {
            return Err(format!("service {}: {counts:?} sum to {sum}", own.name));
        }
    }
    for own in world.messages(home) {
        let counts = own.counts;
        let sum = counts.done + counts.expired + counts.overflowed + counts.open;
        if sum != counts.messages || counts.open < 0 {
            return Err(format!("queue {}: {counts:?} sum to {sum}", own.name));
        }
    }
    let (Some(totals), Some(by_pod)) = (world.energy(home), world.energy_by_pod(home)) else { return Ok(()) };
    let mut sum = by_pod.ended.energy;
    sum += by_pod.ended_shared.energy;
    by_pod.pods.iter().for_each(|pod| sum += pod.borne.energy);
    if sum != totals.dynamic {
        return Err(format!("pods bore {sum:?} of {:?}", totals.dynamic));
    }
    Ok(())
}
