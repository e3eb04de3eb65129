//! `kubernetesservice`: keeps the Service `kubernetes` in namespace `default`, by which pods reach their API server, with its
//! Endpoints and EndpointSlice. The API server itself does this in a real cluster.
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
/// The first address of the range Services have theirs from, as everywhere.
const SERVICE_ADDRESS: &str = "10.96.0.1";
/// The simulated API server's own address and port (kubeadm's default), outside the ranges of nodes, pods and Services.
const SERVER_ADDRESS: &str = "172.31.255.1";
const SERVER_PORT: u16 = 6443;

/// The three objects: group, plural, labels, and all but their metadata.
fn objects() -> [(&'static str, &'static str, Vec<(&'static str, &'static str)>, Value); 3] {
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
                object.name() == NAME && object.namespace() == NAMESPACE
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
    for (group, plural, labels, body) in objects() {
        let kind = Kind::document(group, plural);
        if cx.objects.get(kind, NAMESPACE, NAME).is_some() {
            continue;
        }
        let cause = format!("kubernetesservice/{plural}/{uid}/{}", cx.now);
        let labels: BTreeMap<String, String> =
            labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let metadata = ObjectMeta {
            namespace: Some(NAMESPACE.to_owned()),
            name: Some(NAME.to_owned()),
            uid: Some(Stream::new(cx.seed, &cause).uid()),
            creation_timestamp: Some(time(cx.now)),
            labels: Some(labels),
            // Kubernetes counts the changes of slices, not those of Services and Endpoints.
            generation: (plural == "endpointslices").then_some(1),
            ..ObjectMeta::default()
        };
        let body = body.as_object().cloned().unwrap_or_default();
        let api_version = kind.resource().api_version().into();
        cx.objects.put(Object::Document(Box::new(Document { kind, api_version, metadata, body })));
        acted = true;
    }
    acted
}
