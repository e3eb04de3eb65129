//! A world's workloads in the form of the recorded states.

use super::kubelet::{Kubelet, NAMESPACE, home, pods, text};
use fleet::Instant;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use twin::{Kind, World};

/// Names that are made up, by those the recording has for them.
#[derive(Default)]
pub struct Shown {
    /// ReplicaSets in the order they first appeared.
    templates: BTreeMap<String, usize>,
    /// The last state, and the version of the objects it was read at.
    last: (u64, Value),
}

fn list(world: &World, api_version: &str, kind: &str) -> Vec<Value> {
    let kind = Kind::of_object(api_version, kind).unwrap();
    let all = world.objects(&home()).unwrap().list(kind, Some(NAMESPACE));
    all.map(|stored| stored.object.to_value()).collect()
}

fn count(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

fn name(object: &Value) -> String {
    text(object, "/metadata/name")
}

/// Conditions as the recording writes them, by type.
fn conditions(object: &Value, rename: &dyn Fn(String) -> String) -> Vec<String> {
    const RACE: [&str; 3] = ["NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated"];
    let line = |c: &Value| {
        let (kind, status) = (text(c, "/type"), text(c, "/status"));
        let (reason, message) = (text(c, "/reason"), text(c, "/message"));
        if kind == "Progressing" && RACE.contains(&reason.as_str()) {
            return format!("{kind}={status} {}", RACE.join("|"));
        }
        format!("{kind}={status} {reason}: {}", rename(message))
    };
    let mut lines: Vec<String> =
        object["status"]["conditions"].as_array().into_iter().flatten().map(line).collect();
    lines.sort();
    lines
}

impl Shown {
    fn meet(&mut self, sets: &[Value]) {
        let mut new: Vec<(String, String)> = sets
            .iter()
            .filter(|set| !self.templates.contains_key(&name(set)))
            .map(|set| (text(set, "/metadata/creationTimestamp"), name(set)))
            .collect();
        new.sort();
        for (_, name) in new {
            let next = self.templates.len() + 1;
            self.templates.insert(name, next);
        }
    }
    fn rename(&self, message: String) -> String {
        let mut message = message;
        for (name, number) in &self.templates {
            let owner = name.rsplit_once('-').map_or("", |(owner, _)| owner);
            message = message.replace(name.as_str(), &format!("{owner}-template{number}"));
        }
        message
    }
    pub fn state(&mut self, world: &World, kubelet: &Kubelet, start: Instant) -> Value {
        let version = world.objects(&home()).unwrap().version();
        let due = kubelet.waits_for_gone(world.now());
        if self.last.0 == version && !due {
            return self.last.1.clone();
        }
        let mut state = Map::new();
        self.deployments(world, &mut state);
        stateful_sets(world, kubelet, &mut state);
        jobs(world, kubelet, start, &mut state);
        for budget in list(world, "policy/v1", "PodDisruptionBudget") {
            state.insert(format!("pdb/{}", name(&budget)), budget_state(&budget));
        }
        self.last = (version, Value::Object(state));
        self.last.1.clone()
    }
    fn deployments(&mut self, world: &World, state: &mut Map<String, Value>) {
        let sets = list(world, "apps/v1", "ReplicaSet");
        self.meet(&sets);
        for deployment in list(world, "apps/v1", "Deployment") {
            let of = |set: &&Value| {
                text(set, "/metadata/ownerReferences/0/uid") == text(&deployment, "/metadata/uid")
            };
            let set = |set: &Value| {
                let shown = json!({
                    "available": count(set, "availableReplicas"), "ready": count(set, "readyReplicas"),
                    "replicas": count(set, "replicas"), "spec": set["spec"]["replicas"],
                    "revision": set["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
                });
                (self.rename(name(set)), shown)
            };
            let shown = json!({
                "available": count(&deployment, "availableReplicas"),
                "conditions": conditions(&deployment, &|message| self.rename(message)),
                "observedGeneration": count(&deployment, "observedGeneration"),
                "ready": count(&deployment, "readyReplicas"),
                "replicaSets": Value::Object(sets.iter().filter(of).map(set).collect()),
                "replicas": count(&deployment, "replicas"),
                "revision": deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
                "unavailable": count(&deployment, "unavailableReplicas"),
                "updated": count(&deployment, "updatedReplicas"),
            });
            state.insert(format!("deployment/{}", name(&deployment)), shown);
        }
    }
}

/// StatefulSets with their pods, and claims. The recording's API gave a new pod no phase until the kubelet had seen it,
/// and such a pod was not counted; a real API server says `Pending` at once, as the world does.
fn stateful_sets(world: &World, kubelet: &Kubelet, state: &mut Map<String, Value>) {
    for claim in list(world, "v1", "PersistentVolumeClaim") {
        state.insert(format!("pvc/{}", name(&claim)), json!("exists"));
    }
    for set in list(world, "apps/v1", "StatefulSet") {
        let status = &set["status"];
        let own = |pod: &&Value| text(pod, "/metadata/ownerReferences/0/uid") == text(&set, "/metadata/uid");
        let all = pods(world);
        let unseen: Vec<&Value> =
            all.iter().filter(own).filter(|pod| !kubelet.has_bound(&text(pod, "/metadata/uid"))).collect();
        let of = |revision: &Value| {
            let staying = |pod: &Value| pod["metadata"].get("deletionTimestamp").is_none();
            let label = |pod: &&&Value| {
                staying(pod) && pod["metadata"]["labels"]["controller-revision-hash"] == *revision
            };
            unseen.iter().filter(label).count() as i64
        };
        let shown: Map<String, Value> = all
            .iter()
            .filter(own)
            .map(|pod| (name(pod), json!(format!("{} {}", pod_state(pod, kubelet), image(pod)))))
            .collect();
        let mut line = json!({
            "available": count(&set, "availableReplicas"),
            "current": count(&set, "currentReplicas") - of(&status["currentRevision"]),
            "observedGeneration": count(&set, "observedGeneration"),
            "ready": count(&set, "readyReplicas"),
            "replicas": count(&set, "replicas") - unseen.len() as i64,
            "updateDone": status["currentRevision"] == status["updateRevision"],
            "updated": count(&set, "updatedReplicas") - of(&status["updateRevision"]),
        });
        line["pods"] = Value::Object(shown);
        state.insert(format!("statefulset/{}", name(&set)), line);
    }
}

fn image(pod: &Value) -> String {
    text(pod, "/spec/containers/0/image")
}

fn pod_state(pod: &Value, kubelet: &Kubelet) -> String {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    if pod["metadata"].get("deletionTimestamp").is_some() {
        "Terminating".to_owned()
    } else if !kubelet.has_bound(&text(pod, "/metadata/uid")) {
        String::new()
    } else if ready {
        "Ready".to_owned()
    } else {
        text(pod, "/status/phase")
    }
}

/// Jobs and CronJobs.
fn jobs(world: &World, kubelet: &Kubelet, start: Instant, state: &mut Map<String, Value>) {
    let second = |at: &Value| at.as_str().map(|at| (Instant::parse(at).unwrap() - start).as_seconds());
    for cron in list(world, "batch/v1", "CronJob") {
        let mut shown = Map::new();
        for field in ["lastScheduleTime", "lastSuccessfulTime"] {
            if let Some(at) = cron["status"].get(field).filter(|at| !at.is_null()) {
                shown.insert(field.to_owned(), at.clone());
            }
        }
        state.insert(format!("cronjob/{}", name(&cron)), Value::Object(shown));
    }
    for job in list(world, "batch/v1", "Job") {
        let own = |pod: &&Value| text(pod, "/metadata/ownerReferences/0/uid") == text(&job, "/metadata/uid");
        let all = pods(world);
        let there = all.iter().filter(own).filter(|pod| !kubelet.has_gone(pod, world.now()));
        let names: Vec<String> = all.iter().filter(own).map(name).collect();
        // The recording leaves out what is made up of a pod's name.
        let plain = |message: String| {
            names.iter().fold(message, |message, pod| message.replace(pod.as_str(), &name(&job)))
        };
        let mut shown = json!({
            "active": count(&job, "active"), "conditions": conditions(&job, &plain),
            "failed": count(&job, "failed"), "pods": there.count(),
            "ready": count(&job, "ready"), "succeeded": count(&job, "succeeded"),
            "terminating": count(&job, "terminating"),
        });
        let status = &job["status"];
        let seconds = [("started", "startTime"), ("completed", "completionTime")];
        for (key, at) in seconds.into_iter().filter_map(|(key, field)| Some((key, second(&status[field])?))) {
            shown[key] = json!(at);
        }
        for key in ["completedIndexes", "failedIndexes"] {
            if status[key].as_str().is_some_and(|text| !text.is_empty()) {
                shown[key] = status[key].clone();
            }
        }
        let due = &job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
        if due.is_string() {
            shown["scheduled"] = due.clone();
        }
        state.insert(format!("job/{}", name(&job)), shown);
    }
}

fn budget_state(budget: &Value) -> Value {
    let mut shown = Map::new();
    shown.insert("conditions".to_owned(), json!(conditions(budget, &|message| message)));
    for field in ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"] {
        shown.insert(field.to_owned(), json!(count(budget, field)));
    }
    Value::Object(shown)
}

/// What differs between two states, part by part.
pub fn difference(expected: &Value, found: &Value) -> Option<String> {
    let mut text = String::new();
    walk("", expected, found, &mut text);
    (!text.is_empty()).then_some(text)
}

fn walk(path: &str, expected: &Value, found: &Value, text: &mut String) {
    match (expected, found) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let keys: std::collections::BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
            for key in keys {
                let nothing = Value::Null;
                let (theirs, ours) = (theirs.get(key).unwrap_or(&nothing), ours.get(key).unwrap_or(&nothing));
                walk(&format!("{path}/{key}"), theirs, ours, text);
            }
        }
        (theirs, ours) if theirs == ours => {}
        (theirs, ours) => text.push_str(&format!("    {path}: expected {theirs}, found {ours}\n")),
    }
}
