//! What is asked of a real cluster once, before it is watched: who it is, and where its nodes say they are.
//!
//! Invariant: two reads, each under a timeout; nothing is written.

use crate::client::TooLarge;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, ListParams};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

/// Longest each of the two reads may take: a cluster that takes longer counts as one that does not answer yet.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes looked at: those of a cluster stand in one region but for few.
const NODES_MAX: u32 = 500;
/// The namespace whose uid tells clusters apart: it is as old as the cluster.
const OLDEST: &str = "kube-system";
/// Most characters of an error that are passed on.
const WORDS_MAX: usize = 500;

/// What a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Uid of the namespace `kube-system`; `Err`: why it could not be read.
    pub uid: Result<String, String>,
    /// How many of its nodes say which region.
    pub regions: BTreeMap<String, usize>,
}

/// Asks a cluster who and where it is.
///
/// # Errors
/// In words, when its nodes cannot be read: it does not answer, or refuses.
pub async fn ask(client: &kube::Client) -> Result<About, String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = in_time("list nodes", nodes.list_metadata(&ListParams::default().limit(NODES_MAX))).await?;
    let mut regions = BTreeMap::new();
    for node in nodes.items {
        let labels = node.metadata.labels.unwrap_or_default();
        if let Some(region) =
            labels.get(control::whereabouts::REGION_LABEL).filter(|region| !region.is_empty())
        {
            *regions.entry(region.clone()).or_insert(0) += 1;
        }
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = in_time("get namespace kube-system", namespaces.get_metadata(OLDEST)).await;
    let uid = uid.and_then(|namespace| {
        namespace
            .metadata
            .uid
            .filter(|uid| !uid.is_empty())
            .ok_or_else(|| format!("namespace {OLDEST} has no uid"))
    });
    Ok(About { uid, regions })
}

async fn in_time<T>(what: &str, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match timeout(ASK_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{what}: {}", words(&error))),
        Err(_) => Err(format!("{what}: no answer within {} s", ASK_TIMEOUT.as_secs())),
    }
}

/// What a client's error comes to, for people.
pub fn words(error: &kube::Error) -> String {
    let text = match error {
        kube::Error::Api(status) => format!("{} {}: {}", status.code, status.reason, status.message),
        error if TooLarge::is_behind(error) => error.to_string(),
        error => crate::contexts::chain(error),
    };
    text.chars().take(WORDS_MAX).collect()
}
