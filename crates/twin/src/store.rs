//! The objects of one cluster: one increasing resource version, and a bounded history for watches.
//!
//! Invariants: every write gives a new version; an object's `metadata.resourceVersion` is the version
//! of the write that put it there; a deletion has a version of its own. Objects are shared behind
//! [`Arc`] and never changed in place, so a reader keeps a consistent view for nothing. Rules of the
//! API (validation, defaults, finalizers) live in [`crate::apiserver`], not here.

use crate::kind::Kind;
use crate::object::{DecodeError, Object};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

/// How many changes a cluster remembers for watches; a watch that fell further behind gets 410 Gone.
pub const HISTORY_MAX: usize = 1_500;

/// An object as stored, with its version and (once asked for) its bytes.
#[derive(Debug)]
pub struct Stored {
    /// The object, `metadata.resourceVersion` set.
    pub object: Object,
    /// Its version.
    pub version: u64,
    bytes: OnceLock<Arc<[u8]>>,
}

impl Stored {
    /// An object at a version, outside any store: for answers that show a state nobody stores.
    pub fn at(mut object: Object, version: u64) -> Stored {
        object.meta_mut().resource_version = Some(version.to_string());
        Stored { object, version, bytes: OnceLock::new() }
    }
    /// The JSON the API serves, made once per version.
    pub fn bytes(&self) -> Arc<[u8]> {
        self.bytes.get_or_init(|| self.object.to_bytes().into()).clone()
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
    /// The object after (for a deletion: at the end).
    pub object: Arc<Stored>,
    /// The object before; `None` when added.
    pub previous: Option<Arc<Stored>>,
}

/// The version asked for is older than the history kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

type Key = (Arc<str>, Arc<str>);

/// All objects of a cluster.
#[derive(Debug, Default)]
pub struct Objects {
    version: u64,
    kinds: BTreeMap<Kind, BTreeMap<Key, Arc<Stored>>>,
    /// Version of the last write of each kind.
    last: BTreeMap<Kind, u64>,
    history: VecDeque<Change>,
    /// Changes of which the controllers have not yet heard.
    unseen: VecDeque<Change>,
}

impl Objects {
    /// No objects, version 0.
    pub fn new() -> Objects {
        Objects::default()
    }
    /// Version of the last write.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// Version of the last write of a kind; 0 if there was none.
    pub fn last_version(&self, kind: Kind) -> u64 {
        self.last.get(&kind).copied().unwrap_or(0)
    }
    /// One object; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.kinds.get(&kind)?.get(&(Arc::from(namespace), Arc::from(name)))
    }
    /// Objects of a kind in order of namespace and name; `namespace` `None` means all.
    pub fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Stored>> + 'a {
        let from: Key = (Arc::from(namespace.unwrap_or_default()), Arc::from(""));
        self.kinds
            .get(&kind)
            .into_iter()
            .flat_map(move |all| all.range(from.clone()..))
            .take_while(move |((ns, _), _)| namespace.is_none_or(|wanted| wanted == &**ns))
            .map(|(_, stored)| stored)
    }
    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.kinds.get(&kind).map_or(0, BTreeMap::len)
    }
    /// Puts an object in place, new or changed, under a new version, which it returns in the stored object.
    /// The object must have a name (and a namespace, if its kind has one).
    pub fn put(&mut self, mut object: Object) -> Arc<Stored> {
        self.version += 1;
        object.meta_mut().resource_version = Some(self.version.to_string());
        let kind = object.kind();
        let key: Key = (Arc::from(object.namespace()), Arc::from(object.name()));
        let stored = Arc::new(Stored { object, version: self.version, bytes: OnceLock::new() });
        let previous = self.kinds.entry(kind).or_default().insert(key, stored.clone());
        let change = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.record(kind, Change { version: self.version, kind: change, object: stored.clone(), previous });
        stored
    }
    /// Takes an object away; returns its last state under the version of the deletion.
    pub fn remove(&mut self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        let previous = self.kinds.get_mut(&kind)?.remove(&(Arc::from(namespace), Arc::from(name)))?;
        self.version += 1;
        let mut object = previous.object.clone();
        object.meta_mut().resource_version = Some(self.version.to_string());
        let stored = Arc::new(Stored { object, version: self.version, bytes: OnceLock::new() });
        let change = Change {
            version: self.version,
            kind: ChangeKind::Deleted,
            object: stored.clone(),
            previous: Some(previous),
        };
        self.record(kind, change);
        Some(stored)
    }
    fn record(&mut self, kind: Kind, change: Change) {
        self.last.insert(kind, self.version);
        self.unseen.push_back(change.clone());
        self.history.push_back(change);
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
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
    objects: Vec<(Kind, serde_json::Value)>,
    last: BTreeMap<Kind, u64>,
}

/// The same on the way out, object by object: a whole tree of documents would be many times as large.
#[derive(Serialize)]
struct Saving<'a> {
    version: u64,
    objects: SavingObjects<'a>,
    last: &'a BTreeMap<Kind, u64>,
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
        Saving { version: self.version, objects: SavingObjects(&self.kinds), last: &self.last }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Objects, D::Error> {
        let saved = Saved::deserialize(d)?;
        let mut objects = Objects { version: saved.version, last: saved.last, ..Objects::default() };
        for (kind, value) in saved.objects {
            let object =
                Object::from_value(kind, &value).map_err(|e: DecodeError| serde::de::Error::custom(e))?;
            let version = object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
            let key: Key = (Arc::from(object.namespace()), Arc::from(object.name()));
            let stored = Arc::new(Stored { object, version, bytes: OnceLock::new() });
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
    }
}
