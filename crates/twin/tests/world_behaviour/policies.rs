//! Admission policies and what controllers make: they are asked about the pods of workloads, as the controllers' accounts.

use crate::fixture::*;
use serde_json::{Value, json};
use twin::apiserver::Verb;
use twin::{Kind, World};

fn kind(api_version: &str, name: &str) -> Kind {
    Kind::of_object(api_version, name).unwrap()
}

fn policy(world: &mut World, kind_name: &str, name: &str, spec: Value, bound: Value) {
    let version = "admissionregistration.k8s.io/v1";
    let mut spec = spec;
    spec["matchConstraints"] = json!({"resourceRules": [
        {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
    let object = |kind: String, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec});
    create(world, kind(version, kind_name), object(kind_name.to_owned(), spec));
    let binding = format!("{kind_name}Binding");
    let mut spec = bound;
    spec["policyName"] = json!(name);
    create(world, kind(version, &binding), object(binding, spec));
}

fn set(name: &str, kind_name: &str) -> Value {
    let container = json!({"name": "main", "image": "web:1", "resources": {"requests": {"cpu": "100m"}}});
    json!({
        "apiVersion": "apps/v1", "kind": kind_name, "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": 1, "serviceName": name, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    })
}

#[test]
fn policies_are_asked_about_pods_of_workloads_as_their_controllers() {
    let mut world = world(1);
    let denied = json!({"validations": [{"message": "no sets of replicas",
        "expression": "request.userInfo.username != 'system:serviceaccount:kube-system:replicaset-controller' || !('system:serviceaccounts:kube-system' in request.userInfo.groups)"},
        {"message": "no Jobs with a token", "expression": "request.userInfo.username != 'system:serviceaccount:kube-system:job-controller' || object.spec.volumes.all(v, !has(v.projected))"}]});
    let deny = json!({"validationActions": ["Deny"]});
    policy(&mut world, "ValidatingAdmissionPolicy", "sets.example.com", denied, deny);
    let changed = json!({"reinvocationPolicy": "Never", "failurePolicy": "Fail", "mutations": [{"patchType": "ApplyConfiguration",
        "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {'seen': object.spec.containers[0].imagePullPolicy}}}"}}]});
    policy(&mut world, "MutatingAdmissionPolicy", "seen.example.com", changed, json!({}));
    create(&mut world, kind("apps/v1", "ReplicaSet"), {
        let mut body = set("refused", "ReplicaSet");
        body["spec"].as_object_mut().unwrap().remove("serviceName");
        body
    });
    create(&mut world, kind("apps/v1", "StatefulSet"), set("taken", "StatefulSet"));
    let container = json!({"name": "main", "image": "web:1"});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "barred", "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}});
    create(&mut world, Kind::Job, job);
    pass(&mut world, 30);
    let said = events(&world, "refused");
    let words = "ValidatingAdmissionPolicy 'sets.example.com' with binding 'sets.example.com' denied request: no sets of replicas";
    assert!(said[0].starts_with("FailedCreate: Error creating: pods \"refused-"), "{said:?}");
    assert!(said[0].ends_with(words), "{said:?}");
    let said = events(&world, "barred");
    assert!(said[0].starts_with("FailedCreate: Error creating: pods \"barred-"), "{said:?}");
    assert!(said[0].ends_with("denied request: no Jobs with a token"), "{said:?}");
    let [pod] = pods(&world).try_into().unwrap();
    assert_eq!(pod["metadata"]["name"], "taken-0");
    // Expressions see what the API server fills in.
    assert_eq!(pod["metadata"]["labels"]["seen"], "IfNotPresent");
    // Once nobody denies them, they are made.
    let gone = json!({"metadata": {"name": "sets.example.com"}});
    let policies = kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    world.request(&kr(), &request(Verb::Delete, policies, gone)).unwrap();
    pass(&mut world, 90);
    assert_eq!(phases(&world), ["Running", "Running", "Running"]);
}
