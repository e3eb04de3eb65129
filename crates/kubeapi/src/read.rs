//! GET of one object and of lists, as objects, tables or metadata.

use crate::negotiate::{Accept, Form, Media};
use crate::protobuf;
use crate::query::Query;
use crate::respond;
use crate::route::{Target, nowhere};
use crate::service::Cluster;
use axum::body::Body;
use axum::response::Response;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use twin::apiserver::table::partial_metadata;
use twin::apiserver::{self, IncludeObject, List, ListQuery, VersionMatch};
use twin::kind::Defined;
use twin::{Kind, Objects, Status, Stored};

/// The forms objects come in.
pub(crate) const FORMS: [Form; 3] = [Form::Object, Form::Table, Form::Metadata];

/// `includeObject` of a table.
pub(crate) fn include_object(query: &Query) -> Result<IncludeObject, Status> {
    match query.filled("includeObject") {
        None | Some("Metadata") => Ok(IncludeObject::Metadata),
        Some("None") => Ok(IncludeObject::None),
        Some("Object") => Ok(IncludeObject::Object),
        Some(other) => Err(Status::bad_request(format!(
            "unrecognized includeObject value: {other:?}: expected None, Metadata or Object"
        ))),
    }
}

/// GET of one object or its status.
pub(crate) fn get(
    cluster: &Cluster,
    target: &Target,
    query: &Query,
    accept: &Accept,
) -> Result<Response, Status> {
    let resource = target.kind.resource();
    match target.subresource.as_deref() {
        None => {}
        Some("scale") if resource.has_part("scale") => return scale(cluster, target, accept),
        Some(part @ ("status" | "ephemeralcontainers" | "approval" | "resize"))
            if resource.has_part(part) => {}
        Some(_) => return Err(nowhere()),
    }
    let (form, media) = accept.choose_of(&FORMS, !resource.custom)?;
    let include = include_object(query)?;
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let found = cluster.read(|objects, now| {
        let defined = objects.definition_of(target.kind).cloned();
        objects.get(target.kind, namespace, &target.name).map(|stored| (stored.clone(), now, defined))
    })?;
    let (stored, now, defined) = found.ok_or_else(|| Status::not_found(resource, &target.name))?;
    Ok(match form {
        Form::Table => {
            let mut table = apiserver::table(
                target.kind,
                defined.as_deref(),
                std::slice::from_ref(&stored),
                now,
                include,
            );
            table["metadata"]["resourceVersion"] = json!(stored.version.to_string());
            respond::json(200, &table)
        }
        Form::Metadata => respond::document(200, &partial_metadata(&stored), media),
        _ if media == Media::Protobuf => {
            respond::document(200, &apiserver::shown_value(target.kind, &stored), media)
        }
        _ => respond::bytes(
            200,
            respond::JSON,
            apiserver::shown(target.kind, defined.as_deref(), &stored).to_vec(),
        ),
    })
}

/// GET of how many replicas an object has.
fn scale(cluster: &Cluster, target: &Target, accept: &Accept) -> Result<Response, Status> {
    let (_, media) = accept.choose_of(&[Form::Object], true)?;
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let found = cluster.read(|objects, _| {
        let stored = objects.get(target.kind, namespace, &target.name)?;
        apiserver::scale(objects, target.kind, stored)
    })?;
    let scale = found.ok_or_else(|| Status::not_found(target.kind.resource(), &target.name))?;
    Ok(respond::document(200, &scale, media))
}

/// What a list's query parameters ask for.
pub(crate) fn list_query(target: &Target, query: &Query) -> Result<ListQuery, Status> {
    let limit = query.number("limit")?.and_then(|l| usize::try_from(l).ok());
    let version_match = match query.filled("resourceVersionMatch") {
        None => None,
        Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
        Some("Exact") => Some(VersionMatch::Exact),
        Some(other) => {
            return Err(Status::bad_request(format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
            )));
        }
    };
    let owned = |name: &str| query.filled(name).map(str::to_owned);
    let mut field_selector = owned("fieldSelector").unwrap_or_default();
    if !target.name.is_empty() {
        // A watch of one object by its path.
        let comma = if field_selector.is_empty() { "" } else { "," };
        field_selector = format!("{field_selector}{comma}metadata.name={}", target.name);
    }
    Ok(ListQuery {
        namespace: target.namespace.clone(),
        label_selector: owned("labelSelector").unwrap_or_default(),
        field_selector,
        limit,
        continue_token: owned("continue"),
        resource_version: owned("resourceVersion"),
        version_match,
    })
}

fn list_meta(list: &List) -> Value {
    let mut meta = json!({"resourceVersion": list.version.to_string()});
    if let Some(token) = &list.continue_token {
        meta["continue"] = json!(token);
    }
    if let Some(remaining) = list.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    meta
}

/// What of a list is written at a time, in bytes, or a little more: however long a list is, its answer takes no more memory.
const CHUNK_BYTES: usize = 64 * 1024;

/// A list on its way out: mostly copies of what each object has cached.
struct Listing {
    kind: Kind,
    defined: Option<Arc<Defined>>,
    items: std::vec::IntoIter<Arc<Stored>>,
    /// Whether something follows that is not the first item.
    behind: bool,
    ended: bool,
}

impl Listing {
    /// Writes as much as goes out at a time; the end with the last item.
    fn fill(&mut self, bytes: &mut Vec<u8>) {
        while bytes.len() < CHUNK_BYTES {
            let Some(stored) = self.items.next() else {
                bytes.extend_from_slice(b"]}");
                self.ended = true;
                return;
            };
            if std::mem::replace(&mut self.behind, true) {
                bytes.push(b',');
            }
            bytes.extend_from_slice(&apiserver::shown(self.kind, self.defined.as_deref(), &stored));
        }
    }
}

/// The body of a list.
fn list_body(kind: Kind, defined: Option<Arc<Defined>>, list: List) -> Body {
    let resource = kind.resource();
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{},\"items\":[",
        resource.name,
        resource.api_version(),
        list_meta(&list)
    );
    let mut bytes = head.into_bytes();
    let mut listing = Listing { kind, defined, items: list.items.into_iter(), behind: false, ended: false };
    listing.fill(&mut bytes);
    if listing.ended {
        return Body::from(bytes);
    }
    let rest = stream::unfold((Some(bytes), listing), |(first, mut listing)| async move {
        if let Some(first) = first {
            return Some((first, (None, listing)));
        }
        if listing.ended {
            return None;
        }
        let mut bytes = Vec::with_capacity(CHUNK_BYTES * 2);
        listing.fill(&mut bytes);
        Some((bytes, (None, listing)))
    });
    Body::from_stream(rest.map(Ok::<_, Infallible>))
}

/// Most bytes of a list in protobuf that are kept from when they are counted until they are sent; the items behind them are
/// encoded anew as they go out, so that a long list takes time and no more memory.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A list in protobuf on its way out. How long all of it is stands at its front, so its items are encoded before that.
struct Encoding {
    kind: Kind,
    items: std::vec::IntoIter<(Arc<Stored>, Option<Vec<u8>>)>,
    ended: bool,
}

impl Encoding {
    fn fill(&mut self, bytes: &mut Vec<u8>) {
        while bytes.len() < CHUNK_BYTES {
            let Some((stored, kept)) = self.items.next() else {
                protobuf::list_end(bytes);
                self.ended = true;
                return;
            };
            let again = || protobuf::bare(&apiserver::shown_value(self.kind, &stored)).unwrap_or_default();
            protobuf::item(&kept.unwrap_or_else(again), bytes);
        }
    }
}

/// The body of a list in protobuf; `None` when one of its items has none.
fn encoded_list(kind: Kind, list: &List) -> Option<Body> {
    let resource = kind.resource();
    let (mut length, mut items) = (0, Vec::with_capacity(list.items.len()));
    for stored in &list.items {
        let bare = protobuf::bare(&apiserver::shown_value(kind, stored))?;
        length += protobuf::item_bytes(&bare);
        items.push((stored.clone(), (length <= KEPT_BYTES_MAX).then_some(bare)));
    }
    let name = format!("{}List", resource.name);
    let head = protobuf::list_head(&resource.api_version(), &name, &list_meta(list), length)?;
    let encoding = Encoding { kind, items: items.into_iter(), ended: false };
    let rest = stream::unfold((Some(head), encoding), |(head, mut encoding)| async move {
        if head.is_none() && encoding.ended {
            return None;
        }
        let mut bytes = head.unwrap_or_default();
        encoding.fill(&mut bytes);
        Some((bytes, (None, encoding)))
    });
    Some(Body::from_stream(rest.map(Ok::<_, Infallible>)))
}

/// GET of a collection.
pub(crate) fn list(
    cluster: &Cluster,
    target: &Target,
    query: &Query,
    accept: &Accept,
) -> Result<Response, Status> {
    let (form, media) = accept.choose_of(&FORMS, !target.kind.resource().custom)?;
    let include = include_object(query)?;
    let wanted = list_query(target, query)?;
    let run = |objects: &Objects, now| {
        let defined = objects.definition_of(target.kind).cloned();
        apiserver::list(objects, target.kind, &wanted).map(|list| (list, now, defined))
    };
    let (list, now, defined) = cluster.read(run)??;
    Ok(match form {
        Form::Table => {
            let mut table = apiserver::table(target.kind, defined.as_deref(), &list.items, now, include);
            table["metadata"] = list_meta(&list);
            respond::json(200, &table)
        }
        Form::Metadata => {
            let items: Vec<Value> = list.items.iter().map(|s| partial_metadata(s)).collect();
            let document = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta(&list), "items": items});
            respond::document(200, &document, media)
        }
        _ => {
            let encoded = if media == Media::Protobuf { encoded_list(target.kind, &list) } else { None };
            match encoded {
                Some(body) => respond::bytes(200, protobuf::MEDIA, body),
                None => respond::bytes(200, respond::JSON, list_body(target.kind, defined, list)),
            }
        }
    })
}
