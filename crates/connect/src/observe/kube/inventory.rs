//! The kinds of the inventory, pruned on receipt: of each object the metadata's names and a few fields are read, and a
//! few numbers of them told. The rest is skipped as it comes in.
//!
//! Invariants: a field of another kind, or that is missing, is as if it were not there; no object fails a list.
//! Numbers are as the API states them. Left out: scale and selectors, templates, labels.

use super::kinds::{Key, Place, Watched, WatchedKind};
use control::Event;
use control::inventory::{Facts, InventoryKind, Told};
use control::usage::memory;
use fleet::{Bytes, Instant};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

/// Longest text that is kept: a schedule is shorter, so is every name.
const TEXT_MAX: usize = 253;

/// A kind of the inventory: where it is served, and what is kept of it.
pub(crate) trait Listed: Clone + Debug + Send + Sync + 'static {
    const KIND: InventoryKind;
    const GROUP: &'static str;
    const VERSION: &'static str;
    const PLURAL: &'static str;
    fn facts(spec: &Spec, status: &Status) -> Facts;
}

/// An object of the kind `L`, as far as it is read.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Item<L> {
    #[serde(default)]
    metadata: Box<ObjectMeta>,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
    #[serde(skip)]
    kind: PhantomData<L>,
}

/// The fields of all kinds' `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    replicas: Option<i64>,
    schedule: Option<String>,
    suspend: Option<bool>,
    volume_name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    resources: Requests,
    #[serde(deserialize_with = "or_default")]
    capacity: Amounts,
    claim_ref: Option<Reference>,
    scale_target_ref: Option<Reference>,
    min_replicas: Option<i64>,
    max_replicas: Option<i64>,
}

/// The fields of all kinds' `status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    ready_replicas: Option<i64>,
    desired_number_scheduled: Option<i64>,
    number_ready: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    active: Vec<IgnoredAny>,
    last_schedule_time: Option<String>,
    disruptions_allowed: Option<i64>,
    current_healthy: Option<i64>,
    desired_healthy: Option<i64>,
    expected_pods: Option<i64>,
    phase: Option<String>,
    #[serde(deserialize_with = "or_default")]
    capacity: Amounts,
    current_replicas: Option<i64>,
    desired_replicas: Option<i64>,
}

/// Amounts by resource.
type Amounts = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Requests {
    #[serde(deserialize_with = "or_default")]
    requests: Amounts,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: String,
    namespace: Option<String>,
    name: String,
}

/// `null` as if it were not there.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn text(text: &Option<String>) -> String {
    text.as_deref().unwrap_or_default().chars().take(TEXT_MAX).collect()
}

fn storage(amounts: &Amounts) -> Option<Bytes> {
    amounts.get("storage").and_then(|text| memory(text))
}

impl<L: Listed> kube::Resource for Item<L> {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;
    fn kind((): &()) -> Cow<'_, str> {
        L::KIND.as_str().into()
    }
    fn group((): &()) -> Cow<'_, str> {
        L::GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        L::VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        L::PLURAL.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// `NAMESPACE/NAME`, or `NAME` where there is no namespace.
fn named(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn told<L: Listed>(place: &Place, key: &Key, now: Option<Facts>) -> Option<Event> {
    let told = Told::Object { name: key.text().to_string(), now };
    Some(Event::Inventory { cluster: place.cluster.clone(), kind: L::KIND, told })
}

impl<L: Listed> Watched for Item<L> {
    const KIND: WatchedKind = WatchedKind::Inventory(L::KIND);
    fn event(self, place: &Place, key: &Key) -> Option<Event> {
        self.metadata.name.as_ref()?;
        told::<L>(place, key, Some(L::facts(&self.spec, &self.status)))
    }
    fn gone(place: &Place, key: &Key, _uid: &str) -> Option<Event> {
        told::<L>(place, key, None)
    }
}

macro_rules! listed {
    ($kind:ident, $group:literal, $version:literal, $plural:literal, |$spec:ident, $status:ident| $facts:expr) => {
        #[derive(Clone, Debug)]
        pub(crate) struct $kind;
        impl Listed for $kind {
            const KIND: InventoryKind = InventoryKind::$kind;
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const PLURAL: &'static str = $plural;
            fn facts($spec: &Spec, $status: &Status) -> Facts {
                $facts
            }
        }
    };
}

listed!(Deployment, "apps", "v1", "deployments", |spec, status| replicas(spec, status));
listed!(StatefulSet, "apps", "v1", "statefulsets", |spec, status| replicas(spec, status));
listed!(DaemonSet, "apps", "v1", "daemonsets", |_spec, status| Facts::Workload {
    wanted: status.desired_number_scheduled.unwrap_or(0),
    ready: status.number_ready.unwrap_or(0),
});
listed!(CronJob, "batch", "v1", "cronjobs", |spec, status| Facts::Schedule {
    schedule: text(&spec.schedule),
    suspended: spec.suspend.unwrap_or(false),
    active: status.active.len() as i64,
    last: status.last_schedule_time.as_deref().and_then(|time| Instant::parse(time).ok()),
});
listed!(PodDisruptionBudget, "policy", "v1", "poddisruptionbudgets", |_spec, status| Facts::Budget {
    allowed: status.disruptions_allowed.unwrap_or(0),
    healthy: status.current_healthy.unwrap_or(0),
    needed: status.desired_healthy.unwrap_or(0),
    pods: status.expected_pods.unwrap_or(0),
});
listed!(PersistentVolumeClaim, "", "v1", "persistentvolumeclaims", |spec, status| Facts::Claim {
    phase: text(&status.phase),
    volume: spec.volume_name.as_ref().map(|_| text(&spec.volume_name)).filter(|name| !name.is_empty()),
    size: storage(&status.capacity).or_else(|| storage(&spec.resources.requests)).unwrap_or(Bytes::ZERO),
});
listed!(PersistentVolume, "", "v1", "persistentvolumes", |spec, status| Facts::Volume {
    phase: text(&status.phase),
    claim: spec.claim_ref.as_ref().map(|claim| named(&text(&claim.namespace), &claim.name)),
    size: storage(&spec.capacity).unwrap_or(Bytes::ZERO),
});
listed!(HorizontalPodAutoscaler, "autoscaling", "v2", "horizontalpodautoscalers", |spec, status| {
    Facts::Autoscaler {
        target: spec
            .scale_target_ref
            .as_ref()
            .map_or_else(String::new, |to| format!("{}/{}", to.kind, to.name)),
        // What the API fills in where it is left out.
        least: spec.min_replicas.unwrap_or(1),
        most: spec.max_replicas.unwrap_or(0),
        current: status.current_replicas.unwrap_or(0),
        wanted: status.desired_replicas.unwrap_or(0),
    }
});

fn replicas(spec: &Spec, status: &Status) -> Facts {
    // What the API fills in where it is left out.
    Facts::Workload { wanted: spec.replicas.unwrap_or(1), ready: status.ready_replicas.unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::ClusterId;
    use kube::Resource;
    use serde_json::{Value, json};

    /// What is kept of an object, by name.
    fn kept<L: Listed>(spec: Value, status: Value) -> (String, Facts) {
        let place = Place::of(ClusterId::new("kr").unwrap());
        let object = json!({"metadata": {"name": "x", "namespace": "a"}, "spec": spec, "status": status});
        let item: Item<L> = serde_json::from_value(object).unwrap();
        let key = Key::of(&item.metadata);
        match item.event(&place, &key) {
            Some(Event::Inventory { told: Told::Object { name, now: Some(facts) }, .. }) => (name, facts),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_is_pruned_to_what_is_kept() {
        let workload = |wanted, ready| ("a/x".to_owned(), Facts::Workload { wanted, ready });
        let template = json!({"spec": {"containers": [{"name": "web", "image": "nginx"}]}});
        let spec = json!({"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "web"}}});
        assert_eq!(kept::<Deployment>(spec, json!({"readyReplicas": 2, "conditions": []})), workload(3, 2));
        assert_eq!(kept::<StatefulSet>(json!({}), json!({})), workload(1, 0));
        assert_eq!(kept::<StatefulSet>(json!({"replicas": 0}), Value::Null), workload(0, 0));
        let status = json!({"desiredNumberScheduled": 5, "numberReady": 4, "currentNumberScheduled": 5});
        assert_eq!(kept::<DaemonSet>(json!({}), status), workload(5, 4));
        let status = json!({"active": [{"name": "j1"}], "lastScheduleTime": "2026-05-02T10:00:00Z"});
        let last = Instant::parse("2026-05-02T10:00:00Z").ok();
        assert_eq!(
            kept::<CronJob>(json!({"schedule": "0 * * * *", "suspend": true}), status).1,
            Facts::Schedule { schedule: "0 * * * *".to_owned(), suspended: true, active: 1, last }
        );
        let status =
            json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2});
        assert_eq!(
            kept::<PodDisruptionBudget>(json!({"minAvailable": "100%"}), status).1,
            Facts::Budget { allowed: 0, healthy: 2, needed: 2, pods: 2 }
        );
        let spec = json!({"resources": {"requests": {"storage": "1Gi"}}, "volumeName": "pv-1"});
        let claim = |phase: &str, gib| Facts::Claim {
            phase: phase.to_owned(),
            volume: Some("pv-1".to_owned()),
            size: Bytes::from_gib(gib),
        };
        let bound = json!({"phase": "Bound", "capacity": {"storage": "2Gi"}});
        assert_eq!(kept::<PersistentVolumeClaim>(spec.clone(), bound).1, claim("Bound", 2));
        assert_eq!(kept::<PersistentVolumeClaim>(spec, json!({"phase": "Pending"})).1, claim("Pending", 1));
        let spec = json!({"capacity": {"storage": "2Gi"}, "claimRef": {"kind": "PersistentVolumeClaim", "namespace": "a", "name": "data"}});
        assert_eq!(
            kept::<PersistentVolume>(spec, json!({"phase": "Bound"})).1,
            Facts::Volume {
                phase: "Bound".to_owned(),
                claim: Some("a/data".to_owned()),
                size: Bytes::from_gib(2)
            }
        );
        let spec =
            json!({"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "metrics": []});
        let status = json!({"currentReplicas": 4, "desiredReplicas": 5, "currentMetrics": null});
        assert_eq!(
            kept::<HorizontalPodAutoscaler>(spec, status).1,
            Facts::Autoscaler {
                target: "Deployment/web".to_owned(),
                least: 1,
                most: 5,
                current: 4,
                wanted: 5
            }
        );
    }

    #[test]
    fn kinds_are_asked_for_where_they_are_served() {
        assert_eq!(Item::<Deployment>::url_path(&(), None), "/apis/apps/v1/deployments");
        assert_eq!(Item::<PersistentVolume>::url_path(&(), None), "/api/v1/persistentvolumes");
        assert_eq!(
            Item::<HorizontalPodAutoscaler>::url_path(&(), None),
            "/apis/autoscaling/v2/horizontalpodautoscalers"
        );
    }
}
