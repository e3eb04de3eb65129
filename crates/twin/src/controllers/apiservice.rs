//! `apiservice`: keeps an APIService for each group and version the API has, and says of each whether it is available. In a real
//! cluster the aggregator within the API server does this.
//!
//! It begins with the first APIService there is: [`first`] is made when a twin is served, so that worlds nobody asks have none.
//! Those of Kubernetes' own groups have the priorities the API server gives them, those of a cluster's own definitions come and
//! go with these. Others, which name a Service, are looked at as the aggregator does up to the point where it would ask: in a
//! simulated pod nobody answers, so they are not available, and their groups are not served. But `metrics.k8s.io` is
//! answered by the twin itself, whatever Service is named for it.
//!
//! Uids come from a stream of their own, so that what is drawn elsewhere does not shift.

use super::{Cx, document, is_deleting, time};
use crate::apiserver::metrics;
use crate::apiserver::{Options, Request, Verb};
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::random::Stream;
use crate::store::{Change, Objects};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

const GROUP: &str = "apiregistration.k8s.io";
/// Says who keeps an APIService: the API server since it began, or the definition of a custom resource.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";
const BY_DEFINITION: &str = "true";
/// Priorities of a group and of its version that a definition brings.
const DEFINED: (i64, i64) = (1000, 100);
/// Those that metrics-server asks for.
const METRICS: (i64, i64) = (100, 100);
/// The kinds looked at, found once.
static APISERVICES: LazyLock<Kind> = LazyLock::new(|| Kind::document(GROUP, "apiservices"));

/// A group with its priority, and its versions with theirs.
type Priority = (&'static str, i64, &'static [(&'static str, i64)]);

/// Groups of Kubernetes 1.36 with their priority, versions with theirs (`DefaultGenericAPIServicePriorities` and
/// `apiVersionPriorities` of kube-apiserver). What is not here, it does not register.
const PRIORITIES: [Priority; 21] = [
    ("", 18_000, &[("v1", 1)]),
    ("apps", 17_800, &[("v1", 15)]),
    ("events.k8s.io", 17_750, &[("v1", 15), ("v1beta1", 5)]),
    ("authentication.k8s.io", 17_700, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("authorization.k8s.io", 17_600, &[("v1", 15)]),
    ("autoscaling", 17_500, &[("v1", 15), ("v2", 30)]),
    ("batch", 17_400, &[("v1", 15)]),
    ("certificates.k8s.io", 17_300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("networking.k8s.io", 17_200, &[("v1", 15), ("v1beta1", 9)]),
    ("policy", 17_100, &[("v1", 15)]),
    ("rbac.authorization.k8s.io", 17_000, &[("v1", 15)]),
    ("storage.k8s.io", 16_800, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("apiextensions.k8s.io", 16_700, &[("v1", 15)]),
    ("admissionregistration.k8s.io", 16_700, &[("v1", 15), ("v1beta1", 12), ("v1alpha1", 9)]),
    ("scheduling.k8s.io", 16_600, &[("v1", 15), ("v1alpha2", 2)]),
    ("coordination.k8s.io", 16_500, &[("v1", 15), ("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16_300, &[("v1", 15)]),
    ("discovery.k8s.io", 16_200, &[("v1", 15)]),
    ("resource.k8s.io", 16_200, &[("v1", 21), ("v1beta2", 15), ("v1beta1", 9), ("v1alpha3", 1)]),
    ("flowcontrol.apiserver.k8s.io", 16_100, &[("v1", 21)]),
    ("storagemigration.k8s.io", 15_800, &[("v1beta1", 9)]),
];

/// What an APIService says of a group and version.
fn spec(group: &str, version: &str, (minimum, priority): (i64, i64)) -> Value {
    let mut spec = json!({"version": version, "groupPriorityMinimum": minimum, "versionPriority": priority});
    if !group.is_empty() {
        spec["group"] = json!(group);
    }
    spec
}

/// The request that makes the first one; the others follow. `None`: there are some.
pub fn first(objects: &Objects) -> Option<Request> {
    let body = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "APIService",
        "metadata": {"name": "v1.", "labels": {MANAGED: ON_START}},
        "spec": spec("", "v1", (18_000, 1)),
    });
    (objects.count(*APISERVICES) == 0).then(|| Request {
        verb: Verb::Create,
        kind: *APISERVICES,
        namespace: String::new(),
        name: String::new(),
        subresource: None,
        body,
        options: Options::default(),
    })
}

/// The controller's state: whether something may have to be done. `false` at rest.
#[derive(Debug, Default)]
pub(crate) struct ApiServices {
    changed: bool,
}

impl ApiServices {
    pub(crate) fn observe(&mut self, change: &Change) {
        let Object::Document(object) = &change.object.object else { return };
        let resource = object.kind.resource();
        self.changed |= matches!(
            (resource.group, resource.plural),
            (GROUP, "apiservices") | ("apiextensions.k8s.io", "customresourcedefinitions") | ("", "services")
        );
    }
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>) -> bool {
        if !std::mem::take(&mut self.changed) || cx.objects.count(*APISERVICES) == 0 {
            return false;
        }
        let mut acted = false;
        for (name, (label, spec)) in wanted(cx.objects) {
            if cx.objects.get(*APISERVICES, "", &name).is_none() {
                make(cx, name, label, spec);
                acted = true;
            }
        }
        let names: Vec<String> =
            cx.documents(*APISERVICES, None).filter_map(|doc| doc.metadata.name.clone()).collect();
        for name in names {
            acted |= judge(cx, &name);
        }
        acted
    }
}

/// Groups and versions that are served, by the names of their APIServices: who keeps each, and what it says.
fn wanted(objects: &Objects) -> BTreeMap<String, (&'static str, Value)> {
    let served: BTreeSet<(&str, &str)> =
        crate::kind::resources().iter().map(|resource| (resource.group, resource.version)).collect();
    let mut all = BTreeMap::new();
    for (group, minimum, versions) in PRIORITIES {
        for (version, priority) in versions.iter().filter(|(version, _)| served.contains(&(group, *version)))
        {
            let spec = spec(group, version, (minimum, *priority));
            all.insert(format!("{version}.{group}"), (ON_START, spec));
        }
    }
    let (group, version) = (metrics::GROUP, metrics::VERSION);
    all.insert(format!("{version}.{group}"), (ON_START, spec(group, version, METRICS)));
    for defined in objects.defined() {
        for version in defined.served_versions() {
            let name = format!("{version}.{}", defined.group);
            all.entry(name).or_insert_with(|| (BY_DEFINITION, spec(&defined.group, version, DEFINED)));
        }
    }
    all
}

fn make(cx: &mut Cx<'_>, name: String, label: &str, spec: Value) {
    let uid = Stream::new(cx.seed, &format!("apiservices/{name}/{}", cx.now)).uid();
    let metadata = ObjectMeta {
        name: Some(name),
        uid: Some(uid),
        creation_timestamp: Some(time(cx.now)),
        labels: Some([(MANAGED.to_owned(), label.to_owned())].into()),
        ..ObjectMeta::default()
    };
    let body = Map::from_iter([("spec".to_owned(), spec), ("status".to_owned(), json!({}))]);
    let api_version = APISERVICES.resource().api_version().into();
    cx.objects.put(Object::Document(Box::new(Document {
        kind: *APISERVICES,
        api_version,
        metadata,
        body: body.into(),
    })));
}

/// Takes away what no definition brings any more, and says of the others whether they are available.
fn judge(cx: &mut Cx<'_>, name: &str) -> bool {
    let Some(doc) = cx.document(*APISERVICES, "", name) else { return false };
    if is_deleting(&doc.metadata) {
        return false;
    }
    let label = doc.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED)).map(String::as_str);
    let (group, version) =
        (document::text(doc, &["spec", "group"]), document::text(doc, &["spec", "version"]));
    let is_served = |defined: &std::sync::Arc<crate::kind::Defined>| {
        defined.group == group && defined.served_versions().any(|served| served == version)
    };
    if label == Some(BY_DEFINITION) && !cx.objects.defined().any(is_served) {
        return cx.delete(*APISERVICES, "", name);
    }
    let (status, reason, message) = available(cx.objects, doc);
    let now = json!(cx.now.to_rfc3339_seconds());
    let conditions = document::at(doc, &["status", "conditions"]).and_then(Value::as_array);
    let mut conditions = conditions.cloned().unwrap_or_default();
    let at = conditions.iter().position(|condition| condition["type"] == "Available");
    let before = at.map(|at| conditions[at].clone()).unwrap_or_default();
    let since = if before["status"] == status { before["lastTransitionTime"].clone() } else { now };
    let new = json!({"type": "Available", "status": status, "reason": reason, "message": message, "lastTransitionTime": since});
    match at {
        Some(at) => conditions[at] = new,
        None => conditions.push(new),
    }
    cx.put_part((*APISERVICES, "", name), "status", json!({"conditions": conditions}))
}

/// Whether what an APIService names is available: status, reason and message of its condition.
fn available(objects: &Objects, doc: &Document) -> (&'static str, &'static str, String) {
    let Some(service) = document::at(doc, &["spec", "service"]).filter(|service| service.is_object()) else {
        return ("True", "Local", "Local APIServices are always available".to_owned());
    };
    let text = |key: &str| service[key].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let (group, version) =
        (document::text(doc, &["spec", "group"]), document::text(doc, &["spec", "version"]));
    if (group, version) == (metrics::GROUP, metrics::VERSION) {
        return ("True", "Passed", "all checks passed".to_owned());
    }
    let stored = objects.get(Kind::document("", "services"), namespace, name);
    let Some(found) = stored.and_then(|stored| stored.object.as_document()) else {
        let why = format!("service/{name} in {namespace:?} is not present");
        return ("False", "ServiceNotFound", why);
    };
    let port = service["port"].as_i64().unwrap_or(443);
    let ports = document::at(found, &["spec", "ports"]).and_then(Value::as_array).into_iter().flatten();
    let is_cluster = matches!(document::text(found, &["spec", "type"]), "" | "ClusterIP");
    if is_cluster && !ports.into_iter().any(|listed| listed["port"] == port) {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return ("False", "ServicePortError", why);
    }
    let why = format!(
        "failing or missing response from https://{name}.{namespace}.svc:{port}/apis/{group}/{version}: kubercarbon twin: nobody answers in a simulated pod"
    );
    ("False", "FailedDiscoveryCheck", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::discovery;

    #[test]
    fn every_group_of_kubernetes_has_a_priority() {
        let names: BTreeSet<String> = wanted(&Objects::new()).into_keys().collect();
        for (group, versions) in discovery::groups(&[]) {
            for version in versions {
                let registered = names.contains(&format!("{version}.{group}"));
                // The aggregator does not register itself.
                assert_eq!(registered, group != GROUP, "{version}.{group}");
            }
        }
        assert!(names.contains("v1."));
    }
}
