//! What flows now: power, money, carbon, CPU and memory by cluster, node, namespace, workload, pod or label.
//!
//! Invariant: rows sum to the total, as in [`ledger::accounts`], whose parts these are.

use crate::clusters::Cluster;
use crate::state::Control;
use fleet::{ClusterId, GramsCo2, Instant, Provenance, Resources, Span};
use ledger::accounts::{By, ByError, Part};
use ledger::meter::Rate;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

/// What rows stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopOf {
    /// Pods.
    Pod,
    /// What accounts are made by.
    By(By),
}

impl FromStr for TopOf {
    type Err = ByError;
    /// In the singular or plural.
    fn from_str(text: &str) -> Result<TopOf, ByError> {
        Ok(match text {
            "pod" | "pods" => TopOf::Pod,
            "clusters" | "nodes" | "namespaces" | "workloads" => TopOf::By(text[..text.len() - 1].parse()?),
            _ => TopOf::By(text.parse()?),
        })
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct TopRow {
    /// What it is of.
    pub part: Part,
    /// What flows.
    pub rate: Rate,
    /// Of that, idle: of clusters and nodes.
    pub idle: Rate,
    /// Of that, shared: of clusters.
    pub shared: Rate,
    /// Emissions of an hour at this rate and the present intensity.
    pub carbon_per_hour: GramsCo2,
    /// Of that, idle.
    pub idle_carbon_per_hour: GramsCo2,
    /// Of a pod: its node. Of a node: its instance type.
    pub place: Option<String>,
}

/// What flows now.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    /// Rows, the dearest first; then unlabelled, shared and idle ones.
    pub rows: Vec<TopRow>,
    /// Their sum.
    pub total: TopRow,
    /// Who measured use last; `None`: nobody, requests stand for it.
    pub use_from: Option<Provenance>,
}

/// What flows in one cluster to one part: all, and of that idle and shared.
struct Flow {
    part: Part,
    rates: [Rate; 3],
    place: Option<String>,
}

fn flows(cluster: &Cluster, of: &TopOf) -> Vec<Flow> {
    let (id, running, none) = (&cluster.facts.id, &cluster.books.running, Rate::default());
    let plain = |part: Part, rate: Rate| Flow { part, rates: [rate, none, none], place: None };
    let [idle, managed, other] = running.rates();
    match of {
        TopOf::By(By::Cluster) => {
            let shared = running.row_rates().filter(|(work, _)| work.shared()).map(|(_, rate)| rate);
            let shared = shared.fold(none, |sum, rate| sum + rate);
            vec![Flow { part: By::cluster(id), rates: [idle + managed + other, idle, shared], place: None }]
        }
        TopOf::By(By::Node) => {
            let node = |(name, busy, idle): (&fleet::NodeName, Rate, Rate)| {
                let labels = cluster.nodes.get(name).map(|node| &node.labels);
                let place = labels.and_then(|labels| labels.get("node.kubernetes.io/instance-type")).cloned();
                Flow {
                    part: By::of_cluster(id, None, name.as_str()),
                    rates: [busy + idle, idle, none],
                    place,
                }
            };
            running.node_rates().map(node).collect()
        }
        TopOf::By(by) => {
            let rows = running.row_rates().map(|(work, rate)| {
                plain(by.part(id, &work.namespace, &work.owner, &work.labels, work.shared()), rate)
            });
            rows.chain([Flow { part: Part::Idle, rates: [idle, idle, none], place: None }]).collect()
        }
        TopOf::Pod => {
            let pods = running.pod_rates().map(|(name, node, work, rate)| {
                let name = name.split_once('/').map_or(&**name, |(_, name)| name);
                let part = By::of_cluster(id, Some(&work.namespace), name);
                Flow { part, rates: [rate, none, none], place: Some(node.to_string()) }
            });
            pods.chain([Flow { part: Part::Idle, rates: [idle, idle, none], place: None }]).collect()
        }
    }
}

impl TopRow {
    fn nothing(part: Part) -> TopRow {
        let none = Rate::default();
        let zero = GramsCo2::ZERO;
        TopRow {
            part,
            rate: none,
            idle: none,
            shared: none,
            carbon_per_hour: zero,
            idle_carbon_per_hour: zero,
            place: None,
        }
    }
}

/// A pod that waits for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingPod {
    /// Its cluster.
    pub cluster: ClusterId,
    /// `NAMESPACE/NAME`.
    pub pod: Arc<str>,
    /// What it asks for.
    pub requests: Resources,
}

impl Control {
    /// Pods that wait for a node, the first by cluster and name, at most so many; and how many there are.
    pub fn waiting_pods(&self, most: usize) -> (Vec<WaitingPod>, usize) {
        let of = |cluster: &Cluster| {
            let id = cluster.facts.id.clone();
            let waiting = cluster.waiting().take(most);
            let pod = |(pod, requests): (&Arc<str>, Resources)| WaitingPod {
                cluster: id.clone(),
                pod: pod.clone(),
                requests,
            };
            waiting.map(pod).collect::<Vec<_>>()
        };
        let count = self.clusters.values().map(|cluster| cluster.waiting().len()).sum();
        (self.clusters.values().flat_map(of).take(most).collect(), count)
    }

    /// What flows now.
    pub fn top(&self, of: &TopOf, now: Instant) -> Top {
        let now = now.max(self.now);
        let mut rows: BTreeMap<Part, TopRow> = BTreeMap::new();
        let mut total = TopRow::nothing(By::of_total());
        for cluster in self.clusters.values() {
            let intensity = cluster.signal.as_ref().map(|signal| signal.actual.at(now)).unwrap_or_default();
            let carbon = |rate: Rate| (rate.power * Span::HOUR) * intensity;
            for Flow { part, rates: [rate, idle, shared], place } in flows(cluster, of) {
                let row = rows.entry(part.clone()).or_insert_with(|| TopRow::nothing(part));
                for row in [row, &mut total] {
                    row.rate += rate;
                    row.idle += idle;
                    row.shared += shared;
                    row.carbon_per_hour += carbon(rate);
                    row.idle_carbon_per_hour += carbon(idle);
                    row.place.clone_from(&place);
                }
            }
        }
        total.place = None;
        let mut rows: Vec<TopRow> = rows.into_values().filter(|row| row.rate != Rate::default()).collect();
        rows.sort_by(|a, b| {
            let rest = |row: &TopRow| !matches!(row.part, Part::Named { .. });
            let size = |row: &TopRow| (row.rate.price, row.rate.power);
            let by_size = || size(b).cmp(&size(a));
            rest(a).cmp(&rest(b)).then_with(|| if rest(a) { a.part.cmp(&b.part) } else { by_size() })
        });
        if let Some(shared) = rows.iter().find(|row| row.part == Part::Shared) {
            total.shared += shared.rate;
        }
        let newest = self.clusters.values().filter_map(Cluster::use_from).max_by_key(|from| from.as_of);
        Top { rows, total, use_from: newest.cloned() }
    }
}
