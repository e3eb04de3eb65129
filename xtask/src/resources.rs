//! `cargo xtask resources DIR`: the table of resources that the twin's API serves (`twin::kind`), from the discovery
//! documents of Kubernetes' own source tree (`api/discovery`).
//!
//! Only facts are kept: names, scope, verbs, subresources. The same documents give the same bytes.

use anyhow::Context;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Groups in the order discovery lists them, with the versions the twin serves, the preferred one first.
const SERVED: [(&str, &[&str]); 21] = [
    ("", &["v1"]),
    ("apiregistration.k8s.io", &["v1"]),
    ("apps", &["v1"]),
    ("events.k8s.io", &["v1"]),
    ("authentication.k8s.io", &["v1"]),
    ("authorization.k8s.io", &["v1"]),
    ("autoscaling", &["v2", "v1"]),
    ("batch", &["v1"]),
    ("certificates.k8s.io", &["v1"]),
    ("networking.k8s.io", &["v1"]),
    ("policy", &["v1"]),
    ("rbac.authorization.k8s.io", &["v1"]),
    ("storage.k8s.io", &["v1"]),
    ("admissionregistration.k8s.io", &["v1"]),
    ("apiextensions.k8s.io", &["v1"]),
    ("scheduling.k8s.io", &["v1"]),
    ("coordination.k8s.io", &["v1"]),
    ("node.k8s.io", &["v1"]),
    ("discovery.k8s.io", &["v1"]),
    ("resource.k8s.io", &["v1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1"]),
];

/// The table, from the documents in `dir`; `version` is Kubernetes' own, for the head.
pub fn table(dir: &Path, version: &str) -> anyhow::Result<String> {
    let mut out = format!(
        "# Resources of the Kubernetes API {version}: made by `cargo xtask resources`; the format is told in kind/table.rs.\n"
    );
    for (group, versions) in SERVED {
        for version in versions {
            let file = if group.is_empty() {
                format!("api__{version}.json")
            } else {
                format!("apis__{group}__{version}.json")
            };
            let path = dir.join(file);
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let document: Value =
                serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
            let resources = document.get("resources").and_then(Value::as_array);
            let resources = resources.with_context(|| format!("{}: no resources", path.display()))?;
            let slash = if group.is_empty() { "" } else { "/" };
            for resource in resources {
                line(&mut out, &format!("{group}{slash}{version}"), resource)
                    .with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(out)
}

/// One resource, or one subresource of the resource before.
fn line(out: &mut String, group_version: &str, resource: &Value) -> anyhow::Result<()> {
    let text = |key: &str| resource.get(key).and_then(Value::as_str).unwrap_or_default();
    let list = |key: &str| {
        let list = resource.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
    };
    let (name, kind, verbs) = (text("name"), text("kind"), list("verbs"));
    if let Some((_, part)) = name.split_once('/') {
        write!(out, " {part} {kind} {verbs}")?;
        if !text("version").is_empty() {
            let slash = if text("group").is_empty() { "" } else { "/" };
            write!(out, " of={}{slash}{}", text("group"), text("version"))?;
        }
        out.push('\n');
        return Ok(());
    }
    let namespaced = resource.get("namespaced").and_then(Value::as_bool).context("namespaced")?;
    let scope = if namespaced { "namespaced" } else { "cluster" };
    write!(out, "{group_version} {name} {kind} {} {scope} {verbs}", text("singularName"))?;
    for (key, field) in [("short", "shortNames"), ("in", "categories")] {
        let names = list(field);
        if !names.is_empty() {
            write!(out, " {key}={names}")?;
        }
    }
    out.push('\n');
    Ok(())
}
