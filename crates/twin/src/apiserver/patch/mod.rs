//! Patches: from a document and a patch to the document wanted.
//!
//! Pure functions on JSON; the result is judged like any update. Server-side apply needs ownership of every field and
//! is [`super::apply`]'s.

mod json;
mod strategic;

use super::request::PatchType;
use super::schema::KUBERNETES;
use super::status::Status;
use crate::kind::Kind;
use serde_json::{Map, Value};

/// Deepest nesting of a patch.
const DEPTH_MAX: usize = 128;

/// Applies `patch` to `current`, a document of `kind`: strategic merges need to know which lists a kind has.
pub fn apply(patch_type: PatchType, kind: Kind, mut current: Value, patch: &Value) -> Result<Value, Status> {
    match patch_type {
        PatchType::Json => json::apply(current, patch),
        PatchType::Merge => {
            if !patch.is_object() {
                return Err(Status::bad_request("a merge patch must be an object"));
            }
            merge(&mut current, patch, 0)?;
            Ok(current)
        }
        PatchType::StrategicMerge => {
            let resource = kind.resource();
            let of = KUBERNETES.kind(&resource.api_version(), resource.name).ok_or_else(unsupported)?;
            strategic::apply(of, current, patch)
        }
        PatchType::Apply => Err(unsupported()),
    }
}

/// The refusal of a kind of patch that does not go with the resource.
fn unsupported() -> Status {
    let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    Status::new(415, "UnsupportedMediaType", message)
}

fn too_deep() -> Status {
    Status::bad_request(format!("patch nested deeper than {DEPTH_MAX} levels"))
}

/// RFC 7386: null removes, objects merge, everything else replaces.
fn merge(doc: &mut Value, patch: &Value, depth: usize) -> Result<(), Status> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    let Value::Object(patch) = patch else {
        *doc = patch.clone();
        return Ok(());
    };
    if !doc.is_object() {
        *doc = Value::Object(Map::new());
    }
    let Some(map) = doc.as_object_mut() else { return Ok(()) };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value, depth + 1)?;
        }
    }
    Ok(())
}
