//! The same manifests and the same changes on a real control plane and on the twin of it: what becomes of workloads.
//!
//! Each is watched from the beginning. Compared are, object by object: the states it went through, what its controller
//! did with its pods in which order, what it was told in events, and what it is in the end, down to every field that
//! neither a clock nor chance fills in. KWOK plays the kubelet on the real one and knows but what its stages say, so
//! that of pods only their phase counts.

use crate::both::Both;
use crate::support::until;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// What is watched, owners before what they own.
const KINDS: [(&str, &str); 14] = [
    ("Namespace", "/api/v1/namespaces"),
    ("Deployment", "/apis/apps/v1/deployments"),
    ("StatefulSet", "/apis/apps/v1/statefulsets"),
    ("DaemonSet", "/apis/apps/v1/daemonsets"),
    ("ControllerRevision", "/apis/apps/v1/controllerrevisions"),
    ("ReplicaSet", "/apis/apps/v1/replicasets"),
    ("ReplicationController", "/api/v1/replicationcontrollers"),
    ("Job", "/apis/batch/v1/jobs"),
    ("PodDisruptionBudget", "/apis/policy/v1/poddisruptionbudgets"),
    ("ResourceQuota", "/api/v1/resourcequotas"),
    ("Service", "/api/v1/services"),
    ("EndpointSlice", "/apis/discovery.k8s.io/v1/endpointslices"),
    ("Pod", "/api/v1/pods"),
    ("Event", "/api/v1/events"),
];
/// Those whose way counts, not their end alone: how often the others are written hangs on what came together.
const WAYS: [&str; 7] =
    ["Namespace", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"];
/// Namespaces of this test begin so.
const PREFIX: &str = "life-";
/// Fields that a clock or chance fills in, wherever they are.
const CHANCE: [&str; 17] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "lastTransitionTime",
    "lastUpdateTime",
    "startTime",
    "completionTime",
    "lastSuccessfulTime",
    "lastProbeTime",
    "addresses",
    "nodeName",
    "zone",
    "clusterIP",
    "clusterIPs",
    "endpoints.kubernetes.io/last-change-trigger-time",
];

/// KWOK's stage for a pod of a Job that fails.
pub const FAILING: &str = "---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-fail}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchLabels: {fails: 'yes'}
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.phase, operator: In, values: [Running]}
  weight: 1
  delay: {durationMilliseconds: 300}
  next:
    statusTemplate: |
      {{ $now := Now }}
      containerStatuses:
      {{ range $index, $item := .spec.containers }}
      - image: {{ $item.image | Quote }}
        name: {{ $item.name | Quote }}
        ready: false
        restartCount: 0
        state: {terminated: {exitCode: 3, finishedAt: {{ $now | Quote }}, reason: Error, startedAt: {{ $now | Quote }}}}
      {{ end }}
      phase: Failed
";

/// A watch of every kind on one of them, since it began.
struct History {
    files: Vec<(&'static str, PathBuf)>,
    watches: Vec<Child>,
}

impl History {
    fn begin(both: &Both, config: &Path, dir: &Path) -> History {
        std::fs::create_dir_all(dir).unwrap();
        let (mut files, mut watches) = (Vec::new(), Vec::new());
        for (kind, path) in KINDS {
            let file = dir.join(kind);
            let path = format!("{path}?watch=1&timeoutSeconds=3600");
            let mut command = both.command(config, &["get", "--raw", &path]);
            command.stdin(Stdio::null()).stdout(std::fs::File::create(&file).unwrap()).stderr(Stdio::null());
            watches.push(command.spawn().unwrap());
            files.push((kind, file));
        }
        // Each begins with what is there, and there is at least one of these.
        let heard = |kind: &str| std::fs::metadata(dir.join(kind)).is_ok_and(|file| file.len() > 0);
        until("watches begin", String::new, || heard("Namespace") && heard("Service"));
        History { files, watches }
    }

    /// Every change in this test's namespaces, in the order it was made.
    fn changes(&self) -> Vec<Change> {
        let mut all = Vec::new();
        for (kind, file) in &self.files {
            let text = std::fs::read_to_string(file).unwrap();
            // The last line may not be whole yet.
            let lines = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map_while(Result::ok);
            for mut line in lines {
                let object = line["object"].take();
                let meta = &object["metadata"];
                let space = meta["namespace"].as_str().or(meta["name"].as_str()).unwrap_or_default();
                if !space.starts_with(PREFIX) {
                    continue;
                }
                let version = meta["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap();
                all.push(Change { version, kind, gone: line["type"] == "DELETED", object });
            }
        }
        all.sort_by_key(|change| change.version);
        all
    }
}

impl Drop for History {
    fn drop(&mut self) {
        for watch in &mut self.watches {
            // It may have ended already.
            let _gone = watch.kill();
            let _waited = watch.wait();
        }
    }
}

struct Change {
    version: u64,
    kind: &'static str,
    gone: bool,
    object: Value,
}

fn word<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Names without chance: what is named by chance or a hash is the first, second… of its owner's.
#[derive(Default)]
struct Names {
    known: BTreeMap<String, String>,
    counts: BTreeMap<(String, &'static str), usize>,
}

impl Names {
    /// What an object is called, its namespace before it.
    fn of(&mut self, kind: &'static str, object: &Value) -> String {
        let (space, name) = (word(object, "/metadata/namespace"), word(object, "/metadata/name"));
        let hashed = matches!(kind, "ReplicaSet" | "ControllerRevision")
            && object.pointer("/metadata/ownerReferences").is_some();
        let uid = word(object, "/metadata/uid");
        if !self.known.contains_key(uid) {
            self.known.insert(uid.to_owned(), "~".to_owned());
        }
        // The pods of a StatefulSet have both: the set's name to begin with, and their number.
        let numbered = word(object, "/metadata/ownerReferences/0/kind") == "StatefulSet";
        if (word(object, "/metadata/generateName").is_empty() || numbered) && !hashed {
            return format!("{space}/{}", self.without_chance(name));
        }
        if !self.known.contains_key(name) {
            let owner = match word(object, "/metadata/ownerReferences/0/name") {
                "" => word(object, "/metadata/generateName").trim_end_matches('-').to_owned(),
                owner => self.without_chance(owner),
            };
            let count = self.counts.entry((format!("{space}/{owner}"), kind)).or_default();
            *count += 1;
            let known = format!("{owner}~{count}");
            for key in ["pod-template-hash", "controller.kubernetes.io/hash", "controller-revision-hash"] {
                if let Some(hash) = object["metadata"]["labels"][key].as_str() {
                    self.known.insert(hash.to_owned(), format!("~{count}"));
                }
            }
            self.known.insert(name.to_owned(), known);
        }
        format!("{space}/{}", self.without_chance(name))
    }

    /// A text in which such names occur.
    fn without_chance(&self, text: &str) -> String {
        let mut found: Vec<(&String, &String)> =
            self.known.iter().filter(|(name, _)| text.contains(*name)).collect();
        found.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        found.into_iter().fold(text.to_owned(), |text, (name, known)| text.replace(name, known))
    }
}

/// What is told of each thing, line by line.
type Told = BTreeMap<String, Vec<String>>;

fn say(told: &mut Told, of: String, line: String) {
    let lines = told.entry(of).or_default();
    if lines.last() != Some(&line) {
        lines.push(line);
    }
}

/// `Available=True(MinimumReplicasAvailable)`, in the order of types.
fn conditions(object: &Value) -> String {
    let all = object.pointer("/status/conditions").and_then(Value::as_array);
    // How often a quota is met hangs on how soon it is tried again, and whether a namespace is looked at between what
    // its controllers do on when that is.
    let passing = ["ReplicaFailure", "NamespaceDeletionContentFailure"];
    let lasting = all.into_iter().flatten().filter(|condition| !passing.contains(&word(condition, "/type")));
    let each = lasting.map(|condition| {
        format!("{}={}({})", word(condition, "/type"), word(condition, "/status"), word(condition, "/reason"))
    });
    each.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

/// The state of an object of a kind whose way counts.
fn state(change: &Change) -> String {
    let object = &change.object;
    if change.gone {
        return "gone".to_owned();
    }
    let mut parts = vec![word(object, "/status/phase").to_owned()];
    for (name, at) in [("replicas", "/spec/replicas"), ("suspend", "/spec/suspend")] {
        parts.extend(object.pointer(at).map(|value| format!("{name}={value}")));
    }
    parts.push(conditions(object));
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        let held = object.pointer("/metadata/finalizers").cloned().unwrap_or_default();
        parts.push(format!("ending {held}"));
    }
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// A pod's phase as far as KWOK tells it.
fn phase(change: &Change) -> &'static str {
    let object = &change.object;
    if change.gone || object.pointer("/metadata/deletionTimestamp").is_some() {
        return "deleted";
    }
    let ready = conditions(object).split(' ').any(|condition| condition.starts_with("Ready=True("));
    match word(object, "/status/phase") {
        "Succeeded" => "succeeded",
        "Failed" => "failed",
        "Running" if ready => "ready",
        _ => "created",
    }
}

/// The object without what a clock or chance filled in.
fn settled(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| !CHANCE.contains(&name.as_str()) && !value.is_null());
            fields.values_mut().for_each(settled);
            fields.retain(|name, value| name != "annotations" || *value != json!({}));
        }
        Value::Array(items) => items.iter_mut().for_each(settled),
        _ => {}
    }
}

/// What a controller said of an object that is neither a pod nor a node, nor a budget, which is told that it has no
/// pods where it is seen before them.
fn event(told: &mut Told, said: &mut BTreeSet<String>, names: &Names, change: &Change) {
    let (object, of) = (&change.object, &change.object["involvedObject"]);
    // Said again it is the same event, counted.
    let text = format!("{} {}: {}", word(object, "/type"), word(object, "/reason"), word(object, "/message"));
    let (kind, space) = (word(of, "/kind"), word(of, "/namespace"));
    if ["Pod", "Node", "PodDisruptionBudget"].contains(&kind)
        || change.gone
        || !said.insert(format!("{space}/{}{text}", of["name"]))
    {
        return;
    }
    let name = names.without_chance(word(of, "/name"));
    let line = names.without_chance(&text).replace("(combined from similar events): ", "");
    // Which of several pods came first is chance, and what one that was refused would have been called.
    let line = match line.split_once(['~', '"']) {
        Some((before, after)) if kind != "Deployment" => {
            let rest = after.find(' ').map_or("", |at| &after[at..]);
            format!("{before}…{rest}")
        }
        _ => line,
    };
    // So is how often something was refused, and what went well meanwhile.
    if word(object, "/type") == "Warning" {
        let of = format!("warned {kind} {space}/{name}");
        let lines = told.entry(of).or_default();
        if !lines.contains(&line) {
            lines.push(line);
        }
        return;
    }
    told.entry(format!("told {kind} {space}/{name}")).or_default().push(line);
}

/// The object in the end, for comparison.
fn end(change: &Change, names: &Names) -> Vec<String> {
    let mut object = change.object.clone();
    settled(&mut object);
    if let Some(endpoints) = object.get_mut("endpoints").and_then(Value::as_array_mut) {
        // Who stays of pods that are alike is chance.
        for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.get("hostname").is_none()) {
            endpoint["targetRef"]["name"].take();
        }
        endpoints.sort_by_key(|endpoint| word(endpoint, "/targetRef/name").to_owned());
    }
    // How often it was written hangs on what came together.
    if change.kind == "EndpointSlice" {
        object["metadata"]["generation"].take();
    }
    let text = names.without_chance(&serde_json::to_string_pretty(&object).unwrap());
    // What a pod that was refused would have been called.
    let lines = text.lines().map(|line| match line.split_once("is forbidden: exceeded quota") {
        Some((_, rest)) => format!("pods … exceeded quota{rest}"),
        None => line.to_owned(),
    });
    lines.collect()
}

/// Everything told of one of them.
fn told(history: &History) -> Told {
    let (mut told, mut names, mut last) = (Told::new(), Names::default(), BTreeMap::new());
    let changes = history.changes();
    // A name may be spoken of before the watch of its kind has told of it.
    for change in &changes {
        names.of(change.kind, &change.object);
    }
    let mut pods: BTreeMap<String, (String, &str)> = BTreeMap::new();
    let mut said = BTreeSet::new();
    for change in &changes {
        let object = &change.object;
        if change.kind == "Event" {
            event(&mut told, &mut said, &names, change);
            continue;
        }
        let name = names.of(change.kind, object);
        let key = format!("{} {name}", change.kind);
        if change.kind == "Pod" {
            let owner = object.pointer("/metadata/ownerReferences/0");
            let (kind, owner) = owner.map_or(("", ""), |owner| (word(owner, "/kind"), word(owner, "/name")));
            let now = phase(change);
            // Freed of its owner it is still the pod it was.
            let (of, before) = pods.entry(key).or_insert_with(|| {
                let space = word(object, "/metadata/namespace");
                (format!("{kind} {space}/{}", names.without_chance(owner)), "")
            });
            if *before != now {
                *before = now;
                let which = if kind == "StatefulSet" { name.as_str() } else { "a pod" };
                told.entry(format!("pods of {of}")).or_default().push(format!("{which} {now}"));
            }
            continue;
        }
        if WAYS.contains(&change.kind) {
            say(&mut told, format!("way of {key}"), state(change));
        }
        if change.gone {
            last.remove(&key);
        } else {
            last.insert(key, change);
        }
    }
    for (key, change) in last {
        told.insert(format!("in the end {key}"), end(change, &names));
    }
    told
}

/// Whether lines are these, some of them left out.
fn within(lines: &[String], these: &[String]) -> bool {
    let mut rest = these.iter();
    lines.iter().all(|line| rest.any(|other| other == line))
}

/// Whether both tell the same of a thing. A controller that sees two changes at once writes down one state: of a way
/// one of them may have left out states, but neither the first nor the last, nor may it have others. A real controller
/// may go by what it read a moment ago, and then makes and deletes a pod once more.
fn alike(key: &str, real: &[String], twin: &[String]) -> bool {
    let ends = |lines: &[String]| (lines.first().cloned(), lines.last().cloned());
    let skips = || ends(real) == ends(twin) && (within(real, twin) || within(twin, real));
    let again = || ends(real) == ends(twin) && within(twin, real);
    real == twin || key.starts_with("way of") && skips() || key.starts_with("pods of") && again()
}

/// What is told differently.
fn different<'t>(real: &'t Told, twin: &'t Told) -> Vec<&'t String> {
    let all: BTreeSet<&String> = real.keys().chain(twin.keys()).collect();
    let lines = |told: &'t Told, key: &String| told.get(key).map(Vec::as_slice).unwrap_or_default();
    all.into_iter().filter(|key| !alike(key, lines(real, key), lines(twin, key))).collect()
}

/// Where the two differ, for people.
fn differences(real: &Told, twin: &Told) -> String {
    let mut text = String::new();
    for key in different(real, twin) {
        let lines = |told: &Told| told.get(key).cloned().unwrap_or_default();
        let (real, twin) = (lines(real), lines(twin));
        text += &format!("\n{key}\n");
        if key.starts_with("in the end") && !real.is_empty() && !twin.is_empty() {
            let only = |these: &[String], those: &[String], sign: &str| -> String {
                these
                    .iter()
                    .filter(|line| !those.contains(line))
                    .map(|line| format!("  {sign}{line}\n"))
                    .collect()
            };
            text += &(only(&real, &twin, "real ") + &only(&twin, &real, "twin "));
        } else {
            text += &format!("  real: {}\n  twin: {}\n", real.join("\n        "), twin.join("\n        "));
        }
    }
    text
}

/// Pods that come and go as quickly as lets all that are made together be made before the first is ready, on a busy
/// machine too; `kwok` says more about how.
fn template(app: &str, command: &str, kwok: &str, spec: &str) -> String {
    let quick: Vec<String> = ["pod-create", "pod-ready", "pod-complete"]
        .iter()
        .flat_map(|stage| {
            ["delay", "jitter-delay"].map(|part| format!("{stage}.stage.kwok.x-k8s.io/{part}: 700ms"))
        })
        .filter(|line| !kwok.contains(line.split_once(':').unwrap().0))
        .collect();
    format!(
        "{{metadata: {{labels: {{{app}}}, annotations: {{{}{kwok}}}}}, spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: main, image: 'busybox:1', command: {command}, resources: {{requests: {{cpu: 10m}}}}}}]{spec}}}}}",
        quick.join(", ")
    )
}

fn object(api: &str, kind: &str, space: &str, name: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {PREFIX}{space}}}\n{rest}\n"
    )
}

const SERVES: &str = "[sleep, '100000']";
const KWOK_LONG: &str =
    ", pod-complete.stage.kwok.x-k8s.io/delay: 1h, pod-complete.stage.kwok.x-k8s.io/jitter-delay: 1h";
const NEVER: &str = ", restartPolicy: Never";

fn manifests() -> String {
    let mut all: String = ["rollout", "ordered", "each", "jobs", "quota", "copies", "ending"]
        .map(|space| format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {PREFIX}{space}}}\n"))
        .concat();
    let serving = |app: &str| template(app, SERVES, "", "");
    let of = |app: &str| format!("selector: {{matchLabels: {{{app}}}}}, template: {}", serving(app));
    let surge = "strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}";
    all += &object(
        "apps/v1",
        "Deployment",
        "rollout",
        "web",
        &format!("spec: {{replicas: 3, {surge}, {}}}", of("app: web")),
    );
    let service = "spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}";
    all += &object("v1", "Service", "rollout", "web", service);
    let budget = "spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}";
    all += &object("policy/v1", "PodDisruptionBudget", "rollout", "web", budget);
    let partition = "serviceName: db, updateStrategy: {rollingUpdate: {partition: 1}}";
    let sets = format!("spec: {{replicas: 3, {partition}, {}}}", of("app: db"));
    all += &object("apps/v1", "StatefulSet", "ordered", "db", &sets);
    let headless = "spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}";
    all += &object("v1", "Service", "ordered", "db", headless);
    all += &object("apps/v1", "DaemonSet", "each", "agent", &format!("spec: {{{}}}", of("app: agent")));
    all += &jobs();
    all += &object("v1", "ResourceQuota", "quota", "few", "spec: {hard: {pods: '2'}}");
    let crowd = format!("spec: {{replicas: 3, progressDeadlineSeconds: 86400, {}}}", of("app: crowd"));
    all += &object("apps/v1", "Deployment", "quota", "crowd", &crowd);
    let copies =
        format!("spec: {{replicas: 2, selector: {{app: copy}}, template: {}}}", serving("app: copy"));
    all += &object("v1", "ReplicationController", "copies", "copy", &copies);
    let ending = format!("spec: {{replicas: 1, {}}}", of("app: last"));
    all += &object("apps/v1", "Deployment", "ending", "last", &ending);
    all + &format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: held, namespace: {PREFIX}ending, finalizers: [example.com/hold]}}\n"
    )
}

fn jobs() -> String {
    let second = template("app: second", "[sleep, '1']", "", NEVER);
    let long = template("app: long", "[sleep, '3600']", KWOK_LONG, NEVER);
    let failing = template(
        "app: failing, fails: 'yes'",
        "[sh, -c, 'sleep 1; exit 3']",
        ", pod-complete.stage.kwok.x-k8s.io/weight: '0'",
        NEVER,
    );
    [
        ("count", format!("completions: 3, template: {second}")),
        ("indexed", format!("completions: 2, completionMode: Indexed, template: {second}")),
        ("paused", format!("suspend: true, template: {second}")),
        ("brief", format!("ttlSecondsAfterFinished: 1, template: {second}")),
        ("late", format!("activeDeadlineSeconds: 30, template: {long}")),
        ("failing", format!("backoffLimit: 1, template: {failing}")),
    ]
    .map(|(name, spec)| object("batch/v1", "Job", "jobs", name, &format!("spec: {{{spec}}}")))
    .concat()
}

/// Both under the same changes.
struct Lives<'a> {
    both: &'a Both,
    histories: [History; 2],
}

impl Lives<'_> {
    /// Waits until both tell the same, and `done` of both.
    fn agree(&self, step: &str, done: impl Fn(&Told) -> bool) {
        let both = || self.histories.each_ref().map(told);
        let show = || {
            let [real, twin] = both();
            let whether = |told: &Told| if done(told) { "done" } else { "not done" };
            format!("real {}, twin {}{}", whether(&real), whether(&twin), differences(&real, &twin))
        };
        until(step, show, || {
            let [real, twin] = both();
            different(&real, &twin).is_empty() && done(&real) && done(&twin)
        });
        println!("{step}: alike, {} ways and ends", both()[0].len());
    }
    fn run(&self, space: &str, args: &[&str]) {
        let space = format!("{PREFIX}{space}");
        self.both.run(&[&["-n", &space], args].concat());
    }
}

/// Whether the last that is told of something says so.
fn ends(told: &Told, of: &str, words: &str) -> bool {
    told.get(of).and_then(|lines| lines.last()).is_some_and(|line| line.contains(words))
}

/// Whether a status says so in the end.
fn is(told: &Told, of: &str, line: &str) -> bool {
    let end = told.get(&format!("in the end {of}"));
    end.is_some_and(|lines| lines.iter().any(|l| l.trim().trim_end_matches(',') == line))
}

fn rolled_out(told: &Told, pods: usize) -> bool {
    let web = "Deployment life-rollout/web";
    ends(told, &format!("way of {web}"), "(NewReplicaSetAvailable)")
        && is(told, web, &format!("\"updatedReplicas\": {pods}"))
        && is(told, web, &format!("\"replicas\": {pods}"))
        && is(told, "PodDisruptionBudget life-rollout/web", &format!("\"currentHealthy\": {pods}"))
}

pub fn alike_over_time(both: &Both) {
    let mut number = 0;
    let histories = both.configs.each_ref().map(|config| {
        number += 1;
        History::begin(both, config, &both.dir.join(format!("history-{number}")))
    });
    let lives = Lives { both, histories };
    both.apply(&manifests());
    lives.agree("workloads begin, Jobs run", |told| {
        let ended = |job: &str, how: &str| ends(told, &format!("way of Job life-jobs/{job}"), how);
        rolled_out(told, 3)
            && is(told, "StatefulSet life-ordered/db", "\"readyReplicas\": 3")
            && is(told, "DaemonSet life-each/agent", "\"numberAvailable\": 3")
            && is(told, "ReplicationController life-copies/copy", "\"availableReplicas\": 2")
            && is(told, "Deployment life-quota/crowd", "\"reason\": \"FailedCreate\"")
            && ["count", "indexed"].iter().all(|job| ended(job, "Complete=True"))
            && ended("late", "Failed=True(DeadlineExceeded)")
            && ended("failing", "Failed=True(BackoffLimitExceeded)")
            && ended("brief", "gone")
            && ended("paused", "Suspended=True")
    });

    lives.run("rollout", &["set", "image", "deployment/web", "main=busybox:2"]);
    lives.run("ordered", &["set", "image", "statefulset/db", "main=busybox:2"]);
    lives.run("each", &["set", "image", "daemonset/agent", "main=busybox:2"]);
    lives.run("jobs", &["patch", "job", "paused", "-p", "{\"spec\":{\"suspend\":false}}"]);
    lives.run("quota", &["patch", "resourcequota", "few", "-p", "{\"spec\":{\"hard\":{\"pods\":\"3\"}}}"]);
    // A ReplicaSet that was refused tries again ever later; one that changes is looked at at once.
    lives.run("quota", &["annotate", "deployment", "crowd", "example.com/quota=raised"]);
    lives.run("copies", &["scale", "rc/copy", "--replicas=0"]);
    both.run(&["delete", "namespace", "life-ending", "--wait=false"]);
    lives.agree("new images, a Job goes on, a quota is raised, a namespace waits for its end", |told| {
        rolled_out(told, 3)
            && is(told, "StatefulSet life-ordered/db", "\"updatedReplicas\": 2")
            && is(told, "StatefulSet life-ordered/db", "\"availableReplicas\": 3")
            && is(told, "DaemonSet life-each/agent", "\"updatedNumberScheduled\": 3")
            && is(told, "DaemonSet life-each/agent", "\"numberAvailable\": 3")
            && ends(told, "way of Job life-jobs/paused", "Complete=True")
            && is(told, "Deployment life-quota/crowd", "\"availableReplicas\": 3")
            && is(told, "ReplicationController life-copies/copy", "\"replicas\": 0")
            && ends(told, "way of Namespace /life-ending", "NamespaceFinalizersRemaining=True")
    });

    lives.run("rollout", &["rollout", "undo", "deployment/web"]);
    lives.run("ordered", &["scale", "statefulset/db", "--replicas=1"]);
    lives.run("each", &["delete", "daemonset", "agent", "--wait=false"]);
    lives.run("ending", &["patch", "configmap", "held", "-p", "{\"metadata\":{\"finalizers\":null}}"]);
    lives.agree("a rollback, fewer, a set and a namespace end", |told| {
        rolled_out(told, 3)
            && is(told, "StatefulSet life-ordered/db", "\"availableReplicas\": 1")
            && is(told, "StatefulSet life-ordered/db", "\"replicas\": 1")
            && ends(told, "way of DaemonSet life-each/agent", "gone")
            && ends(told, "way of Namespace /life-ending", "gone")
    });

    lives.run("rollout", &["scale", "deployment/web", "--replicas=1"]);
    lives.run("ordered", &["delete", "statefulset", "db", "--cascade=orphan", "--wait=false"]);
    lives.agree("fewer pods, orphans", |told| {
        rolled_out(told, 1) && ends(told, "way of StatefulSet life-ordered/db", "gone")
    });

    lives.run("rollout", &["delete", "deployment", "web", "--cascade=foreground", "--wait=false"]);
    lives.agree("an end in the foreground", |told| ends(told, "way of Deployment life-rollout/web", "gone"));
}
