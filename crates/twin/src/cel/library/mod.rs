//! What functions do, by name and by what they are given.
//!
//! Types were checked where they are known; where they are not, a function that takes no such thing is an error, "no
//! such overload". What is made on the way is bounded and counted by the [`Meter`].

mod convert;
mod lists;
pub(crate) mod named;
pub(crate) mod net;
pub(crate) mod semver;
pub(crate) mod strings;
pub(crate) mod time;
pub(crate) mod url;

use super::types::Type;
use super::value::{Eval, Fault, Key, List, Map, Meter, Text, Value};
use crate::apiserver::quantity::{self, Quantity};
use regex::Regex;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Most elements of two lists put together.
const ELEMENTS_MAX: usize = 2_000_000;
/// Largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// The work of compiling a pattern, and for each of its bytes: in elements.
const PATTERN_WORK: u64 = 500;
const PATTERN_BYTE_WORK: u64 = 50;

/// The error of a function that takes no such thing.
pub(super) fn no_overload() -> Fault {
    Fault::error("no such overload")
}

/// Patterns compiled so far, by text.
#[derive(Debug, Default)]
pub(super) struct Patterns(RefCell<BTreeMap<String, Regex>>);

/// A pattern in the syntax of RE2; the error is in words.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|why| match why {
        regex::Error::Syntax(words) => {
            let last = words.lines().last().unwrap_or_default();
            format!("error parsing regexp: {}: `{text}`", last.trim_start_matches("error: "))
        }
        other => format!("error parsing regexp: {other}: `{text}`"),
    })
}

impl Patterns {
    fn get(&self, text: &str, meter: &Meter) -> Result<Regex, Fault> {
        if let Some(known) = self.0.borrow().get(text) {
            return Ok(known.clone());
        }
        meter.work(PATTERN_WORK + PATTERN_BYTE_WORK * text.len() as u64)?;
        let built = pattern(text).map_err(Fault::Error)?;
        self.0.borrow_mut().insert(text.to_owned(), built.clone());
        Ok(built)
    }
}

/// How two numbers compare; `Some(None)` when one is none (NaN), `None` when they are not both numbers.
pub(super) fn compare_numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    #[derive(Clone, Copy)]
    enum Number {
        Whole(i128),
        Real(f64),
    }
    let number = |value: &Value<'_>| match value {
        Value::Int(n) => Some(Number::Whole((*n).into())),
        Value::Uint(n) => Some(Number::Whole((*n).into())),
        Value::Double(n) => Some(Number::Real(*n)),
        _ => None,
    };
    #[expect(clippy::cast_possible_truncation)] // Within 2^66, and exact there for what is whole.
    let mixed = |whole: i128, real: f64| {
        if real.is_nan() {
            return None;
        }
        if real.abs() > 7.0e19 {
            return Some(if real > 0.0 { Ordering::Less } else { Ordering::Greater });
        }
        let order = whole.cmp(&(real.floor() as i128));
        Some(if order == Ordering::Equal && real.fract() != 0.0 { Ordering::Less } else { order })
    };
    Some(match (number(a)?, number(b)?) {
        (Number::Whole(a), Number::Whole(b)) => Some(a.cmp(&b)),
        (Number::Real(a), Number::Real(b)) => a.partial_cmp(&b),
        (Number::Whole(a), Number::Real(b)) => mixed(a, b),
        (Number::Real(a), Number::Whole(b)) => mixed(b, a).map(Ordering::reverse),
    })
}

/// How two values of one type compare.
fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, Fault> {
    if let Some(order) = compare_numbers(a, b) {
        return order.ok_or_else(|| Fault::error("NaN values cannot be ordered"));
    }
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        _ => return Err(no_overload()),
    })
}

/// Whether two types are the same one; what is in lists and maps does not count.
pub(super) fn same_type(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::List(_), Type::List(_))
        | (Type::Map(_), Type::Map(_))
        | (Type::Optional(_), Type::Optional(_))
        | (Type::Meta(_), Type::Meta(_)) => true,
        _ => a == b,
    }
}

/// Bytes written in base64, padded.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let bare: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
    if !bare.len().is_multiple_of(4) {
        return None;
    }
    let digit = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::with_capacity(bare.len() / 4 * 3);
    let groups = bare.len() / 4;
    for (i, group) in bare.chunks(4).enumerate() {
        let pads = group.iter().rev().take_while(|b| **b == b'=').count();
        if pads > 2 || (pads > 0 && i + 1 != groups) {
            return None;
        }
        let mut bits: u32 = 0;
        for b in &group[..4 - pads] {
            bits = bits << 6 | u32::from(digit(*b)?);
        }
        bits <<= 6 * pads;
        let [_, a, b, c] = bits.to_be_bytes();
        out.extend_from_slice(&[a, b, c][..3 - pads]);
    }
    Some(out)
}

/// `+`, `-`, `*`, `/` and `%`.
pub(super) fn arithmetic<'a>(name: &str, a: &Value<'a>, b: &Value<'a>, meter: &Meter) -> Eval<'a> {
    let overflow = || Fault::error("integer overflow");
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Value::Int(match name {
            "_+_" => a.checked_add(*b).ok_or_else(overflow)?,
            "_-_" => a.checked_sub(*b).ok_or_else(overflow)?,
            "_*_" => a.checked_mul(*b).ok_or_else(overflow)?,
            "_/_" if *b == 0 => return Err(Fault::error("division by zero")),
            "_/_" => a.checked_div(*b).ok_or_else(overflow)?,
            _ if *b == 0 => return Err(Fault::error("modulus by zero")),
            _ => a.checked_rem(*b).ok_or_else(overflow)?,
        }),
        (Value::Uint(a), Value::Uint(b)) => {
            let overflow = || Fault::error("unsigned integer overflow");
            Value::Uint(match name {
                "_+_" => a.checked_add(*b).ok_or_else(overflow)?,
                "_-_" => a.checked_sub(*b).ok_or_else(overflow)?,
                "_*_" => a.checked_mul(*b).ok_or_else(overflow)?,
                "_/_" => a.checked_div(*b).ok_or_else(|| Fault::error("division by zero"))?,
                _ => a.checked_rem(*b).ok_or_else(|| Fault::error("modulus by zero"))?,
            })
        }
        (Value::Double(a), Value::Double(b)) => Value::Double(match name {
            "_+_" => a + b,
            "_-_" => a - b,
            "_*_" => a * b,
            "_/_" => a / b,
            _ => return Err(no_overload()),
        }),
        _ if name == "_+_" => return add(a, b, meter),
        _ if name == "_-_" => return subtract(a, b),
        _ => return Err(no_overload()),
    })
}

fn add<'a>(a: &Value<'a>, b: &Value<'a>, meter: &Meter) -> Eval<'a> {
    Ok(match (a, b) {
        (Value::String(a), Value::String(b)) => {
            strings::room(a.len() + b.len(), meter)?;
            Value::text(format!("{}{}", &**a, &**b))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            strings::room(a.len() + b.len(), meter)?;
            Value::Bytes([&**a, &**b].concat().into())
        }
        (Value::List(a), Value::List(b)) => {
            if a.len() + b.len() > ELEMENTS_MAX {
                return Err(Fault::error(format!("list of more than {ELEMENTS_MAX} elements")));
            }
            Value::List(a.with(b, meter)?)
        }
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_add(*b).ok_or_else(|| Fault::error("duration overflow"))?)
        }
        (Value::Timestamp(at), Value::Duration(by)) | (Value::Duration(by), Value::Timestamp(at)) => {
            let moved = time::in_range(at + i128::from(*by));
            Value::Timestamp(moved.ok_or_else(|| Fault::error("timestamp overflow"))?)
        }
        _ => return Err(no_overload()),
    })
}

fn subtract<'a>(a: &Value<'a>, b: &Value<'a>) -> Eval<'a> {
    Ok(match (a, b) {
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_sub(*b).ok_or_else(|| Fault::error("duration overflow"))?)
        }
        (Value::Timestamp(at), Value::Duration(by)) => {
            let moved = time::in_range(at - i128::from(*by));
            Value::Timestamp(moved.ok_or_else(|| Fault::error("timestamp overflow"))?)
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let gap = i64::try_from(a - b).map_err(|_| Fault::error("duration overflow"))?;
            Value::Duration(gap)
        }
        _ => return Err(no_overload()),
    })
}

/// What an index gives; `None` where there is nothing.
pub(super) fn index<'a>(of: &Value<'a>, at: &Value<'a>) -> Result<Option<Value<'a>>, Fault> {
    match of {
        Value::List(list) => {
            let place = match at {
                Value::Int(n) => Some(*n),
                Value::Uint(n) => i64::try_from(*n).ok(),
                #[expect(clippy::cast_possible_truncation)] // Whole, and small.
                Value::Double(n) if n.fract() == 0.0 && n.abs() < 1.0e15 => Some(*n as i64),
                other => {
                    return Err(Fault::error(format!("unsupported index type '{}' in list", other.kind())));
                }
            };
            place.and_then(|n| usize::try_from(n).ok()).and_then(|n| list.get(n)).transpose()
        }
        Value::Map(map) => {
            // A key of another type is not there.
            let Ok(key) = at.key() else { return Ok(None) };
            map.get(&key).transpose()
        }
        Value::Optional(Some(inner)) => index(inner, at),
        Value::Optional(None) => Ok(None),
        _ => Err(no_overload()),
    }
}

/// Why an index gives nothing.
pub(super) fn missing(of: &Value<'_>, at: &Value<'_>) -> Fault {
    let shown = match at {
        Value::String(text) => text.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        other => other.kind().to_string(),
    };
    match of {
        Value::List(_) => Fault::error(format!("index out of bounds: {shown}")),
        _ => Fault::error(format!("no such key: {shown}")),
    }
}

/// Adds entries to a map that a macro gathers.
fn insert<'a>(args: &mut [Value<'a>], meter: &Meter) -> Eval<'a> {
    let mut args = args.iter_mut();
    let (Some(Value::Map(Map::Made(so_far))), Some(first)) = (args.next(), args.next()) else {
        return Err(no_overload());
    };
    let mut so_far = std::mem::take(so_far);
    let entries = Rc::make_mut(&mut so_far);
    let more: Vec<(Key, Value<'a>)> = match (args.next(), &*first) {
        (Some(value), key) => vec![(key.key()?, value.clone())],
        (None, Value::Map(map)) => {
            let mut all = Vec::new();
            for key in map.keys(meter)? {
                let value = map.get(&key).ok_or_else(no_overload)??;
                all.push((key, value));
            }
            all
        }
        _ => return Err(no_overload()),
    };
    for (key, value) in more {
        if entries.contains_key(&key) {
            let shown = missing(&Value::Null, &key.value());
            let Fault::Error(words) = shown else { return Err(Fault::Cancelled) };
            let key = words.trim_start_matches("no such key: ").to_owned();
            return Err(Fault::error(format!("insert failed: key {key} already exists")));
        }
        entries.insert(key, value);
    }
    Ok(Value::Map(Map::Made(so_far)))
}

/// Calls a function. `member`: the first argument stood before its dot.
pub(super) fn call<'a>(
    name: &str,
    args: &mut [Value<'a>],
    member: bool,
    (meter, patterns): (&Meter, &Patterns),
) -> Eval<'a> {
    if name == "cel.@mapInsert" {
        return insert(args, meter);
    }
    if name == "_+_"
        && let [Value::List(List::Made(so_far)), Value::List(more)] = args
        && Rc::strong_count(so_far) == 1
    {
        // What a macro gathers is not copied each time.
        let mut so_far = std::mem::take(so_far);
        Rc::make_mut(&mut so_far).extend(more.all(meter)?);
        return Ok(Value::List(List::Made(so_far)));
    }
    let args = &*args;
    match args {
        [a, b] if matches!(name, "_+_" | "_-_" | "_*_" | "_/_" | "_%_") => arithmetic(name, a, b, meter),
        [a, b] if name == "_==_" => Ok(Value::Bool(a.equals(b, meter)?)),
        [a, b] if name == "_!=_" => Ok(Value::Bool(!a.equals(b, meter)?)),
        [a, b] if matches!(name, "_<_" | "_<=_" | "_>_" | "_>=_") => order(name, a, b),
        [a, b] if name == "@in" => is_in(a, b, meter),
        [a, b] if name == "_[_]" => match (a, index(a, b)?) {
            (Value::Optional(_), found) => Ok(Value::Optional(found.map(Rc::new))),
            (_, Some(found)) => Ok(found),
            (_, None) => Err(missing(a, b)),
        },
        [a, b] if name == "_[?_]" => Ok(Value::Optional(index(a, b)?.map(Rc::new))),
        [a] if name == "!_" => match a {
            Value::Bool(b) => Ok(Value::Bool(!b)),
            _ => Err(no_overload()),
        },
        [a] if name == "-_" => match a {
            Value::Int(n) => Ok(Value::Int(n.checked_neg().ok_or_else(|| Fault::error("integer overflow"))?)),
            Value::Double(n) => Ok(Value::Double(-n)),
            _ => Err(no_overload()),
        },
        [a] if !member
            && matches!(
                name,
                "bool" | "bytes" | "double" | "int" | "uint" | "string" | "duration" | "timestamp"
            ) =>
        {
            convert::convert(name, a, meter)
        }
        [Value::Int(count)] if name == "lists.range" => lists::range(*count, meter),
        [a] if name == "dyn" => Ok(a.clone()),
        [a] if name == "type" => Ok(Value::Type(a.kind())),
        [a] if name == "size" => match a {
            Value::String(_) | Value::Bytes(_) | Value::List(_) => Ok(Value::Int(a.size().cast_signed())),
            Value::Map(map) if !map.is_object() => Ok(Value::Int(a.size().cast_signed())),
            _ => Err(no_overload()),
        },
        [Value::String(text), rest @ ..] => of_string(name, text, rest, (meter, patterns)),
        [Value::List(list), rest @ ..] => of_list(name, list, rest, meter),
        _ => of_others(name, args),
    }
}

fn order<'a>(name: &str, a: &Value<'a>, b: &Value<'a>) -> Eval<'a> {
    let found = match compare_numbers(a, b) {
        // Nothing is less or greater than what is no number.
        Some(None) => return Ok(Value::Bool(false)),
        Some(Some(found)) => found,
        None => compare(a, b)?,
    };
    Ok(Value::Bool(match name {
        "_<_" => found == Ordering::Less,
        "_<=_" => found != Ordering::Greater,
        "_>_" => found == Ordering::Greater,
        _ => found != Ordering::Less,
    }))
}

fn is_in<'a>(item: &Value<'a>, of: &Value<'a>, meter: &Meter) -> Eval<'a> {
    Ok(Value::Bool(match of {
        Value::List(list) => lists::contains(list, item, meter)?,
        Value::Map(map) if !map.is_object() => item.key().is_ok_and(|key| map.get(&key).is_some()),
        _ => return Err(no_overload()),
    }))
}

fn of_string<'a>(
    name: &str,
    text: &Text<'a>,
    rest: &[Value<'a>],
    (meter, patterns): (&Meter, &Patterns),
) -> Eval<'a> {
    let bool = |b: bool| Ok(Value::Bool(b));
    match (name, rest) {
        ("contains", [Value::String(part)]) => {
            meter.bytes(text.len())?;
            bool(text.contains(&**part))
        }
        ("startsWith", [Value::String(part)]) => bool(text.starts_with(&**part)),
        ("endsWith", [Value::String(part)]) => bool(text.ends_with(&**part)),
        ("matches", [Value::String(pattern)]) => {
            meter.work(text.len() as u64 / 16)?;
            bool(patterns.get(pattern, meter)?.is_match(text))
        }
        ("find", [Value::String(pattern)]) => {
            meter.work(text.len() as u64 / 16)?;
            let found = patterns.get(pattern, meter).map_err(illegal)?;
            Ok(Value::text(found.find(text).map_or("", |found| found.as_str())))
        }
        ("findAll", [Value::String(pattern), most @ ..]) => {
            meter.work(text.len() as u64)?;
            let most = match most {
                [Value::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            let found = patterns.get(pattern, meter).map_err(illegal)?;
            let all = found.find_iter(text).take(most).map(|found| Value::text(found.as_str()));
            Ok(Value::list(all.collect()))
        }
        ("charAt", [Value::Int(at)]) => strings::char_at(text, *at),
        ("substring", [Value::Int(from)]) => strings::substring(text, *from, None),
        ("substring", [Value::Int(from), Value::Int(to)]) => strings::substring(text, *from, Some(*to)),
        ("indexOf", [Value::String(part)]) => strings::index_of(text, part, None, false, meter),
        ("indexOf", [Value::String(part), Value::Int(at)]) => {
            strings::index_of(text, part, Some(*at), false, meter)
        }
        ("lastIndexOf", [Value::String(part)]) => strings::index_of(text, part, None, true, meter),
        ("lastIndexOf", [Value::String(part), Value::Int(at)]) => {
            strings::index_of(text, part, Some(*at), true, meter)
        }
        ("lowerAscii", []) => Ok(Value::text(text.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Value::text(text.to_ascii_uppercase())),
        ("trim", []) => Ok(Value::text(text.trim())),
        ("replace", [Value::String(old), Value::String(new)]) => strings::replace(text, old, new, -1, meter),
        ("replace", [Value::String(old), Value::String(new), Value::Int(most)]) => {
            strings::replace(text, old, new, *most, meter)
        }
        ("split", [Value::String(at)]) => strings::split(text, at, -1, meter),
        ("split", [Value::String(at), Value::Int(most)]) => strings::split(text, at, *most, meter),
        ("format", [Value::List(args)]) => strings::format(text, args, meter),
        ("strings.quote", []) => Ok(Value::text(strings::quote(text))),
        ("jsonpatch.escapeKey", []) => Ok(Value::text(text.replace('~', "~0").replace('/', "~1"))),
        _ => parsed(name, text, rest),
    }
}

fn illegal(fault: Fault) -> Fault {
    match fault {
        Fault::Error(words) => Fault::error(format!("Illegal regex: {words}")),
        other => other,
    }
}

/// Values that libraries read from strings.
fn parsed<'a>(name: &str, text: &str, rest: &[Value<'a>]) -> Eval<'a> {
    let bool = |b: bool| Ok(Value::Bool(b));
    let version =
        |loose: bool| if loose { semver::Semver::normalize(text) } else { semver::Semver::parse(text) };
    match (name, rest) {
        ("url", []) => {
            let read = url::Url::parse(text).map_err(|why| {
                Fault::error(format!("URL parse error during conversion from string: {why}"))
            })?;
            Ok(Value::Url(Rc::new(read)))
        }
        ("isURL", []) => bool(url::Url::parse(text).is_ok()),
        ("quantity", []) => {
            Ok(Value::Quantity(Quantity::parse(text).map_err(|why| Fault::error(why.to_string()))?))
        }
        ("isQuantity", []) => bool(Quantity::parse(text).is_ok()),
        ("ip", []) => Ok(Value::Ip(net::ip_of(text).map_err(Fault::Error)?)),
        ("isIP", []) => bool(net::ip_of(text).is_ok()),
        ("ip.isCanonical", []) => bool(net::ip_of(text).map_err(Fault::Error)?.to_string() == *text),
        ("cidr", []) => Ok(Value::Cidr(net::cidr_of(text).map_err(Fault::Error)?)),
        ("isCIDR", []) => bool(net::cidr_of(text).is_ok()),
        ("semver", []) => Ok(Value::Semver(Rc::new(version(false).map_err(Fault::Error)?))),
        ("semver", [Value::Bool(loose)]) => {
            Ok(Value::Semver(Rc::new(version(*loose).map_err(Fault::Error)?)))
        }
        ("isSemver", []) => bool(version(false).is_ok()),
        ("isSemver", [Value::Bool(loose)]) => bool(version(*loose).is_ok()),
        ("format.named", []) => {
            Ok(Value::Optional(named::named(text).map(|name| Rc::new(Value::Format(name)))))
        }
        ("optional.of" | "optional.ofNonZeroValue", []) => {
            let own = Value::text(text);
            Ok(if name == "optional.of" || !text.is_empty() {
                Value::some(own)
            } else {
                Value::Optional(None)
            })
        }
        _ => Err(no_overload()),
    }
}

fn of_list<'a>(name: &str, list: &List<'a>, rest: &[Value<'a>], meter: &Meter) -> Eval<'a> {
    match (name, rest) {
        ("isSorted", []) => lists::is_sorted(list, meter),
        ("sum", []) => lists::sum(list, Value::Int(0), meter),
        ("min" | "max", []) => lists::extreme(list, name, meter),
        ("indexOf", [item]) => lists::index_of(list, item, false, meter),
        ("lastIndexOf", [item]) => lists::index_of(list, item, true, meter),
        ("join", []) => strings::join(list, "", meter),
        ("join", [Value::String(between)]) => strings::join(list, between, meter),
        ("slice", [Value::Int(from), Value::Int(to)]) => lists::slice(list, *from, *to, meter),
        ("flatten", []) => lists::flatten(list, 1, meter),
        ("flatten", [Value::Int(depth)]) => lists::flatten(list, *depth, meter),
        ("sort", []) => lists::sort_by(list, list, meter),
        ("@sortByAssociatedKeys", [Value::List(keys)]) => lists::sort_by(list, keys, meter),
        ("reverse", []) => Ok(Value::list(list.all(meter)?.into_iter().rev().collect())),
        ("distinct", []) => lists::distinct(list, meter),
        ("first", []) => Ok(Value::Optional(list.get(0).transpose()?.map(Rc::new))),
        ("last", []) => {
            let last = list.len().checked_sub(1).and_then(|at| list.get(at)).transpose()?;
            Ok(Value::Optional(last.map(Rc::new)))
        }
        ("unwrapOpt" | "optional.unwrap", []) => lists::unwrap(list, meter),
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [Value::List(other)]) => {
            lists::sets(name, list, other, meter)
        }
        ("optional.of", []) => Ok(Value::some(Value::List(list.clone()))),
        ("optional.ofNonZeroValue", []) if list.len() == 0 => Ok(Value::Optional(None)),
        ("optional.ofNonZeroValue", []) => Ok(Value::some(Value::List(list.clone()))),
        _ => Err(no_overload()),
    }
}

/// Whether a value is what its type is when nothing was said.
fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Int(n) | Value::Duration(n) => *n == 0,
        Value::Uint(n) => *n == 0,
        Value::Double(n) => *n == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.size() == 0,
        Value::Optional(inner) => inner.is_none(),
        _ => false,
    }
}

fn of_others<'a>(name: &str, args: &[Value<'a>]) -> Eval<'a> {
    match (name, args) {
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("optional.of", [value]) => Ok(Value::some(value.clone())),
        ("optional.ofNonZeroValue", [value]) if is_zero(value) => Ok(Value::Optional(None)),
        ("optional.ofNonZeroValue", [value]) => Ok(Value::some(value.clone())),
        ("hasValue", [Value::Optional(inner)]) => Ok(Value::Bool(inner.is_some())),
        ("value", [Value::Optional(inner)]) => match inner {
            Some(inner) => Ok((**inner).clone()),
            None => Err(Fault::error("optional.none() dereference")),
        },
        (_, [Value::Timestamp(at)]) => Ok(Value::Int(time::part_of(name, *at, "").map_err(Fault::Error)?)),
        (_, [Value::Timestamp(at), Value::String(zone)]) => {
            Ok(Value::Int(time::part_of(name, *at, zone).map_err(Fault::Error)?))
        }
        ("getHours", [Value::Duration(nanos)]) => Ok(Value::Int(nanos / (3600 * time::SECOND))),
        ("getMinutes", [Value::Duration(nanos)]) => Ok(Value::Int(nanos / (60 * time::SECOND))),
        ("getSeconds", [Value::Duration(nanos)]) => Ok(Value::Int(nanos / time::SECOND)),
        ("getMilliseconds", [Value::Duration(nanos)]) => Ok(Value::Int(nanos / 1_000_000)),
        (_, [Value::Quantity(quantity), rest @ ..]) => of_quantity(name, *quantity, rest),
        (_, [Value::Url(url)]) => of_url(name, url),
        (_, [Value::Ip(ip)]) if name == "family" => Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        (_, [Value::Ip(ip)]) => Ok(Value::Bool(net::is(name, *ip))),
        (_, [Value::Cidr(cidr), rest @ ..]) => of_cidr(name, *cidr, rest),
        (_, [Value::Semver(version), rest @ ..]) => of_version(name, version, rest),
        ("validate", [Value::Format(format), Value::String(text)]) => {
            let problems: Vec<Value<'a>> =
                named::problems(format, text).into_iter().map(Value::text).collect();
            Ok(if problems.is_empty() { Value::Optional(None) } else { Value::some(Value::list(problems)) })
        }
        (_, []) => {
            let format = name.strip_prefix("format.").and_then(named::named);
            format.map(Value::Format).ok_or_else(no_overload)
        }
        _ => Err(no_overload()),
    }
}

fn of_quantity<'a>(name: &str, quantity: Quantity, rest: &[Value<'a>]) -> Eval<'a> {
    let nanos = quantity.nanos();
    let whole = (nanos % quantity::NANO == 0).then(|| i64::try_from(nanos / quantity::NANO).ok()).flatten();
    let made = |nanos: i128| Ok(Value::Quantity(Quantity::from_nanos(nanos, quantity.format())));
    let units = |n: i64| i128::from(n) * quantity::NANO;
    match (name, rest) {
        ("sign", []) => Ok(Value::Int(i64::try_from(nanos.signum()).unwrap_or_default())),
        ("isInteger", []) => Ok(Value::Bool(whole.is_some())),
        ("asInteger", []) => {
            whole.map(Value::Int).ok_or_else(|| Fault::error("cannot convert value to integer"))
        }
        #[expect(clippy::cast_precision_loss)] // "Approximate" is in its name.
        ("asApproximateFloat", []) => Ok(Value::Double(nanos as f64 / quantity::NANO as f64)),
        ("isGreaterThan", [Value::Quantity(other)]) => Ok(Value::Bool(nanos > other.nanos())),
        ("isLessThan", [Value::Quantity(other)]) => Ok(Value::Bool(nanos < other.nanos())),
        ("compareTo", [Value::Quantity(other)]) => Ok(Value::Int(nanos.cmp(&other.nanos()) as i64)),
        ("add", [Value::Quantity(other)]) => made(nanos.saturating_add(other.nanos())),
        ("add", [Value::Int(n)]) => made(nanos.saturating_add(units(*n))),
        ("sub", [Value::Quantity(other)]) => made(nanos.saturating_sub(other.nanos())),
        ("sub", [Value::Int(n)]) => made(nanos.saturating_sub(units(*n))),
        _ => Err(no_overload()),
    }
}

fn of_url<'a>(name: &str, url: &url::Url) -> Eval<'a> {
    Ok(match name {
        "getScheme" => Value::text(url.scheme.as_str()),
        "getHost" => Value::text(url.host.as_str()),
        "getHostname" => Value::text(url.hostname()),
        "getPort" => Value::text(url.port()),
        "getEscapedPath" => Value::text(url.path.as_str()),
        "getQuery" => strings::parameters(url.parameters()),
        _ => return Err(no_overload()),
    })
}

fn of_cidr<'a>(name: &str, cidr: net::Cidr, rest: &[Value<'a>]) -> Eval<'a> {
    let bool = |b: bool| Ok(Value::Bool(b));
    match (name, rest) {
        ("ip", []) => Ok(Value::Ip(cidr.address)),
        ("masked", []) => Ok(Value::Cidr(cidr.masked())),
        ("prefixLength", []) => Ok(Value::Int(cidr.length.into())),
        ("containsIP", [Value::Ip(ip)]) => bool(cidr.contains(*ip)),
        ("containsIP", [Value::String(text)]) => bool(cidr.contains(net::ip_of(text).map_err(Fault::Error)?)),
        ("containsCIDR", [Value::Cidr(other)]) => bool(cidr.covers(*other)),
        ("containsCIDR", [Value::String(text)]) => {
            bool(cidr.covers(net::cidr_of(text).map_err(Fault::Error)?))
        }
        _ => Err(no_overload()),
    }
}

fn of_version<'a>(name: &str, version: &semver::Semver, rest: &[Value<'a>]) -> Eval<'a> {
    let number = |at: usize| Ok(Value::Int(version.numbers[at].cast_signed()));
    match (name, rest) {
        ("major", []) => number(0),
        ("minor", []) => number(1),
        ("patch", []) => number(2),
        ("isGreaterThan", [Value::Semver(other)]) => {
            Ok(Value::Bool(version.compare(other) == Ordering::Greater))
        }
        ("isLessThan", [Value::Semver(other)]) => Ok(Value::Bool(version.compare(other) == Ordering::Less)),
        ("compareTo", [Value::Semver(other)]) => Ok(Value::Int(version.compare(other) as i64)),
        _ => Err(no_overload()),
    }
}
