//! Pods and pod templates.

use super::super::field::Errors;
use super::super::names::{
    env_name_problems, key_problems, label_problems, label_value_problems, subdomain_problems,
};
use super::resources::{self, Whose};
use super::{list, one_of, ports, scheduling, text, value};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where a pod has its own spec, as opposed to one in a template.
const POD: &str = "spec";
const POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];

/// Checks a new Pod.
pub(super) fn create(errors: &mut Errors, doc: &Value) {
    whole(errors, value(doc, "/spec"));
    if !text(doc, "/spec/nodeName").is_empty() && !list(doc, "/spec/schedulingGates").is_empty() {
        errors.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared");
    }
}

/// Checks the spec of a pod itself: keys of labels are part of its selectors by now.
fn whole(errors: &mut Errors, of: &Value) {
    spec(errors, of, POD);
    scheduling::merged_keys(errors, of, POD);
}

/// Checks a pod's spec under `path`.
pub(super) fn spec(errors: &mut Errors, spec: &Value, path: &str) {
    let volumes = volumes(errors, spec, path);
    let mut names = BTreeSet::new();
    if list(spec, "/containers").is_empty() {
        errors.required(&format!("{path}.containers"), "");
    }
    for kind in ["initContainers", "containers"] {
        for (i, item) in list(spec, &format!("/{kind}")).iter().enumerate() {
            let path = format!("{path}.{kind}[{i}]");
            let name = text(item, "/name");
            if !name.is_empty() && !names.insert(name) {
                errors.duplicate(&format!("{path}.name"), &json!(name));
            }
            container(errors, item, &path, &volumes, kind == "initContainers");
        }
        ports::distinct(errors, spec, kind, path);
    }
    let policy = value(spec, "/restartPolicy");
    one_of(errors, policy, &format!("{path}.restartPolicy"), &POLICIES);
    let dns = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(errors, value(spec, "/dnsPolicy"), &format!("{path}.dnsPolicy"), &dns);
    if let Some(seconds) = value(spec, "/activeDeadlineSeconds").as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let field = format!("{path}.activeDeadlineSeconds");
        errors.invalid(&field, &json!(seconds), "must be between 1 and 2147483647, inclusive");
    }
    if value(spec, "/terminationGracePeriodSeconds").as_i64().is_some_and(|s| s < 0) {
        let field = format!("{path}.terminationGracePeriodSeconds");
        errors.invalid(
            &field,
            value(spec, "/terminationGracePeriodSeconds"),
            "must be greater than or equal to 0",
        );
    }
    for (key, wanted) in value(spec, "/nodeSelector").as_object().into_iter().flatten() {
        let field = format!("{path}.nodeSelector");
        for problem in key_problems(key) {
            errors.invalid(&field, &json!(key), &problem);
        }
        for problem in label_value_problems(wanted.as_str().unwrap_or_default()) {
            errors.invalid(&field, wanted, &problem);
        }
    }
    resources::check(errors, value(spec, "/resources"), &format!("{path}.resources"), Whose::Pod);
    resources::of_all(errors, spec, &format!("{path}.resources"));
    ports::on_the_hosts_network(errors, spec, path, path == POD);
    scheduling::check(errors, spec, path);
    for problem in
        Some(text(spec, "/nodeName")).filter(|n| !n.is_empty()).map(subdomain_problems).unwrap_or_default()
    {
        errors.invalid(&format!("{path}.nodeName"), value(spec, "/nodeName"), &problem);
    }
    resources::overhead(errors, value(spec, "/overhead"), &format!("{path}.overhead"));
}

fn volumes<'a>(errors: &mut Errors, spec: &'a Value, path: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (i, volume) in list(spec, "/volumes").iter().enumerate() {
        let field = format!("{path}.volumes[{i}]");
        let name = text(volume, "/name");
        if name.is_empty() {
            errors.required(&format!("{field}.name"), "");
            continue;
        }
        for problem in label_problems(name) {
            errors.invalid(&format!("{field}.name"), &json!(name), &problem);
        }
        if !names.insert(name) {
            errors.duplicate(&format!("{field}.name"), &json!(name));
        }
        let sources = volume.as_object().map_or(0, |v| v.keys().filter(|k| *k != "name").count());
        if sources > 1 {
            errors.forbidden(&field, "may not specify more than 1 volume type");
        }
    }
    names
}

fn container(errors: &mut Errors, container: &Value, path: &str, volumes: &BTreeSet<&str>, init: bool) {
    let name = text(container, "/name");
    if name.is_empty() {
        errors.required(&format!("{path}.name"), "");
    } else {
        for problem in label_problems(name) {
            errors.invalid(&format!("{path}.name"), &json!(name), &problem);
        }
    }
    let image = text(container, "/image");
    if image.is_empty() {
        errors.required(&format!("{path}.image"), "");
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.invalid(&format!("{path}.image"), &json!(image), why);
    }
    let pull = ["Always", "IfNotPresent", "Never"];
    one_of(errors, value(container, "/imagePullPolicy"), &format!("{path}.imagePullPolicy"), &pull);
    let message = value(container, "/terminationMessagePolicy");
    one_of(errors, message, &format!("{path}.terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]);
    if init {
        one_of(errors, value(container, "/restartPolicy"), &format!("{path}.restartPolicy"), &POLICIES);
    }
    for (i, env) in list(container, "/env").iter().enumerate() {
        let field = format!("{path}.env[{i}].name");
        if text(env, "/name").is_empty() {
            errors.required(&field, "");
        }
        for problem in env_name_problems(text(env, "/name")) {
            errors.invalid(&field, value(env, "/name"), &problem);
        }
    }
    ports::check(errors, list(container, "/ports"), &format!("{path}.ports"));
    for (i, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let field = format!("{path}.volumeMounts[{i}]");
        if text(mount, "/name").is_empty() {
            errors.required(&format!("{field}.name"), "");
        } else if !volumes.contains(text(mount, "/name")) {
            errors.not_found(&format!("{field}.name"), value(mount, "/name"));
        }
        if text(mount, "/mountPath").is_empty() {
            errors.required(&format!("{field}.mountPath"), "");
        }
    }
    resources::check(errors, value(container, "/resources"), &format!("{path}.resources"), Whose::Container);
}

/// Checks an update of a Pod: of the spec, only few fields may change.
pub(super) fn update(errors: &mut Errors, old: &Value, new: &Value) {
    whole(errors, value(new, "/spec"));
    let mut allowed = new.clone();
    for kind in ["containers", "initContainers"] {
        let before = list(old, &format!("/spec/{kind}"));
        let Some(after) = allowed.pointer_mut(&format!("/spec/{kind}")).and_then(Value::as_array_mut) else {
            continue;
        };
        if before.len() != after.len() {
            let why = "pod updates may not add or remove containers";
            errors.forbidden(&format!("spec.{kind}"), why);
            return;
        }
        for (before, after) in before.iter().zip(after) {
            after["image"] = before["image"].clone();
        }
    }
    let (had, has) = (list(old, "/spec/tolerations"), list(new, "/spec/tolerations"));
    let only_added = had.iter().all(|t| has.contains(t));
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        if field == "tolerations" && !only_added {
            continue;
        }
        match old["spec"].get(field) {
            Some(before) => allowed["spec"][field] = before.clone(),
            None => {
                allowed["spec"].as_object_mut().map(|spec| spec.remove(field));
            }
        }
    }
    if allowed["spec"] != old["spec"] {
        errors.forbidden("spec", "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)");
    }
}
