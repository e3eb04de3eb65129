//! Tables: what `kubectl get` prints, column by column.
//!
//! Columns and cells are those of Kubernetes' printers (`pkg/printers/internalversion`). Ages are in
//! virtual time.

mod age;
mod cells;
mod document;
mod pod;

pub use age::human;
pub(crate) use cells::selector;

use super::convert;
use crate::kind::{Defined, Kind};
use crate::object::Object;
use crate::store::Stored;
use fleet::Instant;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a row carries beside its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The object.
    Object,
}

/// A column: name, type, format, priority (0 always shown, 1 with `-o wide`), description.
type Column = (&'static str, &'static str, &'static str, u8, &'static str);

const NAME: Column = (
    "Name",
    "string",
    "name",
    0,
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically.",
);
const AGE: Column = (
    "Age",
    "string",
    "",
    0,
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
);

const fn column(name: &'static str, kind: &'static str, priority: u8) -> Column {
    (name, kind, "", priority, "")
}

const POD: &[Column] = &[
    NAME,
    ("Ready", "string", "", 0, "The aggregate readiness state of this pod for accepting traffic."),
    ("Status", "string", "", 0, "The aggregate status of the containers in this pod."),
    (
        "Restarts",
        "string",
        "",
        0,
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    column("IP", "string", 1),
    column("Node", "string", 1),
    column("Nominated Node", "string", 1),
    column("Readiness Gates", "string", 1),
];
const JOB: &[Column] = &[
    NAME,
    ("Status", "string", "", 0, "Status of the job."),
    column("Completions", "string", 0),
    ("Duration", "string", "", 0, "Time required to complete the job."),
    AGE,
    ("Containers", "string", "", 1, "Names of each container in the template."),
    ("Images", "string", "", 1, "Images referenced by each container in the template."),
    column("Selector", "string", 1),
];
const NODE: &[Column] = &[
    NAME,
    ("Status", "string", "", 0, "The status of the node"),
    ("Roles", "string", "", 0, "The roles of the node"),
    AGE,
    column("Version", "string", 0),
    column("Internal-IP", "string", 1),
    column("External-IP", "string", 1),
    column("OS-Image", "string", 1),
    column("Kernel-Version", "string", 1),
    column("Container-Runtime", "string", 1),
];
const NAMESPACE: &[Column] = &[NAME, ("Status", "string", "", 0, "The status of the namespace"), AGE];
const CONFIG_MAP: &[Column] = &[NAME, column("Data", "string", 0), AGE];
const LEASE: &[Column] = &[NAME, column("Holder", "string", 0), AGE];
const PRIORITY_CLASS: &[Column] = &[
    NAME,
    column("Value", "integer", 0),
    column("Global-Default", "boolean", 0),
    AGE,
    column("PreemptionPolicy", "string", 0),
];
const EVENT: &[Column] = &[
    column("Last Seen", "string", 0),
    column("Type", "string", 0),
    column("Reason", "string", 0),
    column("Object", "string", 0),
    column("Subobject", "string", 1),
    column("Source", "string", 1),
    column("Message", "string", 0),
    column("First Seen", "string", 1),
    column("Count", "integer", 1),
    ("Name", "string", "name", 1, NAME.4),
];

fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Pod => POD,
        Kind::Job => JOB,
        Kind::Node => NODE,
        Kind::Namespace => NAMESPACE,
        Kind::ConfigMap => CONFIG_MAP,
        Kind::Lease => LEASE,
        Kind::PriorityClass => PRIORITY_CLASS,
        Kind::Event => EVENT,
        Kind::Document(_) => &[],
    }
}

/// The cells of one object's row and, for finished pods and Jobs, the row's conditions.
pub fn row(object: &Object, now: Instant) -> (Vec<Value>, Vec<Value>) {
    match object {
        Object::Pod(pod) => pod::row(pod, now),
        Object::Job(job) => cells::job(job, now),
        Object::Node(node) => (cells::node(node, now), Vec::new()),
        Object::Namespace(namespace) => (cells::namespace(namespace, now), Vec::new()),
        Object::ConfigMap(map) => (cells::config_map(map, now), Vec::new()),
        Object::Lease(lease) => (cells::lease(lease, now), Vec::new()),
        Object::PriorityClass(class) => (cells::priority_class(class, now), Vec::new()),
        Object::Event(event) => (cells::event(event, now), Vec::new()),
        Object::Document(document) => (document::row(document.kind, None, document, now), Vec::new()),
    }
}

/// An object's metadata as a document of its own.
pub fn partial_metadata(stored: &Stored) -> Value {
    let mut meta = serde_json::to_value(stored.object.meta()).unwrap_or_default();
    if let Some(managed) = &stored.managed {
        meta["managedFields"] = managed.to_value();
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
}

/// The `Table` of some objects of a kind; `defined` is the definition behind a custom one. The caller adds the list's
/// `metadata`.
pub fn table(
    kind: Kind,
    defined: Option<&Defined>,
    items: &[Arc<Stored>],
    now: Instant,
    include: IncludeObject,
) -> Value {
    let of = kind.stored();
    let definitions: Vec<Value> = match of {
        Kind::Document(_) => document::definitions(if defined.is_some() { kind } else { of }, defined),
        typed => columns(typed)
            .iter()
            .map(|(name, kind, format, priority, description)| {
                json!({"name": name, "type": kind, "format": format, "priority": priority, "description": description})
            })
            .collect(),
    };
    let rows: Vec<Value> = items
        .iter()
        .map(|stored| {
            let (cells, conditions) = match (&stored.object, defined) {
                (Object::Document(document), Some(_)) => {
                    (document::row(kind, defined, document, now), Vec::new())
                }
                (object, _) => row(object, now),
            };
            let mut row = json!({"cells": cells});
            if !conditions.is_empty() {
                row["conditions"] = Value::Array(conditions);
            }
            match include {
                IncludeObject::None => {}
                IncludeObject::Metadata => row["object"] = partial_metadata(stored),
                IncludeObject::Object => row["object"] = convert::shown_value(kind, stored),
            }
            row
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": definitions, "rows": rows})
}
