//! Nodes for pods that fit nowhere: pods are gathered for a while, packed together, and machines asked for.
//!
//! A batch opens with the first pod that the scheduler finds no place for, and closes when none has come for a second, or
//! after ten. Pods that still wait are looked at again after ten seconds if anything has changed by then. A machine is asked
//! for as the cheapest there is of those it may be; what is not to be had is not asked for again for three minutes. One
//! that has not registered its node after 15 minutes is given up. Method: `pkg/controllers/provisioning` and
//! `nodeclaim/lifecycle` of Karpenter 1.14; the three minutes and the order by price are those of its provider for AWS.

use super::claims::NodeClaim;
use super::pods::is_provisionable;
use super::scene::Scene;
use super::{Karpenter, SOURCE, Said, about_claim, about_pool, say_of, termination};
use crate::cloud::{Cloud, Stage};
use crate::controllers::evictor::tell;
use crate::controllers::node::{is_ready, taints};
use crate::controllers::scheduler::Scheduler;
use crate::controllers::{Cx, Place};
use fleet::karpenter::Reason;
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long after a look pods that wait are looked at again.
const AGAIN: Span = Span::from_seconds(10);
/// How long what is not to be had is not asked for.
pub(super) const UNAVAILABLE: Span = Span::from_seconds(180);
/// How long a machine may take to register its node.
const REGISTRATION: Span = Span::from_seconds(900);
/// Label of nodes that are ready for good.
const INITIALIZED: &str = "karpenter.sh/initialized";
/// Taints of nodes that are not ready yet, or not now.
const PASSING: &str = "node.kubernetes.io/";

/// Pods being gathered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    opened: Instant,
    last: Instant,
    seen: BTreeSet<Arc<str>>,
}

/// Where a pod is to go: its place, and what it is told.
type Told = ((Arc<str>, Arc<str>), String);

impl Karpenter {
    /// A pod, or a node that goes, wants to be looked at.
    pub(super) fn trigger(&mut self, uid: &str, now: Instant) {
        let batch = self.batch.get_or_insert_with(|| Batch { opened: now, last: now, seen: BTreeSet::new() });
        if batch.seen.insert(uid.into()) {
            batch.last = now;
        }
    }
    /// The pods of nodes that go want to be looked at.
    pub(super) fn trigger_for_nodes(&mut self, now: Instant) {
        self.trigger("nodes", now);
    }
    /// When a batch closes, or pods that wait are looked at again.
    pub(super) fn provisioning_due(&self, cx: &Cx<'_>) -> Option<Instant> {
        let (idle, most) = cx.spec.karpenter.as_ref()?.batch;
        if let Some(batch) = &self.batch {
            return Some((batch.last + idle).min(batch.opened + most));
        }
        if !self.waits || !(self.unsettled || self.every()) {
            return None;
        }
        // Those that wait come back ten seconds after each look, and then gather for as long as one waits for others.
        let first = self.provisioned_at.map_or(cx.now, |at| at + AGAIN);
        let (late, period) = ((cx.now - first).as_nanos().max(0), (AGAIN + idle).as_nanos());
        Some(first + Span::from_nanos((late + period - 1) / period * period))
    }
    /// Looks for places for pods that wait, if it is time.
    pub(super) fn provision(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud, scheduler: &mut Scheduler) {
        if self.provisioning_due(cx).is_none_or(|at| at > cx.now) {
            return;
        }
        if self.batch.take().is_none() {
            // Those that wait come to a new batch.
            return self.trigger("again", cx.now);
        }
        (self.provisioned_at, self.unsettled) = (Some(cx.now), false);
        let Some(work) = self.places(cx, cloud, scheduler) else { return };
        // While some are on their way to a node it is looked again and again that they still are.
        self.unsettled |= !work.nominated.is_empty() || !work.new.is_empty();
        self.waits = work.waits;
        self.told_pods.retain(|uid, _| work.uids.contains(uid));
        self.nominate(cx.now, &work.nominated);
        for (uid, (place, message)) in work.existing {
            self.tell_pod(cx, uid, &place, (false, "Nominated"), message);
        }
        for (uid, (place, message)) in work.failed {
            self.tell_pod(cx, uid, &place, (true, "FailedScheduling"), message);
        }
        let all: usize = work.new.iter().map(|new| new.pods.len()).sum();
        if all > 0 {
            let nodes = work.new.len();
            self.said.push(cx.now, format!("computed {nodes} new nodeclaim(s) to fit {all} pod(s)"));
        }
        for new in work.new {
            let options: Vec<&str> = new.options.iter().map(String::as_str).collect();
            let Some(name) = self.launch(cx, cloud, (&new.pool, &options, &new.zone)) else { continue };
            for (uid, place) in new.pods {
                let message = format!("Pod should schedule on: nodeclaim/{name}");
                self.tell_pod(cx, uid, &place, (false, "Nominated"), message);
            }
        }
    }
    /// Where pods that wait would go.
    fn places(&self, cx: &Cx<'_>, cloud: &Cloud, scheduler: &mut Scheduler) -> Option<Work> {
        let scene = Scene::new(cx, cloud, scheduler, (&self.claims, &self.unavailable))?;
        let mut targets = BTreeMap::new();
        let packed = scene.pack(&BTreeSet::new(), &mut targets);
        let who = |pod: usize| {
            let meta = &packed.pods[pod].pod.metadata;
            let text = |part: &Option<String>| Arc::<str>::from(part.as_deref().unwrap_or_default());
            (text(&meta.uid), (text(&meta.namespace), text(&meta.name)))
        };
        let mut work = Work { waits: !packed.pods.is_empty(), ..Work::default() };
        work.uids = (0..packed.pods.len()).map(|pod| who(pod).0).collect();
        for (node, pods) in &packed.existing {
            let there = if cx.node(node).is_some() { format!(", node/{node}") } else { String::new() };
            let target = match self.claims.contains_key(node) {
                true => format!("nodeclaim/{node}{there}"),
                false => format!("node/{node}"),
            };
            work.nominated.push(node.clone());
            for pod in pods {
                let (uid, place) = who(*pod);
                work.existing.push((uid, (place, format!("Pod should schedule on: {target}"))));
            }
        }
        for (pod, why) in &packed.failed {
            // Of pods that run, those who drain their node speak.
            if is_provisionable(&packed.pods[*pod].pod) {
                let (uid, place) = who(*pod);
                work.failed.push((uid, (place, format!("Failed to schedule pod, {why}"))));
            }
        }
        work.new = packed
            .new
            .iter()
            .map(|new| Wanted {
                pool: new.pool.name.clone(),
                options: new.options.iter().map(|group| group.name.clone()).collect(),
                zone: new.zone.clone(),
                pods: new.pods.iter().map(|pod| who(*pod)).collect(),
            })
            .collect();
        Some(work)
    }
    /// Tells a pod something, where that is news.
    fn tell_pod(
        &mut self,
        cx: &mut Cx<'_>,
        uid: Arc<str>,
        place: &(Arc<str>, Arc<str>),
        (warning, reason): (bool, &str),
        message: String,
    ) {
        if self.told_pods.get(&uid) != Some(&message) {
            tell(cx, place, SOURCE, (warning, reason, &message));
            self.told_pods.insert(uid, message);
        }
    }
    /// Has nodes be left alone until pods have come.
    pub(super) fn nominate(&mut self, now: Instant, nodes: &[Arc<str>]) {
        for node in nodes {
            if let Some(claim) = self.claims.get_mut(node) {
                claim.nominated_until = Some(now + self.nomination);
            }
        }
    }
    /// Asks for the cheapest machine there is of a pool's offerings, in a zone; its name, if there is any.
    pub(super) fn launch(
        &mut self,
        cx: &mut Cx<'_>,
        cloud: &mut Cloud,
        (pool, options, zone): (&str, &[&str], &str),
    ) -> Option<Arc<str>> {
        for option in options {
            let Some(group) = cx.spec.group(option) else { continue };
            if let Some(name) = cloud.launch(cx, group, zone) {
                let capacity_type = if group.supply.spot.is_some() { "spot" } else { "on-demand" };
                let line =
                    format!("launched nodeclaim {name}: {} {capacity_type} in {zone}", group.instance_type);
                self.said.push(cx.now, line);
                self.claims.insert(name.clone(), NodeClaim::new(pool));
                return Some(name);
            }
            self.unavailable.insert((*option).into(), cx.now + UNAVAILABLE);
        }
        let message = format!(
            "NodePool {pool} event: creating instance, insufficient capacity, all requested instance types were \
            unavailable during launch ({} of them in {zone})",
            options.len()
        );
        cx.warning(&about_pool(pool), SOURCE, "InsufficientCapacityError", message);
        self.unsettled = true;
        None
    }
    /// Begins to take a node away; for a reason, if it is one that budgets count.
    pub(super) fn terminate(
        &mut self,
        cx: &mut Cx<'_>,
        cloud: &mut Cloud,
        node: &Arc<str>,
        reason: Option<Reason>,
    ) {
        let Some(claim) = self.claims.get_mut(node) else { return };
        if claim.termination.is_some() {
            return;
        }
        if let Some(reason) = reason {
            say_of(cx, node, ("Normal", "DisruptionTerminating"), format!("Disrupting Node: {reason}"));
        }
        if cx.node(node).is_none() {
            cloud.delete(cx, node);
            self.claims.remove(node);
            return;
        }
        let pool = cx.spec.karpenter.as_ref().and_then(|set| set.pool(&claim.pool));
        let period = pool.and_then(|pool| pool.termination_grace_period);
        let why = reason.map_or_else(|| "Forceful Termination".to_owned(), |reason| reason.to_string());
        claim.termination = Some(termination::Termination::new(cx, node, &why, period));
        self.trigger_for_nodes(cx.now);
    }
    /// Follows what becomes of machines: nodes that are ready for good, that are gone, late, or have lived for long enough.
    pub(super) fn follow(&mut self, cx: &mut Cx<'_>, cloud: &mut Cloud) {
        let before = self.unavailable.len();
        self.unavailable.retain(|_, until| *until > cx.now);
        if self.unavailable.len() < before {
            (self.stale, self.unsettled) = (true, true);
        }
        let names: Vec<Arc<str>> = self.claims.keys().cloned().collect();
        for name in names {
            let Some(machine) = cloud.machines().get(&name) else {
                self.claims.remove(&name);
                self.told.retain(|of, _| of.split_once('/').is_none_or(|(_, node)| node != &*name));
                continue;
            };
            let (stage, requested) = (machine.stage, machine.requested);
            if stage == Stage::Booting && cx.now >= requested + REGISTRATION {
                self.said.push(cx.now, format!("terminating nodeclaim {name} due to registration timeout"));
                self.terminate(cx, cloud, &name, None);
                continue;
            }
            self.initialize(cx, &name);
            if stage != Stage::Leaving && self.expires_at(cx, cloud, &name).is_some_and(|at| at <= cx.now) {
                self.said.push(cx.now, format!("deleting expired nodeclaim {name}"));
                self.terminate(cx, cloud, &name, None);
            }
        }
    }
    fn initialize(&mut self, cx: &mut Cx<'_>, name: &Arc<str>) {
        let Some(claim) = self.claims.get_mut(name).filter(|claim| claim.initialized.is_none()) else {
            return;
        };
        let ready = |node: &&k8s_openapi::api::core::v1::Node| {
            is_ready(node) && !taints(node).iter().any(|taint| taint.key.starts_with(PASSING))
        };
        if cx.node(name).filter(ready).is_some() {
            claim.initialized = Some(cx.now);
            termination::label(cx, name, INITIALIZED, "true");
        }
    }
    /// When a node has lived for long enough, unless it goes already.
    fn expires_at(&self, cx: &Cx<'_>, cloud: &Cloud, name: &str) -> Option<Instant> {
        let claim = self.claims.get(name).filter(|claim| claim.termination.is_none())?;
        let pool = cx.spec.karpenter.as_ref()?.pool(&claim.pool)?;
        Some(cloud.machines().get(name)?.requested + pool.expire_after?)
    }
    /// When something of machines is due.
    pub(super) fn lives_due(&self, cx: &Cx<'_>, cloud: &Cloud) -> Option<Instant> {
        let each = self.claims.iter().flat_map(|(name, claim)| {
            let booting = cloud.machines().get(name).filter(|machine| machine.stage == Stage::Booting);
            let late = booting.map(|machine| machine.requested + REGISTRATION);
            let drain = claim.termination.as_ref().and_then(|own| own.next);
            [late, drain, self.expires_at(cx, cloud, name)]
        });
        each.flatten().chain(self.unavailable.values().copied()).min()
    }
    /// Says what is news.
    pub(super) fn say(&mut self, cx: &mut Cx<'_>, all: Vec<Said>) {
        for said in all {
            let key: Arc<str> = format!("{}/{}", said.reason, said.name).into();
            let Some(message) = said.message else {
                self.told.remove(&key);
                continue;
            };
            if self.told.get(&key) == Some(&message) {
                continue;
            }
            match said.of_pool {
                true => cx.normal(&about_pool(&said.name), SOURCE, said.reason, message.clone()),
                false if cx.node(&said.name).is_none() => {
                    cx.normal(&about_claim(&said.name), SOURCE, said.reason, message.clone());
                }
                false => say_of(cx, &said.name, ("Normal", said.reason), message.clone()),
            }
            self.told.insert(key, message);
        }
    }
}

/// What a look at pods that wait came to.
#[derive(Default)]
struct Work {
    waits: bool,
    uids: BTreeSet<Arc<str>>,
    nominated: Vec<Arc<str>>,
    existing: Vec<(Arc<str>, Told)>,
    failed: Vec<(Arc<str>, Told)>,
    new: Vec<Wanted>,
}

/// A node to be asked for.
struct Wanted {
    pool: String,
    options: Vec<String>,
    zone: String,
    pods: Vec<(Arc<str>, Place)>,
}
