//! `garbagecollector`: deletes objects whose owners are all gone, and carries out the two finalizers
//! of cascading deletion (`foregroundDeletion`, `orphan`).

use super::{Cx, Place, is_deleting};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

type Item = (Kind, Arc<str>, Arc<str>);

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct GarbageCollector {
    /// Dependents of each owner, by the owner's uid.
    dependents: BTreeMap<Arc<str>, BTreeSet<Item>>,
    /// Owners that count as there although they are not: of an imported cluster, those that could not be read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    unread: BTreeSet<Arc<str>>,
    /// Dependents one of whose owners may be gone.
    #[serde(skip)]
    suspects: BTreeSet<Item>,
    /// Owners being deleted that wait for their dependents.
    #[serde(skip)]
    owners: BTreeSet<Item>,
    /// Owners that lost a dependent, and the namespace it was in.
    #[serde(skip)]
    bereaved: Vec<(OwnerReference, Arc<str>)>,
}

fn item(object: &Object) -> Item {
    (object.kind(), object.namespace().into(), object.name().into())
}

fn finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == name)
}

fn owner_uids(meta: &ObjectMeta) -> impl Iterator<Item = &str> {
    meta.owner_references.iter().flatten().map(|o| o.uid.as_str())
}

/// Whether an owner is still there, under the same uid. Kinds the twin does not keep count as there.
fn is_there(cx: &Cx<'_>, namespace: &str, owner: &OwnerReference) -> bool {
    let Some(kind) = cx.objects.kind_of(&owner.api_version, &owner.kind) else { return true };
    let namespace = if kind.resource().namespaced { namespace } else { "" };
    cx.objects.get(kind, namespace, &owner.name).is_some_and(|s| s.object.uid() == owner.uid)
}

impl GarbageCollector {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        let meta = object.meta();
        let before = change.previous.as_ref().map(|p| p.object.meta());
        let gone = change.kind == ChangeKind::Deleted;
        if change.kind == ChangeKind::Added
            || before.is_some_and(|b| b.owner_references != meta.owner_references)
        {
            before.into_iter().flat_map(owner_uids).for_each(|uid| self.forget(uid, object));
            for uid in owner_uids(meta) {
                self.dependents.entry(uid.into()).or_default().insert(item(object));
                self.suspects.insert(item(object));
            }
        }
        if gone {
            for uid in owner_uids(meta) {
                self.forget(uid, object);
                // The owner may be waiting for its last dependent.
                let owner = meta.owner_references.iter().flatten().find(|o| o.uid == uid);
                if let Some(owner) = owner {
                    self.bereaved.push((owner.clone(), object.namespace().into()));
                }
            }
            if let Some(orphans) = self.dependents.get(object.uid()) {
                self.suspects.extend(orphans.iter().cloned());
            }
        } else if is_deleting(meta) && (finalizer(meta, FOREGROUND) || finalizer(meta, ORPHAN)) {
            self.owners.insert(item(object));
        }
    }
    fn forget(&mut self, uid: &str, object: &Object) {
        if let Some(items) = self.dependents.get_mut(uid) {
            items.remove(&item(object));
            if items.is_empty() {
                self.dependents.remove(uid);
            }
        }
    }
    /// Has owners count as there.
    pub(crate) fn adopt(&mut self, owners: BTreeSet<Arc<str>>) {
        self.unread = owners;
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut acted = false;
        while let Some(item) = self.suspects.pop_first() {
            acted |= self.collect(cx, &item);
        }
        for (owner, namespace) in std::mem::take(&mut self.bereaved) {
            let Some(kind) = cx.objects.kind_of(&owner.api_version, &owner.kind) else { continue };
            let namespace = if kind.resource().namespaced { namespace } else { Arc::from("") };
            self.owners.insert((kind.stored(), namespace, owner.name.into()));
        }
        while let Some(item) = self.owners.pop_first() {
            acted |= self.cascade(cx, &item);
        }
        acted
    }
    /// Deletes a dependent whose owners are all gone.
    fn collect(&self, cx: &mut Cx<'_>, (kind, namespace, name): &Item) -> bool {
        let Some(stored) = cx.objects.get(*kind, namespace, name).cloned() else { return false };
        let owners = stored.object.meta().owner_references.as_deref().unwrap_or_default();
        let there =
            |owner: &OwnerReference| self.unread.contains(&*owner.uid) || is_there(cx, namespace, owner);
        if owners.is_empty() || owners.iter().any(there) {
            return false;
        }
        cx.delete(*kind, namespace, name)
    }
    /// Moves an owner with a cascading finalizer on by one step.
    fn cascade(&self, cx: &mut Cx<'_>, (kind, namespace, name): &Item) -> bool {
        let Some(stored) = cx.objects.get(*kind, namespace, name).cloned() else { return false };
        let meta = stored.object.meta();
        if !is_deleting(meta) {
            return false;
        }
        let dependents = self.dependents.get(stored.object.uid()).cloned().unwrap_or_default();
        if finalizer(meta, ORPHAN) {
            for place in &dependents {
                disown(cx, place, stored.object.uid());
            }
            return release(cx, &stored.object, ORPHAN);
        }
        if !finalizer(meta, FOREGROUND) {
            return false;
        }
        let mut acted = false;
        for (kind, namespace, name) in &dependents {
            acted |= cx.delete(*kind, namespace, name);
        }
        let left = dependents.iter().any(|(kind, namespace, name)| {
            let dependent = cx.objects.get(*kind, namespace, name);
            dependent.is_some_and(|d| owner_uids(d.object.meta()).any(|uid| uid == stored.object.uid()))
        });
        if left { acted } else { release(cx, &stored.object, FOREGROUND) }
    }
}

/// Takes a reference to an owner off a dependent.
fn disown(cx: &mut Cx<'_>, (kind, namespace, name): &Item, uid: &str) {
    let Some(stored) = cx.objects.get(*kind, namespace, name).cloned() else { return };
    let mut object = stored.object.clone();
    if let Some(owners) = &mut object.meta_mut().owner_references {
        owners.retain(|owner| owner.uid != uid);
    }
    cx.objects.put(object);
}

/// Takes a finalizer off an object, and the object away if it was the last.
fn release(cx: &mut Cx<'_>, object: &Object, name: &str) -> bool {
    let mut object = object.clone();
    if let Some(finalizers) = &mut object.meta_mut().finalizers {
        finalizers.retain(|f| f != name);
    }
    let place: Place = (object.namespace().into(), object.name().into());
    let kind = object.kind();
    cx.objects.put(object);
    cx.finish_delete(kind, &place.0, &place.1);
    true
}
