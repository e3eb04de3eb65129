//! The `resize` subresource of a Pod: other CPU and memory for its containers while they run.
//!
//! Words are those of Kubernetes 1.36's `ValidatePodResize`. Left out: Windows and static pods, of which there are none.

use super::super::defaults::qos_class;
use super::super::field::Errors;
use super::super::quota;
use super::{list, text, value};
use serde_json::{Value, json};

/// Takes over from the old object all but what a resize may change: the resources of containers, by their place.
pub(crate) fn keep(old: &Value, new: &mut Value) {
    let wanted = new["spec"].take();
    new["spec"] = old["spec"].clone();
    for kind in ["containers", "initContainers"] {
        let Some(own) = new["spec"].get_mut(kind).and_then(Value::as_array_mut) else { continue };
        for container in own {
            let same = |other: &&Value| other["name"] == container["name"];
            let Some(found) = list(&wanted, &format!("/{kind}")).iter().find(same) else { continue };
            match found.get("resources") {
                Some(resources) => container["resources"] = resources.clone(),
                None => container["resources"] = json!({}),
            }
        }
    }
    if let Some(whole) = wanted.get("resources").filter(|_| new["spec"].get("resources").is_some()) {
        new["spec"]["resources"] = whole.clone();
    }
}

/// Checks what a resize makes of a pod.
pub(super) fn check(errors: &mut Errors, old: &Value, new: &Value) {
    super::pod::create(errors, new);
    let class = text(old, "/status/qosClass");
    if !class.is_empty() && class != qos_class(value(new, "/spec")) {
        errors.invalid("spec", &json!(class), "Pod QOS Class may not change as a result of resizing");
    }
    for kind in ["initContainers", "containers"] {
        let pairs = list(old, &format!("/spec/{kind}")).iter().zip(list(new, &format!("/spec/{kind}")));
        for (at, (before, after)) in pairs.enumerate() {
            let path = format!("spec.{kind}[{at}].resources");
            let amounts =
                |container: &Value, of: &str| quota::amounts(container.pointer(&format!("/resources/{of}")));
            if kind == "initContainers" && before["restartPolicy"] != "Always" {
                if before["resources"] != after["resources"] {
                    let why = "resources for non-sidecar init containers are immutable";
                    errors.forbidden("spec", why);
                }
                continue;
            }
            for (of, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
                let (had, has) = (amounts(before, of), amounts(after, of));
                if had.keys().any(|name| !has.contains_key(name)) {
                    errors.forbidden(&format!("{path}.{of}"), &format!("{what} cannot be removed"));
                }
                let other = |name: &&String| !matches!(name.as_str(), "cpu" | "memory");
                if had.keys().chain(has.keys()).filter(other).any(|name| had.get(name) != has.get(name)) {
                    errors.forbidden("spec", "only cpu and memory resources are mutable");
                }
            }
        }
    }
}
