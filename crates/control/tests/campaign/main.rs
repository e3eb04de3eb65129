//! A campaign of faults on twins, from seeds: whatever happens, no Job is lost, run twice, or late because of carbon.
//!
//! A seed decides the fleet's carbon, the Jobs, what their owners do to them, and every fault. After each event the
//! invariants of [`checks`] are held against what really is in the clusters, and at the end nothing may be left behind.
//! The first broken one is printed with the command that replays it. `CAMPAIGN_SEEDS=17` runs one seed and tells its
//! story, `CAMPAIGN_SEEDS=1000..5000` many.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod campaign;
mod checks;
mod faults;
mod owners;
mod process;

use campaign::Campaign;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of a usual run: some 0.7 s of a core each.
const SEEDS: Range<u64> = 0..60;

/// The seeds to run, and whether their story is told.
fn seeds() -> (Range<u64>, bool) {
    let Ok(text) = std::env::var("CAMPAIGN_SEEDS") else { return (SEEDS, false) };
    let number =
        |text: &str| text.trim().parse::<u64>().unwrap_or_else(|e| panic!("CAMPAIGN_SEEDS={text}: {e}"));
    match text.split_once("..") {
        Some((from, to)) => (number(from)..number(to), false),
        None => (number(&text)..number(&text) + 1, true),
    }
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let story = |seed| Campaign::new(seed, false).run().unwrap().story();
    assert_eq!(story(3), story(3));
    assert_ne!(story(3), story(4));
}

/// The check of promises can fail: one Job has room at its planned time, thirty of them have not.
#[test]
fn capacity_promised_twice_is_found() {
    let fleet = fleet::file::parse(campaign::FLEET).unwrap();
    let start = fleet::Instant::parse("2026-03-02T00:00:00Z").unwrap();
    let settings = control::twin_driver::settings(&fleet);
    let packing = settings.packing_percent;
    let mut driver = control::twin_driver::TwinDriver::new(twin::World::new(&fleet, start, 1), settings);
    for event in campaign::intensities(start, 1) {
        driver.tell(event);
    }
    driver.begin();
    let clusters: Vec<fleet::ClusterId> = driver.world.clusters().cloned().collect();
    let wanted =
        owners::jobs(3, start, &clusters).into_iter().find(|job| job.managed && job.within.is_some());
    let wanted = wanted.unwrap();
    driver.world.request(&wanted.home, &owners::create(&wanted.document)).unwrap();
    driver.run_until(start + fleet::Span::from_seconds(1));
    let mut view = driver.control.view(driver.world.now());
    assert_eq!((view.jobs.len(), view.jobs[0].phase), (1, control::JobPhase::Held));
    assert_eq!(checks::promises(&view, packing), Ok(()));
    let twice = vec![view.jobs[0].clone(); 30];
    view.jobs = twice;
    assert!(checks::promises(&view, packing).is_err_and(|why| why.contains("are promised in")));
}

#[test]
fn no_job_is_lost_or_run_twice_or_late_because_of_carbon() {
    let (seeds, tell) = seeds();
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut sums = campaign::Sums::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sums;
            }
            match Campaign::new(seed, tell).run() {
                Ok(done) => sums.add(&done),
                Err(broken) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    panic!(
                        "seed {seed}: {broken}\n\nreplay: CAMPAIGN_SEEDS={seed} cargo test -p control --test campaign -- --nocapture"
                    );
                }
            }
        }
    };
    let sums = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        let mut sums = campaign::Sums::default();
        for thread in threads {
            sums.merge(thread.join().unwrap_or_else(|broken| std::panic::resume_unwind(broken)));
        }
        sums
    });
    println!("{} seeds: {sums}", seeds.end - seeds.start);
    // A campaign in which nothing happens proves nothing.
    assert!(tell || sums.faults > (seeds.end - seeds.start), "{sums}");
}
