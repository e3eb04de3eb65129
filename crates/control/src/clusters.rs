//! What is known of one cluster: nodes, pods, and the power they draw.

use crate::event::{ClusterFacts, NodeObservation, PodObservation};
use crate::lease::Leader;
use crate::usage::UsageReport;
use crate::work::{Begun, PodRuns};
use fleet::{
    EmbodiedRate, GramsCo2PerHour, Instant, MoneyPerHour, NodeName, Provenance, Rates, Resources, Series,
    Spread, Watts,
};
use k8s_openapi::api::batch::v1::Job;
use ledger::meter::{Load, Meter, Totals};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One cluster as observed so far.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub facts: ClusterFacts,
    pub reachable: bool,
    /// Since when it does not answer, and why.
    pub silence: Option<Silence>,
    pub synced: bool,
    /// Who may write to it; `None`: nobody has said.
    pub leader: Option<Leader>,
    pub nodes: BTreeMap<NodeName, NodeObservation>,
    pods: BTreeMap<String, Pod>,
    /// What the pods of Jobs have done, ended ones included.
    runs: PodRuns,
    /// Jobs of ours here (copies, and home Jobs shifted in place), as (namespace, name).
    ours: BTreeSet<(String, String)>,
    /// Pods of Jobs just started here that have not been seen yet: what each asks for, and how many.
    expected: BTreeMap<(String, String), (Resources, i64)>,
    pub signal: Option<Signal>,
    /// What its nodes and pods used lately, or why nobody says; `None`: nobody was asked.
    pub usage: Option<Result<Arc<UsageReport>, String>>,
    meter: Option<Meter>,
}

/// A pod, and whether it belongs to a Job of ours.
#[derive(Clone, Debug)]
struct Pod {
    seen: PodObservation,
    ours: bool,
}

/// The intensity of a cluster's zone.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    pub actual: Series,
    pub actual_from: Provenance,
    pub forecast: Series,
    pub forecast_from: Provenance,
    /// How far off the forecast may be, where the zone's past can say.
    pub spread: Option<Spread>,
}

/// Since when a cluster does not answer, and why, in its words or those of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    /// The instant it was first told.
    pub since: Instant,
    /// The latest reason.
    pub why: String,
}

impl Cluster {
    pub fn new(facts: ClusterFacts) -> Cluster {
        Cluster {
            facts,
            reachable: true,
            silence: None,
            synced: false,
            leader: None,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            runs: PodRuns::default(),
            ours: BTreeSet::new(),
            expected: BTreeMap::new(),
            signal: None,
            usage: None,
            meter: None,
        }
    }

    /// Whether it answers, from `now` on.
    pub fn answers(&mut self, reachable: Result<(), String>, now: Instant) {
        self.reachable = reachable.is_ok();
        let since = self.silence.take().map_or(now, |silence| silence.since);
        self.silence = reachable.err().map(|why| Silence { since, why });
    }

    fn usable(&self) -> impl Iterator<Item = &NodeObservation> {
        self.nodes.values().filter(|n| n.ready && n.schedulable)
    }
    /// Allocatable of each ready, schedulable node.
    pub fn node_sizes(&self) -> Vec<Resources> {
        self.usable().map(|n| n.allocatable).collect()
    }
    /// Sum of allocatable over ready, schedulable nodes.
    pub fn allocatable(&self) -> Resources {
        self.usable().map(|n| n.allocatable).sum()
    }
    /// Takes in a pod as it is now; pods that hold nothing any more are forgotten. Says whether what
    /// other people's pods hold has changed.
    pub fn see_pod(&mut self, name: String, now: Option<PodObservation>) -> bool {
        self.runs.see(&name, now.as_ref());
        let held = |pod: Option<&Pod>| pod.filter(|p| !p.ours).map(|p| p.seen.requests);
        let known = self.pods.get(&name);
        let before = held(known);
        if known.is_none()
            && let Some(job) = now.as_ref().and_then(|seen| Some((seen.namespace.clone(), seen.job.clone()?)))
            && let Some((_, count)) = self.expected.get_mut(&job)
        {
            *count -= 1;
            if *count <= 0 {
                self.expected.remove(&job);
            }
        }
        let pod = now.filter(|seen| seen.active).map(|seen| {
            let job = seen.job.as_ref().map(|job| (seen.namespace.clone(), job.clone()));
            Pod { ours: job.is_some_and(|job| self.ours.contains(&job)), seen }
        });
        let after = held(pod.as_ref());
        match pod {
            Some(pod) => self.pods.insert(name, pod),
            None => self.pods.remove(&name),
        };
        before != after
    }
    /// Pods of a Job will come; until they are seen they count against the room.
    pub fn expect(&mut self, namespace: &str, name: &str, pods: Option<(Resources, i64)>) {
        let job = (namespace.to_owned(), name.to_owned());
        match pods {
            Some(pods) => self.expected.insert(job, pods),
            None => self.expected.remove(&job),
        };
    }
    /// A Job of ours is here, or no longer; its pods are counted accordingly.
    pub fn see_ours(&mut self, namespace: &str, name: &str, here: bool) {
        let job = (namespace.to_owned(), name.to_owned());
        let changed = if here { self.ours.insert(job) } else { self.ours.remove(&job) };
        if changed {
            let of_it = |p: &&mut Pod| p.seen.namespace == namespace && p.seen.job.as_deref() == Some(name);
            self.pods.values_mut().filter(of_it).for_each(|p| p.ours = here);
        }
    }
    /// How the run of a Job began that is under way, or was its last.
    pub fn begun(&self, job: &Job) -> Option<Begun> {
        let named = |text: &Option<String>| text.clone().unwrap_or_default();
        self.runs.begun(&(named(&job.metadata.namespace), named(&job.metadata.name)), job)
    }
    /// Whether pods of a Job wait for a node.
    pub fn waits_for_node(&self, job: &Job) -> bool {
        let (namespace, name) = (job.metadata.namespace.as_deref(), job.metadata.name.as_deref());
        let of_it = |p: &&Pod| Some(p.seen.namespace.as_str()) == namespace && p.seen.job.as_deref() == name;
        self.pods.values().filter(of_it).any(|p| p.seen.node.is_none())
    }
    /// Requests of pods that are not ours and hold a place, or will.
    pub fn held_by_others(&self) -> Resources {
        self.pods.values().filter(|p| !p.ours).map(|p| p.seen.requests).sum()
    }
    /// Requests of all pods bound to a node.
    pub fn requested(&self) -> Resources {
        self.pods.values().filter(|p| p.seen.node.is_some()).map(|p| p.seen.requests).sum()
    }
    /// What each ready, schedulable node has left now.
    pub fn room(&self) -> Vec<Resources> {
        let mut used: BTreeMap<&NodeName, Resources> = BTreeMap::new();
        for pod in self.pods.values() {
            if let Some(node) = &pod.seen.node {
                *used.entry(node).or_default() += pod.seen.requests;
            }
        }
        let free = |(name, node): (&NodeName, &NodeObservation)| {
            node.allocatable.saturating_sub(used.get(name).copied().unwrap_or_default())
        };
        self.nodes.iter().filter(|(_, n)| n.ready && n.schedulable).map(free).collect()
    }
    /// Whether `count` pods of this size could be bound now: first fit over the nodes' free room, pods
    /// that wait for a node, or are expected, counted against it first.
    pub fn has_room_for(&self, pod: Resources, count: i64) -> bool {
        let mut room = self.room();
        let waiting = self.pods.values().filter(|p| p.seen.node.is_none()).map(|p| (p.seen.requests, 1));
        for (need, pods) in waiting.chain(self.expected.values().copied()) {
            for _ in 0..pods {
                if let Some(node) = room.iter_mut().find(|free| need.fits(**free)) {
                    *node = node.saturating_sub(need);
                }
            }
        }
        let places: i64 = room.iter().map(|free| free.count_of(pod).unwrap_or(i64::MAX).min(count)).sum();
        places >= count
    }

    /// Power and price at the margin, and where asked embodied emissions: means over the nodes, weighted by
    /// their vCPUs.
    pub fn rates(&self, embodied: bool) -> Rates {
        let vcpu_milli: i64 =
            self.nodes.values().map(|n| n.capacity.cpu.as_millis_ceil()).sum::<i64>().max(1);
        let dynamic: Watts = self.nodes.values().map(|n| n.power.full - n.power.idle).sum();
        let price: MoneyPerHour = self.nodes.values().map(|n| n.price).sum();
        Rates {
            core_power: dynamic.scaled(self.facts.pue_milli, vcpu_milli),
            // No coefficient for GPUs is built in yet; their power is part of the instance's full watts.
            gpu_power: Watts::ZERO,
            core_price: price.scaled(1000, vcpu_milli),
            gpu_price: MoneyPerHour::ZERO,
            embodied: embodied.then(|| self.embodied_rate(vcpu_milli)),
        }
    }

    /// Embodied emissions of all nodes shared by all vCPUs; unknown ones count as zero, and are named.
    fn embodied_rate(&self, vcpu_milli: i64) -> EmbodiedRate {
        let whole: GramsCo2PerHour = self.nodes.values().filter_map(|n| n.embodied).sum();
        let unknown = self.nodes.values().filter(|n| n.embodied.is_none());
        let unknown: i64 = unknown.map(|n| n.capacity.cpu.as_millis_ceil()).sum();
        EmbodiedRate {
            core: whole.scaled(1000, vcpu_milli),
            // Rounded up, so that one node of thousands is still named.
            unknown_permille: ((i128::from(unknown) * 1000 + i128::from(vcpu_milli) - 1)
                / i128::from(vcpu_milli)) as i64,
        }
    }

    /// The load now: idle power of every node, what running pods add, ours and others' apart.
    fn load(&self) -> Load {
        let mut load = Load {
            idle: Watts::ZERO,
            managed: Watts::ZERO,
            other: Watts::ZERO,
            price: self.nodes.values().map(|n| n.price).sum(),
        };
        for node in self.nodes.values() {
            load.idle += node.power.idle.scaled(self.facts.pue_milli, 1000);
        }
        for Pod { seen: pod, ours } in self.pods.values().filter(|p| p.seen.running) {
            let Some(node) = pod.node.as_ref().and_then(|name| self.nodes.get(name)) else { continue };
            let power = node.power.dynamic(pod.requests.cpu.as_nanos(), node.capacity.cpu.as_nanos());
            let power = power.scaled(self.facts.pue_milli, 1000);
            if *ours {
                load.managed += power;
            } else {
                load.other += power;
            }
        }
        load
    }
    /// Brings the meter up to `now` after nodes or pods changed.
    pub fn measure(&mut self, now: Instant) {
        let load = self.load();
        let Some(signal) = &self.signal else { return };
        match &mut self.meter {
            Some(meter) => meter.set(now, load, &signal.actual),
            None => self.meter = Some(Meter::new(now, load)),
        }
    }
    /// Energy, carbon and money of the cluster since it was first seen.
    pub fn totals(&self, now: Instant) -> Option<Totals> {
        Some(self.meter.as_ref()?.read(now, &self.signal.as_ref()?.actual))
    }
    /// Power drawn and money spent now.
    pub fn draw(&self) -> (Watts, MoneyPerHour) {
        let load = self.load();
        (load.idle + load.managed + load.other, load.price)
    }
}
