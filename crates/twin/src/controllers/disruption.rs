//! `disruption`: says in each PodDisruptionBudget's status how many of its pods may be evicted.
//!
//! Pods a budget selects are kept with it, so that a change of one pod costs a look at the budgets of its namespace and
//! not at all its pods. Pods without a controller count for a whole number of `minAvailable` only.

use super::events::{About, Source};
use super::owned::{KINDS, controller, place};
use super::podcontrol::{number, part, ready_since, replicas, scaled, to_part};
use super::replicaset::{selector, selects};
use super::scheduler::Selector;
use super::workloads::{Look, Wakes};
use super::{Cx, Place, is_deleting, time};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Stored};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SOURCE: Source<'static> = Source { component: "controllermanager", host: None };
/// How long an eviction that was let through counts as a disruption although its pod is still there
/// (`DeletionTimeout`).
const DISRUPTED: Span = Span::from_seconds(120);

/// A budget and the pods it selects.
#[derive(Debug)]
struct Budget {
    selector: Selector,
    pods: BTreeMap<Arc<str>, Arc<Stored>>,
}

/// The controller's state; it follows from the objects.
#[derive(Debug, Default)]
pub(crate) struct Disruption {
    /// Budgets by namespace and name.
    budgets: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Budget>>,
    dirty: BTreeSet<Place>,
}

impl Disruption {
    /// Looks at a budget in the next round.
    pub(crate) fn look(&mut self, place: Place) {
        self.dirty.insert(place);
    }
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        let object = &change.object.object;
        if object.kind() == Kind::Pod {
            self.observe_pod(change);
        } else if object.kind() == KINDS.budget {
            let (namespace, name) = place(object);
            if change.kind == ChangeKind::Deleted {
                if let Some(budgets) = self.budgets.get_mut(&namespace) {
                    budgets.remove(&name);
                }
                return;
            }
            self.know(cx, object);
            self.look((namespace, name));
        }
    }
    /// Takes in a budget, and its pods where its selector is new.
    fn know(&mut self, cx: &Cx<'_>, object: &Object) {
        let (namespace, name) = place(object);
        let selector = selector(object);
        let budgets = self.budgets.entry(namespace.clone()).or_default();
        if budgets.get(&name).is_some_and(|budget| budget.selector == selector) {
            return;
        }
        let pods = cx.objects.list(Kind::Pod, Some(&namespace));
        let pods = pods.filter(|stored| selects(&selector, &stored.object));
        let pods = pods.map(|stored| (stored.object.name().into(), stored.clone())).collect();
        budgets.insert(name, Budget { selector, pods });
    }
    fn observe_pod(&mut self, change: &Change) {
        let pod = &change.object.object;
        for (name, budget) in self.budgets.get_mut(pod.namespace()).into_iter().flatten() {
            let selected = change.kind != ChangeKind::Deleted && selects(&budget.selector, pod);
            let before = if selected {
                budget.pods.insert(pod.name().into(), change.object.clone())
            } else {
                budget.pods.remove(pod.name())
            };
            if selected || before.is_some() {
                self.dirty.insert((pod.namespace().into(), name.clone()));
            }
        }
    }
    pub(crate) fn run(&mut self, look: &mut Look<'_, '_, '_>) -> bool {
        let mut acted = false;
        for place in std::mem::take(&mut self.dirty) {
            let Some(stored) = look.cx.objects.get(KINDS.budget, &place.0, &place.1).cloned() else {
                continue;
            };
            self.know(look.cx, &stored.object);
            let Some(budget) = self.budgets.get(&place.0).and_then(|all| all.get(&place.1)) else { continue };
            acted |= sync(look.cx, look.wakes, &stored.object, budget);
        }
        acted
    }
}

fn sync(cx: &mut Cx<'_>, wakes: &mut Wakes, object: &Object, budget: &Budget) -> bool {
    let Some(spec) = part::<PodDisruptionBudgetSpec>(object, "spec") else { return false };
    let old: PodDisruptionBudgetStatus = part(object, "status").unwrap_or_default();
    let pods: Vec<&Pod> = budget.pods.values().filter_map(|s| s.object.as_pod()).collect();
    let about = About::new(object);
    let news = old.observed_generation != object.meta().generation;
    if pods.is_empty() && (news || old.expected_pods != Some(0)) {
        cx.normal(&about, SOURCE, "NoPods", "No matching pods found".to_owned());
    }
    let (expected, desired) = match expectation(cx, &spec, &pods) {
        Ok(found) => found,
        Err(why) => return fail(cx, object, old, &why),
    };
    let (disrupted, next) = disrupted(cx.now, &pods, &old);
    let now = cx.now;
    let overdue = |(name, at): &(&String, &Time)| {
        budget.pods.get(name.as_str()).is_some_and(|s| !is_deleting(s.object.meta()))
            && Instant::from_jiff(at.0) + DISRUPTED < now
    };
    for _ in old.disrupted_pods.iter().flatten().filter(overdue) {
        let text = format!(
            "Pod was expected by PDB {}/{} to be deleted but it wasn't",
            object.namespace(),
            object.name()
        );
        cx.warning(&about, SOURCE, "NotDeleted", text);
    }
    let healthy = pods.iter().filter(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let marked = disrupted.get(name).is_some_and(|at| Instant::from_jiff(at.0) + DISRUPTED > cx.now);
        !is_deleting(&pod.metadata) && !marked && ready_since(pod).is_some()
    });
    let current = number(healthy.count());
    let allowed = if expected <= 0 { 0 } else { (current - desired).max(0) };
    let (value, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let status = PodDisruptionBudgetStatus {
        conditions: Some(vec![condition(cx.now, object, &old, (value, reason, ""))]),
        current_healthy: Some(current),
        desired_healthy: Some(desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: object.meta().generation,
    };
    if let Some(at) = next {
        wakes.set(cx, object, at);
    }
    cx.put_status(object, to_part(&status))
}

/// Nothing may be disrupted while it is not known what is there.
fn fail(cx: &mut Cx<'_>, object: &Object, old: PodDisruptionBudgetStatus, why: &str) -> bool {
    let text = format!("Failed to calculate the number of expected pods: {why}");
    let condition = condition(cx.now, object, &old, ("False", "SyncFailed", why));
    let said = old.conditions.iter().flatten().any(|c| c.reason == "SyncFailed" && c.message == why);
    if !said {
        cx.warning(&About::new(object), SOURCE, "CalculateExpectedPodCountFailed", text);
    }
    let status = PodDisruptionBudgetStatus {
        conditions: Some(vec![condition]),
        current_healthy: old.current_healthy.or(Some(0)),
        desired_healthy: old.desired_healthy.or(Some(0)),
        expected_pods: old.expected_pods.or(Some(0)),
        disruptions_allowed: Some(0),
        observed_generation: object.meta().generation,
        ..old
    };
    cx.put_status(object, to_part(&status))
}

fn condition(
    now: Instant,
    object: &Object,
    old: &PodDisruptionBudgetStatus,
    (status, reason, message): (&str, &str, &str),
) -> Condition {
    let before = old.conditions.iter().flatten().find(|c| c.type_ == "DisruptionAllowed");
    let since = before.filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
    Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: object.meta().generation,
        last_transition_time: since.unwrap_or_else(|| time(now)),
    }
}

/// Pods expected, and how many of them have to be healthy.
fn expectation(cx: &Cx<'_>, spec: &PodDisruptionBudgetSpec, pods: &[&Pod]) -> Result<(i32, i32), String> {
    if let Some(most) = &spec.max_unavailable {
        let expected = expected_scale(cx, pods)?;
        return Ok((expected, (expected - scaled(Some(most), expected, true)).max(0)));
    }
    match &spec.min_available {
        None => Ok((0, 0)),
        Some(IntOrString::Int(least)) => Ok((number(pods.len()), *least)),
        Some(share) => {
            let expected = expected_scale(cx, pods)?;
            Ok((expected, scaled(Some(share), expected, true)))
        }
    }
}

/// What the pods' controllers together are to have.
fn expected_scale(cx: &Cx<'_>, pods: &[&Pod]) -> Result<i32, String> {
    let mut scales: BTreeMap<String, i32> = BTreeMap::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for pod in pods {
        let Some(owner) = controller(&pod.metadata) else { continue };
        if seen.contains(owner.uid.as_str()) {
            continue;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let found = cx.objects.kind_of(&owner.api_version, &owner.kind).and_then(|kind| {
            let stored = cx.objects.get(kind, namespace, &owner.name)?;
            (stored.object.uid() == owner.uid).then(|| (kind, stored.clone()))
        });
        let Some((kind, stored)) = found else {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            return Err(format!("found no controllers for pod \"{name}\""));
        };
        if !kind.resource().has_part("scale") {
            return Err(format!("{} does not implement the scale subresource", kind.resource().qualified()));
        }
        // Pods of one Deployment's ReplicaSets have one scale: the Deployment's.
        let above = controller(stored.object.meta()).filter(|_| kind == KINDS.replica_set);
        let above = above.and_then(|owner| {
            let stored = cx.objects.get(KINDS.deployment, namespace, &owner.name)?;
            (stored.object.uid() == owner.uid).then(|| (owner.uid.clone(), replicas(&stored.object)))
        });
        let (scaled, scale) = above.unwrap_or_else(|| (owner.uid.clone(), replicas(&stored.object)));
        seen.insert(&owner.uid);
        scales.insert(scaled, scale);
    }
    Ok(scales.values().sum())
}

/// Evictions that were let through lately and whose pods are still there, and when the next is let go.
fn disrupted(
    now: Instant,
    pods: &[&Pod],
    old: &PodDisruptionBudgetStatus,
) -> (BTreeMap<String, Time>, Option<Instant>) {
    let there = |name: &str| {
        pods.iter().any(|pod| pod.metadata.name.as_deref() == Some(name) && !is_deleting(&pod.metadata))
    };
    let marked = old.disrupted_pods.iter().flatten();
    let kept: BTreeMap<String, Time> = marked
        .filter(|(name, at)| there(name) && Instant::from_jiff(at.0) + DISRUPTED >= now)
        .map(|(name, at)| (name.clone(), at.clone()))
        .collect();
    let next = kept.values().map(|at| Instant::from_jiff(at.0) + DISRUPTED + Span::from_nanos(1)).min();
    (kept, next)
}
