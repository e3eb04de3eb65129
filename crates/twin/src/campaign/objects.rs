//! Workloads of all kinds, drawn.
//!
//! All of them together fit on the smallest cluster that is drawn, at their largest, so that nothing may be left pending at
//! the end: at most 5,500m of CPU, where four m6i.large have 7,720m.

use super::draw::{between, chance};
use crate::random::Stream;
use fleet::Span;
use serde_json::{Value, json};

/// Most Jobs that come after the start.
const JOBS_MAX: u64 = 6;

/// A template of pods labelled `app: NAME`.
fn template(name: &str, cpu: &str, stream: &mut Stream) -> Value {
    let mut annotations = serde_json::Map::new();
    let key = |key: &str| format!("twin.kubercarbon.io/{key}");
    if chance(stream, 20) {
        annotations.insert(key("crash-after"), json!(format!("{}s", between(stream, 20, 1500))));
    }
    if chance(stream, 30) {
        annotations.insert(key("stop-after"), json!(["0s", "5s", "25s", "never"][stream.below(4) as usize]));
    }
    if chance(stream, 15) {
        annotations.insert(key("disk"), json!("0s=1Gi,20m=3Gi"));
    }
    let mut container = json!({"name": "app", "image": format!("{name}:1"),
        "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}});
    if chance(stream, 40) {
        container["readinessProbe"] =
            json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": between(stream, 1, 10)});
        annotations.insert(key("ready-after"), json!(format!("{}s", stream.below(20))));
    }
    if chance(stream, 25) {
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": between(stream, 1, 20)}}});
    }
    let mut spec =
        json!({"containers": [container], "terminationGracePeriodSeconds": between(stream, 1, 40)});
    if chance(stream, 25) {
        spec["initContainers"] = json!([{"name": "init", "image": "init:1", "command": ["sleep", format!("{}", between(stream, 1, 15))]}]);
    }
    if chance(stream, 25) {
        spec["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": name}}}]);
    }
    if chance(stream, 20) {
        let seconds = stream.below(120);
        spec["tolerations"] = json!([
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    }
    json!({"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": spec})
}

fn deployment(name: &str, cpu: &str, stream: &mut Stream) -> Value {
    let strategy = match stream.below(4) {
        0 => json!({"type": "Recreate"}),
        1 => json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
        2 => json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}),
        _ => json!({"type": "RollingUpdate"}),
    };
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": between(stream, 1, 4), "selector": {"matchLabels": {"app": name}}, "strategy": strategy,
        "minReadySeconds": stream.below(3) * 5, "template": template(name, cpu, stream)}})
}

fn service(name: &str, requests: Option<String>) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}});
    if let Some(requests) = requests {
        service["metadata"]["annotations"] = json!({"traffic.twin.kubercarbon.io/requests": requests,
            "traffic.twin.kubercarbon.io/service-time": "20ms", "traffic.twin.kubercarbon.io/queue": "100"});
    }
    service
}

fn budget(name: &str, stream: &mut Stream) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": name}}});
    match stream.below(3) {
        0 => spec["minAvailable"] = json!(1),
        1 => spec["maxUnavailable"] = json!(1),
        _ => spec["minAvailable"] = json!("50%"),
    }
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec})
}

/// A web server under load, with an autoscaler in half of the seeds.
fn web(all: &mut Vec<Value>, stream: &mut Stream) {
    let rate = between(stream, 2, 20);
    let peak = between(stream, 10, 60);
    all.push(service(
        "web",
        Some(format!("0s={rate},{}m={peak},{}m={rate}", between(stream, 5, 50), between(stream, 60, 110))),
    ));
    all.push(deployment("web", "200m", stream));
    if chance(stream, 50) {
        all.push(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "minReplicas": 1, "maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]}}));
    }
    if chance(stream, 60) {
        all.push(budget("web", stream));
    }
}

/// A database with a disk for each of its pods.
fn database(all: &mut Vec<Value>, stream: &mut Stream) {
    all.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
        "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 5432}]}}));
    let policy = if chance(stream, 50) { "Parallel" } else { "OrderedReady" };
    let mut set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "replicas": between(stream, 1, 3), "serviceName": "db", "podManagementPolicy": policy,
        "selector": {"matchLabels": {"app": "db"}}, "template": template("db", "100m", stream)}});
    if chance(stream, 75) {
        set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "data", "mountPath": "/data"}]);
        set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    }
    if chance(stream, 30) {
        set["spec"]["persistentVolumeClaimRetentionPolicy"] =
            json!({"whenScaled": "Delete", "whenDeleted": "Delete"});
    }
    all.push(set);
    if chance(stream, 50) {
        all.push(budget("db", stream));
    }
}

fn job(name: &str, stream: &mut Stream) -> Value {
    let completions = between(stream, 1, 4);
    let mut spec = json!({"parallelism": between(stream, 1, 2), "completions": completions, "backoffLimit": stream.below(7),
        "template": {"spec": {"restartPolicy": if chance(stream, 70) { "Never" } else { "OnFailure" },
            "containers": [{"name": "main", "image": "batch:1", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}}});
    if chance(stream, 35) {
        spec["completionMode"] = json!("Indexed");
        if chance(stream, 40) && spec["template"]["spec"]["restartPolicy"] == "Never" {
            spec["backoffLimitPerIndex"] = json!(stream.below(3));
        }
    }
    if chance(stream, 30) && spec["template"]["spec"]["restartPolicy"] == "Never" {
        spec["podFailurePolicy"] = json!({"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]});
    }
    if chance(stream, 20) {
        spec["activeDeadlineSeconds"] = json!(between(stream, 60, 3000));
    }
    if chance(stream, 25) {
        spec["ttlSecondsAfterFinished"] = json!(between(stream, 0, 900));
    }
    let code = ["0", "0", "0", "0", "1", "42"][stream.below(6) as usize];
    let annotations = json!({"twin.kubercarbon.io/run-for": format!("{}s", between(stream, 1, 1200)), "twin.kubercarbon.io/exit-code": code});
    spec["template"]["metadata"] = json!({"annotations": annotations});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
}

fn cronjob(stream: &mut Stream) -> Value {
    let policy = ["Allow", "Forbid", "Replace"][stream.below(3) as usize];
    let mut template = job("x", stream)["spec"].clone();
    template["ttlSecondsAfterFinished"] = Value::Null;
    template["template"]["metadata"]["annotations"]["twin.kubercarbon.io/run-for"] =
        json!(format!("{}s", between(stream, 5, 900)));
    template["parallelism"] = json!(1);
    template["completions"] = json!(1);
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}, "spec": {
        "schedule": "*/10 * * * *", "concurrencyPolicy": policy, "jobTemplate": {"spec": template}}})
}

/// Workers that take messages from two queues.
fn workers(stream: &mut Stream) -> Value {
    let mut own = deployment("worker", "100m", stream);
    own["metadata"]["annotations"] = json!({
        "queue.twin.kubercarbon.io/fast": format!("rate=0s={},30m={}; takes=200ms; priority=10; ttl=60s", between(stream, 1, 4), between(stream, 1, 12)),
        "queue.twin.kubercarbon.io/slow": "rate=1; takes=900ms; length=500",
        "workers.twin.kubercarbon.io/concurrency": "2"});
    own
}

/// The objects of a seed.
pub(super) fn draw(stream: &mut Stream) -> Vec<Value> {
    let mut all = Vec::new();
    if chance(stream, 75) {
        web(&mut all, stream);
    }
    if chance(stream, 65) {
        database(&mut all, stream);
    }
    if chance(stream, 50) {
        all.push(
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {
            "selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "50m", stream)}}),
        );
    }
    if chance(stream, 50) {
        all.push(workers(stream));
    }
    if chance(stream, 60) {
        let number = between(stream, 1, 3);
        all.extend((0..number).map(|n| job(&format!("job-{n}"), stream)));
    }
    if chance(stream, 45) {
        all.push(cronjob(stream));
    }
    if all.is_empty() {
        all.push(deployment("web", "200m", stream));
    }
    all
}

/// Jobs that come later.
pub(super) fn later(stream: &mut Stream, before: Span) -> Vec<(Span, Value)> {
    let number = stream.below(JOBS_MAX + 1);
    let mut all = Vec::new();
    for n in 0..number {
        let at = Span::from_millis(stream.below((before.as_nanos() / 1_000_000) as u64) as i64);
        all.push((at, job(&format!("late-{n}"), stream)));
    }
    all
}
