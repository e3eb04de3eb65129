//! An API server under load, so that a twin and kube-apiserver can be told apart by figures alone.
//!
//! `cargo bench -p kubeapi --bench apiserver -- KUBECONFIG [pids=A,B] [pods=10000] [list=100000] [watches=1000]
//! [changes=10000] [clients=8]` works on the first cluster of a kubeconfig, in namespaces of its own: it makes pods (of a scheduler that is
//! not there, so that nothing but the API works), reads, changes and lists them, makes more until there are `list`, and
//! changes ConfigMaps under `watches` watches. `pids` are the processes whose processor time and memory count (a twin is one, a real server
//! two: kube-apiserver and etcd). Figures, never pass or fail; requests a second, milliseconds, seconds of one core for
//! a thousand requests, megabytes.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used, clippy::panic)] // A benchmark that cannot go on ends.

mod client;
mod process;

use client::Server;
use process::Processes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
/// How often a list is asked for.
const LISTS: usize = 10;
/// Watches of which each event's time on the way is taken; of the others they are counted.
const TIMED_MAX: usize = 10;
/// What ConfigMaps change in turn.
const MAPS: usize = 10;
/// A watch that has heard nothing for so long hears nothing any more.
const QUIET: Duration = Duration::from_secs(20);

struct Bench {
    server: Arc<Server>,
    processes: Processes,
    clients: usize,
}

/// What is asked: method, path, media type and body of the request of a number.
type Ask = Arc<dyn Fn(usize) -> (&'static str, String, &'static str, String) + Send + Sync>;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(kubeconfig) = words.first().map(PathBuf::from) else {
        println!("skipped: no kubeconfig given");
        return;
    };
    let find = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str, usual: usize| find(name).map_or(usual, |text| text.parse().unwrap());
    let bench = Bench {
        server: Arc::new(Server::of(&kubeconfig)),
        processes: Processes::of(find("pids").unwrap_or_default()),
        clients: number("clients", 8),
    };
    let (pods, list) = (number("pods", 10_000), number("list", 100_000));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        bench.pods(pods, list).await;
        bench.watches(number("watches", 1000), number("changes", 10_000)).await;
    });
}

fn pod(number: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"pod-{number:06}","labels":{{"app":"bench","number":"{number}"}}}},"spec":{{"schedulerName":"nobody","containers":[{{"name":"main","image":"example.com/app:1","resources":{{"requests":{{"cpu":"100m","memory":"128Mi"}},"limits":{{"memory":"256Mi"}}}},"env":[{{"name":"A","value":"1"}}],"ports":[{{"containerPort":8080}}]}}]}}}}"#
    )
}

impl Bench {
    async fn namespace(&self, name: &str) {
        let body = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{name}"}}}}"#);
        let (code, answer) = self.server.connect().await.ask("POST", "/api/v1/namespaces", JSON, &body).await;
        assert_eq!(code, 201, "{}", String::from_utf8_lossy(&answer));
    }

    async fn pods(&self, pods: usize, list: usize) {
        const PODS: &str = "/api/v1/namespaces/bench-pods/pods";
        self.namespace("bench-pods").await;
        self.processes.report("at rest");
        let create: Ask = Arc::new(|n| ("POST", PODS.to_owned(), JSON, pod(n)));
        self.run("create pods", 0, pods, &create).await;
        self.processes.report(&format!("with {pods} pods"));
        let get: Ask = Arc::new(|n| ("GET", format!("{PODS}/pod-{n:06}"), "", String::new()));
        self.run("get pods", 0, pods, &get).await;
        let label = |n: usize| format!(r#"{{"metadata":{{"labels":{{"changed":"{n}"}}}}}}"#);
        let patch: Ask = Arc::new(move |n| ("PATCH", format!("{PODS}/pod-{n:06}"), MERGE, label(n)));
        self.run("patch pods", 0, pods, &patch).await;
        let whole: Ask = Arc::new(|_| ("GET", PODS.to_owned(), "", String::new()));
        self.run(&format!("list {pods} pods"), 0, LISTS, &whole).await;
        if list > pods {
            self.run("create more pods", pods, list - pods, &create).await;
            self.processes.report(&format!("with {list} pods"));
            self.run(&format!("list {list} pods"), 0, LISTS, &whole).await;
            self.processes.report("after the lists");
        }
    }

    /// Asks `count` times from number `first` on, as many at a time as there are clients.
    async fn run(&self, what: &str, first: usize, count: usize, ask: &Ask) {
        let next = Arc::new(AtomicUsize::new(first));
        let (begun, used) = (Instant::now(), self.processes.cpu_seconds());
        let one = |_| {
            let (next, server, ask) = (next.clone(), self.server.clone(), ask.clone());
            tokio::spawn(async move {
                let (mut connection, mut times, mut bytes) = (server.connect().await, Vec::new(), 0);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + count {
                        return (times, bytes);
                    }
                    let (method, path, media, body) = ask(number);
                    let asked = Instant::now();
                    let (code, answer) = connection.ask(method, &path, media, &body).await;
                    times.push(asked.elapsed());
                    bytes += answer.len();
                    assert!(code < 300, "{method} {path}: {code}: {}", String::from_utf8_lossy(&answer));
                }
            })
        };
        let clients: Vec<_> = (0..self.clients.min(count)).map(one).collect();
        let (mut times, mut bytes) = (Vec::new(), 0);
        for client in clients {
            let (more, answered) = client.await.unwrap();
            times.extend(more);
            bytes += answered;
        }
        let took = begun.elapsed().as_secs_f64();
        let used = self.processes.cpu_seconds() - used;
        show(what, count, took, &mut times, used);
        println!("{:<24} {:>10.1} MB of answers", "", bytes as f64 / 1e6);
    }

    async fn watches(&self, watches: usize, changes: usize) {
        self.namespace("bench-watch").await;
        const MAPS_AT: &str = "/api/v1/namespaces/bench-watch/configmaps";
        let map = |n: usize| {
            format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"map-{n}"}},"data":{{"n":"-"}}}}"#
            )
        };
        let create: Ask = Arc::new(move |n| ("POST", MAPS_AT.to_owned(), JSON, map(n)));
        self.run("create ConfigMaps", 0, MAPS, &create).await;
        let (_, answer) = self.server.connect().await.ask("GET", MAPS_AT, "", "").await;
        let list: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let path = format!("{MAPS_AT}?watch=true&resourceVersion={version}");
        let (base, ready) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let sent: Arc<Vec<AtomicU64>> = Arc::new((0..changes).map(|_| AtomicU64::new(0)).collect());
        let listen = |number: usize| {
            let heard = Heard { base, sent: sent.clone(), timed: number < TIMED_MAX };
            let (server, path, ready) = (self.server.clone(), path.clone(), ready.clone());
            tokio::spawn(async move {
                let mut connection = server.connect().await;
                connection.watch(&path).await;
                ready.fetch_add(1, Ordering::Relaxed);
                heard.all(connection, changes).await
            })
        };
        let listening: Vec<_> = (0..watches).map(listen).collect();
        while ready.load(Ordering::Relaxed) < watches {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.processes.report(&format!("with {watches} watches"));
        let (begun, used) = (Instant::now(), self.processes.cpu_seconds());
        let marks = sent.clone();
        let change: Ask = Arc::new(move |n| {
            marks[n].store(base.elapsed().as_nanos() as u64, Ordering::Relaxed);
            ("PATCH", format!("{MAPS_AT}/map-{}", n % MAPS), MERGE, format!(r#"{{"data":{{"n":"{n}"}}}}"#))
        });
        self.run("change ConfigMaps", 0, changes, &change).await;
        let (mut events, mut broken, mut times, mut last) = (0, 0, Vec::new(), begun);
        for heard in listening {
            let (count, way, at) = heard.await.unwrap();
            events += count;
            broken += usize::from(count < changes);
            times.extend(way);
            last = last.max(at);
        }
        let took = last.duration_since(begun).as_secs_f64();
        show("events told", events, took, &mut times, self.processes.cpu_seconds() - used);
        println!("{:<24} {broken:>10} of {watches} watches did not hear everything", "");
        self.processes.report("after the watches");
    }
}

/// What one watch does with what it hears.
struct Heard {
    base: Instant,
    sent: Arc<Vec<AtomicU64>>,
    timed: bool,
}

impl Heard {
    /// Listens until all changes were heard of; how many were, the times they took, and when the last one came.
    async fn all(
        self,
        mut connection: client::Connection,
        changes: usize,
    ) -> (usize, Vec<Duration>, Instant) {
        let (mut count, mut times, mut last) = (0, Vec::new(), Instant::now());
        let mut lines = Vec::new();
        while count < changes {
            let chunk = tokio::time::timeout(QUIET, connection.chunk(&mut lines));
            if !chunk.await.unwrap_or(false) {
                break;
            }
            let Some(end) = lines.iter().rposition(|byte| *byte == b'\n') else { continue };
            last = Instant::now();
            for line in lines[..end].split(|byte| *byte == b'\n') {
                count += usize::from(!line.starts_with(br#"{"type":"ERROR""#));
                if self.timed {
                    times.extend(self.way(line));
                }
            }
            lines.drain(..=end);
        }
        (count, times, last)
    }

    /// How long an event was on its way since its change was asked for.
    fn way(&self, line: &[u8]) -> Option<Duration> {
        let event: serde_json::Value = serde_json::from_slice(line).ok()?;
        let number: usize = event["object"]["data"]["n"].as_str()?.parse().ok()?;
        let sent = Duration::from_nanos(self.sent.get(number)?.load(Ordering::Relaxed));
        Some(self.base.elapsed().saturating_sub(sent))
    }
}

fn show(what: &str, count: usize, seconds: f64, times: &mut [Duration], cpu_seconds: f64) {
    times.sort_unstable();
    let at = |share: f64| {
        let place = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    let (rate, cpu) = (count as f64 / seconds, cpu_seconds / count as f64 * 1e6);
    println!(
        "{what:<24} {count:>8} in {seconds:>7.2} s {rate:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  {cpu:>9.1} µs of a core each",
        at(0.50),
        at(0.99)
    );
}
