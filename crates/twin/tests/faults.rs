//! Faults from seeds: whatever goes wrong, the invariants hold, and once all is well again everything is as it was asked for.
//!
//! `CAMPAIGN_SEEDS=17 cargo test -p twin --test faults -- --nocapture` replays a seed and tells its story;
//! `CAMPAIGN_SEEDS=1000..5000` plays many.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use twin::campaign::{Outcome, play};

/// Seeds played where nothing else is said: some 0.4 s of a core each.
const SEEDS: Range<u64> = 0..1000;
/// Faults reported at most.
const REPORTED_MAX: usize = 10;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("CAMPAIGN_SEEDS") else { return SEEDS };
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    }
}

/// What is wrong with a seed, and how it is replayed.
fn wrong(seed: u64, tell: bool) -> (Option<Outcome>, Option<String>) {
    let replay = format!("CAMPAIGN_SEEDS={seed} cargo test -p twin --test faults -- --nocapture");
    match catch_unwind(AssertUnwindSafe(|| play(seed, tell))) {
        Ok(outcome) => {
            let text = outcome
                .wrong
                .as_ref()
                .map(|wrong| format!("seed {seed}, {}: {}\n  {replay}", wrong.at, wrong.what));
            (Some(outcome), text)
        }
        Err(cause) => {
            let text = cause.downcast_ref::<String>().cloned();
            let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            (None, Some(format!("seed {seed} panicked: {}\n  {replay}", text.unwrap_or_default())))
        }
    }
}

#[test]
fn faults_break_nothing() {
    let all = seeds();
    let tell = all.end - all.start == 1;
    let (next, threads) =
        (AtomicU64::new(all.start), std::thread::available_parallelism().map_or(1, usize::from));
    let work = || {
        let mut own: Vec<(u64, Option<Outcome>, Option<String>)> = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= all.end {
                return own;
            }
            let (outcome, text) = wrong(seed, tell);
            if let Some(text) = &text {
                println!("{text}");
            }
            own.push((seed, outcome, text));
        }
    };
    let mut found: Vec<(u64, Option<Outcome>, Option<String>)> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    found.sort_by_key(|(seed, ..)| *seed);
    let outcomes: Vec<&Outcome> = found.iter().filter_map(|(_, outcome, _)| outcome.as_ref()).collect();
    if tell {
        outcomes.iter().flat_map(|outcome| &outcome.story).for_each(|line| println!("{line}"));
    }
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(|outcome| of(outcome)).sum::<u64>();
    let (changes, faults, deeds) = (sum(|o| o.changes), sum(|o| o.faults), sum(|o| o.deeds));
    println!("{} seeds: {changes} changes, {faults} faults, {deeds} deeds", outcomes.len());
    let wrong: Vec<&String> = found.iter().filter_map(|(.., text)| text.as_ref()).collect();
    let few: Vec<&str> = wrong.iter().take(REPORTED_MAX).map(|text| text.as_str()).collect();
    assert!(wrong.is_empty(), "{} of {} seeds:\n{}", wrong.len(), found.len(), few.join("\n"));
    // A campaign in which nothing goes wrong shows nothing.
    assert!(tell || faults >= outcomes.len() as u64, "{faults} faults");
}

#[test]
fn a_seed_gives_the_same_trace_on_any_thread() {
    let seed = 3;
    let here = play(seed, false);
    let there = std::thread::spawn(move || play(seed, false)).join().unwrap();
    assert_eq!(here, there);
    assert_ne!(here.trace, play(seed + 1, false).trace);
}
