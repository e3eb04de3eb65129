//! Durations learnt from earlier runs of the same owner or name, for Jobs that state none.

use fleet::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Runs remembered per name.
const RUNS_MAX: usize = 20;
/// Names remembered.
const NAMES_MAX: usize = 20_000;
/// Few runs say little about the longest: the longest seen is widened by 1 + 1/n of n runs.
fn widened(longest: Span, runs: usize) -> Span {
    let runs = i64::try_from(runs.max(1)).unwrap_or(1);
    longest.scaled(runs + 1, runs)
}

/// Who says how long a Job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "from")]
pub enum RunTimeFrom {
    /// Its owner.
    Stated,
    /// So many of its last runs: the longest, widened while they are few.
    Learnt {
        /// How many.
        runs: usize,
    },
    /// The policy, because nothing is known.
    Assumed,
}

/// How long a Job is expected to run in all, without margins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunTime {
    /// From its first start to its end, pauses left out.
    pub expected: Span,
    /// Who says so.
    #[serde(flatten)]
    pub from: RunTimeFrom,
}

impl RunTime {
    /// As people read it.
    pub fn sentence(&self) -> String {
        let expected = self.expected;
        match self.from {
            RunTimeFrom::Stated => format!("{expected}, as it states"),
            RunTimeFrom::Learnt { runs: 1 } => format!("{expected}, learnt from the one run that is known"),
            RunTimeFrom::Learnt { runs } => format!("{expected}, learnt from its last {runs} runs"),
            RunTimeFrom::Assumed => {
                format!("{expected}, assumed: it states nothing, and no earlier run is known")
            }
        }
    }
}

/// Run times by the stem of the Job's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt(BTreeMap<String, Vec<Span>>);

impl Learnt {
    /// Takes in a run that succeeded.
    pub fn take_in(&mut self, stem: String, took: Span) {
        if self.0.len() >= NAMES_MAX && !self.0.contains_key(&stem) {
            return;
        }
        let runs = self.0.entry(stem).or_default();
        if runs.len() == RUNS_MAX {
            runs.remove(0);
        }
        runs.push(took);
    }
    /// Takes in a ledger line, after a restart. The line has no owner, so only names teach again.
    pub fn take_in_entry(&mut self, entry: &ledger::Entry) {
        if entry.succeeded && entry.replaces.is_none() {
            let name = entry.job.name.as_str();
            let head = name.rsplit_once('-').map_or(name, |(head, _)| head);
            // As its owner asked for it, whatever it ran with.
            let took = entry.baseline.to - entry.baseline.from;
            self.take_in(format!("{}/{head}", entry.job.namespace), took);
        }
    }
    /// What a Job of this stem may be expected to last: the longest of the last runs, widened while
    /// they are few. `None` when nothing is known.
    pub fn expected(&self, stem: &str) -> Option<RunTime> {
        let runs = self.0.get(stem)?;
        let expected = widened(runs.iter().copied().max()?, runs.len());
        Some(RunTime { expected, from: RunTimeFrom::Learnt { runs: runs.len() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_run_is_widened_while_runs_are_few() {
        let mut learnt = Learnt::default();
        assert_eq!(learnt.expected("a/b"), None);
        learnt.take_in("a/b".to_owned(), Span::HOUR);
        let said = |learnt: &Learnt| learnt.expected("a/b").map(|run_time| run_time.sentence());
        assert_eq!(said(&learnt).as_deref(), Some("2h, learnt from the one run that is known"));
        for _ in 0..30 {
            learnt.take_in("a/b".to_owned(), Span::from_seconds(1200));
        }
        assert_eq!(said(&learnt).as_deref(), Some("21m, learnt from its last 20 runs"));
    }
}
