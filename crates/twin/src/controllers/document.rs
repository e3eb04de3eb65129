//! Reading and changing objects that are kept as documents.

use super::Cx;
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::store::Stored;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The value at a path below the metadata; `None` where a part of the path is not there.
pub(crate) fn at<'a>(doc: &'a Document, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(doc.body.get(first)?, |value, key| value.get(key))
}

/// The text at a path; empty where there is none.
pub(crate) fn text<'a>(doc: &'a Document, path: &[&str]) -> &'a str {
    at(doc, path).and_then(Value::as_str).unwrap_or_default()
}

/// An annotation; empty where there is none.
pub(crate) fn annotation<'a>(doc: &'a Document, key: &str) -> &'a str {
    doc.metadata.annotations.as_ref().and_then(|a| a.get(key)).map_or("", String::as_str)
}

/// Sets the value at a path, and makes the objects on the way there.
pub(crate) fn set(doc: &mut Document, path: &[&str], value: Value) {
    let Some((last, way)) = path.split_last() else { return };
    let Some((first, way)) = way.split_first() else { return doc.body.insert(last, value) };
    let mut at = doc.body.at_mut(first);
    for key in way.iter().chain([last]) {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry((*key).to_owned()).or_insert(Value::Null);
    }
    *at = value;
}

/// Sets an annotation.
pub(crate) fn annotate(doc: &mut Document, key: &str, value: &str) {
    doc.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

impl Cx<'_> {
    /// A document by name.
    pub(crate) fn document(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Document> {
        self.objects.get(kind, namespace, name)?.object.as_document()
    }
    /// All documents of a kind, in the order of their names.
    pub(crate) fn documents<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Document> {
        self.objects.list(kind, namespace).filter_map(|stored| stored.object.as_document())
    }
    /// Changes a document where there is one; it is written only when something of it changed. Returns whether it was.
    pub(crate) fn change_document(
        &mut self,
        kind: Kind,
        (namespace, name): (&str, &str),
        change: impl FnOnce(&mut Document),
    ) -> bool {
        self.rewrite((kind, namespace, name), |doc, _| change(doc)).is_some()
    }
    /// Changes a document as the API does: the generation counts changes of the spec. Returns what was written, if anything.
    pub(crate) fn edit(
        &mut self,
        place: (Kind, &str, &str),
        change: impl FnOnce(&mut Document),
    ) -> Option<Arc<Stored>> {
        self.rewrite(place, |doc, old| {
            change(doc);
            if !doc.body.is_same(&old.body, "spec") {
                doc.metadata.generation = Some(doc.metadata.generation.unwrap_or(0) + 1);
            }
        })
    }
    /// The same, but nothing is copied where `differs` finds nothing to change.
    pub(crate) fn edit_if(
        &mut self,
        place: (Kind, &str, &str),
        differs: impl FnOnce(&Document) -> bool,
        change: impl FnOnce(&mut Document),
    ) -> Option<Arc<Stored>> {
        self.document(place.0, place.1, place.2).filter(|doc| differs(doc))?;
        self.edit(place, change)
    }
    /// Writes a part of the body that is not the spec, where it differs.
    pub(crate) fn put_part(
        &mut self,
        (kind, namespace, name): (Kind, &str, &str),
        part: &str,
        value: Value,
    ) -> bool {
        let Some(old) = self.document(kind, namespace, name) else { return false };
        if old.body.get(part) == Some(&value) {
            return false;
        }
        let mut new = old.clone();
        new.body.insert(part, value);
        self.objects.put(Object::Document(Box::new(new)));
        true
    }
    fn rewrite(
        &mut self,
        (kind, namespace, name): (Kind, &str, &str),
        change: impl FnOnce(&mut Document, &Document),
    ) -> Option<Arc<Stored>> {
        let old = self.document(kind, namespace, name)?;
        let mut new = old.clone();
        change(&mut new, old);
        if new == *old {
            return None;
        }
        Some(self.objects.put(Object::Document(Box::new(new))))
    }
}
