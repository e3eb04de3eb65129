//! The twin's scheduler against recorded decisions of kube-scheduler 1.36, default profile.
//!
//! Cases are read from `$CONFORMANCE_DIR/scheduler/*.jsonl.gz`, else `$KUBERCARBON_TESTDATA/conformance`;
//! without either the tests say so and pass. Where kube-scheduler takes one of several equally good nodes
//! at random, the whole set is compared.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod recorded;

use fleet::Instant;
use recorded::cases;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twin::apiserver::{Context, Options, Request, Verb, write};
use twin::random::Stream;
use twin::scheduler::{Cluster, Decision, PodInfo, Preemption, Profile, Rejection, decide};
use twin::{Kind, Object, Objects};

fn each<T: DeserializeOwned>(objects: &Value, list: &str, mut take: impl FnMut(T)) {
    for object in objects[list].as_array().into_iter().flatten() {
        take(serde_json::from_value(object.clone()).unwrap());
    }
}

fn cluster(objects: &Value) -> Cluster {
    let mut cluster = Cluster::new();
    each(objects, "namespaces", |o| cluster.put_namespace(&o));
    each(objects, "nodes", |o| cluster.put_node(&o));
    each(objects, "services", |o| cluster.put_service(&o));
    each(objects, "replicaSets", |o| cluster.put_replica_set(&o));
    each(objects, "podDisruptionBudgets", |o| cluster.put_budget(&o));
    each(objects, "persistentVolumeClaims", |o| cluster.put_claim(&o));
    each(objects, "persistentVolumes", |o| cluster.put_volume(&o));
    each(objects, "storageClasses", |o| cluster.put_storage_class(&o));
    each(objects, "csiNodes", |o| cluster.put_csi_node(&o));
    each(objects, "csiDrivers", |o| cluster.put_csi_driver(&o));
    each(objects, "csiStorageCapacities", |o| cluster.put_capacity(&o));
    each(objects, "pods", |o| cluster.put_pod(&o));
    cluster
}

fn rejection(rejection: &Rejection, pod: &PodInfo) -> Value {
    json!({
        "plugin": rejection.plugin.map_or("", |p| p.name()),
        "code": rejection.code.name(),
        "reasons": rejection.reasons(pod),
    })
}

fn preemption(found: &Preemption) -> Value {
    let candidate = |i: usize| {
        let c = &found.candidates[i];
        let victims: Vec<String> = c.victims.iter().map(|v| v.full_name()).collect();
        json!({"node": c.node, "victims": victims, "pdbViolations": c.pdb_violations})
    };
    let mut order: Vec<usize> = (0..found.candidates.len()).collect();
    order.sort_by_key(|i| found.candidates[*i].node.clone());
    let best: BTreeSet<&str> = found.best.iter().map(|i| &*found.candidates[*i].node).collect();
    let mut told = json!({
        "eligible": found.ineligible.is_none(),
        "candidates": order.into_iter().map(candidate).collect::<Vec<_>>(),
        "bestNodes": best,
    });
    if let Some(why) = &found.ineligible {
        told["ineligible"] = json!(why);
    }
    if let Some(message) = &found.message {
        told["message"] = json!(message);
    }
    told
}

/// A decision in the form of the recorded ones.
fn told(decision: &Decision, pod: &PodInfo) -> Value {
    let mut told = json!({"feasible": decision.feasible});
    if let Some(refused) = &decision.pre_filter {
        told["preFilter"] = rejection(refused, pod);
    }
    if let Some(names) = &decision.pre_filter_nodes {
        told["preFilterNodes"] = json!(names);
    }
    if !decision.rejected.is_empty() {
        let rejected: Map<String, Value> =
            decision.rejected.iter().map(|(node, r)| (node.to_string(), rejection(r, pod))).collect();
        told["rejected"] = Value::Object(rejected);
    }
    if decision.nominated_first {
        told["nominatedFirst"] = json!(true);
    }
    if !decision.scores.is_empty() {
        told["scoreOrder"] = decision.score_order.iter().map(|p| json!(p.name())).collect();
        let scores = decision.scores.iter().map(|(node, scores)| (node.to_string(), json!(scores)));
        told["scores"] = Value::Object(scores.collect());
    }
    if !decision.best.is_empty() {
        told["bestNodes"] = json!(decision.best);
    }
    if let Some(message) = &decision.message {
        told["message"] = json!(message);
    }
    if let Some(found) = &decision.preemption {
        told["preemption"] = preemption(found);
    }
    told
}

/// Cases agreed and not, by plugin, and the first difference.
#[derive(Default)]
struct Tally {
    plugins: BTreeMap<String, (usize, usize)>,
    agreed: usize,
    differ: usize,
    first: Option<String>,
}

/// What each plugin said in a decision: its rejections by node, its scores by node.
fn by_plugin(decision: &Value) -> BTreeMap<String, Value> {
    let mut said: BTreeMap<String, Value> = BTreeMap::new();
    let mut add = |plugin: &str, node: &str, what: Value| {
        let name = if plugin.is_empty() { "(not looked at)" } else { plugin };
        said.entry(name.to_owned()).or_insert_with(|| json!({}))[node] = what;
    };
    for (node, rejection) in decision["rejected"].as_object().into_iter().flatten() {
        add(rejection["plugin"].as_str().unwrap(), node, rejection.clone());
    }
    if let Some(refused) = decision.get("preFilter") {
        add(refused["plugin"].as_str().unwrap(), "", refused.clone());
    }
    for (i, plugin) in decision["scoreOrder"].as_array().into_iter().flatten().enumerate() {
        for (node, scores) in decision["scores"].as_object().unwrap() {
            add(&format!("{} score", plugin.as_str().unwrap()), node, scores[i].clone());
        }
    }
    if let Some(preemption) = decision.get("preemption") {
        add("DefaultPreemption", "", preemption.clone());
    }
    said
}

fn sorted_reasons(mut expected: Value) -> Value {
    if expected["rejected"].as_object().is_some_and(Map::is_empty) {
        expected.as_object_mut().unwrap().remove("rejected");
    }
    let rejected = expected.get_mut("rejected").and_then(Value::as_object_mut);
    for (_, rejection) in rejected.into_iter().flatten() {
        let reasons = rejection["reasons"].as_array_mut().unwrap();
        reasons.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    expected
}

impl Tally {
    fn compare(&mut self, case: &str, expected: &Value, found: &Value) {
        let (theirs, ours) = (by_plugin(expected), by_plugin(found));
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for name in names {
            let counts = self.plugins.entry(name.clone()).or_default();
            if theirs.get(name) == ours.get(name) { counts.0 += 1 } else { counts.1 += 1 }
        }
        if expected == found {
            self.agreed += 1;
            return;
        }
        self.differ += 1;
        if std::env::var_os("CONFORMANCE_VERBOSE").is_some() {
            println!("differs: {}", side_by_side(case, expected, found));
        }
        self.first.get_or_insert_with(|| side_by_side(case, expected, found));
    }
    fn report(self, what: &str) {
        for (plugin, (agreed, differ)) in &self.plugins {
            println!("  {plugin}: {agreed} agreed, {differ} differ");
        }
        println!("{what}: {} agreed, {} differ", self.agreed, self.differ);
        if let Some(first) = self.first {
            panic!("{what}: {} differ, the first:\n{first}", self.differ);
        }
    }
}

/// The parts of two decisions that differ, one beneath the other.
fn side_by_side(case: &str, expected: &Value, found: &Value) -> String {
    let mut text = format!("{case}\n");
    let fields =
        |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<BTreeSet<_>>()).unwrap_or_default();
    for field in fields(expected).union(&fields(found)) {
        let (theirs, ours) = (&expected[field], &found[field]);
        if theirs == ours {
            continue;
        }
        if matches!(field.as_str(), "rejected" | "scores") {
            for node in fields(theirs).union(&fields(ours)) {
                if theirs[node] != ours[node] {
                    text += &format!(
                        "  {field}.{node}\n    expected {}\n    found    {}\n",
                        theirs[node], ours[node]
                    );
                }
            }
        } else {
            text += &format!("  {field}\n    expected {theirs}\n    found    {ours}\n");
        }
    }
    text
}

#[test]
fn single_pods_are_decided_alike() {
    let Some(cases) = cases("scheduler", "-pods") else { return };
    let mut tally = Tally::default();
    for case in &cases {
        let mut cluster = cluster(&case["objects"]);
        let pod = PodInfo::new(&serde_json::from_value(case["podStored"].clone()).unwrap());
        let decision = decide(&mut cluster, &pod, &Profile::default());
        let name = format!("case {} {}", case["id"], case["themes"]);
        tally.compare(&name, &sorted_reasons(case["expect"].clone()), &told(&decision, &pod));
    }
    tally.report("scheduler pods");
}

/// Sends a pod to the API, as a client does, and reads what was stored.
fn create(objects: &mut Objects, pod: &Value) -> PodInfo {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap().to_owned();
    // The runs were recorded without the admission of RuntimeClasses, from which alone a pod may have overhead.
    let mut body = pod.clone();
    let overhead = body["spec"].as_object_mut().and_then(|spec| spec.remove("overhead"));
    let request = Request {
        verb: Verb::Create,
        kind: Kind::Pod,
        namespace: namespace.clone(),
        name: String::new(),
        subresource: None,
        body,
        options: Options::default(),
    };
    let now = Instant::parse("2026-01-05T12:00:00Z").unwrap();
    let mut names = Stream::new(1, "names");
    let mut context = Context { objects, now, names: &mut names };
    let answer = write(&mut context, &request).unwrap_or_else(|status| panic!("{status:?}\n{pod}"));
    let mut stored = answer.body.into_value();
    stored["metadata"]["uid"] = pod["metadata"]["uid"].clone();
    if let Some(overhead) = overhead {
        stored["spec"]["overhead"] = overhead;
    }
    PodInfo::new(&serde_json::from_value(stored).unwrap())
}

#[test]
fn sequences_of_pods_are_decided_alike() {
    let Some(cases) = cases("scheduler", "-sequences") else { return };
    let mut tally = Tally::default();
    for case in &cases {
        let mut cluster = cluster(&case["objects"]);
        let mut objects = Objects::new();
        for (list, kind, version) in [
            ("namespaces", Kind::Namespace, "v1"),
            ("priorityClasses", Kind::PriorityClass, "scheduling.k8s.io/v1"),
        ] {
            for object in case["objects"][list].as_array().into_iter().flatten() {
                let mut object = object.clone();
                object["apiVersion"] = json!(version);
                object["kind"] = json!(kind.resource().name);
                objects.put(Object::from_value(kind, &object).unwrap());
            }
        }
        for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let pod = create(&mut objects, &step["pod"]);
            let decision = decide(&mut cluster, &pod, &Profile::default());
            let mut found = told(&decision, &pod);
            found.as_object_mut().unwrap().remove("preemption");
            if let Some(message) = &decision.filter_message {
                found["message"] = json!(message);
            }
            let name = format!("sequence {} step {i} {}", case["id"], case["themes"]);
            tally.compare(&name, &sorted_reasons(step["expect"].clone()), &found);
            if let Some(node) = step["chosen"].as_str() {
                cluster.place(node, Arc::new(pod));
            }
        }
    }
    tally.report("scheduler sequences");
}
