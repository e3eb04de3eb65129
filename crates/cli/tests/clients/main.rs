//! Clients of Kubernetes that nobody here wrote, on `kubercarbon twin serve`: they cannot tell it from a cluster.
//!
//! `prepare DIRECTORY` makes them from their published packages; `KUBERCARBON_CLIENTS` names the directory. Without it,
//! or where one of them could not be had, its test says "skipped".

#![allow(clippy::unwrap_used, clippy::panic, reason = "what a test unwraps is what it asserts")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What was prepared, if it is there.
fn prepared(what: &str) -> Option<PathBuf> {
    let found = std::env::var_os("KUBERCARBON_CLIENTS").map(|dir| PathBuf::from(dir).join(what));
    let found = found.filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: no {what} (KUBERCARBON_CLIENTS)");
    }
    found
}

/// A twin of three nodes with nothing in it.
struct Twin {
    child: Child,
    kubeconfig: String,
}

impl Twin {
    /// Time in it passes ten times as fast as here, so that images are pulled in a second.
    fn start() -> Twin {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubercarbon"))
            .args(["twin", "serve", "--nodes", "3", "--speed", "10x"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("export KUBECONFIG="));
        let kubeconfig = line.unwrap().trim_start_matches("export KUBECONFIG=").to_owned();
        Twin { child, kubeconfig }
    }

    /// Has kubectl do something; what it says.
    fn kubectl(&self, arguments: &[&str]) -> String {
        self.run(Path::new("kubectl"), arguments)
    }

    /// Applies a manifest.
    fn apply(&self, manifest: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest).unwrap();
        self.kubectl(&["apply", "-f", file.path().to_str().unwrap()]);
    }

    /// Runs a client; what it says.
    fn run(&self, program: &Path, arguments: &[&str]) -> String {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env("HOME", home.path());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

/// Whether kubectl is there, which tests with controllers act through.
fn has_kubectl() -> bool {
    let found = Command::new("kubectl").args(["version", "--client"]).output().is_ok();
    if !found {
        println!("skipped: no kubectl");
    }
    found
}

/// A controller that runs until the test is over.
struct Running(Child);

impl Running {
    fn start(program: &Path, twin: &Twin, arguments: &[&str]) -> Running {
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", &twin.kubeconfig).stdin(Stdio::null());
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn informers_leader_election_and_protobuf_of_client_go() {
    let Some(program) = prepared("bin/informers") else { return };
    assert_eq!(Twin::start().run(&program, &[]), "ok\n");
}

#[test]
fn the_python_client() {
    let Some(python) = prepared("python/bin/python") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/client.py");
    assert_eq!(Twin::start().run(&python, &[script]), "ok\n");
}

#[test]
fn helm_installs_upgrades_and_rolls_back() {
    let Some(helm) = prepared("bin/helm") else { return };
    let (twin, dir) = (Twin::start(), tempfile::tempdir().unwrap());
    let chart = dir.path().join("web");
    let chart = chart.to_str().unwrap();
    // The chart that Helm itself begins every chart with: a Deployment, a Service and a ServiceAccount.
    twin.run(&helm, &["create", chart]);
    twin.run(&helm, &["install", "web", chart, "--wait", "--timeout", "120s"]);
    twin.run(&helm, &["upgrade", "web", chart, "--set", "replicaCount=3", "--wait", "--timeout", "120s"]);
    twin.run(&helm, &["rollback", "web", "1", "--wait", "--timeout", "120s"]);
    let history = twin.run(&helm, &["history", "web"]);
    let statuses: Vec<&str> = history
        .lines()
        .skip(1)
        .map(|line| if line.contains("superseded") { "superseded" } else { "deployed" })
        .collect();
    assert_eq!(statuses, ["superseded", "superseded", "deployed"], "{history}");
    assert!(history.contains("Rollback to 1"), "{history}");
    twin.run(&helm, &["uninstall", "web", "--wait"]);
    assert_eq!(twin.run(&helm, &["list", "--short"]).trim(), "");
}

/// A field of each pod that is to stay, as a Go template names it.
fn of_pods(twin: &Twin, field: &str) -> Vec<String> {
    let template = format!(
        "go-template={{{{range .items}}}}{{{{if not .metadata.deletionTimestamp}}}}{{{{{field}}}}} {{{{end}}}}{{{{end}}}}"
    );
    twin.kubectl(&["get", "pods", "-o", &template]).split_whitespace().map(str::to_owned).collect()
}

/// How many pods stand on each node that has any, the fewest first.
fn pods_by_node(twin: &Twin) -> Vec<usize> {
    let mut nodes = std::collections::BTreeMap::new();
    for node in of_pods(twin, ".spec.nodeName") {
        *nodes.entry(node).or_insert(0) += 1;
    }
    let mut counts: Vec<usize> = nodes.into_values().collect();
    counts.sort_unstable();
    counts
}

/// The descheduler looks at nodes and owners, evicts what stands twice on a node, and heeds budgets.
#[test]
fn the_descheduler_spreads_what_stands_on_one_node() {
    let Some(descheduler) = prepared("bin/descheduler").filter(|_| has_kubectl()) else { return };
    let twin = Twin::start();
    let nodes = twin.kubectl(&["get", "nodes", "-o", "name"]);
    let nodes: Vec<&str> = nodes.lines().collect();
    twin.kubectl(&["cordon", nodes[1], nodes[2]]);
    twin.kubectl(&["create", "deployment", "web", "--image=example.com/web:1", "--replicas=6"]);
    twin.kubectl(&["create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=5"]);
    twin.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    assert_eq!(pods_by_node(&twin), [6]);
    twin.kubectl(&["uncordon", nodes[1], nodes[2]]);
    let policy = tempfile::NamedTempFile::new().unwrap();
    let text = r#"{"apiVersion": "descheduler/v1alpha2", "kind": "DeschedulerPolicy", "profiles": [{"name": "spread",
        "pluginConfig": [{"name": "DefaultEvictor"}, {"name": "RemoveDuplicates"}],
        "plugins": {"balance": {"enabled": ["RemoveDuplicates"]}}}]}"#;
    std::fs::write(policy.path(), text).unwrap();
    let (policy, config) = (policy.path().to_str().unwrap(), twin.kubeconfig.as_str());
    let mut rounds = 0;
    while pods_by_node(&twin) != [2, 2, 2] {
        assert!(rounds < 8, "{:?}", pods_by_node(&twin));
        let interval = ["--descheduling-interval", "0", "--secure-port", "0"];
        let options = ["--kubeconfig", config, "--policy-config-file", policy];
        twin.run(&descheduler, &[options, interval].concat());
        // The budget lets one pod go at a time, so that one round is never enough.
        twin.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
        rounds += 1;
    }
    assert!(rounds > 1, "the budget of one pod at a time was not heeded");
}

const ROLLOUT: &str = r"
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  strategy: {canary: {steps: [{setWeight: 25}, {pause: {}}, {setWeight: 50}, {pause: {duration: 1s}}]}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'example.com/web:1'}]}
";

/// Argo Rollouts takes a Rollout through a canary: its own resources, ReplicaSets it makes and scales, status it writes.
#[test]
fn argo_rollouts_goes_through_a_canary() {
    let Some(controller) = prepared("bin/rollouts").filter(|_| has_kubectl()) else { return };
    let Some(definitions) = prepared("rollouts/crds") else { return };
    let twin = Twin::start();
    twin.kubectl(&["create", "-f", definitions.to_str().unwrap()]);
    twin.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
    let ports = ["--healthzPort", "0", "--metricsport", "0"];
    let options = ["--leader-elect=false", "--kubeconfig", &twin.kubeconfig];
    let _running = Running::start(&controller, &twin, &[&ports[..], &options[..]].concat());
    let until = |what: &str| {
        twin.kubectl(&["wait", "rollout/web", &format!("--for=jsonpath={what}"), "--timeout=120s"]);
    };
    let images = || {
        let all = of_pods(&twin, "(index .spec.containers 0).image");
        let of = |tag: &str| all.iter().filter(|image| image.ends_with(tag)).count();
        (of(":1"), of(":2"))
    };
    twin.apply(ROLLOUT);
    until("{.status.phase}=Healthy");
    assert_eq!(images(), (4, 0));
    twin.apply(&ROLLOUT.replace("web:1", "web:2"));
    until("{.status.phase}=Paused");
    assert_eq!(images(), (3, 1), "a quarter is new");
    // What `kubectl argo rollouts promote` does.
    let promoted = r#"{"status":{"pauseConditions":null}}"#;
    twin.kubectl(&["patch", "rollout", "web", "--subresource=status", "--type=merge", "-p", promoted]);
    until("{.status.currentStepIndex}=4");
    until("{.status.phase}=Healthy");
    until("{.status.replicas}=4");
    assert_eq!(images(), (0, 4));
    let scale = twin.kubectl(&["scale", "rollout/web", "--replicas=2"]);
    assert!(scale.contains("scaled"), "{scale}");
    until("{.status.replicas}=2");
}
