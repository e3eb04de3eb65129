//! The commonest kinds kept as documents. What is not looked at here is stored as it comes.

use super::super::field::Errors;
use super::super::names::{check_labels, label_problems, path_segment_problems, subdomain_problems};
use super::scheduling::label_selector;
use super::{config_map, list, not_negative, one_of, pod, text, value};
use crate::apiserver::selector::selects_pod;
use crate::apiserver::{admission, certificates, custom};
use crate::kind::Kind;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Checks a new document, or a changed one as it is to be.
pub(super) fn check(errors: &mut Errors, kind: Kind, doc: &Value) {
    let resource = kind.resource();
    match (resource.group, resource.plural) {
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets") => {
            workload(errors, resource.plural, &with_claims(doc));
            strategy(errors, resource.plural, doc);
        }
        ("", "replicationcontrollers") => {
            not_negative(errors, doc, "spec.replicas");
            template(errors, doc, "/spec/template", "spec.template");
        }
        ("batch", "cronjobs") => cron_job(errors, doc),
        ("", "services") => service(errors, doc),
        ("", "secrets") => secret(errors, doc),
        ("", "persistentvolumeclaims") => claim(errors, doc),
        ("autoscaling", _) => autoscaler(errors, doc),
        ("policy", "poddisruptionbudgets") => budget(errors, doc),
        ("networking.k8s.io", "ingresses") => ingress(errors, doc),
        ("networking.k8s.io", "ipaddresses") => address(errors, doc),
        ("rbac.authorization.k8s.io", "rolebindings") => binding(errors, doc, true),
        ("rbac.authorization.k8s.io", "clusterrolebindings") => binding(errors, doc, false),
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => {
            role(errors, doc, resource.plural == "roles")
        }
        ("apiextensions.k8s.io", _) => custom::judge(errors, doc),
        ("apiregistration.k8s.io", _) => apiservice(errors, doc),
        ("certificates.k8s.io", "certificatesigningrequests") => certificates::judge(errors, doc),
        ("admissionregistration.k8s.io", plural) => {
            let mutates = plural.starts_with("mutating");
            match plural.trim_start_matches("mutating").trim_start_matches("validating") {
                "admissionpolicies" => admission::policy(errors, doc, mutates),
                "admissionpolicybindings" => admission::binding(errors, doc, mutates),
                _ => admission::webhooks(errors, doc, mutates),
            }
        }
        _ => {}
    }
}

/// What is wrong with the name of an APIService, which says its version and group.
pub(super) fn apiservice_name(doc: &Value) -> Vec<String> {
    let (name, group) = (text(doc, "/metadata/name"), text(doc, "/spec/group"));
    let problems = path_segment_problems(name);
    let wanted = format!("{}.{group}", text(doc, "/spec/version"));
    if problems.is_empty() && name != wanted {
        return vec![format!("must be `spec.version+\".\"+spec.group`: {wanted:?}")];
    }
    problems
}

fn apiservice(errors: &mut Errors, doc: &Value) {
    let (group, version) = (text(doc, "/spec/group"), text(doc, "/spec/version"));
    if group.is_empty() && version != "v1" {
        errors.required("spec.group", "only v1 may have an empty group and it better be legacy kube");
    }
    for problem in subdomain_problems(group).iter().filter(|_| !group.is_empty()) {
        errors.invalid("spec.group", &json!(group), problem);
    }
    for (path, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let found = doc["spec"][path].as_i64().unwrap_or(0);
        if found <= 0 || found > most {
            let why = format!("must be positive and less than {most}");
            errors.invalid(&format!("spec.{path}"), &json!(found), &why);
        }
    }
    let (service, bundle) = (value(doc, "/spec/service"), text(doc, "/spec/caBundle"));
    let insecure = value(doc, "/spec/insecureSkipTLSVerify").as_bool() == Some(true);
    if !service.is_object() {
        if insecure {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid("spec.insecureSkipTLSVerify", &json!(true), why);
        }
        return;
    }
    for key in ["namespace", "name"] {
        if text(service, &format!("/{key}")).is_empty() {
            errors.required(&format!("spec.service.{key}"), "");
        }
    }
    if insecure && !bundle.is_empty() {
        errors.invalid("spec.insecureSkipTLSVerify", &json!(true), "may not be true if caBundle is present");
    }
}

/// Checks what may not change.
pub(super) fn check_change(errors: &mut Errors, kind: Kind, old: &Value, new: &Value) {
    let resource = kind.resource();
    let mut fixed = |path: &str| {
        let pointer = format!("/{}", path.replace('.', "/"));
        if value(old, &pointer) != value(new, &pointer) {
            errors.invalid(path, value(new, &pointer), "field is immutable");
        }
    };
    match (resource.group, resource.plural) {
        ("apps", "deployments" | "replicasets" | "daemonsets") => fixed("spec.selector"),
        ("apps", "statefulsets") => stateful_set(errors, old, new),
        ("", "secrets") => {
            fixed("type");
            immutable(errors, old, new, &["data"]);
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings")
            if old["roleRef"] != new["roleRef"] =>
        {
            errors.invalid("roleRef", &new["roleRef"], "cannot change roleRef");
        }
        ("storage.k8s.io", "storageclasses") => {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                if old[field] != new[field] {
                    let why = if field == "reclaimPolicy" {
                        "updates to reclaimPolicy are forbidden."
                    } else {
                        "updates to parameters are forbidden."
                    };
                    let why = if matches!(field, "provisioner" | "volumeBindingMode") {
                        format!("updates to {field} are forbidden.")
                    } else {
                        why.to_owned()
                    };
                    errors.forbidden(field, &why);
                }
            }
        }
        ("", "services") => {
            let (had, has) = (text(old, "/spec/clusterIP"), text(new, "/spec/clusterIP"));
            let out = |doc: &Value| text(doc, "/spec/type") == "ExternalName";
            if !had.is_empty() && had != has && !out(old) && !out(new) {
                errors.invalid("spec.clusterIPs[0]", &json!([has]), "may not change once set");
            }
        }
        ("", "persistentvolumeclaims") => claim_change(errors, old, new),
        ("apps", "controllerrevisions") if old["data"] != new["data"] => {
            errors.invalid("data", &new["data"], "field is immutable");
        }
        ("apiextensions.k8s.io", _) => {
            for path in ["spec.group", "spec.scope", "spec.names.kind", "spec.names.plural"] {
                fixed(path);
            }
        }
        _ => {}
    }
}

/// What holds of a ConfigMap or Secret that says it is immutable.
pub(super) fn immutable(errors: &mut Errors, old: &Value, new: &Value, parts: &[&str]) {
    if value(old, "/immutable").as_bool() != Some(true) {
        return;
    }
    if value(new, "/immutable").as_bool() != Some(true) {
        errors.forbidden("immutable", "field is immutable when `immutable` is set");
    }
    for part in parts {
        if old.get(*part) != new.get(*part) {
            errors.forbidden(part, "field is immutable when `immutable` is set");
        }
    }
}

fn template(errors: &mut Errors, doc: &Value, pointer: &str, path: &str) {
    let template = value(doc, pointer);
    if template.is_null() {
        errors.required(path, "");
        return;
    }
    check_labels(errors, &format!("{path}.labels"), template.pointer("/metadata/labels"));
    pod::spec(errors, value(template, "/spec"), &format!("{path}.spec"));
    let policy = value(template, "/spec/restartPolicy");
    if policy.as_str().is_some_and(|p| p != "Always") {
        errors.not_supported(&format!("{path}.spec.restartPolicy"), policy, &["Always"]);
    }
}

/// A StatefulSet with its claims among the volumes its pods may mount.
fn with_claims(doc: &Value) -> Cow<'_, Value> {
    let claims = list(doc, "/spec/volumeClaimTemplates");
    if claims.is_empty() {
        return Cow::Borrowed(doc);
    }
    let mut doc = doc.clone();
    let spec = &mut doc["spec"]["template"]["spec"];
    if !spec["volumes"].is_array() {
        spec["volumes"] = json!([]);
    }
    for name in claims.iter().map(|claim| value(claim, "/metadata/name")) {
        if let Some(volumes) = spec["volumes"].as_array_mut()
            && volumes.iter().all(|volume| volume["name"] != *name)
        {
            volumes.push(json!({"name": name}));
        }
    }
    Cow::Owned(doc)
}

fn workload(errors: &mut Errors, kind: &str, doc: &Value) {
    not_negative(errors, doc, "spec.replicas");
    not_negative(errors, doc, "spec.minReadySeconds");
    not_negative(errors, doc, "spec.revisionHistoryLimit");
    selector(errors, kind, doc);
    template(errors, doc, "/spec/template", "spec.template");
}

/// Which pods a workload takes for its own: they must be those it makes.
fn selector(errors: &mut Errors, kind: &str, doc: &Value) {
    let (path, selector) = ("spec.selector", value(doc, "/spec/selector"));
    let labels = value(doc, "/spec/template/metadata/labels");
    let misses = |errors: &mut Errors| {
        let path = "spec.template.metadata.labels";
        errors.invalid(path, labels, "`selector` does not match template `labels`");
    };
    if selector.is_null() {
        errors.required(path, "");
        if !labels.is_null() {
            misses(errors);
        }
        return;
    }
    let before = errors.len();
    label_selector(errors, selector, path);
    let empty = |part: &str| value(selector, part).as_object().is_none_or(serde_json::Map::is_empty);
    let whom = match kind {
        "statefulsets" => "statefulset",
        "daemonsets" => "daemonset",
        // Of ReplicaSets the server says so too.
        _ => "deployment",
    };
    if empty("/matchLabels") && list(selector, "/matchExpressions").is_empty() {
        errors.invalid(path, selector, &format!("empty selector is invalid for {whom}"));
    } else if errors.len() > before && list(selector, "/matchExpressions").iter().any(is_unreadable) {
        errors.invalid(path, selector, "invalid label selector");
    } else if !selects_pod(selector, labels) {
        misses(errors);
    }
}

/// Whether nothing can be selected by a requirement, rather than nothing happening to be.
fn is_unreadable(requirement: &Value) -> bool {
    let some = !list(requirement, "/values").is_empty();
    match text(requirement, "/operator") {
        "In" | "NotIn" => !some,
        "Exists" | "DoesNotExist" => some,
        _ => true,
    }
}

/// How a workload is updated.
fn strategy(errors: &mut Errors, plural: &str, doc: &Value) {
    let (path, supported): (&str, &[&str]) = match plural {
        "deployments" => ("spec.strategy", &["Recreate", "RollingUpdate"]),
        "daemonsets" => ("spec.updateStrategy.type", &["RollingUpdate", "OnDelete"]),
        _ => return,
    };
    let found =
        value(doc, if plural == "deployments" { "/spec/strategy/type" } else { "/spec/updateStrategy/type" });
    if found.is_null() || found.as_str().is_some_and(|found| supported.contains(&found)) {
        return;
    }
    if plural == "deployments" {
        // Of a Deployment the whole strategy is printed, as Go writes it.
        let printed = format!("{{\"Type\":{found},\"RollingUpdate\":null}}");
        let supported: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        errors.unsupported_go(path, &printed, &supported);
    } else {
        errors.not_supported(path, found, supported);
    }
}

fn stateful_set(errors: &mut Errors, old: &Value, new: &Value) {
    const FREE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |doc: &Value| {
        let mut spec = value(doc, "/spec").clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|key, _| !FREE.contains(&key.as_str()));
        }
        spec
    };
    if fixed(old) != fixed(new) {
        errors.forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
    }
}

fn cron_job(errors: &mut Errors, doc: &Value) {
    let schedule = text(doc, "/spec/schedule");
    if schedule.is_empty() {
        errors.required("spec.schedule", "");
    } else if !schedule.starts_with('@') && schedule.split_whitespace().count() != 5 {
        let found = schedule.split_whitespace().count();
        let why = format!(
            "expected exactly 5 fields, found {found}: [{}]",
            schedule.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        errors.invalid("spec.schedule", &json!(schedule), &why);
    }
    one_of(
        errors,
        value(doc, "/spec/concurrencyPolicy"),
        "spec.concurrencyPolicy",
        &["Allow", "Forbid", "Replace"],
    );
    for path in
        ["spec.successfulJobsHistoryLimit", "spec.failedJobsHistoryLimit", "spec.startingDeadlineSeconds"]
    {
        not_negative(errors, doc, path);
    }
    let path = "spec.jobTemplate.spec.template.spec";
    let spec = value(doc, "/spec/jobTemplate/spec/template/spec");
    pod::spec(errors, spec, path);
    if !matches!(text(spec, "/restartPolicy"), "OnFailure" | "Never") {
        errors.required(&format!("{path}.restartPolicy"), "valid values: \"OnFailure\", \"Never\"");
    }
}

fn service(errors: &mut Errors, doc: &Value) {
    let of = text(doc, "/spec/type");
    one_of(
        errors,
        value(doc, "/spec/type"),
        "spec.type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    let headless = text(doc, "/spec/clusterIP") == "None";
    let ports = list(doc, "/spec/ports");
    if of == "ExternalName" {
        let name = text(doc, "/spec/externalName").trim_end_matches('.');
        if name.is_empty() {
            errors.required("spec.externalName", "");
        } else {
            for problem in subdomain_problems(name) {
                errors.invalid("spec.externalName", &json!(name), &problem);
            }
        }
    } else if ports.is_empty() && !headless {
        errors.required("spec.ports", "");
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = text(port, "/name");
        if name.is_empty() && ports.len() > 1 {
            errors.required(&format!("{path}.name"), "");
        } else if !name.is_empty() {
            for problem in label_problems(name) {
                errors.invalid(&format!("{path}.name"), &json!(name), &problem);
            }
            if !names.insert(name) {
                errors.duplicate(&format!("{path}.name"), &json!(name));
            }
        }
        if !value(port, "/port").as_i64().is_some_and(|p| (1..=65_535).contains(&p)) {
            errors.invalid(
                &format!("{path}.port"),
                &json!(value(port, "/port").as_i64().unwrap_or(0)),
                "must be between 1 and 65535, inclusive",
            );
        }
        one_of(errors, value(port, "/protocol"), &format!("{path}.protocol"), &["SCTP", "TCP", "UDP"]);
        let target = value(port, "/targetPort");
        if target.as_i64().is_some_and(|p| !(1..=65_535).contains(&p)) {
            errors.invalid(&format!("{path}.targetPort"), target, "must be between 1 and 65535, inclusive");
        }
        if !numbers.insert((value(port, "/port").as_i64(), text(port, "/protocol"))) {
            errors.duplicate(&path, &json!({"protocol": port["protocol"], "port": port["port"]}));
        }
    }
    one_of(errors, value(doc, "/spec/sessionAffinity"), "spec.sessionAffinity", &["ClientIP", "None"]);
    check_labels(errors, "spec.selector", doc.pointer("/spec/selector"));
}

fn secret(errors: &mut Errors, doc: &Value) {
    config_map(errors, doc);
    let data = value(doc, "/data");
    let needed: &[&str] = match text(doc, "/type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed.iter().filter(|key| data.get(**key).is_none()) {
        errors.required(&format!("data[{key}]"), "");
    }
}

fn claim(errors: &mut Errors, doc: &Value) {
    if list(doc, "/spec/accessModes").is_empty() {
        errors.required("spec.accessModes", "at least 1 access mode is required");
    }
    let modes = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in list(doc, "/spec/accessModes") {
        one_of(errors, mode, "spec.accessModes", &modes);
    }
    if value(doc, "/spec/resources/requests/storage").is_null() {
        errors.required("spec.resources[storage]", "");
    }
}

fn claim_change(errors: &mut Errors, old: &Value, new: &Value) {
    let bound = !text(old, "/spec/volumeName").is_empty();
    let fixed = |doc: &Value| {
        let mut spec = value(doc, "/spec").clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("resources");
            spec.remove("volumeAttributesClassName");
            if !bound {
                spec.remove("volumeName");
            }
        }
        spec
    };
    if fixed(old) != fixed(new) {
        errors.forbidden("spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
    }
}

fn autoscaler(errors: &mut Errors, doc: &Value) {
    let min = value(doc, "/spec/minReplicas").as_i64();
    let max = value(doc, "/spec/maxReplicas").as_i64().unwrap_or(0);
    if min.is_some_and(|min| min < 1) {
        errors.invalid(
            "spec.minReplicas",
            value(doc, "/spec/minReplicas"),
            "must be greater than or equal to 1",
        );
    }
    if max < 1 {
        errors.required("spec.maxReplicas", "must be set and greater than 0");
    }
    if min.is_some_and(|min| max < min) {
        errors.invalid("spec.maxReplicas", &json!(max), "must be greater than or equal to `minReplicas`");
    }
    for field in ["kind", "name"] {
        if text(doc, &format!("/spec/scaleTargetRef/{field}")).is_empty() {
            errors.required(&format!("spec.scaleTargetRef.{field}"), "");
        }
    }
    super::autoscaler::check(errors, doc);
}

fn budget(errors: &mut Errors, doc: &Value) {
    amounts_of_budget(errors, doc);
    label_selector(errors, value(doc, "/spec/selector"), "spec.selector");
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    let policy = "spec.unhealthyPodEvictionPolicy";
    one_of(errors, value(doc, "/spec/unhealthyPodEvictionPolicy"), policy, &policies);
}

fn amounts_of_budget(errors: &mut Errors, doc: &Value) {
    let given = |field: &str| !value(doc, &format!("/spec/{field}")).is_null();
    if given("minAvailable") && given("maxUnavailable") {
        // Printed as Go writes it.
        let field = |name: &str| value(doc, &format!("/spec/{name}")).to_string();
        let printed = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
            field("minAvailable"),
            field("selector"),
            field("maxUnavailable"),
            field("unhealthyPodEvictionPolicy")
        );
        errors.invalid_as("spec", &printed, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let found = value(doc, &format!("/spec/{field}"));
        let path = format!("spec.{field}");
        if found.as_i64().is_some_and(|n| n < 0) {
            errors.invalid(&path, found, "must be greater than or equal to 0");
        }
        if let Some(text) = found.as_str() {
            let percent = text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok());
            match percent {
                None => errors.invalid(&path, found, "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"),
                Some(n) if n > 100 => errors.invalid(&path, found, "must not be greater than 100%"),
                Some(_) => {}
            }
        }
    }
}

/// Whose an address is.
fn address(errors: &mut Errors, doc: &Value) {
    if value(doc, "/spec/parentRef").is_null() {
        errors.required("spec.parentRef", "");
        return;
    }
    for part in ["resource", "name"] {
        if text(doc, &format!("/spec/parentRef/{part}")).is_empty() {
            errors.required(&format!("spec.parentRef.{part}"), "");
        }
    }
}

fn ingress(errors: &mut Errors, doc: &Value) {
    if list(doc, "/spec/rules").is_empty() && value(doc, "/spec/defaultBackend").is_null() {
        errors.invalid("spec", value(doc, "/spec"), "either `defaultBackend` or `rules` must be specified");
    }
    for (i, rule) in list(doc, "/spec/rules").iter().enumerate() {
        for (j, path) in list(rule, "/http/paths").iter().enumerate() {
            let field = format!("spec.rules[{i}].http.paths[{j}]");
            let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
            match value(path, "/pathType") {
                Value::Null => errors.required(&format!("{field}.pathType"), "pathType must be specified"),
                found => one_of(errors, found, &format!("{field}.pathType"), &kinds),
            }
            let given = text(path, "/path");
            if matches!(text(path, "/pathType"), "Exact" | "Prefix") && !given.starts_with('/') {
                errors.invalid(&format!("{field}.path"), &json!(given), "must be an absolute path");
            }
        }
    }
}

fn binding(errors: &mut Errors, doc: &Value, namespaced: bool) {
    let kind = value(doc, "/roleRef/kind");
    one_of(errors, kind, "roleRef.kind", &["Role", "ClusterRole"]);
    if text(doc, "/roleRef/name").is_empty() {
        errors.required("roleRef.name", "");
    }
    for (i, subject) in list(doc, "/subjects").iter().enumerate() {
        if text(subject, "/name").is_empty() {
            errors.required(&format!("subjects[{i}].name"), "");
        }
        one_of(
            errors,
            value(subject, "/kind"),
            &format!("subjects[{i}].kind"),
            &["ServiceAccount", "User", "Group"],
        );
        let account = text(subject, "/kind") == "ServiceAccount";
        if account && !namespaced && text(subject, "/namespace").is_empty() {
            errors.required(&format!("subjects[{i}].namespace"), "");
        }
    }
}

fn role(errors: &mut Errors, doc: &Value, namespaced: bool) {
    for (i, rule) in list(doc, "/rules").iter().enumerate() {
        let path = format!("rules[{i}]");
        if list(rule, "/verbs").is_empty() {
            errors.required(&format!("{path}.verbs"), "verbs must contain at least one value");
        }
        if !list(rule, "/nonResourceURLs").is_empty() {
            if namespaced {
                errors.invalid(
                    &format!("{path}.nonResourceURLs"),
                    value(rule, "/nonResourceURLs"),
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            continue;
        }
        if list(rule, "/apiGroups").is_empty() {
            errors
                .required(&format!("{path}.apiGroups"), "resource rules must supply at least one api group");
        }
        if list(rule, "/resources").is_empty() {
            errors.required(&format!("{path}.resources"), "resource rules must supply at least one resource");
        }
    }
}
