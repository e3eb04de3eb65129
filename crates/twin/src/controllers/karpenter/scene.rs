//! What one look is made on: a copy of what the scheduler knows, without nodes that go and with those that come, and what
//! the pools may still ask for.

use super::NodeClaims;
use super::offer::Offer;
use super::packing::{Packed, Packer, Source, Target, Wanting};
use super::pods::Pods;
use crate::cloud::{Cloud, Machine, Stage};
use crate::controllers::Cx;
use crate::controllers::owned::controller;
use crate::controllers::phase;
use crate::controllers::scheduler::{Scheduler, Simulation};
use crate::kind::Kind;
use fleet::karpenter::{Karpenter, NodePool};
use fleet::{Instant, NodeGroup};
use k8s_openapi::api::core::v1::Pod;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Until when offerings are not to be had, by group.
pub(super) type Unavailable = BTreeMap<Arc<str>, Instant>;

/// A look.
pub(super) struct Scene<'a> {
    pub(super) pods: Pods<'a>,
    simulation: Simulation,
    targets: BTreeMap<Arc<str>, Target>,
    /// What may be asked for, by pool; worked out when it is first asked for.
    offers: OnceCell<Vec<Vec<Offer<'a>>>>,
    cx: &'a Cx<'a>,
    unavailable: &'a Unavailable,
    /// Pods of nodes that go.
    leaving: Vec<&'a Pod>,
    /// Pool, group and zone of each node that stays or comes.
    machines: BTreeMap<Arc<str>, (&'a NodePool, &'a NodeGroup, String)>,
    pub(super) set: &'a Karpenter,
}

/// The machine of a node, unless it is on its way out.
pub(super) fn machine<'a>(cloud: &'a Cloud, name: &str) -> Option<&'a Machine> {
    cloud.machines().get(name).filter(|machine| machine.stage != Stage::Leaving)
}

impl<'a> Scene<'a> {
    /// `None`: Karpenter is not there.
    pub(super) fn new(
        cx: &'a Cx<'a>,
        cloud: &Cloud,
        scheduler: &mut Scheduler,
        (claims, unavailable): (&NodeClaims, &'a Unavailable),
    ) -> Option<Scene<'a>> {
        let set = cx.spec.karpenter.as_ref()?;
        let pods = Pods::new(cx.objects, cx.now);
        let mut simulation = scheduler.simulation(cx);
        let (mut targets, mut leaving, mut machines) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for stored in cx.objects.list(Kind::Node, None) {
            targets.insert(Arc::from(stored.object.name()), Target { is_initialized: true, rests: false });
        }
        for (name, claim) in claims {
            let Some(machine) = machine(cloud, name).filter(|_| !claim.is_deleting()) else {
                targets.remove(name);
                leaving.extend(pods.leaving(name));
                pods.on(name)
                    .iter()
                    .for_each(|pod| simulation.release(pod.metadata.uid.as_deref().unwrap_or_default()));
                simulation.remove_node(name);
                continue;
            };
            let (Some(pool), Some(group)) = (set.pool(&claim.pool), cx.spec.group(&machine.group)) else {
                continue;
            };
            if claim.initialized.is_none() {
                let has = |set: &str| {
                    let of_set = |pod: &&Pod| controller(&pod.metadata).is_some_and(|owner| owner.uid == set);
                    pods.on(name).iter().any(of_set)
                };
                Offer::new(cx, group).put(&mut simulation, (name, &machine.zone), &has);
            }
            let rests = claim.rests(pool, cx.now);
            targets.insert(name.clone(), Target { is_initialized: claim.initialized.is_some(), rests });
            machines.insert(name.clone(), (pool, group, machine.zone.clone()));
        }
        let offers = OnceCell::new();
        Some(Scene { pods, simulation, targets, offers, cx, unavailable, leaving, machines, set })
    }
    /// What may be asked for, by pool.
    fn offers(&self) -> &[Vec<Offer<'a>>] {
        let there = |group: &&'a NodeGroup| {
            self.unavailable.get(&*group.name).is_none_or(|until| *until <= self.cx.now)
        };
        let of_pool = |pool: &'a NodePool| {
            pool.offerings.iter().filter(there).map(|group| Offer::new(self.cx, group)).collect()
        };
        self.offers.get_or_init(|| self.set.node_pools.iter().map(of_pool).collect())
    }
    /// What the pools may ask for, some nodes left out.
    fn sources(&self, without: &BTreeSet<Arc<str>>) -> Vec<Source<'_>> {
        let each = self.set.node_pools.iter().zip(self.offers()).map(|(pool, offers)| {
            let own = self.machines.iter();
            let own = own.filter(|(name, (of, ..))| of.name == pool.name && !without.contains(*name));
            let mut left = [
                pool.limits.cpu_millis,
                pool.limits.memory.map(fleet::Bytes::as_bytes),
                pool.limits.nodes.map(i64::from),
            ];
            let mut zones: BTreeMap<String, usize> = BTreeMap::new();
            for (_, (_, group, zone)) in own {
                let size = [group.vcpu * 1000, group.memory.as_bytes(), 1];
                for (left, size) in left.iter_mut().zip(size) {
                    *left = left.map(|left| left - size);
                }
                *zones.entry(zone.clone()).or_default() += 1;
            }
            Source { pool, offers, left, zones }
        });
        each.collect()
    }
    /// Where pods that wait and pods of nodes that go would go, and those of some other nodes, were these not there. Says
    /// which of the pods were waiting already, and which are of nodes that go, by uid.
    pub(super) fn pack<'b>(
        &'b self,
        without: &BTreeSet<Arc<str>>,
        targets: &'b mut BTreeMap<Arc<str>, Target>,
    ) -> Packed<'b> {
        let mut simulation = self.simulation.clone();
        *targets = self.targets.clone();
        let mut wanting = Vec::new();
        let mut want = |simulation: &mut Simulation, pod: &Pod, anywhere: bool| {
            wanting.extend(Wanting::new(simulation, pod, anywhere));
        };
        for node in without {
            targets.remove(node);
            for pod in self.pods.on(node) {
                simulation.release(pod.metadata.uid.as_deref().unwrap_or_default());
            }
            simulation.remove_node(node);
        }
        for pod in self.pods.waiting().iter().chain(&self.leaving) {
            want(&mut simulation, pod, true);
        }
        for pod in without.iter().flat_map(|node| self.pods.leaving(node)) {
            want(&mut simulation, pod, phase(pod) == "Pending");
        }
        Packer::new(simulation, targets, self.sources(without), wanting).pack()
    }
    /// Whether a pod is of a node that goes.
    pub(super) fn leaves(&self, pod: &Pod) -> bool {
        self.leaving.iter().any(|own| own.metadata.uid == pod.metadata.uid)
    }
    /// Whether a node is there and ready for good.
    pub(super) fn is_initialized(&self, node: &str) -> bool {
        self.targets.get(node).is_some_and(|target| target.is_initialized)
    }
    /// The machine of a node that stays.
    pub(super) fn group(&self, node: &str) -> Option<&'a NodeGroup> {
        self.machines.get(node).map(|(_, group, _)| *group)
    }
}
