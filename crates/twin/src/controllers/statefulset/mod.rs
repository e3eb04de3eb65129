//! `statefulset`: pods with names, in order, each with claims of its own.
//!
//! One look does what the real controller's does, in its order: pods that are missing are made, lowest first; those that
//! are too many go, highest first; then one pod of an old revision goes. Unless the set is `Parallel`, a look ends at the
//! first pod that has to be waited for. Everything follows from the objects. Left out: `maxUnavailable`, whose gate is
//! off by default in Kubernetes 1.36.

mod claims;
mod identity;

use super::events::{About, Source};
use super::history::{self, REVISION, Revision};
use super::owned::{KINDS, Owned, place};
use super::podcontrol::{
    REFUSED_RETRY, available_at, integer, number, part, pods, ready_since, replicas, to_part,
};
use super::replicaset::{selector, selects};
use super::workloads::{Look, Wakes, dirty_kinds};
use super::{Cx, Place, is_deleting, phase};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use identity::ordinal;
use k8s_openapi::api::apps::v1::{StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;

const SOURCE: Source<'static> = Source { component: "statefulset-controller", host: None };

/// The controller's state: sets to look at. Empty at rest.
#[derive(Debug, Default)]
pub(crate) struct StatefulSets {
    dirty: BTreeSet<(Kind, Place)>,
}

impl StatefulSets {
    /// Looks at a set in the next round.
    pub(crate) fn look(&mut self, place: Place) {
        self.dirty.insert((KINDS.stateful_set, place));
    }
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        dirty_kinds(cx, change, &[KINDS.stateful_set], Kind::Pod, &mut self.dirty);
        // A pod may be waiting for a claim of its name to go.
        let object = &change.object.object;
        if change.kind == ChangeKind::Deleted && object.kind() == KINDS.claim {
            for stored in cx.objects.list(KINDS.stateful_set, Some(object.namespace())) {
                if object.name().contains(&format!("-{}-", stored.object.name())) {
                    self.dirty.insert((KINDS.stateful_set, place(&stored.object)));
                }
            }
        }
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

/// Whether a pod runs, is ready, and is not on its way out.
fn is_healthy(pod: &Pod) -> bool {
    phase(pod) == "Running" && ready_since(pod).is_some() && !is_deleting(&pod.metadata)
}

/// The revision a pod is of.
fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|l| l.get(REVISION)).map_or("", String::as_str)
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// One look at one set.
struct Sync<'a, 'b> {
    cx: &'a mut Cx<'b>,
    object: &'a Object,
    about: About<'a>,
    spec: StatefulSetSpec,
    current: &'a Revision,
    update: &'a Revision,
    status: StatefulSetStatus,
    /// Whether a pod was refused.
    refused: bool,
}

/// Brings one set on by a step; whether anything changed.
fn sync(cx: &mut Cx<'_>, owned: &Owned, wakes: &mut Wakes, object: &Object) -> bool {
    let Some(spec) = part::<StatefulSetSpec>(object, "spec") else { return false };
    let version = cx.objects.version();
    let (selector, set) = (selector(object), object.name());
    let member = |pod: &Object| selects(&selector, pod) && ordinal(set, pod.name()).is_some();
    let claimed = owned.claim(cx, object, Kind::Pod, &member);
    let all: Vec<&Pod> = pods(&claimed).collect();
    let old: StatefulSetStatus = part(object, "status").unwrap_or_default();
    if is_deleting(object.meta()) {
        return cx.objects.version() != version;
    }
    let revisions = history::revisions(cx, owned, object);
    let Some(update) = revisions.last() else { return false };
    let current = revisions.iter().find(|r| Some(&r.name) == old.current_revision.as_ref()).unwrap_or(update);
    let limit = spec.revision_history_limit;
    let about = About::new(object);
    let mut sync = Sync { cx, object, about, spec, current, update, status: old, refused: false };
    sync.count(&all);
    sync.act(&all);
    sync.complete();
    let retry = sync.refused.then(|| sync.cx.now + REFUSED_RETRY);
    let status = sync.status;
    let min_ready = integer(object, "spec", "minReadySeconds").unwrap_or(0);
    let coming = all.iter().filter_map(|pod| available_at(pod, min_ready)).filter(|at| *at > cx.now).min();
    if let Some(at) = coming.into_iter().chain(retry).min() {
        wakes.set(cx, object, at);
    }
    let mut used: BTreeSet<String> = all.iter().map(|pod| revision(pod).to_owned()).collect();
    used.extend([current.name.clone(), update.name.clone()]);
    used.extend(status.current_revision.clone());
    cx.put_status(object, to_part(&status));
    history::truncate(cx, object, &revisions, &used, limit);
    cx.objects.version() != version
}

impl Sync<'_, '_> {
    /// Whether a pod has to be waited for before the next.
    fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }
    fn rolls(&self) -> bool {
        self.spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref()) != Some("OnDelete")
    }
    fn partition(&self) -> Option<i32> {
        let rolling = self.spec.update_strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
        rolling.map(|r| r.partition.unwrap_or(0))
    }
    fn start(&self) -> i32 {
        self.spec.ordinals.as_ref().and_then(|o| o.start).unwrap_or(0)
    }
    fn is_available(&self, pod: &Pod) -> bool {
        let min_ready = i64::from(self.spec.min_ready_seconds.unwrap_or(0));
        phase(pod) == "Running" && available_at(pod, min_ready).is_some_and(|at| at <= self.cx.now)
    }
    /// Counts the pods as they are.
    fn count(&mut self, all: &[&Pod]) {
        let count = |counts: &dyn Fn(&Pod) -> bool| number(all.iter().filter(|pod| counts(pod)).count());
        let some = |count: i32| (count > 0).then_some(count);
        let staying = |pod: &Pod| !is_deleting(&pod.metadata);
        let (current, update) = (&self.current.name, &self.update.name);
        self.status = StatefulSetStatus {
            available_replicas: Some(count(&|pod| self.is_available(pod))),
            collision_count: Some(self.status.collision_count.unwrap_or(0)),
            conditions: self.status.conditions.take(),
            current_replicas: some(count(&|pod| staying(pod) && revision(pod) == current)),
            current_revision: Some(current.clone()),
            observed_generation: self.object.meta().generation,
            ready_replicas: some(count(&|pod| phase(pod) == "Running" && ready_since(pod).is_some())),
            replicas: number(all.len()),
            update_revision: Some(update.clone()),
            updated_replicas: some(count(&|pod| staying(pod) && revision(pod) == update)),
        };
    }
    fn act(&mut self, all: &[&Pod]) {
        self.cx.under_way.begin(self.object.uid());
        let (start, wanted) = (self.start(), replicas(self.object).max(0));
        let at = |pod: &&Pod| ordinal(self.object.name(), name(pod)).unwrap_or(-1);
        let seats: Vec<(i32, Option<&Pod>)> =
            (start..start + wanted).map(|i| (i, all.iter().copied().find(|pod| at(pod) == i))).collect();
        let mut over: Vec<&Pod> =
            all.iter().copied().filter(|pod| !(start..start + wanted).contains(&at(pod))).collect();
        over.sort_by_key(|pod| -at(pod));
        // The first that is not well, by its name; an empty seat is not well and no pod.
        let mut well = seats.iter().map(|(_, pod)| *pod).chain(over.iter().rev().map(|pod| Some(*pod)));
        let ill = |pod: &Pod| !is_healthy(pod) || !self.is_available(pod);
        let unwell: Option<&Pod> = well.find(|pod| pod.is_none_or(ill)).flatten();
        for (i, pod) in &seats {
            if self.keep(*i, *pod) && self.is_ordered() {
                return;
            }
        }
        for pod in &over {
            self.own_claims(at(pod), Some(pod), true);
        }
        for pod in &over {
            if self.dismiss(pod, unwell) && self.is_ordered() {
                return;
            }
        }
        if self.rolls() {
            self.renew(&seats);
        }
    }
    /// Sees to the pod of one ordinal; whether it has to be waited for.
    fn keep(&mut self, at: i32, pod: Option<&Pod>) -> bool {
        let Some(pod) = pod else {
            self.create(at);
            return true;
        };
        let end = phase(pod);
        if matches!(end, "Failed" | "Succeeded") {
            let place = format!("{}/{}", self.object.namespace(), self.object.name());
            if end == "Failed" {
                let text = format!("StatefulSet {place} is recreating failed Pod {}", name(pod));
                self.cx.warning(&self.about, SOURCE, "RecreatingFailedPod", text);
            } else {
                let text = format!("StatefulSet {place} is recreating terminated Pod {}", name(pod));
                self.cx.normal(&self.about, SOURCE, "RecreatingTerminatedPod", text);
            }
            self.delete(pod);
            return true;
        }
        if end == "Pending" {
            self.create_claims(at);
        }
        if self.is_ordered() && (is_deleting(&pod.metadata) || !self.is_available(pod)) {
            return true;
        }
        self.own_claims(at, Some(pod), false);
        false
    }
    /// Lets go a pod that is too many; whether it has to be waited for.
    fn dismiss(&mut self, pod: &Pod, unwell: Option<&Pod>) -> bool {
        if is_deleting(&pod.metadata) {
            return true;
        }
        let first = unwell.is_some_and(|unwell| unwell.metadata.uid == pod.metadata.uid);
        if self.is_ordered() && !self.is_available(pod) && !first {
            return true;
        }
        self.delete(pod);
        true
    }
    /// Lets the highest pod go that is of an old revision, once those above it are well.
    fn renew(&mut self, seats: &[(i32, Option<&Pod>)]) {
        let least = usize::try_from(self.partition().unwrap_or(0)).unwrap_or(0);
        for (_, pod) in seats.iter().skip(least).rev() {
            let Some(pod) = pod else { return };
            if revision(pod) != self.update.name && !is_deleting(&pod.metadata) {
                self.delete(pod);
                let left = self.status.current_replicas.unwrap_or(0) - 1;
                self.status.current_replicas = (left > 0).then_some(left);
                return;
            }
            if !is_healthy(pod) || !self.is_available(pod) {
                return;
            }
        }
    }
    fn delete(&mut self, pod: &Pod) {
        if self.cx.delete(Kind::Pod, self.object.namespace(), name(pod)) {
            let text = format!("Delete Pod {} in StatefulSet {} successful", name(pod), self.object.name());
            self.cx.normal(&self.about, SOURCE, "SuccessfulDelete", text);
        }
    }
    /// Once all pods are of the new revision and well, it is the current one.
    fn complete(&mut self) {
        let wanted = replicas(self.object);
        let status = &mut self.status;
        let all = [status.updated_replicas, status.ready_replicas, Some(status.replicas)];
        let rolls = self.spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref()) != Some("OnDelete");
        if rolls && all.iter().all(|count| count.unwrap_or(0) == wanted) {
            status.current_replicas = status.updated_replicas;
            status.current_revision = status.update_revision.clone();
        }
    }
}
