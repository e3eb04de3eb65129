//! Holds the twin: one world behind a lock, every request from outside logged before it is answered.
//!
//! The world is deterministic, so a snapshot and the log of what came in from outside, each with the
//! instant it came in at, bring it back byte for byte after `kill -9`. Refused requests and dry runs
//! are logged too: they may have drawn a uid. So are the answers of webhooks to questions about what controllers write. Twin time stands still while the process is down.

use anyhow::{Context, bail};
use fleet::{ClusterId, Instant};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use store::{Receipt, Store, Write};
use tokio::sync::{Notify, watch};
use twin::apiserver::Call;
use twin::{Kind, Objects, Request, Response, Status, World};

/// Requests logged after which a new snapshot is taken, so that a start stays quick.
const INPUTS_PER_SNAPSHOT: u64 = 2_000;

/// What is logged: a request, or the answer of a webhook.
#[derive(Serialize, Deserialize)]
struct Input {
    cluster: ClusterId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

/// What a webhook said to a question of this number, or why nothing.
#[derive(Serialize, Deserialize)]
struct Answer {
    question: u64,
    reply: Result<Value, String>,
}

impl Input {
    /// Has it come in; a request gives what is answered.
    fn come_in(&self, world: &mut World) -> Option<Result<Response, Status>> {
        if let Some(Answer { question, reply }) = &self.answer {
            world.answer(&self.cluster, *question, reply.clone());
        }
        self.request.as_ref().map(|request| world.request(&self.cluster, request))
    }
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
    /// Told when webhooks are to be asked.
    questions: Notify,
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
                world.set_served(true);
                world.advance_to(at);
                for (at, body) in inputs {
                    let input: Input = serde_json::from_slice(&body).context("read the twin's log")?;
                    world.advance_to(at);
                    // What was refused then is refused now; the client has had its answer.
                    let _answer = input.come_in(&mut world);
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

    fn holding(mut world: World, store: Option<Store>) -> Arc<TwinHost> {
        world.set_served(true);
        let held = Mutex::new(Held { world, inputs: 0 });
        let (asked, questions) = (Notify::new(), Notify::new());
        // What was asked before is asked again.
        questions.notify_one();
        Arc::new(TwinHost { held, store, tick: watch::Sender::new(0), asked, questions })
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
        let (changed, asks) = {
            let world = &mut self.lock().world;
            let before = version(world);
            world.advance_until_change(limit);
            (version(world) != before, world.has_questions())
        };
        if asks {
            self.questions.notify_one();
        }
        // Whoever watches is woken for something only.
        if changed {
            self.tick.send_modify(|n| *n += 1);
        }
    }

    /// When something may happen next, if nobody asks for anything.
    pub fn next_event(&self) -> Option<Instant> {
        self.lock().world.next_event()
    }

    /// Questions to webhooks that are open, by cluster and number, but for those that were asked; they count as asked then.
    pub fn questions(&self, asked: &mut BTreeSet<(ClusterId, u64)>) -> Vec<((ClusterId, u64), Call)> {
        let held = self.lock();
        let all = held.world.questions().map(|(cluster, number, call)| ((cluster.clone(), number), call));
        let new = all.filter(|(key, _)| asked.insert(key.clone()));
        new.map(|(key, call)| (key, call.clone())).collect()
    }

    /// Whether a question is open. A webhook's seconds are seconds of the twin: until it has answered, nobody should let time pass
    /// faster than the wall's clock.
    pub fn is_asking(&self) -> bool {
        self.lock().world.has_questions()
    }

    /// Resolves when there may be new questions, be it earlier ones that nobody waited for.
    pub async fn asking(&self) {
        self.questions.notified().await;
    }

    /// Hands on what a webhook answered, and logs it, where the twin is kept: with the next write at the latest that somebody is
    /// told of.
    pub fn answer(&self, cluster: &ClusterId, question: u64, reply: Result<Value, String>) {
        let input =
            Input { cluster: cluster.clone(), request: None, answer: Some(Answer { question, reply }) };
        let _nobody_waits = self.carry_out(&input);
        self.tick.send_modify(|n| *n += 1);
        // Its clock may go on at its own pace.
        self.asked.notify_one();
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

    /// Has something come in, and logs it, where the twin is kept.
    fn carry_out(&self, input: &Input) -> (Option<Result<Response, Status>>, Option<Receipt>) {
        let mut held = self.lock();
        let receipt = self.store.as_ref().map(|store| {
            let at = held.world.now();
            held.inputs += 1;
            store.append(Write::TwinInput { at, body: serde_json::to_vec(input).unwrap_or_default() })
        });
        let answer = input.come_in(&mut held.world);
        if held.world.has_questions() {
            self.questions.notify_one();
        }
        (answer, receipt)
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
        let input = Input { cluster: cluster.clone(), request: Some(request), answer: None };
        let (answer, receipt) = self.carry_out(&input);
        let answer =
            answer.unwrap_or_else(|| Err(Status::new(500, "InternalError", "nothing was carried out")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use twin::apiserver::{Options, Verb};

    fn create(kind: Kind, namespace: &str, body: Value) -> Request {
        let (verb, options) = (Verb::Create, Options::default());
        let (namespace, name) = (namespace.to_owned(), String::new());
        Request { verb, kind, namespace, name, subresource: None, body, options }
    }

    #[tokio::test]
    async fn what_webhooks_said_of_controllers_writes_is_brought_back() {
        let dir = tempfile::tempdir().unwrap();
        let text = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters: [{name: kr, region: ap-northeast-2, nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 1}]}]\n";
        let fleet = fleet::file::parse(text).unwrap();
        let (kr, start) = (ClusterId::new("kr").unwrap(), Instant::parse("2026-05-01T00:00:00Z").unwrap());
        let open = async || {
            let store = Store::open(dir.path()).await.unwrap();
            let host =
                TwinHost::open(store.clone(), "test".to_owned(), || World::new(&fleet, start, 1)).await;
            (store, host.unwrap())
        };
        let (store, host) = open().await;
        let kind =
            Kind::of_object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration").unwrap();
        let hook = json!({"metadata": {"name": "check"}, "webhooks": [{"name": "check.example.com", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
        kubeapi::Twin::write(&*host, &kr, create(kind, "", hook)).await.unwrap();
        let job = json!({"metadata": {"name": "batch"}, "spec": {"parallelism": 2, "completions": 2, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "a:1"}]}}}});
        kubeapi::Twin::write(&*host, &kr, create(Kind::Job, "default", job)).await.unwrap();
        let mut asked = BTreeSet::new();
        let yes = |call: &Call| {
            let response = json!({"uid": call.review["request"]["uid"], "allowed": true});
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
        };
        host.asking().await;
        for seconds in [1, 2] {
            host.advance(start + fleet::Span::from_seconds(seconds));
            for ((cluster, number), call) in host.questions(&mut asked) {
                host.answer(&cluster, number, Ok(yes(&call)));
            }
        }
        assert!(!host.is_asking());
        let pods = |host: &TwinHost| {
            let held = host.lock();
            let all = held.world.objects(&kr).unwrap().list(Kind::Pod, None);
            all.map(|stored| stored.object.to_value()).collect::<Vec<_>>()
        };
        let made = pods(&host);
        assert_eq!(made.len(), 2);
        drop(host);
        store.close().await.unwrap();
        let (store, host) = open().await;
        assert_eq!(pods(&host), made);
        drop(host);
        store.close().await.unwrap();
    }
}
