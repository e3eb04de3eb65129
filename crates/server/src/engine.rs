//! Runs `Control`: hands it events in batches, carries its effects out, and answers questions about it.
//!
//! Invariants: a record is durable before the calls that follow it are made; a call's answer comes back
//! as an event; no lock is held across an await.

use crate::backend::Work;
use crate::wall::{self, Stopwatch};
use anyhow::Context;
use connect::act::kube::Hands;
use connect::observe::kube::{Observed, Source, watch as watch_cluster};
use control::{Control, Effect, Event, Order};
use fleet::{ClusterId, Instant};
use ledger::usage::HourLine;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use store::{Receipt, Store, Write};
use tokio::sync::{mpsc, watch};
use twin::Kind;

/// Events waiting to be handled; watches wait when it is full.
pub const INBOX: usize = 4096;
/// Events of one cluster that wait to be handed in; its streams wait when it is full. There may be a hundred clusters.
const FOLLOWED: usize = 64;
/// Events handled in one step at most.
const BATCH_MAX: usize = 1024;

/// What the fleet's clock says.
pub trait FleetClock: Send + Sync {
    /// Now, in the fleet's time.
    fn now(&self) -> Instant;
}

/// Real clusters: the wall.
pub struct WallClock;

impl FleetClock for WallClock {
    fn now(&self) -> Instant {
        wall::now()
    }
}

/// What comes in.
pub enum Input {
    /// From a watch, with the version it brought us to.
    Observed(Observed),
    /// From a signal source, or an answer.
    Event(Event),
    /// Time has passed; look at the timers.
    Nudge,
}

/// How far the loop has come: the pacer of twins waits on it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Versions handled, by cluster and kind.
    pub seen: BTreeMap<(ClusterId, Kind), u64>,
    /// Calls not yet answered.
    pub under_way: usize,
    /// Instant of the last step.
    pub stepped_at: Instant,
    /// When there is something to do without an event.
    pub next_timer: Option<Instant>,
    /// What has been done.
    pub work: Work,
}

/// The running loop; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    control: Arc<Mutex<Control>>,
    clock: Arc<dyn FleetClock>,
    inbox: mpsc::Sender<Input>,
    progress: watch::Receiver<Progress>,
    version: watch::Receiver<u64>,
}

impl Engine {
    /// Starts the loop. `inbox` and `receiver` are the two ends of one channel, so that watches may be
    /// started before.
    pub fn start(
        control: Control,
        clock: Arc<dyn FleetClock>,
        hands: Arc<Hands>,
        store: Store,
        (inbox, receiver): (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    ) -> Engine {
        let control = Arc::new(Mutex::new(control));
        let (progress, progress_seen) = watch::channel(Progress::default());
        let (version, version_seen) = watch::channel(0);
        let run = Loop {
            control: control.clone(),
            clock: clock.clone(),
            hands,
            store,
            inbox: inbox.clone(),
            progress,
            version,
        };
        tokio::spawn(run.run(receiver));
        Engine { control, clock, inbox, progress: progress_seen, version: version_seen }
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().expect("no thread panics while it holds the loop")
    }
    /// Asks the loop something.
    pub fn ask<T>(&self, question: impl FnOnce(&Control, Instant) -> T) -> T {
        let now = self.clock.now();
        question(&self.lock(), now)
    }
    /// Hands in an event.
    pub async fn tell(&self, event: Event) -> anyhow::Result<()> {
        self.inbox.send(Input::Event(event)).await.ok().context("the loop has ended")
    }
    /// Hands in an order of a person.
    pub fn order(&self, order: Order) -> anyhow::Result<()> {
        self.inbox.try_send(Input::Event(Event::Order(order))).ok().context("the loop is too busy; try again")
    }
    /// Makes the loop look at its timers.
    pub async fn nudge(&self) {
        // A full inbox will make it look anyway.
        let _full = self.inbox.send(Input::Nudge).await;
    }
    /// Watches a cluster, and hands in what is seen, for ever.
    pub async fn follow(self, source: Source) {
        let (seen, mut observed) = mpsc::channel(FOLLOWED);
        let hand_in = async {
            while let Some(observed) = observed.recv().await {
                if self.inbox.send(Input::Observed(observed)).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(watch_cluster(source, seen), hand_in);
    }
    /// Orderly stop: writes down what the hours under way came to. Nothing may be told to the loop after it.
    pub async fn close_books(&self, store: &Store) -> anyhow::Result<()> {
        let lines = self.lock().stop(self.clock.now());
        let mut last = None;
        for line in &lines {
            last = Some(store.append(usage(line).context("write the account of an hour")?));
        }
        match last {
            Some(receipt) => receipt.await.context("write the accounts of the hours under way"),
            None => Ok(()),
        }
    }
    /// How far it has come.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
    /// Changes with every step that did something.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.clone()
    }
}

struct Loop {
    control: Arc<Mutex<Control>>,
    clock: Arc<dyn FleetClock>,
    hands: Arc<Hands>,
    store: Store,
    inbox: mpsc::Sender<Input>,
    progress: watch::Sender<Progress>,
    version: watch::Sender<u64>,
}

impl Loop {
    async fn run(self, mut inbox: mpsc::Receiver<Input>) {
        let mut batch = Vec::new();
        let mut seen: BTreeMap<(ClusterId, Kind), u64> = BTreeMap::new();
        while inbox.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut events = Vec::with_capacity(batch.len());
            for input in batch.drain(..) {
                match input {
                    Input::Observed(observed) => {
                        events.extend(observed.event);
                        if let Some(mark) = observed.seen
                            && let Some(kind) = kind(mark.kind)
                        {
                            let at = seen.entry((mark.cluster, kind)).or_default();
                            *at = mark.version.max(*at);
                        }
                    }
                    Input::Event(event) => events.push(event),
                    Input::Nudge => {}
                }
            }
            let (busy, handled) = (!events.is_empty(), events.len() as u64);
            let now = self.clock.now();
            let (effects, next_timer, under_way, planned, took) = {
                let mut control = self.control.lock().expect("no thread panics while it holds the loop");
                let (before, watch) = (control.plans(), Stopwatch::start());
                let effects = control.step(now, events);
                let took = watch.elapsed().as_hours_f64() * 3600.0;
                (effects, control.next_timer(), control.under_way(), control.plans() - before, took)
            };
            let acted = !effects.is_empty();
            self.carry_out(effects);
            self.progress.send_modify(|p| {
                p.seen.clone_from(&seen);
                p.under_way = under_way;
                p.stepped_at = now;
                p.next_timer = next_timer;
                p.work.steps += 1;
                p.work.events += handled;
                p.work.step_seconds += took;
                p.work.plans += planned;
                if planned > 0 {
                    p.work.plan_seconds = Some(took);
                }
            });
            if busy || acted {
                self.version.send_modify(|v| *v += 1);
            }
        }
    }

    /// Queues records and ledger lines in order, and starts each call once what was written before it
    /// is durable.
    fn carry_out(&self, effects: Vec<Effect>) {
        let mut last: Option<Receipt> = None;
        let mut calls = Vec::new();
        for effect in effects {
            let write = match effect {
                Effect::Record(record) => Write::Journal {
                    at: record.at,
                    kind: record.kind,
                    key: record.key,
                    body: record.body.to_string(),
                },
                Effect::Ledger(entry) => match serde_json::to_string(&entry) {
                    Ok(body) => Write::Ledger { id: entry.id.clone(), recorded: entry.recorded, body },
                    Err(error) => {
                        tracing::error!(%error, "write a ledger line");
                        continue;
                    }
                },
                Effect::Usage(line) => match usage(&line) {
                    Ok(write) => write,
                    Err(error) => {
                        tracing::error!(%error, "write the account of an hour");
                        continue;
                    }
                },
                Effect::Call { id, cluster, call } => {
                    calls.push((id, cluster, call));
                    continue;
                }
            };
            last = Some(self.store.append(write));
        }
        if last.is_none() && calls.is_empty() {
            return;
        }
        let (hands, inbox) = (self.hands.clone(), self.inbox.clone());
        tokio::spawn(async move {
            // Commits are in order, so the last receipt stands for all.
            if let Some(receipt) = last
                && let Err(error) = receipt.await
            {
                tracing::error!(%error, "the journal could not be written; nothing is done without it");
                let failure = control::Failure::Unanswered { message: format!("write the journal: {error}") };
                for (effect, ..) in calls {
                    let done = Event::Done { effect, result: Err(failure.clone()) };
                    let _ended = inbox.send(Input::Event(done)).await;
                }
                return;
            }
            for (effect, cluster, call) in calls {
                let (hands, inbox) = (hands.clone(), inbox.clone());
                tokio::spawn(async move {
                    let result = hands.carry_out(&cluster, call).await;
                    let _ended = inbox.send(Input::Event(Event::Done { effect, result })).await;
                });
            }
        });
    }
}

/// The write of a line about a cluster's hour.
fn usage(line: &HourLine) -> serde_json::Result<Write> {
    let (cluster, hour) = line.hour();
    let (cluster, recorded) = (cluster.to_string(), line.recorded());
    Ok(Write::Usage { id: line.id().to_owned(), cluster, hour, recorded, body: serde_json::to_string(line)? })
}

/// What a twin calls it; `None`: no pace waits for it.
fn kind(kind: connect::observe::kube::WatchedKind) -> Option<Kind> {
    use connect::observe::kube::WatchedKind;
    match kind {
        WatchedKind::Node => Some(Kind::Node),
        WatchedKind::Pod => Some(Kind::Pod),
        WatchedKind::Job => Some(Kind::Job),
        WatchedKind::PriorityClass => Some(Kind::PriorityClass),
        WatchedKind::Inventory(_) => None,
    }
}
