//! What pods ask for, against recorded decisions of real Kubernetes code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use recorded::cases;
use serde_json::Value;
use twin::apiserver::pod_requests;
use twin::apiserver::quantity::Quantity;
use twin::{Kind, Object};

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
