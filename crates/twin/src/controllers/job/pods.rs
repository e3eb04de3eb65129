//! Pods of Jobs, and what admission adds to any pod.

use super::TRACKING;
use crate::apiserver::{self, quantity};
use crate::controllers::Cx;
use crate::controllers::podcontrol::ready_since;
use crate::controllers::scheduler::Selector;
use crate::object::has_finalizer;
use fleet::Instant;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ContainerStatus, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::cmp::{Ordering, Reverse};

/// Annotation and label that carry a pod's completion index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How many pods of its index failed before a pod, and how many of those did not count.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// How long a pod tolerates a node that is not ready or not reachable (admission plugin
/// DefaultTolerationSeconds).
const TOLERATION_SECONDS: i64 = 300;

/// Whether a pod has not been counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    has_finalizer(&pod.metadata, TRACKING)
}

/// Whether a Job selects a pod.
pub(super) fn selects(job: &Job, pod: &Pod) -> bool {
    let selector = Selector::new(job.spec.as_ref().and_then(|s| s.selector.as_ref()));
    pod.metadata.labels.as_ref().is_some_and(|labels| selector.matches(labels))
}

/// A pod's completion index.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    let text = pod.metadata.annotations.as_ref()?.get(INDEX)?;
    text.parse().ok().filter(|index| *index >= 0)
}

/// A count kept in an annotation.
pub(super) fn count_of(pod: &Pod, annotation: &str) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|a| a.get(annotation));
    text.and_then(|text| text.parse().ok()).filter(|count| *count >= 0).unwrap_or(0)
}

/// Orders pods, those to delete first first (`ActivePods`): without a node, pending, not ready, ready for the shortest
/// time, restarted most, newest.
pub(super) fn deleted_first(a: &Pod, b: &Pod) -> Ordering {
    let key = |pod: &Pod| {
        let bound =
            pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).is_some_and(|name| !name.is_empty());
        let life = match pod.status.as_ref().and_then(|s| s.phase.as_deref()) {
            Some("Unknown") => 1,
            Some("Running") => 2,
            _ => 0,
        };
        let since = ready_since(pod);
        let made = pod.metadata.creation_timestamp.as_ref().map(|t| Instant::from_jiff(t.0));
        (
            bound,
            life,
            since.is_some(),
            Reverse(since),
            Reverse(restarts(pod)),
            Reverse(made),
            pod.metadata.name.clone(),
        )
    };
    key(a).cmp(&key(b))
}

/// Most restarts of a container.
fn restarts(pod: &Pod) -> i32 {
    let all = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    all.into_iter().flatten().map(|c: &ContainerStatus| c.restart_count).max().unwrap_or(0)
}

/// `JOB_COMPLETION_INDEX` for every container, from the label, as the real controller does.
pub(super) fn expose_index(spec: &mut PodSpec) {
    let source = ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: format!("metadata.labels['{INDEX}']"),
    };
    let variable = EnvVar {
        name: "JOB_COMPLETION_INDEX".to_owned(),
        value_from: Some(EnvVarSource { field_ref: Some(source), ..EnvVarSource::default() }),
        ..EnvVar::default()
    };
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let env = container.env.get_or_insert_default();
        if env.iter().all(|e| e.name != variable.name) {
            env.push(variable.clone());
        }
    }
}

/// What admission adds to a pod: default tolerations, and the priority of its class. The error is why it is forbidden.
pub(crate) fn admit(spec: &mut PodSpec, cx: &Cx<'_>) -> Result<(), String> {
    let tolerations = spec.tolerations.get_or_insert_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|t| {
            t.key.as_deref().is_none_or(|k| k == key) && t.effect.as_deref().is_none_or(|e| e == "NoExecute")
        });
        if !tolerated {
            tolerations.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(TOLERATION_SECONDS),
                value: None,
            });
        }
    }
    let stated = (spec.priority.map(i64::from), spec.preemption_policy.as_deref());
    let wanted = spec.priority_class_name.as_deref().unwrap_or_default();
    let priority = apiserver::priority(cx.objects, wanted, stated)?;
    spec.priority_class_name = Some(priority.class).filter(|class| !class.is_empty());
    spec.priority = i32::try_from(priority.value).ok();
    spec.preemption_policy = Some(priority.policy);
    Ok(())
}

/// Quality of service: every container's limits equal its requests for CPU and memory, none states
/// anything, or between.
pub(crate) fn qos_class(spec: &PodSpec) -> &'static str {
    let amount = |quantity: Option<&Quantity>| {
        quantity
            .and_then(|quantity| quantity::Quantity::parse(&quantity.0).ok())
            .map(quantity::Quantity::nanos)
    };
    let (mut guaranteed, mut stated) = (true, false);
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let resources = container.resources.as_ref();
        let limits = resources.and_then(|r| r.limits.as_ref());
        let requests = resources.and_then(|r| r.requests.as_ref());
        for name in ["cpu", "memory"] {
            let limit = limits.and_then(|l| l.get(name));
            let request = requests.and_then(|r| r.get(name)).or(limit);
            stated |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (limit == request || amount(limit) == amount(request));
        }
    }
    match (stated, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
