//! Why a plugin turned a node or a pod down, and the sentence made of all of it.

use super::pod::PodInfo;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The plugins of the default profile, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Plugin {
    SchedulingGates,
    PrioritySort,
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    DynamicResources,
    DefaultPreemption,
    NodeResourcesBalancedAllocation,
    ImageLocality,
    DefaultBinder,
    NodeDeclaredFeatures,
}

impl Plugin {
    /// Every plugin, in the profile's order.
    pub const ALL: [Plugin; 20] = [
        Plugin::SchedulingGates,
        Plugin::PrioritySort,
        Plugin::NodeUnschedulable,
        Plugin::NodeName,
        Plugin::TaintToleration,
        Plugin::NodeAffinity,
        Plugin::NodePorts,
        Plugin::NodeResourcesFit,
        Plugin::VolumeRestrictions,
        Plugin::NodeVolumeLimits,
        Plugin::VolumeBinding,
        Plugin::VolumeZone,
        Plugin::PodTopologySpread,
        Plugin::InterPodAffinity,
        Plugin::DynamicResources,
        Plugin::DefaultPreemption,
        Plugin::NodeResourcesBalancedAllocation,
        Plugin::ImageLocality,
        Plugin::DefaultBinder,
        Plugin::NodeDeclaredFeatures,
    ];
    /// Its name in a profile.
    pub const fn name(self) -> &'static str {
        match self {
            Plugin::SchedulingGates => "SchedulingGates",
            Plugin::PrioritySort => "PrioritySort",
            Plugin::NodeUnschedulable => "NodeUnschedulable",
            Plugin::NodeName => "NodeName",
            Plugin::TaintToleration => "TaintToleration",
            Plugin::NodeAffinity => "NodeAffinity",
            Plugin::NodePorts => "NodePorts",
            Plugin::NodeResourcesFit => "NodeResourcesFit",
            Plugin::VolumeRestrictions => "VolumeRestrictions",
            Plugin::NodeVolumeLimits => "NodeVolumeLimits",
            Plugin::VolumeBinding => "VolumeBinding",
            Plugin::VolumeZone => "VolumeZone",
            Plugin::PodTopologySpread => "PodTopologySpread",
            Plugin::InterPodAffinity => "InterPodAffinity",
            Plugin::DynamicResources => "DynamicResources",
            Plugin::DefaultPreemption => "DefaultPreemption",
            Plugin::NodeResourcesBalancedAllocation => "NodeResourcesBalancedAllocation",
            Plugin::ImageLocality => "ImageLocality",
            Plugin::DefaultBinder => "DefaultBinder",
            Plugin::NodeDeclaredFeatures => "NodeDeclaredFeatures",
        }
    }
    /// Its place in a set of plugins.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Whether evicting pods may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// It may.
    Unschedulable,
    /// It cannot.
    UnschedulableAndUnresolvable,
}

impl Code {
    /// As Kubernetes names it.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Unschedulable => "Unschedulable",
            Code::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
        }
    }
}

/// A reason in its smallest form; [`Rejection::reasons`] has the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Text(&'static str),
    /// Bits of [`PODS`], [`CPU`], [`MEMORY`], and from [`OTHERS`] on one for each other resource the pod
    /// asks for, in order.
    Lacking(u32),
    /// Several fixed texts, by their bits in a plugin's table.
    Texts(&'static [&'static str], u8),
    Owned(Arc<str>),
}

pub(super) const PODS: u32 = 1;
pub(super) const CPU: u32 = 2;
pub(super) const MEMORY: u32 = 4;
/// First bit of the other resources.
pub(super) const OTHERS: u32 = 3;
/// Most other resources told apart; the last bit stands for all after it.
pub(super) const OTHERS_MAX: usize = 29;

/// What a plugin said against a node, or against the pod on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Who; `None` for nodes that were not looked at.
    pub plugin: Option<Plugin>,
    /// Whether evicting pods may help.
    pub code: Code,
    pub(super) why: Why,
}

impl Rejection {
    pub(super) const fn new(plugin: Plugin, code: Code, why: &'static str) -> Rejection {
        Rejection { plugin: Some(plugin), code, why: Why::Text(why) }
    }
    /// Evicting pods cannot help.
    pub(super) const fn unresolvable(plugin: Plugin, why: &'static str) -> Rejection {
        Rejection::new(plugin, Code::UnschedulableAndUnresolvable, why)
    }
    /// Evicting pods may help.
    pub(super) const fn unschedulable(plugin: Plugin, why: &'static str) -> Rejection {
        Rejection::new(plugin, Code::Unschedulable, why)
    }
    pub(super) fn owned(plugin: Plugin, why: &str) -> Rejection {
        let code = Code::UnschedulableAndUnresolvable;
        Rejection { plugin: Some(plugin), code, why: Why::Owned(why.into()) }
    }
    /// The reasons in words, sorted.
    pub fn reasons(&self, pod: &PodInfo) -> Vec<Cow<'static, str>> {
        let mut reasons: Vec<Cow<'static, str>> = match &self.why {
            Why::Text(text) => vec![Cow::Borrowed(*text)],
            Why::Owned(text) => vec![Cow::Owned(text.to_string())],
            Why::Texts(table, bits) => {
                let set = table.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0);
                set.map(|(_, text)| Cow::Borrowed(*text)).collect()
            }
            Why::Lacking(bits) => {
                let fixed =
                    [(PODS, "Too many pods"), (CPU, "Insufficient cpu"), (MEMORY, "Insufficient memory")];
                let named = fixed.into_iter().filter(|(bit, _)| bits & bit != 0);
                let others = pod.request.others.keys().enumerate();
                let others =
                    others.filter(|(i, _)| bits & (1 << (OTHERS + (*i).min(OTHERS_MAX - 1) as u32)) != 0);
                named
                    .map(|(_, text)| Cow::Borrowed(text))
                    .chain(others.map(|(_, name)| Cow::Owned(format!("Insufficient {name}"))))
                    .collect()
            }
        };
        reasons.sort();
        reasons
    }
}

/// Reasons against nodes, counted.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: Vec<(Why, usize)>,
}

impl Histogram {
    pub(super) fn add(&mut self, why: &Why, nodes: usize) {
        if nodes == 0 {
            return;
        }
        match self.counts.iter_mut().find(|(other, _)| other == why) {
            Some((_, count)) => *count += nodes,
            None => self.counts.push((why.clone(), nodes)),
        }
    }
    /// `0/6 nodes are available: 6 Insufficient cpu.`
    pub(super) fn message(&self, nodes: usize, pod: &PodInfo) -> String {
        let mut words: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
        for (why, count) in &self.counts {
            let rejection = Rejection { plugin: None, code: Code::Unschedulable, why: why.clone() };
            for reason in rejection.reasons(pod) {
                *words.entry(reason).or_default() += count;
            }
        }
        let mut parts: Vec<String> = words.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        // Sorted as text, count included, as kube-scheduler does.
        parts.sort();
        let list = if parts.is_empty() { String::new() } else { format!(" {}.", parts.join(", ")) };
        format!("0/{nodes} nodes are available:{list}")
    }
}
