//! The status of a pod at each step of its life, as a kubelet writes it.

use crate::controllers::time;
use fleet::Instant;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};

/// Sets a condition; the time of transition moves only when the status does.
pub(crate) fn set_condition(
    status: &mut PodStatus,
    kind: &str,
    holds: bool,
    reason: Option<&str>,
    now: Instant,
) {
    let value = if holds { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    let new = PodCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: reason.map(str::to_owned),
        last_transition_time: Some(time(now)),
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(old) if old.status == value => old.reason = new.reason,
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// Gives every container of the pod a status of this state.
fn containers(pod: &mut Pod, state: &ContainerState, ready: bool) {
    let specs: Vec<(String, String)> = pod
        .spec
        .iter()
        .flat_map(|s| &s.containers)
        .map(|c| (c.name.clone(), c.image.clone().unwrap_or_default()))
        .collect();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let statuses = pod.status.get_or_insert_default().container_statuses.get_or_insert_default();
    for (name, image) in specs {
        let at = match statuses.iter().position(|s| s.name == name) {
            Some(at) => at,
            None => {
                statuses.push(ContainerStatus { name, image, ..ContainerStatus::default() });
                statuses.len() - 1
            }
        };
        let status = &mut statuses[at];
        let was_running = status.state.as_ref().is_some_and(|s| s.running.is_some());
        status.state = Some(state.clone());
        status.ready = ready;
        status.started = Some(state.running.is_some());
        if state.running.is_some() {
            status.image_id = digest(&status.image);
            status.container_id = Some(container_id(&uid, &status.name, status.restart_count));
        }
        if let Some(terminated) = status.state.as_mut().and_then(|s| s.terminated.as_mut()) {
            // A container that never ran has nothing that could be named.
            terminated.container_id = status.container_id.clone();
            if !was_running {
                terminated.started_at = None;
            }
        }
    }
}

/// A made-up but stable hash of 64 hex digits.
fn hex(text: &str) -> String {
    let mut stream = crate::random::Stream::new(0, text);
    (0..4).map(|_| format!("{:016x}", stream.bits())).collect()
}

fn container_id(uid: &str, name: &str, restarts: i32) -> String {
    format!("containerd://{}", hex(&format!("{uid}/{name}/{restarts}")))
}

fn digest(image: &str) -> String {
    let repository = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    };
    format!("{repository}@sha256:{}", hex(image))
}

/// The kubelet has taken the pod in and creates its containers.
pub(super) fn creating(pod: &mut Pod, host_ip: &str, now: Instant) {
    let waiting = ContainerStateWaiting { reason: Some("ContainerCreating".to_owned()), message: None };
    containers(pod, &ContainerState { waiting: Some(waiting), ..ContainerState::default() }, false);
    let status = pod.status.get_or_insert_default();
    status.phase = Some("Pending".to_owned());
    status.start_time = Some(time(now));
    status.host_ip = Some(host_ip.to_owned());
    status.host_ips = Some(vec![HostIP { ip: host_ip.to_owned() }]);
    set_condition(status, "PodReadyToStartContainers", false, None, now);
    set_condition(status, "Initialized", true, None, now);
    set_condition(status, "Ready", false, Some("ContainersNotReady"), now);
    set_condition(status, "ContainersReady", false, Some("ContainersNotReady"), now);
}

/// Its containers run.
pub(super) fn running(pod: &mut Pod, pod_ip: &str, now: Instant) {
    let running = ContainerStateRunning { started_at: Some(time(now)) };
    containers(pod, &ContainerState { running: Some(running), ..ContainerState::default() }, true);
    let status = pod.status.get_or_insert_default();
    status.phase = Some("Running".to_owned());
    status.pod_ip = Some(pod_ip.to_owned());
    status.pod_ips = Some(vec![PodIP { ip: pod_ip.to_owned() }]);
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"] {
        set_condition(status, kind, true, None, now);
    }
}

fn terminated(since: Instant, exit_code: i32, now: Instant) -> ContainerState {
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    let terminated = ContainerStateTerminated {
        exit_code,
        reason: Some(reason.to_owned()),
        started_at: Some(time(since)),
        finished_at: Some(time(now)),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// Its containers have ended for good.
pub(super) fn ended(pod: &mut Pod, since: Instant, exit_code: i32, now: Instant) {
    containers(pod, &terminated(since, exit_code, now), false);
    let status = pod.status.get_or_insert_default();
    let succeeded = exit_code == 0;
    status.phase = Some(if succeeded { "Succeeded" } else { "Failed" }.to_owned());
    let reason = if succeeded { "PodCompleted" } else { "PodFailed" };
    set_condition(status, "PodReadyToStartContainers", false, None, now);
    set_condition(status, "Initialized", true, succeeded.then_some("PodCompleted"), now);
    set_condition(status, "Ready", false, Some(reason), now);
    set_condition(status, "ContainersReady", false, Some(reason), now);
}

/// Its containers have ended and wait to be started again; returns how often they have been so far.
pub(super) fn backing_off(
    pod: &mut Pod,
    since: Instant,
    exit_code: i32,
    now: Instant,
    delay_seconds: i64,
) -> i32 {
    containers(pod, &terminated(since, exit_code, now), false);
    let name = pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.get_or_insert_default();
    let mut restarts = 0;
    for container in status.container_statuses.iter_mut().flatten() {
        container.last_state = container.state.take();
        container.restart_count += 1;
        restarts = restarts.max(container.restart_count);
        let message =
            format!("back-off {delay_seconds}s restarting failed container={} pod={name}", container.name);
        let waiting =
            ContainerStateWaiting { reason: Some("CrashLoopBackOff".to_owned()), message: Some(message) };
        container.state = Some(ContainerState { waiting: Some(waiting), ..ContainerState::default() });
    }
    set_condition(status, "Ready", false, Some("ContainersNotReady"), now);
    set_condition(status, "ContainersReady", false, Some("ContainersNotReady"), now);
    restarts
}

/// How often the containers of a pod have been restarted.
pub(super) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|c| c.restart_count).max().unwrap_or(0)
}
