//! Online scenarios made at random: a run keeps every rule of the format and leaves no job unfinished.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use planner::instance::{Intensity, evaluate};
use planner::rolling::{Forecast, Play, Scenario, Settings};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Slots in which jobs arrive, and in all.
const ARRIVALS: usize = 16;
const SLOTS: usize = 80;

fn cluster() -> impl Strategy<Value = Value> {
    let carbon = prop::collection::vec(1u32..900, SLOTS);
    (prop::collection::vec(2u32..9, SLOTS), carbon, 0u32..900).prop_map(|(mut cpu, carbon, watts)| {
        cpu[ARRIVALS + 8..].fill(8);
        json!({
            "cpu": cpu, "mem_gib": 64, "gpu": 0, "carbon": carbon, "carbon_before": vec![300; 24],
            "pue": 1.2, "watt_core": f64::from(watts) / 100.0, "watt_gpu": 0,
            "price_core_hour": 0.01, "price_gpu_hour": 0,
        })
    })
}

fn job(clusters: usize) -> impl Strategy<Value = Value> {
    let time = (0..ARRIVALS, 1usize..6, 0usize..12);
    let allowed = prop::option::of(prop::collection::vec(0..clusters, 1..=clusters));
    (time, 1u32..45, any::<bool>(), 0u32..5, 0..clusters, allowed).prop_map(
        |((arrival, duration, slack), cores, pausable, resume, home, allowed)| {
            json!({
                "arrival": arrival, "duration": duration, "deadline": arrival + slack,
                "cpu": f64::from(cores) / 10.0, "mem_gib": 1, "gpu": 0, "priority": 1,
                "interruptible": pausable, "resume_kwh": f64::from(resume) / 1000.0,
                "clusters": allowed, "home": home, "data_gb": 1.5,
            })
        },
    )
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    (1usize..4, 1usize..14).prop_flat_map(|(clusters, jobs)| {
        let parts = (
            prop::collection::vec(cluster(), clusters),
            prop::collection::vec(job(clusters), jobs),
            prop::collection::vec(prop::collection::vec(1u32..900, 12), clusters),
        );
        parts.prop_map(move |(mut clusters, mut jobs, forecast)| {
            clusters.iter_mut().enumerate().for_each(|(i, c)| c["name"] = json!(format!("c{i}")));
            jobs.iter_mut().enumerate().for_each(|(i, j)| j["id"] = json!(format!("j{i}")));
            let document = json!({
                "format": "online-1", "slots": SLOTS, "slot_seconds": 3600, "transfer_price_per_gb": 0.02,
                "transfer_g_per_gb": vec![vec![1; clusters.len()]; clusters.len()],
                "clusters": clusters, "jobs": jobs,
                "forecasts": [{"issued_slot": 3, "carbon": forecast}],
            });
            Scenario::parse(document.to_string().as_bytes()).unwrap()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_run_is_valid_and_finishes_every_job(scenario in scenarios(), seed in 0u64..9) {
        let settings = Settings { effort: 20_000, ahead: 40, expect: 6, seed, ..Settings::default() };
        let mut play = Play::new(&scenario, Forecast::Real, settings);
        prop_assert_eq!(play.by_ref().count(), SLOTS);
        let found = evaluate(&scenario.instance, &play.solution(), Intensity::Actual);
        let found = found.map_err(|broken| TestCaseError::fail(format!("{broken:?}")))?;
        prop_assert_eq!(found.not_run, 0);
    }
}
