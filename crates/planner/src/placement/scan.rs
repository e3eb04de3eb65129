//! Finding the best start of one contiguous run: a scan over prefix sums, cluster by cluster.
//!
//! Starts are the slots' boundaries and a job's few extra starts. One slot looked at is one unit of work.

use super::prices::Prices;
use super::problem::{Amounts, Job, Place, Problem, Site, by_cost, least_room};

/// A start and what it costs.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    /// Index of the cluster.
    pub cluster: usize,
    /// Start.
    pub start: i64,
    /// Grams, prices on capacity included.
    pub score: f64,
    /// Money.
    pub money: f64,
}

impl Pick {
    /// Cheaper, then less money, then earlier.
    fn beats(&self, other: &Option<Pick>) -> bool {
        let Some(other) = other else { return true };
        let order = by_cost(self.score, other.score).then(self.money.total_cmp(&other.money));
        order.then(self.start.cmp(&other.start)).is_lt()
    }
}

/// One search for a contiguous run.
pub struct Scan<'a> {
    /// Where.
    pub problem: &'a Problem,
    /// Room left, as in [`Problem::room`].
    pub room: &'a [Amounts],
    /// Prices on capacity.
    pub prices: Option<&'a Prices>,
    /// For whom.
    pub job: &'a Job,
}

/// The starts on boundaries of a run that ends inside the horizon.
pub struct Aligned {
    /// First slot to start in.
    pub first: usize,
    count: usize,
    whole: usize,
    rest: f64,
    span: usize,
}

impl Aligned {
    /// Starts that end by `until`; `None` where there are none, some run would go beyond
    /// the last slot, or it runs already.
    pub fn of(problem: &Problem, job: &Job, until: i64) -> Option<Aligned> {
        let (whole, rest) = ((job.length / problem.slot) as usize, job.length % problem.slot);
        let span = whole + usize::from(rest > 0);
        let first = ((job.from + problem.slot - 1) / problem.slot) as usize;
        let last = (until.checked_sub(job.length).filter(|last| *last >= 0)? / problem.slot) as usize;
        let rest = rest as f64 / problem.slot as f64;
        (!job.running && first <= last && last + span <= problem.slots).then(|| Aligned {
            first,
            count: last + 1 - first,
            whole,
            rest,
            span,
        })
    }

    /// The score of every start, in order, wherever there is room or not: one pass a term, so that the
    /// compiler can take several starts at once.
    pub fn scores(&self, scan: &Scan<'_>, cluster: usize, site: &Site, scores: &mut Vec<f64>) {
        let (first, count) = (self.first, self.count);
        let (values, sums) = scan.problem.curve(cluster);
        scores.clear();
        let ends = sums[first + self.whole..].iter().zip(&sums[first..]);
        scores.extend(ends.take(count).map(|(end, start)| site.grams * (end - start) + site.fixed));
        if self.rest > 0.0 {
            let part = site.grams * self.rest;
            scores
                .iter_mut()
                .zip(&values[first + self.whole..])
                .for_each(|(score, value)| *score += part * value);
        }
        if site.moving != 0.0 {
            let source = scan.job.data_at.map_or(values, |source| scan.problem.curve(source).0);
            let ends = source[first..].iter().zip(&values[first..]);
            let half = site.moving * 0.5;
            scores.iter_mut().zip(ends).for_each(|(score, (here, there))| *score += half * (here + there));
        }
        for (share, sums, _) in
            scan.prices.into_iter().flat_map(|prices| prices.rows(cluster, &scan.job.demand))
        {
            let ends = sums[first + self.span..].iter().zip(&sums[first..]);
            scores.iter_mut().zip(ends).for_each(|(score, (end, start))| *score += share * (end - start));
        }
    }
}

impl Scan<'_> {
    fn rest_slots(&self) -> (usize, f64, usize) {
        let slot = self.problem.slot;
        let (whole, rest) = (self.job.length / slot, self.job.length % slot);
        let span = whole as usize + usize::from(rest > 0);
        (whole as usize, rest as f64 / slot as f64, span)
    }

    /// Score of any start, exact.
    fn score_at(&self, cluster: usize, site: &Site, start: i64) -> f64 {
        let problem = self.problem;
        let run = (start, start + self.job.length);
        let slots = problem.overlapped(run);
        let priced = self.prices.map_or(0.0, |p| p.of(cluster, &self.job.demand, slots.start, slots.end));
        let grams = site.grams * problem.units(cluster, run.0, run.1);
        grams + site.fixed + problem.moving(self.job, site, cluster, slots.start) + priced
    }

    fn room_at(&self, cluster: usize, start: i64) -> bool {
        self.problem.has_room(self.room, self.job, &Place::contiguous(self.job, cluster, start))
    }

    /// Starts off the grid in `[from, last]`.
    fn extras(&self, last: i64) -> impl Iterator<Item = i64> + '_ {
        let end = self.problem.slots as i64 * self.problem.slot;
        let usable = move |start: &i64| *start >= self.job.from && *start <= last && *start < end;
        self.job.extra_starts.iter().copied().filter(usable)
    }

    /// The cheapest start that ends by `until`.
    pub fn cheapest(&self, until: i64, work: &mut u64) -> Option<Pick> {
        let mut best = None;
        let last = until.checked_sub(self.job.length).filter(|last| *last >= self.job.from)?;
        for cluster in 0..self.problem.clusters {
            let Some(site) = self.job.sites[cluster] else { continue };
            self.cheapest_aligned(cluster, &site, last, &mut best, work);
            self.each_extra(cluster, &site, until, work, &mut |start, score| {
                let pick = Pick { cluster, start, score, money: site.money };
                if pick.beats(&best) {
                    best = Some(pick);
                }
            });
        }
        best
    }

    /// Offers every start in one cluster that ends by `until` and has room, with its score.
    pub fn each(
        &self,
        cluster: usize,
        site: &Site,
        until: i64,
        work: &mut u64,
        offer: &mut impl FnMut(i64, f64),
    ) {
        if let Some(last) = until.checked_sub(self.job.length).filter(|last| *last >= self.job.from) {
            self.each_aligned(cluster, site, last, work, offer);
            self.each_extra(cluster, site, until, work, offer);
        }
    }

    /// Offers every start off the boundaries that ends by `until` and has room, with its score.
    pub fn each_extra(
        &self,
        cluster: usize,
        site: &Site,
        until: i64,
        work: &mut u64,
        offer: &mut impl FnMut(i64, f64),
    ) {
        for start in self.extras(until.saturating_sub(self.job.length)) {
            *work += self.rest_slots().2 as u64;
            if self.room_at(cluster, start) {
                offer(start, self.score_at(cluster, site, start));
            }
        }
    }

    fn cheapest_aligned(
        &self,
        cluster: usize,
        site: &Site,
        last: i64,
        best: &mut Option<Pick>,
        work: &mut u64,
    ) {
        // Only what is not clearly dearer than the best so far is looked at closely.
        let mut worth = best.map_or(f64::INFINITY, |best| best.score * (1.0 + 1e-6) + 1e-12);
        self.each_aligned(cluster, site, last, work, &mut |start, score| {
            if score > worth {
                return;
            }
            let pick = Pick { cluster, start, score, money: site.money };
            if pick.beats(best) {
                *best = Some(pick);
                worth = score * (1.0 + 1e-6) + 1e-12;
            }
        });
    }

    /// Offers every start on a boundary up to `last` that has room, in order of time, with its score.
    pub fn each_aligned(
        &self,
        cluster: usize,
        site: &Site,
        last: i64,
        work: &mut u64,
        offer: &mut impl FnMut(i64, f64),
    ) {
        let problem = self.problem;
        let (whole, rest, span) = self.rest_slots();
        let first = ((self.job.from + problem.slot - 1) / problem.slot) as usize;
        let last = ((last / problem.slot) as usize).min(problem.slots - 1);
        if self.job.running || first > last {
            return;
        }
        let room = &self.room[cluster * problem.slots..(cluster + 1) * problem.slots];
        let need = least_room(&self.job.demand);
        let rows: Vec<_> =
            self.prices.into_iter().flat_map(|prices| prices.rows(cluster, &self.job.demand)).collect();
        let (values, sums) = problem.curve(cluster);
        let source = self.job.data_at.filter(|_| site.moving != 0.0).map(|source| problem.curve(source).0);
        let mut clear_from = first;
        let end = (last + span).min(problem.slots);
        *work += (end - first) as u64;
        for (t, have) in room.iter().enumerate().take(end).skip(first) {
            if !((need[0] <= have[0]) & (need[1] <= have[1]) & (need[2] <= have[2]) & (need[3] <= have[3])) {
                clear_from = t + 1;
                if clear_from > last {
                    return;
                }
            }
            if t + 1 < clear_from + span {
                continue;
            }
            let start = t + 1 - span;
            let mut units = sums[start + whole] - sums[start];
            if rest > 0.0 {
                units += rest * values[start + whole];
            }
            let mut score = site.grams * units + site.fixed;
            if site.moving != 0.0 {
                score +=
                    site.moving * ((source.map_or(values[start], |from| from[start]) + values[start]) * 0.5);
            }
            for (share, sums, _) in &rows {
                score += share * (sums[start + span] - sums[start]);
            }
            offer(start as i64 * problem.slot, score);
        }
        // Runs that go on beyond the last slot.
        let clipped = (problem.slots + 1).saturating_sub(span).max(clear_from);
        for start in clipped..=last {
            let start = start as i64 * problem.slot;
            offer(start, self.score_at(cluster, site, start));
        }
    }

    /// The earliest start in one cluster.
    pub fn earliest_in(&self, cluster: usize, work: &mut u64) -> Option<i64> {
        self.job.sites[cluster]?;
        let problem = self.problem;
        let off_grid = self.extras(i64::MAX).find(|start| self.room_at(cluster, *start));
        if self.job.running {
            return off_grid;
        }
        let (_, _, span) = self.rest_slots();
        let first = ((self.job.from + problem.slot - 1) / problem.slot) as usize;
        let room = &self.room[cluster * problem.slots..(cluster + 1) * problem.slots];
        let need = least_room(&self.job.demand);
        let mut clear_from = first;
        for (t, have) in room.iter().enumerate().skip(first) {
            *work += 1;
            if need.iter().zip(have).any(|(need, have)| need > have) {
                clear_from = t + 1;
            } else if t + 1 - clear_from >= span {
                break;
            }
        }
        let aligned = (clear_from < problem.slots).then(|| clear_from as i64 * problem.slot);
        match (off_grid, aligned) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The earliest start anywhere; of equals the cheapest.
    pub fn earliest(&self, work: &mut u64) -> Option<Pick> {
        let mut best: Option<Pick> = None;
        for cluster in 0..self.problem.clusters {
            let Some(site) = self.job.sites[cluster] else { continue };
            let Some(start) = self.earliest_in(cluster, work) else { continue };
            let pick =
                Pick { cluster, start, score: self.score_at(cluster, &site, start), money: site.money };
            if best.is_none_or(|b| start < b.start || (start == b.start && pick.beats(&best))) {
                best = Some(pick);
            }
        }
        best
    }
}
