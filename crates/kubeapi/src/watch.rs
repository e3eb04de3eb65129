//! Watches: one JSON event a line, or one event in protobuf a frame, for as long as the client listens.
//!
//! A watch remembers only the last version it has told; everything else comes from the twin's history,
//! so a slow client costs no memory. When the history no longer reaches back, the watch ends with 410.

use crate::negotiate::{Accept, Form, Media};
use crate::protobuf::{self, Encoded};
use crate::query::Query;
use crate::read::{FORMS, include_object, list_query};
use crate::respond;
use crate::route::Target;
use crate::service::Cluster;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use fleet::Instant;
use futures::stream;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, Sleep};
use twin::apiserver::list::{parse_version, too_large};
use twin::apiserver::table::partial_metadata;
use twin::apiserver::{self, IncludeObject, ListQuery, Selectors, VersionMatch};
use twin::kind::Defined;
use twin::{Change, ChangeKind, Kind, Objects, Status, Stored};

/// How long a watch lasts when the client names no timeout (Kubernetes: 30 to 60 minutes).
const TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// Longest timeout granted.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Most changes looked at at a time.
const BATCH_MAX: usize = 1000;
/// Events are told together, as far as they are there, until they are so many bytes: one answer to the socket for all.
const BATCH_BYTES: usize = 64 * 1024;

/// What of the objects is told.
struct View {
    kind: Kind,
    /// The definition behind a custom kind, as it was when the watch began.
    defined: Option<Arc<Defined>>,
    namespace: Option<String>,
    selectors: Selectors,
    form: Form,
    media: Media,
    /// What other watches have encoded.
    encoded: Arc<Encoded>,
    include: IncludeObject,
    /// Column definitions go with the first event only.
    columns_sent: bool,
}

struct Watch {
    cluster: Cluster,
    view: View,
    /// The last version looked at.
    version: u64,
    /// Events not yet told.
    lines: Vec<u8>,
    bookmarks: Option<Interval>,
    end: Pin<Box<Sleep>>,
    ended: bool,
}

/// Writes an event, as a line.
fn line(lines: &mut Vec<u8>, event: &str, object: &[u8]) {
    lines.extend_from_slice(b"{\"type\":\"");
    lines.extend_from_slice(event.as_bytes());
    lines.extend_from_slice(b"\",\"object\":");
    lines.extend_from_slice(object);
    lines.extend_from_slice(b"}\n");
}

/// Media type of events in protobuf.
const FRAMES: &str = "application/vnd.kubernetes.protobuf;stream=watch";

impl View {
    /// Writes an event about a document.
    fn tell(&self, lines: &mut Vec<u8>, event: &str, document: &Value) {
        if self.media == Media::Json {
            return line(lines, event, document.to_string().as_bytes());
        }
        match protobuf::encode(document) {
            Some(object) => protobuf::event(event, &object, lines),
            None => self.unencoded(lines, &document["metadata"]["name"]),
        }
    }
    /// Says that an object cannot be told.
    fn unencoded(&self, lines: &mut Vec<u8>, name: &Value) {
        let why = format!("{} {name} has no protobuf: ask for application/json", self.kind.resource().plural);
        let status = Status::new(500, "InternalError", why).to_value();
        if let Some(object) = protobuf::encode(&status) {
            protobuf::event("ERROR", &object, lines);
        }
    }
    fn sees(&self, stored: &Arc<Stored>) -> bool {
        let here = self.namespace.as_deref().is_none_or(|wanted| wanted == stored.object.namespace());
        here && self.selectors.matches(stored)
    }
    fn event(&mut self, lines: &mut Vec<u8>, event: &str, stored: &Arc<Stored>, now: Instant) {
        match self.form {
            Form::Table => {
                let mut table = self.table(std::slice::from_ref(stored), now);
                table["metadata"]["resourceVersion"] = json!(stored.version.to_string());
                self.only_first_columns(&mut table);
                line(lines, event, table.to_string().as_bytes());
            }
            Form::Metadata => self.tell(lines, event, &partial_metadata(stored)),
            _ if self.media == Media::Protobuf => match self.encoded.of(self.kind, stored) {
                Some(object) => protobuf::event(event, &object, lines),
                None => self.unencoded(lines, &json!(stored.object.name())),
            },
            _ => line(lines, event, &apiserver::shown(self.kind, self.defined.as_deref(), stored)),
        }
    }
    fn table(&self, items: &[Arc<Stored>], now: Instant) -> Value {
        apiserver::table(self.kind, self.defined.as_deref(), items, now, self.include)
    }
    fn only_first_columns(&mut self, table: &mut Value) {
        if self.columns_sent {
            table["columnDefinitions"] = Value::Null;
        }
        self.columns_sent = true;
    }
    /// Tells what a change means to this view.
    fn change(&mut self, lines: &mut Vec<u8>, change: &Change, now: Instant) {
        let was = change.previous.as_ref().is_some_and(|previous| self.sees(previous));
        let is = change.kind != ChangeKind::Deleted && self.sees(&change.object);
        match (was, is) {
            (false, false) => {}
            (false, true) => self.event(lines, "ADDED", &change.object, now),
            (true, true) => self.event(lines, "MODIFIED", &change.object, now),
            (true, false) if change.kind == ChangeKind::Deleted => {
                self.event(lines, "DELETED", &change.told(), now);
            }
            (true, false) => {
                // It no longer matches: the client is told the state it knew, at the new version.
                let Some(known) = change.previous.as_ref() else { return };
                let shown = Stored::at(known.object.clone(), change.version);
                let shown = Arc::new(shown.with_managed(known.managed.clone()));
                self.event(lines, "DELETED", &shown, now);
            }
        }
    }
    fn bookmark(&mut self, lines: &mut Vec<u8>, version: u64, initial_end: bool) {
        let resource = self.kind.resource();
        let mut meta = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if initial_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Table => {
                let mut table = self.table(&[], Instant::EPOCH);
                table["metadata"] = json!({"resourceVersion": version.to_string()});
                self.only_first_columns(&mut table);
                table
            }
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
            }
            _ => json!({"kind": resource.name, "apiVersion": resource.api_version(), "metadata": meta}),
        };
        self.tell(lines, "BOOKMARK", &object);
    }
}

impl Watch {
    /// Turns what has changed into lines.
    fn collect(&mut self) {
        let (view, lines, version, ended) =
            (&mut self.view, &mut self.lines, &mut self.version, &mut self.ended);
        let known = self.cluster.read(|objects, now| {
            if objects.last_version(view.kind) <= *version {
                // Others changed.
                *version = objects.version();
                return;
            }
            let Ok(changes) = objects.changes_of(view.kind, *version) else {
                let status = Status::expired("too old resource version");
                view.tell(lines, "ERROR", &status.to_value());
                *ended = true;
                return;
            };
            for change in changes.take(BATCH_MAX) {
                view.change(lines, change, now);
                *version = change.version;
                if lines.len() >= BATCH_BYTES {
                    return;
                }
            }
            if *version == objects.last_version(view.kind) {
                *version = objects.version();
            }
        });
        *ended |= known.is_err();
    }
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Watch)> {
        loop {
            if !self.lines.is_empty() {
                return Some((Ok(Bytes::from(std::mem::take(&mut self.lines))), self));
            }
            if self.ended {
                return None;
            }
            let changed = self.cluster.twin.changed(&self.cluster.id, self.version);
            tokio::select! {
                () = changed => self.collect(),
                () = tick(&mut self.bookmarks) => {
                    // What has happened comes first, so that the bookmark promises nothing too much.
                    self.collect();
                    self.view.bookmark(&mut self.lines, self.version, false);
                }
                () = &mut self.end => {
                    if self.bookmarks.is_some() {
                        self.view.bookmark(&mut self.lines, self.version, false);
                    }
                    self.ended = true;
                }
            }
        }
    }
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => futures::future::pending().await,
    }
}

/// Where a watch begins.
struct Start {
    version: u64,
    existing: Vec<Arc<Stored>>,
    now: Instant,
}

fn start(
    objects: &Objects,
    now: Instant,
    kind: Kind,
    wanted: &ListQuery,
    initial: bool,
) -> Result<Start, Status> {
    let current = objects.version();
    let text = wanted.resource_version.as_deref().unwrap_or_default();
    let version = if text.is_empty() { 0 } else { parse_version(text)? };
    if version > current {
        return Err(too_large(version, current));
    }
    if initial {
        let all = ListQuery { limit: None, resource_version: None, version_match: None, ..wanted.clone() };
        let existing = apiserver::list(objects, kind, &all)?.items;
        return Ok(Start { version: current, existing, now });
    }
    let version = if version == 0 { current } else { version };
    if objects.changes_of(kind, version).is_err() {
        return Err(Status::expired(format!("too old resource version: {version} ({current})")));
    }
    Ok(Start { version, existing: Vec::new(), now })
}

/// Whether existing objects are told first. Kubernetes' rules on `sendInitialEvents` are kept.
fn sends_initial(query: &Query, wanted: &ListQuery) -> Result<bool, Status> {
    let newest = matches!(wanted.resource_version.as_deref(), None | Some("" | "0"));
    match query.filled("sendInitialEvents") {
        None => {
            if wanted.version_match.is_some() {
                let why = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                return Err(Status::new(422, "Invalid", why));
            }
            Ok(newest)
        }
        Some(text) => {
            if wanted.version_match != Some(VersionMatch::NotOlderThan) {
                let why = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                return Err(Status::new(422, "Invalid", why));
            }
            Ok(text == "true" || text == "1")
        }
    }
}

/// Begins a watch.
pub(crate) fn answer(
    cluster: &Cluster,
    target: &Target,
    query: &Query,
    accept: &Accept,
) -> Result<Response, Status> {
    let wanted = list_query(target, query)?;
    let parse = |objects: &Objects, _| {
        let selectors = Selectors::of(objects, target.kind, &wanted.label_selector, &wanted.field_selector);
        selectors.map(|selectors| (selectors, objects.definition_of(target.kind).cloned()))
    };
    let (selectors, defined) = cluster.read(parse)??;
    let (form, media) = accept.choose_of(&FORMS, !target.kind.resource().custom)?;
    let mut view = View {
        kind: target.kind,
        defined,
        namespace: target.namespace.clone(),
        selectors,
        form,
        media,
        encoded: cluster.encoded.clone(),
        include: include_object(query)?,
        columns_sent: false,
    };
    let initial = sends_initial(query, &wanted)?;
    let start = cluster.read(|objects, now| start(objects, now, target.kind, &wanted, initial))??;
    let mut lines = Vec::new();
    for stored in &start.existing {
        view.event(&mut lines, "ADDED", stored, start.now);
    }
    let bookmarks = query.flag("allowWatchBookmarks");
    if initial && query.filled("sendInitialEvents").is_some() && bookmarks {
        view.bookmark(&mut lines, start.version, true);
    }
    let timeout = query
        .number("timeoutSeconds")?
        .and_then(|s| u64::try_from(s).ok())
        .filter(|s| *s > 0)
        .map_or(TIMEOUT, Duration::from_secs)
        .min(TIMEOUT_MAX);
    let watch = Watch {
        cluster: cluster.clone(),
        view,
        version: start.version,
        lines,
        bookmarks: bookmarks.then(bookmark_interval),
        end: Box::pin(tokio::time::sleep(timeout)),
        ended: false,
    };
    let media = if media == Media::Protobuf { FRAMES } else { respond::JSON };
    Ok(respond::bytes(200, media, Body::from_stream(stream::unfold(watch, Watch::next))))
}

fn bookmark_interval() -> Interval {
    let mut interval = tokio::time::interval(BOOKMARK_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once; the first bookmark is due a period later.
    interval.reset();
    interval
}
