//! A cluster's day: its hours added up, so that accounts of a month are read in a second and not in a minute.
//!
//! What is kept is what [`Fold`](crate::accounts::Fold) makes of hours and no more: by row the sums, and money and emissions hour by
//! hour, because what is expected goes by hours of the week. How finely, says the [`Level`]: who asks by cluster reads a row a day
//! and not four hundred.
//!
//! Invariants: accounts made from days are those made from their hours, to the last unit; a day is derived from the lines of
//! its hours and may be thrown away; text that is no day of this [`FORMAT`] is refused, never misread. Days are UTC.

use crate::accounts::{By, Part};
use crate::allocation::Owner;
use crate::expected::{HOURS, Spent, spent};
use crate::labels::Labels;
use crate::meter::{Amounts, FIELDS};
use crate::usage::HourEntry;
use fleet::{ClusterId, Instant, Provenance, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How days are written. Another number: those written before are made anew.
pub const FORMAT: u8 = 1;
/// Most rows read of a day: an hour has 300 of work and 1,000 of nodes, and a day has not more than all of its hours.
const ROWS_MAX: usize = 32_000;
/// Most labels of a row: pods have 16 that are kept.
const LABELS_MAX: usize = 64;
/// Fewest bytes of a row: what it is of, and that there are no amounts.
const ROW_BYTES_MIN: usize = 4;
/// Most bytes of a name.
const NAME_MAX: usize = 1024;
/// Most bytes of what stands before the rows.
const HEAD_MAX: usize = 1 << 16;

/// How finely a day is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The cluster as a whole.
    Cluster,
    /// By namespace; what is shared and idle apart.
    Namespace,
    /// By work: namespace, owner and labels.
    Work,
    /// By node.
    Node,
}

impl Level {
    /// All of them.
    pub const ALL: [Level; 4] = [Level::Cluster, Level::Namespace, Level::Work, Level::Node];

    /// The coarsest that answers a question.
    pub fn of(by: &By) -> Level {
        match by {
            By::Cluster => Level::Cluster,
            By::Namespace => Level::Namespace,
            By::Workload | By::Label(_) => Level::Work,
            By::Node => Level::Node,
        }
    }

    /// Its name, for stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Cluster => "cluster",
            Level::Namespace => "namespace",
            Level::Work => "work",
            Level::Node => "node",
        }
    }
}

/// Start of the UTC day of an instant.
pub fn day_of(at: Instant) -> Instant {
    at.floor_to(Span::DAY)
}

/// What a row of a day is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Cluster,
    Idle,
    Node(Arc<str>),
    Work { namespace: Arc<str>, owner: Owner, labels: Arc<Labels>, shared: bool },
}

impl Key {
    /// From the bytes of a row.
    ///
    /// # Errors
    /// When they are not those of what a row is of.
    pub(crate) fn read(bytes: &[u8]) -> Result<Key, Error> {
        Reader { bytes, at: 0 }.key()
    }
    /// What it is of where rows are made so.
    pub(crate) fn part(&self, by: &By, cluster: &ClusterId) -> Part {
        match self {
            Key::Cluster => By::cluster(cluster),
            Key::Idle => Part::Idle,
            Key::Node(name) => By::of_cluster(cluster, None, name),
            Key::Work { namespace, owner, labels, shared } => {
                by.part(cluster, namespace, owner, labels, *shared)
            }
        }
    }
}

/// What came of a row in a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Came {
    /// In all, and of that idle and shared.
    pub sums: [Amounts; 3],
    /// By hour of the day.
    pub hourly: [Spent; HOURS],
}

/// What stands before the rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    cluster: ClusterId,
    day: Instant,
    /// Hours of the day there are lines of, and how long of each was seen.
    hours: BTreeMap<u8, Span>,
    carbon_from: Option<Provenance>,
    use_from: Option<Provenance>,
}

/// A cluster's day.
#[derive(Clone, Debug, PartialEq)]
pub struct Day {
    head: Head,
    rows: BTreeMap<Key, Came>,
}

/// Why bytes are not read as a day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of a day's sums: found {found}, expected {expected}")]
pub struct Error {
    at: usize,
    found: String,
    expected: &'static str,
}

impl Day {
    /// No hour taken in yet.
    pub fn new(cluster: ClusterId, day: Instant) -> Day {
        let head = Head { cluster, day, hours: BTreeMap::new(), carbon_from: None, use_from: None };
        Day { head, rows: BTreeMap::new() }
    }

    /// Which cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.head.cluster
    }

    /// Takes in an hour of this day as it is known last, as finely as `level` says. Each hour once.
    pub fn take_in(&mut self, level: Level, entry: &HourEntry) {
        let number = u8::try_from((entry.hour - self.head.day).as_seconds() / 3600).ok();
        let Some(hour) = number.filter(|hour| usize::from(*hour) < HOURS) else { return };
        *self.head.hours.entry(hour).or_default() += entry.span();
        self.head.carbon_from =
            crate::accounts::worse(self.head.carbon_from.take(), Some(&entry.intensity_from));
        self.head.use_from = crate::accounts::newer(self.head.use_from.take(), entry.use_from.as_ref());
        let mut add = |key: Key, sums: [Amounts; 3]| {
            let came = self.rows.entry(key).or_default();
            for (sum, more) in came.sums.iter_mut().zip(sums) {
                *sum += more;
            }
            came.hourly[usize::from(hour)].add(spent(&sums[0]));
        };
        let none = Amounts::default();
        match level {
            Level::Cluster => {
                let shared = entry.rows.iter().filter(|row| row.shared).map(|row| row.amounts).sum();
                add(Key::Cluster, [entry.total(), entry.idle, shared]);
            }
            Level::Node => {
                for row in &entry.nodes {
                    add(Key::Node(row.node.as_str().into()), [row.busy + row.idle, row.idle, none]);
                }
            }
            Level::Namespace | Level::Work => {
                for row in &entry.rows {
                    let whole = level == Level::Work;
                    let owner =
                        if whole { row.owner.clone() } else { Owner { kind: "".into(), name: "".into() } };
                    let labels = if whole { row.labels.clone() } else { Arc::default() };
                    let (namespace, shared) = (row.namespace.clone(), row.shared);
                    add(Key::Work { namespace, owner, labels, shared }, [row.amounts, none, none]);
                }
                add(Key::Idle, [entry.idle, entry.idle, none]);
            }
        }
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer(vec![FORMAT]);
        let head = serde_json::to_string(&self.head).expect("it has no map with keys that are not texts");
        to.text(&head);
        to.number(self.rows.len() as i128);
        for (key, came) in &self.rows {
            to.key(key);
            for sums in &came.sums {
                to.amounts(sums);
            }
            // Mostly as in the hour before, or near it.
            let mut before = [0i128; 2];
            for hour in self.head.hours.keys() {
                let now = came.hourly[usize::from(*hour)].0;
                (0..2).for_each(|i| to.number(now[i] - before[i]));
                before = now;
            }
        }
        to.0
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are no day of this [`FORMAT`], whole and within bounds.
    pub fn from_bytes(bytes: &[u8]) -> Result<Day, Error> {
        let Kept { head, rows } = Kept::from_bytes(bytes)?;
        let row = |(key, came): (&[u8], Came)| Ok((Key::read(key)?, came));
        Ok(Day { head, rows: rows.into_iter().map(row).collect::<Result<_, Error>>()? })
    }
}

/// A cluster's day as it was kept: what its rows are of stays as it is written, since of thirty days it is the same thirty times.
#[derive(Clone, Debug)]
pub struct Kept<'a> {
    head: Head,
    rows: Vec<(&'a [u8], Came)>,
}

impl<'a> Kept<'a> {
    /// From bytes.
    ///
    /// # Errors
    /// When they are no day of this [`FORMAT`], whole and within bounds.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Kept<'a>, Error> {
        let mut from = Reader { bytes, at: 0 };
        let format = from.byte()?;
        if format != FORMAT {
            return Err(from.wrong(format!("format {format}"), "the format of this version"));
        }
        let head = from.text(HEAD_MAX)?;
        let head: Head = serde_json::from_str(head)
            .map_err(|error| from.wrong(error.to_string(), "what stands before the rows"))?;
        if head.hours.keys().any(|hour| usize::from(*hour) >= HOURS) {
            return Err(from.wrong("an hour beyond the day".to_owned(), "hours of a day"));
        }
        let count = from.count(ROWS_MAX, "rows")?;
        let mut rows = Vec::with_capacity(count.min(bytes.len() / ROW_BYTES_MIN));
        for _ in 0..count {
            rows.push((from.key_bytes()?, from.came(&head)?));
        }
        if from.at != bytes.len() {
            return Err(from.wrong("more".to_owned(), "the end"));
        }
        Ok(Kept { head, rows })
    }

    /// Which cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.head.cluster
    }
    /// When it begins.
    pub fn day(&self) -> Instant {
        self.head.day
    }
    /// Start of the last hour that is in it.
    pub fn last_hour(&self) -> Option<Instant> {
        self.hours().last().map(|(hour, _)| hour)
    }
    /// Its hours, and how long each was seen.
    pub(crate) fn hours(&self) -> impl Iterator<Item = (Instant, Span)> {
        let start = self.head.day;
        self.head
            .hours
            .iter()
            .map(move |(hour, seen)| (start + Span::HOUR.scaled(i64::from(*hour), 1), *seen))
    }
    /// What its rows are of, for [`Key::read`], and what came of them.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'a [u8], &Came)> {
        self.rows.iter().map(|(key, came)| (*key, came))
    }
    /// Worst source of intensity, and who measured use last.
    pub(crate) fn sources(&self) -> (Option<&Provenance>, Option<&Provenance>) {
        (self.head.carbon_from.as_ref(), self.head.use_from.as_ref())
    }
}

/// Numbers in as many bytes as they need, seven bits each, the sign in the lowest bit; texts with their length before them.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, value: i128) {
        let mut left = ((value << 1) ^ (value >> 127)) as u128;
        while left >= 0x80 {
            self.0.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.0.push(left as u8);
    }
    fn text(&mut self, text: &str) {
        self.number(text.len() as i128);
        self.0.extend_from_slice(text.as_bytes());
    }
    fn amounts(&mut self, amounts: &Amounts) {
        let fields: [i128; FIELDS] = (*amounts).into();
        // Most rows have neither idle nor shared parts.
        self.0.push(u8::from(*amounts != Amounts::default()));
        if *amounts != Amounts::default() {
            fields.into_iter().for_each(|field| self.number(field));
        }
    }
    fn key(&mut self, key: &Key) {
        match key {
            Key::Cluster => self.0.push(0),
            Key::Idle => self.0.push(1),
            Key::Node(name) => {
                self.0.push(2);
                self.text(name);
            }
            Key::Work { namespace, owner, labels, shared } => {
                self.0.push(3 + u8::from(*shared));
                [namespace, &owner.kind, &owner.name].into_iter().for_each(|text| self.text(text));
                self.number(labels.len() as i128);
                for (name, value) in labels.iter() {
                    self.text(name);
                    self.text(value);
                }
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, found: String, expected: &'static str) -> Error {
        Error { at: self.at, found, expected }
    }
    fn byte(&mut self) -> Result<u8, Error> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte.ok_or_else(|| self.wrong("the end".to_owned(), "more"))
    }
    fn number(&mut self) -> Result<i128, Error> {
        // Most numbers have a byte or a few: those within 63 bits, before those of any length.
        let (start, mut value) = (self.at, 0u64);
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(i128::from((value >> 1) as i64 ^ -((value & 1) as i64)));
            }
        }
        self.at = start;
        self.long_number()
    }
    fn long_number(&mut self) -> Result<i128, Error> {
        let (mut value, mut shift) = (0u128, 0u32);
        loop {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i128 ^ -((value & 1) as i128));
            }
            shift += 7;
            if shift > 120 {
                return Err(self.wrong("a number without an end".to_owned(), "a number"));
            }
        }
    }
    fn count(&mut self, most: usize, expected: &'static str) -> Result<usize, Error> {
        let count = self.number()?;
        let within = usize::try_from(count).ok().filter(|count| *count <= most);
        within.ok_or_else(|| self.wrong(count.to_string(), expected))
    }
    fn text(&mut self, most: usize) -> Result<&'a str, Error> {
        let length = self.count(most, "the length of a text")?;
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.get(..length));
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| self.wrong("bytes that are none".to_owned(), "a text"))?;
        self.at += length;
        Ok(text)
    }
    fn name(&mut self) -> Result<Arc<str>, Error> {
        self.text(NAME_MAX).map(Arc::from)
    }
    fn amounts(&mut self) -> Result<Amounts, Error> {
        let mut fields = [0i128; FIELDS];
        if self.byte()? != 0 {
            for field in &mut fields {
                *field = self.number()?;
            }
        }
        Ok(fields.into())
    }
    fn came(&mut self, head: &Head) -> Result<Came, Error> {
        let mut came = Came::default();
        for sums in &mut came.sums {
            *sums = self.amounts()?;
        }
        let mut now = [0i128; 2];
        for hour in head.hours.keys() {
            for value in &mut now {
                *value = value.saturating_add(self.number()?);
            }
            came.hourly[usize::from(*hour)] = Spent(now);
        }
        Ok(came)
    }
    /// The bytes that say what a row is of, found to be right.
    fn key_bytes(&mut self) -> Result<&'a [u8], Error> {
        let start = self.at;
        let texts = match self.byte()? {
            0 | 1 => 0,
            2 => 1,
            3 | 4 => 3,
            other => return Err(self.wrong(other.to_string(), "what a row is of")),
        };
        for _ in 0..texts {
            self.text(NAME_MAX)?;
        }
        if texts == 3 {
            for _ in 0..2 * self.count(LABELS_MAX, "labels")? {
                self.text(NAME_MAX)?;
            }
        }
        Ok(&self.bytes[start..self.at])
    }
    fn key(&mut self) -> Result<Key, Error> {
        match self.byte()? {
            0 => Ok(Key::Cluster),
            1 => Ok(Key::Idle),
            2 => Ok(Key::Node(self.name()?)),
            kind @ (3 | 4) => {
                let (namespace, owner) = (self.name()?, Owner { kind: self.name()?, name: self.name()? });
                let count = self.count(LABELS_MAX, "labels")?;
                let labels: Result<Labels, Error> =
                    (0..count).map(|_| Ok((self.name()?, self.name()?))).collect();
                Ok(Key::Work { namespace, owner, labels: Arc::new(labels?), shared: kind == 4 })
            }
            other => Err(self.wrong(other.to_string(), "what a row is of")),
        }
    }
}
