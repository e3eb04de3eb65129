//! One process that watches a large fleet: memory, processor time while nothing happens, time from a change to a new plan.
//!
//! `cargo bench -p server --bench watch [-- CLUSTERS PODS JOBS IDLE_SECONDS]` (default 50 100000 20000 60; nodes: one for 20
//! pods). Figures, never pass or fail. A process of its own plays the API servers (`api.rs`), so that its memory is not
//! counted; what is measured is the loop with its watches as `up --context …` runs them in mode `observe`, without console.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used, clippy::panic)] // A benchmark that cannot go on ends.

mod api;
mod objects;

use connect::Clients;
use connect::act::kube::Hands;
use connect::observe::carbon;
use connect::observe::kube::Source;
use control::{ClusterFacts, Control, Event, Settings};
use fleet::{ClusterId, GramsCo2PerKwh, GridZone, Instant, Mode, RegionId, Series, Span, builtin};
use server::engine::{self, Engine, WallClock};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::mpsc;

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Regions the clusters stand in, in turn: each has its zone.
const REGIONS: [&str; 16] = [
    "ap-northeast-2",
    "ap-northeast-1",
    "eu-west-2",
    "eu-central-1",
    "us-west-1",
    "us-east-1",
    "eu-north-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-west-3",
    "ap-south-1",
    "sa-east-1",
    "eu-west-1",
    "us-east-2",
    "eu-south-1",
    "us-west-2",
];
/// Each change is made so often; the median and the slowest are shown.
const TIMES: usize = 5;
/// What follows a first plan (freed memory, a second look) is over after this.
const SETTLE: Duration = Duration::from_secs(15);

/// The size of the fleet.
#[derive(Clone, Copy)]
pub struct Size {
    pub clusters: usize,
    pub pods: usize,
    pub jobs: usize,
}

impl Size {
    pub fn nodes_each(self) -> usize {
        (self.pods / self.clusters).div_ceil(20).max(1)
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let serve = words.first().is_some_and(|word| word == "serve");
    let numbers: Vec<usize> =
        words.iter().skip(usize::from(serve)).map(|word| word.parse().unwrap()).collect();
    let number = |i: usize, usual: usize| numbers.get(i).copied().unwrap_or(usual);
    let size = Size { clusters: number(0, 50), pods: number(1, 100_000), jobs: number(2, 20_000) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if serve {
        runtime.block_on(api::serve(size));
    } else {
        runtime.block_on(measure(size, Duration::from_secs(number(3, 60) as u64)));
    }
}

/// The process that plays the API servers; it ends with this one.
struct Api {
    child: Child,
    port: u16,
    /// Made once: making one reads the machine's certificates.
    client: kube::Client,
}

impl Api {
    fn start(size: Size) -> Api {
        let sizes = [size.clusters, size.pods, size.jobs].map(|n| n.to_string());
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg("serve").args(sizes).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        let url = format!("http://127.0.0.1:{port}").parse().unwrap();
        Api { child, port, client: kube::Client::try_from(kube::Config::new(url)).unwrap() }
    }
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
    /// Makes something happen there.
    async fn change(&self, path: &str) {
        let request = http::Request::get(format!("/change/{path}")).body(Vec::new()).unwrap();
        self.client.request_text(request).await.unwrap();
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn name(i: usize) -> ClusterId {
    ClusterId::new(&format!("c{i:02}")).unwrap()
}

fn facts(i: usize) -> ClusterFacts {
    let region = RegionId::new(REGIONS[i % REGIONS.len()]).unwrap();
    let known = builtin::region(&region).unwrap();
    ClusterFacts {
        id: name(i),
        region,
        grid_zone: known.grid_zone,
        pue_milli: known.pue_milli,
        labels: BTreeMap::new(),
        mode: Mode::Observe,
        context: format!("c{i:02}"),
        uid: None,
    }
}

/// A zone's signal, its expected values changed by so many thousandths, each hour another way.
fn signal(zone: &GridZone, now: Instant, permille: i64) -> Event {
    let known = carbon::typical_year(zone, now).unwrap_or_else(|| carbon::world_average(now));
    let changed = |(i, value): (usize, &GramsCo2PerKwh)| {
        let sign = if (i / 6) % 2 == 0 { 1 } else { -1 };
        GramsCo2PerKwh::from_milligrams(value.as_milligrams() * (1000 + sign * permille) / 1000)
    };
    let values = known.forecast.values().iter().enumerate().map(changed).collect();
    let forecast = Series::new(known.forecast.start(), known.forecast.step(), values).unwrap();
    carbon::ZoneSignal { forecast, ..known }.into_event(zone.clone())
}

/// Resident memory now and at its peak, in MB.
fn memory() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| -> f64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1000.0
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Processor time of this process so far, in seconds.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, in hundredths of a second (USER_HZ).
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

struct Fleet {
    engine: Engine,
    api: Api,
    size: Size,
}

impl Fleet {
    async fn start(size: Size) -> Fleet {
        let api = Api::start(size);
        let store = Store::memory().await.unwrap();
        let hands = Arc::new(Hands { clients: Clients::default(), fence: None });
        let inbox = mpsc::channel(engine::INBOX);
        let engine =
            Engine::start(Control::new(Settings::default()), Arc::new(WallClock), hands, store, inbox);
        tokio::spawn(server::pacer::keep_wall_time(engine.clone(), Arc::new(WallClock)));
        for i in 0..size.clusters {
            engine.tell(Event::Cluster(facts(i))).await.unwrap();
        }
        let fleet = Fleet { engine, api, size };
        fleet.tell_signals(0).await;
        for i in 0..size.clusters {
            let config = kube::Config::new(fleet.api.url(&format!("c/{i}")).parse().unwrap());
            let client = connect::client_that_reads(config).unwrap();
            let source =
                Source { facts: facts(i), client, known: None, instances: Arc::default(), inventory: true };
            tokio::spawn(fleet.engine.clone().follow(source));
        }
        fleet
    }

    async fn tell_signals(&self, permille: i64) {
        let now = server::wall::now();
        let zones: BTreeMap<GridZone, ()> =
            (0..self.size.clusters).map(|i| (facts(i).grid_zone, ())).collect();
        for zone in zones.into_keys() {
            self.engine.tell(signal(&zone, now, permille)).await.unwrap();
        }
    }

    /// When the plan in force was made, and for how many Jobs.
    fn planned(&self) -> Option<(Instant, usize)> {
        self.engine.ask(|control, _| control.planned())
    }

    /// Waits for a plan that is as wanted; gives how long that took.
    async fn until(&self, wanted: impl Fn(Instant, usize) -> bool) -> Span {
        let from = server::wall::now();
        loop {
            if self.planned().is_some_and(|(at, jobs)| wanted(at, jobs)) {
                return server::wall::now() - from;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn shown(name: &str, mut took: Vec<Span>) {
    took.sort();
    let ms = |span: Span| span.as_nanos() as f64 / 1e6;
    println!(
        "{name}: {:.0} ms in the median of {}, {:.0} at most",
        ms(took[took.len() / 2]),
        took.len(),
        ms(took[took.len() - 1])
    );
}

async fn measure(size: Size, idle: Duration) {
    let Size { clusters, pods, jobs } = size;
    println!("{clusters} clusters, {} nodes, {pods} pods, {jobs} Jobs", clusters * size.nodes_each());
    println!("memory at the start: {:.0} MB", memory().0);
    let begun = server::wall::now();
    let fleet = Fleet::start(size).await;
    // Jobs come while others are listed: the first plan of all of them counts.
    fleet.until(|_, planned| planned == jobs).await;
    let took = (server::wall::now() - begun).as_nanos() as f64 / 1e9;
    println!(
        "from the start to a plan of every Job: {took:.1} s, {:.1} s of a core, peak {:.0} MB",
        processor(),
        memory().1
    );
    tokio::time::sleep(SETTLE).await;
    let before = processor();
    tokio::time::sleep(idle).await;
    let share = (processor() - before) / idle.as_secs_f64() * 100.0;
    println!("idle for {} s: {share:.2} % of a core, {:.0} MB", idle.as_secs(), memory().0);
    let mut took = Vec::new();
    for i in 0..TIMES {
        let (at, before) = (server::wall::now(), fleet.planned().unwrap().1);
        fleet.api.change(&format!("job/{}", i * 7 % clusters)).await;
        fleet.until(|_, planned| planned > before).await;
        took.push(server::wall::now() - at);
    }
    shown("a Job arrives", took);
    let mut took = Vec::new();
    for i in 0..TIMES {
        let at = server::wall::now();
        fleet.api.change(&format!("node/{}/{i}", i * 11 % clusters)).await;
        fleet.until(|planned, _| planned > at).await;
        took.push(server::wall::now() - at);
    }
    shown("a node is lost", took);
    let mut took = Vec::new();
    for i in 0..TIMES {
        let at = server::wall::now();
        // Each time another way, and by more than a plan waits for (`control` plans for 5 % promptly).
        fleet.tell_signals(if i % 2 == 0 { 100 } else { -100 }).await;
        fleet.until(|planned, _| planned > at).await;
        took.push(server::wall::now() - at);
    }
    shown("every forecast is new", took);
    let before = processor();
    fleet.api.change("churn/50").await;
    tokio::time::sleep(idle).await;
    let share = (processor() - before) / idle.as_secs_f64() * 100.0;
    println!("50 changes of pods a second: {share:.2} % of a core");
    println!("memory in the end: {:.0} MB, peak {:.0} MB", memory().0, memory().1);
}
