//! Holds the Leases of the fleet's clusters, so that of several processes one acts at a time.
//!
//! Invariants: `control::lease` decides; here its clocks are read and its reads and writes are made. A call is fenced:
//! it is not begun without the cluster's Lease, and cut off when the right to write ends, so that a process that hangs
//! or sleeps has stopped before another may start. What the loop is told comes after, and only saves it trying.

use crate::engine::Engine;
use crate::wall::{self, Stopwatch};
use connect::Clients;
use connect::act::kube::Fence;
use connect::act::lease::{self, Error};
use control::Event;
use control::lease::{Elector, Leader, Now, RETRY};
use fleet::{ClusterId, Instant, Span};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How long calls under way are waited for before a Lease is given up at a clean end; then it expires by itself.
const CALLS_END_WITHIN: Duration = Duration::from_secs(10);

/// The clocks Leases go by: one that runs, and the same ahead by what the wall's ran ahead of it (the machine slept, or
/// the clock was set).
struct Clocks {
    since: Stopwatch,
    last: Mutex<(Span, Instant, Span)>,
}

impl Clocks {
    fn start() -> Clocks {
        let since = Stopwatch::start();
        Clocks { since, last: Mutex::new((Span::ZERO, wall::now(), Span::ZERO)) }
    }

    fn now(&self) -> Now {
        let mut last = self.last.lock().expect("nothing panics while it is held");
        let (ran, wall) = (self.since.elapsed(), wall::now());
        let ahead = (wall - last.1) - (ran - last.0);
        *last = (ran, wall, last.2 + ahead.max(Span::ZERO));
        let slow = Instant::EPOCH + ran;
        Now { slow, fast: slow + last.2 }
    }
}

/// What the parts of the process share of it; cheap to clone.
#[derive(Clone)]
pub struct Leading {
    us: String,
    namespace: String,
    clocks: Arc<Clocks>,
    elector: Arc<Mutex<Elector>>,
    clients: Clients,
}

impl Leading {
    /// One called `us`, with Leases in this namespace.
    pub fn new(us: String, namespace: String, clients: Clients) -> Leading {
        let elector = Arc::new(Mutex::new(Elector::new(us.clone())));
        Leading { us, namespace, clocks: Arc::new(Clocks::start()), elector, clients }
    }

    fn lock(&self) -> MutexGuard<'_, Elector> {
        self.elector.lock().expect("nothing panics while it is held")
    }

    /// Takes part for a cluster that has answered.
    pub fn join(&self, cluster: &ClusterId, uid: &str) {
        self.lock().join(cluster.clone(), uid.to_owned());
    }

    /// For how much longer each cluster may be written to.
    pub fn fence(&self) -> Fence {
        let leading = self.clone();
        Arc::new(move |cluster: &ClusterId| {
            let now = leading.clocks.now();
            let elector = leading.lock();
            let left = elector.holds_until(cluster).map(|until| (until - now.fast).as_nanos());
            let left = left.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0);
            left.map(Duration::from_nanos).ok_or_else(|| elector.refusal(cluster, now))
        })
    }

    /// Holds what it can and tells the loop, for ever.
    pub async fn run(self, engine: Engine) {
        let (mut told, mut read) = (BTreeMap::new(), BTreeSet::new());
        loop {
            read = self.round(&read).await;
            let now = self.clocks.now();
            let leaders: Vec<(ClusterId, Leader)> = {
                let elector = self.lock();
                elector.clusters().into_iter().map(|id| (id.clone(), elector.leader(&id, now))).collect()
            };
            for (cluster, leader) in leaders {
                if told.get(&cluster) == Some(&leader) {
                    continue;
                }
                tracing::info!(%cluster, ?leader, "who leads");
                told.insert(cluster.clone(), leader.clone());
                if engine.tell(Event::Leading { cluster, leader }).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_secs(RETRY.as_seconds().unsigned_abs())).await;
        }
    }

    /// Reads what is not held, or has to be read anew; then writes, the first cluster's Lease before the others. Gives
    /// the clusters whose Lease is to be read before it is written again: somebody else was first, or nothing was
    /// answered, which may pass before what is held ends.
    async fn round(&self, anew: &BTreeSet<ClusterId>) -> BTreeSet<ClusterId> {
        let now = self.clocks.now();
        let all = self.lock().clusters();
        let unsure = |id: &&ClusterId| anew.contains(*id) || self.lock().leader(id, now) != Leader::Us;
        let unread: Vec<&ClusterId> = all.iter().filter(unsure).collect();
        let unanswered = join_all(unread.into_iter().map(|id| self.read(id))).await;
        let mut again: BTreeSet<ClusterId> = unanswered.into_iter().flatten().collect();
        if let Some((first, others)) = all.split_first() {
            let begun = self.write(first).await;
            let others = join_all(others.iter().map(|id| self.write(id))).await;
            again.extend(begun.into_iter().chain(others.into_iter().flatten()));
        }
        again
    }

    /// Reads a Lease; gives the cluster when that failed.
    async fn read(&self, cluster: &ClusterId) -> Option<ClusterId> {
        let client = self.clients.get(cluster)?;
        match lease::read(&client, &self.namespace).await {
            Ok(seen) => {
                self.lock().saw(cluster, seen, self.clocks.now());
                return None;
            }
            Err(Error::Conflict) => {}
            Err(error) => self.lock().failed(cluster, error.to_string()),
        }
        Some(cluster.clone())
    }

    /// Writes what is wanted; gives the cluster when that failed.
    async fn write(&self, cluster: &ClusterId) -> Option<ClusterId> {
        let client = self.clients.get(cluster)?;
        let sent = self.clocks.now();
        let wanted = self.lock().wants(cluster, sent)?;
        match lease::write(&client, &self.namespace, &wanted, &self.us, wall::now()).await {
            Ok(seen) => {
                self.lock().wrote(cluster, seen, sent);
                return None;
            }
            Err(Error::Conflict) => {}
            Err(error) => self.lock().failed(cluster, error.to_string()),
        }
        Some(cluster.clone())
    }

    /// At a clean end: begins no call any more, lets those under way end, and gives the Leases up, so that another
    /// process need not wait for them to expire.
    pub async fn resign(&self, engine: &Engine) {
        self.lock().resign();
        let clusters = self.lock().clusters();
        for cluster in clusters.clone() {
            let leader = Leader::Nobody("this process is ending".to_owned());
            if engine.tell(Event::Leading { cluster, leader }).await.is_err() {
                return;
            }
        }
        let mut progress = engine.progress();
        let quiet = progress.wait_for(|p| p.under_way == 0);
        let ended = tokio::time::timeout(CALLS_END_WITHIN, quiet).await.is_ok_and(|seen| seen.is_ok());
        if ended {
            self.round(&clusters.into_iter().collect()).await;
        }
    }
}

/// What no other process is called: the machine's name, and a word that is kept with the state. A state is open in one
/// process at a time, so that one which starts anew goes on at once where it stopped.
pub fn identity(kept: Option<String>) -> String {
    let host =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let word = kept.unwrap_or_else(|| {
        // Two states made in the same nanosecond by processes of one number on machines of one name: never.
        let at = wall::now();
        let nanos = (at - Instant::EPOCH).as_nanos().unsigned_abs();
        format!("{:x}-{:x}", nanos, std::process::id())
    });
    format!("{}/{word}", host.as_deref().unwrap_or("kubercarbon"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name_on_a_machine() {
        assert_eq!(identity(Some("7-1".to_owned())), identity(Some("7-1".to_owned())));
        assert!(identity(Some("7-1".to_owned())).ends_with("/7-1"));
        assert_ne!(identity(None), identity(Some("7-1".to_owned())));
    }

    #[test]
    fn the_clock_that_ends_ones_own_lease_never_falls_behind() {
        let clocks = Clocks::start();
        let first = clocks.now();
        assert!(first.fast >= first.slow);
        // The wall's clock was an hour back when it was last looked at: as if it had jumped since.
        clocks.last.lock().unwrap().1 = wall::now() - Span::HOUR;
        let then = clocks.now();
        assert!(then.fast - then.slow >= Span::HOUR - Span::from_seconds(1));
        assert!(then.slow - first.slow < Span::MINUTE);
    }
}
