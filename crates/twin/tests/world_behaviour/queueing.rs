//! What waiting pods hear: of pods that leave or shrink, of cordons and pressure on nodes.

use crate::fixture::*;
use serde_json::{Value, json};
use twin::apiserver::{Subresource, Verb};
use twin::world::NodeChange;
use twin::{Kind, World};

/// A pod that runs for so long and asks for so much.
fn pod(name: &str, cpu: &str, memory: &str, seconds: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [{"name": "main",
            "image": "busybox:1.37", "command": ["sleep", seconds.to_string()],
            "resources": {"requests": {"cpu": cpu, "memory": memory}}}]},
    })
}

/// What a pod was told last, up to what evicting others would do.
fn told(world: &World, name: &str) -> String {
    let pod = get(world, Kind::Pod, name);
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let said = conditions.iter().find(|c| c["type"] == "PodScheduled").cloned().unwrap_or_default();
    said["message"].as_str().unwrap_or_default().split(". ").next().unwrap_or_default().to_owned()
}

fn node_of(world: &World, name: &str) -> String {
    get(world, Kind::Pod, name)["spec"]["nodeName"].as_str().unwrap_or("-").to_owned()
}

/// Changes a part of an object that has a resource of its own.
fn edit_part(
    world: &mut World,
    kind: Kind,
    (name, part): (&str, Subresource),
    change: impl FnOnce(&mut Value),
) {
    let mut body = get(world, kind, name);
    change(&mut body);
    let mut request = request(Verb::Update, kind, body);
    request.subresource = Some(part);
    world.request(&kr(), &request).unwrap();
}

#[test]
fn who_still_fits_nowhere_after_a_pod_has_left_is_told_why_now() {
    let mut world = world(2);
    // More memory than any node has: nothing that leaves makes room for it.
    create(&mut world, Kind::Pod, pod("short", "6", "1Gi", 100));
    create(&mut world, Kind::Pod, pod("long", "6", "1Gi", 110));
    create(&mut world, Kind::Pod, pod("huge", "4", "40Gi", 1));
    create(&mut world, Kind::Pod, pod("huge-too", "4", "40Gi", 1));
    let before = "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory";
    assert_eq!((told(&world, "huge"), told(&world, "huge-too")), (before.to_owned(), before.to_owned()));
    pass(&mut world, 109);
    assert!(get(&world, Kind::Pod, "short")["status"]["phase"] == "Running");
    pass(&mut world, 2);
    let now = "0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient memory";
    assert_eq!((told(&world, "huge"), told(&world, "huge-too")), (now.to_owned(), now.to_owned()));
    // Where pods go on leaving it is worked out anew on the half minute.
    pass(&mut world, 9);
    assert_eq!(get(&world, Kind::Pod, "long")["status"]["phase"], "Succeeded");
    pass(&mut world, 30);
    assert_eq!(told(&world, "huge"), "0/2 nodes are available: 2 Insufficient memory");
    let events = events(&world, "huge-too");
    assert_eq!(events.len(), 3, "each thing once: {events:?}");
}

#[test]
fn a_node_that_came_is_counted_at_the_latest_after_five_minutes() {
    let mut world = world(1);
    create(&mut world, Kind::Pod, pod("huge", "9", "1Gi", 1));
    assert_eq!(told(&world, "huge"), "0/1 nodes are available: 1 Insufficient cpu");
    let mut another = get(&world, Kind::Node, "kr-general-1");
    another["metadata"] = json!({"name": "another", "labels": another["metadata"]["labels"]});
    create(&mut world, Kind::Node, another);
    // kube-scheduler moves nobody for a node on which it does not fit.
    pass(&mut world, 60);
    assert_eq!(told(&world, "huge"), "0/1 nodes are available: 1 Insufficient cpu");
    pass(&mut world, 300);
    assert!(told(&world, "huge").starts_with("0/2 nodes are available: "), "{}", told(&world, "huge"));
}

#[test]
fn what_a_pod_gives_back_in_place_is_had_by_those_who_wait_for_it() {
    let mut world = world(1);
    create(&mut world, Kind::Pod, pod("wide", "6", "1Gi", 3600));
    create(&mut world, Kind::Pod, pod("waits", "4", "1Gi", 3600));
    pass(&mut world, 20);
    assert_eq!(node_of(&world, "waits"), "-");
    let resize = |world: &mut World, cpu: &str| {
        edit_part(world, Kind::Pod, ("wide", Subresource::Resize), |pod| {
            pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
        });
    };
    resize(&mut world, "2");
    // Asked for is not given back: it is held until the container has less.
    assert_eq!(node_of(&world, "waits"), "-");
    pass(&mut world, 10);
    assert_eq!(node_of(&world, "waits"), "kr-general-1");
    // What is asked for in place is kept free, though it cannot be given yet.
    resize(&mut world, "5");
    create(&mut world, Kind::Pod, pod("late", "1", "1Gi", 3600));
    pass(&mut world, 20);
    assert_eq!(condition(&get(&world, Kind::Pod, "wide"), "PodResizePending"), "True Deferred");
    assert_eq!(told(&world, "late"), "0/1 nodes are available: 1 Insufficient cpu");
    delete(&mut world, Kind::Pod, "waits");
    pass(&mut world, 20);
    assert_eq!(node_of(&world, "late"), "kr-general-1");
}

fn taints(world: &World, node: &str) -> Vec<String> {
    let node = get(world, Kind::Node, node);
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let text = |t: &Value| format!("{}:{}", t["key"].as_str().unwrap(), t["effect"].as_str().unwrap());
    taints.iter().map(text).collect()
}

#[test]
fn a_cordon_taints_the_node_until_it_is_lifted() {
    let mut world = world(1);
    let cordon = |world: &mut World, on: bool| {
        edit(world, Kind::Node, "kr-general-1", |node| node["spec"]["unschedulable"] = json!(on));
    };
    cordon(&mut world, true);
    assert_eq!(taints(&world, "kr-general-1"), ["node.kubernetes.io/unschedulable:NoSchedule"]);
    let added = get(&world, Kind::Node, "kr-general-1")["spec"]["taints"][0]["timeAdded"].clone();
    assert_eq!(added, "2026-05-01T00:00:00Z");
    let mut tolerant = pod("tolerant", "1", "1Gi", 60);
    tolerant["spec"]["tolerations"] =
        json!([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]);
    create(&mut world, Kind::Pod, tolerant);
    create(&mut world, Kind::Pod, pod("plain", "1", "1Gi", 60));
    assert_eq!(node_of(&world, "tolerant"), "kr-general-1");
    assert_eq!(told(&world, "plain"), "0/1 nodes are available: 1 node(s) were unschedulable");
    // Silence adds to it; the cordon outlives it.
    world.set_node(&kr(), &node(1), NodeChange::Stop).unwrap();
    pass(&mut world, 60);
    let both = ["node.kubernetes.io/unschedulable:NoSchedule", "node.kubernetes.io/unreachable:NoSchedule"];
    assert!(both.iter().all(|taint| taints(&world, "kr-general-1").contains(&(*taint).to_owned())));
    world.set_node(&kr(), &node(1), NodeChange::Start).unwrap();
    pass(&mut world, 120);
    assert_eq!(taints(&world, "kr-general-1"), ["node.kubernetes.io/unschedulable:NoSchedule"]);
    cordon(&mut world, false);
    assert_eq!(taints(&world, "kr-general-1"), Vec::<String>::new());
    assert_eq!(node_of(&world, "plain"), "kr-general-1");
}

#[test]
fn pressure_and_a_missing_network_taint_the_node_while_they_last() {
    let mut world = world(1);
    edit(&mut world, Kind::Node, "kr-general-1", |node| {
        node["spec"]["taints"] = json!([{"key": "team", "value": "a", "effect": "PreferNoSchedule"}]);
    });
    let say = |world: &mut World, kind: &str, status: &str| {
        edit_part(world, Kind::Node, ("kr-general-1", Subresource::Status), |node| {
            let conditions = node["status"]["conditions"].as_array_mut().unwrap();
            conditions.retain(|c| c["type"] != kind);
            conditions.push(json!({"type": kind, "status": status, "reason": "Test", "message": ""}));
        });
    };
    for (condition, taint) in [
        ("MemoryPressure", "memory-pressure"),
        ("DiskPressure", "disk-pressure"),
        ("PIDPressure", "pid-pressure"),
        ("NetworkUnavailable", "network-unavailable"),
    ] {
        say(&mut world, condition, "True");
        let own = "team:PreferNoSchedule".to_owned();
        let expected = [own.clone(), format!("node.kubernetes.io/{taint}:NoSchedule")];
        assert_eq!(taints(&world, "kr-general-1"), expected);
        // Unknown is no pressure.
        say(&mut world, condition, "Unknown");
        assert_eq!(taints(&world, "kr-general-1"), [own]);
    }
    say(&mut world, "DiskPressure", "True");
    create(&mut world, Kind::Pod, pod("plain", "1", "1Gi", 60));
    assert_eq!(told(&world, "plain"), "0/1 nodes are available: 1 node(s) had untolerated taint(s)");
    say(&mut world, "DiskPressure", "False");
    assert_eq!(node_of(&world, "plain"), "kr-general-1");
}
