//! One rule on one value, for tests from outside and for people who write rules.

use super::check::Scope;
use super::decl::Decl;
use super::eval::Bindings;
use super::library::time;
use super::program::{Program, Refusal};
use super::types::Type;
use super::value::{Fault, Key, Meter, Value};
use serde_json::{Value as Json, json};

/// Most one evaluation of a rule may cost (`PerCallLimit` of k8s.io/apiserver).
pub(crate) const CALL_COST_MAX: u64 = 1_000_000;

/// What became of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The type of its result and the most it may cost, or why it does not compile.
    pub compiled: Result<(String, u64), String>,
    /// Its value, with the type where JSON does not tell; or the error.
    pub value: Option<Result<Json, String>>,
    /// What evaluating it cost, in Kubernetes' units.
    pub cost: u64,
}

/// Words of an evaluation that was stopped.
pub(crate) const CANCELLED: &str = "operation cancelled: actual cost limit exceeded";

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Error(words) => f.write_str(words),
            Fault::Cancelled => f.write_str(CANCELLED),
        }
    }
}

/// Compiles a rule on `self`, declared by a schema, and on `any`, which is the same undeclared, and evaluates it.
pub fn try_rule(schema: &Json, value: &Json, rule: &str) -> Trial {
    let mut trial = Trial { compiled: Err("the schema declares nothing".to_owned()), value: None, cost: 0 };
    let Some(decl) = Decl::of_schema(schema, false, "selfType") else { return trial };
    let mut scope = Scope::default();
    scope.variables.insert("self".to_owned(), decl.ty());
    scope.variables.insert("any".to_owned(), Type::Dyn);
    let program = match Program::compile(rule, &scope) {
        Ok(program) => program,
        Err(Refusal::Compilation(why)) => return Trial { compiled: Err(why), ..trial },
        Err(Refusal::Instantiation(why)) => {
            return Trial { compiled: Err(format!("program: {why}")), ..trial };
        }
    };
    trial.compiled = Ok((program.result().to_string(), program.cost_max(Some(&decl))));
    let meter = Meter::new(CALL_COST_MAX);
    let mut bindings = Bindings::default();
    let own = Value::declared(value, Some(&decl));
    if let Ok(own) = own {
        bindings.set("self", own);
    }
    bindings.set("any", Value::plain(value));
    let found = program.evaluate(&bindings, &meter);
    trial.value = Some(found.map(|value| shown(&value)).map_err(|fault| fault.to_string()));
    trial.cost = meter.cost();
    trial
}

/// A value with its type beside it.
fn shown(value: &Value<'_>) -> Json {
    match value {
        Value::Null => json!({"null": true}),
        Value::Bool(b) => json!(b),
        Value::Int(n) => json!({"int": n.to_string()}),
        Value::Uint(n) => json!({"uint": n.to_string()}),
        Value::Double(n) => json!({"double": n.to_string()}),
        Value::String(text) => json!({"string": &**text}),
        Value::Bytes(bytes) => json!({"bytes": bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()}),
        Value::Duration(nanos) => json!({"duration": nanos}),
        Value::Timestamp(at) => json!({"timestamp": time::show_timestamp(*at)}),
        Value::Optional(None) => json!({"optional": null}),
        Value::Optional(Some(inner)) => json!({"optional": shown(inner)}),
        Value::List(list) => {
            let items = (0..list.len()).filter_map(|at| list.get(at)).filter_map(Result::ok);
            json!({"list": items.map(|item| shown(&item)).collect::<Vec<Json>>()})
        }
        Value::Map(map) => {
            let keys = map.keys(&Meter::new(u64::MAX)).unwrap_or_default();
            let entry = |key: &Key| {
                let name = match shown(&key.value()) {
                    Json::Object(named) => {
                        named.values().next().map(|n| n.as_str().unwrap_or_default().to_owned())
                    }
                    other => Some(other.to_string()),
                };
                Some((name?, shown(&map.get(key)?.ok()?)))
            };
            json!({"map": keys.iter().filter_map(entry).collect::<serde_json::Map<String, Json>>()})
        }
        other => json!({"other": other.kind().to_string()}),
    }
}
