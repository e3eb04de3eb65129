//! Clusters read from twin files: what was running goes on, what the twin has no controllers for stays, and bad
//! files are refused with their line.

use crate::fixture::*;
use fleet::{ClusterId, NodePower, NodeRates, Span, Watts};
use proptest::prelude::*;
use serde_json::{Value, json};
use twin::apiserver::Verb;
use twin::import::{BLANKED, Document, Error, ImportKind, KINDS, LINE_BYTES_MAX, Reader, clean};
use twin::{Kind, World};

const TAKEN: &str = "2026-05-01T00:00:00Z";

fn before(minutes: i64) -> String {
    (start() - Span::MINUTE.scaled(minutes, 1)).to_rfc3339_seconds()
}

/// An object of the cluster's, its uid made of its kind and name.
fn object(kind: &str, name: &str, body: Value) -> Value {
    let known = KINDS.iter().find(|k| k.kind == kind).unwrap();
    let mut object = body;
    object["apiVersion"] = json!(known.api_version());
    object["kind"] = json!(kind);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("{kind}-{name}"));
    object["metadata"]["creationTimestamp"] = json!(before(100));
    if !matches!(kind, "Namespace" | "Node" | "PriorityClass") {
        object["metadata"]["namespace"] = json!(NAMESPACE);
    }
    object
}

fn owned(kind: &str, name: &str) -> Value {
    let api_version = KINDS.iter().find(|k| k.kind == kind).unwrap().api_version();
    json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": format!("{kind}-{name}"), "controller": true}])
}

fn a_node(name: &str) -> Value {
    let amounts = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]);
    object(
        "Node",
        name,
        json!({"spec": {}, "status": {"capacity": amounts, "allocatable": amounts, "conditions": ready}}),
    )
}

/// A pod that has run on node `n1` for so many minutes.
fn a_pod(name: &str, owners: Value, minutes: i64) -> Value {
    let container = json!({"name": "main", "image": "i", "resources": {"requests": {"cpu": "1"}}});
    let of_job = owners[0]["kind"] == "Job";
    let finalizers = if of_job { json!(["batch.kubernetes.io/job-tracking"]) } else { Value::Null };
    let labels = json!({"job": owners[0]["name"]});
    let running = json!([{"name": "main", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": before(minutes)}}}]);
    object(
        "Pod",
        name,
        json!({
            "metadata": {"ownerReferences": owners, "finalizers": finalizers, "labels": labels},
            "spec": {"nodeName": "n1", "restartPolicy": "Never", "containers": [container]},
            "status": {"phase": "Running", "podIP": "10.1.0.9", "startTime": before(minutes), "containerStatuses": running,
                "conditions": [{"type": "Ready", "status": "True"}]},
        }),
    )
}

fn a_job(name: &str, annotations: Value, status: Value) -> Value {
    let template = json!({"metadata": {"labels": {"job": name}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}});
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template,
        "selector": {"matchLabels": {"job": name}}});
    object("Job", name, json!({"metadata": {"annotations": annotations}, "spec": spec, "status": status}))
}

/// A cluster with a running Job, a finished one, a Deployment's pod and one whose owner nobody could read.
fn objects() -> Vec<Value> {
    let finished = json!({"succeeded": 1, "startTime": before(90), "completionTime": before(50), "conditions": [
        {"type": "Complete", "status": "True", "lastTransitionTime": before(50)}]});
    let active = json!({"active": 1, "startTime": before(21)});
    vec![
        object(
            "Namespace",
            NAMESPACE,
            json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
        ),
        object("Namespace", "kube-system", json!({"status": {"phase": "Active"}})),
        a_node("n1"),
        object("Deployment", "web", json!({"spec": {"replicas": 1}})),
        object("ReplicaSet", "web-1", json!({"metadata": {"ownerReferences": owned("Deployment", "web")}})),
        a_job("nightly-1", Value::Null, finished),
        a_job("nightly-2", Value::Null, active.clone()),
        a_job("stated", json!({"kubercarbon.io/expected-duration": "30m"}), active),
        a_pod("nightly-2-a", owned("Job", "nightly-2"), 20),
        a_pod("orphan", owned("Job", "unread"), 20),
        a_pod("stated-a", owned("Job", "stated"), 20),
        a_pod("web-1-a", owned("ReplicaSet", "web-1"), 20),
    ]
}

/// The lines of a file of these objects, in the file's order of kinds.
fn lines(objects: &[Value]) -> Vec<Vec<u8>> {
    let of = |kind: &ImportKind| objects.iter().filter(|o| o["kind"] == kind.kind).count();
    let kinds = KINDS.iter().filter(|kind| of(kind) > 0).map(|kind| {
        json!({"apiVersion": kind.api_version(), "kind": kind.kind, "resourceVersion": "7", "objects": of(kind), "content": "whole"})
    });
    let cluster = json!({
        "name": "kr", "context": "kr", "takenAt": TAKEN, "uid": "Namespace-kube-system", "serverVersion": "v1.36.0",
        "region": "ap-northeast-2", "gridZone": "KR", "pueMilli": 1200, "instanceTypes": {"": 1},
        "kinds": kinds.collect::<Vec<_>>(), "blanked": 0,
    });
    let header = json!({"apiVersion": "kubercarbon.io/v1alpha1", "kind": "Twin", "by": "test", "takenAt": TAKEN, "clusters": [cluster]});
    let objects = KINDS.iter().flat_map(|kind| objects.iter().filter(|o| o["kind"] == kind.kind));
    let lines = objects.map(|object| json!({"cluster": "kr", "object": object}));
    std::iter::once(header).chain(lines).map(|line| line.to_string().into_bytes()).collect()
}

fn read(lines: &[Vec<u8>]) -> Result<Document, Error> {
    let mut reader = Reader::new();
    for line in lines {
        reader.line(line)?;
    }
    reader.end()
}

fn world() -> World {
    let watts = Watts::from_watts_f64;
    let power = NodePower { idle: watts(40.0), full: watts(120.0) };
    let price = fleet::MoneyPerHour::from_units_f64(0.4);
    let rates = |_: &_| NodeRates { power, price, embodied: None, from: fleet::RatesFrom::default() };
    World::imported(read(&lines(&objects())).unwrap(), 42, &rates)
}

fn phase(world: &World, pod: &str) -> String {
    find(world, Kind::Pod, pod)
        .map_or("gone".to_owned(), |p| p["status"]["phase"].as_str().unwrap().to_owned())
}

#[test]
fn objects_are_as_they_were() {
    let document = read(&lines(&objects())).unwrap();
    let aside: Vec<(&str, u64)> = document.clusters[0].aside.iter().map(|(k, n)| (k.as_str(), *n)).collect();
    assert_eq!(aside, [("deployments", 1), ("replicasets", 1)]);
    let world = world();
    assert_eq!(world.now(), start(), "time begins when it was taken");
    assert_eq!(world.imported_uid(&kr()), Some("Namespace-kube-system"));
    for expected in objects().iter().filter(|o| matches!(o["kind"].as_str(), Some("Pod" | "Node" | "Job"))) {
        let kind = match expected["kind"].as_str() {
            Some("Pod") => Kind::Pod,
            Some("Node") => Kind::Node,
            _ => Kind::Job,
        };
        let found = get(&world, kind, expected["metadata"]["name"].as_str().unwrap());
        for part in ["uid", "ownerReferences", "creationTimestamp"] {
            assert_eq!(found["metadata"][part], expected["metadata"][part], "{found}");
        }
        assert_eq!(found["spec"]["nodeName"], expected["spec"]["nodeName"]);
        assert_eq!(found["status"]["phase"], expected["status"]["phase"]);
        assert_eq!(found["status"]["containerStatuses"], expected["status"]["containerStatuses"]);
        let counted = ["nightly-2-a", "stated-a"].map(Value::from).contains(&expected["metadata"]["name"]);
        let held = if counted { json!(["batch.kubernetes.io/job-tracking"]) } else { Value::Null };
        assert_eq!(found["metadata"]["finalizers"], held, "until its Job, if that is here, has counted it");
    }
    let mut expected: Vec<&str> = vec!["nightly-2-a", "orphan", "stated-a", "web-1-a"];
    expected.sort();
    let names: Vec<String> =
        pods(&world).iter().map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, expected);
    // 40 W and the half of 80 W that four of eight cores come to, times the facility factor.
    assert_eq!(world.power(&kr()).unwrap(), Watts::from_watts_f64(96.0));
}

#[test]
fn jobs_end_when_they_were_to_and_the_rest_stays() {
    let mut world = world();
    // Expected to last 30 min, give or take 5 %, of which 20 have passed; its siblings took 40.
    pass(&mut world, 8 * 60);
    assert_eq!(phase(&world, "stated-a"), "Running");
    pass(&mut world, 4 * 60);
    assert_eq!([phase(&world, "stated-a"), phase(&world, "nightly-2-a")], ["Succeeded", "Running"]);
    pass(&mut world, 11 * 60);
    assert_eq!(phase(&world, "nightly-2-a"), "Succeeded");
    assert!(condition(&get(&world, Kind::Job, "nightly-2"), "Complete").starts_with("True"));
    assert_eq!(get(&world, Kind::Job, "nightly-1")["status"]["succeeded"], 1, "counted before");
    pass(&mut world, 30 * 86_400);
    assert_eq!([phase(&world, "web-1-a"), phase(&world, "orphan")], ["Running", "Running"]);
}

#[test]
fn what_is_new_finds_its_place_beside_what_was_there() {
    let mut world = world();
    for name in ["a", "b"] {
        create(&mut world, Kind::Job, job(name, "3", &["sleep", "600"], json!({})));
    }
    pass(&mut world, 60);
    let new = |phase: &str| phases(&world).iter().filter(|p| *p == phase).count();
    assert_eq!((new("Running"), new("Pending")), (5, 1), "four of eight cores are taken");
    let deleted = request(Verb::Delete, Kind::Pod, json!({"metadata": {"name": "web-1-a"}}));
    world.request(&kr(), &deleted).unwrap();
    pass(&mut world, 60);
    assert_eq!(phase(&world, "web-1-a"), "gone", "no finalizer holds it");
}

#[test]
fn the_same_file_and_seed_give_the_same_bytes() {
    let run = |stops: &[i64]| {
        let mut world = world();
        for minutes in stops {
            world.advance_to(start() + Span::MINUTE.scaled(*minutes, 1));
            let saved = serde_json::to_string(&world).unwrap();
            world = serde_json::from_str(&saved).unwrap();
            assert_eq!(serde_json::to_string(&world).unwrap(), saved);
        }
        world.advance_to(start() + Span::DAY);
        serde_json::to_string(&world).unwrap()
    };
    assert_eq!(run(&[]), run(&[3, 17, 18]));
}

#[test]
fn bad_files_are_refused_with_their_line() {
    let good = lines(&objects());
    let check = |lines: &[Vec<u8>], expected: &str| {
        let error = read(lines).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    };
    let edited = |at: usize, from: &str, to: &str| {
        let mut lines = good.clone();
        let text = String::from_utf8(lines[at].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        lines[at] = text.replace(from, to).into_bytes();
        lines
    };
    check(
        &good[..good.len() - 1],
        "line 13: the end after 3 of 4 Pod objects of cluster kr: expected all of them",
    );
    check(&good[..1], "line 2: the end after 0 of 2 Namespace objects");
    check(&[], "line 1: nothing: expected the header of a twin file");
    check(
        &edited(0, "v1alpha1", "v2"),
        "line 1: apiVersion \"kubercarbon.io/v2\": expected kubercarbon.io/v1alpha1",
    );
    check(&edited(0, "\"Twin\"", "\"Fleet\""), "line 1: kind \"Fleet\": expected Twin");
    check(&edited(0, "blanked", "blank"), "line 1: clusters[0].blank: unknown field `blank`");
    check(
        &edited(0, "\"objects\":1", "\"objects\":900000"),
        "line 1: 900000 nodes in cluster kr: expected at most 5000",
    );
    check(&edited(0, "\"objects\":4", "\"objects\":900000"), "line 1: 900");
    let (mut twice, mut more, mut long) = (good.clone(), good.clone(), good.clone());
    twice[12] = twice[11].clone();
    check(&twice, "line 13: Pod default/stated-a a second time: expected each object once");
    more.push(good[12].clone());
    check(&more, "line 14: one more object: expected none");
    long[3].resize(LINE_BYTES_MAX + 1, b' ');
    check(&long, "line 4: a line of 4194305 bytes: expected at most 4194304");
    check(
        &edited(12, "\"uid\":\"Pod-web-1-a\"", "\"uid\":\"Pod-orphan\""),
        "line 13: uid Pod-orphan, which line 11 has",
    );
    check(&edited(3, "\"kr\"", "\"jp\""), "line 4: v1 Node of cluster jp: expected v1 Node of cluster kr");
    check(
        &edited(12, "\"cpu\":\"1\"", "\"cpu\":\"one\""),
        "line 13: Pod in version \"v1\" cannot be handled",
    );
    check(&edited(9, "{\"cluster\"", "{\"clusters\""), "line 10: {\"clusters\"");
    check(&edited(3, "n1", ""), "line 4: a Node without a name or uid: expected both");
    let circle =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "ReplicaSet-web-1"}]);
    let mut objects = objects();
    objects[3]["metadata"]["ownerReferences"] = circle;
    check(&lines(&objects), "line 5: an object that owns itself, directly or through others");
    let secret = object("Secret", "s", json!({"type": "Opaque", "data": {"k": "aHVudGVyMg=="}}));
    check(&lines(&[secret]), "line 2: content of Secret default/s: expected its name and type alone");
}

/// An object of a kind with the secret wherever Kubernetes or people put credentials.
fn planted(kind: &ImportKind, secret: &str, name: &str) -> Value {
    let container = json!({
        "name": "main",
        "env": [{"name": name, "value": secret}, {"name": "URL", "value": format!("amqp://app:{secret}@mq/")}],
        "args": [format!("--{name}"), secret, format!("--{name}={secret}"), "--verbose"],
        "command": ["sh", "-c", format!("export {name}={secret}; curl -H 'Authorization: Bearer {secret}' http://x")],
        "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": secret}]}},
    });
    let pod =
        json!({"containers": [container], "initContainers": [container], "ephemeralContainers": [container]});
    let mut object = object(
        kind.kind,
        "x",
        json!({
            "metadata": {
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": secret, name: secret},
                "managedFields": [{"fieldsV1": {"f:data": {secret: {}}}}],
            },
            "spec": {"containers": pod["containers"], "template": {"spec": pod, "metadata": {"annotations": {name: secret}}},
                "jobTemplate": {"spec": {"template": {"spec": pod}}}, "csi": {"volumeAttributes": {name: secret}}},
            "parameters": {name: secret},
            "status": {"containerStatuses": [{"state": {"terminated": {"message": format!("{name}={secret}")}}}]},
        }),
    );
    if matches!(kind.kind, "Secret" | "ConfigMap") {
        object["data"] = json!({"any": secret, "file": format!("level: info\nplain {secret}")});
        object["binaryData"] = json!({"any": secret});
        object["stringData"] = json!({"any": secret});
        object["metadata"]["labels"] = json!({"l": secret});
    }
    object
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the secret, the kind and what it is called.
    #[test]
    fn no_secret_is_in_what_is_written(
        secret in "[a-zA-Z0-9]{8,40}",
        kind in 0..KINDS.len(),
        name in prop::sample::select(vec!["DB_PASSWORD", "api-token", "clientSecret", "AWS_ACCESS_KEY_ID", "x-api-key", "AUTH"]),
    ) {
        prop_assume!(!BLANKED.contains(&secret));
        let mut object = planted(&KINDS[kind], &secret, name);
        clean(&KINDS[kind], false, &mut object);
        let text = object.to_string();
        prop_assert!(!text.contains(&secret), "{}", text);
        let once = object.clone();
        prop_assert_eq!(clean(&KINDS[kind], false, &mut object).0, 0, "cleaning twice is cleaning once");
        prop_assert_eq!(object, once);
    }
}

#[test]
fn clusters_keep_their_names() {
    let document = read(&lines(&objects())).unwrap();
    let fleet = document.fleet();
    assert_eq!(fleet.clusters[0].id, ClusterId::new("kr").unwrap());
    assert_eq!(fleet.clusters[0].pue_milli, 1200);
}
