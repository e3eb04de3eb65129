//! Whether configurations of webhooks may be written, in the API server's words.

use super::judge;
use super::policy::{list, text};
use crate::apiserver::field::Errors;
use crate::apiserver::names::subdomain_problems;
use serde_json::{Value, json};

/// Seconds a webhook may be given to answer.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<i64> = 1..=30;
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// How an address must look.
const FORM: &str = "; desired format: https://host[/path]";

/// Adds what is wrong with a configuration.
pub(in crate::apiserver) fn webhooks(errors: &mut Errors, doc: &Value, mutates: bool) {
    let all = list(doc, "/webhooks");
    for (i, webhook) in all.iter().enumerate() {
        let at = format!("webhooks[{i}]");
        let named = text(webhook, "/name");
        name(errors, &format!("{at}.name"), named);
        if all[..i].iter().any(|other| text(other, "/name") == named) && !named.is_empty() {
            errors.duplicate(&format!("{at}.name"), &json!(named));
        }
        rules(errors, &at, webhook);
        one_of(errors, &at, webhook, ("failurePolicy", &["Fail", "Ignore"]));
        one_of(errors, &at, webhook, ("matchPolicy", &["Equivalent", "Exact"]));
        if mutates {
            one_of(errors, &at, webhook, ("reinvocationPolicy", &["IfNeeded", "Never"]));
        }
        if webhook["sideEffects"].is_null() {
            errors.required(&format!("{at}.sideEffects"), "must specify one of None, NoneOnDryRun");
        }
        one_of(errors, &at, webhook, ("sideEffects", &["None", "NoneOnDryRun"]));
        if webhook["timeoutSeconds"].as_i64().is_some_and(|seconds| !TIMEOUT_SECONDS.contains(&seconds)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(&format!("{at}.timeoutSeconds"), &webhook["timeoutSeconds"], why);
        }
        versions(errors, &format!("{at}.admissionReviewVersions"), webhook);
        client(errors, &format!("{at}.clientConfig"), webhook);
        judge::conditions(errors, &format!("{at}.matchConditions"), list(webhook, "/matchConditions"));
    }
}

fn name(errors: &mut Errors, at: &str, name: &str) {
    if name.is_empty() {
        return errors.required(at, "");
    }
    let problems = subdomain_problems(name);
    if !problems.is_empty() {
        return errors.invalid(at, &json!(name), &problems.join(","));
    }
    if name.split('.').count() < 3 {
        errors.invalid(at, &json!(name), "should be a domain with at least three segments separated by dots");
    }
}

fn one_of(errors: &mut Errors, at: &str, webhook: &Value, (key, supported): (&str, &[&str])) {
    let found = &webhook[key];
    if !found.is_null() && !found.as_str().is_some_and(|found| supported.contains(&found)) {
        errors.not_supported(&format!("{at}.{key}"), found, supported);
    }
}

fn rules(errors: &mut Errors, at: &str, webhook: &Value) {
    for (i, rule) in list(webhook, "/rules").iter().enumerate() {
        for part in ["operations", "apiGroups", "apiVersions", "resources"] {
            if list(rule, &format!("/{part}")).is_empty() {
                errors.required(&format!("{at}.rules[{i}].{part}"), "");
            }
        }
        for (j, operation) in list(rule, "/operations").iter().enumerate() {
            let supported = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
            if !operation.as_str().is_some_and(|operation| supported.contains(&operation)) {
                errors.not_supported(&format!("{at}.rules[{i}].operations[{j}]"), operation, &supported);
            }
        }
    }
}

fn versions(errors: &mut Errors, at: &str, webhook: &Value) {
    let all = list(webhook, "/admissionReviewVersions");
    if all.is_empty() {
        errors.required(at, "must specify one of v1, v1beta1");
    } else if !all.iter().filter_map(Value::as_str).any(|version| VERSIONS.contains(&version)) {
        errors.invalid(at, &json!(all), "must include at least one of v1, v1beta1");
    }
}

fn client(errors: &mut Errors, at: &str, webhook: &Value) {
    let config = &webhook["clientConfig"];
    match (config["url"].as_str(), config["service"].is_null()) {
        (Some(url), true) => address(errors, &format!("{at}.url"), url),
        (None, false) => {
            for part in ["namespace", "name"] {
                if text(config, &format!("/service/{part}")).is_empty() {
                    errors.required(&format!("{at}.service.{part}"), &format!("service {part} is required"));
                }
            }
        }
        _ => errors.required(at, "exactly one of url or service is required"),
    }
}

fn address(errors: &mut Errors, at: &str, url: &str) {
    let mut wrong = |found: &str, why: &str| errors.invalid(at, &json!(found), &format!("{why}{FORM}"));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        wrong(scheme, "'https' is the only allowed URL scheme");
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        wrong(host, "host must be specified");
    }
    if !user.is_empty() {
        wrong(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        wrong(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        wrong(query, "query parameters are not permitted in the URL");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut webhook = json!({"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:8443/check"},
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
        change(&mut webhook);
        let mut errors = Errors::default();
        webhooks(&mut errors, &json!({"webhooks": [webhook]}), true);
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn what_is_wrong_is_said_in_kubernetes_words() {
        assert_eq!(problems(|_| {}), [""; 0]);
        for (pointer, value, why) in [
            (
                "/name",
                json!("short.name"),
                "webhooks[0].name: Invalid value: \"short.name\": should be a domain with at least three segments separated by dots",
            ),
            (
                "/sideEffects",
                Value::Null,
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (
                "/sideEffects",
                json!("Some"),
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                "/admissionReviewVersions",
                json!([]),
                "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ),
            (
                "/clientConfig",
                json!({}),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ),
            (
                "/clientConfig/url",
                json!("http://h/x"),
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ),
            (
                "/clientConfig/url",
                json!("https://u@h/x"),
                "webhooks[0].clientConfig.url: Invalid value: \"u\": user information is not permitted in the URL; desired format: https://host[/path]",
            ),
            ("/rules/0/operations", json!([]), "webhooks[0].rules[0].operations: Required value"),
        ] {
            let found = problems(|webhook| *webhook.pointer_mut(pointer).unwrap() = value.clone());
            assert_eq!(found, [why], "{pointer} {value}");
        }
        let long = problems(|webhook| webhook["timeoutSeconds"] = json!(31));
        assert_eq!(
            long,
            [
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"
            ]
        );
        let odd = problems(|webhook| {
            webhook["matchConditions"] = json!([{"name": "a", "expression": "object.x +"}]);
        });
        assert!(
            odd.len() == 1 && odd[0].starts_with("webhooks[0].matchConditions[0].expression: Invalid"),
            "{odd:?}"
        );
    }
}
