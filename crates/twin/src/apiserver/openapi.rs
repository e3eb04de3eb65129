//! OpenAPI v3 as clients need it to know that field validation is supported.
//!
//! The documents name every path, its verbs, kind and query parameters. Leaves out schemas of the types:
//! clients take those of built-in kinds from their own tables; `kubectl explain` has nothing to show.

use super::discovery;
use crate::kind::{RESOURCES, Resource};
use serde_json::{Map, Value, json};

/// Where each group version's document is, as `/openapi/v3` lists it. `hash` changes with the contents.
pub fn index() -> Value {
    let mut paths = Map::new();
    for (group, version) in all() {
        let path = root(group, version);
        let url = format!("/openapi/v3/{path}?hash={}", discovery::GIT_VERSION.replace('+', "-"));
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

fn all() -> Vec<(&'static str, &'static str)> {
    let mut all = vec![("", "v1")];
    all.extend(discovery::groups());
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

fn operation(resource: &Resource, action: &str, names: &[&str], body: Option<&[&str]>) -> Value {
    let gvk = json!({"group": resource.group, "version": resource.version, "kind": resource.name});
    let mut operation = json!({
        "operationId": format!("{action}{}", resource.name),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
        "parameters": parameters(names),
        "responses": {"200": {"description": "OK"}},
    });
    if let Some(types) = body {
        let content: Map<String, Value> =
            types.iter().map(|t| ((*t).to_owned(), json!({"schema": {"type": "object"}}))).collect();
        operation["requestBody"] = json!({"content": content, "required": true});
    }
    operation
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
/// Strategic merge is not listed: kubectl then uses its own tables of merge keys, which are complete.
const PATCH_TYPES: [&str; 2] = ["application/json-patch+json", "application/merge-patch+json"];

/// The document of one group version, by its path in [`index()`], e.g. `apis/batch/v1`.
pub fn document(path: &str) -> Option<Value> {
    let (group, version) = all().into_iter().find(|(group, version)| root(group, version) == path)?;
    let mut paths = Map::new();
    for resource in RESOURCES.iter().filter(|r| r.group == group && r.version == version) {
        let base = if resource.namespaced {
            format!("/{path}/namespaces/{{namespace}}/{}", resource.plural)
        } else {
            format!("/{path}/{}", resource.plural)
        };
        let json_only: &[&str] = &["application/json"];
        let collection = json!({
            "get": operation(resource, "list", &LIST, None),
            "post": operation(resource, "post", &WRITE, Some(json_only)),
            "delete": operation(resource, "deletecollection", &DELETE, None),
        });
        let item = json!({
            "get": operation(resource, "get", &["pretty"], None),
            "put": operation(resource, "put", &WRITE, Some(json_only)),
            "patch": operation(resource, "patch", &PATCH, Some(&PATCH_TYPES)),
            "delete": operation(resource, "delete", &DELETE, None),
        });
        paths.insert(base.clone(), collection);
        paths.insert(format!("{base}/{{name}}"), item);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": discovery::GIT_VERSION},
        "paths": paths,
        "components": {"schemas": {}},
    }))
}
