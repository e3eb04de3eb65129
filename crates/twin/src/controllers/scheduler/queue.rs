//! The pods that are to be bound: in what order they are tried, and when again.
//!
//! Pods to try go by priority, then by when they came or last failed. A pod that fits nowhere waits for
//! news that could help it: what that is depends on the plugins that turned it down. One that comes back
//! within its back-off (1 s, doubled with each attempt, at most 10 s) is tried only after all others, in
//! order of the second its back-off ends; with nobody else to try, that is at once, as in kube-scheduler.
//! Since an attempt takes no time here, both queues are empty at rest.
//!
//! Pods that wait are filed by what they ask for and whom they may evict for it. Whether news helps is asked once for
//! all who ask for the same, and of them only the first is in line: when its turn has come and the room is gone, the
//! others are not looked at. Pods whose fate hangs on other pods or on volumes are asked one by one. Where a pod has left a node,
//! whoever fits there once all less important pods are gone is tried too, because it may evict those.
//!
//! Who has waited five minutes without being tried is tried again whatever happened, as kube-scheduler does every 30 s.
//! Here that is done for those who could evict somebody; for the others nothing can have changed, since all news that
//! could have helped was heard, so that only their place in line moves behind those that failed meanwhile, and what they
//! are told is worked out anew. Their places are worked out when they are asked for: since each of them moves every 330 s,
//! those that do so at one instant stay together.

use super::cluster::Cluster;
use super::config::{Backoff, Config};
use super::kins::{Kin, Kins};
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

/// How long a pod waits before it is tried again without news, in seconds (kube-scheduler's
/// `DefaultPodMaxInUnschedulablePodsDuration`).
const PATIENCE_SECONDS: i64 = 300;
/// How often it is looked who has waited so long, in seconds.
const FLUSH_SECONDS: i64 = 30;
/// So long after a flush the same pods have waited too long again, in seconds.
const PERIOD_SECONDS: i64 = PATIENCE_SECONDS + FLUSH_SECONDS;

/// Plugins whose verdict depends on claims and volumes.
const STORAGE: u32 = Plugin::VolumeBinding.bit()
    | Plugin::VolumeZone.bit()
    | Plugin::NodeVolumeLimits.bit()
    | Plugin::VolumeRestrictions.bit();
/// Plugins whose verdict on one node depends on more than the node.
const WIDE: u32 = Plugin::PodTopologySpread.bit() | Plugin::InterPodAffinity.bit() | STORAGE;

/// A pod that is to be bound.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    /// Negated priority.
    urgency: i64,
    /// When it came, or was last tried in vain.
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
    /// With whom it is filed among those that wait, if it is.
    #[serde(skip)]
    filed: Option<Kin>,
    /// The pod, digested when first needed.
    #[serde(skip)]
    pub(super) info: Option<Arc<PodInfo>>,
}

impl Waiting {
    /// How often it has been flushed since it was last tried.
    fn flushes(&self, now: Instant) -> u32 {
        let first = out_of_patience(self.since);
        if self.attempts == 0 || first > now {
            return 0;
        }
        let more = (now - first).as_seconds() / PERIOD_SECONDS;
        u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1)
    }
    /// When it was last tried or flushed.
    fn since(&self, now: Instant) -> Instant {
        match self.flushes(now) {
            0 => self.since,
            n => out_of_patience(self.since) + Span::from_seconds(PERIOD_SECONDS * i64::from(n - 1)),
        }
    }
    /// When its back-off ends.
    fn rested_at(&self, backoff: Backoff, now: Instant) -> Instant {
        let attempts = self.attempts.saturating_add(self.flushes(now));
        self.since(now) + Span::from_seconds(backoff.seconds(attempts))
    }
    fn is_wide(&self) -> bool {
        self.against & WIDE != 0
    }
}

/// What a pod asks for, and whom it may evict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ask {
    request: Amounts,
    /// Pods of lower priority may have to go for it.
    above: i32,
}

/// Below whose priority pods may have to go for this one; nobody's, where it must not preempt.
fn above(pod: &PodInfo) -> i32 {
    if pod.preempts { pod.priority } else { i32::MIN }
}

impl Ask {
    fn of(pod: &PodInfo) -> Ask {
        Ask { request: pod.asked().clone(), above: above(pod) }
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
    /// Those that have been flushed, by the second of the period at which they are; in order.
    flushed: BTreeMap<i64, BTreeSet<(i64, u64, Arc<str>)>>,
}

/// The second of the period at which a pod that failed then is flushed.
fn phase(since: Instant) -> i64 {
    out_of_patience(since).as_unix_seconds().rem_euclid(PERIOD_SECONDS)
}

impl Class {
    fn is_empty(&self) -> bool {
        self.rested.is_empty() && self.resting.is_empty() && self.flushed.is_empty()
    }
    /// Takes a pod out.
    fn remove(&mut self, uid: &Arc<str>, waiting: &Waiting, backoff: Backoff) {
        let rank =
            Rank { urgency: waiting.urgency, since: waiting.since, number: waiting.number, uid: uid.clone() };
        let end = waiting.since + Span::from_seconds(backoff.seconds(waiting.attempts));
        if self.rested.remove(&rank) || self.resting.remove(&(end.as_unix_seconds(), rank)).is_some() {
            return;
        }
        let phase = phase(waiting.since);
        if let Some(together) = self.flushed.get_mut(&phase) {
            together.remove(&(waiting.urgency, waiting.number, uid.clone()));
            if together.is_empty() {
                self.flushed.remove(&phase);
            }
        }
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
    fn first(&self, pods: &BTreeMap<Arc<str>, Waiting>, backoff: Backoff, now: Instant) -> Option<Turn> {
        let turn = |rested_second, rank: &Rank| Turn { rested_second, rank: rank.clone(), shared: true };
        let rested = self.rested.first().map(|rank| turn(None, rank));
        let resting = self.resting.first_key_value().map(|((second, rank), _)| turn(Some(*second), rank));
        let flushed = self.flushed.values().filter_map(|together| {
            let uid = &together.first()?.2;
            let waiting = pods.get(uid)?;
            let end = waiting.rested_at(backoff, now);
            let rested_second = (end > now).then(|| end.as_unix_seconds());
            Some(Turn { rested_second, rank: Queue::rank(uid, waiting, now), shared: true })
        });
        rested.into_iter().chain(resting).chain(flushed).min()
    }
}

/// All pods that are to be bound, by uid.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    pods: BTreeMap<Arc<str>, Waiting>,
    number: u64,
    #[serde(skip)]
    pub(super) backoff: Backoff,
    #[serde(skip)]
    line: BTreeSet<Turn>,
    /// Those that wait, by what they ask for.
    #[serde(skip)]
    classes: BTreeMap<Ask, Class>,
    /// Those that wait and are asked one by one.
    #[serde(skip)]
    wide: BTreeSet<Arc<str>>,
    /// All that wait, by what their verdict hangs on.
    #[serde(skip)]
    kins: Kins,
    /// Those that have failed and are to be filed; `None` when nobody is filed yet.
    #[serde(skip)]
    unfiled: Option<Vec<Arc<str>>>,
    /// Those that have failed, by when they are to be tried without news; `None` when that is yet to be worked out.
    #[serde(skip)]
    patience: Option<BTreeMap<Instant, BTreeSet<Arc<str>>>>,
    /// When somebody is to be tried without news, if a timer is set for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flush_at: Option<Instant>,
}

/// The first look, after a failure at `since`, at which a pod has waited too long.
fn out_of_patience(since: Instant) -> Instant {
    next_look(since + Span::from_seconds(PATIENCE_SECONDS))
}

/// The next half minute, at which it is looked who has waited too long.
pub(super) fn next_look(after: Instant) -> Instant {
    Instant::from_unix_seconds((after.as_unix_seconds().div_euclid(FLUSH_SECONDS) + 1) * FLUSH_SECONDS)
}

/// A node that has gained room, with its free CPU and memory as of the beginning and the lowest priority on it.
#[derive(Clone, Copy, Debug)]
struct Gain {
    at: u32,
    cpu_millis: i64,
    memory_bytes: i64,
    lowest: i32,
}

/// What has happened since the last round that could help a pod.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Nodes that are new or changed, or that a pod has left.
    pub(super) gained: BTreeSet<Arc<str>>,
    /// The same by number, of those there are.
    at: Vec<Gain>,
    /// Whether some of them are new, changed or gone.
    pub(super) nodes: bool,
    /// Pods that were placed.
    pub(super) came: Vec<Arc<PodInfo>>,
    /// Pods that left their node, or are about to.
    pub(super) left: Vec<Arc<PodInfo>>,
    /// Whether any has left for good, or waits no more for a node it was to have.
    pub(super) departed: bool,
    /// Whether namespaces changed.
    pub(super) namespaces: bool,
    /// Whether claims, volumes, their classes or drivers changed.
    pub(super) storage: bool,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.gained.is_empty()
            && !self.nodes
            && self.came.is_empty()
            && self.left.is_empty()
            && !self.namespaces
            && !self.storage
    }
    /// Finds the nodes it names.
    pub(super) fn locate(&mut self, cluster: &Cluster) {
        let gain = |at: u32| {
            let node = cluster.node(at);
            let lowest = || node.pods.iter().map(|pod| pod.priority).min().unwrap_or(i32::MAX);
            node.known.then(|| Gain {
                at,
                cpu_millis: node.allocatable.cpu_millis - node.used.cpu_millis,
                memory_bytes: node.allocatable.memory_bytes - node.used.memory_bytes,
                lowest: lowest(),
            })
        };
        self.at = self.gained.iter().filter_map(|name| gain(cluster.find(name)?)).collect();
    }
    /// Whether a node it names has room for a request, or would have it without pods below a priority.
    fn has_room(&self, request: &Amounts, above: i32, cluster: &Cluster) -> bool {
        let enough = |want: i64, free: i64| want <= 0 || want <= free;
        let now = |gain: &Gain| {
            enough(request.cpu_millis, gain.cpu_millis)
                && enough(request.memory_bytes, gain.memory_bytes)
                && noderesources::fits(request, cluster.node(gain.at))
        };
        let without = |gain: &Gain| gain.lowest < above && cluster.fits_without(gain.at, request, above);
        self.at.iter().any(|gain| now(gain) || without(gain))
    }
    /// Whether it could help a pod that these plugins turned down.
    fn helps(&self, pod: &PodInfo, against: u32, cluster: &Cluster) -> bool {
        let by = |plugin: Plugin| against & plugin.bit() != 0;
        if self.has_room(pod.asked(), above(pod), cluster) {
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
            || (against & STORAGE != 0 && self.storage)
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
    fn rank(uid: &Arc<str>, waiting: &Waiting, now: Instant) -> Rank {
        Rank { urgency: waiting.urgency, since: waiting.since(now), number: waiting.number, uid: uid.clone() }
    }
    /// The place in line of one that is tried whatever happened.
    fn at_once(uid: &Arc<str>, waiting: &Waiting) -> Turn {
        Turn { rested_second: None, rank: Queue::rank(uid, waiting, waiting.since), shared: false }
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
            filed: None,
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
        let Some((uid, waiting)) = self.pods.get_key_value(uid) else { return };
        let Some(kin) = waiting.filed else { return };
        self.kins.remove(kin, uid);
        if waiting.is_wide() {
            self.wide.remove(uid);
        } else if let Some(info) = &waiting.info
            && let Some(class) = self.classes.get_mut(&Ask::of(info))
        {
            class.remove(uid, waiting, self.backoff);
        }
        if let Some(waiting) = self.pods.get_mut(uid.clone().as_ref()) {
            waiting.filed = None;
        }
    }
    /// Files those that have failed since the last time; all, if nobody is filed.
    fn file(&mut self, objects: &Objects, config: &Config, now: Instant) {
        let all = || self.pods.iter().filter(|(_, w)| w.attempts > 0).map(|(uid, _)| uid.clone()).collect();
        let unfiled = self.unfiled.take().unwrap_or_else(all);
        self.unfiled = Some(Vec::new());
        for uid in unfiled {
            let Some(waiting) = self.pods.get_mut(&uid).filter(|w| w.filed.is_none() && !w.renewed) else {
                continue;
            };
            if waiting.info.is_none() {
                let stored = objects.get(Kind::Pod, &waiting.namespace, &waiting.name);
                let pod = stored.and_then(|s| s.object.as_pod());
                waiting.info = pod.and_then(|p| Some(Arc::new(config.profile_of(p)?.adapt(PodInfo::new(p)))));
            }
            let Some(info) = &waiting.info else { continue };
            let against = (waiting.against, waiting.is_wide());
            waiting.filed = Some(self.kins.add(&uid, info, against, waiting.message.as_ref()));
            if waiting.is_wide() {
                self.wide.insert(uid);
                continue;
            }
            let class = self.classes.entry(Ask::of(info)).or_default();
            if waiting.flushes(now) > 0 {
                let together = class.flushed.entry(phase(waiting.since)).or_default();
                together.insert((waiting.urgency, waiting.number, uid));
                continue;
            }
            let rank = Queue::rank(&uid, waiting, now);
            let end = waiting.rested_at(self.backoff, now);
            class.resting.insert((end.as_unix_seconds(), rank), end);
        }
    }
    /// Puts everybody in line whom the news could help; of those that ask for the same, the first.
    pub(super) fn hear(
        &mut self,
        news: &News,
        cluster: &Cluster,
        (objects, config): (&Objects, &Config),
        now: Instant,
    ) {
        self.file(objects, config, now);
        self.classes.retain(|_, class| !class.is_empty());
        for (ask, class) in &mut self.classes {
            if news.has_room(&ask.request, ask.above, cluster) {
                class.rest(now);
                self.line.extend(class.first(&self.pods, self.backoff, now));
            }
        }
        for uid in &self.wide {
            let Some(waiting) = self.pods.get(uid) else { continue };
            if waiting.info.as_ref().is_some_and(|info| news.helps(info, waiting.against, cluster)) {
                let end = waiting.rested_at(self.backoff, now);
                let rested_second = (end > now).then(|| end.as_unix_seconds());
                let rank = Queue::rank(uid, waiting, now);
                self.line.insert(Turn { rested_second, rank, shared: false });
            }
        }
    }
    /// The next pod to try. Those before it may have taken the room that had been gained: it is in line
    /// only as long as the news may still help it.
    pub(super) fn pop(&mut self, news: &News, cluster: &Cluster, now: Instant) -> Option<Arc<str>> {
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
            let ask = waiting.info.as_ref().filter(|_| turn.shared).map(|info| Ask::of(info));
            self.unfile(&uid);
            if let Some(class) = ask.and_then(|ask| self.classes.get(&ask)) {
                self.line.extend(class.first(&self.pods, self.backoff, now));
            }
            return Some(uid);
        }
        None
    }
    /// A pod that is filed was tried in vain beside its turn: it keeps its place in line.
    pub(super) fn told(&mut self, uid: &Arc<str>, against: u32) {
        self.unfile(uid);
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.against = against;
        if let Some(unfiled) = &mut self.unfiled {
            unfiled.push(uid.clone());
        }
    }
    /// Those who wait and lacked room, by groups who would be told the same.
    pub(super) fn alike(&mut self, objects: &Objects, config: &Config, now: Instant) -> BTreeSet<Kin> {
        self.file(objects, config, now);
        self.kins.turned_down(Plugin::NodeResourcesFit.bit())
    }
    /// One of a group.
    pub(super) fn one_of(&self, kin: Kin) -> Option<Arc<str>> {
        self.kins.members(kin).next().cloned()
    }
    /// All of some groups, in order.
    pub(super) fn all_of(&self, kins: &[Kin], now: Instant) -> Vec<Arc<str>> {
        let all = kins.iter().flat_map(|kin| self.kins.members(*kin));
        let mut ranked: Vec<Rank> =
            all.filter_map(|uid| Some(Queue::rank(uid, self.pods.get(uid)?, now))).collect();
        ranked.sort();
        ranked.into_iter().map(|rank| rank.uid).collect()
    }
    /// An attempt failed; the pod waits for news.
    pub(super) fn failed(&mut self, uid: &Arc<str>, against: u32, now: Instant) {
        self.unfile(uid);
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        waiting.attempts = waiting.attempts.saturating_add(waiting.flushes(now)).saturating_add(1);
        waiting.against = against;
        waiting.renewed = false;
        waiting.since = now;
        if let Some(unfiled) = &mut self.unfiled {
            unfiled.push(uid.clone());
        }
        if let Some(patience) = &mut self.patience {
            patience.entry(out_of_patience(now)).or_default().insert(uid.clone());
        }
    }
    /// Who is looked at one by one when its patience is over, by when that is: who has not been flushed yet, and those
    /// that are asked one by one.
    fn patience(&mut self, now: Instant) -> &mut BTreeMap<Instant, BTreeSet<Arc<str>>> {
        let all = || {
            let mut patience: BTreeMap<Instant, BTreeSet<Arc<str>>> = BTreeMap::new();
            let counts = |w: &Waiting| w.attempts > 0 && (w.flushes(now) == 0 || w.is_wide());
            for (uid, waiting) in self.pods.iter().filter(|(_, w)| counts(w)) {
                patience.entry(out_of_patience(waiting.since(now))).or_default().insert(uid.clone());
            }
            patience
        };
        if self.patience.is_none() {
            self.patience = Some(all());
        }
        self.patience.get_or_insert_default()
    }
    /// When a timer is to be set for the next look at who has waited too long; `None`: one is set, or nobody waits.
    pub(super) fn next_flush(&mut self, now: Instant) -> Option<Instant> {
        if self.flush_at.is_some() {
            return None;
        }
        self.patience(now);
        // Who has gone or was tried since is left out, so that a world that was loaded sets the same timers.
        let Queue { pods, patience, classes, .. } = self;
        let patience = patience.as_mut()?;
        let counts = |at: Instant, uid: &Arc<str>| {
            pods.get(uid).is_some_and(|w| w.attempts > 0 && out_of_patience(w.since(now)) == at)
        };
        let mut first = None;
        while let Some(entry) = patience.first_entry() {
            if entry.get().iter().any(|uid| counts(*entry.key(), uid)) {
                first = Some(*entry.key());
                break;
            }
            entry.remove();
        }
        let second = now.as_unix_seconds();
        let next = |phase: &i64| second + PERIOD_SECONDS - (second - phase).rem_euclid(PERIOD_SECONDS);
        let phases = classes.values().flat_map(|class| class.flushed.keys());
        let again = phases.map(next).min().map(Instant::from_unix_seconds);
        self.flush_at = first.into_iter().chain(again).min();
        self.flush_at
    }
    /// Whether anybody has failed and waits.
    pub(super) fn waits(&self) -> bool {
        self.unfiled.as_ref().is_none_or(|unfiled| !unfiled.is_empty())
            || !self.classes.is_empty()
            || !self.wide.is_empty()
    }
    /// Whether it is time to look who has waited too long.
    pub(super) fn is_flush_due(&self, now: Instant) -> bool {
        self.flush_at.is_some_and(|at| at <= now)
    }
    /// Looks who has waited too long: who could evict somebody is put in line, the others count as tried in vain. Gives
    /// the groups of those: what they are told may have changed.
    pub(super) fn flush(
        &mut self,
        objects: &Objects,
        config: &Config,
        lowest: Option<i32>,
        now: Instant,
    ) -> BTreeSet<Kin> {
        self.flush_at = None;
        self.file(objects, config, now);
        let phase = now.as_unix_seconds().rem_euclid(PERIOD_SECONDS);
        let able = |above: i32| lowest.is_some_and(|lowest| lowest < above);
        let together = |may: bool| -> Vec<Arc<str>> {
            let classes = self.classes.iter().filter(|(ask, _)| able(ask.above) == may);
            let due = classes.filter_map(|(_, class)| class.flushed.get(&phase)).flatten();
            due.map(|(.., uid)| uid.clone()).collect()
        };
        let (again, mut in_vain) = (together(true), together(false));
        let patience = self.patience(now);
        let later = patience.split_off(&(now + Span::from_nanos(1)));
        let due = std::mem::replace(patience, later);
        for uid in again.into_iter().chain(due.into_values().flatten()) {
            let Some(waiting) = self.pods.get(&uid) else { continue };
            let flushed = waiting.flushes(now) > 0 && waiting.since(now) == now;
            let Some(info) = waiting.info.as_ref().filter(|_| waiting.filed.is_some() && flushed) else {
                continue;
            };
            let (evicts, wide) = (able(above(info)), waiting.is_wide());
            if evicts {
                self.unfile(&uid);
                let Some(waiting) = self.pods.get_mut(&uid) else { continue };
                waiting.renewed = true;
                self.line.insert(Queue::at_once(&uid, waiting));
            } else if wide {
                let next = out_of_patience(now);
                self.patience(now).entry(next).or_default().insert(uid.clone());
                in_vain.push(uid);
            } else {
                self.gather(&uid, phase);
                in_vain.push(uid);
            }
        }
        in_vain.iter().filter_map(|uid| self.pods.get(uid)?.filed).collect()
    }
    /// Puts a pod with those of its kind that are flushed together with it.
    fn gather(&mut self, uid: &Arc<str>, phase: i64) {
        let Some(waiting) = self.pods.get(uid) else { return };
        let Some(info) = &waiting.info else { return };
        let Some(class) = self.classes.get_mut(&Ask::of(info)) else { return };
        class.remove(uid, waiting, self.backoff);
        let together = class.flushed.entry(phase).or_default();
        together.insert((waiting.urgency, waiting.number, uid.clone()));
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
        queue.hear(&news, cluster, (&Objects::new(), &Config::default()), seconds(at));
        let mut tried = Vec::new();
        while let Some(uid) = queue.pop(&news, cluster, seconds(at)) {
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

    #[test]
    fn who_has_waited_five_minutes_is_tried_again_if_it_may_evict_somebody() {
        let mut queue = Queue::default();
        let config = Config::default();
        for (uid, priority) in [("urgent", 7), ("plain", 0)] {
            queue.add("default", uid, uid, priority, seconds(0));
            let pod = PodInfo { priority, ..(*info(uid, "1")).clone() };
            queue.get_mut(uid).unwrap().info = Some(Arc::new(pod));
        }
        let (news, cluster) = (News::default(), Cluster::new());
        while let Some(uid) = queue.pop(&news, &cluster, seconds(12)) {
            queue.failed(&uid, Plugin::NodeResourcesFit.bit(), seconds(12));
        }
        // More than five minutes later, on the half minute.
        assert_eq!(queue.next_flush(seconds(12)), Some(seconds(330)));
        assert_eq!(queue.next_flush(seconds(12)), None, "one timer is enough");
        queue.flush(&Objects::new(), &config, Some(0), seconds(330));
        let at = seconds(330);
        assert_eq!(queue.pop(&news, &cluster, at).as_deref(), Some("urgent"));
        assert_eq!(queue.pop(&news, &cluster, at), None, "nothing can have changed for the other");
        assert_eq!(queue.pods["plain"].since(at), at, "but it is behind those that failed meanwhile");
        assert_eq!(queue.pods["plain"].rested_at(queue.backoff, at), seconds(332), "and has failed twice");
        queue.remove("urgent");
        assert_eq!(queue.next_flush(at), Some(seconds(660)));
        queue.flush(&Objects::new(), &config, None, seconds(660));
        assert_eq!(queue.pop(&news, &cluster, seconds(660)), None, "nobody there to evict");
        assert_eq!(queue.pods["plain"].since(seconds(989)), seconds(660));
        assert_eq!(queue.next_flush(seconds(660)), Some(seconds(990)));
        queue.flush(&Objects::new(), &config, Some(-1), seconds(990));
        assert_eq!(queue.pop(&news, &cluster, seconds(990)).as_deref(), Some("plain"), "somebody there now");
        assert_eq!(
            [290, 299, 300, 329].map(|at| out_of_patience(seconds(at))),
            [600, 600, 630, 630].map(seconds)
        );
    }
}
