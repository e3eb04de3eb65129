//! How many replicas a metric asks for (`replica_calculator.go` of Kubernetes 1.36).
//!
//! Values are thousandths (of a core, a byte, a request per second…). Ratios are floating point, as in the real
//! controller, so that they round alike.

use super::sight::{Facts, Phase, Ready, Sighted};
use fleet::{Instant, Span};
use std::collections::BTreeMap;

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

/// Something of each of the pods that are looked at, by their places, and of others.
#[derive(Clone, Debug)]
pub struct ByPod<T> {
    /// Of the pods, `None` where there is nothing.
    pub own: Vec<Option<T>>,
    /// Of pods that are not among them.
    pub others: Vec<T>,
}

impl<T> Default for ByPod<T> {
    fn default() -> ByPod<T> {
        ByPod { own: Vec::new(), others: Vec::new() }
    }
}

impl<T> ByPod<T> {
    /// From the names of pods.
    pub fn named(pods: &[Sighted<'_>], all: impl IntoIterator<Item = (String, T)>) -> ByPod<T> {
        let mut all: BTreeMap<String, T> = all.into_iter().collect();
        let own = pods.iter().map(|pod| all.remove(pod.name())).collect();
        ByPod { own, others: all.into_values().collect() }
    }
    /// Whether there is nothing of any pod.
    pub fn is_empty(&self) -> bool {
        self.others.is_empty() && self.own.iter().all(Option::is_none)
    }
    /// The same of something else, where there is something.
    pub fn map<U>(&self, of: impl Fn(&T) -> Option<U>) -> ByPod<U> {
        let own = self.own.iter().map(|each| each.as_ref().and_then(&of)).collect();
        ByPod { own, others: self.others.iter().filter_map(of).collect() }
    }
}

/// Samples by pod.
pub(super) type Samples = ByPod<Sample>;

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

/// What a pod's metric is worth.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Ready,
    Unready,
    Missing,
    Ignored,
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
    /// Percent of what each pod requests, in thousandths, by the pods' places.
    Utilization(i32, &'a [i64]),
    /// Thousandths a pod.
    Average(i64),
}

fn groups(pods: &[Sighted<'_>], samples: &Samples, is_cpu: bool, now: Instant) -> Vec<Group> {
    let of = |(pod, sample): (&Sighted<'_>, &Option<Sample>)| match (pod.facts.phase, sample) {
        (phase, _) if pod.facts.deleting || phase == Phase::Failed => Group::Ignored,
        (Phase::Pending, _) => Group::Unready,
        (_, None) => Group::Missing,
        (_, Some(sample)) if is_cpu && is_unready(&pod.facts, *sample, now) => Group::Unready,
        _ => Group::Ready,
    };
    pods.iter().zip(&samples.own).map(of).collect()
}

/// Whether a pod's CPU says nothing about its work, because it is still starting.
fn is_unready(pod: &Facts, sample: Sample, now: Instant) -> bool {
    let (Some((ready, since)), Some(start)) = (pod.ready, pod.start) else { return true };
    let not_ready = ready == Ready::No;
    if start + CPU_INITIALIZATION > now {
        not_ready || sample.at < since + sample.window
    } else {
        not_ready && start + INITIAL_READINESS_DELAY > since
    }
}

/// What counts of a metric, in thousandths.
struct Values {
    own: Vec<Option<i64>>,
    others: Vec<i64>,
}

impl Values {
    fn count(&self) -> usize {
        self.own.iter().flatten().count() + self.others.len()
    }
}

impl Target<'_> {
    /// Ratio to the target, percent of the requests, and the average of a pod.
    fn ratio(&self, values: &Values) -> Result<(f64, i32, i64), String> {
        match self {
            Target::Average(target) => {
                let total: i64 = values.own.iter().flatten().chain(&values.others).sum();
                let average = total / i64::try_from(values.count()).unwrap_or(i64::MAX).max(1);
                Ok((average as f64 / *target as f64, 0, average))
            }
            Target::Utilization(target, requests) => {
                let known = values.own.iter().zip(*requests);
                let known = known.filter_map(|(used, asked)| Some(((*used)?, *asked)));
                let sum = |(used, asked, count), (one, its)| (used + one, asked + its, count + 1);
                let (used, asked, count): (i64, i64, i64) = known.fold((0, 0, 0), sum);
                if asked == 0 {
                    return Err("no metrics returned matched known pods".to_owned());
                }
                let percent = i32::try_from(used * 100 / asked).unwrap_or(i32::MAX);
                Ok((f64::from(percent) / f64::from(*target), percent, used / count.max(1)))
            }
        }
    }
    /// What a pod without a metric is taken to use when there seem to be too many.
    fn assumed(&self, place: usize) -> i64 {
        match self {
            Target::Average(target) => *target,
            Target::Utilization(target, requests) => {
                requests.get(place).copied().unwrap_or(0) * i64::from((*target).max(100)) / 100
            }
        }
    }
}

/// The refusal of metrics of which none tells anything.
pub(super) fn measured(
    pods: &[Sighted<'_>],
    samples: &Samples,
    is_cpu: bool,
    now: Instant,
) -> Result<(), String> {
    tells(&groups(pods, samples, is_cpu, now), samples)
}

fn tells(groups: &[Group], samples: &Samples) -> Result<(), String> {
    let tells = |(sample, group): (&Option<Sample>, &Group)| {
        sample.is_some() && !matches!(group, Group::Ignored | Group::Unready)
    };
    if samples.others.is_empty() && !samples.own.iter().zip(groups).any(tells) {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    Ok(())
}

/// Replicas for a metric that pods have.
pub(super) fn of_pods(
    current: i32,
    pods: &[Sighted<'_>],
    samples: &Samples,
    (target, is_cpu): (&Target<'_>, bool),
    tolerance: Tolerance,
    now: Instant,
) -> Result<Proposal, String> {
    let groups = groups(pods, samples, is_cpu, now);
    tells(&groups, samples)?;
    let counts = |(sample, group): (&Option<Sample>, &Group)| {
        sample.filter(|_| !matches!(group, Group::Ignored | Group::Unready)).map(|sample| sample.value)
    };
    let own = samples.own.iter().zip(&groups).map(counts).collect();
    let mut values = Values { own, others: samples.others.iter().map(|sample| sample.value).collect() };
    let has = |group: Group| groups.contains(&group);
    let (ratio, utilization, average) = target.ratio(&values)?;
    let proposal = |replicas| Ok(Proposal { replicas, utilization, average });
    let up_with_unready = has(Group::Unready) && ratio > 1.0;
    if !up_with_unready && !has(Group::Missing) {
        if tolerance.holds(ratio) {
            return proposal(current);
        }
        let ready = groups.iter().filter(|group| **group == Group::Ready).count();
        return proposal((ratio * ready as f64).ceil() as i32);
    }
    for (place, group) in groups.iter().enumerate() {
        match group {
            Group::Missing if ratio < 1.0 => values.own[place] = Some(target.assumed(place)),
            Group::Missing if ratio > 1.0 => values.own[place] = Some(0),
            Group::Unready if up_with_unready => values.own[place] = Some(0),
            _ => {}
        }
    }
    let (again, ..) = target.ratio(&values)?;
    let turns = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if tolerance.holds(again) || turns {
        return proposal(current);
    }
    let replicas = (again * values.count() as f64).ceil() as i32;
    let turns = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    proposal(if turns { current } else { replicas })
}

/// Replicas for a value that belongs to no pod.
pub(super) fn of_value(
    current: i32,
    pods: &[Sighted<'_>],
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
    let is_ready = |pod: &&Sighted<'_>| {
        pod.facts.phase == Phase::Running && pod.facts.ready.is_some_and(|(says, _)| says == Ready::Yes)
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
    use k8s_openapi::api::core::v1::Pod;
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
        let all: Vec<Sighted<'_>> = pods.iter().map(Sighted::new).collect();
        let sample = |value| Sample { at: now, window: Span::from_seconds(15), value };
        let samples =
            Samples::named(&all, used.iter().map(|(pod, value)| ((*pod).to_owned(), sample(*value))));
        let current = i32::try_from(pods.len()).unwrap();
        let found = of_pods(current, &all, &samples, (&Target::Average(target), true), TOLERANCE, now);
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
        let all: Vec<Sighted<'_>> = pods.iter().map(Sighted::new).collect();
        assert_eq!(of_value(2, &all, (300, 100), TOLERANCE), Ok(3), "one of the two is ready");
        assert!(of_value(2, &[], (300, 100), TOLERANCE).is_err());
        assert_eq!(of_value(0, &[], (250, 100), TOLERANCE), Ok(3));
    }
}
