//! What besides nodes, pods and namespaces decides where pods go: disruption budgets, claims and volumes, and the
//! owners whose pods are spread by default.
//!
//! They are documents in the store and typed here. One that cannot be read as its type (a field of a wrong kind in a
//! twin file) counts as not there.

use super::cluster::Cluster;
use crate::kind::Kind;
use crate::object::Object;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One resource of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surrounding {
    Budget,
    Service,
    ReplicationController,
    ReplicaSet,
    StatefulSet,
    Claim,
    Volume,
    StorageClass,
    CsiNode,
    CsiDriver,
    CsiCapacity,
}

impl Surrounding {
    /// All, with group and plural.
    const ALL: [(Surrounding, &str, &str); 11] = [
        (Surrounding::Budget, "policy", "poddisruptionbudgets"),
        (Surrounding::Service, "", "services"),
        (Surrounding::ReplicationController, "", "replicationcontrollers"),
        (Surrounding::ReplicaSet, "apps", "replicasets"),
        (Surrounding::StatefulSet, "apps", "statefulsets"),
        (Surrounding::Claim, "", "persistentvolumeclaims"),
        (Surrounding::Volume, "", "persistentvolumes"),
        (Surrounding::StorageClass, "storage.k8s.io", "storageclasses"),
        (Surrounding::CsiNode, "storage.k8s.io", "csinodes"),
        (Surrounding::CsiDriver, "storage.k8s.io", "csidrivers"),
        (Surrounding::CsiCapacity, "storage.k8s.io", "csistoragecapacities"),
    ];
    /// The kinds of objects to read.
    pub(super) fn kinds() -> impl Iterator<Item = Kind> {
        Surrounding::ALL.into_iter().map(|(_, group, plural)| Kind::document(group, plural))
    }
    /// What an object is of them, if any.
    pub(super) fn of(object: &Object) -> Option<Surrounding> {
        let kind = object.as_document()?.kind;
        Surrounding::ALL.into_iter().find(|(_, group, plural)| kind.is(group, plural)).map(|(of, ..)| of)
    }
    /// Whether a change of it may let a pod be placed that its volumes kept away.
    pub(super) fn is_storage(self) -> bool {
        use Surrounding::{Claim, CsiCapacity, CsiDriver, CsiNode, StorageClass, Volume};
        matches!(self, Claim | Volume | StorageClass | CsiNode | CsiDriver | CsiCapacity)
    }
    /// Whether a change leaves what the scheduler goes by as it was: of owners of pods that is how they select, while
    /// their status follows every pod.
    pub(super) fn stays(self, before: &Object, now: &Object) -> bool {
        use Surrounding::{ReplicaSet, ReplicationController, StatefulSet};
        fn selector(object: &Object) -> Option<&Value> {
            object.as_document()?.body.get("spec")?.get("selector")
        }
        matches!(self, ReplicaSet | ReplicationController | StatefulSet) && selector(before) == selector(now)
    }
    /// It is new or has changed.
    pub(super) fn put(self, cluster: &mut Cluster, object: &Object) {
        fn with<T: DeserializeOwned>(object: &Object, put: impl FnOnce(&T)) {
            if let Ok(typed) = serde_json::from_value(object.to_value()) {
                put(&typed);
            }
        }
        match self {
            Surrounding::Budget => with(object, |o| cluster.put_budget(o)),
            Surrounding::Service => with(object, |o| cluster.put_service(o)),
            Surrounding::ReplicationController => with(object, |o| cluster.put_replication_controller(o)),
            Surrounding::ReplicaSet => with(object, |o| cluster.put_replica_set(o)),
            Surrounding::StatefulSet => with(object, |o| cluster.put_stateful_set(o)),
            Surrounding::Claim => with(object, |o| cluster.put_claim(o)),
            Surrounding::Volume => with(object, |o| cluster.put_volume(o)),
            Surrounding::StorageClass => with(object, |o| cluster.put_storage_class(o)),
            Surrounding::CsiNode => with(object, |o| cluster.put_csi_node(o)),
            Surrounding::CsiDriver => with(object, |o| cluster.put_csi_driver(o)),
            Surrounding::CsiCapacity => with(object, |o| cluster.put_capacity(o)),
        }
    }
    /// It is gone.
    pub(super) fn remove(self, cluster: &mut Cluster, object: &Object) {
        let (namespace, name) = (object.namespace(), object.name());
        let place = || (namespace.to_owned(), name.to_owned());
        match self {
            Surrounding::Budget => drop(cluster.budgets.remove(&place())),
            Surrounding::Service => drop(cluster.owners.services.remove(&place())),
            Surrounding::ReplicationController => cluster.owners.remove("ReplicationController", place()),
            Surrounding::ReplicaSet => cluster.owners.remove("ReplicaSet", place()),
            Surrounding::StatefulSet => cluster.owners.remove("StatefulSet", place()),
            Surrounding::Claim => drop(cluster.storage.claims.remove(&(namespace.into(), name.into()))),
            Surrounding::Volume => drop(cluster.storage.volumes.remove(name)),
            Surrounding::StorageClass => drop(cluster.storage.classes.remove(name)),
            Surrounding::CsiNode => drop(cluster.storage.limits.remove(name)),
            Surrounding::CsiDriver => drop(cluster.storage.measured.remove(name)),
            Surrounding::CsiCapacity => drop(cluster.storage.capacities.remove(&place())),
        }
    }
}
