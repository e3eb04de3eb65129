//! Which pods a drain takes away, what it says, and how it goes, against recorded runs of kubectl's own code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use recorded::cases;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twin::Status;
use twin::apiserver::selector::LabelSelector;
use twin::drain::{Cluster, Flags, Run, select};

/// Most instants of a run; the longest recorded has 60.
const STEPS_MAX: usize = 10_000;

fn flags(case: &Value) -> Flags {
    let own = &case["flags"];
    let is = |name: &str| own[name].as_bool().unwrap();
    let span = |name: &str| Span::from_millis((own[name].as_f64().unwrap() * 1000.0).round() as i64);
    let selector = own["podSelector"].as_str().unwrap();
    Flags {
        force: is("force"),
        ignore_daemonsets: is("ignoreDaemonSets"),
        delete_emptydir_data: is("deleteEmptyDirData"),
        disable_eviction: is("disableEviction"),
        grace_period_seconds: own["gracePeriod"].as_i64().and_then(|seconds| u32::try_from(seconds).ok()),
        skip_wait_for_delete: span("skipWaitForDeleteTimeout"),
        timeout: span("timeoutSeconds"),
        pod_selector: (!selector.is_empty()).then(|| LabelSelector::parse(selector).unwrap()),
    }
}

fn place(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace.as_ref().unwrap(), pod.metadata.name.as_ref().unwrap())
}

/// The node's pods, which die as recorded.
struct Recorded<'a> {
    case: &'a Value,
    start: Instant,
    now: Instant,
    pods: BTreeMap<String, Pod>,
    dies: BTreeMap<String, Instant>,
}

impl Recorded<'_> {
    fn go(&mut self, place: &str) {
        let seconds = self.case["dieSeconds"][place].as_i64().unwrap();
        let at = self.now + Span::from_millis(seconds * 1000 + 500);
        self.dies.entry(place.to_owned()).or_insert(at);
    }
}

impl Cluster for Recorded<'_> {
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        let place = format!("{namespace}/{name}");
        let gone = self.dies.get(&place).is_some_and(|at| *at <= self.now);
        self.pods.get(&place).filter(|_| !gone).cloned()
    }
    fn evict(&mut self, pod: &Pod, _: Option<u32>) -> Result<(), Status> {
        let place = place(pod);
        let blocked = self.case["blockedSeconds"][&place].as_i64().unwrap_or(0);
        if self.now < self.start + Span::from_seconds(blocked) {
            let why = "Cannot evict pod as it would violate the pod's disruption budget.";
            return Err(Status::new(429, "TooManyRequests", why));
        }
        self.go(&place);
        Ok(())
    }
    fn delete(&mut self, pod: &Pod, _: Option<u32>) -> Result<(), Status> {
        self.go(&place(pod));
        Ok(())
    }
}

/// What a drain of the case's node gives, in the form of its expectation.
fn drained(case: &Value) -> Value {
    let flags = flags(case);
    let start = Instant::parse(case["now"].as_str().unwrap()).unwrap();
    let pods: Vec<Pod> = case["pods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| serde_json::from_value(pod.clone()).unwrap())
        .collect();
    let sets = case["daemonSets"].as_array().unwrap();
    let exists = |namespace: &str, name: &str| {
        sets.iter().any(|set| set["metadata"]["namespace"] == namespace && set["metadata"]["name"] == name)
    };
    let alone = |pod: &Pod| {
        let one = select([pod], &flags, &exists, start);
        let mut said = json!({"delete": !one.pods.is_empty()});
        for (key, lines) in [("warning", one.warnings), ("error", one.errors)] {
            if let Some(line) = lines.first() {
                said[key] = json!(line);
            }
        }
        (place(pod), said)
    };
    let each: BTreeMap<String, Value> = pods.iter().map(alone).collect();
    let all = select(&pods, &flags, &exists, start);
    let mut found = json!({"pods": each, "delete": all.pods.iter().map(place).collect::<Vec<_>>(),
        "warnings": all.warnings, "errors": all.errors, "seconds": 0});
    if !all.errors.is_empty() {
        return found;
    }
    let mut cluster = Recorded {
        case,
        start,
        now: start,
        pods: pods.into_iter().map(|pod| (place(&pod), pod)).collect(),
        dies: BTreeMap::new(),
    };
    let mut run = Run::new(all.pods, &flags, start);
    let mut told: Vec<(i64, String)> = Vec::new();
    for _ in 0..STEPS_MAX {
        let Some(at) = run.next() else { break };
        cluster.now = at;
        told.extend(run.step(at, &mut cluster).into_iter().map(|line| ((at - start).as_nanos(), line)));
    }
    told.sort();
    let seconds = |nanos: i64| nanos as f64 / 1e9;
    let lines = told.into_iter().map(|(at, line)| json!({"t": seconds(at), "line": line}));
    let lines: Vec<Value> = lines.collect();
    if !lines.is_empty() {
        found["run"] = json!(lines);
    }
    let mut errors = run.errors().to_vec();
    errors.sort();
    if !errors.is_empty() {
        found["runError"] = json!(errors);
    }
    found["seconds"] = json!(seconds((cluster.now - start).as_nanos()));
    found
}

/// Whether two documents are the same where 5 and 5.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn nodes_are_drained_as_kubectl_drains_them() {
    let Some(cases) = cases("drain", "") else { return };
    let differ = |case: &Value| {
        let found = drained(case);
        let mut expected = case["expect"].clone();
        if let Some(errors) = expected.get_mut("runError").and_then(Value::as_array_mut) {
            errors.sort_by_key(Value::to_string);
        }
        (!same(&found, &expected))
            .then(|| format!("case {}\n    found    {found}\n    expected {expected}", case["id"]))
    };
    let differences = cases.iter().filter_map(differ).collect();
    report("drain", differences, cases.len(), 0);
}
