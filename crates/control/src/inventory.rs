//! What else is in a cluster: workloads, disruption budgets, volumes and autoscalers, as far as it is told; and what in
//! it wants a person's look.
//!
//! Invariants: an object is a few numbers and names, never the whole; of a kind at most [`OBJECTS_MAX`] are kept, and
//! it is said where there are more. A kind that cannot be read, or is not served, is unknown, not empty. Nothing here
//! decides about Jobs.

use crate::distances::RoundTrip;
use crate::state::Control;
use crate::usage::{self, UsageReport};
use fleet::{Bytes, ClusterId, Instant, NodeName, Provenance, RatesFrom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most objects of a kind kept of a cluster: ten times what large clusters hold of any of these.
pub const OBJECTS_MAX: usize = 50_000;
/// Most objects named of each remark.
pub const NAMED_MAX: usize = 20;

/// A kind that is looked at for the inventory alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InventoryKind {
    /// `apps/v1`.
    Deployment,
    /// `apps/v1`.
    StatefulSet,
    /// `apps/v1`.
    DaemonSet,
    /// `batch/v1`.
    CronJob,
    /// `policy/v1`.
    PodDisruptionBudget,
    /// `v1`.
    PersistentVolumeClaim,
    /// `v1`.
    PersistentVolume,
    /// `autoscaling/v2`.
    HorizontalPodAutoscaler,
}

impl InventoryKind {
    /// All of them.
    pub const ALL: [InventoryKind; 8] = [
        InventoryKind::Deployment,
        InventoryKind::StatefulSet,
        InventoryKind::DaemonSet,
        InventoryKind::CronJob,
        InventoryKind::PodDisruptionBudget,
        InventoryKind::PersistentVolumeClaim,
        InventoryKind::PersistentVolume,
        InventoryKind::HorizontalPodAutoscaler,
    ];

    /// The kind's name in the Kubernetes API.
    pub fn as_str(self) -> &'static str {
        match self {
            InventoryKind::Deployment => "Deployment",
            InventoryKind::StatefulSet => "StatefulSet",
            InventoryKind::DaemonSet => "DaemonSet",
            InventoryKind::CronJob => "CronJob",
            InventoryKind::PodDisruptionBudget => "PodDisruptionBudget",
            InventoryKind::PersistentVolumeClaim => "PersistentVolumeClaim",
            InventoryKind::PersistentVolume => "PersistentVolume",
            InventoryKind::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
        }
    }
}

/// What is kept of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Facts {
    /// A Deployment, StatefulSet or DaemonSet.
    #[serde(rename_all = "camelCase")]
    Workload {
        /// Pods it wants.
        wanted: i64,
        /// Pods that are ready.
        ready: i64,
    },
    /// A CronJob.
    #[serde(rename_all = "camelCase")]
    Schedule {
        /// Its schedule, as written.
        schedule: String,
        /// Whether it is suspended.
        suspended: bool,
        /// Jobs of it that run.
        active: i64,
        /// When it last created one.
        last: Option<Instant>,
    },
    /// A PodDisruptionBudget.
    #[serde(rename_all = "camelCase")]
    Budget {
        /// Disruptions allowed now.
        allowed: i64,
        /// Healthy pods now.
        healthy: i64,
        /// Healthy pods there must be.
        needed: i64,
        /// Pods it speaks of.
        pods: i64,
    },
    /// A PersistentVolumeClaim.
    #[serde(rename_all = "camelCase")]
    Claim {
        /// `Pending`, `Bound` or `Lost`.
        phase: String,
        /// Its volume.
        volume: Option<String>,
        /// What it has, else asks for.
        size: Bytes,
    },
    /// A PersistentVolume.
    #[serde(rename_all = "camelCase")]
    Volume {
        /// `Available`, `Bound`, `Released` or `Failed`.
        phase: String,
        /// `NAMESPACE/NAME` of its claim.
        claim: Option<String>,
        /// Its size.
        size: Bytes,
    },
    /// A HorizontalPodAutoscaler.
    #[serde(rename_all = "camelCase")]
    Autoscaler {
        /// `KIND/NAME` of what it scales.
        target: String,
        /// Fewest pods.
        least: i64,
        /// Most pods.
        most: i64,
        /// Pods now.
        current: i64,
        /// Pods it wants.
        wanted: i64,
    },
}

/// What is told of a kind in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// An object as it is now; `None`: gone.
    Object {
        /// `NAMESPACE/NAME`, or `NAME` for what has no namespace.
        name: String,
        /// What it is like.
        now: Option<Facts>,
    },
    /// Whether the kind can be seen: `Ok` once its list is complete; `Err`: it cannot, and why.
    Seen(Result<(), String>),
}

/// What is known of one kind.
#[derive(Clone, Debug, Default)]
struct Kept {
    objects: BTreeMap<Box<str>, Facts>,
    /// Objects beyond the bound: not kept.
    more: bool,
    /// Whether it can be seen; `None`: not told yet.
    seen: Option<Result<(), String>>,
}

/// What is in one cluster.
#[derive(Clone, Debug, Default)]
pub struct Inventory(BTreeMap<InventoryKind, Kept>);

impl Inventory {
    /// Takes in what is told of a kind.
    pub fn take_in(&mut self, kind: InventoryKind, told: Told) {
        let kept = self.0.entry(kind).or_default();
        match told {
            Told::Object { name, now: None } => {
                kept.objects.remove(name.as_str());
            }
            Told::Object { name, now: Some(facts) } => {
                if kept.objects.len() < OBJECTS_MAX || kept.objects.contains_key(name.as_str()) {
                    kept.objects.insert(name.into(), facts);
                } else {
                    kept.more = true;
                }
            }
            Told::Seen(seen) => {
                // What was known before says nothing of a kind that cannot be seen any more.
                if seen.is_err() {
                    (kept.objects, kept.more) = (BTreeMap::new(), false);
                }
                kept.seen = Some(seen);
            }
        }
    }

    /// What is there, and what wants a look.
    pub fn view(&self) -> InventoryView {
        let count = |(kind, kept): (&InventoryKind, &Kept)| KindView {
            kind: *kind,
            count: kept.objects.len(),
            more: kept.more,
            unknown: match &kept.seen {
                Some(Ok(())) => None,
                Some(Err(why)) => Some(why.clone()),
                None => Some("not listed yet".to_owned()),
            },
        };
        let mut view =
            InventoryView { kinds: self.0.iter().map(count).collect(), ..InventoryView::default() };
        for (kind, kept) in &self.0 {
            for (name, facts) in &kept.objects {
                view.look_at(*kind, name, facts);
            }
        }
        view
    }
}

/// Objects that want a look: the first by name, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    /// How many.
    pub count: usize,
    /// The first of them, at most [`NAMED_MAX`].
    pub first: Vec<Remark>,
}

/// An object, and what it is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remark {
    /// Its kind.
    pub kind: InventoryKind,
    /// `NAMESPACE/NAME`, or `NAME`.
    pub name: String,
    /// What is kept of it.
    pub facts: Facts,
}

impl Named {
    fn add(&mut self, kind: InventoryKind, name: &str, facts: &Facts) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(Remark { kind, name: name.to_owned(), facts: facts.clone() });
        }
    }
}

/// What is known of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KindView {
    /// Which.
    pub kind: InventoryKind,
    /// Objects known.
    pub count: usize,
    /// Whether there are more than are kept.
    pub more: bool,
    /// Why it is not known; `None`: it is.
    pub unknown: Option<String>,
}

/// What is in a cluster, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryView {
    /// By kind; a kind nobody asks for (that of a twin) is not there.
    pub kinds: Vec<KindView>,
    /// Budgets with pods that allow no disruption now: a drain would wait for them.
    pub no_disruption: Named,
    /// Autoscalers that want as many pods as they may have, or more.
    pub at_maximum: Named,
    /// Claims without a volume.
    pub unbound: Named,
    /// Workloads with fewer ready pods than they want.
    pub replicas_missing: Named,
    /// Nodes by where their power and price come from.
    pub rates_from: Vec<(RatesFrom, usize)>,
    /// Who says what is used, or why nobody does; `None`: nobody is asked (a twin).
    pub usage: Option<Result<Provenance, String>>,
    /// Nodes and pods whose use that says.
    pub measured: (usize, usize),
    /// How long its API server takes to answer this process; `None`: not measured (a twin), or it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<RoundTrip>,
}

impl InventoryView {
    fn look_at(&mut self, kind: InventoryKind, name: &str, facts: &Facts) {
        let list = match facts {
            Facts::Workload { wanted, ready } if ready < wanted => &mut self.replicas_missing,
            Facts::Budget { allowed, pods, .. } if *allowed <= 0 && *pods > 0 => &mut self.no_disruption,
            Facts::Claim { phase, .. } if phase != "Bound" => &mut self.unbound,
            Facts::Autoscaler { most, current, wanted, .. } if wanted.max(current) >= most => {
                &mut self.at_maximum
            }
            _ => return,
        };
        list.add(kind, name, facts);
    }
}

impl Control {
    /// What is in a cluster beside nodes, pods and Jobs, and where figures about it come from; `None`: no such cluster.
    pub fn inventory(&self, cluster: &ClusterId) -> Option<InventoryView> {
        let known = self.clusters.get(cluster)?;
        let mut view = self.inventories.get(cluster).map(Inventory::view).unwrap_or_default();
        let report = known.usage.as_ref().and_then(|usage| usage.as_ref().ok());
        let used =
            |node: &NodeName| report.and_then(|report: &std::sync::Arc<UsageReport>| report.nodes.get(node));
        let mut rates: BTreeMap<RatesFrom, usize> = BTreeMap::new();
        for (name, node) in &known.nodes {
            *rates.entry(usage::rates_from(node.rates_from, used(name))).or_insert(0) += 1;
        }
        view.rates_from = rates.into_iter().collect();
        view.measured = report.map_or((0, 0), |report| (report.nodes.len(), report.pods.len()));
        view.usage = known.usage.as_ref().map(|usage| match usage {
            Ok(report) => Ok(report.from.clone()),
            Err(why) => Err(why.clone()),
        });
        view.round_trip = self.distances.round_trip(cluster);
        Some(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(inventory: &mut Inventory, kind: InventoryKind, name: &str, facts: Facts) {
        inventory.take_in(kind, Told::Object { name: name.to_owned(), now: Some(facts) });
    }

    #[test]
    fn what_wants_a_look_is_named() {
        let mut all = Inventory::default();
        let workload = |wanted, ready| Facts::Workload { wanted, ready };
        see(&mut all, InventoryKind::Deployment, "a/web", workload(3, 2));
        see(&mut all, InventoryKind::Deployment, "a/api", workload(3, 3));
        see(&mut all, InventoryKind::DaemonSet, "a/logs", workload(0, 0));
        let budget = |allowed, pods| Facts::Budget { allowed, healthy: pods, needed: pods, pods };
        see(&mut all, InventoryKind::PodDisruptionBudget, "a/web", budget(0, 2));
        see(&mut all, InventoryKind::PodDisruptionBudget, "a/of-nothing", budget(0, 0));
        see(&mut all, InventoryKind::PodDisruptionBudget, "a/roomy", budget(1, 3));
        let claim =
            |phase: &str| Facts::Claim { phase: phase.to_owned(), volume: None, size: Bytes::from_gib(1) };
        see(&mut all, InventoryKind::PersistentVolumeClaim, "a/data", claim("Pending"));
        see(&mut all, InventoryKind::PersistentVolumeClaim, "a/logs", claim("Bound"));
        let scaler = |current, wanted| Facts::Autoscaler {
            target: "Deployment/web".to_owned(),
            least: 1,
            most: 5,
            current,
            wanted,
        };
        see(&mut all, InventoryKind::HorizontalPodAutoscaler, "a/web", scaler(4, 5));
        see(&mut all, InventoryKind::HorizontalPodAutoscaler, "a/api", scaler(4, 4));
        let view = all.view();
        let names = |named: &Named| {
            assert_eq!(named.count, named.first.len());
            named.first.iter().map(|remark| remark.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&view.replicas_missing), ["a/web"]);
        assert_eq!(names(&view.no_disruption), ["a/web"]);
        assert_eq!(names(&view.unbound), ["a/data"]);
        assert_eq!(names(&view.at_maximum), ["a/web"]);
    }

    #[test]
    fn a_kind_that_cannot_be_seen_is_unknown_and_not_empty() {
        let mut all = Inventory::default();
        let kind = InventoryKind::StatefulSet;
        let state = |all: &Inventory| {
            let view = all.view();
            (view.kinds[0].count, view.kinds[0].unknown.clone())
        };
        assert!(all.view().kinds.is_empty());
        see(&mut all, kind, "a/db", Facts::Workload { wanted: 1, ready: 1 });
        assert_eq!(state(&all), (1, Some("not listed yet".to_owned())));
        all.take_in(kind, Told::Seen(Ok(())));
        assert_eq!(state(&all), (1, None));
        all.take_in(kind, Told::Seen(Err("403".to_owned())));
        assert_eq!(state(&all), (0, Some("403".to_owned())));
        all.take_in(kind, Told::Object { name: "a/db".to_owned(), now: None });
        assert_eq!(state(&all).0, 0);
    }

    #[test]
    fn objects_and_names_are_bounded() {
        let mut all = Inventory::default();
        let kind = InventoryKind::PersistentVolumeClaim;
        let facts = || Facts::Claim { phase: "Pending".to_owned(), volume: None, size: Bytes::ZERO };
        for i in 0..=OBJECTS_MAX {
            see(&mut all, kind, &format!("a/{i:06}"), facts());
        }
        let view = all.view();
        assert_eq!((view.kinds[0].count, view.kinds[0].more), (OBJECTS_MAX, true));
        assert_eq!((view.unbound.count, view.unbound.first.len()), (OBJECTS_MAX, NAMED_MAX));
    }
}
