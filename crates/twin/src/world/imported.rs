//! A world that begins as real clusters were when a twin file was taken of them.
//!
//! Invariants: objects have the uids, owners, bindings and phases they had; their resource versions are the twin's
//! own. Differences, each of which is said where it is made: a namespace objects are in is there even where it
//! could not be read; machines have heartbeat Leases of the twin's; pods lose the finalizer by which the real Job
//! controller counts them; owners that are not in the file count as there, so that nothing of theirs is collected.

use super::cluster::Cluster;
use super::{Queue, World, machine};
use crate::apiserver::resources;
use crate::import::{Document, Durations, Imported};
use crate::kind::Kind;
use crate::object::Object;
use crate::physics::Physics;
use crate::random::Stream;
use crate::store::Objects;
use fleet::file::{TRANSFER_KWH_PER_GB, TRANSFER_PRICE_PER_GB};
use fleet::tariff::Tariffs;
use fleet::{
    ClusterSpec, FleetSpec, InstanceType, Instant, NodeRates, Policy, PowerCurve, RateSource, builtin,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Power, price and embodied emissions of a node.
pub type Rates<'a> = &'a dyn Fn(&Node) -> NodeRates;

impl Document {
    /// The fleet it describes: clusters without node groups, because their nodes are objects of the file.
    pub fn fleet(&self) -> FleetSpec {
        let cluster = |imported: &Imported| ClusterSpec {
            id: imported.header.name.clone(),
            region: imported.header.region.clone(),
            grid_zone: imported.header.grid_zone.clone(),
            pue_milli: imported.header.pue_milli,
            labels: imported.header.labels.clone(),
            node_groups: Vec::new(),
            scheduler: imported.scheduler.clone(),
            autoscaler: None,
            karpenter: None,
            tariffs: Tariffs::default(),
        };
        FleetSpec {
            name: "imported".to_owned(),
            currency: "USD".to_owned(),
            clusters: self.clusters.iter().map(cluster).collect(),
            policy: Policy::default(),
            demo: None,
            transfer_price_per_gb: TRANSFER_PRICE_PER_GB,
            transfer_kwh_per_gb: TRANSFER_KWH_PER_GB,
        }
    }
}

impl World {
    /// The clusters of a twin file, at the instant it was taken.
    pub fn imported(document: Document, seed: u64, rates: Rates<'_>) -> World {
        let (fleet, start) = (document.fleet(), document.header.taken_at);
        let mut queue = Queue::default();
        let mut clusters = BTreeMap::new();
        for (spec, imported) in fleet.clusters.iter().zip(document.clusters) {
            let mut cluster = Cluster::imported(spec, imported, &mut queue, (start, seed), rates);
            cluster.settle(&mut queue, start);
            clusters.insert(spec.id.clone(), cluster);
        }
        let mut world = World { seed, now: start, queue, clusters, demo: None, refused: VecDeque::new() };
        world.advance_to(start);
        world
    }
}

/// What a node's instance type draws at part load by the built-in table.
fn listed_curve(node: &Node) -> Option<PowerCurve> {
    let kind = node.metadata.labels.as_ref()?.get("node.kubernetes.io/instance-type")?;
    builtin::instance(&InstanceType::new(kind).ok()?)?.curve
}

impl Cluster {
    fn imported(
        spec: &ClusterSpec,
        imported: Imported,
        queue: &mut Queue,
        (start, seed): (Instant, u64),
        rates: Rates<'_>,
    ) -> Cluster {
        let mut cluster = Cluster {
            spec: spec.clone(),
            seed,
            objects: Objects::new(),
            names: Stream::new(seed, &format!("names/{}", spec.id)),
            controllers: Default::default(),
            physics: Physics::default(),
            under_way: Default::default(),
            uid: imported.header.uid.clone(),
        };
        cluster.controllers.garbagecollector.adopt(imported.absent_owners);
        let (pods, others): (Vec<Object>, Vec<Object>) =
            imported.live.into_iter().partition(|object| object.kind() == Kind::Pod);
        cluster.put_namespaces(&others, &pods, start);
        for object in others {
            cluster.objects.put(object);
        }
        cluster.put_machines(queue, start, rates);
        let pods = pods.into_iter().filter_map(|o| if let Object::Pod(pod) = o { Some(*pod) } else { None });
        cluster.put_pods(pods.collect(), queue, start);
        cluster
    }
    /// Namespaces of objects that could not be read themselves.
    fn put_namespaces(&mut self, others: &[Object], pods: &[Object], start: Instant) {
        let there: BTreeSet<&str> =
            others.iter().filter(|o| o.kind() == Kind::Namespace).map(Object::name).collect();
        let mut needed: BTreeSet<&str> =
            others.iter().chain(pods).map(Object::namespace).filter(|n| !n.is_empty()).collect();
        needed.insert("kube-node-lease");
        for name in needed.difference(&there) {
            let namespace = machine::namespace(name, start, &mut self.names);
            self.objects.put(namespace);
        }
    }
    /// The machines behind the nodes.
    fn put_machines(&mut self, queue: &mut Queue, start: Instant, rates: Rates<'_>) {
        let nodes: Vec<Node> =
            self.objects.list(Kind::Node, None).filter_map(|s| s.object.as_node().cloned()).collect();
        let pue_milli = self.spec.pue_milli;
        for (index, node) in nodes.iter().enumerate() {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let uid = node.metadata.uid.as_deref().unwrap_or_default();
            let lease = machine::lease(name, uid, start, &mut self.names);
            self.objects.put(lease);
            let capacity = resources::amounts(node.status.as_ref().and_then(|s| s.capacity.as_ref()));
            let vcpu = (capacity.cpu.as_nanos() + NANOCORES - 1) / NANOCORES;
            let rates = rates(node);
            let (controllers, physics, _) = self.parts(queue, start);
            physics.add(name, pue_milli, (rates.power, rates.price), vcpu.max(1), start);
            let curve = listed_curve(node).filter(|_| rates.from.power == RateSource::Table);
            physics.refine(name, pue_milli, rates.power.idle, (curve, rates.embodied));
            if controllers.kubelet.adopt_node(node, index) {
                physics.switch(name, false, start);
            }
        }
    }
    fn put_pods(&mut self, pods: Vec<Pod>, queue: &mut Queue, start: Instant) {
        let (controllers, _, mut cx) = self.parts(queue, start);
        let jobs: Vec<_> = cx.objects.list(Kind::Job, None).cloned().collect();
        controllers.kubelet.adopt_durations(Durations::learn(jobs.iter().filter_map(|s| s.object.as_job())));
        for pod in &pods {
            controllers.kubelet.adopt_pod(&mut cx, pod);
        }
        for pod in pods {
            cx.put_pod(pod);
        }
    }
}

const NANOCORES: i64 = 1_000_000_000;
