//! `kubercarbon solve`: valid answers by the format's own checker, the same bytes for the same work,
//! files written whole or not at all, wrong input refused with its place.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn solve(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubercarbon"));
    command.env_remove("KUBERCARBON_OUTPUT");
    command.current_dir(dir).arg("solve").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Two clusters that are clean at different hours, a day of jobs.
fn instance() -> Value {
    let cluster = |name: &str, turn: usize| {
        let carbon: Vec<usize> = (0..24).map(|t| 100 + 20 * ((t + turn) % 24)).collect();
        let forecast: Vec<usize> = carbon.iter().map(|grams| grams + 7).collect();
        json!({"name": name, "cpu": 8, "mem_gib": vec![32; 24], "gpu": 0, "carbon": carbon, "carbon_forecast": forecast,
               "pue": 1.2, "watt_core": 5, "watt_gpu": 300, "price_core_hour": 0.02, "price_gpu_hour": 1})
    };
    let job = |i: usize| {
        json!({"id": format!("j{i:02}"), "arrival": i % 12, "duration": 1 + i % 4, "deadline": 6 + i % 12 + i % 7,
               "cpu": 1 + i % 3, "mem_gib": 2, "gpu": 0, "priority": 1 + i % 2, "interruptible": i.is_multiple_of(3),
               "resume_kwh": 0.001, "clusters": null, "home": i % 2, "data_gb": 0.5})
    };
    json!({"format": "placement-1", "name": "day", "slots": 24, "slot_seconds": 3600,
           "transfer_g_per_gb": [[0, 1], [1, 0]], "transfer_price_per_gb": 0.02,
           "clusters": [cluster("kr", 0), cluster("jp", 9)], "jobs": (0..30).map(job).collect::<Vec<_>>()})
}

fn write(dir: &Path, name: &str, value: &Value) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, value.to_string()).unwrap();
    path
}

#[test]
fn the_same_work_gives_the_same_bytes_and_the_summary_says_what_it_is_worth() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "day.json", &instance());
    let args = ["day.json", "--work", "300000", "--compare", "--format", "json", "-o"];
    let one = solve(dir.path(), &[&args[..], &["one.json"]].concat());
    assert!(one.status.success(), "{}", text(&one.stderr));
    assert_eq!(text(&one.stderr), "");
    let two = solve(dir.path(), &[&args[..], &["two.json"]].concat());
    assert!(two.status.success(), "{}", text(&two.stderr));
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("one.json"), read("two.json"));
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["day.json", "one.json", "two.json"], "nothing is left beside");
    let summary: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!((&summary["jobs"], &summary["planned_on"]), (&json!(30), &json!("forecast")));
    let plans = summary["plans"].as_array().unwrap();
    let names: Vec<&str> = plans.iter().map(|plan| plan["plan"].as_str().unwrap()).collect();
    assert_eq!(names, ["solve", "qos_only", "greedy_fifo_min_carbon"]);
    let solved = &plans[0];
    assert_eq!(solved["in_time"], 30);
    let grams = |plan: &Value| plan["carbon_forecast_g"].as_f64().unwrap();
    assert!(grams(solved) < grams(&plans[1]), "{summary}");
    let bound = summary["lower_bound_g"].as_f64().unwrap();
    assert!(bound > 0.0 && bound <= grams(solved), "{summary}");
}

#[test]
fn the_solution_goes_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "day.json", &instance());
    let work = ["day.json", "--work", "100000"];
    let kept = solve(dir.path(), &[&work[..], &["-o", "kept.json"]].concat());
    assert!(text(&kept.stdout).contains("30 of 30"), "{}", text(&kept.stdout));
    let file = std::fs::read(dir.path().join("kept.json")).unwrap();
    let piped = solve(dir.path(), &[&work[..], &["-o", "-"]].concat());
    assert_eq!(piped.stdout, file, "the solution and nothing else");
    assert!(text(&piped.stderr).contains("30 of 30"), "{}", text(&piped.stderr));
    let shown = solve(dir.path(), &[&work[..], &["-o", "json"]].concat());
    assert!(serde_json::from_slice::<Value>(&shown.stdout).is_ok());
    assert_eq!(text(&shown.stderr), "the solution was not kept: -o FILE writes it\n");
    let nowhere = solve(dir.path(), &[&work[..], &["-o", "no/such/place.json"]].concat());
    assert_eq!(nowhere.status.code(), Some(1));
    assert_eq!(text(&nowhere.stdout), "");
    assert_eq!(text(&nowhere.stderr), "error: write no/such/place.json: no such folder\n");
}

#[test]
fn wrong_input_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let good = instance();
    let bad = |key: &[&str], value: Value| {
        let mut bad = good.clone();
        bad.pointer_mut(&format!("/{}", key.join("/"))).map(|at| *at = value).unwrap();
        bad
    };
    let cases = [
        (
            bad(&["jobs", "17", "deadline"], json!(2)),
            "jobs[17] (j17).deadline: 2: expected a whole number from 5, its arrival",
        ),
        (bad(&["slots"], json!(1_000_000_000)), "slots: 1000000000: expected a whole number from 1 to 8784"),
        (
            bad(&["jobs", "3", "home"], json!(2)),
            "jobs[3] (j03).home: 2: expected the index of a cluster, below 2",
        ),
        (
            bad(&["clusters", "1", "carbon"], json!([1, 2])),
            "clusters[1] (jp).carbon: a list of 2: expected a list of 24",
        ),
    ];
    for (value, part) in cases {
        write(dir.path(), "bad.json", &value);
        let output = solve(dir.path(), &["bad.json", "-o", "out.json"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).starts_with("error: bad.json: "), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(part), "no {part:?} in {}", text(&output.stderr));
        assert!(!dir.path().join("out.json").exists());
    }
    let cases: [(&[&str], &str); 5] = [
        (&["nowhere.json"], "nowhere.json"),
        (&["bad.json", "--budget", "soon"], "expected e.g. 500ms, 5s or 1m"),
        (&["bad.json", "--intensity", "perfect"], "expected forecast or actual"),
        (&["bad.json", "--budget", "1s", "--work", "5"], "cannot be used with"),
        (&["bad.json", "-o", ""], "expected table, wide, csv, json or yaml"),
    ];
    for (args, part) in cases {
        let output = solve(dir.path(), args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(part), "no {part:?} in {}", text(&output.stderr));
    }
}

#[test]
fn only_commands_that_write_a_file_take_one() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_kubercarbon")).args(["status", "-o", "jso"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("\"jso\" is no way to print a result: expected table, wide, csv, json or yaml"),
        "{error}"
    );
}

#[test]
fn the_example_is_solved() {
    let dir = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/placement.json");
    let output = solve(dir.path(), &[example.to_str().unwrap(), "--work", "300000", "--quiet"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("24 of 24"), "{}", text(&output.stdout));
}

/// The published instances, if the test data is there, and a Python to check answers with.
#[test]
fn the_formats_own_checker_calls_every_answer_valid() {
    let Some(root) = std::env::var_os("KUBERCARBON_TESTDATA") else {
        println!("skipped: no test data");
        return;
    };
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: no python3");
        return;
    }
    let folder = Path::new(&root).join("bench/placement");
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "S1-contiguous.json",
        "S2-interruptible.json",
        "S3-overload.json",
        "M1-contiguous.json.gz",
        "M2-interruptible.json.gz",
        "M3-tight.json.gz",
        "M4-overload.json.gz",
    ];
    for name in names {
        let file = folder.join(name);
        for intensity in ["actual", "forecast"] {
            let file = file.to_str().unwrap();
            let args = [
                file,
                "--work",
                "3000000",
                "--intensity",
                intensity,
                "--format",
                "json",
                "-o",
                "answer.json",
            ];
            let output = solve(dir.path(), &args);
            assert!(output.status.success(), "{name}: {}", text(&output.stderr));
            let ours: Value = serde_json::from_slice(&output.stdout).unwrap();
            let ours = &ours["plans"][0];
            let mut checker = Command::new("python3");
            checker.arg(folder.join("check.py")).arg(file).arg(dir.path().join("answer.json")).arg("--json");
            let checked = checker.output().unwrap();
            let theirs: Value = serde_json::from_slice(&checked.stdout).unwrap();
            assert_eq!(theirs["valid"], true, "{name}: {theirs}");
            assert_eq!(ours["in_time"], theirs["in_time"], "{name}");
            assert_eq!(ours["weight_in_time"].as_f64(), theirs["weight_in_time"].as_f64(), "{name}");
            for (our_key, their_key, rounding) in
                [("carbon_g", "carbon_g", 1e-3), ("energy_kwh", "energy_kwh", 1e-4), ("money", "cost", 1e-4)]
            {
                let (ours, theirs) = (ours[our_key].as_f64().unwrap(), theirs[their_key].as_f64().unwrap());
                assert!(
                    (ours - theirs).abs() <= rounding,
                    "{name}: {our_key} {ours}, the checker says {theirs}"
                );
            }
        }
    }
}
