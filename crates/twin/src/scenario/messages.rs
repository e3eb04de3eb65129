//! What is told of queues of messages: a line whenever something of one changes notably, a table at the end, and every
//! change in figures.

use super::SERIES_MAX;
use super::traffic::{columns, rough, time};
use crate::QueueTraffic;
use crate::traffic::Tally;
use fleet::Span;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A queue over the whole run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueReport {
    /// Of the workload.
    pub namespace: String,
    /// Whose pods take from it.
    pub workload: String,
    /// Its own name.
    pub queue: String,
    /// All messages, by their fate.
    pub counts: Tally,
    /// The most that were seen waiting.
    pub waiting_max: i64,
    /// How it went, whenever that changed.
    pub series: Vec<QueuePoint>,
    /// Points beyond the most there may be.
    pub points_left_out: usize,
}

/// How a queue went from a time on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuePoint {
    /// Since the start, in seconds.
    pub at_seconds: f64,
    /// How it goes and what has come so far.
    #[serde(flatten)]
    pub now: QueueTraffic,
}

/// What was told of each queue.
#[derive(Debug, Default)]
pub(super) struct Telling {
    queues: BTreeMap<(String, String, String), Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// What was last told, but for what follows from the rest.
    told: [String; 4],
    series: Vec<QueuePoint>,
    more: usize,
    last: Option<QueueTraffic>,
    waiting_max: i64,
}

fn line(now: &QueueTraffic) -> String {
    let busy = if now.workers == 0 { "-".to_owned() } else { format!("{} %", rough(now.busy * 100.0)) };
    let dead = now.counts.expired + now.counts.overflowed;
    format!(
        "queue/{}  messages {}/s  taken {}/s  waiting {}  oldest {}  workers {}  busy {busy}  dead {}",
        now.name,
        rough(now.messages_per_second),
        rough(now.taken_per_second),
        rough(now.counts.waiting as f64),
        if now.oldest_seconds > 0.0 { time(Some(now.oldest_seconds)) } else { "-".to_owned() },
        now.workers,
        rough(dead as f64),
    )
}

impl Telling {
    /// Takes in how it goes, and gives the lines that are news: where a queue does otherwise, or its backlog is another by
    /// what two digits show at an instant at which something else happens too.
    pub(super) fn take(&mut self, since: Span, all: &[QueueTraffic]) -> Vec<String> {
        let mut news = Vec::new();
        for now in all {
            let key = (now.namespace.clone(), now.workload.clone(), now.name.clone());
            let own = self.queues.entry(key).or_default();
            own.waiting_max = own.waiting_max.max(now.counts.waiting);
            own.last = Some(now.clone());
            let dead = now.counts.expired + now.counts.overflowed;
            let told = [
                rough(now.messages_per_second),
                rough(now.counts.waiting as f64),
                now.workers.to_string(),
                rough(dead as f64),
            ];
            if own.told == told {
                continue;
            }
            own.told = told;
            news.push(line(now));
            if own.series.len() < SERIES_MAX {
                own.series.push(QueuePoint { at_seconds: since.as_nanos() as f64 / 1e9, now: now.clone() });
            } else {
                own.more += 1;
            }
        }
        news
    }
    /// All of it, at the end.
    pub(super) fn report(self) -> Vec<QueueReport> {
        let all = self.queues.into_iter().filter_map(|((namespace, workload, queue), own)| {
            Some(QueueReport {
                namespace,
                workload,
                queue,
                counts: own.last?.counts,
                waiting_max: own.waiting_max,
                series: own.series,
                points_left_out: own.more,
            })
        });
        all.collect()
    }
}

/// What an expectation about a queue is held against.
pub(super) fn document(now: &QueueTraffic) -> Value {
    let mut doc = json!({
        "messagesPerSecond": now.messages_per_second, "takenPerSecond": now.taken_per_second,
        "oldestSeconds": now.oldest_seconds, "workers": now.workers, "busy": now.busy,
        "dead": now.counts.expired + now.counts.overflowed,
    });
    if let (Some(doc), Value::Object(counts)) = (doc.as_object_mut(), json!(now.counts)) {
        doc.extend(counts);
    }
    doc
}

/// The table of all messages, by their fate.
pub(super) fn table(all: &[QueueReport]) -> Vec<String> {
    let head =
        ["QUEUE", "MESSAGES", "DONE", "EXPIRED", "OVERFLOWED", "OPEN", "GIVEN OUT AGAIN", "MOST WAITING"];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).into()];
    for own in all {
        let counts = &own.counts;
        let numbers = [
            counts.messages,
            counts.done,
            counts.expired,
            counts.overflowed,
            counts.open,
            counts.redelivered,
            own.waiting_max,
        ];
        let numbers = numbers.iter().map(i64::to_string);
        rows.push(std::iter::once(own.queue.clone()).chain(numbers).collect());
    }
    columns(&rows)
}
