//! Every scenario file is as it expects, and its timeline is the one in the repository.
//!
//! `UPDATE_SCENARIOS=1` writes the timelines anew; what changed is then read in the diff. `SCENARIO=NAME` plays one alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::path::{Path, PathBuf};
use twin::scenario;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

/// The scenario files, by name.
fn files() -> Vec<PathBuf> {
    let only = std::env::var("SCENARIO").ok();
    let all = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let is = |path: &PathBuf| {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        path.extension().is_some_and(|e| e == "yaml") && only.as_deref().is_none_or(|only| only == stem)
    };
    let mut files: Vec<PathBuf> = all.filter(is).collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios");
    files
}

/// The first line in which two texts differ.
fn difference(expected: &str, found: &str) -> String {
    let mut expected = expected.lines();
    for (number, line) in found.lines().enumerate() {
        let theirs = expected.next();
        if theirs != Some(line) {
            let theirs = theirs.unwrap_or("(the end)");
            return format!("line {}\n  expected {theirs}\n  found    {line}", number + 1);
        }
    }
    format!("found ends where this was expected: {}", expected.next().unwrap_or_default())
}

#[test]
fn scenarios_go_as_they_expect() {
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some();
    let mut wrong = Vec::new();
    for file in files() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let read = scenario::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.name, name, "a scenario is named as its file");
        assert!(text.starts_with("# "), "{name}: begins with what Kubernetes does");
        let report = scenario::run(&read);
        let found = report.to_text();
        if !report.is_met() {
            let unmet: Vec<&str> = found.lines().filter(|line| line.starts_with("FAIL")).collect();
            wrong.push(format!("{name}:\n{}", unmet.join("\n")));
        }
        let golden = folder().join("results").join(format!("{name}.txt"));
        if update {
            std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
            std::fs::write(&golden, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if expected != found {
            wrong.push(format!("{name}: {}", difference(&expected, &found)));
        }
        assert_eq!(scenario::run(&read).to_text(), found, "{name}: the same text gives the same bytes");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_is_not_as_expected_fails() {
    let text = "apiVersion: kubercarbon.io/v1alpha1\nkind: Scenario\nmetadata: {name: s}\nfor: 1m\n\
        steps: [{at: 10s, delete: {kind: Pod, name: nobody}}]\n\
        expect:\n- {at: 5s, kind: Node, count: 4}\n- {from: 0s, until: 1m, kind: Node, count: 3}\n\
        - {by: 30s, kind: Node, name: twin-general-1, is: {'status.conditions[Ready].status': \"False\"}}\n";
    let report = scenario::run(&scenario::parse(text).unwrap());
    let met: Vec<bool> = report.expectations.iter().map(|outcome| outcome.met).collect();
    assert_eq!(met, [false, true, false]);
    assert_eq!(report.expectations[0].found, "3 of 3 × Node");
    assert_eq!(report.expectations[2].found, "status.conditions[Ready].status \"True\"");
    assert_eq!(report.refused, ["steps[0] at 10s: delete pod/nobody: no such object"]);
    assert!(!report.is_met());
    let drawn = &report.drawn;
    // Three m6i.large for a minute: 4.6 W each at rest, PUE of the region not less than 1.
    assert!((0.00023..0.0005).contains(&drawn.idle_kwh), "{}", drawn.idle_kwh);
    assert_eq!((drawn.dynamic_kwh, drawn.pods.len()), (0.0, 0));
    assert!((drawn.cost - 3.0 * 0.118 / 60.0).abs() < 1e-6, "{}", drawn.cost);
    assert!((drawn.embodied_gco2e - 3.0 * 0.7975 / 60.0).abs() < 1e-5, "{}", drawn.embodied_gco2e);
}

#[test]
fn recorded_requests_come_to_a_service() {
    let text = "apiVersion: kubercarbon.io/v1alpha1\nkind: Scenario\nmetadata: {name: s}\nfor: 4m\n\
        objects:\n- {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n\
        traces: [{service: web, file: t.csv, column: n, skip: 1, scale: 0.5}]\n\
        expect:\n- {at: 30s, traffic: web, is: {requestsPerSecond: 1}}\n- {at: 4m, traffic: web, is: {requests: 180, refused: 180}}\n";
    let mut read = scenario::parse(text).unwrap();
    assert_eq!(read.traces()[0].file, "t.csv");
    let unread = scenario::run(&read);
    assert_eq!(unread.refused, ["trace \"t.csv\" was not read"]);
    assert_eq!(
        read.read_trace(0, "time,m\n0,1\n").unwrap_err(),
        "line 1: \"time,m\": expected a column \"n\""
    );
    read.read_trace(0, "time,n\n0,999\n1,120\n2,240\n").unwrap();
    // Nobody serves them.
    let report = scenario::run(&read);
    assert!(report.is_met(), "{}", report.to_text());
    let odd = scenario::parse(&text.replace("scale: 0.5", "scale: 0")).unwrap_err().to_string();
    assert_eq!(odd, "traces[0].scale: 0: expected a factor from 0.001 to 1000");
}
