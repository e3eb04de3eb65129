//! `observe` and `act` against a small server that plays a Kubernetes API from a script: what an API server
//! does between the lines (410, bookmarks, pages, conflicts, silence) is easier to ask for here than of a real one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and what they share may fail")]

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use connect::act::kube::Hands;
use connect::observe::kube::{Observed, Source, WatchedKind, watch};
use control::{ApiCall, ClusterFacts, Event, Failure, Outcome};
use fleet::{ClusterId, GridZone, Mode, RegionId};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer of the script.
enum Answer {
    /// Status code and body.
    Json(u16, Value),
    /// Lines of a watch; then it stays open, or ends.
    Watch(Vec<Value>, bool),
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    /// `METHOD PATH`, without the query.
    what: String,
    query: String,
    content_type: String,
    body: Value,
}

/// Answers by `METHOD PATH` (`WATCH PATH` for watches), in order; beyond the script a list is empty at
/// version 1 and a watch silent.
#[derive(Default)]
struct Script {
    answers: BTreeMap<String, VecDeque<Answer>>,
    seen: Vec<Seen>,
}

type Shared = Arc<Mutex<Script>>;

async fn serve(State(script): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let method = if query.contains("watch=true") { "WATCH" } else { parts.method.as_str() };
    let what = format!("{method} {}", parts.uri.path());
    let content_type = parts.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let seen = Seen {
        what: what.clone(),
        query,
        content_type: content_type.to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let mut script = script.lock().unwrap();
    script.seen.push(seen);
    let otherwise = if method == "WATCH" {
        Answer::Watch(Vec::new(), true)
    } else {
        Answer::Json(200, json!({"metadata": {"resourceVersion": "1"}, "items": []}))
    };
    let answer = script.answers.get_mut(&what).and_then(VecDeque::pop_front).unwrap_or(otherwise);
    let builder = Response::builder().header("content-type", "application/json");
    match answer {
        Answer::Json(code, value) => builder.status(code).body(Body::from(value.to_string())).unwrap(),
        Answer::Watch(lines, open) => {
            let lines: Vec<Result<Bytes, std::io::Error>> =
                lines.iter().map(|line| Ok(Bytes::from(format!("{line}\n")))).collect();
            let body = if open {
                Body::from_stream(stream::iter(lines).chain(stream::pending()))
            } else {
                Body::from_stream(stream::iter(lines))
            };
            builder.body(body).unwrap()
        }
    }
}

/// Serves a script; the task ends with the test's runtime.
async fn start(at: SocketAddr, answers: Vec<(&str, Answer)>) -> (Shared, SocketAddr) {
    let mut script = Script::default();
    for (what, answer) in answers {
        script.answers.entry(what.to_owned()).or_default().push_back(answer);
    }
    let shared = Arc::new(Mutex::new(script));
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(serve).with_state(shared.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (shared, address)
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn client(at: SocketAddr) -> kube::Client {
    connect::client(kube::Config::new(format!("http://{at}").parse().unwrap())).unwrap()
}

fn kr() -> ClusterId {
    ClusterId::new("kr").unwrap()
}

fn source(client: kube::Client) -> Source {
    let facts = ClusterFacts {
        id: kr(),
        region: RegionId::new("ap-northeast-2").unwrap(),
        grid_zone: GridZone::new("KR").unwrap(),
        pue_milli: 1200,
        labels: BTreeMap::new(),
        mode: Mode::Auto,
        context: "kr".to_owned(),
        uid: None,
    };
    Source { facts, client, known: None, instances: Arc::default(), inventory: false }
}

/// What was observed, in a short form: `node n1`, `-node n1`, `job a/b u1`, `seen Node 10`…
fn short(observed: &Observed) -> Vec<String> {
    let name = |job: &control::Job| {
        let meta = &job.metadata;
        assert!(meta.managed_fields.is_none(), "managedFields are pruned");
        let kept: Vec<&String> = meta.annotations.iter().flat_map(|all| all.keys()).collect();
        assert_eq!(kept, ["kept"], "kubectl's copy of the object is pruned");
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}/{} {}", text(&meta.namespace), text(&meta.name), text(&meta.uid))
    };
    let event = observed.event.as_ref().map(|event| match event {
        Event::Cluster(facts) => format!("cluster {}", facts.id),
        Event::Reachable { reachable, .. } => format!("reachable {}", reachable.is_ok()),
        Event::Synced { .. } => "synced".to_owned(),
        Event::Node { node, now: Some(_), .. } => format!("node {node}"),
        Event::Node { node, now: None, .. } => format!("-node {node}"),
        Event::Pod { pod, now: Some(now), .. } => format!("pod {pod} active={}", now.active),
        Event::Pod { pod, now: None, .. } => format!("-pod {pod}"),
        Event::Job { job, .. } => format!("job {}", name(job)),
        Event::JobGone { namespace, name, uid, .. } => format!("-job {namespace}/{name} {uid}"),
        Event::Priority { class, value, .. } => format!("class {class} {value:?}"),
        other => format!("{other:?}"),
    });
    let seen = observed.seen.as_ref().map(|seen| format!("seen {} {}", seen.kind, seen.version));
    event.into_iter().chain(seen).collect()
}

/// Everything observed until `last` has been, in short form.
async fn until(inbox: &mut mpsc::Receiver<Observed>, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    let wait = async {
        while let Some(observed) = inbox.recv().await {
            all.extend(short(&observed));
            if all.iter().any(|line| line == last) {
                return;
            }
        }
    };
    let found = timeout(PATIENCE, wait).await;
    assert!(found.is_ok() && all.iter().any(|line| line == last), "no {last:?} in {all:#?}");
    all
}

fn meta(name: &str, uid: &str, version: &str) -> Value {
    json!({"name": name, "uid": uid, "resourceVersion": version, "managedFields": [{"manager": "kubectl"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"}})
}
fn node(name: &str, version: &str) -> Value {
    json!({"metadata": meta(name, name, version)})
}
fn namespaced(name: &str, uid: &str, version: &str, phase: &str) -> Value {
    let mut metadata = meta(name, uid, version);
    metadata["namespace"] = json!("a");
    json!({"metadata": metadata, "status": {"phase": phase}})
}
fn list(version: &str, more: &str, items: &[Value]) -> Answer {
    Answer::Json(200, json!({"metadata": {"resourceVersion": version, "continue": more}, "items": items}))
}
fn change(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}
fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}
fn answer(code: u16, reason: &str) -> Answer {
    Answer::Json(code, status(code, reason, "its words"))
}

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";
const JOBS: &str = "/apis/batch/v1/jobs";
const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

/// Lines that speak of one kind.
fn about(all: &[String], words: &[&str]) -> Vec<String> {
    all.iter().filter(|line| words.iter().any(|word| line.starts_with(word))).cloned().collect()
}

#[tokio::test]
async fn lists_in_pages_watches_and_lists_again_after_410() {
    let bookmark = change(
        "BOOKMARK",
        json!({"kind": "Node", "apiVersion": "v1", "metadata": {"resourceVersion": "15"}}),
    );
    let gone = change("ERROR", status(410, "Expired", "too old resource version"));
    let (script, at) = start(
        loopback(),
        vec![
            (&format!("GET {NODES}"), list("10", "page2", &[node("n1", "7")])),
            (&format!("GET {NODES}"), list("10", "", &[node("n2", "9")])),
            (
                &format!("WATCH {NODES}"),
                Answer::Watch(vec![change("MODIFIED", node("n1", "11")), bookmark, gone], true),
            ),
            (&format!("GET {NODES}"), list("20", "", &[node("n2", "9"), node("n3", "18")])),
            (&format!("WATCH {NODES}"), Answer::Watch(vec![change("DELETED", node("n3", "21"))], true)),
        ],
    )
    .await;
    let (sink, mut inbox) = mpsc::channel(4);
    let watching = tokio::spawn(watch(source(client(at)), sink));
    let all = until(&mut inbox, "seen Node 21").await;
    assert_eq!(
        about(&all, &["node", "-node", "seen Node"]),
        [
            "node n1",
            "node n2",
            "seen Node 10",
            "node n1",
            "seen Node 11",
            "seen Node 15",
            "node n2",
            "node n3",
            "-node n1",
            "seen Node 20",
            "-node n3",
            "seen Node 21"
        ]
    );
    assert_eq!(&all[..2], ["cluster kr", "node n1"].map(str::to_owned).as_slice(), "the cluster comes first");
    assert_eq!(about(&all, &["synced", "reachable"]), ["reachable true", "synced"]);
    let synced = all.iter().position(|line| line == "synced").unwrap();
    for kind in WatchedKind::ALL {
        let listed = all.iter().position(|line| line.starts_with(&format!("seen {kind} "))).unwrap();
        assert!(listed < synced, "{kind} is listed before the cluster is synced: {all:?}");
    }
    let seen = script.lock().unwrap().seen.clone();
    let nodes: Vec<&Seen> = seen.iter().filter(|request| request.what.ends_with(NODES)).collect();
    assert!(nodes[0].query.contains("limit=250") && !nodes[0].query.contains("resourceVersion"), "{nodes:?}");
    assert!(nodes[1].query.contains("continue=page2"), "{nodes:?}");
    assert!(
        nodes[2].query.contains("resourceVersion=10") && nodes[2].query.contains("allowWatchBookmarks=true")
    );
    assert!(nodes[4].query.contains("resourceVersion=20"), "{nodes:?}");
    drop(inbox);
    timeout(PATIENCE, watching).await.expect("ends when nobody listens").unwrap();
}

#[tokio::test]
async fn every_kind_is_told_and_a_job_under_an_old_name_is_another_one() {
    let (_, at) = start(
        loopback(),
        vec![
            (&format!("GET {PODS}"), list("5", "", &[namespaced("p", "u1", "4", "Running")])),
            (
                &format!("WATCH {PODS}"),
                Answer::Watch(vec![change("MODIFIED", namespaced("p", "u1", "6", "Succeeded"))], true),
            ),
            (&format!("GET {JOBS}"), list("5", "", &[namespaced("j", "u1", "3", "")])),
            // The connection breaks after an event, and the server no longer knows the version.
            (
                &format!("WATCH {JOBS}"),
                Answer::Watch(vec![change("ADDED", namespaced("k", "u2", "8", ""))], false),
            ),
            (&format!("WATCH {JOBS}"), Answer::Json(410, status(410, "Expired", "too old"))),
            (&format!("GET {JOBS}"), list("30", "", &[namespaced("j", "u9", "25", "")])),
            (
                &format!("GET {CLASSES}"),
                list("5", "", &[json!({"metadata": meta("high", "c", "2"), "value": 1000})]),
            ),
        ],
    )
    .await;
    let (sink, mut inbox) = mpsc::channel(4);
    let watching = tokio::spawn(watch(source(client(at)), sink));
    let all = until(&mut inbox, "seen Job 30").await;
    assert_eq!(
        about(&all, &["job", "-job", "seen Job"]),
        [
            "job a/j u1",
            "seen Job 5",
            "job a/k u2",
            "seen Job 8",
            "-job a/j u1",
            "job a/j u9",
            "-job a/k u2",
            "seen Job 30"
        ]
    );
    assert_eq!(
        about(&all, &["pod", "seen Pod"]),
        ["pod a/p active=true", "seen Pod 5", "pod a/p active=false", "seen Pod 6"]
    );
    assert_eq!(about(&all, &["class", "seen Prio"]), ["class high Some(1000)", "seen PriorityClass 5"]);
    watching.abort();
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_said_to_and_picked_up_again() {
    // A port that nobody listens on, until somebody does.
    let at = tokio::net::TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
    let (sink, mut inbox) = mpsc::channel(4);
    let watching = tokio::spawn(watch(source(client(at)), sink));
    assert_eq!(until(&mut inbox, "reachable false").await, ["cluster kr", "reachable false"]);
    let (_, _) = start(at, vec![(&format!("GET {NODES}"), list("3", "", &[node("n1", "2")]))]).await;
    let all = until(&mut inbox, "synced").await;
    assert_eq!(about(&all, &["reachable", "node", "synced"]), ["node n1", "reachable true", "synced"]);
    watching.abort();
}

fn hands(at: SocketAddr) -> Hands {
    Hands { clients: [(kr(), client(at))].into_iter().collect(), fence: None }
}

/// A copy in namespace `a` with this origin.
fn copy(origin: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "a", "name": "j", "uid": "u1",
        "managedFields": [{"manager": "x"}], "labels": {"kubercarbon.io/origin-uid": origin}}})
}
fn create(origin: &str, dry_run: bool) -> ApiCall {
    ApiCall::CreateJob { job: Box::new(serde_json::from_value(copy(origin)).unwrap()), dry_run }
}
fn code(result: &Result<Outcome, Failure>) -> String {
    match result {
        Ok(Outcome::Done) => "done".to_owned(),
        Ok(Outcome::Job(version)) => {
            assert!(version.job.metadata.managed_fields.is_none(), "managedFields are pruned");
            format!("job {}", version.job.metadata.uid.as_deref().unwrap_or_default())
        }
        Err(Failure::Refused { code, reason, message }) => format!("{code} {reason}: {message}"),
        Err(Failure::Unanswered { .. }) => "unanswered".to_owned(),
    }
}

const A_JOBS: &str = "/apis/batch/v1/namespaces/a/jobs";
const A_JOB: &str = "/apis/batch/v1/namespaces/a/jobs/j";

#[tokio::test]
async fn creating_twice_is_creating_once() {
    let (script, at) = start(
        loopback(),
        vec![
            (&format!("POST {A_JOBS}"), Answer::Json(201, copy("o1"))),
            (&format!("POST {A_JOBS}"), Answer::Json(201, copy("o1"))),
            (&format!("POST {A_JOBS}"), answer(409, "AlreadyExists")),
            (&format!("GET {A_JOB}"), Answer::Json(200, copy("o1"))),
            (&format!("POST {A_JOBS}"), answer(409, "AlreadyExists")),
            (&format!("GET {A_JOB}"), Answer::Json(200, copy("o2"))),
            (&format!("POST {A_JOBS}"), answer(409, "AlreadyExists")),
            (&format!("POST {A_JOBS}"), answer(403, "Forbidden")),
        ],
    )
    .await;
    let hands = hands(at);
    let mut results = Vec::new();
    for dry_run in [true, false, false, false, true, false] {
        results.push(code(&hands.carry_out(&kr(), create("o1", dry_run)).await));
    }
    assert_eq!(
        results,
        [
            "done",
            "job u1",
            "job u1",
            "409 AlreadyExists: its words",
            "409 AlreadyExists: its words",
            "403 Forbidden: its words"
        ]
    );
    let seen = script.lock().unwrap().seen.clone();
    assert!(
        seen[0].query.contains("dryRun=All") && seen[0].query.contains("fieldManager=kubercarbon"),
        "{seen:?}"
    );
    assert!(
        !seen[1].query.contains("dryRun") && seen[1].query.contains("fieldManager=kubercarbon"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn what_its_pods_need_is_looked_for_before_a_job_is_sent() {
    let map = "GET /api/v1/namespaces/a/configmaps/settings";
    let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
        "message": "configmaps \"settings\" not found", "details": {"name": "settings", "kind": "configmaps"}});
    let there = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "settings"}});
    let (script, at) = start(
        loopback(),
        vec![
            (&format!("POST {A_JOBS}"), Answer::Json(201, copy("o1"))),
            (map, Answer::Json(200, there)),
            (&format!("POST {A_JOBS}"), Answer::Json(201, copy("o1"))),
            (map, Answer::Json(404, missing)),
            (&format!("POST {A_JOBS}"), Answer::Json(201, copy("o1"))),
        ],
    )
    .await;
    let hands = hands(at);
    let trial = |home: &str| {
        let mut job = copy("o1");
        job["metadata"]["labels"]["kubercarbon.io/origin-cluster"] = home.into();
        let from = json!([{"configMapRef": {"name": "settings"}}]);
        job["spec"] = json!({"template": {"spec": {"containers": [{"name": "work", "envFrom": from}]}}});
        ApiCall::CreateJob { job: Box::new(serde_json::from_value(job).unwrap()), dry_run: true }
    };
    let mut results = Vec::new();
    for home in ["jp", "jp", "kr"] {
        results.push(code(&hands.carry_out(&kr(), trial(home)).await));
    }
    let no = "404 NotFound: namespace \"a\" has no ConfigMap \"settings\" there, which its pods need";
    assert_eq!(results, ["done", no, "done"]);
    assert_eq!(script.lock().unwrap().seen.len(), 5, "at its home nothing is looked for");
}

#[tokio::test]
async fn patches_deletes_and_events() {
    let (script, at) = start(
        loopback(),
        vec![
            (&format!("PATCH {A_JOB}"), Answer::Json(200, copy("o1"))),
            (&format!("PATCH {A_JOB}/status"), answer(409, "Conflict")),
            (&format!("DELETE {A_JOB}"), Answer::Json(200, copy("o1"))),
            (&format!("DELETE {A_JOB}"), answer(404, "NotFound")),
            // Another Job of that name: ours is gone.
            (&format!("DELETE {A_JOB}"), answer(409, "Conflict")),
            (&format!("GET {A_JOB}"), Answer::Json(200, json!({"metadata": {"name": "j", "uid": "other"}}))),
            // Ours, and in the way of something else.
            (&format!("DELETE {A_JOB}"), answer(409, "Conflict")),
            (&format!("GET {A_JOB}"), Answer::Json(200, copy("o1"))),
            ("POST /api/v1/namespaces/a/events", answer(409, "AlreadyExists")),
            ("POST /api/v1/namespaces/a/events", answer(422, "Invalid")),
        ],
    )
    .await;
    let hands = hands(at);
    let patch = |status| ApiCall::PatchJob {
        namespace: "a".into(),
        name: "j".into(),
        patch: json!({"metadata": {"uid": "u1"}, "spec": {"suspend": false}}),
        status,
    };
    let delete = || ApiCall::DeleteJob { namespace: "a".into(), name: "j".into(), uid: "u1".into() };
    let event = || {
        let event =
            json!({"metadata": {"namespace": "a", "name": "e"}, "involvedObject": {}, "reason": "Held"});
        ApiCall::CreateEvent { event: Box::new(serde_json::from_value(event).unwrap()) }
    };
    let mut results = Vec::new();
    for call in [patch(false), patch(true), delete(), delete(), delete(), delete(), event(), event()] {
        results.push(code(&hands.carry_out(&kr(), call).await));
    }
    let conflict = "409 Conflict: its words";
    assert_eq!(
        results,
        ["job u1", conflict, "done", "done", "done", conflict, "done", "422 Invalid: its words"]
    );
    let seen = script.lock().unwrap().seen.clone();
    assert_eq!(seen[0].content_type, "application/merge-patch+json");
    assert!(seen[0].query.contains("fieldManager=kubercarbon"), "{}", seen[0].query);
    assert_eq!(seen[0].body["spec"]["suspend"], json!(false));
    assert_eq!(seen[2].body["propagationPolicy"], json!("Background"));
    assert_eq!(seen[2].body["preconditions"]["uid"], json!("u1"));
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    let at = tokio::net::TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
    assert_eq!(code(&hands(at).carry_out(&kr(), create("o1", false)).await), "unanswered");
}

#[tokio::test]
async fn a_kind_of_the_inventory_that_is_refused_is_unknown_and_the_cluster_is_reachable() {
    let claim = json!({
        "metadata": {"name": "data", "namespace": "a", "uid": "u", "resourceVersion": "3"},
        "spec": {"volumeName": "v"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    });
    let gone = change("DELETED", claim.clone());
    let (script, at) = start(
        loopback(),
        vec![
            ("GET /apis/apps/v1/deployments", answer(403, "Forbidden")),
            ("GET /apis/autoscaling/v2/horizontalpodautoscalers", Answer::Json(404, Value::Null)),
            ("GET /api/v1/persistentvolumeclaims", list("5", "", &[claim])),
            ("WATCH /api/v1/persistentvolumeclaims", Answer::Watch(vec![gone], true)),
        ],
    )
    .await;
    let (sink, mut inbox) = mpsc::channel(4);
    tokio::spawn(watch(Source { inventory: true, ..source(client(at)) }, sink));
    let (mut told, mut reachable, mut inventory) =
        (BTreeMap::new(), false, control::inventory::Inventory::default());
    let all = async {
        // Eight kinds, and a claim that comes and goes.
        while told.len() < 10 || !reachable {
            match inbox.recv().await.unwrap().event {
                Some(Event::Reachable { reachable: now, .. }) => reachable = now.is_ok(),
                Some(Event::Inventory { kind, told: what, .. }) => {
                    inventory.take_in(kind, what.clone());
                    told.insert(format!("{} {what:?}", kind.as_str()), ());
                }
                _ => {}
            }
        }
    };
    let found = timeout(PATIENCE, all).await;
    assert!(found.is_ok(), "{told:#?}");
    let view = inventory.view();
    let why = |name: &str| {
        let found = view.kinds.iter().find(|kind| kind.kind.as_str() == name).unwrap();
        (found.count, found.unknown.clone())
    };
    assert_eq!(why("Deployment"), (0, Some("list: 403 Forbidden: its words".to_owned())));
    assert!(why("HorizontalPodAutoscaler").1.unwrap().starts_with("list: 404"));
    assert_eq!((why("PersistentVolumeClaim"), why("StatefulSet")), ((0, None), (0, None)));
    assert!(told.keys().any(|line| line.contains("Bound") && line.contains("\"v\"")), "{told:#?}");
    let asked = script.lock().unwrap().seen.iter().filter(|seen| seen.what.ends_with("/deployments")).count();
    assert_eq!(asked, 1, "a refusal is not asked about again at once");
}
