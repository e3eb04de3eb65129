//! What is told of the requests to Services: a line whenever something of them changes notably, a table at the end, and
//! every change in figures.

use super::SERIES_MAX;
use crate::ServiceTraffic;
use crate::traffic::Counts;
use fleet::Span;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The requests to a Service over the whole run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// All requests, by their fate.
    pub counts: Counts,
    /// Milliseconds within which half of the answers were there, at most 7 % above it; `None`: there were none.
    pub p50_milliseconds: Option<f64>,
    /// The same of 95 %.
    pub p95_milliseconds: Option<f64>,
    /// The same of 99 %.
    pub p99_milliseconds: Option<f64>,
    /// How it went, whenever that changed.
    pub series: Vec<Point>,
    /// Points beyond the most there may be.
    pub points_left_out: usize,
}

/// How it went from a time on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Since the start, in seconds.
    pub at_seconds: f64,
    /// How it goes and what has come so far.
    #[serde(flatten)]
    pub now: ServiceTraffic,
}

/// What was told of each Service.
#[derive(Debug, Default)]
pub(super) struct Telling {
    services: BTreeMap<(String, String), Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// The last line.
    line: String,
    series: Vec<Point>,
    more: usize,
    last: Option<ServiceTraffic>,
}

fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

/// A figure with two digits that count: a line is told when one of them changes.
pub(super) fn rough(value: f64) -> String {
    if value <= 0.0 {
        return "0".to_owned();
    }
    if value >= 100.0 {
        let mut unit = 1.0;
        while value / unit >= 100.0 {
            unit *= 10.0;
        }
        return format!("{}", (value / unit).round() * unit);
    }
    let digits = if value >= 9.95 {
        0
    } else if value >= 0.995 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

pub(super) fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds >= 1.0 => format!("{} s", rough(seconds)),
        Some(seconds) => format!("{} ms", rough(seconds * 1000.0)),
    }
}

fn line(now: &ServiceTraffic) -> String {
    let pace = &now.pace;
    let pods = if now.serving == now.targets {
        format!("{}", now.serving)
    } else {
        format!("{} of {}", now.serving, now.targets)
    };
    let load =
        if now.serving == 0 { "-".to_owned() } else { format!("{} %", rough(pace.utilisation * 100.0)) };
    format!(
        "service/{}  requests {}/s  pods {pods}  load {load}  p50 {}  p95 {}  p99 {}  errors {}/s",
        now.name,
        rough(pace.requests_per_second),
        time(pace.p50_seconds),
        time(pace.p95_seconds),
        time(pace.p99_seconds),
        rough(pace.errors_per_second),
    )
}

impl Telling {
    /// Takes in how it goes, and gives the lines that are news.
    pub(super) fn take(&mut self, since: Span, all: &[ServiceTraffic]) -> Vec<String> {
        let mut news = Vec::new();
        for now in all {
            let own = self.services.entry((now.namespace.clone(), now.name.clone())).or_default();
            let same = own.last.as_ref().is_some_and(|last| {
                (last.pace, last.serving, last.targets) == (now.pace, now.serving, now.targets)
            });
            own.last = Some(now.clone());
            if same {
                continue;
            }
            if own.series.len() < SERIES_MAX {
                let at_seconds = since.as_nanos() as f64 / 1e9;
                own.series.push(Point { at_seconds, now: now.clone() });
            } else {
                own.more += 1;
            }
            let line = line(now);
            if own.line != line {
                own.line.clone_from(&line);
                news.push(line);
            }
        }
        news
    }
    /// All of it, at the end.
    pub(super) fn report(self) -> Vec<Traffic> {
        let all = self.services.into_iter().filter_map(|((namespace, service), own)| {
            let last = own.last?;
            let [p50, p95, p99] = last.answered_within_seconds.map(|within| within.map(milliseconds));
            Some(Traffic {
                namespace,
                service,
                counts: last.counts,
                p50_milliseconds: p50,
                p95_milliseconds: p95,
                p99_milliseconds: p99,
                series: own.series,
                points_left_out: own.more,
            })
        });
        all.collect()
    }
}

/// What an expectation about the requests to a Service is held against.
pub(super) fn document(now: &ServiceTraffic) -> Value {
    let milli = |seconds: Option<f64>| seconds.map(milliseconds);
    let (pace, counts) = (&now.pace, &now.counts);
    let [all_p50, all_p95, all_p99] = now.answered_within_seconds.map(milli);
    let mut doc = json!({
        "targets": now.targets, "serving": now.serving,
        "requestsPerSecond": pace.requests_per_second, "errorsPerSecond": pace.errors_per_second,
        "utilisation": pace.utilisation, "failed": counts.failed(),
        "p50Milliseconds": milli(pace.p50_seconds), "p95Milliseconds": milli(pace.p95_seconds),
        "p99Milliseconds": milli(pace.p99_seconds),
        "soFar": {"p50Milliseconds": all_p50, "p95Milliseconds": all_p95, "p99Milliseconds": all_p99},
    });
    if let (Some(doc), Value::Object(counts)) = (doc.as_object_mut(), json!(counts)) {
        doc.extend(counts);
    }
    doc
}

/// The table of all requests, by their fate.
pub(super) fn table(all: &[Traffic]) -> Vec<String> {
    let head = [
        "SERVICE",
        "REQUESTS",
        "ANSWERED",
        "REFUSED",
        "QUEUE FULL",
        "TIMED OUT",
        "CUT",
        "UNDER WAY",
        "P50",
        "P95",
        "P99",
    ];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).into()];
    for own in all {
        let counts = &own.counts;
        let mut row = vec![own.service.clone()];
        let numbers = [
            counts.requests,
            counts.answered,
            counts.refused,
            counts.queue_full,
            counts.timed_out,
            counts.cut,
            counts.under_way,
        ];
        row.extend(numbers.map(|number| number.to_string()));
        let times = [own.p50_milliseconds, own.p95_milliseconds, own.p99_milliseconds];
        row.extend(times.map(|milli| time(milli.map(|milli| milli / 1000.0))));
        rows.push(row);
    }
    columns(&rows)
}

/// Rows with their cells under each other, the first column to the left.
pub(super) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let many = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..many).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let text = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_two_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (0.004, "0"),
            (0.126, "0.13"),
            (0.999, "1"),
            (1.0, "1"),
            (4.25, "4.2"),
            (9.97, "10"),
            (42.4, "42"),
            (123.0, "120"),
            (99_500.0, "100000"),
        ] {
            assert_eq!(rough(value), text, "{value}");
        }
        assert_eq!(
            (time(Some(0.0214)), time(Some(2.34)), time(None)),
            ("21 ms".into(), "2.3 s".into(), "-".into())
        );
    }
}
