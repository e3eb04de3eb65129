//! Manifests of static pods: what a kubelet reads from its disk, judged before anybody runs it.
//!
//! As kubelet's file source, version 1.36: a manifest is a Pod that the API server would take, and refers to no object of
//! the API (feature `PreventStaticPodAPIReferences`), since the kubelet has to run it without. Pure.

use super::complete_pod;
use fleet::FleetSpec;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

/// Annotation of a pod that only shows a static pod of its node, with the hash of that.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Fields that refer to objects, and the resource they refer to.
const REFERENCES: [(&str, &str); 12] = [
    ("serviceAccountToken", "serviceaccounts"),
    ("secret", "secrets"),
    ("secretRef", "secrets"),
    ("secretKeyRef", "secrets"),
    ("imagePullSecrets", "secrets"),
    ("configMap", "configmaps"),
    ("configMapRef", "configmaps"),
    ("configMapKeyRef", "configmaps"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims"),
    ("resourceClaims", "resourceclaims"),
    ("clusterTrustBundle", "clustertrustbundles"),
];

/// The first resource that a part of a spec refers to.
fn reference(part: &Value) -> Option<&'static str> {
    match part {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let own = REFERENCES.iter().find(|(name, _)| name == key).map(|(_, resource)| *resource);
            // Keys of selectors are free, and their values are texts.
            own.filter(|_| value.is_object() || value.is_array()).or_else(|| reference(value))
        }),
        Value::Array(list) => list.iter().find_map(reference),
        _ => None,
    }
}

/// The pod of a manifest, its defaults filled in.
///
/// # Errors
/// Why a kubelet would not run it.
pub fn static_pod(manifest: Value) -> Result<Pod, String> {
    let spec = &manifest["spec"];
    let account = ["serviceAccountName", "serviceAccount"]
        .iter()
        .any(|key| spec[*key].as_str().is_some_and(|name| !name.is_empty()));
    let found = if account { Some("serviceaccounts") } else { reference(spec) };
    if let Some(resource) = found {
        return Err(format!("static pods may not reference {resource}"));
    }
    complete_pod(manifest).map_err(|status| status.message)
}

/// Whether kubelets would run the static pods that a fleet states.
///
/// # Errors
/// Where one stands that they would not run, and why.
pub fn check_static_pods(fleet: &FleetSpec) -> Result<(), (String, String)> {
    for (i, cluster) in fleet.clusters.iter().enumerate() {
        for (g, group) in cluster.node_groups.iter().enumerate() {
            for manifest in &group.kubelet.static_pods {
                let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
                let place = format!("clusters[{i}].nodeGroups[{g}].staticPods[{name}]");
                static_pod(manifest.clone()).map_err(|why| (place, why))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(spec: Value) -> String {
        static_pod(json!({"metadata": {"name": "own"}, "spec": spec})).unwrap_err()
    }

    #[test]
    fn what_a_kubelet_would_not_run_is_refused() {
        let containers = json!([{"name": "c", "image": "i"}]);
        let with = |key: &str, value: Value| {
            let mut spec = json!({"containers": containers});
            spec[key] = value;
            spec
        };
        let refused = |resource: &str| format!("static pods may not reference {resource}");
        assert_eq!(why(with("serviceAccountName", json!("default"))), refused("serviceaccounts"));
        let volume = |source: Value| json!([{"name": "v", "secret": source["secret"], "configMap": source["configMap"]}]);
        assert_eq!(why(with("volumes", volume(json!({"secret": {"secretName": "s"}})))), refused("secrets"));
        assert_eq!(why(with("volumes", volume(json!({"configMap": {"name": "m"}})))), refused("configmaps"));
        let env = json!([{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]);
        assert_eq!(
            why(json!({"containers": [{"name": "c", "image": "i", "env": env}]})),
            refused("configmaps")
        );
        assert!(
            why(json!({"containers": []})).contains("spec.containers: Required value"),
            "as the API says it"
        );
        assert!(why(with("nodeSelectr", json!({}))).contains("nodeSelectr"));
        let free = with("nodeSelector", json!({"secret": "x"}));
        let pod = static_pod(json!({"metadata": {"name": "own"}, "spec": free})).unwrap();
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(pod.spec.unwrap().restart_policy.as_deref(), Some("Always"));
    }
}
