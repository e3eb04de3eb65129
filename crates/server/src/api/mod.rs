//! The REST API under `/api/v1`, described by `/openapi.json`.
//!
//! Invariants: every list is bounded (`limit`, `after`), every body at most
//! [`BODY_BYTES_MAX`](crate::problem::BODY_BYTES_MAX); errors are [`Problem`]s; nothing here decides
//! anything. Left out: signing in, and plans other than the schedule in force.

pub mod accounts;
mod ask;
mod clock;
mod decision;
mod events;
mod fit;
mod guard;
mod inventory;
pub mod model;
mod read;
mod series;
mod source;
mod write;

pub use guard::guard;
pub use read::{decide, key};

use crate::backend::SharedBackend;
use crate::problem::{BODY_BYTES_MAX, Problem};
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use utoipa::OpenApi;

/// The description of the API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kuber Carbon",
        description = "Where and when the Jobs of a fleet run, why, and what that saved. Units stand in the field names; times are RFC 3339 on the fleet's clock. Errors are application/problem+json. Requests that change something are application/json from this machine."
    ),
    paths(
        read::clusters,
        inventory::inventory,
        read::jobs,
        read::job,
        read::plans,
        read::ledger,
        accounts::accounts,
        accounts::top,
        read::signals,
        read::clock,
        read::journal,
        fit::capacity,
        fit::why,
        events::events,
        write::place,
        write::apply,
        write::orders,
        write::set_clock
    ),
    components(schemas(Problem))
)]
pub struct ApiDoc;

/// The API's routes, without [`guard`] and without a fallback.
pub fn router(backend: SharedBackend) -> Router {
    Router::new()
        .route("/api/v1/clusters", get(read::clusters))
        .route("/api/v1/clusters/{name}/inventory", get(inventory::inventory))
        .route("/api/v1/jobs", get(read::jobs))
        .route("/api/v1/jobs/{cluster}/{namespace}/{name}", get(read::job))
        .route("/api/v1/plans", get(read::plans))
        .route("/api/v1/ledger", get(read::ledger))
        .route("/api/v1/accounts", get(accounts::accounts))
        .route("/api/v1/top", get(accounts::top))
        .route("/api/v1/signals", get(read::signals))
        .route("/api/v1/journal", get(read::journal))
        .route("/api/v1/capacity", post(fit::capacity))
        .route("/api/v1/pods/{cluster}/{namespace}/{name}", get(fit::why))
        .route("/api/v1/clock", get(read::clock).put(write::set_clock))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/place", post(write::place))
        .route("/api/v1/place/apply", post(write::apply))
        .route("/api/v1/orders", post(write::orders))
        .route("/openapi.json", get(|| async { Json(ApiDoc::openapi()) }))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(backend)
}

/// What a wrong method gets.
pub async fn wrong_method(request: Request) -> Response {
    Problem::method(request.method(), request.uri().path()).into_response()
}
