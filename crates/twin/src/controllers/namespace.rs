//! `namespace`: empties a namespace that is being deleted, then lets it go.
//!
//! Pods go first and everything else stays until they are gone, so that what they still need (their account, their network
//! policies) is there to the end. The namespace's conditions say what is left and why.

use super::{Cx, is_deleting, time};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use k8s_openapi::api::core::v1::NamespaceCondition;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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

/// What is left of a namespace: how many objects of each resource, and of how many each finalizer keeps.
#[derive(Default)]
struct Left {
    resources: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Left {
    /// Deletes all objects of a kind and counts those that stay; whether anything changed.
    fn sweep(&mut self, cx: &mut Cx<'_>, kind: Kind, namespace: &str) -> bool {
        let names: Vec<String> =
            cx.objects.list(kind, Some(namespace)).map(|s| s.object.name().to_owned()).collect();
        let mut acted = false;
        for name in names {
            acted |= cx.delete(kind, namespace, &name);
            let Some(stored) = cx.objects.get(kind, namespace, &name) else { continue };
            let resource = kind.resource();
            *self.resources.entry(format!("{}.{}", resource.plural, resource.group)).or_default() += 1;
            for finalizer in stored.object.meta().finalizers.iter().flatten() {
                *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
        acted
    }
    /// The two conditions that tell of it: type, reason and message; none where nothing is left.
    fn conditions(&self) -> [Option<(&'static str, &'static str, String)>; 2] {
        let listed = |counts: &BTreeMap<String, usize>, word: &str| {
            let each: Vec<String> =
                counts.iter().map(|(name, n)| format!("{name} {word} {n} resource instances")).collect();
            (!each.is_empty()).then(|| each.join(", "))
        };
        let resources = listed(&self.resources, "has").map(|all| {
            let message = format!("Some resources are remaining: {all}");
            ("NamespaceContentRemaining", "SomeResourcesRemain", message)
        });
        let finalizers = listed(&self.finalizers, "in").map(|all| {
            let message = format!("Some content in the namespace has finalizers remaining: {all}");
            ("NamespaceFinalizersRemaining", "SomeFinalizersRemain", message)
        });
        [resources, finalizers]
    }
}

/// What a namespace's conditions say when all is well: type, reason and message.
const WELL: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// Says in a namespace's status what keeps it; whether that was news.
fn tell(cx: &mut Cx<'_>, namespace: &str, left: &Left) -> bool {
    let Some(stored) = cx.objects.get(Kind::Namespace, "", namespace).cloned() else { return false };
    let Object::Namespace(ns) = &stored.object else { return false };
    let mut told = ns.clone();
    let conditions = told.status.get_or_insert_default().conditions.get_or_insert_default();
    let left = left.conditions();
    for (kind, reason, message) in WELL {
        let wrong = left.iter().flatten().find(|(of, ..)| *of == kind);
        let (status, reason, message) = match wrong {
            Some((_, reason, message)) => ("True", *reason, message.as_str()),
            None => ("False", reason, message),
        };
        let at = match conditions.iter().position(|condition| condition.type_ == kind) {
            Some(at) => at,
            None => {
                conditions
                    .push(NamespaceCondition { type_: kind.to_owned(), ..NamespaceCondition::default() });
                conditions.len() - 1
            }
        };
        let condition = &mut conditions[at];
        if condition.status != status {
            status.clone_into(&mut condition.status);
            condition.last_transition_time = Some(time(cx.now));
        }
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.to_owned());
    }
    if told == *ns {
        return false;
    }
    cx.objects.put(Object::Namespace(told));
    true
}

/// Deletes what is in a namespace, pods before anything else; once nothing is, the namespace itself.
fn empty(cx: &mut Cx<'_>, namespace: &str) -> bool {
    let mut left = Left::default();
    let mut acted = left.sweep(cx, Kind::Pod, namespace);
    if !left.resources.is_empty() {
        // As in Kubernetes, the conditions tell of what is left only once everything is being deleted.
        return acted | tell(cx, namespace, &Left::default());
    }
    let kinds: Vec<Kind> = cx.objects.kinds().filter(|kind| kind.resource().namespaced).collect();
    for kind in kinds {
        acted |= left.sweep(cx, kind, namespace);
    }
    if !left.resources.is_empty() {
        return acted | tell(cx, namespace, &left);
    }
    let Some(stored) = cx.objects.get(Kind::Namespace, "", namespace).cloned() else { return acted };
    if let Object::Namespace(ns) = &stored.object {
        let held = ns.spec.as_ref().and_then(|s| s.finalizers.as_ref());
        if held.is_some_and(|all| all.iter().any(|f| f == FINALIZER)) {
            let mut ns = ns.clone();
            let spec = ns.spec.get_or_insert_default();
            spec.finalizers.get_or_insert_default().retain(|f| f != FINALIZER);
            cx.objects.put_or_let_go(Object::Namespace(ns));
            return true;
        }
    }
    cx.finish_delete(Kind::Namespace, "", namespace);
    cx.objects.get(Kind::Namespace, "", namespace).is_none() || acted
}
