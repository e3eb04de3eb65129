//! `traffic`: requests come to Services that say so, are answered by their pods, and have these use CPU.
//!
//! Clients send to the endpoints they know of: pods that are ready and are not being deleted, as of a stated time ago. A
//! pod takes requests while its containers run and have not been sent SIGTERM; what is sent to one that does not is
//! refused. What a pod has under way when nothing new comes to it is finished as far as there is time until its containers
//! end, and else cut. The arithmetic is [`Flow`]'s; what pods use is left in the store, where [`crate::load`] reads it.
//! Invariants: a Service without a word of requests costs one look at its annotations when it changes, a pod one look-up
//! by namespace; nothing is drawn. Left out: session affinity, topology hints, retries, and what pods of one node take
//! from each other.

mod crossing;
mod stated;

use super::kubelet::Kubelet;
use super::podcontrol::ready_since;
use super::services::{self, KINDS};
use super::{Cx, Place};
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::store::{Change, ChangeKind};
use crate::traffic::{Counts, Curve, Flow, Pace};
use crate::world::{Priority, Task};
use crossing::Crossing;
use fleet::Instant;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use stated::{Capacity, Stated};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of a pod of a Service.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Known {
    /// Whether it is among the endpoints that are to be sent to.
    listed: bool,
    /// Whether clients send to it; and when they will hear otherwise.
    seen: bool,
    flips: Option<Instant>,
    /// Whether requests reach it.
    serving: bool,
    capacity: Capacity,
}

/// A Service to which requests come.
#[derive(Debug, Serialize, Deserialize)]
struct Own {
    stated: Stated,
    selector: BTreeMap<String, String>,
    made: Instant,
    flow: Flow,
    /// By uid.
    pods: BTreeMap<Arc<str>, Known>,
    /// When its timer goes off, and when something of its pods is due.
    armed: Option<Instant>,
    pods_due: Option<Instant>,
    /// Where answers weigh something, what went from one zone to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crossing: Option<Crossing>,
}

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// By namespace and name.
    services: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Own>>,
    /// Curves that were given, by namespace and name of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    given: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Curve>>,
    /// Bytes that went from one zone to another for Services that have no requests any more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    past: BTreeMap<Arc<str>, BTreeMap<Arc<str>, i128>>,
    /// Services to look at, and whether their pods are to be looked at as well; empty at rest.
    #[serde(skip)]
    dirty: BTreeMap<Place, bool>,
    /// Services that have no requests any more; empty at rest.
    #[serde(skip)]
    gone: Vec<(Place, Own)>,
}

/// The requests to one Service so far, and how it goes now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTraffic {
    /// Of the Service.
    pub namespace: String,
    /// Of the Service.
    pub name: String,
    /// Pods that clients send to.
    pub targets: u32,
    /// Those of them that take what is sent.
    pub serving: u32,
    /// How it goes now.
    pub pace: Pace,
    /// All requests so far.
    pub counts: Counts,
    /// Seconds within which 50, 95 and 99 % of all answers so far were there (at most 7 % above it); `None`: there were none.
    pub answered_within_seconds: [Option<f64>; 3],
}

impl Own {
    fn is_client(&self, object: &Object) -> bool {
        self.stated.answers.as_ref().is_some_and(|answers| answers.is_client(object))
    }
    fn selects(&self, object: &Object) -> bool {
        let labels = object.meta().labels.as_ref();
        self.selector.iter().all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
    }
    /// Takes in what was answered, by what answers weighed.
    fn settle(&mut self) {
        if let Some(crossing) = &mut self.crossing {
            crossing.settle(self.flow.answered());
        }
    }
    /// Takes in where its pods and their clients stand.
    fn place(&mut self, cx: &Cx<'_>, namespace: &str) {
        let Some(answers) = &self.stated.answers else {
            self.crossing.iter_mut().for_each(Crossing::rest);
            return;
        };
        let serving = |stored: &&Arc<crate::store::Stored>| {
            self.pods.get(stored.object.uid()).is_some_and(|known| known.serving)
        };
        let pods = cx.objects.list(Kind::Pod, Some(namespace)).filter(serving);
        let nodes = pods.filter_map(|stored| stored.object.as_pod()?.spec.as_ref()?.node_name.clone());
        let nodes: Vec<String> = nodes.collect();
        let begun = Crossing::new(self.flow.answered());
        self.crossing.get_or_insert(begun).place(cx, namespace, answers, &nodes);
    }
    /// Looks at its pods; whether they serve is settled, and what those have that no longer do.
    fn look_at_pods(&mut self, cx: &Cx<'_>, namespace: &str, kubelet: &Kubelet) {
        let (now, delay) = (cx.now, self.stated.propagation);
        let stored =
            cx.objects.list(Kind::Pod, Some(namespace)).filter(|stored| self.selects(&stored.object));
        let listed: BTreeMap<Arc<str>, (bool, Capacity)> = stored
            .filter_map(|stored| {
                let pod = stored.object.as_pod()?;
                Some((stored.object.uid().into(), (is_listed(pod), self.stated.capacity(pod))))
            })
            .collect();
        for uid in listed.keys() {
            self.pods.entry(uid.clone()).or_default();
        }
        self.pods_due = None;
        let flow = &mut self.flow;
        for (uid, known) in &mut self.pods {
            let (is_listed, capacity) = match listed.get(uid) {
                Some((listed, full)) => {
                    let rate = capacity_at(full.rate, kubelet.speed_percent(uid));
                    (*listed, Capacity { rate, ..*full })
                }
                None => (false, known.capacity),
            };
            known.capacity = capacity;
            if is_listed != known.listed {
                known.listed = is_listed;
                known.flips = (is_listed != known.seen).then(|| now + delay);
            }
            if known.flips.is_some_and(|at| at <= now) {
                (known.seen, known.flips) = (known.listed, None);
            }
            let pod = kubelet.listening(uid);
            let serves = known.seen && pod.takes;
            if known.serving && !serves {
                flow.leave(uid, now);
            } else if serves && flow.is_leaving(uid) {
                flow.came_back(uid, now);
            }
            if !pod.runs {
                flow.ended(uid, now);
            }
            known.serving = serves;
            let due = known.flips.into_iter().chain(pod.until.filter(|_| serves));
            self.pods_due = due.chain(self.pods_due).min();
        }
        self.pods.retain(|uid, known| listed.contains_key(uid) || known.seen || flow.is_leaving(uid));
    }
    /// Settles what has come until now and goes on as things stand; when to look again.
    fn go_on(&mut self, now: Instant) -> Option<Instant> {
        let (rate, changes) = self.stated.rate(self.made, now);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let targets = number(self.pods.values().filter(|known| known.seen).count());
        let serving = self.pods.values().filter(|known| known.serving);
        let all: Vec<Capacity> = serving.map(|known| known.capacity).collect();
        // Pods that differ, in the middle of an update say, count as so many average ones.
        let sum: i128 = all.iter().map(|capacity| i128::from(capacity.rate)).sum();
        let capacity = Capacity {
            rate: i64::try_from(sum / (all.len() as i128).max(1)).unwrap_or(i64::MAX),
            workers: all.iter().map(|capacity| capacity.workers).min().unwrap_or(1),
        };
        self.flow.set(now, self.stated.setting(rate, (targets, number(all.len())), capacity));
        let crossing = self.flow.next_change().map(|after| now + after);
        changes.into_iter().chain(crossing).chain(self.pods_due).min()
    }
}

/// What a pod can do whose machine works at so many percent of its speed.
fn capacity_at(rate: i64, percent: u32) -> i64 {
    let rate = i128::from(rate) * i128::from(percent) / 100;
    i64::try_from(rate).unwrap_or(i64::MAX).max(1)
}

/// Whether a pod is an endpoint that is sent to.
fn is_listed(pod: &Pod) -> bool {
    services::is_endpoint(pod, false) && ready_since(pod).is_some()
}

impl Traffic {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        match object {
            Object::Pod(_) => {
                let Some(services) = self.services.get(object.namespace()) else { return };
                let concerned = services.iter().filter(|(_, own)| {
                    own.selects(object) || own.pods.contains_key(object.uid()) || own.is_client(object)
                });
                let places = concerned.map(|(name, _)| ((object.namespace().into(), name.clone()), true));
                self.dirty.extend(places);
            }
            Object::Document(document) if document.kind == KINDS.service => {
                let place: Place = (object.namespace().into(), object.name().into());
                self.know(place, document, change.kind == ChangeKind::Deleted);
            }
            _ => {}
        }
    }
    /// Has requests come to a Service as a curve says, whatever its annotations say; it may be there or be made later.
    pub(crate) fn give(&mut self, cx: &Cx<'_>, place: Place, curve: Curve) {
        self.given.entry(place.0.clone()).or_default().insert(place.1.clone(), curve);
        if let Some(service) = cx.document(KINDS.service, &place.0, &place.1) {
            self.know(place, service, false);
        }
    }
    /// Takes in a Service as it is now.
    fn know(&mut self, place: Place, service: &Document, deleted: bool) {
        let given = self.given.get(&place.0).and_then(|services| services.get(&place.1));
        let stated = Stated::read(&service.metadata, given).filter(|_| !deleted);
        let selector = services::selector(service);
        let (Some(stated), Some(selector)) = (stated, selector) else {
            let Some(services) = self.services.get_mut(&place.0) else { return };
            let own = services.remove(&place.1);
            if services.is_empty() {
                self.services.remove(&place.0);
            }
            self.gone.extend(own.map(|own| (place, own)));
            return;
        };
        let made = service.metadata.creation_timestamp.as_ref().map(|at| Instant::from_jiff(at.0));
        let made = made.unwrap_or(Instant::EPOCH);
        let services = self.services.entry(place.0.clone()).or_default();
        let own = services.entry(place.1.clone()).or_insert_with(|| Own {
            stated: stated.clone(),
            selector: BTreeMap::new(),
            made,
            flow: Flow::new(made),
            pods: BTreeMap::new(),
            armed: None,
            pods_due: None,
            crossing: None,
        });
        if own.stated != stated || own.selector != selector {
            (own.stated, own.selector) = (stated, selector);
            self.dirty.insert(place, true);
        }
    }
    /// Has all of them looked at: a machine stopped or started.
    pub(crate) fn look_at_all(&mut self) {
        for (namespace, services) in &self.services {
            self.dirty.extend(services.keys().map(|name| ((namespace.clone(), name.clone()), true)));
        }
    }
    /// A timer of a Service fired.
    pub(crate) fn wake(&mut self, now: Instant, place: Place) {
        let own = self.services.get_mut(&place.0).and_then(|services| services.get_mut(&place.1));
        let Some(own) = own.filter(|own| own.armed.is_some_and(|armed| armed <= now)) else { return };
        own.armed = None;
        let pods = own.pods_due.is_some_and(|due| due <= now);
        *self.dirty.entry(place).or_insert(false) |= pods;
    }
    /// Settles what is to be looked at; the namespaces in which pods now use another amount of CPU.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>, kubelet: &Kubelet) -> BTreeSet<Arc<str>> {
        let mut news = BTreeSet::new();
        for ((namespace, name), mut own) in std::mem::take(&mut self.gone) {
            own.flow.advance(cx.now);
            own.settle();
            if let Some(crossing) = &own.crossing {
                let past = self.past.entry(namespace.clone()).or_default().entry(name.clone()).or_default();
                *past += crossing.bytes();
            }
            let none = own.pods.keys().map(|uid| cx.objects.bear(uid, &name, None));
            if none.fold(false, |any, changed| any | changed) {
                news.insert(namespace);
            }
        }
        for ((namespace, name), pods) in std::mem::take(&mut self.dirty) {
            let own = self.services.get_mut(&namespace).and_then(|services| services.get_mut(&name));
            let Some(own) = own else { continue };
            own.flow.advance(cx.now);
            own.settle();
            let before: Vec<Arc<str>> = if pods { own.pods.keys().cloned().collect() } else { Vec::new() };
            if pods {
                own.look_at_pods(cx, &namespace, kubelet);
                own.place(cx, &namespace);
            }
            let due = own.go_on(cx.now);
            let each = own.stated.cpu_of(own.flow.served_by_each());
            let mut changed = false;
            for uid in before.iter().filter(|uid| !own.pods.contains_key(*uid)) {
                changed |= cx.objects.bear(uid, &name, None);
            }
            for (uid, known) in &own.pods {
                changed |= cx.objects.bear(uid, &name, Some(if known.serving { each } else { 0 }));
            }
            if changed {
                news.insert(namespace.clone());
            }
            if let Some(due) = due.filter(|due| own.armed.is_none_or(|armed| armed > *due)) {
                own.armed = Some(due);
                cx.timers.set(due, Priority::Controller, Task::Traffic { namespace, name });
            }
        }
        news
    }
    /// Bytes that went from one zone to another so far, by namespace and name of the Service. Looking changes nothing.
    pub(crate) fn crossed(&self, now: Instant) -> BTreeMap<Place, i128> {
        let mut all: BTreeMap<Place, i128> = BTreeMap::new();
        for (namespace, services) in &self.past {
            all.extend(services.iter().map(|(name, bytes)| ((namespace.clone(), name.clone()), *bytes)));
        }
        for (namespace, services) in &self.services {
            for (name, own) in services {
                let Some(mut crossing) = own.crossing.clone() else { continue };
                let mut flow = own.flow.clone();
                flow.advance(now);
                crossing.settle(flow.answered());
                *all.entry((namespace.clone(), name.clone())).or_default() += crossing.bytes();
            }
        }
        all
    }
    /// All Services to which requests come, as of `now`. Looking changes nothing.
    pub(crate) fn view(&self, now: Instant) -> Vec<ServiceTraffic> {
        let all = self.services.iter().flat_map(|(namespace, services)| {
            services.iter().map(move |(name, own)| {
                let mut flow = own.flow.clone();
                flow.advance(now);
                let (pace, setting) = (flow.pace(), flow.setting());
                ServiceTraffic {
                    namespace: namespace.as_ref().to_owned(),
                    name: name.as_ref().to_owned(),
                    targets: setting.targets,
                    serving: setting.serving,
                    pace,
                    counts: flow.counts(),
                    answered_within_seconds: [0.5, 0.95, 0.99].map(|share| flow.responses().quantile(share)),
                }
            })
        });
        all.collect()
    }
}
