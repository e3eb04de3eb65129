//! Who bears what of one cluster: power and money of each node shared by its pods, what is idle, and what is shared.
//!
//! The rule is OpenCost's (docs/specification.md of opencost-website at 6bdcb9e; core/pkg/opencost/allocation.go of
//! opencost at 5f65333): a pod holds the larger of request and use, of CPU and of memory, from when it is bound to a
//! node. A node's price is split between CPU, memory and GPUs in the ratio of OpenCost's default prices
//! ([`CPU_WEIGHT`], [`MEMORY_WEIGHT`], [`GPU_WEIGHT`]), and each pod bears what it holds. The rest is idle. Where pods hold more
//! than the node has, they share its price in proportion, and nothing is idle.
//!
//! Power: a running pod bears what was measured for it, else the node's dynamic power by the CPU it uses
//! (requests stand in where use is not measured). What the node draws beyond that is idle: its idle power, or where
//! the machine's power is measured, the rest of it. The facility's PUE multiplies all of it. Embodied emissions, where they are
//! counted, are borne as the price is, and PUE does not multiply them.
//!
//! *Shared* is what pods of the system's namespaces (`kube-…`) and of DaemonSets bear, and static pods of nodes.
//!
//! Invariants: sums are exact ([`crate::meter`]), so pods and idle sum to the nodes to the last unit; a pod's change costs
//! O(log n), or O(pods on its node) where that holds more than it has; what is not seen is not counted. Left out: fees of control
//! planes, volumes, load balancers and traffic.

use crate::labels::Labels;
use crate::meter::{Amounts, Clock, Integral, Rate, Sums, Totals, rounded, rounded_to};
use fleet::{
    Bytes, Cpu, GramsCo2PerHour, GramsCo2PerKwh, Instant, MoneyPerHour, NodeName, NodePower, Resources,
    Series, Watts,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Weight of a vCPU: OpenCost's default price, 0.031611 USD an hour, in 10⁻⁶ USD. Only ratios count.
pub const CPU_WEIGHT: i128 = 31_611;
/// Weight of a GiB of memory: 0.004237 USD an hour, in 10⁻⁶ USD.
pub const MEMORY_WEIGHT: i128 = 4_237;
/// Weight of a GPU: 0.95 USD an hour, in 10⁻⁶ USD.
pub const GPU_WEIGHT: i128 = 950_000;
/// Most stretches of seen time kept apart within an hour; what follows is added to the last.
pub const STRETCHES_MAX: usize = 16;
/// Names of namespaces that begin so are the system's.
const SYSTEM_PREFIX: &str = "kube-";
/// Kind of what stands for several small owners that are shared.
pub const SHARED_KIND: &str = "shared";

/// How the figures are come by.
const METHOD: &str = "pods bear the larger of request and use of their node's price, split between CPU, memory and GPUs as OpenCost's \
default prices are (0.031611 a vCPU, 0.004237 a GiB, 0.95 a GPU); power above idle by CPU used, PUE included, measured where a meter says; \
the rest is idle; shared: namespaces kube-*, DaemonSets and static pods; carbon: that energy times the zone's intensity at the time; \
control planes' fees, volumes and traffic are not in it";

/// What is added to [`METHOD`] where embodied emissions are counted, and where they are not.
const EMBODIED_METHODS: [&str; 2] = [
    "; embodied emissions are not in it",
    "; embodied emissions of the nodes stand apart, borne as the price is: gCO2e per hour of the instance (amortised over 4 years \
where the built-in table states it), unknown ones as none",
];

/// How the figures are come by, in words, with or without embodied emissions.
pub fn method(embodied: bool) -> String {
    format!("{METHOD}{}", EMBODIED_METHODS[usize::from(embodied)])
}

/// What a pod belongs to: the controller a person wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, `Node` (static pods), `Pod` (bare ones)…
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// `Deployment/web`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Pods that are accounted for together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// Their namespace.
    pub namespace: Arc<str>,
    /// What they belong to.
    pub owner: Owner,
    /// Their labels.
    pub labels: Arc<Labels>,
}

impl Work {
    /// Whether it serves the cluster, so that all who use it bear it.
    pub fn shared(&self) -> bool {
        self.namespace.starts_with(SYSTEM_PREFIX)
            || matches!(&*self.owner.kind, "DaemonSet" | "Node" | SHARED_KIND)
    }
}

/// A node, as far as it is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLoad {
    /// What the machine has.
    pub capacity: Resources,
    /// Its power at no load and with every vCPU busy, at the server.
    pub power: NodePower,
    /// Power of the whole machine, where it is measured, at the server.
    pub measured: Option<Watts>,
    /// What it costs.
    pub price: MoneyPerHour,
    /// What it embodies, amortised; `None`: unknown, or not counted.
    pub embodied: Option<GramsCo2PerHour>,
}

/// What a pod really uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// CPU.
    pub cpu: Cpu,
    /// Memory, as working set.
    pub memory: Bytes,
    /// Power above the node's idle power, at the server, where it is measured.
    pub power: Option<Watts>,
}

/// A pod on a node, as far as it is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodLoad {
    /// What it asks for.
    pub requests: Resources,
    /// Whether its containers run.
    pub running: bool,
    /// Whether it belongs to a Job of ours.
    pub managed: bool,
    /// What it uses, where that is measured; else requests stand for it.
    pub used: Option<Used>,
}

impl PodLoad {
    fn cpu_used(&self) -> Cpu {
        let stands_in = if self.running { self.requests.cpu } else { Cpu::ZERO };
        self.used.map_or(stands_in, |used| used.cpu)
    }
    fn memory_used(&self) -> Bytes {
        let stands_in = if self.running { self.requests.memory } else { Bytes::ZERO };
        self.used.map_or(stands_in, |used| used.memory)
    }
    /// The larger of request and use.
    fn held(&self) -> Resources {
        let used = self.used.map_or(Resources::ZERO, |used| Resources {
            cpu: used.cpu,
            memory: used.memory,
            ..Resources::ZERO
        });
        self.requests.max(used)
    }
}

/// What an amount weighs in a node's price. Microcores and KiB: far finer than anybody asks for.
fn weight(amount: Resources) -> i128 {
    const MICROCORES: i128 = 1_000_000;
    const KIB: i128 = 1 << 20;
    let cpu = i128::from(amount.cpu.as_nanos() / 1000) * CPU_WEIGHT * KIB;
    let memory = i128::from(amount.memory.as_bytes() >> 10) * MEMORY_WEIGHT * MICROCORES;
    cpu + memory + i128::from(amount.gpu) * GPU_WEIGHT * KIB * MICROCORES
}

/// Time that was seen without a break, `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stretch {
    /// From.
    pub from: Instant,
    /// Until.
    pub to: Instant,
}

#[derive(Clone, Debug)]
struct Pod {
    node: NodeName,
    work: Arc<Work>,
    load: PodLoad,
    rate: Rate,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// `None`: not seen yet, or gone; pods on it wait for it.
    load: Option<NodeLoad>,
    pods: BTreeSet<Arc<str>>,
    /// What its pods hold, by [`weight`].
    held: i128,
    busy: Integral,
    idle: Integral,
}

#[derive(Clone, Debug, Default)]
struct Row {
    flow: Integral,
    pods: usize,
}

/// What flowed in a part of the time, in units.
#[derive(Clone, Debug, PartialEq)]
pub struct Hour {
    /// When it was seen.
    pub seen: Vec<Stretch>,
    /// Mean intensity over that time.
    pub intensity: GramsCo2PerKwh,
    /// By work.
    pub rows: Vec<(Arc<Work>, Amounts)>,
    /// What nobody bears; with the rows it sums to all.
    pub idle: Amounts,
    /// By node: what its pods bear, and what is idle. They sum to all as well.
    pub nodes: Vec<(NodeName, Amounts, Amounts)>,
}

/// One cluster's running account.
#[derive(Clone, Debug)]
pub struct Allocation {
    pue_milli: i64,
    at: Instant,
    clock: Clock,
    intensity: Option<Series>,
    seeing: bool,
    seen: Vec<Stretch>,
    /// The clock when the stretches began.
    begun: Clock,
    first: Option<Instant>,
    pods: BTreeMap<Arc<str>, Pod>,
    nodes: BTreeMap<NodeName, Node>,
    rows: BTreeMap<Arc<Work>, Row>,
    idle: Integral,
    managed: Integral,
    other: Integral,
}

impl Allocation {
    /// Of a cluster with this facility factor, in thousandths. Nothing is counted until it is [seen](Allocation::see).
    pub fn new(pue_milli: i64) -> Allocation {
        Allocation {
            pue_milli,
            at: Instant::EPOCH,
            clock: Clock::default(),
            intensity: None,
            seeing: false,
            seen: Vec::new(),
            begun: Clock::default(),
            first: None,
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            rows: BTreeMap::new(),
            idle: Integral::default(),
            managed: Integral::default(),
            other: Integral::default(),
        }
    }

    fn clock_at(&self, now: Instant) -> Clock {
        let mut clock = self.clock;
        if self.seeing && now > self.at {
            clock.seen_ns += i128::from((now - self.at).as_nanos());
            clock.dose += self.intensity.as_ref().map_or(0, |series| series.dose(self.at, now));
        }
        clock
    }

    /// Brings the clock to `now`; what changes next changes then. Time never runs backwards.
    pub fn advance(&mut self, now: Instant) {
        if now <= self.at {
            return;
        }
        self.clock = self.clock_at(now);
        self.at = now;
        if let Some(last) = self.seen.last_mut().filter(|_| self.seeing) {
            last.to = now;
        }
    }

    /// From here on this is the intensity.
    pub fn set_intensity(&mut self, series: Series) {
        self.intensity = Some(series);
    }

    /// Whether the cluster is seen from here on: what it does meanwhile is counted, and nothing else.
    pub fn see(&mut self, seeing: bool) {
        if seeing && !self.seeing {
            self.first = self.first.or(Some(self.at));
            let goes_on = self.seen.last().is_some_and(|last| last.to == self.at);
            if !goes_on && self.seen.len() < STRETCHES_MAX {
                self.seen.push(Stretch { from: self.at, to: self.at });
            }
        }
        self.seeing = seeing;
    }

    /// Another facility factor, from here on: O(pods) where it differs.
    pub fn set_pue(&mut self, pue_milli: i64) {
        if std::mem::replace(&mut self.pue_milli, pue_milli) != pue_milli {
            let all: Vec<NodeName> = self.nodes.keys().cloned().collect();
            all.iter().for_each(|node| self.reckon(node));
        }
    }

    /// A node as it is from here on; `None`: gone. O(pods on it).
    pub fn set_node(&mut self, name: &NodeName, load: Option<NodeLoad>) {
        let clock = self.clock;
        let node = self.nodes.entry(name.clone()).or_insert_with(|| Node {
            busy: Integral::new(clock),
            idle: Integral::new(clock),
            ..Node::default()
        });
        if node.load != load {
            node.load = load;
            self.reckon(name);
        }
    }

    /// A pod as it is from here on, where it is bound to a node; `None`: it holds nothing any more.
    pub fn set_pod<N: AsRef<str> + Into<Arc<str>>>(
        &mut self,
        pod: N,
        now: Option<(NodeName, Arc<Work>, PodLoad)>,
    ) {
        let name = pod.as_ref();
        let unchanged = |pod: &Pod| {
            now.as_ref().is_some_and(|(n, w, l)| *n == pod.node && *w == pod.work && *l == pod.load)
        };
        if self.pods.get(name).is_some_and(unchanged) {
            return;
        }
        if let Some((key, pod)) = self.pods.remove_entry(name) {
            self.flow(&pod, pod.rate, Rate::default());
            if let Some(row) = self.rows.get_mut(&pod.work) {
                row.pods -= 1;
            }
            if let Some(node) = self.nodes.get_mut(&pod.node) {
                node.pods.remove(&key);
                self.weigh(&pod.node, -weight(pod.load.held()), None);
            }
        }
        let Some((node, work, load)) = now else { return };
        let (clock, key): (Clock, Arc<str>) = (self.clock, pod.into());
        let fresh = || Row { flow: Integral::new(clock), pods: 0 };
        self.rows.entry(work.clone()).or_insert_with(fresh).pods += 1;
        self.pods.insert(key.clone(), Pod { node: node.clone(), work, load, rate: Rate::default() });
        if !self.nodes.contains_key(&node) {
            self.set_node(&node, None);
        }
        if let Some(there) = self.nodes.get_mut(&node) {
            there.pods.insert(key.clone());
        }
        self.weigh(&node, weight(load.held()), Some(&key));
    }

    /// The same pod on the same node, changed so; nothing where there is none of that name.
    pub fn change_pod(&mut self, name: &Arc<str>, change: impl FnOnce(&mut PodLoad)) {
        let Some(pod) = self.pods.get(name) else { return };
        let (node, work, mut load) = (pod.node.clone(), pod.work.clone(), pod.load);
        change(&mut load);
        self.set_pod(name.clone(), Some((node, work, load)));
    }

    /// A pod that is bound to a node: where, and what is known of it.
    pub fn pod(&self, name: &str) -> Option<(&NodeName, &PodLoad)> {
        self.pods.get(name).map(|pod| (&pod.node, &pod.load))
    }

    /// Names of the pods that are bound to a node.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<str>> {
        self.pods.keys()
    }

    /// More or less is held on a node. Others' shares change only where that is, or was, more than it has.
    fn weigh(&mut self, name: &NodeName, more: i128, only: Option<&str>) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let before = node.held;
        node.held += more;
        let has = node.load.map_or(i128::MAX, |load| weight(load.capacity));
        if before.max(node.held) > has {
            self.reckon(name);
            return;
        }
        if let Some(pod) = only {
            self.share(name, pod);
        }
        self.rest(name);
    }

    /// Every share of a node anew.
    fn reckon(&mut self, name: &NodeName) {
        let pods: Vec<Arc<str>> =
            self.nodes.get(name).into_iter().flat_map(|node| node.pods.iter().cloned()).collect();
        pods.iter().for_each(|pod| self.share(name, pod));
        self.rest(name);
    }

    /// What a pod bears.
    fn share(&mut self, name: &NodeName, key: &str) {
        let (Some(node), Some(pod)) = (self.nodes.get(name), self.pods.get_mut(key)) else { return };
        let rate =
            node.load.map_or(Rate::default(), |load| borne(&load, &pod.load, node.held, self.pue_milli));
        if rate != pod.rate {
            let before = std::mem::replace(&mut pod.rate, rate);
            let pod = pod.clone();
            self.flow(&pod, before, rate);
        }
    }

    /// Another rate flows to the work, the node and the part a pod belongs to.
    fn flow(&mut self, pod: &Pod, before: Rate, now: Rate) {
        let clock = self.clock;
        let part = if pod.load.managed { &mut self.managed } else { &mut self.other };
        let node = self.nodes.get_mut(&pod.node).map(|node| &mut node.busy);
        let row = self.rows.get_mut(&pod.work).map(|row| &mut row.flow);
        for flow in [Some(part), node, row].into_iter().flatten() {
            flow.set(clock, flow.rate() - before + now);
        }
    }

    /// What is left of a node is idle.
    fn rest(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let (clock, busy) = (self.clock, node.busy.rate());
        let idle = node.load.map_or(Rate::default(), |load| {
            let drawn =
                load.measured.map(|watts| watts.scaled(self.pue_milli, 1000).saturating_sub(busy.power));
            Rate {
                power: drawn.unwrap_or(load.power.idle.scaled(self.pue_milli, 1000)),
                price: load.price - busy.price,
                cpu_requested: load.capacity.cpu - busy.cpu_requested,
                cpu_used: load.capacity.cpu - busy.cpu_used,
                cpu_measured: Cpu::ZERO,
                memory_requested: load.capacity.memory - busy.memory_requested,
                memory_used: load.capacity.memory - busy.memory_used,
                embodied: load.embodied.unwrap_or_default() - busy.embodied,
            }
        });
        self.idle.set(clock, self.idle.rate() - node.idle.rate() + idle);
        node.idle.set(clock, idle);
    }

    /// What flows now: idle, Jobs of ours, all other pods.
    pub fn rates(&self) -> [Rate; 3] {
        [self.idle.rate(), self.managed.rate(), self.other.rate()]
    }
    /// What flows now to each piece of work that has pods.
    pub fn row_rates(&self) -> impl Iterator<Item = (&Arc<Work>, Rate)> {
        self.rows.iter().filter(|(_, row)| row.pods > 0).map(|(work, row)| (work, row.flow.rate()))
    }
    /// What flows now on each node: to its pods, and idle.
    pub fn node_rates(&self) -> impl Iterator<Item = (&NodeName, Rate, Rate)> {
        let there = self.nodes.iter().filter(|(_, node)| node.load.is_some());
        there.map(|(name, node)| (name, node.busy.rate(), node.idle.rate()))
    }
    /// What flows now to each pod, with its node and work.
    pub fn pod_rates(&self) -> impl Iterator<Item = (&Arc<str>, &NodeName, &Arc<Work>, Rate)> {
        self.pods.iter().map(|(name, pod)| (name, &pod.node, &pod.work, pod.rate))
    }

    /// What was counted since it was first seen; `None` before that.
    pub fn totals(&self, now: Instant) -> Option<Totals> {
        let clock = self.clock_at(now);
        let parts = rounded(&[self.idle.read(clock), self.managed.read(clock), self.other.read(clock)]);
        let [idle, managed, other] = [0, 1, 2].map(|i| parts[i].footprint());
        let cost = idle.cost + managed.cost + other.cost;
        Some(Totals { from: self.first?, to: now.max(self.at), idle, managed, other, cost })
    }

    /// What flowed since the last [`Allocation::close`], up to `now`; `None` where nothing was seen.
    pub fn hour(&self, now: Instant) -> Option<Hour> {
        let clock = self.clock_at(now);
        let mut seen = self.seen.clone();
        if let Some(last) = seen.last_mut().filter(|_| self.seeing) {
            last.to = last.to.max(now);
        }
        let rows = self.rows.iter().map(|(work, row)| (work.clone(), row.flow.read(clock))).collect();
        let nodes = self.nodes.iter().map(|(name, n)| (name.clone(), n.busy.read(clock), n.idle.read(clock)));
        self.made(seen, clock, rows, nodes.collect())
    }

    /// Takes out what [`Allocation::hour`] says, and begins anew at `now`, which must not lie before the last change.
    pub fn close(&mut self, now: Instant) -> Option<Hour> {
        self.advance(now);
        let clock = self.clock;
        let rows = self.rows.iter_mut().map(|(work, row)| (work.clone(), row.flow.take(clock))).collect();
        let nodes =
            self.nodes.iter_mut().map(|(name, n)| (name.clone(), n.busy.take(clock), n.idle.take(clock)));
        let nodes = nodes.collect();
        let mut seen = std::mem::take(&mut self.seen);
        seen.retain(|stretch| stretch.to > stretch.from);
        if self.seeing {
            self.seen.push(Stretch { from: self.at, to: self.at });
        }
        let hour = self.made(seen, clock, rows, nodes);
        self.begun = clock;
        self.rows.retain(|_, row| row.pods > 0);
        self.nodes.retain(|_, node| node.load.is_some() || !node.pods.is_empty());
        hour
    }

    fn made(
        &self,
        mut seen: Vec<Stretch>,
        clock: Clock,
        rows: Vec<(Arc<Work>, Sums)>,
        nodes: Vec<(NodeName, Sums, Sums)>,
    ) -> Option<Hour> {
        seen.retain(|stretch| stretch.to > stretch.from);
        let span = clock.seen_ns - self.begun.seen_ns;
        if span <= 0 {
            return None;
        }
        let mean = (clock.dose - self.begun.dose + span / 2) / span;
        // Rows first and idle after them; nodes are brought to the same sums, each part by itself.
        let idle: Sums = nodes.iter().map(|(_, _, idle)| *idle).sum();
        let exact: Vec<Sums> = rows.iter().map(|(_, sums)| *sums).chain([idle]).collect();
        let mut amounts = rounded(&exact);
        let idle = amounts.pop().unwrap_or_default();
        let busy: Amounts = amounts.iter().copied().sum();
        let busy = rounded_to(&nodes.iter().map(|n| n.1).collect::<Vec<_>>(), busy);
        let rest = rounded_to(&nodes.iter().map(|n| n.2).collect::<Vec<_>>(), idle);
        let rows = rows.into_iter().map(|(work, _)| work).zip(amounts);
        let nodes = nodes.into_iter().zip(busy).zip(rest).map(|((n, busy), rest)| (n.0, busy, rest));
        Some(Hour {
            seen,
            intensity: GramsCo2PerKwh::from_milligrams(mean as i64),
            rows: rows.filter(|(_, a)| *a != Amounts::default()).collect(),
            idle,
            nodes: nodes.filter(|(_, a, b)| (*a, *b) != Default::default()).collect(),
        })
    }

    /// Goes on from what was counted of this hour before, by a process that has ended.
    pub fn resume(&mut self, before: &Hour) {
        let clock = self.clock;
        for (work, amounts) in &before.rows {
            let fresh = || Row { flow: Integral::new(clock), pods: 0 };
            self.rows.entry(work.clone()).or_insert_with(fresh).flow.add(Sums::of(*amounts));
        }
        for (name, busy, idle) in &before.nodes {
            let node = self.nodes.entry(name.clone()).or_insert_with(|| Node {
                busy: Integral::new(clock),
                idle: Integral::new(clock),
                ..Node::default()
            });
            node.busy.add(Sums::of(*busy));
            node.idle.add(Sums::of(*idle));
        }
        let mut seen = before.seen.clone();
        let span: i128 = seen.iter().map(|s| i128::from((s.to - s.from).as_nanos())).sum();
        seen.append(&mut self.seen);
        while seen.len() > STRETCHES_MAX {
            let last = seen.pop();
            if let (Some(last), Some(before)) = (last, seen.last_mut()) {
                before.to = last.to;
            }
        }
        self.seen = seen;
        self.begun.seen_ns -= span;
        self.begun.dose -= span * i128::from(before.intensity.as_milligrams());
    }
}

/// What a pod bears on a node where `held` is held in all.
fn borne(node: &NodeLoad, pod: &PodLoad, held: i128, pue_milli: i64) -> Rate {
    let used = pod.cpu_used();
    let drawn = match pod.used.and_then(|used| used.power) {
        Some(watts) => watts,
        None if pod.running => node.power.dynamic(used.as_nanos(), node.capacity.cpu.as_nanos()),
        None => Watts::ZERO,
    };
    let whole = weight(node.capacity).max(held).max(1);
    let holds = weight(pod.held());
    let share = |amount: i64| (i128::from(amount) * holds / whole) as i64;
    Rate {
        power: drawn.scaled(pue_milli, 1000),
        price: MoneyPerHour::from_nanos(share(node.price.as_nanos())),
        cpu_requested: pod.requests.cpu,
        cpu_used: used,
        cpu_measured: if pod.used.is_some() { used } else { Cpu::ZERO },
        memory_requested: pod.requests.memory,
        memory_used: pod.memory_used(),
        embodied: GramsCo2PerHour::from_micrograms(share(node.embodied.unwrap_or_default().as_micrograms())),
    }
}
