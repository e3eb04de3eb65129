//! JSON as it stands, before anything is asked of it: objects as rows of leaves.
//!
//! Leaves hold whatever stood there, so that a wrong type is told like a wrong value, and several of
//! them at once. Bounds: a list keeps [`LIST_MAX`] numbers and counts the rest, a text [`TEXT_MAX`]
//! characters. Only broken JSON, a key given twice and too much of everything end the reading.

use super::limits::{CLUSTERS_MAX, ID_MAX, SLOTS_MAX};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Numbers kept of a list: no list of the format may have more.
const LIST_MAX: usize = if SLOTS_MAX > CLUSTERS_MAX { SLOTS_MAX } else { CLUSTERS_MAX };
/// Characters kept of a text, one more than any may have.
const TEXT_MAX: usize = ID_MAX + 1;

/// What stood at a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// Nothing at all.
    Missing,
    /// `null`.
    Null,
    /// A boolean.
    Flag(bool),
    /// A number, finite as every number of JSON.
    Number(f64),
    /// A text, clipped.
    Text(String),
    /// A list.
    List(Box<List>),
    /// An object.
    Object,
}

/// A list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// The first numbers of it; in the place of anything else, 0.
    pub values: Vec<f64>,
    /// How long it is.
    pub length: usize,
    /// The first that is no number: where, and what stood there.
    pub wrong: Option<(usize, String)>,
}

impl Leaf {
    /// The text, if it is one; else nothing.
    pub fn text(&self) -> &str {
        if let Leaf::Text(text) = self { text } else { "" }
    }
    /// A list of `length` numbers from 0 to `high`; else the first item that is none, with what stands
    /// there, or `None` when it is no such list at all.
    pub fn numbers(&self, length: usize, high: f64) -> Result<Vec<f64>, Option<(usize, String)>> {
        let Leaf::List(list) = self else { return Err(None) };
        if list.length != length {
            return Err(None);
        }
        let bad = list.values.iter().position(|value| !(0.0..=high).contains(value));
        let strange = list.wrong.clone().filter(|(at, _)| bad.is_none_or(|bad| *at <= bad));
        match strange.or_else(|| bad.map(|at| (at, Leaf::Number(list.values[at]).to_string()))) {
            Some(wrong) => Err(Some(wrong)),
            // Adding nothing turns the negative zero into zero.
            None => Ok(list.values.iter().map(|value| value + 0.0).collect()),
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Missing => write!(f, "missing"),
            Leaf::Null => write!(f, "null"),
            Leaf::Flag(value) => write!(f, "{value}"),
            Leaf::Number(value) if value.abs() >= 1e15 => write!(f, "{value:e}"),
            Leaf::Number(value) => write!(f, "{value}"),
            Leaf::Text(text) => write!(f, "{:?}", text.chars().take(80).collect::<String>()),
            Leaf::List(list) => write!(f, "a list of {}", list.length),
            Leaf::Object => write!(f, "an object"),
        }
    }
}

/// Reads any one value.
#[derive(Clone, Copy)]
pub struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Leaf;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Leaf, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Leaf;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "any JSON value")
    }
    fn visit_unit<E>(self) -> Result<Leaf, E> {
        Ok(Leaf::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Leaf, E> {
        Ok(Leaf::Flag(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Leaf, E> {
        Ok(Leaf::Number(value as f64))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Leaf, E> {
        Ok(Leaf::Number(value as f64))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Leaf, E> {
        Ok(Leaf::Number(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Leaf, E> {
        Ok(Leaf::Text(value.chars().take(TEXT_MAX).collect()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Leaf, A::Error> {
        let mut list = List::default();
        loop {
            // Beyond what is kept nothing is looked at, only counted.
            if list.length >= LIST_MAX {
                match items.next_element::<IgnoredAny>()? {
                    Some(_) => list.length += 1,
                    None => break,
                }
                continue;
            }
            match items.next_element_seed(Any)? {
                Some(Leaf::Number(value)) => list.values.push(value),
                Some(other) => {
                    list.values.push(0.0);
                    list.wrong.get_or_insert_with(|| (list.length, other.to_string()));
                }
                None => break,
            }
            list.length += 1;
        }
        list.values.shrink_to_fit();
        Ok(Leaf::List(Box::new(list)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Leaf, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Leaf::Object)
    }
}

/// An object as a row of leaves, one for each key that was asked for.
#[derive(Clone, Debug)]
pub struct Record {
    keys: &'static [&'static str],
    leaves: Vec<Leaf>,
    /// The first key that was not asked for.
    pub unknown: Option<String>,
}

impl Record {
    /// With nothing in it.
    pub fn new(keys: &'static [&'static str]) -> Record {
        Record { keys, leaves: vec![Leaf::Missing; keys.len()], unknown: None }
    }
    /// What stood at a key.
    pub fn get(&self, key: &str) -> &Leaf {
        let at = self.keys.iter().position(|known| *known == key);
        at.map_or(&Leaf::Missing, |at| &self.leaves[at])
    }
    /// Puts what stands at a key; `false`: something stood there before.
    pub fn put(&mut self, at: usize, leaf: Leaf) -> bool {
        std::mem::replace(&mut self.leaves[at], leaf) == Leaf::Missing
    }
}

/// Which of the keys a key is; if none, its text.
pub struct Key(pub &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Result<usize, String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Result<usize, String>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key")
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let known = self.0.iter().position(|key| *key == text);
        Ok(known.ok_or_else(|| text.chars().take(TEXT_MAX).collect()))
    }
}

/// The error that a key stands twice in an object.
pub fn twice<E: de::Error>(key: &str) -> E {
    E::custom(format_args!("{key} is given twice: expected it once"))
}

/// Reads one object.
pub struct Object(pub &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Record;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Record, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Record;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {}", self.0.join(", "))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Record, A::Error> {
        let mut record = Record::new(self.0);
        while let Some(key) = entries.next_key_seed(Key(self.0))? {
            match key {
                Ok(at) => {
                    let leaf = entries.next_value_seed(Any)?;
                    if !record.put(at, leaf) {
                        return Err(twice(self.0[at]));
                    }
                }
                Err(unknown) => {
                    entries.next_value::<IgnoredAny>()?;
                    record.unknown.get_or_insert(unknown);
                }
            }
        }
        Ok(record)
    }
}

/// Reads a list item by item; `take` may refuse to go on.
pub struct Items<S, F> {
    /// Makes the seed for each item.
    pub seed: S,
    /// What the items are, for errors.
    pub what: &'static str,
    /// Takes an item and its index; a text says why there must be no more.
    pub take: F,
}

impl<'de, T, S, F> DeserializeSeed<'de> for Items<S, F>
where
    T: DeserializeSeed<'de>,
    S: Fn() -> T,
    F: FnMut(usize, T::Value) -> Result<(), String>,
{
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T, S, F> Visitor<'de> for Items<S, F>
where
    T: DeserializeSeed<'de>,
    S: Fn() -> T,
    F: FnMut(usize, T::Value) -> Result<(), String>,
{
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.what)
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(item) = items.next_element_seed((self.seed)())? {
            (self.take)(index, item).map_err(de::Error::custom)?;
            index += 1;
        }
        Ok(())
    }
}
