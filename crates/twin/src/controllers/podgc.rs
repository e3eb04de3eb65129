//! `podgc`: takes away pods bound to nodes that no longer exist, those told to go on nodes that are tainted as out of
//! service, and those told to go before they had a node. (The real controller looks every 20 s, and waits 40 s in case a node comes back; a twin's node object does
//! not come back by itself.)
//!
//! Of pods that have ended it keeps 12,500: every 20 s it takes away as many as there are above that, evicted ones
//! first, then the oldest.

use super::node::{OUT_OF_SERVICE, is_ready, is_tainted};
use super::owned::place;
use super::{Cx, Place, is_deleting, is_terminal};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Stored};
use crate::world::{Priority, Task};
use fleet::Span;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::sync::Arc;

/// Pods that have ended and stay: the controller manager's `--terminated-pod-gc-threshold`.
const ENDED_MAX: usize = 12_500;
/// How often it looks at them.
const PERIOD: Span = Span::from_seconds(20);

/// The controller's state: pods to take away. Empty at rest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PodGc {
    /// How many pods that have ended stay.
    #[serde(skip, default = "ended_max")]
    pub(crate) keep: usize,
    #[serde(skip)]
    orphans: Vec<Place>,
    /// How many pods there are that have ended.
    #[serde(default)]
    ended: usize,
    /// Pods beyond those that stay.
    #[serde(skip)]
    surplus: Vec<Place>,
    /// Whether a look is due.
    #[serde(default)]
    looks: bool,
}

const fn ended_max() -> usize {
    ENDED_MAX
}

impl Default for PodGc {
    fn default() -> PodGc {
        PodGc { keep: ENDED_MAX, orphans: Vec::new(), ended: 0, surplus: Vec::new(), looks: false }
    }
}

/// The pods of `all` to take away, so that `keep` of those that have ended stay.
fn surplus<'a>(all: impl Iterator<Item = &'a Object>, keep: usize) -> Vec<Place> {
    let evicted = |pod: &Pod| pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
    let order = |object: &'a Object| {
        let pod = object.as_pod().filter(|pod| is_terminal(pod))?;
        let created = pod.metadata.creation_timestamp.as_ref().map(|at| at.0);
        Some((Reverse(evicted(pod)), created, object.name(), object.namespace()))
    };
    let mut ended: Vec<_> = all.filter_map(order).collect();
    ended.sort();
    ended.truncate(ended.len().saturating_sub(keep));
    ended.into_iter().map(|(.., name, namespace)| (namespace.into(), name.into())).collect()
}

fn pods<'a>(cx: &'a Cx<'_>) -> impl Iterator<Item = &'a Object> {
    cx.objects.list(Kind::Pod, None).map(|stored| &stored.object)
}

/// Whether somebody said that a node that does not answer is really down.
fn is_out_of_service(node: &Node) -> bool {
    !is_ready(node) && is_tainted(node, OUT_OF_SERVICE)
}

impl PodGc {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let object = &change.object.object;
        let gone = change.kind == ChangeKind::Deleted;
        match object {
            Object::Node(node) => {
                if !gone && !is_out_of_service(node) {
                    return;
                }
                for object in pods(cx) {
                    let Some(pod) = object.as_pod() else { continue };
                    let on = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
                    if on == node.metadata.name.as_deref() && (gone || is_deleting(&pod.metadata)) {
                        self.orphans.push(place(object));
                    }
                }
            }
            Object::Pod(pod) => {
                let ended = |stored: &Arc<Stored>| stored.object.as_pod().is_some_and(is_terminal);
                self.ended += usize::from(!gone && is_terminal(pod));
                self.ended -= usize::from(change.previous.as_ref().is_some_and(ended));
                let on = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
                let nowhere =
                    on.is_none() || on.and_then(|node| cx.node(node)).is_some_and(is_out_of_service);
                if !gone && is_deleting(&pod.metadata) && nowhere {
                    self.orphans.push(place(object));
                }
            }
            _ => {}
        }
    }
    /// The time has come to look how many pods have ended.
    pub(crate) fn wake(&mut self, cx: &Cx<'_>) {
        self.looks = false;
        self.surplus = surplus(pods(cx), self.keep);
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let any = !self.orphans.is_empty() || !self.surplus.is_empty();
        for (namespace, name) in self.orphans.drain(..) {
            cx.finish_delete(Kind::Pod, &namespace, &name);
        }
        for (namespace, name) in self.surplus.drain(..) {
            cx.delete(Kind::Pod, &namespace, &name);
        }
        if self.ended > self.keep && !self.looks {
            self.looks = true;
            let at = cx.now.floor_to(PERIOD) + PERIOD;
            cx.timers.set(at, Priority::Controller, Task::EndedPods);
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::surplus;
    use crate::apiserver::{Options, Verb};
    use crate::kind::Kind;
    use crate::object::Object;
    use crate::{Request, World};
    use fleet::{ClusterId, Instant, Span};
    use serde_json::{from_value, json};

    fn pod(name: &str, created: u32, phase: &str, reason: Option<&str>) -> Object {
        let created = format!("2026-05-01T09:00:{created:02}Z");
        let metadata = json!({"namespace": "default", "name": name, "creationTimestamp": created});
        let status = json!({"phase": phase, "reason": reason});
        Object::Pod(from_value(json!({"metadata": metadata, "status": status})).unwrap())
    }

    #[test]
    fn evicted_pods_go_first_then_the_oldest() {
        let all = [
            pod("young", 9, "Failed", None),
            pod("runs", 0, "Running", None),
            pod("old", 1, "Succeeded", None),
            pod("evicted-late", 8, "Failed", Some("Evicted")),
            pod("evicted", 7, "Failed", Some("Evicted")),
            pod("twin-b", 2, "Succeeded", None),
            pod("twin-a", 2, "Succeeded", None),
        ];
        let gone = |keep| -> Vec<_> {
            surplus(all.iter(), keep).into_iter().map(|(_, name)| name.to_string()).collect()
        };
        let order = ["evicted", "evicted-late", "old", "twin-a", "twin-b", "young"];
        assert_eq!(gone(0), order);
        assert_eq!(gone(2), order[..4]);
        assert!(gone(6).is_empty() && gone(7).is_empty());
    }

    #[test]
    fn every_twenty_seconds_those_beyond_what_is_kept_go() {
        let file = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
clusters: [{name: kr, region: ap-northeast-2, nodeGroups: [{name: g, instanceType: m6i.large, count: 1}]}]
";
        let kr = ClusterId::new("kr").unwrap();
        let start = Instant::parse("2026-05-01T00:00:00Z").unwrap();
        let mut world = World::new(&fleet::file::parse(file).unwrap(), start, 1);
        world.keep_ended(&kr, 3);
        world.advance_to(start + Span::from_seconds(1));
        for n in 0..5 {
            // Each asks a node for more than it has, and fails.
            let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "100"}}});
            let spec = json!({"nodeName": "kr-g-1", "containers": [container]});
            let body =
                json!({"metadata": {"name": format!("pod-{n}"), "namespace": "default"}, "spec": spec});
            let request = Request {
                verb: Verb::Create,
                kind: Kind::Pod,
                namespace: "default".to_owned(),
                name: String::new(),
                subresource: None,
                body,
                options: Options::default(),
            };
            world.request(&kr, &request).unwrap();
        }
        let pods = |world: &World| -> Vec<String> {
            let all = world.objects(&kr).unwrap().list(Kind::Pod, Some("default"));
            all.map(|stored| stored.object.name().to_owned()).collect()
        };
        world.advance_to(start + Span::from_seconds(19));
        assert_eq!(pods(&world).len(), 5);
        world.advance_to(start + Span::from_seconds(20));
        assert_eq!(pods(&world), ["pod-2", "pod-3", "pod-4"]);
    }
}
