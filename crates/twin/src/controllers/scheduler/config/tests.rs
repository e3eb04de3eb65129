//! Configurations read, refused, and held against cases worked by hand.

use super::*;
use crate::controllers::scheduler::cluster::Cluster;
use crate::controllers::scheduler::decision::{Decision, decide};
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::profile::{Resource, SpreadDefaults, Strategy};
use crate::controllers::scheduler::status::Plugin;
use serde_json::json;

/// A file with these fields beside its version.
fn file(fields: Value) -> Value {
    let mut file = json!({"apiVersion": VERSION, "kind": KIND});
    for (name, value) in fields.as_object().unwrap() {
        file[name] = value.clone();
    }
    file
}

fn read(fields: Value) -> Config {
    Config::read(&file(fields)).unwrap()
}

/// What is said against a file.
fn refused(fields: Value) -> String {
    Config::read(&file(fields)).unwrap_err().to_string()
}

fn one(profile: Value) -> Profile {
    read(json!({"profiles": [profile]})).profiles.remove(0)
}

/// A profile with arguments for one plugin.
fn with_args(plugin: &str, args: Value) -> Value {
    json!({"profiles": [{"pluginConfig": [{"name": plugin, "args": args}]}]})
}

#[test]
fn what_states_the_defaults_is_the_default() {
    assert_eq!(read(json!({})), Config::default());
    assert_eq!(read(json!({"profiles": []})), Config::default());
    let stated = json!({
        "parallelism": 16, "percentageOfNodesToScore": 0, "podInitialBackoffSeconds": 1, "podMaxBackoffSeconds": 10,
        "leaderElection": {"leaderElect": true}, "clientConnection": {"qps": 50}, "enableProfiling": true,
        "profiles": [{"schedulerName": "default-scheduler", "plugins": {"multiPoint": {"enabled": [
            {"name": "TaintToleration", "weight": 3}, {"name": "NodeAffinity", "weight": 2}]}}, "pluginConfig": [
            {"name": "DefaultPreemption", "args": {"apiVersion": VERSION, "kind": "DefaultPreemptionArgs",
                "minCandidateNodesPercentage": 10, "minCandidateNodesAbsolute": 100}},
            {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 1}},
            {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "LeastAllocated"}}},
            {"name": "NodeResourcesBalancedAllocation", "args": {"resources": [{"name": "cpu"}, {"name": "memory", "weight": 1}]}},
            {"name": "PodTopologySpread", "args": {"defaultingType": "System"}},
            {"name": "NodeAffinity", "args": {}}, {"name": "VolumeBinding", "args": {"bindTimeoutSeconds": 600}},
            {"name": "DynamicResources", "args": null}]}],
    });
    assert_eq!(read(stated), Config::default());
}

#[test]
fn the_default_lists_are_those_of_kube_scheduler() {
    let profile = Profile::default();
    let names = |list: &[Plugin]| list.iter().map(|p| p.name()).collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(&profile.filters),
        "NodeUnschedulable NodeName TaintToleration NodeAffinity NodePorts NodeResourcesFit VolumeRestrictions NodeVolumeLimits VolumeBinding VolumeZone PodTopologySpread InterPodAffinity DynamicResources NodeDeclaredFeatures"
    );
    assert_eq!(names(&profile.post_filters), "DynamicResources DefaultPreemption");
    let scores: Vec<String> = profile.scores.iter().map(|(p, w)| format!("{} {w}", p.name())).collect();
    assert_eq!(
        scores.join(", "),
        "TaintToleration 3, NodeAffinity 2, NodeResourcesFit 1, VolumeBinding 1, PodTopologySpread 2, InterPodAffinity 2, DynamicResources 2, NodeResourcesBalancedAllocation 1, ImageLocality 1"
    );
}

#[test]
fn lists_are_merged_point_by_point() {
    let names = |list: &[Plugin]| list.iter().map(|p| p.name()).collect::<Vec<_>>().join(" ");
    // A plugin named again at a point goes first there, with its own weight; without one it weighs 1.
    let profile = one(
        json!({"plugins": {"score": {"enabled": [{"name": "ImageLocality", "weight": 5}, {"name": "NodeAffinity"}],
        "disabled": [{"name": "TaintToleration"}]}}}),
    );
    assert_eq!(profile.scores[..2], [(Plugin::ImageLocality, 5), (Plugin::NodeAffinity, 1)]);
    assert_eq!(profile.weight(Plugin::TaintToleration), 0);
    assert_eq!(profile.weight(Plugin::InterPodAffinity), 2);
    assert!(profile.filters.contains(&Plugin::TaintToleration), "only at that point");
    // All but what is named.
    let all = json!([{"name": "*"}]);
    let profile = one(json!({"plugins": {
        "filter": {"disabled": all, "enabled": [{"name": "NodeResourcesFit"}, {"name": "NodeUnschedulable"}]},
        "score": {"disabled": all}, "postFilter": {"disabled": all}}}));
    assert_eq!(names(&profile.filters), "NodeResourcesFit NodeUnschedulable");
    assert!(profile.scores.is_empty() && profile.post_filters.is_empty());
    // Named for every point it has a say at: where it was, or last.
    let profile = one(
        json!({"plugins": {"multiPoint": {"disabled": [{"name": "NodePorts"}, {"name": "ImageLocality"}],
        "enabled": [{"name": "NodeResourcesFit", "weight": 7}, {"name": "ImageLocality"}]}}}),
    );
    assert!(!profile.asks(Plugin::NodePorts));
    let at = |plugin: Plugin| profile.scores.iter().position(|(p, _)| *p == plugin);
    assert_eq!((at(Plugin::NodeResourcesFit), profile.weight(Plugin::NodeResourcesFit)), (Some(2), 7));
    assert_eq!((at(Plugin::ImageLocality), profile.weight(Plugin::ImageLocality)), (Some(8), 1));
}

#[test]
fn profiles_have_names_and_shares_of_their_own() {
    let config = read(
        json!({"percentageOfNodesToScore": 30, "podInitialBackoffSeconds": 2, "podMaxBackoffSeconds": 60,
        "profiles": [{"schedulerName": "a"}, {"schedulerName": "b", "percentageOfNodesToScore": 0}]}),
    );
    let shares: Vec<i64> = config.profiles.iter().map(|p| p.percentage_of_nodes_to_score).collect();
    assert_eq!(shares, [30, 0]);
    let rests: Vec<i64> = (1..8).map(|n| config.backoff.seconds(n)).collect();
    assert_eq!(rests, [2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(config.backoff.seconds(u32::MAX), 60);
    let pod = |name: Option<&str>| -> Pod {
        serde_json::from_value(json!({"spec": {"schedulerName": name, "containers": []}})).unwrap()
    };
    assert_eq!(config.profile_of(&pod(Some("b"))).map(|p| p.name.as_str()), Some("b"));
    assert!(config.profile_of(&pod(None)).is_none(), "nobody is default-scheduler here");
    assert!(Config::default().profile_of(&pod(None)).is_some());
}

/// Holds what is said of each file against how it is to begin.
fn all_refused(cases: &[(Value, &str)]) {
    for (fields, expected) in cases {
        let said = refused(fields.clone());
        assert!(said.starts_with(expected), "{fields}\n  expected {expected}\n  found    {said}");
    }
}

/// Holds what is said of each plugin's arguments against how it is to begin, after the path of the arguments.
fn args_refused(cases: &[(&str, Value, &str)]) {
    let whole = |(plugin, args, expected): &(&str, Value, &str)| {
        (with_args(plugin, args.clone()), format!("profiles[0].pluginConfig[0].args.{expected}"))
    };
    for (fields, expected) in cases.iter().map(whole) {
        all_refused(&[(fields, &expected)]);
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let one = |profile: Value| json!({"profiles": [profile]});
    let two = |name: Value| json!({"profiles": [name, {"schedulerName": "b"}]});
    all_refused(&[
        (json!({"parallelism": 0}), "parallelism: 0: expected 1 to 2147483647"),
        (json!({"percentageOfNodesToScore": 101}), "percentageOfNodesToScore: 101: expected 0 to 100"),
        (json!({"podInitialBackoffSeconds": 20}), "podMaxBackoffSeconds: 10: expected 20 to 86400"),
        (json!({"extenders": [{}]}), "extenders: 1 extenders: expected none: a twin calls no other server"),
        (two(json!({})), "profiles[0].schedulerName: none: expected a name: only a single profile is"),
        (
            two(json!({"schedulerName": "b"})),
            "profiles[1].schedulerName: \"b\", as profiles[0] has: expected a",
        ),
        (
            one(json!({"pluginsConfig": []})),
            "profiles[0].pluginsConfig: unknown field `pluginsConfig`, expected",
        ),
        (
            one(json!({"pluginConfig": [{"name": "Coscheduling"}]})),
            "profiles[0].pluginConfig[0].name: \"Coscheduling\": expected DefaultPreemption, ",
        ),
    ]);
    let other = json!({"apiVersion": "kubescheduler.config.k8s.io/v1beta3", "kind": KIND});
    let said = Config::read(&other).unwrap_err().to_string();
    assert_eq!(said, format!("apiVersion: \"kubescheduler.config.k8s.io/v1beta3\": expected {VERSION}"));
    assert!(Config::read(&json!("text")).is_err());
}

#[test]
fn plugins_that_cannot_be_asked_are_refused() {
    let plugins = |point: &str, lists: Value| json!({"profiles": [{"plugins": {point: lists}}]});
    let off = |name: &str| json!({"disabled": [{"name": name}]});
    let cases = [
        (
            plugins("score", off("NodeResourceFit")),
            "score.disabled[0].name: \"NodeResourceFit\": expected one of SchedulingGates, ",
        ),
        (
            plugins("score", json!({"enabled": [{"name": "NodePorts"}]})),
            "score.enabled[0].name: NodePorts: expected a plugin of this point: it is one of preFilter, filter",
        ),
        (
            plugins("score", json!({"enabled": [{"name": "ImageLocality", "weight": -1}]})),
            "score.enabled[0].weight: -1: expected 0 (which counts as 1) to 2147483647",
        ),
        (
            plugins("preFilter", off("NodeResourcesFit")),
            "preFilter: NodeResourcesFit disabled, and enabled at filter: expected the same at both",
        ),
        (plugins("multiPoint", off("*")), "queueSort: PrioritySort disabled: expected it enabled"),
    ];
    for (fields, expected) in cases {
        all_refused(&[(fields, &format!("profiles[0].plugins.{expected}"))]);
    }
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    let fit = "NodeResourcesFit";
    let strategy = |strategy: Value| json!({"scoringStrategy": strategy});
    let ratio = |shape: Value| {
        strategy(json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape}}))
    };
    let points = |a: (i64, i64), b: (i64, i64)| {
        ratio(json!([{"utilization": a.0, "score": a.1}, {"utilization": b.0, "score": b.1}]))
    };
    let shape = "scoringStrategy.requestedToCapacityRatio.shape";
    let heavy = json!({"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 101}]});
    let both = json!({"type": "MostAllocated", "requestedToCapacityRatio": {}});
    args_refused(&[
        (fit, strategy(json!({"type": "Tightest"})), "scoringStrategy.type: \"Tightest\": expected LeastAll"),
        (fit, strategy(heavy), "scoringStrategy.resources[0].weight: 101: expected 1 to 100"),
        (fit, strategy(both), "scoringStrategy.requestedToCapacityRatio: a shape: expected none with type"),
        (fit, ratio(json!([])), &format!("{shape}: no points: expected at least one")),
        (
            fit,
            points((50, 1), (50, 2)),
            &format!("{shape}[1].utilization: 50: expected more than 50, the one"),
        ),
        (fit, points((0, 11), (1, 2)), &format!("{shape}[0].score: 11: expected 0 to 10")),
        (
            fit,
            json!({"ignoredResourceGroups": ["example.com/a"]}),
            "ignoredResourceGroups[0]: \"example.com/a\": expected what stands before the / of a resource",
        ),
    ]);
}

#[test]
fn arguments_of_other_plugins_are_refused_too() {
    let constraint =
        |skew: i64| json!([{"maxSkew": skew, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]);
    let terms = json!([{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["x"]}]}]);
    let added = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    let nodes = "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]";
    let twice = json!({"resources": [{"name": "cpu"}, {"name": "cpu"}]});
    let none = json!({"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0});
    args_refused(&[
        (
            "NodeAffinity",
            json!({"kind": "NodeNameArgs"}),
            "kind: \"NodeNameArgs\": expected NodeAffinityArgs",
        ),
        (
            "NodeAffinity",
            json!({"addedAffinity": added}),
            &format!("{nodes}.matchExpressions[0].values[0]: Inv"),
        ),
        ("DefaultPreemption", none, "minCandidateNodesAbsolute: 0: expected at least 1, as"),
        ("VolumeBinding", json!({"bindTimeoutSeconds": 0}), "bindTimeoutSeconds: 0: expected 1 to 86400"),
        (
            "InterPodAffinity",
            json!({"hardPodAffinityWeight": 101}),
            "hardPodAffinityWeight: 101: expected 0 to",
        ),
        (
            "InterPodAffinity",
            json!({"hardPodAffinityWeight": "5"}),
            "hardPodAffinityWeight: invalid type: string",
        ),
        ("NodeResourcesBalancedAllocation", twice, "resources[1].name: \"cpu\" a second time: expected each"),
        (
            "PodTopologySpread",
            json!({"defaultConstraints": constraint(1)}),
            "defaultingType: System: expected List, as there are defaultConstraints",
        ),
        (
            "PodTopologySpread",
            json!({"defaultingType": "List", "defaultConstraints": constraint(0)}),
            "defaultConstraints[0].maxSkew: 0: expected 1 to 2147483647",
        ),
    ]);
}

/// Nodes with their CPU, memory in GiB and GPUs, and labels.
fn cluster(nodes: &[(&str, i64, i64, i64)]) -> Cluster {
    let mut cluster = Cluster::new();
    for (name, cpu, memory, gpu) in nodes {
        let mut amounts = json!({"cpu": cpu.to_string(), "memory": format!("{memory}Gi"), "pods": "110"});
        if *gpu > 0 {
            amounts["example.com/gpu"] = json!(gpu.to_string());
        }
        let labels = json!({"kubernetes.io/hostname": name, "zone": format!("z{}", name.len())});
        let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": amounts}});
        cluster.put_node(&serde_json::from_value(node).unwrap());
    }
    cluster
}

fn pod(name: &str, cpu: &str, memory: &str, more: Value) -> Value {
    let mut requests = json!({"cpu": cpu, "memory": memory});
    for (resource, amount) in more.as_object().unwrap() {
        requests[resource] = amount.clone();
    }
    let container = json!({"name": "main", "image": "i:1", "resources": {"requests": requests}});
    json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "a"}}, "spec": {"containers": [container]}})
}

fn info(pod: &Value) -> PodInfo {
    PodInfo::new(&serde_json::from_value(pod.clone()).unwrap())
}

/// One plugin's weighted score of each node.
fn scores(decision: &Decision, plugin: Plugin) -> Vec<i64> {
    let at = decision.score_order.iter().position(|p| *p == plugin).unwrap();
    decision.scores.iter().map(|(_, values)| values[at]).collect()
}

#[test]
fn strategies_score_as_their_formulas_say() {
    let mut cluster = cluster(&[("a", 10, 10, 0), ("bb", 10, 10, 4), ("ccc", 20, 10, 2)]);
    cluster.place("a", std::sync::Arc::new(info(&pod("placed", "4", "1Gi", json!({})))));
    let incoming = info(&pod("p", "1", "2Gi", json!({})));
    let room = |cluster: &mut Cluster, pod: &PodInfo, strategy: Value| {
        let profile =
            read(with_args("NodeResourcesFit", json!({"scoringStrategy": strategy}))).profiles.remove(0);
        scores(&decide(cluster, pod, &profile), Plugin::NodeResourcesFit)
    };
    // Used with the pod: a 50 % and 30 %, bb 10 % and 20 %, ccc 5 % and 20 %.
    let most = room(&mut cluster, &incoming, json!({"type": "MostAllocated"}));
    assert_eq!(most, [40, 15, 12]);
    let weighed = json!({"type": "LeastAllocated", "resources": [{"name": "cpu", "weight": 3}, {"name": "memory", "weight": 1}]});
    assert_eq!(
        room(&mut cluster, &incoming, weighed),
        [(3 * 50 + 70) / 4, (3 * 90 + 80) / 4, (3 * 95 + 80) / 4]
    );
    // 0 at 0 %, 100 at 20 %, 50 from 60 % on. a: 100 - 37 (of 50·30/40 = 37.5) and 100 - 12, the mean 75.5 rounded.
    let shape = json!([{"utilization": 0, "score": 0}, {"utilization": 20, "score": 10}, {"utilization": 60, "score": 5}]);
    let ratio = json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape}});
    assert_eq!(room(&mut cluster, &incoming, ratio), [76, 75, 63]);
    // An extended resource counts only for pods that ask for it, on nodes that have it; a score of 0 does not count.
    let gpu = info(&pod("g", "1", "1Gi", json!({"example.com/gpu": "1"})));
    let shape = json!([{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]);
    let ratio = json!({"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape},
        "resources": [{"name": "example.com/gpu", "weight": 3}, {"name": "cpu"}]});
    // bb: 25 % of GPUs, 10 % of CPU: (75 + 10) / 4 = 21.25. ccc: 50 % and 5 %: 155 / 4 = 38.75.
    assert_eq!(room(&mut cluster, &gpu, ratio.clone()), [21, 39]);
    assert_eq!(room(&mut cluster, &incoming, ratio), [50, 10, 5], "cpu alone");
}

#[test]
fn evenness_counts_the_resources_that_are_named() {
    let mut cluster = cluster(&[("a", 10, 10, 4), ("bb", 10, 10, 2)]);
    let gpu = info(&pod("g", "2", "1Gi", json!({"example.com/gpu": "1"})));
    let args = json!({"resources": [{"name": "cpu"}, {"name": "memory"}, {"name": "example.com/gpu"}]});
    let profile = read(with_args("NodeResourcesBalancedAllocation", args)).profiles.remove(0);
    // a: shares .2 .1 .25, deviation .0624, 93. bb: .2 .1 .5, deviation .1700, 82 (of 82.997). Without the pod 100.
    let even = scores(&decide(&mut cluster, &gpu, &profile), Plugin::NodeResourcesBalancedAllocation);
    assert_eq!(even, [50 + (50 + 93 - 100) / 2, 50 + (50 + 82 - 100) / 2]);
    let one = read(with_args(
        "NodeResourcesBalancedAllocation",
        json!({"resources": [{"name": "example.com/gpu"}]}),
    ));
    let plain = decide(&mut cluster, &info(&pod("p", "1", "1Gi", json!({}))), &one.profiles[0]);
    assert!(!plain.score_order.contains(&Plugin::NodeResourcesBalancedAllocation), "it asks for none of it");
}

#[test]
fn what_is_ignored_need_not_be_there() {
    let mut cluster = cluster(&[("a", 4, 4, 0)]);
    let gpu = info(&pod("g", "1", "1Gi", json!({"example.com/gpu": "1", "other.io/x": "1"})));
    let feasible = |cluster: &mut Cluster, args: Value| {
        let profile = read(with_args("NodeResourcesFit", args)).profiles.remove(0);
        let decision = decide(cluster, &gpu, &profile);
        (
            decision.feasible.len(),
            decision.rejected.iter().flat_map(|(_, r)| r.reasons(&gpu)).collect::<Vec<_>>().join(", "),
        )
    };
    assert_eq!(
        feasible(&mut cluster, json!({})),
        (0, "Insufficient example.com/gpu, Insufficient other.io/x".to_owned())
    );
    assert_eq!(
        feasible(&mut cluster, json!({"ignoredResources": ["example.com/gpu"]})),
        (0, "Insufficient other.io/x".to_owned())
    );
    let both = json!({"ignoredResources": ["example.com/gpu"], "ignoredResourceGroups": ["other.io"]});
    assert_eq!(feasible(&mut cluster, both), (1, String::new()));
}

#[test]
fn a_profile_has_affinity_of_its_own() {
    let mut cluster = cluster(&[("a", 4, 4, 0), ("b", 4, 4, 0), ("cc", 4, 4, 0)]);
    let zone =
        |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
    let host =
        json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]});
    let args = json!({"addedAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [zone("z1")]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": host}]}});
    let profile = read(with_args("NodeAffinity", args)).profiles.remove(0);
    let p = info(&pod("p", "1", "1Gi", json!({})));
    let decision = decide(&mut cluster, &p, &profile);
    assert_eq!(scores(&decision, Plugin::NodeAffinity), [0, 200]);
    let (node, rejection) = &decision.rejected[0];
    assert_eq!(
        (&**node, rejection.reasons(&p)[0].as_ref()),
        ("cc", "node(s) didn't match scheduler-enforced node affinity")
    );
    let none = with_args(
        "NodeAffinity",
        json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
    );
    assert!(decide(&mut cluster, &p, &read(none).profiles[0]).feasible.is_empty(), "no term, no node");
}

#[test]
fn constraints_of_the_profile_stand_in_for_missing_ones() {
    let args = json!({"defaultingType": "List", "defaultConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]});
    let profile = read(with_args("PodTopologySpread", args)).profiles.remove(0);
    let mut cluster = cluster(&[("a", 4, 4, 0), ("bb", 4, 4, 0)]);
    let service =
        json!({"metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": {"app": "a"}}});
    let placed = info(&pod("first", "1", "1Gi", json!({})));
    cluster.place("a", std::sync::Arc::new(placed));
    let p = info(&pod("p", "1", "1Gi", json!({})));
    assert_eq!(decide(&mut cluster, &p, &profile).feasible.len(), 2, "nothing selects the pod");
    cluster.put_service(&serde_json::from_value(service).unwrap());
    let decision = decide(&mut cluster, &p, &profile);
    assert_eq!(decision.feasible.iter().map(|n| &**n).collect::<Vec<_>>(), ["bb"]);
    let none = read(with_args("PodTopologySpread", json!({"defaultingType": "List"}))).profiles.remove(0);
    assert_eq!(none.spread, SpreadDefaults::List(Vec::new()));
    assert!(!decide(&mut cluster, &p, &none).score_order.contains(&Plugin::PodTopologySpread));
}

#[test]
fn without_preemption_nobody_is_looked_for() {
    let mut cluster = cluster(&[("a", 2, 4, 0)]);
    cluster.place("a", std::sync::Arc::new(info(&pod("placed", "2", "1Gi", json!({})))));
    let mut important = pod("p", "2", "1Gi", json!({}));
    important["spec"]["priority"] = json!(10);
    let p = info(&important);
    let without = |disabled: Value| one(json!({"plugins": {"postFilter": {"disabled": disabled}}}));
    let mut told = |profile: &Profile| {
        let decision = decide(&mut cluster, &p, profile);
        (decision.preemption.unwrap().candidates.len(), decision.message.unwrap())
    };
    let said = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(told(&Profile::default()), (1, said.to_owned()));
    let only_claims = without(json!([{"name": "DefaultPreemption"}]));
    assert_eq!(told(&only_claims), (0, format!("{said} no new claims to deallocate")));
    assert_eq!(told(&without(json!([{"name": "*"}]))), (0, said.to_owned()));
    let ignored = one(
        json!({"pluginConfig": [{"name": "InterPodAffinity", "args": {"ignorePreferredTermsOfExistingPods": true}}]}),
    );
    assert!(ignored.ignore_preferred_terms_of_existing_pods);
    assert_eq!(ignored.fit.resources, [(Resource::Cpu, 1), (Resource::Memory, 1)]);
    assert_eq!(ignored.fit.strategy, Strategy::LeastAllocated);
}
