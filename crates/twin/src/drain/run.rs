//! A drain under way.
//!
//! Every pod is evicted and waited for by itself; with `--disable-eviction` all are deleted and waited for together. An
//! instant's lines come pod by pod in the order given (kubectl asks for all at once, so that its order is by chance).

use super::judge::{is_given_up, name, namespace};
use super::{Flags, go_duration};
use crate::apiserver::Status;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;

/// How long after a refusal an eviction is asked for again.
const RETRY: Span = Span::from_seconds(5);
/// How often a pod is looked for until it is gone.
const POLL: Span = Span::from_seconds(1);
/// Why nobody may make anything in a namespace that is on its way out.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// The cluster whose node is emptied.
pub trait Cluster {
    /// A pod as it is; `None`: it is gone.
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod>;
    /// Asks for an eviction.
    ///
    /// # Errors
    /// What the API answers.
    fn evict(&mut self, pod: &Pod, grace_period_seconds: Option<u32>) -> Result<(), Status>;
    /// Deletes a pod.
    ///
    /// # Errors
    /// What the API answers.
    fn delete(&mut self, pod: &Pod, grace_period_seconds: Option<u32>) -> Result<(), Status>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be evicted.
    Ask,
    /// Told to go.
    Wait,
    Done,
}

#[derive(Clone, Debug)]
struct Part {
    pod: Pod,
    stage: Stage,
    due: Instant,
}

/// A drain under way, or over.
#[derive(Clone, Debug)]
pub struct Run {
    parts: Vec<Part>,
    flags: Flags,
    deadline: Option<Instant>,
    errors: Vec<String>,
    /// Deleted pods are waited for together.
    asked: bool,
}

impl Run {
    /// Begins at `now` with the pods that were selected.
    pub fn new(pods: Vec<Pod>, flags: &Flags, now: Instant) -> Run {
        let parts = pods.into_iter().map(|pod| Part { pod, stage: Stage::Ask, due: now }).collect();
        let deadline = (!flags.timeout.is_zero()).then(|| now + flags.timeout);
        Run { parts, flags: flags.clone(), deadline, errors: Vec::new(), asked: false }
    }
    /// When something is due; `None`: it is over.
    pub fn next(&self) -> Option<Instant> {
        let due = |part: &Part| match (part.stage, self.deadline) {
            // Waiting ends at the deadline, a retry only finds out when its turn comes.
            (Stage::Wait, Some(deadline)) => Some(part.due.min(deadline)),
            (Stage::Done, _) => None,
            _ => Some(part.due),
        };
        self.parts.iter().filter_map(due).min()
    }
    /// What it ended with; empty: all is well, as far as it has come.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }
    /// Does what is due at `now`, and gives the lines printed.
    pub fn step(&mut self, now: Instant, cluster: &mut dyn Cluster) -> Vec<String> {
        let mut lines = Vec::new();
        if self.flags.disable_eviction && !self.asked {
            self.delete_all(now, cluster);
        }
        for i in 0..self.parts.len() {
            if self.parts[i].stage == Stage::Ask && self.parts[i].due <= now {
                self.evict(i, now, cluster, &mut lines);
            }
            if self.parts[i].stage == Stage::Wait {
                self.look(i, now, cluster, &mut lines);
            }
        }
        lines
    }
    fn delete_all(&mut self, now: Instant, cluster: &mut dyn Cluster) {
        self.asked = true;
        for i in 0..self.parts.len() {
            let asked = cluster.delete(&self.parts[i].pod, self.flags.grace_period_seconds);
            if let Err(status) = asked.or_else(|status| if status.code == 404 { Ok(()) } else { Err(status) })
            {
                self.errors.push(status.message);
                self.parts.iter_mut().for_each(|part| part.stage = Stage::Done);
                return;
            }
            (self.parts[i].stage, self.parts[i].due) = (Stage::Wait, now);
        }
    }
    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
    fn evict(&mut self, i: usize, now: Instant, cluster: &mut dyn Cluster, lines: &mut Vec<String>) {
        let late = self.is_late(now);
        let part = &mut self.parts[i];
        let (space, name) = (namespace(&part.pod).to_owned(), name(&part.pod).to_owned());
        lines.push(format!("evicting pod {space}/{name}"));
        let trouble = format!("error when evicting pods/{name:?} -n {space:?}");
        if late {
            part.stage = Stage::Done;
            self.errors
                .push(format!("{trouble}: global timeout reached: {}", go_duration(self.flags.timeout)));
            return;
        }
        let Err(status) = cluster.evict(&part.pod, self.flags.grace_period_seconds) else {
            (part.stage, part.due) = (Stage::Wait, now);
            return;
        };
        let leaving = status.causes.iter().any(|cause| cause.reason == NAMESPACE_TERMINATING);
        match (status.code, leaving) {
            (404, _) => part.stage = Stage::Done,
            (429, _) => {
                lines.push(format!("{trouble} (will retry after 5s): {}", status.message));
                part.due = now + RETRY;
            }
            // Nothing is made in a namespace that goes, not even an eviction; its pods are told to go without one.
            (403, true) if part.pod.metadata.deletion_timestamp.is_some() => {
                (part.stage, part.due) = (Stage::Wait, now);
            }
            (403, true) => {
                lines.push(format!(
                    "error when evicting pod {name:?} from terminating namespace {space:?} (will retry after 5s): {}",
                    status.message
                ));
                if let Some(fresh) = cluster.pod(&space, &name) {
                    part.pod = fresh;
                }
                part.due = now + RETRY;
            }
            _ => {
                part.stage = Stage::Done;
                self.errors.push(format!("{trouble}: {}", status.message));
            }
        }
    }
    /// Looks whether a pod that was told to go is gone.
    fn look(&mut self, i: usize, now: Instant, cluster: &mut dyn Cluster, lines: &mut Vec<String>) {
        let late = self.is_late(now);
        let part = &mut self.parts[i];
        if part.due <= now {
            let found = cluster.pod(namespace(&part.pod), name(&part.pod));
            let there = found.filter(|found| found.metadata.uid == part.pod.metadata.uid);
            let after = self.flags.skip_wait_for_delete;
            match there {
                None => {
                    let word = if self.flags.disable_eviction { "deleted" } else { "evicted" };
                    lines.push(format!("pod/{} {word}", name(&part.pod)));
                    part.stage = Stage::Done;
                    return;
                }
                Some(pod) if is_given_up(&pod, after, now) => {
                    let (name, seconds) = (name(&part.pod), after.as_seconds());
                    lines.push(format!(
                        "pod {name:?} has DeletionTimestamp older than {seconds} seconds, skipping"
                    ));
                    part.stage = Stage::Done;
                    return;
                }
                Some(_) => part.due = now + POLL,
            }
        }
        if late {
            let (space, name) = (namespace(&part.pod).to_owned(), name(&part.pod).to_owned());
            if self.flags.disable_eviction {
                // All are waited for together, so that one error is told for all.
                self.parts.iter_mut().for_each(|part| part.stage = Stage::Done);
                self.errors.push("context deadline exceeded".to_owned());
                return;
            }
            part.stage = Stage::Done;
            self.errors.push(format!(
                "error when waiting for pod {name:?} in namespace {space:?} to terminate: context deadline exceeded"
            ));
        }
    }
}
