//! Writes of controllers that are under way: webhooks are being asked about them.
//!
//! A real controller waits inside its call of the API until all webhooks have answered. Here such a call ends with the
//! questions, and nothing is written; the questions are kept, whoever serves the world asks ([`UnderWay::questions`]), and
//! when all of a controller's calls for one object are answered, it looks at that object again, finds its writes by what they
//! were to write, and this time they go on. Answers are inputs: a world that gets the same ones at the same instants is the same.
//!
//! Invariants: a webhook has `timeoutSeconds` of virtual time, whoever asks; one object has one write under way, then two, four
//! and so on while none is refused (client-go's slow start); a cluster has at most [`WRITES_MAX`] of them. What was
//! answered and is not wanted any more is forgotten at once. Where nobody can be asked, every question fails at once, and its
//! webhook's `failurePolicy` decides.

use super::Cx;
use super::owned::{KINDS, controller, place};
use crate::apiserver::{self, Call, Context, Drawn, Request, Response, Reviews, Status};
use crate::kind::Kind;
use crate::object::Object;
use crate::random::{FNV_BASIS, fnv};
use crate::world::{Priority, Task, pairs};
use fleet::Span;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most writes under way at a time in a cluster; further ones wait for one of these to end.
const WRITES_MAX: usize = 256;
/// Most answers one write takes: each webhook gives one, two where it is asked again, and more only where configurations change
/// meanwhile.
const ANSWERS_MAX: usize = 1_000;

/// Whose controller writes, and how it is made to look again.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    uid: Arc<str>,
    wake: Task,
}

impl Writer {
    /// The controller of a workload.
    pub(crate) fn of(object: &Object) -> Writer {
        let (namespace, name) = place(object);
        Writer { uid: object.uid().into(), wake: Task::Workload { kind: object.kind(), namespace, name } }
    }
    /// The controller that makes a pod.
    fn of_pod(pod: &Pod) -> Option<Writer> {
        let owner = controller(&pod.metadata)?;
        let uid: Arc<str> = owner.uid.as_str().into();
        if owner.kind == "Job" {
            return Some(Writer { uid: uid.clone(), wake: Task::Job { uid } });
        }
        let all = [KINDS.replica_set, KINDS.replication_controller, KINDS.stateful_set, KINDS.daemon_set];
        let kind = all.into_iter().find(|kind| kind.resource().name == owner.kind)?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default().into();
        Some(Writer { uid, wake: Task::Workload { kind, namespace, name: owner.name.as_str().into() } })
    }
}

/// A write that waits.
#[derive(Debug, Serialize, Deserialize)]
struct Write {
    /// Digest of what it is to write, but for what is drawn.
    like: u64,
    reviews: Reviews,
    /// Questions not yet answered.
    #[serde(with = "pairs")]
    open: BTreeMap<u64, Call>,
    /// Whether the look under way has come to it.
    #[serde(skip)]
    seen: bool,
}

/// What is under way for one object.
#[derive(Debug, Serialize, Deserialize)]
struct Series {
    wake: Task,
    /// Writes that went through.
    passed: usize,
    writes: Vec<Write>,
    /// Whether the look under way finds open questions.
    #[serde(skip)]
    waits: bool,
}

impl Series {
    fn is_open(&self) -> bool {
        self.writes.iter().any(|write| !write.open.is_empty())
    }
}

/// What the controllers of a cluster have under way.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct UnderWay {
    /// Whether somebody asks.
    #[serde(skip)]
    pub(crate) is_served: bool,
    /// Questions so far.
    asked: u64,
    /// By the uid of the object.
    series: BTreeMap<Arc<str>, Series>,
    /// Who wanted to write and found too many writes under way.
    turned_away: BTreeMap<Arc<str>, Task>,
}

/// What there is of a write that a controller comes with.
enum Found {
    Nothing,
    /// Not all questions have been answered.
    Waits,
    Answered(Reviews),
}

impl UnderWay {
    pub(crate) fn is_idle(&self) -> bool {
        self.asked == 0
    }
    /// Questions so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }
    /// Questions that are open, oldest first.
    pub(crate) fn questions(&self) -> BTreeMap<u64, &Call> {
        let writes = self.series.values().flat_map(|series| &series.writes);
        writes.flat_map(|write| &write.open).map(|(number, call)| (*number, call)).collect()
    }
    /// Whether any is open.
    pub(crate) fn is_open(&self) -> bool {
        self.series.values().any(Series::is_open)
    }
    fn room(&self) -> usize {
        let writes: usize = self.series.values().map(|series| series.writes.len()).sum();
        WRITES_MAX.saturating_sub(writes)
    }
    /// How many writes of an object may be under way together.
    pub(crate) fn together(&self, uid: &str) -> usize {
        self.series.get(uid).map_or(0, |series| series.passed) + 1
    }
    /// A controller begins a look at an object.
    pub(crate) fn begin(&mut self, uid: &str) {
        let Some(series) = self.series.get_mut(uid) else { return };
        series.waits = series.is_open();
        series.writes.iter_mut().for_each(|write| write.seen = false);
    }
    fn find(&mut self, uid: &str, like: u64) -> Found {
        let Some(series) = self.series.get_mut(uid) else { return Found::Nothing };
        let Some(at) = series.writes.iter().position(|write| write.like == like && !write.seen) else {
            return if series.waits { Found::Waits } else { Found::Nothing };
        };
        if series.waits {
            series.writes[at].seen = true;
            return Found::Waits;
        }
        Found::Answered(series.writes.remove(at).reviews)
    }
    fn pass(&mut self, uid: &str) {
        if let Some(series) = self.series.get_mut(uid) {
            series.passed += 1;
        }
    }
    /// Keeps a write with its questions; gives their numbers and how long each webhook has. A write that is new may have to wait
    /// for its turn.
    fn ask(
        &mut self,
        writer: &Writer,
        like: u64,
        (reviews, calls): (Reviews, Vec<Call>),
        is_new: bool,
    ) -> Vec<(u64, Span)> {
        if is_new {
            // What was answered and has not been come for may not be wanted any more.
            let series = self.series.get(&writer.uid);
            let under_way = series.map_or(0, |series| series.writes.iter().filter(|w| w.seen).count());
            if under_way >= self.together(&writer.uid) {
                return Vec::new();
            }
            if self.room() == 0 {
                self.turned_away.insert(writer.uid.clone(), writer.wake.clone());
                return Vec::new();
            }
        }
        let mut open = BTreeMap::new();
        let mut asked = Vec::new();
        for call in calls {
            self.asked += 1;
            let seconds = i64::try_from(call.timeout_seconds).unwrap_or(i64::MAX);
            asked.push((self.asked, Span::from_seconds(seconds)));
            open.insert(self.asked, call);
        }
        let series = self.series.entry(writer.uid.clone()).or_insert_with(|| Series {
            wake: writer.wake.clone(),
            passed: 0,
            writes: Vec::new(),
            waits: false,
        });
        series.writes.push(Write { like, reviews, open, seen: true });
        asked
    }
    /// Takes an answer; gives who is to look again, where it was the last one of an object. One to no open question is nothing.
    pub(crate) fn answer(&mut self, number: u64, reply: Result<Value, String>) -> Option<Task> {
        let series = self
            .series
            .values_mut()
            .find(|series| series.writes.iter().any(|write| write.open.contains_key(&number)))?;
        let write = series.writes.iter_mut().find(|write| write.open.contains_key(&number))?;
        let call = write.open.remove(&number)?;
        write.reviews.answers.push(call.answered(reply));
        (!series.is_open()).then(|| series.wake.clone())
    }
    /// A webhook has had its time; as [`UnderWay::answer`].
    pub(crate) fn expire(&mut self, number: u64) -> Option<Task> {
        let mut writes = self.series.values().flat_map(|series| &series.writes);
        let call = writes.find_map(|write| write.open.get(&number))?;
        let reply = call.unanswered("context deadline exceeded");
        self.answer(number, reply)
    }
    /// All controllers are at rest: forgets what was answered and nobody came for, and gives who may try now.
    pub(crate) fn rest(&mut self) -> Vec<Task> {
        if self.is_idle() {
            return Vec::new();
        }
        self.series.retain(|_, series| series.is_open());
        let next = (0..self.room()).map_while(|_| self.turned_away.pop_first());
        next.map(|(_, wake)| wake).collect()
    }
}

impl Cx<'_> {
    /// Tries a write that webhooks may have to be asked about. `like`: the digest of what it writes; `drawn`: what was drawn for it
    /// if it is new. A status that is pending says that they are being asked: the controller looks again when they have answered.
    fn reviewed<T>(
        &mut self,
        writer: &Writer,
        like: u64,
        drawn: Option<Drawn>,
        mut attempt: impl FnMut(&mut Context<'_>, &Reviews) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let (mut reviews, is_new) = match self.under_way.find(&writer.uid, like) {
            Found::Waits => return Err(Status::pending(Vec::new())),
            Found::Answered(reviews) => (reviews, false),
            Found::Nothing => (Reviews { answers: Vec::new(), drawn }, true),
        };
        loop {
            let mut ctx = Context { objects: self.objects, now: self.now, names: self.names };
            let pending = match attempt(&mut ctx, &reviews) {
                Err(Status { pending: Some(pending), .. }) => pending,
                done => {
                    if done.is_ok() && !is_new {
                        self.under_way.pass(&writer.uid);
                    }
                    return done;
                }
            };
            reviews.drawn = pending.drawn.or(reviews.drawn);
            if reviews.answers.len() + pending.calls.len() > ANSWERS_MAX {
                let why =
                    format!("webhooks asked too often: expected at most {ANSWERS_MAX} answers to one write");
                return Err(Status::new(500, "InternalError", why));
            }
            if self.under_way.is_served {
                let asked = self.under_way.ask(writer, like, (reviews, pending.calls), is_new);
                for (question, time) in asked {
                    self.timers.set(self.now + time, Priority::Controller, Task::Review { question });
                }
                return Err(Status::pending(Vec::new()));
            }
            let alone = |call: &Call| call.answered(call.unanswered("nobody can be asked in a simulation"));
            reviews.answers.extend(pending.calls.iter().map(alone));
        }
    }
    /// Carries out a request of a controller, as [`Cx::reviewed`].
    pub(crate) fn send(&mut self, writer: &Writer, mut request: Request) -> Result<Response, Status> {
        if !apiserver::has_webhooks(self.objects) {
            let mut ctx = Context { objects: self.objects, now: self.now, names: self.names };
            return apiserver::write(&mut ctx, &request);
        }
        let like = format!("{} {} {}", request.kind.resource().plural, request.name, request.body);
        self.reviewed(writer, fnv(FNV_BASIS, like.as_bytes()), None, |ctx, reviews| {
            request.options.reviews = Some(Box::new(reviews.clone()));
            apiserver::write(ctx, &request)
        })
    }
    /// Has a pod that a controller makes admitted by what its namespace demands, policies and webhooks, as [`Cx::reviewed`]; it may
    /// have got another name.
    pub(super) fn admitted(&mut self, account: &str, pod: Pod) -> Result<Pod, Status> {
        let writer = Writer::of_pod(&pod).filter(|_| apiserver::has_webhooks(self.objects));
        let Some(writer) = writer else {
            let mut ctx = Context { objects: self.objects, now: self.now, names: self.names };
            return admitted(&mut ctx, account, pod, None);
        };
        let generated = pod.metadata.generate_name.is_some();
        let drawn = Drawn {
            name: pod.metadata.name.clone().filter(|_| generated).unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        };
        let mut like = pod.clone();
        (like.metadata.uid, like.metadata.creation_timestamp) = (None, None);
        if generated {
            like.metadata.name = None;
        }
        let like = fnv(FNV_BASIS, &Object::Pod(Box::new(like)).to_bytes());
        self.reviewed(&writer, like, Some(drawn), |ctx, reviews| {
            let mut pod = pod.clone();
            if let Some(drawn) = &reviews.drawn {
                pod.metadata.uid = Some(drawn.uid.clone());
                if generated {
                    pod.metadata.name = Some(drawn.name.clone());
                }
            }
            admitted(ctx, account, pod, Some(reviews))
        })
    }
}

fn admitted(
    ctx: &mut Context<'_>,
    account: &str,
    pod: Pod,
    reviews: Option<&Reviews>,
) -> Result<Pod, Status> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    if reviews.is_some() && ctx.objects.get(Kind::Pod, &namespace, &name).is_some() {
        return Err(Status::already_exists(Kind::Pod.resource(), &name));
    }
    let mut doc = Object::Pod(Box::new(pod)).to_value();
    apiserver::admit_made(ctx, (account, reviews), &namespace, &mut doc)?;
    let wrong = |why: String| Status::new(500, "InternalError", why);
    match Object::from_value(Kind::Pod, &doc) {
        Ok(Object::Pod(pod)) => Ok(*pod),
        Ok(other) => Err(wrong(format!("{}: expected a pod", other.name()))),
        Err(error) => Err(wrong(error.to_string())),
    }
}
