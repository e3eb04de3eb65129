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
