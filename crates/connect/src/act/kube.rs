//! Carries out [`ApiCall`]s on the clusters' APIs, under the field manager `kubercarbon`.
//!
//! Invariants: each call may be repeated after a crash or a lost answer: a copy that is there already
//! and is ours counts as created, a Job that is gone (or another of its name) as deleted, an Event that
//! is there as told. Every delete names `propagationPolicy: Background` and the uid: without the former
//! the API server orphans a Job's pods. One call is bounded by [`CALL_TIMEOUT`]; there are no retries
//! here, `control` decides what to try again.

use super::needs;
use crate::client::Clients;
use control::{ApiCall, Failure, JobVersion, MANAGER, ORIGIN_UID_LABEL, Outcome};
use fleet::ClusterId;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Longest one call may take, the look that may follow a conflict included. The API server gives up on a
/// request after 60 s, but what has not been answered in half of that is better asked again.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What the client library puts for `reason` when an error's body is not a `Status`: then a proxy or a
/// gateway spoke, not the API server.
const NOT_A_STATUS: &str = "Failed to parse error data";

/// For how much longer a cluster may be written to; or why not at all, in words.
pub type Fence = Arc<dyn Fn(&ClusterId) -> Result<Duration, String> + Send + Sync>;

/// Writes to the clusters of a fleet.
#[derive(Clone, Default)]
pub struct Hands {
    /// A connection to each cluster that may be written to.
    pub clients: Clients,
    /// Where the right to write ends with a Lease: no call outlasts it.
    pub fence: Option<Fence>,
}

impl Hands {
    /// Carries out one call.
    ///
    /// A create or patch answers with the Job as it is now (without `managedFields`), everything else,
    /// a dry run included, with `Done`.
    ///
    /// # Errors
    /// [`Failure::Refused`] when the API server answered no; [`Failure::Unanswered`] when there was no
    /// answer in [`CALL_TIMEOUT`], none that could be read, or there is no connection to the cluster.
    pub async fn carry_out(&self, cluster: &ClusterId, call: ApiCall) -> Result<Outcome, Failure> {
        let what = describe(cluster, &call);
        let Some(client) = self.clients.get(cluster) else {
            return Err(Failure::Unanswered { message: format!("{what}: no connection to this cluster") });
        };
        let writes = !matches!(call, ApiCall::ReadJob { .. });
        let left = self.fence.as_ref().filter(|_| writes).map_or(Ok(CALL_TIMEOUT), |fence| fence(cluster));
        let left = left.map_err(|why| Failure::Unanswered { message: format!("{what}: not sent: {why}") })?;
        let done = async {
            match call {
                ApiCall::CreateJob { job, dry_run: true } => try_job(client, cluster, &job).await,
                ApiCall::CreateJob { job, dry_run: false } => create_job(client, &job).await,
                ApiCall::ReadJob { namespace, name } => {
                    Api::namespaced(client, &namespace).get(&name).await.map(job_outcome)
                }
                ApiCall::PatchJob { namespace, name, patch, status } => {
                    patch_job(Api::namespaced(client, &namespace), &name, patch, status).await
                }
                ApiCall::DeleteJob { namespace, name, uid } => {
                    delete_job(Api::namespaced(client, &namespace), &name, uid).await
                }
                ApiCall::CreateEvent { event } => create_event(client, &event).await,
            }
        };
        in_time(&what, left.min(CALL_TIMEOUT), done).await
    }
}

/// Names a call for messages: `cluster kr: create job default/train`.
fn describe(cluster: &ClusterId, call: &ApiCall) -> String {
    let named = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}/{}", text(&meta.namespace), text(&meta.name))
    };
    let what = match call {
        ApiCall::CreateJob { job, dry_run: true } => format!("dry run of job {}", named(&job.metadata)),
        ApiCall::CreateJob { job, dry_run: false } => format!("create job {}", named(&job.metadata)),
        ApiCall::ReadJob { namespace, name } => format!("read job {namespace}/{name}"),
        ApiCall::PatchJob { namespace, name, status: true, .. } => {
            format!("patch status of job {namespace}/{name}")
        }
        ApiCall::PatchJob { namespace, name, status: false, .. } => format!("patch job {namespace}/{name}"),
        ApiCall::DeleteJob { namespace, name, .. } => format!("delete job {namespace}/{name}"),
        ApiCall::CreateEvent { event } => format!("create event {}", named(&event.metadata)),
    };
    format!("cluster {cluster}: {what}")
}

async fn in_time<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failure(what, error)),
        Err(_) => {
            let cut = if limit < CALL_TIMEOUT { ", when the right to write to it ended" } else { "" };
            Err(Failure::Unanswered {
                message: format!("{what}: no answer within {} s{cut}", limit.as_secs()),
            })
        }
    }
}

fn failure(what: &str, error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.reason != NOT_A_STATUS && status.code != 0 => {
            let (reason, message) = (clip(&status.reason), clip(&status.message));
            Failure::Refused { code: status.code, reason, message }
        }
        kube::Error::Api(status) => Failure::Unanswered {
            message: format!(
                "{what}: HTTP {} that is not from an API server: {}",
                status.code,
                clip(&status.message)
            ),
        },
        // Nothing has been sent: as definite as a refusal.
        error @ kube::Error::BuildRequest(_) => Failure::Refused {
            code: 400,
            reason: "BadRequest".to_owned(),
            message: format!("{what}: {error}"),
        },
        error => Failure::Unanswered { message: format!("{what}: {}", clip(&error.to_string())) },
    }
}

/// Most characters of an error that are passed on: as many as an Event takes.
const WORDS_MAX: usize = 1024;

/// The first [`WORDS_MAX`] characters: servers and gateways put in an error what they like.
fn clip(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

fn job_outcome(job: Job) -> Outcome {
    Outcome::Job(JobVersion { job: Arc::new(job.into()) })
}

fn post(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) }
}

fn origin(job: &Job) -> Option<&String> {
    job.metadata.labels.as_ref()?.get(ORIGIN_UID_LABEL)
}

fn jobs_of(client: kube::Client, job: &Job) -> Api<Job> {
    Api::namespaced(client, job.metadata.namespace.as_deref().unwrap_or_default())
}

async fn try_job(client: kube::Client, cluster: &ClusterId, job: &Job) -> Result<Outcome, kube::Error> {
    jobs_of(client.clone(), job).create(&post(true), job).await?;
    needs::there(&client, cluster, job).await?;
    Ok(Outcome::Done)
}

async fn create_job(client: kube::Client, job: &Job) -> Result<Outcome, kube::Error> {
    let api = jobs_of(client, job);
    let refused = match api.create(&post(false), job).await {
        Ok(created) => return Ok(job_outcome(created)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => kube::Error::Api(status),
        Err(error) => return Err(error),
    };
    // An earlier attempt whose answer was lost leaves the copy behind: the same origin says that it is ours.
    let Some(name) = job.metadata.name.as_deref() else { return Err(refused) };
    match api.get_opt(name).await? {
        Some(there) if origin(job).is_some() && origin(&there) == origin(job) => Ok(job_outcome(there)),
        _ => Err(refused),
    }
}

async fn patch_job(api: Api<Job>, name: &str, patch: Value, status: bool) -> Result<Outcome, kube::Error> {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(patch);
    let patched = if status {
        api.patch_status(name, &params, &patch).await?
    } else {
        api.patch(name, &params, &patch).await?
    };
    Ok(job_outcome(patched))
}

async fn delete_job(api: Api<Job>, name: &str, uid: String) -> Result<Outcome, kube::Error> {
    let mut params = DeleteParams::background();
    params.preconditions = Some(Preconditions { uid: Some(uid.clone()), resource_version: None });
    match api.delete(name, &params).await {
        Ok(_) => Ok(Outcome::Done),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Outcome::Done),
        Err(kube::Error::Api(status)) if status.code == 409 => match api.get_opt(name).await? {
            // Still the one we meant: the conflict was another one than the uid's.
            Some(there) if there.metadata.uid.as_ref() == Some(&uid) => Err(kube::Error::Api(status)),
            _ => Ok(Outcome::Done),
        },
        Err(error) => Err(error),
    }
}

async fn create_event(client: kube::Client, event: &Event) -> Result<Outcome, kube::Error> {
    let api: Api<Event> = Api::namespaced(client, event.metadata.namespace.as_deref().unwrap_or_default());
    match api.create(&post(false), event).await {
        Ok(_) => Ok(Outcome::Done),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Outcome::Done),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_never_comes_is_no_answer() {
        let never = std::future::pending::<Result<Outcome, kube::Error>>();
        let failed =
            in_time("cluster kr: create job a/b", Duration::from_millis(5), never).await.unwrap_err();
        let expected =
            "cluster kr: create job a/b: no answer within 0 s, when the right to write to it ended"
                .to_owned();
        assert_eq!(failed, Failure::Unanswered { message: expected });
    }

    #[tokio::test]
    async fn a_cluster_without_connection_is_no_answer() {
        let call = ApiCall::DeleteJob { namespace: "a".into(), name: "b".into(), uid: "u".into() };
        let failed = Hands::default().carry_out(&ClusterId::new("kr").unwrap(), call).await.unwrap_err();
        let Failure::Unanswered { message } = failed else { panic!("{failed:?}") };
        assert_eq!(message, "cluster kr: delete job a/b: no connection to this cluster");
    }

    #[test]
    fn a_gateways_page_is_not_the_api_servers_no() {
        let page = |code| kube::core::Status::failure("<html>", NOT_A_STATUS).with_code(code).boxed();
        assert!(matches!(failure("x", kube::Error::Api(page(404))), Failure::Unanswered { .. }));
        let no = kube::core::Status::failure("exceeded quota", "Forbidden").with_code(403).boxed();
        let expected =
            Failure::Refused { code: 403, reason: "Forbidden".into(), message: "exceeded quota".into() };
        assert_eq!(failure("x", kube::Error::Api(no)), expected);
    }
}
