//! A write request of the API, parsed but not yet judged. It is plain data: a log of requests and the
//! instants they came in at is enough to bring a cluster back.

use super::admission::Reviews;
use super::user::{Caller, User};
use crate::kind::Kind;
use crate::object::{DecodeError, Object};
use crate::store::Stored;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH, of this type.
    Patch(PatchType),
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
}

impl Verb {
    /// Its name in discovery.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch(_) => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// Content type of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PatchType {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    StrategicMerge,
    /// `application/apply-patch+yaml` (server-side apply).
    Apply,
}

/// Part of an object a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subresource {
    /// `/status`.
    Status,
    /// `/binding` of a Pod.
    Binding,
    /// `/finalize` of a Namespace.
    Finalize,
    /// `/scale`.
    Scale,
    /// `/eviction` of a Pod.
    Eviction,
    /// `/ephemeralcontainers` of a Pod.
    EphemeralContainers,
    /// `/approval` of a CertificateSigningRequest.
    Approval,
    /// `/token` of a ServiceAccount.
    Token,
    /// `/resize` of a Pod.
    Resize,
}

impl Subresource {
    /// Its name in paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Subresource::Status => "status",
            Subresource::Binding => "binding",
            Subresource::Finalize => "finalize",
            Subresource::Scale => "scale",
            Subresource::Eviction => "eviction",
            Subresource::EphemeralContainers => "ephemeralcontainers",
            Subresource::Approval => "approval",
            Subresource::Token => "token",
            Subresource::Resize => "resize",
        }
    }
    /// By its name in paths.
    pub fn named(name: &str) -> Option<Subresource> {
        const ALL: [Subresource; 9] = [
            Subresource::Status,
            Subresource::Binding,
            Subresource::Finalize,
            Subresource::Scale,
            Subresource::Eviction,
            Subresource::EphemeralContainers,
            Subresource::Approval,
            Subresource::Token,
            Subresource::Resize,
        ];
        ALL.into_iter().find(|part| part.as_str() == name)
    }
}

/// The document sent; `Value::Null` when there is none.
pub type Body = Value;

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Delete the owner now, dependents by garbage collection.
    Background,
    /// Delete dependents first.
    Foreground,
    /// Leave dependents.
    Orphan,
}

/// `DeleteOptions` of a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteOptions {
    /// Seconds a pod gets to end.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents; `None`: the kind's default.
    pub propagation: Option<Propagation>,
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only at this version.
    pub resource_version: Option<String>,
}

/// Query parameters common to writes, and the selectors of a collection delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Judge, but change nothing.
    pub dry_run: bool,
    /// Who writes.
    pub field_manager: Option<String>,
    /// Server-side apply takes fields over from others.
    pub force: bool,
    /// `Strict`, `Warn` or `Ignore`.
    pub field_validation: Option<String>,
    /// Paths of fields that stand more than once in the bytes of the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duplicate_fields: Vec<String>,
    /// Who asks; `None`: whoever runs the twin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Box<Caller>>,
    /// What webhooks answered so far; `None`: whoever asks cannot ask any, so none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviews: Option<Box<Reviews>>,
    /// What is wrong with the signature of the certificate request in the body, if anything: whoever has keys looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_fault: Option<String>,
    /// Of a delete.
    pub delete: DeleteOptions,
    /// Label selector of a collection delete.
    pub label_selector: Option<String>,
    /// Field selector of a collection delete.
    pub field_selector: Option<String>,
}

impl Options {
    /// Of a write by one of the twin's own controllers, as the service account in `kube-system` that the real one has: policies
    /// see it. Webhooks are asked where there are reviews to go on from.
    pub(crate) fn of_controller(account: &str) -> Options {
        let user = User::service_account("kube-system", account, "");
        Options { caller: Some(Box::new(Caller { user, rbac: false })), ..Options::default() }
    }
}

/// A write to one cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What is to be done.
    pub verb: Verb,
    /// To which kind.
    pub kind: Kind,
    /// In which namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// To which object; empty for create (the body names it) and collection deletes.
    pub name: String,
    /// To which part.
    pub subresource: Option<Subresource>,
    /// The document.
    pub body: Body,
    /// Everything else.
    pub options: Options,
}

/// The document of an answer. An object is answered as it is stored, and becomes a document only where somebody wants one.
#[derive(Clone, Debug)]
pub enum Answered {
    /// A document.
    Document(Value),
    /// An object whose version of storage is the one asked for.
    Stored(Arc<Stored>),
}

impl Answered {
    /// The document.
    pub fn to_value(&self) -> Value {
        match self {
            Answered::Document(document) => document.clone(),
            Answered::Stored(stored) => stored.to_value(),
        }
    }
    /// The document.
    pub fn into_value(self) -> Value {
        match self {
            Answered::Document(document) => document,
            Answered::Stored(stored) => stored.to_value(),
        }
    }
    /// The object of a kind, without what is kept beside it.
    ///
    /// # Errors
    /// Of a document that is none.
    pub fn object(&self, kind: Kind) -> Result<Cow<'_, Object>, DecodeError> {
        match self {
            Answered::Document(document) => Object::from_value(kind, document).map(Cow::Owned),
            Answered::Stored(stored) => Ok(Cow::Borrowed(&stored.object)),
        }
    }
    /// Its JSON.
    pub fn to_json(&self) -> Vec<u8> {
        match self {
            Answered::Document(document) => document.to_string().into_bytes(),
            Answered::Stored(stored) => stored.to_bytes(),
        }
    }
}

impl From<Value> for Answered {
    fn from(document: Value) -> Answered {
        Answered::Document(document)
    }
}

/// What a write gave.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status code: 200, 201 or 202.
    pub code: u16,
    /// The object after the write (for a delete that is done: a `Status` document).
    pub body: Answered,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}
