//! `kubernetesservice`: keeps the Service `kubernetes` in namespace `default`, by which pods reach their API server, with its
//! Endpoints and EndpointSlice, and the range that Services have their addresses from. The API server itself does this in a
//! real cluster.
//!
//! The address behind the Service is one of the simulated network, like a node's: nothing in a twin connects to it. Clients outside
//! come in where the twin listens. Objects that are there already, of an imported cluster, stay as they are. Uids come from
//! a stream of their own, so that a cluster without these objects draws the same names.

use super::{Cx, is_deleting, time};
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::random::Stream;
use crate::store::{Change, ChangeKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";
/// The range Services have their addresses from (`apiserver::defaults::allot`), and its first one, as everywhere.
const SERVICE_RANGE: &str = "10.96.0.0/16";
const SERVICE_ADDRESS: &str = "10.96.0.1";
/// Keeps the range while Services have addresses from it.
const RANGE_FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The simulated API server's own address and port (kubeadm's default), outside the ranges of nodes, pods and Services.
const SERVER_ADDRESS: &str = "172.31.255.1";
const SERVER_PORT: u16 = 6443;

/// One of the objects: group, plural, labels, and all but its metadata.
type Kept = (&'static str, &'static str, Vec<(&'static str, &'static str)>, Value);

/// The objects, made at `now`.
fn objects(now: &str) -> [Kept; 4] {
    let ready = json!({"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready", "lastTransitionTime": now});
    let range = json!({"spec": {"cidrs": [SERVICE_RANGE]}, "status": {"conditions": [ready]}});
    let endpoints = json!({"subsets": [{"addresses": [{"ip": SERVER_ADDRESS}], "ports": [{"name": "https", "port": SERVER_PORT, "protocol": "TCP"}]}]});
    let service = json!({
        "spec": {
            "clusterIP": SERVICE_ADDRESS, "clusterIPs": [SERVICE_ADDRESS], "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": SERVER_PORT}],
        },
        "status": {"loadBalancer": {}},
    });
    let slice = json!({
        "addressType": "IPv4",
        "endpoints": [{"addresses": [SERVER_ADDRESS], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": SERVER_PORT, "protocol": "TCP"}],
    });
    let provider = ("provider", "kubernetes");
    [
        ("", "services", vec![("component", "apiserver"), provider], service),
        ("", "endpoints", vec![("endpointslice.kubernetes.io/skip-mirror", "true")], endpoints),
        ("discovery.k8s.io", "endpointslices", vec![("kubernetes.io/service-name", NAME)], slice),
        ("networking.k8s.io", "servicecidrs", Vec::new(), range),
    ]
}

/// The controller's state: whether one of its objects may be missing. `false` at rest.
#[derive(Debug, Default)]
pub(crate) struct KubernetesService {
    lacking: bool,
}

impl KubernetesService {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        self.lacking |= match (object.kind(), change.kind) {
            (Kind::Namespace, ChangeKind::Added) => object.name() == NAMESPACE,
            (Kind::Document(_), ChangeKind::Deleted) => {
                object.name() == NAME && matches!(object.namespace(), NAMESPACE | "")
            }
            _ => false,
        };
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        std::mem::take(&mut self.lacking) && make(cx)
    }
}

fn make(cx: &mut Cx<'_>) -> bool {
    let Some(home) = cx.objects.get(Kind::Namespace, "", NAMESPACE) else { return false };
    if is_deleting(home.object.meta()) {
        return false;
    }
    let uid = home.object.uid().to_owned();
    let mut acted = false;
    for (group, plural, labels, body) in objects(&cx.now.to_rfc3339_seconds()) {
        let kind = Kind::document(group, plural);
        let namespaced = kind.resource().namespaced;
        if cx.objects.get(kind, if namespaced { NAMESPACE } else { "" }, NAME).is_some() {
            continue;
        }
        let cause = format!("kubernetesservice/{plural}/{uid}/{}", cx.now);
        let labels: BTreeMap<String, String> =
            labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let metadata = ObjectMeta {
            namespace: namespaced.then(|| NAMESPACE.to_owned()),
            name: Some(NAME.to_owned()),
            uid: Some(Stream::new(cx.seed, &cause).uid()),
            creation_timestamp: Some(time(cx.now)),
            labels: (!labels.is_empty()).then_some(labels),
            finalizers: (!namespaced).then(|| vec![RANGE_FINALIZER.to_owned()]),
            // Kubernetes counts the changes of slices, not those of Services and Endpoints.
            generation: (plural == "endpointslices").then_some(1),
            ..ObjectMeta::default()
        };
        let body = body.as_object().cloned().unwrap_or_default().into();
        let api_version = kind.resource().api_version().into();
        cx.objects.put(Object::Document(Box::new(Document { kind, api_version, metadata, body })));
        acted = true;
    }
    acted
}
