//! Ledger lines of clusters: what one cluster used, burnt and cost in one hour, by work and by node.
//!
//! A line is never changed. What comes to be known later is a line of its own, `…#2`, that names what it replaces
//! and why: [`HourLine::Whole`] where the hour went on after a restart, [`HourLine::Carbon`] where the intensity became known
//! or was corrected; readers take the latest ([`Latest`]). A corrected hour's emissions are those of the line before times the
//! ratio of the hour's mean intensities, by part (largest remainder): exact where the intensity is one value an hour.
//!
//! Invariants: rows and idle sum to the nodes, in every field; a line is bounded ([`ROWS_MAX`], [`NODES_MAX`],
//! [`LABEL_BYTES_MAX`]), and what is small is merged, never dropped. Times are the fleet's own; hours are UTC.

use crate::allocation::{Hour, Owner, SHARED_KIND, Stretch, Work};
use crate::labels::Labels;
use crate::meter::{Amounts, COLUMNS};
use fleet::quantity::split;
use fleet::{ClusterId, GramsCo2, GramsCo2PerKwh, Instant, NodeName, Provenance, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most rows of a line. With names and labels as long as Kubernetes lets them be, 300 rows are 300 KiB.
pub const ROWS_MAX: usize = 300;
/// Of these, what is kept for sums over the small rows of a namespace.
const MERGED_MAX: usize = 60;
/// Most nodes of a line; a cluster has 5,000 at most.
pub const NODES_MAX: usize = 1000;
/// Most bytes of a row's labels, names and values; what is beyond is left out.
pub const LABEL_BYTES_MAX: usize = 512;
/// Name of what stands for several small ones.
pub const OTHER: &str = "(other)";
/// Name of what stands for several small nodes: no node can be called so.
pub const OTHER_NODES: &str = "other:nodes";

/// What some work used in the hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRow {
    /// Namespace; empty: of several, merged.
    pub namespace: Arc<str>,
    /// What the pods belong to; name [`OTHER`]: several, merged.
    pub owner: Owner,
    /// Their labels.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub labels: Arc<Labels>,
    /// Whether it serves the cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// What it used.
    pub amounts: Amounts,
}

fn is_empty(labels: &Arc<Labels>) -> bool {
    labels.is_empty()
}

/// What a node gave in the hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Its name; [`OTHER_NODES`]: several, merged.
    pub node: String,
    /// To its pods.
    pub busy: Amounts,
    /// To nobody.
    pub idle: Amounts,
}

/// One cluster's hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HourEntry {
    /// `usage/CLUSTER/HOUR`, from the second version on with `#N`.
    pub id: String,
    /// Which cluster.
    pub cluster: ClusterId,
    /// When the hour began.
    pub hour: Instant,
    /// 1, or which version.
    pub version: u32,
    /// Id of the line it replaces, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
    /// When this line was made.
    pub recorded: Instant,
    /// When the cluster was seen; what it did in the rest of the hour is not known, and not in it.
    pub seen: Vec<Stretch>,
    /// Mean intensity over that time.
    pub intensity: GramsCo2PerKwh,
    /// Where it came from.
    pub intensity_from: Provenance,
    /// Who measured use last; `None`: nobody, requests stand for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_from: Option<Provenance>,
    /// What the numbers of amounts are.
    pub columns: String,
    /// By work.
    pub rows: Vec<UsageRow>,
    /// What nobody bears.
    pub idle: Amounts,
    /// By node.
    pub nodes: Vec<NodeRow>,
    /// How the figures were come by, in words.
    pub method: String,
}

/// What a line replaces, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replaces {
    /// Id of the line before.
    pub id: String,
    /// Why, in words.
    pub why: String,
}

/// Another intensity of an hour that has its line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CarbonCorrection {
    /// `usage/CLUSTER/HOUR#N`.
    pub id: String,
    /// Which cluster.
    pub cluster: ClusterId,
    /// When the hour began.
    pub hour: Instant,
    /// Which version.
    pub version: u32,
    /// The line before, and why.
    pub replaces: Replaces,
    /// When this line was made.
    pub recorded: Instant,
    /// Mean intensity over the time seen, as it is known now.
    pub intensity: GramsCo2PerKwh,
    /// Where it came from.
    pub intensity_from: Provenance,
    /// Emissions of the whole cluster by the line before, and by this one.
    pub carbon: (GramsCo2, GramsCo2),
}

/// A line about a cluster's hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HourLine {
    /// All of it.
    Whole(Box<HourEntry>),
    /// Its emissions, known better.
    Carbon(Box<CarbonCorrection>),
}

/// Id of a version of an hour's line.
pub fn hour_id(cluster: &ClusterId, hour: Instant, version: u32) -> String {
    let suffix = if version > 1 { format!("#{version}") } else { String::new() };
    format!("usage/{cluster}/{}{suffix}", hour.to_rfc3339_seconds())
}

impl HourLine {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            HourLine::Whole(entry) => &entry.id,
            HourLine::Carbon(correction) => &correction.id,
        }
    }
    /// Which hour of which cluster.
    pub fn hour(&self) -> (&ClusterId, Instant) {
        match self {
            HourLine::Whole(entry) => (&entry.cluster, entry.hour),
            HourLine::Carbon(correction) => (&correction.cluster, correction.hour),
        }
    }
    /// When it was made.
    pub fn recorded(&self) -> Instant {
        match self {
            HourLine::Whole(entry) => entry.recorded,
            HourLine::Carbon(correction) => correction.recorded,
        }
    }
}

/// Labels within [`LABEL_BYTES_MAX`], the first by name.
fn bounded(labels: &Arc<Labels>) -> Arc<Labels> {
    let size = |labels: &Labels| labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    if size(labels) <= LABEL_BYTES_MAX {
        return labels.clone();
    }
    let mut room = LABEL_BYTES_MAX;
    let fits = |(key, value): &(&Arc<str>, &Arc<str>)| {
        room.checked_sub(key.len() + value.len()).inspect(|left| room = *left).is_some()
    };
    Arc::new(labels.iter().filter(fits).map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// The largest first: by money, then energy, then name.
fn by_size(a: &UsageRow, b: &UsageRow) -> std::cmp::Ordering {
    let size = |row: &UsageRow| (row.amounts.cost, row.amounts.energy);
    let name = |row: &UsageRow| (row.namespace.clone(), row.owner.clone(), row.labels.clone(), row.shared);
    size(b).cmp(&size(a)).then_with(|| name(a).cmp(&name(b)))
}

/// Rows that differ only in what was left out of them become one.
fn joined(rows: impl Iterator<Item = UsageRow>) -> Vec<UsageRow> {
    let mut all: BTreeMap<(Arc<str>, Owner, Arc<Labels>, bool), Amounts> = BTreeMap::new();
    for row in rows {
        *all.entry((row.namespace, row.owner, row.labels, row.shared)).or_default() += row.amounts;
    }
    let row = |((namespace, owner, labels, shared), amounts)| UsageRow {
        namespace,
        owner,
        labels,
        shared,
        amounts,
    };
    let mut rows: Vec<UsageRow> = all.into_iter().map(row).collect();
    rows.sort_by(by_size);
    rows
}

/// At most [`ROWS_MAX`] rows: small ones become one a namespace, and of these the smallest one in all.
fn merged(rows: Vec<(Arc<Work>, Amounts)>) -> Vec<UsageRow> {
    let row = |(work, amounts): (Arc<Work>, Amounts)| UsageRow {
        namespace: work.namespace.clone(),
        owner: work.owner.clone(),
        labels: bounded(&work.labels),
        shared: work.shared(),
        amounts,
    };
    let mut rows = joined(rows.into_iter().map(row));
    if rows.len() <= ROWS_MAX {
        return rows;
    }
    let other = |row: UsageRow, namespace: Arc<str>| UsageRow {
        namespace,
        owner: Owner { kind: if row.shared { SHARED_KIND } else { "" }.into(), name: OTHER.into() },
        labels: Arc::default(),
        ..row
    };
    let small = rows.split_off(ROWS_MAX - MERGED_MAX);
    let mut spaces = joined(small.into_iter().map(|row| {
        let namespace = row.namespace.clone();
        other(row, namespace)
    }));
    if spaces.len() > MERGED_MAX {
        // Two: shared, and not.
        let rest = spaces.split_off(MERGED_MAX - 2);
        spaces.extend(joined(rest.into_iter().map(|row| other(row, "".into()))));
    }
    rows.extend(spaces);
    rows
}

fn nodes(mut nodes: Vec<(NodeName, Amounts, Amounts)>) -> Vec<NodeRow> {
    nodes.sort_by_key(|(name, busy, idle)| (std::cmp::Reverse((*busy + *idle).cost), name.clone()));
    let row =
        |(name, busy, idle): (NodeName, Amounts, Amounts)| NodeRow { node: name.to_string(), busy, idle };
    if nodes.len() <= NODES_MAX {
        return nodes.into_iter().map(row).collect();
    }
    let small = nodes.split_off(NODES_MAX - 1);
    let (busy, idle) = (small.iter().map(|n| n.1).sum(), small.iter().map(|n| n.2).sum());
    let other = NodeRow { node: OTHER_NODES.to_owned(), busy, idle };
    nodes.into_iter().map(row).chain([other]).collect()
}

/// What stands in an hour's line beside its figures.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Which cluster.
    pub cluster: ClusterId,
    /// When the hour began.
    pub hour: Instant,
    /// 1, or which version.
    pub version: u32,
    /// Of a later version.
    pub replaces: Option<Replaces>,
    /// Now.
    pub recorded: Instant,
    /// Where the intensity came from.
    pub intensity_from: Provenance,
    /// Who measured use; `None`: nobody.
    pub use_from: Option<Provenance>,
}

impl HourEntry {
    /// The line of an hour.
    pub fn new(heading: Heading, hour: Hour) -> HourEntry {
        let embodied = hour.rows.iter().map(|row| row.1).sum::<Amounts>() + hour.idle;
        let method = crate::allocation::method(!embodied.embodied.is_zero());
        HourEntry {
            id: hour_id(&heading.cluster, heading.hour, heading.version),
            cluster: heading.cluster,
            hour: heading.hour,
            version: heading.version,
            replaces: heading.replaces,
            recorded: heading.recorded,
            seen: hour.seen,
            intensity: hour.intensity,
            intensity_from: heading.intensity_from,
            use_from: heading.use_from,
            columns: COLUMNS.to_owned(),
            rows: merged(hour.rows),
            idle: hour.idle,
            nodes: nodes(hour.nodes),
            method,
        }
    }
    /// All of it: rows and idle.
    pub fn total(&self) -> Amounts {
        self.rows.iter().map(|row| row.amounts).sum::<Amounts>() + self.idle
    }
    /// Its total alone: by nothing.
    pub fn to_total(mut self) -> HourEntry {
        self.idle = self.total();
        (self.rows, self.nodes) = (Vec::new(), Vec::new());
        self
    }
    /// How long the cluster was seen.
    pub fn span(&self) -> Span {
        self.seen.iter().map(|s| s.to - s.from).fold(Span::ZERO, |sum, span| sum + span)
    }
    /// As a running account takes it up again; merged rows stay merged.
    pub fn to_hour(&self) -> Hour {
        let work = |row: &UsageRow| Work {
            namespace: row.namespace.clone(),
            owner: row.owner.clone(),
            labels: row.labels.clone(),
        };
        let node = |row: &NodeRow| Some((NodeName::new(&row.node).ok()?, row.busy, row.idle));
        Hour {
            seen: self.seen.clone(),
            intensity: self.intensity,
            rows: self.rows.iter().map(|row| (Arc::new(work(row)), row.amounts)).collect(),
            idle: self.idle,
            nodes: self.nodes.iter().filter_map(node).collect(),
        }
    }
    /// What the whole cluster emitted, were this the hour's mean intensity.
    pub fn carbon_at(&self, intensity: GramsCo2PerKwh) -> GramsCo2 {
        carbon_at(&self.total(), self.intensity, intensity)
    }
    /// The hour at another mean intensity; who writes a line knows that before it is written.
    pub fn at(mut self, intensity: GramsCo2PerKwh) -> HourEntry {
        let carbon = self.carbon_at(intensity);
        self.emits(carbon);
        self.intensity = intensity;
        self
    }
    /// Every part emits its share of `carbon`.
    fn emits(&mut self, carbon: GramsCo2) {
        let mut rows: Vec<&mut Amounts> =
            self.rows.iter_mut().map(|row| &mut row.amounts).chain([&mut self.idle]).collect();
        spread(&mut rows, carbon);
        let mut nodes: Vec<&mut Amounts> =
            self.nodes.iter_mut().flat_map(|row| [&mut row.busy, &mut row.idle]).collect();
        spread(&mut nodes, carbon);
    }
    /// The hour as a correction knows it.
    pub fn corrected(&self, by: &CarbonCorrection) -> HourEntry {
        let mut entry = self.clone();
        entry.emits(by.carbon.1);
        (entry.id, entry.version) = (by.id.clone(), by.version);
        (entry.recorded, entry.replaces) = (by.recorded, Some(by.replaces.clone()));
        (entry.intensity, entry.intensity_from) = (by.intensity, by.intensity_from.clone());
        entry
    }
}

/// Emissions of `total`, which stand for the mean `before`, at the mean `now`.
pub fn carbon_at(total: &Amounts, before: GramsCo2PerKwh, now: GramsCo2PerKwh) -> GramsCo2 {
    if before.is_zero() {
        return total.energy * now;
    }
    let (grams, from) = (total.carbon.as_micrograms(), i128::from(before.as_milligrams()));
    GramsCo2::from_micrograms((grams * i128::from(now.as_milligrams()) + from / 2) / from)
}

/// Shares emissions in proportion to those the parts had; to their energy where they had none.
fn spread(parts: &mut [&mut Amounts], carbon: GramsCo2) {
    let weigh = |of: fn(&Amounts) -> i128| -> Vec<u64> {
        parts.iter().map(|part| u64::try_from(of(part).max(0)).unwrap_or(u64::MAX)).collect()
    };
    let mut weights = weigh(|part| part.carbon.as_micrograms());
    if weights.iter().all(|weight| *weight == 0) {
        weights = weigh(|part| part.energy.as_microjoules());
    }
    for (part, share) in parts.iter_mut().zip(split(carbon.as_micrograms(), &weights)) {
        part.carbon = GramsCo2::from_micrograms(share);
    }
}

/// Reads the lines of an hour in the order they were written, and gives the hour as it is known last.
#[derive(Clone, Debug, Default)]
pub struct Latest(Option<HourEntry>);

impl Latest {
    /// Takes in a line. One of another hour gives what is known of the hour before, which is complete then: lines come by
    /// cluster and hour.
    pub fn take_in(&mut self, line: HourLine) -> Option<HourEntry> {
        let same = self.0.as_ref().is_some_and(|known| (&known.cluster, known.hour) == line.hour());
        match line {
            HourLine::Whole(entry) => {
                let before = self.0.replace(*entry);
                before.filter(|_| !same)
            }
            HourLine::Carbon(by) if same => {
                self.0 = self.0.take().map(|known| known.corrected(&by));
                None
            }
            // A correction of nothing that is known: there is no line it could correct.
            HourLine::Carbon(_) => None,
        }
    }
    /// The last hour.
    pub fn finish(self) -> Option<HourEntry> {
        self.0
    }
}
