//! Ledger lines and their sums, over random Jobs.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests: a failure should panic.

use fleet::{
    Bytes, ClusterId, Cpu, DataSource, EmbodiedRate, GramsCo2, GramsCo2PerHour, GramsCo2PerKwh, Instant,
    JobKey, MoneyPerHour, ObjectName, Provenance, Rates, Resources, Series, SignalKind, Span, Watts,
};
use ledger::summary::{Line, summarize};
use ledger::{Account, EMBODIED_METHOD, Entry, Error, Footprint, METHOD, Place, Run, account};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NAMES: [&str; 3] = ["de", "jp", "kr"];

fn at(seconds: i64) -> Instant {
    Instant::from_unix_seconds(seconds)
}
fn cluster(i: usize) -> ClusterId {
    ClusterId::new(NAMES[i]).unwrap()
}
fn places() -> BTreeMap<ClusterId, Place> {
    let place = |i: usize| {
        let grams =
            |h: u64| GramsCo2PerKwh::from_grams_f64(100.0 + 37.5 * ((h * (i as u64 + 3)) % 13) as f64);
        let rates = Rates {
            core_power: Watts::from_watts_f64(4.0 + i as f64),
            gpu_power: Watts::from_watts_f64(200.0),
            core_price: MoneyPerHour::from_units_f64(0.05 + 0.01 * i as f64),
            gpu_price: MoneyPerHour::ZERO,
            embodied: None,
        };
        let intensity = Series::new(at(0), Span::HOUR, (0..48).map(grams).collect()).unwrap();
        let kind = [SignalKind::Measured, SignalKind::Estimated, SignalKind::Assumed][i];
        let provenance = Provenance { source: format!("test {i}"), kind, as_of: at(0) };
        (cluster(i), Place { rates, intensity, provenance })
    };
    (0..3).map(place).collect()
}

/// The same where embodied emissions are counted: 0.5, 1 and 1.5 g an hour for a core; a quarter of the last
/// cluster's vCPUs are unknown.
fn embodied_places() -> BTreeMap<ClusterId, Place> {
    let mut places = places();
    for (i, place) in places.values_mut().enumerate() {
        let core = GramsCo2PerHour::from_grams_f64(0.5 + 0.5 * i as f64);
        let unknown_permille = if i == 2 { 250 } else { 0 };
        place.rates.embodied = Some(EmbodiedRate { core, unknown_permille });
    }
    places
}

fn job(
    places: &BTreeMap<ClusterId, Place>,
    home: usize,
    runs: Vec<Run>,
    data: Option<DataSource>,
) -> Account<'_> {
    let name = |text: &str| ObjectName::new(text).unwrap();
    Account {
        job: JobKey { cluster: cluster(home), namespace: name(["ml", "web"][home % 2]), name: name("train") },
        uid: format!("u-{home}-{}", runs.len()),
        recorded: at(200_000),
        created: at(1000),
        finished: runs.last().map_or(at(1000), |run| run.to),
        deadline: Some(at(90_000)),
        succeeded: true,
        demand: Resources { cpu: Cpu::from_millis(3500), ..Resources::ZERO },
        baseline: None,
        data,
        runs,
        places,
        transfer_kwh_per_gb: 0.005,
        transfer_price_per_gb: 0.02,
    }
}

fn run(i: usize, from: i64, to: i64) -> Run {
    Run { cluster: cluster(i), from: at(from), to: at(to) }
}

#[test]
fn a_job_moved_to_a_cleaner_cluster_later() {
    let places = places();
    let data = DataSource { size: Bytes::from_bytes(10_000_000_000), at: cluster(2) };
    let entry = account(&job(&places, 2, vec![run(0, 7200, 10_800)], Some(data))).unwrap();
    assert_eq!((entry.id.as_str(), entry.wait()), ("job/u-2-1", Span::from_seconds(6200)));
    assert_eq!((entry.baseline.from, entry.baseline.to), (at(1000), at(4600)));
    // 3.5 cores at 4 W for an hour at 325 g (37.5 x 6 + 100), and 0.05 kWh of transfer at the mean of 325 and 475 g.
    assert_eq!(entry.runs[0].footprint.carbon, GramsCo2::from_grams_f64(0.014 * 325.0));
    assert_eq!(entry.transfer.carbon, GramsCo2::from_grams_f64(0.05 * 400.0));
    assert_eq!(entry.actual, entry.runs[0].footprint + entry.transfer);
    assert_eq!(entry.saved_carbon(), entry.baseline.footprint.carbon - entry.actual.carbon);
    assert_eq!(entry.in_time(), Some(true));
    assert_eq!(entry.provenance().kind, SignalKind::Assumed, "the worst wins: home is assumed");
    let json = serde_json::to_string(&entry).unwrap();
    assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
}

#[test]
fn where_embodied_emissions_are_counted_run_and_baseline_carry_them_and_saved_counts_both() {
    let run_of = |places| account(&job(places, 2, vec![run(0, 7200, 10_800)], None)).unwrap();
    let (off, on) = (places(), embodied_places());
    let (off, on) = (run_of(&off), run_of(&on));
    // 3.5 cores for an hour: at 0.5 g in de, where it ran, and at 1.5 g in kr, its home.
    assert_eq!(on.actual.embodied, GramsCo2::from_grams_f64(1.75));
    assert_eq!(on.baseline.footprint.embodied, GramsCo2::from_grams_f64(5.25));
    assert_eq!(on.actual.operational(), off.actual.carbon);
    assert_eq!(on.baseline.footprint.operational(), off.baseline.footprint.carbon);
    assert_eq!(on.saved_carbon(), off.saved_carbon() + GramsCo2::from_grams_f64(3.5));
    assert_eq!(
        on.method,
        format!("{METHOD}{EMBODIED_METHOD}; unknown for 25.0 % of the vCPUs of kr, counted as 0")
    );
    assert!(on.counts_embodied() && !off.counts_embodied());
    assert_eq!(off.method, METHOD);
    assert!(!serde_json::to_string(&off).unwrap().contains("embodied"), "off, a line is written as before");
}

#[test]
fn at_once_at_home_saves_nothing() {
    let places = places();
    let entry = account(&job(&places, 1, vec![run(1, 1000, 9000)], None)).unwrap();
    assert_eq!(entry.actual, entry.baseline.footprint);
    assert_eq!(entry.saved_carbon(), GramsCo2::ZERO);
}

#[test]
fn what_cannot_be_accounted_is_refused() {
    let places = places();
    let back = account(&job(&places, 1, vec![run(1, 9000, 1000)], None)).unwrap_err();
    assert!(matches!(back, Error::Order { index: 1, .. }), "{back}");
    let overlap = account(&job(&places, 1, vec![run(1, 0, 1000), run(1, 999, 2000)], None)).unwrap_err();
    assert!(matches!(overlap, Error::Order { index: 2, .. }), "{overlap}");
    let few: BTreeMap<_, _> = places.iter().take(1).map(|(k, v)| (k.clone(), v.clone())).collect();
    let unknown = account(&job(&few, 1, vec![run(1, 0, 1000)], None)).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "job jp/ml/train: cluster \"jp\": no rates and intensity given".replace("ml", "web")
    );
}

/// Home, runs as (cluster, gap, length), data as (cluster, GiB), whether the deadline is missed.
type Drawn = (usize, Vec<(usize, i64, i64)>, Option<(usize, i64)>, bool);

fn random_entries() -> impl Strategy<Value = Vec<Entry>> {
    let runs = prop::collection::vec((0usize..3, 0i64..5000, 0i64..9000), 0..5);
    let entry = (0usize..3, runs, prop::option::of((0usize..3, 1i64..50)), any::<bool>());
    (prop::collection::vec(entry, 0..12), any::<bool>()).prop_map(|(all, embodied)| {
        let places = if embodied { embodied_places() } else { places() };
        let one = |(home, gaps, data, late): Drawn| {
            let mut now = 1000;
            let mut runs = Vec::new();
            for (i, gap, length) in gaps {
                runs.push(run(i, now + gap, now + gap + length));
                now += gap + length;
            }
            let data = data.map(|(i, gib)| DataSource { size: Bytes::from_gib(gib), at: cluster(i) });
            let mut account_of = job(&places, home, runs, data);
            account_of.deadline = if late { Some(at(2000)) } else { None };
            account(&account_of).unwrap()
        };
        all.into_iter().map(one).collect()
    })
}

fn sum<'a>(lines: impl Iterator<Item = &'a Line>) -> Line {
    let mut total = Line::default();
    lines.for_each(|line| total += *line);
    total
}

proptest! {
    #[test]
    fn parts_sum_to_the_whole(entries in random_entries()) {
        let summary = summarize(&entries);
        prop_assert_eq!(sum(summary.clusters.values()), summary.total);
        prop_assert_eq!(sum(summary.namespaces.values()), summary.total);
        prop_assert_eq!(sum(summary.jobs.iter().map(|job| &job.line)), summary.total);
        let actual: Footprint = entries.iter().map(|entry| entry.actual).sum();
        prop_assert_eq!(summary.total.actual, actual);
        prop_assert_eq!(summary.total.saved_carbon, summary.total.baseline.carbon - actual.carbon);
        for entry in &entries {
            let runs: Footprint = entry.runs.iter().map(|line| line.footprint).sum();
            prop_assert_eq!(entry.actual, runs + entry.transfer);
            prop_assert_eq!(entry.actual.operational() + entry.actual.embodied, entry.actual.carbon);
        }
        let embodied: GramsCo2 = entries.iter().map(|entry| entry.actual.embodied).sum();
        prop_assert_eq!(summary.clusters.values().map(|line| line.actual.embodied).sum::<GramsCo2>(), embodied);
        for line in summary.clusters.values() {
            prop_assert!(line.baseline.operational() >= GramsCo2::ZERO && line.baseline.embodied >= GramsCo2::ZERO);
        }
        let json = serde_json::to_string(&summary).unwrap();
        prop_assert_eq!(serde_json::from_str::<ledger::summary::Summary>(&json).unwrap(), summary);
    }
}
