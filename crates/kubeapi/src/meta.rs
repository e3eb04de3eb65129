//! Discovery, OpenAPI, version and health.

use crate::negotiate::{Accept, Form};
use crate::query::Query;
use crate::service::Cluster;
use crate::{respond, route};
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use twin::apiserver::{discovery, openapi, token};
use twin::kind::Defined;
use twin::{Objects, Status};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers a path that is not about objects.
pub(crate) fn answer(
    cluster: &Cluster,
    segments: &[String],
    query: &Query,
    accept: &Accept,
) -> Result<Response, Status> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let read =
        |objects: &Objects, _| (objects.defined().cloned().collect(), openapi::definitions_version(objects));
    let (defined, version): (Vec<Arc<Defined>>, u64) = cluster.read(read)?;
    let customs: Vec<&Defined> = defined.iter().map(|defined| &**defined).collect();
    let customs = customs.as_slice();
    let found = |document: Option<Value>| document.ok_or_else(route::nowhere);
    let document = match parts.as_slice() {
        [] => json!({"paths": paths(customs)}),
        ["version"] => discovery::version(),
        ["healthz" | "livez" | "readyz", ..] => return Ok(health(parts[0], query)),
        ["api"] | ["apis"] => {
            let core = parts == ["api"];
            if accept.choose(&[Form::Discovery, Form::Object])? == Form::Discovery {
                let document = discovery::aggregated(core, customs).to_string();
                return Ok(respond::bytes(200, AGGREGATED, document));
            }
            if core { discovery::core_versions() } else { discovery::group_list(customs) }
        }
        ["api", version] => found(discovery::resources("", version, customs))?,
        ["apis", group] => found(discovery::group(group, customs))?,
        ["apis", group, version] => found(discovery::resources(group, version, customs))?,
        ["openapi", "v2"] => return Ok(openapi_v2(accept, customs)),
        ["openapi", "v3"] => openapi::index(customs, version),
        ["openapi", "v3", rest @ ..] => found(openapi::document(&rest.join("/"), customs))?,
        ["openid", "v1", "jwks"] => {
            let keys = found(cluster.access.authority.as_ref().map(|authority| authority.keys()))?;
            return Ok(respond::bytes(200, "application/jwk-set+json", keys.to_string()));
        }
        [".well-known", "openid-configuration"] => found(issuer(cluster))?,
        _ => return Err(route::nowhere()),
    };
    accept.choose(&[Form::Object])?;
    Ok(respond::json(200, &document))
}

/// OpenAPI v2 as JSON. To clients that take protobuf alone it has no definitions: they find no schema of a type and
/// leave validation to the server.
fn openapi_v2(accept: &Accept, customs: &[&Defined]) -> Response {
    if accept.choose(&[Form::Object]).is_ok() {
        return respond::json(200, &openapi::whole(customs));
    }
    // `Document { swagger: "2.0" }`: field 1, three bytes.
    let media = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    respond::bytes(200, media, b"\x0a\x032.0".to_vec())
}

/// How tokens of service accounts can be checked by others.
fn issuer(cluster: &Cluster) -> Option<Value> {
    let authority = cluster.access.authority.as_ref()?;
    Some(json!({
        "issuer": token::ISSUER,
        "jwks_uri": format!("{}/openid/v1/jwks", cluster.access.address),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": authority.algorithms(),
    }))
}

fn health(probe: &str, query: &Query) -> Response {
    let text = if query.flag("verbose") {
        format!("[+]ping ok\n[+]twin ok\n{probe} check passed\n")
    } else {
        "ok".to_owned()
    };
    respond::bytes(200, "text/plain; charset=utf-8", text)
}

fn paths(customs: &[&Defined]) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in discovery::groups(customs) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/healthz",
            "/livez",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    paths
}
