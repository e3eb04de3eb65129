//! Servers that answer without end: what is read of them is bounded, and the clusters beside them go on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use connect::act::kube::Hands;
use connect::client::{ANSWER_BYTES_MAX, LINE_BYTES_MAX};
use connect::observe::kube::{Observed, Source, watch};
use control::{ApiCall, ClusterFacts, Event, Failure};
use fleet::{ClusterId, GridZone, Mode, RegionId};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, WatchParams};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const NODES: &str = "/api/v1/nodes";
const EMPTY: &str = r#"{"metadata": {"resourceVersion": "1"}, "items": []}"#;

/// Bytes for ever.
fn endless(first: &str) -> Body {
    let chunk = Bytes::from(vec![b' '; 1 << 18]);
    let first = Bytes::from(first.to_owned());
    Body::from_stream(stream::iter([first]).chain(stream::repeat(chunk)).map(Ok::<_, Infallible>))
}

/// What is sent for a request: whether it is a watch, and its path.
type Answer = fn(bool, &str) -> (u16, Body);

/// A client of a server that answers so; the server ends with the test's runtime.
async fn serve(answer: Answer) -> kube::Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(move |request: Request| async move {
        let watch = request.uri().query().unwrap_or_default().contains("watch=true");
        let (code, body) = answer(watch, request.uri().path());
        Response::builder().status(code).body(body).unwrap()
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    connect::client(kube::Config::new(url.parse().unwrap())).unwrap()
}

/// A cluster without objects whose watches stay open.
fn quiet(watch: bool, _: &str) -> (u16, Body) {
    (
        200,
        if watch { Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()) } else { EMPTY.into() },
    )
}

fn endless_list(watch: bool, path: &str) -> (u16, Body) {
    if !watch && path == NODES { (200, endless(r#"{"items": ["#)) } else { quiet(watch, path) }
}

fn source(name: &str, client: kube::Client) -> Source {
    let facts = ClusterFacts {
        id: ClusterId::new(name).unwrap(),
        region: RegionId::new("ap-northeast-2").unwrap(),
        grid_zone: GridZone::new("KR").unwrap(),
        pue_milli: 1200,
        labels: BTreeMap::new(),
        mode: Mode::Auto,
        context: name.to_owned(),
        uid: None,
    };
    Source { facts, client, known: None, instances: Arc::default(), inventory: false }
}

/// Waits until what is wanted has been observed.
async fn until(inbox: &mut mpsc::Receiver<Observed>, wanted: impl Fn(&Observed) -> bool) {
    let wait = async { while !wanted(&inbox.recv().await.expect("a watch does not end")) {} };
    timeout(PATIENCE, wait).await.expect("what is waited for comes");
}

/// The error a watch of the nodes ends with.
async fn watch_error(client: kube::Client) -> String {
    let nodes: Api<Node> = Api::all(client);
    let all = async { nodes.watch(&WatchParams::default(), "1").await?.try_collect::<Vec<_>>().await };
    timeout(PATIENCE, all).await.expect("it ends").unwrap_err().to_string()
}

fn too_large(error: &str, what: &str, most: u64) {
    let expected = format!("{what} of more than {most} bytes: expected at most that; see whether");
    assert!(error.contains(&expected), "{error}: expected {expected}");
}

#[tokio::test]
async fn an_endless_list_is_an_error_that_says_which() {
    let nodes: Api<Node> = Api::all(serve(endless_list).await);
    let listed = timeout(PATIENCE, nodes.list(&ListParams::default())).await.expect("it ends");
    too_large(&listed.unwrap_err().to_string(), "GET /api/v1/nodes: an answer", ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn an_endless_line_of_a_watch_is_an_error_that_says_which() {
    let client = serve(|_, _| (200, endless(r#"{"type": "#))).await;
    too_large(&watch_error(client).await, "GET /api/v1/nodes: a line of a watch", LINE_BYTES_MAX);
}

#[tokio::test]
async fn an_endless_refusal_of_a_watch_is_bounded_although_it_has_lines() {
    let lines = |_: bool, _: &str| {
        let chunk = Bytes::from(b"no\n".repeat(1 << 16));
        (500, Body::from_stream(stream::repeat(chunk).map(Ok::<_, Infallible>)))
    };
    too_large(&watch_error(serve(lines).await).await, "GET /api/v1/nodes: an answer", ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn an_endless_answer_to_a_write_is_none() {
    let kr = ClusterId::new("kr").unwrap();
    let hands = Hands {
        clients: [(kr.clone(), serve(|_, _| (201, endless("{"))).await)].into_iter().collect(),
        fence: None,
    };
    let call = ApiCall::DeleteJob { namespace: "a".into(), name: "j".into(), uid: "u".into() };
    let failed = timeout(PATIENCE, hands.carry_out(&kr, call)).await.expect("it ends").unwrap_err();
    let Failure::Unanswered { message } = failed else { panic!("{failed:?}") };
    too_large(&message, "DELETE /apis/batch/v1/namespaces/a/jobs/j: an answer", ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn a_write_needs_the_lease_and_ends_with_it() {
    let kr = ClusterId::new("kr").unwrap();
    let delete = || ApiCall::DeleteJob { namespace: "a".into(), name: "j".into(), uid: "u".into() };
    let with = |client: kube::Client, left: Result<Duration, &'static str>| Hands {
        clients: [(kr.clone(), client)].into_iter().collect(),
        fence: Some(Arc::new(move |_| left.map_err(str::to_owned))),
    };
    // It would be answered at once.
    let without = with(serve(|_, _| (200, "{}".into())).await, Err("b leads this cluster"))
        .carry_out(&kr, delete())
        .await;
    let Err(Failure::Unanswered { message }) = without else { panic!("{without:?}") };
    assert_eq!(message, "cluster kr: delete job a/j: not sent: b leads this cluster");
    let silent = serve(|_, _| quiet(true, "")).await;
    let hands = with(silent, Ok(Duration::from_millis(1)));
    let cut = timeout(PATIENCE, hands.carry_out(&kr, delete())).await.expect("it ends with the Lease");
    let Err(Failure::Unanswered { message }) = cut else { panic!("{cut:?}") };
    // Not within the time any call may take.
    assert!(message.ends_with("no answer within 0 s, when the right to write to it ended"), "{message}");
}

#[tokio::test]
async fn a_long_watch_goes_on_beyond_what_one_answer_may_have() {
    /// Most of a line, so that few make the bound of an answer.
    const ANNOTATION: usize = LINE_BYTES_MAX as usize / 2;
    const EVENTS: usize = ANSWER_BYTES_MAX as usize / ANNOTATION + 2;
    let long = |watch: bool, path: &str| {
        if !watch || path != NODES {
            return quiet(watch, path);
        }
        let event = |version: usize| {
            let line = format!(
                r#"{{"type": "MODIFIED", "object": {{"metadata": {{"name": "n", "resourceVersion": "{version}", "annotations": {{"a": "{}"}}}}}}}}"#,
                "a".repeat(ANNOTATION)
            );
            Ok::<_, Infallible>(Bytes::from(line + "\n"))
        };
        let events = stream::iter((2..2 + EVENTS).map(event)).chain(stream::pending());
        (200, Body::from_stream(events))
    };
    let (sink, mut inbox) = mpsc::channel(4);
    let watching = tokio::spawn(watch(source("kr", serve(long).await), sink));
    let mut versions = Vec::new();
    while versions.last() != Some(&(EVENTS as u64 + 1)) {
        let observed = timeout(PATIENCE, inbox.recv()).await.expect("the next comes").unwrap();
        let lost = matches!(observed.event, Some(Event::Reachable { reachable: Err(_), .. }));
        assert!(!lost, "the cluster answers");
        if let Some(Event::Node { .. }) = observed.event {
            versions.extend(observed.seen.map(|seen| seen.version));
        }
    }
    let expected: Vec<u64> = (2..2 + EVENTS as u64).collect();
    assert_eq!(versions, expected, "each once, so on one watch");
    watching.abort();
}

#[tokio::test]
async fn a_cluster_that_answers_without_end_is_unreachable_and_others_go_on() {
    let ((bad, mut from_bad), (good, mut from_good)) = (mpsc::channel(4), mpsc::channel(4));
    let watching = [
        tokio::spawn(watch(source("bad", serve(endless_list).await), bad)),
        tokio::spawn(watch(source("good", serve(quiet).await), good)),
    ];
    until(&mut from_good, |o| matches!(o.event, Some(Event::Synced { .. }))).await;
    until(&mut from_bad, |o| matches!(o.event, Some(Event::Reachable { reachable: Err(_), .. }))).await;
    let mut later = Vec::new();
    while let Ok(observed) = from_good.try_recv() {
        later.push(observed);
    }
    assert!(later.is_empty(), "the other cluster stays reachable: {later:?}");
    watching.iter().for_each(tokio::task::JoinHandle::abort);
}
