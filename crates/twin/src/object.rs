//! An API object: typed where controllers act on its kind, else a document with typed metadata.
//!
//! A pod is kept without the token that is mounted into it ([`token`]): as it is shown it is made when it is shown.

pub(crate) mod token;

use crate::kind::Kind;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A part that versions of an object share until one of them changes it.
#[derive(Clone, Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Shared<T> {
        Shared(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Changing it copies it where others have it.
impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || *self.0 == *other.0
    }
}

/// The members of a document but `apiVersion`, `kind` and `metadata`, by name. A copy shares each until it is changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body(BTreeMap<Arc<str>, Shared<Value>>);

impl Body {
    /// A member.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).map(|value| &**value)
    }
    /// A member, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.get_mut(name).map(|value| &mut **value)
    }
    /// A member, to change; null where there was none.
    pub fn at_mut(&mut self, name: &str) -> &mut Value {
        self.0.entry(name.into()).or_default()
    }
    /// Puts a member in place.
    pub fn insert(&mut self, name: &str, value: Value) {
        match self.0.get_mut(name) {
            Some(own) => *own = value.into(),
            None => drop(self.0.insert(name.into(), value.into())),
        }
    }
    /// Takes a member away.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
    /// All members, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether a member is the same in both, absent ones included.
    pub fn is_same(&self, other: &Body, name: &str) -> bool {
        self.0.get(name) == other.0.get(name)
    }
}

impl From<Map<String, Value>> for Body {
    fn from(map: Map<String, Value>) -> Body {
        Body(map.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// An object of a kind nothing in the twin is typed for.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its kind, as stored.
    pub kind: Kind,
    /// `apiVersion` it was written in.
    pub api_version: Box<str>,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Everything but `apiVersion`, `kind` and `metadata`.
    pub body: Body,
}

impl serde::Serialize for Document {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(3 + self.body.len()))?;
        map.serialize_entry("apiVersion", &*self.api_version)?;
        map.serialize_entry("kind", self.kind.resource().name)?;
        map.serialize_entry("metadata", &self.metadata)?;
        for (key, value) in self.body.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Document {
    /// Of a kind, from the document as the API serves it, which is given back with the error.
    fn from_whole(kind: Kind, mut whole: Value) -> Result<Document, (DecodeError, Value)> {
        let Value::Object(parts) = &mut whole else {
            return Err((
                DecodeError { path: ".".to_owned(), message: "expected an object".to_owned() },
                whole,
            ));
        };
        let metadata = match parts.get("metadata") {
            None | Some(Value::Null) => ObjectMeta::default(),
            Some(meta) => match decode(meta) {
                Ok(meta) => *meta,
                Err(DecodeError { path, message }) => {
                    return Err((DecodeError { path: format!("metadata.{path}"), message }, whole));
                }
            },
        };
        let resource = kind.stored().resource();
        let sent = parts.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let api_version = if resource.custom { sent.to_owned() } else { resource.api_version() };
        let mut body = std::mem::take(parts);
        ["apiVersion", "kind", "metadata"].iter().for_each(|part| drop(body.remove(*part)));
        Ok(Document { kind: kind.stored(), api_version: api_version.into(), metadata, body: body.into() })
    }
    /// The document as the API serves it.
    fn to_value(&self) -> Value {
        let mut whole = Map::new();
        let meta = serde_json::to_value(&self.metadata).expect("Kubernetes types serialise to JSON");
        whole.insert("apiVersion".to_owned(), Value::String((*self.api_version).to_owned()));
        whole.insert("kind".to_owned(), Value::String(self.kind.resource().name.to_owned()));
        whole.insert("metadata".to_owned(), meta);
        whole.extend(self.body.iter().map(|(name, part)| (name.to_owned(), part.clone())));
        Value::Object(whole)
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A Namespace.
    Namespace(Box<Namespace>),
    /// A Node.
    Node(Box<Node>),
    /// A Pod.
    Pod(Box<Pod>),
    /// A ConfigMap.
    ConfigMap(Box<ConfigMap>),
    /// An Event.
    Event(Box<Event>),
    /// A Job.
    Job(Box<Job>),
    /// A Lease.
    Lease(Box<Lease>),
    /// A PriorityClass.
    PriorityClass(Box<PriorityClass>),
    /// Any other.
    Document(Box<Document>),
}

/// Why a document is not an object of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct DecodeError {
    /// Path of the field, e.g. `spec.parallelism`; `.` for the whole.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
}

/// Runs `$body` with `$inner` bound to the typed object inside.
macro_rules! each {
    ($object:expr, $inner:ident => $body:expr) => {
        match $object {
            Object::Namespace($inner) => $body,
            Object::Node($inner) => $body,
            Object::Pod($inner) => $body,
            Object::ConfigMap($inner) => $body,
            Object::Event($inner) => $body,
            Object::Job($inner) => $body,
            Object::Lease($inner) => $body,
            Object::PriorityClass($inner) => $body,
            Object::Document($inner) => $body,
        }
    };
}

fn decode<T: serde::de::DeserializeOwned>(value: &Value) -> Result<Box<T>, DecodeError> {
    // Following the path costs more than all the rest, and is worth it only where there is an error to place.
    if let Ok(read) = T::deserialize(value) {
        return Ok(Box::new(read));
    }
    serde_path_to_error::deserialize(value)
        .map(Box::new)
        .map_err(|error| DecodeError { path: error.path().to_string(), message: error.inner().to_string() })
}

/// The document as it is saved. What the API serves are [`Object::to_value`] and [`Object::to_bytes`].
impl serde::Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        each!(self, o => o.serialize(s))
    }
}

/// Whether an object has a finalizer.
pub(crate) fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|finalizer| finalizer == name)
}

/// Takes a finalizer off.
pub(crate) fn drop_finalizer(meta: &mut ObjectMeta, name: &str) {
    let Some(all) = &mut meta.finalizers else { return };
    all.retain(|finalizer| finalizer != name);
    if all.is_empty() {
        meta.finalizers = None;
    }
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Namespace(_) => Kind::Namespace,
            Object::Node(_) => Kind::Node,
            Object::Pod(_) => Kind::Pod,
            Object::ConfigMap(_) => Kind::ConfigMap,
            Object::Event(_) => Kind::Event,
            Object::Job(_) => Kind::Job,
            Object::Lease(_) => Kind::Lease,
            Object::PriorityClass(_) => Kind::PriorityClass,
            Object::Document(document) => document.kind,
        }
    }
    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        each!(self, o => &o.metadata)
    }
    /// Its metadata, to change.
    pub fn meta_mut(&mut self) -> &mut ObjectMeta {
        each!(self, o => &mut o.metadata)
    }
    /// Namespace, empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }
    /// Name.
    pub fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }
    /// Uid.
    pub fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }
    /// Whether it is being deleted and nothing keeps it.
    pub fn may_go(&self) -> bool {
        self.meta().deletion_timestamp.is_some() && !self.is_held()
    }
    /// Whether something keeps it once it is being deleted: a finalizer, its time of grace, for a namespace its content.
    pub fn is_held(&self) -> bool {
        let meta = self.meta();
        let finalizers = meta.finalizers.as_ref().is_some_and(|f| !f.is_empty());
        let graceful = meta.deletion_grace_period_seconds.is_some_and(|s| s > 0);
        let content = match self {
            Object::Namespace(namespace) => {
                let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.as_ref());
                finalizers.is_some_and(|finalizers| !finalizers.is_empty())
            }
            _ => false,
        };
        finalizers || graceful || content
    }
    /// The document as the API serves it, `apiVersion` and `kind` included.
    pub fn to_value(&self) -> Value {
        match self {
            Object::Pod(pod) => {
                serde_json::to_value(&*token::shown(pod)).expect("Kubernetes types serialise to JSON")
            }
            Object::Document(document) => document.to_value(),
            typed => serde_json::to_value(typed).expect("Kubernetes types serialise to JSON"),
        }
    }
    /// The same as [`Object::from_value`], without a copy of what is kept as it comes; the error gives the document back.
    pub(crate) fn from_whole(kind: Kind, whole: Value) -> Result<Object, (DecodeError, Value)> {
        if kind.stored().is_typed() {
            return Object::from_value(kind, &whole).map_err(|error| (error, whole));
        }
        Document::from_whole(kind, whole).map(|document| Object::Document(Box::new(document)))
    }
    /// Reads a document of `kind`; its `apiVersion` and `kind` must be those of the kind.
    pub fn from_value(kind: Kind, value: &Value) -> Result<Object, DecodeError> {
        let mut object = Object::from_saved(kind, value)?;
        if let Object::Pod(pod) = &mut object {
            token::named(pod);
            token::folded(pod);
        }
        Ok(object)
    }
    /// Reads a document that was saved.
    pub fn from_saved(kind: Kind, value: &Value) -> Result<Object, DecodeError> {
        Ok(match kind.stored() {
            Kind::Namespace => Object::Namespace(decode(value)?),
            Kind::Node => Object::Node(decode(value)?),
            Kind::Pod => Object::Pod(decode(value)?),
            Kind::ConfigMap => Object::ConfigMap(decode(value)?),
            Kind::Event => Object::Event(decode(value)?),
            Kind::Job => Object::Job(decode(value)?),
            Kind::Lease => Object::Lease(decode(value)?),
            Kind::PriorityClass => Object::PriorityClass(decode(value)?),
            Kind::Document(_) => {
                let document = Document::from_whole(kind, value.clone()).map_err(|(error, _)| error)?;
                Object::Document(Box::new(document))
            }
        })
    }
    /// The bytes the API serves.
    pub fn to_bytes(&self) -> Vec<u8> {
        if let Object::Pod(pod) = self {
            return serde_json::to_vec(&*token::shown(pod)).expect("Kubernetes types serialise to JSON");
        }
        each!(self, o => serde_json::to_vec(o)).expect("Kubernetes types serialise to JSON")
    }
    /// As a document.
    pub fn as_document(&self) -> Option<&Document> {
        if let Object::Document(o) = self { Some(o) } else { None }
    }
    /// As a Pod.
    pub fn as_pod(&self) -> Option<&Pod> {
        if let Object::Pod(o) = self { Some(o) } else { None }
    }
    /// As a Job.
    pub fn as_job(&self) -> Option<&Job> {
        if let Object::Job(o) = self { Some(o) } else { None }
    }
    /// As a Node.
    pub fn as_node(&self) -> Option<&Node> {
        if let Object::Node(o) = self { Some(o) } else { None }
    }
}
