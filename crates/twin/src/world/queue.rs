//! What is going to happen: tasks ordered by (instant, priority, sequence).
//!
//! The sequence is that of scheduling, so two tasks never tie and the order never depends on how the
//! time between them is stepped through. A task that has become pointless is not taken out; whoever it
//! wakes sees that (by uid and turn) and does nothing.

use crate::apiserver::Request;
use crate::controllers::Place;
use crate::kind::Kind;
use fleet::{ClusterId, Instant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most tasks that may wait; more means that something schedules without end.
const TASKS_MAX: usize = 8_000_000;

/// What goes first at one instant: what frees room, then controllers, then what comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Priority {
    Kubelet,
    Controller,
    Input,
}

/// Something to be done at an instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// The next step of a pod's life; void if the pod's run has since moved on to another turn.
    Pod { uid: Arc<str>, turn: u32 },
    /// The job controller looks at a Job again.
    Job { uid: Arc<str> },
    /// A finished Job's time to live may be over.
    Expire { namespace: Arc<str>, name: Arc<str>, uid: Arc<str> },
    /// A pod's toleration of its node's taints may be over.
    Evict { namespace: Arc<str>, name: Arc<str>, uid: Arc<str> },
    /// A silent node's grace period is over, if it has been silent since `turn`.
    Silence { node: Arc<str>, turn: u32 },
    /// A node has been there for long enough without saying whether it is ready.
    NeverPosted { node: Arc<str>, uid: Arc<str> },
    /// A node looks whether it runs short of memory or disk.
    Pressure { node: Arc<str> },
    /// A node looks at its static pods again.
    StaticPods { node: Arc<str> },
    /// The time of a group of pods is over whose node shuts down.
    Shutdown { node: Arc<str> },
    /// A node's turn to be tainted for eviction may have come.
    Taint,
    /// There are more pods that have ended than are kept.
    EndedPods,
    /// The scheduler looks who has waited too long without being tried.
    Unschedulable,
    /// A volume is made for a claim, enlarged for one, or (without a namespace) taken away.
    Volume { uid: Arc<str>, place: Place },
    /// A volume is attached or detached, or its node has been silent for long enough.
    Attachment { name: Arc<str>, uid: Arc<str> },
    /// A pod has waited long enough for its claims to be bound.
    Binding { uid: Arc<str> },
    /// A workload is to be looked at although nothing changed.
    Workload { kind: Kind, namespace: Arc<str>, name: Arc<str> },
    /// Something may be due of a machine of a group that comes and goes.
    Machine { node: Arc<str> },
    /// A machine of a group is taken away.
    Interruption { group: Arc<str> },
    /// A node that is to be taken away is being emptied.
    Termination { node: Arc<str> },
    /// The cluster autoscaler looks, or goes on with what it has begun.
    Autoscaler,
    /// Karpenter looks, or goes on with what it has begun.
    Karpenter,
    /// The requests to a Service change, or who answers them.
    Traffic { namespace: Arc<str>, name: Arc<str> },
    /// The messages to a workload change, or who works them off.
    Messages { namespace: Arc<str>, name: Arc<str> },
    /// The time is over that a webhook has to answer a question.
    Review { question: u64 },
    /// A controller whose write was refused, or late, tries again.
    Retry,
    /// A request known beforehand.
    Input(Box<Request>),
    /// A Job of the demo stream arrives, and draws the next.
    Demo,
}

type Key = (Instant, Priority, u64);

/// The queue of a world.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    sequence: u64,
    #[serde(with = "super::pairs")]
    tasks: BTreeMap<Key, (ClusterId, Task)>,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Instant, priority: Priority, cluster: &ClusterId, task: Task) {
        assert!(
            self.tasks.len() < TASKS_MAX,
            "more than {TASKS_MAX} tasks wait, the last for {cluster}: {task:?}"
        );
        self.sequence += 1;
        self.tasks.insert((at, priority, self.sequence), (cluster.clone(), task));
    }
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.tasks.first_key_value().map(|((at, ..), _)| *at)
    }
    /// Takes the next task due at or before `to`.
    pub(crate) fn pop(&mut self, to: Instant) -> Option<(ClusterId, Task)> {
        self.next_at().filter(|at| *at <= to)?;
        self.tasks.pop_first().map(|(_, entry)| entry)
    }
}

/// The queue as one cluster's controllers see it.
pub(crate) struct Timers<'a> {
    pub(crate) queue: &'a mut Queue,
    pub(crate) cluster: &'a ClusterId,
}

impl Timers<'_> {
    pub(crate) fn set(&mut self, at: Instant, priority: Priority, task: Task) {
        self.queue.push(at, priority, self.cluster, task);
    }
}
