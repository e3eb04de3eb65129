//! Where pods would go: on nodes that are there or on their way, else on as few and as cheap new nodes as it takes.
//!
//! Pods are taken by what they ask for, the largest first. Each goes to the first node that takes it; else to a new node
//! that is planned already, those with the fewest pods first; else to another new one, of the first pool that may have
//! one. A planned node is not yet of one type: it keeps all that hold its pods, the cheapest first, and each further pod
//! narrows them. What else stands against a pod is asked of the scheduler's own filters, on the cheapest that is left.
//! Pods that found no place are tried again for as long as others find one. Method: `scheduling/scheduler.go` of
//! Karpenter 1.14. Left out: preferences, which the real one heeds first and drops one by one; a planned node is of one
//! zone from the beginning, the one with the fewest nodes of its pool that its first pod may go to.

use super::offer::{Offer, fits};
use crate::amounts::Amounts;
use crate::controllers::scheduler::{Asking, Simulation};
use fleet::NodeGroup;
use fleet::karpenter::NodePool;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A pod that needs a place.
pub(super) struct Wanting {
    pub(super) pod: Pod,
    asking: Asking,
    /// Whether it may go to nodes that are left alone because pods came or went a short while ago.
    anywhere: bool,
}

impl Wanting {
    /// `None`: nobody would place it.
    pub(super) fn new(simulation: &mut Simulation, pod: &Pod, anywhere: bool) -> Option<Wanting> {
        let asking = simulation.asking(pod)?;
        Some(Wanting { pod: pod.clone(), asking, anywhere })
    }
    /// The order in which they are taken.
    fn before(&self, other: &Wanting) -> std::cmp::Ordering {
        let (own, others) = (self.asking.request(), other.asking.request());
        let created = |pod: &Wanting| pod.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (others.cpu_millis, others.memory_bytes)
            .cmp(&(own.cpu_millis, own.memory_bytes))
            .then_with(|| created(self).cmp(&created(other)))
            .then_with(|| self.pod.metadata.uid.cmp(&other.pod.metadata.uid))
    }
}

/// A node that pods may go to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Target {
    pub(super) is_initialized: bool,
    /// Whether it is left alone for a while.
    pub(super) rests: bool,
}

/// A pool, and what it may still have.
pub(super) struct Source<'a> {
    pub(super) pool: &'a NodePool,
    /// The cheapest first.
    pub(super) offers: &'a [Offer<'a>],
    /// Thousandths of a core, bytes and nodes that its limits leave.
    pub(super) left: [Option<i64>; 3],
    /// Its nodes by zone.
    pub(super) zones: BTreeMap<String, usize>,
}

fn size(group: &NodeGroup) -> [i64; 3] {
    [group.vcpu * 1000, group.memory.as_bytes(), 1]
}

impl Source<'_> {
    /// Places in `offers` that its limits leave.
    fn within_limits(&self) -> Vec<usize> {
        let within = |i: &usize| {
            let sizes = size(self.offers[*i].group);
            self.left.iter().zip(sizes).all(|(left, size)| left.is_none_or(|left| size <= left))
        };
        (0..self.offers.len()).filter(within).collect()
    }
    /// Zones of its offers, those with the fewest of its nodes first.
    fn zones(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.offers.iter().flat_map(|offer| &offer.group.zones).collect();
        let mut all: Vec<String> = all.into_iter().cloned().collect();
        all.sort_by_key(|zone| self.zones.get(zone).copied().unwrap_or(0));
        all
    }
    /// A node is planned that may be any of these. What it will be is not known, so that the largest counts.
    fn take(&mut self, options: &[usize], zone: &str) {
        let mut largest = [0; 3];
        for i in options {
            for (most, size) in largest.iter_mut().zip(size(self.offers[*i].group)) {
                *most = size.max(*most);
            }
        }
        for (left, size) in self.left.iter_mut().zip(largest) {
            *left = left.map(|left| left - size);
        }
        *self.zones.entry(zone.to_owned()).or_default() += 1;
    }
}

/// A node that is planned.
struct Planned {
    source: usize,
    /// Places in the offers of its pool, the cheapest first.
    options: Vec<usize>,
    zone: String,
    name: String,
    asked: Amounts,
    pods: Vec<usize>,
}

/// What came of it.
pub(super) struct Packed<'a> {
    /// Where pods go that are there or on their way: by node, places in `pods`.
    pub(super) existing: BTreeMap<Arc<str>, Vec<usize>>,
    pub(super) new: Vec<NewNode<'a>>,
    /// Pods without a place, and why.
    pub(super) failed: BTreeMap<usize, String>,
    pub(super) pods: Vec<Wanting>,
}

/// A node to be asked for.
#[derive(Clone)]
pub(super) struct NewNode<'a> {
    pub(super) pool: &'a NodePool,
    /// What it may be, the cheapest first.
    pub(super) options: Vec<&'a NodeGroup>,
    pub(super) zone: String,
    /// Places in `pods`.
    pub(super) pods: Vec<usize>,
}

/// The packing of some pods.
pub(super) struct Packer<'a> {
    simulation: Simulation,
    targets: &'a BTreeMap<Arc<str>, Target>,
    sources: Vec<Source<'a>>,
    pods: Vec<Wanting>,
    planned: Vec<Planned>,
    existing: BTreeMap<Arc<str>, Vec<usize>>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(
        simulation: Simulation,
        targets: &'a BTreeMap<Arc<str>, Target>,
        sources: Vec<Source<'a>>,
        mut pods: Vec<Wanting>,
    ) -> Packer<'a> {
        pods.sort_by(Wanting::before);
        let (planned, existing) = (Vec::new(), BTreeMap::new());
        Packer { simulation, targets, sources, pods, planned, existing }
    }
    /// Packs them.
    pub(super) fn pack(mut self) -> Packed<'a> {
        let mut queue: VecDeque<usize> = (0..self.pods.len()).collect();
        let mut failed: BTreeMap<usize, String> = BTreeMap::new();
        // How many waited when a pod was last put back; as many now: none found a place meanwhile.
        let mut waited: BTreeMap<usize, usize> = BTreeMap::new();
        while let Some(pod) = queue.front().copied() {
            if waited.get(&pod) == Some(&queue.len()) {
                break;
            }
            queue.pop_front();
            match self.add(pod) {
                Ok(()) => drop(failed.remove(&pod)),
                Err(why) => {
                    failed.insert(pod, why);
                    queue.push_back(pod);
                    waited.insert(pod, queue.len());
                }
            }
        }
        let sources = self.sources;
        let new = self.planned.into_iter().map(|planned| {
            let source = &sources[planned.source];
            let options = planned.options.iter().map(|i| source.offers[*i].group).collect();
            NewNode { pool: source.pool, options, zone: planned.zone, pods: planned.pods }
        });
        Packed { existing: self.existing, new: new.collect(), failed, pods: self.pods }
    }
    fn add(&mut self, pod: usize) -> Result<(), String> {
        if self.add_to_existing(pod) {
            return Ok(());
        }
        let mut order: Vec<usize> = (0..self.planned.len()).collect();
        order.sort_by_key(|planned| self.planned[*planned].pods.len());
        for planned in order {
            if self.add_to_planned(planned, pod).is_ok() {
                return Ok(());
            }
        }
        let mut against = Vec::new();
        for source in 0..self.sources.len() {
            match self.add_to_new(source, pod) {
                Ok(()) => return Ok(()),
                Err(why) => against.push(why),
            }
        }
        Err(against.join("; "))
    }
    fn add_to_existing(&mut self, pod: usize) -> bool {
        let Wanting { asking, anywhere, .. } = &self.pods[pod];
        for initialized in [true, false] {
            self.simulation.rewind();
            let may = |name: &str| {
                let target = self.targets.get(name);
                target.is_some_and(|t| t.is_initialized == initialized && (*anywhere || !t.rests))
            };
            if let Some(node) = self.simulation.first_fit(asking, &may) {
                self.simulation.place(&node, asking);
                self.existing.entry(node).or_default().push(pod);
                return true;
            }
        }
        false
    }
    /// Which of some offers hold so much and have the labels a pod wants; if none, why not.
    fn holding(
        &self,
        source: usize,
        of: &[usize],
        zone: &str,
        asked: &Amounts,
        pod: usize,
    ) -> Result<Vec<usize>, String> {
        let offers = self.sources[source].offers;
        let large: Vec<usize> = of.iter().copied().filter(|i| fits(asked, &offers[*i].room)).collect();
        if large.is_empty() {
            return Err("no instance type has enough resources".to_owned());
        }
        let asking = &self.pods[pod].asking;
        let suits = |i: &usize| asking.goes_anywhere() || asking.may_be_on("", &offers[*i].labels(zone));
        let left: Vec<usize> = large.into_iter().filter(suits).collect();
        if left.is_empty() {
            return Err("no instance type has the labels it asks for".to_owned());
        }
        Ok(left)
    }
    fn add_to_planned(&mut self, at: usize, pod: usize) -> Result<(), String> {
        let planned = &self.planned[at];
        let mut asked = planned.asked.clone();
        asked.add(self.pods[pod].asking.request());
        let left = self.holding(planned.source, &planned.options, &planned.zone, &asked, pod)?;
        let offers = self.sources[planned.source].offers;
        let (before, after) = (&offers[planned.options[0]], &offers[left[0]]);
        let place = (planned.name.as_str(), planned.zone.as_str());
        let (asking, changes) = (&self.pods[pod].asking, planned.options[0] != left[0]);
        if changes {
            before.clear(&mut self.simulation, place.0);
            after.put(&mut self.simulation, place, &|_| false);
        }
        let against = self.simulation.against(asking, place.0);
        if !against.is_empty() {
            if changes {
                after.clear(&mut self.simulation, place.0);
                before.put(&mut self.simulation, place, &|_| false);
            }
            return Err(against.join(", "));
        }
        self.simulation.place(place.0, asking);
        let planned = &mut self.planned[at];
        (planned.asked, planned.options) = (asked, left);
        planned.pods.push(pod);
        Ok(())
    }
    fn add_to_new(&mut self, source: usize, pod: usize) -> Result<(), String> {
        let pool = &self.sources[source].pool.name;
        let wrong = |why: &str| format!("incompatible with nodepool {pool:?}, {why}");
        let options = self.sources[source].within_limits();
        if options.is_empty() {
            return Err(match self.sources[source].offers.is_empty() {
                true => wrong("no instance type is to be had"),
                false => wrong("all available instance types exceed limits"),
            });
        }
        let asked = self.pods[pod].asking.request().clone();
        let mut why = None;
        for zone in self.sources[source].zones() {
            let left = match self.holding(source, &options, &zone, &asked, pod) {
                Ok(left) => left,
                Err(reason) => {
                    why.get_or_insert(reason);
                    continue;
                }
            };
            let name = format!("karpenter-new-{}", self.planned.len());
            let offer = &self.sources[source].offers[left[0]];
            offer.put(&mut self.simulation, (&name, &zone), &|_| false);
            let asking = &self.pods[pod].asking;
            let against = self.simulation.against(asking, &name);
            if against.is_empty() {
                self.simulation.place(&name, asking);
                self.sources[source].take(&left, &zone);
                let pods = vec![pod];
                self.planned.push(Planned { source, options: left, zone, name, asked, pods });
                return Ok(());
            }
            offer.clear(&mut self.simulation, &name);
            self.simulation.remove_node(&name);
            why = Some(against.join(", "));
        }
        Err(wrong(&why.unwrap_or_else(|| "it has no zone".to_owned())))
    }
}
