//! Jobs: their spec, what of it may change, and which status may follow which.

use super::super::field::Errors;
use super::super::names::{check_annotations, check_labels, key_problems};
use super::{jobpolicy, list, not_negative, one_of, pod, text, value};
use fleet::Instant;
use serde_json::{Value, json};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";

/// Checks a new Job.
pub(super) fn create(errors: &mut Errors, doc: &Value) {
    spec(errors, doc);
    selector(errors, doc);
}

fn spec(errors: &mut Errors, doc: &Value) {
    for field in
        ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"]
    {
        not_negative(errors, doc, &format!("spec.{field}"));
    }
    for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        not_negative(errors, doc, &format!("spec.{field}"));
    }
    let mode = value(doc, "/spec/completionMode");
    one_of(errors, mode, "spec.completionMode", &["NonIndexed", "Indexed"]);
    if value(doc, "/spec/backoffLimitPerIndex").is_null() && !value(doc, "/spec/maxFailedIndexes").is_null() {
        errors.required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified");
    }
    jobpolicy::indexed(errors, doc);
    jobpolicy::failure(errors, doc);
    jobpolicy::success(errors, doc);
    let replacement = value(doc, "/spec/podReplacementPolicy");
    if !value(doc, "/spec/podFailurePolicy").is_null() {
        one_of(errors, replacement, "spec.podReplacementPolicy", &["Failed"]);
    } else {
        one_of(errors, replacement, "spec.podReplacementPolicy", &["Failed", "TerminatingOrFailed"]);
    }
    if let Some(manager) = value(doc, "/spec/managedBy").as_str() {
        if manager.len() > 63 {
            errors.too_long("spec.managedBy", 63);
        }
        if !manager.contains('/') || !key_problems(manager).is_empty() {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.invalid("spec.managedBy", &json!(manager), why);
        }
    }
    let template = value(doc, "/spec/template");
    check_labels(errors, "spec.template.labels", template.pointer("/metadata/labels"));
    check_annotations(errors, "spec.template.annotations", template.pointer("/metadata/annotations"));
    pod::spec(errors, value(template, "/spec"), "spec.template.spec");
    let policy = text(template, "/spec/restartPolicy");
    if policy == "Always" {
        errors.required("spec.template.spec.restartPolicy", "valid values: \"OnFailure\", \"Never\"");
    }
    if !value(doc, "/spec/podFailurePolicy").is_null() && policy == "OnFailure" {
        let why = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.invalid("spec.template.spec.restartPolicy", &json!(policy), why);
    }
}

/// The selector must be the generated one, unless the user asked for their own.
fn selector(errors: &mut Errors, doc: &Value) {
    let labels = value(doc, "/spec/template/metadata/labels");
    let wanted = value(doc, "/spec/selector/matchLabels");
    if value(doc, "/spec/manualSelector").as_bool() == Some(true) {
        if value(doc, "/spec/selector").is_null() {
            errors.required("spec.selector", "");
        }
        let matches = wanted
            .as_object()
            .is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
        if !matches {
            errors.invalid(
                "spec.template.metadata.labels",
                labels,
                "`selector` does not match template `labels`",
            );
        }
        return;
    }
    let uid = text(doc, "/metadata/uid");
    let name = text(doc, "/metadata/name");
    for (key, expected) in [
        (UID_LABEL, uid),
        ("controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("job-name", name),
    ] {
        match labels.get(key).and_then(Value::as_str) {
            Some(found) if found == expected => {}
            Some(_) => errors.invalid(
                "spec.template.metadata.labels",
                labels,
                &format!("label {key:?} must be {expected:?}"),
            ),
            None => errors.required("spec.template.metadata.labels", &format!("must be '{expected}'")),
        }
    }
    let generated = json!({"matchLabels": {UID_LABEL: uid}});
    let legacy = json!({"matchLabels": {"controller-uid": uid}});
    let found = value(doc, "/spec/selector");
    if *found != generated && *found != legacy {
        errors.invalid("spec.selector", found, "`selector` not auto-generated");
    }
}

/// Checks an update of a Job's spec.
pub(super) fn update(errors: &mut Errors, old: &Value, new: &Value) {
    spec(errors, new);
    let changed = |field: &str| old["spec"].get(field) != new["spec"].get(field);
    if changed("completions") && !is_elastic(old, new) {
        let indexed = text(new, "/spec/completionMode") == "Indexed";
        let why = if indexed {
            "can only be modified in tandem with spec.parallelism"
        } else {
            "field is immutable"
        };
        errors.invalid("spec.completions", value(new, "/spec/completions"), why);
    }
    for field in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        if changed(field) {
            let path = format!("spec.{field}");
            errors.invalid(&path, value(new, &format!("/spec/{field}")), "field is immutable");
        }
    }
    if template_with_mutable_parts_of(old, new) != old["spec"]["template"] {
        errors.invalid("spec.template", value(new, "/spec/template"), "field is immutable");
    }
}

/// An indexed Job may grow and shrink when completions stay equal to parallelism.
fn is_elastic(old: &Value, new: &Value) -> bool {
    let number = |doc: &Value, field: &str| value(doc, &format!("/spec/{field}")).as_i64();
    text(old, "/spec/completionMode") == "Indexed"
        && number(new, "completions").is_some()
        && number(new, "completions") == number(new, "parallelism")
}

/// The new template with the parts that may change while a Job is suspended and none of its pods run put back to what they
/// were.
fn template_with_mutable_parts_of(old: &Value, new: &Value) -> Value {
    let mut template = new["spec"]["template"].clone();
    let suspended = value(old, "/spec/suspend").as_bool() == Some(true);
    let stopped = value(old, "/status/startTime").is_null() || has(old, "Suspended");
    let runs = value(old, "/status/active").as_i64().unwrap_or(0) > 0;
    if !suspended || !stopped || runs {
        return template;
    }
    let before = &old["spec"]["template"];
    for part in ["labels", "annotations"] {
        put_back(&mut template["metadata"], &before["metadata"], part);
    }
    for part in ["nodeSelector", "tolerations", "schedulingGates"] {
        put_back(&mut template["spec"], &before["spec"], part);
    }
    put_back_node_affinity(&mut template["spec"], &before["spec"]);
    for kind in ["containers", "initContainers"] {
        let before = list(before, &format!("/spec/{kind}"));
        let after = template["spec"].get_mut(kind).and_then(Value::as_array_mut);
        for (after, before) in after.into_iter().flatten().zip(before) {
            put_back(after, before, "resources");
        }
    }
    template
}

/// Of the affinities only that to nodes may change.
fn put_back_node_affinity(new: &mut Value, old: &Value) {
    let others = |spec: &Value| {
        let all = spec.get("affinity").and_then(Value::as_object);
        let mut all = all.cloned().unwrap_or_default();
        all.remove("nodeAffinity");
        all
    };
    if others(new) == others(old) {
        put_back(new, old, "affinity");
    }
}

fn put_back(new: &mut Value, old: &Value, part: &str) {
    let Some(map) = new.as_object_mut() else { return };
    match old.get(part) {
        Some(before) => {
            map.insert(part.to_owned(), before.clone());
        }
        None => {
            map.remove(part);
        }
    }
}

/// Whether a condition is True.
fn has(doc: &Value, condition: &str) -> bool {
    list(doc, "/status/conditions")
        .iter()
        .any(|c| text(c, "/type") == condition && text(c, "/status") == "True")
}

fn time(doc: &Value, field: &str) -> Option<Instant> {
    Instant::parse(value(doc, &format!("/status/{field}")).as_str()?).ok()
}

/// Checks a status write.
pub(super) fn update_status(errors: &mut Errors, old: &Value, new: &Value) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        not_negative(errors, new, &format!("status.{field}"));
    }
    let number = |doc: &Value, field: &str| value(doc, &format!("/status/{field}")).as_i64().unwrap_or(0);
    let (complete, failed) = (has(new, "Complete"), has(new, "Failed"));
    let finished = complete || failed;
    if finished && number(new, "active") > 0 {
        let found = value(new, "/status/active");
        errors.invalid("status.active", found, "active>0 is invalid for finished job");
    }
    if number(new, "ready") > number(new, "active") {
        let found = value(new, "/status/ready");
        errors.invalid("status.ready", found, "cannot set more ready pods than active");
    }
    if finished && number(new, "terminating") > 0 {
        let found = value(new, "/status/terminating");
        errors.invalid("status.terminating", found, "terminating>0 is invalid for finished job");
    }
    let uncounted = value(new, "/status/uncountedTerminatedPods");
    let waiting = ["succeeded", "failed"].iter().any(|k| !list(uncounted, &format!("/{k}")).is_empty());
    if finished && waiting {
        let why = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid("status.uncountedTerminatedPods", uncounted, why);
    }
    if finished && time(new, "startTime").is_none() {
        errors.required("status.startTime", "startTime is required for finished job");
    }
    conditions(errors, old, new);
    counters_and_times(errors, old, new, complete);
}

fn conditions(errors: &mut Errors, old: &Value, new: &Value) {
    const PATH: &str = "status.conditions";
    let (complete, failed) = (has(new, "Complete"), has(new, "Failed"));
    let (criteria, target) = (has(new, "SuccessCriteriaMet"), has(new, "FailureTarget"));
    for (wrong, why) in [
        (failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition"),
        (
            complete && !criteria,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (complete && failed, "cannot set Complete=True and Failed=true conditions"),
        (complete && target, "cannot set Complete=True and FailureTarget=true conditions"),
        (failed && criteria, "cannot set Failed=True and SuccessCriteriaMet=true conditions"),
        (
            criteria && target && !complete && !failed,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
    ] {
        if wrong {
            errors.invalid_unprinted(PATH, why);
        }
    }
    for terminal in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if has(old, terminal) && !has(new, terminal) {
            let why = format!("cannot disable the terminal {terminal}=True condition");
            errors.invalid_unprinted(PATH, &why);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for (i, condition) in list(new, "/status/conditions").iter().enumerate() {
        if !seen.insert(text(condition, "/type")) {
            errors.duplicate(&format!("{PATH}[{i}]"), value(condition, "/type"));
        }
        let field = format!("{PATH}[{i}].status");
        one_of(errors, value(condition, "/status"), &field, &["False", "True", "Unknown"]);
    }
}

fn counters_and_times(errors: &mut Errors, old: &Value, new: &Value, complete: bool) {
    let number = |doc: &Value, field: &str| value(doc, &format!("/status/{field}")).as_i64().unwrap_or(0);
    for counter in ["succeeded", "failed"] {
        // An indexed Job that shrinks takes successes back.
        let shrinks = counter == "succeeded" && text(new, "/spec/completionMode") == "Indexed";
        if number(new, counter) < number(old, counter) && !shrinks {
            let path = format!("status.{counter}");
            let why = format!("cannot decrease the {counter} counter");
            errors.invalid(&path, &json!(number(new, counter)), &why);
        }
    }
    let (start, end) = (time(new, "startTime"), time(new, "completionTime"));
    let running = value(new, "/spec/suspend").as_bool() != Some(true);
    if let Some(before) = time(old, "startTime").filter(|_| running) {
        match start {
            None => errors.required("status.startTime", "startTime cannot be removed for unsuspended job"),
            Some(after) if after != before => {
                let why = "field is immutable for unsuspended job once set";
                errors.invalid("status.startTime", value(new, "/status/startTime"), why);
            }
            Some(_) => {}
        }
    }
    let found = value(new, "/status/completionTime");
    match (end, complete) {
        (Some(_), false) => {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid("status.completionTime", found, why);
        }
        (None, true) => {
            errors.required("status.completionTime", "completionTime is required for Complete jobs");
        }
        _ => {}
    }
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        errors.invalid("status.completionTime", found, "completionTime cannot be set before startTime");
    }
    if let Some(before) = time(old, "completionTime")
        && has(old, "Complete")
        && end.is_some_and(|after| after != before)
    {
        errors.invalid("status.completionTime", found, "completionTime cannot be mutated");
    }
}
