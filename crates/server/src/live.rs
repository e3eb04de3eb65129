//! The running product behind REST API and console.

use crate::backend::{Backend, Clock, ClockOrder, OrderError, PlaceError, Speed, Work};
use crate::engine::{Engine, FleetClock};
use crate::fit::{self, Seen};
use crate::hours::Hours;
use crate::pacer::Throttle;
use crate::room::{Answer, Asked, Rooms};
use crate::signals::{Board, Sources};
use anyhow::Context;
use connect::Clients;
use control::inventory::InventoryView;
use control::lease::Leader;
use control::{Decision, Order, Top, TopOf, View, WaitingPod, WhatIfError};
use fleet::{ClusterId, Instant, JobKey, Mode, Plan, Span};
use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use ledger::Entry;
use ledger::accounts::{Accounts, Question};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use store::Store;
use tokio::sync::watch;

/// What it is made of.
pub struct Parts {
    /// The loop.
    pub engine: Engine,
    /// The fleet's clock.
    pub clock: Arc<dyn FleetClock>,
    /// Speed and pause of a twin's; `None`: the wall's.
    pub throttle: Option<Arc<Throttle>>,
    /// Journal and ledger.
    pub store: Store,
    /// The clusters.
    pub clusters: Vec<ClusterId>,
    /// Connections to them, as far as there are any.
    pub clients: Clients,
    /// How their schedulers are stated to decide, where it is not by default.
    pub schedulers: BTreeMap<ClusterId, Value>,
    /// Which source each zone's carbon is from.
    pub board: Board,
    /// What may be done to the clusters at most, whatever a person orders while it runs.
    pub mode_max: Mode,
}

/// The product in this process.
pub struct Live {
    parts: Parts,
    view: Mutex<Option<(u64, Arc<View>)>>,
    entries: tokio::sync::Mutex<Lines>,
    hours: Hours,
    rooms: Rooms,
}

/// Ledger lines read so far: the ledger only grows, so only what is new is read.
#[derive(Default)]
struct Lines {
    /// Id of the last line read.
    last: Option<String>,
    /// Of each Job the latest version, and where it stands.
    latest: Vec<Entry>,
    place: BTreeMap<String, usize>,
}

/// Ledger rows read at a time.
const PAGE: u32 = 1000;

impl Live {
    /// The product made of these parts.
    pub fn new(parts: Parts) -> Live {
        let (view, entries) = (Mutex::new(None), tokio::sync::Mutex::default());
        Live { parts, view, entries, hours: Hours::default(), rooms: Rooms::default() }
    }

    /// How long a view serves while nothing happens: a wall clock never stands still between two looks.
    fn view_age_max(&self) -> Span {
        if self.parts.throttle.is_some() { Span::from_nanos(1) } else { Span::from_seconds(1) }
    }

    fn known(&self) -> String {
        self.parts.clusters.iter().map(ClusterId::as_str).collect::<Vec<_>>().join(", ")
    }

    fn home(&self, wanted: Option<ClusterId>) -> Result<ClusterId, PlaceError> {
        let only = || self.parts.clusters.first().cloned().filter(|_| self.parts.clusters.len() == 1);
        wanted.or_else(only).ok_or_else(|| PlaceError::Home { known: self.known() })
    }

    /// Whether this process acts on the clusters an order is about: another would not hear of it.
    fn led_here(&self, order: &Order) -> Result<(), OrderError> {
        let view = self.view();
        let home = match order {
            Order::Approve { job } | Order::Release { job: Some(job) } => Some(&job.cluster),
            Order::Release { job: None } => None,
            Order::Mode { .. } | Order::Policy { .. } => return Ok(()),
        };
        let about = view.clusters.iter().filter(|c| home.is_none_or(|home| *home == c.facts.id));
        let other = about.filter_map(|c| match &c.leader {
            Some(Leader::Other(who)) => Some((&c.facts.id, who)),
            _ => None,
        });
        match other.into_iter().next() {
            None => Ok(()),
            Some((cluster, who)) => Err(OrderError::Invalid(format!(
                "{who} acts on cluster \"{cluster}\", this process only plans and shows: expected the order there"
            ))),
        }
    }

    /// Whether an order can be taken in the mode the product was started in.
    fn within_mode(&self, order: &Order) -> Result<(), OrderError> {
        let most = self.parts.mode_max;
        let wanted = match order {
            Order::Mode { mode } => *mode,
            Order::Approve { .. } | Order::Release { .. } => Mode::Approve,
            Order::Policy { .. } => Mode::Observe,
        };
        if wanted <= most {
            return Ok(());
        }
        let text = format!(
            "nothing was changed: the server was started in mode {}, the most it may do: expected kubercarbon up --mode {}",
            most.as_str(),
            wanted.as_str()
        );
        Err(OrderError::Invalid(text))
    }
}

/// How old a view is at `at`, seen from either side.
fn age(view: &View, at: Instant) -> Span {
    Span::from_nanos((at - view.at).as_nanos().abs())
}

fn job(document: Value) -> Result<Job, PlaceError> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if (version, kind) != ("batch/v1", "Job") {
        let text = format!("found apiVersion {version:?}, kind {kind:?}: expected a batch/v1 Job");
        return Err(PlaceError::Job(text));
    }
    serde_json::from_value(document).map_err(|e| PlaceError::Job(e.to_string()))
}

impl Backend for Live {
    fn view(&self) -> Arc<View> {
        let version = *self.parts.engine.version().borrow();
        let at = self.parts.clock.now();
        let mut kept = self.view.lock().expect("nothing panics while it is held");
        if let Some((of, view)) = &*kept
            && *of == version
            && age(view, at) < self.view_age_max()
        {
            return view.clone();
        }
        let view = Arc::new(self.parts.engine.ask(control::Control::view));
        *kept = Some((version, view.clone()));
        view
    }

    fn clock(&self) -> Clock {
        let at = self.parts.clock.now();
        match &self.parts.throttle {
            Some(throttle) => {
                let (speed, paused) = throttle.get();
                Clock { twin: true, speed, paused, at }
            }
            None => Clock { twin: false, speed: Speed::Times(1.0), paused: false, at },
        }
    }

    fn sources(&self) -> Sources {
        self.parts.board.read()
    }

    fn inventory(&self, cluster: &ClusterId) -> Option<InventoryView> {
        self.parts.engine.ask(|control, _| control.inventory(cluster))
    }
    fn work(&self) -> Work {
        self.parts.engine.progress().borrow().work
    }

    fn version(&self) -> watch::Receiver<u64> {
        self.parts.engine.version()
    }

    fn ledger(&self) -> BoxFuture<'_, anyhow::Result<Vec<Entry>>> {
        Box::pin(async move {
            let mut kept = self.entries.lock().await;
            loop {
                let rows = self.parts.store.ledger(kept.last.as_deref(), PAGE).await?;
                let Some(last) = rows.last() else { break };
                let Lines { latest, place, .. } = &mut *kept;
                for row in &rows {
                    ledger::take_in(latest, place, serde_json::from_str(&row.body)?);
                }
                kept.last = Some(last.id.clone());
            }
            Ok(kept.latest.clone())
        })
    }

    fn accounts(&self, question: Question) -> BoxFuture<'_, anyhow::Result<Accounts>> {
        Box::pin(async move {
            let running = self.parts.engine.ask(control::Control::running_hours);
            self.hours.accounts(&self.parts.store, question, running).await
        })
    }

    fn waiting_pods(&self, most: usize) -> (Vec<WaitingPod>, usize) {
        self.parts.engine.ask(|control, _| control.waiting_pods(most))
    }

    fn room(&self, cluster: ClusterId, asked: Asked) -> BoxFuture<'_, anyhow::Result<Arc<Answer>>> {
        Box::pin(async move {
            let client = self.parts.clients.get(&cluster);
            let client = client.with_context(|| format!("no connection to {cluster} yet"))?;
            self.rooms.answer(&client, &cluster, asked).await
        })
    }

    fn top(&self, of: &TopOf) -> Top {
        self.parts.engine.ask(|control, now| control.top(of, now))
    }

    fn journal(&self, after: i64, limit: u32) -> BoxFuture<'_, anyhow::Result<Vec<Value>>> {
        Box::pin(async move {
            let rows = self.parts.store.journal(after, limit).await?;
            let body = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            let line = |row: &store::JournalRow| json!({"seq": row.seq, "at": row.at, "kind": row.kind, "key": row.key, "body": body(&row.body)});
            Ok(rows.iter().map(line).collect())
        })
    }

    fn plan(&self) -> Plan {
        self.parts.engine.ask(|control, _| control.plan_document())
    }

    fn place(
        &self,
        home: Option<ClusterId>,
        document: Value,
        alternatives: usize,
    ) -> Result<Decision, PlaceError> {
        let (home, job) = (self.home(home)?, job(document)?);
        Ok(self.parts.engine.ask(|control, _| control.place(&home, job, alternatives))?)
    }

    fn why(&self, key: &JobKey, alternatives: usize) -> Result<Decision, WhatIfError> {
        self.parts.engine.ask(|control, _| control.why(key, alternatives))
    }

    fn apply(&self, home: Option<ClusterId>, document: Value) -> BoxFuture<'_, Result<Value, PlaceError>> {
        Box::pin(async move {
            let (home, job) = (self.home(home)?, job(document)?);
            let namespace = job.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
            if !self.parts.clusters.contains(&home) {
                return Err(WhatIfError::Cluster { found: home.to_string(), known: self.known() }.into());
            }
            if self.parts.mode_max == Mode::Observe {
                return Err(PlaceError::ReadOnly);
            }
            let Some(client) = self.parts.clients.get(&home) else {
                let message = "no connection to it yet".to_owned();
                return Err(PlaceError::Unanswered { cluster: home, message });
            };
            let api: Api<Job> = Api::namespaced(client, &namespace);
            match api.create(&PostParams::default(), &job).await {
                Ok(created) => serde_json::to_value(created).map_err(|e| PlaceError::Job(e.to_string())),
                Err(kube::Error::Api(status)) => Err(PlaceError::Refused {
                    cluster: home,
                    code: status.code,
                    message: status.message.clone(),
                }),
                Err(error) => Err(PlaceError::Unanswered { cluster: home, message: error.to_string() }),
            }
        })
    }

    fn scheduler(&self, cluster: &ClusterId) -> Option<Value> {
        self.parts.schedulers.get(cluster).cloned()
    }

    fn look(&self, cluster: &ClusterId) -> BoxFuture<'_, anyhow::Result<Option<Seen>>> {
        let (client, stated) = (self.parts.clients.get(cluster), self.scheduler(cluster));
        Box::pin(async move {
            let Some(client) = client else { return Ok(None) };
            let seen = fit::look(&client).await?;
            match stated {
                Some(document) => seen.with_document(&document).map(Some),
                None => Ok(Some(seen)),
            }
        })
    }

    fn order(&self, order: Order) -> Result<(), OrderError> {
        if let Order::Approve { job } | Order::Release { job: Some(job) } = &order {
            let known = self.view().jobs.iter().any(|j| j.key == *job);
            if !known {
                return Err(OrderError::Unknown(job.clone()));
            }
        }
        self.within_mode(&order)?;
        self.led_here(&order)?;
        self.parts.engine.order(order).map_err(|_| OrderError::Stopping)
    }

    fn set_clock(&self, order: ClockOrder) -> Result<(), OrderError> {
        let throttle = self.parts.throttle.as_ref().ok_or(OrderError::WallClock)?;
        throttle.set(|speed, paused| match order {
            ClockOrder::Pause => *paused = true,
            ClockOrder::Resume => *paused = false,
            ClockOrder::Speed(Speed::Max) => *speed = Speed::Max,
            ClockOrder::Speed(Speed::Times(times)) => *speed = Speed::Times(times),
        });
        Ok(())
    }
}
