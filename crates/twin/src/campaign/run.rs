//! One seed, played: happenings in order of time, and a check after every instant in which something changed.

use super::checks::Checks;
use super::draw::{self, Deed, Happening};
use super::{REST, TROUBLE, rest};
use crate::World;
use crate::apiserver::{Options, PatchType, Propagation, Request, Status, Subresource, Verb};
use crate::drain::{self, Flags, OnWorld};
use crate::fault::Fault;
use crate::kind::Kind;
use crate::object::Object;
use crate::random::fnv;
use crate::store::{Change, Stored};
use fleet::{ClusterId, Instant, Span};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// When every campaign begins.
const START: &str = "2026-05-01T09:00:00Z";
/// Most lines of a story that are kept.
const STORY_MAX: usize = 20_000;

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash of every change in order, and of the world at the end.
    pub trace: u64,
    /// Changes of objects.
    pub changes: u64,
    /// Faults that began.
    pub faults: u64,
    /// Things people did.
    pub deeds: u64,
    /// The first thing that was not as it has to be.
    pub wrong: Option<Wrong>,
    /// What happened, if it was to be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub story: Vec<String>,
}

/// Something that was not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// When, in virtual time.
    pub at: Instant,
    /// What.
    pub what: String,
}

/// A seed, as far as it has come.
struct Run {
    world: World,
    home: ClusterId,
    start: Instant,
    objects: Vec<Value>,
    queue: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    drains: Vec<drain::Run>,
    /// API faults under way, and when the last one ended.
    api: (bool, Option<Instant>),
    told: u64,
    checks: Checks,
    outcome: Outcome,
    tell: bool,
}

/// Plays a seed; `tell`: with the story of what happened.
#[must_use]
pub fn play(seed: u64, tell: bool) -> Outcome {
    let drawn = draw::draw(seed);
    let fleet = fleet::file::parse(&drawn.fleet).expect("drawn fleets are in order");
    let start = Instant::parse(START).expect("it is a time");
    let world = World::new(&fleet, start, seed);
    let home = fleet.clusters[0].id.clone();
    let outcome = Outcome {
        seed,
        trace: fnv(0, &seed.to_be_bytes()),
        changes: 0,
        faults: 0,
        deeds: 0,
        wrong: None,
        story: Vec::new(),
    };
    let (api, told) = ((false, None), 0);
    let mut run = Run {
        world,
        home,
        start,
        objects: drawn.objects,
        queue: BTreeMap::new(),
        next: 0,
        drains: Vec::new(),
        api,
        told,
        checks: Checks::default(),
        outcome,
        tell,
    };
    for object in run.objects.clone() {
        run.at(start, Happening::Deed(Deed::Make(Box::new(object))));
    }
    for (after, happening) in drawn.happenings {
        run.at(start + after, happening);
    }
    if let Err(what) = run.play_out() {
        run.outcome.wrong = Some(Wrong { at: run.world.now(), what });
    }
    run.outcome
}

impl Run {
    fn at(&mut self, at: Instant, happening: Happening) {
        self.next += 1;
        self.queue.insert((at, self.next), happening);
    }
    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.tell && self.outcome.story.len() < STORY_MAX {
            let line = format!("{} {}", self.world.now() - self.start, text());
            self.outcome.story.push(line);
        }
    }
    fn play_out(&mut self) -> Result<(), String> {
        let end = self.start + TROUBLE + REST;
        loop {
            let drains = self.drains.iter().filter_map(drain::Run::next);
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next = self.world.next_event().into_iter().chain(drains).chain(queued).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.world.advance_to(next);
            self.look()?;
            self.drain_on();
            while let Some(((at, key), _)) = self.queue.first_key_value().filter(|((at, _), _)| *at <= next) {
                let key = (*at, *key);
                let Some(happening) = self.queue.remove(&key) else { break };
                self.happen(happening)?;
                self.look()?;
            }
        }
        self.world.advance_to(end);
        self.look()?;
        rest::check(&self.world, &self.home)?;
        let state = serde_json::to_vec(&self.world).map_err(|error| format!("cannot be saved: {error}"))?;
        self.outcome.trace = fnv(self.outcome.trace, &state);
        rest::goes_on_alike(&mut self.world, &state)
    }
    /// Takes in what has changed, and checks it.
    fn look(&mut self) -> Result<(), String> {
        let Some(objects) = self.world.objects(&self.home) else { return Ok(()) };
        if objects.version() == self.told {
            return Ok(());
        }
        let changes: Vec<Change> = match objects.changes_since(self.told) {
            Ok(changes) => changes.cloned().collect(),
            // More than are kept have come at once.
            Err(_) => objects
                .changes_since(objects.version() - 1000)
                .map_or(Vec::new(), |all| all.cloned().collect()),
        };
        for change in &changes {
            self.outcome.changes += 1;
            let object = &change.object.object;
            let mut trace = fnv(self.outcome.trace, &change.version.to_be_bytes());
            trace = fnv(trace, &[change.kind as u8]);
            for text in [object.kind().resource().plural, object.namespace(), object.name(), object.uid()] {
                trace = fnv(trace, text.as_bytes());
            }
            self.outcome.trace = fnv(trace, &self.world.now().as_unix_nanos().to_be_bytes());
        }
        if self.tell {
            changes.iter().for_each(|change| self.tell_of(change));
        }
        let Some(objects) = self.world.objects(&self.home) else { return Ok(()) };
        let sound = self.api.1.is_none_or(|ended| ended < self.world.now()) && !self.api.0;
        self.checks.look(objects, &changes, self.told, sound)?;
        self.told = objects.version();
        self.checks.look_at_world(&self.world, &self.home)
    }
    fn tell_of(&mut self, change: &Change) {
        let object = &change.object.object;
        match object {
            Object::Event(event) => {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                let (name, reason) = (text(&event.involved_object.name), text(&event.reason));
                let line = format!(". {name} {reason}: {}", text(&event.message));
                self.note(|| line);
            }
            Object::Lease(_) => {}
            _ => {
                let status = object.to_value()["status"].to_string();
                let deleting = object.meta().deletion_timestamp.is_some();
                let line = format!(
                    "{:?} {}/{} deleting: {deleting} {status}",
                    change.kind,
                    object.kind().resource().plural,
                    object.name()
                );
                self.note(|| line);
            }
        }
    }
    fn drain_on(&mut self) {
        let now = self.world.now();
        for run in self.drains.iter_mut().filter(|run| run.next().is_some_and(|at| at <= now)) {
            let mut place = OnWorld { world: &mut self.world, cluster: &self.home };
            run.step(now, &mut place);
        }
        self.drains.retain(|run| run.next().is_some());
    }
    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        self.note(|| format!(">> {happening}"));
        match happening {
            Happening::Deed(deed) => {
                self.outcome.deeds += 1;
                self.act(deed)
            }
            Happening::Begins(fault) => {
                self.outcome.faults += 1;
                self.api.0 |= matches!(fault, Fault::Api(_));
                // A node may be gone by now.
                let _ = self.world.begin_fault(&self.home, &fault);
                Ok(())
            }
            Happening::Ends(fault) => {
                if matches!(fault, Fault::Api(_)) {
                    self.api = (false, Some(self.world.now()));
                }
                self.world.end_fault(&self.home, &fault).map_err(|error| error.to_string())
            }
        }
    }
    fn list(&self, kind: Kind) -> Vec<Arc<Stored>> {
        let objects = self.world.objects(&self.home);
        objects.into_iter().flat_map(|objects| objects.list(kind, None)).cloned().collect()
    }
    fn one(&self, kind: Kind, which: u64) -> Option<Arc<Stored>> {
        let all = self.list(kind);
        let mut all: Vec<_> =
            all.into_iter().filter(|stored| !stored.object.namespace().starts_with("kube-")).collect();
        let at = usize::try_from(which % (all.len() as u64).max(1)).unwrap_or(0);
        if at < all.len() { Some(all.swap_remove(at)) } else { None }
    }
    fn act(&mut self, deed: Deed) -> Result<(), String> {
        match deed {
            Deed::Make(object) => self.make(*object),
            Deed::Scale(which, replicas) => {
                let Some((kind, name)) = self.drawn(which) else { return Ok(()) };
                if !matches!(kind.resource().name, "Deployment" | "StatefulSet") {
                    return Ok(());
                }
                let body = json!({"spec": {"replicas": replicas}});
                self.send(Verb::Patch(PatchType::Merge), kind, &name, None, body)
            }
            Deed::Update(which) => {
                let Some((kind, name)) = self.drawn(which) else { return Ok(()) };
                if !matches!(kind.resource().name, "Deployment" | "StatefulSet" | "DaemonSet") {
                    return Ok(());
                }
                let containers = json!([{"name": "app", "image": format!("{name}:{}", self.next)}]);
                let body = json!({"spec": {"template": {"spec": {"containers": containers}}}});
                self.send(Verb::Patch(PatchType::StrategicMerge), kind, &name, None, body)
            }
            Deed::DeletePod(which, force) => {
                let Some(pod) = self.one(Kind::Pod, which) else { return Ok(()) };
                let mut request = self.request(Verb::Delete, Kind::Pod, pod.object.name(), None, Value::Null);
                request.options.delete.grace_period_seconds = force.then_some(0);
                self.answered(&request)
            }
            Deed::Evict(which) => {
                let Some(pod) = self.one(Kind::Pod, which) else { return Ok(()) };
                self.evict(&pod)
            }
            Deed::Drain(which, lasts) => {
                let Some(node) = self.one(Kind::Node, which) else { return Ok(()) };
                let name = node.object.name().to_owned();
                let flags = Flags {
                    force: true,
                    ignore_daemonsets: true,
                    delete_emptydir_data: true,
                    ..Flags::default()
                };
                let mut place = OnWorld { world: &mut self.world, cluster: &self.home };
                if let Ok((_, run)) = place.drain(&name, &flags) {
                    self.drains.extend(run);
                }
                self.at(self.world.now() + lasts, Happening::Deed(Deed::Uncordon(name)));
                Ok(())
            }
            Deed::Uncordon(name) => self.uncordon(&name),
            Deed::Suspend(which, suspend) => {
                let Some(job) = self.one(Kind::Job, which) else { return Ok(()) };
                let body = json!({"spec": {"suspend": suspend}});
                let name = job.object.name().to_owned();
                if suspend {
                    let later = self.world.now() + Span::from_seconds(300);
                    self.at(later, Happening::Deed(Deed::Suspend(which, false)));
                }
                self.send(Verb::Patch(PatchType::Merge), Kind::Job, &name, None, body)
            }
            Deed::Remake(which, after) => self.remake(which, after),
        }
    }
    fn uncordon(&mut self, name: &str) -> Result<(), String> {
        if !self.list(Kind::Node).iter().any(|node| node.object.name() == name) {
            return Ok(());
        }
        if self.api.0 {
            // They try again.
            let again = self.world.now() + Span::from_seconds(30);
            self.at(again, Happening::Deed(Deed::Uncordon(name.to_owned())));
        }
        let body = json!({"spec": {"unschedulable": null}});
        self.send(Verb::Patch(PatchType::Merge), Kind::Node, name, None, body)
    }
    /// Kind and name of a drawn object.
    fn drawn(&self, which: u64) -> Option<(Kind, String)> {
        let object = self.objects.get(usize::try_from(which).ok()?)?;
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = Kind::of_object(text("/apiVersion"), text("/kind"))?;
        Some((kind, text("/metadata/name").to_owned()))
    }
    fn remake(&mut self, which: u64, after: Span) -> Result<(), String> {
        let Some((kind, name)) = self.drawn(which) else { return Ok(()) };
        let Some(object) = usize::try_from(which).ok().and_then(|at| self.objects.get(at)).cloned() else {
            return Ok(());
        };
        let mut request = self.request(Verb::Delete, kind, &name, None, Value::Null);
        request.options.delete.propagation = Some(Propagation::Background);
        self.at(self.world.now() + after, Happening::Deed(Deed::Make(Box::new(object))));
        self.answered(&request)
    }
    fn make(&mut self, mut object: Value) -> Result<(), String> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = Kind::of_object(text("/apiVersion"), text("/kind")) else { return Ok(()) };
        object["metadata"]["namespace"] = json!("default");
        let request = self.request(Verb::Create, kind, "", None, object.clone());
        match self.world.request(&self.home, &request) {
            Err(status) if self.api.0 && status.code != 409 => {
                // Whoever makes it tries again.
                let again = self.world.now() + Span::from_seconds(30);
                self.at(again, Happening::Deed(Deed::Make(Box::new(object))));
                Ok(())
            }
            other => self.judge(&request, other.map(|_| ())),
        }
    }
    fn request(
        &self,
        verb: Verb,
        kind: Kind,
        name: &str,
        subresource: Option<Subresource>,
        body: Value,
    ) -> Request {
        let namespace = if kind.resource().namespaced { "default" } else { "" };
        let options = Options::default();
        Request {
            verb,
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource,
            body,
            options,
        }
    }
    fn send(
        &mut self,
        verb: Verb,
        kind: Kind,
        name: &str,
        subresource: Option<Subresource>,
        body: Value,
    ) -> Result<(), String> {
        let request = self.request(verb, kind, name, subresource, body);
        self.answered(&request)
    }
    fn answered(&mut self, request: &Request) -> Result<(), String> {
        let answer = self.world.request(&self.home, request).map(|_| ());
        self.judge(request, answer)
    }
    /// That an object is gone, there already, or that the server is at fault, is no surprise; anything else is.
    fn judge(&mut self, request: &Request, answer: Result<(), Status>) -> Result<(), String> {
        let Err(status) = answer else { return Ok(()) };
        self.note(|| format!("   refused: {} {}", status.code, status.message));
        match status.code {
            404 | 409 | 429 => Ok(()),
            _ if self.api.0 => Ok(()),
            _ => Err(format!(
                "{:?} of {} {}: {}",
                request.verb,
                request.kind.resource().name,
                request.name,
                status.message
            )),
        }
    }
    /// Evicts a pod; a budget that has nothing left must refuse it.
    fn evict(&mut self, pod: &Stored) -> Result<(), String> {
        let (name, meta) = (pod.object.name(), json!({"name": pod.object.name(), "namespace": "default"}));
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta});
        let request = self.request(Verb::Create, Kind::Pod, name, Some(Subresource::Eviction), body);
        let allowed =
            self.world.objects(&self.home).and_then(|objects| self.checks.may_be_evicted(objects, pod));
        let answer = self.world.request(&self.home, &request).map(|_| ());
        if let (Ok(()), Some(why), false) = (&answer, &allowed, self.api.0) {
            return Err(format!("pod {name} was evicted although {why}"));
        }
        self.judge(&request, answer)
    }
}
