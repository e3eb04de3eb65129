//! A document read by its type, as Kubernetes decodes JSON: what is not of the type is refused in its words, fields the
//! type does not have are left out and named, nulls count as absent, amounts are put into canonical form.

use super::{Field, Schema, Shape, Type};
use crate::apiserver::quantity::Quantity;
use serde_json::{Map, Value, json};

/// Most unknown fields that are named.
const UNKNOWN_MAX: usize = 100;
/// Deepest nesting followed; `serde_json` refuses documents deeper than 128.
const DEPTH_MAX: usize = 130;

/// A document as its type has it.
#[derive(Debug)]
pub struct Read {
    /// What is left of it.
    pub value: Value,
    /// Paths of fields that were left out, e.g. `spec.containers[0].nmae`.
    pub unknown: Vec<String>,
}

/// Reads a document as `shape`. The error is in the words of the API server's decoder.
pub fn read(schema: &Schema, shape: &Shape, value: Value) -> Result<Read, String> {
    let mut reader =
        Reader { schema, unknown: Vec::new(), owner: "", fields: Vec::new(), path: String::new() };
    let value = reader.value(shape, value, 0)?;
    Ok(Read { value, unknown: reader.unknown })
}

struct Reader<'a> {
    schema: &'a Schema,
    unknown: Vec<String>,
    /// Name of the type whose field is read.
    owner: &'a str,
    /// Names of the fields on the way, without places in lists and keys of maps, as Go names them.
    fields: Vec<String>,
    /// The way, places included.
    path: String,
}

/// The last part of a type's name.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// What a JSON value is, as refusals call it.
pub(crate) fn json_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl<'a> Reader<'a> {
    /// The type's name in Go.
    fn go_name(&self, shape: &Shape) -> String {
        match shape {
            Shape::String | Shape::Bytes => "string".to_owned(),
            Shape::Int32 => "int32".to_owned(),
            Shape::Int64 => "int64".to_owned(),
            Shape::Number => "float64".to_owned(),
            Shape::Boolean => "bool".to_owned(),
            Shape::Time => "v1.Time".to_owned(),
            Shape::Quantity => "resource.Quantity".to_owned(),
            Shape::IntOrString => "intstr.IntOrString".to_owned(),
            Shape::Any => "interface {}".to_owned(),
            Shape::List(of) => format!("[]{}", self.go_name(of)),
            Shape::Map(of) => format!("map[string]{}", self.go_name(of)),
            Shape::Named(id) => {
                let named = self.schema.get(*id);
                match &named.alias {
                    Some(alias) => self.go_name(alias),
                    None => {
                        let mut parts = named.name.rsplit('.');
                        let (name, package) = (parts.next().unwrap_or_default(), parts.next());
                        format!("{}.{name}", package.unwrap_or_default())
                    }
                }
            }
        }
    }
    fn misfit(&self, shape: &Shape, value: &Value) -> String {
        let found = match value {
            Value::Number(number) if matches!(shape, Shape::Int32 | Shape::Int64) => {
                format!("number {number}")
            }
            other => json_name(other).to_owned(),
        };
        let of_type = self.go_name(shape);
        match self.fields.as_slice() {
            [] => format!("json: cannot unmarshal {found} into Go value of type {of_type}"),
            fields => format!(
                "json: cannot unmarshal {found} into Go struct field {}.{} of type {of_type}",
                self.owner,
                fields.join(".")
            ),
        }
    }
    /// Runs `read` one step further in: into a field, an entry or a list's place.
    fn within<T>(&mut self, field: Option<&str>, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.path.len();
        if !self.path.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        self.fields.extend(field.map(str::to_owned));
        let out = read(self);
        self.path.truncate(before);
        if field.is_some() {
            self.fields.pop();
        }
        out
    }

    fn value(&mut self, shape: &Shape, value: Value, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("{}: exceeded max depth", self.path));
        }
        match (shape, value) {
            (_, Value::Null) => Ok(Value::Null),
            (Shape::Any, value) => Ok(value),
            (Shape::Named(id), value) => self.named(self.schema.get(*id), shape, value, depth),
            (Shape::List(of), Value::Array(list)) => {
                let mut read = Vec::with_capacity(list.len());
                for (i, item) in list.into_iter().enumerate() {
                    read.push(self.within(None, &format!("[{i}]"), |r| r.value(of, item, depth + 1))?);
                }
                Ok(Value::Array(read))
            }
            (Shape::Map(of), Value::Object(map)) => {
                let mut read = Map::new();
                for (key, item) in map {
                    // A null in a map of texts is an empty text, as Go decodes it.
                    let item = if item.is_null() && matches!(**of, Shape::String | Shape::Bytes) {
                        json!("")
                    } else {
                        item
                    };
                    let item = self.within(None, &key, |r| r.value(of, item, depth + 1))?;
                    read.insert(key, item);
                }
                Ok(Value::Object(read))
            }
            (shape, value) => self.scalar(shape, value),
        }
    }

    fn named(&mut self, of: &'a Type, shape: &Shape, value: Value, depth: usize) -> Result<Value, String> {
        if let Some(alias) = &of.alias {
            return self.value(alias, value, depth + 1);
        }
        let Value::Object(map) = value else { return Err(self.misfit(shape, &value)) };
        let owner = std::mem::replace(&mut self.owner, short(&of.name));
        let mut read = Map::new();
        for (key, value) in map {
            match of.field(&key) {
                Some(Field { shape, .. }) => {
                    let value = self.within(Some(&key), &key, |r| r.value(shape, value, depth + 1))?;
                    if !value.is_null() {
                        read.insert(key, value);
                    }
                }
                None if self.unknown.len() < UNKNOWN_MAX => {
                    let path = self.within(None, &key, |r| r.path.clone());
                    self.unknown.push(path);
                }
                None => {}
            }
        }
        self.owner = owner;
        Ok(Value::Object(read))
    }

    fn scalar(&self, shape: &Shape, value: Value) -> Result<Value, String> {
        let fits = match (shape, &value) {
            (Shape::String, Value::String(_)) | (Shape::Boolean, Value::Bool(_)) => true,
            (Shape::Int32, Value::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Shape::Int64, Value::Number(n)) => n.as_i64().is_some(),
            (Shape::Number, Value::Number(_)) | (Shape::IntOrString, Value::String(_)) => true,
            (Shape::IntOrString, Value::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Shape::Time, Value::String(text)) => {
                check_time(text)?;
                true
            }
            (Shape::Bytes, Value::String(text)) => {
                if let Some(at) = not_base64(text) {
                    return Err(format!("illegal base64 data at input byte {at}"));
                }
                true
            }
            (Shape::Quantity, Value::String(text)) => return self.canonical(text),
            (Shape::Quantity, Value::Number(number)) => return self.canonical(&number.to_string()),
            _ => false,
        };
        if fits { Ok(value) } else { Err(self.misfit(shape, &value)) }
    }

    /// The same amount as Kubernetes writes it. Its error says where, which Kubernetes' own does not.
    fn canonical(&self, text: &str) -> Result<Value, String> {
        let quantity = Quantity::parse(text).map_err(|error| format!("{}: {error}", self.path))?;
        Ok(json!(quantity.rounded_to_millis().to_string()))
    }
}

/// Whether a text is a time, in any year (a clock that was never set says 1); empty counts as none.
fn check_time(text: &str) -> Result<(), String> {
    if text.is_empty() || text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(());
    }
    Err(format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""))
}

/// The first byte that standard base64 does not allow.
fn not_base64(text: &str) -> Option<usize> {
    let bytes: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
    let padding = bytes.iter().rev().take_while(|b| **b == b'=').count();
    let body = &bytes[..bytes.len() - padding];
    let wrong = body.iter().position(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'+' | b'/'));
    wrong.or_else(|| (!bytes.len().is_multiple_of(4) || padding > 2).then_some(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::super::KUBERNETES;
    use super::*;

    fn read_as(version: &str, kind: &str, value: Value) -> Result<Read, String> {
        let shape = Shape::Named(KUBERNETES.kind(version, kind).unwrap());
        read(&KUBERNETES, &shape, value)
    }

    #[test]
    fn what_is_not_of_the_type_is_named() {
        let odd = json!({"metadata": {"name": "d", "labels": null}, "spec": {"replicas": 2, "templtae": {}, "template": {"spec": {"containers": [
            {"name": "c", "imag": "x", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}}}});
        let Read { value, unknown } = read_as("apps/v1", "Deployment", odd).unwrap();
        assert_eq!(unknown, ["spec.template.spec.containers[0].imag", "spec.templtae"]);
        let limits = &value["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
        assert_eq!(*limits, json!({"cpu": "500m", "memory": "1Gi"}));
        assert!(value["metadata"].get("labels").is_none());
    }

    #[test]
    fn times_are_of_any_year() {
        for time in ["0001-01-01T00:00:02.000000Z", "9999-12-30T00:00:00Z", "2026-05-01T09:00:00+09:00", ""] {
            let lease = json!({"metadata": {"name": "l"}, "spec": {"acquireTime": time}});
            assert!(read_as("coordination.k8s.io/v1", "Lease", lease).is_ok(), "{time}");
        }
        for time in ["yesterday", "2026-13-01T00:00:00Z", "0001-01-01"] {
            let lease = json!({"metadata": {"name": "l"}, "spec": {"acquireTime": time}});
            let why = read_as("coordination.k8s.io/v1", "Lease", lease).unwrap_err();
            assert!(why.starts_with("parsing time"), "{why}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_refused_in_gos_words() {
        let wrong = |version, kind, value| read_as(version, kind, value).unwrap_err();
        assert_eq!(
            wrong("apps/v1", "Deployment", json!({"spec": {"replicas": "2"}})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert_eq!(
            wrong("v1", "Pod", json!({"spec": {"containers": {}}})),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
        );
        assert_eq!(
            wrong("v1", "ConfigMap", json!({"data": {"a": 1}})),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        assert_eq!(wrong("v1", "Secret", json!({"data": {"a": "x"}})), "illegal base64 data at input byte 1");
        assert!(wrong("v1", "Pod", json!([])).starts_with("json: cannot unmarshal array into Go value"));
    }
}
