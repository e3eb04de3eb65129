//! `matchLabelKeys` and `mismatchLabelKeys` of new pods: the pod's own values become part of the selectors beside them, as
//! the strategy of pods has it in Kubernetes 1.36 (`pkg/registry/core/pod/strategy.go`).
//!
//! A selector that is not there stays so, since it selects nothing; a key the pod has no label of adds nothing.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::{Map, Value, json};

/// What a term says of keys, with the operator it turns them into.
const KEYS: [(&str, &str); 2] = [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")];

/// Completes a term's selector, if it has one.
fn complete(term: &mut Value, labels: &Value, kinds: &[(&str, &str)]) {
    let mut more = Vec::new();
    for (field, operator) in kinds {
        for key in term.get(*field).and_then(Value::as_array).into_iter().flatten() {
            if let Some(value) = key.as_str().and_then(|key| labels.get(key)) {
                more.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if more.is_empty() {
        return;
    }
    let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut) else { return };
    let slot = selector.entry("matchExpressions").or_insert_with(|| json!([]));
    if !slot.is_array() {
        *slot = json!([]);
    }
    slot.as_array_mut().into_iter().for_each(|all| all.append(&mut more));
}

/// Completes everything in a spec that names keys of labels.
fn spec(spec: &mut Map<String, Value>, labels: &Value) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = spec.get_mut("affinity").and_then(|a| a.get_mut(kind)) else { continue };
        let mut each = |list: &str, within: Option<&str>| {
            for term in terms.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                let term = match within {
                    Some(field) => term.get_mut(field),
                    None => Some(term),
                };
                term.into_iter().for_each(|term| complete(term, labels, &KEYS));
            }
        };
        each("preferredDuringSchedulingIgnoredDuringExecution", Some("podAffinityTerm"));
        each("requiredDuringSchedulingIgnoredDuringExecution", None);
    }
    let constraints = spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut);
    constraints.into_iter().flatten().for_each(|term| complete(term, labels, &KEYS[..1]));
}

/// Completes a new pod's document.
pub(super) fn merge(doc: &mut Map<String, Value>) {
    let labels = doc.get("metadata").and_then(|m| m.get("labels")).cloned().unwrap_or_default();
    if let Some(of_pod) = doc.get_mut("spec").and_then(Value::as_object_mut) {
        spec(of_pod, &labels);
    }
}

/// Whether a spec names keys at all.
fn names_keys(spec: &PodSpec) -> bool {
    let spread = || spec.topology_spread_constraints.iter().flatten().any(|c| c.match_label_keys.is_some());
    let affinity = spec.affinity.as_ref();
    let near = affinity.and_then(|a| a.pod_affinity.as_ref());
    let apart = affinity.and_then(|a| a.pod_anti_affinity.as_ref());
    let required = [
        near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
        apart.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
    ];
    let preferred = [
        near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
        apart.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref()),
    ];
    let preferred = preferred.into_iter().flatten().flatten().map(|term| &term.pod_affinity_term);
    let mut terms = required.into_iter().flatten().flatten().chain(preferred);
    terms.any(|term| term.match_label_keys.is_some() || term.mismatch_label_keys.is_some()) || spread()
}

/// The same for a pod that a controller makes.
pub(crate) fn merge_typed(pod: &mut Pod) {
    let labels = json!(pod.metadata.labels);
    let Some(of_pod) = pod.spec.as_mut().filter(|spec| names_keys(spec)) else { return };
    let mut doc = Map::new();
    doc.insert("affinity".to_owned(), json!(of_pod.affinity));
    doc.insert("topologySpreadConstraints".to_owned(), json!(of_pod.topology_spread_constraints));
    spec(&mut doc, &labels);
    let mut take = |field: &str| doc.remove(field).unwrap_or_default();
    of_pod.affinity =
        serde_json::from_value(take("affinity")).expect("a selector has been added to, which keeps its type");
    of_pod.topology_spread_constraints = serde_json::from_value(take("topologySpreadConstraints"))
        .expect("a selector has been added to, which keeps its type");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_own_values_become_part_of_the_selectors() {
        let term = |selector: Value| json!({"topologyKey": "zone", "labelSelector": selector, "matchLabelKeys": ["rev", "none"], "mismatchLabelKeys": ["app"]});
        let selector =
            json!({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]});
        let mut spread = term(selector.clone());
        spread.as_object_mut().unwrap().remove("mismatchLabelKeys");
        for field in ["maxSkew", "whenUnsatisfiable"] {
            spread[field] = if field == "maxSkew" { json!(1) } else { json!("DoNotSchedule") };
        }
        let doc = json!({"metadata": {"name": "p", "labels": {"app": "a", "rev": "1"}}, "spec": {"containers": [],
            "topologySpreadConstraints": [spread],
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(selector)]},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term(Value::Null)}]}}}});
        let mut merged = doc.clone();
        merge(merged.as_object_mut().unwrap());
        let own = json!({"key": "rev", "operator": "In", "values": ["1"]});
        let other = json!({"key": "app", "operator": "NotIn", "values": ["a"]});
        let exists = json!({"key": "x", "operator": "Exists"});
        let at = |pointer: &str| merged.pointer(pointer).unwrap().clone();
        let expressions = "labelSelector/matchExpressions";
        assert_eq!(at(&format!("/spec/topologySpreadConstraints/0/{expressions}")), json!([exists, own]));
        let required = "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0";
        assert_eq!(at(&format!("{required}/{expressions}")), json!([exists, own, other]));
        let preferred = "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0";
        assert_eq!(
            at(&format!("{preferred}/podAffinityTerm/labelSelector")),
            Value::Null,
            "it selects nothing"
        );
        let mut typed: Pod = serde_json::from_value(doc).unwrap();
        merge_typed(&mut typed);
        assert_eq!(typed, serde_json::from_value(merged).unwrap(), "made by a controller");
    }
}
