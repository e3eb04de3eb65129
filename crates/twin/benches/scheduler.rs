//! How fast the scheduler decides, and what it keeps: `cargo bench -p twin --bench scheduler [-- CASE]`, with `plain`,
//! `all`, `spread` or `unlike` one case alone, and a number after it for as many pods.
//!
//! Each pod is digested from its document, decided and placed, one after another, on one core; no objects are written.
//! Documents are made a tenth of the pods at a time, outside the measured time, as they would come from a watch. Rates are
//! per second of processor time, memory is the process's. Each tenth is timed by itself, so that a cost that grows shows.

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::sync::Arc;
use twin::scheduler::{Cluster, Profile, Search};

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Processor time of this thread so far, in seconds: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

fn cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new();
    for i in 0..nodes {
        let name = format!("node-{i:05}");
        let node = json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/region": "r1",
                "topology.kubernetes.io/zone": format!("zone-{}", i % 3),
            }},
            "status": {"allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110"}},
        });
        if let Ok(node) = serde_json::from_value::<Node>(node) {
            cluster.put_node(&node);
        }
    }
    cluster
}

/// What the pods of a case are like.
#[derive(Clone, Copy)]
struct Kind {
    /// How many workloads there are, whose pods come in turn.
    apps: usize,
    /// With topology spread by zone and host, and anti-affinity by host.
    spread: bool,
    /// No two pods ask for the same.
    unlike: bool,
}

fn pod(i: usize, kind: Kind) -> Option<Pod> {
    let app = format!("app-{}", i % kind.apps);
    let millis = if kind.unlike { 100 + i % 700 } else { 100 + 100 * (i % 7) };
    let mebibytes = if kind.unlike { 256 + i % 1801 } else { 256 << (i % 4) };
    let mut spec = json!({
        "containers": [{"name": "main", "image": format!("registry.example.com/{app}:1.0"), "resources":
            {"requests": {"cpu": format!("{millis}m"), "memory": format!("{mebibytes}Mi")}}}],
        "priority": 0,
    });
    if kind.spread {
        let selector = json!({"matchLabels": {"app": app}});
        let constraint = |key: &str, skew: i64, when: &str| -> Value {
            json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": when, "labelSelector": selector})
        };
        spec["topologySpreadConstraints"] = json!([
            constraint("topology.kubernetes.io/zone", 1, "DoNotSchedule"),
            constraint("kubernetes.io/hostname", 1, "ScheduleAnyway"),
        ]);
        spec["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}]}});
    }
    let pod = json!({
        "metadata": {"name": format!("{app}-{i}"), "namespace": "default", "uid": format!("uid-{i}"), "labels": {"app": app}},
        "spec": spec,
    });
    serde_json::from_value(pod).ok()
}

/// A line of the process's status, in megabytes.
fn status_mb(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn run(what: &str, nodes: usize, count: usize, kind: Kind, profile: &Profile) {
    let mut cluster = cluster(nodes);
    let mut search = Search::new(1, "bench");
    let before = status_mb("VmRSS:");
    let (mut placed, mut rates, mut total) = (0, Vec::new(), 0.0);
    for tenth in 0..10 {
        let pods: Vec<Pod> =
            (tenth * count / 10..(tenth + 1) * count / 10).filter_map(|i| pod(i, kind)).collect();
        let start = cpu_seconds();
        for pod in &pods {
            let info = cluster.digest(pod);
            if let Some(node) = search.choose(&mut cluster, &info, profile) {
                cluster.place(&node, Arc::new(info));
                placed += 1;
            }
        }
        let took = cpu_seconds() - start;
        total += took;
        rates.push((pods.len() as f64 / took).round());
    }
    println!(
        "{nodes} nodes, {count} pods, {what}: {:.0} pods/s, {placed} placed, first tenth {} and last tenth {} pods/s, {:.0} MB for them, peak of the process {:.0} MB",
        count as f64 / total,
        rates.first().unwrap_or(&0.0),
        rates.last().unwrap_or(&0.0),
        status_mb("VmRSS:") - before,
        status_mb("VmHWM:"),
    );
}

/// What a case is called, what it says, how many nodes it has, its pods, the share of nodes scored, how many pods.
type Case = (&'static str, &'static str, usize, Kind, i64, &'static [usize]);

const PLAIN: Kind = Kind { apps: 50, spread: false, unlike: false };

const CASES: [Case; 4] = [
    ("plain", "default sampling", 5000, PLAIN, 0, &[25_000, 50_000, 100_000]),
    ("all", "every node scored", 5000, PLAIN, 100, &[50_000]),
    ("unlike", "default sampling, no two alike", 5000, Kind { unlike: true, ..PLAIN }, 0, &[50_000]),
    (
        "spread",
        "spread and anti-affinity",
        1000,
        Kind { apps: 300, spread: true, ..PLAIN },
        0,
        &[15_000, 30_000, 60_000],
    ),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let wanted = args.first().map(String::as_str);
    let count = args.get(1).and_then(|count| count.parse().ok());
    for (name, what, nodes, kind, percentage_of_nodes_to_score, counts) in CASES {
        if wanted.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let profile = Profile { percentage_of_nodes_to_score, ..Profile::default() };
        let counts = count.as_ref().map_or(counts, std::slice::from_ref);
        counts.iter().for_each(|count| run(what, nodes, *count, kind, &profile));
    }
}
