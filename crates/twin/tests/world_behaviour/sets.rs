//! StatefulSets, DaemonSets and CronJobs on nodes.

use crate::fixture::*;
use fleet::NodeName;
use serde_json::{Value, json};
use twin::{Kind, World};

fn kind(api_version: &str, name: &str) -> Kind {
    Kind::of_object(api_version, name).unwrap()
}

fn template(app: &str, image: &str) -> Value {
    let container = json!({"name": "main", "image": image, "resources": {"requests": {"cpu": "100m"}}});
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]}})
}

fn names(world: &World) -> Vec<String> {
    pods(world).iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn images(world: &World) -> Vec<String> {
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    pods(world).iter().map(image).collect()
}

#[test]
fn a_stateful_set_goes_up_down_and_over_in_order() {
    let mut world = world(2);
    let sets = kind("apps/v1", "StatefulSet");
    let body = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": NAMESPACE},
        "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": template("db", "db:1")}});
    create(&mut world, sets, body);
    assert_eq!(names(&world), ["db-0"]);
    pass(&mut world, 11);
    assert_eq!(names(&world), ["db-0", "db-1"], "the first is ready after ten seconds");
    pass(&mut world, 60);
    let pod = get(&world, Kind::Pod, "db-2");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-2"), &json!("db")));
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "2");
    edit(&mut world, sets, "db", |set| set["spec"]["template"] = template("db", "db:2"));
    pass(&mut world, 5);
    assert_eq!(images(&world)[..2], ["db:1", "db:1"], "the last goes first");
    pass(&mut world, 120);
    assert_eq!(images(&world), ["db:2", "db:2", "db:2"]);
    let set = get(&world, sets, "db");
    assert_eq!(set["status"]["currentRevision"], set["status"]["updateRevision"]);
    assert_eq!(all(&world, kind("apps/v1", "ControllerRevision")).len(), 2);
    edit(&mut world, sets, "db", |set| set["spec"]["replicas"] = json!(1));
    pass(&mut world, 60);
    assert_eq!(names(&world), ["db-0"]);
    delete(&mut world, Kind::Pod, "db-0");
    pass(&mut world, 30);
    assert_eq!(phases(&world), ["Running"], "it comes back under its name");
    let told = events(&world, "db");
    assert_eq!(told[0], "SuccessfulCreate: Create Pod db-0 in StatefulSet db successful");
}

fn daemon() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "log", "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": "log"}}, "template": template("log", "log:1")}})
}

#[test]
fn a_daemon_set_is_on_every_node_that_takes_it() {
    let mut world = world(3);
    let sets = kind("apps/v1", "DaemonSet");
    create(&mut world, sets, daemon());
    pass(&mut world, 20);
    let nodes = |world: &World| -> Vec<String> {
        let mut nodes: Vec<String> =
            pods(world).iter().map(|pod| pod["spec"]["nodeName"].as_str().unwrap().to_owned()).collect();
        nodes.sort();
        nodes
    };
    assert_eq!(nodes(&world), ["kr-general-1", "kr-general-2", "kr-general-3"]);
    let status = get(&world, sets, "log")["status"].clone();
    assert_eq!((&status["desiredNumberScheduled"], &status["numberReady"]), (&json!(3), &json!(3)));
    // A cordon does not keep a daemon off; a taint of one's own does, and drives it off if it says so.
    edit(&mut world, Kind::Node, node(1).as_str(), |node| node["spec"]["unschedulable"] = json!(true));
    edit(&mut world, Kind::Node, node(2).as_str(), |node| {
        node["spec"]["taints"] = json!([{"key": "mine", "effect": "NoExecute"}]);
    });
    pass(&mut world, 30);
    assert_eq!(nodes(&world), ["kr-general-1", "kr-general-3"]);
    edit(&mut world, sets, "log", |set| set["spec"]["template"] = template("log", "log:2"));
    pass(&mut world, 3);
    assert_eq!(images(&world).iter().filter(|image| *image == "log:1").count(), 1, "one at a time");
    pass(&mut world, 120);
    assert_eq!(images(&world), ["log:2", "log:2"]);
    let status = get(&world, sets, "log")["status"].clone();
    assert_eq!(status["updatedNumberScheduled"], 2);
    assert_eq!(status["desiredNumberScheduled"], 2);
}

#[test]
fn a_surging_daemon_set_never_leaves_a_node_without_its_pod() {
    let mut world = world(2);
    let sets = kind("apps/v1", "DaemonSet");
    let mut body = daemon();
    let rolling = json!({"maxSurge": 1, "maxUnavailable": 0});
    body["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
    create(&mut world, sets, body);
    pass(&mut world, 20);
    edit(&mut world, sets, "log", |set| set["spec"]["template"] = template("log", "log:2"));
    for _ in 0..60 {
        pass(&mut world, 1);
        let ready = |name: &NodeName| {
            let here = |pod: &&Value| pod["spec"]["nodeName"] == name.as_str();
            pods(&world).iter().filter(here).any(|pod| condition(pod, "Ready").starts_with("True"))
        };
        assert!(ready(&node(1)) && ready(&node(2)));
    }
    assert_eq!(images(&world), ["log:2", "log:2"]);
}

#[test]
fn a_cron_job_starts_jobs_in_its_zone_and_keeps_few() {
    let mut world = world(1);
    let crons = kind("batch/v1", "CronJob");
    let body = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick", "namespace": NAMESPACE},
        "spec": {"schedule": "30 9 * * *", "timeZone": "Asia/Seoul", "successfulJobsHistoryLimit": 2,
            "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [
                {"name": "main", "image": "busybox:1.37", "command": ["sleep", "5"]}]}}}}}});
    create(&mut world, crons, body);
    // The world begins at nine in Seoul.
    pass(&mut world, 30 * 60 + 1);
    let jobs = all(&world, Kind::Job);
    assert_eq!(jobs.len(), 1);
    let minutes = (start().as_unix_seconds() + 1800) / 60;
    assert_eq!(jobs[0]["metadata"]["name"], format!("tick-{minutes}"));
    let due = &jobs[0]["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
    assert_eq!(due, "2026-05-01T09:30:00+09:00");
    assert_eq!(get(&world, crons, "tick")["status"]["active"].as_array().unwrap().len(), 1);
    pass(&mut world, 4 * 86_400 + 60);
    let cron = get(&world, crons, "tick");
    assert_eq!(cron["status"]["lastScheduleTime"], "2026-05-05T00:30:00Z");
    assert_eq!(cron["status"].get("active"), None);
    assert_eq!(all(&world, Kind::Job).len(), 2, "of five that completed");
    let told = events(&world, "tick");
    assert!(
        told.contains(&format!("SawCompletedJob: Saw completed job: tick-{minutes}, condition: Complete")),
        "{told:?}"
    );
}

#[test]
fn a_set_whose_pod_a_quota_refuses_tries_again() {
    let mut world = world(2);
    let (sets, quotas) = (kind("apps/v1", "StatefulSet"), kind("v1", "ResourceQuota"));
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": NAMESPACE},
        "spec": {"hard": {"pods": "1"}}});
    create(&mut world, quotas, quota);
    let body = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": NAMESPACE},
        "spec": {"replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": template("db", "db:1")}});
    create(&mut world, sets, body);
    pass(&mut world, 30);
    assert_eq!(names(&world), ["db-0"]);
    let why =
        "pods \"db-1\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1";
    let told = format!("FailedCreate: Create Pod db-1 in StatefulSet db failed error: {why}");
    assert!(events(&world, "db").contains(&told), "{:?}", events(&world, "db"));
    edit(&mut world, quotas, "few", |quota| quota["spec"]["hard"]["pods"] = json!("2"));
    pass(&mut world, 60);
    assert_eq!(names(&world), ["db-0", "db-1"]);
}

/// A limit without a request is a request, in the pods of workloads as in clients' own, so that the scheduler keeps room.
#[test]
fn pods_of_workloads_ask_for_what_they_are_limited_to() {
    let mut world = world(1);
    let container =
        |resources: serde_json::Value| json!([{"name": "main", "image": "web:1", "resources": resources}]);
    let limited = json!({"containers": container(json!({"limits": {"cpu": "3", "memory": "1Gi"}}))});
    let whole = json!({"containers": container(json!({"requests": {"cpu": "500m"}})),
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}});
    for (name, spec) in [("limited", limited), ("whole", whole)] {
        let labels = json!({"app": name});
        let replicas = if name == "limited" { 4 } else { 1 };
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec}}});
        create(&mut world, Kind::of_object("apps/v1", "Deployment").unwrap(), body);
    }
    pass(&mut world, 30);
    let of = |name: &str| -> Vec<serde_json::Value> {
        pods(&world).into_iter().filter(|pod| pod["metadata"]["labels"]["app"] == name).collect()
    };
    let limited = of("limited");
    let asked = &limited[0]["spec"]["containers"][0]["resources"]["requests"];
    assert_eq!(
        (asked, &limited[0]["status"]["qosClass"]),
        (&json!({"cpu": "3", "memory": "1Gi"}), &json!("Guaranteed"))
    );
    let running = limited.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
    assert_eq!(running, 2, "a node of 7.91 cores has room for two of three cores each");
    let whole = &of("whole")[0];
    assert_eq!(whole["spec"]["resources"]["requests"], json!({"cpu": "500m", "memory": "2Gi"}));
    assert_eq!(whole["status"]["qosClass"], "Burstable");
}
