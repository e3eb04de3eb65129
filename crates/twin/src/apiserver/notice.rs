//! What a twin keeps and does not act on, said to whoever makes it: a warning is better than a surprise.

use super::validation::list;
use crate::kind::Kind;
use serde_json::Value;

/// A warning about a new object of this kind, if there is one.
pub(super) fn about(kind: Kind, doc: &Value) -> Option<String> {
    let resource = kind.resource();
    let what = match (resource.group, resource.plural) {
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations" | "mutatingwebhookconfigurations",
        ) if list(doc, "/webhooks").iter().any(|webhook| webhook["clientConfig"]["url"].is_null()) => {
            "nothing listens behind a Service of this twin: webhooks without a clientConfig.url are not asked"
        }
        ("apiregistration.k8s.io", _) => "it is kept, and this twin passes no requests on to it",
        _ => return None,
    };
    Some(format!("kubercarbon twin: {}: {what}", resource.name))
}
