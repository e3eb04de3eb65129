//! CertificateSigningRequests: who asked is written down, who approves and signs must be allowed to, and which requests
//! Kubernetes' own signers are to sign is said.
//!
//! Nothing is signed here: certificates come from whoever signs for the signer named. Nor are signatures checked: whoever lets a
//! request in has keys, and says what is wrong with it.

mod request;
mod signer;
mod validation;

pub use request::{CertificateRequest, Der, subject};
pub use signer::{Certificate, Order, failed, last_change, pending, signed};
pub(super) use validation::judge;

use super::Context;
use super::rbac::{Asked, decide};
use super::request::{Request, Subresource};
use super::status::Status;
use super::user::{Caller, MASTERS, User};
use crate::kind::Kind;
use serde_json::{Map, Value, json};

const GROUP: &str = "certificates.k8s.io";
/// Conditions that only `approval` adds.
const VERDICTS: [&str; 2] = ["Approved", "Denied"];

fn is_request(kind: Kind) -> bool {
    kind.is(GROUP, "certificatesigningrequests")
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Writes down who asks, and that nothing is decided.
pub(super) fn create(request: &Request, doc: &mut Value) {
    if !is_request(request.kind) {
        return;
    }
    let admin = Caller::admin();
    let user = &request.options.caller.as_deref().unwrap_or(&admin).user;
    if let Some(spec) = doc["spec"].as_object_mut() {
        for key in ["username", "uid", "groups", "extra"] {
            spec.remove(key);
        }
        let Value::Object(mut info) = user.to_value() else { return };
        spec.append(&mut info);
    }
    doc["status"] = json!({});
}

/// Refuses a new request by which somebody would become one of those who may do everything.
pub(super) fn admit(kind: Kind, doc: &Value) -> Result<(), Status> {
    const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
    if !is_request(kind) || text(&doc["spec"], "signerName") != SIGNER {
        return Ok(());
    }
    let pem = request::unbase64(text(&doc["spec"], "request")).unwrap_or_default();
    // What cannot be read is refused by whoever validates it.
    let Ok(asked) = CertificateRequest::parse(&pem) else { return Ok(()) };
    if !asked.organizations.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    let why = format!("use of {SIGNER} signer with {MASTERS} group is not allowed");
    Err(Status::forbidden(kind.resource(), text(&doc["metadata"], "name"), &why))
}

/// The certificate request in a document; `None`: it has none that can be read.
pub fn asked(kind: Kind, doc: &Value) -> Option<CertificateRequest> {
    let text = doc.pointer("/spec/request").and_then(Value::as_str).filter(|_| is_request(kind))?;
    CertificateRequest::parse(&request::unbase64(text)?).ok()
}

/// What validation says of a new object, and that whoever asks has not the key they ask for: whoever has keys found that.
pub(super) fn judge_signature(
    request: &Request,
    doc: &Value,
    judged: Result<(), Status>,
) -> Result<(), Status> {
    let Some(why) = request.options.signature_fault.as_deref().filter(|_| is_request(request.kind)) else {
        return judged;
    };
    // What cannot be read is refused for that.
    if asked(request.kind, doc).is_none() {
        return judged;
    }
    let mut errors = super::field::Errors::default();
    validation::request_fault(&mut errors, doc, why);
    let mut all = judged.err().map(|status| status.causes).unwrap_or_default();
    let at = all.iter().position(|cause| !cause.field.starts_with("metadata")).unwrap_or(all.len());
    all.splice(at..at, errors.into_causes());
    Err(Status::invalid(request.kind.resource(), text(&doc["metadata"], "name"), all))
}

/// Keeps what a write may not change, and lets pass who may approve or sign.
pub(super) fn update(
    ctx: &Context<'_>,
    request: &Request,
    old: &Value,
    new: &mut Value,
) -> Result<(), Status> {
    if !is_request(request.kind) {
        return Ok(());
    }
    let part = request.subresource;
    let signer = text(&old["spec"], "signerName");
    let certificate = |doc: &Value| doc["status"].get("certificate").cloned();
    match part {
        Some(Subresource::Approval) => {
            allowed(ctx, request, "approve", signer)?;
            let kept = certificate(old);
            if let Some(status) = new["status"].as_object_mut() {
                status.remove("certificate");
                status.extend(kept.map(|kept| ("certificate".to_owned(), kept)));
            }
        }
        Some(Subresource::Status) => {
            if certificate(old) != certificate(new) {
                allowed(ctx, request, "sign", signer)?;
                if certificate(old).is_some() {
                    let mut errors = super::field::Errors::default();
                    let why = "updates may not modify existing certificate content";
                    errors.forbidden("status.certificate", why);
                    let causes = errors.into_causes();
                    return Err(Status::invalid(request.kind.resource(), &request.name, causes));
                }
            }
            keep_verdicts(request, old, new)?;
        }
        _ => new["spec"] = old["spec"].clone(),
    }
    if part.is_some() {
        date(ctx, old, new);
    }
    Ok(())
}

/// Whether the caller may `verb` for a signer, by its name or by its domain.
fn allowed(ctx: &Context<'_>, request: &Request, verb: &str, signer: &str) -> Result<(), Status> {
    let Some(caller) = request.options.caller.as_deref().filter(|caller| caller.rbac) else { return Ok(()) };
    let may = |user: &User, name: &str| {
        let asked =
            Asked::Objects { group: GROUP, resource: "signers", subresource: "", namespace: "", name };
        decide(ctx.objects, user, verb, &asked).allowed
    };
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    if may(&caller.user, signer) || may(&caller.user, &domain) {
        return Ok(());
    }
    let why = format!("user not permitted to {verb} requests with signerName {signer:?}");
    Err(Status::forbidden(request.kind.resource(), &request.name, &why))
}

fn conditions(doc: &Value) -> &[Value] {
    doc["status"]["conditions"].as_array().map_or(&[], Vec::as_slice)
}

/// Verdicts stay as they are where they are as many, and are refused where they are not.
fn keep_verdicts(request: &Request, old: &Value, new: &mut Value) -> Result<(), Status> {
    for verdict in VERDICTS {
        let of = |doc: &Value| -> Vec<Value> {
            conditions(doc).iter().filter(|c| text(c, "type") == verdict).cloned().collect()
        };
        let (before, after) = (of(old), of(new));
        if before.len() != after.len() {
            let mut errors = super::field::Errors::default();
            let done = if before.len() < after.len() { "add" } else { "remove" };
            let why = format!("updates may not {done} a condition of type {verdict:?}");
            errors.forbidden("status.conditions", &why);
            return Err(Status::invalid(request.kind.resource(), &request.name, errors.into_causes()));
        }
        let mut before = before.into_iter();
        let all = new["status"]["conditions"].as_array_mut().into_iter().flatten();
        for condition in all.filter(|c| text(c, "type") == verdict) {
            *condition = before.next().unwrap_or_default();
        }
    }
    Ok(())
}

/// Dates conditions that bear no date.
fn date(ctx: &Context<'_>, old: &Value, new: &mut Value) {
    let now = json!(ctx.now.to_rfc3339_seconds());
    for condition in new["status"]["conditions"].as_array_mut().into_iter().flatten() {
        let same = conditions(old).iter().find(|before| {
            text(before, "type") == text(condition, "type")
                && text(before, "status") == text(condition, "status")
        });
        let since = same.and_then(|before| before.get("lastTransitionTime")).filter(|time| !time.is_null());
        let since = since.unwrap_or(&now).clone();
        let Some(map) = condition.as_object_mut() else { continue };
        let absent = |map: &Map<String, Value>, key: &str| map.get(key).is_none_or(Value::is_null);
        if absent(map, "lastUpdateTime") {
            map.insert("lastUpdateTime".to_owned(), now.clone());
        }
        if absent(map, "lastTransitionTime") {
            map.insert("lastTransitionTime".to_owned(), since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::{Options, Verb, validation};

    #[test]
    fn a_request_that_others_signed_is_refused_with_what_else_is_wrong() {
        let kind = Kind::document(GROUP, "certificatesigningrequests");
        let fault = |why: &str| Some(why.to_owned()).filter(|why| !why.is_empty());
        let message = |pem: &str, usages: Value, why: &str| {
            let doc = json!({"metadata": {"name": "c"}, "spec": {
                "request": k8s_openapi::ByteString(pem.as_bytes().to_vec()), "signerName": "example.com/s", "usages": usages}});
            let request = Request {
                verb: Verb::Create,
                kind,
                namespace: String::new(),
                name: String::new(),
                subresource: None,
                body: Value::Null,
                options: Options { signature_fault: fault(why), ..Options::default() },
            };
            let judged = judge_signature(&request, &doc, validation::create(kind, &doc));
            judged.err().map(|status| {
                status.causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect::<Vec<_>>()
            })
        };
        const WHY: &str = "x509: ECDSA verification failure";
        let (good, usages) = (request::tests::CLIENT, || json!(["client auth"]));
        assert_eq!(message(good, usages(), ""), None);
        let alone = message(good, usages(), WHY).unwrap();
        assert_eq!(alone.len(), 1);
        assert!(alone[0].starts_with("spec.request: Invalid value: []byte{0x2d, 0x2d, "), "{alone:?}");
        assert!(alone[0].ends_with(", 0xa}: x509: ECDSA verification failure"), "{alone:?}");
        let both = message(good, json!([]), WHY).unwrap();
        assert_eq!((both.len(), both[1].as_str()), (2, "spec.usages: Required value"));
        let unread = message("---", usages(), WHY).unwrap();
        assert!(unread.len() == 1 && unread[0].ends_with("PEM block type must be CERTIFICATE REQUEST"));
    }
}
