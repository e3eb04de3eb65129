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
            if webhooks
                .iter()
                .any(|webhook| webhook["clientConfig"]["url"].is_string() && is_about_pods(webhook))
            {
                all.push("it is asked about pods that clients create, not about those that controllers of this twin make");
            }
        }
        ("apiregistration.k8s.io", _) if doc["spec"]["service"].is_object() => {
            all.push("it is kept, and this twin passes no requests on to it");
        }
        _ => {}
    }
    all.into_iter().map(|what| format!("kubercarbon twin: {}: {what}", resource.name)).collect()
}

/// Whether a webhook is asked about new pods.
fn is_about_pods(webhook: &Value) -> bool {
    list(webhook, "/rules").iter().any(|rule| {
        let has = |field: &str, wanted: &[&str]| {
            list(rule, field).iter().any(|value| value.as_str().is_some_and(|value| wanted.contains(&value)))
        };
        let resources = has("/resources", &["pods", "*", "*/*"]);
        resources && has("/operations", &["CREATE", "*"]) && has("/apiGroups", &["", "*"])
    })
}
