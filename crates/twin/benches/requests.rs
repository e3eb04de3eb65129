//! What writes cost that clients send: pods made, and changed in every way there is.
//!
//! Figures, never pass or fail. `cargo bench -p twin --bench requests [-- PODS]` prints microseconds a request, the least of three
//! rounds. Nothing else happens in that world: the pods are of a scheduler that is not there.

use fleet::{ClusterId, Instant};
use serde_json::{Value, json};
use std::time::Duration;
use twin::apiserver::{Options, PatchType, Subresource, Verb};
use twin::{Kind, Request, World};

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters: [{name: kr, region: ap-northeast-2, nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 5}]}]\n";
const ROUNDS: usize = 3;

fn pod(i: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{i}"), "namespace": "default", "labels": {"app": "bench", "number": i.to_string()}},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "main", "image": "registry.example.com/team/app:1.2.3", "command": ["sleep", "3600"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            }],
        },
    })
}

fn request(verb: Verb, name: &str, subresource: Option<Subresource>, body: Value) -> Request {
    let options = Options { field_manager: Some("bench".to_owned()), force: true, ..Options::default() };
    let (namespace, name) = ("default".to_owned(), name.to_owned());
    Request { verb, kind: Kind::Pod, namespace, name, subresource, body, options }
}

fn timed(run: impl FnOnce()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    let begun = std::time::Instant::now();
    run();
    begun.elapsed()
}

/// Least time of a request over some rounds, each over all pods.
fn each(world: &mut World, pods: usize, what: &str, make: &dyn Fn(usize, usize) -> Request) {
    let kr = ClusterId::new("kr").expect("a name");
    let round = |world: &mut World, round: usize| {
        timed(|| {
            for i in 0..pods {
                world.request(&kr, &make(round, i)).expect("the twin takes it");
            }
        })
    };
    let rounds = if what == "create" { 1 } else { ROUNDS };
    let least = (0..rounds).map(|n| round(world, n)).min().unwrap_or_default();
    println!("{what:<28} {:>8.1} µs", least.as_secs_f64() * 1e6 / pods as f64);
}

fn main() {
    let pods = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(2000);
    let fleet = fleet::file::parse(FLEET).expect("the fleet of the benchmark is well-formed");
    let start = Instant::parse("2026-05-01T00:00:00Z").expect("a time");
    let mut world = World::new(&fleet, start, 1);
    let name = |i: usize| format!("pod-{i}");
    each(&mut world, pods, "create", &|_, i| request(Verb::Create, "", None, pod(i)));
    let label = |round: usize| json!({"metadata": {"labels": {"round": round.to_string()}}});
    for (what, kind) in
        [("merge: a label", PatchType::Merge), ("strategic: a label", PatchType::StrategicMerge)]
    {
        each(&mut world, pods, what, &|round, i| request(Verb::Patch(kind), &name(i), None, label(round)));
    }
    let image = |round: usize| json!({"spec": {"containers": [{"name": "main", "image": format!("registry.example.com/team/app:{round}")}]}});
    each(&mut world, pods, "strategic: an image", &|round, i| {
        request(Verb::Patch(PatchType::StrategicMerge), &name(i), None, image(round))
    });
    each(&mut world, pods, "json: a label", &|round, i| {
        let body = json!([{"op": "add", "path": "/metadata/labels/json", "value": round.to_string()}]);
        request(Verb::Patch(PatchType::Json), &name(i), None, body)
    });
    each(&mut world, pods, "strategic: a condition", &|round, i| {
        let body = json!({"status": {"conditions": [{"type": "Bench", "status": "True", "reason": format!("Round{round}")}]}});
        request(Verb::Patch(PatchType::StrategicMerge), &name(i), Some(Subresource::Status), body)
    });
    each(&mut world, pods, "apply: an annotation", &|round, i| {
        let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name(i), "annotations": {"round": round.to_string()}}});
        request(Verb::Patch(PatchType::Apply), &name(i), None, body)
    });
    each(&mut world, pods, "strategic: nothing new", &|_, i| {
        request(Verb::Patch(PatchType::StrategicMerge), &name(i), None, label(ROUNDS - 1))
    });
}
