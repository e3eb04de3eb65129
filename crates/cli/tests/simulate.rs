//! `kubercarbon simulate`: the same seed gives the same bytes, in two processes; wrong input is refused
//! with its place.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn simulate(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubercarbon"));
    command.current_dir(dir).args(["simulate", "--quiet"]).args(args).output().unwrap()
}

/// A trace that is busy at times, so that the policies differ.
fn trace(dir: &Path) -> PathBuf {
    let mut text = String::from("arrival_h,length_h,cpus\n");
    for i in 0..60u32 {
        let (arrival, length, cpus) = (f64::from(i) * 0.4, 0.5 + f64::from(i * 7 % 11) * 0.5, 1 + i * 5 % 9);
        text.push_str(&format!("{arrival:.2},{length:.2},{cpus}\n"));
    }
    let path = dir.join("trace.csv");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_the_plan_pays() {
    let dir = tempfile::tempdir().unwrap();
    let trace = trace(dir.path());
    let args = ["--jobs", trace.to_str().unwrap(), "--from", "2026-03-02", "--days", "1", "-o", "json"];
    let (first, second) = (simulate(dir.path(), &args), simulate(dir.path(), &args));
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(first.stdout, second.stdout);
    let result: Value = serde_json::from_slice(&first.stdout).unwrap();
    let row = |name: &str| {
        let rows = result["policies"].as_array().unwrap();
        rows.iter().find(|r| r["policy"] == name).unwrap().clone()
    };
    let (optimal, soonest) = (row("optimal"), row("soonest"));
    assert_eq!(optimal["jobs"], 60);
    assert_eq!(optimal["in_time"], 60, "nothing is late to save carbon: {optimal}");
    assert_eq!(optimal["unfinished"], 0);
    assert!(optimal["carbon_kg"].as_f64() < soonest["carbon_kg"].as_f64(), "{optimal} {soonest}");
    assert!(optimal["mean_wait_h"].as_f64() > soonest["mean_wait_h"].as_f64());
}

/// `soonest` decides without regard to carbon, so the same runs are charged with and without.
#[test]
fn embodied_carbon_stands_apart_where_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let trace = trace(dir.path());
    let run = |policy: &str, output: &str| {
        let groups = "[{name: a, instanceType: m6i.2xlarge, count: 3},\
            {name: b, instanceType: c6i.2xlarge, count: 1, pricePerHour: 0.4}]";
        let text = format!(
            "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n\
            - {{name: kr, region: ap-northeast-2, nodeGroups: {groups}}}\npolicy: {policy}\n"
        );
        std::fs::write(dir.path().join("fleet.yaml"), text).unwrap();
        let args = ["--fleet", "fleet.yaml", "--jobs", trace.to_str().unwrap(), "--from", "2026-03-02"];
        let result = simulate(dir.path(), &[&args[..], &["--policy", "soonest", "-o", output]].concat());
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        String::from_utf8(result.stdout).unwrap()
    };
    let json = |policy: &str| serde_json::from_str::<Value>(&run(policy, "json")).unwrap();
    let (off, on) = (json("{}"), json("{embodied: true}"));
    let figure = |of: &Value, name: &str| of["policies"][0][name].as_f64().unwrap();
    assert_eq!(figure(&off, "embodied_kg"), 0.0);
    let embodied = figure(&on, "embodied_kg");
    assert!(embodied > 0.0, "{on}");
    let operational = figure(&on, "carbon_kg") - embodied;
    assert!((operational / figure(&off, "carbon_kg") - 1.0).abs() < 1e-9, "{on} {off}");
    assert_eq!(figure(&on, "energy_kwh"), figure(&off, "energy_kwh"));
    let unknown = "embodied carbon of kr/b (c6i.2xlarge) is unknown and counts as 0";
    assert!(on["assumptions"].as_array().unwrap().iter().any(|a| a == unknown), "{on}");
    assert!(!off.to_string().contains(unknown));
    assert!(run("{embodied: true}", "wide").contains("EMBODIED kg"));
    assert!(!run("{}", "wide").contains("EMBODIED"));
}

#[test]
fn wrong_input_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let trace = trace(dir.path());
    let trace = trace.to_str().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let bad_trace = write("bad.csv", "arrival_h,length_h,cpus\n0.5,two,1\n");
    let bad_fleet = write(
        "fleet.yaml",
        "apiVersion: kubercarbon.io/v1alpha1\nkind: Fleet\nclusters:\n- name: kr\n  regoin: x\n",
    );
    let gaps = write(
        "gaps.csv",
        "zone,time_utc,ci_lca_gco2eq_per_kwh\nKR,2026-03-02T00:00:00Z,400\nKR,2026-03-03T00:00:00Z,410\nJP-TK,2026-03-02T00:00:00Z,400\n",
    );
    let cases: [(&[&str], &[&str]); 5] = [
        (&["--jobs", &bad_trace, "--from", "2026-03-02"], &["bad.csv", "line 2", "length_h", "two"]),
        (
            &["--jobs", trace, "--from", "2026-03-02", "--fleet", &bad_fleet],
            &["fleet.yaml", "regoin", "line 5"],
        ),
        (
            &["--jobs", trace, "--from", "2026-03-02", "--days", "2", "--carbon", &gaps],
            &["gaps.csv", "2026-03-02T01:00:00Z"],
        ),
        (&["--jobs", trace, "--from", "yesterday"], &["yesterday", "expected"]),
        (&["--jobs", "nowhere.csv", "--from", "2026-03-02"], &["nowhere.csv"]),
    ];
    for (args, parts) in cases {
        let output = simulate(dir.path(), args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        for part in parts {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}

/// A rush that needs machines, whose boot times are drawn.
const RUSH: &str = "apiVersion: kubercarbon.io/v1alpha1\nkind: Scenario\nmetadata: {name: rush}\nabout: A rush.\nfor: 15m\n\
cluster: {nodeGroups: [{name: general, instanceType: m6i.large, count: 1, min: 1, max: 4}]}\n\
objects:\n\
- {apiVersion: v1, kind: Service, metadata: {name: web, annotations: {traffic.twin.kubercarbon.io/requests: '0s=5,2m=60', \
traffic.twin.kubercarbon.io/service-time: 50ms}}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n\
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1, selector: {matchLabels: {app: web}}, \
template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, image: 'web:1', \
resources: {requests: {cpu: '1'}, limits: {cpu: '1'}}}]}}}}\n\
- {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web}, spec: {scaleTargetRef: {apiVersion: apps/v1, \
kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 6, metrics: [{type: Resource, resource: {name: cpu, \
target: {type: Utilization, averageUtilization: 70}}}]}}\n\
expect:\n- {by: 14m, kind: Deployment, name: web, is: {status.readyReplicas: '>=3'}}\n";

#[test]
fn variants_are_the_same_whatever_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rush.yaml"), RUSH).unwrap();
    let run = |more: &[&str]| {
        let args = ["rush.yaml", "--vary", "hpa.target=50,90", "--vary", "hpa.max=1,6", "--seeds", "3"];
        let output = simulate(dir.path(), &[&args[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let one = run(&["-o", "json", "--threads", "1"]);
    assert_eq!(one, run(&["-o", "json", "--threads", "5"]));
    let result: Value = serde_json::from_slice(&one).unwrap();
    let names: Vec<&str> =
        result["variants"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "hpa.target=50 hpa.max=1",
            "hpa.target=50 hpa.max=6",
            "hpa.target=90 hpa.max=1",
            "hpa.target=90 hpa.max=6"
        ]
    );
    let verdict = |variant: usize, measure: &str| {
        let all = result["variants"][variant]["againstFirst"].as_array().unwrap();
        all.iter().find(|d| d["measure"] == measure).unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    // One pod cannot answer 60 a second, six can, and need machines.
    assert_eq!((verdict(1, "errors"), verdict(1, "energy")), ("better".to_owned(), "worse".to_owned()));
    // With one pod at most the target says nothing.
    assert_eq!((verdict(2, "errors"), verdict(2, "energy")), ("same".to_owned(), "same".to_owned()));
    let seeds = &result["variants"][1]["measures"]["energy"]["bySeed"];
    assert_ne!(seeds[0], seeds[1], "boot times are drawn: {seeds}");
    let table = String::from_utf8(run(&[])).unwrap();
    assert!(table.contains("Against 1, over 3 seeds") && table.contains("better at"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn a_place_that_is_not_there_is_refused_with_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rush.yaml"), RUSH).unwrap();
    for (vary, parts) in [
        ("hpa.traget=50,70", &["rush.yaml", "hpa.traget", "no such place", "hpa.target"][..]),
        ("Deployment/wbe:spec.replicas=1", &["Deployment/wbe", "Deployment/web"]),
        ("nodegroup.type=m6i.larg", &["cluster.nodeGroups[0].instanceType", "m6i.larg"]),
        ("hpa.target", &["expected PLACE=VALUE"]),
    ] {
        let output = simulate(dir.path(), &["rush.yaml", "--vary", vary]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{vary}");
        for part in parts {
            assert!(text.contains(part), "{vary}: no {part:?} in {text}");
        }
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_campaign_is_the_same_whatever_the_number_of_threads_and_a_seed_tells_its_story() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = simulate(dir.path(), &[&["--campaign"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let one = run(&["3..5", "-o", "json", "--threads", "1"]);
    assert_eq!(one, run(&["3..5", "-o", "json", "--threads", "3"]));
    let both: Value = serde_json::from_slice(&one).unwrap();
    assert_eq!((both["from"].as_u64(), both["to"].as_u64()), (Some(3), Some(5)));
    assert_eq!(both["failures"], serde_json::json!([]));
    let traces: Vec<&str> =
        both["seeds"].as_array().unwrap().iter().map(|seed| seed["trace"].as_str().unwrap()).collect();
    assert_eq!(traces.len(), 2);
    assert_ne!(traces[0], traces[1]);
    let told: Value = serde_json::from_slice(&run(&["4", "-o", "json"])).unwrap();
    let (alone, among) = (&told["seeds"][0], &both["seeds"][1]);
    assert_eq!((&alone["trace"], &alone["changes"]), (&among["trace"], &among["changes"]));
    let story = alone["story"].as_array().unwrap().len() as u64;
    assert!(story >= alone["deeds"].as_u64().unwrap() && among.get("story").is_none(), "{alone}");
    let refused = simulate(dir.path(), &["--campaign", "5..5"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("5..5") && text.contains("0..1000"), "{text}");
}

#[test]
fn every_form_writes_a_report_that_stands_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rush.yaml"), RUSH).unwrap();
    let mut hours = String::from("time_utc,KR_usd_per_mwh,JP-TK_usd_per_mwh\n");
    for hour in 0..24 {
        hours.push_str(&format!("2026-03-02T{hour:02}:00:00Z,{},{}\n", 50 + hour, 70 - hour));
    }
    std::fs::write(dir.path().join("prices.csv"), hours).unwrap();
    let trace = trace(dir.path());
    let jobs = [
        "--jobs",
        trace.to_str().unwrap(),
        "--from",
        "2026-03-02",
        "--days",
        "1",
        "--policy",
        "optimal,soonest",
    ];
    let with = [&jobs[..], &["--services", "rush.yaml", "--prices", "prices.csv"]].concat();
    for (args, wanted) in [
        (&["rush.yaml"][..], &["1 of 1", "Latency", "Grid intensity"][..]),
        (&["rush.yaml", "--vary", "hpa.max=1,6"], &["Which is better at what", "hpa.max=6", "not judged"]),
        (&with, &["Where the work ran", "Requests to Services", "Electricity, USD", "optimal", "forecast"]),
    ] {
        let output = simulate(dir.path(), &[args, &["--report", "report.html"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
        for part in wanted {
            assert!(page.contains(part), "{args:?}: no {part:?}");
        }
        assert!(
            page.len() < 1_000_000 && !page.contains("<script") && !page.contains("http"),
            "{}",
            page.len()
        );
    }
    // Into a pipe nothing is drawn, whether or not --quiet says so.
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubercarbon"));
    let output = command
        .current_dir(dir.path())
        .args(["simulate", "rush.yaml", "--report", "r.html"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("A rush.\n\nreport: r.html ("), "{told:?}");
    assert!(!told.contains(['\r', '\u{1b}']) && !told.contains('%'), "{told:?}");
    let output = simulate(dir.path(), &[&with[..], &["-o", "json"]].concat());
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (row, course) = (&result["policies"][0], &result["courses"][0]);
    let sum = |name: &str| -> f64 {
        let clusters = course["clusters"].as_array().unwrap().iter();
        clusters.flat_map(|c| c[name].as_array().unwrap()).map(|v| v.as_f64().unwrap()).sum()
    };
    for (total, hourly) in [
        ("machines_kwh", "kwh"),
        ("machines_carbon_kg", "carbonKg"),
        ("machines_usd", "cost"),
        ("electricity_usd", "electricity"),
    ] {
        let total = row[total].as_f64().unwrap();
        assert!(total > 0.0 && (sum(hourly) / total - 1.0).abs() < 1e-9, "{hourly}: {total} {}", sum(hourly));
    }
    assert!(row["served"]["requests"].as_i64() > Some(1_000_000), "{row}");
}
