//! Values of expressions. JSON is looked into where it stands and read by its declaration only as far as it is needed.
//!
//! Invariant: equality and hashing of what an expression builds is counted by a [`Meter`], as lists in lists double
//! quickly.

use super::decl::{Decl, Entries, Reading};
use super::library::{net, semver::Semver, time, url::Url};
use super::types::Type;
use crate::apiserver::quantity::Quantity;
use serde_json::{Map as JsonMap, Value as Json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// An error, which `&&` and `||` may pass over.
    Error(String),
    /// It came to cost too much.
    Cancelled,
}

impl Fault {
    /// An error with these words.
    pub fn error(words: impl Into<String>) -> Fault {
        Fault::Error(words.into())
    }
}

/// What it came to.
pub(crate) type Eval<'a> = Result<Value<'a>, Fault>;

/// Counts what an evaluation costs, in Kubernetes' units, and, apart from that, what it does.
#[derive(Debug)]
pub(crate) struct Meter {
    cost: Cell<u64>,
    limit: u64,
    work: Cell<u64>,
}

/// Most that one evaluation does, in elements looked at (or 64 bytes copied): some tenths of a second. Costs do not
/// tell what lists in lists, long replacements and patterns made on the way really take.
const WORK_MAX: u64 = 5_000_000;

impl Meter {
    /// One with this limit of costs.
    pub fn new(limit: u64) -> Meter {
        Meter { cost: Cell::new(0), limit, work: Cell::new(0) }
    }
    /// What it has come to.
    pub fn cost(&self) -> u64 {
        self.cost.get()
    }
    /// Adds costs.
    pub fn charge(&self, units: u64) -> Result<(), Fault> {
        self.cost.set(self.cost.get().saturating_add(units));
        if self.cost.get() > self.limit { Err(Fault::Cancelled) } else { self.work(1) }
    }
    /// Takes costs back.
    pub fn refund(&self, units: u64) {
        self.cost.set(self.cost.get().saturating_sub(units));
    }
    /// Adds work.
    pub fn work(&self, elements: u64) -> Result<(), Fault> {
        self.work.set(self.work.get().saturating_add(elements));
        if self.work.get() > WORK_MAX { Err(Fault::Cancelled) } else { Ok(()) }
    }
    /// Adds the work of copying so many bytes.
    pub fn bytes(&self, count: usize) -> Result<(), Fault> {
        self.work(count as u64 / 64 + 1)
    }
}

/// A string, borrowed or shared.
#[derive(Clone, Debug)]
pub(crate) enum Text<'a> {
    Borrowed(&'a str),
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub(crate) enum List<'a> {
    Json(&'a [Json], Option<Arc<Decl>>),
    Made(Rc<Vec<Value<'a>>>),
}

/// A map or an object.
#[derive(Clone, Debug)]
pub(crate) enum Map<'a> {
    Json(&'a JsonMap<String, Json>, Option<Arc<Decl>>),
    Made(Rc<BTreeMap<Key, Value<'a>>>),
    /// Written out by its type's name.
    Object(Rc<str>, Rc<BTreeMap<Key, Value<'a>>>),
}

/// A key of a map. Numbers of all kinds that are equal are the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Bool(bool),
    Int(i64),
    /// Beyond what is an integer.
    Uint(u64),
    String(Rc<str>),
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Rc<[u8]>),
    /// In nanoseconds.
    Duration(i64),
    /// In nanoseconds since 1970.
    Timestamp(i128),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Rc<Value<'a>>>),
    Type(Type),
    Quantity(Quantity),
    Ip(std::net::IpAddr),
    Cidr(net::Cidr),
    Url(Rc<Url>),
    Format(&'static str),
    Semver(Rc<Semver>),
}

impl<'a> Value<'a> {
    /// A string of its own.
    pub fn text(text: impl Into<Rc<str>>) -> Value<'a> {
        Value::String(Text::Shared(text.into()))
    }
    /// A list of these.
    pub fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Made(Rc::new(items)))
    }
    /// An optional with this in it.
    pub fn some(value: Value<'a>) -> Value<'a> {
        Value::Optional(Some(Rc::new(value)))
    }

    /// JSON nobody declared.
    pub fn plain(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(n), _) => Value::Int(n),
                (None, Some(n)) => Value::Uint(n),
                (None, None) => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(Text::Borrowed(text)),
            Json::Array(items) => Value::List(List::Json(items, None)),
            Json::Object(map) => Value::Map(Map::Json(map, None)),
        }
    }

    /// JSON by its declaration.
    pub fn declared(json: &'a Json, decl: Option<&Arc<Decl>>) -> Eval<'a> {
        let Some(decl) = decl else { return Ok(Value::plain(json)) };
        Ok(match (json, decl.reading) {
            (Json::Array(items), _) => Value::List(List::Json(items, Some(decl.clone()))),
            (Json::Object(map), _) => {
                // What may be anything has no declaration of its parts.
                let known = decl.is_object() || decl.element.is_some();
                Value::Map(Map::Json(map, known.then(|| decl.clone())))
            }
            (Json::Number(n), Reading::Double) => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
            (Json::String(text), Reading::Bytes) => {
                let bytes = super::library::base64(text);
                Value::Bytes(bytes.ok_or_else(|| Fault::error("invalid base64"))?.into())
            }
            (Json::String(text), Reading::Duration) => {
                let nanos = time::duration_of(text);
                Value::Duration(nanos.ok_or_else(|| Fault::error(format!("invalid duration {text}")))?)
            }
            (Json::String(text), Reading::Date) => {
                let nanos = time::timestamp_of(&format!("{text}T00:00:00Z"));
                Value::Timestamp(nanos.ok_or_else(|| Fault::error(format!("invalid date {text}")))?)
            }
            (Json::String(text), Reading::DateTime) => {
                let nanos = time::timestamp_of(text);
                Value::Timestamp(nanos.ok_or_else(|| Fault::error(format!("invalid date-time {text}")))?)
            }
            _ => Value::plain(json),
        })
    }

    /// What it is, for messages and `type()`.
    pub fn kind(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Duration(_) => Type::Duration,
            Value::Timestamp(_) => Type::Timestamp,
            Value::List(_) => Type::list(Type::Dyn),
            Value::Map(Map::Json(_, Some(decl))) if decl.is_object() => Type::Object(decl.clone()),
            Value::Map(Map::Object(name, _)) => Type::Open((**name).into()),
            Value::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Value::Optional(_) => Type::optional(Type::Dyn),
            Value::Type(_) => Type::Meta(Arc::new(Type::Dyn)),
            Value::Quantity(_) => Type::Opaque("kubernetes.Quantity"),
            Value::Ip(_) => Type::Opaque("net.IP"),
            Value::Cidr(_) => Type::Opaque("net.CIDR"),
            Value::Url(_) => Type::Opaque("kubernetes.URL"),
            Value::Format(_) => Type::Opaque("kubernetes.NamedFormat"),
            Value::Semver(_) => Type::Opaque("kubernetes.Semver"),
        }
    }

    /// Elements, characters or bytes; one for what has no size. What costs are reckoned by.
    pub fn size(&self) -> u64 {
        match self {
            Value::String(text) => text.chars().count() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(list) => list.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Optional(Some(inner)) => inner.size(),
            Value::Ip(ip) => net::bytes(*ip),
            Value::Cidr(cidr) => net::bytes(cidr.address),
            _ => 1,
        }
    }

    /// Whether two are equal; values of different kinds are not.
    pub fn equals(&self, other: &Value<'a>, meter: &Meter) -> Result<bool, Fault> {
        meter.work(1)?;
        if let Some(order) = super::library::compare_numbers(self, other) {
            return Ok(order == Some(std::cmp::Ordering::Equal));
        }
        Ok(match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::String(a), Value::String(b)) => {
                meter.bytes(a.len().min(b.len()))?;
                **a == **b
            }
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::List(a), Value::List(b)) => a.equals(b, meter)?,
            (Value::Map(a), Value::Map(b)) => a.equals(b, meter)?,
            (Value::Optional(a), Value::Optional(b)) => match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a.equals(b, meter)?,
                _ => false,
            },
            (Value::Type(a), Value::Type(b)) => super::library::same_type(a, b),
            (Value::Quantity(a), Value::Quantity(b)) => a.nanos() == b.nanos(),
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::Cidr(a), Value::Cidr(b)) => a == b,
            (Value::Url(a), Value::Url(b)) => a == b,
            (Value::Format(a), Value::Format(b)) => a == b,
            (Value::Semver(a), Value::Semver(b)) => a.compare(b) == std::cmp::Ordering::Equal,
            _ => false,
        })
    }

    /// As a key of a map.
    pub fn key(&self) -> Result<Key, Fault> {
        Ok(match self {
            Value::Bool(b) => Key::Bool(*b),
            Value::Int(n) => Key::Int(*n),
            Value::Uint(n) => i64::try_from(*n).map_or(Key::Uint(*n), Key::Int),
            #[expect(clippy::cast_possible_truncation)] // Whole, and checked below.
            Value::Double(n) if n.fract() == 0.0 && n.abs() < 9.0e15 => Key::Int(*n as i64),
            Value::String(text) => Key::String((&**text).into()),
            other => return Err(Fault::error(format!("unsupported key type: {}", other.kind()))),
        })
    }
}

impl Key {
    /// As a value.
    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Key::Bool(b) => Value::Bool(*b),
            Key::Int(n) => Value::Int(*n),
            Key::Uint(n) => Value::Uint(*n),
            Key::String(text) => Value::String(Text::Shared(text.clone())),
        }
    }
}

impl<'a> List<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            List::Json(items, _) => items.len(),
            List::Made(items) => items.len(),
        }
    }
    /// The one at a place.
    pub fn get(&self, at: usize) -> Option<Eval<'a>> {
        Some(match self {
            List::Json(items, decl) => {
                Value::declared(items.get(at)?, decl.as_ref().and_then(|decl| decl.element.as_ref()))
            }
            List::Made(items) => Ok(items.get(at)?.clone()),
        })
    }
    /// All of them.
    pub fn all(&self, meter: &Meter) -> Result<Vec<Value<'a>>, Fault> {
        meter.work(self.len() as u64)?;
        match self {
            List::Json(items, decl) => {
                let of = decl.as_ref().and_then(|decl| decl.element.as_ref());
                items.iter().map(|item| Value::declared(item, of)).collect()
            }
            List::Made(items) => Ok((**items).clone()),
        }
    }
    /// Which entries are the same one.
    fn entries(&self) -> Entries {
        match self {
            List::Json(_, Some(decl)) => decl.entries.clone(),
            _ => Entries::Atomic,
        }
    }
    /// Sets and lists by key are equal in any order.
    fn equals(&self, other: &List<'a>, meter: &Meter) -> Result<bool, Fault> {
        if self.len() != other.len() {
            return Ok(false);
        }
        let (ours, theirs) = (self.all(meter)?, other.all(meter)?);
        if self.entries() == Entries::Atomic {
            for (a, b) in ours.iter().zip(&theirs) {
                if !a.equals(b, meter)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        for a in &ours {
            let mut found = false;
            for b in &theirs {
                found = found || a.equals(b, meter)?;
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Both, one after the other; sets and lists by key take entries of the second that are there already in its place.
    pub fn with(&self, more: &List<'a>, meter: &Meter) -> Result<List<'a>, Fault> {
        let mut all = self.all(meter)?;
        let entries = self.entries();
        for item in more.all(meter)? {
            let mut place = None;
            for (i, old) in all.iter().enumerate() {
                let same = match &entries {
                    Entries::Atomic => break,
                    Entries::Set => old.equals(&item, meter)?,
                    Entries::Keyed(keys) => same_keys(old, &item, keys, meter)?,
                };
                if same {
                    place = Some(i);
                    break;
                }
            }
            match place {
                Some(place) => all[place] = item,
                None => all.push(item),
            }
        }
        Ok(List::Made(Rc::new(all)))
    }
}

fn same_keys(a: &Value<'_>, b: &Value<'_>, keys: &[String], meter: &Meter) -> Result<bool, Fault> {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return Ok(false) };
    for key in keys {
        let field = |map: &Map<'_>| match map {
            Map::Json(map, _) => map.get(key).map(Json::to_string),
            Map::Made(map) | Map::Object(_, map) => {
                map.get(&Key::String(key.as_str().into())).map(|value| format!("{value:?}"))
            }
        };
        meter.work(1)?;
        if field(a) != field(b) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an object has a field; a null counts as none.
fn is_there(map: &JsonMap<String, Json>, name: &str) -> bool {
    map.get(name).is_some_and(|value| !value.is_null())
}

impl<'a> Map<'a> {
    /// How many entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Json(map, Some(decl)) if decl.is_object() => {
                decl.fields.values().filter(|(name, _)| is_there(map, name)).count()
            }
            Map::Json(map, _) => map.len(),
            Map::Made(map) | Map::Object(_, map) => map.len(),
        }
    }
    /// What is under a key.
    pub fn get(&self, key: &Key) -> Option<Eval<'a>> {
        match self {
            Map::Json(map, decl) => {
                let Key::String(name) = key else { return None };
                match decl.as_ref().filter(|decl| decl.is_object()) {
                    Some(decl) => {
                        let (name, field) = decl.fields.get(&**name)?;
                        Some(Value::declared(map.get(name).filter(|value| !value.is_null())?, Some(field)))
                    }
                    None => {
                        let of = decl.as_ref().and_then(|decl| decl.element.as_ref());
                        Some(Value::declared(map.get(&**name)?, of))
                    }
                }
            }
            Map::Made(map) | Map::Object(_, map) => map.get(key).cloned().map(Ok),
        }
    }
    /// Its keys, in order.
    pub fn keys(&self, meter: &Meter) -> Result<Vec<Key>, Fault> {
        meter.work(self.len() as u64)?;
        Ok(match self {
            Map::Json(map, Some(decl)) if decl.is_object() => {
                let there = decl.fields.iter().filter(|(_, (name, _))| is_there(map, name));
                there.map(|(escaped, _)| Key::String(escaped.as_str().into())).collect()
            }
            Map::Json(map, _) => map.keys().map(|key| Key::String(key.as_str().into())).collect(),
            Map::Made(map) | Map::Object(_, map) => map.keys().cloned().collect(),
        })
    }
    /// Whether it has fields by name, and no keys.
    pub fn is_object(&self) -> bool {
        match self {
            Map::Json(_, decl) => decl.as_ref().is_some_and(|decl| decl.is_object()),
            Map::Made(_) => false,
            Map::Object(..) => true,
        }
    }
    fn equals(&self, other: &Map<'a>, meter: &Meter) -> Result<bool, Fault> {
        if let (Map::Json(ours, _), Map::Json(theirs, _)) = (self, other)
            && self.is_object() != other.is_object()
        {
            // One is declared, the other is not: fields are told apart by their own names.
            meter.work(ours.len() as u64)?;
            return Ok(ours == theirs);
        }
        if self.len() != other.len() {
            return Ok(false);
        }
        for key in self.keys(meter)? {
            let (Some(ours), Some(theirs)) = (self.get(&key), other.get(&key)) else { return Ok(false) };
            if !ours?.equals(&theirs?, meter)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
