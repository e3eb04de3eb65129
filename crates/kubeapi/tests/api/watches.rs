//! Watches, read line by line.

use crate::memory::{Memory, router};
use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;
use twin::{Kind, Object};

/// What was not yet read of what has come, and what is to come.
struct Lines(Vec<u8>, BodyDataStream);

impl Lines {
    async fn next(&mut self) -> Option<(String, Value)> {
        let Lines(come, stream) = self;
        while !come.contains(&b'\n') {
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(10), stream.next());
            let bytes = chunk.await.expect("an event or the end within ten seconds")?.unwrap();
            // Whole events go out, however many together.
            assert!(bytes.ends_with(b"}\n"));
            come.extend_from_slice(&bytes);
        }
        let line: Vec<u8> = come.drain(..=come.iter().position(|byte| *byte == b'\n').unwrap()).collect();
        let event: Value = serde_json::from_slice(&line).unwrap();
        Some((event["type"].as_str().unwrap().to_owned(), event["object"].clone()))
    }
    /// Type and name of the next event.
    async fn told(&mut self) -> (String, String) {
        let (kind, object) = self.next().await.unwrap();
        (kind, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    }
}

async fn watch(twin: &Arc<Memory>, path: &str, accept: &str) -> (u16, Lines) {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    let response = router(twin).oneshot(request).await.unwrap();
    (response.status().as_u16(), Lines(Vec::new(), response.into_body().into_data_stream()))
}

fn put(twin: &Memory, name: &str, label: &str) {
    let map = json!({"metadata": {"name": name, "namespace": "work", "labels": {"l": label}}});
    let object = Object::from_value(Kind::ConfigMap, &map).unwrap();
    twin.with(|objects| objects.put(object));
}

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn a_watch_tells_what_its_selector_sees() {
    let twin = Memory::new();
    put(&twin, "old", "a");
    let path = "/api/v1/namespaces/work/configmaps?watch=true&labelSelector=l%3Da";
    let (code, mut lines) = watch(&twin, path, "application/json").await;
    assert_eq!(code, 200);
    assert_eq!(lines.told().await, pair("ADDED", "old"));
    put(&twin, "other", "b");
    put(&twin, "new", "a");
    assert_eq!(lines.told().await, pair("ADDED", "new"));
    put(&twin, "new", "a");
    assert_eq!(lines.told().await, pair("MODIFIED", "new"));
    put(&twin, "new", "b");
    let (kind, object) = lines.next().await.unwrap();
    assert_eq!((kind.as_str(), &object["metadata"]["labels"]["l"]), ("DELETED", &json!("a")));
    let version = twin.with(|objects| objects.version().to_string());
    assert_eq!(object["metadata"]["resourceVersion"], version.as_str());
    put(&twin, "other", "a");
    assert_eq!(lines.told().await, pair("ADDED", "other"));
    twin.with(|objects| objects.remove(Kind::ConfigMap, "work", "other"));
    assert_eq!(lines.told().await, pair("DELETED", "other"));
}

#[tokio::test]
async fn a_watch_begins_at_its_version_or_says_it_cannot() {
    let twin = Memory::new();
    put(&twin, "one", "a");
    let from = twin.with(|objects| objects.version());
    put(&twin, "two", "a");
    let path = |version: u64| format!("/api/v1/configmaps?watch=1&resourceVersion={version}");
    let (_, mut lines) = watch(&twin, &path(from), "*/*").await;
    assert_eq!(lines.told().await, pair("ADDED", "two"));
    for i in 0..=twin::store::HISTORY_MAX {
        put(&twin, "busy", &i.to_string());
    }
    assert_eq!(watch(&twin, &path(from), "*/*").await.0, 410);
    // The watch that fell behind ends with the same message.
    let (kind, object) = lines.next().await.unwrap();
    assert_eq!((kind.as_str(), &object["code"]), ("ERROR", &json!(410)));
    assert!(lines.next().await.is_none());
    assert_eq!(watch(&twin, &path(u64::MAX), "*/*").await.0, 504);
}

#[tokio::test]
async fn streaming_lists_end_with_a_bookmark() {
    let twin = Memory::new();
    put(&twin, "one", "a");
    let path = "/api/v1/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let (_, mut lines) = watch(&twin, path, "application/json").await;
    assert_eq!(lines.told().await, pair("ADDED", "one"));
    let (kind, object) = lines.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(object["kind"], "ConfigMap");
    let (code, _) = watch(&twin, "/api/v1/configmaps?watch=1&sendInitialEvents=true", "*/*").await;
    assert_eq!(code, 422);
}

#[tokio::test]
async fn watches_end_in_time_with_a_bookmark() {
    let twin = Memory::new();
    let path = "/api/v1/configmaps?watch=1&resourceVersion=0&timeoutSeconds=1&allowWatchBookmarks=true";
    let (_, mut lines) = watch(&twin, path, "application/json").await;
    let (kind, object) = lines.next().await.unwrap();
    let version = twin.with(|objects| objects.version().to_string());
    assert_eq!((kind.as_str(), &object["metadata"]["resourceVersion"]), ("BOOKMARK", &json!(version)));
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn who_watches_a_quiet_kind_misses_nothing_however_much_else_changes() {
    let twin = Memory::new();
    put(&twin, "one", "a");
    let from = twin.with(|objects| objects.version());
    let home = json!({"metadata": {"name": "work"}});
    for _ in 0..=twin::store::HISTORY_MAX {
        let object = Object::from_value(Kind::Namespace, &home).unwrap();
        twin.with(|objects| objects.put(object));
    }
    let of = |plural: &str| format!("/api/v1/{plural}?watch=1&resourceVersion={from}");
    let (code, mut lines) = watch(&twin, &of("configmaps"), "application/json").await;
    assert_eq!(code, 200);
    put(&twin, "two", "a");
    assert_eq!(lines.told().await, pair("ADDED", "two"));
    assert_eq!(watch(&twin, &of("namespaces"), "application/json").await.0, 410);
}

#[tokio::test]
async fn tables_carry_their_columns_once() {
    let twin = Memory::new();
    put(&twin, "one", "a");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (_, mut lines) = watch(&twin, "/api/v1/configmaps?watch=1", accept).await;
    let (_, first) = lines.next().await.unwrap();
    assert_eq!(first["columnDefinitions"].as_array().unwrap().len(), 3);
    put(&twin, "two", "a");
    let (_, second) = lines.next().await.unwrap();
    assert_eq!((&second["columnDefinitions"], &second["rows"][0]["cells"][0]), (&Value::Null, &json!("two")));
}
