//! Whether a policy or a binding is about a request: resource rules, names, selectors of namespaces and objects.

use super::Attributes;
use crate::apiserver::Context;
use crate::apiserver::selector::selects_pod;
use crate::kind::{Kind, resources};
use serde_json::{Map, Value};

fn names<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a str> {
    of.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn any(of: &Value, key: &str, wanted: &str) -> bool {
    names(of, key).any(|found| found == "*" || found == wanted)
}

/// Whether `resources` of a rule name a resource and its part: `pods`, `pods/status`, `*`, `*/*`, `pods/*`, `*/scale`.
fn is_named(rule: &Value, plural: &str, part: &str) -> bool {
    names(rule, "resources").any(|found| {
        let (resource, subresource) = found.split_once('/').unwrap_or((found, ""));
        let resource_fits = resource == "*" || resource == plural;
        resource_fits && (subresource == part || (subresource == "*" && found.contains('/')))
    })
}

fn rule_fits(rule: &Value, kind: Kind, attributes: &Attributes<'_>) -> bool {
    let resource = kind.resource();
    let scope = match rule.get("scope").and_then(Value::as_str) {
        Some("Cluster") => !resource.namespaced,
        Some("Namespaced") => resource.namespaced,
        _ => true,
    };
    let named = {
        let mut all = names(rule, "resourceNames").peekable();
        all.peek().is_none() || all.any(|name| name == attributes.name())
    };
    scope
        && named
        && any(rule, "apiGroups", resource.group)
        && any(rule, "apiVersions", resource.version)
        && any(rule, "operations", attributes.operation())
        && is_named(rule, resource.plural, attributes.part())
}

/// The other versions and groups a kind is served as.
fn equivalents(ctx: &Context<'_>, kind: Kind) -> Vec<Kind> {
    let resource = kind.resource();
    if resource.custom {
        let Some(defined) = ctx.objects.definition_of(kind) else { return Vec::new() };
        return defined.served_versions().filter_map(|version| defined.served(version)).collect();
    }
    let same = |kind_of: &Kind| kind_of.stored() == kind.stored();
    resources().iter().filter(|r| r.plural == resource.plural).map(|r| r.kind()).filter(same).collect()
}

/// The kind of the rule that fits, if one does.
fn rules_fit(ctx: &Context<'_>, of: &Value, key: &str, attributes: &Attributes<'_>) -> Option<Kind> {
    let own = attributes.request.kind;
    let rules = || of.get(key).and_then(Value::as_array).into_iter().flatten();
    if rules().any(|rule| rule_fits(rule, own, attributes)) {
        return Some(own);
    }
    if of.get("matchPolicy").and_then(Value::as_str) == Some("Exact") {
        return None;
    }
    let others = equivalents(ctx, own).into_iter().filter(|kind| *kind != own);
    others.into_iter().find(|kind| rules().any(|rule| rule_fits(rule, *kind, attributes)))
}

fn is_empty(selector: &Value) -> bool {
    selector.as_object().is_none_or(Map::is_empty)
}

fn labels(doc: Option<&Value>) -> &Value {
    doc.and_then(|doc| doc.pointer("/metadata/labels")).unwrap_or(&Value::Null)
}

fn namespace_fits(ctx: &Context<'_>, of: &Value, attributes: &Attributes<'_>) -> bool {
    let selector = of.get("namespaceSelector").unwrap_or(&Value::Null);
    if is_empty(selector) {
        return true;
    }
    let request = attributes.request;
    if request.kind == Kind::Namespace {
        let own = attributes.object.or(attributes.old);
        return selects_pod(selector, labels(own));
    }
    if request.namespace.is_empty() {
        return true;
    }
    let found = ctx.objects.get(Kind::Namespace, "", &request.namespace);
    found.is_some_and(|stored| selects_pod(selector, labels(Some(&stored.to_value()))))
}

fn object_fits(of: &Value, attributes: &Attributes<'_>) -> bool {
    let selector = of.get("objectSelector").unwrap_or(&Value::Null);
    let either = [attributes.object, attributes.old];
    is_empty(selector) || either.into_iter().any(|doc| doc.is_some() && selects_pod(selector, labels(doc)))
}

/// Whether `matchConstraints` or `matchResources` are about a request, and as which kind.
pub(super) fn fits(ctx: &Context<'_>, of: &Value, attributes: &Attributes<'_>) -> Option<Kind> {
    if !namespace_fits(ctx, of, attributes) || !object_fits(of, attributes) {
        return None;
    }
    if rules_fit(ctx, of, "excludeResourceRules", attributes).is_some() {
        return None;
    }
    let has_rules = of.get("resourceRules").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    if has_rules { rules_fit(ctx, of, "resourceRules", attributes) } else { Some(attributes.request.kind) }
}

/// Whether a webhook is about a request, and as which kind. One without rules is about nothing.
pub(super) fn webhook_fits(ctx: &Context<'_>, webhook: &Value, attributes: &Attributes<'_>) -> Option<Kind> {
    let here = namespace_fits(ctx, webhook, attributes) && object_fits(webhook, attributes);
    if here { rules_fit(ctx, webhook, "rules", attributes) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resources_are_named_as_in_kubernetes() {
        for (named, plural, part, fits) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/status", "pods", "status", true),
            ("pods/*", "pods", "status", true),
            ("pods/*", "pods", "", true),
            ("*", "pods", "", true),
            ("*", "pods", "status", false),
            ("*/*", "pods", "status", true),
            ("*/status", "pods", "status", true),
            ("*/status", "pods", "", false),
            ("services", "pods", "", false),
        ] {
            let rule = json!({"resources": [named]});
            assert_eq!(is_named(&rule, plural, part), fits, "{named} {plural}/{part}");
        }
    }
}
