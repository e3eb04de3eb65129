//! How long a busy week of a large cluster takes: `cargo bench -p twin --bench week [-- QUARTERS]`.
//!
//! Size 4 is one cluster of 1,000 nodes in three zones, 400 Deployments under autoscalers with 50 pods each on average,
//! whose load follows the day and changes every hour, 2,000 rollouts, 5,000 Jobs of one to four pods, and 50 nodes that
//! stop for half an hour; sizes 1 and 2 are a quarter and half of everything. Then the same cluster of size 4 in a week
//! in which nothing happens. Figures, never pass or fail: what is done is fixed by a seed, processor time is this
//! thread's, memory the process's at its highest, events are writes of objects. How far it has come is told once a day, on stderr.

use fleet::{ClusterId, FleetSpec, Instant, NodeName, Span};
use serde_json::{Value, json};
use twin::apiserver::{Options, PatchType, Verb};
use twin::random::Stream;
use twin::world::NodeChange;
use twin::{Kind, Request, World};

const DAYS: i64 = 7;
const CLUSTER: &str = "week";
/// In a quarter of the whole.
const NODES: u64 = 250;
const APPS: u64 = 100;
const ROLLOUTS: u64 = 500;
const JOBS: u64 = 1250;
const FAILURES_TIMES_TEN: u64 = 125;
/// Pods of a Deployment on average, and CPU of each: asked for, and used where the autoscaler wants it.
const PODS: f64 = 50.0;
const MILLIS: f64 = 250.0;
const USED: f64 = 0.5;
const NAMESPACES: u64 = 20;
const DOWN: Span = Span::from_seconds(1800);

/// Processor time of this thread so far, in seconds: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

/// Memory of this process at its highest so far, in megabytes.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn fleet(quarters: u64) -> FleetSpec {
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- {{name: {CLUSTER}, region: eu-central-1, nodeGroups: [{{name: general, instanceType: m6i.2xlarge, count: {}, zones: [a, b, c]}}]}}\n",
        NODES * quarters
    );
    fleet::file::parse(&text).expect("the fleet of the benchmark is well-formed")
}

/// What is done to the cluster.
enum Deed {
    Ask(Box<Request>),
    Node(NodeName, NodeChange),
}

fn kind((group, plural): (&str, &str)) -> Kind {
    let version = if group == "autoscaling" { "v2" } else { "v1" };
    Kind::find(group, version, plural).expect("the benchmark names built-in kinds")
}

fn request(verb: Verb, of: (&str, &str), (namespace, name): (&str, &str), body: Value) -> Deed {
    Deed::Ask(Box::new(Request {
        verb,
        kind: kind(of),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: None,
        body,
        options: Options::default(),
    }))
}

fn place(app: u64) -> (String, String) {
    (format!("team-{}", app % NAMESPACES), format!("app-{app}"))
}

/// CPU of all pods of an app in an hour: two fifths more or less as the day goes, each app with its own noon, and a
/// tenth by chance.
fn load(app: u64, hour: i64, draw: &mut Stream) -> String {
    let turn = (hour as f64 + app as f64 % 24.0) / 24.0 * std::f64::consts::TAU;
    let chance = 0.9 + draw.below(201) as f64 / 1000.0;
    format!("{}m", (PODS * MILLIS * USED * (1.0 + 0.4 * turn.sin()) * chance) as i64)
}

fn app(number: u64, draw: &mut Stream) -> [Deed; 2] {
    let (namespace, name) = place(number);
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace,
            "annotations": {"load.twin.kubercarbon.io/cpu": load(number, 0, draw)}},
        "spec": {"replicas": PODS as i64, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": format!("registry.example.com/{name}:0"),
                "readinessProbe": {"httpGet": {"port": 8080}},
                "resources": {"requests": {"cpu": format!("{MILLIS}m"), "memory": "256Mi"}}}]}}},
    });
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 10, "maxReplicas": 100, "metrics": [{"type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": (USED * 100.0) as i64}}}]},
    });
    let at = (&*namespace, "");
    [
        request(Verb::Create, ("apps", "deployments"), at, deployment),
        request(Verb::Create, ("autoscaling", "horizontalpodautoscalers"), at, scaler),
    ]
}

fn job(number: u64, draw: &mut Stream) -> Deed {
    let (pods, seconds) = (1 + draw.below(4), 300 + draw.below(4 * 3600));
    let body = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": format!("job-{number}"), "namespace": "default"},
        "spec": {"parallelism": pods, "completions": pods, "ttlSecondsAfterFinished": 3600, "template": {
            "metadata": {"annotations": {"twin.kubercarbon.io/run-for": format!("{seconds}s")}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main",
                "image": "registry.example.com/batch/worker:1.0",
                "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]}}},
    });
    request(Verb::Create, ("batch", "jobs"), ("default", ""), body)
}

fn patch(app: u64, body: Value) -> Deed {
    let (namespace, name) = place(app);
    request(Verb::Patch(PatchType::Merge), ("apps", "deployments"), (&namespace, &name), body)
}

/// Everything that is done, each at its time from the start.
fn deeds(quarters: u64, quiet: bool, draw: &mut Stream) -> Vec<(Span, Deed)> {
    let apps = APPS * quarters;
    let mut all = Vec::new();
    for namespace in 0..NAMESPACES {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{namespace}")}});
        all.push((Span::ZERO, request(Verb::Create, ("", "namespaces"), ("", ""), body)));
    }
    for number in 0..apps {
        all.extend(app(number, draw).map(|deed| (Span::ZERO, deed)));
    }
    if quiet {
        return all;
    }
    let seconds = DAYS as u64 * 86_400;
    for hour in 1..DAYS * 24 {
        for number in 0..apps {
            let annotations = json!({"load.twin.kubercarbon.io/cpu": load(number, hour, draw)});
            let at = Span::HOUR.scaled(hour, 1) + Span::from_seconds(draw.below(3600) as i64);
            all.push((at, patch(number, json!({"metadata": {"annotations": annotations}}))));
        }
    }
    for rollout in 0..ROLLOUTS * quarters {
        let number = draw.below(apps);
        let image = format!("registry.example.com/app-{number}:{}", rollout + 1);
        let body = json!({"spec": {"template": {"metadata": {"annotations": {"release": image}}}}});
        all.push((Span::from_seconds((3600 + draw.below(seconds - 3600)) as i64), patch(number, body)));
    }
    for number in 0..JOBS * quarters {
        all.push((Span::from_seconds(draw.below(seconds) as i64), job(number, draw)));
    }
    for _ in 0..FAILURES_TIMES_TEN * quarters / 10 {
        let at = Span::from_seconds((3600 + draw.below(seconds - 7200)) as i64);
        let name = format!("{CLUSTER}-general-{}", 1 + draw.below(NODES * quarters));
        for (at, change) in [(at, NodeChange::Stop), (at + DOWN, NodeChange::Start)] {
            let name = NodeName::new(&name).expect("a node of the benchmark has a valid name");
            all.push((at, Deed::Node(name, change)));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

fn week(quarters: u64, quiet: bool) {
    let start = Instant::from_unix_seconds(1_640_995_200);
    let id = ClusterId::new(CLUSTER).expect("the benchmark's cluster has a valid name");
    let deeds = deeds(quarters, quiet, &mut Stream::new(1, "week"));
    let count = deeds.len();
    let began = cpu_seconds();
    let mut world = World::new(&fleet(quarters), start, 1);
    let (mut refused, mut filled, mut days) = (0, None, 0);
    for (at, deed) in deeds {
        while at > Span::DAY.scaled(days + 1, 1) {
            days += 1;
            let (took, events) = (cpu_seconds() - began, version(&world, &id));
            eprintln!("day {days}: {took:.1} s so far for {events} events, peak {:.0} MB", peak_mb());
        }
        if at > Span::ZERO && filled.is_none() {
            filled = Some((cpu_seconds(), version(&world, &id)));
        }
        world.advance_to(start + at);
        let done = match deed {
            Deed::Ask(request) => world.request(&id, &request).map(|_| ()).map_err(|status| status.message),
            Deed::Node(name, change) => world.set_node(&id, &name, change).map_err(|error| error.to_string()),
        };
        if let Err(error) = done {
            refused += 1;
            if refused == 1 {
                eprintln!("the first refused: {error}");
            }
        }
    }
    world.advance_to(start + Span::DAY.scaled(1, 24));
    let (filled_at, filled) = filled.unwrap_or((cpu_seconds(), version(&world, &id)));
    world.advance_to(start + Span::DAY.scaled(DAYS, 1));
    let (took, events) = (cpu_seconds() - filled_at, version(&world, &id) - filled);
    let kinds = [("", "pods"), ("", "events"), ("apps", "replicasets")];
    let left = kinds.map(|of| world.objects(&id).map_or(0, |objects| objects.count(kind(of))));
    println!(
        "size {quarters}/4{}: {} nodes, {count} inputs ({refused} refused); made in {:.1} s with {filled} events; the week {took:.1} s for {events} events, {:.0} a second; peak {:.0} MB; left {left:?} pods, events, replica sets",
        if quiet { ", quiet" } else { "" },
        NODES * quarters,
        filled_at - began,
        events as f64 / took.max(f64::MIN_POSITIVE),
        peak_mb(),
    );
}

fn version(world: &World, id: &ClusterId) -> u64 {
    world.objects(id).map_or(0, |objects| objects.version())
}

fn main() {
    let quiet = std::env::args().any(|arg| arg == "quiet");
    match std::env::args().find_map(|arg| arg.parse::<u64>().ok()) {
        Some(quarters) => week(quarters.clamp(1, 16), quiet),
        None => {
            [1, 2, 4].into_iter().for_each(|quarters| week(quarters, false));
            week(4, true);
        }
    }
}
