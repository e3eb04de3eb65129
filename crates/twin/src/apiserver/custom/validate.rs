//! Whether a custom resource fits its schema, in the words of the API server.
//!
//! Rules in CEL are judged apart (`rules`). What was wrong before a write and is left as it was is let through.

use super::rules::Before;
use super::{DEPTH_MAX, PATTERN_BYTES_MAX, is_set};
use crate::apiserver::field::Errors;
use serde_json::Value;
use std::collections::BTreeSet;

/// Adds what is wrong with `value`, which stands at `path` (empty: the whole object) and was `old`.
pub(crate) fn validate(errors: &mut Errors, schema: &Value, value: &Value, old: Option<&Value>, path: &str) {
    Validator { errors }.at(schema, value, old, path, 0);
}

struct Validator<'a> {
    errors: &'a mut Errors,
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(wanted: &str, value: &Value) -> bool {
    match wanted {
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        wanted => type_of(value) == wanted,
    }
}

/// A whole number as Go prints one in such messages.
fn bound(number: &Value) -> String {
    match number.as_f64() {
        Some(n) if n.fract() == 0.0 && n.abs() < 1e15 => format!("{n}"),
        _ => number.to_string(),
    }
}

impl Validator<'_> {
    /// `spec.x in body should be …`.
    fn wrong(&mut self, path: &str, value: &Value, what: &str) {
        self.errors.invalid(shown(path), value, &format!("{} in body {what}", shown(path)));
    }

    fn at(&mut self, schema: &Value, value: &Value, old: Option<&Value>, path: &str, depth: usize) {
        if depth > DEPTH_MAX || (value.is_null() && is_set(schema, "nullable")) || old == Some(value) {
            return;
        }
        let int_or_string = is_set(schema, "x-kubernetes-int-or-string");
        if let Some(wanted) = schema.get("type").and_then(Value::as_str)
            && !int_or_string
            && !has_type(wanted, value)
        {
            let found = type_of(value);
            let what = format!("must be of type {wanted}: {found:?}");
            self.errors.invalid_go(
                shown(path),
                &format!("{found:?}"),
                &format!("{} in body {what}", shown(path)),
            );
            return;
        }
        if int_or_string && !value.is_string() && !has_type("integer", value) {
            self.wrong(path, value, "must be of type integer,string");
            return;
        }
        if let Some(all) = schema.get("enum").and_then(Value::as_array)
            && !all.contains(value)
        {
            let supported: Vec<String> = all.iter().map(Value::to_string).collect();
            self.errors.unsupported(shown(path), value, &supported);
        }
        match value {
            Value::Number(_) => self.number(schema, value, path),
            Value::String(text) => self.text(schema, value, text, path),
            Value::Array(list) => self.list(schema, value, list, (old, path, depth)),
            Value::Object(_) => self.object(schema, value, old, path, depth),
            _ => {}
        }
        self.combined(schema, value, path, depth);
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    fn combined(&mut self, schema: &Value, value: &Value, path: &str, depth: usize) {
        let fits = |of: &Value| {
            let mut errors = Errors::default();
            Validator { errors: &mut errors }.at(of, value, None, path, depth + 1);
            errors.is_empty()
        };
        let all = |key: &str| schema.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        for of in all("allOf") {
            self.at(&of, value, None, path, depth + 1);
        }
        let any = all("anyOf");
        if !any.is_empty() && !any.iter().any(fits) {
            self.wrong(path, value, "must validate at least one schema (anyOf)");
        }
        let one = all("oneOf");
        if !one.is_empty() && one.iter().filter(|of| fits(of)).count() != 1 {
            self.wrong(path, value, "must validate one and only one schema (oneOf)");
        }
        if schema.get("not").is_some_and(fits) {
            self.wrong(path, value, "must not validate the schema (not)");
        }
    }

    fn number(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(found) = value.as_f64() else { return };
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        if let (Some(max), exclusive) = (number("maximum"), is_set(schema, "exclusiveMaximum"))
            && (found > max || (exclusive && found == max))
        {
            let how = if exclusive { "less than" } else { "less than or equal to" };
            self.wrong(path, value, &format!("should be {how} {}", bound(&schema["maximum"])));
        }
        if let (Some(min), exclusive) = (number("minimum"), is_set(schema, "exclusiveMinimum"))
            && (found < min || (exclusive && found == min))
        {
            let how = if exclusive { "greater than" } else { "greater than or equal to" };
            self.wrong(path, value, &format!("should be {how} {}", bound(&schema["minimum"])));
        }
        if let Some(of) = number("multipleOf").filter(|of| *of > 0.0)
            && (found / of).fract().abs() > 1e-9
        {
            self.wrong(path, value, &format!("should be a multiple of {}", bound(&schema["multipleOf"])));
        }
        let fits = match schema.get("format").and_then(Value::as_str) {
            Some("int32") => value.as_i64().is_none_or(|n| i32::try_from(n).is_ok()),
            _ => true,
        };
        if !fits {
            self.wrong(path, value, "must be of type int32");
        }
    }

    fn text(&mut self, schema: &Value, value: &Value, text: &str, path: &str) {
        let count = text.chars().count() as u64;
        let number = |key: &str| schema.get(key).and_then(Value::as_u64);
        if let Some(max) = number("maxLength").filter(|max| count > *max) {
            self.errors.too_long_text(shown(path), max);
        }
        if let Some(min) = number("minLength").filter(|min| count < *min) {
            self.wrong(path, value, &format!("should be at least {min} chars long"));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            let compiled = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
            if !compiled.is_ok_and(|regex| regex.is_match(text)) {
                self.wrong(path, value, &format!("should match '{pattern}'"));
            }
        }
        let fits = match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => fleet::Instant::parse(text).is_ok(),
            Some("ipv4") => text.parse::<std::net::Ipv4Addr>().is_ok(),
            Some("ipv6") => text.parse::<std::net::Ipv6Addr>().is_ok(),
            _ => true,
        };
        if let (false, Some(format)) = (fits, schema.get("format").and_then(Value::as_str)) {
            self.wrong(path, value, &format!("must be of type {format}: {value}"));
        }
    }

    fn list(
        &mut self,
        schema: &Value,
        value: &Value,
        list: &[Value],
        (old, path, depth): (Option<&Value>, &str, usize),
    ) {
        let count = list.len() as u64;
        let number = |key: &str| schema.get(key).and_then(Value::as_u64);
        if let Some(max) = number("maxItems").filter(|max| count > *max) {
            self.errors.too_many(shown(path), count, max);
        }
        if let Some(min) = number("minItems").filter(|min| count < *min) {
            self.wrong(path, value, &format!("should have at least {min} items"));
        }
        if let Some(items) = schema.get("items") {
            let entries = crate::cel::entries(schema);
            let before = Before::of(Some(&entries), old);
            for (i, item) in list.iter().enumerate() {
                self.at(items, item, before.get(item), &format!("{path}[{i}]"), depth + 1);
            }
        }
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let key = |item: &Value| match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => Some(item.clone()),
            Some("map") => {
                let each = keys.into_iter().flatten().filter_map(Value::as_str);
                let of = |key: &str| {
                    let default = schema.pointer(&format!("/items/properties/{key}/default"));
                    (key.to_owned(), item.get(key).or(default).cloned().unwrap_or_default())
                };
                Some(Value::Object(each.map(of).collect()))
            }
            _ => None,
        };
        let mut seen = BTreeSet::new();
        for (i, item) in list.iter().enumerate() {
            if let Some(key) = key(item)
                && !seen.insert(key.to_string())
            {
                self.errors.duplicate(&format!("{path}[{i}]"), &key);
            }
        }
    }

    fn object(&mut self, schema: &Value, value: &Value, old: Option<&Value>, path: &str, depth: usize) {
        let Some(map) = value.as_object() else { return };
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let count = map.len() as u64;
        for name in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !map.contains_key(name) {
                self.errors.required(&below(name), "");
            }
        }
        let number = |key: &str| schema.get(key).and_then(Value::as_u64);
        if let Some(max) = number("maxProperties").filter(|max| count > *max) {
            self.errors.too_many(shown(path), count, max);
        }
        if let Some(min) = number("minProperties").filter(|min| count < *min) {
            self.wrong(path, value, &format!("should have at least {min} properties"));
        }
        for (name, inner) in map {
            let of = schema.get("properties").and_then(|p| p.get(name));
            let of = of.or_else(|| schema.get("additionalProperties").filter(|a| a.is_object()));
            // An object's own metadata is judged as every object's is.
            if let Some(of) = of.filter(|_| !(path.is_empty() && name == "metadata")) {
                let old = old.and_then(|old| old.get(name)).filter(|_| !(path.is_empty() && is_type(name)));
                self.at(of, inner, old, &below(name), depth + 1);
            }
        }
    }
}

/// Whether a field says what an object is; both versions of it are shown alike.
fn is_type(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind")
}

/// A path as messages name it.
fn shown(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(schema: Value, value: Value) -> Vec<String> {
        let mut errors = Errors::default();
        validate(&mut errors, &schema, &value, None, "spec.x");
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn each_rule_has_its_words() {
        for (schema, value, expected) in [
            (
                json!({"type": "integer"}),
                json!("a"),
                "spec.x: Invalid value: \"string\": spec.x in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "integer", "maximum": 10}),
                json!(11),
                "spec.x: Invalid value: 11: spec.x in body should be less than or equal to 10",
            ),
            (
                json!({"type": "string", "pattern": "^a+$"}),
                json!("b"),
                "spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'",
            ),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                json!("c"),
                "spec.x: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (json!({"type": "object", "required": ["y"]}), json!({}), "spec.x.y: Required value"),
            (
                json!({"type": "string", "minLength": 2}),
                json!("a"),
                "spec.x: Invalid value: \"a\": spec.x in body should be at least 2 chars long",
            ),
            (
                json!({"type": "array", "maxItems": 1}),
                json!([1, 2]),
                "spec.x: Too many: 2: must have at most 1 items",
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "set"}),
                json!([1, 1]),
                "spec.x[1]: Duplicate value: 1",
            ),
        ] {
            assert_eq!(found(schema, value), [expected]);
        }
        assert!(found(json!({"x-kubernetes-int-or-string": true}), json!("5%")).is_empty());
        assert!(found(json!({"type": "string", "nullable": true}), json!(null)).is_empty());
        assert_eq!(found(json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}), json!(true)).len(), 1);
    }
}
