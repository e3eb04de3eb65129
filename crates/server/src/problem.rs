//! Errors as people and programs read them: `application/problem+json` (RFC 9457) with a `hint`.
//!
//! Invariants: `type` is stable (`urn:kubercarbon:problem:KIND`); `detail` says where, what was found and
//! what was expected; text of a database or of another process's failure is logged, never sent.

use crate::backend::{OrderError, PlaceError, SpeedError};
use axum::body::Body;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use control::WhatIfError;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// Largest request body read, in bytes (3 MiB: the API server's own bound on an object).
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// An error as it is sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:kubercarbon:problem:KIND`, stable.
    #[serde(rename = "type")]
    pub kind: String,
    /// What sort of problem, in a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Where, what was found, what was expected.
    pub detail: String,
    /// What to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem; `kind` is the last part of its type.
    pub fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:kubercarbon:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
        }
    }
    /// With what to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
    /// Something in the request's address or body cannot be.
    pub fn invalid(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", "invalid request", detail)
    }
    /// Nothing there.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "not found", detail)
    }
    /// No such address.
    pub fn no_address(path: &str) -> Problem {
        let shown: String = path.chars().take(200).collect();
        Problem::not_found(format!("{shown}: nothing lives here"))
            .hint("GET /openapi.json lists every address")
    }
    /// The address is right, the method is not.
    pub fn method(method: &http::Method, path: &str) -> Problem {
        let shown: String = path.chars().take(200).collect();
        let title = "method not allowed";
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            title,
            format!("{method} {shown}: not a method of this address"),
        )
        .hint("GET /openapi.json lists the methods of every address")
    }
    /// Our own fault; the chain is logged, not sent.
    pub fn internal(doing: &str, error: &anyhow::Error) -> Problem {
        tracing::error!("{doing}: {error:#}");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error",
            format!("{doing}: no answer"),
        )
        .hint("the server's log has the reason")
    }
    /// The body is not JSON, or not of the shape expected; the text has line and column.
    pub fn json(error: &serde_json::Error) -> Problem {
        let title = if error.is_data() { "JSON of another shape" } else { "not JSON" };
        Problem::new(StatusCode::BAD_REQUEST, "json", title, format!("body: {error}"))
            .hint("GET /openapi.json has the schema of every body")
    }
    /// The status, as a type.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of strings and a number always serialises.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<BytesRejection> for Problem {
    fn from(error: BytesRejection) -> Problem {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("body: more than {BODY_BYTES_MAX} bytes: expected at most {BODY_BYTES_MAX}");
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "body too large", detail);
        }
        Problem::invalid("body: it broke off before its end")
    }
}

impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Problem {
        Problem::invalid(format!("query: {}", error.body_text()))
    }
}

impl From<fleet::id::Error> for Problem {
    fn from(error: fleet::id::Error) -> Problem {
        Problem::invalid(error.to_string())
    }
}

impl From<SpeedError> for Problem {
    fn from(error: SpeedError) -> Problem {
        Problem::invalid(format!("speed: {error}"))
    }
}

impl From<WhatIfError> for Problem {
    fn from(error: WhatIfError) -> Problem {
        let detail = error.to_string();
        match error {
            WhatIfError::Unknown(_) => {
                Problem::not_found(detail).hint("GET /api/v1/jobs lists the Jobs under placement")
            }
            WhatIfError::NotReady => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "not ready yet", detail)
                    .hint("try again in a second")
            }
            WhatIfError::NotManaged => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "not-managed",
                "the Job does not ask for placement",
                detail,
            )
            .hint("add the label kubercarbon.io/placement: managed and spec.suspend: true"),
            WhatIfError::Cluster { .. } => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "cluster", "no such cluster", detail)
                    .hint("GET /api/v1/clusters lists the clusters")
            }
            WhatIfError::Name => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "job", "the Job cannot be placed", detail)
            }
        }
    }
}

impl From<PlaceError> for Problem {
    fn from(error: PlaceError) -> Problem {
        let detail = error.to_string();
        match error {
            PlaceError::WhatIf(error) => Problem::from(error),
            PlaceError::Job(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "job", "not a Job", detail),
            PlaceError::Home { .. } => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "cluster", "no home cluster", detail)
                    .hint("say in which cluster the Job is created: \"home\"")
            }
            PlaceError::ReadOnly => {
                Problem::new(StatusCode::CONFLICT, "read-only", "nothing is written", detail)
                    .hint("start it with: kubercarbon up --mode approve, or --mode auto")
            }
            PlaceError::Refused { code, .. } => {
                let known = StatusCode::from_u16(code).ok().filter(StatusCode::is_client_error);
                Problem::new(
                    known.unwrap_or(StatusCode::BAD_GATEWAY),
                    "refused",
                    "the cluster refused the Job",
                    detail,
                )
            }
            PlaceError::Unanswered { .. } => {
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "unanswered", "the cluster did not answer", detail)
                    .hint("look whether the Job is there before trying again")
            }
        }
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Problem {
        let detail = error.to_string();
        match error {
            OrderError::Unknown(_) => {
                Problem::not_found(detail).hint("kubercarbon status -o wide, or GET /api/v1/jobs, lists them")
            }
            OrderError::WallClock => {
                Problem::new(StatusCode::CONFLICT, "wall-clock", "not a twin's clock", detail)
            }
            OrderError::Invalid(_) => {
                Problem::new(StatusCode::CONFLICT, "order", "the order cannot be taken", detail)
            }
            OrderError::Stopping => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server is stopping", detail)
            }
        }
    }
}
