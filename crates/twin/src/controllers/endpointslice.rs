//! `endpointslice`: keeps the EndpointSlices of each Service that selects pods.
//!
//! As the real controller (`k8s.io/endpointslice` 0.36): pods with an address that have not ended, with conditions ready,
//! serving and terminating; at most 100 a slice; what leads to other ports is in slices apart; a slice without
//! endpoints where there are none; hints by `trafficDistribution`, or by the annotation `topology-mode` ([`topology`]). Slices
//! that are there are changed as little as can be: first what is gone or different, then those that are changed anyway are
//! filled up, then the fullest that has room, then new ones. Where the real one takes any, this takes the first by name. Why a
//! Service has no hints that asks for some is told when it is news, not at every look.

use super::document::{annotate, at, text};
use super::events::{About, Source};
use super::podcontrol::ready_since;
use super::services::{self, KINDS, Pods, SERVICE_NAME, TRIGGERED};
use super::topology::{self, DISABLED, ENABLED, Hints, IS_DISABLED, IS_ENABLED, Standing};
use super::{Cx, is_deleting, owned, time};
use crate::object::{Body, Document, Object};
use crate::random::Stream;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most endpoints in a slice (`--max-endpoints-per-slice`).
const ENDPOINTS_MAX: usize = 100;
/// Most addresses that are mirrored of one subset (`--mirroring-max-endpoints-per-subset`), all in one slice.
pub(crate) const MIRRORED_MAX: usize = 1000;
/// Label of who makes a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// This controller, and the one that mirrors Endpoints.
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
const MIRRORING_CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const SOURCE: Source<'static> = Source { component: "endpoint-slice-controller", host: None };
/// Letters that make the name of a slice its own.
const SUFFIX_LENGTH: usize = 5;
/// Longest name of a Service that a suffix fits behind.
const PREFIX_MAX: usize = 63 - SUFFIX_LENGTH - 1;

/// The Service that a slice made by a controller here is of, and the controller.
pub(crate) fn service_of(slice: &Document) -> Option<(Maker, Arc<str>)> {
    let labels = slice.metadata.labels.as_ref()?;
    let maker = match labels.get(MANAGED_BY)?.as_str() {
        CONTROLLER => Maker::Service,
        MIRRORING_CONTROLLER => Maker::Mirror,
        _ => return None,
    };
    labels.get(SERVICE_NAME).map(|name| (maker, name.as_str().into()))
}

/// Who makes slices, of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Maker {
    /// This controller, of a Service's pods.
    Service,
    /// `endpointslicemirroring`, of Endpoints that somebody wrote.
    Mirror,
}

/// What makes an endpoint the same one: addresses, name in the domain, pod.
pub(crate) type Key = (String, String, String);
/// Endpoints that are to be.
pub(crate) type Wanted = BTreeMap<Key, Value>;

pub(crate) fn key(endpoint: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (endpoint["addresses"].to_string(), text(&endpoint["hostname"]), text(&endpoint["targetRef"]["name"]))
}

/// A slice as it is or will be.
#[derive(Clone)]
struct Slice {
    /// `None`: it is new.
    old: Option<Document>,
    endpoints: Vec<Value>,
    changed: bool,
    /// Whether hints stand for themselves: what is wanted has none, and those there are make no difference.
    hinted: bool,
}

impl Slice {
    fn of(document: &Document, hinted: bool) -> Slice {
        let endpoints = at(document, &["endpoints"]).and_then(Value::as_array).cloned().unwrap_or_default();
        Slice { old: Some(document.clone()), endpoints, changed: false, hinted }
    }
    /// Keeps what is still wanted, as it is wanted now, and takes it from the list.
    fn keep(&mut self, wanted: &mut Wanted) {
        let kept: Vec<Value> =
            self.endpoints.iter().filter_map(|endpoint| wanted.remove(&key(endpoint))).collect();
        if self.hinted {
            let mut bare = self.endpoints.clone();
            bare.iter_mut().for_each(topology::strip);
            if kept == bare {
                return;
            }
        }
        self.changed = kept != self.endpoints;
        self.endpoints = kept;
    }
    fn standing(&self) -> Standing {
        match (&self.old, self.changed) {
            (None, _) => Standing::New,
            (Some(_), true) => Standing::Changed,
            (Some(_), false) => Standing::Same,
        }
    }
    fn fill(&mut self, wanted: &mut Wanted, most: usize) {
        while self.endpoints.len() < most
            && let Some((_, endpoint)) = wanted.pop_first()
        {
            self.changed = true;
            self.endpoints.push(endpoint);
        }
    }
}

/// What the slices of one kind of address have in common.
pub(crate) struct Group<'a> {
    pub(crate) maker: Maker,
    /// The Service, or the Endpoints that are mirrored.
    pub(crate) owner: &'a Document,
    pub(crate) address_type: &'static str,
    /// Whether endpoints are given hints of their own.
    pub(crate) hinted: bool,
    /// Labels and annotations of the slices, less those of every slice.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The kinds of addresses of a Service.
fn address_types(service: &Document) -> Vec<&'static str> {
    let families = at(service, &["spec", "ipFamilies"]).and_then(Value::as_array);
    let known: Vec<&'static str> = families
        .into_iter()
        .flatten()
        .filter_map(|family| ["IPv4", "IPv6"].into_iter().find(|known| family == known))
        .collect();
    // A Service that says nothing is of a cluster with one family.
    if known.is_empty() { vec!["IPv4"] } else { known }
}

fn endpoint(cx: &Cx<'_>, pod: &Pod, service: &Document, address_type: &str) -> Option<Value> {
    let addresses = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    let family = |ip: &&str| ip.contains(':') == (address_type == "IPv6");
    let addresses: Vec<&str> = addresses.map(|ip| ip.ip.as_str()).filter(family).collect();
    if addresses.is_empty() {
        return None;
    }
    let (serving, terminating) = (ready_since(pod).is_some(), is_deleting(&pod.metadata));
    let ready = services::lists_all(service) || (serving && !terminating);
    let meta = &pod.metadata;
    let mut endpoint = json!({
        "addresses": addresses,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid},
    });
    if let Some(hostname) = services::hostname(pod, service) {
        endpoint["hostname"] = json!(hostname);
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let zone =
        node.and_then(|node| cx.node(node)?.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone"));
    let zone = zone.filter(|zone| !zone.is_empty());
    let mut hints = Map::new();
    let distribution = text(service, &["spec", "trafficDistribution"]);
    let near = ready
        && !topology::is_auto(service)
        && matches!(distribution, "PreferClose" | "PreferSameZone" | "PreferSameNode");
    if let Some(node) = node {
        endpoint["nodeName"] = json!(node);
        if near && distribution == "PreferSameNode" {
            hints.insert("forNodes".to_owned(), json!([{"name": node}]));
        }
    }
    if let Some(zone) = zone {
        endpoint["zone"] = json!(zone);
        if near {
            hints.insert("forZones".to_owned(), json!([{"name": zone}]));
        }
    }
    if !hints.is_empty() {
        endpoint["hints"] = Value::Object(hints);
    }
    Some(endpoint)
}

/// The ports of `pod` that a Service leads to.
fn ports(service: &Document, pod: &Pod) -> Value {
    let of = |port: &Value| {
        let name = port["name"].as_str().unwrap_or_default();
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let mut found = json!({"name": name, "port": services::target(pod, port)?, "protocol": protocol});
        if let Some(application) = port["appProtocol"].as_str() {
            found["appProtocol"] = json!(application);
        }
        Some(found)
    };
    Value::Array(services::ports(service).iter().filter_map(of).collect())
}

/// The ports of a slice or of what is to be in one, in an order of their own, so that the same are known as the same.
pub(crate) fn port_key(ports: Option<&Value>) -> String {
    let mut ports: Vec<String> =
        ports.and_then(Value::as_array).into_iter().flatten().map(Value::to_string).collect();
    ports.sort_unstable();
    ports.join(",")
}

/// Makes the slices of a Service what they should be; the versions that were written. `slices` are the names of those
/// that this controller made for it.
pub(crate) fn reconcile(
    cx: &mut Cx<'_>,
    service: &Document,
    pods: &Pods,
    slices: &BTreeSet<Arc<str>>,
    hints: &mut Hints,
) -> Vec<u64> {
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let existing: Vec<Document> =
        slices.iter().filter_map(|name| cx.document(KINDS.slice, &namespace, name).cloned()).collect();
    let types = address_types(service);
    let mut written = Vec::new();
    let is_of = |slice: &&Document, kind: &str| text(slice, &["addressType"]) == kind;
    for slice in existing.iter().filter(|slice| !types.iter().any(|kind| is_of(slice, kind))) {
        written.extend(remove(cx, slice));
    }
    let hinted = topology::is_auto(service);
    for address_type in types {
        let here = existing.iter().filter(|slice| is_of(slice, address_type)).collect();
        let wanted = wanted(cx, service, pods, address_type);
        let (labels, annotations) = (labels(service), BTreeMap::new());
        let maker = Maker::Service;
        let group = Group { maker, owner: service, address_type, hinted, labels, annotations };
        let (mut put, gone) = group.plan(wanted, here);
        let event =
            if hinted { allot(cx, &mut put, address_type, hints) } else { unhint(address_type, hints) };
        written.extend(group.write(cx, put, gone));
        if let Some((normal, reason, message)) = event {
            let object = Object::Document(Box::new(service.clone()));
            let (about, message) = (About::new(&object), format!("{message}, addressType: {address_type}"));
            if normal {
                cx.normal(&about, SOURCE, reason, message);
            } else {
                cx.warning(&about, SOURCE, reason, message);
            }
        }
    }
    written
}

/// An event to be told: whether it is a normal one, its reason, its message.
type Said = Option<(bool, &'static str, String)>;

/// Gives endpoints hints by the parts of zones, or none; what is to be told of it.
fn allot(cx: &Cx<'_>, put: &mut [(Value, Slice)], address_type: &str, hints: &mut Hints) -> Said {
    let slices = put.iter_mut().map(|(_, slice)| (slice.standing(), &mut slice.endpoints));
    let mut slices: Vec<(Standing, &mut Vec<Value>)> = slices.collect();
    match topology::allot(&mut slices, &topology::ratios(cx)) {
        Ok(()) => {
            hints.told.remove(address_type);
            let news = !std::mem::replace(&mut hints.given, true);
            news.then(|| (true, ENABLED, IS_ENABLED.to_owned()))
        }
        Err(why) => {
            let endpoints = slices.iter_mut().flat_map(|(_, endpoints)| endpoints.iter_mut());
            endpoints.for_each(topology::strip);
            hints.given = false;
            let before = hints.told.insert(address_type.to_owned(), why.clone());
            (before.as_ref() != Some(&why)).then_some((false, DISABLED, why))
        }
    }
}

/// A Service that does not ask for hints by the parts of zones has none; what is to be told if it had.
fn unhint(address_type: &str, hints: &mut Hints) -> Said {
    hints.told.remove(address_type);
    std::mem::take(&mut hints.given).then(|| (false, DISABLED, IS_DISABLED.to_owned()))
}

/// Whether a Service that has hints by the parts of zones is to be looked at again because of nodes.
pub(crate) fn is_overloaded(
    cx: &Cx<'_>,
    namespace: &str,
    slices: &BTreeSet<Arc<str>>,
    ratios: &topology::Ratios,
) -> bool {
    let slices = slices.iter().filter_map(|name| cx.document(KINDS.slice, namespace, name));
    let mut by_type: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for slice in slices {
        let endpoints = at(slice, &["endpoints"]).and_then(Value::as_array).into_iter().flatten();
        by_type.entry(text(slice, &["addressType"])).or_default().extend(endpoints);
    }
    by_type.into_values().any(|all| topology::is_overloaded(&topology::meant(all.into_iter()), ratios))
}

/// What is to be in slices, by ports.
pub(crate) type ByPorts = BTreeMap<String, (Value, Wanted)>;

/// The endpoints of a Service with one kind of address.
fn wanted(cx: &Cx<'_>, service: &Document, pods: &Pods, address_type: &str) -> ByPorts {
    let mut wanted = ByPorts::new();
    for pod in pods.values().filter_map(|stored| stored.object.as_pod()) {
        // One whose node is not there yet is looked at again once it is.
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let known = cx.node(node).is_some() || services::lists_all(service);
        if !known || !services::is_endpoint(pod, true) {
            continue;
        }
        if let Some(endpoint) = endpoint(cx, pod, service, address_type) {
            let ports = ports(service, pod);
            let group = wanted.entry(port_key(Some(&ports))).or_insert_with(|| (ports, Wanted::new()));
            group.1.insert(key(&endpoint), endpoint);
        }
    }
    wanted
}

/// Labels of the slices of a Service.
fn labels(service: &Document) -> BTreeMap<String, String> {
    let reserved = |key: &str| matches!(key, SERVICE_NAME | MANAGED_BY | services::HEADLESS);
    let own = service.metadata.labels.iter().flatten().filter(|(key, _)| !reserved(key));
    let mut labels: BTreeMap<String, String> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    if !services::has_address(service) {
        labels.insert(services::HEADLESS.to_owned(), String::new());
    }
    labels
}

impl Group<'_> {
    /// Most endpoints in a slice.
    fn most(&self) -> usize {
        match self.maker {
            Maker::Service => ENDPOINTS_MAX,
            Maker::Mirror => MIRRORED_MAX,
        }
    }
    fn owns(&self, slice: &Document) -> bool {
        let uid = self.owner.metadata.uid.as_deref();
        slice.metadata.owner_references.iter().flatten().any(|owner| Some(&*owner.uid) == uid)
    }
    /// Makes the slices of this kind of address what they should be; the versions that were written.
    pub(crate) fn reconcile(&self, cx: &mut Cx<'_>, wanted: ByPorts, existing: Vec<&Document>) -> Vec<u64> {
        let (put, gone) = self.plan(wanted, existing);
        self.write(cx, put, gone)
    }
    /// The slices that are to be, with their ports, and those that are to go.
    fn plan(&self, wanted: ByPorts, existing: Vec<&Document>) -> (Vec<(Value, Slice)>, Vec<Document>) {
        let (ours, others): (Vec<&Document>, Vec<&Document>) =
            existing.into_iter().partition(|slice| self.owns(slice));
        let mut by_ports: BTreeMap<String, Vec<Slice>> = BTreeMap::new();
        for slice in &ours {
            by_ports
                .entry(port_key(slice.body.get("ports")))
                .or_default()
                .push(Slice::of(slice, self.hinted));
        }
        let (mut put, mut gone) = (Vec::new(), others.into_iter().cloned().collect::<Vec<_>>());
        for (ports, (shown, wanted)) in wanted {
            for slice in arrange(by_ports.remove(&ports).unwrap_or_default(), wanted, self.most()) {
                if slice.endpoints.is_empty() {
                    gone.extend(slice.old);
                } else {
                    put.push((shown.clone(), slice));
                }
            }
        }
        gone.extend(by_ports.into_values().flatten().filter_map(|slice| slice.old));
        if put.is_empty() && self.maker == Maker::Service {
            // Something stands for a Service without endpoints: a slice that is there, else a new one.
            let first = gone.iter().position(|slice| self.owns(slice));
            let old = first.map(|at| gone.remove(at));
            put.push((json!([]), Slice { old, endpoints: Vec::new(), changed: false, hinted: self.hinted }));
        }
        (put, gone)
    }

    /// Writes what is new or different. What would be made and what would go are one slice that changes.
    fn write(&self, cx: &mut Cx<'_>, mut put: Vec<(Value, Slice)>, mut gone: Vec<Document>) -> Vec<u64> {
        for (_, slice) in put.iter_mut().filter(|(_, slice)| slice.old.is_none()) {
            if let Some(at) = gone.iter().position(|slice| self.owns(slice)) {
                slice.old = Some(gone.remove(at));
            }
        }
        let mut written = Vec::new();
        for (number, (ports, slice)) in put.into_iter().enumerate() {
            written.extend(self.put(cx, number, ports, slice));
        }
        for slice in gone {
            written.extend(remove(cx, &slice));
        }
        written
    }

    /// Puts a slice in place, if anything of it differs.
    fn put(&self, cx: &mut Cx<'_>, number: usize, ports: Value, slice: Slice) -> Option<u64> {
        let mut body = Body::default();
        body.insert("addressType", json!(self.address_type));
        // As they are read back from storage, lists of nothing are null.
        let listed =
            |list: Value| if list.as_array().is_some_and(Vec::is_empty) { Value::Null } else { list };
        body.insert("endpoints", listed(Value::Array(slice.endpoints)));
        body.insert("ports", listed(ports));
        let mut metadata = match &slice.old {
            Some(old) => old.metadata.clone(),
            None if is_deleting(&self.owner.metadata) => return None,
            None => self.new_meta(cx, number),
        };
        let mut labels = self.labels.clone();
        let (name, by) = (self.owner.metadata.name.clone().unwrap_or_default(), self.maker);
        let by = if by == Maker::Service { CONTROLLER } else { MIRRORING_CONTROLLER };
        labels.extend([(SERVICE_NAME.to_owned(), name), (MANAGED_BY.to_owned(), by.to_owned())]);
        metadata.labels = Some(labels);
        if self.maker == Maker::Mirror {
            let annotations = (!self.annotations.is_empty()).then(|| self.annotations.clone());
            metadata.annotations = annotations;
        }
        if let Some(old) = &slice.old {
            let same = same(&old.body, &body);
            if same && metadata == old.metadata {
                return None;
            }
            let counted =
                metadata.generation.unwrap_or(0) + i64::from(!same || metadata.labels != old.metadata.labels);
            metadata.generation = Some(counted);
        }
        let api_version = KINDS.slice.resource().api_version().into();
        let mut document = Document { kind: KINDS.slice, api_version, metadata, body };
        if self.maker == Maker::Service {
            annotate(&mut document, TRIGGERED, &cx.now.to_rfc3339_seconds());
        }
        Some(cx.objects.put(Object::Document(Box::new(document))).version)
    }

    /// Uids and names come from a stream of their own, so that a cluster without Services draws the same names.
    fn new_meta(&self, cx: &Cx<'_>, number: usize) -> ObjectMeta {
        let meta = &self.owner.metadata;
        let (uid, name) = (meta.uid.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        let version = cx.objects.version();
        let mut stream =
            Stream::new(cx.seed, &format!("endpointslice/{uid}/{}/{version}/{number}", self.address_type));
        let prefix = format!("{}-", &name[..name.len().min(PREFIX_MAX)]);
        let owner = Object::Document(Box::new(self.owner.clone()));
        ObjectMeta {
            name: Some(format!("{prefix}{}", stream.suffix(SUFFIX_LENGTH))),
            generate_name: Some(prefix),
            namespace: meta.namespace.clone(),
            uid: Some(stream.uid()),
            creation_timestamp: Some(time(cx.now)),
            owner_references: Some(vec![owned::reference(&owner)]),
            generation: Some(1),
            ..ObjectMeta::default()
        }
    }
}

/// Whether two slices say the same; one without endpoints or ports may say so by `null`.
fn same(old: &Body, new: &Body) -> bool {
    let list = |map: &Body, key: &str| {
        map.get(key).filter(|value| !value.is_null()).cloned().unwrap_or_else(|| json!([]))
    };
    list(old, "endpoints") == list(new, "endpoints")
        && port_key(old.get("ports")) == port_key(new.get("ports"))
}

/// Distributes what is wanted over slices, those there are and new ones. A slice that ends up empty is to go.
fn arrange(mut slices: Vec<Slice>, mut wanted: Wanted, most: usize) -> Vec<Slice> {
    for slice in &mut slices {
        slice.keep(&mut wanted);
    }
    let mut changed: Vec<&mut Slice> =
        slices.iter_mut().filter(|slice| slice.changed && !slice.endpoints.is_empty()).collect();
    changed.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in changed {
        slice.fill(&mut wanted, most);
    }
    while !wanted.is_empty() {
        let left = wanted.len();
        let room = |slice: &&mut Slice| !slice.changed && slice.endpoints.len() + left <= most && left < most;
        // The fullest that takes all that is left.
        let fullest = slices.iter_mut().filter(room).max_by_key(|slice| slice.endpoints.len());
        match fullest {
            Some(slice) => slice.fill(&mut wanted, most),
            None => {
                let mut slice = Slice { old: None, endpoints: Vec::new(), changed: true, hinted: false };
                slice.fill(&mut wanted, most);
                slices.push(slice);
            }
        }
    }
    slices
}

pub(crate) fn remove(cx: &mut Cx<'_>, slice: &Document) -> Option<u64> {
    let [namespace, name] =
        [&slice.metadata.namespace, &slice.metadata.name].map(|text| text.as_deref().unwrap_or_default());
    let before = cx.objects.version();
    (cx.delete(KINDS.slice, namespace, name) && cx.objects.version() > before).then(|| cx.objects.version())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(numbers: std::ops::Range<usize>) -> Wanted {
        let endpoint = |n: usize| json!({"addresses": [format!("10.0.0.{n}")], "targetRef": {"name": format!("{n:04}")}});
        numbers.map(endpoint).map(|endpoint| (key(&endpoint), endpoint)).collect()
    }

    fn sizes(slices: &[Slice]) -> Vec<(usize, bool)> {
        slices.iter().map(|slice| (slice.endpoints.len(), slice.changed)).collect()
    }

    fn at_rest(mut slices: Vec<Slice>) -> Vec<Slice> {
        slices.retain(|slice| !slice.endpoints.is_empty());
        slices.iter_mut().for_each(|slice| slice.changed = false);
        slices
    }

    #[test]
    fn slices_hold_a_hundred_and_change_as_little_as_can_be() {
        let all = at_rest(arrange(Vec::new(), wanted(0..250), ENDPOINTS_MAX));
        assert_eq!(sizes(&all), [(100, false), (100, false), (50, false)]);
        assert_eq!(
            sizes(&arrange(all.clone(), wanted(0..250), ENDPOINTS_MAX)),
            sizes(&all),
            "nothing changed"
        );
        // More come: what has room for all of them takes them.
        let more = arrange(all.clone(), wanted(0..260), ENDPOINTS_MAX);
        assert_eq!(sizes(&more), [(100, false), (100, false), (60, true)]);
        // Some go and some come: the slice that changes anyway is filled up first.
        let changed = arrange(all, wanted(1..251), ENDPOINTS_MAX);
        let total: usize = changed.iter().map(|slice| slice.endpoints.len()).sum();
        assert_eq!((total, changed.iter().filter(|slice| slice.changed).count()), (250, 1));
    }

    #[test]
    fn whatever_comes_and_goes_each_endpoint_is_in_one_slice() {
        let mut stream = Stream::new(7, "slices");
        let mut slices = Vec::new();
        for _ in 0..200 {
            let from = stream.below(300) as usize;
            let wanted = wanted(from..from + stream.below(400) as usize);
            let keys: BTreeSet<Key> = wanted.keys().cloned().collect();
            slices = arrange(slices, wanted, ENDPOINTS_MAX);
            let held: Vec<Key> = slices.iter().flat_map(|slice| &slice.endpoints).map(key).collect();
            assert_eq!(held.len(), keys.len());
            assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), keys);
            assert!(slices.iter().all(|slice| slice.endpoints.len() <= ENDPOINTS_MAX));
            slices = at_rest(slices);
        }
    }
}
