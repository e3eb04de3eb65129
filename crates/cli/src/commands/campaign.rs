//! `kubercarbon simulate --campaign SEEDS`: clusters, deeds and faults drawn from seeds, played on all cores and held to the
//! invariants; what fails is told with the command that replays it.
//!
//! Seeds share nothing and are put in order whatever thread ends first, so that the result is the same with any number of
//! threads. A single seed tells its story.

use crate::format;
use crate::options::{Common, Seeds, Simulate};
use crate::progress;
use crate::threads;
use serde::Serialize;
use server::campaign::{self, Outcome};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// Failures that a table shows.
const SHOWN_MAX: usize = 20;

/// What is wrong with a seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    seed: u64,
    /// When, in the seed's time; none where the program gave up.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    what: String,
    /// The command that replays it.
    replay: String,
}

/// What a seed came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seed {
    seed: u64,
    /// Hash of every change in order and of the world at the end, in hexadecimal digits.
    trace: String,
    changes: u64,
    faults: u64,
    deeds: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    story: Vec<String>,
}

/// What a campaign came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Campaign {
    from: u64,
    /// The first seed that is not of it.
    to: u64,
    changes: u64,
    faults: u64,
    deeds: u64,
    failures: Vec<Failure>,
    seeds: Vec<Seed>,
}

/// A seed that was played: what it came to, unless the program gave up, and what is wrong.
type Played = (Option<Seed>, Option<Failure>);

fn played(seed: u64, play: impl FnOnce() -> Outcome) -> Played {
    let replay = format!("kubercarbon simulate --campaign {seed}");
    match catch_unwind(AssertUnwindSafe(play)) {
        Ok(outcome) => {
            let failure = outcome.wrong.as_ref().map(|wrong| Failure {
                seed,
                at: Some(wrong.at.to_string()),
                what: wrong.what.clone(),
                replay,
            });
            let own = Seed {
                seed,
                trace: format!("{:016x}", outcome.trace),
                changes: outcome.changes,
                faults: outcome.faults,
                deeds: outcome.deeds,
                story: outcome.story,
            };
            (Some(own), failure)
        }
        Err(cause) => {
            let text = cause.downcast_ref::<String>().cloned();
            let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = format!("the twin gave up: {}", text.unwrap_or_default());
            (None, Some(Failure { seed, at: None, what, replay }))
        }
    }
}

fn told(failure: &Failure) -> String {
    let at = failure.at.as_ref().map_or_else(String::new, |at| format!(", {at}"));
    format!("FAIL seed {}{at}: {}\n  {}", failure.seed, failure.what, failure.replay)
}

/// Plays all seeds.
fn play(seeds: Seeds, on: Option<usize>, quiet: bool) -> Campaign {
    let (from, to) = (seeds.from, seeds.to);
    let tell = to - from == 1;
    let bar = progress::bar(quiet, &format!("{} seeds", to - from), to - from);
    let count = usize::try_from(to - from).unwrap_or(usize::MAX);
    let all: Vec<Played> = threads::each(count, on, |at| {
        let seed = from + at as u64;
        let own = played(seed, || campaign::play(seed, tell));
        if let (Some(failure), false) = (&own.1, quiet) {
            // At once: a campaign may take long.
            bar.suspend(|| eprintln!("{}", told(failure)));
        }
        bar.inc(1);
        own
    });
    bar.finish_and_clear();
    let (mut seeds, mut failures) = (Vec::new(), Vec::new());
    for (own, failure) in all {
        seeds.extend(own);
        failures.extend(failure);
    }
    let sum = |of: fn(&Seed) -> u64| seeds.iter().map(of).sum::<u64>();
    let (changes, faults, deeds) = (sum(|own| own.changes), sum(|own| own.faults), sum(|own| own.deeds));
    Campaign { from, to, changes, faults, deeds, failures, seeds }
}

fn table(campaign: &Campaign) -> String {
    let mut lines: Vec<String> = campaign.seeds.iter().flat_map(|own| own.story.clone()).collect();
    lines.extend(campaign.failures.iter().take(SHOWN_MAX).map(told));
    let more = campaign.failures.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        lines.push(format!("and {more} more; -o json has them all"));
    }
    let (all, failed) = (campaign.to - campaign.from, campaign.failures.len());
    let Campaign { changes, faults, deeds, .. } = campaign;
    lines.push(format!("{all} seeds: {failed} failed; {changes} changes, {faults} faults, {deeds} deeds"));
    lines.push(String::new());
    lines.join("\n")
}

/// Exit status 1: a seed failed.
pub fn run(common: &Common, options: &Simulate) -> anyhow::Result<ExitCode> {
    let Some(seeds) = options.campaign else { anyhow::bail!("--campaign: expected seeds, such as 0..1000") };
    let threads = options.threads.and_then(|threads| usize::try_from(threads).ok());
    let campaign = play(seeds, threads, common.quiet);
    format::show(common.print(), &campaign, |_| table(&campaign))?;
    Ok(if campaign.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::Instant;
    use server::campaign::Wrong;

    fn outcome(wrong: Option<&str>) -> Outcome {
        let at = Instant::parse("2026-05-01T10:00:00Z").expect("it is a time");
        let wrong = wrong.map(|what| Wrong { at, what: what.to_owned() });
        Outcome { seed: 17, trace: 0xab, changes: 4, faults: 2, deeds: 1, wrong, story: Vec::new() }
    }

    #[test]
    fn what_is_wrong_is_told_with_the_command_that_replays_it() {
        let (own, failure) = played(17, || outcome(None));
        assert_eq!((own.map(|own| own.trace), failure), (Some("00000000000000ab".to_owned()), None));
        let (_, failure) = played(17, || outcome(Some("pod a lives again")));
        let failure = failure.expect("it is wrong");
        let text = told(&failure);
        assert_eq!(
            text,
            format!(
                "FAIL seed 17, {}: pod a lives again\n  kubercarbon simulate --campaign 17",
                failure.at.clone().expect("it has a time")
            )
        );
        let (own, failure) = played(17, || unreachable!("no rest at {}", 9));
        assert!(own.is_none());
        let what = failure.expect("the twin gave up").what;
        assert!(what.ends_with("no rest at 9"), "{what}");
    }

    #[test]
    fn threads_change_nothing() {
        let of = |threads| {
            serde_json::to_value(play(Seeds { from: 0, to: 3 }, Some(threads), true)).expect("it is JSON")
        };
        assert_eq!(of(1), of(3));
    }
}
