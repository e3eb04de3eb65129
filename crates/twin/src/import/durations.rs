//! How long Jobs of a cluster last that do not say so themselves: as finished Jobs of the same owner or name did.
//!
//! Invariant: what is known comes from the Jobs that were imported and does not change. Where none of a name had
//! finished, a Job is taken to last [`UNKNOWN`].

use crate::controllers::job::finished_at;
use fleet::{Instant, Span};
use k8s_openapi::api::batch::v1::Job;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a Job is taken to last of which nothing is known: as the placement policy takes it (`unknownDuration`).
pub(crate) const UNKNOWN: Span = Span::HOUR;
/// Longest part after the last dash of a name that tells runs of one thing apart, as CronJobs and people append it.
const SUFFIX_MAX: usize = 10;

/// Run times by what the Jobs have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Durations {
    learnt: BTreeMap<String, Span>,
}

/// What a Job's name has in common with its siblings: its owner, else its name without what is appended.
fn stem(job: &Job) -> String {
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let owner = job.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    if let Some(owner) = owner {
        return format!("{namespace}/{}/{}", owner.kind, owner.name);
    }
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let head = name.rsplit_once('-').filter(|(head, tail)| tail.len() <= SUFFIX_MAX && !head.is_empty());
    format!("{namespace}/{}", head.map_or(name, |(head, _)| head))
}

/// How long a Job ran that succeeded.
fn took(job: &Job) -> Option<Span> {
    let status = job.status.as_ref()?;
    let start = Instant::from_jiff(status.start_time.as_ref()?.0);
    let end = Instant::from_jiff(status.completion_time.as_ref()?.0);
    finished_at(job).filter(|_| end > start).map(|_| end - start)
}

impl Durations {
    /// What these Jobs teach: of each name the median.
    pub(crate) fn learn<'a>(jobs: impl Iterator<Item = &'a Job>) -> Durations {
        let mut all: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for job in jobs {
            if let Some(took) = took(job) {
                all.entry(stem(job)).or_default().push(took);
            }
        }
        let median = |mut spans: Vec<Span>| {
            spans.sort();
            spans[spans.len() / 2]
        };
        Durations { learnt: all.into_iter().map(|(stem, spans)| (stem, median(spans))).collect() }
    }
    /// How long a whole Job is taken to last.
    pub(crate) fn expected(&self, job: &Job) -> Span {
        self.learnt.get(&stem(job)).copied().unwrap_or(UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(name: &str, owner: Option<&str>, minutes: Option<i64>) -> Job {
        let start = Instant::parse("2026-05-01T00:00:00Z").unwrap();
        let mut status = json!({"startTime": start.to_rfc3339_seconds()});
        if let Some(minutes) = minutes {
            let end = (start + Span::MINUTE.scaled(minutes, 1)).to_rfc3339_seconds();
            status["completionTime"] = json!(end);
            status["conditions"] = json!([{"type": "Complete", "status": "True", "lastTransitionTime": end}]);
        }
        let owners = owner.map(|name| json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": "u", "controller": true}]));
        let meta = json!({"name": name, "namespace": "a", "ownerReferences": owners});
        serde_json::from_value(json!({"metadata": meta, "spec": {"template": {}}, "status": status})).unwrap()
    }

    #[test]
    fn siblings_teach_their_median_and_others_nothing() {
        let jobs = [
            job("report-1", None, Some(10)),
            job("report-2", None, Some(30)),
            job("report-3", None, Some(20)),
            job("x", Some("nightly"), Some(40)),
            job("other-1", None, None),
        ];
        let known = Durations::learn(jobs.iter());
        let minutes = |job: Job| known.expected(&job).as_seconds() / 60;
        assert_eq!(minutes(job("report-77", None, None)), 20);
        assert_eq!(minutes(job("y", Some("nightly"), None)), 40);
        assert_eq!(minutes(job("other-2", None, None)), 60, "nobody finished");
    }
}
