//! One attempt to place a pod, as kube-scheduler makes it: enough nodes, not all; one of the best, by lot.

use super::cluster::Cluster;
use super::cycle::{Cycle, States};
use super::decision::{no_preemption, not_named, preempt, refused_message, unfit_message, whole_message};
use super::plugins::defaultpreemption::{self, Candidate};
use super::pod::PodInfo;
use super::profile::Profile;
use super::status::{Plugin, Rejection};
use crate::random::Stream;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The pod goes to this node.
    Fits(Arc<str>),
    /// It goes nowhere for now.
    Unfit(Unfit),
}

/// Why a pod goes nowhere, and what is done about it.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) message: String,
    /// Reason of the condition.
    pub(super) reason: &'static str,
    /// The plugins that turned it down, one bit each.
    pub(super) against: u32,
    pub(super) nomination: Nomination,
}

/// What becomes of the node a pod waits for.
#[derive(Debug)]
pub(super) enum Nomination {
    Keep,
    Clear,
    To(Candidate),
}

/// What an attempt carries over to the next: where the search goes on, and chance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Search {
    next: usize,
    draw: Stream,
}

impl Search {
    /// A search that begins at the first node and draws from the stream of `cause` under `seed`.
    pub fn new(seed: u64, cause: &str) -> Search {
        Search { next: 0, draw: Stream::new(seed, cause) }
    }
    /// The node a pod goes to, if any fits.
    pub fn choose(&mut self, cluster: &mut Cluster, pod: &PodInfo, profile: &Profile) -> Option<Arc<str>> {
        match self.attempt(cluster, pod, profile) {
            Outcome::Fits(node) => Some(node),
            Outcome::Unfit(_) => None,
        }
    }
    fn below(&mut self, n: usize) -> usize {
        if n < 2 { 0 } else { self.draw.below(n as u64) as usize }
    }
    /// Tries to place a pod.
    pub(super) fn attempt(&mut self, cluster: &mut Cluster, pod: &PodInfo, profile: &Profile) -> Outcome {
        let nodes = cluster.node_count();
        let (cycle, states) = match Cycle::new(cluster, pod, profile) {
            Ok(begun) => begun,
            Err(rejection) => return Outcome::Unfit(refused(nodes, pod, profile, &rejection)),
        };
        let name = |at: u32| cycle.cluster.node(at).name.clone();
        if let Some(at) = pod.nominated.as_ref().and_then(|node| cycle.cluster.find(node))
            && cycle.cluster.node(at).known
            && cycle.check_with_nominated(&states, at, cycle.cluster.node(at)).is_none()
        {
            return Outcome::Fits(name(at));
        }
        let (feasible, rejected) = sample(&cycle, &states, &mut self.next);
        match feasible.as_slice() {
            [] => Outcome::Unfit(self.unfit(&cycle, &states, &rejected)),
            [only] => Outcome::Fits(name(*only)),
            several => match cycle.score(several, false) {
                Ok(scores) => {
                    let most = scores.totals.iter().copied().max().unwrap_or(0);
                    let best = || (0..several.len()).filter(|i| scores.totals[*i] == most);
                    let lot = self.below(best().count());
                    Outcome::Fits(name(best().nth(lot).map_or(several[0], |i| several[i])))
                }
                Err(message) => Outcome::Unfit(Unfit {
                    message,
                    reason: "SchedulerError",
                    against: Plugin::NodeAffinity.bit(),
                    nomination: Nomination::Keep,
                }),
            },
        }
    }
    fn unfit(&mut self, cycle: &Cycle<'_>, states: &States, rejected: &[(u32, Rejection)]) -> Unfit {
        let offset = self.below(defaultpreemption::potential(rejected));
        let mut preemption = preempt(cycle, states, rejected, offset);
        let nodes = cycle.cluster.node_count();
        let said = unfit_message(nodes, cycle.pod, rejected);
        let message = whole_message(nodes, &said, &preemption);
        let nomination = match preemption.best.first() {
            Some(best) => Nomination::To(preemption.candidates.swap_remove(*best)),
            None if preemption.ineligible.is_some() => Nomination::Keep,
            None => Nomination::Clear,
        };
        let against = rejected.iter().filter_map(|(_, r)| r.plugin).fold(0, |bits, p| bits | p.bit());
        Unfit { message, reason: "Unschedulable", against, nomination }
    }
}

/// A pod was turned down before nodes were looked at.
fn refused(nodes: usize, pod: &PodInfo, profile: &Profile, rejection: &Rejection) -> Unfit {
    let said = refused_message(nodes, pod, rejection);
    let preemption = no_preemption(nodes, pod, profile);
    // Where the plugin for device claims ends in an error, the node waited for is kept.
    let kept = profile.post_filters.contains(&Plugin::DynamicResources) || preemption.ineligible.is_some();
    Unfit {
        message: whole_message(nodes, &said, &preemption),
        reason: "Unschedulable",
        against: rejection.plugin.map_or(0, Plugin::bit),
        nomination: if kept { Nomination::Keep } else { Nomination::Clear },
    }
}

/// Filters nodes in turn until there are enough; the next search begins where this one ended.
fn sample(cycle: &Cycle<'_>, states: &States, next: &mut usize) -> (Vec<u32>, Vec<(u32, Rejection)>) {
    let order = cycle.cluster.ordered();
    let enough = cycle.profile.feasible_enough(order.len());
    let (mut feasible, mut rejected) = (Vec::with_capacity(enough.min(1024)), Vec::new());
    if order.is_empty() {
        return (feasible, rejected);
    }
    let start = *next % order.len();
    let mut seen = 0;
    for at in order[start..].iter().chain(&order[..start]) {
        if feasible.len() >= enough {
            break;
        }
        seen += 1;
        let node = cycle.cluster.node(*at);
        if cycle.accepts(*at, node) {
            feasible.push(*at);
            continue;
        }
        let named = cycle.only.as_ref().is_none_or(|only| only.contains(&&*node.name));
        let against = if named { cycle.check_with_nominated(states, *at, node) } else { Some(not_named()) };
        match against {
            Some(rejection) => rejected.push((*at, rejection)),
            None => feasible.push(*at),
        }
    }
    *next = (start + seen) % order.len();
    (feasible, rejected)
}
