//! OpenAPI v3 and v2, from the schema's table and the cluster's own definitions: what clients need to validate, to merge
//! and to explain.
//!
//! Leaves out descriptions of built-in types but for what every object has: the table holds facts alone, so `kubectl
//! explain` shows names and types.

use super::discovery;
use super::schema::{Field, KUBERNETES, Shape, Topology, Type};
use crate::kind::{Defined, Kind, Resource, resources};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where types are in a document of version 3, and of version 2.
const V3: &str = "#/components/schemas/";
const V2: &str = "#/definitions/";

/// Where each group version's document is, as `/openapi/v3` lists it. `hash` changes with the contents; `version` is
/// that of the last change of a definition.
pub fn index(customs: &[&Defined], version: u64) -> Value {
    let mut paths = Map::new();
    let built_in = |group: &str| resources().iter().any(|r| r.group == group);
    for (group, one) in all(customs) {
        let path = root(&group, &one);
        let changes = if built_in(&group) { String::new() } else { format!(".{version}") };
        let hash = discovery::GIT_VERSION.replace('+', "-");
        let url = format!("/openapi/v3/{path}?hash={hash}{changes}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

fn all(customs: &[&Defined]) -> Vec<(String, String)> {
    let mut all = vec![(String::new(), "v1".to_owned())];
    for (group, versions) in discovery::groups(customs) {
        all.extend(versions.into_iter().map(|version| (group.clone(), version)));
    }
    all
}

/// `api/v1`, `apis/batch/v1`.
fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn parameters(names: &[&str]) -> Value {
    let each: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
        .collect();
    json!(each)
}

const WRITE: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "pretty"];
const PATCH: [&str; 5] = ["dryRun", "fieldManager", "fieldValidation", "force", "pretty"];
const DELETE: [&str; 4] = ["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
const LIST: [&str; 9] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "watch",
];
const JSON: &[&str] = &["application/json", "application/yaml"];
const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What paths say of a resource, built in or not.
struct Served<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    plural: &'a str,
    namespaced: bool,
    /// Name of its type among the document's schemas.
    type_name: String,
}

impl Served<'_> {
    fn operation(&self, action: &str, names: &[&str], body: &[&str]) -> Value {
        let reference = json!({"$ref": format!("{V3}{}", self.type_name)});
        let mut operation = json!({
            "operationId": format!("{action}{}", self.kind),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": self.group, "version": self.version, "kind": self.kind},
            "parameters": parameters(names),
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        });
        if !body.is_empty() {
            let patches = action == "patch";
            let schema = if patches { json!({"type": "object"}) } else { reference };
            let content: Map<String, Value> =
                body.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect();
            operation["requestBody"] = json!({"content": content, "required": true});
        }
        operation
    }
    fn paths(&self, path: &str, patches: &[&str], paths: &mut Map<String, Value>) {
        let base = if self.namespaced {
            format!("/{path}/namespaces/{{namespace}}/{}", self.plural)
        } else {
            format!("/{path}/{}", self.plural)
        };
        let collection = json!({
            "get": self.operation("list", &LIST, &[]),
            "post": self.operation("post", &WRITE, JSON),
            "delete": self.operation("deletecollection", &DELETE, &[]),
        });
        let item = json!({
            "get": self.operation("get", &["pretty"], &[]),
            "put": self.operation("put", &WRITE, JSON),
            "patch": self.operation("patch", &PATCH, patches),
            "delete": self.operation("delete", &DELETE, &[]),
        });
        paths.insert(base.clone(), collection);
        paths.insert(format!("{base}/{{name}}"), item);
    }
}

fn built_in(resource: &Resource) -> Option<Served<'_>> {
    let id = KUBERNETES.kind(&resource.api_version(), resource.name)?;
    let Resource { group, version, name: kind, plural, namespaced, .. } = *resource;
    Some(Served { group, version, kind, plural, namespaced, type_name: KUBERNETES.get(id).name.clone() })
}

fn custom<'a>(defined: &'a Defined, version: &'a str) -> Served<'a> {
    Served {
        group: &defined.group,
        version,
        kind: &defined.kind,
        plural: &defined.plural,
        namespaced: defined.namespaced,
        type_name: custom_name(defined, version),
    }
}

/// `com.example.stable.v1.CronTab`.
fn custom_name(defined: &Defined, version: &str) -> String {
    let mut parts: Vec<&str> = defined.group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{}", parts.join("."), defined.kind)
}

/// The document of one group version, by its path in [`index()`], e.g. `apis/batch/v1`.
pub fn document(path: &str, customs: &[&Defined]) -> Option<Value> {
    let (group, version) = all(customs).into_iter().find(|(group, version)| root(group, version) == path)?;
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    let mut wanted = BTreeSet::new();
    for resource in resources().iter().filter(|r| r.group == group && r.version == version) {
        if let Some(served) = built_in(resource) {
            served.paths(path, PATCH_TYPES, &mut paths);
            wanted.insert(served.type_name);
        }
    }
    // Kinds that are not resources of their own, such as lists and options.
    let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    wanted.extend(
        KUBERNETES
            .kinds()
            .filter(|(of, ..)| *of == api_version)
            .map(|(.., id)| KUBERNETES.get(id).name.clone()),
    );
    for defined in
        customs.iter().filter(|d| d.group == group && d.version(&version).is_some_and(|v| v.served))
    {
        let served = custom(defined, &version);
        let patches: Vec<&str> = PATCH_TYPES.iter().copied().filter(|t| !t.contains("strategic")).collect();
        served.paths(path, &patches, &mut paths);
        schemas.insert(served.type_name.clone(), custom_schema(defined, &version, V3));
        schemas.insert(format!("{}List", served.type_name), custom_list(defined, &version, V3));
        wanted.insert(OBJECT_META.to_owned());
        wanted.insert(LIST_META.to_owned());
    }
    add_types(wanted, V3, &mut schemas);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": discovery::GIT_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// What the fields say that every object has.
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object.";
const KIND: &str = "Kind is a string value representing the REST resource this object represents.";
const METADATA: &str = "Standard object's metadata.";
const CREATED: &str =
    "CreationTimestamp is a timestamp representing the server time when this object was created.";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// The document of version 2: every type; no paths, which nobody reads there.
pub fn whole(customs: &[&Defined]) -> Value {
    let mut definitions = Map::new();
    add_types(KUBERNETES.types().map(|of| of.name.clone()).collect(), V2, &mut definitions);
    for defined in customs {
        for version in defined.served_versions() {
            let name = custom_name(defined, version);
            definitions.insert(name.clone(), custom_schema(defined, version, V2));
            definitions.insert(format!("{name}List"), custom_list(defined, version, V2));
        }
    }
    let info = json!({"title": "Kubernetes", "version": discovery::GIT_VERSION});
    json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": definitions})
}

/// Adds types and all they mention.
fn add_types(mut wanted: BTreeSet<String>, prefix: &str, schemas: &mut Map<String, Value>) {
    let kinds: BTreeMap<&str, Vec<(&str, &str)>> = KUBERNETES.kinds().fold(
        BTreeMap::new(),
        |mut all: BTreeMap<&str, Vec<(&str, &str)>>, (version, kind, id)| {
            all.entry(KUBERNETES.get(id).name.as_str()).or_default().push((version, kind));
            all
        },
    );
    while let Some(name) = wanted.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        let Some(Shape::Named(id)) = KUBERNETES.named(&name) else { continue };
        let of = KUBERNETES.get(*id);
        let mut schema = type_schema(of, prefix, &mut wanted);
        if let Some(of_kinds) = kinds.get(name.as_str()) {
            let gvk = |(version, kind): &(&str, &str)| {
                let (group, version) = crate::kind::split_version(version);
                json!({"group": group, "version": version, "kind": kind})
            };
            schema["x-kubernetes-group-version-kind"] = of_kinds.iter().map(gvk).collect();
        }
        schemas.insert(name, schema);
    }
}

fn type_schema(of: &Type, prefix: &str, wanted: &mut BTreeSet<String>) -> Value {
    if let Some(alias) = &of.alias {
        return shape_schema(alias, prefix, wanted);
    }
    let mut properties = Map::new();
    for field in &of.fields {
        let mut schema = field_schema(field, prefix, wanted);
        let said = match (field.name.as_str(), of.name.as_str()) {
            ("apiVersion", _) => Some(API_VERSION),
            ("kind", _) => Some(KIND),
            ("metadata", _) => Some(METADATA),
            ("creationTimestamp", OBJECT_META) => Some(CREATED),
            _ => None,
        };
        // Beside a reference of version 2 nothing else counts.
        if let Some(said) = said.filter(|_| schema.get("$ref").is_none()) {
            schema["description"] = json!(said);
        }
        properties.insert(field.name.clone(), schema);
    }
    let mut schema = json!({"type": "object"});
    if !properties.is_empty() {
        schema["properties"] = Value::Object(properties);
    }
    let required: Vec<&str> = of.fields.iter().filter(|f| f.required).map(|f| f.name.as_str()).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if of.atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    schema
}

fn field_schema(field: &Field, prefix: &str, wanted: &mut BTreeSet<String>) -> Value {
    let mut schema = shape_schema(&field.shape, prefix, wanted);
    let lists = matches!(field.shape, Shape::List(_));
    match &field.topology {
        Topology::Atomic if lists => schema["x-kubernetes-list-type"] = json!("atomic"),
        Topology::Atomic => schema["x-kubernetes-map-type"] = json!("atomic"),
        Topology::Set => schema["x-kubernetes-list-type"] = json!("set"),
        Topology::Keyed(keys) if !keys.is_empty() => {
            schema["x-kubernetes-list-type"] = json!("map");
            schema["x-kubernetes-list-map-keys"] = json!(keys);
        }
        Topology::Keyed(_) => {}
    }
    if !field.patch.is_empty() {
        schema["x-kubernetes-patch-strategy"] = json!(field.patch.join(","));
    }
    if let Some(key) = &field.merge_key {
        schema["x-kubernetes-patch-merge-key"] = json!(key);
    }
    if let Some(default) = &field.default {
        schema["default"] = default.clone();
    }
    schema
}

fn shape_schema(shape: &Shape, prefix: &str, wanted: &mut BTreeSet<String>) -> Value {
    match shape {
        Shape::String => json!({"type": "string"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Number => json!({"type": "number", "format": "double"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Time => json!({"type": "string", "format": "date-time"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Quantity if prefix == V2 => json!({"type": "string"}),
        Shape::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Shape::IntOrString if prefix == V2 => json!({"type": "string", "format": "int-or-string"}),
        Shape::IntOrString => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Shape::Any => json!({}),
        Shape::List(of) => json!({"type": "array", "items": shape_schema(of, prefix, wanted)}),
        Shape::Map(of) => json!({"type": "object", "additionalProperties": shape_schema(of, prefix, wanted)}),
        Shape::Named(id) => {
            let name = &KUBERNETES.get(*id).name;
            wanted.insert(name.clone());
            // A reference may not stand beside anything else in version 3.
            let reference = json!({"$ref": format!("{prefix}{name}")});
            if prefix == V3 { json!({"allOf": [reference]}) } else { reference }
        }
    }
}

fn custom_schema(defined: &Defined, version: &str, prefix: &str) -> Value {
    let mut schema = defined.version(version).map(|v| v.schema.clone()).unwrap_or_default();
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    // Version 2 cannot say that an object may have other fields than those it names.
    let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if prefix == V2 && (open || defined.preserves_unknown) {
        schema = json!({"type": "object"});
    } else {
        if prefix == V2 {
            simplify(&mut schema, 0);
        }
        if !schema["properties"].is_object() {
            schema["properties"] = json!({});
        }
        let properties = &mut schema["properties"];
        properties["apiVersion"] = json!({"type": "string", "description": API_VERSION});
        properties["kind"] = json!({"type": "string", "description": KIND});
        let reference = json!({"$ref": format!("{prefix}{OBJECT_META}")});
        properties["metadata"] =
            if prefix == V3 { json!({"allOf": [reference], "description": METADATA}) } else { reference };
    }
    let gvk = json!([{"group": defined.group, "version": version, "kind": defined.kind}]);
    schema["x-kubernetes-group-version-kind"] = gvk;
    schema
}

/// Version 2 knows less: what it cannot say is left out, as Kubernetes leaves it out.
fn simplify(schema: &mut Value, depth: usize) {
    const DEPTH_MAX: usize = 130;
    let Some(map) = schema.as_object_mut().filter(|_| depth < DEPTH_MAX) else { return };
    let is = |map: &Map<String, Value>, key: &str| map.get(key) == Some(&json!(true));
    let (open, either) =
        (is(map, "x-kubernetes-preserve-unknown-fields"), is(map, "x-kubernetes-int-or-string"));
    let nullable = is(map, "nullable");
    for key in ["allOf", "anyOf", "oneOf", "not", "nullable"] {
        map.remove(key);
    }
    if open || nullable {
        for key in ["properties", "items", "additionalProperties"] {
            map.remove(key);
        }
    }
    if either || nullable {
        map.remove("type");
    }
    for inner in
        map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
    {
        simplify(inner, depth + 1);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            simplify(inner, depth + 1);
        }
    }
}

fn custom_list(defined: &Defined, version: &str, prefix: &str) -> Value {
    let reference = |name: &str| json!({"$ref": format!("{prefix}{name}")});
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": reference(LIST_META),
            "items": {"type": "array", "items": reference(&custom_name(defined, version))},
        },
        "x-kubernetes-group-version-kind": [{"group": defined.group, "version": version, "kind": format!("{}List", defined.kind)}],
    })
}

/// Version of the last change of a definition.
pub fn definitions_version(objects: &crate::store::Objects) -> u64 {
    objects.last_version(Kind::document("apiextensions.k8s.io", "customresourcedefinitions"))
}
