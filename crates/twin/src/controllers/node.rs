//! What several controllers ask of a Node: whether it is ready, and whether it is tainted.

use k8s_openapi::api::core::v1::{Node, Taint};

/// Taint by which an administrator says that a node is down for good and writes nothing any more.
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What its condition Ready says: `True`, `False`, `Unknown`; empty where it has none.
pub(crate) fn readiness(node: &Node) -> &str {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|c| c.type_ == "Ready").map_or("", |c| &c.status)
}

/// Whether it is ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    readiness(node) == "True"
}

/// Its taints.
pub(crate) fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

/// Whether it has a taint of this key.
pub(crate) fn is_tainted(node: &Node, key: &str) -> bool {
    taints(node).iter().any(|taint| taint.key == key)
}

/// Its region and zone, as one; nodes that say nothing are in a zone together.
pub(crate) fn zone(node: &Node) -> String {
    let label = |name: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    let either = |old: &str, new: &str| label(old).or_else(|| label(new)).cloned().unwrap_or_default();
    let region = either("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region");
    let zone = either("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
    format!("{region}/{zone}")
}
