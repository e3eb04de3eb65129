//! One request to a provider, within bounds: of time, of bytes, of tries.
//!
//! What may succeed at another try (no answer, half of one, a server's fault) is tried again after a delay
//! with jitter; a refusal is not; 429 says how long to leave the provider alone, which the caller keeps to.
//! The connection is the one clusters are reached with ([`crate::client()`]): rustls on ring. A key goes to
//! HTTPS addresses alone, loopback excepted. Proxies are those of the environment ([`Proxies`]). Left out:
//! redirects (an answer elsewhere is a refusal).

use super::{Error, short};
use crate::observe::backoff::Backoff;
use crate::proxy::Proxies;
use bytes::Bytes;
use http::header::{ACCEPT, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use kube::client::Body;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// For how long a provider is left alone that says 429 and nothing more: most count by the minute.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest that is waited because a provider says so; those that count by the hour ask for as much.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Longest base address and key, in bytes.
const TEXT_MAX: usize = 4096;

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one try, head and body.
    pub timeout: Duration,
    /// Tries in all.
    pub tries: u32,
    /// Upper bound of the delay before the second try; it doubles.
    pub delay: Duration,
    /// Most bytes of an answer.
    pub bytes_max: usize,
}

/// 10 s is several times what the services take; 4 MiB is ten times their largest answer we ask for
/// (WattTime: 30 days of 5 minutes, some 50 bytes each).
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            timeout: Duration::from_secs(10),
            tries: 3,
            delay: Duration::from_secs(1),
            bytes_max: 4 << 20,
        }
    }
}

/// How providers are reached: within which bounds, and through which proxy.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Bounds of each request.
    pub limits: Limits,
    /// Proxies there are.
    pub proxies: Proxies,
}

impl Reach {
    /// The same with one try a request, for services that count requests by the minute.
    pub fn tried_once(mut self) -> Reach {
        self.limits.tries = 1;
        self
    }
}

impl From<Limits> for Reach {
    /// Directly.
    fn from(limits: Limits) -> Reach {
        Reach { limits, proxies: Proxies::default() }
    }
}

/// A password or key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it. White space around it, as files end with, is no part of it.
    ///
    /// # Errors
    /// When it is empty, too long, or has characters that no header can carry.
    pub fn new(text: &str) -> Result<Secret, String> {
        let text = text.trim();
        if text.is_empty() || text.len() > TEXT_MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "{} bytes, or control characters among them: expected 1 to {TEXT_MAX} bytes of text on one line",
                text.len()
            ));
        }
        Ok(Secret(text.to_owned()))
    }
    /// For the one header it goes into.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
    /// As the value of the header `Authorization`.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How one provider is asked.
pub struct Ask {
    provider: &'static str,
    address: String,
    base: String,
    /// No key is sent there.
    keyless: bool,
    client: kube::Client,
    limits: Limits,
    backoff: Backoff,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("provider", &self.provider)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// What came of a try.
enum Try {
    /// An answer below 500, read whole.
    Answer(StatusCode, HeaderMap, Bytes),
    /// To be tried again.
    Again(String),
}

impl Ask {
    /// Asks `provider` at `base`, e.g. `https://api.watttime.org`. Within a Tokio runtime.
    ///
    /// # Errors
    /// When the address is none, is not HTTPS (but on loopback), or no client can be made.
    pub fn new(provider: &'static str, base: &str, reach: impl Into<Reach>) -> Result<Ask, String> {
        Ask::at(provider, base, reach.into(), false)
    }

    /// The same of a service that is sent no key: it may be reached in the clear.
    ///
    /// # Errors
    /// When the address is none, or no client can be made.
    pub fn keyless(provider: &'static str, base: &str, reach: impl Into<Reach>) -> Result<Ask, String> {
        Ask::at(provider, base, reach.into(), true)
    }

    fn at(provider: &'static str, base: &str, reach: Reach, keyless: bool) -> Result<Ask, String> {
        let Reach { limits, proxies } = reach;
        let base = base.trim().trim_end_matches('/');
        let wrong = |found: &str| {
            // What stands before an @ may be a password.
            let shown = if base.contains('@') { "…".to_owned() } else { short(base) };
            format!("{provider}: address {shown:?}: {found}: expected one such as https://host/path")
        };
        let uri: Uri = base.parse().map_err(|_| wrong("is none"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong("has no host"));
        };
        let loopback = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
        if !(scheme == "https" || scheme == "http" && (loopback || keyless)) {
            return Err(wrong("is not HTTPS, and keys are not sent in the clear"));
        }
        if base.len() > TEXT_MAX || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong("is too long, or has a query or a user"));
        }
        // Only host and scheme: the path is put before each request's.
        let root = format!("{scheme}://{authority}").parse().map_err(|_| wrong("is none"))?;
        let mut config = kube::Config::new(root);
        config.default_retry = false;
        config.disable_compression = true;
        config.connect_timeout = Some(limits.timeout);
        config.read_timeout = Some(limits.timeout);
        config.proxy_url = proxies.of(&uri).cloned();
        let client = crate::client(config).map_err(|error| format!("{provider}: make a client: {error}"))?;
        let most = limits.delay.saturating_mul(8);
        let backoff = Backoff::within(provider, limits.delay, most);
        let (address, base) = (base.to_owned(), uri.path().trim_end_matches('/').to_owned());
        Ok(Ask { provider, address, base, keyless, client, limits, backoff })
    }

    /// Its base address, without a secret.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// GETs `path` (with its query; already in the characters an address may have) and gives the body of an
    /// answer of 200. `what` says what is asked for, in errors. `secret` may be repeated in no error.
    ///
    /// # Errors
    /// See [`Error`]; 401 and 403 are [`Error::Denied`] without a hint, 404 is [`Error::Refused`].
    pub async fn get(
        &mut self,
        what: &str,
        path: &str,
        secret: Option<(HeaderName, String)>,
    ) -> Result<Bytes, Error> {
        self.backoff.reset();
        let mut why = String::new();
        for attempt in 0..self.limits.tries.max(1) {
            if attempt > 0 {
                sleep(self.backoff.delay()).await;
            }
            let tried = timeout(self.limits.timeout, self.once(path, secret.as_ref())).await;
            match tried {
                Ok(Ok(Try::Answer(status, headers, body))) => {
                    return self.judge(what, status, &headers, body, secret.as_ref());
                }
                Ok(Ok(Try::Again(text))) => why = text,
                Ok(Err(error)) => return Err(error),
                Err(_) => why = format!("nothing for {} ms", self.limits.timeout.as_millis()),
            }
            tracing::debug!(provider = self.provider, what, attempt, why, "no answer");
        }
        let tries = self.limits.tries.max(1);
        Err(Error::Unanswered { provider: self.provider, what: what.to_owned(), tries, why })
    }

    /// One try.
    async fn once(&self, path: &str, secret: Option<&(HeaderName, String)>) -> Result<Try, Error> {
        let refused = |said: &str| Error::Refused {
            provider: self.provider,
            status: 0,
            what: format!("the request {}", short(path)),
            said: said.to_owned(),
        };
        let mut request = Request::get(format!("{}{path}", self.base))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("kubercarbon/", env!("CARGO_PKG_VERSION")));
        if let Some((name, value)) = secret {
            if self.keyless {
                return Err(refused("a key: it was said that none is sent there: not sent"));
            }
            let mut value =
                HeaderValue::from_str(value).map_err(|_| refused("key: no header can carry it"))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let request =
            request.body(Body::from(Vec::new())).map_err(|_| refused("its path is none: not sent"))?;
        let answer = match self.client.send(request).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Try::Again(short(&cause(&error)))),
        };
        let status = answer.status();
        let headers = answer.headers().clone();
        // 501 is no passing fault: there is no such thing there.
        let for_good = status == StatusCode::NOT_IMPLEMENTED;
        let waits = status == StatusCode::SERVICE_UNAVAILABLE && waits(&headers);
        if status.is_server_error() && !waits && !for_good {
            return Ok(Try::Again(format!("status {}", status.as_u16())));
        }
        match self.body(answer).await {
            Ok(Some(body)) => Ok(Try::Answer(status, headers, body)),
            Ok(None) => Err(refused(&format!("an answer of more than {} bytes", self.limits.bytes_max))),
            Err(why) => Ok(Try::Again(why)),
        }
    }

    /// The whole body; `None` when it is too large.
    async fn body(&self, answer: Response<Body>) -> Result<Option<Bytes>, String> {
        let mut body = answer.into_body();
        let mut all = Vec::new();
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let Some(frame) = frame else { return Ok(Some(all.into())) };
            let frame = frame.map_err(|error| format!("cut short after {} bytes: {error}", all.len()))?;
            let data = frame.into_data().unwrap_or_default();
            if all.len() + data.len() > self.limits.bytes_max {
                return Ok(None);
            }
            all.extend_from_slice(&data);
        }
    }

    /// What an answer means.
    fn judge(
        &self,
        what: &str,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        secret: Option<&(HeaderName, String)>,
    ) -> Result<Bytes, Error> {
        let (provider, what) = (self.provider, what.to_owned());
        if status == StatusCode::OK {
            return Ok(body);
        }
        let said = said(&body, secret);
        let code = status.as_u16();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::Denied { provider, status: code, what, said, hint: String::new() }
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Error::Busy { provider, status: code, wait: wait(headers) }
            }
            _ => Error::Refused { provider, status: code, what, said },
        })
    }
}

/// Whether an answer says when to come back.
fn waits(headers: &HeaderMap) -> bool {
    headers.contains_key(RETRY_AFTER)
}

/// How long to leave the provider alone: `Retry-After` in seconds, or until its date by the answer's own
/// date, so that no clock is read; at least a second, at most [`WAIT_MAX`].
fn wait(headers: &HeaderMap) -> Duration {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let date = |text: &str| http_date(text).map(fleet::Instant::as_unix_seconds);
    let Some(asked) = text(RETRY_AFTER) else { return WAIT_DEFAULT };
    let seconds = asked.parse::<u64>().ok().or_else(|| {
        let (until, from) = (date(asked)?, date(text(http::header::DATE)?)?);
        u64::try_from(until - from).ok()
    });
    seconds.map_or(WAIT_DEFAULT, Duration::from_secs).clamp(Duration::from_secs(1), WAIT_MAX)
}

/// A date of HTTP, `Sat, 02 May 2026 10:00:00 GMT`, without a calendar library: put in the order of RFC 3339.
fn http_date(text: &str) -> Option<fleet::Instant> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts[..] else { return None };
    let month = 1 + MONTHS.iter().position(|known| *known == month)?;
    fleet::Instant::parse(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

/// What a provider says, from the fields errors are known to come in, without the secret.
fn said(body: &[u8], secret: Option<&(HeaderName, String)>) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(TEXT_MAX)]);
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let fields = ["/error/message", "/msg", "/message", "/error", "/detail/0/msg"];
    let field = fields.iter().find_map(|field| json.pointer(field)?.as_str());
    // A page of a gateway says nothing of use.
    let mut said = match field {
        Some(field) => field.to_owned(),
        None if text.trim_start().starts_with('<') => String::new(),
        None => text.into_owned(),
    };
    for word in secret.iter().flat_map(|(_, value)| value.split(' ')).filter(|word| word.len() > 3) {
        said = said.replace(word, "…");
    }
    short(&said)
}

/// What is behind an error, at the bottom: the layers above only say that something is.
fn cause(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.last().map(ToString::to_string).unwrap_or_default()
}

/// Base64 of RFC 4648, for HTTP's Basic.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let octet = |i: usize| u32::from(part.get(i).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for i in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]);
            text.push(if i <= part.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new(" hunter2 \n").unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("hunter2", "Secret(…)"));
        assert!(Secret::new(" \n").is_err() && Secret::new("a\nb").is_err());
        assert!(!Secret::new("pass\nword").unwrap_err().contains("word"));
        let header = (http::header::AUTHORIZATION, "Bearer hunter2".to_owned());
        let body = br#"{"error":"INVALID","msg":"token hunter2\nis old"}"#;
        assert_eq!(said(body, Some(&header)), "token … is old");
        assert_eq!(said(b"<html>blocked</html>", None), "");
    }

    #[test]
    fn waits_as_long_as_asked_within_a_bound() {
        let headers = |pairs: &[(HeaderName, &'static str)]| {
            pairs.iter().map(|(name, text)| (name.clone(), HeaderValue::from_static(text))).collect()
        };
        let date = (http::header::DATE, "Sat, 02 May 2026 10:00:00 GMT");
        for (pairs, seconds) in [
            (vec![], 60),
            (vec![(RETRY_AFTER, "7")], 7),
            (vec![(RETRY_AFTER, "0")], 1),
            (vec![(RETRY_AFTER, "86400")], 3600),
            (vec![(RETRY_AFTER, "soon")], 60),
            (vec![(RETRY_AFTER, "Sat, 02 May 2026 10:02:05 GMT"), date], 125),
        ] {
            let headers: HeaderMap = headers(&pairs);
            assert_eq!(wait(&headers).as_secs(), seconds, "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn keys_go_to_https_alone() {
        for good in
            ["https://api.watttime.org", "https://h/v4/", "http://127.0.0.1:80", "http://localhost:1/x"]
        {
            assert!(Ask::new("X", good, Limits::default()).is_ok(), "{good}");
        }
        for wrong in
            ["", "api.watttime.org", "http://api.watttime.org", "ftp://h", "https://u:p@h", "https://h/?k=v"]
        {
            let error = Ask::new("X", wrong, Limits::default()).unwrap_err();
            assert!(error.contains("expected one such as https://host/path"), "{error}");
        }
        let mut keyless = Ask::keyless("X", "http://h:9090", Limits::default()).unwrap();
        let key = Some((http::header::AUTHORIZATION, "Bearer hunter2".to_owned()));
        let refused = keyless.get("anything", "/", key).await.unwrap_err().to_string();
        assert!(refused.contains("not sent") && !refused.contains("hunter2"), "{refused}");
    }
}
