//! What an autoscaler has seen, as VerticalPodAutoscalerCheckpoints keep it.

use super::spec;
use crate::controllers::{Cx, time};
use crate::object::{Document, Object};
use crate::store::Objects;
use crate::vpa::{Aggregate, Checkpoint, Histogram, Scale};
use fleet::Instant;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The version of what is kept that is read.
const VERSION: &str = "v3";

fn instant(value: &Value) -> Option<Instant> {
    Instant::parse(value.as_str()?).ok()
}

fn histogram(scale: Scale, value: &Value) -> Histogram {
    let read = || {
        let weight = |(bucket, weight): (&String, &Value)| {
            Some((bucket.parse().ok()?, u32::try_from(weight.as_u64()?).ok()?))
        };
        let weights = value.get("bucketWeights")?.as_object()?.iter().filter_map(weight).collect();
        let reference = instant(value.get("referenceTimestamp")?)?;
        Some(Checkpoint { weights, total: value.get("totalWeight")?.as_f64()?, reference })
    };
    read().map_or_else(|| Histogram::new(scale), |kept| Histogram::from_checkpoint(scale, &kept))
}

fn shown(histogram: &Histogram) -> Value {
    let Some(kept) = histogram.to_checkpoint() else { return json!({}) };
    let weights: Map<String, Value> =
        kept.weights.iter().map(|(bucket, weight)| (bucket.to_string(), json!(weight))).collect();
    json!({"bucketWeights": weights, "totalWeight": kept.total, "referenceTimestamp": kept.reference.to_rfc3339_seconds()})
}

/// What was kept of the containers of an autoscaler.
pub(super) fn read(objects: &Objects, namespace: &str, autoscaler: &str) -> BTreeMap<String, Aggregate> {
    let Some(kind) = spec::checkpoints(objects) else { return BTreeMap::new() };
    let one = |doc: &Document| {
        let (spec, status) = (doc.body.get("spec")?, doc.body.get("status")?);
        let own =
            spec.get("vpaObjectName")?.as_str()? == autoscaler && status.get("version")?.as_str()? == VERSION;
        let container = spec.get("containerName")?.as_str()?.to_owned();
        let time = |key: &str| status.get(key).and_then(instant);
        let aggregate = Aggregate {
            cpu: histogram(Scale::Cpu, &status["cpuHistogram"]),
            memory: histogram(Scale::Memory, &status["memoryHistogram"]),
            seen: time("firstSampleStart").zip(time("lastSampleStart")),
            samples: status.get("totalSamplesCount").and_then(Value::as_u64).unwrap_or(0),
        };
        own.then_some((container, aggregate))
    };
    let all = objects.list(kind, Some(namespace)).filter_map(|stored| stored.object.as_document());
    all.filter_map(one).collect()
}

/// Keeps what was seen, where there are checkpoints.
pub(super) fn write(cx: &mut Cx<'_>, autoscaler: &Object, used: &BTreeMap<String, Aggregate>) {
    let Some(kind) = spec::checkpoints(cx.objects) else { return };
    let namespace = autoscaler.namespace().to_owned();
    for (container, aggregate) in used.iter().filter(|(_, used)| used.samples > 0) {
        let name = format!("{}-{container}", autoscaler.name());
        let mut status = json!({"version": VERSION, "lastUpdateTime": time(cx.now),
            "totalSamplesCount": aggregate.samples, "cpuHistogram": shown(&aggregate.cpu),
            "memoryHistogram": shown(&aggregate.memory)});
        if let Some((first, last)) = aggregate.seen {
            status["firstSampleStart"] = json!(first.to_rfc3339_seconds());
            status["lastSampleStart"] = json!(last.to_rfc3339_seconds());
        }
        let spec = json!({"vpaObjectName": autoscaler.name(), "containerName": container});
        let old = cx.document(kind, &namespace, &name).map(|doc| doc.metadata.clone());
        let metadata = match old {
            Some(metadata) => metadata,
            None => cx.new_meta(&namespace, name),
        };
        let body: Map<String, Value> =
            [("spec".to_owned(), spec), ("status".to_owned(), status)].into_iter().collect();
        let api_version = kind.resource().api_version().as_str().into();
        cx.objects.put(Object::Document(Box::new(Document {
            kind: kind.stored(),
            api_version,
            metadata,
            body: body.into(),
        })));
    }
}
