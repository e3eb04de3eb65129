//! Admission policies: ValidatingAdmissionPolicy and MutatingAdmissionPolicy with their bindings, in CEL.
//!
//! [`mutate`] runs before an object is validated, [`validate`] after; both only where there are policies. Policies are
//! asked in the order of their names, their bindings likewise. Applies to what clients of the API send; what the
//! twin's own controllers write is not asked about. Leaves out `authorizer`, and the subresources `scale`, `binding`
//! and `eviction`.

mod declare;
mod judge;
mod matching;
mod mutating;
mod policy;
mod typecheck;
mod validating;

pub(super) use judge::{binding, policy};
pub(super) use mutating::mutate;
pub(super) use typecheck::establish;
pub(super) use validating::validate;

use super::request::{Request, Verb};
use super::{Context, convert};
use crate::kind::Kind;
use crate::store::Stored;
use serde_json::{Value, json};
use std::sync::Arc;

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
    /// Whether policies are asked at all: not about themselves and not about reviews.
    fn is_asked(&self) -> bool {
        let resource = self.request.kind.resource();
        let own = resource.group == GROUP && resource.plural.contains("admissionpolic");
        !own && resource.verbs != ["create"]
    }
}

/// Judges a delete by all policies. Gives warnings.
///
/// # Errors
/// The first denial, as the API server words it.
pub(super) fn validate_delete(
    ctx: &Context<'_>,
    request: &Request,
    stored: &Stored,
) -> Result<Vec<String>, super::Status> {
    if all(ctx, "validatingadmissionpolicies").is_empty() {
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

/// Who a request comes from, as far as a twin knows.
fn user() -> Value {
    json!({"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]})
}
