//! The running product behind REST API and console.

use crate::backend::{Backend, Clock, ClockOrder, OrderError, PlaceError, Speed};
use crate::engine::Engine;
use crate::pacer::Throttle;
use crate::signals::{Board, Sources};
use crate::twin_host::TwinHost;
use control::{Decision, Order, View, WhatIfError};
use fleet::{ClusterId, JobKey, Plan};
use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use ledger::Entry;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use store::Store;
use tokio::sync::watch;

/// The product in this process.
pub struct Live {
    engine: Engine,
    host: Arc<TwinHost>,
    throttle: Arc<Throttle>,
    store: Store,
    clients: BTreeMap<ClusterId, kube::Client>,
    board: Board,
    view: Mutex<Option<(u64, Arc<View>)>>,
    /// Ledger lines read so far: the ledger only grows, so only what is new is read.
    entries: tokio::sync::Mutex<(Option<String>, Vec<Entry>)>,
}

/// Ledger rows read at a time.
const PAGE: u32 = 1000;

impl Live {
    /// The product made of these parts.
    pub fn new(
        engine: Engine,
        host: Arc<TwinHost>,
        throttle: Arc<Throttle>,
        store: Store,
        clients: BTreeMap<ClusterId, kube::Client>,
        board: Board,
    ) -> Live {
        let entries = tokio::sync::Mutex::new((None, Vec::new()));
        Live { engine, host, throttle, store, clients, board, view: Mutex::new(None), entries }
    }

    fn home(&self, wanted: Option<ClusterId>) -> Result<ClusterId, PlaceError> {
        let known = || self.clients.keys().map(ClusterId::as_str).collect::<Vec<_>>().join(", ");
        match wanted.or_else(|| self.clients.keys().next().cloned().filter(|_| self.clients.len() == 1)) {
            Some(home) => Ok(home),
            None => Err(PlaceError::Home { known: known() }),
        }
    }
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
        let version = *self.engine.version().borrow();
        let at = self.host.now();
        let mut kept = self.view.lock().expect("nothing panics while it is held");
        if let Some((of, view)) = &*kept
            && *of == version
            && view.at == at
        {
            return view.clone();
        }
        let view = Arc::new(self.engine.ask(control::Control::view));
        *kept = Some((version, view.clone()));
        view
    }

    fn clock(&self) -> Clock {
        let (speed, paused) = self.throttle.get();
        Clock { twin: true, speed, paused, at: self.host.now() }
    }

    fn sources(&self) -> Sources {
        self.board.read()
    }

    fn version(&self) -> watch::Receiver<u64> {
        self.engine.version()
    }

    fn ledger(&self) -> BoxFuture<'_, anyhow::Result<Vec<Entry>>> {
        Box::pin(async move {
            let mut kept = self.entries.lock().await;
            loop {
                let rows = self.store.ledger(kept.0.as_deref(), PAGE).await?;
                let Some(last) = rows.last() else { break };
                kept.0 = Some(last.id.clone());
                for row in &rows {
                    kept.1.push(serde_json::from_str(&row.body)?);
                }
            }
            Ok(kept.1.clone())
        })
    }

    fn journal(&self, after: i64, limit: u32) -> BoxFuture<'_, anyhow::Result<Vec<Value>>> {
        Box::pin(async move {
            let rows = self.store.journal(after, limit).await?;
            let body = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            let line = |row: &store::JournalRow| json!({"seq": row.seq, "at": row.at, "kind": row.kind, "key": row.key, "body": body(&row.body)});
            Ok(rows.iter().map(line).collect())
        })
    }

    fn plan(&self) -> Plan {
        self.engine.ask(|control, _| control.plan_document())
    }

    fn place(
        &self,
        home: Option<ClusterId>,
        document: Value,
        alternatives: usize,
    ) -> Result<Decision, PlaceError> {
        let (home, job) = (self.home(home)?, job(document)?);
        Ok(self.engine.ask(|control, _| control.place(&home, job, alternatives))?)
    }

    fn why(&self, key: &JobKey, alternatives: usize) -> Result<Decision, WhatIfError> {
        self.engine.ask(|control, _| control.why(key, alternatives))
    }

    fn apply(&self, home: Option<ClusterId>, document: Value) -> BoxFuture<'_, Result<Value, PlaceError>> {
        Box::pin(async move {
            let (home, job) = (self.home(home)?, job(document)?);
            let namespace = job.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
            let Some(client) = self.clients.get(&home) else {
                let known = self.clients.keys().map(ClusterId::as_str).collect::<Vec<_>>().join(", ");
                return Err(WhatIfError::Cluster { found: home.to_string(), known }.into());
            };
            let api: Api<Job> = Api::namespaced(client.clone(), &namespace);
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

    fn order(&self, order: Order) -> Result<(), OrderError> {
        if let Order::Approve { job } | Order::Release { job: Some(job) } = &order {
            let known = self.view().jobs.iter().any(|j| j.key == *job);
            if !known {
                return Err(OrderError::Unknown(job.clone()));
            }
        }
        self.engine.order(order).map_err(|_| OrderError::Stopping)
    }

    fn set_clock(&self, order: ClockOrder) -> Result<(), OrderError> {
        self.throttle.set(|speed, paused| match order {
            ClockOrder::Pause => *paused = true,
            ClockOrder::Resume => *paused = false,
            ClockOrder::Speed(Speed::Max) => *speed = Speed::Max,
            ClockOrder::Speed(Speed::Times(times)) => *speed = Speed::Times(times),
        });
        Ok(())
    }
}
