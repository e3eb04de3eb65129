//! The controllers of Services together: which pods each Service selects, and when its endpoints are to be looked at again.
//!
//! All of it follows from the objects, but for which Services were told what about hints: the rest is not saved, and is read anew
//! after loading. A look at a Service costs what it
//! selects, a change of a pod the Services of its namespace; where there are no Services, nothing. Services without a
//! selector, and those that are but another name (`ExternalName`), have no endpoints made here; of the Endpoints that somebody
//! wrote for the former, slices are made.

use super::document::{at, text};
use super::endpointslice::{self, Maker};
use super::podcontrol::ready_since;
use super::topology::{self, Hints};
use super::{Cx, Place, endpoints, endpointslicemirroring};
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::store::{Change, ChangeKind, Stored};
use crate::world::pairs;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// Label of the slices of a Service, with its name.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of a Service's endpoints where it has no address of its own.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// Annotation of endpoints: when what they were made for happened.
pub(crate) const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The kinds these controllers act on.
pub(crate) struct Kinds {
    pub(crate) service: Kind,
    pub(crate) endpoints: Kind,
    pub(crate) slice: Kind,
}

/// Looked up once: the table of resources is long.
pub(crate) static KINDS: LazyLock<Kinds> = LazyLock::new(|| Kinds {
    service: Kind::document("", "services"),
    endpoints: Kind::document("", "endpoints"),
    slice: Kind::document("discovery.k8s.io", "endpointslices"),
});

/// Pods by name.
pub(crate) type Pods = BTreeMap<Arc<str>, Arc<Stored>>;

/// A Service's selector and the pods it selects.
#[derive(Debug)]
struct Selected {
    selector: BTreeMap<String, String>,
    pods: Pods,
}

impl Selected {
    fn selects(&self, meta: &ObjectMeta) -> bool {
        let labels = meta.labels.as_ref();
        self.selector.iter().all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
    }
}

/// The controllers' state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Services {
    /// Services that have hints by the parts of zones, or were told why not.
    #[serde(default, with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    hints: BTreeMap<Place, Hints>,
    /// Whether the parts of zones may have changed; no at rest.
    #[serde(skip)]
    zones: bool,
    /// Whether what is there was read.
    #[serde(skip)]
    read: bool,
    /// Services that select pods, by namespace and name.
    #[serde(skip)]
    selecting: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Selected>>,
    /// Names of the slices made here, by who made them and the Service they are of.
    #[serde(skip)]
    slices: BTreeMap<(Maker, Place), BTreeSet<Arc<str>>>,
    /// Versions these controllers wrote themselves and have not heard of.
    #[serde(skip)]
    own: BTreeSet<u64>,
    #[serde(skip)]
    dirty: BTreeSet<Place>,
    /// Endpoints that may have to be mirrored anew.
    #[serde(skip)]
    mirrored: BTreeSet<Place>,
    /// Services that are gone, whose Endpoints go with them; slices go with their owner.
    #[serde(skip)]
    gone: BTreeSet<Place>,
}

fn place_of(document: &Document) -> [&str; 2] {
    [&document.metadata.namespace, &document.metadata.name].map(|text| text.as_deref().unwrap_or_default())
}

/// What a Service selects by; `None`: nothing.
pub(crate) fn selector(service: &Document) -> Option<BTreeMap<String, String>> {
    if text(service, &["spec", "type"]) == "ExternalName" {
        return None;
    }
    let selector = at(service, &["spec", "selector"])?.as_object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(selector.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}

/// Whether a change of a pod may change the endpoints of those who select it.
fn matters(change: &Change) -> bool {
    let Some(new) = change.object.object.as_pod() else { return false };
    let Some(old) = change.previous.as_ref().and_then(|previous| previous.object.as_pod()) else {
        return true;
    };
    let addresses = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ips.clone());
    let named = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone()));
    change.kind == ChangeKind::Deleted
        || old.metadata.labels != new.metadata.labels
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || ready_since(old).is_some() != ready_since(new).is_some()
        || super::is_terminal(old) != super::is_terminal(new)
        || addresses(old) != addresses(new)
        || named(old) != named(new)
}

impl Services {
    /// Whether nothing is remembered.
    pub(crate) fn is_idle(&self) -> bool {
        self.hints.is_empty()
    }
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        self.read(cx);
        let object = &change.object.object;
        match object {
            Object::Pod(_) => return self.observe_pod(change),
            Object::Node(node) => {
                let before = change.previous.as_ref().and_then(|previous| previous.object.as_node());
                let same = before.is_some_and(|before| topology::decides(before) == topology::decides(node));
                self.zones |= !self.hints.is_empty() && (change.kind == ChangeKind::Deleted || !same);
                if change.kind == ChangeKind::Added {
                    self.look_at_all();
                }
                return;
            }
            Object::Document(_) => {}
            _ => return,
        }
        let place: Place = (object.namespace().into(), object.name().into());
        match object {
            Object::Document(document) if document.kind == KINDS.service => {
                let gone = change.kind == ChangeKind::Deleted;
                self.know(cx, place.clone(), (!gone).then_some(document));
                self.mirrored.insert(place.clone());
                if gone {
                    self.gone.insert(place)
                } else {
                    self.dirty.insert(place)
                };
            }
            Object::Document(document) if document.kind == KINDS.slice => {
                self.observe_slice(document, change.kind);
                if !self.own.remove(&change.version) {
                    match endpointslice::service_of(document) {
                        Some((Maker::Service, name)) => self.dirty.insert((place.0, name)),
                        Some((Maker::Mirror, name)) => self.mirrored.insert((place.0, name)),
                        None => false,
                    };
                }
            }
            Object::Document(document)
                if document.kind == KINDS.endpoints && !self.own.remove(&change.version) =>
            {
                self.mirrored.insert(place.clone());
                // As the real controller, which hears of their end alone.
                self.dirty.extend((change.kind == ChangeKind::Deleted).then_some(place));
            }
            _ => {}
        }
    }
    /// After loading, what is there: the state may be of a program that did not know these controllers.
    fn read(&mut self, cx: &Cx<'_>) {
        if std::mem::replace(&mut self.read, true) {
            return;
        }
        for slice in cx.documents(KINDS.slice, None) {
            self.observe_slice(slice, ChangeKind::Added);
        }
        for endpoints in cx.documents(KINDS.endpoints, None) {
            let [namespace, name] = place_of(endpoints);
            self.mirrored.insert((namespace.into(), name.into()));
        }
        for service in cx.documents(KINDS.service, None) {
            let [namespace, name] = place_of(service);
            self.know(cx, (namespace.into(), name.into()), Some(service));
        }
        self.look_at_all();
    }
    fn look_at_all(&mut self) {
        for (namespace, services) in &self.selecting {
            self.dirty.extend(services.keys().map(|name| (namespace.clone(), name.clone())));
        }
    }
    /// Takes in a Service as it is now.
    fn know(&mut self, cx: &Cx<'_>, (namespace, name): Place, service: Option<&Document>) {
        let Some(selector) = service.and_then(selector) else {
            if let Some(services) = self.selecting.get_mut(&namespace) {
                services.remove(&name);
            }
            return;
        };
        let services = self.selecting.entry(namespace.clone()).or_default();
        if services.get(&name).is_some_and(|known| known.selector == selector) {
            return;
        }
        let mut selected = Selected { selector, pods: Pods::new() };
        let pods = cx.objects.list(Kind::Pod, Some(&namespace));
        let pods = pods.filter(|stored| selected.selects(stored.object.meta()));
        selected.pods = pods.map(|stored| (stored.object.name().into(), stored.clone())).collect();
        services.insert(name, selected);
    }
    fn observe_pod(&mut self, change: &Change) {
        let pod = &change.object.object;
        let Some(services) = self.selecting.get_mut(pod.namespace()) else { return };
        let matters = matters(change);
        for (name, selected) in services {
            let selects = change.kind != ChangeKind::Deleted && selected.selects(pod.meta());
            let before = if selects {
                selected.pods.insert(pod.name().into(), change.object.clone())
            } else {
                selected.pods.remove(pod.name())
            };
            if matters && (selects || before.is_some()) {
                self.dirty.insert((pod.namespace().into(), name.clone()));
            }
        }
    }
    fn observe_slice(&mut self, slice: &Document, change: ChangeKind) {
        let Some((maker, service)) = endpointslice::service_of(slice) else { return };
        let [namespace, name] = place_of(slice);
        let names = self.slices.entry((maker, (namespace.into(), service))).or_default();
        if change == ChangeKind::Deleted {
            names.remove(name);
        } else {
            names.insert(name.into());
        }
    }
    /// Nodes came, went or changed: Services are looked at whose hints leave a zone with too few endpoints now.
    fn look_at_overloaded(&mut self, cx: &Cx<'_>) {
        let ratios = topology::ratios(cx);
        for place in self.hints.iter().filter(|(_, hints)| hints.given).map(|(place, _)| place) {
            let slices = self.slices.get(&(Maker::Service, place.clone()));
            if slices.is_some_and(|slices| endpointslice::is_overloaded(cx, &place.0, slices, &ratios)) {
                self.dirty.insert(place.clone());
            }
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        if std::mem::take(&mut self.zones) {
            self.look_at_overloaded(cx);
        }
        while let Some(place) = self.gone.pop_first() {
            if cx.document(KINDS.service, &place.0, &place.1).is_none() {
                self.slices.remove(&(Maker::Service, place.clone()));
                self.hints.remove(&place);
                let written = endpoints::remove(cx, &place);
                acted |= !written.is_empty();
                self.own.extend(written);
            }
        }
        while let Some(place) = self.dirty.pop_first() {
            let written = self.reconcile(cx, &place);
            acted |= !written.is_empty();
            self.own.extend(written);
        }
        while let Some(place) = self.mirrored.pop_first() {
            let slices = self.slices.get(&(Maker::Mirror, place.clone())).cloned().unwrap_or_default();
            let written = endpointslicemirroring::reconcile(cx, &place, &slices);
            acted |= !written.is_empty();
            self.own.extend(written);
        }
        acted
    }
    /// Makes endpoints what they should be; the versions that were written.
    fn reconcile(&mut self, cx: &mut Cx<'_>, place: &Place) -> Vec<u64> {
        let (namespace, name) = place;
        let Some(service) = cx.document(KINDS.service, namespace, name).cloned() else { return Vec::new() };
        let selected = self.selecting.get(namespace).and_then(|services| services.get(name));
        let Some(selected) = selected.filter(|_| cx.takes_new(namespace)) else { return Vec::new() };
        let slices = self.slices.get(&(Maker::Service, place.clone())).cloned().unwrap_or_default();
        let mut hints = self.hints.remove(place).unwrap_or_default();
        let mut written = endpointslice::reconcile(cx, &service, &selected.pods, &slices, &mut hints);
        if !hints.is_idle() {
            self.hints.insert(place.clone(), hints);
        }
        written.extend(endpoints::reconcile(cx, &service, &selected.pods));
        written
    }
}

/// Whether a Service has an address of its own.
pub(crate) fn has_address(service: &Document) -> bool {
    !matches!(text(service, &["spec", "clusterIP"]), "" | "None")
}

/// The ports of a Service.
pub(crate) fn ports(service: &Document) -> &[Value] {
    at(service, &["spec", "ports"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The number of the port of `pod` that a Service's port leads to: itself, or that of the name in a container that goes on
/// as long as the pod.
pub(crate) fn target(pod: &Pod, port: &Value) -> Option<i64> {
    let target = &port["targetPort"];
    let Some(name) = target.as_str() else { return target.as_i64() };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let found = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    let same = |found: &&k8s_openapi::api::core::v1::ContainerPort| {
        found.name.as_deref() == Some(name) && found.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    found.into_iter().find(same).map(|found| i64::from(found.container_port))
}

/// Whether a pod is an endpoint at all: it has an address and has not ended.
pub(crate) fn is_endpoint(pod: &Pod, terminating_too: bool) -> bool {
    let addressed = pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
    addressed && !super::is_terminal(pod) && (terminating_too || !super::is_deleting(&pod.metadata))
}

/// The name a pod has in the domain of a Service; `None`: it asks for none there.
pub(crate) fn hostname<'a>(pod: &'a Pod, service: &Document) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let here = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.as_deref().filter(|name| here && !name.is_empty())
}

/// Whether a Service lists pods that are not ready as if they were.
pub(crate) fn lists_all(service: &Document) -> bool {
    at(service, &["spec", "publishNotReadyAddresses"]).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_found_by_name_and_protocol() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [
                {"name": "done", "ports": [{"name": "admin", "containerPort": 1}]},
                {"name": "side", "restartPolicy": "Always", "ports": [{"name": "admin", "containerPort": 2}]}],
            "containers": [{"name": "main", "ports": [
                {"name": "web", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}],
        }}))
        .unwrap();
        for (port, number) in [
            (json!({"targetPort": 80}), Some(80)),
            (json!({"targetPort": "web", "protocol": "TCP"}), Some(8080)),
            (json!({"targetPort": "dns", "protocol": "TCP"}), None),
            (json!({"targetPort": "dns", "protocol": "UDP"}), Some(53)),
            (json!({"targetPort": "admin"}), Some(2)),
            (json!({"targetPort": "none"}), None),
        ] {
            assert_eq!(target(&pod, &port), number, "{port}");
        }
    }
}
