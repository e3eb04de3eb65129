//! Pods and machines that real kubelets have run so far.
//!
//! Invariant: what ran goes on running, what waited for a reason of its own goes on waiting, and nothing starts
//! anew. Assumptions: a Job's pod ends when it has run as long as [`crate::work`] says of it, counted from when its
//! containers started; one that has already run longer goes on for a tenth of the time it has run, and at
//! least [`OVERDUE_MIN`].

use super::host::Host;
use super::unit::{Doing, End, Reason, Running, State};
use super::{Cx, Kubelet, Run, Stage, job_of, scene};
use crate::controllers::is_terminal;
use crate::import::Durations;
use crate::work::{self, Does};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Node, Pod};
use std::sync::Arc;

/// Least time left of a pod that has run longer than was expected of it.
const OVERDUE_MIN: Span = Span::from_seconds(60);
/// Share of the time it has run that such a pod is taken to have left.
const OVERDUE_SHARE: (i64, i64) = (1, 10);
/// What containers wait for while their pod is being started.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// How a bound pod is found.
enum Found {
    /// Its containers run.
    Running,
    /// It waits to be started again, for an image, a volume or a configuration: as it did, it goes on waiting.
    Stuck,
    /// It is being started.
    Starting,
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten()
}

fn found(pod: &Pod) -> Found {
    let runs = |c: &ContainerStatus| c.state.as_ref().is_some_and(|s| s.running.is_some());
    if statuses(pod).any(runs) {
        return Found::Running;
    }
    let waits = |c: &ContainerStatus| c.state.as_ref().and_then(|s| s.waiting.as_ref()?.reason.clone());
    let reasons: Vec<String> = statuses(pod).filter_map(waits).collect();
    match reasons.iter().any(|reason| !STARTING.contains(&reason.as_str())) {
        true => Found::Stuck,
        false => Found::Starting,
    }
}

/// Time left of a run expected to last `run_for` that has lasted `elapsed`.
fn left(run_for: Span, elapsed: Span) -> Span {
    if elapsed < run_for {
        return run_for - elapsed;
    }
    elapsed.scaled(OVERDUE_SHARE.0, OVERDUE_SHARE.1).max(OVERDUE_MIN)
}

impl Kubelet {
    /// Jobs that do not say how long they last are taken to last so.
    pub(crate) fn adopt_durations(&mut self, durations: Durations) {
        self.durations = Some(durations);
    }
    /// Takes up the `index`th machine of a cluster; whether it is silent.
    pub(crate) fn adopt_node(&mut self, node: &Node, index: usize) -> bool {
        let mut host = Host::new(node);
        host.number(node, index);
        let images = node.status.as_ref().and_then(|s| s.images.as_ref());
        for name in images.into_iter().flatten().filter_map(|image| image.names.as_ref()).flatten() {
            host.keep(name);
        }
        let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
        let silent = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "Unknown");
        (host.down, host.noticed) = (silent, silent);
        self.hosts.insert(node.metadata.name.as_deref().unwrap_or_default().into(), host);
        silent
    }
    /// Takes up a bound pod. One that is being started is left to be admitted as any is.
    pub(crate) fn adopt_pod(&mut self, cx: &mut Cx<'_>, pod: &Pod) {
        let Some(node) = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) else { return };
        let Some(uid) = pod.metadata.uid.as_deref().filter(|_| !is_terminal(pod)) else { return };
        let Some(host) = self.hosts.get_mut(node) else { return };
        let found = found(pod);
        if matches!(found, Found::Starting) {
            return;
        }
        let ip = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref());
        let address = ip.and_then(|ip| host.claim(ip));
        for image in pod.spec.iter().flat_map(|s| &s.containers).filter_map(|c| c.image.as_deref()) {
            host.keep(image);
        }
        let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        let Some(spec) = &pod.spec else { return };
        let place = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        let down = host.down;
        let mut run = Run::new(place, node, spec, cx.now);
        run.address = address;
        run.sandbox_at = Instant::EPOCH;
        run.asks = super::resize::asks(pod);
        run.stated = super::pressure::is_stated(pod);
        run.manifest = super::statics::shown_by(pod).map(Box::new);
        if let Some(since) = pod.status.as_ref().and_then(|s| s.start_time.as_ref()) {
            run.admitted = Instant::from_jiff(since.0);
        }
        if !down {
            run.stage = match found {
                Found::Running => Stage::Live,
                Found::Stuck | Found::Starting => Stage::Stuck,
            };
        }
        for at in 0..run.units.len() {
            self.take_up(cx, (&mut run, at), pod);
        }
        let due = run.units.iter().filter_map(|unit| unit.due(0, cx.now)).min();
        if run.stage == Stage::Live {
            run.arm(cx, &uid.into(), due);
        }
        self.residents.insert(&uid.into(), &run);
        if run.stated {
            let node = run.node.clone();
            self.watch_node(cx, &node, cx.now);
        }
        self.runs.insert(uid.into(), run);
    }
    /// Takes up a container as its status says it is.
    fn take_up(&self, cx: &Cx<'_>, (run, at): (&mut Run, usize), pod: &Pod) {
        let Some(spec) = &pod.spec else { return };
        let Some((container, role)) = scene::container(spec, at) else { return };
        let status = pod.status.as_ref();
        let all = status.iter().flat_map(|s| {
            s.init_container_statuses.iter().flatten().chain(s.container_statuses.iter().flatten())
        });
        let Some(status) = all.into_iter().find(|status| status.name == container.name) else { return };
        let ended = |state: &Option<ContainerState>| {
            let ended = state.as_ref()?.terminated.as_ref()?;
            let reason = match ended.reason.as_deref() {
                Some("OOMKilled") => Reason::OomKilled,
                _ if ended.exit_code == 0 => Reason::Completed,
                _ => Reason::Error,
            };
            let at = ended.finished_at.as_ref().map_or(cx.now, |t| Instant::from_jiff(t.0));
            let since = ended.started_at.as_ref().map(|t| Instant::from_jiff(t.0));
            Some(End { since, at, code: ended.exit_code, reason, message: ended.message.clone() })
        };
        let unit = &mut run.units[at];
        unit.restarts = status.restart_count;
        unit.last = ended(&status.last_state);
        unit.end = ended(&status.state);
        if unit.end.is_some() {
            unit.state = State::Ended { held: None };
        }
        let Some(running) = status.state.as_ref().and_then(|s| s.running.as_ref()) else { return };
        let since = running.started_at.as_ref().map_or(cx.now, |t| Instant::from_jiff(t.0)).min(cx.now);
        let stored = job_of(cx, pod);
        let job = stored.as_ref().and_then(|s| s.object.as_job());
        let learnt = self.durations.as_ref().zip(job).map(|(known, job)| known.expected(job));
        let does = work::of(pod, (container, role), job, learnt, cx.seed);
        // Where a script is nobody knows: it goes on as one that lasts as long as it does by itself.
        let (run_for, code) = match does {
            Does::Lasts { run_for, exit_code } => (run_for, exit_code),
            Does::Script(program) => work::alone(&program),
        };
        // What has run until now and nothing is known of goes on running, whatever its pod's policy is.
        let run_for = run_for.filter(|_| job.is_some() || work::says(pod, container, role));
        let until = run_for.map(|run_for| cx.now.saturating_add(left(run_for, cx.now - since)));
        let doing = Doing::Until { at: until, code, cost: fleet::Span::ZERO };
        unit.state = State::Running(Box::new(Running {
            since,
            doing,
            own: Default::default(),
            hook: None,
            started: status.started != Some(false),
            ready: status.ready,
            // Probes found what they found; their results stand.
            checks: Vec::new(),
            memory_over: None,
            stop: None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overdue_goes_on_for_a_while() {
        let minutes = |n| Span::MINUTE.scaled(n, 1);
        assert_eq!(left(minutes(60), minutes(20)), minutes(40));
        assert_eq!(left(minutes(60), minutes(60)), minutes(6));
        assert_eq!(left(minutes(1), minutes(2)), OVERDUE_MIN);
    }
}
