//! Kubernetes' protobuf bodies, as compiled clients send them, turned into JSON documents, and answers for those who prefer it.
//!
//! client-go's typed clients send nothing else where nobody chose a format, and take no refusal for an answer (only CBOR falls
//! back to JSON). What the fields are called, which numbers they have and which are pointers is in
//! the table of Kubernetes' types ([`twin::apiserver::schema`]). As in Kubernetes, fields no type has are passed over. Bounds:
//! bodies are bounded by whoever reads them, nesting by [`DEPTH_MAX`]; a document has at most a value for every two bytes.
//! Leaves out custom resources, of which there is no protobuf.

mod encode;
mod encoded;

pub(crate) use encode::{bare, encode, event, item, item_bytes, list_end, list_head};
pub(crate) use encoded::Encoded;

use serde_json::{Map, Value, json};
use twin::Status;
use twin::apiserver::schema::{Field, KUBERNETES, Shape, Type};

/// Media type of these bodies.
pub(crate) const MEDIA: &str = "application/vnd.kubernetes.protobuf";
/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting of messages. Definitions that hold a whole pod template nest about 25 deep; a level takes up to 16 kB of a
/// thread's 2 MiB of stack where nothing is optimised.
const DEPTH_MAX: usize = 64;
/// Types of options that deletes carry; they are no kinds of their own.
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// A field's payload on the wire.
enum Wire<'a> {
    Varint(u64),
    Fixed(&'a [u8]),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
    /// The next field: number and payload.
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }
}

fn broken(what: &str) -> Status {
    Status::bad_request(format!("the body of the request is not valid protobuf: {what}"))
}

fn unsupported(what: &str) -> Status {
    Status::new(415, "UnsupportedMediaType", format!("{what}: send application/json"))
}

/// All fields of a message.
fn fields<'a>(bytes: &'a [u8], what: &str) -> Result<Vec<(u64, Wire<'a>)>, Status> {
    let mut reader = Reader(bytes);
    let mut all = Vec::new();
    while !reader.0.is_empty() {
        all.push(reader.field().ok_or_else(|| broken(what))?);
    }
    Ok(all)
}

fn bytes<'a>(wire: &Wire<'a>, what: &str) -> Result<&'a [u8], Status> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Varint(_) | Wire::Fixed(_) => Err(broken(what)),
    }
}

fn text(wire: &Wire<'_>, what: &str) -> Result<String, Status> {
    String::from_utf8(bytes(wire, what)?.to_vec()).map_err(|_| broken(what))
}

fn number(wire: &Wire<'_>, what: &str) -> Result<i64, Status> {
    match wire {
        Wire::Varint(value) => Ok(*value as i64),
        Wire::Fixed(_) | Wire::Bytes(_) => Err(broken(what)),
    }
}

/// A floating-point number; whole ones as Kubernetes writes them in JSON.
fn double(wire: &Wire<'_>, what: &str) -> Result<Value, Status> {
    let Wire::Fixed(bytes) = wire else { return Err(broken(what)) };
    let value = f64::from_le_bytes((*bytes).try_into().map_err(|_| broken(what))?);
    /// Beyond it whole numbers are not exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    Ok(if value.fract() == 0.0 && value.abs() < EXACT { json!(value as i64) } else { json!(value) })
}

/// Standard base64, as JSON carries bytes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let index = (word >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

/// Field `wanted` of a small message.
fn only<'a>(message: &'a [u8], wanted: u64, what: &str) -> Result<Option<Wire<'a>>, Status> {
    Ok(fields(message, what)?.into_iter().find(|(id, _)| *id == wanted).map(|(_, wire)| wire))
}

/// Seconds and nanoseconds since the epoch as RFC 3339, null for the zero time, which is an empty message.
fn time(message: &[u8], micro: bool, what: &str) -> Result<Value, Status> {
    let (mut seconds, mut nanos) = (0, 0);
    for (id, wire) in fields(message, what)? {
        match id {
            1 => seconds = number(&wire, what)?,
            2 => nanos = number(&wire, what)?,
            _ => {}
        }
    }
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let text = jiff::Timestamp::from_second(seconds).map_err(|_| broken(what))?.to_string();
    if !micro {
        return Ok(json!(text));
    }
    let micros = u32::try_from(nanos / 1000).ok().filter(|n| *n < 1_000_000).ok_or_else(|| broken(what))?;
    Ok(json!(format!("{}.{micros:06}Z", text.trim_end_matches('Z'))))
}

/// A string or a whole number: which of both in field 1, the number in 2, the string in 3.
fn int_or_string(message: &[u8], what: &str) -> Result<Value, Status> {
    let (mut is_text, mut whole, mut string) = (false, 0, String::new());
    for (id, wire) in fields(message, what)? {
        match id {
            1 => is_text = number(&wire, what)? != 0,
            2 => whole = number(&wire, what)?,
            3 => string = text(&wire, what)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(string) } else { json!(whole) })
}

/// JSON in bytes, or an object in protobuf within.
fn raw(message: &[u8], depth: usize, what: &str) -> Result<Value, Status> {
    let Some(wire) = only(message, 1, what)? else { return Ok(json!({})) };
    let inner = bytes(&wire, what)?;
    if inner.starts_with(MAGIC) {
        return object(inner, depth + 1);
    }
    if inner.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(inner).map_err(|error| broken(&format!("{what}: {error}")))
}

/// A schema, or what may stand in its place.
fn schema_or(of: &Type, message_in: &[u8], depth: usize) -> Result<Value, Status> {
    let what = of.name.as_str();
    let schema =
        what.rsplit_once("JSONSchemaProps").map_or(what, |(head, _)| head).to_owned() + "JSONSchemaProps";
    let shape = KUBERNETES.named(&schema).ok_or_else(|| broken(what))?;
    let (mut one, mut allows, mut schemas, mut texts) = (None, false, Vec::new(), Vec::new());
    for (id, wire) in fields(message_in, what)? {
        match (id, what.ends_with("OrBool"), what.ends_with("OrStringArray")) {
            (1, true, _) => allows = number(&wire, what)? != 0,
            (2, true, _) | (1, false, _) => one = Some(value(shape, &wire, depth + 1, what)?),
            (2, false, true) => texts.push(json!(text(&wire, what)?)),
            (2, false, false) => schemas.push(value(shape, &wire, depth + 1, what)?),
            _ => {}
        }
    }
    Ok(match one {
        Some(one) => one,
        None if what.ends_with("OrBool") => json!(allows),
        None if what.ends_with("OrStringArray") => Value::Array(texts),
        None => Value::Array(schemas),
    })
}

/// A type that has no fields in JSON, though it is a message.
fn alias(of: &Type, shape: &Shape, wire: &Wire<'_>, depth: usize, what: &str) -> Result<Value, Status> {
    match shape {
        Shape::Time => time(bytes(wire, what)?, of.name.ends_with(".MicroTime"), what),
        Shape::Quantity => match only(bytes(wire, what)?, 1, what)? {
            Some(wire) => Ok(json!(text(&wire, what)?)),
            None => Ok(json!("0")),
        },
        Shape::IntOrString => int_or_string(bytes(wire, what)?, what),
        Shape::Any if of.name.contains("JSONSchemaPropsOr") => schema_or(of, bytes(wire, what)?, depth),
        Shape::Any => raw(bytes(wire, what)?, depth, what),
        other => value(other, wire, depth, what),
    }
}

/// One value, as it stands in a field or a list.
fn value(shape: &Shape, wire: &Wire<'_>, depth: usize, what: &str) -> Result<Value, Status> {
    if depth > DEPTH_MAX {
        return Err(broken("nested too deeply"));
    }
    match shape {
        Shape::String => Ok(json!(text(wire, what)?)),
        Shape::Bytes => Ok(json!(base64(bytes(wire, what)?))),
        Shape::Int32 | Shape::Int64 => Ok(json!(number(wire, what)?)),
        Shape::Boolean => Ok(json!(number(wire, what)? != 0)),
        Shape::Number => double(wire, what),
        Shape::Time => time(bytes(wire, what)?, false, what),
        Shape::Any | Shape::Quantity | Shape::IntOrString => Err(broken(what)),
        Shape::List(of) => {
            // A list within a map or a list is a message of its own, the items in field 1.
            let items = fields(bytes(wire, what)?, what)?.into_iter().filter(|(id, _)| *id == 1);
            let items: Result<_, _> = items.map(|(_, wire)| value(of, &wire, depth + 1, what)).collect();
            Ok(Value::Array(items?))
        }
        Shape::Map(_) => Err(broken(what)),
        Shape::Named(id) => {
            let of = KUBERNETES.get(*id);
            if let Some(shape) = &of.alias {
                return alias(of, shape, wire, depth, what);
            }
            let mut map = Map::new();
            message(of, bytes(wire, what)?, &[], &mut map, depth)?;
            Ok(Value::Object(map))
        }
    }
}

/// An item of a list; numbers may be packed together.
fn push(of: &Shape, wire: &Wire<'_>, list: &mut Vec<Value>, depth: usize, what: &str) -> Result<(), Status> {
    if let (Shape::Int32 | Shape::Int64 | Shape::Boolean, Wire::Bytes(packed)) = (of, wire) {
        let mut reader = Reader(packed);
        while !reader.0.is_empty() {
            let number = Wire::Varint(reader.varint().ok_or_else(|| broken(what))?);
            list.push(value(of, &number, depth, what)?);
        }
        return Ok(());
    }
    list.push(value(of, wire, depth, what)?);
    Ok(())
}

/// One entry of a map: the key in field 1, the value in 2.
fn entry(of: &Shape, message: &[u8], depth: usize, what: &str) -> Result<(String, Value), Status> {
    let (mut key, mut inner) = (String::new(), None);
    for (id, wire) in fields(message, what)? {
        match id {
            1 => key = text(&wire, what)?,
            2 => inner = Some(value(of, &wire, depth, what)?),
            _ => {}
        }
    }
    let inner = match (of, inner) {
        (Shape::String, None) => json!(""),
        // Protobuf does not tell empty ones from those that are not there, which Go writes as null.
        (Shape::Bytes | Shape::List(_), inner) => inner.filter(|v| !is_unset(v)).unwrap_or_default(),
        (_, inner) => inner.unwrap_or_else(|| json!({})),
    };
    Ok((key, inner))
}

/// Whether a value is what a field is that nobody has set.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Puts what a field holds into `map`, as Kubernetes writes it in JSON.
fn put(field: &Field, wire: &Wire<'_>, map: &mut Map<String, Value>, depth: usize) -> Result<(), Status> {
    let what = field.name.as_str();
    match &field.shape {
        Shape::List(of) => {
            let slot = map.entry(what).or_insert_with(|| json!([]));
            if let Value::Array(list) = slot {
                push(of, wire, list, depth + 1, what)?;
            }
        }
        Shape::Map(of) => {
            let (key, inner) = entry(of, bytes(wire, what)?, depth + 1, what)?;
            let slot = map.entry(what).or_insert_with(|| json!({}));
            if let Value::Object(entries) = slot {
                entries.insert(key, inner);
            }
        }
        shape => {
            let value = value(shape, wire, depth + 1, what)?;
            // A message is there because somebody set it, but for structs that are always written.
            let by_presence = field.pointer || matches!(shape, Shape::Named(_));
            if !value.is_null() && (field.always || by_presence || !is_unset(&value)) {
                map.insert(what.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// Reads a message's fields into `map`. `around` are the numbers of the messages around it of the same type.
fn message(
    of: &Type,
    bytes_in: &[u8],
    around: &[u16],
    map: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Status> {
    if depth > DEPTH_MAX {
        return Err(broken("nested too deeply"));
    }
    for (id, wire) in fields(bytes_in, &of.name)? {
        let Ok(id) = u16::try_from(id) else { continue };
        let place = [around, &[id]].concat();
        if let Some(field) = of.fields.iter().find(|field| *field.numbers == *place) {
            put(field, &wire, map, depth)?;
        } else if of.fields.iter().any(|field| field.numbers.starts_with(&place)) {
            message(of, bytes(&wire, &of.name)?, &place, map, depth + 1)?;
        }
    }
    Ok(())
}

/// The shape of what a body says it is.
fn shape(version: &str, kind: &str) -> Option<&'static Shape> {
    if kind == "DeleteOptions" {
        return KUBERNETES.named(DELETE_OPTIONS);
    }
    KUBERNETES.kind(version, kind).map(|id| KUBERNETES.shape(id))
}

/// An object: the magic, then `runtime.Unknown` with the type and the object's bytes.
fn object(body: &[u8], depth: usize) -> Result<Value, Status> {
    let body = body.strip_prefix(MAGIC).ok_or_else(|| broken("the prefix \"k8s\\0\" is missing"))?;
    let (mut version, mut kind, mut raw): (String, String, &[u8]) = (String::new(), String::new(), &[]);
    for (id, wire) in fields(body, "Unknown")? {
        match id {
            1 => {
                for (id, wire) in fields(bytes(&wire, "TypeMeta")?, "TypeMeta")? {
                    match id {
                        1 => version = text(&wire, "apiVersion")?,
                        2 => kind = text(&wire, "kind")?,
                        _ => {}
                    }
                }
            }
            2 => raw = bytes(&wire, "raw")?,
            3 if !bytes(&wire, "contentEncoding")?.is_empty() => {
                return Err(unsupported("protobuf with a content encoding is not read here"));
            }
            _ => {}
        }
    }
    let shape = shape(&version, &kind)
        .ok_or_else(|| unsupported(&format!("protobuf of {version} {kind:?} is not known here")))?;
    let mut document = value(shape, &Wire::Bytes(raw), depth, &kind)?;
    document["apiVersion"] = json!(version);
    document["kind"] = json!(kind);
    Ok(document)
}

/// Reads a body.
pub(crate) fn decode(body: &[u8]) -> Result<Value, Status> {
    object(body, 0)
}

#[cfg(test)]
mod tests;
