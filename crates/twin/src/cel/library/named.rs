//! Formats by name: what is wrong with a text, in Kubernetes' words.

use crate::apiserver::names;

/// A format, and the length of the pattern Kubernetes reckons its cost by.
const FORMATS: [(&str, u64); 13] = [
    ("dns1123Label", 30),
    ("dns1123Subdomain", 60),
    ("dns1035Label", 30),
    ("qualifiedName", 60),
    ("dns1123LabelPrefix", 30),
    ("dns1123SubdomainPrefix", 60),
    ("dns1035LabelPrefix", 30),
    ("labelValue", 40),
    ("uri", 1103),
    ("uuid", 70),
    ("byte", 84),
    ("date", 71),
    ("datetime", 71),
];

const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// A format by its name.
pub(crate) fn named(name: &str) -> Option<&'static str> {
    FORMATS.iter().find(|(known, _)| *known == name).map(|(known, _)| *known)
}

/// The length of its pattern.
pub(crate) fn pattern_length(name: &str) -> u64 {
    FORMATS.iter().find(|(known, _)| *known == name).map_or(0, |(_, length)| *length)
}

/// The beginning of a name: what is generated follows, so that a last dash does no harm.
fn masked(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

fn label_1035(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > names::LABEL_MAX {
        problems.push(format!("must be no more than {} bytes", names::LABEL_MAX));
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !(begins && text.bytes().all(inner) && !text.ends_with('-')) {
        problems.push(LABEL_1035.to_owned());
    }
    problems
}

fn is_uuid(text: &str) -> bool {
    let bare: String = text.chars().filter(|c| *c != '-').collect();
    let dashes = text.split('-').map(str::len).collect::<Vec<_>>();
    bare.len() == 32
        && bare.bytes().all(|b| b.is_ascii_hexdigit())
        && (dashes == [8, 4, 4, 4, 12] || !text.contains('-'))
}

/// What is wrong with a text; nothing when it is of the format.
pub(crate) fn problems(format: &str, text: &str) -> Vec<String> {
    let said = |fits: bool, what: &str| if fits { Vec::new() } else { vec![what.to_owned()] };
    match format {
        "dns1123Label" => names::label_problems(text),
        "dns1123LabelPrefix" => names::label_problems(&masked(text)),
        "dns1123Subdomain" => names::subdomain_problems(text),
        "dns1123SubdomainPrefix" => names::subdomain_problems(&masked(text)),
        "dns1035Label" => label_1035(text),
        "dns1035LabelPrefix" => label_1035(&masked(text)),
        "qualifiedName" => names::key_problems(text),
        "labelValue" => names::label_value_problems(text),
        "uri" => super::url::Url::parse(text).err().into_iter().collect(),
        "uuid" => said(is_uuid(text), "does not match the UUID format"),
        "byte" => said(super::base64(text).is_some(), "invalid base64"),
        "date" => {
            let fits = super::time::timestamp_of(&format!("{text}T00:00:00Z")).is_some();
            said(fits && text.len() == 10, "invalid date")
        }
        _ => said(super::time::timestamp_of(text).is_some(), "invalid datetime"),
    }
}
