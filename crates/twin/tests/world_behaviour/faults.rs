//! Faults: what is refused, what waits, and that a world saved in the middle of them goes on as it would have.

use crate::fixture::*;
use fleet::{Bytes, Span};
use serde_json::{Value, json};
use twin::apiserver::Verb;
use twin::{ApiFault, Fault, Kind, World};

fn apps(kind: &str) -> Kind {
    Kind::of_object("apps/v1", kind).unwrap()
}

fn workload(kind: &str, name: &str, replicas: Option<i64>) -> Value {
    let mut body = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "app", "image": "web:1", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}}}});
    if let Some(replicas) = replicas {
        body["spec"]["replicas"] = json!(replicas);
    }
    body
}

fn status(world: &World, kind: &str, name: &str, field: &str) -> i64 {
    get(world, apps(kind), name)["status"][field].as_i64().unwrap_or(0)
}

#[test]
fn a_daemon_that_was_refused_is_made_again_once_there_is_room() {
    let mut world = world(2);
    create(&mut world, apps("DaemonSet"), workload("DaemonSet", "agent", None));
    pass(&mut world, 30);
    assert_eq!(status(&world, "DaemonSet", "agent", "numberReady"), 2);
    let full = Fault::Disk("kr-general-1".to_owned(), Bytes::from_bytes(78_000_000_000));
    world.begin_fault(&kr(), &full).unwrap();
    pass(&mut world, 120);
    assert_eq!(status(&world, "DaemonSet", "agent", "numberReady"), 1);
    world.end_fault(&kr(), &full).unwrap();
    // The pressure is told of for five minutes more; the one that was refused is left for four minutes by then.
    pass(&mut world, 330);
    assert_eq!(status(&world, "DaemonSet", "agent", "numberReady"), 1);
    pass(&mut world, 120);
    assert_eq!(status(&world, "DaemonSet", "agent", "numberReady"), 2);
}

#[test]
fn an_api_server_that_is_down_turns_everybody_away_and_nothing_is_decided() {
    let mut world = world(2);
    create(&mut world, apps("Deployment"), workload("Deployment", "web", Some(2)));
    pass(&mut world, 30);
    let down = Fault::Api(ApiFault::Down);
    world.begin_fault(&kr(), &down).unwrap();
    let body = workload("Deployment", "other", Some(1));
    let refusal = world.request(&kr(), &request(Verb::Create, apps("Deployment"), body)).unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (503, "ServiceUnavailable"));
    let crash = Fault::Crash("kr-general-1".to_owned());
    world.begin_fault(&kr(), &crash).unwrap();
    let before = world.objects(&kr()).unwrap().version();
    pass(&mut world, 3600);
    assert_eq!(world.objects(&kr()).unwrap().version(), before, "nobody wrote anything");
    world.end_fault(&kr(), &down).unwrap();
    pass(&mut world, 400);
    assert_eq!(status(&world, "Deployment", "web", "availableReplicas"), 2);
    // A machine that is gone for good is no error at the end, a cluster that is not there is one.
    world.end_fault(&kr(), &Fault::Crash("kr-general-9".to_owned())).unwrap();
    assert!(world.begin_fault(&kr(), &Fault::Crash("kr-general-9".to_owned())).is_err());
}

#[test]
fn refused_writes_are_tried_again_and_others_are_answered() {
    let mut world = world(2);
    let poor = Fault::Api(ApiFault::Poor { errors_percent: 50, latency: Span::ZERO });
    world.begin_fault(&kr(), &poor).unwrap();
    let mut codes = std::collections::BTreeSet::new();
    for n in 0..40 {
        let body = workload("Deployment", &format!("web-{n}"), Some(1));
        match world.request(&kr(), &request(Verb::Create, apps("Deployment"), body)) {
            Ok(_) => codes.insert(201),
            Err(status) => codes.insert(status.code),
        };
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [201, 429, 500, 504]);
    // Half of all is refused, and still every pod is there in a minute.
    pass(&mut world, 60);
    let wanted = all(&world, apps("Deployment")).len();
    assert!((10..=30).contains(&wanted), "{wanted}");
    assert_eq!(pods(&world).len(), wanted);
}

#[test]
fn a_world_saved_amid_faults_goes_on_as_it_would_have() {
    let bytes = |world: &World| serde_json::to_string(world).unwrap();
    let mut whole = world(3);
    create(&mut whole, apps("Deployment"), workload("Deployment", "web", Some(6)));
    create(
        &mut whole,
        Kind::Job,
        job("work", "1", &["sleep", "300"], json!({"completions": 4, "parallelism": 2})),
    );
    pass(&mut whole, 20);
    let node = |n: u32| format!("kr-general-{n}");
    let faults = [
        Fault::Partition(node(1)),
        Fault::Slow(node(2), 30),
        Fault::Disk(node(2), Bytes::from_bytes(70_000_000_000)),
        Fault::Registry,
        Fault::Metrics,
        Fault::Api(ApiFault::Poor { errors_percent: 40, latency: Span::from_millis(700) }),
    ];
    for fault in &faults {
        whole.begin_fault(&kr(), fault).unwrap();
    }
    let body = workload("Deployment", "other", Some(3));
    let _ = whole.request(&kr(), &request(Verb::Create, apps("Deployment"), body));
    pass(&mut whole, 61);
    let text = bytes(&whole);
    let mut loaded: World = serde_json::from_str(&text).unwrap();
    assert_eq!(bytes(&loaded), text);
    for world in [&mut whole, &mut loaded] {
        pass(world, 600);
        for fault in &faults {
            world.end_fault(&kr(), fault).unwrap();
        }
        pass(world, 1200);
    }
    assert!(bytes(&whole) == bytes(&loaded), "a loaded world goes on otherwise");
    assert_eq!(status(&whole, "Deployment", "web", "availableReplicas"), 6);
    assert_eq!(get(&whole, Kind::Job, "work")["status"]["succeeded"], 4);
}
