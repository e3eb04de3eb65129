//! A running container: its start, its process, its hooks, its memory, its probes, and how it is stopped.

use super::fault::slowed;
use super::probe::{Check, Purpose, Seen};
use super::scene::{self, Scene, Seat, message, message_path};
use super::unit::{Doing, End, Reason, Running, State, Stop, Wake};
use super::{EXIT_KILLED, EXIT_SIGTERM, Run, STOP, sync};
use crate::apiserver::quantity::Quantity;
use crate::work::process::{Pause, Process, Reaction, Surroundings};
use crate::work::server::{Asks, answers, port};
use crate::work::{self, Does, Program, Role, STOP_AFTER, stated};
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Probe, ResourceRequirements};

/// Least time from the signal to end to being killed (kubelet's `minimumGracePeriodInSeconds`).
const GRACE_MIN: Span = Span::from_seconds(2);
/// Most waits of a hook or probe that are followed.
const HOOK_PAUSES_MAX: usize = 1000;

/// When a process goes on after a pause.
fn wake(pause: Pause, now: Instant, changes: u64) -> Wake {
    match pause {
        Pause::Sleep { span, wakes } => Wake::At { at: now.saturating_add(span), wakes },
        Pause::Idle { period } => Wake::Idle { since: now, period, changes },
        Pause::Forever | Pause::End(_) => Wake::Never,
    }
}

/// When a container that starts now uses more memory than its limit.
fn memory_over(
    scene: &Scene<'_, '_>,
    container: &Container,
    given: &ResourceRequirements,
) -> Option<Instant> {
    let profile = work::memory(scene.pod, container)?;
    let limit = given.limits.as_ref()?.get("memory")?;
    let limit = i64::try_from(Quantity::parse(&limit.0).ok()?.units()).ok()?;
    profile.exceeds(limit, Span::ZERO).map(|after| scene.now() + after)
}

impl Run {
    /// A container starts.
    pub(super) fn launch(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let Some((container, _)) = scene.container(at) else { return false };
        let fetched = matches!(self.units[at].state, State::Starting { fetched: true, .. });
        if !fetched {
            let image = container.image.as_deref().unwrap_or_default();
            let text = format!(
                "Container image \"{image}\" already present on machine and can be accessed by the pod"
            );
            scene.tell(false, "Pulled", at, text);
        }
        scene.tell(false, "Created", at, "Container created".to_owned());
        scene.tell(false, "Started", at, "Container started".to_owned());
        let now = scene.now();
        let unit = &mut self.units[at];
        if let Some(end) = unit.end.take() {
            unit.restarts += 1;
            unit.last = Some(end);
        }
        unit.crash_loop = None;
        unit.log.clear();
        let mut given = container.resources.clone().unwrap_or_default();
        if let Some(own) = &mut unit.given {
            own.actual = own.allocated.clone();
            given = own.allocated.clone();
        }
        scene::fill(scene, &mut self.volumes);
        let checks = Check::all(container, self.admitted, now);
        let has = |purpose| checks.iter().any(|check| check.purpose == purpose);
        let started = !has(Purpose::Startup);
        let doing = match scene::work(scene, at) {
            Some((Does::Script(_), _)) => {
                Doing::Script { process: Box::default(), wake: Wake::At { at: now, wakes: false } }
            }
            Some((Does::Lasts { run_for, exit_code }, cost)) => {
                let until = |span| now.saturating_add(slowed(span, scene.host.speed_percent));
                Doing::Until { at: run_for.map(until), code: exit_code, cost }
            }
            None => Doing::Until { at: None, code: 0, cost: Span::ZERO },
        };
        let ready = started && !has(Purpose::Readiness);
        self.units[at].state = State::Running(Box::new(Running {
            since: now,
            doing,
            own: Default::default(),
            hook: None,
            started,
            ready,
            checks,
            memory_over: memory_over(scene, container, &given),
            stop: None,
        }));
        // What it does first, it does before anybody looks.
        self.process(at, scene);
        self.post_start(at, container, scene);
        true
    }
    fn post_start(&mut self, at: usize, container: &Container, scene: &mut Scene<'_, '_>) {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook.filter(|_| self.units[at].running().is_some()) else { return };
        let (takes, ok) = self.hook(at, hook, scene);
        if !ok {
            scene.tell(true, "FailedPostStartHook", at, "PostStartHook failed".to_owned());
            let grace = Span::from_seconds(sync::grace(scene));
            self.ask_to_stop(at, grace, Some("FailedPostStartHook".to_owned()), scene);
        } else if let Some(running) = self.units[at].running_mut() {
            running.hook =
                takes.map(|span| scene.now().saturating_add(span)).filter(|until| *until > scene.now());
        }
    }
    /// How long a hook takes (`None`: it never ends), and whether it succeeds. One that cannot be read takes no time.
    fn hook(
        &mut self,
        at: usize,
        hook: &LifecycleHandler,
        scene: &mut Scene<'_, '_>,
    ) -> (Option<Span>, bool) {
        if let Some(sleep) = &hook.sleep {
            return (Some(Span::from_seconds(sleep.seconds)), true);
        }
        let Some(exec) = &hook.exec else { return (Some(Span::ZERO), true) };
        match self.aside(at, exec.command.as_deref().unwrap_or_default(), scene) {
            Some((span, code)) => (span, code == Some(0) || code.is_none()),
            None => (Some(Span::ZERO), true),
        }
    }
    /// What a command comes to that is run in a container beside what it does: how long it takes and its exit code;
    /// `None` of these: it does not end. `None`: it cannot be read.
    fn aside(
        &mut self,
        at: usize,
        words: &[String],
        scene: &mut Scene<'_, '_>,
    ) -> Option<(Option<Span>, Option<i32>)> {
        let program = Program::of_words(words)?;
        let (container, _) = scene.container(at)?;
        let seat = Seat::new(scene, self, at, container);
        let (mut process, mut takes, start) = (Process::default(), Span::ZERO, scene.now());
        let mut log = String::new();
        for _ in 0..HOOK_PAUSES_MAX {
            let State::Running(running) = &mut self.units[at].state else { return None };
            let (own, pod) = ((&mut running.own, &mut log), (&mut self.volumes, &mut self.changes));
            let pause = seat.lend(scene, own, pod, |around| {
                around.now = start.saturating_add(takes);
                process.resume(&program, around)
            });
            match pause {
                Pause::Sleep { span, .. } => takes = start.saturating_add(takes).saturating_add(span) - start,
                Pause::End(code) => return Some((Some(takes), Some(code))),
                Pause::Idle { .. } | Pause::Forever => break,
            }
        }
        Some((None, None))
    }
    /// Does what is due of a running container.
    pub(super) fn run_on(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let now = scene.now();
        if self.stopping(at, scene) {
            return true;
        }
        let Some(running) = self.units[at].running() else { return false };
        if running.memory_over.is_some_and(|over| over <= now) {
            self.ended(at, EXIT_KILLED, Some(Reason::OomKilled), scene);
            return true;
        }
        self.process(at, scene) || self.look(at, scene)
    }
    /// A container's process ends or goes on, if that is due.
    fn process(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let (now, changes) = (scene.now(), self.changes);
        let Some(running) = self.units[at].running() else { return false };
        match &running.doing {
            Doing::Until { at: Some(until), code, .. } if *until <= now => {
                let code = *code;
                self.ended(at, code, None, scene);
                true
            }
            Doing::Script { wake, .. } if wake.due(changes, now).is_some_and(|due| due <= now) => {
                self.go_on(at, scene);
                true
            }
            _ => false,
        }
    }
    /// The process of a container goes on until it waits or ends.
    fn go_on(&mut self, at: usize, scene: &mut Scene<'_, '_>) {
        let Some((container, _)) = scene.container(at) else { return };
        let Some(program) = work::program(container) else { return };
        let seat = Seat::new(scene, self, at, container);
        let unit = &mut self.units[at];
        let State::Running(running) = &mut unit.state else { return };
        let Doing::Script { process, wake: next } = &mut running.doing else { return };
        let pod = (&mut self.volumes, &mut self.changes);
        let mut pause =
            seat.lend(scene, (&mut running.own, &mut unit.log), pod, |around: &mut Surroundings<'_>| {
                process.resume(&program, around)
            });
        if let (Pause::Idle { period }, true) = (pause, seat.shares()) {
            // Others may change what it waits for, and nobody tells.
            pause = Pause::Sleep { span: period, wakes: false };
        }
        *next = wake(pause, scene.now(), self.changes);
        if let Pause::End(code) = pause {
            self.ended(at, code, None, scene);
        }
    }
    /// A container has ended with this code.
    fn ended(&mut self, at: usize, code: i32, reason: Option<Reason>, scene: &mut Scene<'_, '_>) {
        let Some((container, _)) = scene.container(at) else { return };
        let Some(running) = self.units[at].running() else { return };
        let (since, writes) = (running.since, matches!(running.doing, Doing::Script { .. }));
        let seat = writes.then(|| Seat::new(scene, self, at, container));
        let unit = &mut self.units[at];
        let State::Running(running) = &mut unit.state else { return };
        let (own, pod) = ((&mut running.own, &mut unit.log), (&mut self.volumes, &mut self.changes));
        let read = |around: &mut Surroundings<'_>| around.view.read(message_path(container));
        let text = seat.and_then(|seat| seat.lend(scene, own, pod, read));
        let message = message(container, text, &self.units[at].log, code);
        let reason = reason.unwrap_or(if code == 0 { Reason::Completed } else { Reason::Error });
        self.finish(at, End { since: Some(since), at: scene.now(), code, reason, message });
    }
    /// Tells a container to end within `grace`.
    pub(super) fn ask_to_stop(
        &mut self,
        at: usize,
        grace: Span,
        message: Option<String>,
        scene: &mut Scene<'_, '_>,
    ) -> bool {
        let Some((container, _)) = scene.container(at) else { return false };
        if self.units[at].running().is_none_or(|running| running.stop.is_some()) {
            return false;
        }
        let now = scene.now();
        let message = message.unwrap_or_else(|| format!("Stopping container {}", container.name));
        scene.tell(false, "Killing", at, message);
        let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let mut hook = None;
        if let Some(handler) = pre_stop.filter(|_| !grace.is_zero()) {
            let (takes, ok) = self.hook(at, handler, scene);
            hook = Some(now.saturating_add(takes.unwrap_or(grace).min(grace))).filter(|until| *until > now);
            if !ok {
                scene.tell(true, "FailedPreStopHook", at, "PreStopHook failed".to_owned());
            }
        }
        let Some(running) = self.units[at].running_mut() else { return true };
        running.stop = Some(Stop { hook, deadline: now.saturating_add(grace), signalled: false, ends: None });
        for check in &mut running.checks {
            if check.purpose != Purpose::Readiness {
                check.rest();
            }
        }
        true
    }
    /// What is due of a container that was told to end.
    fn stopping(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let now = scene.now();
        let Some(stop) = self.units[at].running().and_then(|running| running.stop.clone()) else {
            return false;
        };
        match stop.ends {
            Some((then, code)) if then <= now => {
                self.ended(at, code, None, scene);
                true
            }
            Some(_) => false,
            None if stop.hook.is_some_and(|until| until > now) => false,
            None if !self.is_its_turn(at, scene) && now < stop.deadline => false,
            None => self.signal(at, &stop, scene),
        }
    }
    /// Sidecars end after the containers of the pod proper, the last one first.
    fn is_its_turn(&self, at: usize, scene: &Scene<'_, '_>) -> bool {
        if self.ending.is_none() || scene.container(at).is_none_or(|(_, role)| role != Role::Sidecar) {
            return true;
        }
        let runs = |other: &usize| self.units[*other].running().is_some();
        let later = (at + 1..self.inits)
            .filter(|other| scene.container(*other).is_some_and(|(_, role)| role == Role::Sidecar));
        !later.chain(self.inits..self.units.len()).any(|other| runs(&other))
    }
    /// Sends the signal to end.
    fn signal(&mut self, at: usize, stop: &Stop, scene: &mut Scene<'_, '_>) -> bool {
        let Some((container, role)) = scene.container(at) else { return false };
        let now = scene.now();
        let killed = stop.deadline.max(now + GRACE_MIN);
        let stated = stated(scene.pod, STOP_AFTER, container, role);
        let takes = match stated {
            Some("never") => None,
            stated => Some(stated.and_then(|text| Span::parse(text).ok()).unwrap_or(STOP)),
        };
        let Some(running) = self.units[at].running_mut() else { return false };
        let reaction = match &mut running.doing {
            Doing::Script { process, wake } if stated.is_none() => {
                let reaction = process.terminate();
                if let (Reaction::Handles, Wake::At { wakes: true, .. } | Wake::Never) = (reaction, *wake) {
                    *wake = Wake::At { at: now, wakes: false };
                }
                if let (Reaction::Handles, Wake::Idle { since, period, .. }) = (reaction, *wake) {
                    *wake = Wake::At { at: super::unit::after(since, period, now), wakes: false };
                }
                reaction
            }
            _ => Reaction::Dies,
        };
        let ends = match (reaction, takes) {
            (Reaction::Dies, Some(takes)) if now + takes <= killed => (now + takes, EXIT_SIGTERM),
            _ => (killed, EXIT_KILLED),
        };
        if let Some(own) = &mut running.stop {
            own.signalled = true;
            own.ends = Some(ends);
        }
        true
    }
    /// Looks at what is due of a container's probes.
    fn look(&mut self, at: usize, scene: &mut Scene<'_, '_>) -> bool {
        let (now, changes) = (scene.now(), self.changes);
        let Some((container, role)) = scene.container(at) else { return false };
        let Some(running) = self.units[at].running_mut() else { return false };
        let mut due = None;
        for (index, check) in running.checks.iter_mut().enumerate() {
            if let Some(probe) = check.purpose.of(container) {
                check.stir(probe, changes, now);
            }
            if check.next.is_some_and(|next| next <= now) {
                due = due.or(Some((index, check.purpose)));
            }
        }
        let Some((index, purpose)) = due else { return false };
        let Some(probe) = purpose.of(container) else { return false };
        let (seen, output) = self.probe(at, (container, role), probe, scene);
        if !seen.ok {
            let text = format!("{} probe failed: {output}", purpose.as_str());
            scene.tell(true, "Unhealthy", at, text);
        }
        let Some(running) = self.units[at].running_mut() else { return true };
        match (running.checks[index].take(probe, &seen, now), purpose) {
            (Some(ok), Purpose::Readiness) => running.ready = ok,
            (Some(true), Purpose::Startup) => {
                running.checks[index].rest();
                running.started = true;
                running.ready = container.readiness_probe.is_none();
                let since = running.since;
                for check in running.checks.iter_mut().filter(|check| check.purpose != Purpose::Startup) {
                    check.begin(container, since, now);
                }
            }
            (Some(false), Purpose::Startup | Purpose::Liveness) => {
                running.checks[index].rest();
                self.unhealthy(at, purpose, probe, scene);
            }
            _ => {}
        }
        true
    }
    /// A container that is held for broken is stopped, and started again if it may be.
    fn unhealthy(&mut self, at: usize, purpose: Purpose, probe: &Probe, scene: &mut Scene<'_, '_>) {
        let Some((container, role)) = scene.container(at) else { return };
        let grace = probe.termination_grace_period_seconds.unwrap_or_else(|| sync::grace(scene));
        let kind = if role == Role::App { "Container" } else { "Init container" };
        let word = purpose.as_str().to_lowercase();
        let again = role == Role::App && sync::restarts(scene, container, role, EXIT_KILLED);
        let end = if again { ", will be restarted" } else { "" };
        let text = format!("{kind} {} failed {word} probe{end}", container.name);
        self.ask_to_stop(at, Span::from_seconds(grace), Some(text), scene);
    }
    /// What a probe finds, and what it says.
    fn probe(
        &mut self,
        at: usize,
        (container, role): (&Container, Role),
        probe: &Probe,
        scene: &mut Scene<'_, '_>,
    ) -> (Seen, String) {
        let timeout = i64::from(probe.timeout_seconds.unwrap_or(1));
        if let Some(exec) = &probe.exec {
            let words = exec.command.as_deref().unwrap_or_default();
            let shares =
                !scene::mounts(scene, container).is_empty() && Seat::new(scene, self, at, container).shares();
            let found = self.aside(at, words, scene);
            let (ok, output) = match found {
                // What cannot be read is taken to find everything well.
                None => (true, String::new()),
                Some((Some(takes), Some(code))) if takes <= Span::from_seconds(timeout) => {
                    (code == 0, String::new())
                }
                Some(_) => {
                    let command = words.join(" ");
                    (false, format!("command timed out: \"{command}\" timed out after {timeout}s"))
                }
            };
            let until = shares.then(|| scene.now());
            return (Seen { ok, until, files: Some(self.changes) }, output);
        }
        let (asks, port) = if let Some(http) = &probe.http_get {
            (Asks::Http(http.path.as_deref().unwrap_or("/")), port(container, &http.port))
        } else if let Some(tcp) = &probe.tcp_socket {
            (Asks::Tcp, port(container, &tcp.port))
        } else {
            (Asks::Grpc, probe.grpc.as_ref().map(|grpc| grpc.port))
        };
        let since = self.units[at].running().map_or(scene.now(), |running| running.since);
        let found = answers(scene.pod, (container, role), asks, port);
        let (ok, until) = match found.map(|(from, to)| (since + from, to.map(|to| since + to))) {
            None => (false, None),
            Some((from, _)) if scene.now() < from => (false, Some(from)),
            Some((_, Some(to))) if scene.now() > to => (false, None),
            Some((_, to)) => (true, to.map(|to| to + Span::from_nanos(1))),
        };
        let ip = scene.host.addresses(self.address).pod;
        let output = refusal(
            probe,
            port.unwrap_or(0),
            &ip,
            found.is_some_and(|(from, _)| scene.now() >= since + from),
        );
        (Seen { ok, until, files: None }, output)
    }
}

/// What a probe over the network says that was turned down: nobody listens, or somebody listens and says no.
fn refusal(probe: &Probe, port: i32, ip: &str, listens: bool) -> String {
    match &probe.http_get {
        Some(_) if listens => "HTTP probe failed with statuscode: 500".to_owned(),
        Some(http) => {
            let scheme = http.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
            let path = http.path.as_deref().unwrap_or("/");
            format!("Get \"{scheme}://{ip}:{port}{path}\": dial tcp {ip}:{port}: connect: connection refused")
        }
        None if probe.grpc.is_some() && listens => {
            "service unhealthy (responded with \"NOT_SERVING\")".to_owned()
        }
        None if probe.grpc.is_some() => {
            format!(
                "timeout: failed to connect service \"{ip}:{port}\" within {}s: context deadline exceeded",
                probe.timeout_seconds.unwrap_or(1)
            )
        }
        None => format!("dial tcp {ip}:{port}: connect: connection refused"),
    }
}
