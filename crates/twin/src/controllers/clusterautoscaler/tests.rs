//! The autoscaler at work on whole worlds: looking when it may matter comes to what looking every time does, and groups stay
//! within their limits whatever comes.

use crate::World;
use crate::apiserver::{Options, PatchType, Request, Subresource, Verb};
use crate::kind::Kind;
use fleet::{ClusterId, FleetSpec, Instant, Span};
use proptest::prelude::*;
use serde_json::{Value, json};

fn fleet(group: &str, autoscaler: &str) -> FleetSpec {
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  \
        clusterAutoscaler: {autoscaler}\n  nodeGroups:\n  - {{name: a, instanceType: m6i.large, count: 1, {group}}}\n  \
        - {{name: b, instanceType: m6i.xlarge, count: 0, min: 0, max: 2}}\n"
    );
    fleet::file::parse(&text).unwrap()
}

fn deployment(name: &str, replicas: i64, milli: i64, extra: &Value) -> Request {
    let mut spec = json!({"containers": [{"name": "c", "image": "c:1", "resources": {
        "requests": {"cpu": format!("{milli}m"), "memory": "64Mi"}}}]});
    for (key, value) in extra.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}});
    request(Verb::Create, "", None, body)
}

fn request(verb: Verb, name: &str, subresource: Option<Subresource>, body: Value) -> Request {
    let kind = Kind::document("apps", "deployments");
    let (namespace, name) = ("default".to_owned(), name.to_owned());
    Request { verb, kind, namespace, name, subresource, body, options: Options::default() }
}

fn scale(name: &str, replicas: i64) -> Request {
    let body = json!({"spec": {"replicas": replicas}});
    request(Verb::Patch(PatchType::Merge), name, Some(Subresource::Scale), body)
}

/// The world, saved and loaded.
fn reloaded(world: &World) -> World {
    let text = serde_json::to_string(world).unwrap();
    let loaded: World = serde_json::from_str(&text).unwrap();
    assert!(serde_json::to_string(&loaded).unwrap() == text);
    loaded
}

/// Everything there is, version numbers and all.
fn everything(world: &World, home: &ClusterId) -> Vec<Value> {
    let objects = world.objects(home).unwrap();
    let all = objects.kinds().collect::<Vec<_>>();
    all.iter().flat_map(|kind| objects.list(*kind, None)).map(|stored| stored.to_value()).collect()
}

fn play(fleet: &FleetSpec, steps: &[(i64, Request)], hours: i64, every: bool) -> World {
    let start = Instant::parse("2026-05-01T09:00:00Z").unwrap();
    let home = ClusterId::new("kr").unwrap();
    let mut world = World::new(fleet, start, 7);
    if every {
        world.look_every_time(&home);
    }
    for (at, request) in steps {
        world.advance_to(start + Span::from_seconds(*at));
        world.request(&home, request).unwrap();
    }
    let end = start + Span::HOUR.scaled(hours, 1);
    while world.now() < end {
        let at = world.next_event().unwrap_or(end).min(end);
        world.advance_to(at);
        let nodes = world.objects(&home).unwrap().count(Kind::Node);
        assert!((1..=6).contains(&nodes), "{nodes} nodes at {at}");
        assert_eq!(world.overcommitted(), None);
    }
    world
}

#[test]
fn an_idle_cluster_costs_nothing() {
    let fleet = fleet("min: 1, max: 4", "{}");
    let start = Instant::parse("2026-05-01T09:00:00Z").unwrap();
    let mut world = World::new(&fleet, start, 7);
    world.advance_to(start + Span::MINUTE);
    assert_eq!(world.next_event(), None, "nothing is due in a cluster in which nothing happens");
}

#[test]
fn a_group_stays_at_its_least_though_no_machine_is_to_be_had() {
    let limits = "min: 1, max: 4, spot: {interruptAt: [1m]}, shortage: {atMost: 0, until: 1h}";
    let fleet = fleet(limits, "{}");
    let start = Instant::parse("2026-05-01T09:00:00Z").unwrap();
    let home = ClusterId::new("kr").unwrap();
    let mut world = World::new(&fleet, start, 7);
    world.advance_to(start + Span::MINUTE.scaled(30, 1));
    assert_eq!(world.objects(&home).unwrap().count(Kind::Node), 0, "taken, and none to be had");
    world.advance_to(start + Span::MINUTE.scaled(65, 1));
    assert_eq!(world.objects(&home).unwrap().count(Kind::Node), 1, "there are some again");
}

/// Days of a small shop: nodes come, are drained, are taken away, and one keeps what would be lost.
fn shop() -> (FleetSpec, Vec<(i64, Request)>) {
    let fleet = fleet("min: 1, max: 4, spot: {interruptAt: [40m, 3h], interruptionsPerHour: 0.1}", "{}");
    let local = json!({"volumes": [{"name": "tmp", "emptyDir": {}}]});
    let steps = [
        (30, deployment("web", 2, 400, &json!({}))),
        (100, deployment("cache", 1, 300, &local)),
        (600, scale("web", 12)),
        (2000, scale("web", 3)),
        (7000, scale("web", 14)),
        (7100, scale("cache", 0)),
        (9000, scale("web", 1)),
    ];
    (fleet, steps.into())
}

#[test]
fn saving_and_loading_change_nothing() {
    let (fleet, steps) = shop();
    let whole = play(&fleet, &steps, 4, false);
    let start = Instant::parse("2026-05-01T09:00:00Z").unwrap();
    let home = ClusterId::new("kr").unwrap();
    let mut saved = World::new(&fleet, start, 7);
    for (at, request) in &steps {
        // Machines boot, nodes are drained and groups left alone at such times.
        for ahead in [41, 19, 7] {
            saved.advance_to(saved.now().max(start + Span::from_seconds(at - ahead)));
            saved = reloaded(&saved);
        }
        saved.advance_to(start + Span::from_seconds(*at));
        saved.request(&home, request).unwrap();
    }
    for minute in 150..240 {
        saved.advance_to(start + Span::MINUTE.scaled(minute, 1) + Span::from_seconds(7));
        saved = reloaded(&saved);
    }
    saved.advance_to(start + Span::HOUR.scaled(4, 1));
    assert_eq!(everything(&saved, &home), everything(&whole, &home));
    assert_eq!(saved.energy(&home), whole.energy(&home));
}

#[test]
fn looking_when_it_may_matter_is_looking_every_time() {
    let (fleet, steps) = shop();
    let home = ClusterId::new("kr").unwrap();
    let (lazy, every) = (play(&fleet, &steps, 6, false), play(&fleet, &steps, 6, true));
    let (lazy, every) = (everything(&lazy, &home), everything(&every, &home));
    for (lazy, every) in lazy.iter().zip(&every) {
        assert_eq!(lazy, every);
    }
    assert_eq!(lazy.len(), every.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn groups_stay_within_their_limits(
        seeds in proptest::collection::vec((0_i64..3000, 0_i64..16), 1..8),
        milli in 100_i64..1900,
        threshold in 0.1_f64..0.9,
    ) {
        let set = format!("{{scaleDownUtilizationThreshold: {threshold}, scaleDownUnneededTime: 2m, scaleDownDelayAfterAdd: 1m}}");
        let fleet = fleet("min: 1, max: 4", &set);
        let mut steps = vec![(1, deployment("web", 1, milli, &json!({})))];
        let mut at = 10;
        for (gap, replicas) in seeds {
            at += gap;
            steps.push((at, scale("web", replicas)));
        }
        let hours = at / 3600 + 2;
        let home = ClusterId::new("kr").unwrap();
        let (lazy, every) = (play(&fleet, &steps, hours, false), play(&fleet, &steps, hours, true));
        prop_assert_eq!(everything(&lazy, &home), everything(&every, &home));
        // What fits is placed.
        let pods = lazy.objects(&home).unwrap().list(Kind::Pod, None);
        let waiting = pods.filter(|pod| pod.object.as_pod().unwrap().spec.as_ref().unwrap().node_name.is_none());
        let waits = waiting.count();
        let replicas = steps.last().map_or(0, |(_, step)| step.body["spec"]["replicas"].as_i64().unwrap_or(1));
        // A node of group a takes 1930m, one of group b 3920m; there are at most 4 and 2 of them.
        let room = 4 * (1930 / milli) + 2 * (3920 / milli);
        prop_assert_eq!(waits as i64, (replicas - room).max(0));
    }
}
