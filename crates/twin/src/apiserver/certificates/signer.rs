//! Which requests are to be signed, and how: the rules of kube-controller-manager's signers.
//!
//! The signers are those of Kubernetes that serve an API server and kubelets. Nothing is signed here: whoever holds the key of the
//! twin's authority asks [`pending`], and writes what comes of it to the request's status, as the controllers do.

use super::request::{CertificateRequest, unbase64};
use super::{GROUP, conditions, text};
use crate::apiserver::{Options, PatchType, Request, Subresource, Verb};
use crate::kind::Kind;
use crate::store::Objects;
use serde_json::{Value, json};
use std::sync::LazyLock;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// How long a certificate lasts at most (`--cluster-signing-duration`), and at least, in seconds.
const SECONDS_MAX: i64 = 365 * 24 * 3600;
const SECONDS_MIN: i64 = 600;

static REQUESTS: LazyLock<Kind> = LazyLock::new(|| Kind::document(GROUP, "certificatesigningrequests"));

/// Usages there are: the bit of the key usage they are (0 is the first), or the extended usage, as the content of its object
/// identifier.
pub(super) const USAGES: [(&str, Usage); 23] = [
    ("any", Usage::Extended(&[0x55, 0x1d, 0x25, 0])),
    ("cert sign", Usage::Bit(5)),
    ("client auth", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 2])),
    ("code signing", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 3])),
    ("content commitment", Usage::Bit(1)),
    ("crl sign", Usage::Bit(6)),
    ("data encipherment", Usage::Bit(3)),
    ("decipher only", Usage::Bit(8)),
    ("digital signature", Usage::Bit(0)),
    ("email protection", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 4])),
    ("encipher only", Usage::Bit(7)),
    ("ipsec end system", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 5])),
    ("ipsec tunnel", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 6])),
    ("ipsec user", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 7])),
    ("key agreement", Usage::Bit(4)),
    ("key encipherment", Usage::Bit(2)),
    ("microsoft sgc", Usage::Extended(&[0x2b, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 3])),
    ("netscape sgc", Usage::Extended(&[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 4, 1])),
    ("ocsp signing", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 9])),
    ("s/mime", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 4])),
    ("server auth", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 1])),
    ("signing", Usage::Bit(0)),
    ("timestamping", Usage::Extended(&[0x2b, 6, 1, 5, 5, 7, 3, 8])),
];

/// What a usage is in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Bit(u16),
    Extended(&'static [u8]),
}

/// A request that waits for its certificate.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What to sign: who asks, and for which names; or why nothing is to be signed.
    pub certificate: Result<Certificate, String>,
}

/// What is to be signed.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What was asked for.
    pub request: CertificateRequest,
    /// Bits of the key usage, the first one the highest of 16.
    pub key_usage: u16,
    /// Extended usages, as the contents of their object identifiers, in their order.
    pub extended: Vec<&'static [u8]>,
    /// Seconds it is good for.
    pub seconds: i64,
}

/// Requests that are approved for a signer there is here and have no certificate, in the order of their names.
pub fn pending(objects: &Objects) -> Vec<Order> {
    let all = objects.list(*REQUESTS, None).map(|stored| (stored.object.uid(), stored.to_value()));
    all.filter_map(|(uid, doc)| {
        let holds = |kind: &str| {
            conditions(&doc).iter().any(|c| text(c, "type") == kind && text(c, "status") == "True")
        };
        let is_known = [CLIENT, KUBELET_CLIENT, KUBELET_SERVING].contains(&text(&doc["spec"], "signerName"));
        // Whoever denies it after it was approved means it.
        let waits = holds("Approved") && !holds("Denied") && !holds("Failed");
        if !is_known || !waits || !text(&doc["status"], "certificate").is_empty() {
            return None;
        }
        let name = text(&doc["metadata"], "name").to_owned();
        Some(Order { name, uid: uid.to_owned(), certificate: certificate(&doc["spec"]) })
    })
    .collect()
}

/// Version of the last change of a request; whoever signs need not look before.
pub fn last_change(objects: &Objects) -> u64 {
    objects.last_version(*REQUESTS)
}

fn certificate(spec: &Value) -> Result<Certificate, String> {
    let pem = unbase64(text(spec, "request")).unwrap_or_default();
    let request = CertificateRequest::parse(&pem)?;
    let usages = spec["usages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut usages: Vec<&str> = usages.iter().filter_map(Value::as_str).collect();
    usages.sort_unstable();
    match text(spec, "signerName") {
        CLIENT => for_client(&usages)?,
        KUBELET_CLIENT => for_kubelet_client(&request, &usages)?,
        _ => for_kubelet_serving(&request, &usages)?,
    }
    let (mut key_usage, mut extended) = (0, Vec::new());
    for usage in usages {
        match USAGES.iter().find(|(name, _)| *name == usage) {
            Some((_, Usage::Bit(bit))) => key_usage |= 0x8000 >> bit,
            Some((_, Usage::Extended(id))) if !extended.contains(id) => extended.push(*id),
            Some(_) => {}
            None => return Err(format!("unrecognized usage values: [{usage:?}]")),
        }
    }
    extended.sort_unstable();
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(SECONDS_MAX).clamp(SECONDS_MIN, SECONDS_MAX);
    Ok(Certificate { request, key_usage, extended, seconds })
}

fn for_client(usages: &[&str]) -> Result<(), String> {
    let fits = |usage: &&str| ["digital signature", "key encipherment", "client auth"].contains(usage);
    if let Some(usage) = usages.iter().find(|usage| !fits(usage)) {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    if !usages.contains(&"client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}

/// The parts of a node's request that both signers for kubelets look at, in their order.
fn of_node(request: &CertificateRequest) -> Result<(), String> {
    if request.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    Ok(())
}

const NOT_A_NODE: &str = "subject common name does not begin with system:node:";

fn for_kubelet_client(request: &CertificateRequest, usages: &[&str]) -> Result<(), String> {
    of_node(request)?;
    for (names, what) in [
        (&request.dns, "DNS"),
        (&request.emails, "Email"),
        (&request.addresses, "IP"),
        (&request.uris, "URI"),
    ] {
        if !names.is_empty() {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    if !request.common_name.starts_with("system:node:") {
        return Err(NOT_A_NODE.to_owned());
    }
    used_as(usages, "client auth", "[client auth digital signature key encipherment]")
}

fn for_kubelet_serving(request: &CertificateRequest, usages: &[&str]) -> Result<(), String> {
    of_node(request)?;
    if request.dns.is_empty() && request.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    for (names, what) in [(&request.emails, "Email"), (&request.uris, "URI")] {
        if !names.is_empty() {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    used_as(usages, "server auth", "[digital signature key encipherment server auth]")?;
    if !request.common_name.starts_with("system:node:") {
        return Err(NOT_A_NODE.to_owned());
    }
    Ok(())
}

/// A node's usages: what it does, signatures, and encipherment, which only some keys can.
fn used_as(usages: &[&str], role: &str, all: &str) -> Result<(), String> {
    let fits = usages.iter().all(|usage| [role, "digital signature", "key encipherment"].contains(usage));
    if fits && usages.contains(&role) && usages.contains(&"digital signature") {
        return Ok(());
    }
    Err(format!("usages did not match {all}"))
}

fn patch(order: &Order, kind: PatchType, body: Value) -> Request {
    Request {
        verb: Verb::Patch(kind),
        kind: *REQUESTS,
        namespace: String::new(),
        name: order.name.clone(),
        subresource: Some(Subresource::Status),
        body,
        options: Options::default(),
    }
}

/// The write that hands out a certificate, PEM in base64.
pub fn signed(order: &Order, certificate: &str) -> Request {
    let body = json!({"metadata": {"uid": order.uid}, "status": {"certificate": certificate}});
    patch(order, PatchType::Merge, body)
}

/// The write that says why there will be none.
pub fn failed(order: &Order, why: &str) -> Request {
    let condition =
        json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why});
    let body = json!([
        {"op": "test", "path": "/metadata/uid", "value": order.uid},
        {"op": "add", "path": "/status/conditions/-", "value": condition},
    ]);
    patch(order, PatchType::Json, body)
}

#[cfg(test)]
mod tests {
    use super::super::request::tests;
    use super::*;
    use crate::object::Object;

    fn ordered(pem: &str, signer: &str, usages: &[&str], verdicts: &[&str]) -> Option<Result<i64, String>> {
        let base64 = serde_json::to_value(k8s_openapi::ByteString(pem.as_bytes().to_vec())).unwrap();
        let conditions: Vec<Value> =
            verdicts.iter().map(|verdict| json!({"type": verdict, "status": "True"})).collect();
        let doc = json!({
            "metadata": {"name": "c", "uid": "u"}, "status": {"conditions": conditions},
            "spec": {"request": base64, "signerName": signer, "usages": usages, "expirationSeconds": 700},
        });
        let mut objects = Objects::new();
        objects.put(Object::from_value(*REQUESTS, &doc).unwrap());
        let order = pending(&objects).into_iter().next()?;
        Some(order.certificate.map(|certificate| certificate.seconds))
    }

    #[test]
    fn what_is_approved_for_a_signer_of_ours_is_signed() {
        let client = ["client auth", "digital signature"];
        for (verdicts, waits) in
            [(&["Approved"][..], true), (&[], false), (&["Denied"], false), (&["Approved", "Failed"], false)]
        {
            assert_eq!(ordered(tests::CLIENT, CLIENT, &client, verdicts).is_some(), waits, "{verdicts:?}");
        }
        assert_eq!(ordered(tests::CLIENT, "example.com/s", &client, &["Approved"]), None);
        assert_eq!(ordered(tests::CLIENT, CLIENT, &client, &["Approved"]), Some(Ok(700)));
    }

    #[test]
    fn signers_hold_to_their_rules() {
        let why = |pem, signer, usages: &[&str]| {
            ordered(pem, signer, usages, &["Approved"]).unwrap().err().unwrap_or_default()
        };
        let serving = ["digital signature", "key encipherment", "server auth"];
        assert_eq!(why(tests::SERVING, KUBELET_SERVING, &serving), "");
        assert_eq!(why(tests::SERVING, KUBELET_SERVING, &["digital signature", "server auth"]), "");
        for (pem, signer, usages, expected) in [
            (
                tests::CLIENT,
                CLIENT,
                &["server auth"][..],
                "invalid usage for client certificate: server auth",
            ),
            (
                tests::CLIENT,
                CLIENT,
                &["digital signature"],
                "missing required usage for client certificate: client auth",
            ),
            (tests::CLIENT, KUBELET_SERVING, &serving, "subject organization is not system:nodes"),
            (tests::SERVING, KUBELET_CLIENT, &serving, "DNS subjectAltNames are not allowed"),
            (
                tests::SERVING,
                KUBELET_SERVING,
                &["server auth"],
                "usages did not match [digital signature key encipherment server auth]",
            ),
        ] {
            assert_eq!(why(pem, signer, usages), expected);
        }
    }
}
