//! Pods over time, as texts: a manifest, what is done to it, and what can be seen of it when.
//!
//! A scenario is a file in `scenarios/`. `--- pod` is followed by a manifest, `--- run 60s` by what changes in that time,
//! one line an instant: seconds since the pod was made, phase, the conditions that hold (`S`cheduled,
//! `N`etwork, `I`nitialized, `C`ontainers ready, `R`eady, others by name), and containers; then events. `--- delete`,
//! `--- merge` and `--- status` (a merge patch of the pod or its status), `--- resize`, `--- stop` and `--- start` (the machine) act in
//! between. With `SCENARIOS_WRITE=1` what is found is written into the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what a test unwraps is what it asserts")]

mod timeline;

use fleet::{ClusterId, Instant, NodeName, Span};
use serde_json::{Value, json};
use std::path::Path;
use timeline::{NAMESPACE, Timeline};
use twin::apiserver::{DeleteOptions, Options, PatchType, Subresource, Verb};
use twin::random::Stream;
use twin::world::NodeChange;
use twin::{Kind, Request, World};

const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
clusters:
- name: kr
  region: ap-northeast-2
  nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 1}]
";

fn kr() -> ClusterId {
    ClusterId::new("kr").unwrap()
}

fn world() -> World {
    let start = Instant::parse("2026-05-01T00:00:00Z").unwrap();
    World::new(&fleet::file::parse(FLEET).unwrap(), start, 42)
}

fn request(verb: Verb, kind: Kind, name: &str, body: Value) -> Request {
    Request {
        verb,
        kind,
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        subresource: None,
        body,
        options: Options::default(),
    }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Carries out one step of a scenario; what can be seen while it lasts.
fn step(world: &mut World, timeline: &mut Timeline, head: &str, body: &str) -> Option<String> {
    let (word, rest) = head.split_once(' ').unwrap_or((head, ""));
    let name = timeline.name.clone();
    let patch = |subresource| {
        let verb = Verb::Patch(PatchType::Merge);
        Request { subresource, ..request(verb, Kind::Pod, &name, yaml(body)) }
    };
    match word {
        "pod" => {
            let pod = yaml(body);
            timeline.begin(world.now(), pod["metadata"]["name"].as_str().unwrap());
            world.request(&kr(), &request(Verb::Create, Kind::Pod, "", pod)).unwrap();
        }
        "object" => {
            let object = yaml(body);
            assert_eq!(object["kind"], "ConfigMap", "no other kind is made here");
            world.request(&kr(), &request(Verb::Create, Kind::ConfigMap, "", object)).unwrap();
        }
        "run" => return Some(timeline.run(world, &kr(), Span::parse(rest).unwrap())),
        "delete" => {
            let mut delete = request(Verb::Delete, Kind::Pod, &name, Value::Null);
            let grace_period_seconds = rest.parse().ok();
            delete.options.delete = DeleteOptions { grace_period_seconds, ..DeleteOptions::default() };
            world.request(&kr(), &delete).unwrap();
        }
        "merge" => drop(world.request(&kr(), &patch(None)).unwrap()),
        "resize" => {
            let verb = Verb::Patch(PatchType::StrategicMerge);
            let subresource = Some(Subresource::Resize);
            let request = Request { subresource, ..request(verb, Kind::Pod, &name, yaml(body)) };
            drop(world.request(&kr(), &request).unwrap());
        }
        "status" => drop(world.request(&kr(), &patch(Some(Subresource::Status))).unwrap()),
        "stop" | "start" => {
            let change = if word == "stop" { NodeChange::Stop } else { NodeChange::Start };
            world.set_node(&kr(), &NodeName::new("kr-general-1").unwrap(), change).unwrap();
        }
        word => panic!("no step is called {word}"),
    }
    None
}

/// The scenario with what is found instead of what is expected.
fn play(text: &str) -> String {
    let (mut world, mut timeline, mut found) = (world(), Timeline::default(), String::new());
    for (index, part) in text.split("\n--- ").enumerate() {
        if index == 0 {
            found.push_str(part);
            continue;
        }
        let (head, body) = part.split_once('\n').unwrap_or((part, ""));
        let seen = step(&mut world, &mut timeline, head.trim(), body);
        found.push_str(&format!("\n--- {head}\n{}", seen.as_deref().unwrap_or(body).trim_end()));
    }
    found + "\n"
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pods/scenarios").join(format!("{name}.txt"));
    let expected = std::fs::read_to_string(&path).unwrap();
    let found = play(&expected);
    if std::env::var_os("SCENARIOS_WRITE").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    assert_eq!(found, play(&expected), "{name}: the same scenario comes out otherwise the second time");
    for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{name}.txt, line {}; the whole:\n{}", line + 1, play(expected));
    }
    assert_eq!(found.lines().count(), expected.trim_end().lines().count(), "{name}:\n{found}");
}

/// A test a file.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { check(stringify!($name)); })*
        #[test]
        fn every_file_is_played() {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pods/scenarios");
            let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
            let mut files: Vec<String> = files.map(|f| f.trim_end_matches(".txt").to_owned()).collect();
            files.sort();
            let mut played = vec![$(stringify!($name)),*];
            played.sort();
            assert_eq!(files, played);
        }
    };
}

scenarios!(
    commands,
    crash_loop,
    deadline,
    gates,
    graceful_end,
    hooks,
    images,
    init_containers,
    init_fails,
    machine,
    memory,
    probes_liveness,
    probes_readiness,
    probes_startup,
    resize,
    restart_policies,
    sidecars,
    volumes,
);

#[test]
fn a_world_saved_in_the_middle_goes_on_as_it_would_have() {
    let manifest = "metadata: {name: saved, namespace: default}
spec:
  initContainers:
  - {name: side, image: side:1, restartPolicy: Always, startupProbe: {exec: {command: [test, -f, /s/up]}, periodSeconds: 2}, volumeMounts: [{name: s, mountPath: /s}],
     command: [sh, -c, 'sleep 3; touch /s/up; while true; do sleep 7; done']}
  containers:
  - {name: main, image: main:1, command: [sh, -c, 'i=0; while [ $i -lt 4 ]; do sleep 5; i=$((i+1)); done; exit $(($RANDOM % 3))'], readinessProbe: {exec: {command: [\"true\"]}}}
  volumes: [{name: s, emptyDir: {}}]
";
    let mut whole = world();
    let mut timeline = Timeline::default();
    timeline.begin(whole.now(), "saved");
    whole.request(&kr(), &request(Verb::Create, Kind::Pod, "", yaml(manifest))).unwrap();
    let mut cut: World = serde_json::from_str(&serde_json::to_string(&whole).unwrap()).unwrap();
    let expected = timeline.run(&mut whole, &kr(), Span::from_seconds(600));
    assert!(expected.lines().count() > 20, "{expected}");
    let mut found = String::new();
    let mut again = Timeline::default();
    again.begin(cut.now(), "saved");
    for _ in 0..200 {
        found.push_str(&again.run(&mut cut, &kr(), Span::from_seconds(3)));
        cut = serde_json::from_str(&serde_json::to_string(&cut).unwrap()).unwrap();
    }
    assert_eq!(found, expected);
}

/// CPU of the pods a node has taken in and that are not over, in thousandths of a core, and how many were refused.
fn taken_in(world: &World) -> (i64, usize) {
    let (mut sum, mut refused) = (0, 0);
    for stored in world.objects(&kr()).unwrap().list(Kind::Pod, None) {
        let pod = stored.object.to_value();
        let over = pod["status"]["phase"] == "Failed";
        refused += usize::from(over && pod["status"]["reason"] == "OutOfcpu");
        if !over && pod["status"]["startTime"].is_string() {
            let asked = pod["spec"]["containers"][0]["resources"]["requests"]["cpu"].as_str().unwrap();
            sum += asked.trim_end_matches('m').parse::<i64>().unwrap();
        }
    }
    (sum, refused)
}

/// Whatever is bound to a node, its pods never ask together for more than it has; what room there is, is used.
#[test]
fn a_node_takes_in_no_more_than_it_has() {
    let (mut world, mut draw) = (world(), Stream::new(7, "admission"));
    let node = world.objects(&kr()).unwrap().get(Kind::Node, "", "kr-general-1").unwrap().object.to_value();
    let room = node["status"]["allocatable"]["cpu"].as_str().unwrap();
    let room: i64 = room.trim_end_matches('m').parse().unwrap();
    let (mut there, mut most) = (Vec::new(), 0);
    for number in 0..150 {
        if draw.below(3) > 0 || there.is_empty() {
            let (name, cpu) = (format!("p-{number}"), format!("{}m", 100 + draw.below(3000)));
            let pod = json!({"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"nodeName": "kr-general-1", "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "main:1", "resources": {"requests": {"cpu": cpu}}}]}});
            world.request(&kr(), &request(Verb::Create, Kind::Pod, "", pod)).unwrap();
            there.push(name);
        } else {
            let name = there.swap_remove(draw.below(there.len() as u64) as usize);
            world.request(&kr(), &request(Verb::Delete, Kind::Pod, &name, Value::Null)).unwrap();
        }
        world.advance_to(world.now() + Span::from_seconds(draw.below(4) as i64));
        let (sum, _) = taken_in(&world);
        assert!(sum <= room, "{sum}m of {room}m after {number} steps");
        most = most.max(sum);
        if number % 50 == 0 {
            world = serde_json::from_str(&serde_json::to_string(&world).unwrap()).unwrap();
        }
    }
    world.advance_to(world.now() + Span::from_seconds(5));
    let (_, refused) = taken_in(&world);
    assert!(most > room * 8 / 10 && refused > 10, "{most}m of {room}m, {refused} refused");
}

/// All there is of pods and nodes and all that was said, at the end of two minutes; `cut`: saved and loaded all the time.
fn short_of_memory(cut: bool) -> Value {
    let mut world = world();
    for (name, memory) in [("leak", "0s=1Gi,20s=40Gi"), ("steady", "2Gi")] {
        let manifest = json!({"metadata": {"name": name, "namespace": NAMESPACE, "annotations": {"twin.kubercarbon.io/memory": memory}},
            "spec": {"containers": [{"name": "main", "image": "main:1", "resources": {"requests": {"memory": "2Gi"}}}]}});
        world.request(&kr(), &request(Verb::Create, Kind::Pod, "", manifest)).unwrap();
    }
    for _ in 0..40 {
        world.advance_to(world.now() + Span::from_seconds(3));
        if cut {
            world = serde_json::from_str(&serde_json::to_string(&world).unwrap()).unwrap();
        }
    }
    let objects = world.objects(&kr()).unwrap();
    let all = [Kind::Pod, Kind::Node, Kind::Event].into_iter().flat_map(|kind| objects.list(kind, None));
    all.map(|stored| stored.object.to_value()).collect()
}

#[test]
fn a_node_short_of_memory_goes_on_after_loading_as_it_would_have() {
    let whole = short_of_memory(false);
    let evicted = whole.as_array().unwrap().iter().filter(|object| object["status"]["reason"] == "Evicted");
    assert_eq!(evicted.count(), 1, "{whole}");
    assert_eq!(short_of_memory(true), whole);
}

#[test]
fn healthy_pods_and_waiting_loops_cost_nothing() {
    let manifest = json!({"metadata": {"name": "quiet", "namespace": NAMESPACE}, "spec": {"containers": [
        {"name": "web", "image": "web:1", "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1}, "livenessProbe": {"tcpSocket": {"port": 80}}},
        {"name": "loop", "image": "loop:1", "command": ["sh", "-c", "while true; do echo hello; sleep 1; done"], "livenessProbe": {"exec": {"command": ["true"]}}},
        {"name": "wait", "image": "wait:1", "command": ["sh", "-c", "until [ -f /never ]; do sleep 1; sleep 2; done"]}]}});
    let mut world = world();
    world.request(&kr(), &request(Verb::Create, Kind::Pod, "", manifest)).unwrap();
    world.advance_to(world.now() + Span::MINUTE.scaled(5, 1));
    assert_eq!(world.next_event(), None, "nothing is due of a pod that does the same for ever");
    let pod = world.objects(&kr()).unwrap().get(Kind::Pod, NAMESPACE, "quiet").unwrap().object.to_value();
    let ready = pod["status"]["containerStatuses"].as_array().unwrap().iter().filter(|c| c["ready"] == true);
    assert_eq!(ready.count(), 3, "{pod}");
}
