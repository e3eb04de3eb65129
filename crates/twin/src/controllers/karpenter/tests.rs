//! Karpenter at work on whole worlds: looking when it may matter comes to what looking every time does, saving and loading
//! change nothing, and limits and budgets hold whatever comes.

use crate::World;
use crate::apiserver::{Options, PatchType, Request, Subresource, Verb};
use crate::kind::Kind;
use fleet::{ClusterId, FleetSpec, Instant, Span};
use proptest::prelude::*;
use serde_json::{Value, json};

fn fleet(pool: &str) -> FleetSpec {
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  \
        nodeGroups: [{{name: base, instanceType: m6i.large, count: 1}}]\n  karpenter:\n    nodePools:\n    \
        - {{name: default, template: {{spec: {{requirements: [{{key: node.kubernetes.io/instance-type, operator: In, \
        values: [m6i.large, m6i.xlarge, m6i.2xlarge, c6i.large]}}]}}}}, {pool}}}\n"
    );
    fleet::file::parse(&text).unwrap()
}

fn request(verb: Verb, name: &str, subresource: Option<Subresource>, body: Value) -> Request {
    let kind = Kind::document("apps", "deployments");
    let (namespace, name) = ("default".to_owned(), name.to_owned());
    Request { verb, kind, namespace, name, subresource, body, options: Options::default() }
}

fn deployment(name: &str, replicas: i64, milli: i64, annotations: &Value) -> Request {
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": {"containers": [
            {"name": "c", "image": "c:1", "resources": {"requests": {"cpu": format!("{milli}m"), "memory": "64Mi"}}}]}}}});
    request(Verb::Create, "", None, body)
}

fn scale(name: &str, replicas: i64) -> Request {
    let body = json!({"spec": {"replicas": replicas}});
    request(Verb::Patch(PatchType::Merge), name, Some(Subresource::Scale), body)
}

fn start() -> Instant {
    Instant::parse("2026-05-01T09:00:00Z").unwrap()
}

fn home() -> ClusterId {
    ClusterId::new("kr").unwrap()
}

/// Everything there is, version numbers and all.
fn everything(world: &World) -> Vec<Value> {
    let objects = world.objects(&home()).unwrap();
    let all = objects.kinds().collect::<Vec<_>>();
    all.iter().flat_map(|kind| objects.list(*kind, None)).map(|stored| stored.to_value()).collect()
}

/// Plays requests for so many minutes, and looks at the world at each instant.
fn play(
    fleet: &FleetSpec,
    steps: &[(i64, Request)],
    minutes: i64,
    every: bool,
    mut look: impl FnMut(&World),
) -> World {
    let mut world = World::new(fleet, start(), 7);
    if every {
        world.look_every_time(&home());
    }
    let end = start() + Span::MINUTE.scaled(minutes, 1);
    let mut steps = steps.iter().peekable();
    while world.now() < end {
        let step = steps.peek().map(|(at, _)| start() + Span::from_seconds(*at));
        let at = world.next_event().unwrap_or(end).min(end).min(step.unwrap_or(end));
        world.advance_to(at);
        while let Some((_, request)) = steps.next_if(|(due, _)| start() + Span::from_seconds(*due) <= at) {
            world.request(&home(), request).unwrap();
        }
        look(&world);
    }
    world
}

/// A day of a small shop in short: load comes and goes, one workload keeps its node for a while.
fn shop() -> (FleetSpec, Vec<(i64, Request)>) {
    let fleet =
        fleet("spot: {interruptAt: [15m]}, disruption: {consolidateAfter: 30s, budgets: [{nodes: '1'}]}");
    let steps = [
        (30, deployment("web", 3, 400, &json!({}))),
        (60, deployment("report", 1, 900, &json!({"karpenter.sh/do-not-disrupt": "20m"}))),
        (300, scale("web", 20)),
        (1200, scale("web", 4)),
        (2000, scale("report", 0)),
    ];
    (fleet, steps.into())
}

#[test]
fn an_idle_cluster_costs_nothing() {
    let fleet = fleet("weight: 1");
    let mut world = World::new(&fleet, start(), 7);
    world.advance_to(start() + Span::MINUTE);
    assert_eq!(world.next_event(), None, "nothing is due in a cluster in which nothing happens");
}

#[test]
fn looking_when_it_may_matter_is_looking_every_time() {
    let (fleet, steps) = shop();
    let worlds = [false, true].map(|every| play(&fleet, &steps, 60, every, |_| {}));
    let [lazy, every] = worlds.each_ref().map(everything);
    for (lazy, every) in lazy.iter().zip(&every) {
        assert_eq!(lazy, every);
    }
    assert_eq!(lazy.len(), every.len());
    let nodes = worlds[0].objects(&home()).unwrap().count(Kind::Node);
    assert!(nodes <= 3, "{nodes} nodes are left");
}

#[test]
fn saving_and_loading_change_nothing() {
    let (fleet, steps) = shop();
    let whole = play(&fleet, &steps, 45, false, |_| {});
    let mut saved = World::new(&fleet, start(), 7);
    let mut steps = steps.iter().peekable();
    for quarter in 1..=45 * 4 {
        let until = start() + Span::from_seconds(quarter * 15);
        while let Some((at, request)) = steps.next_if(|(at, _)| start() + Span::from_seconds(*at) <= until) {
            saved.advance_to(start() + Span::from_seconds(*at));
            saved.request(&home(), request).unwrap();
        }
        saved.advance_to(until);
        let text = serde_json::to_string(&saved).unwrap();
        saved = serde_json::from_str(&text).unwrap();
        assert!(serde_json::to_string(&saved).unwrap() == text);
    }
    assert_eq!(everything(&saved), everything(&whole));
    assert_eq!(saved.energy(&home()), whole.energy(&home()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    #[test]
    fn limits_and_budgets_hold_whatever_comes(
        gaps in proptest::collection::vec((20_i64..600, 0_i64..30), 1..6),
        milli in 150_i64..3000,
        budget in 1_usize..3,
    ) {
        let fleet = fleet(&format!("limits: {{cpu: 16}}, disruption: {{budgets: [{{nodes: '{budget}'}}]}}"));
        let mut steps = vec![(1, deployment("web", 1, milli, &json!({})))];
        let mut at = 10;
        for (gap, replicas) in gaps {
            at += gap;
            steps.push((at, scale("web", replicas)));
        }
        let minutes = at / 60 + 30;
        let mut problems: Vec<String> = Vec::new();
        let world = play(&fleet, &steps, minutes, false, |world| {
            let nodes = world.objects(&home()).unwrap().list(Kind::Node, None);
            let nodes: Vec<Value> = nodes.map(|node| node.object.to_value()).collect();
            let own = nodes.iter().filter(|node| node["metadata"]["labels"]["karpenter.sh/nodepool"] == "default");
            let (mut cores, mut disrupted) = (0, 0);
            for node in own {
                let taints = node["spec"]["taints"].to_string();
                let going = taints.contains("karpenter.sh/disrupted");
                disrupted += usize::from(going);
                let cpu: i64 = node["status"]["capacity"]["cpu"].as_str().unwrap().parse().unwrap();
                cores += if going { 0 } else { cpu };
            }
            if cores > 16 || disrupted > budget {
                problems.push(format!("{cores} cores, {disrupted} nodes disrupted at {:?}", world.now()));
            }
        });
        prop_assert!(problems.is_empty(), "{:?}", problems);
        prop_assert_eq!(world.overcommitted(), None);
        // What fits is placed, and what nobody needs is gone.
        let replicas = steps.last().map_or(0, |(_, step)| step.body["spec"]["replicas"].as_i64().unwrap_or(1));
        let objects = world.objects(&home()).unwrap();
        let pods = objects.list(Kind::Pod, None).filter_map(|pod| pod.object.as_pod());
        let placed = pods.filter(|pod| pod.spec.as_ref().is_some_and(|s| s.node_name.is_some())).count() as i64;
        prop_assert!(placed <= replicas);
        // The fixed node has 1930m, and 16 cores in the smallest nodes have 8 times as much.
        let room = 1930 / milli + 8 * (1930 / milli);
        prop_assert!(placed >= replicas.min(room), "{} of {} placed, room for {}", placed, replicas, room);
        if replicas == 0 {
            prop_assert_eq!(objects.count(Kind::Node), 1);
        }
    }
}
