//! The addresses that ask for something.

use super::ask::JsonBody;
use super::clock::{ClockIn, ClockOut};
use super::model::{DecisionOut, PlaceIn};
use crate::backend::{ClockOrder, PlaceError, SharedBackend, Speed};
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use control::Order;
use fleet::ClusterId;
use http::StatusCode;
use serde_json::Value;

/// Most alternatives one can ask for.
const ALTERNATIVES_MAX: usize = 50;

/// Alternatives named when nothing is said.
const ALTERNATIVES: usize = 5;

fn home(ask: &PlaceIn) -> Result<Option<ClusterId>, Problem> {
    let parsed = ask.home.as_deref().map(ClusterId::new).transpose();
    parsed.map_err(|error| Problem::invalid(format!("home: {error}")))
}

/// Where and when a Job would run, and what the alternatives cost; nothing is changed.
#[utoipa::path(post, path = "/api/v1/place", request_body = PlaceIn,
    responses((status = 200, body = DecisionOut), (status = "4XX", body = Problem)))]
pub async fn place(
    State(backend): State<SharedBackend>,
    JsonBody(ask): JsonBody<PlaceIn>,
) -> Result<Json<DecisionOut>, Problem> {
    let home = home(&ask)?;
    let alternatives = ask.alternatives.unwrap_or(ALTERNATIVES);
    if alternatives > ALTERNATIVES_MAX {
        let detail = format!("alternatives: {alternatives}: expected at most {ALTERNATIVES_MAX}");
        return Err(Problem::invalid(detail));
    }
    let view = backend.view();
    // Planning takes milliseconds of computing: not on the threads that answer.
    let task = tokio::task::spawn_blocking(move || backend.place(home, ask.job, alternatives));
    let decision: Result<_, PlaceError> =
        task.await.map_err(|e| Problem::internal("place the Job", &anyhow::Error::new(e)))?;
    Ok(Json(DecisionOut::new(&decision?, &view)))
}

/// Creates the Job in its home cluster; the loop then holds and places it.
#[utoipa::path(post, path = "/api/v1/place/apply", request_body = PlaceIn,
    responses((status = 201, description = "the Job as created", body = Object), (status = "4XX", body = Problem)))]
pub async fn apply(
    State(backend): State<SharedBackend>,
    JsonBody(ask): JsonBody<PlaceIn>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let home = home(&ask)?;
    let created = backend.apply(home, ask.job).await?;
    Ok((StatusCode::CREATED, Json(created)))
}

/// What a person wants: `{"type": "approve", "job": {"cluster", "namespace", "name"}}`,
/// `{"type": "release", "job": {…} or null for all}`, `{"type": "mode", "mode": "observe" | "approve" | "auto"}`,
/// `{"type": "policy", "kind": "optimal" | "score" | "soonest"}`.
#[utoipa::path(post, path = "/api/v1/orders", request_body = Object,
    responses((status = 202, description = "taken"), (status = "4XX", body = Problem)))]
pub async fn orders(
    State(backend): State<SharedBackend>,
    JsonBody(order): JsonBody<Order>,
) -> Result<StatusCode, Problem> {
    backend.order(order)?;
    Ok(StatusCode::ACCEPTED)
}

/// Pauses, resumes or paces a twin's clock.
#[utoipa::path(put, path = "/api/v1/clock", request_body = ClockIn,
    responses((status = 200, body = ClockOut), (status = "4XX", body = Problem)))]
pub async fn set_clock(
    State(backend): State<SharedBackend>,
    JsonBody(ask): JsonBody<ClockIn>,
) -> Result<Json<ClockOut>, Problem> {
    let speed = ask.speed.as_deref().map(str::parse::<Speed>).transpose()?;
    if speed.is_none() && ask.paused.is_none() {
        return Err(Problem::invalid("body: nothing asked for: expected speed, paused, or both"));
    }
    if let Some(speed) = speed {
        backend.set_clock(ClockOrder::Speed(speed))?;
    }
    if let Some(paused) = ask.paused {
        backend.set_clock(if paused { ClockOrder::Pause } else { ClockOrder::Resume })?;
    }
    Ok(Json(backend.clock().into()))
}
