//! Which of several groups is enlarged: the cluster autoscaler's expanders, as pure functions.
//!
//! Each keeps the offers that are best by it; of those that are left by the last, one is drawn. Sizes are a node's capacity,
//! prices those of the fleet. Left out: `grpc`, which asks a server. Method: `expander/` of cluster-autoscaler 1.36.

use fleet::MoneyPerHour;
use fleet::supply::Expander;
use regex::Regex;
use std::collections::BTreeMap;

/// What enlarging a group comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    /// Its name.
    pub(crate) group: String,
    /// New nodes.
    pub(crate) nodes: u32,
    /// Pods that fit on them.
    pub(crate) pods: usize,
    /// What these ask for: thousandths of a core, bytes.
    pub(crate) asked: (i64, i64),
    /// Capacity of a node, in the same.
    pub(crate) node: (i64, i64),
    /// GPUs of a node.
    pub(crate) gpu: i64,
    /// Price of a node.
    pub(crate) price: MoneyPerHour,
}

/// What people prefer: by number, which groups (the higher the better).
pub(crate) type Priorities = BTreeMap<i64, Vec<String>>;

/// Most groups' patterns that are read.
const PATTERNS_MAX: usize = 1000;
const GIB: f64 = 1_073_741_824.0;
/// Prices of a vCPU and of a GiB for an hour by which pods are priced: OpenCost's, as in the accounts.
const VCPU_PRICE: f64 = 0.031_611;
const GIB_PRICE: f64 = 0.004_237;
/// How unfit a node with GPUs is.
const GPU_UNFITNESS: f64 = 1000.0;
/// The cores of a node that suits a cluster of at most so many nodes, and of any larger one.
const SUITABLE: [(usize, f64); 5] = [(2, 1.0), (6, 2.0), (20, 4.0), (60, 8.0), (200, 16.0)];
const SUITABLE_LARGE: f64 = 32.0;

/// Chooses by one expander after another; the rest is drawn by `lot`, a number below its argument. `None`: no offers.
pub(crate) fn choose(
    offers: &[Offer],
    chain: &[Expander],
    (nodes, priorities): (usize, Option<&Priorities>),
    lot: &mut dyn FnMut(usize) -> usize,
) -> Option<usize> {
    let mut left: Vec<usize> = (0..offers.len()).collect();
    for expander in chain {
        if left.len() < 2 || *expander == Expander::Random {
            break;
        }
        left = match expander {
            Expander::Random => left,
            Expander::MostPods => least(&left, |i| -(offers[i].pods as f64)),
            Expander::LeastNodes => least(&left, |i| f64::from(offers[i].nodes)),
            Expander::LeastWaste => least(&left, |i| waste(&offers[i])),
            Expander::Price => least(&left, |i| price(&offers[i], nodes)),
            Expander::Priority => priorities.map_or(left.clone(), |all| preferred(&left, offers, all)),
        };
    }
    match left.len() {
        0 => None,
        1 => left.first().copied(),
        many => left.get(lot(many)).copied(),
    }
}

/// Those with the least of something.
fn least(all: &[usize], of: impl Fn(usize) -> f64) -> Vec<usize> {
    let least = all.iter().map(|i| of(*i)).min_by(f64::total_cmp);
    all.iter().copied().filter(|i| Some(of(*i)) == least).collect()
}

/// The shares of CPU and memory that nobody asked for, added up.
fn waste(offer: &Offer) -> f64 {
    let share = |asked: i64, node: i64| {
        let there = node as f64 * f64::from(offer.nodes);
        if there == 0.0 { 0.0 } else { (there - asked as f64) / there }
    };
    share(offer.asked.0, offer.node.0) + share(offer.asked.1, offer.node.1)
}

fn pod_price((cpu_millis, bytes): (f64, f64)) -> f64 {
    cpu_millis / 1000.0 * VCPU_PRICE + bytes / GIB * GIB_PRICE
}

/// Price for an hour against what is asked for, times how ill a node of this size suits a cluster of so many nodes.
fn price(offer: &Offer, nodes: usize) -> f64 {
    let steady = pod_price((500.0, 500.0 * 1024.0 * 1024.0));
    let all = offer.price.as_units_f64() * f64::from(offer.nodes);
    let sub = (all + steady) / (pod_price((offer.asked.0 as f64, offer.asked.1 as f64)) + steady);
    let suits = SUITABLE.iter().find(|(most, _)| nodes <= *most).map_or(SUITABLE_LARGE, |(_, cores)| *cores);
    let cores = offer.node.0 as f64 / 1000.0;
    let unfit = if offer.gpu > 0 { GPU_UNFITNESS } else { (suits / cores).max(cores / suits) };
    let suppressed = (unfit - 1.0) * (1.0 - ((f64::from(offer.nodes) - 1.0) / 15.0).tanh()) + 1.0;
    suppressed * sub
}

/// The groups that the highest number speaks of; all, where none does.
fn preferred(all: &[usize], offers: &[Offer], priorities: &Priorities) -> Vec<usize> {
    for patterns in priorities.values().rev() {
        let patterns: Vec<Regex> =
            patterns.iter().take(PATTERNS_MAX).filter_map(|p| Regex::new(p).ok()).collect();
        let is = |i: &&usize| patterns.iter().any(|pattern| pattern.is_match(&offers[**i].group));
        let found: Vec<usize> = all.iter().filter(is).copied().collect();
        if !found.is_empty() {
            return found;
        }
    }
    all.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four pods of 1 core and 4 GiB.
    fn offers() -> Vec<Offer> {
        let offer = |group: &str, nodes, cores: i64, gib: i64, price| Offer {
            group: group.to_owned(),
            nodes,
            pods: 4,
            asked: (4000, 16 << 30),
            node: (cores * 1000, gib << 30),
            gpu: 0,
            price: MoneyPerHour::from_units_f64(price),
        };
        vec![
            offer("small", 4, 2, 8, 0.1),
            offer("large", 1, 8, 32, 0.4),
            offer("memory", 2, 2, 16, 0.13),
            offer("spot", 4, 2, 8, 0.03),
        ]
    }

    fn by(chain: &[Expander], priorities: Option<&Priorities>) -> (String, usize) {
        let mut drawn = 0;
        let offers = offers();
        let chosen = choose(&offers, chain, (3, priorities), &mut |n| {
            drawn = n;
            n - 1
        });
        (offers[chosen.unwrap()].group.clone(), drawn)
    }

    #[test]
    fn each_expander_has_its_own_favourite() {
        assert_eq!(by(&[Expander::LeastNodes], None), ("large".to_owned(), 0));
        // 4 of 4 cores and 16 of 32 GiB, against halves of both.
        assert_eq!(by(&[Expander::LeastWaste], None), ("memory".to_owned(), 0));
        assert_eq!(by(&[Expander::Price], None), ("spot".to_owned(), 0));
        assert_eq!(by(&[Expander::MostPods], None), ("spot".to_owned(), 4), "all alike: by lot");
        assert_eq!(by(&[Expander::Random, Expander::LeastNodes], None), ("spot".to_owned(), 4));
        assert_eq!(by(&[], None).1, 4);
        assert_eq!(choose(&[], &[Expander::Price], (0, None), &mut |_| 0), None);
    }

    #[test]
    fn people_prefer_by_pattern_and_the_next_expander_decides_among_equals() {
        let prefer = Priorities::from([
            (10, vec![".*".to_owned()]),
            (50, vec!["^sm".to_owned(), "spot$".to_owned(), "([".to_owned()]),
            (90, vec!["nobody".to_owned()]),
        ]);
        assert_eq!(by(&[Expander::Priority, Expander::Price], Some(&prefer)), ("spot".to_owned(), 0));
        assert_eq!(by(&[Expander::Priority], Some(&prefer)), ("spot".to_owned(), 2));
        assert_eq!(by(&[Expander::Priority], None).1, 4);
    }

    #[test]
    fn a_node_that_suits_the_cluster_is_worth_its_price() {
        // By the formula: 3 nodes are suited by 2 cores, so that 8 cores are unfit by 4.
        let all = offers();
        let steady = pod_price((500.0, 500.0 * 1024.0 * 1024.0));
        let asked = pod_price((4000.0, (16_u64 << 30) as f64));
        let large = 4.0 * (0.4 + steady) / (asked + steady);
        assert!((price(&all[1], 3) - large).abs() < 1e-9);
        let small = (0.4 + steady) / (asked + steady);
        assert!((price(&all[0], 3) - small).abs() < 1e-9, "four nodes of a fit size");
        assert!(price(&Offer { gpu: 1, ..all[0].clone() }, 3) > 100.0);
    }
}
