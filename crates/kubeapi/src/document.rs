//! Bodies from bytes to documents: JSON with the fields that stand twice, and YAML.
//!
//! Bounds: bodies are at most `BODY_BYTES_MAX` bytes; JSON nests at most 128 deep; YAML has no anchors to speak of,
//! because what it expands to is bounded by its reader's budget.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Error};
use std::fmt;
use twin::Status;

/// Most fields named that stand twice.
const DUPLICATES_MAX: usize = 100;

/// A JSON body, and the paths of fields that stand in it more than once; the last one counts.
pub(crate) fn json(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let mut duplicates = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Reading { path: String::new(), duplicates: &mut duplicates };
    let wrong =
        |e: serde_json::Error| Status::bad_request(format!("the body of the request is not valid JSON: {e}"));
    let value = seed.deserialize(&mut reader).map_err(wrong)?;
    reader.end().map_err(wrong)?;
    Ok((value, duplicates))
}

/// A YAML body, and where in it a key stands a second time; the last one counts.
pub(crate) fn yaml(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Status::bad_request("the body of the request is not valid UTF-8"))?;
    let wrong = |e: &Error| Status::bad_request(format!("the body of the request is not valid YAML: {e}"));
    let double = match serde_saphyr::from_str(text) {
        Ok(value) => return Ok((value, Vec::new())),
        Err(error) => match error.without_snippet() {
            Error::DuplicateMappingKey { key, location } => {
                let key = key.as_deref().unwrap_or_default();
                format!("line {}: key {key:?} already set in map", location.line())
            }
            other => return Err(wrong(other)),
        },
    };
    let lenient = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let value = serde_saphyr::from_str_with_options(text, lenient).map_err(|e| wrong(e.without_snippet()))?;
    Ok((value, vec![double]))
}

/// The body of a server-side apply: YAML, of which JSON is a part.
pub(crate) fn applied(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
        && let Ok(read) = json(bytes)
    {
        return Ok(read);
    }
    yaml(bytes)
}

/// Reads one value that stands at a path.
struct Reading<'a> {
    path: String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, list.len());
            match all.next_element_seed(Reading { path, duplicates: self.duplicates })? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = all.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            if map.contains_key(&key) && self.duplicates.len() < DUPLICATES_MAX {
                self.duplicates.push(path.clone());
            }
            let value = all.next_value_seed(Reading { path, duplicates: self.duplicates })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_that_stand_twice_are_named() {
        let text = r#"{"a": 1, "b": [{"c": 1, "c": 2}], "a": {"x": -1.5, "y": null}}"#;
        let (value, duplicates) = super::json(text.as_bytes()).unwrap();
        assert_eq!(value, json!({"a": {"x": -1.5, "y": null}, "b": [{"c": 2}]}));
        assert_eq!(duplicates, ["b[0].c", "a"]);
        assert!(super::json(b"{} x").is_err() && super::json(b"{").is_err());
    }

    #[test]
    fn what_is_applied_is_yaml_or_json() {
        for text in ["{\"a\": [1, \"x\"]}", "a:\n- 1\n- x\n"] {
            assert_eq!(applied(text.as_bytes()).unwrap().0, json!({"a": [1, "x"]}));
        }
        assert!(applied(b"a: [").is_err());
        let (value, double) = applied(b"\na:\n  b: 1\n  b: 2\n").unwrap();
        assert_eq!(
            (value, double),
            (json!({"a": {"b": 2}}), vec!["line 4: key \"b\" already set in map".to_owned()])
        );
    }
}
