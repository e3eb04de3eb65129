//! The `Status` document every refused request answers with.

use super::admission::Pending;
use crate::kind::Resource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A refusal, as the API server words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// `NotFound`, `Invalid`, `Conflict`…
    pub reason: String,
    /// For people.
    pub message: String,
    /// Name of the object.
    pub name: String,
    /// API group of the object.
    pub group: String,
    /// Kind (for `Invalid`) or plural resource of the object.
    pub kind: String,
    /// One for each field that is wrong.
    pub causes: Vec<Cause>,
    /// For `Retry-After`.
    pub retry_after_seconds: Option<u32>,
    /// With which a list that has expired can go on, though not as of the version it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
    /// No refusal yet: these webhooks are to be asked, and the request made again with what they answered.
    #[serde(skip)]
    pub pending: Option<Box<Pending>>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`…; empty: none is named.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    pub message: String,
    /// Path of the field; empty: it is about no field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Status {
    /// A refusal without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Status {
        Status {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            causes: Vec::new(),
            retry_after_seconds: None,
            continue_token: None,
            pending: None,
        }
    }
    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }
    fn about(code: u16, reason: &str, resource: &Resource, name: &str, message: String) -> Status {
        Status {
            name: name.to_owned(),
            group: resource.group.to_owned(),
            kind: resource.plural.to_owned(),
            ..Status::new(code, reason, message)
        }
    }
    /// There is no such object.
    pub fn not_found(resource: &Resource, name: &str) -> Status {
        let message = format!("{} {name:?} not found", resource.qualified());
        Status::about(404, "NotFound", resource, name, message)
    }
    /// There is one of that name.
    pub fn already_exists(resource: &Resource, name: &str) -> Status {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Status::about(409, "AlreadyExists", resource, name, message)
    }
    /// Somebody else was faster, or a precondition does not hold.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        Status::about(409, "Conflict", resource, name, message)
    }
    /// Admission says no.
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Status {
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        Status::about(403, "Forbidden", resource, name, message)
    }
    /// Fields are wrong; `causes` must not be empty.
    pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Status {
        let kind = if resource.group.is_empty() {
            resource.name.to_owned()
        } else {
            format!("{}.{}", resource.name, resource.group)
        };
        let each: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let all = if each.len() == 1 { each.concat() } else { format!("[{}]", each.join(", ")) };
        let message = format!("{kind} {name:?} is invalid: {all}");
        let status = Status::about(422, "Invalid", resource, name, message);
        Status { kind: resource.name.to_owned(), causes, ..status }
    }
    /// The history needed is no longer kept, or not kept yet.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }
    /// The verb does not go with the resource.
    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status::new(405, "MethodNotAllowed", message)
    }
    /// The document.
    pub fn to_value(&self) -> Value {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message, "reason": self.reason, "code": self.code});
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = json!(token);
        }
        let mut details = serde_json::Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !text.is_empty() {
                details.insert(key.to_owned(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            details.insert("causes".to_owned(), json!(self.causes));
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}
