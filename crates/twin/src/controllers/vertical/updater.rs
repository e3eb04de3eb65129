//! Which running pods are evicted or resized for a recommendation, and how many at a time.
//!
//! A pod is, when a request is out of the recommended range (or not stated), when it was killed for want of memory soon after
//! its start, or when it is twelve hours old and off by a tenth. Those that need more come first, then those that are
//! furthest off. At least two replicas there must be, unless the autoscaler says otherwise, and at most half of them may be
//! away; disruption budgets apply beside that.

use super::UPDATER;
use super::admission::{OBSERVED, resources};
use super::spec::{Advice, Mode, Spec, advice};
use crate::apiserver::quantity::NANO;
use crate::apiserver::{self, Context, Options, PatchType, Request, Subresource, Usage, Verb, quantities};
use crate::controllers::events::About;
use crate::controllers::owned::controller;
use crate::controllers::{Cx, is_terminal, phase};
use crate::kind::Kind;
use crate::object::{Document, Object};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Least replicas of a workload any of whose pods is evicted.
const REPLICAS_MIN: i64 = 2;
/// How far off the target a pod has to be, in all, once it is old enough.
const DIFFERENCE_MIN: f64 = 0.1;
const AGE_MIN: Span = Span::from_seconds(12 * 3600);
/// A container that is killed so soon after its start, and so long ago at most, has its pod evicted.
const KILLED_WITHIN: Span = Span::from_seconds(600);
/// How long a resize may wait, and be under way, until the pod is evicted instead.
const DEFERRED_MAX: Span = Span::from_seconds(300);
const IN_PROGRESS_MAX: Span = Span::HOUR;
/// Written on a pod that was resized.
const RESIZED: &str = "vpaInPlaceUpdated";

/// A pod for which something is to be done.
struct Candidate<'a> {
    pod: &'a Pod,
    needs_more: bool,
    difference: f64,
    /// Resources of its containers, by name.
    change: Vec<(String, Value)>,
}

/// Evicts or resizes pods of an autoscaler, as far as that is wanted and allowed.
pub(super) fn update(cx: &mut Cx<'_>, spec: &Spec, autoscaler: &Document, pods: &[Pod]) {
    let mode = spec.mode();
    if matches!(mode, Mode::Off | Mode::Initial) {
        return;
    }
    let advice = advice(autoscaler);
    if advice.is_empty() {
        return;
    }
    let mut groups: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !is_terminal(pod)) {
        if let Some(owner) = controller(&pod.metadata) {
            groups.entry(&owner.uid).or_default().push(pod);
        }
    }
    for group in groups.into_values() {
        if group.len() as i64 >= spec.min_replicas(REPLICAS_MIN) {
            update_group(cx, (spec, mode), &advice, &group);
        }
    }
}

/// How many replicas the controller of a pod is to keep; of one that does not say, those there are.
fn configured(cx: &Cx<'_>, group: &[&Pod]) -> i64 {
    let own = || {
        let owner = controller(&group.first()?.metadata)?;
        let namespace = group.first()?.metadata.namespace.as_deref().unwrap_or_default();
        let kind = cx.objects.kind_of(&owner.api_version, &owner.kind)?;
        let stored = cx.objects.get(kind, namespace, &owner.name)?;
        stored.object.as_document()?.body.get("spec")?.get("replicas")?.as_i64()
    };
    own().unwrap_or(group.len() as i64)
}

fn update_group(
    cx: &mut Cx<'_>,
    (spec, mode): (&Spec, Mode),
    advice: &BTreeMap<String, Advice>,
    group: &[&Pod],
) {
    let configured = configured(cx, group);
    let tolerance = configured / 2;
    let running = group.iter().filter(|pod| phase(pod) == "Running").count() as i64;
    let mut touched = 0;
    let candidates = group.iter().filter_map(|pod| candidate(spec, advice, pod, cx.now));
    let mut candidates: Vec<Candidate<'_>> = candidates.collect();
    candidates
        .sort_by(|a, b| b.needs_more.cmp(&a.needs_more).then_with(|| b.difference.total_cmp(&a.difference)));
    for candidate in candidates {
        let may = |touched: i64| {
            running - touched > configured - tolerance
                || (configured == running && tolerance == 0 && touched == 0)
        };
        let pending = phase(candidate.pod) == "Pending";
        let evicts = match mode {
            Mode::InPlaceOrRecreate | Mode::InPlace => match resizing(candidate.pod, cx.now) {
                Resizing::UnderWay => continue,
                Resizing::Failed => mode == Mode::InPlaceOrRecreate,
                Resizing::None => {
                    if (may(touched) || pending) && resize(cx, &candidate) {
                        touched += 1;
                    }
                    continue;
                }
            },
            _ => true,
        };
        if evicts && (pending || may(touched)) && evict(cx, candidate.pod) {
            // A pod that does not run yet is none that is away.
            touched += i64::from(!pending);
        }
    }
}

/// Whether anything is to be done for a pod, and what.
fn candidate<'a>(
    spec: &Spec,
    advice: &BTreeMap<String, Advice>,
    pod: &'a Pod,
    now: Instant,
) -> Option<Candidate<'a>> {
    let observed = pod.metadata.annotations.as_ref().and_then(|all| all.get(OBSERVED));
    let observed: Option<Vec<&str>> = observed.map(|text| text.split(", ").collect());
    let (mut outside, mut needs_more) = (false, false);
    let (mut asked, mut wanted) = (Usage::new(), Usage::new());
    let mut change = Vec::new();
    for container in &pod.spec.as_ref()?.containers {
        let name = &container.name;
        let counts = spec.scales(name) && observed.as_ref().is_none_or(|all| all.contains(&name.as_str()));
        let Some(own) = advice.get(name).filter(|_| counts) else { continue };
        let doc = serde_json::to_value(container).ok()?;
        let requests = quantities(doc.pointer("/resources/requests"));
        for (resource, target) in &own.target {
            let Some(request) = requests.get(resource) else {
                (outside, needs_more) = (true, true);
                continue;
            };
            needs_more |= target.nanos() > request.nanos();
            let below = own.lower.get(resource).is_some_and(|lower| request.nanos() < lower.nanos());
            let above = own.upper.get(resource).is_some_and(|upper| request.nanos() > upper.nanos());
            outside |= below || above;
        }
        apiserver::add_quantities(&mut wanted, &own.target);
        let counted = requests.into_iter().filter(|(resource, _)| own.target.contains_key(resource));
        apiserver::add_quantities(&mut asked, &counted.collect());
        let (resources, changed) = resources(&doc, own, spec.scales_limits(name));
        if !changed.is_empty() {
            change.push((name.clone(), resources));
        }
    }
    let difference = difference(&asked, &wanted);
    let since = pod.status.as_ref()?.start_time.as_ref().map(|time| Instant::from_jiff(time.0))?;
    let old = since + AGE_MIN <= now && difference >= DIFFERENCE_MIN;
    let due = outside || (was_killed_soon(pod, now) && difference > 0.0) || old;
    let allowed = spec.requirements().iter().all(|requirement| {
        requirement.resources.iter().any(|resource| {
            let of = |list: &Usage| list.get(resource).map_or(0, |amount| amount.nanos());
            match requirement.change_requirement.as_str() {
                "TargetHigherThanRequests" => of(&wanted) > of(&asked),
                "TargetLowerThanRequests" => of(&wanted) < of(&asked),
                _ => true,
            }
        })
    });
    (due && allowed && !change.is_empty()).then_some(Candidate { pod, needs_more, difference, change })
}

/// How far requests are off their targets in all, each by its share.
fn difference(asked: &Usage, wanted: &Usage) -> f64 {
    let one = |(resource, target): (&String, &apiserver::quantity::Quantity)| {
        let asked = asked.get(resource).map_or(0, |amount| amount.nanos());
        (asked - target.nanos()).abs() as f64 / asked.max(NANO / 1000) as f64
    };
    wanted.iter().map(one).sum()
}

/// Whether a container was killed for want of memory soon after its start, and not long ago.
fn was_killed_soon(pod: &Pod, now: Instant) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ended = statuses.filter_map(|own| own.last_state.as_ref()?.terminated.as_ref());
    ended.filter(|ended| ended.reason.as_deref() == Some("OOMKilled")).any(|ended| {
        let at = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
            time.as_ref().map(|time| Instant::from_jiff(time.0))
        };
        let (Some(from), Some(to)) = (at(&ended.started_at), at(&ended.finished_at)) else { return false };
        to - from <= KILLED_WITHIN && now - to <= KILLED_WITHIN
    })
}

/// How a resize that was asked for stands.
enum Resizing {
    None,
    UnderWay,
    /// It does not work, or takes too long.
    Failed,
}

fn resizing(pod: &Pod, now: Instant) -> Resizing {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let since = |condition: &PodCondition| {
        condition.last_transition_time.as_ref().map_or(now, |time| Instant::from_jiff(time.0))
    };
    let mut found = Resizing::None;
    for condition in conditions.filter(|condition| condition.status == "True") {
        let (reason, waits) = (condition.reason.as_deref().unwrap_or_default(), now - since(condition));
        let failed = match (condition.type_.as_str(), reason) {
            ("PodResizePending", "Infeasible") | ("PodResizeInProgress", "Error") => true,
            ("PodResizePending", _) => waits > DEFERRED_MAX,
            ("PodResizeInProgress", _) => waits > IN_PROGRESS_MAX,
            _ => continue,
        };
        if failed {
            return Resizing::Failed;
        }
        found = Resizing::UnderWay;
    }
    found
}

fn ask(cx: &mut Cx<'_>, pod: &Pod, verb: Verb, subresource: Option<Subresource>, body: Value) -> bool {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let request = Request {
        verb,
        kind: Kind::Pod,
        namespace: text(&pod.metadata.namespace),
        name: text(&pod.metadata.name),
        subresource,
        body,
        options: Options::default(),
    };
    let mut context = Context { objects: cx.objects, now: cx.now, names: cx.names };
    apiserver::write(&mut context, &request).is_ok()
}

/// Evicts a pod, unless a disruption budget says no.
fn evict(cx: &mut Cx<'_>, pod: &Pod) -> bool {
    let meta = json!({"name": pod.metadata.name, "namespace": pod.metadata.namespace});
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta});
    let done = ask(cx, pod, Verb::Create, Some(Subresource::Eviction), body);
    if done {
        tell(cx, pod, "EvictedByVPA", "Pod was evicted by VPA Updater to apply resource recommendation.");
    }
    done
}

/// Has a pod resized where it is.
fn resize(cx: &mut Cx<'_>, candidate: &Candidate<'_>) -> bool {
    let one = |(name, resources): &(String, Value)| json!({"name": name, "resources": resources});
    let containers: Vec<Value> = candidate.change.iter().map(one).collect();
    let body = json!({"spec": {"containers": containers}});
    let pod = candidate.pod;
    if !ask(cx, pod, Verb::Patch(PatchType::StrategicMerge), Some(Subresource::Resize), body) {
        return false;
    }
    let annotations = json!({"metadata": {"annotations": {RESIZED: "true"}}});
    ask(cx, pod, Verb::Patch(PatchType::Merge), None, annotations);
    tell(cx, pod, "InPlaceResizedByVPA", "Pod was resized in place by VPA Updater.");
    true
}

fn tell(cx: &mut Cx<'_>, pod: &Pod, reason: &str, message: &str) {
    let object = Object::Pod(Box::new(pod.clone()));
    cx.normal(&About::new(&object), UPDATER, reason, message.to_owned());
}
