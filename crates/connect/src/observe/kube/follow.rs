//! Lists one kind of one cluster, then follows its changes, for ever.
//!
//! Invariants: what has been told is known by name and uid, so that whatever vanished while nobody
//! watched is told as gone by the next list; a version is reported after the event that brought it. A
//! failure is reported and tried again after a growing delay; nothing ends this but a closed sink. After a
//! watch that brought more than is read, only one that ends as it was asked to shows that the kind is fine:
//! such a server opens every watch.

use super::kinds::{Key, Place, Watched, WatchedKind};
use super::page;
use super::{Observed, Report, Seen};
use crate::client::TooLarge;
use crate::observe::backoff::{Backoff, DELAY_FIRST};
use crate::observe::pager::Pager;
use futures::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};

/// Longest a list of one page, or the opening of a watch, may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the server is asked to keep a watch open. With [`WATCH_SLACK`] it bounds how long a dead
/// connection goes unnoticed.
pub const WATCH_SECONDS: u32 = 60;
/// How much later than [`WATCH_SECONDS`] after its last word a watch counts as dead.
pub const WATCH_SLACK: Duration = Duration::from_secs(10);
/// A watch that lasted this long shows that attempts lead somewhere.
const STEADY: Duration = Duration::from_secs(5);
/// Objects asked for at a time: some 2 MB of pods. client-go takes 500, but watches one cluster.
const PAGE_SIZE: u32 = 250;
/// Most pages of one list: half a million objects of a kind.
const PAGES_MAX: usize = 2000;
/// Attempts that lead nowhere before a version is given up and the kind listed anew: the server may have
/// been restored to an earlier state and not know the version at all.
const RELIST_AFTER: u32 = 3;
/// A kind of the inventory that is refused or not served is asked for again after this: rights are given by hand, and
/// the API server writes each refusal down.
const DENIED_AGAIN: Duration = Duration::from_secs(300);
/// Most characters of an error that are passed on: servers put in them what they like.
const WORDS_MAX: usize = 500;

/// Where `kubectl apply` writes what it was given.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Why listing or following ended.
enum Stop {
    /// Nobody listens any more.
    Closed,
    /// The version is too old (410): list again.
    Gone,
    /// More was answered than is read, in words.
    TooLarge(String),
    /// Refused for want of rights (403), or not served (404), in words.
    Denied(String),
    /// Anything else, in words.
    Failed(String),
}

/// What is made of an object: what it is told by, and what is told.
struct Told {
    key: Key,
    /// Empty where the kind has no identity beyond its name.
    uid: Box<str>,
    event: Option<control::Event>,
}

fn told<K: Watched>(mut object: K, place: &Place) -> Told {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    // kubectl's copy of the whole object, which nobody here reads.
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
    let key = Key::of(meta);
    let uid = if K::HAS_IDENTITY { meta.uid.clone().unwrap_or_default() } else { String::new() };
    let event = object.event(place, &key);
    Told { key, uid: uid.into(), event }
}

/// One kind of one cluster.
pub(crate) struct Follower<K> {
    client: kube::Client,
    api: Api<K>,
    place: Arc<Place>,
    reports: Sender<Report>,
    /// What has been told and not taken back: uid by name.
    told: BTreeMap<Key, Box<str>>,
    /// What the next watch starts after; `None`: list first.
    version: Option<String>,
    /// A watch brought more than is read, and none has ended well since.
    overflowed: bool,
    backoff: Backoff,
}

impl<K: Watched> Follower<K> {
    pub fn new(api: Api<K>, place: Arc<Place>, reports: Sender<Report>) -> Follower<K> {
        let backoff = Backoff::new(&format!("{}/{}", place.cluster, K::KIND));
        let client = api.clone().into_client();
        Follower {
            client,
            api,
            place,
            reports,
            told: BTreeMap::new(),
            version: None,
            overflowed: false,
            backoff,
        }
    }

    /// Runs until the sink is closed.
    pub async fn run(mut self) {
        loop {
            let ended = match self.version.clone() {
                None => self.list().await,
                Some(version) => {
                    let ended = self.follow(version).await;
                    self.overflowed = match ended {
                        Ok(()) => false,
                        Err(Stop::TooLarge(_)) => true,
                        Err(_) => self.overflowed,
                    };
                    ended
                }
            };
            match ended {
                Ok(()) => continue,
                Err(Stop::Closed) => return,
                Err(Stop::Gone) => self.version = None,
                Err(Stop::Denied(why)) if matches!(K::KIND, WatchedKind::Inventory(_)) => {
                    self.version = None;
                    if self.report(Report::Denied(K::KIND, why)).await.is_err() {
                        return;
                    }
                    sleep(DENIED_AGAIN).await;
                    continue;
                }
                Err(Stop::Failed(why) | Stop::TooLarge(why) | Stop::Denied(why)) => {
                    if self.report(Report::Failing(K::KIND, why)).await.is_err() {
                        return;
                    }
                    if self.backoff.attempts() >= RELIST_AFTER {
                        self.version = None;
                    }
                }
            }
            sleep(self.backoff.delay()).await;
        }
    }

    async fn report(&self, report: Report) -> Result<(), Stop> {
        self.reports.send(report).await.map_err(|_| Stop::Closed)
    }

    /// The server answers; what that is worth after a watch that brought too much, see the module's top.
    async fn fine(&self) -> Result<(), Stop> {
        if self.overflowed { Ok(()) } else { self.report(Report::Fine(K::KIND)).await }
    }

    /// Reports an event and the version it brought the kind to.
    async fn tell(&self, event: Option<control::Event>, version: Option<&str>) -> Result<(), Stop> {
        let seen = version.and_then(|v| v.parse().ok()).map(|version| Seen {
            cluster: self.place.cluster.clone(),
            kind: K::KIND,
            version,
        });
        if event.is_none() && seen.is_none() {
            return Ok(());
        }
        self.report(Report::Observed(Box::new(Observed { event, seen }))).await
    }

    /// Tells what an object is like now.
    async fn tell_object(&mut self, told: Told, version: Option<&str>) -> Result<Key, Stop> {
        let Told { key, uid, event } = told;
        let before = self.told.insert(key.clone(), uid.clone());
        if let Some(before) = before.filter(|before| K::HAS_IDENTITY && *before != uid) {
            self.tell(K::gone(&self.place, &key, &before), None).await?;
        }
        self.tell(event, version).await?;
        Ok(key)
    }

    async fn list(&mut self) -> Result<(), Stop> {
        let mut present = BTreeSet::new();
        let mut pager = Pager::new(PAGE_SIZE, PAGES_MAX, None);
        while let Some(params) = pager.ask() {
            let (page, turn) = self.page(params).await?;
            for told in page.items {
                present.insert(self.tell_object(told, None).await?);
            }
            drop(turn);
            if pager.goes_on(page.next.as_deref()) {
                continue;
            }
            let Some(version) = page.version else {
                return Err(Stop::Failed("list: no resourceVersion in the answer".to_owned()));
            };
            return self.listed(&present, version).await;
        }
        Err(Stop::Failed(format!("list: more than {PAGES_MAX} pages")))
    }

    /// One page, taken in when it is its turn, which lasts until what is in it has been told.
    async fn page(&self, params: &ListParams) -> Result<(page::Page<Told>, page::Turn), Stop> {
        let url = self.api.resource_url();
        let answer = in_time("list", page::ask(&self.client, url, params)).await?;
        let turn = page::turn().await;
        let body = in_time("list", answer.into_body().collect_bytes()).await?;
        let page = page::read(&body, &mut |object: K| told(object, &self.place));
        Ok((page.map_err(|error| stop("list", error))?, turn))
    }

    /// Tells what a complete list no longer holds, and that it is complete.
    async fn listed(&mut self, present: &BTreeSet<Key>, version: String) -> Result<(), Stop> {
        let gone: Vec<Key> = self.told.keys().filter(|key| !present.contains(*key)).cloned().collect();
        for key in gone {
            let uid = self.told.remove(&key).unwrap_or_default();
            self.tell(K::gone(&self.place, &key, &uid), None).await?;
        }
        self.tell(None, Some(&version)).await?;
        self.version = Some(version);
        self.fine().await?;
        self.report(Report::Listed(K::KIND)).await
    }

    async fn follow(&mut self, version: String) -> Result<(), Stop> {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let opened = Instant::now();
        let mut stream = pin!(in_time("watch", self.api.watch(&params, &version)).await?);
        self.fine().await?;
        let silence = Duration::from_secs(u64::from(WATCH_SECONDS)) + WATCH_SLACK;
        let mut heard = false;
        loop {
            let next = timeout(silence, stream.next()).await;
            if (heard || opened.elapsed() >= STEADY) && !self.overflowed {
                self.backoff.reset();
            }
            let event = match next {
                Err(_) => return Err(Stop::Failed(format!("watch: silent for {} s", silence.as_secs()))),
                Ok(Some(event)) => event.map_err(|error| stop("watch", error))?,
                // The server ended the watch, as it was asked to; one that does so at once is a failure.
                Ok(None) if opened.elapsed() >= STEADY => return Ok(()),
                Ok(None) if heard => {
                    sleep(DELAY_FIRST).await;
                    return Ok(());
                }
                Ok(None) => return Err(Stop::Failed("watch: ended as soon as it was opened".to_owned())),
            };
            self.take_in(event).await?;
            heard = true;
        }
    }

    async fn take_in(&mut self, event: WatchEvent<K>) -> Result<(), Stop> {
        let version = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.meta().resource_version.clone();
                self.tell_object(told(object, &self.place), version.as_deref()).await?;
                version
            }
            WatchEvent::Deleted(object) => {
                let meta = object.meta();
                let key = Key::of(meta);
                let told = self.told.remove(&key);
                let uid = meta.uid.clone().map(Into::into).or(told).unwrap_or_default();
                let version = meta.resource_version.clone();
                self.tell(K::gone(&self.place, &key, &uid), version.as_deref()).await?;
                version
            }
            WatchEvent::Bookmark(bookmark) => {
                let version = bookmark.metadata.resource_version;
                self.tell(None, Some(&version)).await?;
                Some(version)
            }
            WatchEvent::Error(status) => return Err(stop("watch", kube::Error::Api(status))),
        };
        if let Some(version) = version.filter(|v| !v.is_empty()) {
            self.version = Some(version);
        }
        Ok(())
    }
}

fn stop(what: &str, error: kube::Error) -> Stop {
    let words = |why: String| format!("{what}: {why}").chars().take(WORDS_MAX).collect();
    match error {
        kube::Error::Api(status) if status.code == 410 => Stop::Gone,
        kube::Error::Api(status) => {
            let denied = matches!(status.code, 403 | 404);
            let why = words(format!("{} {}: {}", status.code, status.reason, status.message));
            if denied { Stop::Denied(why) } else { Stop::Failed(why) }
        }
        error if TooLarge::is_behind(&error) => Stop::TooLarge(words(error.to_string())),
        error => Stop::Failed(words(error.to_string())),
    }
}

async fn in_time<T>(what: &str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Stop> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| stop(what, error)),
        Err(_) => Err(Stop::Failed(format!("{what}: no answer within {} s", REQUEST_TIMEOUT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Bounded, LINE_BYTES_MAX};
    use axum::body::Body;
    use futures::stream;
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Node;
    use std::convert::Infallible;
    use std::sync::Mutex;
    use tokio::sync::mpsc;

    /// Reports on the nodes of a cluster that has none and answers its watches with these chunks in turn.
    fn follower(mut watches: Vec<Vec<Vec<u8>>>) -> mpsc::Receiver<Report> {
        watches.reverse();
        let watches = Mutex::new(watches);
        let answer = move |request: Request<kube::client::Body>| {
            let chunks = if request.uri().query().unwrap_or_default().contains("watch=true") {
                watches.lock().unwrap().pop().unwrap_or_default()
            } else {
                vec![br#"{"metadata": {"resourceVersion": "1"}, "items": []}"#.to_vec()]
            };
            let body = Body::from_stream(stream::iter(chunks).map(Ok::<_, Infallible>));
            async { Ok::<_, Infallible>(Response::new(body)) }
        };
        let client = kube::Client::new(Bounded(tower::service_fn(answer)), "default");
        let place = Place::of(fleet::ClusterId::new("kr").unwrap());
        let (reports, inbox) = mpsc::channel(4);
        tokio::spawn(Follower::<Node>::new(Api::all(client), Arc::new(place), reports).run());
        inbox
    }

    fn short(report: Report) -> String {
        match report {
            Report::Observed(observed) => format!("seen {}", observed.seen.map_or(0, |seen| seen.version)),
            Report::Listed(_) => "listed".to_owned(),
            Report::Fine(_) => "fine".to_owned(),
            Report::Failing(_, why) | Report::Denied(_, why) => {
                why.split(": expected").next().unwrap_or_default().to_owned()
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_too_much_fails_until_one_ends_well() {
        let too_much = vec![b'x'; LINE_BYTES_MAX as usize + 1];
        let bookmark = b"{\"type\": \"BOOKMARK\", \"object\": {\"kind\": \"Node\", \"apiVersion\": \"v1\", \"metadata\": {\"resourceVersion\": \"2\"}}}\n".to_vec();
        let watches = vec![
            vec![too_much.clone()],
            vec![bookmark.clone(), too_much.clone()],
            vec![too_much.clone()],
            vec![too_much],
            vec![bookmark],
        ];
        let mut inbox = follower(watches);
        let failing = "watch: Error reading events stream: ServiceError: GET /api/v1/nodes: a line of a watch of more than 8388608 bytes";
        // A list anew, after [`RELIST_AFTER`], does not make it fine either.
        let (before, after) = (["seen 1", "fine", "listed", "fine"], ["seen 1", "listed", "seen 2", "fine"]);
        let expected = before.into_iter().chain([failing, "seen 2", failing, failing, failing]).chain(after);
        for (i, line) in expected.enumerate() {
            assert_eq!(short(inbox.recv().await.unwrap()), line, "report {i}");
        }
    }
}
