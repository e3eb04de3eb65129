//! What Kubernetes' types are made of: fields, what is required, defaults, and how lists and maps merge.
//!
//! Read once from a table in the binary (`kubernetes-1.36.txt`, made by `cargo xtask schema` from Kubernetes' own
//! OpenAPI documents). Its lines:
//!
//! ```text
//! type NAME [= TYPE] [atomic] [kind=GROUP/VERSION:KIND]...
//!  FIELD[!] TYPE [keys=A,B | set | atomic] [patch=STRATEGIES] [mergekey=KEY] [always] [pointer] [#NUMBERS] [default=JSON]
//! ```
//!
//! A TYPE is `string`, `int32`, `int64`, `number`, `boolean`, `time`, `bytes`, `quantity`, `int-or-string`, `any`, the
//! name of another type, or `[]TYPE` (a list) or `{}TYPE` (a map). `!` marks what is required. Lists are atomic
//! unless they say otherwise, maps are merged key by key unless they say `atomic`. `#2.3` is a field's place in protobuf: field 3
//! of the message in field 2, of which JSON shows no trace.
//!
//! Invariants: every name a field mentions is there; types, and fields of a type, are sorted by name, as in the table.

mod custom;
mod read;
mod zero;

pub(crate) use read::json_name;
pub use read::{Read, read};
pub(crate) use zero::{fill, zero};

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("kubernetes-1.36.txt");

/// Index of a type in [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u16);

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    String,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// RFC 3339 time, as a string.
    Time,
    /// Base64, as a string.
    Bytes,
    /// A `resource.Quantity`: a string or a number.
    Quantity,
    /// A string or a whole number.
    IntOrString,
    /// Anything.
    Any,
    /// A list of such.
    List(Box<Shape>),
    /// A map from strings to such.
    Map(Box<Shape>),
    /// A type of the table.
    Named(TypeId),
}

/// How two versions of a list or map become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// As one value: the newer one counts.
    Atomic,
    /// A list of scalars, each once.
    Set,
    /// A list of objects told apart by these keys; a map by its own keys (then none are named).
    Keyed(Vec<String>),
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub name: String,
    /// Whether it must be there.
    pub required: bool,
    /// What it may be.
    pub shape: Shape,
    /// How it merges; of no meaning for scalars.
    pub topology: Topology,
    /// Strategic merge: `merge`, `replace`, `retainKeys`, or several.
    pub patch: Vec<String>,
    /// Strategic merge: the key of a list's objects.
    pub merge_key: Option<String>,
    /// Whether Kubernetes writes it whatever its value.
    pub always: bool,
    /// Whether a scalar that is empty is told from one that is not there.
    pub pointer: bool,
    /// Its number in protobuf, after those of the messages around it that JSON does not show; empty: it has none.
    pub numbers: Box<[u16]>,
    /// What an absent field counts as; scalars only.
    pub default: Option<Value>,
}

/// A type of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// E.g. `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// Its fields, by name; empty: none are known, or it stands for another shape.
    pub fields: Vec<Field>,
    /// The shape it stands for, where it has no fields.
    pub alias: Option<Shape>,
    /// Whether it is replaced as a whole by server-side apply.
    pub atomic: bool,
    /// Whether it may have fields beside those.
    pub open: bool,
}

impl Type {
    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok().map(|i| &self.fields[i])
    }
}

/// All types.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    /// Each type as a shape, by its index.
    shapes: Vec<Shape>,
    kinds: BTreeMap<(String, String), TypeId>,
}

/// The types of Kubernetes 1.36.
pub static KUBERNETES: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse(TABLE).expect("the table in the binary is read by a test"));

impl Schema {
    /// The type of a kind, e.g. `("apps/v1", "Deployment")`.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        self.kinds.get(&(api_version.to_owned(), kind.to_owned())).copied()
    }
    /// A type.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[usize::from(id.0)]
    }
    /// All types, by name.
    pub fn types(&self) -> impl Iterator<Item = &Type> {
        self.types.iter()
    }
    /// A type by its name, as a shape.
    pub fn named(&self, name: &str) -> Option<&Shape> {
        let found = self.types.binary_search_by(|of| of.name.as_str().cmp(name)).ok()?;
        self.shapes.get(found)
    }
    /// A type as a shape.
    pub fn shape(&self, id: TypeId) -> &Shape {
        &self.shapes[usize::from(id.0)]
    }
    /// All kinds: apiVersion, kind and type.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &str, TypeId)> {
        self.kinds.iter().map(|((version, kind), id)| (version.as_str(), kind.as_str(), *id))
    }

    /// Reads the table. The error names the line.
    fn parse(text: &str) -> Result<Schema, String> {
        let heads = text.lines().filter_map(|line| line.strip_prefix("type "));
        let names = heads.map(|head| head.split(' ').next().unwrap_or_default());
        let ids: BTreeMap<&str, TypeId> =
            names.zip(0..).map(|(name, index): (&str, u16)| (name, TypeId(index))).collect();
        let mut schema = Schema { types: Vec::new(), shapes: Vec::new(), kinds: BTreeMap::new() };
        for (number, line) in text.lines().enumerate() {
            let wrong = |what: String| format!("line {}: {what}", number + 1);
            if let Some(head) = line.strip_prefix("type ") {
                schema.head(head, &ids).map_err(wrong)?;
            } else if let Some(field) = line.strip_prefix(' ') {
                let field = field_of(field, &ids).map_err(wrong)?;
                let last =
                    schema.types.last_mut().ok_or_else(|| wrong("a field before any type".to_owned()))?;
                if last.fields.last().is_some_and(|before| before.name >= field.name) {
                    return Err(wrong(format!("field {}: expected fields in order", field.name)));
                }
                last.fields.push(field);
            } else if !line.starts_with('#') {
                return Err(wrong(format!("{line:?}: expected a type, a field or a comment")));
            }
        }
        Ok(schema)
    }

    fn head(&mut self, head: &str, ids: &BTreeMap<&str, TypeId>) -> Result<(), String> {
        let mut words = head.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let id = *ids.get(name.as_str()).ok_or("a type without a name")?;
        let mut new = Type { name, fields: Vec::new(), alias: None, atomic: false, open: false };
        while let Some(word) = words.next() {
            if word == "=" {
                new.alias = Some(shape(words.next().unwrap_or_default(), ids)?);
            } else if word == "atomic" {
                new.atomic = true;
            } else if let Some((version, kind)) = word.strip_prefix("kind=").and_then(|k| k.split_once(':')) {
                self.kinds.insert((version.to_owned(), kind.to_owned()), id);
            } else {
                return Err(format!("{word:?}: expected =, atomic or kind="));
            }
        }
        self.types.push(new);
        self.shapes.push(Shape::Named(id));
        Ok(())
    }
}

fn shape(text: &str, ids: &BTreeMap<&str, TypeId>) -> Result<Shape, String> {
    if let Some(of) = text.strip_prefix("[]") {
        return Ok(Shape::List(Box::new(shape(of, ids)?)));
    }
    if let Some(of) = text.strip_prefix("{}") {
        return Ok(Shape::Map(Box::new(shape(of, ids)?)));
    }
    Ok(match text {
        "string" => Shape::String,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "number" => Shape::Number,
        "boolean" => Shape::Boolean,
        "time" => Shape::Time,
        "bytes" => Shape::Bytes,
        "quantity" => Shape::Quantity,
        "int-or-string" => Shape::IntOrString,
        "any" => Shape::Any,
        name => {
            Shape::Named(*ids.get(name).ok_or_else(|| format!("{name:?}: expected a type of the table"))?)
        }
    })
}

fn field_of(text: &str, ids: &BTreeMap<&str, TypeId>) -> Result<Field, String> {
    // A default may hold spaces; it comes last.
    let (text, default) = match text.split_once(" default=") {
        Some((text, default)) => (text, Some(default)),
        None => (text, None),
    };
    let default =
        default.map(serde_json::from_str).transpose().map_err(|error| format!("default: {error}"))?;
    let mut words = text.split(' ');
    let name = words.next().unwrap_or_default();
    let shape = shape(words.next().unwrap_or_default(), ids)?;
    let lists = matches!(shape, Shape::List(_));
    let mut field = Field {
        name: name.trim_end_matches('!').to_owned(),
        required: name.ends_with('!'),
        shape,
        topology: if lists { Topology::Atomic } else { Topology::Keyed(Vec::new()) },
        patch: Vec::new(),
        merge_key: None,
        always: false,
        pointer: false,
        numbers: Box::default(),
        default,
    };
    let several = |text: &str| text.split(',').map(str::to_owned).collect();
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("atomic", "") => field.topology = Topology::Atomic,
            ("set", "") => field.topology = Topology::Set,
            ("keys", keys) => field.topology = Topology::Keyed(several(keys)),
            ("patch", strategies) => field.patch = several(strategies),
            ("always", "") => field.always = true,
            ("pointer", "") => field.pointer = true,
            (numbers, "") if numbers.starts_with('#') => {
                let numbers: Result<_, _> = numbers[1..].split('.').map(str::parse).collect();
                field.numbers = numbers.map_err(|_| format!("{word:?}: expected numbers after #"))?;
            }
            ("mergekey", key) => field.merge_key = Some(key.to_owned()),
            _ => {
                return Err(format!(
                    "{word:?}: expected keys=, set, atomic, patch=, mergekey=, always, pointer or #"
                ));
            }
        }
    }
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let schema = Schema::parse(TABLE).unwrap();
        let pod = schema.get(schema.kind("v1", "Pod").unwrap());
        let spec = pod.field("spec").unwrap();
        let Shape::Named(spec) = spec.shape else { panic!("{spec:?}") };
        let containers = schema.get(spec).field("containers").unwrap();
        assert!(containers.required);
        assert_eq!(containers.topology, Topology::Keyed(vec!["name".to_owned()]));
        assert_eq!(containers.merge_key.as_deref(), Some("name"));
        assert!(schema.kind("apps/v1", "Deployment").is_some());
        assert!(schema.kind("storage.k8s.io/v1", "StorageClass").is_some());
        assert!(schema.kind("v1", "Nothing").is_none());
    }

    #[test]
    fn a_wrong_table_is_refused_with_its_line() {
        let wrong = |text: &str| Schema::parse(text).unwrap_err();
        assert!(wrong("type a\n b string\n a string\n").starts_with("line 3: field a"), "order");
        assert!(wrong("type a\n b nowhere\n").starts_with("line 2: \"nowhere\""));
        assert!(wrong(" b string\n").starts_with("line 1: a field before"));
        assert!(wrong("type a sideways\n").starts_with("line 1: \"sideways\""));
    }
}
