//! Absolute URLs and paths, as Go's `url.ParseRequestURI` takes them.
//!
//! Leaves out the words of Go's errors beyond the usual ones.

use std::collections::BTreeMap;

/// The parts of a URL, as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// In lower case.
    pub scheme: String,
    /// With its port.
    pub host: String,
    /// Escaped.
    pub path: String,
    /// Behind `?`.
    pub query: String,
}

fn is_escaped_well(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    (0..bytes.len()).all(|i| bytes[i] != b'%' || (hex(i + 1) && hex(i + 2)))
}

impl Url {
    /// Reads one; the error is in Go's words.
    pub fn parse(text: &str) -> Result<Url, String> {
        let wrong = |why: &str| format!("parse {text:?}: {why}");
        if text.is_empty() {
            return Err(wrong("empty url"));
        }
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        let scheme_end = text.bytes().position(|b| !(b.is_ascii_alphanumeric() || b"+-.".contains(&b)));
        let (scheme, rest) = match scheme_end {
            Some(0) if text.starts_with(':') => return Err(wrong("missing protocol scheme")),
            Some(at) if text.as_bytes()[at] == b':' && text.as_bytes()[0].is_ascii_alphabetic() => {
                (text[..at].to_lowercase(), &text[at + 1..])
            }
            _ => (String::new(), text),
        };
        let (rest, _) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            if scheme.is_empty() {
                return Err(wrong("invalid URI for request"));
            }
            // `mailto:a@b`: no host and no path.
            return Ok(Url { scheme, host: String::new(), path: String::new(), query: query.to_owned() });
        }
        let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            Some(after) => {
                let end = after.find('/').unwrap_or(after.len());
                let host = after[..end].rsplit_once('@').map_or(&after[..end], |(_, host)| host);
                (host, &after[end..])
            }
            None => ("", rest),
        };
        if !is_escaped_well(path) {
            return Err(wrong("invalid URL escape"));
        }
        let named = host.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&b) || b >= 0x80);
        if !named {
            return Err(wrong("invalid character in host name"));
        }
        let port = host.rfind(':').filter(|at| !host[*at..].contains(']')).map(|at| &host[at + 1..]);
        if port.is_some_and(|port| !port.bytes().all(|b| b.is_ascii_digit())) {
            return Err(wrong(&format!("invalid port \":{}\" after host", port.unwrap_or_default())));
        }
        if host.starts_with('[') != host.contains(']') {
            return Err(wrong("missing ']' in host"));
        }
        Ok(Url { scheme, host: host.to_owned(), path: path.to_owned(), query: query.to_owned() })
    }

    /// The host without its port.
    pub fn hostname(&self) -> &str {
        let bare = match self.host.rfind(':') {
            Some(at) if !self.host[at..].contains(']') => &self.host[..at],
            _ => &self.host,
        };
        bare.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(bare)
    }
    /// The port, or nothing.
    pub fn port(&self) -> &str {
        match self.host.rfind(':') {
            Some(at) if !self.host[at..].contains(']') => &self.host[at + 1..],
            _ => "",
        }
    }
    /// The parameters of the query.
    pub fn parameters(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescape(key), unescape(value)) {
                all.entry(key).or_default().push(value);
            }
        }
        all
    }
}

fn unescape(text: &str) -> Option<String> {
    if !is_escaped_well(text) {
        return None;
    }
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                out.push(u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok()?);
                at += 2;
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
        at += 1;
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
