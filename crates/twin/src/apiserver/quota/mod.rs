//! ResourceQuota: a write that would use more than a namespace's quotas allow is refused, one that is taken is charged at once.
//!
//! Admission charges what it lets in, so that many writes at one instant are held to the same quota; the controller
//! `resourcequota` brings `status` back to what really is used when objects go or change by other ways.

mod usage;

pub use usage::{PodResources, Usage, pod_resources};
pub(crate) use usage::{add, add_up, amounts, measure, of_containers, of_pod};

use super::quantity::Quantity;
use super::status::Status;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Objects, Stored};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

static QUOTAS: LazyLock<Kind> = LazyLock::new(|| Kind::document("", "resourcequotas"));

/// The kind of quotas.
pub(crate) fn kind() -> Kind {
    *QUOTAS
}

/// A quota's `spec`.
pub(crate) fn spec(stored: &Stored) -> Value {
    stored.object.as_document().and_then(|d| d.body.get("spec")).cloned().unwrap_or_default()
}

/// A quota's status that says what is used of it: `hard` is that of `spec`.
pub(crate) fn status(spec: &Value, used: &Usage) -> Value {
    let hard = spec.get("hard").and_then(Value::as_object).cloned().unwrap_or_default();
    let amount = |name: &String| json!(used.get(name).map_or_else(|| "0".to_owned(), Quantity::to_string));
    let used: Map<String, Value> = hard.keys().map(|name| (name.clone(), amount(name))).collect();
    json!({"hard": hard, "used": used})
}

/// `cpu=500m,memory=1Gi`.
fn listed(usage: &Usage) -> String {
    let each: Vec<String> = usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    each.join(",")
}

/// What a pod's containers must say because a quota counts it, in the server's words.
fn unsaid(spec: &Value, doc: &Value) -> Option<String> {
    const REQUIRED: [&str; 6] =
        ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
    let whole = |of: &str| doc.pointer(&format!("/spec/resources/{of}")).is_some_and(|l| l.is_object());
    if whole("requests") || whole("limits") {
        return None;
    }
    let hard = spec.get("hard")?.as_object()?;
    let mut lacking: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let of =
        |list: &str| doc.pointer(&format!("/spec/{list}")).and_then(Value::as_array).into_iter().flatten();
    for container in of("containers").chain(of("initContainers")) {
        let part = |of: &str| amounts(container.pointer(&format!("/resources/{of}")));
        let said = usage::compute(&part("requests"), &part("limits"));
        for name in REQUIRED.into_iter().filter(|name| hard.contains_key(*name) && !said.contains_key(*name))
        {
            lacking.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
        }
    }
    let each = |(name, containers): (&str, BTreeSet<&str>)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    };
    let all: Vec<String> = lacking.into_iter().map(each).collect();
    (!all.is_empty()).then(|| format!("must specify {}", all.join("; ")))
}

/// What is to be written to a quota because a write is let in.
struct Charge {
    quota: Arc<Stored>,
    used: Usage,
}

/// What `new` takes of a quota beyond `old`; refused where that is too much.
fn charge(
    quota: &Arc<Stored>,
    kind: Kind,
    old: Option<&Value>,
    new: &Value,
) -> Result<Option<Charge>, String> {
    let (spec, name) = (spec(quota), quota.object.name());
    let mut delta = measure(&spec, kind, new);
    if delta.is_empty() {
        return Ok(None);
    }
    if kind == Kind::Pod
        && old.is_none()
        && let Some(why) = unsaid(&spec, new)
    {
        return Err(format!("failed quota: {name}: {why}"));
    }
    if let Some(old) = old {
        add(&mut delta, &measure(&spec, kind, old), -1);
    }
    delta.retain(|_, amount| amount.nanos() > 0);
    let body = quota.object.as_document().map(|document| &document.body);
    let mut used = amounts(body.and_then(|body| body.get("status")?.get("used")));
    let hard = amounts(spec.get("hard"));
    let before = used.clone();
    add(&mut used, &delta, 1);
    let limit = |name: &String| hard.get(name).map_or(i128::MAX, |amount| amount.nanos());
    let over: BTreeSet<&String> =
        delta.keys().filter(|name| used.get(*name).is_some_and(|u| u.nanos() > limit(name))).collect();
    if !over.is_empty() {
        let of = |usage: &Usage| -> String {
            let kept = usage.iter().filter(|(name, _)| over.contains(name));
            listed(&kept.map(|(name, amount)| (name.clone(), *amount)).collect())
        };
        return Err(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            of(&delta),
            of(&before),
            of(&hard)
        ));
    }
    Ok((!delta.is_empty()).then(|| Charge { quota: quota.clone(), used }))
}

/// Which updates are counted: what else is used by an object cannot change while it is there.
fn counts_update(kind: Kind, old: &Value, new: &Value) -> bool {
    let deadline = |doc: &Value| doc.pointer("/spec/activeDeadlineSeconds").is_some();
    kind.is("", "services")
        || kind.is("", "persistentvolumeclaims")
        || (kind == Kind::Pod && deadline(old) != deadline(new))
}

/// Lets a write in under the quotas of its namespace and charges it; nothing is charged on a dry run.
pub(crate) fn admit(
    objects: &mut Objects,
    (kind, namespace, name): (Kind, &str, &str),
    (old, new): (Option<&Value>, &Value),
    dry_run: bool,
) -> Result<(), Status> {
    if namespace.is_empty() || objects.count(*QUOTAS) == 0 {
        return Ok(());
    }
    if old.is_some_and(|old| !counts_update(kind, old, new)) {
        return Ok(());
    }
    let mut charges = Vec::new();
    for quota in objects.list(*QUOTAS, Some(namespace)) {
        let charge = charge(quota, kind, old, new);
        charges.extend(charge.map_err(|why| Status::forbidden(kind.resource(), name, &why))?);
    }
    for Charge { quota, used } in charges.into_iter().filter(|_| !dry_run) {
        set_status(objects, &quota, &used);
    }
    Ok(())
}

/// Writes what is used of a quota to its status; whether that was news.
pub(crate) fn set_status(objects: &mut Objects, quota: &Stored, used: &Usage) -> bool {
    let status = status(&spec(quota), used);
    let Object::Document(document) = &quota.object else { return false };
    if document.body.get("status") == Some(&status) {
        return false;
    }
    let mut document = document.clone();
    document.body.insert("status", status);
    objects.put(Object::Document(document));
    true
}

#[cfg(test)]
mod tests;
