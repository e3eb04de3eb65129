//! Whether a document may be stored, with the API server's words and field paths.
//!
//! Works on documents after decoding and defaulting, so types are right and only meaning is judged.
//! Leaves out fields the twin does not act on (probes, security contexts, volume sources).

mod autoscaler;
mod documents;
mod job;
mod jobpolicy;
mod pod;
mod ports;
mod resize;
mod resources;
pub(crate) use resize::keep as keep_of_resize;
mod scheduling;

use super::field::Errors;
use super::names::{
    address_problems, check_annotations, check_labels, key_problems, label_problems, label_value_problems,
    path_segment_problems, subdomain_problems,
};
use super::status::Status;
use crate::kind::Kind;
use serde_json::{Value, json};

/// The text at a JSON pointer; empty when there is none.
pub(super) fn text<'a>(doc: &'a Value, pointer: &str) -> &'a str {
    doc.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a JSON pointer; empty when there is none.
pub(super) fn list<'a>(doc: &'a Value, pointer: &str) -> &'a [Value] {
    doc.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The value at a JSON pointer; null when there is none.
pub(super) fn value<'a>(doc: &'a Value, pointer: &str) -> &'a Value {
    doc.pointer(pointer).unwrap_or(&Value::Null)
}

/// A whole number that must not be negative.
pub(super) fn not_negative(errors: &mut Errors, doc: &Value, path: &str) {
    let pointer = format!("/{}", path.replace('.', "/"));
    if value(doc, &pointer).as_i64().is_some_and(|n| n < 0) {
        errors.invalid(path, value(doc, &pointer), "must be greater than or equal to 0");
    }
}

/// A text that, where given, must be one of `supported`.
pub(super) fn one_of(errors: &mut Errors, found: &Value, path: &str, supported: &[&str]) {
    if !found.is_null() && !found.as_str().is_some_and(|f| supported.contains(&f)) {
        errors.not_supported(path, found, supported);
    }
}

fn metadata(errors: &mut Errors, kind: Kind, doc: &Value) {
    let name = text(doc, "/metadata/name");
    let problems = match (kind, kind.resource().plural) {
        (Kind::Namespace, _) => label_problems(name),
        (Kind::Document(_), "services") if kind.resource().group.is_empty() => label_problems(name),
        // Names of roles are segments of paths, and need not be DNS names.
        (Kind::Document(_), _) if kind.resource().group == "rbac.authorization.k8s.io" => {
            path_segment_problems(name)
        }
        (Kind::Document(_), "apiservices") if !kind.resource().custom => documents::apiservice_name(doc),
        (Kind::Document(_), "ipaddresses") if !kind.resource().custom => address_problems(name),
        _ => subdomain_problems(name),
    };
    if name.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else {
        for problem in problems {
            errors.invalid("metadata.name", &json!(name), &problem);
        }
    }
    if kind.resource().namespaced {
        let namespace = text(doc, "/metadata/namespace");
        for problem in label_problems(namespace) {
            errors.invalid("metadata.namespace", &json!(namespace), &problem);
        }
    }
    check_labels(errors, "metadata.labels", doc.pointer("/metadata/labels"));
    check_annotations(errors, "metadata.annotations", doc.pointer("/metadata/annotations"));
    for (i, finalizer) in list(doc, "/metadata/finalizers").iter().enumerate() {
        let path = format!("metadata.finalizers[{i}]");
        let name = finalizer.as_str().unwrap_or_default();
        for problem in key_problems(name) {
            errors.invalid(&path, finalizer, &problem);
        }
        let built_in = ["foregroundDeletion", "orphan", "kubernetes"].contains(&name);
        if !name.contains('/') && !built_in {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path, finalizer, why);
        }
    }
    for (i, owner) in list(doc, "/metadata/ownerReferences").iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                errors.invalid(
                    &format!("metadata.ownerReferences[{i}].{field}"),
                    &json!(""),
                    "must not be empty",
                );
            }
        }
    }
    let controllers = list(doc, "/metadata/ownerReferences")
        .iter()
        .filter(|o| o.get("controller").and_then(Value::as_bool) == Some(true));
    if controllers.count() > 1 {
        errors.invalid_unprinted(
            "metadata.ownerReferences",
            "Only one reference can have Controller set to true",
        );
    }
}

fn config_map(errors: &mut Errors, doc: &Value) {
    for part in ["data", "binaryData"] {
        for key in doc.get(part).and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key) {
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            let path = format!("{part}[{key}]");
            if key.is_empty() || !key.bytes().all(fits) || key == "." || key == ".." {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.invalid(&path, &json!(key), why);
            } else if key.len() > 253 {
                errors.invalid(&path, &json!(key), "must be no more than 253 characters");
            }
        }
    }
}

fn event(errors: &mut Errors, doc: &Value) {
    let (own, involved) = (text(doc, "/metadata/namespace"), text(doc, "/involvedObject/namespace"));
    // Events about cluster-scoped objects live in the namespace `default`.
    let fits = if involved.is_empty() { own == "default" } else { own == involved };
    if !fits {
        errors.invalid("involvedObject.namespace", &json!(involved), "does not match event.namespace");
    }
}

fn lease(errors: &mut Errors, doc: &Value) {
    if value(doc, "/spec/leaseDurationSeconds").as_i64().is_some_and(|n| n <= 0) {
        let found = value(doc, "/spec/leaseDurationSeconds");
        errors.invalid("spec.leaseDurationSeconds", found, "must be greater than 0");
    }
    if value(doc, "/spec/leaseTransitions").as_i64().is_some_and(|n| n < 0) {
        let found = value(doc, "/spec/leaseTransitions");
        errors.invalid("spec.leaseTransitions", found, "must be greater than or equal to 0");
    }
}

fn priority_class(errors: &mut Errors, doc: &Value) {
    /// Highest value a user may give.
    const USER_MAX: i64 = 1_000_000_000;
    let name = text(doc, "/metadata/name");
    if name.starts_with("system-") {
        if let Err(error) = system_class(name, doc) {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {error}"
            );
            errors.forbidden("metadata.name", &why);
        }
    } else if value(doc, "/value").as_i64().is_some_and(|v| v > USER_MAX) {
        let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.forbidden("value", &why);
    }
    one_of(errors, value(doc, "/preemptionPolicy"), "preemptionPolicy", &["PreemptLowerPriority", "Never"]);
}

/// Whether a class is one of the two that Kubernetes has from the start, as it has them.
fn system_class(name: &str, doc: &Value) -> Result<(), String> {
    let known = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
    let Some((_, expected)) = known.into_iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if value(doc, "/value").as_i64().unwrap_or(0) != expected {
        return Err(format!("value of {name} PriorityClass must be {expected}"));
    }
    if value(doc, "/globalDefault").as_bool() == Some(true) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

/// The paths are the server's own: it names taints under `metadata`.
fn node(errors: &mut Errors, doc: &Value) {
    let taints = list(doc, "/spec/taints");
    for (i, taint) in taints.iter().enumerate() {
        let path = format!("metadata.taints[{i}]");
        for problem in key_problems(text(taint, "/key")) {
            errors.invalid(&format!("{path}.key"), &json!(text(taint, "/key")), &problem);
        }
        let problems = label_value_problems(text(taint, "/value"));
        if !problems.is_empty() {
            errors.invalid(&format!("{path}.value"), value(taint, "/value"), &problems.join(";"));
        }
        let effect = format!("{path}.effect");
        match text(taint, "/effect") {
            "" => errors.required(&effect, ""),
            found => {
                let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
                one_of(errors, &json!(found), &effect, &effects);
            }
        }
        let pair = |taint: &Value| (text(taint, "/key").to_owned(), text(taint, "/effect").to_owned());
        if taints[..i].iter().any(|other| pair(other) == pair(taint)) {
            // Printed as Go writes it.
            let field = |name: &str| json!(text(taint, name)).to_string();
            let printed = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{}}}: taints must be unique by key and effect pair",
                field("/key"),
                field("/value"),
                field("/effect"),
                value(taint, "/timeAdded")
            );
            errors.duplicate_go(&path, &printed);
        }
    }
}

fn finish(kind: Kind, doc: &Value, errors: Errors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind.resource(), text(doc, "/metadata/name"), errors.into_causes()))
}

/// Whether `doc` may be created.
pub(crate) fn create(kind: Kind, doc: &Value) -> Result<(), Status> {
    let mut errors = Errors::default();
    metadata(&mut errors, kind, doc);
    match kind {
        Kind::Pod => pod::create(&mut errors, doc),
        Kind::Job => job::create(&mut errors, doc),
        Kind::ConfigMap => config_map(&mut errors, doc),
        Kind::Event => event(&mut errors, doc),
        Kind::Lease => lease(&mut errors, doc),
        Kind::PriorityClass => priority_class(&mut errors, doc),
        Kind::Node => node(&mut errors, doc),
        Kind::Namespace => {}
        Kind::Document(_) => documents::check(&mut errors, kind, doc),
    }
    finish(kind, doc, errors)
}

/// Whether `new` may take the place of `old`.
pub(crate) fn update(kind: Kind, old: &Value, new: &Value) -> Result<(), Status> {
    let mut errors = Errors::default();
    metadata(&mut errors, kind, new);
    if value(old, "/metadata/deletionTimestamp") != &Value::Null {
        let had = list(old, "/metadata/finalizers");
        if list(new, "/metadata/finalizers").iter().any(|f| !had.contains(f)) {
            errors.forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted",
            );
        }
    }
    match kind {
        // What is stored was judged when it came.
        Kind::Pod | Kind::Job if old.get("spec") == new.get("spec") => {}
        Kind::Pod => pod::update(&mut errors, old, new),
        Kind::Job => job::update(&mut errors, old, new),
        Kind::ConfigMap => {
            config_map(&mut errors, new);
            documents::immutable(&mut errors, old, new, &["data", "binaryData"]);
        }
        Kind::Lease => lease(&mut errors, new),
        Kind::PriorityClass => {
            for field in ["value", "preemptionPolicy"] {
                if old.get(field) != new.get(field) {
                    errors.forbidden(field, "may not be changed in an update.");
                }
            }
        }
        Kind::Node => node(&mut errors, new),
        Kind::Event | Kind::Namespace => {}
        Kind::Document(_) => {
            documents::check(&mut errors, kind, new);
            documents::check_change(&mut errors, kind, old, new);
        }
    }
    finish(kind, new, errors)
}

/// Whether a pod may be resized to `new`.
pub(crate) fn resize(kind: Kind, old: &Value, new: &Value) -> Result<(), Status> {
    let mut errors = Errors::default();
    metadata(&mut errors, kind, new);
    resize::check(&mut errors, old, new);
    finish(kind, new, errors)
}

/// Whether `new`'s status may take the place of `old`'s; both carry the same spec.
pub(crate) fn update_status(kind: Kind, old: &Value, new: &Value) -> Result<(), Status> {
    let mut errors = Errors::default();
    metadata(&mut errors, kind, new);
    if kind == Kind::Job && old.get("status") != new.get("status") {
        job::update_status(&mut errors, old, new);
    }
    if kind.is("certificates.k8s.io", "certificatesigningrequests") {
        documents::check(&mut errors, kind, new);
    }
    if kind == Kind::Pod {
        let phases = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
        one_of(&mut errors, value(new, "/status/phase"), "status.phase", &phases);
    }
    finish(kind, new, errors)
}
