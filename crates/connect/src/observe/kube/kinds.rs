//! The kinds that are watched, and what an object of each means to `control`.
//!
//! Invariant: conversions are `control::observe`'s, the same for every driver. Objects whose name cannot
//! be (the API server takes none) give no event.

use super::KnownRates;
use control::inventory::InventoryKind;
use control::{Event, observe};
use fleet::{ClusterId, Instances, NodeName};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::fmt::{self, Debug};
use std::sync::Arc;

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchedKind {
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// `batch/v1` Job.
    Job,
    /// `scheduling.k8s.io/v1` PriorityClass.
    PriorityClass,
    /// One that only the inventory is made of.
    Inventory(InventoryKind),
}

impl WatchedKind {
    /// Those without which a cluster is not known; the others may be missing.
    pub const ALL: [WatchedKind; 4] =
        [WatchedKind::Node, WatchedKind::Pod, WatchedKind::Job, WatchedKind::PriorityClass];

    /// The kind's name in the Kubernetes API.
    pub fn as_str(self) -> &'static str {
        match self {
            WatchedKind::Node => "Node",
            WatchedKind::Pod => "Pod",
            WatchedKind::Job => "Job",
            WatchedKind::PriorityClass => "PriorityClass",
            WatchedKind::Inventory(kind) => kind.as_str(),
        }
    }
}

impl fmt::Display for WatchedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What conversions need to know about the cluster.
pub(crate) struct Place {
    pub cluster: ClusterId,
    /// Power, price and embodied emissions by node name, where they are configured.
    pub known: Option<KnownRates>,
    /// What is stated of instance types.
    pub instances: Arc<Instances>,
}

#[cfg(test)]
impl Place {
    /// A cluster of which nothing is configured.
    pub fn of(cluster: ClusterId) -> Place {
        Place { cluster, known: None, instances: Arc::default() }
    }
}

/// `NAMESPACE/NAME`, or `NAME` for cluster-wide kinds: neither has a slash in it. What is told of an object is told by this very
/// text where that is how it is called, so that a name is there once, however many remember it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Arc<str>);

impl Key {
    /// Of an object with this metadata.
    pub fn of(meta: &ObjectMeta) -> Key {
        let name = meta.name.as_deref().unwrap_or_default();
        match meta.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => Key(Arc::from(format!("{namespace}/{name}"))),
            None => Key(Arc::from(name)),
        }
    }
    /// As text.
    pub fn text(&self) -> &Arc<str> {
        &self.0
    }
    /// Namespace (empty for cluster-wide kinds) and name.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or(("", &self.0))
    }
}

/// An object type whose instances `control` wants to know about.
pub(crate) trait Watched:
    kube::Resource<DynamicType = ()> + serde::de::DeserializeOwned + Clone + Debug + Send + 'static
{
    const KIND: WatchedKind;
    /// Whether a new object under an old name is told as a departure and an arrival.
    const HAS_IDENTITY: bool = false;
    /// What it is like now; `key` is its own.
    fn event(self, place: &Place, key: &Key) -> Option<Event>;
    /// That it is gone.
    fn gone(place: &Place, key: &Key, uid: &str) -> Option<Event>;
}

impl Watched for Node {
    const KIND: WatchedKind = WatchedKind::Node;
    fn event(self, place: &Place, _key: &Key) -> Option<Event> {
        let name = self.metadata.name.as_deref()?;
        let node = NodeName::new(name).ok()?;
        let now =
            observe::node_with(&self, place.known.as_ref().and_then(|known| known(name)), &place.instances);
        Some(Event::Node { cluster: place.cluster.clone(), node, now: Some(now) })
    }
    fn gone(place: &Place, key: &Key, _uid: &str) -> Option<Event> {
        let node = NodeName::new(key.parts().1).ok()?;
        Some(Event::Node { cluster: place.cluster.clone(), node, now: None })
    }
}

impl Watched for Pod {
    const KIND: WatchedKind = WatchedKind::Pod;
    fn event(self, place: &Place, key: &Key) -> Option<Event> {
        // One without a name, or in no namespace, is no pod.
        let _named = (self.metadata.name.as_ref()?, self.metadata.namespace.as_ref()?);
        let pod = key.text().clone();
        Some(Event::Pod { cluster: place.cluster.clone(), pod, now: Some(observe::pod(&self)) })
    }
    fn gone(place: &Place, key: &Key, _uid: &str) -> Option<Event> {
        Some(Event::Pod { cluster: place.cluster.clone(), pod: key.text().clone(), now: None })
    }
}

impl Watched for Job {
    const KIND: WatchedKind = WatchedKind::Job;
    const HAS_IDENTITY: bool = true;
    fn event(self, place: &Place, _key: &Key) -> Option<Event> {
        Some(Event::Job { cluster: place.cluster.clone(), job: Arc::new(self.into()) })
    }
    fn gone(place: &Place, key: &Key, uid: &str) -> Option<Event> {
        let (cluster, (namespace, name)) = (place.cluster.clone(), key.parts());
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Some(Event::JobGone { cluster, namespace, name, uid: uid.to_owned() })
    }
}

impl Watched for PriorityClass {
    const KIND: WatchedKind = WatchedKind::PriorityClass;
    fn event(self, place: &Place, _key: &Key) -> Option<Event> {
        // Go leaves no field of that kind out; should a server do so, it means zero.
        let (class, value) = (self.metadata.name?, Some(self.value.unwrap_or(0)));
        Some(Event::Priority { cluster: place.cluster.clone(), class, value })
    }
    fn gone(place: &Place, key: &Key, _uid: &str) -> Option<Event> {
        Some(Event::Priority { cluster: place.cluster.clone(), class: key.parts().1.to_owned(), value: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{MoneyPerHour, NodePower, NodeRates, RateSource, RatesFrom, Watts};

    #[test]
    fn what_is_stated_of_a_node_comes_first_whenever_it_joins() {
        let power = NodePower { idle: Watts::from_watts_f64(1.0), full: Watts::from_watts_f64(2.0) };
        let from = RatesFrom { power: RateSource::FleetFile, price: RateSource::FleetFile };
        let price = MoneyPerHour::from_units_f64(0.5);
        let stated = NodeRates { power, price, embodied: None, from };
        let known: KnownRates = Arc::new(move |name| name.starts_with("spot-").then_some(stated));
        let place = Place { known: Some(known), ..Place::of(ClusterId::new("kr").unwrap()) };
        let price_of = |name: &str| {
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            let node = Node { metadata, ..Node::default() };
            let key = Key::of(&node.metadata);
            let Some(Event::Node { now: Some(now), .. }) = node.event(&place, &key) else {
                panic!("no node")
            };
            now.price
        };
        assert_eq!(price_of("spot-7"), price);
        assert_ne!(price_of("other-7"), price);
    }
}
