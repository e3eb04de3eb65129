//! What the API server fills in where resources are stated for a pod as a whole (`defaultHugePagePodLimits` and
//! `defaultPodRequests`).
//!
//! A request that is not stated is what the containers ask for together, else the pod's limit. Huge pages cannot be
//! overcommitted: what containers may have of them together is the pod's limit, and a request is its limit. Runs after
//! the containers' own defaults, and does nothing where nothing is stated for the pod.

use super::{Doc, quota};
use serde_json::{Map, Value, json};

const HUGE: &str = "hugepages-";

/// Whether there may be amounts of a resource for a pod as a whole.
fn is_supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE)
}

/// The list `of` that is stated for the pod as a whole.
fn stated(spec: &Doc, of: &str) -> Map<String, Value> {
    spec.get("resources").and_then(|r| r.get(of)).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Fills in what is stated for the pod as a whole.
pub(crate) fn apply(spec: &mut Doc) {
    let (mut limits, mut requests) = (stated(spec, "limits"), stated(spec, "requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let containers = Value::Object(spec.clone());
    let together = |of: &str| quota::of_containers(&containers, of).into_iter();
    for (name, amount) in together("limits").filter(|(name, _)| name.starts_with(HUGE)) {
        limits.entry(name).or_insert_with(|| json!(amount.to_string()));
    }
    if !limits.is_empty() {
        let asked = together("requests").filter(|(name, _)| is_supported(name) && !name.starts_with(HUGE));
        for (name, amount) in asked {
            requests.entry(name).or_insert_with(|| json!(amount.to_string()));
        }
        for (name, amount) in limits.iter().filter(|(name, _)| is_supported(name)) {
            requests.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    }
    let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut) else { return };
    for (of, list) in [("limits", limits), ("requests", requests)] {
        if !list.is_empty() {
            resources.insert(of.to_owned(), Value::Object(list));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(spec: Value) -> Value {
        let mut spec = spec.as_object().cloned().unwrap();
        apply(&mut spec);
        let once = spec.clone();
        apply(&mut spec);
        assert_eq!(spec, once, "defaulting twice gives the same");
        spec.remove("resources").unwrap_or_default()
    }

    fn spec(pod: Value, container: Value) -> Value {
        json!({"resources": pod, "containers": [{"name": "a", "resources": container}]})
    }

    #[test]
    fn requests_follow_containers_and_then_limits() {
        let found = applied(spec(
            json!({"limits": {"cpu": "2", "memory": "1Gi"}}),
            json!({"requests": {"cpu": "500m"}}),
        ));
        assert_eq!(found["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
        let own = applied(spec(
            json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}),
            json!({"requests": {"cpu": "500m", "memory": "1Gi"}}),
        ));
        assert_eq!(own["requests"], json!({"cpu": "1", "memory": "1Gi"}), "what is stated stays");
    }

    #[test]
    fn huge_pages_are_limited_by_what_containers_may_have() {
        let found = applied(spec(
            json!({"requests": {"cpu": "1"}}),
            json!({"requests": {"hugepages-2Mi": "4Mi"}, "limits": {"hugepages-2Mi": "4Mi"}}),
        ));
        assert_eq!(
            found,
            json!({"limits": {"hugepages-2Mi": "4Mi"}, "requests": {"cpu": "1", "hugepages-2Mi": "4Mi"}})
        );
    }

    #[test]
    fn nothing_is_filled_in_where_nothing_is_stated() {
        let own = json!({"requests": {"cpu": "500m"}});
        assert_eq!(applied(json!({"containers": [{"resources": own}]})), Value::Null);
        assert_eq!(
            applied(spec(json!({"requests": {"cpu": "1"}}), json!({}))),
            json!({"requests": {"cpu": "1"}}),
            "without a limit nothing is completed"
        );
    }
}
