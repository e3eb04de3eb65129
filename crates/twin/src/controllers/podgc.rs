//! `podgc`: takes away pods bound to nodes that no longer exist. (The real controller waits 40 s in
//! case the node comes back; a twin's node object does not come back by itself.)

use super::{Cx, Place};
use crate::kind::Kind;
use crate::store::{Change, ChangeKind};
use serde::{Deserialize, Serialize};

/// The controller's state: pods to take away. Empty at rest.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct PodGc {
    #[serde(skip)]
    orphans: Vec<Place>,
}

impl PodGc {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let object = &change.object.object;
        if object.kind() != Kind::Node || change.kind != ChangeKind::Deleted {
            return;
        }
        for stored in cx.objects.list(Kind::Pod, None) {
            let on = stored.object.as_pod().and_then(|p| p.spec.as_ref()?.node_name.as_deref());
            if on == Some(object.name()) {
                self.orphans.push((stored.object.namespace().into(), stored.object.name().into()));
            }
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
