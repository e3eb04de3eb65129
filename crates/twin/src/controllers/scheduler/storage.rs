//! Claims, volumes, classes and drivers as the volume plugins see them.
//!
//! Sizes in bytes. Left out: translation of volumes of retired in-tree cloud drivers to their CSI names.

use super::labels::{Labels, NodeTerm, Selector, node_terms};
use crate::apiserver::quantity::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use k8s_openapi::apimachinery::pkg::api::resource;
use std::collections::BTreeMap;
use std::sync::Arc;

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// Labels of a volume that name its zone or region.
const ZONE_LABELS: [&str; 4] = [
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

/// A claim.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) uid: String,
    /// Empty when it has none.
    pub(super) volume: String,
    /// Whether binding is done.
    pub(super) bound: bool,
    pub(super) class: String,
    pub(super) modes: Vec<String>,
    pub(super) one_pod: bool,
    pub(super) bytes: i128,
    pub(super) deleting: bool,
    pub(super) lost: bool,
    /// The node a volume is being made for.
    pub(super) selected_node: Option<String>,
    /// `None`: any volume.
    pub(super) selector: Option<Selector>,
    pub(super) block: bool,
}

/// A persistent volume.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) class: String,
    pub(super) modes: Vec<String>,
    pub(super) bytes: i128,
    /// Namespace, name and uid of the claim it is kept for.
    pub(super) claim: Option<(String, String, String)>,
    pub(super) nodes: Option<Vec<NodeTerm>>,
    /// Zone labels with the values a node may have.
    pub(super) zones: Vec<(&'static str, Vec<String>)>,
    /// CSI driver and handle.
    pub(super) csi: Option<(String, String)>,
    pub(super) available: bool,
    pub(super) deleting: bool,
    pub(super) labels: Labels,
    pub(super) block: bool,
}

/// A storage class.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) provisioner: String,
    /// Whether volumes are bound when the first pod that needs them is placed.
    pub(super) waits: bool,
    /// Each term: labels with their allowed values. Empty: everywhere.
    pub(super) topologies: Vec<Vec<(String, Vec<String>)>>,
}

/// How much a driver can still provide somewhere.
#[derive(Clone, Debug)]
pub(super) struct Capacity {
    pub(super) class: String,
    pub(super) nodes: Selector,
    pub(super) bytes: i128,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Storage {
    pub(super) claims: BTreeMap<(Arc<str>, Arc<str>), Claim>,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) classes: BTreeMap<String, Class>,
    /// By node: drivers with the number of volumes they attach there.
    pub(super) limits: BTreeMap<Arc<str>, BTreeMap<String, i64>>,
    /// Drivers that say how much they can provide.
    pub(super) measured: BTreeMap<String, bool>,
    pub(super) capacities: BTreeMap<(String, String), Capacity>,
    /// How many placed pods use a claim.
    pub(super) uses: BTreeMap<(Arc<str>, Arc<str>), u32>,
}

fn bytes(quantity: Option<&resource::Quantity>) -> i128 {
    quantity.and_then(|q| Quantity::parse(&q.0).ok()).map_or(0, Quantity::units)
}

fn text(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

impl Storage {
    pub(super) fn put_claim(&mut self, claim: &PersistentVolumeClaim) {
        let (meta, spec) = (&claim.metadata, claim.spec.clone().unwrap_or_default());
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key));
        let key = (Arc::from(text(meta.namespace.as_ref())), Arc::from(text(meta.name.as_ref())));
        let modes = spec.access_modes.unwrap_or_default();
        let requests = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
        let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
        let digested = Claim {
            uid: text(meta.uid.as_ref()),
            volume: text(spec.volume_name.as_ref()),
            bound: annotation(BIND_COMPLETED).is_some()
                && spec.volume_name.as_ref().is_some_and(|v| !v.is_empty()),
            class: text(annotation(CLASS_BETA).or(spec.storage_class_name.as_ref())),
            one_pod: modes.iter().any(|m| m == "ReadWriteOncePod"),
            modes,
            bytes: bytes(requests.and_then(|r| r.get("storage"))),
            deleting: meta.deletion_timestamp.is_some(),
            lost: phase == Some("Lost"),
            selected_node: annotation(SELECTED_NODE).cloned(),
            selector: spec.selector.as_ref().map(|s| Selector::new(Some(s))),
            block: spec.volume_mode.as_deref() == Some("Block"),
        };
        self.claims.insert(key, digested);
    }
    pub(super) fn put_volume(&mut self, volume: &PersistentVolume) {
        let (meta, spec) = (&volume.metadata, volume.spec.clone().unwrap_or_default());
        let labels = meta.labels.clone().unwrap_or_default();
        let zone = |key: &'static str| {
            let values = labels.get(key)?;
            Some((key, values.split("__").map(str::to_owned).collect()))
        };
        let required = spec.node_affinity.as_ref().and_then(|a| a.required.as_ref());
        let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
        let digested = Volume {
            class: text(spec.storage_class_name.as_ref()),
            modes: spec.access_modes.unwrap_or_default(),
            bytes: bytes(spec.capacity.as_ref().and_then(|c| c.get("storage"))),
            claim: spec
                .claim_ref
                .as_ref()
                .map(|c| (text(c.namespace.as_ref()), text(c.name.as_ref()), text(c.uid.as_ref()))),
            nodes: required.map(node_terms),
            zones: ZONE_LABELS.into_iter().filter_map(zone).collect(),
            csi: spec.csi.as_ref().map(|c| (c.driver.clone(), c.volume_handle.clone())),
            available: phase == Some("Available"),
            deleting: meta.deletion_timestamp.is_some(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            labels,
        };
        self.volumes.insert(text(meta.name.as_ref()), digested);
    }
    pub(super) fn put_class(&mut self, class: &StorageClass) {
        let term = |t: &k8s_openapi::api::core::v1::TopologySelectorTerm| {
            let all = t.match_label_expressions.iter().flatten();
            all.map(|e| (e.key.clone(), e.values.clone())).collect()
        };
        let digested = Class {
            provisioner: class.provisioner.clone(),
            waits: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            topologies: class.allowed_topologies.iter().flatten().map(term).collect(),
        };
        self.classes.insert(text(class.metadata.name.as_ref()), digested);
    }
    pub(super) fn put_csi_node(&mut self, node: &CSINode) {
        let limit = |d: &k8s_openapi::api::storage::v1::CSINodeDriver| {
            Some((d.name.clone(), i64::from(d.allocatable.as_ref()?.count?)))
        };
        let limits = node.spec.drivers.iter().filter_map(limit).collect();
        self.limits.insert(Arc::from(text(node.metadata.name.as_ref())), limits);
    }
    pub(super) fn put_csi_driver(&mut self, driver: &CSIDriver) {
        let measured = driver.spec.storage_capacity.unwrap_or(false);
        self.measured.insert(text(driver.metadata.name.as_ref()), measured);
    }
    pub(super) fn put_capacity(&mut self, capacity: &CSIStorageCapacity) {
        let meta = &capacity.metadata;
        let largest = capacity.maximum_volume_size.as_ref().or(capacity.capacity.as_ref());
        let digested = Capacity {
            class: capacity.storage_class_name.clone(),
            nodes: Selector::new(capacity.node_topology.as_ref()),
            bytes: bytes(largest),
        };
        self.capacities.insert((text(meta.namespace.as_ref()), text(meta.name.as_ref())), digested);
    }
    /// A pod that uses claims comes, or goes.
    pub(super) fn change(&mut self, namespace: &Arc<str>, claims: &[Arc<str>], comes: bool) {
        for claim in claims {
            let key = (namespace.clone(), claim.clone());
            let uses = self.uses.entry(key.clone()).or_default();
            *uses = if comes { *uses + 1 } else { uses.saturating_sub(1) };
            if *uses == 0 {
                self.uses.remove(&key);
            }
        }
    }
    pub(super) fn claim(&self, namespace: &Arc<str>, name: &Arc<str>) -> Option<&Claim> {
        self.claims.get(&(namespace.clone(), name.clone()))
    }
}

impl Volume {
    pub(super) fn reaches(&self, node: &str, labels: &Labels) -> bool {
        self.nodes.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(node, labels)))
    }
}
