//! Accounts of clusters on a twin: hours closed on time, gaps said, lines corrected, restarts gone on from.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use control::twin_driver::{TwinDriver, settings};
use control::usage::{NodeUse, PodUse, UsageReport};
use control::{Control, Event};
use fleet::{
    Bytes, ClusterId, Cpu, FleetSpec, GramsCo2PerKwh, GridZone, Instant, NodeName, Provenance, Series,
    SignalKind, Span, Watts,
};
use ledger::meter::Amounts;
use ledger::usage::{HourEntry, HourLine, Latest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use twin::apiserver::{Options, Request, Verb};
use twin::{Kind, World};

const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
clusters:
- {name: kr, region: ap-northeast-2, nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 2}]}
- {name: jp, region: ap-northeast-1, nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 1}]}
";

fn start() -> Instant {
    Instant::parse("2026-03-02T00:00:00Z").unwrap()
}
fn minutes(n: i64) -> Instant {
    start() + Span::MINUTE.scaled(n, 1)
}
fn cluster(name: &str) -> ClusterId {
    ClusterId::new(name).unwrap()
}
fn spec() -> FleetSpec {
    fleet::file::parse(FLEET).unwrap()
}
fn provenance(source: &str, kind: SignalKind) -> Provenance {
    Provenance { source: source.to_owned(), kind, as_of: start() }
}

/// A zone's intensity: one value an hour.
fn tell(driver: &mut TwinDriver, zone: &str, grams: &[f64], kind: SignalKind) {
    let values = grams.iter().map(|g| GramsCo2PerKwh::from_grams_f64(*g)).collect();
    let series = Series::new(start(), Span::HOUR, values).unwrap();
    driver.tell(Event::Intensity {
        zone: GridZone::new(zone).unwrap(),
        actual: series.clone(),
        actual_from: provenance("test", kind),
        forecast: series,
        forecast_from: provenance("test", kind),
    });
}

fn created(driver: &mut TwinDriver, kind: Kind, body: Value) {
    let request = Request {
        verb: Verb::Create,
        kind,
        namespace: "default".to_owned(),
        name: String::new(),
        subresource: None,
        body,
        options: Options::default(),
    };
    driver.world.request(&cluster("kr"), &request).unwrap();
}

/// A bare pod of two cores that runs for ever, with labels.
fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"team": "a", "pod-template-hash": "x"}}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}}]}})
}

fn begun(world: World) -> TwinDriver {
    let mut driver = TwinDriver::new(world, settings(&spec()));
    driver.keep_usage = true;
    driver
}

/// As a process that ends leaves it.
fn saved(world: &World) -> World {
    serde_json::from_str(&serde_json::to_string(world).unwrap()).unwrap()
}

fn driver() -> TwinDriver {
    let mut driver = begun(World::new(&spec(), start(), 7));
    tell(&mut driver, "KR", &[500.0], SignalKind::Forecast);
    tell(&mut driver, "JP-TK", &[400.0], SignalKind::Forecast);
    driver.begin();
    driver
}

/// The hours of a cluster as they are known last.
fn hours(driver: &TwinDriver, name: &str) -> Vec<HourEntry> {
    let mut by_hour: BTreeMap<Instant, Vec<HourLine>> = BTreeMap::new();
    for line in driver.usage.iter().filter(|line| line.hour().0.as_str() == name) {
        by_hour.entry(line.hour().1).or_default().push(line.clone());
    }
    let latest = |lines: Vec<HourLine>| {
        let mut latest = Latest::default();
        lines.into_iter().for_each(|line| assert!(latest.take_in(line).is_none()));
        latest.finish()
    };
    by_hour.into_values().filter_map(latest).collect()
}

fn check(entry: &HourEntry) {
    let by_node: Amounts = entry.nodes.iter().map(|n| n.busy + n.idle).sum();
    assert_eq!(entry.total(), by_node, "{}", entry.id);
}

#[test]
fn hours_are_closed_at_their_end_and_sum_to_the_meter() {
    let mut driver = driver();
    driver.run_until(minutes(30));
    created(&mut driver, Kind::Pod, pod("web"));
    driver.run_until(minutes(185));
    let kr = hours(&driver, "kr");
    let ids: Vec<&str> = kr.iter().map(|entry| entry.id.as_str()).collect();
    let expected =
        ["usage/kr/2026-03-02T00:00:00Z", "usage/kr/2026-03-02T01:00:00Z", "usage/kr/2026-03-02T02:00:00Z"];
    assert_eq!(ids, expected);
    assert_eq!(hours(&driver, "jp").len(), 3);
    kr.iter().for_each(check);
    assert!(kr.iter().all(|entry| entry.span() == Span::HOUR && entry.recorded == entry.hour + Span::HOUR));
    let web = &kr[1].rows[0];
    assert_eq!((web.owner.to_string(), &*web.namespace), ("Pod/web".to_owned(), "default"));
    assert_eq!(web.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["team=a"]);
    assert_eq!(
        (web.amounts.cpu_used.as_core_hours_f64(), web.amounts.cpu_measured.as_core_hours_f64()),
        (2.0, 0.0)
    );
    let first = &kr[0].rows[0].amounts;
    assert!(
        first.cpu_used.as_core_hours_f64() < 1.0 && first.cpu_used.as_core_hours_f64() > 0.9,
        "{first:?}"
    );
    // Hours and the hour under way are what the meter says.
    let running = driver.control.running_hours(minutes(185));
    let total: Amounts =
        kr.iter().chain(running.iter().filter(|e| e.cluster.as_str() == "kr")).map(HourEntry::total).sum();
    let view = driver.control.view(minutes(185));
    let metered = view.clusters.iter().find(|c| c.facts.id.as_str() == "kr").unwrap().totals.unwrap();
    assert!((metered.total_energy() - total.energy).as_microjoules().abs() <= 10);
    assert!((metered.total_carbon() - total.carbon).as_micrograms().abs() <= 10);
    assert!((metered.cost - total.cost).as_nanos().abs() <= 10);
    let exact = total.energy * GramsCo2PerKwh::from_grams_f64(500.0);
    assert!((total.carbon - exact).as_micrograms().abs() <= 10);
}

#[test]
fn an_hour_goes_on_after_a_restart_from_what_was_written() {
    let mut driver = driver();
    created(&mut driver, Kind::Pod, pod("web"));
    driver.run_until(minutes(90));
    let stopped = driver.control.stop(minutes(90));
    assert_eq!(stopped.len(), 2, "one line a cluster");
    let mut again = begun(saved(&driver.world));
    again.usage = driver.usage.clone();
    again.usage.extend(stopped);
    let known: Vec<HourEntry> = ["kr", "jp"].iter().flat_map(|name| hours(&again, name)).collect();
    known.into_iter().for_each(|entry| again.control.recall(entry));
    tell(&mut again, "KR", &[500.0], SignalKind::Forecast);
    tell(&mut again, "JP-TK", &[400.0], SignalKind::Forecast);
    again.begin();
    again.run_until(minutes(121));
    let mut whole = self::driver();
    created(&mut whole, Kind::Pod, pod("web"));
    whole.run_until(minutes(121));
    let (cut, uncut) = (hours(&again, "kr"), hours(&whole, "kr"));
    assert_eq!((cut.len(), uncut.len()), (2, 2));
    let second = &cut[1];
    assert_eq!((second.version, second.id.as_str()), (2, "usage/kr/2026-03-02T01:00:00Z#2"));
    assert_eq!(second.replaces.as_ref().unwrap().id, "usage/kr/2026-03-02T01:00:00Z");
    assert_eq!((second.seen.len(), second.span()), (1, Span::HOUR), "a twin's time stands still meanwhile");
    check(second);
    // As if it had never stopped, but for the rounding of what was written: a unit at most.
    let near = |a: Amounts, b: Amounts| {
        assert!((a.energy - b.energy).as_microjoules().abs() <= 1, "{a:?} {b:?}");
        assert!((a.carbon - b.carbon).as_micrograms().abs() <= 1, "{a:?} {b:?}");
        assert!((a.cost - b.cost).as_nanos().abs() <= 1, "{a:?} {b:?}");
        assert_eq!(
            (a.cpu_used, a.cpu_requested, a.memory_used),
            (b.cpu_used, b.cpu_requested, b.memory_used)
        );
    };
    near(second.total(), uncut[1].total());
    let rows = second.rows.iter().zip(&uncut[1].rows);
    assert_eq!(second.rows.len(), uncut[1].rows.len());
    rows.for_each(|(a, b)| near(a.amounts, b.amounts));
}

#[test]
fn nothing_is_counted_while_a_cluster_does_not_answer() {
    let mut driver = driver();
    driver.run_until(minutes(10));
    driver.tell(Event::Reachable { cluster: cluster("kr"), reachable: Err("gone".to_owned()) });
    driver.run_until(minutes(40));
    driver.tell(Event::Reachable { cluster: cluster("kr"), reachable: Ok(()) });
    driver.run_until(minutes(61));
    let (kr, jp) = (&hours(&driver, "kr")[0], &hours(&driver, "jp")[0]);
    assert_eq!((kr.seen.len(), kr.span(), jp.span()), (2, Span::from_seconds(1800), Span::HOUR));
    assert_eq!(kr.seen[1].from, minutes(40));
    // Two nodes for half an hour, or one for an hour.
    let idle = |entry: &HourEntry| entry.idle.cpu_requested.as_core_hours_f64();
    assert_eq!((idle(kr), idle(jp)), (8.0, 8.0));
}

#[test]
fn a_machine_that_slept_saw_nothing() {
    let mut settings = settings(&spec());
    settings.unseen_after = Some(Span::from_seconds(300));
    let mut driver = TwinDriver::new(World::new(&spec(), start(), 7), settings);
    tell(&mut driver, "KR", &[500.0], SignalKind::Measured);
    tell(&mut driver, "JP-TK", &[500.0], SignalKind::Measured);
    driver.begin();
    (1..=10).for_each(|n| drop(driver.control.step(minutes(n), [])));
    let slept = driver.control.step(minutes(100), []);
    let entry = slept.iter().find_map(|effect| match effect {
        control::Effect::Usage(line) if line.hour().0.as_str() == "kr" => Some(line.as_ref().clone()),
        _ => None,
    });
    let Some(HourLine::Whole(entry)) = entry else { panic!("no line") };
    assert_eq!((entry.hour, entry.span()), (start(), Span::from_seconds(600)));
    let running = driver.control.running_hours(minutes(101));
    assert_eq!(running[0].seen[0].from, minutes(100));
}

fn report(at: Instant, cores: f64) -> Result<Arc<UsageReport>, String> {
    let used = PodUse { cpu: Cpu::from_nanos((cores * 1e9) as i64), memory: Bytes::from_gib(1), power: None };
    let machine = NodeUse {
        cpu: used.cpu,
        memory: used.memory,
        power: Some(Watts::from_watts_f64(100.0)),
        price: Some(fleet::MoneyPerHour::from_units_f64(1.0)),
    };
    let nodes = ["kr-general-0", "kr-general-1"].map(|name| (NodeName::new(name).unwrap(), machine));
    Ok(Arc::new(UsageReport {
        at,
        from: provenance("metrics.k8s.io", SignalKind::Measured),
        pods: BTreeMap::from([("default/web".to_owned(), used)]),
        nodes: BTreeMap::from(nodes),
    }))
}

#[test]
fn measured_use_counts_until_it_is_too_old() {
    let mut driver = driver();
    created(&mut driver, Kind::Pod, pod("web"));
    driver.run_until(minutes(60));
    driver.tell(Event::Usage { cluster: cluster("kr"), report: report(minutes(60), 0.5) });
    // Pods that run let no time pass unseen: a step a minute, as on a real cluster.
    (60..=120).for_each(|minute| driver.run_until(minutes(minute)));
    driver.control.step(minutes(121), []);
    let kr = hours(&driver, "kr");
    let used = |entry: &HourEntry| entry.rows[0].amounts.cpu_used.as_core_hours_f64();
    let measured = |entry: &HourEntry| entry.rows[0].amounts.cpu_measured.as_core_hours_f64();
    assert_eq!(measured(&kr[0]), 0.0);
    let second = kr.iter().find(|entry| entry.hour == minutes(60)).unwrap();
    check(second);
    let until = measured(second) / 0.5 * 60.0;
    assert!((5.0..8.0).contains(&until), "measured for {until} minutes");
    assert!((used(second) - (0.5 * until + 2.0 * (60.0 - until)) / 60.0).abs() < 1e-3, "{}", used(second));
    // The machines' own price and power counted as long.
    let view = driver.control.view(minutes(121));
    let kr = view.clusters.iter().find(|c| c.facts.id.as_str() == "kr").unwrap();
    assert_eq!((kr.use_from.as_ref(), kr.draw.busy().cpu_used), (None, Cpu::from_cores(2)));
}

fn job(expected: &str) -> Value {
    json!({"metadata": {"name": "train", "labels": {"kubercarbon.io/placement": "managed"},
            "annotations": {"kubercarbon.io/expected-duration": expected, "kubercarbon.io/finish-within": "90m"}},
        "spec": {"suspend": true, "managedBy": "kubercarbon.io/fleet", "backoffLimit": 0, "template": {
            "metadata": {"annotations": {"twin.kubercarbon.io/run-for": "30m"}},
            "spec": {"restartPolicy": "Never", "containers": [
                {"name": "c", "image": "i", "resources": {"requests": {"cpu": "2", "memory": "2Gi"}}}]}}}})
}

#[test]
fn what_comes_to_be_known_later_makes_new_versions_and_changes_none() {
    let mut driver = driver();
    created(&mut driver, Kind::Job, job("30m"));
    driver.run_until(minutes(130));
    assert_eq!(driver.ledger.len(), 1);
    let first = driver.ledger[0].clone();
    let before = hours(&driver, "kr");
    // A worse source says something else: nothing is corrected.
    tell(&mut driver, "KR", &[100.0; 3], SignalKind::Assumed);
    tell(&mut driver, "JP-TK", &[100.0; 3], SignalKind::Assumed);
    driver.run_until(minutes(131));
    assert_eq!((driver.ledger.len(), hours(&driver, "kr") == before), (1, true));
    // The real figures come.
    tell(&mut driver, "KR", &[700.0, 300.0, 500.0], SignalKind::Measured);
    tell(&mut driver, "JP-TK", &[350.0, 350.0, 500.0], SignalKind::Measured);
    driver.run_until(minutes(135));
    let kr = hours(&driver, "kr");
    assert_eq!(
        kr.iter().map(|e| (e.version, e.intensity.as_grams_f64())).collect::<Vec<_>>(),
        [(2, 700.0), (2, 300.0)]
    );
    for (old, new) in before.iter().zip(&kr) {
        check(new);
        assert_eq!((old.total().energy, old.total().cost), (new.total().energy, new.total().cost));
        let exact = new.total().energy * new.intensity;
        assert!((new.total().carbon - exact).as_micrograms().abs() < 10);
        assert_eq!(new.replaces.as_ref().unwrap().id, old.id);
        assert_eq!(new.intensity_from.kind, SignalKind::Measured);
    }
    let latest = driver.ledger.last().unwrap().clone();
    assert!(latest.id.starts_with(&format!("{}#", first.id)), "{}", latest.id);
    assert_eq!(driver.ledger[0], first, "what was written stays");
    assert_ne!(latest.saved_carbon(), first.saved_carbon());
    assert_eq!((latest.actual.cost, latest.runs.len()), (first.actual.cost, first.runs.len()));
    assert_eq!(ledger::latest(driver.ledger.clone()), std::slice::from_ref(&latest));
    // The Job says it too.
    let home = driver.world.objects(&cluster("kr")).unwrap();
    let home = home.list(Kind::Job, None).next().unwrap().object.to_value();
    let grams = fleet::quantity::significant(latest.saved_carbon().as_grams_f64());
    assert_eq!(home["metadata"]["annotations"]["kubercarbon.io/saved-gco2e"], json!(grams));
    // The same once more changes nothing.
    let lines = (driver.ledger.len(), driver.usage.len());
    tell(&mut driver, "KR", &[700.0, 300.0, 500.0], SignalKind::Measured);
    driver.run_until(minutes(136));
    assert_eq!((driver.ledger.len(), driver.usage.len()), lines);
}

#[test]
fn a_restarted_loop_corrects_what_an_earlier_one_wrote() {
    let mut driver = driver();
    created(&mut driver, Kind::Job, job("30m"));
    driver.run_until(minutes(130));
    let mut again = begun(saved(&driver.world));
    driver.ledger.iter().for_each(|entry| again.control.remember(entry));
    hours(&driver, "kr").into_iter().for_each(|entry| again.control.recall(entry));
    tell(&mut again, "KR", &[700.0, 300.0, 500.0], SignalKind::Measured);
    tell(&mut again, "JP-TK", &[350.0; 3], SignalKind::Measured);
    again.begin();
    again.run_until(minutes(131));
    let corrected: Vec<&str> = again.usage.iter().map(HourLine::id).collect();
    assert_eq!(corrected, ["usage/kr/2026-03-02T00:00:00Z#2", "usage/kr/2026-03-02T01:00:00Z#2"]);
    assert!(again.ledger.iter().any(|entry| entry.id.ends_with("#2")), "{:?}", again.ledger);
}

#[test]
fn a_loop_without_clusters_has_nothing_to_close() {
    let mut control = Control::new(settings(&spec()));
    assert!(control.step(minutes(300), []).is_empty());
    assert!(control.stop(minutes(600)).is_empty() && control.running_hours(minutes(600)).is_empty());
    assert_eq!(control.next_timer(), None);
}

#[test]
fn what_flows_now_sums_up_whatever_it_is_shown_by() {
    let mut driver = driver();
    ["web", "api"].iter().for_each(|name| created(&mut driver, Kind::Pod, pod(name)));
    driver.run_until(minutes(10));
    let view = driver.control.view(minutes(10));
    let power: i64 = view.clusters.iter().map(|c| c.power.as_microwatts()).sum();
    for (of, rows) in
        [("clusters", 2), ("nodes", 3), ("namespaces", 2), ("workloads", 3), ("pods", 3), ("label:team", 2)]
    {
        let top = driver.control.top(&of.parse().unwrap(), minutes(10));
        assert_eq!(top.rows.len(), rows, "{of}: {:?}", top.rows);
        let sum = top.rows.iter().fold(ledger::meter::Rate::default(), |sum, row| sum + row.rate);
        assert_eq!((sum, sum.power.as_microwatts()), (top.total.rate, power), "{of}");
        assert_eq!(top.total.rate.cpu_requested, Cpu::from_cores(24), "what there is");
        let carbon: i128 = top.rows.iter().map(|row| row.carbon_per_hour.as_micrograms()).sum();
        assert_eq!(carbon, top.total.carbon_per_hour.as_micrograms());
        assert!(top.use_from.is_none());
    }
    assert!("things".parse::<control::TopOf>().is_err());
}
