//! Syntax of names, label keys and label values, with the API server's messages.

use super::field::Errors;
use serde_json::{Value, json};

/// Longest DNS-1123 subdomain, in bytes.
pub const SUBDOMAIN_MAX: usize = 253;
/// Longest DNS-1123 label, label value or name part of a label key, in bytes.
pub const LABEL_MAX: usize = 63;
/// Sum of the lengths of all annotations' keys and values, in bytes.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_token(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    end(text.bytes().next()) && end(text.bytes().last()) && text.bytes().all(inner)
}

/// What is wrong with a DNS-1123 label, e.g. a container's or namespace's name.
pub(crate) fn label_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > LABEL_MAX {
        problems.push(too_long(LABEL_MAX));
    }
    if !is_label(text) {
        problems.push(LABEL_MESSAGE.to_owned());
    }
    problems
}

/// What is wrong with a DNS-1123 subdomain, the form of most names.
pub(crate) fn subdomain_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        problems.push(too_long(SUBDOMAIN_MAX));
    }
    if !text.split('.').all(is_label) {
        problems.push(SUBDOMAIN_MESSAGE.to_owned());
    }
    problems
}

/// What is wrong with a segment of a path, the name of a role.
pub(crate) fn path_segment_problems(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    let wrong = ['/', '%'].into_iter().filter(|c| text.contains(*c));
    wrong.map(|c| format!("may not contain '{c}'")).collect()
}

/// What is wrong with the name of an IPAddress: an address as its standard writes it (RFC 5952 for IPv6).
pub(crate) fn address_problems(text: &str) -> Vec<String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(address) if address.to_string() == text => Vec::new(),
        Ok(_) => vec!["must be a canonical format IP address".to_owned()],
        Err(_) => vec![format!("ParseAddr({text:?}): unable to parse IP")],
    }
}

/// What is wrong with a label value.
pub(crate) fn label_value_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > LABEL_MAX {
        problems.push(too_long(LABEL_MAX));
    }
    if !text.is_empty() && !is_token(text) {
        problems.push(VALUE_MESSAGE.to_owned());
    }
    problems
}

/// What is wrong with a label or annotation key (`name` or `prefix/name`).
pub(crate) fn key_problems(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut parts = text.split('/');
    let (first, second, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let name = match (second, more) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(subdomain_problems(first).into_iter().map(|p| format!("prefix part {p}")));
            }
            name
        }
        (Some(_), Some(_)) => {
            return vec![format!(
                "a qualified name {QUALIFIED_MESSAGE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        problems.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_token(name) {
        problems.push(format!("name part {QUALIFIED_MESSAGE}"));
    }
    problems
}

/// What is wrong with the name of an environment variable (printable ASCII without `=`).
pub(crate) fn env_name_problems(text: &str) -> Vec<String> {
    if text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}

/// Checks the labels under `path`.
pub(crate) fn check_labels(errors: &mut Errors, path: &str, labels: Option<&Value>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        for problem in key_problems(key) {
            errors.invalid(path, &json!(key), &problem);
        }
        for problem in label_value_problems(value.as_str().unwrap_or_default()) {
            errors.invalid(path, value, &problem);
        }
    }
}

/// Checks the annotations under `path`: keys, and the size of all together.
pub(crate) fn check_annotations(errors: &mut Errors, path: &str, annotations: Option<&Value>) {
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        // Annotation keys are checked in lower case: capitals in the prefix are allowed.
        for problem in key_problems(&key.to_ascii_lowercase()) {
            errors.invalid(path, &json!(key), &problem);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keys_and_values() {
        for good in ["a", "a.b-c.9", "0"] {
            assert!(subdomain_problems(good).is_empty(), "{good}");
        }
        for bad in ["", "A", "a..b", "-a", "a_b", &"x".repeat(254)] {
            assert!(!subdomain_problems(bad).is_empty(), "{bad}");
        }
        for good in ["a", "kubercarbon.io/placement", "A_b.c"] {
            assert!(key_problems(good).is_empty(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "UP.case/x", "a b"] {
            assert!(!key_problems(bad).is_empty(), "{bad}");
        }
        for good in ["10.0.0.1", "2001:db8::ffff", "::1"] {
            assert!(address_problems(good).is_empty(), "{good}");
        }
        for bad in ["2001:DB8::1", "2001:db8:0::1", "10.0.0", "010.0.0.1", "n1", ""] {
            assert!(!address_problems(bad).is_empty(), "{bad}");
        }
        assert!(label_value_problems("").is_empty());
        assert_eq!(label_value_problems("-x").len(), 1);
    }
}
