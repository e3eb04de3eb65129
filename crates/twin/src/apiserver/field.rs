//! Field errors in the API server's words.
//!
//! A path is the JSON path of the field, e.g. `spec.containers[0].image`. Leaves out the values of
//! whole objects, which the server prints in Go syntax: here they are compact JSON.

use super::status::Cause;
use serde_json::Value;

/// More field errors than this are not collected: nobody reads them.
pub const CAUSES_MAX: usize = 100;

/// Errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    causes: Vec<Cause>,
}

impl Errors {
    fn push(&mut self, reason: &str, field: &str, message: String) {
        if self.causes.len() < CAUSES_MAX {
            self.causes.push(Cause { reason: reason.to_owned(), message, field: field.to_owned() });
        }
    }
    /// A field that must be there is not.
    pub fn required(&mut self, field: &str, detail: &str) {
        let tail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        self.push("FieldValueRequired", field, format!("Required value{tail}"));
    }
    /// The value is wrong.
    pub fn invalid(&mut self, field: &str, value: &Value, detail: &str) {
        self.push("FieldValueInvalid", field, format!("Invalid value: {value}: {detail}"));
    }
    /// The value is wrong and not worth printing.
    pub fn invalid_unprinted(&mut self, field: &str, detail: &str) {
        self.push("FieldValueInvalid", field, format!("Invalid value: {detail}"));
    }
    /// The value is wrong; `found` is printed as it is.
    pub fn invalid_go(&mut self, field: &str, found: &str, detail: &str) {
        self.push("FieldValueTypeInvalid", field, format!("Invalid value: {found}: {detail}"));
    }
    /// The value is wrong; `found` is what is printed of it.
    pub fn invalid_as(&mut self, field: &str, found: &str, detail: &str) {
        self.push("FieldValueInvalid", field, format!("Invalid value: {found}: {detail}"));
    }
    /// Not one of the values there are; `found` is what is printed of it.
    pub fn unsupported_go(&mut self, field: &str, found: &str, supported: &[String]) {
        let message = format!("Unsupported value: {found}: supported values: {}", supported.join(", "));
        self.push("FieldValueNotSupported", field, message);
    }
    /// More entries than there may be.
    pub fn too_many(&mut self, field: &str, found: u64, max: u64) {
        self.push("FieldValueTooMany", field, format!("Too many: {found}: must have at most {max} items"));
    }
    /// More characters than there may be.
    pub fn too_long_text(&mut self, field: &str, max: u64) {
        self.push("FieldValueTooLong", field, format!("Too long: may not be more than {max} bytes"));
    }
    /// Not one of the values there are, each as it is printed.
    pub fn unsupported(&mut self, field: &str, value: &Value, supported: &[String]) {
        let message = format!("Unsupported value: {value}: supported values: {}", supported.join(", "));
        self.push("FieldValueNotSupported", field, message);
    }
    /// The field may not be set or changed.
    pub fn forbidden(&mut self, field: &str, detail: &str) {
        self.push("FieldValueForbidden", field, format!("Forbidden: {detail}"));
    }
    /// Not one of the values there are.
    pub fn not_supported(&mut self, field: &str, value: &Value, supported: &[&str]) {
        let all: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", all.join(", "));
        self.push("FieldValueNotSupported", field, message);
    }
    /// Used twice.
    pub fn duplicate(&mut self, field: &str, value: &Value) {
        self.push("FieldValueDuplicate", field, format!("Duplicate value: {value}"));
    }
    /// Used twice; `found` is what is printed of it.
    pub fn duplicate_go(&mut self, field: &str, found: &str) {
        self.push("FieldValueDuplicate", field, format!("Duplicate value: {found}"));
    }
    /// Refers to what is not there.
    pub fn not_found(&mut self, field: &str, value: &Value) {
        self.push("FieldValueNotFound", field, format!("Not found: {value}"));
    }
    /// Longer than `max` bytes.
    pub fn too_long(&mut self, field: &str, max: usize) {
        self.push("FieldValueTooLong", field, format!("Too long: may not be more than {max} bytes"));
    }
    /// The field could not be judged.
    pub fn internal(&mut self, field: &str, detail: &str) {
        self.push("InternalError", field, format!("Internal error: {detail}"));
    }
    /// Adds those of another.
    pub fn append(&mut self, more: Errors) {
        for cause in more.causes {
            self.push(&cause.reason, &cause.field, cause.message);
        }
    }
    /// Whether one of these reasons was found.
    pub fn any(&self, reasons: &[&str]) -> bool {
        self.causes.iter().any(|cause| reasons.contains(&cause.reason.as_str()))
    }
    /// How many were found.
    pub fn len(&self) -> usize {
        self.causes.len()
    }
    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }
    /// All of them, in the order found.
    pub fn into_causes(self) -> Vec<Cause> {
        self.causes
    }
}
