//! The twin's workload controllers against recorded runs of the real ones, Kubernetes 1.36.
//!
//! Cases are read from `$CONFORMANCE_DIR/workloads/*.jsonl.gz`, else `$KUBERCARBON_TESTDATA/conformance`; without either
//! the tests say so and pass. A world plays each case: its controllers run, while users' actions and the pods' lives come
//! from the case. Half a second into each second its state must be the recorded one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
#[path = "workloads/kubelet.rs"]
mod kubelet;
mod recorded;
#[path = "workloads/shown.rs"]
mod shown;

use agreement::report;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use kubelet::{Kubelet, claim, home, request};
use recorded::cases;
use serde_json::{Value, json};
use shown::Shown;
use twin::apiserver::{PatchType, Verb};
use twin::replicaset::deletion_order;
use twin::{Kind, World};

fn kind_of(name: &str) -> Kind {
    match name {
        "Pod" => Kind::Pod,
        "Job" => Kind::Job,
        "Deployment" | "StatefulSet" => Kind::of_object("apps/v1", name).unwrap(),
        "CronJob" => Kind::of_object("batch/v1", name).unwrap(),
        "PodDisruptionBudget" => Kind::of_object("policy/v1", name).unwrap(),
        other => panic!("kind {other}"),
    }
}

fn world(start: Instant) -> World {
    let text = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  \
        nodeGroups: [{name: general, instanceType: m6i.large, count: 1}]\n";
    let mut world = World::new(&fleet::file::parse(text).unwrap(), start, 7);
    let mut create = request(
        Verb::Create,
        Kind::Namespace,
        "",
        None,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kubelet::NAMESPACE}}),
    );
    create.namespace = String::new();
    world.request(&home(), &create).unwrap();
    world
}

/// The recording's API took more failed indexes than there are, which a real one refuses; as many as there are is the same.
fn bound(object: &mut Value) {
    let (most, all) = (object["spec"]["maxFailedIndexes"].as_i64(), object["spec"]["completions"].as_i64());
    if let (Some(most), Some(all)) = (most, all) {
        object["spec"]["maxFailedIndexes"] = json!(most.min(all));
    }
}

/// What a user does.
fn act(world: &mut World, action: &Value) {
    let kind = kind_of(action["kind"].as_str().unwrap());
    let name = action["name"].as_str().unwrap();
    let request = match action["do"].as_str().unwrap() {
        "create" => {
            let mut object = action["object"].clone();
            claim(&mut object);
            bound(&mut object);
            request(Verb::Create, kind, name, None, object)
        }
        "patch" => request(Verb::Patch(PatchType::StrategicMerge), kind, name, None, action["patch"].clone()),
        "delete" => request(Verb::Delete, kind, name, None, Value::Null),
        other => panic!("{other}"),
    };
    // One who deletes a pod that is gone is told so.
    let answer = world.request(&home(), &request);
    assert!(answer.is_ok() || request.verb == Verb::Delete, "{:?}\n{action}", answer.err());
}

/// The recorded runs had no garbage collector: claims that belong to a pod or a set that is gone are still there.
fn leave_uncollected(expected: &mut Value, world: &World) {
    let claims = Kind::of_object("v1", "PersistentVolumeClaim").unwrap();
    let there = |name: &str| world.objects(&home()).unwrap().get(claims, kubelet::NAMESPACE, name).is_some();
    let deletes = |set: &Value| {
        let policy = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
        policy["whenScaled"] == "Delete" || policy["whenDeleted"] == "Delete"
    };
    let sets = Kind::of_object("apps/v1", "StatefulSet").unwrap();
    let mut all = world.objects(&home()).unwrap().list(sets, Some(kubelet::NAMESPACE));
    if all.any(|stored| deletes(&stored.object.to_value())) {
        let kept = |key: &String| key.strip_prefix("pvc/").is_none_or(there);
        expected.as_object_mut().unwrap().retain(|key, _| kept(key));
    }
}

/// The real Job controller counts a failed pod that its index's next pod takes over from in the look after it made that,
/// a second later; the world does at once.
fn counted_at_once(expected: &Value, next: Option<&Value>, found: &Value) -> Value {
    let mut expected = expected.clone();
    let Some(next) = next else { return expected };
    for (key, state) in
        expected.as_object_mut().unwrap().iter_mut().filter(|(key, _)| key.starts_with("job/"))
    {
        if next["state"][key]["failed"] == found[key]["failed"] && found[key]["active"] != 0 {
            state["failed"] = found[key]["failed"].clone();
        }
    }
    expected
}

/// Plays a case; the first second in which it differs.
fn play(case: &Value) -> Option<String> {
    let start = Instant::parse(case["start"].as_str().unwrap()).unwrap();
    let mut world = world(start);
    let mut kubelet = Kubelet::new(&case["kubelet"]);
    let mut shown = Shown::default();
    let mut expected = json!({});
    for t in 0..=case["seconds"].as_i64().unwrap() {
        let at = start + Span::from_seconds(t);
        world.advance_to(at);
        kubelet.note(&world, at);
        for action in case["actions"].as_array().unwrap().iter().filter(|a| a["t"] == t) {
            act(&mut world, action);
        }
        kubelet.look(&mut world);
        world.advance_to(at + Span::from_millis(500));
        // What a timer made since the look was made after it.
        kubelet.note(&world, at + Span::from_millis(100));
        if let Some(now) = case["expect"].as_array().unwrap().iter().find(|e| e["t"] == t) {
            expected = now["state"].clone();
        }
        leave_uncollected(&mut expected, &world);
        let next = case["expect"].as_array().unwrap().iter().find(|e| e["t"] == t + 1);
        let found = shown.state(&world, &kubelet, start);
        let expected = counted_at_once(&expected, next, &found);
        let refused: Vec<_> = world.refused().collect();
        assert!(refused.is_empty(), "case {} second {t}: {refused:?}", case["id"]);
        if let Some(difference) = shown::difference(&expected, &found) {
            return Some(format!("case {} second {t}\n{difference}", case["id"]));
        }
    }
    None
}

/// Plays the cases of a family. Those that may differ are named with the reason; any other difference fails.
fn agree(part: &str, explained: &[(i64, &str)]) {
    let Some(cases) = cases("workloads", part) else { return };
    let only = std::env::var("CONFORMANCE_CASE").ok().and_then(|id| id.parse::<i64>().ok());
    let chosen: Vec<&Value> = cases.iter().filter(|c| only.is_none_or(|id| c["id"] == id)).collect();
    let (mut unexplained, mut total) = (Vec::new(), chosen.len());
    for case in &chosen {
        let Some(difference) = play(case) else { continue };
        match explained.iter().find(|(id, _)| case["id"] == *id) {
            Some((id, why)) => {
                println!("workloads {part}: case {id} differs: {why}");
                total -= 1;
            }
            None => unexplained.push(difference),
        }
    }
    report(&format!("workloads {part}"), unexplained, total, 0);
}

#[test]
fn deployments_roll_out_alike() {
    let uids =
        "two pods are of about one age, so their uids say which goes, and the uids are the world's own";
    agree("-deployments", &[(25, uids)]);
}

#[test]
fn stateful_sets_keep_their_order_alike() {
    let order =
        "a pod is made by a timer in the second a user deletes it: here timers go first, there the user did";
    agree("-statefulsets", &[(30, order)]);
}

#[test]
fn jobs_run_alike() {
    agree("-jobs", &[]);
}

#[test]
fn cron_jobs_start_alike() {
    let frozen =
        "the recording stands still from second 239 on: even the pod that runs 130 s does not end in it";
    agree("-cronjobs", &[(65, frozen)]);
}

#[test]
fn pods_are_deleted_in_the_same_order() {
    let Some(cases) = cases("workloads", "-rank") else { return };
    let total = cases.len();
    let differ = |case: &Value| {
        let pods: Vec<Pod> = serde_json::from_value(case["pods"].clone()).unwrap();
        let ranks: Vec<usize> = serde_json::from_value(case["ranks"].clone()).unwrap();
        let now = Instant::parse(case["now"].as_str().unwrap()).unwrap();
        let all: Vec<&Pod> = pods.iter().collect();
        let order = deletion_order(&all, &ranks, now);
        let found: Vec<&str> = order.iter().filter_map(|p| p.metadata.name.as_deref()).collect();
        (json!(found) != case["expect"]).then(|| format!("found {found:?}\n    {case}"))
    };
    let differences = cases.iter().filter_map(differ).collect();
    report("workloads -rank", differences, total, 0);
}
