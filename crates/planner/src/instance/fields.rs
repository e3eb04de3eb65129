//! Asking an object for its fields, and collecting what is wrong with them.

use super::document::{Leaf, Record};
use super::limits::{ERRORS_MAX, ID_MAX};
use std::fmt;

/// One thing that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: `jobs[17] (j00017).deadline`.
    pub place: String,
    /// What stood there.
    pub found: String,
    /// What would do.
    pub expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: expected {}", self.place, self.found, self.expected)
    }
}

/// Everything that is wrong with an instance; the first [`ERRORS_MAX`] in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// The first of them.
    pub told: Vec<Fault>,
    /// How many more there are.
    pub more: usize,
}

impl Errors {
    /// Adds one. What is only counted is not put into words, so that millions of them take no time.
    pub(super) fn push(
        &mut self,
        place: impl fmt::Display,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) {
        if self.told.len() < ERRORS_MAX {
            let (place, found, expected) = (place.to_string(), found.to_string(), expected.to_string());
            self.told.push(Fault { place, found, expected });
        } else {
            self.more += 1;
        }
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.told.as_slice() {
            return write!(f, "{only}");
        }
        write!(f, "{} errors:", self.told.len() + self.more)?;
        for fault in &self.told {
            write!(f, "\n  {fault}")?;
        }
        if self.more > 0 { write!(f, "\n  and {} more", self.more) } else { Ok(()) }
    }
}

/// The place of an item of a list, of a field of it, or of an item of that: `jobs[17] (j00017).clusters[2]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// Which list; empty for the document itself.
    pub list: &'a str,
    /// Which item of it.
    pub index: usize,
    /// What the item is called, if it is.
    pub id: &'a str,
    /// Which field; empty for the item itself.
    pub key: &'a str,
    /// Which item of the field.
    pub at: Option<usize>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { list, index, id, key, at } = *self;
        if !list.is_empty() {
            write!(f, "{list}[{index}]")?;
        }
        if !id.is_empty() {
            write!(f, " ({id})")?;
        }
        let dot = if list.is_empty() || key.is_empty() { "" } else { "." };
        write!(f, "{dot}{key}")?;
        at.map_or(Ok(()), |at| write!(f, "[{at}]"))
    }
}

/// An object and where it stands. A field that cannot be is noted, and something harmless handed out.
pub struct Fields<'a> {
    /// Which list it is an item of; empty for the document itself.
    pub list: &'static str,
    /// Which item.
    pub index: usize,
    /// The key whose text names it.
    pub id_key: &'static str,
    /// The object.
    pub record: &'a Record,
    /// What is wrong so far.
    pub errors: &'a mut Errors,
}

impl<'a> Fields<'a> {
    /// The place of a field.
    pub fn place<'k>(&self, key: &'k str, at: Option<usize>) -> Place<'k>
    where
        'a: 'k,
    {
        let record: &'a Record = self.record;
        Place { list: self.list, index: self.index, id: record.get(self.id_key).text(), key, at }
    }
    /// Notes that a field cannot be.
    pub fn wrong(&mut self, key: &str, expected: impl fmt::Display) {
        let place = self.place(key, None);
        self.errors.push(place, self.record.get(key), expected);
    }
    /// A number from `low` to `high`.
    pub fn number(&mut self, key: &str, low: f64, high: f64) -> f64 {
        match self.record.get(key) {
            // Adding nothing turns the negative zero into zero.
            Leaf::Number(value) if (low..=high).contains(value) => *value + 0.0,
            _ => {
                self.wrong(key, format_args!("a number from {low} to {high}"));
                low
            }
        }
    }
    /// A number from 0 to `high`; where there is none, 0.
    pub fn number_or_zero(&mut self, key: &str, high: f64) -> f64 {
        if *self.record.get(key) == Leaf::Missing { 0.0 } else { self.number(key, 0.0, high) }
    }
    /// A whole number from `low` to `high`.
    pub fn whole(&mut self, key: &str, low: usize, high: usize) -> usize {
        self.whole_from(key, low, "", high)
    }
    /// A whole number from `low`, which is said to be `what`, to `high`.
    pub fn whole_from(&mut self, key: &str, low: usize, what: &str, high: usize) -> usize {
        match self.record.get(key) {
            Leaf::Number(value) if (low as f64..=high as f64).contains(value) && value % 1.0 == 0.0 => {
                *value as usize
            }
            _ => {
                self.wrong(key, format_args!("a whole number from {low}{what} to {high}"));
                low
            }
        }
    }
    /// A boolean.
    pub fn flag(&mut self, key: &str) -> bool {
        if let Leaf::Flag(value) = self.record.get(key) {
            return *value;
        }
        self.wrong(key, "true or false");
        false
    }
    /// A text of 1 to [`ID_MAX`] characters.
    pub fn id(&mut self, key: &str) -> String {
        match self.record.get(key) {
            Leaf::Text(text) if !text.is_empty() && text.chars().count() <= ID_MAX => text.clone(),
            _ => {
                self.wrong(key, format_args!("a text of 1 to {ID_MAX} characters"));
                String::new()
            }
        }
    }
    /// `length` numbers from 0 to `high`; where `one` will do, perhaps a single number.
    pub fn numbers(&mut self, key: &str, length: usize, high: f64, one: bool) -> Vec<f64> {
        match self.record.get(key) {
            Leaf::Number(_) if one => return vec![self.number(key, 0.0, high)],
            leaf => match leaf.numbers(length, high) {
                Ok(numbers) => return numbers,
                Err(Some((at, found))) => {
                    let place = self.place(key, Some(at));
                    self.errors.push(place, found, format_args!("a number from 0 to {high}"));
                }
                Err(None) => {
                    let or_one = if one { "a number, or " } else { "" };
                    self.wrong(key, format_args!("{or_one}a list of {length} numbers, one a slot"));
                }
            },
        }
        Vec::new()
    }
}
