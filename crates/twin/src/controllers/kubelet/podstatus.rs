//! The status of a pod as a kubelet writes it: containers, phase, conditions.
//!
//! The rules are those of kubelet's `getPhase`, `convertToAPIContainerStatuses` and `status/generate.go`, version 1.36.

use super::image::why;
use super::scene::container;
use super::statics::uid_of;
use super::sync::{Why, restarts_by_policy};
use super::unit::{End, PullError, State, Unit};
use super::{Run, preemption, shutdown};
use crate::controllers::time;
use crate::work::Role;
use fleet::{Instant, Version};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};

/// Minor version from which on a kubelet says which generation of a pod it has seen (feature
/// `PodObservedGenerationTracking`, on since its beta).
const OBSERVED_GENERATION: u32 = 34;

/// The generation of a pod that a kubelet of this version says it has seen.
pub(super) fn observed(version: Version, generation: Option<i64>) -> Option<i64> {
    generation.filter(|_| version.minor >= OBSERVED_GENERATION)
}

/// Conditions only a kubelet writes, in its order.
pub(super) const OWN: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Conditions of a resize on its way.
const RESIZE: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// What is said of a resize on its way.
fn resizing(run: &Run) -> impl Iterator<Item = PodCondition> {
    let holds =
        |kind: &str, reason: Option<&str>, message: Option<&String>, since, generation| PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: reason.map(str::to_owned),
            message: message.cloned(),
            last_transition_time: Some(time(since)),
            observed_generation: observed(run.version, generation),
            ..PodCondition::default()
        };
    let pending = run.resize.pending.as_ref().map(|(message, since, generation)| {
        holds(RESIZE[0], Some("Deferred"), Some(message), *since, *generation)
    });
    let progress = run.resize.progress.as_ref().map(|progress| {
        let reason = progress.error.as_ref().map(|_| "Error");
        holds(RESIZE[1], reason, progress.error.as_ref(), progress.since, progress.generation)
    });
    pending.into_iter().chain(progress)
}

/// Sets a condition; the time of transition moves only when the status does.
pub(crate) fn set_condition(
    status: &mut PodStatus,
    kind: &str,
    holds: bool,
    reason: Option<&str>,
    now: Instant,
) {
    let conditions = status.conditions.get_or_insert_default();
    let new = condition(conditions, kind, &Holds { holds, reason, message: None }, now);
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// Whether something holds, and why.
struct Holds<'a> {
    holds: bool,
    reason: Option<&'a str>,
    message: Option<String>,
}

impl Holds<'_> {
    fn yes() -> Holds<'static> {
        Holds { holds: true, reason: None, message: None }
    }
}

fn condition(old: &[PodCondition], kind: &str, holds: &Holds<'_>, now: Instant) -> PodCondition {
    let status = if holds.holds { "True" } else { "False" };
    let before = old.iter().find(|c| c.type_ == kind);
    let same = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: holds.reason.map(str::to_owned),
        message: holds.message.clone(),
        last_transition_time: Some(same.unwrap_or_else(|| time(now))),
        observed_generation: before.and_then(|c| c.observed_generation),
        ..PodCondition::default()
    }
}

/// A made-up but stable hash of 64 hex digits.
fn hex(text: &str) -> String {
    let mut stream = crate::random::Stream::new(0, text);
    format!("{:016x}{:016x}{:016x}{:016x}", stream.bits(), stream.bits(), stream.bits(), stream.bits())
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

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(end: &End, id: Option<String>) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: end.code,
        reason: Some(end.reason.as_str().to_owned()),
        message: end.message.clone(),
        started_at: end.since.map(time),
        finished_at: end.since.map(|_| time(end.at)),
        container_id: end.since.and(id),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// `10s`, `1m20s`, `5m0s`, as Go writes times.
fn delay_text(span: fleet::Span) -> String {
    match span.as_seconds() {
        seconds if seconds < 60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

/// What is the same for all containers of a pod.
struct Shown<'a> {
    uid: &'a str,
    /// Name, namespace and uid in one.
    pod: String,
    /// What containers wait for whose turn has not come.
    first: &'static str,
    /// Once a pod is over, nothing is waited for.
    over: bool,
    now: Instant,
}

fn back_off_pulling(image: &str, reason: PullError) -> ContainerState {
    let text = format!("Back-off pulling image \"{image}\": ErrImagePull: {}", why(image, reason));
    waiting("ImagePullBackOff", Some(text))
}

/// What a container waits for, if that is something other than its turn.
fn waits(unit: &Unit, container: &Container, shown: &Shown<'_>) -> Option<ContainerState> {
    let image = container.image.as_deref().unwrap_or_default();
    if let (Some(delay), Some(_)) = (unit.crash_loop, &unit.end) {
        let text = format!(
            "back-off {} restarting failed container={} pod={}",
            delay_text(delay),
            container.name,
            shown.pod
        );
        return Some(waiting("CrashLoopBackOff", Some(text)));
    }
    Some(match &unit.state {
        State::Unpulled { named, reason, .. } => match reason {
            PullError::Failed | PullError::Unreachable if *named <= shown.now => {
                back_off_pulling(image, *reason)
            }
            PullError::Failed | PullError::Unreachable => waiting("ErrImagePull", Some(why(image, *reason))),
            PullError::NeverPull => {
                let text = format!("Container image \"{image}\" is not present with pull policy of Never");
                waiting("ErrImageNeverPull", Some(text))
            }
            PullError::InvalidName => {
                let text = format!(
                    "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
                );
                waiting("InvalidImageName", Some(text))
            }
        },
        State::Pulling { .. } if unit.pull.0 > 0 && unit.end.is_none() => {
            back_off_pulling(image, unit.unpulled.unwrap_or(PullError::Failed))
        }
        _ => return None,
    })
}

/// The status of one container.
fn shown(unit: &Unit, container: &Container, role: Role, shown: &Shown<'_>) -> ContainerStatus {
    let id = |run: i32| Some(container_id(shown.uid, &container.name, run));
    let image = container.image.clone().unwrap_or_default();
    let ended = |end: &End, run: i32| terminated(end, id(run));
    let last = unit.last.as_ref().map(|end| ended(end, unit.restarts - 1));
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: image.clone(),
        restart_count: unit.restarts,
        started: Some(false),
        last_state: last.clone(),
        ..ContainerStatus::default()
    };
    let stated = container.resources.as_ref();
    let given = unit.given.as_deref();
    let allocated = given.map(|given| &given.allocated).or(stated);
    status.allocated_resources =
        allocated.and_then(|resources| resources.requests.clone()).filter(|list| !list.is_empty());
    status.resources = given.map(|given| &given.actual).or(stated).cloned();
    let ran = unit.running().is_some() || unit.end.as_ref().is_some_and(|end| end.since.is_some());
    if ran {
        status.image_id = digest(&image);
        status.container_id = id(unit.restarts);
    }
    let (state, last) = match (unit.running(), waits(unit, container, shown), &unit.end) {
        (Some(running), ..) => {
            status.started = Some(running.started);
            status.ready = running.ready && role != Role::Init;
            let running = ContainerStateRunning { started_at: Some(time(running.since)) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, last)
        }
        (_, Some(waiting), Some(end)) if !shown.over => (waiting, Some(ended(end, unit.restarts))),
        (_, Some(waiting), None) if !shown.over => (waiting, last),
        (_, _, Some(end)) => (ended(end, unit.restarts), last),
        (_, _, None) => (waiting(shown.first, None), last),
    };
    status.state = Some(state);
    status.last_state = last;
    status.ready |= role == Role::Init && unit.has_succeeded();
    status
}

fn all(run: &Run, pod: &Pod, spec: &PodSpec, now: Instant) -> (Vec<ContainerStatus>, Vec<ContainerStatus>) {
    let meta = &pod.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let uid = uid_of(pod, run.manifest.is_some());
    let first = if run.inits > 0 { "PodInitializing" } else { "ContainerCreating" };
    let about = Shown {
        uid,
        pod: format!("{}_{}({uid})", text(&meta.name), text(&meta.namespace)),
        first,
        over: run.is_over(now),
        now,
    };
    let each = run.units.iter().enumerate().filter_map(|(at, unit)| {
        let (container, role) = container(spec, at)?;
        Some(shown(unit, container, role, &about))
    });
    let mut inits: Vec<ContainerStatus> = each.collect();
    let apps = inits.split_off(run.inits.min(inits.len()));
    (inits, apps)
}

/// How a container counts for the phase.
fn ended_code(status: &ContainerStatus) -> Option<i32> {
    let of = |state: &Option<ContainerState>| state.as_ref()?.terminated.as_ref().map(|end| end.exit_code);
    of(&status.state).or_else(|| of(&status.last_state).filter(|_| !is_running(status)))
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn is_ended(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.terminated.is_some())
}

/// The phase of a pod (`getPhase`); `over`: its containers have ended and are not started again.
fn phase(
    run: &Run,
    spec: &PodSpec,
    (inits, apps): (&[ContainerStatus], &[ContainerStatus]),
    over: bool,
) -> &'static str {
    let initialised = run.is_initialised();
    let mut pending = false;
    for (at, status) in inits.iter().enumerate() {
        let Some((container, role)) = container(spec, at) else { continue };
        let code = ended_code(status);
        if role == Role::Sidecar {
            let started = is_running(status) && status.started == Some(true);
            pending |= !initialised && !started && code.is_none();
            continue;
        }
        match code {
            None => pending |= !initialised || is_running(status),
            Some(0) if is_ended(status) => {}
            Some(code) if code != 0 && !restarts_by_policy(spec, (container, role), code, run.version) => {
                return "Failed";
            }
            Some(_) => {}
        }
    }
    let waiting = apps.iter().any(|status| !is_running(status) && ended_code(status).is_none());
    if pending || waiting {
        return "Pending";
    }
    let running = inits.iter().chain(apps).any(is_running);
    if running {
        return "Running";
    }
    let succeeded = apps.iter().all(|status| is_ended(status) && ended_code(status) == Some(0));
    match (over, succeeded) {
        (true, true) => "Succeeded",
        (true, false) => "Failed",
        (false, _) => "Running",
    }
}

fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialized<'a>(run: &Run, spec: &PodSpec, inits: &[ContainerStatus], phase: &str) -> Holds<'a> {
    if phase == "Succeeded" {
        return Holds { reason: Some("PodCompleted"), ..Holds::yes() };
    }
    if run.is_initialised() {
        return Holds::yes();
    }
    let incomplete = inits.iter().enumerate().filter(|(at, status)| match container(spec, *at) {
        Some((_, Role::Sidecar)) => status.started != Some(true),
        _ => !status.ready,
    });
    let incomplete: Vec<&str> = incomplete.map(|(_, status)| status.name.as_str()).collect();
    if incomplete.is_empty() {
        return Holds::yes();
    }
    let message = Some(format!("containers with incomplete status: {}", listed(&incomplete)));
    Holds { holds: false, reason: Some("ContainersNotInitialized"), message }
}

fn containers_ready<'a>(
    spec: &PodSpec,
    (inits, apps): (&[ContainerStatus], &[ContainerStatus]),
    phase: &str,
) -> Holds<'a> {
    let no = |reason, message| Holds { holds: false, reason: Some(reason), message };
    match phase {
        "Succeeded" => return no("PodCompleted", None),
        "Failed" => return no("PodFailed", None),
        _ => {}
    }
    let sidecars = inits
        .iter()
        .enumerate()
        .filter(|(at, _)| container(spec, *at).is_some_and(|(_, role)| role == Role::Sidecar));
    let all = sidecars.map(|(_, status)| status).chain(apps);
    let unready: Vec<&str> = all.filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return Holds::yes();
    }
    no("ContainersNotReady", Some(format!("containers with unready status: {}", listed(&unready))))
}

/// Whether the pod is ready: its containers are, and so is what it waits for beside them.
fn ready<'a>(spec: &PodSpec, conditions: &[PodCondition], containers: &Holds<'a>) -> Holds<'a> {
    if !containers.holds {
        return Holds { holds: false, reason: containers.reason, message: containers.message.clone() };
    }
    let closed = spec.readiness_gates.iter().flatten().filter_map(|gate| {
        let kind = &gate.condition_type;
        match conditions.iter().find(|c| c.type_ == *kind) {
            None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
            Some(c) if c.status == "True" => None,
            Some(c) => {
                Some(format!("the status of pod readiness gate \"{kind}\" is not \"True\", but {}", c.status))
            }
        }
    });
    let closed: Vec<String> = closed.collect();
    if closed.is_empty() {
        return Holds::yes();
    }
    Holds { holds: false, reason: Some("ReadinessGatesNotReady"), message: Some(closed.join(", ")) }
}

/// That a pod which its kubelet ended did not end by itself.
fn disruption(message: &str, now: Instant) -> PodCondition {
    PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("TerminationByKubelet".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(time(now)),
        ..PodCondition::default()
    }
}

/// Addresses a pod shows.
pub(super) struct Shows<'a> {
    pub(super) host_ip: &'a str,
    pub(super) pod_ip: &'a str,
}

/// What of a pod's status stays in the next one, or is looked at for it; what is written anew is not copied.
fn kept(pod: &Pod) -> PodStatus {
    let Some(old) = &pod.status else { return PodStatus::default() };
    PodStatus {
        allocated_resources: old.allocated_resources.clone(),
        conditions: old.conditions.clone(),
        container_statuses: None,
        ephemeral_container_statuses: old.ephemeral_container_statuses.clone(),
        extended_resource_claim_status: old.extended_resource_claim_status.clone(),
        host_ip: None,
        host_ips: None,
        init_container_statuses: None,
        message: old.message.clone(),
        node_allocatable_resource_claim_statuses: old.node_allocatable_resource_claim_statuses.clone(),
        nominated_node_name: old.nominated_node_name.clone(),
        observed_generation: None,
        phase: old.phase.clone(),
        pod_ip: old.pod_ip.clone(),
        pod_ips: old.pod_ips.clone(),
        qos_class: old.qos_class.clone(),
        reason: old.reason.clone(),
        resize: old.resize.clone(),
        resource_claim_statuses: old.resource_claim_statuses.clone(),
        resources: old.resources.clone(),
        start_time: old.start_time.clone(),
    }
}

/// What is said of a pod that its kubelet ended.
struct Forced<'a> {
    reason: &'a str,
    message: &'a str,
    /// Why it was disrupted; `None`: it was not, but ended by its own terms.
    disruption: Option<&'a str>,
    spares_success: bool,
}

impl<'a> Forced<'a> {
    /// `None`: it ended by itself, or was deleted.
    fn of(why: Why, run: &'a Run) -> Option<Forced<'a>> {
        let (reason, message, spares_success) = match why {
            Why::Finished | Why::Deleted => return None,
            Why::Deadline => {
                let (reason, message) = ("DeadlineExceeded", super::DEADLINE_MESSAGE);
                return Some(Forced { reason, message, disruption: None, spares_success: false });
            }
            Why::Evicted => ("Evicted", run.evicted.as_deref().unwrap_or_default(), false),
            Why::Shutdown => (shutdown::ENDED.0, shutdown::ENDED.1, true),
            Why::Preempted => {
                let ((reason, message), disruption) = (preemption::PREEMPTED, Some(preemption::DISRUPTION));
                return Some(Forced { reason, message, disruption, spares_success: false });
            }
        };
        Some(Forced { reason, message, disruption: Some(message), spares_success })
    }
}

/// The status of a pod as it is now.
pub(super) fn of(run: &Run, pod: &Pod, spec: &PodSpec, shows: &Shows<'_>, now: Instant) -> PodStatus {
    let mut status = kept(pod);
    let (inits, apps) = all(run, pod, spec, now);
    let over = run.is_over(now);
    let phase = phase(run, spec, (&inits, &apps), over);
    // A pod whose containers still run has not come to its end, whatever they will come to.
    let phase = match phase {
        "Failed" | "Succeeded" if !over => status.phase.as_deref().unwrap_or("Pending").to_owned(),
        // Being over, it is one or the other.
        "Pending" | "Running" if over => "Failed".to_owned(),
        phase => phase.to_owned(),
    };
    let forced = run.ending.filter(|_| over).and_then(|ending| Forced::of(ending.why, run));
    // A pod whose work was done when its node shut down has succeeded all the same.
    let done = forced.as_ref().is_some_and(|forced| forced.spares_success) && phase == "Succeeded";
    let phase = if forced.is_some() && !done { "Failed".to_owned() } else { phase };
    if let Some(forced) = &forced {
        status.reason = Some(forced.reason.to_owned());
        status.message = Some(forced.message.to_owned());
    }
    let disrupted = forced.and_then(|forced| forced.disruption);
    let old = status.conditions.take().unwrap_or_default();
    let sandbox = run.sandbox_at <= now && !over;
    let containers = containers_ready(spec, (&inits, &apps), &phase);
    let initialized = initialized(run, spec, &inits, &phase);
    let ready = ready(spec, &old, &containers);
    let sandbox_holds = Holds { holds: sandbox, ..Holds::yes() };
    let holds = [&sandbox_holds, &initialized, &ready, &containers, &Holds::yes()];
    let (mut conditions, own): (Vec<_>, Vec<_>) = old
        .into_iter()
        .partition(|c| !OWN.contains(&c.type_.as_str()) && !RESIZE.contains(&c.type_.as_str()));
    if !over {
        conditions.extend(resizing(run));
    }
    conditions.extend(disrupted.map(|message| disruption(message, now)));
    conditions.extend(OWN.iter().zip(holds).map(|(kind, holds)| condition(&own, kind, holds, now)));
    status.conditions = Some(conditions);
    status.phase = Some(phase);
    status.start_time = status.start_time.or_else(|| Some(time(run.admitted)));
    status.host_ip = Some(shows.host_ip.to_owned());
    status.host_ips = Some(vec![HostIP { ip: shows.host_ip.to_owned() }]);
    if run.sandbox_at <= now && status.pod_ip.is_none() {
        status.pod_ip = Some(shows.pod_ip.to_owned());
        status.pod_ips = Some(vec![PodIP { ip: shows.pod_ip.to_owned() }]);
    }
    status.init_container_statuses = (!inits.is_empty()).then_some(inits);
    status.container_statuses = Some(apps);
    status.observed_generation = observed(run.version, pod.metadata.generation);
    status
}
