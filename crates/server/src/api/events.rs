//! `GET /api/v1/events`: server-sent events, one each time the view changed.

use crate::backend::SharedBackend;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use std::convert::Infallible;
use std::time::Duration;

/// Least time between two events of one connection: four a second are more than a person sees.
const GAP: Duration = Duration::from_millis(250);

/// How often a comment is sent so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The view changed: an event `change` with `{"version": N, "at": "…"}`, at most 4 a second, the first at once.
#[utoipa::path(get, path = "/api/v1/events", responses((status = 200, description = "A stream of events", content_type = "text/event-stream", body = String)))]
pub async fn events(
    State(backend): State<SharedBackend>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let version = backend.version();
    let stream = stream::unfold((backend, version, true), |(backend, mut version, first)| async move {
        if !first {
            tokio::time::sleep(GAP).await;
            // The sender is gone when the server stops: so ends the stream.
            version.changed().await.ok()?;
        }
        let number = *version.borrow_and_update();
        let at = backend.clock().at.to_rfc3339_seconds();
        let event =
            Event::default().event("change").data(format!("{{\"version\":{number},\"at\":\"{at}\"}}"));
        Some((Ok(event), (backend, version, false)))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
