//! The kinds a twin file holds, in its order: owners before owned, and what others refer to first.

use serde::{Deserialize, Serialize};

/// How much of the objects of a kind is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// All but what is blanked.
    Whole,
    /// Namespace, name, uid and creation time.
    Names,
    /// The same, and a Secret's `type`.
    NamesAndTypes,
}

/// A kind that is read of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportKind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version within the group.
    pub version: &'static str,
    /// Kind as objects carry it.
    pub kind: &'static str,
    /// Name in paths, in right and in counts.
    pub plural: &'static str,
    /// Whether there is no twin without it.
    pub required: bool,
    /// How much of it is taken unless more is asked for.
    pub content: Content,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> ImportKind {
    ImportKind { group, version, kind, plural, required: false, content: Content::Whole }
}

const fn required(of: ImportKind) -> ImportKind {
    ImportKind { required: true, ..of }
}

const fn only(content: Content, of: ImportKind) -> ImportKind {
    ImportKind { content, ..of }
}

/// Every kind that is read, in order.
pub const KINDS: [ImportKind; 21] = [
    required(kind("", "v1", "Namespace", "namespaces")),
    required(kind("", "v1", "Node", "nodes")),
    kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses"),
    kind("storage.k8s.io", "v1", "StorageClass", "storageclasses"),
    kind("", "v1", "PersistentVolume", "persistentvolumes"),
    kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    kind("", "v1", "ResourceQuota", "resourcequotas"),
    kind("", "v1", "LimitRange", "limitranges"),
    only(Content::Names, kind("", "v1", "ServiceAccount", "serviceaccounts")),
    only(Content::Names, kind("", "v1", "ConfigMap", "configmaps")),
    only(Content::NamesAndTypes, kind("", "v1", "Secret", "secrets")),
    kind("", "v1", "Service", "services"),
    kind("apps", "v1", "Deployment", "deployments"),
    kind("apps", "v1", "ReplicaSet", "replicasets"),
    kind("apps", "v1", "StatefulSet", "statefulsets"),
    kind("apps", "v1", "DaemonSet", "daemonsets"),
    kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind("batch", "v1", "CronJob", "cronjobs"),
    kind("batch", "v1", "Job", "jobs"),
    required(kind("", "v1", "Pod", "pods")),
];

impl ImportKind {
    /// `v1`, `batch/v1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }
    /// Path of the collection over all namespaces, e.g. `/apis/batch/v1/jobs`.
    pub fn path(&self) -> String {
        match self.group {
            "" => format!("/api/{}/{}", self.version, self.plural),
            group => format!("/apis/{group}/{}/{}", self.version, self.plural),
        }
    }
    /// The kind of this plural.
    pub fn named(plural: &str) -> Option<&'static ImportKind> {
        KINDS.iter().find(|kind| kind.plural == plural)
    }
    /// The kind of an object, if it is one that is read.
    pub fn find(api_version: &str, kind: &str) -> Option<&'static ImportKind> {
        KINDS.iter().find(|k| k.kind == kind && k.api_version() == api_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_last_and_secrets_never_whole() {
        assert_eq!(KINDS.last().map(|k| k.kind), Some("Pod"));
        assert_eq!(ImportKind::find("v1", "Secret").map(|k| k.content), Some(Content::NamesAndTypes));
        assert_eq!(
            ImportKind::find("batch/v1", "Job").map(ImportKind::path).as_deref(),
            Some("/apis/batch/v1/jobs")
        );
        assert_eq!(ImportKind::find("batch/v1beta1", "Job"), None);
    }
}
