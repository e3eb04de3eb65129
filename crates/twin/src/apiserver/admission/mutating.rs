//! MutatingAdmissionPolicy: objects changed on their way in, by applied configurations and JSON patches.
//!
//! What a policy changes belongs to whoever sends the request. A policy that asks to be asked again
//! (`reinvocationPolicy: IfNeeded`) is, once, if a later one has changed something.

use super::policy::{
    Budget, COST_MAX, Gives, SPENT, Values, conditions_hold, ignores_failure, list, names_of, params, text,
};
use super::{Attributes, all, in_version, matching};
use crate::apiserver::request::PatchType;
use crate::apiserver::status::{Cause, Status};
use crate::apiserver::{Context, Request, apply, convert, patch};
use crate::cel::Value;
use crate::kind::Kind;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// Lets all policies change an object on its way in; `old`: what it was.
///
/// # Errors
/// The policies that failed, as the API server words it.
pub(super) fn mutate(
    ctx: &Context<'_>,
    request: &Request,
    doc: &mut Json,
    old: Option<&Json>,
) -> Result<(), Status> {
    let policies = all(ctx, "mutatingadmissionpolicies");
    if policies.is_empty() || !Attributes::of(request, Some(doc), old).is_asked(false) {
        return Ok(());
    }
    let mut pass = Pass {
        ctx,
        request,
        old,
        bindings: all(ctx, "mutatingadmissionpolicybindings"),
        wrong: Vec::new(),
        asked: BTreeMap::new(),
        changes: 0,
    };
    for (name, policy) in &policies {
        pass.ask(name, policy, doc);
    }
    let changes = pass.changes;
    for (name, policy) in &policies {
        let again = text(policy, "/spec/reinvocationPolicy") == "IfNeeded";
        if again && pass.asked.get(name).is_some_and(|after| *after < changes) {
            pass.ask(name, policy, doc);
        }
    }
    pass.finish()
}

/// One request on its way through the policies.
struct Pass<'a> {
    ctx: &'a Context<'a>,
    request: &'a Request,
    old: Option<&'a Json>,
    bindings: Vec<(String, Json)>,
    wrong: Vec<String>,
    /// The policies that were asked, and how many changes had been made by then.
    asked: BTreeMap<String, usize>,
    changes: usize,
}

impl Pass<'_> {
    fn ask(&mut self, name: &str, policy: &Json, doc: &mut Json) {
        let constraints = policy.pointer("/spec/matchConstraints").unwrap_or(&Json::Null);
        let bindings = std::mem::take(&mut self.bindings);
        for (binding_name, binding) in bindings.iter().filter(|(_, b)| text(b, "/spec/policyName") == name) {
            let before = doc.clone();
            let attributes = Attributes::of(self.request, Some(&before), self.old);
            let Some(kind) = matching::fits(self.ctx, constraints, &attributes) else { continue };
            let resources = binding.pointer("/spec/matchResources").unwrap_or(&Json::Null);
            if matching::fits(self.ctx, resources, &attributes).is_none() {
                continue;
            }
            let outcome = match params(self.ctx, policy, binding, &attributes) {
                Ok(all) => all.into_iter().try_for_each(|params| {
                    let values = Values::of(self.ctx, &attributes, kind, params);
                    self.change(policy, kind, values, doc)
                }),
                Err(why) => Err(format!("failed to configure binding: {why}")),
            };
            if let Err(why) = outcome
                && !ignores_failure(policy)
            {
                self.wrong
                    .push(format!("policy '{name}' with binding '{binding_name}' denied request: {why}"));
            }
            self.changes += usize::from(*doc != before);
            self.asked.insert(name.to_owned(), self.changes);
        }
        self.bindings = bindings;
    }

    /// Carries out a policy's mutations. One that fails changes nothing; the first error is given.
    fn change(&self, policy: &Json, kind: Kind, values: Values, doc: &mut Json) -> Result<(), String> {
        // Parameters follow one another on the object as it is by then.
        let mut values = values.with(in_version(kind, Some(doc)));
        if !conditions_hold(policy, &values)? {
            return Ok(());
        }
        let (names, variables) = names_of(policy, true);
        let mut budget = Budget::new(COST_MAX);
        let mut first = None;
        for mutation in list(policy, "/spec/mutations") {
            let bindings = values.bind(&variables);
            let (source, gives) = match text(mutation, "/patchType") {
                "JSONPatch" => (text(mutation, "/jsonPatch/expression"), Gives::Patches),
                _ => (text(mutation, "/applyConfiguration/expression"), Gives::Object),
            };
            let made = names.compile(source, gives).and_then(|program| {
                let value = budget.evaluate((&program, source), &bindings);
                let value = value.map_err(|why| why.unwrap_or_else(|| SPENT.to_owned()))?;
                let json = value.to_json().map_err(|why| why.to_string())?;
                match (gives, &value) {
                    (Gives::Patches, _) => patched(values.object(), kind, json),
                    (_, Value::Map(_)) => self.applied(values.object(), kind, json),
                    _ => Err("expression did not give an object".to_owned()),
                }
            });
            drop(bindings);
            match made {
                Ok(object) => values = values.with(object),
                Err(why) => {
                    first.get_or_insert(why);
                }
            }
        }
        *doc = convert::incoming(kind, values.object().clone(), Some(doc));
        first.map_or(Ok(()), Err)
    }

    /// An object with a configuration laid over it.
    fn applied(&self, object: &Json, kind: Kind, mut config: Json) -> Result<Json, String> {
        let resource = kind.resource();
        if let Some(map) = config.as_object_mut() {
            map.insert("apiVersion".to_owned(), json!(resource.api_version()));
            map.insert("kind".to_owned(), json!(resource.name));
        }
        let version = self.ctx.objects.definition_of(kind).and_then(|d| d.version(resource.version));
        let own = version.map(|version| crate::apiserver::schema::Schema::custom(&version.schema));
        apply::lay_over((resource.api_version().as_str(), resource.name), own.as_ref(), object, &config)
            .map_err(|why| format!("invalid ApplyConfiguration: {why}"))
    }

    fn finish(self) -> Result<(), Status> {
        let Some(first) = self.wrong.first() else { return Ok(()) };
        let mut status = Status::forbidden(self.request.kind.resource(), "", "");
        status.code = 422;
        status.reason = "Invalid".to_owned();
        status.message.clone_from(first);
        status.name.clone_from(&self.request.name);
        let cause = |message: String| Cause { reason: String::new(), message, field: String::new() };
        status.causes = self.wrong.into_iter().map(cause).collect();
        Err(status)
    }
}

/// An object with patches carried out. One whose tests do not hold stays as it is.
fn patched(object: &Json, kind: Kind, patches: Json) -> Result<Json, String> {
    let mut operations = patches;
    for operation in operations.as_array_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        let op = operation.get("op").and_then(Json::as_str).unwrap_or_default().to_owned();
        if matches!(op.as_str(), "add" | "replace" | "test") && !operation.contains_key("value") {
            operation.insert("value".to_owned(), Json::Null);
        }
        if op == "test" && !tested(object, operation) {
            return Ok(object.clone());
        }
    }
    patch::apply(PatchType::Json, kind, object.clone(), &operations)
        .map_err(|why| format!("JSON Patch: {}", why.message))
}

/// Whether a test holds of an object as it is before the patch.
fn tested(object: &Json, test: &Map<String, Json>) -> bool {
    let path = test.get("path").and_then(Json::as_str).unwrap_or_default();
    object.pointer(path).unwrap_or(&Json::Null) == test.get("value").unwrap_or(&Json::Null)
}
