//! What kubelets do under faults: cut off from the API server, on a slow machine, with no registry, on a full disk.
//!
//! A kubelet that is cut off goes on with the pods it has, by the last it heard of them: containers end, are started again
//! and are probed. It hears of no new pod and of no deletion, and what it says is not heard: statuses are told once it is
//! back, events are lost (the real ones are tried for two minutes). Its Lease is not renewed either, so after a while its
//! node is held for lost. Invariants: nothing of a node that is cut off is written, and a pod that runs there goes on
//! holding its node. Left out: a pod deleted by force meanwhile ends with its object, not when the node is back; a kubelet
//! that is cut off evicts nobody.

use super::restart::SILENCE;
use super::unit::Doing;
use super::{Kubelet, Stage};
use crate::controllers::Cx;
use crate::kind::Kind;
use crate::object::Object;
use crate::world::{Priority, Task};
use fleet::Span;
use std::sync::Arc;

/// Speed of a machine as it ought to be, percent.
pub(super) const FULL_SPEED: u32 = 100;

/// How long something takes at so many percent of the speed.
pub(super) fn slowed(span: Span, percent: u32) -> Span {
    if percent == FULL_SPEED {
        return span;
    }
    span.scaled(i64::from(FULL_SPEED), i64::from(percent.max(1)))
}

impl Kubelet {
    /// Whether nothing is heard from a node's kubelet, nor by it, though its machine is up.
    pub(super) fn is_cut(&self, node: &str) -> bool {
        self.mute || self.hosts.get(node).is_some_and(|host| host.cut)
    }
    /// A node is cut off from the API server; after a while its silence is noticed.
    pub(crate) fn cut(&mut self, cx: &mut Cx<'_>, node: &str) {
        let Some(host) = self.hosts.get_mut(node).filter(|host| !host.cut) else { return };
        host.cut = true;
        // Who is down has fallen silent before.
        if !host.down {
            host.turn += 1;
            let task = Task::Silence { node: node.into(), turn: host.turn };
            cx.timers.set(cx.now + SILENCE, Priority::Controller, task);
        }
    }
    /// A node that was cut off is heard again; whether the control plane had noticed.
    pub(crate) fn rejoin(&mut self, cx: &mut Cx<'_>, node: &str) -> bool {
        let Some(host) = self.hosts.get_mut(node).filter(|host| host.cut) else { return false };
        host.cut = false;
        self.hear(cx, node)
    }
    /// No kubelet reaches the API server.
    pub(crate) fn mute_all(&mut self) {
        self.mute = true;
    }
    /// The API server is back; the nodes that had been held for lost and are not.
    pub(crate) fn unmute_all(&mut self, cx: &mut Cx<'_>) -> Vec<Arc<str>> {
        if !std::mem::take(&mut self.mute) {
            return Vec::new();
        }
        let nodes: Vec<Arc<str>> = self.hosts.keys().cloned().collect();
        nodes.into_iter().filter(|node| self.hear(cx, node)).collect()
    }
    /// A kubelet hears of what was done meanwhile and tells what it did, unless it still cannot; whether its node had been
    /// held for lost.
    pub(super) fn hear(&mut self, cx: &mut Cx<'_>, node: &str) -> bool {
        if self.is_cut(node) {
            return false;
        }
        let Some(host) = self.hosts.get_mut(node).filter(|host| !host.down) else { return false };
        host.turn += 1;
        let noticed = std::mem::take(&mut host.noticed);
        self.mirror_all_again(cx, node);
        let own: Vec<(Arc<str>, Stage)> = self
            .runs
            .iter()
            .filter(|(_, run)| &*run.node == node)
            .map(|(uid, r)| (uid.clone(), r.stage))
            .collect();
        for (uid, stage) in own {
            match stage {
                Stage::Lost => self.recover(cx, &uid),
                _ => self.catch_up(cx, &uid),
            }
        }
        // Pods it has not heard of yet, or has done with.
        for stored in cx.objects.list(Kind::Pod, None) {
            let on = stored.object.as_pod().and_then(|pod| pod.spec.as_ref()?.node_name.as_deref());
            if on == Some(node) && !self.runs.contains_key(stored.object.uid()) {
                let place = (stored.object.namespace().into(), stored.object.name().into());
                self.dirty.push((place, stored.object.uid().into()));
            }
        }
        // Until it has shut down it is not ready.
        !self.tell_of_shutdown(cx, node) && noticed
    }
    /// A pod that went on unheard: what was asked of it meanwhile is done, and how it is is told.
    fn catch_up(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>) {
        let Some(run) = self.runs.get_mut(uid) else { return };
        if run.stage == Stage::Refused {
            let again = cx.now + super::REFUSAL;
            run.arm(cx, uid, Some(again));
        }
        let place = run.place.clone();
        let Some(stored) = cx.pod(&place.0, &place.1, uid) else { return };
        let Object::Pod(pod) = &stored.object else { return };
        if super::is_deleting(&pod.metadata) {
            return self.stop(cx, uid, pod);
        }
        if self.runs.get(uid).is_some_and(|run| !matches!(run.stage, Stage::Refused | Stage::Preempting)) {
            self.mounted(cx, uid, pod);
            self.show(cx, uid, pod);
            self.look(cx, uid);
        }
    }
    /// Whether images can be pulled.
    pub(crate) fn set_registry(&mut self, there: bool) {
        self.no_registry = !there;
    }
    /// Something beside the pods uses so many bytes of a node's disk.
    pub(crate) fn fill_disk(&mut self, cx: &mut Cx<'_>, node: &str, bytes: i64) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        host.litter = bytes.max(0);
        self.watch_node(cx, &node.into(), cx.now);
    }
    /// A machine goes on at so many percent of its speed: what runs takes longer, or less long again.
    pub(crate) fn set_speed(&mut self, cx: &mut Cx<'_>, node: &str, percent: u32) {
        let Some(host) = self.hosts.get_mut(node) else { return };
        let percent = percent.clamp(1, FULL_SPEED);
        let before = std::mem::replace(&mut host.speed_percent, percent);
        if before == percent {
            return;
        }
        let live = |run: &super::Run| &*run.node == node && run.stage == Stage::Live;
        let uids: Vec<Arc<str>> =
            self.runs.iter().filter(|(_, run)| live(run)).map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            let Some(run) = self.runs.get_mut(&uid) else { continue };
            for running in run.units.iter_mut().filter_map(|unit| unit.running_mut()) {
                if let Doing::Until { at: Some(at), .. } = &mut running.doing
                    && *at > cx.now
                {
                    *at = cx.now.saturating_add((*at - cx.now).scaled(i64::from(before), i64::from(percent)));
                }
            }
            self.look(cx, &uid);
        }
    }
    /// Percent of its speed at which a pod's machine works.
    pub(crate) fn speed_percent(&self, uid: &str) -> u32 {
        let host = self.runs.get(uid).and_then(|run| self.hosts.get(&run.node));
        host.map_or(FULL_SPEED, |host| host.speed_percent)
    }
}
