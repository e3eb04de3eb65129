//! The Kubernetes API machinery as pure functions over a cluster's [`Objects`].
//!
//! [`write()`] carries out every change: decode, default, admit, validate, store. [`list()`] and [`table()`]
//! read. Invariants: a refused request changes nothing and draws nothing from the stream of names (but what it keeps for the
//! time when webhooks have answered); a write that changes nothing gives no new version. Admission policies are asked, and which
//! webhooks are to be asked what is said. Leaves out asking them, and finding out who asks, which belongs to whoever binds the
//! socket.

pub mod apply;
pub mod certificates;
pub mod custom;
pub mod discovery;
pub mod list;
pub mod metrics;
pub mod openapi;
pub mod patch;
pub mod quantity;
pub mod rbac;
pub mod resources;
pub mod schema;
pub mod selector;
pub mod table;
pub mod token;
pub mod user;

mod admission;
mod convert;
mod decode;
mod defaults;
mod delete;
mod eviction;
mod field;
mod limitrange;
pub(crate) mod names;
mod notice;
mod ownership;
pub(crate) mod quota;
mod request;
mod review;
mod runtimeclass;
mod scale;
mod staticpod;
mod status;
mod validation;
mod write;

use crate::controllers::vertical;
use crate::kind::Kind;
use crate::object::Object;
use crate::random::Stream;
use crate::store::Objects;
use fleet::Instant;

pub(crate) use admission::is_anybody_asked;
pub use admission::{Answer, Call, Drawn, Pending, Reviews, has_webhooks};
pub use convert::{as_stored, shown, shown_value};
pub use decode::OBJECT_BYTES_MAX;
pub(crate) use defaults::{admit_account, default_class, merge_label_keys, priority};
pub use delete::finish_delete;
pub use list::{List, ListQuery, VersionMatch, list};
pub use quota::{PodResources, Usage, pod_resources};
pub(crate) use quota::{add_up as add_quantities, amounts as quantities};
pub use request::{
    Answered, Body, DeleteOptions, Options, PatchType, Propagation, Request, Response, Subresource, Verb,
};
pub use resources::pod_requests;
pub(crate) use resources::{complete_requests, qos_class};
pub(crate) use scale::replicas;
pub use scale::scale;
pub use selector::{Selectors, selects};
pub(crate) use staticpod::MIRROR;
pub use staticpod::{check_static_pods, static_pod};
pub use status::{Cause, Status};
pub use table::{IncludeObject, table};
pub use user::{Caller, User};

/// Largest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// What a write needs beside the request: the cluster's objects, the time, and names to draw.
pub struct Context<'a> {
    /// The cluster's objects.
    pub objects: &'a mut Objects,
    /// Virtual time, for `creationTimestamp` and the like.
    pub now: Instant,
    /// Stream of uids and generated names.
    pub names: &'a mut Stream,
}

/// A Pod as the API server would take it: defaults filled in, and refused in its words.
///
/// # Errors
/// What the API server would answer.
pub fn complete_pod(mut doc: serde_json::Value) -> Result<k8s_openapi::api::core::v1::Pod, Status> {
    let (object, unknown) = decode::decode(Kind::Pod, doc)?;
    decode::judge(Kind::Pod.resource(), Some("Strict"), &[], &unknown)?;
    doc = object.to_value();
    if doc["metadata"]["name"].is_null() {
        doc["metadata"]["name"] = serde_json::json!("pod");
    }
    if doc["metadata"]["namespace"].is_null() {
        doc["metadata"]["namespace"] = serde_json::json!("default");
    }
    defaults::apply(Kind::Pod, &mut doc);
    validation::create(Kind::Pod, &doc)?;
    let (object, _) = decode::decode(Kind::Pod, doc)?;
    object.as_pod().cloned().ok_or_else(|| Status::bad_request("expected a Pod"))
}

/// Reads a document of `kind` as a cluster's API served it: amounts in canonical form, and how many fields of it are
/// not known. The error is in words.
pub(crate) fn decode_object(kind: Kind, doc: serde_json::Value) -> Result<(Object, usize), String> {
    let (object, unknown) = decode::decode(kind, doc).map_err(|status| status.message)?;
    Ok((object, unknown.len()))
}

/// Whether anything in a cluster limits what pods may ask for, or is to be asked about them.
pub(crate) fn has_limits(objects: &Objects) -> bool {
    vertical::any(objects)
        || objects.count(quota::kind()) > 0
        || limitrange::any(objects)
        || admission::is_anybody_asked(objects)
}

/// Holds a pod that a controller makes to what its namespace allows, asks policies and webhooks about it, and charges it, as
/// admission does with clients' pods. `account` is the controller's service account in `kube-system`; `reviews` are what webhooks
/// have said so far, and without them none is asked.
pub(crate) fn admit_made(
    ctx: &mut Context<'_>,
    (account, reviews): (&str, Option<&Reviews>),
    namespace: &str,
    doc: &mut serde_json::Value,
) -> Result<(), Status> {
    let name = doc["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    vertical::admit(ctx.objects, namespace, doc);
    limitrange::default(ctx.objects, namespace, doc);
    let request = is_anybody_asked(ctx.objects).then(|| {
        let generated = doc["metadata"]["generateName"].is_string();
        Request {
            verb: Verb::Create,
            kind: Kind::Pod,
            namespace: namespace.to_owned(),
            name: if generated { String::new() } else { name.clone() },
            subresource: None,
            body: Body::Null,
            options: Options {
                reviews: reviews.map(|reviews| Box::new(reviews.clone())),
                ..Options::of_controller(account)
            },
        }
    });
    if let Some(request) = &request {
        admission::mutate_made(ctx, request, doc)?;
    }
    runtimeclass::admit(ctx.objects, doc)?;
    runtimeclass::judge(ctx.objects, doc)?;
    limitrange::check(ctx.objects, Kind::Pod, namespace, doc)?;
    if let Some(request) = &request {
        admission::validate(ctx, request, Some(&*doc), None)?;
    }
    quota::admit(ctx.objects, (Kind::Pod, namespace, &name), (None, &*doc), false)
}

/// Carries out a write.
///
/// Errors are what the API server would answer; the objects are then as before.
pub fn write(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let resource = request.kind.resource();
    if resource.namespaced == request.namespace.is_empty() {
        return Err(Status::method_not_allowed());
    }
    let changes = matches!(request.verb, Verb::Update | Verb::Patch(_));
    match (request.verb, request.subresource) {
        (Verb::Create, None) if request.kind.is("", "bindings") => write::bind_named(ctx, request),
        (Verb::Create, None) if resource.verbs == ["create"] => review::answer(ctx.objects, request),
        (verb, None) if !resource.allows(verb.as_str()) => Err(Status::method_not_allowed()),
        (Verb::Create, None) => write::create(ctx, request),
        (Verb::Create, Some(Subresource::Binding)) => write::bind(ctx, request),
        (Verb::Create, Some(Subresource::Eviction)) if request.kind == Kind::Pod => {
            eviction::create(ctx, request)
        }
        (Verb::Create, Some(Subresource::Token)) if resource.has_part("token") => token::create(ctx, request),
        (_, Some(Subresource::Scale)) if changes => scale::update(ctx, request),
        (_, Some(part)) if changes && resource.has_part(part.as_str()) => write::update(ctx, request),
        (_, None) if changes => write::update(ctx, request),
        (Verb::Delete, None) => delete::delete(ctx, request),
        (Verb::DeleteCollection, None) => delete::delete_collection(ctx, request),
        _ => Err(Status::method_not_allowed()),
    }
}
