//! What a horizontal autoscaler measures, and how it behaves (`pkg/apis/autoscaling/validation` of Kubernetes 1.36).

use super::super::field::Errors;
use super::super::quantity::Quantity;
use super::{list, text};
use serde_json::Value;

/// Longest period a policy may look back, and longest time recommendations may be held, in seconds.
const PERIOD_SECONDS_MAX: i64 = 1800;
const WINDOW_SECONDS_MAX: i64 = 3600;

/// Types of metrics, and the field each is described in.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// Checks metrics and behaviour of an autoscaler.
pub(super) fn check(errors: &mut Errors, doc: &Value) {
    for (i, metric) in list(doc, "/spec/metrics").iter().enumerate() {
        source(errors, metric, &format!("spec.metrics[{i}]"));
    }
    for way in ["scaleUp", "scaleDown"] {
        if let Some(rules) = doc.pointer(&format!("/spec/behavior/{way}")).filter(|rules| rules.is_object()) {
            behavior(errors, rules, &format!("spec.behavior.{way}"));
        }
    }
}

/// One metric: exactly the part its type says is there.
fn source(errors: &mut Errors, metric: &Value, path: &str) {
    let kind = text(metric, "/type");
    let Some((_, expected)) = SOURCES.iter().find(|(name, _)| *name == kind) else {
        if kind.is_empty() {
            errors.required(&format!("{path}.type"), "must specify a metric source type");
        } else {
            let all = SOURCES.map(|(name, _)| name);
            errors.not_supported(&format!("{path}.type"), &metric["type"], &all);
        }
        return;
    };
    let there = |field: &str| metric.get(field).is_some_and(|part| !part.is_null());
    for (_, field) in SOURCES.iter().filter(|(_, field)| field != expected && there(field)) {
        let why = "must populate the given metric source only";
        errors.forbidden(&format!("{path}.{field}"), why);
    }
    if !there(expected) {
        let why = "must populate information for the given metric source";
        errors.required(&format!("{path}.{expected}"), why);
        return;
    }
    let (part, path) = (&metric[*expected], format!("{path}.{expected}"));
    match kind {
        "Resource" | "ContainerResource" => {
            if text(part, "/name").is_empty() {
                errors.required(&format!("{path}.name"), "must specify a resource name");
            }
            if kind == "ContainerResource" && text(part, "/container").is_empty() {
                errors.required(&format!("{path}.container"), "must specify a container");
            }
            target(errors, part, &path);
            either(errors, part, &path, ["averageUtilization", "averageValue"], "target utilization");
        }
        _ => {
            if text(part, "/metric/name").is_empty() {
                errors.required(&format!("{path}.metric.name"), "must specify a metric name");
            }
            for field in ["kind", "name"].into_iter().filter(|_| kind == "Object") {
                if text(part, &format!("/describedObject/{field}")).is_empty() {
                    errors.required(&format!("{path}.describedObject.{field}"), "");
                }
            }
            target(errors, part, &path);
            let averages = part.pointer("/target/averageValue").is_some_and(|value| !value.is_null());
            match kind {
                "Pods" if !averages => {
                    let why = "must specify a positive target averageValue";
                    errors.required(&format!("{path}.target.averageValue"), why);
                }
                "Pods" => {}
                _ => either(errors, part, &path, ["value", "averageValue"], "per-pod average value"),
            }
        }
    }
}

/// What a metric is held against: amounts above nothing.
fn target(errors: &mut Errors, part: &Value, path: &str) {
    let (target, path) = (&part["target"], format!("{path}.target"));
    match text(target, "/type") {
        "Utilization" | "Value" | "AverageValue" => {}
        "" => errors.required(&format!("{path}.type"), "must specify a metric target type"),
        _ => {
            let why = "must be either Utilization, Value, or AverageValue";
            errors.invalid(&format!("{path}.type"), &target["type"], why);
        }
    }
    for field in ["value", "averageValue"] {
        let amount = match &target[field] {
            Value::String(text) => Quantity::parse(text).ok(),
            Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
            _ => None,
        };
        if amount.is_some_and(|amount| amount.nanos() <= 0) {
            errors.invalid(&format!("{path}.{field}"), &target[field], "must be positive");
        }
    }
    if target["averageUtilization"].as_i64().is_some_and(|percent| percent < 1) {
        let why = "must be greater than 0";
        errors.invalid(&format!("{path}.averageUtilization"), &target["averageUtilization"], why);
    }
}

/// One of two ways to say what is wanted.
fn either(errors: &mut Errors, part: &Value, path: &str, fields: [&str; 2], other: &str) {
    let there = |field: &str| !part["target"][field].is_null();
    match fields.map(there) {
        [true, true] => {
            let why = format!("may not set both a target raw value and a {other}");
            errors.forbidden(&format!("{path}.target.averageValue"), &why);
        }
        [false, false] => {
            let why = format!("must set either a target raw value or a {other}");
            errors.required(&format!("{path}.target.{}", fields[0]), &why);
        }
        _ => {}
    }
}

/// How fast replicas may change in one direction.
fn behavior(errors: &mut Errors, rules: &Value, path: &str) {
    let window = &rules["stabilizationWindowSeconds"];
    let field = format!("{path}.stabilizationWindowSeconds");
    if window.as_i64().is_some_and(|seconds| seconds < 0) {
        errors.invalid(&field, window, "must be greater than or equal to zero");
    }
    if window.as_i64().is_some_and(|seconds| seconds > WINDOW_SECONDS_MAX) {
        errors.invalid(&field, window, &format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
    }
    let select = &rules["selectPolicy"];
    super::one_of(errors, select, &format!("{path}.selectPolicy"), &["Disabled", "Max", "Min"]);
    let tolerance = rules["tolerance"].as_str().and_then(|text| Quantity::parse(text).ok());
    if tolerance.is_some_and(|tolerance| tolerance.nanos() < 0) {
        let why = "must be greater than or equal to zero";
        errors.invalid(&format!("{path}.tolerance"), &rules["tolerance"], why);
    }
    let policies = list(rules, "/policies");
    if policies.is_empty() {
        errors.required(&format!("{path}.policies"), "must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        let path = format!("{path}.policies[{i}]");
        if !matches!(text(policy, "/type"), "Pods" | "Percent") {
            errors.not_supported(&format!("{path}.type"), &policy["type"], &["Percent", "Pods"]);
        }
        let number = |field: &str| policy[field].as_i64().unwrap_or(0);
        for field in ["value", "periodSeconds"] {
            if number(field) <= 0 {
                errors.invalid(&format!("{path}.{field}"), &policy[field], "must be greater than zero");
            }
        }
        if number("periodSeconds") > PERIOD_SECONDS_MAX {
            let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
            errors.invalid(&format!("{path}.periodSeconds"), &policy["periodSeconds"], &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(spec: Value) -> Vec<String> {
        let mut errors = Errors::default();
        check(&mut errors, &json!({"spec": spec}));
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn a_metric_is_what_its_type_says() {
        let good = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
        assert!(found(json!({"metrics": [good]})).is_empty());
        let wrong = json!([
            {"type": "Weather"},
            {"type": "Pods", "resource": {"name": "cpu"}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}},
            {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "0"}}},
        ]);
        assert_eq!(
            found(json!({"metrics": wrong})),
            [
                "spec.metrics[0].type: Unsupported value: \"Weather\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"",
                "spec.metrics[1].resource: Forbidden: must populate the given metric source only",
                "spec.metrics[1].pods: Required value: must populate information for the given metric source",
                "spec.metrics[2].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
                "spec.metrics[3].external.target.value: Invalid value: \"0\": must be positive",
            ]
        );
    }

    #[test]
    fn a_behaviour_has_bounds() {
        let rules = json!({"stabilizationWindowSeconds": 3601, "selectPolicy": "Median",
            "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]});
        assert_eq!(
            found(json!({"behavior": {"scaleUp": rules, "scaleDown": {"policies": []}}})),
            [
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Median\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
                "spec.behavior.scaleDown.policies: Required value: must specify at least one Policy",
            ]
        );
    }
}
