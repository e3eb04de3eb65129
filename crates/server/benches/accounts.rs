//! How long accounts of large clusters take: by cluster, namespace, workload, label and node, over a month.
//!
//! `cargo bench -p server --bench accounts [-- CLUSTERS DAYS ROWS NODES]` (default 50 30 300 100). Figures, never pass or fail. Lines
//! of hours are written into a store on disk first, as a month of a fleet leaves them; then days are added up once, as is done
//! while nobody asks; then each question is asked of a process that remembers nothing.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used, clippy::panic)] // A benchmark that cannot go on ends.

use fleet::{
    ClusterId, GramsCo2, GramsCo2PerKwh, Instant, Joules, Money, NodeName, Provenance, SignalKind, Span,
};
use ledger::Labels;
use ledger::accounts::Question;
use ledger::allocation::{Hour, Owner, Stretch, Work};
use ledger::meter::Amounts;
use ledger::usage::{Heading, HourEntry, HourLine};
use server::hours::{Hours, prepare};
use server::wall::Stopwatch;
use std::sync::Arc;
use store::{Store, Write};

/// The product's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The last hour before another quarter of the day is added up: then most is left to be read hour by hour.
const END: &str = "2026-11-28T17:00:00Z";

/// Amounts as they come, none like another.
fn amounts(seed: i64) -> Amounts {
    let size = i128::from(1_000_000 + seed.wrapping_mul(7919).rem_euclid(90_000_000));
    Amounts {
        energy: Joules::from_microjoules(size * 3600),
        carbon: GramsCo2::from_micrograms(size * 41),
        cost: Money::from_nanos(size * 3),
        ..Amounts::default()
    }
}

fn work(cluster: usize, row: usize) -> Arc<Work> {
    let label = |key: &str, value: String| (Arc::from(key), Arc::from(value));
    let labels: Labels =
        [label("app", format!("service-{row}")), label("team", format!("team-{}", row % 12))]
            .into_iter()
            .collect();
    let owner = Owner { kind: "Deployment".into(), name: format!("service-{cluster}-{row}").into() };
    Arc::new(Work { namespace: format!("space-{}", row % 20).into(), owner, labels: Arc::new(labels) })
}

fn line(cluster: usize, start: Instant, works: &[Arc<Work>], nodes: &[NodeName]) -> HourEntry {
    let seed = start.as_unix_seconds() / 3600 * 31 + cluster as i64;
    // Most work costs the same from hour to hour, and emits as the grid goes.
    let row = |(i, work): (usize, &Arc<Work>)| {
        let steady = amounts(i as i64);
        let carbon = GramsCo2::from_micrograms(steady.carbon.as_micrograms() + i128::from(seed % 997) * 1000);
        (work.clone(), Amounts { carbon, ..steady })
    };
    let hour = Hour {
        seen: vec![Stretch { from: start, to: start + Span::HOUR }],
        intensity: GramsCo2PerKwh::from_grams_f64(400.0),
        rows: works.iter().enumerate().map(row).collect(),
        idle: amounts(seed),
        nodes: nodes
            .iter()
            .enumerate()
            .map(|(i, node)| (node.clone(), amounts(i as i64), amounts(seed + i as i64)))
            .collect(),
    };
    let from = Provenance { source: "typical year".to_owned(), kind: SignalKind::Assumed, as_of: start };
    let heading = Heading {
        cluster: ClusterId::new(&format!("c{cluster:02}")).unwrap(),
        hour: start,
        version: 1,
        replaces: None,
        recorded: start + Span::HOUR,
        intensity_from: from,
        use_from: None,
    };
    HourEntry::new(heading, hour)
}

fn seconds(watch: &Stopwatch) -> f64 {
    watch.elapsed().as_nanos() as f64 / 1e9
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |i: usize, usual: usize| words.get(i).map_or(usual, |word| word.parse().unwrap());
    let size = [number(0, 50), number(1, 30), number(2, 300), number(3, 100)];
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure(size));
}

async fn measure([clusters, days, rows, nodes]: [usize; 4]) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let end = Instant::parse(END).unwrap();
    let start = end.floor_to(Span::DAY) - Span::DAY.scaled(days as i64, 1);
    let names: Vec<NodeName> = (0..nodes).map(|i| NodeName::new(&format!("node-{i:04}")).unwrap()).collect();
    let works: Vec<Vec<Arc<Work>>> =
        (0..clusters).map(|c| (0..rows).map(|row| work(c, row)).collect()).collect();
    let (mut hour, mut lines, mut bytes) = (start, 0u64, 0u64);
    while hour < end {
        let mut last = None;
        for (c, works) in works.iter().enumerate() {
            let entry = line(c, hour, works, &names);
            let (id, cluster, recorded) = (entry.id.clone(), entry.cluster.to_string(), entry.recorded);
            let body = serde_json::to_string(&HourLine::Whole(Box::new(entry))).unwrap();
            (lines, bytes) = (lines + 1, bytes + body.len() as u64);
            last = Some(store.append(Write::Usage { id, cluster, hour, recorded, body }));
        }
        last.unwrap().await.unwrap();
        hour += Span::HOUR;
    }
    println!(
        "{clusters} clusters, {days} days, {rows} rows and {nodes} nodes each: {lines} lines, {:.0} MB",
        bytes as f64 / 1e6
    );
    let watch = Stopwatch::start();
    prepare(&store, end).await.unwrap();
    println!("days added up for the first time: {:.1} s", seconds(&watch));
    let month = ledger::month(end).0;
    for by in ["cluster", "namespace", "label:team", "workload", "node"] {
        let question = Question { by: by.parse().unwrap(), from: month, to: end, now: end };
        let watch = Stopwatch::start();
        let accounts = Hours::default().accounts(&store, question, Vec::new()).await.unwrap();
        println!("the month by {by}: {:.2} s, {} rows", seconds(&watch), accounts.rows.len());
    }
}
