//! `twin serve` as its clients meet it: a kubeconfig, TLS, a token, and a cluster behind it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use server::Speed;
use server::serve::{Options, Running, What, serve};
use std::path::Path;
use std::time::Duration;

/// Looks for what is to come about this often at most.
const TRIES: u32 = 600;

fn options(state: Option<&Path>) -> Options {
    Options {
        what: What::Nodes(3),
        scheduler: None,
        state: state.map(Path::to_owned),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        pace: Speed::Times(600.0),
        seed: 1,
        start: None,
        fresh: false,
        open: false,
        rbac: false,
    }
}

async fn config(running: &Running) -> kube::Config {
    let kubeconfig = Kubeconfig::read_from(&running.kubeconfig).unwrap();
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

async fn client(running: &Running) -> kube::Client {
    kube::Client::try_from(config(running).await).unwrap()
}

/// The certificates of a PEM text, DER.
fn certificates(pem: &str) -> Vec<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.unwrap().to_vec()).collect()
}

fn pod() -> Pod {
    let spec = json!({"containers": [{"name": "main", "image": "busybox"}]});
    serde_json::from_value(json!({"metadata": {"name": "sleeper"}, "spec": spec})).unwrap()
}

async fn node_of(pods: &Api<Pod>, name: &str) -> String {
    for _ in 0..TRIES {
        let pod = pods.get(name).await.unwrap();
        if pod.status.is_some_and(|status| status.phase.as_deref() == Some("Running")) {
            return pod.spec.unwrap().node_name.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} does not run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_and_nothing_is_left_behind() {
    let running = serve(options(None)).await.unwrap();
    let client = client(&running).await;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap();
    assert_eq!(nodes.items.len(), 3);
    let pods = Api::<Pod>::default_namespaced(client);
    pods.create(&PostParams::default(), &pod()).await.unwrap();
    assert!(node_of(&pods, "sleeper").await.starts_with("twin-general-"));
    let dir = running.kubeconfig.parent().unwrap().to_owned();
    assert!(dir.exists());
    running.stop().await.unwrap();
    assert!(!dir.exists(), "{} is left behind", dir.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_token_or_the_authority_nobody_comes_in() {
    let running = serve(options(None)).await.unwrap();
    let code = async |config: kube::Config| {
        let client = kube::Client::try_from(config).unwrap();
        match Api::<Node>::all(client).list(&ListParams::default()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(_) => 0,
        }
    };
    assert_eq!(code(config(&running).await).await, 200);
    let mut stranger = config(&running).await;
    stranger.auth_info.token = None;
    assert_eq!(code(stranger).await, 401);
    let mut wary = config(&running).await;
    wary.root_cert = None;
    assert_eq!(code(wary).await, 0, "a certificate nobody vouches for was taken");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_told_where_their_api_server_is_and_how_to_know_it() {
    let running = serve(options(None)).await.unwrap();
    let client = client(&running).await;
    let service = Api::<Service>::default_namespaced(client.clone()).get("kubernetes").await.unwrap();
    assert_eq!(service.spec.unwrap().cluster_ip.as_deref(), Some("10.96.0.1"));
    // By the certificate that pods are told a client knows the server, and by no other.
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        let data = maps.get("kube-root-ca.crt").await.unwrap().data.unwrap();
        let mut pinned = config(&running).await;
        pinned.root_cert = Some(certificates(&data["ca.crt"]));
        let client = kube::Client::try_from(pinned).unwrap();
        assert!(Api::<Node>::all(client).list(&ListParams::default()).await.is_ok(), "{namespace}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_address_that_is_taken_is_refused() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let Err(refused) = serve(Options { listen: Some(address), ..options(None) }).await else {
        panic!("{address} was taken, and something else listened on")
    };
    assert!(format!("{refused:#}").starts_with(&format!("listen on {address}: ")), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_and_its_kubeconfig_outlast_the_process() {
    let state = tempfile::tempdir().unwrap();
    let running = serve(options(Some(state.path()))).await.unwrap();
    let before = std::fs::read_to_string(&running.kubeconfig).unwrap();
    let maps = Api::<ConfigMap>::default_namespaced(client(&running).await);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "kept"}})).unwrap();
    let uid = maps.create(&PostParams::default(), &map).await.unwrap().metadata.uid;
    let at = running.at;
    running.stop().await.unwrap();

    let again = serve(options(Some(state.path()))).await.unwrap();
    assert_eq!(std::fs::read_to_string(&again.kubeconfig).unwrap(), before);
    assert!(again.at >= at, "time went back");
    let maps = Api::<ConfigMap>::default_namespaced(client(&again).await);
    assert_eq!(maps.get("kept").await.unwrap().metadata.uid, uid);
    again.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_twin_asks_for_nothing() {
    let running = serve(Options { open: true, ..options(None) }).await.unwrap();
    assert!(running.clusters[0].1.starts_with("http://127.0.0.1:"), "{:?}", running.clusters);
    let config = config(&running).await;
    assert!(config.auth_info.token.is_none() && config.root_cert.is_none());
    let nodes = Api::<Node>::all(kube::Client::try_from(config).unwrap());
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 3);
    running.stop().await.unwrap();
}

/// The token of whoever runs the twin.
fn token_of(running: &Running) -> Option<String> {
    let kubeconfig: Value = serde_json::from_slice(&std::fs::read(&running.kubeconfig).unwrap()).unwrap();
    kubeconfig["users"][0]["user"]["token"].as_str().map(str::to_owned)
}

/// Asks the API as whoever brings `token`.
async fn asked(
    running: &Running,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    let mut config = config(running).await;
    config.auth_info.token = token.map(|token| token.to_owned().into());
    let client = kube::Client::try_from(config).unwrap();
    let request =
        http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(body.to_string().into_bytes()).unwrap();
    match client.request::<Value>(request).await {
        Ok(answer) => (200, answer),
        Err(kube::Error::Api(status)) => (status.code, json!(status.message)),
        Err(error) => panic!("{path}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_acts_by_its_token_and_after_a_restart_still() {
    let state = tempfile::tempdir().unwrap();
    let running = serve(Options { pace: Speed::Times(1.0), ..options(Some(state.path())) }).await.unwrap();
    let admin = token_of(&running);
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let wanted = json!({"spec": {"expirationSeconds": 600, "audiences": []}});
    let (code, answer) = asked(&running, admin.as_deref(), "POST", path, &wanted).await;
    assert_eq!(code, 200, "{answer}");
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(token.split('.').count(), 3, "{token}");

    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (_, own) = asked(&running, Some(&token), "POST", whoami, &json!({})).await;
    assert_eq!(own["status"]["userInfo"]["username"], "system:serviceaccount:default:default");
    let (_, own) = asked(&running, admin.as_deref(), "POST", whoami, &json!({})).await;
    assert_eq!(own["status"]["userInfo"]["username"], "kubernetes-admin");
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = json!({"spec": {"token": token}});
    let (_, told) = asked(&running, admin.as_deref(), "POST", reviews, &review).await;
    assert_eq!(told["status"]["authenticated"], json!(true), "{told}");
    let broken = format!("{}x", &token[..token.len() - 1]);
    assert_eq!(asked(&running, Some(&broken), "GET", "/api/v1/nodes", &Value::Null).await.0, 401);
    assert_eq!(asked(&running, None, "GET", "/openid/v1/jwks", &Value::Null).await.0, 401);
    let (_, keys) = asked(&running, Some(&token), "GET", "/openid/v1/jwks", &Value::Null).await;
    let (_, issuer) =
        asked(&running, Some(&token), "GET", "/.well-known/openid-configuration", &Value::Null).await;
    assert_eq!(issuer["id_token_signing_alg_values_supported"][0], keys["keys"][0]["alg"]);
    assert!(issuer["jwks_uri"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{issuer}");
    running.stop().await.unwrap();

    let again = serve(Options { pace: Speed::Times(1.0), ..options(Some(state.path())) }).await.unwrap();
    let (code, own) = asked(&again, Some(&token), "POST", whoami, &json!({})).await;
    assert_eq!((code, &own["status"]["userInfo"]["groups"][2]), (200, &json!("system:authenticated")));
    again.stop().await.unwrap();
}

/// What a request for a certificate has come to.
async fn certificate(client: &kube::Client, name: &str) -> Value {
    let path = format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}");
    for _ in 0..TRIES {
        let request = http::Request::get(&path).body(Vec::new()).unwrap();
        let status = client.request::<Value>(request).await.unwrap()["status"].take();
        let failed = status["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == "Failed");
        if failed || status["certificate"].is_string() {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} is not looked at");
}

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

async fn send(client: &kube::Client, request: http::request::Builder, body: &Value) -> kube::Result<Value> {
    let request = request.header("content-type", "application/json");
    client.request::<Value>(request.body(body.to_string().into_bytes()).unwrap()).await
}

/// Asks for a certificate of a signer.
async fn requested(client: &kube::Client, name: &str, signer: &str, pem: &str) -> kube::Result<Value> {
    let pem = serde_json::to_value(k8s_openapi::ByteString(pem.as_bytes().to_vec())).unwrap();
    let spec = json!({"request": pem, "signerName": signer, "usages": ["client auth", "digital signature"]});
    let asked = json!({"metadata": {"name": name}, "spec": spec});
    send(client, http::Request::post(REQUESTS), &asked).await
}

/// Asks for a certificate of a signer and approves it.
async fn approved(client: &kube::Client, name: &str, signer: &str, pem: &str) -> Value {
    let mut made = requested(client, name, signer, pem).await.unwrap();
    made["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "Test"}]);
    send(client, http::Request::put(format!("{REQUESTS}/{name}/approval")), &made).await.unwrap();
    certificate(client, name).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_request_is_signed_and_its_certificate_lets_in() {
    let running = serve(Options { rbac: true, ..options(None) }).await.unwrap();
    let client = client(&running).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "dev");
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let signer = "kubernetes.io/kube-apiserver-client";
    let status = approved(&client, "jane", signer, &request).await;
    let pem = serde_json::from_value::<k8s_openapi::ByteString>(status["certificate"].clone()).unwrap().0;
    assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----"), "{status}");

    let with = |pem: &[u8], key: &rcgen::KeyPair| {
        let text = |bytes: &[u8]| serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).unwrap();
        let text = move |bytes: &[u8]| text(bytes).as_str().unwrap().to_owned();
        (text(pem), text(key.serialize_pem().as_bytes()))
    };
    let (certificate, private) = with(&pem, &key);
    let mut own = config(&running).await;
    own.auth_info.token = None;
    own.auth_info.client_certificate_data = Some(certificate);
    own.auth_info.client_key_data = Some(private.into());
    let jane = kube::Client::try_from(own).unwrap();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = http::Request::post(path).header("content-type", "application/json");
    let user = jane.request::<Value>(review.body(b"{}".to_vec()).unwrap()).await.unwrap();
    let user = &user["status"]["userInfo"];
    assert_eq!((&user["username"], &user["groups"][0]), (&json!("jane"), &json!("dev")), "{user}");
    // Who she is does not say that she may.
    let refused = Api::<Node>::all(jane).list(&ListParams::default()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));

    // A node's certificate is for nodes, and a signature that was tampered with is nobody's.
    let refused = approved(&client, "node", "kubernetes.io/kube-apiserver-client-kubelet", &request).await;
    let why = &refused["conditions"][1]["message"];
    assert_eq!(why, "subject organization is not system:nodes", "{refused}");
    let other = rcgen::KeyPair::generate().unwrap();
    let another = params.serialize_request(&other).unwrap();
    let mut der = another.der().to_vec();
    let last = der.len() - 1;
    der[last] ^= 1;
    let text = serde_json::to_value(k8s_openapi::ByteString(der)).unwrap();
    let forged = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
        text.as_str().unwrap()
    );
    let refused = requested(&client, "forged", signer, &forged).await.unwrap_err();
    let kube::Error::Api(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.code, 422);
    let starts = "CertificateSigningRequest.certificates.k8s.io \"forged\" is invalid: spec.request: Invalid value: []byte{0x2d, ";
    assert!(refused.message.starts_with(starts), "{}", refused.message);
    assert!(refused.message.ends_with("}: x509: ECDSA verification failure"), "{}", refused.message);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_cluster_says_which_groups_it_has() {
    let running = serve(options(None)).await.unwrap();
    let client = client(&running).await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let list = client.request::<Value>(http::Request::get(path).body(Vec::new()).unwrap()).await.unwrap();
    let items = list["items"].as_array().unwrap();
    let names: Vec<&str> = items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    for name in ["v1.", "v1.apps", "v2.autoscaling", "v1beta1.metrics.k8s.io"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    for item in items {
        let condition = &item["status"]["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["status"]),
            (&json!("Available"), &json!("True")),
            "{item}"
        );
    }
    running.stop().await.unwrap();
}
