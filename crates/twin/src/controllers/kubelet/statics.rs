//! Static pods: those a kubelet runs by itself, and their mirrors in the API.
//!
//! As kubelet's file source and mirror pods, version 1.36: a node group's manifests are on the disk of each of its nodes; the
//! kubelet runs them, and shows each to the API server as a mirror pod `NAME-NODE` that the node owns. Deleting a mirror ends
//! nothing: it is made again, and shows the pod that runs on. A kubelet that begins anew starts its static pods anew; pods
//! without the network of the host wait until the node is ready. Invariants: a run with a manifest is a static pod's, and
//! there is at most one of a node and manifest; its key is the uid of its mirror, as long as there is one. Left out: a
//! mirror that was deleted by force while nobody could make it again: what is due of its pod is done when it is back.

use super::{Kubelet, Stage};
use crate::apiserver::{MIRROR, static_pod};
use crate::controllers::node::is_ready;
use crate::controllers::{Cx, is_deleting, time};
use crate::kind::Kind;
use crate::random::Stream;
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Annotations: the hash of the manifest, when the kubelet saw it first, and where it has it from.
const HASH: &str = "kubernetes.io/config.hash";
const SEEN: &str = "kubernetes.io/config.seen";
const SOURCE: &str = "kubernetes.io/config.source";
/// When a mirror is tried again that the API server refused: a pod is looked at every minute (`syncFrequency`).
const RETRY: Span = Span::from_seconds(60);

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The uid by which the kubelet knows a static pod: the hash of its manifest. Other pods have that of their object.
pub(super) fn uid_of(pod: &Pod, is_static: bool) -> &str {
    let own = if is_static { annotation(pod, HASH) } else { None };
    own.or(pod.metadata.uid.as_deref()).unwrap_or_default()
}

/// A manifest as the kubelet of a node reads it.
fn read(mut pod: Pod, node: &str, now: Instant) -> Pod {
    let name = pod.metadata.name.clone().unwrap_or_default();
    // Of the host, the file and what is in it, as the real one.
    let text = format!("{node}/{}/{name}", pod.metadata.namespace.as_deref().unwrap_or_default());
    let mut stream = Stream::new(0, &format!("staticpod/{text}/{}", serde_json::json!(pod)));
    let hash = format!("{:016x}{:016x}", stream.bits(), stream.bits());
    pod.metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), hash);
    annotations.insert(SEEN.to_owned(), time(now).0.to_string());
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    let all = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&all) {
        tolerations.push(all);
    }
    pod.status = None;
    pod
}

/// The static pod that a mirror shows; `None`: it is none.
pub(super) fn shown_by(mirror: &Pod) -> Option<Pod> {
    annotation(mirror, MIRROR)?;
    let meta = &mirror.metadata;
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    let hash = annotations.remove(MIRROR)?;
    annotations.entry(HASH.to_owned()).or_insert(hash);
    let metadata = ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        labels: meta.labels.clone(),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    Some(Pod { metadata, spec: mirror.spec.clone(), status: None })
}

impl Kubelet {
    /// The mirror of a static pod, not yet in place.
    fn mirror(cx: &mut Cx<'_>, pod: &Pod, node: &Node) -> Pod {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let mut metadata = cx.new_meta(&namespace, pod.metadata.name.clone().unwrap_or_default());
        metadata.labels = pod.metadata.labels.clone();
        let mut annotations: BTreeMap<String, String> = pod.metadata.annotations.clone().unwrap_or_default();
        annotations.insert(MIRROR.to_owned(), annotation(pod, HASH).unwrap_or_default().to_owned());
        metadata.annotations = Some(annotations);
        metadata.generation = Some(1);
        metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]);
        Pod { metadata, spec: pod.spec.clone(), status: None }
    }
    /// Looks at the static pods of nodes that are new, ready or begin anew; whether there were any.
    pub(super) fn start_statics(&mut self, cx: &mut Cx<'_>) -> bool {
        let nodes = std::mem::take(&mut self.starting);
        nodes.iter().for_each(|node| self.start_statics_of(cx, node));
        let unmirrored = std::mem::take(&mut self.unmirrored);
        for uid in &unmirrored {
            let Some(node) = self.runs.get(uid).map(|run| run.node.clone()) else { continue };
            let up = self.hosts.get(&node).is_some_and(|host| !host.down);
            if up && !self.is_cut(&node) {
                self.mirror_again(cx, uid);
            }
        }
        !nodes.is_empty() || !unmirrored.is_empty()
    }
    fn start_statics_of(&mut self, cx: &mut Cx<'_>, name: &Arc<str>) {
        let manifests = self.settings(cx, name).map_or(&[][..], |set| &set.static_pods[..]);
        let cut = self.is_cut(name);
        let Some(host) = self.hosts.get_mut(name) else { return };
        if manifests.is_empty() {
            host.anew = false;
            return;
        }
        if cut || host.down || host.shutdown.is_some() {
            return;
        }
        let anew = std::mem::take(&mut host.anew);
        let Some(node) = cx.node(name).filter(|node| !is_deleting(&node.metadata)).cloned() else { return };
        for manifest in manifests {
            // One that cannot be read the kubelet leaves out; it was refused where the fleet was read.
            let Ok(pod) = static_pod(manifest.clone()) else { continue };
            let on_host = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
            if on_host || is_ready(&node) {
                self.start_static(cx, &node, read(pod, name, cx.now), anew);
            }
        }
    }
    /// Starts a static pod, unless it runs; one that has ended only where its kubelet begins `anew`.
    fn start_static(&mut self, cx: &mut Cx<'_>, node: &Node, pod: Pod, anew: bool) {
        let text = |text: &Option<String>| Arc::<str>::from(text.as_deref().unwrap_or_default());
        let place = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        let name = text(&node.metadata.name);
        let is_it = |run: &super::Run| run.manifest.is_some() && run.place == place;
        let own = self.on(&name).into_iter().find(|uid| self.runs.get(uid).is_some_and(is_it));
        if let Some(uid) = own {
            if cx.pod(&place.0, &place.1, &uid).is_none() {
                self.mirror_again(cx, &uid);
            }
            return;
        }
        let there = cx.objects.get(Kind::Pod, &place.0, &place.1).cloned();
        let there = there.as_ref().and_then(|stored| stored.object.as_pod());
        let mirror = match there {
            Some(other) if annotation(other, MIRROR) != annotation(&pod, HASH) => {
                return self.retry(cx, &name);
            }
            Some(_) if !anew => return,
            Some(own) => {
                // What ended before the machine went down says nothing of the pod that starts now.
                let class = own.status.as_ref().and_then(|status| status.qos_class.clone());
                let status =
                    PodStatus { phase: Some("Pending".to_owned()), qos_class: class, ..PodStatus::default() };
                let metadata = own.metadata.clone();
                let mirror = Pod { metadata, spec: own.spec.clone(), status: Some(status) };
                cx.put_pod(mirror.clone());
                mirror
            }
            None => {
                let mirror = Kubelet::mirror(cx, &pod, node);
                let made = cx.create_pod(mirror).ok();
                match made.as_ref().and_then(|stored| stored.object.as_pod()) {
                    Some(mirror) => mirror.clone(),
                    None => return self.retry(cx, &name),
                }
            }
        };
        let uid = text(&mirror.metadata.uid);
        self.admit(cx, place, uid, &mirror, Some(Box::new(pod)));
    }
    /// Has the static pods of a node looked at again after a while.
    fn retry(&mut self, cx: &mut Cx<'_>, node: &Arc<str>) {
        cx.timers.set(cx.now + RETRY, Priority::Kubelet, Task::StaticPods { node: node.clone() });
    }
    /// It is time to look at the static pods of a node again.
    pub(crate) fn look_at_statics(&mut self, node: &Arc<str>) {
        self.starting.insert(node.clone());
    }
    /// Makes the mirror of a static pod that runs without one; the uid it has from then on.
    pub(super) fn mirror_again(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) -> Option<Arc<str>> {
        let run = self.runs.get(uid)?;
        let (node, pod) = (run.node.clone(), run.manifest.clone()?);
        let object = cx.node(&node).filter(|node| !is_deleting(&node.metadata)).cloned()?;
        let mirror = Kubelet::mirror(cx, &pod, &object);
        let Ok(stored) = cx.create_pod(mirror) else {
            self.retry(cx, &node);
            return None;
        };
        let new: Arc<str> = stored.object.uid().into();
        self.rename(uid, &new);
        if self.runs.get(&new).is_some_and(|run| !matches!(run.stage, Stage::Lost | Stage::Preempting)) {
            self.show(cx, &new, stored.object.as_pod()?);
            self.look(cx, &new);
        }
        Some(new)
    }
    /// A static pod goes on under the uid of another mirror.
    fn rename(&mut self, old: &str, new: &Arc<str>) {
        let Some(mut run) = self.runs.remove(old) else { return };
        self.residents.remove(old, &run);
        // The timer that is set is for the old uid.
        run.armed = None;
        run.turn += 1;
        self.residents.insert(new, &run);
        if let Some(shutdown) = self.hosts.get_mut(&run.node).and_then(|host| host.shutdown.as_mut()) {
            shutdown.rename(old, new);
        }
        if let Some(preemptor) = self.preempted.remove(old) {
            self.preempted.insert(new.clone(), preemptor);
        }
        for preemptor in self.preempted.values_mut().filter(|uid| ***uid == *old) {
            preemptor.clone_from(new);
        }
        self.runs.insert(new.clone(), run);
    }
    /// A node is heard again: mirrors that went meanwhile are made again, and its static pods looked at.
    pub(super) fn mirror_all_again(&mut self, cx: &mut Cx<'_>, node: &str) {
        self.starting.insert(node.into());
        for uid in self.on(node) {
            let lost = |run: &super::Run| {
                run.manifest.is_some() && cx.pod(&run.place.0, &run.place.1, &uid).is_none()
            };
            if self.runs.get(&uid).is_some_and(lost) {
                self.mirror_again(cx, &uid);
            }
        }
    }
    /// A machine is up again whose kubelet does not reach the API server: its static pods start all the same.
    pub(super) fn recover_statics(&mut self, cx: &mut Cx<'_>, node: &str) {
        for uid in self.on(node) {
            let Some(run) = self.runs.get(&uid).filter(|run| run.manifest.is_some()) else { continue };
            let started = cx.pod(&run.place.0, &run.place.1, &uid).is_some_and(|stored| {
                let status = stored.object.as_pod().and_then(|pod| pod.status.as_ref());
                status.is_some_and(|status| status.start_time.is_some())
            });
            if started && run.stage == Stage::Lost {
                self.recover(cx, &uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn manifests_are_read_for_a_node() {
        let manifest = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "proxy", "namespace": "kube-system", "labels": {"app": "proxy"}},
            "spec": {"hostNetwork": true, "containers": [{"name": "proxy", "image": "proxy:1"}]}});
        let pod = static_pod(manifest).unwrap();
        let start = Instant::parse("2026-05-01T09:00:00Z").unwrap();
        let own = read(pod.clone(), "Kr-1", start);
        assert_eq!(own.metadata.name.as_deref(), Some("proxy-kr-1"));
        assert_eq!(own.spec.as_ref().unwrap().node_name.as_deref(), Some("Kr-1"));
        let says = |key: &str| annotation(&own, key).unwrap().to_owned();
        assert_eq!((says(SOURCE).as_str(), says(SEEN).as_str()), ("file", "2026-05-01T09:00:00Z"));
        assert_eq!(says(HASH).len(), 32);
        assert_ne!(annotation(&read(pod.clone(), "kr-2", start), HASH), annotation(&own, HASH));
        let mut mirror = own.clone();
        mirror.metadata.annotations.as_mut().unwrap().insert(MIRROR.to_owned(), says(HASH));
        assert_eq!(shown_by(&mirror), Some(own));
        assert_eq!(shown_by(&pod), None);
    }
}
