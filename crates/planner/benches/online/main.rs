//! The online test: jobs become known as they arrive, and every hour it is decided what runs.
//!
//! `cargo bench -p planner --bench online [-- A-summer interruptible real …]` plays the scenarios in
//! `$KUBERCARBON_TESTDATA/bench/placement/online`; arguments choose among scenarios, kinds of jobs and forecasts.
//! `workloads=0,3,4` plays the file's own workload (0) and others drawn by their seed (`workload`); `searches=2` plays
//! each with that many seeds of the search; `clairvoyant=N` is the work of the plan that knows everything (0: none is
//! made); `announced` plays with arrivals known ahead as well; `effort=`, `expect=`, … change settings. Figures,
//! never pass or fail, but each run's answer is held against the format's rules, and those of the files' own workloads
//! against the format's own checker. After the runs, their mean and range over the workloads.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used)] // A benchmark ends where there is nothing to measure.

mod workload;

use planner::instance::{Evaluation, Instance, Intensity, Solution, evaluate, qos_only};
use planner::placement;
use planner::rolling::{Forecast, Play, Scenario, Settings};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

const NAMES: [&str; 3] = ["A-summer", "A-autumn", "B-spring"];
const KINDS: [&str; 2] = ["contiguous", "interruptible"];
const FORECASTS: [Forecast; 4] = [Forecast::Real, Forecast::Naive, Forecast::Learnt, Forecast::Perfect];
/// Work of the plan that knows everything, in (job, slot) evaluations.
const CLAIRVOYANT: u64 = 600_000_000;

/// What was asked for.
struct Asked {
    words: Vec<String>,
    root: PathBuf,
    answers: PathBuf,
}

impl Asked {
    fn value<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
    }

    /// Whether a name is asked for, or none of its kind.
    fn wants(&self, names: &[&str], name: &str) -> bool {
        let mut chosen = self.words.iter().filter(|word| names.contains(&word.as_str())).peekable();
        chosen.peek().is_none() || chosen.any(|word| word == name)
    }

    fn settings(&self, search: u64) -> Settings {
        let usual = Settings::default();
        Settings {
            effort: self.value("effort").unwrap_or(usual.effort),
            ahead: self.value("ahead").unwrap_or(usual.ahead),
            expect: self.value("expect").unwrap_or(usual.expect),
            stick: self.value("stick").unwrap_or(usual.stick),
            seed: search,
        }
    }
}

fn read(path: &Path) -> Option<Scenario> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).ok()?).read_to_end(&mut bytes).unwrap();
    Some(Scenario::parse(&bytes).unwrap())
}

/// What a workload is compared with, in kg.
#[derive(Clone, Copy)]
struct Marks {
    /// "Quality of service only".
    base: f64,
    /// The best plan known of those who know everything beforehand.
    best: f64,
    /// What no plan is below.
    bound: f64,
}

impl Marks {
    fn of(instance: &Instance, published: Option<(f64, f64)>, effort: u64) -> Marks {
        let kg = |solution: &Solution| {
            evaluate(instance, solution, Intensity::Actual).map(|e| (e.in_time, e.carbon_g() / 1e3))
        };
        let (_, base) = kg(&qos_only(instance)).unwrap();
        let (mut best, mut bound) = published.unwrap_or((f64::NAN, f64::NAN));
        if effort > 0 {
            let problem = instance.problem(Intensity::Actual);
            // A plan without pauses is one of those with them, and the search for it often gets further.
            let mut plain = problem.clone();
            plain.jobs.iter_mut().for_each(|job| job.pausable = false);
            let pauses = problem.jobs.iter().any(|job| job.pausable);
            for problem in std::iter::once(&problem).chain(pauses.then_some(&plain)) {
                let found = placement::solve(problem, &[], effort);
                let (in_time, ours) = kg(&Solution::from_places(instance, &found.places)).unwrap();
                println!("    clairvoyant: {ours:.2} kg, {in_time} of {} in time", instance.jobs.len());
                // Plans that leave somebody out are no measure for those that do not; what is bounded without pauses
                // may be undercut with them.
                if in_time == instance.jobs.len() {
                    best = best.min(ours);
                }
                if !pauses || problem.jobs.iter().any(|job| job.pausable) {
                    bound = bound.max(found.bound.map_or(f64::NAN, |grams| grams / 1e3));
                }
            }
        }
        Marks { base, best, bound }
    }

    fn share(&self, kg: f64, of: f64) -> f64 {
        100.0 * (self.base - kg) / (self.base - of)
    }
}

/// Best plan known and lower bound of the file's own workload, in kg.
fn published(root: &Path, name: &str, kind: &str) -> Option<(f64, f64)> {
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

fn play(scenario: &Scenario, mut play: Play<'_>) -> Run {
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

/// Figures of the runs that differ in nothing but workload and seed: saved, share, of bound, in time, all in %.
type Tallies = BTreeMap<(&'static str, &'static str, String), Vec<[f64; 4]>>;

/// Plays a scenario under every forecast asked for.
fn scenario(
    asked: &Asked,
    (name, kind): (&'static str, &'static str),
    workload: u64,
    file: &Scenario,
    tallies: &mut Tallies,
) {
    let drawn = (workload > 0).then(|| workload::drawn(file, workload));
    let scenario = drawn.as_ref().unwrap_or(file);
    let known = if workload == 0 { published(&asked.root, name, kind) } else { None };
    let effort = asked.value("clairvoyant").unwrap_or(CLAIRVOYANT);
    let marks = Marks::of(&scenario.instance, known, effort);
    let ways = FORECASTS.into_iter().map(|forecast| (forecast, false)).chain([(Forecast::Perfect, true)]);
    for (forecast, announced) in ways {
        let issued = !scenario.forecasts.is_empty() || forecast != Forecast::Real;
        let way = if announced { "announced" } else { forecast.as_str() };
        if !issued || !asked.wants(&["real", "naive", "learnt", "perfect", "announced"], way) {
            continue;
        }
        for search in 0..asked.value("searches").unwrap_or(1) {
            let game = Play::new(scenario, forecast, asked.settings(search));
            let run = play(scenario, if announced { game.announced() } else { game });
            let (e, kg) = (&run.evaluation, run.evaluation.carbon_g() / 1e3);
            let answer = asked.answers.join(format!("{name}-{kind}-{way}-{workload}-{search}.json"));
            std::fs::write(&answer, &run.answer).unwrap();
            let path = asked.root.join(format!("online/{name}-{kind}.json.gz"));
            let said = if workload == 0 { verdict(&asked.root, &path, &answer) } else { "valid".to_owned() };
            let in_time = 100.0 * e.in_time as f64 / e.jobs as f64;
            let saved = 100.0 * (1.0 - kg / marks.base);
            let figures = [saved, marks.share(kg, marks.best), marks.share(kg, marks.bound), in_time];
            let [_, share, of_bound, _] = figures;
            println!(
                "{name:<9} {kind:<14} {way:<9} {workload:>4} {search:>4} {:>7.2} {kg:>7.2} {saved:>8.2} {share:>8.2} {of_bound:>11.2} {in_time:>10.2} {:>5} {:>8.1} {:>5.0}  {said}",
                marks.base,
                e.late + e.not_run,
                run.mean_ms,
                run.max_ms,
            );
            tallies.entry((kind, name, way.to_owned())).or_default().push(figures);
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let Some(root) = std::env::var_os("KUBERCARBON_TESTDATA") else {
        println!("KUBERCARBON_TESTDATA is not set: nothing to play");
        return;
    };
    let root = PathBuf::from(root).join("bench/placement");
    let answers = std::env::temp_dir().join(format!("online-{}", std::process::id()));
    std::fs::create_dir_all(&answers).unwrap();
    let asked = Asked { words, root, answers };
    let workloads = asked.value("workloads").unwrap_or_else(|| "0".to_owned());
    let mut tallies = Tallies::new();
    println!(
        "scenario  jobs           forecast  load seek  QoS kg      kg  saved %  share %  of bound %  in time %  late  ms mean   max  valid"
    );
    for (name, kind) in NAMES.iter().flat_map(|name| KINDS.iter().map(move |kind| (*name, *kind))) {
        if !asked.wants(&NAMES, name) || !asked.wants(&KINDS, kind) {
            continue;
        }
        let Some(file) = read(&asked.root.join(format!("online/{name}-{kind}.json.gz"))) else { continue };
        for workload in workloads.split(',').filter_map(|seed| seed.parse().ok()) {
            scenario(&asked, (name, kind), workload, &file, &mut tallies);
        }
    }
    println!("mean (least to most):  saved %  share %  of bound %  in time %");
    for ((kind, name, way), runs) in &tallies {
        let figure = |i: usize| {
            let of = || runs.iter().map(|run| run[i]);
            let mean = of().sum::<f64>() / runs.len() as f64;
            format!(
                "{mean:.2} ({:.2} to {:.2})",
                of().fold(f64::INFINITY, f64::min),
                of().fold(0.0, f64::max)
            )
        };
        println!(
            "{kind:<14} {name:<9} {way:<9} {:>3} runs  {}",
            runs.len(),
            (0..4).map(figure).collect::<Vec<_>>().join("  ")
        );
    }
    println!("answers: {}", asked.answers.display());
}
