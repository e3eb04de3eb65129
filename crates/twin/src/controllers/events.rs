//! Events about objects, and the bound on how many are kept.
//!
//! The real server drops an Event after an hour (`--event-ttl`). A world at 600 times real time would
//! show each for six seconds, so here the number is bounded instead: the oldest go first.

use super::{Cx, time};
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Change, ChangeKind};
use fleet::Instant;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// Most Events a cluster keeps.
pub(crate) const EVENTS_MAX: usize = 1000;
/// Longest message of an Event, in bytes (the API's limit).
const MESSAGE_LENGTH_MAX: usize = 1024;
/// Bits of an Event's number that tell those of the same millisecond apart.
const VERSION_BITS: u32 = 20;

/// The object an Event is about.
#[derive(Clone, Debug)]
pub(crate) struct About<'a> {
    kind: Kind,
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    version: u64,
    field: Option<String>,
    /// API version and kind, where no object of it is kept.
    apart: Option<(&'static str, &'static str)>,
}

impl<'a> About<'a> {
    pub(crate) fn new(object: &'a Object) -> About<'a> {
        let version = object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
        About {
            kind: object.kind(),
            namespace: object.namespace(),
            name: object.name(),
            uid: object.uid(),
            version,
            field: None,
            apart: None,
        }
    }
    /// Something that is no object of the cluster: API version, kind and name.
    pub(crate) fn apart(api_version: &'static str, kind: &'static str, name: &'a str) -> About<'a> {
        let apart = Some((api_version, kind));
        About { kind: Kind::Node, namespace: "", name, uid: "", version: 0, field: None, apart }
    }
    fn kind(&self) -> (String, &'static str) {
        let resource = self.kind.resource();
        match self.apart {
            Some((api_version, kind)) => (api_version.to_owned(), kind),
            None => (resource.api_version(), resource.name),
        }
    }
    /// The same, narrowed to a field, such as one container.
    pub(crate) fn field(mut self, path: String) -> About<'a> {
        self.field = Some(path);
        self
    }
}

/// Who says it, and on which node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) component: &'a str,
    pub(crate) host: Option<&'a str>,
}

impl Cx<'_> {
    /// Records a Normal Event.
    pub(crate) fn normal(&mut self, about: &About<'_>, source: Source<'_>, reason: &str, message: String) {
        self.event(about, source, ("Normal", reason), message);
    }
    /// Records a Warning.
    pub(crate) fn warning(&mut self, about: &About<'_>, source: Source<'_>, reason: &str, message: String) {
        self.event(about, source, ("Warning", reason), message);
    }
    /// Records an Event of a type (`Normal`, `Warning`) about an object, by kind, namespace and name, if it is there.
    pub(crate) fn tell(
        &mut self,
        (kind, namespace, name): (Kind, &str, &str),
        source: Source<'_>,
        what: (&str, &str),
        message: String,
    ) {
        if let Some(stored) = self.objects.get(kind, namespace, name).cloned() {
            self.event(&About::new(&stored.object), source, what, message);
        }
    }
    fn event(
        &mut self,
        about: &About<'_>,
        source: Source<'_>,
        (kind, reason): (&str, &str),
        mut message: String,
    ) {
        // Events of cluster-scoped objects live in `default`, as in Kubernetes.
        let namespace = if about.namespace.is_empty() { "default" } else { about.namespace };
        let name = format!("{}.{:016x}", about.name, instant_bits(self.now, self.objects.version()));
        if message.len() > MESSAGE_LENGTH_MAX {
            let cut = (0..=MESSAGE_LENGTH_MAX).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
            message.truncate(cut);
        }
        let (api_version, kind_of) = about.kind();
        let event = Event {
            metadata: self.new_meta(namespace, name),
            involved_object: ObjectReference {
                api_version: Some(api_version),
                kind: Some(kind_of.to_owned()),
                namespace: (!about.namespace.is_empty()).then(|| about.namespace.to_owned()),
                name: Some(about.name.to_owned()),
                uid: Some(about.uid.to_owned()).filter(|_| about.apart.is_none()),
                resource_version: Some(about.version.to_string()).filter(|_| about.apart.is_none()),
                field_path: about.field.clone(),
            },
            type_: Some(kind.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            count: Some(1),
            first_timestamp: Some(time(self.now)),
            last_timestamp: Some(time(self.now)),
            event_time: None,
            source: Some(EventSource {
                component: Some(source.component.to_owned()),
                host: source.host.map(str::to_owned),
            }),
            reporting_component: Some(source.component.to_owned()),
            reporting_instance: Some(source.host.unwrap_or_default().to_owned()),
            ..Event::default()
        };
        self.objects.put(Object::Event(Box::new(event)));
    }
}

/// An instant, in units of 2²⁰ ns (about a millisecond), and within it the version of the cluster: names of Events sort by
/// time, as those of Kubernetes do, whose clients show what has the same second in that order.
fn instant_bits(at: Instant, version: u64) -> u64 {
    let low = (1u64 << VERSION_BITS) - 1;
    (at.as_unix_nanos().max(0) as u64 & !low) | (version & low)
}

/// Keeps the number of Events bounded.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct EventLimit {
    kept: VecDeque<(Arc<str>, Arc<str>)>,
}

impl EventLimit {
    pub(crate) fn observe(&mut self, change: &Change) {
        if change.kind == ChangeKind::Added && change.object.object.kind() == Kind::Event {
            let object = &change.object.object;
            self.kept.push_back((object.namespace().into(), object.name().into()));
        }
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        let over = self.kept.len().saturating_sub(EVENTS_MAX);
        for (namespace, name) in self.kept.drain(..over) {
            cx.objects.remove(Kind::Event, &namespace, &name);
        }
        over > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Span;

    #[test]
    fn later_events_have_later_names() {
        let at = Instant::from_unix_seconds(1_790_000_000);
        let name =
            |seconds, version| format!("{:016x}", instant_bits(at + Span::from_seconds(seconds), version));
        assert!(name(0, 7) < name(0, 8));
        assert!(name(0, 99) < name(1, 3));
    }
}
