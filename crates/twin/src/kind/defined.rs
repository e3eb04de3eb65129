//! What a CustomResourceDefinition defines, read from its document once a version of it.
//!
//! Leaves out conversion webhooks: versions of a custom resource differ in `apiVersion` alone.

use super::Kind;
use super::custom::Facts;
use crate::apiserver::custom::Compiled;
use serde_json::Value;
use std::cmp::Ordering;

/// A resource that a cluster's definition defines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defined {
    /// API group.
    pub group: String,
    /// Name in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Kind as objects carry it.
    pub kind: String,
    /// Short names kubectl knows.
    pub short_names: Vec<String>,
    /// Groups such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether fields no schema names are kept.
    pub preserves_unknown: bool,
    /// Its versions, as written.
    pub versions: Vec<Version>,
}

/// A version of a custom resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Version {
    /// Its name.
    pub name: String,
    /// Whether there are paths for it.
    pub served: bool,
    /// What is said when it is used, if it is deprecated.
    pub warning: Option<String>,
    /// `openAPIV3Schema`; null when there is none.
    pub schema: Value,
    /// Whether there is a `status` subresource.
    pub status: bool,
    /// JSON paths of the `scale` subresource: replicas wanted, replicas there are, selector.
    pub scale: Option<(String, String, Option<String>)>,
    /// `additionalPrinterColumns`, as written.
    pub columns: Vec<Value>,
    /// JSON paths of fields objects can be selected by.
    pub selectable: Vec<String>,
    /// Its rules, compiled.
    pub(crate) rules: Compiled,
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    list(value, pointer).filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Defined {
    /// From a definition's `spec`.
    pub fn read(spec: &Value) -> Defined {
        Defined {
            group: text(spec, "/group"),
            plural: text(spec, "/names/plural"),
            singular: text(spec, "/names/singular"),
            kind: text(spec, "/names/kind"),
            short_names: texts(spec, "/names/shortNames"),
            categories: texts(spec, "/names/categories"),
            namespaced: text(spec, "/scope") == "Namespaced",
            preserves_unknown: spec.get("preserveUnknownFields") == Some(&Value::Bool(true)),
            versions: list(spec, "/versions").map(Version::read).collect(),
        }
    }
    /// A version by its name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }
    /// Names of versions there are paths for, as written.
    pub fn served_versions(&self) -> impl Iterator<Item = &str> {
        self.versions.iter().filter(|v| v.served).map(|v| v.name.as_str())
    }
    /// The facts of a version that is served.
    pub fn facts(&self, version: &str) -> Option<Facts> {
        let found = self.version(version).filter(|version| version.served)?;
        Some(Facts {
            group: self.group.clone(),
            version: found.name.clone(),
            plural: self.plural.clone(),
            name: self.kind.clone(),
            namespaced: self.namespaced,
            status: found.status,
            scale: found.scale.is_some(),
        })
    }
    /// The kind of a version that is served.
    pub fn served(&self, version: &str) -> Option<Kind> {
        Kind::custom(&self.facts(version)?)
    }
    /// The kind its objects are stored as.
    pub fn stored(&self) -> Option<Kind> {
        let version = self.versions.first()?;
        let facts = Facts { version: String::new(), status: false, scale: false, ..self.facts_of(version) };
        Kind::custom(&facts)
    }
    fn facts_of(&self, version: &Version) -> Facts {
        Facts {
            group: self.group.clone(),
            version: version.name.clone(),
            plural: self.plural.clone(),
            name: self.kind.clone(),
            namespaced: self.namespaced,
            status: version.status,
            scale: version.scale.is_some(),
        }
    }
}

impl Version {
    fn read(version: &Value) -> Version {
        let path = |name: &str| text(version, &format!("/subresources/scale/{name}"));
        let scale = version.pointer("/subresources/scale").map(|_| {
            let selector = path("labelSelectorPath");
            (path("specReplicasPath"), path("statusReplicasPath"), (!selector.is_empty()).then_some(selector))
        });
        let deprecated = version.get("deprecated") == Some(&Value::Bool(true));
        Version {
            name: text(version, "/name"),
            served: version.get("served") == Some(&Value::Bool(true)),
            warning: deprecated.then(|| text(version, "/deprecationWarning")),
            schema: version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default(),
            status: version.pointer("/subresources/status").is_some(),
            scale,
            columns: list(version, "/additionalPrinterColumns").cloned().collect(),
            selectable: list(version, "/selectableFields").map(|field| text(field, "/jsonPath")).collect(),
            rules: Compiled::default(),
        }
    }
}

/// The order of versions in discovery: `v10`, `v2`, `v1`, `v11beta2`, `v10beta3`, `v3beta1`, `v12alpha1`, then others
/// by name.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parts(a), parts(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability (2 stable, 1 beta, 0 alpha), major and minor number.
fn parts(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    let rest = &rest[end..];
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (stability, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(minor), _) => (1, minor),
        (None, Some(minor)) => (0, minor),
        (None, None) => return None,
    };
    Some((stability, major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_definition_is_read_and_its_versions_are_in_order() {
        let spec = json!({"group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"]},
            "versions": [{"name": "v1beta1", "served": false}, {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}}]});
        let defined = Defined::read(&spec);
        assert_eq!(defined.served_versions().collect::<Vec<_>>(), ["v1"]);
        assert!(defined.served("v1beta1").is_none());
        let kind = defined.served("v1").unwrap();
        assert!(kind.resource().status && kind.resource().scale && kind.resource().namespaced);
        assert_eq!(Some(kind.stored()), defined.stored());
        let mut names = vec!["foo1", "v1alpha1", "v3beta1", "v1", "v10", "v2", "v11beta2", "foo10"];
        names.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(names, ["v10", "v2", "v1", "v11beta2", "v3beta1", "v1alpha1", "foo1", "foo10"]);
    }
}
