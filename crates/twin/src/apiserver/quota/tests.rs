//! Quotas and limit ranges over the API's own writes, in a world where the controllers run.

use super::*;
use crate::apiserver::{DeleteOptions, Options, PatchType, Request, Response, Verb};
use crate::{Kind, World};
use fleet::{ClusterId, FleetSpec, Instances, Instant, Span};

struct Lab {
    world: World,
    cluster: ClusterId,
}

fn fleet() -> FleetSpec {
    let text = "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nmetadata: {name: t}\nclusters:\n- name: t\n  region: eu-central-1\n  nodeGroups: [{name: n, instanceType: m6i.2xlarge, count: 1}]\n";
    fleet::file::parse_with(text, &Instances::default()).unwrap()
}

impl Lab {
    fn new() -> Lab {
        let fleet = fleet();
        let cluster = fleet.clusters[0].id.clone();
        Lab { world: World::new(&fleet, Instant::from_unix_seconds(1_800_000_000), 1), cluster }
    }
    fn ask(&mut self, verb: Verb, kind: Kind, name: &str, body: Value) -> Result<Response, Status> {
        let delete = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        let request = Request {
            verb,
            kind,
            namespace: "default".to_owned(),
            name: name.to_owned(),
            subresource: None,
            body,
            options: Options { delete, ..Options::default() },
        };
        self.world.request(&self.cluster.clone(), &request)
    }
    fn create(&mut self, kind: Kind, body: Value) -> Result<Response, Status> {
        self.ask(Verb::Create, kind, "", body)
    }
    fn delete(&mut self, kind: Kind, name: &str) {
        self.ask(Verb::Delete, kind, name, Value::Null).unwrap();
    }
    fn used(&self, quota: &str) -> Value {
        let stored = self.world.objects(&self.cluster).unwrap().get(kind(), "default", quota).unwrap();
        stored.to_value()["status"]["used"].clone()
    }
}

fn quota_of(name: &str, hard: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"hard": hard}})
}

fn pod_of(name: &str, requests: Value) -> Value {
    let container = json!({"name": "c", "image": "x", "resources": {"requests": requests}});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
}

#[test]
fn what_is_used_is_counted_and_too_much_is_refused() {
    let mut lab = Lab::new();
    let hard = json!({"pods": "2", "cpu": "1", "configmaps": "2", "count/configmaps": "5"});
    lab.create(kind(), quota_of("q", hard)).unwrap();
    // The namespace has one already, with the certificate of its API server.
    assert_eq!(lab.used("q"), json!({"pods": "0", "cpu": "0", "configmaps": "1", "count/configmaps": "1"}));
    lab.create(Kind::Pod, pod_of("a", json!({"cpu": "600m"}))).unwrap();
    assert_eq!((&lab.used("q")["cpu"], &lab.used("q")["pods"]), (&json!("600m"), &json!("1")));
    let refused = lab.create(Kind::Pod, pod_of("b", json!({"cpu": "500m"}))).unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        refused.message,
        "pods \"b\" is forbidden: exceeded quota: q, requested: cpu=500m, used: cpu=600m, limited: cpu=1"
    );
    let unsaid = lab.create(Kind::Pod, pod_of("b", json!({}))).unwrap_err();
    assert_eq!(unsaid.message, "pods \"b\" is forbidden: failed quota: q: must specify cpu for: c");
    lab.create(Kind::Pod, pod_of("b", json!({"cpu": "400m"}))).unwrap();
    assert_eq!(lab.used("q")["cpu"], "1");
    lab.delete(Kind::Pod, "a");
    assert_eq!((&lab.used("q")["cpu"], &lab.used("q")["pods"]), (&json!("400m"), &json!("1")));
    lab.create(Kind::ConfigMap, json!({"metadata": {"name": "m"}})).unwrap();
    assert!(lab.create(Kind::ConfigMap, json!({"metadata": {"name": "n"}})).is_err());
}

#[test]
fn scopes_say_which_pods_count() {
    let mut lab = Lab::new();
    for scope in ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating"] {
        let mut quota = quota_of(&scope.to_lowercase(), json!({"pods": "5"}));
        quota["spec"]["scopes"] = json!([scope]);
        lab.create(kind(), quota).unwrap();
    }
    let mut high = quota_of("high", json!({"pods": "5"}));
    let selector =
        json!({"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]});
    high["spec"]["scopeSelector"] = json!({"matchExpressions": [selector]});
    lab.create(kind(), high).unwrap();
    let mut pod = pod_of("a", json!({"cpu": "1"}));
    pod["spec"]["activeDeadlineSeconds"] = json!(3600);
    pod["spec"]["priorityClassName"] = json!("system-node-critical");
    lab.create(Kind::Pod, pod).unwrap();
    lab.create(Kind::Pod, pod_of("b", json!({}))).unwrap();
    let counted = ["besteffort", "notbesteffort", "terminating", "notterminating", "high"];
    let counts = counted.map(|name| lab.used(name)["pods"].clone());
    assert_eq!(counts, ["1", "1", "1", "1", "1"].map(|n| json!(n)));
    lab.delete(Kind::Pod, "a");
    assert_eq!(counted.map(|n| lab.used(n)["pods"].clone()), ["1", "0", "0", "1", "0"].map(|n| json!(n)));
}

#[test]
fn services_and_claims_have_quotas_of_their_own() {
    let mut lab = Lab::new();
    let hard = json!({"services": "9", "services.nodeports": "1", "services.loadbalancers": "1", "requests.storage": "3Gi", "gold.storageclass.storage.k8s.io/requests.storage": "2Gi"});
    lab.create(kind(), quota_of("q", hard)).unwrap();
    let services = Kind::document("", "services");
    let service = |name: &str, of: &str| json!({"metadata": {"name": name}, "spec": {"type": of, "ports": [{"port": 80}]}});
    lab.create(services, service("a", "NodePort")).unwrap();
    assert!(lab.create(services, service("b", "LoadBalancer")).is_err(), "a second node port");
    // Two of them: the one made, and the API server's own.
    assert_eq!(
        (&lab.used("q")["services"], &lab.used("q")["services.nodeports"]),
        (&json!("2"), &json!("1"))
    );
    let claims = Kind::document("", "persistentvolumeclaims");
    let claim = |name: &str, size: &str| json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "gold", "resources": {"requests": {"storage": size}}}});
    lab.create(claims, claim("a", "2Gi")).unwrap();
    assert!(lab.create(claims, claim("b", "1Gi")).is_err(), "too much of gold");
    assert_eq!(lab.used("q")["gold.storageclass.storage.k8s.io/requests.storage"], "2Gi");
}

#[test]
fn pods_of_controllers_are_held_to_it_too() {
    let mut lab = Lab::new();
    lab.create(kind(), quota_of("q", json!({"pods": "2"}))).unwrap();
    let sets = Kind::document("apps", "replicasets");
    let (labels, pod) = (json!({"app": "a"}), pod_of("x", json!({})));
    let template = json!({"metadata": {"labels": labels}, "spec": pod["spec"]});
    let spec = json!({"replicas": 3, "selector": {"matchLabels": labels}, "template": template});
    lab.create(sets, json!({"metadata": {"name": "s"}, "spec": spec})).unwrap();
    assert_eq!(lab.used("q")["pods"], "2");
    let set = lab.world.objects(&lab.cluster).unwrap().get(sets, "default", "s").unwrap().to_value();
    let condition = &set["status"]["conditions"][0];
    let why = condition["message"].as_str().unwrap();
    assert_eq!(condition["type"], "ReplicaFailure");
    assert!(why.ends_with("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"), "{why}");
    let more = json!({"spec": {"hard": {"pods": "3"}}});
    lab.ask(Verb::Patch(PatchType::Merge), kind(), "q", more).unwrap();
    lab.world.advance_to(lab.world.now() + Span::from_seconds(60));
    assert_eq!(lab.used("q")["pods"], "3");
}

/// After any run of writes and passing time, what a quota says is used is what adding everything up gives.
#[test]
fn what_is_kept_by_differences_is_the_sum() {
    let mut lab = Lab::new();
    let hard = json!({"pods": "4", "requests.memory": "4Gi", "count/pods": "9", "secrets": "3"});
    lab.create(kind(), quota_of("q", hard)).unwrap();
    let secrets = Kind::document("", "secrets");
    let mut stream = crate::random::Stream::new(7, "quota test");
    for step in 0..300 {
        let name = format!("x{}", stream.bits() % 6);
        let size = format!("{}Mi", 256 * (1 + stream.bits() % 6));
        let _refused_or_not = match stream.bits() % 5 {
            0 | 1 => lab.create(Kind::Pod, pod_of(&name, json!({"memory": size}))),
            2 => lab.create(secrets, json!({"metadata": {"name": name}})),
            3 => lab.ask(Verb::Delete, Kind::Pod, &name, Value::Null),
            _ => lab.ask(Verb::Delete, secrets, &name, Value::Null),
        };
        lab.world.advance_to(lab.world.now() + Span::from_seconds(stream.bits() as i64 % 20));
        let objects = lab.world.objects(&lab.cluster).unwrap();
        let spec = spec(objects.get(kind(), "default", "q").unwrap());
        let mut sum = Usage::new();
        for kind in [Kind::Pod, secrets] {
            for stored in objects.list(kind, Some("default")) {
                add(&mut sum, &measure(&spec, kind, &stored.to_value()), 1);
            }
        }
        let amounts = amounts(Some(&lab.used("q")));
        assert!(amounts.iter().all(|(n, a)| a.nanos() == sum.get(n).map_or(0, |s| s.nanos())), "step {step}");
    }
}

#[test]
fn limit_ranges_fill_in_and_bound() {
    let mut lab = Lab::new();
    let limits = json!([
        {"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"}, "default": {"cpu": "300m"}, "defaultRequest": {"cpu": "100m"}},
        {"type": "Pod", "max": {"cpu": "600m"}},
    ]);
    lab.create(
        Kind::document("", "limitranges"),
        json!({"metadata": {"name": "l"}, "spec": {"limits": limits}}),
    )
    .unwrap();
    let pod = lab.create(Kind::Pod, pod_of("a", json!({}))).unwrap().body.into_value();
    let resources = &pod["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"limits": {"cpu": "300m"}, "requests": {"cpu": "100m"}}));
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    assert_eq!(
        pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let few = lab.create(Kind::Pod, pod_of("b", json!({"cpu": "10m"}))).unwrap_err();
    assert_eq!(
        few.message,
        "pods \"b\" is forbidden: minimum cpu usage per Container is 50m, but request is 10m"
    );
    let mut many = pod_of("c", json!({}));
    let containers = ["a", "b", "c"].map(|name| json!({"name": name, "image": "x"}));
    many["spec"]["containers"] = json!(containers);
    let many = lab.create(Kind::Pod, many).unwrap_err();
    assert_eq!(many.message, "pods \"c\" is forbidden: maximum cpu usage per Pod is 600m, but limit is 900m");
}
