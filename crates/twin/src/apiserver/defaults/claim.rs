//! The storage class of claims that name none (admission plugin DefaultStorageClass).

use super::set;
use crate::kind::Kind;
use crate::object::Document;
use crate::store::Objects;
use serde_json::{Value, json};
use std::cmp::Reverse;

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Where the class stood before there was a field for it.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The class claims get that name none: of several the newest.
pub(crate) fn default_class(objects: &Objects) -> Option<String> {
    let kind = Kind::document("storage.k8s.io", "storageclasses");
    let is_default = |doc: &&Document| {
        let annotations = doc.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(DEFAULT_CLASS)).is_some_and(|word| word == "true")
    };
    let all = objects.list(kind, None).filter_map(|stored| stored.object.as_document());
    let age = |doc: &&Document| {
        (doc.metadata.creation_timestamp.as_ref().map(|time| time.0), Reverse(doc.metadata.name.clone()))
    };
    all.filter(is_default).max_by_key(age).and_then(|class| class.metadata.name.clone())
}

/// Gives a new claim the default class, where it names none.
pub(super) fn admit(objects: &Objects, doc: &mut Value) {
    let named = doc.pointer("/metadata/annotations").is_some_and(|all| all.get(CLASS_ANNOTATION).is_some());
    if named {
        return;
    }
    let class = default_class(objects);
    if let (Some(class), Some(spec)) = (class, doc.get_mut("spec").and_then(Value::as_object_mut)) {
        set(spec, "storageClassName", json!(class));
    }
}
