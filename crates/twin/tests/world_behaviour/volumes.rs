//! Claims and volumes over time: made, bound, attached, moved with their pod, and what a lost node or zone does to them.

use crate::fixture::*;
use fleet::FleetSpec;
use serde_json::{Value, json};
use twin::world::NodeChange;
use twin::{Kind, World};

fn claims() -> Kind {
    Kind::find("", "v1", "persistentvolumeclaims").unwrap()
}

fn volumes() -> Kind {
    Kind::find("", "v1", "persistentvolumes").unwrap()
}

fn attachments() -> Kind {
    Kind::find("storage.k8s.io", "v1", "volumeattachments").unwrap()
}

/// A cluster with nodes in two zones, in turn.
fn zoned(nodes: u32) -> FleetSpec {
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
clusters:
- name: kr
  region: ap-northeast-2
  nodeGroups: [{{name: general, instanceType: m6i.2xlarge, count: {nodes}, zones: [a, b]}}]
"
    );
    fleet::file::parse(&text).unwrap()
}

fn world_of(nodes: u32) -> World {
    World::new(&zoned(nodes), start(), 7)
}

fn claim(world: &mut World, name: &str, size: &str) {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    create(
        world,
        claims(),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}),
    );
}

/// A server that uses a claim.
fn server(world: &mut World, name: &str, claim: &str, node: Option<&str>) {
    let selector = node.map(|node| json!({"kubernetes.io/hostname": node}));
    create(
        world,
        Kind::Pod,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"nodeSelector": selector, "terminationGracePeriodSeconds": 5,
                "containers": [{"name": "db", "image": "postgres:18", "resources": {"requests": {"cpu": "1"}}}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}}),
    );
}

fn phase(world: &World, kind: Kind, name: &str) -> String {
    find(world, kind, name)
        .map_or("gone".to_owned(), |o| o["status"]["phase"].as_str().unwrap_or("none").to_owned())
}

/// Where volumes are attached, as `node attached`, or `node` and what it is about to be.
fn attached(world: &World) -> Vec<String> {
    let one = |a: &Value| {
        let state = match (a["metadata"]["deletionTimestamp"].is_string(), a["status"]["attached"] == true) {
            (true, _) => "detaching",
            (_, true) => "attached",
            (_, false) => "attaching",
        };
        format!("{} {state}", a["spec"]["nodeName"].as_str().unwrap())
    };
    let mut found: Vec<String> =
        world.objects(&kr()).unwrap().list(attachments(), None).map(|s| one(&s.object.to_value())).collect();
    found.sort();
    found
}

fn only_volume(world: &World) -> Value {
    let all: Vec<Value> =
        world.objects(&kr()).unwrap().list(volumes(), None).map(|s| s.object.to_value()).collect();
    assert_eq!(all.len(), 1, "{all:#?}");
    all[0].clone()
}

/// Seconds until something is so; looks each second.
fn seconds_until(world: &mut World, most: i64, so: impl Fn(&World) -> bool) -> i64 {
    let begun = world.now();
    while !so(world) {
        assert!((world.now() - begun).as_seconds() < most, "not within {most} s");
        pass(world, 1);
    }
    (world.now() - begun).as_seconds()
}

fn running(world: &World, pod: &str) -> bool {
    find(world, Kind::Pod, pod).is_some_and(|p| p["status"]["phase"] == "Running")
}

#[test]
fn a_claim_waits_for_its_pod_and_its_volume_is_made_in_the_pods_zone() {
    let mut world = world_of(4);
    claim(&mut world, "data", "8Gi");
    pass(&mut world, 60);
    assert_eq!(phase(&world, claims(), "data"), "Pending");
    assert_eq!(get(&world, claims(), "data")["spec"]["storageClassName"], "standard");
    assert_eq!(
        events(&world, "data"),
        ["WaitForFirstConsumer: waiting for first consumer to be created before binding"]
    );
    server(&mut world, "db", "data", Some("kr-general-2"));
    // The room on its node is kept while the volume is made.
    assert!(get(&world, Kind::Pod, "db")["spec"]["nodeName"].is_null());
    // 3 s to make it, 5 s to attach it, 8 s for the image, 2 s to start.
    let took = seconds_until(&mut world, 60, |w| running(w, "db"));
    assert_eq!(took, 18);
    let volume = only_volume(&world);
    assert_eq!(
        (phase(&world, claims(), "data").as_str(), &volume["status"]["phase"]),
        ("Bound", &json!("Bound"))
    );
    let zone = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(zone, &json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["b"]}));
    assert_eq!(attached(&world), ["kr-general-2 attached"]);
    let told = events(&world, "db");
    let name = volume["metadata"]["name"].as_str().unwrap();
    let order = [
        "Scheduled: Successfully assigned default/db to kr-general-2".to_owned(),
        format!("SuccessfulAttachVolume: AttachVolume.Attach succeeded for volume \"{name}\""),
    ];
    assert_eq!(told[..2], order, "{told:?}");
    let in_use = &get(&world, Kind::Node, "kr-general-2")["status"]["volumesInUse"];
    assert_eq!(in_use.as_array().map(Vec::len), Some(1));
    // Its next pod goes to the zone of the volume, wherever there is room.
    delete(&mut world, Kind::Pod, "db");
    pass(&mut world, 30);
    assert!(attached(&world).is_empty());
    server(&mut world, "db2", "data", None);
    pass(&mut world, 30);
    let node = get(&world, Kind::Pod, "db2")["spec"]["nodeName"].as_str().unwrap().to_owned();
    assert!(["kr-general-2", "kr-general-4"].contains(&node.as_str()), "{node}");
}

#[test]
fn a_claim_in_use_stays_and_takes_its_volume_along_when_it_goes() {
    let mut world = world_of(2);
    claim(&mut world, "data", "8Gi");
    server(&mut world, "db", "data", None);
    pass(&mut world, 30);
    delete(&mut world, claims(), "data");
    pass(&mut world, 60);
    assert!(get(&world, claims(), "data")["metadata"]["deletionTimestamp"].is_string());
    assert!(running(&world, "db"));
    delete(&mut world, Kind::Pod, "db");
    pass(&mut world, 3);
    assert_eq!(phase(&world, claims(), "data"), "gone");
    assert_eq!(only_volume(&world)["status"]["phase"], "Released");
    pass(&mut world, 30);
    assert_eq!(world.objects(&kr()).unwrap().count(volumes()), 0);
}

#[test]
fn a_volume_that_is_retained_is_released_and_bound_to_nobody_else() {
    let mut world = world_of(2);
    let disk = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}, "storageClassName": "manual",
            "hostPath": {"path": "/data"}}});
    create(&mut world, volumes(), disk);
    assert_eq!(phase(&world, volumes(), "disk"), "Available");
    let by_hand = |name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "manual", "resources": {"requests": {"storage": "4Gi"}}}})
    };
    create(&mut world, claims(), by_hand("first"));
    assert_eq!(
        (phase(&world, claims(), "first"), phase(&world, volumes(), "disk")),
        ("Bound".into(), "Bound".into())
    );
    assert_eq!(get(&world, claims(), "first")["status"]["capacity"]["storage"], "10Gi");
    create(&mut world, claims(), by_hand("second"));
    delete(&mut world, claims(), "first");
    pass(&mut world, 600);
    assert_eq!(
        (phase(&world, claims(), "second"), phase(&world, volumes(), "disk")),
        ("Pending".into(), "Released".into())
    );
    let told = events(&world, "second");
    assert!(
        told[0].starts_with("ProvisioningFailed: storageclass.storage.k8s.io \"manual\" not found"),
        "{told:?}"
    );
    // Whoever clears the reference gives it free.
    edit(&mut world, volumes(), "disk", |v| {
        v["spec"].as_object_mut().unwrap().remove("claimRef");
    });
    assert_eq!(phase(&world, claims(), "second"), "Bound");
}

#[test]
fn a_volume_is_attached_to_one_node_at_a_time() {
    let mut world = world_of(4);
    claim(&mut world, "data", "8Gi");
    server(&mut world, "one", "data", Some("kr-general-2"));
    pass(&mut world, 30);
    server(&mut world, "two", "data", Some("kr-general-4"));
    pass(&mut world, 30);
    let volume = only_volume(&world)["metadata"]["name"].as_str().unwrap().to_owned();
    let refused = format!(
        "FailedAttachVolume: Multi-Attach error for volume \"{volume}\" Volume is already used by pod(s) one"
    );
    assert_eq!(events(&world, "two").last(), Some(&refused));
    assert!(!running(&world, "two"));
    delete(&mut world, Kind::Pod, "one");
    // 1 s to end it, 5 s to detach, 5 s to attach, 8 s for the image, 2 s to start.
    assert_eq!(seconds_until(&mut world, 60, |w| running(w, "two")), 21);
    assert_eq!(attached(&world), ["kr-general-4 attached"]);
}

#[test]
fn a_lost_node_keeps_its_volume_for_six_minutes_unless_it_is_said_to_be_out_of_service() {
    for said in [false, true] {
        let mut world = world_of(4);
        claim(&mut world, "data", "8Gi");
        server(&mut world, "db", "data", Some("kr-general-2"));
        pass(&mut world, 30);
        world.set_node(&kr(), &node(2), NodeChange::Stop).unwrap();
        // Noticed, tainted, and after five minutes the pod is told to go; it cannot say that it has.
        pass(&mut world, 400);
        assert!(get(&world, Kind::Pod, "db")["metadata"]["deletionTimestamp"].is_string());
        assert_eq!(attached(&world), ["kr-general-2 attached"]);
        server(&mut world, "next", "data", Some("kr-general-4"));
        pass(&mut world, 600);
        assert!(!running(&world, "next"), "{:?}", events(&world, "next"));
        if said {
            edit(&mut world, Kind::Node, "kr-general-2", |node| {
                let taint = json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"});
                node["spec"]["taints"].as_array_mut().unwrap().push(taint);
            });
            assert!(find(&world, Kind::Pod, "db").is_none());
        } else {
            force_delete(&mut world, "db");
        }
        let took = seconds_until(&mut world, 900, |w| running(w, "next"));
        // 5 s to detach, 5 s to attach, 10 s for image and start; before that six minutes where nobody knows.
        assert_eq!(took, if said { 20 } else { 380 });
    }
}

/// Deletes a pod as `kubectl delete --force` does.
fn force_delete(world: &mut World, name: &str) {
    let mut request = request(twin::apiserver::Verb::Delete, Kind::Pod, json!({"metadata": {"name": name}}));
    request.body = Value::Null;
    request.options.delete.grace_period_seconds = Some(0);
    world.request(&kr(), &request).unwrap();
}

#[test]
fn when_its_zone_is_gone_a_volume_cannot_follow() {
    let mut world = world_of(4);
    claim(&mut world, "data", "8Gi");
    server(&mut world, "db", "data", Some("kr-general-2"));
    pass(&mut world, 30);
    for n in [2, 4] {
        world.set_node(&kr(), &node(n), NodeChange::Stop).unwrap();
    }
    pass(&mut world, 400);
    force_delete(&mut world, "db");
    server(&mut world, "db2", "data", None);
    pass(&mut world, 600);
    let pod = get(&world, Kind::Pod, "db2");
    let scheduled = pod["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "PodScheduled")
        .unwrap()
        .clone();
    let message = scheduled["message"].as_str().unwrap();
    assert!(message.contains("2 node(s) didn't match PersistentVolume's node affinity"), "{message}");
    assert!(message.contains("2 node(s) had untolerated taint"), "{message}");
    // The zone comes back, and the pod with it.
    world.set_node(&kr(), &node(4), NodeChange::Start).unwrap();
    pass(&mut world, 60);
    assert!(running(&world, "db2"), "{:?}", events(&world, "db2"));
}

#[test]
fn a_claim_may_grow_where_its_class_allows() {
    let mut world = world_of(2);
    claim(&mut world, "data", "8Gi");
    server(&mut world, "db", "data", None);
    pass(&mut world, 30);
    edit(&mut world, claims(), "data", |claim| {
        claim["spec"]["resources"]["requests"]["storage"] = json!("20Gi")
    });
    assert_eq!(condition(&get(&world, claims(), "data"), "Resizing"), "True -");
    assert_eq!(get(&world, claims(), "data")["status"]["capacity"]["storage"], "8Gi");
    pass(&mut world, 15);
    let claim = get(&world, claims(), "data");
    assert_eq!(
        (&claim["status"]["capacity"]["storage"], &claim["status"]["conditions"]),
        (&json!("20Gi"), &Value::Null)
    );
    assert_eq!(only_volume(&world)["spec"]["capacity"]["storage"], "20Gi");
    assert!(running(&world, "db"));
}

#[test]
fn saving_and_loading_in_the_middle_changes_nothing() {
    let story = |save_every: Option<i64>| {
        let mut world = world_of(4);
        claim(&mut world, "data", "8Gi");
        server(&mut world, "one", "data", Some("kr-general-2"));
        server(&mut world, "two", "data", Some("kr-general-4"));
        for second in 0..60 {
            if save_every.is_some_and(|every| second % every == 0) {
                world = serde_json::from_str(&serde_json::to_string(&world).unwrap()).unwrap();
            }
            if second == 30 {
                delete(&mut world, Kind::Pod, "one");
            }
            pass(&mut world, 1);
        }
        serde_json::to_string(&world).unwrap()
    };
    let whole = story(None);
    assert!(story(Some(1)) == whole && story(Some(7)) == whole);
}
