//! One look of an autoscaler at its target: pure, from what was seen to how many replicas there should be and what is said
//! of it (`reconcileAutoscaler` of Kubernetes 1.36).

use super::limits::{Bounds, Memory};
use super::metric::{self, Found};
use super::replicas::{ByPod, Sample, Tolerance};
use super::sight::Sighted;
use crate::apiserver::quantity::{NANO, Quantity};
use fleet::Instant;
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscalerCondition as Condition,
    HorizontalPodAutoscalerSpec as Spec, HorizontalPodAutoscalerStatus as Status, MetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far off its target a metric may be where nothing else is said.
const TOLERANCE: f64 = 0.1;

/// Containers with what they used: thousandths by the resource's name. Shared by pods that use the same.
pub type Used = Arc<[(String, BTreeMap<String, i64>)]>;

/// What a pod used, container by container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When, and over how long.
    pub at: Instant,
    /// Length of the window.
    pub window: fleet::Span,
    /// Containers with what they used.
    pub containers: Used,
}

/// The metrics APIs, as an autoscaler asks them. Values are thousandths.
pub trait Metrics {
    /// Why nothing can be asked for, in the API server's words, where nobody answers for these APIs.
    fn unavailable(&self) -> Option<&str> {
        None
    }
    /// What the selected pods use.
    fn usage(&self, pods: &[Sighted<'_>]) -> Cow<'_, ByPod<Usage>>;
    /// A metric of the selected pods.
    fn of_pods(&self, metric: &str, selector: Option<&LabelSelector>) -> Vec<(String, Sample)>;
    /// A metric of an object; the error is the API's text.
    fn of_object(
        &self,
        metric: &str,
        object: &CrossVersionObjectReference,
        selector: Option<&LabelSelector>,
    ) -> Result<i64, String>;
    /// All series of a metric from outside the cluster.
    fn external(&self, metric: &str, selector: Option<&LabelSelector>) -> Vec<i64>;
}

/// The Scale of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Replicas asked for.
    pub wanted: i32,
    /// Replicas there.
    pub there: i32,
    /// Selector of the pods.
    pub selector: String,
}

/// What an autoscaler sees.
pub struct Seen<'a> {
    /// Now.
    pub now: Instant,
    /// Namespace of the autoscaler.
    pub namespace: &'a str,
    /// The target; the error is the API's text.
    pub scale: Result<Scale, String>,
    /// The pods its selector selects.
    pub pods: Vec<Sighted<'a>>,
    /// All autoscalers that select some of these pods, as `NAMESPACE/NAME`.
    pub selecting: Vec<String>,
    /// The metrics APIs.
    pub metrics: &'a dyn Metrics,
}

/// Something an autoscaler says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether it is a warning.
    pub warning: bool,
    /// Its reason.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// What the look came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The status as it is now.
    pub status: Status,
    /// Events, in the order they happened, without those too many.
    pub events: Vec<Told>,
}

/// Thousandths as a quantity.
pub(super) fn quantity(milli: i64, binary: bool) -> resource::Quantity {
    let format = if binary {
        crate::apiserver::quantity::Format::BinarySi
    } else {
        crate::apiserver::quantity::Format::DecimalSi
    };
    resource::Quantity(Quantity::from_nanos(i128::from(milli) * (NANO / 1000), format).to_string())
}

/// A quantity in thousandths, rounded away from zero; 0 where it is none.
pub(super) fn milli(quantity: &resource::Quantity) -> i64 {
    let nanos = Quantity::parse(&quantity.0).map_or(0, |q| q.rounded_to_millis().nanos());
    i64::try_from(nanos / (NANO / 1000)).unwrap_or(i64::MAX)
}

/// The look, as far as it has come.
pub(super) struct Look<'a> {
    pub(super) seen: &'a Seen<'a>,
    pub(super) spec: &'a Spec,
    pub(super) tolerance: Tolerance,
    memory: &'a mut Memory,
    status: Status,
    events: Vec<Told>,
}

/// What the metrics together ask for.
struct Wanted {
    replicas: i32,
    metric: String,
}

/// Looks at a target once, and has it rescaled by `rescale` where that is due, whose error is the API's text.
pub fn look(
    memory: &mut Memory,
    spec: &Spec,
    status: &Status,
    seen: &Seen<'_>,
    rescale: &mut dyn FnMut(i32) -> Result<(), String>,
) -> Outcome {
    let tolerance = tolerance(spec);
    let (status, events) = (status.clone(), Vec::new());
    let mut look = Look { seen, spec, tolerance, memory, status, events };
    look.run(rescale);
    Outcome { status: look.status, events: look.events }
}

fn tolerance(spec: &Spec) -> Tolerance {
    let stated = |rules: Option<&HPAScalingRules>| {
        let quantity = Quantity::parse(&rules?.tolerance.as_ref()?.0).ok()?;
        Some(quantity.nanos() as f64 / NANO as f64)
    };
    let behavior = spec.behavior.as_ref();
    Tolerance {
        down: stated(behavior.and_then(|b| b.scale_down.as_ref())).unwrap_or(TOLERANCE),
        up: stated(behavior.and_then(|b| b.scale_up.as_ref())).unwrap_or(TOLERANCE),
    }
}

impl Look<'_> {
    fn condition(&mut self, kind: &str, holds: bool, reason: &str, message: &str) {
        let all = self.status.conditions.get_or_insert_default();
        let at = match all.iter().position(|c| c.type_ == kind) {
            Some(at) => at,
            None => {
                all.push(Condition { type_: kind.to_owned(), ..Condition::default() });
                all.len() - 1
            }
        };
        let (condition, status) = (&mut all[at], if holds { "True" } else { "False" });
        if condition.status != status {
            let now = Instant::from_unix_seconds(self.seen.now.as_unix_seconds());
            condition.last_transition_time = Some(Time(now.to_jiff()));
        }
        condition.status = status.to_owned();
        condition.reason = Some(reason.to_owned());
        condition.message = Some(message.to_owned());
    }
    fn tell(&mut self, warning: bool, reason: &str, message: String) {
        if self.memory.may_tell(self.seen.now, warning) {
            self.events.push(Told { warning, reason: reason.to_owned(), message });
        }
    }
    fn run(&mut self, rescale: &mut dyn FnMut(i32) -> Result<(), String>) {
        let seen = self.seen;
        let scale = match &seen.scale {
            Ok(scale) => scale,
            Err(why) => {
                self.tell(true, "FailedGetScale", why.clone());
                let text = format!("the HPA controller was unable to get the target's current scale: {why}");
                self.condition("AbleToScale", false, "FailedGetScale", &text);
                return;
            }
        };
        let text = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", true, "SucceededGetScale", text);
        let current = scale.wanted;
        self.memory.begin(self.seen.now, current);
        let bounds =
            Bounds { current, min: self.spec.min_replicas.unwrap_or(1), max: self.spec.max_replicas };
        let (mut metrics, mut desired, mut reason) = (Vec::new(), current, String::new());
        if current == 0 {
            let text = "scaling is disabled since the replica count of the target is zero";
            self.condition("ScalingActive", false, "ScalingDisabled", text);
        } else if current > bounds.max {
            desired = bounds.max;
            "Current number of replicas above Spec.MaxReplicas".clone_into(&mut reason);
        } else if current < bounds.min {
            desired = bounds.min;
            "Current number of replicas below Spec.MinReplicas".clone_into(&mut reason);
        } else {
            match self.by_metrics(scale, &mut metrics) {
                Ok(wanted) => (desired, reason) = self.limit(wanted, bounds),
                Err(why) => {
                    self.report(current, self.status.desired_replicas, metrics);
                    self.tell(true, "FailedComputeMetricsReplicas", why);
                    return;
                }
            }
        }
        if desired != current && !self.rescale((current, desired), &reason, rescale) {
            self.report(current, self.status.desired_replicas, metrics);
            return;
        }
        self.report(current, desired, metrics);
    }
    /// Keeps the wish of the metrics within bounds; with why it is to be carried out.
    fn limit(&mut self, wanted: Wanted, bounds: Bounds) -> (i32, String) {
        let now = self.seen.now;
        let desired = wanted.replicas.max(0);
        let reason = match desired.cmp(&bounds.current) {
            std::cmp::Ordering::Greater => format!("{} above target", wanted.metric),
            std::cmp::Ordering::Less => "All metrics below target".to_owned(),
            std::cmp::Ordering::Equal => String::new(),
        };
        let limited = match &self.spec.behavior {
            None => self.memory.plain(now, desired, bounds),
            Some(behavior) => self.memory.behaved(now, desired, bounds, behavior),
        };
        self.condition("AbleToScale", true, limited.able.0, limited.able.1);
        self.condition("ScalingLimited", limited.is_limited, limited.limited.0, limited.limited.1);
        (limited.replicas, reason)
    }
    /// Carries a change out; whether that worked.
    fn rescale(
        &mut self,
        (from, to): (i32, i32),
        reason: &str,
        rescale: &mut dyn FnMut(i32) -> Result<(), String>,
    ) -> bool {
        if let Err(why) = rescale(to) {
            self.tell(true, "FailedRescale", format!("New size: {to}; reason: {reason}; error: {why}"));
            let text = format!("the HPA controller was unable to update the target scale: {why}");
            self.condition("AbleToScale", false, "FailedUpdateScale", &text);
            return false;
        }
        let text = format!("the HPA controller was able to update the target scale to {to}");
        self.condition("AbleToScale", true, "SucceededRescale", &text);
        self.tell(false, "SuccessfulRescale", format!("New size: {to}; reason: {reason}"));
        self.memory.scaled(self.seen.now, (from, to), self.spec.behavior.as_ref());
        let now = Instant::from_unix_seconds(self.seen.now.as_unix_seconds());
        self.status.last_scale_time = Some(Time(now.to_jiff()));
        true
    }
    fn report(&mut self, current: i32, desired: i32, metrics: Vec<MetricStatus>) {
        self.status.current_replicas = Some(current).filter(|n| *n > 0);
        self.status.desired_replicas = desired;
        self.status.current_metrics = Some(metrics).filter(|all| !all.is_empty());
        self.status.observed_generation = None;
    }
    /// The most replicas any metric asks for. With a metric that fails, none are taken away.
    fn by_metrics(&mut self, scale: &Scale, statuses: &mut Vec<MetricStatus>) -> Result<Wanted, String> {
        self.check_selector(&scale.selector)?;
        let specs = self.spec.metrics.as_deref().unwrap_or_default();
        let mut wanted = Wanted { replicas: 0, metric: String::new() };
        let mut failed: Vec<metric::Failure> = Vec::new();
        for spec in specs {
            match metric::evaluate(self, scale, spec) {
                Ok(Found { replicas, metric, status }) => {
                    if wanted.replicas == 0 || replicas > wanted.replicas {
                        wanted = Wanted { replicas, metric };
                    }
                    statuses.push(status);
                }
                Err(failure) => {
                    self.tell(true, failure.reason, failure.message.clone());
                    failed.push(failure);
                    statuses.push(MetricStatus::default());
                }
            }
        }
        if let Some(first) = failed.first()
            && (failed.len() >= specs.len() || wanted.replicas < scale.wanted)
        {
            let text = format!("the HPA was unable to compute the replica count: {}", first.message);
            self.condition("ScalingActive", false, first.reason, &text);
            let (count, all) = (failed.len(), specs.len());
            return Err(format!(
                "invalid metrics ({count} invalid out of {all}), first error is: {}",
                first.chain
            ));
        }
        let text =
            format!("the HPA was able to successfully calculate a replica count from {}", wanted.metric);
        self.condition("ScalingActive", true, "ValidMetricFound", &text);
        Ok(wanted)
    }
    fn check_selector(&mut self, selector: &str) -> Result<(), String> {
        if selector.is_empty() {
            self.tell(true, "SelectorRequired", "selector is required".to_owned());
            let text = "the HPA target's scale is missing a selector";
            self.condition("ScalingActive", false, "InvalidSelector", text);
            return Err("selector is required".to_owned());
        }
        if self.seen.selecting.len() > 1 {
            let all = self.seen.selecting.join(" ");
            let text = format!("pods by selector {selector} are controlled by multiple HPAs: [{all}]");
            self.tell(true, "AmbiguousSelector", text.clone());
            self.condition("ScalingActive", false, "AmbiguousSelector", &text);
            return Err(text);
        }
        Ok(())
    }
}
