//! Machines that go down and come back.

use super::fault::{FULL_SPEED, slowed};
use super::unit::{End, Reason, State};
use super::{EXIT_KILLED, Kubelet, SANDBOX, Stage};
use crate::controllers::{Cx, is_deleting};
use crate::kind::Kind;
use crate::object::Object;
use crate::work::Role;
use crate::world::{Priority, Task};
use fleet::Span;
use std::sync::Arc;

/// How long a node may be silent before the control plane holds it for lost (`--node-monitor-grace-period`).
pub(super) const SILENCE: Span = Span::from_seconds(50);

impl Kubelet {
    /// Whether a machine is known and up.
    pub(crate) fn is_up(&self, node: &str) -> Option<bool> {
        self.hosts.get(node).map(|host| !host.down)
    }
    /// Whether a machine will not come back, though its node is still there.
    pub(crate) fn is_gone(&self, node: &str) -> bool {
        self.hosts.get(node).is_some_and(|host| host.gone)
    }
    /// A machine goes down: what runs on it is lost, and after a while its silence is noticed.
    pub(crate) fn machine_down(&mut self, cx: &mut Cx<'_>, node: &str) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        (host.down, host.shutdown) = (true, None);
        // Who is cut off has fallen silent before.
        if !host.cut {
            host.turn += 1;
            let task = Task::Silence { node: node.into(), turn: host.turn };
            cx.timers.set(cx.now + SILENCE, Priority::Controller, task);
        }
        for run in self.runs.values_mut().filter(|run| &*run.node == node) {
            run.turn += 1;
            run.armed = None;
            run.stage = Stage::Lost;
        }
    }
    /// A machine is gone for good, with all that ran on it; its node will be.
    pub(crate) fn machine_gone(&mut self, node: &str) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        (host.down, host.gone, host.shutdown) = (true, true, None);
        host.turn += 1;
        self.deferred.remove(node);
        for run in self.runs.values_mut().filter(|run| &*run.node == node) {
            run.turn += 1;
            run.armed = None;
            run.stage = Stage::Lost;
        }
    }
    /// Whether the silence of a machine is to be acted on.
    pub(crate) fn notice(&mut self, node: &str, turn: u32) -> bool {
        let Some(host) = self.hosts.get_mut(node) else { return false };
        let due = (host.down || host.cut) && host.turn == turn;
        host.noticed |= due;
        due
    }
    /// A machine comes up again: what was lost on it is restarted, or reported as failed. Returns
    /// whether the control plane had noticed its absence. One that is cut off waits until it is not: it knows of no pod before
    /// but its static ones.
    pub(crate) fn machine_up(&mut self, cx: &mut Cx<'_>, node: &str) -> bool {
        let Some(host) = self.hosts.get_mut(node) else { return false };
        (host.down, host.anew) = (false, true);
        if self.is_cut(node) {
            self.recover_statics(cx, node);
        }
        self.hear(cx, node)
    }
    /// Starts a pod again that was lost with its machine, or reports it.
    pub(super) fn recover(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) {
        let Some(place) = self.runs.get(uid).map(|run| run.place.clone()) else { return };
        let Some(stored) = cx.pod(&place.0, &place.1, uid) else { return };
        let Object::Pod(pod) = &stored.object else { return };
        let Some(spec) = &pod.spec else { return };
        let pending = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).is_none();
        if pending && !is_deleting(&pod.metadata) {
            let manifest = self.runs.get_mut(uid).and_then(|run| run.manifest.take());
            self.forget(uid);
            self.admit(cx, place, uid.clone(), pod, manifest);
            return;
        }
        let unheard = self.runs.get(uid).is_some_and(|run| self.is_cut(&run.node));
        let Some(run) = self.runs.get_mut(uid) else { return };
        run.stage = Stage::Live;
        let speed = self.hosts.get(&run.node).map_or(FULL_SPEED, |host| host.speed_percent);
        run.sandbox_at = cx.now + slowed(SANDBOX, speed);
        for at in 0..run.units.len() {
            let lost = run.units[at].running().map(|running| running.since);
            if let Some(since) = lost {
                let end = End {
                    since: Some(since),
                    at: cx.now,
                    code: EXIT_KILLED,
                    reason: Reason::Unknown,
                    message: None,
                };
                run.finish(at, end);
            } else if !matches!(run.units[at].state, State::Ended { .. }) {
                run.units[at].state = State::Waiting;
            }
        }
        // In a new sandbox the init containers run again, where anything does.
        let again = spec.restart_policy.as_deref() != Some("Never");
        for at in 0..run.inits {
            let role = super::scene::container(spec, at).map(|(_, role)| role);
            if again && role == Some(Role::Init) {
                run.units[at].state = State::Waiting;
            }
        }
        if is_deleting(&pod.metadata) && !unheard {
            self.stop(cx, uid, pod);
            cx.finish_delete(Kind::Pod, &place.0, &place.1);
        } else {
            self.look(cx, uid);
        }
    }
}
