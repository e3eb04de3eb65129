//! Starts the real binary on a state directory of its own and talks to it as users' programs do.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A fleet of two clusters, small enough to be quick.
pub const FLEET: &str = "apiVersion: kubercarbon.io/v1alpha1
kind: Fleet
metadata: {name: test}
clusters:
- name: kr
  region: ap-northeast-2
  nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 3}]
- name: jp
  region: ap-northeast-1
  nodeGroups: [{name: general, instanceType: m6i.2xlarge, count: 3}]
demo: {jobsPerHour: 5}
";

/// Polls at most this often for something to become true.
const TRIES: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(50);

pub struct Product {
    pub state: PathBuf,
    child: Child,
    pub url: String,
    pub http: reqwest::Client,
}

impl Product {
    /// Starts `kubercarbon up` on `state` and waits until it says where it is.
    pub async fn start(state: &Path, flags: &[&str]) -> Product {
        let fleet = state.join("fleet.yaml");
        std::fs::write(&fleet, FLEET).unwrap();
        let server_file = state.join("server.json");
        let _absent = std::fs::remove_file(&server_file);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(state.join("up.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kubercarbon"))
            .args(["up", "--no-tls", "--listen", "127.0.0.1:0", "--from", "2026-03-02T00:00:00Z", "--state"])
            .arg(state)
            .arg("--fleet")
            .arg(&fleet)
            .args(flags)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut product =
            Product { state: state.to_owned(), child, url: String::new(), http: reqwest::Client::new() };
        for _ in 0..TRIES {
            if let Ok(text) = std::fs::read_to_string(&server_file) {
                let file: Value = serde_json::from_str(&text).unwrap();
                product.url = file["url"].as_str().unwrap().to_owned();
                return product;
            }
            assert!(product.child.try_wait().unwrap().is_none(), "up ended: {}", product.log());
            tokio::time::sleep(PAUSE).await;
        }
        panic!("up did not become ready: {}", product.log());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state.join("up.log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, as Ctrl-C does, and waits until it has.
    pub fn stop(&mut self) {
        let told = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(told.unwrap().success());
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }

    /// Base address of a cluster's Kubernetes API.
    pub fn cluster(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.state.join("kubeconfig")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        let clusters = config["clusters"].as_array().unwrap();
        let cluster = clusters.iter().find(|c| c["name"] == name).unwrap();
        cluster["cluster"]["server"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, url: &str) -> Value {
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Jobs of a cluster, all namespaces.
    pub async fn jobs(&self, cluster: &str) -> Vec<Value> {
        let list = self.get(&format!("{}/apis/batch/v1/jobs", self.cluster(cluster))).await;
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Creates a Job; `Ok` only when the server said so.
    pub async fn create(&self, cluster: &str, job: &Value) -> Result<(), String> {
        let namespace = job["metadata"]["namespace"].as_str().unwrap_or("default");
        let url = format!("{}/apis/batch/v1/namespaces/{namespace}/jobs", self.cluster(cluster));
        let answer = self.http.post(url).json(job).send().await.map_err(|e| e.to_string())?;
        if answer.status() == 201 { Ok(()) } else { Err(answer.text().await.unwrap_or_default()) }
    }

    /// Waits until `done` says so.
    pub async fn until<F: AsyncFn() -> bool>(&self, what: &str, done: F) {
        self.until_or(what, done, async || String::new()).await;
    }

    /// The same; `else_say` tells more where it does not come about.
    pub async fn until_or<F: AsyncFn() -> bool, S: AsyncFn() -> String>(
        &self,
        what: &str,
        done: F,
        else_say: S,
    ) {
        for _ in 0..TRIES {
            if done().await {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{what} did not come about: {}{}", self.log(), else_say().await);
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // It may have been killed already.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A Job under the contract that may run anywhere.
pub fn job(name: &str, expected: &str, within: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": name, "namespace": "default",
            "labels": {"kubercarbon.io/placement": "managed"},
            "annotations": {"kubercarbon.io/expected-duration": expected, "kubercarbon.io/finish-within": within},
        },
        "spec": {
            "suspend": true, "managedBy": "kubercarbon.io/fleet", "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [
                {"name": "work", "image": "busybox", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
            ]}},
        },
    })
}

/// Whether a condition is True.
pub fn has(job: &Value, condition: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == condition && c["status"] == "True")
}
