//! CEL against what Kubernetes' own libraries (k8s.io/apiserver 0.36.3 on cel-go 0.26) made of the same rules:
//! refusals with their words and places, types, the most a rule may cost, values, errors and what they cost.
//!
//! Where a case differs, the list below says so and why.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;

use agreement::report;
use serde_json::{Value, json};
use twin::cel::try_rule;

/// What differs and is left so.
const KNOWN: [(&str, &str); 3] = [
    ("'a'.matches(self.s + '(')", "the words about a pattern are those of another library"),
    ("self.s.find('(')", "the same"),
    (
        "quantity('500m').add(quantity('500m')).isInteger()",
        "Kubernetes keeps the thousandths it was added up in, and takes them for no integer",
    ),
];

fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a.iter().all(|(key, value)| {
            let Some(other) = b.get(key) else { return false };
            match (key.as_str(), value.as_str(), other.as_str()) {
                ("double", Some(a), Some(b)) => a.parse::<f64>().unwrap() == b.parse::<f64>().unwrap(),
                _ => same(value, other),
            }
        }),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => found == expected,
    }
}

fn differs(schema: &Value, own: &Value, rule: &str, expected: &Value) -> Option<String> {
    let trial = try_rule(schema, own, rule);
    let mut wrong = Vec::new();
    // What is worked out beforehand and is an error is told when a rule is made a program.
    let beforehand = expected["error"].as_str().filter(|words| words.starts_with("program: "));
    match (&trial.compiled, expected["compile"].as_str().or(beforehand)) {
        (Err(why), Some(words)) if why == words => return None,
        // Of the grammar's mistakes the place of the first is held; what might have stood there instead is told by
        // the parser that was generated there, and by hand here.
        (Err(why), Some(words)) if words.contains("Syntax error") => {
            let place = |words: &str| words.split(": Syntax error").next().map(str::to_owned);
            return (place(why) != place(words))
                .then(|| format!("{rule}\n  found\n{why}\n  expected\n{words}"));
        }
        (Ok((of, most)), None) => {
            if *of != expected["type"].as_str().unwrap() {
                wrong.push(format!("type {of}, expected {}", expected["type"]));
            }
            if json!(most) != expected["max"] {
                wrong.push(format!("may cost {most}, expected {}", expected["max"]));
            }
        }
        (Ok(_), Some(words)) => return Some(format!("{rule}\n  compiles, expected\n{words}")),
        (Err(why), None) => return Some(format!("{rule}\n  does not compile:\n{why}")),
        (Err(why), Some(words)) => return Some(format!("{rule}\n  found\n{why}\n  expected\n{words}")),
    }
    match (&trial.value, expected["error"].as_str()) {
        (Some(Err(why)), Some(words)) if why == words => {}
        (Some(Ok(value)), None) if same(value, &expected["value"]) => {}
        (found, _) => wrong.push(format!(
            "gives {found:?}, expected {} {}",
            expected["value"],
            expected["error"].as_str().unwrap_or_default()
        )),
    }
    if json!(trial.cost) != expected["cost"] {
        wrong.push(format!("costs {}, expected {}", trial.cost, expected["cost"]));
    }
    (!wrong.is_empty()).then(|| format!("{rule}\n  {}", wrong.join("\n  ")))
}

#[test]
fn rules_are_judged_alike() {
    let text = include_str!("recorded/cel.jsonl");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = lines.next().unwrap();
    let cases: Vec<Value> = lines.collect();
    assert!(cases.len() > 300);
    let mut differences = Vec::new();
    for case in &cases {
        let rule = case["rule"].as_str().unwrap();
        let found = differs(&head["schema"], &head["self"], rule, &case["out"]);
        match (found, KNOWN.iter().find(|(known, _)| *known == rule)) {
            (Some(found), None) => differences.push(found),
            (None, Some(_)) => differences.push(format!("{rule}\n  agrees, though it is said to differ")),
            _ => {}
        }
    }
    report("cel", differences, cases.len(), 0);
}
