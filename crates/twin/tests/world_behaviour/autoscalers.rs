//! Autoscalers over time, and Jobs' pods as clients see them counted.

use crate::fixture::*;
use serde_json::{Value, json};
use twin::apiserver::{PatchType, Verb};
use twin::{Kind, World};

const LOAD: &str = "load.twin.kubercarbon.io/cpu";

fn deployments() -> Kind {
    Kind::find("apps", "v1", "deployments").unwrap()
}

fn autoscalers() -> Kind {
    Kind::find("autoscaling", "v2", "horizontalpodautoscalers").unwrap()
}

/// Two pods that ask for 400m and share 400m, and an autoscaler that wants half of the request used.
fn scaled() -> World {
    let mut world = world(3);
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "400m"}}});
    create(
        &mut world,
        deployments(),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": {LOAD: "400m"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}}}),
    );
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}});
    create(
        &mut world,
        autoscalers(),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 10, "metrics": [metric]}}),
    );
    world
}

fn load(world: &mut World, cpu: &str) {
    let body = json!({"metadata": {"name": "web", "annotations": {LOAD: cpu}}});
    world.request(&kr(), &request(Verb::Patch(PatchType::Merge), deployments(), body)).unwrap();
}

fn replicas(world: &World) -> i64 {
    get(world, deployments(), "web")["spec"]["replicas"].as_i64().unwrap()
}

fn again(world: &World) -> World {
    serde_json::from_str(&serde_json::to_string(world).unwrap()).unwrap()
}

#[test]
fn an_autoscaler_with_nothing_to_do_costs_nothing_and_misses_nothing() {
    let mut world = scaled();
    pass(&mut world, 3600);
    assert_eq!(
        get(&world, autoscalers(), "web")["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"],
        50
    );
    // A day is nothing at all while nothing changes.
    let version = world.objects(&kr()).unwrap().version();
    pass(&mut world, 86_400);
    assert_eq!(world.objects(&kr()).unwrap().version(), version);
    let mut loaded = again(&world);
    for world in [&mut world, &mut loaded] {
        pass(world, 7);
        load(world, "1");
        pass(world, 7);
        assert_eq!(replicas(world), 2, "the looks stay 15 s apart, from the first");
        pass(world, 1);
        assert_eq!(replicas(world), 4);
        pass(world, 600);
        assert_eq!(replicas(world), 5);
        load(world, "400m");
        pass(world, 299);
        assert_eq!(replicas(world), 5, "what was right five minutes ago holds");
        pass(world, 31);
        assert_eq!(replicas(world), 2);
    }
    assert_eq!(serde_json::to_string(&world).unwrap(), serde_json::to_string(&loaded).unwrap());
}

/// Where somebody could be asked about its Scale, an autoscaler sends a request; what comes of it is the same.
#[test]
fn a_workload_is_scaled_the_same_with_and_without_policies() {
    let after = |asked: bool| -> Vec<Value> {
        let mut world = scaled();
        if asked {
            let kind =
                Kind::of_object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy").unwrap();
            let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["nodes"]}]);
            create(
                &mut world,
                kind,
                json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
                    "metadata": {"name": "nodes.example.com"},
                    "spec": {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]}}),
            );
        }
        let loads = ["1", "400m", "2400m"].into_iter().flat_map(|cpu| {
            load(&mut world, cpu);
            pass(&mut world, 400);
            let mut web = get(&world, deployments(), "web");
            let meta = web["metadata"].as_object_mut().unwrap();
            ["resourceVersion", "uid"].iter().for_each(|key| drop(meta.remove(*key)));
            [web, get(&world, autoscalers(), "web")["status"].clone()]
        });
        loads.collect()
    };
    let plain = after(false);
    assert_eq!(plain, after(true));
    assert_eq!(plain[4]["spec"]["replicas"], 10);
}

#[test]
fn one_that_cannot_measure_says_so_and_not_too_often() {
    let mut world = scaled();
    edit(&mut world, deployments(), "web", |web| {
        web["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({});
    });
    pass(&mut world, 7200);
    let web = get(&world, autoscalers(), "web");
    assert_eq!(condition(&web, "ScalingActive"), "False FailedGetResourceMetric");
    let said = events(&world, "web").iter().filter(|e| e.starts_with("Failed")).count();
    assert!((25..60).contains(&said), "{said} warnings in two hours");
    assert_eq!(replicas(&world), 2);
}

#[test]
fn pods_of_jobs_are_held_until_they_are_counted() {
    let mut world = world(1);
    create(&mut world, Kind::Job, job("a", "1", &["sleep", "20"], json!({})));
    pass(&mut world, 15);
    let tracked = |pod: &Value| pod["metadata"]["finalizers"] == json!(["batch.kubernetes.io/job-tracking"]);
    assert!(tracked(&pods(&world)[0]));
    let version = world.objects(&kr()).unwrap().version();
    pass(&mut world, 15);
    assert!(!tracked(&pods(&world)[0]), "it has ended and is counted");
    // On the way its uid stood in the status.
    let uid = pods(&world)[0]["metadata"]["uid"].clone();
    let changes: Vec<Value> =
        world.objects(&kr()).unwrap().changes_since(version).unwrap().map(|c| c.object.to_value()).collect();
    let jobs = changes.iter().filter(|doc| doc["kind"] == "Job");
    let steps: Vec<(bool, i64)> = jobs
        .map(|job| {
            let status = &job["status"];
            (
                status["uncountedTerminatedPods"]["succeeded"][0] == uid,
                status["succeeded"].as_i64().unwrap_or(0),
            )
        })
        .collect();
    assert_eq!(steps, [(true, 0), (false, 1)]);
    delete(&mut world, Kind::Job, "a");
    pass(&mut world, 60);
    assert!(pods(&world).is_empty());
}

#[test]
fn a_job_takes_in_pods_it_selects_and_lets_go_those_it_does_not() {
    let mut world = world(1);
    create(
        &mut world,
        Kind::Job,
        job("a", "1", &["sleep", "600"], json!({"parallelism": 2, "completions": 2})),
    );
    pass(&mut world, 20);
    let name = pods(&world)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let labels = pods(&world)[0]["metadata"]["labels"].clone();
    edit(&mut world, Kind::Pod, &name, |pod| pod["metadata"]["labels"] = json!({"app": "mine"}));
    let freed = get(&world, Kind::Pod, &name);
    assert!(
        freed["metadata"].get("ownerReferences").is_none() && freed["metadata"].get("finalizers").is_none()
    );
    assert_eq!(pods(&world).len(), 3, "another takes its place");
    edit(&mut world, Kind::Pod, &name, |pod| pod["metadata"]["labels"] = labels.clone());
    let taken = get(&world, Kind::Pod, &name);
    assert_eq!(taken["metadata"]["ownerReferences"][0]["name"], "a");
    pass(&mut world, 20);
    assert_eq!(get(&world, Kind::Job, "a")["status"]["active"], 2, "three are one too many");
}
