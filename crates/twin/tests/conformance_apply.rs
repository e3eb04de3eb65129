//! Server-side apply against recorded outcomes of Kubernetes' own code: objects, managed fields and conflicts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use fleet::{Instant, Span};
use recorded::cases;
use serde_json::{Value, json};
use twin::apiserver::apply::{Applied, Managers, Writer, apply, as_stored, update};

/// The first step that comes out otherwise, in words.
fn play(case: &Value) -> Option<String> {
    let kind = case["kind"].as_str().unwrap();
    let (mut live, mut managers) = (json!({}), Managers::default());
    let mut now = Instant::parse("2000-01-01T00:00:00Z").unwrap();
    for (number, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let object = &step["object"];
        let writer = Writer {
            manager: step["manager"].as_str().unwrap(),
            api_version: object["apiVersion"].as_str().unwrap(),
            kind,
            subresource: "",
            now,
            types: None,
        };
        now += Span::from_seconds(10);
        let outcome = if step["op"] == "update" {
            Ok(update(&live, object, managers.clone(), &writer))
        } else {
            let force = step["force"].as_bool().unwrap_or(false);
            apply(&live, object, managers.clone(), &writer, force)
        };
        let differ = |what: &str, found: &dyn std::fmt::Display, expected: &dyn std::fmt::Display| {
            let (id, op) = (&case["id"], &step["op"]);
            Some(format!(
                "{id} {kind} step {number} ({op}): {what}\n    found    {found}\n    expected {expected}"
            ))
        };
        match (outcome, step.get("error").and_then(Value::as_str)) {
            (Err(status), Some(expected)) if status.message == expected => {}
            (Err(status), expected) => return differ("error", &status.message, &expected.unwrap_or("none")),
            (Ok(applied), Some(expected)) => return differ("object", &applied.object, &expected),
            (Ok(Applied { object, managers: owners }), None) => {
                let stored = as_stored(&object, &writer);
                if stored != step["live"] {
                    return differ("object", &stored, &step["live"]);
                }
                if owners.to_value() != step["managedFields"] {
                    return differ("managed fields", &owners.to_value(), &step["managedFields"]);
                }
                assert_eq!(
                    Managers::read(&json!({"metadata": {"managedFields": owners.to_value()}})).unwrap(),
                    owners
                );
                (live, managers) = (object, owners);
            }
        }
    }
    None
}

#[test]
fn applied_as_kubernetes_applies() {
    let Some(cases) = cases("apply", "") else { return };
    let differences = cases.iter().filter_map(play).collect();
    report("apply", differences, cases.len(), 0);
}
