//! The cheapest set of slots for a job that may pause, on one cluster: exact dynamic programming.
//!
//! State: slots used so far × slot; a run goes on for nothing, a resume after a pause costs the resume
//! energy at that slot's intensity. Runs begin and end on slot boundaries, except that a running job's
//! first run begins now and the last run ends when the work is done; every run lasts a slot at least.
//! One state is one unit of work.

use super::prices::Prices;
use super::problem::{Amounts, Job, Place, Problem, Site, fits};

/// One search on one cluster.
pub struct Search<'a> {
    /// Where.
    pub problem: &'a Problem,
    /// Room left, as in [`Problem::room`].
    pub room: &'a [Amounts],
    /// Prices on capacity.
    pub prices: Option<&'a Prices>,
    /// For whom.
    pub job: &'a Job,
    /// On which cluster.
    pub cluster: usize,
    /// Of a running job: pause it at once, not at the next boundary.
    pub pause_now: bool,
}

/// The slots a search may choose from, and what remains to be chosen.
struct Window {
    /// First slot to choose.
    first: usize,
    /// How many slots may be chosen from.
    width: usize,
    /// How many have to be chosen.
    needed: usize,
    /// Length used of the last one.
    rest: i64,
    /// A running job's time up to the first boundary.
    head: i64,
}

/// Marks that the slot before was used as well.
const GOES_ON: u32 = u32::MAX;

impl Search<'_> {
    fn window(&self, until: i64) -> Option<Window> {
        let (job, slot) = (self.job, self.problem.slot);
        let first = ((job.from + slot - 1) / slot) as usize;
        let head = if job.running && !self.pause_now { first as i64 * slot - job.from } else { 0 };
        let length = job.length - head;
        if length <= 0 {
            return None;
        }
        let needed = ((length + slot - 1) / slot) as usize;
        let rest = length - (needed as i64 - 1) * slot;
        let last = ((until.checked_sub(rest).filter(|last| *last >= 0)? / slot) as usize)
            .min(self.problem.slots - 1);
        let width = (last + 1).checked_sub(first)?;
        // As many slots as are needed leave nothing to choose: that is the contiguous run.
        (needed < width).then_some(Window { first, width, needed, rest, head })
    }

    /// Grams of using slot `t`, priced; infinite where there is no room.
    fn slot_score(&self, site: &Site, t: usize, share: f64) -> f64 {
        if !fits(&self.job.demand, &self.room[self.cluster * self.problem.slots + t]) {
            return f64::INFINITY;
        }
        let priced = self.prices.map_or(0.0, |p| p.of(self.cluster, &self.job.demand, t, t + 1));
        site.grams * share * self.problem.intensity(self.cluster, t) + priced
    }

    /// Grams for beginning with slot `t`.
    fn opening(&self, site: &Site, t: usize, first: usize) -> f64 {
        if !self.job.running {
            self.problem.moving(self.job, site, self.cluster, t)
        } else if t == first && !self.pause_now {
            0.0
        } else {
            self.resume(site, t)
        }
    }

    fn resume(&self, site: &Site, t: usize) -> f64 {
        site.resume * self.problem.intensity(self.cluster, t)
    }

    fn head_score(&self, site: &Site, w: &Window) -> Option<f64> {
        if w.head == 0 {
            return Some(0.0);
        }
        let run = (self.job.from, self.job.from + w.head);
        let place = Place { cluster: self.cluster, mode: self.job.mode, runs: vec![run] };
        self.problem
            .has_room(self.room, self.job, &place)
            .then(|| site.grams * self.problem.units(self.cluster, run.0, run.1))
    }

    /// The cheapest runs that end by `until`, and their score; a running job may be paused at once too.
    pub fn cheapest(&self, until: i64, work: &mut u64) -> Option<(f64, Place)> {
        let on = self.cheapest_so(until, work);
        if !self.job.running || self.job.from % self.problem.slot == 0 {
            return on;
        }
        let off = Search { pause_now: true, ..*self }.cheapest_so(until, work);
        match (on, off) {
            (Some(on), Some(off)) => Some(if off.0 < on.0 { off } else { on }),
            (on, off) => on.or(off),
        }
    }

    /// The same where it is less than `dearest`; one look at the slots tells where it cannot be.
    pub fn cheaper_than(
        &self,
        dearest: f64,
        until: i64,
        slots: &mut Vec<(f64, usize)>,
        work: &mut u64,
    ) -> Option<(f64, Place)> {
        let site = self.job.sites[self.cluster].as_ref()?;
        let least = self.relaxed(site, until, slots);
        *work += 2 * (until.min(self.problem.slots as i64 * self.problem.slot) - self.job.from).max(0) as u64
            / self.problem.slot as u64;
        // A running job may be paused at once, which the look at whole slots does not see.
        if !self.job.running && least? >= dearest {
            return None;
        }
        self.cheapest(until, work).filter(|found| found.0 < dearest)
    }

    fn cheapest_so(&self, until: i64, work: &mut u64) -> Option<(f64, Place)> {
        let site = self.job.sites[self.cluster]?;
        let w = self.window(until)?;
        let head = self.head_score(&site, &w)?;
        *work += (w.needed * w.width) as u64;
        let full: Vec<f64> = (0..w.width).map(|i| self.slot_score(&site, w.first + i, 1.0)).collect();
        let share = w.rest as f64 / self.problem.slot as f64;
        let mut from = vec![GOES_ON; w.needed * w.width];
        let mut row: Vec<f64> = Vec::new();
        for k in 0..w.needed {
            let closing = k + 1 == w.needed;
            let part = closing && share < 1.0;
            let score = |i: usize| if part { self.slot_score(&site, w.first + i, share) } else { full[i] };
            let mut next = vec![f64::INFINITY; w.width];
            // Cheapest end of a run at least one slot of pause before `i`.
            let mut paused = (f64::INFINITY, 0u32);
            for i in 0..w.width {
                if k == 0 {
                    next[i] = score(i) + self.opening(&site, w.first + i, w.first);
                    continue;
                }
                if i >= 2 && row[i - 2] < paused.0 {
                    paused = (row[i - 2], (i - 2) as u32);
                }
                let on = if i >= 1 { row[i - 1] } else { f64::INFINITY };
                // A last piece shorter than a slot does not make a run of its own.
                let again = if closing && share < 1.0 {
                    f64::INFINITY
                } else {
                    paused.0 + self.resume(&site, w.first + i)
                };
                if again < on {
                    from[k * w.width + i] = paused.1;
                }
                next[i] = score(i) + if again < on { again } else { on };
            }
            row = next;
        }
        let mut best = (f64::INFINITY, 0);
        for (i, score) in row.iter().enumerate() {
            if *score < best.0 {
                best = (*score, i);
            }
        }
        best.0.is_finite().then(|| (best.0 + head + site.fixed, self.trace(&w, &from, best.1)))
    }

    /// Follows the choices back from the last slot used.
    fn trace(&self, w: &Window, from: &[u32], last: usize) -> Place {
        let slot = self.problem.slot;
        let at = |i: usize| (w.first + i) as i64 * slot;
        let mut runs: Vec<(i64, i64)> = Vec::new();
        let (mut i, mut end) = (last, at(last) + w.rest);
        for k in (0..w.needed).rev() {
            let before = from[k * w.width + i];
            if k == 0 {
                runs.push((at(i), end));
            } else if before == GOES_ON {
                i -= 1;
            } else {
                runs.push((at(i), end));
                i = before as usize;
                end = at(i) + slot;
            }
        }
        if w.head > 0 {
            runs.push((self.job.from, self.job.from + w.head));
        }
        runs.reverse();
        if runs.len() > 1 && runs[0].1 == runs[1].0 {
            runs[0].1 = runs[1].1;
            runs.remove(1);
        }
        Place { cluster: self.cluster, mode: self.job.mode, runs }
    }

    /// A lower bound on the score of any runs that end by `until` (pauses for nothing); slots that attain
    /// it are left in `open`.
    pub fn relaxed(&self, site: &Site, until: i64, open: &mut Vec<(f64, usize)>) -> Option<f64> {
        let (job, slot) = (self.job, self.problem.slot);
        let first = (job.from / slot) as usize;
        let last = (((until - 1).max(0) / slot) as usize).min(self.problem.slots - 1);
        let needed = ((job.length + slot - 1) / slot) as usize;
        open.clear();
        if last < first || last + 1 - first < needed {
            return None;
        }
        let (values, _) = self.problem.curve(self.cluster);
        let room = &self.room[self.cluster * self.problem.slots..];
        open.extend((first..=last).map(|t| (site.grams * values[t], t)));
        for (share, _, price) in self.prices.into_iter().flat_map(|p| p.rows(self.cluster, &job.demand)) {
            open.iter_mut().zip(&price[first..]).for_each(|(open, price)| open.0 += share * price);
        }
        open.retain(|(_, t)| fits(&job.demand, &room[*t]));
        if open.len() < needed {
            return None;
        }
        // A slot used in part (first, last) burns for less, but holds its capacity like any other.
        let share = (job.length - (needed as i64 - 1) * slot) as f64 / slot as f64;
        open.select_nth_unstable_by(needed - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        open.truncate(needed);
        let whole: f64 = open.iter().map(|c| c.0).sum();
        let dearest = open[needed - 1].0;
        let moving = |t: usize| self.problem.moving(job, site, self.cluster, t);
        let least =
            if site.moving == 0.0 { 0.0 } else { (first..=last).map(moving).fold(f64::INFINITY, f64::min) };
        Some(whole - (1.0 - share) * dearest + site.fixed + least)
    }

    /// A search in `room`.
    pub fn new<'a>(
        problem: &'a Problem,
        room: &'a [Amounts],
        prices: Option<&'a Prices>,
        job: &'a Job,
        cluster: usize,
    ) -> Search<'a> {
        Search { problem, room, prices, job, cluster, pause_now: false }
    }
}
