//! What the API server fills in, on documents.
//!
//! Invariant: defaulting twice gives the same document. Leaves out defaults of fields the twin does not
//! act on and of volume sources other than those listed.

mod allot;
mod claim;
mod documents;
mod labelkeys;
mod podlevel;
mod serviceaccount;

pub(crate) use allot::service as allot_service;
pub(crate) use claim::default_class;
pub(crate) use documents::count_templates;
pub(crate) use labelkeys::merge_typed as merge_label_keys;
pub(crate) use podlevel::apply as pod_level;
pub(crate) use serviceaccount::admit_made as admit_account;

use super::Context;
use super::custom;
use super::quota;
use super::status::Status;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::Objects;
use serde_json::{Map, Value, json};

/// Seconds a pod stays on a node that is not ready or unreachable, unless it says otherwise.
const NODE_TOLERATION_SECONDS: i64 = 300;

type Doc = Map<String, Value>;

/// Sets `key` where it is missing or null.
fn set(map: &mut Doc, key: &str, value: Value) {
    match map.get_mut(key) {
        Some(slot) if slot.is_null() => *slot = value,
        Some(_) => {}
        None => drop(map.insert(key.to_owned(), value)),
    }
}

/// The object under `key`, made if missing; `None` if something else stands there.
fn child<'a>(map: &'a mut Doc, key: &str) -> Option<&'a mut Doc> {
    set(map, key, json!({}));
    map.get_mut(key)?.as_object_mut()
}

/// The objects in the list under `key`.
fn each<'a>(map: &'a mut Doc, key: &str) -> impl Iterator<Item = &'a mut Doc> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Fills in everything that depends on the document alone.
pub(crate) fn apply(kind: Kind, doc: &mut Value) {
    if kind.is("apiextensions.k8s.io", "customresourcedefinitions") {
        custom::complete(doc);
    }
    let Some(doc) = doc.as_object_mut() else { return };
    match kind {
        Kind::Pod => {
            if let Some(spec) = child(doc, "spec") {
                pod_spec(spec, true);
                podlevel::apply(spec);
            }
        }
        Kind::Job => job(doc),
        Kind::Namespace => namespace(doc),
        Kind::PriorityClass => set(doc, "preemptionPolicy", json!("PreemptLowerPriority")),
        Kind::Node => node(doc),
        Kind::Event => {
            for key in ["reportingComponent", "reportingInstance"] {
                set(doc, key, json!(""));
            }
            set(doc, "source", json!({}));
        }
        Kind::ConfigMap | Kind::Lease => {}
        Kind::Document(_) => documents::apply(kind, doc),
    }
}

fn namespace(doc: &mut Doc) {
    let name = doc.get("metadata").and_then(|m| m.get("name")).cloned();
    if let (Some(name @ Value::String(_)), Some(meta)) = (name, child(doc, "metadata"))
        && let Some(labels) = child(meta, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    }
    if let Some(status) = child(doc, "status") {
        set(status, "phase", json!("Active"));
    }
}

fn node(doc: &mut Doc) {
    child(doc, "spec");
    let Some(status) = child(doc, "status") else { return };
    let capacity = status.get("capacity").cloned();
    if let Some(capacity) = capacity {
        set(status, "allocatable", capacity);
    }
}

fn job(doc: &mut Doc) {
    child(doc, "status");
    let Some(spec) = child(doc, "spec") else { return };
    if spec.get("completions").is_none_or(Value::is_null)
        && spec.get("parallelism").is_none_or(Value::is_null)
    {
        set(spec, "completions", json!(1));
    }
    set(spec, "parallelism", json!(1));
    let per_index = spec.get("backoffLimitPerIndex").is_some_and(|v| !v.is_null());
    set(spec, "backoffLimit", json!(if per_index { i32::MAX } else { 6 }));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    let failure_policy = spec.get("podFailurePolicy").is_some_and(|v| !v.is_null());
    set(spec, "podReplacementPolicy", json!(if failure_policy { "Failed" } else { "TerminatingOrFailed" }));
    set(spec, "manualSelector", json!(false));
    let known = spec.get("selector").is_some_and(|selector| !selector.is_null());
    if let Some(template) = child(spec, "template") {
        child(template, "metadata");
        if let Some(pod) = child(template, "spec") {
            pod_spec(pod, false);
        }
    }
    // One that is being made has its pods' labels after it was given its selector.
    if known {
        job_labels(doc);
    }
}

/// A Job without labels has those of its pods.
fn job_labels(doc: &mut Doc) {
    let template = doc.get("spec").and_then(|spec| spec.get("template"));
    let Some(labels) = template.and_then(|t| t.get("metadata")?.get("labels")).cloned() else { return };
    let Some(meta) = child(doc, "metadata") else { return };
    if meta.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty) {
        meta.insert("labels".to_owned(), labels);
    }
}

/// A pod's spec. Requests follow limits in pods only; a template keeps what was written.
fn pod_spec(spec: &mut Doc, is_pod: bool) {
    for (key, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        set(spec, key, value);
    }
    if is_pod {
        set(spec, "enableServiceLinks", json!(true));
    }
    let host_network = is_pod && spec.get("hostNetwork") == Some(&json!(true));
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            container_defaults(container, is_pod);
            for port in each(container, "ports").filter(|_| host_network) {
                let number = port.get("containerPort").cloned().unwrap_or(Value::Null);
                set(port, "hostPort", number);
            }
        }
    }
    for volume in each(spec, "volumes") {
        if volume.keys().all(|k| k == "name") {
            set(volume, "emptyDir", json!({}));
        }
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
                set(source, "defaultMode", json!(0o644));
            }
        }
        if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
            set(path, "type", json!(""));
        }
    }
}

fn container_defaults(container: &mut Doc, is_pod: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    // No tag and no digest means the tag `latest`, which is always pulled.
    let name = image.rsplit('/').next().unwrap_or_default();
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    let policy = if tag == "latest" && !name.contains('@') { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", json!(policy));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    for port in each(container, "ports") {
        set(port, "protocol", json!("TCP"));
    }
    for env in each(container, "env") {
        if let Some(field) = env.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef"))
            && let Some(field) = field.as_object_mut()
        {
            set(field, "apiVersion", json!("v1"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            for (key, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                set(probe, key, json!(value));
            }
            if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
                set(get, "path", json!("/"));
                set(get, "scheme", json!("HTTP"));
            }
        }
    }
    if let Some(resources) = child(container, "resources")
        && is_pod
        && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
        && let Some(requests) = child(resources, "requests")
    {
        for (name, amount) in limits {
            set(requests, &name, amount);
        }
    }
}

/// Fills in what depends on the object's new identity, at create.
pub(crate) fn at_create(kind: Kind, doc: &mut Value, uid: &str) {
    let Some(doc) = doc.as_object_mut() else { return };
    match kind {
        Kind::Job => {
            job_selector(doc, uid);
            job_labels(doc);
        }
        Kind::Namespace => {
            if let Some(spec) = child(doc, "spec") {
                spec.insert("finalizers".to_owned(), json!(["kubernetes"]));
            }
            doc.insert("status".to_owned(), json!({"phase": "Active"}));
        }
        Kind::Pod => {
            labelkeys::merge(doc);
            let qos = doc.get("spec").map_or("BestEffort", qos_class);
            let mut status = json!({"phase": "Pending", "qosClass": qos});
            let gates = doc.get("spec").and_then(|s| s.get("schedulingGates")).and_then(Value::as_array);
            if gates.is_some_and(|gates| !gates.is_empty()) {
                status["conditions"] = json!([{
                    "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastProbeTime": null, "lastTransitionTime": null,
                }]);
            }
            doc.insert("status".to_owned(), status);
        }
        Kind::Document(_) if kind.resource().status && !kind.resource().custom => {
            // A new object's status is its own to begin with.
            doc.remove("status");
            documents::apply(kind, doc);
        }
        _ => {}
    }
    if kind == Kind::Job {
        doc.insert("status".to_owned(), json!({}));
    }
}

/// The selector and the labels a Job's pods are found by. With `manualSelector` the user's stay.
fn job_selector(doc: &mut Doc, uid: &str) {
    let name = doc.get("metadata").and_then(|m| m.get("name")).cloned().unwrap_or(json!(""));
    let Some(spec) = child(doc, "spec") else { return };
    if spec.get("manualSelector").and_then(Value::as_bool) == Some(true) {
        return;
    }
    if let Some(labels) =
        child(spec, "template").and_then(|t| child(t, "metadata")).and_then(|m| child(m, "labels"))
    {
        for (key, value) in [
            ("batch.kubernetes.io/controller-uid", json!(uid)),
            ("controller-uid", json!(uid)),
            ("batch.kubernetes.io/job-name", name.clone()),
            ("job-name", name),
        ] {
            set(labels, key, value);
        }
    }
    set(spec, "selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
}

/// Quality of service class of a pod's spec (`ComputePodQOS`): what is stated for the pod as a whole takes the place of
/// what its containers state, and amounts of containers are added up before requests are held against limits.
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    const COUNTED: [&str; 2] = ["cpu", "memory"];
    let of = |holder: &Value, list: &str| -> quota::Usage {
        let mut amounts = quota::amounts(holder.pointer(&format!("/resources/{list}")));
        amounts.retain(|name, amount| COUNTED.contains(&name.as_str()) && amount.nanos() > 0);
        amounts
    };
    let whole =
        ["requests", "limits"].map(|list| quota::amounts(spec.pointer(&format!("/resources/{list}"))));
    let counted = |name: &String| COUNTED.contains(&name.as_str()) || name.starts_with("hugepages-");
    let (mut requests, mut limits, mut guaranteed) = (quota::Usage::new(), quota::Usage::new(), true);
    let mut take = |holder: &Value, limits_stated: bool| {
        let (own, most) = (of(holder, "requests"), of(holder, "limits"));
        guaranteed &= most.len() == COUNTED.len() || !limits_stated;
        quota::add(&mut requests, &own, 1);
        quota::add(&mut limits, &most, 1);
    };
    if whole.iter().any(|list| list.keys().any(counted)) {
        take(spec, !whole[1].is_empty());
    } else {
        let lists = ["containers", "initContainers"].iter().filter_map(|list| spec.get(list)?.as_array());
        lists.flatten().for_each(|container| take(container, true));
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let same = |(name, amount): (&String, &super::quantity::Quantity)| {
        limits.get(name).is_some_and(|limit| limit.nanos() == amount.nanos())
    };
    let guaranteed = guaranteed && requests.len() == limits.len() && requests.iter().all(same);
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

/// Admission of a new claim: its class.
pub(crate) fn admit_claim(ctx: &Context<'_>, doc: &mut Value) {
    claim::admit(ctx.objects, doc);
}

/// Admission of a new pod: its priority, and its tolerations of nodes that fail.
pub(crate) fn admit_pod(ctx: &Context<'_>, doc: &mut Value) -> Result<(), Status> {
    serviceaccount::admit(ctx, doc)?;
    let name = doc.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(spec) = doc.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    let wanted = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default().to_owned();
    let stated = spec.get("priority").and_then(Value::as_i64);
    let stated = (stated, spec.get("preemptionPolicy").and_then(Value::as_str));
    let Priority { class, value, policy } = priority(ctx.objects, &wanted, stated)
        .map_err(|why| Status::forbidden(Kind::Pod.resource(), &name, &why))?;
    spec.insert("priority".to_owned(), json!(value));
    set(spec, "preemptionPolicy", json!(policy));
    if !class.is_empty() {
        spec.insert("priorityClassName".to_owned(), json!(class));
    }
    set(spec, "tolerations", json!([]));
    if let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let covered = tolerations.iter().any(|t| {
                let text = |field: &str| t.get(field).and_then(Value::as_str).unwrap_or_default();
                matches!(text("key"), "" | "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable")
                    && (text("key") == key || text("key").is_empty())
                    && matches!(text("effect"), "" | "NoExecute")
            });
            if !covered {
                tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_TOLERATION_SECONDS}));
            }
        }
    }
    Ok(())
}

/// How important a pod is.
pub(crate) struct Priority {
    /// Name of its class; empty without one.
    pub(crate) class: String,
    pub(crate) value: i64,
    /// Whether it preempts.
    pub(crate) policy: String,
}

/// The priority of a pod that names a class, or of one that names none. What the pod itself states must be the same: the
/// error is the words of admission.
pub(crate) fn priority(
    objects: &Objects,
    wanted: &str,
    (value, policy): (Option<i64>, Option<&str>),
) -> Result<Priority, String> {
    let found =
        class_of(objects, wanted).ok_or_else(|| format!("no PriorityClass with name {wanted} was found"))?;
    let computed = "priority admission controller computed";
    let from = "from the given PriorityClass name";
    if let Some(given) = value.filter(|given| *given != found.value) {
        let found = found.value;
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; {computed} {found} {from}"
        ));
    }
    if let Some(given) = policy.filter(|given| *given != found.policy) {
        let found = &found.policy;
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; {computed} {found} {from}"
        ));
    }
    Ok(found)
}

/// A priority class; the default when `wanted` is empty.
fn class_of(objects: &Objects, wanted: &str) -> Option<Priority> {
    const LOWER: &str = "PreemptLowerPriority";
    let classes = objects.list(Kind::PriorityClass, None).filter_map(|stored| match &stored.object {
        Object::PriorityClass(class) => Some(class),
        _ => None,
    });
    let found = if wanted.is_empty() {
        classes.filter(|c| c.global_default == Some(true)).min_by_key(|c| c.value)
    } else {
        classes.into_iter().find(|c| c.metadata.name.as_deref() == Some(wanted))
    };
    let built_in = |value: i64| Priority { class: wanted.to_owned(), value, policy: LOWER.to_owned() };
    match (found, wanted) {
        (Some(class), _) => Some(Priority {
            class: class.metadata.name.clone().unwrap_or_default(),
            value: i64::from(class.value.unwrap_or(0)),
            policy: class.preemption_policy.clone().unwrap_or_else(|| LOWER.to_owned()),
        }),
        (None, "") => Some(built_in(0)),
        // Kubernetes has these two from the start.
        (None, "system-cluster-critical") => Some(built_in(2_000_000_000)),
        (None, "system-node-critical") => Some(built_in(2_000_001_000)),
        (None, _) => None,
    }
}
