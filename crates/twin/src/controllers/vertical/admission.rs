//! What new pods are given, and how requests and limits of a container change for a recommendation.

use super::spec::{self, Advice, Mode, Spec};
use crate::apiserver::quantity::{NANO, Quantity};
use crate::apiserver::{Usage, quantities};
use crate::object::Document;
use crate::store::Objects;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Written on a pod: what was changed, and for which containers there was a recommendation.
const UPDATES: &str = "vpaUpdates";
pub(super) const OBSERVED: &str = "vpaObservedContainers";

/// Whether there may be anything to give to new pods.
pub(crate) fn any(objects: &Objects) -> bool {
    spec::kind(objects).is_some_and(|kind| objects.count(kind) > 0)
}

/// Gives a new pod what the oldest autoscaler that is about it recommends.
pub(crate) fn admit(objects: &Objects, namespace: &str, doc: &mut Value) {
    let Some(kind) = spec::kind(objects) else { return };
    let labels: BTreeMap<String, String> = doc
        .pointer("/metadata/labels")
        .and_then(|labels| serde_json::from_value(labels.clone()).ok())
        .unwrap_or_default();
    let about = |doc: &&Document| {
        let spec = Spec::read(doc);
        spec.mode() != Mode::Off
            && spec::target(objects, namespace, &spec).is_some_and(|(_, selector)| selector.matches(&labels))
    };
    let all = objects.list(kind, Some(namespace)).filter_map(|stored| stored.object.as_document());
    let key = |doc: &&Document| {
        (doc.metadata.creation_timestamp.as_ref().map(|time| time.0), doc.metadata.name.clone())
    };
    let Some(autoscaler) = all.filter(about).min_by_key(key) else { return };
    let (spec, advice) = (Spec::read(autoscaler), spec::advice(autoscaler));
    let (mut said, mut observed) = (Vec::new(), Vec::new());
    let containers = doc.pointer_mut("/spec/containers").and_then(Value::as_array_mut);
    for (i, container) in containers.into_iter().flatten().enumerate() {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let Some(advice) = advice.get(&name).filter(|_| spec.scales(&name)) else { continue };
        observed.push(name.clone());
        let (resources, changed) = resources(container, advice, spec.scales_limits(&name));
        if !changed.is_empty() {
            container["resources"] = merged(&container["resources"], &resources);
            said.push(format!("container {i}: {}", changed.join(", ")));
        }
    }
    if observed.is_empty() {
        return;
    }
    if !doc["metadata"]["annotations"].is_object() {
        doc["metadata"]["annotations"] = json!({});
    }
    let annotations = &mut doc["metadata"]["annotations"];
    annotations[OBSERVED] = json!(observed.join(", "));
    if !said.is_empty() {
        let name = autoscaler.metadata.name.as_deref().unwrap_or_default();
        annotations[UPDATES] = json!(format!("Pod resources updated by {name}: {}", said.join("; ")));
    }
}

/// A container's resources with others in their place.
fn merged(old: &Value, new: &Value) -> Value {
    let mut merged = if old.is_object() { old.clone() } else { json!({}) };
    for list in ["requests", "limits"] {
        for (name, amount) in new[list].as_object().into_iter().flatten() {
            if !merged[list].is_object() {
                merged[list] = json!({});
            }
            merged[list][name] = amount.clone();
        }
    }
    merged
}

/// The requests a container ought to have, with its limits in proportion where that is wanted; and what of that is another
/// than before, in words. Whole thousandths of a core and whole bytes.
pub(super) fn resources(container: &Value, advice: &Advice, with_limits: bool) -> (Value, Vec<String>) {
    let list = |name: &str| quantities(container.pointer(&format!("/resources/{name}")));
    let (requests, limits) = (list("requests"), list("limits"));
    let (mut found, mut changed) = (json!({"requests": {}, "limits": {}}), Vec::new());
    let mut put = |list: &str, word: &str, old: &Usage, name: &String, new: Quantity| {
        if old.get(name).map(|amount| amount.nanos()) != Some(new.nanos()) {
            found[list][name] = json!(new.to_string());
            changed.push(format!("{name} {word}"));
        }
    };
    for (name, target) in &advice.target {
        let mut target = *target;
        if !with_limits && let Some(limit) = limits.get(name).filter(|limit| limit.nanos() < target.nanos()) {
            target = *limit;
        }
        put("requests", "request", &requests, name, target);
    }
    for (name, target) in advice.target.iter().filter(|_| with_limits) {
        let Some(limit) = limits.get(name) else { continue };
        let new = match requests.get(name).filter(|request| request.nanos() > 0) {
            None => target.nanos(),
            Some(request) => {
                let unit = if name == "cpu" { NANO / 1000 } else { NANO };
                target.nanos() / unit * (limit.nanos() / unit) / (request.nanos() / unit).max(1) * unit
            }
        };
        put("limits", "limit", &limits, name, Quantity::from_nanos(new, limit.format()));
    }
    (found, changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(resources: Value, target: Value, with_limits: bool) -> (Value, Vec<String>) {
        let advice = Advice { target: quantities(Some(&target)), ..Advice::default() };
        super::resources(&json!({"name": "app", "resources": resources}), &advice, with_limits)
    }

    #[test]
    fn limits_keep_their_proportion() {
        let before = json!({"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "400m", "memory": "150Mi"}});
        let target = json!({"cpu": "250m", "memory": "200Mi"});
        let (found, said) = changed(before.clone(), target.clone(), true);
        assert_eq!(
            found,
            json!({"requests": {"cpu": "250m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "300Mi"}})
        );
        assert_eq!(said, ["cpu request", "memory request", "cpu limit", "memory limit"]);
        let (found, _) = changed(before, target, false);
        assert_eq!(
            found,
            json!({"requests": {"cpu": "250m", "memory": "150Mi"}, "limits": {}}),
            "at most the limit"
        );
    }

    #[test]
    fn what_is_not_stated_stays_so_and_what_is_right_is_not_told_of() {
        let (found, said) = changed(json!({"limits": {"cpu": "2"}}), json!({"cpu": "300m"}), true);
        assert_eq!(found, json!({"requests": {"cpu": "300m"}, "limits": {"cpu": "300m"}}));
        assert_eq!(said.len(), 2);
        let (_, said) = changed(json!({"requests": {"cpu": "0.3"}}), json!({"cpu": "300m"}), true);
        assert!(said.is_empty());
    }
}
