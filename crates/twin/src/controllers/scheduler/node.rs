//! A node as the scheduler sees it, and the few sets of taints nodes have.

use super::labels::Labels;
use super::plugins::noderesources::evenness;
use super::pod::{HostPort, PodInfo};
use crate::amounts::{self, Amounts};
use crate::controllers::nodelifecycle::tolerates;
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use std::sync::Arc;

/// A node with the pods on it. What every cycle reads comes first and together, so that a node costs two
/// lines of the processor's cache.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct NodeInfo {
    pub(super) allocatable: Amounts,
    pub(super) used: Amounts,
    /// CPU and memory requested, with kube-scheduler's stand-ins for what is not stated.
    pub(super) scored: (i64, i64),
    /// How evenly CPU and memory are used, in percent.
    pub(super) evenness: i64,
    pub(super) taints: u32,
    pub(super) unschedulable: bool,
    /// Whether there is a Node object; pods may outlive it for a moment.
    pub(super) known: bool,
    pub(super) name: Arc<str>,
    pub(super) labels: Arc<Labels>,
    pub(super) pods: Vec<Arc<PodInfo>>,
    pub(super) ports: Vec<HostPort>,
    pub(super) images: Vec<String>,
    /// Pods on it that use claims.
    pub(super) claimants: u32,
}

impl NodeInfo {
    /// Takes over what the Node object says, taints and images apart.
    pub(super) fn describe(&mut self, node: &Node) {
        self.unschedulable = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
        self.allocatable = amounts::allocatable(node);
        self.known = true;
        self.measure();
        let labels = node.metadata.labels.as_ref();
        if labels.is_none_or(|l| *l != *self.labels) {
            self.labels = Arc::new(labels.cloned().unwrap_or_default());
        }
    }
    fn measure(&mut self) {
        self.evenness = evenness(&self.allocatable, self.used.cpu_millis, self.used.memory_bytes);
    }
    pub(super) fn add(&mut self, pod: Arc<PodInfo>) {
        self.used.add(&pod.request);
        self.scored.0 += pod.scored.0;
        self.scored.1 += pod.scored.1;
        for port in &pod.rare.ports {
            if !self.ports.contains(port) {
                self.ports.push(port.clone());
            }
        }
        self.claimants += u32::from(!pod.rare.claims.is_empty());
        self.pods.push(pod);
        self.measure();
    }
    /// Takes a pod away; whether it was here.
    pub(super) fn remove(&mut self, uid: &str) -> bool {
        let Some(at) = self.pods.iter().position(|p| &*p.uid == uid) else { return false };
        let pod = self.pods.swap_remove(at);
        self.used.subtract(&pod.request);
        self.scored.0 -= pod.scored.0;
        self.scored.1 -= pod.scored.1;
        // A set, as in kube-scheduler: of two pods that share a port, the first to go frees it.
        self.ports.retain(|port| !pod.rare.ports.contains(port));
        self.claimants -= u32::from(!pod.rare.claims.is_empty());
        self.measure();
        true
    }
    /// Region and zone; the older labels win where a node has both.
    pub(super) fn zone(&self) -> (String, String) {
        let either = |old: &str, new: &str| {
            self.labels.get(old).or_else(|| self.labels.get(new)).cloned().unwrap_or_default()
        };
        (
            either("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
            either("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        )
    }
}

/// Every set of taints some node has or had; a node names its set by number.
#[derive(Clone, Debug, Default)]
pub(super) struct TaintSets(Vec<Vec<Taint>>);

/// What a pod's tolerations make of one set of taints.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verdict {
    /// Whether it tolerates every taint that keeps pods off.
    pub(super) tolerated: bool,
    /// How many taints it does not tolerate that pods rather avoid.
    pub(super) avoided: i64,
}

impl TaintSets {
    pub(super) fn find(&mut self, node: &Node) -> u32 {
        let listed = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
        let same = |set: &Vec<Taint>| {
            set.len() == listed.len()
                && set
                    .iter()
                    .zip(listed)
                    .all(|(a, b)| (&a.key, &a.value, &a.effect) == (&b.key, &b.value, &b.effect))
        };
        if let Some(at) = self.0.iter().position(same) {
            return at as u32;
        }
        self.0.push(listed.iter().map(|t| Taint { time_added: None, ..t.clone() }).collect());
        (self.0.len() - 1) as u32
    }
    /// What the tolerations make of each set.
    pub(super) fn verdicts(&self, tolerations: &[Toleration]) -> Vec<Verdict> {
        let tolerated = |taint: &Taint| tolerations.iter().any(|t| tolerates(t, taint));
        let soft = |taint: &Taint| {
            let meant =
                |t: &&Toleration| t.effect.as_deref().is_none_or(|e| e.is_empty() || e == "PreferNoSchedule");
            tolerations.iter().filter(meant).any(|t| tolerates(t, taint))
        };
        let verdict = |set: &Vec<Taint>| Verdict {
            tolerated: set.iter().all(|t| t.effect == "PreferNoSchedule" || tolerated(t)),
            avoided: set.iter().filter(|t| t.effect == "PreferNoSchedule" && !soft(t)).count() as i64,
        };
        self.0.iter().map(verdict).collect()
    }
}
