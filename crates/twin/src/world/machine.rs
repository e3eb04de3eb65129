//! What a cluster consists of at the start: Node objects as `kubectl get nodes -o wide` and `describe`
//! expect them, one Lease a node, the system's namespaces and priority classes.
//!
//! Allocatable is capacity less what the kubelet keeps, as stated, or by the rule EKS publishes for its nodes: CPU 6 %
//! of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest; memory 255 MiB +
//! 11 MiB a pod, and 100 MiB as eviction threshold. A node's memory is the instance's, without what
//! firmware and kernel take. Heartbeats are not renewed: they are derived on read.

use crate::controllers::{micro_time, time};
use crate::kind::Kind;
use crate::object::{Document, Object};
use crate::random::Stream;
use crate::store::Objects;
use fleet::{ClusterSpec, Instant, NodeGroup, Version};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Namespace, NamespaceSpec, NamespaceStatus, Node, NodeAddress, NodeCondition,
    NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::json;
use std::collections::BTreeMap;

/// Root disk of a node, 80 GiB formatted, and what of it pods may use (as an EKS node reports them).
const DISK: &str = "83873772Ki";
const DISK_ALLOCATABLE_BYTES: &str = "76224326324";
const MIB: i64 = 1 << 20;
/// Memory below which a kubelet evicts pods.
const EVICTION: i64 = 100 * MIB;
/// Label of a node with the name of its group.
pub(crate) const GROUP: &str = "kubercarbon.io/node-group";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// What a kubelet says before its network plugin is there.
const NO_NETWORK: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
    message:Network plugin returns error: cni plugin not initialized";

/// Names of the nodes of each group.
pub(super) fn node_names(spec: &ClusterSpec) -> impl Iterator<Item = (&NodeGroup, Vec<String>)> {
    spec.node_groups
        .iter()
        .map(|group| (group, (1..=group.count).map(|n| format!("{}-{}-{n}", spec.id, group.name)).collect()))
}

/// Names, groups and zones of all nodes, in order.
pub(super) fn nodes(spec: &ClusterSpec) -> Vec<(String, String, String)> {
    let all = node_names(spec).flat_map(|(group, names)| {
        names.into_iter().enumerate().map(move |(i, name)| {
            let zone = group.zones.get(i % group.zones.len().max(1)).cloned().unwrap_or_default();
            (name, group.name.clone(), zone)
        })
    });
    all.collect()
}

/// Puts everything in place that a new cluster has. `number` is the cluster's place in the fleet.
pub(super) fn found(
    spec: &ClusterSpec,
    number: usize,
    demo_namespace: Option<&str>,
    now: Instant,
    objects: &mut Objects,
    names: &mut Stream,
) {
    let system = ["default", "kube-node-lease", "kube-public", "kube-system"];
    for name in system.into_iter().chain(demo_namespace.filter(|n| !system.contains(n))) {
        objects.put(namespace(name, now, names));
    }
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]
    {
        let class = PriorityClass {
            metadata: ObjectMeta { generation: Some(1), ..meta(name, "", now, names) },
            value: Some(value),
            description: Some("Used for system critical pods.".to_owned()),
            preemption_policy: Some("PreemptLowerPriority".to_owned()),
            ..PriorityClass::default()
        };
        objects.put(Object::PriorityClass(Box::new(class)));
    }
    objects.put(storage_class(spec, now));
    let mut index = 0;
    for (group, group_names) in node_names(spec) {
        for (i, name) in group_names.iter().enumerate() {
            let zone = group.zones.get(i % group.zones.len().max(1)).map_or("", String::as_str);
            let seat = NewNode { zone, cluster: number, index, ready: true };
            let (node, lease) = new_node(spec, group, name, &seat, now, names);
            objects.put(lease);
            objects.put(node);
            index += 1;
        }
    }
}

fn meta(name: &str, namespace: &str, now: Instant, names: &mut Stream) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        uid: Some(names.uid()),
        creation_timestamp: Some(time(now)),
        ..ObjectMeta::default()
    }
}

/// The class of claims that name none: a network disk of the node's zone, made when the first pod needs it, as the
/// managed services of the large clouds set up theirs.
fn storage_class(spec: &ClusterSpec, now: Instant) -> Object {
    let mut names = Stream::new(0, &format!("storageclasses/{}", spec.id));
    let mut metadata = meta("standard", "", now, &mut names);
    let default = ("storageclass.kubernetes.io/is-default-class".to_owned(), "true".to_owned());
    metadata.annotations = Some(BTreeMap::from([default]));
    let body = json!({"provisioner": "disk.csi.kubercarbon.io", "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true});
    Object::Document(Box::new(Document {
        kind: Kind::document("storage.k8s.io", "storageclasses"),
        api_version: "storage.k8s.io/v1".into(),
        metadata,
        body: body.as_object().cloned().unwrap_or_default().into(),
    }))
}

pub(super) fn namespace(name: &str, now: Instant, names: &mut Stream) -> Object {
    let mut metadata = meta(name, "", now, names);
    metadata.labels = Some(BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())]));
    Object::Namespace(Box::new(Namespace {
        metadata,
        spec: Some(NamespaceSpec { finalizers: Some(vec!["kubernetes".to_owned()]) }),
        status: Some(NamespaceStatus { phase: Some("Active".to_owned()), conditions: None }),
    }))
}

pub(super) fn lease(node: &str, node_uid: &str, now: Instant, names: &mut Stream) -> Object {
    let mut metadata = meta(node, "kube-node-lease", now, names);
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: node_uid.to_owned(),
        ..OwnerReference::default()
    }]);
    let spec = LeaseSpec {
        holder_identity: Some(node.to_owned()),
        lease_duration_seconds: Some(40),
        renew_time: Some(micro_time(now)),
        ..LeaseSpec::default()
    };
    Object::Lease(Box::new(Lease { metadata, spec: Some(spec) }))
}

/// Where a node stands: its zone, its cluster's place in the fleet, and its place in the cluster; and whether it has a network.
pub(crate) struct NewNode<'a> {
    pub(crate) zone: &'a str,
    pub(crate) cluster: usize,
    pub(crate) index: usize,
    pub(crate) ready: bool,
}

/// A Node and its Lease.
pub(crate) fn new_node(
    spec: &ClusterSpec,
    group: &NodeGroup,
    name: &str,
    seat: &NewNode<'_>,
    now: Instant,
    names: &mut Stream,
) -> (Object, Object) {
    let node = node(spec, group, name, seat, now, names);
    let lease = lease(name, node.metadata.uid.as_deref().unwrap_or_default(), now, names);
    (Object::Node(Box::new(node)), lease)
}

impl NewNode<'_> {
    /// 10.0.0.0/8, one /16 a cluster where they last.
    fn ip(&self) -> String {
        format!("10.{}.{}.{}", self.cluster % 200, 16 + self.index / 250, 4 + self.index % 250)
    }
    /// One /24 a node: 10.200.0.0 and up for the first 256, and on for more.
    fn pod_cidr(&self) -> String {
        format!("10.{}.{}.0/24", 200 + (self.index / 256) % 56, self.index % 256)
    }
}

fn node(
    spec: &ClusterSpec,
    group: &NodeGroup,
    name: &str,
    seat: &NewNode<'_>,
    now: Instant,
    names: &mut Stream,
) -> Node {
    let arch = if fleet::builtin::is_arm(group.instance_type.as_str()) { "arm64" } else { "amd64" };
    let mut metadata = meta(name, "", now, names);
    let labels = [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/instance-type", group.instance_type.as_str()),
        ("beta.kubernetes.io/os", "linux"),
        (GROUP, group.name.as_str()),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", group.instance_type.as_str()),
        ("topology.kubernetes.io/region", spec.region.as_str()),
        ("topology.kubernetes.io/zone", seat.zone),
    ];
    let mut labels: BTreeMap<String, String> = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    labels.extend(group.labels.clone());
    if group.node_pool.is_some() {
        labels.insert("karpenter.sh/registered".to_owned(), "true".to_owned());
    }
    metadata.labels = Some(labels);
    metadata.annotations =
        Some(BTreeMap::from([("node.alpha.kubernetes.io/ttl".to_owned(), "0".to_owned())]));
    let instance = format!("i-{:017x}", names.bits());
    let address = |kind: &str, value: String| NodeAddress { type_: kind.to_owned(), address: value };
    let status = NodeStatus {
        addresses: Some(vec![address("InternalIP", seat.ip()), address("Hostname", name.to_owned())]),
        capacity: Some(capacity(group)),
        allocatable: Some(allocatable(group)),
        conditions: Some(if seat.ready { conditions(now) } else { without_network(now) }),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }),
        }),
        node_info: Some(info(arch, &instance, group.kubelet.version, names)),
        ..NodeStatus::default()
    };
    // The API server gives it to every new node, until its condition says otherwise.
    let not_ready = || Taint {
        key: NOT_READY.to_owned(),
        effect: "NoSchedule".to_owned(),
        time_added: Some(time(now)),
        value: None,
    };
    let own = group.taints.iter().map(|taint| Taint {
        key: taint.key.clone(),
        value: Some(taint.value.clone()).filter(|value| !value.is_empty()),
        effect: taint.effect.clone(),
        time_added: None,
    });
    let taints: Vec<Taint> = own.chain((!seat.ready).then(not_ready)).collect();
    let spec = NodeSpec {
        taints: Some(taints).filter(|taints| !taints.is_empty()),
        pod_cidr: Some(seat.pod_cidr()),
        pod_cidrs: Some(vec![seat.pod_cidr()]),
        provider_id: Some(format!("aws:///{}/{instance}", seat.zone)),
        ..NodeSpec::default()
    };
    Node { metadata, spec: Some(spec), status: Some(status) }
}

fn info(arch: &str, instance: &str, version: Version, names: &mut Stream) -> NodeSystemInfo {
    let machine_id = names.uid().replace('-', "");
    NodeSystemInfo {
        architecture: arch.to_owned(),
        boot_id: names.uid(),
        container_runtime_version: "containerd://2.2.1".to_owned(),
        kernel_version: "6.12.55-74.119.amzn2023.".to_owned()
            + if arch == "arm64" { "aarch64" } else { "x86_64" },
        kube_proxy_version: String::new(),
        kubelet_version: version.to_string(),
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: "Amazon Linux 2023 (simulated)".to_owned(),
        system_uuid: format!("ec2{}", &instance[2..]),
        swap: None,
    }
}

fn quantities(entries: [(&str, String); 4], gpu: i64) -> BTreeMap<String, Quantity> {
    let mut map: BTreeMap<String, Quantity> =
        entries.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount))).collect();
    if gpu > 0 {
        map.insert("nvidia.com/gpu".to_owned(), Quantity(gpu.to_string()));
    }
    map
}

fn capacity(group: &NodeGroup) -> BTreeMap<String, Quantity> {
    let entries = [
        ("cpu", group.vcpu.to_string()),
        ("memory", format!("{}Ki", group.memory.as_bytes() / 1024)),
        ("pods", group.pods.to_string()),
        ("ephemeral-storage", DISK.to_owned()),
    ];
    quantities(entries, group.gpu)
}

/// CPU the kubelet keeps, in hundred-thousandths of a core so that a quarter per cent is whole.
fn reserved_cpu_millis(vcpu: i64) -> i64 {
    let per_core = |core: i64| match core {
        0 => 6000,
        1 => 1000,
        2 | 3 => 500,
        _ => 250,
    };
    (0..vcpu.clamp(0, 1024)).map(per_core).sum::<i64>() / 100
}

fn allocatable(group: &NodeGroup) -> BTreeMap<String, Quantity> {
    let of_eks = || (reserved_cpu_millis(group.vcpu), (255 + 11 * group.pods) * MIB);
    let (cpu, memory) = group.reserved.map_or_else(of_eks, |own| (own.cpu_millis, own.memory.as_bytes()));
    let kept = memory + EVICTION;
    let entries = [
        ("cpu", format!("{}m", (group.vcpu * 1000 - cpu).max(0))),
        ("memory", format!("{}Ki", (group.memory.as_bytes() - kept).max(0) / 1024)),
        ("pods", group.pods.to_string()),
        ("ephemeral-storage", DISK_ALLOCATABLE_BYTES.to_owned()),
    ];
    quantities(entries, group.gpu)
}

/// The conditions of a healthy node.
pub(crate) fn conditions(now: Instant) -> Vec<NodeCondition> {
    [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    .map(|(kind, status, reason, message)| NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(time(now)),
        last_transition_time: Some(time(now)),
    })
    .into()
}

/// The conditions of a node whose kubelet has registered it and which has no network yet.
fn without_network(now: Instant) -> Vec<NodeCondition> {
    let mut all = conditions(now);
    for ready in all.iter_mut().filter(|condition| condition.type_ == "Ready") {
        ready.status = "False".to_owned();
        ready.reason = Some("KubeletNotReady".to_owned());
        ready.message = Some(NO_NETWORK.to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_those_eks_publishes() {
        // The figures EKS nodes of these sizes report: 1930m, 3920m, 7910m, 15890m.
        assert_eq!([2, 4, 8, 16].map(|n| n * 1000 - reserved_cpu_millis(n)), [1930, 3920, 7910, 15_890]);
    }
}
