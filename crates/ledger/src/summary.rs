//! Sums over ledger lines: in all, by cluster, by namespace, by Job.
//!
//! Invariant: clusters, namespaces and Jobs each sum to the total exactly. A Job that ran in several
//! clusters is counted (jobs, in time, wait) where it ended; what it burnt stands where it was burnt
//! (transfers: where it first ran), and its baseline is shared over its clusters by run time (largest
//! remainder), so that savings add up too.

use crate::entry::{Entry, worst};
use crate::footprint::Footprint;
use fleet::quantity::split;
use fleet::{ClusterId, GramsCo2, JobKey, Joules, Money, ObjectName, Provenance, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Sums over some ledger lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Finished Jobs.
    pub jobs: u64,
    /// Of those, completed.
    pub succeeded: u64,
    /// Of those with a deadline, finished by it.
    pub in_time: u64,
    /// Of those with a deadline, finished after it.
    pub late: u64,
    /// From creation to first start, added up.
    pub wait: Span,
    /// What was burnt.
    pub actual: Footprint,
    /// What would have been burnt.
    pub baseline: Footprint,
    /// Baseline less actual, embodied emissions included where they are counted.
    pub saved_carbon: GramsCo2,
    /// Baseline less actual.
    pub saved_cost: Money,
}

impl Line {
    /// Whether embodied emissions are in it.
    pub fn counts_embodied(&self) -> bool {
        !self.actual.embodied.is_zero() || !self.baseline.embodied.is_zero()
    }
}

impl AddAssign for Line {
    fn add_assign(&mut self, other: Line) {
        self.jobs += other.jobs;
        self.succeeded += other.succeeded;
        self.in_time += other.in_time;
        self.late += other.late;
        self.wait += other.wait;
        self.actual += other.actual;
        self.baseline += other.baseline;
        self.saved_carbon += other.saved_carbon;
        self.saved_cost += other.saved_cost;
    }
}

/// One Job's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobLine {
    /// Id of the ledger line.
    pub id: String,
    /// The Job.
    pub job: JobKey,
    /// Where it ended.
    pub cluster: ClusterId,
    /// Its figures.
    pub line: Line,
}

/// Sums over ledger lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Everything.
    pub total: Line,
    /// By cluster.
    pub clusters: BTreeMap<ClusterId, Line>,
    /// By namespace, over all home clusters.
    pub namespaces: BTreeMap<ObjectName, Line>,
    /// By Job, in the order given.
    pub jobs: Vec<JobLine>,
    /// The worst provenance of any figure; `None` without lines.
    pub provenance: Option<Provenance>,
}

fn line(entry: &Entry) -> Line {
    Line {
        jobs: 1,
        succeeded: u64::from(entry.succeeded),
        in_time: u64::from(entry.in_time() == Some(true)),
        late: u64::from(entry.in_time() == Some(false)),
        wait: entry.wait(),
        actual: entry.actual,
        baseline: entry.baseline.footprint,
        saved_carbon: entry.saved_carbon(),
        saved_cost: entry.saved_cost(),
    }
}

/// Shares `whole` in proportion to `weights`; the parts sum to it exactly, operational and embodied emissions each.
fn shares(whole: Footprint, weights: &[u64]) -> Vec<Footprint> {
    let energy = split(whole.energy.as_microjoules(), weights);
    let operational = split(whole.operational().as_micrograms(), weights);
    let embodied = split(whole.embodied.as_micrograms(), weights);
    let cost = split(whole.cost.as_nanos(), weights);
    let part = |i: usize| Footprint {
        energy: Joules::from_microjoules(energy[i]),
        carbon: GramsCo2::from_micrograms(operational[i] + embodied[i]),
        embodied: GramsCo2::from_micrograms(embodied[i]),
        cost: Money::from_nanos(cost[i]),
    };
    (0..weights.len()).map(part).collect()
}

/// The entry's figures by cluster.
fn by_cluster(entry: &Entry) -> BTreeMap<ClusterId, Line> {
    let mut parts: BTreeMap<ClusterId, (Line, u64)> = BTreeMap::new();
    for run in &entry.runs {
        let part = parts.entry(run.run.cluster.clone()).or_default();
        part.0.actual += run.footprint;
        part.1 += u64::try_from((run.run.to - run.run.from).as_nanos()).unwrap_or(0);
    }
    let first = entry.runs.first().map_or(&entry.job.cluster, |line| &line.run.cluster);
    parts.entry(first.clone()).or_default().0.actual += entry.transfer;
    let ended = parts.entry(entry.cluster().clone()).or_default();
    let whole = line(entry);
    ended.0 = Line { actual: ended.0.actual, baseline: Footprint::ZERO, ..whole };
    let weights: Vec<u64> = parts.values().map(|part| part.1).collect();
    let baselines = shares(entry.baseline.footprint, &weights);
    parts
        .into_iter()
        .zip(baselines)
        .map(|((cluster, (mut part, _)), baseline)| {
            part.baseline = baseline;
            part.saved_carbon = baseline.carbon - part.actual.carbon;
            part.saved_cost = baseline.cost - part.actual.cost;
            (cluster, part)
        })
        .collect()
}

/// Adds up ledger lines.
pub fn summarize<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Summary {
    let mut summary = Summary {
        total: Line::default(),
        clusters: BTreeMap::new(),
        namespaces: BTreeMap::new(),
        jobs: Vec::new(),
        provenance: None,
    };
    for entry in entries {
        let whole = line(entry);
        summary.total += whole;
        *summary.namespaces.entry(entry.job.namespace.clone()).or_default() += whole;
        for (cluster, part) in by_cluster(entry) {
            *summary.clusters.entry(cluster).or_default() += part;
        }
        let cluster = entry.cluster().clone();
        summary.jobs.push(JobLine { id: entry.id.clone(), job: entry.job.clone(), cluster, line: whole });
        let known = summary.provenance.take();
        let worse = known.as_ref().map_or(entry.provenance(), |known| worst(known, entry.provenance()));
        summary.provenance = Some(worse.clone());
    }
    summary
}
