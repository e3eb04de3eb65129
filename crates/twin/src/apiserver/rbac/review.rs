//! Access reviews: what somebody may do, asked in a document.

use super::{Asked, Decision, decide, rules_of};
use crate::apiserver::field::Errors;
use crate::apiserver::request::Request;
use crate::apiserver::status::Status;
use crate::apiserver::user::{Caller, MASTERS, User};
use crate::store::Objects;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whom a review is about: whoever asks, or somebody named.
fn about(request: &Request, caller: &Caller) -> User {
    let spec = &request.body["spec"];
    if request.kind.resource().plural == "selfsubjectaccessreviews" {
        return caller.user.clone();
    }
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> =
        extra.map(|(key, value)| (key.clone(), texts(value))).collect();
    let (name, uid) = (text(spec, "user").to_owned(), text(spec, "uid").to_owned());
    User { name, uid, groups: texts(&spec["groups"]), extra }
}

/// Refuses a review that does not say what it asks.
fn check(request: &Request, user: &User) -> Result<(), Status> {
    let spec = &request.body["spec"];
    let mut errors = Errors::default();
    let (object, path) = (!spec["resourceAttributes"].is_null(), !spec["nonResourceAttributes"].is_null());
    if object && path {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.invalid("spec.nonResourceAttributes", &spec["nonResourceAttributes"], why);
    } else if !object && !path {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.invalid("spec.resourceAttributes", &Value::Null, why);
    }
    let resource = request.kind.resource();
    if resource.plural != "selfsubjectaccessreviews" && user.name.is_empty() && user.groups.is_empty() {
        errors.invalid("spec.user", &json!(""), "at least one of user or group must be specified");
    }
    if resource.namespaced {
        let namespace = text(&spec["resourceAttributes"], "namespace");
        if namespace != request.namespace {
            let why = "must match metadata.namespace";
            errors.invalid("spec.resourceAttributes.namespace", &json!(namespace), why);
        }
        if path {
            errors.invalid(
                "spec.nonResourceAttributes",
                &spec["nonResourceAttributes"],
                "disallowed on this kind of request",
            );
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(resource, "", errors.into_causes())) }
}

/// The status of an access review.
pub(crate) fn access(objects: &Objects, request: &Request, caller: &Caller) -> Result<Value, Status> {
    let user = about(request, caller);
    check(request, &user)?;
    if !caller.rbac {
        return Ok(json!({"allowed": true, "reason": "this twin lets everybody do everything"}));
    }
    let spec = &request.body["spec"];
    let decision = if spec["resourceAttributes"].is_null() {
        let wanted = &spec["nonResourceAttributes"];
        decide(objects, &user, text(wanted, "verb"), &Asked::Path(text(wanted, "path")))
    } else {
        let wanted = &spec["resourceAttributes"];
        let asked = Asked::Objects {
            group: text(wanted, "group"),
            resource: text(wanted, "resource"),
            subresource: text(wanted, "subresource"),
            namespace: text(wanted, "namespace"),
            name: text(wanted, "name"),
        };
        decide(objects, &user, text(wanted, "verb"), &asked)
    };
    let Decision { allowed, reason } = decision;
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    Ok(status)
}

/// The status of a review of all that whoever asks may do in a namespace.
pub(crate) fn rules(objects: &Objects, request: &Request, caller: &Caller) -> Result<Value, Status> {
    let namespace = text(&request.body["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    let everywhere = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    if !caller.rbac || caller.user.is_in(MASTERS) {
        return Ok(json!({"incomplete": false, "resourceRules": all, "nonResourceRules": everywhere}));
    }
    let (mut of_objects, mut of_paths) = (Vec::new(), Vec::new());
    for rule in rules_of(objects, &caller.user, namespace) {
        let filled = |key: &str| rule[key].as_array().is_some_and(|list| !list.is_empty());
        let keep = |keys: &[&str]| -> Value {
            let kept = keys.iter().filter(|key| filled(key));
            kept.map(|key| ((*key).to_owned(), rule[*key].clone())).collect::<serde_json::Map<_, _>>().into()
        };
        if filled("resources") {
            of_objects.push(keep(&["verbs", "apiGroups", "resources", "resourceNames"]));
        }
        if filled("nonResourceURLs") {
            of_paths.push(keep(&["verbs", "nonResourceURLs"]));
        }
    }
    Ok(json!({"incomplete": false, "resourceRules": of_objects, "nonResourceRules": of_paths}))
}
