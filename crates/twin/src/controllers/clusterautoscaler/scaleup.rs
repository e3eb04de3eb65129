//! Which nodes are added for pods that fit nowhere.
//!
//! Pods that fit existing or expected nodes are left out; the others are put into groups of pods that are alike; for each
//! node group those that a new node would take are packed onto as few new nodes as it takes (first fit, the largest
//! first), by the scheduler's own filters; the expander chooses. Nothing is changed here: [`plan`] gives a plan.

use super::expander::{self, Offer, Priorities};
use super::template::Template;
use crate::controllers::owned::controller;
use crate::controllers::podcontrol::condition;
use crate::controllers::scheduler::{Asking, Simulation};
use crate::controllers::{Cx, is_deleting};
use crate::kind::Kind;
use fleet::supply::Autoscaler;
use fleet::{Instant, NodeGroup, Span};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most nodes added at once (`--max-nodes-per-scaleup`).
const NODES_MAX: u32 = 1000;
/// While all pods are younger than this, one more look is waited for.
const VERY_NEW: Span = Span::from_seconds(2);

/// A group, and whether it may be enlarged.
pub(super) struct Candidate<'a> {
    pub(super) group: &'a NodeGroup,
    pub(super) template: Template,
    /// How many nodes were asked for.
    pub(super) target: u32,
    pub(super) max: u32,
    /// Why it may not.
    pub(super) skipped: Option<&'static str>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Group, how many nodes more, and for which pods.
    pub(super) increase: Option<(String, u32, Vec<Arc<Pod>>)>,
    /// Pods that nothing is done for, and why.
    pub(super) refused: Vec<(Arc<Pod>, String)>,
    /// When to look again for pods that are too young.
    pub(super) look_at: Option<Instant>,
}

fn created(pod: &Pod) -> Instant {
    pod.metadata.creation_timestamp.as_ref().map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0))
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
}

/// Whether the scheduler has found no place for a pod, and takes none from others for it.
fn is_unschedulable(pod: &Pod) -> bool {
    let bound = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
    let nominated = pod.status.as_ref().is_some_and(|s| s.nominated_node_name.is_some());
    let said = condition(pod, "PodScheduled");
    let unfit = said.is_some_and(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
    unfit && !bound && !nominated && !is_deleting(&pod.metadata)
}

/// Pods for which nodes may be added, the most important first, and when the next of those that are too young is old enough.
pub(super) fn pending(cx: &Cx<'_>, set: &Autoscaler) -> (Vec<Arc<Pod>>, Option<Instant>) {
    let all = cx.objects.list(Kind::Pod, None).filter_map(|stored| stored.object.as_pod());
    let all = all.filter(|p| is_unschedulable(p) && priority(p) >= set.expendable_pods_priority_cutoff);
    let (mut old, mut young) = (Vec::new(), None::<Instant>);
    for pod in all {
        let at = created(pod) + set.new_pod_scale_up_delay;
        if at <= cx.now {
            old.push(Arc::new(pod.clone()));
        } else {
            young = Some(young.map_or(at, |other| other.min(at)));
        }
    }
    old.sort_by_key(|pod| std::cmp::Reverse(priority(pod)));
    (old, young)
}

/// Pods that are alike.
struct Alike {
    pods: Vec<(Arc<Pod>, Asking)>,
    /// Why new nodes would not, with how many groups say so.
    against: BTreeMap<String, u32>,
}

/// Pods of one controller that are alike; others each by themselves.
fn alike(pods: Vec<(Arc<Pod>, Asking)>) -> Vec<Alike> {
    let mut groups: Vec<Alike> = Vec::new();
    let mut of: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (pod, asking) in pods {
        let owner = controller(&pod.metadata).map(|owner| owner.uid.clone());
        let same = |group: &Alike| {
            let other = &group.pods[0].0;
            other.spec == pod.spec && other.metadata.labels == pod.metadata.labels
        };
        let known = owner.as_ref().and_then(|uid| of.get(uid)).into_iter().flatten();
        let found = known.copied().find(|i| same(&groups[*i]));
        match found {
            Some(i) => groups[i].pods.push((pod, asking)),
            None => {
                if let Some(owner) = owner {
                    of.entry(owner).or_default().push(groups.len());
                }
                groups.push(Alike { pods: vec![(pod, asking)], against: BTreeMap::new() });
            }
        }
    }
    groups
}

/// What enlarging a group comes to: the offer, and which pods it is for (by group of pods and number).
type Estimate = (Offer, Vec<(usize, usize)>);

/// Packs pods onto new nodes of a group. The largest come first, by the sum of the shares of a node they ask for.
fn estimate(
    simulation: &Simulation,
    candidate: &Candidate<'_>,
    groups: &[Alike],
    fit: &[usize],
    most: u32,
) -> Estimate {
    let group = candidate.group;
    let node = (group.vcpu.max(1) * 1000, group.memory.as_bytes().max(1));
    let score = |i: usize| {
        let (cpu, memory) = groups[i].pods[0].1.asks();
        cpu as f64 / node.0 as f64 + memory as f64 / node.1 as f64
    };
    let mut order = fit.to_vec();
    order.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
    let mut simulation = simulation.clone();
    simulation.rewind();
    let prefix = format!("template-node-for-{}-new-", group.name);
    let mut offer = Offer {
        group: group.name.clone(),
        nodes: 0,
        pods: 0,
        asked: (0, 0),
        node,
        gpu: group.gpu,
        price: group.price,
    };
    // Nodes that were added, and whether the last of them has a pod.
    let (mut added, mut used, mut placed) = (0, true, Vec::new());
    for group in order {
        for (number, (_, asking)) in groups[group].pods.iter().enumerate() {
            let mut place = simulation.first_fit(asking, &|name| name.starts_with(&prefix));
            if place.is_none() && used && added < most {
                let name = format!("{prefix}{added}");
                candidate.template.add(&mut simulation, &name);
                (added, used) = (added + 1, false);
                if simulation.against(asking, &name).is_empty() {
                    place = Some(name.into());
                }
            }
            // A pod that does not fit an empty node fits no other either, nor do those that are alike.
            let Some(place) = place else { break };
            used |= place.strip_prefix(&prefix).and_then(|n| n.parse().ok()) == Some(added - 1);
            simulation.place(&place, asking);
            let (cpu, memory) = asking.asks();
            offer.asked = (offer.asked.0 + cpu, offer.asked.1 + memory);
            placed.push((group, number));
        }
    }
    offer.nodes = if used { added } else { added - 1 };
    offer.pods = placed.len();
    (offer, placed)
}

/// Decides for which pods which group is to be enlarged. Pods that fit elsewhere are placed in the simulation.
pub(super) fn plan(
    simulation: &mut Simulation,
    pending: &[Arc<Pod>],
    candidates: &[Candidate<'_>],
    set: &Autoscaler,
    (nodes, now): (u32, Instant),
    priorities: Option<&Priorities>,
    lot: &mut dyn FnMut(usize) -> usize,
) -> Plan {
    let mut plan = Plan::default();
    let mut unfit = Vec::new();
    for pod in pending {
        let Some(asking) = simulation.asking(pod) else { continue };
        match simulation.first_fit(&asking, &|_| true) {
            Some(node) => simulation.place(&node, &asking),
            None => unfit.push((pod.clone(), asking)),
        }
    }
    let Some(oldest) = unfit.iter().map(|(pod, _)| created(pod)).min() else { return plan };
    if set.max_nodes_total > 0 && nodes >= set.max_nodes_total {
        let why = |(pod, _): (Arc<Pod>, Asking)| (pod, "max total nodes in cluster reached".to_owned());
        plan.refused = unfit.into_iter().map(why).collect();
        return plan;
    }
    if oldest + VERY_NEW > now {
        plan.look_at = Some(oldest + VERY_NEW);
        return plan;
    }
    let left = if set.max_nodes_total > 0 { set.max_nodes_total - nodes } else { NODES_MAX };
    let mut groups = alike(unfit);
    let mut estimates: Vec<Estimate> = Vec::new();
    for candidate in candidates.iter().filter(|candidate| candidate.skipped.is_none()) {
        let fit = fitting(simulation, candidate, &mut groups);
        let most = (candidate.max - candidate.target).min(NODES_MAX).min(left);
        let estimate = estimate(simulation, candidate, &groups, &fit, most);
        if estimate.0.nodes > 0 && estimate.0.pods > 0 {
            estimates.push(estimate);
        }
    }
    let offers: Vec<Offer> = estimates.iter().map(|(offer, _)| offer.clone()).collect();
    match expander::choose(&offers, &set.expander, (nodes as usize, priorities), lot) {
        Some(best) => {
            let (offer, placed) = &estimates[best];
            let pods = placed.iter().map(|(group, number)| groups[*group].pods[*number].0.clone()).collect();
            plan.increase = Some((offer.group.clone(), offer.nodes, pods));
        }
        None => plan.refused = refusals(groups, candidates),
    }
    plan
}

/// Which pods a new node of a group would take; of the others is noted why not.
fn fitting(simulation: &Simulation, candidate: &Candidate<'_>, groups: &mut [Alike]) -> Vec<usize> {
    let mut simulation = simulation.clone();
    let name = format!("template-node-for-{}-probe", candidate.group.name);
    candidate.template.add(&mut simulation, &name);
    let mut fit = Vec::new();
    for (i, group) in groups.iter_mut().enumerate() {
        let against = simulation.against(&group.pods[0].1, &name);
        if against.is_empty() {
            fit.push(i);
        }
        for reason in against {
            *group.against.entry(reason).or_default() += 1;
        }
    }
    fit
}

/// What pods are told that nothing is done for.
fn refusals(groups: Vec<Alike>, candidates: &[Candidate<'_>]) -> Vec<(Arc<Pod>, String)> {
    let mut all = Vec::new();
    for mut group in groups {
        for skipped in candidates.iter().filter_map(|candidate| candidate.skipped) {
            *group.against.entry(skipped.to_owned()).or_default() += 1;
        }
        let reasons: Vec<String> =
            group.against.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let reasons = reasons.join(", ");
        all.extend(group.pods.into_iter().map(|(pod, _)| (pod, reasons.clone())));
    }
    all
}
