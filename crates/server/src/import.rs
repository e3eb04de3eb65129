//! `kubercarbon twin import`: the state of clusters, read and written to a twin file.
//!
//! Invariants: the connections can only read; of all kinds of a cluster the same version is read where the API server
//! still has it; what is written has been read back. A cluster that does not answer, or does not let its nodes,
//! namespaces or pods be read, ends it, and no file is written. Objects of a page are cleaned before
//! the next page is asked for; what is held of a kind is its lines, of the file what is packed.

use anyhow::{Context as _, bail};
use connect::client_that_reads;
use connect::contexts::Context;
use connect::observe::about::words;
use connect::observe::collection::{self, Collection, Form, Page, Unread};
use control::whereabouts::{self, REGION_LABEL, Stated};
use flate2::Compression;
use flate2::write::GzEncoder;
use fleet::{ClusterId, Instant};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::time::Duration;
use twin::import::{
    ClusterHeader, Content, Document, Header, ImportKind, KIND, KINDS, KindHeader, Line, OBJECTS_MAX, clean,
};

/// Longest a client may take to be made: a program that gives a token may have to ask somebody for it.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(15);
/// The namespace whose uid tells clusters apart.
const OLDEST: &str = "kube-system";
/// The label that says what a node is.
const INSTANCE_TYPE_LABEL: &str = "node.kubernetes.io/instance-type";

/// A cluster to import.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in the file.
    pub id: ClusterId,
    /// The context it is read through.
    pub context: String,
    /// What a person states about it.
    pub stated: Stated,
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Which kind is being read.
    pub kind: &'static str,
    /// Objects of the cluster so far.
    pub read: u64,
    /// About how many more there are of this kind.
    pub left: u64,
}

/// Hears how far it has come.
pub type Heard<'a> = &'a mut (dyn FnMut(&Progress) + Send);

/// A twin file, packed.
#[derive(Debug)]
pub struct Packed {
    /// What it says of itself.
    pub header: Header,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Packed {
    /// Its bytes, in order.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.head, &self.body]
    }
    /// How many there are.
    pub fn size(&self) -> usize {
        self.head.len() + self.body.len()
    }
    /// Reads it back.
    pub fn unpack(&self) -> anyhow::Result<Document> {
        crate::twin_file::unpack(self.head.as_slice().chain(self.body.as_slice()))
    }
}

/// A connection to a cluster that only reads.
pub async fn connect(context: &Context) -> anyhow::Result<kube::Client> {
    let config = context.config().await.map_err(anyhow::Error::msg)?;
    // It may run a program, and wait for it.
    let made = tokio::task::spawn_blocking(move || client_that_reads(config));
    let made = tokio::time::timeout(CLIENT_TIMEOUT, made).await;
    let made = made.map_err(|_| anyhow::anyhow!("no credentials within {} s", CLIENT_TIMEOUT.as_secs()))?;
    made.context("make a client")?.map_err(|e| anyhow::anyhow!("{}", words(&e)))
}

/// Reads clusters, one after another, at `now` by the clock their nodes go by. `config_maps`: their content too.
pub async fn import(
    sources: Vec<(Source, kube::Client)>,
    config_maps: bool,
    now: &(dyn Fn() -> Instant + Sync),
    heard: Heard<'_>,
) -> anyhow::Result<Packed> {
    let mut body = Body { packer: GzEncoder::new(Vec::new(), Compression::default()), objects: 0 };
    let mut clusters: Vec<ClusterHeader> = Vec::new();
    for (source, client) in sources {
        let name = source.id.clone();
        let header = Reading { source, client, config_maps, now, body: &mut body, heard }.cluster().await;
        let header = header.with_context(|| format!("cluster {name}"))?;
        if let Some(first) = clusters.iter().find(|c| c.uid.is_some() && c.uid == header.uid) {
            bail!("{} and {name} are one cluster: expected each cluster once", first.name);
        }
        clusters.push(header);
    }
    let header = Header {
        api_version: fleet::plan::API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        by: concat!("kubercarbon ", env!("CARGO_PKG_VERSION")).to_owned(),
        taken_at: clusters.iter().map(|c| c.taken_at).max().context("no cluster: expected at least one")?,
        clusters,
    };
    let mut head = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut head, &header).context("write the header")?;
    head.write_all(b"\n").context("write the header")?;
    let packed = Packed {
        header,
        head: head.finish().context("pack the header")?,
        body: body.packer.finish().context("pack the objects")?,
    };
    packed.unpack().context("read back what was to be written")?;
    Ok(packed)
}

/// The lines after the header, packed as they come.
struct Body {
    packer: GzEncoder<Vec<u8>>,
    objects: u64,
}

/// One cluster being read.
struct Reading<'a> {
    source: Source,
    client: kube::Client,
    config_maps: bool,
    now: &'a (dyn Fn() -> Instant + Sync),
    body: &'a mut Body,
    heard: Heard<'a>,
}

/// What is read off objects on their way into the file.
#[derive(Default)]
struct Seen {
    regions: BTreeMap<String, usize>,
    instance_types: BTreeMap<String, u64>,
    uid: Option<String>,
    blanked: u64,
}

impl Seen {
    fn object(&mut self, kind: &ImportKind, object: &Value) {
        let label = |name: &str| object["metadata"]["labels"][name].as_str().unwrap_or_default().to_owned();
        match kind.kind {
            "Node" => {
                let region = Some(label(REGION_LABEL)).filter(|region| !region.is_empty());
                if let Some(region) = region {
                    *self.regions.entry(region).or_default() += 1;
                }
                *self.instance_types.entry(label(INSTANCE_TYPE_LABEL)).or_default() += 1;
            }
            "Namespace" if object["metadata"]["name"] == OLDEST => {
                self.uid = object["metadata"]["uid"].as_str().map(str::to_owned);
            }
            _ => {}
        }
    }
}

/// Namespace and name of an object, and its line.
type Named = ((String, String), Vec<u8>);

impl Reading<'_> {
    async fn cluster(mut self) -> anyhow::Result<ClusterHeader> {
        // The API keeps whole seconds, and a twin of it begins on one.
        let taken_at = Instant::from_unix_seconds((self.now)().as_unix_seconds());
        let server_version = collection::server_version(&self.client).await.map_err(anyhow::Error::msg)?;
        let mut seen = Seen::default();
        let (mut kinds, mut unread, mut at, mut before) = (Vec::new(), Vec::new(), None, 0);
        for kind in &KINDS {
            match self.kind(kind, at.as_deref(), before, &mut seen).await {
                Ok(read) => {
                    before += read.objects;
                    at.get_or_insert_with(|| read.resource_version.clone());
                    kinds.push(read);
                }
                Err(Unread::Refused(why)) if !kind.required => {
                    unread.push(twin::import::Unread {
                        api_version: kind.api_version(),
                        kind: kind.kind.to_owned(),
                        why,
                    });
                }
                Err(Unread::Refused(why)) => {
                    bail!(
                        "{}: {why}\n\nhint: kubercarbon rbac --import prints the rights that are needed",
                        kind.plural
                    )
                }
                Err(error) => return Err(error.into()),
            }
        }
        let place = whereabouts::find(&self.source.context, &self.source.stated, &seen.regions);
        Ok(ClusterHeader {
            name: self.source.id,
            context: self.source.context,
            taken_at,
            uid: seen.uid,
            server_version,
            region: place.region,
            grid_zone: place.grid_zone,
            pue_milli: place.pue_milli,
            labels: self.source.stated.labels,
            assumed: place.assumed,
            instance_types: seen.instance_types,
            kinds,
            unread,
            blanked: seen.blanked,
        })
    }

    /// Reads one kind and writes it down, in order.
    async fn kind(
        &mut self,
        kind: &'static ImportKind,
        at: Option<&str>,
        before: u64,
        seen: &mut Seen,
    ) -> Result<KindHeader, Unread> {
        let whole = self.config_maps && kind.kind == "ConfigMap";
        let content = if whole { Content::Whole } else { kind.content };
        let form = match content {
            Content::Whole => Form::Objects,
            Content::Names => Form::Metadata,
            Content::NamesAndTypes => Form::Types,
        };
        let collection = Collection { path: kind.path(), form };
        let mut lines: Vec<Named> = Vec::new();
        let mut blanked = 0;
        let (cluster, heard, all) = (self.source.id.clone(), &mut *self.heard, self.body.objects);
        let mut take = |page: Page| -> Result<(), String> {
            let (items, left) = match page {
                Page::Items { items, left } => (items, left),
                Page::Again => {
                    (lines, blanked) = (Vec::new(), 0);
                    return Ok(());
                }
            };
            for mut object in items {
                blanked += clean(kind, whole, &mut object).0;
                lines.push(named(&cluster, object)?);
            }
            let read = lines.len() as u64;
            if all + read + left > OBJECTS_MAX {
                return Err(format!("more than {OBJECTS_MAX} objects: expected at most that in one file"));
            }
            heard(&Progress { cluster: cluster.clone(), kind: kind.plural, read: before + read, left });
            Ok(())
        };
        let resource_version = collection::read(&self.client, &collection, at, &mut take).await?;
        lines.sort();
        let stopped = |e: std::io::Error| Unread::Stopped(e.to_string());
        for (_, line) in &lines {
            self.body.packer.write_all(line).map_err(stopped)?;
            if matches!(kind.kind, "Node" | "Namespace") {
                let line: Line = serde_json::from_slice(line).map_err(|e| stopped(e.into()))?;
                seen.object(kind, &line.object);
            }
        }
        seen.blanked += blanked;
        let objects = lines.len() as u64;
        self.body.objects += objects;
        Ok(KindHeader {
            api_version: kind.api_version(),
            kind: kind.kind.to_owned(),
            resource_version,
            objects,
            content,
        })
    }
}

/// An object's line, and where it comes in order.
fn named(cluster: &ClusterId, object: Value) -> Result<Named, String> {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let place = (text("namespace"), text("name"));
    let line = Line { cluster: cluster.clone(), object };
    let mut line = serde_json::to_vec(&line).map_err(|e| e.to_string())?;
    line.push(b'\n');
    Ok((place, line))
}
