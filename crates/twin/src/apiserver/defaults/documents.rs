//! Defaults of kinds kept as documents.
//!
//! Leaves out defaults of volume sources and of kinds that are rare in practice: those are stored as they come.

use super::{Doc, child, each, pod_spec, set};
use crate::apiserver::schema::{KUBERNETES, fill};
use crate::kind::Kind;
use serde_json::{Map, Value, json};

/// Fills in what depends on the document alone.
pub(super) fn apply(kind: Kind, doc: &mut Doc) {
    own(kind, doc);
    let resource = kind.resource();
    if let Some(id) = KUBERNETES.kind(&resource.api_version(), resource.name) {
        let mut whole = Value::Object(std::mem::take(doc));
        fill(&KUBERNETES, KUBERNETES.shape(id), &mut whole);
        if let Value::Object(filled) = whole {
            *doc = filled;
        }
    }
}

fn own(kind: Kind, doc: &mut Doc) {
    let resource = kind.resource();
    match (resource.group, resource.plural) {
        ("apps", "deployments") => deployment(doc),
        ("apps", "replicasets") => replicas(doc),
        ("", "replicationcontrollers") => replication_controller(doc),
        ("apps", "statefulsets") => stateful_set(doc),
        ("apps", "daemonsets") => daemon_set(doc),
        ("batch", "cronjobs") => cron_job(doc),
        ("", "podtemplates") => template(doc),
        ("", "services") => service(doc),
        ("", "secrets") => secret(doc),
        ("", "persistentvolumes") => volume(doc),
        ("", "persistentvolumeclaims") => claim(doc),
        ("", "endpoints") => {
            for subset in each(doc, "subsets") {
                each(subset, "ports").for_each(|port| set(port, "protocol", json!("TCP")));
            }
        }
        ("", "limitranges") => limit_range(doc),
        ("autoscaling", _) => autoscaler(doc),
        ("policy", "poddisruptionbudgets") => budget(doc),
        ("storage.k8s.io", "storageclasses") => {
            set(doc, "reclaimPolicy", json!("Delete"));
            set(doc, "volumeBindingMode", json!("Immediate"));
        }
        ("storage.k8s.io", "csidrivers") => csi_driver(doc),
        ("networking.k8s.io", "networkpolicies") => network_policy(doc),
        ("apiregistration.k8s.io", _) => {
            let service = doc.get_mut("spec").and_then(|spec| spec.get_mut("service"));
            if let Some(service) = service.and_then(Value::as_object_mut) {
                set(service, "port", json!(443));
            }
        }
        ("discovery.k8s.io", "endpointslices") => {
            for port in each(doc, "ports") {
                set(port, "name", json!(""));
                set(port, "protocol", json!("TCP"));
            }
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => binding(doc),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => webhooks(doc, true),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => webhooks(doc, false),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies" | "mutatingadmissionpolicies") => {
            policy(doc)
        }
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings",
        ) => {
            if let Some(spec) = child(doc, "spec") {
                matches(spec, "matchResources");
            }
        }
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => {
            if let Some(spec) = child(doc, "spec") {
                set(spec, "matchingPrecedence", json!(1000));
            }
        }
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => priority_level(doc),
        _ => {}
    }
}

/// The pod template in `spec`.
fn pod_template(spec: &mut Doc) {
    if let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) {
        set(template, "metadata", json!({}));
        if let Some(pod) = child(template, "spec") {
            pod_spec(pod, false);
        }
    }
}

fn template(doc: &mut Doc) {
    pod_template(doc);
}

fn replicas(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "replicas", json!(1));
    pod_template(spec);
    if let Some(status) = child(doc, "status") {
        set(status, "replicas", json!(0));
    }
}

fn deployment(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    pod_template(spec);
    if let Some(strategy) = child(spec, "strategy") {
        set(strategy, "type", json!("RollingUpdate"));
        rolling(strategy, &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))]);
    }
    child(doc, "status");
}

fn rolling(strategy: &mut Doc, defaults: &[(&str, Value)]) {
    if strategy.get("type") != Some(&json!("RollingUpdate")) {
        return;
    }
    if let Some(rolling) = child(strategy, "rollingUpdate") {
        defaults.iter().for_each(|(key, value)| set(rolling, key, value.clone()));
    }
}

fn replication_controller(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "replicas", json!(1));
    let labels = spec.get("template").and_then(|t| t.get("metadata")).and_then(|m| m.get("labels")).cloned();
    if let Some(labels) = labels {
        if spec.get("selector").and_then(Value::as_object).is_none_or(Map::is_empty) {
            spec.insert("selector".to_owned(), labels.clone());
        }
        if let Some(meta) = child(doc, "metadata") {
            set(meta, "labels", labels);
        }
    }
    if let Some(spec) = child(doc, "spec") {
        pod_template(spec);
    }
    if let Some(status) = child(doc, "status") {
        set(status, "replicas", json!(0));
    }
}

fn stateful_set(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "podManagementPolicy", json!("OrderedReady"));
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(
        spec,
        "persistentVolumeClaimRetentionPolicy",
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
    );
    pod_template(spec);
    if let Some(strategy) = child(spec, "updateStrategy") {
        set(strategy, "type", json!("RollingUpdate"));
        rolling(strategy, &[("partition", json!(0))]);
    }
    for claim in each(spec, "volumeClaimTemplates") {
        set(claim, "apiVersion", json!("v1"));
        set(claim, "kind", json!("PersistentVolumeClaim"));
        self::claim(claim);
    }
    if let Some(status) = child(doc, "status") {
        set(status, "replicas", json!(0));
        set(status, "availableReplicas", json!(0));
    }
}

/// Annotation of a DaemonSet: how many templates it has had.
const TEMPLATES: &str = "deprecated.daemonset.template.generation";

/// Counts a DaemonSet's templates on from what was stored, whatever the client says.
pub(crate) fn count_templates(kind: Kind, old: &Value, new: &mut Value) {
    if !kind.is("apps", "daemonsets") {
        return;
    }
    let had = old["metadata"]["annotations"][TEMPLATES].as_str().and_then(|text| text.parse::<i64>().ok());
    let is_new = old["spec"]["template"] != new["spec"]["template"];
    let now = had.unwrap_or(1).saturating_add(i64::from(is_new));
    let meta = new.as_object_mut().and_then(|new| child(new, "metadata"));
    if let Some(annotations) = meta.and_then(|meta| child(meta, "annotations")) {
        annotations.insert(TEMPLATES.to_owned(), json!(now.to_string()));
    }
}

fn daemon_set(doc: &mut Doc) {
    if let Some(annotations) = child(doc, "metadata").and_then(|meta| child(meta, "annotations")) {
        set(annotations, TEMPLATES, json!("1"));
    }
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "revisionHistoryLimit", json!(10));
    pod_template(spec);
    if let Some(strategy) = child(spec, "updateStrategy") {
        set(strategy, "type", json!("RollingUpdate"));
        rolling(strategy, &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))]);
    }
    if let Some(status) = child(doc, "status") {
        for key in ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"] {
            set(status, key, json!(0));
        }
    }
}

fn cron_job(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "concurrencyPolicy", json!("Allow"));
    set(spec, "suspend", json!(false));
    set(spec, "successfulJobsHistoryLimit", json!(3));
    set(spec, "failedJobsHistoryLimit", json!(1));
    if let Some(template) = child(spec, "jobTemplate") {
        set(template, "metadata", json!({}));
        if let Some(spec) = child(template, "spec") {
            pod_template(spec);
        }
    }
    child(doc, "status");
}

fn service(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "type", json!("ClusterIP"));
    if spec.get("sessionAffinity") == Some(&json!("ClientIP")) {
        set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
    }
    for port in each(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        let unset = port.get("targetPort").is_none_or(|t| t == &json!(0) || t == "");
        if unset {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let of = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let outside = matches!(of.as_str(), "NodePort" | "LoadBalancer");
    if outside {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if of == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    if of != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if let Some(status) = child(doc, "status") {
        set(status, "loadBalancer", json!({}));
    }
}

/// `stringData` becomes `data`; it is never shown.
fn secret(doc: &mut Doc) {
    set(doc, "type", json!("Opaque"));
    let Some(Value::Object(texts)) = doc.remove("stringData") else { return };
    if let Some(data) = child(doc, "data") {
        for (key, text) in texts {
            data.insert(key, json!(base64(text.as_str().unwrap_or_default().as_bytes())));
        }
    }
}

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let symbol = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    text
}

fn volume(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "persistentVolumeReclaimPolicy", json!("Retain"));
    set(spec, "volumeMode", json!("Filesystem"));
    if let Some(path) = spec.get_mut("hostPath").and_then(Value::as_object_mut) {
        set(path, "type", json!(""));
    }
    if let Some(status) = child(doc, "status") {
        set(status, "phase", json!("Pending"));
    }
}

fn claim(doc: &mut Doc) {
    if let Some(spec) = child(doc, "spec") {
        set(spec, "volumeMode", json!("Filesystem"));
    }
    if let Some(status) = child(doc, "status") {
        set(status, "phase", json!("Pending"));
    }
}

fn limit_range(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    for limit in each(spec, "limits").filter(|limit| limit.get("type") == Some(&json!("Container"))) {
        let get =
            |limit: &Doc, key: &str| limit.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let (max, min) = (get(limit, "max"), get(limit, "min"));
        if let Some(default) = child(limit, "default") {
            max.iter().for_each(|(name, amount)| set(default, name, amount.clone()));
        }
        let default = get(limit, "default");
        if let Some(request) = child(limit, "defaultRequest") {
            default.iter().for_each(|(name, amount)| set(request, name, amount.clone()));
            min.iter().for_each(|(name, amount)| set(request, name, amount.clone()));
        }
        limit.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
}

fn autoscaler(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "minReplicas", json!(1));
    let none = spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if none {
        let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        spec.insert("metrics".to_owned(), cpu);
    }
    if let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) {
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        for (way, policies, window) in
            [("scaleUp", json!([pods, percent.clone()]), Some(0)), ("scaleDown", json!([percent]), None)]
        {
            if let Some(rules) = child(behavior, way) {
                set(rules, "selectPolicy", json!("Max"));
                set(rules, "policies", policies);
                if let Some(window) = window {
                    set(rules, "stabilizationWindowSeconds", json!(window));
                }
            }
        }
    }
    if let Some(status) = child(doc, "status") {
        set(status, "desiredReplicas", json!(0));
    }
}

fn budget(doc: &mut Doc) {
    if let Some(status) = child(doc, "status") {
        for key in ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"] {
            set(status, key, json!(0));
        }
    }
}

fn csi_driver(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    for (key, value) in [
        ("attachRequired", json!(true)),
        ("podInfoOnMount", json!(false)),
        ("storageCapacity", json!(false)),
        ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
        ("volumeLifecycleModes", json!(["Persistent"])),
        ("requiresRepublish", json!(false)),
        ("seLinuxMount", json!(false)),
    ] {
        set(spec, key, value);
    }
}

fn network_policy(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "podSelector", json!({}));
    for way in ["ingress", "egress"] {
        for rule in each(spec, way) {
            each(rule, "ports").for_each(|port| set(port, "protocol", json!("TCP")));
        }
    }
    let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    set(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
}

fn binding(doc: &mut Doc) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if let Some(role) = child(doc, "roleRef") {
        set(role, "apiGroup", json!(GROUP));
    }
    for subject in each(doc, "subjects") {
        if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
            set(subject, "apiGroup", json!(GROUP));
        }
    }
}

fn rules(of: &mut Doc, list: &str) {
    each(of, list).for_each(|rule| set(rule, "scope", json!("*")));
}

fn webhooks(doc: &mut Doc, mutating: bool) {
    for webhook in each(doc, "webhooks") {
        for (key, value) in [
            ("failurePolicy", json!("Fail")),
            ("matchPolicy", json!("Equivalent")),
            ("namespaceSelector", json!({})),
            ("objectSelector", json!({})),
            ("timeoutSeconds", json!(10)),
        ] {
            set(webhook, key, value);
        }
        if mutating {
            set(webhook, "reinvocationPolicy", json!("Never"));
        }
        rules(webhook, "rules");
        if let Some(service) = webhook.get_mut("clientConfig").and_then(|c| c.get_mut("service"))
            && let Some(service) = service.as_object_mut()
        {
            set(service, "port", json!(443));
        }
    }
}

fn policy(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    set(spec, "failurePolicy", json!("Fail"));
    matches(spec, "matchConstraints");
}

fn matches(spec: &mut Doc, key: &str) {
    if let Some(matches) = spec.get_mut(key).and_then(Value::as_object_mut) {
        for (key, value) in [
            ("namespaceSelector", json!({})),
            ("objectSelector", json!({})),
            ("matchPolicy", json!("Equivalent")),
        ] {
            set(matches, key, value);
        }
        rules(matches, "resourceRules");
        rules(matches, "excludeResourceRules");
    }
}

fn priority_level(doc: &mut Doc) {
    let Some(spec) = child(doc, "spec") else { return };
    if let Some(limited) = spec.get_mut("limited").and_then(Value::as_object_mut) {
        set(limited, "nominalConcurrencyShares", json!(30));
        set(limited, "lendablePercent", json!(0));
        if let Some(queuing) = limited.get_mut("limitResponse").and_then(|r| r.get_mut("queuing"))
            && let Some(queuing) = queuing.as_object_mut()
        {
            for (key, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                set(queuing, key, json!(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_pads() {
        for (plain, text) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("hello", "aGVsbG8=")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }
}
