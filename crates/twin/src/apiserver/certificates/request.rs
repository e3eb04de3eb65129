//! What a PKCS #10 certificate request says (RFC 2986), read from PEM: who asks, for which names, and what was signed by whom asks.
//!
//! Read by hand: of DER it takes tags, lengths and four object identifiers. Bounds: the body of the object it stands in, names of
//! [`NAMES_MAX`]. Signatures are not checked here, which takes keys; see [`super::pending`].

use serde_json::Value;

/// Most names of one kind that are read.
const NAMES_MAX: usize = 1000;
/// Type of the PEM block.
const BLOCK: &str = "CERTIFICATE REQUEST";

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
/// `[0]`, constructed: the attributes.
const ATTRIBUTES: u8 = 0xa0;

/// Object identifiers: commonName, organizationName, extensionRequest, subjectAltName.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];

/// A certificate request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRequest {
    /// What whoever asks has signed, DER.
    pub signed: Vec<u8>,
    /// Algorithm of the signature, the content of its object identifier.
    pub algorithm: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// The subject's name, DER.
    pub subject: Vec<u8>,
    /// The public key with its algorithm, DER of a `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
    /// Common names of the subject; the last one counts.
    pub common_name: String,
    /// Its organizations.
    pub organizations: Vec<String>,
    /// Other names it is to go by.
    pub dns: Vec<Vec<u8>>,
    /// Likewise.
    pub emails: Vec<Vec<u8>>,
    /// Addresses, 4 or 16 bytes each.
    pub addresses: Vec<Vec<u8>>,
    /// Likewise.
    pub uris: Vec<Vec<u8>>,
}

/// Common name and organizations of a certificate's subject; `None`: it names nobody.
pub fn subject(certificate: &[u8]) -> Option<(String, Vec<String>)> {
    let (content, _) = Der(certificate).expect(SEQUENCE)?;
    let (signed, _) = Der(content).expect(SEQUENCE)?;
    let mut parts = Der(signed);
    // Version, serial number, algorithm, issuer, validity.
    for tag in [0xa0, INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] {
        parts.expect(tag)?;
    }
    let (names, _) = parts.expect(SEQUENCE)?;
    let mut read = CertificateRequest::default();
    name(names, &mut read)?;
    (!read.common_name.is_empty()).then_some((read.common_name, read.organizations))
}

/// What is left of some DER.
pub struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag, its content, and all of it.
    pub fn value(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        // Tags of several bytes occur nowhere here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, head) = match first {
            short @ 0..=0x7f => (usize::from(*short), 2),
            0x81..=0x84 => {
                let bytes = usize::from(first & 0x7f);
                let length = rest.get(..bytes)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, 2 + bytes)
            }
            _ => return None,
        };
        let end = head.checked_add(length)?;
        let (whole, left) = self.0.split_at_checked(end)?;
        self.0 = left;
        Some((*tag, &whole[head..], whole))
    }
    /// The next value, which must have this tag.
    pub fn expect(&mut self, wanted: u8) -> Option<(&'a [u8], &'a [u8])> {
        self.value().filter(|(tag, ..)| *tag == wanted).map(|(_, content, whole)| (content, whole))
    }
}

/// Bytes from standard base64, line breaks apart.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    serde_json::from_value::<k8s_openapi::ByteString>(Value::String(text)).ok().map(|bytes| bytes.0)
}

/// The bytes of the first PEM block, if it is a certificate request.
fn block(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (kind, rest) = rest.split_once("-----")?;
    let (body, rest) = rest.split_once("-----END ")?;
    if kind != BLOCK || !rest.starts_with(BLOCK) {
        return None;
    }
    // Headers end with an empty line.
    let body = body.split_once("\n\n").map_or(body, |(_, body)| body);
    unbase64(body)
}

impl CertificateRequest {
    /// Reads PEM. The error is in words.
    pub fn parse(pem: &[u8]) -> Result<CertificateRequest, String> {
        let text = std::str::from_utf8(pem).unwrap_or_default();
        let der = block(text).ok_or_else(|| format!("PEM block type must be {BLOCK}"))?;
        read(&der).ok_or_else(|| "x509: malformed certificate request".to_owned())
    }
    /// The public key itself, without its algorithm.
    pub fn key_bits(&self) -> Option<&[u8]> {
        let (info, _) = Der(&self.public_key).expect(SEQUENCE)?;
        let mut info = Der(info);
        info.expect(SEQUENCE)?;
        let (bits, _) = info.expect(BIT_STRING)?;
        bits.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
    }
}

fn read(der: &[u8]) -> Option<CertificateRequest> {
    let mut outer = Der(der);
    let (content, _) = outer.expect(SEQUENCE)?;
    if !outer.0.is_empty() {
        return None;
    }
    let mut parts = Der(content);
    let (info, signed) = parts.expect(SEQUENCE)?;
    let (algorithm, _) = parts.expect(SEQUENCE)?;
    let (algorithm, _) = Der(algorithm).expect(OID)?;
    let (signature, _) = parts.expect(BIT_STRING)?;
    let (unused, signature) = signature.split_first()?;
    if *unused != 0 || !parts.0.is_empty() {
        return None;
    }
    let mut info = Der(info);
    info.expect(INTEGER)?;
    let (names, subject) = info.expect(SEQUENCE)?;
    let (_, public_key) = info.expect(SEQUENCE)?;
    let mut request = CertificateRequest {
        signed: signed.to_vec(),
        algorithm: algorithm.to_vec(),
        signature: signature.to_vec(),
        subject: subject.to_vec(),
        public_key: public_key.to_vec(),
        ..CertificateRequest::default()
    };
    request.key_bits()?;
    name(names, &mut request)?;
    if !info.0.is_empty() {
        let (attributes, _) = info.expect(ATTRIBUTES)?;
        extensions(attributes, &mut request)?;
    }
    Some(request)
}

/// The parts of a subject's name.
fn name(names: &[u8], request: &mut CertificateRequest) -> Option<()> {
    let mut names = Der(names);
    while !names.0.is_empty() {
        let (set, _) = names.expect(SET)?;
        let mut set = Der(set);
        while !set.0.is_empty() {
            let (part, _) = set.expect(SEQUENCE)?;
            let mut part = Der(part);
            let (id, _) = part.expect(OID)?;
            let (_, value, _) = part.value()?;
            let value = || String::from_utf8_lossy(value).into_owned();
            if id == COMMON_NAME {
                request.common_name = value();
            } else if id == ORGANIZATION && request.organizations.len() < NAMES_MAX {
                request.organizations.push(value());
            }
        }
    }
    Some(())
}

/// The extensions among the attributes of a request.
fn extensions(attributes: &[u8], request: &mut CertificateRequest) -> Option<()> {
    let mut attributes = Der(attributes);
    while !attributes.0.is_empty() {
        let (attribute, _) = attributes.expect(SEQUENCE)?;
        let mut attribute = Der(attribute);
        let (id, _) = attribute.expect(OID)?;
        if id != EXTENSION_REQUEST {
            continue;
        }
        let (values, _) = attribute.expect(SET)?;
        let (list, _) = Der(values).expect(SEQUENCE)?;
        let mut list = Der(list);
        while !list.0.is_empty() {
            let (extension, _) = list.expect(SEQUENCE)?;
            let mut extension = Der(extension);
            let (id, _) = extension.expect(OID)?;
            let (tag, mut value, _) = extension.value()?;
            if tag == BOOLEAN {
                (value, _) = extension.expect(OCTET_STRING)?;
            } else if tag != OCTET_STRING {
                return None;
            }
            if id == ALTERNATIVE_NAMES {
                alternatives(value, request)?;
            }
        }
    }
    Some(())
}

/// The names in a `subjectAltName`.
fn alternatives(value: &[u8], request: &mut CertificateRequest) -> Option<()> {
    let (names, _) = Der(value).expect(SEQUENCE)?;
    let mut names = Der(names);
    while !names.0.is_empty() {
        let (tag, content, _) = names.value()?;
        let list = match tag {
            0x81 => &mut request.emails,
            0x82 => &mut request.dns,
            0x86 => &mut request.uris,
            0x87 if matches!(content.len(), 4 | 16) => &mut request.addresses,
            0x87 => return None,
            _ => continue,
        };
        if list.len() == NAMES_MAX {
            return None;
        }
        list.push(content.to_vec());
    }
    Some(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by OpenSSL: `/O=dev/O=ops/CN=jane`, on P-256.
    pub const CLIENT: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHmMIGNAgEAMCsxDDAKBgNVBAoMA2RldjEMMAoGA1UECgwDb3BzMQ0wCwYDVQQD
DARqYW5lMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEV0dsE7tyE4bH01va7keM
T6zLYecbsygrBxqWZLSLMai5PcXbV6L7wNnmxW6Dl/+758Jx2VpTelXAEP2i8F6H
/6AAMAoGCCqGSM49BAMCA0gAMEUCIQDufntIszEDdfU5CiGvUZ+hmKbG+sb57ah7
yIlIverbFAIgE9M3nPPlaOqLBcaJnwMO5vyu7knsXD8zK17W9bKRb3Y=
-----END CERTIFICATE REQUEST-----
";
    /// Likewise: `/O=system:nodes/CN=system:node:n1`, named n1 and 10.0.0.1.
    pub const SERVING: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIIBETCBuAIBADAwMRUwEwYDVQQKDAxzeXN0ZW06bm9kZXMxFzAVBgNVBAMMDnN5
c3RlbTpub2RlOm4xMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEV0dsE7tyE4bH
01va7keMT6zLYecbsygrBxqWZLSLMai5PcXbV6L7wNnmxW6Dl/+758Jx2VpTelXA
EP2i8F6H/6AmMCQGCSqGSIb3DQEJDjEXMBUwEwYDVR0RBAwwCoICbjGHBAoAAAEw
CgYIKoZIzj0EAwIDSAAwRQIgF7uVjvop3X8aEcIj8JEXBHqBiwdpVu8W0HZSaJhy
VTUCIQD6lUvgIXf8tbZ8AhIjm3XFSUShgCTHqFUSJsWpAMwmIQ==
-----END CERTIFICATE REQUEST-----
";

    #[test]
    fn a_request_says_who_asks_for_what() {
        let client = CertificateRequest::parse(CLIENT.as_bytes()).unwrap();
        assert_eq!((client.common_name.as_str(), client.organizations.len()), ("jane", 2));
        assert_eq!(client.key_bits().unwrap().len(), 65);
        assert!(client.dns.is_empty());
        let serving = CertificateRequest::parse(SERVING.as_bytes()).unwrap();
        assert_eq!(serving.organizations, ["system:nodes"]);
        assert_eq!((&serving.dns, &serving.addresses), (&vec![b"n1".to_vec()], &vec![vec![10, 0, 0, 1]]));
        let wrong = |pem: &str| CertificateRequest::parse(pem.as_bytes()).unwrap_err();
        assert_eq!(wrong("---"), "PEM block type must be CERTIFICATE REQUEST");
        assert!(wrong(&CLIENT.replace(" REQUEST", "")).starts_with("PEM block"));
        assert!(wrong(&CLIENT.replace("MIHm", "MIHn")).starts_with("x509"));
    }

    proptest! {
        /// Whatever it is, it is read or refused.
        #[test]
        fn nothing_breaks_it(at in 0usize..400, to: u8, cut in 0usize..400) {
            let mut der = block(SERVING).unwrap();
            let at = at % der.len();
            der[at] = to;
            der.truncate(cut.max(1));
            let _ = read(&der);
        }
    }
}
