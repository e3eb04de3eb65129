//! Whether what was expected is so.

use super::{Expectation, Subject, Target, When, messages, traffic};
use crate::store::{Objects, Stored};
use crate::{QueueTraffic, ServiceTraffic};
use fleet::Span;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects a target means, in the order `order` says.
pub(super) fn meant(objects: &Objects, target: &Target, order: &dyn Fn(&str) -> usize) -> Vec<Arc<Stored>> {
    let empty = BTreeMap::new();
    let fits = |stored: &&Arc<Stored>| {
        let meta = stored.object.meta();
        let labelled = |labels: &crate::apiserver::selector::LabelSelector| {
            labels.matches(meta.labels.as_ref().unwrap_or(&empty))
        };
        target.name.as_deref().is_none_or(|name| stored.object.name() == name)
            && target.labels.as_ref().is_none_or(labelled)
    };
    let namespace = (!target.namespace.is_empty()).then_some(target.namespace.as_str());
    let mut all: Vec<Arc<Stored>> = objects.list(target.kind, namespace).filter(fits).cloned().collect();
    all.sort_by_key(|stored| order(stored.object.uid()));
    match target.nth {
        Some(nth) => all.into_iter().skip(nth).take(1).collect(),
        None => all,
    }
}

/// What stands at a path: names of fields with dots between, and in brackets which entry of a list, by its `type`, its
/// `name` or its place.
fn at<'a>(doc: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = doc;
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (key, after) = inner.split_once(']')?;
            let list = value.as_array()?;
            let named = |entry: &&Value| entry["type"] == key || entry["name"] == key;
            value = list.iter().find(named).or_else(|| list.get(key.parse::<usize>().ok()?))?;
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        // A key with dots in it, as annotations have, is quoted.
        if let Some(inner) = rest.strip_prefix('"') {
            let (key, after) = inner.split_once('"')?;
            value = value.get(key)?;
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        value = value.get(&rest[..end])?;
        rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
    }
    Some(value)
}

/// Whether what stands somewhere is what was stated: the same, or, for a text that begins with `>=`, `<=`, `>`, `<`, `!=`
/// or `~` (contains), so related. Null means that nothing stands there, or 0.
fn fits(found: Option<&Value>, stated: &Value) -> bool {
    let found = found.unwrap_or(&Value::Null);
    let number = |text: &str| text.trim().parse::<f64>().ok();
    if let Value::String(text) = stated {
        if let Some(part) = text.strip_prefix('~') {
            return found.as_str().is_some_and(|found| found.contains(part));
        }
        if let Some(other) = text.strip_prefix("!=") {
            return found.as_str().map_or_else(|| found.to_string(), str::to_owned) != other;
        }
        let value = found.as_f64().unwrap_or(0.0);
        for (sign, holds) in [
            (">=", &(|wanted: f64| value >= wanted) as &dyn Fn(f64) -> bool),
            ("<=", &|wanted| value <= wanted),
            (">", &|wanted| value > wanted),
            ("<", &|wanted| value < wanted),
        ] {
            if let Some(wanted) = text.strip_prefix(sign).and_then(number) {
                return holds(wanted);
            }
        }
    }
    // The API leaves out counters of 0.
    let zero = |value: &Value| value.is_null() || value.as_f64() == Some(0.0);
    // 5 and 5.0 are the same number.
    let same = found.as_f64().is_some_and(|found| stated.as_f64() == Some(found));
    found == stated || same || (zero(found) && zero(stated))
}

/// All that an expectation may be about.
pub(super) struct Seen<'a> {
    pub(super) objects: &'a Objects,
    pub(super) requests: &'a [ServiceTraffic],
    pub(super) messages: &'a [QueueTraffic],
}

/// How one expectation goes on.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// `None`: not decided yet.
    pub(super) outcome: Option<Result<Span, Span>>,
    /// What was found when it failed, or last.
    pub(super) found: String,
}

impl Expectation {
    /// Whether it is so now; else what is, in words.
    fn holds(&self, seen: &Seen<'_>) -> Result<(), String> {
        let (kind, documents): (&str, Vec<Value>) = match &self.subject {
            Subject::Objects(target) => {
                let meant = meant(seen.objects, target, &|_| 0);
                (target.kind.resource().name, meant.iter().map(|stored| stored.to_value()).collect())
            }
            Subject::Traffic(namespace, name) => {
                let is = |own: &&ServiceTraffic| own.namespace == *namespace && own.name == *name;
                ("traffic", seen.requests.iter().filter(is).map(traffic::document).collect())
            }
            Subject::Queue(namespace, name) => {
                let is = |own: &&QueueTraffic| own.namespace == *namespace && own.name == *name;
                ("queue", seen.messages.iter().filter(is).map(messages::document).collect())
            }
        };
        let is = |doc: &&Value| self.is.iter().all(|(path, stated)| fits(at(doc, path), stated));
        let count = documents.iter().filter(is).count();
        if (self.least..=self.most).contains(&count) {
            return Ok(());
        }
        let all = documents.len();
        match documents.first().filter(|_| all == 1) {
            Some(doc) if count == 0 => {
                let differs = |(path, stated): &&(String, Value)| !fits(at(doc, path), stated);
                let wrong = self.is.iter().filter(differs);
                let each = wrong.map(|(path, _)| format!("{path} {}", at(doc, path).unwrap_or(&Value::Null)));
                Err(each.collect::<Vec<_>>().join(", "))
            }
            _ => Err(format!("{count} of {all} × {kind}")),
        }
    }
    /// Looks at an instant, after all that was due at it.
    pub(super) fn look(&self, progress: &mut Progress, now: Span, seen: &Seen<'_>) {
        let due = match self.when {
            When::At(at) => now == at,
            When::By(by) => now <= by,
            When::Throughout(from, until) => from <= now && now <= until,
        };
        if progress.outcome.is_some() || !due {
            return;
        }
        let holds = self.holds(seen);
        if let Err(found) = &holds {
            progress.found.clone_from(found);
        }
        progress.outcome = match (self.when, holds) {
            (When::At(_) | When::By(_), Ok(())) => Some(Ok(now)),
            (When::Throughout(_, until), Ok(())) => (now == until).then_some(Ok(now)),
            (When::By(by), Err(_)) => (now == by).then_some(Err(now)),
            (When::At(_) | When::Throughout(..), Err(_)) => Some(Err(now)),
        };
    }
    /// Instants it has to be looked at even if nothing happens.
    pub(super) fn instants(&self) -> Vec<Span> {
        match self.when {
            When::At(at) | When::By(at) => vec![at],
            When::Throughout(from, until) => vec![from, until],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_into_lists_and_quoted_keys() {
        let doc = json!({"metadata": {"annotations": {"a.b/c": "x"}}, "status": {"n": 3,
            "conditions": [{"type": "Ready", "status": "True"}], "list": [{"name": "app", "v": 1}, {"name": "b", "v": 2}]}});
        let found = |path: &str| at(&doc, path).cloned().unwrap_or(Value::Null);
        assert_eq!(found("status.conditions[Ready].status"), "True");
        assert_eq!(found("status.list[1].v"), 2);
        assert_eq!(found("status.list[app].v"), 1);
        assert_eq!(found("metadata.annotations.\"a.b/c\""), "x");
        assert_eq!(found("status.gone.deeper"), Value::Null);
    }

    #[test]
    fn values_are_compared_as_stated() {
        let three = json!(3);
        for (stated, holds) in [
            (json!(3), true),
            (json!(">=3"), true),
            (json!("<3"), false),
            (json!("!=3"), false),
            (json!("!=4"), true),
            (json!(null), false),
        ] {
            assert_eq!(fits(Some(&three), &stated), holds, "{stated}");
        }
        assert!(fits(None, &json!(0)) && fits(None, &json!(null)) && !fits(None, &json!("")));
        assert!(fits(Some(&json!("a long text")), &json!("~long")));
    }
}
