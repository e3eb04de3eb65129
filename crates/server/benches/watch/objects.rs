//! Objects as large clusters have them: pods with what kubelet and controllers write, `managedFields` included.

use serde_json::{Value, json};

/// What stands for the number of an object in a template.
const MARK: &str = "000042";

/// Texts of objects, made by putting a number in the place of a mark.
pub struct Template(String);

impl Template {
    fn new(object: &Value) -> Template {
        Template(object.to_string())
    }
    /// The object of this number at this version.
    pub fn of(&self, number: usize, version: u64) -> String {
        self.0.replace(MARK, &format!("{number:06}")).replace("\"V\"", &format!("\"{version}\""))
    }
}

fn managed(fields: usize) -> Value {
    let field = |i: usize| {
        (
            format!("k:{{\"type\":\"Condition{i}\"}}"),
            json!({".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}),
        )
    };
    let all: serde_json::Map<String, Value> = (0..fields).map(field).collect();
    json!([{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-05-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}}, "f:ownerReferences": {}},
                "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:env": {}, "f:image": {}, "f:resources": {}}}}}},
        {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-05-01T00:00:10Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:conditions": all, "f:containerStatuses": {}, "f:phase": {}}}, "subresource": "status"}])
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-05-01T00:00:10Z"})
}

/// A pod of a Deployment that runs: 250 mCPU, 512 MiB.
pub fn pod(nodes: usize) -> impl Fn(usize, u64) -> String {
    let env = |i: usize| json!({"name": format!("SETTING_{i}"), "value": format!("value-of-setting-{i}-of-this-service")});
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
    let template = Template::new(&json!({
        "metadata": {"name": format!("service-{MARK}-7c5ddbdf54-x2x4z"), "generateName": format!("service-{MARK}-7c5ddbdf54-"), "namespace": "shop",
            "uid": format!("5f0c1a2e-1111-4222-8333-444444{MARK}"), "resourceVersion": "V", "creationTimestamp": "2026-05-01T00:00:00Z",
            "labels": {"app": format!("service-{MARK}"), "pod-template-hash": "7c5ddbdf54", "team": "checkout"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("service-{MARK}-7c5ddbdf54"),
                "uid": format!("6f0c1a2e-1111-4222-8333-444444{MARK}"), "controller": true, "blockOwnerDeletion": true}],
            "managedFields": managed(4)},
        "spec": {"nodeName": "NODE", "restartPolicy": "Always", "serviceAccountName": "default", "serviceAccount": "default", "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30, "priority": 0, "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority", "securityContext": {},
            "volumes": [{"name": "kube-api-access-abcde", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "containers": [{"name": "main", "image": "registry.example/shop/service:2026.5.1", "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 8080, "protocol": "TCP"}], "env": (0..12).map(env).collect::<Vec<_>>(),
                "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
                "livenessProbe": probe, "readinessProbe": probe, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "volumeMounts": [{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]},
        "status": {"phase": "Running", "qosClass": "Burstable", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "startTime": "2026-05-01T00:00:00Z",
            "hostIPs": [{"ip": "10.0.0.1"}], "podIPs": [{"ip": "10.1.0.1"}],
            "conditions": [condition("PodReadyToStartContainers"), condition("Initialized"), condition("Ready"), condition("ContainersReady"), condition("PodScheduled")],
            "containerStatuses": [{"name": "main", "ready": true, "started": true, "restartCount": 0, "image": "registry.example/shop/service:2026.5.1",
                "imageID": "registry.example/shop/service@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "containerID": "containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                "lastState": {}, "state": {"running": {"startedAt": "2026-05-01T00:00:08Z"}}}]},
    }));
    move |number, version| {
        template.of(number, version).replace("NODE", &format!("node-{:06}", number % nodes))
    }
}

/// An m6i.2xlarge that is ready.
pub fn node() -> impl Fn(usize, u64) -> String {
    let image = |i: usize| json!({"names": [format!("registry.example/shop/service-{i}@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), format!("registry.example/shop/service-{i}:2026.5.1")], "sizeBytes": 123_456_789});
    let amounts = json!({"cpu": "8", "memory": "32Gi", "pods": "58", "ephemeral-storage": "80Gi"});
    let template = Template::new(&json!({
        "metadata": {"name": format!("node-{MARK}"), "uid": format!("7f0c1a2e-1111-4222-8333-444444{MARK}"), "resourceVersion": "V",
            "creationTimestamp": "2026-05-01T00:00:00Z", "managedFields": managed(5),
            "labels": {"kubernetes.io/hostname": format!("node-{MARK}"), "node.kubernetes.io/instance-type": "m6i.2xlarge",
                "topology.kubernetes.io/region": "ap-northeast-2", "topology.kubernetes.io/zone": "ap-northeast-2a", "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}},
        "spec": {"providerID": format!("aws:///ap-northeast-2a/i-{MARK}")},
        "status": {"capacity": amounts, "allocatable": {"cpu": "7910m", "memory": "30Gi", "pods": "58", "ephemeral-storage": "76Gi"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
                "lastHeartbeatTime": "2026-05-01T00:00:10Z", "lastTransitionTime": "2026-05-01T00:00:10Z"}],
            "images": (0..40).map(image).collect::<Vec<_>>()},
    }));
    move |number, version| template.of(number, version)
}

/// Priority classes of a cluster: the two that Kubernetes brings.
pub const CLASSES: usize = 2;

/// One of them.
pub fn class() -> impl Fn(usize, u64) -> String {
    let named = ["system-cluster-critical", "system-node-critical"].map(|name| {
        Template::new(&json!({"metadata": {"name": name, "uid": format!("9f0c1a2e-1111-4222-8333-{name}"), "resourceVersion": "V"},
            "value": 2_000_000_000, "description": "Used for system critical pods."}))
    });
    move |number, version| named[number % CLASSES].of(number, version)
}

/// A held Job that may leave home: two cores for an hour, within a day of `created`.
pub fn job(created: &str) -> impl Fn(usize, u64) -> String + use<> {
    let env = |i: usize| json!({"name": format!("SETTING_{i}"), "value": format!("value-of-setting-{i}-of-this-batch")});
    let whole = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": format!("batch-{MARK}"), "namespace": "batch", "uid": format!("8f0c1a2e-1111-4222-8333-444444{MARK}"), "resourceVersion": "V",
            "generation": 1, "creationTimestamp": created, "labels": {"kubercarbon.io/placement": "managed", "team": "data"},
            "annotations": {"kubercarbon.io/finish-within": "24h", "kubercarbon.io/expected-duration": "1h"}, "managedFields": managed(2)},
        "spec": {"suspend": true, "managedBy": "kubercarbon.io/fleet", "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "podReplacementPolicy": "TerminatingOrFailed", "manualSelector": false,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": format!("8f0c1a2e-1111-4222-8333-444444{MARK}")}},
            "template": {"metadata": {"labels": {"batch.kubernetes.io/controller-uid": format!("8f0c1a2e-1111-4222-8333-444444{MARK}"), "batch.kubernetes.io/job-name": format!("batch-{MARK}")}},
                "spec": {"restartPolicy": "Never", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30, "securityContext": {},
                    "containers": [{"name": "main", "image": "registry.example/data/batch:2026.5.1", "imagePullPolicy": "IfNotPresent",
                        "command": ["python", "-m", "batch"], "args": [format!("--part={MARK}")], "env": (0..8).map(env).collect::<Vec<_>>(),
                        "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}]}}},
        "status": {},
    });
    // As `kubectl apply` leaves it: with a copy of itself, but for what the server added.
    let applied = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": whole["metadata"]["name"]}, "spec": whole["spec"]});
    let mut whole = whole;
    whole["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        json!(applied.to_string());
    let template = Template::new(&whole);
    move |number, version| template.of(number, version)
}
