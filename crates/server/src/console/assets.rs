//! The page's own style, script and picture, from the binary.
//!
//! Invariant: the address carries a hash of the bytes, so that browsers keep them for ever and still get
//! a new version at once.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static str,
    hash: u64,
}

/// FNV-1a: tells versions apart, keeps no secret.
const fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

const fn asset(name: &'static str, kind: &'static str, bytes: &'static str) -> Asset {
    Asset { name, kind, bytes, hash: hash(bytes) }
}

/// Style.
pub const STYLE: Asset =
    asset("console.css", "text/css; charset=utf-8", include_str!("../../../../console/console.css"));
/// Script.
pub const SCRIPT: Asset =
    asset("console.js", "text/javascript; charset=utf-8", include_str!("../../../../console/console.js"));
/// Icon.
pub const ICON: Asset = asset("icon.svg", "image/svg+xml", include_str!("../../../../console/icon.svg"));

const ALL: [Asset; 3] = [STYLE, SCRIPT, ICON];

impl Asset {
    /// Its address.
    pub fn href(self) -> String {
        format!("/assets/{}?v={:016x}", self.name, self.hash)
    }
}

/// `GET /assets/{name}`.
pub fn serve(name: &str) -> Response {
    let Some(asset) = ALL.into_iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Response::new(Body::from(asset.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    response
}
