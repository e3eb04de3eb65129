//! How fast a world runs: events and pods per second, and what saving and loading cost.
//!
//! Figures, never pass or fail. `cargo bench -p twin --bench world [-- backlog]` runs it, or only the full
//! queue; the fleet and the Jobs are fixed by a seed, so that two runs do the same work.

use fleet::{ClusterId, FleetSpec, Instant, Span};
use serde_json::json;
use std::time::Duration;
use twin::apiserver::{Options, Verb};
use twin::random::Stream;
use twin::{ChangeKind, Kind, Request, World};

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const JOBS: u64 = 4000;
const DAYS: i64 = 14;
const CLUSTERS: [(&str, &str); 5] = [
    ("kr", "ap-northeast-2"),
    ("jp", "ap-northeast-1"),
    ("de", "eu-central-1"),
    ("se", "eu-north-1"),
    ("us", "us-east-1"),
];

fn fleet() -> FleetSpec {
    let clusters: String = CLUSTERS
        .iter()
        .map(|(name, region)| {
            format!("- {{name: {name}, region: {region}, nodeGroups: [{{name: general, instanceType: m6i.4xlarge, count: 12}}]}}\n")
        })
        .collect();
    let text = format!("apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n{clusters}");
    fleet::file::parse(&text).expect("the fleet of the benchmark is well-formed")
}

fn job(i: u64, draw: &mut Stream) -> Request {
    let (cpu, parallelism, waves) = (1 + draw.below(4), 1 + draw.below(4), 1 + draw.below(2));
    let seconds = 300 + draw.below(4 * 3600);
    let body = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": format!("job-{i}"), "namespace": "default"},
        "spec": {
            "parallelism": parallelism, "completions": parallelism * waves, "ttlSecondsAfterFinished": 43_200,
            "template": {
                "metadata": {"annotations": {"twin.kubercarbon.io/run-for": format!("{seconds}s")}},
                "spec": {"restartPolicy": "Never", "containers": [{
                    "name": "main", "image": "registry.example.com/batch/worker:1.0",
                    "resources": {"requests": {"cpu": cpu.to_string(), "memory": "4Gi"}},
                }]},
            },
        },
    });
    Request {
        verb: Verb::Create,
        kind: Kind::Job,
        namespace: "default".to_owned(),
        name: String::new(),
        subresource: None,
        body,
        options: Options::default(),
    }
}

/// Runs `work` and says how long it took.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// Advances in steps short enough that no change falls out of the history; counts changes and bindings.
fn run(world: &mut World, clusters: &[ClusterId], to: Instant) -> (u64, u64) {
    let mut seen: Vec<u64> = clusters.iter().map(|id| world.objects(id).map_or(0, |o| o.version())).collect();
    let (mut changes, mut bound) = (0, 0);
    while world.now() < to {
        world.advance_to((world.now() + Span::HOUR).min(to));
        for (id, seen) in clusters.iter().zip(&mut seen) {
            let Some(objects) = world.objects(id) else { continue };
            for change in objects.changes_since(*seen).ok().into_iter().flatten() {
                changes += 1;
                let node = |s: &twin::Stored| {
                    s.object.as_pod().is_some_and(|p| p.spec.as_ref().is_some_and(|s| s.node_name.is_some()))
                };
                let newly = node(&change.object) && change.previous.as_ref().is_none_or(|p| !node(p));
                bound += u64::from(newly && change.kind != ChangeKind::Deleted);
            }
            *seen = objects.version();
        }
    }
    (changes, bound)
}

fn main() {
    let start = Instant::from_unix_seconds(1_640_995_200);
    if std::env::args().any(|arg| arg == "backlog") {
        return backlog(start);
    }
    let ids: Vec<ClusterId> = CLUSTERS.iter().filter_map(|(name, _)| ClusterId::new(name).ok()).collect();
    let (mut world, took) = timed(|| World::new(&fleet(), start, 1));
    println!("new world of {} clusters, 60 nodes: {:.2} ms", ids.len(), took.as_secs_f64() * 1e3);
    let mut draw = Stream::new(1, "bench");
    for i in 0..JOBS {
        let at = start + Span::from_seconds(draw.below(DAYS as u64 * 86_400) as i64);
        let cluster = &ids[draw.below(ids.len() as u64) as usize];
        world.schedule(at, cluster, job(i, &mut draw));
    }
    let end = start + Span::DAY.scaled(DAYS + 1, 1);
    let ((changes, bound), took) = timed(|| run(&mut world, &ids, end));
    let seconds = took.as_secs_f64();
    println!("{JOBS} jobs over {DAYS} days: {seconds:.2} s, refused {}", world.refused().count());
    println!("object changes: {changes}, {:.0} per second", changes as f64 / seconds);
    println!("pods scheduled: {bound}, {:.0} per second", bound as f64 / seconds);
    let (bytes, took) = timed(|| serde_json::to_vec(&world).unwrap_or_default());
    println!("save: {:.1} MB in {:.1} ms", bytes.len() as f64 / 1e6, took.as_secs_f64() * 1e3);
    let (loaded, took) = timed(|| serde_json::from_slice::<World>(&bytes));
    println!(
        "load: {:.1} ms, {}",
        took.as_secs_f64() * 1e3,
        if loaded.is_ok() { "whole" } else { "refused" }
    );
    backlog(start);
}

/// A thousand pods that wait for one another on a small cluster: what a full queue costs.
fn backlog(start: Instant) {
    let mut spec = fleet();
    spec.clusters.truncate(1);
    let ids = vec![spec.clusters[0].id.clone()];
    let mut world = World::new(&spec, start, 1);
    let mut draw = Stream::new(2, "bench");
    for i in 0..1000 {
        world.schedule(start, &ids[0], job(i, &mut draw));
    }
    let end = start + Span::DAY.scaled(10, 1);
    let ((changes, bound), took) = timed(|| run(&mut world, &ids, end));
    let seconds = took.as_secs_f64();
    println!(
        "backlog of 1000 jobs on 12 nodes: {seconds:.2} s, {:.0} changes per second, {:.0} pods scheduled per second",
        changes as f64 / seconds,
        bound as f64 / seconds
    );
}
