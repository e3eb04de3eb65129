//! Accounts over hours: what clusters used, cost and emitted, by cluster, namespace, workload, label or node.
//!
//! Invariants: the rows, with what is shared and idle where they stand apart, sum to the total in every field. By cluster
//! and by node a row is the whole of it, idle capacity included and stated beside; by namespace, workload and label rows are
//! what pods bear, and shared and idle capacity are rows of their own. What was not seen is not in it, and is
//! said. Left out: shares of idle and shared cost for those who use the cluster.

use crate::allocation::Owner;
use crate::entry::worst;
use crate::expected::{Expected, month, recent_from};
use crate::labels::Labels;
use crate::meter::{Amounts, CoreTime};
use crate::usage::{HourEntry, NodeRow, OTHER, UsageRow};
use fleet::{ClusterId, Instant, Provenance, Span};
use std::fmt;
use std::str::FromStr;

pub use crate::fold::Fold;

/// What rows stand for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Clusters.
    Cluster,
    /// Namespaces, over all clusters.
    Namespace,
    /// Workloads of a namespace of a cluster.
    Workload,
    /// Values of a label of pods.
    Label(String),
    /// Nodes.
    Node,
}

/// Most bytes of a label's name: prefix and name as Kubernetes bounds them.
const LABEL_MAX: usize = 317;

/// Why a text is not a [`By`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is nothing accounts are made by: expected cluster, namespace, workload, node or label:KEY")]
pub struct ByError(String);

impl FromStr for By {
    type Err = ByError;
    fn from_str(text: &str) -> Result<By, ByError> {
        match text {
            "cluster" => Ok(By::Cluster),
            "namespace" => Ok(By::Namespace),
            "workload" => Ok(By::Workload),
            "node" => Ok(By::Node),
            _ => match text.strip_prefix("label:") {
                Some(key) if !key.is_empty() && key.len() <= LABEL_MAX => Ok(By::Label(key.to_owned())),
                _ => Err(ByError(text.chars().take(80).collect())),
            },
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Cluster => f.write_str("cluster"),
            By::Namespace => f.write_str("namespace"),
            By::Workload => f.write_str("workload"),
            By::Label(key) => write!(f, "label:{key}"),
            By::Node => f.write_str("node"),
        }
    }
}

/// What a row is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Something of this name.
    Named {
        /// The cluster, where a row is of one.
        cluster: Option<ClusterId>,
        /// The namespace, where a row is of one.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// Pods without the label.
    Unlabelled,
    /// Several small ones, merged in the hours' lines.
    Other,
    /// What serves the cluster.
    Shared,
    /// What nobody bears.
    Idle,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRow {
    /// What it is of.
    pub part: Part,
    /// What it came to.
    pub amounts: Amounts,
    /// Of that, idle: by cluster and node.
    pub idle: Amounts,
    /// Of that, shared: by cluster.
    pub shared: Amounts,
    /// What it will come to by the month's end.
    pub expected: Expected,
}

impl AccountRow {
    /// CPU there was: of clusters, nodes and the total; else what is requested, or of idle capacity what is not.
    pub fn cpu_capacity(&self) -> CoreTime {
        self.amounts.cpu_requested
    }
    /// What pods bear of it, idle capacity left out.
    pub fn busy(&self) -> Amounts {
        self.amounts - self.idle
    }
    /// Share of the CPU used that was measured; `None` where none was used.
    pub fn measured(&self) -> Option<f64> {
        let busy = self.busy();
        let used = busy.cpu_used.as_core_hours_f64();
        (used > 0.0).then(|| busy.cpu_measured.as_core_hours_f64() / used)
    }
    /// Whether it is a thing of its name, not a rest.
    pub fn is_named(&self) -> bool {
        matches!(self.part, Part::Named { .. })
    }
}

/// How much of the time a cluster was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Hour of its first line in the time asked for.
    pub since: Instant,
    /// Seen.
    pub seen: Span,
    /// Of that time, from its first line on.
    pub of: Span,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What rows stand for.
    pub by: By,
    /// Hours that begin from here on.
    pub from: Instant,
    /// Hours that begin before this.
    pub to: Instant,
    /// Now: the month whose end is expected.
    pub now: Instant,
}

impl Question {
    /// Hours that have to be read for it: `[from, to)`.
    pub fn hours(&self) -> (Instant, Instant) {
        let (start, _) = month(self.now);
        let from = self.from.min(start).min(recent_from(self.now));
        (from.floor_to(Span::HOUR), self.to.max(self.now))
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Accounts {
    /// What was asked.
    pub question: Question,
    /// Rows, the dearest first; then unlabelled, merged, shared and idle ones.
    pub rows: Vec<AccountRow>,
    /// Their sum.
    pub total: AccountRow,
    /// How much of the time each cluster was seen.
    pub coverage: Vec<Coverage>,
    /// Days seen in the last four weeks, which what is expected is made from: the fewest of any cluster.
    pub days: f64,
    /// Share of the hours of the week seen in that time; the others are expected to be like the mean.
    pub hours_known: f64,
    /// Worst source of intensity.
    pub carbon_from: Option<Provenance>,
    /// Last who measured use; `None`: nobody did, requests stand for it.
    pub use_from: Option<Provenance>,
}

impl Accounts {
    /// Whether embodied emissions are in it.
    pub fn counts_embodied(&self) -> bool {
        !self.total.amounts.embodied.is_zero()
    }
}

/// The worse of two sources; of those as bad and as old the first by name, so that it does not matter which is read first.
pub(crate) fn worse(known: Option<Provenance>, other: Option<&Provenance>) -> Option<Provenance> {
    let (Some(a), Some(b)) = (&known, other) else { return known.or(other.cloned()) };
    let alike = a.kind == b.kind && a.as_of == b.as_of;
    let worse = if alike && b.source < a.source { b } else { worst(a, b) };
    Some(worse.clone())
}

/// The one who measured last, by name where two did.
pub(crate) fn newer(known: Option<Provenance>, other: Option<&Provenance>) -> Option<Provenance> {
    let (Some(a), Some(b)) = (&known, other) else { return known.or(other.cloned()) };
    let b_first = (b.as_of, &a.source) > (a.as_of, &b.source);
    if b_first { Some(b.clone()) } else { known }
}

/// What of an hour goes to a part: all of it, and of that idle and shared.
pub(crate) type Piece = (Part, [Amounts; 3]);

fn named(cluster: Option<&ClusterId>, namespace: Option<&str>, name: impl ToString) -> Part {
    let (cluster, namespace) = (cluster.cloned(), namespace.map(str::to_owned));
    Part::Named { cluster, namespace, name: name.to_string() }
}

impl By {
    /// What work of a cluster belongs to, where rows are of namespaces, workloads or values of a label.
    pub fn part(
        &self,
        cluster: &ClusterId,
        namespace: &str,
        owner: &Owner,
        labels: &Labels,
        shared: bool,
    ) -> Part {
        match self {
            _ if shared => Part::Shared,
            By::Namespace if namespace.is_empty() => Part::Other,
            By::Namespace => named(None, None, namespace),
            By::Label(key) => match labels.get(key.as_str()) {
                Some(value) => named(None, None, value),
                None if &*owner.name == OTHER => Part::Other,
                None => Part::Unlabelled,
            },
            _ if &*owner.name == OTHER => Part::Other,
            _ => named(Some(cluster), Some(namespace), owner),
        }
    }
    /// All of it.
    pub fn of_total() -> Part {
        named(None, None, "total")
    }
    /// A whole cluster.
    pub fn cluster(cluster: &ClusterId) -> Part {
        named(None, None, cluster)
    }
    /// A node, or a pod, of a cluster.
    pub fn of_cluster(cluster: &ClusterId, namespace: Option<&str>, name: &str) -> Part {
        named(Some(cluster), namespace, name)
    }
}

pub(crate) fn pieces(by: &By, entry: &HourEntry) -> Vec<Piece> {
    let none = Amounts::default();
    match by {
        By::Cluster => {
            let shared = entry.rows.iter().filter(|row| row.shared).map(|row| row.amounts).sum();
            vec![(By::cluster(&entry.cluster), [entry.total(), entry.idle, shared])]
        }
        By::Node => {
            let part = |row: &NodeRow| By::of_cluster(&entry.cluster, None, &row.node);
            entry.nodes.iter().map(|row| (part(row), [row.busy + row.idle, row.idle, none])).collect()
        }
        By::Namespace | By::Workload | By::Label(_) => {
            let part =
                |row: &UsageRow| by.part(&entry.cluster, &row.namespace, &row.owner, &row.labels, row.shared);
            let rows = entry.rows.iter().map(|row| (part(row), [row.amounts, none, none]));
            rows.chain([(Part::Idle, [entry.idle, entry.idle, none])]).collect()
        }
    }
}

pub(crate) fn nothing() -> AccountRow {
    AccountRow {
        part: By::of_total(),
        amounts: Amounts::default(),
        idle: Amounts::default(),
        shared: Amounts::default(),
        expected: Expected::default(),
    }
}
