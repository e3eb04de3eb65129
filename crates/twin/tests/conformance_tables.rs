//! Tables, all 15 kinds of them, against recorded decisions of real Kubernetes code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use fleet::Instant;
use recorded::cases;
use serde_json::Value;
use twin::apiserver::{IncludeObject, table};
use twin::{Kind, Object, Objects};

#[test]
fn tables_print_alike() {
    let Some(cases) = cases("tables", "") else { return };
    let (mut total, mut differences) = (0, Vec::new());
    for case in &cases {
        let name = case["object"]["kind"].as_str().unwrap();
        let kind = Kind::of_object(case["object"]["apiVersion"].as_str().unwrap(), name).unwrap();
        total += 1;
        let object = Object::from_value(kind, &case["object"]).unwrap();
        let mut objects = Objects::new();
        let stored = objects.put(object);
        let now = Instant::parse(case["now"].as_str().unwrap()).unwrap();
        let found = table(kind, None, &[stored], now, IncludeObject::None);
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
