//! Answers: documents in JSON or protobuf, `Status` documents, warnings.

use crate::negotiate::Media;
use crate::protobuf;
use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use twin::Status;

/// Media type of all documents.
pub(crate) const JSON: &str = "application/json";
/// Longest warning sent, in characters.
const WARNING_MAX: usize = 256;
/// Most warnings sent.
const WARNINGS_MAX: usize = 16;

/// Bytes of a media type under a status code.
pub(crate) fn bytes(code: u16, media: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A document.
pub(crate) fn json(code: u16, document: &Value) -> Response {
    bytes(code, JSON, document.to_string())
}

/// A document, in protobuf where that is wanted and there is any of it.
pub(crate) fn document(code: u16, document: &Value, media: Media) -> Response {
    let encoded = if media == Media::Protobuf { protobuf::encode(document) } else { None };
    match encoded {
        Some(body) => bytes(code, protobuf::MEDIA, body),
        None => json(code, document),
    }
}

/// A refusal.
pub(crate) fn status(status: &Status, media: Media) -> Response {
    let mut response = document(status.code, &status.to_value(), media);
    if let Some(seconds) = status.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning` headers.
pub(crate) fn warn(mut response: Response, warnings: &[String]) -> Response {
    for text in warnings.iter().take(WARNINGS_MAX) {
        let plain: String = text.chars().filter(|c| !c.is_control()).take(WARNING_MAX).collect();
        let quoted = plain.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append("warning", value);
        }
    }
    response
}
