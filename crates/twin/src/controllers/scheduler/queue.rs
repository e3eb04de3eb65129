//! The pods that are to be bound: in what order they are tried, and when again.
//!
//! Pods to try go by priority, then by when they came or last failed. A pod that fits nowhere waits for
//! news that could help it: what that is depends on the plugins that turned it down. One that comes back
//! within its back-off (1 s, doubled with each attempt, at most 10 s) is tried only after all others, in
//! order of the second its back-off ends; with nobody else to try, that is at once, as in kube-scheduler.
//! Since an attempt takes no time here, both queues are empty at rest. Left out: the retry after five minutes
//! without news, and those of pods that a pod's leaving does not make fit; by either, a pod might evict others
//! that came since, or get behind those that came meanwhile.
//!
//! Pods that wait are filed by what they ask for. Whether news helps is asked once for all who ask for the
//! same, and of them only the first is in line: when its turn has come and the room is gone, the others
//! are not looked at. Pods whose fate hangs on other pods are asked one by one.

use super::cluster::Cluster;
use super::plugins::noderesources;
use super::pod::PodInfo;
use super::status::Plugin;
use crate::amounts::Amounts;
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
    /// Whether it is filed among those that wait.
    #[serde(skip)]
    filed: bool,
    /// The pod, digested when first needed.
    #[serde(skip)]
    pub(super) info: Option<Arc<PodInfo>>,
}

impl Waiting {
    /// When its back-off ends.
    fn rested_at(&self) -> Instant {
        let seconds = BACKOFF_FIRST_SECONDS << self.attempts.saturating_sub(1).min(4);
        self.since + Span::from_seconds(seconds.min(BACKOFF_MAX_SECONDS))
    }
    fn is_wide(&self) -> bool {
        self.against & WIDE != 0
    }
}

/// Order of the queue: higher priority first, then earlier, then as they were heard of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    urgency: i64,
    since: Instant,
    number: u64,
    uid: Arc<str>,
}

/// A place in line: those that need not back off go first, the others by the second in which they are
/// through with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    rested_second: Option<i64>,
    rank: Rank,
    /// Whether others that ask for the same wait behind it.
    shared: bool,
}

/// Pods that wait and ask for the same.
#[derive(Debug, Default)]
struct Class {
    rested: BTreeSet<Rank>,
    /// By the second in which the back-off ends, and with when exactly.
    resting: BTreeMap<(i64, Rank), Instant>,
}

impl Class {
    fn is_empty(&self) -> bool {
        self.rested.is_empty() && self.resting.is_empty()
    }
    /// Moves over who need not back off any more.
    fn rest(&mut self, now: Instant) {
        let over = |(second, _): &(i64, Rank)| *second <= now.as_unix_seconds();
        let due: Vec<(i64, Rank)> = {
            let begun = self.resting.iter().take_while(|(key, _)| over(key));
            begun.filter(|(_, end)| **end <= now).map(|(key, _)| key.clone()).collect()
        };
        for key in due {
            self.resting.remove(&key);
            self.rested.insert(key.1);
        }
    }
    /// The place in line of whoever is first.
    fn first(&self) -> Option<Turn> {
        let resting = || self.resting.first_key_value().map(|((second, rank), _)| (Some(*second), rank));
        let (rested_second, rank) = self.rested.first().map(|rank| (None, rank)).or_else(resting)?;
        Some(Turn { rested_second, rank: rank.clone(), shared: true })
    }
}

/// All pods that are to be bound, by uid.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    pods: BTreeMap<Arc<str>, Waiting>,
    number: u64,
    #[serde(skip)]
    line: BTreeSet<Turn>,
    /// Those that wait, by what they ask for.
    #[serde(skip)]
    classes: BTreeMap<Amounts, Class>,
    /// Those that wait and are asked one by one.
    #[serde(skip)]
    wide: BTreeSet<Arc<str>>,
    /// Those that have failed and are to be filed; `None` when nobody is filed yet.
    #[serde(skip)]
    unfiled: Option<Vec<Arc<str>>>,
}

/// What has happened since the last round that could help a pod.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Nodes that are new or changed, or that a pod has left.
    pub(super) gained: BTreeSet<Arc<str>>,
    /// The same by number, of those there are, with their free CPU and memory as of the beginning.
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
    /// Whether a node it names has room for a request.
    fn has_room(&self, request: &Amounts, cluster: &Cluster) -> bool {
        let enough = |want: i64, free: i64| want <= 0 || want <= free;
        self.at.iter().any(|(at, cpu, memory)| {
            enough(request.cpu_millis, *cpu)
                && enough(request.memory_bytes, *memory)
                && noderesources::fits(request, cluster.node(*at))
        })
    }
    /// Whether it could help a pod that these plugins turned down.
    fn helps(&self, pod: &PodInfo, against: u32, cluster: &Cluster) -> bool {
        let by = |plugin: Plugin| against & plugin.bit() != 0;
        if self.has_room(&pod.request, cluster) {
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
        self.line.is_empty()
    }
    fn rank(uid: &Arc<str>, waiting: &Waiting) -> Rank {
        Rank { urgency: waiting.urgency, since: waiting.since, number: waiting.number, uid: uid.clone() }
    }
    fn at_once(uid: &Arc<str>, waiting: &Waiting) -> Turn {
        Turn { rested_second: None, rank: Queue::rank(uid, waiting), shared: false }
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
            filed: false,
            info: None,
        };
        let uid: Arc<str> = uid.into();
        self.line.insert(Queue::at_once(&uid, &waiting));
        self.pods.insert(uid, waiting);
    }
    /// A pod is no longer to be bound; whether it was.
    pub(super) fn remove(&mut self, uid: &str) -> bool {
        self.unfile(uid);
        let Some((uid, waiting)) = self.pods.remove_entry(uid) else { return false };
        self.line.remove(&Queue::at_once(&uid, &waiting));
        true
    }
    /// The pod itself changed; it is tried again.
    pub(super) fn renew(&mut self, uid: &str) {
        self.unfile(uid);
        let Some((uid, _)) = self.pods.get_key_value(uid) else { return };
        let uid = uid.clone();
        let Some(waiting) = self.pods.get_mut(&uid) else { return };
        waiting.info = None;
        waiting.renewed = true;
        self.line.insert(Queue::at_once(&uid, waiting));
    }
    /// Takes a pod out of those that wait.
    fn unfile(&mut self, uid: &str) {
        let Some((uid, waiting)) = self.pods.get_key_value(uid).filter(|(_, w)| w.filed) else { return };
        if waiting.is_wide() {
            self.wide.remove(uid);
        } else if let Some(info) = &waiting.info
            && let Some(class) = self.classes.get_mut(&info.request)
        {
            let rank = Queue::rank(uid, waiting);
            if !class.rested.remove(&rank) {
                class.resting.remove(&(waiting.rested_at().as_unix_seconds(), rank));
            }
        }
        if let Some(waiting) = self.pods.get_mut(uid.clone().as_ref()) {
            waiting.filed = false;
        }
    }
    /// Files those that have failed since the last time; all, if nobody is filed.
    fn file(&mut self, objects: &Objects) {
        let all = || self.pods.iter().filter(|(_, w)| w.attempts > 0).map(|(uid, _)| uid.clone()).collect();
        let unfiled = self.unfiled.take().unwrap_or_else(all);
        self.unfiled = Some(Vec::new());
        for uid in unfiled {
            let Some(waiting) = self.pods.get_mut(&uid).filter(|w| !w.filed && !w.renewed) else { continue };
            if waiting.info.is_none() {
                let stored = objects.get(Kind::Pod, &waiting.namespace, &waiting.name);
                waiting.info = stored.and_then(|s| s.object.as_pod()).map(|p| Arc::new(PodInfo::new(p)));
            }
            let Some(info) = &waiting.info else { continue };
            waiting.filed = true;
            if waiting.is_wide() {
                self.wide.insert(uid);
                continue;
            }
            let rank = Queue::rank(&uid, waiting);
            let end = waiting.rested_at();
            if !self.classes.contains_key(&info.request) {
                self.classes.insert(info.request.clone(), Class::default());
            }
            if let Some(class) = self.classes.get_mut(&info.request) {
                class.resting.insert((end.as_unix_seconds(), rank), end);
            }
        }
    }
    /// Puts everybody in line whom the news could help; of those that ask for the same, the first.
    pub(super) fn hear(&mut self, news: &News, cluster: &Cluster, objects: &Objects, now: Instant) {
        self.file(objects);
        self.classes.retain(|_, class| !class.is_empty());
        for (request, class) in &mut self.classes {
            if news.has_room(request, cluster) {
                class.rest(now);
                self.line.extend(class.first());
            }
        }
        for uid in &self.wide {
            let Some(waiting) = self.pods.get(uid) else { continue };
            if waiting.info.as_ref().is_some_and(|info| news.helps(info, waiting.against, cluster)) {
                let end = waiting.rested_at();
                let rested_second = (end > now).then(|| end.as_unix_seconds());
                self.line.insert(Turn { rested_second, ..Queue::at_once(uid, waiting) });
            }
        }
    }
    /// The next pod to try. Those before it may have taken the room that had been gained: it is in line
    /// only as long as the news may still help it.
    pub(super) fn pop(&mut self, news: &News, cluster: &Cluster) -> Option<Arc<str>> {
        while let Some(turn) = self.line.pop_first() {
            let uid = turn.rank.uid;
            let Some(waiting) = self.pods.get(&uid) else { continue };
            let hopeful = match &waiting.info {
                Some(info) if waiting.attempts > 0 && !waiting.renewed => {
                    news.helps(info, waiting.against, cluster)
                }
                _ => true,
            };
            if !hopeful {
                continue;
            }
            let request = waiting.info.as_ref().filter(|_| turn.shared).map(|info| info.request.clone());
            self.unfile(&uid);
            if let Some(class) = request.and_then(|request| self.classes.get(&request)) {
                self.line.extend(class.first());
            }
            return Some(uid);
        }
        None
    }
    /// An attempt failed; the pod waits for news.
    pub(super) fn failed(&mut self, uid: &Arc<str>, against: u32, now: Instant) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.attempts = waiting.attempts.saturating_add(1);
        waiting.against = against;
        waiting.renewed = false;
        waiting.since = now;
        if let Some(unfiled) = &mut self.unfiled {
            unfiled.push(uid.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    fn info(uid: &str, cpu: &str) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        Arc::new(PodInfo::new(&serde_json::from_value(pod).unwrap()))
    }

    fn seconds(n: i64) -> Instant {
        Instant::from_unix_seconds(n)
    }

    /// Tries everybody in line at second `at`; who fits is bound. Says who was tried.
    fn tried(queue: &mut Queue, cluster: &mut Cluster, at: i64) -> Vec<String> {
        let mut news = News { gained: [Arc::from("n")].into(), ..News::default() };
        news.locate(cluster);
        queue.hear(&news, cluster, &Objects::new(), seconds(at));
        let mut tried = Vec::new();
        while let Some(uid) = queue.pop(&news, cluster) {
            tried.push(uid.to_string());
            let info = queue.pods[&uid].info.clone().unwrap();
            let fits = cluster.find("n").is_some_and(|n| noderesources::fits(&info.request, cluster.node(n)));
            if fits && !uid.starts_with("picky") {
                queue.remove(&uid);
                cluster.place("n", info);
            } else {
                queue.failed(&uid, Plugin::NodeResourcesFit.bit(), seconds(at));
            }
        }
        tried
    }

    #[test]
    fn those_who_wait_are_tried_in_order_while_there_is_room() {
        let mut cluster = Cluster::new();
        let node = |cpu: &str| -> Node {
            let allocatable = json!({"cpu": cpu, "memory": "8Gi", "pods": "110"});
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"allocatable": allocatable}}))
                .unwrap()
        };
        cluster.put_node(&node("0"));
        let mut queue = Queue::default();
        let pods =
            [("big", "3", 0), ("a", "1", 0), ("picky", "1", 5), ("b", "1", 0), ("c", "1", 9), ("d", "2", 0)];
        for (uid, cpu, priority) in pods {
            queue.add("default", uid, uid, priority, seconds(0));
            queue.get_mut(uid).unwrap().info = Some(info(uid, cpu));
        }
        assert_eq!(
            tried(&mut queue, &mut cluster, 0),
            ["c", "picky", "big", "a", "b", "d"],
            "new: everybody"
        );
        assert!(tried(&mut queue, &mut cluster, 1).is_empty(), "no room");
        cluster.put_node(&node("2"));
        // Room for two: one who is tried in vain takes none, and after two nobody is asked.
        assert_eq!(tried(&mut queue, &mut cluster, 2), ["c", "picky", "a"]);
        cluster.put_node(&node("3"));
        queue.remove("b");
        assert!(queue.contains("d") && !queue.contains("b"));
        // Still backing off, so after those who are not, and in the end alone.
        assert_eq!(tried(&mut queue, &mut cluster, 3), ["picky"]);
        cluster.put_node(&node("9"));
        // By now it has failed three times, and goes last, whatever its priority.
        assert_eq!(tried(&mut queue, &mut cluster, 4), ["big", "d", "picky"]);
        queue.renew("picky");
        assert!(!queue.is_idle());
        assert!(queue.remove("picky") && queue.is_idle() && queue.is_empty());
    }
}
