//! Admission policies over the API: denials, warnings, parameters, variables, types, and mutations.

use crate::memory::{Memory, job, router};
use crate::rest::{JSON, call, get};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

const MERGE: &str = "application/merge-patch+json";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/work/configmaps";

/// What a policy is about: these resources, by all operations a policy of this kind may be about.
fn about(group: &str, plural: &str, operations: &[&str]) -> Value {
    json!({"resourceRules": [{"operations": operations, "apiGroups": [group], "apiVersions": ["v1"], "resources": [plural]}]})
}

async fn make(twin: &Arc<Memory>, plural: &str, kind: &str, name: &str, spec: Value) -> Value {
    let doc = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let (code, made) = call(twin, "POST", &format!("{GROUP}/{plural}"), JSON, &doc).await;
    assert_eq!(code, 201, "{made}");
    made
}

async fn validating(twin: &Arc<Memory>, spec: Value, binding: Value) -> Value {
    let made =
        make(twin, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", "p.example.com", spec).await;
    let mut bound = json!({"policyName": "p.example.com", "validationActions": ["Deny"]});
    for (key, value) in binding.as_object().unwrap() {
        bound[key] = value.clone();
    }
    let plural = "validatingadmissionpolicybindings";
    make(twin, plural, "ValidatingAdmissionPolicyBinding", "b.example.com", bound).await;
    made
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[tokio::test]
async fn what_does_not_hold_is_denied_in_the_policys_words() {
    let twin = Memory::new();
    let spec = json!({"matchConstraints": about("", "configmaps", &["CREATE", "UPDATE", "DELETE"]),
        "matchConditions": [{"name": "not-free", "expression": "!(has(object.metadata.labels) && 'free' in object.metadata.labels)"}],
        "variables": [{"name": "size", "expression": "has(object.data) ? object.data.size() : 0"}, {"name": "many", "expression": "variables.size > 1"}],
        "validations": [{"expression": "request.operation == 'DELETE' || !variables.many",
            "messageExpression": "'%d entries in %s'.format([variables.size, namespaceObject.metadata.name])", "reason": "Forbidden"}]});
    validating(&twin, spec, json!({})).await;
    let (code, denied) = call(&twin, "POST", MAPS, JSON, &config_map("m", json!({"a": "1", "b": "2"}))).await;
    let message = "ValidatingAdmissionPolicy 'p.example.com' with binding 'b.example.com' denied request: 2 entries in work";
    assert_eq!((code, &denied["reason"]), (403, &json!("Forbidden")), "{denied}");
    assert_eq!(denied["message"], format!("configmaps \"m\" is forbidden: {message}"));
    assert_eq!(denied["details"]["causes"], json!([{"message": message}]));
    assert_eq!(call(&twin, "POST", MAPS, JSON, &config_map("m", json!({"a": "1"}))).await.0, 201);
    let one = format!("{MAPS}/m");
    assert_eq!(call(&twin, "PATCH", &one, MERGE, &json!({"data": {"b": "2"}})).await.0, 403);
    let free = json!({"metadata": {"labels": {"free": ""}}, "data": {"b": "2"}});
    assert_eq!(call(&twin, "PATCH", &one, MERGE, &free).await.0, 200);
    // Without an object there is an error, and a policy that fails closed denies.
    let (code, denied) = call(&twin, "DELETE", &one, JSON, &json!({})).await;
    assert_eq!(code, 422, "{denied}");
    assert!(denied["message"].as_str().unwrap().contains("resulted in error: "), "{denied}");
    // Other kinds are not asked about.
    assert_eq!(call(&twin, "POST", "/apis/batch/v1/namespaces/work/jobs", JSON, &job("j")).await.0, 201);
}

#[tokio::test]
async fn a_binding_chooses_namespaces_and_only_warns_where_it_says_so() {
    let twin = Memory::new();
    let spec = json!({"matchConstraints": about("", "configmaps", &["*"]), "validations": [{"expression": "false", "message": "never"}]});
    let picked = json!({"matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "work"}}}, "validationActions": ["Warn", "Audit"]});
    validating(&twin, spec, picked).await;
    let warned = |namespace: &'static str| {
        let twin = twin.clone();
        async move {
            let body = config_map("w", json!({})).to_string();
            let path = format!("/api/v1/namespaces/{namespace}/configmaps");
            let request = Request::post(path).header("content-type", JSON).body(Body::from(body)).unwrap();
            let answer = router(&twin).oneshot(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), 201);
            let warnings = answer.headers().get_all("warning").iter();
            warnings.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    let said = warned("work").await;
    assert!(
        said[0].contains("Validation failed for ValidatingAdmissionPolicy 'p.example.com' with binding 'b.example.com': never"),
        "{said:?}"
    );
    assert!(warned("default").await.is_empty());
}

#[tokio::test]
async fn parameters_are_looked_up_and_may_be_missing() {
    let twin = Memory::new();
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": about("", "secrets", &["CREATE"]),
        "validations": [{"expression": "!has(object.data) || object.data.size() <= int(params.data.most)"}]});
    let reference =
        json!({"paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    validating(&twin, spec, reference).await;
    let secrets = "/api/v1/namespaces/work/secrets";
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "", "b": ""}});
    let (code, denied) = call(&twin, "POST", secrets, JSON, &secret).await;
    assert_eq!(code, 422);
    assert!(denied["message"].as_str().unwrap().contains("no params found for policy binding"), "{denied}");
    let limits = "/api/v1/namespaces/default/configmaps";
    assert_eq!(call(&twin, "POST", limits, JSON, &config_map("limits", json!({"most": "1"}))).await.0, 201);
    let (_, denied) = call(&twin, "POST", secrets, JSON, &secret).await;
    assert!(denied["message"].as_str().unwrap().contains("failed expression: !has(object.data)"), "{denied}");
    let more = json!({"data": {"most": "2"}});
    assert_eq!(call(&twin, "PATCH", &format!("{limits}/limits"), MERGE, &more).await.0, 200);
    assert_eq!(call(&twin, "POST", secrets, JSON, &secret).await.0, 201);
}

#[tokio::test]
async fn types_are_checked_when_a_policy_is_written() {
    let twin = Memory::new();
    let constraints = about("apps", "deployments", &["*"]);
    let spec = |expression: &str, message: &str| json!({"matchConstraints": constraints, "validations": [{"expression": expression, "messageExpression": message}]});
    let good =
        validating(&twin, spec("object.spec.replicas > 1", "'in ' + object.metadata.namespace"), json!({}))
            .await;
    assert_eq!(good["status"]["typeChecking"], json!({}), "{good}");
    let bad = spec("object.spec.replicas > '1'", "'wants more than ' + object.spec.replicas");
    let kind = "ValidatingAdmissionPolicy";
    let made = make(&twin, "validatingadmissionpolicies", kind, "q.example.com", bad).await;
    let warnings = made["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    let said: Vec<_> =
        warnings.iter().map(|w| (w["fieldRef"].as_str().unwrap(), w["warning"].as_str().unwrap())).collect();
    assert_eq!(said[0].0, "spec.validations[0].expression");
    assert!(said[0].1.starts_with("apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"), "{said:?}");
    assert_eq!(said[1].0, "spec.validations[0].messageExpression");
    assert!(
        said[1].1.contains("found no matching overload for '_+_' applied to '(string, int)'"),
        "{said:?}"
    );
    // What does not compile whatever the types is refused.
    let doc = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "r.example.com"}, "spec": spec("1", "'a'")});
    let (code, refused) =
        call(&twin, "POST", &format!("{GROUP}/validatingadmissionpolicies"), JSON, &doc).await;
    assert_eq!(code, 422);
    assert!(refused["message"].as_str().unwrap().contains("must evaluate to bool but got int"), "{refused}");
}

#[tokio::test]
async fn objects_are_changed_on_their_way_in() {
    let twin = Memory::new();
    let spec = json!({"matchConstraints": about("", "configmaps", &["CREATE", "UPDATE"]), "reinvocationPolicy": "Never",
        "variables": [{"name": "who", "expression": "request.userInfo.username"}],
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{metadata: Object.metadata{annotations: {'by': variables.who}}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('a/b'), value: object.metadata.annotations.by + '!'}]"}}]});
    make(&twin, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", "m.example.com", spec).await;
    let bound = json!({"policyName": "m.example.com"});
    make(&twin, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", "mb.example.com", bound)
        .await;
    let (code, made) = call(&twin, "POST", MAPS, JSON, &config_map("m", json!({"a": "1"}))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(
        made["metadata"]["annotations"],
        json!({"by": "kubernetes-admin", "a/b": "kubernetes-admin!"}),
        "{made}"
    );
    // A list that is one value may not be laid over.
    let spec = json!({"matchConstraints": about("", "services", &["CREATE"]), "reinvocationPolicy": "Never", "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{spec: Object.spec{externalIPs: ['1.2.3.4']}}"}}]});
    make(&twin, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", "n.example.com", spec).await;
    let bound = json!({"policyName": "n.example.com"});
    make(&twin, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", "nb.example.com", bound)
        .await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let (code, denied) = call(&twin, "POST", "/api/v1/namespaces/work/services", JSON, &service).await;
    assert_eq!(
        (code, &denied["message"]),
        (
            422,
            &json!(
                "policy 'n.example.com' with binding 'nb.example.com' denied request: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.externalIPs"
            )
        )
    );
    assert_eq!(get(&twin, "/api/v1/namespaces/work/services/s", JSON).await.0, 404);
}

#[tokio::test]
async fn scale_binding_and_eviction_are_asked_about_with_who_asks() {
    let twin = Memory::new();
    let rules = json!({"resourceRules": [{"operations": ["*"], "apiGroups": ["", "apps"], "apiVersions": ["v1"],
        "resources": ["deployments/scale", "pods/binding", "pods/eviction", "configmaps"]}]});
    let validations = json!([
        {"expression": "request.kind.kind != 'Scale' || object.spec.replicas <= oldObject.spec.replicas + 1", "message": "one at a time"},
        {"expression": "request.kind.kind != 'Binding' || object.target.name != 'bad'", "message": "not there"},
        {"expression": "request.kind.kind != 'Eviction' || request.userInfo.username == 'jane'", "message": "jane alone evicts"},
        {"expression": "request.resource.resource != 'configmaps' || 'system:masters' in request.userInfo.groups", "message": "masters alone"}]);
    validating(&twin, json!({"matchConstraints": rules, "validations": validations}), json!({})).await;
    let refused = |answer: (u16, Value), words: &str| {
        assert_eq!(answer.0, 422, "{}", answer.1);
        assert!(answer.1["message"].as_str().unwrap().ends_with(words), "{}", answer.1);
    };
    let container = json!({"name": "c", "image": "i"});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}}});
    let deployments = "/apis/apps/v1/namespaces/work/deployments";
    assert_eq!(call(&twin, "POST", deployments, JSON, &deployment).await.0, 201);
    let scale = format!("{deployments}/d/scale");
    let to = |replicas: i64| json!({"spec": {"replicas": replicas}});
    refused(call(&twin, "PATCH", &scale, MERGE, &to(5)).await, "one at a time");
    let (code, scaled) = call(&twin, "PATCH", &scale, MERGE, &to(2)).await;
    assert_eq!((code, &scaled["kind"], &scaled["spec"]["replicas"]), (200, &json!("Scale"), &json!(2)));
    let pods = "/api/v1/namespaces/work/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}});
    assert_eq!(call(&twin, "POST", pods, JSON, &pod).await.0, 201);
    let bind = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    refused(call(&twin, "POST", &format!("{pods}/p/binding"), JSON, &bind("bad")).await, "not there");
    assert_eq!(call(&twin, "POST", &format!("{pods}/p/binding"), JSON, &bind("good")).await.0, 201);
    let evict = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    refused(call(&twin, "POST", &format!("{pods}/p/eviction"), JSON, &evict).await, "jane alone evicts");
    let as_jane = |path: String, body: Value| {
        let twin = twin.clone();
        async move {
            let request = Request::post(path).header("content-type", JSON).header("impersonate-user", "jane");
            let answer = router(&twin).oneshot(request.body(Body::from(body.to_string())).unwrap()).await;
            answer.unwrap().status().as_u16()
        }
    };
    assert_eq!(as_jane(format!("{pods}/p/eviction"), evict).await, 201);
    assert_eq!(as_jane(MAPS.to_owned(), config_map("m", json!({}))).await, 422);
    assert_eq!(call(&twin, "POST", MAPS, JSON, &config_map("m", json!({}))).await.0, 201);
}
