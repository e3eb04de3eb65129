//! Create, update, patch and binding.
//!
//! Objects are judged as documents: current state, what was sent, and what comes of both, all in the version they are
//! stored in. Admission: namespaces, limit ranges, priorities, policies and webhooks (`admission`), and, last, quotas.

use super::admission::Drawn;
use super::decode::{self, typed};
use super::ownership::{self, Origin};
use super::request::{PatchType, Request, Response, Subresource, Verb};
use super::schema::{Schema, Shape};
use super::status::Status;
use super::{
    Context, admission, certificates, convert, custom, defaults, delete, limitrange, notice, patch, quota,
    rbac, runtimeclass, validation,
};
use crate::controllers::vertical;
use crate::kind::{Kind, Resource};
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

/// Documents whose changes are counted in `metadata.generation`, by plural; custom resources are, too.
const COUNTED: [&str; 24] = [
    "cronjobs",
    "customresourcedefinitions",
    "daemonsets",
    "deployments",
    "deviceclasses",
    "devicetaintrules",
    "endpointslices",
    "flowschemas",
    "ingressclasses",
    "ingresses",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "networkpolicies",
    "poddisruptionbudgets",
    "podtemplates",
    "prioritylevelconfigurations",
    "replicasets",
    "replicationcontrollers",
    "resourceslices",
    "statefulsets",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
];

/// Whether a kind's changes are counted in `metadata.generation`.
fn has_generation(kind: Kind) -> bool {
    let resource = kind.resource();
    matches!(kind, Kind::Job | Kind::Pod | Kind::PriorityClass)
        || (!kind.is_typed() && (resource.custom || COUNTED.contains(&resource.plural)))
}

/// The part of the metadata that is counted, too: a Deployment's annotations, as its ReplicaSets get them, and an
/// EndpointSlice's labels.
fn counted_metadata(kind: Kind) -> Option<&'static str> {
    match kind {
        _ if kind.is("apps", "deployments") => Some("annotations"),
        _ if kind.is("discovery.k8s.io", "endpointslices") => Some("labels"),
        _ => None,
    }
}

/// Whether what is counted differs in what a request writes: all but metadata and status.
fn counted_differs(request: &Request, old: &Value, new: &Value) -> bool {
    fn parts(doc: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let counted = |key: &str| !matches!(key, "apiVersion" | "kind" | "metadata" | "status");
        doc.as_object().into_iter().flatten().filter(move |(key, _)| counted(key))
    }
    let metadata = counted_metadata(request.kind).filter(|_| request.subresource.is_none());
    metadata.is_some_and(|part| old["metadata"][part] != new["metadata"][part]) || !parts(old).eq(parts(new))
}

/// Gives a document whose changes are counted a new generation, where it differs.
fn count_change(request: &Request, old: &Value, new: &mut Value) {
    if has_generation(request.kind.stored()) && counted_differs(request, old, new) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
        meta(new).insert("generation".to_owned(), json!(generation + 1));
    }
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

/// Gives a new object its name, where that is to be made, and draws its uid; or gives it those its webhooks were told.
fn draw(ctx: &Context<'_>, request: &Request, doc: &mut Value, names: &mut Stream) -> String {
    let Some(drawn) = request.options.reviews.as_ref().and_then(|reviews| reviews.drawn.clone()) else {
        generate_name(ctx, request, doc, names);
        return names.uid();
    };
    if !drawn.name.is_empty() {
        meta(doc).insert("name".to_owned(), json!(drawn.name));
    }
    drawn.uid
}

/// Sets aside what was drawn for a new object that webhooks are still to be asked about, so that nobody else draws it.
fn set_aside(
    left: &mut Stream,
    drawn_from: &Stream,
    (name, uid): (&str, &str),
    mut status: Status,
) -> Status {
    if let Some(pending) = &mut status.pending {
        left.clone_from(drawn_from);
        pending.drawn = Some(Drawn { name: name.to_owned(), uid: uid.to_owned() });
    }
    status
}

/// Whether a document of a typed kind can be read in parts: none of its members has to be there.
fn is_of_parts(kind: Kind) -> bool {
    matches!(kind, Kind::Pod | Kind::Job | Kind::Node | Kind::Namespace | Kind::ConfigMap | Kind::Lease)
}

/// A document without the members that are what is stored already, and those: they need not be read once more.
fn set_aside_same(kind: Kind, mut body: Value, old: Option<&Value>) -> (Value, Map<String, Value>) {
    let mut same = Map::new();
    let by_parts = !kind.is_typed() || is_of_parts(kind);
    let as_stored = by_parts && kind == kind.stored() && !kind.resource().custom;
    if let (true, Some(parts), Some(old)) = (as_stored, body.as_object_mut(), old) {
        let keys: Vec<String> = parts
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"))
            .filter(|(key, part)| old.get(key.as_str()) == Some(part))
            .map(|(key, _)| key.clone())
            .collect();
        same.extend(keys.into_iter().filter_map(|key| parts.remove_entry(&key)));
    }
    (body, same)
}

/// A document somebody sent, as it is stored, and warnings about it.
fn received(
    ctx: &Context<'_>,
    request: &Request,
    body: Value,
    old: Option<&Value>,
) -> Result<(Value, Vec<String>), Status> {
    let resource = request.kind.resource();
    let (body, kept) = set_aside_same(request.kind, body, old);
    let (mut doc, mut unknown) = decode::read(request.kind, body)?;
    let mut warnings = Vec::new();
    if resource.custom {
        let (schema, preserves) = schema_of(ctx, request.kind).ok_or_else(|| {
            Status::new(404, "NotFound", "the server could not find the requested resource")
        })?;
        (doc, unknown) =
            custom::read(&schema, preserves, doc).map_err(|why| decode::unreadable(resource, &why))?;
        custom::default(&schema, &mut doc);
        warnings.extend(deprecation(ctx, request.kind));
    }
    let options = &request.options;
    let mode = options.field_validation.as_deref();
    warnings.extend(decode::judge(resource, mode, &options.duplicate_fields, &unknown)?);
    let mut doc = convert::incoming(request.kind, doc, old);
    if request.kind.stored().is_typed() {
        // As the types write it.
        let owners = doc.pointer("/metadata/managedFields").cloned();
        doc = typed(request.kind.stored(), doc)?.to_value();
        if let Some(owners) = owners {
            meta(&mut doc).insert("managedFields".to_owned(), owners);
        }
    }
    if let Some(doc) = doc.as_object_mut() {
        doc.extend(kept);
    }
    Ok((doc, warnings))
}

/// POST.
pub(super) fn create(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let (doc, warnings) = received(ctx, request, request.body.clone(), None)?;
    store_new(ctx, request, doc, warnings, Origin::Written)
}

/// What is said when a version of a custom resource is used that its definition calls deprecated.
fn deprecation(ctx: &Context<'_>, kind: Kind) -> Option<String> {
    let defined = ctx.objects.definition_of(kind)?;
    let own = defined.version(kind.resource().version)?.warning.clone()?;
    let resource = kind.resource();
    Some(if own.is_empty() {
        format!("{} {} is deprecated", resource.api_version(), resource.name)
    } else {
        own
    })
}

/// What admission adds to a new object, from what else is in the cluster.
fn admit(ctx: &Context<'_>, kind: Kind, doc: &mut Value) -> Result<(), Status> {
    if kind == Kind::Pod {
        runtimeclass::admit(ctx.objects, doc)?;
        defaults::admit_pod(ctx, doc)?;
    }
    certificates::admit(kind, doc)?;
    if kind.is("", "persistentvolumeclaims") {
        defaults::admit_claim(ctx, doc);
    }
    if kind.is("", "services") {
        defaults::allot_service(ctx, None, doc)?;
    }
    if kind.is("apiextensions.k8s.io", "customresourcedefinitions") {
        custom::establish(doc, ctx.now);
    }
    if kind.is("admissionregistration.k8s.io", "validatingadmissionpolicies") {
        admission::establish(ctx, doc);
    }
    Ok(())
}

/// The schema of a custom resource in the version of a request.
fn schema_of(ctx: &Context<'_>, kind: Kind) -> Option<(Value, bool)> {
    let defined = ctx.objects.definition_of(kind)?;
    let version = defined.version(kind.resource().version)?;
    Some((version.schema.clone(), defined.preserves_unknown))
}

/// The types of a custom resource, where ownership is kept.
fn types_of(ctx: &Context<'_>, request: &Request) -> Option<(Schema, Shape)> {
    request.options.field_manager.as_ref()?;
    schema_of(ctx, request.kind).map(|(schema, _)| Schema::custom(&schema))
}

/// Whether a custom resource fits its schema and rules, and warnings of what never did; every other object does.
fn fits_schema(
    ctx: &Context<'_>,
    request: &Request,
    doc: &Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    let defined = ctx.objects.definition_of(request.kind);
    let version = defined.and_then(|defined| defined.version(request.kind.resource().version));
    let Some(version) = version.filter(|version| version.schema.is_object()) else {
        return Ok(Vec::new());
    };
    let mut errors = super::field::Errors::default();
    let warnings = custom::judge_object(&mut errors, version, doc, old);
    if errors.is_empty() {
        return Ok(warnings);
    }
    Err(Status::invalid(request.kind.resource(), text(doc, "/metadata/name"), errors.into_causes()))
}

/// Holds a write that nothing else refuses to the limits and quotas of its namespace.
fn charge(
    ctx: &mut Context<'_>,
    request: &Request,
    (old, new): (Option<&Value>, &Value),
) -> Result<(), Status> {
    let (kind, namespace) = (request.kind.stored(), request.namespace.as_str());
    let resized = (kind.is("", "persistentvolumeclaims") && request.subresource.is_none())
        || request.subresource == Some(Subresource::Resize);
    if old.is_none() || resized {
        limitrange::check(ctx.objects, kind, namespace, new)?;
    }
    let place = (kind, namespace, text(new, "/metadata/name"));
    quota::admit(ctx.objects, place, (old, new), request.options.dry_run)
}

/// Stores a new object.
fn store_new(
    ctx: &mut Context<'_>,
    request: &Request,
    mut doc: Value,
    mut warnings: Vec<String>,
    origin: Origin,
) -> Result<Response, Status> {
    let (kind, resource) = (request.kind.stored(), request.kind.resource());
    place(resource, &mut doc, &request.namespace)?;
    if !text(&doc, "/metadata/resourceVersion").is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(500, "InternalError", message));
    }
    // Drawn from a copy, so that a refused request does not shift what later ones draw.
    let mut names = ctx.names.clone();
    let uid = draw(ctx, request, &mut doc, &mut names);
    let name = text(&doc, "/metadata/name").to_owned();
    check_namespace(ctx, request, &name)?;
    let head = meta(&mut doc);
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        head.remove(key);
    }
    defaults::apply(kind, &mut doc);
    if kind == Kind::Pod {
        vertical::admit(ctx.objects, &request.namespace, &mut doc);
        limitrange::default(ctx.objects, &request.namespace, &mut doc);
    }
    let admitted = admission::mutate(ctx, request, &mut doc, None);
    warnings.extend(admitted.map_err(|status| set_aside(ctx.names, &names, (&name, &uid), status))?);
    defaults::apply(kind, &mut doc);
    let types = types_of(ctx, request);
    let managers = ownership::after((request, ctx.now, types.as_ref()), &mut json!({}), &mut doc, origin);
    let managed = ownership::managed(managers.as_ref());
    let head = meta(&mut doc);
    head.remove("managedFields");
    head.insert("uid".to_owned(), json!(uid));
    head.insert("creationTimestamp".to_owned(), json!(ctx.now.to_rfc3339_seconds()));
    if has_generation(kind) {
        head.insert("generation".to_owned(), json!(1));
    }
    defaults::at_create(kind, &mut doc, &uid);
    admit(ctx, kind, &mut doc)?;
    certificates::create(request, &mut doc);
    rbac::escalation::check(ctx.objects, request, None, &doc)?;
    certificates::judge_signature(request, &doc, validation::create(kind, &doc))?;
    if kind == Kind::Pod {
        runtimeclass::judge(ctx.objects, &doc)?;
    }
    warnings.extend(fits_schema(ctx, request, &doc, None)?);
    let admitted = admission::validate(ctx, request, Some(&doc), None);
    warnings.extend(admitted.map_err(|status| set_aside(ctx.names, &names, (&name, &uid), status))?);
    if ctx.objects.get(kind, &request.namespace, &name).is_some() {
        return Err(Status::already_exists(resource, &name));
    }
    charge(ctx, request, (None, &doc))?;
    warnings.extend(notice::about(kind, &doc));
    let object = typed(kind, doc)?;
    if request.options.dry_run {
        let body = ownership::show(object.to_value(), managed.as_deref());
        return Ok(Response { code: 201, body: convert::outgoing(request.kind, body).into(), warnings });
    }
    *ctx.names = names;
    let stored = ctx.objects.put_managed(object, managed);
    Ok(Response { code: 201, body: convert::answered(request.kind, stored), warnings })
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
        "resourceVersion",
        "generateName",
    ] {
        match old["metadata"].get(key) {
            Some(value) => head.insert(key.to_owned(), value.clone()),
            None => head.remove(key),
        };
    }
    match request.subresource {
        Some(Subresource::Status | Subresource::Approval) => keep_all_but(old, new, &["status"]),
        Some(Subresource::EphemeralContainers | Subresource::Finalize | Subresource::Resize) => {
            keep_all_but(old, new, &["spec"]);
        }
        _ if request.kind.resource().status => keep_parts(old, new, &["status"]),
        _ => {}
    }
    let own = match request.subresource {
        Some(Subresource::EphemeralContainers) => Some("ephemeralContainers"),
        Some(Subresource::Finalize) => Some("finalizers"),
        _ => None,
    };
    if let Some(own) = own {
        let wanted = new["spec"][own].clone();
        new["spec"] = old["spec"].clone();
        new["spec"][own] = wanted;
    } else if request.subresource == Some(Subresource::Resize) {
        validation::keep_of_resize(old, new);
    } else if request.kind == Kind::Namespace {
        // Only the `finalize` subresource changes a namespace's finalizers.
        new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
    }
}

/// Takes these parts over from the old object.
fn keep_parts(old: &Value, new: &mut Value, parts: &[&str]) {
    let Some(doc) = new.as_object_mut() else { return };
    for part in parts {
        match old.get(*part) {
            Some(value) => doc.insert((*part).to_owned(), value.clone()),
            None => doc.remove(*part),
        };
    }
}

/// Takes everything over from the old object but its metadata and these parts.
fn keep_all_but(old: &Value, new: &mut Value, parts: &[&str]) {
    let own = |key: &str| matches!(key, "apiVersion" | "kind" | "metadata") || parts.contains(&key);
    let keys =
        |doc: &Value| doc.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let all = [keys(old), keys(new)].concat();
    let others: Vec<&str> = all.iter().map(String::as_str).filter(|key| !own(key)).collect();
    keep_parts(old, new, &others);
}

/// What the request makes of the current document as it is shown, and who owns what then.
fn wanted(
    (request, now, types): (&Request, fleet::Instant, ownership::Types<'_>),
    shown: Value,
) -> Result<(Value, Origin), Status> {
    match request.verb {
        Verb::Patch(PatchType::Apply) => {
            let applied = ownership::apply_config((request, now, types), &shown, &request.body)?;
            Ok((applied.object, Origin::Applied(applied.managers)))
        }
        Verb::Patch(kind) => Ok((patch::apply(kind, request.kind, shown, &request.body)?, Origin::Written)),
        _ => Ok((request.body.clone(), Origin::Written)),
    }
}

/// Server-side apply to an object that is not there makes it.
fn apply_new(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let resource = request.kind.resource();
    if request.subresource.is_some() {
        return Err(Status::not_found(resource, &request.name));
    }
    let uid = text(&request.body, "/metadata/uid");
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(resource, &request.name, &why));
    }
    let types = types_of(ctx, request);
    let (doc, origin) = wanted((request, ctx.now, types.as_ref()), Value::Null)?;
    let (mut doc, warnings) = received(ctx, request, doc, None)?;
    check_name(request, &mut doc)?;
    store_new(ctx, request, doc, warnings, origin)
}

/// Sets the name of the path, or refuses one that differs.
fn check_name(request: &Request, doc: &mut Value) -> Result<(), Status> {
    let name = text(doc, "/metadata/name");
    if name.is_empty() && request.verb == Verb::Patch(PatchType::Apply) {
        meta(doc).insert("name".to_owned(), json!(request.name));
        return Ok(());
    }
    if name != request.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        )));
    }
    Ok(())
}

/// PUT and PATCH, of the object or a part of it.
pub(super) fn update(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let aliased = request.kind != request.kind.stored() && !request.kind.resource().custom;
    if !(aliased && request.verb == Verb::Patch(PatchType::Apply)) {
        return update_as(ctx, request);
    }
    // Fields are owned in the version of storage, so what is applied is brought into it first.
    let body = convert::incoming(request.kind, request.body.clone(), None);
    let stored = Request { kind: request.kind.stored(), body, ..request.clone() };
    let response = update_as(ctx, &stored)?;
    Ok(Response { body: convert::outgoing(request.kind, response.body.into_value()).into(), ..response })
}

/// Fills in what depends on the cluster.
fn complete(ctx: &mut Context<'_>, kind: Kind, old: &Value, new: &mut Value) -> Result<(), Status> {
    if kind.is("", "services") {
        defaults::allot_service(ctx, Some(old), new)?;
    }
    if kind.is("apiextensions.k8s.io", "customresourcedefinitions") {
        custom::establish(new, ctx.now);
    }
    Ok(())
}

fn update_as(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let (kind, resource) = (request.kind.stored(), request.kind.resource());
    let Some(current) = ctx.objects.get(kind, &request.namespace, &request.name).cloned() else {
        return match request.verb {
            Verb::Patch(PatchType::Apply) => apply_new(ctx, request),
            _ => Err(Status::not_found(resource, &request.name)),
        };
    };
    let mut old = current.to_value();
    if kind == Kind::Pod {
        // As read from storage: pods that controllers made lack what is filled in for clients.
        defaults::apply(kind, &mut old);
    }
    let types = types_of(ctx, request);
    let shown = convert::outgoing(request.kind, old.clone());
    let (new, origin) = wanted((request, ctx.now, types.as_ref()), shown)?;
    let (mut new, mut warnings) = received(ctx, request, new, Some(&old))?;
    check_name(request, &mut new)?;
    place(resource, &mut new, &request.namespace)?;
    check_preconditions(resource, &old, &new)?;
    keep(request, &old, &mut new);
    certificates::update(ctx, request, &old, &mut new)?;
    defaults::apply(kind, &mut new);
    complete(ctx, kind, &old, &mut new)?;
    warnings.extend(admission::mutate(ctx, request, &mut new, Some(&old))?);
    defaults::apply(kind, &mut new);
    defaults::count_templates(kind, &old, &mut new);
    let managers = ownership::after((request, ctx.now, types.as_ref()), &mut old, &mut new, origin);
    let others_own = managers.as_ref().is_some_and(|managers| !ownership::same(&old, managers));
    let (old, mut new) = (ownership::show(old, None), ownership::show(new, None));
    if new == old && !others_own {
        return Ok(Response { code: 200, body: convert::answered(request.kind, current), warnings });
    }
    rbac::escalation::check(ctx.objects, request, Some(&old), &new)?;
    count_change(request, &old, &mut new);
    let is_policy = kind.is("admissionregistration.k8s.io", "validatingadmissionpolicies");
    if is_policy && request.subresource.is_none() {
        admission::establish(ctx, &mut new);
    }
    match request.subresource {
        Some(Subresource::Status) => validation::update_status(kind, &old, &new)?,
        Some(Subresource::Resize) => validation::resize(kind, &old, &new)?,
        _ => validation::update(kind, &old, &new)?,
    }
    warnings.extend(fits_schema(ctx, request, &new, Some(&old))?);
    warnings.extend(admission::validate(ctx, request, Some(&new), Some(&old))?);
    charge(ctx, request, (Some(&old), &new))?;
    // Whoever changes something owns it as of now, though nothing else was owned anew.
    let managed = match &managers {
        Some(managers) => ownership::managed(Some(managers)),
        None => current.managed.clone(),
    };
    let object = typed(kind, new)?;
    if (object == current.object && managed == current.managed) || request.options.dry_run {
        let body = ownership::show(object.to_value(), managed.as_deref());
        return Ok(Response { code: 200, body: convert::outgoing(request.kind, body).into(), warnings });
    }
    let body = if object.may_go() {
        // It goes in this write, and whoever wrote gets what they asked for.
        let body = ownership::show(object.to_value(), managed.as_deref());
        delete::remove(ctx, kind, &request.namespace, &request.name);
        convert::outgoing(request.kind, body).into()
    } else {
        convert::answered(request.kind, ctx.objects.put_managed(object, managed))
    };
    Ok(Response { code: 200, body, warnings })
}

/// POST of a Binding that names its Pod.
pub(super) fn bind_named(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let name = text(&request.body, "/metadata/name").to_owned();
    let subresource = Some(Subresource::Binding);
    bind(ctx, &Request { kind: Kind::Pod, name, subresource, ..request.clone() })
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
    let warnings = admission::validate(ctx, request, Some(&request.body), None)?;
    doc["spec"]["nodeName"] = json!(node);
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": ctx.now.to_rfc3339_seconds()});
    let patch = json!({"status": {"conditions": [condition]}});
    let doc = patch::apply(PatchType::StrategicMerge, Kind::Pod, doc, &patch)?;
    let object = typed(Kind::Pod, doc)?;
    if !request.options.dry_run {
        ctx.objects.put(object);
    }
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Response { code: 201, body: body.into(), warnings })
}
