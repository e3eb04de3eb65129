//! The key by which a twin's tokens of service accounts are signed, and the token of whoever runs it.
//!
//! Tokens are JSON Web Tokens (RFC 7519) in compact form, signed by ECDSA on P-256 (`ES256`). Invariants: a token of another
//! algorithm, or without a signature, is nobody's; comparing tokens takes as long whatever they are. What claims are worth, and
//! until when, is not looked at here: times are the twin's.

use crate::kubeconfig::base64;
use crate::signature::{self, Fault};
use anyhow::Context;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};
use twin::apiserver::User;
use twin::apiserver::certificates::CertificateRequest;
use twin::apiserver::token::Bearer;

/// How tokens are signed, as JWS calls it.
const ALGORITHM: &str = "ES256";
/// Longest token read, in bytes: ours have under 2,000.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Bytes of a coordinate of a public key, which has two behind one byte that says so.
const COORDINATE_BYTES: usize = 32;

/// Keys of a state.
pub struct Keys {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
    /// Digest of the token of whoever runs the twin.
    admin: ring::digest::Digest,
}

/// A new key, PKCS #8 in base64.
pub(crate) fn generate() -> anyhow::Result<String> {
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    made.map(|key| base64(key.as_ref())).map_err(|_| anyhow::anyhow!("the system gave no random bytes"))
}

fn digest(bytes: &[u8]) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, bytes)
}

/// Base64 as URLs and tokens carry it, without padding (RFC 4648, section 5).
fn base64url(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    serde_json::from_value::<k8s_openapi::ByteString>(json!(text)).ok().map(|bytes| bytes.0)
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    if text.contains(['+', '/', '=']) {
        return None;
    }
    let padding = "=".repeat((4 - text.len() % 4) % 4);
    from_base64(&format!("{}{padding}", text.replace('-', "+").replace('_', "/")))
}

impl Keys {
    /// Keys from what [`generate`] gave, with the token of whoever runs the twin.
    pub(crate) fn new(key: &str, admin: &str) -> anyhow::Result<Keys> {
        let random = SystemRandom::new();
        let bytes = from_base64(key).context("expected base64")?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes, &random)
            .map_err(|error| anyhow::anyhow!("expected a private key on P-256 in PKCS #8: {error}"))?;
        let id = base64url(digest(pair.public_key().as_ref()).as_ref());
        Ok(Keys { pair, random, id, admin: digest(admin.as_bytes()) })
    }

    /// The claims of a token that bears our signature.
    fn claims(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Value = serde_json::from_slice(&from_base64url(header)?).ok()?;
        if header["alg"] != ALGORITHM {
            return None;
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        key.verify(signed.as_bytes(), &from_base64url(signature)?).ok()?;
        serde_json::from_slice(&from_base64url(claims)?).ok()
    }
}

impl kubeapi::Authority for Keys {
    fn sign(&self, claims: &str) -> Option<String> {
        let header = json!({"alg": ALGORITHM, "kid": self.id, "typ": "JWT"}).to_string();
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", base64url(signature.as_ref())))
    }

    fn read(&self, token: &str) -> Bearer {
        if token.len() > TOKEN_BYTES_MAX {
            return Bearer::Unknown;
        }
        // Digests are compared: how long that takes tells nothing of the token.
        if digest(token.as_bytes()).as_ref() == self.admin.as_ref() {
            return Bearer::User(User::admin());
        }
        self.claims(token).map_or(Bearer::Unknown, Bearer::Claims)
    }

    fn keys(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(COORDINATE_BYTES.min(point.len() - 1));
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM, "x": base64url(x), "y": base64url(y),
        }]})
    }

    fn algorithms(&self) -> Vec<&'static str> {
        vec![ALGORITHM]
    }

    fn check(&self, request: &CertificateRequest) -> Result<(), String> {
        match signature::check(request) {
            Err(Fault::Wrong(why)) => Err(why),
            Ok(()) | Err(Fault::Unknown) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeapi::Authority;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::new(&generate().unwrap(), "secret").unwrap()
    }

    fn is_known(bearer: &Bearer) -> bool {
        !matches!(bearer, Bearer::Unknown)
    }

    #[test]
    fn a_token_is_read_by_the_key_that_signed_it_alone() {
        let (ours, theirs) = (keys(), keys());
        let claims = json!({"sub": "system:serviceaccount:a:b", "exp": 1});
        let token = ours.sign(&claims.to_string()).unwrap();
        assert!(matches!(ours.read(&token), Bearer::Claims(read) if read == claims));
        assert!(!is_known(&theirs.read(&token)));
        assert!(matches!(ours.read("secret"), Bearer::User(user) if user == User::admin()));
        assert!(!is_known(&ours.read("secre")) && !is_known(&ours.read("")));
    }

    #[test]
    fn a_token_without_our_algorithm_is_nobodys() {
        let keys = keys();
        let token = keys.sign("{}").unwrap();
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let (_, claims) = rest.split_once('.').unwrap();
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r"{}", "x"] {
            let header = base64url(header.as_bytes());
            for forged in [format!("{header}.{claims}.{signature}"), format!("{header}.{claims}.")] {
                assert!(!is_known(&keys.read(&forged)), "{forged}");
            }
        }
    }

    #[test]
    fn the_public_key_is_told_as_two_coordinates() {
        let set = keys().keys();
        for coordinate in ["x", "y"] {
            let bytes = from_base64url(set["keys"][0][coordinate].as_str().unwrap()).unwrap();
            assert_eq!(bytes.len(), COORDINATE_BYTES);
        }
    }

    proptest! {
        #[test]
        fn a_changed_token_is_nobodys(at in 0usize..400, to in "[A-Za-z0-9_-]") {
            let keys = keys();
            let mut token = keys.sign(r#"{"sub":"system:serviceaccount:a:b","aud":["x"]}"#).unwrap();
            let at = at % token.len();
            // The last character of 64 bytes says four bits more than it holds.
            prop_assume!(token[at..=at] != to && at + 1 < token.len());
            token.replace_range(at..=at, &to);
            prop_assert!(!is_known(&keys.read(&token)));
        }
        #[test]
        fn base64url_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(from_base64url(&base64url(&bytes)), Some(bytes));
        }
    }
}
