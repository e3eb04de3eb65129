//! Admission: ValidatingAdmissionPolicy and MutatingAdmissionPolicy with their bindings, in CEL, and webhooks.
//!
//! [`mutate`] runs before an object is validated, [`validate`] after; both only where there are policies or webhooks, policies
//! first. They are asked in the order of their names, bindings likewise. Applies to what clients of the API send, subresources
//! included, and to the pods, Jobs and claims that controllers of workloads make, as the service account of each; what else the twin's
//! own controllers write is not asked about, but for changes of scale, about which policies are. Leaves out `authorizer`, and mutations of `scale`, `binding` and `eviction`.

mod configuration;
mod declare;
mod judge;
mod matching;
mod mutating;
mod policy;
mod typecheck;
mod validating;
mod webhook;

pub(super) use configuration::webhooks;
pub(super) use judge::{binding, policy};
pub(super) use typecheck::establish;
pub use webhook::{Answer, Call, Drawn, Pending, Reviews, has_webhooks};

use super::request::{Request, Subresource, Verb};
use super::user::User;
use super::{Context, Status, convert, defaults, validation};
use crate::kind::Kind;
use crate::store::Objects;
use crate::store::Stored;
use serde_json::Value;
use std::sync::{Arc, LazyLock};

const GROUP: &str = "admissionregistration.k8s.io";

/// What is asked about: a request, what it makes of the object, and what the object was.
pub(super) struct Attributes<'a> {
    request: &'a Request,
    object: Option<&'a Value>,
    old: Option<&'a Value>,
}

impl<'a> Attributes<'a> {
    /// A write that makes `object` of `old`, both as stored.
    pub fn of(request: &'a Request, object: Option<&'a Value>, old: Option<&'a Value>) -> Attributes<'a> {
        Attributes { request, object, old }
    }
    fn operation(&self) -> &'static str {
        match (self.request.verb, self.object, self.old) {
            (Verb::Delete | Verb::DeleteCollection, _, _) | (_, None, _) => "DELETE",
            (_, _, None) => "CREATE",
            _ => "UPDATE",
        }
    }
    fn name(&self) -> &str {
        let named = |doc: Option<&'a Value>| doc?.pointer("/metadata/name")?.as_str();
        named(self.object).or_else(|| named(self.old)).unwrap_or(&self.request.name)
    }
    fn part(&self) -> &'static str {
        self.request.subresource.map_or("", |part| part.as_str())
    }
    /// Whether policies and webhooks are asked at all: not about themselves, not about reviews, and of a change of scale about
    /// the Scale and not about the object it changes. About configurations of webhooks policies alone are asked.
    fn is_asked(&self, webhooks: bool) -> bool {
        let resource = self.request.kind.resource();
        let own = resource.group == GROUP && (webhooks || resource.plural.contains("admissionpolic"));
        let scales = self.request.subresource == Some(Subresource::Scale);
        let is_scale = || self.object.is_some_and(|object| object["kind"] == "Scale");
        !own && resource.verbs != ["create"] && (!scales || is_scale())
    }
    /// Group, version and name of what is sent, where it is not the object itself.
    fn sent_apart(&self) -> Option<[&'static str; 3]> {
        match self.request.subresource? {
            Subresource::Scale => Some(["autoscaling", "v1", "Scale"]),
            Subresource::Binding => Some(["", "v1", "Binding"]),
            Subresource::Eviction => Some(["policy", "v1", "Eviction"]),
            _ => None,
        }
    }
}

/// Lets all policies and webhooks change an object on its way in; `old`: what it was. Gives warnings.
///
/// # Errors
/// What failed, as the API server words it; or the webhook that is to be asked first.
pub(super) fn mutate(
    ctx: &Context<'_>,
    request: &Request,
    doc: &mut Value,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    mutating::mutate(ctx, request, doc, old)?;
    webhook::mutate(ctx, request, doc, old)
}

/// Judges a write that makes `object` of `old` by all policies and webhooks. Gives warnings.
///
/// # Errors
/// The first denial, as the API server words it; or the webhooks that are to be asked first.
pub(super) fn validate(
    ctx: &Context<'_>,
    request: &Request,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    let mut warnings = validating::validate(ctx, request, object, old)?;
    warnings.extend(webhook::validate(ctx, request, object, old)?);
    Ok(warnings)
}

/// Judges a delete by all policies and webhooks. Gives warnings.
///
/// # Errors
/// The first denial, as the API server words it; or the webhooks that are to be asked first.
pub(super) fn validate_delete(
    ctx: &Context<'_>,
    request: &Request,
    stored: &Stored,
) -> Result<Vec<String>, Status> {
    // Whoever may evict was asked about the eviction.
    let evicted = request.subresource == Some(Subresource::Eviction);
    let asked = !all(ctx, "validatingadmissionpolicies").is_empty() || has_webhooks(ctx.objects);
    if evicted || !asked {
        return Ok(Vec::new());
    }
    validate(ctx, request, None, Some(&stored.to_value()))
}

/// Policies or bindings of this resource.
fn all(ctx: &Context<'_>, plural: &str) -> Vec<(String, Value)> {
    let Some(kind) = Kind::find(GROUP, "v1", plural).filter(|kind| ctx.objects.count(*kind) > 0) else {
        return Vec::new();
    };
    let one = |stored: &Arc<Stored>| (stored.object.name().to_owned(), stored.to_value());
    ctx.objects.list(kind, None).map(one).collect()
}

/// A document in the version of a kind.
fn in_version(kind: Kind, doc: Option<&Value>) -> Value {
    doc.map_or(Value::Null, |doc| convert::outgoing(kind, doc.clone()))
}

/// Who a request comes from.
fn user(request: &Request) -> Value {
    request.options.caller.as_ref().map_or_else(User::admin, |caller| caller.user.clone()).to_value()
}

/// The kinds of policies, looked up once: the table of resources is long.
static POLICIES: LazyLock<[Kind; 2]> = LazyLock::new(|| {
    ["validatingadmissionpolicies", "mutatingadmissionpolicies"].map(|plural| Kind::document(GROUP, plural))
});

/// Whether there are policies or webhooks that may be asked about a write.
pub(crate) fn is_anybody_asked(objects: &Objects) -> bool {
    any(objects) || has_webhooks(objects)
}

/// Whether a cluster has policies.
pub(super) fn any(objects: &Objects) -> bool {
    POLICIES.iter().any(|kind| objects.count(*kind) > 0)
}

/// Lets all policies and webhooks change a pod that a controller makes, on its way in.
///
/// # Errors
/// What failed, as the API server words it; or the webhook that is to be asked first.
pub(super) fn mutate_made(ctx: &Context<'_>, request: &Request, doc: &mut Value) -> Result<(), Status> {
    // Nobody has seen these yet.
    let kept: Vec<_> = ["uid", "creationTimestamp", "generation"]
        .into_iter()
        .filter_map(|key| Some((key, doc["metadata"].as_object_mut()?.remove(key)?)))
        .collect();
    // Expressions read the object with what the API server fills in.
    defaults::apply(Kind::Pod, doc);
    let before = doc.clone();
    mutate(ctx, request, doc, None)?;
    let changed = *doc != before;
    for (key, value) in kept {
        doc["metadata"][key] = value;
    }
    if !changed {
        return Ok(());
    }
    defaults::apply(Kind::Pod, doc);
    defaults::admit_pod(ctx, doc)?;
    validation::create(Kind::Pod, doc)
}
