//! `horizontal`: HorizontalPodAutoscalers keep the replicas of what they name where its metrics are as wanted.
//!
//! Every autoscaler is looked at 15 s after it was made and every 15 s from then on, whatever changes in between. Looks
//! that could not differ from the last are left out: nothing of the namespace has changed since, no pod is still starting,
//! and nothing else was recommended within any window. The decision is [`look`], a pure function; here are the target's Scale, its pods and their metrics ([`crate::load`] says
//! where those come from). Units: metrics in thousandths. Left out: scaling to and from zero (alpha), selectors of metrics
//! (a metric here has one value), and pods that a target selects without owning them.

mod decide;
mod limits;
mod metric;
mod replicas;

use super::events::{About, Source};
use super::owned::{KINDS, Owned};
use super::podcontrol::{self, part, to_part};
use super::workloads::Look;
use super::{Cx, Place};
use crate::apiserver::selector::LabelSelector as Selector;
use crate::apiserver::{self, Context, Options, Request, Status as Refusal, Subresource, Verb};
use crate::kind::Kind;
use crate::load::{self, Bearers};
use crate::object::Object;
use crate::store::{Change, ChangeKind, Objects, Stored};
use fleet::{Instant, Span};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscalerCondition as Condition,
    HorizontalPodAutoscalerSpec as Spec, HorizontalPodAutoscalerStatus as Status,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use decide::{Metrics, Outcome, Scale, Seen, Told, Usage, look};
pub use limits::Memory;
pub use replicas::Sample;

/// How often an autoscaler is looked at (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Span = Span::from_seconds(15);
const SOURCE: Source<'static> = Source { component: "horizontal-pod-autoscaler", host: None };

/// One that fails is looked at this often while nothing changes: its recorder lets it say so again after this time.
const FAILING_PERIOD: Span = Span::from_seconds(300);
/// After this time a pod's CPU is what its work is.
const STARTED: Span = Span::from_seconds(300);

/// What is kept of an autoscaler.
#[derive(Debug, Serialize, Deserialize)]
struct Watched {
    place: Place,
    memory: Memory,
    last: Instant,
    /// Looks are left out since the last.
    asleep: bool,
}

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Horizontal {
    /// By the uid of the autoscaler.
    watched: BTreeMap<Arc<str>, Watched>,
    /// Those asleep, by namespace; `None` until it is read from the above.
    #[serde(skip)]
    asleep: Option<BTreeMap<Arc<str>, BTreeSet<Arc<str>>>>,
    /// Autoscalers without a timer; empty at rest.
    #[serde(skip)]
    new: BTreeSet<Place>,
    /// Autoscalers whose time has come; empty at rest.
    #[serde(skip)]
    due: BTreeSet<Place>,
    /// Autoscalers of which something changed while they slept; empty at rest.
    #[serde(skip)]
    woken: BTreeSet<Arc<str>>,
}

impl Horizontal {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        if matches!(object.kind(), Kind::Event | Kind::Lease) {
            return;
        }
        let namespace = if object.kind() == Kind::Namespace { object.name() } else { object.namespace() };
        if let Some(asleep) = self.asleep().remove(namespace) {
            self.woken.extend(asleep);
        }
        if object.kind() != KINDS.autoscaler {
            return;
        }
        match change.kind {
            ChangeKind::Added => self.look(super::owned::place(object)),
            ChangeKind::Deleted => {
                self.watched.remove(object.uid());
            }
            ChangeKind::Modified => {}
        }
    }
    fn asleep(&mut self) -> &mut BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
        let watched = &self.watched;
        self.asleep.get_or_insert_with(|| {
            let mut all: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
            for (uid, own) in watched.iter().filter(|(_, own)| own.asleep) {
                all.entry(own.place.0.clone()).or_default().insert(uid.clone());
            }
            all
        })
    }
    /// Has an autoscaler looked at from now on.
    pub(crate) fn look(&mut self, place: Place) {
        self.new.insert(place);
    }
    /// The time of an autoscaler has come.
    pub(crate) fn wake(&mut self, place: Place) {
        self.due.insert(place);
    }
    pub(crate) fn run(&mut self, look: &mut Look<'_, '_, '_>) -> bool {
        let before = look.cx.objects.version();
        for uid in std::mem::take(&mut self.woken) {
            self.wake_up(look, &uid);
        }
        for place in std::mem::take(&mut self.due) {
            if let Some(after) = self.sync(look.cx, look.owned, &place) {
                self.next(look, &place, after);
            }
        }
        for place in std::mem::take(&mut self.new) {
            let asleep = |object: &Object| self.watched.get(object.uid()).is_some_and(|own| own.asleep);
            let stored = look.cx.objects.get(KINDS.autoscaler, &place.0, &place.1);
            if stored.is_some_and(|stored| !asleep(&stored.object)) {
                self.next(look, &place, PERIOD);
            }
        }
        look.cx.objects.version() != before
    }
    /// Sets an autoscaler's timer.
    fn next(&self, look: &mut Look<'_, '_, '_>, (namespace, name): &Place, after: Span) {
        if let Some(stored) = look.cx.objects.get(KINDS.autoscaler, namespace, name).cloned() {
            let at = look.cx.now + after;
            look.wakes.set(look.cx, &stored.object, at);
        }
    }
    /// Something changed: the next look is when it would have been anyway.
    fn wake_up(&mut self, look: &mut Look<'_, '_, '_>, uid: &str) {
        let Some(own) = self.watched.get_mut(uid).filter(|own| own.asleep) else { return };
        let (now, place) = (look.cx.now, own.place.clone());
        let periods = (now - own.last).as_nanos() / PERIOD.as_nanos();
        let last = own.last + PERIOD.scaled(periods, 1);
        own.memory.catch_up(own.last, last);
        (own.last, own.asleep) = (last, false);
        self.next(look, &place, last + PERIOD - now);
    }
    /// Looks at an autoscaler; returns after what time it is to be looked at again although nothing changes.
    fn sync(&mut self, cx: &mut Cx<'_>, owned: &Owned, (namespace, name): &Place) -> Option<Span> {
        let stored = cx.objects.get(KINDS.autoscaler, namespace, name).cloned()?;
        let object = &stored.object;
        let spec = part::<Spec>(object, "spec")?;
        let status: Status = part(object, "status").unwrap_or_default();
        let target = target(cx.objects, namespace, &spec.scale_target_ref);
        let scale = target.as_ref().map(|(_, _, scale)| scale.clone()).map_err(Clone::clone);
        let pods = match &target {
            Ok((kind, stored, scale)) => selected(cx.objects, owned, (*kind, stored), &scale.selector),
            Err(_) => Vec::new(),
        };
        let all: Vec<&Pod> = podcontrol::pods(&pods).collect();
        let metrics = Measured::of(cx.objects, &spec, &all, (namespace, cx.now));
        let selecting = selecting(cx.objects, namespace, &spec.scale_target_ref);
        let seen = Seen { now: cx.now, namespace, scale, pods: all, selecting, metrics: &metrics };
        let began = |pod: &&Pod| {
            let start = pod.status.as_ref().and_then(|s| s.start_time.as_ref());
            start.is_some_and(|start| Instant::from_jiff(start.0) + STARTED > cx.now)
        };
        let starting = seen.pods.iter().any(began);
        let (now, place) = (cx.now, (namespace.clone(), name.clone()));
        let fresh = || Watched { place, memory: Memory::default(), last: now, asleep: false };
        let own = self.watched.entry(object.uid().into()).or_insert_with(fresh);
        let outcome = look(&mut own.memory, &spec, &status, &seen, &mut |replicas| match &target {
            Ok((kind, ..)) => rescale(cx, *kind, (namespace, &spec.scale_target_ref.name), replicas),
            Err(why) => Err(why.clone()),
        });
        let failing = |c: &Condition| c.status == "False" && c.type_ != "ScalingLimited";
        let failing = outcome.status.conditions.iter().flatten().any(failing);
        let quiet = outcome.status == status && outcome.events.is_empty() && !starting;
        (own.last, own.asleep) =
            (now, quiet && (failing || own.memory.is_settled(now, spec.behavior.as_ref())));
        let next = match (own.asleep, failing) {
            (false, _) => Some(PERIOD),
            (true, true) => Some(FAILING_PERIOD),
            (true, false) => None,
        };
        if own.asleep {
            let uid = object.uid().into();
            self.asleep().entry(namespace.clone()).or_default().insert(uid);
        }
        cx.put_status(object, to_part(&outcome.status));
        let about = About::new(object);
        for told in outcome.events {
            if told.warning {
                cx.warning(&about, SOURCE, &told.reason, told.message);
            } else {
                cx.normal(&about, SOURCE, &told.reason, told.message);
            }
        }
        next
    }
}

/// What an autoscaler names, and its Scale; the error is the API's text.
fn target(
    objects: &Objects,
    namespace: &str,
    reference: &CrossVersionObjectReference,
) -> Result<(Kind, Arc<Stored>, Scale), String> {
    let version = reference.api_version.as_deref().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = objects
        .kind_of(version, &reference.kind)
        .ok_or_else(|| format!("no matches for kind {:?} in group {group:?}", reference.kind))?;
    let stored = objects.get(kind, namespace, &reference.name).cloned();
    let stored = stored.ok_or_else(|| Refusal::not_found(kind.resource(), &reference.name).message)?;
    let scale = apiserver::scale(objects, kind, &stored)
        .ok_or_else(|| "the server could not find the requested resource".to_owned())?;
    let number = |pointer: &str| {
        let found = scale.pointer(pointer).and_then(serde_json::Value::as_i64).unwrap_or(0);
        i32::try_from(found).unwrap_or(i32::MAX)
    };
    let selector = scale.pointer("/status/selector").and_then(|s| s.as_str()).unwrap_or_default().to_owned();
    let scale = Scale { wanted: number("/spec/replicas"), there: number("/status/replicas"), selector };
    Ok((kind, stored, scale))
}

/// Sets the replicas of a target; the error is the API's text.
fn rescale(
    cx: &mut Cx<'_>,
    kind: Kind,
    (namespace, name): (&str, &str),
    replicas: i32,
) -> Result<(), String> {
    let scale = serde_json::json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"replicas": replicas}});
    let request = Request {
        verb: Verb::Update,
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: Some(Subresource::Scale),
        body: scale,
        options: Options::default(),
    };
    let mut context = Context { objects: cx.objects, now: cx.now, names: cx.names };
    apiserver::write(&mut context, &request).map(|_| ()).map_err(|status| status.message)
}

/// The pods a target owns and selects, by name.
fn selected(
    objects: &Objects,
    owned: &Owned,
    (kind, target): (Kind, &Arc<Stored>),
    selector: &str,
) -> Vec<Arc<Stored>> {
    let Ok(selector) = Selector::parse(selector) else { return Vec::new() };
    let object = &target.object;
    let all: Vec<Arc<Stored>> = if kind == KINDS.deployment {
        let sets = owned.children(object.uid(), KINDS.replica_set);
        sets.iter().flat_map(|set| owned.children(set.object.uid(), Kind::Pod)).collect()
    } else if kind.resource().custom {
        objects.list(Kind::Pod, Some(object.namespace())).cloned().collect()
    } else {
        owned.children(object.uid(), Kind::Pod)
    };
    let labels = |stored: &Arc<Stored>| stored.object.meta().labels.clone().unwrap_or_default();
    let mut all: Vec<Arc<Stored>> =
        all.into_iter().filter(|stored| selector.matches(&labels(stored))).collect();
    all.sort_by(|a, b| a.object.name().cmp(b.object.name()));
    all
}

/// The autoscalers of a namespace that have the same target.
fn selecting(objects: &Objects, namespace: &str, target: &CrossVersionObjectReference) -> Vec<String> {
    let of = |stored: &&Arc<Stored>| {
        let reference = stored.object.as_document().and_then(|d| d.body.get("spec")?.get("scaleTargetRef"));
        let is = |field: &str, value: &str| {
            reference.and_then(|r| r.get(field)).and_then(|found| found.as_str()) == Some(value)
        };
        is("kind", &target.kind) && is("name", &target.name)
    };
    let all = objects.list(KINDS.autoscaler, Some(namespace)).filter(of);
    all.map(|stored| format!("{namespace}/{}", stored.object.name())).collect()
}

/// What the metrics of an autoscaler stand at.
#[derive(Debug, Default)]
struct Measured {
    usage: Vec<Usage>,
    pods: BTreeMap<String, Vec<(String, Sample)>>,
    objects: BTreeMap<(String, String, String), i64>,
    external: BTreeMap<String, Vec<i64>>,
}

impl Measured {
    fn of(objects: &Objects, spec: &Spec, pods: &[&Pod], (namespace, now): (&str, Instant)) -> Measured {
        let mut measured = Measured::default();
        let bearers = Bearers::of(objects, pods.iter().copied());
        for metric in spec.metrics.iter().flatten() {
            if let Some(source) = &metric.pods {
                let name = &source.metric.name;
                let sample = |value| Sample { at: now, window: apiserver::metrics::WINDOW, value };
                let of = |pod: &&Pod| {
                    let value = bearers.metric(objects, pod, name)?;
                    Some((pod.metadata.name.clone()?, sample(value)))
                };
                measured.pods.insert(name.clone(), pods.iter().filter_map(of).collect());
            }
            if let Some(source) = &metric.object {
                let (object, name) = (&source.described_object, &source.metric.name);
                let version = object.api_version.as_deref().unwrap_or_default();
                let kind = objects.kind_of(version, &object.kind);
                let home = if kind.is_some_and(|kind| kind.resource().namespaced) { namespace } else { "" };
                let meta = kind.and_then(|kind| load::meta_of(objects, kind, home, &object.name));
                if let Some(value) = meta.and_then(|meta| load::metric(meta, name)) {
                    let key = (name.clone(), object.kind.clone(), object.name.clone());
                    measured.objects.insert(key, value);
                }
            }
            if let Some(source) = &metric.external {
                let name = &source.metric.name;
                let meta = load::meta_of(objects, Kind::Namespace, "", namespace);
                let series = meta.map(|meta| load::series(meta, name)).unwrap_or_default();
                measured.external.insert(name.clone(), series);
            }
            if (metric.resource.is_some() || metric.container_resource.is_some()) && measured.usage.is_empty()
            {
                let of = |pod: &&Pod| apiserver::metrics::usage_of(objects, &bearers, pod, now);
                measured.usage = pods.iter().filter_map(of).collect();
            }
        }
        measured
    }
}

impl Metrics for Measured {
    fn usage(&self) -> Vec<Usage> {
        self.usage.clone()
    }
    fn of_pods(&self, metric: &str, _: Option<&LabelSelector>) -> Vec<(String, Sample)> {
        self.pods.get(metric).cloned().unwrap_or_default()
    }
    fn of_object(
        &self,
        metric: &str,
        object: &CrossVersionObjectReference,
        _: Option<&LabelSelector>,
    ) -> Result<i64, String> {
        let key = (metric.to_owned(), object.kind.clone(), object.name.clone());
        let missing =
            || format!("the server could not find the metric {metric} for {} {}", object.kind, object.name);
        self.objects.get(&key).copied().ok_or_else(missing)
    }
    fn external(&self, metric: &str, _: Option<&LabelSelector>) -> Vec<i64> {
        self.external.get(metric).cloned().unwrap_or_default()
    }
}
