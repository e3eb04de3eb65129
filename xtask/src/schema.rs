//! `cargo xtask schema DIR VERSION MODULES`: the table of Kubernetes' types that the twin's API server reads (`twin::apiserver::schema`),
//! from the OpenAPI v3 documents of Kubernetes' own source tree (`api/openapi-spec/v3`) and its Go types.
//!
//! Only facts are kept: names, types, what is required, defaults, how lists and maps merge, what is always written, numbers in
//! protobuf. No descriptions. The same documents give the same bytes.

use crate::go_types::{GoField, GoTypes, Written};
use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The documents the twin serves: the stable versions of the groups in its API.
const DOCUMENTS: [&str; 22] = [
    "api__v1",
    "apis__admissionregistration.k8s.io__v1",
    "apis__apiextensions.k8s.io__v1",
    "apis__apiregistration.k8s.io__v1",
    "apis__apps__v1",
    "apis__authentication.k8s.io__v1",
    "apis__authorization.k8s.io__v1",
    "apis__autoscaling__v1",
    "apis__autoscaling__v2",
    "apis__batch__v1",
    "apis__certificates.k8s.io__v1",
    "apis__coordination.k8s.io__v1",
    "apis__discovery.k8s.io__v1",
    "apis__events.k8s.io__v1",
    "apis__flowcontrol.apiserver.k8s.io__v1",
    "apis__networking.k8s.io__v1",
    "apis__node.k8s.io__v1",
    "apis__policy__v1",
    "apis__rbac.authorization.k8s.io__v1",
    "apis__resource.k8s.io__v1",
    "apis__scheduling.k8s.io__v1",
    "apis__storage.k8s.io__v1",
];

/// Names of types begin with this in references.
const REFERENCE: &str = "#/components/schemas/";

/// The table, from the documents in `dir` and the Go modules in `modules`; `version` is Kubernetes' own, for the head.
pub fn table(dir: &Path, version: &str, modules: &Path) -> anyhow::Result<String> {
    let mut go = GoTypes::new(modules);
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    for name in DOCUMENTS {
        let path = dir.join(format!("{name}_openapi.json"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let document: Value =
            serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
        let schemas = schemas.with_context(|| format!("{}: no components.schemas", path.display()))?;
        for (name, schema) in schemas {
            let is_struct = |of: &str| schemas.get(of).is_some_and(|of| of.get("properties").is_some());
            let fields = go.fields(name)?;
            let marks = |field: &str, property: &Value| marks(fields.get(field), property, &is_struct);
            let text =
                type_text(name, schema, &marks).with_context(|| format!("{}: {name}", path.display()))?;
            if types.insert(name.clone(), text.clone()).is_some_and(|before| before != text) {
                bail!("{}: {name} differs from another document's", path.display());
            }
        }
    }
    let mut out = format!(
        "# Types of the Kubernetes API {version}: made by `cargo xtask schema`; the format is told in schema.rs.\n"
    );
    out.extend(types.into_values());
    Ok(out)
}

/// What its Go type says of a field: whether it is always written, whether a scalar is a pointer, and its number in protobuf
/// (`#2.3`: field 3 of the message in field 2, which JSON does not show).
fn marks(field: Option<&GoField>, property: &Value, is_struct: &dyn Fn(&str) -> bool) -> String {
    let Some(field) = field else { return String::new() };
    let of = value_type(property).unwrap_or_default();
    let always = match field.written {
        Written::Always => true,
        Written::IfStruct => is_struct(&of),
        Written::IfSet => false,
    };
    let mut out = if always { " always".to_owned() } else { String::new() };
    if field.pointer && SCALARS.contains(&of.as_str()) {
        out += " pointer";
    }
    let numbers: Vec<String> = field.numbers.iter().map(u16::to_string).collect();
    if !numbers.is_empty() {
        out += " #";
        out += &numbers.join(".");
    }
    out
}

/// Types of which protobuf says whether they are there only where Go has a pointer.
const SCALARS: [&str; 5] = ["string", "int32", "int64", "number", "boolean"];

fn type_text(name: &str, schema: &Value, marks: &dyn Fn(&str, &Value) -> String) -> anyhow::Result<String> {
    let mut out = format!("type {name}");
    let properties = schema.get("properties").and_then(Value::as_object);
    if properties.is_none() {
        let own = bare_type(name, schema)?;
        write!(out, " = {own}")?;
    }
    if schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic") {
        out += " atomic";
    }
    for gvk in schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array).into_iter().flatten() {
        let part = |key: &str| gvk.get(key).and_then(Value::as_str).unwrap_or_default();
        // Options and watch events are of every group; they are no kinds of their own.
        if name.contains(".meta.v1.") {
            continue;
        }
        let slash = if part("group").is_empty() { "" } else { "/" };
        write!(out, " kind={}{slash}{}:{}", part("group"), part("version"), part("kind"))?;
    }
    out.push('\n');
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (field, property) in properties.into_iter().flatten() {
        let mark = if required.contains(&field.as_str()) { "!" } else { "" };
        let marks = marks(field, property);
        writeln!(out, " {field}{mark} {}", property_text(property, &marks).with_context(|| field.clone())?)?;
    }
    Ok(out)
}

/// Types without fields of their own, by what their values may be.
fn bare_type(name: &str, schema: &Value) -> anyhow::Result<String> {
    let short = name.rsplit('.').next().unwrap_or(name);
    Ok(match short {
        "Quantity" => "quantity".to_owned(),
        "IntOrString" => "int-or-string".to_owned(),
        "FieldsV1" | "RawExtension" | "JSON" | "Patch" | "CustomResourceSubresourceStatus" => {
            "any".to_owned()
        }
        "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray" => {
            "any".to_owned()
        }
        _ if schema.get("type").and_then(Value::as_str) == Some("object") => "{}any".to_owned(),
        _ => simple(schema)?,
    })
}

fn property_text(property: &Value, marks: &str) -> anyhow::Result<String> {
    let mut out = value_type(property)?;
    let text = |key: &str| property.get(key).and_then(Value::as_str);
    match text("x-kubernetes-list-type") {
        Some("map") => {
            let keys = property.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
            write!(out, " keys={}", keys.join(","))?;
        }
        Some("set") => out += " set",
        Some("atomic") => out += " atomic",
        _ => {}
    }
    if text("x-kubernetes-map-type") == Some("atomic") {
        out += " atomic";
    }
    if let Some(strategy) = text("x-kubernetes-patch-strategy") {
        write!(out, " patch={strategy}")?;
    }
    if let Some(key) = text("x-kubernetes-patch-merge-key") {
        write!(out, " mergekey={key}")?;
    }
    out += marks;
    // What is empty, zero or false is what an absent field is anyway.
    let says = |value: &&Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_i64() != Some(0),
        Value::Bool(flag) => *flag,
        _ => false,
    };
    if let Some(default) = property.get("default").filter(says) {
        write!(out, " default={default}")?;
    }
    Ok(out)
}

fn value_type(schema: &Value) -> anyhow::Result<String> {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    if let Some(reference) = reference {
        return Ok(reference.strip_prefix(REFERENCE).context("a reference to elsewhere")?.to_owned());
    }
    let empty = Map::new();
    let schema_map = schema.as_object().unwrap_or(&empty);
    if let Some(items) = schema_map.get("items") {
        return Ok(format!("[]{}", value_type(items)?));
    }
    if let Some(values) = schema_map.get("additionalProperties") {
        return Ok(format!("{{}}{}", value_type(values)?));
    }
    simple(schema)
}

fn simple(schema: &Value) -> anyhow::Result<String> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    Ok(match (text("type"), text("format")) {
        (Some("string"), Some("date-time")) => "time",
        (Some("string"), Some("byte")) => "bytes",
        (Some("string"), _) => "string",
        (Some("integer"), Some("int32")) => "int32",
        (Some("integer"), _) => "int64",
        (Some("number"), _) => "number",
        (Some("boolean"), _) => "boolean",
        (Some("object"), _) => "{}any",
        (None, _) => "any",
        (Some(other), _) => bail!("type {other}: expected one that OpenAPI knows"),
    }
    .to_owned())
}
