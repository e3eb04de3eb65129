//! `replicaset` and `replication`: keep as many pods of a template as are asked for.
//!
//! Takes in pods that nobody controls and lets go those it no longer selects; creates in growing batches, so that a pod
//! which cannot be let in is tried once and not a hundred times; deletes by the order of [`rank`]. Both kinds follow the
//! same rules, as in Kubernetes, where one controller is the other behind an adapter. Everything follows from the objects.

mod rank;

use super::events::{About, Source};
use super::owned::{KINDS, Owned, Tally, controller};
use super::podcontrol::{BURST_MAX, Refusal, integer, is_active, number, part, pods, replicas, to_part};
use super::scheduler::{Labels, Selector};
use super::workloads::{Look, Wakes, dirty_kinds};
use super::{Cx, Place, is_terminal, time};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, Stored};
use fleet::{Instant, Span};
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use rank::deletion_order;

/// What keeps the controller from having as many pods as it should.
const FAILURE: &str = "ReplicaFailure";

/// First delay after a refused creation, and the longest (the work queue's limit).
const RETRY_FIRST: Span = Span::from_seconds(1);
const RETRY_MAX: Span = Span::from_seconds(1000);

/// The controller's state: sets to look at. Empty at rest.
#[derive(Debug, Default)]
pub(crate) struct ReplicaSets {
    dirty: BTreeSet<(Kind, Place)>,
}

/// The labels a workload selects pods by.
pub(crate) fn selector(object: &Object) -> Selector {
    if object.kind() == KINDS.replication_controller {
        let labels: Option<BTreeMap<String, String>> = object
            .as_document()
            .and_then(|d| Deserialize::deserialize(d.body.get("spec")?.get("selector")?).ok());
        let selector =
            labels.map(|labels| LabelSelector { match_labels: Some(labels), match_expressions: None });
        return Selector::new(selector.as_ref());
    }
    let selector: Option<LabelSelector> = object
        .as_document()
        .and_then(|d| Deserialize::deserialize(d.body.get("spec")?.get("selector")?).ok());
    Selector::new(selector.as_ref())
}

/// Whether a selector selects an object by its labels.
pub(crate) fn selects(selector: &Selector, object: &Object) -> bool {
    object.meta().labels.as_ref().map_or_else(|| selector.matches(&BTreeMap::new()), |l| selector.matches(l))
}

fn source(kind: Kind) -> Source<'static> {
    let of_sets = kind == KINDS.replica_set;
    Source { component: if of_sets { "replicaset-controller" } else { "replication-controller" }, host: None }
}

impl ReplicaSets {
    /// Looks at a set in the next round.
    pub(crate) fn look(&mut self, kind: Kind, place: Place) {
        self.dirty.insert((kind, place));
    }
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let kinds = [KINDS.replica_set, KINDS.replication_controller];
        dirty_kinds(cx, change, &kinds, Kind::Pod, &mut self.dirty);
    }
    pub(crate) fn run(&mut self, look: &mut Look<'_, '_, '_>) -> bool {
        let mut acted = false;
        for (kind, place) in std::mem::take(&mut self.dirty) {
            if let Some(stored) = look.cx.objects.get(kind, &place.0, &place.1).cloned() {
                acted |= sync(look.cx, look.owned, look.wakes, &stored.object);
            }
        }
        acted
    }
}

/// Brings one set's pods and status to what they should be.
fn sync(cx: &mut Cx<'_>, owned: &Owned, wakes: &mut Wakes, set: &Object) -> bool {
    let selector = selector(set);
    let before = cx.objects.version();
    let (tally, claimed) = match owned.tally(set, |labels| selector.matches(labels)) {
        Some(tally) => (tally, None),
        None => {
            // What has ended is left as it is.
            let over =
                |pod: &Object| controller(pod.meta()).is_none() && pod.as_pod().is_some_and(is_terminal);
            let claimed = owned.claim(cx, set, Kind::Pod, &|pod| selects(&selector, pod) && !over(pod));
            (Cow::Owned(Tally::of(pods(&claimed))), Some(claimed))
        }
    };
    let active = tally.sum(|counts| counts.active);
    let mut failure = None;
    if set.meta().deletion_timestamp.is_none() {
        let wanted = usize::try_from(replicas(set)).unwrap_or(0);
        if active < wanted {
            // The rest follows when these are heard of.
            let missing = (wanted - active).min(BURST_MAX);
            failure = create(cx, set, missing).err().map(|why| ("FailedCreate", why));
        } else if active > wanted {
            let claimed = claimed.unwrap_or_else(|| owned.children(set.uid(), Kind::Pod).cloned().collect());
            let all: Vec<&Pod> = pods(&claimed).filter(|pod| is_active(pod)).collect();
            delete(cx, owned, set, &all, (active - wanted).min(BURST_MAX));
        }
    }
    let retry = failure.is_some().then(|| retry_at(cx.now, set));
    let (status, next) = status(cx, set, &tally, failure);
    cx.put_status(set, status);
    if let Some(at) = next.into_iter().chain(retry).min() {
        wakes.set(cx, set, at);
    }
    cx.objects.version() != before
}

/// When a refused creation is tried again: the time since it was first refused is doubled each time.
fn retry_at(now: Instant, set: &Object) -> Instant {
    let status: ReplicaSetStatus = part(set, "status").unwrap_or_default();
    let failing = status.conditions.iter().flatten().find(|c| c.type_ == FAILURE);
    let since =
        failing.and_then(|c| c.last_transition_time.as_ref()).map_or(now, |t| Instant::from_jiff(t.0));
    now + (now - since).max(RETRY_FIRST).min(RETRY_MAX)
}

/// Creates pods in batches of one, two, four and so on, until one is refused.
fn create(cx: &mut Cx<'_>, set: &Object, count: usize) -> Result<(), String> {
    let template = set.as_document().and_then(|doc| doc.body.get("spec")?.get("template"));
    let Some(template) = template.and_then(|template| PodTemplateSpec::deserialize(template).ok()) else {
        return Ok(());
    };
    let about = About::new(set);
    let base = format!("{}-", set.name());
    cx.under_way.begin(set.uid());
    let (mut left, mut batch) = (count, cx.under_way.together(set.uid()));
    while left > 0 {
        let (mut refused, mut waits) = (None, false);
        for _ in 0..batch.min(left) {
            let pod = cx.pod_of(&template, set, &base);
            match cx.create_pod(pod) {
                Ok(stored) => {
                    let text = format!("Created pod: {}", stored.object.name());
                    cx.normal(&about, source(set.kind()), "SuccessfulCreate", text);
                }
                Err(Refusal::NamespaceEnds) => return Ok(()),
                Err(Refusal::UnderWay) => waits = true,
                Err(Refusal::Text(why)) => {
                    cx.warning(&about, source(set.kind()), "FailedCreate", format!("Error creating: {why}"));
                    refused = Some(why);
                }
            }
        }
        if let Some(why) = refused {
            return Err(why);
        }
        if waits {
            return Ok(());
        }
        left -= batch.min(left);
        batch *= 2;
    }
    Ok(())
}

/// Deletes pods that are too many.
fn delete(cx: &mut Cx<'_>, owned: &Owned, set: &Object, active: &[&Pod], count: usize) {
    let about = About::new(set);
    let chosen: Vec<&Pod> = if count < active.len() {
        let related = related(owned, set);
        let related: Vec<&Pod> = pods(&related).collect();
        let ranks = rank::ranks(active, &related);
        deletion_order(active, &ranks, cx.now).into_iter().take(count).collect()
    } else {
        active.to_vec()
    };
    for pod in chosen {
        cx.delete_pod(&about, source(set.kind()), pod);
    }
}

/// Pods of all sets with the same owner, this one included.
fn related(owned: &Owned, set: &Object) -> Vec<Arc<Stored>> {
    let Some(owner) = controller(set.meta()) else {
        return owned.children(set.uid(), Kind::Pod).cloned().collect();
    };
    let sets = owned.children(&owner.uid, set.kind());
    sets.flat_map(|set| owned.children(set.object.uid(), Kind::Pod)).cloned().collect()
}

/// Whether a set's template labels its pods so, or more.
fn is_labelled(set: &Object, labels: &Labels) -> bool {
    let template = set.as_document().and_then(|d| d.body.get("spec")?.pointer("/template/metadata/labels"));
    let Some(all) = template.and_then(Value::as_object).filter(|all| all.values().all(Value::is_string))
    else {
        return true;
    };
    all.iter().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
}

/// The status as it should be, and when a pod becomes available that is ready and not available yet.
fn status(
    cx: &Cx<'_>,
    set: &Object,
    tally: &Tally,
    failure: Option<(&str, String)>,
) -> (Value, Option<Instant>) {
    let min_ready = Span::from_seconds(integer(set, "spec", "minReadySeconds").unwrap_or(0).max(0));
    let (available, next) = tally.available(min_ready, cx.now);
    let labelled = tally.groups().filter(|(labels, _)| is_labelled(set, labels));
    let old = set.as_document().and_then(|d| d.body.get("status")?.get("conditions"));
    let old = old.and_then(|list| Vec::<ReplicaSetCondition>::deserialize(list).ok());
    let some = |count: usize| (count > 0).then(|| number(count));
    let new = ReplicaSetStatus {
        available_replicas: some(available),
        conditions: conditions(cx, old, failure),
        fully_labeled_replicas: some(labelled.map(|(_, counts)| counts.active).sum()),
        observed_generation: set.meta().generation,
        ready_replicas: some(tally.sum(|counts| counts.ready)),
        replicas: number(tally.sum(|counts| counts.active)),
        terminating_replicas: (set.kind() == KINDS.replica_set)
            .then(|| number(tally.sum(|counts| counts.terminating))),
    };
    (to_part(&new), next)
}

fn conditions(
    cx: &Cx<'_>,
    old: Option<Vec<ReplicaSetCondition>>,
    failure: Option<(&str, String)>,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut all = old.unwrap_or_default();
    match failure {
        None => all.retain(|c| c.type_ != FAILURE),
        Some((reason, message)) => {
            if all.iter().all(|c| c.type_ != FAILURE) {
                all.push(ReplicaSetCondition {
                    type_: FAILURE.to_owned(),
                    status: "True".to_owned(),
                    reason: Some(reason.to_owned()),
                    message: Some(message),
                    last_transition_time: Some(time(cx.now)),
                });
            }
        }
    }
    (!all.is_empty()).then_some(all)
}
