//! The API machinery against recorded decisions of real Kubernetes code.
//!
//! Cases are read from `$CONFORMANCE_DIR/<family>/*.jsonl.gz`, else `$KUBERCARBON_TESTDATA/conformance`;
//! without either the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use fleet::Instant;
use recorded::cases;
use serde_json::Value;
use std::collections::BTreeMap;
use twin::apiserver::patch;
use twin::apiserver::quantity::Quantity;
use twin::apiserver::selector::LabelSelector;
use twin::apiserver::{PatchType, pod_requests, table};
use twin::{Kind, Object, Objects};

#[test]
fn quantities_parse_alike() {
    let Some(cases) = cases("quantity", "parse") else { return };
    let total = cases.len();
    let differ = |case: &Value| {
        let text = case["in"].as_str().unwrap();
        match (Quantity::parse(text), case.get("error")) {
            (Err(error), Some(expected)) if error.to_string() == expected.as_str().unwrap() => None,
            (Ok(quantity), None) => {
                // Texts kept as written are compared by value: what is stored is always canonical.
                let kept = Quantity::parse(case["string"].as_str().unwrap()).unwrap();
                (quantity.to_string() != kept.to_string())
                    .then(|| format!("{text}: found {quantity}, expected {}", case["string"]))
            }
            (found, _) => Some(format!("{text}: found {found:?}, expected {case}")),
        }
    };
    let differences = cases.iter().filter_map(differ).collect();
    // Kubernetes prints `1000E`, which has no suffix, as `1`: here the value is kept.
    report("quantity", differences, total, 1);
}

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
fn patches_apply_alike() {
    let Some(cases) = cases("patch", "") else { return };
    let total = cases.len();
    let differ = |case: &Value| {
        let patch_type = match case["type"].as_str().unwrap() {
            "application/json-patch+json" => PatchType::Json,
            "application/merge-patch+json" => PatchType::Merge,
            _ => PatchType::StrategicMerge,
        };
        let kind = case["kind"].as_str().unwrap();
        let found = patch::document(patch_type, kind, &case["current"], &case["patch"]);
        match (found, case.get("result")) {
            (Ok(found), Some(expected)) if found == *expected => None,
            (Err(_), None) => None,
            (Ok(found), expected) => Some(format!(
                "{} {kind}\n    current {}\n    patch {}\n    found {found}\n    expected {expected:?} {}",
                case["type"],
                case["current"],
                case["patch"],
                case.get("error").unwrap_or(&Value::Null)
            )),
            (Err(error), _) => Some(format!("{} {kind}: {error}\n    {}", case["type"], case["patch"])),
        }
    };
    let differences = cases.iter().filter_map(differ).collect();
    // The library leaves a `$retainKeys` directive standing in a map nobody had before; here it is taken out.
    report("patch", differences, total, 4);
}

#[test]
fn tables_print_alike() {
    let Some(cases) = cases("tables", "") else { return };
    let (mut total, mut differences) = (0, Vec::new());
    for case in &cases {
        let name = case["object"]["kind"].as_str().unwrap();
        let Some(kind) = Kind::ALL.into_iter().find(|k| k.resource().name == name) else { continue };
        total += 1;
        let object = Object::from_value(kind, &case["object"]).unwrap();
        let mut objects = Objects::new();
        let stored = objects.put(object);
        let now = Instant::parse(case["now"].as_str().unwrap()).unwrap();
        let found = table(kind, &[stored], now, twin::apiserver::IncludeObject::None);
        let columns: Vec<&Value> =
            found["columnDefinitions"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
        let expected: Vec<&Value> = case["wideColumns"].as_array().unwrap().iter().collect();
        assert_eq!(columns, expected, "{name}");
        if found["rows"][0]["cells"] != case["wideRow"] {
            differences.push(format!(
                "{name}: found {}, expected {}\n    {}",
                found["rows"][0]["cells"], case["wideRow"], case["object"]
            ));
        }
    }
    assert!(total > 0);
    report("tables", differences, total, 0);
}

#[test]
fn pods_ask_for_the_same() {
    let Some(cases) = cases("podresources", "") else { return };
    let total = cases.len();
    let differ = |case: &Value| {
        let object = Object::from_value(Kind::Pod, &case["pod"]).unwrap();
        let found = pod_requests(object.as_pod().unwrap().spec.as_ref().unwrap());
        let amount = |name: &str| {
            let text = case["requests"].get(name).and_then(Value::as_str).unwrap_or("0");
            Quantity::parse(text).unwrap()
        };
        let same = i128::from(found.cpu.as_nanos()) == amount("cpu").nanos()
            && i128::from(found.memory.as_bytes()) == amount("memory").units()
            && i128::from(found.gpu) == amount("nvidia.com/gpu").units()
            && found.pods == 1;
        (!same).then(|| format!("found {found:?}, expected {}\n    {}", case["requests"], case["pod"]))
    };
    let differences = cases.iter().filter_map(differ).collect();
    report("podresources", differences, total, 0);
}
