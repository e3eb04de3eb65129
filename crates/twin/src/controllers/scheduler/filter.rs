//! Which nodes a pod may run on, and the words for why not.

use super::NodeInfo;
use crate::amounts::Amounts;
use crate::controllers::nodelifecycle::tolerates;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint};
use std::borrow::Cow;
use std::collections::BTreeMap;

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// How many nodes were refused, by reason.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    nodes: usize,
    counts: BTreeMap<Cow<'static, str>, usize>,
}

impl Reasons {
    fn refuse(&mut self, reason: impl Into<Cow<'static, str>>) {
        *self.counts.entry(reason.into()).or_default() += 1;
    }
    /// `0/6 nodes are available: 6 Insufficient cpu.`
    pub(super) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut parts: Vec<String> = self.counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        // Sorted as text, count included, as kube-scheduler does.
        parts.sort();
        format!("0/{} nodes are available: {}.", self.nodes, parts.join(", "))
    }
}

/// Whether a pod may run on a node; the first plugin that refuses says why.
pub(super) fn passes(
    pod: &Pod,
    name: &str,
    node: &NodeInfo,
    request: &Amounts,
    reasons: &mut Reasons,
) -> bool {
    reasons.nodes += 1;
    let Some(spec) = &pod.spec else { return false };
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    if node.unschedulable {
        let cordon = Taint {
            key: UNSCHEDULABLE.to_owned(),
            effect: "NoSchedule".to_owned(),
            value: None,
            time_added: None,
        };
        if !tolerations.iter().any(|t| tolerates(t, &cordon)) {
            reasons.refuse("node(s) were unschedulable");
            return false;
        }
    }
    if node.taints.iter().any(|taint| !tolerations.iter().any(|t| tolerates(t, taint))) {
        reasons.refuse("node(s) had untolerated taint(s)");
        return false;
    }
    let selected = spec.node_selector.iter().flatten().all(|(k, v)| node.labels.get(k) == Some(v));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    if !selected || required.is_some_and(|selector| !selects(selector, name, node)) {
        reasons.refuse("node(s) didn't match Pod's node affinity/selector");
        return false;
    }
    if request.fits(&node.allocatable, &node.used) {
        return true;
    }
    for resource in request.lacking(&node.allocatable, &node.used) {
        match resource {
            "pods" => reasons.refuse("Too many pods"),
            "cpu" => reasons.refuse("Insufficient cpu"),
            "memory" => reasons.refuse("Insufficient memory"),
            other => reasons.refuse(format!("Insufficient {other}")),
        }
    }
    false
}

/// Terms are ORed; a term without expressions selects nothing.
fn selects(selector: &NodeSelector, name: &str, node: &NodeInfo) -> bool {
    let term = |term: &NodeSelectorTerm| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let named = BTreeMap::from([("metadata.name".to_owned(), name.to_owned())]);
        (!expressions.is_empty() || !fields.is_empty())
            && expressions.iter().all(|r| meets(r, &node.labels))
            && (fields.is_empty() || fields.iter().all(|r| meets(r, &named)))
    };
    selector.node_selector_terms.iter().any(term)
}

fn meets(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = || Some((number(value?)?, number(values.first()?)?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| values.contains(v)),
        "NotIn" => value.is_none_or(|v| !values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(has, limit)| has > limit),
        "Lt" => compared().is_some_and(|(has, limit)| has < limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(labels: &[(&str, &str)], cpu_millis: i64) -> NodeInfo {
        NodeInfo {
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            allocatable: Amounts { cpu_millis, memory_bytes: 1 << 30, pods: 10, ..Amounts::default() },
            known: true,
            ..NodeInfo::default()
        }
    }

    #[test]
    fn the_message_is_kube_schedulers() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["5"]}]}]}}}},
        }))
        .unwrap();
        let request = Amounts { cpu_millis: 2000, memory_bytes: 2 << 30, pods: 1, ..Amounts::default() };
        let mut reasons = Reasons::default();
        let mut cordoned = node(&[("size", "9")], 4000);
        cordoned.unschedulable = true;
        for node in [
            node(&[("size", "9")], 1000),
            node(&[("size", "9")], 4000),
            node(&[("size", "3")], 9000),
            cordoned,
        ] {
            assert!(!passes(&pod, "n", &node, &request, &mut reasons));
        }
        assert_eq!(
            reasons.message(),
            "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, \
             1 node(s) were unschedulable, 2 Insufficient memory."
        );
        assert_eq!(Reasons::default().message(), "no nodes available to schedule pods");
    }
}
