//! Reviews: questions that are answered and not kept. Tokens are reviewed in [`super::token`].

use super::rbac;
use super::request::{Request, Response};
use super::status::Status;
use super::user::Caller;
use crate::store::Objects;
use serde_json::{Value, json};

/// Answers a review.
pub(super) fn answer(objects: &Objects, request: &Request) -> Result<Response, Status> {
    let resource = request.kind.resource();
    let mut body = request.body.clone();
    if !body.is_object() {
        return Err(Status::bad_request(format!("{}: expected an object", resource.name)));
    }
    body["apiVersion"] = json!(resource.api_version());
    body["kind"] = json!(resource.name);
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    let admin = Caller::admin();
    let caller = request.options.caller.as_deref().unwrap_or(&admin);
    let status: Value = match resource.plural {
        "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews" => {
            rbac::review::access(objects, request, caller)?
        }
        "selfsubjectrulesreviews" => rbac::review::rules(objects, request, caller)?,
        "selfsubjectreviews" => json!({"userInfo": caller.user.to_value()}),
        _ => return Err(Status::method_not_allowed()),
    };
    body["status"] = status;
    Ok(Response { code: 201, body: body.into(), warnings: Vec::new() })
}
