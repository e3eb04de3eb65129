//! Admission webhooks and what controllers make: they are asked about it by whoever serves the world, and waited for.

use crate::fixture::*;
use serde_json::{Value, json};
use twin::apiserver::Call;
use twin::{Kind, World};

const VERSION: &str = "admissionregistration.k8s.io/v1";

fn kind(api_version: &str, name: &str) -> Kind {
    Kind::of_object(api_version, name).unwrap()
}

/// A webhook about new objects of core, apps and batch; `more` is set in it.
fn hook(world: &mut World, mutating: bool, name: &str, more: Value) {
    let kind_name = if mutating { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
    let mut webhook = json!({"name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://127.0.0.1:1/{name}")}, "timeoutSeconds": 3, "rules": [
            {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
    webhook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let doc =
        json!({"apiVersion": VERSION, "kind": kind_name, "metadata": {"name": name}, "webhooks": [webhook]});
    create(world, kind(VERSION, kind_name), doc);
}

fn set(kind_name: &str, name: &str, replicas: u32) -> Value {
    let container = json!({"name": "main", "image": "web:1", "resources": {"requests": {"cpu": "100m"}}});
    let mut body = json!({"apiVersion": "apps/v1", "kind": kind_name, "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}}});
    if kind_name != "DaemonSet" {
        body["spec"]["replicas"] = json!(replicas);
    }
    body
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            text.push(if i <= chunk.len() {
                char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63])
            } else {
                '='
            });
        }
    }
    text
}

fn patch(operations: Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": base64(operations.to_string().as_bytes())})
}

fn sidecar() -> Value {
    patch(
        json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "proxy:2"}}]),
    )
}

/// Answers every open question at this instant; gives what was asked.
fn answer(world: &mut World, say: &dyn Fn(&Call) -> Value) -> Vec<Call> {
    let open: Vec<(u64, Call)> = world.questions().map(|(_, number, call)| (number, call.clone())).collect();
    for (number, call) in &open {
        let mut response = say(call);
        response["uid"] = call.review["request"]["uid"].clone();
        let review =
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
        world.answer(&kr(), *number, Ok(review));
    }
    open.into_iter().map(|(_, call)| call).collect()
}

fn containers(pod: &Value) -> Vec<&str> {
    pod["spec"]["containers"].as_array().unwrap().iter().map(|c| c["image"].as_str().unwrap()).collect()
}

#[test]
fn pods_of_sets_get_their_sidecar_and_are_asked_about_in_growing_batches() {
    let mut world = world(1);
    world.set_served(true);
    hook(&mut world, true, "sidecar", json!({}));
    hook(&mut world, false, "judge", json!({}));
    create(&mut world, kind("apps/v1", "ReplicaSet"), set("ReplicaSet", "web", 7));
    let mut batches = Vec::new();
    let mut names = Vec::new();
    while world.has_questions() {
        let asked = answer(&mut world, &|call| {
            if call.webhook.starts_with("judge") { json!({"allowed": true}) } else { sidecar() }
        });
        let request = &asked[0].review["request"];
        assert_eq!(
            request["userInfo"]["username"],
            "system:serviceaccount:kube-system:replicaset-controller"
        );
        let judged = request["object"]["metadata"]["name"].is_string();
        assert_eq!(request["object"]["metadata"]["uid"].is_string(), judged, "{request}");
        if judged {
            names.extend(
                asked.iter().map(|call| call.review["request"]["object"]["metadata"]["name"].clone()),
            );
            batches.push(asked.len());
            assert_eq!(request["object"]["spec"]["containers"][1]["image"], "proxy:2");
        }
        let mut uids: Vec<&Value> = asked.iter().map(|call| &call.review["request"]["uid"]).collect();
        uids.sort_by_key(|uid| uid.to_string());
        uids.dedup();
        assert_eq!(uids.len(), asked.len(), "each review has a uid of its own");
    }
    assert_eq!(batches, [1, 2, 4]);
    let made: Vec<Value> = pods(&world).iter().map(|pod| pod["metadata"]["name"].clone()).collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(made, names, "what was judged is what is made");
    for pod in pods(&world) {
        assert_eq!(containers(&pod), ["web:1", "proxy:2"]);
        // What the API server mounts is mounted into what was injected, too.
        assert_eq!(
            pod["spec"]["containers"][1]["volumeMounts"][0]["mountPath"],
            "/var/run/secrets/kubernetes.io/serviceaccount"
        );
    }
    pass(&mut world, 60);
    assert_eq!(phases(&world), vec!["Running"; 7]);
}

#[test]
fn a_refusal_is_an_event_and_asked_about_again_after_a_while() {
    let mut world = world(1);
    world.set_served(true);
    hook(&mut world, false, "judge", json!({}));
    create(
        &mut world,
        Kind::Job,
        job("batch", "1", &["sleep", "5"], json!({"parallelism": 3, "completions": 3})),
    );
    let no = json!({"allowed": false, "status": {"message": "no Jobs today"}});
    assert_eq!(answer(&mut world, &|_| no.clone()).len(), 1, "one is tried first");
    let said = events(&world, "batch");
    assert_eq!(
        said,
        [
            "FailedCreate: Error creating: admission webhook \"judge.example.com\" denied the request: no Jobs today"
        ]
    );
    assert!(!world.has_questions());
    pass(&mut world, 59);
    assert!(!world.has_questions(), "it backs off");
    pass(&mut world, 1);
    let mut answered = 0;
    while world.has_questions() {
        answered += answer(&mut world, &|_| json!({"allowed": true})).len();
    }
    assert_eq!((answered, pods(&world).len()), (3, 3));
    pass(&mut world, 60);
    assert_eq!(condition(&get(&world, Kind::Job, "batch"), "Complete"), "True CompletionsReached");
}

#[test]
fn who_does_not_answer_in_time_is_judged_by_the_failure_policy() {
    for (policy, made) in [("Ignore", 1), ("Fail", 0)] {
        let mut world = world(1);
        world.set_served(true);
        hook(&mut world, true, "slow", json!({"failurePolicy": policy}));
        create(&mut world, kind("apps/v1", "ReplicaSet"), set("ReplicaSet", "web", 1));
        let late = world.questions().next().unwrap().1;
        world.advance_to(start() + fleet::Span::from_millis(2_999));
        assert_eq!(pods(&world).len(), 0, "{policy}");
        world.advance_to(start() + fleet::Span::from_seconds(3));
        assert_eq!(pods(&world).len(), made, "{policy}");
        if policy == "Fail" {
            assert_eq!(
                events(&world, "web"),
                [
                    "FailedCreate: Error creating: Internal error occurred: failed calling webhook \"slow.example.com\": failed to call webhook: Post \"https://127.0.0.1:1/slow?timeout=3s\": context deadline exceeded"
                ]
            );
        }
        // What comes too late is nobody's.
        let before = serde_json::to_string(&world).unwrap();
        world.answer(&kr(), late, Err("late".to_owned()));
        assert_eq!(serde_json::to_string(&world).unwrap(), before);
    }
}

#[test]
fn where_nobody_asks_the_failure_policy_decides_at_once() {
    for (policy, made) in [("Ignore", 2), ("Fail", 0)] {
        let mut world = world(1);
        hook(&mut world, false, "judge", json!({"failurePolicy": policy}));
        create(&mut world, kind("apps/v1", "ReplicaSet"), set("ReplicaSet", "web", 2));
        assert_eq!((pods(&world).len(), world.has_questions()), (made, false), "{policy}");
        if policy == "Fail" {
            let said = events(&world, "web");
            assert!(said[0].ends_with("?timeout=3s\": nobody can be asked in a simulation"), "{said:?}");
        }
    }
}

#[test]
fn who_is_not_concerned_is_not_asked() {
    let mut world = world(1);
    world.set_served(true);
    hook(&mut world, false, "elsewhere", json!({"namespaceSelector": {"matchLabels": {"guarded": "yes"}}}));
    hook(&mut world, false, "others", json!({"objectSelector": {"matchLabels": {"app": "other"}}}));
    let condition =
        json!([{"name": "people", "expression": "!request.userInfo.username.startsWith('system:')"}]);
    hook(&mut world, false, "people", json!({"matchConditions": condition}));
    create(&mut world, kind("apps/v1", "ReplicaSet"), set("ReplicaSet", "web", 2));
    assert_eq!((pods(&world).len(), world.has_questions()), (2, false));
}

#[test]
fn all_controllers_of_workloads_wait_for_webhooks() {
    let mut world = world(2);
    world.set_served(true);
    let rule = |group: &str, resource: &str| json!({"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]});
    let rules = json!([rule("", "pods"), rule("batch", "jobs"), rule("", "persistentvolumeclaims")]);
    hook(
        &mut world,
        false,
        "judge",
        json!({"rules": rules, "matchConditions": [
        {"name": "controllers", "expression": "request.userInfo.username.startsWith('system:serviceaccount:')"}]}),
    );
    create(&mut world, kind("apps/v1", "DaemonSet"), set("DaemonSet", "agent", 0));
    let mut stateful = set("StatefulSet", "db", 2);
    stateful["spec"]["serviceName"] = json!("db");
    stateful["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    create(&mut world, kind("apps/v1", "StatefulSet"), stateful);
    let body = job("unused", "1", &["sleep", "5"], json!({}));
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cron", "namespace": NAMESPACE},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": body["spec"]}}});
    create(&mut world, kind("batch/v1", "CronJob"), cron);
    let mut asked = Vec::new();
    for _ in 0..90 {
        pass(&mut world, 1);
        while world.has_questions() {
            let calls = answer(&mut world, &|_| json!({"allowed": true}));
            asked.extend(calls.into_iter().map(|call| {
                let request = &call.review["request"];
                let who = request["userInfo"]["username"].as_str().unwrap().rsplit(':').next().unwrap();
                format!("{who} {}", request["resource"]["resource"].as_str().unwrap())
            }));
        }
    }
    asked.sort();
    assert_eq!(
        asked,
        [
            "cronjob-controller jobs",
            "daemon-set-controller pods",
            "daemon-set-controller pods",
            "job-controller pods",
            "statefulset-controller persistentvolumeclaims",
            "statefulset-controller persistentvolumeclaims",
            "statefulset-controller pods",
            "statefulset-controller pods",
        ]
    );
    assert_eq!(pods(&world).len(), 5);
    let status = get(&world, kind("batch/v1", "CronJob"), "cron")["status"].clone();
    assert_eq!(status["lastScheduleTime"], "2026-05-01T00:01:00Z", "{status}");
}

#[test]
fn the_same_answers_give_the_same_bytes_over_a_restart() {
    let run = |restarts: bool| {
        let mut world = world(1);
        world.set_served(true);
        hook(&mut world, true, "sidecar", json!({"timeoutSeconds": 10}));
        create(&mut world, kind("apps/v1", "ReplicaSet"), set("ReplicaSet", "web", 3));
        for _ in 0..3 {
            pass(&mut world, 2);
            if restarts {
                world = serde_json::from_str(&serde_json::to_string(&world).unwrap()).unwrap();
                world.set_served(true);
            }
            answer(&mut world, &|_| sidecar());
        }
        pass(&mut world, 60);
        assert_eq!(phases(&world), vec!["Running"; 3]);
        serde_json::to_string(&world).unwrap()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn what_nobody_wants_any_more_is_forgotten() {
    let mut world = world(1);
    world.set_served(true);
    hook(&mut world, false, "judge", json!({}));
    create(&mut world, kind("apps/v1", "ReplicaSet"), set("ReplicaSet", "web", 5));
    // Another template: what was asked about the old one does not count for the new.
    edit(&mut world, kind("apps/v1", "ReplicaSet"), "web", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        set["spec"]["replicas"] = json!(1);
    });
    let first = answer(&mut world, &|_| json!({"allowed": true}));
    assert_eq!((first.len(), pods(&world).len()), (1, 0));
    let second = answer(&mut world, &|_| json!({"allowed": true}));
    assert_eq!(second[0].review["request"]["object"]["spec"]["containers"][0]["image"], "web:2");
    assert_eq!((pods(&world).len(), world.has_questions()), (1, false));
    // Nor does it hold anybody up that who asked is gone.
    edit(&mut world, kind("apps/v1", "ReplicaSet"), "web", |set| set["spec"]["replicas"] = json!(2));
    delete(&mut world, kind("apps/v1", "ReplicaSet"), "web");
    answer(&mut world, &|_| json!({"allowed": true}));
    pass(&mut world, 60);
    assert_eq!((pods(&world).len(), world.has_questions()), (0, false));
}

#[test]
fn an_autoscaler_waits_until_it_was_answered_about_the_scale() {
    let mut world = world(1);
    world.set_served(true);
    let scales = json!([{"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}]);
    let mut web = set("Deployment", "web", 2);
    web["metadata"]["annotations"] = json!({"load.twin.kubercarbon.io/cpu": "400m"});
    create(&mut world, kind("apps/v1", "Deployment"), web);
    create(
        &mut world,
        kind("autoscaling/v2", "HorizontalPodAutoscaler"),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 2, "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 100}}}]}}),
    );
    hook(&mut world, false, "judge", json!({"rules": scales, "timeoutSeconds": 30}));
    let replicas =
        |world: &World| get(world, kind("apps/v1", "Deployment"), "web")["spec"]["replicas"].clone();
    let until_asked = |world: &mut World| {
        (1..=60).find(|_| {
            pass(world, 1);
            world.has_questions()
        })
    };
    assert!(until_asked(&mut world).is_some());
    // While it is asked, over a restart, nothing is done and nothing said.
    let mut world: World = serde_json::from_str(&serde_json::to_string(&world).unwrap()).unwrap();
    world.set_served(true);
    let said = events(&world, "web");
    pass(&mut world, 17);
    assert_eq!((replicas(&world), events(&world, "web")), (json!(2), said));
    let asked = answer(&mut world, &|_| json!({"allowed": false, "status": {"message": "not on Fridays"}}));
    let request = &asked[0].review["request"];
    assert_eq!((asked.len(), &request["subResource"]), (1, &json!("scale")));
    assert_eq!(
        request["userInfo"]["username"],
        "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    );
    assert_eq!(request["object"]["spec"]["replicas"], 4);
    let said = events(&world, "web");
    assert!(said.iter().any(|event| event.starts_with("FailedRescale: New size: 4") && event.ends_with("not on Fridays")), "{said:?}");
    assert_eq!(until_asked(&mut world), Some(15), "its period begins anew");
    answer(&mut world, &|_| json!({"allowed": true}));
    assert_eq!((replicas(&world), world.has_questions()), (json!(4), false));
}
