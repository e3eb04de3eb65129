//! Admission webhooks asked by a served twin: a real HTTPS server on loopback, under an authority of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use server::Speed;
use server::serve::{Options, Running, What, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A webhook that denies what is named `bad` or after it, and takes its time over what is named `slow`. Gives its address and the certificate
/// of its authority.
async fn webhook() -> (SocketAddr, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not believe the certificate goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut read = Vec::new();
                let review = loop {
                    if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let text = String::from_utf8_lossy(&read);
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    assert!(head.starts_with("POST /check?timeout=1s HTTP/1.1"), "{head}");
                    if let Ok(review) = serde_json::from_str::<Value>(body) {
                        break review;
                    }
                };
                let request = &review["request"];
                if request["name"] == "slow" {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                let allowed = !request["name"].as_str().is_some_and(|name| name.starts_with("bad"));
                let response =
                    json!({"uid": request["uid"], "allowed": allowed, "status": {"message": "it is bad"}});
                let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{review}",
                    review.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, authority.pem())
}

fn configuration(name: &str, url: &str, authority: &str, resource: &str) -> ValidatingWebhookConfiguration {
    serde_json::from_value(json!({"metadata": {"name": name}, "webhooks": [{
        "name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
        "clientConfig": {"url": url, "caBundle": ByteString(authority.as_bytes().to_vec())},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource]}]
    }]}))
    .unwrap()
}

/// A twin that is served, and a client of it.
async fn twin() -> (Running, kube::Client) {
    let options = Options {
        what: What::Nodes(1),
        scheduler: None,
        state: None,
        listen: Some("127.0.0.1:0".parse().unwrap()),
        pace: Speed::Times(600.0),
        seed: 1,
        start: None,
        fresh: false,
        open: false,
        rbac: false,
    };
    let running = serve(options).await.unwrap();
    let kubeconfig = Kubeconfig::read_from(&running.kubeconfig).unwrap();
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    (running, client)
}

#[tokio::test]
async fn webhooks_are_asked_over_tls_and_believed_under_their_authority_alone() {
    let (address, authority) = webhook().await;
    let (running, client) = twin().await;
    let hooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map = |name: &str| ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..Default::default()
    };
    let make = async |name: &str| {
        let made = maps.create(&PostParams::default(), &map(name)).await;
        made.map_err(|error| match error {
            kube::Error::Api(status) => (status.code, status.message),
            other => panic!("{other}"),
        })
    };
    let url = format!("https://{address}/check");
    hooks
        .create(&PostParams::default(), &configuration("check", &url, &authority, "configmaps"))
        .await
        .unwrap();
    make("good").await.unwrap();
    let (code, why) = make("bad").await.unwrap_err();
    assert_eq!(
        (code, why.as_str()),
        (400, "admission webhook \"check.example.com\" denied the request: it is bad")
    );
    // Time passes on the twin while a webhook thinks, and what it does not answer in time is refused.
    let (code, why) = make("slow").await.unwrap_err();
    let late = format!("failed to call webhook: Post \"{url}?timeout=1s\": context deadline exceeded");
    assert!(code == 500 && why.ends_with(&late), "{why}");
    hooks.delete("check", &Default::default()).await.unwrap();
    let (_, other) = webhook().await;
    hooks.create(&PostParams::default(), &configuration("other", &url, &other, "configmaps")).await.unwrap();
    let (code, why) = make("unbelieved").await.unwrap_err();
    assert!(code == 500 && why.contains("certificate"), "{why}");
    running.stop().await.unwrap();
}

/// The first object of a kind that is as wanted, as soon as there is one.
async fn wait_for<K>(api: &Api<K>, wanted: impl Fn(&K) -> bool) -> K
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    loop {
        if let Some(found) = api.list(&ListParams::default()).await.unwrap().items.into_iter().find(&wanted) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn webhooks_are_asked_about_what_controllers_make() {
    let (address, authority) = webhook().await;
    let (running, client) = twin().await;
    let hooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let sets: Api<ReplicaSet> = Api::default_namespaced(client.clone());
    let url = format!("https://{address}/check");
    hooks.create(&PostParams::default(), &configuration("check", &url, &authority, "pods")).await.unwrap();
    for name in ["bad", "good"] {
        let set = json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}}}});
        sets.create(&PostParams::default(), &serde_json::from_value(set).unwrap()).await.unwrap();
    }
    let is_ready = |set: &ReplicaSet| set.status.as_ref().is_some_and(|s| s.ready_replicas == Some(2));
    wait_for(&sets, is_ready).await;
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let failed = wait_for(&events, |event| event.reason.as_deref() == Some("FailedCreate")).await;
    assert_eq!(
        failed.message.as_deref(),
        Some("Error creating: admission webhook \"check.example.com\" denied the request: it is bad")
    );
    let pods: Api<Pod> = Api::default_namespaced(client);
    let made = pods.list(&ListParams::default()).await.unwrap().items;
    assert!(
        made.len() == 2 && made.iter().all(|pod| pod.metadata.name.as_ref().unwrap().starts_with("good"))
    );
    running.stop().await.unwrap();
}
