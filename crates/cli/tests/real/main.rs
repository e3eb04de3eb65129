//! The product on two real control planes: etcd, kube-apiserver, controllers, scheduler, with nodes of KWOK's.
//!
//! They are those of the shared lab; where they are not built, the test says that it is skipped. One test, because
//! starting them takes most of the time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "waits for real programs")]

mod acting;
mod import;
mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use support::{Plane, Product, grant, job, kubeconfig, kubercarbon, lab, text};

#[test]
fn jobs_on_real_clusters() {
    let Some(lab) = lab() else { return };
    let _alone = support::alone();
    let dir = tempfile::tempdir().unwrap();
    let lab = lab.with_kubelets_times(dir.path());
    // Sweden's grid is far cleaner than Korea's at any hour of the typical year.
    let kr = Plane::start(&lab, dir.path(), "kr", "ap-northeast-2");
    let mut se = Plane::start(&lab, dir.path(), "se", "eu-north-1");
    let allow = |mode: &str, se: &Plane| {
        let tokens = [(&kr, grant(&kr, mode)), (se, grant(se, mode))];
        kubeconfig(&dir.path().join("kubeconfig"), &tokens);
    };
    kr.apply(&job("report", true, ""));

    allow("observe", &se);
    observes_and_writes_nothing(dir.path(), &kr, &se);
    allow("auto", &se);
    runs_elsewhere_and_comes_home(dir.path(), &kr, &se);
    waits_for_a_yes(dir.path(), &kr, &se);
    goes_on_without_a_dead_one(dir.path(), &kr, &mut se);
    the_role_is_enough_and_not_more(&kr, &se);
}

#[test]
fn wrong_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (state, file) = (dir.path().join("state").display().to_string(), dir.path().join("kubeconfig"));
    let text_of_it = "apiVersion: v1
kind: Config
clusters: [{name: one, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: me, user: {}}]
contexts: [{name: kr, context: {cluster: one, user: me}}]
";
    std::fs::write(&file, text_of_it).unwrap();
    let file = file.display().to_string();
    for (flags, words) in [
        (&["--context", "us"] as &[&str], "context \"us\": expected kr"),
        (&["--context", "kr", "--speed", "1x"], "--speed: real clusters run on the wall clock"),
        (&["--context", "kr", "--zone", "us=KR"], "--zone us=KR: expected one of the contexts: kr"),
        (&["--context", "kr", "--zone", "kr=ATLANTIS"], "--zone kr=ATLANTIS: expected a grid zone"),
        (&["--context", "kr", "--zone", "KR"], "expected NAME=ZONE"),
        (&["--context", "kr", "--context", "kr"], "are one cluster (https://127.0.0.1:1)"),
        (&["--context", "kr", "--kubeconfig", "nowhere"], "hint: kubectl config get-contexts"),
    ] {
        let mut args = vec!["up", "--state", &state];
        if !flags.contains(&"--kubeconfig") {
            args.extend(["--kubeconfig", &file]);
        }
        args.extend(flags);
        let output = kubercarbon(&args);
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        assert!(text(&output.stderr).contains(words), "{flags:?}: {}", text(&output.stderr));
    }
    let refused = kubercarbon(&["rbac", "--service-account", "ops"]);
    assert!(text(&refused.stderr).contains("expected NAMESPACE/NAME"), "{}", text(&refused.stderr));
    let observe = text(&kubercarbon(&["rbac"]).stdout);
    assert!(observe.contains("name: kubercarbon-observe") && !observe.contains("create"), "{observe}");
}

/// Every object a Job may be concerned with, and its version.
fn versions(plane: &Plane) -> BTreeSet<String> {
    let all = plane.get(&["jobs,pods,events,configmaps,secrets,namespaces", "--all-namespaces"]);
    let items = all["items"].as_array().unwrap();
    items.iter().map(|o| format!("{} {}", o["metadata"]["uid"], o["metadata"]["resourceVersion"])).collect()
}

fn observes_and_writes_nothing(dir: &std::path::Path, kr: &Plane, se: &Plane) {
    let before = (versions(kr), versions(se));
    let product = Product::start(dir, &["--context", "again"]);
    product.until("one cluster under two names counts once", || {
        product.cluster("again")["unknownWhy"].as_str().is_some_and(|why| why.contains("called kr already"))
    });
    product.until("both are seen, and the Job has a plan", || {
        let seen =
            |name| product.cluster(name)["reachable"] == true && product.cluster(name)["nodesReady"] == 3;
        seen("kr") && seen("se") && product.job("report")["target"] == "se"
    });
    let cluster = product.cluster("kr");
    assert_eq!((&cluster["gridZone"], &cluster["mode"]), (&Value::from("KR"), &Value::from("observe")));
    assert_eq!(product.status()["clock"]["kind"], "wall");
    assert!(cluster["powerWatts"].as_f64().unwrap() > 0.0 && cluster["pricePerHour"].as_f64().unwrap() > 0.0);
    for order in [&["release", "--all", "--yes"] as &[&str], &["approve", "kr/default/report"]] {
        let refused = product.ask(order);
        assert_eq!(refused.status.code(), Some(1), "{order:?}");
        assert!(text(&refused.stderr).contains("--mode"), "{}", text(&refused.stderr));
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(before, (versions(kr), versions(se)), "nothing was written: {}", product.log());
    for plane in [kr, se] {
        let writes = |what: &&String| !["get", "list", "watch"].iter().any(|verb| what.starts_with(verb));
        let (asked, _) = plane.asked();
        assert_eq!(asked.iter().filter(writes).count(), 0, "nor was it tried: {asked:?}");
    }
}

fn runs_elsewhere_and_comes_home(dir: &std::path::Path, kr: &Plane, se: &Plane) {
    let product = Product::start(dir, &["--mode", "auto"]);
    let waited = kr.kubectl(&["wait", "--for=condition=complete", "--timeout=180s", "job/report"]);
    assert!(waited.status.success(), "{} {}", text(&waited.stderr), product.log());
    product.until("what it saved stands on it", || saved(kr, "report").is_some());
    assert!(saved(kr, "report").unwrap() > 0.0);
    let copies = se.get(&["jobs", "-l", "kubercarbon.io/origin-cluster=kr"]);
    let copy = &copies["items"][0];
    assert_eq!(copy["status"]["succeeded"], 1, "{copies}");
    let home = kr.get(&["job", "report"]);
    assert_eq!(copy["metadata"]["labels"]["kubercarbon.io/origin-uid"], home["metadata"]["uid"]);
    let oldest = kr.get(&["namespace", "kube-system"])["metadata"]["uid"].clone();
    assert_eq!(copy["metadata"]["labels"]["kubercarbon.io/origin-cluster-uid"], oldest);
    assert_eq!(home["status"]["completionTime"], copy["status"]["completionTime"]);
    let pods = kr.get(&["pods", "-l", "job-name=report"]);
    assert_eq!(pods["items"].as_array().unwrap().len(), 0, "it never ran at home");
    let report: Value = serde_json::from_slice(&product.ask(&["report", "-o", "json"]).stdout).unwrap();
    assert_eq!(report["jobs"][0]["job"]["name"], "report", "{report}");

    // Pods of KWOK's have no logs; that they are asked for in the right place is what counts.
    let logs = product.ask(&["logs", "kr/default/report"]);
    let command = format!(
        "kubectl --context se --namespace default logs job/{}",
        copy["metadata"]["name"].as_str().unwrap()
    );
    assert!(text(&logs.stderr).starts_with(&command), "{}", text(&logs.stderr));
    assert!(!text(&logs.stderr).contains("not found"), "{}", text(&logs.stderr));

    // One that may not leave is let go where it is.
    kr.apply(&job("local", false, ""));
    kr.run(&["wait", "--for=condition=complete", "--timeout=180s", "job/local"]);

    // What its pods need is not in the cleaner cluster: they would wait there for ever.
    for (name, part) in [("config", "configMapRef"), ("secret", "secretRef")] {
        let needs = format!("image: busybox, envFrom: [{{{part}: {{name: settings}}}}]");
        kr.apply(&job(name, true, "").replace("image: busybox", &needs));
        kr.run(&["wait", "--for=condition=complete", "--timeout=180s", &format!("job/{name}")]);
        let home = kr.get(&["job", name]);
        assert_eq!(home["metadata"]["annotations"]["kubercarbon.io/cluster"], "kr", "{home}");
    }
    let told = kr.run(&["get", "events", "-o", "custom-columns=M:.message", "--no-headers"]);
    assert!(told.contains("has no ConfigMap \"settings\" there"), "{told}");
    assert!(told.contains("rbac --secrets"), "{told}");

    // A copy whose home only bears the name of one of ours is somebody else's.
    let foreign = job("foreign", false, "").replace(
        "{kubercarbon.io/placement: managed}",
        "{kubercarbon.io/origin-cluster: kr, kubercarbon.io/origin-uid: of-another-fleet}",
    );
    se.apply(&foreign);
    kr.run(&["delete", "job", "report"]);
    product.until("the copy goes with its original", || {
        let copies = se.get(&["jobs", "-l", "kubercarbon.io/origin-cluster=kr"]);
        copies["items"].as_array().is_some_and(|all| all.len() == 1)
    });
    assert_eq!(se.get(&["job", "foreign"])["metadata"]["name"], "foreign");
}

/// Grams saved, as written on a Job.
fn saved(plane: &Plane, name: &str) -> Option<f64> {
    let job = plane.get(&["job", name]);
    job["metadata"]["annotations"]["kubercarbon.io/saved-gco2e"].as_str()?.replace(',', "").parse().ok()
}

fn waits_for_a_yes(dir: &std::path::Path, kr: &Plane, se: &Plane) {
    let product = Product::start(dir, &["--mode", "approve"]);
    kr.apply(&job("asked", true, ", kubercarbon.io/finish-within: 36h"));
    product.until("it is planned", || product.job("asked")["target"] == "se");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(product.job("asked")["phase"], "held");
    assert!(product.ask(&["approve", "kr/default/asked"]).status.success());
    // A yes is not "now" where a later hour is cleaner; that is.
    assert!(product.ask(&["release", "kr/default/asked", "--yes"]).status.success());
    kr.run(&["wait", "--for=condition=complete", "--timeout=180s", "job/asked"]);
    assert_eq!(
        se.get(&["jobs", "-l", "kubercarbon.io/origin-cluster-uid"])["items"].as_array().unwrap().len(),
        1
    );
}

fn goes_on_without_a_dead_one(dir: &std::path::Path, kr: &Plane, se: &mut Plane) {
    let unknown = |product: &Product| product.cluster("se")["unknownSince"].is_string();
    let product = Product::start(dir, &["--mode", "auto"]);
    product.until("both are seen", || product.cluster("se")["reachable"] == true);
    let again = se.kill_server();
    product.until("the dead one is unknown, since when and why", || unknown(&product));
    assert!(text(&product.ask(&["status"]).stdout).contains("se: unknown since "));
    kr.apply(&job("alone", true, ""));
    kr.run(&["wait", "--for=condition=complete", "--timeout=180s", "job/alone"]);
    drop(product);

    // The same from the start: where it stands is remembered.
    let product = Product::start(dir, &["--mode", "auto"]);
    product.until("it is unknown from the start", || unknown(&product));
    assert_eq!(product.cluster("se")["gridZone"].as_str().map(|zone| &zone[..2]), Some("SE"));
    se.revive(again);
    product.until("it comes back by itself", || {
        let cluster = product.cluster("se");
        cluster["reachable"] == true && cluster["unknownSince"].is_null() && cluster["nodesReady"] == 3
    });
    kr.apply(&job("again", true, ""));
    kr.run(&["wait", "--for=condition=complete", "--timeout=180s", "job/again"]);
    assert_eq!(kr.get(&["job", "again"])["metadata"]["annotations"]["kubercarbon.io/cluster"], "se");
}

/// Nothing was refused for want of rights, and each right was used, on one cluster or the other.
fn the_role_is_enough_and_not_more(kr: &Plane, se: &Plane) {
    let ((mut asked, refused), (more, also)) = (kr.asked(), se.asked());
    // Secrets were not granted, and the Job that needs one stayed at home; logs are for people to read.
    let beyond = BTreeSet::from(["get secrets".to_owned(), "get pods/log".to_owned()]);
    assert!(refused.is_empty() && also == beyond, "{refused:?} {also:?}");
    asked.extend(more.into_iter().filter(|what| !beyond.contains(what)));
    let expected = [
        "list nodes",
        "watch nodes",
        "list pods",
        "watch pods",
        "get namespaces",
        "list jobs",
        "watch jobs",
        "list priorityclasses",
        "watch priorityclasses",
        // No metrics server runs there: the calls are allowed, and answered 404.
        "list nodes.metrics.k8s.io",
        "list pods.metrics.k8s.io",
        "list deployments",
        "watch deployments",
        "list statefulsets",
        "watch statefulsets",
        "list daemonsets",
        "watch daemonsets",
        "list cronjobs",
        "watch cronjobs",
        "list poddisruptionbudgets",
        "watch poddisruptionbudgets",
        "list persistentvolumeclaims",
        "watch persistentvolumeclaims",
        "list persistentvolumes",
        "watch persistentvolumes",
        "list horizontalpodautoscalers",
        "watch horizontalpodautoscalers",
        "create jobs",
        "patch jobs",
        "delete jobs",
        "patch jobs/status",
        "create events",
        "get configmaps",
        "get leases",
        "patch leases",
    ];
    // A Job is read singly only where a create or delete met another, which is not sure to happen here.
    asked.remove("get jobs");
    assert_eq!(asked, expected.into_iter().map(str::to_owned).collect());
}
