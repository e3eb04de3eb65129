//! Reviews: questions that are answered and not kept. A twin has no users to tell apart, so whoever asks may do all.

use super::request::{Request, Response};
use super::status::Status;
use serde_json::{Value, json};

/// Who a request comes from, as far as a twin knows.
const USER: &str = "kubernetes-admin";

/// Answers a review.
pub(super) fn answer(request: &Request) -> Result<Response, Status> {
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
    let status: Value = match resource.plural {
        "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews" => {
            json!({"allowed": true, "reason": "a twin has no users to tell apart"})
        }
        "selfsubjectrulesreviews" => json!({
            "incomplete": false,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }),
        "selfsubjectreviews" => {
            json!({"userInfo": {"username": USER, "groups": ["system:masters", "system:authenticated"]}})
        }
        "tokenreviews" => json!({"authenticated": false, "error": "a twin gives no tokens"}),
        _ => return Err(Status::method_not_allowed()),
    };
    body["status"] = status;
    Ok(Response { code: 201, body, warnings: Vec::new() })
}
