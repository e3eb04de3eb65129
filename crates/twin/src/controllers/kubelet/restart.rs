//! Restarts of containers with back-off, and machines that go down and come back.

use super::{CONTAINER_START, EXIT_LOST, Kubelet, Step, podstatus};
use crate::controllers::events::About;
use crate::controllers::{Cx, is_deleting, is_terminal};
use crate::kind::Kind;
use crate::object::Object;
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// First delay before a container is started again, and the longest; forgotten after a run of 10 min.
const BACKOFF_FIRST: Span = Span::from_seconds(10);
const BACKOFF_MAX: Span = Span::from_seconds(300);
/// How long a node may be silent before the control plane holds it for lost (`--node-monitor-grace-period`).
const SILENCE: Span = Span::from_seconds(50);

impl Kubelet {
    /// The containers of a pod have ended and are to be started again.
    pub(super) fn back_off(
        &mut self,
        cx: &mut Cx<'_>,
        uid: &Arc<str>,
        object: &Object,
        pod: &Pod,
        (since, exit_code): (Instant, i32),
    ) {
        // The reset after a long run only shortens the delay; the count shown stays.
        let long_run = cx.now - since >= BACKOFF_MAX.scaled(2, 1);
        let doublings = if long_run { 0 } else { podstatus::restarts(pod).clamp(0, 10) };
        let delay = BACKOFF_FIRST.scaled(1 << doublings, 1).min(BACKOFF_MAX);
        let mut next = pod.clone();
        podstatus::backing_off(&mut next, since, exit_code, cx.now, delay.as_seconds());
        cx.put_pod(next);
        let node = self.runs.get(uid).map(|run| run.node.clone());
        if let Some((node, host)) = node.and_then(|n| self.hosts.get(&n).map(|h| (n.clone(), h))) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            for container in pod.spec.iter().flat_map(|s| &s.containers) {
                let about = About::new(object).container(&container.name);
                let text = format!("Back-off restarting failed container {} in pod {name}", container.name);
                cx.warning(&about, host.source(&node), "BackOff", text);
            }
        }
        self.turn(cx, uid, Step::BackOff, Some(cx.now + delay));
    }
    /// The back-off is over.
    pub(super) fn again(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, pod: &Pod) {
        let object = Object::Pod(Box::new(pod.clone()));
        self.start(cx, uid, &object, pod);
    }
    /// Whether a machine is known and up.
    pub(crate) fn is_up(&self, node: &str) -> Option<bool> {
        self.hosts.get(node).map(|host| !host.down)
    }
    /// A machine goes down: what runs on it is lost, and after a while its silence is noticed.
    pub(crate) fn machine_down(&mut self, cx: &mut Cx<'_>, node: &str) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        host.down = true;
        host.turn += 1;
        let task = Task::Silence { node: node.into(), turn: host.turn };
        cx.timers.set(cx.now + SILENCE, Priority::Controller, task);
        for run in self.runs.values_mut().filter(|run| &*run.node == node) {
            run.turn += 1;
            run.step = Step::Lost;
        }
    }
    /// Whether the silence of a machine is to be acted on.
    pub(crate) fn notice(&mut self, node: &str, turn: u32) -> bool {
        let Some(host) = self.hosts.get_mut(node) else { return false };
        let due = host.down && host.turn == turn;
        host.noticed |= due;
        due
    }
    /// A machine comes up again: what was lost on it is restarted, or reported as failed. Returns
    /// whether the control plane had noticed its absence.
    pub(crate) fn machine_up(&mut self, cx: &mut Cx<'_>, node: &str) -> bool {
        let Some(host) = self.hosts.get_mut(node) else { return false };
        host.down = false;
        host.turn += 1;
        let noticed = std::mem::take(&mut host.noticed);
        let lost: Vec<Arc<str>> =
            self.runs.iter().filter(|(_, run)| &*run.node == node).map(|(uid, _)| uid.clone()).collect();
        for uid in lost {
            self.recover(cx, &uid);
        }
        noticed
    }
    fn recover(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) {
        let Some(place) = self.runs.get(uid).map(|run| run.place.clone()) else { return };
        let Some(stored) = cx.pod(&place.0, &place.1, uid) else { return };
        let Object::Pod(pod) = &stored.object else { return };
        let pending = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).is_none();
        let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always");
        if is_deleting(&pod.metadata) {
            self.stopped(cx, uid, pod);
            cx.finish_delete(Kind::Pod, &place.0, &place.1);
        } else if pending {
            self.forget(uid);
            self.admit(cx, place, uid.clone(), pod);
        } else if policy == "Never" && !is_terminal(pod) {
            let mut next = pod.clone();
            podstatus::ended(&mut next, cx.now, EXIT_LOST, cx.now);
            cx.put_pod(next);
            self.forget(uid);
        } else {
            let mut next = pod.clone();
            podstatus::backing_off(&mut next, cx.now, EXIT_LOST, cx.now, 0);
            cx.put_pod(next);
            self.turn(cx, uid, Step::Starting, Some(cx.now + CONTAINER_START));
        }
    }
}
