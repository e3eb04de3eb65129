//! Admission webhooks over the API: who is asked what, and what the answers do. Those who answer are functions here; that a
//! real server is asked over TLS is the server's to test.

use crate::memory::{Memory, job};
use axum::body::Body;
use fleet::{ClusterId, Instant};
use futures::future::BoxFuture;
use http::Request;
use kubeapi::{Access, Webhooks};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tower::ServiceExt;
use twin::apiserver::Call;
use twin::{Objects, Response, Status};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const MAPS: &str = "/api/v1/namespaces/work/configmaps";

/// What a webhook answers: the response without its uid, or what went wrong.
type Say = Box<dyn Fn(&Value) -> Result<Value, String> + Send + Sync>;

/// Answers for all webhooks by their addresses, and remembers what was asked.
struct Board {
    say: Vec<(&'static str, Say)>,
    asked: Mutex<Vec<(String, Value)>>,
    /// Done before each answer.
    meanwhile: Box<dyn Fn(&Memory) + Send + Sync>,
    twin: Arc<Memory>,
}

impl Webhooks for Board {
    fn ask(&self, call: &Call) -> BoxFuture<'static, Result<Value, String>> {
        (self.meanwhile)(&self.twin);
        let request = &call.review["request"];
        self.asked.lock().unwrap().push((call.webhook.clone(), request.clone()));
        let (_, say) = self.say.iter().find(|(url, _)| *url == call.url).unwrap();
        let answer = say(request).map(|mut response| {
            if response["uid"].is_null() {
                response["uid"] = request["uid"].clone();
            }
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
        });
        Box::pin(async move { answer })
    }
}

/// A twin with a log of what was asked of it.
struct Logged {
    twin: Arc<Memory>,
    log: Mutex<Vec<String>>,
}

impl kubeapi::Twin for Logged {
    fn read(&self, cluster: &ClusterId, read: &mut dyn FnMut(&Objects, Instant)) -> bool {
        self.twin.read(cluster, read)
    }
    fn write(
        &self,
        cluster: &ClusterId,
        request: twin::Request,
    ) -> BoxFuture<'static, Result<Response, Status>> {
        self.log.lock().unwrap().push(serde_json::to_string(&request).unwrap());
        self.twin.write(cluster, request)
    }
    fn changed(&self, cluster: &ClusterId, seen: u64) -> BoxFuture<'static, ()> {
        self.twin.changed(cluster, seen)
    }
}

struct Api {
    board: Arc<Board>,
    logged: Arc<Logged>,
    router: axum::Router,
}

fn nothing(_: &Memory) {}

impl Api {
    fn with(say: Vec<(&'static str, Say)>, meanwhile: impl Fn(&Memory) + Send + Sync + 'static) -> Api {
        let twin = Memory::new();
        let (asked, meanwhile) = (Mutex::default(), Box::new(meanwhile));
        let board = Arc::new(Board { say, asked, meanwhile, twin: twin.clone() });
        let access = Access { webhooks: Some(board.clone()), ..Access::default() };
        let logged = Arc::new(Logged { twin, log: Mutex::default() });
        let router = kubeapi::router_for(logged.clone(), ClusterId::new("kr").unwrap(), access);
        Api { board, logged, router }
    }

    async fn call(&self, method: &str, path: &str, media: &str, body: &Value) -> (u16, Value, Vec<String>) {
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|value| value.to_str().unwrap().to_owned()).collect();
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (code, serde_json::from_slice(&bytes).unwrap(), warnings)
    }

    /// Makes a configuration of one kind with these webhooks.
    async fn configure(&self, mutating: bool, name: &str, webhooks: Value) -> (u16, Value, Vec<String>) {
        let (plural, kind) = if mutating {
            ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration")
        } else {
            ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration")
        };
        let doc = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": webhooks});
        self.call("POST", &format!("/apis/admissionregistration.k8s.io/v1/{plural}"), JSON, &doc).await
    }

    /// Names of the webhooks asked since the last time.
    fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.board.asked.lock().unwrap())
    }
}

fn webhook(name: &str, url: &str, more: Value) -> Value {
    let mut webhook = json!({"name": name, "clientConfig": {"url": url}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    for (key, value) in more.as_object().unwrap() {
        webhook[key] = value.clone();
    }
    webhook
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// A response with a patch: `[{"op": "add", "path": "/data/KEY", "value": "VALUE"}]`.
fn adds(key: &str, value: &str) -> Value {
    let patch = json!([{"op": "add", "path": format!("/data/{key}"), "value": value}]).to_string();
    json!({"allowed": true, "patchType": "JSONPatch", "patch": base64(patch.as_bytes())})
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = char::from(ALPHABET[(word >> (18 - 6 * i)) as usize & 63]);
            text.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[tokio::test]
async fn a_denial_is_in_the_webhooks_words_and_changes_nothing() {
    let say: Say = Box::new(|request| {
        let gone = request["operation"] == "DELETE";
        let big = request["object"]["data"].as_object().is_some_and(|data| data.len() > 1);
        Ok(if gone || big {
            json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "one entry is enough"}})
        } else {
            json!({"allowed": true, "warnings": ["seen"]})
        })
    });
    let api = Api::with(vec![("https://h/check", say)], nothing);
    let hook = webhook("check.example.com", "https://h/check", json!({}));
    assert_eq!(api.configure(false, "v", json!([hook])).await.0, 201);
    let (code, refused, _) =
        api.call("POST", MAPS, JSON, &config_map("m", json!({"a": "1", "b": "2"}))).await;
    assert_eq!((code, &refused["reason"]), (403, &json!("Forbidden")));
    let words = "admission webhook \"check.example.com\" denied the request: one entry is enough";
    assert_eq!(refused["message"], words);
    let (_, request) = api.asked().remove(0);
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(
        (&request["operation"], &request["namespace"], &request["name"]),
        (&json!("CREATE"), &json!("work"), &json!("m"))
    );
    assert_eq!(request["oldObject"], Value::Null);
    assert_eq!(request["options"]["kind"], "CreateOptions");
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    // The object it was told of is the one that is stored.
    let (code, made, warnings) = api.call("POST", MAPS, JSON, &config_map("m", json!({"a": "1"}))).await;
    assert_eq!((code, warnings), (201, vec!["299 - \"seen\"".to_owned()]));
    assert_eq!(made["metadata"]["uid"], api.asked()[0].1["object"]["metadata"]["uid"]);
    let one = format!("{MAPS}/m");
    let (code, ..) = api.call("PATCH", &one, MERGE, &json!({"data": {"b": "2"}})).await;
    assert_eq!((code, api.asked()[0].1["oldObject"]["data"].clone()), (403, json!({"a": "1"})));
    // Neither one nor all can be deleted, and a refusal leaves all.
    assert_eq!(api.call("DELETE", &one, JSON, &json!({})).await.0, 403);
    assert_eq!(api.asked()[0].1["object"], Value::Null);
    api.call("POST", MAPS, JSON, &config_map("n", json!({"a": "1"}))).await;
    assert_eq!(api.call("DELETE", MAPS, JSON, &json!({})).await.0, 403);
    assert_eq!(api.board.twin.with(|objects| objects.count(twin::Kind::ConfigMap)), 2);
    // What else there is nobody is asked about.
    api.asked();
    assert_eq!(api.call("POST", "/apis/batch/v1/namespaces/work/jobs", JSON, &job("j")).await.0, 201);
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn patches_follow_one_another_and_who_wants_to_is_asked_again() {
    let first: Say = Box::new(|request| {
        let size = request["object"]["data"].as_object().map_or(0, |data| data.len());
        Ok(adds("size", &size.to_string()))
    });
    let second: Say = Box::new(|_| Ok(adds("second", "yes")));
    let api = Api::with(vec![("https://h/1", first), ("https://h/2", second)], nothing);
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let hooks = json!([
        webhook("a.example.com", "https://h/1", again),
        webhook("b.example.com", "https://h/2", json!({}))
    ]);
    assert_eq!(api.configure(true, "m", hooks).await.0, 201);
    let sent = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}, "data": {"a": "1"}});
    let (code, made, _) = api.call("POST", &format!("{MAPS}?dryRun=All"), JSON, &sent).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(api.asked()[0].1["dryRun"], true);
    let (code, made, _) = api.call("POST", MAPS, JSON, &sent).await;
    assert_eq!((code, &made["data"]), (201, &json!({"a": "1", "size": "3", "second": "yes"})));
    let asked = api.asked();
    let names: Vec<&str> = asked.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.example.com", "b.example.com", "a.example.com"]);
    // A name that is to be made is made last.
    assert_eq!(asked[0].1["object"]["metadata"].get("name"), None);
    assert!(made["metadata"]["name"].as_str().unwrap().starts_with("g-"));
}

#[tokio::test]
async fn selectors_conditions_and_failures_decide_who_counts() {
    let fails: Say = Box::new(|_| Err("Post \"https://h/1?timeout=10s\": connection refused".to_owned()));
    let odd: Say = Box::new(|_| Ok(json!({"allowed": true, "uid": "another"})));
    let api = Api::with(vec![("https://h/1", fails), ("https://h/2", odd)], nothing);
    let chosen = json!({"objectSelector": {"matchLabels": {"check": "yes"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "work"}},
        "matchConditions": [{"name": "not-free", "expression": "!('free' in object.data)"}]});
    assert_eq!(
        api.configure(false, "v", json!([webhook("a.example.com", "https://h/1", chosen)])).await.0,
        201
    );
    let map = |name: &str, data: Value| {
        let mut map = config_map(name, data);
        map["metadata"]["labels"] = json!({"check": "yes"});
        map
    };
    assert_eq!(api.call("POST", MAPS, JSON, &config_map("unlabelled", json!({"a": ""}))).await.0, 201);
    assert_eq!(api.call("POST", MAPS, JSON, &map("free", json!({"free": ""}))).await.0, 201);
    let elsewhere = "/api/v1/namespaces/default/configmaps";
    assert_eq!(api.call("POST", elsewhere, JSON, &map("elsewhere", json!({"a": ""}))).await.0, 201);
    assert!(api.asked().is_empty());
    let (code, refused, _) = api.call("POST", MAPS, JSON, &map("m", json!({"a": ""}))).await;
    assert_eq!((code, &refused["reason"]), (500, &json!("InternalError")));
    let words = "Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: Post \"https://h/1?timeout=10s\": connection refused";
    assert_eq!(refused["message"], words);
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v";
    let (code, ..) = api
        .call(
            "PATCH",
            path,
            "application/json-patch+json",
            &json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]),
        )
        .await;
    assert_eq!(code, 200);
    assert_eq!(api.call("POST", MAPS, JSON, &map("m", json!({"a": ""}))).await.0, 201);
    // An answer to another question is none.
    api.configure(false, "w", json!([webhook("b.example.com", "https://h/2", json!({}))])).await;
    let (code, refused, _) = api.call("POST", MAPS, JSON, &config_map("n", json!({}))).await;
    let message = refused["message"].as_str().unwrap();
    assert!(
        code == 500 && message.contains("received invalid webhook response: expected response.uid="),
        "{message}"
    );
}

#[tokio::test]
async fn an_object_that_changes_meanwhile_is_asked_about_again() {
    let changed = Mutex::new(false);
    let meanwhile = move |twin: &Memory| {
        if !std::mem::replace(&mut *changed.lock().unwrap(), true) {
            let value = json!({"metadata": {"name": "m", "namespace": "work"}, "data": {"a": "other"}});
            let object = twin::Object::from_value(twin::Kind::ConfigMap, &value).unwrap();
            twin.with(|objects| objects.put(object));
        }
    };
    let say: Say = Box::new(|_| Ok(json!({"allowed": true})));
    let api = Api::with(vec![("https://h/check", say)], meanwhile);
    api.call("POST", MAPS, JSON, &config_map("m", json!({"a": "1"}))).await;
    api.configure(false, "v", json!([webhook("check.example.com", "https://h/check", json!({}))])).await;
    let (code, after, _) = api.call("PATCH", &format!("{MAPS}/m"), MERGE, &json!({"data": {"b": "2"}})).await;
    assert_eq!((code, &after["data"]), (200, &json!({"a": "other", "b": "2"})));
    let asked = api.asked();
    let seen: Vec<&Value> = asked.iter().map(|(_, request)| &request["oldObject"]["data"]["a"]).collect();
    assert_eq!(seen, ["1", "other"]);
}

#[tokio::test]
async fn webhooks_of_services_are_not_asked_and_said_so() {
    let api = Api::with(Vec::new(), nothing);
    let service = json!({"clientConfig": {"service": {"namespace": "work", "name": "hook"}}});
    let mut hook = webhook("a.example.com", "", service);
    hook["clientConfig"].as_object_mut().unwrap().remove("url");
    let (code, _, warnings) = api.configure(false, "v", json!([hook])).await;
    assert_eq!((code, warnings.len()), (201, 1), "{warnings:?}");
    assert!(warnings[0].contains("webhooks without a clientConfig.url are not asked"), "{warnings:?}");
    assert_eq!(api.call("POST", MAPS, JSON, &config_map("m", json!({}))).await.0, 201);
    // One about pods is asked, whoever makes them: there is nothing to be said.
    let mut pods = webhook("b.example.com", "https://h", json!({}));
    pods["rules"] =
        json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
    let (code, _, warnings) = api.configure(false, "p", json!([pods])).await;
    assert_eq!((code, warnings.len()), (201, 0), "{warnings:?}");
    // Nothing is asked about webhooks themselves.
    let (code, refused, _) =
        api.configure(false, "w", json!([webhook("a.example.com", "http://h", json!({}))])).await;
    assert_eq!(code, 422, "{refused}");
}

#[tokio::test]
async fn a_log_brings_back_the_same_bytes_without_asking_anybody() {
    let patches: Say = Box::new(|_| Ok(adds("patched", "yes")));
    let judges: Say = Box::new(|request| Ok(json!({"allowed": request["object"]["data"]["a"] != "bad"})));
    let api = Api::with(vec![("https://h/1", patches), ("https://h/2", judges)], nothing);
    api.configure(true, "m", json!([webhook("a.example.com", "https://h/1", json!({}))])).await;
    api.configure(false, "v", json!([webhook("b.example.com", "https://h/2", json!({}))])).await;
    let made = |a: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}, "data": {"a": a}});
    let mut names = Vec::new();
    for a in ["1", "bad", "2"] {
        let (code, made, _) = api.call("POST", MAPS, JSON, &made(a)).await;
        assert_eq!(code, if a == "bad" { 400 } else { 201 }, "{made}");
        names.push(made["metadata"]["name"].clone());
    }
    let again = Memory::new();
    for line in &*api.logged.log.lock().unwrap() {
        // What was refused, or had to wait, is refused or waits again.
        let _ = again.run(&serde_json::from_str(line).unwrap());
    }
    let saved = |twin: &Memory| twin.with(|objects| serde_json::to_string(objects).unwrap());
    assert_eq!(saved(&again), saved(&api.board.twin));
    assert!(saved(&again).contains(names[2].as_str().unwrap()));
}
