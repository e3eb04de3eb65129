//! Nodes that shut down, run pods by themselves, leave, or never say how they are.

use crate::fixture::*;
use fleet::{FleetSpec, NodeName, Span};
use serde_json::{Value, json};
use twin::apiserver::Verb;
use twin::world::NodeChange;
use twin::{ApiFault, Fault, Kind, World};

const STATIC: &str = "{apiVersion: v1, kind: Pod, metadata: {name: own, namespace: kube-system}, spec: \
    {hostNetwork: true, containers: [{name: own, image: \"own:1\", resources: {requests: {cpu: 500m}}}]}}";

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

fn asks(cpu: &str) -> Value {
    json!([{"name": "c", "image": "c:1", "resources": {"requests": {"cpu": cpu}}}])
}

fn mirror(world: &World) -> Option<Value> {
    let objects = world.objects(&kr()).unwrap();
    objects.get(Kind::Pod, "kube-system", "own-kr-general-1").map(|stored| stored.object.to_value())
}

fn reloaded(world: &World) -> World {
    serde_json::from_str(&serde_json::to_string(world).unwrap()).unwrap()
}

/// A critical pod ends others, the mirror of a static pod is deleted, the node shuts down and comes back; what is saved and
/// loaded every second goes on as it would have.
#[test]
fn what_kubelets_do_by_themselves_is_saved_with_the_world() {
    let fleet = fleet_of(&format!(
        "shutdownGracePeriod: 40s, shutdownGracePeriodCriticalPods: 10s, staticPods: [{STATIC}]"
    ));
    let play = |save: bool| {
        let mut world = World::new(&fleet, start(), 7);
        create(&mut world, Kind::Pod, pod("one", json!({"containers": asks("600m")})));
        create(&mut world, Kind::Pod, pod("two", json!({"containers": asks("600m")})));
        let critical = json!({"containers": asks("1200m"), "priorityClassName": "system-node-critical"});
        for second in 0..200 {
            match second {
                20 => create(&mut world, Kind::Pod, pod("agent", critical.clone())),
                40 => {
                    let mut gone =
                        request(Verb::Delete, Kind::Pod, json!({"metadata": {"name": "own-kr-general-1"}}));
                    (gone.namespace, gone.body) = ("kube-system".to_owned(), Value::Null);
                    world.request(&kr(), &gone).unwrap();
                }
                50 => world.set_node(&kr(), &node(1), NodeChange::ShutDown).unwrap(),
                150 => world.set_node(&kr(), &node(1), NodeChange::Start).unwrap(),
                _ => {}
            }
            world.advance_to(start() + Span::from_seconds(second) + Span::from_millis(500));
            if save {
                world = reloaded(&world);
            }
            world.advance_to(start() + Span::from_seconds(second + 1));
        }
        world
    };
    let (whole, saved) = (play(false), play(true));
    assert!(serde_json::to_string(&whole).unwrap() == serde_json::to_string(&saved).unwrap());
    let reason = |name: &str| get(&whole, Kind::Pod, name)["status"]["reason"].clone();
    assert_eq!([reason("one"), reason("two"), reason("agent")], ["Preempting", "Preempting", "Terminated"]);
    assert_eq!(mirror(&whole).unwrap()["status"]["phase"], "Running");
}

#[test]
fn deleting_a_mirror_changes_nothing_for_its_pod() {
    let mut world = World::new(&fleet_of(&format!("staticPods: [{STATIC}]")), start(), 7);
    pass(&mut world, 30);
    let before = mirror(&world).unwrap();
    assert_eq!(before["status"]["phase"], "Running");
    let mut gone = request(Verb::Delete, Kind::Pod, json!({"metadata": {"name": "own-kr-general-1"}}));
    (gone.namespace, gone.body) = ("kube-system".to_owned(), Value::Null);
    gone.options.delete.grace_period_seconds = Some(0);
    world.request(&kr(), &gone).unwrap();
    let after = mirror(&world).unwrap();
    assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(
        before["status"]["containerStatuses"], after["status"]["containerStatuses"],
        "the same container"
    );
    // Once its node is gone nobody makes it again.
    delete(&mut world, Kind::Node, "kr-general-1");
    assert_eq!(mirror(&world), None);
    pass(&mut world, 120);
    assert_eq!(mirror(&world), None);
}

#[test]
fn static_pods_start_with_their_machine_though_nobody_hears_of_it() {
    let mut world = World::new(&fleet_of(&format!("staticPods: [{STATIC}]")), start(), 7);
    create(&mut world, Kind::Pod, pod("other", json!({})));
    pass(&mut world, 30);
    world.begin_fault(&kr(), &Fault::Api(ApiFault::Down)).unwrap();
    world.set_node(&kr(), &node(1), NodeChange::Stop).unwrap();
    pass(&mut world, 10);
    world.set_node(&kr(), &node(1), NodeChange::Start).unwrap();
    pass(&mut world, 60);
    world.end_fault(&kr(), &Fault::Api(ApiFault::Down)).unwrap();
    pass(&mut world, 10);
    let started = |pod: &Value| {
        let status = pod["status"]["containerStatuses"][0].clone();
        assert_eq!(status["restartCount"], 1);
        status["state"]["running"]["startedAt"].as_str().unwrap().to_owned()
    };
    assert_eq!(started(&mirror(&world).unwrap()), "2026-05-01T00:00:42Z", "2 s after the machine was up");
    assert_eq!(
        started(&get(&world, Kind::Pod, "other")),
        "2026-05-01T00:01:42Z",
        "2 s after it was heard again"
    );
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
