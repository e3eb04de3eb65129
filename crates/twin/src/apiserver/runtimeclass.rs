//! Admission of pods that name a RuntimeClass: it has to be there, and says what the pod costs beyond its containers and which
//! nodes can run it.

use super::quota::amounts;
use super::status::Status;
use crate::kind::Kind;
use crate::object::Document;
use crate::store::Objects;
use serde_json::{Map, Value, json};

/// Puts a list of tolerations behind another, each once.
fn merge(tolerations: &mut Value, more: &Value) {
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let Some(all) = tolerations.as_array_mut() else { return };
    for toleration in more.as_array().into_iter().flatten() {
        if !all.contains(toleration) {
            all.push(toleration.clone());
        }
    }
}

/// Demands of the nodes what the class demands; the error says which demand contradicts the pod's.
fn select(spec: &mut Value, wanted: &Map<String, Value>) -> Result<(), String> {
    if !spec["nodeSelector"].is_object() {
        spec["nodeSelector"] = json!({});
    }
    for (key, value) in wanted {
        let slot = &mut spec["nodeSelector"][key];
        if !slot.is_null() && slot != value {
            let (class, pod) = (value.as_str().unwrap_or_default(), slot.as_str().unwrap_or_default());
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {class}; pod.spec.nodeSelector[{key}] = {pod}"
            ));
        }
        *slot = value.clone();
    }
    Ok(())
}

fn class_of<'a>(objects: &'a Objects, spec: &Value) -> Result<Option<&'a Document>, String> {
    let Some(name) = spec.get("runtimeClassName").and_then(Value::as_str) else { return Ok(None) };
    let class = objects.get(Kind::document("node.k8s.io", "runtimeclasses"), "", name);
    let class = class.and_then(|stored| stored.object.as_document());
    class.map(Some).ok_or_else(|| format!("pod rejected: RuntimeClass {name:?} not found"))
}

/// What a class says its pods cost beyond their containers.
fn fixed(class: &Document) -> Option<&Value> {
    class.body.get("overhead").and_then(|overhead| overhead.get("podFixed"))
}

fn apply(objects: &Objects, spec: &mut Value) -> Result<(), String> {
    let Some(class) = class_of(objects, spec)? else { return Ok(()) };
    if let Some(fixed) = fixed(class) {
        let stated = amounts(spec.get("overhead"));
        if !stated.is_empty() && stated != amounts(Some(fixed)) {
            return Err(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned()
            );
        }
        spec["overhead"] = fixed.clone();
    }
    let Some(scheduling) = class.body.get("scheduling") else { return Ok(()) };
    if let Some(wanted) = scheduling.get("nodeSelector").and_then(Value::as_object) {
        select(spec, wanted)?;
    }
    if let Some(more) = scheduling.get("tolerations") {
        merge(&mut spec["tolerations"], more);
    }
    Ok(())
}

fn forbidden(doc: &Value, why: &str) -> Status {
    let name = doc.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    Status::forbidden(Kind::Pod.resource(), name, why)
}

/// Admits a new pod.
pub(super) fn admit(objects: &Objects, doc: &mut Value) -> Result<(), Status> {
    let Some(spec) = doc.get_mut("spec").filter(|spec| spec.is_object()) else { return Ok(()) };
    let admitted = apply(objects, spec);
    admitted.map_err(|why| forbidden(doc, &why))
}

/// Judges a new pod that nothing else refuses: what it costs beyond its containers is for its class to say.
pub(super) fn judge(objects: &Objects, doc: &Value) -> Result<(), Status> {
    let spec = &doc["spec"];
    let class = class_of(objects, spec).map_err(|why| forbidden(doc, &why))?;
    if spec.get("overhead").is_some_and(|overhead| !overhead.is_null()) && class.and_then(fixed).is_none() {
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(forbidden(doc, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;

    #[test]
    fn a_class_says_what_its_pods_cost_and_where_they_run() {
        let mut objects = Objects::new();
        let kind = Kind::document("node.k8s.io", "runtimeclasses");
        let class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "vm"}, "handler": "vm",
            "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
        });
        objects.put(Object::from_value(kind, &class).unwrap());
        let admit = |spec: Value| {
            let mut doc = json!({"metadata": {"name": "p"}, "spec": spec});
            let admitted = admit(&objects, &mut doc).and_then(|()| judge(&objects, &doc));
            admitted.map(|()| doc["spec"].clone()).map_err(|status| status.message)
        };
        let spec = admit(json!({"runtimeClassName": "vm", "nodeSelector": {"a": "b"}})).unwrap();
        assert_eq!(spec["overhead"], json!({"cpu": "250m"}));
        assert_eq!(spec["nodeSelector"], json!({"a": "b", "vm": "yes"}));
        assert_eq!(spec["tolerations"], json!([{"key": "vm", "operator": "Exists"}]));
        assert_eq!(admit(json!({})).unwrap(), json!({}));
        for (spec, why) in [
            (json!({"runtimeClassName": "no"}), "pod rejected: RuntimeClass \"no\" not found"),
            (
                json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}),
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ),
            (
                json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
            ),
            (
                json!({"overhead": {"cpu": "1"}}),
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ),
        ] {
            assert_eq!(admit(spec).unwrap_err(), format!("pods \"p\" is forbidden: {why}"));
        }
    }
}
