//! Creating and deleting the pods of a Job.

use super::track::{INDEX, Stage};
use super::{PODS_PER_SYNC_MAX, SOURCE, Sync};
use crate::controllers::Cx;
use crate::kind::Kind;
use crate::object::Object;
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodSpec, PodStatus, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// Longest base of a generated name: 63 characters less the suffix of 5.
const BASE_LENGTH_MAX: usize = 58;
/// How long a pod tolerates a node that is not ready or not reachable (admission plugin
/// DefaultTolerationSeconds).
const TOLERATION_SECONDS: i64 = 300;

impl Sync<'_, '_> {
    /// Deletes up to `count` active pods; whether some of them remain.
    pub(super) fn delete_active(&mut self, count: usize) -> bool {
        let order = self.tracked.deletion_order();
        let all = order.len().min(count);
        for uid in order.iter().take(all.min(PODS_PER_SYNC_MAX)) {
            let Some(fact) = self.tracked.pods.get_mut(uid) else { continue };
            fact.released = true;
            fact.stage = Stage::Terminating;
            let name = fact.name.clone();
            self.cx.delete(Kind::Pod, &self.tracked.namespace, &name);
            // A pod that was not yet bound is gone at once; its change will take the fact away.
            if self.cx.objects.get(Kind::Pod, &self.tracked.namespace, &name).is_none() {
                fact.stage = Stage::Ended;
            }
            self.cx.normal(&self.about, SOURCE, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
        all > PODS_PER_SYNC_MAX
    }
    /// Creates up to `count` pods; whether some remain to be created.
    pub(super) fn create(&mut self, count: usize) -> bool {
        if !self.cx.takes_new(&self.tracked.namespace) {
            return false;
        }
        let indexed = self.spec.completion_mode.as_deref() == Some("Indexed");
        let mut indexes = if indexed { self.missing_indexes(count) } else { Vec::new() }.into_iter();
        for _ in 0..count.min(PODS_PER_SYNC_MAX) {
            let index = indexes.next();
            if indexed && index.is_none() {
                return false;
            }
            self.create_one(index);
        }
        count > PODS_PER_SYNC_MAX
    }
    /// The lowest indexes that have neither succeeded nor an active pod.
    fn missing_indexes(&self, count: usize) -> Vec<i32> {
        let active = self.tracked.pods.values().filter(|p| p.stage == Stage::Active);
        let taken: std::collections::BTreeSet<i32> = active.filter_map(|p| p.index).collect();
        let all = 0..self.spec.completions.unwrap_or(0);
        all.filter(|i| !taken.contains(i) && !self.tracked.completed.contains(i)).take(count).collect()
    }
    fn create_one(&mut self, index: Option<i32>) {
        let template = &self.spec.template;
        let base = match index {
            Some(index) => format!("{}-{index}-", self.tracked.name),
            None => format!("{}-", self.tracked.name),
        };
        let base: String = base.chars().take(BASE_LENGTH_MAX).collect();
        let name = self.cx.free_name(&self.tracked.namespace, &base);
        let mut meta = self.cx.new_meta(&self.tracked.namespace, name.clone());
        meta.generate_name = Some(base);
        let from = template.metadata.as_ref();
        meta.labels = from.and_then(|m| m.labels.clone());
        meta.annotations = from.and_then(|m| m.annotations.clone());
        meta.generation = Some(1);
        meta.owner_references = Some(vec![OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name: self.tracked.name.to_string(),
            uid: self.job.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]);
        let mut spec = template.spec.clone().unwrap_or_default();
        if let Some(index) = index {
            let text = index.to_string();
            meta.labels.get_or_insert_default().insert(INDEX.to_owned(), text.clone());
            meta.annotations.get_or_insert_default().insert(INDEX.to_owned(), text);
            spec.hostname.get_or_insert_with(|| format!("{}-{index}", self.tracked.name));
            expose_index(&mut spec);
        }
        admit(&mut spec, self.cx);
        let status = PodStatus {
            phase: Some("Pending".to_owned()),
            qos_class: Some(qos_class(&spec).to_owned()),
            ..PodStatus::default()
        };
        self.cx.put_pod(Pod { metadata: meta, spec: Some(spec), status: Some(status) });
        self.cx.normal(&self.about, SOURCE, "SuccessfulCreate", format!("Created pod: {name}"));
        self.note_created(&name);
    }
    /// The pod just created is active from now on, before its change comes round.
    fn note_created(&mut self, name: &str) {
        let Some(stored) = self.cx.objects.get(Kind::Pod, &self.tracked.namespace, name).cloned() else {
            return;
        };
        if let Object::Pod(pod) = &stored.object {
            self.tracked.note_new(stored.object.uid(), pod, self.cx.now);
        }
    }
}

/// `JOB_COMPLETION_INDEX` for every container, from the annotation, as the real controller does.
fn expose_index(spec: &mut PodSpec) {
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

/// What admission adds to a pod: default tolerations, and the priority of its class.
pub(crate) fn admit(spec: &mut PodSpec, cx: &Cx<'_>) {
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
    let class = match spec.priority_class_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => cx.objects.get(Kind::PriorityClass, "", name).cloned(),
        None => cx.objects.list(Kind::PriorityClass, None).find(|s| is_default_class(&s.object)).cloned(),
    };
    let mut priority = 0;
    if let Some(Object::PriorityClass(class)) = class.as_ref().map(|s| &s.object) {
        priority = class.value.unwrap_or(0);
        spec.priority_class_name = class.metadata.name.clone();
        spec.preemption_policy = spec.preemption_policy.take().or_else(|| class.preemption_policy.clone());
    }
    spec.priority.get_or_insert(priority);
    spec.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".to_owned());
    spec.service_account_name.get_or_insert_with(|| "default".to_owned());
}

fn is_default_class(object: &Object) -> bool {
    matches!(object, Object::PriorityClass(class) if class.global_default == Some(true))
}

/// Quality of service: every container's limits equal its requests for CPU and memory, none states
/// anything, or between.
pub(crate) fn qos_class(spec: &PodSpec) -> &'static str {
    let (mut guaranteed, mut stated) = (true, false);
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let resources = container.resources.as_ref();
        let limits = resources.and_then(|r| r.limits.as_ref());
        let requests = resources.and_then(|r| r.requests.as_ref());
        for name in ["cpu", "memory"] {
            let limit = limits.and_then(|l| l.get(name));
            let request = requests.and_then(|r| r.get(name)).or(limit);
            stated |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (stated, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
