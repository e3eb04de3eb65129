//! Amounts against recorded decisions of real Kubernetes code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use recorded::cases;
use serde_json::Value;
use twin::apiserver::quantity::Quantity;

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
