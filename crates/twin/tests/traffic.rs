//! Requests to Services in a world: real traces to the last request, updates with and without preStop, lost machines, and
//! worlds that are saved in the middle.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use fleet::{ClusterId, Instant, NodeName, Span};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use twin::apiserver::{Options, Request, Verb};
use twin::traffic::{Curve, Flow, Setting, Trace};
use twin::world::NodeChange;
use twin::{Kind, ServiceTraffic, World};

const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- {name: twin, region: ap-northeast-2, \
    nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 3}]}\n";

fn world() -> World {
    World::new(&fleet::file::parse(FLEET).unwrap(), Instant::EPOCH, 1)
}

fn home() -> ClusterId {
    ClusterId::new("twin").unwrap()
}

fn create(world: &mut World, object: Value) {
    let text = |key: &str| object[key].as_str().unwrap().to_owned();
    let objects = world.objects(&home()).unwrap();
    let kind: Kind = objects.kind_of(&text("apiVersion"), &text("kind")).unwrap();
    let request = Request {
        verb: Verb::Create,
        kind,
        namespace: "default".to_owned(),
        name: String::new(),
        subresource: None,
        body: object,
        options: Options::default(),
    };
    world.request(&home(), &request).unwrap();
}

/// A Service with annotations and as many pods as are asked for.
fn serve(world: &mut World, annotations: &[(&str, &str)], pods: i32) {
    let all: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (format!("traffic.twin.kubercarbon.io/{key}"), json!(value)))
        .collect();
    create(
        world,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "annotations": all},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    );
    let container = json!({"name": "app", "image": "web:1", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}});
    create(
        world,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": pods,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}}}),
    );
}

fn at(seconds: i64) -> Instant {
    Instant::EPOCH + Span::from_seconds(seconds)
}

fn traffic(world: &World) -> ServiceTraffic {
    let all = world.traffic(&home());
    assert_eq!(all.len(), 1);
    let counts = all[0].counts;
    assert_eq!(counts.requests, counts.answered + counts.failed() + counts.under_way);
    all[0].clone()
}

#[test]
fn a_machine_that_stops_is_sent_to_until_it_is_noticed() {
    let mut world = world();
    serve(&mut world, &[("requests", "0s=0,1m=9")], 3);
    world.advance_to(at(120));
    let before = traffic(&world);
    assert_eq!((before.targets, before.serving, before.counts.failed()), (3, 3, 0));
    let lost = "twin-general-1";
    world.set_node(&home(), &NodeName::new(lost).unwrap(), NodeChange::Stop).unwrap();
    world.advance_to(at(150));
    let now = traffic(&world);
    assert!(now.serving < 3 && now.targets == 3, "clients do not know: {now:?}");
    assert!(now.counts.cut > 0 || before.counts.under_way < 3, "{:?}", now.counts);
    assert_eq!(now.counts.refused, 90 * i64::from(3 - now.serving));
    // 50 s after it fell silent the node is not ready, and a second later clients know.
    world.advance_to(at(300));
    let later = traffic(&world);
    assert_eq!((later.pace.errors_per_second, later.targets), (0.0, later.serving));
    assert_eq!(later.counts.refused, 3 * 51 * i64::from(3 - now.serving));
}

#[test]
fn pods_use_cpu_for_what_they_answer() {
    let mut world = world();
    serve(&mut world, &[("requests", "0s=0,1m=6"), ("service-time", "100ms"), ("cpu-per-request", "50m")], 2);
    world.advance_to(at(100));
    let question = twin::apiserver::metrics::Question {
        plural: "pods".to_owned(),
        namespace: Some("default".to_owned()),
        ..Default::default()
    };
    let used = |world: &World| -> Vec<String> {
        let answer =
            twin::apiserver::metrics::answer(world.objects(&home()).unwrap(), world.now(), &question);
        let items = answer.unwrap()["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["containers"][0]["usage"]["cpu"].as_str().unwrap().to_owned()).collect()
    };
    // Three a second each, 50 ms of CPU each.
    assert_eq!(used(&world), ["150000000n", "150000000n"]);
}

#[test]
fn a_world_that_was_saved_goes_on_as_it_would_have() {
    let mut plain = world();
    serve(&mut plain, &[("requests", "0s=0,1m=25,2m=25,3m~5"), ("timeout", "5s"), ("variability", "2")], 2);
    plain.advance_to(at(90));
    let saved = serde_json::to_string(&plain).unwrap();
    let mut loaded: World = serde_json::from_str(&saved).unwrap();
    for world in [&mut plain, &mut loaded] {
        world.advance_to(at(400));
    }
    assert_eq!(traffic(&plain), traffic(&loaded));
    assert!(traffic(&plain).counts.timed_out > 0);
    // Looking in between changes nothing that is counted.
    let mut asked: World = serde_json::from_str(&saved).unwrap();
    for second in 90..400 {
        asked.advance_to(at(second));
        traffic(&asked);
    }
    asked.advance_to(at(400));
    assert_eq!(traffic(&plain), traffic(&asked));
}

#[test]
fn an_autoscaler_tells_pods_apart_that_serve_and_that_do_not_yet() {
    let mut world = world();
    serve(&mut world, &[("requests", "0s=0,1m=18"), ("propagation", "1m")], 2);
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}});
    create(
        &mut world,
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2, "maxReplicas": 3, "metrics": [metric]}}),
    );
    // Two pods serve at 90 %; the third is ready a few seconds after the first look, and clients hear of it a minute later.
    world.advance_to(at(120));
    let objects = world.objects(&home()).unwrap();
    let kind = objects.kind_of("autoscaling/v2", "HorizontalPodAutoscaler").unwrap();
    let found = objects.get(kind, "default", "web").unwrap().to_value();
    let used = &found["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"];
    assert_eq!(
        (traffic(&world).serving, found["status"]["currentReplicas"].as_i64()),
        (2, Some(3)),
        "{found}"
    );
    assert_eq!(used.as_i64(), Some(60), "90, 90 and 0: {found}");
}

#[test]
fn requests_end_with_their_service() {
    let mut world = world();
    serve(&mut world, &[("requests", "10")], 2);
    world.advance_to(at(60));
    assert!(traffic(&world).counts.refused > 0, "until there were pods");
    let request = Request {
        verb: Verb::Delete,
        kind: world.objects(&home()).unwrap().kind_of("v1", "Service").unwrap(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        subresource: None,
        body: Value::Null,
        options: Options::default(),
    };
    world.request(&home(), &request).unwrap();
    world.advance_to(at(120));
    assert!(world.traffic(&home()).is_empty());
}

/// A recorded trace, and all requests in it.
fn recorded(name: &str, width: Span) -> Option<(Curve, u64)> {
    let Some(data) = std::env::var_os("KUBERCARBON_TESTDATA") else {
        println!("skipped: KUBERCARBON_TESTDATA names no folder");
        return None;
    };
    let place = Path::new(&data).join("data/traces").join(name);
    let Ok(file) = std::fs::File::open(&place) else {
        println!("skipped: no {}", place.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    // Three days from the twentieth on: the whole takes a minute.
    let (skip, take) = (20 * 1440, 3 * 1440);
    let last = |line: &str| line.rsplit(',').next().unwrap().parse::<u64>().unwrap();
    let sum = text.lines().skip(1 + skip).take(take).map(last).sum();
    let trace = Trace { column: "requests_per_min".to_owned(), width, skip, take, scale_milli: 1000 };
    Some((Curve::read_trace(&text, &trace).unwrap(), sum))
}

#[test]
fn recorded_traces_come_to_the_last_request() {
    for name in ["worldcup98_requests_per_min.csv.gz", "nasa95_requests_per_min.csv.gz"] {
        let Some((curve, sum)) = recorded(name, Span::MINUTE) else { return };
        let mut flow = Flow::new(Instant::EPOCH);
        let mut since = Span::ZERO;
        loop {
            let (rate, next) = curve.at(since);
            // Ten pods of 2 a second: too few for the World Cup's evenings.
            let setting = Setting {
                rate,
                targets: 10,
                serving: 10,
                capacity: 2_000_000,
                workers: 1,
                timeout: Span::from_seconds(10),
                ..Setting::nothing()
            };
            flow.set(Instant::EPOCH + since, setting);
            let Some(next) = next else { break };
            since = next;
        }
        flow.advance(Instant::EPOCH + since + Span::DAY);
        let counts = flow.counts();
        assert_eq!(counts.requests, counts.answered + counts.failed() + counts.under_way, "{name}");
        // Each minute's rate is rounded down to a millionth of a request a second.
        let rounded = counts.requests.abs_diff(i64::try_from(sum).unwrap());
        assert!(rounded <= 10, "{name}: {} of {sum}", counts.requests);
        // What is over is counted in whole requests, so that up to four are put down as under way.
        assert!(counts.under_way < 5, "{name}: {counts:?}");
        println!("{name}: {counts:?}, 99 % within {:?} s", flow.responses().quantile(0.99));
    }
}
