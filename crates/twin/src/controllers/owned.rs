//! What belongs to whom: the index by which workload controllers find their pods, and the rule of adoption.
//!
//! Objects are indexed by the uid of the owner that controls them, and those nobody controls by namespace, so a look at
//! one workload costs what it owns. It follows from the objects: it is not saved, and is read anew after loading.
//! Within a round it shows what the controllers have heard of, as an informer does.

use super::{Cx, Place, is_deleting};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Stored};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The kinds that make or manage pods, and what they keep beside them.
pub(crate) struct Kinds {
    pub(crate) autoscaler: Kind,
    pub(crate) cron_job: Kind,
    pub(crate) daemon_set: Kind,
    pub(crate) stateful_set: Kind,
    pub(crate) claim: Kind,
    pub(crate) deployment: Kind,
    pub(crate) replica_set: Kind,
    pub(crate) replication_controller: Kind,
    pub(crate) revision: Kind,
    pub(crate) budget: Kind,
}

/// Looked up once: the table of resources is long.
pub(crate) static KINDS: LazyLock<Kinds> = LazyLock::new(|| Kinds {
    autoscaler: Kind::document("autoscaling", "horizontalpodautoscalers"),
    daemon_set: Kind::document("apps", "daemonsets"),
    cron_job: Kind::document("batch", "cronjobs"),
    stateful_set: Kind::document("apps", "statefulsets"),
    claim: Kind::document("", "persistentvolumeclaims"),
    deployment: Kind::document("apps", "deployments"),
    replica_set: Kind::document("apps", "replicasets"),
    replication_controller: Kind::document("", "replicationcontrollers"),
    revision: Kind::document("apps", "controllerrevisions"),
    budget: Kind::document("policy", "poddisruptionbudgets"),
});

type Children = BTreeMap<(Kind, Arc<str>), Arc<Stored>>;

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    by_owner: BTreeMap<Arc<str>, Children>,
    /// Objects without a controller, by namespace.
    orphans: BTreeMap<Arc<str>, Children>,
    read: bool,
}

/// The owner that controls an object.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// The reference by which an object controls another.
pub(crate) fn reference(owner: &Object) -> OwnerReference {
    let resource = owner.kind().resource();
    OwnerReference {
        api_version: resource.api_version(),
        kind: resource.name.to_owned(),
        name: owner.name().to_owned(),
        uid: owner.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Where an object is.
pub(crate) fn place(object: &Object) -> Place {
    (object.namespace().into(), object.name().into())
}

/// Whether objects of a kind are somebody's.
fn is_indexed(kind: Kind) -> bool {
    matches!(kind, Kind::Pod | Kind::Job) || kind == KINDS.replica_set || kind == KINDS.revision
}

/// Jobs follow their pods themselves.
fn is_followed(meta: &ObjectMeta) -> bool {
    controller(meta).is_none_or(|owner| owner.kind != "Job")
}

impl Owned {
    /// Reads all objects, once; whether this was the time.
    pub(crate) fn read(&mut self, cx: &Cx<'_>) -> bool {
        if std::mem::replace(&mut self.read, true) {
            return false;
        }
        for kind in [Kind::Pod, Kind::Job, KINDS.replica_set, KINDS.revision] {
            for stored in cx.objects.list(kind, None) {
                self.insert(stored);
            }
        }
        true
    }
    /// Keeps up with a change.
    pub(crate) fn observe(&mut self, change: &Change) {
        if !is_indexed(change.object.object.kind()) {
            return;
        }
        if let Some(previous) = &change.previous {
            self.remove(&previous.object);
        }
        if change.kind != ChangeKind::Deleted {
            self.insert(&change.object);
        }
    }
    fn shelf(&mut self, object: &Object) -> (&mut BTreeMap<Arc<str>, Children>, Arc<str>) {
        match controller(object.meta()) {
            Some(owner) => (&mut self.by_owner, owner.uid.as_str().into()),
            None => (&mut self.orphans, object.namespace().into()),
        }
    }
    fn insert(&mut self, stored: &Arc<Stored>) {
        let object = &stored.object;
        if !is_followed(object.meta()) {
            return;
        }
        let (shelf, key) = self.shelf(object);
        shelf.entry(key).or_default().insert((object.kind(), object.name().into()), stored.clone());
    }
    fn remove(&mut self, object: &Object) {
        let (shelf, key) = self.shelf(object);
        if let Some(children) = shelf.get_mut(&key) {
            children.remove(&(object.kind(), object.name().into()));
            if children.is_empty() {
                shelf.remove(&key);
            }
        }
    }
    fn of(shelf: &BTreeMap<Arc<str>, Children>, key: &str, kind: Kind) -> Vec<Arc<Stored>> {
        let from = (kind, Arc::from(""));
        let children = shelf.get(key).into_iter().flat_map(|children| children.range(from.clone()..));
        children.take_while(|((k, _), _)| *k == kind).map(|(_, stored)| stored.clone()).collect()
    }
    /// What an owner controls, of one kind, by name.
    pub(crate) fn children(&self, uid: &str, kind: Kind) -> Vec<Arc<Stored>> {
        Owned::of(&self.by_owner, uid, kind)
    }
    /// What an owner controls of one kind and selects, after taking in what nobody controls and letting go what it no
    /// longer selects, by name. An owner that is being deleted does neither.
    pub(crate) fn claim(
        &self,
        cx: &mut Cx<'_>,
        owner: &Object,
        kind: Kind,
        selects: &dyn Fn(&Object) -> bool,
    ) -> Vec<Arc<Stored>> {
        let going = is_deleting(owner.meta());
        let mut claimed = Vec::new();
        for stored in self.children(owner.uid(), kind) {
            if selects(&stored.object) {
                claimed.push(stored);
            } else if !going && !is_deleting(stored.object.meta()) {
                release(cx, &stored.object, owner.uid());
            }
        }
        if going {
            return claimed;
        }
        for stored in Owned::of(&self.orphans, owner.namespace(), kind) {
            if !is_deleting(stored.object.meta()) && selects(&stored.object) {
                claimed.extend(adopt(cx, &stored.object, owner));
            }
        }
        claimed.sort_by(|a, b| a.object.name().cmp(b.object.name()));
        claimed
    }
}

/// The object as it is now, if it is still the one that was looked at.
fn current(cx: &Cx<'_>, object: &Object) -> Option<Object> {
    let now = cx.objects.get(object.kind(), object.namespace(), object.name())?;
    (now.object.uid() == object.uid()).then(|| now.object.clone())
}

fn release(cx: &mut Cx<'_>, object: &Object, owner: &str) {
    let Some(mut object) = current(cx, object) else { return };
    let owners = object.meta_mut().owner_references.get_or_insert_default();
    owners.retain(|reference| reference.uid != owner);
    if owners.is_empty() {
        object.meta_mut().owner_references = None;
    }
    cx.objects.put(object);
}

fn adopt(cx: &mut Cx<'_>, object: &Object, owner: &Object) -> Option<Arc<Stored>> {
    let mut object = current(cx, object)?;
    if controller(object.meta()).is_some() {
        return None;
    }
    object.meta_mut().owner_references.get_or_insert_default().push(reference(owner));
    Some(cx.objects.put(object))
}
