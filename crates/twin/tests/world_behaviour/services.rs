//! Services and their endpoints: which pods, in which state, at which ports, in which slices.

use crate::fixture::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twin::apiserver::Verb;
use twin::{Kind, World};

fn kind(api_version: &str, name: &str) -> Kind {
    Kind::of_object(api_version, name).unwrap()
}

fn slices(world: &World) -> Vec<Value> {
    let all = all(world, kind("discovery.k8s.io/v1", "EndpointSlice"));
    all.into_iter().filter(|slice| slice["metadata"]["name"] != "kubernetes").collect()
}

fn endpoints(world: &World) -> Vec<Value> {
    slices(world)
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn service(spec: Value) -> Value {
    let mut body = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": NAMESPACE, "labels": {"tier": "front"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    });
    for (key, value) in spec.as_object().unwrap() {
        body["spec"][key] = value.clone();
    }
    body
}

fn deploy(world: &mut World, replicas: i64) {
    let container = json!({"name": "main", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m"}}});
    let body = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    });
    create(world, kind("apps/v1", "Deployment"), body);
}

fn make(world: &mut World, spec: Value) {
    create(world, kind("v1", "Service"), service(spec));
}

/// How many endpoints are ready, serving and terminating.
fn conditions(world: &World) -> (usize, usize, usize) {
    let all = endpoints(world);
    let of = |what: &str| all.iter().filter(|endpoint| endpoint["conditions"][what] == true).count();
    (of("ready"), of("serving"), of("terminating"))
}

/// How many addresses the Endpoints have, ready ones and others.
fn addresses(world: &World) -> (usize, usize) {
    let endpoints = get(world, kind("v1", "Endpoints"), "web");
    let subsets = endpoints["subsets"].as_array().cloned().unwrap_or_default();
    let of = |what: &str| subsets.iter().map(|s| s[what].as_array().map_or(0, Vec::len)).sum();
    (of("addresses"), of("notReadyAddresses"))
}

#[test]
fn endpoints_follow_the_life_of_pods() {
    let mut world = world(2);
    make(&mut world, json!({}));
    let [empty] = slices(&world).try_into().unwrap();
    assert_eq!((&empty["endpoints"], &empty["ports"]), (&Value::Null, &Value::Null));
    assert_eq!(addresses(&world), (0, 0));
    deploy(&mut world, 3);
    pass(&mut world, 60);
    assert_eq!(conditions(&world), (3, 3, 0));
    assert_eq!(addresses(&world), (3, 0));
    let [slice] = slices(&world).try_into().unwrap();
    // The slice that stood for none is the one that changed.
    assert_eq!(slice["metadata"]["uid"], empty["metadata"]["uid"]);
    assert!(slice["metadata"]["generation"].as_i64() > Some(1));
    assert_eq!(slice["ports"], json!([{"name": "", "port": 8080, "protocol": "TCP"}]));
    let labels = &slice["metadata"]["labels"];
    assert_eq!(
        labels,
        &json!({"tier": "front", "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"})
    );
    let pod = pods(&world).remove(0);
    let mine = endpoints(&world);
    let mine = mine.iter().find(|e| e["targetRef"]["uid"] == pod["metadata"]["uid"]).unwrap();
    assert_eq!(mine["addresses"], json!([pod["status"]["podIP"]]));
    assert_eq!(mine["nodeName"], pod["spec"]["nodeName"]);
    let node = get(&world, Kind::Node, pod["spec"]["nodeName"].as_str().unwrap());
    assert_eq!(mine["zone"], node["metadata"]["labels"]["topology.kubernetes.io/zone"]);
    assert_eq!(mine.get("hints"), None);
    // One that ends is told apart at once, and is gone when it is gone.
    delete(&mut world, Kind::Pod, pod["metadata"]["name"].as_str().unwrap());
    let (ready, _, terminating) = conditions(&world);
    assert_eq!((ready, terminating), (2, 1));
    assert_eq!(addresses(&world).0, 2);
    pass(&mut world, 90);
    assert_eq!((conditions(&world), addresses(&world)), ((3, 3, 0), (3, 0)));
}

#[test]
fn what_a_service_says_of_its_endpoints() {
    let mut world = world(2);
    deploy(&mut world, 2);
    make(
        &mut world,
        json!({"clusterIP": "None", "publishNotReadyAddresses": true, "trafficDistribution": "PreferSameNode"}),
    );
    // As soon as pods have an address they are listed, ready or not; in the end all are.
    pass(&mut world, 60);
    let [slice] = slices(&world).try_into().unwrap();
    assert_eq!(slice["metadata"]["labels"]["service.kubernetes.io/headless"], "");
    for endpoint in endpoints(&world) {
        let hints =
            json!({"forZones": [{"name": endpoint["zone"]}], "forNodes": [{"name": endpoint["nodeName"]}]});
        assert_eq!(endpoint["hints"], hints, "{endpoint}");
    }
    let endpoints = get(&world, kind("v1", "Endpoints"), "web");
    assert_eq!(endpoints["metadata"]["labels"]["service.kubernetes.io/headless"], "");
    assert_eq!(endpoints["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"], "endpoint-controller");
    // Another port, by number, and one more that no pod has.
    edit(&mut world, kind("v1", "Service"), "web", |service| {
        service["spec"]["ports"] = json!([
            {"name": "a", "port": 80, "protocol": "TCP", "targetPort": 9090},
            {"name": "b", "port": 81, "protocol": "TCP", "targetPort": "none"}]);
    });
    let [slice] = slices(&world).try_into().unwrap();
    assert_eq!(slice["ports"], json!([{"name": "a", "port": 9090, "protocol": "TCP"}]));
    // Nobody is selected any more.
    edit(&mut world, kind("v1", "Service"), "web", |service| {
        service["spec"]["selector"] = json!({"app": "x"})
    });
    assert_eq!((self::endpoints(&world).len(), addresses(&world)), (0, (0, 0)));
}

#[test]
fn many_pods_are_in_slices_of_a_hundred() {
    let mut world = world(5);
    make(&mut world, json!({}));
    deploy(&mut world, 250);
    pass(&mut world, 200);
    let mut sizes: Vec<usize> =
        slices(&world).iter().map(|slice| slice["endpoints"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes.iter().sum::<usize>(), 250);
    assert!(sizes.iter().all(|size| (1..=100).contains(size)) && sizes.len() <= 5, "{sizes:?}");
    let uids: BTreeSet<String> =
        endpoints(&world).iter().map(|e| e["targetRef"]["uid"].to_string()).collect();
    assert_eq!((uids.len(), addresses(&world)), (250, (250, 0)));
}

#[test]
fn endpoints_go_with_their_service_and_nobody_elses() {
    let mut world = world(1);
    make(&mut world, json!({}));
    let own = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "own", "namespace": NAMESPACE},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}]}]});
    create(&mut world, kind("v1", "Endpoints"), own);
    // A slice that somebody takes away is made anew.
    let name = slices(&world)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    delete(&mut world, kind("discovery.k8s.io/v1", "EndpointSlice"), &name);
    assert_eq!(slices(&world).len(), 1);
    delete(&mut world, kind("v1", "Service"), "web");
    pass(&mut world, 1);
    assert_eq!(slices(&world), Vec::<Value>::new());
    assert_eq!(find(&world, kind("v1", "Endpoints"), "web"), None);
    assert!(find(&world, kind("v1", "Endpoints"), "own").is_some());
}

#[test]
fn a_world_saved_on_the_way_goes_on_alike() {
    let mut world = world(2);
    make(&mut world, json!({}));
    deploy(&mut world, 4);
    pass(&mut world, 3);
    let mut again: World = serde_json::from_str(&serde_json::to_string(&world).unwrap()).unwrap();
    for world in [&mut world, &mut again] {
        pass(world, 60);
        let name = pods(world)[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let body = json!({"metadata": {"name": name}});
        world.request(&kr(), &request(Verb::Delete, Kind::Pod, body)).unwrap();
        pass(world, 90);
    }
    assert_eq!(conditions(&world), (4, 4, 0));
    assert_eq!(serde_json::to_string(&world).unwrap(), serde_json::to_string(&again).unwrap());
}

#[test]
fn endpoints_that_somebody_wrote_are_mirrored() {
    let mut world = world(1);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"ports": [{"port": 80}]}});
    create(&mut world, kind("v1", "Service"), service);
    assert_eq!(slices(&world), Vec::<Value>::new());
    let ports = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
    let own = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "web", "namespace": NAMESPACE, "labels": {"by": "hand"}, "annotations": {"a": "b"}},
        "subsets": [{"addresses": [{"ip": "192.0.2.1", "hostname": "one"}, {"ip": "2001:db8::1"}, {"ip": "nowhere"}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": ports}]});
    create(&mut world, kind("v1", "Endpoints"), own);
    let mut mirrored = slices(&world);
    mirrored.sort_by_key(|slice| slice["addressType"].to_string());
    let [four, six] = mirrored.try_into().unwrap();
    assert_eq!((&four["ports"], &four["metadata"]["annotations"]), (&ports, &json!({"a": "b"})));
    let endpoint = |ip: &str, ready: bool| json!({"addresses": [ip], "conditions": {"ready": ready}});
    let mut first = endpoint("192.0.2.1", true);
    first["hostname"] = json!("one");
    assert_eq!(four["endpoints"], json!([first, endpoint("192.0.2.2", false)]));
    assert_eq!(six["endpoints"], json!([endpoint("2001:db8::1", true)]));
    let by = json!("endpointslicemirroring-controller.k8s.io");
    assert_eq!(four["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"], by);
    assert_eq!(four["metadata"]["labels"]["by"], "hand");
    // What changes there changes here, and the slice stays the same one.
    edit(&mut world, kind("v1", "Endpoints"), "web", |endpoints| {
        endpoints["subsets"] = json!([{"addresses": [{"ip": "192.0.2.3"}], "ports": [{"port": 9}]}]);
    });
    let [changed] = slices(&world).try_into().unwrap();
    assert_eq!(changed["metadata"]["uid"], four["metadata"]["uid"]);
    assert_eq!(changed["endpoints"], json!([endpoint("192.0.2.3", true)]));
    edit(&mut world, kind("v1", "Endpoints"), "web", |endpoints| {
        endpoints["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = json!("true");
    });
    assert_eq!(slices(&world), Vec::<Value>::new());
}
