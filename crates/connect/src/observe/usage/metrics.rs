//! `metrics.k8s.io/v1beta1`, as metrics-server and its like serve it: nodes, then pods, each list in pages where the
//! server gives pages.
//!
//! Invariants: amounts are read exactly; an object whose amounts cannot be read, or that was not measured lately, is
//! left out and counted. A pod's use is the sum over its containers. Units: nanocores, bytes.

use super::Age;
use super::bounded::{ITEMS_MAX, items};
use crate::client::TooLarge;
use crate::observe::about::words;
use control::usage::{AGE_MAX, NodeUse, PodUse, UsageReport, cpu, memory};
use fleet::{Bytes, Cpu, Instant, NodeName, Provenance, SignalKind};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// Its name, as people know it.
pub const NAME: &str = "metrics.k8s.io";
/// Longest one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(20);
/// Objects asked for at a time; metrics-server itself gives all at once.
const PAGE_SIZE: u32 = 500;
/// Most pages of one list: as many as [`ITEMS_MAX`] needs.
const PAGES_MAX: usize = ITEMS_MAX / PAGE_SIZE as usize;
/// Longest token of a page that is sent back, in bytes.
const TOKEN_MAX: usize = 4096;
/// Most containers of a pod that are added up: Kubernetes has no bound, pods of a hundred are unheard of.
const CONTAINERS_MAX: usize = 1000;

/// The metrics API of one cluster.
pub struct Metrics {
    client: kube::Client,
    age: Age,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Vec::new", deserialize_with = "items", bound(deserialize = "T: Deserialize<'de>"))]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(rename = "continue", default)]
    more: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    cpu: Option<String>,
    #[serde(default)]
    memory: Option<String>,
}

#[derive(Deserialize)]
struct NodeMetrics {
    metadata: Meta,
    timestamp: Option<String>,
    usage: Usage,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Meta,
    timestamp: Option<String>,
    #[serde(default, deserialize_with = "items")]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    usage: Usage,
}

impl Usage {
    fn amounts(&self) -> Option<(Cpu, Bytes)> {
        Some((cpu(self.cpu.as_deref()?)?, memory(self.memory.as_deref()?)?))
    }
}

impl PodMetrics {
    fn amounts(&self) -> Option<(Cpu, Bytes)> {
        if self.containers.is_empty() || self.containers.len() > CONTAINERS_MAX {
            return None;
        }
        let zero = (Cpu::ZERO, Bytes::ZERO);
        self.containers.iter().try_fold(zero, |sum, container| {
            let (cpu, memory) = container.usage.amounts()?;
            Some((sum.0 + cpu, sum.1 + memory))
        })
    }
}

impl Metrics {
    /// Over this connection.
    pub fn new(client: kube::Client) -> Metrics {
        Metrics { client, age: Age::default() }
    }

    /// What is used now.
    ///
    /// # Errors
    /// In words: it is not there, refuses, does not answer, or answers what it should not.
    pub async fn look(&mut self, now: Instant) -> Result<UsageReport, String> {
        let (nodes, pods) = tokio::join!(self.list::<NodeMetrics>("nodes"), self.list::<PodMetrics>("pods"));
        let (nodes, pods) = (nodes?, pods?);
        let time = |text: &Option<String>| text.as_deref().and_then(|text| Instant::parse(text).ok());
        let times = nodes.iter().map(|node| &node.timestamp).chain(pods.iter().map(|pod| &pod.timestamp));
        let Some(newest) = times.filter_map(time).max() else {
            return Err(format!("{NAME}: nothing with a time: expected nodes and pods measured lately"));
        };
        let fresh = |text: &Option<String>| time(text).is_some_and(|at| at + AGE_MAX >= newest);
        let all = nodes.len() + pods.len();
        let mut report = UsageReport {
            at: self.age.stated(newest, now),
            from: Provenance { source: NAME.to_owned(), kind: SignalKind::Measured, as_of: now },
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        for node in nodes.iter().filter(|node| fresh(&node.timestamp)) {
            if let (Some((cpu, memory)), Ok(name)) =
                (node.usage.amounts(), NodeName::new(&node.metadata.name))
            {
                report.nodes.insert(name, NodeUse { cpu, memory, power: None, price: None });
            }
        }
        for pod in pods.iter().filter(|pod| fresh(&pod.timestamp)) {
            if let Some((cpu, memory)) = pod.amounts() {
                let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
                report.pods.insert(name, PodUse { cpu, memory, power: None });
            }
        }
        report.from.as_of = report.at;
        let left_out = all - report.nodes.len() - report.pods.len();
        if left_out > 0 {
            report.from.source = format!("{NAME} ({left_out} of {all} unreadable or old, left out)");
        }
        Ok(report)
    }

    /// A whole list.
    async fn list<T: serde::de::DeserializeOwned>(&self, resource: &str) -> Result<Vec<T>, String> {
        let mut all = Vec::new();
        let mut more = String::new();
        for _ in 0..PAGES_MAX {
            let page: List<T> = self.page(resource, &more).await?;
            all.extend(page.items);
            if all.len() > ITEMS_MAX {
                break;
            }
            match page.metadata.more.filter(|token| !token.is_empty()) {
                None => return Ok(all),
                Some(token) if token.len() > TOKEN_MAX => {
                    return Err(format!(
                        "{NAME}: {resource}: a continue token of {} bytes: expected at most {TOKEN_MAX}",
                        token.len()
                    ));
                }
                Some(token) => more = token,
            }
        }
        Err(format!("{NAME}: {resource}: more than {ITEMS_MAX} items: expected at most that"))
    }

    async fn page<T: serde::de::DeserializeOwned>(
        &self,
        resource: &str,
        more: &str,
    ) -> Result<List<T>, String> {
        let mut path = format!("/apis/metrics.k8s.io/v1beta1/{resource}?limit={PAGE_SIZE}");
        if !more.is_empty() {
            path += &format!("&continue={}", super::prometheus::escape(more));
        }
        let request = http::Request::get(path).header(http::header::ACCEPT, "application/json");
        let request = request.body(Vec::new()).map_err(|e| format!("{NAME}: {resource}: {e}"))?;
        let answer = timeout(PAGE_TIMEOUT, self.client.request_text(request)).await;
        let text = match answer {
            Err(_) => return Err(format!("{NAME}: no answer within {} s", PAGE_TIMEOUT.as_secs())),
            Ok(Err(error)) => return Err(format!("{NAME}: {}", refusal(&error))),
            Ok(Ok(text)) => text,
        };
        serde_json::from_str(&text).map_err(|error| {
            format!("{NAME}: {resource}: {} bytes: {error}: expected a list of metrics", text.len())
        })
    }
}

/// What a failure comes to. 404 has one meaning, whatever words it comes with.
fn refusal(error: &kube::Error) -> Cow<'static, str> {
    match error {
        kube::Error::Api(status) if status.code == 404 => "404: no metrics server here".into(),
        kube::Error::Api(status) if status.code == 403 => {
            format!("{}; kubercarbon rbac prints the rights that are needed", words(error)).into()
        }
        error if TooLarge::is_behind(error) => error.to_string().into(),
        error => words(error).into(),
    }
}
