//! Same fleet, seed and requests: same bytes, however time is stepped through, saved or not.

use crate::fixture::*;
use fleet::{Instant, Span};
use proptest::prelude::*;
use serde_json::json;
use twin::apiserver::Verb;
use twin::{Kind, World};

fn bytes(world: &World) -> String {
    serde_json::to_string(world).unwrap()
}

/// Jobs of every sort over some hours, faults included, as inputs known beforehand.
fn busy(seed: u64) -> World {
    let mut world = World::new(&fleet(2, true), start(), seed);
    for i in 0..40i64 {
        let mut body = job(
            &format!("j{i}"),
            ["500m", "2", "4", "7"][(i % 4) as usize],
            &[["sleep", "700"], ["sleep", "90.5"]][(i % 2) as usize],
            json!({"parallelism": 1 + i % 3, "completions": 1 + i % 5, "ttlSecondsAfterFinished": 600}),
        );
        body["metadata"]["annotations"] = json!({"kubercarbon.io/interruptible": "true"});
        if i % 7 == 0 {
            body["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["false"]);
        }
        // Off the whole second, as a trace's arrivals are.
        let at = start() + Span::from_millis(i * 240_123);
        world.schedule(at, &kr(), request(Verb::Create, Kind::Job, body));
    }
    world
}

fn end() -> Instant {
    start() + Span::HOUR.scaled(6, 1)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let run = |seed| {
        let mut world = busy(seed);
        world.advance_to(end());
        bytes(&world)
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn stepping_saving_and_loading_change_nothing() {
    let mut whole = busy(1);
    whole.advance_to(end());
    let refused: Vec<_> = whole.refused().collect();
    assert!(refused.is_empty(), "{refused:?}");
    let demo = |id| whole.objects(id).unwrap().list(Kind::Job, Some("demo")).count();
    assert!(whole.clusters().map(demo).sum::<usize>() > 20, "six Jobs at the start and eight an hour");
    let expected = bytes(&whole);

    let mut stepped = busy(1);
    while stepped.now() < end() {
        stepped.advance_to((stepped.now() + Span::from_millis(7_777)).min(end()));
    }
    assert!(bytes(&stepped) == expected, "stepped");

    let mut by_change = busy(1);
    while by_change.advance_until_change(end()) {
        assert_eq!(by_change.overcommitted(), None);
    }
    assert!(bytes(&by_change) == expected, "by change");

    let mut saved = busy(1);
    for minutes in [1, 7, 61, 150, 299] {
        saved.advance_to(start() + Span::MINUTE.scaled(minutes, 1) + Span::from_millis(321));
        let text = bytes(&saved);
        saved = serde_json::from_str(&text).unwrap();
        assert!(bytes(&saved) == text, "loaded at {minutes} min");
    }
    saved.advance_to(end());
    let bytes = bytes(&saved);
    let at = bytes.bytes().zip(expected.bytes()).position(|(a, b)| a != b);
    let around =
        |text: &str| at.map(|at| text[at.saturating_sub(300)..(at + 100).min(text.len())].to_owned());
    assert_eq!(around(&bytes), around(&expected));
    assert_eq!(bytes.len(), expected.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever comes, no node ever holds more than it has, no Job has more pods than it may, and all
    /// Jobs end.
    #[test]
    fn no_node_is_ever_overcommitted(
        jobs in prop::collection::vec((0i64..3600, 1i64..8, 1i64..5, 1i64..7, 0i64..900, any::<bool>()), 1..40),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(&fleet(2, false), start(), seed);
        for (i, (at, cores, parallelism, completions, seconds, fails)) in jobs.iter().enumerate() {
            let script = format!("sleep {seconds}; exit {}", i32::from(*fails));
            let spec = json!({"parallelism": parallelism, "completions": completions, "backoffLimit": 1});
            let body = job(&format!("j{i}"), &cores.to_string(), &["sh", "-c", &script], spec);
            world.schedule(start() + Span::from_seconds(*at), &kr(), request(Verb::Create, Kind::Job, body));
        }
        let end = start() + Span::DAY.scaled(30, 1);
        while world.advance_until_change(end) {
            prop_assert_eq!(world.overcommitted(), None);
            for job in all(&world, Kind::Job) {
                let active = job["status"]["active"].as_i64().unwrap_or(0);
                prop_assert!(active <= job["spec"]["parallelism"].as_i64().unwrap(), "{}", job["status"]);
            }
        }
        prop_assert_eq!(all(&world, Kind::Job).len(), jobs.len());
        for (job, (.., fails)) in (0..jobs.len()).map(|i| get(&world, Kind::Job, &format!("j{i}"))).zip(&jobs) {
            let ended = if *fails { "Failed" } else { "Complete" };
            prop_assert!(condition(&job, ended).starts_with("True"), "{}", job["status"]);
        }
        let totals = world.energy(&kr()).unwrap();
        prop_assert!(totals.busy_share() <= 1.0);
    }
}
