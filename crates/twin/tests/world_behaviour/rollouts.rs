//! Deployments on nodes: pods that are servers, rollouts, budgets, and that a world saved on the way goes on alike.

use crate::fixture::*;
use serde_json::{Value, json};
use twin::apiserver::{Subresource, Verb};
use twin::{Kind, World};

fn kind(api_version: &str, name: &str) -> Kind {
    Kind::of_object(api_version, name).unwrap()
}

fn deployments() -> Kind {
    kind("apps/v1", "Deployment")
}

fn deployment(replicas: i64, image: &str) -> Value {
    let container = json!({"name": "main", "image": image, "resources": {"requests": {"cpu": "100m"}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": NAMESPACE, "annotations": {"team": "shop"}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
    })
}

fn sets(world: &World) -> Vec<Value> {
    let mut all = all(world, kind("apps/v1", "ReplicaSet"));
    all.sort_by_key(|set| set["metadata"]["creationTimestamp"].as_str().unwrap().to_owned());
    all
}

fn revision(object: &Value) -> &str {
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap()
}

#[test]
fn a_deployment_runs_servers_and_moves_to_a_new_template_and_back() {
    let mut world = world(2);
    create(&mut world, deployments(), deployment(3, "web:1"));
    pass(&mut world, 60);
    assert_eq!(phases(&world), ["Running", "Running", "Running"]);
    let web = get(&world, deployments(), "web");
    assert_eq!(condition(&web, "Available"), "True MinimumReplicasAvailable");
    assert_eq!(condition(&web, "Progressing"), "True NewReplicaSetAvailable");
    assert_eq!((web["status"]["readyReplicas"].as_i64(), revision(&web)), (Some(3), "1"));
    let first = sets(&world).remove(0);
    let name = first["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(first["metadata"]["annotations"]["team"], "shop");
    let pod = pods(&world).remove(0);
    assert!(pod["metadata"]["name"].as_str().unwrap().starts_with(&format!("{name}-")), "{pod}");
    assert_eq!(
        pod["metadata"]["labels"]["pod-template-hash"],
        first["metadata"]["labels"]["pod-template-hash"]
    );
    assert_eq!(
        events(&world, "web"),
        [format!("ScalingReplicaSet: Scaled up replica set {name} from 0 to 3")]
    );

    edit(&mut world, deployments(), "web", |web| {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    });
    // One more than asked for, none less than asked for but a quarter, rounded down.
    assert_eq!(pods(&world).len(), 4);
    pass(&mut world, 120);
    let web = get(&world, deployments(), "web");
    assert_eq!((revision(&web), web["status"]["updatedReplicas"].as_i64()), ("2", Some(3)));
    let second = sets(&world).remove(1);
    let images: Vec<Value> =
        pods(&world).iter().map(|p| p["spec"]["containers"][0]["image"].clone()).collect();
    assert_eq!(images, vec![json!("web:2"); 3]);
    let new = second["metadata"]["name"].as_str().unwrap();
    let told = events(&world, "web");
    let expected = [
        format!("ScalingReplicaSet: Scaled up replica set {new} from 0 to 1"),
        format!("ScalingReplicaSet: Scaled down replica set {name} from 3 to 2"),
        format!("ScalingReplicaSet: Scaled up replica set {new} from 1 to 2"),
        format!("ScalingReplicaSet: Scaled down replica set {name} from 2 to 1"),
        format!("ScalingReplicaSet: Scaled up replica set {new} from 2 to 3"),
        format!("ScalingReplicaSet: Scaled down replica set {name} from 1 to 0"),
    ];
    assert_eq!(told[1..], expected);

    edit(&mut world, deployments(), "web", |web| {
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:1");
    });
    pass(&mut world, 120);
    let first = sets(&world).remove(0);
    assert_eq!((revision(&first), first["spec"]["replicas"].as_i64()), ("3", Some(3)));
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(sets(&world).len(), 2, "the template was there before");
}

#[test]
fn a_rollout_that_comes_to_nothing_is_late_and_changes_no_more() {
    let mut world = world(1);
    let mut body = deployment(2, "web:1");
    body["spec"]["progressDeadlineSeconds"] = json!(100);
    // More than any node has: the pods wait for ever.
    body["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("500");
    create(&mut world, deployments(), body);
    pass(&mut world, 100);
    assert_eq!(condition(&get(&world, deployments(), "web"), "Progressing"), "True ReplicaSetUpdated");
    pass(&mut world, 1);
    let web = get(&world, deployments(), "web");
    assert_eq!(condition(&web, "Progressing"), "False ProgressDeadlineExceeded");
    let version = web["metadata"]["resourceVersion"].clone();
    pass(&mut world, 3600);
    assert_eq!(get(&world, deployments(), "web")["metadata"]["resourceVersion"], version);
}

#[test]
fn a_budget_lets_as_many_go_as_it_says() {
    let mut world = world(2);
    create(&mut world, deployments(), deployment(3, "web:1"));
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"minAvailable": "60%", "selector": {"matchLabels": {"app": "web"}}}});
    let budgets = kind("policy/v1", "PodDisruptionBudget");
    create(&mut world, budgets, budget);
    pass(&mut world, 60);
    let status = get(&world, budgets, "web")["status"].clone();
    let counts = |s: &Value| {
        ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
            .map(|key| s[key].as_i64().unwrap())
    };
    assert_eq!(counts(&status), [3, 2, 3, 1]);
    let evict = |world: &mut World, name: &str| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        let mut eviction = request(Verb::Create, Kind::Pod, body);
        (eviction.name, eviction.subresource) = (name.to_owned(), Some(Subresource::Eviction));
        world.request(&kr(), &eviction).map_err(|status| status.code)
    };
    let names: Vec<String> =
        pods(&world).iter().map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    assert!(evict(&mut world, &names[0]).is_ok());
    assert_eq!(evict(&mut world, &names[1]).err(), Some(429));
    pass(&mut world, 60);
    assert_eq!(counts(&get(&world, budgets, "web")["status"]), [3, 2, 3, 1], "another pod took its place");
    assert!(evict(&mut world, &names[1]).is_ok());
}

#[test]
fn pods_are_taken_in_and_let_go_by_their_labels() {
    let mut world = world(1);
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "stray", "namespace": NAMESPACE, "labels": {"app": "old"}},
        "spec": {"containers": [{"name": "main", "image": "web:1"}]}});
    create(&mut world, Kind::Pod, pod);
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController",
        "metadata": {"name": "old", "namespace": NAMESPACE},
        "spec": {"replicas": 2, "selector": {"app": "old"}, "template": {"metadata": {"labels": {"app": "old"}},
            "spec": {"containers": [{"name": "main", "image": "web:1"}]}}}});
    create(&mut world, kind("v1", "ReplicationController"), controller);
    assert_eq!(pods(&world).len(), 2, "the stray pod counts");
    let owner =
        |world: &World| get(world, Kind::Pod, "stray")["metadata"]["ownerReferences"][0]["name"].clone();
    assert_eq!(owner(&world), "old");
    edit(&mut world, Kind::Pod, "stray", |pod| pod["metadata"]["labels"]["app"] = json!("other"));
    assert_eq!((owner(&world), pods(&world).len()), (Value::Null, 3));
    edit(&mut world, Kind::Pod, "stray", |pod| pod["metadata"]["labels"]["app"] = json!("old"));
    let stay = pods(&world).iter().filter(|p| p["metadata"].get("deletionTimestamp").is_none()).count();
    assert_eq!((owner(&world), stay), (json!("old"), 2), "one is too many then");
}

#[test]
fn a_world_saved_in_a_rollout_goes_on_alike() {
    let begin = || {
        let mut world = world(2);
        create(&mut world, deployments(), deployment(5, "web:1"));
        pass(&mut world, 60);
        edit(&mut world, deployments(), "web", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        });
        pass(&mut world, 3);
        world
    };
    let bytes = |world: &World| serde_json::to_string(world).unwrap();
    let mut whole = begin();
    let mut loaded: World = serde_json::from_str(&bytes(&begin())).unwrap();
    assert_eq!(bytes(&whole), bytes(&loaded));
    for _ in 0..40 {
        pass(&mut whole, 5);
        loaded.advance_to(whole.now());
        loaded = serde_json::from_str(&bytes(&loaded)).unwrap();
        assert_eq!(bytes(&whole), bytes(&loaded), "at {}", whole.now());
    }
}
