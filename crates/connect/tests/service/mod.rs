//! A service on loopback that answers as a test says, and remembers what it was asked.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use connect::observe::provider::Limits;
use fleet::{Instant, Span};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Path and query.
    pub path: String,
    /// `authorization`, or `auth-token`.
    pub key: String,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status and body.
    Text(u16, String),
    /// The same, with headers.
    With(u16, Vec<(&'static str, &'static str)>, String),
    /// Never, as far as anybody waits.
    Nothing,
    /// A beginning, then the connection is cut.
    Cut(String),
}

impl Reply {
    pub fn json(body: &Value) -> Reply {
        Reply::Text(200, body.to_string())
    }
    pub fn status(status: u16) -> Reply {
        Reply::Text(status, String::new())
    }
}

type Script = Arc<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

/// A running service.
pub struct Service {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    /// `script` is given each request and how many there were before it of the same path.
    pub async fn start(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Service {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Script, _) = (Arc::new(script), asked.clone());
        let router = axum::Router::new().fallback(move |request: Request| {
            let (script, log) = (script.clone(), log.clone());
            let asked = read(&request);
            async move { answer(asked, &script, &log).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Service { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
    pub fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }
}

fn read(request: &Request) -> Asked {
    let header = |name: &str| request.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    let path = request.uri().path_and_query().unwrap().to_string();
    let key = header("authorization").or_else(|| header("auth-token")).unwrap_or_default();
    Asked { path, key }
}

async fn answer(asked: Asked, script: &Script, log: &Mutex<Vec<Asked>>) -> Response {
    let before = {
        let mut log = log.lock().unwrap();
        let head = |asked: &Asked| asked.path.split('?').next().unwrap().to_owned();
        let before = log.iter().filter(|earlier| head(earlier) == head(&asked)).count();
        log.push(asked.clone());
        before
    };
    let builder = Response::builder();
    match script(&asked, before) {
        Reply::Text(status, body) => builder.status(status).body(Body::from(body)).unwrap(),
        Reply::With(status, headers, body) => {
            let all =
                headers.into_iter().fold(builder.status(status), |b, (name, value)| b.header(name, value));
            all.body(Body::from(body)).unwrap()
        }
        Reply::Nothing => std::future::pending().await,
        Reply::Cut(text) => {
            let parts = [Ok(text), Err(std::io::Error::other("cut"))];
            builder.body(Body::from_stream(futures::stream::iter(parts))).unwrap()
        }
    }
}

/// Bounds that keep a test short, with patience for a busy machine.
pub fn limits() -> Limits {
    Limits {
        timeout: Duration::from_secs(20),
        tries: 3,
        delay: Duration::from_millis(2),
        bytes_max: 64 << 10,
    }
}

/// The same without patience, for a service that says nothing.
pub fn hasty() -> Limits {
    Limits { timeout: Duration::from_millis(80), ..limits() }
}

pub fn at(text: &str) -> Instant {
    Instant::parse(text).unwrap()
}

/// The present of most tests.
pub fn now() -> Instant {
    at("2026-05-02T10:10:00Z")
}

pub fn hours(count: i64) -> Span {
    Span::HOUR.scaled(count, 1)
}
