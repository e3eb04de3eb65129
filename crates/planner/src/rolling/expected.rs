//! What is expected to arrive: jobs like those that did, at the rate of the hour of the day.

use super::{Round, Settings};
use crate::instance::Job;
use crate::placement::draw::Draw;
use crate::placement::problem::Job as Item;
use std::collections::BTreeSet;

/// Hours of a day.
const DAY: usize = 24;
/// The mean rate counts like this many days of an hour's own.
const PRIOR_DAYS: f64 = 2.0;

/// What arrived so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// Everything that arrived.
    seen: Vec<Job>,
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
    pub fn learn(&mut self, round: &Round<'_>, _seed: u64) {
        let day = day(round);
        self.arrivals.resize(day, (0.0, 0.0));
        let hour = &mut self.arrivals[round.now % day];
        hour.1 += 1.0;
        for known in round.jobs {
            if self.ids.insert(known.job.id.clone()) {
                hour.0 += 1.0;
                self.seen.push(known.job.clone());
            }
        }
    }

    /// Arrivals to be expected in a slot.
    fn rate(&self, slot: usize) -> f64 {
        let (arrived, slots) =
            self.arrivals.iter().fold((0.0, 0.0), |sum, hour| (sum.0 + hour.0, sum.1 + hour.1));
        let mean = if slots > 0.0 { arrived / slots } else { 0.0 };
        let (here, days) = self.arrivals[slot % self.arrivals.len()];
        (here + PRIOR_DAYS * mean) / (days + PRIOR_DAYS)
    }

    /// Jobs expected in the slots ahead, in the solver's form, with names. Their draws hang on the slot
    /// they are expected in, so that the next round expects much the same.
    pub fn jobs(&self, round: &Round<'_>, slots: usize, settings: &Settings) -> Vec<(String, Item)> {
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
                jobs.push((format!("expected {at} {index}"), item(round, job, ahead, slots, samples)));
            }
        }
        jobs
    }
}

fn item(round: &Round<'_>, job: &Job, ahead: usize, slots: usize, samples: usize) -> Item {
    let mut item = round.instance.item(job);
    let slot = i64::from(round.instance.slot_seconds);
    item.from = ahead as i64 * slot;
    item.deadline = (ahead + job.deadline - job.arrival).min(slots) as i64 * slot;
    item.weight = 1;
    let part = samples as i64;
    item.demand = item.demand.map(|need| need / part);
    for site in item.sites.iter_mut().flatten() {
        for cost in [&mut site.grams, &mut site.fixed, &mut site.money, &mut site.resume] {
            *cost /= part as f64;
        }
    }
    item
}
