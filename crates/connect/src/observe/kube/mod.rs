//! One cluster as its API tells it: Nodes, Pods, Jobs and PriorityClasses, listed and then watched; and where it is
//! asked for, the kinds of the inventory.
//!
//! The loop is our own and not `kube_runtime::watcher`, because whoever drives a twin must know which
//! resourceVersion each list and event brought us to: virtual time may go on only when `control` has
//! handled everything up to the version the twin stands at, and the watcher keeps versions to itself.
//!
//! Invariants: the events of one kind come in the order of its stream, gone objects included; nothing is
//! written; an answer of the API is taken in pages, each under a timeout and, with a client of
//! [`crate::client()`], within a bound. A kind of the inventory that is refused or not served is unknown, and the cluster
//! is reachable all the same.

mod follow;
mod health;
mod inventory;
mod kinds;
mod page;

pub use super::backoff::{DELAY_FIRST, DELAY_MAX};
pub use follow::{REQUEST_TIMEOUT, WATCH_SECONDS, WATCH_SLACK};
pub use health::UNREACHABLE_AFTER;
pub use kinds::WatchedKind;

use control::inventory::{InventoryKind, Told};
use control::{ClusterFacts, Event};
use fleet::{ClusterId, Instances, NodeRates};
use follow::Follower;
use futures::FutureExt;
use health::Health;
use inventory::Item;
use kinds::Place;
use kube::Api;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep_until};

/// Reports that may wait between the streams and the sink; a full sink holds the streams back.
const REPORTS_MAX: usize = 64;

/// Power, price and embodied emissions that are stated of a node, by its name.
pub type KnownRates = Arc<dyn Fn(&str) -> Option<NodeRates> + Send + Sync>;

/// A cluster to watch.
pub struct Source {
    /// What is configured about it; told before everything else.
    pub facts: ClusterFacts,
    /// A connection to its API, of [`crate::client()`].
    pub client: kube::Client,
    /// Power, price and embodied emissions of nodes by name, where the fleet file states them, of nodes to come as well;
    /// other nodes' are looked up in the built-in tables by instance type.
    pub known: Option<KnownRates>,
    /// What a person states of instance types: that comes before the tables.
    pub instances: Arc<Instances>,
    /// Whether the kinds of the inventory are watched as well.
    pub inventory: bool,
}

/// Something seen: take in the event first, then the version.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What happened; `None`: only the version went on.
    pub event: Option<Event>,
    /// How far one kind of the cluster has been seen with this; `None`: no further than before (the items
    /// of a list, what concerns the whole cluster, or a version that is not a number).
    pub seen: Option<Seen>,
}

/// How far a kind has been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub cluster: ClusterId,
    /// Of which kind.
    pub kind: WatchedKind,
    /// Everything of this kind up to this resourceVersion has been told.
    pub version: u64,
}

/// What the streams of the four kinds tell the one place that talks to the sink.
enum Report {
    Observed(Box<Observed>),
    Listed(WatchedKind),
    Fine(WatchedKind),
    Failing(WatchedKind, String),
    /// Refused or not served: asked for again after a while.
    Denied(WatchedKind, String),
}

/// Watches a cluster until the sink is closed or the future dropped; it never gives up by itself.
///
/// The first event is [`Event::Cluster`]. [`Event::Synced`] comes once, when the first lists of all four
/// kinds are in. [`Event::Reachable`] with `Err` comes when a kind has failed for
/// [`UNREACHABLE_AFTER`], with `Ok` at the first answer and, later, when no kind fails any more. Failed requests
/// are tried again after delays that grow from [`DELAY_FIRST`] to [`DELAY_MAX`].
pub async fn watch(cluster: Source, sink: Sender<Observed>) {
    let Source { facts, client, known, instances, inventory } = cluster;
    let place = Arc::new(Place { cluster: facts.id.clone(), known, instances });
    let first = Observed { event: Some(Event::Cluster(facts)), seen: None };
    if sink.send(first).await.is_err() {
        return;
    }
    let (reports, inbox) = mpsc::channel(REPORTS_MAX);
    macro_rules! follow {
        ($kind:ty) => {
            // On the heap: a dozen of them side by side are more than a thread's stack should hold.
            Follower::<$kind>::new(Api::all(client.clone()), place.clone(), reports.clone()).run().boxed()
        };
    }
    let streams = async {
        tokio::join!(
            follow!(k8s_openapi::api::core::v1::Node),
            follow!(k8s_openapi::api::core::v1::Pod),
            follow!(k8s_openapi::api::batch::v1::Job),
            follow!(k8s_openapi::api::scheduling::v1::PriorityClass),
        )
    };
    macro_rules! inventory {
        ($($kind:ident),+) => {
            tokio::join!($(follow!(Item<inventory::$kind>)),+)
        };
    }
    let more = async {
        if inventory {
            let _ended = inventory!(
                Deployment,
                StatefulSet,
                DaemonSet,
                CronJob,
                PodDisruptionBudget,
                PersistentVolumeClaim,
                PersistentVolume,
                HorizontalPodAutoscaler
            );
        }
    };
    // Streams of a quiet cluster would not notice that the sink is closed.
    tokio::select! {
        () = relay(&place.cluster, inbox, &sink) => {}
        _ = async { tokio::join!(streams, more) } => {}
        () = sink.closed() => {}
    }
}

/// Passes on what the streams report and adds what follows for the cluster as a whole; returns when
/// nobody listens.
async fn relay(cluster: &ClusterId, mut inbox: Receiver<Report>, sink: &Sender<Observed>) {
    let mut health = Health::default();
    let mut listed = BTreeSet::new();
    loop {
        let due = health.due();
        let report = tokio::select! {
            report = inbox.recv() => report,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let why = health.unreachable();
                tracing::warn!(%cluster, "cluster counts as unreachable: {why}");
                if tell(sink, Event::Reachable { cluster: cluster.clone(), reachable: Err(why) }).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let told = match report {
            None => return,
            Some(Report::Observed(observed)) => sink.send(*observed).await.map_err(|_| Closed),
            Some(report) if let Some(kind) = report.inventory() => {
                inventory_report(cluster, kind, report, &mut listed, sink).await
            }
            Some(Report::Failing(kind, why) | Report::Denied(kind, why)) => {
                tracing::info!(%cluster, %kind, "{why}");
                health.failed(kind, Instant::now(), why);
                Ok(())
            }
            Some(Report::Fine(kind)) => answers(cluster, kind, &mut health, sink).await,
            Some(Report::Listed(kind)) if health.listed(kind) => {
                tell(sink, Event::Synced { cluster: cluster.clone() }).await
            }
            Some(Report::Listed(_)) => Ok(()),
        };
        if told.is_err() {
            return;
        }
    }
}

impl Report {
    /// Of which kind of the inventory it is.
    fn inventory(&self) -> Option<InventoryKind> {
        let kind = match self {
            Report::Listed(kind) | Report::Fine(kind) => kind,
            Report::Failing(kind, _) | Report::Denied(kind, _) => kind,
            Report::Observed(_) => return None,
        };
        if let WatchedKind::Inventory(kind) = kind { Some(*kind) } else { None }
    }
}

/// What the stream of a kind of the inventory says of itself. What was listed once stands, as old as it is, while the
/// stream fails; refused, it does not.
async fn inventory_report(
    cluster: &ClusterId,
    kind: InventoryKind,
    report: Report,
    listed: &mut BTreeSet<InventoryKind>,
    sink: &Sender<Observed>,
) -> Result<(), Closed> {
    let seen = match report {
        Report::Listed(_) if listed.insert(kind) => Ok(()),
        Report::Denied(_, why) => {
            listed.remove(&kind);
            Err(why)
        }
        Report::Failing(_, why) if !listed.contains(&kind) => Err(why),
        _ => return Ok(()),
    };
    if let Err(why) = &seen {
        tracing::debug!(%cluster, kind = kind.as_str(), "{why}");
    }
    tell(sink, Event::Inventory { cluster: cluster.clone(), kind, told: Told::Seen(seen) }).await
}

/// Nobody listens.
struct Closed;

async fn tell(sink: &Sender<Observed>, event: Event) -> Result<(), Closed> {
    sink.send(Observed { event: Some(event), seen: None }).await.map_err(|_| Closed)
}

/// A kind's stream answers; says so when that makes the cluster reachable.
async fn answers(
    cluster: &ClusterId,
    kind: WatchedKind,
    health: &mut Health,
    sink: &Sender<Observed>,
) -> Result<(), Closed> {
    if !health.fine(kind) {
        return Ok(());
    }
    tracing::info!(%cluster, "cluster answers");
    tell(sink, Event::Reachable { cluster: cluster.clone(), reachable: Ok(()) }).await
}
