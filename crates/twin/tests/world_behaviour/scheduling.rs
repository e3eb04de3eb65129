//! Where pods go, and what they are told when there is no place.

use crate::fixture::*;
use serde_json::{Value, json};
use twin::Kind;

fn on_node(world: &twin::World, prefix: &str) -> Vec<String> {
    let of = |p: &Value| p["metadata"]["name"].as_str().unwrap().starts_with(prefix);
    let node = |p: &Value| p["spec"]["nodeName"].as_str().unwrap_or("-").to_owned();
    let mut nodes: Vec<String> = pods(world).iter().filter(|p| of(p)).map(node).collect();
    nodes.sort();
    nodes
}

#[test]
fn pods_spread_over_the_emptiest_nodes() {
    let mut world = world(3);
    create(
        &mut world,
        Kind::Job,
        job("a", "2", &["sleep", "60"], json!({"parallelism": 3, "completions": 3})),
    );
    assert_eq!(on_node(&world, "a"), ["kr-general-1", "kr-general-2", "kr-general-3"]);
}

#[test]
fn a_pod_that_fits_nowhere_says_why_and_goes_when_there_is_room() {
    let mut world = world(2);
    create(
        &mut world,
        Kind::Job,
        job("big", "6", &["sleep", "600"], json!({"parallelism": 2, "completions": 2})),
    );
    create(&mut world, Kind::Job, job("late", "4", &["sleep", "60"], json!({})));
    let waiting = pods(&world).into_iter().find(|p| p["spec"]["nodeName"].is_null()).unwrap();
    assert_eq!(condition(&waiting, "PodScheduled"), "False Unschedulable");
    let name = waiting["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        events(&world, name),
        [
            "FailedScheduling: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: \
          0/2 nodes are available: 2 No preemption victims found for incoming pod."
        ]
    );
    pass(&mut world, 609);
    assert_eq!(on_node(&world, "late"), ["-"]);
    pass(&mut world, 1);
    assert_eq!(on_node(&world, "late").len(), 1);
    assert_ne!(on_node(&world, "late"), ["-"]);
    let told = events(&world, name);
    assert!(told[1].starts_with("Scheduled: Successfully assigned default/late-"), "{told:?}");
}

#[test]
fn higher_priority_goes_first_when_room_appears() {
    let mut world = world(1);
    create(
        &mut world,
        Kind::PriorityClass,
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "urgent"}, "preemptionPolicy": "Never", "value": 1000}),
    );
    create(&mut world, Kind::Job, job("first", "6", &["sleep", "100"], json!({})));
    create(&mut world, Kind::Job, job("low", "6", &["sleep", "100"], json!({})));
    let urgent = json!({"template": {"spec": {"priorityClassName": "urgent"}}});
    create(&mut world, Kind::Job, job("high", "6", &["sleep", "100"], urgent));
    pass(&mut world, 120);
    assert_eq!(
        (on_node(&world, "high"), on_node(&world, "low")),
        (vec!["kr-general-1".into()], vec!["-".into()])
    );
}

#[test]
fn cordons_taints_and_selectors_are_respected() {
    let mut world = world(3);
    edit(&mut world, Kind::Node, "kr-general-1", |node| node["spec"]["unschedulable"] = json!(true));
    edit(&mut world, Kind::Node, "kr-general-2", |node| {
        node["spec"]["taints"] = json!([{"key": "dedicated", "value": "ml", "effect": "NoSchedule"}]);
    });
    create(
        &mut world,
        Kind::Job,
        job("plain", "1", &["sleep", "9"], json!({"parallelism": 2, "completions": 2})),
    );
    assert_eq!(on_node(&world, "plain"), ["kr-general-3", "kr-general-3"]);
    let selector =
        json!({"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "kr-general-2"}}}});
    create(&mut world, Kind::Job, job("picky", "1", &["sleep", "9"], selector));
    let pod = pods(&world).into_iter().find(|p| p["spec"]["nodeName"].is_null()).unwrap();
    assert_eq!(
        events(&world, pod["metadata"]["name"].as_str().unwrap()),
        ["FailedScheduling: 0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
          1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. no new claims to deallocate, \
          preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."]
    );
    edit(&mut world, Kind::Node, "kr-general-2", |node| node["spec"]["taints"] = json!([]));
    assert_eq!(on_node(&world, "picky"), ["kr-general-2"]);
}

#[test]
fn a_node_holds_no_more_than_its_allocatable() {
    let mut world = world(1);
    let node = get(&world, Kind::Node, "kr-general-1");
    // 8 vCPU less 90m, 32 GiB less 255 + 110 × 11 + 100 MiB: what EKS keeps.
    assert_eq!(node["status"]["allocatable"]["cpu"], "7910m");
    assert_eq!(node["status"]["allocatable"]["memory"], "31951872Ki");
    let many = json!({"parallelism": 20, "completions": 20});
    create(&mut world, Kind::Job, job("m", "500m", &["sleep", "9"], many));
    assert_eq!(on_node(&world, "m").iter().filter(|n| *n != "-").count(), 15);
    pass(&mut world, 60);
    assert_eq!(condition(&get(&world, Kind::Job, "m"), "Complete"), "True CompletionsReached");
}

fn urgent(world: &mut twin::World) -> Value {
    create(
        world,
        Kind::PriorityClass,
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "urgent"}, "value": 1000}),
    );
    json!({"template": {"spec": {"priorityClassName": "urgent"}}})
}

#[test]
fn a_more_important_pod_takes_the_room_of_others() {
    let mut world = world(1);
    let urgent = urgent(&mut world);
    create(&mut world, Kind::Job, job("low", "6", &["sleep", "600"], json!({"backoffLimit": 0})));
    pass(&mut world, 20);
    let low = pods(&world)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    create(&mut world, Kind::Job, job("high", "6", &["sleep", "100"], urgent));
    let high = pods(&world).into_iter().find(|p| p["spec"]["nodeName"].is_null()).unwrap();
    assert_eq!(high["status"]["nominatedNodeName"], "kr-general-1");
    assert_eq!(condition(&high, "PodScheduled"), "False Unschedulable");
    let victim = get(&world, Kind::Pod, &low);
    assert!(victim["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(condition(&victim, "DisruptionTarget"), "True PreemptionByScheduler");
    let uid = high["metadata"]["uid"].as_str().unwrap();
    let told = events(&world, &low);
    assert!(told.contains(&format!("Preempted: Preempted by pod {uid} on node kr-general-1")), "{told:?}");
    // The room is free once the victim has ended, and kept for the pod it was made for.
    create(&mut world, Kind::Job, job("late", "3", &["sleep", "600"], json!({})));
    pass(&mut world, 5);
    assert_eq!(
        (on_node(&world, "high"), on_node(&world, "late")),
        (vec!["kr-general-1".into()], vec!["-".into()])
    );
    assert!(
        get(&world, Kind::Pod, high["metadata"]["name"].as_str().unwrap())["status"]["nominatedNodeName"]
            .is_null()
    );
}

#[test]
fn a_gated_pod_waits_until_its_gates_are_gone() {
    let mut world = world(1);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gated", "namespace": NAMESPACE},
        "spec": {"schedulingGates": [{"name": "example.com/quota"}], "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "busybox:1.37", "command": ["sleep", "9"]}]},
    });
    create(&mut world, Kind::Pod, pod);
    pass(&mut world, 60);
    assert_eq!(condition(&get(&world, Kind::Pod, "gated"), "PodScheduled"), "False SchedulingGated");
    edit(&mut world, Kind::Pod, "gated", |pod| pod["spec"]["schedulingGates"] = json!([]));
    assert_eq!(on_node(&world, "gated"), ["kr-general-1"]);
}

#[test]
fn pods_that_keep_apart_wait_for_one_another() {
    let mut world = world(2);
    let apart = json!({"parallelism": 3, "completions": 3, "template": {
        "metadata": {"labels": {"app": "apart"}},
        "spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "apart"}}, "topologyKey": "kubernetes.io/hostname"}]}}}}});
    create(&mut world, Kind::Job, job("a", "1", &["sleep", "60"], apart));
    assert_eq!(on_node(&world, "a"), ["-", "kr-general-1", "kr-general-2"]);
    pass(&mut world, 90);
    assert_eq!(on_node(&world, "a").iter().filter(|n| *n != "-").count(), 3);
}

/// A pod that asks for most of a node.
fn big(name: &str, priority: i32, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"priority": priority, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "busybox:1.37", "command": ["sleep", "600"],
                "resources": {"requests": {"cpu": "6"}}}]},
    })
}

#[test]
fn whom_a_budget_protects_is_spared_as_long_as_it_does() {
    let budgets = Kind::find("policy", "v1", "poddisruptionbudgets").unwrap();
    for budget in [false, true] {
        let mut world = world(2);
        if budget {
            let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "cheap"}}});
            let meta = json!({"name": "b", "namespace": NAMESPACE});
            let kind = "PodDisruptionBudget";
            create(
                &mut world,
                budgets,
                json!({"apiVersion": "policy/v1", "kind": kind, "metadata": meta, "spec": spec}),
            );
        }
        create(&mut world, Kind::PriorityClass, class("low", 10));
        create(&mut world, Kind::PriorityClass, class("high", 1000));
        create(&mut world, Kind::Pod, classed(big("cheap", 0, json!({"app": "cheap"})), None));
        create(&mut world, Kind::Pod, classed(big("dear", 10, json!({"app": "dear"})), Some("low")));
        pass(&mut world, 20);
        create(&mut world, Kind::Pod, classed(big("urgent", 1000, json!({})), Some("high")));
        pass(&mut world, 20);
        // Without a budget the least important goes; a budget that allows nothing turns that round.
        let gone = if budget { "dear" } else { "cheap" };
        let there: Vec<String> =
            pods(&world).iter().map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        assert!(!there.contains(&gone.to_owned()) && there.len() == 2, "{budget}: {there:?}");
    }
}

fn class(name: &str, value: i32) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value})
}

fn classed(mut pod: Value, class: Option<&str>) -> Value {
    pod["spec"]["priorityClassName"] = json!(class);
    pod["spec"].as_object_mut().unwrap().retain(|_, v| !v.is_null());
    pod
}

#[test]
fn a_pod_waits_for_its_claim_and_goes_where_the_volume_is() {
    let mut world = world(2);
    let (claims, volumes) = (
        Kind::find("", "v1", "persistentvolumeclaims").unwrap(),
        Kind::find("", "v1", "persistentvolumes").unwrap(),
    );
    let mut pod = big("db", 0, json!({}));
    pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    create(&mut world, Kind::Pod, pod);
    let message = |world: &twin::World| {
        let pod = get(world, Kind::Pod, "db");
        let conditions = pod["status"]["conditions"].as_array().unwrap().clone();
        let found = conditions.into_iter().find(|c| c["type"] == "PodScheduled").unwrap();
        found["message"].as_str().unwrap_or_default().to_owned()
    };
    assert!(message(&world).contains("persistentvolumeclaim \"data\" not found"), "{}", message(&world));
    create(
        &mut world,
        claims,
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": NAMESPACE},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}}),
    );
    pass(&mut world, 20);
    assert!(
        message(&world).contains("pod has unbound immediate PersistentVolumeClaims"),
        "{}",
        message(&world)
    );
    create(
        &mut world,
        volumes,
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/data"},
                "claimRef": {"namespace": NAMESPACE, "name": "data"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": ["kr-general-2"]}]}]}}}}),
    );
    edit(&mut world, claims, "data", |claim| {
        claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
        claim["spec"]["volumeName"] = json!("disk");
    });
    pass(&mut world, 20);
    assert_eq!(on_node(&world, "db"), ["kr-general-2"]);
}
