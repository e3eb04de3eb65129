//! Instances made at random: what the solver answers keeps every rule of the format, costs what the
//! solver thinks it costs, and comes back from its own file as it went in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use planner::instance::{
    Instance, Intensity, Solution, Violation, evaluate, greedy_fifo_min_carbon, qos_only,
};
use planner::placement::solve;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Work units of one plan: enough that every part of the solver has its turn.
const EFFORT: u64 = 200_000;

fn cluster(slots: usize) -> impl Strategy<Value = Value> {
    let room = prop_oneof![
        (0u32..80).prop_map(|tenths| json!(f64::from(tenths) / 10.0)),
        prop::collection::vec(0u32..9, slots).prop_map(|cores| json!(cores)),
    ];
    let curve = || prop::collection::vec((0u32..90_000).prop_map(|c| f64::from(c) / 100.0), slots);
    let power = (100u32..160, 0u32..900, 0u32..700);
    let prices = (0u32..9, 0u32..300);
    (room, 0u32..4, curve(), curve(), power, prices).prop_map(|(cpu, gpu, carbon, forecast, power, prices)| {
        json!({
            "cpu": cpu, "mem_gib": 12.5, "gpu": gpu, "carbon": carbon, "carbon_forecast": forecast,
            "pue": f64::from(power.0) / 100.0, "watt_core": f64::from(power.1) / 100.0, "watt_gpu": power.2,
            "price_core_hour": f64::from(prices.0) / 100.0, "price_gpu_hour": f64::from(prices.1) / 100.0,
        })
    })
}

fn job(slots: usize, clusters: usize) -> impl Strategy<Value = Value> {
    let time = (0..slots, 1usize..6, 0usize..12);
    let need = (1u32..45, 0u32..60, 0u32..3);
    let rest = (0u32..9, any::<bool>(), 0u32..5, 0..clusters, 0u32..500);
    let allowed = prop::option::of(prop::collection::vec(0..clusters, 1..=clusters));
    (time, need, rest, allowed).prop_map(|((arrival, duration, slack), need, rest, allowed)| {
        json!({
            "arrival": arrival, "duration": duration, "deadline": arrival + slack,
            "cpu": f64::from(need.0) / 10.0, "mem_gib": f64::from(need.1) / 10.0, "gpu": need.2,
            "priority": f64::from(rest.0) / 2.0, "interruptible": rest.1,
            "resume_kwh": f64::from(rest.2) / 1000.0, "clusters": allowed, "home": rest.3,
            "data_gb": f64::from(rest.4) / 10.0,
        })
    })
}

fn instances() -> impl Strategy<Value = Value> {
    (1usize..13, 1usize..4, 0usize..14, 1u32..5).prop_flat_map(|(slots, clusters, jobs, quarters)| {
        let clusters_of = prop::collection::vec(cluster(slots), clusters);
        let jobs_of = prop::collection::vec(job(slots, clusters), jobs);
        let grams = prop::collection::vec(prop::collection::vec(0u32..30, clusters), clusters);
        (clusters_of, jobs_of, grams).prop_map(move |(mut clusters, mut jobs, grams)| {
            let name =
                |(i, value): (usize, &mut Value), key: &str| value[key] = json!(format!("{key} \"{i}\""));
            clusters.iter_mut().enumerate().for_each(|item| name(item, "name"));
            jobs.iter_mut().enumerate().for_each(|item| name(item, "id"));
            json!({
                "format": "placement-1", "slots": slots, "slot_seconds": quarters * 900,
                "transfer_g_per_gb": grams, "transfer_price_per_gb": 0.02, "clusters": clusters, "jobs": jobs,
            })
        })
    })
}

fn parse(text: &Value) -> Instance {
    Instance::parse(text.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (a.abs() + b.abs() + 1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn answers_keep_the_rules_and_cost_what_the_solver_thinks(text in instances(), actual in any::<bool>()) {
        let instance = parse(&text);
        let intensity = if actual { Intensity::Actual } else { Intensity::Forecast };
        let problem = instance.problem(intensity);
        let found = solve(&problem, &[], EFFORT);
        let solution = Solution::from_places(&instance, &found.places);
        let worth = evaluate(&instance, &solution, intensity);
        let worth = worth.unwrap_or_else(|violations| panic!("{violations:?}"));
        let kept = instance.jobs.iter().zip(problem.jobs.iter().zip(&found.places));
        let kept = kept.filter(|(job, _)| solution.0.contains_key(&job.id));
        let (mut grams, mut money) = (0.0, 0.0);
        for (_, (item, place)) in kept {
            let place = place.as_ref().unwrap();
            grams += problem.cost(item, place);
            money += item.sites[place.cluster].unwrap().money;
        }
        prop_assert!(close(worth.carbon_g(), grams), "{} {grams}", worth.carbon_g());
        prop_assert!(close(worth.money, money), "{} {money}", worth.money);
        prop_assert_eq!((worth.late, worth.in_time), (0, solution.0.len()));
        let bound = found.bound.unwrap_or(0.0);
        prop_assert!(bound <= grams * (1.0 + 1e-9) + 1e-9, "bound {bound} above {grams}");
        prop_assert_eq!(Solution::parse(solution.to_json().as_bytes(), &instance).unwrap(), solution);
    }

    #[test]
    fn baselines_keep_the_rules(text in instances()) {
        let instance = parse(&text);
        for solution in [qos_only(&instance), greedy_fifo_min_carbon(&instance, Intensity::Forecast)] {
            let worth = evaluate(&instance, &solution, Intensity::Actual);
            let worth = worth.unwrap_or_else(|violations| panic!("{violations:?}"));
            prop_assert_eq!(worth.late, 0);
            prop_assert_eq!(worth.in_time + worth.not_run, instance.jobs.len());
        }
    }

    #[test]
    fn broken_files_are_refused_not_read(text in instances(), at in 0.0..1.0f64, byte in any::<u8>()) {
        let mut bytes = text.to_string().into_bytes();
        let at = (at * bytes.len() as f64) as usize;
        bytes[at] = byte;
        // Whatever comes out, it comes out: a text that says where, or an instance that can be planned.
        match Instance::parse(&bytes) {
            Ok(instance) => drop(instance.problem(Intensity::Actual)),
            Err(error) => prop_assert!(error.to_string().contains("expected"), "{error}"),
        }
    }
}

fn small() -> Instance {
    parse(&json!({
        "format": "placement-1", "slots": 6, "slot_seconds": 3600,
        "transfer_g_per_gb": [[0, 2], [2, 0]], "transfer_price_per_gb": 0.5,
        "clusters": [
            {"name": "east", "cpu": [2, 2, 2, 2, 2, 1], "mem_gib": 8, "gpu": 0, "pue": 1.5, "watt_core": 10, "watt_gpu": 0,
             "carbon": [100, 200, 300, 400, 500, 600], "carbon_forecast": [1, 1, 1, 1, 1, 1],
             "price_core_hour": 0.25, "price_gpu_hour": 0},
            {"name": "west", "cpu": 4, "mem_gib": 8, "gpu": 0, "pue": 1, "watt_core": 10, "watt_gpu": 0,
             "carbon": [50, 50, 50, 50, 50, 50], "carbon_forecast": [1, 1, 1, 1, 1, 1],
             "price_core_hour": 0.25, "price_gpu_hour": 0}],
        "jobs": [
            {"id": "a", "arrival": 1, "duration": 2, "deadline": 5, "cpu": 2, "mem_gib": 1, "gpu": 0, "priority": 3,
             "interruptible": true, "resume_kwh": 0.01, "clusters": null, "home": 0, "data_gb": 3},
            {"id": "b", "arrival": 0, "duration": 1, "deadline": 4, "cpu": 1, "mem_gib": 1, "gpu": 0, "priority": 1,
             "interruptible": false, "clusters": [0], "home": 0, "data_gb": 3}]
    }))
}

/// What the rules say of a solution of the small instance.
fn check(text: &str, expected: &str) {
    let instance = small();
    let solution = Solution::parse(text.as_bytes(), &instance).unwrap();
    let found = match evaluate(&instance, &solution, Intensity::Actual) {
        Ok(worth) => format!(
            "in time {} late {} not run {} weight {}/{} run {} transfer {} resume {} kWh {:.3} money {}",
            worth.in_time,
            worth.late,
            worth.not_run,
            worth.weight_in_time,
            worth.weight,
            worth.carbon_run_g,
            worth.carbon_transfer_g,
            worth.carbon_resume_g,
            worth.energy_kwh,
            worth.money,
        ),
        Err(violations) => violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("; "),
    };
    assert_eq!(found, expected, "{text}");
}

#[test]
fn solutions_are_scored_by_the_formats_rules() {
    check("{}", "in time 0 late 0 not run 2 weight 0/4 run 0 transfer 0 resume 0 kWh 0.000 money 0");
    check(
        r#"{"a": [{"cluster": "east", "start": 4, "end": 5}, {"cluster": 0, "start": 1, "end": 2}], "b": []}"#,
        "in time 1 late 0 not run 1 weight 3/4 run 21 transfer 0 resume 5 kWh 0.070 money 1",
    );
    // Runs that touch are one run; away from home its data moves; after the deadline it counts as late.
    check(
        r#"{"a": [{"cluster": 1, "start": 4, "end": 5}, {"cluster": 1, "start": 5, "end": 6}]}"#,
        "in time 0 late 1 not run 1 weight 0/4 run 2 transfer 6 resume 0 kWh 0.040 money 2.5",
    );
}

#[test]
fn broken_rules_are_named() {
    let a = |runs: &str| format!("{{\"a\": [{runs}]}}");
    check(&a(r#"{"cluster": 2, "start": 1, "end": 3}"#), "a: cluster 2: expected a cluster of the instance");
    check(
        &a(r#"{"cluster": 0, "start": 5, "end": 7}"#),
        "a: slots 5 to 7: expected at least one slot, within 0 to 6",
    );
    check(
        &a(r#"{"cluster": 0, "start": 3, "end": 3}"#),
        "a: slots 3 to 3: expected at least one slot, within 0 to 6",
    );
    check(&a(r#"{"cluster": 0, "start": 0, "end": 2}"#), "a: starts in slot 0: expected 1 or later");
    check(&a(r#"{"cluster": 0, "start": 1, "end": 4}"#), "a: runs 3 slots: expected 2");
    check(
        &a(r#"{"cluster": 0, "start": 1, "end": 3}, {"cluster": 0, "start": 2, "end": 3}"#),
        "a: slot 2 twice: expected runs that do not overlap",
    );
    check(
        &a(r#"{"cluster": 0, "start": 1, "end": 2}, {"cluster": 1, "start": 3, "end": 4}"#),
        "a: more than one cluster: expected one",
    );
    check(
        r#"{"b": [{"cluster": 1, "start": 1, "end": 2}], "c": []}"#,
        "b: cluster 1: expected a cluster it may run on; c: not in the instance: expected a job of it",
    );
    check(&a(r#"{"cluster": 0, "start": 4, "end": 6}"#), "east, slot 5: 2 cpu held: expected at most 1");
    check(
        r#"{"a": [{"cluster": 0, "start": 1, "end": 3}], "b": [{"cluster": 0, "start": 2, "end": 3}]}"#,
        "east, slot 2: 3 cpu held: expected at most 2",
    );
    let instance = small();
    let unknown = Solution::parse(br#"{"a": [{"cluster": "north", "start": 1, "end": 3}]}"#, &instance);
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "a: cluster \"north\": expected the index or the name of a cluster"
    );
}

#[test]
fn solutions_are_written_in_one_order() {
    let instance = small();
    let text = "{\n\"a\": [{\"cluster\": 1, \"start\": 1, \"end\": 3}],\n\"b\": [{\"cluster\": 0, \"start\": 0, \"end\": 1}]\n}\n";
    let solution = Solution::parse(text.as_bytes(), &instance).unwrap();
    assert_eq!(solution.to_json(), text);
    assert_eq!(Solution::default().to_json(), "{}\n");
}

#[test]
fn decimal_amounts_fill_a_cluster_to_the_last_tenth() {
    // Ten times 0.1 is 1, whatever binary fractions make of it.
    let job = |i: usize| {
        json!({"id": format!("j{i}"), "arrival": 0, "duration": 1, "deadline": 1, "cpu": 0.1, "mem_gib": 0.3, "gpu": 0.1,
               "priority": 1, "interruptible": false, "home": 0, "data_gb": 0})
    };
    let instance = parse(&json!({
        "format": "placement-1", "slots": 1, "slot_seconds": 3600, "transfer_g_per_gb": [[0]], "transfer_price_per_gb": 0,
        "clusters": [{"name": "c", "cpu": 1, "mem_gib": 3, "gpu": 1, "carbon": [1], "carbon_forecast": [1], "pue": 1,
                      "watt_core": 1, "watt_gpu": 1, "price_core_hour": 0, "price_gpu_hour": 0}],
        "jobs": (0..11).map(job).collect::<Vec<_>>(),
    }));
    let found = solve(&instance.problem(Intensity::Actual), &[], EFFORT);
    let solution = Solution::from_places(&instance, &found.places);
    assert_eq!(evaluate(&instance, &solution, Intensity::Actual).unwrap().in_time, 10);
}
