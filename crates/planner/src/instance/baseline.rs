//! What plans are compared with: jobs placed one by one as they arrive, none moved afterwards.
//!
//! Order: arrival, then the earlier deadline, then the file's. A job that finds no place in time is left
//! out. These are the baselines of the published figures for the format; they share nothing with the
//! solver.

use super::{Instance, Intensity, Job, Segment, Solution};

/// Amounts above the capacity that are rounding of a sum; below what [`super::evaluate`] forgives.
const ROUNDING: f64 = 5e-10;

/// A job's cluster and its runs `[start, end)`.
type Place = (usize, Vec<(usize, usize)>);

/// "Quality of service only": each job where it ends earliest, in one run; of equals on the cluster with
/// the least share of its cores held in the first slot.
pub fn qos_only(instance: &Instance) -> Solution {
    first_come(instance, |held, job| {
        let mut best: Option<(usize, f64, usize)> = None;
        for cluster in (0..instance.clusters.len()).filter(|cluster| job.allows(*cluster)) {
            let Some(start) = held.starts(job, cluster).next() else { continue };
            let cores = instance.clusters[cluster].room_at(0, start);
            let load = held.amounts[cluster * instance.slots + start][0] / cores.max(1e-9);
            if best.is_none_or(|best| start < best.0 || (start == best.0 && load < best.1)) {
                best = Some((start, load, cluster));
            }
        }
        best.map(|(start, _, cluster)| (cluster, vec![(start, start + job.duration)]))
    })
}

/// Greedy: each job at its cheapest place in grams that is in time, with pauses where it may pause; of
/// equals the earlier.
pub fn greedy_fifo_min_carbon(instance: &Instance, intensity: Intensity) -> Solution {
    first_come(instance, |held, job| {
        let mut best: Option<(f64, usize, Place)> = None;
        let mut offer = |grams: f64, cluster: usize, runs: Vec<(usize, usize)>| {
            let start = runs[0].0;
            let better = best
                .as_ref()
                .is_none_or(|(least, first, _)| grams.total_cmp(least).then(start.cmp(first)).is_lt());
            if better {
                best = Some((grams, start, (cluster, runs)));
            }
        };
        for (cluster, place) in instance.clusters.iter().enumerate().filter(|(c, _)| job.allows(*c)) {
            let (curve, moved) = (place.intensity(intensity), instance.transfer_grams(job, cluster));
            let kwh = instance.kwh_per_slot(job, place);
            for start in held.starts(job, cluster) {
                let run = (start, start + job.duration);
                let grams: f64 = curve[run.0..run.1].iter().sum();
                offer(kwh * grams + moved, cluster, vec![run]);
            }
            if job.interruptible
                && let Some((grams, runs)) = held.cheapest_with_pauses(job, cluster, kwh, curve)
            {
                offer(grams + moved, cluster, runs);
            }
        }
        best.map(|(_, _, place)| place)
    })
}

/// Places each job by `choose`, which sees what those before it hold.
fn first_come(instance: &Instance, choose: impl Fn(&Held<'_>, &Job) -> Option<Place>) -> Solution {
    let mut order: Vec<usize> = (0..instance.jobs.len()).collect();
    order.sort_by_key(|&i| (instance.jobs[i].arrival, instance.jobs[i].deadline, i));
    let mut held = Held { instance, amounts: vec![[0.0; 3]; instance.clusters.len() * instance.slots] };
    let mut solution = Solution::default();
    for index in order {
        let job = &instance.jobs[index];
        let Some((cluster, runs)) = choose(&held, job) else { continue };
        for slot in runs.iter().flat_map(|run| run.0..run.1) {
            let amounts = &mut held.amounts[cluster * instance.slots + slot];
            amounts.iter_mut().zip(job.need).for_each(|(held, need)| *held += need);
        }
        let segments = runs.into_iter().map(|(start, end)| Segment { cluster, start, end });
        solution.0.insert(job.id.clone(), segments.collect());
    }
    solution
}

/// What is held so far, `[cluster · slots + slot]`.
struct Held<'a> {
    instance: &'a Instance,
    amounts: Vec<[f64; 3]>,
}

impl Held<'_> {
    fn is_open(&self, job: &Job, cluster: usize, slot: usize) -> bool {
        let held = &self.amounts[cluster * self.instance.slots + slot];
        let place = &self.instance.clusters[cluster];
        (0..3).all(|r| held[r] + job.need[r] <= place.room_at(r, slot) + ROUNDING)
    }

    /// Starts of one run in time with room in every slot, in order.
    fn starts(&self, job: &Job, cluster: usize) -> impl Iterator<Item = usize> {
        let end = job.deadline.min(self.instance.slots);
        let mut open = 0;
        (job.arrival..end).filter_map(move |slot| {
            open = if self.is_open(job, cluster, slot) { open + 1 } else { 0 };
            (open >= job.duration).then(|| slot + 1 - job.duration)
        })
    }

    /// The cheapest runs with a pause between them, and their grams: by slots used so far and the last
    /// slot used, going on or resuming.
    fn cheapest_with_pauses(
        &self,
        job: &Job,
        cluster: usize,
        kwh: f64,
        curve: &[f64],
    ) -> Option<(f64, Vec<(usize, usize)>)> {
        let end = job.deadline.min(self.instance.slots);
        let width = end.checked_sub(job.arrival).filter(|width| *width > job.duration)?;
        let slot_grams = |i: usize| {
            let slot = job.arrival + i;
            if self.is_open(job, cluster, slot) { kwh * curve[slot] } else { f64::INFINITY }
        };
        let grams: Vec<f64> = (0..width).map(slot_grams).collect();
        let mut before = vec![usize::MAX; job.duration * width];
        let mut row = grams.clone();
        for used in 1..job.duration {
            let mut next = vec![f64::INFINITY; width];
            let mut paused = (f64::INFINITY, usize::MAX);
            for i in 1..width {
                if i >= 2 && row[i - 2] < paused.0 {
                    paused = (row[i - 2], i - 2);
                }
                let resumed = paused.0 + job.resume_kwh * curve[job.arrival + i];
                let (grams_before, last) =
                    if resumed < row[i - 1] { (resumed, paused.1) } else { (row[i - 1], i - 1) };
                next[i] = grams_before + grams[i];
                before[used * width + i] = last;
            }
            row = next;
        }
        let (mut at, least) = row.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?;
        if !least.is_finite() {
            return None;
        }
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for used in (0..job.duration).rev() {
            let slot = job.arrival + at;
            match runs.last_mut() {
                Some(run) if run.0 == slot + 1 => run.0 = slot,
                _ => runs.push((slot, slot + 1)),
            }
            at = before[used * width + at];
        }
        runs.reverse();
        Some((least, runs))
    }
}
