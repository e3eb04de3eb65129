//! `karpenter`: asks for machines for pods that fit nowhere, each of the cheapest type that fits, and takes away or replaces
//! nodes that are not worth their price, as Karpenter 1.14 does, in clusters whose fleet file says so.
//!
//! [`provisioning`] gathers pods and asks for machines, [`packing`] says where pods would go, tried in a [`scene`] made of
//! the scheduler's own filters and of what each [`offer`] would be; [`disruption`] looks for nodes to take away,
//! [`consolidation`] says what becomes of them and [`budgets`] how many may go at a time; [`termination`] drains them;
//! [`claims`] is what is known of each machine, [`pods`] what is asked of pods. It looks when something is due, and again
//! only when something has changed that may matter. Invariants: what comes out does not depend on looks that find nothing
//! (`tests.rs`); limits and budgets hold at every look. Left out: NodePool and NodeClaim as objects (pools are the fleet
//! file's, and what the real one says of a NodeClaim is said of its Node once there is one), drift, `Balanced`, preferences
//! of pods, the taint `karpenter.sh/unregistered`.

mod budgets;
mod claims;
mod consolidation;
mod disruption;
mod offer;
mod packing;
mod pods;
mod provisioning;
mod scene;
mod termination;
#[cfg(test)]
mod tests;

use super::clusterautoscaler::matters;
use super::events::{About, Source};
use super::log::Log;
use super::scheduler::Scheduler;
use super::{Cx, is_deleting, is_terminal};
use crate::cloud::{Cloud, Stage};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task};
use claims::NodeClaim;
use disruption::{Command, Validation};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use provisioning::Batch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

const SOURCE: Source<'static> = Source { component: "karpenter", host: None };
const API_VERSION: &str = "karpenter.sh/v1";
/// How long after whole multiples of its interval it looks, so that what people do at whole seconds comes before.
const PHASE: Span = Span::from_millis(7);
/// How long a node is left alone to which pods are thought to come: twice as long as a batch may take, at least so long.
const NOMINATION_MIN: Span = Span::from_seconds(10);

/// What was asked for, by name.
type NodeClaims = BTreeMap<Arc<str>, NodeClaim>;

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Karpenter {
    /// Whether it is there.
    on: bool,
    /// Whether something has changed since it last ran.
    heard: bool,
    /// When it runs next though nothing changes, and for when a timer is set.
    due: Option<Instant>,
    armed: Option<Instant>,
    claims: NodeClaims,
    /// Until when offerings are not to be had.
    unavailable: scene::Unavailable,
    /// How long nodes are nominated.
    nomination: Span,
    batch: Option<Batch>,
    /// Whether pods wait, whether anything has changed since they were last looked at, and when that was.
    waits: bool,
    unsettled: bool,
    provisioned_at: Option<Instant>,
    commands: Vec<Command>,
    validation: Option<Validation>,
    /// When it last looked for nodes to disrupt, and whether anything has changed since.
    looked_at: Instant,
    stale: bool,
    /// Nodes whose machine will be taken away, news of which has not been acted on.
    interrupted: Vec<Arc<str>>,
    /// When a pod ceases to be held by its annotation, as of the last look.
    held_until: Option<Instant>,
    /// What was said last, by reason and name; and to pods, by uid.
    told: BTreeMap<Arc<str>, String>,
    told_pods: BTreeMap<Arc<str>, String>,
    /// What it would have logged.
    pub(crate) said: Log,
    /// Looks every time, whether or not it may matter.
    #[cfg(test)]
    #[serde(skip)]
    pub(crate) every: bool,
}

/// What is to be said of a node or a pool; without a message, what was said is no longer so.
struct Said {
    name: Arc<str>,
    of_pool: bool,
    reason: &'static str,
    message: Option<String>,
}

impl Said {
    fn of_node(node: &Arc<str>, reason: &'static str, message: String) -> Said {
        Said { name: node.clone(), of_pool: false, reason, message: Some(message) }
    }
    fn of_pool(pool: &str, message: String, holds: bool) -> Said {
        let message = Some(message).filter(|_| holds);
        Said { name: pool.into(), of_pool: true, reason: "DisruptionBlocked", message }
    }
}

/// A NodeClaim, for what is said before it has a node.
fn about_claim(name: &str) -> About<'_> {
    About::apart(API_VERSION, "NodeClaim", name)
}

fn about_pool(name: &str) -> About<'_> {
    About::apart(API_VERSION, "NodePool", name)
}

/// Says something of a node, if it is there.
fn say_of(cx: &mut Cx<'_>, node: &str, what: (&str, &str), message: String) {
    cx.tell((Kind::Node, "", node), SOURCE, what, message);
}

/// The node on which a change of a pod counts: it came, ended, was told to go, or is gone.
fn pod_event(change: &Change) -> Option<&str> {
    let pod = change.object.object.as_pod()?;
    let node = pods::node_of(pod).filter(|_| !pods::is_daemon(pod))?;
    let before = change.previous.as_ref().and_then(|previous| previous.object.as_pod());
    let state = |pod: &Pod| (pods::node_of(pod).is_some(), is_terminal(pod), is_deleting(&pod.metadata));
    let same = change.kind == ChangeKind::Modified && before.is_some_and(|old| state(old) == state(pod));
    (!same).then_some(node)
}

impl Karpenter {
    /// Whether it is not there.
    pub(crate) fn is_off(&self) -> bool {
        !self.on
    }
    /// Sets it to work where the fleet file says so; once, when the world begins.
    pub(crate) fn begin(&mut self, cx: &Cx<'_>) {
        let Some(set) = &cx.spec.karpenter else { return };
        self.nomination = set.batch.1.scaled(2, 1).max(NOMINATION_MIN);
        (self.on, self.heard, self.looked_at) = (true, true, cx.now + PHASE);
    }
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        if !self.on {
            return;
        }
        let object = &change.object.object;
        if let Object::Pod(pod) = object {
            let before = change.previous.as_ref().and_then(|previous| previous.object.as_pod());
            let gone = change.kind == ChangeKind::Deleted;
            if !gone && pods::is_provisionable(pod) && !before.is_some_and(pods::is_provisionable) {
                self.trigger(object.uid(), cx.now);
            }
            if let Some(claim) = pod_event(change).and_then(|node| self.claims.get_mut(node)) {
                claim.note_pod(cx.now);
            }
        }
        let detached = object.kind().resource().plural == "volumeattachments";
        if detached || matters(change) {
            (self.heard, self.stale, self.unsettled) = (true, true, true);
        }
    }
    /// A timer fired: what is due is seen when it runs.
    pub(crate) fn wake(&mut self, cx: &Cx<'_>) {
        if self.armed == Some(cx.now) {
            self.armed = None;
        }
    }
    #[cfg(test)]
    fn every(&self) -> bool {
        self.every
    }
    #[cfg(not(test))]
    fn every(&self) -> bool {
        false
    }
    /// A spot machine will be taken away: its node is drained while the notice lasts. Whether it is one of Karpenter's.
    pub(crate) fn interrupt(&mut self, cx: &mut Cx<'_>, node: &Arc<str>) -> bool {
        if !self.claims.contains_key(node) {
            return false;
        }
        (self.heard, self.stale, self.unsettled) = (true, true, true);
        let message = "Spot interruption warning was triggered".to_owned();
        say_of(cx, node, ("Warning", "SpotInterrupted"), message);
        self.interrupted.push(node.clone());
        true
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, scheduler: &mut Scheduler) -> bool {
        if !self.on {
            return false;
        }
        if cloud.take_touched() {
            (self.heard, self.stale, self.unsettled) = (true, true, true);
        }
        if !self.heard && self.due.is_none_or(|at| at > cx.now) {
            // The timer that went off was for something that is done already.
            self.set_timer(cx);
            return false;
        }
        self.heard = false;
        let version = cx.objects.version();
        for node in std::mem::take(&mut self.interrupted) {
            self.lost(cx, cloud, &node);
        }
        self.follow(cx, cloud);
        self.go_on(cx, cloud);
        self.drain(cx, cloud);
        self.provision(cx, cloud, scheduler);
        if self.disruption_due(cx).is_some_and(|at| at <= cx.now) {
            self.disrupt(cx, cloud, scheduler);
        }
        self.arm(cx, cloud);
        cx.objects.version() != version
    }
    /// The machine of a node will be taken away; there are none like it for a while.
    fn lost(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, node: &Arc<str>) {
        if let Some(machine) = cloud.machines().get(node) {
            self.unavailable.insert(machine.group.clone(), cx.now + provisioning::UNAVAILABLE);
        }
        self.terminate(cx, cloud, node, None);
    }
    /// Goes on with nodes that are being taken away.
    fn drain(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud) {
        let names: Vec<Arc<str>> = self.claims.keys().cloned().collect();
        for name in names {
            let there = cloud.machines().get(&name).is_some_and(|machine| machine.stage != Stage::Leaving);
            let Some(claim) = self.claims.get_mut(&name).filter(|_| there) else { continue };
            if let Some(mut termination) = claim.termination.take() {
                termination.step(cx, cloud, &name);
                if let Some(claim) = self.claims.get_mut(&name) {
                    claim.termination = Some(termination);
                }
            }
        }
    }
    /// Has it run when something is due.
    fn arm(&mut self, cx: &mut Cx<'_>, cloud: &Cloud) {
        let due = [self.provisioning_due(cx), self.disruption_due(cx), self.lives_due(cx, cloud)];
        self.due = due.into_iter().flatten().min();
        self.set_timer(cx);
    }
    fn set_timer(&mut self, cx: &mut Cx<'_>) {
        let Some(at) = self.due.map(|at| at.max(cx.now)) else { return };
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            cx.timers.set(at, Priority::Controller, Task::Karpenter);
        }
    }
}
