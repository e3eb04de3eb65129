//! Answers in protobuf: what is given can be sent back, and says the same as JSON.

use crate::memory::{Memory, job, router};
use axum::body::Body;
use futures::StreamExt;
use http::{Request, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;
use twin::{Kind, Object};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What client-go sends.
const PREFERRED: &str = "application/vnd.kubernetes.protobuf,application/json";
const MAPS: &str = "/api/v1/namespaces/work/configmaps";

async fn ask(twin: &Arc<Memory>, method: &str, path: &str, accept: &str, body: Vec<u8>) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).header("accept", accept);
    let request = request.header("content-type", PROTOBUF).body(Body::from(body)).unwrap();
    router(twin).oneshot(request).await.unwrap()
}

/// Code, media type and bytes of an answer.
async fn answer(
    twin: &Arc<Memory>,
    method: &str,
    path: &str,
    accept: &str,
    body: Vec<u8>,
) -> (u16, String, Vec<u8>) {
    let response = ask(twin, method, path, accept, body).await;
    let media = response.headers()["content-type"].to_str().unwrap().to_owned();
    let code = response.status().as_u16();
    (code, media, axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap().to_vec())
}

async fn json_of(twin: &Arc<Memory>, path: &str) -> Value {
    let (_, _, bytes) = answer(twin, "GET", path, "application/json", Vec::new()).await;
    serde_json::from_slice(&bytes).unwrap()
}

fn varint(bytes: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// The contents of a message's fields of this number, all of which have a length.
fn parts(mut bytes: &[u8], wanted: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        assert_eq!(tag & 7, 2, "a field with a length");
        let length = varint(&mut bytes);
        if tag >> 3 == wanted {
            found.push(bytes[..length].to_vec());
        }
        bytes = &bytes[length..];
    }
    found
}

/// An object without what says of which kind it is.
fn raw(body: &[u8]) -> Vec<u8> {
    parts(body.strip_prefix(b"k8s\0").expect("the magic"), 2).remove(0)
}

fn put(twin: &Memory, name: &str, label: &str) {
    let map =
        json!({"metadata": {"name": name, "namespace": "work", "labels": {"l": label}}, "data": {"k": "v"}});
    let object = Object::from_value(Kind::ConfigMap, &map).unwrap();
    twin.with(|objects| objects.put(object));
}

#[tokio::test]
async fn what_is_given_can_be_sent_back_unchanged() {
    let twin = Memory::new();
    let made = twin.create(Kind::Job, "work", job("a"));
    let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
        "livenessProbe": {"httpGet": {"port": "web"}}});
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [container], "nodeSelector": {"a": "b"}}});
    twin.create(Kind::Pod, "work", pod);
    let path = "/apis/batch/v1/namespaces/work/jobs/a";
    for path in [path, "/api/v1/namespaces/work/pods/p", "/api/v1/nodes/n1", "/api/v1/namespaces/work"] {
        let before = json_of(&twin, path).await;
        let (code, media, bytes) = answer(&twin, "GET", path, PREFERRED, Vec::new()).await;
        assert_eq!((code, media.as_str()), (200, PROTOBUF), "{path}");
        let (code, media, again) = answer(&twin, "PUT", path, PREFERRED, bytes.clone()).await;
        assert_eq!((code, media.as_str()), (200, PROTOBUF), "{path}: {}", String::from_utf8_lossy(&again));
        assert_eq!(again, bytes, "{path}");
        assert_eq!(json_of(&twin, path).await, before, "{path}");
    }
    assert_eq!(json_of(&twin, path).await, made);
    // A refusal is told in the same way, and what nobody has a type for in none.
    let (code, media, bytes) = answer(&twin, "GET", &format!("{path}x"), PROTOBUF, Vec::new()).await;
    assert_eq!((code, media.as_str()), (404, PROTOBUF));
    assert!(raw(&bytes).windows(8).any(|part| part == b"NotFound"));
    let path = "/apis/metrics.k8s.io/v1beta1/nodes";
    assert_eq!(answer(&twin, "GET", path, PROTOBUF, Vec::new()).await.0, 406);
    assert_eq!(answer(&twin, "GET", path, PREFERRED, Vec::new()).await.1, "application/json");
}

#[tokio::test]
async fn a_list_holds_its_items_as_they_are() {
    let twin = Memory::new();
    // More than goes out at a time.
    for n in 0..900 {
        put(&twin, &format!("m{n:03}"), &"x".repeat(60));
    }
    let (code, media, bytes) = answer(&twin, "GET", MAPS, PREFERRED, Vec::new()).await;
    assert_eq!((code, media.as_str()), (200, PROTOBUF));
    let list = raw(&bytes);
    let items = parts(&list, 2);
    assert_eq!(items.len(), 900);
    for n in [0, 450, 899] {
        let (_, _, one) = answer(&twin, "GET", &format!("{MAPS}/m{n:03}"), PREFERRED, Vec::new()).await;
        assert_eq!(raw(&one), items[n], "m{n:03}");
    }
    let version = json_of(&twin, MAPS).await["metadata"]["resourceVersion"].clone();
    assert_eq!(parts(&parts(&list, 1)[0], 2)[0], version.as_str().unwrap().as_bytes());
    // Only the metadata, of which there always is protobuf.
    let accept = format!("{PROTOBUF};g=meta.k8s.io;v=v1;as=PartialObjectMetadataList");
    let (code, media, bytes) = answer(&twin, "GET", MAPS, &accept, Vec::new()).await;
    assert_eq!((code, media.as_str()), (200, PROTOBUF));
    assert_eq!(parts(&raw(&bytes), 2).len(), 900);
}

#[tokio::test]
async fn a_watch_frames_its_events() {
    let twin = Memory::new();
    put(&twin, "a", "seen");
    let path = format!("{MAPS}?watch=true&labelSelector=l%3Dseen&allowWatchBookmarks=true&timeoutSeconds=1");
    let response = ask(&twin, "GET", &path, &format!("{PROTOBUF};stream=watch"), Vec::new()).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut stream = response.into_body().into_data_stream();
    let mut come = stream.next().await.unwrap().unwrap().to_vec();
    let (_, _, first) = answer(&twin, "GET", &format!("{MAPS}/a"), PREFERRED, Vec::new()).await;
    // It changes, and is no longer seen; then others are.
    put(&twin, "a", "unseen");
    put(&twin, "b", "seen");
    while let Some(bytes) = stream.next().await {
        come.extend_from_slice(&bytes.unwrap());
    }
    let (_, _, b) = answer(&twin, "GET", &format!("{MAPS}/b"), PREFERRED, Vec::new()).await;
    let mut told = Vec::new();
    let mut rest = come.as_slice();
    while let Some((head, tail)) = rest.split_at_checked(4) {
        let length = u32::from_be_bytes(head.try_into().unwrap()) as usize;
        let kind = String::from_utf8(parts(&tail[..length], 1).remove(0)).unwrap();
        told.push((kind, parts(&parts(&tail[..length], 2)[0], 1).remove(0)));
        rest = &tail[length..];
    }
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["ADDED", "DELETED", "ADDED", "BOOKMARK"]);
    assert_eq!((&told[0].1, &told[2].1), (&first, &b));
    // It is told as it was seen, under the version in which it went out of sight.
    assert!(
        told[1].1.windows(4).any(|part| part == b"seen")
            && !told[1].1.windows(6).any(|part| part == b"unseen")
    );
}
