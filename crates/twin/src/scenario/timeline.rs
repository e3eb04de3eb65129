//! What is told of a run: states of the watched kinds as `kubectl get` prints them, and events.
//!
//! Names that are made up are replaced by their owner's and a number in the order they came, so that a timeline says
//! the same whatever was drawn.

use crate::apiserver::table;
use crate::controllers::owned::controller;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind, Objects, Stored};
use fleet::{Instant, Span};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Columns whose cells change with the time alone, and those of priority 1.
const UNSTEADY: [&str; 4] = ["Age", "Last Seen", "Duration", "Last Schedule"];

/// The timeline as it is written.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Names made up, and what is told instead.
    aliases: BTreeMap<String, String>,
    /// How many children of each told owner there have been.
    children: BTreeMap<String, usize>,
    /// Objects by uid, in the order they came.
    order: BTreeMap<String, usize>,
    /// What was last told of an object.
    told: BTreeMap<(Kind, String, String), String>,
    pub(super) lines: Vec<String>,
    /// Lines beyond the most there may be.
    pub(super) more: usize,
}

/// A time since the start, as each line begins.
fn stamp(since: Span) -> String {
    let millis = since.as_nanos() / 1_000_000;
    let (minutes, seconds, millis) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    format!("{minutes:>4}:{seconds:02}.{millis:03}")
}

impl Timeline {
    /// The name an object is told by.
    fn name(&mut self, object: &Object) -> String {
        let name = object.name();
        if let Some(alias) = self.aliases.get(name) {
            return alias.clone();
        }
        let meta = object.meta();
        let of = object.kind().resource().plural;
        let of_none = match of {
            "volumeattachments" => Some("attachment"),
            "persistentvolumes" if name.starts_with("pvc-") => Some("volume"),
            _ => None,
        };
        if let Some(word) = of_none {
            return self.alias(name, of, word);
        }
        let made_up = object.kind() == Kind::Pod && meta.generate_name.is_some();
        let hashed = matches!(of, "replicasets" | "controllerrevisions" | "endpointslices");
        let Some(owner) = controller(meta).map(|owner| owner.name.clone()).filter(|_| made_up || hashed)
        else {
            return name.to_owned();
        };
        let owner = self.aliases.get(&owner).cloned().unwrap_or(owner);
        self.alias(name, of, &owner)
    }
    /// The next alias of a made-up name.
    fn alias(&mut self, name: &str, of: &str, base: &str) -> String {
        let number = self.children.entry(format!("{of}/{base}")).or_default();
        *number += 1;
        let alias = format!("{base}-#{number}");
        self.aliases.insert(name.to_owned(), alias.clone());
        alias
    }
    /// A text with the names in it that are told instead of those made up.
    fn plain(&self, text: &str) -> String {
        // The longest names first: one may begin with another.
        let mut all: Vec<(&String, &String)> =
            self.aliases.iter().filter(|(name, _)| text.contains(*name)).collect();
        all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        all.into_iter().fold(text.to_owned(), |text, (name, alias)| text.replace(name.as_str(), alias))
    }
    fn push(&mut self, line: String) {
        if self.lines.len() < super::LINES_MAX {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }
    /// Which of the objects came first.
    pub(super) fn order(&self, uid: &str) -> usize {
        self.order.get(uid).copied().unwrap_or(usize::MAX)
    }
    /// Something the scenario does.
    pub(super) fn step(&mut self, since: Span, text: &str) {
        let text = self.plain(text);
        self.push(format!("{} >> {text}", stamp(since)));
    }
    /// How something goes that is no object.
    pub(super) fn state_of(&mut self, since: Span, text: &str) {
        self.push(format!("{} {text}", stamp(since)));
    }
    /// Tells of the changes after a version: each object's state at the end of the instant, and every event.
    pub(super) fn take(
        &mut self,
        objects: &Objects,
        version: u64,
        watch: &[Kind],
        (since, now): (Span, Instant),
    ) {
        let Ok(changes) = objects.changes_since(version) else { return };
        let changes: Vec<Change> = changes.cloned().collect();
        for change in &changes {
            // Names first, in the order things were made.
            let next = self.order.len();
            self.order.entry(change.object.object.uid().to_owned()).or_insert(next);
            self.name(&change.object.object);
        }
        for change in &changes {
            let object = &change.object.object;
            match object {
                Object::Event(event) if change.kind != ChangeKind::Deleted => {
                    let about = &event.involved_object;
                    let (kind, name) = (about.kind.clone(), about.name.clone());
                    let text = |part: &Option<String>| part.clone().unwrap_or_default();
                    if !watch.iter().any(|watched| Some(watched.resource().name) == kind.as_deref()) {
                        continue;
                    }
                    let subject = format!("{}/{}", text(&kind).to_lowercase(), text(&name));
                    let line = format!(
                        "{subject}: {} {}: {}",
                        text(&event.type_),
                        text(&event.reason),
                        text(&event.message)
                    );
                    let line = self.plain(&line);
                    self.push(format!("{}  . {line}", stamp(since)));
                }
                _ if watch.contains(&object.kind()) => self.state(objects, object, (since, now)),
                _ => {}
            }
        }
    }
    /// Tells of an object's state as it is now, if that is news.
    fn state(&mut self, objects: &Objects, object: &Object, (since, now): (Span, Instant)) {
        let (kind, namespace, name) = (object.kind(), object.namespace(), object.name());
        let key = (kind, namespace.to_owned(), name.to_owned());
        let current = objects.get(kind, namespace, name);
        let state = match current {
            Some(stored) => columns(objects, kind, stored, now),
            None => "gone".to_owned(),
        };
        if self.told.get(&key) == Some(&state) {
            return;
        }
        let alias = self.name(object);
        let kind = kind.resource().name.to_lowercase();
        let line = self.plain(&format!("{kind}/{alias}  {state}"));
        self.push(format!("{} {line}", stamp(since)));
        self.told.insert(key, state);
    }
}

/// The cells of an object's row that say something of its state.
fn columns(objects: &Objects, kind: Kind, stored: &std::sync::Arc<Stored>, now: Instant) -> String {
    let defined = objects.definition_of(kind).map(|defined| &**defined);
    let kind = defined.and_then(|own| own.served(own.served_versions().next()?)).unwrap_or(kind);
    let table = table::table(kind, defined, std::slice::from_ref(stored), now, table::IncludeObject::None);
    let mut text = String::new();
    let names = table["columnDefinitions"].as_array().into_iter().flatten();
    let cells = table["rows"][0]["cells"].as_array().into_iter().flatten();
    for (column, cell) in names.zip(cells) {
        let name = column["name"].as_str().unwrap_or_default();
        if name == "Name" || UNSTEADY.contains(&name) || column["priority"] != 0 {
            continue;
        }
        let cell = match cell {
            Value::String(cell) => without_ages(cell),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let gap = if text.is_empty() { "" } else { "  " };
        let _ = write!(text, "{gap}{} {cell}", name.to_lowercase());
    }
    text
}

/// A cell without how long ago something in it was, as in `3 (25s ago)`.
fn without_ages(cell: &str) -> String {
    match cell.split_once(" (") {
        Some((before, rest)) if rest.ends_with(" ago)") => before.to_owned(),
        _ => cell.to_owned(),
    }
}
