//! A twin on which roles rule: real kubectl asks who it is and what it may, and the product works under the role it prints.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Polls at most this often for something to become true.
const TRIES: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(100);

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Twin {
    dir: PathBuf,
    _running: Running,
}

fn until(what: &str, log: &Path, mut done: impl FnMut() -> bool) {
    for _ in 0..TRIES {
        if done() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("{what} did not come about: {}", std::fs::read_to_string(log).unwrap_or_default());
}

fn start(args: &[&str], log: &Path) -> Running {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubercarbon"));
    command.args(args).env("KUBERCARBON_CARBON_PROVIDERS", "none").stdin(Stdio::null());
    Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

impl Twin {
    fn start(dir: &Path) -> Twin {
        let state = dir.join("twin");
        let log = dir.join("twin.log");
        let args = ["twin", "serve", "--rbac", "--nodes", "3", "--listen", "127.0.0.1:0", "--state"];
        let running = start(&[&args[..], &[&state.display().to_string()]].concat(), &log);
        let twin = Twin { dir: dir.to_owned(), _running: running };
        until("the twin is ready", &log, || twin.kubectl(&["get", "--raw", "/readyz"], "").status.success());
        twin
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("twin/kubeconfig")
    }

    /// kubectl as whoever runs the twin, with a home of its own.
    fn kubectl(&self, args: &[&str], input: &str) -> Output {
        let stdin = self.dir.join("stdin");
        std::fs::write(&stdin, input).unwrap();
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.dir);
        command.stdin(std::fs::File::open(stdin).unwrap()).args(args).output().unwrap()
    }

    fn run(&self, args: &[&str], input: &str) -> String {
        let output = self.kubectl(args, input);
        assert!(output.status.success(), "kubectl {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Gives `ops/kubercarbon` the rights of a mode and no others; writes a kubeconfig with a token of it.
    fn allow(&self, mode: &str) -> PathBuf {
        self.kubectl(&["create", "namespace", "ops"], "");
        self.kubectl(
            &["delete", "clusterrolebindings,clusterroles", "-l", "!kubernetes.io/bootstrapping"],
            "",
        );
        let mut rbac = Command::new(env!("CARGO_BIN_EXE_kubercarbon"));
        let printed =
            rbac.args(["rbac", "--mode", mode, "--service-account", "ops/kubercarbon"]).output().unwrap();
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        self.run(&["apply", "-f", "-"], &text(&printed.stdout));
        let token = self.run(&["-n", "ops", "create", "token", "kubercarbon", "--duration", "2h"], "");
        let mut config: Value = serde_json::from_slice(&std::fs::read(self.kubeconfig()).unwrap()).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let path = self.dir.join(format!("{mode}.kubeconfig"));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }
}

fn job(name: &str) -> String {
    let mut job = crate::support::job(name, "3s", "10h");
    // Without a deadline it is placed, not delayed.
    job["metadata"]["annotations"].as_object_mut().unwrap().remove("kubercarbon.io/finish-within");
    job.to_string()
}

/// kubectl, if there is one.
fn has_kubectl() -> bool {
    let there =
        Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|o| o.status.success());
    if !there {
        println!("skipped: no kubectl");
    }
    there
}

#[test]
fn kubectl_is_told_who_it_is_and_what_others_may() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(dir.path());
    let whoami: Value = serde_json::from_str(&twin.run(&["auth", "whoami", "-o", "json"], "")).unwrap();
    assert_eq!(whoami["status"]["userInfo"]["username"], "kubernetes-admin");
    let top = twin.run(&["top", "nodes", "--no-headers"], "");
    assert!(top.lines().count() == 3 && top.contains(" 0m "), "{top}");
    let may = |args: &[&str]| {
        let output = twin.kubectl(&[&["auth", "can-i"], args].concat(), "");
        (output.status.success(), text(&output.stdout).trim().to_owned())
    };
    assert_eq!(may(&["*", "*"]), (true, "yes".to_owned()));
    assert_eq!(may(&["list", "pods", "--as", "jane"]), (false, "no".to_owned()));
    twin.run(&["create", "rolebinding", "jane", "--clusterrole", "view", "--user", "jane"], "");
    assert!(may(&["list", "pods", "--as", "jane"]).0, "view gathers its rules");
    assert!(!may(&["list", "secrets", "--as", "jane"]).0, "view sees no Secrets");
    assert!(!may(&["list", "pods", "-A", "--as", "jane"]).0, "a RoleBinding is of its namespace");
    assert!(!may(&["delete", "pods", "--as", "jane"]).0);
    twin.run(&["create", "clusterrolebinding", "ops", "--clusterrole", "admin", "--group", "ops"], "");
    assert!(
        may(&["create", "rolebindings", "-A", "--as", "max", "--as-group", "ops"]).0,
        "admin has all of edit, and roles"
    );
    let stranger =
        |path: &str| twin.kubectl(&["get", "--raw", path, "--as", "system:anonymous"], "").status.success();
    assert!(stranger("/version") && !stranger("/apis"), "everybody may see the version, and no more");
    let list = twin.run(&["auth", "can-i", "--list", "--as", "jane"], "");
    assert!(list.contains("pods/log") && !list.contains("secrets"), "{list}");
    let refused = twin.kubectl(&["delete", "pod", "x", "--as", "jane"], "");
    let words = text(&refused.stderr);
    assert!(words.contains("Error from server (Forbidden): pods \"x\" is forbidden: User \"jane\" cannot delete resource \"pods\" in API group \"\" in the namespace \"default\""), "{words}");
}

/// One test, because the parts wait for one another's clusters.
#[test]
fn the_role_that_is_printed_is_enough_for_each_mode() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(dir.path());
    for mode in ["observe", "approve", "auto"] {
        let kubeconfig = twin.allow(mode).display().to_string();
        let state = dir.path().join(mode).display().to_string();
        let log = dir.path().join(format!("{mode}.log"));
        let args = ["up", "--context", "twin", "-v", "--listen", "127.0.0.1:0", "--mode", mode];
        let product = start(&[&args[..], &["--state", &state, "--kubeconfig", &kubeconfig]].concat(), &log);
        let ask = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kubercarbon"));
            command.args(args).args(["--state", &state]).output().unwrap()
        };
        twin.run(&["apply", "-f", "-"], &job(mode));
        let shown = || -> Value {
            let status: Value =
                serde_json::from_slice(&ask(&["status", "-o", "json"]).stdout).unwrap_or_default();
            let jobs = status["jobs"].as_array().cloned().unwrap_or_default();
            jobs.into_iter().find(|job| job["key"]["name"] == mode).unwrap_or_default()
        };
        let complete = || {
            let job = twin.kubectl(&["get", "job", mode, "-o", "json"], "");
            crate::support::has(&serde_json::from_slice(&job.stdout).unwrap_or_default(), "Complete")
        };
        until("the Job has a plan", &log, || shown()["target"] == "twin" || complete());
        match mode {
            "observe" => assert!(!complete(), "nothing is written"),
            _ => until("the Job is complete", &log, || {
                if mode == "approve" {
                    // Refused once it has its yes; that it is complete in the end is what counts.
                    let _said = ask(&["approve", "twin/default/approve"]);
                }
                complete()
            }),
        }
        // What the product made goes with its original, as long as the product is there to see to it.
        twin.run(&["delete", "jobs", "--all"], "");
        drop(product);
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(!log.contains("forbidden"), "{mode}: {log}");
    }
}
