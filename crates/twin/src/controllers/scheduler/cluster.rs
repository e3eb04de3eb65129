//! What the scheduler knows of a cluster, kept up to date by single changes.
//!
//! Invariant: nothing here depends on the order in which hash maps iterate; nodes are looked at in the
//! order of [`Cluster::order`], zones taking turns, inside a zone as they came. Pods on nodes without a
//! Node object are kept, but such a node is not looked at.

use super::counts::{Bearing, CarriedTerms, Counters, Namespaces, Topology};
use super::labels::{Labels, NodeSelection, Selector};
use super::node::{NodeInfo, TaintSets};
use super::plugins::noderesources;
use super::pod::PodInfo;
use super::profile::Profile;
use super::rooms::{Rooms, Table};
use super::storage::Storage;
use super::templates::Templates;
use crate::amounts::Amounts;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ReplicationController, Service};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Most node selections remembered with the nodes they allow.
const SELECTIONS_MAX: usize = 1024;

/// A disruption budget.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    pub(super) namespace: String,
    pub(super) selector: Selector,
    pub(super) allowed: i64,
    pub(super) disrupted: BTreeSet<String>,
}

/// An image some node has.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) bytes: i64,
    pub(super) count: usize,
    /// One bit a node.
    bits: Vec<u64>,
}

impl Image {
    pub(super) fn is_on(&self, node: u32) -> bool {
        self.bits.get(node as usize / 64).is_some_and(|word| word & (1 << (node % 64)) != 0)
    }
    fn set(&mut self, node: u32, present: bool) {
        let at = node as usize / 64;
        if at >= self.bits.len() {
            self.bits.resize(at + 1, 0);
        }
        let (old, bit) = (self.bits[at], 1 << (node % 64));
        self.bits[at] = if present { old | bit } else { old & !bit };
        match (old & bit != 0, present) {
            (false, true) => self.count += 1,
            (true, false) => self.count -= 1,
            _ => {}
        }
    }
}

/// What spreads pods without constraints: who selects them.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    pub(super) services: BTreeMap<(String, String), Labels>,
    /// Kind, namespace and name of a controller, with its selector.
    controllers: BTreeMap<(String, String, String), Selector>,
}

impl Owners {
    /// A controller is gone.
    pub(super) fn remove(&mut self, kind: &str, (namespace, name): (String, String)) {
        self.controllers.remove(&(kind.to_owned(), namespace, name));
    }
}

/// The nodes a selection allows, as of a version of the nodes' labels.
type Selected = (u64, Arc<Vec<bool>>);

/// The scheduler's view of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub(super) nodes: Vec<NodeInfo>,
    names: HashMap<Arc<str>, u32>,
    free: Vec<u32>,
    /// Nodes by zone, both in the order they came.
    zones: Vec<((String, String), Vec<u32>)>,
    order: Vec<u32>,
    order_stale: bool,
    /// Where in that order a node is, by number.
    places: Vec<u32>,
    rooms: Rooms,
    templates: Templates,
    pub(super) topology: Topology,
    pub(super) taints: TaintSets,
    selections: HashMap<NodeSelection, Selected>,
    labels_version: u64,
    pub(super) counters: Counters,
    pub(super) carried: CarriedTerms,
    placed: HashMap<Arc<str>, u32>,
    pub(super) namespaces: Namespaces,
    pub(super) images: HashMap<String, Image>,
    pub(super) storage: Storage,
    pub(super) owners: Owners,
    pub(super) budgets: BTreeMap<(String, String), Budget>,
    /// Pods that are to go to a node once there is room, by node.
    pub(super) nominated: BTreeMap<Arc<str>, Vec<Arc<PodInfo>>>,
}

fn text(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

impl Cluster {
    /// An empty cluster.
    pub fn new() -> Cluster {
        Cluster::default()
    }
    /// The nodes there are, in the order they are looked at.
    pub(super) fn order(&mut self) -> &[u32] {
        if self.order_stale {
            self.order_stale = false;
            self.order.clear();
            let longest = self.zones.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
            for turn in 0..longest {
                self.order.extend(self.zones.iter().filter_map(|(_, nodes)| nodes.get(turn)));
            }
            self.places = vec![u32::MAX; self.nodes.len()];
            for (place, at) in self.order.iter().enumerate() {
                self.places[*at as usize] = place as u32;
            }
            self.rooms.forget();
        }
        &self.order
    }
    /// Where in the order of nodes, as it is now, some nodes are of which the names are given; unknown ones are left out.
    pub(super) fn places_of(&self, names: &[&str]) -> Vec<usize> {
        let numbers = names.iter().filter_map(|name| self.find(name)).filter(|at| self.node(*at).known);
        numbers.filter_map(|at| self.places.get(at as usize)).map(|place| *place as usize).collect()
    }
    /// Takes out what is known of nodes' room for a pod; it is to be put back before anything changes.
    pub(super) fn take_table(&mut self, pod: &PodInfo, profile: &Profile) -> Table {
        let nodes = self.order().len();
        self.rooms.take(pod, profile, nodes, &self.places)
    }
    /// Puts it back.
    pub(super) fn put_table_back(&mut self, table: Table) {
        self.rooms.put_back(table);
    }
    /// Digests a pod; pods of one template share what they have in common.
    pub fn digest(&mut self, pod: &Pod) -> PodInfo {
        self.templates.digest(pod)
    }
    /// The same, when it is up to date.
    pub(super) fn ordered(&self) -> &[u32] {
        &self.order
    }
    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.zones.iter().map(|(_, nodes)| nodes.len()).sum()
    }
    /// Names of the nodes in the order they came, zone by zone.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.zones.iter().flat_map(|(_, nodes)| nodes).map(|at| &self.nodes[*at as usize].name)
    }
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }
    #[inline]
    pub(super) fn node(&self, at: u32) -> &NodeInfo {
        &self.nodes[at as usize]
    }
    fn slot(&mut self, name: &str) -> u32 {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(NodeInfo::default());
            (self.nodes.len() - 1) as u32
        });
        let name: Arc<str> = name.into();
        self.nodes[at as usize] = NodeInfo { name: name.clone(), ..NodeInfo::default() };
        self.names.insert(name, at);
        at
    }
    /// A node is new or has changed.
    pub fn put_node(&mut self, node: &Node) {
        let at = self.slot(node.metadata.name.as_deref().unwrap_or_default());
        self.rooms.changed(at);
        let taints = self.taints.find(node);
        let info = &mut self.nodes[at as usize];
        let (was_known, old_zone, old_labels) = (info.known, info.zone(), info.labels.clone());
        info.describe(node);
        info.taints = taints;
        let (zone, labels) = (info.zone(), info.labels.clone());
        if !was_known || old_zone != zone {
            if was_known {
                self.leave_zone(at, &old_zone);
            }
            self.enter_zone(at, zone);
        }
        if !was_known || !Arc::ptr_eq(&old_labels, &labels) {
            self.labels_version += 1;
            self.topology.update(at as usize, &labels);
        }
        let listed = node.status.as_ref().and_then(|s| s.images.as_deref()).unwrap_or_default();
        if !listed.is_empty() || !self.nodes[at as usize].images.is_empty() {
            let names = |i: &k8s_openapi::api::core::v1::ContainerImage| {
                let bytes = i.size_bytes.unwrap_or(0);
                i.names.iter().flatten().map(move |n| (n.clone(), bytes)).collect::<Vec<_>>()
            };
            self.set_images(at, listed.iter().flat_map(names).collect());
        }
    }
    fn set_images(&mut self, at: u32, images: Vec<(String, i64)>) {
        for (name, bytes) in &images {
            let image = self.images.entry(name.clone()).or_default();
            if image.count == 0 {
                image.bytes = *bytes;
            }
            image.set(at, true);
        }
        let names: Vec<String> = images.into_iter().map(|(name, _)| name).collect();
        let old = std::mem::replace(&mut self.nodes[at as usize].images, names);
        for name in old {
            if !self.nodes[at as usize].images.contains(&name)
                && let Some(image) = self.images.get_mut(&name)
            {
                image.set(at, false);
                if image.count == 0 {
                    self.images.remove(&name);
                }
            }
        }
    }
    fn enter_zone(&mut self, at: u32, zone: (String, String)) {
        self.order_stale = true;
        match self.zones.iter_mut().find(|(z, _)| *z == zone) {
            Some((_, nodes)) => nodes.push(at),
            None => self.zones.push((zone, vec![at])),
        }
    }
    fn leave_zone(&mut self, at: u32, zone: &(String, String)) {
        self.order_stale = true;
        if let Some((_, nodes)) = self.zones.iter_mut().find(|(z, _)| z == zone) {
            nodes.retain(|other| *other != at);
        }
        self.zones.retain(|(_, nodes)| !nodes.is_empty());
    }
    /// A node is gone; its pods are kept until they go.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.find(name) else { return };
        let info = &mut self.nodes[at as usize];
        if !info.known {
            return;
        }
        info.known = false;
        let zone = info.zone();
        info.labels = Arc::default();
        self.leave_zone(at, &zone);
        self.labels_version += 1;
        self.topology.update(at as usize, &Labels::new());
        self.set_images(at, Vec::new());
        self.drop_if_unused(at);
    }
    fn drop_if_unused(&mut self, at: u32) {
        let info = &self.nodes[at as usize];
        if !info.known && info.pods.is_empty() {
            self.names.remove(&info.name);
            self.free.push(at);
        }
    }
    /// A pod holds room on a node from now on. One that is already placed is left as it is.
    pub fn place(&mut self, node: &str, pod: Arc<PodInfo>) {
        if self.placed.contains_key(&pod.uid) {
            return;
        }
        let at = self.slot(node);
        self.rooms.changed(at);
        self.counters.change(at, &pod, true, &self.namespaces);
        self.carried.change(at, &pod, true);
        self.storage.change(&pod.namespace, &pod.rare.claims, true);
        self.placed.insert(pod.uid.clone(), at);
        self.nodes[at as usize].add(pod);
    }
    /// A pod no longer holds room; the name of the node it was on.
    pub fn release(&mut self, uid: &str) -> Option<Arc<str>> {
        let at = self.placed.remove(uid)?;
        self.rooms.changed(at);
        let info = &mut self.nodes[at as usize];
        let name = info.name.clone();
        let pod = info.pods.iter().find(|p| &*p.uid == uid).cloned()?;
        info.remove(uid);
        self.counters.change(at, &pod, false, &self.namespaces);
        self.carried.change(at, &pod, false);
        self.storage.change(&pod.namespace, &pod.rare.claims, false);
        self.drop_if_unused(at);
        Some(name)
    }
    /// The placed pod of this uid.
    pub(super) fn placed(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        let at = self.placed.get(uid)?;
        self.nodes[*at as usize].pods.iter().find(|p| &*p.uid == uid)
    }
    /// Takes a pod in as it is: bound ones hold room, nominated ones wait for it.
    pub fn put_pod(&mut self, pod: &Pod) {
        let info = Arc::new(self.digest(pod));
        match (&info.node, &info.nominated) {
            (Some(node), _) => {
                let node = node.clone();
                self.place(&node, info);
            }
            (None, Some(_)) => self.nominate(info),
            _ => {}
        }
    }
    /// A pod waits for room on the node it names.
    pub(super) fn nominate(&mut self, pod: Arc<PodInfo>) {
        let Some(node) = pod.nominated.clone() else { return };
        for term in &pod.rare.terms.anti {
            self.key(&term.key);
        }
        let waiting = self.nominated.entry(node).or_default();
        waiting.retain(|other| other.uid != pod.uid);
        waiting.push(pod);
    }
    /// A pod no longer waits for room on any node; the name of the one it waited for.
    pub(super) fn withdraw(&mut self, uid: &str) -> Option<Arc<str>> {
        let waits = |waiting: &Vec<Arc<PodInfo>>| waiting.iter().any(|p| &*p.uid == uid);
        let node = self.nominated.iter().find(|(_, waiting)| waits(waiting))?.0.clone();
        let waiting = self.nominated.get_mut(&node)?;
        waiting.retain(|other| &*other.uid != uid);
        if waiting.is_empty() {
            self.nominated.remove(&node);
        }
        Some(node)
    }
    /// Changes something of a placed pod that is counted nowhere.
    pub(super) fn touch(&mut self, uid: &str, change: impl FnOnce(&mut PodInfo)) {
        let Some(at) = self.placed.get(uid) else { return };
        let pods = &mut self.nodes[*at as usize].pods;
        if let Some(pod) = pods.iter_mut().find(|p| &*p.uid == uid) {
            change(Arc::make_mut(pod));
        }
    }
    /// The first node, if any, on which more is requested than it has. Nodes are passed over where somebody is being
    /// resized: what is asked for there need not be given.
    pub fn overcommitted(&self) -> Option<(&str, String)> {
        self.overcommitted_but(|_| false)
    }
    /// The same, some resources apart.
    pub(super) fn overcommitted_but(&self, apart: impl Fn(&str) -> bool) -> Option<(&str, String)> {
        let over = |node: &&NodeInfo| {
            let (have, used) = (&node.allocatable, &node.used);
            node.known
                && !node.pods.iter().any(|pod| pod.resized)
                && (used.cpu_millis > have.cpu_millis
                    || used.memory_bytes > have.memory_bytes
                    || used.pods > have.pods
                    || used.others.iter().any(|(name, used)| *used > have.other(name) && !apart(name)))
        };
        let node = self.nodes.iter().find(over)?;
        Some((&node.name, format!("requested {:?}, allocatable {:?}", node.used, node.allocatable)))
    }
    /// Whether a request fits on a node without the pods below a priority, those of at least this priority counted that
    /// wait for room there.
    pub(super) fn fits_without(&self, at: u32, request: &Amounts, above: i32) -> bool {
        let node = self.node(at);
        let waiting = self.nominated.get(&node.name).into_iter().flatten();
        let mut used = Amounts::default();
        node.pods.iter().chain(waiting).filter(|p| p.priority >= above).for_each(|p| used.add(&p.request));
        noderesources::room(request, &node.allocatable, &used)
    }
    /// The lowest priority of the pods that are placed.
    pub(super) fn lowest_priority(&self) -> Option<i32> {
        self.nodes.iter().flat_map(|node| &node.pods).map(|pod| pod.priority).min()
    }
    /// A namespace is new or has changed.
    pub fn put_namespace(&mut self, namespace: &Namespace) {
        let name: Arc<str> = text(namespace.metadata.name.as_ref()).into();
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        if self.namespaces.get(&name) != Some(&labels) {
            self.namespaces.insert(name, labels);
            self.counters.namespace_changed();
        }
    }
    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.counters.namespace_changed();
        }
    }
    /// A disruption budget is new or has changed.
    pub fn put_budget(&mut self, budget: &PodDisruptionBudget) {
        let meta = &budget.metadata;
        let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
        let status = budget.status.as_ref();
        let namespace = text(meta.namespace.as_ref());
        let digested = Budget {
            namespace: namespace.clone(),
            selector: Selector::new(selector),
            allowed: status.map_or(0, |s| i64::from(s.disruptions_allowed.unwrap_or(0))),
            disrupted: status
                .into_iter()
                .flat_map(|s| s.disrupted_pods.iter().flatten())
                .map(|(n, _)| n.clone())
                .collect(),
        };
        self.budgets.insert((namespace, text(meta.name.as_ref())), digested);
    }
    /// A Service is new or has changed.
    pub fn put_service(&mut self, service: &Service) {
        let meta = &service.metadata;
        let key = (text(meta.namespace.as_ref()), text(meta.name.as_ref()));
        match service.spec.as_ref().and_then(|s| s.selector.clone()) {
            Some(selector) => self.owners.services.insert(key, selector),
            None => self.owners.services.remove(&key),
        };
    }
    /// A ReplicaSet is new or has changed.
    pub fn put_replica_set(&mut self, set: &ReplicaSet) {
        let selector = set.spec.as_ref().map(|s| Selector::new(Some(&s.selector)));
        self.put_owner("ReplicaSet", &set.metadata, selector);
    }
    /// A StatefulSet is new or has changed.
    pub fn put_stateful_set(&mut self, set: &StatefulSet) {
        let selector = set.spec.as_ref().map(|s| Selector::new(Some(&s.selector)));
        self.put_owner("StatefulSet", &set.metadata, selector);
    }
    /// A ReplicationController is new or has changed.
    pub fn put_replication_controller(&mut self, controller: &ReplicationController) {
        let selector = controller.spec.as_ref().and_then(|s| s.selector.as_ref()).map(Selector::equal);
        self.put_owner("ReplicationController", &controller.metadata, selector);
    }
    fn put_owner(
        &mut self,
        kind: &str,
        meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
        selector: Option<Selector>,
    ) {
        let key = (kind.to_owned(), text(meta.namespace.as_ref()), text(meta.name.as_ref()));
        self.owners.controllers.insert(key, selector.unwrap_or(Selector::Nothing));
    }
    /// A claim is new or has changed.
    pub fn put_claim(&mut self, claim: &PersistentVolumeClaim) {
        self.storage.put_claim(claim);
    }
    /// A volume is new or has changed.
    pub fn put_volume(&mut self, volume: &PersistentVolume) {
        self.storage.put_volume(volume);
    }
    /// A storage class is new or has changed.
    pub fn put_storage_class(&mut self, class: &StorageClass) {
        self.storage.put_class(class);
    }
    /// A node's drivers are new or have changed.
    pub fn put_csi_node(&mut self, node: &CSINode) {
        self.storage.put_csi_node(node);
    }
    /// A driver is new or has changed.
    pub fn put_csi_driver(&mut self, driver: &CSIDriver) {
        self.storage.put_csi_driver(driver);
    }
    /// What a driver can provide is new or has changed.
    pub fn put_capacity(&mut self, capacity: &CSIStorageCapacity) {
        self.storage.put_capacity(capacity);
    }
    /// What services and its controller select a pod by; `None` when nothing does.
    pub(super) fn owners_selector(&self, pod: &PodInfo) -> Option<Selector> {
        let mut equal = Labels::new();
        let from = (pod.namespace.to_string(), String::new());
        let here = self.owners.services.range(from..);
        for (_, selector) in here.take_while(|((namespace, _), _)| **namespace == *pod.namespace) {
            if selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v)) {
                equal.extend(selector.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
        }
        let mut selector = Selector::equal(&equal);
        if let Some((kind, name)) = &pod.rare.owner {
            let key = (kind.clone(), pod.namespace.to_string(), name.clone());
            if let Some(Selector::All(more)) = self.owners.controllers.get(&key) {
                selector.require(more.iter().cloned());
            }
        }
        (!selector.is_everything()).then_some(selector)
    }
    /// Which nodes a selection allows, by number.
    pub(super) fn selected(&mut self, selection: &NodeSelection) -> Option<Arc<Vec<bool>>> {
        if selection.is_everything() {
            return None;
        }
        if let Some((version, selected)) = self.selections.get(selection)
            && *version == self.labels_version
        {
            return Some(selected.clone());
        }
        let matches = |n: &NodeInfo| n.known && selection.matches(&n.name, &n.labels);
        let selected = Arc::new(self.nodes.iter().map(matches).collect::<Vec<bool>>());
        if self.selections.len() >= SELECTIONS_MAX {
            self.selections.clear();
        }
        self.selections.insert(selection.clone(), (self.labels_version, selected.clone()));
        Some(selected)
    }
    /// The number of a topology key.
    pub(super) fn key(&mut self, name: &Arc<str>) -> usize {
        let labels = self.nodes.iter().enumerate().filter(|(_, n)| n.known).map(|(i, n)| (i, &*n.labels));
        self.topology.find(name, labels)
    }
    /// The counter of the pods that all of some selectors match.
    pub(super) fn counter(&mut self, of: &[super::pod::PodSelector]) -> u32 {
        let nodes = self.nodes.iter().enumerate();
        let pods = nodes.flat_map(|(at, n)| n.pods.iter().map(move |p| (at as u32, &**p)));
        self.counters.find(of, self.nodes.len(), pods, &self.namespaces)
    }
    /// The terms placed pods carry that match a pod: topology key, bearing and number.
    pub(super) fn carried_for(&mut self, pod: &PodInfo) -> Vec<(usize, Bearing, u32)> {
        let matching = self.carried.matching(pod, &self.namespaces);
        let found: Vec<_> = matching.map(|(id, c)| (c.term.key.clone(), c.bearing, id)).collect();
        found.into_iter().map(|(key, bearing, id)| (self.key(&key), bearing, id)).collect()
    }
    /// An image some node has, by a container's image.
    pub(super) fn image(&self, name: &str) -> Option<&Image> {
        self.images.get(name)
    }
}
