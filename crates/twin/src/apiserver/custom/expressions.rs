//! Whether the rules of a definition's schema may be written: what they say, whether they compile, what they may cost.
//!
//! Limits of Kubernetes: [`RULE_COST_MAX`] a rule and [`DEFINITION_COST_MAX`] a definition, by the sizes the schema
//! allows; each as often as such a value can be in one object.

use super::rules::{self, Rule};
use super::{DEPTH_MAX, is_set};
use crate::apiserver::field::Errors;
use crate::cel::{Decl, Entries, entries};
use serde_json::{Value, json};

/// Most a rule may come to (`StaticEstimatedCostLimit`).
const RULE_COST_MAX: u64 = 10_000_000;
/// Most all rules of a definition may come to (`StaticEstimatedCRDCostLimit`).
const DEFINITION_COST_MAX: u64 = 100_000_000;
/// So many of the dearest rules are named.
const DEAREST: usize = 4;

/// Reasons a rule may give.
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// By what factor a cost is beyond its limit.
#[expect(clippy::cast_precision_loss)] // A factor to two digits.
fn beyond(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Where in a schema, and how often such a value may be in one object.
#[derive(Clone)]
struct Place {
    path: String,
    /// `None`: as often as fits into a request.
    times: Option<u64>,
    /// The part around it whose entries cannot be told apart.
    loose: Option<String>,
    depth: usize,
}

struct Judge<'a> {
    errors: &'a mut Errors,
    total: u64,
    /// The dearest, with what they cost.
    dearest: Vec<(u64, String)>,
}

/// Adds what is wrong with the rules of a schema at `path`.
pub(super) fn judge(errors: &mut Errors, schema: &Value, path: &str) {
    let mut judge = Judge { errors, total: 0, dearest: Vec::new() };
    let place = Place { path: path.to_owned(), times: Some(1), loose: None, depth: 0 };
    judge.at(schema, schema, place, true);
    if judge.total > DEFINITION_COST_MAX {
        judge.dearest.sort_by(|a, b| b.cmp(a));
        for (_, path) in judge.dearest.iter().take(DEAREST) {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            judge.errors.forbidden(path, why);
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        judge.errors.forbidden(path, &beyond(name, judge.total, DEFINITION_COST_MAX));
    }
}

impl Judge<'_> {
    /// The rules of `schema`, on values that `node` declares.
    fn at(&mut self, schema: &Value, node: &Value, place: Place, root: bool) {
        if place.depth > DEPTH_MAX {
            return;
        }
        let most = |key: &str| node.get(key).and_then(Value::as_u64);
        let times = match text(node, "type") {
            "array" => most("maxItems"),
            "object" if node.get("additionalProperties").is_some_and(Value::is_object) => {
                most("maxProperties")
            }
            "object" => Some(1),
            _ => None,
        };
        let times = place.times.zip(times).map(|(a, b)| a.saturating_mul(b));
        let loose = place.loose.clone().or_else(|| {
            let is_loose = match text(node, "type") {
                "array" => !matches!(entries(node), Entries::Keyed(_)),
                _ => false,
            };
            is_loose.then(|| place.path.clone())
        });
        let below = |step: &str| Place {
            path: format!("{}.{step}", place.path),
            times,
            loose: loose.clone(),
            depth: place.depth + 1,
        };
        let embedded = |of: &Value| is_set(of, "x-kubernetes-embedded-resource");
        for (name, of) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if let Some(node) = node.get("properties").and_then(|all| all.get(name)) {
                self.at(of, node, below(&format!("properties[{name}]")), embedded(node));
            }
        }
        for key in ["items", "additionalProperties"] {
            if let (Some(of), Some(node)) = (schema.get(key), node.get(key))
                && of.is_object()
                && node.is_object()
            {
                self.at(of, node, below(key), embedded(node));
            }
        }
        for (i, of) in schema.get("allOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let path = format!("{}.allOf[{i}]", place.path);
            self.at(of, node, Place { path, depth: place.depth + 1, ..place.clone() }, root);
        }
        self.own(schema, node, &place, root);
    }

    /// The rules right here.
    fn own(&mut self, schema: &Value, node: &Value, place: &Place, root: bool) {
        let list = schema.get("x-kubernetes-validations").and_then(Value::as_array);
        let Some(list) = list.filter(|list| !list.is_empty()) else { return };
        let mut wrong = Errors::default();
        for (i, rule) in list.iter().enumerate() {
            words(&mut wrong, rule, &format!("{}.x-kubernetes-validations[{i}]", place.path));
        }
        let in_words = !wrong.is_empty();
        self.errors.append(wrong);
        if in_words {
            return;
        }
        let Some(decl) = Decl::of_schema(node, root, "self") else {
            let path = format!("{}.x-kubernetes-validations", place.path);
            let why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            self.errors.internal(&path, why);
            return;
        };
        let times = place.times.unwrap_or_else(|| decl.cardinality_max());
        for (i, (rule, written)) in rules::compile(schema, &decl).iter().zip(list).enumerate() {
            let path = format!("{}.x-kubernetes-validations[{i}]", place.path);
            self.compiled(rule, written, &path, &|program| {
                (program.cost_max(Some(&decl)), program.cost_max(Some(&decl)).saturating_mul(times))
            });
            if rule.uses_old
                && let Some(loose) = &place.loose
            {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {loose}"
                );
                self.errors.invalid(&format!("{path}.rule"), &json!(text(written, "rule")), &why);
            }
            if let Some(optional) = rule.optional.filter(|_| !rule.uses_old) {
                let why = "may not be set if oldSelf is not used in rule";
                self.errors.invalid(&format!("{path}.optionalOldSelf"), &json!(optional), why);
            }
            if rule.field.is_err() {
                let why = "must be a valid path";
                self.errors.invalid(&format!("{path}.fieldPath"), &json!(text(written, "fieldPath")), why);
            }
        }
    }

    /// Whether a rule and its message compile, and what they may cost: once, and as often as they are run.
    fn compiled(
        &mut self,
        rule: &Rule,
        written: &Value,
        path: &str,
        costs: &dyn Fn(&crate::cel::Program) -> (u64, u64),
    ) {
        let at = format!("{path}.rule");
        match &rule.program {
            Some(Ok(program)) => {
                let (_, all) = costs(program);
                if all > RULE_COST_MAX {
                    self.errors.forbidden(&at, &beyond("estimated rule cost", all, RULE_COST_MAX));
                }
                self.count(all, &at);
            }
            Some(Err(why)) => self.errors.invalid_as(&at, &shown(written), why),
            None => {}
        }
        let at = format!("{path}.messageExpression");
        match &rule.message_program {
            Some(Ok(program)) => {
                let (once, _) = costs(program);
                if once > RULE_COST_MAX {
                    let why = beyond("estimated messageExpression cost", once, RULE_COST_MAX);
                    self.errors.forbidden(&at, &why);
                }
                self.count(once, &at);
            }
            Some(Err(why)) => self.errors.invalid_as(&at, &shown(written), why),
            None => {}
        }
    }

    fn count(&mut self, cost: u64, path: &str) {
        self.total = self.total.saturating_add(cost);
        self.dearest.push((cost, path.to_owned()));
    }
}

/// A rule as errors print it.
fn shown(rule: &Value) -> String {
    let all = |key: &str| json!(text(rule, key));
    let or_null = |key: &str| rule.get(key).cloned().unwrap_or_default();
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        all("rule"),
        all("message"),
        all("messageExpression"),
        or_null("reason"),
        all("fieldPath"),
        or_null("optionalOldSelf")
    )
}

/// Adds what is wrong with a rule's words.
fn words(errors: &mut Errors, rule: &Value, path: &str) {
    let (source, message) = (text(rule, "rule"), text(rule, "message"));
    let at = |key: &str| format!("{path}.{key}");
    if source.trim().is_empty() {
        errors.required(&at("rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&at("message"), &json!(message), "must be non-empty if specified");
    } else if breaks(message.trim()) {
        errors.invalid(&at("message"), &json!(message), "must not contain line breaks");
    } else if breaks(source.trim()) && message.trim().is_empty() {
        errors.required(&at("message"), "message must be specified if rule contains line breaks");
    }
    let made = text(rule, "messageExpression");
    if !made.is_empty() && made.trim().is_empty() {
        errors.required(&at("messageExpression"), "messageExpression must be non-empty if specified");
    }
    if let Some(reason) = rule.get("reason").filter(|r| !r.as_str().is_some_and(|r| REASONS.contains(&r))) {
        errors.not_supported(&at("reason"), reason, &REASONS);
    }
    let field = text(rule, "fieldPath");
    if !field.is_empty() && field.trim().is_empty() {
        errors.invalid(&at("fieldPath"), &json!(field), "must be non-empty if specified");
    }
    if breaks(field) {
        errors.invalid(&at("fieldPath"), &json!(field), "must not contain line breaks");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(spec: Value) -> Vec<String> {
        let mut errors = Errors::default();
        judge(&mut errors, &json!({"type": "object", "properties": {"spec": spec}}), "s");
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn bad_rules_are_refused_in_the_servers_words() {
        let one = |rule: Value| {
            found(
                json!({"type": "object", "properties": {"x": {"type": "integer"}}, "x-kubernetes-validations": [rule]}),
            )
        };
        let at = "s.properties[spec].x-kubernetes-validations[0]";
        assert_eq!(
            one(json!({"rule": "self.z == 100"})),
            [format!(
                "{at}.rule: Invalid value: {{\"Rule\":\"self.z == 100\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}: compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z == 100\n | ....^"
            )]
        );
        assert_eq!(one(json!({"rule": " "})), [format!("{at}.rule: Required value: rule is not specified")]);
        assert!(one(json!({"rule": "self.x"}))[0].ends_with("cel expression must evaluate to a bool"));
        assert!(one(json!({"rule": "self = 42"}))[0].contains("Syntax error"));
        assert!(
            one(json!({"rule": "true", "messageExpression": "1"}))[0]
                .ends_with("messageExpression must evaluate to a string")
        );
        assert!(one(json!({"rule": "true", "fieldPath": ".y"}))[0].ends_with("must be a valid path"));
        assert!(
            one(json!({"rule": "true", "optionalOldSelf": true}))[0].contains("may not be set if oldSelf")
        );
        assert!(
            one(json!({"rule": "self == oldSelf", "fieldPath": ".x", "reason": "FieldValueRequired"}))
                .is_empty()
        );
    }

    #[test]
    fn what_a_rule_may_cost_is_bounded() {
        let strings = |rule: &str, most: Value| {
            let mut inner = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": rule}]});
            inner["maxItems"] = most;
            found(
                json!({"type": "object", "properties": {"x": {"type": "array", "maxItems": 10, "items": inner}}}),
            )
        };
        let rule = "self.all(s, s == 'string constant')";
        assert_eq!(strings(rule, json!(10)), Vec::<String>::new());
        let refused = found(json!({"type": "object", "properties": {"x": {"type": "array", "items": {
            "type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": rule}]}}}}));
        let at = "s.properties[spec].properties[x].items.x-kubernetes-validations[0].rule";
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused[0].starts_with(&format!(
            "{at}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"
        )));
        assert!(refused[2].starts_with("s: Forbidden: x-kubernetes-validations estimated rule cost total"));
    }

    #[test]
    fn what_cannot_be_told_apart_has_no_past() {
        let refused =
            found(json!({"type": "object", "properties": {"x": {"type": "array", "maxItems": 2, "items": {
            "type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}}));
        assert_eq!(refused.len(), 1);
        assert!(refused[0].ends_with("within s.properties[spec].properties[x]"), "{refused:?}");
    }
}
