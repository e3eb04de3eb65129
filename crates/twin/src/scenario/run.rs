//! Playing a scenario.

use super::course::{Course, Recorder};
use super::drawn::Drawn;
use super::expect::{Progress, Seen, meant};
use super::messages::{self, QueueReport};
use super::timeline::Timeline;
use super::traffic::{self, Telling, Traffic};
use super::work::{self, Work};
use super::{Action, Expectation, Scenario, Target};
use crate::World;
use crate::apiserver::{Options, PatchType, Request, Subresource, Verb};
use crate::drain::{self, Flags, OnWorld};
use crate::fault::Fault;
use crate::store::Objects;
use crate::world::NodeChange;
use fleet::{ClusterId, Instant, NodeName, Provenance, Series, SignalKind, Span, builtin};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What came of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of the scenario.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// States, events and steps, in order: minutes, seconds and thousandths since the start, then what.
    pub timeline: Vec<String>,
    /// Lines that were too many.
    pub lines_left_out: usize,
    /// The requests to every Service that says what comes to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
    /// Every queue of messages that a workload says it takes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueReport>,
    /// Every expectation, as written, with how it came out.
    pub expectations: Vec<Outcome>,
    /// Steps the API refused, with its words.
    pub refused: Vec<String>,
    /// What became of the Jobs.
    pub work: Work,
    /// What was drawn and paid until the end.
    pub drawn: Drawn,
    /// How it went over time, for plots.
    pub course: Course,
    /// When it began, where, on what machines, and what chance was drawn from.
    pub setting: Setting,
}

/// What a scenario was played on.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// First instant.
    pub start: Instant,
    /// How long it lasted, in seconds.
    pub seconds: i64,
    /// What chance was drawn from.
    pub seed: u64,
    /// Region of the cluster.
    pub region: String,
    /// Grid zone of the cluster.
    pub grid_zone: String,
    /// Node groups at the start: how many of which type, and where power, price and embodied emissions are from.
    pub machines: Vec<String>,
    /// How sure the power of the machines is: the least sure of them.
    pub power: SignalKind,
    /// The same of their prices.
    pub price: SignalKind,
}

/// How an expectation came out.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What was expected, and when.
    pub expected: String,
    /// Whether it was so.
    pub met: bool,
    /// Since the start, in seconds: when that was decided.
    pub at_seconds: i64,
    /// What was found instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub found: String,
}

impl Scenario {
    /// Has its recorded requests come to a cluster of a world and makes its objects there, at the world's present instant; what
    /// was refused, with why. Steps and expectations are left aside.
    pub fn put(&self, world: &mut World, cluster: &ClusterId) -> Vec<String> {
        let mut refused = Vec::new();
        for own in &self.traces {
            match &own.curve {
                Some(curve) => {
                    world.set_requests(cluster, &own.namespace, &own.service, curve.clone());
                }
                None => refused.push(format!("trace {:?} was not read", own.file)),
            }
        }
        for (i, object) in self.objects.iter().enumerate() {
            let Some(objects) = world.objects(cluster) else { continue };
            let (told, request) = create(objects, object);
            let done = request.and_then(|request| {
                world.request(cluster, &request).map(|_| ()).map_err(|status| status.message)
            });
            refused.extend(done.err().map(|why| format!("cluster {cluster}: objects[{i}]: {told}: {why}")));
        }
        refused
    }
}

impl Report {
    /// Whether all was as expected, and nothing was refused.
    pub fn is_met(&self) -> bool {
        self.refused.is_empty() && self.expectations.iter().all(|outcome| outcome.met)
    }
    /// The report as text: the timeline, then what was expected.
    pub fn to_text(&self) -> String {
        let mut lines = self.timeline.clone();
        if self.lines_left_out > 0 {
            lines.push(format!("({} lines more)", self.lines_left_out));
        }
        if !self.traffic.is_empty() {
            lines.push(String::new());
            lines.extend(traffic::table(&self.traffic));
        }
        if !self.queues.is_empty() {
            lines.push(String::new());
            lines.extend(messages::table(&self.queues));
        }
        let money = self.drawn.money();
        if !money.is_empty() {
            lines.push(String::new());
            lines.extend(money);
        }
        lines.push(String::new());
        for outcome in &self.expectations {
            let (mark, tail) = if outcome.met {
                ("ok  ", String::new())
            } else {
                ("FAIL", format!("; at {} found {}", Span::from_seconds(outcome.at_seconds), outcome.found))
            };
            lines.push(format!("{mark} {}{tail}", outcome.expected));
        }
        lines.extend(self.refused.iter().map(|refused| format!("FAIL {refused}")));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// A run, as far as it has come.
struct Run<'a> {
    scenario: &'a Scenario,
    world: World,
    home: ClusterId,
    timeline: Timeline,
    requests: Telling,
    messages: messages::Telling,
    /// Version of the objects the timeline has told of.
    told: u64,
    progress: Vec<Progress>,
    refused: Vec<String>,
    /// Drains under way, with the node each empties.
    drains: Vec<(String, drain::Run)>,
    /// Whether the API server is at fault: that steps are refused is no surprise.
    refuses: bool,
    /// What was seen of Jobs.
    work: work::Seen,
    course: Recorder,
    carbon: Option<(Series, Provenance)>,
    tell: &'a mut dyn FnMut(Span),
    /// Until when was told what whoever adds and takes away nodes says.
    heard: Instant,
}

/// Plays a scenario from its start to its end.
pub fn run(scenario: &Scenario) -> Report {
    run_with(scenario, &mut |_| {})
}

/// The same; `progress` is told how far it has come, [`STEPS`](super::STEPS) times.
pub fn run_with(scenario: &Scenario, progress: &mut dyn FnMut(Span)) -> Report {
    let world = World::new(&scenario.fleet, scenario.start, scenario.seed);
    let home = scenario.fleet.clusters[0].id.clone();
    let undecided = Progress { outcome: None, found: String::new() };
    let told = world.objects(&home).map_or(0, Objects::version);
    let mut run = Run {
        scenario,
        world,
        home,
        timeline: Timeline::default(),
        requests: Telling::default(),
        messages: messages::Telling::default(),
        told,
        progress: vec![undecided; scenario.expect.len()],
        refused: Vec::new(),
        drains: Vec::new(),
        refuses: false,
        work: work::Seen::default(),
        course: Recorder::new(scenario.start, scenario.length),
        carbon: carbon(scenario),
        tell: progress,
        heard: scenario.start,
    };
    if let Some((series, _)) = &run.carbon {
        run.world.set_intensity(&run.home, series.clone());
    }
    run.play();
    run.report()
}

/// The intensity that is stated, or that of a typical year.
fn carbon(scenario: &Scenario) -> Option<(Series, Provenance)> {
    let hours = usize::try_from(scenario.length.as_seconds() / 3600).unwrap_or(0) + 2;
    let typical = || builtin::typical_year(scenario.grid_zone(), scenario.start, hours);
    scenario.carbon.clone().or_else(typical)
}

impl Run<'_> {
    fn play(&mut self) {
        let scenario = self.scenario;
        for own in &scenario.traces {
            match &own.curve {
                Some(curve) => {
                    self.world.set_requests(&self.home, &own.namespace, &own.service, curve.clone());
                }
                None => self.refused.push(format!("trace {:?} was not read", own.file)),
            }
        }
        for (i, object) in scenario.objects.iter().enumerate() {
            self.act(&format!("objects[{i}]"), Span::ZERO, &Action::Create(Box::new(object.clone())), false);
        }
        let mut stops: BTreeSet<Span> = scenario.steps.iter().map(|step| step.at).collect();
        stops.extend(scenario.expect.iter().flat_map(Expectation::instants));
        stops.extend([Span::ZERO, scenario.length]);
        for stop in stops {
            let until = scenario.start + stop;
            while let Some(at) = self.next().filter(|at| *at <= until) {
                self.sample_before(at);
                self.world.advance_to(at);
                self.drain_on();
                // What a step at this instant changes is looked at with it.
                if at < until {
                    self.look();
                }
            }
            self.sample_before(until);
            self.world.advance_to(until);
            for (i, step) in scenario.steps.iter().enumerate().filter(|(_, step)| step.at == stop) {
                self.look_at_changes();
                self.act(&format!("steps[{i}]"), stop, &step.action, true);
            }
            self.look();
        }
        self.sample_before(self.world.now() + Span::from_nanos(1));
    }
    /// Ends the steps of the course that end before an instant until which nothing happens.
    fn sample_before(&mut self, at: Instant) {
        while let Some(due) = self.course.due().filter(|due| *due < at) {
            self.world.advance_to(due);
            let intensity = self.carbon.as_ref().map(|(series, _)| series);
            self.course.sample(&self.world, &self.home, intensity);
            (self.tell)(due - self.scenario.start);
        }
    }
    /// When something may happen next.
    fn next(&self) -> Option<Instant> {
        let drains = self.drains.iter().filter_map(|(_, run)| run.next());
        self.world.next_event().into_iter().chain(drains).min()
    }
    /// Cordons a node and begins to empty it; what stands in the way is told, and may be what a scenario is about.
    fn drain(&mut self, node: &str, flags: &Flags) -> Result<(), String> {
        let mut place = OnWorld { world: &mut self.world, cluster: &self.home };
        let (selected, run) = place.drain(node, flags).map_err(|status| status.message)?;
        let since = self.since();
        for warning in &selected.warnings {
            self.timeline.step(since, &format!("Warning: {warning}"));
        }
        for error in &selected.errors {
            self.timeline.step(since, &format!("error: {error}"));
        }
        self.drains.extend(run.map(|run| (node.to_owned(), run)));
        Ok(())
    }
    /// Has drains do what is due, and tells what `kubectl drain` would print.
    fn drain_on(&mut self) {
        let now = self.world.now();
        for i in 0..self.drains.len() {
            if self.drains[i].1.next().is_some_and(|at| at > now) {
                continue;
            }
            self.look_at_changes();
            let mut place = OnWorld { world: &mut self.world, cluster: &self.home };
            let (node, run) = &mut self.drains[i];
            let mut lines = run.step(now, &mut place);
            if run.next().is_none() {
                let failed = run.errors().iter().map(|error| format!("error: {error}"));
                lines.extend(failed);
                if run.errors().is_empty() {
                    lines.push(format!("node/{node} drained"));
                }
            }
            let since = self.since();
            lines.iter().for_each(|line| self.timeline.step(since, line));
        }
        self.drains.retain(|(_, run)| run.next().is_some());
    }
    fn since(&self) -> Span {
        self.world.now() - self.scenario.start
    }
    fn look_at_changes(&mut self) {
        let Some(objects) = self.world.objects(&self.home) else { return };
        let now = (self.world.now() - self.scenario.start, self.world.now());
        self.timeline.take(objects, self.told, &self.scenario.watch, now);
        self.work.take(objects, self.told, now.1);
        self.told = objects.version();
        // It looks once at an instant.
        for (at, line) in self.world.autoscaler_log(&self.home, self.heard + Span::from_nanos(1)) {
            self.heard = at;
            self.timeline.step(at - self.scenario.start, &line);
        }
    }
    fn look(&mut self) {
        self.look_at_changes();
        let since = self.since();
        let requests = self.world.traffic(&self.home);
        let messages = self.world.messages(&self.home);
        self.course.see(&requests, &messages);
        let lines = self.requests.take(since, &requests).into_iter();
        for line in lines.chain(self.messages.take(since, &messages)) {
            self.timeline.state_of(since, &line);
        }
        let Some(objects) = self.world.objects(&self.home) else { return };
        let seen = Seen { objects, requests: &requests, messages: &messages };
        for (expectation, progress) in self.scenario.expect.iter().zip(&mut self.progress) {
            expectation.look(progress, since, &seen);
        }
    }
    /// Carries out what a step says; what is refused is kept.
    fn act(&mut self, place: &str, at: Span, action: &Action, tell: bool) {
        let mut all: Vec<(String, Result<(), String>)> = Vec::new();
        match action {
            Action::Stop(node) | Action::ShutDown(node) | Action::Start(node) => {
                let change = match action {
                    Action::Stop(_) => NodeChange::Stop,
                    Action::ShutDown(_) => NodeChange::ShutDown,
                    _ => NodeChange::Start,
                };
                let name = NodeName::new(node).map_err(|error| error.to_string());
                let done = name.and_then(|name| {
                    self.world.set_node(&self.home, &name, change).map_err(|error| error.to_string())
                });
                all.push((format!("{} node {node}", word(action)), done));
            }
            Action::BeginFault(fault) | Action::EndFault(fault) => {
                let begins = matches!(action, Action::BeginFault(_));
                all.push(self.fault(fault, begins));
            }
            Action::Drain(node, flags) => {
                self.timeline.step(at, &format!("drain node {node}"));
                if let Err(why) = self.drain(node, flags) {
                    self.refused.push(format!("{place} at {at}: drain node {node}: {why}"));
                }
                self.drain_on();
            }
            Action::Create(object) => {
                let Some(objects) = self.world.objects(&self.home) else { return };
                let (text, request) = create(objects, object);
                let done = request.and_then(|request| self.send(&request));
                all.push((text, done));
            }
            Action::Patch(target, _)
            | Action::Delete(target, _)
            | Action::Evict(target)
            | Action::Scale(target, _) => {
                let Some(objects) = self.world.objects(&self.home) else { return };
                let meant = meant(objects, target, &|uid| self.timeline.order(uid));
                if meant.is_empty() {
                    all.push((format!("{} {target}", word(action)), Err("no such object".to_owned())));
                }
                for stored in meant {
                    let (kind, name) = (target.kind.resource().name.to_lowercase(), stored.object.name());
                    let request = request(action, target, stored.object.namespace(), name);
                    all.push((
                        format!("{} {kind}/{name}{}", word(action), with(action)),
                        self.send(&request),
                    ));
                }
            }
        }
        for (text, done) in all {
            if tell {
                let answer = done.as_ref().err().map(|why| format!(" -> {why}")).unwrap_or_default();
                self.timeline.step(at, &format!("{text}{answer}"));
            }
            // That an eviction is refused may be what a scenario is about; its expectations say.
            if let Err(why) = done
                && !matches!(action, Action::Evict(_))
                && !self.refuses
            {
                self.refused.push(format!("{place} at {at}: {text}: {why}"));
            }
        }
    }
    /// Has a fault begin or end; what is told of it, and whether there is what it is about.
    fn fault(&mut self, fault: &Fault, begins: bool) -> (String, Result<(), String>) {
        if matches!(fault, Fault::Api(_)) {
            self.refuses = begins;
        }
        let world = &mut self.world;
        let done =
            if begins { world.begin_fault(&self.home, fault) } else { world.end_fault(&self.home, fault) };
        let text = if begins { format!("fault: {fault}") } else { format!("end of fault: {fault}") };
        (text, done.map_err(|error| error.to_string()))
    }
    fn send(&mut self, request: &Request) -> Result<(), String> {
        self.world.request(&self.home, request).map(|_| ()).map_err(|status| status.message)
    }
    fn report(self) -> Report {
        let outcome = |(expectation, progress): (&Expectation, &Progress)| {
            let decided = progress.outcome.unwrap_or(Err(self.scenario.length));
            let at = match decided {
                Ok(at) | Err(at) => at,
            };
            let found = if decided.is_ok() { String::new() } else { progress.found.clone() };
            Outcome {
                expected: expectation.text.clone(),
                met: decided.is_ok(),
                at_seconds: at.as_seconds(),
                found,
            }
        };
        Report {
            name: self.scenario.name.clone(),
            about: self.scenario.about.clone(),
            expectations: self.scenario.expect.iter().zip(&self.progress).map(outcome).collect(),
            timeline: self.timeline.lines,
            lines_left_out: self.timeline.more,
            work: self.work.report(self.world.now()),
            drawn: Drawn::by(
                &self.world,
                &self.home,
                &self.scenario.fleet.currency,
                self.carbon.map(|(_, from)| from),
            ),
            course: self.course.course(),
            setting: setting(self.scenario),
            traffic: self.requests.report(),
            queues: self.messages.report(),
            refused: self.refused,
        }
    }
}

fn setting(scenario: &Scenario) -> Setting {
    let cluster = &scenario.fleet.clusters[0];
    let worst = |kind: &dyn Fn(&fleet::NodeGroup) -> SignalKind| {
        cluster.groups().map(kind).max().unwrap_or(SignalKind::Estimated)
    };
    let machine = |group: &fleet::NodeGroup| {
        format!("{}: {} × {}; {}", group.name, group.count, group.instance_type, group.sources)
    };
    let pool = |pool: &fleet::karpenter::NodePool| {
        let cheapest =
            pool.offerings.first().map_or_else(String::new, |own| format!(" from {} on", own.name));
        format!("{}: Karpenter, {} offerings{cheapest}", pool.name, pool.offerings.len())
    };
    let pools = cluster.karpenter.iter().map(|set| set.node_pools.iter().map(pool));
    Setting {
        start: scenario.start,
        seconds: scenario.length.as_seconds(),
        seed: scenario.seed,
        region: cluster.region.to_string(),
        grid_zone: cluster.grid_zone.to_string(),
        machines: cluster.node_groups.iter().map(machine).chain(pools.flatten()).collect(),
        power: worst(&|group| group.rates_from.power.kind()),
        price: worst(&|group| group.rates_from.price.kind()),
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.resource().name.to_lowercase();
        match (&self.name, &self.labels) {
            (Some(name), _) => write!(f, "{kind}/{name}"),
            (None, Some(labels)) => write!(f, "{kind} with {labels}"),
            (None, None) => write!(f, "{kind}"),
        }
    }
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::Create(_) => "create",
        Action::Patch(..) => "patch",
        Action::Delete(..) => "delete",
        Action::Evict(_) => "evict",
        Action::Scale(..) => "scale",
        Action::Stop(_) => "stop",
        Action::ShutDown(_) => "shut down",
        Action::Start(_) => "start",
        Action::BeginFault(_) => "fault",
        Action::EndFault(_) => "end of fault",
        Action::Drain(..) => "drain",
    }
}

/// What an action changes, for the timeline.
fn with(action: &Action) -> String {
    match action {
        Action::Patch(_, patch) => {
            let of = patch.subresource.map_or("", crate::apiserver::Subresource::as_str);
            format!("{}{of} with {}", if of.is_empty() { "" } else { " " }, patch.with)
        }
        Action::Scale(_, replicas) => format!(" to {replicas}"),
        Action::Delete(_, removal) => {
            let force = if removal.force { " by force" } else { "" };
            removal.propagation.map_or(force.to_owned(), |of| format!("{force}, dependents: {of:?}"))
        }
        _ => String::new(),
    }
}

/// The creation of an object, in the namespace it names or in `default`.
fn create(objects: &Objects, object: &Value) -> (String, Result<Request, String>) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (version, name) = (text("/apiVersion"), text("/kind"));
    let told = format!("create {}/{}", name.to_lowercase(), text("/metadata/name"));
    let Some(kind) = objects.kind_of(version, name) else {
        return (
            told,
            Err(format!("no kind {name:?} in {version:?}: expected a built-in one, or one defined before")),
        );
    };
    let stated = text("/metadata/namespace");
    let namespace = match (kind.resource().namespaced, stated) {
        (false, _) => "",
        (true, "") => "default",
        (true, stated) => stated,
    };
    let request = Request {
        verb: Verb::Create,
        kind,
        namespace: namespace.to_owned(),
        name: String::new(),
        subresource: None,
        body: object.clone(),
        options: Options::default(),
    };
    (told, Ok(request))
}

/// The request an action makes about one object.
fn request(action: &Action, target: &Target, namespace: &str, name: &str) -> Request {
    let (verb, subresource, body) = match action {
        Action::Patch(_, patch) => (Verb::Patch(patch.kind), patch.subresource, patch.with.clone()),
        Action::Scale(_, replicas) => {
            let scale = json!({"spec": {"replicas": replicas}});
            (Verb::Patch(PatchType::Merge), Some(Subresource::Scale), scale)
        }
        Action::Evict(_) => {
            let meta = json!({"name": name, "namespace": namespace});
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta});
            (Verb::Create, Some(Subresource::Eviction), eviction)
        }
        _ => (Verb::Delete, None, Value::Null),
    };
    let mut options = Options::default();
    if let Action::Delete(_, removal) = action {
        options.delete.grace_period_seconds = removal.force.then_some(0);
        options.delete.propagation = removal.propagation;
    }
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Request { verb, kind: target.kind, namespace, name, subresource, body, options }
}
