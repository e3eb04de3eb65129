//! What is expected to arrive: jobs like those that did, at the rate of the hour of the day.

use super::{Round, Settings};
use crate::instance::Job;
use crate::placement::draw::Draw;
use crate::placement::problem::Job as Item;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Hours of a day.
const DAY: usize = 24;
/// Arrivals remembered.
const SEEN_MAX: usize = 4096;
/// The mean rate counts like this many days of an hour's own.
const PRIOR_DAYS: f64 = 2.0;

/// What arrived so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// What arrived last, up to `SEEN_MAX`.
    seen: Vec<Job>,
    /// How many arrived in all.
    many: usize,
    /// The jobs of the round before.
    ids: BTreeSet<String>,
    /// Arrivals and days seen, by slot of the day.
    arrivals: Vec<(f64, f64)>,
}

/// Slots of a day.
fn day(round: &Round<'_>) -> usize {
    ((DAY as f64 / round.instance.slot_hours()) as usize).max(1)
}

impl Expected {
    /// Takes note of what arrived since the round before.
    pub fn learn(&mut self, round: &Round<'_>) {
        let day = day(round);
        self.arrivals.resize(day, (0.0, 0.0));
        let hour = &mut self.arrivals[round.now % day];
        hour.1 += 1.0;
        for known in round.jobs.iter().filter(|known| !self.ids.contains(&known.job.id)) {
            hour.0 += 1.0;
            match self.seen.get_mut(self.many % SEEN_MAX) {
                Some(oldest) => oldest.clone_from(known.job),
                None => self.seen.push(known.job.clone()),
            }
            self.many += 1;
        }
        self.ids = round.jobs.iter().map(|known| known.job.id.clone()).collect();
    }

    /// Arrivals to be expected in a slot.
    fn rate(&self, slot: usize) -> f64 {
        let (arrived, slots) =
            self.arrivals.iter().fold((0.0, 0.0), |sum, hour| (sum.0 + hour.0, sum.1 + hour.1));
        let mean = if slots > 0.0 { arrived / slots } else { 0.0 };
        let (here, days) = self.arrivals[slot % self.arrivals.len()];
        (here + PRIOR_DAYS * mean) / (days + PRIOR_DAYS)
    }

    /// Jobs expected in the slots ahead, in the solver's form, drawn from a seed of the slot
    /// they are expected in, so that the next round expects much the same.
    pub fn jobs(&self, round: &Round<'_>, slots: usize, settings: &Settings) -> Vec<Item> {
        let mut jobs = Vec::new();
        let samples = settings.samples.max(1);
        if self.seen.is_empty() {
            return jobs;
        }
        for ahead in 1..=settings.expect.min(slots.saturating_sub(1)) {
            let at = round.now + ahead;
            let mut draw = Draw::new(settings.seed ^ (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            // The first draws of neighbouring seeds are alike.
            (0..8).for_each(|_| _ = draw.share());
            let many = (self.rate(at) * samples as f64 + draw.share()) as usize;
            for index in 0..many {
                // One from each of as many equal parts of what was seen.
                let part = (index as f64 + draw.share()) / many as f64;
                let job = &self.seen[((part * self.seen.len() as f64) as usize).min(self.seen.len() - 1)];
                jobs.push(item(round, job, ahead, slots, samples));
            }
        }
        jobs
    }
}

fn item(round: &Round<'_>, job: &Job, ahead: usize, slots: usize, samples: usize) -> Item {
    let mut item = round.instance.item(job);
    let slot = i64::from(round.instance.slot_seconds);
    item.from = ahead as i64 * slot;
    item.deadline = (ahead + job.deadline.saturating_sub(job.arrival)).min(slots) as i64 * slot;
    item.weight = 1;
    // One run is far less to search for, and prices hardly differ.
    item.pausable = false;
    let part = samples as i64;
    item.demand = item.demand.map(|need| need / part);
    for site in Rc::make_mut(&mut item.sites).iter_mut().flatten() {
        for cost in [&mut site.grams, &mut site.fixed, &mut site.money, &mut site.resume] {
            *cost /= part as f64;
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Instance;
    use crate::rolling::Known;
    use serde_json::json;

    fn instance() -> Instance {
        let jobs: Vec<_> = (0..4)
            .map(|i| {
                json!({"id": format!("j{i}"), "arrival": i / 2, "duration": 2, "deadline": 5 + i / 2, "cpu": 3,
                    "mem_gib": 1, "gpu": 0, "priority": 1, "interruptible": true, "clusters": null,
                    "home": 0, "data_gb": 0})
            })
            .collect();
        let document = json!({
            "format": "placement-1", "slots": 40, "slot_seconds": 3600, "transfer_price_per_gb": 0,
            "transfer_g_per_gb": [[0]], "jobs": jobs,
            "clusters": [{"name": "c", "cpu": 9, "mem_gib": 9, "gpu": 0, "pue": 1, "watt_core": 5, "watt_gpu": 0,
                "price_core_hour": 0, "price_gpu_hour": 0, "carbon": vec![1; 40], "carbon_forecast": vec![1; 40]}],
        });
        Instance::parse(document.to_string().as_bytes()).unwrap()
    }

    fn round<'a>(instance: &'a Instance, now: usize, jobs: &'a [Known<'a>]) -> Round<'a> {
        Round { now, instance, intensity: &[], jobs }
    }

    #[test]
    fn a_job_is_counted_once_and_the_rate_leans_on_the_hour_of_the_day() {
        let instance = instance();
        let known = |job| Known { job, done: 0, cluster: None, running: false };
        let jobs: Vec<Known<'_>> = instance.jobs.iter().map(known).collect();
        let mut expected = Expected::default();
        expected.learn(&round(&instance, 0, &jobs[..2]));
        expected.learn(&round(&instance, 1, &jobs));
        assert_eq!(expected.many, 4);
        assert_eq!((expected.rate(0), expected.rate(25), expected.rate(7)), (2.0, 2.0, 2.0));
        (2..24).for_each(|now| expected.learn(&round(&instance, now, &jobs)));
        assert!(expected.rate(25) > expected.rate(30), "{} {}", expected.rate(25), expected.rate(30));
    }

    #[test]
    fn what_is_expected_is_like_what_came_in_parts_and_again_the_next_round() {
        let instance = instance();
        let known = |job| Known { job, done: 0, cluster: None, running: false };
        let jobs: Vec<Known<'_>> = instance.jobs.iter().map(known).collect();
        let settings = Settings { expect: 6, samples: 2, ..Settings::default() };
        let mut expected = Expected::default();
        assert!(expected.jobs(&round(&instance, 0, &[]), 20, &settings).is_empty());
        expected.learn(&round(&instance, 0, &jobs));
        let made = expected.jobs(&round(&instance, 0, &jobs), 20, &settings);
        assert!((44..=52).contains(&made.len()), "4 an hour, 6 hours, 2 parts: {}", made.len());
        for item in &made {
            assert_eq!(
                (item.demand[0], item.length, item.deadline - item.from),
                (1_500_000_000, 7200, 18_000)
            );
            assert!(item.optional && item.weight == 1 && item.from > 0);
        }
    }
}
