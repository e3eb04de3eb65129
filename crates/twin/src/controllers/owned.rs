//! What belongs to whom: the index by which workload controllers find their pods, and the rule of adoption.
//!
//! Objects are indexed by the uid of the owner that controls them, and those nobody controls by namespace, so a look at
//! one workload costs what it owns. It follows from the objects: it is not saved, and is read anew after loading.
//! Within a round it shows what the controllers have heard of, as an informer does.

mod tally;

pub(crate) use tally::Tally;

use super::scheduler::Labels;
use super::{Cx, Place, is_deleting};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Stored};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
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

/// Objects of one kind, by name.
type Children = BTreeMap<Arc<str>, Arc<Stored>>;

/// What belongs to one owner, or to nobody in one namespace.
#[derive(Debug, Default)]
struct Shelf {
    /// By kind, as [`slot`] says.
    kinds: [Children; 4],
    /// Of the pods of an owner.
    tally: Tally,
}

/// The index. Looked up by key alone, so that its order does not matter.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    by_owner: HashMap<Arc<str>, Shelf>,
    /// Objects without a controller, by namespace.
    orphans: HashMap<Arc<str>, Shelf>,
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

/// The place on a shelf of a kind whose objects are somebody's.
fn slot(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Pod => Some(0),
        Kind::Job => Some(1),
        Kind::Document(_) if kind == KINDS.replica_set => Some(2),
        Kind::Document(_) if kind == KINDS.revision => Some(3),
        _ => None,
    }
}

/// Jobs follow their pods themselves.
fn is_followed(meta: &ObjectMeta) -> bool {
    controller(meta).is_none_or(|owner| owner.kind != "Job")
}

fn owner(object: &Object) -> Option<&str> {
    controller(object.meta()).map(|owner| owner.uid.as_str())
}

impl Shelf {
    fn is_empty(&self) -> bool {
        self.kinds.iter().all(BTreeMap::is_empty)
    }
}

impl Owned {
    /// Reads all objects, once; whether this was the time.
    pub(crate) fn read(&mut self, cx: &Cx<'_>) -> bool {
        if std::mem::replace(&mut self.read, true) {
            return false;
        }
        for kind in [Kind::Pod, Kind::Job, KINDS.replica_set, KINDS.revision] {
            for stored in cx.objects.list(kind, None) {
                self.insert(slot(kind), stored);
            }
        }
        true
    }
    /// Keeps up with a change.
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        let Some(at) = slot(object.kind()) else { return };
        let gone = change.kind == ChangeKind::Deleted;
        if let Some(previous) = &change.previous {
            let shelf =
                if gone || owner(&previous.object) != owner(object) { None } else { self.shelf_mut(object) };
            if let Some(shelf) = shelf
                && let Some(own) = shelf.kinds[at].get_mut(object.name())
            {
                if owner(object).is_some() {
                    shelf.tally.change(own.object.as_pod(), object.as_pod());
                }
                own.clone_from(&change.object);
                return;
            }
            self.remove(at, &previous.object);
        }
        if !gone {
            self.insert(Some(at), &change.object);
        }
    }
    fn shelf_mut(&mut self, object: &Object) -> Option<&mut Shelf> {
        match owner(object) {
            Some(owner) => self.by_owner.get_mut(owner),
            None => self.orphans.get_mut(object.namespace()),
        }
    }
    fn insert(&mut self, at: Option<usize>, stored: &Arc<Stored>) {
        let object = &stored.object;
        let Some(at) = at.filter(|_| is_followed(object.meta())) else { return };
        let shelf = match owner(object) {
            Some(owner) => {
                let shelf = self.by_owner.entry(owner.into()).or_default();
                shelf.tally.change(None, object.as_pod());
                shelf
            }
            None => self.orphans.entry(object.namespace().into()).or_default(),
        };
        shelf.kinds[at].insert(object.name().into(), stored.clone());
    }
    fn remove(&mut self, at: usize, object: &Object) {
        let Some(shelf) = self.shelf_mut(object) else { return };
        let Some(own) = shelf.kinds[at].remove(object.name()) else { return };
        if owner(object).is_some() {
            shelf.tally.change(own.object.as_pod(), None);
        }
        if shelf.is_empty() {
            match owner(object) {
                Some(owner) => self.by_owner.remove(owner),
                None => self.orphans.remove(object.namespace()),
            };
        }
    }
    fn of(shelf: Option<&Shelf>, kind: Kind) -> impl Iterator<Item = &Arc<Stored>> {
        shelf.zip(slot(kind)).into_iter().flat_map(|(shelf, at)| shelf.kinds[at].values())
    }
    /// What an owner controls, of one kind, by name.
    pub(crate) fn children(&self, uid: &str, kind: Kind) -> impl Iterator<Item = &Arc<Stored>> {
        Owned::of(self.by_owner.get(uid), kind)
    }
    /// What the pods of an owner come to, where all are selected and nobody's pods stand in its namespace: then claiming
    /// would change nothing.
    pub(crate) fn tally(&self, owner: &Object, selects: impl Fn(&Labels) -> bool) -> Option<Cow<'_, Tally>> {
        if Owned::of(self.orphans.get(owner.namespace()), Kind::Pod).next().is_some() {
            return None;
        }
        let Some(shelf) = self.by_owner.get(owner.uid()) else { return Some(Cow::default()) };
        let pods = || shelf.kinds[0].values().filter_map(|stored| stored.object.as_pod());
        debug_assert!(shelf.tally == Tally::of(pods()), "pods of {} {}", owner.namespace(), owner.name());
        shelf.tally.groups().all(|(labels, _)| selects(labels)).then_some(Cow::Borrowed(&shelf.tally))
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
                claimed.push(stored.clone());
            } else if !going && !is_deleting(stored.object.meta()) {
                release(cx, &stored.object, owner.uid());
            }
        }
        if going {
            return claimed;
        }
        for stored in Owned::of(self.orphans.get(owner.namespace()), kind) {
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
