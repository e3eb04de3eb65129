//! ValidatingAdmissionPolicy: denials, warnings, and why.
//!
//! What is to be audited goes nowhere, as a twin keeps no audit log; annotations for it are evaluated all the same,
//! because one that fails denies the request.

use super::policy::{
    Budget, COST_MAX, Gives, SPENT, Values, conditions_hold, ignores_failure, list, names_of, params, text,
};
use super::{Attributes, all, matching};
use crate::apiserver::status::{Cause, Status};
use crate::apiserver::{Context, Request};
use crate::cel::{Bindings, Value};
use serde_json::Value as Json;

/// Longest message made by an expression, in bytes (`MaxEvaluatedMessageExpressionSizeBytes` of k8s.io/apiserver).
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// A decision against a request.
struct Denial {
    reason: String,
    message: String,
    /// Denied whatever the binding does with what does not hold.
    always: bool,
}

/// Judges a write that makes `object` of `old` by all policies. Gives warnings.
///
/// # Errors
/// The first denial, as the API server words it.
pub(super) fn validate(
    ctx: &Context<'_>,
    request: &Request,
    object: Option<&Json>,
    old: Option<&Json>,
) -> Result<Vec<String>, Status> {
    let policies = all(ctx, "validatingadmissionpolicies");
    let attributes = Attributes::of(request, object, old);
    if policies.is_empty() || !attributes.is_asked(false) {
        return Ok(Vec::new());
    }
    let bindings = all(ctx, "validatingadmissionpolicybindings");
    let (mut warnings, mut denied) = (Vec::new(), None);
    for (name, policy) in &policies {
        let constraints = policy.pointer("/spec/matchConstraints").unwrap_or(&Json::Null);
        let Some(kind) = matching::fits(ctx, constraints, &attributes) else { continue };
        for (binding_name, binding) in bindings.iter().filter(|(_, b)| text(b, "/spec/policyName") == *name) {
            let resources = binding.pointer("/spec/matchResources").unwrap_or(&Json::Null);
            if matching::fits(ctx, resources, &attributes).is_none() {
                continue;
            }
            let found = match params(ctx, policy, binding, &attributes) {
                Ok(params) => {
                    let judged = params
                        .into_iter()
                        .map(|params| decisions(policy, &Values::of(ctx, &attributes, kind, params)));
                    judged.flatten().collect()
                }
                Err(_) if ignores_failure(policy) => Vec::new(),
                Err(why) => vec![failed(format!("failed to configure binding: {why}"))],
            };
            for denial in found {
                let actions = list(binding, "/spec/validationActions");
                let does = |action: &str| actions.iter().any(|found| found.as_str() == Some(action));
                if does("Warn") && !denial.always {
                    warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{binding_name}': {}",
                        denial.message
                    ));
                }
                if denial.always || does("Deny") {
                    denied.get_or_insert_with(|| {
                        let message = format!(
                            "ValidatingAdmissionPolicy '{name}' with binding '{binding_name}' denied request: {}",
                            denial.message
                        );
                        refusal(request, attributes.name(), &denial.reason, &message)
                    });
                }
            }
        }
    }
    denied.map_or(Ok(warnings), Err)
}

fn failed(message: String) -> Denial {
    Denial { reason: "Invalid".to_owned(), message, always: true }
}

/// The answer to a request that is denied.
fn refusal(request: &Request, name: &str, reason: &str, message: &str) -> Status {
    let code = match reason {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    let mut status = Status::forbidden(request.kind.resource(), name, message);
    status.code = code;
    status.reason = reason.to_owned();
    let cause = Cause { reason: String::new(), message: message.to_owned(), field: String::new() };
    status.causes.push(cause);
    status
}

/// What a policy says against a request, with one parameter.
fn decisions(policy: &Json, values: &Values) -> Vec<Denial> {
    let ignores = ignores_failure(policy);
    let unless_ignored =
        |message: String| if ignores { None } else { Some(Denial { always: false, ..failed(message) }) };
    match conditions_hold(policy, values) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(why) => return unless_ignored(why).into_iter().collect(),
    }
    let (names, variables) = names_of(policy, false);
    let bindings = values.bind(&variables);
    let mut budget = Budget::new(COST_MAX);
    let mut found = Vec::new();
    for validation in list(policy, "/spec/validations") {
        let source = text(validation, "/expression");
        let program = names.compile(source, Gives::Bool);
        let judged = match &program {
            Ok(program) => budget.evaluate((program, source), &bindings),
            Err(why) => Err(Some(why.clone())),
        };
        match judged {
            Ok(Value::Bool(true)) => {}
            Ok(_) => {
                let reason = match text(validation, "/reason") {
                    "" => "Invalid",
                    reason => reason,
                };
                let message = message(validation, &names, &bindings, &mut budget);
                found.push(Denial { reason: reason.to_owned(), message, always: false });
            }
            Err(why) => found.extend(unless_ignored(why.unwrap_or_else(|| SPENT.to_owned()))),
        }
    }
    found.extend(annotations(policy, &names, &bindings, ignores));
    found
}

/// What is said when a validation does not hold.
fn message(
    validation: &Json,
    names: &super::policy::Names,
    bindings: &Bindings<'_>,
    budget: &mut Budget,
) -> String {
    let source = text(validation, "/messageExpression");
    if !source.is_empty()
        && let Ok(program) = names.compile(source, Gives::String)
        && let Ok(Value::String(made)) = budget.evaluate((&program, source), bindings)
    {
        let made = made.trim();
        if !made.is_empty() && made.len() <= MESSAGE_BYTES_MAX && !made.contains('\n') {
            return made.to_owned();
        }
    }
    match text(validation, "/message").trim() {
        "" => format!("failed expression: {}", text(validation, "/expression").trim()),
        message => message.to_owned(),
    }
}

/// Annotations for the audit log that cannot be made.
fn annotations(
    policy: &Json,
    names: &super::policy::Names,
    bindings: &Bindings<'_>,
    ignores: bool,
) -> Vec<Denial> {
    let mut budget = Budget::new(COST_MAX);
    let mut found = Vec::new();
    for annotation in list(policy, "/spec/auditAnnotations") {
        let source = text(annotation, "/valueExpression");
        let made = names.compile(source, Gives::StringOrNull).map_err(Some);
        if let Err(why) = made.and_then(|program| budget.evaluate((&program, source), bindings).map(|_| ())) {
            found.push(failed(why.unwrap_or_else(|| SPENT.to_owned())));
        }
    }
    if ignores { Vec::new() } else { found }
}
