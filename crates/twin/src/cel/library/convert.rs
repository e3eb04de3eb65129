//! Conversions between types by the type's name: `int('1')`, `string(1.5)`, `timestamp(0)`.

use super::super::value::{Eval, Fault, Meter, Text, Value};
use super::{no_overload, strings, time};

/// The first real number beyond all integers.
const BEYOND_INT: f64 = 9_223_372_036_854_775_808.0;
/// The first real number beyond all unsigned integers.
const BEYOND_UINT: f64 = 18_446_744_073_709_551_616.0;

fn failed(what: &str) -> Fault {
    Fault::error(format!("type conversion error from 'string' to '{what}'"))
}

/// A value as one of another type.
pub(super) fn convert<'a>(to: &str, value: &Value<'a>, meter: &Meter) -> Eval<'a> {
    match to {
        "int" => int(value),
        "uint" => uint(value),
        "double" => double(value),
        "string" => string(value, meter),
        "bool" => match value {
            Value::Bool(b) => Ok(Value::Bool(*b)),
            Value::String(text) => match &**text {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
                _ => Err(failed("bool")),
            },
            _ => Err(no_overload()),
        },
        "bytes" => match value {
            Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
            Value::String(text) => {
                meter.bytes(text.len())?;
                Ok(Value::Bytes(text.as_bytes().into()))
            }
            _ => Err(no_overload()),
        },
        "duration" => match value {
            Value::Duration(nanos) => Ok(Value::Duration(*nanos)),
            Value::Int(nanos) => Ok(Value::Duration(*nanos)),
            Value::String(text) => {
                time::duration_of(text).map(Value::Duration).ok_or_else(|| failed("google.protobuf.Duration"))
            }
            _ => Err(no_overload()),
        },
        _ => match value {
            Value::Timestamp(at) => Ok(Value::Timestamp(*at)),
            Value::Int(seconds) => time::in_range(i128::from(*seconds) * i128::from(time::SECOND))
                .map(Value::Timestamp)
                .ok_or_else(|| Fault::error("timestamp overflow")),
            Value::String(text) => time::timestamp_of(text)
                .map(Value::Timestamp)
                .ok_or_else(|| failed("google.protobuf.Timestamp")),
            _ => Err(no_overload()),
        },
    }
}

fn int<'a>(value: &Value<'a>) -> Eval<'a> {
    let overflow = || Fault::error("integer overflow");
    Ok(Value::Int(match value {
        Value::Int(n) => *n,
        Value::Uint(n) => i64::try_from(*n).map_err(|_| overflow())?,
        #[expect(clippy::cast_possible_truncation)] // In range, and cut as CEL cuts.
        Value::Double(n) if n.abs() < BEYOND_INT => *n as i64,
        Value::Double(_) => return Err(overflow()),
        Value::Duration(nanos) => *nanos,
        Value::Timestamp(at) => i64::try_from(at.div_euclid(time::SECOND.into())).map_err(|_| overflow())?,
        Value::String(text) => {
            let plain = !text.is_empty() && text.len() <= 32;
            text.parse().ok().filter(|_| plain).ok_or_else(|| failed("int"))?
        }
        _ => return Err(no_overload()),
    }))
}

fn uint<'a>(value: &Value<'a>) -> Eval<'a> {
    let overflow = || Fault::error("unsigned integer overflow");
    Ok(Value::Uint(match value {
        Value::Uint(n) => *n,
        Value::Int(n) => u64::try_from(*n).map_err(|_| overflow())?,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // In range, and cut as CEL cuts.
        Value::Double(n) if *n >= 0.0 && *n < BEYOND_UINT => *n as u64,
        Value::Double(_) => return Err(overflow()),
        Value::String(text) => {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or_else(|| failed("uint"))?
        }
        _ => return Err(no_overload()),
    }))
}

#[expect(clippy::cast_precision_loss)] // What the conversion is for.
fn double<'a>(value: &Value<'a>) -> Eval<'a> {
    Ok(Value::Double(match value {
        Value::Double(n) => *n,
        Value::Int(n) => *n as f64,
        Value::Uint(n) => *n as f64,
        Value::String(text) => {
            text.parse().ok().filter(|_| text.len() <= 400).ok_or_else(|| failed("double"))?
        }
        _ => return Err(no_overload()),
    }))
}

fn string<'a>(value: &Value<'a>, meter: &Meter) -> Eval<'a> {
    Ok(Value::text(match value {
        Value::String(text) => return Ok(Value::String(Text::clone(text))),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => strings::show_double(*n),
        Value::Duration(nanos) => time::show_duration(*nanos),
        Value::Timestamp(at) => time::show_timestamp(*at),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(cidr) => cidr.to_string(),
        Value::Bytes(bytes) => {
            meter.bytes(bytes.len())?;
            std::str::from_utf8(bytes)
                .map_err(|_| Fault::error("invalid UTF-8 in bytes, cannot convert to string"))?
                .to_owned()
        }
        _ => return Err(no_overload()),
    }))
}
