//! What one metric of an autoscaler comes to, in the real controller's words.

use super::decide::{Look, Scale, milli, quantity};
use super::replicas::{self, Sample, Samples, Target};
use super::sight::Sighted;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricSource, ExternalMetricStatus, MetricIdentifier, MetricSpec,
    MetricStatus, MetricTarget, MetricValueStatus, ObjectMetricSource, ObjectMetricStatus, PodsMetricSource,
    PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a metric asks for.
pub(super) struct Found {
    pub(super) replicas: i32,
    /// What it is called in conditions and events.
    pub(super) metric: String,
    pub(super) status: MetricStatus,
}

/// Why it asks for nothing.
pub(super) struct Failure {
    /// Of the event and of the condition.
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// The message with what was attempted before it.
    pub(super) chain: String,
}

fn failure(reason: &'static str, attempt: &str, message: String) -> Failure {
    let chain = format!("{attempt}: {message}");
    Failure { reason, message, chain }
}

/// Replicas, the name of the metric, and what to say of its value.
type Value = (i32, String, MetricValueStatus);

/// Evaluates one metric.
pub(super) fn evaluate(look: &Look<'_>, scale: &Scale, spec: &MetricSpec) -> Result<Found, Failure> {
    let mut status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
    let found =
        |(replicas, metric, _): &Value, status| Found { replicas: *replicas, metric: metric.clone(), status };
    match spec.type_.as_str() {
        "Resource" if let Some(source) = &spec.resource => {
            let value = resource(look, scale.wanted, &source.name, "", &source.target).map_err(|why| {
                let attempt = format!("failed to get {} resource metric value", source.name);
                failure("FailedGetResourceMetric", &attempt, why)
            })?;
            status.resource =
                Some(ResourceMetricStatus { name: source.name.clone(), current: value.2.clone() });
            Ok(found(&value, status))
        }
        "ContainerResource" if let Some(source) = &spec.container_resource => {
            let (name, container) = (&source.name, &source.container);
            let value = resource(look, scale.wanted, name, container, &source.target).map_err(|why| {
                let attempt = format!("failed to get {container} container metric value");
                failure("FailedGetContainerResourceMetric", &attempt, why)
            })?;
            let (name, container, current) = (name.clone(), container.clone(), value.2.clone());
            status.container_resource = Some(ContainerResourceMetricStatus { container, current, name });
            Ok(found(&value, status))
        }
        "Pods" if let Some(source) = &spec.pods => {
            let attempt = "failed to get pods metric value";
            let value = of_pods(look, scale.wanted, source)
                .map_err(|why| failure("FailedGetPodsMetric", attempt, why))?;
            status.pods = Some(PodsMetricStatus { metric: source.metric.clone(), current: value.2.clone() });
            Ok(found(&value, status))
        }
        "Object" if let Some(source) = &spec.object => {
            let attempt = "failed to get object metric value";
            let value = of_object(look, scale, source).map_err(|(why, chain)| Failure {
                reason: "FailedGetObjectMetric",
                message: why,
                chain: format!("{attempt}: {chain}"),
            })?;
            status.object = Some(ObjectMetricStatus {
                current: value.2.clone(),
                described_object: source.described_object.clone(),
                metric: source.metric.clone(),
            });
            Ok(found(&value, status))
        }
        "External" if let Some(source) = &spec.external => {
            let attempt = format!("failed to get {} external metric value", source.metric.name);
            let value = external(look, scale, source).map_err(|(why, chain)| Failure {
                reason: "FailedGetExternalMetric",
                message: why,
                chain: format!("{attempt}: {chain}"),
            })?;
            status.external =
                Some(ExternalMetricStatus { current: value.2.clone(), metric: source.metric.clone() });
            Ok(found(&value, status))
        }
        other => {
            let message = format!("unknown metric source type {other:?}");
            Err(Failure { reason: "InvalidMetricSourceType", chain: message.clone(), message })
        }
    }
}

/// A resource of pods, or of one container of each.
fn resource(
    look: &Look<'_>,
    current: i32,
    name: &str,
    container: &str,
    target: &MetricTarget,
) -> Result<Value, String> {
    let (now, pods, is_cpu) = (look.seen.now, &look.seen.pods, name == "cpu");
    let binary = name == "memory";
    let what = if target.average_value.is_some() { "usage" } else { "utilization" };
    let failed = |why: String| format!("failed to get {name} {what}: {why}");
    if target.average_value.is_none() && target.average_utilization.is_none() {
        let why = "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set";
        return Err(why.to_owned());
    }
    let samples = usage(look, name, container).map_err(failed)?;
    if pods.is_empty() {
        return Err(failed("no pods returned by selector while calculating replica count".to_owned()));
    }
    let mut status = MetricValueStatus::default();
    if let Some(average) = &target.average_value {
        let target = Target::Average(milli(average));
        let found = replicas::of_pods(current, pods, &samples, (&target, is_cpu), look.tolerance, now)
            .map_err(failed)?;
        status.average_value = Some(quantity(found.average, binary));
        return Ok((found.replicas, format!("{name} resource"), status));
    }
    let percent = target.average_utilization.unwrap_or_default();
    // The pods of which nothing was measured are told of first.
    replicas::measured(pods, &samples, is_cpu, now).map_err(failed)?;
    let requests = requests(pods, name, container).map_err(failed)?;
    let target = Target::Utilization(percent, &requests);
    let found =
        replicas::of_pods(current, pods, &samples, (&target, is_cpu), look.tolerance, now).map_err(failed)?;
    status.average_utilization = Some(found.utilization);
    status.average_value = Some(quantity(found.average, binary));
    let of = if container.is_empty() { "" } else { " container" };
    Ok((found.replicas, format!("{name}{of} resource utilization (percentage of request)"), status))
}

/// What pods use of a resource; a pod of which part is not measured is left out.
fn usage(look: &Look<'_>, name: &str, container: &str) -> Result<Samples, String> {
    if let Some(why) = look.seen.metrics.unavailable() {
        let why =
            format!("unable to fetch metrics from resource metrics API: {why} (get pods.metrics.k8s.io)");
        return Err(format!("unable to get metrics for resource {name}: {why}"));
    }
    let all = look.seen.metrics.usage(&look.seen.pods);
    if all.is_empty() {
        return Err(format!(
            "unable to get metrics for resource {name}: no metrics returned from resource metrics API"
        ));
    }
    Ok(all.map(|usage| {
        let mut own = usage.containers.iter().filter(|(own, _)| container.is_empty() || own == container);
        let value: Option<i64> = if container.is_empty() {
            own.try_fold(0i64, |sum, (_, used)| Some(sum.saturating_add(used.get(name).copied()?)))
        } else {
            own.next().and_then(|(_, used)| used.get(name).copied())
        };
        let value = value.filter(|_| !usage.containers.is_empty())?;
        Some(Sample { at: usage.at, window: usage.window, value })
    }))
}

/// What each pod requests of a resource, by their places; the error is that of the first by name.
fn requests(pods: &[Sighted<'_>], name: &str, container: &str) -> Result<Vec<i64>, String> {
    let mut all = Vec::with_capacity(pods.len());
    // Pods of one sort ask for the same.
    let mut sorts: BTreeMap<usize, i64> = BTreeMap::new();
    let mut wrong: Option<(&str, String)> = None;
    for pod in pods {
        let known = pod.sort.and_then(|sort| sorts.get(&sort).copied());
        let asked = match known {
            Some(asked) => asked,
            None => match request(pod.pod, pod.name(), name, container) {
                Ok(asked) => asked,
                Err(why) => {
                    if wrong.as_ref().is_none_or(|(first, _)| pod.name() < *first) {
                        wrong = Some((pod.name(), why));
                    }
                    continue;
                }
            },
        };
        if let Some(sort) = pod.sort {
            sorts.insert(sort, asked);
        }
        all.push(asked);
    }
    wrong.map_or(Ok(all), |(_, why)| Err(why))
}

fn request(pod: &Pod, own: &str, name: &str, container: &str) -> Result<i64, String> {
    let Some(spec) = &pod.spec else { return Ok(0) };
    let whole = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).filter(|r| !r.is_empty());
    if let Some(requests) = whole.filter(|_| container.is_empty()) {
        let missing = || format!("missing pod-level request for {name} in Pod {own}");
        return requests.get(name).map(milli).ok_or_else(missing);
    }
    let beside = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(beside);
    let mut total = 0;
    for each in spec.containers.iter().chain(sidecars) {
        if !container.is_empty() && each.name != container {
            continue;
        }
        let requests = each.resources.as_ref().and_then(|r| r.requests.as_ref());
        let amount = requests.and_then(|requests| requests.get(name));
        let missing = || format!("missing request for {name} in container {} of Pod {own}", each.name);
        total += milli(amount.ok_or_else(missing)?);
        if each.name == container {
            return Ok(total);
        }
    }
    if container.is_empty() {
        Ok(total)
    } else {
        Err(format!("container {container} not found in Pod {own}"))
    }
}

fn of_pods(look: &Look<'_>, current: i32, source: &PodsMetricSource) -> Result<Value, String> {
    let MetricIdentifier { name, selector } = &source.metric;
    if let Some(why) = look.seen.metrics.unavailable() {
        let why = format!(
            "unable to fetch metrics from custom metrics API: {why} (get pods.custom.metrics.k8s.io *)"
        );
        return Err(format!("unable to get metric {name}: {why}"));
    }
    let samples = Samples::named(&look.seen.pods, look.seen.metrics.of_pods(name, selector.as_ref()));
    if samples.is_empty() {
        return Err(format!("unable to get metric {name}: no metrics returned from custom metrics API"));
    }
    if look.seen.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let target = Target::Average(source.target.average_value.as_ref().map_or(0, milli));
    let (pods, now) = (&look.seen.pods, look.seen.now);
    let found = replicas::of_pods(current, pods, &samples, (&target, false), look.tolerance, now)?;
    let status =
        MetricValueStatus { average_value: Some(quantity(found.average, false)), ..Default::default() };
    Ok((found.replicas, format!("pods metric {name}"), status))
}

/// The error is what is said of the metric, and of the whole look.
fn of_object(look: &Look<'_>, scale: &Scale, source: &ObjectMetricSource) -> Result<Value, (String, String)> {
    let MetricIdentifier { name, selector } = &source.metric;
    let object = &source.described_object;
    let usage = || {
        let found = look.seen.metrics.of_object(name, object, selector.as_ref());
        found.map_err(|why| {
            let place = format!("{} on {} {}", object.kind, look.seen.namespace, object.name);
            format!(
                "unable to get metric {name}: {place}/unable to fetch metrics from custom metrics API: {why}"
            )
        })
    };
    let plain = |why: String| (why.clone(), why);
    match (&source.target.value, &source.target.average_value) {
        (Some(value), _) if source.target.type_ == "Value" => {
            let usage = usage().map_err(plain)?;
            let wanted =
                replicas::of_value(scale.wanted, &look.seen.pods, (usage, milli(value)), look.tolerance);
            let status = MetricValueStatus { value: Some(quantity(usage, false)), ..Default::default() };
            Ok((wanted.map_err(plain)?, format!("{} metric {name}", object.kind), status))
        }
        (_, Some(share)) if source.target.type_ == "AverageValue" => {
            let longer = |why: String| {
                let chain = format!("failed to get {name} object metric: {why}");
                (why, chain)
            };
            let usage = usage().map_err(longer)?;
            let (wanted, each) = replicas::of_shares(scale.there, (usage, milli(share)), look.tolerance);
            let status =
                MetricValueStatus { average_value: Some(quantity(each, false)), ..Default::default() };
            let metric = format!("external metric {name}({})", go(selector.as_ref()));
            Ok((wanted, metric, status))
        }
        _ => {
            let why =
                "invalid object metric source: neither a value target nor an average value target was set";
            Err(plain(why.to_owned()))
        }
    }
}

fn external(
    look: &Look<'_>,
    scale: &Scale,
    source: &ExternalMetricSource,
) -> Result<Value, (String, String)> {
    let MetricIdentifier { name, selector } = &source.metric;
    let selector = selector.as_ref();
    let metric = format!("external metric {name}({})", go(selector));
    let usage = || {
        let place = || format!("{}/{name}/{}", look.seen.namespace, go(selector));
        if let Some(why) = look.seen.metrics.unavailable() {
            let why = format!(
                "unable to fetch metrics from external metrics API: {why} (get {name}.external.metrics.k8s.io)"
            );
            return Err(format!("unable to get external metric {}: {why}", place()));
        }
        let all = look.seen.metrics.external(name, selector);
        if all.is_empty() {
            let place = place();
            return Err(format!(
                "unable to get external metric {place}: no metrics returned from external metrics API"
            ));
        }
        Ok(all.iter().fold(0_i64, |sum, value| sum.saturating_add(*value)))
    };
    match (&source.target.average_value, &source.target.value) {
        (Some(share), _) => {
            let usage = usage().map_err(|why| {
                let chain = format!("failed to get {name} external metric: {why}");
                (why, chain)
            })?;
            let (wanted, each) = replicas::of_shares(scale.there, (usage, milli(share)), look.tolerance);
            let status =
                MetricValueStatus { average_value: Some(quantity(each, false)), ..Default::default() };
            Ok((wanted, metric, status))
        }
        (None, Some(value)) => {
            let longer = |why: String| {
                let chain = format!("failed to get external metric {name}: {why}");
                (why, chain)
            };
            let usage = usage().map_err(longer)?;
            let found =
                replicas::of_value(scale.wanted, &look.seen.pods, (usage, milli(value)), look.tolerance);
            let status = MetricValueStatus { value: Some(quantity(usage, false)), ..Default::default() };
            Ok((found.map_err(longer)?, metric, status))
        }
        (None, None) => {
            let why =
                "invalid external metric source: neither a value target nor an average value target was set";
            Err((why.to_owned(), why.to_owned()))
        }
    }
}

/// A selector as Go prints it.
fn go(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let mut text = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in selector.match_labels.iter().flatten() {
        let _ = write!(text, "{key}: {value},");
    }
    text.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for each in selector.match_expressions.iter().flatten() {
        let values = each.values.as_deref().unwrap_or_default().join(" ");
        let _ = write!(
            text,
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
            each.key, each.operator
        );
    }
    text.push_str("},}");
    text
}
