//! How long a month of kept days takes to become accounts: reading their bytes, adding them up, and what is expected.
//!
//! `cargo bench -p ledger [-- CLUSTERS DAYS ROWS]` (default 50 30 300). Figures, never pass or fail. It is the part of an answer that is
//! not the store's; `cargo bench -p server --bench accounts` has the whole.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used, clippy::panic)] // A benchmark that cannot go on ends.

use fleet::{ClusterId, GramsCo2, GramsCo2PerKwh, Instant, Joules, Money, Provenance, SignalKind, Span};
use ledger::Labels;
use ledger::accounts::{Fold, Question};
use ledger::allocation::{Hour, Owner, Stretch, Work};
use ledger::day::{Day, Kept, Level, day_of};
use ledger::meter::Amounts;
use ledger::usage::{Heading, HourEntry};
use std::sync::Arc;

const END: &str = "2026-11-28T18:00:00Z";

/// Amounts as they come, none like another; emissions go as the grid goes.
fn amounts(row: i64, grid: i64) -> Amounts {
    let size = i128::from(1_000_000 + row.wrapping_mul(7919).rem_euclid(90_000_000));
    Amounts {
        energy: Joules::from_microjoules(size * 3600),
        carbon: GramsCo2::from_micrograms(size * 41 + i128::from(grid % 997) * 1000),
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

fn line(cluster: usize, start: Instant, works: &[Arc<Work>]) -> HourEntry {
    let seed = start.as_unix_seconds() / 3600 * 31 + cluster as i64;
    let heading = Heading {
        cluster: ClusterId::new(&format!("c{cluster:02}")).unwrap(),
        hour: start,
        version: 1,
        replaces: None,
        recorded: start + Span::HOUR,
        intensity_from: Provenance {
            source: "typical year".to_owned(),
            kind: SignalKind::Assumed,
            as_of: start,
        },
        use_from: None,
    };
    let row = |(i, work): (usize, &Arc<Work>)| (work.clone(), amounts(i as i64, seed));
    let hour = Hour {
        seen: vec![Stretch { from: start, to: start + Span::HOUR }],
        intensity: GramsCo2PerKwh::from_grams_f64(400.0),
        rows: works.iter().enumerate().map(row).collect(),
        idle: amounts(seed, seed),
        nodes: Vec::new(),
    };
    HourEntry::new(heading, hour)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |i: usize, usual: usize| words.get(i).map_or(usual, |word| word.parse().unwrap());
    let (clusters, days, rows) = (number(0, 50), number(1, 30), number(2, 300));
    let end = Instant::parse(END).unwrap();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for day in 0..days as i64 {
        let start = day_of(end) - Span::DAY.scaled(days as i64 - day, 1);
        for cluster in 0..clusters {
            let works: Vec<Arc<Work>> = (0..rows).map(|row| work(cluster, row)).collect();
            let mut sums = Day::new(ClusterId::new(&format!("c{cluster:02}")).unwrap(), start);
            for hour in 0..24 {
                sums.take_in(Level::Work, &line(cluster, start + Span::HOUR.scaled(hour, 1), &works));
            }
            kept.push(sums.to_bytes());
        }
    }
    let bytes: usize = kept.iter().map(Vec::len).sum();
    println!(
        "{clusters} clusters, {days} days, {rows} rows each: {} days kept, {:.1} MB",
        kept.len(),
        bytes as f64 / 1e6
    );
    for by in ["label:team", "workload"] {
        let question = Question { by: by.parse().unwrap(), from: ledger::month(end).0, to: end, now: end };
        let begun = std::time::Instant::now();
        let mut fold = Fold::new(question);
        for bytes in &kept {
            fold.take_in_day(&Kept::from_bytes(bytes).unwrap()).unwrap();
        }
        let read = begun.elapsed().as_secs_f64();
        let rows = fold.finish().rows.len();
        let all = begun.elapsed().as_secs_f64();
        println!("the month by {by}: {all:.2} s, of that {read:.2} s reading and adding up; {rows} rows");
    }
}
