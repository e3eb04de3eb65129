//! What is to be done about a pod at an instant: which containers start, which ended ones start again, when it is over.
//!
//! As kubelet's `computePodActions`: init containers one after the other, sidecars among them kept running from their
//! turn on, the others together once all of those are done. Invariant: looking again at the same instant changes
//! nothing.

use super::fault::slowed;
use super::scene::Scene;
use super::unit::{BackOff, End, State};
use super::{CONTAINER_START, EXIT_KILLED, GRACE_SECONDS, Run, STOP};
use crate::work::Role;
use fleet::{Instant, Span, Version};
use k8s_openapi::api::core::v1::{Container, ContainerRestartRuleOnExitCodes, PodSpec};
use serde::{Deserialize, Serialize};

/// Most rounds at one instant: each starts or ends something, and nothing both starts and ends twice without waiting.
const ROUNDS_MAX: usize = 1000;

/// Minor version from which on containers have restart policies and rules of their own (feature `ContainerRestartRules`,
/// on since its beta).
const CONTAINER_RESTART_RULES: u32 = 35;

/// Why a pod comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// All its containers have ended for good.
    Finished,
    /// Somebody deletes it.
    Deleted,
    /// It has been active for as long as it may.
    Deadline,
    /// Its node runs short of something, or it uses more disk than it may.
    Evicted,
    /// Its node shuts down.
    Shutdown,
    /// A critical pod needs what it has.
    Preempted,
}

/// A pod on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) why: Why,
    /// When all its containers have to be gone.
    pub(super) deadline: Instant,
    /// Earliest end: taking down what is left takes a while.
    pub(super) earliest: Instant,
}

/// Whether a container that ended with this code is started again.
pub(super) fn restarts(scene: &Scene<'_, '_>, container: &Container, role: Role, code: i32) -> bool {
    restarts_by_policy(scene.spec, (container, role), code, scene.version)
}

/// The same, by its pod's spec and the version of the kubelet.
pub(super) fn restarts_by_policy(
    spec: &PodSpec,
    (container, role): (&Container, Role),
    code: i32,
    version: Version,
) -> bool {
    if role == Role::Sidecar {
        return true;
    }
    let of_pod = spec.restart_policy.as_deref();
    if version.minor < CONTAINER_RESTART_RULES {
        return restarts_as(of_pod, role, code);
    }
    let rules = container.restart_policy_rules.iter().flatten();
    let matching = |codes: &ContainerRestartRuleOnExitCodes| {
        let listed = codes.values.iter().flatten().any(|listed| *listed == code);
        listed == (codes.operator == "In")
    };
    let mut rules = rules.filter(|rule| rule.action == "Restart");
    if rules.any(|rule| rule.exit_codes.as_ref().is_some_and(matching)) {
        return true;
    }
    restarts_as(container.restart_policy.as_deref().or(of_pod), role, code)
}

/// What a policy says.
fn restarts_as(policy: Option<&str>, role: Role, code: i32) -> bool {
    // An init container that has succeeded is done.
    match policy.unwrap_or("Always") {
        "Always" => role == Role::App || code != 0,
        "OnFailure" => code != 0,
        _ => false,
    }
}

impl Run {
    /// Does what is due.
    pub(super) fn sync(&mut self, scene: &mut Scene<'_, '_>) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = self.actuate(scene);
            for at in 0..self.units.len() {
                moved |= self.advance(at, scene);
            }
            self.overdue(scene);
            moved |= if self.ending.is_some() { self.wind_down(scene) } else { self.decide(scene) };
            if !moved {
                return;
            }
        }
    }
    /// When something is due next.
    pub(super) fn due(&self, scene: &Scene<'_, '_>) -> Option<Instant> {
        let now = scene.now();
        let sandbox = Some(self.sandbox_at).filter(|at| *at > now && self.waits_for_sandbox());
        let units = self.units.iter().filter_map(|unit| unit.due(self.changes, now));
        let ending = self.ending.map(|ending| ending.earliest).filter(|at| *at > now);
        let limit = self.deadline(scene).filter(|_| self.ending.is_none());
        let resize = self.resize.progress.as_ref().map(|p| p.until).filter(|at| *at < Instant::FAR_FUTURE);
        units
            .chain(sandbox)
            .chain(ending)
            .chain(limit)
            .chain(resize)
            .min()
            .filter(|at| *at < Instant::FAR_FUTURE)
    }
    /// Whether its containers have all ended, for good.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let runs = self.units.iter().any(|unit| unit.running().is_some());
        self.ending.is_some_and(|ending| ending.earliest <= now) && !runs
    }
    fn waits_for_sandbox(&self) -> bool {
        self.units.iter().all(|unit| matches!(unit.state, State::Waiting))
    }
    /// When it has been active for as long as it may.
    fn deadline(&self, scene: &Scene<'_, '_>) -> Option<Instant> {
        let seconds = scene.spec.active_deadline_seconds?;
        Some(self.admitted + Span::from_seconds(seconds))
    }
    fn overdue(&mut self, scene: &mut Scene<'_, '_>) {
        if self.ending.is_none() && self.deadline(scene).is_some_and(|at| at <= scene.now()) {
            let message = super::DEADLINE_MESSAGE.to_owned();
            scene.said.push(super::scene::Said {
                warning: false,
                reason: "DeadlineExceeded",
                field: None,
                message,
            });
            self.end(Why::Deadline, grace(scene), scene.now());
        }
    }
    /// Begins the end of the pod.
    pub(super) fn end(&mut self, why: Why, grace_seconds: i64, now: Instant) {
        let runs = self.units.iter().any(|unit| unit.running().is_some());
        let earliest = if runs || why == Why::Finished || grace_seconds == 0 { now } else { now + STOP };
        let deadline = now.saturating_add(Span::from_seconds(grace_seconds.max(0)));
        match &mut self.ending {
            // A second word shortens the time there is, and never lengthens it.
            Some(ending) => {
                ending.deadline = ending.deadline.min(deadline);
                if why == Why::Deleted {
                    ending.why = why;
                }
            }
            none => *none = Some(Ending { why, deadline, earliest }),
        }
        let deadline = self.ending.map_or(deadline, |ending| ending.deadline);
        for running in self.units.iter_mut().filter_map(|unit| unit.running_mut()) {
            if let Some(stop) = &mut running.stop {
                stop.deadline = stop.deadline.min(deadline);
                stop.ends = stop
                    .ends
                    .map(|(at, code)| if at > deadline { (deadline, EXIT_KILLED) } else { (at, code) });
            }
        }
    }
    /// What time alone brings to a container.
    fn advance(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let now = scene.now();
        match self.units[at].state {
            State::Pulling { until, .. } if until <= now => self.pulled(at, scene),
            State::Unpulled { named, until, reason } => self.unpulled(at, (named, until, reason), scene),
            State::Starting { at: then, .. } if then <= now => self.launch(at, scene),
            State::Running(_) => self.run_on(at, scene),
            State::Ended { held: Some(until) } if until <= now => {
                self.units[at].state = State::Ended { held: None };
                true
            }
            _ => false,
        }
    }
    /// Whether a container of the pod proper has run in this sandbox: then its init containers have all been.
    pub(super) fn is_initialised(&self) -> bool {
        let ended = |end: &End| end.at >= self.sandbox_at;
        let mut apps = self.units.iter().skip(self.inits);
        apps.any(|unit| unit.running().is_some() || unit.end.as_ref().is_some_and(ended))
    }
    fn decide(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        let (mut moved, initialised) = (false, self.is_initialised());
        for at in 0..self.inits {
            let Some((container, role)) = scene.container(at) else { return moved };
            if role == Role::Init && initialised {
                continue;
            }
            let done = match &self.units[at].state {
                State::Waiting => {
                    moved |= self.begin(at, scene);
                    false
                }
                State::Running(running) => {
                    role == Role::Sidecar && running.started && !is_busy(running.hook, scene)
                }
                State::Ended { .. } if role == Role::Init && self.units[at].has_succeeded() => true,
                State::Ended { held: None } => {
                    let code = self.units[at].end.as_ref().map_or(1, |end| end.code);
                    if !restarts(scene, container, role, code) {
                        self.end(Why::Finished, grace(scene), scene.now());
                        return true;
                    }
                    moved |= self.again(at, scene);
                    false
                }
                _ => false,
            };
            if !done && !initialised {
                return moved;
            }
        }
        self.decide_apps(scene) || moved
    }
    fn decide_apps(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        let (mut moved, mut over) = (false, true);
        for at in self.inits..self.units.len() {
            let Some((container, role)) = scene.container(at) else { return moved };
            match &self.units[at].state {
                State::Waiting => {
                    moved |= self.begin(at, scene);
                    over = false;
                }
                State::Ended { held } => {
                    let (held, code) = (*held, self.units[at].end.as_ref().map_or(1, |end| end.code));
                    let again = restarts(scene, container, role, code);
                    over &= !again;
                    if again && held.is_none() {
                        moved |= self.again(at, scene);
                    }
                }
                _ => over = false,
            }
            // The next one is begun once this one's image is there and its hook is done.
            let busy = match &self.units[at].state {
                State::Pulling { .. } => true,
                State::Running(running) => is_busy(running.hook, scene),
                _ => false,
            };
            if busy {
                return moved;
            }
        }
        if over {
            self.end(Why::Finished, grace(scene), scene.now());
        }
        moved || over
    }
    /// Starts an ended container again, or holds it back for a while.
    fn again(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let now = scene.now();
        let unit = &mut self.units[at];
        let ended = unit.end.as_ref().map_or(now, |end| end.at);
        if let Some(until) = unit.back_off.and_then(|back_off| back_off.holds(ended, now)) {
            unit.state = State::Ended { held: Some(until) };
            unit.crash_loop = unit.back_off.map(|back_off| back_off.delay);
            let name = scene.container(at).map(|(c, _)| c.name.clone()).unwrap_or_default();
            let text = format!("Back-off restarting failed container {name} in pod {}", scene.pod_text());
            scene.tell(true, "BackOff", at, text);
            return true;
        }
        unit.back_off = Some(BackOff::next(unit.back_off, ended, now));
        self.begin(at, scene)
    }
    /// Stops what still runs of a pod that comes to its end.
    fn wind_down(&mut self, scene: &mut Scene<'_, '_>) -> bool {
        let Some(ending) = self.ending else { return false };
        let mut moved = false;
        for at in 0..self.units.len() {
            let unit = &mut self.units[at];
            match &unit.state {
                State::Running(running) if running.stop.is_none() => {
                    let grace = ending.deadline - scene.now();
                    moved |= self.ask_to_stop(at, grace.max(Span::ZERO), None, scene);
                }
                State::Pulling { .. } | State::Unpulled { .. } | State::Starting { .. } => {
                    unit.state =
                        if unit.end.is_some() { State::Ended { held: None } } else { State::Waiting };
                    moved = true;
                }
                State::Ended { held: Some(_) } => unit.state = State::Ended { held: None },
                _ => {}
            }
            self.units[at].crash_loop = None;
        }
        moved
    }
    /// A container has ended.
    pub(super) fn finish(&mut self, at: usize, end: End) {
        self.units[at].end = Some(end);
        self.units[at].state = State::Ended { held: None };
    }
    /// A container whose image is there is made, and runs after a moment.
    pub(super) fn prepare(&mut self, at: usize, fetched: bool, scene: &Scene<'_, '_>) {
        let then = scene.now().max(self.sandbox_at) + slowed(CONTAINER_START, scene.host.speed_percent);
        self.units[at].state = State::Starting { at: then, fetched };
    }
}

/// Seconds the pod gives its containers to end.
pub(super) fn grace(scene: &Scene<'_, '_>) -> i64 {
    scene.spec.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS)
}

fn is_busy(hook: Option<Instant>, scene: &Scene<'_, '_>) -> bool {
    hook.is_some_and(|until| until > scene.now())
}
