//! `DefaultPreemption`: which less important pods to delete, and on which node, so that a pod fits.

use crate::controllers::scheduler::cluster::Cluster;
use crate::controllers::scheduler::cycle::{Cycle, States};
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Code, Histogram, Plugin, Rejection, Why};
use fleet::Instant;
use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

/// Added to priorities so that every victim counts.
const PRIORITY_SHIFT: i64 = 1 << 31;

/// What is said of a pod that must not preempt.
pub(in super::super) const NEVER: &str = "not eligible due to preemptionPolicy=Never.";

/// A node on which deleting pods would make room.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The node.
    pub node: Arc<str>,
    /// Who would be deleted, the most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    pub pdb_violations: usize,
}

/// What preemption found.
#[derive(Clone, Debug, Default)]
pub struct Preemption {
    /// Why it was not tried.
    pub ineligible: Option<String>,
    /// Nodes where it would help, in the order they were looked at.
    pub candidates: Vec<Candidate>,
    /// Which of them are equally good and better than the rest.
    pub best: Vec<usize>,
    /// What is said when there are none.
    pub message: Option<String>,
}

/// Which nodes are tried.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Tries {
    /// First of the nodes where preemption may help.
    pub(in super::super) offset: usize,
    /// How many candidates are enough.
    pub(in super::super) enough: usize,
}

/// Earlier start, or none: counts as the latest.
fn start(pod: &PodInfo) -> Instant {
    pod.start.unwrap_or(Instant::from_unix_seconds(i64::MAX / 2_000_000_000))
}

/// More important first: higher priority, then longer running. Equals go by name.
fn importance(a: &Arc<PodInfo>, b: &Arc<PodInfo>) -> Ordering {
    (Reverse(a.priority), start(a), &a.namespace, &a.name).cmp(&(
        Reverse(b.priority),
        start(b),
        &b.namespace,
        &b.name,
    ))
}

fn ineligible(cycle: &Cycle<'_>, rejected: &[(u32, Rejection)]) -> Option<&'static str> {
    let pod = cycle.pod;
    if !pod.preempts {
        return Some(NEVER);
    }
    let at = pod.nominated.as_ref().and_then(|node| cycle.cluster.find(node))?;
    let against = rejected.iter().find(|(other, _)| *other == at);
    if against.is_none_or(|(_, r)| r.code == Code::UnschedulableAndUnresolvable) {
        return None;
    }
    let leaving = |p: &Arc<PodInfo>| p.priority < pod.priority && p.terminating && p.preempted;
    cycle
        .cluster
        .node(at)
        .pods
        .iter()
        .any(leaving)
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// What is said when it helps on no node.
pub(in super::super) fn unhelpful(nodes: usize) -> String {
    format!("0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling.")
}

/// How many nodes there are where preemption may help.
pub(in super::super) fn potential(rejected: &[(u32, Rejection)]) -> usize {
    rejected.iter().filter(|(_, r)| r.code == Code::Unschedulable).count()
}

/// Looks for room that less important pods could give.
pub(in super::super) fn run(
    cycle: &Cycle<'_>,
    states: &States,
    rejected: &[(u32, Rejection)],
    tries: Tries,
) -> Preemption {
    let said = |text: String| Some(format!("preemption: {text}"));
    if let Some(why) = ineligible(cycle, rejected) {
        return Preemption {
            ineligible: Some(why.to_owned()),
            message: said(why.to_owned()),
            ..Preemption::default()
        };
    }
    let potential: Vec<u32> =
        rejected.iter().filter(|(_, r)| r.code == Code::Unschedulable).map(|(at, _)| *at).collect();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut failed = Histogram::default();
    let mut tried = 0;
    for i in 0..potential.len() {
        let harmless = candidates.iter().filter(|c| c.pdb_violations == 0).count();
        if harmless > 0 && candidates.len() >= tries.enough {
            break;
        }
        match victims(cycle, states, potential[(tries.offset + i) % potential.len()]) {
            Ok(candidate) => candidates.push(candidate),
            Err(rejection) => {
                failed.add(&rejection.why, 1);
                tried += 1;
            }
        }
    }
    if candidates.is_empty() {
        let nodes = cycle.cluster.node_count();
        failed.add(&Why::Text("Preemption is not helpful for scheduling"), nodes - tried);
        return Preemption { message: said(failed.message(nodes, cycle.pod)), ..Preemption::default() };
    }
    let best = best(&candidates);
    Preemption { candidates, best, ..Preemption::default() }
}

/// The pods to delete on one node: all that are less important, less those that can stay.
fn victims(cycle: &Cycle<'_>, states: &States, at: u32) -> Result<Candidate, Rejection> {
    let pods = cycle.cluster.node(at).pods.iter();
    let mut less: Vec<Arc<PodInfo>> = pods.filter(|p| p.priority < cycle.pod.priority).cloned().collect();
    if less.is_empty() {
        let why = "No preemption victims found for incoming pod";
        return Err(Rejection::unresolvable(Plugin::DefaultPreemption, why));
    }
    let (mut states, mut node) = (states.clone(), cycle.cluster.node(at).clone());
    for pod in &less {
        cycle.take(&mut states, at, &mut node, pod);
    }
    if let Some(rejection) = cycle.check_with_nominated(&states, at, &node) {
        return Err(rejection);
    }
    less.sort_by(importance);
    let protected = protected(cycle.cluster, &less);
    let mut victims = Vec::new();
    let mut pdb_violations = 0;
    for wanted in [true, false] {
        for (pod, _) in less.iter().zip(&protected).filter(|(_, p)| **p == wanted) {
            cycle.add(&mut states, at, &mut node, pod);
            if cycle.check_with_nominated(&states, at, &node).is_some() {
                cycle.take(&mut states, at, &mut node, pod);
                victims.push(pod.clone());
                pdb_violations += usize::from(wanted);
            }
        }
    }
    victims.sort_by(importance);
    Ok(Candidate { node: node.name.clone(), victims, pdb_violations })
}

/// Which of some pods a disruption budget protects, when they are deleted in this order.
fn protected(cluster: &Cluster, pods: &[Arc<PodInfo>]) -> Vec<bool> {
    let mut allowed: Vec<i64> = cluster.budgets.values().map(|b| b.allowed).collect();
    let mut one = |pod: &Arc<PodInfo>| {
        let mut protected = false;
        for (budget, allowed) in cluster.budgets.values().zip(&mut allowed) {
            let covers = *budget.namespace == *pod.namespace
                && !pod.labels.is_empty()
                && !budget.selector.is_everything()
                && budget.selector.matches(&pod.labels)
                && !budget.disrupted.contains(&*pod.name);
            if covers {
                *allowed -= 1;
                protected |= *allowed < 0;
            }
        }
        protected
    };
    pods.iter().map(&mut one).collect()
}

/// The candidates the five criteria leave equal.
fn best(candidates: &[Candidate]) -> Vec<usize> {
    let highest = |c: &Candidate| c.victims.first().map_or(i64::MIN, |v| i64::from(v.priority));
    let sum = |c: &Candidate| c.victims.iter().map(|v| i64::from(v.priority) + PRIORITY_SHIFT).sum::<i64>();
    let latest = |c: &Candidate| {
        let top = c.victims.iter().filter(|v| i64::from(v.priority) == highest(c));
        Reverse(top.map(|v| start(v)).min())
    };
    let rank = |c: &Candidate| (c.pdb_violations, highest(c), sum(c), c.victims.len(), latest(c));
    let Some(least) = candidates.iter().map(rank).min() else { return Vec::new() };
    (0..candidates.len()).filter(|i| rank(&candidates[*i]) == least).collect()
}
