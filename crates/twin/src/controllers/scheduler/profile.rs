//! How a scheduler decides: which plugins, with what weights, how many nodes it looks at.

use super::status::Plugin;
use serde::{Deserialize, Serialize};

/// Fewest nodes looked for, however large the cluster.
const FEASIBLE_MIN: usize = 100;
/// Smallest share of nodes looked for when the share follows the cluster's size, in percent.
const PERCENT_MIN: i64 = 5;

/// One profile of a scheduler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Name in `spec.schedulerName` of the pods it is for.
    pub name: String,
    /// Plugins that are not asked, neither as filters nor for scores.
    pub disabled: Vec<Plugin>,
    /// Weights of the plugins that score, where they differ from the default ones.
    pub weights: Vec<(Plugin, i64)>,
    /// Share of the nodes looked for before scoring, in percent; 0 follows the cluster's size.
    pub percentage_of_nodes_to_score: i64,
    /// How room is scored.
    pub strategy: Strategy,
    /// Weight of required affinity of pods already placed towards the new one.
    pub hard_pod_affinity_weight: i64,
    /// Whether pods without constraints are spread as Kubernetes does by itself.
    pub default_spread: bool,
    /// Share of the nodes tried for preemption, in percent.
    pub candidates_percent: usize,
    /// Fewest nodes tried for preemption.
    pub candidates_min: usize,
}

/// How NodeResourcesFit scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Strategy {
    /// Empty nodes first.
    LeastAllocated,
    /// Full nodes first.
    MostAllocated,
    /// By use in percent, along straight lines between (use, score of 0 to 10).
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            name: "default-scheduler".to_owned(),
            disabled: Vec::new(),
            weights: Vec::new(),
            percentage_of_nodes_to_score: 0,
            strategy: Strategy::LeastAllocated,
            hard_pod_affinity_weight: 1,
            default_spread: true,
            candidates_percent: 10,
            candidates_min: 100,
        }
    }
}

impl Profile {
    /// Whether a plugin is asked.
    pub fn asks(&self, plugin: Plugin) -> bool {
        !self.disabled.contains(&plugin)
    }
    /// What a plugin's scores are multiplied by.
    pub fn weight(&self, plugin: Plugin) -> i64 {
        if let Some((_, weight)) = self.weights.iter().find(|(p, _)| *p == plugin) {
            return *weight;
        }
        match plugin {
            Plugin::TaintToleration => 3,
            Plugin::NodeAffinity | Plugin::PodTopologySpread | Plugin::InterPodAffinity => 2,
            _ => 1,
        }
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
    }
}
