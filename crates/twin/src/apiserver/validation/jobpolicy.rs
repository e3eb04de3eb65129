//! Jobs: limits of indexed ones, rules for failed pods, and when a Job has succeeded.

use super::super::field::Errors;
use super::{list, not_negative, one_of, text, value};
use crate::apiserver::names::key_problems;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Most pods at a time, and most failed indexes, of an indexed Job.
const INDEXED_MAX: i64 = 100_000;
/// With a limit per index, a Job of more completions than this may have only so many pods and failed indexes.
const COMPLETIONS_MANY: i64 = 100_000;
const OF_MANY_MAX: i64 = 10_000;
/// Most rules of a policy, and most conditions of a rule.
const RULES_MAX: usize = 20;
/// Most exit codes of a rule.
const CODES_MAX: usize = 255;
/// Longest list of indexes of a rule, in bytes.
const INDEXES_BYTES_MAX: usize = 64 * 1024;

fn number(doc: &Value, pointer: &str) -> Option<i64> {
    value(doc, pointer).as_i64()
}

/// Checks what has to do with completion indexes.
pub(super) fn indexed(errors: &mut Errors, doc: &Value) {
    let of = |field: &str| number(doc, &format!("/spec/{field}"));
    let found = |field: &str| value(doc, &format!("/spec/{field}"));
    if text(doc, "/spec/completionMode") != "Indexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if !found(field).is_null() {
                errors.invalid(&format!("spec.{field}"), found(field), "requires indexed completion mode");
            }
        }
        return;
    }
    let completions = of("completions");
    if completions.is_none() {
        errors.required("spec.completions", "when completion mode is Indexed");
    }
    let at_most = |errors: &mut Errors, field: &str, max: i64, tail: &str| {
        if of(field).is_some_and(|n| n > max) {
            let why = format!("must be less than or equal to {max}{tail}");
            errors.invalid(&format!("spec.{field}"), found(field), &why);
        }
    };
    at_most(errors, "parallelism", INDEXED_MAX, " when completion mode is Indexed");
    if completions.is_some_and(|all| of("maxFailedIndexes").is_some_and(|most| most > all)) {
        let why = "must be less than or equal to completions";
        errors.invalid("spec.maxFailedIndexes", found("maxFailedIndexes"), why);
    }
    at_most(errors, "maxFailedIndexes", INDEXED_MAX, "");
    if completions.is_some_and(|n| n > COMPLETIONS_MANY) && of("backoffLimitPerIndex").is_some() {
        if of("maxFailedIndexes").is_none() {
            let why = format!("must be specified when completions is above {COMPLETIONS_MANY}");
            errors.required("spec.maxFailedIndexes", &why);
        }
        let tail =
            format!(" when completions are above {COMPLETIONS_MANY} and used with backoff limit per index");
        at_most(errors, "parallelism", OF_MANY_MAX, &tail);
        at_most(errors, "maxFailedIndexes", OF_MANY_MAX, &tail);
    }
}

fn too_many(errors: &mut Errors, path: &str, found: usize, max: usize) {
    if found > max {
        errors.too_many(path, found as u64, max as u64);
    }
}

/// Checks the rules for failed pods.
pub(super) fn failure(errors: &mut Errors, doc: &Value) {
    let rules = list(doc, "/spec/podFailurePolicy/rules");
    let path = "spec.podFailurePolicy.rules";
    too_many(errors, path, rules.len(), RULES_MAX);
    let template = value(doc, "/spec/template");
    let containers = list(template, "/spec/containers").iter().chain(list(template, "/spec/initContainers"));
    let containers: BTreeSet<&str> = containers.map(|container| text(container, "/name")).collect();
    for (i, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let action = format!("{path}.action");
        match text(rule, "/action") {
            "" => errors.required(&action, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
            "FailIndex" if value(doc, "/spec/backoffLimitPerIndex").is_null() => {
                let why = "requires the backoffLimitPerIndex to be set";
                errors.invalid(&action, value(rule, "/action"), why);
            }
            _ => {
                one_of(errors, value(rule, "/action"), &action, &["Count", "FailIndex", "FailJob", "Ignore"])
            }
        }
        let (codes, conditions) = (value(rule, "/onExitCodes"), list(rule, "/onPodConditions"));
        if !codes.is_null() {
            exit_codes(errors, codes, &format!("{path}.onExitCodes"), &containers);
        }
        pod_conditions(errors, conditions, &format!("{path}.onPodConditions"));
        match (codes.is_null(), conditions.is_empty()) {
            (false, false) => errors
                .invalid_unprinted(&path, "specifying both OnExitCodes and OnPodConditions is not supported"),
            (true, true) => {
                errors.invalid_unprinted(
                    &path,
                    "specifying one of OnExitCodes and OnPodConditions is required",
                );
            }
            _ => {}
        }
    }
}

fn pod_conditions(errors: &mut Errors, conditions: &[Value], path: &str) {
    too_many(errors, path, conditions.len(), RULES_MAX);
    for (i, pattern) in conditions.iter().enumerate() {
        for problem in key_problems(text(pattern, "/type")) {
            errors.invalid(&format!("{path}[{i}].type"), value(pattern, "/type"), &problem);
        }
        let status = format!("{path}[{i}].status");
        if text(pattern, "/status").is_empty() {
            errors.required(&status, "valid values: [\"False\" \"True\" \"Unknown\"]");
        } else {
            one_of(errors, value(pattern, "/status"), &status, &["False", "True", "Unknown"]);
        }
    }
}

fn exit_codes(errors: &mut Errors, codes: &Value, path: &str, containers: &BTreeSet<&str>) {
    let operator = format!("{path}.operator");
    if text(codes, "/operator").is_empty() {
        errors.required(&operator, "valid values: [\"In\" \"NotIn\"]");
    } else {
        one_of(errors, value(codes, "/operator"), &operator, &["In", "NotIn"]);
    }
    if let Some(name) = value(codes, "/containerName").as_str().filter(|name| !containers.contains(name)) {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&format!("{path}.containerName"), &json!(name), why);
    }
    let (values, path) = (list(codes, "/values"), format!("{path}.values"));
    if values.is_empty() {
        errors.invalid(&path, &json!([]), "at least one value is required");
    }
    too_many(errors, &path, values.len(), CODES_MAX);
    let mut seen = BTreeSet::new();
    for (i, code) in values.iter().enumerate() {
        if text(codes, "/operator") == "In" && code.as_i64() == Some(0) {
            errors.invalid(&format!("{path}[{i}]"), code, "must not be 0 for the In operator");
        }
        if !seen.insert(code.as_i64()) {
            errors.duplicate(&format!("{path}[{i}]"), code);
        }
    }
    if !values.is_sorted_by_key(Value::as_i64) {
        errors.invalid(&path, value(codes, "/values"), "must be ordered");
    }
}

/// Checks when a Job has succeeded.
pub(super) fn success(errors: &mut Errors, doc: &Value) {
    let policy = value(doc, "/spec/successPolicy");
    if policy.is_null() {
        return;
    }
    if text(doc, "/spec/completionMode") != "Indexed" {
        errors.invalid("spec.successPolicy", policy, "requires indexed completion mode");
        return;
    }
    let (rules, path) = (list(policy, "/rules"), "spec.successPolicy.rules");
    if rules.is_empty() {
        errors.required(path, "at least one rules must be specified when the successPolicy is specified");
    }
    too_many(errors, path, rules.len(), RULES_MAX);
    let completions = number(doc, "/spec/completions").unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        success_rule(errors, rule, &format!("{path}[{i}]"), completions);
    }
}

fn success_rule(errors: &mut Errors, rule: &Value, path: &str, completions: i64) {
    let (indexes, count) = (value(rule, "/succeededIndexes").as_str(), number(rule, "/succeededCount"));
    if indexes.is_none() && count.is_none() {
        errors.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if let Some(list) = indexes {
        let path = format!("{path}.succeededIndexes");
        if list.len() > INDEXES_BYTES_MAX {
            errors.too_long(&path, INDEXES_BYTES_MAX);
        }
        match total_indexes(list, completions) {
            Ok(found) => total = found,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                errors.invalid(&path, value(rule, "/succeededIndexes"), &why);
            }
        }
    }
    let Some(count) = count else { return };
    let (found, path) = (json!(count), format!("{path}.succeededCount"));
    not_negative(errors, rule, "succeededCount");
    for (most, of) in [
        (completions, "the number of specified completions"),
        (total, "the number of indexes in the specified succeededIndexes field"),
    ] {
        let applies = of.ends_with("completions") || indexes.is_some();
        if applies && count > most {
            errors.invalid(&path, &found, &format!("must be less than or equal to {most} ({of})"));
        }
    }
}

/// How many indexes a list names; the error is Kubernetes' text.
fn total_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let read = |part: &str| -> Result<i64, String> {
        let index: i64 =
            part.parse().map_err(|_| format!("cannot convert string to integer for index: {part:?}"))?;
        if index >= completions { Err(format!("too large index: {part:?}")) } else { Ok(index) }
    };
    let order = |previous: i64, current: i64| {
        format!("non-increasing order, previous: {previous}, current: {current}")
    };
    let (mut total, mut before) = (0, None::<i64>);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let parts: Vec<&str> = part.split('-').collect();
        let (first, last) = match parts[..] {
            [one] => (read(one)?, None),
            [first, last] => (read(first)?, Some(read(last)?)),
            _ => {
                return Err(format!(
                    "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if let Some(last) = last.filter(|last| first >= *last) {
            return Err(order(first, last));
        }
        if let Some(before) = before.filter(|before| *before >= first) {
            return Err(order(before, first));
        }
        let last = last.unwrap_or(first);
        total += last - first + 1;
        before = Some(last);
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(spec: Value) -> Vec<String> {
        let doc = json!({"spec": spec});
        let mut errors = Errors::default();
        indexed(&mut errors, &doc);
        failure(&mut errors, &doc);
        success(&mut errors, &doc);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }
    fn indexed_with(more: Value) -> Value {
        let mut spec = json!({"completionMode": "Indexed", "completions": 10, "parallelism": 2});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    }

    #[test]
    fn indexed_jobs_have_bounds() {
        assert_eq!(found(indexed_with(json!({"backoffLimitPerIndex": 1, "maxFailedIndexes": 10}))).len(), 0);
        let plain = found(json!({"backoffLimitPerIndex": 1}));
        assert_eq!(plain, ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]);
        let many = json!({"completions": 200_000, "parallelism": 20_000, "backoffLimitPerIndex": 1});
        let many = found(indexed_with(many));
        assert!(many[0].starts_with("spec.maxFailedIndexes: Required value"), "{many:?}");
        assert!(many[1].contains("must be less than or equal to 10000 when completions are above 100000"));
    }

    #[test]
    fn rules_for_failed_pods_are_held_to_their_form() {
        let rules = |rules: Value| {
            json!({"podFailurePolicy": {"rules": rules},
            "template": {"spec": {"containers": [{"name": "main"}]}}})
        };
        let codes = |values: Value| json!({"operator": "In", "containerName": "main", "values": values});
        assert!(
            found(rules(json!([{"action": "FailJob", "onExitCodes": codes(json!([1, 42]))}]))).is_empty()
        );
        let all = found(rules(json!([
            {"action": "FailIndex", "onExitCodes": codes(json!([3, 0, 3]))},
            {"action": "Retry", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "Count"},
        ])));
        let path = "spec.podFailurePolicy.rules";
        assert_eq!(
            all[0],
            format!(
                "{path}[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"
            )
        );
        assert!(all.iter().any(|e| e.ends_with("must not be 0 for the In operator")), "{all:?}");
        assert!(all.contains(&format!("{path}[0].onExitCodes.values[2]: Duplicate value: 3")));
        assert!(all.iter().any(|e| e.ends_with("must be ordered")));
        assert!(all.iter().any(|e| e.starts_with(&format!("{path}[1].action: Unsupported value"))));
        assert!(all.iter().any(|e| e.starts_with(&format!("{path}[1].onPodConditions[0].status: Required"))));
        assert!(
            all.iter().any(|e| e.ends_with("specifying one of OnExitCodes and OnPodConditions is required"))
        );
    }

    #[test]
    fn rules_of_success_name_indexes_that_there_are() {
        let rule = |rule: Value| found(indexed_with(json!({"successPolicy": {"rules": [rule]}})));
        assert!(rule(json!({"succeededIndexes": "0,2-4", "succeededCount": 3})).is_empty());
        assert!(rule(json!({}))[0].contains("at least one of succeededCount or succeededIndexes"));
        assert!(rule(json!({"succeededIndexes": "0,10"}))[0].ends_with("too large index: \"10\""));
        assert!(
            rule(json!({"succeededIndexes": "3,2"}))[0]
                .ends_with("non-increasing order, previous: 3, current: 2")
        );
        let more = rule(json!({"succeededIndexes": "0-1", "succeededCount": 3}));
        assert!(
            more[0].ends_with("(the number of indexes in the specified succeededIndexes field)"),
            "{more:?}"
        );
    }
}
