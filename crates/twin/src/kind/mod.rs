//! The kinds a twin keeps, with everything discovery and paths say about them.
//!
//! Eight kinds are typed, because controllers act on them; every other built-in resource, and every custom one, is a
//! [`Document`](Kind::Document). A kind is one resource in one version; several versions of one resource (HPAs of
//! `autoscaling/v1` and `v2`, Events of the core group and of `events.k8s.io`) are kept as one, [`Kind::stored`].

pub mod custom;
mod defined;
mod table;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

pub use defined::{Defined, Version, compare_versions};
pub use table::{resources, split_version};

/// A kind of object. The order is the order of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Event.
    Event,
    /// `batch/v1` Job.
    Job,
    /// `coordination.k8s.io/v1` Lease.
    Lease,
    /// `scheduling.k8s.io/v1` PriorityClass.
    PriorityClass,
    /// Any other.
    Document(DocumentKind),
}

/// A kind kept as documents; told apart by group, plural and version.
#[derive(Clone, Copy, Debug)]
pub struct DocumentKind(&'static Resource);

impl DocumentKind {
    fn key(&self) -> (&'static str, &'static str, &'static str) {
        (self.0.group, self.0.plural, self.0.version)
    }
}

impl PartialEq for DocumentKind {
    fn eq(&self, other: &DocumentKind) -> bool {
        std::ptr::eq(self.0, other.0) || self.key() == other.key()
    }
}
impl Eq for DocumentKind {}
impl PartialOrd for DocumentKind {
    fn partial_cmp(&self, other: &DocumentKind) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for DocumentKind {
    fn cmp(&self, other: &DocumentKind) -> Ordering {
        if std::ptr::eq(self.0, other.0) { Ordering::Equal } else { self.key().cmp(&other.key()) }
    }
}
impl Hash for DocumentKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// What discovery says of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version within the group.
    pub version: &'static str,
    /// Kind as objects carry it.
    pub name: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Short names kubectl knows.
    pub short_names: Vec<&'static str>,
    /// Groups such as `all`.
    pub categories: Vec<&'static str>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<&'static str>,
    /// Whether there is a `status` subresource.
    pub status: bool,
    /// Whether there is a `scale` subresource of a custom resource.
    pub scale: bool,
    /// Parts of it with paths of their own, of built-in resources.
    pub subresources: Vec<Subpart>,
    /// Whether a CustomResourceDefinition defines it.
    pub custom: bool,
}

/// A subresource, as discovery says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subpart {
    /// Name in paths.
    pub name: &'static str,
    /// Kind of what is sent and answered.
    pub kind: &'static str,
    /// API group of that kind.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What can be done with it.
    pub verbs: Vec<&'static str>,
}

/// The typed kinds' resources, in order.
static TYPED: LazyLock<Vec<&'static Resource>> = LazyLock::new(|| {
    let of = |(group, plural): (&str, &str)| {
        resources().iter().find(|r| (r.group, r.plural) == (group, plural)).expect("a test reads them all")
    };
    TYPED_NAMES.into_iter().map(of).collect()
});

/// Group and plural of each typed kind.
const TYPED_NAMES: [(&str, &str); 8] = [
    ("", "namespaces"),
    ("", "nodes"),
    ("", "pods"),
    ("", "configmaps"),
    ("", "events"),
    ("batch", "jobs"),
    ("coordination.k8s.io", "leases"),
    ("scheduling.k8s.io", "priorityclasses"),
];

impl Kind {
    /// Every typed kind, in order.
    pub const ALL: [Kind; 8] = [
        Kind::Namespace,
        Kind::Node,
        Kind::Pod,
        Kind::ConfigMap,
        Kind::Event,
        Kind::Job,
        Kind::Lease,
        Kind::PriorityClass,
    ];

    /// What discovery says of it.
    pub fn resource(self) -> &'static Resource {
        let index = match self {
            Kind::Namespace => 0,
            Kind::Node => 1,
            Kind::Pod => 2,
            Kind::ConfigMap => 3,
            Kind::Event => 4,
            Kind::Job => 5,
            Kind::Lease => 6,
            Kind::PriorityClass => 7,
            Kind::Document(DocumentKind(resource)) => return resource,
        };
        TYPED[index]
    }
    /// Whether controllers act on it.
    pub fn is_typed(self) -> bool {
        !matches!(self, Kind::Document(_))
    }
    /// Whether it is `plural` of `group`, in whatever version.
    pub fn is(self, group: &str, plural: &str) -> bool {
        let resource = self.resource();
        resource.plural == plural && resource.group == group
    }
    /// The built-in kind served under `group`, `version` and the plural `plural`.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<Kind> {
        let found = |r: &&Resource| r.plural == plural && r.group == group && r.version == version;
        resources().iter().find(found).map(Resource::kind)
    }
    /// The built-in kind that objects with this `apiVersion` and `kind` are of.
    pub fn of_object(api_version: &str, name: &str) -> Option<Kind> {
        let (group, version) = split_version(api_version);
        let found = |r: &&Resource| r.name == name && r.group == group && r.version == version;
        resources().iter().find(found).map(Resource::kind)
    }
    /// The built-in kind of a resource that has one version.
    pub(crate) fn document(group: &str, plural: &str) -> Kind {
        let found = resources().iter().find(|r| r.plural == plural && r.group == group);
        found.expect("a resource of the table, named in the code").kind()
    }
    /// The kind in which objects of this one are kept.
    pub fn stored(self) -> Kind {
        let Kind::Document(DocumentKind(resource)) = self else { return self };
        match (resource.group, resource.version, resource.plural) {
            ("events.k8s.io", _, "events") => Kind::Event,
            ("autoscaling", "v1", "horizontalpodautoscalers") => {
                Kind::document("autoscaling", resource.plural)
            }
            _ if resource.custom && !resource.version.is_empty() => {
                let mut facts = custom::Facts::of(resource);
                (facts.version, facts.status, facts.scale) = (String::new(), false, false);
                // A kind that was named leaves room for its own stored form: both are counted together.
                custom::named(&facts).map_or(self, Resource::kind)
            }
            _ => self,
        }
    }
    /// The kind of a custom resource; `None` when too many were named in this process.
    pub fn custom(facts: &custom::Facts) -> Option<Kind> {
        let kind = custom::named(facts)?.kind();
        kind.stored();
        Some(kind)
    }
}

impl Resource {
    /// Its kind.
    pub fn kind(&'static self) -> Kind {
        let typed = |&(group, plural): &(&str, &str)| self.group == group && self.plural == plural;
        match TYPED_NAMES.iter().position(typed) {
            Some(index) if !self.custom => Kind::ALL[index],
            _ => Kind::Document(DocumentKind(self)),
        }
    }
    /// `v1`, `batch/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
    /// `jobs.batch`, `pods`: how error messages name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
    /// Whether a verb goes with it.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
    /// Whether it has a part of this name.
    pub fn has_part(&self, name: &str) -> bool {
        match name {
            "status" => self.status,
            "scale" if self.custom => self.scale,
            name => self.subresource(name).is_some(),
        }
    }
    /// A subresource by its name.
    pub fn subresource(&self, name: &str) -> Option<&Subpart> {
        self.subresources.iter().find(|part| part.name == name)
    }
}

/// As saved: `Pod` for typed kinds, `deployments.apps/v1` for others, and all facts of custom ones.
impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Kind::Document(DocumentKind(resource)) if resource.custom => {
                s.serialize_str(&custom::Facts::of(resource).to_text())
            }
            Kind::Document(DocumentKind(resource)) => {
                s.collect_str(&format_args!("{}/{}", resource.qualified(), resource.version))
            }
            typed => s.serialize_str(typed.resource().name),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Kind, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let found = if text.contains(' ') {
            custom::Facts::parse(&text).and_then(|facts| Kind::custom(&facts))
        } else if let Some((resource, version)) = text.rsplit_once('/') {
            let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
            Kind::find(group, version, plural)
        } else {
            Kind::ALL.into_iter().find(|kind| kind.resource().name == text)
        };
        let wrong = || serde::de::Error::custom(format!("kind {text:?}: expected one the twin keeps"));
        found.ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_by_its_names_and_comes_back_from_its_text() {
        let mut facts = custom::Facts {
            group: "example.com".to_owned(),
            version: "v1".to_owned(),
            plural: "crontabs".to_owned(),
            name: "CronTab".to_owned(),
            namespaced: true,
            status: true,
            scale: false,
        };
        let custom = Kind::custom(&facts).unwrap();
        facts.version = "v2".to_owned();
        assert_eq!(custom.stored(), Kind::custom(&facts).unwrap().stored());
        assert_ne!(custom, Kind::custom(&facts).unwrap());
        let all = resources().iter().map(Resource::kind).chain([custom, custom.stored()]);
        for kind in all {
            let text = serde_json::to_string(&kind).unwrap();
            let again: Kind = serde_json::from_str(&text).unwrap();
            assert_eq!((again, again.resource()), (kind, kind.resource()), "{text}");
            assert_eq!(kind.stored().stored(), kind.stored());
        }
        for kind in Kind::ALL {
            let r = kind.resource();
            assert_eq!(Kind::find(r.group, r.version, r.plural), Some(kind));
            assert_eq!(Kind::of_object(&r.api_version(), r.name), Some(kind));
        }
        assert_eq!(Kind::find("events.k8s.io", "v1", "events").map(Kind::stored), Some(Kind::Event));
        assert!(serde_json::from_str::<Kind>("\"Nothing\"").is_err());
    }
}
