//! Who may do what where roles rule: over HTTP, as several users.

use crate::memory::Memory;
use axum::body::Body;
use fleet::ClusterId;
use http::Request;
use kubeapi::{Access, Authority};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;
use twin::apiserver::User;
use twin::apiserver::certificates::CertificateRequest;
use twin::apiserver::rbac::bootstrap;
use twin::apiserver::token::Bearer;

/// Believes a token that is a user's name; `NAME+GROUP` is a user of a group.
struct Names;

impl Authority for Names {
    fn sign(&self, claims: &str) -> Option<String> {
        Some(format!("signed:{claims}"))
    }
    fn read(&self, token: &str) -> Bearer {
        if let Some(claims) = token.strip_prefix("signed:") {
            return serde_json::from_str(claims).map_or(Bearer::Unknown, Bearer::Claims);
        }
        let (name, groups) = match token.split_once('+') {
            Some((name, group)) => (name, vec![group.to_owned(), "system:authenticated".to_owned()]),
            None => (token, vec!["system:authenticated".to_owned()]),
        };
        Bearer::User(User { name: name.to_owned(), groups, ..User::default() })
    }
    fn keys(&self) -> Value {
        json!({"keys": []})
    }
    fn algorithms(&self) -> Vec<&'static str> {
        vec!["none"]
    }
    fn check(&self, _: &CertificateRequest) -> Result<(), String> {
        Ok(())
    }
}

const MASTER: &str = "root+system:masters";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

struct Api {
    router: axum::Router,
}

impl Api {
    fn new() -> Api {
        let twin = Memory::new();
        twin.create(twin::Kind::Namespace, "", json!({"metadata": {"name": "kube-system"}}));
        twin.create(twin::Kind::Namespace, "", json!({"metadata": {"name": "kube-public"}}));
        for request in bootstrap::requests() {
            twin.run(&request).unwrap();
        }
        let authority: Arc<dyn Authority> = Arc::new(Names);
        let access = Access { authority: Some(authority), locked: true, rbac: true, ..Access::default() };
        Api { router: kubeapi::router_for(twin, ClusterId::new("kr").unwrap(), access) }
    }

    async fn ask_with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn ask(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {who}");
        self.ask_with(&[("authorization", &bearer)], method, path, body).await
    }

    async fn make(&self, path: &str, body: Value) {
        let (code, answer) = self.ask(MASTER, "POST", path, &body).await;
        assert_eq!(code, 201, "{path}: {answer}");
    }

    async fn bind(&self, namespace: &str, role: &str, user: &str) {
        let body = json!({"metadata": {"name": format!("{user}-{role}")}, "subjects": [{"kind": "User", "name": user}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}});
        let path = match namespace {
            "" => format!("{RBAC}/clusterrolebindings"),
            namespace => format!("{RBAC}/namespaces/{namespace}/rolebindings"),
        };
        self.make(&path, body).await;
    }

    /// What `who` is told of whether they may.
    async fn may(&self, who: &str, attributes: Value) -> (bool, String) {
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let (code, answer) =
            self.ask(who, "POST", path, &json!({"spec": {"resourceAttributes": attributes}})).await;
        assert_eq!(code, 201, "{answer}");
        let status = &answer["status"];
        (status["allowed"] == true, status["reason"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn roles_say_who_may_do_what_and_where() {
    let api = Api::new();
    let pods = "/api/v1/namespaces/work/pods";
    let (code, refused) = api.ask("jane", "GET", pods, &Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"work\""
    );
    assert_eq!((&refused["reason"], &refused["details"]), (&json!("Forbidden"), &json!({"kind": "pods"})));
    // `view` itself gathers its rules from other roles; without its controller it has none yet.
    api.bind("work", "system:aggregate-to-view", "jane").await;
    assert_eq!(api.ask("jane", "GET", pods, &Value::Null).await.0, 200);
    assert_eq!(api.ask("jane", "GET", "/api/v1/pods", &Value::Null).await.0, 403);
    assert_eq!(api.ask("jane", "DELETE", pods, &Value::Null).await.0, 403);
    let namespace = api.ask("jane", "GET", "/api/v1/namespaces/work", &Value::Null).await;
    assert_eq!(namespace.0, 200, "a namespace itself is in the namespace");
    let pod = json!({"verb": "list", "resource": "pods", "namespace": "work"});
    let (may, why) = api.may("jane", pod).await;
    assert!(may && why.contains("RoleBinding \"jane-system:aggregate-to-view/work\""), "{why}");
    // Everybody may see what there is, and what they may do.
    assert_eq!(api.ask("max", "GET", "/apis", &Value::Null).await.0, 200);
    assert_eq!(api.ask("max", "GET", "/metrics", &Value::Null).await.0, 403);
    // What there is not is refused in the same words as what there is.
    assert_eq!(api.ask("max", "GET", "/apis/example.com/v1/gadgets", &Value::Null).await.0, 403);
    assert_eq!(api.ask(MASTER, "GET", "/apis/example.com/v1/gadgets", &Value::Null).await.0, 404);
}

#[tokio::test]
async fn whoever_brings_no_token_is_anonymous() {
    let api = Api::new();
    for (path, code) in [("/version", 200), ("/livez", 200), ("/api/v1/nodes", 403), ("/apis", 403)] {
        assert_eq!(api.ask_with(&[], "GET", path, &Value::Null).await.0, code, "{path}");
    }
    let (_, refused) = api.ask_with(&[], "GET", "/api/v1/nodes", &Value::Null).await;
    let words = refused["message"].as_str().unwrap();
    assert!(words.starts_with("nodes is forbidden: User \"system:anonymous\" cannot list"), "{words}");
}

#[tokio::test]
async fn nobody_is_taken_for_another_without_leave() {
    let api = Api::new();
    let nodes = "/api/v1/nodes";
    let as_jane = |who: &'static str| [("authorization", who), ("impersonate-user", "jane")];
    let (code, refused) = api.ask_with(&as_jane("Bearer max"), "GET", nodes, &Value::Null).await;
    let words = "users \"jane\" is forbidden: User \"max\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope";
    assert_eq!((code, &refused["message"]), (403, &json!(words)));
    let (code, refused) =
        api.ask_with(&as_jane("Bearer root+system:masters"), "GET", nodes, &Value::Null).await;
    assert!(code == 403 && refused["message"].as_str().unwrap().contains("User \"jane\" cannot list"));
    let masters =
        [as_jane("Bearer root+system:masters").as_slice(), &[("impersonate-group", "system:masters")]]
            .concat();
    assert_eq!(api.ask_with(&masters, "GET", nodes, &Value::Null).await.0, 200);
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (_, own) = api.ask_with(&masters, "POST", whoami, &json!({})).await;
    assert_eq!(own["status"]["userInfo"]["username"], "jane");
}

#[tokio::test]
async fn nobody_gives_away_what_they_have_not() {
    let api = Api::new();
    let roles = json!({"metadata": {"name": "role-maker"}, "rules": [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings", "clusterroles"], "verbs": ["create", "update", "patch", "get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    api.make(&format!("{RBAC}/clusterroles"), roles).await;
    api.bind("", "role-maker", "jane").await;
    let path = format!("{RBAC}/namespaces/work/roles");
    let role = |name: &str, verbs: &[&str]| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]});
    assert_eq!(api.ask("jane", "POST", &path, &role("own", &["get"])).await.0, 201);
    let (code, refused) = api.ask("jane", "POST", &path, &role("more", &["get", "delete", "watch"])).await;
    assert_eq!(
        (code, refused["message"].as_str().unwrap()),
        (
            403,
            "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"watch\"]}"
        )
    );
    assert_eq!(api.ask("jane", "PUT", &format!("{path}/own"), &role("own", &["get", "delete"])).await.0, 403);
    let bindings = format!("{RBAC}/namespaces/work/rolebindings");
    let binding = |role: &str| {
        json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "max"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
    };
    assert_eq!(api.ask("jane", "POST", &bindings, &binding("cluster-admin")).await.0, 403);
    let (code, lost) = api.ask("jane", "POST", &bindings, &binding("lost")).await;
    assert_eq!(
        (code, lost["message"].as_str().unwrap()),
        (404, "clusterrole.rbac.authorization.k8s.io \"lost\" not found")
    );
    let gathers = json!({"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    let (code, refused) = api.ask("jane", "POST", &format!("{RBAC}/clusterroles"), &gathers).await;
    assert!(
        code == 403
            && refused["message"]
                .as_str()
                .unwrap()
                .ends_with("must have cluster-admin privileges to use the aggregationRule")
    );
    // With leave to bind this role, and to escalate, they may.
    let leave = json!({"metadata": {"name": "leave"}, "rules": [
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["cluster-admin"], "verbs": ["bind"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}]});
    api.make(&format!("{RBAC}/clusterroles"), leave).await;
    api.bind("work", "leave", "jane").await;
    assert_eq!(api.ask("jane", "POST", &bindings, &binding("cluster-admin")).await.0, 201);
    assert_eq!(api.ask("jane", "POST", &path, &role("more", &["*"])).await.0, 201);
}

#[tokio::test]
async fn reviews_tell_of_others_and_of_all_rules() {
    let api = Api::new();
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let about = |user: &str, groups: Value| json!({"spec": {"user": user, "groups": groups, "nonResourceAttributes": {"verb": "get", "path": "/version"}}});
    let (_, masters) = api.ask(MASTER, "POST", path, &about("x", json!(["system:masters"]))).await;
    assert_eq!(masters["status"]["allowed"], json!(true));
    let (_, nobody) = api.ask(MASTER, "POST", path, &about("x", json!([]))).await;
    assert_eq!(nobody["status"], json!({"allowed": false}));
    assert_eq!(api.ask("jane", "POST", path, &about("x", json!([]))).await.0, 403);
    let (code, wrong) = api.ask(MASTER, "POST", path, &json!({"spec": {}})).await;
    assert!(
        code == 422 && wrong["message"].as_str().unwrap().contains("at least one of user or group"),
        "{wrong}"
    );
    let local = "/apis/authorization.k8s.io/v1/namespaces/work/localsubjectaccessreviews";
    let elsewhere = json!({"spec": {"user": "x", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    assert_eq!(api.ask(MASTER, "POST", local, &elsewhere).await.0, 422);
    let all = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let (_, rules) = api.ask("jane", "POST", all, &json!({"spec": {"namespace": "work"}})).await;
    let resources = rules["status"]["resourceRules"].to_string();
    assert!(resources.contains("selfsubjectaccessreviews") && !resources.contains("pods"), "{rules}");
    assert_eq!(api.ask("jane", "POST", all, &json!({"spec": {}})).await.0, 400);
}

/// A certificate request of OpenSSL's for `/O=dev/O=ops/CN=jane`, as JSON carries it.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIbU1JR05BZ0VBTUNzeEREQUtCZ05WQkFvTUEyUmxkakVNTUFvR0ExVUVDZ3dEYjNCek1RMHdDd1lEVlFRRApEQVJxWVc1bE1Ga3dFd1lIS29aSXpqMENBUVlJS29aSXpqMERBUWNEUWdBRVYwZHNFN3R5RTRiSDAxdmE3a2VNClQ2ekxZZWNic3lnckJ4cVdaTFNMTWFpNVBjWGJWNkw3d05ubXhXNkRsLys3NThKeDJWcFRlbFhBRVAyaThGNkgKLzZBQU1Bb0dDQ3FHU000OUJBTUNBMGdBTUVVQ0lRRHVmbnRJc3pFRGRmVTVDaUd2VVoraG1LYkcrc2I1N2FoNwp5SWxJdmVyYkZBSWdFOU0zblBQbGFPcUxCY2FKbndNTzV2eXU3a25zWEQ4eksxN1c5YktSYjNZPQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

#[tokio::test]
async fn certificates_are_asked_for_and_approved_by_those_who_may() {
    let api = Api::new();
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let asked = json!({"metadata": {"name": "c"}, "spec": {"request": REQUEST, "signerName": "example.com/s", "usages": ["client auth"], "username": "other"}});
    let role = |rules: Value| json!({"metadata": {"name": "r"}, "rules": rules});
    let own = json!({"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests", "certificatesigningrequests/approval"], "verbs": ["create", "get", "update"]});
    api.make(&format!("{RBAC}/clusterroles"), role(json!([own]))).await;
    api.bind("", "r", "jane").await;
    let (code, made) = api.ask("jane", "POST", path, &asked).await;
    assert_eq!((code, &made["spec"]["username"]), (201, &json!("jane")), "{made}");
    let mut approved = made.clone();
    approved["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "R"}]});
    let (code, refused) = api.ask("jane", "PUT", &format!("{path}/c/approval"), &approved).await;
    assert_eq!(code, 403);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .ends_with("user not permitted to approve requests with signerName \"example.com/s\""),
        "{refused}"
    );
    let (code, done) = api.ask(MASTER, "PUT", &format!("{path}/c/approval"), &approved).await;
    assert_eq!(
        (code, &done["status"]["conditions"][0]["lastUpdateTime"]),
        (200, &json!(crate::memory::NOW)),
        "{done}"
    );
    let mut again = done.clone();
    again["status"] = json!({"conditions": []});
    assert_eq!(api.ask(MASTER, "PUT", &format!("{path}/c/status"), &again).await.0, 422);
    // Both verdicts at once are none, and what is no request is not asked.
    let mut both = done.clone();
    both["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "Denied", "status": "True"}));
    let (code, refused) = api.ask(MASTER, "PUT", &format!("{path}/c/approval"), &both).await;
    assert_eq!(
        (code, &refused["details"]["causes"][0]["field"]),
        (422, &json!("status.conditions")),
        "{refused}"
    );
    let wrong = json!({"metadata": {"name": "w"}, "spec": {"request": "LS0t", "signerName": "s", "usages": ["x"], "expirationSeconds": 5}});
    let (code, refused) = api.ask(MASTER, "POST", path, &wrong).await;
    let causes = refused["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes.iter().filter_map(|cause| cause["field"].as_str()).collect();
    let expected = ["spec.request", "spec.usages[0]", "spec.signerName", "spec.expirationSeconds"];
    assert_eq!((code, fields.as_slice()), (422, &expected[..]), "{refused}");
    let words = causes[0]["message"].as_str().unwrap();
    assert_eq!(words, "Invalid value: []byte{0x2d, 0x2d, 0x2d}: PEM block type must be CERTIFICATE REQUEST");
}

#[tokio::test]
async fn a_token_asked_for_over_the_api_is_good_for_it() {
    let api = Api::new();
    api.make("/api/v1/namespaces/work/serviceaccounts", json!({"metadata": {"name": "bot"}})).await;
    let path = "/api/v1/namespaces/work/serviceaccounts/bot/token";
    assert_eq!(api.ask("jane", "POST", path, &json!({"spec": {}})).await.0, 403);
    let (code, answer) = api.ask(MASTER, "POST", path, &json!({"spec": {"audiences": ["vault"]}})).await;
    assert_eq!(code, 201, "{answer}");
    let vault = answer["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(api.ask(&vault, "GET", "/apis", &Value::Null).await.0, 401, "it is for somebody else");
    let (_, answer) = api.ask(MASTER, "POST", path, &json!({"spec": {}})).await;
    let token = answer["status"]["token"].as_str().unwrap();
    let (_, own) =
        api.ask(token, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await;
    assert_eq!(own["status"]["userInfo"]["username"], "system:serviceaccount:work:bot");
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = json!({"spec": {"token": vault, "audiences": ["vault"]}});
    let (_, told) = api.ask(MASTER, "POST", reviews, &review).await;
    assert_eq!(
        (&told["status"]["authenticated"], &told["status"]["audiences"]),
        (&json!(true), &json!(["vault"]))
    );
}
