//! Signs certificates under the authority of the twins' APIs, for CertificateSigningRequests that were approved.
//!
//! The twin says which and how ([`twin::apiserver::certificates`]); here is the key. What is signed is what was asked for: the subject
//! and the public key stand in the certificate byte by byte. Invariants: nobody gets a certificate for a key they do not
//! have; an extension other than names and usages is never copied. Times are the wall clock's, as those of the APIs' own
//! certificate: whoever looks at one has no other clock. Certificates are let in again by the twins' doors (`door`).

use crate::kubeconfig::base64;
use crate::signature::{self, Fault};
use crate::twin_host::TwinHost;
use crate::wall;
use anyhow::Context;
use fleet::{ClusterId, Instant, Span};
use kubeapi::{Certified, Twin};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use std::sync::Arc;
use tokio::task::JoinHandle;
use twin::apiserver::User;
use twin::apiserver::certificates::{self, Certificate, Der};
use twin::apiserver::user;

/// How long before it is made a certificate is good, for clocks that go after, and from which length on that is taken off its
/// end, as in kube-controller-manager.
const BACKDATE: Span = Span::from_seconds(300);
const SHORT_SECONDS: i64 = 8 * 3600;
/// Bytes of a serial number (RFC 5280 allows 20).
const SERIAL_BYTES: usize = 16;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;

/// Object identifiers, their contents.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const KEY_ID: &[u8] = &[0x55, 0x1d, 14];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
const EXTENDED_USAGE: &[u8] = &[0x55, 0x1d, 37];

/// Who signs.
pub struct Signer {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// Name of the authority, DER.
    issuer: Vec<u8>,
    /// What its key goes by; empty: nothing.
    key_id: Vec<u8>,
}

/// A value of DER.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if length < 128 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        out.push(0x80 | bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    const TRUE: &[u8] = &[1, 1, 0xff];
    let critical: &[u8] = if critical { TRUE } else { &[] };
    der(SEQUENCE, &[&der(OID, &[id]), critical, &der(OCTET_STRING, &[value])])
}

/// A bit string without the zeros at its end.
fn bits(usage: u16) -> Vec<u8> {
    let unused = usage.trailing_zeros().min(16);
    let bytes = usage.to_be_bytes();
    let used = 2 - (unused / 8) as usize;
    der(BIT_STRING, &[&[(unused % 8) as u8], &bytes[..used]])
}

/// A time: of two digits of a year until 2049, of four from then on (RFC 5280).
fn time(at: Instant) -> Vec<u8> {
    let text: String = at.to_rfc3339_seconds().chars().filter(char::is_ascii_alphanumeric).collect();
    let text = text.replace('T', "");
    if text.as_str() < "2050" { der(0x17, &[&text.as_bytes()[2..]]) } else { der(0x18, &[text.as_bytes()]) }
}

impl Signer {
    /// A signer with an authority's key (PKCS #8) and certificate, both DER.
    ///
    /// # Errors
    /// When the key is not on P-256, or the certificate cannot be read.
    pub(crate) fn new(key: &[u8], authority: &[u8]) -> anyhow::Result<Signer> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key, &random)
            .map_err(|error| anyhow::anyhow!("expected a private key on P-256 in PKCS #8: {error}"))?;
        let (issuer, key_id) = about(authority).context("read the authority's certificate")?;
        Ok(Signer { key, random, issuer, key_id })
    }

    /// A certificate, PEM, good from `now` on.
    ///
    /// # Errors
    /// Why there is none.
    fn sign(&self, wanted: &Certificate, now: Instant) -> Result<String, String> {
        let request = &wanted.request;
        signature::check(request).map_err(|fault| match fault {
            Fault::Wrong(why) => why,
            Fault::Unknown => "x509: cannot verify signature: algorithm unimplemented".to_owned(),
        })?;
        let mut serial = [0; SERIAL_BYTES];
        self.random.fill(&mut serial).map_err(|_| "the system gave no random bytes")?;
        // Positive, and not shorter than it seems.
        serial[0] = serial[0] & 0x7f | 0x40;
        let seconds = Span::from_seconds(wanted.seconds);
        let end = if wanted.seconds < SHORT_SECONDS { now + seconds } else { now + seconds - BACKDATE };
        let algorithm = der(SEQUENCE, &[&der(OID, &[ECDSA_SHA256])]);
        let signed = der(
            SEQUENCE,
            &[
                &der(0xa0, &[&der(INTEGER, &[&[2]])]),
                &der(INTEGER, &[&serial]),
                &algorithm,
                &self.issuer,
                &der(SEQUENCE, &[&time(now - BACKDATE), &time(end)]),
                &request.subject,
                &request.public_key,
                &der(0xa3, &[&der(SEQUENCE, &[&self.extensions(wanted)])]),
            ],
        );
        let signature = self.key.sign(&self.random, &signed).map_err(|_| "the key does not sign")?;
        let whole = der(SEQUENCE, &[&signed, &algorithm, &der(BIT_STRING, &[&[0], signature.as_ref()])]);
        Ok(pem(&whole))
    }

    fn extensions(&self, wanted: &Certificate) -> Vec<u8> {
        let request = &wanted.request;
        let mut all = Vec::new();
        if wanted.key_usage != 0 {
            all.push(extension(KEY_USAGE, true, &bits(wanted.key_usage)));
        }
        if !wanted.extended.is_empty() {
            let ids: Vec<u8> = wanted.extended.iter().flat_map(|id| der(OID, &[id])).collect();
            all.push(extension(EXTENDED_USAGE, false, &der(SEQUENCE, &[&ids])));
        }
        // No authority.
        all.push(extension(BASIC_CONSTRAINTS, true, &der(SEQUENCE, &[])));
        if !self.key_id.is_empty() {
            all.push(extension(AUTHORITY_KEY_ID, false, &der(SEQUENCE, &[&der(0x80, &[&self.key_id])])));
        }
        let lists = [
            (0x82, &request.dns),
            (0x81, &request.emails),
            (0x87, &request.addresses),
            (0x86, &request.uris),
        ];
        let names: Vec<u8> = lists
            .iter()
            .flat_map(|(tag, list)| list.iter().flat_map(move |name| der(*tag, &[name])))
            .collect();
        if !names.is_empty() {
            let nameless = request.subject == [SEQUENCE, 0];
            all.push(extension(ALTERNATIVE_NAMES, nameless, &der(SEQUENCE, &[&names])));
        }
        all.concat()
    }

    /// Signs what waits in a cluster.
    async fn work(&self, host: &TwinHost, cluster: &ClusterId) {
        let mut orders = Vec::new();
        host.read(cluster, &mut |objects, _| orders = certificates::pending(objects));
        for order in orders {
            let made = order.certificate.as_ref().map_err(Clone::clone);
            let request = match made.and_then(|wanted| self.sign(wanted, wall::now())) {
                Ok(pem) => certificates::signed(&order, &base64(pem.as_bytes())),
                Err(why) => certificates::failed(&order, &why),
            };
            if let Err(status) = host.write(cluster, request).await {
                // Whoever changed it meanwhile is looked at anew.
                tracing::debug!(cluster = %cluster, name = order.name, error = %status, "hand out a certificate");
            }
        }
    }
}

/// Whose a certificate is that our authority gave, as Kubernetes reads it: the common name says who, organizations are groups.
pub(crate) fn certified(certificate: &[u8]) -> Option<Certified> {
    let (name, mut groups) = certificates::subject(certificate)?;
    groups.push(user::AUTHENTICATED.to_owned());
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let id = ("authentication.kubernetes.io/credential-id".to_owned(), vec![format!("X509SHA256={digest}")]);
    Some(Certified(User { name, groups, extra: [id].into(), ..User::default() }))
}

/// Name and key identifier of an authority, from its certificate.
fn about(certificate: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (content, _) = Der(certificate).expect(SEQUENCE)?;
    let (signed, _) = Der(content).expect(SEQUENCE)?;
    let mut parts = Der(signed);
    parts.expect(0xa0)?;
    parts.expect(INTEGER)?;
    parts.expect(SEQUENCE)?;
    parts.expect(SEQUENCE)?;
    parts.expect(SEQUENCE)?;
    let (_, subject) = parts.expect(SEQUENCE)?;
    parts.expect(SEQUENCE)?;
    let mut key_id = Vec::new();
    if let Some((list, _)) = parts.expect(0xa3) {
        let (list, _) = Der(list).expect(SEQUENCE)?;
        let mut list = Der(list);
        while let Some((extension, _)) = list.expect(SEQUENCE) {
            let mut extension = Der(extension);
            let (id, _) = extension.expect(OID)?;
            if id == KEY_ID {
                let (value, _) = extension.expect(OCTET_STRING)?;
                key_id = Der(value).expect(OCTET_STRING)?.0.to_vec();
            }
        }
    }
    Some((subject.to_vec(), key_id))
}

/// A certificate as text.
fn pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let text64 = base64(der);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text64.as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// Signs what is approved in a cluster until the task is aborted. It wakes when something changed, and looks when a request did.
pub fn run(signer: Arc<Signer>, host: Arc<TwinHost>, cluster: ClusterId) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut looked = None;
        loop {
            let (mut version, mut last) = (0, 0);
            let there = host.read(&cluster, &mut |objects, _| {
                (version, last) = (objects.version(), certificates::last_change(objects));
            });
            if !there {
                return;
            }
            if looked != Some(last) {
                looked = Some(last);
                signer.work(&host, &cluster).await;
            }
            host.changed(&cluster, version).await;
        }
    })
}
