//! From a document somebody sent to a typed object and back.
//!
//! Strictness: a field is unknown when decoding loses it. Amounts of resources may be JSON numbers and
//! are stored in canonical form. Leaves out duplicate keys, which JSON parsing has already merged.

use super::quantity::Quantity;
use super::status::Status;
use crate::kind::{Kind, Resource};
use crate::object::Object;
use serde_json::{Map, Value, json};

/// Largest object stored, in bytes of JSON (etcd's limit is about this).
pub const OBJECT_BYTES_MAX: usize = 3 * 1024 * 1024 / 2;
/// Deepest nesting followed; `serde_json` refuses documents deeper than 128.
const DEPTH_MAX: usize = 130;
/// How many unknown fields are named.
const UNKNOWN_MAX: usize = 20;

/// The refusal of a document that cannot be read as `resource`.
fn unreadable(resource: &Resource, why: &str) -> Status {
    let Resource { name, version, .. } = resource;
    Status::bad_request(format!("{name} in version {version:?} cannot be handled as a {name}: {why}"))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The value at a path like `spec.containers[0].name`.
fn at<'a>(doc: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').flat_map(|part| part.split('[')).filter(|part| !part.is_empty()).try_fold(
        doc,
        |value, part| match part.strip_suffix(']') {
            Some(index) => value.get(index.parse::<usize>().ok()?),
            None => value.get(part),
        },
    )
}

/// Checks that `apiVersion` and `kind`, where given, are those of `kind`, and sets them.
fn identify(resource: &Resource, doc: &mut Map<String, Value>) -> Result<(), Status> {
    let expected = resource.api_version();
    if let Some(found) = doc.get("apiVersion").and_then(Value::as_str).filter(|v| !v.is_empty())
        && found != expected
    {
        return Err(Status::bad_request(format!(
            "the API version in the data ({found}) does not match the expected API version ({expected})"
        )));
    }
    if let Some(found) = doc.get("kind").and_then(Value::as_str).filter(|v| !v.is_empty())
        && found != resource.name
    {
        return Err(unreadable(resource, &format!("the kind in the data is {found:?}")));
    }
    doc.insert("apiVersion".to_owned(), json!(expected));
    doc.insert("kind".to_owned(), json!(resource.name));
    Ok(())
}

/// Puts the amounts of one resource list into canonical form.
fn canonical_list(list: &mut Map<String, Value>, path: &str) -> Result<(), String> {
    for (name, amount) in list {
        *amount = canonical(amount).map_err(|e| format!("{path}.{name}: {e}"))?;
    }
    Ok(())
}

fn canonical(amount: &Value) -> Result<Value, String> {
    let text = match amount {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null => return Ok(Value::Null),
        other => return Err(format!("found {}, expected a quantity", type_name(other))),
    };
    let quantity = Quantity::parse(&text).map_err(|e| e.to_string())?;
    Ok(json!(quantity.rounded_to_millis().to_string()))
}

/// Walks the parts of a document that can hold resource lists.
fn canonical_amounts(value: &mut Value, path: &str, depth: usize) -> Result<(), String> {
    const LISTS: [&str; 6] =
        ["requests", "limits", "overhead", "capacity", "allocatable", "allocatedResources"];
    if depth > DEPTH_MAX {
        return Err(format!("{path}: nested too deeply"));
    }
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                canonical_amounts(item, &format!("{path}[{i}]"), depth + 1)?;
            }
        }
        Value::Object(map) => {
            for (key, inner) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match (key.as_str(), &mut *inner) {
                    (key, Value::Object(list)) if LISTS.contains(&key) => canonical_list(list, &path)?,
                    ("sizeLimit" | "divisor", amount) => {
                        *amount = canonical(amount).map_err(|e| format!("{path}: {e}"))?;
                    }
                    // These hold users' own keys, never amounts.
                    ("metadata" | "labels" | "annotations" | "matchLabels" | "nodeSelector", _) => {}
                    _ => canonical_amounts(inner, &path, depth + 1)?,
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Fields of `sent` that `kept` lost, by path.
fn lost(sent: &Value, kept: &Value, path: &str, found: &mut Vec<String>) {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            for (key, value) in sent {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match kept.get(key) {
                    _ if value.is_null() || found.len() >= UNKNOWN_MAX => {}
                    None => found.push(path),
                    Some(inner) => lost(value, inner, &path, found),
                }
            }
        }
        (Value::Array(sent), Value::Array(kept)) => {
            for (i, (sent, kept)) in sent.iter().zip(kept).enumerate() {
                lost(sent, kept, &format!("{path}[{i}]"), found);
            }
        }
        _ => {}
    }
}

/// Decodes a document of `kind`. Gives the object and the paths of unknown fields.
pub(crate) fn decode(kind: Kind, mut doc: Value) -> Result<(Object, Vec<String>), Status> {
    let resource = kind.resource();
    let Value::Object(map) = &mut doc else {
        return Err(unreadable(resource, &format!("found {}, expected an object", type_name(&doc))));
    };
    identify(resource, map)?;
    if !matches!(kind, Kind::ConfigMap | Kind::Event | Kind::Lease) {
        canonical_amounts(&mut doc, "", 0).map_err(|why| unreadable(resource, &why))?;
    }
    let object = Object::from_value(kind, &doc).map_err(|error| {
        let found = at(&doc, &error.path).map_or("value", type_name);
        let why = format!(
            "json: cannot unmarshal {found} into Go struct field {}.{}: {}",
            resource.name, error.path, error.message
        );
        unreadable(resource, &why)
    })?;
    let mut unknown = Vec::new();
    let kept = object.to_value();
    lost(&doc, &kept, "", &mut unknown);
    if object.to_bytes().len() > OBJECT_BYTES_MAX {
        return Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {OBJECT_BYTES_MAX}"),
        ));
    }
    Ok((object, unknown))
}

/// What `fieldValidation` makes of unknown fields: a refusal, warnings, or nothing.
pub(crate) fn judge_unknown(
    resource: &Resource,
    mode: Option<&str>,
    unknown: &[String],
) -> Result<Vec<String>, Status> {
    let each: Vec<String> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    match mode {
        Some("Ignore") => Ok(Vec::new()),
        None | Some("Warn" | "") => Ok(each),
        Some("Strict") if each.is_empty() => Ok(Vec::new()),
        Some("Strict") => Err(unreadable(resource, &format!("strict decoding error: {}", each.join(", ")))),
        Some(other) => Err(Status::bad_request(format!(
            "invalid fieldValidation {other:?}: expected Ignore, Warn or Strict"
        ))),
    }
}
