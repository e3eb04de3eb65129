//! Writes through the API machinery, without a server: what is stored, what is refused, what is drawn.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use fleet::Instant;
use serde_json::{Value, json};
use twin::apiserver::{
    Context, DeleteOptions, Options, PatchType, Propagation, Response, Subresource, Verb, finish_delete,
    write,
};
use twin::random::Stream;
use twin::{Kind, Objects, Request, Status};

struct Cluster {
    objects: Objects,
    names: Stream,
}

impl Cluster {
    fn new() -> Cluster {
        let mut cluster = Cluster { objects: Objects::new(), names: Stream::new(7, "names") };
        cluster.create(Kind::Namespace, "", json!({"metadata": {"name": "a"}})).unwrap();
        cluster
    }
    fn run(&mut self, request: &Request) -> Result<Response, Status> {
        let now = Instant::parse("2026-05-01T09:00:00Z").unwrap();
        write(&mut Context { objects: &mut self.objects, now, names: &mut self.names }, request)
    }
    fn create(&mut self, kind: Kind, namespace: &str, body: Value) -> Result<Value, Status> {
        self.run(&request(Verb::Create, kind, namespace, "", body)).map(|r| r.body.into_value())
    }
    fn merge(&mut self, kind: Kind, namespace: &str, name: &str, body: Value) -> Result<Value, Status> {
        self.run(&request(Verb::Patch(PatchType::Merge), kind, namespace, name, body))
            .map(|r| r.body.into_value())
    }
}

fn request(verb: Verb, kind: Kind, namespace: &str, name: &str, body: Value) -> Request {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Request { verb, kind, namespace, name, subresource: None, body, options: Options::default() }
}

fn job(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"suspend": true, "template": {"spec": {
        "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1"}}}]}}}})
}

fn words(answer: Result<Value, Status>) -> String {
    answer.unwrap_err().message
}

#[test]
fn refused_and_dry_requests_change_and_draw_nothing() {
    let (mut quiet, mut noisy) = (Cluster::new(), Cluster::new());
    let mut dry = request(Verb::Create, Kind::Job, "a", "", job("dry"));
    dry.options.dry_run = true;
    noisy.run(&dry).unwrap();
    noisy.create(Kind::Job, "nowhere", job("x")).unwrap_err();
    noisy.create(Kind::Job, "a", json!({"metadata": {"generateName": "bad-"}})).unwrap_err();
    for cluster in [&mut quiet, &mut noisy] {
        cluster.create(Kind::Job, "a", job("x")).unwrap();
        cluster.create(Kind::Pod, "a", json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})).unwrap();
    }
    let saved = |c: &Cluster| serde_json::to_string(&c.objects).unwrap();
    assert_eq!(saved(&quiet), saved(&noisy));
}

#[test]
fn the_generation_counts_what_the_kind_counts() {
    let mut cluster = Cluster::new();
    let kind = |group: &str, plural: &str| Kind::find(group, "v1", plural).unwrap();
    let (deployment, slice) = (kind("apps", "deployments"), kind("discovery.k8s.io", "endpointslices"));
    let template =
        json!({"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "w"}}, "template": template});
    cluster.create(deployment, "a", json!({"metadata": {"name": "w"}, "spec": spec})).unwrap();
    let endpoints = json!({"metadata": {"name": "w"}, "addressType": "IPv4", "endpoints": [], "ports": []});
    cluster.create(slice, "a", endpoints).unwrap();
    let changes = [
        // A Deployment's annotations go to its ReplicaSets; a slice's labels say whose it is.
        (deployment, json!({"metadata": {"labels": {"k": "v"}}}), 1),
        (deployment, json!({"metadata": {"annotations": {"k": "v"}}}), 2),
        (deployment, json!({"spec": {"replicas": 2}}), 3),
        (slice, json!({"metadata": {"annotations": {"k": "v"}}}), 1),
        (slice, json!({"metadata": {"labels": {"k": "v"}}}), 2),
        (slice, json!({"endpoints": [{"addresses": ["10.0.0.1"]}]}), 3),
    ];
    for (kind, change, generation) in changes {
        let written = cluster.merge(kind, "a", "w", change.clone()).unwrap();
        assert_eq!(written["metadata"]["generation"], generation, "{change}");
    }
}

#[test]
fn a_job_never_started_may_change_where_it_runs_and_no_more() {
    let mut cluster = Cluster::new();
    cluster.create(Kind::Job, "a", job("j")).unwrap();
    let template = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let moved = template(json!({"nodeSelector": {"zone": "z1"}, "tolerations": [{"operator": "Exists"}]}));
    assert_eq!(cluster.merge(Kind::Job, "a", "j", moved).unwrap()["metadata"]["generation"], 2);
    let sized = json!([{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "2"}}}]);
    cluster.merge(Kind::Job, "a", "j", template(json!({"containers": sized}))).unwrap();
    let image = json!([{"name": "c", "image": "i:2", "resources": {"requests": {"cpu": "2"}}}]);
    let refused = words(cluster.merge(Kind::Job, "a", "j", template(json!({"containers": image}))));
    assert!(
        refused.contains("spec.template: Invalid value: ") && refused.ends_with(": field is immutable"),
        "{refused}"
    );
    let refused = words(cluster.merge(Kind::Job, "a", "j", json!({"spec": {"completions": 5}})));
    assert_eq!(refused, "Job.batch \"j\" is invalid: spec.completions: Invalid value: 5: field is immutable");
    cluster.merge(Kind::Job, "a", "j", json!({"spec": {"suspend": false, "parallelism": 4}})).unwrap();
    assert!(
        words(cluster.merge(Kind::Job, "a", "j", template(json!({"nodeSelector": {"zone": "z2"}}))))
            .contains("immutable")
    );
}

#[test]
fn wrong_objects_are_refused_field_by_field() {
    let mut cluster = Cluster::new();
    for (kind, body, message) in [
        (
            Kind::ConfigMap,
            json!({}),
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            Kind::ConfigMap,
            json!({"metadata": {"name": "x"}, "data": {"a b": ""}}),
            "ConfigMap \"x\" is invalid: data[a b]: Invalid value: \"a b\": a valid config key must consist of",
        ),
        (
            Kind::ConfigMap,
            json!({"metadata": {"name": "X"}}),
            "ConfigMap \"X\" is invalid: metadata.name: Invalid value: \"X\": a lowercase RFC 1123 subdomain must consist of",
        ),
        (
            Kind::ConfigMap,
            json!({"metadata": {"name": "x", "labels": {"a": "-"}}}),
            "ConfigMap \"x\" is invalid: metadata.labels: Invalid value: \"-\": a valid label must be",
        ),
        (
            Kind::ConfigMap,
            json!({"kind": "Pod", "metadata": {"name": "x"}}),
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: the kind in the data is \"Pod\"",
        ),
        (
            Kind::ConfigMap,
            json!([]),
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: found array",
        ),
        (
            Kind::Event,
            json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "b"}}),
            "Event \"e\" is invalid: involvedObject.namespace: Invalid value: \"b\": does not match event.namespace",
        ),
        (
            Kind::Pod,
            json!({"metadata": {"name": "p"}, "spec": {"containers": []}}),
            "Pod \"p\" is invalid: spec.containers: Required value",
        ),
        (
            Kind::Pod,
            json!({"metadata": {"name": "p"}, "spec": {"priorityClassName": "high", "containers": [{"name": "c", "image": "i"}]}}),
            "pods \"p\" is forbidden: no PriorityClass with name high was found",
        ),
        (
            Kind::Pod,
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}}),
            "Pod \"p\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            Kind::Pod,
            json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": "Sometimes", "containers": [{"name": "c", "image": "i"}]}}),
            "Pod \"p\" is invalid: spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
    ] {
        let found = words(cluster.create(kind, "a", body));
        assert!(found.starts_with(message), "found    {found}\nexpected {message}");
    }
    assert_eq!(cluster.objects.version(), 1, "nothing was stored");
}

#[test]
fn priorities_come_from_classes() {
    let mut cluster = Cluster::new();
    cluster.create(Kind::PriorityClass, "", json!({"metadata": {"name": "high"}, "value": 1000})).unwrap();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"priorityClassName": "high", "containers": [{"name": "c", "image": "i"}]}});
    let pod = cluster.create(Kind::Pod, "a", pod).unwrap();
    assert_eq!(
        (&pod["spec"]["priority"], &pod["spec"]["preemptionPolicy"]),
        (&json!(1000), &json!("PreemptLowerPriority"))
    );
    let refused = words(cluster.merge(Kind::PriorityClass, "", "high", json!({"value": 2})));
    assert!(refused.contains("may not be changed in an update."), "{refused}");
}

#[test]
fn collections_are_deleted_by_selector_and_graceful_pods_stay_for_the_kubelet() {
    let mut cluster = Cluster::new();
    for (name, node) in [("x", "n1"), ("y", ""), ("z", "")] {
        let labels = json!({"keep": (name == "z").to_string()});
        cluster.create(Kind::Pod, "a", json!({"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}})).unwrap();
    }
    let mut all = request(Verb::DeleteCollection, Kind::Pod, "a", "", Value::Null);
    all.options.label_selector = Some("keep!=true".to_owned());
    let list = cluster.run(&all).unwrap().body.into_value();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("PodList"), 2));
    let left: Vec<_> = cluster.objects.list(Kind::Pod, None).map(|s| s.object.name().to_owned()).collect();
    assert_eq!(left, ["x", "z"]);
    let ending = cluster.objects.get(Kind::Pod, "a", "x").unwrap().object.meta().clone();
    assert_eq!(ending.deletion_grace_period_seconds, Some(30));
    let now = Instant::EPOCH;
    let mut ctx = Context { objects: &mut cluster.objects, now, names: &mut cluster.names };
    assert!(finish_delete(&mut ctx, Kind::Pod, "a", "z").is_none(), "nobody asked for z's end");
    assert!(finish_delete(&mut ctx, Kind::Pod, "a", "x").is_some());
}

#[test]
fn deletes_keep_their_preconditions() {
    let mut cluster = Cluster::new();
    let made = cluster.create(Kind::Job, "a", job("j")).unwrap();
    let mut delete = request(Verb::Delete, Kind::Job, "a", "j", Value::Null);
    let background = Some(Propagation::Background);
    delete.options.delete =
        DeleteOptions { uid: Some("other".to_owned()), propagation: background, ..DeleteOptions::default() };
    assert_eq!(cluster.run(&delete).unwrap_err().code, 409);
    delete.options.delete.uid = made["metadata"]["uid"].as_str().map(str::to_owned);
    assert_eq!(cluster.run(&delete).unwrap().body.into_value()["status"], "Success");
    assert_eq!(cluster.run(&delete).unwrap_err().code, 404);
}

#[test]
fn with_its_last_finalizer_an_object_goes_in_one_write() {
    let mut cluster = Cluster::new();
    let held = json!({"metadata": {"name": "c", "finalizers": ["example.com/a", "example.com/b"]}});
    cluster.create(Kind::ConfigMap, "a", held).unwrap();
    cluster.run(&request(Verb::Delete, Kind::ConfigMap, "a", "c", Value::Null)).unwrap();
    let finalizers = |all: Value| json!({"metadata": {"finalizers": all}});
    let before = cluster.objects.version();
    cluster.merge(Kind::ConfigMap, "a", "c", finalizers(json!(["example.com/b"]))).unwrap();
    assert_eq!(cluster.objects.version(), before + 1);
    let answer = cluster.merge(Kind::ConfigMap, "a", "c", finalizers(Value::Null)).unwrap();
    assert_eq!(answer["metadata"].get("finalizers"), None, "whoever wrote gets what they asked for");
    assert_eq!(cluster.objects.version(), before + 2, "it goes in the write that lets it go");
    assert!(cluster.objects.get(Kind::ConfigMap, "a", "c").is_none());
}

#[test]
fn status_writes_touch_the_status_alone() {
    let mut cluster = Cluster::new();
    cluster
        .create(Kind::Node, "", json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "4"}}}))
        .unwrap();
    let body = json!({"spec": {"unschedulable": true}, "status": {"phase": "Running"}});
    let mut status = request(Verb::Patch(PatchType::StrategicMerge), Kind::Node, "", "n", body);
    status.subresource = Some(Subresource::Status);
    let node = cluster.run(&status).unwrap().body.into_value();
    assert_eq!((&node["spec"], &node["status"]["phase"]), (&json!({}), &json!("Running")));
    assert_eq!(node["status"]["allocatable"]["cpu"], "4");
}
