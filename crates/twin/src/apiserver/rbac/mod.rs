//! Role-based access control: who may do what, by the cluster's own Roles and bindings.
//!
//! A request is allowed when a rule allows it that is bound to the user or to a group of theirs; nothing forbids. Members
//! of `system:masters` may do everything. [`escalation`] holds whoever writes roles and bindings to what they may do
//! themselves, [`bootstrap`] has what every cluster has from the start. Invariant: judging changes nothing. Facts:
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>.

pub mod bootstrap;
pub mod escalation;
pub mod review;

use super::status::Status;
use super::user::{self, MASTERS, User};
use crate::kind::Kind;
use crate::object::Document;
use crate::store::{Objects, Stored};
use serde_json::Value;

/// API group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// Something with objects.
    Objects {
        /// API group.
        group: &'a str,
        /// Plural.
        resource: &'a str,
        /// Empty: the object itself.
        subresource: &'a str,
        /// Empty: of all namespaces, or of a cluster-scoped resource.
        namespace: &'a str,
        /// Empty: none in particular.
        name: &'a str,
    },
    /// Something with a path that leads to no objects.
    Path(&'a str),
}

/// What comes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether they may.
    pub allowed: bool,
    /// Which binding allows it; else which roles were named and not found. Empty where there is nothing to say.
    pub reason: String,
}

/// Whether `user` may do `verb`, and why.
pub fn decide(objects: &Objects, user: &User, verb: &str, asked: &Asked<'_>) -> Decision {
    if user.is_in(MASTERS) {
        return Decision { allowed: true, reason: String::new() };
    }
    let mut missing = Vec::new();
    for bound in bound(objects, user, asked) {
        match bound.rules(objects) {
            Ok(rules) if rules.iter().any(|rule| allows(rule, verb, asked)) => {
                return Decision { allowed: true, reason: bound.reason() };
            }
            Ok(_) => {}
            Err(why) => missing.push(why),
        }
    }
    let reason = match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        _ => format!("RBAC: [{}]", missing.join(", ")),
    };
    Decision { allowed: false, reason }
}

/// Lets pass what `user` may do.
///
/// # Errors
/// The refusal, in the API server's words.
pub fn check(objects: &Objects, user: &User, verb: &str, asked: &Asked<'_>) -> Result<(), Status> {
    let decision = decide(objects, user, verb, asked);
    if decision.allowed { Ok(()) } else { Err(refusal(user, verb, asked, &decision.reason)) }
}

/// The refusal of what `user` may not do.
fn refusal(user: &User, verb: &str, asked: &Asked<'_>, reason: &str) -> Status {
    let who = &user.name;
    let tail = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let (message, group, resource, name) = match asked {
        Asked::Path(path) => {
            (format!("forbidden: User {who:?} cannot {verb} path {path:?}{tail}"), "", "", "")
        }
        Asked::Objects { group, resource, subresource, namespace, name } => {
            let part = if subresource.is_empty() {
                (*resource).to_owned()
            } else {
                format!("{resource}/{subresource}")
            };
            let what = if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
            let one = if name.is_empty() { String::new() } else { format!(" {name:?}") };
            let scope = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {namespace:?}")
            };
            let message = format!(
                "{what}{one} is forbidden: User {who:?} cannot {verb} resource {part:?} in API group {group:?} {scope}{tail}"
            );
            (message, *group, *resource, *name)
        }
    };
    let status = Status::new(403, "Forbidden", message);
    Status { group: group.to_owned(), kind: resource.to_owned(), name: name.to_owned(), ..status }
}

/// The rules that hold for a user in a namespace (empty: in none), of objects and of paths.
pub fn rules_of<'o>(objects: &'o Objects, user: &User, namespace: &str) -> Vec<&'o Value> {
    let asked = Asked::Objects { group: "", resource: "", subresource: "", namespace, name: "" };
    bound(objects, user, &asked).iter().filter_map(|bound| bound.rules(objects).ok()).flatten().collect()
}

/// The rules of a role that a binding in `namespace` (empty: of the cluster) refers to. The error is in words.
pub(crate) fn rules_at<'o>(
    objects: &'o Objects,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<&'o [Value], Status> {
    let (plural, namespace, singular) = match kind {
        "Role" => ("roles", namespace, "role"),
        "ClusterRole" => ("clusterroles", "", "clusterrole"),
        _ => {
            let why = format!("unsupported role reference kind: {kind:?}");
            return Err(Status::new(500, "InternalError", why));
        }
    };
    let stored = objects.get(Kind::document(GROUP, plural), namespace, name);
    let role = stored.and_then(|stored| stored.object.as_document()).ok_or_else(|| Status {
        name: name.to_owned(),
        group: GROUP.to_owned(),
        kind: singular.to_owned(),
        ..Status::new(404, "NotFound", format!("{singular}.{GROUP} {name:?} not found"))
    })?;
    Ok(role.body.get("rules").and_then(Value::as_array).map_or(&[], Vec::as_slice))
}

/// A binding that names the user, with where it stands.
struct Bound<'o> {
    binding: &'o Document,
    /// Empty: of the whole cluster.
    namespace: &'o str,
    subject: String,
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Bindings that bear on what is asked and name the user, those of the cluster first.
fn bound<'o>(objects: &'o Objects, user: &User, asked: &Asked<'_>) -> Vec<Bound<'o>> {
    let mut found = Vec::new();
    let mut look = |stored: &'o Stored| {
        let Some(binding) = stored.object.as_document() else { return };
        let namespace = stored.object.namespace();
        let subjects = binding.body.get("subjects").and_then(Value::as_array).into_iter().flatten();
        if let Some(subject) = subjects.into_iter().find_map(|subject| names(subject, user, namespace)) {
            found.push(Bound { binding, namespace, subject });
        }
    };
    objects.list(Kind::document(GROUP, "clusterrolebindings"), None).for_each(|stored| look(stored));
    if let Asked::Objects { namespace, .. } = asked
        && !namespace.is_empty()
    {
        let local = objects.list(Kind::document(GROUP, "rolebindings"), Some(namespace));
        local.for_each(|stored| look(stored));
    }
    found
}

/// How a subject names the user, if it does.
fn names(subject: &Value, user: &User, namespace: &str) -> Option<String> {
    let name = text(subject, "name");
    match text(subject, "kind") {
        "User" => (name == user.name).then(|| format!("User {name:?}")),
        "Group" => user.is_in(name).then(|| format!("Group {name:?}")),
        "ServiceAccount" => {
            let stated = text(subject, "namespace");
            let namespace = if stated.is_empty() { namespace } else { stated };
            let is = user::account(&user.name) == Some((namespace, name));
            is.then(|| format!("ServiceAccount \"{name}/{namespace}\""))
        }
        _ => None,
    }
}

impl<'o> Bound<'o> {
    fn role(&self) -> (&'o str, &'o str) {
        let role = self.binding.body.get("roleRef");
        role.map_or(("", ""), |role| (text(role, "kind"), text(role, "name")))
    }

    /// The rules of the role it binds to. The error is in words.
    fn rules(&self, objects: &'o Objects) -> Result<&'o [Value], String> {
        let (kind, name) = self.role();
        rules_at(objects, kind, self.namespace, name).map_err(|status| status.message)
    }

    fn reason(&self) -> String {
        let (kind, name) = self.role();
        let own = self.binding.metadata.name.as_deref().unwrap_or_default();
        let binding = match self.namespace {
            "" => format!("ClusterRoleBinding {own:?}"),
            namespace => format!("RoleBinding \"{own}/{namespace}\""),
        };
        format!("RBAC: allowed by {binding} of {kind} {name:?} to {}", self.subject)
    }
}

/// Texts of a list of a rule.
pub(crate) fn list<'v>(rule: &'v Value, key: &str) -> impl Iterator<Item = &'v str> + use<'v> {
    rule.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a list has `wanted`, or all.
fn has(rule: &Value, key: &str, wanted: &str) -> bool {
    list(rule, key).any(|item| item == "*" || item == wanted)
}

/// Whether a path of a rule, which may end in `*`, takes in another.
fn covers_path(own: &str, path: &str) -> bool {
    own == path || (own.ends_with('*') && path.starts_with(own.trim_end_matches('*')))
}

/// Whether one rule allows it.
pub fn allows(rule: &Value, verb: &str, asked: &Asked<'_>) -> bool {
    if !has(rule, "verbs", verb) {
        return false;
    }
    match asked {
        Asked::Path(path) => list(rule, "nonResourceURLs").any(|own| covers_path(own, path)),
        Asked::Objects { group, resource, subresource, name, .. } => {
            let whole = |item: &str| {
                let part = item.strip_prefix(*resource).and_then(|rest| rest.strip_prefix('/'));
                item == "*"
                    || if subresource.is_empty() {
                        item == *resource
                    } else {
                        part == Some(subresource) || item.strip_prefix("*/") == Some(subresource)
                    }
            };
            let names = rule.get("resourceNames").and_then(Value::as_array).filter(|names| !names.is_empty());
            has(rule, "apiGroups", group)
                && list(rule, "resources").any(whole)
                && names.is_none_or(|names| names.iter().any(|wanted| wanted.as_str() == Some(*name)))
        }
    }
}

#[cfg(test)]
mod tests;
