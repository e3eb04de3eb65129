//! `VolumeBinding`: bound claims are used where their volumes reach; claims that wait for a pod are bound
//! to volumes that reach the node, or to ones that can be made there.

use crate::controllers::scheduler::node::NodeInfo;
use crate::controllers::scheduler::pod::PodInfo;
use crate::controllers::scheduler::status::{Code, Plugin, Rejection, Why};
use crate::controllers::scheduler::storage::{Claim, Class, Storage, Volume};
use std::sync::Arc;

const REASONS: [&str; 4] = [
    "node(s) didn't match PersistentVolume's node affinity",
    "node(s) didn't find available persistent volumes to bind",
    "node(s) did not have enough free storage",
    "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
];
const AFFINITY: u8 = 1;
const NOTHING_TO_BIND: u8 = 2;
const NO_ROOM: u8 = 4;
const GONE: u8 = 8;

/// Provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A pod's claims.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Claims {
    /// Names of the volumes of bound claims.
    bound: Vec<String>,
    /// Claims that wait for a node, smallest first.
    waiting: Vec<(Arc<str>, Claim)>,
}

pub(in super::super) fn pre_filter(storage: &Storage, pod: &PodInfo) -> Result<Claims, Rejection> {
    let mut claims = Claims::default();
    let mut immediate = false;
    for name in &pod.rare.claims {
        let refuse = |why: String| Err(Rejection::owned(Plugin::VolumeBinding, &why));
        let Some(claim) = storage.claim(&pod.namespace, name) else {
            return refuse(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        if claim.lost {
            return refuse(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
                claim.volume
            ));
        }
        if claim.deleting {
            return refuse(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if claim.bound {
            claims.bound.push(claim.volume.clone());
        } else if claim.volume.is_empty() && storage.classes.get(&claim.class).is_some_and(|c| c.waits) {
            claims.waiting.push((name.clone(), claim.clone()));
        } else {
            immediate = true;
        }
    }
    if immediate {
        return Err(Rejection::unresolvable(
            Plugin::VolumeBinding,
            "pod has unbound immediate PersistentVolumeClaims",
        ));
    }
    claims.waiting.sort_by_key(|(_, claim)| claim.bytes);
    Ok(claims)
}

pub(in super::super) fn filter(
    storage: &Storage,
    claims: &Claims,
    pod: &PodInfo,
    node: &NodeInfo,
) -> Option<Rejection> {
    let mut against = 0;
    for name in &claims.bound {
        match storage.volumes.get(name) {
            None => against |= GONE,
            Some(volume) if !volume.reaches(&node.name, &node.labels) => against |= AFFINITY,
            Some(_) => {}
        }
    }
    let elsewhere = |(_, claim): &(Arc<str>, Claim)| {
        claim.selected_node.as_ref().is_some_and(|selected| **selected != *node.name)
    };
    if claims.waiting.iter().any(elsewhere) {
        against |= NOTHING_TO_BIND;
    }
    let chosen = volumes(storage, claims, pod, node);
    let to_make: Vec<&Claim> = chosen.iter().filter(|(.., v)| v.is_none()).map(|(_, c, _)| *c).collect();
    if against & NOTHING_TO_BIND == 0 {
        against |= make(storage, &to_make, node);
    }
    let code = Code::UnschedulableAndUnresolvable;
    (against != 0).then_some(Rejection {
        plugin: Some(Plugin::VolumeBinding),
        code,
        why: Why::Texts(&REASONS, against),
    })
}

/// For each claim that waits the volume it would be bound to on a node; `None` where one would be made.
fn volumes<'a>(
    storage: &'a Storage,
    claims: &'a Claims,
    pod: &PodInfo,
    node: &NodeInfo,
) -> Vec<(&'a Arc<str>, &'a Claim, Option<&'a str>)> {
    let mut taken: Vec<&str> = Vec::new();
    let one = |(name, claim): &'a (Arc<str>, Claim)| {
        let free = || smallest(storage, &pod.namespace, name, claim, node, &taken);
        let volume = if claim.selected_node.is_some() { None } else { free() };
        taken.extend(volume);
        (name, claim, volume)
    };
    claims.waiting.iter().map(one).collect()
}

/// The same, by name.
pub(in super::super) fn choose(
    storage: &Storage,
    claims: &Claims,
    pod: &PodInfo,
    node: &NodeInfo,
) -> Vec<(Arc<str>, Option<String>)> {
    let all = volumes(storage, claims, pod, node);
    all.into_iter().map(|(name, _, volume)| (name.clone(), volume.map(str::to_owned))).collect()
}

/// The smallest free volume that will do, or the one that is kept for the claim.
fn smallest<'a>(
    storage: &'a Storage,
    namespace: &str,
    name: &str,
    claim: &Claim,
    node: &NodeInfo,
    chosen: &[&str],
) -> Option<&'a str> {
    let kept = |v: &Volume| {
        v.claim
            .as_ref()
            .is_some_and(|(ns, n, uid)| ns == namespace && n == name && (uid.is_empty() || *uid == claim.uid))
    };
    let does = |v: &Volume| {
        v.class == claim.class
            && !v.deleting
            && v.block == claim.block
            && v.bytes >= claim.bytes
            && claim.modes.iter().all(|m| v.modes.contains(m))
            && v.reaches(&node.name, &node.labels)
    };
    let free = |v: &Volume| {
        v.claim.is_none() && v.available && claim.selector.as_ref().is_none_or(|s| s.matches(&v.labels))
    };
    let all = || storage.volumes.iter().filter(|(n, v)| !chosen.contains(&n.as_str()) && does(v));
    let own = all().find(|(_, v)| kept(v));
    own.or_else(|| all().filter(|(_, v)| free(v)).min_by_key(|(_, v)| v.bytes)).map(|(n, _)| n.as_str())
}

/// Why volumes for these claims cannot be made for a node; 0 when they can.
fn make(storage: &Storage, claims: &[&Claim], node: &NodeInfo) -> u8 {
    for claim in claims {
        let Some(class) = storage.classes.get(&claim.class) else { return NOTHING_TO_BIND };
        if class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER || !class.allows(node) {
            return NOTHING_TO_BIND;
        }
        if storage.measured.get(&class.provisioner) != Some(&true) {
            continue;
        }
        let enough = storage
            .capacities
            .values()
            .any(|c| c.class == claim.class && c.bytes >= claim.bytes && c.nodes.matches(&node.labels));
        if !enough {
            return NO_ROOM;
        }
    }
    0
}

impl Class {
    fn allows(&self, node: &NodeInfo) -> bool {
        let term = |term: &Vec<(String, Vec<String>)>| {
            term.iter().all(|(key, values)| node.labels.get(key).is_some_and(|v| values.contains(v)))
        };
        self.topologies.is_empty() || self.topologies.iter().any(term)
    }
}
