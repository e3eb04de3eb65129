//! Kubernetes label selectors as people write them: `a=b`, `a==b`, `a!=b`, `a in (b,c)`,
//! `a notin (b,c)`, `a` (exists), `!a`, joined by commas.
//!
//! As in Kubernetes, all requirements must hold, an empty selector matches everything, and `!=` and
//! `notin` match where the label is missing. Left out: `>` and `<`, which labels of clusters do not need.

use std::collections::{BTreeMap, BTreeSet};

/// Longest selector read, in bytes.
pub const LENGTH_MAX: usize = 4096;

/// What is wrong with a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label selector, position {position}: found {found}, expected {expected}")]
pub struct Error {
    /// Byte the trouble begins at, from 1.
    pub position: usize,
    /// What stood there.
    pub found: String,
    /// What should have.
    pub expected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Missing,
}

/// A parsed selector.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<(String, Operator)>,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// With the position, what was found there, and what was expected.
    pub fn parse(text: &str) -> Result<Selector, Error> {
        if text.len() > LENGTH_MAX {
            let found = format!("{} bytes", text.len());
            return Err(Error { position: LENGTH_MAX + 1, found, expected: "at most 4096 bytes" });
        }
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        parser.skip_space();
        while parser.at < text.len() {
            requirements.push(parser.requirement()?);
            parser.skip_space();
            if parser.at < text.len() {
                parser.take(",", "',' or the end")?;
                parser.skip_space();
                if parser.at == text.len() {
                    return Err(parser.error("a label after ','"));
                }
            }
        }
        Ok(Selector { requirements })
    }

    /// Whether labels meet every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|(key, operator)| {
            let value = labels.get(key);
            match operator {
                Operator::In(values) => value.is_some_and(|v| values.contains(v)),
                Operator::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
                Operator::Exists => value.is_some(),
                Operator::Missing => value.is_none(),
            }
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

/// Ends of keys and values: letters and digits only.
fn well_formed(text: &str, longest: usize) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= longest
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && !text.contains('/')
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }
    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }
    fn error(&self, expected: &'static str) -> Error {
        let shown: String = self.rest().chars().take(20).collect();
        let found = if shown.is_empty() { "the end".to_owned() } else { format!("\"{shown}\"") };
        Error { position: self.at + 1, found, expected }
    }
    fn take(&mut self, token: &str, expected: &'static str) -> Result<(), Error> {
        if !self.rest().starts_with(token) {
            return Err(self.error(expected));
        }
        self.at += token.len();
        Ok(())
    }
    fn tries(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }
    fn word(&mut self) -> String {
        let word: String = self.rest().chars().take_while(|c| is_word(*c)).collect();
        self.at += word.len();
        word
    }

    /// `[prefix/]name`; the prefix a DNS name, the name at most 63 characters.
    fn key(&mut self) -> Result<String, Error> {
        const EXPECTED: &str = "a label key, e.g. region or example.com/tier";
        let start = self.at;
        let key = self.word();
        let (prefix, name) = key.split_once('/').map_or((None, key.as_str()), |(p, n)| (Some(p), n));
        if well_formed(name, 63) && prefix.is_none_or(|p| well_formed(p, 253)) {
            return Ok(key);
        }
        self.at = start;
        Err(self.error(EXPECTED))
    }

    /// A label value: at most 63 characters, may be empty.
    fn value(&mut self) -> Result<String, Error> {
        let start = self.at;
        let value = self.word();
        if value.is_empty() || well_formed(&value, 63) {
            return Ok(value);
        }
        self.at = start;
        Err(self.error("a label value of at most 63 letters, digits, '-', '_' or '.'"))
    }

    fn requirement(&mut self) -> Result<(String, Operator), Error> {
        if self.tries("!") {
            self.skip_space();
            return Ok((self.key()?, Operator::Missing));
        }
        let key = self.key()?;
        self.skip_space();
        if self.rest().is_empty() || self.rest().starts_with(',') {
            return Ok((key, Operator::Exists));
        }
        if self.tries("!=") {
            self.skip_space();
            return Ok((key, Operator::NotIn(BTreeSet::from([self.value()?]))));
        }
        if self.tries("==") || self.tries("=") {
            self.skip_space();
            return Ok((key, Operator::In(BTreeSet::from([self.value()?]))));
        }
        let start = self.at;
        match self.word().as_str() {
            "in" => Ok((key, Operator::In(self.values()?))),
            "notin" => Ok((key, Operator::NotIn(self.values()?))),
            _ => {
                self.at = start;
                Err(self.error("=, ==, !=, in, notin, ',' or the end"))
            }
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, Error> {
        self.skip_space();
        self.take("(", "'(' and a list of values")?;
        let mut values = BTreeSet::new();
        loop {
            self.skip_space();
            values.insert(self.value()?);
            self.skip_space();
            if self.tries(")") {
                return Ok(values);
            }
            self.take(",", "',' or ')'")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels() -> BTreeMap<String, String> {
        let pairs =
            [("name", "kr"), ("region", "ap-northeast-2"), ("zone", "KR"), ("example.com/tier", "gold")];
        pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn every_operator_as_kubernetes_has_it() {
        let check = |text: &str, expect: bool| {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels()), expect, "{text}");
        };
        for yes in
            ["", "name=kr", "name == kr", "name!=jp", "team!=x", "zone in (KR, JP-TK)", "zone notin (DE)"]
        {
            check(yes, true);
        }
        for yes in ["team notin (a)", "region", "!team", "example.com/tier=gold", "name=kr,region,!team"] {
            check(yes, true);
        }
        for no in
            ["name=jp", "name!=kr", "zone in (DE)", "zone notin (KR,DE)", "team", "!name", "team in (a)"]
        {
            check(no, false);
        }
        check("name=kr,zone=DE", false);
        check("name=", false);
    }

    #[test]
    fn errors_say_where() {
        let error = |text: &str| Selector::parse(text).unwrap_err();
        assert_eq!(error("name=kr,").position, 9);
        assert_eq!(error("name in kr").position, 9);
        assert_eq!(error("name > 3").position, 6);
        assert_eq!(error("=kr").position, 1);
        let text = error("zone in (KR").to_string();
        assert_eq!(text, "label selector, position 12: found the end, expected ',' or ')'");
        assert_eq!(error(&"a".repeat(5000)).position, 4097);
        assert_eq!(error("a/b/c=1").position, 1);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            let _ = Selector::parse(&text).map(|s| s.matches(&labels()));
        }
        #[test]
        fn in_and_notin_are_opposites(key in "[a-z]{1,5}", values in prop::collection::btree_set("[a-z]{1,3}", 1..4)) {
            let list = values.into_iter().collect::<Vec<_>>().join(",");
            let yes = Selector::parse(&format!("{key} in ({list})")).unwrap();
            let no = Selector::parse(&format!("{key} notin ({list})")).unwrap();
            prop_assert_ne!(yes.matches(&labels()), no.matches(&labels()));
        }
    }
}
