//! What the pods of a Job need beside their images: where it is not there, they never start.
//!
//! A pod that misses a ConfigMap, a Secret or a claim waits for it for ever, and one whose account is missing is
//! never created. So they are looked for in a cluster before a Job is sent there; at home its owner sees to them.
//! Left out: what is marked optional, and classes (storage, runtime, priority), which admission or the scheduler
//! speaks for.

use crate::jobs;
use fleet::ClusterId;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use std::collections::BTreeSet;
use std::fmt;

/// A kind of thing pods need, in their own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeedKind {
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret.
    Secret,
    /// `v1` ServiceAccount.
    ServiceAccount,
    /// `v1` PersistentVolumeClaim.
    PersistentVolumeClaim,
}

impl NeedKind {
    /// Name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            NeedKind::ConfigMap => "ConfigMap",
            NeedKind::Secret => "Secret",
            NeedKind::ServiceAccount => "ServiceAccount",
            NeedKind::PersistentVolumeClaim => "PersistentVolumeClaim",
        }
    }
}

/// One thing pods need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Its kind.
    pub kind: NeedKind,
    /// Its name.
    pub name: String,
}

/// `Secret "token"`.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.name)
    }
}

/// What the pods of a copy need in a cluster; nothing at the Job's home.
pub fn of_copy(cluster: &ClusterId, copy: &Job) -> BTreeSet<Need> {
    let labels = copy.metadata.labels.as_ref();
    let home =
        labels.and_then(|all| all.get(jobs::ORIGIN_CLUSTER_LABEL)).is_some_and(|at| at == cluster.as_str());
    let pod = copy.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.filter(|_| !home).map(of).unwrap_or_default()
}

/// What pods of this spec cannot start without.
pub fn of(pod: &PodSpec) -> BTreeSet<Need> {
    let mut all = BTreeSet::new();
    let mut need = |kind: NeedKind, name: Option<&String>, optional: Option<bool>| {
        if let Some(name) = name.filter(|name| !name.is_empty() && optional != Some(true)) {
            all.insert(Need { kind, name: name.clone() });
        }
    };
    // Every namespace has the account `default`.
    let account = pod.service_account_name.as_ref().filter(|name| *name != "default");
    need(NeedKind::ServiceAccount, account, None);
    for secret in pod.image_pull_secrets.iter().flatten() {
        need(NeedKind::Secret, Some(&secret.name), None);
    }
    for volume in pod.volumes.iter().flatten() {
        of_volume(volume, &mut need);
    }
    for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
        of_container(container, &mut need);
    }
    all
}

/// Takes in a kind, a name, and whether it is optional.
type Take<'a> = dyn FnMut(NeedKind, Option<&String>, Option<bool>) + 'a;

fn of_volume(volume: &Volume, need: &mut Take<'_>) {
    if let Some(map) = &volume.config_map {
        need(NeedKind::ConfigMap, Some(&map.name), map.optional);
    }
    if let Some(secret) = &volume.secret {
        need(NeedKind::Secret, secret.secret_name.as_ref(), secret.optional);
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        need(NeedKind::PersistentVolumeClaim, Some(&claim.claim_name), None);
    }
    for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
        if let Some(map) = &source.config_map {
            need(NeedKind::ConfigMap, Some(&map.name), map.optional);
        }
        if let Some(secret) = &source.secret {
            need(NeedKind::Secret, Some(&secret.name), secret.optional);
        }
    }
}

fn of_container(container: &Container, need: &mut Take<'_>) {
    for from in container.env_from.iter().flatten() {
        if let Some(map) = &from.config_map_ref {
            need(NeedKind::ConfigMap, Some(&map.name), map.optional);
        }
        if let Some(secret) = &from.secret_ref {
            need(NeedKind::Secret, Some(&secret.name), secret.optional);
        }
    }
    for from in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        if let Some(map) = &from.config_map_key_ref {
            need(NeedKind::ConfigMap, Some(&map.name), map.optional);
        }
        if let Some(secret) = &from.secret_key_ref {
            need(NeedKind::Secret, Some(&secret.name), secret.optional);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_that_is_not_optional() {
        let pod = serde_json::from_value(json!({
            "serviceAccountName": "reader",
            "imagePullSecrets": [{"name": "registry"}],
            "volumes": [
                {"name": "a", "configMap": {"name": "settings"}},
                {"name": "b", "secret": {"secretName": "key", "optional": true}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "d", "projected": {"sources": [{"secret": {"name": "tls"}}, {"serviceAccountToken": {"path": "t"}}]}},
                {"name": "e", "emptyDir": {}},
            ],
            "initContainers": [{"name": "first", "envFrom": [{"configMapRef": {"name": "env"}}]}],
            "containers": [{"name": "work", "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "password", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "maybe", "key": "k", "optional": true}}},
                {"name": "C", "value": "plain"},
            ]}],
        }))
        .unwrap();
        let all: Vec<String> = of(&pod).iter().map(Need::to_string).collect();
        let expected = [
            "ConfigMap \"env\"",
            "ConfigMap \"settings\"",
            "Secret \"password\"",
            "Secret \"registry\"",
            "Secret \"tls\"",
            "ServiceAccount \"reader\"",
            "PersistentVolumeClaim \"data\"",
        ];
        assert_eq!(all, expected);
        let plain =
            serde_json::from_value(json!({"serviceAccountName": "default", "containers": []})).unwrap();
        assert!(of(&plain).is_empty());
    }
}
