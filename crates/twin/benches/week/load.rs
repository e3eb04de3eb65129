//! A busy week of a large cluster: what is in it, what is done to it, and every write that comes of that, added up.
//!
//! Deployments under autoscalers, whose load follows the day and changes every hour, rollouts, Jobs of one to four pods,
//! and nodes that stop for half an hour. A seed fixes all of it. The bench and a test share it.

use fleet::{ClusterId, FleetSpec, Instant, NodeName, Span};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twin::apiserver::{Options, PatchType, Verb};
use twin::object::Object;
use twin::random::{FNV_BASIS, Stream, fnv};
use twin::store::{Change, ChangeKind};
use twin::world::NodeChange;
use twin::{Kind, Request, World};

const CLUSTER: &str = "week";
/// CPU of a pod: asked for, and used where the autoscaler wants it.
const MILLIS: f64 = 250.0;
const USED: f64 = 0.5;
const NAMESPACES: u64 = 20;
const DOWN: Span = Span::from_seconds(1800);

/// How large a week is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub days: i64,
    pub nodes: u64,
    /// Deployments, each under an autoscaler, and the pods of one on average.
    pub apps: u64,
    pub pods: u64,
    pub rollouts: u64,
    pub jobs: u64,
    /// Nodes that stop.
    pub failures: u64,
    /// Every second Deployment has a Service and a budget.
    pub served: bool,
}

impl Size {
    /// So many hundredths of 1,000 nodes with 20,000 pods, 2,000 rollouts, 5,000 Jobs and 50 nodes that stop.
    pub fn percent(percent: u64) -> Size {
        let of = |whole: u64| whole * percent / 100;
        let (rollouts, jobs, failures) = (of(2000), of(5000), of(50));
        Size { days: 7, nodes: of(1000), apps: of(400), pods: 50, rollouts, jobs, failures, served: false }
    }
}

pub fn fleet(size: &Size) -> FleetSpec {
    let text = format!(
        "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- {{name: {CLUSTER}, region: eu-central-1, nodeGroups: [{{name: general, instanceType: m6i.2xlarge, count: {}, zones: [a, b, c]}}]}}\n",
        size.nodes
    );
    fleet::file::parse(&text).expect("the fleet of the week is well-formed")
}

pub fn cluster() -> ClusterId {
    ClusterId::new(CLUSTER).expect("the cluster of the week has a valid name")
}

/// What is done to the cluster.
pub enum Deed {
    Ask(Box<Request>),
    Node(NodeName, NodeChange),
}

impl Deed {
    /// Does it; the error says who refused what.
    pub fn carry_out(self, world: &mut World, id: &ClusterId) -> Result<(), String> {
        match self {
            Deed::Ask(request) => world.request(id, &request).map(|_| ()).map_err(|status| status.message),
            Deed::Node(name, change) => world.set_node(id, &name, change).map_err(|error| error.to_string()),
        }
    }
}

pub fn kind((group, plural): (&str, &str)) -> Kind {
    let version = if group == "autoscaling" { "v2" } else { "v1" };
    Kind::find(group, version, plural).expect("the week names built-in kinds")
}

fn request(verb: Verb, of: (&str, &str), (namespace, name): (&str, &str), body: Value) -> Deed {
    Deed::Ask(Box::new(Request {
        verb,
        kind: kind(of),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: None,
        body,
        options: Options::default(),
    }))
}

fn place(app: u64) -> (String, String) {
    (format!("team-{}", app % NAMESPACES), format!("app-{app}"))
}

/// CPU of all pods of an app in an hour: two fifths more or less as the day goes, each app with its own noon, and a
/// tenth by chance.
fn load(size: &Size, app: u64, hour: i64, draw: &mut Stream) -> String {
    let turn = (hour as f64 + app as f64 % 24.0) / 24.0 * std::f64::consts::TAU;
    let chance = 0.9 + draw.below(201) as f64 / 1000.0;
    format!("{}m", (size.pods as f64 * MILLIS * USED * (1.0 + 0.4 * turn.sin()) * chance) as i64)
}

fn app(size: &Size, number: u64, draw: &mut Stream) -> Vec<Deed> {
    let (namespace, name) = place(number);
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace,
            "annotations": {"load.twin.kubercarbon.io/cpu": load(size, number, 0, draw)}},
        "spec": {"replicas": size.pods, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": format!("registry.example.com/{name}:0"),
                "readinessProbe": {"httpGet": {"port": 8080}},
                "resources": {"requests": {"cpu": format!("{MILLIS}m"), "memory": "256Mi"}}}]}}},
    });
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": size.pods / 5, "maxReplicas": size.pods * 2, "metrics": [{"type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": (USED * 100.0) as i64}}}]},
    });
    let at = (&*namespace, "");
    let mut all = vec![
        request(Verb::Create, ("apps", "deployments"), at, deployment),
        request(Verb::Create, ("autoscaling", "horizontalpodautoscalers"), at, scaler),
    ];
    if size.served && number.is_multiple_of(2) {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}});
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"maxUnavailable": "25%", "selector": {"matchLabels": labels}}});
        all.push(request(Verb::Create, ("", "services"), at, service));
        all.push(request(Verb::Create, ("policy", "poddisruptionbudgets"), at, budget));
    }
    all
}

fn job(number: u64, draw: &mut Stream) -> Deed {
    let (pods, seconds) = (1 + draw.below(4), 300 + draw.below(4 * 3600));
    let body = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": format!("job-{number}"), "namespace": "default"},
        "spec": {"parallelism": pods, "completions": pods, "ttlSecondsAfterFinished": 3600, "template": {
            "metadata": {"annotations": {"twin.kubercarbon.io/run-for": format!("{seconds}s")}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main",
                "image": "registry.example.com/batch/worker:1.0",
                "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]}}},
    });
    request(Verb::Create, ("batch", "jobs"), ("default", ""), body)
}

fn patch(app: u64, body: Value) -> Deed {
    let (namespace, name) = place(app);
    request(Verb::Patch(PatchType::Merge), ("apps", "deployments"), (&namespace, &name), body)
}

/// Everything that is done, each at its time from the start; in a quiet week, nothing after the start.
pub fn deeds(size: &Size, quiet: bool) -> Vec<(Span, Deed)> {
    let draw = &mut Stream::new(1, "week");
    let mut all = Vec::new();
    for namespace in 0..NAMESPACES {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{namespace}")}});
        all.push((Span::ZERO, request(Verb::Create, ("", "namespaces"), ("", ""), body)));
    }
    for number in 0..size.apps {
        all.extend(app(size, number, draw).into_iter().map(|deed| (Span::ZERO, deed)));
    }
    if quiet {
        return all;
    }
    let seconds = size.days as u64 * 86_400;
    for hour in 1..size.days * 24 {
        for number in 0..size.apps {
            let annotations = json!({"load.twin.kubercarbon.io/cpu": load(size, number, hour, draw)});
            let at = Span::HOUR.scaled(hour, 1) + Span::from_seconds(draw.below(3600) as i64);
            all.push((at, patch(number, json!({"metadata": {"annotations": annotations}}))));
        }
    }
    for rollout in 0..size.rollouts {
        let number = draw.below(size.apps);
        let image = format!("registry.example.com/app-{number}:{}", rollout + 1);
        let body = json!({"spec": {"template": {"metadata": {"annotations": {"release": image}}}}});
        all.push((Span::from_seconds((3600 + draw.below(seconds - 3600)) as i64), patch(number, body)));
    }
    for number in 0..size.jobs {
        all.push((Span::from_seconds(draw.below(seconds) as i64), job(number, draw)));
    }
    for _ in 0..size.failures {
        let at = Span::from_seconds((3600 + draw.below(seconds - 7200)) as i64);
        let name = format!("{CLUSTER}-general-{}", 1 + draw.below(size.nodes));
        for (at, change) in [(at, NodeChange::Stop), (at + DOWN, NodeChange::Start)] {
            let name = NodeName::new(&name).expect("a node of the week has a valid name");
            all.push((at, Deed::Node(name, change)));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

pub fn start() -> Instant {
    Instant::from_unix_seconds(1_640_995_200)
}

pub fn version(world: &World, id: &ClusterId) -> u64 {
    world.objects(id).map_or(0, |objects| objects.version())
}

/// Every write of a world, in order: how many of which sort, and a hash of all their bytes.
pub struct Trace {
    seen: u64,
    /// Writes by kind (of Events, their reason) and change.
    pub counts: BTreeMap<String, u64>,
    /// FNV-1a of 64 bits.
    pub hash: u64,
    /// Writes that the history no longer had, of which only the number is in the hash.
    pub lost: u64,
}

impl Trace {
    pub fn new() -> Trace {
        Trace { seen: 0, counts: BTreeMap::new(), hash: FNV_BASIS, lost: 0 }
    }
    /// Lets time pass, and reads what is written at each instant.
    pub fn advance(&mut self, world: &mut World, id: &ClusterId, to: Instant) {
        while let Some(at) = world.next_event().filter(|at| *at < to) {
            world.advance_to(at);
            self.read(world, id);
        }
        world.advance_to(to);
        self.read(world, id);
    }
    /// Reads what was written since.
    pub fn read(&mut self, world: &World, id: &ClusterId) {
        let Some(objects) = world.objects(id) else { return };
        if objects.version() == self.seen {
            return;
        }
        match objects.changes_since(self.seen) {
            Ok(changes) => changes.for_each(|change| self.take(change)),
            Err(_) => {
                let lost = objects.version() - self.seen;
                self.lost += lost;
                self.add(&lost.to_le_bytes());
            }
        }
        self.seen = objects.version();
    }
    fn take(&mut self, change: &Change) {
        let object = &change.object.object;
        let sort = match object {
            Object::Event(event) => event.reason.clone().unwrap_or_default(),
            object => object.kind().resource().name.to_owned(),
        };
        let what = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Modified => "modified",
            ChangeKind::Deleted => "deleted",
        };
        let class = if matches!(object, Object::Event(_)) { "Event " } else { "" };
        *self.counts.entry(format!("{class}{sort} {what}")).or_default() += 1;
        self.add(what.as_bytes());
        self.add(&change.told().bytes());
    }
    fn add(&mut self, bytes: &[u8]) {
        self.hash = fnv(self.hash, bytes);
    }
    /// One line a sort, and the hash.
    pub fn to_text(&self) -> String {
        let lines = self.counts.iter().map(|(sort, count)| format!("{count:>8} {sort}\n"));
        let all: u64 = self.counts.values().sum();
        let lost = if self.lost > 0 { format!("{:>8} not read\n", self.lost) } else { String::new() };
        format!("{}{lost}{all:>8} in all, hash {:016x}\n", lines.collect::<String>(), self.hash)
    }
}
