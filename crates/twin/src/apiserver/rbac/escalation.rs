//! Nobody gives away more than they have: what is checked when roles and bindings are written.
//!
//! Whoever writes a role must have every right in it, or the verb `escalate` on it; whoever binds one, every right of the role,
//! or the verb `bind` on it. A role that gathers others may gather anything, and takes all rights.

use super::{Asked, GROUP, covers_path, decide, list, rules_at, rules_of};
use crate::apiserver::request::Request;
use crate::apiserver::status::Status;
use crate::apiserver::user::{MASTERS, User};
use crate::store::Objects;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most single rights a role is taken apart into: a role of 1.5 MB could say far more.
const RIGHTS_MAX: usize = 100_000;

/// One right: nothing in it is a list, apart from names, which are one or none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To do something with objects.
    Objects {
        /// API group.
        group: String,
        /// Plural, with a subresource behind it.
        resource: String,
        /// Of one name; `None`: of any.
        name: Option<String>,
        /// What.
        verb: String,
    },
    /// To do something with a path.
    Path {
        /// Which, `*` at its end takes in all that go on from there.
        path: String,
        /// What.
        verb: String,
    },
}

/// Takes a rule apart, up to [`RIGHTS_MAX`] rights in all; whether all of it went in.
fn take_apart(rule: &Value, rights: &mut Vec<Right>) -> bool {
    let names: Vec<Option<String>> = list(rule, "resourceNames").map(|name| Some(name.to_owned())).collect();
    let names = if names.is_empty() { vec![None] } else { names };
    let objects = list(rule, "apiGroups").flat_map(|group| {
        list(rule, "resources").map(move |resource| (group.to_owned(), resource.to_owned()))
    });
    for (group, resource) in objects {
        for verb in list(rule, "verbs") {
            for name in &names {
                let (group, resource) = (group.clone(), resource.clone());
                rights.push(Right::Objects { group, resource, name: name.clone(), verb: verb.to_owned() });
                if rights.len() > RIGHTS_MAX {
                    return false;
                }
            }
        }
    }
    for path in list(rule, "nonResourceURLs") {
        for verb in list(rule, "verbs") {
            rights.push(Right::Path { path: path.to_owned(), verb: verb.to_owned() });
            if rights.len() > RIGHTS_MAX {
                return false;
            }
        }
    }
    true
}

/// Whether a rule has all of a right in it.
pub fn covers(rule: &Value, right: &Right) -> bool {
    let has = |key: &str, wanted: &str| list(rule, key).any(|item| item == "*" || item == wanted);
    match right {
        Right::Path { path, verb } => {
            has("verbs", verb) && list(rule, "nonResourceURLs").any(|own| covers_path(own, path))
        }
        Right::Objects { group, resource, name, verb } => {
            let part = resource.split_once('/').map(|(_, part)| format!("*/{part}"));
            let whole = |own: &str| own == "*" || own == resource || part.as_deref() == Some(own);
            let mut names = list(rule, "resourceNames").peekable();
            let named =
                names.peek().is_none() || name.as_deref().is_some_and(|name| names.any(|own| own == name));
            has("verbs", verb) && has("apiGroups", group) && list(rule, "resources").any(whole) && named
        }
    }
}

/// Rights that none of the rules has; `None` when there are too many to look at.
pub fn missing(own: &[&Value], wanted: &[Value]) -> Option<Vec<Right>> {
    let mut rights = Vec::new();
    if !wanted.iter().all(|rule| take_apart(rule, &mut rights)) {
        return None;
    }
    rights.retain(|right| !own.iter().any(|rule| covers(rule, right)));
    Some(rights)
}

/// Rights in the words of the refusal, those on one thing together.
fn described(rights: &[Right]) -> BTreeSet<String> {
    let mut by_object: BTreeMap<(&str, &str, Option<&str>), Vec<&str>> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    for right in rights {
        match right {
            Right::Objects { group, resource, name, verb } => {
                by_object.entry((group, resource, name.as_deref())).or_default().push(verb);
            }
            Right::Path { path, verb } => {
                lines.insert(format!("{{NonResourceURLs:[{path:?}], Verbs:[{verb:?}]}}"));
            }
        }
    }
    for ((group, resource, name), verbs) in by_object {
        let verbs: Vec<String> = verbs.iter().map(|verb| format!("{verb:?}")).collect();
        let names = name.map(|name| format!(", ResourceNames:[{name:?}]")).unwrap_or_default();
        lines.insert(format!(
            "{{APIGroups:[{group:?}], Resources:[{resource:?}]{names}, Verbs:[{}]}}",
            verbs.join(" ")
        ));
    }
    lines
}

/// Lets pass rules the user has all rights of. The error is in words.
fn confirm(objects: &Objects, user: &User, namespace: &str, rules: &[Value]) -> Result<(), String> {
    let own = rules_of(objects, user, namespace);
    let missing = missing(&own, rules)
        .ok_or_else(|| format!("more than {RIGHTS_MAX} single rights in one role: too many to compare"))?;
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let lines: Vec<String> = described(&missing).into_iter().collect();
    Err(format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lines.join("\n")
    ))
}

/// Lets a write of a role or a binding pass, if its writer has what it gives; all other writes as well.
pub(crate) fn check(
    objects: &Objects,
    request: &Request,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), Status> {
    let resource = request.kind.resource();
    let Some(caller) = request.options.caller.as_deref().filter(|caller| caller.rbac) else { return Ok(()) };
    let user = &caller.user;
    if resource.group != GROUP || user.is_in(MASTERS) || old.is_some_and(|old| only_let_go(old, new)) {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let forbidden = |why: String| Status::forbidden(resource, name, &why);
    let namespace = request.namespace.as_str();
    let may = |verb: &str, resource: &str, name: &str| {
        let asked = Asked::Objects { group: GROUP, resource, subresource: "", namespace, name };
        decide(objects, user, verb, &asked).allowed
    };
    if resource.plural.ends_with("bindings") {
        let text = |key: &str| new["roleRef"][key].as_str().unwrap_or_default();
        let (kind, role) = (text("kind"), text("name"));
        if may("bind", if kind == "Role" { "roles" } else { "clusterroles" }, role) {
            return Ok(());
        }
        let rules = rules_at(objects, kind, namespace, role)?;
        return confirm(objects, user, namespace, rules).map_err(forbidden);
    }
    if may("escalate", resource.plural, &request.name) {
        return Ok(());
    }
    let rules = new["rules"].as_array().map_or(&[][..], Vec::as_slice);
    confirm(objects, user, namespace, rules).map_err(forbidden)?;
    let gathers = |role: &Value| {
        role["aggregationRule"]["clusterRoleSelectors"].as_array().is_some_and(|all| !all.is_empty())
    };
    if gathers(new) || old.is_some_and(gathers) {
        let all = [
            json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
            json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
        ];
        let why = "must have cluster-admin privileges to use the aggregationRule";
        confirm(objects, user, namespace, &all).map_err(|_| forbidden(why.to_owned()))?;
    }
    Ok(())
}

/// Whether a write changes nothing but what garbage collection does: owners and finalizers.
fn only_let_go(old: &Value, new: &Value) -> bool {
    let rest = |doc: &Value| {
        let mut doc = doc.clone();
        if let Some(meta) = doc["metadata"].as_object_mut() {
            for key in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                meta.remove(key);
            }
        }
        doc
    };
    old != new && rest(old) == rest(new)
}
