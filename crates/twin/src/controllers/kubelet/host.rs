//! What a kubelet knows of its machine: addresses for pods, images it has, whether it is up.

use super::fault::FULL_SPEED;
use super::shutdown::Shutdown;
use crate::controllers::events::Source;
use crate::world::GROUP;
use fleet::Instant;
use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Pod addresses of a node: `.2` to `.254` of its /24.
const ADDRESS_FIRST: u16 = 2;
const ADDRESS_LAST: u16 = 254;
/// Most images a node remembers; a real one collects garbage by disk use.
const IMAGES_MAX: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Host {
    ip: String,
    /// First three numbers of the pods' addresses, with a dot at the end.
    prefix: String,
    next: u16,
    taken: BTreeSet<u16>,
    images: BTreeSet<Arc<str>>,
    /// Images being pulled, and until when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pulls: BTreeMap<Arc<str>, Instant>,
    pub(super) down: bool,
    /// Whether it is cut off from the API server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) cut: bool,
    /// At which part of its speed the machine works, percent.
    #[serde(default = "full_speed", skip_serializing_if = "is_full_speed")]
    pub(super) speed_percent: u32,
    /// Bytes of its disk that are used by what is no pod's.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) litter: i64,
    /// Counts how often the machine has gone down or come up.
    pub(super) turn: u32,
    /// Whether the control plane has noticed that the machine is down.
    pub(super) noticed: bool,
    /// Whether the machine will not come back; it is forgotten with its node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) gone: bool,
    /// Whether its kubelet begins anew and has not looked at its static pods yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) anew: bool,
    /// The node group it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<Arc<str>>,
    /// What is left to do before the machine goes down that was told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shutdown: Option<Shutdown>,
}

fn full_speed() -> u32 {
    FULL_SPEED
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_full_speed(percent: &u32) -> bool {
    *percent == FULL_SPEED
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(bytes: &i64) -> bool {
    *bytes == 0
}

/// Addresses of a node and of a pod on it.
pub(super) struct Addresses {
    pub(super) host: String,
    pub(super) pod: String,
}

impl Host {
    pub(super) fn new(node: &Node) -> Host {
        let addresses = node.status.as_ref().and_then(|s| s.addresses.as_ref());
        let ip = addresses.into_iter().flatten().find(|a| a.type_ == "InternalIP");
        let cidr = node.spec.as_ref().and_then(|s| s.pod_cidr.as_deref()).unwrap_or("10.244.0.0/24");
        let base = cidr.split('/').next().unwrap_or_default();
        Host {
            ip: ip.map(|a| a.address.clone()).unwrap_or_default(),
            prefix: base.rsplit_once('.').map(|(head, _)| format!("{head}.")).unwrap_or_default(),
            next: ADDRESS_FIRST,
            taken: BTreeSet::new(),
            images: BTreeSet::new(),
            pulls: BTreeMap::new(),
            down: false,
            cut: false,
            speed_percent: FULL_SPEED,
            litter: 0,
            turn: 0,
            noticed: false,
            gone: false,
            anew: false,
            group: node
                .metadata
                .labels
                .as_ref()
                .and_then(|all| all.get(GROUP))
                .map(|name| name.as_str().into()),
            shutdown: None,
        }
    }
    /// The next free address; `None` when all are taken.
    pub(super) fn take(&mut self) -> Option<u16> {
        for _ in ADDRESS_FIRST..=ADDRESS_LAST {
            let address = self.next;
            self.next = if address >= ADDRESS_LAST { ADDRESS_FIRST } else { address + 1 };
            if self.taken.insert(address) {
                return Some(address);
            }
        }
        None
    }
    /// Where the node has no network of its own for pods, gives it the `index`th one.
    pub(super) fn number(&mut self, node: &Node, index: usize) {
        if node.spec.as_ref().is_none_or(|s| s.pod_cidr.is_none()) {
            self.prefix = format!("10.{}.{}.", 200 + (index / 256) % 56, index % 256);
        }
    }
    /// Takes the address a pod has already, if it is one of this node's.
    pub(super) fn claim(&mut self, ip: &str) -> Option<u16> {
        let last: u16 = ip.strip_prefix(&self.prefix)?.parse().ok()?;
        let free = (ADDRESS_FIRST..=ADDRESS_LAST).contains(&last) && self.taken.insert(last);
        free.then_some(last)
    }
    pub(super) fn free(&mut self, address: u16) {
        self.taken.remove(&address);
    }
    /// Whether it has an image.
    pub(super) fn has(&self, image: &str) -> bool {
        self.images.contains(image)
    }
    /// When an image is there that is being pulled.
    pub(super) fn arrives(&self, image: &str) -> Option<Instant> {
        self.pulls.get(image).copied()
    }
    /// An image is being pulled until then.
    pub(super) fn expect(&mut self, image: &str, until: Instant) {
        self.pulls.insert(image.into(), until);
    }
    /// Makes an image present.
    pub(super) fn keep(&mut self, image: &str) {
        self.pulls.remove(image);
        if self.images.contains(image) {
            return;
        }
        if self.images.len() >= IMAGES_MAX {
            self.images.pop_first();
        }
        self.images.insert(image.into());
    }
    pub(super) fn addresses(&self, address: Option<u16>) -> Addresses {
        let pod = address.map(|n| format!("{}{n}", self.prefix)).unwrap_or_default();
        Addresses { host: self.ip.clone(), pod }
    }
    pub(super) fn source<'a>(&self, node: &'a str) -> Source<'a> {
        Source { component: "kubelet", host: Some(node) }
    }
}
