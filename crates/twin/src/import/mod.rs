//! Twin files: the state of clusters at an instant, written down so that it runs as a twin.
//!
//! A twin file is gzip of lines of JSON: a [`Header`], then one [`Line`] an object, cluster by cluster in
//! the header's order, kind by kind in the order of [`KINDS`], by namespace and name. What it holds, and
//! what could not be read, stands in the header, so that a file cut short is noticed. Invariants: no
//! Secret's content is in it ([`clean`]), nor is one taken that has any ([`Reader`]); the same state
//! gives the same lines. Kinds the twin has become live objects of a world ([`crate::World::imported`]),
//! with uids, bindings and phases as they were; the others stay in the file and are counted.

mod blank;
mod clean;
mod durations;
mod kinds;
mod owners;
mod read;

pub use clean::{BLANKED, BLANKING_RULE, Blanked, clean};
pub(crate) use durations::Durations;
pub use kinds::{Content, ImportKind, KINDS};
pub use read::{Document, Error, Imported, Reader};

use fleet::{ClusterId, GridZone, Instant, RegionId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// `kind` of a twin file.
pub const KIND: &str = "Twin";
/// Longest line, in bytes: a header of 200 clusters, or an object, for which etcd takes 1.5 MiB and JSON may
/// take more.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// Most lines, in bytes, once the file is unpacked: 300,000 pods at 5 KB are 1.5 GB.
pub const BYTES_MAX: u64 = 4 << 30;
/// Largest file, in bytes; objects of one kind are much alike and shrink to a tenth and less.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Most objects of all clusters: four times what a cluster of 5,000 nodes may hold in pods.
pub const OBJECTS_MAX: u64 = 600_000;
/// On an object of which only the name was taken: what is not there.
pub const NOT_IMPORTED: &str = "kubercarbon.io/not-imported";

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// `kubercarbon.io/v1alpha1`.
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// Version of the program that wrote it.
    pub by: String,
    /// When the last cluster had been read: where a twin's time begins.
    pub taken_at: Instant,
    /// The clusters.
    pub clusters: Vec<ClusterHeader>,
}

/// What is said of one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterHeader {
    /// Its name in the fleet.
    pub name: ClusterId,
    /// Kubeconfig context it was read through.
    pub context: String,
    /// When its reading began.
    pub taken_at: Instant,
    /// Uid of its namespace `kube-system`, by which copies of Jobs know their home; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Version its API server says it is, e.g. `v1.36.3`.
    pub server_version: String,
    /// Cloud region; `unknown` where nothing says.
    pub region: RegionId,
    /// Grid zone; `unknown` where nothing says.
    pub grid_zone: GridZone,
    /// Facility factor in thousandths (1270 = 1.27).
    pub pue_milli: i64,
    /// Labels selectors see, beside `name`, `region` and `zone`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What had to be assumed of where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assumed: Option<String>,
    /// Nodes by instance type, as their labels say; empty name: those without a label.
    pub instance_types: BTreeMap<String, u64>,
    /// The kinds that were read, in the order their objects follow.
    pub kinds: Vec<KindHeader>,
    /// The kinds that could not be read.
    #[serde(default)]
    pub unread: Vec<Unread>,
    /// Values that looked like credentials and are not in the file.
    pub blanked: u64,
}

/// One kind of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KindHeader {
    /// Group and version, e.g. `batch/v1`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// The one version all objects of the kind were read at.
    pub resource_version: String,
    /// How many there are.
    pub objects: u64,
    /// How much of each is in the file.
    pub content: Content,
}

/// A kind that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unread {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// In the API server's words.
    pub why: String,
}

/// Any line but the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<O = Value> {
    /// Name of its cluster.
    pub cluster: ClusterId,
    /// The object.
    pub object: O,
}
