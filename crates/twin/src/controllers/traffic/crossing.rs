//! What answers of a Service weigh that go from one zone to another, integrated with its requests.
//!
//! Clients send in even shares by lot to all pods that serve, wherever these are, so that of the answers a share crosses that
//! follows from where both stand: of clients in a zone, those answered elsewhere. Where the clients stand is stated by a
//! selector of pods; else they are taken to come in evenly over the zones that have nodes, as a load balancer's addresses
//! are. Each stretch between changes is split exactly, so that what crosses and what stays sum to what was answered.
//! Left out: requests themselves, which are small beside answers, retries, and topology-aware routing.

use crate::apiserver::selector::LabelSelector;
use crate::controllers::node::zone;
use crate::controllers::{Cx, is_terminal};
use crate::kind::Kind;
use crate::object::Object;
use crate::traffic::REQUEST;
use fleet::quantity::split;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest answer that is read, in bytes: 1 GB.
pub(super) const BYTES_MAX: i64 = 1_000_000_000;

/// What is said of the answers of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// What an answer weighs on average, in bytes.
    pub(super) bytes: i64,
    /// Which pods of the namespace the clients are, as a label selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clients: Option<String>,
}

impl Answers {
    /// Whether an object is a client.
    pub(super) fn is_client(&self, object: &Object) -> bool {
        let Some(selector) = self.clients.as_deref().and_then(|text| LabelSelector::parse(text).ok()) else {
            return false;
        };
        object.meta().labels.as_ref().is_some_and(|labels| selector.matches(labels))
    }
}

/// Answers that went from one zone to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Crossing {
    /// Of how many pairs of a client and a pod how many are in different zones.
    pairs: (u64, u64),
    /// Parts of requests that were answered until it was last settled.
    answered: i128,
    /// Parts of requests × bytes that crossed.
    weight: i128,
    /// What an answer weighs.
    bytes: i64,
}

/// Of how many pairs of these clients and these pods, by zone, how many are in different zones.
fn pairs(clients: &BTreeMap<String, u64>, pods: &BTreeMap<String, u64>) -> (u64, u64) {
    let (all, serving) = (clients.values().sum::<u64>(), pods.values().sum::<u64>());
    let same: u64 = clients.iter().map(|(zone, count)| count * pods.get(zone).copied().unwrap_or(0)).sum();
    (all * serving - same, all * serving)
}

impl Crossing {
    /// Begins when so much has been answered.
    pub(super) fn new(answered: i128) -> Crossing {
        Crossing { answered, ..Crossing::default() }
    }
    /// Takes in what was answered since it was last settled.
    pub(super) fn settle(&mut self, answered: i128) {
        let (crossing, all) = self.pairs;
        let since = answered - std::mem::replace(&mut self.answered, answered);
        if since > 0 && crossing > 0 {
            let parts = split(since, &[crossing, all - crossing]);
            self.weight += parts[0] * i128::from(self.bytes);
        }
    }
    /// What answers weigh and where clients and pods stand from now on: `serving` are the nodes of the pods that serve.
    pub(super) fn place(&mut self, cx: &Cx<'_>, namespace: &str, answers: &Answers, serving: &[String]) {
        self.bytes = answers.bytes;
        let zone_of = |node: &str| cx.node(node).map(zone);
        let mut pods: BTreeMap<String, u64> = BTreeMap::new();
        for zone in serving.iter().filter_map(|node| zone_of(node)) {
            *pods.entry(zone).or_default() += 1;
        }
        let mut clients: BTreeMap<String, u64> = BTreeMap::new();
        if answers.clients.is_some() {
            for stored in cx.objects.list(Kind::Pod, Some(namespace)) {
                let Some(pod) = stored.object.as_pod().filter(|pod| !is_terminal(pod)) else { continue };
                let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
                if let Some(zone) = node.and_then(zone_of).filter(|_| answers.is_client(&stored.object)) {
                    *clients.entry(zone).or_default() += 1;
                }
            }
        } else {
            let nodes = cx.objects.list(Kind::Node, None).filter_map(|stored| stored.object.as_node());
            clients.extend(nodes.map(|node| (zone(node), 1)));
        }
        self.pairs = pairs(&clients, &pods);
    }
    /// Answers weigh nothing from now on.
    pub(super) fn rest(&mut self) {
        self.bytes = 0;
    }
    /// Bytes that crossed.
    pub(super) fn bytes(&self) -> i128 {
        self.weight / REQUEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(zones: &[(&str, u64)]) -> BTreeMap<String, u64> {
        zones.iter().map(|(zone, count)| ((*zone).to_owned(), *count)).collect()
    }

    #[test]
    fn what_crosses_follows_from_where_both_stand() {
        let three = at(&[("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!(pairs(&three, &at(&[("a", 2)])), (4, 6), "two of three clients are elsewhere");
        assert_eq!(pairs(&three, &three), (6, 9));
        assert_eq!(pairs(&at(&[("a", 3)]), &at(&[("a", 2)])), (0, 6), "all in one zone");
        assert_eq!(pairs(&at(&[("a", 1)]), &at(&[("b", 1), ("a", 3)])), (1, 4));
        assert_eq!(pairs(&at(&[]), &three), (0, 0));
    }

    proptest! {
        #[test]
        fn what_crosses_and_what_stays_is_what_was_answered(
            stretches in proptest::collection::vec((0_i64..1_000_000_000_000, 0_u64..50, 1_u64..50), 1..40),
            bytes in 1_i64..BYTES_MAX,
        ) {
            let mut crossing = Crossing { bytes, ..Crossing::default() };
            let mut staying = crossing.clone();
            let (mut answered, first) = (0, stretches[0].0);
            for (parts, some, more) in stretches {
                answered += i128::from(parts);
                crossing.settle(answered);
                staying.settle(answered);
                crossing.pairs = (some, some + more);
                staying.pairs = (more, some + more);
            }
            let before = crossing.clone();
            crossing.settle(answered);
            prop_assert_eq!(&crossing, &before, "nothing is counted twice");
            // Until the first change nothing is known of where they stand.
            let known = i128::from(bytes) * (answered - i128::from(first));
            let off = known - crossing.weight - staying.weight;
            // Halves are split by the order of the parts, one unit a stretch at most.
            prop_assert!(off.abs() <= 40 * i128::from(bytes), "{} of {}", off, known);
        }
    }
}
