//! POST, PUT, PATCH and DELETE: from HTTP to the twin's write requests.
//!
//! Bodies must be declared as JSON, YAML or Kubernetes' protobuf: a browser cannot send that to another origin without asking
//! first. One that is declared as nothing counts as JSON, as in Kubernetes, unless a browser sent it.

use crate::negotiate::{Accept, Form, Media};
use crate::query::Query;
use crate::read::{FORMS, include_object};
use crate::route::{Target, nowhere};
use crate::service::Cluster;
use crate::{access, document, protobuf, respond, webhook};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ORIGIN, USER_AGENT};
use http::{HeaderMap, Method};
use serde_json::Value;
use std::sync::Arc;
use twin::Status;
use twin::apiserver::table::partial_metadata;
use twin::apiserver::{
    self, Answered, BODY_BYTES_MAX, Caller, DeleteOptions, Options, PatchType, Propagation, Subresource, Verb,
};

fn media_type(request: &Request<Body>) -> String {
    let headers = request.headers();
    let header = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // Browsers say where a page comes from whenever it sends something.
    if media.is_empty() && !headers.contains_key(ORIGIN) { respond::JSON.to_owned() } else { media }
}

fn unsupported(found: &str, accepted: &str) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}; found {found:?}"
    );
    Status::new(415, "UnsupportedMediaType", message)
}

fn verb(method: &Method, target: &Target, media: &str) -> Result<Verb, Status> {
    match *method {
        Method::POST => Ok(Verb::Create),
        Method::PUT if !target.name.is_empty() => Ok(Verb::Update),
        Method::DELETE if target.name.is_empty() => Ok(Verb::DeleteCollection),
        Method::DELETE => Ok(Verb::Delete),
        Method::PATCH if !target.name.is_empty() => match media {
            "application/json-patch+json" => Ok(Verb::Patch(PatchType::Json)),
            "application/merge-patch+json" => Ok(Verb::Patch(PatchType::Merge)),
            "application/strategic-merge-patch+json" => Ok(Verb::Patch(PatchType::StrategicMerge)),
            "application/apply-patch+yaml" => Ok(Verb::Patch(PatchType::Apply)),
            other => Err(unsupported(
                other,
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            )),
        },
        _ => Err(Status::method_not_allowed()),
    }
}

/// A body, and the paths of fields that stand in it more than once.
async fn body(verb: Verb, media: &str, request: Request<Body>) -> Result<(Value, Vec<String>), Status> {
    let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await.map_err(|_| {
        let message = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
        Status::new(413, "RequestEntityTooLarge", message)
    })?;
    if bytes.is_empty() {
        return Ok((Value::Null, Vec::new()));
    }
    if matches!(verb, Verb::Patch(PatchType::Apply)) {
        return document::applied(&bytes);
    }
    let patches = matches!(verb, Verb::Patch(_));
    match media {
        protobuf::MEDIA if !patches => Ok((protobuf::decode(&bytes)?, Vec::new())),
        "application/yaml" if !patches => document::yaml(&bytes),
        media if !patches && media != respond::JSON => {
            Err(unsupported(media, "application/json, application/yaml"))
        }
        _ => document::json(&bytes),
    }
}

fn subresource(target: &Target) -> Result<Option<Subresource>, Status> {
    let Some(name) = target.subresource.as_deref() else { return Ok(None) };
    let known = Subresource::named(name).filter(|part| target.kind.resource().has_part(part.as_str()));
    known.map(Some).ok_or_else(nowhere)
}

fn propagation(text: &str) -> Result<Propagation, Status> {
    match text {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => Err(Status::bad_request(format!(
            "propagationPolicy: Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
        ))),
    }
}

/// `DeleteOptions` from the body, else from the query.
fn delete_options(query: &Query, body: &Value) -> Result<DeleteOptions, Status> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let policy = text("/propagationPolicy").or_else(|| query.filled("propagationPolicy").map(str::to_owned));
    let orphan = body
        .get("orphanDependents")
        .and_then(Value::as_bool)
        .or_else(|| query.filled("orphanDependents").map(|v| v == "true"));
    let mut chosen = policy.as_deref().map(propagation).transpose()?;
    if let Some(orphan) = orphan {
        if chosen.is_some() {
            let message = "Invalid value: orphanDependents and deletionPropagation cannot be both set";
            return Err(Status::bad_request(message));
        }
        chosen = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
    }
    let grace = match body.get("gracePeriodSeconds").and_then(Value::as_i64) {
        Some(seconds) => Some(seconds),
        None => query.number("gracePeriodSeconds")?,
    };
    Ok(DeleteOptions {
        grace_period_seconds: grace,
        propagation: chosen,
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
    })
}

/// Longest name of a field manager, in characters.
const MANAGER_MAX: usize = 128;

/// Who writes: the name given, else that of the client's program.
fn manager(query: &Query, headers: &HeaderMap) -> Result<String, Status> {
    if let Some(name) = query.filled("fieldManager") {
        if name.chars().count() > MANAGER_MAX || name.chars().any(char::is_control) {
            let why = format!(
                "fieldManager: Invalid value: {name:?}: expected at most {MANAGER_MAX} printable characters"
            );
            return Err(Status::new(422, "Invalid", why));
        }
        return Ok(name.to_owned());
    }
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let program: String = agent.split('/').next().unwrap_or_default().chars().take(MANAGER_MAX).collect();
    Ok(if program.is_empty() { "unknown".to_owned() } else { program })
}

fn options(
    verb: Verb,
    query: &Query,
    headers: &HeaderMap,
    (body, duplicates): (&Value, Vec<String>),
) -> Result<Options, Status> {
    let owned = |name: &str| query.filled(name).map(str::to_owned);
    let deletes = matches!(verb, Verb::Delete | Verb::DeleteCollection);
    let in_body = deletes && body.get("dryRun").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    Ok(Options {
        dry_run: query.dry_run()? || in_body,
        field_manager: if deletes { None } else { Some(manager(query, headers)?) },
        force: query.flag("force"),
        field_validation: owned("fieldValidation"),
        duplicate_fields: duplicates,
        caller: None,
        reviews: None,
        signature_fault: None,
        delete: if deletes { delete_options(query, body)? } else { DeleteOptions::default() },
        label_selector: owned("labelSelector"),
        field_selector: owned("fieldSelector"),
    })
}

/// Server-side apply says who applies, and nothing else may be forced.
fn check_apply(verb: Verb, query: &Query) -> Result<(), Status> {
    let applies = verb == Verb::Patch(PatchType::Apply);
    let why = if applies && query.filled("fieldManager").is_none() {
        "fieldManager: Required value: is required for apply patch"
    } else if matches!(verb, Verb::Patch(_)) && !applies && query.flag("force") {
        "force: Forbidden: may not be specified for non-apply patch"
    } else {
        return Ok(());
    };
    Err(Status::new(422, "Invalid", format!("PatchOptions.meta.k8s.io \"\" is invalid: {why}")))
}

/// Carries out a write and answers in the form accepted.
pub(crate) async fn answer(
    cluster: &Cluster,
    (caller, target): (Caller, &Target),
    query: &Query,
    accept: &Accept,
    request: Request<Body>,
) -> Result<Response, Status> {
    let media = media_type(&request);
    let verb = verb(request.method(), target, &media)?;
    // What is only asked, never kept, has no columns.
    let kept = target.kind.resource().verbs != ["create"];
    let offered: &[Form] = if kept { &FORMS } else { &[Form::Object] };
    let (form, media_out) = accept.choose_of(offered, !target.kind.resource().custom)?;
    let include = include_object(query)?;
    let subresource = subresource(target)?;
    if verb == Verb::Create && subresource.is_none() && !target.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let headers = request.headers().clone();
    let (body, duplicates) = body(verb, &media, request).await?;
    let mut options = options(verb, query, &headers, (&body, duplicates))?;
    check_apply(verb, query)?;
    if verb == Verb::Create && target.kind.is("authentication.k8s.io", "tokenreviews") {
        return Ok(respond::document(201, &access::review_token(cluster, &body)?, media_out));
    }
    // A log says nothing of whoever runs the twin.
    if matches!(verb, Verb::Create | Verb::Patch(PatchType::Apply)) {
        options.signature_fault = access::signature_fault(cluster, target.kind, &body);
    }
    options.caller = (caller != Caller::admin()).then(|| Box::new(caller));
    let write = twin::Request {
        verb,
        kind: target.kind,
        namespace: target.namespace.clone().unwrap_or_default(),
        name: target.name.clone(),
        subresource,
        body,
        options,
    };
    let response = webhook::write(cluster, write).await?;
    let body: Answered = match form {
        _ if subresource == Some(Subresource::Token) => {
            access::sign(cluster, response.body.into_value())?.into()
        }
        Form::Object => response.body,
        _ => reshape(cluster, target, form, include, response.body)?,
    };
    let sent = match media_out {
        Media::Json => respond::bytes(response.code, respond::JSON, body.to_json()),
        Media::Protobuf => respond::document(response.code, &body.into_value(), media_out),
    };
    Ok(respond::warn(sent, &response.warnings))
}

/// An object as a table or its metadata; a `Status` or list stays as it is.
fn reshape(
    cluster: &Cluster,
    target: &Target,
    form: Form,
    include: apiserver::IncludeObject,
    body: Answered,
) -> Result<Answered, Status> {
    let stored = match &body {
        Answered::Stored(stored) => stored.clone(),
        Answered::Document(document) => {
            let is_own = document.get("kind").and_then(Value::as_str) == Some(target.kind.resource().name);
            let stored = is_own.then(|| apiserver::as_stored(target.kind, document.clone())).flatten();
            let Some(stored) = stored else { return Ok(body) };
            Arc::new(stored)
        }
    };
    if form == Form::Metadata {
        return Ok(partial_metadata(&stored).into());
    }
    let (now, defined) = cluster.read(|objects, now| (now, objects.definition_of(target.kind).cloned()))?;
    Ok(apiserver::table(target.kind, defined.as_deref(), &[stored], now, include).into())
}
