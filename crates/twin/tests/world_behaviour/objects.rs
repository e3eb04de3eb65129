//! Namespaces, owners, bounds, and inputs known beforehand.

use crate::fixture::*;
use fleet::Span;
use serde_json::json;
use twin::apiserver::{Propagation, Verb};
use twin::{Kind, Request, World};

#[test]
fn a_new_cluster_looks_like_one() {
    let world = world(3);
    let names = |kind| -> Vec<String> {
        let of = |v: &serde_json::Value| v["metadata"]["name"].as_str().unwrap().to_owned();
        all(&world, kind).iter().map(of).collect()
    };
    assert_eq!(names(Kind::Namespace), ["default", "kube-node-lease", "kube-public", "kube-system"]);
    assert_eq!(names(Kind::Node), ["kr-general-1", "kr-general-2", "kr-general-3"]);
    let leases = world.objects(&kr()).unwrap().list(Kind::Lease, Some("kube-node-lease")).count();
    assert_eq!(leases, 3);
    let node = get(&world, Kind::Node, "kr-general-2");
    assert_eq!(node["metadata"]["labels"]["topology.kubernetes.io/zone"], "ap-northeast-2b");
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.36.3");
    let mut ips: Vec<String> = all(&world, Kind::Node)
        .iter()
        .map(|n| n["status"]["addresses"][0]["address"].as_str().unwrap().to_owned())
        .collect();
    ips.dedup();
    assert_eq!(ips.len(), 3);
}

#[test]
fn a_namespace_takes_everything_in_it_along() {
    let mut world = world(1);
    let mut body = job("x", "1", &["sleep", "600"], json!({}));
    create(
        &mut world,
        Kind::Namespace,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
    );
    body["metadata"]["namespace"] = json!("team");
    let mut create_job = request(Verb::Create, Kind::Job, body);
    create_job.namespace = "team".to_owned();
    world.request(&kr(), &create_job).unwrap();
    pass(&mut world, 60);
    edit(&mut world, Kind::Namespace, "team", |ns| {
        ns["metadata"]["labels"] = json!({"team": "a"});
    });
    // As the API marks a namespace that is deleted.
    twin_delete_namespace(&mut world);
    let there = |world: &twin::World, kind| world.objects(&kr()).unwrap().list(kind, Some("team")).count();
    // Pods go first; what made them stays until they have ended, and makes no new ones.
    assert_eq!((there(&world, Kind::Job), there(&world, Kind::Pod)), (1, 1));
    assert_eq!(get(&world, Kind::Namespace, "team")["status"]["phase"], "Terminating");
    pass(&mut world, 1);
    assert_eq!((there(&world, Kind::Job), there(&world, Kind::Pod), there(&world, Kind::Event)), (0, 0, 0));
    assert!(find(&world, Kind::Namespace, "team").is_none());
}

#[test]
fn each_namespace_has_what_pods_need_and_other_kinds_go_along() {
    let mut world = world(1);
    let account = Kind::find("", "v1", "serviceaccounts").unwrap();
    let secret = Kind::find("", "v1", "secrets").unwrap();
    let there = |world: &twin::World, kind, namespace: &str| {
        let list = world.objects(&kr()).unwrap().list(kind, Some(namespace));
        list.map(|s| s.object.name().to_owned()).collect::<Vec<_>>()
    };
    for namespace in ["default", "kube-system"] {
        assert_eq!(there(&world, account, namespace), ["default"]);
        assert_eq!(there(&world, Kind::ConfigMap, namespace), ["kube-root-ca.crt"]);
    }
    let team = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    create(&mut world, Kind::Namespace, team);
    let in_team = |verb, kind, name: &str| {
        let mut request = request(verb, kind, json!({"metadata": {"name": name}}));
        request.namespace = "team".to_owned();
        request
    };
    world.request(&kr(), &in_team(Verb::Create, secret, "s")).unwrap();
    for (kind, name) in [(account, "default"), (Kind::ConfigMap, "kube-root-ca.crt")] {
        let before = there(&world, kind, "team");
        world.request(&kr(), &in_team(Verb::Delete, kind, name)).unwrap();
        assert_eq!(there(&world, kind, "team"), before, "made anew");
    }
    twin_delete_namespace(&mut world);
    pass(&mut world, 1);
    for kind in [account, secret, Kind::ConfigMap] {
        assert!(there(&world, kind, "team").is_empty());
    }
    assert!(find(&world, Kind::Namespace, "team").is_none());
}

#[test]
fn what_a_document_owns_goes_with_it() {
    let mut world = world(1);
    let sets = Kind::find("apps", "v1", "replicasets").unwrap();
    let set = json!({"metadata": {"name": "rs"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let made = world.request(&kr(), &request(Verb::Create, sets, set)).unwrap().body.into_value();
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": made["metadata"]["uid"], "controller": true}]);
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": owner}});
    world.request(&kr(), &request(Verb::Create, Kind::ConfigMap, owned)).unwrap();
    assert!(find(&world, Kind::ConfigMap, "owned").is_some());
    delete(&mut world, sets, "rs");
    pass(&mut world, 1);
    assert!(find(&world, Kind::ConfigMap, "owned").is_none());
}

fn twin_delete_namespace(world: &mut twin::World) {
    delete(world, Kind::Namespace, "team");
}

#[test]
fn owners_that_are_gone_take_their_dependents() {
    let mut world = world(1);
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}});
    create(&mut world, Kind::ConfigMap, map("owner"));
    let uid = get(&world, Kind::ConfigMap, "owner")["metadata"]["uid"].clone();
    let mut owned = map("owned");
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
    create(&mut world, Kind::ConfigMap, owned.clone());
    assert!(find(&world, Kind::ConfigMap, "owned").is_some());
    delete(&mut world, Kind::ConfigMap, "owner");
    assert!(find(&world, Kind::ConfigMap, "owned").is_none());
    // Born an orphan: its owner is already gone.
    create(&mut world, Kind::ConfigMap, owned);
    assert!(find(&world, Kind::ConfigMap, "owned").is_none());
}

/// A ConfigMap owned by others; each blocks its owner or not.
fn owned(world: &World, name: &str, owners: &[(&str, bool)]) -> serde_json::Value {
    let reference = |(owner, blocks): &(&str, bool)| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "blockOwnerDeletion": blocks,
            "uid": get(world, Kind::ConfigMap, owner)["metadata"]["uid"]})
    };
    let owners: Vec<serde_json::Value> = owners.iter().map(reference).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": owners}})
}

#[test]
fn one_owner_is_enough_to_stay() {
    let mut world = world(1);
    for name in ["a", "b"] {
        let body = owned(&world, name, &[]);
        create(&mut world, Kind::ConfigMap, body);
    }
    let body = owned(&world, "child", &[("a", true), ("b", true)]);
    create(&mut world, Kind::ConfigMap, body);
    delete(&mut world, Kind::ConfigMap, "a");
    let owners = get(&world, Kind::ConfigMap, "child")["metadata"]["ownerReferences"].clone();
    assert_eq!(
        (owners.as_array().unwrap().len(), &owners[0]["name"]),
        (1, &json!("b")),
        "the other is forgotten"
    );
    delete(&mut world, Kind::ConfigMap, "b");
    assert!(find(&world, Kind::ConfigMap, "child").is_none());
}

#[test]
fn foreground_waits_for_those_that_block_and_for_theirs() {
    let mut world = world(1);
    for (name, owners) in [
        ("top", &[][..]),
        ("other", &[]),
        ("middle", &[("top", true)]),
        ("loose", &[("top", false)]),
        ("shared", &[("top", true), ("other", true)]),
        ("leaf", &[("middle", true)]),
    ] {
        let body = owned(&world, name, owners);
        create(&mut world, Kind::ConfigMap, body);
    }
    edit(&mut world, Kind::ConfigMap, "leaf", |leaf| {
        leaf["metadata"]["finalizers"] = json!(["example.com/held"])
    });
    let mut request = request(Verb::Delete, Kind::ConfigMap, json!({"metadata": {"name": "top"}}));
    request.body = serde_json::Value::Null;
    request.options.delete.propagation = Some(Propagation::Foreground);
    world.request(&kr(), &request).unwrap();
    let finalizers =
        |name: &str| find(&world, Kind::ConfigMap, name).map(|o| o["metadata"]["finalizers"].clone());
    for name in ["top", "middle"] {
        assert_eq!(finalizers(name), Some(json!(["foregroundDeletion"])), "{name} waits");
    }
    assert_eq!(finalizers("leaf"), Some(json!(["example.com/held"])));
    assert!(find(&world, Kind::ConfigMap, "loose").is_some(), "what does not block goes later");
    let shared = get(&world, Kind::ConfigMap, "shared");
    assert_eq!(shared["metadata"]["ownerReferences"][0]["name"], "other", "it has another owner and stays");
    edit(&mut world, Kind::ConfigMap, "leaf", |leaf| leaf["metadata"]["finalizers"] = json!([]));
    for name in ["leaf", "middle", "top", "loose"] {
        assert!(find(&world, Kind::ConfigMap, name).is_none(), "{name} is gone");
    }
    assert!(find(&world, Kind::ConfigMap, "shared").is_some());
}

#[test]
fn pods_of_a_deleted_node_go_and_are_replaced() {
    let mut world = world(2);
    create(&mut world, Kind::Job, job("g", "1", &["sleep", "600"], json!({})));
    pass(&mut world, 60);
    let node = pods(&world)[0]["spec"]["nodeName"].as_str().unwrap().to_owned();
    delete(&mut world, Kind::Node, &node);
    assert_eq!(pods(&world).len(), 0);
    pass(&mut world, 11);
    assert_ne!(pods(&world)[0]["spec"]["nodeName"].as_str(), Some(node.as_str()));
}

#[test]
fn inputs_known_beforehand_come_at_their_time_and_refusals_are_kept() {
    let mut world = world(1);
    let create_job = |name: &str| request(Verb::Create, Kind::Job, job(name, "1", &["true"], json!({})));
    world.schedule(start() + Span::HOUR, &kr(), create_job("later"));
    world.schedule(start() + Span::HOUR, &kr(), create_job("later"));
    assert_eq!(world.next_event(), Some(start() + Span::HOUR));
    world.advance_to(start() + Span::HOUR - Span::from_nanos(1));
    assert!(find(&world, Kind::Job, "later").is_none());
    assert!(world.advance_until_change(start() + Span::DAY));
    assert_eq!(world.now(), start() + Span::HOUR);
    assert!(find(&world, Kind::Job, "later").is_some());
    let refused: Vec<_> = world.refused().collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].object.as_str(), refused[0].status.code), ("jobs default/later", 409));
    // Running, ended; then nothing more happens that day.
    assert!(world.advance_until_change(start() + Span::DAY));
    assert!(!world.advance_until_change(start() + Span::DAY) || world.now() < start() + Span::DAY);
}

#[test]
fn events_are_bounded() {
    let mut world = world(2);
    for i in 0..900 {
        let at = start() + Span::from_seconds(i * 30);
        let body = job(&format!("e{i}"), "100m", &["true"], json!({"ttlSecondsAfterFinished": 60}));
        let create: Request = request(Verb::Create, Kind::Job, body);
        world.schedule(at, &kr(), create);
    }
    pass(&mut world, 900 * 30 + 120);
    assert_eq!(world.objects(&kr()).unwrap().count(Kind::Event), 1000);
    assert_eq!((pods(&world).len(), all(&world, Kind::Job).len()), (0, 0));
    assert_eq!(world.refused().count(), 0);
}
