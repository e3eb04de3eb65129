//! How many replicas a metric asks for (`replica_calculator.go` of Kubernetes 1.36).
//!
//! Values are thousandths (of a core, a byte, a request per second…). Ratios are floating point, as in the real
//! controller, so that they round alike.

use crate::controllers::is_deleting;
use crate::controllers::podcontrol::condition;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};

/// How long after its start a pod's CPU counts only once it has been ready for a whole window of the metric.
const CPU_INITIALIZATION: Span = Span::from_seconds(300);
/// A pod that became unready within this time of its start never was ready.
const INITIAL_READINESS_DELAY: Span = Span::from_seconds(30);

/// What one pod's metric was, over the window that ended at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// End of the window.
    pub at: Instant,
    /// Length of the window.
    pub window: Span,
    /// Thousandths.
    pub value: i64,
}

/// Samples by pod.
pub(super) type Samples = BTreeMap<String, Sample>;

/// How far off its target a metric may be without anything being done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerance {
    pub(super) fn holds(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// Pods by what their metric is worth.
struct Groups<'a> {
    ready: usize,
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    ignored: BTreeSet<&'a str>,
}

/// What the calculation came to.
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// Percent of the request, where the target is one.
    pub(super) utilization: i32,
    /// Average of a pod, in thousandths.
    pub(super) average: i64,
}

/// What metrics of pods are held against.
pub(super) enum Target<'a> {
    /// Percent of what each pod requests, in thousandths.
    Utilization(i32, &'a BTreeMap<&'a str, i64>),
    /// Thousandths a pod.
    Average(i64),
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn group<'a>(pods: &[&'a Pod], samples: &Samples, is_cpu: bool, now: Instant) -> Groups<'a> {
    let mut groups =
        Groups { ready: 0, unready: BTreeSet::new(), missing: BTreeSet::new(), ignored: BTreeSet::new() };
    for pod in pods {
        let own = name(pod);
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        if is_deleting(&pod.metadata) || phase == Some("Failed") {
            groups.ignored.insert(own);
        } else if phase == Some("Pending") {
            groups.unready.insert(own);
        } else {
            match samples.get(own) {
                None => {
                    groups.missing.insert(own);
                }
                Some(sample) if is_cpu && is_unready(pod, *sample, now) => {
                    groups.unready.insert(own);
                }
                Some(_) => groups.ready += 1,
            }
        }
    }
    groups
}

/// Whether a pod's CPU says nothing about its work, because it is still starting.
fn is_unready(pod: &Pod, sample: Sample, now: Instant) -> bool {
    let start = pod.status.as_ref().and_then(|s| s.start_time.as_ref());
    let (Some(ready), Some(start)) = (condition(pod, "Ready"), start) else { return true };
    let start = Instant::from_jiff(start.0);
    let since = ready.last_transition_time.as_ref().map_or(Instant::EPOCH, |t| Instant::from_jiff(t.0));
    let not_ready = ready.status == "False";
    if start + CPU_INITIALIZATION > now {
        not_ready || sample.at < since + sample.window
    } else {
        not_ready && start + INITIAL_READINESS_DELAY > since
    }
}

impl Target<'_> {
    /// Ratio to the target, percent of the requests, and the average of a pod.
    fn ratio(&self, samples: &Samples) -> Result<(f64, i32, i64), String> {
        match self {
            Target::Average(target) => {
                let total: i64 = samples.values().map(|s| s.value).sum();
                let average = total / i64::try_from(samples.len()).unwrap_or(i64::MAX).max(1);
                Ok((average as f64 / *target as f64, 0, average))
            }
            Target::Utilization(target, requests) => {
                let known: Vec<(i64, i64)> = samples
                    .iter()
                    .filter_map(|(pod, s)| Some((s.value, *requests.get(pod.as_str())?)))
                    .collect();
                let used: i64 = known.iter().map(|(used, _)| used).sum();
                let asked: i64 = known.iter().map(|(_, asked)| asked).sum();
                if asked == 0 {
                    return Err("no metrics returned matched known pods".to_owned());
                }
                let percent = i32::try_from(used * 100 / asked).unwrap_or(i32::MAX);
                let average = used / i64::try_from(known.len()).unwrap_or(i64::MAX).max(1);
                Ok((f64::from(percent) / f64::from(*target), percent, average))
            }
        }
    }
    /// What a pod without a metric is taken to use when there seem to be too many.
    fn assumed(&self, pod: &str) -> i64 {
        match self {
            Target::Average(target) => *target,
            Target::Utilization(target, requests) => {
                requests.get(pod).copied().unwrap_or(0) * i64::from((*target).max(100)) / 100
            }
        }
    }
}

/// The refusal of metrics of which none tells anything.
pub(super) fn measured(pods: &[&Pod], samples: &Samples, is_cpu: bool, now: Instant) -> Result<(), String> {
    let groups = group(pods, samples, is_cpu, now);
    if samples
        .keys()
        .map(String::as_str)
        .all(|pod| groups.ignored.contains(pod) || groups.unready.contains(pod))
    {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    Ok(())
}

/// Replicas for a metric that pods have.
pub(super) fn of_pods(
    current: i32,
    pods: &[&Pod],
    mut samples: Samples,
    (target, is_cpu): (&Target<'_>, bool),
    tolerance: Tolerance,
    now: Instant,
) -> Result<Proposal, String> {
    measured(pods, &samples, is_cpu, now)?;
    let groups = group(pods, &samples, is_cpu, now);
    samples.retain(|pod, _| !groups.ignored.contains(pod.as_str()) && !groups.unready.contains(pod.as_str()));
    let (ratio, utilization, average) = target.ratio(&samples)?;
    let proposal = |replicas| Ok(Proposal { replicas, utilization, average });
    let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !up_with_unready && groups.missing.is_empty() {
        if tolerance.holds(ratio) {
            return proposal(current);
        }
        return proposal((ratio * groups.ready as f64).ceil() as i32);
    }
    let sample = |value| Sample { at: now, window: Span::ZERO, value };
    if ratio < 1.0 {
        samples.extend(groups.missing.iter().map(|pod| ((*pod).to_owned(), sample(target.assumed(pod)))));
    } else if ratio > 1.0 {
        samples.extend(groups.missing.iter().map(|pod| ((*pod).to_owned(), sample(0))));
    }
    if up_with_unready {
        samples.extend(groups.unready.iter().map(|pod| ((*pod).to_owned(), sample(0))));
    }
    let (again, ..) = target.ratio(&samples)?;
    let turns = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if tolerance.holds(again) || turns {
        return proposal(current);
    }
    let replicas = (again * samples.len() as f64).ceil() as i32;
    let turns = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    proposal(if turns { current } else { replicas })
}

/// Replicas for a value that belongs to no pod.
pub(super) fn of_value(
    current: i32,
    pods: &[&Pod],
    (usage, target): (i64, i64),
    tolerance: Tolerance,
) -> Result<i32, String> {
    let ratio = usage as f64 / target as f64;
    if current == 0 {
        return Ok(ratio.ceil() as i32);
    }
    if tolerance.holds(ratio) {
        return Ok(current);
    }
    if pods.is_empty() {
        let why = "no pods returned by selector while calculating replica count";
        return Err(format!("unable to calculate ready pods: {why}"));
    }
    let is_ready = |pod: &&&Pod| {
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        phase == Some("Running") && condition(pod, "Ready").is_some_and(|c| c.status == "True")
    };
    let ready = pods.iter().filter(is_ready).count();
    Ok((ratio * ready as f64).ceil() as i32)
}

/// Replicas for a value of which each pod is to have a share, and the share each has.
pub(super) fn of_shares(there: i32, (usage, target): (i64, i64), tolerance: Tolerance) -> (i32, i64) {
    let ratio = usage as f64 / (target as f64 * f64::from(there));
    let wanted = if tolerance.holds(ratio) { there } else { (usage as f64 / target as f64).ceil() as i32 };
    (wanted, (usage as f64 / f64::from(there)).ceil() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TOLERANCE: Tolerance = Tolerance { down: 0.1, up: 0.1 };

    fn pod(name: &str, phase: &str, ready: bool, started: i64) -> Pod {
        let at = Instant::from_unix_seconds(started).to_rfc3339_seconds();
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"phase": phase, "startTime": at,
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at}]}}))
        .unwrap()
    }
    fn wanted(pods: &[Pod], used: &[(&str, i64)], target: i64) -> Result<i32, String> {
        let now = Instant::from_unix_seconds(10_000);
        let all: Vec<&Pod> = pods.iter().collect();
        let sample = |value| Sample { at: now, window: Span::from_seconds(15), value };
        let samples = used.iter().map(|(pod, value)| ((*pod).to_owned(), sample(*value))).collect();
        let current = i32::try_from(pods.len()).unwrap();
        let found = of_pods(current, &all, samples, (&Target::Average(target), true), TOLERANCE, now);
        found.map(|p| p.replicas)
    }

    #[test]
    fn the_ratio_decides_beyond_the_tolerance() {
        let pods = [pod("a", "Running", true, 0), pod("b", "Running", true, 0)];
        assert_eq!(wanted(&pods, &[("a", 300), ("b", 100)], 100), Ok(4));
        assert_eq!(wanted(&pods, &[("a", 110), ("b", 110)], 100), Ok(2), "10 % are tolerated");
        assert_eq!(wanted(&pods, &[("a", 20), ("b", 20)], 100), Ok(1));
        assert!(wanted(&pods, &[], 100).is_err());
    }

    #[test]
    fn who_is_missing_or_starting_damps_the_change() {
        let mut pods = vec![pod("a", "Running", true, 0), pod("b", "Running", true, 0)];
        assert_eq!(wanted(&pods, &[("a", 400)], 100), Ok(4), "b is taken to use nothing: 200 each of two");
        assert_eq!(wanted(&pods, &[("a", 20)], 100), Ok(2), "b is taken to use its target: 60 each of two");
        pods.push(pod("c", "Pending", false, 9_990));
        assert_eq!(
            wanted(&pods, &[("a", 150), ("b", 150)], 100),
            Ok(3),
            "with c at nothing it is as it should be"
        );
        pods.push(pod("d", "Running", true, 9_990));
        assert_eq!(wanted(&pods, &[("a", 90), ("b", 90), ("d", 900)], 100), Ok(4), "d has just begun");
    }

    #[test]
    fn shares_and_values_count_differently() {
        assert_eq!(of_shares(2, (500, 100), TOLERANCE), (5, 250));
        assert_eq!(of_shares(5, (500, 100), TOLERANCE), (5, 100));
        let pods = [pod("a", "Running", true, 0), pod("b", "Running", false, 0)];
        let all: Vec<&Pod> = pods.iter().collect();
        assert_eq!(of_value(2, &all, (300, 100), TOLERANCE), Ok(3), "one of the two is ready");
        assert!(of_value(2, &[], (300, 100), TOLERANCE).is_err());
        assert_eq!(of_value(0, &[], (250, 100), TOLERANCE), Ok(3));
    }
}
