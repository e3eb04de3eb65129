//! What single change would make a pod fit that fits nowhere.
//!
//! Every change is tried: the pod or a node is changed on a copy and the decision made again, so that nothing is
//! advised that would not do. Changes are given in order of what they ask: of the pod first (of requests the
//! smallest cut), then of a node that is there, then one more node. Left out: several changes at once, volumes.

use super::cluster::Cluster;
use super::decision::{Decision, decide};
use super::pod::PodInfo;
use super::profile::Profile;
use super::status::Plugin;
use crate::amounts::{self, Amounts};
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most nodes for each of which a cut of requests is worked out, those with the least missing first.
const CUTS_MAX: usize = 20;
/// Most kinds of node for which one more is tried.
const KINDS_MAX: usize = 20;
/// Most taints tried.
const TAINTS_MAX: usize = 20;
/// Most nodes on which labels are tried.
const LABELLED_MAX: usize = 20;
/// What stands before the keys of taints that say how a node is, not whom it is for: they are not to be tolerated away.
const STATE: &str = "node.kubernetes.io/";

/// One change that would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What to change.
    pub change: String,
    /// Where the pod would fit then, in order of name.
    pub nodes: Vec<Arc<str>>,
}

/// Changes that would each make a pod fit which `decision` found no node for; empty where no single one would.
pub fn advise(
    cluster: &Cluster,
    nodes: &[Node],
    pod: &Pod,
    decision: &Decision,
    profile: &Profile,
) -> Vec<Advice> {
    let mut trial = Trial { cluster, pod, profile, found: Vec::new() };
    let against: BTreeSet<Plugin> = decision
        .rejected
        .iter()
        .map(|(_, r)| r)
        .chain(&decision.pre_filter)
        .filter_map(|r| r.plugin)
        .collect();
    let named = decision.pre_filter_nodes.is_some() || against.contains(&Plugin::NodeAffinity);
    if against.contains(&Plugin::NodeResourcesFit) {
        trial.cut_requests();
    }
    if against.contains(&Plugin::TaintToleration) {
        trial.tolerate(nodes);
    }
    if named {
        trial.select_less();
    }
    trial.constrain_less(&against);
    trial.uncordon(nodes);
    if named {
        trial.label(nodes);
    }
    trial.add_node(nodes);
    trial.found
}

struct Trial<'a> {
    cluster: &'a Cluster,
    pod: &'a Pod,
    profile: &'a Profile,
    found: Vec<Advice>,
}

impl Trial<'_> {
    /// Whether a changed pod fits; takes the change down if so.
    fn with_pod(&mut self, change: impl FnOnce() -> String, pod: &Pod) -> bool {
        self.decide(change, &mut self.cluster.clone(), pod)
    }
    fn decide(&mut self, change: impl FnOnce() -> String, cluster: &mut Cluster, pod: &Pod) -> bool {
        let nodes = decide(cluster, &PodInfo::new(pod), self.profile).feasible;
        let fits = !nodes.is_empty();
        if fits {
            self.found.push(Advice { change: change(), nodes });
        }
        fits
    }
    fn edit(&mut self, change: String, edit: impl FnOnce(&mut PodSpec)) -> bool {
        let mut pod = self.pod.clone();
        edit(pod.spec.get_or_insert_default());
        pod != *self.pod && self.with_pod(|| change, &pod)
    }
    /// The smallest cut of requests that makes it fit.
    fn cut_requests(&mut self) {
        let asked = amounts::requested(self.pod);
        let known = self.cluster.ordered().iter().map(|at| self.cluster.node(*at));
        let mut short: Vec<(i64, Amounts)> = known
            .filter_map(|node| {
                let missing = missing(&asked, &node.allocatable, &node.used);
                Some((relative(&missing, &asked)?, missing))
            })
            .collect();
        short.sort();
        short.dedup();
        for (_, missing) in short.into_iter().take(CUTS_MAX) {
            if let Some((pod, words)) = cut(self.pod, &missing)
                && self.with_pod(|| words, &pod)
            {
                return;
            }
        }
    }
    fn tolerate(&mut self, nodes: &[Node]) {
        let taints = nodes.iter().filter_map(|n| n.spec.as_ref()?.taints.as_ref()).flatten();
        let keeping = taints.filter(|t| t.effect != "PreferNoSchedule" && !t.key.starts_with(STATE));
        let mut known: BTreeMap<(String, String, String), Toleration> = BTreeMap::new();
        for taint in keeping {
            let value = taint.value.clone().unwrap_or_default();
            let toleration = Toleration {
                key: Some(taint.key.clone()),
                operator: Some("Equal".to_owned()),
                value: Some(value.clone()),
                effect: Some(taint.effect.clone()),
                toleration_seconds: None,
            };
            known.insert((taint.key.clone(), value, taint.effect.clone()), toleration);
        }
        for ((key, value, effect), toleration) in known.into_iter().take(TAINTS_MAX) {
            let taint =
                if value.is_empty() { format!("{key}:{effect}") } else { format!("{key}={value}:{effect}") };
            self.edit(format!("tolerate the taint {taint}"), |spec| {
                spec.tolerations.get_or_insert_default().push(toleration);
            });
        }
    }
    fn select_less(&mut self) {
        let selector = self.pod.spec.as_ref().and_then(|s| s.node_selector.clone()).unwrap_or_default();
        for (key, value) in &selector {
            self.edit(format!("take {key}={value} out of nodeSelector"), |spec| {
                spec.node_selector.iter_mut().for_each(|selector| {
                    selector.remove(key);
                });
            });
        }
        self.edit("take the required node affinity away".to_owned(), |spec| {
            if let Some(node) = spec.affinity.as_mut().and_then(|a| a.node_affinity.as_mut()) {
                node.required_during_scheduling_ignored_during_execution = None;
            }
        });
    }
    /// Rules between pods, and ports.
    fn constrain_less(&mut self, against: &BTreeSet<Plugin>) {
        if against.contains(&Plugin::PodTopologySpread) {
            self.edit("let topologySpreadConstraints be ScheduleAnyway".to_owned(), |spec| {
                for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
                    constraint.when_unsatisfiable = "ScheduleAnyway".to_owned();
                }
            });
        }
        if against.contains(&Plugin::InterPodAffinity) {
            self.edit("take the required pod anti-affinity away".to_owned(), |spec| {
                if let Some(anti) = spec.affinity.as_mut().and_then(|a| a.pod_anti_affinity.as_mut()) {
                    anti.required_during_scheduling_ignored_during_execution = None;
                }
            });
            self.edit("take the required pod affinity away".to_owned(), |spec| {
                if let Some(affinity) = spec.affinity.as_mut().and_then(|a| a.pod_affinity.as_mut()) {
                    affinity.required_during_scheduling_ignored_during_execution = None;
                }
            });
        }
        if against.contains(&Plugin::NodePorts) {
            self.edit("ask for no hostPort".to_owned(), |spec| {
                let init = spec.init_containers.iter_mut().flatten();
                for port in spec.containers.iter_mut().chain(init).flat_map(|c| c.ports.iter_mut().flatten())
                {
                    port.host_port = None;
                }
            });
        }
    }
    fn uncordon(&mut self, nodes: &[Node]) {
        let pod = self.pod.clone();
        for node in nodes.iter().filter(|n| n.spec.as_ref().is_some_and(|s| s.unschedulable == Some(true))) {
            let mut node = node.clone();
            let name = node.metadata.name.clone().unwrap_or_default();
            if let Some(spec) = &mut node.spec {
                spec.unschedulable = None;
                spec.taints
                    .iter_mut()
                    .for_each(|t| t.retain(|t| t.key != "node.kubernetes.io/unschedulable"));
            }
            let mut cluster = self.cluster.clone();
            cluster.put_node(&node);
            if self.decide(|| format!("kubectl uncordon {name}"), &mut cluster, &pod) {
                return;
            }
        }
    }
    /// The labels of the pod's node selector on a node that has none of these keys.
    fn label(&mut self, nodes: &[Node]) {
        let pod = self.pod.clone();
        let wanted = pod.spec.as_ref().and_then(|s| s.node_selector.clone()).unwrap_or_default();
        for node in nodes.iter().take(LABELLED_MAX) {
            let mut node = node.clone();
            let name = node.metadata.name.clone().unwrap_or_default();
            let labels = node.metadata.labels.get_or_insert_default();
            let missing: BTreeMap<&String, &String> =
                wanted.iter().filter(|(key, _)| !labels.contains_key(*key)).collect();
            let words: Vec<String> = missing.iter().map(|(key, value)| format!("{key}={value}")).collect();
            labels.extend(missing.into_iter().map(|(key, value)| (key.clone(), value.clone())));
            if words.is_empty() {
                continue;
            }
            let mut cluster = self.cluster.clone();
            cluster.put_node(&node);
            let change = || format!("kubectl label node {name} {}", words.join(" "));
            if self.decide(change, &mut cluster, &pod) {
                return;
            }
        }
    }
    fn add_node(&mut self, nodes: &[Node]) {
        let pod = self.pod.clone();
        let mut seen = BTreeSet::new();
        for node in nodes {
            let allocatable = amounts::allocatable(node);
            if seen.len() >= KINDS_MAX || !seen.insert(allocatable.clone()) {
                continue;
            }
            let like = node.metadata.name.clone().unwrap_or_default();
            let mut new = node.clone();
            let name = format!("one more like {like}");
            new.metadata.name = Some(name.clone());
            new.metadata.labels.get_or_insert_default().insert("kubernetes.io/hostname".to_owned(), name);
            if let Some(spec) = &mut new.spec {
                spec.unschedulable = None;
                spec.taints.iter_mut().for_each(|t| t.retain(|t| !t.key.starts_with(STATE)));
            }
            let mut cluster = self.cluster.clone();
            cluster.put_node(&new);
            let size = format!(
                "{} cpu, {} memory",
                quantity("cpu", allocatable.cpu_millis),
                quantity("memory", allocatable.memory_bytes)
            );
            if self.decide(|| format!("add a node like {like} ({size})"), &mut cluster, &pod) {
                return;
            }
        }
    }
}

/// What is missing on a node for a pod; nothing, where there is room.
fn missing(asked: &Amounts, allocatable: &Amounts, used: &Amounts) -> Amounts {
    let short = |asked: i64, room: i64| if asked == 0 { 0 } else { (asked - room).max(0) };
    let mut missing = Amounts {
        cpu_millis: short(asked.cpu_millis, allocatable.cpu_millis - used.cpu_millis),
        memory_bytes: short(asked.memory_bytes, allocatable.memory_bytes - used.memory_bytes),
        ..Amounts::default()
    };
    for (name, amount) in &asked.others {
        let short = short(*amount, allocatable.other(name) - used.other(name));
        if short > 0 {
            missing.others.insert(name.clone(), short);
        }
    }
    missing
}

/// How much of what is asked for is missing, in thousandths, the worst resource counts; `None`: nothing, or all.
fn relative(missing: &Amounts, asked: &Amounts) -> Option<i64> {
    let share =
        |missing: i64, asked: i64| if missing == 0 { 0 } else { missing.saturating_mul(1000) / asked.max(1) };
    let others = missing.others.iter().map(|(name, amount)| share(*amount, asked.other(name)));
    let worst = others
        .chain([share(missing.cpu_millis, asked.cpu_millis), share(missing.memory_bytes, asked.memory_bytes)])
        .max()?;
    let some = missing.cpu_millis > 0 || missing.memory_bytes > 0 || !missing.others.is_empty();
    (some && worst < 1000).then_some(worst)
}

/// An amount as Kubernetes writes it.
fn quantity(resource: &str, amount: i64) -> String {
    match resource {
        "cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "cpu" => format!("{amount}m"),
        "memory" | "ephemeral-storage" if amount % (1 << 30) == 0 => format!("{}Gi", amount >> 30),
        "memory" | "ephemeral-storage" if amount % (1 << 20) == 0 => format!("{}Mi", amount >> 20),
        _ => amount.to_string(),
    }
}

fn requested(container: &Container, resource: &str) -> i64 {
    let spec = PodSpec { containers: vec![container.clone()], ..PodSpec::default() };
    let all = amounts::requested(&Pod { spec: Some(spec), ..Pod::default() });
    match resource {
        "cpu" => all.cpu_millis,
        "memory" => all.memory_bytes,
        other => all.other(other),
    }
}

/// The pod with what is missing taken off the container that asks for most of it, and that in words.
fn cut(pod: &Pod, missing: &Amounts) -> Option<(Pod, String)> {
    let mut pod = pod.clone();
    let mut words = Vec::new();
    let mut all: Vec<(String, i64)> =
        vec![("cpu".to_owned(), missing.cpu_millis), ("memory".to_owned(), missing.memory_bytes)];
    all.extend(missing.others.iter().map(|(name, amount)| (name.clone(), *amount)));
    for (resource, short) in all.into_iter().filter(|(_, short)| *short > 0) {
        let spec = pod.spec.as_mut()?;
        let largest = spec.containers.iter_mut().max_by_key(|c| requested(c, &resource))?;
        let before = requested(largest, &resource);
        let after = before - short;
        if after < 0 {
            return None;
        }
        words.push(format!(
            "ask for {} {resource} in container {} in place of {}",
            quantity(&resource, after),
            largest.name,
            quantity(&resource, before)
        ));
        let requests = largest.resources.get_or_insert_default().requests.get_or_insert_default();
        requests.insert(resource.clone(), Quantity(quantity(&resource, after)));
    }
    (!words.is_empty()).then(|| (pod, words.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, cpu: &str, spec: Value) -> Node {
        let amounts = json!({"cpu": cpu, "memory": "8Gi", "pods": "110"});
        let labels = json!({"kubernetes.io/hostname": name, "disk": name});
        let node = json!({"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": amounts}});
        serde_json::from_value(node).unwrap()
    }

    /// The changes advised for a pod that asks for so much, and where it would fit then.
    fn advised(nodes: &[Node], cpu: &str, spec: Value) -> Vec<(String, Vec<String>)> {
        let mut cluster = Cluster::new();
        nodes.iter().for_each(|node| cluster.put_node(node));
        let container = json!({"name": "main", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}});
        let mut pod = json!({"metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": spec});
        pod["spec"]["containers"] = json!([container]);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let profile = Profile::default();
        let decision = decide(&mut cluster, &PodInfo::new(&pod), &profile);
        assert!(decision.feasible.is_empty());
        let advice = advise(&cluster, nodes, &pod, &decision, &profile);
        let names = |a: &Advice| a.nodes.iter().map(|n| n.to_string()).collect();
        advice.iter().map(|a| (a.change.clone(), names(a))).collect()
    }

    #[test]
    fn the_smallest_cut_comes_first() {
        let nodes = [node("a", "2", json!({})), node("b", "3500m", json!({}))];
        let expected =
            [("ask for 3500m cpu in container main in place of 4".to_owned(), vec!["b".to_owned()])];
        assert_eq!(
            advised(&nodes, "4", json!({})),
            expected,
            "no node that is there would do, one more neither"
        );
    }

    #[test]
    fn taints_cordons_selectors_and_one_more_node() {
        let taint = json!({"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]});
        let changes = |nodes: &[Node], cpu: &str, spec: Value| -> Vec<String> {
            advised(nodes, cpu, spec).into_iter().map(|(change, _)| change).collect()
        };
        assert_eq!(
            changes(&[node("a", "2", taint)], "1", json!({})),
            ["tolerate the taint dedicated=gpu:NoSchedule"]
        );
        let cordoned = json!({"unschedulable": true});
        assert_eq!(
            changes(&[node("a", "2", cordoned)], "1", json!({})),
            ["kubectl uncordon a", "add a node like a (2 cpu, 8Gi memory)"]
        );
        let selector = json!({"nodeSelector": {"disk": "ssd"}});
        assert_eq!(
            changes(&[node("a", "2", json!({}))], "1", selector),
            ["take disk=ssd out of nodeSelector"],
            "a label that is there is for something"
        );
        let selector = json!({"nodeSelector": {"disk": "a", "team": "b"}});
        let state = json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]});
        assert_eq!(
            changes(
                &[node("x", "2", json!({})), node("a", "2", json!({})), node("z", "2", state)],
                "1",
                selector
            ),
            ["take team=b out of nodeSelector", "kubectl label node a team=b"],
            "a node that is not ready is not to be tolerated"
        );
        assert!(changes(&[], "1", json!({})).is_empty());
    }
}
