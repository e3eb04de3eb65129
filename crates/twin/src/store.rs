//! The objects of one cluster: one increasing resource version, and a bounded history for watches.
//!
//! Invariants: every write gives a new version; an object's `metadata.resourceVersion` is the version
//! of the write that put it there; a deletion has a version of its own, under which its last state is told. Objects are shared behind
//! [`Arc`] and never changed in place, so a reader keeps a consistent view for nothing. Rules of the
//! API (validation, defaults, finalizers) live in [`crate::apiserver`], not here.

use crate::kind::{Defined, Kind, split_version};
use crate::object::{DecodeError, Object};
use fleet::{Instant, Span};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

/// How many changes a cluster remembers for watches; a watch that fell further behind gets 410 Gone.
pub const HISTORY_MAX: usize = 1_500;

/// How often what was known a period ago is let go, for lists that go on as of their first page: etcd is compacted so for the
/// API server. A list goes on for five to ten minutes of the twin's time.
const COMPACTED_EVERY: Span = Span::from_seconds(300);

/// Plural of the kind whose objects define others.
const DEFINITIONS: &str = "customresourcedefinitions";

/// An object as stored, with its version and (once asked for) its bytes.
#[derive(Debug)]
pub struct Stored {
    /// The object, `metadata.resourceVersion` set.
    pub object: Object,
    /// Its version.
    pub version: u64,
    /// Who owns which fields, where anybody's are written down.
    pub managed: Option<Arc<Managed>>,
    bytes: OnceLock<Arc<[u8]>>,
}

/// `metadata.managedFields` as JSON text. Kept beside the object and as text: the tree is many times as large, and
/// whoever changes an object in place of its owner has no use for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Managed(Box<str>);

impl Managed {
    /// From the list; `None` when it is empty.
    pub fn new(list: &impl Serialize) -> Option<Arc<Managed>> {
        let text = serde_json::to_string(list).unwrap_or_default();
        (text.starts_with('[') && text != "[]").then(|| Arc::new(Managed(text.into())))
    }
    /// The list.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl Stored {
    /// An object at a version, outside any store: for answers that show a state nobody stores.
    pub fn at(mut object: Object, version: u64) -> Stored {
        object.meta_mut().resource_version = Some(version.to_string());
        Stored { object, version, managed: None, bytes: OnceLock::new() }
    }
    /// The same with managed fields.
    pub fn with_managed(self, managed: Option<Arc<Managed>>) -> Stored {
        Stored { managed, ..self }
    }
    /// The JSON the API serves in the version it is stored in, made once per version.
    pub fn bytes(&self) -> Arc<[u8]> {
        self.bytes.get_or_init(|| self.write_bytes().into()).clone()
    }
    /// The same, not kept where nobody asked for it before: for whoever is told alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        if let Some(bytes) = self.bytes.get() {
            return bytes.to_vec();
        }
        self.write_bytes()
    }
    fn write_bytes(&self) -> Vec<u8> {
        const META: &[u8] = b"\"metadata\":{";
        let mut bytes = self.object.to_bytes();
        // Only `apiVersion` and `kind`, which hold no braces, come before; a stored object has a name.
        if let Some(managed) = &self.managed
            && let Some(at) = bytes.windows(META.len()).position(|window| window == META)
        {
            let at = at + META.len();
            let text = format!("\"managedFields\":{},", managed.0);
            bytes.splice(at..at, text.into_bytes());
        }
        bytes
    }
    /// The document the API serves, in the version it is stored in.
    pub fn to_value(&self) -> Value {
        let mut value = self.object.to_value();
        if let Some(managed) = &self.managed {
            value["metadata"]["managedFields"] = managed.to_value();
        }
        value
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone; the change carries its last state with the version of the deletion.
    Deleted,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Change {
    /// Version of the write.
    pub version: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The object after; for a deletion, the one before.
    pub object: Arc<Stored>,
    /// The object before; `None` when added.
    pub previous: Option<Arc<Stored>>,
    /// The last state under the version of the deletion, made once somebody asks.
    ended: Option<Arc<OnceLock<Arc<Stored>>>>,
}

impl Change {
    /// The object as watches are told of it: of a deletion, its last state under the version of the deletion.
    pub fn told(&self) -> Arc<Stored> {
        let Some(ended) = &self.ended else { return self.object.clone() };
        let last = || Stored::at(self.object.object.clone(), self.version);
        ended.get_or_init(|| Arc::new(last().with_managed(self.object.managed.clone()))).clone()
    }
}

/// The version asked for is older than the history kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

type Key = (Arc<str>, Arc<str>);

/// A namespace and a name, however they are held: objects are looked up without copying either.
trait Place {
    fn parts(&self) -> (&str, &str);
}

impl Place for Key {
    fn parts(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
}

impl Place for (&str, &str) {
    fn parts(&self) -> (&str, &str) {
        *self
    }
}

impl<'a> Borrow<dyn Place + 'a> for Key {
    fn borrow(&self) -> &(dyn Place + 'a) {
        self
    }
}

impl PartialEq for dyn Place + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Place + '_ {}

impl PartialOrd for dyn Place + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Place + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

/// All objects of a cluster.
#[derive(Debug, Default)]
pub struct Objects {
    version: u64,
    kinds: BTreeMap<Kind, BTreeMap<Key, Arc<Stored>>>,
    /// Version of the last write of each kind.
    last: BTreeMap<Kind, u64>,
    /// What the cluster's CustomResourceDefinitions define, by their names; follows from the objects.
    defined: BTreeMap<Arc<str>, Arc<Defined>>,
    history: VecDeque<Change>,
    /// Version of the last change of each kind that the history no longer has.
    forgotten: BTreeMap<Kind, u64>,
    /// Lists of versions before this one do not go on.
    compacted: u64,
    /// When was last compacted, and the version of then.
    mark: Option<(Instant, u64)>,
    /// Changes of which the controllers have not yet heard.
    unseen: VecDeque<Change>,
    /// Nanocores that pods use for the requests of Services: by the pod's uid and the Service's name. No objects, but
    /// read like what annotations say of pods.
    borne: Borne,
    /// Whether the metrics APIs say nothing.
    unmeasured: bool,
}

type Borne = BTreeMap<Arc<str>, BTreeMap<Arc<str>, i64>>;

impl Objects {
    /// No objects, version 0.
    pub fn new() -> Objects {
        Objects::default()
    }
    /// States what a pod uses for the requests of a Service; whether that is news.
    pub(crate) fn bear(&mut self, uid: &Arc<str>, service: &Arc<str>, nanocores: Option<i64>) -> bool {
        let Some(nanocores) = nanocores else {
            let Some(own) = self.borne.get_mut(uid) else { return false };
            let had = own.remove(service).is_some();
            if own.is_empty() {
                self.borne.remove(uid);
            }
            return had;
        };
        let own = self.borne.entry(uid.clone()).or_default();
        own.insert(service.clone(), nanocores) != Some(nanocores)
    }
    /// Nanocores a pod uses for the requests of all Services; `None`: nothing says.
    pub(crate) fn borne(&self, uid: &str) -> Option<i64> {
        Some(self.borne.get(uid)?.values().fold(0, |sum: i64, each| sum.saturating_add(*each)))
    }
    /// Has the metrics APIs answer, or not.
    pub(crate) fn set_metrics(&mut self, there: bool) {
        self.unmeasured = !there;
    }
    /// Whether the metrics APIs answer.
    pub(crate) fn has_metrics(&self) -> bool {
        !self.unmeasured
    }
    /// Whether anything says what a pod uses for the requests of a Service.
    pub(crate) fn is_any_borne(&self) -> bool {
        !self.borne.is_empty()
    }
    /// Version of the last write.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// Version of the last write of a kind; 0 if there was none.
    pub fn last_version(&self, kind: Kind) -> u64 {
        self.last.get(&kind.stored()).copied().unwrap_or(0)
    }
    /// One object; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.kinds.get(&kind.stored())?.get(&(namespace, name) as &dyn Place)
    }
    /// Objects of a kind in order of namespace and name; `namespace` `None` means all.
    pub fn list<'a>(&'a self, kind: Kind, namespace: Option<&str>) -> impl Iterator<Item = &'a Arc<Stored>> {
        let from: Key = (Arc::from(namespace.unwrap_or_default()), Arc::from(""));
        self.kinds
            .get(&kind.stored())
            .into_iter()
            .flat_map(move |all| all.range(from.clone()..))
            .take_while(move |((ns, _), _)| namespace.is_none_or(|wanted| wanted == &**ns))
            .map(|(_, stored)| stored)
    }
    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.kinds.get(&kind.stored()).map_or(0, BTreeMap::len)
    }
    /// What the cluster's own definitions define, by `PLURAL.GROUP`.
    pub fn defined(&self) -> impl Iterator<Item = &Arc<Defined>> {
        self.defined.values()
    }
    /// What the definition `PLURAL.GROUP` defines.
    pub fn definition(&self, name: &str) -> Option<&Arc<Defined>> {
        self.defined.get(name)
    }
    /// The definition behind a custom kind.
    pub fn definition_of(&self, kind: Kind) -> Option<&Arc<Defined>> {
        if kind.resource().custom { self.definition(&kind.resource().qualified()) } else { None }
    }
    /// The kind served under a group, a version and a plural, built in or not.
    pub fn kind(&self, group: &str, version: &str, plural: &str) -> Option<Kind> {
        Kind::find(group, version, plural)
            .or_else(|| self.definition(&format!("{plural}.{group}"))?.served(version))
    }
    /// The kind of objects with this `apiVersion` and `kind`, built in or not.
    pub fn kind_of(&self, api_version: &str, name: &str) -> Option<Kind> {
        Kind::of_object(api_version, name).or_else(|| {
            let (group, version) = split_version(api_version);
            self.defined().find(|d| d.group == group && d.kind == name)?.served(version)
        })
    }
    /// Kinds of which there are objects, as stored, in order.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.kinds.iter().filter(|(_, all)| !all.is_empty()).map(|(kind, _)| *kind)
    }
    /// Puts an object in place, new or changed, under a new version, which it returns in the stored object.
    /// The object must have a name (and a namespace, if its kind has one). Who owns which fields stays as it was.
    pub fn put(&mut self, object: Object) -> Arc<Stored> {
        self.place(object, None)
    }
    /// The same, with managed fields in place of those before.
    pub fn put_managed(&mut self, object: Object, managed: Option<Arc<Managed>>) -> Arc<Stored> {
        self.place(object, Some(managed))
    }
    /// Puts a changed object in place; one that is being deleted and that nothing holds any more goes in this write
    /// instead, as it was before. Returns what stands there now.
    pub fn put_or_let_go(&mut self, object: Object) -> Option<Arc<Stored>> {
        if object.may_go() {
            self.remove(object.kind(), object.namespace(), object.name());
            return None;
        }
        Some(self.put(object))
    }
    fn place(&mut self, mut object: Object, managed: Option<Option<Arc<Managed>>>) -> Arc<Stored> {
        self.version += 1;
        object.meta_mut().resource_version = Some(self.version.to_string());
        let (kind, version) = (object.kind(), self.version);
        let all = self.kinds.entry(kind).or_default();
        let slot = all.get_mut(&(object.namespace(), object.name()) as &dyn Place);
        let (stored, previous) = match slot {
            Some(slot) => {
                let managed = managed.unwrap_or_else(|| slot.managed.clone());
                let stored = Arc::new(Stored { object, version, managed, bytes: OnceLock::new() });
                let previous = std::mem::replace(slot, stored.clone());
                (stored, Some(previous))
            }
            None => {
                let key: Key = (Arc::from(object.namespace()), Arc::from(object.name()));
                let managed = managed.flatten();
                let stored = Arc::new(Stored { object, version, managed, bytes: OnceLock::new() });
                all.insert(key, stored.clone());
                (stored, None)
            }
        };
        let change = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        let change = Change { version, kind: change, object: stored.clone(), previous, ended: None };
        self.record(kind, change);
        stored
    }
    /// Takes an object away. A deletion has a version of its own, which its last state is [told](Change::told) under.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str) -> Option<Change> {
        let kind = kind.stored();
        let previous = self.kinds.get_mut(&kind)?.remove(&(namespace, name) as &dyn Place)?;
        self.version += 1;
        let change = Change {
            version: self.version,
            kind: ChangeKind::Deleted,
            object: previous.clone(),
            previous: Some(previous),
            ended: Some(Arc::default()),
        };
        self.record(kind, change.clone());
        Some(change)
    }
    fn record(&mut self, kind: Kind, change: Change) {
        self.last.insert(kind, self.version);
        self.define(&change.object.object, change.kind == ChangeKind::Deleted);
        self.unseen.push_back(change.clone());
        self.history.push_back(change);
        if self.history.len() > HISTORY_MAX
            && let Some(change) = self.history.pop_front()
        {
            self.forgotten.insert(change.object.object.kind(), change.version);
        }
    }
    /// Keeps what is defined in step with the definitions.
    fn define(&mut self, object: &Object, gone: bool) {
        let Some(document) = object.as_document().filter(|d| d.kind.resource().plural == DEFINITIONS) else {
            return;
        };
        if gone {
            self.defined.remove(object.name());
        } else {
            let spec = document.body.get("spec").unwrap_or(&Value::Null);
            self.defined.insert(object.name().into(), Arc::new(Defined::read(spec)));
        }
    }
    /// Changes after `version`, oldest first; [`Gone`] when some of them are no longer kept.
    pub fn changes_since(&self, version: u64) -> Result<impl Iterator<Item = &Change>, Gone> {
        let oldest = self.history.front().map_or(self.version + 1, |c| c.version);
        if version + 1 < oldest && version < self.version {
            return Err(Gone);
        }
        let from = self.history.partition_point(|c| c.version <= version);
        Ok(self.history.range(from..))
    }
    /// Changes of a kind after `version`, oldest first; [`Gone`] when some of them are no longer kept. What is forgotten of
    /// other kinds does not matter: whoever watches a kind that seldom changes misses nothing by what others do.
    pub fn changes_of(&self, kind: Kind, version: u64) -> Result<impl Iterator<Item = &Change>, Gone> {
        let kind = kind.stored();
        if self.forgotten.get(&kind).is_some_and(|forgotten| *forgotten > version) {
            return Err(Gone);
        }
        let from = self.history.partition_point(|c| c.version <= version);
        Ok(self.history.range(from..).filter(move |change| change.object.object.kind() == kind))
    }
    /// What a list as of `version` has to undo, oldest first; [`Gone`] when that is no longer known, or was long ago.
    pub fn changes_for_list(&self, kind: Kind, version: u64) -> Result<impl Iterator<Item = &Change>, Gone> {
        if version < self.compacted {
            return Err(Gone);
        }
        self.changes_of(kind, version)
    }
    /// Lets go what was known a period ago, if it is time.
    pub fn compact(&mut self, now: Instant) {
        match self.mark {
            Some((then, _)) if now < then.saturating_add(COMPACTED_EVERY) => return,
            Some((_, version)) => self.compacted = version,
            None => {}
        }
        self.mark = Some((now, self.version));
    }
    /// The changes the controllers have not heard of, oldest first.
    pub(crate) fn unseen(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.unseen.iter()
    }
    /// The oldest change the controllers have not heard of.
    pub(crate) fn next_unseen(&mut self) -> Option<Change> {
        self.unseen.pop_front()
    }
}

/// A cluster's objects as saved: the history is not kept, so watches begin anew with a list.
#[derive(Deserialize)]
struct Saved {
    version: u64,
    objects: Vec<(Kind, Value)>,
    last: BTreeMap<Kind, u64>,
    /// Kind, namespace, name and managed fields of objects that have any.
    #[serde(default)]
    managed: Vec<(Kind, String, String, Managed)>,
    #[serde(default)]
    borne: Borne,
    #[serde(default)]
    unmeasured: bool,
}

/// The same on the way out, object by object: a whole tree of documents would be many times as large.
#[derive(Serialize)]
struct Saving<'a> {
    version: u64,
    objects: SavingObjects<'a>,
    last: &'a BTreeMap<Kind, u64>,
    #[serde(skip_serializing_if = "SavingManaged::is_empty")]
    managed: SavingManaged<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    borne: &'a Borne,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unmeasured: bool,
}

struct SavingManaged<'a>(&'a BTreeMap<Kind, BTreeMap<Key, Arc<Stored>>>);

impl SavingManaged<'_> {
    fn all(&self) -> impl Iterator<Item = (Kind, &str, &str, &Managed)> {
        let of = |(kind, all): (&Kind, _)| (*kind, all);
        self.0.iter().map(of).flat_map(|(kind, all): (Kind, &BTreeMap<Key, Arc<Stored>>)| {
            all.iter().filter_map(move |((namespace, name), stored)| {
                Some((kind, &**namespace, &**name, &**stored.managed.as_ref()?))
            })
        })
    }
    fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }
}

impl Serialize for SavingManaged<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.all())
    }
}

struct SavingObjects<'a>(&'a BTreeMap<Kind, BTreeMap<Key, Arc<Stored>>>);

impl Serialize for SavingObjects<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let all =
            self.0.iter().flat_map(|(kind, all)| all.values().map(move |stored| (*kind, &stored.object)));
        s.collect_seq(all)
    }
}

impl Serialize for Objects {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (objects, managed) = (SavingObjects(&self.kinds), SavingManaged(&self.kinds));
        let (version, last, borne) = (self.version, &self.last, &self.borne);
        Saving { version, objects, last, managed, borne, unmeasured: self.unmeasured }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Objects, D::Error> {
        let saved = Saved::deserialize(d)?;
        let forgotten = saved.last.clone();
        let mut objects = Objects {
            version: saved.version,
            last: saved.last,
            forgotten,
            borne: saved.borne,
            unmeasured: saved.unmeasured,
            ..Objects::default()
        };
        let managed = saved.managed.into_iter();
        let mut managed: BTreeMap<(Kind, String, String), Managed> =
            managed.map(|(kind, namespace, name, managed)| ((kind, namespace, name), managed)).collect();
        for (kind, value) in saved.objects {
            let object =
                Object::from_saved(kind, &value).map_err(|e: DecodeError| serde::de::Error::custom(e))?;
            let version = object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
            let key: Key = (Arc::from(object.namespace()), Arc::from(object.name()));
            let managed = managed.remove(&(kind, object.namespace().to_owned(), object.name().to_owned()));
            let managed = managed.map(Arc::new);
            objects.define(&object, false);
            let stored = Arc::new(Stored { object, version, managed, bytes: OnceLock::new() });
            objects.kinds.entry(kind).or_default().insert(key, stored);
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config_map(name: &str, data: &str) -> Object {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a"}, "data": {"k": data}});
        Object::from_value(Kind::ConfigMap, &value).unwrap()
    }

    #[test]
    fn versions_increase_and_history_tells_every_change() {
        let mut objects = Objects::new();
        objects.put(config_map("x", "1"));
        objects.put(config_map("y", "1"));
        objects.put(config_map("x", "2"));
        objects.remove(Kind::ConfigMap, "a", "y");
        let seen: Vec<_> = objects.changes_since(1).unwrap().map(|c| (c.version, c.kind)).collect();
        assert_eq!(seen, [(2, ChangeKind::Added), (3, ChangeKind::Modified), (4, ChangeKind::Deleted)]);
        assert_eq!(objects.list(Kind::ConfigMap, Some("a")).count(), 1);
        assert_eq!(objects.list(Kind::ConfigMap, Some("b")).count(), 0);
        let saved = serde_json::to_string(&objects).unwrap();
        let again: Objects = serde_json::from_str(&saved).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), saved);
        assert_eq!(again.changes_since(3).err(), Some(Gone));
        assert!(again.changes_since(4).is_ok());
        assert_eq!(again.changes_of(Kind::ConfigMap, 3).err(), Some(Gone));
        assert_eq!(again.changes_of(Kind::ConfigMap, 4).unwrap().count(), 0);
        assert!(again.changes_of(Kind::Node, 0).is_ok());
    }

    #[test]
    fn lists_go_on_for_five_to_ten_minutes() {
        let mut objects = Objects::new();
        let at = |minutes: i64| Instant::from_unix_seconds(minutes * 60);
        let goes_on = |objects: &Objects, version| objects.changes_for_list(Kind::ConfigMap, version).is_ok();
        objects.put(config_map("x", "1"));
        objects.compact(at(0));
        objects.put(config_map("x", "2"));
        for minutes in [1, 5, 9] {
            objects.compact(at(minutes));
            assert!(goes_on(&objects, 1), "after {minutes} min");
        }
        // What was the newest version five minutes before is the oldest now.
        objects.compact(at(10));
        assert!(!goes_on(&objects, 1) && goes_on(&objects, 2));
        assert!(objects.changes_of(Kind::ConfigMap, 1).is_ok());
    }

    #[test]
    fn a_kind_is_forgotten_by_its_own_changes() {
        let namespace = |name: &str| {
            let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            Object::from_value(Kind::Namespace, &value).unwrap()
        };
        let mut objects = Objects::new();
        objects.put(namespace("first"));
        objects.put(config_map("x", "1"));
        objects.put(config_map("x", "2"));
        // One change less than it takes to forget the second ConfigMap's.
        for _ in 0..HISTORY_MAX - 1 {
            objects.put(namespace("busy"));
        }
        let seen = |objects: &Objects, kind, version| {
            objects.changes_of(kind, version).map(|changes| changes.map(|c| c.version).collect::<Vec<_>>())
        };
        assert_eq!(seen(&objects, Kind::ConfigMap, 2), Ok(vec![3]));
        assert_eq!(seen(&objects, Kind::ConfigMap, 1), Err(Gone));
        objects.put(namespace("busy"));
        assert_eq!(seen(&objects, Kind::ConfigMap, 2), Err(Gone));
        assert_eq!(seen(&objects, Kind::ConfigMap, 3), Ok(vec![]));
        assert_eq!(seen(&objects, Kind::Namespace, 3), Ok((4..=objects.version()).collect()));
    }
}
