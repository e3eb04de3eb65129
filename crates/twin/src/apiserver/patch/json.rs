//! RFC 6902 as the API server's library has it, bounded: so many operations, and no document that grows
//! without end by `copy`.
//!
//! Where the library differs from the RFC: a member missing from an object counts as null, so it can be
//! replaced, copied and tested for null; nothing but `replace` and `test` reaches the whole document.

use super::super::decode::OBJECT_BYTES_MAX;
use super::super::status::Status;
use json_patch::{PatchOperation, jsonptr::PointerBuf};
use serde_json::Value;

/// Most operations in one patch.
const OPERATIONS_MAX: usize = 10_000;
/// Most `copy` operations: each can double a document.
const COPIES_MAX: usize = 64;

/// The answer to a patch whose operations do not apply.
fn refused(why: &str) -> Status {
    let message = format!("the server rejected our request due to an error in our request: {why}");
    Status::new(422, "Invalid", message)
}

/// Applies the operations in order.
pub(super) fn apply(mut doc: Value, patch: &Value) -> Result<Value, Status> {
    let operations: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|e| Status::bad_request(format!("json patch: {e}")))?;
    if operations.0.len() > OPERATIONS_MAX {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.0.len()
        );
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    let copies = operations.0.iter().filter(|o| matches!(o, PatchOperation::Copy(_))).count();
    if copies > COPIES_MAX {
        return Err(refused(&format!("{copies} copy operations, expected at most {COPIES_MAX}")));
    }
    for operation in &operations.0 {
        step(&mut doc, operation)?;
        if matches!(operation, PatchOperation::Copy(_)) && doc.to_string().len() > 2 * OBJECT_BYTES_MAX {
            return Err(refused("the document grew too large"));
        }
    }
    Ok(doc)
}

/// Whether a path leads to a member that an existing object does not have.
fn is_missing_member(doc: &Value, path: &PointerBuf) -> bool {
    let text = path.as_str();
    let Some((parent, _)) = text.rsplit_once('/') else { return false };
    doc.pointer(parent).is_some_and(Value::is_object) && doc.pointer(text).is_none()
}

fn step(doc: &mut Value, operation: &PatchOperation) -> Result<(), Status> {
    let whole = |path: &PointerBuf| path.as_str().is_empty();
    let operation = match operation {
        PatchOperation::Add(add) if whole(&add.path) => return Err(refused("add: path is empty")),
        PatchOperation::Remove(remove) if whole(&remove.path) => {
            return Err(refused("remove: path is empty"));
        }
        PatchOperation::Move(moved) if whole(&moved.path) => return Err(refused("move: path is empty")),
        PatchOperation::Copy(copy) if whole(&copy.path) => return Err(refused("copy: path is empty")),
        PatchOperation::Replace(replace) if is_missing_member(doc, &replace.path) => {
            let (path, value) = (replace.path.clone(), replace.value.clone());
            PatchOperation::Add(json_patch::AddOperation { path, value })
        }
        PatchOperation::Copy(copy) if is_missing_member(doc, &copy.from) => {
            let path = copy.path.clone();
            PatchOperation::Add(json_patch::AddOperation { path, value: Value::Null })
        }
        PatchOperation::Test(test) if is_missing_member(doc, &test.path) && test.value.is_null() => {
            return Ok(());
        }
        other => other.clone(),
    };
    json_patch::patch(doc, std::slice::from_ref(&operation)).map_err(|e| refused(&e.to_string()))
}
