//! What the product does on its own on two control planes: each Job once, where it may run, and nobody fought over.

use crate::support::{Fleet, Plane, Product, job, lasting, text};
use serde_json::Value;

/// Marks of those who keep Jobs beside us, and what is said of each.
const OWNERS: [(&str, &str, &str); 3] = [
    (
        "argo",
        "argocd.argoproj.io/tracking-id: 'shop:batch/Job:default/argo'",
        "the Argo CD Application \"shop\"",
    ),
    ("flux", "", "the Flux Kustomization \"apps\""),
    ("helm", "meta.helm.sh/release-name: db", "the Helm release \"db\""),
];

/// Its Jobs are made by hand, as `kubectl create job --from` does it: nobody waits for midnight.
const NIGHTLY: &str = "apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: '0 0 1 1 *'
  jobTemplate:
    metadata:
      labels: {kubercarbon.io/placement: managed}
      annotations: {kubercarbon.io/expected-duration: 20m}
    spec:
      suspend: true
      managedBy: kubercarbon.io/fleet
      template:
        spec:
          restartPolicy: Never
          containers: [{name: work, image: busybox, resources: {requests: {cpu: 100m}}}]
";

/// In another namespace than `default`.
fn within(namespace: &str, job: &str) -> String {
    job.replacen("metadata:\n", &format!("metadata:\n  namespace: {namespace}\n"), 1)
}

/// Everything that takes its time is begun at once; then each is looked at.
pub fn on_its_own(fleet: &Fleet) {
    let (kr, se) = (&fleet.kr, &fleet.se);
    let product = fleet.up(&["--mode", "auto"]);
    // Three nodes of four cores each.
    let room = |name| product.cluster(name)["allocatable"]["cpuCores"] == 12.0;
    product.until("there is room in both, so that the cleaner one is asked", || room("kr") && room("se"));
    kr.apply(NIGHTLY);
    kr.run(&["create", "job", "nightly-1", "--from=cronjob/nightly"]);
    kr.apply(&lasting("endless", "1h"));
    for (name, annotation, _) in OWNERS {
        let owned = job(name, true, &format!(", {annotation}"));
        let flux = "placement: managed, kustomize.toolkit.fluxcd.io/name: apps";
        kr.apply(&if name == "flux" { owned.replace("placement: managed", flux) } else { owned });
    }
    let in_place = ", argocd.argoproj.io/tracking-id: 'shop:batch/Job:default/kept'";
    kr.apply(&lasting("kept", "1h").replace("managedBy: kubercarbon.io/fleet", "backoffLimit: 1").replacen(
        "20m",
        &format!("20m{in_place}, kubercarbon.io/finish-within: 36h"),
        1,
    ));
    refusals_begin(kr, se);
    runs_elsewhere_and_comes_home(&product, kr, se);
    refusals_are_told(&product, kr, se);
    owners_are_not_fought(&product, kr, se);
    goes_with_its_original(&product, kr, se);
    schedules_are_followed(&product, kr, se);
}

fn runs_elsewhere_and_comes_home(product: &Product, kr: &Plane, se: &Plane) {
    kr.complete("report", product);
    product.until("what it saved stands on it", || saved(kr, "report").is_some());
    assert!(saved(kr, "report").unwrap() > 0.0);
    let copies = se.copies("report");
    let copy = &copies[0];
    assert_eq!(copy["status"]["succeeded"], 1, "{copies:?}");
    let home = kr.get(&["job", "report"]);
    assert_eq!(copy["metadata"]["labels"]["kubercarbon.io/origin-uid"], home["metadata"]["uid"]);
    let uid = kr.get(&["namespace", "kube-system"])["metadata"]["uid"].clone();
    assert_eq!(copy["metadata"]["labels"]["kubercarbon.io/origin-cluster-uid"], uid);
    assert_eq!(home["status"]["completionTime"], copy["status"]["completionTime"]);
    let pods = kr.get(&["pods", "-l", "job-name=report"]);
    assert_eq!(pods["items"].as_array().unwrap().len(), 0, "it never ran at home");
    let report: Value = serde_json::from_slice(&product.ask(&["report", "-o", "json"]).stdout).unwrap();
    let lines = report["jobs"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["job"]["name"] == "report"), "{report}");
    // Pods of KWOK's have no logs; that they are asked for in the right place is what counts.
    let logs = product.ask(&["logs", "kr/default/report"]);
    let name = copy["metadata"]["name"].as_str().unwrap();
    let command = format!("kubectl --context se --namespace default logs job/{name}");
    assert!(text(&logs.stderr).starts_with(&command), "{}", text(&logs.stderr));
    assert!(!text(&logs.stderr).contains("not found"), "{}", text(&logs.stderr));
}

/// Grams saved, as written on a Job.
fn saved(plane: &Plane, name: &str) -> Option<f64> {
    plane.mark(name, "saved-gco2e")?.replace(',', "").parse().ok()
}

/// The cleaner cluster has no room by its quota, no such namespace, or not what the pods need.
fn refusals_begin(kr: &Plane, se: &Plane) {
    for (plane, namespace) in [(kr, "limited"), (se, "limited"), (kr, "homely")] {
        plane.run(&["create", "namespace", namespace]);
    }
    se.run(&["-n", "limited", "create", "quota", "none", "--hard=count/jobs.batch=0"]);
    kr.apply(&within("limited", &job("limited", true, "")));
    kr.apply(&within("homely", &job("homely", true, "")));
    for (name, part) in [("config", "configMapRef"), ("secret", "secretRef")] {
        let needs = format!("image: busybox, envFrom: [{{{part}: {{name: settings}}}}]");
        kr.apply(&job(name, true, "").replace("image: busybox", &needs));
    }
    // One that may not leave is let go where it is.
    kr.apply(&job("local", false, ""));
}

fn refusals_are_told(product: &Product, kr: &Plane, se: &Plane) {
    for name in ["config", "secret", "local"] {
        kr.complete(name, product);
    }
    for name in ["limited", "homely"] {
        kr.run(&["-n", name, "wait", "--for=condition=complete", "--timeout=180s", &format!("job/{name}")]);
        assert_eq!(kr.copies(name).len(), 1, "it ran at home");
    }
    for name in ["config", "secret"] {
        assert_eq!(kr.mark(name, "cluster").as_deref(), Some("kr"));
    }
    for name in ["limited", "homely", "config", "secret"] {
        assert_eq!(se.copies(name).len(), 0, "{name}");
    }
    let told = kr.told();
    for words in [
        "se refused the copy: jobs.batch \"limited-",
        "exceeded quota: none",
        "se refused the copy: namespaces \"homely\" not found",
        "has no ConfigMap \"settings\" there",
        "rbac --secrets",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

fn owners_are_not_fought(product: &Product, kr: &Plane, se: &Plane) {
    for (name, annotation, whose) in OWNERS {
        kr.complete(name, product);
        let home = kr.get(&["job", name]);
        assert_eq!(home["spec"]["suspend"], name != "helm", "{name}: a spec that is kept is left alone");
        let owned = product.job(name)["owned"].clone();
        assert!(owned.as_str().is_some_and(|o| o.contains(whose)), "{name}: {owned}");
        let copy = &se.copies(name)[0];
        let key = annotation.split(':').next().unwrap();
        assert!(copy["metadata"]["annotations"].get(key).is_none(), "{name}: {copy}");
        assert_eq!(copy["metadata"]["labels"].get("kustomize.toolkit.fluxcd.io/name"), None, "{copy}");
    }
    // It was started at once, though it might have waited, and is set back: so it stays.
    product.until("it was started", || kr.get(&["job", "kept"])["spec"]["suspend"] == false);
    kr.run(&["patch", "job", "kept", "--type=merge", "-p", "{\"spec\": {\"suspend\": true}}"]);
    product.until("it is said that it was set back", || kr.told().contains("somebody set spec.suspend back"));
    assert_eq!(kr.get(&["job", "kept"])["spec"]["suspend"], true);
    kr.run(&["delete", "job", "kept"]);
}

/// What its owner deletes goes with its copy, and what is another fleet's stays.
fn goes_with_its_original(product: &Product, kr: &Plane, se: &Plane) {
    // A copy whose home only bears the name of one of ours is somebody else's.
    let foreign = job("foreign", false, "").replace(
        "{kubercarbon.io/placement: managed}",
        "{kubercarbon.io/origin-cluster: kr, kubercarbon.io/origin-uid: of-another-fleet}",
    );
    se.apply(&foreign);
    product.until("the long one runs", || {
        se.copies("endless").first().is_some_and(|copy| copy["status"]["active"] == 1)
    });
    kr.run(&["delete", "job", "endless", "report", "--timeout=60s"]);
    product.until("the copies went with them, and their pods", || {
        let pods = se.get(&["pods"]);
        let all = pods["items"].as_array().cloned().unwrap_or_default();
        let named = |pod: &Value| pod["metadata"]["name"].as_str().is_some_and(|n| n.starts_with("endless-"));
        se.copies("endless").is_empty() && se.copies("report").is_empty() && !all.iter().any(named)
    });
    assert_eq!(se.get(&["job", "foreign"])["metadata"]["name"], "foreign");
    se.run(&["delete", "job", "foreign"]);
}

/// A CronJob's Jobs are placed; what goes with the CronJob takes its copies along.
fn schedules_are_followed(product: &Product, kr: &Plane, se: &Plane) {
    let name = "nightly-1";
    kr.complete(name, product);
    assert_eq!(se.copies(name).len(), 1);
    let job = product.job(name);
    assert_eq!(job["owner"], "CronJob nightly");
    assert!(job["owned"].as_str().is_some_and(|o| o.contains("the CronJob \"nightly\"")), "{job}");
    kr.run(&["delete", "cronjob", "nightly"]);
    product.until("its Jobs are gone, and their copies", || {
        kr.get(&["job", name]).is_null() && se.copies(name).is_empty()
    });
}
