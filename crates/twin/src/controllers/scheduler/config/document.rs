//! The shape of a `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`, Kubernetes 1.36), before any of it is
//! judged. Unknown fields are refused, as kube-scheduler refuses them.

use super::points::Point;
use k8s_openapi::api::core::v1 as core;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "what has no meaning for a twin is read all the same, so that it is known to be well-formed"
)]
pub(super) struct Configuration {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) parallelism: Option<i64>,
    leader_election: Option<Map<String, Value>>,
    client_connection: Option<Map<String, Value>>,
    enable_profiling: Option<bool>,
    enable_contention_profiling: Option<bool>,
    delay_cache_until_active: Option<bool>,
    pub(super) percentage_of_nodes_to_score: Option<i64>,
    pub(super) pod_initial_backoff_seconds: Option<i64>,
    pub(super) pod_max_backoff_seconds: Option<i64>,
    pub(super) profiles: Option<Vec<Profile>>,
    pub(super) extenders: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) scheduler_name: Option<String>,
    pub(super) percentage_of_nodes_to_score: Option<i64>,
    pub(super) plugins: Option<Plugins>,
    pub(super) plugin_config: Option<Vec<PluginConfig>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Plugins(pub(super) BTreeMap<Point, PluginSet>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginSet {
    pub(super) enabled: Option<Vec<Enabled>>,
    pub(super) disabled: Option<Vec<Enabled>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enabled {
    pub(super) name: String,
    pub(super) weight: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginConfig {
    pub(super) name: String,
    pub(super) args: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DefaultPreemptionArgs {
    pub(super) min_candidate_nodes_percentage: Option<i64>,
    pub(super) min_candidate_nodes_absolute: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InterPodAffinityArgs {
    pub(super) hard_pod_affinity_weight: Option<i64>,
    pub(super) ignore_preferred_terms_of_existing_pods: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NodeResourcesFitArgs {
    pub(super) ignored_resources: Option<Vec<String>>,
    pub(super) ignored_resource_groups: Option<Vec<String>>,
    pub(super) scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ScoringStrategy {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) resources: Option<Vec<Weighed>>,
    pub(super) requested_to_capacity_ratio: Option<Shape>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weighed {
    pub(super) name: String,
    pub(super) weight: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    pub(super) shape: Option<Vec<ShapePoint>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShapePoint {
    #[serde(default)]
    pub(super) utilization: i64,
    #[serde(default)]
    pub(super) score: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BalancedArgs {
    pub(super) resources: Option<Vec<Weighed>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodTopologySpreadArgs {
    pub(super) default_constraints: Option<Vec<Constraint>>,
    pub(super) defaulting_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "matchLabelKeys are taken and mean nothing, since the selector is worked out for each pod"
)]
pub(super) struct Constraint {
    #[serde(default)]
    pub(super) max_skew: i64,
    #[serde(default)]
    pub(super) topology_key: String,
    #[serde(default)]
    pub(super) when_unsatisfiable: String,
    pub(super) label_selector: Option<Value>,
    pub(super) min_domains: Option<i64>,
    match_label_keys: Option<Vec<String>>,
    pub(super) node_affinity_policy: Option<String>,
    pub(super) node_taints_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NodeAffinityArgs {
    pub(super) added_affinity: Option<AddedAffinity>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AddedAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(super) required: Option<Terms>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub(super) preferred: Option<Vec<Preferred>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Terms {
    pub(super) node_selector_terms: Option<Vec<Term>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preferred {
    pub(super) weight: i64,
    pub(super) preference: Term,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Term {
    pub(super) match_expressions: Option<Vec<Requirement>>,
    pub(super) match_fields: Option<Vec<Requirement>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requirement {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: Option<Vec<String>>,
}

impl Term {
    /// The same as the API has it.
    pub(super) fn typed(&self) -> core::NodeSelectorTerm {
        let list = |of: &Option<Vec<Requirement>>| {
            let one = |r: &Requirement| core::NodeSelectorRequirement {
                key: r.key.clone(),
                operator: r.operator.clone(),
                values: r.values.clone(),
            };
            of.as_ref().map(|list| list.iter().map(one).collect())
        };
        core::NodeSelectorTerm {
            match_expressions: list(&self.match_expressions),
            match_fields: list(&self.match_fields),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VolumeBindingArgs {
    pub(super) bind_timeout_seconds: Option<i64>,
    pub(super) shape: Option<Value>,
}

/// Durations as Go writes them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "without claims for devices there is nothing to wait for")]
pub(super) struct DynamicResourcesArgs {
    filter_timeout: Option<String>,
    binding_timeout: Option<String>,
}
