//! What every controller acts through: the cluster's objects, the time, names to draw, timers to set.

use super::job::TRACKING;
use super::underway::UnderWay;
use crate::kind::Kind;
use crate::object::{Object, drop_finalizer, has_finalizer};
use crate::random::Stream;
use crate::store::{Objects, Stored};
use crate::world::Timers;
use fleet::{ClusterSpec, Instant, Span};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use std::sync::Arc;

/// Seconds a pod gets to end when it does not say.
const GRACE_SECONDS_DEFAULT: i64 = 30;

/// One controller's grip on its cluster, for as long as it runs.
pub(crate) struct Cx<'a> {
    pub(crate) objects: &'a mut Objects,
    pub(crate) now: Instant,
    pub(crate) names: &'a mut Stream,
    pub(crate) timers: Timers<'a>,
    /// Writes that webhooks are being asked about.
    pub(crate) under_way: &'a mut UnderWay,
    /// Seed of the world, for streams keyed by object.
    pub(crate) seed: u64,
    /// How its scheduler is to decide, if that is stated.
    pub(crate) scheduler: Option<&'a serde_json::Value>,
    /// What the cluster was made from.
    pub(crate) spec: &'a ClusterSpec,
}

/// An instant as `metav1.Time`: whole seconds, as the API keeps it.
pub(crate) fn time(at: Instant) -> Time {
    Time(Instant::from_unix_seconds(at.as_unix_seconds()).to_jiff())
}

/// An instant as `metav1.MicroTime`: whole microseconds.
pub(crate) fn micro_time(at: Instant) -> MicroTime {
    MicroTime(at.floor_to(Span::from_nanos(1000)).to_jiff())
}

/// A pod's phase; `Pending` when it has none yet.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

/// Whether a pod has ended.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether an object is being deleted.
pub(crate) fn is_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

fn is_held(meta: &ObjectMeta) -> bool {
    meta.finalizers.as_ref().is_some_and(|f| !f.is_empty())
}

fn waits_to_be_counted(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().all(|finalizer| finalizer == TRACKING)
}

impl Cx<'_> {
    /// A pod by name, if it is still the one with this uid.
    pub(crate) fn pod(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<Stored>> {
        self.objects.get(Kind::Pod, namespace, name).filter(|s| s.object.uid() == uid).cloned()
    }
    /// A node.
    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.objects.get(Kind::Node, "", name)?.object.as_node()
    }
    /// Metadata of a new object.
    pub(crate) fn new_meta(&mut self, namespace: &str, name: String) -> ObjectMeta {
        ObjectMeta {
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: Some(name),
            uid: Some(self.names.uid()),
            creation_timestamp: Some(time(self.now)),
            ..ObjectMeta::default()
        }
    }
    /// Whether a namespace takes new objects: it does not once it is being deleted.
    pub(crate) fn takes_new(&self, namespace: &str) -> bool {
        self.objects.get(Kind::Namespace, "", namespace).is_none_or(|s| !is_deleting(s.object.meta()))
    }
    /// Puts a pod in place.
    pub(crate) fn put_pod(&mut self, pod: impl Into<Box<Pod>>) {
        self.objects.put(Object::Pod(pod.into()));
    }
    /// Deletes as the API does: what is held by finalizers (or, for a pod, is still running) is only
    /// marked. Returns whether anything changed.
    pub(crate) fn delete(&mut self, kind: Kind, namespace: &str, name: &str) -> bool {
        let Some(stored) = self.objects.get(kind, namespace, name).cloned() else { return false };
        let meta = stored.object.meta();
        if is_deleting(meta) {
            return false;
        }
        let grace = stored.object.as_pod().map_or(0, |pod| {
            let spec = pod.spec.as_ref();
            let bound = spec.is_some_and(|s| s.node_name.is_some());
            let stated = spec.and_then(|s| s.termination_grace_period_seconds);
            if bound && !is_terminal(pod) { stated.unwrap_or(GRACE_SECONDS_DEFAULT).max(0) } else { 0 }
        });
        if grace == 0 && !is_held(meta) && kind != Kind::Namespace {
            self.objects.remove(kind, namespace, name);
            return true;
        }
        let mut object = stored.object.clone();
        object.meta_mut().deletion_timestamp = Some(time(self.now + Span::from_seconds(grace)));
        object.meta_mut().deletion_grace_period_seconds = Some(grace);
        if let Object::Namespace(namespace) = &mut object {
            namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
        }
        self.objects.put(object);
        true
    }
    /// Takes a finalizer off; an object that is being deleted and that nothing else holds goes with it. Returns whether it
    /// was there.
    pub(crate) fn release(&mut self, kind: Kind, namespace: &str, name: &str, finalizer: &str) -> bool {
        let Some(stored) = self.objects.get(kind, namespace, name) else { return false };
        if !has_finalizer(stored.object.meta(), finalizer) {
            return false;
        }
        let mut object = stored.object.clone();
        drop_finalizer(object.meta_mut(), finalizer);
        self.objects.put_or_let_go(object);
        true
    }
    /// Takes away an object that is being deleted, unless a finalizer still holds it. A pod that only waits to be counted
    /// by its Job has ended: nothing of it runs any more.
    pub(crate) fn finish_delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        let Some(stored) = self.objects.get(kind, namespace, name).cloned() else { return };
        if !is_held(stored.object.meta()) {
            self.objects.remove(kind, namespace, name);
            return;
        }
        let Some(pod) = stored.object.as_pod().filter(|pod| waits_to_be_counted(pod)) else { return };
        let mut pod = pod.clone();
        pod.metadata.deletion_timestamp.get_or_insert(time(self.now));
        pod.metadata.deletion_grace_period_seconds = Some(0);
        if !is_terminal(&pod) {
            pod.status.get_or_insert_default().phase = Some("Failed".to_owned());
        }
        if stored.object.as_pod() != Some(&pod) {
            self.put_pod(pod);
        }
    }
}
