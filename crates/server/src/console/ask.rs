//! What a request for a page carries: language, time zone, and the query.
//!
//! Language: `?lang=`, else the cookie `kc-lang`, else `Accept-Language`. Time zone: the cookie `kc-tz`,
//! minutes east of UTC, which the page's script sets. Everything unknown is ignored: an old address still works.

use super::format::Reader;
use super::text::Lang;
use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use http::{HeaderMap, header};
use std::convert::Infallible;
use std::fmt::Write;

/// Cookie that keeps the language.
pub const LANG_COOKIE: &str = "kc-lang";
/// Cookie that keeps the time zone.
pub const ZONE_COOKIE: &str = "kc-tz";

/// Query parameters looked at, at most.
const PAIRS_MAX: usize = 32;

/// A request for a page.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Language and time zone.
    pub reader: Reader,
    /// Whether the language was chosen in this request, and so is to be kept.
    pub chosen: Option<Lang>,
    /// Path.
    pub path: String,
    pairs: Vec<(String, String)>,
}

impl Ask {
    /// A query parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    /// Whether the table itself is asked for.
    pub fn csv(&self) -> bool {
        self.get("format") == Some("csv")
    }
    /// This address with one parameter changed (`None`: left out).
    pub fn with(&self, name: &str, value: Option<&str>) -> String {
        let kept = self.pairs.iter().filter(|(key, _)| key != name && key != "lang");
        let mut pairs: Vec<(&str, &str)> = kept.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if let Some(value) = value {
            pairs.push((name, value));
        }
        address(&self.path, &pairs)
    }
    /// This address on another path.
    pub fn at(&self, path: &str) -> String {
        let kept = self.pairs.iter().filter(|(key, _)| !matches!(key.as_str(), "lang" | "format"));
        let pairs: Vec<(&str, &str)> = kept.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        address(path, &pairs)
    }
}

/// A path with its query.
pub fn address(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (i, (key, value)) in pairs.iter().enumerate() {
        out.push(if i == 0 { '?' } else { '&' });
        out.push_str(&encode(key));
        out.push('=');
        out.push_str(&encode(value));
    }
    out
}

/// Percent-encoded for a query.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';').take(PAIRS_MAX))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Reads language, zone and query.
pub fn read(parts: &Parts) -> Ask {
    let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
    let mut pairs = query.map(|query| query.0).unwrap_or_default();
    pairs.truncate(PAIRS_MAX);
    let chosen = pairs.iter().find(|(key, _)| key == "lang").and_then(|(_, value)| Lang::of_tag(value));
    let headers = &parts.headers;
    let accept = || headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let lang = chosen
        .or_else(|| cookie(headers, LANG_COOKIE).and_then(Lang::of_tag))
        .unwrap_or_else(|| Lang::of_accept(accept().unwrap_or("")));
    let zone = cookie(headers, ZONE_COOKIE).and_then(|value| value.parse().ok()).unwrap_or(0);
    Ask { reader: Reader::new(lang, zone), chosen, path: parts.uri.path().to_owned(), pairs }
}

impl<S: Send + Sync> FromRequestParts<S> for Ask {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Ask, Infallible> {
        Ok(read(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(uri: &str, cookies: &str) -> Ask {
        let request = http::Request::get(uri).header("cookie", cookies).header("accept-language", "ko");
        read(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn the_choice_beats_the_cookie_beats_the_browser() {
        assert_eq!(ask("/", "").reader.lang, Lang::Ko);
        assert_eq!(ask("/", "a=b; kc-lang=en; kc-tz=540").reader, Reader::new(Lang::En, 540));
        assert_eq!(ask("/?lang=en", "kc-lang=ko").chosen, Some(Lang::En));
    }

    #[test]
    fn addresses_keep_what_they_do_not_change() {
        let ask = ask("/jobs?range=6h&sort=name&lang=ko&x=%3Cb%3E", "");
        assert_eq!(ask.with("sort", Some("-start")), "/jobs?range=6h&x=%3Cb%3E&sort=-start");
        assert_eq!(ask.at("/jobs/kr/demo/a"), "/jobs/kr/demo/a?range=6h&sort=name&x=%3Cb%3E");
    }
}
