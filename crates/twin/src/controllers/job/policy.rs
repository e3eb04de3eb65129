//! What a Job's policies say: `podFailurePolicy` of a pod that failed, `successPolicy` of the indexes that succeeded.

use super::indexes::Indexes;
use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement as ExitCodes, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What a rule has done about a failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The Job fails, with this message.
    FailJob(String),
    /// The pod's index fails.
    FailIndex,
    /// The failure does not count.
    Ignore,
    /// It counts, as without a policy.
    Count,
}

/// The action of the first rule that matches a failed pod; `None`: no rule does, and the failure counts.
pub(super) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Option<Action> {
    policy?.rules.iter().enumerate().find_map(|(index, rule)| {
        let why = match (&rule.on_exit_codes, &rule.on_pod_conditions) {
            (Some(codes), _) => {
                let (name, code) = ended_with(pod, codes)?;
                Why::Exit(name, code)
            }
            (None, Some(patterns)) => {
                let conditions = pod.status.as_ref()?.conditions.iter().flatten();
                let wanted = |kind: &str, status: &str| {
                    patterns
                        .iter()
                        .any(|p| p.type_ == kind && p.status.as_deref().unwrap_or("True") == status)
                };
                let met = conditions.into_iter().find(|c| wanted(&c.type_, &c.status))?;
                Why::Condition(&met.type_)
            }
            (None, None) => return None,
        };
        match rule.action.as_str() {
            "FailJob" => Some(Action::FailJob(message(pod, &why, index))),
            "FailIndex" => Some(Action::FailIndex),
            "Ignore" => Some(Action::Ignore),
            "Count" => Some(Action::Count),
            _ => None,
        }
    })
}

/// Whether a failed pod counts as a failure.
pub(super) fn counts(policy: Option<&PodFailurePolicy>, pod: &Pod) -> bool {
    judge(policy, pod) != Some(Action::Ignore)
}

/// Why a rule matched.
enum Why<'a> {
    Exit(&'a str, i32),
    Condition(&'a str),
}

fn message(pod: &Pod, why: &Why<'_>, rule: usize) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match why {
        Why::Exit(container, code) => format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code} matching FailJob rule at index {rule}"
        ),
        Why::Condition(kind) => {
            format!("Pod {namespace}/{name} has condition {kind} matching FailJob rule at index {rule}")
        }
    }
}

/// The first container that ended with a code a rule asks for, those of the pod before those that prepare it.
fn ended_with<'a>(pod: &'a Pod, wanted: &ExitCodes) -> Option<(&'a str, i32)> {
    let status = pod.status.as_ref()?;
    let matching = |container: &'a ContainerStatus| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let named = wanted.container_name.as_deref().is_none_or(|name| name == container.name);
        let listed = wanted.values.contains(&code);
        let asked = match wanted.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        (named && code != 0 && asked).then_some((container.name.as_str(), code))
    };
    let all =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.into_iter().find_map(matching)
}

/// The message of the first rule the succeeded indexes meet.
pub(super) fn met(policy: Option<&SuccessPolicy>, completions: i32, succeeded: &Indexes) -> Option<String> {
    let rules = policy.filter(|_| !succeeded.is_empty())?.rules.iter().enumerate();
    let meets = |(indexes, count): (Option<&str>, Option<i32>)| match (indexes, count) {
        (Some(text), count) => {
            let wanted = Indexes::parse(text, completions);
            let shared = wanted.shared(succeeded);
            !wanted.is_empty() && (shared == wanted.total() || count.is_some_and(|count| shared >= count))
        }
        (None, Some(count)) => succeeded.total() >= count,
        (None, None) => false,
    };
    let mut met = rules.filter(|(_, rule)| meets((rule.succeeded_indexes.as_deref(), rule.succeeded_count)));
    met.next().map(|(index, _)| format!("Matched rules at index {index}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn judged(rules: Value, status: Value) -> Option<Action> {
        let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
        let pod = json!({"metadata": {"name": "p", "namespace": "a"}, "status": status});
        judge(Some(&policy), &serde_json::from_value(pod).unwrap())
    }
    fn ended(containers: &[(&str, i32)]) -> Value {
        let status = |(name, code): &(&str, i32)| {
            json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code}}})
        };
        json!({"phase": "Failed", "containerStatuses": containers.iter().map(status).collect::<Vec<_>>()})
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = json!([
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailIndex", "onExitCodes": {"containerName": "b", "operator": "In", "values": [7]}},
            {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [1, 7]}},
            {"action": "Count", "onExitCodes": {"operator": "In", "values": [1]}},
        ]);
        let of = |status| judged(rules.clone(), status);
        let evicted = json!({"conditions": [{"type": "DisruptionTarget", "status": "True"}]});
        assert_eq!(of(evicted), Some(Action::Ignore));
        assert_eq!(of(ended(&[("a", 0), ("b", 7)])), Some(Action::FailIndex));
        assert_eq!(
            of(ended(&[("a", 7)])),
            None,
            "7 is asked for of the other container, and no other rule matches"
        );
        assert_eq!(of(ended(&[("a", 1)])), Some(Action::Count));
        let text = "Container a for pod a/p failed with exit code 3 matching FailJob rule at index 2";
        assert_eq!(of(ended(&[("a", 3)])), Some(Action::FailJob(text.to_owned())));
        assert_eq!(of(ended(&[("a", 0)])), None, "0 is no failure");
        let rule = json!([{"action": "FailJob", "onPodConditions": [{"type": "Lost", "status": "False"}]}]);
        let text = "Pod a/p has condition Lost matching FailJob rule at index 0";
        let lost = json!({"conditions": [{"type": "Lost", "status": "False"}]});
        assert_eq!(judged(rule, lost), Some(Action::FailJob(text.to_owned())));
    }

    #[test]
    fn a_job_succeeds_by_the_first_rule_that_is_met() {
        let met = |rules: Value, succeeded: &str| {
            let policy: SuccessPolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
            met(Some(&policy), 10, &Indexes::parse(succeeded, 10))
        };
        let rules = json!([{"succeededIndexes": "0,5-7"}, {"succeededIndexes": "1-4", "succeededCount": 2}, {"succeededCount": 6}]);
        assert_eq!(met(rules.clone(), ""), None);
        assert_eq!(met(rules.clone(), "0,5,6"), None);
        assert_eq!(met(rules.clone(), "0,5-7").as_deref(), Some("Matched rules at index 0"));
        assert_eq!(met(rules.clone(), "1,4").as_deref(), Some("Matched rules at index 1"));
        assert_eq!(met(rules, "0,1,5,6,8,9").as_deref(), Some("Matched rules at index 2"));
    }
}
