//! What the Vertical Pod Autoscaler recommends, against recorded runs of its own code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use fleet::{Instant, Span};
use recorded::cases;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twin::apiserver::quantity::Quantity;
use twin::vpa::{Aggregate, Amounts, Bounds, Container, Policy, Recommendation, recommend};

fn amount(list: &Value, name: &str, unit: i128) -> Option<i64> {
    let nanos = Quantity::parse(list[name].as_str()?).unwrap().nanos();
    Some(i64::try_from((nanos + unit - 1) / unit).unwrap())
}

fn amounts(list: &Value) -> [Option<i64>; 2] {
    [amount(list, "cpu", 1_000_000), amount(list, "memory", 1_000_000_000)]
}

/// Millicores as the recorder handed them over: in cores, of which the original makes whole millicores by cutting, so that
/// 1017 became 1016. What a metrics server tells is whole from the start.
fn cut(millis: f64) -> i64 {
    (millis / 1000.0 * 1000.0) as i64
}

/// What an autoscaler says of a container: its own entry, else the one for all.
fn entry<'a>(vpa: &'a Value, container: &str) -> &'a Value {
    let all = vpa["spec"]["resourcePolicy"]["containerPolicies"].as_array();
    let named = |name: &str| all.into_iter().flatten().find(|policy| policy["containerName"] == name);
    named(container).or_else(|| named("*")).unwrap_or(&Value::Null)
}

/// Which of CPU and memory are the autoscaler's.
fn controlled(policy: &Value) -> [bool; 2] {
    let listed = policy["controlledResources"].as_array();
    ["cpu", "memory"].map(|name| listed.is_none_or(|all| all.contains(&json!(name))))
}

fn policy(policy: &Value) -> Policy {
    let [min, max] = ["minAllowed", "maxAllowed"].map(|key| amounts(&policy[key]));
    let of = |i: usize| Bounds { min: min[i], max: max[i] };
    Policy { cpu_millis: of(0), memory_bytes: of(1) }
}

type Listed = BTreeMap<String, [[Option<i64>; 2]; 4]>;

/// A recorded list: by container target, lower and upper bound, and the target before any policy.
fn listed(list: &Value) -> Listed {
    let of = |entry: &Value| {
        let parts = ["target", "lowerBound", "upperBound", "uncappedTarget"];
        (entry["containerName"].as_str().unwrap().to_owned(), parts.map(|part| amounts(&entry[part])))
    };
    list.as_array().into_iter().flatten().map(of).collect()
}

fn shown(vpa: &Value, recommended: &BTreeMap<String, Recommendation>) -> Listed {
    let of = |(name, found): (&String, &Recommendation)| {
        let [cpu, memory] = controlled(entry(vpa, name));
        let show = |a: Amounts| [cpu.then_some(a.cpu_millis), memory.then_some(a.memory_bytes)];
        (name.clone(), [found.target, found.lower, found.upper, found.uncapped].map(show))
    };
    recommended.iter().map(of).collect()
}

/// How one case differs; what came of every sample and every list is compared.
fn differences(case: &Value, total: &mut usize) -> Vec<String> {
    let vpa = &case["vpa"];
    let start = Instant::parse(case["start"].as_str().unwrap()).unwrap();
    let names: BTreeSet<&String> = case["pods"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|pod| pod["containers"].as_object().unwrap().keys())
        .collect();
    let mut aggregates: BTreeMap<String, Aggregate> =
        names.into_iter().map(|name| (name.clone(), Aggregate::default())).collect();
    let mut containers: BTreeMap<(String, String), Container> = BTreeMap::new();
    let (mut differ, mut expected) = (Vec::new(), case["expect"].as_array().unwrap().iter().peekable());
    let inputs = case["inputs"].as_array().unwrap();
    for after in 0..=inputs.len() {
        while let Some(state) = expected.next_if(|state| state["after"] == json!(after)) {
            let scaled = aggregates.iter().filter(|(name, _)| entry(vpa, name)["mode"] != "Off");
            let raw = recommend(&scaled.map(|(name, own)| (name.clone(), own.clone())).collect());
            let capped =
                raw.iter().map(|(name, own)| (name.clone(), policy(entry(vpa, name)).cap(*own))).collect();
            for (key, found) in [("recommendation", &raw), ("capped", &capped)] {
                *total += 1;
                let (found, wanted) = (shown(vpa, found), listed(&state[key]));
                if found != wanted {
                    differ.push(format!(
                        "case {} after {after}, {key}\n    found    {found:?}\n    expected {wanted:?}",
                        case["id"]
                    ));
                }
            }
        }
        let Some(input) = inputs.get(after) else { break };
        let text = |key: &str| input[key].as_str().unwrap().to_owned();
        let at = start + Span::from_seconds(input["t"].as_i64().unwrap());
        let container = containers.entry((text("pod"), text("container"))).or_default();
        let aggregate = aggregates.get_mut(&text("container")).unwrap();
        let mut accepted = vec![
            container.cpu(aggregate, at, cut(input["cpuMilli"].as_f64().unwrap())),
            container.memory(aggregate, at, input["memBytes"].as_i64().unwrap()),
        ];
        if let Some(request) = input["oomRequestBytes"].as_i64() {
            accepted.push(container.killed(aggregate, at + Span::from_seconds(1), request));
        }
        *total += 1;
        if json!(accepted) != input["accepted"] {
            differ
                .push(format!("case {}, input {after}: accepted {accepted:?}, expected {input}", case["id"]));
        }
    }
    differ
}

#[test]
fn recommendations_are_those_of_the_vertical_pod_autoscaler() {
    let Some(cases) = cases("vpa", "") else { return };
    let mut total = 0;
    let differ = cases.iter().flat_map(|case| differences(case, &mut total)).collect();
    report("vpa", differ, total, 0);
}
