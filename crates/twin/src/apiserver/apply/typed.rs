//! Documents beside their types: which fields they set, how two differ, how two merge, and one without some fields.
//!
//! After the merge rules that Kubernetes' API server uses (structured merge and diff): objects merge field by field, maps
//! entry by entry, lists by their keys or as sets, and what is atomic is one value.

use super::fields::{Element, Fields, Path, Scalar, path_text};
use crate::apiserver::schema::{Schema, Shape, Topology, Type, TypeId};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Where a value stands in the types.
#[derive(Clone, Copy)]
pub struct At<'a> {
    schema: &'a Schema,
    shape: &'a Shape,
    topology: &'a Topology,
}

/// What a value is for merging.
enum Atom<'a> {
    Scalar,
    /// `None`: of unknown elements.
    List(Option<&'a Shape>, &'a Topology),
    /// Known fields, and what other entries are.
    Map {
        fields: Option<&'a Type>,
        entries: Option<&'a Shape>,
        atomic: bool,
    },
}

static KEYED: Topology = Topology::Keyed(Vec::new());
static ATOMIC: Topology = Topology::Atomic;
static ANY: Shape = Shape::Any;

/// How an element of a list or map merges that says nothing itself.
fn of_element(shape: &Shape) -> &'static Topology {
    if matches!(shape, Shape::List(_)) { &ATOMIC } else { &KEYED }
}

/// Why a document does not fit its type: path and words.
pub type Misfit = (Path, String);

impl<'a> At<'a> {
    /// A whole object.
    pub fn root(schema: &'a Schema, shape: &'a Shape) -> At<'a> {
        At { schema, shape, topology: &KEYED }
    }
    fn element(self, shape: &'a Shape) -> At<'a> {
        At { schema: self.schema, shape, topology: of_element(shape) }
    }
    fn named(self, id: TypeId) -> &'a Type {
        self.schema.get(id)
    }

    /// What a value here is; of unknown shape, what it looks like.
    fn atom(self, value: Option<&Value>) -> Atom<'a> {
        match self.shape {
            Shape::Named(id) => {
                let known = self.named(*id);
                if let Some(alias) = &known.alias {
                    return At { shape: alias, ..self }.atom(value);
                }
                let atomic = known.atomic || *self.topology == Topology::Atomic;
                Atom::Map { fields: Some(known), entries: known.open.then_some(&ANY), atomic }
            }
            Shape::List(of) => Atom::List(Some(of), self.topology),
            Shape::Map(of) => {
                Atom::Map { fields: None, entries: Some(of), atomic: *self.topology == Topology::Atomic }
            }
            Shape::Any => match value {
                Some(Value::Array(_)) => Atom::List(None, &ATOMIC),
                Some(Value::Object(_)) => Atom::Map { fields: None, entries: Some(&ANY), atomic: false },
                _ => Atom::Scalar,
            },
            _ => Atom::Scalar,
        }
    }

    /// Of two values of unknown shape that differ in kind, the newer one says what they are.
    fn atom_of_two(self, old: Option<&Value>, new: Option<&Value>) -> Atom<'a> {
        self.atom(new.filter(|value| !value.is_null()).or(old))
    }

    /// A field or entry of a map here; `None`: not of this type.
    fn entry(self, fields: Option<&'a Type>, entries: Option<&'a Shape>, name: &str) -> Option<At<'a>> {
        if let Some(field) = fields.and_then(|fields| fields.field(name)) {
            return Some(At { schema: self.schema, shape: &field.shape, topology: &field.topology });
        }
        entries.map(|shape| self.element(shape))
    }

    /// Paths of what a document sets that is replaced as a whole: atomic lists, maps and objects.
    pub fn wholes(self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.find_wholes(value, "", &mut found);
        found
    }

    fn find_wholes(self, value: &Value, path: &str, found: &mut Vec<String>) {
        match (self.atom(Some(value)), value) {
            (Atom::List(Some(_), Topology::Atomic), Value::Array(_))
            | (Atom::Map { atomic: true, .. }, Value::Object(_)) => found.push(path.to_owned()),
            (Atom::List(Some(of), _), Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    self.element(of).find_wholes(item, &format!("{path}[{i}]"), found);
                }
            }
            (Atom::Map { fields, entries, .. }, Value::Object(map)) => {
                for (name, inner) in map {
                    if let Some(at) = self.entry(fields, entries, name) {
                        at.find_wholes(inner, &format!("{path}.{name}"), found);
                    }
                }
            }
            _ => {}
        }
    }

    /// What tells an element of a list from the others.
    fn item_element(
        self,
        of: Option<&'a Shape>,
        topology: &Topology,
        item: &Value,
    ) -> Result<Element, String> {
        match topology {
            Topology::Set => Scalar::new(item)
                .map(Element::Value)
                .ok_or_else(|| "sets may only have scalars as members".to_owned()),
            Topology::Keyed(keys) => {
                let Value::Object(entries) = item else {
                    return Err("associative list with keys may not have non-map elements".to_owned());
                };
                let fields = match of {
                    Some(Shape::Named(id)) => Some(self.named(*id)),
                    _ => None,
                };
                let value = |key: &String| {
                    let default = || fields?.field(key)?.default.as_ref();
                    Some((key.clone(), Scalar::new(entries.get(key).or_else(default)?)?))
                };
                let mut found: Vec<(String, Scalar)> = keys.iter().filter_map(value).collect();
                found.sort();
                if found.is_empty() {
                    return Err(format!(
                        "associative list with keys has an element that omits all key fields {keys:?} (and doesn't have default values for any key fields)"
                    ));
                }
                Ok(Element::Key(found))
            }
            Topology::Atomic => Err("an atomic list has no elements of its own".to_owned()),
        }
    }

    /// The elements of a list, in order, with what tells them apart.
    fn items<'v>(
        self,
        of: Option<&'a Shape>,
        topology: &Topology,
        list: &'v [Value],
    ) -> Vec<(Element, &'v Value)> {
        let named = list.iter().zip(0..).map(|(item, index)| {
            let element = self.item_element(of, topology, item);
            // What cannot be told apart was there before such lists were checked: by its place, then.
            (element.unwrap_or(Element::Index(index)), item)
        });
        named.collect()
    }

    /// Which fields a document sets. The errors say what does not fit its type.
    pub fn fields(self, value: &Value) -> Result<Fields, Vec<Misfit>> {
        let (mut fields, mut wrong) = (Fields::default(), Vec::new());
        self.collect(value, &mut Vec::new(), &mut fields, &mut wrong);
        if wrong.is_empty() { Ok(fields) } else { Err(wrong) }
    }

    /// Which fields it sets, as far as they fit.
    fn fields_lenient(self, value: &Value) -> Fields {
        let mut fields = Fields::default();
        self.collect(value, &mut Vec::new(), &mut fields, &mut Vec::new());
        fields
    }

    fn collect(self, value: &Value, path: &mut Path, fields: &mut Fields, wrong: &mut Vec<Misfit>) {
        match (self.atom(Some(value)), value) {
            (Atom::List(of, topology), Value::Array(list)) if *topology != Topology::Atomic => {
                let mut seen = BTreeSet::new();
                for (item, index) in list.iter().zip(0..) {
                    let element = match self.item_element(of, topology, item) {
                        Ok(element) => element,
                        Err(why) => {
                            wrong.push((path.clone(), format!("element {index}: {why}")));
                            continue;
                        }
                    };
                    if !seen.insert(element.clone()) {
                        wrong.push((path.clone(), format!("duplicate entries for key {element}")));
                    }
                    path.push(element);
                    self.element(of.unwrap_or(&ANY)).collect(item, path, fields, wrong);
                    fields.insert(path);
                    path.pop();
                }
            }
            (Atom::Map { fields: known, entries, atomic: false }, Value::Object(map)) => {
                for (name, value) in map {
                    path.push(Element::Field(name.clone()));
                    match self.entry(known, entries, name) {
                        Some(at) => at.collect(value, path, fields, wrong),
                        None => wrong.push((path.clone(), "field not declared in schema".to_owned())),
                    }
                    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    if empty || known.and_then(|known| known.field(name)).is_none() {
                        fields.insert(path);
                    }
                    path.pop();
                }
            }
            (Atom::List(..), value) if !value.is_array() && !value.is_null() => {
                wrong.push((path.clone(), format!("expected list, got {value}")));
            }
            (Atom::Map { .. }, value) if !value.is_object() && !value.is_null() => {
                wrong.push((path.clone(), format!("expected map, got {value}")));
            }
            (Atom::Scalar, Value::Array(_) | Value::Object(_)) => {
                wrong.push((path.clone(), "expected a scalar".to_owned()));
            }
            _ => fields.insert(path),
        }
    }
}

/// How two documents differ.
#[derive(Debug, Default)]
pub struct Comparison {
    /// In the old one alone.
    pub removed: Fields,
    /// In both, and not alike.
    pub modified: Fields,
    /// In the new one alone.
    pub added: Fields,
}

/// Whether two values are equal; numbers by what they are, not by how they are written.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

fn list_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn names<'v>(old: Option<&'v Value>, new: Option<&'v Value>) -> BTreeSet<&'v str> {
    let keys = |value: Option<&'v Value>| value.and_then(Value::as_object).into_iter().flat_map(Map::keys);
    keys(old).chain(keys(new)).map(String::as_str).collect()
}

/// The values of a list by what tells them apart.
fn by_element(items: Vec<(Element, &Value)>) -> BTreeMap<Element, Vec<&Value>> {
    let mut all: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for (element, item) in items {
        all.entry(element).or_default().push(item);
    }
    all
}

impl<'a> At<'a> {
    /// How `new` differs from `old`.
    pub fn compare(self, old: &Value, new: &Value) -> Comparison {
        let mut found = Comparison::default();
        self.compare_at(Some(old), Some(new), &mut Vec::new(), &mut found);
        found
    }

    fn compare_at(self, old: Option<&Value>, new: Option<&Value>, path: &mut Path, found: &mut Comparison) {
        // Most of a document is as it was: nothing below needs to be named.
        if old.is_some() && old == new {
            return;
        }
        if self.descend(old, new, path, found) {
            if old.is_none() {
                found.added.insert(path);
            } else if new.is_none() {
                found.removed.insert(path);
            }
            return;
        }
        match (old, new) {
            (None, Some(_)) => found.added.insert(path),
            (Some(_), None) => found.removed.insert(path),
            (Some(old), Some(new)) if !equal(old, new) => found.modified.insert(path),
            _ => {}
        }
    }

    /// Compares what is below; `false`: this is a leaf.
    fn descend(
        self,
        old: Option<&Value>,
        new: Option<&Value>,
        path: &mut Path,
        found: &mut Comparison,
    ) -> bool {
        match self.atom_of_two(old, new) {
            Atom::List(of, topology) if *topology != Topology::Atomic => {
                let (old, new) = (list_of(old), list_of(new));
                if old.is_empty() && new.is_empty() {
                    return false;
                }
                let old = by_element(self.items(of, topology, old));
                let new = by_element(self.items(of, topology, new));
                let elements: BTreeSet<&Element> = old.keys().chain(new.keys()).collect();
                let at = self.element(of.unwrap_or(&ANY));
                for element in elements {
                    path.push(element.clone());
                    at.compare_items(
                        old.get(element).map_or(&[], Vec::as_slice),
                        new.get(element).map_or(&[], Vec::as_slice),
                        path,
                        found,
                    );
                    path.pop();
                }
                true
            }
            Atom::Map { fields, entries, atomic: false } => {
                let names = names(old, new);
                for name in &names {
                    path.push(Element::Field((*name).to_owned()));
                    let at = self.entry(fields, entries, name).unwrap_or(self.element(&ANY));
                    at.compare_at(child(old, name), child(new, name), path, found);
                    path.pop();
                }
                !names.is_empty()
            }
            _ => false,
        }
    }

    /// Compares what has one key in a list. Some lists have several such (they were valid once): these count as one.
    fn compare_items(self, old: &[&Value], new: &[&Value], path: &mut Path, found: &mut Comparison) {
        match (old, new) {
            ([] | [_], [] | [_]) => self.compare_at(old.first().copied(), new.first().copied(), path, found),
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || !old.iter().zip(new).all(|(a, b)| equal(a, b)) {
                    found.modified.insert(path);
                }
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    self.compare_at(None, Some(new), path, found);
                }
                found.removed.insert(path);
            }
            (_, _) => {
                if let Some(old) = old.first() {
                    self.compare_at(Some(old), None, path, found);
                }
                found.added.insert(path);
            }
        }
    }

    /// `config` laid over `live`: what it says counts, what it does not mention stays.
    pub fn merge(self, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
        match self.atom_of_two(live, config) {
            Atom::List(of, topology) if *topology != Topology::Atomic => {
                let (old, new) = (list_of(live), list_of(config));
                if old.is_empty() && new.is_empty() {
                    return config.or(live).cloned();
                }
                let (old, new) = (self.items(of, topology, old), self.items(of, topology, new));
                Some(Value::Array(self.element(of.unwrap_or(&ANY)).merge_lists(&old, &new)))
            }
            Atom::Map { fields, entries, atomic: false } => {
                let mut merged = Map::new();
                for name in names(live, config) {
                    let at = self.entry(fields, entries, name).unwrap_or(self.element(&ANY));
                    if let Some(value) = at.merge(child(live, name), child(config, name)) {
                        merged.insert(name.to_owned(), value);
                    }
                }
                if merged.is_empty() { config.or(live).cloned() } else { Some(Value::Object(merged)) }
            }
            _ => config.or(live).cloned(),
        }
    }

    /// Two lists as one: what both have stands in the newer one's order, what only the older one has stays before
    /// the shared elements it stood before.
    fn merge_lists(self, old: &[(Element, &Value)], new: &[(Element, &Value)]) -> Vec<Value> {
        let in_old = by_element(old.to_vec());
        let in_new: BTreeMap<&Element, &Value> = new.iter().map(|(element, item)| (element, *item)).collect();
        // Of what stands there twice nothing is merged in.
        let single =
            |element: &Element| in_old.get(element).filter(|items| items.len() == 1).map(|items| items[0]);
        let mut shared = new.iter().map(|(element, _)| element).filter(|e| in_old.contains_key(*e));
        let mut next = shared.next();
        let mut merged: BTreeSet<&Element> = BTreeSet::new();
        let mut out = Vec::new();
        let (mut i, mut j) = (0, 0);
        while i < old.len() || j < new.len() {
            if let (Some((left, _)), Some((right, item))) = (old.get(i), new.get(j)) {
                if left == right {
                    merged.insert(right);
                    out.extend(self.merge(single(left), Some(item)));
                    (i, j, next) = (i + 1, j + 1, shared.next());
                    continue;
                }
                if in_new.contains_key(left) && next.is_some_and(|next| next != left) {
                    // Shared, and not the one whose turn it is.
                    i += 1;
                    continue;
                }
            }
            if let Some((left, item)) = old.get(i) {
                if !in_new.contains_key(left) {
                    out.extend(self.merge(Some(item), None));
                    i += 1;
                    continue;
                }
                if merged.contains(left) {
                    i += 1;
                }
            }
            if let Some((right, item)) = new.get(j) {
                merged.insert(right);
                out.extend(self.merge(single(right), Some(item)));
                j += 1;
                if next == Some(right) {
                    next = shared.next();
                }
            }
        }
        out
    }

    /// The value without these fields; null where nothing is left of it: what held them is still there.
    fn without(self, value: &Value, fields: &Fields) -> Value {
        match (self.atom(Some(value)), value) {
            (Atom::List(_, topology), Value::Array(_)) if *topology == Topology::Atomic => Value::Null,
            (Atom::Map { atomic: true, .. }, Value::Object(_)) => Value::Null,
            (Atom::List(of, topology), Value::Array(list)) => {
                let at = self.element(of.unwrap_or(&ANY));
                let left = self.items(of, topology, list).into_iter().filter(|(e, _)| !fields.has(e));
                let kept =
                    |(element, item): (Element, &Value)| at.without_below(item, fields.below(&element));
                let left: Vec<Value> = left.map(kept).collect();
                if left.is_empty() { Value::Null } else { Value::Array(left) }
            }
            (Atom::Map { fields: known, entries, .. }, Value::Object(map)) => {
                let mut left = Map::new();
                for (name, value) in map {
                    let element = Element::Field(name.clone());
                    if !fields.has(&element) {
                        let at = self.entry(known, entries, name).unwrap_or(self.element(&ANY));
                        left.insert(name.clone(), at.without_below(value, fields.below(&element)));
                    }
                }
                if left.is_empty() { Value::Null } else { Value::Object(left) }
            }
            (_, value) => value.clone(),
        }
    }

    fn without_below(self, value: &Value, below: Option<&Fields>) -> Value {
        below.map_or_else(|| value.clone(), |below| self.without(value, below))
    }

    /// The set with every known field on the way to a member made a member: a struct goes when all in it goes.
    fn with_named(self, set: &Fields) -> Fields {
        set.map(|element, member, below| {
            let looks_like = match element {
                Element::Field(_) => Value::Object(Map::new()),
                _ => Value::Array(Vec::new()),
            };
            match (self.atom(Some(&looks_like)), element) {
                (Atom::Map { fields, entries, .. }, Element::Field(name)) => {
                    let named = fields.is_some_and(|fields| fields.field(name).is_some());
                    let at = self.entry(fields, entries, name).unwrap_or(self.element(&ANY));
                    (member || (named && !below.is_empty()), at.with_named(below))
                }
                (Atom::List(of, _), _) => (member, self.element(of.unwrap_or(&ANY)).with_named(below)),
                _ => (member, below.clone()),
            }
        })
    }

    /// The value as it is stored: without nulls, and without lists and maps of nothing that need not be there. What
    /// is known by its fields stays though it has none (`emptyDir: {}` says something), but for an object's parts.
    pub fn stored(self, object: Value) -> Value {
        let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        match self.stored_at(object) {
            Value::Object(parts) => {
                Value::Object(parts.into_iter().filter(|(_, part)| !empty(part)).collect())
            }
            other => other,
        }
    }

    fn stored_at(self, value: Value) -> Value {
        let atom = self.atom(Some(&value));
        match (atom, value) {
            (Atom::Map { fields, entries, .. }, Value::Object(map)) => {
                let keep = |(name, value): (String, Value)| {
                    let at = self.entry(fields, entries, &name).unwrap_or(self.element(&ANY));
                    let field = fields.and_then(|fields| fields.field(&name));
                    let of_nothing = match &value {
                        Value::Null => return None,
                        Value::Array(list) => list.is_empty(),
                        Value::Object(map) => map.is_empty() && matches!(at.shape, Shape::Map(_)),
                        _ => false,
                    };
                    let kept = !of_nothing || field.is_none_or(|field| field.required);
                    kept.then(|| (name, at.stored_at(value)))
                };
                Value::Object(map.into_iter().filter_map(keep).collect())
            }
            (Atom::List(of, _), Value::Array(list)) => {
                let at = self.element(of.unwrap_or(&ANY));
                Value::Array(list.into_iter().map(|item| at.stored_at(item)).collect())
            }
            (_, value) => value,
        }
    }

    /// What is left of `merged` when its applier no longer asks for what it asked for last time, and nobody else
    /// (`owned`: all that anybody owns now) does.
    pub fn prune(self, merged: &Value, last: &Fields, owned: &Fields) -> Value {
        let named = |value: &Value| self.with_named(&self.fields_lenient(value));
        let last = self.with_named(last);
        let all = named(merged);
        let pruned = self.without(merged, &last);
        // What others own comes back.
        let keep = named(&pruned).union(&self.with_named(owned));
        let pruned = self.without(merged, &all.difference(&keep));
        // So does what went only because something around it went.
        let gone = all.difference(&named(&pruned)).intersection(&last);
        self.without(merged, &gone)
    }
}

/// What a document has under a name.
fn child<'v>(value: Option<&'v Value>, name: &str) -> Option<&'v Value> {
    value.and_then(|value| value.get(name))
}

/// Misfits as Kubernetes words them.
pub fn misfit_text(misfits: &[Misfit]) -> String {
    let line = |(path, why): &Misfit| format!("{}: {why}", path_text(path));
    let mut lines: Vec<String> = misfits.iter().map(line).collect();
    lines.dedup();
    match &lines[..] {
        [one] => one.clone(),
        all => {
            format!("errors:\n{}", all.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))
        }
    }
}
