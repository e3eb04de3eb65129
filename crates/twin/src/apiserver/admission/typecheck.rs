//! Mistakes in a ValidatingAdmissionPolicy's expressions that only show when the types of what it is about are known:
//! told in its status.

use super::declare;
use super::policy::{Gives, Names, list, text};
use crate::apiserver::Context;
use crate::kind::Kind;
use serde_json::{Value, json};

/// So many kinds are looked at for each rule (`maxTypesToCheck` of k8s.io/apiserver).
const KINDS_MAX: usize = 10;

/// The kinds that rules name without wildcards, in order.
fn kinds(ctx: &Context<'_>, policy: &Value) -> Vec<Kind> {
    let mut all = Vec::new();
    for rule in list(policy, "/spec/matchConstraints/resourceRules") {
        let named = |key: &str| -> Vec<&str> {
            rule.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let (mut groups, mut versions) = (named("apiGroups"), named("apiVersions"));
        if groups.iter().chain(&versions).any(|name| name.contains('*')) {
            continue;
        }
        let mut plurals: Vec<&str> =
            named("resources").into_iter().filter(|name| !name.contains(['*', '/'])).collect();
        for names in [&mut groups, &mut versions, &mut plurals] {
            names.sort_unstable();
        }
        let found = groups.iter().flat_map(|group| {
            let (versions, plurals) = (&versions, &plurals);
            versions.iter().flat_map(move |version| {
                plurals.iter().filter_map(|plural| ctx.objects.kind(group, version, plural))
            })
        });
        all.extend(found.take(KINDS_MAX));
    }
    all.sort_by_key(|kind| {
        let resource = kind.resource();
        (resource.group, resource.version, resource.name)
    });
    all.dedup();
    all
}

/// Sets the status of a policy: what is wrong with its expressions for the kinds it names.
pub(in crate::apiserver) fn establish(ctx: &Context<'_>, doc: &mut Value) {
    let params = doc.pointer("/spec/paramKind").filter(|kind| kind.is_object()).map(|kind| {
        let kind = ctx.objects.kind_of(text(kind, "/apiVersion"), text(kind, "/kind"));
        kind.and_then(|kind| declare::objects(ctx, kind))
    });
    let mut scopes = Vec::new();
    for kind in kinds(ctx, doc) {
        let Some(decl) = declare::objects(ctx, kind) else { continue };
        let mut names = Names::new(Some(&decl), params.as_ref().map(Option::as_ref), false);
        for variable in list(doc, "/spec/variables") {
            // What is wrong with a variable shows where it is used.
            let _ = names.variable(text(variable, "/name"), text(variable, "/expression"));
        }
        let resource = kind.resource();
        scopes.push((format!("{}, Kind={}", resource.api_version(), resource.name), names));
    }
    let mut warnings = Vec::new();
    for (i, validation) in list(doc, "/spec/validations").iter().enumerate() {
        for part in ["expression", "messageExpression"] {
            let source = validation.get(part).and_then(Value::as_str).unwrap_or_default();
            if source.is_empty() {
                continue;
            }
            let wrong = scopes.iter().filter_map(|(name, names)| {
                let why = names.compile(source, Gives::Anything).err()?;
                Some(format!("{name}: {why}\n"))
            });
            let wrong: Vec<String> = wrong.collect();
            if !wrong.is_empty() {
                let field = format!("spec.validations[{i}].{part}");
                warnings.push(json!({"fieldRef": field, "warning": wrong.join("\n")}));
            }
        }
    }
    let generation = doc.pointer("/metadata/generation").cloned();
    if !doc["status"].is_object() {
        doc["status"] = json!({});
    }
    doc["status"]["typeChecking"] =
        if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    if let Some(generation) = generation {
        doc["status"]["observedGeneration"] = generation;
    }
}
