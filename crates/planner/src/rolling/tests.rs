//! Small scenarios in text: a cluster is a row of digits, its intensity in 100 g/kWh slot by slot.

use super::{Forecast, Play, Scenario, Settings};
use crate::instance::{Intensity, Solution, evaluate};
use serde_json::{Value, json};

/// Arrival, duration, deadline, cores, whether it may pause.
type Line = (usize, usize, usize, u32, bool);

const QUICK: Settings = Settings { effort: 100_000, ahead: 48, expect: 6, stick: 0.01, seed: 1 };

fn document(rows: &[&str], cores: u32, lines: &[Line]) -> Value {
    let cluster = |(index, row): (usize, &&str)| {
        let carbon: Vec<u32> = row.bytes().map(|digit| u32::from(digit - b'0') * 100).collect();
        json!({
            "name": format!("c{index}"), "cpu": cores, "mem_gib": 64, "gpu": 0, "pue": 1.0,
            "watt_core": 10.0, "watt_gpu": 0, "price_core_hour": 0, "price_gpu_hour": 0,
            "carbon": carbon, "carbon_before": vec![500; 24],
        })
    };
    let job = |(index, line): (usize, &Line)| {
        json!({
            "id": format!("j{index}"), "arrival": line.0, "duration": line.1, "deadline": line.2,
            "cpu": line.3, "mem_gib": 1, "gpu": 0, "priority": 1, "interruptible": line.4,
            "resume_kwh": 0.001, "clusters": null, "home": 0, "data_gb": 0,
        })
    };
    json!({
        "format": "online-1", "slots": rows[0].len(), "slot_seconds": 3600, "transfer_price_per_gb": 0,
        "arrivals_end": rows[0].len(), "forecasts": [],
        "transfer_g_per_gb": vec![vec![0; rows.len()]; rows.len()],
        "clusters": rows.iter().enumerate().map(cluster).collect::<Vec<_>>(),
        "jobs": lines.iter().enumerate().map(job).collect::<Vec<_>>(),
    })
}

fn scenario(rows: &[&str], cores: u32, lines: &[Line]) -> Scenario {
    Scenario::parse(document(rows, cores, lines).to_string().as_bytes()).unwrap()
}

fn played(scenario: &Scenario, forecast: Forecast) -> Solution {
    let mut play = Play::new(scenario, forecast, QUICK);
    play.by_ref().for_each(drop);
    play.solution()
}

fn runs(solution: &Solution, job: &str) -> Vec<(usize, usize)> {
    solution.0[job].iter().map(|run| (run.start, run.end)).collect()
}

#[test]
fn a_job_waits_for_the_clean_hours_and_pauses_between_them() {
    let s = scenario(&["911991199999"], 4, &[(0, 2, 12, 2, false), (0, 4, 8, 2, true)]);
    let alone = Settings { expect: 0, ..QUICK };
    let mut play = Play::new(&s, Forecast::Perfect, alone);
    play.by_ref().for_each(drop);
    let solution = play.solution();
    assert_eq!(runs(&solution, "j0"), [(1, 3)]);
    assert_eq!(runs(&solution, "j1"), [(1, 3), (5, 7)]);
}

#[test]
fn a_paused_job_is_resumed_in_time_under_a_flood_of_arrivals() {
    let mut lines = vec![(0, 4, 9, 4, true)];
    lines.extend((2..9).flat_map(|slot| [(slot, 1, slot + 2, 4, false); 2]));
    let s = scenario(&["119999911111111111111111"], 4, &lines);
    let solution = played(&s, Forecast::Perfect);
    let run = runs(&solution, "j0");
    assert_eq!(run[0].0, 0, "{run:?}");
    assert!(run.last().unwrap().1 <= 9, "{run:?}");
    let found = evaluate(&s.instance, &solution, Intensity::Actual).unwrap();
    assert_eq!(found.not_run, 0, "late ones are run all the same: {found:?}");
}

#[test]
fn what_cannot_be_in_time_runs_as_soon_as_it_can() {
    let s = scenario(&["99999999"], 4, &[(0, 3, 4, 4, false), (0, 2, 2, 4, false)]);
    let solution = played(&s, Forecast::Naive);
    assert_eq!(evaluate(&s.instance, &solution, Intensity::Actual).unwrap().not_run, 0);
    let last = solution.0.values().flatten().map(|run| run.end).max();
    assert_eq!(last, Some(5));
}

#[test]
fn decisions_hang_on_nothing_that_is_not_known_yet() {
    let known = 6;
    let lines: Vec<Line> = (0..14).map(|i| (i, 2, i + 7, 2, i % 3 == 0)).collect();
    let (mut here, mut there) = (
        document(&["53124563215645321234", "66543212345665432123"], 5, &lines),
        document(&["53124569999911119999", "66543219999911119999"], 5, &lines[..=known]),
    );
    for (document, later) in [(&mut here, 50), (&mut there, 900)] {
        let issue = |slot: i64, grams: i64| json!({"issued_slot": slot, "carbon": [vec![grams; 12], vec![grams + 9; 12]]});
        document["forecasts"] = json!([issue(-2, 300), issue(4, 200), issue(7, later)]);
    }
    for forecast in [Forecast::Real, Forecast::Naive, Forecast::Learnt] {
        let decided = |document: &Value| {
            let s = Scenario::parse(document.to_string().as_bytes()).unwrap();
            let mut play = Play::new(&s, forecast, QUICK);
            play.by_ref().take(known + 1).for_each(drop);
            play.solution()
        };
        assert_eq!(decided(&here), decided(&there), "{forecast:?}");
    }
}

#[test]
fn a_job_that_was_announced_is_not_in_the_way() {
    let s = scenario(&["11119999222222222222"], 4, &[(0, 4, 16, 4, false), (1, 3, 4, 4, false)]);
    let in_time = |mut play: Play<'_>| {
        play.by_ref().for_each(drop);
        evaluate(&s.instance, &play.solution(), Intensity::Actual).unwrap().in_time
    };
    assert_eq!(in_time(Play::new(&s, Forecast::Perfect, QUICK)), 1);
    assert_eq!(in_time(Play::new(&s, Forecast::Perfect, QUICK).announced()), 2);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let lines: Vec<Line> = (0..12).map(|i| (i, 2, i + 6, 3, i % 2 == 0)).collect();
    let s = scenario(&["531245632156453212345555", "665432123456654321235555"], 6, &lines);
    assert_eq!(played(&s, Forecast::Naive), played(&s, Forecast::Naive));
}

#[test]
fn forecasts_come_from_what_was_known() {
    let mut document = document(&["123456"], 4, &[]);
    document["clusters"][0]["carbon_before"] =
        json!((0..48).map(|hour| if hour == 25 { Value::Null } else { json!(hour) }).collect::<Vec<_>>());
    document["forecasts"] = json!([{"issued_slot": 2, "carbon": [[300, 310]]}]);
    let s = Scenario::parse(document.to_string().as_bytes()).unwrap();
    let flat = |forecast: Forecast, now| forecast.curves(&s, now, 9)[0].clone();
    assert_eq!(flat(Forecast::Perfect, 3), [400.0, 500.0, 600.0]);
    // The day before says 24 of slot 0: the 76 it is off by fade. Of slot 1 only two days before is known.
    let naive = flat(Forecast::Naive, 0);
    assert_eq!(naive[0], 100.0);
    assert!((naive[1] - (1.0 + 76.0 * 0.9)).abs() < 1e-9, "{naive:?}");
    let real = flat(Forecast::Real, 2);
    assert_eq!(real[..2], [300.0, 310.0]);
    assert!((real[2] - (28.0)).abs() < 1e-9, "beyond its end the naive one: {real:?}");
}

#[test]
fn scenarios_that_are_none_are_refused() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut document = document(&["11"], 4, &[(0, 1, 2, 1, false)]);
        change(&mut document);
        Scenario::parse(document.to_string().as_bytes()).unwrap_err().to_string()
    };
    assert_eq!(refused(&|d| d["format"] = json!("x")), "format: \"x\": expected \"online-1\"");
    let short = refused(&|d| d["forecasts"] = json!([{"issued_slot": 0, "carbon": []}]));
    assert_eq!(short, "forecasts[0].carbon: 0 items: expected 1");
    let negative = refused(&|d| d["clusters"][0]["carbon"][1] = json!(-1));
    assert!(negative.contains("clusters[0]"), "{negative}");
    assert!(Scenario::parse(b"[").is_err());
}
