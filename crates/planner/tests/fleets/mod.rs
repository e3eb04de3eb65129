//! Fleets for tests and benchmarks.

use fleet::{
    Bytes, ClusterId, ClusterSnapshot, Cpu, GramsCo2PerKwh, GridZone, Instant, JobKey, MoneyPerHour,
    ObjectName, Policy, PolicyKind, Provenance, Rates, RegionId, Resources, Series, SignalKind, Snapshot,
    Span, Watts, Workload,
};
use std::collections::BTreeMap;

pub const NAMES: [&str; 6] = ["de", "es", "jp", "kr", "nl", "us"];

/// Hours and minutes after midnight of the tests' first day.
pub fn at(hours: i64, minutes: i64) -> Instant {
    Instant::parse("2026-05-01T00:00:00Z").unwrap() + Span::from_seconds(hours * 3600 + minutes * 60)
}

pub fn cluster_id(i: usize) -> ClusterId {
    ClusterId::new(NAMES[i]).unwrap()
}

pub fn resources(cores: f64, gib: i64, pods: i64) -> Resources {
    Resources { cpu: Cpu::from_millis((cores * 1000.0) as i64), memory: Bytes::from_gib(gib), gpu: 0, pods }
}

/// A cluster of `nodes` nodes of 7.91 cores, with this intensity by hour from midnight on.
pub fn cluster(i: usize, nodes: i64, grams: &[f64]) -> ClusterSnapshot {
    let node = resources(7.91, 29, 58);
    let values = grams.iter().map(|g| GramsCo2PerKwh::from_grams_f64(*g)).collect();
    ClusterSnapshot {
        id: cluster_id(i),
        region: RegionId::new("ap-northeast-2").unwrap(),
        grid_zone: GridZone::new("KR").unwrap(),
        reachable: true,
        labels: BTreeMap::new(),
        allocatable: node.times(nodes),
        free: node.times(nodes),
        nodes: vec![node; nodes as usize],
        rates: Rates {
            core_power: Watts::from_watts_f64(4.0),
            gpu_power: Watts::ZERO,
            core_price: MoneyPerHour::from_units_f64(0.05),
            gpu_price: MoneyPerHour::ZERO,
            embodied: None,
        },
        intensity: Series::new(at(0, 0), Span::HOUR, values).unwrap(),
        spread: None,
        intensity_from: Provenance { source: "test".to_owned(), kind: SignalKind::Forecast, as_of: at(0, 0) },
    }
}

/// A Job of one pod at home in cluster `home`, released at midnight, without a deadline.
pub fn job(name: &str, home: usize, hours: f64, cores: f64) -> Workload {
    let id = |text: &str| ObjectName::new(text).unwrap();
    Workload {
        key: JobKey { cluster: cluster_id(home), namespace: id("demo"), name: id(name) },
        release: at(0, 0),
        deadline: None,
        duration: Span::from_hours_f64(hours).unwrap(),
        margin: Span::ZERO,
        prompt: false,
        duration_stated: true,
        pod: resources(cores, 1, 1),
        parallelism: 1,
        interruptible: false,
        allowed: None,
        data: None,
        priority: 0,
        pinned: None,
        running: false,
        shapes: Vec::new(),
        may_be_cut: false,
    }
}

pub fn due(mut job: Workload, deadline: Instant) -> Workload {
    job.deadline = Some(deadline);
    job
}

pub fn snapshot(now: Instant, clusters: Vec<ClusterSnapshot>, mut workloads: Vec<Workload>) -> Snapshot {
    workloads.sort_by(|a, b| a.key.cmp(&b.key));
    let n = clusters.len();
    let table = |same: f64, other: f64| -> Vec<Vec<f64>> {
        (0..n)
            .map(|i| {
                (0..n).map(|j| if i == j { same } else { other + (i + j) as f64 * other / 10.0 }).collect()
            })
            .collect()
    };
    Snapshot {
        at: now,
        clusters,
        workloads,
        expected: Vec::new(),
        latency_ms: table(1.0, 40.0),
        transfer_kwh_per_gb: table(0.0, 0.005),
        transfer_price_per_gb: 0.02,
    }
}

pub fn policy(kind: PolicyKind) -> Policy {
    Policy { kind, ..Policy::default() }
}
