//! What one job would choose in one cluster if nobody else ran, with or without prices.

use super::interruptible::Search;
use super::prices::Prices;
use super::problem::{Amounts, Job, Problem, RESOURCES, Site, fits};
use super::scan::{Aligned, Scan};

/// In place of a start: the score is a lower bound on any runs of a job that may pause.
pub const RELAXED: i64 = i64::MIN;

/// Searches one job's places in the room there is before anybody runs.
pub struct Alone<'a> {
    problem: &'a Problem,
    /// The least room of each cluster over time: what fits there fits always.
    least: Vec<Amounts>,
    /// The job looked at ends by then.
    until: i64,
    aligned: Option<Aligned>,
    scores: Vec<f64>,
    /// Slots behind the last relaxed score.
    pub slots: Vec<(f64, usize)>,
}

impl<'a> Alone<'a> {
    /// For a problem whose room stays as it is.
    pub fn new(problem: &'a Problem) -> Alone<'a> {
        let least = |room: &[Amounts]| {
            room.iter()
                .fold([i64::MAX; RESOURCES], |least, have| std::array::from_fn(|r| least[r].min(have[r])))
        };
        let least = problem.room.chunks(problem.slots.max(1)).map(least).collect();
        Alone { problem, least, until: 0, aligned: None, scores: Vec::new(), slots: Vec::new() }
    }

    /// What follows is about `job`, which has to end by `until`.
    pub fn look_at(&mut self, job: &Job, until: i64) {
        self.until = until;
        self.aligned = Aligned::of(self.problem, job, until);
    }

    /// Score and start of the cheapest place.
    pub fn best(
        &mut self,
        prices: Option<&Prices>,
        job: &Job,
        cluster: usize,
        site: &Site,
        work: &mut u64,
    ) -> Option<(f64, i64)> {
        if job.pausable && !job.running {
            let search = Search::new(self.problem, &self.problem.room, prices, job, cluster);
            let score = search.relaxed(site, self.until, &mut self.slots)?;
            *work += 4 * self.slots.len() as u64;
            return Some((score, RELAXED));
        }
        let mut best: Option<(f64, i64)> = None;
        self.each(prices, job, cluster, site, work, &mut |start, score| {
            if best.is_none_or(|b| score < b.0) {
                best = Some((score, start));
            }
        });
        best
    }

    /// Offers every start of a contiguous run, with its score.
    pub fn each(
        &mut self,
        prices: Option<&Prices>,
        job: &Job,
        cluster: usize,
        site: &Site,
        work: &mut u64,
        offer: &mut impl FnMut(i64, f64),
    ) {
        let scan = Scan { problem: self.problem, room: &self.problem.room, prices, job };
        match &self.aligned {
            Some(aligned) if fits(&job.demand, &self.least[cluster]) => {
                aligned.scores(&scan, cluster, site, &mut self.scores);
                *work += self.scores.len() as u64;
                for (i, score) in self.scores.iter().enumerate() {
                    offer((aligned.first + i) as i64 * self.problem.slot, *score);
                }
                scan.each_extra(cluster, site, self.until, work, offer);
            }
            _ => scan.each(cluster, site, self.until, work, offer),
        }
    }
}
