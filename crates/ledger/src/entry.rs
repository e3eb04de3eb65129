//! Ledger lines: what one finished Job burnt, and what it would have burnt at once, at home.
//!
//! Invariants: `actual` is the sum of the runs and the transfer; a line is never changed after it was
//! written (its id is stable, so a second writing of the same line changes nothing): a later version is a line of its
//! own, and readers take the latest ([`latest`]). Times are the fleet's own.

use crate::correction::{base, version};
use crate::footprint::Footprint;
use crate::usage::Replaces;
use fleet::{ClusterId, GramsCo2, Instant, JobKey, Money, Provenance, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a Job is measured against (PRODUCT row A2).
pub const BASELINE: &str = "at once, at home";

/// One interval in which a Job ran in one cluster, `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Where.
    pub cluster: ClusterId,
    /// Start.
    pub from: Instant,
    /// End.
    pub to: Instant,
}

/// A run, what it burnt, and which intensity that came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunLine {
    /// Where and when.
    pub run: Run,
    /// What it burnt, transfer apart.
    pub footprint: Footprint,
    /// Where the intensity came from.
    pub intensity: Provenance,
}

/// What would have been without us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// The cluster it would have run in: its home.
    pub cluster: ClusterId,
    /// When it would have started: when it was created.
    pub from: Instant,
    /// When it would have ended.
    pub to: Instant,
    /// What it would have burnt.
    pub footprint: Footprint,
    /// Of that, what moving its data would have burnt.
    #[serde(default, skip_serializing_if = "Footprint::is_zero")]
    pub transfer: Footprint,
    /// Where the intensity came from.
    pub intensity: Provenance,
    /// The counterfactual in words: [`BASELINE`].
    pub what: String,
}

/// A ledger line: one per finished Job, and one more each time it is corrected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// `job/UID`; of a later version `job/UID#N` ([`crate::correction`]).
    pub id: String,
    /// Of a later version: which line it replaces, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
    /// Which Job.
    pub job: JobKey,
    /// Its uid at home.
    pub uid: String,
    /// When this line was made.
    pub recorded: Instant,
    /// When the Job was created.
    pub created: Instant,
    /// When it first ran; when it ended, if it never did.
    pub started: Instant,
    /// When it ended.
    pub finished: Instant,
    /// Its deadline, if it had one.
    pub deadline: Option<Instant>,
    /// Whether it completed (`false`: failed).
    pub succeeded: bool,
    /// Where and when it ran, in order.
    pub runs: Vec<RunLine>,
    /// What moving its data burnt.
    pub transfer: Footprint,
    /// Runs and transfer together.
    pub actual: Footprint,
    /// What would have been without us.
    pub baseline: Baseline,
    /// How the figures were come by, in words.
    pub method: String,
}

impl Entry {
    /// Whether embodied emissions are in it.
    pub fn counts_embodied(&self) -> bool {
        !self.actual.embodied.is_zero() || !self.baseline.footprint.embodied.is_zero()
    }
    /// Emissions avoided against the baseline, embodied ones included where they are counted; negative where it emitted more.
    pub fn saved_carbon(&self) -> GramsCo2 {
        self.baseline.footprint.carbon - self.actual.carbon
    }
    /// Money saved against the baseline; negative where it cost more.
    pub fn saved_cost(&self) -> Money {
        self.baseline.footprint.cost - self.actual.cost
    }
    /// Whether it ended by its deadline; `None` without one. A Job that failed by then is not late.
    pub fn in_time(&self) -> Option<bool> {
        self.deadline.map(|deadline| self.finished <= deadline)
    }
    /// From creation to first start.
    pub fn wait(&self) -> Span {
        self.started - self.created
    }
    /// The cluster it ended in: that of its last run, else its home.
    pub fn cluster(&self) -> &ClusterId {
        self.runs.last().map_or(&self.job.cluster, |line| &line.run.cluster)
    }
    /// The worst provenance among the figures of this line.
    pub fn provenance(&self) -> &Provenance {
        self.runs.iter().map(|line| &line.intensity).fold(&self.baseline.intensity, worst)
    }
}

/// The worse of two provenances: assumed before estimated before forecast before measured; of equals
/// the older; of those the first.
pub fn worst<'a>(a: &'a Provenance, b: &'a Provenance) -> &'a Provenance {
    let older = b.kind == a.kind && b.as_of < a.as_of;
    if b.kind > a.kind || older { b } else { a }
}

/// Of each Job the latest version of its line, in the order in which Jobs first had one. `lines` come as they were written.
pub fn latest(lines: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut place: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines {
        take_in(&mut all, &mut place, line);
    }
    all
}

/// One more line: beside the others, or in place of the version before. `place`: where each Job's line stands.
pub fn take_in(all: &mut Vec<Entry>, place: &mut BTreeMap<String, usize>, line: Entry) {
    match place.get(base(&line.id)) {
        Some(at) if version(&line.id) > version(&all[*at].id) => all[*at] = line,
        Some(_) => {}
        None => {
            place.insert(base(&line.id).to_owned(), all.len());
            all.push(line);
        }
    }
}
