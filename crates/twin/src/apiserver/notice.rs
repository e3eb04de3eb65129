//! What a twin keeps and does not act on, said to whoever makes it: a warning is better than a surprise.

use super::validation::list;
use crate::kind::Kind;
use serde_json::Value;

/// Warnings about a new object of this kind.
pub(super) fn about(kind: Kind, doc: &Value) -> Vec<String> {
    let resource = kind.resource();
    let mut all = Vec::new();
    match (resource.group, resource.plural) {
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations" | "mutatingwebhookconfigurations",
        ) => {
            let webhooks = list(doc, "/webhooks");
            if webhooks.iter().any(|webhook| webhook["clientConfig"]["url"].is_null()) {
                all.push("nothing listens behind a Service of this twin: webhooks without a clientConfig.url are not asked");
            }
        }
        ("apiregistration.k8s.io", _) if doc["spec"]["service"].is_object() => {
            all.push("it is kept, and this twin passes no requests on to it");
        }
        _ => {}
    }
    all.into_iter().map(|what| format!("kubercarbon twin: {}: {what}", resource.name)).collect()
}
