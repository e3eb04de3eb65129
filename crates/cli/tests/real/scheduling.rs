//! The same manifests on a real control plane and on the twin of it, under the same `KubeSchedulerConfiguration`.
//!
//! Which of several equally good nodes a pod is given is chance in both; whether it is given one, what it is told
//! meanwhile, in conditions and in events, and which rules its place obeys is not, and is compared after each step.

use crate::both::Both;
use crate::living;
use crate::support::{Lab, Plane, Twin, grant_by, kubeconfig, kubercarbon, text, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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

/// What became of each pod, chance apart, and where it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// By pod: whether it has a node, what its condition says, and what it was told in events.
    pods: BTreeMap<String, (bool, String, BTreeSet<String>)>,
    nodes: BTreeMap<String, String>,
}

impl Both {
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
            // A cordon's taint outlives it for a moment; who is tried in that moment is chance.
            if pod.0 && message.contains("untolerated taint(s)") {
                continue;
            }
            // The node is chance, and uids differ.
            let message = message.split(" to kr-").next().unwrap_or_default();
            pod.2.insert(format!("{} {reason} {message}", event["type"]));
        }
        told
    }
    /// Who was told that it had to go for another.
    fn preempted(&self, config: &Path) -> BTreeSet<String> {
        let names = "jsonpath={.items[?(@.reason==\"Preempted\")].involvedObject.name}";
        self.kubectl(config, &["get", "events", "-n", "default", "-o", names])
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }
    /// Waits until the nodes of both have the same taints.
    fn agree_on_taints(&self, step: &str) {
        let taints = |config: &Path| {
            let each = "jsonpath={range .items[*]}{.metadata.name}{range .spec.taints[*]} {.key}={.value}:{.effect}{end}{\"\\n\"}{end}";
            self.kubectl(config, &["get", "nodes", "-o", each])
        };
        let both = || self.configs.each_ref().map(|config| taints(config));
        until(step, || format!("{:#?}", both()), || both()[0] == both()[1]);
        println!("{step}: the nodes are tainted alike:\n{}", both()[0]);
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
    /// Whether a pod's condition says so.
    fn is_told(&self, pod: &str, words: &str) -> bool {
        self.pods.get(pod).is_some_and(|(_, said, _)| said.contains(words))
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
    let lab =
        &lab.with_stages(dir, |stages| [stages.trim_end().trim_end_matches("---"), living::FAILING].concat());
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
    crate::refusals::are_as_recorded(&plane, dir);
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

    both.run(&["delete", "pod", "apart-0", "apart-1", "apart-2", "--wait=true"]);
    both.agree("those that were in the way are gone", |told| told.has("apart-3"));
    // The twin's five minutes, after which who still waits is told anew, are over long before the real ones.
    both.run(&["delete", "pod", "huge", "--wait=true"]);

    both.run(&["cordon", "kr-0"]);
    both.agree_on_taints("a cordon");
    both.run(&["taint", "node", "kr-1", "team=a:NoSchedule"]);
    both.apply(
        &(pod("late", "100m", "", "")
            + &pod("tolerant", "4", "", "tolerations: [{key: team, operator: Exists}]")),
    );
    for told in both.agree("a cordon and a taint", |told| told.has("late")) {
        assert_eq!(told.nodes["late"], "kr-2");
    }
    both.run(&["uncordon", "kr-0"]);
    both.run(&["taint", "node", "kr-1", "team-"]);
    both.agree_on_taints("the cordon is lifted");
    spread_beside_a_cordon(&both);
    the_important_go_first(&both);
    both.run(&["delete", "pods", "--all", "-n", "default", "--wait=true"]);
    living::alike_over_time(&both);
}

/// A node that is cordoned counts for spread as one with nobody on it.
fn spread_beside_a_cordon(both: &Both) {
    both.run(&["delete", "pods", "--all", "-n", "default", "--wait=true"]);
    both.run(&["cordon", "kr-2"]);
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: wide}}}]";
    let all: String = (0..4).map(|i| pod(&format!("wide-{i}"), "100m", "app: wide", spread)).collect();
    both.apply(&all);
    let two = |told: &Told| told.nodes_of("wide").len() == 2;
    for told in both.agree("spread beside a cordon", two) {
        assert_eq!(distinct(&told.nodes_of("wide")), 2, "{told:#?}");
    }
    both.run(&["uncordon", "kr-2"]);
    let four = |told: &Told| told.nodes_of("wide").len() == 4;
    for told in both.agree("spread over all", four) {
        assert_eq!(distinct(&told.nodes_of("wide")), 3, "{told:#?}");
    }
}

/// Who has to go for whom is not chance: the least important, and whom a budget protects last.
fn the_important_go_first(both: &Both) {
    both.run(&["delete", "pods", "--all", "-n", "default", "--wait=true"]);
    let class = |name: &str, value: u32, policy: &str| {
        format!(
            "---\napiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {{name: {name}}}\nvalue: {value}\npreemptionPolicy: {policy}\n"
        )
    };
    let lower = "PreemptLowerPriority";
    both.apply(
        &(class("low", 10, lower)
            + &class("lower", 5, lower)
            + &class("high", 1000, lower)
            + &class("patient", 1000, "Never")),
    );
    let of = |class: &str| format!("priorityClassName: {class}");
    let budget = "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: keep, namespace: default}\nspec: {minAvailable: 1, selector: {matchLabels: {app: kept}}}\n";
    both.apply(
        &(pod("kept", "3", "app: kept", &of("lower"))
            + &pod("low", "3", "", &of("low"))
            + &pod("lower", "3", "", &of("lower"))
            + budget),
    );
    let full = |told: &Told| told.nodes.len() == 3;
    for told in both.agree("three nodes are full", full) {
        assert_eq!(distinct(&told.nodes_of("")), 3, "{told:#?}");
    }
    both.until("the budget is counted", |config| {
        let text = both.kubectl(
            config,
            &["get", "pdb", "keep", "-o", "jsonpath={.status.currentHealthy} {.status.disruptionsAllowed}"],
        );
        text == "1 0"
    });
    both.apply(&pod("patient", "3", "", &of("patient")));
    both.agree("one that does not preempt", |told| told.is_told("patient", "preemptionPolicy=Never"));
    both.run(&["delete", "pod", "patient", "--wait=true"]);
    // The lower of those no budget protects, then the other, then the protected one.
    for (i, victim) in ["lower", "low", "kept"].into_iter().enumerate() {
        let urgent = format!("urgent-{i}");
        both.apply(&pod(&urgent, "3", "", &of("high")));
        let step = format!("{urgent} takes the place of {victim}");
        both.agree(&step, |told| told.has(&urgent) && !told.pods.contains_key(victim));
    }
    both.apply(&pod("urgent-3", "3", "", &of("high")));
    both.agree("nobody less important is left", |told| {
        told.is_told("urgent-3", "No preemption victims found")
    });
    let victims = both.configs.each_ref().map(|config| both.preempted(config));
    assert_eq!(victims[0], BTreeSet::from(["kept", "low", "lower"].map(str::to_owned)));
    assert_eq!(victims[0], victims[1], "who was told that it had to go");
}
