//! Whether a CertificateSigningRequest may be stored. Whether whoever asks has signed it takes keys, and is said from outside.

use super::request::{CertificateRequest, unbase64};
use super::signer::USAGES;
use super::{conditions, text};
use crate::apiserver::field::Errors;
use crate::apiserver::names::{label_problems, subdomain_problems};
use serde_json::{Value, json};

/// Least time a certificate may be asked for, in seconds.
const SECONDS_MIN: i64 = 600;
/// Signer of versions before the first stable one.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// Checks a new request, or a changed one as it is to be.
pub(crate) fn judge(errors: &mut Errors, doc: &Value) {
    let spec = &doc["spec"];
    let pem = unbase64(text(spec, "request")).unwrap_or_default();
    if let Err(why) = CertificateRequest::parse(&pem) {
        request_fault(errors, doc, &why);
    }
    let usages = spec["usages"].as_array().map_or(&[][..], Vec::as_slice);
    if usages.is_empty() {
        errors.required("spec.usages", "");
    }
    let known = USAGES.map(|(name, _)| name);
    for (i, usage) in usages.iter().enumerate() {
        if !usage.as_str().is_some_and(|usage| known.contains(&usage)) {
            errors.not_supported(&format!("spec.usages[{i}]"), usage, &known);
        }
    }
    for (i, usage) in usages.iter().enumerate() {
        if usages[..i].contains(usage) {
            errors.duplicate(&format!("spec.usages[{i}]"), usage);
        }
    }
    signer_name(errors, text(spec, "signerName"));
    if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|seconds| *seconds < SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid("spec.expirationSeconds", &json!(seconds), why);
    }
    verdicts(errors, conditions(doc));
}

/// The request in a document is no good.
pub(super) fn request_fault(errors: &mut Errors, doc: &Value, why: &str) {
    let pem = unbase64(text(&doc["spec"], "request")).unwrap_or_default();
    // Printed as Go writes bytes.
    let bytes: Vec<String> = pem.iter().map(|byte| format!("0x{byte:x}")).collect();
    errors.invalid_as("spec.request", &format!("[]byte{{{}}}", bytes.join(", ")), why);
}

fn signer_name(errors: &mut Errors, name: &str) {
    const PATH: &str = "spec.signerName";
    if name == LEGACY {
        let why = "the legacy signerName is not allowed via this API version";
        return errors.invalid(PATH, &json!(name), why);
    }
    if name.is_empty() {
        return errors.required(PATH, "");
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, path] = segments.as_slice() else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(PATH, &json!(name), why);
    };
    let problem = |labels: &str, check: fn(&str) -> Vec<String>| {
        let mut labels = labels.split('.').map(|label| (label, check(label)));
        labels
            .find(|(_, problems)| !problems.is_empty())
            .map(|(label, problems)| (label.to_owned(), problems))
    };
    for (part, found) in
        [(domain, problem(domain, label_problems)), (path, problem(path, subdomain_problems))]
    {
        if let Some((label, problems)) = found {
            for why in problems {
                errors.invalid(PATH, &json!(part), &format!("validating label {label:?}: {why}"));
            }
        }
        if part == domain && !domain.contains('.') {
            let why = "should be a domain with at least two segments separated by dots";
            errors.invalid(PATH, &json!(domain), why);
        }
    }
}

fn verdicts(errors: &mut Errors, all: &[Value]) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in all.iter().enumerate() {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        let path = |field: &str| format!("status.conditions[{i}].{field}");
        if kind.is_empty() {
            errors.required(&path("type"), "");
        }
        let only_true = ["Approved", "Denied", "Failed"].contains(&kind);
        let allowed: &[&str] = if only_true { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.required(&path("status"), "");
        } else if !allowed.contains(&status) {
            errors.not_supported(&path("status"), &json!(status), allowed);
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(&other) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.invalid("status.conditions", &json!(kind), why);
        }
        if seen.contains(&kind) {
            errors.duplicate(&path("type"), &json!(kind));
        }
        seen.push(kind);
    }
}
