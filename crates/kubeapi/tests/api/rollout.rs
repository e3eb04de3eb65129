//! The real kubectl, if there is one, rolls a Deployment out on a world whose time passes.

use crate::kubectl::{Kubectl, has, home_of};
use fleet::{ClusterId, Instant, Span};
use futures::future::BoxFuture;
use serde_json::json;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use twin::{Objects, Request, Response, Status, World};

const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  region: ap-northeast-2\n  nodeGroups: [{name: general, instanceType: m6i.large, count: 2}]\n";

/// A world behind a lock; a task lets a second of its time pass every few milliseconds.
struct Living {
    world: Mutex<World>,
    version: watch::Sender<u64>,
}

fn kr() -> ClusterId {
    ClusterId::new("kr").unwrap()
}

impl Living {
    fn with<T>(&self, run: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.lock().unwrap();
        let answer = run(&mut world);
        self.version.send_replace(world.objects(&kr()).unwrap().version());
        answer
    }
}

impl kubeapi::Twin for Living {
    fn read(&self, cluster: &ClusterId, read: &mut dyn FnMut(&Objects, Instant)) -> bool {
        let world = self.world.lock().unwrap();
        let Some(objects) = world.objects(cluster) else { return false };
        read(objects, world.now());
        true
    }
    fn write(&self, cluster: &ClusterId, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let answer = self.with(|world| world.request(cluster, &request));
        Box::pin(async move { answer })
    }
    fn changed(&self, _: &ClusterId, seen: u64) -> BoxFuture<'static, ()> {
        let mut version = self.version.subscribe();
        Box::pin(async move {
            // The sender lives as long as the world.
            let _ = version.wait_for(|v| *v > seen).await;
        })
    }
}

fn manifest() -> String {
    let container = json!({"name": "main", "image": "web:1", "resources": {"requests": {"cpu": "100m"}}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}},
    })
    .to_string()
}

/// One rollout, another, and back; paused and restarted.
fn roll(kubectl: &Kubectl<'_>) {
    has(&kubectl.run(&["apply", "-f", "-"], &manifest()), &["deployment.apps/web created"]);
    let status = || kubectl.run(&["rollout", "status", "deployment/web", "--timeout=120s"], "");
    has(&status(), &["deployment \"web\" successfully rolled out"]);
    kubectl.run(&["set", "image", "deployment/web", "main=web:2"], "");
    has(&status(), &["deployment \"web\" successfully rolled out"]);
    has(&kubectl.run(&["rollout", "history", "deployment/web"], ""), &["REVISION", "1 ", "2 "]);
    has(&kubectl.run(&["rollout", "undo", "deployment/web"], ""), &["deployment.apps/web rolled back"]);
    status();
    let image = ["get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"];
    assert_eq!(kubectl.run(&image, ""), "web:1 web:1 web:1");
    has(&kubectl.run(&["rollout", "restart", "deployment/web"], ""), &["restarted"]);
    status();
    has(&kubectl.run(&["rollout", "pause", "deployment/web"], ""), &["paused"]);
    kubectl.run(&["set", "image", "deployment/web", "main=web:3"], "");
    kubectl.run(&["scale", "deployment/web", "--replicas=5"], "");
    kubectl
        .run(&["wait", "--for=jsonpath={.status.readyReplicas}=5", "deployment/web", "--timeout=120s"], "");
    assert_eq!(kubectl.run(&image, ""), "web:1 web:1 web:1 web:1 web:1", "what is paused is scaled alone");
    has(&kubectl.run(&["rollout", "resume", "deployment/web"], ""), &["resumed"]);
    status();
    assert_eq!(kubectl.run(&image, ""), "web:3 web:3 web:3 web:3 web:3");
    has(&kubectl.run(&["get", "deployment", "web"], ""), &["5/5"]);
    kubectl.run(&["delete", "deployment", "web"], "");
    kubectl.run(&["wait", "--for=delete", "pod", "-l", "app=web", "--timeout=120s"], "");
    has(&kubectl.run(&["get", "replicasets"], ""), &["No resources found"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_rolls_out_and_back() {
    let found = Command::new("kubectl").args(["version", "--client"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("skipped: no kubectl");
        return;
    }
    let start = Instant::parse("2026-05-01T00:00:00Z").unwrap();
    let world = World::new(&fleet::file::parse(FLEET).unwrap(), start, 1);
    let living = Arc::new(Living { world: Mutex::new(world), version: watch::channel(0).0 });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = kubeapi::router(living.clone(), kr());
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    let clock = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            living.with(|world| world.advance_to(world.now() + Span::from_seconds(1)));
        }
    });
    let home = home_of(address);
    tokio::task::spawn_blocking(move || roll(&Kubectl { home: home.path() })).await.unwrap();
    clock.abort();
    server.abort();
}
