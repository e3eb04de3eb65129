//! What pods use and what metrics stand at, as annotations say.
//!
//! A running container uses what it requests (decision 8). Two annotations say otherwise, for `kubectl top` and for
//! autoscalers; power goes on following requests.
//!
//! * `load.twin.kubercarbon.io/NAME` on a Deployment, ReplicaSet, StatefulSet or another owner of pods: NAME in all of
//!   its pods together, shared evenly by those that are ready, so that more pods bear less each;
//! * `traffic.twin.kubercarbon.io/requests` on a Service: requests that its pods answer, which takes CPU
//!   ([`crate::traffic`]);
//! * `metric.twin.kubercarbon.io/NAME` on a pod: NAME of this pod; on any other object: NAME of the object; on a
//!   Namespace also: the metric NAME from outside the cluster, one series or several with commas between.
//!
//! `cpu` (cores) and `memory` (bytes) are what containers use, in proportion to their requests and at most their limits;
//! every other NAME is a metric of the user's. Values are quantities from 0 on; one that cannot be read counts as absent.

use crate::apiserver::quantity::{NANO, Quantity};
use crate::apiserver::resources;
use crate::controllers::owned::controller;
use crate::controllers::podcontrol::ready_since;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Objects, Stored};
use fleet::{Bytes, Cpu, Resources};
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Before the name of a metric of one object.
pub const METRIC: &str = "metric.twin.kubercarbon.io/";
/// Before the name of what an owner's pods share.
pub const LOAD: &str = "load.twin.kubercarbon.io/";
/// Most series of a metric from outside.
const SERIES_MAX: usize = 100;
/// Longest way from a pod to an owner that says something of it.
const OWNERS_MAX: usize = 4;

/// A quantity in billionths.
fn nanos(text: &str) -> Option<i128> {
    Quantity::parse(text.trim()).ok().map(Quantity::nanos).filter(|nanos| *nanos >= 0)
}

fn annotation<'a>(meta: &'a ObjectMeta, prefix: &str, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(&format!("{prefix}{name}")).map(String::as_str)
}

/// A metric of an object, in thousandths, rounded up.
pub(crate) fn metric(meta: &ObjectMeta, name: &str) -> Option<i64> {
    annotation(meta, METRIC, name).and_then(nanos).map(milli)
}

/// All series of a metric from outside, in thousandths.
pub(crate) fn series(namespace: &ObjectMeta, name: &str) -> Vec<i64> {
    let text = annotation(namespace, METRIC, name).unwrap_or_default();
    text.split(',').take(SERIES_MAX).filter_map(nanos).map(milli).collect()
}

fn milli(nanos: i128) -> i64 {
    let unit = NANO / 1000;
    i64::try_from(nanos / unit + i128::from(nanos % unit != 0)).unwrap_or(i64::MAX)
}

/// How many pods bear each load.
#[derive(Debug, Default)]
pub(crate) struct Bearers {
    /// Ready pods by the uid of the owner that states a load.
    ready: BTreeMap<String, i128>,
    /// Of each pod's controller, by its uid, the nearest owner that states a load: most pods share one.
    owners: BTreeMap<String, Option<Arc<Stored>>>,
}

/// The nearest owner of a pod that states a load.
fn owner_with_load(objects: &Objects, pod: &Pod) -> Option<Arc<Stored>> {
    let namespace = pod.metadata.namespace.as_deref()?;
    let mut reference = controller(&pod.metadata).cloned();
    for _ in 0..OWNERS_MAX {
        let owner = reference?;
        let kind = objects.kind_of(&owner.api_version, &owner.kind)?;
        let stored = objects.get(kind, namespace, &owner.name).filter(|s| s.object.uid() == owner.uid)?;
        let meta = stored.object.meta();
        if meta.annotations.iter().flatten().any(|(key, _)| key.starts_with(LOAD)) {
            return Some(stored.clone());
        }
        reference = controller(meta).cloned();
    }
    None
}

impl Bearers {
    /// Counts the pods among these that bear a load.
    pub(crate) fn of<'a>(objects: &Objects, pods: impl Iterator<Item = &'a Pod>) -> Bearers {
        Bearers::counted(objects, pods.map(|pod| (pod, ready_since(pod).is_some(), None)))
    }
    /// The same of pods of which it is known whether they are ready; those of one number have one controller.
    pub(crate) fn counted<'a>(
        objects: &Objects,
        pods: impl Iterator<Item = (&'a Pod, bool, Option<usize>)>,
    ) -> Bearers {
        let mut bearers = Bearers::default();
        let mut sorts: BTreeMap<usize, (&Pod, i128)> = BTreeMap::new();
        for (pod, ready, sort) in pods {
            match sort {
                Some(sort) => sorts.entry(sort).or_insert((pod, 0)).1 += i128::from(ready),
                None => bearers.add(objects, pod, i128::from(ready)),
            }
        }
        sorts.into_values().for_each(|(pod, ready)| bearers.add(objects, pod, ready));
        bearers
    }
    /// Counts so many ready pods of one's controller.
    fn add(&mut self, objects: &Objects, pod: &Pod, ready: i128) {
        let Some(controller) = controller(&pod.metadata) else { return };
        if !self.owners.contains_key(&controller.uid) {
            self.owners.insert(controller.uid.clone(), owner_with_load(objects, pod));
        }
        if let Some(Some(owner)) = self.owners.get(&controller.uid)
            && ready > 0
        {
            *self.ready.entry(owner.object.uid().to_owned()).or_default() += ready;
        }
    }
    fn owner(&self, objects: &Objects, pod: &Pod) -> Option<Arc<Stored>> {
        match self.owners.get(&controller(&pod.metadata)?.uid) {
            Some(known) => known.clone(),
            None => owner_with_load(objects, pod),
        }
    }
    /// What a pod has of NAME, in billionths; `None`: nothing says.
    fn nanos(&self, objects: &Objects, pod: &Pod, name: &str) -> Option<i128> {
        if let Some(own) = annotation(&pod.metadata, METRIC, name).and_then(nanos) {
            return Some(own);
        }
        let requests = pod.metadata.uid.as_deref().filter(|_| name == "cpu");
        if let Some(nanocores) = requests.and_then(|uid| objects.borne(uid)) {
            return Some(i128::from(nanocores));
        }
        let owner = self.owner(objects, pod)?;
        let total = annotation(owner.object.meta(), LOAD, name).and_then(nanos)?;
        let ready = self.ready.get(owner.object.uid()).copied().unwrap_or(0);
        Some(if ready == 0 || ready_since(pod).is_none() { 0 } else { total / ready })
    }
    /// A metric of a pod, in thousandths.
    pub(crate) fn metric(&self, objects: &Objects, pod: &Pod, name: &str) -> Option<i64> {
        self.nanos(objects, pod, name).map(milli)
    }
    /// What the running containers of a pod use, in their order.
    pub(crate) fn used(&self, objects: &Objects, pod: &Pod, running: &[&Container]) -> Vec<Resources> {
        let mut used: Vec<Resources> =
            running.iter().map(|container| resources::container(container)).collect();
        let whole = |nanos: i128| i64::try_from(nanos).unwrap_or(i64::MAX);
        if let Some(cpu) = self.nanos(objects, pod, "cpu") {
            let asked: Vec<i128> = used.iter().map(|u| i128::from(u.cpu.as_nanos())).collect();
            for (i, share) in shares(cpu, &asked).into_iter().enumerate() {
                let limit = limit(running[i], "cpu").unwrap_or(i128::MAX);
                used[i].cpu = Cpu::from_nanos(whole(share.min(limit)));
            }
        }
        if let Some(memory) = self.nanos(objects, pod, "memory") {
            let asked: Vec<i128> = used.iter().map(|u| i128::from(u.memory.as_bytes())).collect();
            for (i, share) in shares(memory / NANO, &asked).into_iter().enumerate() {
                let limit = limit(running[i], "memory").map_or(i128::MAX, |nanos| nanos / NANO);
                used[i].memory = Bytes::from_bytes(whole(share.min(limit)));
            }
        }
        used
    }
}

pub(crate) fn limit(container: &Container, name: &str) -> Option<i128> {
    nanos(&container.resources.as_ref()?.limits.as_ref()?.get(name)?.0)
}

/// `total` in proportion to `weights` (evenly where all are 0); the parts sum to the whole.
fn shares(total: i128, weights: &[i128]) -> Vec<i128> {
    let sum: i128 = weights.iter().sum();
    let even = i128::try_from(weights.len()).unwrap_or(1).max(1);
    let (mut left, mut rest) = (total, if sum == 0 { even } else { sum });
    let mut parts = Vec::with_capacity(weights.len());
    for weight in weights {
        let weight = if sum == 0 { 1 } else { *weight };
        let part = if rest == 0 { 0 } else { left * weight / rest };
        parts.push(part);
        left -= part;
        rest -= weight;
    }
    parts
}

/// The metadata of an object, if there is one.
pub(crate) fn meta_of<'a>(
    objects: &'a Objects,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Option<&'a ObjectMeta> {
    objects.get(kind, namespace, name).map(|stored| Object::meta(&stored.object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, ready: bool, annotations: Value) -> Object {
        let ready = if ready { "True" } else { "False" };
        let container = |name: &str, cpu: &str| json!({"name": name, "image": "i", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": "2"}}});
        let doc = json!({"metadata": {"name": name, "namespace": "a", "uid": name, "annotations": annotations, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "set", "controller": true}]},
            "spec": {"containers": [container("app", "300m"), container("proxy", "100m")]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        Object::from_value(Kind::Pod, &doc).unwrap()
    }
    fn cluster(load: Value) -> Objects {
        let mut objects = Objects::new();
        let mut put = |kind: &str, name: &str, uid: &str, owner: Value, annotations: Value| {
            let kind = Kind::of_object("apps/v1", kind).unwrap();
            let doc = json!({"apiVersion": "apps/v1", "kind": kind.resource().name, "metadata": {"name": name, "namespace": "a",
                "uid": uid, "annotations": annotations, "ownerReferences": owner}});
            objects.put(Object::from_value(kind, &doc).unwrap());
        };
        put("Deployment", "web", "web", json!([]), load);
        let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "web", "controller": true}]);
        put("ReplicaSet", "web-1", "set", owner, json!({}));
        objects
    }
    fn used(objects: &Objects, all: &[Object], which: usize) -> Vec<i64> {
        let pods: Vec<&Pod> = all.iter().filter_map(Object::as_pod).collect();
        let bearers = Bearers::of(objects, pods.iter().copied());
        let containers: Vec<&Container> = pods[which].spec.as_ref().unwrap().containers.iter().collect();
        let used = bearers.used(objects, pods[which], &containers);
        used.iter().map(|u| u.cpu.as_nanos() / 1_000_000).collect()
    }

    #[test]
    fn ready_pods_share_a_load() {
        let objects =
            cluster(json!({"load.twin.kubercarbon.io/cpu": "3", "load.twin.kubercarbon.io/rps": "500"}));
        let all = [pod("p", true, json!({})), pod("q", true, json!({})), pod("r", false, json!({}))];
        assert_eq!(used(&objects, &all, 0), [1125, 375], "half of 3 cores, three to one");
        assert_eq!(used(&objects, &all, 2), [0, 0], "who is not ready bears nothing");
        assert_eq!(used(&objects, &all[..1], 0), [2000, 750], "at most the limit");
        let bearers = Bearers::of(&objects, all.iter().filter_map(Object::as_pod));
        assert_eq!(bearers.metric(&objects, all[1].as_pod().unwrap(), "rps"), Some(250_000));
        assert_eq!(bearers.metric(&objects, all[1].as_pod().unwrap(), "queue"), None);
    }

    #[test]
    fn a_pod_speaks_for_itself_first() {
        let objects = cluster(json!({"load.twin.kubercarbon.io/cpu": "3"}));
        let all = [
            pod("p", true, json!({"metric.twin.kubercarbon.io/cpu": "200m"})),
            pod("q", true, json!({"metric.twin.kubercarbon.io/cpu": "x"})),
        ];
        assert_eq!(used(&objects, &all, 0), [150, 50]);
        assert_eq!(used(&objects, &all, 1), [1125, 375], "what cannot be read is not there");
        assert_eq!(used(&cluster(json!({})), &all[1..], 0), [300, 100], "without a word: the requests");
    }

    #[test]
    fn series_are_read_with_commas_between() {
        let meta = ObjectMeta {
            annotations: Some(
                [("metric.twin.kubercarbon.io/queue".to_owned(), "30, 12500m,-1".to_owned())].into(),
            ),
            ..ObjectMeta::default()
        };
        assert_eq!(series(&meta, "queue"), [30_000, 12_500]);
        assert_eq!(metric(&meta, "other"), None);
    }

    #[test]
    fn parts_sum_to_the_whole() {
        for (total, weights) in
            [(10, vec![1, 1, 1]), (7, vec![0, 0]), (1_000_000_007, vec![3, 0, 5, 1]), (0, vec![2])]
        {
            assert_eq!(shares(total, &weights).iter().sum::<i128>(), total, "{weights:?}");
        }
        assert_eq!(shares(10, &[3, 1]), [7, 3]);
    }
}
