//! Holds the twin: one world behind a lock, every request from outside logged before it is answered.
//!
//! The world is deterministic, so a snapshot and the log of what came in from outside, each with the
//! instant it came in at, bring it back byte for byte after `kill -9`. Refused requests and dry runs
//! are logged too: they may have drawn a uid. Twin time stands still while the process is down.

use anyhow::{Context, bail};
use fleet::{ClusterId, Instant};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard};
use store::{Receipt, Store, Write};
use tokio::sync::{Notify, watch};
use twin::{Kind, Objects, Request, Response, Status, World};

/// Requests logged after which a new snapshot is taken, so that a start stays quick.
const INPUTS_PER_SNAPSHOT: u64 = 2_000;

/// A logged request.
#[derive(Serialize, Deserialize)]
struct Input {
    cluster: ClusterId,
    request: Request,
}

struct Held {
    world: World,
    inputs: u64,
}

/// The twin of this process.
pub struct TwinHost {
    held: Mutex<Held>,
    /// Where it is kept; `None`: it lasts as long as the process.
    store: Option<Store>,
    tick: watch::Sender<u64>,
    /// Told of each request from outside.
    asked: Notify,
}

impl TwinHost {
    /// The world of `store`, or else the one of `begin`. `origin` says what that is made from; a state made from
    /// something else is refused: nothing of it is lost, and nothing of it is mixed up.
    pub async fn open(
        store: Store,
        origin: String,
        begin: impl FnOnce() -> World,
    ) -> anyhow::Result<Arc<TwinHost>> {
        let saved = store.twin().await.context("read the saved twin")?;
        let mut fresh = false;
        let world = match saved.and_then(|s| Some((s.snapshot?, s.inputs, s.clock))) {
            Some(((at, snapshot), inputs, clock)) => {
                if store.setting("fleet").await?.is_some_and(|kept| kept != origin) {
                    bail!(
                        "the state directory holds a twin of another fleet file, twin file, seed or --no-demo\n\nhint: start with the same ones, or give --state another directory, or add --fresh to begin anew"
                    );
                }
                let mut world: World =
                    serde_json::from_slice(&snapshot).context("read the twin's snapshot")?;
                world.advance_to(at);
                for (at, body) in inputs {
                    let input: Input = serde_json::from_slice(&body).context("read the twin's log")?;
                    world.advance_to(at);
                    // What was refused then is refused now; the client has had its answer.
                    let _answer = world.request(&input.cluster, &input.request);
                }
                world.advance_to(clock.unwrap_or(at).max(world.now()));
                world
            }
            None => {
                fresh = true;
                begin()
            }
        };
        let host = TwinHost::holding(world, Some(store.clone()));
        if fresh {
            store.append(Write::Setting { key: "fleet".to_owned(), value: origin }).await?;
        }
        host.snapshot().await.context("save the twin")?;
        Ok(host)
    }

    /// A world that is kept nowhere.
    pub fn passing(world: World) -> Arc<TwinHost> {
        TwinHost::holding(world, None)
    }

    fn holding(world: World, store: Option<Store>) -> Arc<TwinHost> {
        let held = Mutex::new(Held { world, inputs: 0 });
        Arc::new(TwinHost { held, store, tick: watch::Sender::new(0), asked: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no thread panics while it holds the world")
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.lock().world.now()
    }

    /// Lets time pass to `limit`, or to the end of the first instant in which something changed.
    pub fn advance(&self, limit: Instant) {
        let changed = {
            let world = &mut self.lock().world;
            let before = version(world);
            world.advance_until_change(limit);
            version(world) != before
        };
        // Whoever watches is woken for something only.
        if changed {
            self.tick.send_modify(|n| *n += 1);
        }
    }

    /// When something may happen next, if nobody asks for anything.
    pub fn next_event(&self) -> Option<Instant> {
        self.lock().world.next_event()
    }

    /// Resolves after a request from outside, be it an earlier one that nobody waited for.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Has pods told the certificate (PEM) by which they know their API server. It is kept at once: what comes after it is
    /// brought back on top of it.
    pub async fn set_authority(&self, authority: &str) -> anyhow::Result<()> {
        let news = self.lock().world.set_authority(authority);
        if news {
            self.tick.send_modify(|n| *n += 1);
            self.snapshot().await.context("save the twin")?;
        }
        Ok(())
    }

    /// Names of a cluster's nodes.
    pub fn node_names(&self, cluster: &ClusterId) -> Vec<String> {
        let held = self.lock();
        let nodes = held.world.objects(cluster).into_iter().flat_map(|o| o.list(Kind::Node, None));
        nodes.map(|node| node.object.name().to_owned()).collect()
    }

    /// Uid of the real cluster a cluster was imported from.
    pub fn imported_uid(&self, cluster: &ClusterId) -> Option<String> {
        self.lock().world.imported_uid(cluster).map(str::to_owned)
    }

    /// Version of the last write of `kind` in `cluster`.
    pub fn last_version(&self, cluster: &ClusterId, kind: Kind) -> u64 {
        self.lock().world.objects(cluster).map_or(0, |o| o.last_version(kind))
    }

    /// Saves the whole world; what was logged before is no longer needed.
    pub async fn snapshot(&self) -> anyhow::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let receipt = {
            let mut held = self.lock();
            held.inputs = 0;
            let body = serde_json::to_vec(&held.world).context("write the twin's snapshot")?;
            store.append(Write::TwinSnapshot { at: held.world.now(), body })
        };
        Ok(receipt.await?)
    }

    /// Writes the clock down.
    pub async fn save_clock(&self) -> anyhow::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        Ok(store.append(Write::TwinClock { at: self.now() }).await?)
    }

    /// Carries out a request and logs it, where the twin is kept.
    fn carry_out(
        &self,
        cluster: &ClusterId,
        request: Request,
    ) -> (Result<Response, Status>, Option<Receipt>) {
        let mut held = self.lock();
        let Some(store) = &self.store else { return (held.world.request(cluster, &request), None) };
        let at = held.world.now();
        let input = Input { cluster: cluster.clone(), request };
        let body = serde_json::to_vec(&input).unwrap_or_default();
        let answer = held.world.request(cluster, &input.request);
        held.inputs += 1;
        (answer, Some(store.append(Write::TwinInput { at, body })))
    }

    /// Whether enough has been logged that a new snapshot pays.
    pub fn snapshot_due(&self) -> bool {
        self.lock().inputs >= INPUTS_PER_SNAPSHOT
    }
}

/// Version of the last write anywhere.
fn version(world: &World) -> u64 {
    world.clusters().filter_map(|id| world.objects(id)).map(Objects::version).sum()
}

impl kubeapi::Twin for TwinHost {
    fn read(&self, cluster: &ClusterId, read: &mut dyn FnMut(&Objects, Instant)) -> bool {
        let held = self.lock();
        let Some(objects) = held.world.objects(cluster) else { return false };
        read(objects, held.world.now());
        true
    }

    fn write(&self, cluster: &ClusterId, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let (answer, receipt) = self.carry_out(cluster, request);
        self.tick.send_modify(|n| *n += 1);
        self.asked.notify_one();
        let Some(receipt) = receipt else { return Box::pin(std::future::ready(answer)) };
        Box::pin(async move {
            match receipt.await {
                Ok(()) => answer,
                Err(error) => Err(Status::new(
                    500,
                    "InternalError",
                    format!("the twin's log could not be written: {error}"),
                )),
            }
        })
    }

    fn changed(&self, cluster: &ClusterId, seen: u64) -> BoxFuture<'static, ()> {
        let mut tick = self.tick.subscribe();
        let past = |host: &TwinHost, cluster: &ClusterId| {
            host.lock().world.objects(cluster).is_none_or(|o| o.version() > seen)
        };
        if past(self, cluster) {
            return Box::pin(std::future::ready(()));
        }
        Box::pin(async move {
            // Any change wakes every watch; each looks at its own cluster again.
            let _closed = tick.changed().await;
        })
    }
}
