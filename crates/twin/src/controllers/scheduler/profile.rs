//! How a scheduler decides: which plugins, in what order and with what weights, how many nodes it looks at.
//!
//! The default is kube-scheduler 1.36's default profile. Scores are whole numbers from 0 to 100, weights multiply them;
//! shares are in percent. Left out: extenders, and what no default plugin does.

use super::config::points;
use super::labels::{NodeSelection, NodeTerm};
use super::pod::PodInfo;
use super::status::Plugin;
use crate::amounts::Amounts;
use fleet::Span;
use std::borrow::Cow;

/// Fewest nodes looked for, however large the cluster.
const FEASIBLE_MIN: usize = 100;
/// Smallest share of nodes looked for when the share follows the cluster's size, in percent.
const PERCENT_MIN: i64 = 5;
/// How long a pod waits for its claims by default (kube-scheduler's `bindTimeoutSeconds`).
pub(super) const BIND_TIMEOUT: Span = Span::from_seconds(600);
/// The profile of pods that name no scheduler.
pub(super) const DEFAULT_NAME: &str = "default-scheduler";

/// One profile of a scheduler.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Name in `spec.schedulerName` of the pods it is for.
    pub name: String,
    /// Plugins that prepare, and may turn a pod down before nodes are looked at, in order.
    pub pre_filters: Vec<Plugin>,
    /// Plugins that turn nodes down, in order.
    pub filters: Vec<Plugin>,
    /// Plugins that look for another way when no node fits, in order.
    pub post_filters: Vec<Plugin>,
    /// Plugins that score, in order, with what their scores are multiplied by.
    pub scores: Vec<(Plugin, i64)>,
    /// Share of the nodes looked for before scoring, in percent; 0 follows the cluster's size.
    pub percentage_of_nodes_to_score: i64,
    /// How room is scored, and what of it does not count.
    pub fit: Fit,
    /// Resources whose use is to be even.
    pub balanced: Vec<Resource>,
    /// Weight of required affinity of pods already placed towards the new one.
    pub hard_pod_affinity_weight: i64,
    /// Whether what placed pods prefer counts only for pods that prefer something themselves.
    pub ignore_preferred_terms_of_existing_pods: bool,
    /// How pods without constraints are spread.
    pub spread: SpreadDefaults,
    /// Node affinity that every pod of the profile has beside its own.
    pub added: AddedAffinity,
    /// How long a pod waits for its claims to be bound before it is tried anew.
    pub bind_timeout: Span,
    /// Share of the nodes tried for preemption, in percent.
    pub candidates_percent: usize,
    /// Fewest nodes tried for preemption.
    pub candidates_min: usize,
}

/// A resource of a node that is scored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// CPU, in thousandths of a core.
    Cpu,
    /// Memory, in bytes.
    Memory,
    /// Any other, in whole units.
    Other(String),
}

impl Resource {
    /// A resource by the name Kubernetes has for it.
    pub fn named(name: &str) -> Resource {
        match name {
            "cpu" => Resource::Cpu,
            "memory" => Resource::Memory,
            other => Resource::Other(other.to_owned()),
        }
    }
    /// Whether it counts only for pods that ask for it: whatever is neither CPU, memory nor ephemeral storage.
    pub(super) fn is_scalar(&self) -> bool {
        matches!(self, Resource::Other(name) if name != "ephemeral-storage")
    }
}

/// How NodeResourcesFit scores, and what it overlooks.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// How use becomes a score.
    pub strategy: Strategy,
    /// The resources that are scored, with their weights.
    pub resources: Vec<(Resource, i64)>,
    /// Extended resources that need not be there.
    pub ignored: Vec<String>,
    /// The same of all with this domain in front.
    pub ignored_groups: Vec<String>,
}

impl Fit {
    /// Whether a node may lack a resource all the same.
    pub(super) fn ignores(&self, resource: &str) -> bool {
        if self.ignored.is_empty() && self.ignored_groups.is_empty() {
            return false;
        }
        let Some((group, _)) = resource.split_once('/') else { return false };
        // Kubernetes' own are never ignored, nor names only quotas have.
        !resource.contains("kubernetes.io/")
            && !resource.starts_with("requests.")
            && (self.ignored.iter().any(|i| i == resource) || self.ignored_groups.iter().any(|g| g == group))
    }
    /// A request without the amounts that are ignored; these stay in it as nothing.
    pub(super) fn asked<'a>(&self, request: &'a Amounts) -> Cow<'a, Amounts> {
        if !request.others.keys().any(|name| self.ignores(name)) {
            return Cow::Borrowed(request);
        }
        let mut asked = request.clone();
        for (name, amount) in &mut asked.others {
            if self.ignores(name) {
                *amount = 0;
            }
        }
        Cow::Owned(asked)
    }
}

/// How NodeResourcesFit scores.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// Empty nodes first.
    LeastAllocated,
    /// Full nodes first.
    MostAllocated,
    /// By use in percent, along straight lines between (use, score of 0 to 100).
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// How pods without constraints are spread.
#[derive(Clone, Debug, PartialEq)]
pub enum SpreadDefaults {
    /// As Kubernetes does by itself: softly over hosts and zones.
    System,
    /// By these constraints.
    List(Vec<SpreadDefault>),
}

/// A constraint for pods that have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadDefault {
    /// Label that names the domains.
    pub key: String,
    /// Most pods by which a domain may be ahead of the one with the fewest.
    pub skew_max: i64,
    /// Whether it must hold, rather than should.
    pub hard: bool,
    /// Fewest domains.
    pub domains_min: usize,
    /// Whether only nodes count that the pod's own selection allows.
    pub honor_affinity: bool,
    /// Whether only nodes count whose taints the pod tolerates.
    pub honor_taints: bool,
}

/// Node affinity of a profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddedAffinity {
    /// Terms one of which must match.
    pub(super) required: Option<NodeSelection>,
    /// Terms that score, with their weights.
    pub(super) preferred: Vec<(i64, NodeTerm)>,
}

impl Default for Fit {
    fn default() -> Fit {
        Fit {
            strategy: Strategy::LeastAllocated,
            resources: vec![(Resource::Cpu, 1), (Resource::Memory, 1)],
            ignored: Vec::new(),
            ignored_groups: Vec::new(),
        }
    }
}

impl Default for Profile {
    fn default() -> Profile {
        let lists = points::Lists::default();
        Profile {
            name: DEFAULT_NAME.to_owned(),
            pre_filters: lists.pre_filters,
            filters: lists.filters,
            post_filters: lists.post_filters,
            scores: lists.scores,
            percentage_of_nodes_to_score: 0,
            fit: Fit::default(),
            balanced: vec![Resource::Cpu, Resource::Memory],
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
            spread: SpreadDefaults::System,
            added: AddedAffinity::default(),
            bind_timeout: BIND_TIMEOUT,
            candidates_percent: 10,
            candidates_min: 100,
        }
    }
}

impl Profile {
    /// Whether a plugin prepares or filters.
    pub(super) fn asks(&self, plugin: Plugin) -> bool {
        self.pre_filters.contains(&plugin) || self.filters.contains(&plugin)
    }
    /// What a plugin's scores are multiplied by; 0 if it does not score.
    pub fn weight(&self, plugin: Plugin) -> i64 {
        self.scores.iter().find(|(p, _)| *p == plugin).map_or(0, |(_, weight)| *weight)
    }
    /// Adds what the pod asks of a node under this profile.
    pub(super) fn adapt(&self, mut info: PodInfo) -> PodInfo {
        if let Cow::Owned(asked) = self.fit.asked(&info.request) {
            info.asked = Some(Box::new(asked));
        }
        info
    }
    /// How many nodes that fit are enough among `nodes`.
    pub fn feasible_enough(&self, nodes: usize) -> usize {
        if nodes < FEASIBLE_MIN || self.percentage_of_nodes_to_score >= 100 {
            return nodes;
        }
        let percent = match self.percentage_of_nodes_to_score {
            0 => (50 - nodes as i64 / 125).max(PERCENT_MIN),
            stated => stated,
        };
        (nodes * percent.max(0) as usize / 100).max(FEASIBLE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_clusters_are_sampled() {
        let profile = Profile::default();
        let enough: Vec<usize> =
            [50, 100, 200, 1000, 5000, 10_000].into_iter().map(|n| profile.feasible_enough(n)).collect();
        assert_eq!(enough, [50, 100, 100, 420, 500, 500]);
        let half = Profile { percentage_of_nodes_to_score: 50, ..Profile::default() };
        assert_eq!([99, 150, 1000].map(|n| half.feasible_enough(n)), [99, 100, 500]);
    }

    #[test]
    fn only_extended_resources_are_ignored() {
        let fit = Fit {
            ignored: vec!["example.com/a".to_owned(), "hugepages-2Mi".to_owned()],
            ignored_groups: vec!["nvidia.com".to_owned(), "kubernetes.io".to_owned()],
            ..Fit::default()
        };
        let names =
            ["example.com/a", "example.com/b", "nvidia.com/gpu", "hugepages-2Mi", "kubernetes.io/x", "cpu"];
        assert_eq!(names.map(|name| fit.ignores(name)), [true, false, true, false, false, false]);
    }
}
