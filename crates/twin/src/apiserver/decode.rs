//! From a document somebody sent to a typed object and back.
//!
//! What a type's fields are is said by the schema's table. Amounts of resources may be JSON numbers and are stored in
//! canonical form. Keys that stand twice are found where the bytes are read, and only judged here.

use super::apply;
use super::schema::{self, KUBERNETES, Shape};
use super::status::Status;
use crate::kind::{Kind, Resource};
use crate::object::Object;
use serde_json::{Map, Value, json};

/// Largest object stored, in bytes of JSON (etcd's limit is about this).
pub const OBJECT_BYTES_MAX: usize = 3 * 1024 * 1024 / 2;

/// The refusal of a document that cannot be read as `resource`.
pub(crate) fn unreadable(resource: &Resource, why: &str) -> Status {
    let Resource { name, version, .. } = resource;
    Status::bad_request(format!("{name} in version {version:?} cannot be handled as a {name}: {why}"))
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

/// Reads a document somebody sent as `kind`: its type's fields alone, amounts in canonical form. Gives it, and the
/// paths of unknown fields.
pub(crate) fn read(kind: Kind, mut doc: Value) -> Result<(Value, Vec<String>), Status> {
    let resource = kind.resource();
    let Value::Object(map) = &mut doc else {
        return Err(unreadable(resource, &format!("found {}, expected an object", schema::json_name(&doc))));
    };
    identify(resource, map)?;
    let shape = KUBERNETES.kind(&resource.api_version(), resource.name).map_or(Shape::Any, Shape::Named);
    let read = schema::read(&KUBERNETES, &shape, doc).map_err(|why| unreadable(resource, &why))?;
    let value = if kind.is_typed() || resource.custom {
        read.value
    } else {
        apply::stored(&KUBERNETES, &shape, read.value)
    };
    Ok((value, read.unknown))
}

/// A document's length in bytes of JSON, or somewhat more: every byte of a text may take six.
fn bytes_at_most(doc: &Value) -> usize {
    let text = |text: &str| 6 * text.len() + 2;
    match doc {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 24,
        Value::String(own) => text(own),
        Value::Array(list) => list.iter().map(|item| bytes_at_most(item) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            map.iter().map(|(key, value)| text(key) + bytes_at_most(value) + 2).sum::<usize>() + 2
        }
    }
}

/// A document of a kind as it is stored, from one that was read as that kind.
pub(crate) fn typed(kind: Kind, mut doc: Value) -> Result<Object, Status> {
    let resource = kind.resource();
    // Kept beside the object.
    if let Some(meta) = doc.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    let small = bytes_at_most(&doc) <= OBJECT_BYTES_MAX;
    let object = Object::from_whole(kind, doc).map_err(|(error, doc)| {
        let found = at(&doc, &error.path).map_or("value", schema::json_name);
        let why = format!(
            "json: cannot unmarshal {found} into Go struct field {}.{}: {}",
            resource.name, error.path, error.message
        );
        unreadable(resource, &why)
    })?;
    if !small && object.to_bytes().len() > OBJECT_BYTES_MAX {
        return Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {OBJECT_BYTES_MAX}"),
        ));
    }
    Ok(object)
}

/// Decodes a document of a kind that is stored as it comes. Gives the object and the paths of unknown fields.
pub(crate) fn decode(kind: Kind, doc: Value) -> Result<(Object, Vec<String>), Status> {
    let (doc, unknown) = read(kind, doc)?;
    Ok((typed(kind, doc)?, unknown))
}

/// What `fieldValidation` makes of fields that stand twice and of unknown ones: a refusal, warnings, or nothing.
pub(crate) fn judge(
    resource: &Resource,
    mode: Option<&str>,
    duplicates: &[String],
    unknown: &[String],
) -> Result<Vec<String>, Status> {
    // YAML names the line, JSON the field.
    let yaml = duplicates.iter().find(|found| found.starts_with("line "));
    let double = duplicates.iter().filter(|found| !found.starts_with("line "));
    let double = double.map(|path| format!("duplicate field {path:?}"));
    let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
    // Kubernetes finds both at once in its own types, and duplicates first in custom ones.
    let each: Vec<String> =
        if resource.custom { double.chain(unknown).collect() } else { unknown.chain(double).collect() };
    let each: Vec<String> = yaml.map(|line| format!("yaml: {line}")).into_iter().chain(each).collect();
    if let (Some("Strict"), Some(line)) = (mode, yaml) {
        return Err(Status::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {line}"
        )));
    }
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
