//! `namespace`: empties a namespace that is being deleted, then lets it go.

use super::{Cx, is_deleting};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The finalizer in a namespace's `spec` that this controller takes off at the end.
const FINALIZER: &str = "kubernetes";

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NamespaceController {
    /// Namespaces being deleted.
    ending: BTreeSet<Arc<str>>,
    #[serde(skip)]
    dirty: BTreeSet<Arc<str>>,
}

impl NamespaceController {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        if object.kind() == Kind::Namespace {
            if change.kind == ChangeKind::Deleted {
                self.ending.remove(object.name());
            } else if is_deleting(object.meta()) {
                self.ending.insert(object.name().into());
                self.dirty.insert(object.name().into());
            }
        } else if !self.ending.is_empty() && self.ending.contains(object.namespace()) {
            self.dirty.insert(object.namespace().into());
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        while let Some(name) = self.dirty.pop_first() {
            acted |= empty(cx, &name);
        }
        acted
    }
}

/// Deletes what is in a namespace; once nothing is, the namespace itself.
fn empty(cx: &mut Cx<'_>, namespace: &str) -> bool {
    let mut acted = false;
    let mut left = 0;
    // Owners before owned: a Job that is going makes no new pods.
    let kinds: Vec<Kind> = cx.objects.kinds().filter(|kind| kind.resource().namespaced).collect();
    for kind in [Kind::Job].into_iter().chain(kinds.into_iter().filter(|kind| *kind != Kind::Job)) {
        let names: Vec<String> =
            cx.objects.list(kind, Some(namespace)).map(|s| s.object.name().to_owned()).collect();
        for name in names {
            acted |= cx.delete(kind, namespace, &name);
            left += usize::from(cx.objects.get(kind, namespace, &name).is_some());
        }
    }
    if left > 0 {
        return acted;
    }
    let Some(stored) = cx.objects.get(Kind::Namespace, "", namespace).cloned() else { return acted };
    if let Object::Namespace(ns) = &stored.object {
        let held = ns.spec.as_ref().and_then(|s| s.finalizers.as_ref());
        if held.is_some_and(|all| all.iter().any(|f| f == FINALIZER)) {
            let mut ns = ns.clone();
            let spec = ns.spec.get_or_insert_default();
            spec.finalizers.get_or_insert_default().retain(|f| f != FINALIZER);
            cx.objects.put(Object::Namespace(ns));
            cx.finish_delete(Kind::Namespace, "", namespace);
            return true;
        }
    }
    cx.finish_delete(Kind::Namespace, "", namespace);
    cx.objects.get(Kind::Namespace, "", namespace).is_none() || acted
}
