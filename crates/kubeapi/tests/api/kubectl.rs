//! The real kubectl, if there is one, against the API on a socket.

use crate::memory::{Memory, job, router};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

pub struct Kubectl<'a> {
    pub home: &'a Path,
}

/// A home directory whose kubeconfig is of the API served at an address.
pub fn home_of(address: std::net::SocketAddr) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "kr",
        "clusters": [{"name": "kr", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "kr", "context": {"cluster": "kr", "user": "u"}}],
    });
    std::fs::write(home.path().join("config"), config.to_string()).unwrap();
    home
}

impl Kubectl<'_> {
    /// Runs kubectl with `args` and `input` on stdin: whether it succeeded, stdout and stderr.
    fn try_run(&self, args: &[&str], input: &str) -> (bool, String) {
        let stdin = self.home.join("stdin");
        std::fs::write(&stdin, input).unwrap();
        let output = Command::new("kubectl")
            .args(args)
            .env("HOME", self.home)
            .env("KUBECACHEDIR", self.home.join("cache"))
            .env("KUBECONFIG", self.home.join("config"))
            .stdin(Stdio::from(std::fs::File::open(stdin).unwrap()))
            .output()
            .unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }
    pub fn run(&self, args: &[&str], input: &str) -> String {
        let (done, text) = self.try_run(args, input);
        assert!(done, "kubectl {}: {text}", args.join(" "));
        text
    }
    fn refused(&self, args: &[&str], input: &str) -> String {
        let (done, text) = self.try_run(args, input);
        assert!(!done, "kubectl {}: {text}", args.join(" "));
        text
    }
}

pub fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in:\n{text}");
    }
}

/// Applies and reads objects in every form.
fn read_and_apply(kubectl: &Kubectl<'_>) {
    has(&kubectl.run(&["create", "namespace", "shop"], ""), &["namespace/shop created"]);
    let mut manifest = job("render");
    manifest["metadata"]["namespace"] = json!("shop");
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}, "data": {"a": "1"}});
    let list = |job: &Value| json!({"apiVersion": "v1", "kind": "List", "items": [job, config]}).to_string();
    has(
        &kubectl.run(&["apply", "-f", "-"], &list(&manifest)),
        &["job.batch/render created", "configmap/c created"],
    );
    has(&kubectl.run(&["apply", "-f", "-"], &list(&manifest)), &["job.batch/render unchanged"]);
    manifest["spec"]["suspend"] = json!(false);
    manifest["spec"]["parallelism"] = json!(3);
    has(
        &kubectl.run(&["apply", "-f", "-"], &list(&manifest)),
        &["job.batch/render configured", "configmap/c unchanged"],
    );
    let wide = kubectl.run(&["-n", "shop", "get", "jobs", "-o", "wide"], "");
    has(
        &wide,
        &[
            "NAME",
            "COMPLETIONS",
            "SELECTOR",
            "render",
            "0/1",
            "busybox",
            "batch.kubernetes.io/controller-uid=",
        ],
    );
    has(
        &kubectl.run(&["-n", "shop", "get", "job/render", "-o", "yaml"], ""),
        &["parallelism: 3", "suspend: false"],
    );
    let read: Value =
        serde_json::from_str(&kubectl.run(&["-n", "shop", "get", "cm", "c", "-o", "json"], "")).unwrap();
    assert_eq!(read["data"]["a"], "1");
    has(&kubectl.run(&["get", "jobs", "-A", "-l", "app in (demo)"], ""), &["shop", "render"]);
    has(&kubectl.run(&["get", "cm", "-A", "--field-selector", "metadata.name=c"], ""), &["shop", "c"]);
    has(&kubectl.run(&["get", "nodes"], ""), &["n1", "Ready", "v1.36.3"]);
    has(&kubectl.run(&["get", "all", "-n", "shop"], ""), &["job.batch/render"]);
    has(&kubectl.run(&["api-resources"], ""), &["jobs", "batch/v1", "configmaps", "cm"]);
    has(&kubectl.run(&["version"], ""), &["v1.36.3"]);
    has(&kubectl.run(&["-n", "shop", "diff", "-f", "-"], &list(&manifest)), &[]);
    has(&kubectl.run(&["-n", "shop", "describe", "job", "render"], ""), &["Parallelism:", "3", "busybox"]);
    has(&kubectl.run(&["describe", "node", "n1"], ""), &["Allocatable:", "memory:  32Gi"]);
}

/// Changes, refusals and deletion.
fn change_and_delete(kubectl: &Kubectl<'_>) {
    has(&kubectl.run(&["-n", "shop", "label", "cm", "c", "tier=x"], ""), &["configmap/c labeled"]);
    has(
        &kubectl.run(&["-n", "shop", "annotate", "job", "render", "kubercarbon.io/deadline=x"], ""),
        &["job.batch/render annotated"],
    );
    for (kind, patch) in [
        ("merge", r#"{"data":{"m":"1"}}"#),
        ("strategic", r#"{"data":{"s":"1"}}"#),
        ("json", r#"[{"op":"add","path":"/data/j","value":"1"}]"#),
    ] {
        let done = kubectl.run(&["-n", "shop", "patch", "cm", "c", "--type", kind, "-p", patch], "");
        has(&done, &["configmap/c patched"]);
    }
    let data = kubectl.run(&["-n", "shop", "get", "cm", "c", "-o", "jsonpath={.data}"], "");
    assert_eq!(data, r#"{"a":"1","j":"1","m":"1","s":"1"}"#);

    let mut bad = job("bad");
    bad["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    has(
        &kubectl.refused(&["-n", "shop", "create", "-f", "-"], &bad.to_string()),
        &[
            "The Job \"bad\" is invalid: spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ],
    );
    bad["spec"]["paralelism"] = json!(1);
    has(
        &kubectl.refused(&["-n", "shop", "apply", "-f", "-"], &bad.to_string()),
        &["strict decoding error: unknown field \"spec.paralelism\""],
    );
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    has(&kubectl.run(&["create", "-f", "-"], &pod.to_string()), &["pod/p created"]);
    has(&kubectl.run(&["-n", "shop", "get", "pods"], ""), &["p", "0/1", "Pending"]);
    has(&kubectl.run(&["-n", "shop", "describe", "pod", "p"], ""), &["QoS Class:", "BestEffort"]);
    has(&kubectl.refused(&["-n", "shop", "logs", "p"], ""), &["containers of a simulated pod write no logs"]);
    has(&kubectl.run(&["-n", "shop", "delete", "pod", "p", "--timeout=20s"], ""), &["pod \"p\" deleted"]);
    has(
        &kubectl.run(&["-n", "shop", "delete", "job", "render", "--timeout=20s"], ""),
        &["job.batch \"render\" deleted"],
    );
    has(&kubectl.refused(&["-n", "shop", "get", "job", "render"], ""), &["jobs.batch \"render\" not found"]);
    has(&kubectl.run(&["-n", "shop", "wait", "--for=delete", "job/render", "--timeout=20s"], ""), &[]);
    has(
        &kubectl.run(&["-n", "shop", "delete", "cm", "--all", "--timeout=20s"], ""),
        &["configmap \"c\" deleted"],
    );
}

const SHOP: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: work}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: "nginx:1", ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: work}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: work}
spec:
  rules:
  - host: web.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
"#;

/// Kinds kept as documents, ownership, diffs and explanations.
fn any_kind(kubectl: &Kubectl<'_>) {
    let all = ["deployment.apps/web", "service/web", "ingress.networking.k8s.io/web"];
    let each = |suffix: &str| all.map(|name| format!("{name} {suffix}"));
    let made = kubectl.run(&["apply", "--server-side", "-f", "-"], SHOP);
    has(&made, &each("serverside-applied").each_ref().map(String::as_str));
    let less = SHOP.replace("nginx:1", "nginx:2");
    let (same, text) = kubectl.try_run(&["diff", "--server-side", "-f", "-"], SHOP);
    assert!(same && text.is_empty(), "{text}");
    let (same, text) = kubectl.try_run(&["diff", "--server-side", "-f", "-"], &less);
    assert!(!same);
    has(&text, &["-      - image: nginx:1", "+      - image: nginx:2"]);
    has(
        &kubectl.run(&["-n", "work", "scale", "deployment", "web", "--replicas=4"], ""),
        &["deployment.apps/web scaled"],
    );
    // The scale is another's now.
    let conflict = kubectl.refused(&["apply", "--server-side", "-f", "-"], SHOP);
    has(&conflict, &["conflict with \"kubectl\" with subresource \"scale\"", ".spec.replicas"]);
    kubectl.run(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &less);
    has(
        &kubectl.run(&["-n", "work", "get", "deployment,svc,ing"], ""),
        &["0/2", "ClusterIP", "10.96.1.0", "web.example.com"],
    );
    has(
        &kubectl.run(&["-n", "work", "get", "deploy", "web", "--show-managed-fields", "-o", "yaml"], ""),
        &["manager: kubectl", "operation: Apply", "f:replicas", "image: nginx:2"],
    );
    has(
        &kubectl.run(&["-n", "work", "describe", "deployment", "web"], ""),
        &["RollingUpdateStrategy:", "nginx:2"],
    );
    has(
        &kubectl.run(&["explain", "deployment.spec.strategy"], ""),
        &["rollingUpdate", "RollingUpdateDeployment"],
    );
    has(&kubectl.run(&["explain", "hpa.spec.metrics", "--recursive"], ""), &["averageUtilization"]);
    has(&kubectl.run(&["-n", "work", "set", "image", "deployment/web", "c=nginx:3"], ""), &["image updated"]);
    has(&kubectl.run(&["auth", "can-i", "create", "deployments"], ""), &["yes"]);
    has(
        &kubectl.run(&["api-resources", "--verbs=list", "-o", "name"], ""),
        &["deployments.apps", "clusterroles.rbac"],
    );
    let client = SHOP.replace("name: web, namespace", "name: own, namespace");
    has(&kubectl.run(&["apply", "-f", "-"], &client), &["deployment.apps/own created"]);
    has(
        &kubectl.run(&["apply", "-f", "-"], &client),
        &["deployment.apps/own unchanged", "service/own unchanged"],
    );
    let changed = client.replace("containerPort: 80", "containerPort: 81");
    has(&kubectl.run(&["apply", "-f", "-"], &changed), &["deployment.apps/own configured"]);
    let ports = "jsonpath={.spec.template.spec.containers[0].ports}";
    let ports = kubectl.run(&["-n", "work", "get", "deploy", "own", "-o", ports], "");
    assert_eq!(ports, r#"[{"containerPort":81,"protocol":"TCP"}]"#);
    let odd = client.replace("replicas: 2", "replicas: 2\n  odd: 1");
    has(&kubectl.refused(&["apply", "-f", "-"], &odd), &["unknown field \"spec.odd\""]);
    edit(kubectl);
    has(
        &kubectl.run(&["-n", "work", "delete", "deployment,svc,ing", "--all", "--timeout=20s"], ""),
        &["\"own\" deleted"],
    );
}

/// `kubectl edit` with an editor that is a script.
fn edit(kubectl: &Kubectl<'_>) {
    let editor = kubectl.home.join("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/replicas: 2/replicas: 6/' \"$1\"\n").unwrap();
    let output = Command::new("kubectl")
        .args(["-n", "work", "edit", "deployment", "own"])
        .env("HOME", kubectl.home)
        .env("KUBECACHEDIR", kubectl.home.join("cache"))
        .env("KUBECONFIG", kubectl.home.join("config"))
        .env("KUBE_EDITOR", format!("sh {}", editor.display()))
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    has(&text, &["deployment.apps/own edited"]);
    let replicas =
        kubectl.run(&["-n", "work", "get", "deploy", "own", "-o", "jsonpath={.spec.replicas}"], "");
    assert_eq!(replicas, "6");
}

/// `kubectl wait` follows a status that is written while it waits.
fn wait_for_condition(kubectl: &Kubectl<'_>, twin: &Memory) {
    kubectl.run(&["-n", "work", "create", "-f", "-"], &job("w").to_string());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            Command::new("kubectl")
                .args(["-n", "work", "wait", "--for=condition=complete", "job/w", "--timeout=20s"])
                .env("HOME", kubectl.home)
                .env("KUBECONFIG", kubectl.home.join("config"))
                .output()
                .unwrap()
        });
        let body = json!({"status": {"startTime": crate::memory::NOW, "completionTime": crate::memory::NOW, "succeeded": 1, "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}});
        let request = twin::Request {
            verb: twin::apiserver::Verb::Patch(twin::apiserver::PatchType::Merge),
            kind: twin::Kind::Job,
            namespace: "work".to_owned(),
            name: "w".to_owned(),
            subresource: Some(twin::apiserver::Subresource::Status),
            body,
            options: twin::apiserver::Options::default(),
        };
        twin.run(&request).unwrap();
        let output = waiting.join().unwrap();
        has(&String::from_utf8_lossy(&output.stdout), &["job.batch/w condition met"]);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_cannot_tell() {
    let found = Command::new("kubectl").args(["version", "--client"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("skipped: no kubectl");
        return;
    }
    let twin = Memory::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router(&twin);
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    let home = home_of(address);
    tokio::task::spawn_blocking(move || {
        let kubectl = Kubectl { home: home.path() };
        read_and_apply(&kubectl);
        change_and_delete(&kubectl);
        any_kind(&kubectl);
        wait_for_condition(&kubectl, &twin);
    })
    .await
    .unwrap();
    server.abort();
}
