//! Pods of one template are digested once, and share what the digest says.
//!
//! Most pods of a cluster are made from few templates: what the scheduler knows of them differs in uid, name and
//! node alone. A pod is held against the first pod of a template field by field, which costs a tenth of a digest.
//! Invariant: a shared digest equals the pod's own; whatever [`Template::new`] reads is compared in [`same`].

use super::pod::{PodInfo, Template, spreading_owner};
use crate::amounts;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Most templates kept. Beyond it those that no pod has any more go, and all of them if each is in use: about 4 KB
/// a template, so 8 MB at most.
const TEMPLATES_MAX: usize = 2048;

/// A template with a pod it was made from.
#[derive(Clone, Debug)]
struct Known {
    pod: Box<Pod>,
    template: Arc<Template>,
}

/// The templates of the pods there are or were.
#[derive(Clone, Debug, Default)]
pub(super) struct Templates {
    by_digest: HashMap<u64, Vec<Known>>,
    count: usize,
}

impl Templates {
    /// Digests a pod.
    pub(super) fn digest(&mut self, pod: &Pod) -> PodInfo {
        if !is_shareable(pod) {
            return PodInfo::new(pod);
        }
        let digest = quick_digest(pod);
        if let Some(known) = self.by_digest.get(&digest)
            && let Some(known) = known.iter().find(|known| same(&known.pod, pod))
        {
            return PodInfo::of(pod, known.template.clone());
        }
        if self.count >= TEMPLATES_MAX {
            self.forget_unused();
        }
        let template = Arc::new(Template::new(pod));
        let known = Known { pod: Box::new(trimmed(pod)), template: template.clone() };
        self.by_digest.entry(digest).or_default().push(known);
        self.count += 1;
        PodInfo::of(pod, template)
    }
    fn forget_unused(&mut self) {
        for known in self.by_digest.values_mut() {
            known.retain(|known| Arc::strong_count(&known.template) > 1);
        }
        self.by_digest.retain(|_, known| !known.is_empty());
        self.count = self.by_digest.values().map(Vec::len).sum();
        if self.count >= TEMPLATES_MAX {
            *self = Templates::default();
        }
    }
}

/// Pods with claims are digested one by one: names of claims may be made of the pod's own. So are pods that are being
/// resized: what they hold stands in their status.
fn is_shareable(pod: &Pod) -> bool {
    if amounts::is_resized(pod) {
        return false;
    }
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().all(|v| v.persistent_volume_claim.is_none() && v.ephemeral.is_none())
}

/// Differs for most pods that differ.
fn quick_digest(pod: &Pod) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&pod.metadata.namespace, &pod.metadata.labels).hash(&mut hasher);
    for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
        container.image.hash(&mut hasher);
        let requests = container.resources.iter().flat_map(|r| r.requests.iter().flatten());
        requests.for_each(|(name, amount)| (name, &amount.0).hash(&mut hasher));
    }
    hasher.finish()
}

/// Whether two pods are digested the same, uid, name, node and what becomes of them apart.
fn same(a: &Pod, b: &Pod) -> bool {
    let meta = a.metadata.namespace == b.metadata.namespace
        && a.metadata.labels == b.metadata.labels
        && spreading_owner(a) == spreading_owner(b);
    meta && match (&a.spec, &b.spec) {
        (Some(a), Some(b)) => same_spec(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn same_spec(a: &PodSpec, b: &PodSpec) -> bool {
    let none = Vec::new();
    let init = |spec: &'_ PodSpec| spec.init_containers.as_ref().map_or(0, Vec::len);
    let inits = a.init_containers.as_ref().unwrap_or(&none).iter();
    let mut inits = inits.zip(b.init_containers.as_ref().unwrap_or(&none));
    a.containers.len() == b.containers.len()
        && init(a) == init(b)
        && a.containers.iter().zip(&b.containers).all(|(a, b)| same_container(a, b))
        && inits.all(|(a, b)| same_container(a, b))
        && a.resources == b.resources
        && a.overhead == b.overhead
        && a.tolerations == b.tolerations
        && a.node_selector == b.node_selector
        && a.affinity == b.affinity
        && a.topology_spread_constraints == b.topology_spread_constraints
}

fn same_container(a: &Container, b: &Container) -> bool {
    a.image == b.image
        && a.resources == b.resources
        && a.restart_policy == b.restart_policy
        && a.ports == b.ports
}

/// What is compared of a pod.
fn trimmed(pod: &Pod) -> Pod {
    let container = |c: &Container| Container {
        image: c.image.clone(),
        resources: c.resources.clone(),
        restart_policy: c.restart_policy.clone(),
        ports: c.ports.clone(),
        ..Container::default()
    };
    let containers = |all: &Vec<Container>| all.iter().map(container).collect::<Vec<_>>();
    let spec = pod.spec.as_ref().map(|spec| PodSpec {
        containers: containers(&spec.containers),
        init_containers: spec.init_containers.as_ref().map(containers),
        resources: spec.resources.clone(),
        overhead: spec.overhead.clone(),
        tolerations: spec.tolerations.clone(),
        node_selector: spec.node_selector.clone(),
        affinity: spec.affinity.clone(),
        topology_spread_constraints: spec.topology_spread_constraints.clone(),
        ..PodSpec::default()
    });
    let mut kept = Pod { spec, ..Pod::default() };
    kept.metadata.namespace.clone_from(&pod.metadata.namespace);
    kept.metadata.labels.clone_from(&pod.metadata.labels);
    kept.metadata.owner_references.clone_from(&pod.metadata.owner_references);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}"), "labels": {"app": "x"}}, "spec": {
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}},
                "volumeMounts": [{"name": format!("token-{name}"), "mountPath": "/t"}]}],
            "volumes": [{"name": format!("token-{name}"), "projected": {}}]}})
    }

    /// Everything the digest depends on, each in a change of its own.
    fn changes() -> Vec<(&'static str, Value)> {
        let term =
            json!({"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"});
        vec![
            ("/metadata/namespace", json!("b")),
            ("/metadata/labels/app", json!("y")),
            (
                "/metadata/ownerReferences",
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]),
            ),
            ("/spec/containers/0/image", json!("j")),
            ("/spec/containers/0/resources/requests/cpu", json!("2")),
            ("/spec/containers/0/resources/requests/memory", json!("1Gi")),
            ("/spec/containers/0/ports", json!([{"containerPort": 80, "hostPort": 80}])),
            ("/spec/initContainers", json!([{"name": "i", "image": "i"}])),
            ("/spec/initContainers", json!([{"name": "i", "image": "i", "restartPolicy": "Always"}])),
            (
                "/spec/initContainers",
                json!([{"name": "i", "image": "i", "resources": {"requests": {"cpu": "7"}}}]),
            ),
            ("/spec/resources", json!({"requests": {"cpu": "3"}})),
            ("/spec/overhead", json!({"cpu": "100m"})),
            ("/spec/tolerations", json!([{"operator": "Exists"}])),
            ("/spec/nodeSelector", json!({"disk": "ssd"})),
            (
                "/spec/affinity",
                json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}),
            ),
            (
                "/status",
                json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "resources": {"requests": {"cpu": "2"}}}]}),
            ),
            (
                "/spec/topologySpreadConstraints",
                json!([{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "x"}}}]),
            ),
            ("/spec/volumes", json!([{"name": "v", "persistentVolumeClaim": {"claimName": "v"}}])),
            ("/spec/volumes", json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}])),
        ]
    }

    fn set(pod: &mut Value, path: &str, value: Value) {
        let (parent, key) = path.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value;
    }

    fn typed(pod: &Value) -> Pod {
        serde_json::from_value(pod.clone()).unwrap()
    }

    #[test]
    fn pods_of_a_template_share_it_and_others_never_do() {
        let mut templates = Templates::default();
        let first = templates.digest(&typed(&pod("1")));
        let second = templates.digest(&typed(&pod("2")));
        assert!(Arc::ptr_eq(&first.template, &second.template), "what differs is not read");
        assert_eq!((&*second.name, &*second.uid), ("2", "uid-2"));
        for (path, value) in changes() {
            let mut changed = pod("3");
            set(&mut changed, path, value);
            let changed = typed(&changed);
            for _ in 0..2 {
                let shared = templates.digest(&changed);
                assert!(!Arc::ptr_eq(&first.template, &shared.template), "{path}");
                assert_eq!(format!("{shared:?}"), format!("{:?}", PodInfo::new(&changed)), "{path}");
            }
        }
    }

    #[test]
    fn templates_nobody_has_are_forgotten() {
        let mut templates = Templates::default();
        let kept = templates.digest(&typed(&pod("kept")));
        for i in 0..TEMPLATES_MAX {
            let mut other = pod("other");
            set(&mut other, "/metadata/labels/app", json!(format!("app-{i}")));
            templates.digest(&typed(&other));
        }
        assert!(templates.count <= 2, "{}", templates.count);
        assert!(Arc::ptr_eq(&kept.template, &templates.digest(&typed(&pod("again"))).template));
    }
}
