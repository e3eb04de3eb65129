//! What one pod's life is played in: its document, its node, disks, and what is said on the way.

use super::host::Host;
use super::statics::uid_of;
use super::{Checkpoint, Run, index_of};
use crate::controllers::Cx;
use crate::import::Durations;
use crate::kind::Kind;
use crate::object::Object;
use crate::work::files::{Keeper, Mount, Tree, View, Volumes};
use crate::work::process::Surroundings;
use crate::work::{self, Role};
use fleet::{Instant, Version};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, Volume};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest termination message, in bytes (kubelet's limit).
const MESSAGE_LENGTH_MAX: usize = 4096;
/// Longest one taken from what a container printed.
const MESSAGE_OF_LOG_MAX: usize = 2048;

/// Something said about a pod or one of its containers.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    /// Path of the container's field; `None`: about the pod.
    pub(super) field: Option<String>,
    pub(super) message: String,
}

/// The surroundings of a pod while it is looked at.
pub(super) struct Scene<'a, 'b> {
    pub(super) cx: &'a Cx<'b>,
    pub(super) pod: &'a Pod,
    pub(super) spec: &'a PodSpec,
    pub(super) node: &'a str,
    pub(super) host: &'a mut Host,
    /// Disks and directories of nodes, by name.
    pub(super) disks: &'a mut Volumes,
    pub(super) checkpoints: &'a mut BTreeMap<Arc<str>, Vec<Checkpoint>>,
    pub(super) durations: Option<&'a Durations>,
    /// Whether registries answer.
    pub(super) registry: bool,
    /// Of the kubelet.
    pub(super) version: Version,
    pub(super) said: Vec<Said>,
}

impl<'a> Scene<'a, '_> {
    pub(super) fn now(&self) -> Instant {
        self.cx.now
    }
    /// A container by its place: init containers first.
    pub(super) fn container(&self, at: usize) -> Option<(&'a Container, Role)> {
        container(self.spec, at)
    }
    pub(super) fn tell(&mut self, warning: bool, reason: &'static str, at: usize, message: String) {
        let inits = self.spec.init_containers.as_ref().map_or(0, Vec::len);
        let list = if at < inits { "initContainers" } else { "containers" };
        let field = self.container(at).map(|(c, _)| format!("spec.{list}{{{}}}", c.name));
        self.said.push(Said { warning, reason, field, message });
    }
    /// `name_namespace(uid)`, as the kubelet names pods.
    pub(super) fn pod_text(&self) -> String {
        let meta = &self.pod.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
    }
}

/// A container of a pod by its place, and what it is to it.
pub(super) fn container(spec: &PodSpec, at: usize) -> Option<(&Container, Role)> {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    match inits.get(at) {
        Some(container) => Some((container, Role::of(container, true))),
        None => spec.containers.get(at.checked_sub(inits.len())?).map(|c| (c, Role::App)),
    }
}

fn volume<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a Volume> {
    spec.volumes.iter().flatten().find(|volume| volume.name == name)
}

/// What a container sees of its pod's volumes.
pub(super) fn mounts(scene: &Scene<'_, '_>, container: &Container) -> Vec<Mount> {
    let namespace = scene.pod.metadata.namespace.as_deref().unwrap_or_default();
    let all = container.volume_mounts.iter().flatten().map(|mount| {
        let source = volume(scene.spec, &mount.name);
        let keeper = match source {
            Some(Volume { host_path: Some(host), .. }) => {
                Keeper::Cluster(format!("node/{}{}", scene.node, host.path))
            }
            Some(Volume { persistent_volume_claim: Some(claim), .. }) => {
                Keeper::Cluster(format!("claim/{namespace}/{}", claim.claim_name))
            }
            _ => Keeper::Pod(mount.name.clone()),
        };
        let inside = mount.sub_path.clone().unwrap_or_default();
        Mount { path: mount.mount_path.trim_matches('/').to_owned(), keeper, inside }
    });
    all.collect()
}

/// Puts into a pod's volumes what comes from ConfigMaps.
pub(super) fn fill(scene: &Scene<'_, '_>, volumes: &mut Volumes) {
    let namespace = scene.pod.metadata.namespace.as_deref().unwrap_or_default();
    for volume in scene.spec.volumes.iter().flatten() {
        let Some(source) = &volume.config_map else { continue };
        let stored = scene.cx.objects.get(Kind::ConfigMap, namespace, &source.name);
        let Some(Object::ConfigMap(map)) = stored.map(|stored| &stored.object) else { continue };
        let mut tree = Tree::default();
        for (key, text) in map.data.iter().flatten() {
            let items = source.items.as_deref().unwrap_or_default();
            match items.iter().find(|item| item.key == *key) {
                Some(item) => tree.write(&item.path, text, false),
                None => items.is_empty() && tree.write(key, text, false),
            };
        }
        volumes.insert(volume.name.clone(), tree);
    }
}

/// The value of a variable, where it is stated or a field of the pod.
fn value(scene: &Scene<'_, '_>, ip: &str, variable: &EnvVar) -> Option<String> {
    if let Some(value) = &variable.value {
        return Some(value.clone());
    }
    let source = variable.value_from.as_ref()?;
    let meta = &scene.pod.metadata;
    if let Some(field) = &source.field_ref {
        let entry = |map: &Option<BTreeMap<String, String>>, rest: &str| {
            let key = rest.trim_start_matches("['").trim_end_matches("']");
            map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
        };
        return match field.field_path.as_str() {
            "metadata.name" => meta.name.clone(),
            "metadata.namespace" => meta.namespace.clone(),
            "metadata.uid" => meta.uid.clone(),
            "spec.nodeName" => Some(scene.node.to_owned()),
            "spec.serviceAccountName" => scene.spec.service_account_name.clone(),
            "status.hostIP" | "status.hostIPs" => Some(scene.host.addresses(None).host),
            "status.podIP" | "status.podIPs" => Some(ip.to_owned()),
            path => match path.strip_prefix("metadata.labels") {
                Some(rest) => Some(entry(&meta.labels, rest)),
                None => path.strip_prefix("metadata.annotations").map(|rest| entry(&meta.annotations, rest)),
            },
        };
    }
    let key = source.config_map_key_ref.as_ref()?;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    match &scene.cx.objects.get(Kind::ConfigMap, namespace, &key.name)?.object {
        Object::ConfigMap(map) => map.data.as_ref()?.get(&key.key).cloned(),
        _ => None,
    }
}

/// The variables a container starts with.
pub(super) fn environment(
    scene: &Scene<'_, '_>,
    ip: &str,
    container: &Container,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let name = scene.pod.metadata.name.clone().unwrap_or_default();
    all.insert("HOSTNAME".to_owned(), scene.spec.hostname.clone().unwrap_or(name));
    if let Some(index) = index_of(scene.pod) {
        all.insert("JOB_COMPLETION_INDEX".to_owned(), index.to_owned());
    }
    for variable in container.env.iter().flatten() {
        let Some(mut text) = value(scene, ip, variable) else { continue };
        for (name, value) in &all {
            text = text.replace(&format!("$({name})"), value);
        }
        all.insert(variable.name.clone(), text);
    }
    all
}

/// What a container and its hooks and probes see: its own files, volumes, variables.
pub(super) struct Seat {
    pub(super) mounts: Vec<Mount>,
    pub(super) environment: BTreeMap<String, String>,
    /// Key of what it draws.
    pub(super) key: String,
}

impl Seat {
    pub(super) fn new(scene: &Scene<'_, '_>, run: &Run, at: usize, container: &Container) -> Seat {
        let uid = uid_of(scene.pod, run.manifest.is_some());
        let ip = scene.host.addresses(run.address).pod;
        let restarts = run.units.get(at).map_or(0, |unit| unit.restarts);
        Seat {
            mounts: mounts(scene, container),
            environment: environment(scene, &ip, container),
            key: format!("random/{uid}/{}/{restarts}", container.name),
        }
    }
    /// Whether it sees files that others than its pod may change.
    pub(super) fn shares(&self) -> bool {
        self.mounts.iter().any(|mount| matches!(mount.keeper, Keeper::Cluster(_)))
    }
    /// Lends what a process needs to go on.
    pub(super) fn lend<T>(
        &self,
        scene: &mut Scene<'_, '_>,
        (own, log): (&mut Tree, &mut String),
        (pod, changes): (&mut Volumes, &mut u64),
        with: impl FnOnce(&mut Surroundings<'_>) -> T,
    ) -> T {
        let (now, seed) = (scene.now(), scene.cx.seed);
        let view = View { own, pod, cluster: scene.disks, mounts: &self.mounts, changes };
        let environment = &self.environment;
        with(&mut Surroundings { view, environment, now, chance: (seed, &self.key), log })
    }
}

/// What a container says at its end: its file for that, else, after a failure, the end of what it printed.
pub(super) fn message(container: &Container, text: Option<String>, log: &str, code: i32) -> Option<String> {
    let text = text.filter(|text| !text.is_empty());
    let fallback = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    let (mut text, limit) = match text {
        Some(text) => (text, MESSAGE_LENGTH_MAX),
        None if fallback && code != 0 && !log.is_empty() => (log.to_owned(), MESSAGE_OF_LOG_MAX),
        None => return None,
    };
    let cut = (text.len().saturating_sub(limit)..text.len()).find(|at| text.is_char_boundary(*at));
    text.drain(..cut.unwrap_or(0));
    Some(text)
}

/// Where a container writes what it says at its end.
pub(super) fn message_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().unwrap_or("/dev/termination-log")
}

/// What a container does, and how much of it is only taking up saved work again.
pub(super) fn work(scene: &mut Scene<'_, '_>, at: usize) -> Option<(work::Does, fleet::Span)> {
    let (container, role) = scene.container(at)?;
    let stored = super::job_of(scene.cx, scene.pod);
    let job = stored.as_ref().and_then(|s| s.object.as_job());
    let learnt = scene.durations.zip(job).map(|(known, job)| known.expected(job));
    let fresh = work::of(scene.pod, (container, role), job, learnt, scene.cx.seed);
    let Some(uid) = job.filter(|_| role == Role::App).and_then(|j| j.metadata.uid.as_deref()) else {
        return Some((fresh, fleet::Span::ZERO));
    };
    let Some(saved) = scene.checkpoints.get_mut(uid) else { return Some((fresh, fleet::Span::ZERO)) };
    let same = |c: &Checkpoint| c.index.as_deref() == index_of(scene.pod) && *c.container == *container.name;
    let Some(found) = saved.iter().position(same) else {
        return Some((fresh, fleet::Span::ZERO));
    };
    let checkpoint = saved.remove(found);
    if saved.is_empty() {
        scene.checkpoints.remove(uid);
    }
    let run_for = Some(checkpoint.left + work::RESTART_COST);
    Some((work::Does::Lasts { run_for, exit_code: checkpoint.exit_code }, work::RESTART_COST))
}
