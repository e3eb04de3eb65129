//! One pod's scheduling cycle: what the plugins work out beforehand, the filters, the scores.
//!
//! [`Needs`] is what the cluster's incremental counts are asked for, [`States`] what filters keep and a
//! dry run changes, [`Cycle`] both with the pod. A plugin that has nothing to say about a pod is not asked
//! about its nodes.

use super::cluster::Cluster;
use super::counts::Bearing;
use super::node::{NodeInfo, Verdict};
use super::plugins::{
    imagelocality, interpodaffinity, nodeaffinity, nodename, nodeports, noderesources, nodeunschedulable,
    nodevolumelimits, normalize, podtopologyspread, tainttoleration, volumebinding, volumerestrictions,
    volumezone,
};
use super::pod::{PodInfo, Spread, Term};
use super::profile::{Profile, Resource, SpreadDefaults, Strategy};
use super::rooms::{self, REFUSED};
use super::status::{Plugin, Rejection};
use crate::amounts::Amounts;
use std::borrow::Cow;
use std::sync::Arc;

/// A topology spread constraint with where its counts are.
#[derive(Debug)]
pub(super) struct SpreadNeed {
    pub(super) spread: Arc<Spread>,
    pub(super) key: usize,
    pub(super) counter: u32,
}

/// A term of (anti-)affinity with where its counts are.
#[derive(Debug)]
pub(super) struct TermNeed {
    pub(super) key: usize,
    pub(super) counter: u32,
}

/// What a pod's cycle reads of the cluster's counts.
#[derive(Debug, Default)]
pub(super) struct Needs {
    selected: Option<Arc<Vec<bool>>>,
    /// The nodes the profile's own affinity allows.
    enforced: Option<Arc<Vec<bool>>>,
    verdicts: Vec<Verdict>,
    pub(super) hard: Vec<SpreadNeed>,
    pub(super) soft: Vec<SpreadNeed>,
    /// Whether a node must have every key to score: so it is unless the constraints are Kubernetes' own.
    pub(super) explicit: bool,
    pub(super) affinity: Vec<TermNeed>,
    pub(super) anti: Vec<TermNeed>,
    /// With their weights, negative for anti-affinity.
    pub(super) preferred: Vec<(TermNeed, i64)>,
    /// Terms of placed pods that match this one.
    pub(super) carried: Vec<(usize, Bearing, u32)>,
}

impl Needs {
    fn new(cluster: &mut Cluster, pod: &PodInfo, profile: &Profile) -> Needs {
        cluster.order();
        let mut needs = Needs {
            selected: cluster.selected(&pod.rare.selection),
            enforced: profile.added.required.as_ref().and_then(|added| cluster.selected(added)),
            verdicts: cluster.taints.verdicts(&pod.tolerations),
            ..Needs::default()
        };
        if profile.asks(Plugin::PodTopologySpread) || profile.weight(Plugin::PodTopologySpread) != 0 {
            needs.spread(cluster, pod, profile);
        }
        if profile.asks(Plugin::InterPodAffinity) || profile.weight(Plugin::InterPodAffinity) != 0 {
            needs.pods(cluster, pod);
        }
        needs
    }
    fn spread(&mut self, cluster: &mut Cluster, pod: &PodInfo, profile: &Profile) {
        let own = !pod.rare.spreads.is_empty();
        self.explicit = own || profile.spread != SpreadDefaults::System;
        let defaults =
            if own { Vec::new() } else { podtopologyspread::defaults(cluster, pod, &profile.spread) };
        for spread in pod.rare.spreads.iter().chain(&defaults) {
            let need = SpreadNeed {
                key: cluster.key(&spread.key),
                counter: cluster.counter(std::slice::from_ref(&spread.pods)),
                spread: spread.clone(),
            };
            if spread.hard { self.hard.push(need) } else { self.soft.push(need) }
        }
    }
    fn pods(&mut self, cluster: &mut Cluster, pod: &PodInfo) {
        let terms = &pod.rare.terms;
        let mut one = |term: &Term| TermNeed {
            key: cluster.key(&term.key),
            counter: cluster.counter(std::slice::from_ref(&term.pods)),
        };
        self.anti = terms.anti.iter().map(|t| one(t)).collect();
        self.preferred = terms.preferred.iter().map(|t| (one(t), t.weight)).collect();
        self.preferred.extend(terms.preferred_anti.iter().map(|t| (one(t), -t.weight)));
        if !terms.affinity.is_empty() {
            let counter = cluster.counter(&terms.affinity_pods);
            self.affinity =
                terms.affinity.iter().map(|t| TermNeed { key: cluster.key(&t.key), counter }).collect();
        }
        self.carried = cluster.carried_for(pod);
    }
    /// Whether the pod's node selector and required node affinity allow a node.
    pub(super) fn selects(&self, at: u32) -> bool {
        self.selected.as_ref().is_none_or(|s| s.get(at as usize).copied().unwrap_or(false))
    }
    /// Whether the profile's own affinity allows a node.
    pub(super) fn enforces(&self, at: u32) -> bool {
        self.enforced.as_ref().is_none_or(|s| s.get(at as usize).copied().unwrap_or(false))
    }
    /// Whether the pod tolerates every taint of a node that keeps pods off.
    pub(super) fn tolerates(&self, node: &NodeInfo) -> bool {
        self.verdicts.get(node.taints as usize).is_some_and(|v| v.tolerated)
    }
    /// Whether the pod matches its own required affinity.
    pub(super) fn own_affinity(&self, pod: &PodInfo, cluster: &Cluster) -> bool {
        let own = |t: &Arc<Term>| t.pods.matches(&pod.namespace, &pod.labels, &cluster.namespaces);
        pod.rare.terms.affinity.iter().all(own)
    }
}

/// What filters keep between nodes, and what pods that come or go in thought change.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    spread: Vec<podtopologyspread::Domains>,
    affinity: Option<interpodaffinity::State>,
    /// Claims for one pod only that others use.
    taken: i64,
}

/// A pod's cycle.
pub(super) struct Cycle<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) pod: &'a PodInfo,
    pub(super) profile: &'a Profile,
    needs: Needs,
    /// What the pod asks of a node.
    asked: Cow<'a, Amounts>,
    /// The filters that have something to say, in order.
    filters: Vec<Plugin>,
    /// Those of them that [`Cycle::room`] does not ask.
    others: Vec<Plugin>,
    /// Those that it does, one bit each, and the weights of the two plugins that score room.
    common: u32,
    fit_weight: i64,
    balanced_weight: i64,
    cordon_tolerated: bool,
    claims: volumebinding::Claims,
    zones: volumezone::Zones,
    /// The only nodes to look at, if a plugin names them, in order of name.
    pub(super) only: Option<Vec<&'a str>>,
}

/// A score of every plugin that has one, for each feasible node.
#[derive(Debug, Default)]
pub(super) struct Scores {
    pub(super) plugins: Vec<(Plugin, Vec<i64>)>,
    pub(super) totals: Vec<i64>,
}

impl<'a> Cycle<'a> {
    /// Everything that is worked out before nodes are looked at; an error turns the pod down everywhere.
    pub(super) fn new(
        cluster: &'a mut Cluster,
        pod: &'a PodInfo,
        profile: &'a Profile,
    ) -> Result<(Cycle<'a>, States), Rejection> {
        let needs = Needs::new(cluster, pod, profile);
        let cluster: &'a Cluster = cluster;
        let mut cycle = Cycle {
            cluster,
            pod,
            profile,
            needs,
            asked: profile.fit.asked(&pod.request),
            filters: Vec::with_capacity(12),
            others: Vec::new(),
            common: rooms::filters(profile),
            fit_weight: profile.weight(Plugin::NodeResourcesFit),
            balanced_weight: match noderesources::is_balanced(pod, &profile.balanced) {
                true => profile.weight(Plugin::NodeResourcesBalancedAllocation),
                false => 0,
            },
            cordon_tolerated: nodeunschedulable::tolerated(pod),
            claims: volumebinding::Claims::default(),
            zones: volumezone::Zones::new(),
            only: None,
        };
        let mut states = States::default();
        let mut silent = 0;
        for plugin in &profile.pre_filters {
            if !cycle.pre_filter(*plugin, &mut states)? {
                silent |= plugin.bit();
            }
        }
        if pod.node.is_none() {
            silent |= Plugin::NodeName.bit();
        }
        cycle.filters.extend(profile.filters.iter().filter(|p| silent & p.bit() == 0));
        cycle.others.extend(cycle.filters.iter().filter(|p| !rooms::FILTERS.contains(p)));
        Ok((cycle, states))
    }
    /// One plugin's preparation; whether it has anything to say about nodes.
    fn pre_filter(&mut self, plugin: Plugin, states: &mut States) -> Result<bool, Rejection> {
        let (pod, storage) = (self.pod, &self.cluster.storage);
        let claims = !pod.rare.claims.is_empty();
        Ok(match plugin {
            Plugin::NodeAffinity => {
                self.only = nodeaffinity::pre_filter(pod)?;
                self.needs.selected.is_some() || self.needs.enforced.is_some()
            }
            Plugin::NodePorts => !pod.rare.ports.is_empty(),
            Plugin::VolumeRestrictions if claims => {
                states.taken = volumerestrictions::pre_filter(storage, pod)?;
                true
            }
            Plugin::NodeVolumeLimits => claims,
            Plugin::VolumeBinding if claims => {
                self.claims = volumebinding::pre_filter(storage, pod)?;
                true
            }
            Plugin::VolumeZone if claims => {
                self.zones = volumezone::pre_filter(storage, pod)?;
                !self.zones.is_empty()
            }
            Plugin::VolumeRestrictions | Plugin::VolumeBinding | Plugin::VolumeZone => false,
            // Claims for devices are left out, and so are features that nodes declare.
            Plugin::DynamicResources | Plugin::NodeDeclaredFeatures => false,
            Plugin::PodTopologySpread => {
                if !self.needs.hard.is_empty() {
                    states.spread = podtopologyspread::pre_filter(self.cluster, &self.needs);
                }
                !self.needs.hard.is_empty()
            }
            Plugin::InterPodAffinity => {
                states.affinity = interpodaffinity::pre_filter(self.cluster, &self.needs);
                // Pods that come in thought may ask for something even if none that is there does.
                if states.affinity.is_none() && !self.cluster.nominated.is_empty() {
                    states.affinity = Some(interpodaffinity::State::default());
                }
                states.affinity.is_some()
            }
            _ => true,
        })
    }
    /// What a node has to offer by itself: [`REFUSED`] where a filter of [`rooms::FILTERS`] turns it down, else the
    /// weighted scores of the two plugins that look at room.
    pub(super) fn room(&self, at: u32, node: &NodeInfo) -> i64 {
        let idle = |plugin: Plugin| self.common & plugin.bit() == 0;
        let taken = (!node.unschedulable || self.cordon_tolerated || idle(Plugin::NodeUnschedulable))
            && (self.needs.tolerates(node) || idle(Plugin::TaintToleration))
            && ((self.needs.selects(at) && self.needs.enforces(at)) || idle(Plugin::NodeAffinity))
            && (noderesources::fits(&self.asked, node) || idle(Plugin::NodeResourcesFit));
        if !taken {
            return REFUSED;
        }
        let (pod, profile) = (self.pod, self.profile);
        let fit = match (self.fit_weight, &profile.fit.strategy, profile.fit.resources.as_slice()) {
            (0, ..) => 0,
            // By far the most frequent one.
            (_, Strategy::LeastAllocated, [(Resource::Cpu, cpu), (Resource::Memory, memory)])
                if cpu == memory =>
            {
                noderesources::least_allocated(pod, node)
            }
            _ => noderesources::score(pod, node, &profile.fit),
        };
        let even = match self.balanced_weight {
            0 => 0,
            _ => noderesources::balanced_over(pod, node, &profile.balanced),
        };
        (self.fit_weight * fit + self.balanced_weight * even).max(0)
    }
    /// Whether a node's own answer, [`Cycle::room`], is all there is to say about it.
    pub(super) fn is_plain(&self) -> bool {
        let (pod, needs) = (self.pod, &self.needs);
        let silent = |plugin: Plugin| match plugin {
            Plugin::TaintToleration => needs.verdicts.iter().all(|v| v.avoided == 0),
            Plugin::NodeAffinity => {
                let preferred = pod.rare.preferred.is_empty() && self.profile.added.preferred.is_empty();
                preferred && pod.rare.preferred_error.is_none()
            }
            Plugin::PodTopologySpread => needs.soft.is_empty(),
            Plugin::InterPodAffinity => needs.preferred.is_empty() && needs.carried.is_empty(),
            Plugin::ImageLocality => pod.images.iter().all(|image| self.cluster.image(image).is_none()),
            _ => true,
        };
        self.others.is_empty()
            && self.only.is_none()
            && self.cluster.nominated.is_empty()
            && self.profile.scores.iter().all(|(plugin, _)| silent(*plugin))
    }
    /// What the first filter that turns a node down says; `None` when the pod may go there.
    pub(super) fn check(&self, states: &States, at: u32, node: &NodeInfo) -> Option<Rejection> {
        self.check_by(&self.filters, states, at, node)
    }
    /// Whether a node that [`Cycle::room`] accepts may be taken.
    pub(super) fn accepts(&self, states: &States, at: u32, node: &NodeInfo) -> bool {
        let waited_for =
            !self.cluster.nominated.is_empty() && self.cluster.nominated.contains_key(&node.name);
        if waited_for {
            return self.check_with_nominated(states, at, node).is_none();
        }
        self.check_by(&self.others, states, at, node).is_none()
    }
    fn check_by(&self, filters: &[Plugin], states: &States, at: u32, node: &NodeInfo) -> Option<Rejection> {
        let (pod, cluster) = (self.pod, self.cluster);
        for plugin in filters {
            let against = match plugin {
                Plugin::NodeUnschedulable => nodeunschedulable::filter(node, self.cordon_tolerated),
                Plugin::NodeName => nodename::filter(pod, node),
                Plugin::TaintToleration => tainttoleration::filter(node, &self.needs.verdicts),
                Plugin::NodeAffinity => nodeaffinity::filter(&self.needs, at),
                Plugin::NodePorts => nodeports::filter(pod, node),
                Plugin::NodeResourcesFit => noderesources::filter(&self.asked, node),
                Plugin::VolumeRestrictions => volumerestrictions::filter(states.taken),
                Plugin::NodeVolumeLimits => nodevolumelimits::filter(&cluster.storage, pod, node),
                Plugin::VolumeBinding => volumebinding::filter(&cluster.storage, &self.claims, pod, node),
                Plugin::VolumeZone => volumezone::filter(&self.zones, node),
                Plugin::PodTopologySpread => {
                    podtopologyspread::filter(cluster, &self.needs, &states.spread, at)
                }
                Plugin::InterPodAffinity => {
                    let state = states.affinity.as_ref();
                    state.and_then(|state| interpodaffinity::filter(cluster, &self.needs, state, pod, at))
                }
                _ => None,
            };
            if against.is_some() {
                return against;
            }
        }
        None
    }
    /// The same, with the pods that wait for room on the node there, and without: both must pass.
    pub(super) fn check_with_nominated(
        &self,
        states: &States,
        at: u32,
        node: &NodeInfo,
    ) -> Option<Rejection> {
        if !self.cluster.nominated.is_empty()
            && let Some(waiting) = self.cluster.nominated.get(&node.name)
        {
            let before = |p: &&Arc<PodInfo>| p.priority >= self.pod.priority && p.uid != self.pod.uid;
            let first: Vec<&Arc<PodInfo>> = waiting.iter().filter(before).collect();
            if !first.is_empty() {
                let (mut states, mut node) = (states.clone(), node.clone());
                for pod in first {
                    self.add(&mut states, at, &mut node, pod);
                }
                if let Some(rejection) = self.check(&states, at, &node) {
                    return Some(rejection);
                }
            }
        }
        self.check(states, at, node)
    }
    /// Puts a pod on a node in thought.
    pub(super) fn add(&self, states: &mut States, at: u32, node: &mut NodeInfo, pod: &Arc<PodInfo>) {
        node.add(pod.clone());
        self.change(states, at, node, pod, 1);
    }
    /// Takes a pod off a node in thought.
    pub(super) fn take(&self, states: &mut States, at: u32, node: &mut NodeInfo, pod: &Arc<PodInfo>) {
        node.remove(&pod.uid);
        self.change(states, at, node, pod, -1);
    }
    fn change(&self, states: &mut States, at: u32, node: &NodeInfo, pod: &PodInfo, step: i64) {
        let (cluster, needs) = (self.cluster, &self.needs);
        if !states.spread.is_empty() {
            podtopologyspread::change(cluster, needs, &mut states.spread, (at, node), pod, step);
        }
        if let Some(state) = &mut states.affinity {
            interpodaffinity::change(cluster, needs, state, self.pod, (at, pod), step);
        }
        if !pod.rare.claims.is_empty() && !self.pod.rare.claims.is_empty() {
            states.taken += step * volumerestrictions::shared(&cluster.storage, self.pod, pod);
        }
    }
    /// Scores of feasible nodes, each plugin's own; the error is an internal one of the cycle.
    pub(super) fn score(&self, feasible: &[u32]) -> Result<Scores, String> {
        let mut scores = Scores { plugins: Vec::new(), totals: vec![0; feasible.len()] };
        for (plugin, weight) in self.profile.scores.iter().copied() {
            let Some(mut values) = self.score_by(plugin, feasible, true)? else { continue };
            for (value, total) in values.iter_mut().zip(&mut scores.totals) {
                *value *= weight;
                *total += *value;
            }
            scores.plugins.push((plugin, values));
        }
        Ok(scores)
    }
    /// Adds all scores to those of room, which are in `totals`.
    pub(super) fn add_scores(&self, feasible: &[u32], totals: &mut [i64]) -> Result<(), String> {
        let room = [Plugin::NodeResourcesFit, Plugin::NodeResourcesBalancedAllocation];
        for (plugin, weight) in self.profile.scores.iter().filter(|(p, _)| !room.contains(p)) {
            let Some(values) = self.score_by(*plugin, feasible, false)? else { continue };
            totals.iter_mut().zip(values).for_each(|(total, value)| *total += weight * value);
        }
        Ok(())
    }
    /// One plugin's normalised scores; `None` when it has nothing to say, or (unless `each`) says the same
    /// of every node.
    fn score_by(&self, plugin: Plugin, feasible: &[u32], each: bool) -> Result<Option<Vec<i64>>, String> {
        let (pod, cluster) = (self.pod, self.cluster);
        let raw = |score: &dyn Fn(&NodeInfo) -> i64| -> Vec<i64> {
            feasible.iter().map(|at| score(cluster.node(*at))).collect()
        };
        Ok(match plugin {
            Plugin::TaintToleration => {
                if !each && self.needs.verdicts.iter().all(|v| v.avoided == 0) {
                    return Ok(None);
                }
                let mut scores = raw(&|node| tainttoleration::score(node, &self.needs.verdicts));
                normalize(&mut scores, true);
                Some(scores)
            }
            Plugin::NodeAffinity => {
                if let Some(error) = &pod.rare.preferred_error {
                    return Err(format!("running PreScore plugin \"NodeAffinity\": {error}"));
                }
                let added = &self.profile.added.preferred;
                (!pod.rare.preferred.is_empty() || !added.is_empty()).then(|| {
                    let mut scores = raw(&|node| nodeaffinity::score(pod, added, node));
                    normalize(&mut scores, false);
                    scores
                })
            }
            Plugin::NodeResourcesFit => {
                let fit = &self.profile.fit;
                let score = |at: &u32| noderesources::score(pod, cluster.node(*at), fit);
                Some(feasible.iter().map(score).collect())
            }
            Plugin::NodeResourcesBalancedAllocation => {
                let over = &self.profile.balanced;
                let score = |at: &u32| noderesources::balanced_over(pod, cluster.node(*at), over);
                noderesources::is_balanced(pod, over).then(|| feasible.iter().map(score).collect())
            }
            Plugin::PodTopologySpread => (!self.needs.soft.is_empty())
                .then(|| podtopologyspread::score(cluster, &self.needs, feasible)),
            Plugin::InterPodAffinity => {
                if self.profile.ignore_preferred_terms_of_existing_pods && self.needs.preferred.is_empty() {
                    return Ok(None);
                }
                let weight = self.profile.hard_pod_affinity_weight;
                interpodaffinity::pre_score(cluster, &self.needs, weight)
                    .map(|sums| interpodaffinity::score(cluster, &sums, feasible))
            }
            Plugin::ImageLocality => {
                let images = imagelocality::pre_score(cluster, pod);
                if !each && images.is_empty() {
                    return Ok(None);
                }
                Some(feasible.iter().map(|at| imagelocality::score(pod, &images, *at)).collect())
            }
            // Claims for devices are left out; without any, every node scores nothing.
            Plugin::DynamicResources => each.then(|| vec![0; feasible.len()]),
            _ => None,
        })
    }
}
