//! Whether a pod may be moved off its node, and what stands against it: the drain rules of the cluster autoscaler.
//!
//! The rules are asked in order; the first that decides does. Method: `simulator/drainability/rules` of cluster-autoscaler
//! 1.36. Left out: `safe-to-evict: on-completion`, and pods of nodes that are told to shut down.

use crate::apiserver::MIRROR;
use crate::controllers::owned::controller;
use crate::controllers::{is_deleting, phase};
use fleet::supply::Autoscaler;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;

/// Says whether a pod may be evicted, and which of its volumes may be lost.
const SAFE: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
const SAFE_VOLUMES: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
/// How long after its grace period a pod that is to go is waited for.
const TERMINATION_SLACK: Span = Span::from_seconds(30);
/// How long pods of kube-system without a budget keep their node (`--blocking-system-pod-distruption-timeout`).
pub(crate) const SYSTEM_POD: Span = Span::HOUR;
/// Controllers whose pods are made anew elsewhere.
const REPLICATING: [&str; 5] = ["ReplicationController", "ReplicaSet", "Job", "StatefulSet", "DaemonSet"];

/// Why a pod keeps its node, named as Kubernetes names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    ControllerNotFound,
    NotReplicated,
    LocalStorageRequested,
    NotSafeToEvictAnnotation,
    UnmovableKubeSystemPod,
    NotEnoughPdb,
}

impl Block {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Block::ControllerNotFound => "ControllerNotFound",
            Block::NotReplicated => "NotReplicated",
            Block::LocalStorageRequested => "LocalStorageRequested",
            Block::NotSafeToEvictAnnotation => "NotSafeToEvictAnnotation",
            Block::UnmovableKubeSystemPod => "UnmovableKubeSystemPod",
            Block::NotEnoughPdb => "NotEnoughPdb",
        }
    }
}

/// What becomes of a pod when its node is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes with its node: nobody waits for it.
    Skip,
    /// It goes elsewhere.
    Move,
    /// It keeps the node; `until`, if time alone changes that.
    Keep { block: Block, until: Option<Instant> },
}

/// What is known of a pod besides itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// Whether the controller it names is there.
    pub(crate) has_controller: bool,
    /// How many disruptions the strictest of its budgets allows; `None`: it has none.
    pub(crate) allowed: Option<i64>,
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether it has been told to go for longer than it may take.
pub(crate) fn is_given_up(pod: &Pod, now: Instant) -> bool {
    // The timestamp is when it has to be gone, the grace period counted.
    let gone_by = pod.metadata.deletion_timestamp.as_ref().map(|time| Instant::from_jiff(time.0));
    gone_by.is_some_and(|gone_by| gone_by + TERMINATION_SLACK < now)
}

/// Whether it has volumes on its node whose loss is not allowed.
fn has_local_storage(pod: &Pod) -> bool {
    let allowed: Vec<&str> =
        annotation(pod, SAFE_VOLUMES).unwrap_or_default().split(',').map(str::trim).collect();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| {
        let scratch = volume.empty_dir.as_ref().is_some_and(|dir| dir.medium.as_deref() != Some("Memory"));
        (scratch || volume.host_path.is_some()) && !allowed.contains(&&*volume.name)
    })
}

/// Whether it has ended for good.
fn is_over(pod: &Pod) -> bool {
    let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always");
    phase(pod) == "Failed" || (phase(pod) == "Succeeded" && policy != "Always")
}

/// Judges one pod.
pub(crate) fn judge(pod: &Pod, facts: Facts, set: &Autoscaler, now: Instant) -> Verdict {
    let keep = |block| Verdict::Keep { block, until: None };
    if annotation(pod, MIRROR).is_some() || (is_deleting(&pod.metadata) && is_given_up(pod, now)) {
        return Verdict::Skip;
    }
    let owner = controller(&pod.metadata);
    let replicating = owner.is_some_and(|owner| REPLICATING.contains(&&*owner.kind));
    if replicating && !facts.has_controller {
        return keep(Block::ControllerNotFound);
    }
    if owner.is_some_and(|owner| owner.kind == "DaemonSet") {
        return Verdict::Skip;
    }
    if annotation(pod, SAFE) == Some("true") || is_over(pod) {
        return Verdict::Move;
    }
    if !replicating {
        return keep(Block::NotReplicated);
    }
    let system = pod.metadata.namespace.as_deref() == Some("kube-system");
    if set.skip_nodes_with_system_pods && system && facts.allowed.is_none() {
        let created = pod.metadata.creation_timestamp.as_ref().map_or(now, |t| Instant::from_jiff(t.0));
        let until = created + SYSTEM_POD;
        if now <= until {
            return Verdict::Keep { block: Block::UnmovableKubeSystemPod, until: Some(until) };
        }
    }
    if annotation(pod, SAFE) == Some("false") {
        return keep(Block::NotSafeToEvictAnnotation);
    }
    if set.skip_nodes_with_local_storage && has_local_storage(pod) {
        return keep(Block::LocalStorageRequested);
    }
    if facts.allowed.is_some_and(|allowed| allowed < 1) {
        return keep(Block::NotEnoughPdb);
    }
    Verdict::Move
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(kind: Option<&str>, change: &dyn Fn(&mut Value)) -> Pod {
        let owners = kind.map_or(
            json!([]),
            |kind| json!([{"apiVersion": "v1", "kind": kind, "name": "own", "uid": "u", "controller": true}]),
        );
        let mut value = json!({"metadata": {"name": "p", "namespace": "shop", "ownerReferences": owners,
            "creationTimestamp": "2026-05-01T09:00:00Z", "annotations": {}},
            "spec": {"containers": [], "restartPolicy": "Always", "volumes": []}, "status": {"phase": "Running"}});
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn check(pod: &Pod, facts: Facts) -> Verdict {
        judge(pod, facts, &Autoscaler::default(), Instant::parse("2026-05-01T09:30:00Z").unwrap())
    }

    #[test]
    fn the_first_rule_that_decides_does() {
        let fine = Facts { has_controller: true, allowed: None };
        let set = |path: &'static str, to: Value| {
            move |value: &mut Value| *value.pointer_mut(path).unwrap() = to.clone()
        };
        let rs = Some("ReplicaSet");
        let kept = |pod: &Pod, facts: Facts| match check(pod, facts) {
            Verdict::Keep { block, .. } => block.name(),
            Verdict::Move => "Move",
            Verdict::Skip => "Skip",
        };
        let notes = |safe: &str| json!({"cluster-autoscaler.kubernetes.io/safe-to-evict": safe});
        let scratch =
            json!([{"name": "tmp", "emptyDir": {}}, {"name": "ram", "emptyDir": {"medium": "Memory"}}]);
        let cases: [(Pod, Facts, &str); 13] = [
            (pod(rs, &|_| {}), fine, "Move"),
            (pod(rs, &|_| {}), Facts::default(), "ControllerNotFound"),
            (pod(rs, &|_| {}), Facts { allowed: Some(0), ..fine }, "NotEnoughPdb"),
            (pod(rs, &|_| {}), Facts { allowed: Some(1), ..fine }, "Move"),
            (pod(None, &|_| {}), fine, "NotReplicated"),
            (pod(Some("Rollout"), &|_| {}), fine, "NotReplicated"),
            (pod(None, &set("/metadata/annotations", notes("true"))), fine, "Move"),
            (pod(rs, &set("/metadata/annotations", notes("false"))), fine, "NotSafeToEvictAnnotation"),
            (pod(None, &set("/status/phase", json!("Failed"))), fine, "Move"),
            (pod(Some("DaemonSet"), &|_| {}), fine, "Skip"),
            (pod(rs, &set("/spec/volumes", scratch.clone())), fine, "LocalStorageRequested"),
            (
                pod(rs, &|value| {
                    value["spec"]["volumes"] = scratch.clone();
                    value["metadata"]["annotations"] =
                        json!({"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "x, tmp"});
                }),
                fine,
                "Move",
            ),
            (pod(rs, &set("/metadata/annotations", json!({MIRROR: "x"}))), fine, "Skip"),
        ];
        for (i, (pod, facts, expected)) in cases.iter().enumerate() {
            assert_eq!(kept(pod, *facts), *expected, "case {i}");
        }
    }

    #[test]
    fn pods_of_the_system_keep_their_node_for_an_hour() {
        let system = pod(Some("ReplicaSet"), &|value| value["metadata"]["namespace"] = json!("kube-system"));
        let facts = Facts { has_controller: true, allowed: None };
        let until = Instant::parse("2026-05-01T10:00:00Z").unwrap();
        let kept = Verdict::Keep { block: Block::UnmovableKubeSystemPod, until: Some(until) };
        assert_eq!(check(&system, facts), kept);
        assert_eq!(check(&system, Facts { allowed: Some(1), ..facts }), Verdict::Move, "it has a budget");
        let later = Instant::parse("2026-05-01T10:00:01Z").unwrap();
        assert_eq!(judge(&system, facts, &Autoscaler::default(), later), Verdict::Move);
        let lax = Autoscaler { skip_nodes_with_system_pods: false, ..Autoscaler::default() };
        assert_eq!(judge(&system, facts, &lax, later - SYSTEM_POD), Verdict::Move);
    }
}
