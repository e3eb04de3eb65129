//! VerticalPodAutoscalers as they are written: what is wanted, what is allowed, and what was recommended.
//!
//! Amounts are read as quantities; what cannot be read counts as not stated, as the schema of the definition refuses it.

use crate::apiserver::quantity::{Format, NANO, Quantity};
use crate::apiserver::{Usage, quantities};
use crate::controllers::scheduler::Selector;
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::store::{Objects, Stored};
use crate::vpa::{Amounts, Bounds, Policy, Recommendation};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names of the definitions whose objects make the twin act as the Vertical Pod Autoscaler does.
const DEFINITION: &str = "verticalpodautoscalers.autoscaling.k8s.io";
const CHECKPOINTS: &str = "verticalpodautoscalercheckpoints.autoscaling.k8s.io";
const VERSION: &str = "v1";

/// The kind of autoscalers in a cluster that has them.
pub(super) fn kind(objects: &Objects) -> Option<Kind> {
    objects.definition(DEFINITION)?.served(VERSION)
}

/// The kind of checkpoints in a cluster that has them.
pub(super) fn checkpoints(objects: &Objects) -> Option<Kind> {
    objects.definition(CHECKPOINTS)?.served(VERSION)
}

/// Whether an object is an autoscaler.
pub(super) fn is_autoscaler(object: &Object) -> bool {
    let resource = object.kind().resource();
    resource.custom && resource.group == "autoscaling.k8s.io" && resource.plural == "verticalpodautoscalers"
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) target_ref: Option<CrossVersionObjectReference>,
    update_policy: Option<UpdatePolicy>,
    resource_policy: Option<ResourcePolicy>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UpdatePolicy {
    update_mode: Option<String>,
    min_replicas: Option<i64>,
    eviction_requirements: Vec<Requirement>,
}

/// In which direction an amount must change for a pod to be evicted for it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Requirement {
    pub(super) resources: Vec<String>,
    pub(super) change_requirement: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourcePolicy {
    container_policies: Vec<ContainerPolicy>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerPolicy {
    container_name: String,
    mode: Option<String>,
    min_allowed: Value,
    max_allowed: Value,
    controlled_resources: Option<Vec<String>>,
    controlled_values: Option<String>,
}

/// What is done with a recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Off,
    /// Given to new pods.
    Initial,
    /// Given to new pods, and pods are evicted for it.
    Recreate,
    /// Pods are resized, and evicted where that does not work.
    InPlaceOrRecreate,
    /// Pods are resized.
    InPlace,
}

impl Spec {
    pub(super) fn read(doc: &Document) -> Spec {
        doc.body.get("spec").and_then(|spec| Spec::deserialize(spec).ok()).unwrap_or_default()
    }
    pub(super) fn mode(&self) -> Mode {
        match self.update_policy.as_ref().and_then(|policy| policy.update_mode.as_deref()) {
            Some("Off") => Mode::Off,
            Some("Initial") => Mode::Initial,
            Some("InPlaceOrRecreate") => Mode::InPlaceOrRecreate,
            Some("InPlace") => Mode::InPlace,
            _ => Mode::Recreate,
        }
    }
    pub(super) fn min_replicas(&self, default: i64) -> i64 {
        self.update_policy.as_ref().and_then(|policy| policy.min_replicas).unwrap_or(default)
    }
    pub(super) fn requirements(&self) -> &[Requirement] {
        self.update_policy.as_ref().map_or(&[], |policy| &policy.eviction_requirements)
    }
    /// What is said of a container: by its name, else of all.
    pub(super) fn container(&self, name: &str) -> Option<&ContainerPolicy> {
        let all = || self.resource_policy.iter().flat_map(|policy| &policy.container_policies);
        let named = |name: &str| all().find(|own| own.container_name == name);
        named(name).or_else(|| named("*"))
    }
    pub(super) fn scales(&self, container: &str) -> bool {
        self.container(container).is_none_or(|own| own.mode.as_deref() != Some("Off"))
    }
    /// Whether limits stay in proportion to requests.
    pub(super) fn scales_limits(&self, container: &str) -> bool {
        self.container(container).is_none_or(|own| own.controlled_values.as_deref() != Some("RequestsOnly"))
    }
}

impl ContainerPolicy {
    pub(super) fn bounds(&self) -> Policy {
        let [min, max] = [&self.min_allowed, &self.max_allowed].map(|list| quantities(Some(list)));
        let units = |list: &Usage, name: &str, unit: i128| {
            let nanos = list.get(name)?.nanos();
            i64::try_from((nanos + unit - 1).div_euclid(unit)).ok()
        };
        let of =
            |name: &str, unit: i128| Bounds { min: units(&min, name, unit), max: units(&max, name, unit) };
        Policy { cpu_millis: of("cpu", NANO / 1000), memory_bytes: of("memory", NANO) }
    }
    fn controls(&self, resource: &str) -> bool {
        self.controlled_resources.as_ref().is_none_or(|all| all.iter().any(|own| own == resource))
    }
}

/// Amounts as they are written.
fn written(amounts: Amounts, policy: Option<&ContainerPolicy>) -> Value {
    let mut list = serde_json::Map::new();
    let controls = |resource: &str| policy.is_none_or(|policy| policy.controls(resource));
    let nanos = |amount: i64, unit: i128| i128::from(amount) * unit;
    if controls("cpu") {
        let cpu = Quantity::from_nanos(nanos(amounts.cpu_millis, NANO / 1000), Format::DecimalSi);
        list.insert("cpu".to_owned(), json!(cpu.to_string()));
    }
    if controls("memory") {
        let memory = Quantity::from_nanos(nanos(amounts.memory_bytes, NANO), Format::BinarySi);
        list.insert("memory".to_owned(), json!(memory.to_string()));
    }
    Value::Object(list)
}

/// `status.recommendation`, held between what is allowed.
pub(super) fn recommended(spec: &Spec, all: &BTreeMap<String, Recommendation>) -> Value {
    let one = |(name, raw): (&String, &Recommendation)| {
        let policy = spec.container(name);
        let capped = policy.map_or(*raw, |policy| policy.bounds().cap(*raw));
        json!({"containerName": name, "target": written(capped.target, policy),
            "lowerBound": written(capped.lower, policy), "upperBound": written(capped.upper, policy),
            "uncappedTarget": written(capped.uncapped, policy)})
    };
    json!({"containerRecommendations": all.iter().map(one).collect::<Vec<_>>()})
}

/// What was recommended for a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Advice {
    pub(super) target: Usage,
    pub(super) lower: Usage,
    pub(super) upper: Usage,
}

/// What an autoscaler's status recommends, by container.
pub(super) fn advice(doc: &Document) -> BTreeMap<String, Advice> {
    let list = doc.body.get("status").and_then(|s| s.pointer("/recommendation/containerRecommendations"));
    let one = |own: &Value| {
        let part = |name: &str| quantities(own.get(name));
        let name = own.get("containerName")?.as_str()?.to_owned();
        Some((name, Advice { target: part("target"), lower: part("lowerBound"), upper: part("upperBound") }))
    };
    list.and_then(Value::as_array).into_iter().flatten().filter_map(one).collect()
}

/// What an autoscaler is about, and the selector of its pods.
pub(super) fn target(objects: &Objects, namespace: &str, spec: &Spec) -> Option<(Arc<Stored>, Selector)> {
    let reference = spec.target_ref.as_ref()?;
    let kind = objects.kind_of(reference.api_version.as_deref().unwrap_or("v1"), &reference.kind)?;
    let stored = objects.get(kind, namespace, &reference.name)?.clone();
    let selector = selector(&stored.object)?;
    Some((stored, selector))
}

/// By which labels the pods of a workload are found.
fn selector(object: &Object) -> Option<Selector> {
    let doc = object.to_value();
    let labels = |pointer: &str| {
        let labels = doc.pointer(pointer)?;
        let match_labels: BTreeMap<String, String> = Deserialize::deserialize(labels).ok()?;
        let some = (!match_labels.is_empty()).then_some(match_labels);
        some.map(|labels| LabelSelector { match_labels: Some(labels), match_expressions: None })
    };
    let selector = match doc["kind"].as_str()? {
        "CronJob" => labels("/spec/jobTemplate/spec/template/metadata/labels"),
        "ReplicationController" => labels("/spec/selector"),
        _ => LabelSelector::deserialize(doc.pointer("/spec/selector")?).ok(),
    };
    selector.map(|selector| Selector::new(Some(&selector)))
}
