//! What the annotations of a workload say of the queues its pods take messages from.
//!
//! `queue.twin.kubercarbon.io/NAME` is one queue: `rate=0s=0,1m=20; takes=500ms; priority=10; ttl=60s; length=1000;
//! variability=1`. `workers.twin.kubercarbon.io/KEY` says what a pod does: `concurrency`, `prefetch`, `cpu`. A queue that
//! cannot be read counts as not stated.

use crate::apiserver::quantity::{NANO, Quantity};
use crate::traffic::{Curve, Terms, station};
use fleet::{Instant, Span};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Before the name of a queue.
pub(crate) const QUEUE: &str = "queue.twin.kubercarbon.io/";
/// Before what is said of workers.
const WORKERS: &str = "workers.twin.kubercarbon.io/";
/// Most queues of a workload.
const QUEUES_MAX: usize = 100;
/// How long a message keeps a worker; assumed.
const TAKES: Span = Span::from_seconds(1);
/// Longest time of any kind that is read.
const SPAN_MAX: Span = Span::from_seconds(30 * 86_400);
/// Largest priority either way, and most messages a queue holds or a worker is given beforehand.
const PRIORITY_MAX: i64 = 1_000_000;
const LENGTH_MAX: u64 = 1_000_000_000;
const PREFETCH_MAX: u32 = 65_535;

/// One queue as stated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Queue {
    curve: Curve,
    /// Its rate left out.
    terms: Terms,
}

/// What is said of a workload's queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stated {
    queues: BTreeMap<Arc<str>, Queue>,
    /// Messages a pod works on at a time, and how many it is given beforehand for each.
    pub(crate) concurrency: u32,
    pub(crate) prefetch: u32,
    /// Nanocores a busy worker uses.
    pub(crate) cpu: i64,
}

fn queue(text: &str) -> Option<Queue> {
    let mut curve = None;
    let mut terms =
        Terms { rate: 0, takes: TAKES, scv_milli: 1000, priority: 0, ttl: None, length_max: None };
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=')?;
        let span = || Span::parse(value.trim()).ok().filter(|span| *span > Span::ZERO && *span <= SPAN_MAX);
        match key.trim() {
            "rate" => curve = Some(Curve::parse(value)?),
            "takes" => terms.takes = span()?,
            "ttl" => terms.ttl = Some(span()?),
            "priority" => {
                let read = value.trim().parse::<i64>().ok();
                terms.priority = read.filter(|priority| priority.abs() <= PRIORITY_MAX)?;
            }
            "length" => {
                let read = value.trim().parse().ok();
                terms.length_max = Some(read.filter(|length| *length <= LENGTH_MAX)?);
            }
            "variability" => {
                let nanos = Quantity::parse(value.trim()).ok()?.nanos();
                let read = i64::try_from(nanos / (NANO / 1000)).ok();
                terms.scv_milli = read.filter(|scv| (0..=100_000).contains(scv))?;
            }
            _ => return None,
        }
    }
    Some(Queue { curve: curve?, terms })
}

impl Stated {
    /// Reads it; `None`: there is no queue.
    pub(crate) fn read(meta: &ObjectMeta) -> Option<Stated> {
        let all = meta.annotations.iter().flatten();
        let named = all.filter_map(|(key, text)| Some((key.strip_prefix(QUEUE)?, queue(text)?)));
        let queues: BTreeMap<Arc<str>, Queue> =
            named.take(QUEUES_MAX).map(|(name, queue)| (name.into(), queue)).collect();
        if queues.is_empty() {
            return None;
        }
        let text = |key: &str| meta.annotations.as_ref()?.get(&format!("{WORKERS}{key}"));
        let number = |key: &str, most: u32| {
            let read = text(key).and_then(|text| text.trim().parse::<u32>().ok());
            read.filter(|number| (1..=most).contains(number)).unwrap_or(1)
        };
        let cpu = text("cpu").and_then(|text| Quantity::parse(text.trim()).ok());
        let cpu = cpu.and_then(|cpu| i64::try_from(cpu.nanos()).ok()).filter(|nanos| *nanos >= 0);
        Some(Stated {
            queues,
            concurrency: number("concurrency", station::WORKERS_MAX),
            prefetch: number("prefetch", PREFETCH_MAX),
            cpu: cpu.unwrap_or(1_000_000_000),
        })
    }
    /// Every queue as it is now, and when the first of them changes.
    pub(crate) fn terms(&self, made: Instant, now: Instant) -> (Vec<(Arc<str>, Terms)>, Option<Instant>) {
        let mut next = None;
        let each = self.queues.iter().map(|(name, queue)| {
            let (rate, then) = queue.curve.now(made, now);
            next = then.into_iter().chain(next).min();
            (name.clone(), Terms { rate, ..queue.terms.clone() })
        });
        let all = each.collect();
        (all, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read() {
        let read = |annotations: &[(&str, &str)]| {
            let all = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            Stated::read(&ObjectMeta { annotations: Some(all.collect()), ..ObjectMeta::default() })
        };
        let own = read(&[
            (
                "queue.twin.kubercarbon.io/fast",
                "rate=0s=0,1m=20; takes=500ms; priority=10; ttl=60s; length=1000",
            ),
            ("queue.twin.kubercarbon.io/odd", "rate=5; speed=9"),
            ("workers.twin.kubercarbon.io/concurrency", "4"),
            ("workers.twin.kubercarbon.io/cpu", "50m"),
        ])
        .unwrap();
        assert_eq!((own.queues.len(), own.concurrency, own.prefetch, own.cpu), (1, 4, 1, 50_000_000));
        let (terms, next) = own.terms(Instant::EPOCH, Instant::EPOCH + Span::from_seconds(60));
        assert_eq!(next, None);
        let expected = Terms {
            rate: 20_000_000,
            takes: Span::from_millis(500),
            scv_milli: 1000,
            priority: 10,
            ttl: Some(Span::MINUTE),
            length_max: Some(1000),
        };
        assert_eq!(terms, [("fast".into(), expected)]);
        for wrong in ["", "takes=1s", "rate=x", "rate=1; ttl=0s", "rate=1; length=-1", "rate"] {
            assert_eq!(read(&[("queue.twin.kubercarbon.io/q", wrong)]), None, "{wrong}");
        }
    }
}
