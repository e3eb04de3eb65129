//! `endpoints`: keeps the Endpoints of each Service that selects pods, of the same name.
//!
//! As the real controller of Kubernetes 1.36: addresses by whether their pods are ready, pods that end left out, those that
//! lead to the same ports together, at most 1,000 addresses. Where the real one orders by hashes, this orders by addresses
//! and ports. Endpoints of a Service without a selector are somebody's own and left alone.

use super::document::{annotate, annotation};
use super::podcontrol::ready_since;
use super::services::{self, KINDS, Pods, TRIGGERED};
use super::{Cx, Place, is_deleting, time};
use crate::object::{Body, Document, Object};
use crate::random::Stream;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most addresses (`maxCapacity`), and what says that there are more.
const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Label of who makes them.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";

/// An address is of a pod: by address and uid, which is their order, too.
type AddressKey = (String, String);
/// Addresses and whether they are ready, for some ports.
type Ready = BTreeMap<AddressKey, bool>;

fn address(pod: &Pod, service: &Document) -> Option<(AddressKey, Value)> {
    let status = pod.status.as_ref()?;
    let six = service.body.get("spec").is_some_and(|spec| spec["ipFamilies"][0] == "IPv6");
    let mut all = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    let ip = all.find(|ip| ip.contains(':') == six)?;
    let meta = &pod.metadata;
    let mut address = json!({
        "ip": ip,
        "nodeName": pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        "targetRef": {"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid},
    });
    if let Some(hostname) = services::hostname(pod, service) {
        address["hostname"] = json!(hostname);
    }
    Some(((ip.clone(), meta.uid.clone().unwrap_or_default()), address))
}

/// A port of `pod` that a Service leads to, in an order of its own: name, number, protocol.
fn port(pod: &Pod, port: &Value) -> Option<(String, Value)> {
    let number = services::target(pod, port)?;
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    let mut found = json!({"port": number, "protocol": protocol});
    for key in ["name", "appProtocol"] {
        if let Some(text) = port[key].as_str().filter(|text| !text.is_empty()) {
            found[key] = json!(text);
        }
    }
    Some((format!("{}/{number:05}/{protocol}", port["name"].as_str().unwrap_or_default()), found))
}

/// The subsets of a Service, and whether there are more addresses than fit.
fn subsets(service: &Document, pods: &Pods) -> (Vec<Value>, bool) {
    let (lists_all, ports) = (services::lists_all(service), services::ports(service));
    let mut addresses: BTreeMap<AddressKey, Value> = BTreeMap::new();
    // The one without a port stands for a Service that names none.
    let mut by_port: BTreeMap<String, (Option<Value>, Ready)> = BTreeMap::new();
    for pod in pods.values().filter_map(|stored| stored.object.as_pod()) {
        if !services::is_endpoint(pod, lists_all) {
            continue;
        }
        let Some((key, shown)) = address(pod, service) else { continue };
        let ready = lists_all || ready_since(pod).is_some();
        let mut lead = |name: String, port: Option<Value>| {
            let (_, all) = by_port.entry(name).or_insert_with(|| (port, Ready::new()));
            all.insert(key.clone(), ready);
        };
        if ports.is_empty() && !services::has_address(service) {
            lead(String::new(), None);
        }
        ports.iter().filter_map(|p| port(pod, p)).for_each(|(name, port)| lead(name, Some(port)));
        addresses.insert(key, shown);
    }
    let mut together: BTreeMap<Vec<(AddressKey, bool)>, Vec<Value>> = BTreeMap::new();
    for (port, ready) in by_port.into_values() {
        together.entry(ready.into_iter().collect()).or_default().extend(port);
    }
    let over = fit(&mut together);
    let subset = |(all, ports): (Vec<(AddressKey, bool)>, Vec<Value>)| {
        let of = |wanted: bool| -> Vec<Value> {
            let here = all.iter().filter(|(_, ready)| *ready == wanted);
            here.filter_map(|(key, _)| addresses.get(key).cloned()).collect()
        };
        let parts = [("addresses", of(true)), ("notReadyAddresses", of(false)), ("ports", ports)].into_iter();
        let parts = parts.filter(|(_, list)| !list.is_empty());
        Value::Object(parts.map(|(key, list)| (key.to_owned(), Value::Array(list))).collect::<Map<_, _>>())
    };
    (
        together
            .into_iter()
            .map(subset)
            .filter(|subset| subset.get("addresses").is_some() || subset.get("notReadyAddresses").is_some())
            .collect(),
        over,
    )
}

/// Takes away what is too much, ready addresses last, from each subset by its share; whether anything was.
fn fit(subsets: &mut BTreeMap<Vec<(AddressKey, bool)>, Vec<Value>>) -> bool {
    let count = |ready: bool| -> usize {
        subsets.keys().map(|all| all.iter().filter(|(_, is)| *is == ready).count()).sum()
    };
    let (ready, not_ready) = (count(true), count(false));
    if ready + not_ready <= ADDRESSES_MAX {
        return false;
    }
    // Either ready ones alone are too many, or those that are not fill up what is left.
    let (cut, of, room) = if ready > ADDRESSES_MAX {
        (true, ready, ADDRESSES_MAX)
    } else {
        (false, not_ready, ADDRESSES_MAX - ready)
    };
    let mut left = room;
    let fitted = std::mem::take(subsets).into_iter().map(|(all, ports)| {
        let here = all.iter().filter(|(_, is)| *is == cut).count();
        let mut share = (here * room).div_ceil(of.max(1)).min(left);
        left -= share;
        let kept = all.into_iter().filter(|(_, is)| {
            let keep = if *is == cut { share > 0 } else { *is };
            share -= usize::from(keep && *is == cut);
            keep
        });
        (kept.collect(), ports)
    });
    *subsets = fitted.collect();
    true
}

fn labels(service: &Document) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(services::HEADLESS);
    if !services::has_address(service) {
        labels.insert(services::HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}

/// Makes the Endpoints of a Service what they should be; the version that was written, if any.
pub(crate) fn reconcile(cx: &mut Cx<'_>, service: &Document, pods: &Pods) -> Option<u64> {
    let meta = &service.metadata;
    let [namespace, name] = [&meta.namespace, &meta.name].map(|text| text.as_deref().unwrap_or_default());
    let (subsets, over) = subsets(service, pods);
    let old = cx.document(KINDS.endpoints, namespace, name);
    let mut new = match old {
        Some(old) => old.clone(),
        None if is_deleting(meta) => return None,
        None => {
            // A stream of their own, so that a cluster without Services draws the same names.
            let cause =
                format!("endpoints/{}/{}", meta.uid.as_deref().unwrap_or_default(), cx.objects.version());
            let metadata = ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                uid: Some(Stream::new(cx.seed, &cause).uid()),
                creation_timestamp: Some(time(cx.now)),
                ..ObjectMeta::default()
            };
            let api_version = KINDS.endpoints.resource().api_version().into();
            Document { kind: KINDS.endpoints, api_version, metadata, body: Body::default() }
        }
    };
    new.metadata.labels = Some(labels(service));
    if over {
        annotate(&mut new, OVER_CAPACITY, "truncated");
    } else if !annotation(&new, OVER_CAPACITY).is_empty()
        && let Some(annotations) = &mut new.metadata.annotations
    {
        annotations.remove(OVER_CAPACITY);
    }
    if subsets.is_empty() {
        new.body.remove("subsets");
    } else {
        new.body.insert("subsets", Value::Array(subsets));
    }
    if old == Some(&new) {
        return None;
    }
    annotate(&mut new, TRIGGERED, &cx.now.to_rfc3339_seconds());
    Some(cx.objects.put(Object::Document(Box::new(new))).version)
}

/// Takes away the Endpoints of a Service that is gone; the version of that, if there were any.
pub(crate) fn remove(cx: &mut Cx<'_>, (namespace, name): &Place) -> Vec<u64> {
    let before = cx.objects.version();
    let gone = cx.delete(KINDS.endpoints, namespace, name) && cx.objects.version() > before;
    gone.then(|| cx.objects.version()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(ready: usize, not_ready: usize) -> Vec<(AddressKey, bool)> {
        let one = |n: usize| ((format!("10.0.{}.{}", n / 250, n % 250), n.to_string()), n < ready);
        (0..ready + not_ready).map(one).collect()
    }

    #[test]
    fn ready_addresses_are_kept_first_and_a_thousand_at_most() {
        for (ready, not_ready, kept) in
            [(600, 400, (600, 400)), (600, 600, (600, 400)), (1000, 1, (1000, 0)), (1200, 50, (1000, 0))]
        {
            let mut subsets = BTreeMap::from([(many(ready, not_ready), Vec::new())]);
            assert_eq!(fit(&mut subsets), ready + not_ready > ADDRESSES_MAX);
            let all: Vec<bool> = subsets.into_keys().flatten().map(|(_, is)| is).collect();
            let is_ready = all.iter().filter(|is| **is).count();
            assert_eq!((is_ready, all.len() - is_ready), kept, "{ready} {not_ready}");
        }
    }
}
