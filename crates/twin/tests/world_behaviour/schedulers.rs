//! Schedulers that are configured, and what waiting pods hear of.

use crate::fixture::*;
use fleet::{FleetSpec, Span};
use proptest::prelude::*;
use serde_json::{Value, json};
use twin::apiserver::Verb;
use twin::{Kind, World};

/// A configuration with these fields.
fn configuration(fields: Value) -> Value {
    let mut file =
        json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"});
    for (name, value) in fields.as_object().unwrap() {
        file[name] = value.clone();
    }
    file
}

fn configured(nodes: u32, scheduler: Value) -> FleetSpec {
    let mut fleet = fleet(nodes, false);
    fleet.clusters.iter_mut().for_each(|cluster| cluster.scheduler = Some(scheduler.clone()));
    fleet
}

/// A pod that sleeps for so long, with a priority class of the same value if that is not 0.
fn pod(world: &mut World, name: &str, cpu: &str, seconds: u32, priority: i32, scheduler: &str) {
    let mut body = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"schedulerName": scheduler, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [
            {"name": "main", "image": "busybox:1.37", "command": ["sleep", seconds.to_string()],
                "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]},
    });
    if priority != 0 {
        let class = format!("p{priority}");
        if find(world, Kind::PriorityClass, &class).is_none() {
            let body = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": class}, "value": priority});
            create(world, Kind::PriorityClass, body);
        }
        body["spec"]["priorityClassName"] = json!(class);
    }
    create(world, Kind::Pod, body);
}

fn place(world: &World, name: &str) -> String {
    get(world, Kind::Pod, name)["spec"]["nodeName"].as_str().unwrap_or("-").to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn a_configuration_of_nothing_changes_no_byte(seed in any::<u64>(), cpus in prop::collection::vec(1..7_i64, 10..40)) {
        let run = |fleet: &FleetSpec| {
            let mut world = World::new(fleet, start(), seed);
            for (i, cpu) in cpus.iter().enumerate() {
                let more = json!({"parallelism": 2, "completions": 3});
                let body = job(&format!("j{i}"), &cpu.to_string(), &["sleep", "700"], more);
                let at = start() + Span::from_seconds(60 * i as i64);
                world.schedule(at, &kr(), request(Verb::Create, Kind::Job, body));
            }
            world.advance_to(start() + Span::HOUR.scaled(2, 1));
            world
        };
        let nothing = configuration(json!({"profiles": [{"schedulerName": "default-scheduler"}]}));
        let stated = serde_json::to_string(&run(&configured(3, nothing.clone()))).unwrap();
        // But for what was stated itself.
        let itself = format!(",\"scheduler\":{nothing}");
        prop_assert_eq!(stated.matches(&itself).count(), 2);
        prop_assert_eq!(stated.replace(&itself, ""), serde_json::to_string(&run(&fleet(3, false))).unwrap());
    }
}

#[test]
fn each_pod_is_placed_by_the_profile_it_names_or_left_alone() {
    let packer = json!({"schedulerName": "packer", "pluginConfig": [
        {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}]});
    let scheduler = configuration(json!({"profiles": [{"schedulerName": "default-scheduler"}, packer]}));
    let mut world = World::new(&configured(3, scheduler), start(), 42);
    pod(&mut world, "first", "1", 9000, 0, "default-scheduler");
    let full = place(&world, "first");
    for i in 0..4 {
        pod(&mut world, &format!("packed-{i}"), "1", 9000, 0, "packer");
        assert_eq!(place(&world, &format!("packed-{i}")), full, "the fullest node");
    }
    pod(&mut world, "spread", "1", 9000, 0, "default-scheduler");
    assert_ne!(place(&world, "spread"), full, "an empty one");
    pod(&mut world, "other", "1", 9000, 0, "somebody-else");
    pass(&mut world, 3600);
    assert_eq!(place(&world, "other"), "-");
    assert_eq!(events(&world, "other"), Vec::<String>::new());
    let by = |name: &str| {
        let all = all(&world, Kind::Event);
        let event =
            all.iter().find(|e| e["involvedObject"]["name"] == name && e["reason"] == "Scheduled").unwrap();
        event["source"]["component"].as_str().unwrap().to_owned()
    };
    assert_eq!((by("first"), by("packed-0")), ("default-scheduler".to_owned(), "packer".to_owned()));
    // What a profile says outlasts saving and loading.
    let mut loaded: World = serde_json::from_str(&serde_json::to_string(&world).unwrap()).unwrap();
    pod(&mut loaded, "later", "1", 9000, 0, "packer");
    assert_eq!(place(&loaded, "later"), full);
}

#[test]
fn when_a_pod_leaves_whoever_may_then_evict_others_is_tried() {
    let mut world = world(1);
    pod(&mut world, "top", "4", 100, 2000, "default-scheduler");
    pod(&mut world, "low", "3", 90_000, 0, "default-scheduler");
    pass(&mut world, 20);
    // Without `low` there is room for 3.9 cores, once `top` is gone too for 7.9.
    pod(&mut world, "middle", "5", 100, 1000, "default-scheduler");
    pass(&mut world, 60);
    assert_eq!((place(&world, "middle"), place(&world, "low")), ("-".to_owned(), "kr-general-1".to_owned()));
    pass(&mut world, 40);
    assert_eq!(place(&world, "middle"), "kr-general-1");
    assert!(find(&world, Kind::Pod, "low").is_none(), "evicted");
}

#[test]
fn a_label_that_kept_pods_away_may_go() {
    let mut world = world(1);
    pod(&mut world, "first", "1", 9000, 0, "default-scheduler");
    edit(&mut world, Kind::Pod, "first", |pod| pod["metadata"]["labels"] = json!({"app": "a"}));
    let apart = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "apart", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "main", "image": "busybox:1.37"}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}]}}},
    });
    create(&mut world, Kind::Pod, apart);
    pass(&mut world, 60);
    assert_eq!(place(&world, "apart"), "-");
    edit(&mut world, Kind::Pod, "first", |pod| pod["metadata"]["labels"] = json!({}));
    assert_eq!(place(&world, "apart"), "kr-general-1");
}

#[test]
fn a_pod_waits_for_its_claims_as_long_as_its_profile_says() {
    let claims = Kind::find("", "v1", "persistentvolumeclaims").unwrap();
    let mut told = Vec::new();
    for seconds in [1, 60] {
        let args = json!({"name": "VolumeBinding", "args": {"bindTimeoutSeconds": seconds}});
        let profile = json!({"schedulerName": "default-scheduler", "pluginConfig": [args]});
        let mut world =
            World::new(&configured(1, configuration(json!({"profiles": [profile]}))), start(), 42);
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": NAMESPACE}, "spec": spec});
        create(&mut world, claims, claim);
        create(
            &mut world,
            Kind::Pod,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": NAMESPACE},
            "spec": {"containers": [{"name": "main", "image": "busybox:1.37", "command": ["sleep", "9000"]}],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}),
        );
        pass(&mut world, 2);
        told.push(events(&world, "q"));
        // A disk takes three seconds to be made: it is there whoever waits for it.
        pass(&mut world, 60);
        assert_eq!(get(&world, Kind::Pod, "q")["status"]["phase"], "Running");
    }
    let gave_up = "FailedScheduling: running PreBind plugin \"VolumeBinding\": binding volumes: context deadline exceeded";
    assert!(told[0].iter().any(|said| said == gave_up), "{told:?}");
    assert!(told[1].is_empty(), "{told:?}");
}
