//! CustomResourceDefinitions themselves: what is filled in, what is refused, and the conditions that say a definition is
//! in use (it is at once here).

use crate::apiserver::field::Errors;
use fleet::Instant;
use serde_json::{Value, json};

fn text<'a>(doc: &'a Value, pointer: &str) -> &'a str {
    doc.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn versions(doc: &Value) -> &[Value] {
    doc.pointer("/spec/versions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Fills in a definition's names and strategy.
pub(crate) fn complete(doc: &mut Value) {
    let kind = text(doc, "/spec/names/kind").to_owned();
    if let Some(names) = doc.pointer_mut("/spec/names").and_then(Value::as_object_mut) {
        if names.get("singular").is_none_or(|s| s == "") {
            names.insert("singular".to_owned(), json!(kind.to_lowercase()));
        }
        if names.get("listKind").is_none_or(|s| s == "") {
            names.insert("listKind".to_owned(), json!(format!("{kind}List")));
        }
    }
    if let Some(spec) = doc.get_mut("spec").and_then(Value::as_object_mut)
        && !spec.contains_key("conversion")
    {
        spec.insert("conversion".to_owned(), json!({"strategy": "None"}));
    }
    if let Some(list) = doc.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in list {
            if let Some(columns) = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut) {
                for column in columns.iter_mut().filter_map(Value::as_object_mut) {
                    column.retain(|key, value| key != "priority" || value.as_i64() != Some(0));
                }
            }
        }
    }
}

/// The status of a definition: its names are taken, it is in use, and these versions may be stored.
pub(crate) fn establish(doc: &mut Value, now: Instant) {
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now.to_rfc3339_seconds(), "reason": reason, "message": message});
    let storage = versions(doc).iter().find(|v| v["storage"] == json!(true)).map(|v| v["name"].clone());
    let mut stored: Vec<Value> =
        doc.pointer("/status/storedVersions").and_then(Value::as_array).cloned().unwrap_or_default();
    stored.extend(storage.filter(|name| !stored.contains(name)));
    let names = doc.pointer("/spec/names").cloned().unwrap_or_default();
    if !doc["status"].is_object() {
        doc["status"] = json!({});
    }
    if doc["status"]["conditions"].is_null() {
        doc["status"]["conditions"] = json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ]);
    }
    doc["status"]["acceptedNames"] = names;
    doc["status"]["storedVersions"] = Value::Array(stored);
}

/// Adds what is wrong with a definition.
pub(crate) fn judge(errors: &mut Errors, doc: &Value) {
    let (group, plural) = (text(doc, "/spec/group"), text(doc, "/spec/names/plural"));
    let expected = format!("{plural}.{group}");
    if text(doc, "/metadata/name") != expected {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid("metadata.name", &json!(text(doc, "/metadata/name")), why);
    }
    for (path, value) in [
        ("spec.group", group),
        ("spec.names.plural", plural),
        ("spec.names.kind", text(doc, "/spec/names/kind")),
        ("spec.scope", text(doc, "/spec/scope")),
    ] {
        if value.is_empty() {
            errors.required(path, "");
        }
    }
    let scope = doc.pointer("/spec/scope").unwrap_or(&Value::Null);
    if scope.is_string() && !matches!(scope.as_str(), Some("Namespaced" | "Cluster" | "")) {
        errors.not_supported("spec.scope", scope, &["Cluster", "Namespaced"]);
    }
    if !group.is_empty() && !group.contains('.') {
        errors.invalid("spec.group", &json!(group), "should be a domain with at least one dot");
    }
    let storage = versions(doc).iter().filter(|v| v["storage"] == json!(true)).count();
    if storage != 1 {
        errors.invalid_unprinted("spec.versions", "must have exactly one version marked as storage version");
    }
    let schema = |version: &Value| version.pointer("/schema/openAPIV3Schema").cloned();
    let alike = versions(doc).windows(2).all(|pair| schema(&pair[0]) == schema(&pair[1]));
    for (i, version) in versions(doc).iter().enumerate().take(if alike { 1 } else { usize::MAX }) {
        // What all versions share is told once, of the definition.
        let path = format!("spec.versions[{i}].schema.openAPIV3Schema");
        let path = if alike { "spec.validation.openAPIV3Schema".to_owned() } else { path };
        match version.pointer("/schema/openAPIV3Schema") {
            None | Some(Value::Null) => errors.required(&path, "schemas are required"),
            Some(schema) => {
                let before = errors.len();
                structural(errors, schema, &path, 0);
                if errors.len() == before {
                    super::expressions::judge(errors, schema, &path);
                }
            }
        }
    }
    if text(doc, "/spec/conversion/strategy") == "Webhook" {
        let strategy = json!("Webhook");
        errors.not_supported("spec.conversion.strategy", &strategy, &["None"]);
    }
    if doc.pointer("/spec/preserveUnknownFields") == Some(&json!(true)) {
        errors.invalid(
            "spec.preserveUnknownFields",
            &json!(true),
            "must be false in order to use defaults in the schema",
        );
    }
}

/// Deepest schema judged.
const SCHEMA_DEPTH_MAX: usize = 64;

/// Whether each part of a schema says what type it is of.
fn structural(errors: &mut Errors, schema: &Value, path: &str, depth: usize) {
    if depth > SCHEMA_DEPTH_MAX {
        errors.forbidden(path, "nested too deeply");
        return;
    }
    let open = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    let is_open = open.iter().any(|key| schema.get(*key) == Some(&json!(true)));
    let kind = text(schema, "/type");
    for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        structural(errors, inner, &format!("{path}.properties[{name}]"), depth + 1);
    }
    match schema.get("items") {
        Some(items) => structural(errors, items, &format!("{path}.items"), depth + 1),
        None if kind == "array" => errors.required(&format!("{path}.items"), "must be specified"),
        None => {}
    }
    if let Some(inner) = schema.get("additionalProperties").filter(|a| a.is_object()) {
        structural(errors, inner, &format!("{path}.additionalProperties"), depth + 1);
    }
    if kind.is_empty() && !is_open {
        let why = match depth {
            0 => "must not be empty at the root",
            _ => "must not be empty for specified object fields",
        };
        errors.required(&format!("{path}.type"), why);
    }
    if depth == 0 && !kind.is_empty() && kind != "object" {
        errors.invalid(&format!("{path}.type"), &json!(kind), "must be object at the root");
    }
}
