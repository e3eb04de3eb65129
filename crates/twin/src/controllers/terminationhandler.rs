//! What is done about nodes whose machine is going to be taken away: as AWS's node termination handler does, the node is
//! tainted and cordoned at the notice, and its pods evicted while the notice lasts.
//!
//! Pods of DaemonSets and static pods stay; who a disruption budget keeps is asked again every 5 s, until the machine goes with whatever is
//! left on it. Left out: rebalance recommendations, and nodes that are told of maintenance.

use super::Cx;
use super::events::{About, Source};
use super::evictor::{Emptying, Progress, Ways};
use super::owned::controller;
use crate::apiserver::MIRROR;
use crate::kind::Kind;
use crate::object::Object;
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Pod, Taint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The taint it gives, by NoSchedule.
const TAINT: &str = "aws-node-termination-handler/spot-itn";
const SOURCE: Source<'static> = Source { component: "aws-node-termination-handler", host: None };

/// Nodes being emptied.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct TerminationHandler {
    emptying: BTreeMap<Arc<str>, Emptying>,
}

impl TerminationHandler {
    /// Whether no node is being emptied.
    pub(crate) fn is_idle(&self) -> bool {
        self.emptying.is_empty()
    }
    /// The machine of a node will be taken away at that instant.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>, name: &Arc<str>, at: Instant) {
        let Some(stored) = cx.objects.get(Kind::Node, "", name).cloned() else { return };
        let Object::Node(old) = &stored.object else { return };
        let mut node = old.clone();
        let spec = node.spec.get_or_insert_default();
        spec.unschedulable = Some(true);
        let taints = spec.taints.get_or_insert_default();
        if !taints.iter().any(|taint| taint.key == TAINT) {
            taints.push(Taint {
                key: TAINT.to_owned(),
                value: Some(at.as_unix_seconds().to_string()),
                effect: "NoSchedule".to_owned(),
                time_added: None,
            });
        }
        let message =
            format!("Spot ITN received. Instance will be interrupted at {}", at.to_rfc3339_seconds());
        cx.warning(&About::new(&stored.object), SOURCE, "SpotInterruption", message);
        cx.objects.put(Object::Node(node));
        let goes = |pod: &&Pod| {
            let spec = pod.spec.as_ref();
            let daemon = controller(&pod.metadata).is_some_and(|owner| owner.kind == "DaemonSet");
            let shown = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
            spec.and_then(|s| s.node_name.as_deref()) == Some(&**name) && !daemon && !shown
        };
        let ways = Ways {
            retry: Span::from_seconds(5),
            patience: at - cx.now,
            poll: Span::from_seconds(1),
            wait: at - cx.now,
            grace_max: None,
        };
        let pods = cx.objects.list(Kind::Pod, None).filter_map(|stored| stored.object.as_pod()).filter(goes);
        let emptying = Emptying::new(name, pods, ways, cx.now);
        self.emptying.insert(name.clone(), emptying);
        cx.timers.set(cx.now, Priority::Controller, Task::Termination { node: name.clone() });
    }
    /// Something is due.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>, node: &Arc<str>) {
        let Some(emptying) = self.emptying.get_mut(node) else { return };
        if emptying.step(cx) == Progress::Waits {
            let at = emptying.next;
            cx.timers.set(at, Priority::Controller, Task::Termination { node: node.clone() });
        } else {
            self.emptying.remove(node);
        }
    }
}
