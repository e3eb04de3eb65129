//! For each job the places worth trying: those that cost least at the prices of capacity. Worked out for all jobs
//! at once, or job by job when first asked for, and kept for every search at the same prices.

use super::alone::Alone;
use super::prices::Prices;
use super::problem::{Amounts, Job, Place, Problem, fits};
use std::rc::Rc;

/// Places kept of each job that runs at one go.
const PLACES_MAX: usize = 1024;
/// Of these so many are places it may be forced to; the rest is for when those are full.
const WANTED_MAX: usize = 128;
/// Clusters kept of each job that may pause.
const CLUSTERS_MAX: usize = 24;

/// One start on one cluster; of a job that may pause, only the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Grams at the prices of capacity.
    pub priced: f64,
    /// Grams, with the penalty for moving a plan; of a job that may pause, at least.
    pub cost: f64,
    /// Start.
    pub start: i64,
    /// Index of the cluster.
    pub cluster: u16,
    /// Which of the job's modes.
    pub mode: u8,
}

/// Of the choices of a job those it may be forced to, the cheapest at the prices.
pub fn wanted(choices: &[Choice]) -> &[Choice] {
    &choices[..choices.len().min(WANTED_MAX)]
}

impl Choice {
    /// The run of its job.
    pub fn place(&self, job: &Job) -> Place {
        Place::contiguous(job.mode(self.mode), usize::from(self.cluster), self.start)
    }
}

/// The choices of every job.
pub struct Menu<'a> {
    problem: &'a Problem,
    pub prices: &'a Prices,
    alone: Alone<'a>,
    /// Of those asked for so far.
    choices: Vec<Option<Rc<[Choice]>>>,
    /// The same for one run, of jobs that may pause.
    whole: Vec<Option<Rc<[Choice]>>>,
    /// For each of the choices of one run the slot that had no room when it was last looked at, or one it holds: most
    /// that were full still are.
    full: Vec<Vec<u32>>,
    found: Vec<Choice>,
}

impl<'a> Menu<'a> {
    /// Choices at `prices`, none worked out yet.
    pub fn new(problem: &'a Problem, prices: &'a Prices) -> Menu<'a> {
        let none = || vec![None; problem.jobs.len()];
        let full = vec![Vec::new(); problem.jobs.len()];
        let (choices, whole, alone) = (none(), none(), Alone::new(problem));
        Menu { problem, prices, alone, choices, whole, full, found: Vec::new() }
    }

    /// The choices of a job, cheapest at the prices first; nothing where it cannot be in time even alone, or
    /// runs already.
    pub fn of(&mut self, job: usize, work: &mut u64) -> Rc<[Choice]> {
        if let Some(known) = &self.choices[job] {
            return known.clone();
        }
        let pauses = self.problem.jobs[job].pauses(self.problem.slot);
        let found: Rc<[Choice]> = self.work_out(job, pauses, work).into();
        self.choices[job] = Some(found.clone());
        found
    }

    /// The choices of a job for one run, although it may pause.
    pub fn whole(&mut self, job: usize, work: &mut u64) -> Rc<[Choice]> {
        if !self.problem.jobs[job].pauses(self.problem.slot) {
            return self.of(job, work);
        }
        if let Some(known) = &self.whole[job] {
            return known.clone();
        }
        let found: Rc<[Choice]> = self.work_out(job, false, work).into();
        self.whole[job] = Some(found.clone());
        found
    }

    /// The cheapest of a job's choices for one run that have room and that `pass` lets pass, ranked at a part of the
    /// prices; the first of those where only the first will do.
    pub fn free(
        &mut self,
        job: usize,
        part: f64,
        room: &[Amounts],
        work: &mut u64,
        mut pass: impl FnMut() -> bool,
    ) -> Option<Choice> {
        let choices = self.whole(job, work);
        let (problem, item) = (self.problem, &self.problem.jobs[job]);
        let full = &mut self.full[job];
        if full.is_empty() {
            let first = |choice: &Choice| (choice.start / problem.slot).min(problem.slots as i64 - 1) as u32;
            full.extend(choices.iter().map(first));
        }
        let mut best: Option<(f64, Choice)> = None;
        for (choice, full) in choices.iter().zip(full) {
            *work += 1;
            let score = choice.cost + part * (choice.priced - choice.cost);
            if best.is_some_and(|best| score >= best.0) {
                continue;
            }
            let mode = item.mode(choice.mode);
            let room = &room[usize::from(choice.cluster) * problem.slots..][..problem.slots];
            if !room.get(*full as usize).is_some_and(|room| fits(&mode.demand, room)) {
                continue;
            }
            let mut slots = problem.overlapped((choice.start, choice.start + mode.length));
            let blocked = slots.find(|slot| {
                *work += 1;
                !fits(&mode.demand, &room[*slot])
            });
            if let Some(slot) = blocked {
                *full = slot as u32;
            } else if pass() {
                best = Some((score, *choice));
                if part == 1.0 || item.prompt {
                    break;
                }
            }
        }
        best.map(|best| best.1)
    }

    /// What a job costs at least.
    pub fn least(&mut self, job: usize, work: &mut u64) -> f64 {
        self.of(job, work).iter().map(|choice| choice.cost).fold(f64::INFINITY, f64::min)
    }

    fn work_out(&mut self, job: usize, pauses: bool, work: &mut u64) -> &[Choice] {
        let Menu { problem, prices, alone, found, .. } = self;
        let job = &problem.jobs[job];
        found.clear();
        // What leaves work undone is for when nothing else is in time: no choice of its own.
        for mode in job.modes().filter(|mode| !mode.running && mode.short == 0) {
            if pauses {
                by_cluster(alone, prices, mode, found, work);
            } else {
                collect(problem, alone, prices, mode, found, work);
            }
        }
        let most = if pauses { CLUSTERS_MAX } else { PLACES_MAX };
        // What may not wait takes the earliest.
        let order = |a: &Choice, b: &Choice| {
            let order = if job.prompt { a.start.cmp(&b.start) } else { std::cmp::Ordering::Equal };
            let order = order.then(a.priced.total_cmp(&b.priced)).then(a.start.cmp(&b.start));
            order.then(a.cluster.cmp(&b.cluster)).then(a.mode.cmp(&b.mode))
        };
        if found.len() > most {
            found.select_nth_unstable_by(most, order);
            found.truncate(most);
        }
        found.sort_unstable_by(order);
        found
    }
}

/// What a job that may pause costs at least in each cluster.
fn by_cluster(alone: &mut Alone<'_>, prices: &Prices, job: &Job, found: &mut Vec<Choice>, work: &mut u64) {
    alone.look_at(job, job.deadline);
    for (cluster, site) in job.sites.iter().enumerate() {
        let Some(site) = site else { continue };
        let cost = alone.best(None, job, cluster, site, work);
        let priced = alone.best(Some(prices), job, cluster, site, work);
        if let (Some((cost, _)), Some((priced, _))) = (cost, priced) {
            let (cluster, mode) = (cluster as u16, job.mode);
            found.push(Choice { priced, cost, start: job.from, cluster, mode });
        }
    }
}

/// Every start of one run.
fn collect(
    problem: &Problem,
    alone: &mut Alone<'_>,
    prices: &Prices,
    job: &Job,
    found: &mut Vec<Choice>,
    work: &mut u64,
) {
    let until = if job.prompt {
        (problem.slots as i64 * problem.slot).saturating_add(job.length)
    } else {
        job.deadline
    };
    alone.look_at(job, until);
    let mode = job.mode;
    for (cluster, site) in job.sites.iter().enumerate() {
        let Some(site) = site else { continue };
        let begin = found.len();
        alone.each(None, job, cluster, site, work, &mut |start, grams| {
            let cost = problem.value_at(job, cluster, start, grams).cost;
            found.push(Choice { priced: cost - grams, cost, start, cluster: cluster as u16, mode });
        });
        // The same starts in the same order, at the prices.
        let mut at = begin;
        alone.each(Some(prices), job, cluster, site, work, &mut |_, priced| {
            if let Some(choice) = found.get_mut(at) {
                choice.priced += priced;
            }
            at += 1;
        });
    }
    // Where it was planned may lie off every boundary.
    if let Some((place, _)) =
        job.sticky.as_ref().filter(|sticky| sticky.0.runs.len() == 1 && sticky.0.mode == mode)
        && place.end() <= job.deadline
        && problem.has_room(&problem.room, job, place)
    {
        let slots = problem.overlapped((place.start(), place.end()));
        let cost = problem.cost(job, place);
        let pay = prices.of(place.cluster, &job.demand, slots.start, slots.end);
        let cluster = place.cluster as u16;
        found.push(Choice { priced: cost + pay, cost, start: place.start(), cluster, mode });
    }
}
