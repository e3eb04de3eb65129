//! Paths: `/api/v1/namespaces/NS/pods/NAME/status` and the like.

use twin::{Kind, Status};

/// What a path is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Discovery, OpenAPI, version, health: the path's segments.
    Meta(Vec<String>),
    /// Objects.
    Resource(Target),
}

/// Objects of a kind, one object, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub kind: Kind,
    /// `None`: all namespaces, or a cluster-scoped kind.
    pub namespace: Option<String>,
    /// Empty: the collection.
    pub name: String,
    pub subresource: Option<String>,
}

/// Longest path read, in segments.
const SEGMENTS_MAX: usize = 16;

/// The refusal of a path that leads nowhere.
pub(crate) fn nowhere() -> Status {
    Status::new(404, "NotFound", "the server could not find the requested resource")
}

/// Decodes `%2F` and the like; `None` when it is not UTF-8 or not hexadecimal.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

/// Finds a kind by group, version and plural.
pub(crate) type Find<'a> = &'a dyn Fn(&str, &str, &str) -> Option<Kind>;

/// Reads a path.
pub(crate) fn parse(path: &str, find: Find<'_>) -> Result<Route, Status> {
    let segments: Option<Vec<String>> =
        path.split('/').filter(|s| !s.is_empty()).take(SEGMENTS_MAX + 1).map(decode).collect();
    let segments = segments.ok_or_else(|| Status::bad_request("the path is not valid UTF-8"))?;
    if segments.len() > SEGMENTS_MAX {
        return Err(nowhere());
    }
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => resource(find, "", version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => resource(find, group, version, rest),
        _ => Ok(Route::Meta(segments)),
    }
}

fn resource(find: Find<'_>, group: &str, version: &str, rest: &[&str]) -> Result<Route, Status> {
    // `namespaces/NS/pods` is about pods; `namespaces/NS` and `namespaces/NS/status` about the namespace.
    let (namespace, rest) = match rest {
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, inner @ ..] if !inner.is_empty() => (Some((*namespace).to_owned()), inner),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", None),
        [plural, name] => (*plural, *name, None),
        // What follows a proxied path is not looked at: it is refused.
        [plural, name, subresource, ..] => (*plural, *name, Some((*subresource).to_owned())),
        [] => return Err(nowhere()),
    };
    let kind = find(group, version, plural).ok_or_else(nowhere)?;
    let namespaced = kind.resource().namespaced;
    // A namespaced object cannot be named without its namespace.
    if namespace.is_some() != namespaced && !(namespaced && name.is_empty()) {
        return Err(nowhere());
    }
    Ok(Route::Resource(Target { kind, namespace, name: name.to_owned(), subresource }))
}

/// Refuses what only a real container can do.
pub(crate) fn refuse_streams(target: &Target) -> Result<(), Status> {
    let Some(subresource) = target.subresource.as_deref() else { return Ok(()) };
    let name = &target.name;
    match (target.kind, subresource) {
        (Kind::Pod, "log") => Err(Status::bad_request(format!(
            "kubercarbon twin: containers of a simulated pod write no logs; see \"kubectl describe pod/{name}\" for what happened to it"
        ))),
        (Kind::Pod, "exec" | "attach" | "portforward" | "proxy") => Err(Status::bad_request(format!(
            "kubercarbon twin: a simulated pod has no processes or ports, so {subresource} does not work on it; see \"kubectl describe pod/{name}\" for what happened to it"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        match parse(path, &Kind::find).unwrap() {
            Route::Resource(target) => target,
            Route::Meta(segments) => panic!("{path}: {segments:?}"),
        }
    }

    #[test]
    fn paths_lead_to_objects() {
        let pod = target("/api/v1/namespaces/a/pods/p%2Ex/status");
        assert_eq!((pod.kind, pod.namespace.as_deref(), &*pod.name), (Kind::Pod, Some("a"), "p.x"));
        assert_eq!(pod.subresource.as_deref(), Some("status"));
        assert_eq!(target("/api/v1/namespaces/a/status").kind, Kind::Namespace);
        assert_eq!(target("/api/v1/namespaces/a").name, "a");
        assert_eq!(target("/apis/batch/v1/jobs").namespace, None);
        for wrong in [
            "/api/v1/pods/x",
            "/api/v1/namespaces/a/nodes/n",
            "/api/v1/gadgets",
            "/apis/batch/v2/jobs",
            "/api/v1/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x",
        ] {
            assert_eq!(parse(wrong, &Kind::find).unwrap_err().code, 404, "{wrong}");
        }
        assert!(matches!(parse("/apis/batch/v1", &Kind::find).unwrap(), Route::Meta(s) if s.len() == 3));
    }
}
