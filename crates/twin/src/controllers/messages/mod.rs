//! `messages`: messages come to queues that a workload says its pods take from, wait, are worked on, and have these use CPU.
//!
//! A pod works while it is ready and its containers run and have not been sent SIGTERM; then it finishes what it had begun
//! as far as there is time until its containers end, and the rest comes again. The arithmetic is [`Broker`]'s. Invariants: a
//! workload without a queue costs one look at its annotations when it changes, a pod one look-up by namespace; nothing is
//! drawn. Left out: the broker itself, which is always there and never full.

mod stated;

use super::kubelet::Kubelet;
use super::owned::KINDS;
use super::podcontrol::ready_since;
use super::{Cx, Place};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::traffic::{Broker, Tally};
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stated::Stated;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The workers of one workload.
#[derive(Debug, Serialize, Deserialize)]
struct Own {
    uid: String,
    stated: Stated,
    selector: BTreeMap<String, String>,
    made: Instant,
    broker: Broker,
    /// By uid: how many workers the pod has now.
    pods: BTreeMap<Arc<str>, u32>,
    armed: Option<Instant>,
    /// When one of its pods will be sent the signal to end.
    pods_due: Option<Instant>,
}

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Messages {
    /// By namespace and name of the Deployment or StatefulSet.
    workloads: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Own>>,
    /// What is to be looked at, and whether its pods as well; empty at rest.
    #[serde(skip)]
    dirty: BTreeMap<Place, bool>,
    /// Workloads that have no queues any more; empty at rest.
    #[serde(skip)]
    gone: Vec<(Place, Own)>,
}

/// One queue so far, and how it goes now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueTraffic {
    /// Of the workload.
    pub namespace: String,
    /// Whose pods take from it.
    pub workload: String,
    /// Its own name.
    pub name: String,
    /// All messages so far.
    pub counts: Tally,
    /// Messages a second that come.
    pub messages_per_second: f64,
    /// Messages a second that workers take.
    pub taken_per_second: f64,
    /// How long the oldest has waited.
    pub oldest_seconds: f64,
    /// Workers there are, for all queues of the workload.
    pub workers: u32,
    /// Share of them that is busy.
    pub busy: f64,
}

fn selector(object: &Object) -> Option<BTreeMap<String, String>> {
    let labels = object.as_document()?.body.get("spec")?.get("selector")?.get("matchLabels")?.as_object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(labels.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}

impl Own {
    fn selects(&self, object: &Object) -> bool {
        let labels = object.meta().labels.as_ref();
        self.selector.iter().all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
    }
    fn look_at_pods(&mut self, cx: &Cx<'_>, namespace: &str, kubelet: &Kubelet) {
        let now = cx.now;
        let stored =
            cx.objects.list(Kind::Pod, Some(namespace)).filter(|stored| self.selects(&stored.object));
        let ready: BTreeMap<Arc<str>, bool> = stored
            .filter_map(|stored| {
                let pod = stored.object.as_pod()?;
                Some((stored.object.uid().into(), ready_since(pod).is_some()))
            })
            .collect();
        for uid in ready.keys() {
            self.pods.entry(uid.clone()).or_default();
        }
        self.pods_due = None;
        for (uid, workers) in &mut self.pods {
            let pod = kubelet.listening(uid);
            // A pod that is told to end is not ready any more and yet works until the signal.
            let goes_on = *workers > 0 && pod.until.is_some();
            let works = pod.takes && (goes_on || ready.get(uid).copied().unwrap_or(false));
            if works && self.broker.is_leaving(uid) {
                self.broker.came_back(uid, now);
            }
            let wanted = if works { self.stated.concurrency } else { 0 };
            if *workers > 0 && wanted == 0 {
                let held = workers.saturating_mul(self.stated.prefetch.saturating_sub(1));
                self.broker.leave(uid, *workers, held, now);
            }
            if !pod.runs {
                self.broker.ended(uid, now);
            }
            *workers = wanted;
            self.pods_due = pod.until.filter(|_| wanted > 0).into_iter().chain(self.pods_due).min();
        }
        let broker = &self.broker;
        self.pods.retain(|uid, workers| ready.contains_key(uid) || *workers > 0 || broker.is_leaving(uid));
    }
    fn go_on(&mut self, now: Instant) -> Option<Instant> {
        let workers = self.pods.values().fold(0u32, |sum, workers| sum.saturating_add(*workers));
        self.broker.set_workers(now, workers);
        let (all, changes) = self.stated.terms(self.made, now);
        for (name, terms) in &all {
            self.broker.set(now, name, terms.clone());
        }
        let names: Vec<Arc<str>> = all.into_iter().map(|(name, _)| name).collect();
        self.broker.only(now, &names);
        let next = self.broker.next_change().map(|after| now + after);
        changes.into_iter().chain(next).chain(self.pods_due).min()
    }
}

impl Messages {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        let kind = object.kind();
        if kind == Kind::Pod {
            let Some(workloads) = self.workloads.get(object.namespace()) else { return };
            let concerned = workloads
                .iter()
                .filter(|(_, own)| own.selects(object) || own.pods.contains_key(object.uid()));
            let places = concerned.map(|(name, _)| ((object.namespace().into(), name.clone()), true));
            self.dirty.extend(places);
        } else if kind == KINDS.deployment || kind == KINDS.stateful_set {
            self.observe_workload(object, change);
        }
    }
    fn observe_workload(&mut self, object: &Object, change: &Change) {
        let place: Place = (object.namespace().into(), object.name().into());
        let stated = Stated::read(object.meta()).filter(|_| change.kind != ChangeKind::Deleted);
        let known = self.workloads.get(&place.0).and_then(|workloads| workloads.get(&place.1));
        let (Some(stated), Some(selector)) = (stated, selector(object)) else {
            // A workload of the other kind may have the same name.
            if known.is_some_and(|own| own.uid == object.uid())
                && let Some(workloads) = self.workloads.get_mut(&place.0)
            {
                let own = workloads.remove(&place.1);
                if workloads.is_empty() {
                    self.workloads.remove(&place.0);
                }
                self.gone.extend(own.map(|own| (place, own)));
            }
            return;
        };
        let made = object.meta().creation_timestamp.as_ref().map(|at| Instant::from_jiff(at.0));
        let made = made.unwrap_or(Instant::EPOCH);
        let workloads = self.workloads.entry(place.0.clone()).or_default();
        let own = workloads.entry(place.1.clone()).or_insert_with(|| Own {
            uid: object.uid().to_owned(),
            stated: stated.clone(),
            selector: BTreeMap::new(),
            made,
            broker: Broker::new(made),
            pods: BTreeMap::new(),
            armed: None,
            pods_due: None,
        });
        if own.stated != stated || own.selector != selector {
            (own.stated, own.selector) = (stated, selector);
            self.dirty.insert(place, true);
        }
    }
    /// Has all of them looked at: a machine stopped or started.
    pub(crate) fn look_at_all(&mut self) {
        for (namespace, workloads) in &self.workloads {
            self.dirty.extend(workloads.keys().map(|name| ((namespace.clone(), name.clone()), true)));
        }
    }
    /// A timer of a workload fired.
    pub(crate) fn wake(&mut self, now: Instant, place: Place) {
        let own = self.workloads.get_mut(&place.0).and_then(|workloads| workloads.get_mut(&place.1));
        let Some(own) = own.filter(|own| own.armed.is_some_and(|armed| armed <= now)) else { return };
        own.armed = None;
        let pods = own.pods_due.is_some_and(|due| due <= now);
        *self.dirty.entry(place).or_insert(false) |= pods;
    }
    /// Settles what is to be looked at; the namespaces in which pods now use another amount of CPU.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>, kubelet: &Kubelet) -> BTreeSet<Arc<str>> {
        let mut news = BTreeSet::new();
        for ((namespace, name), own) in std::mem::take(&mut self.gone) {
            let bearer = bearer(&name);
            for uid in own.pods.keys() {
                if cx.objects.bear(uid, &bearer, None) {
                    news.insert(namespace.clone());
                }
            }
        }
        for ((namespace, name), pods) in std::mem::take(&mut self.dirty) {
            let own = self.workloads.get_mut(&namespace).and_then(|workloads| workloads.get_mut(&name));
            let Some(own) = own else { continue };
            let before: Vec<Arc<str>> = if pods { own.pods.keys().cloned().collect() } else { Vec::new() };
            if pods {
                own.broker.advance(cx.now);
                own.look_at_pods(cx, &namespace, kubelet);
            }
            let due = own.go_on(cx.now);
            let (bearer, busy) = (bearer(&name), i128::from(own.broker.busy()));
            let cpu = i128::from(own.stated.cpu) * busy / 1_000_000;
            let mut changed = false;
            for uid in before.iter().filter(|uid| !own.pods.contains_key(*uid)) {
                changed |= cx.objects.bear(uid, &bearer, None);
            }
            for (uid, workers) in &own.pods {
                let nanocores = i64::try_from(cpu * i128::from(*workers)).unwrap_or(i64::MAX);
                changed |= cx.objects.bear(uid, &bearer, Some(nanocores));
            }
            if changed {
                news.insert(namespace.clone());
            }
            if let Some(due) = due.filter(|due| own.armed.is_none_or(|armed| armed > *due)) {
                own.armed = Some(due);
                cx.timers.set(due, Priority::Controller, Task::Messages { namespace, name });
            }
        }
        news
    }
    /// All queues, as of `now`. Looking changes nothing.
    pub(crate) fn view(&self, now: Instant) -> Vec<QueueTraffic> {
        let mut all = Vec::new();
        for (namespace, workloads) in &self.workloads {
            for (workload, own) in workloads {
                let mut broker = own.broker.clone();
                broker.advance(now);
                let (rates, busy) = (broker.rates(), broker.busy());
                let workers = own.pods.values().fold(0u32, |sum, workers| sum.saturating_add(*workers));
                let seconds = |span: Span| span.as_nanos() as f64 / 1e9;
                let each = broker.tallies().zip(rates).map(|((name, counts, oldest), (comes, taken))| {
                    QueueTraffic {
                        namespace: namespace.as_ref().to_owned(),
                        workload: workload.as_ref().to_owned(),
                        name: name.as_ref().to_owned(),
                        counts,
                        messages_per_second: comes as f64 / 1e6,
                        taken_per_second: taken as f64 / 1e6,
                        oldest_seconds: seconds(oldest),
                        workers,
                        busy: busy as f64 / 1e6,
                    }
                });
                all.extend(each);
            }
        }
        all
    }
}

/// By what the store knows what workers use, beside the names of Services, in which there is no slash.
fn bearer(workload: &str) -> Arc<str> {
    format!("workers/{workload}").into()
}
