//! The API servers of a fleet, as far as somebody who watches sees of them: lists in pages, watches that stay open as long
//! as asked, and what a bench makes happen. Objects are made when they are asked for, so that this costs little memory.

use crate::{Size, objects};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http::StatusCode;
use std::convert::Infallible;
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;

/// The version everything is at in the beginning.
const FIRST: u64 = 1000;
/// Kinds in the order of [`Fleet::objects`].
const KINDS: [&str; 4] = ["nodes", "pods", "jobs", "priorityclasses"];

type Make = Box<dyn Fn(usize, u64) -> String + Send + Sync>;

struct Fleet {
    size: Size,
    /// One a kind.
    makers: [Make; 4],
    /// Lines for open watches: cluster, kind, line.
    lines: broadcast::Sender<Line>,
    /// All of them so far: a watch that is opened anew is told what it missed.
    past: Mutex<Vec<Line>>,
    version: AtomicU64,
    arrived: AtomicUsize,
}

/// What happened to an object of a kind of a cluster.
#[derive(Clone)]
struct Line {
    version: u64,
    cluster: usize,
    kind: usize,
    text: Bytes,
}

impl Fleet {
    /// How many objects of a kind a cluster has in the beginning.
    fn count(&self, kind: usize) -> usize {
        let Size { clusters, pods, jobs } = self.size;
        [self.size.nodes_each(), pods / clusters, jobs / clusters, objects::CLASSES][kind]
    }

    fn list(&self, kind: usize, query: &str) -> String {
        let value =
            |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.parse::<usize>().ok());
        let (limit, from) = (value("limit=").unwrap_or(usize::MAX), value("continue=").unwrap_or(0));
        let to = self.count(kind).min(from.saturating_add(limit));
        let items: Vec<String> = (from..to).map(|i| self.makers[kind](i, FIRST)).collect();
        let next = if to < self.count(kind) { format!("\"continue\":\"{to}\",") } else { String::new() };
        let version = self.version.load(Ordering::Relaxed);
        format!(
            r#"{{"kind":"List","apiVersion":"v1","metadata":{{{next}"resourceVersion":"{version}"}},"items":[{}]}}"#,
            items.join(",")
        )
    }

    fn tell(&self, cluster: usize, kind: usize, what: &str, number: usize) {
        let mut past = self.past.lock().unwrap();
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let object = self.makers[kind](number, version);
        let text = Bytes::from(format!("{{\"type\":\"{what}\",\"object\":{object}}}\n"));
        let line = Line { version, cluster, kind, text };
        past.push(line.clone());
        let _nobody = self.lines.send(line);
    }

    /// Makes something happen: `job/CLUSTER`, `node/CLUSTER/NUMBER`, `churn/PER_SECOND`.
    fn change(self: &Arc<Self>, what: &str) {
        let words: Vec<&str> = what.split('/').collect();
        let number = |i: usize| words[i].parse::<usize>().unwrap();
        match words[0] {
            "job" => {
                let new = self.count(2) + self.arrived.fetch_add(1, Ordering::Relaxed);
                self.tell(number(1), 2, "ADDED", new);
            }
            "node" => self.tell(number(1), 0, "DELETED", number(2)),
            "churn" => {
                let (fleet, pause) = (self.clone(), Duration::from_micros(1_000_000 / number(1) as u64));
                tokio::spawn(async move {
                    let mut timer = tokio::time::interval(pause);
                    for i in 0.. {
                        timer.tick().await;
                        let pods = fleet.count(1);
                        fleet.tell(i % fleet.size.clusters, 1, "MODIFIED", i * 31 % pods);
                    }
                });
            }
            other => panic!("{other}: expected job, node or churn"),
        }
    }

    /// A watch: what happens to a kind of a cluster, for as long as asked.
    fn watch(&self, cluster: usize, kind: usize, query: &str) -> Body {
        let seconds = query.split('&').find_map(|pair| pair.strip_prefix("timeoutSeconds=")?.parse().ok());
        let over = Box::pin(tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(60))));
        let since = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")?.parse().ok());
        let (inbox, missed) = {
            let past = self.past.lock().unwrap();
            let later = |line: &&Line| since.is_some_and(|since: u64| line.version > since);
            let mine = |line: &&Line| (line.cluster, line.kind) == (cluster, kind);
            let missed: Vec<Bytes> =
                past.iter().filter(later).filter(mine).map(|line| line.text.clone()).collect();
            (self.lines.subscribe(), missed)
        };
        let lines = stream::unfold(inbox, move |mut inbox| async move {
            loop {
                match inbox.recv().await {
                    Ok(line) if (line.cluster, line.kind) == (cluster, kind) => {
                        return Some((line.text, inbox));
                    }
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        });
        let lines = stream::iter(missed).chain(lines);
        Body::from_stream(lines.take_until(over).map(Ok::<_, Infallible>))
    }
}

async fn answer(State(fleet): State<Arc<Fleet>>, request: Request) -> Response {
    let (path, query) =
        (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    if let Some(what) = path.strip_prefix("/change/") {
        fleet.change(what);
        return "done".into_response();
    }
    let parts = path.strip_prefix("/c/").and_then(|rest| rest.split_once('/'));
    let found = parts.and_then(|(cluster, rest)| {
        let kind = KINDS.iter().position(|kind| rest.ends_with(&format!("/{kind}")))?;
        Some((cluster.parse::<usize>().ok()?, kind))
    });
    let Some((cluster, kind)) = found else { return StatusCode::NOT_FOUND.into_response() };
    if query.contains("watch=true") {
        return Response::new(fleet.watch(cluster, kind, &query));
    }
    fleet.list(kind, &query).into_response()
}

/// Serves until the process is ended; writes its port to standard output.
pub async fn serve(size: Size) {
    let created = server::wall::now().to_rfc3339_seconds();
    let fleet = Arc::new(Fleet {
        size,
        makers: [
            Box::new(objects::node()),
            Box::new(objects::pod(size.nodes_each())),
            Box::new(objects::job(&created)),
            Box::new(objects::class()),
        ],
        lines: broadcast::channel(1 << 16).0,
        past: Mutex::default(),
        version: AtomicU64::new(FIRST),
        arrived: AtomicUsize::new(0),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    println!("{port}");
    std::io::stdout().flush().unwrap();
    axum::serve(listener, Router::new().fallback(answer).with_state(fleet)).await.unwrap();
}
