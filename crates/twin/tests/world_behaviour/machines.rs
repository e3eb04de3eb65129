//! Machines: what they draw and cost, and what happens when one stops.

use crate::fixture::*;
use fleet::{GramsCo2, GramsCo2PerKwh, Series, Span};
use serde_json::{Value, json};
use twin::world::NodeChange;
use twin::{Kind, World};

#[test]
fn energy_carbon_and_money_are_integrated_exactly() {
    let mut world = world(2);
    let spec = world.spec(&kr()).unwrap().clone();
    let group = &spec.node_groups[0];
    let hours = [200.0, 400.0].map(GramsCo2PerKwh::from_grams_f64).to_vec();
    assert!(world.set_intensity(&kr(), Series::new(start(), Span::HOUR, hours).unwrap()));
    create(&mut world, Kind::Job, job("e", "4", &["sleep", "3600"], json!({})));
    let idle = group.power.idle.scaled(spec.pue_milli, 1000);
    // Half of the cores: what the table says of 50 % load.
    let work = (group.curve.unwrap().half - group.power.idle).scaled(spec.pue_milli, 1000);
    assert_eq!(world.power(&kr()).unwrap(), idle + idle);
    pass(&mut world, 3600);
    assert_eq!(world.power(&kr()).unwrap(), idle + idle + work);
    pass(&mut world, 3600);
    let totals = world.energy(&kr()).unwrap();
    let two_hours = Span::HOUR.scaled(2, 1);
    assert_eq!(totals.idle, idle * two_hours + idle * two_hours);
    // The work runs from 10 s to 3610 s: 3590 s at 200 g, 10 s at 400 g.
    assert_eq!(totals.dynamic, work * Span::HOUR);
    let expected = work.as_watts_f64() * (3590.0 * 200.0 + 10.0 * 400.0) / 3.6e6;
    let carbon = totals.carbon_dynamic - GramsCo2::from_grams_f64(expected);
    assert!(carbon.as_micrograms().abs() <= 2, "{carbon:?}");
    assert_eq!(totals.cost, group.price * two_hours + group.price * two_hours);
    assert_eq!(totals.busy_share(), 4.0 / 8.0 / 2.0 / 2.0);
    let by_node = world.energy_by_node(&kr()).unwrap();
    assert_eq!(by_node.iter().map(|(_, t)| t.energy()).sum::<fleet::Joules>(), totals.energy());
    assert_eq!(by_node.len(), 2);
    let by_pod = world.energy_by_pod(&kr()).unwrap();
    assert_eq!((by_pod.ended.energy, by_pod.ended.carbon), (totals.dynamic, totals.carbon_dynamic));
    assert_eq!(by_pod.pods, []);
    let rate = group.embodied.unwrap();
    assert_eq!(totals.embodied, rate * two_hours + rate * two_hours);
}

#[test]
fn a_stopped_machine_is_noticed_its_pods_evicted_and_the_job_goes_on_elsewhere() {
    let mut world = world(2);
    create(&mut world, Kind::Job, job("n", "1", &["sleep", "2000"], json!({})));
    pass(&mut world, 100);
    assert_eq!(pods(&world)[0]["spec"]["nodeName"], "kr-general-1");
    world.set_node(&kr(), &node(1), NodeChange::Stop).unwrap();
    pass(&mut world, 49);
    assert_eq!(condition(&get(&world, Kind::Node, "kr-general-1"), "Ready"), "True KubeletReady");
    pass(&mut world, 1);
    let silent = get(&world, Kind::Node, "kr-general-1");
    assert_eq!(condition(&silent, "Ready"), "Unknown NodeStatusUnknown");
    assert_eq!(silent["spec"]["taints"].as_array().unwrap().len(), 2);
    assert_eq!(condition(&pods(&world)[0], "Ready"), "False NodeNotReady");
    pass(&mut world, 299);
    assert_eq!(pods(&world).len(), 1);
    pass(&mut world, 1);
    // The pod stays until its machine is back; the Job counts it as failed and makes another.
    let lost = pods(&world).into_iter().find(|p| p["spec"]["nodeName"] == "kr-general-1").unwrap();
    assert!(lost["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(condition(&lost, "DisruptionTarget"), "True DeletionByTaintManager");
    assert_eq!(get(&world, Kind::Job, "n")["status"]["failed"], 1);
    pass(&mut world, 60);
    assert_eq!(pods(&world).len(), 2);
    world.set_node(&kr(), &node(1), NodeChange::Start).unwrap();
    let back = get(&world, Kind::Node, "kr-general-1");
    assert_eq!(condition(&back, "Ready"), "True KubeletReady");
    assert!(back["spec"]["taints"].is_null());
    assert_eq!(pods(&world).len(), 1);
    pass(&mut world, 2100);
    assert_eq!(condition(&get(&world, Kind::Job, "n"), "Complete"), "True CompletionsReached");
}

#[test]
fn a_machine_that_restarts_quickly_fails_what_ran_on_it() {
    let mut world = world(1);
    create(&mut world, Kind::Job, job("q", "1", &["sleep", "2000"], json!({})));
    pass(&mut world, 100);
    let power = world.power(&kr()).unwrap();
    world.set_node(&kr(), &node(1), NodeChange::Stop).unwrap();
    assert!(world.power(&kr()).unwrap().is_zero());
    pass(&mut world, 20);
    world.set_node(&kr(), &node(1), NodeChange::Start).unwrap();
    assert!(world.power(&kr()).unwrap() < power);
    assert_eq!(phases(&world), ["Failed"]);
    pass(&mut world, 10 + 2 + 2000);
    assert_eq!(condition(&get(&world, Kind::Job, "q"), "Complete"), "True CompletionsReached");
    let unknown = world.set_node(&kr(), &node(9), NodeChange::Stop).unwrap_err();
    assert_eq!(unknown.to_string(), "cluster \"kr\" has no node \"kr-general-9\"");
}

/// Six nodes in two zones: 1, 3 and 5 in one, 2, 4 and 6 in the other.
fn two_zones() -> World {
    let text = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
clusters:
- name: kr
  region: ap-northeast-2
  nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 6, zones: [a, b]}]
";
    World::new(&fleet::file::parse(text).unwrap(), start(), 42)
}

/// Which nodes are tainted so that their pods have to go, of those that take no new ones.
fn evicted_of(world: &World) -> String {
    let has = |node: &Value, effect: &str| {
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().any(|t| t["key"] == "node.kubernetes.io/unreachable" && t["effect"] == effect)
    };
    let nodes: Vec<(u32, Value)> =
        (1..=6).map(|n| (n, get(world, Kind::Node, &format!("kr-general-{n}")))).collect();
    let with = |effect: &str| -> Vec<u32> {
        nodes.iter().filter(|(_, node)| has(node, effect)).map(|(n, _)| *n).collect()
    };
    format!("{:?} of {:?}", with("NoExecute"), with("NoSchedule"))
}

#[test]
fn nodes_are_evicted_one_by_one_and_none_when_all_are_silent() {
    let mut world = two_zones();
    let turn = |world: &mut World, nodes: &[u32], change: NodeChange| {
        nodes.iter().for_each(|n| world.set_node(&kr(), &node(*n), change).unwrap());
    };
    turn(&mut world, &[2, 4], NodeChange::Stop);
    pass(&mut world, 50);
    assert_eq!(evicted_of(&world), "[2] of [2, 4]", "one at once");
    pass(&mut world, 9);
    assert_eq!(evicted_of(&world), "[2] of [2, 4]");
    pass(&mut world, 1);
    assert_eq!(evicted_of(&world), "[2, 4] of [2, 4]", "the next after ten seconds");
    turn(&mut world, &[1, 3, 5, 6], NodeChange::Stop);
    let story = serde_json::to_string(&world).unwrap();
    world = serde_json::from_str(&story).unwrap();
    pass(&mut world, 49);
    assert_eq!(evicted_of(&world), "[2, 4] of [2, 4]");
    pass(&mut world, 1);
    let all = "of [1, 2, 3, 4, 5, 6]";
    assert_eq!(evicted_of(&world), format!("[] {all}"), "no node answers: nobody is evicted");
    pass(&mut world, 3600);
    assert_eq!(evicted_of(&world), format!("[] {all}"));
    turn(&mut world, &[1], NodeChange::Start);
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(evicted_of(&world));
        pass(&mut world, 10);
    }
    let left = "of [2, 3, 4, 5, 6]";
    assert_eq!(
        told,
        [
            format!("[] {left}"),
            format!("[2, 3] {left}"),
            format!("[2, 3, 4, 5] {left}"),
            format!("[2, 3, 4, 5, 6] {left}")
        ]
    );
}
