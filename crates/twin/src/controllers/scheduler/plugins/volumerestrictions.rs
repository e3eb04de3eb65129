//! `VolumeRestrictions`: a claim that only one pod may use is used by one pod.

use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Plugin, Rejection};
use crate::controllers::scheduler::storage::Storage;

/// How many of the pod's claims for one pod only are in use by others.
pub(in super::super) fn pre_filter(storage: &Storage, pod: &PodInfo) -> Result<i64, Rejection> {
    let mut taken = 0;
    for name in &pod.rare.claims {
        let Some(claim) = storage.claim(&pod.namespace, name) else {
            let why = format!("persistentvolumeclaim \"{name}\" not found");
            return Err(Rejection::owned(Plugin::VolumeRestrictions, &why));
        };
        let used = storage.uses.contains_key(&(pod.namespace.clone(), name.clone()));
        taken += i64::from(claim.one_pod && used);
    }
    Ok(taken)
}

/// How many of the claims counted another pod uses.
pub(in super::super) fn shared(storage: &Storage, pod: &PodInfo, other: &PodInfo) -> i64 {
    let same = |name: &&std::sync::Arc<str>| {
        pod.namespace == other.namespace
            && pod.rare.claims.contains(name)
            && storage.claim(&pod.namespace, name).is_some_and(|c| c.one_pod)
    };
    other.rare.claims.iter().filter(same).count() as i64
}

pub(in super::super) fn filter(taken: i64) -> Option<Rejection> {
    (taken > 0).then_some(Rejection::unschedulable(
        Plugin::VolumeRestrictions,
        "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod",
    ))
}
