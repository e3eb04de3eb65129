//! Between the versions of one resource. Objects are kept in one ([`Kind::stored`]) and shown in any.
//!
//! Events of `events.k8s.io/v1` differ from the core group's in names alone. An HPA of `autoscaling/v1` knows one metric,
//! the processor's utilisation: whoever writes in that version keeps the other metrics and the behaviour an HPA had.
//! Custom resources differ in `apiVersion` alone (definitions with a conversion webhook are refused elsewhere).

use super::request::Answered;
use crate::kind::{Defined, Kind};
use crate::store::{Managed, Stored};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Names of an Event's fields: in the core group, in `events.k8s.io`.
const EVENT: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(doc: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = doc.remove(from) {
        doc.insert(to.to_owned(), value);
    }
}

fn set_version(kind: Kind, doc: &mut Map<String, Value>) {
    doc.insert("apiVersion".to_owned(), json!(kind.resource().api_version()));
    doc.insert("kind".to_owned(), json!(kind.resource().name));
}

/// A document of `kind` as it is stored; `old` is what is stored now.
pub(crate) fn incoming(kind: Kind, mut doc: Value, old: Option<&Value>) -> Value {
    let stored = kind.stored();
    let Some(map) = doc.as_object_mut().filter(|_| stored != kind && !kind.resource().custom) else {
        return doc;
    };
    set_version(stored, map);
    if stored == Kind::Event {
        EVENT.iter().for_each(|(core, new)| rename(map, new, core));
    } else {
        hpa_to_v2(map, old);
    }
    doc
}

/// A stored document as `kind`.
pub(crate) fn outgoing(kind: Kind, mut doc: Value) -> Value {
    let Some(map) = doc.as_object_mut().filter(|_| kind.stored() != kind) else { return doc };
    set_version(kind, map);
    if kind.resource().custom {
        return doc;
    }
    if kind.stored() == Kind::Event {
        EVENT.iter().for_each(|(core, new)| rename(map, core, new));
    } else {
        hpa_to_v1(map);
    }
    doc
}

/// The bytes of a stored object as `kind`: a copy of those made before, where the version is the same. `defined` is the
/// definition behind a custom kind, whose defaults fill in what objects stored before it lack.
pub fn shown(kind: Kind, defined: Option<&Defined>, stored: &Stored) -> Arc<[u8]> {
    let schema = defined.and_then(|d| d.version(kind.resource().version)).map(|version| &version.schema);
    if schema.is_none() && is_shown_as_stored(kind, stored) {
        return stored.bytes();
    }
    let mut doc = outgoing(kind, stored.to_value());
    if let Some(schema) = schema {
        super::custom::default(schema, &mut doc);
    }
    doc.to_string().into_bytes().into()
}

/// A stored object as what is answered to a write of `kind`.
pub(crate) fn answered(kind: Kind, stored: Arc<Stored>) -> Answered {
    if is_shown_as_stored(kind, &stored) {
        return Answered::Stored(stored);
    }
    shown_value(kind, &stored).into()
}

/// A stored object as a document of `kind`.
pub fn shown_value(kind: Kind, stored: &Stored) -> Value {
    outgoing(kind, stored.to_value())
}

/// A document of `kind`, as it was answered, as if it were stored; `None` when it is not of the kind.
pub fn as_stored(kind: Kind, body: Value) -> Option<Stored> {
    let managed = Managed::new(body.pointer("/metadata/managedFields").unwrap_or(&Value::Null));
    let object = super::decode::typed(kind.stored(), incoming(kind, body, None)).ok()?;
    let version = object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
    Some(Stored::at(object, version).with_managed(managed))
}

fn is_shown_as_stored(kind: Kind, stored: &Stored) -> bool {
    match stored.object.as_document() {
        Some(document) if kind.resource().custom => *document.api_version == *kind.resource().api_version(),
        _ => kind.stored() == kind,
    }
}

/// The metric that `autoscaling/v1` knows.
fn is_cpu(metric: &&Value) -> bool {
    metric["type"] == "Resource"
        && metric.pointer("/resource/name") == Some(&json!("cpu"))
        && metric.pointer("/resource/target/type") == Some(&json!("Utilization"))
}

fn hpa_to_v2(doc: &mut Map<String, Value>, old: Option<&Value>) {
    let kept = |pointer: &str| old.and_then(|old| old.pointer(pointer)).cloned();
    let mut metrics = Vec::new();
    if let Some(spec) = doc.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
            metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}}));
        }
        let others = kept("/spec/metrics");
        let others = others.as_ref().and_then(Value::as_array).into_iter().flatten();
        metrics.extend(others.filter(|metric| !is_cpu(metric)).cloned());
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), Value::Array(metrics));
        }
        if let Some(behavior) = kept("/spec/behavior") {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if let Some(status) = doc.get_mut("status").and_then(Value::as_object_mut) {
        if let Some(now) = status.remove("currentCPUUtilizationPercentage") {
            let current = json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}}]);
            status.insert("currentMetrics".to_owned(), current);
        }
        if let Some(conditions) = kept("/status/conditions") {
            status.insert("conditions".to_owned(), conditions);
        }
    }
}

fn hpa_to_v1(doc: &mut Map<String, Value>) {
    if let Some(spec) = doc.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = spec.remove("metrics");
        let target = metrics.as_ref().and_then(Value::as_array).into_iter().flatten().find(is_cpu);
        if let Some(target) = target.and_then(|metric| metric.pointer("/resource/target/averageUtilization"))
        {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), target.clone());
        }
        spec.remove("behavior");
    }
    if let Some(status) = doc.get_mut("status").and_then(Value::as_object_mut) {
        let metrics = status.remove("currentMetrics");
        let cpu = metrics.as_ref().and_then(Value::as_array).into_iter().flatten();
        let cpu = cpu.filter(|metric| metric.pointer("/resource/name") == Some(&json!("cpu")));
        if let Some(now) = cpu.filter_map(|m| m.pointer("/resource/current/averageUtilization")).next() {
            status.insert("currentCPUUtilizationPercentage".to_owned(), now.clone());
        }
        status.remove("conditions");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hpa_of_the_first_version_loses_nothing_of_the_second() {
        let v1 = Kind::find("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        let full = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": {"maxReplicas": 5, "behavior": {"scaleUp": {"stabilizationWindowSeconds": 3}}, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 80}}}]}});
        let mut simple = outgoing(v1, full.clone());
        assert_eq!(simple["spec"], json!({"maxReplicas": 5, "targetCPUUtilizationPercentage": 70}));
        assert_eq!(incoming(v1, simple.clone(), Some(&full)), full);
        simple["spec"]["targetCPUUtilizationPercentage"] = json!(50);
        let again = incoming(v1, simple, Some(&full));
        assert_eq!(again["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        assert_eq!(again["spec"]["metrics"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn events_are_told_in_either_groups_words() {
        let new = Kind::find("events.k8s.io", "v1", "events").unwrap();
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "hm", "regarding": {"kind": "Pod"}, "deprecatedCount": 2});
        let core = incoming(new, event.clone(), None);
        assert_eq!(
            (&core["apiVersion"], &core["message"], &core["count"]),
            (&json!("v1"), &json!("hm"), &json!(2))
        );
        assert_eq!(outgoing(new, core), event);
    }
}
