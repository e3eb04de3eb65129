//! One attempt to place a pod, as kube-scheduler makes it: enough nodes, not all; one of the best, by lot.

use super::cluster::Cluster;
use super::cycle::{Cycle, States};
use super::decision::{no_preemption, not_named, preempt, refused_message, unfit_message, whole_message};
use super::plugins::defaultpreemption::{self, Candidate};
use super::pod::PodInfo;
use super::profile::Profile;
use super::rooms::{REFUSED, Table};
use super::status::{Plugin, Rejection};
use crate::random::Stream;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How many nodes' answers are looked at together: enough for wide registers, few enough that one answer that is yet to be
/// worked out costs little.
const STRIDE: usize = 64;

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
        let mut table = cluster.take_table(pod, profile);
        let outcome = self.attempt_by(&mut table, cluster, pod, profile);
        cluster.put_table_back(table);
        outcome
    }
    fn attempt_by(
        &mut self,
        table: &mut Table,
        cluster: &mut Cluster,
        pod: &PodInfo,
        profile: &Profile,
    ) -> Outcome {
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
        let start = if nodes == 0 { 0 } else { self.next % nodes };
        let chosen = match cycle.is_plain() {
            true => Ok(self.choose_plain(&cycle, table)),
            false => self.choose_among(&cycle, &states, table),
        };
        match chosen {
            Ok(Some(at)) => Outcome::Fits(name(at)),
            Ok(None) => {
                let rejected = rejected(&cycle, &states, start);
                Outcome::Unfit(self.unfit(&cycle, &states, &rejected))
            }
            Err(message) => Outcome::Unfit(Unfit {
                message,
                reason: "SchedulerError",
                against: Plugin::NodeAffinity.bit(),
                nomination: Nomination::Keep,
            }),
        }
    }
    /// One of the best of enough nodes, where nodes' own answers are all there is.
    fn choose_plain(&mut self, cycle: &Cycle<'_>, table: &mut Table) -> Option<u32> {
        let order = cycle.cluster.ordered();
        let enough = enough(cycle.profile, order.len());
        let start = self.next.checked_rem(order.len())?;
        let (mut seen, mut fit) = (0, 0);
        for part in [start..order.len(), 0..start] {
            let mut place = part.start;
            while place < part.end && fit < enough {
                // No more at once than are wanted, so that the search ends behind the last that is.
                let end = part.end.min(place + STRIDE.min(enough - fit));
                fit += table.fill(place..end, |place| {
                    let at = order[place];
                    cycle.room(at, cycle.cluster.node(at))
                });
                seen += end - place;
                place = end;
            }
        }
        self.next = (start + seen) % order.len();
        let first = start..(start + seen).min(order.len());
        let then = 0..(start + seen).saturating_sub(order.len());
        let (most, ties) = best(table.known(then.clone()), best(table.known(first.clone()), (REFUSED, 0)));
        if most == REFUSED {
            return None;
        }
        let lot = self.below(ties);
        let mut places = first.chain(then).filter(|place| table.known(*place..*place + 1)[0] == most);
        places.nth(lot).map(|place| order[place])
    }
    /// The same where more plugins have a say.
    fn choose_among(
        &mut self,
        cycle: &Cycle<'_>,
        states: &States,
        table: &mut Table,
    ) -> Result<Option<u32>, String> {
        let order = cycle.cluster.ordered();
        if order.is_empty() {
            return Ok(None);
        }
        let found = match cycle.only.as_deref().map(|names| cycle.cluster.places_of(names)) {
            None => {
                let start = self.next % order.len();
                let places = (start..order.len()).chain(0..start);
                Found::among(cycle, states, table, places, enough(cycle.profile, order.len()))
            }
            Some(named) => {
                let start = self.next.checked_rem(named.len()).unwrap_or(0);
                let places = named[start..].iter().chain(&named[..start]).copied();
                Found::among(cycle, states, table, places, enough(cycle.profile, named.len()))
            }
        };
        self.next = (self.next % order.len() + found.seen) % order.len();
        let Found { feasible, mut totals, .. } = found;
        if feasible.len() > 1 {
            cycle.add_scores(&feasible, &mut totals)?;
        }
        let most = totals.iter().copied().max().unwrap_or(0);
        let best = || feasible.iter().zip(&totals).filter(|(_, total)| **total == most);
        let lot = self.below(best().count());
        Ok(best().nth(lot).map(|(at, _)| *at))
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

/// The highest of some answers and how many are as high, those before counted.
fn best(answers: &[i64], before: (i64, usize)) -> (i64, usize) {
    let (mut most, mut ties) = before;
    for answer in answers {
        if *answer > most {
            (most, ties) = (*answer, 1);
        } else if *answer == most {
            ties += 1;
        }
    }
    (most, ties)
}

/// How many nodes that fit are looked for among `nodes`: one, where nobody would score them.
fn enough(profile: &Profile, nodes: usize) -> usize {
    if profile.scores.is_empty() { 1 } else { profile.feasible_enough(nodes) }
}

/// Nodes that fit.
#[derive(Debug, Default)]
struct Found {
    feasible: Vec<u32>,
    /// What each has to offer by itself.
    totals: Vec<i64>,
    /// How many nodes were looked at.
    seen: usize,
}

impl Found {
    /// Filters nodes in turn until there are enough.
    fn among(
        cycle: &Cycle<'_>,
        states: &States,
        table: &mut Table,
        places: impl Iterator<Item = usize>,
        enough: usize,
    ) -> Found {
        let order = cycle.cluster.ordered();
        let mut found = Found::default();
        for place in places {
            if found.feasible.len() >= enough {
                break;
            }
            found.seen += 1;
            let at = order[place];
            let node = cycle.cluster.node(at);
            let room = table.answer(place, || cycle.room(at, node));
            if room != REFUSED && cycle.accepts(states, at, node) {
                found.feasible.push(at);
                found.totals.push(room);
            }
        }
        found
    }
}

/// Why each node turns the pod down, where all do, from the one at `start` on.
fn rejected(cycle: &Cycle<'_>, states: &States, start: usize) -> Vec<(u32, Rejection)> {
    let order = cycle.cluster.ordered();
    let against = |at: u32| {
        let node = cycle.cluster.node(at);
        let named = cycle.only.as_ref().is_none_or(|only| only.contains(&&*node.name));
        if named { cycle.check_with_nominated(states, at, node) } else { Some(not_named()) }
    };
    order[start..].iter().chain(&order[..start]).filter_map(|at| Some((*at, against(*at)?))).collect()
}
