//! What a twin keeps and does not act on, said to whoever makes it: a warning is better than a surprise.

use crate::kind::Kind;

/// A warning about a new object of this kind, if there is one.
pub(super) fn about(kind: Kind) -> Option<String> {
    let resource = kind.resource();
    let what = match (resource.group, resource.plural) {
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations" | "mutatingwebhookconfigurations",
        ) => "it is kept, and this twin does not ask it",
        ("apiregistration.k8s.io", _) => "it is kept, and this twin passes no requests on to it",
        _ => return None,
    };
    Some(format!("kubercarbon twin: {}: {what}", resource.name))
}
