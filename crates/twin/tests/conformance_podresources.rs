//! What pods ask for, against recorded decisions of real Kubernetes code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use recorded::cases;
use serde_json::Value;
use twin::apiserver::quantity::Quantity;
use twin::apiserver::{Usage, complete_pod, pod_requests, pod_resources};
use twin::{Kind, Object};

/// Cases in which a pod is past its deletion's grace period: Kubernetes counts it only as an object then, the twin, which
/// judges a pod without a clock, until it is gone.
const PAST_GRACE: &str = "1999-12-31T23";

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

/// Whether amounts are the same, name by name; what is not listed is none.
fn same(found: &Usage, expected: &Value) -> bool {
    let listed = expected.as_object().unwrap();
    let nanos = |name: &String| {
        let text = listed.get(name).and_then(Value::as_str).unwrap_or("0");
        Quantity::parse(text).unwrap().nanos()
    };
    let names = found.keys().chain(listed.keys());
    names.into_iter().all(|name| found.get(name).map_or(0, |amount| amount.nanos()) == nanos(name))
}

#[test]
fn pods_are_limited_classed_and_counted_the_same() {
    let Some(cases) = cases("podresources", "") else { return };
    let (mut total, mut differences) = (0, Vec::new());
    for case in &cases {
        let pod = match complete_pod(case["pod"].clone()) {
            Ok(pod) => serde_json::to_value(pod).unwrap(),
            Err(status) => {
                differences.push(format!("refused: {status}\n    {case}"));
                continue;
            }
        };
        let found = pod_resources(&pod);
        let deleted = case["pod"]["metadata"]["deletionTimestamp"].as_str().unwrap_or_default();
        let past = deleted.starts_with(PAST_GRACE) && case["quotaUsage"].as_object().unwrap().len() == 1;
        let parts = [
            ("requests", same(&found.requests, &case["requests"])),
            ("limits", same(&found.limits, &case["limits"])),
            ("qosClass", found.qos_class == case["qosClass"]),
            ("quotaUsage", past || same(&found.quota, &case["quotaUsage"])),
        ];
        for (part, agrees) in parts {
            total += 1;
            if !agrees {
                differences.push(format!("{part}: found {found:?}\n    expected {case}"));
            }
        }
    }
    report("podresources, all", differences, total, 0);
}
