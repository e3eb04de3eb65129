//! Fleets, requests and looks into a world.

use fleet::{ClusterId, FleetSpec, Instant, NodeName, Span};
use serde_json::{Value, json};
use twin::apiserver::{DeleteOptions, Options, Propagation, Verb};
use twin::{Kind, Request, World};

pub const NAMESPACE: &str = "default";

pub fn fleet(nodes: u32, demo: bool) -> FleetSpec {
    let demo = if demo { "demo: {jobsPerHour: 8}\n" } else { "" };
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
clusters:
- name: kr
  region: ap-northeast-2
  nodeGroups: [{{name: general, instanceType: m6i.2xlarge, count: {nodes}}}]
- name: jp
  region: ap-northeast-1
  nodeGroups: [{{name: general, instanceType: m6i.2xlarge, count: {nodes}}}]
{demo}"
    );
    fleet::file::parse(&text).unwrap()
}

pub fn start() -> Instant {
    Instant::parse("2026-05-01T00:00:00Z").unwrap()
}

pub fn kr() -> ClusterId {
    ClusterId::new("kr").unwrap()
}

pub fn world(nodes: u32) -> World {
    World::new(&fleet(nodes, false), start(), 42)
}

pub fn node(n: u32) -> NodeName {
    NodeName::new(&format!("kr-general-{n}")).unwrap()
}

/// A request of this verb about an object whose name the body gives.
pub fn request(verb: Verb, kind: Kind, body: Value) -> Request {
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Request {
        verb,
        kind,
        namespace: if kind.resource().namespaced { NAMESPACE.to_owned() } else { String::new() },
        name: if verb == Verb::Create { String::new() } else { name },
        subresource: None,
        body,
        options: Options::default(),
    }
}

/// A Job whose pods ask for `cpu` and do `command`; `spec` is merged over its defaults.
pub fn job(name: &str, cpu: &str, command: &[&str], spec: Value) -> Value {
    let mut body = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "parallelism": 1, "completions": 1, "backoffLimit": 6, "suspend": false,
            "template": {"spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "main", "image": "busybox:1.37", "command": command,
                    "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}],
            }},
        },
    });
    merge(&mut body["spec"], &spec);
    body
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

pub fn create(world: &mut World, kind: Kind, body: Value) {
    world.request(&kr(), &request(Verb::Create, kind, body)).unwrap();
}

/// Changes an object as a client does that reads, edits and writes back.
pub fn edit(world: &mut World, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
    let mut body = get(world, kind, name);
    change(&mut body);
    world.request(&kr(), &request(Verb::Update, kind, body)).unwrap();
}

pub fn delete(world: &mut World, kind: Kind, name: &str) {
    let mut request = request(Verb::Delete, kind, json!({"metadata": {"name": name}}));
    request.body = Value::Null;
    request.options.delete =
        DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    world.request(&kr(), &request).unwrap();
}

pub fn find(world: &World, kind: Kind, name: &str) -> Option<Value> {
    let namespace = if kind.resource().namespaced { NAMESPACE } else { "" };
    world.objects(&kr()).unwrap().get(kind, namespace, name).map(|s| s.object.to_value())
}

pub fn get(world: &World, kind: Kind, name: &str) -> Value {
    find(world, kind, name).unwrap_or_else(|| panic!("no {kind:?} {name}"))
}

/// All objects of a kind in the default namespace.
pub fn all(world: &World, kind: Kind) -> Vec<Value> {
    let namespace = kind.resource().namespaced.then_some(NAMESPACE);
    world.objects(&kr()).unwrap().list(kind, namespace).map(|s| s.object.to_value()).collect()
}

pub fn pods(world: &World) -> Vec<Value> {
    all(world, Kind::Pod)
}

pub fn phases(world: &World) -> Vec<String> {
    let phase = |p: &Value| p["status"]["phase"].as_str().unwrap_or("none").to_owned();
    let mut phases: Vec<String> = pods(world).iter().map(phase).collect();
    phases.sort();
    phases
}

/// Condition of an object as `status reason`, empty if it has none of this type.
pub fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|c| c["type"] == kind);
    found.map_or(String::new(), |c| {
        format!("{} {}", c["status"].as_str().unwrap(), c["reason"].as_str().unwrap_or("-"))
    })
}

/// `reason: message` of every Event about an object of this name, oldest first.
pub fn events(world: &World, name: &str) -> Vec<String> {
    let mut found: Vec<(u64, String)> = all(world, Kind::Event)
        .iter()
        .filter(|e| e["involvedObject"]["name"] == name)
        .map(|e| {
            let version = e["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            (version, format!("{}: {}", e["reason"].as_str().unwrap(), e["message"].as_str().unwrap()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, text)| text).collect()
}

pub fn pass(world: &mut World, seconds: i64) {
    world.advance_to(world.now() + Span::from_seconds(seconds));
    assert_eq!(world.overcommitted(), None);
}
