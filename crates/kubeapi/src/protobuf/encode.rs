//! Documents as Kubernetes' protobuf: the way back, by the same table.
//!
//! What Go writes whatever its value (strings, numbers and structs that are no pointers) is written here too, in the order of
//! numbers, so that bytes are those of the real server wherever it has one way to write them. A document that is not what
//! its type says, or that nobody has a type for, is not encoded, and is answered in JSON.

use super::{DEPTH_MAX, MAGIC, shape};
use serde_json::Value;
use twin::apiserver::schema::{Field, KUBERNETES, Shape, Type};

/// Types of what all objects have, and of lists.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
/// An empty struct, of which the table says no more than that it may be anything.
const EMPTY: &str = "CustomResourceSubresourceStatus";

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 127 {
        out.push(number as u8 & 127 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

fn tag(number: u16, wire: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | wire, out);
}

fn number_field(number: u16, value: i64, out: &mut Vec<u8>) {
    tag(number, 0, out);
    // Negative numbers take ten bytes, whatever their size.
    varint(value as u64, out);
}

fn bytes_field(number: u16, bytes: &[u8], out: &mut Vec<u8>) {
    tag(number, 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A message as a field: what `write` writes, with its length before it.
fn message_field(
    number: u16,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    tag(number, 2, out);
    let start = out.len();
    write(out)?;
    let mut length = Vec::with_capacity(5);
    varint((out.len() - start) as u64, &mut length);
    out.splice(start..start, length);
    Some(())
}

/// Bytes from standard base64.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut out, mut word, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')) {
        word = word << 6 | u32::from(digit(byte)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Some(out)
}

/// A time: seconds and nanoseconds since the epoch; nothing for one that is not set.
fn time(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let text = match value {
        Value::Null => return Some(()),
        value => value.as_str()?,
    };
    if text.is_empty() {
        return Some(());
    }
    let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    let second = 1_000_000_000;
    number_field(1, i64::try_from(nanos.div_euclid(second)).ok()?, out);
    number_field(2, i64::try_from(nanos.rem_euclid(second)).ok()?, out);
    Some(())
}

/// A string or a whole number: which, the number, the string.
fn int_or_string(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let text = value.as_str();
    number_field(1, i64::from(text.is_some()), out);
    number_field(2, if text.is_some() { 0 } else { value.as_i64()? }, out);
    bytes_field(3, text.unwrap_or_default().as_bytes(), out);
    Some(())
}

/// A schema, or what stands in its place.
fn schema_or(of: &Type, value: &Value, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let name = of.name.rsplit_once("JSONSchemaProps")?.0.to_owned() + "JSONSchemaProps";
    let schema = KUBERNETES.named(&name)?;
    let is_bool = of.name.ends_with("OrBool");
    match value {
        Value::Bool(allows) if is_bool => number_field(1, i64::from(*allows), out),
        Value::Object(_) if is_bool => {
            // A schema that is there allows.
            number_field(1, 1, out);
            put(2, schema, value, out, depth)?;
        }
        Value::Object(_) => put(1, schema, value, out, depth)?,
        Value::Array(list) if of.name.ends_with("OrStringArray") => {
            list.iter().try_for_each(|item| put(2, &Shape::String, item, out, depth))?;
        }
        Value::Array(list) => list.iter().try_for_each(|item| put(2, schema, item, out, depth))?,
        _ => return None,
    }
    Some(())
}

/// The message a type stands for that has no fields in JSON.
fn alias(of: &Type, value: &Value, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    match of.alias.as_ref()? {
        Shape::Time => time(value, out),
        Shape::Quantity => {
            match value {
                Value::String(text) => bytes_field(1, text.as_bytes(), out),
                Value::Number(number) => bytes_field(1, number.to_string().as_bytes(), out),
                Value::Null => bytes_field(1, b"0", out),
                _ => return None,
            }
            Some(())
        }
        Shape::IntOrString => int_or_string(value, out),
        Shape::Any if of.name.contains("JSONSchemaPropsOr") => schema_or(of, value, out, depth),
        Shape::Any if of.name.ends_with(EMPTY) => Some(()),
        Shape::Any => {
            bytes_field(1, value.to_string().as_bytes(), out);
            Some(())
        }
        _ => None,
    }
}

/// One value as a field.
fn put(number: u16, shape: &Shape, value: &Value, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match shape {
        Shape::String => bytes_field(number, value.as_str()?.as_bytes(), out),
        Shape::Bytes => bytes_field(number, &unbase64(value.as_str()?)?, out),
        Shape::Int32 | Shape::Int64 => number_field(number, value.as_i64()?, out),
        Shape::Boolean => number_field(number, i64::from(value.as_bool()?), out),
        Shape::Number => {
            tag(number, 1, out);
            out.extend_from_slice(&value.as_f64()?.to_le_bytes());
        }
        Shape::Time => message_field(number, out, |out| time(value, out))?,
        Shape::Any | Shape::Quantity | Shape::IntOrString | Shape::Map(_) => return None,
        // A list within a map or a list is a message of its own.
        Shape::List(of) => {
            let list = value.as_array()?;
            message_field(number, out, |out| {
                list.iter().try_for_each(|item| put(1, of, item, out, depth + 1))
            })?;
        }
        Shape::Named(id) => {
            let of = KUBERNETES.get(*id);
            message_field(number, out, |out| match &of.alias {
                Some(_) => alias(of, value, out, depth),
                None => message(of, value, out, depth + 1),
            })?;
        }
    }
    Some(())
}

/// Times that Go's types hold in place, though JSON leaves them out where they are not set (`omitzero`): written as an empty
/// message. All others are pointers.
const HELD_TIMES: [&str; 13] = [
    "creationTimestamp",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "eventTime",
    "finishedAt",
    "firstTimestamp",
    "lastHeartbeatTime",
    "lastObservedTime",
    "lastProbeTime",
    "lastTimestamp",
    "lastTransitionTime",
    "lastUpdateTime",
    "startedAt",
];

/// What an absent field holds that Go writes all the same.
fn unset(field: &Field) -> Option<Value> {
    if field.pointer {
        return None;
    }
    match field.shape {
        Shape::String => Some(Value::from("")),
        Shape::Int32 | Shape::Int64 => Some(Value::from(0)),
        Shape::Boolean => Some(Value::from(false)),
        Shape::Number => Some(Value::from(0.0)),
        Shape::Named(id) if field.always || HELD_TIMES.contains(&field.name.as_str()) => {
            Some(match KUBERNETES.get(id).alias {
                None => Value::Object(serde_json::Map::new()),
                Some(Shape::Time) => Value::Null,
                Some(_) => return None,
            })
        }
        _ => None,
    }
}

/// A field, however often it stands in its message.
fn field(field: &Field, number: u16, value: Option<&Value>, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return unset(field).map_or(Some(()), |value| put(number, &field.shape, &value, out, depth));
    };
    match &field.shape {
        Shape::List(of) => {
            value.as_array()?.iter().try_for_each(|item| put(number, of, item, out, depth + 1))
        }
        Shape::Map(of) => {
            let entry = |(key, value): (&String, &Value)| {
                message_field(number, out, |out| {
                    bytes_field(1, key.as_bytes(), out);
                    match **of {
                        Shape::Bytes if value.is_null() => Some(()),
                        // A list is a message of its own, which is there even if the list is not.
                        Shape::List(_) if value.is_null() => {
                            put(2, of, &Value::Array(Vec::new()), out, depth + 1)
                        }
                        _ => put(2, of, value, out, depth + 1),
                    }
                })
            };
            value.as_object()?.iter().try_for_each(entry)
        }
        shape => put(number, shape, value, out, depth),
    }
}

/// The fields of a message, in the order of their numbers. Those that share the first of several are in a message of their
/// own, which Go writes whether it is empty or not.
fn fields(
    all: &[(&[u16], &Field)],
    document: &serde_json::Map<String, Value>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Option<()> {
    let mut rest = all;
    while let Some(((numbers, first), _)) = rest.split_first() {
        let [number, inner @ ..] = *numbers else { return None };
        let same = rest.iter().take_while(|(numbers, _)| numbers.first() == Some(number)).count();
        let (here, later) = rest.split_at(same);
        if inner.is_empty() {
            field(first, *number, document.get(&first.name), out, depth)?;
        } else {
            let here: Vec<(&[u16], &Field)> =
                here.iter().map(|(numbers, field)| (&numbers[1..], *field)).collect();
            message_field(*number, out, |out| fields(&here, document, out, depth))?;
        }
        rest = later;
    }
    Some(())
}

fn message(of: &Type, value: &Value, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let document = value.as_object()?;
    let numbered = of.fields.iter().filter(|field| !field.numbers.is_empty());
    let mut all: Vec<(&[u16], &Field)> = numbered.map(|field| (&*field.numbers, field)).collect();
    all.sort_unstable_by_key(|(numbers, _)| *numbers);
    fields(&all, document, out, depth)
}

fn object_of(name: &str) -> Option<&'static Type> {
    match KUBERNETES.named(name)? {
        Shape::Named(id) => Some(KUBERNETES.get(*id)),
        _ => None,
    }
}

/// The bytes of an object without what says of which kind it is.
fn raw(document: &Value, version: &str, kind: &str, out: &mut Vec<u8>) -> Option<()> {
    let meta = |name: &str, out: &mut Vec<u8>| {
        let of = object_of(name)?;
        message_field(1, out, |out| message(of, &document["metadata"], out, 1))
    };
    match (version, kind) {
        ("meta.k8s.io/v1", "PartialObjectMetadata") => meta(OBJECT_META, out),
        ("meta.k8s.io/v1", "PartialObjectMetadataList") => {
            meta(LIST_META, out)?;
            let mut items = document["items"].as_array()?.iter();
            items.try_for_each(|item| {
                message_field(2, out, |out| raw(item, version, "PartialObjectMetadata", out))
            })
        }
        ("v1", "Status") => message(object_of(STATUS)?, document, out, 0),
        _ => match shape(version, kind)? {
            Shape::Named(id) => message(KUBERNETES.get(*id), document, out, 0),
            _ => None,
        },
    }
}

/// What stands around an object: the magic, its version and kind, and its bytes, `length` of them still to come.
fn envelope(version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut about = Vec::new();
    bytes_field(1, version.as_bytes(), &mut about);
    bytes_field(2, kind.as_bytes(), &mut about);
    bytes_field(1, &about, &mut out);
    tag(2, 2, &mut out);
    varint(length as u64, &mut out);
    out
}

/// What stands behind it: neither an encoding nor a media type is named.
const BEHIND: [u8; 4] = [3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// A document in protobuf; `None` when it has none, or is not what its type says.
pub(crate) fn encode(document: &Value) -> Option<Vec<u8>> {
    let (version, kind) = (document["apiVersion"].as_str()?, document["kind"].as_str()?);
    let inner = bare(document)?;
    let mut out = envelope(version, kind, inner.len());
    out.extend_from_slice(&inner);
    list_end(&mut out);
    Some(out)
}

/// A document's bytes without what says of which kind it is, as an item of a list.
pub(crate) fn bare(document: &Value) -> Option<Vec<u8>> {
    let (version, kind) = (document["apiVersion"].as_str()?, document["kind"].as_str()?);
    let mut out = Vec::new();
    raw(document, version, kind, &mut out)?;
    Some(out)
}

/// A list: its metadata, then `items`, each encoded without its kind. Gives what comes before the first item; every item
/// follows as [`item`] writes it, then [`list_end`].
pub(crate) fn list_head(version: &str, kind: &str, meta: &Value, items_bytes: usize) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let of = object_of(LIST_META)?;
    message_field(1, &mut head, |out| message(of, meta, out, 1))?;
    let mut out = envelope(version, kind, head.len() + items_bytes);
    out.extend_from_slice(&head);
    Some(out)
}

/// How many bytes [`item`] writes.
pub(crate) fn item_bytes(bare: &[u8]) -> usize {
    let mut length = Vec::with_capacity(5);
    varint(bare.len() as u64, &mut length);
    1 + length.len() + bare.len()
}

/// Writes an item of a list.
pub(crate) fn item(bare: &[u8], out: &mut Vec<u8>) {
    bytes_field(2, bare, out);
}

/// Writes what stands behind a list, or any other object.
pub(crate) fn list_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&BEHIND);
}

/// Writes an event of a watch, as it stands in a stream: four bytes of length, then what happened and the object in full.
pub(crate) fn event(kind: &str, object: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    bytes_field(1, kind.as_bytes(), out);
    let mut inner = Vec::with_capacity(object.len() + 6);
    bytes_field(1, object, &mut inner);
    bytes_field(2, &inner, out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
