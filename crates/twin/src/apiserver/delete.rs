//! Deletion: finalizers, grace, propagation.
//!
//! Invariants: an object is gone once nothing holds it (no finalizers, no grace left; for a namespace no
//! spec finalizers either). Orphaning, a foreground deletion's way down to its dependents, and its end happen at once,
//! here; dependents of an owner deleted in the background are the garbage collector's, and so is whatever is due of
//! those that have another owner. Times are whole seconds.

use super::request::{DeleteOptions, Propagation, Request, Response};
use super::selector::Selectors;
use super::status::Status;
use super::{Context, admission, convert, list};
use crate::kind::{Defined, Kind, Resource};
use crate::object::{Object, drop_finalizer, has_finalizer};
use crate::store::Stored;
use fleet::{Instant, Span};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};
use std::sync::Arc;

const FOREGROUND: &str = "foregroundDeletion";
/// Namespaces the API server never lets go.
const KEPT_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Longest chain of owners followed when the last dependent of a foreground deletion goes.
const OWNERS_MAX: usize = 16;

fn whole_seconds(instant: Instant) -> Time {
    Time(Instant::from_unix_seconds(instant.as_unix_seconds()).to_jiff())
}

/// Takes an object away, and with it every owner that only waited for it (foreground deletion).
pub(super) fn remove(ctx: &mut Context<'_>, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Stored>> {
    let removed = ctx.objects.remove(kind, namespace, name)?.told();
    undefine(ctx, &removed.object);
    let mut owners = waiting_owners(ctx, &removed.object);
    for _ in 0..OWNERS_MAX {
        let Some(owner) = owners.pop() else { break };
        let mut object = owner.object.clone();
        drop_finalizer(object.meta_mut(), FOREGROUND);
        if ctx.objects.put_or_let_go(object).is_none() {
            owners.extend(waiting_owners(ctx, &owner.object));
        }
    }
    Some(removed)
}

/// When a definition goes, so do the objects of what it defined.
fn undefine(ctx: &mut Context<'_>, object: &Object) {
    let document = object.as_document().filter(|d| d.kind.resource().group == "apiextensions.k8s.io");
    let Some(spec) = document.and_then(|d| d.body.get("spec")) else { return };
    let Some(kind) = Defined::read(spec).stored() else { return };
    let all: Vec<(String, String)> = ctx
        .objects
        .list(kind, None)
        .map(|s| (s.object.namespace().to_owned(), s.object.name().to_owned()))
        .collect();
    for (namespace, name) in all {
        ctx.objects.remove(kind, &namespace, &name);
    }
}

/// Owners of `object` in foreground deletion that have no other dependents.
fn waiting_owners(ctx: &Context<'_>, object: &Object) -> Vec<Arc<Stored>> {
    let mut owners = Vec::new();
    for reference in object.meta().owner_references.iter().flatten() {
        let Some(kind) = ctx.objects.kind_of(&reference.api_version, &reference.kind) else { continue };
        let namespace = if kind.resource().namespaced { object.namespace() } else { "" };
        let Some(owner) = ctx.objects.get(kind, namespace, &reference.name) else { continue };
        let waits = has_finalizer(owner.object.meta(), FOREGROUND);
        let blocked = || dependents(ctx, &owner.object).iter().any(|own| blocks(own, &owner.object));
        if owner.object.uid() == reference.uid && waits && !blocked() {
            owners.push(owner.clone());
        }
    }
    owners
}

/// Objects in the same namespace that name `owner` by uid.
fn dependents(ctx: &Context<'_>, owner: &Object) -> Vec<Arc<Stored>> {
    let namespace = owner.kind().resource().namespaced.then(|| owner.namespace());
    let owned = |stored: &&Arc<Stored>| {
        stored.object.meta().owner_references.iter().flatten().any(|r| r.uid == owner.uid())
    };
    ctx.objects
        .kinds()
        .filter(|kind| kind.resource().namespaced || namespace.is_none())
        .flat_map(|kind| ctx.objects.list(kind, namespace).filter(owned))
        .cloned()
        .collect()
}

/// Whether a dependent holds its owner's foreground deletion up.
fn blocks(dependent: &Stored, owner: &Object) -> bool {
    let mut owners = dependent.object.meta().owner_references.iter().flatten();
    owners.any(|reference| reference.uid == owner.uid() && reference.block_owner_deletion == Some(true))
}

/// Whether an object goes only after its dependents.
fn waits(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && has_finalizer(meta, FOREGROUND)
}

/// The dependents that go before their owner: those that block it and have no other owner that stays. One that waits for
/// its own dependents already is on the way down here, or part of a circle.
fn foregoing(ctx: &Context<'_>, owner: &Object) -> Vec<Arc<Stored>> {
    let stays = |dependent: &Stored| {
        let mut others = dependent.object.meta().owner_references.iter().flatten();
        others.any(|reference| {
            let Some(kind) = ctx.objects.kind_of(&reference.api_version, &reference.kind) else {
                return true;
            };
            let namespace = if kind.resource().namespaced { dependent.object.namespace() } else { "" };
            let found = ctx.objects.get(kind, namespace, &reference.name);
            let solid = found.is_some_and(|s| s.object.uid() == reference.uid && !waits(s.object.meta()));
            reference.uid != owner.uid() && solid
        })
    };
    let mut all = dependents(ctx, owner);
    all.retain(|own| blocks(own, owner) && !waits(own.object.meta()) && !stays(own));
    all
}

/// What a controller calls when it is done with an object that is being deleted: the kubelet when a
/// pod's containers have ended, the namespace controller when a namespace is empty. No grace is left
/// and a namespace's own finalizer goes; the object is removed unless finalizers hold it.
/// Returns the last state if it is gone.
pub fn finish_delete(ctx: &mut Context<'_>, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Stored>> {
    let stored = ctx.objects.get(kind, namespace, name)?;
    let mut object = stored.object.clone();
    object.meta().deletion_timestamp.as_ref()?;
    if object.meta().deletion_grace_period_seconds.is_some_and(|s| s > 0) {
        object.meta_mut().deletion_grace_period_seconds = Some(0);
    }
    if let Object::Namespace(namespace) = &mut object
        && let Some(spec) = &mut namespace.spec
    {
        spec.finalizers = None;
    }
    if object.is_held() {
        if object != stored.object {
            ctx.objects.put(object);
        }
        return None;
    }
    remove(ctx, kind, namespace, name)
}

/// Seconds of grace a delete gives: only pods that may be running have any.
fn grace_seconds(object: &Object, options: &DeleteOptions) -> i64 {
    let Some(pod) = object.as_pod() else { return 0 };
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let spec = pod.spec.as_ref();
    let scheduled = spec.and_then(|s| s.node_name.as_deref()).is_some_and(|n| !n.is_empty());
    if !scheduled || matches!(phase, "Succeeded" | "Failed") {
        return 0;
    }
    let own = spec.and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    let seconds = options.grace_period_seconds.unwrap_or(own);
    if seconds < 0 { 1 } else { seconds }
}

fn check_preconditions(resource: &Resource, object: &Object, options: &DeleteOptions) -> Result<(), Status> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != object.uid()) {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", object.uid());
        return Err(Status::conflict(resource, object.name(), &why));
    }
    let version = object.meta().resource_version.as_deref().unwrap_or_default();
    if let Some(wanted) = options.resource_version.as_deref().filter(|v| *v != version) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {version}"
        );
        return Err(Status::conflict(resource, object.name(), &why));
    }
    Ok(())
}

/// Takes `owner` out of the owner references of its dependents.
fn orphan(ctx: &mut Context<'_>, owner: &Object) {
    for dependent in dependents(ctx, owner) {
        let mut object = dependent.object.clone();
        let references = &mut object.meta_mut().owner_references;
        if let Some(list) = references {
            list.retain(|r| r.uid != owner.uid());
        }
        if references.as_ref().is_some_and(Vec::is_empty) {
            *references = None;
        }
        ctx.objects.put(object);
    }
}

/// A batch/v1 Job deleted without a policy orphans its pods; everything else leaves them to the
/// garbage collector.
fn default_propagation(kind: Kind) -> Propagation {
    if kind == Kind::Job { Propagation::Orphan } else { Propagation::Background }
}

/// Marks an object as being deleted. Returns it, and whether it changed.
fn mark(ctx: &Context<'_>, object: &Object, grace: i64, hold: bool) -> (Object, bool) {
    let mut marked = object.clone();
    let earlier = object.meta().deletion_timestamp.is_some();
    let meta = marked.meta_mut();
    if hold && !has_finalizer(meta, FOREGROUND) {
        meta.finalizers.get_or_insert_default().push(FOREGROUND.to_owned());
    }
    // A second delete can only shorten the time left.
    if !earlier || meta.deletion_grace_period_seconds.unwrap_or(0) > grace {
        meta.deletion_timestamp = Some(whole_seconds(ctx.now + Span::from_seconds(grace)));
        meta.deletion_grace_period_seconds = Some(grace);
    }
    if !earlier && let Some(generation) = &mut meta.generation {
        *generation += 1;
    }
    if let Object::Namespace(namespace) = &mut marked {
        namespace.metadata.deletion_grace_period_seconds = None;
        namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
    }
    let changed = marked != *object;
    (marked, changed)
}

/// Deletes one object. Returns its last or marked state, and whether it is gone.
fn delete_one(
    ctx: &mut Context<'_>,
    stored: &Arc<Stored>,
    options: &DeleteOptions,
) -> Result<(Arc<Stored>, bool), Status> {
    let object = &stored.object;
    let (kind, resource) = (object.kind(), object.kind().resource());
    check_preconditions(resource, object, options)?;
    if kind == Kind::Namespace && KEPT_NAMESPACES.contains(&object.name()) {
        return Err(Status::forbidden(resource, object.name(), "this namespace may not be deleted"));
    }
    let propagation = options.propagation.unwrap_or_else(|| default_propagation(kind));
    if propagation == Propagation::Orphan {
        orphan(ctx, object);
    }
    let foreground = propagation == Propagation::Foreground;
    let waits_for = if foreground { foregoing(ctx, object) } else { Vec::new() };
    let grace = grace_seconds(object, options);
    let (marked, changed) = mark(ctx, object, grace, !waits_for.is_empty());
    let (namespace, name) = (marked.namespace().to_owned(), marked.name().to_owned());
    if !marked.is_held() {
        let gone = remove(ctx, kind, &namespace, &name).unwrap_or_else(|| stored.clone());
        return Ok((gone, true));
    }
    let marked = if changed { ctx.objects.put(marked) } else { stored.clone() };
    for dependent in waits_for {
        // The owner's preconditions are not its dependents'. One that refuses keeps its owner waiting.
        let options =
            DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        let fresh =
            ctx.objects.get(dependent.object.kind(), dependent.object.namespace(), dependent.object.name());
        if let Some(dependent) = fresh.cloned() {
            let _ = delete_one(ctx, &dependent, &options);
        }
    }
    let gone = ctx.objects.get(kind, &namespace, &name).is_none();
    Ok((marked, gone))
}

/// The `Status` of a delete that is done.
fn success(resource: &Resource, object: &Object) -> Value {
    let mut details = json!({"name": object.name(), "kind": resource.plural, "uid": object.uid()});
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// DELETE of one object.
pub(super) fn delete(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let (kind, resource) = (request.kind.stored(), request.kind.resource());
    let Some(stored) = ctx.objects.get(kind, &request.namespace, &request.name).cloned() else {
        return Err(Status::not_found(resource, &request.name));
    };
    let options = &request.options.delete;
    let warnings = admission::validate_delete(ctx, request, &stored)?;
    if request.options.dry_run {
        check_preconditions(resource, &stored.object, options)?;
        let body = convert::answered(request.kind, stored);
        return Ok(Response { code: 200, body, warnings });
    }
    let (object, gone) = delete_one(ctx, &stored, options)?;
    // A pod is answered with itself, as the API server does, other kinds with a Status.
    let body = if gone && kind != Kind::Pod {
        success(resource, &object.object).into()
    } else {
        convert::answered(request.kind, object)
    };
    Ok(Response { code: 200, body, warnings })
}

/// DELETE of all objects the selectors match.
pub(super) fn delete_collection(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let (kind, resource) = (request.kind, request.kind.resource());
    let selectors = Selectors::of(
        ctx.objects,
        kind,
        request.options.label_selector.as_deref().unwrap_or_default(),
        request.options.field_selector.as_deref().unwrap_or_default(),
    )?;
    let namespace = (!request.namespace.is_empty()).then_some(request.namespace.as_str());
    let matching: Vec<_> =
        ctx.objects.list(kind, namespace).filter(|s| selectors.matches(s)).cloned().collect();
    // All are judged before any goes, and webhooks asked about all of them together.
    let (mut items, mut warnings, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for stored in &matching {
        match admission::validate_delete(ctx, request, stored) {
            Ok(more) => warnings.extend(more),
            Err(Status { pending: Some(pending), .. }) => calls.extend(pending.calls),
            Err(status) => return Err(status),
        }
    }
    if !calls.is_empty() {
        return Err(Status::pending(calls));
    }
    for stored in &matching {
        if request.options.dry_run {
            items.push(convert::shown_value(request.kind, stored));
            continue;
        }
        let (object, _) = delete_one(ctx, stored, &request.options.delete)?;
        items.push(convert::shown_value(request.kind, &object));
    }
    let body = list::document(resource, ctx.objects.version(), None, None, items);
    Ok(Response { code: 200, body: body.into(), warnings })
}
