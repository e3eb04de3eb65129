//! How fast the scheduler decides: `cargo bench -p twin --bench scheduler [-- plain]`, the latter the first
//! figure alone.
//!
//! Each pod is digested from its document, decided and placed, one after another, on one core; no objects
//! are written. Rates are per second of processor time. Each tenth of the pods is timed by itself, so that a cost that grows shows.

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use std::sync::Arc;
use twin::scheduler::{Cluster, PodInfo, Profile, Search};

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

/// Pods of `apps` workloads in turn; `spread` adds topology spread and anti-affinity.
fn pods(count: usize, apps: usize, spread: bool) -> Vec<Pod> {
    let one = |i: usize| {
        let app = format!("app-{}", i % apps);
        let mut spec = json!({
            "containers": [{"name": "main", "image": format!("registry.example.com/{app}:1.0"), "resources":
                {"requests": {"cpu": format!("{}m", 100 + 100 * (i % 7)), "memory": format!("{}Mi", 256 << (i % 4))}}}],
            "priority": 0,
        });
        if spread {
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
    };
    (0..count).filter_map(one).collect()
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn run(what: &str, nodes: usize, pods: &[Pod], profile: &Profile) {
    let mut cluster = cluster(nodes);
    let mut search = Search::new(1, "bench");
    let before = resident_mb();
    let (mut placed, mut rates, mut total) = (0, Vec::new(), 0.0);
    for tenth in pods.chunks(pods.len().div_ceil(10)) {
        let start = cpu_seconds();
        for pod in tenth {
            let info = PodInfo::new(pod);
            if let Some(node) = search.choose(&mut cluster, &info, profile) {
                cluster.place(&node, Arc::new(info));
                placed += 1;
            }
        }
        let took = cpu_seconds() - start;
        total += took;
        rates.push((tenth.len() as f64 / took).round());
    }
    println!(
        "{what}: {:.0} pods/s, {placed} of {} placed, first tenth {} and last tenth {} pods/s, {:.0} MB for them",
        pods.len() as f64 / total,
        pods.len(),
        rates.first().unwrap_or(&0.0),
        rates.last().unwrap_or(&0.0),
        resident_mb() - before,
    );
}

fn main() {
    let default = Profile::default();
    let all = Profile { percentage_of_nodes_to_score: 100, ..Profile::default() };
    let plain = pods(50_000, 50, false);
    run("5,000 nodes, 50,000 pods, default sampling", 5000, &plain, &default);
    if std::env::args().any(|arg| arg == "plain") {
        return;
    }
    run("5,000 nodes, 5,000 pods, scoring all", 5000, &plain[..5000], &all);
    drop(plain);
    let spread = pods(30_000, 300, true);
    run("1,000 nodes, 30,000 pods, spread and anti-affinity", 1000, &spread, &default);
}
