//! What fits where: how many more pods of a kind, and why a pod is where it is. Read anew from the cluster each time.
//!
//! Answers are in pods, nodes and the scheduler's scores (0 to 100 a plugin, times its weight); they are worked out
//! from what is requested, not from what is used.

use super::ask::JsonBody;
use crate::backend::SharedBackend;
use crate::fit::{self, Seen, WhyPod};
use crate::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use fleet::ClusterId;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use twin::scheduler::Config;
use utoipa::ToSchema;

/// Most pods counted, unless said otherwise.
const PODS: usize = 10_000;
/// Most pods one can have counted.
const PODS_MAX: usize = 1_000_000;

/// Which pod, and where it is to fit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CapacityIn {
    /// A Pod, or a Job, Deployment… whose pods are meant.
    #[schema(value_type = Object)]
    pub pod: Value,
    /// Names of clusters; default: all.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Stop counting there: 1 to 1,000,000, default 10,000.
    pub most: Option<usize>,
    /// A `KubeSchedulerConfiguration` in place of the clusters' own.
    #[schema(value_type = Option<Object>)]
    pub scheduler: Option<Value>,
}

/// A cluster as its scheduler sees it, now.
async fn look(
    backend: &SharedBackend,
    cluster: &ClusterId,
    config: Option<&Config>,
) -> Result<Seen, Problem> {
    let unanswered = |why: String| {
        let detail = format!("cluster \"{cluster}\": {why}");
        Problem::new(StatusCode::BAD_GATEWAY, "unanswered", "the cluster did not answer", detail)
    };
    let seen = backend.look(cluster).await.map_err(|error| unanswered(format!("{error:#}")))?;
    let seen = seen.ok_or_else(|| unanswered("no connection to it yet".to_owned()))?;
    Ok(match config {
        Some(config) => seen.with_scheduler(config.clone()),
        None => seen,
    })
}

fn known(backend: &SharedBackend, name: &str) -> Result<ClusterId, Problem> {
    let view = backend.view();
    let names = || view.clusters.iter().map(|c| c.facts.id.as_str()).collect::<Vec<_>>().join(", ");
    let found = view.clusters.iter().find(|c| c.facts.id.as_str() == name).map(|c| c.facts.id.clone());
    found.ok_or_else(|| Problem::not_found(format!("cluster {name:?}: expected one of {}", names())))
}

/// How many more pods like one fit into each cluster, on which nodes, and what runs out first. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/capacity", request_body = CapacityIn,
    responses((status = 200, description = "`clusters`: of each its `cluster` and what `fit::Capacity` says, or `unknownWhy`", body = Object),
        (status = "4XX", body = Problem)))]
pub async fn capacity(
    State(backend): State<SharedBackend>,
    JsonBody(ask): JsonBody<CapacityIn>,
) -> Result<Json<Value>, Problem> {
    let most = ask.most.unwrap_or(PODS);
    if !(1..=PODS_MAX).contains(&most) {
        return Err(Problem::invalid(format!("most: {most}: expected 1 to {PODS_MAX}")));
    }
    let config = ask.scheduler.as_ref().map(Config::read).transpose();
    let config = config.map_err(|error| Problem::invalid(format!("scheduler: {error}")))?;
    let pod = fit::pod_of(ask.pod).map_err(|error| Problem::invalid(format!("pod: {error:#}")))?;
    let all = backend.view().clusters.iter().map(|c| c.facts.id.to_string()).collect();
    let names = if ask.clusters.is_empty() { all } else { ask.clusters };
    let wanted = names.iter().map(|name| known(&backend, name)).collect::<Result<Vec<_>, _>>()?;
    let mut clusters = Vec::with_capacity(wanted.len());
    for cluster in wanted {
        let seen = match look(&backend, &cluster, config.as_ref()).await {
            Ok(seen) => seen,
            Err(problem) => {
                clusters.push(json!({"cluster": cluster, "unknownWhy": problem.detail}));
                continue;
            }
        };
        let pod = pod.clone();
        // Placing thousands of pods takes computing: not on the threads that answer.
        let task = tokio::task::spawn_blocking(move || seen.capacity(&pod, most));
        let found = task.await.map_err(|e| Problem::internal("count pods", &anyhow::Error::new(e)))?;
        let found = found.map_err(|error| Problem::invalid(format!("pod: {error:#}")))?;
        let found = serde_json::to_value(found);
        let mut found = found.map_err(|e| Problem::internal("write the answer", &anyhow::Error::new(e)))?;
        found["cluster"] = json!(cluster);
        clusters.push(found);
    }
    Ok(Json(json!({"clusters": clusters})))
}

/// Why a pod is where it is, or nowhere: what each node's filters or scores say, and which single change would make it
/// fit. Nothing is changed.
#[utoipa::path(get, path = "/api/v1/pods/{cluster}/{namespace}/{name}",
    params(("cluster" = String, Path), ("namespace" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = WhyPod), (status = "4XX", body = Problem)))]
pub async fn why(
    State(backend): State<SharedBackend>,
    Path((cluster, namespace, name)): Path<(String, String, String)>,
) -> Result<Json<WhyPod>, Problem> {
    let cluster = known(&backend, &cluster)?;
    let seen = look(&backend, &cluster, None).await?;
    let place = format!("cluster \"{cluster}\" has no pod {namespace}/{name}");
    let task = tokio::task::spawn_blocking(move || seen.why(&namespace, &name));
    let why = task.await.map_err(|e| Problem::internal("explain the pod", &anyhow::Error::new(e)))?;
    why.map(Json).ok_or_else(|| Problem::not_found(place))
}
