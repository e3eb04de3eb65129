//! Values as JSON: objects that policies write out, and what patches put into place.

use super::library::time;
use super::value::{Fault, Key, Map, Meter, Value};
use serde_json::{Map as JsonMap, Value as Json, json};

/// Bytes in base64, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at) & 63) as usize;
            out.push(if at <= group.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    out
}

impl Value<'_> {
    /// As JSON. Fields that are optional and not there are left out.
    pub fn to_json(&self) -> Result<Json, Fault> {
        self.json(&Meter::new(u64::MAX))
    }

    fn json(&self, meter: &Meter) -> Result<Json, Fault> {
        meter.work(1)?;
        Ok(match self {
            Value::Null | Value::Optional(None) => Json::Null,
            Value::Bool(b) => json!(b),
            Value::Int(n) => json!(n),
            Value::Uint(n) => json!(n),
            Value::Double(n) => json!(n),
            Value::String(text) => {
                meter.bytes(text.len())?;
                json!(&**text)
            }
            Value::Bytes(bytes) => json!(base64(bytes)),
            Value::Duration(nanos) => json!(time::show_duration(*nanos)),
            Value::Timestamp(at) => json!(time::show_timestamp(*at)),
            Value::Optional(Some(inner)) => inner.json(meter)?,
            Value::List(list) => {
                let items = list.all(meter)?;
                Json::Array(items.iter().map(|item| item.json(meter)).collect::<Result<_, _>>()?)
            }
            Value::Map(map) => Json::Object(entries(map, meter)?),
            Value::Quantity(quantity) => json!(quantity.to_string()),
            Value::Ip(ip) => json!(ip.to_string()),
            Value::Cidr(cidr) => json!(cidr.to_string()),
            other => return Err(Fault::error(format!("{} has no form in JSON", other.kind()))),
        })
    }
}

fn entries(map: &Map<'_>, meter: &Meter) -> Result<JsonMap<String, Json>, Fault> {
    let mut out = JsonMap::new();
    for key in map.keys(meter)? {
        let Some(value) = map.get(&key) else { continue };
        let value = value?;
        let Key::String(name) = key else {
            return Err(Fault::error("only strings can be names of fields"));
        };
        if !matches!(value, Value::Optional(None)) {
            out.insert(name.to_string(), value.json(meter)?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"a", "YQ=="),
            (b"ab", "YWI="),
            (b"abc", "YWJj"),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            assert_eq!(base64(bytes), text);
            assert_eq!(super::super::library::base64(text).as_deref(), Some(bytes));
        }
    }
}
