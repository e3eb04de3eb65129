//! The `scale` subresource: how many replicas something has and should have, as an `autoscaling/v1` Scale.

use super::request::{PatchType, Request, Response, Verb};
use super::status::Status;
use super::{Context, admission, custom, patch, write};
use crate::kind::Kind;
use crate::store::{Objects, Stored};
use serde_json::{Value, json};

/// Where replicas wanted and there, and the selector, stand in an object.
struct Paths {
    wanted: Vec<String>,
    there: Vec<String>,
    selector: Option<Vec<String>>,
}

fn paths(objects: &Objects, kind: Kind) -> Option<Paths> {
    let resource = kind.resource();
    if resource.custom {
        let version = objects.definition_of(kind)?.version(resource.version)?;
        let (wanted, there, selector) = version.scale.as_ref()?;
        let selector = match selector {
            Some(path) => Some(custom::steps(path)?),
            None => None,
        };
        return Some(Paths { wanted: custom::steps(wanted)?, there: custom::steps(there)?, selector });
    }
    resource.subresource("scale")?;
    let own = |part: &str, field: &str| vec![part.to_owned(), field.to_owned()];
    Some(Paths {
        wanted: own("spec", "replicas"),
        there: own("status", "replicas"),
        selector: Some(own("spec", "selector")),
    })
}

fn at<'a>(doc: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(doc, |value, step| value.get(step).unwrap_or(&Value::Null))
}

/// A selector in the form of a Scale's status.
fn selector_text(selector: &Value) -> String {
    match selector {
        Value::String(text) => text.clone(),
        Value::Object(map) if map.contains_key("matchLabels") || map.contains_key("matchExpressions") => {
            let typed = serde_json::from_value(selector.clone()).ok();
            super::table::selector(typed.as_ref()).replace("<none>", "")
        }
        Value::Object(map) => {
            let each = map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
            each.collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    }
}

/// The Scale of a stored object; `None`: its kind has none.
pub fn scale(objects: &Objects, kind: Kind, stored: &Stored) -> Option<Value> {
    let paths = paths(objects, kind)?;
    Some(scale_of(&paths, &stored.to_value()))
}

/// Replicas wanted and there, and the selector, as a Scale tells them; `None`: the kind has none.
pub(crate) fn replicas(objects: &Objects, kind: Kind, stored: &Stored) -> Option<(i64, i64, String)> {
    let paths = paths(objects, kind)?;
    let document = stored.object.as_document();
    let whole = if document.is_some() { Value::Null } else { stored.to_value() };
    let find = |path: &[String]| match (path, document) {
        ([first, rest @ ..], Some(document)) => {
            document.body.get(first).map_or(&Value::Null, |part| at(part, rest))
        }
        ([], Some(_)) => &Value::Null,
        (path, None) => at(&whole, path),
    };
    let number = |path: &[String]| find(path).as_i64().unwrap_or(0);
    let selector = paths.selector.as_ref().map(|path| selector_text(find(path))).unwrap_or_default();
    Some((number(&paths.wanted), number(&paths.there), selector))
}

fn scale_of(paths: &Paths, doc: &Value) -> Value {
    let number = |path: &[String]| at(doc, path).as_i64().unwrap_or(0);
    let mut meta = serde_json::Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = doc["metadata"].get(key) {
            meta.insert(key.to_owned(), value.clone());
        }
    }
    let mut status = json!({"replicas": number(&paths.there)});
    if let Some(path) = &paths.selector {
        let text = selector_text(at(doc, path));
        if !text.is_empty() {
            status["selector"] = json!(text);
        }
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": {"replicas": number(&paths.wanted)}, "status": status})
}

fn put(doc: &mut Value, path: &[String], value: Value) {
    let [first, rest @ ..] = path else {
        *doc = value;
        return;
    };
    if !doc.is_object() {
        *doc = json!({});
    }
    put(&mut doc[first.as_str()], rest, value);
}

/// PUT and PATCH of a Scale.
pub(super) fn update(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let resource = request.kind.resource();
    let paths = paths(ctx.objects, request.kind).ok_or_else(Status::method_not_allowed)?;
    let Some(stored) = ctx.objects.get(request.kind, &request.namespace, &request.name).cloned() else {
        return Err(Status::not_found(resource, &request.name));
    };
    let mut doc = super::shown_value(request.kind, &stored);
    let current = scale_of(&paths, &doc);
    let of_scale = Kind::document("autoscaling", "horizontalpodautoscalers");
    let wanted = match request.verb {
        Verb::Patch(PatchType::StrategicMerge | PatchType::Apply) => {
            patch::apply(PatchType::Merge, of_scale, current.clone(), &request.body)?
        }
        Verb::Patch(kind) => patch::apply(kind, of_scale, current.clone(), &request.body)?,
        _ => request.body.clone(),
    };
    let replicas = wanted.pointer("/spec/replicas").cloned().unwrap_or(json!(0));
    if replicas.as_i64().is_none_or(|n| n < 0) {
        let mut errors = super::field::Errors::default();
        errors.invalid("spec.replicas", &replicas, "must be greater than or equal to 0");
        let mut status = Status::invalid(resource, &request.name, errors.into_causes());
        status.message = status.message.replacen(resource.name, "Scale", 1);
        return Err(status);
    }
    let sent = wanted.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    doc["metadata"]["resourceVersion"] = if sent.is_string() { sent } else { Value::Null };
    put(&mut doc, &paths.wanted, replicas);
    let asked = scale_of(&paths, &doc);
    let mut warnings = admission::validate(ctx, request, Some(&asked), Some(&current))?;
    let inner = Request { verb: Verb::Update, body: doc, ..request.clone() };
    let response = write::update(ctx, &inner)?;
    warnings.extend(response.warnings);
    Ok(Response { body: scale_of(&paths, &response.body.to_value()).into(), warnings, ..response })
}
