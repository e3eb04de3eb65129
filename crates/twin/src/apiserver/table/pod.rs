//! The row of a Pod (`printPod`): its status is told from its containers' states.

use super::age::{instant, since};
use fleet::Instant;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodStatus};
use serde_json::{Value, json};

/// What scanning the containers found.
#[derive(Default)]
struct Scan {
    reason: String,
    restarts: i32,
    last_restart: Option<Instant>,
    ready: usize,
    total: usize,
}

impl Scan {
    fn restarted(&mut self, status: &ContainerStatus) {
        self.restarts += status.restart_count;
        let ended = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
        let at = ended.and_then(|t| instant(t.finished_at.as_ref()));
        self.last_restart = self.last_restart.max(at);
    }
}

fn is_sidecar(container: Option<&Container>) -> bool {
    container.is_some_and(|c| c.restart_policy.as_deref() == Some("Always"))
}

fn condition(status: &PodStatus, name: &str) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == name && c.status == "True")
}

fn filled(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|t| !t.is_empty())
}

/// `Signal:9` or `ExitCode:1` of a container that ended without a reason.
fn exit(state: &ContainerState) -> Option<String> {
    let ended = state.terminated.as_ref()?;
    Some(match ended.signal.filter(|s| *s != 0) {
        Some(signal) => format!("Signal:{signal}"),
        None => format!("ExitCode:{}", ended.exit_code),
    })
}

/// Scans the init containers. Returns whether the pod is still initialising.
fn scan_init(pod: &Pod, status: &PodStatus, scan: &mut Scan, sidecars: &mut Scan) -> bool {
    let declared = pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    scan.total += declared.iter().filter(|c| is_sidecar(Some(c))).count();
    for (i, container) in status.init_container_statuses.iter().flatten().enumerate() {
        scan.restarted(container);
        let sidecar = is_sidecar(declared.iter().find(|c| c.name == container.name));
        if sidecar {
            sidecars.restarted(container);
        }
        let state = container.state.clone().unwrap_or_default();
        let ended = state.terminated.as_ref();
        if ended.is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        if sidecar && container.started == Some(true) {
            scan.ready += usize::from(container.ready);
            continue;
        }
        let waiting = state.waiting.as_ref().and_then(|w| filled(w.reason.as_ref()));
        scan.reason = if let Some(ended) = ended {
            let reason = filled(ended.reason.as_ref()).map(str::to_owned).or_else(|| exit(&state));
            format!("Init:{}", reason.unwrap_or_default())
        } else if let Some(reason) = waiting.filter(|r| *r != "PodInitializing") {
            format!("Init:{reason}")
        } else {
            format!("Init:{i}/{}", declared.len())
        };
        return true;
    }
    false
}

/// Scans the containers, last to first, so that the first one's reason stands.
fn scan_containers(status: &PodStatus, scan: &mut Scan) {
    let (mut running, mut failed) = (false, None);
    for container in status.container_statuses.iter().flatten().rev() {
        scan.restarted(container);
        let Some(state) = &container.state else { continue };
        if let Some(reason) = state.waiting.as_ref().and_then(|w| filled(w.reason.as_ref())) {
            scan.reason = reason.to_owned();
        } else if let Some(ended) = &state.terminated {
            let reason = filled(ended.reason.as_ref()).map(str::to_owned).or_else(|| exit(state));
            scan.reason = reason.unwrap_or_default();
            if ended.exit_code != 0 {
                failed = Some(scan.reason.clone());
            }
        } else if container.ready && state.running.is_some() {
            running = true;
            scan.ready += 1;
        }
    }
    if scan.reason == "Completed" {
        if running && condition(status, "Ready") {
            "Running".clone_into(&mut scan.reason);
        } else if let Some(reason) = failed {
            scan.reason = reason;
        } else if running {
            "NotReady".clone_into(&mut scan.reason);
        }
    }
}

fn scan(pod: &Pod, status: &PodStatus) -> Scan {
    let phase = status.phase.clone().unwrap_or_default();
    let reason = filled(status.reason.as_ref()).map_or(phase, str::to_owned);
    let total = pod.spec.as_ref().map_or(0, |s| s.containers.len());
    let mut scan = Scan { reason, total, ..Scan::default() };
    let gated = |c: &&k8s_openapi::api::core::v1::PodCondition| {
        c.type_ == "PodScheduled" && c.reason.as_deref() == Some("SchedulingGated")
    };
    if status.conditions.iter().flatten().any(|c| gated(&c)) {
        "SchedulingGated".clone_into(&mut scan.reason);
    }
    let mut sidecars = Scan::default();
    let initialising = scan_init(pod, status, &mut scan, &mut sidecars);
    if !initialising || condition(status, "Initialized") {
        scan.restarts = sidecars.restarts;
        scan.last_restart = sidecars.last_restart;
        scan_containers(status, &mut scan);
    }
    scan
}

fn readiness_gates(pod: &Pod, status: &PodStatus) -> String {
    let gates = pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|g| condition(status, &g.condition_type)).count();
    format!("{open}/{}", gates.len())
}

/// Cells and conditions of a Pod's row.
pub(super) fn row(pod: &Pod, now: Instant) -> (Vec<Value>, Vec<Value>) {
    let status = pod.status.clone().unwrap_or_default();
    let mut scan = scan(pod, &status);
    let phase = status.phase.as_deref().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            "Unknown".clone_into(&mut scan.reason);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut scan.reason);
        }
    }
    let restarts = match scan.last_restart {
        Some(at) if scan.restarts != 0 => {
            format!("{} ({} ago)", scan.restarts, since(Some(at), now))
        }
        _ => scan.restarts.to_string(),
    };
    let or_none = |text: Option<&str>| text.filter(|t| !t.is_empty()).unwrap_or("<none>").to_owned();
    let ip = status.pod_ips.as_ref().and_then(|ips| ips.first()).map(|ip| ip.ip.as_str());
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
    let cells = vec![
        json!(pod.metadata.name.as_deref().unwrap_or_default()),
        json!(format!("{}/{}", scan.ready, scan.total)),
        json!(scan.reason),
        json!(restarts),
        json!(since(instant(pod.metadata.creation_timestamp.as_ref()), now)),
        json!(or_none(ip.or(status.pod_ip.as_deref()))),
        json!(or_none(node)),
        json!(or_none(status.nominated_node_name.as_deref())),
        json!(readiness_gates(pod, &status)),
    ];
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return (cells, Vec::new()),
    };
    let done = json!({"type": "Completed", "status": "True", "reason": phase, "message": message});
    (cells, vec![done])
}
