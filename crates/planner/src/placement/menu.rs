//! For each job the places worth trying: those that cost least at the prices of capacity.

use super::alone::Alone;
use super::prices::Prices;
use super::problem::{Job, Place, Problem};

/// Places kept of each job that runs at one go.
const PLACES_MAX: usize = 128;
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

impl Choice {
    /// The run of its job.
    pub fn place(&self, job: &Job) -> Place {
        Place::contiguous(job.mode(self.mode), usize::from(self.cluster), self.start)
    }
}

/// The choices of every job.
pub struct Menu {
    choices: Vec<Choice>,
    begins: Vec<u32>,
    /// What each job costs at least.
    pub least: Vec<f64>,
}

impl Menu {
    /// Choices at `prices`; nothing for jobs that cannot be in time even alone, or run already.
    pub fn new(problem: &Problem, prices: &Prices, work: &mut u64) -> Menu {
        let mut alone = Alone::new(problem);
        let mut menu = Menu { choices: Vec::new(), begins: vec![0], least: Vec::new() };
        let mut found: Vec<Choice> = Vec::new();
        for job in &problem.jobs {
            found.clear();
            // What leaves work undone is for when nothing else is in time: no choice of its own.
            for mode in job.modes().filter(|mode| !mode.running && mode.short == 0) {
                collect(problem, &mut alone, prices, mode, &mut found, work);
            }
            let most = if job.pausable { CLUSTERS_MAX } else { PLACES_MAX };
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
            menu.least.push(found.iter().map(|choice| choice.cost).fold(f64::INFINITY, f64::min));
            menu.choices.extend_from_slice(&found);
            menu.begins.push(menu.choices.len() as u32);
        }
        menu
    }

    /// The choices of a job, cheapest at the prices first.
    pub fn of(&self, job: usize) -> &[Choice] {
        &self.choices[self.begins[job] as usize..self.begins[job + 1] as usize]
    }
}

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
        if job.pausable {
            let cost = alone.best(None, job, cluster, site, work);
            let priced = alone.best(Some(prices), job, cluster, site, work);
            if let (Some((cost, _)), Some((priced, _))) = (cost, priced) {
                found.push(Choice { priced, cost, start: job.from, cluster: cluster as u16, mode });
            }
            continue;
        }
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
    if let Some((place, _)) = job.sticky.as_ref().filter(|sticky| !job.pausable && sticky.0.mode == mode)
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
