//! How good plans of the placement benchmark are, and how far from the best they can be at most.
//!
//! `cargo bench -p planner --bench instances [-- L1 M3 … work=600000000 seeds=0,1]` plans the instances in
//! `$KUBERCARBON_TESTDATA/bench/placement` whose names begin with one of the words, on the intensity that really is, as
//! `kubercarbon solve` does. Each answer is held against the format's rules and, where there is a `python3`, against the
//! format's own checker. Kilograms, seconds of wall time of the search alone. Figures, never pass or fail.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.
#![allow(clippy::unwrap_used)] // A benchmark ends where there is nothing to measure.

use planner::instance::{Instance, Intensity, Solution, evaluate};
use planner::placement::{Budget, solve_within};
use std::io::Read;
use std::path::Path;
use std::time::Instant;

/// Work where none is asked for, by size, in millions of (job, slot) evaluations.
const USUAL: [(&str, u64); 4] = [("S", 5), ("M", 200), ("L", 600), ("XL", 500)];

fn read(path: &Path) -> Instance {
    let bytes = std::fs::read(path).unwrap();
    let mut text = Vec::new();
    if path.extension().is_some_and(|end| end == "gz") {
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut text).unwrap();
    } else {
        text = bytes;
    }
    Instance::parse(&text).unwrap()
}

/// What the format's own checker says.
fn verdict(root: &Path, path: &Path, solution: &Solution) -> &'static str {
    let answer = std::env::temp_dir().join(format!("instances-{}.json", std::process::id()));
    std::fs::write(&answer, solution.to_json()).unwrap();
    let run =
        std::process::Command::new("python3").arg(root.join("check.py")).arg(path).arg(&answer).output();
    std::fs::remove_file(&answer).unwrap();
    match run {
        Ok(run) if run.status.success() => "valid",
        Ok(_) => "INVALID",
        Err(_) => "not checked",
    }
}

fn play(instance: &Instance, name: &str, work: u64, seed: u64, check: impl Fn(&Solution) -> &'static str) {
    let problem = instance.problem(Intensity::Actual);
    let begin = Instant::now();
    let mut share = |used: u64| used as f64 / work as f64;
    let budget = Budget { share: &mut share, stride: (work / 1000).clamp(1, 100_000) };
    let found = solve_within(&problem, &[], seed, budget);
    let seconds = begin.elapsed().as_secs_f64();
    let solution = Solution::from_places(instance, &found.places);
    let worth = evaluate(instance, &solution, Intensity::Actual).unwrap();
    let kg = worth.carbon_g() / 1e3;
    let bound = found.bound.unwrap_or(0.0).min(worth.carbon_g()) / 1e3;
    println!(
        "{name:<18} seed {seed} work {:>6} M: {:>5} in time, weight {:>5}, {kg:>9.4} kg, bound {bound:>9.3}, gap {:>5.2} %, {seconds:.1} s, {}",
        found.work / 1_000_000,
        worth.in_time,
        worth.weight_in_time,
        (kg - bound) / kg * 100.0,
        check(&solution),
    );
}

fn main() {
    let Ok(data) = std::env::var("KUBERCARBON_TESTDATA") else {
        println!("skipped: KUBERCARBON_TESTDATA names no folder");
        return;
    };
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key).map(str::to_owned));
    let names: Vec<&String> = words.iter().filter(|word| !word.contains('=')).collect();
    let seeds: Vec<u64> =
        value("seeds=").map_or(vec![0], |list| list.split(',').map(|s| s.parse().unwrap()).collect());
    let root = Path::new(&data).join("bench/placement");
    let mut files: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in &files {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".json.gz").or_else(|| file.strip_suffix(".json")) else {
            continue;
        };
        let size = name.split(|c: char| c.is_ascii_digit()).next();
        let Some((_, usual)) = USUAL.iter().find(|(known, _)| Some(*known) == size) else { continue };
        if !names.is_empty() && !names.iter().any(|word| name.starts_with(word.as_str())) {
            continue;
        }
        let work = value("work=").map_or(usual * 1_000_000, |work| work.parse().unwrap());
        let instance = read(path);
        for seed in &seeds {
            play(&instance, name, work, *seed, |solution| verdict(&root, path, solution));
        }
    }
}
