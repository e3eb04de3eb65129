//! `serviceaccounts`: keeps a ServiceAccount `default` in each namespace.
//!
//! Its uids come from a stream of their own, so that a cluster without service accounts draws the same names.

use super::{Cx, is_deleting, time};
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::random::Stream;
use crate::store::{Change, ChangeKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The account every namespace has.
const NAME: &str = "default";

/// The controller's state: namespaces that may lack their account. Empty at rest.
#[derive(Debug, Default)]
pub(crate) struct ServiceAccounts {
    lacking: BTreeSet<Arc<str>>,
}

impl ServiceAccounts {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        match (object.kind(), change.kind) {
            (Kind::Namespace, ChangeKind::Added) => {
                self.lacking.insert(object.name().into());
            }
            (kind, ChangeKind::Deleted) if object.name() == NAME && kind.is("", "serviceaccounts") => {
                self.lacking.insert(object.namespace().into());
            }
            _ => {}
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        while let Some(namespace) = self.lacking.pop_first() {
            acted |= make(cx, &namespace);
        }
        acted
    }
}

fn make(cx: &mut Cx<'_>, namespace: &str) -> bool {
    let kind = Kind::document("", "serviceaccounts");
    let Some(home) = cx.objects.get(Kind::Namespace, "", namespace) else { return false };
    if is_deleting(home.object.meta()) || cx.objects.get(kind, namespace, NAME).is_some() {
        return false;
    }
    let cause = format!("serviceaccounts/{}/{}", home.object.uid(), cx.now);
    let metadata = ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(NAME.to_owned()),
        uid: Some(Stream::new(cx.seed, &cause).uid()),
        creation_timestamp: Some(time(cx.now)),
        ..ObjectMeta::default()
    };
    let account = Document { kind, api_version: "v1".into(), metadata, body: Default::default() };
    cx.objects.put(Object::Document(Box::new(account)));
    true
}
