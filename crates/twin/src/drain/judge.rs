//! Which pods of a node a drain takes away, and what it says of them.
//!
//! The filters are kubectl's, in its order; the first that keeps a pod decides. kubectl means to warn of local storage that is
//! lost and of DaemonSets that are gone as well, but the word of its last filter takes the place of every one before, so
//! that it never does; neither does this.

use super::Flags;
use crate::apiserver::MIRROR;
use crate::controllers::owned::controller;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::BTreeMap;

const DAEMON_SET: (&str, &str) = ("apps/v1", "DaemonSet");
const DAEMON_SET_FATAL: &str = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
const DAEMON_SET_WARNING: &str = "ignoring DaemonSet-managed Pods";
const LOCAL_STORAGE_FATAL: &str = "Pods with local storage (use --delete-emptydir-data to override)";
const UNMANAGED_FATAL: &str = "Pods that declare no controller (use --force to override)";
const UNMANAGED_WARNING: &str = "deleting Pods that declare no controller";

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Delete,
    /// It goes, and that is worth a warning.
    DeleteWarned(String),
    /// It stays, and that is worth a warning.
    KeepWarned(String),
    /// It stays.
    Keep,
    /// It stands in the way: nothing is drained.
    Refuse(String),
}

impl Verdict {
    /// Whether the pod goes.
    pub fn deletes(&self) -> bool {
        matches!(self, Verdict::Delete | Verdict::DeleteWarned(_))
    }
}

/// What a drain would do.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// The pods that go, in the order given.
    pub pods: Vec<Pod>,
    /// What is to be known, one line a matter.
    pub warnings: Vec<String>,
    /// What stands in the way, one line a matter; with any of them nothing is drained.
    pub errors: Vec<String>,
}

/// Judges the pods of a node. `has_daemon_set` says whether there is a DaemonSet of this namespace and name.
pub fn select<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    flags: &Flags,
    has_daemon_set: &dyn Fn(&str, &str) -> bool,
    now: Instant,
) -> Selected {
    let mut selected = Selected::default();
    let (mut warnings, mut errors) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::new());
    for pod in pods {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        if flags.pod_selector.as_ref().is_some_and(|selector| !selector.matches(&labels)) {
            continue;
        }
        let verdict = judge(pod, flags, has_daemon_set, now);
        if verdict.deletes() {
            selected.pods.push(pod.clone());
        }
        let (list, matter) = match verdict {
            Verdict::Delete | Verdict::Keep => continue,
            Verdict::DeleteWarned(matter) | Verdict::KeepWarned(matter) => (&mut warnings, matter),
            Verdict::Refuse(matter) => (&mut errors, matter),
        };
        list.entry(matter).or_default().push(format!("{}/{}", namespace(pod), name(pod)));
    }
    let lines = |list: BTreeMap<String, Vec<String>>, word: &str| {
        let line = |(matter, pods): (String, Vec<String>)| format!("{word}{matter}: {}", pods.join(", "));
        list.into_iter().map(line).collect()
    };
    selected.warnings = lines(warnings, "");
    selected.errors = lines(errors, "cannot delete ");
    selected
}

pub(super) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// Whether a pod has been told to go for so long that nobody waits for it any more.
pub(super) fn is_given_up(pod: &Pod, after: Span, now: Instant) -> bool {
    let told = pod.metadata.deletion_timestamp.as_ref().map(|time| Instant::from_jiff(time.0));
    !after.is_zero() && told.is_some_and(|told| (now - told).as_seconds() > after.as_seconds())
}

/// What becomes of one pod.
fn judge(pod: &Pod, flags: &Flags, has_daemon_set: &dyn Fn(&str, &str) -> bool, now: Instant) -> Verdict {
    if is_given_up(pod, flags.skip_wait_for_delete, now) {
        return Verdict::Keep;
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    // Whatever has ended may go, but for a static pod's mirror.
    let ended = matches!(phase, "Succeeded" | "Failed");
    let owner = controller(&pod.metadata);
    let daemon = |owner: &&OwnerReference| (&*owner.api_version, &*owner.kind) == DAEMON_SET;
    if let Some(owner) = owner.filter(|owner| daemon(owner) && !ended) {
        match (has_daemon_set(namespace(pod), &owner.name), flags.force, flags.ignore_daemonsets) {
            (false, true, _) => {}
            (false, false, _) => {
                return Verdict::Refuse(format!("daemonsets.apps {:?} not found", owner.name));
            }
            (true, _, false) => return Verdict::Refuse(DAEMON_SET_FATAL.to_owned()),
            (true, _, true) => return Verdict::KeepWarned(DAEMON_SET_WARNING.to_owned()),
        }
    }
    if pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR)) {
        return Verdict::Keep;
    }
    let local = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|v| v.empty_dir.is_some());
    if local && !ended && !flags.delete_emptydir_data {
        return Verdict::Refuse(LOCAL_STORAGE_FATAL.to_owned());
    }
    match (owner.is_none() && !ended, flags.force) {
        (true, false) => Verdict::Refuse(UNMANAGED_FATAL.to_owned()),
        (true, true) => Verdict::DeleteWarned(UNMANAGED_WARNING.to_owned()),
        (false, _) => Verdict::Delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, owner: Option<&str>, spec: Value) -> Pod {
        let owners = owner.map(|kind| {
            json!([{"apiVersion": "apps/v1", "kind": kind, "name": "own", "uid": "u", "controller": true}])
        });
        let metadata =
            json!({"name": name, "namespace": "shop", "ownerReferences": owners.unwrap_or(json!([]))});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": {"phase": "Running"}}))
            .unwrap()
    }

    #[test]
    fn what_stands_in_the_way_is_told_by_matter() {
        let local = json!({"containers": [], "volumes": [{"name": "tmp", "emptyDir": {}}]});
        let bare = json!({"containers": []});
        let pods = [
            pod("a", Some("ReplicaSet"), local.clone()),
            pod("b", None, bare.clone()),
            pod("c", Some("DaemonSet"), bare.clone()),
            pod("d", Some("ReplicaSet"), local),
            pod("e", Some("ReplicaSet"), bare),
        ];
        let now = Instant::from_unix_seconds(0);
        let strict = select(&pods, &Flags::default(), &|_, _| true, now);
        assert_eq!(
            strict.errors,
            [
                "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): shop/c",
                "cannot delete Pods that declare no controller (use --force to override): shop/b",
                "cannot delete Pods with local storage (use --delete-emptydir-data to override): shop/a, shop/d",
            ]
        );
        let flags =
            Flags { force: true, ignore_daemonsets: true, delete_emptydir_data: true, ..Flags::default() };
        let lax = select(&pods, &flags, &|_, _| true, now);
        assert!(lax.errors.is_empty());
        assert_eq!(lax.pods.iter().map(name).collect::<Vec<_>>(), ["a", "b", "d", "e"]);
        assert_eq!(
            lax.warnings,
            ["deleting Pods that declare no controller: shop/b", "ignoring DaemonSet-managed Pods: shop/c",],
            "the warning of local storage is overwritten, as kubectl does"
        );
    }
}
