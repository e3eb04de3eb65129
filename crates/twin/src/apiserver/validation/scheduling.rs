//! What a pod's spec says of where it may run: affinity, topology spread, tolerations, gates.
//!
//! Words and order are those of Kubernetes 1.36's `pkg/apis/core/validation`. Left out: leniency towards what an older
//! server let through.

use super::super::field::Errors;
use super::super::names::{
    check_labels, key_problems, label_problems, label_value_problems, subdomain_problems,
};
use super::{list, text, value};
use serde_json::{Value, json};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const BAD_OPERATOR: &str = "not a valid selector operator";
const EMPTY: &str = "can not be empty";

/// Checks everything in a pod's spec that says where it may run.
pub(super) fn check(errors: &mut Errors, spec: &Value, path: &str) {
    affinity(errors, value(spec, "/affinity"), &format!("{path}.affinity"));
    gates(errors, spec, path);
    topology_spread(
        errors,
        list(spec, "/topologySpreadConstraints"),
        &format!("{path}.topologySpreadConstraints"),
    );
    tolerations(errors, spec, path);
}

fn key(errors: &mut Errors, path: &str, found: &str) {
    for problem in key_problems(found) {
        errors.invalid(path, &json!(found), &problem);
    }
}

fn affinity(errors: &mut Errors, affinity: &Value, path: &str) {
    let node = value(affinity, "/nodeAffinity");
    let required = value(node, &format!("/{REQUIRED}"));
    if !required.is_null() {
        let path = format!("{path}.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        let terms = list(required, "/nodeSelectorTerms");
        if terms.is_empty() {
            errors.required(&path, "must have at least one node selector term");
        }
        for (i, term) in terms.iter().enumerate() {
            node_term(errors, term, &format!("{path}[{i}]"), true);
        }
    }
    for (i, term) in list(node, &format!("/{PREFERRED}")).iter().enumerate() {
        let path = format!("{path}.nodeAffinity.{PREFERRED}[{i}]");
        weight(errors, term, &path);
        node_term(errors, value(term, "/preference"), &format!("{path}.preference"), false);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms = value(affinity, &format!("/{kind}"));
        for (i, term) in list(terms, &format!("/{REQUIRED}")).iter().enumerate() {
            pod_term(errors, term, &format!("{path}.{kind}.{REQUIRED}[{i}]"));
        }
        for (i, term) in list(terms, &format!("/{PREFERRED}")).iter().enumerate() {
            let path = format!("{path}.{kind}.{PREFERRED}[{i}]");
            weight(errors, term, &path);
            pod_term(errors, value(term, "/podAffinityTerm"), &format!("{path}.podAffinityTerm"));
        }
    }
}

fn weight(errors: &mut Errors, term: &Value, path: &str) {
    let found = value(term, "/weight").as_i64().unwrap_or(0);
    if !(1..=100).contains(&found) {
        errors.invalid(&format!("{path}.weight"), &json!(found), "must be in the range 1-100");
    }
}

/// A term of a node selector. Values that are no label values pass in preferred terms, as they do in the server.
fn node_term(errors: &mut Errors, term: &Value, path: &str, strict: bool) {
    for (i, requirement) in list(term, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = list(requirement, "/values");
        match text(requirement, "/operator") {
            "Gt" | "Lt" => {
                if values.len() != 1 {
                    let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                    errors.required(&format!("{path}.values"), why);
                }
            }
            operator => set_operator(errors, operator, values, &path),
        }
        key(errors, &format!("{path}.key"), text(requirement, "/key"));
        if strict {
            label_values(errors, values, &path);
        }
    }
    for (i, requirement) in list(term, "/matchFields").iter().enumerate() {
        node_field(errors, requirement, &format!("{path}.matchFields[{i}]"));
    }
}

/// A requirement on a field of a node: its name is the only one there is.
fn node_field(errors: &mut Errors, requirement: &Value, path: &str) {
    let values = list(requirement, "/values");
    let operator = text(requirement, "/operator");
    if !["In", "NotIn"].contains(&operator) {
        errors.invalid(&format!("{path}.operator"), &json!(operator), BAD_OPERATOR);
    } else if values.len() != 1 {
        let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.required(&format!("{path}.values"), why);
    }
    let name = text(requirement, "/key");
    if name != "metadata.name" {
        errors.invalid(&format!("{path}.key"), &json!(name), "not a valid field selector key");
        return;
    }
    for (i, node) in values.iter().enumerate() {
        for problem in subdomain_problems(node.as_str().unwrap_or_default()) {
            errors.invalid(&format!("{path}.values[{i}]"), node, &problem);
        }
    }
}

fn set_operator(errors: &mut Errors, operator: &str, values: &[Value], path: &str) {
    match operator {
        "In" | "NotIn" => {
            if values.is_empty() {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(&format!("{path}.values"), why);
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&format!("{path}.values"), why);
            }
        }
        other => errors.invalid(&format!("{path}.operator"), &json!(other), BAD_OPERATOR),
    }
}

fn label_values(errors: &mut Errors, values: &[Value], path: &str) {
    for (i, found) in values.iter().enumerate() {
        for problem in label_value_problems(found.as_str().unwrap_or_default()) {
            errors.invalid(&format!("{path}.values[{i}]"), found, &problem);
        }
    }
}

/// A label selector; none is as good as any.
pub(super) fn label_selector(errors: &mut Errors, selector: &Value, path: &str) {
    check_labels(errors, &format!("{path}.matchLabels"), selector.get("matchLabels"));
    for (i, requirement) in list(selector, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = list(requirement, "/values");
        set_operator(errors, text(requirement, "/operator"), values, &path);
        key(errors, &format!("{path}.key"), text(requirement, "/key"));
        label_values(errors, values, &path);
    }
}

/// Keys whose values the pod itself gives.
fn label_keys(errors: &mut Errors, of: &Value, name: &str, path: &str) {
    let keys = list(of, &format!("/{name}"));
    let path = format!("{path}.{name}");
    if !keys.is_empty() && value(of, "/labelSelector").is_null() {
        errors.forbidden(&path, "must not be specified when labelSelector is not set");
        return;
    }
    for (i, found) in keys.iter().enumerate() {
        key(errors, &format!("{path}[{i}]"), found.as_str().unwrap_or_default());
    }
}

fn pod_term(errors: &mut Errors, term: &Value, path: &str) {
    for selector in ["labelSelector", "namespaceSelector"] {
        label_selector(errors, value(term, &format!("/{selector}")), &format!("{path}.{selector}"));
    }
    for namespace in list(term, "/namespaces") {
        for problem in label_problems(namespace.as_str().unwrap_or_default()) {
            errors.invalid(&format!("{path}.namespace"), namespace, &problem);
        }
    }
    label_keys(errors, term, "matchLabelKeys", path);
    label_keys(errors, term, "mismatchLabelKeys", path);
    let other = list(term, "/mismatchLabelKeys");
    for (i, found) in list(term, "/matchLabelKeys").iter().enumerate().filter(|(_, k)| other.contains(k)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&format!("{path}.matchLabelKeys[{i}]"), found, why);
    }
    let topology = text(term, "/topologyKey");
    if topology.is_empty() {
        errors.required(&format!("{path}.topologyKey"), EMPTY);
    }
    key(errors, &format!("{path}.topologyKey"), topology);
}

/// Checks that no key of labels was in a selector before the pod's own value was put there.
pub(super) fn merged_keys(errors: &mut Errors, spec: &Value, path: &str) {
    for (i, constraint) in list(spec, "/topologySpreadConstraints").iter().enumerate() {
        merged_key(errors, constraint, &format!("{path}.topologySpreadConstraints[{i}]"));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let terms = value(spec, &format!("/affinity/{kind}"));
        for (i, term) in list(terms, &format!("/{REQUIRED}")).iter().enumerate() {
            merged_key(errors, term, &format!("{path}.affinity.{kind}.{REQUIRED}[{i}]"));
        }
        for (i, term) in list(terms, &format!("/{PREFERRED}")).iter().enumerate() {
            let path = format!("{path}.affinity.{kind}.{PREFERRED}[{i}].podAffinityTerm");
            merged_key(errors, value(term, "/podAffinityTerm"), &path);
        }
    }
}

/// The path ends in the key's place, as the server has it.
fn merged_key(errors: &mut Errors, term: &Value, path: &str) {
    let keys = list(term, "/matchLabelKeys");
    let labels = value(term, "/labelSelector/matchLabels").as_object();
    let mut seen: Vec<&str> = labels.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    for requirement in list(term, "/labelSelector/matchExpressions") {
        let found = text(requirement, "/key");
        if let Some(i) = keys.iter().rposition(|key| key == found).filter(|_| seen.contains(&found)) {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.invalid(&format!("{path}[{i}]"), &json!(found), why);
        }
        seen.push(found);
    }
}

fn gates(errors: &mut Errors, spec: &Value, path: &str) {
    let gates = list(spec, "/schedulingGates");
    for (i, gate) in gates.iter().enumerate() {
        let path = format!("{path}.schedulingGates[{i}]");
        key(errors, &path, text(gate, "/name"));
        if gates[..i].iter().any(|other| other["name"] == gate["name"]) {
            errors.duplicate(&path, &gate["name"]);
        }
    }
}

fn topology_spread(errors: &mut Errors, constraints: &[Value], path: &str) {
    for (i, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let positive = |errors: &mut Errors, field: &str, found: i64| {
            if found <= 0 {
                errors.invalid(&format!("{path}.{field}"), &json!(found), "must be greater than zero");
            }
        };
        positive(errors, "maxSkew", value(constraint, "/maxSkew").as_i64().unwrap_or(0));
        if text(constraint, "/topologyKey").is_empty() {
            errors.required(&format!("{path}.topologyKey"), EMPTY);
        }
        let action = text(constraint, "/whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            let supported = ["DoNotSchedule", "ScheduleAnyway"];
            errors.not_supported(&format!("{path}.whenUnsatisfiable"), &json!(action), &supported);
        }
        let kind =
            |of: &Value| (text(of, "/topologyKey").to_owned(), text(of, "/whenUnsatisfiable").to_owned());
        let own = kind(constraint);
        if constraints[i + 1..].iter().any(|other| kind(other) == own) {
            let pair = json!(format!("{{{}, {}}}", own.0, own.1));
            errors.duplicate(&format!("{path}.{{topologyKey, whenUnsatisfiable}}"), &pair);
        }
        if let Some(least) = value(constraint, "/minDomains").as_i64() {
            positive(errors, "minDomains", least);
            if action != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(&format!("{path}.minDomains"), &json!(least), &why);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let found = value(constraint, &format!("/{policy}"));
            super::one_of(errors, found, &format!("{path}.{policy}"), &["Honor", "Ignore"]);
        }
        label_keys(errors, constraint, "matchLabelKeys", &path);
        label_selector(errors, value(constraint, "/labelSelector"), &format!("{path}.labelSelector"));
    }
}

fn tolerations(errors: &mut Errors, spec: &Value, path: &str) {
    for (i, toleration) in list(spec, "/tolerations").iter().enumerate() {
        let path = format!("{path}.tolerations[{i}]");
        let operator = format!("{path}.operator");
        let (name, kind) = (text(toleration, "/key"), text(toleration, "/operator"));
        if name.is_empty() && kind != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&operator, &json!(kind), why);
        } else if !name.is_empty() {
            key(errors, &format!("{path}.key"), name);
        }
        let effect = text(toleration, "/effect");
        if !value(toleration, "/tolerationSeconds").is_null() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&format!("{path}.effect"), &json!(effect), why);
        }
        let found = text(toleration, "/value");
        match kind {
            "" | "Equal" => {
                let problems = label_value_problems(found);
                if !problems.is_empty() {
                    errors.invalid(&operator, &json!(found), &problems.join(";"));
                }
            }
            "Exists" if found.is_empty() => {}
            "Exists" => {
                errors.invalid(&operator, &json!(found), "value must be empty when `operator` is 'Exists'");
            }
            // Known, but behind a feature that is off by default.
            "Lt" | "Gt" => errors.not_supported(&operator, &json!(kind), &["Equal", "Exists", "Lt", "Gt"]),
            other => errors.not_supported(&operator, &json!(other), &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            super::one_of(errors, value(toleration, "/effect"), &format!("{path}.effect"), &effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said against a spec: field and message of each.
    fn said(spec: Value) -> Vec<String> {
        let mut errors = Errors::default();
        check(&mut errors, &spec, "spec");
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    /// A spec with a required node affinity of one term.
    fn required(term: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}})
    }

    #[test]
    fn node_affinity() {
        let place = format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        let expression = |key: &str, operator: &str, values: Value| {
            required(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        for good in [
            expression("zone", "In", json!(["a", "b"])),
            expression("cores", "Gt", json!(["8"])),
            expression("zone", "Exists", json!(null)),
            required(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]})),
            json!({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 100, "preference": {"matchExpressions":
                [{"key": "zone", "operator": "In", "values": ["not a label value"]}]}}]}}}),
            json!({}),
        ] {
            assert_eq!(said(good.clone()), Vec::<String>::new(), "{good}");
        }
        let at = |rest: &str| format!("{place}[0].matchExpressions[0].{rest}");
        let cases = [
            (
                expression("zone", "In", json!([])),
                at("values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
            ),
            (
                expression("zone", "Exists", json!(["a"])),
                at("values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
            ),
            (
                expression("cores", "Gt", json!(["1", "2"])),
                at("values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"),
            ),
            (
                expression("zone", "Near", json!(["a"])),
                at("operator: Invalid value: \"Near\": not a valid selector operator"),
            ),
            (
                json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}}),
                format!("{place}: Required value: must have at least one node selector term"),
            ),
            (
                required(json!({"matchFields": [{"key": "metadata.name", "operator": "Exists"}]})),
                format!(
                    "{place}[0].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator"
                ),
            ),
            (
                required(json!({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["a"]}]})),
                format!(
                    "{place}[0].matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key"
                ),
            ),
            (
                json!({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 0, "preference": {}}]}}}),
                format!(
                    "spec.affinity.nodeAffinity.{PREFERRED}[0].weight: Invalid value: 0: must be in the range 1-100"
                ),
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(said(spec), [expected]);
        }
        let both = said(expression("a zone", "In", json!(["b c"])));
        assert!(
            both[0].starts_with(&at("key: Invalid value: \"a zone\": name part must consist of")),
            "{both:?}"
        );
        assert!(both[1].starts_with(&at("values[0]: Invalid value: \"b c\": ")), "{both:?}");
    }

    #[test]
    fn pod_affinity_and_gates() {
        let term = |term: Value| json!({"affinity": {"podAntiAffinity": {REQUIRED: [term]}}});
        let at = format!("spec.affinity.podAntiAffinity.{REQUIRED}[0]");
        let selector = json!({"matchLabels": {"app": "a"}});
        let good = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname", "matchLabelKeys": ["rev"]});
        assert_eq!(said(term(good)), Vec::<String>::new());
        let missing = said(term(json!({"labelSelector": selector})));
        assert_eq!(missing[0], format!("{at}.topologyKey: Required value: can not be empty"));
        assert!(
            missing[1]
                .starts_with(&format!("{at}.topologyKey: Invalid value: \"\": name part must be non-empty"))
        );
        let operator = json!({"topologyKey": "z", "labelSelector": {"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}});
        assert_eq!(
            said(term(operator)),
            [format!(
                "{at}.labelSelector.matchExpressions[0].operator: Invalid value: \"Gt\": not a valid selector operator"
            )]
        );
        let keys = json!({"topologyKey": "z", "matchLabelKeys": ["rev"]});
        assert_eq!(
            said(term(keys)),
            [format!("{at}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set")]
        );
        let both = json!({"topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["rev"], "mismatchLabelKeys": ["rev"]});
        assert_eq!(
            said(term(both)),
            [format!(
                "{at}.matchLabelKeys[0]: Invalid value: \"rev\": exists in both matchLabelKeys and mismatchLabelKeys"
            )]
        );
        let heavy = json!({"affinity": {"podAffinity": {PREFERRED: [{"weight": 101, "podAffinityTerm": {"topologyKey": "z"}}]}}});
        assert_eq!(
            said(heavy),
            [format!(
                "spec.affinity.podAffinity.{PREFERRED}[0].weight: Invalid value: 101: must be in the range 1-100"
            )]
        );
        let gates = json!({"schedulingGates": [{"name": "a/b"}, {"name": "a/b"}]});
        assert_eq!(said(gates), ["spec.schedulingGates[1]: Duplicate value: \"a/b\""]);
    }

    #[test]
    fn topology_spread() {
        let constraint = |more: Value| {
            let mut constraint =
                json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
            for (field, found) in more.as_object().unwrap() {
                constraint[field] = found.clone();
            }
            constraint
        };
        let one = |more: Value| said(json!({"topologySpreadConstraints": [constraint(more)]}));
        assert_eq!(one(json!({"minDomains": 2, "nodeTaintsPolicy": "Honor"})), Vec::<String>::new());
        let cases = [
            (json!({"maxSkew": 0}), "maxSkew: Invalid value: 0: must be greater than zero"),
            (json!({"topologyKey": ""}), "topologyKey: Required value: can not be empty"),
            (
                json!({"whenUnsatisfiable": "Maybe"}),
                "whenUnsatisfiable: Unsupported value: \"Maybe\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            ),
            (json!({"minDomains": 0}), "minDomains: Invalid value: 0: must be greater than zero"),
            (
                json!({"minDomains": 1, "whenUnsatisfiable": "ScheduleAnyway"}),
                "minDomains: Invalid value: 1: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
            ),
            (
                json!({"nodeAffinityPolicy": "Mind"}),
                "nodeAffinityPolicy: Unsupported value: \"Mind\": supported values: \"Honor\", \"Ignore\"",
            ),
            (
                json!({"matchLabelKeys": ["a"]}),
                "matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            ),
            (
                json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
                "labelSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ),
        ];
        for (more, expected) in cases {
            assert_eq!(one(more), [format!("spec.topologySpreadConstraints[0].{expected}")]);
        }
        let twice = said(
            json!({"topologySpreadConstraints": [constraint(json!({})), constraint(json!({"maxSkew": 2}))]}),
        );
        assert_eq!(
            twice,
            [
                "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\""
            ]
        );
    }

    #[test]
    fn tolerations() {
        let one = |toleration: Value| said(json!({"tolerations": [toleration]}));
        assert_eq!(one(json!({"operator": "Exists"})), Vec::<String>::new());
        let cases = [
            (
                json!({"value": "x"}),
                "operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ),
            (
                json!({"key": "a", "operator": "Exists", "value": "x"}),
                "operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
            ),
            (
                json!({"key": "a", "operator": "Gt", "value": "1"}),
                "operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
            ),
            (
                json!({"key": "a", "operator": "Like"}),
                "operator: Unsupported value: \"Like\": supported values: \"Equal\", \"Exists\"",
            ),
            (
                json!({"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3}),
                "effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            ),
            (
                json!({"key": "a", "effect": "Never"}),
                "effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ),
        ];
        for (toleration, expected) in cases {
            assert_eq!(one(toleration), [format!("spec.tolerations[0].{expected}")]);
        }
        assert!(
            one(json!({"key": "a", "value": "b c"}))[0]
                .starts_with("spec.tolerations[0].operator: Invalid value: \"b c\": ")
        );
    }
}
