//! The roles and bindings every cluster has from the start, read from a table in the binary (`roles-1.36.txt`, made by
//! `cargo xtask roles` from what Kubernetes' own tests hold them to). Its lines:
//!
//! ```text
//! ClusterRole NAME [to=ROLE] [gathers=ROLE]
//! Role NAMESPACE/NAME
//!  VERBS GROUPS RESOURCES [names=NAMES]
//!  VERBS paths=PATHS
//! ClusterRoleBinding NAME KIND/ROLE SUBJECT…
//! RoleBinding NAMESPACE/NAME KIND/ROLE SUBJECT…
//! ```
//!
//! A subject is `User=NAME`, `Group=NAME` or `ServiceAccount=NAMESPACE/NAME`; `core` is the group without a name. Invariant:
//! roles come before what binds them.

use super::GROUP;
use crate::apiserver::request::{Options, Request, Verb};
use crate::kind::Kind;
use serde_json::{Value, json};

const TABLE: &str = include_str!("roles-1.36.txt");
/// Labels by which roles are gathered begin with this.
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// The requests that make them, in order.
pub fn requests() -> Vec<Request> {
    let objects = objects(TABLE).expect("the table in the binary is read by a test");
    let request = |(kind, namespace, body): (Kind, String, Value)| Request {
        verb: Verb::Create,
        kind,
        namespace,
        name: String::new(),
        subresource: None,
        body,
        options: Options::default(),
    };
    objects.into_iter().map(request).collect()
}

fn objects(table: &str) -> Result<Vec<(Kind, String, Value)>, String> {
    let mut all: Vec<(Kind, String, Value)> = Vec::new();
    for (number, line) in table.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let wrong = || format!("line {}: {line:?}: expected a role, a rule or a binding", number + 1);
        match line.strip_prefix(' ') {
            Some(rule) => {
                let (.., role) = all.last_mut().ok_or_else(wrong)?;
                let rules = role["rules"].as_array_mut().ok_or_else(wrong)?;
                rules.push(self::rule(rule).ok_or_else(wrong)?);
            }
            None => all.push(object(line).ok_or_else(wrong)?),
        }
    }
    Ok(all)
}

fn object(line: &str) -> Option<(Kind, String, Value)> {
    let mut words = line.split(' ');
    let (name, place) = (words.next()?, words.next()?);
    let (namespace, own) = match name {
        "Role" | "RoleBinding" => place.split_once('/')?,
        _ => ("", place),
    };
    let kind = Kind::of_object(&format!("{GROUP}/v1"), name)?;
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": name,
        "metadata": {
            "name": own,
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        },
    });
    if name.ends_with("Binding") {
        let (kind, role) = words.next()?.split_once('/')?;
        object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": role});
        let subjects = words.map(subject).collect::<Option<Vec<Value>>>()?;
        if !subjects.is_empty() {
            object["subjects"] = subjects.into();
        }
    } else {
        object["rules"] = json!([]);
        for word in words {
            match word.split_once('=')? {
                ("to", role) => object["metadata"]["labels"][format!("{AGGREGATE}{role}")] = json!("true"),
                ("gathers", role) => {
                    let label = format!("{AGGREGATE}{role}");
                    object["aggregationRule"] =
                        json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
                }
                _ => return None,
            }
        }
    }
    Some((kind, namespace.to_owned(), object))
}

fn subject(word: &str) -> Option<Value> {
    match word.split_once('=')? {
        ("ServiceAccount", place) => {
            let (namespace, name) = place.split_once('/')?;
            Some(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}))
        }
        (kind @ ("User" | "Group"), name) => Some(json!({"apiGroup": GROUP, "kind": kind, "name": name})),
        _ => None,
    }
}

fn rule(line: &str) -> Option<Value> {
    let list = |text: &str| -> Value {
        text.split(',').map(|word| if word == "core" { "" } else { word }).collect::<Vec<_>>().into()
    };
    let words: Vec<&str> = line.split(' ').collect();
    let (verbs, rest) = words.split_first()?;
    let rule = match rest {
        [paths] => json!({"nonResourceURLs": list(paths.strip_prefix("paths=")?)}),
        [groups, resources] => json!({"apiGroups": list(groups), "resources": list(resources)}),
        [groups, resources, names] => {
            let names = list(names.strip_prefix("names=")?);
            json!({"apiGroups": list(groups), "resources": list(resources), "resourceNames": names})
        }
        _ => return None,
    };
    let mut rule = rule;
    rule["verbs"] = list(verbs);
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_what_is_bound_is_there() {
        let all = objects(TABLE).unwrap();
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        for (kind, namespace, binding) in all.iter().filter(|(.., object)| !object["roleRef"].is_null()) {
            let role = &binding["roleRef"];
            let found = all.iter().any(|(_, place, object)| {
                object["kind"] == role["kind"]
                    && name(object) == role["name"]
                    && (role["kind"] == "ClusterRole" || place == namespace)
            });
            assert!(found, "{kind:?} {}: no {role}", name(binding));
        }
        for wanted in ["cluster-admin", "admin", "edit", "view", "system:basic-user", "system:discovery"] {
            assert!(all.iter().any(|(.., object)| name(object) == wanted), "{wanted}");
        }
        assert_eq!(requests().len(), all.len());
    }

    #[test]
    fn what_is_no_role_is_refused() {
        for wrong in
            ["Pod x", " get core pods", "Role x", "ClusterRole x y", "ClusterRoleBinding b ClusterRole/r x=y"]
        {
            assert!(objects(wrong).is_err(), "{wrong}");
        }
        assert!(objects("ClusterRole x\n get").is_err());
    }
}
