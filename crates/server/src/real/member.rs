//! One real cluster of the fleet: asked who it is until it answers, then watched for ever.
//!
//! Invariant: it is told to the loop before anything else about it, and as silent until it has answered.

use super::First;
use super::lead::Leading;
use crate::engine::Engine;
use crate::signals::Places;
use crate::wall;
use anyhow::Context as _;
use connect::contexts::Context;
use connect::observe::about::{self, About};
use connect::observe::kube::Source;
use connect::observe::round_trip::{self, RoundTrips};
use connect::observe::usage::{Pace, Poller, Prometheus};
use connect::{Clients, client, client_that_reads};
use control::whereabouts::{self, Stated, UNKNOWN, Whereabouts};
use control::{ClusterFacts, Event};
use fleet::{ClusterId, GridZone, Instances, Mode, RegionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Store, Write};
use tokio::task::JoinHandle;

/// How long after a failed attempt a cluster is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Longest a client may take to be made: a program that gives a token may have to ask somebody for it.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(15);

/// What the clusters of a fleet share.
pub struct Shared {
    engine: Engine,
    store: Store,
    clients: Clients,
    places: Places,
    mode: Mode,
    instances: Arc<Instances>,
    leading: Option<Leading>,
    /// Names by uid of the clusters that have answered.
    names: Mutex<BTreeMap<String, ClusterId>>,
}

impl Shared {
    /// Of these parts.
    pub fn new(
        engine: Engine,
        store: Store,
        clients: Clients,
        places: Places,
        mode: Mode,
        instances: Arc<Instances>,
        leading: Option<Leading>,
    ) -> Shared {
        Shared { engine, store, clients, places, mode, leading, instances, names: Mutex::default() }
    }
}

/// A cluster and what a person states about it.
pub struct Member {
    pub context: Context,
    pub stated: Stated,
    /// Where it is asked what is used, before the cluster itself.
    pub prometheus: Option<Prometheus>,
    pub shared: Arc<Shared>,
}

/// What is kept of a cluster that has answered, for a start at which it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    uid: Option<String>,
    regions: BTreeMap<String, usize>,
}

/// What a cluster said, and the connection it said it over; or why it is silent.
pub type Asked = Result<(kube::Client, About), String>;

/// A cluster that has answered.
struct Joined {
    source: Source,
    assumed: Option<String>,
}

impl Member {
    /// Tells the loop about the cluster as it was asked first, and goes on by itself from there.
    pub async fn start(self, asked: Asked) -> anyhow::Result<(First, JoinHandle<()>)> {
        let kept = self.kept().await?;
        let regions = kept.as_ref().map(|kept| kept.regions.clone()).unwrap_or_default();
        let place = whereabouts::find(&self.context.name, &self.stated, &regions);
        let facts = self.facts(&place, kept.as_ref().and_then(|kept| kept.uid.clone()));
        self.tell_facts(&facts).await?;
        let joined = self.join(asked).await;
        let shown = joined.as_ref().map_or(&facts, |joined| &joined.source.facts);
        let first = First {
            id: self.context.id.clone(),
            place: place_text(&shown.region, &shown.grid_zone),
            silent: joined.as_ref().err().cloned(),
            assumed: joined.as_ref().ok().and_then(|joined| joined.assumed.clone()),
        };
        match &joined {
            Ok(joined) => self.tell_facts(&joined.source.facts).await?,
            Err(why) => self.tell_silent(why.clone()).await?,
        }
        Ok((first, tokio::spawn(self.run(joined))))
    }

    /// Asks until it answers, then watches it, for ever.
    async fn run(mut self, mut joined: Result<Joined, String>) {
        loop {
            match joined {
                Ok(joined) => {
                    if let Some(assumed) = joined.assumed {
                        tracing::warn!(cluster = %self.context.id, "{assumed}");
                    }
                    if self.tell_facts(&joined.source.facts).await.is_ok() {
                        let usage = self.usage(joined.source.client.clone());
                        let round_trips = self.round_trips(joined.source.client.clone());
                        let watched = self.shared.engine.clone().follow(joined.source);
                        tokio::join!(watched, usage, round_trips);
                    }
                    return;
                }
                Err(why) => {
                    tracing::info!(cluster = %self.context.id, "{why}");
                    if self.tell_silent(why).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
            joined = self.join(self.ask().await).await;
        }
    }

    /// Tells the loop what is used, as long as it lives.
    fn usage(&mut self, client: kube::Client) -> impl Future<Output = ()> + use<> {
        let (id, engine) = (self.context.id.clone(), self.shared.engine.clone());
        let now = Arc::new(wall::now);
        let mut poller = Poller::new(id.as_str(), client, self.prometheus.take(), now, Pace::default());
        Box::pin(async move {
            loop {
                let report = poller.next().await;
                if let Err(why) = &report {
                    tracing::info!(cluster = %id, "nobody says what is used: {why}");
                }
                if engine.tell(Event::Usage { cluster: id.clone(), report }).await.is_err() {
                    return;
                }
            }
        })
    }

    /// Tells the loop how long the API server takes to answer, as long as it lives.
    fn round_trips(&self, client: kube::Client) -> impl Future<Output = ()> + use<> {
        let (id, engine) = (self.context.id.clone(), self.shared.engine.clone());
        let mut round_trips = RoundTrips::new(id.as_str(), client, round_trip::INTERVAL);
        Box::pin(async move {
            loop {
                let trip = round_trips.next().await;
                if engine.tell(Event::RoundTrip { cluster: id.clone(), trip }).await.is_err() {
                    return;
                }
            }
        })
    }

    /// Connects and asks who and where it is. The error is in words.
    pub async fn ask(&self) -> Asked {
        let config = self.context.config().await?;
        let reads = self.shared.mode == Mode::Observe;
        // It may run a program, and wait for it.
        let made =
            tokio::task::spawn_blocking(
                move || {
                    if reads { client_that_reads(config) } else { client(config) }
                },
            );
        let made = tokio::time::timeout(CLIENT_TIMEOUT, made).await;
        let made = made.map_err(|_| format!("no credentials within {} s", CLIENT_TIMEOUT.as_secs()))?;
        let client = made.map_err(|e| e.to_string())?.map_err(|e| about::words(&e))?;
        let about = about::ask(&client).await?;
        Ok((client, about))
    }

    /// Takes it in, when it is sure which one it is. The error is in words.
    async fn join(&self, asked: Asked) -> Result<Joined, String> {
        let (client, about) = asked?;
        let uid = self.identify(&about).await?;
        let place = whereabouts::find(&self.context.name, &self.stated, &about.regions);
        let facts = self.facts(&place, uid.clone());
        self.shared.clients.put(self.context.id.clone(), client.clone());
        if let (Some(leading), Some(uid)) = (&self.shared.leading, &uid) {
            leading.join(&self.context.id, uid);
        }
        let instances = self.shared.instances.clone();
        let source = Source { facts, client, known: None, instances, inventory: true };
        Ok(Joined { source, assumed: place.assumed })
    }

    /// The cluster's uid, once it is sure that its name is its own.
    async fn identify(&self, about: &About) -> Result<Option<String>, String> {
        let id = &self.context.id;
        let uid = match &about.uid {
            Ok(uid) => uid.clone(),
            Err(_) if self.shared.mode == Mode::Observe => return Ok(None),
            Err(why) => {
                return Err(format!(
                    "{why}: to act on a cluster it must be known which one it is: kubercarbon rbac --mode {} prints the rights that are needed",
                    self.shared.mode.as_str()
                ));
            }
        };
        let kept = self.kept().await.map_err(|e| format!("{e:#}"))?;
        let before = kept.as_ref().and_then(|kept| kept.uid.as_ref());
        if let Some(before) = before.filter(|before| **before != uid) {
            return Err(format!(
                "this is another cluster than the one called {id} before (namespace kube-system has uid {uid}, not {before}): expected the same, another name for it (--context NAME={}), or --fresh where the old one is gone for good",
                self.context.name
            ));
        }
        {
            let mut names = self.shared.names.lock().map_err(|e| e.to_string())?;
            let first = names.entry(uid.clone()).or_insert_with(|| id.clone());
            if first != id {
                return Err(format!(
                    "this is the cluster that is called {first} already: expected each cluster once"
                ));
            }
        }
        let now = Kept { uid: Some(uid.clone()), regions: about.regions.clone() };
        if kept.as_ref() != Some(&now) {
            let value = serde_json::to_string(&now).map_err(|e| e.to_string())?;
            let write = Write::Setting { key: self.key(), value };
            self.shared
                .store
                .append(write)
                .await
                .map_err(|e| format!("write down which cluster it is: {e}"))?;
        }
        Ok(Some(uid))
    }

    fn key(&self) -> String {
        format!("cluster/{}", self.context.id)
    }

    async fn kept(&self) -> anyhow::Result<Option<Kept>> {
        let text = self.shared.store.setting(&self.key()).await.context("read what is known of a cluster")?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn facts(&self, place: &Whereabouts, uid: Option<String>) -> ClusterFacts {
        let id = self.context.id.clone();
        let mut labels = self.stated.labels.clone();
        labels.insert("name".to_owned(), id.to_string());
        labels.insert("region".to_owned(), place.region.to_string());
        labels.insert("zone".to_owned(), place.grid_zone.to_string());
        ClusterFacts {
            id,
            region: place.region.clone(),
            grid_zone: place.grid_zone.clone(),
            pue_milli: place.pue_milli,
            labels,
            mode: self.shared.mode,
            context: self.context.name.clone(),
            uid,
        }
    }

    /// Tells the loop what is known, then asks for its zone's carbon.
    async fn tell_facts(&self, facts: &ClusterFacts) -> anyhow::Result<()> {
        self.shared.engine.tell(Event::Cluster(facts.clone())).await?;
        self.shared.places.add(&facts.region, &facts.grid_zone);
        Ok(())
    }

    async fn tell_silent(&self, why: String) -> anyhow::Result<()> {
        let cluster = self.context.id.clone();
        self.shared.engine.tell(Event::Reachable { cluster, reachable: Err(why) }).await
    }
}

/// `ap-northeast-2 (grid zone KR)`.
fn place_text(region: &RegionId, zone: &GridZone) -> String {
    match (region.as_str(), zone.as_str()) {
        (UNKNOWN, UNKNOWN) => "grid zone unknown".to_owned(),
        (UNKNOWN, zone) => format!("grid zone {zone}"),
        (region, UNKNOWN) => format!("{region} (grid zone unknown)"),
        (region, zone) => format!("{region} (grid zone {zone})"),
    }
}
