//! `podgc`: takes away pods bound to nodes that no longer exist, those told to go on nodes that are tainted as out of
//! service, and those told to go before they had a node. (The real controller looks every 20 s, and waits 40 s in case a node comes back; a twin's node object does
//! not come back by itself.)

use super::node::{OUT_OF_SERVICE, is_ready, is_tainted};
use super::{Cx, Place, is_deleting};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

/// The controller's state: pods to take away. Empty at rest.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct PodGc {
    #[serde(skip)]
    orphans: Vec<Place>,
}

/// Whether somebody said that a node that does not answer is really down.
fn is_out_of_service(node: &Node) -> bool {
    !is_ready(node) && is_tainted(node, OUT_OF_SERVICE)
}

impl PodGc {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let object = &change.object.object;
        let place = |object: &Object| (object.namespace().into(), object.name().into());
        match object {
            Object::Node(node) => {
                let gone = change.kind == ChangeKind::Deleted;
                if !gone && !is_out_of_service(node) {
                    return;
                }
                for stored in cx.objects.list(Kind::Pod, None) {
                    let Some(pod) = stored.object.as_pod() else { continue };
                    let on = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
                    if on == Some(object.name()) && (gone || is_deleting(&pod.metadata)) {
                        self.orphans.push(place(&stored.object));
                    }
                }
            }
            Object::Pod(pod) if change.kind != ChangeKind::Deleted && is_deleting(&pod.metadata) => {
                let on = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
                if on.is_none() || on.and_then(|node| cx.node(node)).is_some_and(is_out_of_service) {
                    self.orphans.push(place(object));
                }
            }
            _ => {}
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let any = !self.orphans.is_empty();
        for (namespace, name) in self.orphans.drain(..) {
            cx.finish_delete(Kind::Pod, &namespace, &name);
        }
        any
    }
}
