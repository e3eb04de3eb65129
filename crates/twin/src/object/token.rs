//! The token a pod finds mounted: a volume and a mount in each container, the same for every pod but for the volume's name,
//! which follows from the pod's uid. So they are not kept: a pod has a mark in their place, and is shown with them.
//!
//! The mark is that `serviceAccountName` is set and its old name `serviceAccount` is not, which no pod that is shown has.
//! Invariant: [`shown`] of what [`folded`] makes of a pod is that pod, to the last field and the order of lists.
//! Kept in full, a volume takes some 2 kB: its type has room for each of thirty sources.

use crate::random::Stream;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
    ObjectFieldSelector, Pod, PodSpec, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeMount, VolumeProjection,
};
use std::borrow::Cow;

/// Before the name of the volume that holds the token.
pub(crate) const VOLUME: &str = "kube-api-access-";
/// Where containers find it.
pub(crate) const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds the token is asked for.
const SECONDS: i64 = 60 * 60 + 7;
/// Mode of its files: 0644.
const MODE: i32 = 0o644;
/// Characters behind the volume's name.
const SUFFIX_LENGTH: usize = 5;

/// The name of the volume in a pod, from a stream of the pod's own: what others draw does not shift.
pub(crate) fn volume_name(uid: &str) -> String {
    format!("{VOLUME}{}", Stream::new(0, &format!("{VOLUME}{uid}")).suffix(SUFFIX_LENGTH))
}

/// The volume.
pub(crate) fn volume(name: String) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(SECONDS),
        ..ServiceAccountTokenProjection::default()
    };
    let authority = ConfigMapProjection {
        name: "kube-root-ca.crt".to_owned(),
        items: Some(vec![KeyToPath {
            key: "ca.crt".to_owned(),
            path: "ca.crt".to_owned(),
            ..KeyToPath::default()
        }]),
        ..ConfigMapProjection::default()
    };
    let field = ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: "metadata.namespace".to_owned(),
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(field),
        ..DownwardAPIVolumeFile::default()
    };
    let namespace = DownwardAPIProjection { items: Some(vec![namespace]) };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
        VolumeProjection { downward_api: Some(namespace), ..VolumeProjection::default() },
    ];
    let projected = ProjectedVolumeSource { default_mode: Some(MODE), sources: Some(sources) };
    Volume { name, projected: Some(projected), ..Volume::default() }
}

/// The mount.
pub(crate) fn mount(name: String) -> VolumeMount {
    VolumeMount { name, read_only: Some(true), mount_path: PATH.to_owned(), ..VolumeMount::default() }
}

fn containers(spec: &mut PodSpec) -> impl Iterator<Item = &mut Container> {
    spec.init_containers.iter_mut().flatten().chain(&mut spec.containers)
}

fn has_mount(container: &Container) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == PATH)
}

/// Whether one of the pod's volumes is called as one of a token is.
pub(crate) fn has_volume(spec: &PodSpec) -> bool {
    spec.volumes.iter().flatten().any(|volume| volume.name.starts_with(VOLUME))
}

/// Marks a pod whose account's token is mounted wherever nothing else is at its place, or says that none is.
pub(crate) fn mark(spec: &mut PodSpec, account: String, mounted: bool) {
    spec.service_account = (!mounted).then(|| account.clone());
    spec.service_account_name = Some(account);
}

/// Whether a pod has the mark.
fn is_marked(spec: &PodSpec) -> bool {
    spec.service_account.is_none() && spec.service_account_name.as_ref().is_some_and(|name| !name.is_empty())
}

/// A pod that was sent has no mark: its account has both names, as the API server gives them to every pod.
pub(super) fn named(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    if spec.service_account_name.as_deref().unwrap_or_default().is_empty() && spec.service_account.is_some() {
        spec.service_account_name.clone_from(&spec.service_account);
    }
    if is_marked(spec) {
        spec.service_account.clone_from(&spec.service_account_name);
    }
}

/// A pod as it is shown.
pub(super) fn shown(pod: &Pod) -> Cow<'_, Pod> {
    if !pod.spec.as_ref().is_some_and(is_marked) {
        return Cow::Borrowed(pod);
    }
    let mut pod = pod.clone();
    let name = volume_name(pod.metadata.uid.as_deref().unwrap_or_default());
    if let Some(spec) = &mut pod.spec {
        spec.service_account.clone_from(&spec.service_account_name);
        let mut mounted = false;
        for container in containers(spec).filter(|container| !has_mount(container)) {
            container.volume_mounts.get_or_insert_default().push(mount(name.clone()));
            mounted = true;
        }
        if mounted {
            spec.volumes.get_or_insert_default().push(volume(name));
        }
    }
    Cow::Owned(pod)
}

/// Takes out of a pod what [`shown`] puts back, and marks it; a pod of which anything differs stays as it is.
pub(super) fn folded(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    let named = spec.service_account_name.as_ref().is_some_and(|name| !name.is_empty());
    if !named || spec.service_account != spec.service_account_name {
        return;
    }
    let Some((last, others)) = spec.volumes.as_deref().and_then(<[Volume]>::split_last) else { return };
    let name = volume_name(pod.metadata.uid.as_deref().unwrap_or_default());
    if last.name != name || others.iter().any(|other| other.name.starts_with(VOLUME)) {
        return;
    }
    if *last != volume(name.clone()) {
        return;
    }
    let own = mount(name);
    // Ours is the last and the only one at its place, or another is there.
    let is_ours = |container: &Container| {
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        mounts.last() == Some(&own) && mounts.iter().filter(|mount| mount.mount_path == PATH).count() == 1
    };
    let all = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let fits = |container: &Container| is_ours(container) || has_mount(container);
    if !all().all(fits) || !all().any(is_ours) {
        return;
    }
    spec.service_account = None;
    cut(&mut spec.volumes);
    for container in containers(spec).filter(|container| is_ours(container)) {
        cut(&mut container.volume_mounts);
    }
}

/// Takes the last of a list away, and a list of one with it.
fn cut<T>(list: &mut Option<Vec<T>>) {
    if let Some(all) = list {
        all.pop();
        all.shrink_to_fit();
    }
    if list.as_ref().is_some_and(Vec::is_empty) {
        *list = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::object::Object;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": spec})
    }

    fn kept(doc: &Value) -> Pod {
        Object::from_value(Kind::Pod, doc).unwrap().as_pod().unwrap().clone()
    }

    #[test]
    fn a_mounted_token_is_a_mark_and_shown_in_full() {
        let sent = pod(
            json!({"serviceAccountName": "bot", "serviceAccount": "bot", "containers": [{"name": "c"}, {"name": "own", "volumeMounts": [{"name": "v", "mountPath": PATH}]}]}),
        );
        let mut plain = kept(&sent);
        let full = Object::Pod(Box::new(plain.clone())).to_value();
        assert_eq!(full["spec"]["volumes"], Value::Null, "not marked");
        mark(plain.spec.as_mut().unwrap(), "bot".to_owned(), true);
        let shown = Object::Pod(Box::new(plain.clone())).to_value();
        assert_eq!(shown["spec"]["serviceAccount"], "bot");
        assert_eq!(shown["spec"]["volumes"][0]["projected"]["sources"].as_array().unwrap().len(), 3);
        assert_eq!(shown["spec"]["containers"][0]["volumeMounts"][0]["readOnly"], true);
        assert_eq!(shown["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        assert_eq!(kept(&shown), plain, "and is kept as the mark again");
        let saved = serde_json::to_value(Object::Pod(Box::new(plain.clone()))).unwrap();
        assert!(saved["spec"]["volumes"].is_null(), "saved as it is kept");
        assert_eq!(Object::from_saved(Kind::Pod, &saved).unwrap(), Object::Pod(Box::new(plain)));
    }

    #[test]
    fn who_sends_one_name_of_an_account_has_said_nothing_of_a_token() {
        let sent = kept(&pod(json!({"serviceAccountName": "bot", "containers": [{"name": "c"}]})));
        assert_eq!(sent.spec.as_ref().unwrap().service_account.as_deref(), Some("bot"));
        assert!(Object::Pod(Box::new(sent)).to_value()["spec"]["volumes"].is_null());
    }

    fn mounts() -> impl Strategy<Value = Vec<VolumeMount>> {
        let one = prop_oneof![
            Just(mount(volume_name("u"))),
            Just(mount("own".to_owned())),
            Just(VolumeMount { name: "v".to_owned(), mount_path: "/v".to_owned(), ..VolumeMount::default() }),
            Just(VolumeMount { read_only: None, ..mount(volume_name("u")) }),
        ];
        prop::collection::vec(one, 0..3)
    }

    fn volumes() -> impl Strategy<Value = Vec<Volume>> {
        let one = prop_oneof![
            Just(volume(volume_name("u"))),
            Just(volume(format!("{VOLUME}other"))),
            Just(Volume { name: "v".to_owned(), ..Volume::default() }),
        ];
        prop::collection::vec(one, 0..3)
    }

    proptest! {
        /// Whatever a pod has at these places, it is shown as it was sent.
        #[test]
        fn nothing_is_lost(
            all in prop::collection::vec(mounts(), 1..3),
            init in prop::option::of(mounts()),
            volumes in volumes(),
            account in prop::option::of(Just("bot".to_owned())),
        ) {
            let container = |mounts: Vec<VolumeMount>| Container {
                name: "c".to_owned(),
                volume_mounts: Some(mounts).filter(|mounts| !mounts.is_empty()),
                ..Container::default()
            };
            let spec = PodSpec {
                containers: all.into_iter().map(container).collect(),
                init_containers: init.map(|mounts| vec![container(mounts)]),
                volumes: Some(volumes).filter(|volumes| !volumes.is_empty()),
                service_account: account.clone(),
                service_account_name: account,
                ..PodSpec::default()
            };
            let doc = pod(serde_json::to_value(&spec).unwrap());
            let kept = kept(&doc);
            let own = spec.volumes.iter().flatten().filter(|v| v.name.starts_with(VOLUME)).count();
            if kept.spec.as_ref().is_some_and(is_marked) {
                prop_assert_eq!(own, 1);
                prop_assert!(!has_volume(kept.spec.as_ref().unwrap()));
            }
            prop_assert_eq!(Object::Pod(Box::new(kept)).to_value(), doc);
        }
    }
}
