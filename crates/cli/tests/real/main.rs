//! The product on two real control planes: etcd, kube-apiserver, controllers, scheduler, with nodes of KWOK's.
//!
//! They are those of the shared lab; where they are not built, the test says that it is skipped. One test, because
//! starting them takes much of the time; each part says how long it took.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "waits for real programs")]

mod acting;
mod asking;
mod both;
mod faults;
mod import;
mod living;
mod proxy;
mod refusals;
mod scheduling;
mod seeing;
mod support;

use std::collections::BTreeSet;
use support::{Fleet, Plane, job, kubercarbon, lab, text};

#[test]
fn jobs_on_real_clusters() {
    let Some(lab) = lab() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut begun = std::time::Instant::now();
    let mut took = |what: &str| {
        println!("{what}: {} s", begun.elapsed().as_secs());
        begun = std::time::Instant::now();
    };
    let mut fleet = Fleet::start(&lab, dir.path());
    took("two control planes start");
    import::a_real_cluster_runs_as_a_twin(&fleet.dir, &fleet.kr);
    took("import");
    fleet.kr.apply(&job("report", true, ""));
    fleet.allow("observe");
    seeing::observes_and_writes_nothing(&fleet);
    took("observe");
    fleet.allow("auto");
    acting::on_its_own(&fleet);
    took("auto");
    asking::nothing_is_late_for_want_of_a_yes(&fleet);
    took("approve");
    faults::goes_on_without_a_dead_one(&mut fleet);
    took("a dead cluster");
    // Its API server was started anew, so that its history begins there.
    faults::each_job_once(&fleet);
    took("kills, bad ways, cut watches");
    the_role_is_enough_and_not_more(&fleet.kr, &fleet.se);
}

#[test]
fn a_twin_lives_as_the_real_cluster_does() {
    let Some(lab) = lab() else { return };
    scheduling::alike_over_time(&lab, tempfile::tempdir().unwrap().path());
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
