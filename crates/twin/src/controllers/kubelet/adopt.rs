//! Pods and machines that real kubelets have run so far.
//!
//! Invariant: what ran goes on running, what waited for a reason of its own goes on waiting, and nothing starts
//! anew. Assumptions: a Job's pod ends when it has run as long as [`crate::work`] says of it, counted from when its
//! containers started; one that has already run longer goes on for a tenth of the time it has run, and at
//! least [`OVERDUE_MIN`].

use super::host::Host;
use super::{Cx, Kubelet, Run, Step, job_of};
use crate::controllers::is_terminal;
use crate::import::Durations;
use crate::world::{Priority, Task};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use std::sync::Arc;

/// Least time left of a pod that has run longer than was expected of it.
const OVERDUE_MIN: Span = Span::from_seconds(60);
/// Share of the time it has run that such a pod is taken to have left.
const OVERDUE_SHARE: (i64, i64) = (1, 10);
/// What containers wait for while their pod is being started.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// How a bound pod is found.
enum Found {
    /// Its containers run, since then.
    Running(Instant),
    /// It waits to be started again, for an image, a volume or a configuration: as it did, it goes on waiting.
    Stuck,
    /// It is being started.
    Starting,
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten()
}

fn found(pod: &Pod, now: Instant) -> Found {
    let running = |c: &ContainerStatus| c.state.as_ref().and_then(|s| s.running.clone());
    if statuses(pod).any(|c| running(c).is_some()) {
        let since = statuses(pod).filter_map(running).filter_map(|r| r.started_at);
        return Found::Running(since.map(|t| Instant::from_jiff(t.0)).min().unwrap_or(now).min(now));
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
            host.pull(name);
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
        let found = found(pod, cx.now);
        if matches!(found, Found::Starting) {
            return;
        }
        let ip = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref());
        let address = ip.and_then(|ip| host.claim(ip));
        for image in pod.spec.iter().flat_map(|s| &s.containers).filter_map(|c| c.image.as_deref()) {
            host.pull(image);
        }
        let place = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        let mut run = Run {
            place: (place(&pod.metadata.namespace), place(&pod.metadata.name)),
            node: node.into(),
            turn: 0,
            step: Step::Lost,
            address,
            pulled: false,
        };
        if !host.down {
            run.step = match found {
                Found::Running(since) => self.go_on(cx, pod, since),
                Found::Stuck | Found::Starting => Step::BackOff,
            };
        }
        if let Step::Running { until: Some(until), .. } = run.step {
            let task = Task::Pod { uid: uid.into(), turn: run.turn };
            cx.timers.set(until, Priority::Kubelet, task);
        }
        self.runs.insert(uid.into(), run);
    }
    /// What is left of a run.
    fn go_on(&mut self, cx: &Cx<'_>, pod: &Pod, since: Instant) -> Step {
        let job = job_of(cx, pod);
        let (work, cost) = self.work(cx, pod, job.as_ref().and_then(|s| s.object.as_job()));
        let until = work.run_for.map(|run_for| cx.now + left(run_for, cx.now - since));
        Step::Running { since, until, cost, exit_code: work.exit_code }
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
