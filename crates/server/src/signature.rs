//! Whether a certificate request is signed by the key it is for, as Go's `crypto/x509` says it, which API servers use.
//!
//! Invariant: what is called wrong is wrong. What cannot be checked here (P-521, PSS, RSA keys beyond 8192 bits) is said to be so:
//! it is let in, and nobody signs it.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA384, UnparsedPublicKey,
    VerificationAlgorithm,
};
use twin::apiserver::certificates::{CertificateRequest, Der};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;

/// Lengths in bits of RSA keys that Go verifies with, and up to which it can be done here.
const RSA_BITS_MIN: usize = 1024;
const RSA_BITS_MAX: usize = 8192;
/// Length in bits from which on SHA-384 can be verified here.
const RSA_SHA384_BITS_MIN: usize = 2048;
/// Length in bytes of an uncompressed point on P-256, and on P-384.
const P256_BYTES: usize = 65;
const P384_BYTES: usize = 97;

/// Why a signature is not good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is wrong.
    Wrong(String),
    /// It cannot be checked here.
    Unknown,
}

/// Kinds of keys, as Go names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Rsa,
    Ecdsa,
    Ed25519,
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Key::Rsa => "RSA",
            Key::Ecdsa => "ECDSA",
            Key::Ed25519 => "Ed25519",
        }
    }
    fn go_type(self) -> &'static str {
        match self {
            Key::Rsa => "*rsa.PublicKey",
            Key::Ecdsa => "*ecdsa.PublicKey",
            Key::Ed25519 => "ed25519.PublicKey",
        }
    }
}

/// Digests a signature is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    None,
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// What a signature is made with, by its object identifier: the kind of key, the digest, and whether it is padded as PSS says.
fn algorithm(id: &[u8]) -> Option<(Key, Hash, bool)> {
    // 1.2.840.113549.1.1, 1.2.840.10045.4, 1.3.101.112, and 1.3.14.3.2.29, which is another name of SHA-1 with RSA.
    const PKCS1: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
    const ECDSA: [u8; 6] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
    const ED25519_ID: [u8; 3] = [0x2b, 0x65, 0x70];
    const SHA1_RSA: [u8; 5] = [0x2b, 0x0e, 3, 2, 29];
    if id == SHA1_RSA {
        return Some((Key::Rsa, Hash::Sha1, false));
    }
    if id == ED25519_ID {
        return Some((Key::Ed25519, Hash::None, false));
    }
    if let Some(which) = id.strip_prefix(&PKCS1[..]) {
        return match which {
            [4] => Some((Key::Rsa, Hash::Md5, false)),
            [5] => Some((Key::Rsa, Hash::Sha1, false)),
            [10] => Some((Key::Rsa, Hash::None, true)),
            [11] => Some((Key::Rsa, Hash::Sha256, false)),
            [12] => Some((Key::Rsa, Hash::Sha384, false)),
            [13] => Some((Key::Rsa, Hash::Sha512, false)),
            _ => None,
        };
    }
    match id.strip_prefix(&ECDSA[..])? {
        [1] => Some((Key::Ecdsa, Hash::Sha1, false)),
        [3, 2] => Some((Key::Ecdsa, Hash::Sha256, false)),
        [3, 3] => Some((Key::Ecdsa, Hash::Sha384, false)),
        [3, 4] => Some((Key::Ecdsa, Hash::Sha512, false)),
        _ => None,
    }
}

/// The kind of a public key.
fn key(request: &CertificateRequest) -> Option<Key> {
    let (info, _) = Der(&request.public_key).expect(SEQUENCE)?;
    let (algorithm, _) = Der(info).expect(SEQUENCE)?;
    match Der(algorithm).expect(OID)?.0 {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1] => Some(Key::Rsa),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => Some(Key::Ecdsa),
        [0x2b, 0x65, 0x70] => Some(Key::Ed25519),
        _ => None,
    }
}

/// Length of an RSA key, in bits.
fn rsa_bits(key: &[u8]) -> usize {
    let modulus = Der(key).expect(SEQUENCE).and_then(|(parts, _)| Der(parts).expect(INTEGER));
    let bytes = modulus.map_or(&[][..], |(modulus, _)| modulus);
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize)
}

/// Whether whoever asks has the key they ask for.
///
/// # Errors
/// That they have not, or that nobody here can tell.
pub(crate) fn check(request: &CertificateRequest) -> Result<(), Fault> {
    let wrong = |why: &str| Err(Fault::Wrong(why.to_owned()));
    let (known, own) = (algorithm(&request.algorithm), key(request));
    let (Some((kind, hash, pss)), Some(own)) = (known, own) else {
        return wrong("x509: cannot verify signature: algorithm unimplemented");
    };
    if hash == Hash::Md5 {
        return wrong("x509: cannot verify signature: insecure algorithm MD5-RSA");
    }
    if kind != own {
        return wrong(&format!(
            "x509: signature algorithm specifies an {} public key, but have public key of type {}",
            kind.name(),
            own.go_type()
        ));
    }
    let bits = request.key_bits().unwrap_or_default();
    let length = if kind == Key::Rsa { rsa_bits(bits) } else { 0 };
    if kind == Key::Rsa && length < RSA_BITS_MIN {
        return wrong(&format!(
            "crypto/rsa: {length}-bit keys are insecure (see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size)"
        ));
    }
    let verifier: &dyn VerificationAlgorithm = match (kind, hash, bits.len()) {
        (Key::Rsa, ..) if pss || length > RSA_BITS_MAX => return Err(Fault::Unknown),
        (Key::Rsa, Hash::Sha1, _) => &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (Key::Rsa, Hash::Sha256, _) => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (Key::Rsa, Hash::Sha384, _) if length >= RSA_SHA384_BITS_MIN => &RSA_PKCS1_2048_8192_SHA384,
        (Key::Rsa, Hash::Sha512, _) => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (Key::Ecdsa, Hash::Sha256, P256_BYTES) => &ECDSA_P256_SHA256_ASN1,
        (Key::Ecdsa, Hash::Sha384, P256_BYTES) => &ECDSA_P256_SHA384_ASN1,
        (Key::Ecdsa, Hash::Sha256, P384_BYTES) => &ECDSA_P384_SHA256_ASN1,
        (Key::Ecdsa, Hash::Sha384, P384_BYTES) => &ECDSA_P384_SHA384_ASN1,
        (Key::Ed25519, ..) => &ED25519,
        _ => return Err(Fault::Unknown),
    };
    let verified = UnparsedPublicKey::new(verifier, bits).verify(&request.signed, &request.signature);
    verified.map_err(|_| {
        Fault::Wrong(match kind {
            Key::Rsa => "crypto/rsa: verification error".to_owned(),
            kind => format!("x509: {} verification failure", kind.name()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests made by OpenSSL.
    const MADE: [(&str, &str); 9] = [
        ("rsa-sha1", include_str!("../tests/requests/rsa-sha1.csr")),
        ("rsa-sha256", include_str!("../tests/requests/rsa-sha256.csr")),
        ("rsa-sha384", include_str!("../tests/requests/rsa-sha384.csr")),
        ("rsa-1024", include_str!("../tests/requests/rsa-1024.csr")),
        ("ed25519", include_str!("../tests/requests/ed25519.csr")),
        ("p384", include_str!("../tests/requests/p384.csr")),
        ("p521", include_str!("../tests/requests/p521.csr")),
        ("rsa-pss", include_str!("../tests/requests/rsa-pss.csr")),
        ("rsa-md5", include_str!("../tests/requests/rsa-md5.csr")),
    ];

    fn request(name: &str) -> CertificateRequest {
        let (_, pem) = MADE.iter().find(|(own, _)| *own == name).unwrap();
        CertificateRequest::parse(pem.as_bytes()).unwrap()
    }

    fn wrong(why: &str) -> Result<(), Fault> {
        Err(Fault::Wrong(why.to_owned()))
    }

    #[test]
    fn signatures_are_good_wrong_or_unknown() {
        for name in ["rsa-sha1", "rsa-sha256", "rsa-sha384", "rsa-1024", "ed25519", "p384"] {
            assert_eq!(check(&request(name)), Ok(()), "{name}");
        }
        for name in ["p521", "rsa-pss"] {
            assert_eq!(check(&request(name)), Err(Fault::Unknown), "{name}");
        }
        let md5 = "x509: cannot verify signature: insecure algorithm MD5-RSA";
        assert_eq!(check(&request("rsa-md5")), wrong(md5));
    }

    #[test]
    fn what_was_changed_is_refused_in_gos_words() {
        for (name, why) in [
            ("rsa-sha256", "crypto/rsa: verification error"),
            ("rsa-1024", "crypto/rsa: verification error"),
            ("ed25519", "x509: Ed25519 verification failure"),
            ("p384", "x509: ECDSA verification failure"),
        ] {
            let mut changed = request(name);
            *changed.signed.last_mut().unwrap() ^= 1;
            assert_eq!(check(&changed), wrong(why), "{name}");
        }
        let mut other = request("p384");
        other.public_key = request("ed25519").public_key;
        let why = "x509: signature algorithm specifies an ECDSA public key, but have public key of type ed25519.PublicKey";
        assert_eq!(check(&other), wrong(why));
        let mut unknown = request("p384");
        unknown.algorithm = vec![0x2a, 3];
        assert_eq!(check(&unknown), wrong("x509: cannot verify signature: algorithm unimplemented"));
    }
}
