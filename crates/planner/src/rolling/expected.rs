//! What is expected to arrive ([`crate::arrivals`]): what did in the last day.

use super::Round;
use crate::arrivals::Arrivals;
use crate::instance::Job;
use crate::placement::problem::Job as Item;
use std::collections::BTreeSet;

/// Hours of a day, and what must have passed before what came is thought to come again.
const DAY: i64 = 24;
const LEAST: i64 = 6;

/// What arrived so far.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    arrivals: Option<Arrivals<Job>>,
    /// The jobs of the round before.
    ids: BTreeSet<String>,
}

impl Expected {
    /// Nothing has arrived.
    pub fn new() -> Expected {
        Expected { arrivals: None, ids: BTreeSet::new() }
    }

    /// Takes note of what arrived since the round before.
    pub fn learn(&mut self, round: &Round<'_>) {
        let slots = |hours: i64| ((hours as f64 / round.instance.slot_hours()) as i64).max(1);
        let arrivals = self.arrivals.get_or_insert_with(|| Arrivals::new(slots(DAY), slots(LEAST)));
        for known in round.jobs.iter().filter(|known| !self.ids.contains(&known.job.id)) {
            arrivals.take_in(known.job.arrival as i64, known.job.clone(), round.now as i64);
        }
        self.ids = round.jobs.iter().map(|known| known.job.id.clone()).collect();
    }

    /// Jobs expected in the `near` slots ahead, in the solver's form.
    pub fn jobs(&self, round: &Round<'_>, slots: usize, near: usize) -> Vec<Item> {
        let expected = self.arrivals.iter().flat_map(|arrivals| arrivals.expected(round.now as i64));
        let ahead = expected.map(|(later, job)| (job.arrival as i64 + later - round.now as i64, job));
        let last = near.min(slots.saturating_sub(1)) as i64;
        let near = ahead.filter(|(ahead, _)| *ahead <= last);
        near.map(|(ahead, job)| item(round, job, ahead as usize, slots)).collect()
    }
}

fn item(round: &Round<'_>, job: &Job, ahead: usize, slots: usize) -> Item {
    let slot = i64::from(round.instance.slot_seconds);
    Item {
        from: ahead as i64 * slot,
        deadline: (ahead + job.deadline.saturating_sub(job.arrival)).min(slots) as i64 * slot,
        weight: 1,
        // One run is far less to search for, and prices hardly differ.
        pausable: false,
        ..round.instance.item(job)
    }
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
        Round { now, instance, intensity: &[], jobs, coming: None }
    }

    #[test]
    fn a_job_comes_again_once_and_may_be_left_out() {
        let instance = instance();
        let known = |job| Known { job, done: 0, cluster: None, running: false };
        let jobs: Vec<Known<'_>> = instance.jobs.iter().map(known).collect();
        let mut expected = Expected::new();
        assert!(expected.jobs(&round(&instance, 0, &[]), 20, 12).is_empty());
        expected.learn(&round(&instance, 0, &jobs[..2]));
        (1..=30).for_each(|now| expected.learn(&round(&instance, now, &jobs)));
        let made = expected.jobs(&round(&instance, 30, &jobs), 40, 20);
        let from: Vec<i64> = made.iter().map(|item| item.from / 3600).collect();
        assert_eq!(from, [18, 18, 19, 19], "those of slots 0 and 1, two days later");
        for item in &made {
            assert_eq!((item.length, item.deadline - item.from), (7200, 18_000));
            assert!(item.optional && item.weight == 1 && !item.pausable);
        }
        assert_eq!(expected.jobs(&round(&instance, 30, &jobs), 40, 18).len(), 2);
    }
}
