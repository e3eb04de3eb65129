//! The pods that are to be bound: in what order they are tried, and when again.
//!
//! Pods to try go by priority, then by when they came or last failed. A pod that fits nowhere waits for
//! news that could help it: what that is depends on the plugins that turned it down. One that comes back
//! within its back-off (1 s, doubled with each attempt, at most 10 s) is tried only after all others, in
//! order of the second its back-off ends; with nobody else to try, that is at once, as in kube-scheduler.
//! Since an attempt takes no time here, both queues are empty at rest. Left out: the retry after five minutes
//! without news, which could not change anything.

use super::cluster::Cluster;
use super::plugins::noderesources;
use super::pod::PodInfo;
use super::status::Plugin;
use crate::kind::Kind;
use crate::store::Objects;
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Back-off after the first failed attempt, in seconds.
const BACKOFF_FIRST_SECONDS: i64 = 1;
/// Longest back-off, in seconds.
const BACKOFF_MAX_SECONDS: i64 = 10;

/// Plugins whose verdict on one node depends on pods of others.
const WIDE: u32 =
    Plugin::PodTopologySpread.bit() | Plugin::InterPodAffinity.bit() | Plugin::VolumeRestrictions.bit();

/// A pod that is to be bound.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    /// Negated priority.
    urgency: i64,
    /// When it came, or last failed.
    since: Instant,
    /// Tells apart what came at one instant.
    number: u64,
    attempts: u32,
    /// The plugins that turned it down, one bit each.
    against: u32,
    /// What it was told last.
    pub(super) message: Option<String>,
    /// Whether the pod itself changed since the last attempt.
    #[serde(skip)]
    renewed: bool,
    /// CPU and memory it asks for; 0 until it has been digested.
    #[serde(skip)]
    asks: (i64, i64),
    /// The pod, digested when first needed.
    #[serde(skip)]
    pub(super) info: Option<Arc<PodInfo>>,
}

/// Order of the queue: higher priority first, then earlier, then as they were heard of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    urgency: i64,
    since: Instant,
    number: u64,
    uid: Arc<str>,
}

/// All pods that are to be bound, by uid.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    pods: BTreeMap<Arc<str>, Waiting>,
    number: u64,
    #[serde(skip)]
    active: BTreeSet<Rank>,
    /// By the second in which the back-off ends.
    #[serde(skip)]
    backing_off: BTreeSet<(i64, Rank)>,
}

/// What has happened since the last round that could help a pod.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Nodes that are new or changed, or that a pod has left.
    pub(super) gained: BTreeSet<Arc<str>>,
    /// The same by number, of those there are, with their free CPU and memory.
    at: Vec<(u32, i64, i64)>,
    /// Whether some of them are new, changed or gone.
    pub(super) nodes: bool,
    /// Pods that were placed.
    pub(super) came: Vec<Arc<PodInfo>>,
    /// Pods that left their node, or are about to.
    pub(super) left: Vec<Arc<PodInfo>>,
    /// Whether namespaces changed.
    pub(super) namespaces: bool,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.gained.is_empty()
            && !self.nodes
            && self.came.is_empty()
            && self.left.is_empty()
            && !self.namespaces
    }
    /// Finds the nodes it names.
    pub(super) fn locate(&mut self, cluster: &Cluster) {
        let free = |at: u32| {
            let node = cluster.node(at);
            let cpu = node.allocatable.cpu_millis - node.used.cpu_millis;
            node.known.then(|| (at, cpu, node.allocatable.memory_bytes - node.used.memory_bytes))
        };
        self.at = self.gained.iter().filter_map(|name| free(cluster.find(name)?)).collect();
    }
    /// Whether any node has enough CPU and memory, as of the beginning of the round: seldom, and cheap to say.
    fn may_hold(&self, (cpu, memory): (i64, i64)) -> bool {
        let enough = |want: i64, free: i64| want <= 0 || want <= free;
        self.at.iter().any(|(_, free, bytes)| enough(cpu, *free) && enough(memory, *bytes))
    }
    /// Whether it could help a pod that these plugins turned down.
    fn helps(&self, pod: &PodInfo, against: u32, cluster: &Cluster) -> bool {
        let by = |plugin: Plugin| against & plugin.bit() != 0;
        if self.at.iter().any(|(at, ..)| noderesources::fits(&pod.request, cluster.node(*at))) {
            return true;
        }
        if against & WIDE == 0 {
            return false;
        }
        let spread = || {
            let matches = |other: &Arc<PodInfo>| {
                let of = |s: &super::pod::Spread| {
                    s.pods.matches(&other.namespace, &other.labels, &cluster.namespaces)
                };
                pod.rare.spreads.iter().any(|s| of(s))
            };
            self.nodes || self.came.iter().chain(&self.left).any(matches)
        };
        let near = || {
            let wanted = |other: &Arc<PodInfo>| {
                let terms = pod.rare.terms.affinity.iter();
                terms
                    .into_iter()
                    .any(|t| t.pods.matches(&other.namespace, &other.labels, &cluster.namespaces))
            };
            let unwanted = |other: &Arc<PodInfo>| {
                let own = pod.rare.terms.anti.iter();
                let theirs = other.rare.terms.anti.iter();
                own.into_iter().any(|t| t.pods.matches(&other.namespace, &other.labels, &cluster.namespaces))
                    || theirs
                        .into_iter()
                        .any(|t| t.pods.matches(&pod.namespace, &pod.labels, &cluster.namespaces))
            };
            self.nodes || self.namespaces || self.came.iter().any(wanted) || self.left.iter().any(unwanted)
        };
        let claims = || {
            let shares = |other: &Arc<PodInfo>| {
                other.namespace == pod.namespace
                    && other.rare.claims.iter().any(|c| pod.rare.claims.contains(c))
            };
            self.left.iter().any(shares)
        };
        (by(Plugin::PodTopologySpread) && spread())
            || (by(Plugin::InterPodAffinity) && near())
            || (by(Plugin::VolumeRestrictions) && claims())
    }
}

impl Queue {
    pub(super) fn contains(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }
    pub(super) fn get_mut(&mut self, uid: &str) -> Option<&mut Waiting> {
        self.pods.get_mut(uid)
    }
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty() && self.backing_off.is_empty()
    }
    fn rank(uid: &Arc<str>, waiting: &Waiting) -> Rank {
        Rank { urgency: waiting.urgency, since: waiting.since, number: waiting.number, uid: uid.clone() }
    }
    /// A pod that is to be bound is new; it is tried at once.
    pub(super) fn add(&mut self, namespace: &str, name: &str, uid: &str, priority: i32, since: Instant) {
        self.number += 1;
        let waiting = Waiting {
            namespace: namespace.into(),
            name: name.into(),
            urgency: -i64::from(priority),
            since,
            number: self.number,
            attempts: 0,
            against: 0,
            message: None,
            renewed: false,
            asks: (0, 0),
            info: None,
        };
        let uid: Arc<str> = uid.into();
        self.active.insert(Queue::rank(&uid, &waiting));
        self.pods.insert(uid, waiting);
    }
    /// A pod is no longer to be bound; whether it was.
    pub(super) fn remove(&mut self, uid: &str) -> bool {
        let Some(waiting) = self.pods.remove(uid) else { return false };
        let rank = Queue::rank(&uid.into(), &waiting);
        self.active.remove(&rank);
        self.backing_off.retain(|(_, other)| *other != rank);
        true
    }
    /// The pod itself changed; it is tried again.
    pub(super) fn renew(&mut self, uid: &str) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.info = None;
        waiting.renewed = true;
        let rank = Queue::rank(&uid.into(), waiting);
        self.active.insert(rank);
    }
    /// Has every pod tried again that the news could help.
    pub(super) fn hear(&mut self, news: &News, cluster: &Cluster, objects: &Objects, now: Instant) {
        let worth = |w: &Waiting| {
            w.attempts > 0 && (w.against & WIDE != 0 || w.info.is_none() || news.may_hold(w.asks))
        };
        for (uid, waiting) in self.pods.iter_mut().filter(|(_, waiting)| worth(waiting)) {
            let info = waiting.info.take().or_else(|| {
                let stored = objects.get(Kind::Pod, &waiting.namespace, &waiting.name)?;
                Some(Arc::new(PodInfo::new(stored.object.as_pod()?)))
            });
            let helped = info.as_ref().is_some_and(|info| news.helps(info, waiting.against, cluster));
            waiting.asks = info.as_ref().map_or((0, 0), |i| (i.request.cpu_millis, i.request.memory_bytes));
            waiting.info = info;
            if !helped {
                continue;
            }
            let rank = Queue::rank(uid, waiting);
            let seconds = BACKOFF_FIRST_SECONDS << waiting.attempts.saturating_sub(1).min(4);
            let end = waiting.since + Span::from_seconds(seconds.min(BACKOFF_MAX_SECONDS));
            if end <= now {
                self.active.insert(rank);
            } else {
                self.backing_off.insert((end.as_unix_seconds(), rank));
            }
        }
    }
    /// The next pod to try.
    pub(super) fn pop(&mut self) -> Option<Arc<str>> {
        let rank = match self.active.pop_first() {
            Some(rank) => rank,
            None => self.backing_off.pop_first()?.1,
        };
        Some(rank.uid)
    }
    /// Whether it is still worth trying a pod whose turn has come: those before it may have taken the room
    /// that had been gained.
    pub(super) fn is_hopeful(&self, uid: &str, news: &News, cluster: &Cluster) -> bool {
        let Some(waiting) = self.pods.get(uid) else { return false };
        let helped = |info: &Arc<PodInfo>| news.helps(info, waiting.against, cluster);
        waiting.attempts == 0 || waiting.renewed || waiting.info.as_ref().is_none_or(helped)
    }
    /// An attempt failed; the pod waits for news.
    pub(super) fn failed(&mut self, uid: &str, against: u32, now: Instant) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.attempts = waiting.attempts.saturating_add(1);
        waiting.against = against;
        waiting.renewed = false;
        waiting.since = now;
    }
}
