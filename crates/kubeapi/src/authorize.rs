//! What a request asks to be allowed, read from its method, path and query, whether or not there is such a resource: so a
//! refusal does not tell what there is. Facts: `RequestInfo` of Kubernetes' API server.

use crate::access::Impersonation;
use crate::query::Query;
use crate::route;
use crate::service::Cluster;
use http::Method;
use twin::Status;
use twin::apiserver::rbac::{self, Asked};
use twin::apiserver::{Caller, User};

/// What a request asks to be allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub verb: &'static str,
    pub what: What,
}

/// Of objects, or of a path that leads to none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    Objects { group: String, resource: String, subresource: String, namespace: String, name: String },
    Path(String),
}

/// The name that a field selector asks for alone.
fn selected_name(query: &Query) -> Option<&str> {
    let selector = query.filled("fieldSelector")?;
    let mut names = selector.split(',').filter_map(|part| {
        let name = part.trim().strip_prefix("metadata.name=")?;
        Some(name.strip_prefix('=').unwrap_or(name))
    });
    names.rfind(|name| !name.contains(['/', '%']) && !matches!(*name, "" | "." | ".."))
}

impl Attributes {
    pub(crate) fn of(method: &Method, path: &str, query: &Query) -> Attributes {
        let plain = |verb| Attributes { verb, what: What::Path(path.to_owned()) };
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "get",
        };
        // Of a path that leads to no objects, the method itself is asked for.
        let bare = match *method {
            Method::POST => "post",
            Method::PUT => "put",
            Method::HEAD => "head",
            Method::OPTIONS => "options",
            _ => verb,
        };
        let parts: Option<Vec<String>> =
            path.split('/').filter(|part| !part.is_empty()).map(route::decode).collect();
        let Some(parts) = parts else { return plain(bare) };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _version, rest @ ..] if !rest.is_empty() => ("", rest),
            ["apis", group, _version, rest @ ..] if !rest.is_empty() => (*group, rest),
            _ => return plain(bare),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, "status" | "finalize", ..] | ["namespaces", namespace] => {
                (*namespace, rest)
            }
            ["namespaces", namespace, inner @ ..] => (*namespace, inner),
            _ => ("", rest),
        };
        let part = |n: usize| rest.get(n).copied().unwrap_or_default();
        let mut name = part(1);
        let verb = match verb {
            "get" if name.is_empty() => {
                name = selected_name(query).unwrap_or_default();
                if query.flag("watch") { "watch" } else { "list" }
            }
            "delete" if name.is_empty() => "deletecollection",
            verb => verb,
        };
        let what = What::Objects {
            group: group.to_owned(),
            resource: part(0).to_owned(),
            subresource: part(2).to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Attributes { verb, what }
    }

    fn asked(&self) -> Asked<'_> {
        match &self.what {
            What::Path(path) => Asked::Path(path),
            What::Objects { group, resource, subresource, namespace, name } => {
                Asked::Objects { group, resource, subresource, namespace, name }
            }
        }
    }
}

/// Lets pass what the caller may do, where roles say so.
pub(crate) fn check(cluster: &Cluster, caller: &Caller, attributes: &Attributes) -> Result<(), Status> {
    if !caller.rbac {
        return Ok(());
    }
    cluster.read(|objects, _| rbac::check(objects, &caller.user, attributes.verb, &attributes.asked()))?
}

/// Whom the caller is taken for from now on, if they may be.
pub(crate) fn impersonate(cluster: &Cluster, caller: &Caller, wanted: Impersonation) -> Result<User, Status> {
    if caller.rbac {
        cluster.read(|objects, _| {
            wanted.needs.iter().try_for_each(|[group, resource, subresource, namespace, name]| {
                let asked = Asked::Objects { group, resource, subresource, namespace, name };
                rbac::check(objects, &caller.user, "impersonate", &asked)
            })
        })??;
    }
    Ok(wanted.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(method: &str, uri: &str) -> String {
        let uri: http::Uri = uri.parse().unwrap();
        let attributes = Attributes::of(
            &Method::from_bytes(method.as_bytes()).unwrap(),
            uri.path(),
            &Query::parse(&uri).unwrap(),
        );
        let verb = attributes.verb;
        match attributes.what {
            What::Path(path) => format!("{verb} {path}"),
            What::Objects { group, resource, subresource, namespace, name } => {
                format!("{verb} {group}|{resource}|{subresource}|{namespace}|{name}")
            }
        }
    }

    #[test]
    fn paths_say_what_is_asked_for() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/pods", "list |pods|||"),
            ("GET", "/api/v1/namespaces/a/pods?watch=true", "watch |pods||a|"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list |pods|||x"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name!%3Dx", "list |pods|||"),
            ("GET", "/api/v1/namespaces/a/pods/p/log", "get |pods|log|a|p"),
            ("HEAD", "/api/v1/namespaces/a/pods/p", "get |pods||a|p"),
            ("POST", "/apis/apps/v1/namespaces/a/deployments", "create apps|deployments||a|"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "patch apps|deployments|scale|a|d"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps|deployments||a|"),
            ("GET", "/api/v1/namespaces", "list |namespaces|||"),
            ("GET", "/api/v1/namespaces/a", "get |namespaces||a|a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update |namespaces|finalize|a|a"),
            ("GET", "/apis/example.com/v1/gadgets/g", "get example.com|gadgets|||g"),
            ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
            ("POST", "/healthz", "post /healthz"),
            ("GET", "/", "get /"),
        ] {
            assert_eq!(said(method, uri), expected, "{method} {uri}");
        }
    }
}
