//! What the API serves: groups, versions, resources, in the old form and the aggregated one.

use crate::kind::{Kind, RESOURCES, Resource};
use serde_json::{Value, json};

/// Version of Kubernetes the twin decides like.
pub const GIT_VERSION: &str = "v1.36.3+kubercarbon";

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// `/version`.
pub fn version() -> Value {
    json!({"major": "1", "minor": "36", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "twin"})
}

/// Groups other than the core one, with their version, in order.
pub fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups: Vec<_> =
        RESOURCES.iter().filter(|r| !r.group.is_empty()).map(|r| (r.group, r.version)).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn of_group<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Resource> + 'a {
    RESOURCES.iter().filter(move |r| r.group == group && r.version == version)
}

/// `/api`.
pub fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn group_value(name: &str, version: &str) -> Value {
    let this = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [this], "preferredVersion": this})
}

/// `/apis`.
pub fn group_list() -> Value {
    let all: Vec<Value> = groups().into_iter().map(|(name, version)| group_value(name, version)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
}

/// `/apis/GROUP`.
pub fn group(name: &str) -> Option<Value> {
    let (name, version) = groups().into_iter().find(|(group, _)| *group == name)?;
    let mut value = group_value(name, version);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Some(value)
}

/// Subresources of a kind: name, kind, group and version where they differ, verbs.
fn subresources(resource: &Resource) -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    let mut all: Vec<(&'static str, &'static str, &'static [&'static str])> = Vec::new();
    if resource.kind == Kind::Pod {
        all.push(("binding", "Binding", &["create"]));
    }
    if resource.status {
        all.push(("status", resource.name, &STATUS_VERBS));
    }
    all
}

/// `/api/v1` (with an empty group) and `/apis/GROUP/VERSION`.
pub fn resources(group: &str, version: &str) -> Option<Value> {
    let mut all = Vec::new();
    for resource in of_group(group, version) {
        let mut entry = json!({"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.name, "verbs": VERBS});
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        all.push(entry);
        for (name, kind, verbs) in subresources(resource) {
            all.push(json!({"name": format!("{}/{name}", resource.plural), "singularName": "", "namespaced": resource.namespaced, "kind": kind, "verbs": verbs}));
        }
    }
    if all.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": all}),
    )
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let kind = |name: &str| json!({"group": group, "version": version, "kind": name});
    let resources: Vec<Value> = of_group(group, version)
        .map(|resource| {
            let mut entry = json!({"resource": resource.plural, "responseKind": kind(resource.name), "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": resource.singular, "verbs": VERBS});
            if !resource.short_names.is_empty() {
                entry["shortNames"] = json!(resource.short_names);
            }
            if !resource.categories.is_empty() {
                entry["categories"] = json!(resource.categories);
            }
            let subresources: Vec<Value> = subresources(resource)
                .into_iter()
                .map(|(name, response, verbs)| {
                    json!({"subresource": name, "responseKind": kind(response), "verbs": verbs})
                })
                .collect();
            if !subresources.is_empty() {
                entry["subresources"] = json!(subresources);
            }
            entry
        })
        .collect();
    json!({"version": version, "freshness": "Current", "resources": resources})
}

/// Aggregated discovery (`apidiscovery.k8s.io/v2`): of `/api` when `core`, else of `/apis`.
pub fn aggregated(core: bool) -> Value {
    let groups = if core { vec![("", "v1")] } else { groups() };
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(group, version)| {
            let meta = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": meta, "versions": [aggregated_version(group, version)]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}
