//! `endpointslicemirroring`: keeps EndpointSlices of the Endpoints that somebody wrote for a Service without a selector.
//!
//! As the real controller of Kubernetes 1.36: one slice for each set of ports and kind of address, at most 1,000 addresses
//! of a subset. Not mirrored: Endpoints of a Service that selects pods, or of none, those labelled so, and those that
//! elect a leader. Left out: events about addresses that were passed over.

use super::endpointslice::{self, ByPorts, Group, MIRRORED_MAX, Maker, Wanted, key, port_key};
use super::services::{KINDS, TRIGGERED};
use super::{Cx, Place};
use crate::object::Document;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Label of Endpoints that are not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that elect a leader.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotation of whoever applies from the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether Endpoints are to be mirrored, by themselves.
fn is_mirrored(endpoints: &Document) -> bool {
    let (labels, annotations) = (&endpoints.metadata.labels, &endpoints.metadata.annotations);
    let skipped = labels.as_ref().is_some_and(|labels| labels.get(SKIP).is_some_and(|skip| skip == "true"));
    !skipped && !annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER))
}

fn endpoint(address: &Value, ready: bool) -> Option<(&'static str, Value)> {
    let ip: IpAddr = address["ip"].as_str()?.parse().ok()?;
    let mut endpoint = json!({"addresses": [ip.to_string()], "conditions": {"ready": ready}});
    for key in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = address.get(key).filter(|value| !value.is_null()) {
            endpoint[key] = value.clone();
        }
    }
    Some((if ip.is_ipv4() { "IPv4" } else { "IPv6" }, endpoint))
}

fn ports(subset: &Value) -> Value {
    let of = |port: &Value| {
        let name = port["name"].as_str().unwrap_or_default();
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let mut found = json!({"name": name, "port": port["port"], "protocol": protocol});
        if let Some(application) = port["appProtocol"].as_str() {
            found["appProtocol"] = json!(application);
        }
        found
    };
    Value::Array(subset["ports"].as_array().into_iter().flatten().map(of).collect())
}

/// What is to be in slices, by kind of address and ports.
fn wanted(endpoints: &Document) -> BTreeMap<&'static str, ByPorts> {
    let mut wanted: BTreeMap<&'static str, ByPorts> = BTreeMap::new();
    let subsets = endpoints.body.get("subsets").and_then(Value::as_array);
    for subset in subsets.into_iter().flatten() {
        let ports = ports(subset);
        let all = [("addresses", true), ("notReadyAddresses", false)].into_iter();
        let all = all.flat_map(|(field, ready)| {
            let addresses = subset[field].as_array().into_iter().flatten();
            addresses.filter_map(move |address| endpoint(address, ready))
        });
        for (address_type, endpoint) in all.take(MIRRORED_MAX) {
            let by_ports = wanted.entry(address_type).or_default();
            let same = by_ports.entry(port_key(Some(&ports)));
            let (_, same) = same.or_insert_with(|| (ports.clone(), Wanted::new()));
            same.insert(key(&endpoint), endpoint);
        }
    }
    wanted
}

/// Makes the slices that mirror Endpoints what they should be; the versions that were written. `slices` are the names of
/// those that this controller made of them.
pub(crate) fn reconcile(cx: &mut Cx<'_>, place: &Place, slices: &BTreeSet<Arc<str>>) -> Vec<u64> {
    let (namespace, name) = place;
    let existing: Vec<Document> =
        slices.iter().filter_map(|slice| cx.document(KINDS.slice, namespace, slice).cloned()).collect();
    let service = cx.document(KINDS.service, namespace, name);
    let selects = service.is_none_or(|s| s.body.get("spec").is_some_and(|spec| spec["selector"].is_object()));
    let endpoints = cx.document(KINDS.endpoints, namespace, name).cloned();
    let endpoints =
        endpoints.filter(|endpoints| !selects && is_mirrored(endpoints) && cx.takes_new(namespace));
    let Some(endpoints) = endpoints else {
        return existing.iter().filter_map(|slice| endpointslice::remove(cx, slice)).collect();
    };
    let mut wanted = wanted(&endpoints);
    let copied = |from: &Option<BTreeMap<String, String>>| {
        let own = |key: &str| matches!(key, TRIGGERED | LAST_APPLIED);
        let all = from.iter().flatten().filter(|(key, _)| !own(key));
        all.map(|(key, value)| (key.clone(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    let (labels, annotations) = (copied(&endpoints.metadata.labels), copied(&endpoints.metadata.annotations));
    let mut written = Vec::new();
    for address_type in ["IPv4", "IPv6"] {
        let here =
            existing.iter().filter(|slice| slice.body.get("addressType") == Some(&json!(address_type)));
        let (labels, annotations) = (labels.clone(), annotations.clone());
        let (maker, hinted) = (Maker::Mirror, false);
        let group = Group { maker, owner: &endpoints, address_type, hinted, labels, annotations };
        let wanted = wanted.remove(address_type).unwrap_or_default();
        written.extend(group.reconcile(cx, wanted, here.collect()));
    }
    written
}
