//! The controllers of workloads together: what they share, and the order they run in.
//!
//! All of it follows from the objects, but for the timers that are set and the back-off of failed daemons: those are kept, so
//! that a world that was saved sets none twice, and goes on as it would have.

use super::cronjob::CronJobs;
use super::daemonset::DaemonSets;
use super::deployment::Deployments;
use super::disruption::Disruption;
use super::horizontal::Horizontal;
use super::owned::{KINDS, Owned, controller, place};
use super::replicaset::{ReplicaSets, selector, selects};
use super::statefulset::StatefulSets;
use super::vertical::Vertical;
use super::{Cx, Place, is_deleting};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use crate::world::{Priority, Task, pairs};
use fleet::Instant;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The controllers' state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Workloads {
    wakes: Wakes,
    #[serde(default)]
    horizontal: Horizontal,
    #[serde(default)]
    vertical: Vertical,
    #[serde(skip)]
    owned: Owned,
    #[serde(skip)]
    replica_sets: ReplicaSets,
    #[serde(skip)]
    deployments: Deployments,
    #[serde(skip)]
    stateful_sets: StatefulSets,
    #[serde(default, skip_serializing_if = "DaemonSets::is_idle")]
    daemon_sets: DaemonSets,
    #[serde(skip)]
    cron_jobs: CronJobs,
    #[serde(skip)]
    disruption: Disruption,
}

/// What a controller looks at objects with.
pub(crate) struct Look<'a, 'b, 'c> {
    pub(crate) cx: &'a mut Cx<'b>,
    pub(crate) owned: &'c Owned,
    pub(crate) wakes: &'c mut Wakes,
}

/// When workloads are to be looked at again although nothing changes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Wakes {
    #[serde(with = "pairs")]
    set: BTreeMap<(Kind, Place), Instant>,
}

impl Wakes {
    /// Has an object looked at again at `at`, unless it will be before.
    pub(crate) fn set(&mut self, cx: &mut Cx<'_>, object: &Object, at: Instant) {
        let key = (object.kind(), place(object));
        if self.set.get(&key).is_some_and(|set| *set <= at) {
            return;
        }
        self.set.insert(key.clone(), at);
        let (kind, (namespace, name)) = key;
        cx.timers.set(at.max(cx.now), Priority::Controller, Task::Workload { kind, namespace, name });
    }
}

/// Which workloads of `kinds` a change may matter to: itself, the owners of what changed, and all that select what
/// nobody owns.
pub(crate) fn dirty_kinds(
    cx: &Cx<'_>,
    change: &Change,
    kinds: &[Kind],
    child: Kind,
    dirty: &mut BTreeSet<(Kind, Place)>,
) {
    let object = &change.object.object;
    let kind = object.kind();
    if kinds.contains(&kind) {
        if change.kind != ChangeKind::Deleted {
            dirty.insert((kind, place(object)));
        }
        return;
    }
    if kind != child {
        return;
    }
    let previous = change.previous.as_ref().map(|p| p.object.meta());
    for owner in previous.into_iter().chain([object.meta()]).filter_map(controller) {
        let found = |kind: &&Kind| kind.resource().name == owner.kind;
        if let Some(kind) = kinds.iter().find(found) {
            dirty.insert((*kind, (object.namespace().into(), owner.name.as_str().into())));
        }
    }
    let meta = object.meta();
    let known = previous.is_some_and(|p| controller(p).is_none() && p.labels == meta.labels);
    if controller(meta).is_some() || known || change.kind == ChangeKind::Deleted || is_deleting(meta) {
        return;
    }
    for kind in kinds {
        let all = cx.objects.list(*kind, Some(object.namespace()));
        let selecting = all.filter(|stored| selects(&selector(&stored.object), object));
        dirty.extend(selecting.map(|stored| (*kind, place(&stored.object))));
    }
}

impl Workloads {
    pub(crate) fn observe(&mut self, cx: &Cx<'_>, change: &Change) {
        if self.owned.read(cx) {
            self.look_at_all(cx);
        }
        self.owned.observe(change);
        self.deployments.observe(cx, change);
        self.replica_sets.observe(cx, change);
        self.stateful_sets.observe(cx, change);
        self.daemon_sets.observe(cx, change);
        self.cron_jobs.observe(cx, change);
        self.disruption.observe(cx, change);
        self.horizontal.observe(change);
        self.vertical.observe(cx, change);
    }
    /// After loading: state may be of a program that did not know all these controllers.
    fn look_at_all(&mut self, cx: &Cx<'_>) {
        for kind in [
            KINDS.deployment,
            KINDS.replica_set,
            KINDS.replication_controller,
            KINDS.stateful_set,
            KINDS.daemon_set,
            KINDS.cron_job,
            KINDS.budget,
            KINDS.autoscaler,
        ] {
            for stored in cx.objects.list(kind, None) {
                self.look(kind, place(&stored.object));
            }
        }
    }
    fn look(&mut self, kind: Kind, place: Place) {
        if kind == KINDS.deployment {
            self.deployments.look(place);
        } else if kind == KINDS.replica_set || kind == KINDS.replication_controller {
            self.replica_sets.look(kind, place);
        } else if kind == KINDS.stateful_set {
            self.stateful_sets.look(place);
        } else if kind == KINDS.daemon_set {
            self.daemon_sets.look(place);
        } else if kind == KINDS.cron_job {
            self.cron_jobs.look(place);
        } else if kind == KINDS.budget {
            self.disruption.look(place);
        } else if kind == KINDS.autoscaler {
            self.horizontal.look(place);
        }
    }
    /// Pods of a namespace are used otherwise than before.
    pub(crate) fn stir(&mut self, namespace: &str) {
        self.horizontal.stir(namespace);
    }
    /// Metrics came or went: every autoscaler is concerned.
    pub(crate) fn stir_all(&mut self) {
        self.horizontal.stir_all();
    }
    /// A timer fired.
    pub(crate) fn wake(&mut self, cx: &Cx<'_>, kind: Kind, place: Place) {
        let key = (kind, place);
        if self.wakes.set.get(&key).is_some_and(|at| *at <= cx.now) {
            self.wakes.set.remove(&key);
        }
        if self.owned.read(cx) {
            self.look_at_all(cx);
        }
        if kind == KINDS.autoscaler {
            self.horizontal.wake(key.1);
        } else if kind.resource().custom {
            self.vertical.wake(key.1);
        } else {
            self.look(kind, key.1);
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let Workloads {
            wakes,
            horizontal,
            vertical,
            owned,
            replica_sets,
            deployments,
            stateful_sets,
            daemon_sets,
            cron_jobs,
            disruption,
        } = self;
        let mut look = Look { cx, owned, wakes };
        let mut acted = deployments.run(&mut look);
        acted |= replica_sets.run(&mut look);
        acted |= stateful_sets.run(&mut look);
        acted |= daemon_sets.run(&mut look);
        acted |= cron_jobs.run(&mut look);
        acted |= disruption.run(&mut look);
        acted |= horizontal.run(&mut look);
        acted |= vertical.run(&mut look);
        acted
    }
}
