//! `clusterautoscaler`: adds nodes for pods that fit nowhere, and takes nodes away that are not needed, as cluster-autoscaler
//! 1.36 does, in clusters with node groups that have limits.
//!
//! A look reads everything it decides by from the objects and the cloud; what has to be added is decided in [`scaleup`] by
//! one of the [`expander`]s, what may go in [`scaledown`] by the rules of [`drainability`], [`actuation`] takes it away,
//! [`backoff`] knows what did not come. It looks at whole multiples of the scan interval (and [`PHASE`] later), but only when
//! something has changed that may matter or a time of its own is due: a look in between would find what the last one found.
//! Invariants: a group stays within its limits; what comes out is what looking every time would give
//! (`tests/world_behaviour/autoscaling.rs`). Left out: balancing of similar groups, limits of cores and memory,
//! GPUs' utilisation, ProvisioningRequests, nodes that the cloud lost.

mod actuation;
mod backoff;
pub(crate) mod drainability;
pub(crate) mod expander;
mod scaledown;
mod scaleup;
mod status;
mod template;
#[cfg(test)]
mod tests;

use super::events::{About, Source};
use super::log::Log;
use super::node::is_ready;
use super::podcontrol::condition;
use super::scheduler::{Scheduler, Simulation};
use super::{Cx, phase};
use crate::cloud::{Cloud, Stage};
use crate::kind::Kind;
use crate::object::Object;
use crate::random::Stream;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task};
use actuation::{Deletion, Outcome};
use backoff::Backoffs;
use expander::Priorities;
use fleet::supply::Autoscaler;
use fleet::{Instant, NodeGroup, Span};
use k8s_openapi::api::core::v1::{Node, Pod};
use scaledown::{Inventory, Look, Planner, Removable};
use scaleup::Candidate;
use serde::{Deserialize, Serialize};
use status::{Counts, NAMESPACE, Part, STATUS, Status};
use std::collections::BTreeMap;
use std::sync::Arc;
use template::{TO_BE_DELETED, Template, nodes};

const SOURCE: Source<'static> = Source { component: "cluster-autoscaler", host: None };
/// How long after the whole multiples of its interval it looks, so that what people do at whole seconds comes before.
const PHASE: Span = Span::from_millis(3);
/// What the expander `priority` goes by.
const PRIORITIES: &str = "cluster-autoscaler-priority-expander";
/// Unready nodes that are never too many, and the share of all nodes above which it stops (`--ok-total-unready-count`,
/// `--max-total-unready-percentage`).
const UNREADY_OK: u32 = 3;
const UNREADY_PERCENT: u32 = 45;
/// How long a node may take to become ready.
const STARTUP: Span = Span::from_seconds(900);
/// What is to be seen at an instant, and not only after it, is waited for from just before.
const INSTANT: Span = Span::from_nanos(1);

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClusterAutoscaler {
    /// Whether some group has limits.
    on: bool,
    /// When it looks next, if a timer is set for that.
    armed: Option<Instant>,
    /// Whether something has changed since it last looked.
    changed: bool,
    /// Looks every time, whether or not it may matter.
    #[cfg(test)]
    #[serde(skip)]
    pub(crate) every: bool,
    backoffs: Backoffs,
    planner: Planner,
    deletions: BTreeMap<Arc<str>, Deletion>,
    added_at: Option<Instant>,
    deleted_at: Option<Instant>,
    failed_at: Option<Instant>,
    /// What pods were told last that nothing is done for.
    told: BTreeMap<Arc<str>, String>,
    draw: Option<Stream>,
    status: Status,
    /// What it would have logged of nodes that stay.
    pub(crate) said: Log,
    /// When it last ran; of several runs at an instant only the first looks.
    #[serde(default)]
    ran_at: Option<Instant>,
}

/// Says something of the whole, where the real one does: about its ConfigMap.
fn about_status(cx: &mut Cx<'_>, reason: &str, message: String, warning: bool) {
    let kind = if warning { "Warning" } else { "Normal" };
    cx.tell((Kind::ConfigMap, NAMESPACE, STATUS), SOURCE, (kind, reason), message);
}

fn settings(cx: &Cx<'_>) -> Autoscaler {
    cx.spec.autoscaler.clone().unwrap_or_default()
}

/// The groups that have limits.
fn groups<'a>(cx: &Cx<'a>) -> impl Iterator<Item = (&'a NodeGroup, fleet::supply::Limits)> + use<'a> {
    cx.spec.node_groups.iter().filter_map(|group| Some((group, group.limits?)))
}

/// Whether a change may matter to what is decided.
pub(crate) fn matters(change: &Change) -> bool {
    let (object, before) = (&change.object.object, change.previous.as_ref().map(|p| &p.object));
    let new = change.kind != ChangeKind::Modified;
    match (object, before) {
        (Object::Pod(pod), Some(Object::Pod(old))) if !new => {
            let node = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.node_name.clone());
            let said =
                |pod: &Pod| condition(pod, "PodScheduled").map(|c| (c.status.clone(), c.reason.clone()));
            let (meta, was) = (&pod.metadata, &old.metadata);
            node(pod) != node(old)
                || phase(pod) != phase(old)
                || said(pod) != said(old)
                || (&meta.deletion_timestamp, &meta.annotations, &meta.labels, &meta.generation)
                    != (&was.deletion_timestamp, &was.annotations, &was.labels, &was.generation)
        }
        (Object::Pod(_) | Object::Node(_), _) => true,
        (Object::ConfigMap(map), _) => map.metadata.name.as_deref() == Some(PRIORITIES),
        (Object::Document(doc), _) => {
            let kinds = &super::owned::KINDS;
            doc.kind == kinds.budget || doc.kind == kinds.daemon_set
        }
        _ => false,
    }
}

impl ClusterAutoscaler {
    /// Sets it to work where a group has limits; once, when the world begins.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>) {
        self.on = groups(cx).next().is_some();
        if self.on {
            self.arm(cx, &settings(cx), cx.now);
        }
    }
    pub(crate) fn observe(&mut self, _: &Cx<'_>, change: &Change) {
        self.changed |= self.on && matters(change);
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
    /// Has it look at the first of its times after an instant, unless it does so before.
    fn arm(&mut self, cx: &mut Cx<'_>, set: &Autoscaler, after: Instant) {
        let after = after.max(cx.now);
        let last = (after - PHASE).floor_to(set.scan_interval);
        let at = last + set.scan_interval + PHASE;
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            cx.timers.set(at, Priority::Controller, Task::Autoscaler);
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, scheduler: &mut Scheduler) -> bool {
        if !self.on {
            return false;
        }
        let version = cx.objects.version();
        let first = self.ran_at.replace(cx.now) != Some(cx.now);
        let set = settings(cx);
        self.changed |= cloud.take_touched();
        self.go_on(cx, cloud, &set);
        let due = (cx.now - PHASE).floor_to(set.scan_interval) + PHASE == cx.now;
        if first && due && (self.changed || self.armed.is_none() || self.every()) {
            self.look(cx, cloud, scheduler, &set);
        }
        if self.changed || self.every() {
            self.arm(cx, &set, cx.now);
        }
        cx.objects.version() != version
    }
    /// Goes on with what is being taken away.
    fn go_on(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, set: &Autoscaler) {
        let due: Vec<Arc<str>> =
            self.deletions.iter().filter(|(_, d)| d.next <= cx.now).map(|(node, _)| node.clone()).collect();
        for node in due {
            let Some(deletion) = self.deletions.get_mut(&node) else { continue };
            match deletion.step(cx, cloud, &node, set) {
                Outcome::UnderWay => cx.timers.set(deletion.next, Priority::Controller, Task::Autoscaler),
                outcome => {
                    self.deletions.remove(&node);
                    self.changed = true;
                    if outcome == Outcome::Failed {
                        self.failed_at = Some(cx.now);
                    }
                }
            }
        }
    }
    /// One look.
    fn look(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, scheduler: &mut Scheduler, set: &Autoscaler) {
        let changed = std::mem::take(&mut self.changed);
        let mut next: Vec<Instant> = Vec::new();
        self.write_status(cx, cloud);
        let late = self.backoffs.close(&|group| awaited(cloud, group), cx.now);
        for (group, since) in late {
            let message =
                format!("Nodes added to group {group} failed to register within {}", cx.now - since);
            about_status(cx, "ScaleUpTimedOut", message, true);
        }
        self.remove_unregistered(cx, cloud, set);
        if self.remove_refused(cx, cloud) || !is_healthy(&self.cluster_counts(cx, cloud)) {
            self.write_status(cx, cloud);
            self.arm_for_what_is_due(cx, cloud, set, next);
            return;
        }
        let mut simulation = scheduler.simulation(cx);
        let templates = templates(cx, cloud);
        add_expected(&mut simulation, cloud, &templates);
        if !self.scale_up(cx, cloud, &mut simulation, templates, set, &mut next) && set.scale_down_enabled {
            self.scale_down(cx, cloud, &mut simulation, (set, changed), &mut next);
        }
        self.write_status(cx, cloud);
        self.arm_for_what_is_due(cx, cloud, set, next);
    }
    /// Has it look when something is due, among it what happens by itself.
    fn arm_for_what_is_due(
        &mut self,
        cx: &mut Cx<'_>,
        cloud: &Cloud,
        set: &Autoscaler,
        mut next: Vec<Instant>,
    ) {
        next.extend(self.backoffs.next(cx.now));
        next.extend(changes_of_state(cx, cloud, set));
        if let Some(at) = next.into_iter().filter(|at| *at >= cx.now).min() {
            self.arm(cx, set, at);
        }
    }
    /// Takes back what was asked for and is not to be had, as far as the group's limits allow; whether there was any.
    fn remove_refused(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud) -> bool {
        let mut any = false;
        for (group, limits) in groups(cx) {
            let refused = cloud.machines().iter();
            let refused = refused.filter(|(_, m)| *m.group == *group.name && m.stage == Stage::Refused);
            let spare = cloud.target(&group.name).saturating_sub(limits.min) as usize;
            let refused: Vec<Arc<str>> = refused.map(|(name, _)| name.clone()).take(spare).collect();
            if refused.is_empty() {
                continue;
            }
            any = true;
            let (count, name) = (refused.len(), &group.name);
            let message = format!(
                "Failed adding {count} nodes to group {name} due to OutOfResource.placeholder-cannot-be-fulfilled; \
                source errors: AWS cannot provision any more instances for this node group"
            );
            about_status(cx, "ScaleUpFailed", message, true);
            self.backoffs.lost(name, count as u32);
            self.backoffs.failed(name, cx.now);
            refused.iter().for_each(|node| cloud.delete(cx, node));
        }
        self.changed |= any;
        any
    }
    /// Takes back machines that have not registered their node in time, as far as the group's limits allow.
    fn remove_unregistered(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, set: &Autoscaler) {
        let late = cloud.machines().iter().filter(|(_, machine)| {
            machine.stage == Stage::Booting && machine.requested + set.max_node_provision_time < cx.now
        });
        let late: Vec<(Arc<str>, Arc<str>)> = late.map(|(name, m)| (name.clone(), m.group.clone())).collect();
        for (name, group) in late {
            let limits = groups(cx).find(|(own, _)| *own.name == *group).map(|(_, limits)| limits);
            if limits.is_none_or(|limits| cloud.target(&group) <= limits.min) {
                continue;
            }
            about_status(cx, "DeleteUnregistered", format!("Removed unregistered node {name}"), false);
            cloud.delete(cx, &name);
            self.changed = true;
        }
    }
    /// Adds nodes if any pod needs them; whether it did.
    fn scale_up(
        &mut self,
        cx: &mut Cx<'_>,
        cloud: &mut Cloud,
        simulation: &mut Simulation,
        templates: Vec<(Arc<str>, Template)>,
        set: &Autoscaler,
        next: &mut Vec<Instant>,
    ) -> bool {
        let (pending, young) = scaleup::pending(cx, set);
        next.extend(young.map(|at| at - INSTANT));
        self.told.retain(|uid, _| pending.iter().any(|pod| pod.metadata.uid.as_deref() == Some(uid)));
        let all = groups(cx).zip(templates).map(|((group, limits), (_, template))| {
            let target = cloud.target(&group.name);
            let skipped = match self.backoffs.until(&group.name, cx.now) {
                Some(_) => Some("in backoff after failed scale-up"),
                None if target >= limits.max => Some("max node group size reached"),
                None => None,
            };
            Candidate { group, template, target, max: limits.max, skipped }
        });
        let candidates: Vec<Candidate<'_>> = all.collect();
        let priorities = priorities(cx);
        let expected = cloud.machines().values().filter(|m| m.stage == Stage::Booting).count();
        let nodes = nodes(cx.objects).count() + expected;
        let (seed, id) = (cx.seed, &cx.spec.id);
        let draw = self.draw.get_or_insert_with(|| Stream::new(seed, &format!("clusterautoscaler/{id}")));
        let mut lot = |n: usize| draw.below(n as u64) as usize;
        let nodes = (nodes as u32, cx.now);
        let priorities = priorities.as_ref();
        let plan = scaleup::plan(simulation, &pending, &candidates, set, nodes, priorities, &mut lot);
        next.extend(plan.look_at.map(|at| at - INSTANT));
        for (pod, why) in plan.refused {
            self.refuse(cx, &pod, &why);
        }
        let Some((group, increase, pods)) = plan.increase else { return false };
        self.enlarge(cx, cloud, &group, increase, &pods, set);
        true
    }
    /// Tells a pod that nothing is done for it, and why. The real one repeats that at every look, and clients count; here
    /// it is said when it is news.
    fn refuse(&mut self, cx: &mut Cx<'_>, pod: &Pod, why: &str) {
        let uid: Arc<str> = pod.metadata.uid.as_deref().unwrap_or_default().into();
        if self.told.get(&uid).is_some_and(|told| told == why) {
            return;
        }
        let object = Object::Pod(Box::new(pod.clone()));
        let message = format!("pod didn't trigger scale-up: {why}");
        cx.normal(&About::new(&object), SOURCE, "NotTriggerScaleUp", message);
        self.told.insert(uid, why.to_owned());
    }
    fn enlarge(
        &mut self,
        cx: &mut Cx<'_>,
        cloud: &mut Cloud,
        name: &str,
        increase: u32,
        pods: &[Arc<Pod>],
        set: &Autoscaler,
    ) {
        let Some((group, limits)) = groups(cx).find(|(group, _)| group.name == name) else { return };
        let (old, max) = (cloud.target(name), limits.max);
        let size = old + increase;
        let plan = format!("Scale-up: setting group {name} size to {size} instead of {old} (max: {max})");
        about_status(cx, "ScaledUpGroup", plan, false);
        cloud.increase(cx, group, increase);
        let done = format!("Scale-up: group {name} size set to {size} instead of {old} (max: {max})");
        about_status(cx, "ScaledUpGroup", done, false);
        self.backoffs.asked(name, increase, set.max_node_provision_time, cx.now);
        (self.added_at, self.changed) = (Some(cx.now), true);
        for pod in pods {
            let object = Object::Pod(Box::new((**pod).clone()));
            let message = format!("pod triggered scale-up: [{{{name} {old}->{size} (max: {max})}}]");
            cx.normal(&About::new(&object), SOURCE, "TriggeredScaleUp", message);
            self.told.remove(pod.metadata.uid.as_deref().unwrap_or_default());
        }
    }
    /// Takes nodes away that have not been needed for long enough, and marks those that will be.
    fn scale_down(
        &mut self,
        cx: &mut Cx<'_>,
        cloud: &Cloud,
        simulation: &mut Simulation,
        (set, changed): (&Autoscaler, bool),
        next: &mut Vec<Instant>,
    ) {
        let before = self.planner.reasons.clone();
        let leaving = self.deletions.iter().map(|(node, deletion)| (node.clone(), deletion.group.clone()));
        let inventory = Inventory::new(cx.objects, cx.spec, cx.now);
        let look = Look { inventory, cloud, set, leaving: leaving.collect(), changed };
        let rests = self.rests(set, cx.now, next);
        let mut ready = Vec::new();
        if scaledown::make_way(simulation, &look) {
            let removable = self.planner.update(&look, simulation);
            ready = self.planner.ready(&look, removable);
        } else {
            self.planner.unneeded.clear();
        }
        next.extend(self.planner.next(&look));
        self.tell_reasons(cx.now, &before);
        if !rests {
            let begun = self.begin_deletions(cx, ready, set);
            if begun > 0 {
                (self.deleted_at, self.changed) = (Some(cx.now), true);
                return;
            }
        }
        for (name, unneeded) in self.to_mark(cx) {
            actuation::mark(cx, &name, unneeded);
        }
    }
    /// Whether nothing is taken away for now; when that ends is noted.
    fn rests(&self, set: &Autoscaler, now: Instant, next: &mut Vec<Instant>) -> bool {
        let after_delete = set.scale_down_delay_after_delete;
        let after_delete = if after_delete.is_zero() { set.scan_interval } else { after_delete };
        let waits = [
            (self.added_at, set.scale_down_delay_after_add),
            (self.deleted_at, after_delete),
            (self.failed_at, set.scale_down_delay_after_failure),
        ];
        let ends = waits.iter().filter_map(|(at, wait)| Some((*at)? + *wait)).filter(|end| *end > now);
        let ends: Vec<Instant> = ends.collect();
        // The end itself is no longer part of it.
        next.extend(ends.iter().map(|end| *end - INSTANT));
        !ends.is_empty()
    }
    /// Begins to take nodes away, as many as may go at a time; how many.
    fn begin_deletions(&mut self, cx: &mut Cx<'_>, ready: Vec<Removable>, set: &Autoscaler) -> usize {
        let drained =
            |deletions: &BTreeMap<Arc<str>, Deletion>| deletions.values().filter(|d| d.drains).count();
        let mut begun = 0;
        // Empty ones first.
        let (empty, occupied): (Vec<_>, Vec<_>) = ready.into_iter().partition(|found| found.is_empty);
        for found in empty.into_iter().chain(occupied) {
            let all = self.deletions.len() >= set.max_scale_down_parallelism as usize;
            if all || (!found.is_empty && drained(&self.deletions) >= set.max_drain_parallelism as usize) {
                continue;
            }
            let deletion = actuation::begin(cx, &found, set);
            cx.timers.set(deletion.next, Priority::Controller, Task::Autoscaler);
            self.deletions.insert(found.node.clone(), deletion);
            self.planner.unneeded.remove(&found.node);
            begun += 1;
        }
        begun
    }
    /// Nodes whose soft taint is to be given or taken off.
    fn to_mark(&self, cx: &Cx<'_>) -> Vec<(String, bool)> {
        let all = nodes(cx.objects).filter_map(|node| {
            let name = node.metadata.name.as_deref()?;
            let wanted = self.planner.unneeded.contains_key(name);
            let leaving = self.deletions.contains_key(name);
            (wanted != scaledown::is_candidate(node) && !leaving).then(|| (name.to_owned(), wanted))
        });
        all.collect()
    }
    /// Notes why nodes stay, where that is news.
    fn tell_reasons(&mut self, now: Instant, before: &BTreeMap<Arc<str>, String>) {
        for (node, why) in &self.planner.reasons {
            if before.get(node) != Some(why) {
                self.said.push(now, format!("node {node} cannot be removed: {why}"));
            }
        }
    }
}

/// Whether machines of a group are on their way.
fn awaited(cloud: &Cloud, group: &str) -> bool {
    let on_the_way = |stage| matches!(stage, Stage::Refused | Stage::Booting | Stage::Joining);
    cloud.machines().values().any(|machine| *machine.group == *group && on_the_way(machine.stage))
}

/// When machines and nodes are late, if nothing else happens to them.
fn changes_of_state(cx: &Cx<'_>, cloud: &Cloud, set: &Autoscaler) -> Vec<Instant> {
    let booting = cloud.machines().values().filter(|machine| machine.stage == Stage::Booting);
    let booting = booting.map(|machine| machine.requested + set.max_node_provision_time);
    let created = |node: &Node| node.metadata.creation_timestamp.as_ref().map(|t| Instant::from_jiff(t.0));
    let starting = nodes(cx.objects).filter(|node| !is_ready(node)).filter_map(created);
    booting.chain(starting.map(|at| at + STARTUP - INSTANT)).collect()
}

/// What a new node of each group would be.
fn templates(cx: &Cx<'_>, cloud: &Cloud) -> Vec<(Arc<str>, Template)> {
    groups(cx).map(|(group, _)| (group.name.as_str().into(), Template::new(cx, cloud, group))).collect()
}

/// Adds the nodes that are on their way.
fn add_expected(simulation: &mut Simulation, cloud: &Cloud, templates: &[(Arc<str>, Template)]) {
    for (name, machine) in cloud.machines() {
        if matches!(machine.stage, Stage::Booting | Stage::Joining)
            && machine.taken_at.is_none()
            && let Some((_, template)) = templates.iter().find(|(group, _)| *group == machine.group)
        {
            template.add(simulation, &format!("template-node-for-{}-upcoming-{name}", machine.group));
        }
    }
}

/// What people prefer, if the ConfigMap says so and can be read.
fn priorities(cx: &Cx<'_>) -> Option<Priorities> {
    let stored = cx.objects.get(Kind::ConfigMap, NAMESPACE, PRIORITIES)?;
    let Object::ConfigMap(map) = &stored.object else { return None };
    serde_saphyr::from_str(map.data.as_ref()?.get("priorities")?).ok()
}

fn is_healthy(counts: &Counts) -> bool {
    let all = counts.ready + counts.unready + counts.not_started + counts.being_deleted;
    counts.unready <= UNREADY_OK || counts.unready * 100 <= all * UNREADY_PERCENT
}

impl ClusterAutoscaler {
    fn count(&self, node: &Node, now: Instant, counts: &mut Counts) {
        let created = node.metadata.creation_timestamp.as_ref().map_or(now, |t| Instant::from_jiff(t.0));
        let going = super::node::is_tainted(node, TO_BE_DELETED);
        let count = match (going, is_ready(node)) {
            (true, _) => &mut counts.being_deleted,
            (false, true) => &mut counts.ready,
            (false, false) if created + STARTUP > now => &mut counts.not_started,
            (false, false) => &mut counts.unready,
        };
        *count += 1;
    }
    fn cluster_counts(&self, cx: &Cx<'_>, cloud: &Cloud) -> Counts {
        let mut counts = Counts::default();
        nodes(cx.objects).for_each(|node| self.count(node, cx.now, &mut counts));
        counts.unregistered = cloud.machines().values().filter(|m| m.stage == Stage::Booting).count() as u32;
        counts
    }
    fn write_status(&mut self, cx: &mut Cx<'_>, cloud: &Cloud) {
        let counts = self.cluster_counts(cx, cloud);
        let up = |scaling: bool| if scaling { "InProgress" } else { "NoActivity" }.to_owned();
        let mut parts = vec![(
            String::new(),
            Part {
                counts,
                size: None,
                is_healthy: is_healthy(&counts),
                scale_up: up(self.backoffs.is_any_scaling_up()),
                candidates: self.planner.unneeded.len() as u32,
            },
        )];
        for (group, limits) in groups(cx) {
            let mut counts = Counts::default();
            let mut candidates = 0;
            for (name, _) in cloud.machines().iter().filter(|(_, m)| *m.group == *group.name) {
                match cx.node(name) {
                    Some(node) => self.count(node, cx.now, &mut counts),
                    None => counts.unregistered += 1,
                }
                candidates += u32::from(self.planner.unneeded.contains_key(name));
            }
            let backed_off = self.backoffs.until(&group.name, cx.now).is_some();
            let scale_up = match backed_off {
                true => "Backoff".to_owned(),
                false => up(self.backoffs.is_scaling_up(&group.name)),
            };
            let size = Some((cloud.target(&group.name), limits.min, limits.max));
            let part = Part { counts, size, is_healthy: true, scale_up, candidates };
            parts.push((group.name.clone(), part));
        }
        self.status.write(cx, parts);
    }
}
