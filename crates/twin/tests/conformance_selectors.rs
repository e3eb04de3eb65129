//! Selectors against recorded decisions of real Kubernetes code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use recorded::cases;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twin::apiserver::Selectors;
use twin::apiserver::selector::{LabelSelector, selects_pod};
use twin::{Kind, Object, Stored};

#[test]
fn label_selectors_parse_and_match_alike() {
    let Some(cases) = cases("selectors", "") else { return };
    let cases: Vec<_> = cases.into_iter().filter(|c| c["kind"] == "label string").collect();
    let total = cases.len();
    let differ = |case: &Value| {
        let text = case["selector"].as_str().unwrap();
        let selector = match (LabelSelector::parse(text), case.get("error")) {
            (Err(error), Some(expected)) if error == expected.as_str().unwrap() => return None,
            (Ok(selector), None) => selector,
            (found, _) => return Some(format!("{text}: found {found:?}, expected {case}")),
        };
        if selector.to_string() != case["string"].as_str().unwrap() {
            return Some(format!("{text}: found {selector}, expected {}", case["string"]));
        }
        let sets: Vec<BTreeMap<String, String>> = serde_json::from_value(case["sets"].clone()).unwrap();
        let found: Vec<bool> = sets.iter().map(|set| selector.matches(set)).collect();
        let expected: Vec<bool> = serde_json::from_value(case["match"].clone()).unwrap();
        (found != expected).then(|| format!("{text}: found {found:?}, expected {expected:?}"))
    };
    let differences = cases.iter().filter_map(differ).collect();
    report("selectors", differences, total, 0);
}

#[test]
fn selector_documents_match_alike() {
    let Some(cases) = cases("selectors", "") else { return };
    // A wrong selector never gets as far as matching: whoever sends one is refused.
    let cases: Vec<_> =
        cases.into_iter().filter(|c| c["kind"] == "label selector" && c.get("error").is_none()).collect();
    let differ = |case: &Value| {
        let sets = case["sets"].as_array().unwrap();
        let found: Vec<bool> = sets.iter().map(|labels| selects_pod(&case["selector"], labels)).collect();
        let expected: Vec<bool> = serde_json::from_value(case["match"].clone()).unwrap();
        (found != expected).then(|| format!("{}: found {found:?}, expected {expected:?}", case["selector"]))
    };
    let differences = cases.iter().filter_map(differ).collect();
    report("label selectors", differences, cases.len(), 0);
}

#[test]
fn field_selectors_of_pods_match_alike() {
    let Some(cases) = cases("selectors", "") else { return };
    let cases: Vec<_> = cases.into_iter().filter(|c| c["kind"] == "field string for pods").collect();
    let pod = |fields: &Value| {
        let text = |name: &str| fields[name].clone();
        let doc = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": text("metadata.name"), "namespace": text("metadata.namespace")},
            "spec": {"containers": [], "nodeName": text("spec.nodeName"), "restartPolicy": text("spec.restartPolicy"), "schedulerName": text("spec.schedulerName"),
                "serviceAccountName": text("spec.serviceAccountName"), "hostNetwork": fields["spec.hostNetwork"] == "true"},
            "status": {"phase": text("status.phase"), "podIP": text("status.podIP"), "nominatedNodeName": text("status.nominatedNodeName")}});
        Stored::at(Object::from_value(Kind::Pod, &doc).unwrap(), 1)
    };
    let differ = |case: &Value| {
        let text = case["selector"].as_str().unwrap();
        let selectors = match (Selectors::parse(Kind::Pod, &[], "", text), case.get("error")) {
            (Err(_), Some(_)) => return None,
            (Ok(selectors), None) => selectors,
            (found, _) => return Some(format!("{text}: found {found:?}, expected {case}")),
        };
        let sets = case["sets"].as_array().unwrap();
        let found: Vec<bool> = sets.iter().map(|fields| selectors.matches(&pod(fields))).collect();
        let expected: Vec<bool> = serde_json::from_value(case["match"].clone()).unwrap();
        (found != expected).then(|| format!("{text}: found {found:?}, expected {expected:?}"))
    };
    let differences = cases.iter().filter_map(differ).collect();
    report("field selectors", differences, cases.len(), 0);
}
