//! The client: HTTP/1.1 over TLS or plain, one request at a time a connection, as few steps as that takes, so that what is
//! measured is the server. It knows answers with a length and in chunks, and no others.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Room for what is read at a time, in bytes: a TLS record holds 16 KiB.
const READ_BYTES: usize = 64 * 1024;

/// A server, as a kubeconfig names it.
pub struct Server {
    authority: String,
    token: String,
    /// `None`: plain HTTP.
    tls: Option<TlsConnector>,
}

impl Server {
    /// The server of a kubeconfig's first cluster and user; the file may be JSON or YAML.
    pub fn of(path: &Path) -> Server {
        let text = std::fs::read_to_string(path).unwrap();
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let url = cluster["server"].as_str().unwrap();
        let (scheme, authority) = url.split_once("://").unwrap();
        let tls = (scheme == "https").then(|| {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&authority_of(cluster)) {
                roots.add(certificate.unwrap()).unwrap();
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            TlsConnector::from(Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth()))
        });
        let token = user["token"].as_str().unwrap_or_default().to_owned();
        Server { authority: authority.trim_end_matches('/').to_owned(), token, tls }
    }

    /// A connection to it.
    pub async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.authority).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let host = self.authority.rsplit_once(':').unwrap().0.to_owned();
                Box::new(tls.connect(ServerName::try_from(host).unwrap(), stream).await.unwrap())
            }
        };
        let head = format!(
            "Host: {}\r\nAuthorization: Bearer {}\r\nAccept: application/json\r\nUser-Agent: bench\r\n",
            self.authority, self.token
        );
        Connection { stream, head, read: Vec::with_capacity(READ_BYTES) }
    }
}

/// The certificates of a kubeconfig's cluster, PEM.
fn authority_of(cluster: &Value) -> Vec<u8> {
    match cluster["certificate-authority"].as_str() {
        Some(path) => std::fs::read(path).unwrap(),
        None => base64(cluster["certificate-authority-data"].as_str().unwrap()),
    }
}

/// The bytes that base64 (RFC 4648, with padding) stands for.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let four = |four: &[u8]| {
        let bits =
            four.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(four).collect()
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that is kept alive.
pub struct Connection {
    stream: Box<dyn Stream>,
    head: String,
    /// What was read and not yet taken.
    read: Vec<u8>,
}

/// How long the body of an answer is.
#[derive(Clone, Copy)]
enum Length {
    Bytes(usize),
    Chunked,
}

impl Connection {
    /// Asks and takes the whole answer: status code and body.
    pub async fn ask(&mut self, method: &str, path: &str, media: &str, body: &str) -> (u16, Vec<u8>) {
        let (code, length) = self.send(method, path, media, body).await;
        let mut answer = Vec::new();
        match length {
            Length::Bytes(bytes) => {
                while self.read.len() < bytes {
                    assert!(self.more().await > 0, "{method} {path}: cut off");
                }
                answer = std::mem::take(&mut self.read);
                self.read = answer.split_off(bytes);
            }
            Length::Chunked => while self.chunk(&mut answer).await {},
        }
        (code, answer)
    }

    /// Asks for a watch; what it tells is taken with [`Connection::chunk`].
    pub async fn watch(&mut self, path: &str) {
        let (code, _) = self.send("GET", path, "", "").await;
        assert_eq!(code, 200, "{path}");
    }

    async fn send(&mut self, method: &str, path: &str, media: &str, body: &str) -> (u16, Length) {
        let kind = if media.is_empty() { String::new() } else { format!("Content-Type: {media}\r\n") };
        let head = &self.head;
        let request =
            format!("{method} {path} HTTP/1.1\r\n{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await > 0, "{method} {path}: no answer");
        };
        let head: Vec<u8> = self.read.drain(..end).collect();
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let code = head[9..12].parse().unwrap();
        let bytes = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        (code, bytes.map_or(Length::Chunked, Length::Bytes))
    }

    /// Takes a chunk of the answer; whether another may follow. A watch ends when its server ends it.
    pub async fn chunk(&mut self, into: &mut Vec<u8>) -> bool {
        let end = loop {
            if let Some(at) = self.read.windows(2).position(|window| window == b"\r\n") {
                break at;
            }
            if self.more().await == 0 {
                return false;
            }
        };
        let length = usize::from_str_radix(std::str::from_utf8(&self.read[..end]).unwrap(), 16).unwrap();
        let whole = end + 2 + length + 2;
        while self.read.len() < whole {
            if self.more().await == 0 {
                return false;
            }
        }
        into.extend_from_slice(&self.read[end + 2..end + 2 + length]);
        self.read.drain(..whole);
        length > 0
    }

    async fn more(&mut self) -> usize {
        self.read.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.read).await.unwrap_or(0)
    }
}
