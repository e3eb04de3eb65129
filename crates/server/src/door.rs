//! The door of the twins' APIs: TLS under an authority of the twin's own, the token of whoever runs it, the key by which
//! tokens of service accounts are signed, and certificates that the authority has given to clients.
//!
//! Invariants: authority, token and key last as long as the state does, so that a kubeconfig or a token that was handed out
//! stays good; they lie in one file that only its owner may read. A handshake that takes long holds up nobody else. Whose
//! certificate a client brings is told to those behind the door (`kubeapi`), who say what they may do; one of another authority
//! is shown out.

use crate::keys::{self, Keys};
use crate::signer::Signer;
use anyhow::{Context, bail};
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener, ListenerExt};
use kubeapi::Certified;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// File of the authority and the token, in the state directory.
const FILE: &str = "access.json";
/// Most bytes read of it: two keys and a token are a twentieth of that.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Name of the authority; a certificate is known to be its own by that and by its key.
const AUTHORITY: &str = "kubercarbon twin";
/// Names the certificate is good for, beside the address listened on: what pods and people call an API server.
const NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];
/// Handshakes under way at most, and how long one may take.
const HANDSHAKES_MAX: usize = 1024;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Wait after the system had no connection to give: out of descriptors, as a rule.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Access {
    /// Certificate of the authority, PEM.
    authority: String,
    /// Its key, PEM.
    key: String,
    /// What a client has to bring.
    token: String,
    /// Key of tokens of service accounts, PKCS #8 in base64; empty in files of versions that gave none.
    #[serde(default)]
    tokens: String,
}

/// What a client needs to come in.
#[derive(Clone)]
pub struct Pass {
    /// Certificate of the authority, PEM.
    pub authority: String,
    /// The same, DER.
    pub authority_der: Vec<u8>,
    /// Bearer token.
    pub token: String,
}

/// A door with a lock.
pub struct Door {
    pass: Pass,
    keys: Arc<Keys>,
    signer: Arc<Signer>,
    tls: Arc<ServerConfig>,
}

impl Door {
    /// The door of a state directory, made when there is none; `None`: one that lasts as long as this process.
    /// `addresses` are those listened on.
    ///
    /// # Errors
    /// When the file cannot be read, written or made sense of.
    pub fn open(state: Option<&Path>, addresses: &[IpAddr]) -> anyhow::Result<Door> {
        let access = match state {
            Some(state) => kept(&state.join(FILE))?,
            None => Access::new()?,
        };
        access.door(addresses).context("make the certificate of the twins' APIs")
    }

    /// Who signs and reads tokens.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.clone()
    }

    /// Who signs certificates for clients.
    pub fn signer(&self) -> Arc<Signer> {
        self.signer.clone()
    }

    /// What its clients need.
    pub fn pass(&self) -> &Pass {
        &self.pass
    }
}

/// Reads what is kept, or makes it and keeps it.
fn kept(path: &Path) -> anyhow::Result<Access> {
    match crate::signals::read_within(path, FILE_BYTES_MAX) {
        Ok(bytes) => match serde_json::from_slice::<Access>(&bytes) {
            Ok(access) if access.tokens.is_empty() => {
                let access = Access { tokens: keys::generate()?, ..access };
                access.keep(path)?;
                Ok(access)
            }
            Ok(access) => Ok(access),
            Err(error) => bail!(
                "read {}: {error}\n\nhint: take it away for a new one; kubeconfigs handed out before are no good then",
                path.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let access = Access::new()?;
            access.keep(path)?;
            Ok(access)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Access {
    fn new() -> anyhow::Result<Access> {
        let key = KeyPair::generate().context("make a key")?;
        let authority = authority_params().self_signed(&key).context("make an authority")?;
        let mut random = [0; TOKEN_BYTES];
        let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
        filled.map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
        let token = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let tokens = keys::generate()?;
        Ok(Access { authority: authority.pem(), key: key.serialize_pem(), token, tokens })
    }

    fn keep(&self, path: &Path) -> anyhow::Result<()> {
        crate::kubeconfig::write_private(path, serde_json::to_string_pretty(self)?.as_bytes())
    }

    fn door(self, addresses: &[IpAddr]) -> anyhow::Result<Door> {
        use rustls::pki_types::pem::PemObject;
        let authority_key = KeyPair::from_pem(&self.key).context("read the authority's key")?;
        let authority = CertificateDer::from_pem_slice(self.authority.as_bytes())
            .context("read the authority's certificate")?;
        let signer = Signer::new(&authority_key.serialize_der(), &authority)?;
        let issuer = Issuer::new(authority_params(), authority_key);
        let names = NAMES.into_iter().map(str::to_owned).chain(addresses.iter().map(ToString::to_string));
        let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("make a key")?;
        let certificate = params.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).context("trust the authority")?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let clients = clients.allow_unauthenticated().build().context("let in certificates of clients")?;
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let authority_der = authority.to_vec();
        let keys = Keys::new(&self.tokens, &self.token).context("read the key of tokens")?;
        let pass = Pass { authority: self.authority, authority_der, token: self.token };
        Ok(Door { pass, keys: Arc::new(keys), signer: Arc::new(signer), tls: Arc::new(config) })
    }
}

/// Serves `router` on `listener` until the tasks are aborted, under TLS where there is a door to go through.
pub fn serve(
    listener: TcpListener,
    address: SocketAddr,
    router: axum::Router,
    door: Option<&Door>,
) -> Vec<JoinHandle<()>> {
    // Such a service never ends of itself.
    let forever = |result: std::io::Result<()>| drop(result);
    let Some(door) = door else {
        let listener = listener.tap_io(|stream| {
            // Small answers go out at once; a socket that cannot is served all the same.
            let _slower = stream.set_nodelay(true);
        });
        return vec![tokio::spawn(async move { forever(axum::serve(listener, router).await) })];
    };
    let (done, ready) = mpsc::channel(HANDSHAKES_MAX);
    vec![
        tokio::spawn(shake_hands(listener, TlsAcceptor::from(door.tls.clone()), done)),
        tokio::spawn(async move {
            let router =
                router.layer(axum::middleware::from_fn(tell)).into_make_service_with_connect_info::<Peer>();
            forever(axum::serve(Handshakes { ready, address }, router).await);
        }),
    ]
}

/// Whose certificate a connection was opened with.
#[derive(Clone)]
struct Peer(Option<Certified>);

impl Connected<IncomingStream<'_, Handshakes>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Handshakes>) -> Peer {
        let (_, connection) = stream.io().get_ref();
        let first = connection.peer_certificates().and_then(<[_]>::first);
        Peer(first.and_then(|certificate| crate::signer::certified(certificate)))
    }
}

/// Tells those behind the door who a request is from, where its connection says so.
async fn tell(
    ConnectInfo(Peer(certified)): ConnectInfo<Peer>,
    mut request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    if let Some(certified) = certified {
        request.extensions_mut().insert(certified);
    }
    next.run(request).await
}

/// Connections whose handshake is done.
struct Handshakes {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Handshakes {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }
    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Accepts connections for ever; each shakes hands beside the others.
async fn shake_hands(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    done: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        let (stream, address) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (acceptor, done) = (acceptor.clone(), done.clone());
        tokio::spawn(async move {
            let _place = place;
            let _slower = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // Nobody waits for it once the server ends.
                Ok(Ok(stream)) => drop(done.send((stream, address)).await),
                Ok(Err(error)) => tracing::debug!(%error, %address, "shake hands"),
                Err(_) => tracing::debug!(%address, "a handshake took too long"),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_keeps_its_authority_and_token() {
        let state = tempfile::tempdir().unwrap();
        let first = Door::open(Some(state.path()), &[]).unwrap();
        let again = Door::open(Some(state.path()), &[]).unwrap();
        assert_eq!(first.pass().token, again.pass().token);
        assert_eq!(first.pass().authority, again.pass().authority);
        assert_ne!(first.pass().token, Door::open(None, &[]).unwrap().pass().token);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(state.path().join(FILE)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_alone() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join(FILE), "{}").unwrap();
        let error = Door::open(Some(state.path()), &[]).err().unwrap().to_string();
        assert!(error.contains("access.json") && error.contains("hint: take it away"), "{error}");
        assert_eq!(std::fs::read(state.path().join(FILE)).unwrap(), b"{}");
    }

    #[test]
    fn a_file_of_before_there_were_keys_of_tokens_gets_one() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(FILE);
        let old = Door::open(Some(state.path()), &[]).unwrap();
        let mut kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        kept.as_object_mut().unwrap().remove("tokens");
        std::fs::write(&path, kept.to_string()).unwrap();
        let new = Door::open(Some(state.path()), &[]).unwrap();
        assert_eq!(old.pass().token, new.pass().token);
        let token = kubeapi::Authority::sign(&*new.keys(), "{}").unwrap();
        let again = Door::open(Some(state.path()), &[]).unwrap();
        let read = kubeapi::Authority::read(&*again.keys(), &token);
        assert!(matches!(read, twin::apiserver::token::Bearer::Claims(_)), "the key was not kept");
    }
}
