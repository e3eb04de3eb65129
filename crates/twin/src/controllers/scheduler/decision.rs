//! What would happen to a pod, with every reason: the pure decision.
//!
//! [`decide`] looks at every node, keeps what each plugin says, and draws nothing at random: where
//! kube-scheduler takes one of several equally good nodes at random, all of them are given.

use super::cluster::Cluster;
use super::cycle::Cycle;
use super::plugins::defaultpreemption::{self, Preemption, Tries};
use super::pod::PodInfo;
use super::profile::Profile;
use super::status::{Code, Histogram, Plugin, Rejection, Why};
use std::sync::Arc;

/// What the plugin for device claims says after a cycle in which no node fitted.
const NO_CLAIMS: &str = "no new claims to deallocate";
/// What is said instead of all that when the pod was turned down before nodes were looked at.
const NO_STATE: &str = "not found";

/// Why preemption is not tried where no plugin does it.
const DISABLED: &str = "the profile does not have DefaultPreemption";

/// A decision about one pod.
#[derive(Debug, Default)]
pub struct Decision {
    /// What turned the pod down before nodes were looked at.
    pub pre_filter: Option<Rejection>,
    /// The only nodes looked at, when a plugin names them.
    pub pre_filter_nodes: Option<Vec<String>>,
    /// Who turned each other node down, in the order they were looked at.
    pub rejected: Vec<(Arc<str>, Rejection)>,
    /// The nodes the pod may go to, in order of name.
    pub feasible: Vec<Arc<str>>,
    /// Whether the node that the pod was to wait for has room.
    pub nominated_first: bool,
    /// The plugins that scored.
    pub score_order: Vec<Plugin>,
    /// Weighted scores of each feasible node in that order, then their sum.
    pub scores: Vec<(Arc<str>, Vec<i64>)>,
    /// The nodes with the highest sum, in order of name.
    pub best: Vec<Arc<str>>,
    /// What the pod is told when it goes nowhere.
    pub message: Option<String>,
    /// The part of it that speaks of the filters alone.
    pub filter_message: Option<String>,
    /// What preemption found, when no node fitted.
    pub preemption: Option<Preemption>,
}

/// The reason against nodes that were not looked at.
pub(super) fn not_named() -> Rejection {
    let why = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
    Rejection { plugin: None, code: Code::UnschedulableAndUnresolvable, why: Why::Text(why) }
}

/// What filters say of a pod that they turned down before nodes were looked at.
pub(super) fn refused_message(nodes: usize, pod: &PodInfo, rejection: &Rejection) -> String {
    format!("0/{nodes} nodes are available: {}.", rejection.reasons(pod).join(", "))
}

/// What filters say of a pod that fits nowhere.
pub(super) fn unfit_message(nodes: usize, pod: &PodInfo, rejected: &[(u32, Rejection)]) -> String {
    let mut histogram = Histogram::default();
    rejected.iter().for_each(|(_, r)| histogram.add(&r.why, 1));
    histogram.message(nodes, pod)
}

/// The whole sentence: what the filters say, then what the plugins after them say.
pub(super) fn whole_message(nodes: usize, filters: &str, preemption: &Preemption) -> String {
    match &preemption.message {
        _ if nodes == 0 => "no nodes available to schedule pods".to_owned(),
        Some(post) => format!("{filters} {post}"),
        None => filters.to_owned(),
    }
}

/// What preemption finds for a pod that was turned down before nodes were looked at: nothing.
pub(super) fn no_preemption(nodes: usize, pod: &PodInfo, profile: &Profile) -> Preemption {
    let after = |plugin: Plugin| profile.post_filters.contains(&plugin);
    let never = (!pod.preempts).then(|| defaultpreemption::NEVER.to_owned());
    let (ineligible, message) = match (after(Plugin::DynamicResources), after(Plugin::DefaultPreemption)) {
        (true, true) => (never, Some(NO_STATE.to_owned())),
        (true, false) => (Some(DISABLED.to_owned()), Some(NO_STATE.to_owned())),
        (false, true) => {
            let (ineligible, message) =
                (never.clone(), never.unwrap_or_else(|| defaultpreemption::unhelpful(nodes)));
            (ineligible, Some(format!("preemption: {message}")))
        }
        (false, false) => (None, None),
    };
    Preemption { ineligible, message, ..Preemption::default() }
}

/// Looks for room by preemption; its message has what all plugins say after the filters.
pub(super) fn preempt(
    cycle: &Cycle<'_>,
    states: &super::cycle::States,
    rejected: &[(u32, Rejection)],
    offset: usize,
) -> Preemption {
    let potential = defaultpreemption::potential(rejected);
    let profile = cycle.profile;
    let after = |plugin: Plugin| profile.post_filters.contains(&plugin);
    if !after(Plugin::DefaultPreemption) {
        let claims = after(Plugin::DynamicResources);
        return Preemption {
            ineligible: claims.then(|| DISABLED.to_owned()),
            message: claims.then(|| NO_CLAIMS.to_owned()),
            ..Preemption::default()
        };
    }
    let enough = (potential * profile.candidates_percent / 100).max(profile.candidates_min);
    let tries = Tries { offset, enough: enough.min(potential) };
    let mut preemption = defaultpreemption::run(cycle, states, rejected, tries);
    let said = |plugin: &Plugin, of_preemption: &str| match plugin {
        Plugin::DynamicResources => Some(NO_CLAIMS.to_owned()),
        Plugin::DefaultPreemption => Some(of_preemption.to_owned()),
        _ => None,
    };
    preemption.message = preemption.message.map(|message| {
        let all: Vec<String> = profile.post_filters.iter().filter_map(|p| said(p, &message)).collect();
        all.join(", ")
    });
    preemption
}

/// Decides about a pod, looking at every node.
pub fn decide(cluster: &mut Cluster, pod: &PodInfo, profile: &Profile) -> Decision {
    let nodes = cluster.node_count();
    let (cycle, states) = match Cycle::new(cluster, pod, profile) {
        Ok(begun) => begun,
        Err(rejection) => {
            let said = refused_message(nodes, pod, &rejection);
            let preemption = no_preemption(nodes, pod, profile);
            return Decision {
                message: Some(whole_message(nodes, &said, &preemption)),
                filter_message: Some(said),
                pre_filter: Some(rejection),
                preemption: Some(preemption),
                ..Decision::default()
            };
        }
    };
    let cluster = cycle.cluster;
    let name = |at: u32| cluster.node(at).name.clone();
    let mut decision = Decision {
        pre_filter_nodes: cycle.only.as_ref().map(|only| only.iter().map(|n| (*n).to_owned()).collect()),
        ..Decision::default()
    };
    let (mut feasible, mut rejected) = (Vec::new(), Vec::new());
    for at in cluster.ordered() {
        let node = cluster.node(*at);
        let named = cycle.only.as_ref().is_none_or(|only| only.contains(&&*node.name));
        let against = if named { cycle.check_with_nominated(&states, *at, node) } else { Some(not_named()) };
        match against {
            Some(rejection) => rejected.push((*at, rejection)),
            None => feasible.push(*at),
        }
    }
    if let Some(at) = pod.nominated.as_ref().and_then(|node| cluster.find(node))
        && feasible.contains(&at)
    {
        decision.nominated_first = true;
        decision.best = vec![name(at)];
        feasible.sort_by_key(|at| name(*at));
        decision.feasible = feasible.iter().map(|at| name(*at)).collect();
    } else if feasible.is_empty() {
        let preemption = preempt(&cycle, &states, &rejected, 0);
        let said = unfit_message(nodes, pod, &rejected);
        decision.message = Some(whole_message(nodes, &said, &preemption));
        decision.filter_message = Some(said);
        decision.preemption = Some(preemption);
    } else if let Err(error) = score(&cycle, &mut feasible, &mut decision) {
        return Decision { message: Some(format!("error: {error}")), ..Decision::default() };
    }
    decision.rejected = rejected.into_iter().map(|(at, r)| (name(at), r)).collect();
    decision
}

fn score(cycle: &Cycle<'_>, feasible: &mut Vec<u32>, decision: &mut Decision) -> Result<(), String> {
    let name = |at: u32| cycle.cluster.node(at).name.clone();
    feasible.sort_by_key(|at| name(*at));
    decision.feasible = feasible.iter().map(|at| name(*at)).collect();
    if let [only] = feasible.as_slice() {
        decision.best = vec![name(*only)];
        return Ok(());
    }
    let scores = cycle.score(feasible)?;
    let most = scores.totals.iter().copied().max().unwrap_or(0);
    decision.score_order = scores.plugins.iter().map(|(plugin, _)| *plugin).collect();
    for (i, at) in feasible.iter().enumerate() {
        let total = scores.totals[i];
        let each = scores.plugins.iter().map(|(_, values)| values[i]).chain([total]);
        decision.scores.push((name(*at), each.collect()));
        if total == most {
            decision.best.push(name(*at));
        }
    }
    Ok(())
}
