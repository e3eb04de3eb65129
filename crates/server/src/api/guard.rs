//! Who may talk to a server on loopback: the browser's own pages and programs of this machine.
//!
//! Invariants: a request whose `Host` is not a loopback name is refused (a page elsewhere could point its
//! own name at 127.0.0.1: DNS rebinding); a request that changes something comes from the same origin,
//! or from no page at all, and is JSON, which a foreign page cannot send without asking first. Each answer
//! carries headers that keep a page from loading or running anything that is not ours. Left out: who the
//! person is.

use crate::problem::Problem;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::net::IpAddr;

/// Nothing inline, nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The middleware: checks the request, hands it on, adds the headers.
pub async fn guard(request: Request, next: Next) -> Response {
    let mut response = match check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let cache = HeaderValue::from_static("no-store");
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(cache);
    response
}

fn forbidden(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "request from elsewhere", detail)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"))
}

fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| text(headers, "host"));
    let Some(host) = host else {
        return Err(Problem::invalid("header Host: not given: expected this server's address"));
    };
    if !loopback(host) {
        let shown: String = host.chars().take(80).collect();
        return Err(forbidden(format!("header Host: \"{shown}\": expected localhost, 127.0.0.1 or [::1]"))
            .hint("open the address that `kubercarbon up` printed"));
    }
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    changes(request.uri().path(), headers, host)
}

/// What a request that may change something must look like.
fn changes(path: &str, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let site = text(headers, "sec-fetch-site");
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(forbidden("header Sec-Fetch-Site: expected same-origin or none"));
    }
    let origin = text(headers, "origin");
    let ours = origin.is_some_and(|origin| same_origin(origin, host));
    if origin.is_some() && !ours {
        return Err(forbidden(format!("header Origin: expected http://{host}, or none")));
    }
    // Forms of our own pages cannot be JSON: there the browser must vouch for where they come from.
    if !path.starts_with("/api/") {
        return if ours || site == Some("same-origin") {
            Ok(())
        } else {
            Err(forbidden("neither Origin nor Sec-Fetch-Site says that a page of this server sent it")
                .hint("programs use /api/v1"))
        };
    }
    let kind = text(headers, "content-type").unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let shown: String = kind.chars().take(80).collect();
    let detail = format!("header Content-Type: \"{shown}\": expected application/json");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "not JSON", detail))
}

/// Host without its port: `[::1]:80` gives `::1`.
fn name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or("");
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn loopback(host: &str) -> bool {
    let name = name(host).trim_end_matches('.');
    let address = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let lower = name.to_ascii_lowercase();
    address || lower == "localhost" || lower.ends_with(".localhost")
}

fn same_origin(origin: &str, host: &str) -> bool {
    let bare = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_pass() {
        for good in
            ["localhost:8080", "127.0.0.1:80", "127.0.0.1", "[::1]:9", "[::1]", "a.localhost:1", "LOCALHOST"]
        {
            assert!(loopback(good), "{good}");
        }
        for bad in [
            "example.com",
            "localhost.example.com:80",
            "10.0.0.1:80",
            "",
            "127.0.0.1.nip.io:80",
            "[2001:db8::1]:1",
        ] {
            assert!(!loopback(bad), "{bad}");
        }
    }

    #[test]
    fn origins_are_compared_with_their_port() {
        assert!(same_origin("http://localhost:8080", "localhost:8080"));
        for bad in
            ["http://localhost:8081", "null", "http://evil.example", "http://localhost:8080.evil.example"]
        {
            assert!(!same_origin(bad, "localhost:8080"), "{bad}");
        }
    }
}
