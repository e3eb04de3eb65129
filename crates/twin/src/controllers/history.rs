//! `history`: the ControllerRevisions in which a StatefulSet or a DaemonSet keeps the templates its pods are of.
//!
//! A revision is found by its data, so going back to an old template takes up the old revision under a new number.

use super::Cx;
use super::owned::{KINDS, Owned, reference};
use super::podcontrol::number;
use crate::object::{Body, Document, Object};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Label of a pod: the revision it is of.
pub(crate) const REVISION: &str = "controller-revision-hash";
/// Label of a StatefulSet's revision: the hash in its name. A DaemonSet's has it under [`REVISION`].
const HASH: &str = "controller.kubernetes.io/hash";
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A template as it was.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    pub(crate) name: String,
    pub(crate) number: i64,
    data: Value,
}

impl Revision {
    fn read(object: &Object) -> Option<Revision> {
        let body = &object.as_document()?.body;
        let number = body.get("revision").and_then(Value::as_i64).unwrap_or(0);
        Some(Revision { name: object.name().to_owned(), number, data: body.get("data")?.clone() })
    }
    /// The pods' template.
    pub(crate) fn template(&self) -> Option<PodTemplateSpec> {
        let mut template = self.data.pointer("/spec/template")?.clone();
        template.as_object_mut()?.remove("$patch");
        serde_json::from_value(template).ok()
    }
    /// What tells it from others: the mark of a DaemonSet's pods.
    pub(crate) fn hash(&self) -> &str {
        self.name.rsplit_once('-').map_or("", |(_, hash)| hash)
    }
}

/// The revisions of a workload, oldest first, the last that of its template as it is now: found, brought back or made.
pub(crate) fn revisions(cx: &mut Cx<'_>, owned: &Owned, object: &Object) -> Vec<Revision> {
    let children = owned.children(object.uid(), KINDS.revision);
    let current = |name: &str| cx.objects.get(KINDS.revision, object.namespace(), name).cloned();
    let mut all: Vec<Revision> =
        children.filter_map(|stored| Revision::read(&current(stored.object.name())?.object)).collect();
    all.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
    let spec = object.as_document().and_then(|d| d.body.get("spec"));
    let mut template = spec.and_then(|s| s.get("template")).cloned().unwrap_or_default();
    if let Some(map) = template.as_object_mut() {
        map.insert("$patch".to_owned(), json!("replace"));
    }
    let data = json!({"spec": {"template": template}});
    let next = all.last().map_or(0, |last| last.number) + 1;
    match all.iter().position(|revision| revision.data == data) {
        Some(at) if at + 1 == all.len() => {}
        Some(at) => {
            let mut back = all.remove(at);
            back.number = next;
            cx.edit((KINDS.revision, object.namespace(), &back.name), |doc| {
                doc.body.insert("revision", json!(next));
            });
            all.push(back);
        }
        None => all.push(make(cx, object, data, next)),
    }
    all
}

fn make(cx: &mut Cx<'_>, object: &Object, data: Value, number: i64) -> Revision {
    let mut collisions = 0;
    let (name, hash) = loop {
        let hash = hash(&data, collisions);
        let name = format!("{}-{hash}", object.name());
        if cx.objects.get(KINDS.revision, object.namespace(), &name).is_none() {
            break (name, hash);
        }
        collisions += 1;
    };
    let mut metadata = cx.new_meta(object.namespace(), name.clone());
    let labels = data.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
    let mut labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap_or_default();
    let label = if object.kind() == KINDS.daemon_set { REVISION } else { HASH };
    labels.insert(label.to_owned(), hash);
    metadata.labels = Some(labels);
    metadata.annotations = object.meta().annotations.clone();
    metadata.owner_references = Some(vec![reference(object)]);
    let mut body = Body::default();
    body.insert("data", data.clone());
    body.insert("revision", json!(number));
    let api_version = KINDS.revision.resource().api_version().into();
    cx.objects.put(Object::Document(Box::new(Document {
        kind: KINDS.revision,
        api_version,
        metadata,
        body,
    })));
    Revision { name, number, data }
}

/// FNV-1a of the data's JSON, in letters that make no words.
fn hash(data: &Value, collisions: u32) -> String {
    let text = format!("{data}{collisions}");
    let fnv = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let sum = text.bytes().fold(0x811c_9dc5_u32, fnv);
    sum.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// Deletes the oldest revisions that no pod is of, beyond a limit.
pub(crate) fn truncate(
    cx: &mut Cx<'_>,
    object: &Object,
    all: &[Revision],
    used: &BTreeSet<String>,
    limit: Option<i32>,
) {
    let unused: Vec<&Revision> = all.iter().filter(|revision| !used.contains(&revision.name)).collect();
    let over = number(unused.len()) - limit.unwrap_or(10).max(0);
    for revision in unused.into_iter().take(usize::try_from(over).unwrap_or(0)) {
        cx.delete(KINDS.revision, object.namespace(), &revision.name);
    }
}
