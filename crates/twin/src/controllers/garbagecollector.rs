//! `garbagecollector`: deletes objects whose owners are all gone, and carries out the two finalizers
//! of cascading deletion (`foregroundDeletion`, `orphan`).

use super::{Cx, is_deleting, time};
use crate::kind::Kind;
use crate::object::{Object, has_finalizer};
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

fn owner_uids(meta: &ObjectMeta) -> impl Iterator<Item = &str> {
    meta.owner_references.iter().flatten().map(|o| o.uid.as_str())
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
        } else if is_deleting(meta) && (has_finalizer(meta, FOREGROUND) || has_finalizer(meta, ORPHAN)) {
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
    /// How an owner of an object in `namespace` stands to it.
    fn owner(&self, cx: &Cx<'_>, namespace: &str, owner: &OwnerReference) -> Owner {
        if self.unread.contains(&*owner.uid) {
            return Owner::Solid;
        }
        let Some(kind) = cx.objects.kind_of(&owner.api_version, &owner.kind) else { return Owner::Solid };
        let namespace = if kind.resource().namespaced { namespace } else { "" };
        let found = cx.objects.get(kind, namespace, &owner.name).filter(|s| s.object.uid() == owner.uid);
        match found.map(|stored| stored.object.meta()) {
            None => Owner::Gone,
            Some(meta) if is_deleting(meta) && has_finalizer(meta, FOREGROUND) => Owner::Waiting,
            Some(_) => Owner::Solid,
        }
    }
    /// Deletes a dependent none of whose owners stays (`attemptToDeleteItem`); of one that has others, the references to
    /// those that do not stay are taken away.
    fn collect(&self, cx: &mut Cx<'_>, (kind, namespace, name): &Item) -> bool {
        let Some(stored) = cx.objects.get(*kind, namespace, name).cloned() else { return false };
        let owners = stored.object.meta().owner_references.as_deref().unwrap_or_default();
        let stands: Vec<Owner> = owners.iter().map(|owner| self.owner(cx, namespace, owner)).collect();
        if is_deleting(stored.object.meta()) || stands.iter().all(|owner| *owner == Owner::Solid) {
            return false;
        }
        if stands.contains(&Owner::Solid) {
            let mut object = stored.object.clone();
            let mut stands = stands.into_iter();
            if let Some(owners) = &mut object.meta_mut().owner_references {
                owners.retain(|_| stands.next() == Some(Owner::Solid));
            }
            cx.objects.put(object);
            return true;
        }
        let dependents = self.dependents.get(stored.object.uid());
        match dependents.filter(|_| stands.contains(&Owner::Waiting)) {
            Some(dependents) => {
                // An owner further up that waits for this one would wait for ever if it waited for that as well.
                let circle = dependents.iter().any(|(kind, namespace, name)| {
                    let dependent = cx.objects.get(*kind, namespace, name).map(|s| s.object.meta());
                    dependent.is_some_and(|meta| is_deleting(meta) && has_finalizer(meta, FOREGROUND))
                });
                delete_in_foreground(cx, &stored.object, circle)
            }
            None => cx.delete(*kind, namespace, name),
        }
    }
    /// Moves an owner with a cascading finalizer on by one step.
    fn cascade(&self, cx: &mut Cx<'_>, (kind, namespace, name): &Item) -> bool {
        let Some(stored) = cx.objects.get(*kind, namespace, name).cloned() else { return false };
        let meta = stored.object.meta();
        if !is_deleting(meta) {
            return false;
        }
        let dependents = self.dependents.get(stored.object.uid()).cloned().unwrap_or_default();
        if has_finalizer(meta, ORPHAN) {
            for place in &dependents {
                disown(cx, place, stored.object.uid());
            }
            return cx.release(*kind, namespace, name, ORPHAN);
        }
        if !has_finalizer(meta, FOREGROUND) {
            return false;
        }
        // Those that do not block it go after it.
        let blocks = |cx: &Cx<'_>, (kind, namespace, name): &Item| {
            let dependent = cx.objects.get(*kind, namespace, name);
            let owners = dependent.and_then(|d| d.object.meta().owner_references.as_deref());
            let own = |owner: &OwnerReference| {
                owner.uid == stored.object.uid() && owner.block_owner_deletion == Some(true)
            };
            owners.is_some_and(|owners| owners.iter().any(own))
        };
        let mut acted = false;
        for dependent in &dependents {
            if blocks(cx, dependent) {
                acted |= self.collect(cx, dependent);
            }
        }
        let left = dependents.iter().any(|dependent| blocks(cx, dependent));
        if left { acted } else { cx.release(*kind, namespace, name, FOREGROUND) }
    }
}

/// How an owner stands to its dependent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It stays. So does what could not be read, and what is of a kind the twin does not keep.
    Solid,
    /// It goes as soon as its dependents are gone.
    Waiting,
    /// It is not there, or another of its name is.
    Gone,
}

/// Has an object go after its dependents; `unblocked`: no owner of its own waits for it any more.
pub(super) fn delete_in_foreground(cx: &mut Cx<'_>, object: &Object, unblocked: bool) -> bool {
    let mut object = object.clone();
    let now = time(cx.now);
    let meta = object.meta_mut();
    meta.deletion_timestamp = Some(now);
    meta.deletion_grace_period_seconds = Some(0);
    meta.finalizers.get_or_insert_default().push(FOREGROUND.to_owned());
    for owner in meta.owner_references.iter_mut().flatten().filter(|_| unblocked) {
        owner.block_owner_deletion = Some(false);
    }
    cx.objects.put(object);
    true
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
