//! The `eviction` subresource of a Pod: a delete that disruption budgets may refuse.

use super::request::{DeleteOptions, Options, Propagation, Request, Response, Verb};
use super::selector::selects_pod;
use super::status::{Cause, Status};
use super::{Context, admission, delete};
use crate::kind::Kind;
use crate::object::Object;
use fleet::Instant;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// The answer to an eviction that is done.
fn done(warnings: Vec<String>) -> Response {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Response { code: 201, body: body.into(), warnings }
}

fn budget_causes(message: String) -> Cause {
    Cause { reason: "DisruptionBudget".to_owned(), message, field: String::new() }
}

/// POST of an Eviction.
pub(super) fn create(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let resource = Kind::Pod.resource();
    let Some(stored) = ctx.objects.get(Kind::Pod, &request.namespace, &request.name).cloned() else {
        return Err(Status::not_found(resource, &request.name));
    };
    let body = &request.body;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    if text("/metadata/name").is_some_and(|name| name != request.name) {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let warnings = admission::validate(ctx, request, Some(body), None)?;
    let options = DeleteOptions {
        grace_period_seconds: body.pointer("/deleteOptions/gracePeriodSeconds").and_then(Value::as_i64),
        propagation: Some(Propagation::Background),
        uid: text("/deleteOptions/preconditions/uid"),
        resource_version: text("/deleteOptions/preconditions/resourceVersion"),
    };
    let doc = stored.object.to_value();
    let phase = doc.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let going = stored.object.meta().deletion_timestamp.is_some();
    if !matches!(phase, "Succeeded" | "Failed" | "Pending") && !going {
        disrupt(ctx, request, &doc)?;
    }
    let dry = body.pointer("/deleteOptions/dryRun").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    let mut options_of_request = request.options.clone();
    options_of_request.delete = options;
    options_of_request.dry_run |= dry;
    mark(ctx, &stored.object, &mut options_of_request);
    let delete =
        Request { verb: Verb::Delete, body: Value::Null, options: options_of_request, ..request.clone() };
    delete::delete(ctx, &delete)?;
    Ok(done(warnings))
}

/// Says on a pod that is to be evicted that it is a disruption, unless the deletion will be refused.
fn mark(ctx: &mut Context<'_>, object: &Object, options: &mut Options) {
    let Some(pod) = object.as_pod() else { return };
    let version = object.meta().resource_version.as_deref();
    let wanted = (options.delete.uid.as_deref(), options.delete.resource_version.as_deref());
    let other =
        wanted.0.is_some_and(|uid| uid != object.uid()) || wanted.1.is_some_and(|v| Some(v) != version);
    if options.dry_run || other || object.meta().deletion_timestamp.is_some() {
        return;
    }
    let mut pod = pod.clone();
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|c| c.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("EvictionByEvictionAPI".to_owned()),
        message: Some("Eviction API: evicting".to_owned()),
        last_transition_time: Some(Time(Instant::from_unix_seconds(ctx.now.as_unix_seconds()).to_jiff())),
        ..PodCondition::default()
    });
    ctx.objects.put(Object::Pod(Box::new(pod)));
    // It was held against the version before.
    options.delete.resource_version = None;
}

/// Asks the Pod's budget, and takes one disruption of it.
fn disrupt(ctx: &mut Context<'_>, request: &Request, pod: &Value) -> Result<(), Status> {
    let kind = Kind::document("policy", "poddisruptionbudgets");
    let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
    let matching = ctx.objects.list(kind, Some(&request.namespace)).filter(|stored| {
        let selector = stored.object.as_document().and_then(|d| d.body.get("spec")?.get("selector"));
        selector.is_some_and(|selector| selects_pod(selector, &labels))
    });
    let matching: Vec<_> = matching.cloned().collect();
    let budget = match matching.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        _ => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, "InternalError", why));
        }
    };
    let mut doc = budget.object.to_value();
    let name = budget.object.name().to_owned();
    let number = |doc: &Value, pointer: &str| doc.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let (healthy, desired) = (number(&doc, "/status/currentHealthy"), number(&doc, "/status/desiredHealthy"));
    let always = doc.pointer("/spec/unhealthyPodEvictionPolicy") == Some(&json!("AlwaysAllow"));
    if !ready && (always || (healthy >= desired && desired > 0)) {
        return Ok(());
    }
    let refused = |message: String, seconds: Option<u32>| {
        let mut status = Status::new(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        );
        status.causes.push(budget_causes(message));
        status.retry_after_seconds = seconds;
        status
    };
    if number(&doc, "/status/observedGeneration") < number(&doc, "/metadata/generation") {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why, Some(10)));
    }
    let allowed = number(&doc, "/status/disruptionsAllowed");
    if allowed <= 0 {
        let why =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(refused(why, None));
    }
    if request.options.dry_run {
        return Ok(());
    }
    doc["status"]["disruptionsAllowed"] = json!(allowed - 1);
    if !doc["status"]["disruptedPods"].is_object() {
        doc["status"]["disruptedPods"] = json!({});
    }
    doc["status"]["disruptedPods"][request.name.as_str()] = json!(ctx.now.to_rfc3339_seconds());
    let object = super::decode::typed(kind, doc)?;
    ctx.objects.put(object);
    Ok(())
}
