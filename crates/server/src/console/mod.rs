//! The console: pages made on the server, kept live by a small script, whole without one.
//!
//! Invariants: every page has an address and every table its CSV (`?format=csv`); nothing is loaded from
//! anywhere else; all that comes from a cluster is escaped (maud does it, nothing is inserted raw). A form
//! changes things only by handing an order on. Left out: signing in; pages of features that do not exist yet.

mod ask;
mod assets;
mod capacity;
mod chart;
mod csv;
mod fleet;
mod format;
mod job;
mod jobs;
mod layout;
mod plans;
mod room;
mod savings;
mod signals;
mod text;
mod timeline;

use crate::api;
use crate::backend::{ClockOrder, SharedBackend, Speed};
use crate::problem::Problem;
use crate::room::{Answer, Asked};
use ::fleet::{JobKey, SignalKind};
use ask::{Ask, LANG_COOKIE};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use control::{Order, View};
use http::{HeaderValue, StatusCode, header};
use layout::Page;
use maud::{Markup, html};
use std::sync::Arc;
use text::M;

/// Pods that wait for a node shown, of all clusters.
const WAITING_SHOWN: usize = 50;
/// Longest namespace and name of a pod together, as Kubernetes bounds them.
const POD_NAME_MAX: usize = 63 + 253;

/// Everything a browser or program finds at the server's address: the pages and the API, guarded.
pub fn site(backend: SharedBackend) -> Router {
    let pages = Router::new()
        .route("/", get(fleet_page))
        .route("/jobs", get(jobs_page))
        .route("/jobs/{cluster}/{namespace}/{name}", get(job_page))
        .route("/savings", get(savings_page))
        .route("/signals", get(signals_page))
        .route("/plans", get(plans_page))
        .route("/capacity", get(capacity_page))
        .route("/pods/{cluster}/{namespace}/{name}", get(pod_page))
        .route("/metrics", get(crate::metrics::serve))
        .route("/clock", post(clock_form))
        .route("/orders", post(order_form))
        .route("/assets/{name}", get(|Path(name): Path<String>| async move { assets::serve(&name) }))
        .fallback(nowhere)
        .method_not_allowed_fallback(api::wrong_method)
        .with_state(backend.clone());
    pages.merge(api::router(backend)).layer(axum::middleware::from_fn(api::guard))
}

/// A page's answer: the document, and the language kept if it was chosen.
fn answer(status: StatusCode, ask: &Ask, document: Markup) -> Response {
    let mut response = Response::new(Body::from(document.into_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-language, cookie"));
    if let Some(lang) = ask.chosen {
        let cookie = format!("{LANG_COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax", lang.tag());
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            headers.insert(header::SET_COOKIE, value);
        }
    }
    response
}

struct Shown<'a> {
    here: &'static str,
    title: String,
    worst: Option<SignalKind>,
    body: Markup,
    view: &'a Arc<View>,
}

fn show(backend: &SharedBackend, ask: &Ask, status: StatusCode, shown: Shown<'_>) -> Response {
    let page = Page {
        ask,
        here: shown.here,
        title: shown.title,
        view: shown.view,
        clock: backend.clock(),
        worst: shown.worst,
        body: shown.body,
    };
    answer(status, ask, layout::document(&page))
}

/// A page that could not be made: the reason is logged, not shown.
fn broken(backend: &SharedBackend, ask: &Ask, error: &anyhow::Error) -> Response {
    tracing::error!("{}: {error:#}", ask.path);
    let reader = ask.reader;
    let body = html! { section.empty { h2 { (reader.say(M::Broken)) } p { (reader.say(M::BrokenHow)) } } };
    let shown =
        Shown { here: "", title: reader.say(M::Broken).to_owned(), worst: None, body, view: &backend.view() };
    show(backend, ask, StatusCode::INTERNAL_SERVER_ERROR, shown)
}

async fn fleet_page(State(backend): State<SharedBackend>, ask: Ask) -> Response {
    let view = backend.view();
    if ask.csv() {
        return fleet::table(&view).response();
    }
    let entries = match backend.ledger().await {
        Ok(entries) => entries,
        Err(error) => return broken(&backend, &ask, &error),
    };
    let summary = ledger::summary::summarize(&entries);
    let body = fleet::page(&ask, &view, &summary);
    let worst = fleet::worst(&view).max(summary.provenance.map(|p| p.kind));
    let title = ask.reader.say(M::Fleet).to_owned();
    show(&backend, &ask, StatusCode::OK, Shown { here: "/", title, worst, body, view: &view })
}

async fn jobs_page(State(backend): State<SharedBackend>, ask: Ask) -> Response {
    jobs_with(&backend, &ask, None).await
}

async fn job_page(
    State(backend): State<SharedBackend>,
    Path(parts): Path<(String, String, String)>,
    ask: Ask,
) -> Response {
    match api::key(&parts) {
        Ok(key) => jobs_with(&backend, &ask, Some(key)).await,
        Err(_) => missing(&backend, &ask),
    }
}

async fn jobs_with(backend: &SharedBackend, ask: &Ask, key: Option<JobKey>) -> Response {
    let view = backend.view();
    let entries = match backend.ledger().await {
        Ok(entries) => entries,
        Err(error) => return broken(backend, ask, &error),
    };
    let known =
        |key: &JobKey| view.jobs.iter().any(|j| j.key == *key) || entries.iter().any(|e| e.job == *key);
    let status = if key.as_ref().is_none_or(known) { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let title = key.as_ref().map_or_else(|| ask.reader.say(M::Jobs).to_owned(), |key| key.name.to_string());
    let selected = match key {
        Some(key) => Some((key.clone(), api::decide(backend, key).await)),
        None => None,
    };
    let jobs = jobs::Jobs { ask, view: &view, entries: &entries, selected };
    if ask.csv() {
        return jobs.table().response();
    }
    let worst = fleet::worst(&view);
    show(backend, ask, status, Shown { here: "/jobs", title, worst, body: jobs.page(), view: &view })
}

async fn savings_page(State(backend): State<SharedBackend>, ask: Ask) -> Response {
    let view = backend.view();
    let entries = match backend.ledger().await {
        Ok(entries) => entries,
        Err(error) => return broken(&backend, &ask, &error),
    };
    if ask.csv() {
        return savings::table(&view, &entries).response();
    }
    let summary = ledger::summary::summarize(&entries);
    let body = savings::page(&ask, &view, &entries, &summary);
    let worst = summary.provenance.map(|p| p.kind);
    let title = ask.reader.say(M::Savings).to_owned();
    show(&backend, &ask, StatusCode::OK, Shown { here: "/savings", title, worst, body, view: &view })
}

async fn capacity_page(State(backend): State<SharedBackend>, ask: Ask) -> Response {
    let view = backend.view();
    let asked = capacity::Asked::of(&ask, &view);
    let accounts = match backend.accounts(asked.question()).await {
        Ok(accounts) => accounts,
        Err(error) => return broken(&backend, &ask, &error),
    };
    let waiting = backend.waiting_pods(WAITING_SHOWN);
    if ask.csv() && ask.get("table") == Some("waiting") {
        return room::table(&waiting.0).response();
    }
    if ask.csv() {
        return capacity::table(&view, &accounts).response();
    }
    let answer = match room::asked(&ask, &view) {
        Some((cluster, asked)) => Some(backend.room(cluster, asked).await),
        None => None,
    };
    let body = html! {
        (capacity::page(&ask, &view, &asked, &accounts))
        @if !view.clusters.is_empty() {
            (room::form(&ask, &view, answer.as_ref()))
            (room::waiting(ask.reader, &waiting.0, waiting.1))
        }
    };
    let worst = accounts.carbon_from.as_ref().map(|from| from.kind);
    let worst = if accounts.use_from.is_none() && !accounts.rows.is_empty() {
        Some(SignalKind::Assumed)
    } else {
        worst
    };
    let title = ask.reader.say(M::Capacity).to_owned();
    show(&backend, &ask, StatusCode::OK, Shown { here: "/capacity", title, worst, body, view: &view })
}

/// `GET /pods/CLUSTER/NAMESPACE/NAME`: why a pod is where it is.
async fn pod_page(
    State(backend): State<SharedBackend>,
    Path((cluster, namespace, name)): Path<(String, String, String)>,
    ask: Ask,
) -> Response {
    let view = backend.view();
    let known = view.clusters.iter().map(|c| c.facts.id.clone()).find(|id| id.as_str() == cluster);
    let Some(cluster) = known.filter(|_| namespace.len() + name.len() <= POD_NAME_MAX) else {
        return missing(&backend, &ask);
    };
    let title = name.clone();
    let answer = backend.room(cluster.clone(), Asked::Why { namespace, name }).await;
    let status = match answer.as_deref() {
        Ok(Answer::Why(None)) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    let body = room::pod(ask.reader, &cluster, &answer);
    show(&backend, &ask, status, Shown { here: "/capacity", title, worst: None, body, view: &view })
}

async fn signals_page(State(backend): State<SharedBackend>, ask: Ask) -> Response {
    let view = backend.view();
    if ask.csv() {
        let sources = ask.get("table") == Some("sources");
        let table = if sources { signals::sources_table(&backend.sources()) } else { signals::table(&view) };
        return table.response();
    }
    let body = signals::page(&ask, &view, &backend.sources());
    let title = ask.reader.say(M::Signals).to_owned();
    let worst = fleet::worst(&view);
    show(&backend, &ask, StatusCode::OK, Shown { here: "/signals", title, worst, body, view: &view })
}

async fn plans_page(State(backend): State<SharedBackend>, ask: Ask) -> Response {
    let (view, plan) = (backend.view(), backend.plan());
    if ask.csv() {
        return plans::table(&plan).response();
    }
    let body = plans::page(&ask, &view, &plan);
    let title = ask.reader.say(M::Plans).to_owned();
    let worst = fleet::worst(&view);
    show(&backend, &ask, StatusCode::OK, Shown { here: "/plans", title, worst, body, view: &view })
}

fn missing(backend: &SharedBackend, ask: &Ask) -> Response {
    let reader = ask.reader;
    let body =
        html! { section.empty { h2 { (reader.say(M::NotFound)) } p { (reader.say(M::NotFoundHow)) } } };
    let title = reader.say(M::NotFound).to_owned();
    show(
        backend,
        ask,
        StatusCode::NOT_FOUND,
        Shown { here: "", title, worst: None, body, view: &backend.view() },
    )
}

/// No such address: a problem for programs, a page for people.
async fn nowhere(State(backend): State<SharedBackend>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if path.starts_with("/api/") || !accept.is_some_and(|accept| accept.contains("text/html")) {
        return Problem::no_address(&path).into_response();
    }
    let (parts, _) = request.into_parts();
    missing(&backend, &ask::read(&parts))
}

/// Back to where the form stood: an address of ours, never another server's.
fn back(ask: &Ask) -> Response {
    let wanted = ask.get("back").unwrap_or("/");
    let ours = wanted.starts_with('/')
        && !wanted.starts_with("//")
        && wanted.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let target = HeaderValue::from_str(if ours { wanted } else { "/" });
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, target.unwrap_or(HeaderValue::from_static("/")));
    response
}

/// Pause, resume, pace: `POST /clock?do=pause|resume|SPEED&back=…`.
async fn clock_form(State(backend): State<SharedBackend>, ask: Ask) -> Response {
    let order = match ask.get("do") {
        Some("pause") => ClockOrder::Pause,
        Some("resume") => ClockOrder::Resume,
        speed => match speed.unwrap_or("").parse::<Speed>() {
            Ok(speed) => ClockOrder::Speed(speed),
            Err(error) => return Problem::from(error).into_response(),
        },
    };
    match backend.set_clock(order) {
        Ok(()) => back(&ask),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// `POST /orders?do=release|approve&cluster=…&namespace=…&name=…&back=…`.
async fn order_form(State(backend): State<SharedBackend>, ask: Ask) -> Response {
    let part = |name: &str| ask.get(name).unwrap_or("").to_owned();
    let job = match api::key(&(part("cluster"), part("namespace"), part("name"))) {
        Ok(job) => job,
        Err(problem) => return problem.into_response(),
    };
    let order = match ask.get("do") {
        Some("release") => Order::Release { job: Some(job) },
        Some("approve") => Order::Approve { job },
        _ => return Problem::invalid("query do: expected release or approve").into_response(),
    };
    match backend.order(order) {
        Ok(()) => back(&ask),
        Err(error) => Problem::from(error).into_response(),
    }
}
