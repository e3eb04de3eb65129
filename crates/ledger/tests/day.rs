//! Days added up: accounts made from them are those made from their hours.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use fleet::{
    ClusterId, GramsCo2, GramsCo2PerKwh, Instant, Joules, Money, NodeName, Provenance, SignalKind, Span,
};
use ledger::Labels;
use ledger::accounts::{By, Fold, Question};
use ledger::allocation::{Hour, Owner, Stretch, Work};
use ledger::day::{Day, FORMAT, Kept, Level, day_of};
use ledger::meter::Amounts;
use ledger::usage::{Heading, HourEntry};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A Sunday, so that weeks and months break in the time looked at.
fn at(hours: i64) -> Instant {
    Instant::parse("2026-11-29T00:00:00Z").unwrap() + Span::HOUR.scaled(hours, 1)
}

fn amounts(size: i128) -> Amounts {
    Amounts {
        energy: Joules::from_microjoules(size * 7),
        carbon: GramsCo2::from_micrograms(size * 3),
        cost: Money::from_nanos(size),
        embodied: GramsCo2::from_micrograms(size / 5),
        ..Amounts::default()
    }
}

fn work(which: u8) -> Arc<Work> {
    let (namespace, kind, name) = match which % 6 {
        0 => ("shop", "Deployment", "web"),
        1 => ("shop", "Deployment", "api"),
        2 => ("data", "CronJob", "etl"),
        3 => ("data", "DaemonSet", "logs"),
        4 => ("kube-system", "Deployment", "dns"),
        _ => ("", "", ledger::usage::OTHER),
    };
    let team: &[(&str, &str)] = if which.is_multiple_of(3) { &[("team", "a")] } else { &[] };
    let labels: Labels = team.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
    let owner = Owner { kind: kind.into(), name: name.into() };
    Arc::new(Work { namespace: namespace.into(), owner, labels: Arc::new(labels) })
}

#[derive(Clone, Debug)]
struct Made {
    cluster: u8,
    hour: i64,
    rows: Vec<(u8, u32)>,
    idle: u32,
    seen: i64,
    source: u8,
}

fn entry(made: &Made) -> HourEntry {
    let start = at(made.hour);
    let rows: Vec<(Arc<Work>, Amounts)> =
        made.rows.iter().map(|(which, size)| (work(*which), amounts((*size).into()))).collect();
    let (busy, idle) = (rows.iter().map(|row| row.1).sum::<Amounts>(), amounts(made.idle.into()));
    let kind = [SignalKind::Measured, SignalKind::Estimated][usize::from(made.source % 2)];
    let from = |source: String| Provenance { source, kind, as_of: at(i64::from(made.source / 2)) };
    let heading = Heading {
        cluster: ClusterId::new(["kr", "jp", "uk"][usize::from(made.cluster % 3)]).unwrap(),
        hour: start,
        version: 1,
        replaces: None,
        recorded: start + Span::HOUR,
        intensity_from: from(format!("grid {}", made.source)),
        use_from: (made.source > 3).then(|| from(format!("meter {}", made.source))),
    };
    let hour = Hour {
        seen: vec![Stretch { from: start, to: start + Span::from_seconds(made.seen) }],
        intensity: GramsCo2PerKwh::from_grams_f64(400.0),
        rows,
        idle,
        nodes: vec![
            (NodeName::new("n").unwrap(), busy, Amounts::default()),
            (NodeName::new("m").unwrap(), Amounts::default(), idle),
        ],
    };
    HourEntry::new(heading, hour)
}

fn hours() -> impl Strategy<Value = Vec<HourEntry>> {
    let rows = prop::collection::vec((0u8..18, 0u32..1_000_000_000), 0..6);
    let made = (0u8..3, -900i64..100, rows, 0u32..1_000_000_000, 1i64..3600, 0u8..8);
    let made = made.prop_map(|(cluster, hour, rows, idle, seen, source)| Made {
        cluster,
        hour,
        rows,
        idle,
        seen,
        source,
    });
    prop::collection::vec(made, 1..60).prop_map(|all| {
        // One line an hour of a cluster.
        let once: BTreeMap<(u8, i64), Made> = all.into_iter().map(|m| ((m.cluster, m.hour), m)).collect();
        let mut entries: Vec<HourEntry> = once.values().map(entry).collect();
        entries.sort_by(|a, b| (a.hour, &a.cluster).cmp(&(b.hour, &b.cluster)));
        entries
    })
}

fn by() -> impl Strategy<Value = By> {
    prop::sample::select(vec![
        By::Cluster,
        By::Namespace,
        By::Workload,
        By::Node,
        By::Label("team".to_owned()),
    ])
}

/// Days where they may be taken in whole, hours where not: as they are read from a store.
fn from_days(question: Question, entries: &[HourEntry]) -> (Fold, usize) {
    let mut fold = Fold::new(question);
    let mut days: BTreeMap<(Instant, ClusterId), Day> = BTreeMap::new();
    for entry in entries {
        let day = day_of(entry.hour);
        if fold.takes_whole(day, day + Span::DAY) {
            let fresh = || Day::new(entry.cluster.clone(), day);
            days.entry((day, entry.cluster.clone())).or_insert_with(fresh).take_in(fold.level(), entry);
        } else {
            fold.take_in(entry);
        }
    }
    for day in days.values() {
        let bytes = day.to_bytes();
        assert_eq!(Day::from_bytes(&bytes).unwrap(), *day, "as it is written and read");
        fold.take_in_day(&Kept::from_bytes(&bytes).unwrap()).unwrap();
    }
    (fold, days.len())
}

proptest! {
    #[test]
    fn accounts_of_days_are_those_of_their_hours(
        entries in hours(), by in by(), from in -950i64..90, length in 1i64..900, now in -200i64..100
    ) {
        let question = Question { by, from: at(from), to: at(from + length), now: at(now) };
        let mut fold = Fold::new(question.clone());
        entries.iter().for_each(|entry| fold.take_in(entry));
        let (days, _) = from_days(question, &entries);
        prop_assert_eq!(days.finish(), fold.finish());
    }

    #[test]
    fn bytes_that_are_no_day_are_refused(entries in hours(), at_ in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let first = &entries[0];
        let mut day = Day::new(first.cluster.clone(), day_of(first.hour));
        day.take_in(Level::Work, first);
        let bytes = day.to_bytes();
        prop_assert!(Day::from_bytes(&bytes[..cut.index(bytes.len())]).is_err(), "cut off");
        // Another byte may make another day, but no panic and nothing without bounds.
        let mut other = bytes.clone();
        other[at_.index(bytes.len())] = byte;
        let (whole, kept) = (Day::from_bytes(&other), Kept::from_bytes(&other));
        prop_assert_eq!(whole.is_err(), kept.is_err());
        other[0] = FORMAT + 1;
        prop_assert!(Day::from_bytes(&other).is_err(), "another format");
    }
}

#[test]
fn most_days_of_a_month_are_taken_whole() {
    let hours: Vec<HourEntry> = (-720..0)
        .map(|hour| entry(&Made { cluster: 0, hour, rows: vec![(0, 5)], idle: 1, seen: 3600, source: 0 }))
        .collect();
    let question = Question { by: By::Workload, from: at(-700), to: at(0), now: at(0) };
    let (fold, days) = from_days(question, &hours);
    assert_eq!(days, 29, "of thirty, all but the one that is asked for in part");
    assert_eq!(fold.finish().total.amounts, (0..700).map(|_| amounts(5) + amounts(1)).sum());
}
