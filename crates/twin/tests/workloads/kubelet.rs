//! The kubelet of the recorded runs: it looks at all pods once a second, and does with each what its image says.
//!
//! It works on a world from outside, by the API. Pods are made from templates that name a scheduler nobody is and carry a
//! finalizer, so that the world's own scheduler and kubelet leave them alone and this one says when they are gone.

use fleet::{ClusterId, Instant, Span};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twin::apiserver::{Options, Request, Subresource, Verb};
use twin::{Kind, World};

pub const NAMESPACE: &str = "prod";
const HOLD: &str = "recorded.example.com/kubelet";

pub fn home() -> ClusterId {
    ClusterId::new("kr").unwrap()
}

/// A request of this verb about an object of the namespace.
pub fn request(verb: Verb, kind: Kind, name: &str, subresource: Option<Subresource>, body: Value) -> Request {
    let name = if verb == Verb::Create && subresource.is_none() { "" } else { name };
    Request {
        verb,
        kind,
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        subresource,
        body,
        options: Options::default(),
    }
}

/// Has the pods of a workload's template left to this kubelet.
pub fn claim(object: &mut Value) {
    for path in ["/spec/template", "/spec/jobTemplate/spec/template"] {
        if let Some(template) = object.pointer_mut(path) {
            template["metadata"]["finalizers"] = json!([HOLD]);
            template["spec"]["schedulerName"] = json!("recorded");
        }
    }
}

/// What this kubelet remembers of a pod.
#[derive(Default)]
struct Seen {
    created: Option<Instant>,
    bound: bool,
    running: Option<Instant>,
    ready: bool,
    exit: Option<i64>,
}

/// The kubelet.
pub struct Kubelet {
    behaviour: Value,
    /// Version of the world's objects at the last note; nothing is new while it stands.
    noted: u64,
    pods: BTreeMap<String, Seen>,
    /// When the deletion of a pod of this name was first seen. The recorded kubelet remembered it by name, so that a second
    /// pod of a StatefulSet's name is gone at once.
    deleted: BTreeMap<String, Instant>,
    /// How many pods of an owner, and of one of its indexes, have been started.
    started: BTreeMap<String, usize>,
}

impl Kubelet {
    pub fn new(behaviour: &Value) -> Kubelet {
        Kubelet {
            behaviour: behaviour.clone(),
            noted: 0,
            pods: BTreeMap::new(),
            deleted: BTreeMap::new(),
            started: BTreeMap::new(),
        }
    }
    /// Whether this kubelet has looked at a pod.
    pub fn has_bound(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|seen| seen.bound)
    }
    /// Whether a pod is gone in the recording: one that its Job no longer counts is gone as soon as it has ended, of which
    /// its Job hears a second later.
    pub fn has_gone(&self, pod: &Value, now: Instant) -> bool {
        let tracked =
            pod["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|f| f != HOLD));
        let seconds = self.of(pod)["terminate"].as_i64().unwrap_or(0);
        let since = self.deleted.get(&text(pod, "/metadata/name"));
        !tracked && since.is_some_and(|since| *since + Span::from_seconds(seconds) <= now)
    }
    /// Whether a pod that was told to go less than a minute ago may have gone without a change.
    pub fn waits_for_gone(&self, now: Instant) -> bool {
        self.deleted.values().any(|since| now - *since < Span::from_seconds(60))
    }
    /// Takes note of pods that are new at `at`.
    pub fn note(&mut self, world: &World, at: Instant) {
        let version = world.objects(&home()).unwrap().version();
        if std::mem::replace(&mut self.noted, version) == version {
            return;
        }
        for pod in pods(world) {
            let uid = text(&pod, "/metadata/uid");
            if self.pods.contains_key(&uid) {
                continue;
            }
            let codes = self.of(&pod)["exit"].as_array().cloned().unwrap_or_default();
            let count = self.started.entry(owner(&pod)).or_default();
            let exit = codes.get(*count).or(codes.last()).and_then(Value::as_i64);
            *count += 1;
            self.pods.insert(uid, Seen { created: Some(at), exit, ..Seen::default() });
        }
    }
    fn of(&self, pod: &Value) -> Value {
        let image = text(pod, "/spec/containers/0/image");
        self.behaviour.get(image.as_str()).unwrap_or(&self.behaviour["*"]).clone()
    }
    /// One look at all pods.
    pub fn look(&mut self, world: &mut World) {
        let now = world.now();
        self.note(world, now);
        for pod in pods(world) {
            for request in self.one(&pod, now) {
                world.schedule(now, &home(), request);
            }
        }
        world.advance_to(now);
        self.note(world, now);
    }
    /// What is to be written about one pod.
    fn one(&mut self, pod: &Value, now: Instant) -> Vec<Request> {
        let behaviour = self.of(pod);
        let seconds = |key: &str| behaviour[key].as_i64().unwrap_or(0);
        let seen = self.pods.get_mut(&text(pod, "/metadata/uid")).unwrap();
        let name = text(pod, "/metadata/name");
        let age = |since: Option<Instant>| since.map_or(-1, |since| (now - since).as_nanos());
        // The real Job controller looks a second after its pods change, the world's at once: so what becomes of its pods
        // comes to it a second later.
        let late = i64::from(owner_kind(pod) == "Job");
        let passed = |since: Option<Instant>, key: &str| {
            let late = if key == "ready" || key == "run" { 0 } else { late };
            seconds(key) >= 0 && age(since) >= Span::from_seconds(seconds(key) + late).as_nanos()
        };
        let mut next = pod.clone();
        next["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let ended = matches!(text(pod, "/status/phase").as_str(), "Succeeded" | "Failed");
        let update = |part, body: &Value| request(Verb::Update, Kind::Pod, &name, part, body.clone());
        if pod["metadata"].get("deletionTimestamp").is_some() {
            let since = *self.deleted.entry(name.clone()).or_insert(now);
            if !passed(Some(since), "terminate") {
                return Vec::new();
            }
            let mut all = Vec::new();
            let finalizers = next["metadata"]["finalizers"].as_array_mut().unwrap();
            finalizers.retain(|f| f != HOLD);
            if !finalizers.is_empty() && !ended {
                let mut last = next.clone();
                last["metadata"]["finalizers"] = pod["metadata"]["finalizers"].clone();
                end(&mut last, 143, now - Span::from_seconds(late));
                all.push(update(Some(Subresource::Status), &last));
                next["status"] = last["status"].clone();
            }
            all.push(update(None, &next));
            return all;
        }
        if ended {
            return Vec::new();
        }
        let mut all = Vec::new();
        let mut changed = false;
        // A container that takes time to start is not started by the look that binds its pod.
        let may_start = seen.bound || seconds("start") == 0;
        if !seen.bound {
            seen.bound = true;
            let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": "recorded"}});
            all.push(request(Verb::Create, Kind::Pod, &name, Some(Subresource::Binding), body));
        }
        if may_start && seen.running.is_none() && passed(seen.created, "start") {
            seen.running = Some(now);
            next["status"]["phase"] = json!("Running");
            changed = true;
        }
        if seen.running.is_some() && !seen.ready && passed(seen.running, "ready") {
            seen.ready = true;
            changed = true;
        }
        if seen.ready && changed {
            next["status"]["conditions"] =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": now.to_rfc3339_seconds()}]);
        }
        if behaviour.get("run").is_some() && seen.running.is_some() && passed(seen.running, "run") {
            end(&mut next, seen.exit.unwrap_or(0), now - Span::from_seconds(late));
            changed = true;
        }
        if changed {
            all.push(update(Some(Subresource::Status), &next));
        }
        all
    }
}

/// The containers of a pod ended at `at`.
fn end(pod: &mut Value, code: i64, at: Instant) {
    let name = text(pod, "/spec/containers/0/name");
    let image = text(pod, "/spec/containers/0/image");
    pod["status"]["phase"] = json!(if code == 0 { "Succeeded" } else { "Failed" });
    pod["status"]["containerStatuses"] = json!([{"name": name, "image": image, "imageID": "", "ready": false,
        "restartCount": 0, "state": {"terminated": {"exitCode": code, "finishedAt": at.to_rfc3339_seconds()}}}]);
    if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
        conditions.retain(|c| c["type"] != "Ready");
    }
}

pub fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn owner_kind(pod: &Value) -> String {
    text(pod, "/metadata/ownerReferences/0/kind")
}

/// Whose pods are counted together.
fn owner(pod: &Value) -> String {
    let index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].clone();
    format!("{}/{}", text(pod, "/metadata/ownerReferences/0/uid"), index.as_str().unwrap_or_default())
}

/// All pods, by name.
pub fn pods(world: &World) -> Vec<Value> {
    let all = world.objects(&home()).unwrap().list(Kind::Pod, Some(NAMESPACE));
    all.map(|stored| stored.object.to_value()).collect()
}
