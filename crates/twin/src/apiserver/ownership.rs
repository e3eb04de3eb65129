//! Who owns which fields after a write, as `metadata.managedFields` says.
//!
//! Kept for writers that give a name: clients of the REST API, whose name is at least that of their program. Writes in
//! process (the twin's own controllers, the demo, simulations) give none and leave ownership as it was.

use super::apply::{self, Managers, Writer};
use super::request::{Request, Subresource};
use super::schema::{KUBERNETES, Schema, Shape, zero};
use crate::kind::Kind;
use crate::store::Managed;
use fleet::Instant;
use serde_json::{Value, json};
use std::sync::Arc;

/// How a document came about.
pub(super) enum Origin {
    /// It was sent whole, or as a change.
    Written,
    /// It was applied; these own what.
    Applied(Managers),
}

/// The types of a custom resource; `None`: Kubernetes' own.
pub(super) type Types<'a> = Option<&'a (Schema, Shape)>;

/// The writer of a request, if it gave a name.
fn writer<'a>(
    request: &'a Request,
    now: Instant,
    api_version: &'a str,
    types: Types<'a>,
) -> Option<Writer<'a>> {
    let manager = request.options.field_manager.as_deref().filter(|name| !name.is_empty())?;
    let subresource = request.subresource.map_or("", Subresource::as_str);
    Some(Writer { manager, api_version, kind: request.kind.resource().name, subresource, now, types })
}

/// The version in which a kind's owned fields are named: that of storage, but for custom resources, whose versions
/// differ in nothing.
fn version_of(kind: Kind) -> String {
    if kind.resource().custom {
        kind.resource().api_version()
    } else {
        kind.stored().resource().api_version()
    }
}

/// Owners written down on a document; wrong ones count as none.
fn managers_of(doc: &Value) -> Managers {
    Managers::read(doc).unwrap_or_default()
}

/// The owners a writer sends along: `[{}]` asks for none to be kept, what cannot be read counts as not sent.
fn sent(new: &Value, old: &Value) -> Managers {
    let list = new.pointer("/metadata/managedFields").and_then(Value::as_array);
    match list.map(Vec::as_slice) {
        Some([only]) if only.as_object().is_some_and(serde_json::Map::is_empty) => Managers::default(),
        Some([_, ..]) => Managers::read(new).unwrap_or_else(|_| managers_of(old)),
        _ => managers_of(old),
    }
}

/// Parts of a document that are laid aside while it is compared.
struct Aside {
    managed: Option<Value>,
    status: Option<Value>,
}

impl Aside {
    /// Takes them out: the owners, and the status if it is not to be owned by this write.
    fn of(doc: &mut Value, status: bool) -> Aside {
        let managed = doc.get_mut("metadata").and_then(Value::as_object_mut);
        let managed = managed.and_then(|meta| meta.remove("managedFields"));
        let status = doc.as_object_mut().filter(|_| status).and_then(|doc| doc.remove("status"));
        Aside { managed, status }
    }
    /// Puts them back.
    fn back(self, doc: &mut Value) {
        if let Some(managed) = self.managed {
            doc["metadata"]["managedFields"] = managed;
        }
        if let Some(status) = self.status {
            doc["status"] = status;
        }
    }
}

/// Owners after `old` became `new`, both as stored, which are as before when it returns. `None`: nobody gave a name, so they are
/// those of before.
pub(super) fn after(
    (request, now, types): (&Request, Instant, Types<'_>),
    old: &mut Value,
    new: &mut Value,
    origin: Origin,
) -> Option<Managers> {
    if let Origin::Applied(managers) = origin {
        return Some(managers);
    }
    let version = version_of(request.kind);
    let writer = writer(request, now, &version, types)?;
    let managers = sent(new, old);
    // What a new object has before anybody fills it in is nobody's.
    let kind = request.kind.stored().resource();
    let is_new = old.as_object().is_some_and(serde_json::Map::is_empty);
    let empty = KUBERNETES.kind(&kind.api_version(), kind.name).filter(|_| is_new);
    let empty = empty.map(|id| zero(&KUBERNETES, KUBERNETES.shape(id)));
    // A status is its subresource's to own.
    let apart = request.subresource.is_none() && request.kind.resource().status;
    let aside = (Aside::of(old, apart), Aside::of(new, apart));
    let managers = apply::managers_after(empty.as_ref().unwrap_or(old), new, managers, &writer);
    aside.0.back(old);
    aside.1.back(new);
    Some(managers)
}

/// Whether the owners of a document and others are the same, times apart.
pub(super) fn same(old: &Value, new: &Managers) -> bool {
    let old = managers_of(old);
    let alike = |(a, b): ((&_, &apply::Owned), (&_, &apply::Owned))| {
        a.0 == b.0 && a.1.fields == b.1.fields && a.1.api_version == b.1.api_version
    };
    old.0.len() == new.0.len() && old.0.iter().zip(&new.0).all(alike)
}

/// As it is kept beside an object.
pub(super) fn managed(managers: Option<&Managers>) -> Option<Arc<Managed>> {
    managers.and_then(Managed::new)
}

/// A document with its owners.
pub(super) fn show(mut doc: Value, managed: Option<&Managed>) -> Value {
    match managed {
        Some(managed) => doc["metadata"]["managedFields"] = managed.to_value(),
        None => {
            if let Some(meta) = doc.get_mut("metadata").and_then(Value::as_object_mut) {
                meta.remove("managedFields");
            }
        }
    }
    doc
}

/// Server-side apply of the request's body to what is shown of the object now (an empty object: there is none).
pub(super) fn apply_config(
    (request, now, types): (&Request, Instant, Types<'_>),
    shown: &Value,
    config: &Value,
) -> Result<apply::Applied, super::Status> {
    let version = version_of(request.kind);
    let Some(writer) = writer(request, now, &version, types) else {
        return Err(super::Status::new(
            422,
            "Invalid",
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    };
    let mut config = config.clone();
    let parts: &[&str] = match request.subresource {
        None if request.kind.resource().status => &["status"],
        Some(Subresource::Status) => &["spec"],
        _ => &[],
    };
    if let Some(config) = config.as_object_mut() {
        parts.iter().for_each(|part| drop(config.remove(*part)));
    }
    let managers = managers_of(shown);
    let live = if shown.is_null() { json!({}) } else { shown.clone() };
    apply::apply(&live, &config, managers, &writer, request.options.force)
}
