//! A machine that is told to shut down: the kubelet delays that until its pods have ended, those of lower priority first.
//!
//! As kubelet's node shutdown manager, version 1.36: the node says that it is not ready and takes in no pod any more; pods are
//! put into groups by their priority, and each group has its time to end before the next is told to. A group is over when
//! all its pods have ended, at the latest when its time is; then the machine goes down, with whatever still runs. A kubelet
//! that is set no such time delays nothing. Invariant: a node that shuts down has its machine up. Left out: a shutdown that
//! is called off, and machines that their cloud takes away, which go down at once.

use super::sync::Why;
use super::{GRACE_SECONDS, Kubelet, Run, Stage, pressure};
use crate::controllers::{Cx, time};
use crate::object::Object;
use crate::world::{Priority, Task};
use fleet::{Instant, KubeletSpec, ShutdownGrace, Span};
use k8s_openapi::api::core::v1::NodeCondition;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What a kubelet says of its node when it hears of it.
const HEARD: (&str, &str) = ("NodeShutdown", "Shutdown manager detected shutdown event");
/// Why the node is not ready.
const NOT_READY: &str = "node is shutting down";
/// Reason and message of pods that ended for it.
pub(super) const ENDED: (&str, &str) =
    ("Terminated", "Pod was terminated in response to imminent node shutdown.");
/// Reason and message of pods that are not taken in.
pub(super) const REJECTED: (&str, &str) = ("NodeShutdown", "Pod was rejected as the node is shutting down.");

/// A shutdown on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Shutdown {
    /// Groups whose turn has not come, in order: how long each has, and its pods.
    left: VecDeque<(Span, Vec<Arc<str>>)>,
    /// Pods of the group whose turn it is that have not ended.
    ending: BTreeSet<Arc<str>>,
    /// When its time is over.
    until: Instant,
}

impl Shutdown {
    /// A pod goes on under another uid.
    pub(super) fn rename(&mut self, old: &str, new: &Arc<str>) {
        if self.ending.remove(old) {
            self.ending.insert(new.clone());
        }
        for uid in self.left.iter_mut().flat_map(|(_, pods)| pods).filter(|uid| ***uid == *old) {
            uid.clone_from(new);
        }
    }
}

/// The group of a pod of this priority: that of the highest priority stated which is not above it, else the lowest.
fn group_of(graces: &[ShutdownGrace], priority: i32) -> usize {
    graces.iter().rposition(|grace| grace.priority <= priority).unwrap_or(0)
}

/// Says of a node that it is not ready because it shuts down; once.
fn say_not_ready(cx: &mut Cx<'_>, name: &str) {
    let Some(node) = cx.node(name) else { return };
    let mut node = node.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    let before = conditions.iter_mut().find(|condition| condition.type_ == "Ready");
    let was = before.as_ref().map(|condition| (condition.status.clone(), condition.message.clone()));
    if was == Some(("False".to_owned(), Some(NOT_READY.to_owned()))) {
        return;
    }
    let since = before.as_ref().filter(|condition| condition.status == "False");
    let since = since.and_then(|condition| condition.last_transition_time.clone());
    let condition = NodeCondition {
        type_: "Ready".to_owned(),
        status: "False".to_owned(),
        reason: Some("KubeletNotReady".to_owned()),
        message: Some(NOT_READY.to_owned()),
        last_heartbeat_time: Some(time(cx.now)),
        last_transition_time: since.or_else(|| Some(time(cx.now))),
    };
    match before {
        Some(own) => *own = condition,
        None => conditions.push(condition),
    }
    cx.objects.put(Object::Node(Box::new(node)));
    if was.is_none_or(|(status, _)| status != "False") {
        let text = format!("Node {name} status is now: NodeNotReady");
        pressure::tell_of_node(cx, name, ("Normal", "NodeNotReady"), text);
    }
}

impl Kubelet {
    /// How a node's kubelet is set; `None`: its group is not known.
    pub(super) fn settings<'c>(&self, cx: &Cx<'c>, node: &str) -> Option<&'c KubeletSpec> {
        let group = self.hosts.get(node)?.group.as_deref()?;
        cx.spec.node_groups.iter().find(|own| own.name == group).map(|own| &own.kubelet)
    }
    /// A machine is told to shut down; whether its kubelet delays that.
    pub(crate) fn shut_down(&mut self, cx: &mut Cx<'_>, node: &str) -> bool {
        let graces = self.settings(cx, node).map_or(&[][..], |set| &set.shutdown[..]);
        let Some(host) = self.hosts.get(node).filter(|_| !graces.is_empty()) else { return false };
        if host.shutdown.is_some() {
            return true;
        }
        let mut groups: VecDeque<(Span, Vec<Arc<str>>)> =
            graces.iter().map(|own| (own.grace, Vec::new())).collect();
        for (uid, priority) in self.active(cx, node) {
            groups[group_of(graces, priority)].1.push(uid);
        }
        if let Some(host) = self.hosts.get_mut(node) {
            let (ending, until) = (BTreeSet::new(), cx.now);
            host.shutdown = Some(Shutdown { left: groups, ending, until });
        }
        if !self.is_cut(node) {
            pressure::tell_of_node(cx, node, ("Normal", HEARD.0), HEARD.1.to_owned());
            self.tell_of_shutdown(cx, node);
        }
        self.next_group(cx, node);
        true
    }
    /// Says of a node that shuts down that it is not ready; whether it shuts down.
    pub(super) fn tell_of_shutdown(&mut self, cx: &mut Cx<'_>, node: &str) -> bool {
        let Some(host) = self.hosts.get_mut(node).filter(|host| host.shutdown.is_some()) else {
            return false;
        };
        // It has to say that it is ready again once it is back.
        host.noticed = true;
        say_not_ready(cx, node);
        true
    }
    /// The pods a node has taken in and their priorities, by namespace and name.
    fn active(&mut self, cx: &Cx<'_>, node: &str) -> Vec<(Arc<str>, i32)> {
        let mut pods = Vec::new();
        for uid in self.on(node) {
            let Some(run) = self.runs.get(&uid) else { continue };
            let stored = cx.pod(&run.place.0, &run.place.1, &uid);
            let pod = stored.as_ref().and_then(|stored| stored.object.as_pod());
            let priority = pod.and_then(|pod| run.priority(pod)).unwrap_or(0);
            pods.push((run.place.clone(), uid, priority));
        }
        pods.sort();
        pods.into_iter().map(|(_, uid, priority)| (uid, priority)).collect()
    }
    /// The next group that has pods is told to end; after the last, the machine goes down.
    fn next_group(&mut self, cx: &mut Cx<'_>, node: &str) {
        loop {
            let Some(shutdown) = self.hosts.get_mut(node).and_then(|host| host.shutdown.as_mut()) else {
                return;
            };
            let Some((grace, mut pods)) = shutdown.left.pop_front() else { break };
            pods.retain(|uid| self.runs.contains_key(uid));
            if pods.is_empty() {
                continue;
            }
            (shutdown.until, shutdown.ending) = (cx.now + grace, pods.iter().cloned().collect());
            cx.timers.set(shutdown.until, Priority::Kubelet, Task::Shutdown { node: node.into() });
            for uid in pods {
                self.terminate(cx, &uid, grace);
            }
            return;
        }
        if let Some(host) = self.hosts.get_mut(node) {
            host.shutdown = None;
            self.off.push(node.into());
        }
    }
    /// Tells a pod to end because its node shuts down.
    fn terminate(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, grace: Span) {
        let Some(place) = self.runs.get(uid).map(|run| run.place.clone()) else { return };
        let Some(stored) = cx.pod(&place.0, &place.1, uid) else { return };
        let Some(pod) = stored.object.as_pod() else { return };
        self.save(cx, uid, pod);
        let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = own.unwrap_or(GRACE_SECONDS).min(grace.as_seconds());
        self.end_run(cx, uid, Why::Shutdown, seconds);
    }
    /// Has a pod come to its end, wherever it is.
    pub(super) fn end_run(&mut self, cx: &mut Cx<'_>, uid: &Arc<str>, why: Why, grace_seconds: i64) {
        let runs = |run: &&mut Run| !matches!(run.stage, Stage::Lost | Stage::Refused | Stage::Preempting);
        let Some(run) = self.runs.get_mut(uid).filter(runs) else { return };
        run.stage = Stage::Live;
        run.end(why, grace_seconds, cx.now);
        self.look(cx, uid);
    }
    /// The time of a group is over.
    pub(crate) fn group_is_late(&mut self, cx: &mut Cx<'_>, node: &str) {
        let shutdown = self.hosts.get_mut(node).and_then(|host| host.shutdown.as_mut());
        if shutdown.is_some_and(|shutdown| shutdown.until <= cx.now) {
            self.next_group(cx, node);
        }
    }
    /// A pod has ended that its node, or a critical pod, may wait for.
    pub(super) fn note_end(&mut self, node: &Arc<str>, uid: &str) {
        self.freed.extend(self.preempted.remove(uid));
        let Some(shutdown) = self.hosts.get_mut(node).and_then(|host| host.shutdown.as_mut()) else { return };
        if shutdown.ending.remove(uid) && shutdown.ending.is_empty() {
            self.ended_groups.insert(node.clone());
        }
    }
    /// Goes on with shutdowns whose group has ended.
    pub(super) fn go_on_shutting_down(&mut self, cx: &mut Cx<'_>) -> bool {
        let nodes = std::mem::take(&mut self.ended_groups);
        for node in &nodes {
            let shutdown = self.hosts.get(node).and_then(|host| host.shutdown.as_ref());
            if shutdown.is_some_and(|shutdown| shutdown.ending.is_empty()) {
                self.next_group(cx, node);
            }
        }
        !nodes.is_empty()
    }
    /// The machines that have shut down since that was last asked: they are off now.
    pub(crate) fn take_off(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_count_as_of_the_highest_priority_that_is_not_above_theirs() {
        let grace = |priority| ShutdownGrace { priority, grace: Span::from_seconds(1) };
        let graces = [grace(-10), grace(0), grace(1000), grace(2_000_000_000)];
        let groups = [-11, -10, -1, 0, 999, 1000, 1001, 1_999_999_999, 2_000_001_000];
        assert_eq!(groups.map(|priority| group_of(&graces, priority)), [0, 0, 0, 1, 1, 2, 2, 2, 3]);
    }
}
