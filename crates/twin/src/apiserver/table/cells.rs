//! The rows of all kinds but Pods.

use super::age::{human, instant, micro, since};
use fleet::Instant;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Event, Namespace, Node};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::{Value, json};

fn name(meta: &ObjectMeta) -> Value {
    json!(meta.name.as_deref().unwrap_or_default())
}

fn age(meta: &ObjectMeta, now: Instant) -> Value {
    json!(since(instant(meta.creation_timestamp.as_ref()), now))
}

fn joined<'a>(containers: &'a [Container], part: impl Fn(&'a Container) -> &'a str) -> Value {
    json!(containers.iter().map(part).collect::<Vec<_>>().join(","))
}

/// A selector as `-l` would write it.
pub(crate) fn selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "<none>".to_owned() };
    let mut terms: Vec<(String, String)> = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        terms.push((key.clone(), format!("{key}={value}")));
    }
    for term in selector.match_expressions.iter().flatten() {
        let key = &term.key;
        let mut values = term.values.clone().unwrap_or_default();
        values.sort();
        let values = values.join(",");
        let text = match term.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            _ => format!("!{key}"),
        };
        terms.push((key.clone(), text));
    }
    terms.sort_by(|a, b| a.0.cmp(&b.0));
    if terms.is_empty() {
        return "<none>".to_owned();
    }
    terms.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

fn job_status(job: &Job) -> &'static str {
    let has = |name: &str| {
        let conditions = job.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == name && c.status == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if job.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

/// Cells and conditions of a Job's row.
pub(super) fn job(job: &Job, now: Instant) -> (Vec<Value>, Vec<Value>) {
    let (spec, status) = (job.spec.clone().unwrap_or_default(), job.status.clone().unwrap_or_default());
    let succeeded = status.succeeded.unwrap_or(0);
    let completions = match (spec.completions, spec.parallelism.unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let (start, end) = (instant(status.start_time.as_ref()), instant(status.completion_time.as_ref()));
    let duration = start.map_or_else(String::new, |start| human(end.unwrap_or(now) - start));
    let containers = spec.template.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default();
    let cells = vec![
        name(&job.metadata),
        json!(job_status(job)),
        json!(completions),
        json!(duration),
        age(&job.metadata, now),
        joined(containers, |c| &c.name),
        joined(containers, |c| c.image.as_deref().unwrap_or_default()),
        json!(selector(spec.selector.as_ref())),
    ];
    (cells, Vec::new())
}

fn node_roles(node: &Node) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in node.metadata.labels.iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty()) {
            roles.push(role);
        } else if key == "kubernetes.io/role" && !value.is_empty() {
            roles.push(value);
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

/// Cells of a Node's row.
pub(super) fn node(node: &Node, now: Instant) -> Vec<Value> {
    let status = node.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().find(|c| c.type_ == "Ready");
    let mut state = match ready {
        Some(c) if c.status == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        state.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = status.addresses.iter().flatten().find(|a| a.type_ == kind);
        json!(found.map_or("<none>", |a| a.address.as_str()))
    };
    let info = status.node_info.clone().unwrap_or_default();
    let or_unknown = |text: &str| if text.is_empty() { json!("<unknown>") } else { json!(text) };
    let kernel = match (info.kernel_version.as_str(), info.architecture.as_str()) {
        ("", _) => "<unknown>".to_owned(),
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        name(&node.metadata),
        json!(state),
        json!(node_roles(node)),
        age(&node.metadata, now),
        json!(info.kubelet_version),
        address("InternalIP"),
        address("ExternalIP"),
        or_unknown(&info.os_image),
        json!(kernel),
        or_unknown(&info.container_runtime_version),
    ]
}

/// Cells of a Namespace's row.
pub(super) fn namespace(namespace: &Namespace, now: Instant) -> Vec<Value> {
    let phase = namespace.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    vec![name(&namespace.metadata), json!(phase), age(&namespace.metadata, now)]
}

/// Cells of a ConfigMap's row.
pub(super) fn config_map(map: &ConfigMap, now: Instant) -> Vec<Value> {
    let entries = map.data.as_ref().map_or(0, |d| d.len()) + map.binary_data.as_ref().map_or(0, |d| d.len());
    vec![name(&map.metadata), json!(entries), age(&map.metadata, now)]
}

/// Cells of a Lease's row.
pub(super) fn lease(lease: &Lease, now: Instant) -> Vec<Value> {
    let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()).unwrap_or_default();
    vec![name(&lease.metadata), json!(holder), age(&lease.metadata, now)]
}

/// Cells of a PriorityClass' row.
pub(super) fn priority_class(class: &PriorityClass, now: Instant) -> Vec<Value> {
    vec![
        name(&class.metadata),
        json!(class.value.unwrap_or(0)),
        json!(class.global_default.unwrap_or(false)),
        age(&class.metadata, now),
        json!(class.preemption_policy.as_deref().unwrap_or_default()),
    ]
}

/// `component, instance` of whoever reported an event.
fn event_source(event: &Event) -> String {
    let source = event.source.clone().unwrap_or_default();
    let (component, host) = (source.component.unwrap_or_default(), source.host.unwrap_or_default());
    let (component, instance) = if component.is_empty() && host.is_empty() {
        let reporting = event.reporting_component.clone().unwrap_or_default();
        (reporting, event.reporting_instance.clone().unwrap_or_default())
    } else {
        (component, host)
    };
    if instance.is_empty() { component } else { format!("{component}, {instance}") }
}

/// Cells of an Event's row.
pub(super) fn event(event: &Event, now: Instant) -> Vec<Value> {
    let first = instant(event.first_timestamp.as_ref()).or(micro(event.event_time.as_ref()));
    let (last, count) = match &event.series {
        Some(series) => (micro(series.last_observed_time.as_ref()), series.count.unwrap_or(0)),
        None => {
            (instant(event.last_timestamp.as_ref()).or(first), event.count.filter(|c| *c != 0).unwrap_or(1))
        }
    };
    let involved = &event.involved_object;
    let kind = involved.kind.as_deref().unwrap_or_default().to_lowercase();
    let target = match involved.name.as_deref() {
        Some(name) if !name.is_empty() => format!("{kind}/{name}"),
        _ => kind,
    };
    vec![
        json!(since(last, now)),
        json!(event.type_.as_deref().unwrap_or_default()),
        json!(event.reason.as_deref().unwrap_or_default()),
        json!(target),
        json!(involved.field_path.as_deref().unwrap_or_default()),
        json!(event_source(event)),
        json!(event.message.as_deref().unwrap_or_default().trim()),
        json!(since(first, now)),
        json!(count),
        name(&event.metadata),
    ]
}
