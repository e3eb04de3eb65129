//! Binding of a pod whose claims are bound only once it has a node: first the claims, then the pod.
//!
//! What was decided is written into volumes and claims; the pod keeps its room on the node meanwhile. Invariant: a pod
//! in `binding` is placed in [`Cluster`] and not in the queue. Who waits in vain for as long as its profile says is tried
//! anew.

use super::cluster::Cluster;
use super::plugins::volumebinding;
use super::pod::PodInfo;
use super::{Scheduler, holds, is_mine, name_of, set_scheduled};
use crate::controllers::document::annotate;
use crate::controllers::events::{About, Source};
use crate::controllers::volumes::{self, BOUND_BY_CONTROLLER, SELECTED_NODE};
use crate::controllers::{Cx, Place};
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task};
use fleet::Span;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A pod that has a node, and waits for its claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Awaiting {
    place: Place,
    node: Arc<str>,
    claims: Vec<Arc<str>>,
}

impl Scheduler {
    /// Keeps a pod's room on a node while its claims are bound, for so long at most. Whether there are any to bind.
    pub(super) fn reserve(
        &mut self,
        cx: &mut Cx<'_>,
        info: &Arc<PodInfo>,
        node: &Arc<str>,
        patience: Span,
    ) -> bool {
        let Some(cluster) = &mut self.cluster else { return false };
        let chosen = choose(cluster, info, node);
        if chosen.is_empty() {
            return false;
        }
        self.queue.remove(&info.uid);
        cluster.withdraw(&info.uid);
        let placed = Arc::new(PodInfo { node: Some(node.clone()), nominated: None, ..(**info).clone() });
        cluster.place(node, placed.clone());
        self.news.came.push(placed);
        let claims = chosen.iter().map(|(claim, _)| claim.clone()).collect();
        for (claim, volume) in &chosen {
            write(cx, &info.namespace, claim, volume.as_deref(), node);
        }
        let place = (info.namespace.clone(), info.name.clone());
        self.binding.insert(info.uid.clone(), Awaiting { place, node: node.clone(), claims });
        cx.timers.set(cx.now + patience, Priority::Controller, Task::Binding { uid: info.uid.clone() });
        true
    }
    /// Binds the pods whose claims are bound now.
    pub(super) fn bind_reserved(&mut self, cx: &mut Cx<'_>) {
        let Some(cluster) = &self.cluster else { return };
        let done = |waiting: &Awaiting| {
            let bound = |name| cluster.storage.claim(&waiting.place.0, name).is_some_and(|claim| claim.bound);
            waiting.claims.iter().all(bound)
        };
        let ready: Vec<Arc<str>> =
            self.binding.iter().filter(|(_, w)| done(w)).map(|(uid, _)| uid.clone()).collect();
        for uid in ready {
            let Some(waiting) = self.binding.remove(&uid) else { continue };
            let Some(stored) = cx.pod(&waiting.place.0, &waiting.place.1, &uid) else { continue };
            if let Object::Pod(pod) = &stored.object {
                announce(cx, &stored.object, pod, &waiting.node);
            }
        }
    }
    /// Whether a change leaves a pod waiting for its claims as it is.
    pub(super) fn still_binding(&mut self, uid: &str, pod: &Pod, change: &Change) -> bool {
        if !self.binding.contains_key(uid) {
            return false;
        }
        let stays = change.kind != ChangeKind::Deleted && holds(pod).is_none() && is_mine(&self.config, pod);
        if !stays {
            self.binding.remove(uid);
        }
        stays
    }
    /// Keeps the room of pods that wait for their claims, in a cluster that was read anew.
    pub(super) fn reserve_again(&self, cx: &Cx<'_>, cluster: &mut Cluster) {
        for (uid, waiting) in &self.binding {
            let stored = cx.pod(&waiting.place.0, &waiting.place.1, uid);
            let pod = stored.as_ref().and_then(|s| s.object.as_pod());
            let digested =
                pod.and_then(|pod| Some(self.config.profile(name_of(pod))?.adapt(cluster.digest(pod))));
            if let Some(info) = digested {
                let info = PodInfo { node: Some(waiting.node.clone()), nominated: None, ..info };
                cluster.place(&waiting.node, Arc::new(info));
            }
        }
    }
    /// A pod has waited too long for its claims: it is tried anew.
    pub(crate) fn give_up_binding(&mut self, cx: &mut Cx<'_>, uid: &str) {
        self.learn(cx, &[]);
        let Some(waiting) = self.binding.remove(uid) else { return };
        self.release(uid);
        let Some(stored) = cx.pod(&waiting.place.0, &waiting.place.1, uid) else { return };
        let Object::Pod(pod) = &stored.object else { return };
        let message = "running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded";
        self.enqueue(uid, pod);
        let source = name_of(pod).to_owned();
        let mut next = pod.clone();
        set_scheduled(&mut next, cx.now, Some(("SchedulerError", message)));
        cx.put_pod(next);
        let source = Source { component: &source, host: None };
        cx.warning(&About::new(&stored.object), source, "FailedScheduling", message.to_owned());
    }
}

/// The claims of a pod that are yet to be bound, each with the volume it is to have, or none where one is to be made.
fn choose(cluster: &Cluster, pod: &PodInfo, node: &str) -> Vec<(Arc<str>, Option<String>)> {
    let Ok(claims) = volumebinding::pre_filter(&cluster.storage, pod) else { return Vec::new() };
    let Some(at) = cluster.find(node) else { return Vec::new() };
    volumebinding::choose(&cluster.storage, &claims, pod, cluster.node(at))
}

/// Writes down which volume a claim is to have, or on which node one is to be made for it.
fn write(cx: &mut Cx<'_>, namespace: &str, claim: &str, volume: Option<&str>, node: &str) {
    let Some(doc) = cx.document(volumes::claim_kind(), namespace, claim).cloned() else { return };
    match volume {
        Some(volume) => cx.change_document(volumes::volume_kind(), ("", volume), |volume| {
            volumes::refer(volume, &doc);
            annotate(volume, BOUND_BY_CONTROLLER, "yes");
        }),
        None => cx.change_document(volumes::claim_kind(), (namespace, claim), |claim| {
            annotate(claim, SELECTED_NODE, node);
        }),
    };
}

/// Writes down where a pod goes, and says so.
pub(super) fn announce(cx: &mut Cx<'_>, object: &Object, pod: &Pod, node: &str) {
    let text = format!("Successfully assigned {}/{} to {node}", object.namespace(), object.name());
    let scheduler = name_of(pod).to_owned();
    let mut next = pod.clone();
    next.spec.get_or_insert_default().node_name = Some(node.to_owned());
    next.status.get_or_insert_default().nominated_node_name = None;
    set_scheduled(&mut next, cx.now, None);
    cx.put_pod(next);
    cx.normal(&About::new(object), Source { component: &scheduler, host: None }, "Scheduled", text);
}
