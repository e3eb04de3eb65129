//! Which nodes are not worth their price: what becomes of nodes if they are taken away, and which are tried.
//!
//! Nodes are taken away if all their pods fit on others, and replaced by one node if that is cheaper than they are
//! together. Several are tried at once by halving: the first so many in the order of what they cost for each pod that would
//! have to move; then each by itself, pools taking turns. Method: `pkg/controllers/disruption/{consolidation,
//! multinodeconsolidation,singlenodeconsolidation}.go` of Karpenter 1.14. Bounded by how many nodes are looked at, not by
//! time as there. Left out: the policy `Balanced`.

use super::packing::{NewNode, Packed, Target};
use super::scene::Scene;
use fleet::{MoneyPerHour, NodeGroup};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most nodes that are tried at once.
const MULTI_MAX: usize = 100;
/// Most nodes that are tried each by itself in one look.
const SINGLE_MAX: usize = 100;
/// How many cheaper instance types a spot node must have that is replaced by another, and how many it may become.
const SPOT_TYPES: usize = 15;
/// Most errors of pods that are told.
const ERRORS_MAX: usize = 5;

/// A node that may be disrupted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) node: Arc<str>,
    pub(super) pool: Arc<str>,
    pub(super) instance_type: String,
    pub(super) price: MoneyPerHour,
    pub(super) is_spot: bool,
    /// 1, and what evicting each of its pods counts as.
    pub(super) cost: f64,
}

impl Candidate {
    /// Whether no pod would have to move.
    pub(super) fn is_empty(&self) -> bool {
        self.cost <= 1.0
    }
    fn ratio(&self) -> f64 {
        self.price.as_units_f64() / self.cost
    }
}

/// What is to be done with nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Candidate>,
    /// What comes in their place, if anything does.
    pub(super) replacement: Option<Replacement>,
    /// Nodes that pods go to.
    pub(super) nominated: Vec<Arc<str>>,
}

/// A node in place of others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Replacement {
    pub(super) pool: String,
    /// Groups it may be of, the cheapest first.
    pub(super) options: Vec<String>,
    pub(super) zone: String,
    /// Price of the cheapest.
    pub(super) price: MoneyPerHour,
}

impl Plan {
    /// What it does, in a word.
    pub(super) fn decision(&self) -> &'static str {
        if self.replacement.is_some() { "replace" } else { "delete" }
    }
    fn names(&self) -> String {
        self.nodes.iter().map(|own| &*own.node).collect::<Vec<_>>().join(", ")
    }
    /// As it is told of one of its nodes.
    pub(super) fn told_of(&self, node: &str) -> String {
        let decision = self.decision();
        match (self.nodes.len(), &self.replacement) {
            (1, Some(_)) => format!("{decision}: [{node}] -> [1 replacement]"),
            (1, None) => format!("{decision}: [{node}]"),
            (many, _) => format!("{decision}: [{node}] (part of {many}-node consolidation)"),
        }
    }
    /// What it saves in an hour.
    pub(super) fn savings(&self) -> f64 {
        let before: f64 = self.nodes.iter().map(|own| own.price.as_units_f64()).sum();
        before - self.replacement.as_ref().map_or(0.0, |new| new.price.as_units_f64())
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let new = if self.replacement.is_some() { " -> [1 replacement]" } else { "" };
        let pools: BTreeSet<&str> = self.nodes.iter().map(|own| &*own.pool).collect();
        let pools = pools.into_iter().collect::<Vec<_>>().join(",");
        let (decision, names, savings) = (self.decision(), self.names(), self.savings());
        write!(f, "{decision}: nodepools=[{pools}]: [{names}]{new} (savings: ${savings:.2})")
    }
}

/// Puts those first that cost most for each pod that would have to move.
pub(super) fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()).then_with(|| a.node.cmp(&b.node)));
}

/// The candidates with pools taking turns.
pub(super) fn interweave(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut pools: Vec<(Arc<str>, std::collections::VecDeque<Candidate>)> = Vec::new();
    for own in candidates {
        match pools.iter_mut().find(|(pool, _)| *pool == own.pool) {
            Some((_, queue)) => queue.push_back(own),
            None => pools.push((own.pool.clone(), [own].into())),
        }
    }
    let mut all = Vec::new();
    while pools.iter().any(|(_, queue)| !queue.is_empty()) {
        all.extend(pools.iter_mut().filter_map(|(_, queue)| queue.pop_front()));
    }
    all
}

/// Why pods of some nodes would find no place; `None`: all would.
fn unplaced(scene: &Scene<'_>, packed: &Packed<'_>) -> Option<String> {
    let name = |pod: usize| {
        let meta = &packed.pods[pod].pod.metadata;
        format!(
            "{}/{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        )
    };
    let waits = |pod: usize| super::pods::is_provisionable(&packed.pods[pod].pod);
    let failed = packed.failed.iter().filter(|(pod, _)| !waits(**pod));
    let mut errors: BTreeMap<usize, String> = failed.map(|(pod, why)| (*pod, why.clone())).collect();
    for (node, pods) in packed.existing.iter().filter(|(node, _)| !scene.is_initialized(node)) {
        let own = pods.iter().filter(|pod| !waits(**pod) && !scene.leaves(&packed.pods[**pod].pod));
        errors
            .extend(own.map(|pod| (*pod, format!("would schedule against uninitialized nodeclaim/{node}"))));
    }
    if errors.is_empty() {
        return None;
    }
    let more = errors.len().saturating_sub(ERRORS_MAX);
    let told: Vec<String> =
        errors.iter().take(ERRORS_MAX).map(|(pod, why)| format!("{} => {why}", name(*pod))).collect();
    let more = if more > 0 { format!(" and {more} other(s)") } else { String::new() };
    Some(format!("Not all pods would schedule, {}{more}", told.join(" ")))
}

fn is_spot(group: &NodeGroup) -> bool {
    group.supply.spot.is_some()
}

/// Which of the machines that a new node may be are worth it; else why none is.
fn worth<'a>(new: &NewNode<'a>, of: &[&Candidate], spot_to_spot: bool) -> Result<Vec<&'a NodeGroup>, String> {
    let together: i64 = of.iter().map(|own| own.price.as_nanos()).sum();
    let any_spot = new.options.iter().any(|group| is_spot(group));
    let replaces_spot = any_spot && of.iter().all(|own| own.is_spot);
    if replaces_spot && !spot_to_spot {
        return Err(
            "SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node".to_owned()
        );
    }
    // Where it may be spot it is thought to become spot, and may then become nothing dearer.
    let suits = |group: &&&NodeGroup| (!any_spot || is_spot(group)) && group.price.as_nanos() < together;
    let mut left: Vec<&NodeGroup> = new.options.iter().filter(suits).copied().collect();
    if left.is_empty() {
        return Err("Can't replace with a cheaper node".to_owned());
    }
    if replaces_spot && of.len() == 1 {
        if left.len() < SPOT_TYPES {
            return Err(format!(
                "SpotToSpotConsolidation requires {SPOT_TYPES} cheaper instance type options than the current candidate \
                to consolidate, got {}",
                left.len()
            ));
        }
        left.truncate(SPOT_TYPES);
    }
    Ok(left)
}

/// Of several nodes that become one: it is cheaper than any of them whose type it may have; else that one might as well stay.
fn another_type<'a>(options: Vec<&'a NodeGroup>, of: &[&Candidate]) -> Vec<&'a NodeGroup> {
    let same =
        of.iter().filter(|own| options.iter().any(|group| group.instance_type.as_str() == own.instance_type));
    let most = same.map(|own| own.price.as_nanos()).min().unwrap_or(i64::MAX);
    options.into_iter().filter(|group| group.price.as_nanos() < most).collect()
}

/// What becomes of nodes that are taken away together; else why they stay.
pub(super) fn compute(scene: &Scene<'_>, of: &[&Candidate]) -> Result<Plan, String> {
    let without: BTreeSet<Arc<str>> = of.iter().map(|own| own.node.clone()).collect();
    let mut targets: BTreeMap<Arc<str>, Target> = BTreeMap::new();
    let packed = scene.pack(&without, &mut targets);
    if let Some(why) = unplaced(scene, &packed) {
        return Err(why);
    }
    let nodes: Vec<Candidate> = of.iter().map(|own| (*own).clone()).collect();
    let nominated = packed.existing.keys().cloned().collect();
    let new = match packed.new.as_slice() {
        [] => return Ok(Plan { nodes, replacement: None, nominated }),
        [new] => new,
        many => return Err(format!("Can't remove without creating {} candidates", many.len())),
    };
    let mut options = worth(new, of, scene.set.spot_to_spot)?;
    if of.len() > 1 {
        options = another_type(options, of);
    }
    let Some(cheapest) = options.first() else { return Err("Can't replace with a cheaper node".to_owned()) };
    let replacement = Replacement {
        pool: new.pool.name.clone(),
        options: options.iter().map(|group| group.name.clone()).collect(),
        zone: new.zone.clone(),
        price: cheapest.price,
    };
    Ok(Plan { nodes, replacement: Some(replacement), nominated })
}

/// The most nodes, from the first on, that can be taken away together; at least two.
pub(super) fn multi(scene: &Scene<'_>, candidates: &[Candidate]) -> Option<Plan> {
    let (mut low, mut high) = (1, candidates.len().min(MULTI_MAX + 1).checked_sub(1)?);
    let mut found = None;
    while low <= high {
        let middle = usize::midpoint(low, high);
        let of: Vec<&Candidate> = candidates[..=middle].iter().collect();
        match compute(scene, &of) {
            Ok(plan) => (found, low) = (Some(plan), middle + 1),
            Err(_) => high = middle - 1,
        }
    }
    found
}

/// The first node that can be taken away by itself; of those before it, why they stay.
pub(super) fn single(scene: &Scene<'_>, candidates: &[Candidate]) -> (Option<Plan>, Vec<(Arc<str>, String)>) {
    let mut stay = Vec::new();
    for own in candidates.iter().take(SINGLE_MAX) {
        match compute(scene, &[own]) {
            Ok(plan) => return (Some(plan), stay),
            Err(why) => stay.push((own.node.clone(), why)),
        }
    }
    (None, stay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::karpenter::NodePool;

    fn pool() -> NodePool {
        let text = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  \
            karpenter:\n    nodePools:\n    - {name: default}\n";
        fleet::file::parse(text).unwrap().clusters.remove(0).karpenter.unwrap().node_pools.remove(0)
    }

    fn candidate(pool: &NodePool, name: &str, group: &str, cost: f64) -> Candidate {
        let group = pool.offerings.iter().find(|own| own.name == group).unwrap();
        Candidate {
            node: name.into(),
            pool: "default".into(),
            instance_type: group.instance_type.to_string(),
            price: group.price,
            is_spot: is_spot(group),
            cost,
        }
    }

    fn new<'a>(pool: &'a NodePool, may: impl Fn(&NodeGroup) -> bool) -> NewNode<'a> {
        let options = pool.offerings.iter().filter(|group| may(group)).collect();
        NewNode { pool, options, zone: String::new(), pods: Vec::new() }
    }

    fn names(groups: &[&NodeGroup]) -> Vec<String> {
        groups.iter().map(|group| group.name.clone()).collect()
    }

    #[test]
    fn what_costs_most_for_each_pod_comes_first_and_pools_take_turns() {
        let pool = pool();
        let of = |name: &str, group: &str, cost: f64| candidate(&pool, name, group, cost);
        let mut all = vec![
            of("busy", "default-m6i.xlarge", 9.0),
            of("large", "default-m6i.xlarge", 2.0),
            of("other", "default-m6i.large", 2.0),
            of("small", "default-m6i.large", 2.0),
        ];
        all[2].pool = "batch".into();
        sort(&mut all);
        let order = |all: &[Candidate]| all.iter().map(|own| own.node.to_string()).collect::<Vec<_>>();
        assert_eq!(order(&all), ["large", "other", "small", "busy"]);
        assert_eq!(order(&interweave(all)), ["large", "other", "small", "busy"]);
        let many = ["a", "b", "c"].map(|name| of(name, "default-m6i.large", 1.0));
        let mut mixed = many.to_vec();
        mixed.push(Candidate { pool: "batch".into(), ..of("z", "default-m6i.large", 1.0) });
        assert_eq!(order(&interweave(mixed)), ["a", "z", "b", "c"]);
    }

    #[test]
    fn a_replacement_is_cheaper_than_what_it_replaces() {
        let pool = pool();
        let demand = |family: &'static str| {
            move |group: &NodeGroup| !is_spot(group) && group.instance_type.as_str().starts_with(family)
        };
        let old = candidate(&pool, "a", "default-m6i.xlarge", 2.0);
        let left = worth(&new(&pool, demand("m6i.")), &[&old], false).unwrap();
        assert_eq!(names(&left), ["default-m6i.large"], "0.118 is less than 0.236");
        let least = candidate(&pool, "b", "default-m6i.large", 2.0);
        let why = worth(&new(&pool, demand("m6i.")), &[&least], false).unwrap_err();
        assert_eq!(why, "Can't replace with a cheaper node");
        // Two together may become one that is dearer than each, but not one of a type that one of them has already.
        let both = [&old, &least];
        let left = another_type(worth(&new(&pool, demand("m6i.")), &both, false).unwrap(), &both);
        assert!(left.is_empty(), "m6i.large might as well stay: {:?}", names(&left));
        let left = another_type(worth(&new(&pool, demand("m5.")), &both, false).unwrap(), &both);
        assert_eq!(names(&left), ["default-m5.large", "default-m5.xlarge"]);
    }

    #[test]
    fn what_may_be_spot_becomes_spot_and_spot_becomes_spot_only_among_many() {
        let pool = pool();
        let of_m6i = |group: &NodeGroup| group.instance_type.as_str().starts_with("m6i.");
        let demand = candidate(&pool, "a", "default-m6i.xlarge", 2.0);
        let left = worth(&new(&pool, of_m6i), &[&demand], false).unwrap();
        assert!(left.iter().all(|group| is_spot(group)), "{:?}", names(&left));
        assert!(left.iter().any(|group| group.name == "default-m6i.xlarge-spot"));
        let spot = candidate(&pool, "b", "default-m6i.xlarge-spot", 2.0);
        let why = worth(&new(&pool, of_m6i), &[&spot], false).unwrap_err();
        assert!(why.starts_with("SpotToSpotConsolidation is disabled"), "{why}");
        let why = worth(&new(&pool, of_m6i), &[&spot], true).unwrap_err();
        assert!(why.ends_with("got 1"), "{why}");
        let large = candidate(&pool, "c", "default-m6i.8xlarge-spot", 2.0);
        let left = worth(&new(&pool, |_| true), &[&large], true).unwrap();
        assert_eq!(left.len(), SPOT_TYPES);
        let together = [&large, &spot];
        assert!(
            worth(&new(&pool, |_| true), &together, true).unwrap().len() > SPOT_TYPES,
            "no bound on several"
        );
    }
}
