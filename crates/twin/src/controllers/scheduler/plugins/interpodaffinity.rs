//! `InterPodAffinity`: pods that want to be near others, or far from them.

use super::SCORE_MAX;
use crate::controllers::scheduler::cluster::Cluster;
use crate::controllers::scheduler::counts::Bearing;
use crate::controllers::scheduler::cycle::{Needs, TermNeed};
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Plugin, Rejection};

/// Matching pods by value of a topology key.
type ByValue = Vec<i64>;

/// What the filter counts.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct State {
    /// By topology key: placed pods that want no such pod near.
    existing: Vec<(usize, ByValue)>,
    /// For each required term: pods that match all of them.
    affinity: Vec<ByValue>,
    /// For each required anti-affinity term.
    anti: Vec<ByValue>,
}

/// Adds up what is counted by node.
fn by_value(cluster: &Cluster, key: usize, by_node: &[u32], into: &mut ByValue, weight: i64) -> bool {
    let key = cluster.topology.key(key);
    into.resize(key.size(), 0);
    let mut any = false;
    for (at, count) in by_node.iter().enumerate().filter(|(_, count)| **count > 0) {
        if cluster.node(at as u32).known
            && let Some(value) = key.value(at as u32)
        {
            into[value] += weight * i64::from(*count);
            any = true;
        }
    }
    any
}

fn counted(cluster: &Cluster, need: &TermNeed) -> ByValue {
    let mut values = ByValue::new();
    let all = cluster.counters.get(need.counter).map(|c| c.all.as_slice()).unwrap_or_default();
    by_value(cluster, need.key, all, &mut values, 1);
    values
}

/// `None` when neither the pod nor those placed ask for anything.
pub(in super::super) fn pre_filter(cluster: &Cluster, needs: &Needs) -> Option<State> {
    let mut state = State::default();
    for (key, bearing, id) in &needs.carried {
        if *bearing != Bearing::RequiredAnti {
            continue;
        }
        let Some(carried) = cluster.carried.get(*id) else { continue };
        let values = existing(&mut state, *key);
        by_value(cluster, *key, &carried.by_node, values, 1);
    }
    state.existing.retain(|(_, values)| values.iter().any(|n| *n > 0));
    state.affinity = needs.affinity.iter().map(|need| counted(cluster, need)).collect();
    state.anti = needs.anti.iter().map(|need| counted(cluster, need)).collect();
    let idle = state.existing.is_empty() && state.affinity.is_empty() && state.anti.is_empty();
    (!idle).then_some(state)
}

fn existing(state: &mut State, key: usize) -> &mut ByValue {
    let at = state.existing.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
        state.existing.push((key, ByValue::new()));
        state.existing.len() - 1
    });
    &mut state.existing[at].1
}

/// A pod comes to a node, or leaves it, in thought.
pub(in super::super) fn change(
    cluster: &Cluster,
    needs: &Needs,
    state: &mut State,
    incoming: &PodInfo,
    (at, pod): (u32, &PodInfo),
    step: i64,
) {
    let topology = &cluster.topology;
    for term in &pod.rare.terms.anti {
        if !term.pods.matches(&incoming.namespace, &incoming.labels, &cluster.namespaces) {
            continue;
        }
        let Some(key) = topology.known(&term.key) else { continue };
        if let Some(value) = topology.key(key).value(at) {
            let values = existing(state, key);
            values.resize(topology.key(key).size(), 0);
            values[value] += step;
        }
    }
    let matches = |term: &crate::controllers::scheduler::pod::Term| {
        term.pods.matches(&pod.namespace, &pod.labels, &cluster.namespaces)
    };
    let add = |need: &TermNeed, values: &mut ByValue| {
        if let Some(value) = topology.key(need.key).value(at) {
            values[value] += step;
        }
    };
    let terms = &incoming.rare.terms;
    if !terms.affinity.is_empty() && terms.affinity.iter().all(|t| matches(t)) {
        needs.affinity.iter().zip(&mut state.affinity).for_each(|(need, values)| add(need, values));
    }
    for ((need, term), values) in needs.anti.iter().zip(&terms.anti).zip(&mut state.anti) {
        if matches(term) {
            add(need, values);
        }
    }
}

pub(in super::super) fn filter(
    cluster: &Cluster,
    needs: &Needs,
    state: &State,
    pod: &PodInfo,
    at: u32,
) -> Option<Rejection> {
    let value = |key: usize| cluster.topology.key(key).value(at);
    if !near(cluster, needs, state, pod, at) {
        return Some(Rejection::unresolvable(
            Plugin::InterPodAffinity,
            "node(s) didn't match pod affinity rules",
        ));
    }
    let mut anti = needs.anti.iter().enumerate();
    if anti.any(|(i, need)| value(need.key).is_some_and(|v| state.anti[i][v] > 0)) {
        return Some(Rejection::unschedulable(
            Plugin::InterPodAffinity,
            "node(s) didn't match pod anti-affinity rules",
        ));
    }
    let unwanted =
        |(key, values): &(usize, ByValue)| value(*key).is_some_and(|v| values.get(v).is_some_and(|n| *n > 0));
    if !state.existing.iter().any(unwanted) {
        return None;
    }
    Some(Rejection::unschedulable(
        Plugin::InterPodAffinity,
        "node(s) didn't satisfy existing pods anti-affinity rules",
    ))
}

/// Whether the pod's required terms hold on a node. The first of a group of pods that want to be near
/// each other may go anywhere that has the labels.
fn near(cluster: &Cluster, needs: &Needs, state: &State, pod: &PodInfo, at: u32) -> bool {
    let mut all = true;
    for (i, need) in needs.affinity.iter().enumerate() {
        let Some(value) = cluster.topology.key(need.key).value(at) else { return false };
        all &= state.affinity[i][value] > 0;
    }
    all || (needs.own_affinity(pod, cluster) && state.affinity.iter().flatten().all(|n| *n <= 0))
}

/// Scores by topology key and value.
pub(in super::super) fn pre_score(
    cluster: &Cluster,
    needs: &Needs,
    hard_weight: i64,
) -> Option<Vec<(usize, ByValue)>> {
    let mut sums: Vec<(usize, ByValue)> = Vec::new();
    let mut any = false;
    let mut add = |key: usize, by_node: &[u32], weight: i64| {
        if weight == 0 {
            return;
        }
        let at = sums.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
            sums.push((key, ByValue::new()));
            sums.len() - 1
        });
        any |= by_value(cluster, key, by_node, &mut sums[at].1, weight);
    };
    for (need, weight) in &needs.preferred {
        if let Some(counter) = cluster.counters.get(need.counter) {
            add(need.key, &counter.all, *weight);
        }
    }
    for (key, bearing, id) in &needs.carried {
        let Some(carried) = cluster.carried.get(*id) else { continue };
        let weight = match bearing {
            Bearing::RequiredAnti => 0,
            Bearing::Required => hard_weight,
            Bearing::Preferred => carried.term.weight,
            Bearing::PreferredAnti => -carried.term.weight,
        };
        add(*key, &carried.by_node, weight);
    }
    any.then_some(sums)
}

/// Scores of feasible nodes, normalised.
pub(in super::super) fn score(cluster: &Cluster, sums: &[(usize, ByValue)], feasible: &[u32]) -> Vec<i64> {
    let one = |at: u32| -> i64 {
        let of = |(key, values): &(usize, ByValue)| {
            cluster.topology.key(*key).value(at).and_then(|v| values.get(v)).copied()
        };
        sums.iter().filter_map(of).sum()
    };
    let mut scores: Vec<i64> = feasible.iter().map(|at| one(*at)).collect();
    let least = scores.iter().copied().min().unwrap_or(0);
    let span = scores.iter().copied().max().unwrap_or(0) - least;
    for score in &mut scores {
        *score = match span {
            0 => 0,
            _ => (SCORE_MAX as f64 * ((*score - least) as f64 / span as f64)) as i64,
        };
    }
    scores
}
