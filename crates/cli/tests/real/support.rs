//! Real control planes of the lab, and the real binary on them under the role that `kubercarbon rbac` prints.
//!
//! All on loopback. What is started here is ended here, by its process id.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for something to become true; machines that build beside the tests are slow.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(200);
/// Who the product is in its clusters.
const ACCOUNT: &str = "system:serviceaccount:ops:kubercarbon";
/// What the API servers write down: every request of the product, and its answer's code.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: ['system:serviceaccount:ops:kubercarbon']}
- {level: None}
";

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Polls until `done` says so.
pub fn until(what: &str, log: impl Fn() -> String, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about: {}", log());
        std::thread::sleep(PAUSE);
    }
}

/// The lab: its scripts, and the binaries they start.
#[derive(Clone)]
pub struct Lab {
    scripts: PathBuf,
    bin: PathBuf,
}

const BINARIES: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];
const STAGES: &str = "kwok-stages.yaml";

impl Lab {
    /// The same, whose containers ran from when they started, as a kubelet says it: KWOK's own stage has a container
    /// that ended start at its end.
    pub fn with_kubelets_times(&self, dir: &Path) -> Lab {
        self.with_stages(dir, |stages| {
            let at_its_end = "reason: Completed\n            startedAt: {{ $now | Quote }}";
            let (before, after) = stages.split_at(stages.find("name: pod-complete").unwrap());
            assert!(after.contains(at_its_end), "{after}");
            let at_its_start = "reason: Completed\n            startedAt: {{ $.status.startTime | Quote }}";
            [before, &after.replace(at_its_end, at_its_start)].concat()
        })
    }

    /// The same, where KWOK's stages are others.
    pub fn with_stages(&self, dir: &Path, change: impl FnOnce(&str) -> String) -> Lab {
        let bin = dir.join("bin");
        std::fs::create_dir(&bin).unwrap();
        for name in BINARIES {
            std::os::unix::fs::symlink(self.bin.join(name), bin.join(name)).unwrap();
        }
        let stages = std::fs::read_to_string(self.bin.join(STAGES)).unwrap();
        std::fs::write(bin.join(STAGES), change(&stages)).unwrap();
        Lab { scripts: self.scripts.clone(), bin }
    }
}

/// The lab, where its binaries are built.
pub fn lab() -> Option<Lab> {
    let there = || {
        let lab = PathBuf::from(std::env::var_os("KUBERCARBON_TESTDATA")?).join("lab/control-plane");
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/control-plane/bin"));
        let bin = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from).or_else(home)?;
        let all = BINARIES.iter().chain([&STAGES]).all(|name| bin.join(name).exists());
        let built = all && lab.join("up").exists();
        let kubectl = Command::new("kubectl").args(["version", "--client"]).output();
        (built && kubectl.is_ok_and(|o| o.status.success())).then_some(Lab { scripts: lab, bin })
    };
    let lab = there();
    if lab.is_none() {
        println!("skipped: no control plane (its binaries, the shared folder or kubectl are missing)");
    }
    lab
}

/// A control plane.
pub struct Plane {
    name: &'static str,
    lab: Lab,
    run: PathBuf,
    pub kubeconfig: PathBuf,
    /// The API server, once it was started anew.
    server: Option<Child>,
    /// How much of the audit log was there when it was last looked at anew.
    heard: AtomicUsize,
}

/// A request of the product, as the API server wrote it down.
pub struct Asked {
    /// `VERB RESOURCE` or `VERB RESOURCE/SUBRESOURCE`, the metrics API's with its group.
    pub what: String,
    /// `NAMESPACE/NAME`; the name of what was to be created too.
    pub object: String,
    pub dry_run: bool,
    pub code: u64,
    /// Whether it was refused for want of rights; a quota says 403 as well.
    pub forbidden: bool,
}

impl Plane {
    /// Starts one whose nodes say they are in `region`.
    pub fn start(lab: &Lab, dir: &Path, name: &'static str, region: &str) -> Plane {
        Plane::start_with(lab, dir, name, region, "")
    }

    /// The same with flags for its scheduler.
    pub fn start_with(lab: &Lab, dir: &Path, name: &'static str, region: &str, scheduler: &str) -> Plane {
        let policy = dir.join(format!("{name}-audit-policy.yaml"));
        std::fs::write(&policy, AUDIT).unwrap();
        let log = dir.join(format!("{name}-audit.log"));
        let flags = format!("--audit-policy-file={} --audit-log-path={}", policy.display(), log.display());
        let (run, lab) = (dir.join("run"), lab.clone());
        let kubeconfig = run.join(name).join("kubeconfig");
        let plane = Plane { name, lab, kubeconfig, run, server: None, heard: AtomicUsize::new(0) };
        let output = Command::new(plane.lab.scripts.join("up"))
            .args([name, "3"])
            .env("CONTROL_PLANE_RUN", &plane.run)
            .env("KUBEBUILDER_ASSETS", &plane.lab.bin)
            .env("NODE_REGION", region)
            .env("SCHEDULER_FLAGS", scheduler)
            .env("APISERVER_FLAGS", flags)
            // KWOK's nodes say seldom that they are well, and none may be taken for lost beside a build.
            .env("CONTROLLER_MANAGER_FLAGS", "--node-monitor-grace-period=1800s")
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(dir.join(format!("{name}-up.log"))).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output.stdout));
        plane
    }

    /// kubectl as administrator, with a home of its own.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.run).stdin(Stdio::null());
        command.args(args).output().unwrap()
    }

    /// The same; it must go well.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.kubectl(args);
        assert!(output.status.success(), "{}: kubectl {args:?}: {}", self.name, text(&output.stderr));
        text(&output.stdout)
    }

    pub fn get(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = ["get", "-o", "json"].into_iter().chain(args.iter().copied()).collect();
        serde_json::from_slice(&self.kubectl(&args).stdout).unwrap_or_default()
    }

    pub fn apply(&self, manifest: &str) {
        let file = self.run.join("manifest.yaml");
        std::fs::write(&file, manifest).unwrap();
        self.run(&["apply", "-f", &file.display().to_string()]);
    }

    fn audit(&self) -> String {
        let path = self.run.parent().unwrap().join(format!("{}-audit.log", self.name));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// From here on what the product asked before no longer counts.
    pub fn listen_anew(&self) {
        self.heard.store(self.audit().len(), Ordering::SeqCst);
    }

    /// Every request of the product on this cluster, in order.
    pub fn requests(&self) -> Vec<Asked> {
        let log = self.audit();
        let lines = log.get(self.heard.load(Ordering::SeqCst)..).unwrap_or_default().lines();
        let asked = |line: Value| {
            assert_eq!(line["user"]["username"], ACCOUNT);
            let part = |name: &str| line["objectRef"][name].as_str().unwrap_or_default().to_owned();
            let sub = Some(part("subresource")).filter(|sub| !sub.is_empty());
            let sub = sub.map(|sub| format!("/{sub}")).unwrap_or_default();
            // Nodes and pods are the names of two things each.
            let group = Some(part("apiGroup")).filter(|group| group == "metrics.k8s.io");
            let group = group.map(|group| format!(".{group}")).unwrap_or_default();
            // What kinds there are, as kubectl asks for logs first.
            (!part("resource").is_empty()).then(|| Asked {
                what: format!("{} {}{group}{sub}", line["verb"].as_str().unwrap(), part("resource")),
                object: format!("{}/{}", part("namespace"), part("name")),
                dry_run: line["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=All")),
                code: line["responseStatus"]["code"].as_u64().unwrap_or(0),
                forbidden: line["annotations"]["authorization.k8s.io/decision"] == "forbid",
            })
        };
        lines.filter_map(|line| serde_json::from_str(line).ok()).filter_map(asked).collect()
    }

    /// What the product asked of this cluster, and which of it was refused for want of rights, and never allowed: an
    /// API server that has just begun says no to everybody until it has read the roles.
    pub fn asked(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let all = self.requests();
        let allowed: BTreeSet<&String> = all.iter().filter(|a| a.code < 300).map(|a| &a.what).collect();
        let refused = all.iter().filter(|asked| asked.forbidden && !allowed.contains(&asked.what));
        let refused = refused.map(|asked| asked.what.clone()).collect();
        (all.into_iter().map(|asked| asked.what).collect(), refused)
    }

    /// How often the product made a Job here whose name begins so.
    pub fn made(&self, name: &str) -> usize {
        let begins = format!("default/{name}-");
        let made = |asked: &&Asked| asked.what == "create jobs" && asked.code == 201 && !asked.dry_run;
        self.requests().iter().filter(made).filter(|asked| asked.object.starts_with(&begins)).count()
    }

    /// The copies here of a Job of this name.
    pub fn copies(&self, name: &str) -> Vec<Value> {
        let all = self.get(&["jobs", "--all-namespaces", "-l", "kubercarbon.io/origin-uid"]);
        let named = |c: &&Value| c["metadata"]["annotations"]["kubercarbon.io/origin-name"] == name;
        all["items"].as_array().unwrap().iter().filter(named).cloned().collect()
    }

    /// Ends the pods of the copy of a Job, as their kubelet would.
    pub fn end_pods(&self, name: &str) {
        let copy = self.copies(name)[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let pods = self.get(&["pods", "-l", &format!("batch.kubernetes.io/job-name={copy}")]);
        let now = text(&Command::new("date").args(["-u", "+%FT%TZ"]).output().unwrap().stdout);
        let now = now.trim();
        for pod in pods["items"].as_array().unwrap() {
            let started = &pod["status"]["startTime"];
            let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now}});
            let container = json!({"name": "work", "image": "busybox", "imageID": "", "ready": false, "restartCount": 0,
                "started": false, "state": ended});
            let status =
                json!({"status": {"phase": "Succeeded", "containerStatuses": [container]}}).to_string();
            let pod = pod["metadata"]["name"].as_str().unwrap();
            self.run(&["patch", "pod", pod, "--subresource=status", "--type=merge", "-p", &status]);
        }
    }

    /// What one of our annotations says on a Job.
    pub fn mark(&self, job: &str, key: &str) -> Option<String> {
        let job = self.get(&["job", job]);
        job["metadata"]["annotations"][format!("kubercarbon.io/{key}")].as_str().map(str::to_owned)
    }

    /// Waits until a Job is complete, as a person would.
    pub fn complete(&self, name: &str, product: &Product) {
        let job = format!("job/{name}");
        let waited = self.kubectl(&["wait", "--for=condition=complete", "--timeout=180s", &job]);
        assert!(waited.status.success(), "{name}: {} {}", text(&waited.stderr), product.log());
    }

    /// What was said in events.
    pub fn told(&self) -> String {
        self.run(&["get", "events", "-A", "-o", "custom-columns=M:.message", "--no-headers"])
    }

    fn server_pid(&self) -> String {
        let pids = std::fs::read_to_string(self.run.join(self.name).join("pids")).unwrap();
        pids.lines().nth(1).unwrap().to_owned()
    }

    /// Kills the API server; gives what starts it again.
    pub fn kill_server(&mut self) -> Command {
        let pid = self.server_pid();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let words: Vec<String> = line.split(|b| *b == 0).filter(|w| !w.is_empty()).map(text).collect();
        assert!(words[0].ends_with("kube-apiserver"), "{words:?}");
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        let mut again = Command::new(&words[0]);
        again.args(&words[1..]).current_dir(self.run.join(self.name));
        again.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        again
    }

    /// Starts the API server again.
    pub fn revive(&mut self, mut again: Command) {
        self.server = Some(again.spawn().unwrap());
        until("the API server is ready again", String::new, || {
            self.kubectl(&["get", "--raw", "/readyz"]).status.success()
        });
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // It may have ended already.
            let _gone = server.kill();
            let _waited = server.wait();
        }
        let mut down = Command::new(self.lab.scripts.join("down"));
        let _done = down.arg(self.name).env("CONTROL_PLANE_RUN", &self.run).stdout(Stdio::null()).status();
    }
}

/// The two clusters of these tests.
pub struct Fleet {
    pub dir: PathBuf,
    pub kr: Plane,
    pub se: Plane,
}

impl Fleet {
    /// Starts both. Sweden's grid is far cleaner than Korea's at any hour of the typical year.
    pub fn start(lab: &Lab, dir: &Path) -> Fleet {
        let lab = &lab.with_kubelets_times(dir);
        let (kr, se) = std::thread::scope(|scope| {
            let kr = scope.spawn(move || Plane::start(lab, dir, "kr", "ap-northeast-2"));
            let se = scope.spawn(move || Plane::start(lab, dir, "se", "eu-north-1"));
            (kr.join(), se.join())
        });
        Fleet { dir: dir.to_owned(), kr: kr.unwrap(), se: se.unwrap() }
    }

    /// Gives the product the rights of a mode on both, and no others.
    pub fn allow(&self, mode: &str) {
        let granted = |plane| grant_by(plane, mode, &["--mode", mode]);
        let tokens = [(&self.kr, granted(&self.kr)), (&self.se, granted(&self.se))];
        kubeconfig(&self.dir.join("kubeconfig"), &tokens);
    }

    /// The product on both.
    pub fn up(&self, flags: &[&str]) -> Product {
        Product::start_in(&self.dir, "state", flags)
    }
}

/// Gives the product's account on a cluster the rights that `rbac` prints with these flags, and no others; gives its
/// token.
pub fn grant_by(plane: &Plane, role: &str, flags: &[&str]) -> String {
    plane.kubectl(&["create", "namespace", "ops"]);
    for other in ["import", "observe", "approve", "auto"].iter().filter(|other| **other != role) {
        plane.kubectl(&["delete", "clusterrolebinding", &format!("kubercarbon-{other}-kubercarbon")]);
    }
    let args: Vec<&str> =
        ["rbac", "--service-account", "ops/kubercarbon"].into_iter().chain(flags.iter().copied()).collect();
    let role = kubercarbon(&args);
    assert!(role.status.success(), "{}", text(&role.stderr));
    plane.apply(&text(&role.stdout));
    plane.run(&["-n", "ops", "create", "token", "kubercarbon", "--duration", "2h"]).trim().to_owned()
}

/// Writes a kubeconfig whose contexts are the planes, by token, and `again`: the first one by another address.
pub fn kubeconfig(path: &Path, planes: &[(&Plane, String)]) {
    let mut text = "apiVersion: v1\nkind: Config\n".to_owned();
    let view = |plane: &Plane| -> Value {
        serde_json::from_str(&plane.run(&["config", "view", "--raw", "-o", "json"])).unwrap()
    };
    for (head, line) in [("clusters", 0), ("users", 1), ("contexts", 2)] {
        text += &format!("{head}:\n");
        if line == 2 {
            let name = planes[0].0.name;
            text += &format!("- {{name: again, context: {{cluster: again-{name}, user: {name}}}}}\n");
        }
        for (plane, token) in planes {
            let name = plane.name;
            let cluster = &view(plane)["clusters"][0]["cluster"];
            text += &match line {
                0 => format!(
                    "- {{name: {name}, cluster: {cluster}}}\n- {{name: again-{name}, cluster: {}}}\n",
                    cluster.to_string().replace("127.0.0.1", "localhost")
                ),
                1 => format!("- {{name: {name}, user: {{token: {token}}}}}\n"),
                _ => format!("- {{name: {name}, context: {{cluster: {name}, user: {name}}}}}\n"),
            };
        }
    }
    std::fs::write(path, text).unwrap();
}

/// Runs the binary under test.
pub fn kubercarbon(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubercarbon"));
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

/// `kubercarbon up` on real clusters.
pub struct Product {
    state: PathBuf,
    child: Child,
}

impl Product {
    /// One with a state of its own.
    pub fn start_in(dir: &Path, state: &str, flags: &[&str]) -> Product {
        Product::start_on(dir, state, &["kr", "se"], flags)
    }

    /// One on these contexts.
    pub fn start_on(dir: &Path, state: &str, contexts: &[&str], flags: &[&str]) -> Product {
        let state = dir.join(state);
        let server = state.join("real/server.json");
        let _absent = std::fs::remove_file(&server);
        std::fs::create_dir_all(&state).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(state.join("up.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kubercarbon"))
            .args(["up", "--listen", "127.0.0.1:0", "-v"])
            .args(contexts.iter().flat_map(|context| ["--context", context]))
            .arg("--state")
            .arg(&state)
            .arg("--kubeconfig")
            .arg(dir.join("kubeconfig"))
            .args(flags)
            // Typical years alone: no figure of today decides where a Job goes.
            .env("KUBERCARBON_CARBON_PROVIDERS", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let product = Product { state, child };
        until("up is ready", || product.log(), || server.exists());
        product
    }

    /// Ends it as a person or a system does, and waits until it has.
    pub fn end(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{ended}: {}", self.log());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state.join("up.log")).unwrap_or_default()
    }

    /// Runs a command against it.
    pub fn ask(&self, args: &[&str]) -> Output {
        let state = self.state.display().to_string();
        kubercarbon(&args.iter().copied().chain(["--state", &state]).collect::<Vec<_>>())
    }

    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.ask(&["status", "-o", "json"]).stdout).unwrap_or_default()
    }

    /// What is shown of a cluster.
    pub fn cluster(&self, name: &str) -> Value {
        let status = self.status();
        let all = status["clusters"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|c| c["name"] == name).unwrap_or_default()
    }

    /// What is shown of a Job.
    pub fn job(&self, name: &str) -> Value {
        let status = self.status();
        let all = status["jobs"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|j| j["key"]["name"] == name).unwrap_or_default()
    }

    pub fn until(&self, what: &str, done: impl Fn() -> bool) {
        until(what, || self.log(), done);
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// `kubercarbon up` on a twin file.
pub struct Twin {
    child: Child,
    log: PathBuf,
    pub kubeconfig: PathBuf,
}

impl Twin {
    pub fn start(dir: &Path, file: &str, flags: &[&str]) -> Twin {
        let (state, log) = (dir.join("twin"), dir.join("twin.log"));
        let out = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kubercarbon"))
            .args(["up", "--listen", "127.0.0.1:0", "--speed", "60x", "--fleet", file, "--state"])
            .arg(&state)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let twin = Twin { child, log, kubeconfig: state.join("kubeconfig") };
        until("the twin is up", || twin.said(), || state.join("server.json").exists());
        twin
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn get(&self, args: &[&str]) -> Value {
        let kubeconfig = self.kubeconfig.display().to_string();
        let args = ["--kubeconfig", &kubeconfig, "get", "-o", "json"].into_iter().chain(args.iter().copied());
        let output = Command::new("kubectl").args(args).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// A Job under the contract; `movable`: it may leave home. Without a deadline it is placed, not delayed.
pub fn job(name: &str, movable: bool, annotations: &str) -> String {
    let managed_by = if movable { "managedBy: kubercarbon.io/fleet" } else { "backoffLimit: 1" };
    format!(
        "apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
  labels: {{kubercarbon.io/placement: managed}}
  annotations: {{kubercarbon.io/expected-duration: 20m{annotations}}}
spec:
  suspend: true
  {managed_by}
  template:
    spec:
      restartPolicy: Never
      containers:
      - {{name: work, image: busybox, resources: {{requests: {{cpu: '1', memory: 1Gi}}}}}}
"
    )
}

/// The same, whose pods run for so long: `20s`, `1h`.
pub fn lasting(name: &str, time: &str) -> String {
    let stage = "pod-complete.stage.kwok.x-k8s.io";
    let head =
        format!("    metadata: {{annotations: {{{stage}/delay: {time}, {stage}/jitter-delay: {time}}}}}\n");
    job(name, true, "").replacen("    spec:\n", &format!("{head}    spec:\n"), 1)
}
