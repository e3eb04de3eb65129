//! Writes that wait for admission webhooks: the twin says whom to ask, somebody asks, and the write is sent again.
//!
//! Invariants: nothing of the write is done before all have answered; each round either ends it or brings new answers, and
//! rounds, calls and time are bounded. What is asked, and what an answer means, is the twin's.

use crate::service::Cluster;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use twin::Status;
use twin::apiserver::{Answer, Call, Pending, Reviews, has_webhooks};

/// Most rounds of one write: each mutating webhook takes one, two where it is asked again, and objects that change meanwhile
/// cost another.
const ROUNDS_MAX: usize = 100;
/// Most questions of one write; the delete of a collection asks about each of its objects.
const CALLS_MAX: usize = 5_000;
/// Questions under way at a time for one write.
const TOGETHER_MAX: usize = 16;
/// Longest that a write waits for webhooks (Kubernetes gives a request 60 s).
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Who asks admission webhooks.
pub trait Webhooks: Send + Sync + 'static {
    /// Posts the review of a call and gives the document that came back, within the time it is given. The error says in a few
    /// words what went wrong.
    fn ask(&self, call: &Call) -> BoxFuture<'static, Result<Value, String>>;
}

/// Carries out a write, and asks on its way whoever must be asked.
pub(crate) async fn write(cluster: &Cluster, mut write: twin::Request) -> Result<twin::Response, Status> {
    let asks = cluster.read(|objects, _| has_webhooks(objects))?;
    let Some(webhooks) = cluster.access.webhooks.as_deref().filter(|_| asks) else {
        return cluster.twin.write(&cluster.id, write).await;
    };
    let end = Instant::now() + WAIT_MAX;
    let mut reviews = Reviews::default();
    for _ in 0..ROUNDS_MAX {
        write.options.reviews = Some(Box::new(reviews.clone()));
        let pending = match cluster.twin.write(&cluster.id, write.clone()).await {
            Err(Status { pending: Some(pending), .. }) => pending,
            done => return done,
        };
        let Pending { calls, drawn } = *pending;
        if reviews.answers.len() + calls.len() > CALLS_MAX {
            let why = format!(
                "{} objects to ask webhooks about: expected at most {CALLS_MAX}",
                reviews.answers.len() + calls.len()
            );
            return Err(Status::new(413, "RequestEntityTooLarge", why));
        }
        reviews.drawn = drawn.or(reviews.drawn);
        let answers = timeout_at(end, ask(webhooks, calls)).await;
        reviews.answers.extend(answers.map_err(|_| {
            let why = format!("Timeout: request did not complete within requested timeout {WAIT_MAX:?}");
            Status::new(504, "Timeout", why)
        })?);
    }
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    Err(Status::conflict(write.kind.resource(), &write.name, why))
}

async fn ask(webhooks: &dyn Webhooks, calls: Vec<Call>) -> Vec<Answer> {
    let one = |call: Call| {
        let reply = webhooks.ask(&call);
        async move { call.answered(reply.await) }
    };
    stream::iter(calls.into_iter().map(one)).buffered(TOGETHER_MAX).collect().await
}
