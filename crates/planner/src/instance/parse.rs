//! From bytes to an [`Instance`], or to everything that is wrong with them.

use super::document::{Any, Items, Key, Leaf, Object, Record, twice};
use super::fields::{Errors, Fields, Place};
use super::limits::{
    AMOUNT_MAX, BYTES_MAX, CELLS_MAX, CLUSTERS_MAX, DATA_GB_MAX, ERRORS_MAX, INTENSITY_MAX, JOBS_MAX,
    PAIRS_MAX, PRICE_MAX, PRIORITY_MAX, PUE_MAX, RESUME_KWH_MAX, SLOT_SECONDS_MAX, SLOTS_MAX, TIME_MAX,
    TRANSFER_MAX, WATTS_MAX,
};
use super::{AMOUNTS, Cluster, Instance, Job};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The format's name.
const FORMAT: &str = "placement-1";
const KEYS: [&str; 11] = [
    "format",
    "name",
    "slots",
    "slot_seconds",
    "start",
    "spec",
    "transfer_price_per_gb",
    "transfer_g_per_gb",
    "latency_ms",
    "clusters",
    "jobs",
];
const CLUSTER_KEYS: [&str; 12] = [
    "name",
    "zone",
    "cpu",
    "mem_gib",
    "gpu",
    "carbon",
    "carbon_forecast",
    "pue",
    "watt_core",
    "watt_gpu",
    "price_core_hour",
    "price_gpu_hour",
];
const JOB_KEYS: [&str; 13] = [
    "id",
    "arrival",
    "duration",
    "deadline",
    "cpu",
    "mem_gib",
    "gpu",
    "priority",
    "interruptible",
    "resume_kwh",
    "clusters",
    "home",
    "data_gb",
];

/// Most characters of a path in an error: what the format has is a third as long.
const PATH_MAX: usize = 100;

/// Why bytes are no instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too large to read.
    #[error("{0} bytes: expected at most {BYTES_MAX}")]
    Size(usize),
    /// Not JSON, or not of the format's shape.
    #[error("{place}line {line}, column {column}: {found}: expected {expected}")]
    Json {
        /// Path to it, with a comma after it; empty at the top.
        place: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What stood there.
        found: String,
        /// What would do.
        expected: String,
    },
    /// It can be read, but cannot be.
    #[error("{0}")]
    Invalid(Errors),
}

/// What was read, before one part is held against another.
struct Draft {
    top: Record,
    transfer: Vec<Leaf>,
    latency: Vec<Leaf>,
    clusters: Vec<Record>,
    jobs: Vec<Job>,
    errors: Errors,
    /// Keys the format does not know, with the first place of each.
    unknown: BTreeMap<String, String>,
}

impl Instance {
    /// Reads an instance.
    ///
    /// # Errors
    /// When the bytes are not JSON, not of the format, or say what cannot be; up to
    /// [`super::limits::ERRORS_MAX`] errors at once. Time and memory grow with the bytes, and not
    /// beyond the limits. A job whose time does not suffice is no error: it can only be missed.
    pub fn parse(bytes: &[u8]) -> Result<Instance, Error> {
        if bytes.len() > BYTES_MAX {
            return Err(Error::Size(bytes.len()));
        }
        let mut draft = Draft {
            top: Record::new(&KEYS),
            transfer: Vec::new(),
            latency: Vec::new(),
            clusters: Vec::new(),
            jobs: Vec::new(),
            errors: Errors::default(),
            unknown: BTreeMap::new(),
        };
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let read = Document(&mut draft).deserialize(tracked);
        read.map_err(|error| broken(bytes, &track.path().to_string(), &error))?;
        json.end().map_err(|error| broken(bytes, "", &error))?;
        draft.finish()
    }
}

/// An error of the JSON reader, with what stood at its position.
fn broken(bytes: &[u8], path: &str, error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    let row = bytes.split(|byte| *byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    let at = column.saturating_sub(1).min(row.len());
    let from = at - row[..at].iter().rev().take(40).take_while(|byte| word(byte)).count();
    let to = at + row[at..].iter().take(40).take_while(|byte| word(byte)).count();
    let token = if from == to { &row[at..(at + 1).min(row.len())] } else { &row[from..to] };
    let token = String::from_utf8_lossy(token);
    let short: String = path.chars().take(PATH_MAX).collect();
    let place = match path.chars().count() {
        0 => String::new(),
        PATH_MAX.. => format!("{short}…, "),
        _ if path == "." => String::new(),
        _ => format!("{short}, "),
    };
    let (found, expected) = match reason.split_once(", expected ").or(reason.split_once(": expected ")) {
        Some((found, expected)) => (found.to_owned(), expected.to_owned()),
        None if error.is_eof() => ("the text ends".to_owned(), "more of it".to_owned()),
        None => (format!("{reason} at {token:?}"), "JSON, whose numbers are finite".to_owned()),
    };
    Error::Json { place, line, column, found, expected }
}

/// The whole document.
struct Document<'a>(&'a mut Draft);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of format {FORMAT}")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let draft = self.0;
        while let Some(key) = entries.next_key_seed(Key(&KEYS))? {
            let at = match key {
                Ok(at) => at,
                Err(unknown) => {
                    entries.next_value::<IgnoredAny>()?;
                    note(&mut draft.unknown, Some(unknown), Place::default());
                    continue;
                }
            };
            let mut leaf = Leaf::Object;
            match KEYS[at] {
                "clusters" => entries.next_value_seed(clusters(draft))?,
                "jobs" => entries.next_value_seed(jobs(draft))?,
                "transfer_g_per_gb" => entries.next_value_seed(rows(&mut draft.transfer))?,
                "latency_ms" => entries.next_value_seed(rows(&mut draft.latency))?,
                _ => leaf = entries.next_value_seed(Any)?,
            }
            if !draft.top.put(at, leaf) {
                return Err(twice(KEYS[at]));
            }
        }
        Ok(())
    }
}

/// Remembers a key the format does not know, and the first object it stands in.
fn note(unknown: &mut BTreeMap<String, String>, key: Option<String>, item: Place<'_>) {
    let Some(key) = key.filter(|key| !unknown.contains_key(key)) else { return };
    if unknown.len() < ERRORS_MAX {
        let place = Place { key: &key, ..item }.to_string();
        unknown.insert(key, place);
    }
}

/// Reads the rows of a matrix.
fn rows<'de>(rows: &mut Vec<Leaf>) -> impl DeserializeSeed<'de, Value = ()> {
    let take = |_, leaf| {
        if rows.len() == CLUSTERS_MAX {
            return Err(format!("more than {CLUSTERS_MAX} rows: expected at most that"));
        }
        rows.push(leaf);
        Ok(())
    };
    Items { seed: || Any, what: "rows", take }
}

/// Reads the clusters.
fn clusters<'de>(draft: &mut Draft) -> impl DeserializeSeed<'de, Value = ()> {
    let mut numbers = 0;
    let take = move |index, mut record: Record| {
        if index >= CLUSTERS_MAX {
            return Err(format!("more than {CLUSTERS_MAX} clusters: expected at most that"));
        }
        let length = |key: &&str| match record.get(key) {
            Leaf::List(list) => list.length,
            _ => 0,
        };
        numbers += CLUSTER_KEYS.iter().map(length).sum::<usize>();
        if numbers > 5 * CELLS_MAX {
            return Err(format!(
                "more than {} numbers: expected at most {CELLS_MAX} (clusters x slots) in each of 5 lists",
                5 * CELLS_MAX
            ));
        }
        let place = Place { list: "clusters", index, ..Place::default() };
        note(&mut draft.unknown, record.unknown.take(), place);
        draft.clusters.push(record);
        Ok(())
    };
    Items { seed: || Object(&CLUSTER_KEYS), what: "clusters", take }
}

/// Reads the jobs, each checked by itself.
fn jobs<'de>(draft: &mut Draft) -> impl DeserializeSeed<'de, Value = ()> {
    let take = |index, mut record: Record| {
        if index >= JOBS_MAX {
            return Err(format!("more than {JOBS_MAX} jobs: expected at most that"));
        }
        let place = Place { list: "jobs", index, ..Place::default() };
        note(&mut draft.unknown, record.unknown.take(), place);
        let errors = &mut draft.errors;
        draft.jobs.push(job(Fields { list: "jobs", index, id_key: "id", record: &record, errors }));
        Ok(())
    };
    Items { seed: || Object(&JOB_KEYS), what: "jobs", take }
}

fn job(mut fields: Fields<'_>) -> Job {
    let arrival = fields.whole("arrival", 0, TIME_MAX);
    let deadline = fields.whole_from("deadline", arrival, ", its arrival,", TIME_MAX);
    let clusters = match fields.record.get("clusters") {
        Leaf::Missing | Leaf::Null => None,
        Leaf::List(list) if list.wrong.is_none() && (1..=CLUSTERS_MAX).contains(&list.length) => {
            let index = |value: &f64| {
                ((0.0..CLUSTERS_MAX as f64).contains(value) && value % 1.0 == 0.0).then_some(*value as usize)
            };
            let indices: Option<Vec<usize>> = list.values.iter().map(index).collect();
            if indices.is_none() {
                let bad = list.values.iter().position(|value| index(value).is_none()).unwrap_or(0);
                let place = fields.place("clusters", Some(bad));
                fields.errors.push(place, list.values[bad], "the index of a cluster");
            }
            indices
        }
        _ => {
            fields.wrong("clusters", "null, or a list of at least one index of a cluster");
            None
        }
    };
    Job {
        id: fields.id("id"),
        arrival,
        duration: fields.whole("duration", 1, TIME_MAX),
        deadline,
        need: AMOUNTS.map(|key| fields.number(key, 0.0, AMOUNT_MAX)),
        priority: fields.number("priority", 0.0, PRIORITY_MAX),
        interruptible: fields.flag("interruptible"),
        resume_kwh: fields.number_or_zero("resume_kwh", RESUME_KWH_MAX),
        clusters,
        home: fields.whole("home", 0, CLUSTERS_MAX - 1),
        data_gb: fields.number("data_gb", 0.0, DATA_GB_MAX),
    }
}

impl Draft {
    /// Holds the parts against each other.
    fn finish(mut self) -> Result<Instance, Error> {
        let format = self.top.get("format");
        if *format != Leaf::Text(FORMAT.to_owned()) {
            let mut errors = Errors::default();
            errors.push("format", format, format_args!("\"{FORMAT}\""));
            return Err(Error::Invalid(errors));
        }
        let mut top = Fields { list: "", index: 0, id_key: "", record: &self.top, errors: &mut self.errors };
        let slots = top.whole("slots", 1, SLOTS_MAX);
        let slot_seconds = top.whole("slot_seconds", 1, SLOT_SECONDS_MAX as usize);
        let transfer_price_per_gb = top.number("transfer_price_per_gb", 0.0, PRICE_MAX);
        for key in ["transfer_g_per_gb", "clusters", "jobs"] {
            if *top.record.get(key) == Leaf::Missing {
                top.wrong(key, "a list");
            }
        }
        let (clusters, jobs) = (self.clusters.len(), self.jobs.len());
        for (what, many, most) in [("slots", slots, CELLS_MAX), ("jobs", jobs, PAIRS_MAX)] {
            if clusters * many > most {
                let found = format_args!("{clusters} clusters and {many} {what}");
                self.errors.push(what, found, format_args!("clusters x {what} of at most {most}"));
            }
        }
        // Against a wrong number of slots no list can be held, and what is too much is not looked at.
        if !self.errors.told.iter().any(|fault| ["slots", "clusters", "jobs"].contains(&&*fault.place)) {
            self.check_jobs(slots);
            let transfer_g_per_gb = self.matrix("transfer_g_per_gb");
            self.matrix("latency_ms");
            let clusters = self.read_clusters(slots);
            if self.errors.is_empty() {
                let name = self.top.get("name").text().to_owned();
                let ignored = self.unknown.into_values().collect();
                let (jobs, slot_seconds) = (self.jobs, slot_seconds as u32);
                return Ok(Instance {
                    name,
                    slots,
                    slot_seconds,
                    clusters,
                    jobs,
                    transfer_g_per_gb,
                    transfer_price_per_gb,
                    ignored,
                });
            }
        }
        Err(Error::Invalid(self.errors))
    }

    fn read_clusters(&mut self, slots: usize) -> Vec<Cluster> {
        let errors = &mut self.errors;
        if self.clusters.is_empty() && *self.top.get("clusters") != Leaf::Missing {
            errors.push("clusters", "none", "at least one");
        }
        let mut names = BTreeSet::new();
        let mut clusters = Vec::with_capacity(self.clusters.len());
        for (index, record) in self.clusters.iter().enumerate() {
            let mut fields = Fields { list: "clusters", index, id_key: "name", record, errors };
            let cluster = cluster(&mut fields, slots);
            if !cluster.name.is_empty() && !names.insert(cluster.name.clone()) {
                fields.wrong("name", "a name no other cluster has");
            }
            clusters.push(cluster);
        }
        clusters
    }

    /// A matrix with a row and a column for each cluster; empty where it is wrong or missing.
    fn matrix(&mut self, key: &str) -> Vec<f64> {
        let rows = if key == "latency_ms" { &self.latency } else { &self.transfer };
        let clusters = self.clusters.len();
        if *self.top.get(key) == Leaf::Missing {
            return Vec::new();
        }
        if rows.len() != clusters {
            let expected = format_args!("a list of {clusters}, one a cluster");
            self.errors.push(key, format_args!("a list of {}", rows.len()), expected);
            return Vec::new();
        }
        let mut matrix = Vec::with_capacity(clusters * clusters);
        for (index, row) in rows.iter().enumerate() {
            match row.numbers(clusters, TRANSFER_MAX) {
                Ok(numbers) => matrix.extend(numbers),
                Err(Some((at, found))) => {
                    let expected = format_args!("a number from 0 to {TRANSFER_MAX}");
                    self.errors.push(format_args!("{key}[{index}][{at}]"), found, expected);
                }
                Err(None) => {
                    let expected = format_args!("a list of {clusters} numbers, one a cluster");
                    self.errors.push(format_args!("{key}[{index}]"), row, expected);
                }
            }
        }
        matrix
    }

    /// Holds the jobs against the slots, the clusters and each other.
    fn check_jobs(&mut self, slots: usize) {
        let clusters = self.clusters.len();
        let mut ids = BTreeSet::new();
        for (index, job) in self.jobs.iter().enumerate() {
            let place = |key, at| Place { list: "jobs", index, id: &job.id, key, at };
            if !job.id.is_empty() && !ids.insert(job.id.as_str()) {
                let found = format_args!("{:?}", job.id);
                self.errors.push(place("id", None), found, "an id no other job has");
            }
            if job.arrival >= slots {
                let expected = format_args!("a slot before {slots}, the number of slots");
                self.errors.push(place("arrival", None), job.arrival, expected);
            }
            let known = format_args!("the index of a cluster, below {clusters}");
            if job.home >= clusters {
                self.errors.push(place("home", None), job.home, known);
            }
            let mut named = job.clusters.iter().flatten().enumerate();
            if let Some((at, bad)) = named.find(|(_, cluster)| **cluster >= clusters) {
                self.errors.push(place("clusters", Some(at)), bad, known);
            }
        }
    }
}

fn cluster(fields: &mut Fields<'_>, slots: usize) -> Cluster {
    Cluster {
        name: fields.id("name"),
        room: AMOUNTS.map(|key| fields.numbers(key, slots, AMOUNT_MAX, true)),
        carbon: fields.numbers("carbon", slots, INTENSITY_MAX, false),
        carbon_forecast: fields.numbers("carbon_forecast", slots, INTENSITY_MAX, false),
        pue: fields.number("pue", 1.0, PUE_MAX),
        watt_core: fields.number("watt_core", 0.0, WATTS_MAX),
        watt_gpu: fields.number("watt_gpu", 0.0, WATTS_MAX),
        price_core_hour: fields.number("price_core_hour", 0.0, PRICE_MAX),
        price_gpu_hour: fields.number("price_gpu_hour", 0.0, PRICE_MAX),
    }
}
