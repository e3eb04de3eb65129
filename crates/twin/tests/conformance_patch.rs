//! Patches against recorded decisions of real Kubernetes code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use recorded::cases;
use serde_json::Value;
use twin::Kind;
use twin::apiserver::PatchType;
use twin::apiserver::patch;

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
        let of = Kind::of_object(case["current"]["apiVersion"].as_str().unwrap(), kind).unwrap();
        let found = patch::apply(patch_type, of, case["current"].clone(), &case["patch"]);
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
