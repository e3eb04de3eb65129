//! `PodTopologySpread`: pods of a kind are spread over zones, hosts, or whatever a label names.

use super::SCORE_MAX;
use crate::controllers::scheduler::cluster::Cluster;
use crate::controllers::scheduler::cycle::{Needs, SpreadNeed};
use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::{PodInfo, PodSelector, Spread};
use crate::controllers::scheduler::profile::{SpreadDefault, SpreadDefaults};
use crate::controllers::scheduler::status::{Plugin, Rejection};
use std::sync::Arc;

const HOSTNAME: &str = "kubernetes.io/hostname";
/// What a pod that services or controllers select is spread by when it says nothing itself.
const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), ("topology.kubernetes.io/zone", 5)];
/// A value no eligible node has.
const ABSENT: i64 = -1;

/// The constraints of a pod that has none.
pub(in super::super) fn defaults(
    cluster: &Cluster,
    pod: &PodInfo,
    stated: &SpreadDefaults,
) -> Vec<Arc<Spread>> {
    if matches!(stated, SpreadDefaults::List(list) if list.is_empty()) {
        return Vec::new();
    }
    let Some(selector) = cluster.owners_selector(pod) else { return Vec::new() };
    let namespaces = vec![pod.namespace.clone()];
    let namespace_selector = crate::controllers::scheduler::labels::Selector::Nothing;
    let pods = PodSelector { namespaces, namespace_selector, selector };
    let one = |of: &SpreadDefault| {
        Arc::new(Spread {
            key: of.key.as_str().into(),
            skew_max: of.skew_max,
            hard: of.hard,
            domains_min: of.domains_min,
            own: pods.selector.matches(&pod.labels),
            pods: pods.clone(),
            honor_affinity: of.honor_affinity,
            honor_taints: of.honor_taints,
        })
    };
    match stated {
        SpreadDefaults::List(list) => list.iter().map(one).collect(),
        SpreadDefaults::System => DEFAULTS.into_iter().map(|of| one(&system(of))).collect(),
    }
}

fn system((key, skew_max): (&str, i64)) -> SpreadDefault {
    SpreadDefault {
        key: key.to_owned(),
        skew_max,
        hard: false,
        domains_min: 1,
        honor_affinity: true,
        honor_taints: false,
    }
}

/// Whether a node counts for a constraint.
fn counts(needs: &Needs, need: &SpreadNeed, at: u32, node: &NodeInfo) -> bool {
    (!need.spread.honor_affinity || needs.selects(at)) && (!need.spread.honor_taints || needs.tolerates(node))
}

/// Matching pods by value of the key, for one hard constraint; [`ABSENT`] for values no eligible node has.
#[derive(Clone, Debug)]
pub(in super::super) struct Domains {
    counts: Vec<i64>,
    /// How many eligible values there are.
    values: usize,
    least: i64,
}

impl Domains {
    fn measure(&mut self) {
        let present = || self.counts.iter().filter(|n| **n != ABSENT);
        self.values = present().count();
        self.least = present().copied().min().unwrap_or(0);
    }
}

/// Counts matching pods for each hard constraint.
pub(in super::super) fn pre_filter(cluster: &Cluster, needs: &Needs) -> Vec<Domains> {
    let topology = &cluster.topology;
    let mut all: Vec<Domains> = needs
        .hard
        .iter()
        .map(|n| Domains { counts: vec![ABSENT; topology.key(n.key).size()], values: 0, least: 0 })
        .collect();
    let live = |need: &SpreadNeed| cluster.counters.get(need.counter).map(|c| c.live.as_slice());
    let lives: Vec<&[u32]> = needs.hard.iter().map(|need| live(need).unwrap_or_default()).collect();
    for at in cluster.ordered() {
        if needs.hard.iter().any(|need| topology.key(need.key).value(*at).is_none()) {
            continue;
        }
        let node = cluster.node(*at);
        // By place and not zipped: in the builds people use, what zips is not inlined here.
        for (i, need) in needs.hard.iter().enumerate() {
            let Some(value) = topology.key(need.key).value(*at) else { continue };
            if !counts(needs, need, *at, node) {
                continue;
            }
            let live = lives[i].get(*at as usize).copied().unwrap_or(0);
            let count = &mut all[i].counts[value];
            *count = (*count).max(0) + i64::from(live);
        }
    }
    for domains in &mut all {
        domains.measure();
    }
    all
}

/// A pod comes to a node, or leaves it, in thought.
pub(in super::super) fn change(
    cluster: &Cluster,
    needs: &Needs,
    all: &mut [Domains],
    (at, node): (u32, &NodeInfo),
    pod: &PodInfo,
    step: i64,
) {
    if needs.hard.iter().any(|need| cluster.topology.key(need.key).value(at).is_none()) {
        return;
    }
    for (need, domains) in needs.hard.iter().zip(all) {
        let Some(value) = cluster.topology.key(need.key).value(at) else { continue };
        let matches = need.spread.pods.matches(&pod.namespace, &pod.labels, &cluster.namespaces);
        if matches && counts(needs, need, at, node) && domains.counts[value] != ABSENT {
            domains.counts[value] = (domains.counts[value] + step).max(0);
            domains.measure();
        }
    }
}

pub(in super::super) fn filter(
    cluster: &Cluster,
    needs: &Needs,
    all: &[Domains],
    at: u32,
) -> Option<Rejection> {
    for (i, need) in needs.hard.iter().enumerate() {
        let domains = &all[i];
        let Some(value) = cluster.topology.key(need.key).value(at) else {
            return Some(Rejection::unresolvable(
                Plugin::PodTopologySpread,
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ));
        };
        let least = if domains.values < need.spread.domains_min { 0 } else { domains.least };
        let count = domains.counts[value].max(0);
        if count + i64::from(need.spread.own) - least > need.spread.skew_max {
            return Some(Rejection::unschedulable(
                Plugin::PodTopologySpread,
                "node(s) didn't match pod topology spread constraints",
            ));
        }
    }
    None
}

/// What scoring knows of one soft constraint.
struct Soft<'a> {
    need: &'a SpreadNeed,
    host: bool,
    weight: f64,
    /// Matching pods by value; [`ABSENT`] for values no feasible node has.
    counts: Vec<i64>,
}

impl Soft<'_> {
    fn on(&self, cluster: &Cluster, at: u32) -> i64 {
        let live = cluster.counters.get(self.need.counter).and_then(|c| c.live.get(at as usize));
        i64::from(live.copied().unwrap_or(0))
    }
}

/// Scores of feasible nodes, normalised. Nodes that lack a key the pod itself names score nothing.
pub(in super::super) fn score(cluster: &Cluster, needs: &Needs, feasible: &[u32]) -> Vec<i64> {
    let topology = &cluster.topology;
    let lacks =
        |at: u32| needs.explicit && needs.soft.iter().any(|need| topology.key(need.key).value(at).is_none());
    let ignored: Vec<bool> = feasible.iter().map(|at| lacks(*at)).collect();
    let softs = pre_score(cluster, needs, feasible, &ignored, lacks);
    let raw = |at: u32| {
        let mut sum = 0.0;
        for soft in &softs {
            let Some(value) = topology.key(soft.need.key).value(at) else { continue };
            let count = if soft.host { soft.on(cluster, at) } else { soft.counts[value].max(0) };
            sum += count as f64 * soft.weight + (soft.need.spread.skew_max - 1) as f64;
        }
        sum.round() as i64
    };
    let mut scores: Vec<i64> = feasible.iter().map(|at| raw(*at)).collect();
    let kept = || scores.iter().zip(&ignored).filter(|(_, ignored)| !**ignored).map(|(s, _)| *s);
    let (least, most) = (kept().min().unwrap_or(0), kept().max().unwrap_or(0));
    for (score, ignored) in scores.iter_mut().zip(&ignored) {
        *score = match (*ignored, most) {
            (true, _) => 0,
            (false, 0) => SCORE_MAX,
            (false, _) => SCORE_MAX * (most + least - *score) / most,
        };
    }
    scores
}

fn pre_score<'a>(
    cluster: &Cluster,
    needs: &'a Needs,
    feasible: &[u32],
    ignored: &[bool],
    lacks: impl Fn(u32) -> bool,
) -> Vec<Soft<'a>> {
    let topology = &cluster.topology;
    let kept = || feasible.iter().zip(ignored).filter(|(_, ignored)| !**ignored).map(|(at, _)| *at);
    let mut softs: Vec<Soft<'_>> = Vec::with_capacity(needs.soft.len());
    for need in &needs.soft {
        let key = topology.key(need.key);
        let host = &*key.name == HOSTNAME;
        let mut counts = vec![ABSENT; if host { 0 } else { key.size() }];
        let mut size = 0;
        if host {
            size = kept().count();
        } else {
            for value in kept().filter_map(|at| key.value(at)) {
                if counts[value] == ABSENT {
                    counts[value] = 0;
                    size += 1;
                }
            }
        }
        softs.push(Soft { need, host, weight: (size as f64 + 2.0).ln(), counts });
    }
    if softs.iter().all(|soft| soft.host) {
        return softs;
    }
    for at in cluster.ordered() {
        if lacks(*at) {
            continue;
        }
        let node = cluster.node(*at);
        for soft in softs.iter_mut().filter(|soft| !soft.host) {
            let Some(value) = topology.key(soft.need.key).value(*at) else { continue };
            if soft.counts[value] != ABSENT && counts(needs, soft.need, *at, node) {
                soft.counts[value] += soft.on(cluster, *at);
            }
        }
    }
    softs
}
