//! The product as its users meet it: `up`, then kubectl, the command line and the REST API against it.

use crate::support::{Product, has, job};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const FLAGS: [&str; 4] = ["--no-demo", "--speed", "3600x", "--quiet"];

/// Runs the binary under test against the product.
fn kubercarbon(product: &Product, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubercarbon"));
    command.args(args).arg("--state").arg(&product.state).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// kubectl with a home of its own, so that no cache or configuration of the user's is touched.
fn kubectl(product: &Product, args: &[&str]) -> Output {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", product.state.join("kubeconfig")).env("HOME", &product.state);
    command.args(args).output().unwrap()
}

fn has_kubectl() -> bool {
    let there =
        Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|o| o.status.success());
    if !there {
        println!("skipped: no kubectl");
    }
    there
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_held_planned_run_and_mirrored_home() {
    if !has_kubectl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let product = Product::start(dir.path(), &FLAGS).await;
    let run = |args: &[&str]| {
        let output = kubectl(&product, args);
        assert!(output.status.success(), "kubectl {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    // While the clock stands still, the Job is seen held, with its plan on it.
    let output = kubercarbon(&product, &["twin", "pause"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    run(&["--context", "kr", "apply", "-f", &example("job.yaml")]);
    let manifest = std::fs::read_to_string(example("job.yaml")).unwrap();
    let name = manifest
        .lines()
        .find_map(|l| l.strip_prefix("  name: "))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    let job_name = format!("job/{name}");
    product
        .until("the plan is on the Job", async || {
            let text = text(&kubectl(&product, &["--context", "kr", "get", &job_name, "-o", "json"]).stdout);
            let job: Value = serde_json::from_str(&text).unwrap_or_default();
            has(&job, "Suspended")
                && job["metadata"]["annotations"]["kubercarbon.io/planned-start"].is_string()
        })
        .await;
    assert!(run(&["--context", "kr", "get", &job_name]).contains("Suspended"));
    kubercarbon(&product, &["twin", "resume"]);

    run(&["--context", "kr", "wait", "--for=condition=complete", "--timeout=60s", &job_name]);
    let described = || run(&["--context", "kr", "describe", &job_name]);
    product.until("its events tell what it saved", async || described().contains("Accounted")).await;
    let described = described();
    for part in ["Planned", "planned for", "Started", "logs: kubectl --context", "CO2e"] {
        assert!(described.contains(part), "no {part:?} in\n{described}");
    }
    // The command that the event names finds the copy, whose pods have no logs in a twin: said so.
    let command = described.split("logs: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let logs = kubectl(&product, &command.split_whitespace().skip(1).collect::<Vec<_>>());
    assert!(!logs.status.success() && text(&logs.stderr).contains("simulated pod"), "{}", text(&logs.stderr));

    let report = kubercarbon(&product, &["report", "-o", "json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["jobs"][0]["job"]["name"], name.as_str());
    assert_eq!(report["jobs"][0]["inTime"], true);

    run(&["--context", "kr", "delete", &job_name]);
    product
        .until("the copy is gone with its original", async || {
            product.jobs("kr").await.is_empty() && product.jobs("jp").await.is_empty()
        })
        .await;
    let jobs = || async { product.get(&format!("{}/api/v1/jobs", product.url)).await["total"].clone() };
    product.until("a deleted Job is forgotten", async || jobs().await == 0).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(jobs().await, 0, "and stays so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_mirrored_and_a_wrong_contract_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let product = Product::start(dir.path(), &FLAGS).await;
    let mut failing = job("failing", "10m", "2h");
    failing["spec"]["template"]["metadata"]["annotations"]["twin.kubercarbon.io/exit-code"] = "3".into();
    product.create("jp", &failing).await.unwrap();
    let mut wrong = job("wrong", "soon", "2h");
    wrong["metadata"]["annotations"]["kubercarbon.io/deadline"] = "2020-01-01T00:00:00Z".into();
    product.create("kr", &wrong).await.unwrap();
    product
        .until("the Job fails at home with its reason", async || {
            let jobs = product.jobs("jp").await;
            let home = jobs.iter().find(|j| j["metadata"]["name"] == "failing");
            home.is_some_and(|job| has(job, "Failed") && has(job, "FailureTarget"))
        })
        .await;
    product
        .until("what is wrong is told, and the work is done all the same", async || {
            let events =
                product.get(&format!("{}/api/v1/namespaces/default/events", product.cluster("kr"))).await;
            let told = |part: &str| {
                let items = events["items"].as_array().unwrap();
                items.iter().any(|e| e["message"].as_str().unwrap_or("").contains(part))
            };
            let jobs = product.jobs("kr").await;
            let done = jobs.iter().any(|j| j["metadata"]["name"] == "wrong" && has(j, "Complete"));
            told("expected-duration") && told("deadline") && done
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_decides_explains_and_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let product = Product::start(dir.path(), &["--no-demo", "--paused", "--quiet"]).await;
    let file = dir.path().join("job.json");
    std::fs::write(&file, job("solo", "45m", "12h").to_string()).unwrap();
    let file = file.display().to_string();
    let placed = kubercarbon(&product, &["place", &file, "-o", "json"]);
    assert!(placed.status.success(), "{}", text(&placed.stderr));
    let decision: Value = serde_json::from_slice(&placed.stdout).unwrap();
    let explanation = &decision["explanation"];
    assert_eq!(explanation["alternatives"].as_array().unwrap().len(), 5);
    assert!(
        explanation["chosen"]["carbonGrams"].as_f64() <= explanation["atOnceAtHome"]["carbonGrams"].as_f64()
    );
    assert!(product.jobs("kr").await.is_empty(), "place alone changes nothing");

    let unsaid = kubercarbon(&product, &["place", &file, "--apply"]);
    assert_eq!(unsaid.status.code(), Some(1), "no terminal, no yes");
    assert!(text(&unsaid.stderr).contains("--yes") && product.jobs("kr").await.is_empty());
    let applied = kubercarbon(&product, &["place", &file, "--apply", "--yes", "--context", "kr"]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    assert_eq!(product.jobs("kr").await.len(), 1);

    let mut large = job("large", "45m", "12h");
    large["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "12".into();
    std::fs::write(&file, large.to_string()).unwrap();
    let placed = kubercarbon(&product, &["place", &file]);
    assert_eq!(placed.status.code(), Some(1), "the answer is no");
    assert!(text(&placed.stdout).contains("12"), "{}", text(&placed.stdout));

    std::fs::write(&file, "kind: Pod\napiVersion: v1\n").unwrap();
    let refused = kubercarbon(&product, &["place", &file]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("expected one batch/v1 Job"), "{}", text(&refused.stderr));

    let openapi = product.get(&format!("{}/openapi.json", product.url)).await;
    for path in ["clusters", "jobs", "plans", "ledger", "signals"] {
        assert!(openapi["paths"][format!("/api/v1/{path}")].is_object(), "{path}");
        assert!(product.get(&format!("{}/api/v1/{path}", product.url)).await["items"].is_array(), "{path}");
    }
    let answer = product.http.get(format!("{}/api/v1/nothing", product.url)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    for page in ["/", "/jobs", "/savings", "/signals", "/plans"] {
        let answer = product.http.get(format!("{}{page}", product.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_sum_up_and_go_on_after_an_orderly_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut product = Product::start(dir.path(), &FLAGS).await;
    product.create("kr", &job("train", "10m", "1h")).await.unwrap();
    let asked = |product: &Product, path: &str| {
        let url = format!("{}{path}", product.url);
        let http = product.http.clone();
        async move { http.get(url).send().await.unwrap().json::<Value>().await.unwrap() }
    };
    product
        .until("hours are accounted for, and the Job in them", async || {
            let accounts = asked(&product, "/api/v1/accounts?by=workload").await;
            let there = accounts["items"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|row| row["name"].as_str().is_some_and(|name| name.starts_with("Job/train-")));
            there && accounts["coverage"][0]["seenHours"].as_f64().is_some_and(|hours| hours > 2.0)
        })
        .await;
    kubercarbon(&product, &["twin", "pause"]);
    for args in [
        &["top"][..],
        &["top", "nodes"],
        &["top", "pods", "-o", "wide"],
        &["top", "workloads", "--days", "1"],
        &["top", "--by", "label:app"],
        &["report", "--by", "namespace"],
        &["report", "--by", "label:app", "--from", "2026-03-02"],
        &["status"],
        &["status", "-o", "wide"],
    ] {
        let output = kubercarbon(&product, args);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        assert!(said.contains("assumed"), "{args:?} says what use stands on:\n{said}");
        let table = said.lines().take_while(|line| !line.is_empty());
        let narrow = !args.contains(&"wide");
        assert!(table.into_iter().all(|line| !narrow || line.chars().count() <= 100), "{args:?}:\n{said}");
    }
    let csv = text(&kubercarbon(&product, &["report", "--by", "node", "-o", "csv"]).stdout);
    assert!(csv.starts_with("part,cluster,namespace,name,energy_kwh,") && csv.lines().count() == 7, "{csv}");
    let lines = text(&kubercarbon(&product, &["report", "-o", "csv"]).stdout);
    assert!(lines.starts_with("id,job_cluster,"), "{lines}");
    for wrong in [
        &["status", "-o", "csv"][..],
        &["top", "pods", "--days", "1"],
        &["report", "--days", "1"],
        &["top", "--by", "pods"],
    ] {
        let output = kubercarbon(&product, wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}: {}", text(&output.stdout));
    }
    let metrics =
        product.http.get(format!("{}/metrics", product.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("kubercarbon_power_watts{cluster=\"kr\",part=\"idle\"}"), "{metrics}");

    let before = asked(&product, "/api/v1/accounts?by=cluster").await;
    product.stop();
    let again = Product::start(dir.path(), &["--no-demo", "--paused", "--quiet"]).await;
    let path = "/api/v1/accounts?by=cluster";
    again
        .until("it goes on from what was written", async || asked(&again, path).await["sum"] == before["sum"])
        .await;
}
