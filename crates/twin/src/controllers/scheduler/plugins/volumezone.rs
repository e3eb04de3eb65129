//! `VolumeZone`: a bound volume is used in its zone and region.

use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Plugin, Rejection};
use crate::controllers::scheduler::storage::Storage;

/// Labels nodes must have, with their allowed values.
pub(in super::super) type Zones = Vec<(&'static str, Vec<String>)>;

/// The labels of the current name that stand for older ones, and the other way round.
fn other_name(label: &str) -> &'static str {
    match label {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone" => "failure-domain.beta.kubernetes.io/zone",
        _ => "failure-domain.beta.kubernetes.io/region",
    }
}

pub(in super::super) fn pre_filter(storage: &Storage, pod: &PodInfo) -> Result<Zones, Rejection> {
    let mut zones = Zones::new();
    let refuse = |why: String| Err(Rejection::owned(Plugin::VolumeZone, &why));
    for name in &pod.rare.claims {
        let Some(claim) = storage.claim(&pod.namespace, name) else {
            return refuse(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        if claim.volume.is_empty() {
            if storage.classes.get(&claim.class).is_some_and(|c| c.waits) {
                continue;
            }
            return refuse("PersistentVolumeClaim had no pv name and storageClass name".to_owned());
        }
        let Some(volume) = storage.volumes.get(&claim.volume) else {
            return refuse(format!("persistentvolume \"{}\" not found", claim.volume));
        };
        zones.extend(volume.zones.iter().cloned());
    }
    Ok(zones)
}

pub(in super::super) fn filter(zones: &Zones, node: &NodeInfo) -> Option<Rejection> {
    let value = |label: &str| node.labels.get(label).or_else(|| node.labels.get(other_name(label)));
    let placed = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"]
        .into_iter()
        .any(|l| value(l).is_some());
    if zones.is_empty() || !placed {
        return None;
    }
    let elsewhere = |(label, values): &(&str, Vec<String>)| value(label).is_none_or(|v| !values.contains(v));
    zones
        .iter()
        .any(elsewhere)
        .then_some(Rejection::unresolvable(Plugin::VolumeZone, "node(s) had no available volume zone"))
}
