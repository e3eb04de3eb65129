//! What all controllers that make pods share: a pod from a template, how ready a pod is, percentages of replicas, and
//! writes of the documents workloads are kept as.

use super::events::{About, Source};
use super::job::{admit, qos_class};
use super::owned::{controller, reference};
use super::{Cx, is_deleting, is_terminal};
use crate::apiserver::{self, merge_label_keys};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::Stored;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Longest base of a generated name: 63 characters less the suffix of 5.
const BASE_LENGTH_MAX: usize = 58;
/// Most pods one look at a workload creates or deletes (`BurstReplicas`).
pub(crate) const BURST_MAX: usize = 500;
/// When a set tries again whose pod was refused. (The real ones begin with milliseconds and double that up to a quarter of
/// an hour; room in a quota seldom comes within the minute.)
pub(crate) const REFUSED_RETRY: Span = Span::from_seconds(60);

/// The status of a pod that has just been made.
fn first_status(spec: &PodSpec) -> PodStatus {
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    let conditions = gated.then(|| {
        vec![PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some("SchedulingGated".to_owned()),
            message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
            ..PodCondition::default()
        }]
    });
    let class = if spec.resources.is_some() { apiserver::qos_class(spec) } else { qos_class(spec) };
    let qos_class = Some(class.to_owned());
    PodStatus { phase: Some("Pending".to_owned()), qos_class, conditions, ..PodStatus::default() }
}

/// The pod's condition of this type.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)
}

/// Since when a pod is ready; `None` while it is not.
pub(crate) fn ready_since(pod: &Pod) -> Option<Instant> {
    let ready = condition(pod, "Ready").filter(|c| c.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0)))
}

/// When a pod is or will be available if it stays ready; `None` while it is not ready.
pub(crate) fn available_at(pod: &Pod, min_ready_seconds: i64) -> Option<Instant> {
    ready_since(pod).map(|since| since + Span::from_seconds(min_ready_seconds.max(0)))
}

/// Whether a pod counts as a replica: it has neither ended nor is it being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_deleting(&pod.metadata)
}

/// The pods among stored objects.
pub(crate) fn pods(stored: &[Arc<Stored>]) -> impl Iterator<Item = &Pod> {
    stored.iter().filter_map(|s| s.object.as_pod())
}

/// A number of replicas, given as such or as a share of `total` (`GetScaledValueFromIntOrPercent`). What is neither is 0.
pub(crate) fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()).unwrap_or(0);
            let hundredths = percent.saturating_mul(i64::from(total));
            let whole = if round_up { (hundredths + 99).div_euclid(100) } else { hundredths.div_euclid(100) };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

/// A count as the API's integer.
pub(crate) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A part of a document as its type; `None` when it is absent or something else.
pub(crate) fn part<'a, T: Deserialize<'a>>(object: &'a Object, name: &str) -> Option<T> {
    T::deserialize(object.as_document()?.body.get(name)?).ok()
}

/// A whole number in a document, by pointer from its root.
pub(crate) fn integer(object: &Object, part: &str, field: &str) -> Option<i64> {
    object.as_document()?.body.get(part)?.get(field)?.as_i64()
}

/// An annotation.
pub(crate) fn annotation<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.meta().annotations.as_ref()?.get(key).map(String::as_str)
}

/// A set of replicas asked for.
pub(crate) fn replicas(object: &Object) -> i32 {
    integer(object, "spec", "replicas").and_then(|n| i32::try_from(n).ok()).unwrap_or(1)
}

/// A status as a document's part.
pub(crate) fn to_part<T: serde::Serialize>(status: &T) -> Value {
    serde_json::to_value(status).unwrap_or_else(|_| Value::Object(Map::new()))
}

/// The service account of the controller that makes a workload's pods, by the workload's kind.
fn account(meta: &ObjectMeta) -> &'static str {
    match controller(meta).map_or("", |owner| owner.kind.as_str()) {
        "DaemonSet" => "daemon-set-controller",
        "Job" => "job-controller",
        "ReplicationController" => "replication-controller",
        "StatefulSet" => "statefulset-controller",
        _ => "replicaset-controller",
    }
}

impl Cx<'_> {
    /// Writes a document's status where it differs.
    pub(crate) fn put_status(&mut self, object: &Object, status: Value) -> bool {
        let place = (object.kind(), object.namespace(), object.name());
        self.put_part(place, "status", status)
    }
    /// A pod as a template says, controlled by `owner`, not yet put in place. A name that ends in `-` is completed.
    pub(crate) fn pod_of(&mut self, template: &PodTemplateSpec, owner: &Object, name: &str) -> Pod {
        let generate = name.ends_with('-');
        let base: String = name.chars().take(if generate { BASE_LENGTH_MAX } else { usize::MAX }).collect();
        let name = if generate { self.free_name(owner.namespace(), &base) } else { base.clone() };
        let mut metadata = self.new_meta(owner.namespace(), name);
        metadata.generate_name = generate.then_some(base);
        if let Some(from) = &template.metadata {
            metadata.labels = from.labels.clone();
            metadata.annotations = from.annotations.clone();
            metadata.finalizers = from.finalizers.clone();
        }
        metadata.generation = Some(1);
        metadata.owner_references = Some(vec![reference(owner)]);
        Pod { metadata, spec: Some(template.spec.clone().unwrap_or_default()), status: None }
    }
    /// Lets a new pod in as admission does, and puts it in place; the error is the API server's text.
    pub(crate) fn create_pod(&mut self, mut pod: Pod) -> Result<Arc<Stored>, Refusal> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        match self.objects.get(Kind::Namespace, "", &namespace) {
            None => return Err(Refusal::Text(format!("namespaces \"{namespace}\" not found"))),
            Some(home) if is_deleting(home.object.meta()) => return Err(Refusal::NamespaceEnds),
            Some(_) => {}
        }
        if self.objects.get(Kind::Pod, &namespace, &name).is_some() {
            return Err(Refusal::Text(format!("pods \"{name}\" already exists")));
        }
        let forbidden = |why: String| Refusal::Text(format!("pods \"{name}\" is forbidden: {why}"));
        apiserver::admit_account(self.objects, &mut pod).map_err(forbidden)?;
        let spec = pod.spec.get_or_insert_default();
        admit(spec, self).map_err(forbidden)?;
        apiserver::complete_requests(spec);
        merge_label_keys(&mut pod);
        pod = self.limited(pod)?;
        pod.status = Some(first_status(pod.spec.get_or_insert_default()));
        Ok(self.objects.put(Object::Pod(Box::new(pod))))
    }
    /// A new pod under the limits and quotas of its namespace, and as policies and webhooks will have it.
    fn limited(&mut self, pod: Pod) -> Result<Pod, Refusal> {
        let classed = pod.spec.as_ref().is_some_and(|spec| spec.runtime_class_name.is_some());
        if !classed && !apiserver::has_limits(self.objects) {
            return Ok(pod);
        }
        let account = account(&pod.metadata);
        self.admitted(account, pod).map_err(|status| match status.pending {
            Some(_) => Refusal::UnderWay,
            None => Refusal::Text(status.message),
        })
    }
    /// A generated name no pod has; 27⁵ suffixes make a second draw rare.
    pub(crate) fn free_name(&mut self, namespace: &str, base: &str) -> String {
        loop {
            let name = format!("{base}{}", self.names.suffix(5));
            if self.objects.get(Kind::Pod, namespace, &name).is_none() {
                return name;
            }
        }
    }
    /// Deletes a pod of a workload and says so on it.
    pub(crate) fn delete_pod(&mut self, about: &About<'_>, source: Source<'_>, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if self.delete(Kind::Pod, pod.metadata.namespace.as_deref().unwrap_or_default(), name) {
            self.normal(about, source, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
    }
}

/// Why a pod was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its namespace is going, so nobody waits for it.
    NamespaceEnds,
    /// No refusal yet: webhooks are being asked, and the controller looks again when they have answered.
    UnderWay,
    /// In the API server's words.
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_as_asked() {
        let percent = |text: &str| IntOrString::String(text.to_owned());
        assert_eq!(scaled(Some(&percent("25%")), 10, true), 3);
        assert_eq!(scaled(Some(&percent("25%")), 10, false), 2);
        assert_eq!(scaled(Some(&percent("25%")), 0, true), 0);
        assert_eq!(scaled(Some(&percent("100%")), 7, true), 7);
        assert_eq!(scaled(Some(&IntOrString::Int(4)), 1, true), 4);
        assert_eq!(scaled(Some(&percent("many")), 10, true), 0);
        assert_eq!(scaled(None, 10, true), 0);
    }
}
