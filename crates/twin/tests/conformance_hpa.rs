//! The twin's horizontal autoscaler against recorded looks of the real one, Kubernetes 1.36.
//!
//! Cases are read from `$CONFORMANCE_DIR/hpa/*.jsonl.gz`, else `$KUBERCARBON_TESTDATA/conformance`; without either the test
//! says so and passes. Each case is one autoscaler over some twenty looks, whose memory goes from one to the next.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod agreement;
mod recorded;

use agreement::report;
use fleet::{Instant, Span};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use recorded::cases;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use twin::apiserver::quantity::{NANO, Quantity};
use twin::horizontal::{ByPod, Memory, Metrics, Sample, Scale, Seen, Sighted, Usage, look};

fn at(value: &Value) -> Instant {
    Instant::parse(value.as_str().unwrap()).unwrap()
}

fn milli(value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let nanos = Quantity::parse(&text).unwrap().rounded_to_millis().nanos();
    i64::try_from(nanos / (NANO / 1000)).unwrap()
}

/// What the metrics APIs of a step answer.
struct Step<'a>(&'a Value);

impl Metrics for Step<'_> {
    fn usage(&self, pods: &[Sighted<'_>]) -> Cow<'_, ByPod<Usage>> {
        let one = |metric: &Value| {
            let used = |usage: &Value| {
                usage.as_object().unwrap().iter().map(|(k, v)| (k.clone(), milli(v))).collect()
            };
            let containers = metric["containers"].as_object().unwrap();
            let usage = Usage {
                at: at(&metric["timestamp"]),
                window: Span::parse(metric["window"].as_str().unwrap()).unwrap(),
                containers: containers.iter().map(|(name, usage)| (name.clone(), used(usage))).collect(),
            };
            (metric["pod"].as_str().unwrap().to_owned(), usage)
        };
        Cow::Owned(ByPod::named(pods, self.0["podMetrics"].as_array().unwrap().iter().map(one)))
    }
    fn of_pods(&self, metric: &str, _: Option<&LabelSelector>) -> Vec<(String, Sample)> {
        let all = self.0["custom"].as_array().into_iter().flatten();
        let own = all.filter(|c| c["metric"] == metric && c["kind"] == "Pod");
        let sample = |c: &Value| Sample {
            at: at(&self.0["syncAt"]),
            window: Span::from_seconds(60),
            value: milli(&c["value"]),
        };
        own.map(|c| (c["name"].as_str().unwrap().to_owned(), sample(c))).collect()
    }
    fn of_object(
        &self,
        metric: &str,
        object: &CrossVersionObjectReference,
        _: Option<&LabelSelector>,
    ) -> Result<i64, String> {
        let mut all = self.0["custom"].as_array().into_iter().flatten();
        let found =
            all.find(|c| c["metric"] == metric && c["kind"] == object.kind && c["name"] == object.name);
        found
            .map(|c| milli(&c["value"]))
            .ok_or_else(|| format!("no such metric {metric} for {} {}", object.kind, object.name))
    }
    fn external(&self, metric: &str, _: Option<&LabelSelector>) -> Vec<i64> {
        self.0["external"][metric].as_array().into_iter().flatten().map(milli).collect()
    }
}

/// A text with every pod's name in it as the recording writes it.
fn plain(text: &str, pods: &BTreeMap<String, Pod>) -> String {
    pods.keys().fold(text.to_owned(), |text, name| text.replace(name.as_str(), "*"))
}

fn plain_status(status: &HorizontalPodAutoscalerStatus, pods: &BTreeMap<String, Pod>) -> Value {
    let mut status = serde_json::to_value(status).unwrap();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["message"] = json!(plain(condition["message"].as_str().unwrap(), pods));
    }
    status
}

/// Plays a case; the number of looks, and the first that differs.
fn play(case: &Value) -> (usize, Option<String>) {
    let spec: HorizontalPodAutoscalerSpec =
        serde_json::from_value(case["hpaStored"]["spec"].clone()).unwrap();
    let mut status: HorizontalPodAutoscalerStatus =
        serde_json::from_value(case["hpaStored"]["status"].clone()).unwrap();
    let (mut memory, mut pods) = (Memory::default(), BTreeMap::<String, Pod>::new());
    let mut wanted = 0;
    for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        for pod in step["podsSet"].as_array().into_iter().flatten() {
            let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
            pods.insert(pod.metadata.name.clone().unwrap(), pod);
        }
        for name in step["podsDeleted"].as_array().into_iter().flatten() {
            pods.remove(name.as_str().unwrap());
        }
        if let Some(replicas) = step["specReplicas"].as_i64() {
            wanted = i32::try_from(replicas).unwrap();
        }
        let there = i32::try_from(step["statusReplicas"].as_i64().unwrap()).unwrap();
        let metrics = Step(step);
        let seen = Seen {
            now: at(&step["syncAt"]),
            namespace: "prod",
            scale: Ok(Scale { wanted, there, selector: "app=web".to_owned() }),
            pods: pods.values().map(Sighted::new).collect(),
            selecting: vec!["prod/web".to_owned()],
            metrics: &metrics,
        };
        let mut rescaled = None;
        let outcome = look(&mut memory, &spec, &status, &seen, &mut |replicas| {
            rescaled = Some(replicas);
            Ok(())
        });
        wanted = rescaled.unwrap_or(wanted);
        let event = |told: &twin::horizontal::Told| {
            let kind = if told.warning { "Warning" } else { "Normal" };
            json!({"type": kind, "reason": told.reason, "message": plain(&told.message, &pods)})
        };
        let mut events: Vec<Value> = outcome.events.iter().map(event).collect();
        events.sort_by_key(Value::to_string);
        let mut expected_events = step["expect"]["events"].as_array().cloned().unwrap_or_default();
        expected_events.sort_by_key(Value::to_string);
        let found =
            json!({"rescale": rescaled, "status": plain_status(&outcome.status, &pods), "events": events});
        let expected = json!({"rescale": step["expect"]["rescale"], "status": step["expect"]["status"], "events": expected_events});
        if found != expected {
            return (
                i,
                Some(format!("case {} step {i}\n    expected {expected}\n    found    {found}", case["id"])),
            );
        }
        status = outcome.status;
    }
    (case["steps"].as_array().unwrap().len(), None)
}

#[test]
fn autoscalers_decide_alike() {
    let Some(cases) = cases("hpa", "") else { return };
    let played: Vec<(usize, Option<String>)> = cases.iter().map(play).collect();
    println!("hpa: {} looks alike", played.iter().map(|(looks, _)| looks).sum::<usize>());
    let differences: Vec<String> = played.into_iter().filter_map(|(_, difference)| difference).collect();
    report("hpa", differences, cases.len(), 0);
}
