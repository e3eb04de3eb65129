//! Clients of Kubernetes that nobody here wrote, on `kubercarbon twin serve`: they cannot tell it from a cluster.
//!
//! `prepare DIRECTORY` makes them from their published packages; `KUBERCARBON_CLIENTS` names the directory. Without it,
//! or where one of them could not be had, its test says "skipped".

#![allow(clippy::unwrap_used, clippy::panic, reason = "what a test unwraps is what it asserts")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What was prepared, if it is there.
fn prepared(what: &str) -> Option<PathBuf> {
    let found = std::env::var_os("KUBERCARBON_CLIENTS").map(|dir| PathBuf::from(dir).join(what));
    let found = found.filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: no {what} (KUBERCARBON_CLIENTS)");
    }
    found
}

/// A twin of three nodes with nothing in it.
struct Twin {
    child: Child,
    kubeconfig: String,
}

impl Twin {
    /// Time in it passes ten times as fast as here, so that images are pulled in a second.
    fn start() -> Twin {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubercarbon"))
            .args(["twin", "serve", "--nodes", "3", "--speed", "10x"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("export KUBECONFIG="));
        let kubeconfig = line.unwrap().trim_start_matches("export KUBECONFIG=").to_owned();
        Twin { child, kubeconfig }
    }

    /// Runs a client; what it says.
    fn run(&self, program: &Path, arguments: &[&str]) -> String {
        let home = tempfile::tempdir().unwrap();
        let output = Command::new(program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", home.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn informers_leader_election_and_protobuf_of_client_go() {
    let Some(program) = prepared("bin/informers") else { return };
    assert_eq!(Twin::start().run(&program, &[]), "ok\n");
}

#[test]
fn the_python_client() {
    let Some(python) = prepared("python/bin/python") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/client.py");
    assert_eq!(Twin::start().run(&python, &[script]), "ok\n");
}

#[test]
fn helm_installs_upgrades_and_rolls_back() {
    let Some(helm) = prepared("bin/helm") else { return };
    let (twin, dir) = (Twin::start(), tempfile::tempdir().unwrap());
    let chart = dir.path().join("web");
    let chart = chart.to_str().unwrap();
    // The chart that Helm itself begins every chart with: a Deployment, a Service and a ServiceAccount.
    twin.run(&helm, &["create", chart]);
    twin.run(&helm, &["install", "web", chart, "--wait", "--timeout", "120s"]);
    twin.run(&helm, &["upgrade", "web", chart, "--set", "replicaCount=3", "--wait", "--timeout", "120s"]);
    twin.run(&helm, &["rollback", "web", "1", "--wait", "--timeout", "120s"]);
    let history = twin.run(&helm, &["history", "web"]);
    let statuses: Vec<&str> = history
        .lines()
        .skip(1)
        .map(|line| if line.contains("superseded") { "superseded" } else { "deployed" })
        .collect();
    assert_eq!(statuses, ["superseded", "superseded", "deployed"], "{history}");
    assert!(history.contains("Rollback to 1"), "{history}");
    twin.run(&helm, &["uninstall", "web", "--wait"]);
    assert_eq!(twin.run(&helm, &["list", "--short"]).trim(), "");
}
