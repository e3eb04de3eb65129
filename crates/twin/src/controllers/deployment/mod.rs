//! `deployment`: moves a Deployment's pods from one template to the next by way of ReplicaSets.
//!
//! One look does what the real controller's sync does, in its order: find or make the ReplicaSet of the current
//! template, then pause, scale or roll out by one step, then write the status. Everything follows from the objects: the
//! revision from annotations, the clock of progress from the condition `Progressing`. Left out: the deprecated
//! `rollbackTo` annotation of `extensions/v1beta1`.

mod recreate;
mod revision;
mod rolling;
mod scale;
mod status;

use super::events::{About, Source};
use super::owned::{KINDS, Owned, controller, place};
use super::podcontrol::{annotation, integer, is_active, part, replicas, scaled, to_part};
use super::replicaset::{selector, selects};
use super::workloads::{Look, Wakes, dirty_kinds};
use super::{Cx, Place, is_deleting};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Stored};
use fleet::Instant;
use k8s_openapi::api::apps::v1::{DeploymentStatus, DeploymentStrategy};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

const SOURCE: Source<'static> = Source { component: "deployment-controller", host: None };

/// Annotations by which a Deployment and its ReplicaSets say how far a rollout is.
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Label that tells the pods of one template from another's.
const HASH: &str = "pod-template-hash";
/// A progress deadline that means none.
const NO_DEADLINE: i32 = i32::MAX;

/// The controller's state: Deployments to look at. Empty at rest.
#[derive(Debug, Default)]
pub(crate) struct Deployments {
    dirty: BTreeSet<(Kind, Place)>,
}

impl Deployments {
    /// Looks at a Deployment in the next round.
    pub(crate) fn look(&mut self, place: Place) {
        self.dirty.insert((KINDS.deployment, place));
    }
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        dirty_kinds(cx, change, &[KINDS.deployment], KINDS.replica_set, &mut self.dirty);
        // Who recreates waits for the last pod of the old template.
        if let Some(pod) = change.object.object.as_pod()
            && (change.kind == ChangeKind::Deleted || super::is_terminal(pod))
            && let Some(owner) = controller(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")
            && let Some(set) =
                cx.objects.get(KINDS.replica_set, change.object.object.namespace(), &owner.name)
            && let Some(owner) = controller(set.object.meta())
        {
            self.look((set.object.namespace().into(), owner.name.as_str().into()));
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

/// A ReplicaSet of the Deployment, as it is now.
#[derive(Clone)]
struct Set {
    stored: Arc<Stored>,
    /// Pods asked for.
    wanted: i32,
}

impl Set {
    fn new(stored: Arc<Stored>) -> Set {
        Set { wanted: replicas(&stored.object), stored }
    }
    fn object(&self) -> &Object {
        &self.stored.object
    }
    fn name(&self) -> &str {
        self.object().name()
    }
    fn counted(&self, field: &str) -> i32 {
        integer(self.object(), "status", field).and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
    }
    fn available(&self) -> i32 {
        self.counted("availableReplicas")
    }
    fn created(&self) -> (Instant, &str) {
        let at = self.object().meta().creation_timestamp.as_ref();
        (at.map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0)), self.name())
    }
    fn revision(&self) -> i64 {
        annotation(self.object(), REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
    fn number(&self, key: &str) -> Option<i32> {
        annotation(self.object(), key)?.parse().ok()
    }
}

/// What a look reads of the spec. The template is long, and compared as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    min_ready_seconds: Option<i32>,
    paused: Option<bool>,
    progress_deadline_seconds: Option<i32>,
    replicas: Option<i32>,
    revision_history_limit: Option<i32>,
    strategy: Option<DeploymentStrategy>,
}

/// One look at one Deployment.
struct Sync<'a, 'b> {
    cx: &'a mut Cx<'b>,
    owned: &'a Owned,
    wakes: &'a mut Wakes,
    object: &'a Object,
    about: About<'a>,
    spec: Spec,
    /// Its pod template as written.
    template: &'a Value,
    wanted: i32,
    /// The status as it will be written.
    status: DeploymentStatus,
    /// The revision it is to be marked with.
    revision: Option<String>,
    /// All its ReplicaSets, oldest first.
    sets: Vec<Set>,
    /// The one of the current template, by its place in `sets`.
    current: Option<usize>,
}

/// Brings one Deployment on by a step; whether anything changed.
fn sync(cx: &mut Cx<'_>, owned: &Owned, wakes: &mut Wakes, object: &Object) -> bool {
    let Some(spec) = part::<Spec>(object, "spec") else { return false };
    let template = object.as_document().and_then(|d| d.body.get("spec")?.get("template"));
    let selector = selector(object);
    let version = cx.objects.version();
    let claimed = owned.claim(cx, object, KINDS.replica_set, &|set| selects(&selector, set));
    let current = |stored: &Arc<Stored>| {
        // What this look has been given may be older than what there is.
        let now = cx.objects.get(KINDS.replica_set, stored.object.namespace(), stored.object.name())?;
        (now.object.uid() == stored.object.uid()).then(|| Set::new(now.clone()))
    };
    let mut sets: Vec<Set> = claimed.iter().filter_map(current).collect();
    sets.sort_by(|a, b| a.created().cmp(&b.created()));
    let mut sync = Sync {
        cx,
        owned,
        wakes,
        about: About::new(object),
        wanted: spec.replicas.unwrap_or(1),
        spec,
        template: template.unwrap_or(&Value::Null),
        status: part(object, "status").unwrap_or_default(),
        revision: None,
        object,
        sets,
        current: None,
    };
    sync.act();
    sync.write();
    sync.cx.objects.version() != version
}

impl Sync<'_, '_> {
    fn act(&mut self) {
        if is_deleting(self.object.meta()) {
            self.find_current(false);
            self.sync_status();
            return;
        }
        self.note_pause();
        self.find_current(false);
        if self.paused() || self.is_scaling() {
            self.scale();
            if self.paused() {
                self.clean_up();
            }
            self.sync_status();
        } else if self.rolls() {
            self.roll();
        } else {
            self.recreate();
        }
    }
    fn paused(&self) -> bool {
        self.spec.paused == Some(true)
    }
    /// Whether the strategy is RollingUpdate.
    fn rolls(&self) -> bool {
        let strategy = self.spec.strategy.as_ref().and_then(|s| s.type_.as_deref());
        strategy != Some("Recreate")
    }
    /// Surge and unavailable pods, of which one is at least 1 (`ResolveFenceposts`).
    fn fenceposts(&self) -> (i32, i32) {
        let rolling = self.spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
        let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), self.wanted, true);
        let unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), self.wanted, false);
        (surge, if surge == 0 && unavailable == 0 { 1 } else { unavailable })
    }
    fn max_surge(&self) -> i32 {
        if self.rolls() { self.fenceposts().0 } else { 0 }
    }
    fn max_unavailable(&self) -> i32 {
        if self.rolls() && self.wanted > 0 { self.fenceposts().1.min(self.wanted) } else { 0 }
    }
    /// Fewest pods that are to be available.
    fn min_available(&self) -> i32 {
        self.wanted - self.max_unavailable()
    }
    /// Whether the number of replicas was changed since the ReplicaSets were last scaled.
    fn is_scaling(&self) -> bool {
        let active = self.sets.iter().filter(|set| set.wanted > 0);
        active.filter_map(|set| set.number(DESIRED)).any(|desired| desired != self.wanted)
    }
    /// The ReplicaSet of the current template.
    fn newest(&self) -> Option<&Set> {
        self.current.and_then(|at| self.sets.get(at))
    }
    /// Places of all ReplicaSets of other templates, oldest first.
    fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|at| Some(*at) != self.current).collect()
    }
    /// Places of those of them that are to have pods.
    fn active_old(&self) -> Vec<usize> {
        self.old().into_iter().filter(|at| self.sets[*at].wanted > 0).collect()
    }
    /// Deletes the oldest ReplicaSets beyond the limit of history.
    fn clean_up(&mut self) {
        let Some(limit) = self.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return };
        let mut gone: Vec<usize> =
            self.old().into_iter().filter(|at| !is_deleting(self.sets[*at].object().meta())).collect();
        gone.sort_by_key(|at| (self.sets[*at].revision(), *at));
        let over = gone.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for at in gone.into_iter().take(over) {
            let set = &self.sets[at];
            let meta = set.object().meta();
            let observed = integer(set.object(), "status", "observedGeneration").unwrap_or(0);
            if set.counted("replicas") == 0 && set.wanted == 0 && meta.generation.unwrap_or(0) <= observed {
                let (namespace, name) = place(set.object());
                self.cx.delete(KINDS.replica_set, &namespace, &name);
            }
        }
    }
    /// Whether pods of old templates are still there, those included that are on their way out.
    fn old_pods_run(&self) -> bool {
        if self.old().iter().any(|at| self.sets[*at].counted("replicas") > 0) {
            return true;
        }
        self.old().iter().any(|at| {
            let mut pods = self.owned.children(self.sets[*at].object().uid(), Kind::Pod);
            pods.any(|s| s.object.as_pod().is_some_and(|pod| !super::is_terminal(pod) || is_active(pod)))
        })
    }
    /// Writes status and revision, if they differ.
    pub(super) fn write(&mut self) {
        let status = to_part(&self.status);
        let revision = self.revision.take();
        let place = (KINDS.deployment, self.object.namespace(), self.object.name());
        let Some(revision) = revision else {
            self.cx.put_part(place, "status", status);
            return;
        };
        self.cx.edit(place, |doc| {
            doc.body.insert("status", status);
            doc.metadata.annotations.get_or_insert_default().insert(REVISION.to_owned(), revision);
        });
    }
}
