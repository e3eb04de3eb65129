//! `NodeVolumeLimits`: a driver attaches so many volumes to a node and no more.

use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Plugin, Rejection};
use crate::controllers::scheduler::storage::Storage;
use std::collections::BTreeSet;

/// Driver and handle of each volume a pod has attached, or will have made.
fn attached<'a>(storage: &'a Storage, pod: &PodInfo) -> impl Iterator<Item = (&'a str, String)> {
    let namespace = pod.namespace.clone();
    let claims = pod.rare.claims.clone();
    claims.into_iter().filter_map(move |name| {
        let claim = storage.claim(&namespace, &name)?;
        if claim.volume.is_empty() {
            let class = storage.classes.get(&claim.class)?;
            return Some((class.provisioner.as_str(), format!("{namespace}/{name}")));
        }
        let (driver, handle) = storage.volumes.get(&claim.volume)?.csi.as_ref()?;
        Some((driver.as_str(), format!("handle/{handle}")))
    })
}

pub(in super::super) fn filter(storage: &Storage, pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let limits = storage.limits.get(&node.name).filter(|l| !l.is_empty())?;
    let mut new: BTreeSet<(&str, String)> = attached(storage, pod).collect();
    if new.is_empty() {
        return None;
    }
    let mut old: BTreeSet<(&str, String)> = BTreeSet::new();
    if node.claimants > 0 {
        old.extend(node.pods.iter().flat_map(|p| attached(storage, p)));
    }
    new.retain(|volume| !old.contains(volume));
    let count = |all: &BTreeSet<(&str, String)>, driver: &str| {
        all.iter().filter(|(d, _)| *d == driver).count() as i64
    };
    let over = limits.iter().any(|(driver, most)| {
        let more = count(&new, driver);
        more > 0 && count(&old, driver) + more > *most
    });
    over.then_some(Rejection::unschedulable(Plugin::NodeVolumeLimits, "node(s) exceed max volume count"))
}
