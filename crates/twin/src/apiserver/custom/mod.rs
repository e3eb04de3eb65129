//! Custom resources by the schemas of their definitions: pruning, defaulting, validation, paths into them.
//!
//! Structural schemas alone, as `apiextensions.k8s.io/v1` demands. Bounds: [`DEPTH_MAX`] levels, patterns of
//! [`PATTERN_BYTES_MAX`] bytes compiled.

mod definition;
mod expressions;
mod rules;
mod validate;

pub(crate) use definition::{complete, establish, judge};
pub(crate) use rules::{Compiled, judge_object};
pub(crate) use validate::validate;

use serde_json::Value;

/// Deepest nesting followed; `serde_json` refuses documents deeper than 128.
const DEPTH_MAX: usize = 130;
/// Largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Most unknown fields named.
const UNKNOWN_MAX: usize = 100;

fn is_set(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

/// The value at a simple JSON path: `.spec.replicas`, `.items[0].name`, `.metadata.labels['a.b/c']`, `.a\.b`.
pub fn at_path<'a>(doc: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path)?.iter().try_fold(doc, |value, step| match value {
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

/// A JSON path's steps; `None` when it is more than names and places.
pub fn steps(path: &str) -> Option<Vec<String>> {
    let mut steps: Vec<String> = Vec::new();
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = inner.split_once(']')?;
            steps.push(step.trim_matches(['\'', '"']).replace("\\.", "."));
            rest = after;
            continue;
        }
        let plain = rest.strip_prefix('.').unwrap_or(rest);
        let mut step = String::new();
        let mut chars = plain.char_indices();
        let mut end = plain.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => step.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' => {
                    end = at;
                    break;
                }
                c => step.push(c),
            }
        }
        if step.is_empty() {
            return None;
        }
        steps.push(step);
        rest = &plain[end..];
    }
    Some(steps)
}

/// Takes out fields the schema does not name. `path` is empty for a whole object, whose `apiVersion`, `kind` and
/// `metadata` always stay. The paths of what went are added to `gone`.
pub(crate) fn prune(schema: &Value, value: &mut Value, whole: bool, path: &str, gone: &mut Vec<String>) {
    prune_at(schema, value, whole, path, gone, 0);
}

fn prune_at(
    schema: &Value,
    value: &mut Value,
    whole: bool,
    path: &str,
    gone: &mut Vec<String>,
    depth: usize,
) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            let keeps = is_set(schema, "x-kubernetes-preserve-unknown-fields");
            let embedded = whole || is_set(schema, "x-kubernetes-embedded-resource");
            let names: Vec<String> = map.keys().cloned().collect();
            for name in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                let of = schema.get("properties").and_then(|p| p.get(&name));
                let of = of.or_else(|| schema.get("additionalProperties").filter(|a| a.is_object()));
                let free = schema.get("additionalProperties") == Some(&Value::Bool(true));
                match (of, map.get_mut(&name)) {
                    (Some(of), Some(inner)) => prune_at(of, inner, false, &below, gone, depth + 1),
                    (None, Some(_)) if !keeps && !free => {
                        map.remove(&name);
                        if gone.len() < UNKNOWN_MAX {
                            gone.push(below);
                        }
                    }
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            let Some(items) = schema.get("items") else { return };
            for (i, item) in list.iter_mut().enumerate() {
                prune_at(items, item, false, &format!("{path}[{i}]"), gone, depth + 1);
            }
        }
        _ => {}
    }
}

/// Takes out nulls where the schema does not allow them: they count as absent.
pub(crate) fn drop_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let names: Vec<String> = map.keys().cloned().collect();
            for name in names {
                let of = schema.get("properties").and_then(|p| p.get(&name));
                let of = of.or_else(|| schema.get("additionalProperties").filter(|a| a.is_object()));
                let Some(of) = of else { continue };
                if map.get(&name) == Some(&Value::Null) {
                    if !is_set(of, "nullable") {
                        map.remove(&name);
                    }
                } else if let Some(inner) = map.get_mut(&name) {
                    drop_nulls(of, inner);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut().for_each(|item| drop_nulls(items, item));
            }
        }
        _ => {}
    }
}

/// Fills in the schema's defaults.
pub(crate) fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, of) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if let Some(default) = of.get("default")
                    && !map.contains_key(name)
                {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(inner) = map.get_mut(name) {
                    self::default(of, inner);
                }
            }
            if let Some(of) = schema.get("additionalProperties").filter(|a| a.is_object()) {
                let named = schema.get("properties").and_then(Value::as_object);
                let others = map.iter_mut().filter(|(name, _)| !named.is_some_and(|n| n.contains_key(*name)));
                others.for_each(|(_, inner)| default(of, inner));
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut().for_each(|item| default(items, item));
            }
        }
        _ => {}
    }
}

/// A document sent as a custom resource, by its schema: pruned, nulls and metadata as they must be. Gives the paths of
/// fields that were left out; the error says which part of the metadata cannot be read.
pub(crate) fn read(schema: &Value, preserves: bool, mut doc: Value) -> Result<(Value, Vec<String>), String> {
    let mut gone = Vec::new();
    if !preserves && schema.is_object() {
        prune(schema, &mut doc, true, "", &mut gone);
    }
    drop_nulls(schema, &mut doc);
    if let Some(meta) = doc.get_mut("metadata") {
        let shape = super::schema::KUBERNETES.named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        let taken = meta.take();
        if let Some(shape) = shape {
            let read = super::schema::read(&super::schema::KUBERNETES, shape, taken)?;
            gone.extend(read.unknown.into_iter().map(|path| format!("metadata.{path}")));
            *meta = super::apply::stored(&super::schema::KUBERNETES, shape, read.value);
        }
    }
    Ok((doc, gone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "cron": {"type": "string", "default": "* * * * *"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "object"}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer", "default": 3}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": {"type": "string", "nullable": true}}}}}}}})
    }

    #[test]
    fn what_the_schema_does_not_name_goes_and_defaults_come() {
        let mut doc = json!({"apiVersion": "a/v1", "metadata": {"name": "x"}, "other": 1, "spec": {
            "free": {"x": 1, "known": {"y": 1}}, "list": [{"z": 1}], "map": {"k": {"b": null, "c": 1}}, "cron": null}});
        let mut gone = Vec::new();
        prune(&schema(), &mut doc, true, "", &mut gone);
        assert_eq!(gone, ["other", "spec.free.known.y", "spec.list[0].z", "spec.map.k.c"]);
        drop_nulls(&schema(), &mut doc);
        default(&schema(), &mut doc);
        assert_eq!(
            doc["spec"],
            json!({"cron": "* * * * *", "free": {"x": 1, "known": {}}, "list": [{"a": 3}], "map": {"k": {"b": null}}})
        );
    }

    #[test]
    fn paths_lead_into_documents() {
        let doc = json!({"a": {"b.c": [1, {"d": "x"}]}, "e": 5});
        assert_eq!(at_path(&doc, ".a['b.c'][1].d"), Some(&json!("x")));
        assert_eq!(at_path(&doc, ".a.b\\.c[0]"), Some(&json!(1)));
        assert_eq!(at_path(&doc, ".e"), Some(&json!(5)));
        assert_eq!(at_path(&doc, ".e.f"), None);
        assert_eq!(steps("..x"), None);
    }
}
