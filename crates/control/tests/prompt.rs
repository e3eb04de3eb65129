//! How soon a plan follows what happens, and what is looked at anew because of it: events told to the loop by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use control::{ClusterFacts, Control, Event, NodeObservation, Settings};
use fleet::{
    Bytes, ClusterId, Cpu, GramsCo2PerKwh, GridZone, Instant, Mode, MoneyPerHour, NodeName, NodePower,
    Provenance, RatesFrom, RegionId, Resources, Series, SignalKind, Span, Watts,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

fn at(seconds: i64) -> Instant {
    Instant::parse("2026-03-02T00:00:00Z").unwrap() + Span::from_seconds(seconds)
}

fn id(name: &str) -> ClusterId {
    ClusterId::new(name).unwrap()
}

fn facts(name: &str, zone: &str) -> Event {
    Event::Cluster(ClusterFacts {
        id: id(name),
        region: RegionId::new("ap-northeast-2").unwrap(),
        grid_zone: GridZone::new(zone).unwrap(),
        pue_milli: 1100,
        labels: BTreeMap::new(),
        mode: Mode::Observe,
        context: name.to_owned(),
        uid: None,
    })
}

fn node(name: &str, ready: Option<bool>) -> Event {
    let size =
        Resources { cpu: Cpu::from_millis(8000), memory: Bytes::from_bytes(32 << 30), gpu: 0, pods: 58 };
    let now = ready.map(|ready| NodeObservation {
        allocatable: size,
        capacity: size,
        ready,
        schedulable: true,
        power: NodePower { idle: Watts::from_watts_f64(6.0), full: Watts::from_watts_f64(28.0) },
        price: MoneyPerHour::ZERO,
        embodied: None,
        rates_from: RatesFrom::default(),
        labels: BTreeMap::new(),
    });
    Event::Node { cluster: id("kr"), node: NodeName::new(name).unwrap(), now }
}

fn forecast(zone: &str, grams: f64) -> Event {
    let hours = vec![GramsCo2PerKwh::from_grams_f64(grams); 48];
    let series = Series::new(at(0), Span::HOUR, hours).unwrap();
    let from = Provenance { source: "test".to_owned(), kind: SignalKind::Forecast, as_of: at(0) };
    Event::Intensity {
        zone: GridZone::new(zone).unwrap(),
        actual: series.clone(),
        actual_from: from.clone(),
        forecast: series,
        forecast_from: from,
    }
}

fn job(name: &str, class: &str) -> Event {
    let job = json!({
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "creationTimestamp": at(0).to_rfc3339_seconds(),
            "labels": {"kubercarbon.io/placement": "managed"}, "annotations": {"kubercarbon.io/finish-within": "12h"}},
        "spec": {"suspend": true, "managedBy": "kubercarbon.io/fleet", "template": {"spec": {"priorityClassName": class,
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}}},
    });
    Event::Job { cluster: id("kr"), job: Arc::new(serde_json::from_value(job).unwrap()) }
}

/// A loop with two clusters and two Jobs that has planned at second 0.
fn planned() -> Control {
    let mut control = Control::new(Settings::default());
    let clusters = [facts("kr", "KR"), facts("jp", "JP-TK"), forecast("KR", 400.0), forecast("JP-TK", 500.0)];
    let nodes = [node("a", Some(true)), node("b", Some(true)), node("c", Some(false))];
    let jobs = [job("one", "high"), job("two", "low")];
    let synced = ["kr", "jp"].map(|name| Event::Synced { cluster: id(name) });
    control.step(at(0), clusters.into_iter().chain(nodes).chain(jobs).chain(synced));
    assert_eq!(control.planned(), Some((at(0), 2)));
    control
}

/// When the plan in force was made after this happened at this second.
fn plans_at(events: Vec<Event>, second: i64) -> (i64, Option<i64>) {
    let mut control = planned();
    control.step(at(second), events);
    let seconds = |instant: Instant| (instant - at(0)).as_seconds();
    (seconds(control.planned().unwrap().0), control.next_timer().map(seconds))
}

#[test]
fn a_lost_node_is_planned_for_promptly_and_a_new_one_regularly() {
    for (event, plan) in [
        (node("a", None), 10),
        (node("a", Some(false)), 10),
        (node("c", Some(true)), 0),
        (node("d", Some(true)), 0),
        (node("a", Some(true)), 0),
        (node("c", None), 0),
    ] {
        assert_eq!(plans_at(vec![event.clone()], 10).0, plan, "{event:?}");
        assert_eq!(plans_at(vec![event.clone()], 300).0, 300, "{event:?}: regular plans come anyway");
    }
}

#[test]
fn a_forecast_that_says_more_is_planned_for_promptly() {
    for (grams, plan) in [(400.0, 0), (380.5, 0), (419.5, 0), (421.0, 10), (379.0, 10), (0.0, 10)] {
        assert_eq!(plans_at(vec![forecast("KR", grams)], 10).0, plan, "{grams}");
    }
    assert_eq!(plans_at(vec![forecast("DE", 1.0)], 10).0, 0, "no cluster is there");
}

#[test]
fn what_happens_together_is_planned_for_together() {
    let mut control = planned();
    let planned = |control: &Control| (control.planned().unwrap().0 - at(0)).as_nanos();
    control.step(at(10), [node("a", None)]);
    assert_eq!(planned(&control), Span::from_seconds(10).as_nanos());
    let soon = at(10) + Span::from_nanos(400_000_000);
    control.step(soon, [forecast("KR", 300.0)]);
    assert_eq!(planned(&control), Span::from_seconds(10).as_nanos(), "not twice within a second");
    assert_eq!(control.next_timer().map(|timer| timer.min(at(11))), Some(at(11)), "but after it, unasked");
    control.step(at(11), []);
    assert_eq!(planned(&control), Span::from_seconds(11).as_nanos());
    control.step(soon, [job("three", "high")]);
    assert_eq!(control.planned(), Some((at(11), 3)), "a Job that arrives is planned for at once");
}

#[test]
fn a_class_that_is_listed_late_changes_the_jobs_that_name_it_there() {
    let mut control = planned();
    let priorities = |control: &Control| -> Vec<(String, i32)> {
        let jobs = control.view(at(0)).jobs;
        jobs.iter().map(|job| (job.key.name.to_string(), job.priority)).collect()
    };
    let class = |cluster: &str, class: &str, value| Event::Priority {
        cluster: id(cluster),
        class: class.to_owned(),
        value,
    };
    let named = |one: i32, two: i32| vec![("one".to_owned(), one), ("two".to_owned(), two)];
    assert_eq!(priorities(&control), named(0, 0));
    control.step(at(1), [class("kr", "high", Some(1000)), class("jp", "low", Some(-5))]);
    assert_eq!(priorities(&control), named(1000, 0));
    control.step(at(2), [class("kr", "low", Some(-5)), class("kr", "other", Some(9))]);
    assert_eq!(priorities(&control), named(1000, -5));
    control.step(at(3), [class("kr", "high", None)]);
    assert_eq!(priorities(&control), named(0, -5));
}
