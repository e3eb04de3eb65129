//! Single requests: bodies, codes, forms.

use crate::memory::{Memory, job, router};
use axum::body::Body;
use http::{Request, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

pub const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

async fn send(twin: &Arc<Memory>, request: Request<Body>) -> Response<Body> {
    router(twin).oneshot(request).await.unwrap()
}

async fn document(response: Response<Body>) -> (u16, Value) {
    let code = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
    (code, serde_json::from_slice(&bytes).unwrap())
}

pub async fn get(twin: &Arc<Memory>, path: &str, accept: &str) -> (u16, Value) {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    document(send(twin, request).await).await
}

pub async fn call(twin: &Arc<Memory>, method: &str, path: &str, media: &str, body: &Value) -> (u16, Value) {
    call_as(twin, method, path, media, "test/1.0", &body.to_string()).await
}

/// As a program of this name; the body as it is.
pub async fn call_as(
    twin: &Arc<Memory>,
    method: &str,
    path: &str,
    media: &str,
    agent: &str,
    body: &str,
) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", media).header("user-agent", agent);
    document(send(twin, request.body(Body::from(body.to_owned())).unwrap()).await).await
}

#[tokio::test]
async fn a_job_is_created_read_changed_and_deleted() {
    let twin = Memory::new();
    let mut sent = job("a");
    // Amounts may be numbers, and are stored in canonical form.
    sent["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] =
        json!({"cpu": 0.5, "memory": "1024Mi"});
    let (code, made) = call(&twin, "POST", "/apis/batch/v1/namespaces/work/jobs", JSON, &sent).await;
    assert_eq!(code, 201, "{made}");
    let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(made["metadata"]["creationTimestamp"], crate::memory::NOW);
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["spec"]["backoffLimit"], 6);
    assert_eq!(made["spec"]["completions"], 1);
    assert_eq!(made["spec"]["podReplacementPolicy"], "TerminatingOrFailed");
    assert_eq!(made["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], uid.as_str());
    assert_eq!(made["spec"]["template"]["metadata"]["labels"]["job-name"], "a");
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!(container["imagePullPolicy"], "Always");

    let item = "/apis/batch/v1/namespaces/work/jobs/a";
    let (_, read) = get(&twin, item, JSON).await;
    assert_eq!(read, made);
    let (code, again) = call(&twin, "POST", "/apis/batch/v1/namespaces/work/jobs", JSON, &job("a")).await;
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(again["message"], "jobs.batch \"a\" already exists");

    // A patch that changes nothing gives no new version; one that changes the spec a new generation.
    let (code, same) = call(&twin, "PATCH", item, MERGE, &json!({"spec": {"suspend": true}})).await;
    assert_eq!((code, &same), (200, &made));
    let (_, resumed) = call(&twin, "PATCH", item, MERGE, &json!({"spec": {"suspend": false}})).await;
    assert_eq!(resumed["metadata"]["generation"], 2);
    let wrong = json!({"metadata": {"uid": "somebody-else"}, "spec": {"suspend": true}});
    let (code, conflict) = call(&twin, "PATCH", item, MERGE, &wrong).await;
    assert_eq!((code, &conflict["reason"]), (409, &json!("Conflict")));
    let message = conflict["message"].as_str().unwrap();
    assert!(message.contains("Precondition failed: UID in precondition: somebody-else"), "{message}");
    let stale = json!({"metadata": {"resourceVersion": "1"}});
    assert_eq!(call(&twin, "PATCH", item, MERGE, &stale).await.0, 409);

    let (code, gone) = call(&twin, "DELETE", item, JSON, &json!({"propagationPolicy": "Background"})).await;
    assert_eq!((code, &gone["status"], &gone["details"]["uid"]), (200, &json!("Success"), &json!(uid)));
    let (code, missing) = get(&twin, item, JSON).await;
    assert_eq!((code, &missing["message"]), (404, &json!("jobs.batch \"a\" not found")));
}

#[tokio::test]
async fn a_bad_job_is_refused_in_the_servers_words() {
    let twin = Memory::new();
    let mut bad = job("bad");
    bad["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    bad["spec"]["template"]["spec"]["containers"][0]["image"] = json!("");
    let jobs = "/apis/batch/v1/namespaces/work/jobs";
    let (code, refusal) = call(&twin, "POST", jobs, JSON, &bad).await;
    assert_eq!(code, 422);
    assert_eq!(
        refusal["message"],
        "Job.batch \"bad\" is invalid: [spec.template.spec.containers[0].image: Required value, spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"]"
    );
    assert_eq!(refusal["details"]["causes"][1]["field"], "spec.template.spec.restartPolicy");
    assert_eq!(refusal["details"]["kind"], "Job");

    let mut unknown = job("x");
    unknown["spec"]["paralelism"] = json!(2);
    let (code, strict) = call(&twin, "POST", &format!("{jobs}?fieldValidation=Strict"), JSON, &unknown).await;
    assert_eq!(code, 400);
    assert!(
        strict["message"]
            .as_str()
            .unwrap()
            .ends_with("strict decoding error: unknown field \"spec.paralelism\""),
        "{strict}"
    );
    let request = Request::post(jobs).header("content-type", JSON);
    let warned = send(&twin, request.body(Body::from(unknown.to_string())).unwrap()).await;
    assert_eq!(warned.status(), 201);
    assert_eq!(warned.headers()["warning"], "299 - \"unknown field \\\"spec.paralelism\\\"\"");

    let mut typed = job("y");
    typed["spec"]["parallelism"] = json!("two");
    let (code, refusal) = call(&twin, "POST", jobs, JSON, &typed).await;
    assert_eq!(code, 400);
    let message = refusal["message"].as_str().unwrap();
    assert!(message.starts_with("Job in version \"v1\" cannot be handled as a Job: json: cannot unmarshal string into Go struct field JobSpec.spec.parallelism of type int32"), "{message}");

    let mut amount = job("z");
    amount["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("half");
    let (code, refusal) = call(&twin, "POST", jobs, JSON, &amount).await;
    assert_eq!(code, 400);
    let message = refusal["message"].as_str().unwrap();
    assert!(
        message.contains("resources.requests.cpu: quantities must match the regular expression"),
        "{message}"
    );

    let (code, refusal) = call(&twin, "POST", "/apis/batch/v1/namespaces/nope/jobs", JSON, &job("n")).await;
    assert_eq!((code, &refusal["message"]), (404, &json!("namespaces \"nope\" not found")));
}

#[tokio::test]
async fn the_status_of_a_held_job_follows_the_rules() {
    let twin = Memory::new();
    call(&twin, "POST", "/apis/batch/v1/namespaces/work/jobs", JSON, &job("m")).await;
    let status = "/apis/batch/v1/namespaces/work/jobs/m/status";
    let item = "/apis/batch/v1/namespaces/work/jobs/m";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "r", "message": "m"});
    let write = |body: Value| {
        let twin = twin.clone();
        async move { call(&twin, "PATCH", status, MERGE, &json!({"status": body})).await }
    };
    let refused = |answer: (u16, Value), why: &str| {
        assert_eq!(answer.0, 422, "{}", answer.1);
        assert!(answer.1["message"].as_str().unwrap().contains(why), "{}", answer.1["message"]);
    };
    assert_eq!(write(json!({"conditions": [condition("Suspended")]})).await.0, 200);
    let (_, table) = get(&twin, item, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!(table["rows"][0]["cells"][1], "Suspended");
    call(&twin, "PATCH", item, MERGE, &json!({"spec": {"suspend": false}})).await;
    let (code, started) =
        write(json!({"startTime": "2026-05-01T08:00:00Z", "active": 2, "ready": 1, "conditions": null}))
            .await;
    assert_eq!((code, &started["metadata"]["generation"]), (200, &json!(2)));
    refused(
        write(json!({"startTime": "2026-05-01T08:30:00Z"})).await,
        "field is immutable for unsuspended job once set",
    );
    refused(write(json!({"ready": 3})).await, "cannot set more ready pods than active");
    refused(
        write(json!({"completionTime": "2026-05-01T08:59:00Z"})).await,
        "cannot set completionTime when there is no Complete=True condition",
    );
    refused(
        write(json!({"active": 0, "ready": 0, "completionTime": "2026-05-01T08:59:00Z", "conditions": [condition("Complete")]})).await,
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
    refused(
        write(json!({"active": 0, "ready": 0, "conditions": [condition("Failed")]})).await,
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    // Paused: without a start, then resumed with a new one.
    call(&twin, "PATCH", item, MERGE, &json!({"spec": {"suspend": true}})).await;
    assert_eq!(write(json!({"startTime": null, "active": 0, "ready": 0})).await.0, 200);
    call(&twin, "PATCH", item, MERGE, &json!({"spec": {"suspend": false}})).await;
    refused(
        write(json!({"completionTime": "2026-05-01T08:59:00Z", "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]})).await,
        "startTime is required for finished job",
    );
    assert_eq!(write(json!({"startTime": "2026-05-01T08:40:00Z"})).await.0, 200);
    let done = json!({"completionTime": "2026-05-01T08:59:00Z", "succeeded": 1, "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]});
    assert_eq!(write(done).await.0, 200);
    refused(write(json!({"conditions": []})).await, "cannot disable the terminal Complete=True condition");
    // The status endpoint leaves the spec alone, the main one the status.
    let (_, same) = call(&twin, "PATCH", status, MERGE, &json!({"spec": {"parallelism": 9}})).await;
    assert_eq!(same["spec"]["parallelism"], 1);
    let (_, same) = call(&twin, "PATCH", item, MERGE, &json!({"status": {"succeeded": 9}})).await;
    assert_eq!(same["status"]["succeeded"], 1);
    refused(
        call(&twin, "PATCH", item, MERGE, &json!({"spec": {"managedBy": "a.io/b"}})).await,
        "spec.managedBy: Invalid value: \"a.io/b\": field is immutable",
    );
}

#[tokio::test]
async fn lists_page_select_and_come_in_every_form() {
    let twin = Memory::new();
    for i in 0..5 {
        let map = json!({"metadata": {"name": format!("c{i}"), "labels": {"n": i.to_string()}}, "data": {"k": "v"}});
        twin.create(twin::Kind::ConfigMap, if i < 4 { "work" } else { "default" }, map);
    }
    let names = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, first) = get(&twin, "/api/v1/namespaces/work/configmaps?limit=2", JSON).await;
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["c0".into(), "c1".into()], &json!(2))
    );
    assert_eq!(first["kind"], "ConfigMapList");
    // What happens between pages does not show in them.
    twin.create(twin::Kind::ConfigMap, "work", json!({"metadata": {"name": "c2x"}}));
    twin.with(|objects| objects.remove(twin::Kind::ConfigMap, "work", "c3"));
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) =
        get(&twin, &format!("/api/v1/namespaces/work/configmaps?limit=2&continue={token}"), JSON).await;
    assert_eq!(names(&second), ["c2", "c3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let (_, all) = get(&twin, "/api/v1/configmaps?labelSelector=n%20in%20(0,4)", JSON).await;
    assert_eq!(names(&all), ["c4", "c0"]);
    let (_, one) = get(&twin, "/api/v1/configmaps?fieldSelector=metadata.name%3Dc1", JSON).await;
    assert_eq!(names(&one), ["c1"]);
    let (code, wrong) = get(&twin, "/api/v1/configmaps?fieldSelector=spec.x%3D1", JSON).await;
    assert_eq!(code, 400);
    assert!(wrong["message"].as_str().unwrap().ends_with("field label not supported: spec.x"), "{wrong}");
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let (_, partial) = get(&twin, "/api/v1/namespaces/default/configmaps", partial).await;
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0].get("data"), None);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    let (_, table) = get(&twin, "/api/v1/nodes", table).await;
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..5],
        [json!("n1"), json!("Ready"), json!("<none>"), json!("0s"), json!("v1.36.3")]
    );
    assert_eq!(get(&twin, "/api/v1/nodes", "application/cbor").await.0, 406);
    assert_eq!(get(&twin, "/api/v1/gadgets", JSON).await.0, 404);
    assert_eq!(get(&twin, "/api/v1/nodes?resourceVersion=999", JSON).await.0, 504);
}

#[tokio::test]
async fn a_long_list_comes_in_parts_that_make_one_document() {
    let twin = Memory::new();
    let text = "x".repeat(1000);
    for i in 0..300 {
        let map =
            json!({"metadata": {"name": format!("m-{i:03}"), "namespace": "work"}, "data": {"text": text}});
        let object = twin::Object::from_value(twin::Kind::ConfigMap, &map).unwrap();
        twin.with(|objects| objects.put(object));
    }
    let path = "/api/v1/namespaces/work/configmaps";
    let answer = send(&twin, Request::get(path).body(Body::empty()).unwrap()).await;
    let mut parts = answer.into_body().into_data_stream();
    let (mut whole, mut count, mut longest) = (Vec::new(), 0, 0);
    while let Some(part) = futures::StreamExt::next(&mut parts).await {
        let part = part.unwrap();
        (count, longest) = (count + 1, longest.max(part.len()));
        whole.extend_from_slice(&part);
    }
    assert!(count > 3 && longest < 80 * 1024, "{count} parts, {longest} bytes");
    let list: Value = serde_json::from_slice(&whole).unwrap();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!((names.len(), names[0], names[299]), (300, "m-000", "m-299"));
    assert_eq!((&list["kind"], &list["items"][7]["data"]["text"]), (&json!("ConfigMapList"), &json!(text)));
}

#[tokio::test]
async fn pods_bind_end_with_grace_and_have_no_logs() {
    let twin = Memory::new();
    let pod = json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "a/b:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}});
    let (code, pod) = call(&twin, "POST", "/api/v1/namespaces/work/pods", JSON, &pod).await;
    assert_eq!(code, 201, "{pod}");
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("p-") && name.len() == 7, "{name}");
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(pod["spec"]["priority"], 0);
    let item = format!("/api/v1/namespaces/work/pods/{name}");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(call(&twin, "POST", &format!("{item}/binding"), JSON, &binding).await.0, 201);
    assert_eq!(call(&twin, "POST", &format!("{item}/binding"), JSON, &binding).await.0, 409);
    let (_, bound) = get(&twin, &item, JSON).await;
    assert_eq!(
        (&bound["spec"]["nodeName"], &bound["status"]["conditions"][0]["type"]),
        (&json!("n1"), &json!("PodScheduled"))
    );
    let (_, refused) = call(
        &twin,
        "PATCH",
        &item,
        STRATEGIC,
        &json!({"spec": {"containers": [{"name": "c", "command": ["x"]}]}}),
    )
    .await;
    assert!(
        refused["message"].as_str().unwrap().contains("pod updates may not change fields other than"),
        "{refused}"
    );
    let (_, image) = call(
        &twin,
        "PATCH",
        &item,
        STRATEGIC,
        &json!({"spec": {"containers": [{"name": "c", "image": "a/b:2"}]}}),
    )
    .await;
    assert_eq!(image["spec"]["containers"][0]["image"], "a/b:2");
    let (code, log) = get(&twin, &format!("{item}/log?follow=true"), "*/*").await;
    assert_eq!(code, 400);
    assert!(
        log["message"].as_str().unwrap().contains("write no logs; see \"kubectl describe pod/p-"),
        "{log}"
    );
    assert_eq!(call(&twin, "POST", &format!("{item}/exec?command=ls"), JSON, &Value::Null).await.0, 400);

    let (_, ending) = call(&twin, "DELETE", &item, JSON, &json!({"gracePeriodSeconds": 10})).await;
    assert_eq!(ending["metadata"]["deletionTimestamp"], "2026-05-01T09:00:10Z");
    assert_eq!(ending["metadata"]["deletionGracePeriodSeconds"], 10);
    assert_eq!(get(&twin, &item, JSON).await.0, 200);
    call(&twin, "DELETE", &item, JSON, &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(get(&twin, &item, JSON).await.0, 404);
}

#[tokio::test]
async fn finalizers_hold_and_owners_wait() {
    let twin = Memory::new();
    let mut held = job("held");
    held["metadata"]["finalizers"] = json!(["kubercarbon.io/remote-copy"]);
    let (_, made) = call(&twin, "POST", "/apis/batch/v1/namespaces/work/jobs", JSON, &held).await;
    let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "held", "uid": made["metadata"]["uid"], "controller": true});
    twin.create(
        twin::Kind::ConfigMap,
        "work",
        json!({"metadata": {"name": "dependent", "ownerReferences": [owner]}}),
    );
    let item = "/apis/batch/v1/namespaces/work/jobs/held";
    let (_, marked) = call(&twin, "DELETE", item, JSON, &Value::Null).await;
    assert_eq!(marked["metadata"]["deletionTimestamp"], crate::memory::NOW);
    // Deleted without a policy, a Job leaves what it owns.
    let (_, orphan) = get(&twin, "/api/v1/namespaces/work/configmaps/dependent", JSON).await;
    assert_eq!(orphan["metadata"].get("ownerReferences"), None);
    let add = json!({"metadata": {"finalizers": ["kubercarbon.io/remote-copy", "a.io/b"]}});
    assert_eq!(call(&twin, "PATCH", item, MERGE, &add).await.0, 422);
    let (code, _) = call(&twin, "PATCH", item, MERGE, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(code, 200);
    assert_eq!(get(&twin, item, JSON).await.0, 404);

    let (_, made) = call(&twin, "POST", "/apis/batch/v1/namespaces/work/jobs", JSON, &job("front")).await;
    let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "front", "uid": made["metadata"]["uid"],
        "blockOwnerDeletion": true});
    twin.create(
        twin::Kind::ConfigMap,
        "work",
        json!({"metadata": {"name": "d", "finalizers": ["a.io/b"], "ownerReferences": [owner]}}),
    );
    let item = "/apis/batch/v1/namespaces/work/jobs/front?propagationPolicy=Foreground";
    call(&twin, "DELETE", item, JSON, &Value::Null).await;
    let (_, waiting) = get(&twin, "/apis/batch/v1/namespaces/work/jobs/front", JSON).await;
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    call(
        &twin,
        "PATCH",
        "/api/v1/namespaces/work/configmaps/d",
        MERGE,
        &json!({"metadata": {"finalizers": null}}),
    )
    .await;
    assert_eq!(get(&twin, "/apis/batch/v1/namespaces/work/jobs/front", JSON).await.0, 404);
}

#[tokio::test]
async fn namespaces_end_in_two_steps() {
    let twin = Memory::new();
    let (code, kept) = call(&twin, "DELETE", "/api/v1/namespaces/default", JSON, &Value::Null).await;
    assert_eq!((code, &kept["reason"]), (403, &json!("Forbidden")));
    let (_, ending) = call(&twin, "DELETE", "/api/v1/namespaces/work", JSON, &Value::Null).await;
    assert_eq!(ending["status"]["phase"], "Terminating");
    let (code, refusal) =
        call(&twin, "POST", "/apis/batch/v1/namespaces/work/jobs", JSON, &job("late")).await;
    assert_eq!(code, 403);
    assert!(refusal["message"].as_str().unwrap().contains("because it is being terminated"), "{refusal}");
    let gone = twin.with(|objects| {
        let mut names = twin::random::Stream::new(2, "names");
        let now = fleet::Instant::parse(crate::memory::NOW).unwrap();
        let mut ctx = twin::apiserver::Context { objects, now, names: &mut names };
        twin::apiserver::finish_delete(&mut ctx, twin::Kind::Namespace, "", "work").is_some()
    });
    assert!(gone);
    assert_eq!(get(&twin, "/api/v1/namespaces/work", JSON).await.0, 404);
}

#[tokio::test]
async fn discovery_says_what_there_is() {
    let twin = Memory::new();
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, apis) = get(&twin, "/apis", aggregated).await;
    let batch = apis["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "batch").unwrap();
    assert_eq!(batch["versions"][0]["resources"][1]["responseKind"]["kind"], "Job");
    let (_, apis) = get(&twin, "/apis", JSON).await;
    assert_eq!(apis["groups"].as_array().unwrap().len(), 21);
    assert!(apis["groups"].as_array().unwrap().iter().any(|group| group["name"] == "metrics.k8s.io"));
    let (_, measured) = get(&twin, "/apis/metrics.k8s.io/v1beta1/nodes", JSON).await;
    assert_eq!(measured["items"][0]["usage"], json!({"cpu": "0n", "memory": "0Ki"}));
    let scaling = apis["groups"].as_array().unwrap().iter().find(|g| g["name"] == "autoscaling").unwrap();
    assert_eq!(scaling["preferredVersion"]["version"], "v2");
    let (_, core) = get(&twin, "/api/v1", JSON).await;
    assert!(core["resources"].as_array().unwrap().iter().any(|r| r["name"] == "pods/status"));
    let (_, index) = get(&twin, "/openapi/v3", JSON).await;
    let url = index["paths"]["apis/batch/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let (_, batch) = get(&twin, &url, JSON).await;
    let patch = &batch["paths"]["/apis/batch/v1/namespaces/{namespace}/jobs/{name}"]["patch"];
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    let job = &batch["components"]["schemas"]["io.k8s.api.batch.v1.Job"]["properties"]["spec"];
    assert_eq!(job["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.batch.v1.JobSpec");
    let (_, whole) = get(&twin, "/openapi/v2", "*/*").await;
    let containers = &whole["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(
        (&whole["swagger"], &containers["x-kubernetes-patch-merge-key"]),
        (&json!("2.0"), &json!("name"))
    );
    let (_, version) = get(&twin, "/version", JSON).await;
    assert_eq!(version["gitVersion"], "v1.36.3+kubercarbon");
    let ready = send(&twin, Request::get("/readyz").body(Body::empty()).unwrap()).await;
    assert_eq!(ready.status(), 200);
}

#[tokio::test]
async fn a_list_that_has_expired_goes_on_as_of_now() {
    let twin = Memory::new();
    let maps = "/api/v1/namespaces/work/configmaps";
    for name in ["a", "b", "c"] {
        call(&twin, "POST", maps, JSON, &json!({"metadata": {"name": name}})).await;
    }
    let (_, first) = get(&twin, &format!("{maps}?limit=1"), JSON).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    // More changes than are remembered.
    for n in 0..=twin::store::HISTORY_MAX {
        let body = json!({"data": {"n": n.to_string()}});
        let patched = call(&twin, "PATCH", &format!("{maps}/c"), "application/merge-patch+json", &body).await;
        assert_eq!(patched.0, 200);
    }
    let (code, gone) = get(&twin, &format!("{maps}?limit=1&continue={token}"), JSON).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")));
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = get(&twin, &format!("{maps}?continue={token}"), JSON).await;
    let names: Vec<&Value> =
        rest["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!((code, names), (200, vec![&json!("b"), &json!("c")]));
    assert_ne!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn what_is_only_asked_has_no_columns() {
    let twin = Memory::new();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let table = Request::post(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let body = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let asked = table.header("content-type", JSON).body(Body::from(body.to_string())).unwrap();
    assert_eq!(send(&twin, asked).await.status(), 406);
    assert_eq!(call(&twin, "POST", path, JSON, &body).await.0, 201);
}

#[tokio::test]
async fn bodies_are_bounded_and_typed() {
    let twin = Memory::new();
    let big = json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat(2 << 20)}});
    let maps = "/api/v1/namespaces/work/configmaps";
    assert_eq!(call(&twin, "POST", maps, JSON, &big).await.0, 413);
    let huge = json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat(4 << 20)}});
    let (code, refusal) = call(&twin, "POST", maps, JSON, &huge).await;
    assert_eq!((code, &refusal["reason"]), (413, &json!("RequestEntityTooLarge")));
    assert_eq!(call(&twin, "POST", maps, "text/plain", &job("a")).await.0, 415);
    // The Python client does not say what it sends: that is JSON.
    let unsaid = json!({"metadata": {"name": "unsaid"}});
    assert_eq!(call(&twin, "POST", maps, "", &unsaid).await.0, 201);
    // What a page of another origin can send without being asked is not.
    let page = Request::post(maps).header("origin", "https://elsewhere.example");
    let page = page.body(Body::from(json!({"metadata": {"name": "page"}}).to_string())).unwrap();
    assert_eq!(send(&twin, page).await.status(), 415);
    let apply = format!("{maps}/a");
    assert_eq!(call(&twin, "PATCH", &apply, "application/apply-patch+yaml", &json!({})).await.0, 422);
    let (code, dry) =
        call(&twin, "POST", &format!("{maps}?dryRun=All"), JSON, &json!({"metadata": {"name": "dry"}})).await;
    assert_eq!((code, &dry["metadata"]["name"]), (201, &json!("dry")));
    assert_eq!(get(&twin, &format!("{maps}/dry"), JSON).await.0, 404);
}
