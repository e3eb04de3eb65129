//! `rootcacertpublisher`: keeps the ConfigMap `kube-root-ca.crt` in each namespace, by which pods know their API server.
//!
//! The certificate is that of whoever serves the twin's API under TLS; it is empty where nobody does. Uids come from a stream of
//! their own, so that a cluster without these objects draws the same names.

use super::{Cx, is_deleting, time};
use crate::import::NOT_IMPORTED;
use crate::kind::Kind;
use crate::object::Object;
use crate::random::Stream;
use crate::store::{Change, Objects};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The object every namespace has, and its entry.
const NAME: &str = "kube-root-ca.crt";
const ENTRY: &str = "ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RootCaCertPublisher {
    /// The certificate, PEM.
    authority: Box<str>,
    /// Namespaces that may lack the object. Empty at rest.
    #[serde(skip)]
    lacking: BTreeSet<Arc<str>>,
}

impl RootCaCertPublisher {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        match object.kind() {
            Kind::Namespace => {
                self.lacking.insert(object.name().into());
            }
            Kind::ConfigMap if object.name() == NAME => {
                self.lacking.insert(object.namespace().into());
            }
            _ => {}
        }
    }
    /// Publishes another certificate from now on; whether it is another.
    pub(crate) fn set_authority(&mut self, objects: &Objects, authority: &str) -> bool {
        if *self.authority == *authority {
            return false;
        }
        self.authority = authority.into();
        self.lacking.extend(objects.list(Kind::Namespace, None).map(|home| Arc::from(home.object.name())));
        true
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        while let Some(namespace) = self.lacking.pop_first() {
            acted |= publish(cx, &namespace, &self.authority);
        }
        acted
    }
}

/// Whether its content stayed where it was imported from.
fn is_named_only(map: &ConfigMap) -> bool {
    map.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(NOT_IMPORTED))
}

fn publish(cx: &mut Cx<'_>, namespace: &str, authority: &str) -> bool {
    let Some(home) = cx.objects.get(Kind::Namespace, "", namespace) else { return false };
    if is_deleting(home.object.meta()) {
        return false;
    }
    let data = BTreeMap::from([(ENTRY.to_owned(), authority.to_owned())]);
    let map = match cx.objects.get(Kind::ConfigMap, namespace, NAME).map(|stored| &stored.object) {
        Some(Object::ConfigMap(map)) if map.data.as_ref() == Some(&data) || is_named_only(map) => {
            return false;
        }
        Some(Object::ConfigMap(map)) => ConfigMap { data: Some(data), ..(**map).clone() },
        _ => {
            let cause = format!("rootcacertpublisher/{}/{}", home.object.uid(), cx.now);
            let metadata = ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(NAME.to_owned()),
                uid: Some(Stream::new(cx.seed, &cause).uid()),
                creation_timestamp: Some(time(cx.now)),
                annotations: Some(BTreeMap::from([(
                    "kubernetes.io/description".to_owned(),
                    DESCRIPTION.to_owned(),
                )])),
                ..ObjectMeta::default()
            };
            ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
        }
    };
    cx.objects.put(Object::ConfigMap(Box::new(map)));
    true
}
