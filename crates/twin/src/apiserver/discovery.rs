//! What the API serves: groups, versions, resources, in the old form and the aggregated one; of a cluster's own
//! definitions (`customs`) as of the built-in ones.

use super::metrics;
use crate::kind::{self, Defined, Resource, Subpart, compare_versions};
use serde_json::{Value, json};

/// Version of Kubernetes the twin decides like: [`fleet::Version::SERVER`].
pub const GIT_VERSION: &str = "v1.36.3+kubercarbon";

/// `/version`.
pub fn version() -> Value {
    json!({"major": "1", "minor": "36", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "twin"})
}

/// Groups other than the core one, in order, with their versions, the preferred one first.
pub fn groups(customs: &[&Defined]) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let built_in = resources_of_table().map(|r| (r.group, r.version));
    let custom = customs.iter().flat_map(|d| d.served_versions().map(|v| (d.group.as_str(), v)));
    for (group, version) in built_in.filter(|(group, _)| !group.is_empty()).chain(custom) {
        match groups.iter_mut().find(|(name, _)| name == group) {
            Some((_, versions)) if versions.iter().any(|v| v == version) => {}
            Some((_, versions)) => versions.push(version.to_owned()),
            None => groups.push((group.to_owned(), vec![version.to_owned()])),
        }
    }
    let is_built_in = |group: &str| kind::resources().iter().any(|r| r.group == group);
    for (group, versions) in &mut groups {
        if !is_built_in(group) {
            versions.sort_by(|a, b| compare_versions(a, b));
        }
    }
    groups
}

fn resources_of_table() -> impl Iterator<Item = &'static Resource> {
    kind::resources().iter().chain(metrics::resources())
}

/// `/api`.
pub fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn group_value((name, versions): &(String, Vec<String>)) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// `/apis`.
pub fn group_list(customs: &[&Defined]) -> Value {
    let all: Vec<Value> = groups(customs).iter().map(group_value).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})
}

/// `/apis/GROUP`.
pub fn group(name: &str, customs: &[&Defined]) -> Option<Value> {
    let groups = groups(customs);
    let mut value = group_value(groups.iter().find(|(group, _)| group == name)?);
    value["kind"] = json!("APIGroup");
    value["apiVersion"] = json!("v1");
    Some(value)
}

/// A resource as discovery tells it, built in or not.
struct Told {
    plural: String,
    singular: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
    short_names: Vec<String>,
    categories: Vec<String>,
    parts: Vec<Part>,
}

/// A subresource: name, kind, its group and version where they differ, verbs.
struct Part {
    name: String,
    kind: String,
    of: Option<(String, String)>,
    verbs: Vec<String>,
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn told(resource: &Resource) -> Told {
    let part = |part: &Subpart| Part {
        name: part.name.to_owned(),
        kind: part.kind.to_owned(),
        of: ((part.group, part.version) != (resource.group, resource.version))
            .then(|| (part.group.to_owned(), part.version.to_owned())),
        verbs: owned(&part.verbs),
    };
    Told {
        plural: resource.plural.to_owned(),
        singular: resource.singular.to_owned(),
        kind: resource.name.to_owned(),
        namespaced: resource.namespaced,
        verbs: owned(&resource.verbs),
        short_names: owned(&resource.short_names),
        categories: owned(&resource.categories),
        parts: resource.subresources.iter().filter(|p| SERVED.contains(&p.name)).map(part).collect(),
    }
}

/// Subresources there are here: others need a running container.
const SERVED: [&str; 10] = [
    "approval",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "finalize",
    "log",
    "resize",
    "scale",
    "status",
    "token",
];

fn told_custom(defined: &Defined, version: &str) -> Option<Told> {
    let facts = defined.facts(version)?;
    let verbs = owned(&["get", "patch", "update"]);
    let mut parts = Vec::new();
    if facts.status {
        parts.push(Part {
            name: "status".to_owned(),
            kind: facts.name.clone(),
            of: None,
            verbs: verbs.clone(),
        });
    }
    if facts.scale {
        let of = Some(("autoscaling".to_owned(), "v1".to_owned()));
        parts.push(Part { name: "scale".to_owned(), kind: "Scale".to_owned(), of, verbs });
    }
    Some(Told {
        plural: facts.plural,
        singular: defined.singular.clone(),
        kind: facts.name,
        namespaced: facts.namespaced,
        verbs: owned(&["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]),
        short_names: defined.short_names.clone(),
        categories: defined.categories.clone(),
        parts,
    })
}

fn of_version(group: &str, version: &str, customs: &[&Defined]) -> Vec<Told> {
    let built_in = resources_of_table().filter(|r| r.group == group && r.version == version).map(told);
    let custom = customs.iter().filter(|d| d.group == group).filter_map(|d| told_custom(d, version));
    built_in.chain(custom).collect()
}

/// `/api/v1` (with an empty group) and `/apis/GROUP/VERSION`.
pub fn resources(group: &str, version: &str, customs: &[&Defined]) -> Option<Value> {
    let mut all = Vec::new();
    for resource in of_version(group, version, customs) {
        let mut entry = json!({"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind, "verbs": resource.verbs});
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        all.push(entry);
        for Part { name, kind, of, verbs } in resource.parts {
            let mut entry = json!({"name": format!("{}/{name}", resource.plural), "singularName": "", "namespaced": resource.namespaced, "kind": kind, "verbs": verbs});
            if let Some((group, version)) = of {
                (entry["group"], entry["version"]) = (json!(group), json!(version));
            }
            all.push(entry);
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

fn aggregated_version(group: &str, version: &str, customs: &[&Defined]) -> Value {
    let kind = |(group, version): (&str, &str), name: &str| json!({"group": group, "version": version, "kind": name});
    let own = (group, version);
    let resources: Vec<Value> = of_version(group, version, customs)
        .into_iter()
        .map(|resource| {
            let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
            let mut entry = json!({"resource": resource.plural, "responseKind": kind(own, &resource.kind), "scope": scope, "singularResource": resource.singular, "verbs": resource.verbs});
            if !resource.short_names.is_empty() {
                entry["shortNames"] = json!(resource.short_names);
            }
            if !resource.categories.is_empty() {
                entry["categories"] = json!(resource.categories);
            }
            let part = |part: &Part| {
                let of = part.of.as_ref().map_or(own, |(group, version)| (group.as_str(), version.as_str()));
                json!({"subresource": part.name, "responseKind": kind(of, &part.kind), "verbs": part.verbs})
            };
            let parts: Vec<Value> = resource.parts.iter().map(part).collect();
            if !parts.is_empty() {
                entry["subresources"] = json!(parts);
            }
            entry
        })
        .collect();
    json!({"version": version, "freshness": "Current", "resources": resources})
}

/// Aggregated discovery (`apidiscovery.k8s.io/v2`): of `/api` when `core`, else of `/apis`.
pub fn aggregated(core: bool, customs: &[&Defined]) -> Value {
    let groups = if core { vec![(String::new(), vec!["v1".to_owned()])] } else { groups(customs) };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let meta = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            let versions: Vec<Value> =
                versions.iter().map(|version| aggregated_version(group, version, customs)).collect();
            json!({"metadata": meta, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_kubelets_are_held_against() {
        assert_eq!(GIT_VERSION, format!("{}+kubercarbon", fleet::Version::SERVER));
    }
}
