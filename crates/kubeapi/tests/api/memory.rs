//! A twin without controllers: objects behind a lock, at a fixed instant.

use fleet::{ClusterId, Instant};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use twin::apiserver::{self, Context, Options, Verb};
use twin::random::Stream;
use twin::{Kind, Objects, Request, Response, Status};

pub struct Memory {
    state: Mutex<(Objects, Stream)>,
    now: Instant,
    version: watch::Sender<u64>,
}

pub const NOW: &str = "2026-05-01T09:00:00Z";

impl Memory {
    /// A cluster with the namespaces `default` and `work`, and one node.
    pub fn new() -> Arc<Memory> {
        let twin = Memory {
            state: Mutex::new((Objects::new(), Stream::new(1, "names"))),
            now: Instant::parse(NOW).unwrap(),
            version: watch::channel(0).0,
        };
        for name in ["default", "work"] {
            twin.create(Kind::Namespace, "", json!({"metadata": {"name": name}}));
        }
        let status = json!({"capacity": {"cpu": 8, "memory": "32Gi", "pods": "110"}, "conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.3"}});
        twin.create(Kind::Node, "", json!({"metadata": {"name": "n1"}, "status": status}));
        Arc::new(twin)
    }
    pub fn create(&self, kind: Kind, namespace: &str, body: Value) -> Value {
        let request = Request {
            verb: Verb::Create,
            kind,
            namespace: namespace.to_owned(),
            name: String::new(),
            subresource: None,
            body,
            options: Options::default(),
        };
        self.run(&request).unwrap().body.into_value()
    }
    pub fn run(&self, request: &Request) -> Result<Response, Status> {
        let mut state = self.state.lock().unwrap();
        let (objects, names) = &mut *state;
        let answer = apiserver::write(&mut Context { objects, now: self.now, names }, request);
        self.version.send_replace(objects.version());
        answer
    }
    pub fn with<T>(&self, run: impl FnOnce(&mut Objects) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        let answer = run(&mut state.0);
        self.version.send_replace(state.0.version());
        answer
    }
}

impl kubeapi::Twin for Memory {
    fn read(&self, cluster: &ClusterId, read: &mut dyn FnMut(&Objects, Instant)) -> bool {
        if cluster.as_str() != "kr" {
            return false;
        }
        read(&self.state.lock().unwrap().0, self.now);
        true
    }
    fn write(&self, _: &ClusterId, request: Request) -> BoxFuture<'static, Result<Response, Status>> {
        let answer = self.run(&request);
        Box::pin(async move { answer })
    }
    fn changed(&self, _: &ClusterId, seen: u64) -> BoxFuture<'static, ()> {
        let mut version = self.version.subscribe();
        Box::pin(async move {
            // The sender lives as long as the twin.
            let _ = version.wait_for(|v| *v > seen).await;
        })
    }
}

pub fn router(twin: &Arc<Memory>) -> axum::Router {
    kubeapi::router(twin.clone(), ClusterId::new("kr").unwrap())
}

/// A Job that asks for half a core.
pub fn job(name: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": {"app": "demo"}},
        "spec": {"suspend": true, "managedBy": "kubercarbon.io/fleet", "template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]
        }}}
    })
}
