//! What steps cost when they are taken, in the units of cel-go and of k8s.io/apiserver's library.
//!
//! A unit is about fifty nanoseconds there. A character costs a tenth, a character of a pattern a quarter.

use super::library::named;
use super::value::{Fault, Meter, Value};

/// Of a name or a field.
pub(super) const SELECT: u64 = 1;
/// Of making a list, a map, an object.
pub(super) const LIST: u64 = 10;
pub(super) const MAP: u64 = 30;
pub(super) const OBJECT: u64 = 40;

/// Tenths of so many, rounded up.
pub(super) fn tenths(count: u64) -> u64 {
    count.div_ceil(10)
}

/// A pattern of such a length on a text of such a size.
fn matching(size: u64, pattern: u64) -> u64 {
    tenths(size.saturating_add(1)).saturating_mul(pattern.div_ceil(4))
}

/// What looking at all of a value costs.
fn traversal(value: &Value<'_>, meter: &Meter) -> Result<u64, Fault> {
    meter.work(1)?;
    Ok(match value {
        Value::String(text) => text.len() as u64 / 10,
        Value::Bytes(bytes) => bytes.len() as u64 / 10,
        Value::List(list) => {
            let mut sum = 0_u64;
            for item in list.all(meter)? {
                sum = sum.saturating_add(traversal(&item, meter)?);
            }
            sum
        }
        Value::Map(map) => {
            let mut sum = 0_u64;
            for key in map.keys(meter)? {
                sum = sum.saturating_add(traversal(&key.value(), meter)?);
                if let Some(item) = map.get(&key) {
                    sum = sum.saturating_add(traversal(&item?, meter)?);
                }
            }
            sum
        }
        _ => 1,
    })
}

/// What a call costs by what it is given.
pub(super) fn before(name: &str, member: bool, args: &[Value<'_>], meter: &Meter) -> Result<u64, Fault> {
    let size = |at: usize| args.get(at).map_or(1, Value::size);
    let is_text = args.iter().all(|arg| matches!(arg, Value::String(_) | Value::Bytes(_)));
    Ok(match name {
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => match args.first() {
            Some(first) => traversal(first, meter)?,
            None => 0,
        },
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver"
        | "startsWith"
        | "endsWith"
        | "strings.quote"
        | "format" => tenths(size(0)),
        "ip" if !member => tenths(size(0)),
        "replace" | "split" | "ip.isCanonical" => tenths(2 * size(0)),
        "join" | "slice" | "reverse" | "lists.range" => 0,
        "sets.contains" | "sets.intersects" => size(0).saturating_mul(size(1)).saturating_add(1),
        "sets.equivalent" => size(0).saturating_mul(size(1)).saturating_mul(2).saturating_add(1),
        "flatten" => {
            let depth = match args.get(1) {
                Some(Value::Int(depth)) => (*depth).max(0).cast_unsigned(),
                _ => 1,
            };
            size(0).saturating_mul(depth).saturating_add(1 + LIST)
        }
        "sort" | "distinct" => compared(args.first()),
        "@sortByAssociatedKeys" => compared(args.get(1)),
        "find" | "findAll" | "matches" => matching(size(0), size(1)),
        "contains" => tenths(size(0)).saturating_mul(tenths(size(1))),
        "containsIP" | "containsCIDR" => {
            let read = if matches!(args.get(1), Some(Value::String(_))) { tenths(size(1)) } else { 0 };
            let more = if name == "containsCIDR" { tenths(size(0)) + 1 } else { 0 };
            tenths(2 * size(0)) + more + read
        }
        "validate" => match args.first() {
            Some(Value::Format(format)) => matching(size(1), named::pattern_length(format)),
            _ => 1,
        },
        "bytes" | "string" if is_text => match (name, args.first()) {
            ("bytes", Some(Value::String(_))) | ("string", Some(Value::Bytes(_))) => tenths(size(0)),
            _ => 1,
        },
        "@in" => match args.get(1) {
            Some(Value::List(_)) => size(1),
            _ => 1,
        },
        "_==_" if is_opaque(args.first()) => 1,
        "_==_" | "_!=_" => tenths(size(0).min(size(1))),
        "_<_" | "_<=_" | "_>_" | "_>=_" if is_text => tenths(size(0).min(size(1))),
        "_+_" if is_text => tenths(size(0) + size(1)),
        _ => 1,
    })
}

/// Each element of a list compared with each.
fn compared(list: Option<&Value<'_>>) -> u64 {
    let Some(Value::List(list)) = list else { return 1 };
    let pairs = (list.len() as u64).saturating_mul(list.len() as u64);
    let text = matches!(list.get(0), Some(Ok(Value::String(_) | Value::Bytes(_))));
    // Two a pair, and a tenth more for text.
    let each = if text { pairs.saturating_mul(21) / 10 } else { pairs.saturating_mul(2) };
    each.saturating_add(1 + LIST)
}

fn is_opaque(value: Option<&Value<'_>>) -> bool {
    matches!(
        value,
        Some(
            Value::Quantity(_)
                | Value::Ip(_)
                | Value::Cidr(_)
                | Value::Format(_)
                | Value::Url(_)
                | Value::Semver(_)
        )
    )
}

/// What a call costs by the size of what it gave.
pub(super) fn after(name: &str, size: u64) -> u64 {
    match name {
        "join" => tenths(2 * size),
        "slice" | "reverse" | "lists.range" => size + 1 + LIST,
        _ => 0,
    }
}
