//! Vertical Pod Autoscalers: what pods ought to ask for, given to new pods and, where that is wanted, to running ones.
//!
//! They act in a cluster that has their definition, as the recommender, the updater and the admission controller of release
//! 1.8 do with their defaults. Every minute each autoscaler looks at what its pods use, as `metrics.k8s.io` tells it, and
//! writes what it recommends; then running pods are evicted or resized for it ([`updater`]). New pods get it as they are
//! made ([`admission`]). Where checkpoints are defined they are written every hour, and read when an autoscaler is first
//! seen. The arithmetic is [`crate::vpa`]'s. Left out: other recommenders, the start-up boost, ranges of limits of a
//! LimitRange, limits on the rate of evictions.

mod admission;
mod checkpoint;
mod spec;
mod updater;

pub(crate) use admission::{admit, any};

use super::events::Source;
use super::workloads::Look;
use super::{Cx, Place, is_deleting, time};
use crate::apiserver;
use crate::kind::Kind;
use crate::load::Bearers;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::vpa::{Aggregate, Container, Recommendation, recommend};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spec::Spec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often an autoscaler looks at its pods.
const PERIOD: Span = Span::MINUTE;
/// How often a checkpoint is written (the real ones are as often as they look; nothing is lost here in between).
const CHECKPOINT_PERIOD: Span = Span::HOUR;
const UPDATER: Source<'static> = Source { component: "vpa-updater", host: None };

/// What an autoscaler has seen.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Watched {
    /// By container.
    used: BTreeMap<String, Aggregate>,
    /// By the pod's uid and the container.
    #[serde(with = "crate::world::pairs")]
    containers: BTreeMap<(Arc<str>, String), Container>,
    kept: Option<Instant>,
}

/// A container that was killed for want of memory.
#[derive(Debug)]
struct Kill {
    pod: Arc<str>,
    container: String,
    at: Instant,
    request_bytes: i64,
}

/// The controller's state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Vertical {
    /// By the uid of the autoscaler.
    #[serde(default)]
    watched: BTreeMap<Arc<str>, Watched>,
    /// Autoscalers without a timer; empty at rest.
    #[serde(skip)]
    new: BTreeSet<Place>,
    /// Autoscalers whose time has come; empty at rest.
    #[serde(skip)]
    due: BTreeSet<Place>,
    /// Of each autoscaler's pods since its last look, by namespace; what is lost with a restart is one kill in a minute.
    #[serde(skip)]
    kills: BTreeMap<Arc<str>, Vec<Kill>>,
}

/// Most kills of a namespace that are remembered until the next look.
const KILLS_MAX: usize = 10_000;

impl Vertical {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let object = &change.object.object;
        if let (Object::Pod(pod), Some(previous)) = (object, &change.previous) {
            if !self.watched.is_empty()
                && let Some(previous) = previous.object.as_pod()
            {
                self.hear(pod, previous);
            }
            return;
        }
        // A definition that comes after an imported world's autoscalers has them looked at too.
        if object.kind().resource().plural == "customresourcedefinitions"
            && let Some(kind) = spec::kind(cx.objects)
        {
            let all = cx.objects.list(kind, None).map(|stored| super::owned::place(&stored.object));
            self.new.extend(all);
        }
        if !spec::is_autoscaler(object) {
            return;
        }
        match change.kind {
            ChangeKind::Added => {
                self.new.insert(super::owned::place(object));
            }
            ChangeKind::Deleted => {
                self.watched.remove(object.uid());
            }
            ChangeKind::Modified => {}
        }
    }
    /// Takes note of containers of a pod that were killed for want of memory.
    fn hear(&mut self, pod: &Pod, previous: &Pod) {
        let statuses = |pod: &Pod| -> Vec<ContainerStatus> {
            let status = pod.status.as_ref();
            status.and_then(|status| status.container_statuses.clone()).unwrap_or_default()
        };
        let (now, before) = (statuses(pod), statuses(previous));
        for own in &now {
            let earlier = before.iter().find(|other| other.name == own.name);
            let ended = own.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let (Some(earlier), Some(ended)) = (earlier, ended) else { continue };
            if own.restart_count <= earlier.restart_count || ended.reason.as_deref() != Some("OOMKilled") {
                continue;
            }
            let spec = previous.spec.iter().flat_map(|spec| &spec.containers).find(|c| c.name == own.name);
            let kill = Kill {
                pod: pod.metadata.uid.as_deref().unwrap_or_default().into(),
                container: own.name.clone(),
                at: ended.finished_at.as_ref().map_or(Instant::EPOCH, |time| Instant::from_jiff(time.0)),
                request_bytes: spec.map_or(0, |c| apiserver::resources::container(c).memory.as_bytes()),
            };
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let kills = self.kills.entry(namespace.into()).or_default();
            if kills.len() < KILLS_MAX {
                kills.push(kill);
            }
        }
    }
    /// The time of an autoscaler has come.
    pub(crate) fn wake(&mut self, place: Place) {
        self.due.insert(place);
    }
    pub(crate) fn run(&mut self, look: &mut Look<'_, '_, '_>) -> bool {
        if self.new.is_empty() && self.due.is_empty() {
            return false;
        }
        let Some(kind) = spec::kind(look.cx.objects) else {
            self.new.clear();
            self.due.clear();
            return false;
        };
        let before = look.cx.objects.version();
        let due = std::mem::take(&mut self.due);
        for place in &due {
            self.sync(look.cx, kind, place);
        }
        self.kills.clear();
        for (namespace, name) in std::mem::take(&mut self.new).into_iter().chain(due) {
            if let Some(stored) = look.cx.objects.get(kind, &namespace, &name).cloned() {
                let at = look.cx.now + PERIOD;
                look.wakes.set(look.cx, &stored.object, at);
            }
        }
        look.cx.objects.version() != before
    }
    /// One look of an autoscaler at its pods.
    fn sync(&mut self, cx: &mut Cx<'_>, kind: Kind, (namespace, name): &Place) {
        let Some(stored) = cx.objects.get(kind, namespace, name).cloned() else { return };
        let Some(doc) = stored.object.as_document() else { return };
        let spec = Spec::read(doc);
        let target = spec::target(cx.objects, namespace, &spec);
        let pods = target.as_ref().map(|(_, selector)| {
            let selected =
                |pod: &&Pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&BTreeMap::new()));
            let pods = cx.objects.list(Kind::Pod, Some(namespace)).filter_map(|s| s.object.as_pod());
            pods.filter(selected).filter(|pod| !is_deleting(&pod.metadata)).cloned().collect::<Vec<_>>()
        });
        let pods = pods.unwrap_or_default();
        let uid: Arc<str> = stored.object.uid().into();
        let first = !self.watched.contains_key(&uid);
        let own = self.watched.entry(uid).or_default();
        if first {
            own.used = checkpoint::read(cx.objects, namespace, name);
        }
        own.take(cx, &pods, self.kills.get(namespace).map_or(&[], Vec::as_slice));
        let scaled = own.used.iter().filter(|(name, used)| spec.scales(name) && used.samples > 0);
        let raw = recommend(&scaled.map(|(name, used)| (name.clone(), used.clone())).collect());
        let status = status(doc, &spec, &raw, &pods, cx.now);
        cx.put_status(&stored.object, status);
        if own.kept.is_none_or(|kept| kept + CHECKPOINT_PERIOD <= cx.now) {
            own.kept = Some(cx.now);
            checkpoint::write(cx, &stored.object, &own.used);
        }
        if let Some(doc) = cx.document(kind, namespace, name).cloned() {
            updater::update(cx, &spec, &doc, &pods);
        }
    }
}

impl Watched {
    /// Takes what the pods use now, and what was killed since the last look.
    fn take(&mut self, cx: &Cx<'_>, pods: &[Pod], kills: &[Kill]) {
        let bearers = Bearers::of(cx.objects, pods.iter());
        let mut there: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut last = apiserver::metrics::Last::default();
        for pod in pods {
            let uid: Arc<str> = pod.metadata.uid.as_deref().unwrap_or_default().into();
            there.insert(uid.clone());
            let usage = apiserver::metrics::usage_of(cx.objects, &bearers, pod, cx.now, &mut last);
            let Some(usage) = usage else { continue };
            for (name, amounts) in usage.containers.iter() {
                let used = self.used.entry(name.clone()).or_default();
                let container = self.containers.entry((uid.clone(), name.clone())).or_default();
                let amount = |name: &str| amounts.get(name).copied().unwrap_or(0);
                container.cpu(used, usage.at, amount("cpu"));
                container.memory(used, usage.at, amount("memory") / 1000);
            }
        }
        for kill in kills.iter().filter(|kill| there.contains(&kill.pod)) {
            let used = self.used.entry(kill.container.clone()).or_default();
            let container = self.containers.entry((kill.pod.clone(), kill.container.clone())).or_default();
            container.killed(used, kill.at, kill.request_bytes);
        }
        self.containers.retain(|(pod, _), _| there.contains(pod));
    }
}

/// The status of an autoscaler.
fn status(
    doc: &crate::object::Document,
    spec: &Spec,
    raw: &BTreeMap<String, Recommendation>,
    pods: &[Pod],
    now: Instant,
) -> Value {
    let mut status = doc.body.get("status").filter(|status| status.is_object()).cloned().unwrap_or(json!({}));
    if !raw.is_empty() {
        status["recommendation"] = spec::recommended(spec, raw);
    }
    let provided = status.get("recommendation").is_some();
    let mut conditions = Vec::new();
    if pods.is_empty() {
        conditions.push(("NoPodsMatched", true, "NoPodsMatched", "No pods match this VPA object"));
    }
    conditions.push(("RecommendationProvided", provided, "", ""));
    let before = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let condition = |(kind, is, reason, message): (&str, bool, &str, &str)| {
        let word = if is { "True" } else { "False" };
        let same = before.iter().find(|old| old["type"] == kind && old["status"] == word);
        let since = same.map_or_else(|| json!(time(now)), |old| old["lastTransitionTime"].clone());
        let mut condition = json!({"type": kind, "status": word, "lastTransitionTime": since});
        for (key, text) in [("reason", reason), ("message", message)] {
            if !text.is_empty() {
                condition[key] = json!(text);
            }
        }
        condition
    };
    status["conditions"] = conditions.into_iter().map(condition).collect();
    status
}
