//! Requests, limits and overhead: names of resources, and amounts that can be.
//!
//! Words and order are those of Kubernetes 1.36's `pkg/apis/core/validation`.

use super::super::field::Errors;
use super::super::names::key_problems;
use super::super::quantity::{NANO, Quantity};
use super::value;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Names without a domain that mean something somewhere in Kubernetes.
const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];
/// What stands before the size of a page.
const HUGE_PAGES: &str = "hugepages-";
/// What stands before resources in a quota.
const QUOTA: &str = "requests.";

/// Whom a list of resources is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Container,
    /// The pod as a whole.
    Pod,
}

fn is_huge(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Whether Kubernetes itself knows what it is.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with(QUOTA) && key_problems(&format!("{QUOTA}{name}")).is_empty()
}

/// Whether more of it may be promised than there is.
fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

fn name(errors: &mut Errors, name: &str, path: &str, whose: Whose) {
    let problems = key_problems(name);
    let bad = !problems.is_empty();
    for problem in problems {
        errors.invalid(path, &json!(name), &problem);
    }
    let domain = name.contains('/');
    let standard = STANDARD.contains(&name) || is_huge(name);
    if !bad && !domain && !standard {
        errors.invalid(path, &json!(name), "must be a standard resource type or fully qualified");
    }
    match whose {
        Whose::Container if !domain => {
            if !STANDARD[..3].contains(&name) && !is_huge(name) {
                errors.invalid(path, &json!(name), "must be a standard resource for containers");
            }
        }
        Whose::Container => {
            if !is_native(name) && !is_extended(name) {
                errors.invalid(path, &json!(name), "doesn't follow extended resource name standard");
            }
        }
        Whose::Pod => {
            let known = ["cpu", "memory"].contains(&name) || is_huge(name);
            if !bad && (domain || standard) && !known {
                errors.not_supported(path, &json!(name), &["cpu", HUGE_PAGES, "memory"]);
            }
        }
    }
}

/// A quantity in billionths; one that cannot be read was refused when it was decoded.
fn nanos(amount: &Value) -> Option<i128> {
    Quantity::parse(amount.as_str().unwrap_or_default()).ok().map(Quantity::nanos)
}

fn amount(errors: &mut Errors, name: &str, amount: &Value, path: &str) {
    let Some(found) = nanos(amount) else { return };
    if found < 0 {
        errors.invalid(path, amount, "must be greater than or equal to 0");
    }
    if is_extended(name) && found % NANO != 0 {
        errors.invalid(path, amount, "must be an integer");
    }
    if let Some(size) = name.strip_prefix(HUGE_PAGES) {
        let page = Quantity::parse(size).map(Quantity::nanos).unwrap_or(0);
        let whole = (found + NANO - 1).div_euclid(NANO);
        if page <= 0 || page % NANO != 0 || whole % (page / NANO) != 0 {
            let text = amount.as_str().unwrap_or_default();
            errors.invalid(path, amount, &format!("{text} is not positive integer multiple of {name}"));
        }
    }
}

/// Checks requests and limits under `path`.
pub(super) fn check(errors: &mut Errors, resources: &Value, path: &str, whose: Whose) {
    let empty = Map::new();
    let of = |list: &str| value(resources, list).as_object().unwrap_or(&empty);
    let (limits, requests) = (of("/limits"), of("/requests"));
    for (list, amounts) in [("limits", limits), ("requests", requests)] {
        for (resource, found) in amounts {
            let path = format!("{path}.{list}[{resource}]");
            name(errors, resource, &path, whose);
            amount(errors, resource, found, &path);
            if list == "requests" {
                compare(
                    errors,
                    (resource, found),
                    limits,
                    path.trim_end_matches(&format!(".{list}[{resource}]")),
                );
            }
        }
    }
    let named = |wanted: &dyn Fn(&str) -> bool| limits.keys().chain(requests.keys()).any(|name| wanted(name));
    if named(&|name| is_huge(name)) && !named(&|name| ["cpu", "memory"].contains(&name)) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// A request against the limit.
fn compare(errors: &mut Errors, (name, request): (&str, &Value), limits: &Map<String, Value>, path: &str) {
    let field = format!("{path}.requests");
    let Some(limit) = limits.get(name) else {
        if !may_overcommit(name) {
            errors.required(&format!("{path}.limits"), "Limit must be set for non overcommitable resources");
        }
        return;
    };
    let text = limit.as_str().unwrap_or_default();
    if nanos(request) != nanos(limit) && !may_overcommit(name) {
        errors.invalid(&field, request, &format!("must be equal to {name} limit of {text}"));
    } else if nanos(request) > nanos(limit) {
        errors.invalid(&field, request, &format!("must be less than or equal to {name} limit of {text}"));
    }
}

/// What all containers have in a list together, at most at one time: those that go on, or an init container with the
/// sidecars started before it. In billionths, with what it is written like.
fn together(spec: &Value, list: &str) -> BTreeMap<String, Quantity> {
    let mut total: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut sidecars = total.clone();
    let mut peak = total.clone();
    for container in super::list(spec, "/containers") {
        add(&mut total, &stated(container, list));
    }
    for container in super::list(spec, "/initContainers") {
        let mut own = stated(container, list);
        if super::text(container, "/restartPolicy") == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut peak, &own);
    }
    raise(&mut total, &peak);
    total
}

fn stated(container: &Value, list: &str) -> BTreeMap<String, Quantity> {
    let amounts = value(container, &format!("/resources/{list}")).as_object().into_iter().flatten();
    let read =
        |(name, amount): (&String, &Value)| Some((name.clone(), Quantity::parse(amount.as_str()?).ok()?));
    amounts.filter_map(read).collect()
}

fn add(to: &mut BTreeMap<String, Quantity>, more: &BTreeMap<String, Quantity>) {
    for (name, amount) in more {
        let sum = match to.get(name) {
            Some(own) => Quantity::from_nanos(own.nanos().saturating_add(amount.nanos()), own.format()),
            None => *amount,
        };
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut BTreeMap<String, Quantity>, least: &BTreeMap<String, Quantity>) {
    for (name, amount) in least {
        if to.get(name).is_none_or(|own| own.nanos() < amount.nanos()) {
            to.insert(name.clone(), *amount);
        }
    }
}

/// Holds what is stated for the pod as a whole against what its containers state.
pub(super) fn of_all(errors: &mut Errors, spec: &Value, path: &str) {
    let whole = value(spec, "/resources");
    if whole.is_null() {
        return;
    }
    let whole_of = |list: &str, name: &str| value(whole, &format!("/{list}")).get(name).cloned();
    for (list, name, sum) in [("requests", false), ("limits", true)].into_iter().flat_map(|(list, huge)| {
        let all = together(spec, list).into_iter().filter(move |(name, _)| !huge || is_huge(name));
        all.map(move |(name, sum)| (list, name, sum))
    }) {
        let Some(stated) = whole_of(list, &name) else { continue };
        if nanos(&stated).is_some_and(|stated| sum.nanos() > stated) {
            let why = format!("must be greater than or equal to aggregate container {list} of {sum}");
            errors.invalid(&format!("{path}.{list}[{name}]"), &stated, &why);
        }
    }
    for (i, container) in super::list(spec, "/containers").iter().enumerate() {
        for (name, limit) in stated(container, "limits") {
            let Some(most) = whole_of("limits", &name) else { continue };
            if nanos(&most).is_some_and(|most| limit.nanos() > most) {
                let text = most.as_str().unwrap_or_default();
                let path = format!("{path}.containers[{i}][{name}].limits");
                let why = format!("must be less than or equal to pod limits of {text}");
                errors.invalid(&path, &json!(limit.to_string()), &why);
            }
        }
    }
}

/// Checks what a pod needs beside its containers: as if it were the limits of one.
pub(super) fn overhead(errors: &mut Errors, overhead: &Value, path: &str) {
    if !overhead.is_null() {
        check(errors, &json!({"limits": overhead}), path, Whose::Container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(whose: Whose, resources: Value) -> Vec<String> {
        let mut errors = Errors::default();
        check(&mut errors, &resources, "r", whose);
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn amounts_and_names() {
        let good = json!({"requests": {"cpu": "100m", "hugepages-2Mi": "4Mi", "example.com/gpu": "2"},
            "limits": {"cpu": "1", "hugepages-2Mi": "4Mi", "example.com/gpu": "2"}});
        assert_eq!(said(Whose::Container, good), Vec::<String>::new());
        let cases = [
            (
                json!({"requests": {"cpu": "-1"}}),
                vec!["r.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
            ),
            (
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
                vec!["r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
            ),
            (
                json!({"requests": {"gpus": "1"}}),
                vec![
                    "r.requests[gpus]: Invalid value: \"gpus\": must be a standard resource type or fully qualified",
                    "r.requests[gpus]: Invalid value: \"gpus\": must be a standard resource for containers",
                ],
            ),
            (
                json!({"requests": {"pods": "1"}}),
                vec!["r.requests[pods]: Invalid value: \"pods\": must be a standard resource for containers"],
            ),
            (
                json!({"requests": {"requests.example.com/x": "1"}, "limits": {"requests.example.com/x": "1"}}),
                vec![
                    "r.limits[requests.example.com/x]: Invalid value: \"requests.example.com/x\": doesn't follow extended resource name standard",
                    "r.requests[requests.example.com/x]: Invalid value: \"requests.example.com/x\": doesn't follow extended resource name standard",
                ],
            ),
            (
                json!({"limits": {"example.com/gpu": "500m"}}),
                vec!["r.limits[example.com/gpu]: Invalid value: \"500m\": must be an integer"],
            ),
            (
                json!({"requests": {"example.com/gpu": "1"}}),
                vec!["r.limits: Required value: Limit must be set for non overcommitable resources"],
            ),
            (
                json!({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "2"}}),
                vec!["r.requests: Invalid value: \"1\": must be equal to example.com/gpu limit of 2"],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi", "memory": "1Gi"}}),
                vec![
                    "r.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                ],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "4Mi"}}),
                vec!["r: Forbidden: HugePages require cpu or memory"],
            ),
        ];
        for (resources, expected) in cases {
            assert_eq!(said(Whose::Container, resources.clone()), expected, "{resources}");
        }
    }

    #[test]
    fn the_pod_as_a_whole_has_at_least_what_its_containers_have() {
        let with = |list: &str, amounts: Value| json!({"name": "c", "resources": {list: amounts}});
        let sidecar =
            json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "250m"}}});
        let check = |whole: Value, containers: Value| {
            let mut errors = Errors::default();
            let spec = json!({"resources": whole, "containers": containers,
                "initContainers": [sidecar, with("requests", json!({"cpu": "2"}))]});
            of_all(&mut errors, &spec, "r");
            errors
                .into_causes()
                .into_iter()
                .map(|c| format!("{}: {}", c.field, c.message))
                .collect::<Vec<_>>()
        };
        let two = json!([with("requests", json!({"cpu": "1"})), with("requests", json!({"cpu": "1500m"}))]);
        assert_eq!(check(json!({"requests": {"cpu": "2750m"}}), two.clone()), Vec::<String>::new());
        let short = "must be greater than or equal to aggregate container requests of";
        assert_eq!(
            check(json!({"requests": {"cpu": "2"}}), two),
            [format!("r.requests[cpu]: Invalid value: \"2\": {short} 2750m")]
        );
        assert_eq!(
            check(json!({"requests": {"cpu": "2"}}), json!([])),
            [format!("r.requests[cpu]: Invalid value: \"2\": {short} 2250m")],
            "an init container beside the sidecar"
        );
        let limits =
            json!([with("limits", json!({"memory": "1Gi"})), with("limits", json!({"memory": "3Gi"}))]);
        assert_eq!(
            check(json!({"limits": {"memory": "2Gi"}}), limits),
            [
                "r.containers[1][memory].limits: Invalid value: \"3Gi\": must be less than or equal to pod limits of 2Gi"
            ]
        );
    }

    #[test]
    fn the_pod_as_a_whole_and_its_overhead() {
        let whole = said(
            Whose::Pod,
            json!({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}),
        );
        let expected =
            "Unsupported value: \"example.com/gpu\": supported values: \"cpu\", \"hugepages-\", \"memory\"";
        assert_eq!(
            whole,
            [
                format!("r.limits[example.com/gpu]: {expected}"),
                format!("r.requests[example.com/gpu]: {expected}")
            ]
        );
        let mut errors = Errors::default();
        overhead(&mut errors, &json!({"cpu": "-1"}), "spec.overhead");
        assert_eq!(errors.into_causes()[0].field, "spec.overhead.limits[cpu]");
    }
}
