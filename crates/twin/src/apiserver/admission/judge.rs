//! Whether policies and bindings may be written: what must be there, and whether their expressions compile.

use super::policy::{Gives, Names, list, text};
use crate::apiserver::field::Errors;
use crate::apiserver::names::{key_problems, subdomain_problems};
use serde_json::{Value, json};

/// Most annotations of a policy, and the longest expression of one (limits of Kubernetes).
const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_BYTES_MAX: usize = 5 * 1024;
/// Most conditions of a policy.
const CONDITIONS_MAX: usize = 64;

const FAILURE: [&str; 2] = ["Fail", "Ignore"];
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const MUTATED: [&str; 2] = ["CREATE", "UPDATE"];

/// Adds what is wrong with a policy.
pub(in crate::apiserver) fn policy(errors: &mut Errors, doc: &Value, mutates: bool) {
    one_of(errors, doc, "spec.failurePolicy", &FAILURE);
    let params = doc.pointer("/spec/paramKind").filter(|kind| kind.is_object());
    if let Some(kind) = params {
        for part in ["apiVersion", "kind"] {
            if text(kind, &format!("/{part}")).is_empty() {
                errors.required(&format!("spec.paramKind.{part}"), "");
            }
        }
    }
    match doc.pointer("/spec/matchConstraints") {
        Some(of) if of.is_object() => {
            resources(errors, of, "spec.matchConstraints", mutates);
            if list(of, "/resourceRules").is_empty() {
                errors.required("spec.matchConstraints.resourceRules", "");
            }
        }
        _ => errors.required("spec.matchConstraints", ""),
    }
    let mut judge = Judge { errors, names: Names::new(None, params.map(|_| None), mutates) };
    judge.conditions("spec.matchConditions", list(doc, "/spec/matchConditions"), params.is_some());
    judge.variables(doc);
    if mutates {
        judge.mutations(doc);
        one_of(judge.errors, doc, "spec.reinvocationPolicy", &["IfNeeded", "Never"]);
        return;
    }
    judge.validations(doc);
}

/// Adds what is wrong with a binding.
pub(in crate::apiserver) fn binding(errors: &mut Errors, doc: &Value, mutates: bool) {
    let name = text(doc, "/spec/policyName");
    if name.is_empty() {
        errors.required("spec.policyName", "");
    } else {
        subdomain_problems(name).iter().for_each(|why| errors.invalid("spec.policyName", &json!(name), why));
    }
    if let Some(reference) = doc.pointer("/spec/paramRef").filter(|r| r.is_object()) {
        let (named, selected) = (!text(reference, "/name").is_empty(), reference.get("selector").is_some());
        let both = "name and selector are mutually exclusive";
        match (named, selected) {
            (true, true) => {
                errors.forbidden("spec.paramRef.name", both);
                errors.forbidden("spec.paramRef.selector", both);
            }
            (false, false) => errors.required("spec.paramRef", "one of name or selector must be specified"),
            _ => {}
        }
        one_of(errors, doc, "spec.paramRef.parameterNotFoundAction", &["Deny", "Allow"]);
    }
    if let Some(of) = doc.pointer("/spec/matchResources").filter(|of| of.is_object()) {
        resources(errors, of, "spec.matchResources", mutates);
    }
    if mutates {
        return;
    }
    let actions = list(doc, "/spec/validationActions");
    if actions.is_empty() {
        errors.required("spec.validationActions", "at least one validation action is required");
    }
    for (i, action) in actions.iter().enumerate() {
        let path = format!("spec.validationActions[{i}]");
        if !action.as_str().is_some_and(|action| ACTIONS.contains(&action)) {
            errors.not_supported(&path, action, &ACTIONS);
        } else if actions[..i].contains(action) {
            errors.duplicate(&path, action);
        }
    }
    let has = |wanted: &str| actions.iter().any(|action| action.as_str() == Some(wanted));
    if has("Deny") && has("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid("spec.validationActions", &json!(actions), why);
    }
}

fn one_of(errors: &mut Errors, doc: &Value, path: &str, supported: &[&str]) {
    let pointer = format!("/{}", path.replace('.', "/"));
    match doc.pointer(&pointer) {
        None | Some(Value::Null) => errors.required(path, ""),
        Some(found) if found.as_str().is_some_and(|found| supported.contains(&found)) => {}
        Some(found) => errors.not_supported(path, found, supported),
    }
}

/// Rules of what a policy is about.
fn resources(errors: &mut Errors, of: &Value, path: &str, mutates: bool) {
    match of.get("matchPolicy") {
        None | Some(Value::Null) => errors.required(&format!("{path}.matchPolicy"), ""),
        Some(found) if matches!(found.as_str(), Some("Exact" | "Equivalent")) => {}
        Some(found) => errors.not_supported(&format!("{path}.matchPolicy"), found, &["Equivalent", "Exact"]),
    }
    for key in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in list(of, &format!("/{key}")).iter().enumerate() {
            let at = format!("{path}.{key}[{i}]");
            for part in ["operations", "apiGroups", "apiVersions", "resources"] {
                if list(rule, &format!("/{part}")).is_empty() {
                    errors.required(&format!("{at}.{part}"), "");
                }
            }
            for operation in list(rule, "/operations").iter().filter(|_| mutates && key == "resourceRules") {
                if !operation.as_str().is_some_and(|operation| MUTATED.contains(&operation)) {
                    errors.not_supported(&format!("{path}.resourceRules.operations"), operation, &MUTATED);
                }
            }
        }
    }
}

/// Adds what is wrong with the conditions of a webhook, which stand at a path.
pub(super) fn conditions(errors: &mut Errors, at: &str, all: &[Value]) {
    Judge { errors, names: Names::new(None, None, false) }.conditions(at, all, false);
}

struct Judge<'a> {
    errors: &'a mut Errors,
    names: Names,
}

impl Judge<'_> {
    /// An expression that must be there and compile.
    fn expression(&mut self, path: &str, source: &str, gives: Gives, missing: &str) {
        if source.trim().is_empty() {
            return self.errors.required(path, missing);
        }
        if let Err(why) = self.names.compile(source, gives) {
            self.errors.invalid(path, &json!(source), &why);
        }
    }

    /// Conditions that stand at a path.
    fn conditions(&mut self, at: &str, all: &[Value], has_params: bool) {
        if all.len() > CONDITIONS_MAX {
            self.errors.too_many(at, all.len() as u64, CONDITIONS_MAX as u64);
            return;
        }
        let with_variables =
            std::mem::replace(&mut self.names, Names::new(None, has_params.then_some(None), false));
        for (i, condition) in all.iter().enumerate() {
            let (path, name) = (format!("{at}[{i}]"), text(condition, "/name"));
            self.expression(&format!("{path}.expression"), text(condition, "/expression"), Gives::Bool, "");
            let at = format!("{path}.name");
            if name.is_empty() {
                self.errors.required(&at, "");
            }
            for why in key_problems(name).iter().filter(|_| !name.is_empty()) {
                self.errors.invalid(&at, &json!(name), why);
            }
            if all[..i].iter().any(|other| text(other, "/name") == name) && !name.is_empty() {
                self.errors.duplicate(&at, &json!(name));
            }
        }
        self.names = with_variables;
    }

    fn variables(&mut self, doc: &Value) {
        for (i, variable) in list(doc, "/spec/variables").iter().enumerate() {
            let (path, name) = (format!("spec.variables[{i}]"), text(variable, "/name"));
            let source = text(variable, "/expression");
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.trim().is_empty() {
                self.errors.required(&format!("{path}.name"), "name is not specified");
            } else if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) {
                let why = "must be a valid CEL identifier";
                self.errors.invalid(&format!("{path}.name"), &json!(name), why);
            }
            if source.trim().is_empty() {
                self.errors.required(&format!("{path}.expression"), "expression is not specified");
            } else if let Err(why) = self.names.variable(name, source) {
                self.errors.invalid(&format!("{path}.expression"), &json!(source), &why);
            }
        }
    }

    fn validations(&mut self, doc: &Value) {
        let (all, annotations) = (list(doc, "/spec/validations"), list(doc, "/spec/auditAnnotations"));
        if all.is_empty() && annotations.is_empty() {
            let why = "validations or auditAnnotations must contain at least one item";
            self.errors.required("spec.validations", why);
            self.errors.required("spec.auditAnnotations", why);
            return;
        }
        for (i, validation) in all.iter().enumerate() {
            let path = format!("spec.validations[{i}]");
            let at = |key: &str| format!("{path}.{key}");
            let source = text(validation, "/expression");
            self.expression(&at("expression"), source, Gives::Bool, "expression is not specified");
            let made = text(validation, "/messageExpression");
            if !made.is_empty() && made.trim().is_empty() {
                let why = "must be non-empty if specified";
                self.errors.invalid(&at("messageExpression"), &json!(made), why);
            } else if !made.is_empty() {
                self.expression(&at("messageExpression"), made, Gives::String, "");
            }
            let message = text(validation, "/message");
            if !message.is_empty() && message.trim().is_empty() {
                self.errors.invalid(&at("message"), &json!(message), "must be non-empty if specified");
            } else if message.trim().contains(['\n', '\r']) {
                self.errors.invalid(&at("message"), &json!(message), "must not contain line breaks");
            }
            let reason = validation.get("reason").filter(|reason| !reason.is_null());
            if let Some(reason) = reason.filter(|r| !r.as_str().is_some_and(|r| REASONS.contains(&r))) {
                self.errors.not_supported(&at("reason"), reason, &REASONS);
            }
        }
        self.annotations(doc, annotations);
    }

    fn annotations(&mut self, doc: &Value, annotations: &[Value]) {
        if annotations.len() > ANNOTATIONS_MAX {
            let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
            self.errors.invalid("spec.auditAnnotations", &json!(annotations), &why);
        }
        for (i, annotation) in annotations.iter().enumerate() {
            let path = format!("spec.auditAnnotations[{i}]");
            let key = format!("{}/{}", text(doc, "/metadata/name"), text(annotation, "/key"));
            for why in key_problems(&key) {
                self.errors.invalid(&format!("{path}.key"), &json!(key), &why);
            }
            if annotations[..i].iter().any(|other| text(other, "/key") == text(annotation, "/key")) {
                self.errors.duplicate(&format!("{path}.key"), &annotation["key"]);
            }
            let source = text(annotation, "/valueExpression");
            let at = format!("{path}.valueExpression");
            if source.trim().len() > ANNOTATION_BYTES_MAX {
                self.errors.required(&at, &format!("must not exceed {ANNOTATION_BYTES_MAX} bytes in length"));
            } else {
                self.expression(&at, source, Gives::StringOrNull, "valueExpression is not specified");
            }
        }
    }

    fn mutations(&mut self, doc: &Value) {
        let all = list(doc, "/spec/mutations");
        if all.is_empty() {
            self.errors.required("spec.mutations", "mutations must contain at least one item");
        }
        for (i, mutation) in all.iter().enumerate() {
            let path = format!("spec.mutations[{i}]");
            let kind = text(mutation, "/patchType");
            let (own, other, gives) = match kind {
                "JSONPatch" => ("jsonPatch", "applyConfiguration", Gives::Patches),
                "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Gives::Object),
                "" => {
                    self.errors.required(&format!("{path}.patchType"), "");
                    continue;
                }
                _ => {
                    let supported = ["ApplyConfiguration", "JSONPatch"];
                    self.errors.not_supported(&format!("{path}.patchType"), &json!(kind), &supported);
                    continue;
                }
            };
            match mutation.get(own).filter(|own| own.is_object()) {
                Some(of) => {
                    let at = format!("{path}.{own}.expression");
                    self.expression(&at, text(of, "/expression"), gives, "");
                }
                None => {
                    let why = format!("must be specified when patchType is {kind}");
                    self.errors.required(&format!("{path}.{own}"), &why);
                }
            }
            if mutation.get(other).is_some_and(Value::is_object) {
                let why = format!("must not be specified when patchType is {kind}");
                let found = json!(format!("{{{other}}}"));
                self.errors.invalid(&format!("{path}.{other}"), &found, &why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::declare;
    use super::*;

    fn found(spec: Value) -> Vec<String> {
        let mut errors = Errors::default();
        policy(&mut errors, &json!({"metadata": {"name": "p.example.com"}, "spec": spec}), false);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn about_pods(mut rest: Value) -> Value {
        rest["failurePolicy"] = json!("Fail");
        rest["matchConstraints"] = json!({"matchPolicy": "Equivalent", "resourceRules": [
            {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
        rest
    }

    #[test]
    fn expressions_must_compile() {
        let good = about_pods(json!({
            "variables": [{"name": "n", "expression": "object.spec.containers.size()"}, {"name": "twice", "expression": "variables.n * 2"}],
            "matchConditions": [{"name": "mine", "expression": "request.userInfo.username != 'root'"}],
            "validations": [{"expression": "variables.twice > 2 && namespaceObject.metadata.name == 'a'", "messageExpression": "string(variables.n)", "reason": "Forbidden"}],
            "auditAnnotations": [{"key": "k", "valueExpression": "null"}]}));
        assert_eq!(found(good), Vec::<String>::new());
        let one = |validation: Value| found(about_pods(json!({"validations": [validation]})));
        assert_eq!(
            one(json!({"expression": "1"})),
            ["spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool but got int"]
        );
        assert!(one(json!({"expression": "params.x == 1"}))[0].contains("undeclared reference to 'params'"));
        assert!(one(json!({"expression": "request.nope == ''"}))[0].contains("undefined field 'nope'"));
        assert!(one(json!({"expression": "variables.nope"}))[0].contains("undefined field 'nope'"));
        assert!(
            one(json!({"expression": "true", "messageExpression": "1"}))[0]
                .ends_with("must evaluate to string but got int")
        );
        assert!(one(json!({"expression": "true", "reason": "Tired"}))[0].contains("Unsupported value"));
        assert_eq!(
            found(json!({"failurePolicy": "Fail", "validations": [{"expression": "true"}]})),
            ["spec.matchConstraints: Required value"]
        );
    }

    #[test]
    fn requests_and_namespaces_are_declared() {
        assert!(declare::request().fields.contains_key("namespace"));
        assert!(declare::namespace().fields.contains_key("metadata"));
    }
}
