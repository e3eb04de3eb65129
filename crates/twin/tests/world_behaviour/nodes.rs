//! Nodes that shut down, leave, or never say how they are.

use crate::fixture::*;
use fleet::{FleetSpec, NodeName, Span};
use serde_json::{Value, json};
use twin::world::NodeChange;
use twin::{Kind, World};

fn fleet_of(group: &str) -> FleetSpec {
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  \
        nodeGroups: [{{name: general, instanceType: m6i.large, count: 2, {group}}}]\n"
    );
    fleet::file::parse(&text).unwrap()
}

fn pod(name: &str, spec: Value) -> Value {
    let mut body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": "kr-general-1", "containers": [{"name": "c", "image": "c:1"}]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        body["spec"][key] = value.clone();
    }
    body
}

fn reloaded(world: &World) -> World {
    serde_json::from_str(&serde_json::to_string(world).unwrap()).unwrap()
}

#[test]
fn a_node_without_time_to_shut_down_stops_at_once() {
    let mut world = World::new(&fleet_of("maxPods: 20"), start(), 7);
    create(&mut world, Kind::Pod, pod("one", json!({})));
    pass(&mut world, 30);
    let power = world.power(&kr()).unwrap();
    world.set_node(&kr(), &node(1), NodeChange::ShutDown).unwrap();
    assert!(world.power(&kr()).unwrap() < power);
    assert_eq!(condition(&get(&world, Kind::Node, "kr-general-1"), "Ready"), "True KubeletReady");
    assert_eq!(phases(&world), ["Running"]);
}

#[test]
fn a_machine_that_leaves_is_not_started_again() {
    let mut world = World::new(&fleet_of("max: 3, spot: {interruptAt: [60s], notice: 30s}"), start(), 7);
    pass(&mut world, 90);
    let leaving: Vec<Value> = all(&world, Kind::Node);
    let taken = leaving.iter().find(|node| node["spec"]["unschedulable"] == true).unwrap();
    let name = taken["metadata"]["name"].as_str().unwrap().to_owned();
    let power = world.power(&kr()).unwrap();
    pass(&mut world, 2);
    world.set_node(&kr(), &NodeName::new(&name).unwrap(), NodeChange::Start).unwrap();
    assert_eq!(world.power(&kr()).unwrap(), power, "it is off for good");
    assert!(!events(&world, &name).iter().any(|event| event.starts_with("NodeReady")));
    pass(&mut world, 3);
    assert_eq!(find(&world, Kind::Node, &name), None);
}

#[test]
fn a_node_that_never_says_how_it_is_is_unknown_after_a_minute() {
    let mut world = World::new(&fleet_of("maxPods: 20"), start(), 7);
    let pressure = json!([{"type": "DiskPressure", "status": "False", "reason": "r", "message": "m"}]);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "by-hand"}, "status": {"conditions": pressure}});
    create(&mut world, Kind::Node, node);
    pass(&mut world, 59);
    assert_eq!(condition(&get(&world, Kind::Node, "by-hand"), "Ready"), "");
    world = reloaded(&world);
    pass(&mut world, 1);
    let node = get(&world, Kind::Node, "by-hand");
    assert_eq!(condition(&node, "Ready"), "Unknown NodeStatusNeverUpdated");
    assert_eq!(condition(&node, "MemoryPressure"), "Unknown NodeStatusNeverUpdated");
    assert_eq!(condition(&node, "DiskPressure"), "Unknown NodeStatusUnknown");
    assert!(node["spec"]["taints"].to_string().contains("node.kubernetes.io/unreachable"));
    assert!(events(&world, "by-hand").iter().all(|event| !event.starts_with("NodeNotReady")));
}
