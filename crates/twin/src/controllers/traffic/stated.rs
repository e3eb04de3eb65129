//! What the annotations of a Service say of its requests.
//!
//! All begin with `traffic.twin.kubercarbon.io/`. Only `requests` is needed; a value that cannot be read counts as not
//! stated.

use super::crossing::{Answers, BYTES_MAX};
use crate::apiserver::quantity::{NANO, Quantity};
use crate::apiserver::selector::LabelSelector;
use crate::load;
use crate::traffic::{Curve, PER_SECOND, Setting, station};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// Before the name of what is stated.
pub(crate) const PREFIX: &str = "traffic.twin.kubercarbon.io/";

/// How long serving a request takes on average; assumed.
const SERVICE_TIME: Span = Span::from_millis(100);
/// How long clients wait; assumed (many clients and proxies have 30 or 60 s).
const TIMEOUT: Span = Span::from_seconds(30);
/// From a change of endpoints until all clients go by it: kube-proxy writes its rules at most once in so long
/// (`--iptables-min-sync-period`), and slices reach it within some tens of milliseconds; assumed.
const PROPAGATION: Span = Span::from_seconds(1);
/// Longest time of any kind that is read, and largest variability.
const SPAN_MAX: Span = Span::DAY;
const SCV_MILLI_MAX: i64 = 100_000;
/// Most requests that may wait at a pod by statement.
const QUEUE_MAX: u32 = 10_000_000;

/// What a pod can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capacity {
    /// Millionths of a request a second.
    pub(crate) rate: i64,
    /// How many requests it serves at a time without slowing any down.
    pub(crate) workers: u32,
}

/// What is said of the requests to a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stated {
    curve: Curve,
    service_time: Span,
    scv_milli: i64,
    workers: u32,
    /// CPU time of one request, in nanocores × seconds.
    cpu: i64,
    timeout: Span,
    queue_max: Option<u32>,
    pub(crate) propagation: Span,
    /// What answers weigh, if that is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answers: Option<Answers>,
}

impl Stated {
    /// Reads it; `None`: nothing is said, or not how many requests come. A curve that is given comes before one that is
    /// stated.
    pub(crate) fn read(meta: &ObjectMeta, given: Option<&Curve>) -> Option<Stated> {
        let text =
            |key: &str| meta.annotations.as_ref()?.get(&format!("{PREFIX}{key}")).map(|text| text.trim());
        let span =
            |key: &str| text(key).and_then(|text| Span::parse(text).ok()).filter(|span| *span <= SPAN_MAX);
        let amount = |key: &str, unit: i128, most: i64| {
            let nanos = Quantity::parse(text(key)?).ok()?.nanos();
            i64::try_from(nanos / unit).ok().filter(|value| (0..=most).contains(value))
        };
        let count = |key: &str| amount(key, NANO, i64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok());
        let positive = |span: &Span| *span > Span::ZERO;
        let service_time = span("service-time").filter(positive).unwrap_or(SERVICE_TIME);
        Some(Stated {
            curve: given.cloned().or_else(|| Curve::parse(text("requests")?))?,
            service_time,
            scv_milli: amount("variability", NANO / 1000, SCV_MILLI_MAX).unwrap_or(1000),
            workers: count("concurrency").filter(|n| (1..=station::WORKERS_MAX).contains(n)).unwrap_or(1),
            cpu: amount("cpu-per-request", 1, i64::MAX).unwrap_or(service_time.as_nanos()),
            timeout: span("timeout").filter(positive).unwrap_or(TIMEOUT),
            queue_max: count("queue").filter(|n| *n <= QUEUE_MAX),
            propagation: span("propagation").unwrap_or(PROPAGATION),
            answers: amount("bytes", NANO, BYTES_MAX).filter(|bytes| *bytes > 0).map(|bytes| Answers {
                bytes,
                clients: text("clients").filter(|own| LabelSelector::parse(own).is_ok()).map(str::to_owned),
            }),
        })
    }
    /// How many requests come, in millionths a second, and when that changes next.
    pub(crate) fn rate(&self, made: Instant, now: Instant) -> (i64, Option<Instant>) {
        self.curve.now(made, now)
    }
    /// What a pod can answer: its workers', or what its CPU limit has room for if that is less. Requests that share a CPU
    /// are taken to be served one after the other: of exponential ones the mean is the same.
    pub(crate) fn capacity(&self, pod: &Pod) -> Capacity {
        let nanos = i128::from(self.service_time.as_nanos().max(1));
        let by_workers = i128::from(self.workers) * i128::from(PER_SECOND) * 1_000_000_000 / nanos;
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        // No limit has room for more than this many nanocores, and sums of them do not overflow.
        let limits = containers.map(|c| load::limit(c, "cpu").map(|nanos| nanos.min(i128::from(i64::MAX))));
        let limit = limits.sum::<Option<i128>>();
        let by_cpu =
            limit.filter(|_| self.cpu > 0).map(|limit| limit * i128::from(PER_SECOND) / i128::from(self.cpu));
        let rate = by_cpu.map_or(by_workers, |by_cpu| by_cpu.min(by_workers));
        let at_full_speed = rate * nanos / (i128::from(PER_SECOND) * 1_000_000_000);
        Capacity {
            rate: i64::try_from(rate).unwrap_or(i64::MAX).max(1),
            workers: u32::try_from(at_full_speed).unwrap_or(self.workers).clamp(1, self.workers),
        }
    }
    /// Nanocores that so many millionths of a request a second take.
    pub(crate) fn cpu_of(&self, rate: i64) -> i64 {
        let nanos = i128::from(rate) * i128::from(self.cpu) / i128::from(PER_SECOND);
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
    /// How things stand with so many pods.
    pub(crate) fn setting(&self, rate: i64, (targets, serving): (u32, u32), capacity: Capacity) -> Setting {
        Setting {
            rate,
            targets,
            serving,
            capacity: capacity.rate,
            workers: capacity.workers.max(1),
            scv_milli: self.scv_milli,
            timeout: self.timeout,
            queue_max: self.queue_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(annotations: &[(&str, &str)]) -> Option<Stated> {
        let all = annotations.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()));
        Stated::read(&ObjectMeta { annotations: Some(all.collect()), ..ObjectMeta::default() }, None)
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("requests", "many"), ("timeout", "5s")]), None);
        let plain = read(&[("requests", "20")]).unwrap();
        let odd =
            read(&[("requests", "20"), ("timeout", "0s"), ("concurrency", "0"), ("service-time", "soon")]);
        assert_eq!(odd.unwrap(), plain, "what cannot be read is not there");
        assert_eq!((plain.cpu, plain.workers, plain.scv_milli), (100_000_000, 1, 1000));
        let own = read(&[
            ("requests", "20"),
            ("service-time", "250ms"),
            ("variability", "0.5"),
            ("concurrency", "8"),
            ("cpu-per-request", "20m"),
            ("queue", "100"),
        ])
        .unwrap();
        assert_eq!((own.cpu, own.workers, own.scv_milli, own.queue_max), (20_000_000, 8, 500, Some(100)));
    }

    #[test]
    fn a_limit_of_cpu_slows_a_pod_down() {
        let pod = |limits: &[&str]| -> Pod {
            let container = |limit: &&str| match *limit {
                "" => json!({"name": "c", "image": "i"}),
                limit => json!({"name": "c", "image": "i", "resources": {"limits": {"cpu": limit}}}),
            };
            let containers: Vec<_> = limits.iter().map(container).collect();
            serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap()
        };
        // 100 ms each, all of it on a CPU, four at a time.
        let own = read(&[("requests", "20"), ("concurrency", "4")]).unwrap();
        let capacity = |limits: &[&str]| {
            let Capacity { rate, workers } = own.capacity(&pod(limits));
            (rate / PER_SECOND, workers)
        };
        assert_eq!((capacity(&[""]), capacity(&["8"])), ((40, 4), (40, 4)));
        assert_eq!((capacity(&["1"]), capacity(&["500m", "1500m"])), ((10, 1), (20, 2)));
        assert_eq!((capacity(&["500m"]), capacity(&["1", ""])), ((5, 1), (40, 4)));
        assert_eq!(own.cpu_of(25 * PER_SECOND), 2_500_000_000);
    }
}
