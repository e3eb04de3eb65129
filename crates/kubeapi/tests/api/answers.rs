//! What a real kube-apiserver 1.36.3 answered to these requests (`tests/recorded/answers-1.36.3.jsonl`, one a line, each a
//! dry run in an empty namespace), and what a twin answers: defaults, owners of fields, refusals with their causes.
//!
//! Not compared: uids, times and versions, nulls, the addresses and ports a Service is given, and what admission of service
//! accounts adds to pods: it was off where this was recorded.

use crate::memory::Memory;
use crate::rest::{JSON, call_as};
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../recorded/answers-1.36.3.jsonl");

/// Requests that are answered otherwise, by line from 1, and why.
const OTHERWISE: [(usize, &str); 8] = [
    (13, "the data of a ControllerRevision is owned field by field, not as one"),
    (36, "claims have no finalizer: no controller here would take it off"),
    (38, "volumes have no finalizer: no controller here would take it off"),
    (44, "fields of an HPA are named in the version it is stored in"),
    (49, "an empty spec is printed as {}, not as null"),
    (66, "a Job without labels does not take those of its pods, nor say that its selector is not manual"),
    (67, "a definition is in use at once, a dry run included"),
    (69, "fields of an Event are named in the version it is stored in"),
];

/// Without nulls: to a client they are as good as absent.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// A pod as it was before its service account was admitted.
fn without_account(spec: &mut serde_json::Map<String, Value>) {
    let is_token =
        |entry: &Value| entry["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    let take = |map: &mut serde_json::Map<String, Value>, key: &str| {
        let Some(list) = map.get_mut(key).and_then(Value::as_array_mut) else { return };
        list.retain(|entry| !is_token(entry));
        if list.is_empty() {
            map.remove(key);
        }
    };
    spec.retain(|key, value| !(key.starts_with("serviceAccount") && value == "default"));
    take(spec, "volumes");
    for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        take(container.as_object_mut().unwrap(), "volumeMounts");
    }
}

/// What is compared of an object.
fn bare(mut answer: Value) -> Value {
    without_nulls(&mut answer);
    if let Some(meta) = answer.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["uid", "creationTimestamp", "resourceVersion"] {
            meta.remove(key);
        }
        for entry in meta.get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            entry.as_object_mut().unwrap().remove("time");
        }
    }
    if answer["kind"] == "Pod"
        && let Some(spec) = answer["spec"].as_object_mut()
    {
        without_account(spec);
    }
    if answer["kind"] == "Service" {
        for key in ["clusterIP", "clusterIPs"] {
            let headless = answer["spec"][key] == "None" || answer["spec"][key] == json!(["None"]);
            if let Some(spec) =
                answer["spec"].as_object_mut().filter(|spec| !headless && spec.contains_key(key))
            {
                spec.insert(key.to_owned(), json!("given"));
            }
        }
        for port in answer["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if port["nodePort"].is_i64() {
                port["nodePort"] = json!("given");
            }
        }
    }
    answer
}

/// Where two documents differ, in words.
fn differences(path: &str, found: &Value, expected: &Value, out: &mut Vec<String>) {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let of =
                    |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(json!("(none)"));
                differences(&format!("{path}.{key}"), &of(a), &of(b), out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path}: found {a}, expected {b}")),
    }
}

#[tokio::test]
async fn answers_are_those_of_a_real_api_server() {
    let (mut agreed, mut wrong) = (0, Vec::new());
    for (number, line) in RECORDED.lines().enumerate().map(|(i, line)| (i + 1, line)) {
        let step: Value = serde_json::from_str(line).unwrap();
        let (method, path) = (step["method"].as_str().unwrap(), step["path"].as_str().unwrap());
        let twin = Memory::new();
        let dry = format!("{path}?dryRun=All");
        let (code, answer) =
            call_as(&twin, method, &dry, JSON, "recorder/1.0", &step["body"].to_string()).await;
        let mut found = Vec::new();
        differences("code", &json!(code), &step["code"], &mut found);
        differences("", &bare(answer), &bare(step["answer"].clone()), &mut found);
        let known = OTHERWISE.iter().any(|(line, _)| *line == number);
        match (found.is_empty(), known) {
            (true, false) => agreed += 1,
            (false, true) => {}
            (true, true) => wrong.push(format!("line {number} {path}: agrees by now")),
            (false, false) => wrong.push(format!("line {number} {path}\n    {}", found.join("\n    "))),
        }
    }
    println!("answers: {agreed} agreed, {} differ", RECORDED.lines().count() - agreed);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
