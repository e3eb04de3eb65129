//! `horizontal`: HorizontalPodAutoscalers keep the replicas of what they name where its metrics are as wanted.
//!
//! Every autoscaler is looked at 15 s after it was made and every 15 s from then on, whatever changes in between. Looks
//! that could not differ from the last are left out: nothing it goes by has changed since ([`Concern`]), no pod is still
//! starting, and nothing that was recommended or done has left its window. The decision is [`look`], a pure function; here
//! are the target's Scale, its pods and their metrics ([`crate::load`] says where those come from). Units: metrics in thousandths. Left out: scaling to and from zero (alpha), selectors of metrics
//! (a metric here has one value), and pods that a target selects without owning them.

mod decide;
mod limits;
mod metric;
mod replicas;
mod sight;

use super::events::{About, Source};
use super::owned::{KINDS, Owned, controller};
use super::podcontrol::{part, to_part};
use super::underway::Writer;
use super::workloads::Look;
use super::{Cx, Place};
use crate::apiserver::selector::LabelSelector as Selector;
use crate::apiserver::{self, Options, Request, Status as Refusal, Subresource, Verb};
use crate::kind::Kind;
use crate::load::{self, Bearers};
use crate::object::Object;
use crate::store::{Change, ChangeKind, Objects, Stored};
use fleet::{Instant, Span};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerCondition as Condition, HorizontalPodAutoscalerSpec as Spec,
    HorizontalPodAutoscalerStatus as Status,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use sight::{Known, Ready};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use decide::{Metrics, Outcome, Scale, Seen, Told, Usage, Used, look};
pub use limits::Memory;
pub use replicas::{ByPod, Sample};
pub use sight::Sighted;

/// How often an autoscaler is looked at (`--horizontal-pod-autoscaler-sync-period`).
const PERIOD: Span = Span::from_seconds(15);
const SOURCE: Source<'static> = Source { component: "horizontal-pod-autoscaler", host: None };

/// One that fails is looked at this often while nothing changes: its recorder lets it say so again after this time.
const FAILING_PERIOD: Span = Span::from_seconds(300);
/// After this time a pod's CPU is what its work is, even of one that is not ready.
const STARTED: Span = Span::from_seconds(300);

/// What is kept of an autoscaler.
#[derive(Debug, Serialize, Deserialize)]
struct Watched {
    place: Place,
    memory: Memory,
    last: Instant,
    /// Looks are left out since the last.
    asleep: bool,
    /// What it goes by, beside what others say of their namespace.
    #[serde(default)]
    target: (String, String),
    #[serde(default)]
    selector: String,
    /// Webhooks are being asked about the change of replicas its last look came to: that look is had again.
    #[serde(default)]
    asks: bool,
}

/// What an autoscaler that sleeps goes by: changes of its target and of the pods it selects. That metrics are stated
/// otherwise anywhere in its namespace, or another autoscaler wants something else, wakes it as well.
#[derive(Debug)]
struct Concern {
    /// Kind and name.
    target: (String, String),
    /// `None`: of every pod.
    selector: Option<Selector>,
}

impl Concern {
    fn is_touched(&self, change: &Change) -> bool {
        let object = &change.object.object;
        if object.kind() == Kind::Pod {
            let selects = |object: &Object| {
                let labels = object.meta().labels.as_ref();
                self.selector.as_ref().is_none_or(|own| labels.is_some_and(|labels| own.matches(labels)))
            };
            return selects(object) || change.previous.as_ref().is_some_and(|old| selects(&old.object));
        }
        let is = |kind: &str, name: &str| kind == self.target.0 && name == self.target.1;
        is(object.kind().resource().name, object.name())
            || controller(object.meta()).is_some_and(|owner| is(&owner.kind, &owner.name))
    }
}

/// What autoscalers that sleep go by: by namespace, and by uid.
type Asleep = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Concern>>;

/// Whether a change may matter to every autoscaler of its namespace: something else is said of metrics, or an autoscaler
/// came, went or names something else. What is said of the load of a workload matters to those who name it or its owner.
fn concerns_all(change: &Change) -> bool {
    let object = &change.object.object;
    let previous = change.previous.as_ref().map(|old| &old.object);
    let gone = change.kind == ChangeKind::Deleted;
    if object.kind() == KINDS.autoscaler {
        let spec = |object: &Object| object.as_document().and_then(|doc| doc.body.get("spec")).cloned();
        return gone || previous.map(spec) != Some(spec(object));
    }
    if object.kind() == Kind::Pod {
        return false;
    }
    let said = |object: &Object| -> Vec<(String, String)> {
        let all = object.meta().annotations.iter().flatten();
        let loads = !is_workload(object.kind());
        let of =
            all.filter(|(key, _)| key.starts_with(load::METRIC) || (loads && key.starts_with(load::LOAD)));
        of.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let now = if gone { Vec::new() } else { said(object) };
    now != previous.map(said).unwrap_or_default()
}

/// Whether objects of a kind make pods, themselves or by sets.
fn is_workload(kind: Kind) -> bool {
    let known = [
        KINDS.deployment,
        KINDS.replica_set,
        KINDS.replication_controller,
        KINDS.stateful_set,
        KINDS.daemon_set,
        Kind::Job,
    ];
    known.contains(&kind)
}

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Horizontal {
    /// By the uid of the autoscaler.
    watched: BTreeMap<Arc<str>, Watched>,
    /// Those asleep, by namespace; `None` until it is read from the above.
    #[serde(skip)]
    asleep: Option<Asleep>,
    /// Autoscalers without a timer; empty at rest.
    #[serde(skip)]
    new: BTreeSet<Place>,
    /// Autoscalers whose time has come; empty at rest.
    #[serde(skip)]
    due: BTreeSet<Place>,
    /// Autoscalers of which something changed while they slept; empty at rest.
    #[serde(skip)]
    woken: BTreeSet<Arc<str>>,
    /// What is known of their pods, by the uid of the autoscaler.
    #[serde(skip)]
    known: BTreeMap<Arc<str>, Known>,
}

impl Horizontal {
    pub(crate) fn observe(&mut self, change: &Change) {
        let object = &change.object.object;
        if matches!(object.kind(), Kind::Event | Kind::Lease) {
            return;
        }
        let namespace = if object.kind() == Kind::Namespace { object.name() } else { object.namespace() };
        if let Some(asleep) = self.asleep().get_mut(namespace) {
            let all = concerns_all(change);
            let woken = asleep.iter().filter(|(_, concern)| all || concern.is_touched(change));
            let woken: Vec<Arc<str>> = woken.map(|(uid, _)| uid.clone()).collect();
            woken.iter().for_each(|uid| drop(asleep.remove(uid)));
            self.woken.extend(woken);
        }
        if object.kind() != KINDS.autoscaler {
            return;
        }
        match change.kind {
            ChangeKind::Added => self.look(super::owned::place(object)),
            ChangeKind::Deleted => {
                self.watched.remove(object.uid());
                self.known.remove(object.uid());
            }
            ChangeKind::Modified => {}
        }
    }
    fn asleep(&mut self) -> &mut Asleep {
        let watched = &self.watched;
        self.asleep.get_or_insert_with(|| {
            let mut all = Asleep::new();
            for (uid, own) in watched.iter().filter(|(_, own)| own.asleep) {
                all.entry(own.place.0.clone()).or_default().insert(uid.clone(), own.concern());
            }
            all
        })
    }
    /// Has an autoscaler looked at from now on.
    pub(crate) fn look(&mut self, place: Place) {
        self.new.insert(place);
    }
    /// Has the autoscalers of a namespace looked at when it is their turn: its pods are used otherwise than before.
    pub(crate) fn stir(&mut self, namespace: &str) {
        let asleep = self.asleep().get_mut(namespace).map(std::mem::take).unwrap_or_default();
        self.woken.extend(asleep.into_keys());
    }
    /// The same of all namespaces.
    pub(crate) fn stir_all(&mut self) {
        let all = std::mem::take(self.asleep()).into_values();
        self.woken.extend(all.flat_map(BTreeMap::into_keys));
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
    /// Whether an autoscaler's turn has come, and after what time it will if not; looks left out so far are made up for.
    fn turn(&mut self, cx: &Cx<'_>, uid: &str) -> Result<(), Span> {
        let Some(own) = self.watched.get_mut(uid) else { return Ok(()) };
        if std::mem::take(&mut own.asks) {
            return Ok(());
        }
        let since = (cx.now - own.last).as_nanos();
        let rest = since.rem_euclid(PERIOD.as_nanos());
        if rest != 0 {
            return Err(PERIOD - Span::from_nanos(rest));
        }
        if own.asleep {
            own.memory.catch_up(own.last, (cx.now - PERIOD).max(own.last));
        }
        Ok(())
    }
    /// Looks at an autoscaler; returns after what time it is to be looked at again although nothing changes.
    fn sync(&mut self, cx: &mut Cx<'_>, owned: &Owned, (namespace, name): &Place) -> Option<Span> {
        let stored = cx.objects.get(KINDS.autoscaler, namespace, name).cloned()?;
        let object = &stored.object;
        if let Err(after) = self.turn(cx, object.uid()) {
            return Some(after);
        }
        let spec = part::<Spec>(object, "spec")?;
        let status: Status = part(object, "status").unwrap_or_default();
        let target = target(cx.objects, namespace, &spec.scale_target_ref);
        let scale = target.as_ref().map(|(_, _, scale)| scale.clone()).map_err(Clone::clone);
        let (pods, selector) = match &target {
            Ok((kind, stored, scale)) => (candidates(cx.objects, owned, (*kind, stored)), &*scale.selector),
            Err(_) => (Vec::new(), ""),
        };
        let known = self.known.entry(object.uid().into()).or_default();
        let all = known.sight(&pods, selector);
        let metrics = Measured::of(cx.objects, &spec, (&all, known), (namespace, cx.now));
        let selecting = selecting(cx.objects, namespace, &spec.scale_target_ref);
        let seen = Seen { now: cx.now, namespace, scale, pods: all, selecting, metrics: &metrics };
        let unsteady = seen.pods.iter().any(|pod| pod.facts.is_unsteady(cx.now));
        let own = self.watched.entry(object.uid().into()).or_insert_with(|| Watched {
            place: (namespace.clone(), name.clone()),
            memory: Memory::default(),
            last: cx.now,
            asleep: false,
            target: Default::default(),
            selector: String::new(),
            asks: false,
        });
        let reference = &spec.scale_target_ref;
        own.target = (reference.kind.clone(), reference.name.clone());
        own.selector = target.as_ref().map(|(_, _, scale)| scale.selector.clone()).unwrap_or_default();
        let before = apiserver::has_webhooks(cx.objects).then(|| own.memory.clone());
        let outcome = look(&mut own.memory, &spec, &status, &seen, &mut |replicas| match &target {
            Ok((kind, ..)) => {
                let done = rescale(cx, object, (*kind, &reference.name), replicas);
                done.map_err(|refusal| {
                    own.asks = refusal.pending.is_some();
                    refusal.message
                })
            }
            Err(why) => Err(why.clone()),
        });
        if own.asks {
            // The answers wake it.
            own.memory = before.unwrap_or_default();
            return None;
        }
        let quiet = outcome.status == status && outcome.events.is_empty() && !unsteady;
        let next = own.rest(cx.now, quiet, &outcome, spec.behavior.as_ref());
        if own.asleep {
            let (uid, concern) = (object.uid().into(), own.concern());
            self.asleep().entry(namespace.clone()).or_default().insert(uid, concern);
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

impl Watched {
    fn concern(&self) -> Concern {
        let selector = Some(&self.selector).filter(|text| !text.is_empty());
        let selector = selector.and_then(|text| Selector::parse(text).ok());
        Concern { target: self.target.clone(), selector }
    }
    /// Whether looks are left out from now on, and after what time there has to be one although nothing changes.
    fn rest(
        &mut self,
        now: Instant,
        quiet: bool,
        outcome: &Outcome,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
    ) -> Option<Span> {
        let failing = |c: &Condition| c.status == "False" && c.type_ != "ScalingLimited";
        let failing = outcome.status.conditions.iter().flatten().any(failing);
        (self.last, self.asleep) = (now, quiet);
        let whole = |span: Span| {
            let periods = (span.as_nanos() + PERIOD.as_nanos() - 1) / PERIOD.as_nanos();
            PERIOD.scaled(periods.max(1), 1)
        };
        match (quiet, failing) {
            (false, _) => Some(PERIOD),
            (true, true) => Some(FAILING_PERIOD),
            (true, false) => self.memory.changes_at(now, behavior).map(|at| whole(at - now)),
        }
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
    let (wanted, there, selector) = apiserver::replicas(objects, kind, &stored)
        .ok_or_else(|| "the server could not find the requested resource".to_owned())?;
    let number = |found: i64| i32::try_from(found).unwrap_or(i32::MAX);
    let scale = Scale { wanted: number(wanted), there: number(there), selector };
    Ok((kind, stored, scale))
}

/// Sets the replicas of what an autoscaler names. A refusal that is pending says that webhooks are being asked.
fn rescale(
    cx: &mut Cx<'_>,
    autoscaler: &Object,
    (kind, name): (Kind, &str),
    replicas: i32,
) -> Result<(), Refusal> {
    let namespace = autoscaler.namespace();
    if replicas >= 0 && scales_plainly(cx, kind, (namespace, name)) {
        cx.edit((kind, namespace, name), |doc| {
            super::document::set(doc, &["spec", "replicas"], replicas.into())
        });
        return Ok(());
    }
    let scale = serde_json::json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"replicas": replicas}});
    let request = Request {
        verb: Verb::Update,
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: Some(Subresource::Scale),
        body: scale,
        options: Options::of_controller("horizontal-pod-autoscaler"),
    };
    cx.under_way.begin(autoscaler.uid());
    cx.send(&Writer::of(autoscaler), request).map(|_| ())
}

/// Whether a change of a workload's Scale comes to nothing but a change of its replicas: nobody is to be asked about it,
/// and nobody waits for it to end.
fn scales_plainly(cx: &Cx<'_>, kind: Kind, (namespace, name): (&str, &str)) -> bool {
    let known = kind == KINDS.deployment || kind == KINDS.stateful_set;
    known
        && !apiserver::is_anybody_asked(cx.objects)
        && cx.document(kind, namespace, name).is_some_and(|doc| !super::is_deleting(&doc.metadata))
}

/// The pods a target owns.
fn candidates(objects: &Objects, owned: &Owned, (kind, target): (Kind, &Arc<Stored>)) -> Vec<Arc<Stored>> {
    let object = &target.object;
    if kind == KINDS.deployment {
        let sets = owned.children(object.uid(), KINDS.replica_set);
        return sets.flat_map(|set| owned.children(set.object.uid(), Kind::Pod)).cloned().collect();
    }
    if kind.resource().custom {
        return objects.list(Kind::Pod, Some(object.namespace())).cloned().collect();
    }
    owned.children(object.uid(), Kind::Pod).cloned().collect()
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
    usage: ByPod<Usage>,
    pods: BTreeMap<String, Vec<(String, Sample)>>,
    objects: BTreeMap<(String, String, String), i64>,
    external: BTreeMap<String, Vec<i64>>,
    unavailable: bool,
}

impl Measured {
    fn of(
        objects: &Objects,
        spec: &Spec,
        (pods, known): (&[Sighted<'_>], &Known),
        (namespace, now): (&str, Instant),
    ) -> Measured {
        let mut measured = Measured { unavailable: !objects.has_metrics(), ..Measured::default() };
        if measured.unavailable {
            return measured;
        }
        let is_ready = |pod: &Sighted<'_>| pod.facts.ready.is_some_and(|(says, _)| says == Ready::Yes);
        let each = pods.iter().map(|pod| (pod.pod, is_ready(pod), pod.sort));
        let bearers = Bearers::counted(objects, each);
        for metric in spec.metrics.iter().flatten() {
            if let Some(source) = &metric.pods {
                let name = &source.metric.name;
                let sample = |value| Sample { at: now, window: apiserver::metrics::WINDOW, value };
                let of = |pod: &Sighted<'_>| {
                    let value = bearers.metric(objects, pod.pod, name)?;
                    Some((pod.pod.metadata.name.clone()?, sample(value)))
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
            let of_containers = metric.resource.is_some() || metric.container_resource.is_some();
            if of_containers && measured.usage.own.is_empty() {
                measured.usage.own = usage(objects, &bearers, (pods, known), now);
            }
        }
        measured
    }
}

/// What the containers of each pod use; of pods of one sort it is worked out once.
fn usage(
    objects: &Objects,
    bearers: &Bearers,
    (pods, known): (&[Sighted<'_>], &Known),
    now: Instant,
) -> Vec<Option<Usage>> {
    // Requests of Services come to some pods and not to others.
    let borne = |pod: &Pod| {
        objects.is_any_borne() && pod.metadata.uid.as_deref().is_some_and(|uid| objects.borne(uid).is_some())
    };
    let mut sorts: BTreeMap<usize, Option<Used>> = BTreeMap::new();
    let of = |pod: &Sighted<'_>| {
        let containers = match pod.sort.filter(|_| pod.facts.is_measured(now) && !borne(pod.pod)) {
            Some(sort) => {
                let like = known.one_of(sort).unwrap_or(pod.pod);
                let used = || apiserver::metrics::used_like(objects, bearers, like);
                sorts.entry(sort).or_insert_with(used).clone()
            }
            None => apiserver::metrics::used_by(objects, bearers, pod.pod, now),
        };
        Some(Usage { at: now, window: apiserver::metrics::WINDOW, containers: containers? })
    };
    pods.iter().map(of).collect()
}

impl Metrics for Measured {
    fn unavailable(&self) -> Option<&str> {
        self.unavailable.then_some(apiserver::metrics::UNAVAILABLE)
    }
    fn usage(&self, _: &[Sighted<'_>]) -> Cow<'_, ByPod<Usage>> {
        Cow::Borrowed(&self.usage)
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
        if self.unavailable {
            return Err(format!(
                "{} (get {}.custom.metrics.k8s.io)",
                apiserver::metrics::UNAVAILABLE,
                object.name
            ));
        }
        let missing =
            || format!("the server could not find the metric {metric} for {} {}", object.kind, object.name);
        self.objects.get(&key).copied().ok_or_else(missing)
    }
    fn external(&self, metric: &str, _: Option<&LabelSelector>) -> Vec<i64> {
        self.external.get(metric).cloned().unwrap_or_default()
    }
}
