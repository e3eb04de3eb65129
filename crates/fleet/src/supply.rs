//! How machines come and go: the limits of a node group, how long a machine takes to boot and to join, when there is none
//! to be had, when a spot machine is taken away, and how the cluster autoscaler is set.
//!
//! Invariants: `min ≤ max`; a [`Delay`] has `min ≤ median ≤ max`; all is within the bounds named here. Nothing draws: whoever
//! owns a random stream passes in what it drew. Left out: reading it from a file ([`crate::file`]).

use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest a machine may take to boot, or to join: an hour. The autoscaler gives up after a quarter of one.
pub const DELAY_MAX: Span = Span::HOUR;
/// Longest notice of an interruption.
pub const NOTICE_MAX: Span = Span::HOUR;
/// Most interruptions a machine may suffer in an hour of running, and most that may be named.
pub const INTERRUPTIONS_MAX: f64 = 60.0;
/// Most interruptions a fleet file may name for a group.
pub const SCHEDULE_MAX: usize = 1000;

/// How many nodes a group may have; one that has no limits is not autoscaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
}

/// A length of time that varies: one half of all draws lie evenly between the least and the median, the other half evenly
/// between the median and the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// The least.
    pub min: Span,
    /// As many are below as above.
    pub median: Span,
    /// The most.
    pub max: Span,
}

impl Delay {
    /// Always the same.
    pub const fn always(span: Span) -> Delay {
        Delay { min: span, median: span, max: span }
    }
    /// The length at a place in the distribution, 0 to 2³² − 1: whole milliseconds.
    pub fn at(&self, place: u32) -> Span {
        let half = 1_i64 << 31;
        let place = i64::from(place);
        let (from, to, place) =
            if place < half { (self.min, self.median, place) } else { (self.median, self.max, place - half) };
        let span = from + (to - from).scaled(place, half);
        Span::from_millis(span.as_nanos() / 1_000_000)
    }
}

/// From the request for a machine until its kubelet registers the node, where nothing is stated; and from there until the
/// node is ready. Assumed: both medians together are a minute, inside the 45 to 65 s that Outreach reports of some 1,000 EKS
/// nodes, after and before tuning (kube.fm, "Faster EKS node and pod startup", 2026-02-17).
pub const BOOT: Delay =
    Delay { min: Span::from_seconds(35), median: Span::from_seconds(45), max: Span::from_seconds(90) };
/// See [`BOOT`].
pub const JOIN: Delay =
    Delay { min: Span::from_seconds(10), median: Span::from_seconds(15), max: Span::from_seconds(30) };

/// When machines of a group are not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortage {
    /// How many there are of them all the same, those counted that run.
    pub at_most: u32,
    /// Until when, counted from the start of the world; `None`: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Span>,
}

/// Machines that may be taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spot {
    /// Interruptions of a machine in an hour of running, on average (a Poisson process).
    pub per_hour: f64,
    /// When one machine of the group is taken away, counted from the start of the world, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<Span>,
    /// From the notice until the machine is gone.
    pub notice: Span,
}

/// Notice of an interruption where none is stated: what EC2 gives.
pub const NOTICE: Span = Span::from_seconds(120);

/// How machines of a group come and go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Supply {
    /// From the request until the node is registered.
    pub boot: Delay,
    /// From there until it is ready.
    pub join: Delay,
    /// When there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortage: Option<Shortage>,
    /// Whether and when they are taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot: Option<Spot>,
}

impl Default for Supply {
    fn default() -> Supply {
        Supply { boot: BOOT, join: JOIN, shortage: None, spot: None }
    }
}

impl Supply {
    /// Whether nothing is stated.
    pub fn is_default(&self) -> bool {
        *self == Supply::default()
    }
}

/// Which of several groups the autoscaler enlarges, named as its flag `--expander` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expander {
    /// By lot.
    Random,
    /// The one with room for the most pods.
    MostPods,
    /// The one whose new nodes would stand idle least.
    LeastWaste,
    /// The one that needs the fewest nodes.
    LeastNodes,
    /// The one that costs least for what is asked for.
    Price,
    /// The one people prefer, by the ConfigMap `cluster-autoscaler-priority-expander`.
    Priority,
}

impl Expander {
    /// All, with their names.
    pub const ALL: [(&'static str, Expander); 6] = [
        ("random", Expander::Random),
        ("most-pods", Expander::MostPods),
        ("least-waste", Expander::LeastWaste),
        ("least-nodes", Expander::LeastNodes),
        ("price", Expander::Price),
        ("priority", Expander::Priority),
    ];
}

impl fmt::Display for Expander {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Expander::ALL.iter().find(|(_, of)| of == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// How the cluster autoscaler is set. Fields are its flags; the defaults are those of 1.36.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Autoscaler {
    /// How often it looks.
    pub scan_interval: Span,
    /// What it chooses by, one after another; the last of equals by lot.
    #[serde(with = "expanders")]
    pub expander: Vec<Expander>,
    /// Most nodes in the cluster; 0: as many as the groups allow.
    pub max_nodes_total: u32,
    /// How long a machine may take until its node is registered.
    pub max_node_provision_time: Span,
    /// How old a pod must be before nodes are added for it.
    pub new_pod_scale_up_delay: Span,
    /// Pods of a lower priority get no nodes.
    pub expendable_pods_priority_cutoff: i32,
    /// Whether nodes are taken away at all.
    pub scale_down_enabled: bool,
    /// The share of its CPU or memory, in thousandths, above which a node is needed.
    #[serde(with = "share")]
    pub scale_down_utilization_threshold: i64,
    /// How long a node must have been unneeded, and how long one that is not ready.
    pub scale_down_unneeded_time: Span,
    /// See above.
    pub scale_down_unready_time: Span,
    /// How long after nodes were added none is taken away; after one was; after that failed.
    pub scale_down_delay_after_add: Span,
    /// See above; zero: one look.
    pub scale_down_delay_after_delete: Span,
    /// See above.
    pub scale_down_delay_after_failure: Span,
    /// How long a node that could not be taken away is not looked at again.
    pub unremovable_node_recheck_timeout: Span,
    /// Most nodes that are taken away at a time, and most of them that have pods.
    pub max_scale_down_parallelism: u32,
    /// See above.
    pub max_drain_parallelism: u32,
    /// How long an eviction that is refused is tried again.
    pub max_pod_eviction_time: Span,
    /// Longest grace period a pod is given.
    pub max_graceful_termination_sec: u32,
    /// Whether pods of kube-system without a budget keep their node, for at most an hour.
    pub skip_nodes_with_system_pods: bool,
    /// Whether pods with local storage keep their node.
    pub skip_nodes_with_local_storage: bool,
    /// Whether DaemonSets' pods count as use.
    pub ignore_daemonsets_utilization: bool,
    /// Whether a node is cordoned too before it is emptied.
    pub cordon_node_before_terminating: bool,
}

impl Default for Autoscaler {
    fn default() -> Autoscaler {
        Autoscaler {
            scan_interval: Span::from_seconds(10),
            expander: vec![Expander::LeastWaste],
            max_nodes_total: 0,
            max_node_provision_time: Span::from_seconds(900),
            new_pod_scale_up_delay: Span::ZERO,
            expendable_pods_priority_cutoff: -10,
            scale_down_enabled: true,
            scale_down_utilization_threshold: 500,
            scale_down_unneeded_time: Span::from_seconds(600),
            scale_down_unready_time: Span::from_seconds(1200),
            scale_down_delay_after_add: Span::from_seconds(600),
            scale_down_delay_after_delete: Span::ZERO,
            scale_down_delay_after_failure: Span::from_seconds(180),
            unremovable_node_recheck_timeout: Span::from_seconds(300),
            max_scale_down_parallelism: 10,
            max_drain_parallelism: 1,
            max_pod_eviction_time: Span::from_seconds(120),
            max_graceful_termination_sec: 600,
            skip_nodes_with_system_pods: true,
            skip_nodes_with_local_storage: true,
            ignore_daemonsets_utilization: false,
            cordon_node_before_terminating: true,
        }
    }
}

/// Expanders as one text, with commas.
mod expanders {
    use super::Expander;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(all: &[Expander], serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<String> = all.iter().map(Expander::to_string).collect();
        serializer.serialize_str(&names.join(","))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Expander>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let one = |name: &str| {
            let found = Expander::ALL.iter().find(|(known, _)| *known == name.trim()).map(|(_, of)| *of);
            found.ok_or_else(|| {
                let known: Vec<&str> = Expander::ALL.iter().map(|(known, _)| *known).collect();
                D::Error::custom(format!("expander: {name:?}: expected some of {}", known.join(", ")))
            })
        };
        text.split(',').map(one).collect()
    }
}

/// A share from 0 to 1, kept in thousandths.
mod share {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(milli: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*milli as f64 / 1000.0)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let share = f64::deserialize(deserializer)?;
        if !(0.0..=1.0).contains(&share) {
            return Err(D::Error::custom(format!("{share}: expected a share from 0 to 1")));
        }
        Ok((share * 1000.0).round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_lie_about_their_median() {
        let delay = Delay {
            min: Span::from_seconds(10),
            median: Span::from_seconds(20),
            max: Span::from_seconds(60),
        };
        let at = |share: f64| delay.at((share * f64::from(u32::MAX)) as u32).as_nanos() / 1_000_000;
        assert_eq!([0.0, 0.25, 0.75, 1.0].map(at), [10_000, 14_999, 39_999, 59_999]);
        assert_eq!(Delay::always(Span::MINUTE).at(7), Span::MINUTE);
        assert_eq!(delay.at(1 << 31), delay.median);
    }

    #[test]
    fn the_autoscaler_is_set_as_its_flags_are() {
        let set = |text: &str| serde_json::from_str::<Autoscaler>(text).map_err(|e| e.to_string());
        assert_eq!(set("{}").unwrap(), Autoscaler::default());
        let other = set(r#"{"expander": "priority,price", "scaleDownUtilizationThreshold": 0.65}"#).unwrap();
        assert_eq!(other.expander, [Expander::Priority, Expander::Price]);
        assert_eq!(other.scale_down_utilization_threshold, 650);
        assert_eq!(set(&serde_json::to_string(&other).unwrap()).unwrap(), other);
        assert!(
            set(r#"{"expander": "cheapest"}"#).unwrap_err().contains("expected some of random, most-pods")
        );
        assert!(set(r#"{"scaleDownUtilizationThreshold": 50}"#).unwrap_err().contains("a share from 0 to 1"));
    }
}
