//! Discovery, OpenAPI, version and health.

use crate::negotiate::{Accept, Form};
use crate::query::Query;
use crate::{respond, route};
use axum::response::Response;
use serde_json::{Value, json};
use twin::Status;
use twin::apiserver::{discovery, openapi};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers a path that is not about objects.
pub(crate) fn answer(segments: &[String], query: &Query, accept: &Accept) -> Result<Response, Status> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let found = |document: Option<Value>| document.ok_or_else(route::nowhere);
    let document = match parts.as_slice() {
        [] => json!({"paths": paths()}),
        ["version"] => discovery::version(),
        ["healthz" | "livez" | "readyz", ..] => return Ok(health(parts[0], query)),
        ["api"] | ["apis"] => {
            let core = parts == ["api"];
            if accept.choose(&[Form::Discovery, Form::Object])? == Form::Discovery {
                let document = discovery::aggregated(core).to_string();
                return Ok(respond::bytes(200, AGGREGATED, document));
            }
            if core { discovery::core_versions() } else { discovery::group_list() }
        }
        ["api", version] => found(discovery::resources("", version))?,
        ["apis", group] => found(discovery::group(group))?,
        ["apis", group, version] => found(discovery::resources(group, version))?,
        ["openapi", "v2"] => return Ok(openapi_v2(accept)),
        ["openapi", "v3"] => openapi::index(),
        ["openapi", "v3", rest @ ..] => found(openapi::document(&rest.join("/")))?,
        _ => return Err(route::nowhere()),
    };
    accept.choose(&[Form::Object])?;
    Ok(respond::json(200, &document))
}

/// OpenAPI v2 without definitions: clients that look there (kubectl, for documents of kind List) find
/// no schema of a type and leave validation to the server. Mostly asked for as protobuf.
fn openapi_v2(accept: &Accept) -> Response {
    if accept.choose(&[Form::Object]).is_ok() {
        let info = json!({"title": "Kubernetes", "version": discovery::GIT_VERSION});
        return respond::json(200, &json!({"swagger": "2.0", "info": info, "paths": {}}));
    }
    // `Document { swagger: "2.0" }`: field 1, three bytes.
    let media = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    respond::bytes(200, media, b"\x0a\x032.0".to_vec())
}

fn health(probe: &str, query: &Query) -> Response {
    let text = if query.flag("verbose") {
        format!("[+]ping ok\n[+]twin ok\n{probe} check passed\n")
    } else {
        "ok".to_owned()
    };
    respond::bytes(200, "text/plain; charset=utf-8", text)
}

fn paths() -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, version) in discovery::groups() {
        paths.push(format!("/apis/{group}"));
        paths.push(format!("/apis/{group}/{version}"));
    }
    paths.extend(["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    paths
}
