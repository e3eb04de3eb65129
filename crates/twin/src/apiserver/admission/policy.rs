//! What policies of both kinds share: the names their expressions may use, variables, parameters, conditions, and what
//! all of it may cost.

use super::{Attributes, declare, in_version, user};
use crate::apiserver::Context;
use crate::apiserver::selector::selects_pod;
use crate::cel::{Bindings, CALL_COST_MAX, Decl, Fault, Meter, Program, Refusal, Scope, Type, Value};
use crate::kind::Kind;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most the expressions of a policy may cost for one binding (`RuntimeCELCostBudget` of k8s.io/apiserver).
pub(super) const COST_MAX: u64 = 10_000_000;
/// Most its conditions may cost (`RuntimeCELCostBudgetMatchConditions`).
const CONDITIONS_COST_MAX: u64 = 2_500_000;

pub(super) fn text<'a>(of: &'a Json, pointer: &str) -> &'a str {
    of.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(of: &'a Json, pointer: &str) -> &'a [Json] {
    of.pointer(pointer).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// What an expression may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Bool,
    String,
    StringOrNull,
    /// `Object{…}`.
    Object,
    /// A list of `JSONPatch{…}`.
    Patches,
    Anything,
}

/// The names of a policy's expressions.
pub(super) struct Names {
    scope: Scope,
    variables: BTreeMap<String, (String, Arc<Decl>)>,
}

impl Names {
    /// With types of `object` (and `oldObject`) and `params`; `None`: they may be anything. No `params`: there are none.
    pub fn new(object: Option<&Arc<Decl>>, params: Option<Option<&Arc<Decl>>>, patches: bool) -> Names {
        let typed = |decl: Option<&Arc<Decl>>| decl.map_or(Type::Dyn, |decl| decl.ty());
        let mut scope = Scope { objects: patches, ..Scope::default() };
        let mut set = |name: &str, of: Type| scope.variables.insert(name.to_owned(), of);
        set("object", typed(object));
        set("oldObject", typed(object));
        set("request", declare::request().ty());
        set("namespaceObject", declare::namespace().ty());
        if let Some(params) = params {
            set("params", typed(params));
        }
        let mut names = Names { scope, variables: BTreeMap::new() };
        names.publish();
        names
    }

    fn publish(&mut self) {
        let all = Arc::new(Decl::object("kubernetes.variables", self.variables.clone()));
        self.scope.variables.insert("variables".to_owned(), all.ty());
    }

    /// Compiles an expression. The error is in words.
    pub fn compile(&self, source: &str, gives: Gives) -> Result<Program, String> {
        let program = Program::compile(source, &self.scope).map_err(|why| match why {
            Refusal::Compilation(why) => format!("compilation failed: {why}"),
            Refusal::Instantiation(why) => format!("program instantiation failed: {why}"),
        })?;
        let found = program.result();
        let is_patch = |of: &Type| matches!(of, Type::Open(name) if **name == *"JSONPatch");
        let (fits, wanted) = match gives {
            Gives::Anything => (true, ""),
            Gives::Bool => (*found == Type::Bool, "must evaluate to bool"),
            Gives::String => (*found == Type::String, "must evaluate to string"),
            Gives::StringOrNull => {
                (matches!(found, Type::String | Type::Null), "must evaluate to one of [string null_type]")
            }
            Gives::Object => {
                (matches!(found, Type::Open(name) if **name == *"Object"), "must evaluate to Object")
            }
            Gives::Patches => {
                (matches!(found, Type::List(of) if is_patch(of)), "must evaluate to list(JSONPatch)")
            }
        };
        if fits { Ok(program) } else { Err(format!("{wanted} but got {found}")) }
    }

    /// Compiles a variable, which later expressions may name. One that does not compile may be anything.
    pub fn variable(&mut self, name: &str, source: &str) -> Result<Program, String> {
        let program = self.compile(source, Gives::Anything);
        let of = program.as_ref().map_or(Type::Dyn, |program| program.result().clone());
        self.variables.insert(name.to_owned(), (name.to_owned(), Arc::new(Decl::of(of))));
        self.publish();
        program
    }
}

/// The names of a policy as it is stored, with its variables; those that do not compile are errors where they are used.
pub(super) fn names_of(policy: &Json, patches: bool) -> (Names, Vec<(String, Program)>) {
    let has_params = policy.pointer("/spec/paramKind").is_some_and(Json::is_object);
    let mut names = Names::new(None, has_params.then_some(None), patches);
    let mut programs = Vec::new();
    for variable in list(policy, "/spec/variables") {
        let name = text(variable, "/name");
        if let Ok(program) = names.variable(name, text(variable, "/expression")) {
            programs.push((name.to_owned(), program));
        }
    }
    (names, programs)
}

/// The values of a request's names.
pub(super) struct Values {
    object: Json,
    old: Json,
    request: Json,
    namespace: Json,
    params: Json,
}

impl Values {
    /// Of a request, in the version of a kind.
    pub fn of(ctx: &Context<'_>, attributes: &Attributes<'_>, kind: Kind, params: Json) -> Values {
        let namespace = &attributes.request.namespace;
        let found = ctx.objects.get(Kind::Namespace, "", namespace).filter(|_| !namespace.is_empty());
        let is_gone = attributes.operation() == "DELETE";
        let shown = |doc: Option<&Json>| match attributes.sent_apart() {
            Some(_) => doc.cloned().unwrap_or_default(),
            None => in_version(kind, doc),
        };
        Values {
            object: if is_gone { Json::Null } else { shown(attributes.object) },
            old: shown(attributes.old),
            request: request_of(attributes, kind),
            namespace: found.map_or(Json::Null, |stored| stored.to_value()),
            params,
        }
    }
    /// The same of another object.
    pub fn with(self, object: Json) -> Values {
        Values { object, ..self }
    }
    /// The request, without the object and what it was.
    pub fn request(&self) -> &Json {
        &self.request
    }
    /// What the object was.
    pub fn old(&self) -> &Json {
        &self.old
    }
    /// What the object is.
    pub fn object(&self) -> &Json {
        &self.object
    }
    /// As the names of expressions.
    pub fn bind<'a>(&'a self, variables: &'a [(String, Program)]) -> Bindings<'a> {
        let mut bindings = Bindings::default();
        for (name, value) in [
            ("object", &self.object),
            ("oldObject", &self.old),
            ("request", &self.request),
            ("namespaceObject", &self.namespace),
            ("params", &self.params),
        ] {
            bindings.set(name, Value::plain(value));
        }
        for (name, program) in variables {
            bindings.name(name, program);
        }
        bindings
    }
}

/// `request`.
fn request_of(attributes: &Attributes<'_>, kind: Kind) -> Json {
    let (shown, sent) = (kind.resource(), attributes.request.kind.resource());
    let kind_of = |of: &crate::kind::Resource| {
        let [group, version, kind] = attributes.sent_apart().unwrap_or([of.group, of.version, of.name]);
        json!({"group": group, "version": version, "kind": kind})
    };
    let resource_of =
        |of: &crate::kind::Resource| json!({"group": of.group, "version": of.version, "resource": of.plural});
    let mut request = json!({
        "kind": kind_of(shown),
        "resource": resource_of(shown),
        "requestKind": kind_of(sent),
        "requestResource": resource_of(sent),
        "name": attributes.name(),
        "operation": attributes.operation(),
        "userInfo": user(attributes.request),
        "dryRun": attributes.request.options.dry_run,
        "options": {},
    });
    for (key, value) in [
        ("namespace", attributes.request.namespace.as_str()),
        ("subResource", attributes.part()),
        ("requestSubResource", attributes.part()),
    ] {
        if !value.is_empty() {
            request[key] = json!(value);
        }
    }
    request
}

/// What is left to spend.
pub(super) struct Budget {
    left: u64,
}

/// Nothing is left.
pub(super) const SPENT: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

impl Budget {
    /// So much.
    pub fn new(left: u64) -> Budget {
        Budget { left }
    }
    /// Evaluates an expression. `Err(None)`: nothing is left; else the error is in words.
    pub fn evaluate<'a>(
        &mut self,
        (program, source): (&Program, &str),
        bindings: &Bindings<'a>,
    ) -> Result<Value<'a>, Option<String>> {
        let meter = Meter::new(CALL_COST_MAX);
        let value = program.evaluate(bindings, &meter);
        let used = meter.cost().saturating_add(bindings.take_spent());
        if used > self.left {
            self.left = 0;
            return Err(None);
        }
        self.left -= used;
        match value {
            Err(Fault::Cancelled) => Err(None),
            Err(fault) => Err(Some(format!("expression '{source}' resulted in error: {fault}"))),
            Ok(value) => Ok(value),
        }
    }
}

/// Whether the conditions of a policy hold. The error is in words.
pub(super) fn conditions_hold(policy: &Json, values: &Values) -> Result<bool, String> {
    let has_params = policy.pointer("/spec/paramKind").is_some_and(Json::is_object);
    all_hold(list(policy, "/spec/matchConditions"), has_params, values)
}

/// Whether conditions hold. The error is in words.
pub(super) fn all_hold(conditions: &[Json], has_params: bool, values: &Values) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let names = Names::new(None, has_params.then_some(None), false);
    let bindings = values.bind(&[]);
    let mut budget = Budget::new(CONDITIONS_COST_MAX);
    let mut wrong = Vec::new();
    for condition in conditions {
        let source = text(condition, "/expression");
        let found = names.compile(source, Gives::Bool).map_err(Some);
        match found.and_then(|program| budget.evaluate((&program, source), &bindings)) {
            Ok(Value::Bool(false)) => return Ok(false),
            Ok(_) => {}
            Err(Some(why)) => wrong.push(why),
            Err(None) => return Err(SPENT.to_owned()),
        }
    }
    match &wrong[..] {
        [] => Ok(true),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

/// The objects that a binding names as parameters; one null where there are to be none. The error is in words.
pub(super) fn params(
    ctx: &Context<'_>,
    policy: &Json,
    binding: &Json,
    attributes: &Attributes<'_>,
) -> Result<Vec<Json>, String> {
    let none = || Ok(vec![Json::Null]);
    let Some(kind) = policy.pointer("/spec/paramKind").filter(|kind| kind.is_object()) else { return none() };
    let Some(reference) = binding.pointer("/spec/paramRef").filter(|r| r.is_object()) else { return none() };
    let (version, name) = (text(kind, "/apiVersion"), text(kind, "/kind"));
    let Some(kind) = ctx.objects.kind_of(version, name) else {
        return Err(format!("paramKind kind `{version}, Kind={name}` not known"));
    };
    let named = text(reference, "/namespace");
    let namespace = match (kind.resource().namespaced, named.is_empty()) {
        (false, false) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (false, true) => "",
        (true, false) => named,
        (true, true) if attributes.request.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        (true, true) => attributes.request.namespace.as_str(),
    };
    let shown = |stored: &Arc<crate::store::Stored>| in_version(kind, Some(&stored.to_value()));
    let name = text(reference, "/name");
    let found: Vec<Json> = if name.is_empty() {
        let selector = reference.get("selector").unwrap_or(&Json::Null);
        let fits = |doc: &Json| selects_pod(selector, doc.pointer("/metadata/labels").unwrap_or(&Json::Null));
        let all = ctx.objects.list(kind, (!namespace.is_empty()).then_some(namespace));
        all.map(shown).filter(fits).collect()
    } else {
        ctx.objects.get(kind, namespace, name).into_iter().map(shown).collect()
    };
    if found.is_empty() && text(reference, "/parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found)
}

/// Whether what cannot be judged is let through.
pub(super) fn ignores_failure(policy: &Json) -> bool {
    text(policy, "/spec/failurePolicy") == "Ignore"
}
