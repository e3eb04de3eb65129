//! The online test: jobs become known as they arrive, and every hour it is decided what runs.
//!
//! `cargo bench -p planner --bench online [-- A-summer interruptible real …]` plays the scenarios in
//! `$KUBERCARBON_TESTDATA/bench/placement/online`; arguments choose among scenarios, kinds of jobs and
//! forecasts; `seeds=3` plays each run with that many seeds of the search. Figures, never pass or fail,
//! but each run's answer is written to a temporary folder and held against the format's own checker.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used)] // A benchmark ends where there is nothing to measure.

use planner::instance::{Evaluation, Intensity, evaluate, qos_only};
use planner::rolling::{Forecast, Play, Scenario, Settings};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn read(path: &Path) -> Option<Scenario> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).ok()?).read_to_end(&mut bytes).unwrap();
    Some(Scenario::parse(&bytes).unwrap())
}

/// Best plan known and lower bound of those who know everything beforehand, in kg.
fn clairvoyant(root: &Path, name: &str, kind: &str) -> Option<(f64, f64)> {
    let known: serde_json::Value =
        serde_json::from_slice(&std::fs::read(root.join("online.json")).ok()?).unwrap();
    let figure = |key: &str| known[format!("{name}/{kind}")]["clairvoyant"][key].as_f64();
    Some((figure("feasible_kg")?, figure("bound_kg")?))
}

/// What the format's own checker says.
fn verdict(root: &Path, scenario: &Path, answer: &Path) -> String {
    let mut python = std::process::Command::new("python3");
    let run = python.arg(root.join("check.py")).arg(scenario).arg(answer).arg("--json").output();
    let Ok(run) = run else { return "no python3".to_owned() };
    let said: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap_or_default();
    match said["valid"].as_bool() {
        Some(true) => format!("valid, {} kg", said["carbon_g"].as_f64().unwrap_or(0.0) / 1e3),
        _ => format!("INVALID {}", said["errors"]),
    }
}

struct Run {
    evaluation: Evaluation,
    mean_ms: f64,
    max_ms: f64,
    answer: String,
}

fn play(scenario: &Scenario, forecast: Forecast, settings: Settings) -> Run {
    let mut play = Play::new(scenario, forecast, settings);
    let mut times: Vec<f64> = Vec::new();
    loop {
        let begin = Instant::now();
        if play.next().is_none() {
            break;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let solution = play.solution();
    Run {
        evaluation: evaluate(&scenario.instance, &solution, Intensity::Actual).unwrap(),
        mean_ms: times.iter().sum::<f64>() / times.len().max(1) as f64,
        max_ms: times.iter().copied().fold(0.0, f64::max),
        answer: solution.to_json(),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |names: &[&str], name: &str| {
        let chosen: Vec<&String> = arguments.iter().filter(|a| names.contains(&a.as_str())).collect();
        chosen.is_empty() || chosen.iter().any(|a| *a == name)
    };
    let seeds = arguments.iter().find_map(|a| a.strip_prefix("seeds=")?.parse().ok()).unwrap_or(1);
    let Some(root) = std::env::var_os("KUBERCARBON_TESTDATA") else {
        println!("KUBERCARBON_TESTDATA is not set: nothing to play");
        return;
    };
    let root = PathBuf::from(root).join("bench/placement");
    let answers = std::env::temp_dir().join(format!("online-{}", std::process::id()));
    std::fs::create_dir_all(&answers).unwrap();
    let (names, kinds) = (["A-summer", "A-autumn", "B-spring"], ["contiguous", "interruptible"]);
    let forecasts = [Forecast::Real, Forecast::Naive, Forecast::Perfect];
    println!(
        "scenario  jobs           forecast seed  QoS kg      kg  saved %  share %  of bound %  in time %  late  ms mean   max  check.py"
    );
    for (name, kind) in names.iter().flat_map(|name| kinds.iter().map(move |kind| (*name, *kind))) {
        if !wanted(&names, name) || !wanted(&kinds, kind) {
            continue;
        }
        let path = root.join(format!("online/{name}-{kind}.json.gz"));
        let Some(scenario) = read(&path) else { continue };
        let base = evaluate(&scenario.instance, &qos_only(&scenario.instance), Intensity::Actual)
            .unwrap()
            .carbon_g()
            / 1e3;
        for forecast in forecasts {
            if !wanted(&["real", "naive", "perfect"], forecast.as_str())
                || (forecast == Forecast::Real && scenario.forecasts.is_empty())
            {
                continue;
            }
            for seed in 0..seeds {
                let settings = Settings { seed, ..Settings::default() };
                let run = play(&scenario, forecast, settings);
                let file = answers.join(format!("{name}-{kind}-{}-{seed}.json", forecast.as_str()));
                std::fs::write(&file, &run.answer).unwrap();
                let (e, kg) = (&run.evaluation, run.evaluation.carbon_g() / 1e3);
                let share = |best: f64| 100.0 * (base - kg) / (base - best);
                let (best, bound) = clairvoyant(&root, name, kind)
                    .map_or((f64::NAN, f64::NAN), |(best, bound)| (share(best), share(bound)));
                println!(
                    "{name:<9} {kind:<14} {:<8} {seed:>4} {base:>7.2} {kg:>7.2} {:>8.2} {best:>8.2} {bound:>11.2} {:>10.2} {:>5} {:>8.1} {:>5.0}  {}",
                    forecast.as_str(),
                    100.0 * (1.0 - kg / base),
                    100.0 * e.in_time as f64 / e.jobs as f64,
                    e.late + e.not_run,
                    run.mean_ms,
                    run.max_ms,
                    verdict(&root, &path, &file)
                );
            }
        }
    }
    println!("answers: {}", answers.display());
}
