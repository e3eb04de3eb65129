//! Rules in CEL of a custom resource (`x-kubernetes-validations`): compiled once a definition, evaluated on each write.
//!
//! Costs are in Kubernetes' units, with its limits: [`CALL_COST_MAX`] an evaluation, [`OBJECT_COST_MAX`] an object.
//! What was wrong before a write and is left as it was is warned of and let through, unless the rule compares with
//! what was before (`oldSelf`).

use super::{DEPTH_MAX, is_set};
use crate::apiserver::field::Errors;
use crate::cel::{
    Bindings, CALL_COST_MAX, Decl, Entries, Fault, Meter, Program, Refusal, Scope, Type, Value, entries,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Most all rules of one write of an object may cost (`RuntimeCELCostBudget` of k8s.io/apiserver).
const OBJECT_COST_MAX: u64 = 10_000_000;
/// Longest message made by an expression, in bytes (`MaxEvaluatedMessageExpressionSizeBytes`).
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// Most rules of a schema that are compiled.
const RULES_MAX: usize = 10_000;

fn text<'a>(of: &'a Json, key: &str) -> &'a str {
    of.get(key).and_then(Json::as_str).unwrap_or_default()
}

/// A rule, compiled. The errors are in words.
pub(super) struct Rule {
    message: String,
    source: String,
    message_source: String,
    reason: String,
    /// Where below the value its errors are told, as a path; empty: at the value.
    pub field: Result<String, String>,
    /// Whether it runs without a value from before, too.
    pub optional: Option<bool>,
    pub program: Option<Result<Program, String>>,
    pub message_program: Option<Result<Program, String>>,
    pub uses_old: bool,
}

/// Compiles the rules right at a schema, of a value declared so.
pub(super) fn compile(schema: &Json, decl: &Arc<Decl>) -> Vec<Rule> {
    let list = schema.get("x-kubernetes-validations").and_then(Json::as_array);
    list.into_iter().flatten().take(RULES_MAX).map(|rule| Rule::compile(rule, schema, decl)).collect()
}

fn compiled(
    source: &str,
    scope: &Scope,
    wanted: &Type,
    (name, refusal): (&str, &str),
) -> Result<Program, String> {
    let program = Program::compile(source, scope).map_err(|why| match why {
        Refusal::Compilation(why) => format!("{name}compilation failed: {why}"),
        Refusal::Instantiation(why) if name.is_empty() => format!("program instantiation failed: {why}"),
        Refusal::Instantiation(why) => format!("{name}instantiation failed: {why}"),
    })?;
    if program.result() == wanted { Ok(program) } else { Err(refusal.to_owned()) }
}

impl Rule {
    fn compile(rule: &Json, schema: &Json, decl: &Arc<Decl>) -> Rule {
        let optional = rule.get("optionalOldSelf").and_then(Json::as_bool);
        let old = if optional == Some(true) { Type::optional(decl.ty()) } else { decl.ty() };
        let mut scope = Scope::default();
        scope.variables.insert("self".to_owned(), decl.ty());
        scope.variables.insert("oldSelf".to_owned(), old);
        let source = text(rule, "rule");
        let is_there = !source.trim().is_empty();
        let program = is_there
            .then(|| compiled(source, &scope, &Type::Bool, ("", "cel expression must evaluate to a bool")));
        let message_source = text(rule, "messageExpression");
        let message_program = (is_there && !message_source.is_empty()).then(|| {
            let words = ("messageExpression ", "messageExpression must evaluate to a string");
            compiled(message_source, &scope, &Type::String, words)
        });
        Rule {
            message: text(rule, "message").trim().to_owned(),
            source: source.trim().to_owned(),
            message_source: message_source.to_owned(),
            reason: text(rule, "reason").to_owned(),
            field: field_path(text(rule, "fieldPath"), schema),
            optional,
            uses_old: program.as_ref().is_some_and(|p| p.as_ref().is_ok_and(|p| p.uses("oldSelf"))),
            program,
            message_program,
        }
    }

    /// What it is called in errors.
    fn shown(&self) -> &str {
        if self.message.is_empty() { &self.source } else { &self.message }
    }
}

/// A path below a value (`.a.b['c']`) as errors show it, if there is such a field.
fn field_path(path: &str, schema: &Json) -> Result<String, String> {
    let mut shown = String::new();
    let mut schema = schema;
    let mut rest = path;
    let none = || "does not refer to a valid field".to_owned();
    while !rest.is_empty() {
        let (name, after) = if let Some(inner) = rest.strip_prefix("['") {
            inner.split_once("']").ok_or("unexpected end of JSON path")?
        } else if let Some(inner) = rest.strip_prefix('.') {
            inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        };
        let name = name.replace("\\'", "'").replace("\\\\", "\\");
        if schema.get("properties").is_some() {
            schema = schema.get("properties").and_then(|all| all.get(&name)).ok_or_else(none)?;
            shown = if shown.is_empty() { name } else { format!("{shown}.{name}") };
        } else {
            schema = schema.get("additionalProperties").filter(|inner| inner.is_object()).ok_or_else(none)?;
            shown = format!("{shown}[{name}]");
        }
        rest = after;
    }
    Ok(shown)
}

/// All rules of a schema, by where they stand.
#[derive(Default)]
pub(crate) struct Rules {
    decl: Option<Arc<Decl>>,
    own: Vec<Rule>,
    kind: String,
    entries: Option<Entries>,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    others: Option<Box<Rules>>,
    all_of: Vec<Rules>,
}

/// The rules of a version, compiled when they are first asked for.
#[derive(Clone, Default)]
pub(crate) struct Compiled(OnceLock<Arc<Rules>>);

impl Compiled {
    /// The rules of this schema.
    pub fn get(&self, schema: &Json) -> &Rules {
        self.0.get_or_init(|| Arc::new(Rules::read(schema, schema, true, 0).unwrap_or_default()))
    }
}

impl PartialEq for Compiled {
    /// They follow from the schema, which is compared.
    fn eq(&self, _: &Compiled) -> bool {
        true
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compiled")
    }
}

impl Rules {
    /// The rules of `schema`, on values that `node` declares; `None` where there are none.
    fn read(schema: &Json, node: &Json, root: bool, depth: usize) -> Option<Rules> {
        if depth > DEPTH_MAX {
            return None;
        }
        let inner = |of: &Json, node: &Json| {
            Rules::read(of, node, is_set(node, "x-kubernetes-embedded-resource"), depth + 1)
        };
        let mut rules = Rules { kind: text(node, "type").to_owned(), ..Rules::default() };
        let has_own =
            schema.get("x-kubernetes-validations").and_then(Json::as_array).is_some_and(|l| !l.is_empty());
        if has_own {
            rules.decl = Decl::of_schema(node, root, "self");
            rules.own = rules.decl.as_ref().map(|decl| compile(schema, decl)).unwrap_or_default();
        }
        for (name, of) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let below = node.get("properties").and_then(|all| all.get(name)).and_then(|node| inner(of, node));
            rules.properties.extend(below.map(|below| (name.clone(), below)));
        }
        if let (Some(of), Some(node)) = (schema.get("items"), node.get("items")) {
            rules.items = inner(of, node).map(Box::new);
            rules.entries = Some(entries(schema));
        }
        let others = |of: &'_ Json| of.get("additionalProperties").filter(|of| of.is_object()).cloned();
        if let (Some(of), Some(node)) = (others(schema), others(node)) {
            rules.others = inner(&of, &node).map(Box::new);
        }
        for of in schema.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            rules.all_of.extend(Rules::read(of, node, root, depth + 1));
        }
        let none = rules.is_empty();
        (!none).then_some(rules)
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
            && self.properties.is_empty()
            && self.items.is_none()
            && self.others.is_none()
            && self.all_of.is_empty()
    }

    /// Adds what rules say against an object, and gives warnings of what was so before. `old`: what it was.
    pub fn judge(&self, errors: &mut Errors, new: &Json, old: Option<&Json>) -> Vec<String> {
        let mut judge = Judge { errors, warnings: Vec::new(), left: OBJECT_COST_MAX };
        let was = Was { current: old.map(|old| (new, old)), parent: None };
        let _ = judge.at(self, new, old, "", was);
        judge.warnings
    }
}

/// Adds what the schema and the rules of a version say against an object, and gives warnings. `old`: what it was.
pub(crate) fn judge_object(
    errors: &mut Errors,
    version: &crate::kind::Version,
    new: &Json,
    old: Option<&Json>,
) -> Vec<String> {
    super::validate(errors, &version.schema, new, old, "");
    let rules = version.rules.get(&version.schema);
    if rules.is_empty() {
        return Vec::new();
    }
    if errors.any(&BLOCKING) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.invalid("<nil>", &Json::Null, why);
        return Vec::new();
    }
    rules.judge(errors, new, old)
}

/// Errors after which rules are not run.
const BLOCKING: [&str; 4] =
    ["FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

/// What a value was before, or the nearest value around it whose past is known: each with what it is.
#[derive(Clone, Copy, Default)]
struct Was<'a> {
    current: Option<(&'a Json, &'a Json)>,
    parent: Option<(&'a Json, &'a Json)>,
}

impl<'a> Was<'a> {
    fn is_same(self) -> bool {
        self.current.or(self.parent).is_some_and(|(new, old)| new == old)
    }
    fn below(self, new: &'a Json, old: Option<&'a Json>, name: &str) -> Was<'a> {
        if self.current.is_none() {
            return self;
        }
        if self.parent.is_none() && matches!(name, "apiVersion" | "kind") {
            return Was::default();
        }
        Was { current: old.map(|old| (new, old)), parent: self.current }
    }
}

/// No more rules are run.
struct Stop;

struct Judge<'a> {
    errors: &'a mut Errors,
    warnings: Vec<String>,
    left: u64,
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

impl Judge<'_> {
    fn at(
        &mut self,
        rules: &Rules,
        new: &Json,
        old: Option<&Json>,
        path: &str,
        was: Was<'_>,
    ) -> Result<(), Stop> {
        if new.is_null() {
            return Ok(());
        }
        self.own(rules, new, old, path, was)?;
        for of in &rules.all_of {
            self.at(of, new, old, path, Was { current: None, parent: was.parent })?;
        }
        match new {
            Json::Array(list) => {
                let Some(items) = &rules.items else { return Ok(()) };
                let before = Before::of(rules.entries.as_ref(), old);
                for (i, item) in list.iter().enumerate() {
                    let old = before.get(item);
                    self.at(items, item, old, &format!("{path}[{i}]"), was.below(item, old, ""))?;
                }
            }
            Json::Object(map) => {
                for (name, value) in map {
                    let old = old.and_then(|old| old.get(name));
                    let was = was.below(value, old, name);
                    if let Some(others) = &rules.others {
                        self.at(others, value, old, &format!("{path}[{name}]"), was)?;
                    }
                    if let Some(of) = rules.properties.get(name) {
                        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                        self.at(of, value, old, &below, was)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn wrong(&mut self, kind: &str, path: &str, detail: &str) {
        self.errors.invalid_as(shown(path), &format!("{kind:?}"), detail);
    }

    /// The rules right at a value.
    fn own(
        &mut self,
        rules: &Rules,
        new: &Json,
        old: Option<&Json>,
        path: &str,
        was: Was<'_>,
    ) -> Result<(), Stop> {
        let Some(decl) = rules.decl.as_ref().filter(|_| !rules.own.is_empty()) else { return Ok(()) };
        for rule in &rules.own {
            let program = match &rule.program {
                None => continue,
                Some(Err(why)) => {
                    self.wrong(&rules.kind, path, &format!("rule compile error: {why}"));
                    continue;
                }
                Some(Ok(program)) => program,
            };
            let optional = rule.optional == Some(true);
            if rule.uses_old && old.is_none() && !optional {
                continue;
            }
            let mut bindings = Bindings::default();
            let read = |json| Value::declared(json, Some(decl));
            let (Ok(own), Ok(before)) = (read(new), old.map(read).transpose()) else {
                self.wrong(&rules.kind, path, "value does not fit its format");
                continue;
            };
            bindings.set("self", own);
            match (before, optional) {
                (Some(before), true) => bindings.set("oldSelf", Value::some(before)),
                (None, true) => bindings.set("oldSelf", Value::Optional(None)),
                (Some(before), false) => bindings.set("oldSelf", before),
                (None, false) => {}
            }
            self.run(rules, rule, program, (new, path), &bindings, was)?;
        }
        Ok(())
    }

    /// Takes what was used from what is left for the object.
    fn pay(&mut self, used: u64) -> bool {
        let enough = used <= self.left;
        self.left = self.left.saturating_sub(used);
        enough
    }

    fn run(
        &mut self,
        rules: &Rules,
        rule: &Rule,
        program: &Program,
        (new, path): (&Json, &str),
        bindings: &Bindings<'_>,
        was: Was<'_>,
    ) -> Result<(), Stop> {
        let meter = Meter::new(CALL_COST_MAX);
        let found = program.evaluate(bindings, &meter);
        if !self.pay(meter.cost()) {
            let why = "validation failed due to running out of cost budget, no further validation rules will be run";
            self.wrong(&rules.kind, path, why);
            return Err(Stop);
        }
        match found {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(Fault::Cancelled) => {
                let why = format!(
                    "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    Fault::Cancelled,
                    rule.shown()
                );
                self.wrong(&rules.kind, path, &why);
                return Err(Stop);
            }
            Err(Fault::Error(why)) if why.starts_with("no such overload") => {
                let why = format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                    rule.shown()
                );
                self.wrong(&rules.kind, path, &why);
                return Ok(());
            }
            Err(Fault::Error(why)) => {
                self.wrong(&rules.kind, path, &format!("{why} evaluating rule: {}", rule.shown()));
                return Ok(());
            }
        }
        let below = rule.field.as_deref().unwrap_or_default();
        let at = match (path.is_empty(), below.is_empty()) {
            (_, true) => path.to_owned(),
            (true, false) => below.to_owned(),
            (false, false) => format!("{path}.{below}"),
        };
        let said = self.message(rule, bindings);
        let mut own = Errors::default();
        let stopped = said.is_err();
        match said {
            Ok(detail) => refuse(&mut own, rule, shown(&at), (&rules.kind, new), &detail),
            Err(why) => own.invalid_as(shown(&at), &format!("{:?}", rules.kind), &why),
        }
        if !rule.uses_old && was.is_same() {
            let causes = own.into_causes();
            self.warnings.extend(causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)));
        } else {
            self.errors.append(own);
        }
        if stopped { Err(Stop) } else { Ok(()) }
    }

    /// What is said against a value; the error ends all.
    fn message(&mut self, rule: &Rule, bindings: &Bindings<'_>) -> Result<String, String> {
        if let Some(Ok(program)) = &rule.message_program {
            let meter = Meter::new(CALL_COST_MAX);
            let made = program.evaluate(bindings, &meter);
            if !self.pay(meter.cost()) {
                return Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".to_owned());
            }
            match made {
                Ok(Value::String(made)) => {
                    let made = made.trim();
                    if !made.is_empty() && made.len() <= MESSAGE_BYTES_MAX && !made.contains('\n') {
                        return Ok(made.to_owned());
                    }
                }
                Err(Fault::Cancelled) => {
                    return Err(format!(
                        "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                        rule.message_source
                    ));
                }
                _ => {}
            }
        }
        Ok(if rule.message.is_empty() {
            format!("failed rule: {}", rule.source)
        } else {
            rule.message.clone()
        })
    }
}

/// The error of a rule, by its reason.
fn refuse(errors: &mut Errors, rule: &Rule, at: &str, (kind, value): (&str, &Json), detail: &str) {
    let whole = matches!(kind, "object" | "array");
    match rule.reason.as_str() {
        "FieldValueForbidden" => errors.forbidden(at, detail),
        "FieldValueRequired" => errors.required(at, detail),
        "FieldValueDuplicate" if !whole => errors.duplicate(at, value),
        _ if whole => errors.invalid_unprinted(at, detail),
        _ => errors.invalid(at, value, detail),
    }
}

/// What the entries of a list were, where they have keys.
pub(super) struct Before<'a> {
    keys: &'a [String],
    all: BTreeMap<String, &'a Json>,
}

impl<'a> Before<'a> {
    /// By the keys of its entries.
    pub fn of(entries: Option<&'a Entries>, old: Option<&'a Json>) -> Before<'a> {
        let (Some(Entries::Keyed(keys)), Some(Json::Array(old))) = (entries, old) else {
            return Before { keys: &[], all: BTreeMap::new() };
        };
        Before { keys, all: old.iter().map(|item| (key_of(keys, item), item)).collect() }
    }
    /// What this entry was.
    pub fn get(&self, item: &Json) -> Option<&'a Json> {
        if self.keys.is_empty() { None } else { self.all.get(&key_of(self.keys, item)).copied() }
    }
}

fn key_of(keys: &[String], item: &Json) -> String {
    let each = keys.iter().map(|key| item.get(key).map(Json::to_string).unwrap_or_default());
    each.collect::<Vec<_>>().join("\u{0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(schema: &Json, new: &Json, old: Option<&Json>) -> (Vec<String>, Vec<String>) {
        let mut errors = Errors::default();
        let warnings = Compiled::default().get(schema).judge(&mut errors, new, old);
        (errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect(), warnings)
    }

    fn of_spec(spec: Json) -> Json {
        json!({"type": "object", "properties": {"spec": spec}})
    }

    #[test]
    fn rules_speak_where_they_stand() {
        let schema = of_spec(json!({"type": "object",
            "x-kubernetes-validations": [
                {"rule": "self.x <= self.y", "messageExpression": "'x is ' + string(self.x)", "fieldPath": ".x", "reason": "FieldValueForbidden"},
                {"rule": "!has(self.z) || self.z[0] == 'a'", "message": "z begins with a"}],
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}, "z": {"type": "array", "items": {"type": "string",
                "x-kubernetes-validations": [{"rule": "self.size() < 3"}]}}}}));
        let judged = |spec: Json| found(&schema, &json!({"spec": spec}), None).0;
        assert_eq!(judged(json!({"x": 2, "y": 1})), ["spec.x: Forbidden: x is 2"]);
        assert_eq!(
            judged(json!({"x": 1})),
            ["spec: Invalid value: \"object\": no such key: y evaluating rule: self.x <= self.y"]
        );
        assert_eq!(
            judged(json!({"x": 1, "y": 1, "z": ["b", "long"]})),
            [
                "spec: Invalid value: z begins with a",
                "spec.z[1]: Invalid value: \"long\": failed rule: self.size() < 3"
            ]
        );
        assert!(judged(json!({"x": 1, "y": 1, "z": ["a"]})).is_empty());
    }

    #[test]
    fn transitions_compare_with_what_was() {
        let schema = of_spec(json!({"type": "object", "properties": {
            "n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf"}]},
            "o": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "!oldSelf.hasValue() || self > oldSelf.value()", "optionalOldSelf": true}]}}}));
        let doc = |n: i64, o: i64| json!({"spec": {"n": n, "o": o}});
        assert!(found(&schema, &doc(1, 1), None).0.is_empty());
        assert!(found(&schema, &doc(2, 2), Some(&doc(1, 1))).0.is_empty());
        // Not excused because they are as they were.
        assert_eq!(found(&schema, &doc(1, 1), Some(&doc(1, 1))).0.len(), 2);
    }

    #[test]
    fn what_was_wrong_before_is_warned_of() {
        let foo = json!([{"rule": "self == 'foo'"}]);
        let schema = of_spec(json!({"type": "object", "properties": {
            "a": {"type": "string", "x-kubernetes-validations": foo},
            "atomic": {"type": "array", "items": {"type": "string", "x-kubernetes-validations": foo}},
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object",
                "properties": {"k": {"type": "string"}, "v": {"type": "string", "x-kubernetes-validations": foo}}}}}}));
        let old = json!({"spec": {"a": "bar", "atomic": ["bar"], "keyed": [{"k": "1", "v": "bar"}]}});
        let new = json!({"spec": {"a": "bar", "atomic": ["bar", "foo"], "keyed": [{"k": "2", "v": "foo"}, {"k": "1", "v": "bar"}]}});
        let (errors, warnings) = found(&schema, &new, Some(&old));
        assert_eq!(errors, ["spec.atomic[0]: Invalid value: \"bar\": failed rule: self == 'foo'"]);
        assert_eq!(
            warnings,
            [
                "spec.a: Invalid value: \"bar\": failed rule: self == 'foo'",
                "spec.keyed[1].v: Invalid value: \"bar\": failed rule: self == 'foo'"
            ]
        );
    }

    #[test]
    fn costs_end_a_judgement() {
        let list = json!({"type": "array", "maxItems": 725, "items": {"type": "integer"}, "x-kubernetes-validations": [
            {"rule": "self.all(x, self.all(y, y == x))"}, {"rule": "false"}]});
        let schema = of_spec(json!({"type": "object", "properties": {"list": list}}));
        let doc = json!({"spec": {"list": vec![20; 725]}});
        assert_eq!(
            found(&schema, &doc, None).0,
            [
                "spec.list: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: self.all(x, self.all(y, y == x))"
            ]
        );
    }
}
