//! How Karpenter is set: its node pools, what machines each may ask for, and when it takes nodes away to save money.
//!
//! Names are those of Karpenter's `NodePool` (karpenter.sh/v1). A pool's offerings are node groups of their own, one for
//! each instance type and capacity type that the pool's requirements allow and that has a price, the cheapest first.
//! Invariants: every pool has an offering; names of pools and offerings are not given twice. Left out: NodeClasses, drift,
//! static pools (`replicas`), `minValues`, `startupTaints`, reserved capacity, the policy `Balanced`; reading it from a
//! file ([`crate::file`]).

use crate::cluster::NodeGroup;
use crate::quantity::Bytes;
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Label that says which pool a node is of.
pub const NODEPOOL: &str = "karpenter.sh/nodepool";
/// Label that says whether a node is a `spot` or an `on-demand` machine.
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// Label with the name of an instance type.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Most pools of a cluster.
pub const POOLS_MAX: usize = 20;
/// Most budgets of a pool, as the real one's schema bounds them.
pub const BUDGETS_MAX: usize = 50;

/// A taint that every node of a pool has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeTaint {
    /// Key.
    pub key: String,
    /// Value, empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// NoSchedule, PreferNoSchedule or NoExecute.
    pub effect: String,
}

/// Which nodes may be taken away because they are not worth their price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsolidationPolicy {
    /// Those without pods that would have to move.
    WhenEmpty,
    /// Those too whose pods fit elsewhere, or on one cheaper node.
    #[default]
    WhenEmptyOrUnderutilized,
}

impl fmt::Display for ConsolidationPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConsolidationPolicy::WhenEmpty => "WhenEmpty",
            ConsolidationPolicy::WhenEmptyOrUnderutilized => "WhenEmptyOrUnderutilized",
        })
    }
}

/// Why a node is disrupted, as far as budgets count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// Its pods fit elsewhere, or on a cheaper node.
    Underutilized,
    /// It has no pods that would have to move.
    Empty,
    /// It is no longer as its pool says. Nothing drifts here; a budget may name it all the same.
    Drifted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Underutilized => "Underutilized",
            Reason::Empty => "Empty",
            Reason::Drifted => "Drifted",
        })
    }
}

/// How many nodes of a pool may be disrupted at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Share {
    /// So many.
    Nodes(u32),
    /// So many of a hundred, rounded up, 0 to 100.
    Percent(u32),
}

/// A budget of disruptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// How many nodes.
    pub nodes: Share,
    /// For which reasons it holds; empty: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// When it begins to hold (cron, UTC) and for how long; `None`: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<(String, Span)>,
}

/// When nodes of a pool are taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    /// Which may be.
    pub consolidation_policy: ConsolidationPolicy,
    /// How long after pods last came or went; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consolidate_after: Option<Span>,
    /// How many at a time; the strictest counts.
    pub budgets: Vec<Budget>,
}

/// Budgets where none are stated: a tenth of the nodes at a time.
pub const BUDGET: Budget = Budget { nodes: Share::Percent(10), reasons: Vec::new(), window: None };
/// How long a node lives where nothing is stated: 720 h.
pub const EXPIRE_AFTER: Span = Span::from_seconds(720 * 3600);
/// Pods are gathered until none has come for so long, but not for longer than so long.
pub const BATCH: (Span, Span) = (Span::from_seconds(1), Span::from_seconds(10));

impl Default for Disruption {
    fn default() -> Disruption {
        Disruption {
            consolidation_policy: ConsolidationPolicy::default(),
            consolidate_after: Some(Span::ZERO),
            budgets: vec![BUDGET],
        }
    }
}

/// What all nodes of a pool may have together; `None`: as much as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolLimits {
    /// Thousandths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<i64>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
}

/// A pool of nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePool {
    /// Name.
    pub name: String,
    /// Pools of more weight are tried first; 0 where nothing is stated, else 1 to 100.
    pub weight: u32,
    /// How long a node lives; `None`: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<Span>,
    /// How long a node that is taken away is drained before its pods are deleted; `None`: for as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period: Option<Span>,
    /// When nodes are taken away.
    pub disruption: Disruption,
    /// What all nodes may have together.
    pub limits: PoolLimits,
    /// The machines it may ask for, the cheapest first.
    pub offerings: Vec<NodeGroup>,
}

/// How Karpenter is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Karpenter {
    /// How long after the last pod a batch of pods is closed (`--batch-idle-duration`), and after the first
    /// (`--batch-max-duration`).
    pub batch: (Span, Span),
    /// Whether spot nodes may be replaced by cheaper spot nodes (feature gate `SpotToSpotConsolidation`).
    pub spot_to_spot: bool,
    /// The pools, those of more weight first.
    pub node_pools: Vec<NodePool>,
}

impl Karpenter {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&NodePool> {
        self.node_pools.iter().find(|pool| pool.name == name)
    }
    /// All machines there are to ask for.
    pub fn offerings(&self) -> impl Iterator<Item = &NodeGroup> {
        self.node_pools.iter().flat_map(|pool| &pool.offerings)
    }
}

/// Labels a node of an instance type has by its name and size, as AWS's provider of Karpenter names them.
pub fn instance_labels(instance_type: &str, vcpu: i64, memory: Bytes) -> BTreeMap<String, String> {
    let (family, size) = instance_type.split_once('.').unwrap_or((instance_type, ""));
    let category: String = family.chars().take_while(char::is_ascii_alphabetic).collect();
    let generation: String = family[category.len()..].chars().take_while(char::is_ascii_digit).collect();
    let mib = memory.as_bytes() >> 20;
    let own = [
        ("instance-category", category),
        ("instance-family", family.to_owned()),
        ("instance-generation", generation),
        ("instance-size", size.to_owned()),
        ("instance-cpu", vcpu.to_string()),
        ("instance-memory", mib.to_string()),
    ];
    own.into_iter().map(|(name, value)| (format!("karpenter.k8s.aws/{name}"), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_types_say_what_they_are() {
        let labels = instance_labels("c6gn.2xlarge", 8, Bytes::from_gib(16));
        let of = |name: &str| labels[&format!("karpenter.k8s.aws/{name}")].as_str();
        assert_eq!(
            ["category", "family", "generation", "size"].map(|name| of(&format!("instance-{name}"))),
            ["c", "c6gn", "6", "2xlarge"]
        );
        assert_eq!((of("instance-cpu"), of("instance-memory")), ("8", "16384"));
        assert_eq!(
            instance_labels("rack", 1, Bytes::from_gib(1))["karpenter.k8s.aws/instance-generation"],
            ""
        );
    }
}
