//! What holds of the scheduler whatever the cluster and the pods.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use twin::scheduler::{Cluster, Config, Decision, PodInfo, Profile, Search, decide};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

fn nodes() -> impl Strategy<Value = Vec<Value>> {
    let node = (0..3_u8, 1..5_i64, 1..5_i64, 1..8_i64, 0..4_u8, any::<bool>());
    prop::collection::vec(node, 1..9).prop_map(|all| {
        let one = |(i, (zone, cpu, memory, pods, taint, cordoned)): (usize, (u8, i64, i64, i64, u8, bool))| {
            let name = format!("n{i}");
            let mut labels = json!({HOST: name});
            if zone > 0 {
                labels[ZONE] = json!(format!("z{zone}"));
            }
            let effect = ["NoSchedule", "PreferNoSchedule"].get(usize::from(taint));
            let taints: Vec<Value> = effect.iter().map(|e| json!({"key": "t", "effect": e})).collect();
            json!({
                "metadata": {"name": name, "labels": labels},
                "spec": {"taints": taints, "unschedulable": cordoned && i % 4 == 0},
                "status": {"allocatable": {"cpu": cpu.to_string(), "memory": format!("{memory}Gi"), "pods": pods.to_string()}},
            })
        };
        all.into_iter().enumerate().map(one).collect()
    })
}

/// Pods of three workloads with any mix of spread, affinity, anti-affinity, ports and priority.
fn pods() -> impl Strategy<Value = Vec<Value>> {
    let pod = (0..3_u8, 0..2000_i64, 0..2048_i64, 0..64_u8, 0..3_i32);
    prop::collection::vec(pod, 1..40).prop_map(|all| {
        let one = |(i, (app, cpu, memory, traits, priority)): (usize, (u8, i64, i64, u8, i32))| {
            let has = |bit: u8| traits & (1 << bit) != 0;
            let selector = json!({"matchLabels": {"app": format!("a{app}")}});
            let other = json!({"matchLabels": {"app": format!("a{}", (app + 1) % 3)}});
            let mut spec = json!({
                "priority": priority,
                "containers": [{"name": "c", "image": "i:1", "resources": {"requests":
                    {"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")}}}],
                "affinity": {},
            });
            if has(0) {
                let when = if has(1) { "DoNotSchedule" } else { "ScheduleAnyway" };
                spec["topologySpreadConstraints"] =
                    json!([{"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": when, "labelSelector": selector}]);
            }
            if has(2) {
                spec["affinity"]["podAntiAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution":
                    [{"labelSelector": selector, "topologyKey": HOST}]});
            }
            if has(3) {
                spec["affinity"]["podAffinity"] = json!({"preferredDuringSchedulingIgnoredDuringExecution":
                    [{"weight": 7, "podAffinityTerm": {"labelSelector": other, "topologyKey": ZONE}}]});
            } else if has(4) {
                spec["affinity"]["podAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution":
                    [{"labelSelector": selector, "topologyKey": ZONE}]});
            }
            if has(5) {
                spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 80 + i32::from(app)}]);
            }
            json!({
                "metadata": {"name": format!("p{i}"), "namespace": "default", "uid": format!("u{i}"), "labels": {"app": format!("a{app}")}},
                "spec": spec,
            })
        };
        all.into_iter().enumerate().map(one).collect()
    })
}

fn pod(value: &Value) -> PodInfo {
    PodInfo::new(&serde_json::from_value::<Pod>(value.clone()).unwrap())
}

fn cluster<'a>(nodes: impl IntoIterator<Item = &'a Value>) -> Cluster {
    let mut cluster = Cluster::new();
    for node in nodes {
        cluster.put_node(&serde_json::from_value::<Node>(node.clone()).unwrap());
    }
    cluster
}

/// The default profile, and others with their own order of filters, strategy, weights, and without preemption.
fn profiles() -> Vec<Profile> {
    let args = |strategy: Value| json!([{"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}]);
    let shape = json!([{"utilization": 0, "score": 0}, {"utilization": 70, "score": 10}, {"utilization": 100, "score": 0}]);
    let packing = json!({"schedulerName": "packing", "pluginConfig": args(json!({"type": "MostAllocated", "resources":
        [{"name": "cpu", "weight": 3}, {"name": "memory", "weight": 1}]}))});
    let shaped = json!({"schedulerName": "shaped", "pluginConfig":
        args(json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape}})),
        "plugins": {"score": {"disabled": [{"name": "ImageLocality"}], "enabled": [{"name": "TaintToleration", "weight": 50}]}}});
    let few = json!({"schedulerName": "few", "plugins": {"postFilter": {"disabled": [{"name": "*"}]},
        "filter": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeResourcesFit"}, {"name": "TaintToleration"}]}}});
    let file = json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": "default-scheduler"}, packing, shaped, few]});
    Config::read(&file).unwrap().profiles
}

/// A decision in words, for comparison.
fn words(decision: &Decision, pod: &PodInfo) -> String {
    let rejected: BTreeMap<&str, _> =
        decision.rejected.iter().map(|(node, r)| (&**node, (r.plugin, r.code, r.reasons(pod)))).collect();
    let scores: BTreeMap<&str, _> = decision.scores.iter().map(|(node, s)| (&**node, s)).collect();
    format!("{rejected:?} {:?} {scores:?} {:?}", decision.feasible, decision.message)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn pods_go_where_they_fit_and_counts_stay_right(
        nodes in nodes(), pods in pods(), seed in any::<u64>(), which in 0..4_usize,
    ) {
        let profile = profiles().remove(which);
        let mut nodes = nodes;
        let (mut first, mut second) = (cluster(&nodes), cluster(&nodes));
        let (mut search, mut again) = (Search::new(seed, "test"), Search::new(seed, "test"));
        let mut placed: Vec<(Arc<str>, &Value)> = Vec::new();
        for (i, value) in pods.iter().enumerate() {
            let pod = pod(value);
            // A cluster that is told everything at once must decide as one that grew.
            let mut fresh = cluster(nodes.iter().rev());
            placed.iter().for_each(|(node, value)| fresh.place(node, Arc::new(self::pod(value))));
            let decision = decide(&mut first, &pod, &profile);
            prop_assert_eq!(words(&decision, &pod), words(&decide(&mut fresh, &pod, &profile), &pod));
            // What is remembered between cycles and shared between pods decides nothing.
            let mut forgetful = cluster(&nodes);
            placed.iter().for_each(|(node, value)| forgetful.place(node, Arc::new(self::pod(value))));
            let anew = search.clone().choose(&mut forgetful, &pod, &profile);
            let digested = first.digest(&serde_json::from_value(value.clone()).unwrap());
            let chosen = search.choose(&mut first, &digested, &profile);
            prop_assert_eq!(&chosen, &anew);
            prop_assert_eq!(&chosen, &again.choose(&mut second, &pod, &profile));
            prop_assert_eq!(chosen.is_none(), decision.feasible.is_empty());
            if let Some(node) = chosen {
                prop_assert!(decision.best.contains(&node), "{} not among {:?}", node, decision.best);
                first.place(&node, Arc::new(pod.clone()));
                second.place(&node, Arc::new(pod));
                placed.push((node, value));
            }
            prop_assert_eq!(first.overcommitted(), None);
            if i % 5 == 4 && !placed.is_empty() {
                let (_, gone) = placed.remove(i % placed.len());
                let uid = gone["metadata"]["uid"].as_str().unwrap();
                prop_assert!(first.release(uid).is_some() && second.release(uid).is_some());
            }
            if i % 3 == 2 {
                let at = i % nodes.len();
                let cordoned = nodes[at]["spec"]["unschedulable"] == true;
                nodes[at]["spec"]["unschedulable"] = json!(!cordoned);
                nodes[at]["spec"]["taints"] = if i % 2 == 0 { json!([]) } else { json!([{"key": "u", "effect": "PreferNoSchedule"}]) };
                let changed: Node = serde_json::from_value(nodes[at].clone()).unwrap();
                first.put_node(&changed);
                second.put_node(&changed);
            }
        }
    }
}
