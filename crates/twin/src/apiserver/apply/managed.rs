//! `metadata.managedFields`: who owns which fields of an object.
//!
//! Invariants: managers are told apart by name, operation and subresource, and those that update also by apiVersion;
//! no manager owns nothing. The order is Kubernetes' own: appliers first, then by time, then by name.

use super::fields::{Element, Fields};
use fleet::Instant;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How somebody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Anything else.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// The name it gave (`fieldManager`).
    pub name: String,
    /// How it wrote.
    pub operation: Operation,
    /// In which version; empty for those that apply.
    pub api_version: String,
    /// To which subresource; empty: the object itself.
    pub subresource: String,
}

impl Manager {
    /// As conflicts name it.
    pub fn text(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    /// The fields.
    pub fields: Fields,
    /// In which version they are named.
    pub api_version: String,
    /// When it wrote last.
    pub time: Option<Instant>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers(pub BTreeMap<Manager, Owned>);

/// Fields that are no manager's: the server's own, and the object's name.
const SERVERS: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// The set without what no manager owns.
pub fn strip_servers(mut fields: Fields) -> Fields {
    for path in SERVERS {
        let path: Vec<Element> = path.iter().map(|name| Element::Field((*name).to_owned())).collect();
        fields.remove(&path);
    }
    fields
}

impl Managers {
    /// From an object's `metadata.managedFields`. The error says which entry is wrong.
    pub fn read(object: &Value) -> Result<Managers, String> {
        let mut managers = Managers::default();
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let wrong = |why: String| format!("metadata.managedFields[{index}]: {why}");
            let (manager, owned) = read(entry).map_err(wrong)?;
            managers.0.insert(manager, owned);
        }
        Ok(managers)
    }

    /// As `metadata.managedFields`.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// What anybody owns.
    pub fn all_fields(&self) -> Fields {
        self.0.values().fold(Fields::default(), |all, owned| all.union(&owned.fields))
    }

    /// Takes out managers that own nothing.
    pub fn drop_empty(&mut self) {
        self.0.retain(|_, owned| !owned.fields.is_empty());
    }
}

/// As `metadata.managedFields`.
impl Serialize for Managers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        let seconds = |owned: &Owned| owned.time.map_or(0, Instant::as_unix_seconds);
        all.sort_by_key(|(manager, owned)| {
            (manager.operation, seconds(owned), &manager.name, &owned.api_version, &manager.subresource)
        });
        serializer.collect_seq(all.into_iter().map(|(manager, owned)| Entry {
            api_version: &owned.api_version,
            fields_type: "FieldsV1",
            fields: &owned.fields,
            manager: &manager.name,
            operation: manager.operation.as_str(),
            subresource: &manager.subresource,
            time: owned.time.map(Instant::to_rfc3339_seconds),
        }))
    }
}

/// An entry of `metadata.managedFields`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    api_version: &'a str,
    fields_type: &'a str,
    #[serde(rename = "fieldsV1")]
    fields: &'a Fields,
    manager: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

fn read(entry: &Value) -> Result<(Manager, Owned), String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        other => return Err(format!("operation {other:?}: expected Apply or Update")),
    };
    if text("fieldsType") != "FieldsV1" {
        return Err(format!("fieldsType {:?}: expected FieldsV1", text("fieldsType")));
    }
    let api_version = text("apiVersion");
    let fields = Fields::from_value(entry.get("fieldsV1").unwrap_or(&json!({})))?;
    let manager = Manager {
        name: text("manager"),
        operation,
        api_version: if operation == Operation::Apply { String::new() } else { api_version.clone() },
        subresource: text("subresource"),
    };
    let time = entry.get("time").and_then(Value::as_str);
    let time = time.map(Instant::parse).transpose().map_err(|error| format!("time: {error}"))?;
    Ok((manager, Owned { fields, api_version, time }))
}
