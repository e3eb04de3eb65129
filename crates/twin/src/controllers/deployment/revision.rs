//! The ReplicaSet of the current template: found, made, and marked with its revision.

use super::{DESIRED, HASH, HISTORY, MAX, REVISION, SOURCE, Set, Sync, status};
use crate::controllers::is_deleting;
use crate::controllers::owned::{KINDS, controller, reference};
use crate::controllers::podcontrol::annotation;
use crate::kind::Kind;
use crate::object::{Body, Document, Object};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Longest history of revisions kept on a ReplicaSet, in characters.
const HISTORY_LENGTH_MAX: usize = 2000;
/// What of a Deployment's annotations is its own.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// A template without what tells its pods apart, and without members that say nothing.
fn bare(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(meta) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(labels) = meta.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(HASH);
        }
        meta.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty()));
    }
    template
}

/// A name for a template: FNV-1a of its JSON, in letters that make no words. Kubernetes hashes how Go prints the
/// template, which is nobody's format; only that equal templates have equal names matters.
fn hash(template: &Value, collisions: Option<i32>) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = bare(template).to_string();
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    let fnv = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let sum = text.bytes().fold(0x811c_9dc5_u32, fnv);
    sum.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// `a:"b"` into the object at a path of the document, where there is one or it can be made.
fn set_label(value: &mut Value, path: &[&str], hash: &str) {
    let mut at = value;
    for key in path {
        if !at.get(*key).is_some_and(Value::is_object) {
            at[*key] = json!({});
        }
        at = &mut at[*key];
    }
    at[HASH] = json!(hash);
}

/// What of a Deployment's annotations its ReplicaSets have as well.
fn copied(deployment: &Object) -> impl Iterator<Item = (&String, &String)> {
    deployment.meta().annotations.iter().flatten().filter(|(key, _)| !OWN.contains(&key.as_str()))
}

/// The revision that a ReplicaSet's annotations say.
fn number(own: &BTreeMap<String, String>) -> i64 {
    own.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether a ReplicaSet's annotations are what [`annotations`] would make of them.
fn is_marked(deployment: &Object, own: &BTreeMap<String, String>, revision: i64) -> bool {
    number(own) >= revision && copied(deployment).all(|(key, value)| own.get(key) == Some(value))
}

/// What a ReplicaSet's annotations become when it is the one of the current template.
fn annotations(
    deployment: &Object,
    own: &BTreeMap<String, String>,
    revision: i64,
    exists: bool,
) -> BTreeMap<String, String> {
    let mut all = own.clone();
    all.extend(copied(deployment).map(|(key, value)| (key.clone(), value.clone())));
    let before = own.get(REVISION).cloned();
    if number(own) >= revision {
        return all;
    }
    all.insert(REVISION.to_owned(), revision.to_string());
    if let Some(before) = before.filter(|_| exists) {
        let past = all.get(HISTORY).cloned().unwrap_or_default();
        let mut history: Vec<&str> = past.split(',').filter(|part| !part.is_empty()).collect();
        history.push(&before);
        while history.join(",").len() > HISTORY_LENGTH_MAX && history.len() > 1 {
            history.remove(0);
        }
        let history = history.join(",");
        all.insert(HISTORY.to_owned(), history);
    }
    all
}

/// Members of two objects in order, without those left out: whether they are the same.
fn same_members(
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    same: impl Fn(&str, &Value, &Value) -> bool,
    counts: impl Fn(&str, &Value) -> bool,
) -> bool {
    let mut a = a.iter().filter(|(key, value)| counts(key, value));
    let mut b = b.iter().filter(|(key, value)| counts(key, value));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some((key, one)), Some((other, two))) if key == other && same(key, one, two) => {}
            _ => return false,
        }
    }
}

/// Whether two templates are the same when both are [`bare`].
fn is_same(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return a == b };
    let says =
        |_: &str, value: &Value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty());
    let labels = |key: &str, value: &Value| match value {
        // Labels of which only the hash would be left say nothing either.
        Value::Object(map) if key == "labels" => map.keys().any(|label| label != HASH),
        value => says(key, value),
    };
    let meta = |key: &str, a: &Value, b: &Value| match (a, b) {
        (Value::Object(a), Value::Object(b)) if key == "labels" => {
            same_members(a, b, |_, a, b| a == b, |label, _| label != HASH)
        }
        _ => a == b,
    };
    let part = |key: &str, a: &Value, b: &Value| match (a, b) {
        (Value::Object(a), Value::Object(b)) if key == "metadata" => same_members(a, b, meta, labels),
        _ => a == b,
    };
    same_members(a, b, part, |_, _| true)
}

impl Sync<'_, '_> {
    /// Finds the ReplicaSet of the current template and marks it, or makes it where `create` says so; `None` when there
    /// is none.
    pub(super) fn find_current(&mut self, create: bool) -> Option<()> {
        let same = |set: &Set| {
            let own = set.object().as_document().and_then(|d| d.body.get("spec")?.get("template"));
            own.is_some_and(|own| is_same(own, self.template))
        };
        self.current = self.sets.iter().position(same);
        let revision = self.old().iter().map(|at| self.sets[*at].revision()).max().unwrap_or(0) + 1;
        if let Some(at) = self.current {
            self.mark(at, revision);
            return Some(());
        }
        if create && !is_deleting(self.object.meta()) { self.make(revision) } else { None }
    }
    /// Brings the revision, and what else is the Deployment's, onto its ReplicaSet.
    fn mark(&mut self, at: usize, revision: i64) {
        let deployment = self.object;
        let min_ready = self.spec.min_ready_seconds.filter(|seconds| *seconds != 0);
        let (namespace, name) = (deployment.namespace().to_owned(), self.sets[at].name().to_owned());
        let written = self.cx.edit_if(
            (KINDS.replica_set, &namespace, &name),
            |doc| {
                let same =
                    doc.metadata.annotations.as_ref().is_some_and(|own| is_marked(deployment, own, revision));
                let ready = doc.body.get("spec").and_then(|spec| spec.get("minReadySeconds"));
                !same || ready.map(Value::as_i64) != min_ready.map(|seconds| Some(i64::from(seconds)))
            },
            |doc| {
                let own = doc.metadata.annotations.clone().unwrap_or_default();
                doc.metadata.annotations = Some(annotations(deployment, &own, revision, true));
                if let Some(spec) = doc.body.get_mut("spec").and_then(Value::as_object_mut) {
                    match min_ready {
                        Some(seconds) => spec.insert("minReadySeconds".to_owned(), json!(seconds)),
                        None => spec.remove("minReadySeconds"),
                    };
                }
            },
        );
        if let Some(written) = written {
            self.sets[at] = Set::new(written);
        }
        let marked = self.sets[at].revision().to_string();
        let mut news = false;
        if annotation(deployment, REVISION) != Some(&marked) {
            self.revision = Some(marked);
            news = true;
        }
        if self.has_deadline() && status::condition(&self.status, status::PROGRESSING).is_none() {
            let text = format!("Found new replica set \"{name}\"");
            self.progressing("True", "FoundNewReplicaSet", text);
            news = true;
        }
        // Written at once, before anything is scaled.
        if news {
            self.write();
        }
    }
    /// Makes the ReplicaSet of the current template. A name that is taken by another's counts as a collision, and the
    /// next look tries the next name.
    fn make(&mut self, revision: i64) -> Option<()> {
        let hash = hash(self.template, self.status.collision_count);
        let name = format!("{}-{hash}", self.object.name());
        let namespace = self.object.namespace().to_owned();
        if let Some(taken) = self.cx.objects.get(KINDS.replica_set, &namespace, &name).cloned() {
            let ours = controller(taken.object.meta()).is_some_and(|owner| owner.uid == self.object.uid());
            if ours && is_deleting(taken.object.meta()) {
                return None;
            }
            self.status.collision_count = Some(self.status.collision_count.unwrap_or(0) + 1);
            return None;
        }
        let home = self.cx.objects.get(Kind::Namespace, "", &namespace)?;
        if is_deleting(home.object.meta()) {
            return None;
        }
        let wanted = self.first_size();
        let object = self.new_set(&name, &hash, wanted, revision);
        let stored = self.cx.objects.put(object);
        self.sets.push(Set::new(stored));
        self.current = Some(self.sets.len() - 1);
        if wanted > 0 {
            let text = format!("Scaled up replica set {name} from 0 to {wanted}");
            self.cx.normal(&self.about, SOURCE, "ScalingReplicaSet", text);
        }
        self.revision = Some(revision.to_string());
        if self.has_deadline() {
            let text = format!("Created new replica set \"{name}\"");
            self.progressing("True", "NewReplicaSetCreated", text);
        }
        // Written at once, before anything is scaled.
        self.write();
        Some(())
    }
    fn new_set(&mut self, name: &str, hash: &str, wanted: i32, revision: i64) -> Object {
        let mut template = self.template.clone();
        set_label(&mut template, &["metadata", "labels"], hash);
        let spec = self.object.as_document().and_then(|d| d.body.get("spec"));
        let mut selector = spec.and_then(|s| s.get("selector")).cloned().unwrap_or_default();
        set_label(&mut selector, &["matchLabels"], hash);
        let labels = template.pointer("/metadata/labels").cloned().unwrap_or_default();
        let mut body = Body::default();
        let mut spec = json!({"replicas": wanted, "selector": selector, "template": template});
        if let Some(seconds) = self.spec.min_ready_seconds.filter(|seconds| *seconds != 0) {
            spec["minReadySeconds"] = json!(seconds);
        }
        body.insert("spec", spec);
        body.insert("status", json!({"replicas": 0}));
        let mut metadata = self.cx.new_meta(self.object.namespace(), name.to_owned());
        metadata.generation = Some(1);
        metadata.labels = serde_json::from_value(labels).ok();
        metadata.owner_references = Some(vec![reference(self.object)]);
        let mut annotations = annotations(self.object, &BTreeMap::new(), revision, false);
        annotations.insert(DESIRED.to_owned(), self.wanted.to_string());
        annotations.insert(MAX.to_owned(), (self.wanted + self.max_surge()).to_string());
        metadata.annotations = Some(annotations);
        let api_version = KINDS.replica_set.resource().api_version().into();
        Object::Document(Box::new(Document { kind: KINDS.replica_set, api_version, metadata, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether anything is to be written is found as by writing it.
    #[test]
    fn marked_is_what_marking_would_not_change() {
        let map = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let kind = KINDS.deployment;
        let theirs = [map(&[]), map(&[("a", "b")]), map(&[("a", "c"), (REVISION, "7"), (MAX, "9")])];
        let own = [
            map(&[]),
            map(&[(REVISION, "2")]),
            map(&[(REVISION, "3"), ("a", "b"), ("d", "e")]),
            map(&[(REVISION, "x")]),
        ];
        for (theirs, own) in theirs.iter().flat_map(|theirs| own.iter().map(move |own| (theirs, own))) {
            let doc = json!({"metadata": {"name": "d", "namespace": "a", "annotations": theirs}});
            let deployment = Object::from_value(kind, &doc).unwrap();
            for revision in 0..5 {
                let same = annotations(&deployment, own, revision, true) == *own;
                assert_eq!(is_marked(&deployment, own, revision), same, "{theirs:?} {own:?} {revision}");
            }
        }
    }

    /// Comparing in place gives what comparing bare copies does.
    #[test]
    fn templates_are_the_same_as_their_bare_copies() {
        let label = |labels: Value| json!({"metadata": {"labels": labels}, "spec": {"image": "i"}});
        let all = [
            label(json!({})),
            label(json!({HASH: "x"})),
            label(json!({"app": "a"})),
            label(json!({"app": "a", HASH: "x"})),
            label(json!({"app": "b", HASH: "y"})),
            label(json!("none")),
            label(Value::Null),
            json!({"metadata": {}, "spec": {"image": "i"}}),
            json!({"metadata": {"annotations": {}, "creationTimestamp": null}, "spec": {"image": "i"}}),
            json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"image": "i"}}),
            json!({"metadata": null, "spec": {"image": "i"}}),
            json!({"spec": {"image": "i"}}),
            json!({"spec": {"image": "j"}}),
            Value::Null,
        ];
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            assert_eq!(is_same(a, b), bare(a) == bare(b), "{a} and {b}");
        }
    }
    #[test]
    fn a_hash_follows_the_template_and_collisions_alone() {
        let template = |image: &str| json!({"metadata": {"labels": {"app": "a"}}, "spec": {"image": image}});
        let mut labelled = template("i:1");
        labelled["metadata"]["labels"][HASH] = json!("x");
        labelled["metadata"]["creationTimestamp"] = Value::Null;
        assert_eq!(hash(&template("i:1"), None), hash(&labelled, None));
        assert_ne!(hash(&template("i:1"), None), hash(&template("i:2"), None));
        assert_ne!(hash(&template("i:1"), None), hash(&template("i:1"), Some(1)));
        assert!((8..=10).contains(&hash(&template("i:1"), None).len()));
    }
}
