//! A twin file's lines, taken in one by one and held against everything the header says.
//!
//! Invariants: nothing is taken in of which the twin could not tell later where it came from: no second object of
//! a name or uid, none of a kind, cluster or order the header does not name, fewer or more than it counts. Bounds
//! on bytes are kept by whoever unpacks the file; those on lines and counts here.

use super::owners::Owners;
use super::{
    ClusterHeader, Content, Header, ImportKind, KIND, LINE_BYTES_MAX, Line, NOT_IMPORTED, OBJECTS_MAX,
};
use crate::apiserver::decode_object;
use crate::kind::Kind;
use crate::object::Object;
use crate::random::{FNV_BASIS, fnv};
use fleet::file::{CLUSTERS_MAX, NODES_MAX};
use fleet::plan::API_VERSION;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most characters of what was found that are shown.
const SHOWN_MAX: usize = 120;

/// What is wrong with a twin file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {found}: expected {expected}")]
pub struct Error {
    /// Which line, from 1; the line after the last where something is missing.
    pub line: u64,
    /// What was found.
    pub found: String,
    /// What would do.
    pub expected: String,
}

/// One cluster, read whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// What is said of it.
    pub header: ClusterHeader,
    /// Objects of the kinds the twin has, in the file's order.
    pub live: Vec<Object>,
    /// Objects of other kinds, by the kind's plural: they stay in the file.
    pub aside: BTreeMap<String, u64>,
    /// Uids of owners that objects name and the twin has not: they are not in the file, or stay in it.
    pub absent_owners: BTreeSet<Arc<str>>,
    /// Fields this version of the twin does not know and has not taken over.
    pub unknown_fields: u64,
    /// How its scheduler decides, where that is stated beside the file: a `KubeSchedulerConfiguration`.
    pub scheduler: Option<Value>,
}

/// A twin file, read whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The first line.
    pub header: Header,
    /// The clusters, in its order.
    pub clusters: Vec<Imported>,
    /// Changes when any byte of any line does.
    pub digest: u64,
}

/// Takes lines in.
#[derive(Debug, Default)]
pub struct Reader {
    line: u64,
    digest: u64,
    header: Option<Header>,
    /// The cluster and the kind of its header objects are now expected of.
    at: (usize, usize),
    /// How many objects of that kind have come.
    count: u64,
    total: u64,
    clusters: Vec<Imported>,
    owners: Owners,
    names: BTreeSet<(String, String)>,
    wanted: BTreeSet<Arc<str>>,
    /// Uids of objects that stay in the file.
    aside: BTreeSet<Arc<str>>,
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

impl Reader {
    /// Nothing read yet.
    pub fn new() -> Reader {
        Reader { digest: FNV_BASIS, ..Reader::default() }
    }
    fn error(&self, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error { line: self.line, found: found.into(), expected: expected.into() }
    }
    /// Takes in the next line, without its line feed.
    ///
    /// # Errors
    /// When it is not what has to come next.
    pub fn line(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.line += 1;
        if bytes.len() > LINE_BYTES_MAX {
            let found = format!("a line of {} bytes", bytes.len());
            return Err(self.error(found, format!("at most {LINE_BYTES_MAX}")));
        }
        // Told apart are files, not adversaries.
        self.digest = fnv(self.digest, bytes.iter().chain(b"\n"));
        if self.header.is_none() {
            let header = self.read_header(bytes)?;
            self.header = Some(header);
            return Ok(());
        }
        self.object(bytes)
    }
    fn read_header(&self, bytes: &[u8]) -> Result<Header, Error> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| {
            let text = String::from_utf8_lossy(bytes);
            self.error(format!("{} ({e})", shown(&text)), "the header of a twin file, a line of JSON")
        })?;
        for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            if value[field] != expected {
                return Err(self.error(format!("{field} {}", shown(&value[field].to_string())), expected));
            }
        }
        let header: Header = serde_path_to_error::deserialize(value)
            .map_err(|e| self.error(shown(&e.to_string()), "the fields of a twin file's header"))?;
        self.check_header(&header)?;
        Ok(header)
    }
    fn check_header(&self, header: &Header) -> Result<(), Error> {
        let count = header.clusters.len();
        if count == 0 || count > CLUSTERS_MAX {
            return Err(self.error(format!("{count} clusters"), format!("1 to {CLUSTERS_MAX}")));
        }
        let mut names = BTreeSet::new();
        let mut total: u64 = 0;
        for cluster in &header.clusters {
            if !names.insert(&cluster.name) {
                return Err(
                    self.error(format!("cluster {} a second time", cluster.name), "each cluster once")
                );
            }
            let mut kinds = BTreeSet::new();
            for kind in &cluster.kinds {
                total = total.saturating_add(kind.objects);
                if ImportKind::find(&kind.api_version, &kind.kind).is_none() {
                    let found = format!("kind {} {}", shown(&kind.api_version), shown(&kind.kind));
                    return Err(self.error(found, "a kind that twin files hold"));
                }
                if !kinds.insert((&kind.api_version, &kind.kind)) {
                    return Err(self.error(format!("kind {} a second time", kind.kind), "each kind once"));
                }
                if kind.kind == "Node" && kind.objects > u64::from(NODES_MAX) {
                    let found = format!("{} nodes in cluster {}", kind.objects, cluster.name);
                    return Err(self.error(found, format!("at most {NODES_MAX}")));
                }
            }
            if cluster.taken_at > header.taken_at {
                let found = format!("cluster {} taken at {}", cluster.name, cluster.taken_at);
                return Err(self.error(found, format!("at most {}", header.taken_at)));
            }
        }
        if total > OBJECTS_MAX {
            return Err(self.error(format!("{total} objects"), format!("at most {OBJECTS_MAX}")));
        }
        Ok(())
    }
    /// Moves on to the kind the next object has to be of; `None`: no more are expected.
    fn expected(&mut self) -> Result<Option<(usize, usize)>, Error> {
        loop {
            let Some(header) = &self.header else { return Ok(None) };
            let Some(cluster) = header.clusters.get(self.at.0) else { return Ok(None) };
            if self.clusters.len() == self.at.0 {
                self.clusters.push(Imported {
                    header: cluster.clone(),
                    live: Vec::new(),
                    aside: BTreeMap::new(),
                    absent_owners: BTreeSet::new(),
                    unknown_fields: 0,
                    scheduler: None,
                });
            }
            match cluster.kinds.get(self.at.1) {
                Some(kind) if self.count < kind.objects => return Ok(Some(self.at)),
                Some(_) => {
                    self.at.1 += 1;
                    self.names.clear();
                }
                None => {
                    self.end_cluster()?;
                    self.at = (self.at.0 + 1, 0);
                }
            }
            self.count = 0;
        }
    }
    fn object(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let line: Line = serde_json::from_slice(bytes).map_err(|e| {
            let text = String::from_utf8_lossy(bytes);
            self.error(format!("{} ({e})", shown(&text)), "{\"cluster\": NAME, \"object\": OBJECT}")
        })?;
        let Some((cluster, kind)) = self.expected()? else {
            return Err(self.error("one more object", "none: the header counts no more"));
        };
        let Some(header) = self.header.as_ref().and_then(|h| h.clusters.get(cluster)) else { return Ok(()) };
        let (name, kind) = (header.name.clone(), header.kinds[kind].clone());
        let text = |pointer: &str| line.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let is = (text("/apiVersion"), text("/kind"), &line.cluster);
        if is != (kind.api_version.as_str(), kind.kind.as_str(), &name) {
            let found = format!("{} {} of cluster {}", shown(is.0), shown(is.1), is.2);
            return Err(self.error(found, format!("{} {} of cluster {name}", kind.api_version, kind.kind)));
        }
        let own = (text("/metadata/namespace").to_owned(), text("/metadata/name").to_owned());
        let uid = text("/metadata/uid").to_owned();
        if own.1.is_empty() || uid.is_empty() {
            return Err(self.error(format!("a {} without a name or uid", kind.kind), "both"));
        }
        if kind.kind == "Secret" && ["data", "stringData"].iter().any(|f| !line.object[*f].is_null()) {
            return Err(
                self.error(format!("content of Secret {}/{}", own.0, own.1), "its name and type alone")
            );
        }
        self.know(&kind.kind, own, &uid, &line.object)?;
        self.count += 1;
        self.total += 1;
        self.take(cluster, &kind.api_version, &kind.kind, kind.content, line.object)
    }
    /// Takes down who an object is, and who owns it.
    fn know(&mut self, kind: &str, own: (String, String), uid: &str, object: &Value) -> Result<(), Error> {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let owners: Vec<Arc<str>> =
            owners.into_iter().flatten().filter_map(|o| o["uid"].as_str()).map(Arc::from).collect();
        self.wanted.extend(owners.iter().cloned());
        if !self.names.insert(own.clone()) {
            let found = format!("{kind} {}/{} a second time", own.0, own.1);
            return Err(self.error(found, "each object once"));
        }
        if let Some(line) = self.owners.add(uid, self.line, owners) {
            let found = format!("uid {}, which line {line} has", shown(uid));
            return Err(self.error(found, "a uid of its own for each object"));
        }
        Ok(())
    }
    fn take(
        &mut self,
        cluster: usize,
        api_version: &str,
        kind: &str,
        content: Content,
        object: Value,
    ) -> Result<(), Error> {
        // Of a kind the twin acts on, a name alone is an object without what would be acted on.
        let live = Kind::of_object(api_version, kind)
            .filter(|kind| kind.is_typed())
            .filter(|kind| content == Content::Whole || *kind == Kind::ConfigMap);
        let Some(live) = live else {
            let plural = ImportKind::find(api_version, kind).map_or(kind, |k| k.plural);
            let Some(imported) = self.clusters.get_mut(cluster) else { return Ok(()) };
            *imported.aside.entry(plural.to_owned()).or_default() += 1;
            let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
            self.aside.insert(uid.into());
            return Ok(());
        };
        let (mut object, unknown) = decode_object(live, object)
            .map_err(|why| self.error(shown(&why), format!("a {kind} as the Kubernetes API serves it")))?;
        let namespaced = live.resource().namespaced;
        if namespaced == object.namespace().is_empty() {
            let expected = if namespaced { "a namespace" } else { "no namespace" };
            return Err(self
                .error(format!("{kind} {} in namespace {:?}", object.name(), object.namespace()), expected));
        }
        if content != Content::Whole {
            let annotations = object.meta_mut().annotations.get_or_insert_default();
            annotations.insert(NOT_IMPORTED.to_owned(), "data".to_owned());
        }
        if let Some(imported) = self.clusters.get_mut(cluster) {
            imported.unknown_fields += unknown as u64;
            imported.live.push(object);
        }
        Ok(())
    }
    fn end_cluster(&mut self) -> Result<(), Error> {
        if let Some(line) = self.owners.circle() {
            let error = self.error(
                "an object that owns itself, directly or through others",
                "owners that are owned by others",
            );
            return Err(Error { line, ..error });
        }
        let (owners, wanted) = (std::mem::take(&mut self.owners), std::mem::take(&mut self.wanted));
        let aside = std::mem::take(&mut self.aside);
        if let Some(imported) = self.clusters.get_mut(self.at.0) {
            imported.absent_owners =
                wanted.into_iter().filter(|uid| !owners.contains(uid) || aside.contains(uid)).collect();
        }
        Ok(())
    }
    /// The file, once its last line is in.
    ///
    /// # Errors
    /// When it has ended too early.
    pub fn end(mut self) -> Result<Document, Error> {
        let next = self.expected()?;
        self.line += 1;
        let Some(header) = self.header.take() else {
            return Err(self.error("nothing", "the header of a twin file"));
        };
        if let Some((cluster, kind)) = next {
            let cluster = &header.clusters[cluster];
            let kind = &cluster.kinds[kind];
            let found = format!(
                "the end after {} of {} {} objects of cluster {}",
                self.count, kind.objects, kind.kind, cluster.name
            );
            return Err(self.error(found, "all of them: the file is cut short"));
        }
        Ok(Document { header, clusters: self.clusters, digest: self.digest })
    }
}
