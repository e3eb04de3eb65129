//! From a cluster's API into a twin file and back into a cluster, with nothing in between but the API.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail")]

use axum::body::Body;
use fleet::{ClusterId, Instant, NodeName, Span};
use futures::future::BoxFuture;
use http::{Request, Response};
use serde_json::{Value, json};
use server::import::{Packed, Source, import};
use server::whereabouts::Stated;
use std::sync::{Arc, Mutex};
use tower::ServiceExt;
use twin::apiserver::{Options, Verb};
use twin::import::{Document, KINDS, NOT_IMPORTED};
use twin::world::NodeChange;
use twin::{Kind, Object, Objects, Status, World};

/// A world that is served and does not move.
struct Still(Mutex<World>);

impl kubeapi::Twin for Still {
    fn read(&self, cluster: &ClusterId, read: &mut dyn FnMut(&Objects, Instant)) -> bool {
        let world = self.0.lock().unwrap();
        world.objects(cluster).is_some_and(|objects| {
            read(objects, world.now());
            true
        })
    }
    fn write(
        &self,
        _: &ClusterId,
        request: twin::Request,
    ) -> BoxFuture<'static, Result<twin::Response, Status>> {
        panic!("an import writes: {request:?}")
    }
    fn changed(&self, _: &ClusterId, _: u64) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

fn kr() -> ClusterId {
    ClusterId::new("kr").unwrap()
}

/// A cluster that has been busy for hours: Jobs of every age, a machine that is silent, ConfigMaps.
fn busy() -> World {
    let text = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
clusters: [{name: kr, region: ap-northeast-2, nodeGroups: [{name: g, instanceType: m6i.2xlarge, count: 4}]}]
";
    let fleet = fleet::file::parse(text).unwrap();
    let mut world = World::new(&fleet, Instant::parse("2026-05-01T00:00:00Z").unwrap(), 7);
    let create = |world: &mut World, kind: Kind, namespace: &str, body: Value| {
        let request = twin::Request {
            verb: Verb::Create,
            kind,
            namespace: namespace.to_owned(),
            name: String::new(),
            subresource: None,
            body,
            options: Options::default(),
        };
        world.request(&kr(), &request).unwrap();
    };
    create(&mut world, Kind::Namespace, "", json!({"metadata": {"name": "team"}}));
    for i in 0..12 {
        let container = json!({"name": "main", "image": "i", "env": [{"name": "API_TOKEN", "value": "hunter2hunter2"}],
            "resources": {"requests": {"cpu": "3"}}, "command": ["sleep", (600 * (i + 1)).to_string()]});
        let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
        let spec = json!({"parallelism": 2, "completions": 3, "template": template});
        let body = json!({"metadata": {"name": format!("j-{i}")}, "spec": spec});
        create(&mut world, Kind::Job, "team", body);
        world.advance_to(world.now() + Span::MINUTE.scaled(15, 1));
    }
    create(
        &mut world,
        Kind::ConfigMap,
        "team",
        json!({"metadata": {"name": "settings"}, "data": {"level": "info"}}),
    );
    create(&mut world, Kind::PriorityClass, "", json!({"metadata": {"name": "high"}, "value": 10}));
    world.set_node(&kr(), &NodeName::new("kr-g-4").unwrap(), NodeChange::Stop).unwrap();
    world.advance_to(world.now() + Span::MINUTE.scaled(2, 1));
    world
}

/// Serves a world's only cluster and imports it.
async fn imported(world: World, config_maps: bool) -> Packed {
    let now = world.now();
    let router = kubeapi::router(Arc::new(Still(Mutex::new(world))), kr());
    let client = client(move |request| {
        assert_eq!(request.method(), http::Method::GET);
        router.clone().oneshot(request.map(Body::new))
    });
    let source = Source { id: kr(), context: "kind-kr".to_owned(), stated: Stated::default() };
    import(vec![(source, client)], config_maps, &move || now, &mut |_| {}).await.unwrap()
}

fn client<F, A>(answer: F) -> kube::Client
where
    F: FnMut(Request<kube::client::Body>) -> A + Clone + Send + 'static,
    A: Future<Output = Result<Response<Body>, std::convert::Infallible>> + Send + 'static,
{
    kube::Client::new(tower::service_fn(answer), "default")
}

fn again(document: Document) -> World {
    World::imported(document, 7, &control::observe::rates_of)
}

/// The objects of a kind, but for what is the twin's own.
fn all(world: &World, kind: Kind) -> Vec<Value> {
    let own = |stored: &Object| {
        let mut value = stored.to_value();
        value["metadata"]["resourceVersion"].take();
        if value["status"]["phase"] == "Pending" {
            // It is tried anew, and told what is in its way now.
            value["status"]["conditions"].take();
        }
        // The token was planted to be blanked; amounts come in canonical form.
        let text = value.to_string().replace("hunter2hunter2", "<blanked>");
        let text = text.replace("33554432Ki", "32Gi").replace("31951872Ki", "31203Mi");
        serde_json::from_str(&text).unwrap()
    };
    world.objects(&kr()).unwrap().list(kind, None).map(|stored| own(&stored.object)).collect()
}

#[tokio::test]
async fn a_cluster_comes_back_as_it_was() {
    let packed = imported(busy(), true).await;
    let source = busy();
    let document = packed.unpack().unwrap();
    let header = &document.header.clusters[0];
    assert_eq!((header.region.as_str(), header.grid_zone.as_str()), ("ap-northeast-2", "KR"));
    assert_eq!(header.instance_types.get("m6i.2xlarge"), Some(&4));
    assert!(header.blanked > 0);
    // A twin serves what a cluster does.
    assert_eq!(header.unread, []);
    let versions: std::collections::BTreeSet<_> = header.kinds.iter().map(|k| &k.resource_version).collect();
    assert_eq!(versions.len(), 1, "a cluster that stands still is read at one version");
    let world = again(document);
    for kind in [Kind::Namespace, Kind::Node, Kind::PriorityClass, Kind::ConfigMap, Kind::Job, Kind::Pod] {
        let (was, is) = (all(&source, kind), all(&world, kind));
        assert!(!was.is_empty());
        assert_eq!(was.len(), is.len(), "{kind:?}");
        for (was, is) in was.iter().zip(&is) {
            assert_eq!(was, is);
        }
    }
    assert!(all(&world, Kind::Pod).iter().any(|p| p["status"]["phase"] == "Running"));
    assert_eq!(world.power(&kr()), source.power(&kr()), "with one machine off");
}

#[tokio::test]
async fn what_was_under_way_is_carried_through() {
    let mut world = again(imported(busy(), false).await.unpack().unwrap());
    // Until its machine is back, a pod that was lost with it is neither gone nor ended, and its Job not complete.
    world.set_node(&kr(), &NodeName::new("kr-g-4").unwrap(), NodeChange::Start).unwrap();
    world.advance_to(world.now() + Span::DAY.scaled(3, 1));
    let jobs = all(&world, Kind::Job);
    assert_eq!(jobs.len(), 12);
    for job in jobs {
        assert_eq!(job["status"]["succeeded"], 3, "{job}");
        assert!(!job["status"]["completionTime"].is_null(), "{job}");
    }
    let config_map = &all(&world, Kind::ConfigMap)[0];
    assert_eq!(config_map["metadata"]["annotations"][NOT_IMPORTED], "data");
    assert_eq!(config_map["data"], Value::Null);
}

#[tokio::test]
async fn the_same_state_gives_the_same_objects_and_no_credential() {
    let lines = |packed: &Packed| {
        let [_, body] = packed.parts();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(body), &mut text).unwrap();
        text
    };
    let (one, two) = (imported(busy(), false).await, imported(busy(), false).await);
    assert_eq!(lines(&one), lines(&two));
    assert!(!lines(&one).contains("hunter2"));
    assert!(lines(&one).contains("<blanked>"));
}

/// Answers every list with one page.
fn page(items: Value) -> String {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items})
        .to_string()
}

#[tokio::test]
async fn what_may_not_be_read_is_said_and_what_must_be_ends_it() {
    let answer = |refused: &'static str| {
        move |request: Request<kube::client::Body>| async move {
            let path = request.uri().path().to_owned();
            let (code, body) = match path.as_str() {
                "/version" => (
                    200,
                    json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "",
                    "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})
                    .to_string(),
                ),
                path if path == refused => (
                    403,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "reason": "Forbidden", "code": 403, "message": "it is forbidden"})
                    .to_string(),
                ),
                "/api/v1/secrets" => {
                    let accept = request.headers()["accept"].to_str().unwrap().to_owned();
                    assert!(accept.contains("as=Table"), "{accept}: content of Secrets was asked for");
                    let columns = json!([{"name": "Name"}, {"name": "Type"}]);
                    let row = json!({"cells": ["s", "Opaque"], "object": {"metadata": {"name": "s", "namespace": "a", "uid": "u"}}});
                    (200, json!({"metadata": {"resourceVersion": "9"}, "columnDefinitions": columns, "rows": [row]}).to_string())
                }
                _ => (200, page(json!([]))),
            };
            let response = Response::builder().status(code).header("content-type", "application/json");
            Ok::<_, std::convert::Infallible>(response.body(Body::from(body)).unwrap())
        }
    };
    let source = || Source { id: kr(), context: "c".to_owned(), stated: Stated::default() };
    let packed = import(
        vec![(source(), client(answer("/apis/batch/v1/cronjobs")))],
        false,
        &|| Instant::EPOCH,
        &mut |_| {},
    )
    .await
    .unwrap();
    let header = &packed.header.clusters[0];
    let unread: Vec<_> = header.unread.iter().map(|u| (u.kind.as_str(), u.why.as_str())).collect();
    assert_eq!(unread, [("CronJob", "403 Forbidden: it is forbidden")]);
    assert!(header.kinds.iter().any(|k| k.kind == "Secret" && k.objects == 1));
    let error =
        import(vec![(source(), client(answer("/api/v1/pods")))], false, &|| Instant::EPOCH, &mut |_| {})
            .await
            .unwrap_err();
    let error = format!("{error:#}");
    assert!(error.starts_with("cluster kr: pods: 403 Forbidden"), "{error}");
    assert!(error.contains("\n\nhint: kubercarbon rbac --import"), "{error}");
}

#[test]
fn the_role_lets_every_kind_be_read_and_no_other() {
    let of_role: std::collections::BTreeSet<(&str, &str)> = connect::rights::import_rules(true)
        .flat_map(|rule| rule.resources.iter().map(|resource| (rule.group, *resource)))
        .collect();
    let read: std::collections::BTreeSet<(&str, &str)> =
        KINDS.iter().map(|kind| (kind.group, kind.plural)).collect();
    assert_eq!(of_role, read);
}

#[test]
fn files_are_whole_or_not_there() {
    let dir = std::env::temp_dir().join(format!("kubercarbon-import-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("a.twin");
    server::twin_file::write(&path, &[b"one", b"two"]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
    assert!(!server::twin_file::is_packed(&path).unwrap());
    let error = format!("{:#}", server::twin_file::read(&path).unwrap_err());
    assert!(error.contains("a.twin: line 1: cut short or damaged"), "{error}");
    assert!(server::twin_file::write(&dir.join("none/a.twin"), &[b"x"]).is_err());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing half-written is left");
    std::fs::remove_dir_all(&dir).unwrap();
}
