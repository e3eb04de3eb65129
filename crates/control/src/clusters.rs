//! What is known of one cluster: nodes, pods, and the power they draw.

use crate::books::Books;
use crate::event::{ClusterFacts, NodeObservation, PodObservation};
use crate::job::Job;
use crate::jobs;
use crate::lease::Leader;
use crate::usage::{AGE_MAX, UsageReport};
use crate::view::Draw;
use crate::work::{Begun, PodRuns};
use fleet::{
    EmbodiedRate, GramsCo2PerHour, Instant, MoneyPerHour, NodeName, Provenance, Rates, Resources, Series,
    Spread, Watts,
};
use ledger::allocation::{NodeLoad, PodLoad, Used};
use ledger::meter::Totals;
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
    /// Since when that is so, as far as this process has seen.
    pub leader_since: Option<Instant>,
    pub nodes: BTreeMap<NodeName, NodeObservation>,
    held: Held,
    /// What the pods of Jobs have done, ended ones included.
    runs: PodRuns,
    /// Jobs of ours here (copies, and home Jobs shifted in place), as (namespace, name).
    ours: BTreeSet<(String, String)>,
    /// Pods of Jobs just started here that have not been seen yet: what each asks for, and how many.
    expected: BTreeMap<(String, String), (Resources, i64)>,
    pub signal: Option<Signal>,
    /// What its nodes and pods used lately, or why nobody says; `None`: nobody was asked.
    pub usage: Option<Result<Arc<UsageReport>, String>>,
    /// Its account, by work and node.
    pub books: Books,
    /// Whether embodied emissions are in its account.
    counts_embodied: bool,
}

/// What a pod holds, and whether it belongs to a Job of ours. Of bound ones the account knows it, of others [`Held`].
#[derive(Clone, Debug)]
struct Pod {
    node: Option<NodeName>,
    requests: Resources,
    ours: bool,
}

/// What pods hold, kept up to date by single changes: plans and starts ask often.
#[derive(Clone, Debug, Default)]
struct Held {
    /// Requests of pods that are not ours.
    others: Resources,
    /// Requests of pods bound to a node, in all and by node.
    bound: Resources,
    on: BTreeMap<NodeName, Resources>,
    /// Requests of pods that wait for a node, and whether they are ours.
    waiting: BTreeMap<Arc<str>, (Resources, bool)>,
}

impl Held {
    fn add(&mut self, name: &Arc<str>, pod: &Pod) {
        match &pod.node {
            Some(node) => {
                self.bound += pod.requests;
                *self.on.entry(node.clone()).or_default() += pod.requests;
            }
            None => {
                self.waiting.insert(name.clone(), (pod.requests, pod.ours));
            }
        }
        if !pod.ours {
            self.others += pod.requests;
        }
    }
    fn take(&mut self, name: &str, pod: &Pod) {
        match &pod.node {
            Some(node) => {
                self.bound = self.bound - pod.requests;
                if let Some(on) = self.on.get_mut(node) {
                    *on = *on - pod.requests;
                    if *on == Resources::ZERO {
                        self.on.remove(node);
                    }
                }
            }
            None => {
                self.waiting.remove(name);
            }
        }
        if !pod.ours {
            self.others = self.others - pod.requests;
        }
    }
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
    pub fn new(facts: ClusterFacts, now: Instant, counts_embodied: bool) -> Cluster {
        Cluster {
            counts_embodied,
            books: Books::new(facts.pue_milli, now),
            facts,
            reachable: true,
            silence: None,
            synced: false,
            leader: None,
            leader_since: None,
            nodes: BTreeMap::new(),
            held: Held::default(),
            runs: PodRuns::default(),
            ours: BTreeSet::new(),
            expected: BTreeMap::new(),
            signal: None,
            usage: None,
        }
    }

    /// What is configured about it, anew.
    pub fn set_facts(&mut self, facts: ClusterFacts) {
        self.books.running.set_pue(facts.pue_milli);
        self.facts = facts;
    }

    /// Whether it answers, from `now` on.
    pub fn answers(&mut self, reachable: Result<(), String>, now: Instant) {
        self.reachable = reachable.is_ok();
        let since = self.silence.take().map_or(now, |silence| silence.since);
        self.silence = reachable.err().map(|why| Silence { since, why });
        self.look();
    }
    /// Its first lists are complete.
    pub fn lists_complete(&mut self) {
        self.synced = true;
        self.look();
    }
    /// Who leads it, from `now` on. Nobody leads since nobody does, whatever the reason by now.
    pub fn led_by(&mut self, leader: Leader, now: Instant) {
        let same = match (&self.leader, &leader) {
            (Some(Leader::Nobody(_)), Leader::Nobody(_)) => true,
            (before, after) => before.as_ref() == Some(after),
        };
        self.leader_since = self.leader_since.filter(|_| same).or(Some(now));
        self.leader = Some(leader);
    }
    /// The intensity of its zone, from here on.
    pub fn set_signal(&mut self, signal: Signal) {
        self.books.running.set_intensity(signal.actual.clone());
        self.signal = Some(signal);
        self.look();
    }
    /// Whether what it does is counted from here on: not while nobody can say.
    pub(crate) fn look(&mut self) {
        self.books.running.see(self.reachable && self.synced && self.signal.is_some());
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
    /// Takes in a node as it is now; `None`: gone.
    pub fn see_node(&mut self, name: NodeName, now: Option<NodeObservation>) {
        match now {
            Some(observed) => self.nodes.insert(name.clone(), observed),
            None => self.nodes.remove(&name),
        };
        self.book_node(&name);
    }
    /// Takes in a pod as it is now; pods that hold nothing any more are forgotten. Says whether what
    /// other people's pods hold has changed.
    pub fn see_pod(&mut self, name: Arc<str>, now: Option<PodObservation>) -> bool {
        self.runs.see(&name, now.as_ref());
        let known = self.pod(&name);
        if known.is_none()
            && let Some(job) = now.as_ref().and_then(|seen| Some((seen.namespace.clone(), seen.job.clone()?)))
            && let Some((_, count)) = self.expected.get_mut(&job)
        {
            *count -= 1;
            if *count <= 0 {
                self.expected.remove(&job);
            }
        }
        let others = self.held.others;
        if let Some(pod) = &known {
            self.held.take(&name, pod);
        }
        if let Some(seen) = now.filter(|seen| seen.active) {
            let ours = seen.job.is_some_and(|job| self.ours.contains(&(seen.namespace.clone(), job)));
            // One copy of a node's name for all its pods.
            let node =
                seen.node.map(|node| self.nodes.get_key_value(&node).map_or(node, |(name, _)| name.clone()));
            let pod = Pod { node, requests: seen.requests, ours };
            self.held.add(&name, &pod);
            let load = PodLoad {
                requests: seen.requests,
                running: seen.running,
                managed: ours,
                used: self.use_of(&name),
            };
            let books = &mut self.books;
            let bound =
                pod.node.map(|node| (node, books.work(&seen.namespace, seen.owner, seen.labels), load));
            books.running.set_pod(name, bound);
        } else if known.is_some() {
            self.books.running.set_pod(name, None);
        }
        others != self.held.others
    }
    /// What a pod holds that is known and not ended.
    fn pod(&self, name: &str) -> Option<Pod> {
        if let Some((requests, ours)) = self.held.waiting.get(name) {
            return Some(Pod { node: None, requests: *requests, ours: *ours });
        }
        let (node, load) = self.books.running.pod(name)?;
        Some(Pod { node: Some(node.clone()), requests: load.requests, ours: load.managed })
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
            let pods: Vec<Arc<str>> = self.runs.pods(namespace, name).cloned().collect();
            for name in pods {
                let Some(pod) = self.pod(&name) else { continue };
                self.held.take(&name, &pod);
                self.held.add(&name, &Pod { ours: here, ..pod });
                self.books.running.change_pod(&name, |load| load.managed = here);
            }
        }
    }
    /// How the run of a Job began that is under way, or was its last.
    pub fn begun(&self, job: &Job) -> Option<Begun> {
        self.runs.begun(job)
    }
    /// Whether pods of a Job wait for a node.
    pub fn waits_for_node(&self, job: &Job) -> bool {
        let (namespace, name) = jobs::named(job);
        self.runs.pods(namespace, name).any(|pod| self.held.waiting.contains_key(pod))
    }
    /// Pods that wait for a node, and what each asks for.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, Resources)> {
        self.held.waiting.iter().map(|(pod, (requests, _))| (pod, *requests))
    }
    /// Requests of pods that are not ours and hold a place, or will.
    pub fn held_by_others(&self) -> Resources {
        self.held.others
    }
    /// Requests of all pods bound to a node.
    pub fn requested(&self) -> Resources {
        self.held.bound
    }
    /// What each ready, schedulable node has left now.
    pub fn room(&self) -> Vec<Resources> {
        let free = |(name, node): (&NodeName, &NodeObservation)| {
            node.allocatable.saturating_sub(self.held.on.get(name).copied().unwrap_or_default())
        };
        self.nodes.iter().filter(|(_, n)| n.ready && n.schedulable).map(free).collect()
    }
    /// Whether `count` pods of this size could be bound now: first fit over the nodes' free room, pods
    /// that wait for a node, or are expected, counted against it first.
    pub fn has_room_for(&self, pod: Resources, count: i64) -> bool {
        let mut room = self.room();
        let waiting = self.held.waiting.values().map(|(requests, _)| (*requests, 1));
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

    /// Brings the account up to `now`; what changes next changes then.
    pub fn advance(&mut self, now: Instant) {
        self.books.running.advance(now);
    }
    /// The report of use that counts now.
    fn report(&self) -> Option<&UsageReport> {
        self.usage.as_ref()?.as_ref().ok().filter(|_| !self.books.stale).map(Arc::as_ref)
    }
    /// Takes in what its nodes and pods used lately, or that nobody says any more. O(pods).
    pub fn take_usage(&mut self, report: Result<Arc<UsageReport>, String>) {
        self.usage = Some(report);
        self.books.stale = false;
        self.book_all();
    }
    /// A report that is too old says nothing any more: requests stand in again.
    pub fn forget_stale_usage(&mut self, now: Instant) {
        let old = self.report().is_some_and(|report| now - report.at > AGE_MAX);
        if old {
            self.books.stale = true;
            self.book_all();
        }
    }
    fn book_all(&mut self) {
        let nodes: Vec<NodeName> = self.nodes.keys().cloned().collect();
        nodes.iter().for_each(|node| self.book_node(node));
        let pods: Vec<Arc<str>> = self.books.running.pods().cloned().collect();
        for pod in pods {
            let used = self.use_of(&pod);
            self.books.running.change_pod(&pod, |load| load.used = used);
        }
    }
    fn book_node(&mut self, name: &NodeName) {
        let used = self.report().and_then(|report| report.nodes.get(name)).copied();
        let load = self.nodes.get(name).map(|node| NodeLoad {
            capacity: node.capacity,
            power: node.power,
            measured: used.and_then(|used| used.power),
            price: used.and_then(|used| used.price).unwrap_or(node.price),
            embodied: node.embodied.filter(|_| self.counts_embodied),
        });
        self.books.running.set_node(name, load);
    }
    /// What a pod was measured to use.
    fn use_of(&self, pod: &str) -> Option<Used> {
        let used = self.report()?.pods.get(pod)?;
        Some(Used { cpu: used.cpu, memory: used.memory, power: used.power })
    }
    /// Energy, carbon and money of the cluster since it was first seen.
    pub fn totals(&self, now: Instant) -> Option<Totals> {
        self.books.running.totals(now)
    }
    /// What flows now.
    pub fn draw(&self) -> Draw {
        let [idle, managed, other] = self.books.running.rates();
        Draw { idle, managed, other }
    }
    /// Who measured the use that counts now; `None`: requests stand for it.
    pub fn use_from(&self) -> Option<&Provenance> {
        self.report().map(|report| &report.from)
    }
}
