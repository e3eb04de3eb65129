//! A real cluster read into a file under the least role, and run as a twin.

use crate::support::{Plane, Twin, grant_by, kubeconfig, kubercarbon, text, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What a team may have there; `hunter2` is in it wherever credentials are put.
const TEAM: &str = "apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: team}
stringData: {password: hunter2hunter2}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: team}
data: {url: 'postgres://app:hunter2hunter2@db/app'}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: team}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: nginx
        args: [--api-token, hunter2hunter2]
        env:
        - {name: DB_PASSWORD, value: hunter2hunter2}
        - {name: FROM, valueFrom: {secretKeyRef: {name: db, key: password}}}
        resources: {requests: {cpu: 500m, memory: 1Gi}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: team}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: done, namespace: team}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: busybox}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: big, namespace: team}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: busybox, resources: {requests: {cpu: '9'}}}]}}}
";

/// Who is where, in what phase, owned by whom.
fn pods(list: &Value) -> BTreeSet<String> {
    let pod = |p: &Value| {
        let (meta, owner) = (&p["metadata"], &p["metadata"]["ownerReferences"][0]["uid"]);
        format!("{} {} {} {owner} {}", meta["name"], meta["uid"], p["spec"]["nodeName"], p["status"]["phase"])
    };
    list["items"].as_array().into_iter().flatten().map(pod).collect()
}

fn pending_because(list: &Value) -> String {
    let of = |p: &&Value| p["status"]["phase"] == "Pending";
    let pod = list["items"].as_array().into_iter().flatten().find(of).cloned().unwrap_or_default();
    pod["status"]["conditions"][0]["message"].as_str().unwrap_or_default().to_owned()
}

pub fn a_real_cluster_runs_as_a_twin(dir: &Path, plane: &Plane) {
    plane.apply(TEAM);
    plane.run(&["-n", "team", "rollout", "status", "deployment/web", "--timeout=180s"]);
    plane.run(&["-n", "team", "wait", "--for=condition=complete", "job/done", "--timeout=180s"]);
    let real = || plane.get(&["pods", "-n", "team"]);
    until("the big one is pending", String::new, || pending_because(&real()).contains("Insufficient cpu"));

    let token = grant_by(plane, "import", &["--import"]);
    let config = dir.join("kubeconfig-import");
    kubeconfig(&config, &[(plane, token)]);
    let file = dir.join("kr.twin").display().to_string();
    let args =
        ["twin", "import", "--context", "kr", "--kubeconfig", &config.display().to_string(), "-o", &file];
    let output = kubercarbon(&args.iter().copied().chain(["--configmaps"]).collect::<Vec<_>>());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("3 nodes") && said.contains("all at resourceVersion"), "{said}");
    assert!(said.contains("not read: kr: Secret: 403 Forbidden"), "{said}");
    assert!(said.contains("values that look like credentials"), "{said}");
    let unpacked = Command::new("gzip").args(["-dc", &file]).output().unwrap();
    let lines = text(&unpacked.stdout);
    assert!(lines.contains("\"kind\":\"PodDisruptionBudget\"") && lines.contains("<blanked>"));
    assert!(!lines.contains("hunter2") && !lines.contains("aHVudGVy"), "a credential is in the file");
    let (asked, refused) = plane.asked();
    assert!(asked.iter().all(|what| what.starts_with("list ")), "{asked:?}");
    assert_eq!(refused, BTreeSet::from(["list secrets".to_owned()]));

    let twin = Twin::start(dir, &file, &[]);
    let copy = || twin.get(&["pods", "-n", "team"]);
    assert_eq!(pods(&copy()), pods(&real()), "who is where, in what phase, owned by whom");
    assert_eq!(pending_because(&copy()), pending_because(&real()));
    assert_eq!(twin.get(&["nodes"])["items"].as_array().unwrap().len(), 3);
    let job = |list: Value| list["status"]["succeeded"].clone();
    assert_eq!(job(twin.get(&["job", "done", "-n", "team"])), job(plane.get(&["job", "done", "-n", "team"])));
    // In two minutes of the twin's time nothing collects what nobody there controls.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(pods(&copy()), pods(&real()));
    let said = twin.said();
    assert!(
        said.contains("kept aside: kr: 1 deployments") && said.contains("1 poddisruptionbudgets"),
        "{said}"
    );
    assert!(said.contains("not read: kr: Secret"), "{said}");
    // What waits for ever would be told of again and again.
    plane.run(&["-n", "team", "delete", "job", "big"]);
}
