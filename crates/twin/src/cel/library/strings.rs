//! Functions of strings: cel-go's `strings` extension, version 2, with `format`. Places are in characters.

use super::super::types::Type;
use super::super::value::{Eval, Fault, Key, List, Map, Meter, Value};
use super::time;

/// Longest string made, in bytes: several times the largest request.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Refuses what would come to be too long.
pub(super) fn room(bytes: usize, meter: &Meter) -> Result<(), Fault> {
    if bytes > TEXT_BYTES_MAX {
        return Err(Fault::error(format!("string of {bytes} bytes is longer than {TEXT_BYTES_MAX}")));
    }
    meter.bytes(bytes)
}

fn out_of_range(at: i64) -> Fault {
    Fault::error(format!("index out of range: {at}"))
}

/// `charAt` and `substring`.
pub(super) fn char_at<'a>(text: &str, at: i64) -> Eval<'a> {
    let count = text.chars().count() as i64;
    if at < 0 || at > count {
        return Err(out_of_range(at));
    }
    let found = text.chars().nth(usize::try_from(at).unwrap_or(usize::MAX));
    Ok(Value::text(found.map(String::from).unwrap_or_default()))
}

/// Part of a text.
pub(super) fn substring<'a>(text: &str, from: i64, to: Option<i64>) -> Eval<'a> {
    let count = text.chars().count() as i64;
    let end = to.unwrap_or(count);
    if to.is_some_and(|end| from > end) {
        return Err(Fault::error(format!("invalid substring range. start: {from}, end: {end}")));
    }
    if from < 0 || from > count {
        return Err(out_of_range(from));
    }
    if end < 0 || end > count {
        return Err(out_of_range(end));
    }
    let place = |n: i64| usize::try_from(n).unwrap_or_default();
    let part: String = text.chars().skip(place(from)).take(place(end - from)).collect();
    Ok(Value::text(part))
}

/// `indexOf` and `lastIndexOf`.
pub(super) fn index_of<'a>(text: &str, part: &str, from: Option<i64>, last: bool, meter: &Meter) -> Eval<'a> {
    let chars: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = part.chars().collect();
    let count = chars.len() as i64;
    if wanted.is_empty() {
        let default = if last { count } else { 0 };
        return Ok(Value::Int(from.unwrap_or(default)));
    }
    if let Some(at) = from.filter(|at| *at < 0 || (last && *at >= count)) {
        return Err(out_of_range(at));
    }
    meter.work((chars.len() * wanted.len()) as u64 / 16 + 1)?;
    let fits = |at: usize| chars[at..].starts_with(&wanted);
    let most = chars.len().checked_sub(wanted.len());
    let place = |n: i64| usize::try_from(n).unwrap_or_default();
    let found = most.and_then(|most| {
        if last {
            let start = from.map_or(most, |at| place(at).min(most));
            (0..=start).rev().find(|at| fits(*at))
        } else {
            (from.map_or(0, place)..=most).find(|at| fits(*at))
        }
    });
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

/// `replace`, all or so many times.
pub(super) fn replace<'a>(text: &str, old: &str, new: &str, most: i64, meter: &Meter) -> Eval<'a> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let count = text.matches(old).take(most).count();
    room(text.len().saturating_add(count.saturating_mul(new.len())), meter)?;
    Ok(Value::text(text.replacen(old, new, most)))
}

/// `split`, into all or so many parts.
pub(super) fn split<'a>(text: &str, at: &str, most: i64, meter: &Meter) -> Eval<'a> {
    meter.work(text.len() as u64)?;
    let own = |part: &str| Value::text(part);
    let Ok(most) = usize::try_from(most) else {
        // An empty separator is between any two characters.
        let all = if at.is_empty() {
            text.chars().map(|c| Value::text(String::from(c))).collect()
        } else {
            text.split(at).map(own).collect()
        };
        return Ok(Value::list(all));
    };
    if most == 0 {
        return Ok(Value::list(Vec::new()));
    }
    if !at.is_empty() {
        return Ok(Value::list(text.splitn(most, at).map(own).collect()));
    }
    let mut all: Vec<Value<'a>> = text.chars().take(most - 1).map(|c| Value::text(String::from(c))).collect();
    let rest: String = text.chars().skip(most - 1).collect();
    if !rest.is_empty() {
        all.push(Value::text(rest));
    }
    Ok(Value::list(all))
}

/// `join` of a list of strings.
pub(super) fn join<'a>(list: &List<'a>, between: &str, meter: &Meter) -> Eval<'a> {
    let items = list.all(meter)?;
    let mut parts = Vec::with_capacity(items.len());
    let mut bytes = 0_usize;
    for item in &items {
        let Value::String(text) = item else { return Err(super::no_overload()) };
        bytes = bytes.saturating_add(text.len()).saturating_add(between.len());
        parts.push(&**text);
    }
    room(bytes, meter)?;
    Ok(Value::text(parts.join(between)))
}

/// `strings.quote`.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A real number as Go prints it with the fewest digits.
pub(super) fn show_double(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if n == 0.0 {
        return if n.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{n:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{n}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// A value in a list or a map, as `%s` writes it.
fn inside(value: &Value<'_>, meter: &Meter) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(format!("{:?}", &**text)),
        other => plain(other, meter),
    }
}

/// A value as `%s` writes it.
fn plain(value: &Value<'_>, meter: &Meter) -> Result<String, Fault> {
    meter.work(1)?;
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) if n.is_nan() => "NaN".to_owned(),
        Value::Double(n) if n.is_infinite() => if *n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        Value::Double(n) => show_double(*n),
        Value::String(text) => {
            meter.bytes(text.len())?;
            text.to_string()
        }
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(nanos) => time::show_duration(*nanos),
        Value::Timestamp(nanos) => time::show_timestamp(*nanos),
        Value::Type(of) => of.to_string(),
        Value::List(list) => {
            let all: Result<Vec<String>, Fault> = list.all(meter)?.iter().map(|v| inside(v, meter)).collect();
            format!("[{}]", all?.join(", "))
        }
        Value::Map(map) => {
            let mut all = Vec::new();
            for key in map.keys(meter)? {
                let value = map.get(&key).ok_or_else(super::no_overload)??;
                all.push((inside(&key.value(), meter)?, inside(&value, meter)?));
            }
            all.sort();
            let all: Vec<String> = all.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", all.join(", "))
        }
        other => {
            return Err(Fault::Error(unfit('s', &other.kind()).unwrap_or_default()));
        }
    })
}

/// One clause (`%.2f`) of a value.
fn clause(kind: char, precision: Option<usize>, value: &Value<'_>, meter: &Meter) -> Result<String, Fault> {
    let precise = precision.unwrap_or(6);
    Ok(match (kind, value) {
        ('s', value) => plain(value, meter)?,
        ('d', Value::Int(n)) => n.to_string(),
        ('d', Value::Uint(n)) => n.to_string(),
        ('d' | 'f' | 'e', Value::Double(n)) if !n.is_finite() => plain(value, meter)?,
        ('f', Value::Double(n)) => format!("{n:.precise$}"),
        #[expect(clippy::cast_precision_loss)] // As Go turns whole numbers to real ones.
        ('f', Value::Int(n)) => format!("{:.precise$}", *n as f64),
        ('e', Value::Double(n)) => {
            let text = format!("{n:.precise$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or_default();
            let sign = if exponent < 0 { "⁻" } else { "" };
            let raised = |digit: char| {
                let at = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                at.and_then(|at| ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'].get(at).copied())
            };
            let digits: String = format!("{:02}", exponent.abs()).chars().filter_map(raised).collect();
            format!("{mantissa}×10{sign}{digits}")
        }
        ('b', Value::Bool(b)) => u8::from(*b).to_string(),
        ('b', Value::Int(n)) => signed(*n, |n| format!("{n:b}")),
        ('b', Value::Uint(n)) => format!("{n:b}"),
        ('o', Value::Int(n)) => signed(*n, |n| format!("{n:o}")),
        ('o', Value::Uint(n)) => format!("{n:o}"),
        ('x', Value::Int(n)) => signed(*n, |n| format!("{n:x}")),
        ('x', Value::Uint(n)) => format!("{n:x}"),
        ('X', Value::Int(n)) => signed(*n, |n| format!("{n:X}")),
        ('X', Value::Uint(n)) => format!("{n:X}"),
        ('x', Value::String(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::String(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
        ('x', Value::Bytes(bytes)) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Bytes(bytes)) => bytes.iter().map(|b| format!("{b:02X}")).collect(),
        _ => return Err(Fault::Error(unfit(kind, &value.kind()).unwrap_or_default())),
    })
}

/// Why a clause cannot be used on a value of a type; `None` where it can.
pub(crate) fn unfit(clause: char, of: &Type) -> Option<String> {
    let whole = matches!(of, Type::Int | Type::Uint | Type::Dyn | Type::Error);
    let (fits, what) = match clause {
        's' => (
            !matches!(of, Type::Opaque(_) | Type::Optional(_) | Type::Object(_) | Type::Open(_)),
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
        ),
        'd' => (whole || *of == Type::Double, "decimal clause can only be used on integers"),
        'f' => (whole || *of == Type::Double, "fixed-point clause can only be used on doubles"),
        'e' => (whole || *of == Type::Double, "scientific clause can only be used on doubles"),
        'b' => (whole || *of == Type::Bool, "only integers and bools can be formatted as binary"),
        'o' => (whole, "octal clause can only be used on integers"),
        'x' | 'X' => (
            whole || matches!(of, Type::String | Type::Bytes),
            "only integers, byte buffers, and strings can be formatted as hex",
        ),
        other => {
            return Some(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            ));
        }
    };
    (!fits).then(|| format!("error during formatting: {what}, was given {of}"))
}

/// The clauses of a format, in order.
pub(crate) fn clauses(text: &str) -> Vec<char> {
    let mut all = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            continue;
        }
        if chars.next_if_eq(&'.').is_some() {
            while chars.next_if(char::is_ascii_digit).is_some() {}
        }
        all.extend(chars.next().filter(|c| *c != '%'));
    }
    all
}

fn signed(n: i64, show: impl Fn(u64) -> String) -> String {
    format!("{}{}", if n < 0 { "-" } else { "" }, show(n.unsigned_abs()))
}

/// Most digits after the point that a clause may ask for.
const PRECISION_MAX: usize = 1000;

/// `format`.
pub(super) fn format<'a>(text: &str, args: &List<'a>, meter: &Meter) -> Eval<'a> {
    let args = args.all(meter)?;
    let mut next = args.iter();
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision =
                Some(digits.parse::<usize>().ok().filter(|n| *n <= PRECISION_MAX).ok_or_else(|| {
                    Fault::error(format!(
                        "error during formatting: precision {digits:?} is not in 0..={PRECISION_MAX}"
                    ))
                })?);
        }
        match chars.next() {
            Some('%') => out.push('%'),
            None => return Err(Fault::error("unexpected end of string")),
            Some(kind) => {
                let (at, value) = (args.len() - next.len(), next.next());
                let value = value.ok_or_else(|| Fault::error(format!("index {at} out of range")))?;
                out.push_str(&clause(kind, precision, value, meter)?);
            }
        }
        room(out.len(), meter)?;
    }
    Ok(Value::text(out))
}

/// The parameters of a URL as a map.
pub(super) fn parameters<'a>(all: std::collections::BTreeMap<String, Vec<String>>) -> Value<'a> {
    let entry = |(key, values): (String, Vec<String>)| {
        let values = values.into_iter().map(Value::text).collect();
        (Key::String(key.into()), Value::list(values))
    };
    Value::Map(Map::Made(std::rc::Rc::new(all.into_iter().map(entry).collect())))
}
