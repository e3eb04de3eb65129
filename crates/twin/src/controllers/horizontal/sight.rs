//! What an autoscaler goes by of each pod, kept for as long as the pod is as it was.
//!
//! A look at fifty pods of which one has changed reads one. What is kept goes by the version of the pod it was read from, and
//! a version names one state of one object, so that nothing kept is ever out of date. It follows from the objects.

use super::STARTED;
use crate::apiserver::metrics::{self, WINDOW};
use crate::apiserver::selector::LabelSelector as Selector;
use crate::controllers::is_deleting;
use crate::controllers::podcontrol::condition;
use crate::store::Stored;
use fleet::Instant;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Most sorts of pods an autoscaler tells apart before it begins anew: a rollout has a few for each of its templates.
const SORTS_MAX: usize = 64;

/// So many pods more than twice those there are may be known from what they were.
const KEPT_MORE: usize = 32;

/// How far a pod's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Failed,
    Other,
}

/// What the condition `Ready` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Yes,
    No,
    Unknown,
}

/// A pod as an autoscaler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Sighted<'a> {
    pub(super) pod: &'a Pod,
    pub(super) facts: Facts,
    /// Pods of one number use and ask for the same; `None`: this one is like no other for sure.
    pub(super) sort: Option<usize>,
}

impl<'a> Sighted<'a> {
    /// Of a pod by itself.
    pub fn new(pod: &'a Pod) -> Sighted<'a> {
        Sighted { pod, facts: Facts::of(pod), sort: None }
    }
    pub(super) fn name(&self) -> &'a str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }
}

/// What is read of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) deleting: bool,
    pub(super) phase: Phase,
    /// When it was started.
    pub(super) start: Option<Instant>,
    /// What `Ready` says, and since when.
    pub(super) ready: Option<(Ready, Instant)>,
    /// Whether what it uses goes with time.
    varies: bool,
}

impl Facts {
    fn of(pod: &Pod) -> Facts {
        let status = pod.status.as_ref();
        let ready = condition(pod, "Ready").map(|condition| {
            let since = condition.last_transition_time.as_ref();
            let says = match condition.status.as_str() {
                "True" => Ready::Yes,
                "False" => Ready::No,
                _ => Ready::Unknown,
            };
            (says, since.map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0)))
        });
        Facts {
            deleting: is_deleting(&pod.metadata),
            phase: match status.and_then(|s| s.phase.as_deref()) {
                Some("Pending") => Phase::Pending,
                Some("Running") => Phase::Running,
                Some("Failed") => Phase::Failed,
                _ => Phase::Other,
            },
            start: status.and_then(|s| s.start_time.as_ref()).map(|t| Instant::from_jiff(t.0)),
            ready,
            varies: metrics::is_timed(pod),
        }
    }
    /// Whether it has run for long enough for its use to be told.
    pub(super) fn is_measured(&self, now: Instant) -> bool {
        self.phase == Phase::Running && self.start.is_some_and(|start| start + WINDOW <= now)
    }
    /// Whether what it uses may change by time alone, or how it is counted.
    pub(super) fn is_unsteady(&self, now: Instant) -> bool {
        let young = self.start.is_some_and(|start| start + STARTED > now);
        let measured = self.ready.is_some_and(|(says, since)| says == Ready::Yes && since + WINDOW <= now);
        (young && !measured) || self.varies
    }
}

/// What is kept of one pod: whether it is selected, and of which sort it is.
#[derive(Clone, Copy, Debug)]
struct Kept {
    facts: Facts,
    selected: bool,
    sort: Option<usize>,
}

/// What is kept of the pods of one autoscaler.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The selector they were held against.
    selector: String,
    /// By the pods' versions. Looked up by key alone.
    kept: HashMap<u64, Kept>,
    /// One pod of each sort.
    sorts: Vec<Arc<Stored>>,
}

impl Known {
    /// Those of the pods that a selector selects.
    pub(super) fn sight<'a>(&mut self, pods: &'a [Arc<Stored>], selector: &str) -> Vec<Sighted<'a>> {
        if self.selector != selector || self.sorts.len() > SORTS_MAX {
            *self = Known { selector: selector.to_owned(), ..Known::default() };
        }
        // What is kept of pods as they were goes once it is more than what there is.
        if self.kept.len() > 2 * pods.len() + KEPT_MORE {
            let there: HashSet<u64> = pods.iter().map(|stored| stored.version).collect();
            self.kept.retain(|version, _| there.contains(version));
        }
        // Read once there is a pod that is not known.
        let (mut parsed, none) = (None, BTreeMap::new());
        let mut seen = Vec::with_capacity(pods.len());
        for stored in pods {
            let Some(pod) = stored.object.as_pod() else { continue };
            let own = match self.kept.get(&stored.version) {
                Some(own) => *own,
                None => {
                    let parsed = parsed.get_or_insert_with(|| Selector::parse(selector).ok());
                    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
                    let selected = parsed.as_ref().is_some_and(|own| own.matches(labels));
                    let sort = if selected { self.sort(stored, pod) } else { None };
                    let own = Kept { facts: Facts::of(pod), selected, sort };
                    self.kept.insert(stored.version, own);
                    own
                }
            };
            if own.selected {
                seen.push(Sighted { pod, facts: own.facts, sort: own.sort });
            }
        }
        seen
    }
    fn sort(&mut self, stored: &Arc<Stored>, pod: &Pod) -> Option<usize> {
        if !metrics::is_like_any(pod) {
            return None;
        }
        let alike =
            |other: &Arc<Stored>| other.object.as_pod().is_some_and(|other| metrics::are_alike(other, pod));
        // The sorts met last are the likeliest.
        self.sorts.iter().rposition(alike).or_else(|| {
            self.sorts.push(stored.clone());
            Some(self.sorts.len() - 1)
        })
    }
    /// A pod of a sort.
    pub(super) fn one_of(&self, sort: usize) -> Option<&Pod> {
        self.sorts.get(sort)?.object.as_pod()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::store::Objects;
    use serde_json::json;

    fn pod(name: &str, cpu: &str, phase: &str, app: &str) -> crate::object::Object {
        let pod = json!({"metadata": {"name": name, "namespace": "a", "labels": {"app": app}, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": "s", "controller": true}]},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"phase": phase, "startTime": "2026-01-01T00:00:00Z"}});
        crate::object::Object::from_value(Kind::Pod, &pod).unwrap()
    }

    #[test]
    fn a_pod_is_read_anew_when_it_changed() {
        let mut objects = Objects::new();
        let mut all: Vec<Arc<Stored>> = ["1", "1", "2"]
            .iter()
            .enumerate()
            .map(|(i, cpu)| objects.put(pod(&format!("p{i}"), cpu, "Running", "x")))
            .collect();
        let mut known = Known::default();
        let sorts = |known: &mut Known, all: &[Arc<Stored>], selector: &str| -> Vec<(Phase, Option<usize>)> {
            known.sight(all, selector).iter().map(|pod| (pod.facts.phase, pod.sort)).collect()
        };
        let (runs, over) = (Phase::Running, Phase::Failed);
        assert_eq!(sorts(&mut known, &all, "app=x"), [(runs, Some(0)), (runs, Some(0)), (runs, Some(1))]);
        all[1] = objects.put(pod("p1", "2", "Failed", "x"));
        all[2] = objects.put(pod("p2", "2", "Running", "y"));
        assert_eq!(sorts(&mut known, &all, "app=x"), [(runs, Some(0)), (over, Some(1))]);
        assert_eq!(sorts(&mut known, &all, "app=y"), [(runs, Some(0))]);
        assert_eq!(sorts(&mut known, &all, "app in ("), []);
    }
}
