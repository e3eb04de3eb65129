//! The kinds a twin keeps, with everything discovery and paths say about them.

use serde::{Deserialize, Serialize};

/// A kind of object. The order is the order of storage and of discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
}

/// What discovery says of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The kind.
    pub kind: Kind,
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
    pub short_names: &'static [&'static str],
    /// Groups such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether there is a `status` subresource.
    pub status: bool,
}

const fn core(kind: Kind, name: &'static str, plural: &'static str, singular: &'static str) -> Resource {
    Resource {
        kind,
        group: "",
        version: "v1",
        name,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: true,
        status: false,
    }
}

/// Every kind the twin keeps.
pub const RESOURCES: [Resource; 8] = [
    Resource {
        short_names: &["ns"],
        namespaced: false,
        status: true,
        ..core(Kind::Namespace, "Namespace", "namespaces", "namespace")
    },
    Resource {
        short_names: &["no"],
        namespaced: false,
        status: true,
        ..core(Kind::Node, "Node", "nodes", "node")
    },
    Resource {
        short_names: &["po"],
        categories: &["all"],
        status: true,
        ..core(Kind::Pod, "Pod", "pods", "pod")
    },
    Resource { short_names: &["cm"], ..core(Kind::ConfigMap, "ConfigMap", "configmaps", "configmap") },
    Resource { short_names: &["ev"], ..core(Kind::Event, "Event", "events", "event") },
    Resource { group: "batch", categories: &["all"], status: true, ..core(Kind::Job, "Job", "jobs", "job") },
    Resource { group: "coordination.k8s.io", ..core(Kind::Lease, "Lease", "leases", "lease") },
    Resource {
        group: "scheduling.k8s.io",
        short_names: &["pc"],
        namespaced: false,
        ..core(Kind::PriorityClass, "PriorityClass", "priorityclasses", "priorityclass")
    },
];

impl Kind {
    /// Every kind, in order.
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
    pub const fn resource(self) -> &'static Resource {
        &RESOURCES[self as usize]
    }

    /// The kind served under `group`, `version` and the plural `plural`.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<Kind> {
        RESOURCES
            .iter()
            .find(|r| r.group == group && r.version == version && r.plural == plural)
            .map(|r| r.kind)
    }
}

impl Resource {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (kind, resource) in Kind::ALL.into_iter().zip(&RESOURCES) {
            assert_eq!(kind, resource.kind);
            assert_eq!(Kind::find(resource.group, resource.version, resource.plural), Some(kind));
        }
    }
}
