//! `cargo xtask roles DIR VERSION`: the table of roles and bindings every cluster has from the start (`twin::apiserver::rbac`),
//! from the documents that Kubernetes' own tests hold them to (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy/testdata`).
//!
//! Only facts are kept, in the form told in `rbac/bootstrap.rs`. The same documents give the same bytes.

use anyhow::{Context, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// The documents, roles before what binds them.
const FILES: [&str; 6] = [
    "cluster-roles.yaml",
    "controller-roles.yaml",
    "namespace-roles.yaml",
    "cluster-role-bindings.yaml",
    "controller-role-bindings.yaml",
    "namespace-role-bindings.yaml",
];
/// Labels by which roles are gathered begin with this.
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// The table, from the documents in `dir`; `version` is Kubernetes' own, for the head.
pub fn table(dir: &Path, version: &str) -> anyhow::Result<String> {
    let mut out = format!(
        "# Roles of Kubernetes {version}: made by `cargo xtask roles`; the format is told in rbac/bootstrap.rs.\n"
    );
    for file in FILES {
        let path = dir.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let list: Value =
            serde_saphyr::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        let items = list.get("items").and_then(Value::as_array);
        for item in items.with_context(|| format!("{}: no items", path.display()))? {
            line(&mut out, item).with_context(|| path.display().to_string())?;
        }
    }
    Ok(out)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn entries<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn line(out: &mut String, item: &Value) -> anyhow::Result<()> {
    let (kind, name, namespace) =
        (text(item, "/kind"), text(item, "/metadata/name"), text(item, "/metadata/namespace"));
    let place = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    write!(out, "{kind} {place}")?;
    match kind {
        "ClusterRole" | "Role" => {
            let labels = item.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
            for to in labels.filter_map(|(key, _)| key.strip_prefix(AGGREGATE)) {
                write!(out, " to={to}")?;
            }
            for selector in entries(item, "/aggregationRule/clusterRoleSelectors") {
                let keys = selector["matchLabels"].as_object().into_iter().flatten();
                for from in keys.filter_map(|(key, _)| key.strip_prefix(AGGREGATE)) {
                    write!(out, " gathers={from}")?;
                }
            }
            out.push('\n');
            for rule in entries(item, "/rules") {
                writeln!(out, " {}", written(rule)?)?;
            }
        }
        "ClusterRoleBinding" | "RoleBinding" => {
            write!(out, " {}/{}", text(item, "/roleRef/kind"), text(item, "/roleRef/name"))?;
            for subject in entries(item, "/subjects") {
                let namespace = text(subject, "/namespace");
                let slash = if namespace.is_empty() { "" } else { "/" };
                write!(out, " {}={namespace}{slash}{}", text(subject, "/kind"), text(subject, "/name"))?;
            }
            out.push('\n');
        }
        other => bail!("{place}: kind {other:?}: expected a role or a binding"),
    }
    Ok(())
}

/// A rule: verbs, then groups and resources, or paths.
fn written(rule: &Value) -> anyhow::Result<String> {
    let list = |key: &str| -> anyhow::Result<String> {
        let words: Vec<&str> = entries(rule, &format!("/{key}")).filter_map(Value::as_str).collect();
        if words.iter().any(|word| word.contains([' ', ','])) {
            bail!("{key}: {words:?}: expected words without spaces and commas");
        }
        Ok(words.iter().map(|word| if word.is_empty() { "core" } else { word }).collect::<Vec<_>>().join(","))
    };
    if rule.get("nonResourceURLs").is_some() {
        return Ok(format!("{} paths={}", list("verbs")?, list("nonResourceURLs")?));
    }
    let mut line = format!("{} {} {}", list("verbs")?, list("apiGroups")?, list("resources")?);
    if rule.get("resourceNames").is_some() {
        write!(line, " names={}", list("resourceNames")?)?;
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_role_and_a_binding_are_a_few_words() {
        let mut out = String::new();
        let role = json!({"kind": "ClusterRole", "metadata": {"name": "x:y", "labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
            "rules": [{"apiGroups": ["", "apps"], "resources": ["pods/log"], "resourceNames": ["a"], "verbs": ["get", "list"]},
                      {"nonResourceURLs": ["/api/*"], "verbs": ["get"]}]});
        line(&mut out, &role).unwrap();
        let binding = json!({"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "n"}, "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "m"}]});
        line(&mut out, &binding).unwrap();
        assert_eq!(
            out,
            "ClusterRole x:y to=edit\n get,list core,apps pods/log names=a\n get paths=/api/*\nRoleBinding n/b Role/r User=u ServiceAccount=m/s\n"
        );
        assert!(line(&mut out, &json!({"kind": "Pod"})).is_err());
    }
}
