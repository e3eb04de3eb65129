//! What a schema says of a value: its type, the largest it may be, and how its JSON is read.
//!
//! Sizes are in elements (lists, maps), characters (strings) and bytes of JSON (`bytes_min`), as Kubernetes counts them
//! to say what an expression may cost at worst. What has no type, or only unknown fields, cannot be seen.

use super::parser::RESERVED;
use super::types::Type;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest request Kubernetes reckons with, in bytes (`MaxRequestSizeBytes` of k8s.io/apiserver).
pub(crate) const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Longest text of a duration or a time of day, and of a date, quotes included (limits of k8s.io/apiserver/pkg/cel).
const TIME_BYTES_MAX: u64 = 32;
const DATE_BYTES: u64 = 12;
/// Deepest schema read.
const DEPTH_MAX: usize = 64;

/// How the JSON of a value becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As JSON says.
    Plain,
    /// Whole numbers, too, are real ones.
    Double,
    /// Base64.
    Bytes,
    Duration,
    Date,
    DateTime,
}

/// Which entries of a list are the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    /// Those at the same place.
    Atomic,
    /// Equal ones.
    Set,
    /// Those with these fields equal.
    Keyed(Vec<String>),
}

/// A declared value.
#[derive(Clone, Debug)]
pub(crate) struct Decl {
    /// The type's name, of objects.
    pub name: String,
    kind: Type,
    pub reading: Reading,
    /// Most elements or characters.
    pub elements_max: u64,
    /// Fewest bytes of JSON.
    pub bytes_min: u64,
    /// Of lists and maps: what is in them.
    pub element: Option<Arc<Decl>>,
    /// Of objects: by the name in expressions, the name in JSON and what it is.
    pub fields: BTreeMap<String, (String, Arc<Decl>)>,
    pub entries: Entries,
}

fn text<'a>(schema: &'a Json, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Json::as_str)
}

fn is_set(schema: &Json, key: &str) -> bool {
    schema.get(key) == Some(&Json::Bool(true))
}

fn count(schema: &Json, key: &str) -> Option<u64> {
    schema.get(key).and_then(Json::as_i64).map(|n| n.max(0).cast_unsigned())
}

impl Decl {
    fn simple(kind: Type, reading: Reading, elements_max: u64, bytes_min: u64) -> Decl {
        Decl {
            name: String::new(),
            kind,
            reading,
            elements_max,
            bytes_min,
            element: None,
            fields: BTreeMap::new(),
            entries: Entries::Atomic,
        }
    }
    /// A value nothing is known of.
    pub fn dynamic() -> Decl {
        Decl::simple(Type::Dyn, Reading::Plain, REQUEST_BYTES_MAX, 1)
    }
    /// An object with these fields, each by its name in expressions.
    pub fn object(name: &str, fields: BTreeMap<String, (String, Arc<Decl>)>) -> Decl {
        Decl { name: name.to_owned(), fields, ..Decl::simple(Type::Null, Reading::Plain, 0, 2) }
    }
    /// A list of these.
    pub fn list(of: Arc<Decl>) -> Decl {
        let most = (REQUEST_BYTES_MAX - 2) / (of.bytes_min + 1);
        Decl { element: Some(of.clone()), ..Decl::simple(Type::list(of.ty()), Reading::Plain, most, 2) }
    }
    /// A map of names to these.
    pub fn map(of: Arc<Decl>) -> Decl {
        let most = (REQUEST_BYTES_MAX - 2) / (of.bytes_min + 6);
        let kind = Type::map(Type::String, of.ty());
        Decl { element: Some(of), ..Decl::simple(kind, Reading::Plain, most, 2) }
    }
    /// A value of a type that an expression gives.
    pub fn of(kind: Type) -> Decl {
        Decl { kind, ..Decl::dynamic() }
    }
    /// A simple type of OpenAPI.
    pub fn of_type(name: &str) -> Decl {
        match name {
            "boolean" => Decl::simple(Type::Bool, Reading::Plain, 0, 4),
            "number" => Decl::simple(Type::Double, Reading::Double, 0, 1),
            "integer" => Decl::simple(Type::Int, Reading::Plain, 0, 1),
            "date-time" => Decl::simple(Type::Timestamp, Reading::DateTime, TIME_BYTES_MAX, 21),
            "byte" => Decl::simple(Type::Bytes, Reading::Bytes, REQUEST_BYTES_MAX - 2, 2),
            "string" => Decl::simple(Type::String, Reading::Plain, REQUEST_BYTES_MAX - 2, 2),
            _ => Decl::dynamic(),
        }
    }
    /// Its type.
    pub fn ty(self: &Arc<Self>) -> Type {
        if self.name.is_empty() { self.kind.clone() } else { Type::Object(Arc::clone(self)) }
    }
    /// Whether it is an object with named fields.
    pub fn is_object(&self) -> bool {
        !self.name.is_empty()
    }

    /// What a structural schema declares; `None` where expressions cannot look. `root`: a whole object, which always
    /// has `apiVersion`, `kind` and a name.
    pub fn of_schema(schema: &Json, root: bool, name: &str) -> Option<Arc<Decl>> {
        Decl::read(schema, root, name, 0).map(Arc::new)
    }

    fn read(schema: &Json, root: bool, name: &str, depth: usize) -> Option<Decl> {
        if depth > DEPTH_MAX {
            return None;
        }
        if is_set(schema, "x-kubernetes-int-or-string") {
            let most = count(schema, "maxLength").map_or(REQUEST_BYTES_MAX - 2, |n| n.saturating_mul(4));
            return Some(Decl { elements_max: most, ..Decl::dynamic() });
        }
        let below = |inner: &Json, step: &str| {
            let root = is_set(inner, "x-kubernetes-embedded-resource");
            Decl::read(inner, root, &format!("{name}.{step}"), depth + 1).map(Arc::new)
        };
        // The root of a resource is an object, whether the schema says so or not.
        match text(schema, "type") {
            Some("array") => {
                let mut list = Decl::list(below(schema.get("items")?, "@idx")?);
                list.elements_max = count(schema, "maxItems").unwrap_or(list.elements_max);
                list.entries = entries(schema);
                Some(list)
            }
            Some("object") => Decl::read_object(schema, root, name, &below),
            Some("string") => Some(Decl::read_string(schema)),
            Some(kind @ ("boolean" | "number" | "integer")) => Some(Decl::of_type(kind)),
            _ => None,
        }
    }

    fn read_string(schema: &Json) -> Decl {
        let of = |kind: Type, reading, most, least| Decl::simple(kind, reading, most, least);
        match text(schema, "format") {
            Some("byte") => {
                let most = count(schema, "maxLength").unwrap_or(REQUEST_BYTES_MAX - 2);
                return of(Type::Bytes, Reading::Bytes, most, 2);
            }
            Some("duration") => return of(Type::Duration, Reading::Duration, TIME_BYTES_MAX, 3),
            Some("date") => return of(Type::Timestamp, Reading::Date, DATE_BYTES, DATE_BYTES),
            Some("date-time") => return of(Type::Timestamp, Reading::DateTime, TIME_BYTES_MAX, 21),
            _ => {}
        }
        let longest = |all: &Vec<Json>| all.iter().filter_map(Json::as_str).map(str::len).max().unwrap_or(0);
        let one_of = schema.get("enum").and_then(Json::as_array).filter(|all| !all.is_empty());
        let most = match (count(schema, "maxLength"), one_of) {
            // A character is up to four bytes.
            (Some(most), _) => most.saturating_mul(4),
            (None, Some(all)) => longest(all) as u64,
            (None, None) => REQUEST_BYTES_MAX - 2,
        };
        of(Type::String, Reading::Plain, most, 2)
    }

    fn read_object(
        schema: &Json,
        root: bool,
        name: &str,
        below: &dyn Fn(&Json, &str) -> Option<Arc<Decl>>,
    ) -> Option<Decl> {
        if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
            let mut map = Decl::map(below(inner, "@elem")?);
            map.elements_max = count(schema, "maxProperties").unwrap_or(map.elements_max);
            return Some(map);
        }
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        let mut fields = BTreeMap::new();
        let mut least = 2;
        for (key, inner) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let Some(field) = below(inner, key) else { continue };
            let has_default = inner.get("default").is_some_and(|default| !default.is_null());
            if required.contains(&key.as_str()) && !has_default {
                least += key.len() as u64 + field.bytes_min + 4;
            }
            if let Some(escaped) = escape(key) {
                fields.insert(escaped, (key.clone(), field));
            }
        }
        if root {
            let string = || Arc::new(Decl::of_type("string"));
            let named = |name: &str| (name.to_owned(), (name.to_owned(), string()));
            let meta = ["name", "generateName"].map(named).into_iter().collect();
            let meta = Arc::new(Decl::object(&format!("{name}.metadata"), meta));
            fields.extend(["apiVersion", "kind"].map(named));
            fields.insert("metadata".to_owned(), ("metadata".to_owned(), meta));
        }
        Some(Decl { bytes_min: least, ..Decl::object(name, fields) })
    }

    /// How often such a value can be in one request, at most.
    pub fn cardinality_max(&self) -> u64 {
        REQUEST_BYTES_MAX / (self.bytes_min + 1)
    }
}

/// How the entries of a list are told apart.
pub(crate) fn entries(schema: &Json) -> Entries {
    match text(schema, "x-kubernetes-list-type") {
        Some("set") => Entries::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array);
            Entries::Keyed(keys.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect())
        }
        _ => Entries::Atomic,
    }
}

/// Words of CEL that no field can be called by, beside those it keeps for later.
const LITERALS: [&str; 4] = ["true", "false", "null", "in"];

/// A field's name as expressions write it; `None` where they cannot.
pub(crate) fn escape(name: &str) -> Option<String> {
    let first = name.chars().next()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if first.is_ascii_digit() || !name.chars().all(fits) {
        return None;
    }
    if LITERALS.contains(&name) || RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let escaped = name.replace("__", "__underscores__");
    Some(escaped.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_escaped_as_kubernetes_escapes_them() {
        for (name, expected) in [
            ("a", Some("a")),
            ("namespace", Some("__namespace__")),
            ("a.b-c/d", Some("a__dot__b__dash__c__slash__d")),
            ("a__b", Some("a__underscores__b")),
            ("1a", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn sizes_follow_the_schema() {
        let schema = json!({"type": "object", "required": ["s"], "properties": {
            "s": {"type": "string", "maxLength": 3},
            "e": {"type": "string", "enum": ["a", "abc"]},
            "l": {"type": "array", "items": {"type": "integer"}},
            "open": {"x-kubernetes-preserve-unknown-fields": true},
            "m": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "boolean"}}}});
        let decl = Decl::of_schema(&schema, true, "self").expect("an object");
        let most = |name: &str| decl.fields.get(name).map(|(_, field)| field.elements_max);
        assert_eq!((most("s"), most("e"), most("m"), most("open")), (Some(12), Some(3), Some(5), None));
        assert_eq!(most("l"), Some((REQUEST_BYTES_MAX - 2) / 2));
        // {} and "s": "" with its colon and comma.
        assert_eq!(decl.bytes_min, 2 + 1 + 2 + 4);
        assert!(decl.fields.contains_key("metadata"));
    }
}
