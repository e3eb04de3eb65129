//! Create, update, patch and binding.
//!
//! Objects are judged as documents: current state, what was sent, and what comes of both. Leaves out
//! `managedFields` (server-side apply is refused) and admission beyond priorities and namespaces.

use super::decode::{decode, judge_unknown};
use super::delete;
use super::request::{PatchType, Request, Response, Subresource, Verb};
use super::status::Status;
use super::{Context, defaults, patch, validation};
use crate::kind::{Kind, Resource};
use crate::object::Object;
use crate::random::Stream;
use serde_json::{Map, Value, json};

/// Characters appended to a `generateName`.
const SUFFIX_LENGTH: usize = 5;
/// Longest `generateName` kept, so that name and suffix fit into 63 bytes.
const GENERATE_NAME_MAX: usize = 63 - SUFFIX_LENGTH;
/// Attempts at a free generated name.
const NAME_ATTEMPTS_MAX: usize = 8;

fn meta(doc: &mut Value) -> &mut Map<String, Value> {
    let slot = &mut doc["metadata"];
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("just made an object")
}

fn text<'a>(doc: &'a Value, pointer: &str) -> &'a str {
    doc.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a kind's spec changes are counted in `metadata.generation`.
const fn has_generation(kind: Kind) -> bool {
    matches!(kind, Kind::Job | Kind::Pod)
}

/// Refuses a create in a namespace that is not there or going.
fn check_namespace(ctx: &Context<'_>, request: &Request, name: &str) -> Result<(), Status> {
    if !request.kind.resource().namespaced {
        return Ok(());
    }
    let namespace = &request.namespace;
    let Some(stored) = ctx.objects.get(Kind::Namespace, "", namespace) else {
        return Err(Status::not_found(Kind::Namespace.resource(), namespace));
    };
    if stored.object.meta().deletion_timestamp.is_some() {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(request.kind.resource(), name, &why);
        status.causes.push(super::Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
        return Err(status);
    }
    Ok(())
}

/// Sets the namespace of the request, or refuses one that differs.
fn place(resource: &Resource, doc: &mut Value, namespace: &str) -> Result<(), Status> {
    let meta = meta(doc);
    let sent = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !resource.namespaced {
        meta.remove("namespace");
        return Ok(());
    }
    if !sent.is_empty() && sent != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta.insert("namespace".to_owned(), json!(namespace));
    Ok(())
}

/// Draws a free name if the document asks for one.
fn generate_name(ctx: &Context<'_>, request: &Request, doc: &mut Value, names: &mut Stream) {
    let prefix = text(doc, "/metadata/generateName").to_owned();
    if !text(doc, "/metadata/name").is_empty() || prefix.is_empty() {
        return;
    }
    let prefix: String = prefix.chars().take(GENERATE_NAME_MAX).collect();
    let mut name = format!("{prefix}{}", names.suffix(SUFFIX_LENGTH));
    for _ in 1..NAME_ATTEMPTS_MAX {
        if ctx.objects.get(request.kind, &request.namespace, &name).is_none() {
            break;
        }
        name = format!("{prefix}{}", names.suffix(SUFFIX_LENGTH));
    }
    meta(doc).insert("name".to_owned(), json!(name));
}

/// Decodes a document that defaulting has completed; whatever is wrong now is wrong with a value.
fn typed(kind: Kind, doc: Value) -> Result<Object, Status> {
    decode(kind, doc).map(|(object, _)| object)
}

/// POST.
pub(super) fn create(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let (kind, resource) = (request.kind, request.kind.resource());
    let (object, unknown) = decode(kind, request.body.clone())?;
    let warnings = judge_unknown(resource, request.options.field_validation.as_deref(), &unknown)?;
    let mut doc = object.to_value();
    place(resource, &mut doc, &request.namespace)?;
    if !text(&doc, "/metadata/resourceVersion").is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(500, "InternalError", message));
    }
    // Drawn from a copy, so that a refused request does not shift what later ones draw.
    let mut names = ctx.names.clone();
    generate_name(ctx, request, &mut doc, &mut names);
    let uid = names.uid();
    let name = text(&doc, "/metadata/name").to_owned();
    check_namespace(ctx, request, &name)?;
    let head = meta(&mut doc);
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields", "generation"]
    {
        head.remove(key);
    }
    head.insert("uid".to_owned(), json!(uid));
    head.insert("creationTimestamp".to_owned(), json!(ctx.now.to_rfc3339_seconds()));
    if has_generation(kind) {
        head.insert("generation".to_owned(), json!(1));
    }
    defaults::apply(kind, &mut doc);
    defaults::at_create(kind, &mut doc, &uid);
    if kind == Kind::Pod {
        defaults::admit_pod(ctx, &mut doc)?;
    }
    validation::create(kind, &doc)?;
    if ctx.objects.get(kind, &request.namespace, &name).is_some() {
        return Err(Status::already_exists(resource, &name));
    }
    let object = typed(kind, doc)?;
    if request.options.dry_run {
        return Ok(Response { code: 201, body: object.to_value(), warnings });
    }
    *ctx.names = names;
    let stored = ctx.objects.put(object);
    Ok(Response { code: 201, body: stored.object.to_value(), warnings })
}

/// Checks what a write demands of the object as it is.
fn check_preconditions(resource: &Resource, old: &Value, new: &Value) -> Result<(), Status> {
    let name = text(old, "/metadata/name");
    let (uid, sent) = (text(old, "/metadata/uid"), text(new, "/metadata/uid"));
    if !sent.is_empty() && sent != uid {
        let why = format!("Precondition failed: UID in precondition: {sent}, UID in object meta: {uid}");
        return Err(Status::conflict(resource, name, &why));
    }
    let (version, sent) = (text(old, "/metadata/resourceVersion"), text(new, "/metadata/resourceVersion"));
    if !sent.is_empty() && sent != version {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Status::conflict(resource, name, why));
    }
    Ok(())
}

/// Takes over from the old object what a write cannot change.
fn keep(request: &Request, old: &Value, new: &mut Value) {
    let head = meta(new);
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "managedFields",
        "resourceVersion",
        "generateName",
    ] {
        match old["metadata"].get(key) {
            Some(value) => head.insert(key.to_owned(), value.clone()),
            None => head.remove(key),
        };
    }
    let kept: &[&str] = match request.subresource {
        Some(Subresource::Status) => &["spec", "data", "binaryData"],
        _ if request.kind.resource().status => &["status"],
        _ => &[],
    };
    for part in kept {
        let Some(doc) = new.as_object_mut() else { return };
        match old.get(*part) {
            Some(value) => doc.insert((*part).to_owned(), value.clone()),
            None => doc.remove(*part),
        };
    }
    if request.kind == Kind::Namespace && request.subresource.is_none() {
        // Only the `finalize` subresource changes a namespace's finalizers.
        new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
    }
}

/// What the request makes of the current document, before it is decoded.
fn wanted(request: &Request, old: &Value) -> Result<Value, Status> {
    match request.verb {
        Verb::Patch(kind) => patch::apply(kind, request.kind, old, &request.body),
        _ => Ok(request.body.clone()),
    }
}

/// PUT and PATCH, of the object or its status.
pub(super) fn update(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let (kind, resource) = (request.kind, request.kind.resource());
    if request.verb == Verb::Patch(PatchType::Apply) {
        return Err(patch::apply_unsupported());
    }
    let Some(current) = ctx.objects.get(kind, &request.namespace, &request.name) else {
        return Err(Status::not_found(resource, &request.name));
    };
    let old = current.object.to_value();
    let (object, unknown) = decode(kind, wanted(request, &old)?)?;
    let warnings = judge_unknown(resource, request.options.field_validation.as_deref(), &unknown)?;
    let mut new = object.to_value();
    let name = text(&new, "/metadata/name");
    if name != request.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        )));
    }
    place(resource, &mut new, &request.namespace)?;
    check_preconditions(resource, &old, &new)?;
    keep(request, &old, &mut new);
    defaults::apply(kind, &mut new);
    if new == old {
        return Ok(Response { code: 200, body: old, warnings });
    }
    if has_generation(kind) && new.get("spec") != old.get("spec") {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        meta(&mut new).insert("generation".to_owned(), json!(generation + 1));
    }
    if request.subresource == Some(Subresource::Status) {
        validation::update_status(kind, &old, &new)?;
    } else {
        validation::update(kind, &old, &new)?;
    }
    let object = typed(kind, new)?;
    let body = object.to_value();
    if body == old || request.options.dry_run {
        return Ok(Response { code: 200, body, warnings });
    }
    let stored = ctx.objects.put(object);
    let body = stored.object.to_value();
    delete::remove_if_unheld(ctx, kind, &request.namespace, &request.name);
    Ok(Response { code: 200, body, warnings })
}

/// POST of a Binding: the scheduler's decision.
pub(super) fn bind(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let resource = Kind::Pod.resource();
    let node = text(&request.body, "/target/name");
    if request.kind != Kind::Pod {
        return Err(Status::method_not_allowed());
    }
    if node.is_empty() {
        let mut errors = super::field::Errors::default();
        errors.required("target.name", "");
        return Err(Status::invalid(resource, &request.name, errors.into_causes()));
    }
    let Some(current) = ctx.objects.get(Kind::Pod, &request.namespace, &request.name) else {
        return Err(Status::not_found(resource, &request.name));
    };
    let mut doc = current.object.to_value();
    let uid = text(&request.body, "/metadata/uid");
    if !uid.is_empty() && uid != current.object.uid() {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            current.object.uid()
        );
        return Err(Status::conflict(resource, &request.name, &why));
    }
    if current.object.meta().deletion_timestamp.is_some() {
        let why = format!("pod {} is being deleted, cannot be assigned to a host", request.name);
        return Err(Status::conflict(resource, &request.name, &why));
    }
    let bound = text(&doc, "/spec/nodeName");
    if !bound.is_empty() {
        let why = format!("pod {} is already assigned to node {bound:?}", request.name);
        return Err(Status::conflict(resource, &request.name, &why));
    }
    doc["spec"]["nodeName"] = json!(node);
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": ctx.now.to_rfc3339_seconds()});
    let patch = json!({"status": {"conditions": [condition]}});
    let doc = patch::apply(PatchType::StrategicMerge, Kind::Pod, &doc, &patch)?;
    let object = typed(Kind::Pod, doc)?;
    if !request.options.dry_run {
        ctx.objects.put(object);
    }
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Response { code: 201, body, warnings: Vec::new() })
}
