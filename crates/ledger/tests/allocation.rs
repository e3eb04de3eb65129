//! Allocation: pods and idle sum to the nodes whatever happens, and rules come out as stated.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use fleet::{
    Bytes, Cpu, GramsCo2, GramsCo2PerHour, GramsCo2PerKwh, Instant, Money, MoneyPerHour, NodeName, NodePower,
    Resources, Series, Span, Watts,
};
use ledger::allocation::{Allocation, NodeLoad, Owner, PodLoad, Used, Work};
use ledger::meter::{Amounts, Rate};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn at(seconds: i64) -> Instant {
    Instant::from_unix_seconds(1_800_000_000 + seconds)
}
fn amount(cores: f64, gib: f64) -> Resources {
    let memory = Bytes::from_bytes((gib * f64::from(1 << 30)) as i64);
    Resources { cpu: Cpu::from_nanos((cores * 1e9) as i64), memory, gpu: 0, pods: 1 }
}
fn node_name(i: usize) -> NodeName {
    NodeName::new(&format!("node-{i}")).unwrap()
}
fn node(cores: f64, gib: f64, price: f64) -> NodeLoad {
    let watts = Watts::from_watts_f64;
    NodeLoad {
        capacity: amount(cores, gib),
        power: NodePower { idle: watts(cores * 1.0), full: watts(cores * 4.0) },
        measured: None,
        price: MoneyPerHour::from_units_f64(price),
        embodied: None,
    }
}
fn work(namespace: &str, kind: &str, name: &str) -> Arc<Work> {
    let owner = Owner { kind: kind.into(), name: name.into() };
    Arc::new(Work { namespace: namespace.into(), owner, labels: Arc::default() })
}
fn pod(cores: f64, gib: f64) -> PodLoad {
    PodLoad { requests: amount(cores, gib), running: true, managed: false, used: None }
}
fn used(pod: PodLoad, cores: f64, gib: f64, power: Option<f64>) -> PodLoad {
    let amount = amount(cores, gib);
    let power = power.map(Watts::from_watts_f64);
    PodLoad { used: Some(Used { cpu: amount.cpu, memory: amount.memory, power }), ..pod }
}
fn begun(pue_milli: i64) -> Allocation {
    let mut a = Allocation::new(pue_milli);
    a.advance(at(0));
    a.set_intensity(Series::constant(GramsCo2PerKwh::from_grams_f64(500.0)));
    a.see(true);
    a
}
fn whole(rows: &[(Arc<Work>, Amounts)], idle: Amounts) -> Amounts {
    rows.iter().map(|row| row.1).sum::<Amounts>() + idle
}

#[test]
fn a_pod_bears_what_it_holds_of_the_price_and_the_power_it_uses() {
    let mut a = begun(1200);
    a.set_node(&node_name(0), Some(node(4.0, 16.0, 0.2)));
    a.set_pod("d/web", Some((node_name(0), work("d", "Deployment", "web"), pod(1.0, 4.0))));
    let hour = a.hour(at(3600)).unwrap();
    let web = hour.rows[0].1;
    // A quarter of the CPU and of the memory: a quarter of the price, whatever their ratio.
    assert_eq!((web.cost, hour.idle.cost), (Money::from_units_f64(0.05), Money::from_units_f64(0.15)));
    // One of four cores busy adds 3 W, the node idles at 4 W; PUE 1.2.
    assert_eq!((web.energy.as_kwh_f64(), hour.idle.energy.as_kwh_f64()), (0.0036, 0.0048));
    assert_eq!(web.carbon.as_grams_f64(), 1.8);
    assert_eq!(
        (web.cpu_requested.as_core_hours_f64(), hour.idle.cpu_requested.as_core_hours_f64()),
        (1.0, 3.0)
    );
    assert_eq!(
        (web.cpu_used, web.cpu_measured.as_core_millis()),
        (web.cpu_requested, 0),
        "requests stand in"
    );
    // It uses more CPU than it asked for, and less memory: it holds the larger of each.
    a.advance(at(3600));
    a.close(at(3600));
    a.set_pod(
        "d/web",
        Some((node_name(0), work("d", "Deployment", "web"), used(pod(1.0, 4.0), 2.0, 1.0, None))),
    );
    let web = a.hour(at(7200)).unwrap().rows[0].1;
    let share = (2.0 * 31_611.0 + 4.0 * 4237.0) / (4.0 * 31_611.0 + 16.0 * 4237.0);
    assert!((web.cost.as_units_f64() - 0.2 * share).abs() < 1e-8, "{web:?}");
    assert_eq!(web.energy.as_kwh_f64(), 0.0072);
    assert_eq!((web.cpu_measured, web.memory_used.as_gib_hours_f64()), (web.cpu_used, 1.0));
}

#[test]
fn measured_power_stands_before_the_model() {
    let mut a = begun(1000);
    a.set_node(
        &node_name(0),
        Some(NodeLoad { measured: Some(Watts::from_watts_f64(50.0)), ..node(4.0, 16.0, 0.2) }),
    );
    let measured = used(pod(1.0, 4.0), 0.5, 1.0, Some(7.0));
    a.set_pod("d/web", Some((node_name(0), work("d", "Deployment", "web"), measured)));
    let [idle, _, other] = a.rates();
    assert_eq!((other.power.as_watts_f64(), idle.power.as_watts_f64()), (7.0, 43.0));
    let more = used(pod(1.0, 4.0), 0.5, 1.0, Some(60.0));
    a.set_pod("d/web", Some((node_name(0), work("d", "Deployment", "web"), more)));
    assert_eq!(a.rates()[0].power, Watts::ZERO, "meters that disagree make no negative power");
}

#[test]
fn pods_that_hold_more_than_the_node_has_share_it_all() {
    let mut a = begun(1000);
    a.set_node(&node_name(0), Some(node(4.0, 16.0, 0.3)));
    for name in ["a", "b", "c"] {
        a.set_pod(name, Some((node_name(0), work("d", "Pod", name), used(pod(1.0, 4.0), 2.0, 8.0, None))));
    }
    let prices: Vec<f64> = a.row_rates().map(|(_, rate)| rate.price.as_units_f64()).collect();
    assert!(prices.iter().all(|p| (p - 0.1).abs() < 1e-8), "{prices:?}");
    assert!(a.rates()[0].price.as_nanos() < 3, "what rounding leaves");
    a.set_pod("c", None);
    let prices: Vec<f64> = a.row_rates().map(|(_, rate)| rate.price.as_units_f64()).collect();
    assert!(prices.iter().all(|p| (p - 0.15).abs() < 1e-8), "{prices:?}");
}

#[test]
fn pods_wait_for_their_node_and_leave_with_it() {
    let mut a = begun(1000);
    a.set_pod("d/web", Some((node_name(0), work("d", "Deployment", "web"), pod(1.0, 4.0))));
    assert_eq!(a.rates(), [Rate::default(); 3]);
    a.set_node(&node_name(0), Some(node(4.0, 16.0, 0.2)));
    assert_eq!(a.rates()[2].power.as_watts_f64(), 3.0);
    a.advance(at(1800));
    a.set_node(&node_name(0), None);
    assert_eq!(a.rates(), [Rate::default(); 3]);
    let hour = a.close(at(3600)).unwrap();
    assert_eq!(hour.rows[0].1.energy.as_kwh_f64(), 0.0015, "what it drew while the node was there");
    assert_eq!(hour.nodes.len(), 1);
}

#[test]
fn what_is_not_seen_is_not_counted_and_said() {
    let mut a = Allocation::new(1000);
    a.set_intensity(Series::constant(GramsCo2PerKwh::from_grams_f64(500.0)));
    a.set_node(&node_name(0), Some(node(4.0, 16.0, 0.2)));
    a.advance(at(0));
    assert!(a.hour(at(600)).is_none() && a.totals(at(600)).is_none());
    for (from, to) in [(600, 1200), (2400, 3000)] {
        a.advance(at(from));
        a.see(true);
        a.advance(at(to));
        a.see(false);
    }
    let hour = a.close(at(3600)).unwrap();
    let seen: Vec<(Instant, Instant)> = hour.seen.iter().map(|s| (s.from, s.to)).collect();
    assert_eq!(seen, [(at(600), at(1200)), (at(2400), at(3000))]);
    assert!((hour.idle.cost.as_units_f64() - 0.2 / 3.0).abs() < 1e-8);
    assert!(a.close(at(7200)).is_none());
    assert_eq!(a.totals(at(7200)).unwrap().cost, hour.idle.cost);
}

#[test]
fn an_hour_goes_on_from_what_an_earlier_process_counted() {
    let run = |cut: Option<i64>| {
        let fresh = |from: i64| {
            let mut a = Allocation::new(1100);
            a.advance(at(from));
            a.set_intensity(Series::constant(GramsCo2PerKwh::from_grams_f64(431.0)));
            a.see(true);
            a.set_node(&node_name(0), Some(node(4.0, 16.0, 0.2)));
            a.set_pod("d/web", Some((node_name(0), work("d", "Deployment", "web"), pod(1.0, 4.0))));
            a
        };
        let mut a = fresh(0);
        if let Some(cut) = cut {
            let before = a.close(at(cut)).unwrap();
            a = fresh(cut);
            a.resume(&before);
        }
        a.close(at(3600)).unwrap()
    };
    let (once, twice) = (run(None), run(Some(1200)));
    assert_eq!(
        (&once.rows, once.idle, &once.nodes, once.intensity),
        (&twice.rows, twice.idle, &twice.nodes, twice.intensity)
    );
    assert_eq!(twice.seen.len(), 2);
}

#[test]
fn what_serves_the_cluster_is_shared() {
    for (namespace, kind, shared) in [
        ("kube-system", "Deployment", true),
        ("monitoring", "DaemonSet", true),
        ("demo", "Node", true),
        ("demo", "Deployment", false),
        ("kubernetes", "Job", false),
    ] {
        assert_eq!(work(namespace, kind, "x").shared(), shared, "{namespace} {kind}");
    }
}

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Happening {
    Node(usize, Option<(f64, f64, bool)>),
    Pod(usize, Option<(usize, usize, f64, f64, Option<f64>)>),
    Intensity(f64),
    See(bool),
    Close,
}

fn happening() -> impl Strategy<Value = Happening> {
    let node = (0usize..4, prop::option::of((1.0f64..16.0, 0.0f64..2.0, any::<bool>())));
    let pod = (
        0usize..12,
        prop::option::of((0usize..4, 0usize..5, 0.0f64..6.0, 0.0f64..30.0, prop::option::of(0.0f64..9.0))),
    );
    prop_oneof![
        2 => node.prop_map(|(i, load)| Happening::Node(i, load)),
        8 => pod.prop_map(|(i, load)| Happening::Pod(i, load)),
        1 => (0.0f64..1200.0).prop_map(Happening::Intensity),
        1 => any::<bool>().prop_map(Happening::See),
        1 => Just(Happening::Close),
    ]
}

fn loaded(cores: f64, price: f64, measured: bool) -> NodeLoad {
    let plain = node(cores, cores * 4.0, price);
    let embodied = (cores > 3.0).then(|| GramsCo2PerHour::from_grams_f64(cores / 7.0));
    NodeLoad { measured: measured.then(|| Watts::from_watts_f64(cores * 2.0)), embodied, ..plain }
}

proptest! {
    #[test]
    fn parts_sum_to_the_whole_and_changes_one_by_one_are_as_good_as_reckoning_anew(
        history in prop::collection::vec((0i64..2000, happening()), 1..60)
    ) {
        let mut a = begun(1137);
        let (mut nodes, mut pods) = (BTreeMap::new(), BTreeMap::new());
        let mut now = 0;
        let mut all = Amounts::default();
        for (wait, what) in history {
            now += wait;
            a.advance(at(now));
            match what {
                Happening::Node(i, load) => {
                    let load = load.map(|(cores, price, measured)| loaded(cores, price, measured));
                    a.set_node(&node_name(i), load);
                    nodes.insert(i, load);
                }
                Happening::Pod(i, load) => {
                    let load = load.map(|(on, of, cores, gib, busy)| {
                        let asked = PodLoad { managed: i % 3 == 0, running: i % 4 != 1, ..pod(cores, gib) };
                        let load = busy.map_or(asked, |cores| used(asked, cores, cores * 3.0, (on == 1).then_some(cores)));
                        (node_name(on), work("n", "Deployment", &format!("w{of}")), load)
                    });
                    a.set_pod(format!("n/p{i}"), load.clone());
                    pods.insert(i, load);
                }
                Happening::Intensity(grams) => a.set_intensity(Series::constant(GramsCo2PerKwh::from_grams_f64(grams))),
                Happening::See(seeing) => a.see(seeing),
                Happening::Close => {
                    let Some(hour) = a.close(at(now)) else { continue };
                    let by_node: Amounts = hour.nodes.iter().map(|(_, busy, idle)| *busy + *idle).sum();
                    prop_assert_eq!(whole(&hour.rows, hour.idle), by_node);
                    all += by_node;
                }
            }
            let mut anew = begun(1137);
            nodes.iter().for_each(|(i, load)| anew.set_node(&node_name(*i), *load));
            pods.iter().for_each(|(i, load)| anew.set_pod(format!("n/p{i}"), load.clone()));
            prop_assert_eq!(a.rates(), anew.rates());
            prop_assert!(a.pod_rates().map(|p| p.3).eq(anew.pod_rates().map(|p| p.3)));
            let [idle, managed, other] = a.rates();
            let prices: i64 = nodes.values().flatten().map(|load| load.price.as_nanos()).sum();
            prop_assert_eq!((idle + managed + other).price.as_nanos(), prices);
            let embodied: i64 = nodes.values().flatten().filter_map(|load| load.embodied).map(|rate| rate.as_micrograms()).sum();
            prop_assert_eq!((idle + managed + other).embodied.as_micrograms(), embodied);
            prop_assert!(a.node_rates().all(|(_, _, idle)| idle.price >= MoneyPerHour::ZERO && idle.power >= Watts::ZERO));
            let by_row = a.row_rates().map(|(_, rate)| rate).fold(idle, |sum, rate| sum + rate);
            prop_assert_eq!(by_row, idle + managed + other);
        }
        let open = a.hour(at(now)).map_or(Amounts::default(), |hour| whole(&hour.rows, hour.idle));
        all += open;
        if let Some(totals) = a.totals(at(now)) {
            // Each closed hour was rounded once.
            prop_assert!((totals.cost - all.cost).as_nanos().abs() <= 30);
            prop_assert!((totals.total_energy() - all.energy).as_microjoules().abs() <= 30);
            prop_assert_eq!(totals.cost, totals.idle.cost + totals.managed.cost + totals.other.cost);
        }
    }
}

#[test]
fn a_change_costs_no_look_at_the_other_pods() {
    // 2,000 pods of 100 nodes change 200,000 times: hours where each change walks all pods, well under a second here.
    let mut a = begun(1000);
    (0..100).for_each(|i| a.set_node(&node_name(i), Some(node(64.0, 256.0, 3.0))));
    for round in 0..100i64 {
        a.advance(at(round));
        for i in 0..2000 {
            let load = PodLoad { running: round % 2 == 0, ..pod(1.0, 4.0) };
            a.set_pod(
                format!("n/p{i}"),
                Some((node_name(i % 100), work("n", "Deployment", &format!("w{}", i % 50)), load)),
            );
        }
    }
    let hour = a.close(at(100)).unwrap();
    assert_eq!(hour.rows.len(), 50);
    // Every second round's end each pod drew nothing: fifty seconds of 2,000 cores at 3 W a core.
    let busy: Amounts = hour.rows.iter().map(|row| row.1).sum();
    assert_eq!(busy.energy.as_microjoules(), 2000 * 3 * 50 * 1_000_000);
    assert_eq!(Span::HOUR.as_seconds(), 3600);
}

#[test]
fn embodied_emissions_are_borne_as_the_price_is_and_pue_leaves_them_alone() {
    let mut a = begun(1200);
    let grams = GramsCo2PerHour::from_grams_f64;
    a.set_node(&node_name(0), Some(NodeLoad { embodied: Some(grams(8.0)), ..node(4.0, 16.0, 0.2) }));
    a.set_node(&node_name(1), Some(node(4.0, 16.0, 0.2)));
    a.set_pod("d/web", Some((node_name(0), work("d", "Deployment", "web"), pod(1.0, 4.0))));
    a.set_pod("d/api", Some((node_name(1), work("d", "Deployment", "api"), pod(1.0, 4.0))));
    let hour = a.hour(at(3600)).unwrap();
    let embodied: Vec<f64> = hour.rows.iter().map(|row| row.1.embodied.as_grams_f64()).collect();
    assert_eq!(embodied, [0.0, 2.0], "a quarter of the node's; of the other nothing is known");
    assert_eq!(hour.idle.embodied.as_grams_f64(), 6.0);
    assert_eq!(whole(&hour.rows, hour.idle).embodied, GramsCo2::from_grams_f64(8.0));
    let nodes: Amounts = hour.nodes.iter().map(|n| n.1 + n.2).sum();
    assert_eq!(nodes, whole(&hour.rows, hour.idle));
    // What is not counted leaves lines as they were.
    let list = |amounts: &Amounts| serde_json::to_value(amounts).unwrap().as_array().unwrap().len();
    assert_eq!(hour.rows.iter().map(|row| list(&row.1)).collect::<Vec<_>>(), [8, 9]);
    for (text, well) in [
        ("[1,2,3,4,5,6,7,8]", true),
        ("[1,2,3,4,5,6,7,8,9]", true),
        ("[1,2,3,4,5,6,7]", false),
        ("[1,2,3,4,5,6,7,8,9,0]", false),
    ] {
        assert_eq!(serde_json::from_str::<Amounts>(text).is_ok(), well, "{text}");
    }
}
