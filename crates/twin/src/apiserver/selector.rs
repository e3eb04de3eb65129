//! Label and field selectors, as `-l` and `--field-selector` write them.
//!
//! The grammar of labels is Kubernetes' own lexer and parser, error texts included. Fields know only
//! `=`, `==` and `!=`. Bounds: [`TEXT_MAX`] bytes a selector.

use super::names::{key_problems, label_value_problems};
use super::status::Status;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::{Objects, Stored};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Longest selector read, in bytes.
pub const TEXT_MAX: usize = 64 * 1024;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key in (…)`, `key=value`.
    In,
    /// `key notin (…)`, `key!=value`.
    NotIn,
    /// `key`.
    Exists,
    /// `!key`.
    DoesNotExist,
    /// `key>n`.
    GreaterThan,
    /// `key<n`.
    LessThan,
}

/// One term of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what, in the order written.
    pub values: Vec<String>,
    /// Whether it was written `key=value` or `key==value`.
    equality: Option<&'static str>,
}

/// A parsed label selector: all requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// In order of key.
    pub requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Identifier(String),
    Not,
    Equal,
    DoubleEqual,
    NotEqual,
    In,
    NotIn,
    Greater,
    Less,
    Open,
    Close,
    Comma,
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Identifier(text) => text,
            Token::Not => "!",
            Token::Equal => "=",
            Token::DoubleEqual => "==",
            Token::NotEqual => "!=",
            Token::In => "in",
            Token::NotIn => "notin",
            Token::Greater => ">",
            Token::Less => "<",
            Token::Open => "(",
            Token::Close => ")",
            Token::Comma => ",",
            Token::End => "",
        }
    }
    /// The token as a value or key: `in` and `notin` are words there.
    fn word(&self) -> Option<&str> {
        match self {
            Token::Identifier(text) => Some(text),
            Token::In => Some("in"),
            Token::NotIn => Some("notin"),
            _ => None,
        }
    }
}

fn lex(text: &str) -> Vec<Token> {
    let special = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(blank);
    while let Some(first) = rest.chars().next() {
        let (token, used) = if special(first) {
            match &rest.as_bytes()[..rest.len().min(2)] {
                b"==" => (Token::DoubleEqual, 2),
                b"!=" => (Token::NotEqual, 2),
                _ => (
                    match first {
                        '=' => Token::Equal,
                        '!' => Token::Not,
                        '(' => Token::Open,
                        ')' => Token::Close,
                        ',' => Token::Comma,
                        '>' => Token::Greater,
                        _ => Token::Less,
                    },
                    1,
                ),
            }
        } else {
            let end = rest.find(|c| special(c) || blank(c)).unwrap_or(rest.len());
            let token = match &rest[..end] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                word => Token::Identifier(word.to_owned()),
            };
            (token, end)
        };
        tokens.push(token);
        rest = rest[used..].trim_start_matches(blank);
    }
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }
    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
    fn all(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                token if token.word().is_some() || *token == Token::Not => {
                    let requirement =
                        self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?;
                    requirements.push(requirement);
                    match self.next() {
                        Token::End => return Ok(requirements),
                        Token::Comma => {
                            let after = self.peek();
                            if after.word().is_none() && *after != Token::Not {
                                return Err(format!(
                                    "found '{}', expected: identifier after ','",
                                    after.text()
                                ));
                            }
                        }
                        other => {
                            return Err(format!(
                                "found '{}', expected: ',' or 'end of string'",
                                other.text()
                            ));
                        }
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }
    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = *self.peek() == Token::Not;
        if negated {
            self.at += 1;
        }
        let token = self.next();
        let Some(key) = token.word().map(str::to_owned) else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        check_key(&key)?;
        if negated || matches!(self.peek(), Token::End | Token::Comma) {
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Ok(Requirement { key, operator, values: Vec::new(), equality: None });
        }
        let token = self.next();
        let (operator, equality) = match token {
            Token::In => (Operator::In, None),
            Token::Equal => (Operator::In, Some("=")),
            Token::DoubleEqual => (Operator::In, Some("==")),
            Token::NotIn => (Operator::NotIn, None),
            Token::NotEqual => (Operator::NotIn, Some("!=")),
            Token::Greater => (Operator::GreaterThan, None),
            Token::Less => (Operator::LessThan, None),
            other => {
                return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text()));
            }
        };
        let listed = matches!(operator, Operator::In | Operator::NotIn) && equality.is_none();
        let mut values = if listed { self.values()? } else { vec![self.exact_value()?] };
        values.sort();
        values.dedup();
        check_values(&key, operator, &values)?;
        Ok(Requirement { key, operator, values, equality })
    }
    fn values(&mut self) -> Result<Vec<String>, String> {
        let token = self.next();
        if token != Token::Open {
            return Err(format!("found '{}' expected: '('", token.text()));
        }
        match self.peek() {
            Token::Close => {
                self.at += 1;
                return Ok(vec![String::new()]);
            }
            token if token.word().is_some() || *token == Token::Comma => {}
            other => {
                return Err(format!("found '{}', expected: ',', ')' or identifier", other.text()));
            }
        }
        let values = self.identifiers()?;
        let token = self.next();
        if token != Token::Close {
            return Err(format!("found '{}', expected: ')'", token.text()));
        }
        Ok(values)
    }
    fn identifiers(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            let token = self.next();
            if let Some(word) = token.word() {
                values.push(word.to_owned());
                match self.peek() {
                    Token::Comma => {}
                    Token::Close => return Ok(values),
                    other => {
                        return Err(format!("found '{}', expected: ',' or ')'", other.text()));
                    }
                }
            } else if token == Token::Comma {
                if values.is_empty() {
                    values.push(String::new());
                }
                if *self.peek() == Token::Close {
                    values.push(String::new());
                    return Ok(values);
                }
                if *self.peek() == Token::Comma {
                    self.at += 1;
                    values.push(String::new());
                }
            } else {
                return Err(format!("found '{}', expected: ',', or identifier", token.text()));
            }
        }
    }
    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        match token.word() {
            Some(word) => Ok(word.to_owned()),
            None => Err(format!("found '{}', expected: identifier", token.text())),
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    match key_problems(key) {
        problems if problems.is_empty() => Ok(()),
        problems => Err(format!("key: Invalid value: {key:?}: {}", problems.join("; "))),
    }
}

fn check_values(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
    if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
        for (i, value) in values.iter().enumerate() {
            if value.parse::<i64>().is_err() {
                return Err(format!(
                    "values[{i}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
                ));
            }
        }
    }
    for (i, value) in values.iter().enumerate() {
        let problems = label_value_problems(value);
        if !problems.is_empty() {
            let why = problems.join("; ");
            return Err(format!("values[{i}][{key}]: Invalid value: {value:?}: {why}"));
        }
    }
    Ok(())
}

impl Requirement {
    /// Whether a set of labels fulfils it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key);
        let compared = |smaller: bool| {
            let (Some(found), Some(wanted)) = (found, self.values.first()) else { return false };
            match (found.parse::<i64>(), wanted.parse::<i64>()) {
                (Ok(found), Ok(wanted)) if smaller => found < wanted,
                (Ok(found), Ok(wanted)) => found > wanted,
                _ => false,
            }
        };
        match self.operator {
            Operator::In => found.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => found.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::GreaterThan => compared(false),
            Operator::LessThan => compared(true),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { key, values, .. } = self;
        let first = values.first().map_or("", String::as_str);
        match (self.operator, self.equality) {
            (Operator::Exists, _) => write!(f, "{key}"),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::GreaterThan, _) => write!(f, "{key}>{first}"),
            (Operator::LessThan, _) => write!(f, "{key}<{first}"),
            (_, Some(sign)) => write!(f, "{key}{sign}{first}"),
            (Operator::In, None) => write!(f, "{key} in ({})", values.join(",")),
            (Operator::NotIn, None) => write!(f, "{key} notin ({})", values.join(",")),
        }
    }
}

impl LabelSelector {
    /// Reads a selector; the error is Kubernetes' text.
    pub fn parse(text: &str) -> Result<LabelSelector, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("selector of {} bytes, expected at most {TEXT_MAX}", text.len()));
        }
        let mut requirements = Parser { tokens: lex(text), at: 0 }.all()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements })
    }
    /// Whether a set of labels fulfils all requirements.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    field: String,
    value: String,
    equal: bool,
}

/// Splits at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' {
            escaped = true;
        } else if byte == b',' {
            terms.push(&text[start..i]);
            start = i + 1;
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Takes the backslashes out; `None` when one stands before anything but `\`, `,` or `=`, or an `=` is bare.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            '=' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

fn field_term(term: &str) -> Result<FieldTerm, String> {
    let wrong = || format!("invalid selector: '{term}'; can't understand '{term}'");
    let at = term.find('=').ok_or_else(wrong)?;
    let (left, right) = (&term[..at], &term[at + 1..]);
    let (field, value, equal) = match (left.strip_suffix('!'), right.strip_prefix('=')) {
        (Some(field), _) => (field, right, false),
        (None, Some(value)) => (left, value, true),
        (None, None) => (left, right, true),
    };
    let value = unescape(value).ok_or_else(wrong)?;
    Ok(FieldTerm { field: field.to_owned(), value, equal })
}

/// A label selector and a field selector, parsed for one kind.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    /// On labels.
    pub labels: LabelSelector,
    fields: Vec<FieldTerm>,
}

impl Selectors {
    /// Reads both for a kind of a cluster; empty texts select everything. A wrong one is a 400.
    pub fn of(objects: &Objects, kind: Kind, labels: &str, fields: &str) -> Result<Selectors, Status> {
        let version = objects.definition_of(kind).and_then(|d| d.version(kind.resource().version));
        let own = version.map_or(&[][..], |version| &version.selectable);
        Selectors::parse(kind, own, labels, fields)
    }
    /// The same for a kind of which these JSON paths can be selected by, beside what Kubernetes' own kinds can.
    pub fn parse(kind: Kind, own: &[String], labels: &str, fields: &str) -> Result<Selectors, Status> {
        let parsed = LabelSelector::parse(labels)
            .map_err(|e| Status::bad_request(format!("unable to parse label selector {labels:?}: {e}")))?;
        if fields.len() > TEXT_MAX {
            let message = format!("field selector longer than {TEXT_MAX} bytes");
            return Err(Status::bad_request(message));
        }
        let mut terms = Vec::new();
        for term in split_terms(fields).into_iter().filter(|t| !t.is_empty()) {
            let mut term = field_term(term).map_err(Status::bad_request)?;
            if kind != Kind::Event && kind.stored() == Kind::Event {
                term.field = core_event_field(&term.field);
            }
            let is_own = own.iter().any(|path| path.strip_prefix('.') == Some(&term.field));
            if !is_own && !supports(kind.stored(), &term.field) {
                let (resource, field) = (kind.resource(), &term.field);
                let group = if resource.group.is_empty() {
                    format!("/{}", resource.version)
                } else {
                    resource.api_version()
                };
                return Err(Status::bad_request(format!(
                    "Unable to find \"{group}, Resource={}\" that match label selector {labels:?}, field selector {fields:?}: field label not supported: {field}",
                    resource.plural
                )));
            }
            terms.push(term);
        }
        Ok(Selectors { labels: parsed, fields: terms })
    }
    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.labels.requirements.is_empty() && self.fields.is_empty()
    }
    /// Whether an object is selected.
    pub fn matches(&self, stored: &Stored) -> bool {
        let object = &stored.object;
        let by_label = self.labels.requirements.is_empty() || {
            let none = BTreeMap::new();
            self.labels.matches(object.meta().labels.as_ref().unwrap_or(&none))
        };
        by_label && self.fields.iter().all(|t| (field(object, &t.field) == t.value) == t.equal)
    }
}

/// Whether a `LabelSelector` document selects an object with these labels. An empty one selects everything.
pub fn selects_pod(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let wanted = selector.get("matchLabels").and_then(Value::as_object);
    let all = wanted.into_iter().flatten().all(|(key, value)| label(key) == value.as_str());
    let terms = selector.get("matchExpressions").and_then(Value::as_array);
    all && terms.into_iter().flatten().all(|term| {
        let found = term.get("key").and_then(Value::as_str).and_then(label);
        let named = || {
            let values = term.get("values").and_then(Value::as_array);
            found.is_some_and(|found| values.into_iter().flatten().any(|v| v.as_str() == Some(found)))
        };
        match term.get("operator").and_then(Value::as_str) {
            Some("In") => named(),
            Some("NotIn") => !named(),
            Some("Exists") => found.is_some(),
            Some("DoesNotExist") => found.is_none(),
            _ => false,
        }
    })
}

/// Whether an object is selected.
pub fn selects(selectors: &Selectors, stored: &Stored) -> bool {
    selectors.matches(stored)
}

const POD_FIELDS: [&str; 8] = [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];
const EVENT_FIELDS: [&str; 11] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// Fields of documents, by group and plural.
const DOCUMENT_FIELDS: [(&str, &str, &[&str]); 6] = [
    ("", "secrets", &["type"]),
    ("", "services", &["spec.clusterIP", "spec.type"]),
    ("", "replicationcontrollers", &["status.replicas"]),
    ("apps", "replicasets", &["status.replicas"]),
    ("certificates.k8s.io", "certificatesigningrequests", &["spec.signerName"]),
    ("resource.k8s.io", "resourceslices", &["spec.nodeName", "spec.driver"]),
];

/// A field of an Event of `events.k8s.io` as the core group calls it.
fn core_event_field(field: &str) -> String {
    match (field, field.strip_prefix("regarding.")) {
        (_, Some(part)) => format!("involvedObject.{part}"),
        ("reportingController", None) => "reportingComponent".to_owned(),
        (field, None) => field.to_owned(),
    }
}

/// Whether a kind can be selected by a field.
pub fn supports(kind: Kind, field: &str) -> bool {
    if field == "metadata.name" || (field == "metadata.namespace" && kind.resource().namespaced) {
        return true;
    }
    match kind {
        Kind::Pod => POD_FIELDS.contains(&field) || field == "status.podIPs",
        Kind::Event => EVENT_FIELDS.contains(&field),
        Kind::Node => field == "spec.unschedulable",
        Kind::Namespace => field == "status.phase",
        Kind::Job => field == "status.successful",
        Kind::Document(_) => {
            let resource = kind.resource();
            let own = DOCUMENT_FIELDS
                .iter()
                .find(|(group, plural, _)| *group == resource.group && *plural == resource.plural);
            own.is_some_and(|(.., fields)| fields.contains(&field))
        }
        _ => false,
    }
}

/// The value of a selectable field.
fn field(object: &Object, name: &str) -> String {
    match name {
        "metadata.name" => return object.name().to_owned(),
        "metadata.namespace" => return object.namespace().to_owned(),
        _ => {}
    }
    match object {
        Object::Pod(pod) => {
            let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
            match name {
                "spec.nodeName" => spec.and_then(|s| s.node_name.clone()),
                "spec.restartPolicy" => spec.and_then(|s| s.restart_policy.clone()),
                "spec.schedulerName" => spec.and_then(|s| s.scheduler_name.clone()),
                "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()),
                "spec.hostNetwork" => Some(spec.and_then(|s| s.host_network).unwrap_or(false).to_string()),
                "status.phase" => status.and_then(|s| s.phase.clone()),
                "status.podIP" | "status.podIPs" => status.and_then(|s| s.pod_ip.clone()),
                "status.nominatedNodeName" => status.and_then(|s| s.nominated_node_name.clone()),
                _ => None,
            }
            .unwrap_or_default()
        }
        Object::Event(event) => {
            let involved = &event.involved_object;
            match name {
                "involvedObject.kind" => involved.kind.clone(),
                "involvedObject.namespace" => involved.namespace.clone(),
                "involvedObject.name" => involved.name.clone(),
                "involvedObject.uid" => involved.uid.clone(),
                "involvedObject.apiVersion" => involved.api_version.clone(),
                "involvedObject.resourceVersion" => involved.resource_version.clone(),
                "involvedObject.fieldPath" => involved.field_path.clone(),
                "reason" => event.reason.clone(),
                "reportingComponent" => event.reporting_component.clone(),
                "source" => event
                    .source
                    .as_ref()
                    .and_then(|s| s.component.clone())
                    .filter(|c| !c.is_empty())
                    .or_else(|| event.reporting_component.clone()),
                "type" => event.type_.clone(),
                _ => None,
            }
            .unwrap_or_default()
        }
        Object::Node(node) => node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false).to_string(),
        Object::Namespace(namespace) => {
            namespace.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default()
        }
        Object::Job(job) => job.status.as_ref().and_then(|s| s.succeeded).unwrap_or(0).to_string(),
        Object::Document(document) => {
            let mut path = name.split('.');
            let first = path.next().and_then(|step| document.body.get(step));
            match path.fold(first, |value, step| value.and_then(|value| value.get(step))) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            }
        }
        _ => String::new(),
    }
}
