//! Sets of fields: which parts of an object somebody owns, as `managedFields` writes them down (`FieldsV1`).
//!
//! A set is a tree. An element of it may be a member itself (`.`), have members below it, or both. Invariants: no
//! branch is empty; elements are in order, so equal sets print alike.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Deepest nesting that is read: Kubernetes' own types have about twenty levels, custom ones a few more.
pub const DEPTH_MAX: usize = 128;

/// A scalar that tells elements of a list apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    /// A whole number.
    Int(i64),
    /// Any other number, by its bits: keys are compared, not calculated with.
    Number(u64),
    /// A string.
    Text(String),
    /// True or false.
    Bool(bool),
    /// Null.
    Null,
}

impl Scalar {
    /// From JSON; `None` for lists and maps.
    pub fn new(value: &Value) -> Option<Scalar> {
        Some(match value {
            Value::Null => Scalar::Null,
            Value::Bool(flag) => Scalar::Bool(*flag),
            Value::String(text) => Scalar::Text(text.clone()),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Scalar::Int(whole),
                None => Scalar::Number(number.as_f64().unwrap_or(f64::NAN).to_bits()),
            },
            Value::Array(_) | Value::Object(_) => return None,
        })
    }
    fn to_value(&self) -> Value {
        match self {
            Scalar::Int(whole) => json!(whole),
            Scalar::Number(bits) => json!(f64::from_bits(*bits)),
            Scalar::Text(text) => json!(text),
            Scalar::Bool(flag) => json!(flag),
            Scalar::Null => Value::Null,
        }
    }
}

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// Into a field, or an entry of a map.
    Field(String),
    /// To the element of a list with these values of its keys.
    Key(Vec<(String, Scalar)>),
    /// To an element of a set.
    Value(Scalar),
    /// To an element by its place.
    Index(i64),
}

impl Element {
    /// As `FieldsV1` writes it.
    fn encode(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(keys) => {
                let keys: Map<String, Value> =
                    keys.iter().map(|(name, value)| (name.clone(), value.to_value())).collect();
                format!("k:{}", Value::Object(keys))
            }
            Element::Value(value) => format!("v:{}", value.to_value()),
            Element::Index(index) => format!("i:{index}"),
        }
    }

    /// From `FieldsV1`; `None` for what is no element (newer servers may write more).
    fn decode(text: &str) -> Option<Element> {
        let (kind, rest) = text.split_once(':')?;
        Some(match kind {
            "f" => Element::Field(rest.to_owned()),
            "i" => Element::Index(rest.parse().ok()?),
            "v" => Element::Value(Scalar::new(&serde_json::from_str(rest).ok()?)?),
            "k" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
                let keys = keys.into_iter().map(|(name, value)| Some((name, Scalar::new(&value)?)));
                Element::Key(keys.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(keys) => {
                let keys: Vec<String> =
                    keys.iter().map(|(name, value)| format!("{name}={}", value.to_value())).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Element::Value(value) => write!(f, "[={}]", value.to_value()),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A way into an object, printed as `.spec.containers[name="app"].image`.
pub type Path = Vec<Element>;

/// What stands at an element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: Fields,
}

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<Element, Node>);

/// As `FieldsV1`.
impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.member && !self.below.is_empty() {
            map.serialize_entry(".", &Fields::default())?;
        }
        self.below.entries(&mut map)?;
        map.end()
    }
}

impl Fields {
    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether the element itself is a member.
    pub fn has(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }
    /// The members below an element.
    pub fn below(&self, element: &Element) -> Option<&Fields> {
        self.0.get(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }
    /// Makes a path a member. The root is none.
    pub fn insert(&mut self, path: &[Element]) {
        let [first, rest @ ..] = path else { return };
        if !self.0.contains_key(first) {
            self.0.insert(first.clone(), Node::default());
        }
        let Some(node) = self.0.get_mut(first) else { return };
        if rest.is_empty() { node.member = true } else { node.below.insert(rest) }
    }
    /// Takes out a path, and not what is below it.
    pub fn remove(&mut self, path: &[Element]) {
        let [first, rest @ ..] = path else { return };
        let Some(node) = self.0.get_mut(first) else { return };
        if rest.is_empty() {
            node.member = false
        } else {
            node.below.remove(rest)
        }
        if !node.member && node.below.is_empty() {
            self.0.remove(first);
        }
    }

    /// Members of either.
    pub fn union(&self, other: &Fields) -> Fields {
        let mut all = self.clone();
        all.extend(other.clone());
        all
    }
    /// Members of both.
    pub fn intersection(&self, other: &Fields) -> Fields {
        let node = |(element, mine): (&Element, &Node)| {
            let theirs = other.0.get(element)?;
            let (member, below) = (mine.member && theirs.member, mine.below.intersection(&theirs.below));
            (member || !below.is_empty()).then(|| (element.clone(), Node { member, below }))
        };
        Fields(self.0.iter().filter_map(node).collect())
    }
    /// Members of this one alone. Taking out a member takes out nothing below it.
    pub fn difference(&self, other: &Fields) -> Fields {
        let mut left = self.clone();
        left.subtract(other);
        left
    }

    /// Takes in the members of another.
    pub fn extend(&mut self, other: Fields) {
        for (element, node) in other.0 {
            let mine = self.0.entry(element).or_default();
            mine.member |= node.member;
            mine.below.extend(node.below);
        }
    }
    /// Takes out the members of another, as [`Fields::difference`] does.
    pub fn subtract(&mut self, other: &Fields) {
        for (element, theirs) in &other.0 {
            let Some(mine) = self.0.get_mut(element) else { continue };
            mine.member &= !theirs.member;
            mine.below.subtract(&theirs.below);
            if !mine.member && mine.below.is_empty() {
                self.0.remove(element);
            }
        }
    }

    /// The same with each branch changed: `change` is given an element, whether it is a member, and what is below
    /// it, and gives both anew.
    pub fn map(&self, mut change: impl FnMut(&Element, bool, &Fields) -> (bool, Fields)) -> Fields {
        let node = |(element, node): (&Element, &Node)| {
            let (member, below) = change(element, node.member, &node.below);
            (member || !below.is_empty()).then(|| (element.clone(), Node { member, below }))
        };
        Fields(self.0.iter().filter_map(node).collect())
    }

    /// Every member, in the order Kubernetes names them: those of a level before those below it.
    pub fn paths(&self) -> Vec<Path> {
        let mut all = Vec::new();
        self.walk(&mut Vec::new(), &mut all);
        all
    }
    fn walk(&self, prefix: &mut Path, all: &mut Vec<Path>) {
        for (element, _) in self.0.iter().filter(|(_, node)| node.member) {
            all.push([prefix.as_slice(), std::slice::from_ref(element)].concat());
        }
        for (element, node) in &self.0 {
            prefix.push(element.clone());
            node.below.walk(prefix, all);
            prefix.pop();
        }
    }

    /// Its elements, as `FieldsV1` writes them, in the order of these texts.
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let mut entries: Vec<(String, &Node)> =
            self.0.iter().map(|(element, node)| (element.encode(), node)).collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        entries.iter().try_for_each(|(element, node)| map.serialize_entry(element, node))
    }
    /// From `FieldsV1`; the error says what is wrong.
    pub fn from_value(value: &Value) -> Result<Fields, String> {
        Fields::read(value, 0)
    }
    fn read(value: &Value, depth: usize) -> Result<Fields, String> {
        let Value::Object(entries) = value else { return Err(format!("{value}: expected an object")) };
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        let mut fields = Fields::default();
        for (key, value) in entries.iter().filter(|(key, _)| key.as_str() != ".") {
            let Some(element) = Element::decode(key) else {
                return Err(format!("{key:?}: expected f:NAME, k:{{KEYS}}, v:VALUE or i:INDEX"));
            };
            let below = Fields::read(value, depth + 1)?;
            let member = below.is_empty() || value.get(".").is_some();
            fields.0.insert(element, Node { member, below });
        }
        Ok(fields)
    }
}

/// A path as Kubernetes prints it.
pub fn path_text(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element() -> impl Strategy<Value = Element> {
        prop_oneof![
            "[a-d]".prop_map(Element::Field),
            "[a-c]".prop_map(|name| Element::Key(vec![("name".to_owned(), Scalar::Text(name))])),
            (0i64..3).prop_map(|n| Element::Key(vec![
                ("port".to_owned(), Scalar::Int(n)),
                ("protocol".to_owned(), Scalar::Text("TCP".to_owned()))
            ])),
            (0i64..3).prop_map(|n| Element::Value(Scalar::Int(n))),
        ]
    }

    fn fields() -> impl Strategy<Value = Fields> {
        prop::collection::vec(prop::collection::vec(element(), 1..4), 0..12).prop_map(|paths| {
            let mut fields = Fields::default();
            paths.iter().for_each(|path| fields.insert(path));
            fields
        })
    }

    proptest! {
        #[test]
        fn a_set_is_what_it_prints(set in fields()) {
            prop_assert_eq!(Fields::from_value(&serde_json::to_value(&set).unwrap()).unwrap(), set);
        }

        #[test]
        fn sets_obey_the_laws_of_sets(a in fields(), b in fields()) {
            prop_assert_eq!(a.union(&b), b.union(&a));
            prop_assert_eq!(a.intersection(&b), b.intersection(&a));
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
            prop_assert!(a.difference(&b).intersection(&b).is_empty());
            let (mut less, mut more) = (a.clone(), a.clone());
            less.subtract(&b);
            more.extend(b.clone());
            prop_assert_eq!((less, more), (a.difference(&b), a.union(&b)));
            let members = |set: &Fields| set.paths().len();
            prop_assert_eq!(members(&a.union(&b)) + members(&a.intersection(&b)), members(&a) + members(&b));
        }

        #[test]
        fn what_was_put_in_can_be_taken_out(set in fields()) {
            let mut left = set.clone();
            set.paths().iter().for_each(|path| left.remove(path));
            prop_assert!(left.is_empty());
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for wrong in [json!([]), json!({"x": {}}), json!({"f:a": 1}), json!({"k:[]": {}}), json!({"i:x": {}})]
        {
            assert!(Fields::from_value(&wrong).is_err(), "{wrong}");
        }
        let deep = (0..200).fold(json!({}), |below, _| json!({"f:a": below}));
        assert!(Fields::from_value(&deep).unwrap_err().contains("deeper"));
    }
}
