//! What a daemon's pod tolerates, and how it names its node.

use k8s_openapi::api::apps::v1::DaemonSetSpec;
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodTemplateSpec, Toleration,
};

/// Taints that do not keep a daemon off its node.
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The template with a daemon's tolerations.
pub(super) fn daemon(spec: &DaemonSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    let pod = template.spec.get_or_insert_default();
    let on_host = pod.host_network == Some(true);
    let tolerations = pod.tolerations.get_or_insert_default();
    for (key, effect) in BORNE.into_iter().chain(on_host.then_some(NETWORK)) {
        let new = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        tolerations.retain(|t| t.key != new.key || t.effect != new.effect);
        tolerations.push(new);
    }
    template
}

/// Says by affinity which node a pod is for, in place of what it said of nodes' names.
pub(super) fn bind(pod: &mut Pod, node: &str) {
    let affinity = pod.spec.get_or_insert_default().affinity.get_or_insert_default();
    let required = &mut affinity
        .node_affinity
        .get_or_insert_default()
        .required_during_scheduling_ignored_during_execution;
    let named = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let selector = required.get_or_insert_with(NodeSelector::default);
    if selector.node_selector_terms.is_empty() {
        selector.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut selector.node_selector_terms {
        term.match_fields = Some(vec![named.clone()]);
    }
}

/// The node a pod is on, or for.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(node);
    }
    let node = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = node.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.filter(|f| f.key == "metadata.name" && f.operator == "In");
    named.filter_map(|f| f.values.as_ref()?.first()).map(String::as_str).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_for_the_node_it_names_whatever_else_it_asks_for() {
        let mut pod: Pod =
            serde_json::from_value(serde_json::json!({"spec": {"containers": [], "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}}}}}))
            .unwrap();
        assert_eq!(target(&pod), None);
        bind(&mut pod, "n1");
        assert_eq!(target(&pod), Some("n1"));
        let spec = pod.spec.as_mut().unwrap();
        let required = spec.affinity.as_ref().unwrap().node_affinity.as_ref().unwrap();
        let terms = &required
            .required_during_scheduling_ignored_during_execution
            .as_ref()
            .unwrap()
            .node_selector_terms;
        assert!(terms[0].match_expressions.is_some(), "what was asked for is still asked for");
        spec.node_name = Some("n2".to_owned());
        assert_eq!(target(&pod), Some("n2"));
    }
}
