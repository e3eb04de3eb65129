//! `metrics.k8s.io`: paths of what is measured, which are about no kept objects.

use crate::negotiate::{Accept, Form};
use crate::query::Query;
use crate::service::Cluster;
use crate::{respond, route};
use axum::response::Response;
use http::Method;
use twin::Status;
use twin::apiserver::metrics::{self, Question};

/// What a path asks of it, if it does.
pub(crate) fn question(path: &str, query: &Query) -> Option<Question> {
    let parts: Vec<String> =
        path.split('/').filter(|part| !part.is_empty()).map(route::decode).collect::<Option<_>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let ["apis", metrics::GROUP, metrics::VERSION, rest @ ..] = parts.as_slice() else { return None };
    let (namespace, plural, name) = match rest {
        ["namespaces", namespace, plural] => (Some(*namespace), *plural, ""),
        ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, *name),
        [plural] => (None, *plural, ""),
        [plural, name] => (None, *plural, *name),
        _ => return None,
    };
    let owned = |name: &str| query.filled(name).unwrap_or_default().to_owned();
    Some(Question {
        plural: plural.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        label_selector: owned("labelSelector"),
        field_selector: owned("fieldSelector"),
    })
}

/// Answers it.
pub(crate) fn answer(
    cluster: &Cluster,
    method: &Method,
    accept: &Accept,
    question: &Question,
) -> Result<Response, Status> {
    if method != Method::GET && method != Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    accept.choose(&[Form::Object])?;
    let document = cluster.read(|objects, now| metrics::answer(objects, now, question))??;
    Ok(respond::json(200, &document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_what_is_measured() {
        let asked = |path: &str| {
            let uri: http::Uri = path.parse().unwrap();
            let question = question(uri.path(), &Query::parse(&uri).unwrap())?;
            let namespace = question.namespace.unwrap_or_default();
            Some([namespace, question.plural, question.name, question.label_selector].join("|"))
        };
        let base = "/apis/metrics.k8s.io/v1beta1";
        for (path, expected) in [
            ("/nodes", Some("|nodes||")),
            ("/nodes/n", Some("|nodes|n|")),
            ("/namespaces/a/pods?labelSelector=x%3Dy", Some("a|pods||x=y")),
            ("/namespaces/a/pods/p", Some("a|pods|p|")),
            ("", None),
            ("/namespaces/a/pods/p/status", None),
        ] {
            assert_eq!(asked(&format!("{base}{path}")).as_deref(), expected, "{path}");
        }
        assert_eq!(asked("/apis/metrics.k8s.io/v1/nodes"), None);
    }
}
