//! An object without what has no business in a twin file.
//!
//! Invariant: what comes out has no `managedFields`, no last-applied configuration, no content where only
//! names are taken, and no value that looks like a credential by the rules of [`super::blank`].

use super::blank;
use super::kinds::{Content, ImportKind};
use serde_json::{Map, Value, json};

/// What stands for a value that looked like a credential.
pub const BLANKED: &str = "<blanked>";
/// The rule, for people.
pub const BLANKING_RULE: &str = "values of environment variables, headers, annotations and parameters whose name says password, secret, token, key, credential, auth or the like; words of commands, arguments and messages after such a name; and whatever is written as a credential: PEM, JSON web tokens, user:password@ in addresses, keys of well-known issuers, long random words";
/// Deepest nesting followed; `serde_json` refuses documents deeper than 128.
const DEPTH_MAX: usize = 130;
/// Annotations that hold a copy of the object as somebody applied it.
const COPIES: [&str; 3] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "kapp.k14s.io/original",
    "objectset.rio.cattle.io/applied",
];
/// Maps from users' names to text.
const NAMED: [&str; 6] = ["annotations", "parameters", "volumeAttributes", "options", "stringData", "data"];
/// Text, or lists of it, in which credentials may be among other words.
const TEXTS: [&str; 4] = ["command", "args", "message", "terminationMessage"];

/// How many values were blanked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blanked(pub u64);

/// Brings an object into the form a twin file holds it in. `whole` takes more of kinds of which usually only names
/// are taken; of a Secret never.
pub fn clean(kind: &ImportKind, whole: bool, object: &mut Value) -> Blanked {
    let Some(map) = object.as_object_mut() else { return Blanked(0) };
    map.insert("apiVersion".to_owned(), json!(kind.api_version()));
    map.insert("kind".to_owned(), json!(kind.kind));
    match kind.content {
        Content::NamesAndTypes => keep_names(map, &["type"]),
        Content::Names if !whole => keep_names(map, &[]),
        Content::Names | Content::Whole => {}
    }
    if let Some(meta) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
        meta.remove("selfLink");
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !COPIES.contains(&key.as_str()));
            if annotations.is_empty() {
                meta.remove("annotations");
            }
        }
    }
    let mut blanked = 0;
    walk(object, 0, &mut blanked);
    Blanked(blanked)
}

/// Leaves what names an object, and these fields.
fn keep_names(map: &mut Map<String, Value>, fields: &[&str]) {
    map.retain(|key, value| {
        let field = fields.contains(&key.as_str()) && value.is_string();
        matches!(key.as_str(), "apiVersion" | "kind" | "metadata") || field
    });
    if let Some(meta) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.retain(|key, _| matches!(key.as_str(), "namespace" | "name" | "uid" | "creationTimestamp"));
    }
}

fn walk(value: &mut Value, depth: usize, blanked: &mut u64) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, depth + 1, blanked)),
        Value::Object(map) => {
            blank_pair(map, blanked);
            for (key, inner) in map {
                match (key.as_str(), &mut *inner) {
                    (key, Value::Object(named)) if NAMED.contains(&key) => blank_named(named, blanked),
                    (key, text) if TEXTS.contains(&key) && !text.is_object() => blank_texts(text, blanked),
                    ("binaryData", Value::Object(named)) => named.retain(|_, _| {
                        *blanked += 1;
                        false
                    }),
                    // Users' own keys, whose values are no credentials by any convention.
                    ("labels" | "matchLabels" | "nodeSelector" | "selector", _) => {}
                    _ => walk(inner, depth + 1, blanked),
                }
            }
        }
        _ => {}
    }
}

fn set(value: &mut Value, blanked: &mut u64) {
    if value.as_str().is_some_and(|text| !text.is_empty() && text != BLANKED) {
        *value = json!(BLANKED);
        *blanked += 1;
    }
}

/// `{name, value}`, as environment variables and headers are.
fn blank_pair(map: &mut Map<String, Value>, blanked: &mut u64) {
    let named = map.get("name").and_then(Value::as_str).is_some_and(blank::names_credential);
    let Some(value) = map.get_mut("value") else { return };
    if named { set(value, blanked) } else { blank_texts(value, blanked) }
}

fn blank_named(named: &mut Map<String, Value>, blanked: &mut u64) {
    for (name, value) in named {
        // The product's own, whose names hold none of the words; and checksums, which are of no use to anybody.
        if blank::names_credential(name) { set(value, blanked) } else { blank_texts(value, blanked) }
    }
}

/// Text, or a list of words: a word that announces a credential may be one item, and the credential the next.
fn blank_texts(value: &mut Value, blanked: &mut u64) {
    match value {
        Value::String(text) => {
            if let Some((clean, count)) = blank::text(text) {
                *text = clean;
                *blanked += count;
            }
        }
        Value::Array(items) => {
            let mut named = false;
            for item in items {
                let announces = item
                    .as_str()
                    .is_some_and(|t| t.starts_with('-') && !t.contains('=') && blank::names_credential(t));
                if named && item.as_str().is_some_and(|text| !text.starts_with('-')) {
                    set(item, blanked);
                } else {
                    blank_texts(item, blanked);
                }
                named = announces;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(kind: &str, whole: bool, mut object: Value) -> (Value, u64) {
        let api_version = super::super::KINDS.iter().find(|k| k.kind == kind).unwrap().api_version();
        let kind = ImportKind::find(&api_version, kind).unwrap();
        let Blanked(count) = clean(kind, whole, &mut object);
        (object, count)
    }

    #[test]
    fn of_secrets_and_unless_asked_for_of_config_maps_names_are_left() {
        let object = json!({
            "metadata": {"name": "s", "namespace": "a", "uid": "u", "labels": {"a": "b"},
                "annotations": {"x": "hunter2"}, "managedFields": [{}]},
            "type": "Opaque", "data": {"k": "aHVudGVyMg=="}, "immutable": true,
        });
        let meta = json!({"name": "s", "namespace": "a", "uid": "u"});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque"});
        assert_eq!(cleaned("Secret", true, object.clone()).0, secret);
        let names = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta});
        assert_eq!(cleaned("ConfigMap", false, object.clone()).0, names);
        let (whole, blanked) = cleaned(
            "ConfigMap",
            true,
            json!({"metadata": {"name": "c"}, "data": {
            "level": "info", "password": "hunter2", "app.ini": "user = me\npassword = hunter2\n"}}),
        );
        assert_eq!(whole["data"]["level"], "info");
        assert_eq!(whole["data"]["app.ini"], format!("user = me\npassword = {BLANKED}\n"));
        assert_eq!(blanked, 2);
    }

    #[test]
    fn credentials_in_pods_are_blanked_wherever_pods_are() {
        let spec = json!({"containers": [{
            "name": "main",
            "env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "LEVEL", "value": "info"},
                {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}}],
            "command": ["serve", "--token", "hunter2", "--port", "80"],
            "args": ["--url=postgres://app:hunter2@db/app"],
            "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "Basic hunter2"}]}},
        }]});
        let pod = json!({"metadata": {"name": "p", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}}, "spec": spec});
        let cron = json!({"metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}});
        for (kind, object, pointer) in
            [("Pod", pod, "/spec"), ("CronJob", cron, "/spec/jobTemplate/spec/template/spec")]
        {
            let (object, blanked) = cleaned(kind, false, object);
            assert!(!object.to_string().contains("hunter2"), "{object}");
            assert_eq!(blanked, 4);
            let container = &object.pointer(pointer).unwrap()["containers"][0];
            assert_eq!(container["command"], json!(["serve", "--token", BLANKED, "--port", "80"]));
            assert_eq!(container["env"][1]["value"], "info");
            assert_eq!(container["env"][2]["valueFrom"]["secretKeyRef"]["key"], "password");
        }
    }
}
