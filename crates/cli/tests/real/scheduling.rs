//! The same manifests on a real control plane and on the twin of it, under the same `KubeSchedulerConfiguration`.
//!
//! Which of several equally good nodes a pod is given is chance in both; whether it is given one, what it is told
//! meanwhile, in conditions and in events, and which rules its place obeys is not, and is compared after each step.

use crate::support::{Lab, Plane, Twin, grant_by, kubeconfig, kubercarbon, text, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two profiles, the second of which fills nodes up.
const SCHEDULER: &str = "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: KUBECONFIG}
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  plugins: {score: {disabled: [{name: NodeResourcesBalancedAllocation}]}}
  pluginConfig:
  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}
";

/// What a Pod says beside its container.
fn pod(name: &str, cpu: &str, labels: &str, spec: &str) -> String {
    let separator = if spec.is_empty() { "" } else { ", " };
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{{labels}}}}}
spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, image: busybox, resources: {{requests: {{cpu: {cpu}}}}}}}]{separator}{spec}}}
"
    )
}

/// Pods that fit, pods that fit nowhere for each of several reasons, and one that is nobody's.
fn mixed() -> String {
    let mut all = pod("huge", "9", "", "");
    all += &pod("ssd", "100m", "", "nodeSelector: {disk: ssd}");
    all += &pod("gated", "100m", "", "schedulingGates: [{name: example.com/wait}]");
    all += &pod("nobodys", "100m", "", "schedulerName: nobody");
    let apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: apart}}, topologyKey: kubernetes.io/hostname}]}}";
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: spread}}}]";
    for i in 0..4 {
        all += &pod(&format!("apart-{i}"), "100m", "app: apart", apart);
        all += &pod(&format!("spread-{i}"), "100m", "app: spread", spread);
    }
    for i in 0..3 {
        all += &pod(&format!("packed-{i}"), "100m", "app: packed", "schedulerName: packer");
    }
    all
}

/// kubectl on both.
struct Both {
    dir: PathBuf,
    configs: [PathBuf; 2],
}

/// What became of each pod, chance apart, and where it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// By pod: whether it has a node, what its condition says, and what it was told in events.
    pods: BTreeMap<String, (bool, String, BTreeSet<String>)>,
    nodes: BTreeMap<String, String>,
}

impl Both {
    fn kubectl(&self, config: &Path, args: &[&str]) -> String {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(config).env("HOME", &self.dir).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
    fn run(&self, args: &[&str]) {
        self.configs.iter().for_each(|config| drop(self.kubectl(config, args)));
    }
    fn apply(&self, manifest: &str) {
        let file = self.dir.join("both.yaml");
        std::fs::write(&file, manifest).unwrap();
        self.run(&["apply", "-f", &file.display().to_string()]);
    }
    fn told(&self, config: &Path) -> Told {
        let list = |of: &str| -> Vec<Value> {
            let answer: Value =
                serde_json::from_str(&self.kubectl(config, &["get", of, "-n", "default", "-o", "json"]))
                    .unwrap();
            answer["items"].as_array().cloned().unwrap_or_default()
        };
        let mut told = Told::default();
        for pod in list("pods") {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let scheduled = conditions.iter().find(|c| c["type"] == "PodScheduled");
            let said = scheduled.map(|c| format!("{} {} {}", c["status"], c["reason"], c["message"]));
            let node = pod["spec"]["nodeName"].as_str();
            told.pods.insert(name.clone(), (node.is_some(), said.unwrap_or_default(), BTreeSet::new()));
            node.and_then(|node| told.nodes.insert(name, node.to_owned()));
        }
        for event in list("events") {
            let said = ["Scheduled", "FailedScheduling", "Preempted"].iter().find(|r| event["reason"] == **r);
            let name = event["involvedObject"]["name"].as_str().unwrap_or_default();
            let (Some(reason), Some(pod)) = (said, told.pods.get_mut(name)) else { continue };
            let message = event["message"].as_str().unwrap_or_default();
            // The node is chance, and uids differ.
            let message = message.split(" to kr-").next().unwrap_or_default();
            pod.2.insert(format!("{} {reason} {message}", event["type"]));
        }
        told
    }
    /// Waits until both tell the same, and `done` is true of both; gives where pods are on each.
    fn agree(&self, step: &str, done: impl Fn(&Told) -> bool) -> [Told; 2] {
        let both = || self.configs.each_ref().map(|config| self.told(config));
        let show = || {
            let [real, twin] = both();
            let differs = real.pods.iter().filter(|(name, told)| twin.pods.get(*name) != Some(*told));
            let lines = differs
                .map(|(name, told)| format!("{name}: real {told:#?}\ntwin {:#?}", twin.pods.get(name)));
            format!("{}\n{:#?}\n{:#?}", lines.collect::<Vec<_>>().join("\n"), real.nodes, twin.nodes)
        };
        until(step, show, || {
            let [real, twin] = both();
            real.pods == twin.pods && done(&real) && done(&twin)
        });
        println!("{step}: alike, {} pods", both()[0].pods.len());
        both()
    }
}

impl Told {
    /// The nodes of pods whose names begin so.
    fn nodes_of(&self, prefix: &str) -> Vec<&str> {
        let named = self.nodes.iter().filter(|(name, _)| name.starts_with(prefix));
        named.map(|(_, node)| node.as_str()).collect()
    }
    fn has(&self, pod: &str) -> bool {
        self.nodes.contains_key(pod)
    }
}

fn distinct(nodes: &[&str]) -> usize {
    nodes.iter().collect::<BTreeSet<_>>().len()
}

/// A twin file of the control plane as it is.
fn twin_of(dir: &Path, plane: &Plane, scheduler: &str) -> Twin {
    let token = grant_by(plane, "import", &["--import"]);
    let config = dir.join("kubeconfig-import");
    kubeconfig(&config, &[(plane, token)]);
    let file = dir.join("kr.twin").display().to_string();
    let config = config.display().to_string();
    let import = kubercarbon(&["twin", "import", "--context", "kr", "--kubeconfig", &config, "-o", &file]);
    assert!(import.status.success(), "{}", text(&import.stderr));
    Twin::start(dir, &file, &["--scheduler-config", scheduler])
}

pub fn alike_over_time(lab: &Lab, dir: &Path) {
    let kubeconfig = dir.join("run/kr/kubeconfig").display().to_string();
    let scheduler = dir.join("scheduler.yaml").display().to_string();
    std::fs::write(&scheduler, SCHEDULER.replace("KUBECONFIG", &kubeconfig)).unwrap();
    let plane = Plane::start_with(lab, dir, "kr", "ap-northeast-2", &format!("--config={scheduler}"));
    let ready = |node: &Value| {
        node["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            && node["spec"]["taints"].is_null()
    };
    until("three nodes are ready", String::new, || {
        plane.get(&["nodes"])["items"]
            .as_array()
            .is_some_and(|nodes| nodes.len() == 3 && nodes.iter().all(ready))
    });
    let twin = twin_of(dir, &plane, &scheduler);
    let both = Both { dir: dir.to_owned(), configs: [plane.kubeconfig.clone(), twin.kubeconfig.clone()] };

    both.apply(&mixed());
    let settled = |told: &Told| {
        told.nodes_of("apart").len() == 3
            && told.nodes_of("spread").len() == 4
            && told.nodes_of("packed").len() == 3
    };
    for told in both.agree("a mixed lot", settled) {
        assert_eq!(distinct(&told.nodes_of("apart")), 3, "one a node: {told:#?}");
        assert_eq!(distinct(&told.nodes_of("spread")), 3, "no zone is left out: {told:#?}");
        assert_eq!(distinct(&told.nodes_of("packed")), 1, "on the fullest: {told:#?}");
        assert!(!["huge", "ssd", "gated", "nobodys"].iter().any(|pod| told.has(pod)));
    }

    both.run(&["label", "node", "kr-1", "disk=ssd"]);
    both.run(&["patch", "pod", "gated", "-p", "{\"spec\":{\"schedulingGates\":null}}"]);
    for told in both.agree("news that helps", |told| told.has("ssd") && told.has("gated")) {
        assert_eq!(told.nodes["ssd"], "kr-1");
    }

    // After any pod has left, kube-scheduler tries everybody who lacked room; a twin tries those it could help. So who fits
    // nowhere at all is told of later changes on the real one alone.
    both.run(&["delete", "pod", "huge", "--wait=true"]);
    both.run(&["delete", "pod", "apart-0", "apart-1", "apart-2", "--wait=true"]);
    both.agree("those that were in the way are gone", |told| told.has("apart-3"));

    both.run(&["cordon", "kr-0"]);
    both.run(&["taint", "node", "kr-1", "team=a:NoSchedule"]);
    both.apply(
        &(pod("late", "100m", "", "")
            + &pod("tolerant", "4", "", "tolerations: [{key: team, operator: Exists}]")),
    );
    for told in both.agree("a cordon and a taint", |told| told.has("late")) {
        assert_eq!(told.nodes["late"], "kr-2");
    }
}
