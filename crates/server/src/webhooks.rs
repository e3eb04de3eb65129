//! Asks admission webhooks over HTTPS, for the APIs of twins and for their controllers.
//!
//! Invariants: a webhook is believed only under the authority its configuration names, or one the machine trusts; its time and
//! its answer are bounded. Connections are kept per address and authority, at most [`CLIENTS_MAX`] of them. Leaves out proxies:
//! webhooks of a twin are on this machine or near it.

use crate::twin_host::TwinHost;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;
use twin::apiserver::Call;

/// Most addresses whose connections are kept; beyond that all are made anew.
const CLIENTS_MAX: usize = 64;
/// Longest that is said of what went wrong, in characters.
const WHY_MAX: usize = 300;

/// What asks.
#[derive(Default)]
pub struct Webhooks {
    /// By the address and the authority of a webhook.
    clients: Mutex<BTreeMap<(String, Option<String>), kube::Client>>,
}

impl Webhooks {
    /// A client for the server of a webhook, `https://host:port`.
    fn client(&self, origin: &str, authority: Option<&str>) -> Result<kube::Client, String> {
        let key = (origin.to_owned(), authority.map(str::to_owned));
        let mut clients = self.clients.lock().expect("nothing panics while it is held");
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let mut config = kube::Config::new(origin.parse().map_err(|_| format!("parse {origin:?}"))?);
        config.default_retry = false;
        config.disable_compression = true;
        if let Some(pem) = authority {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let all = all.map_err(|error| format!("unable to load root certificates: {error}"))?;
            if all.is_empty() {
                return Err("unable to load root certificates: no certificate in caBundle".to_owned());
            }
            config.root_cert = Some(all.into_iter().map(|der| der.to_vec()).collect());
        }
        let client = connect::client(config).map_err(|error| cause(&error))?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// What lies at the bottom of an error, within bounds.
fn cause(error: &(dyn Error + 'static)) -> String {
    let all: Vec<String> =
        std::iter::successors(Some(error), |error| (*error).source()).map(ToString::to_string).collect();
    all.last().map(|last| last.chars().take(WHY_MAX).collect()).unwrap_or_default()
}

impl kubeapi::Webhooks for Webhooks {
    fn ask(&self, call: &Call) -> BoxFuture<'static, Result<Value, String>> {
        let rest = call.url.strip_prefix("https://").unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let asked = call.clone();
        let wrong = move |why: String| asked.unanswered(&why);
        let made = self.client(&format!("https://{host}"), call.authority.as_deref()).and_then(|client| {
            let request = Request::post(format!("/{path}?timeout={}s", call.timeout_seconds))
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json, */*")
                .body(call.review.to_string().into_bytes());
            Ok((client, request.map_err(|error| error.to_string())?))
        });
        let seconds = Duration::from_secs(call.timeout_seconds);
        Box::pin(async move {
            let (client, request) = match made {
                Ok(made) => made,
                Err(why) => return wrong(why),
            };
            match timeout(seconds, client.request::<Value>(request)).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => wrong(cause(&error)),
                Err(_) => wrong("context deadline exceeded".to_owned()),
            }
        })
    }
}

/// Asks what webhooks are to be asked about what the controllers of twins write, for ever. How many questions are open at a time
/// is bounded by the twin.
pub async fn run(host: Arc<TwinHost>, webhooks: Arc<Webhooks>) {
    let mut under_way = FuturesUnordered::new();
    let mut asked = BTreeSet::new();
    loop {
        for (key, call) in host.questions(&mut asked) {
            let reply = kubeapi::Webhooks::ask(&*webhooks, &call);
            under_way.push(async move { (key, reply.await) });
        }
        tokio::select! {
            Some((key, reply)) = under_way.next() => {
                host.answer(&key.0, key.1, reply);
                asked.remove(&key);
            }
            () = host.asking() => {}
        }
    }
}
