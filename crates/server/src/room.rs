//! What people ask about room on pages: how many more pods of a size fit, and why a pod is where it is, or nowhere.
//!
//! An answer is made from a cluster's state as it is then, read over its API ([`crate::fit`]). A page is fetched again whenever
//! something changes, so an answer stands for [`KEPT_FOR`] and one cluster is read at a time. Nothing is written.

use crate::fit::{self, Capacity, WhyPod};
use crate::wall::Stopwatch;
use anyhow::Context;
use fleet::{ClusterId, Span};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Mutex;

/// How long an answer stands: reading a large cluster costs its API server and this process a second.
const KEPT_FOR: Span = Span::MINUTE;
/// Answers kept.
const KEPT: usize = 8;
/// Pods counted at most: more than any cluster may have.
const MOST: usize = 200_000;

/// What is asked of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// How many more pods with these requests fit.
    Capacity {
        /// CPU, as a manifest has it.
        cpu: String,
        /// Memory.
        memory: String,
        /// GPUs (`nvidia.com/gpu`); empty: none.
        gpus: String,
    },
    /// Why a pod is where it is.
    Why {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Asked::Capacity`].
    Capacity(Capacity),
    /// To [`Asked::Why`]; `None`: there is no such pod.
    Why(Option<WhyPod>),
}

struct Kept {
    cluster: ClusterId,
    asked: Asked,
    since: Stopwatch,
    answer: Arc<Answer>,
}

/// Answers questions about room.
#[derive(Default)]
pub struct Rooms {
    kept: Mutex<VecDeque<Kept>>,
}

impl Rooms {
    /// The answer as of now, or as of a minute ago.
    ///
    /// # Errors
    /// When the cluster cannot be read, or a request is no quantity.
    pub async fn answer(
        &self,
        client: &kube::Client,
        cluster: &ClusterId,
        asked: Asked,
    ) -> anyhow::Result<Arc<Answer>> {
        let mut kept = self.kept.lock().await;
        kept.retain(|known| known.since.elapsed() < KEPT_FOR);
        if let Some(known) = kept.iter().find(|known| known.cluster == *cluster && known.asked == asked) {
            return Ok(known.answer.clone());
        }
        let pod = match &asked {
            Asked::Capacity { cpu, memory, gpus } => Some(pod(cpu, memory, gpus)?),
            Asked::Why { .. } => None,
        };
        let seen = fit::look(client).await.with_context(|| format!("read {cluster}"))?;
        let answer = match (&asked, pod) {
            (Asked::Why { namespace, name }, _) => Answer::Why(seen.why(namespace, name)),
            (Asked::Capacity { .. }, pod) => Answer::Capacity(seen.capacity(&pod.unwrap_or_default(), MOST)?),
        };
        let answer = Arc::new(answer);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept {
            cluster: cluster.clone(),
            asked,
            since: Stopwatch::start(),
            answer: answer.clone(),
        });
        Ok(answer)
    }
}

/// A pod of one container with these requests.
fn pod(cpu: &str, memory: &str, gpus: &str) -> anyhow::Result<k8s_openapi::api::core::v1::Pod> {
    let mut requests = json!({"cpu": cpu, "memory": memory});
    let mut limits = json!({});
    if !gpus.is_empty() {
        requests["nvidia.com/gpu"] = json!(gpus);
        limits["nvidia.com/gpu"] = json!(gpus);
    }
    let container =
        json!({"name": "main", "image": "any", "resources": {"requests": requests, "limits": limits}});
    fit::pod_of(
        json!({"kind": "Pod", "metadata": {"name": "one-more", "namespace": "default"}, "spec": {"containers": [container]}}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_pod_or_the_word_that_is_wrong() {
        let pod = pod("500m", "1Gi", "2").unwrap();
        let requests = twin::apiserver::pod_requests(pod.spec.as_ref().unwrap());
        assert_eq!((requests.cpu, requests.gpu), (fleet::Cpu::from_millis(500), 2));
        assert_eq!(requests.memory, fleet::Bytes::from_gib(1));
        for wrong in [("much", "1Gi", ""), ("1", "1 GB", ""), ("1", "1Gi", "-1")] {
            assert!(super::pod(wrong.0, wrong.1, wrong.2).is_err(), "{wrong:?}");
        }
    }
}
