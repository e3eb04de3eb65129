//! Lines of clusters' hours, their versions, and accounts over them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use fleet::{
    ClusterId, GramsCo2, GramsCo2PerKwh, Instant, Joules, Money, NodeName, Provenance, SignalKind, Span,
};
use ledger::Labels;
use ledger::accounts::{Accounts, By, Fold, Part, Question};
use ledger::allocation::{Hour, Owner, Stretch, Work};
use ledger::meter::Amounts;
use ledger::usage::{
    CarbonCorrection, Heading, HourEntry, HourLine, LABEL_BYTES_MAX, Latest, NODES_MAX, OTHER, ROWS_MAX,
    Replaces, hour_id,
};
use proptest::prelude::*;
use std::sync::Arc;

fn at(hours: i64) -> Instant {
    Instant::parse("2026-11-01T00:00:00Z").unwrap() + Span::HOUR.scaled(hours, 1)
}
fn provenance(kind: SignalKind) -> Provenance {
    Provenance { source: "somewhere".to_owned(), kind, as_of: at(0) }
}
fn amounts(size: i128) -> Amounts {
    Amounts {
        energy: Joules::from_microjoules(size * 7),
        carbon: GramsCo2::from_micrograms(size * 3),
        cost: Money::from_nanos(size),
        ..Amounts::default()
    }
}
fn work(namespace: &str, kind: &str, name: &str, labels: &[(&str, &str)]) -> Arc<Work> {
    let labels: Labels = labels.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect();
    let owner = Owner { kind: kind.into(), name: name.into() };
    Arc::new(Work { namespace: namespace.into(), owner, labels: Arc::new(labels) })
}
fn hour(start: Instant, rows: Vec<(Arc<Work>, Amounts)>, idle: Amounts) -> Hour {
    let busy: Amounts = rows.iter().map(|row| row.1).sum();
    Hour {
        seen: vec![Stretch { from: start, to: start + Span::HOUR }],
        intensity: GramsCo2PerKwh::from_grams_f64(400.0),
        rows,
        idle,
        nodes: vec![(NodeName::new("n").unwrap(), busy, idle)],
    }
}
fn heading(cluster: &str, start: Instant) -> Heading {
    Heading {
        cluster: ClusterId::new(cluster).unwrap(),
        hour: start,
        version: 1,
        replaces: None,
        recorded: start + Span::HOUR,
        intensity_from: provenance(SignalKind::Estimated),
        use_from: None,
    }
}
/// An hour of a cluster: web and batch in two namespaces, the proxy on every node, half of it idle.
fn entry(cluster: &str, start: Instant) -> HourEntry {
    let rows = vec![
        (work("shop", "Deployment", "web", &[("team", "a")]), amounts(100)),
        (work("data", "CronJob", "etl", &[("team", "b")]), amounts(60)),
        (work("data", "Job", "fit", &[]), amounts(25)),
        (work("data", "DaemonSet", "logs", &[("team", "b")]), amounts(10)),
        (work("kube-system", "Deployment", "dns", &[]), amounts(5)),
    ];
    HourEntry::new(heading(cluster, start), hour(start, rows, amounts(200)))
}
fn answer(by: By, from: i64, to: i64, now: i64, entries: &[HourEntry]) -> Accounts {
    let mut fold = Fold::new(Question { by, from: at(from), to: at(to), now: at(now) });
    entries.iter().for_each(|entry| fold.take_in(entry));
    fold.finish()
}
fn shown(accounts: &Accounts) -> Vec<(String, i128)> {
    let name = |part: &Part| match part {
        Part::Named { cluster, namespace, name } => {
            let parts = [cluster.as_ref().map(ToString::to_string), namespace.clone(), Some(name.clone())];
            parts.into_iter().flatten().collect::<Vec<_>>().join("/")
        }
        other => format!("{other:?}"),
    };
    accounts.rows.iter().map(|row| (name(&row.part), row.amounts.cost.as_nanos())).collect()
}

#[test]
fn accounts_are_made_by_anything_with_shared_and_idle_apart() {
    let two = [entry("kr", at(0)), entry("jp", at(0))];
    let by = |by: By| answer(by, 0, 1, 1, &two);
    let expect = |found: Accounts, rows: &[(&str, i128)]| {
        let rows: Vec<(String, i128)> = rows.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect();
        assert_eq!(shown(&found), rows);
        assert_eq!(found.total.amounts, amounts(800));
        assert_eq!(found.total.idle, amounts(400));
    };
    expect(by(By::Cluster), &[("jp", 400), ("kr", 400)]);
    assert_eq!(by(By::Cluster).rows[0].shared, amounts(15));
    expect(by(By::Node), &[("jp/n", 400), ("kr/n", 400)]);
    expect(by(By::Namespace), &[("shop", 200), ("data", 170), ("Shared", 30), ("Idle", 400)]);
    expect(
        by(By::Workload),
        &[
            ("jp/shop/Deployment/web", 100),
            ("kr/shop/Deployment/web", 100),
            ("jp/data/CronJob/etl", 60),
            ("kr/data/CronJob/etl", 60),
            ("jp/data/Job/fit", 25),
            ("kr/data/Job/fit", 25),
            ("Shared", 30),
            ("Idle", 400),
        ],
    );
    expect(
        by(By::Label("team".into())),
        &[("a", 200), ("b", 120), ("Unlabelled", 50), ("Shared", 30), ("Idle", 400)],
    );
    assert_eq!(by(By::Namespace).total.shared, amounts(30));
}

#[test]
fn what_is_asked_for_is_read_and_coverage_says_what_was_seen() {
    let mut entries: Vec<HourEntry> = [0, 1, 5].map(|h| entry("kr", at(h))).to_vec();
    entries[1].seen[0].to = at(1) + Span::from_seconds(600);
    let all = answer(By::Cluster, 0, 9, 6, &entries);
    assert_eq!(all.total.amounts, amounts(1200));
    let coverage = &all.coverage[0];
    assert_eq!(
        (coverage.since, coverage.seen.as_seconds(), coverage.of),
        (at(0), 7800, Span::HOUR.scaled(6, 1))
    );
    assert_eq!(answer(By::Cluster, 1, 5, 6, &entries).total.amounts, amounts(400));
    let none = answer(By::Namespace, 7, 9, 6, &entries);
    assert!(none.rows.is_empty() && none.total.amounts == Amounts::default());
}

#[test]
fn a_month_is_expected_to_end_as_the_last_days_went() {
    // Ten days of every hour: each hour costs 400.
    let entries: Vec<HourEntry> = (0..240).map(|h| entry("kr", at(h))).collect();
    let found = answer(By::Namespace, 0, 240, 240, &entries);
    assert_eq!((found.days, found.hours_known), (10.0, 1.0));
    let expected = found.total.expected;
    assert_eq!((expected.cost_so_far.as_nanos(), expected.cost.as_nanos()), (240 * 400, 720 * 400));
    let shop = &found
        .rows
        .iter()
        .find(|row| matches!(&row.part, Part::Named { name, .. } if name == "shop"))
        .unwrap();
    assert_eq!(shop.expected.carbon.as_micrograms(), 720 * 300);
    // The rows' expectations sum to the total's, and the range asked for does not matter.
    let short = answer(By::Namespace, 239, 240, 240, &entries);
    assert_eq!(short.total.expected, expected);
    let sum: i128 = found.rows.iter().map(|row| row.expected.cost.as_nanos()).sum();
    assert_eq!(sum, expected.cost.as_nanos());
}

#[test]
fn a_line_is_bounded_and_nothing_is_dropped() {
    let long = "x".repeat(60);
    let labels: Vec<(String, String)> = (0..16).map(|i| (format!("{long}{i:03}"), long.clone())).collect();
    let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let rows: Vec<(Arc<Work>, Amounts)> = (0..2000)
        .map(|i| {
            let kind = if i % 10 == 0 { "DaemonSet" } else { "Deployment" };
            (work(&format!("{long}{}", i % 90), kind, &format!("{long}{i}"), &labels), amounts(i + 1))
        })
        .collect();
    let total: Amounts = rows.iter().map(|row| row.1).sum();
    let shared: Amounts = rows.iter().filter(|row| row.0.shared()).map(|row| row.1).sum();
    let mut made = hour(at(0), rows, amounts(5));
    made.nodes =
        (0..3000).map(|i| (NodeName::new(&format!("{long}{i}")).unwrap(), amounts(i), amounts(1))).collect();
    let nodes: Amounts = made.nodes.iter().map(|(_, busy, idle)| *busy + *idle).sum();
    let entry = HourEntry::new(heading("kr", at(0)), made);
    assert!(entry.rows.len() <= ROWS_MAX && entry.nodes.len() <= NODES_MAX);
    assert_eq!(entry.total(), total + amounts(5));
    assert_eq!(entry.rows.iter().filter(|r| r.shared).map(|r| r.amounts).sum::<Amounts>(), shared);
    assert_eq!(entry.nodes.iter().map(|n| n.busy + n.idle).sum::<Amounts>(), nodes);
    assert!(
        entry
            .rows
            .iter()
            .all(|r| r.labels.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() <= LABEL_BYTES_MAX)
    );
    assert!(entry.rows.iter().any(|row| &*row.owner.name == OTHER));
    let body = serde_json::to_string(&HourLine::Whole(Box::new(entry.clone()))).unwrap();
    assert!(body.len() < 1 << 20, "{}", body.len());
    // What goes on from it after a restart keeps what is shared.
    let again = HourEntry::new(heading("kr", at(0)), entry.to_hour());
    assert_eq!((again.rows.len(), again.total()), (entry.rows.len(), entry.total()));
    assert_eq!(again.rows.iter().filter(|r| r.shared).map(|r| r.amounts).sum::<Amounts>(), shared);
    let found = answer(By::Namespace, 0, 1, 1, &[entry]);
    assert!(found.rows.iter().any(|row| row.part == Part::Other));
    assert_eq!(found.total.amounts, total + amounts(5));
}

fn correction(of: &HourEntry, version: u32, grams: f64) -> CarbonCorrection {
    let intensity = GramsCo2PerKwh::from_grams_f64(grams);
    CarbonCorrection {
        id: hour_id(&of.cluster, of.hour, version),
        cluster: of.cluster.clone(),
        hour: of.hour,
        version,
        replaces: Replaces { id: of.id.clone(), why: "known better".to_owned() },
        recorded: of.recorded + Span::HOUR,
        intensity,
        intensity_from: provenance(SignalKind::Measured),
        carbon: (of.total().carbon, of.carbon_at(intensity)),
    }
}

#[test]
fn the_latest_version_of_an_hour_counts() {
    let first = entry("kr", at(0));
    assert_eq!(first.id, "usage/kr/2026-11-01T00:00:00Z");
    let better = correction(&first, 2, 500.0);
    assert_eq!(better.id, "usage/kr/2026-11-01T00:00:00Z#2");
    let second = first.corrected(&better);
    let whole = HourEntry { id: hour_id(&first.cluster, first.hour, 3), version: 3, ..entry("kr", at(0)) };
    let orphan = correction(&entry("kr", at(7)), 2, 1.0);
    let lines = [
        HourLine::Whole(Box::new(first.clone())),
        HourLine::Carbon(Box::new(better)),
        HourLine::Whole(Box::new(entry("kr", at(1)))),
        HourLine::Whole(Box::new(HourEntry { id: hour_id(&first.cluster, at(1), 2), ..whole })),
        HourLine::Carbon(Box::new(orphan)),
    ];
    // As they are kept.
    let lines: Vec<HourLine> =
        lines.iter().map(|l| serde_json::from_str(&serde_json::to_string(l).unwrap()).unwrap()).collect();
    let mut latest = Latest::default();
    let mut known: Vec<HourEntry> =
        lines[..3].iter().filter_map(|line| latest.take_in(line.clone())).collect();
    known.extend(latest.finish());
    assert_eq!(
        (known.len(), known[0].id.as_str(), known[1].hour),
        (2, "usage/kr/2026-11-01T00:00:00Z#2", at(1))
    );
    assert_eq!(known[0], second);
    let carbon = |entry: &HourEntry| entry.total().carbon.as_micrograms();
    assert_eq!((carbon(&first), carbon(&second)), (1200, 1500));
    assert_eq!(second.rows[0].amounts.carbon.as_micrograms(), 375);
    assert_eq!((second.total().cost, second.total().energy), (first.total().cost, first.total().energy));
    let mut latest = Latest::default();
    assert!(
        latest.take_in(lines[4].clone()).is_none() && latest.finish().is_none(),
        "a correction of nothing"
    );
}

#[test]
fn emissions_of_an_hour_without_any_come_from_its_energy() {
    let clean = HourEntry { intensity: GramsCo2PerKwh::from_milligrams(0), ..entry("kr", at(0)) };
    let found = clean.carbon_at(GramsCo2PerKwh::from_grams_f64(360.0));
    assert_eq!(found, clean.total().energy * GramsCo2PerKwh::from_grams_f64(360.0));
}

#[test]
fn what_accounts_are_made_by_is_read_and_said() {
    for text in ["cluster", "namespace", "workload", "node", "label:app.kubernetes.io/name"] {
        assert_eq!(text.parse::<By>().unwrap().to_string(), text);
    }
    for text in ["", "pods", "label:", "label", &format!("label:{}", "x".repeat(400))] {
        assert!(text.parse::<By>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_corrected_hour_sums_to_what_the_correction_says(
        sizes in prop::collection::vec(0i128..10i128.pow(14), 1..40), idle in 0i128..10i128.pow(14), grams in 0.0f64..1500.0
    ) {
        let rows = sizes.iter().enumerate().map(|(i, s)| (work("n", "Job", &i.to_string(), &[]), amounts(*s))).collect();
        let first = HourEntry::new(heading("kr", at(0)), hour(at(0), rows, amounts(idle)));
        let by = correction(&first, 2, grams);
        let second = first.corrected(&by);
        prop_assert_eq!(second.total().carbon, by.carbon.1);
        prop_assert_eq!(second.nodes.iter().map(|n| (n.busy + n.idle).carbon).sum::<GramsCo2>(), by.carbon.1);
        for (a, b) in first.rows.iter().zip(&second.rows) {
            let exact = a.amounts.carbon.as_micrograms() as f64 * by.intensity.as_grams_f64() / 400.0;
            prop_assert!((b.amounts.carbon.as_micrograms() as f64 - exact).abs() <= 2.0 + exact * 1e-9);
        }
    }
}
