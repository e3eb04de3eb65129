//! A Job as it is kept: what is read of it again and again as fields, and what its copy is made of as text.
//!
//! A fleet has tens of thousands of Jobs that wait. As the API's types hold one it takes some 10 KB, four fifths of it the template
//! of its pods, which nobody looks at before a copy is made. So of the spec a few fields are kept, and the whole of it as
//! JSON, which Jobs of one template share ([`Job::share`]).
//!
//! Invariants: the text is the spec as it came, less what is the Job's alone (selector, labels of its controller, suspension
//! and who manages it); metadata and status are the API's own. Left out: `managedFields`.

use crate::shared::Shared;
use fleet::Resources;
use k8s_openapi::api::batch::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use std::sync::Arc;

/// Labels by which a Job's controller knows its pods: a copy's controller gives its own.
const CONTROLLER_LABELS: [&str; 4] =
    ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];

/// Whether a label ties pods to the one Job they are of.
pub(crate) fn is_controller_label(key: &str) -> bool {
    CONTROLLER_LABELS.contains(&key)
}

/// A `batch/v1` Job as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "api::Job")]
pub struct Job {
    /// As the API has it.
    pub metadata: ObjectMeta,
    /// What is read of its spec.
    pub spec: Option<Spec>,
    /// As the API has it.
    pub status: Option<api::JobStatus>,
}

/// What is read of a Job's spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// Whether it is suspended.
    pub suspend: Option<bool>,
    /// Who answers for its status.
    pub managed_by: Option<String>,
    /// Pods at a time.
    pub parallelism: Option<i32>,
    /// Pods that must succeed.
    pub completions: Option<i32>,
    /// Longest it may run, in seconds.
    pub active_deadline_seconds: Option<i64>,
    /// Requests of one pod.
    pub pod: Resources,
    /// Priority of its pods, where it is stated.
    pub priority: Option<i32>,
    /// PriorityClass of its pods.
    pub priority_class_name: Option<String>,
    /// The spec as a copy takes it over, as JSON; `None`: not kept.
    text: Option<Arc<str>>,
}

impl From<api::Job> for Job {
    fn from(job: api::Job) -> Job {
        let mut metadata = job.metadata;
        metadata.managed_fields = None;
        Job { metadata, spec: job.spec.map(Spec::from), status: job.status }
    }
}

impl From<api::JobSpec> for Spec {
    fn from(mut spec: api::JobSpec) -> Spec {
        let (suspend, managed_by) = (spec.suspend.take(), spec.managed_by.take());
        spec.selector = None;
        spec.ttl_seconds_after_finished = None;
        if let Some(labels) = spec.template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.retain(|key, _| !is_controller_label(key));
        }
        let pod = spec.template.spec.as_ref();
        Spec {
            suspend,
            managed_by,
            parallelism: spec.parallelism,
            completions: spec.completions,
            active_deadline_seconds: spec.active_deadline_seconds,
            pod: pod.map_or(Resources::ZERO, twin::apiserver::pod_requests),
            priority: pod.and_then(|pod| pod.priority),
            priority_class_name: pod.and_then(|pod| pod.priority_class_name.clone()),
            text: serde_json::to_string(&spec).ok().map(Arc::from),
        }
    }
}

impl Job {
    /// Its spec as a copy takes it over: neither suspended nor managed by anybody, without selector and without a time to
    /// live; `None`: there is none, or it was not kept.
    pub(crate) fn spec_for_copy(&self) -> Option<api::JobSpec> {
        let text = self.spec.as_ref()?.text.as_deref()?;
        Some(serde_json::from_str(text).expect("it was written from such a spec"))
    }

    /// Has its text in common with Jobs of the same template.
    pub(crate) fn share(&mut self, texts: &mut Shared<str>) {
        if let Some(text) = self.spec.as_mut().and_then(|spec| spec.text.as_mut()) {
            *text = texts.share(text);
        }
    }

    /// Forgets the text: of a copy none is made.
    pub(crate) fn forget_text(&mut self) {
        if let Some(spec) = &mut self.spec {
            spec.text = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn api_job(name: &str) -> Value {
        let own = json!({"controller-uid": name, "batch.kubernetes.io/job-name": name, "app": "fit"});
        json!({
            "metadata": {"name": name, "managedFields": [{"manager": "kubectl"}], "labels": {"team": "ml"}},
            "spec": {"suspend": true, "managedBy": "kubercarbon.io/fleet", "parallelism": 2, "completions": 3, "activeDeadlineSeconds": 90,
                "ttlSecondsAfterFinished": 5, "backoffLimit": 4, "selector": {"matchLabels": {"controller-uid": name}},
                "template": {"metadata": {"labels": own}, "spec": {"priorityClassName": "low", "priority": 7, "restartPolicy": "Never",
                    "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}]}}},
            "status": {"active": 1},
        })
    }
    fn kept(job: Value) -> Job {
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn what_is_read_is_at_hand_and_the_rest_is_there_for_the_copy() {
        let job = kept(api_job("a"));
        let spec = job.spec.as_ref().unwrap();
        assert_eq!((spec.suspend, spec.parallelism, spec.completions), (Some(true), Some(2), Some(3)));
        assert_eq!(
            (spec.managed_by.as_deref(), spec.active_deadline_seconds),
            (Some("kubercarbon.io/fleet"), Some(90))
        );
        assert_eq!((spec.priority, spec.priority_class_name.as_deref()), (Some(7), Some("low")));
        assert_eq!(spec.pod.cpu, fleet::Cpu::from_millis(2000));
        assert_eq!(job.metadata.managed_fields, None);
        assert_eq!(job.status.as_ref().unwrap().active, Some(1));
        let mut wanted = api_job("a")["spec"].take();
        for gone in ["suspend", "managedBy", "selector", "ttlSecondsAfterFinished"] {
            wanted.as_object_mut().unwrap().remove(gone);
        }
        wanted["template"]["metadata"]["labels"] = json!({"app": "fit"});
        assert_eq!(serde_json::to_value(job.spec_for_copy()).unwrap(), wanted);
    }

    #[test]
    fn jobs_of_one_template_share_its_text() {
        let mut texts = Shared::default();
        let [mut a, mut b] = ["a", "b"].map(|name| kept(api_job(name)));
        let mut other = kept(api_job("a"));
        other.spec = Some(Spec::from(api::JobSpec { backoff_limit: Some(9), ..Default::default() }));
        [&mut a, &mut b, &mut other].into_iter().for_each(|job| job.share(&mut texts));
        let text = |job: &Job| job.spec.as_ref().unwrap().text.clone().unwrap();
        assert!(Arc::ptr_eq(&text(&a), &text(&b)));
        assert!(!Arc::ptr_eq(&text(&a), &text(&other)));
        b.forget_text();
        assert_eq!((b.spec_for_copy(), a.spec_for_copy().is_some()), (None, true));
    }
}
