//! Lists: selectors, pages, and which version they show.
//!
//! All pages of a list show the version of its first page, rebuilt from the history; once that no longer reaches back for the
//! kind, or more than five to ten minutes have passed, the answer is 410, with a token by which the list goes on from the same place as of now.

use super::selector::Selectors;
use super::status::{Cause, Status};
use crate::kind::{Kind, Resource};
use crate::store::{Change, Objects, Stored};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How `resourceVersion` of a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// At least that version.
    NotOlderThan,
    /// Exactly that version.
    Exact,
}

/// What a list asks for.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// `None`: all namespaces, or a cluster-scoped kind.
    pub namespace: Option<String>,
    /// Label selector; empty selects all.
    pub label_selector: String,
    /// Field selector; empty selects all.
    pub field_selector: String,
    /// Objects a page; `None` or 0: all.
    pub limit: Option<usize>,
    /// Token of the page before.
    pub continue_token: Option<String>,
    /// `resourceVersion`; `None`, empty or `0`: the newest.
    pub resource_version: Option<String>,
    /// `resourceVersionMatch`.
    pub version_match: Option<VersionMatch>,
}

/// A list, or a page of one.
#[derive(Clone, Debug)]
pub struct List {
    /// In order of namespace and name.
    pub items: Vec<Arc<Stored>>,
    /// The version shown.
    pub version: u64,
    /// Token for the next page, if there is one.
    pub continue_token: Option<String>,
    /// How many objects follow; `None` with selectors, when nobody counted.
    pub remaining: Option<usize>,
}

/// Reads a resource version; a wrong one is a 400.
pub fn parse_version(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| Status::bad_request(format!("Invalid value: {text:?}: expected a whole number")))
}

/// The refusal of a version that is still to come.
pub fn too_large(wanted: u64, current: u64) -> Status {
    let message = format!("Too large resource version: {wanted}, current: {current}");
    let mut status = Status::new(504, "Timeout", format!("Timeout: {message}"));
    status.retry_after_seconds = Some(1);
    status.causes.push(Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    });
    status
}

const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
const TOO_OLD_VERSION: &str = "The resourceVersion for the provided list is too old.";
/// The version in a token that goes on as of now.
const NOW: &str = "-1";

fn expired(after: Option<(&str, &str)>) -> Status {
    let Some((namespace, name)) = after else { return Status::expired(TOO_OLD_VERSION) };
    Status { continue_token: Some(format!("{NOW}.{namespace}/{name}")), ..Status::expired(TOO_OLD) }
}

/// The objects of a kind as they were at `version`.
fn at_version(objects: &Objects, kind: Kind, version: u64) -> Option<Vec<Arc<Stored>>> {
    let key = |stored: &Arc<Stored>| (stored.object.namespace().to_owned(), stored.object.name().to_owned());
    let mut all: BTreeMap<_, _> = objects.list(kind, None).map(|s| (key(s), s.clone())).collect();
    let later: Vec<&Change> = objects.changes_for_list(kind, version).ok()?.collect();
    for change in later.into_iter().rev() {
        match &change.previous {
            Some(previous) => all.insert(key(previous), previous.clone()),
            None => all.remove(&key(&change.object)),
        };
    }
    Some(all.into_values().collect())
}

/// Version and key after which a token's page begins: `version.namespace/name`.
fn parse_token(token: &str, current: u64) -> Option<(u64, (&str, &str))> {
    let (version, key) = token.split_once('.')?;
    let version = if version == NOW { current } else { version.parse().ok()? };
    Some((version, key.split_once('/')?))
}

/// Carries out a list.
pub fn list(objects: &Objects, kind: Kind, query: &ListQuery) -> Result<List, Status> {
    let selectors = Selectors::of(objects, kind, &query.label_selector, &query.field_selector)?;
    let wanted = match query.resource_version.as_deref() {
        None | Some("") => 0,
        Some(text) => parse_version(text)?,
    };
    let current = objects.version();
    if wanted > current {
        return Err(too_large(wanted, current));
    }
    let token = query.continue_token.as_deref().filter(|t| !t.is_empty());
    let (version, after) = match token {
        Some(token) => {
            let (version, after) =
                parse_token(token, current).filter(|(version, _)| *version <= current).ok_or_else(|| {
                    Status::bad_request("continue key is not valid: expected one of this server's")
                })?;
            (version, Some(after))
        }
        None if query.version_match == Some(VersionMatch::Exact) => {
            if wanted == 0 {
                let message = "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
                return Err(Status::bad_request(message));
            }
            (wanted, None)
        }
        None => (current, None),
    };
    let of_namespace =
        |s: &Arc<Stored>| query.namespace.as_deref().is_none_or(|wanted| wanted == s.object.namespace());
    let follows = |s: &Arc<Stored>| after.is_none_or(|after| (s.object.namespace(), s.object.name()) > after);
    let mut items: Vec<Arc<Stored>> = if version == current {
        objects.list(kind, query.namespace.as_deref()).cloned().collect()
    } else {
        at_version(objects, kind, version).ok_or_else(|| expired(after))?
    };
    items.retain(|s| of_namespace(s) && follows(s) && selectors.matches(s));
    let limit = query.limit.filter(|l| *l > 0).unwrap_or(usize::MAX);
    if items.len() <= limit {
        return Ok(List { items, version, continue_token: None, remaining: None });
    }
    let left = items.len() - limit;
    items.truncate(limit);
    let continue_token =
        items.last().map(|s| format!("{version}.{}/{}", s.object.namespace(), s.object.name()));
    let remaining = selectors.is_everything().then_some(left);
    Ok(List { items, version, continue_token, remaining })
}

/// A list's document: `JobList`, `PodList`…
pub fn document(
    resource: &Resource,
    version: u64,
    continue_token: Option<&str>,
    remaining: Option<usize>,
    items: Vec<Value>,
) -> Value {
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let Some(token) = continue_token {
        meta["continue"] = json!(token);
    }
    if let Some(remaining) = remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    json!({"kind": format!("{}List", resource.name), "apiVersion": resource.api_version(), "metadata": meta, "items": items})
}
