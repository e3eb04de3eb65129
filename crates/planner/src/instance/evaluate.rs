//! What a solution is worth by the format's rules, and which of them it breaks.
//!
//! Shares nothing with the solver or its form of the problem, so that a mistake there cannot hide here.
//! Sums run in the order of the file's jobs and of time, in `f64`, as the format's own checker has them.

use super::limits::ERRORS_MAX;
use super::{AMOUNTS, Instance, Intensity, Job, Segment, Solution};
use std::collections::BTreeSet;

/// Cores, GiB or GPUs above the capacity that are rounding of the sum.
const ROUNDING: f64 = 1e-9;

/// A rule that a solution breaks.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    /// A job's runs are not what it asks for.
    #[error("{job}: {found}: expected {expected}")]
    Job {
        /// Its id.
        job: String,
        /// What the solution says.
        found: String,
        /// What would do.
        expected: String,
    },
    /// More is held than there is.
    #[error("{cluster}, slot {slot}: {held} {resource} held: expected at most {room}")]
    Capacity {
        /// Name of the cluster.
        cluster: String,
        /// When.
        slot: usize,
        /// Which resource, as in the format.
        resource: &'static str,
        /// How much is held.
        held: f64,
        /// How much there is.
        room: f64,
    },
}

/// What a valid solution is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Jobs of the instance.
    pub jobs: usize,
    /// Jobs that run and end by their deadline.
    pub in_time: usize,
    /// Jobs that run and end later.
    pub late: usize,
    /// Jobs that do not run.
    pub not_run: usize,
    /// Priority of all jobs.
    pub weight: f64,
    /// Priority of those in time.
    pub weight_in_time: f64,
    /// Grams of running.
    pub carbon_run_g: f64,
    /// Grams of moving data.
    pub carbon_transfer_g: f64,
    /// Grams of resuming after pauses.
    pub carbon_resume_g: f64,
    /// kWh at the meter of runs and resumes.
    pub energy_kwh: f64,
    /// Money of runs and transfers.
    pub money: f64,
}

impl Evaluation {
    /// Grams in all.
    pub fn carbon_g(&self) -> f64 {
        self.carbon_run_g + self.carbon_transfer_g + self.carbon_resume_g
    }
}

/// What a solution is worth under an intensity.
///
/// # Errors
/// The rules it breaks, up to [`ERRORS_MAX`] of them.
pub fn evaluate(
    instance: &Instance,
    solution: &Solution,
    intensity: Intensity,
) -> Result<Evaluation, Vec<Violation>> {
    let mut tally = Tally {
        instance,
        intensity,
        held: vec![[0.0; 3]; instance.clusters.len() * instance.slots],
        sum: Evaluation { jobs: instance.jobs.len(), ..Evaluation::default() },
        violations: Vec::new(),
    };
    for job in &instance.jobs {
        tally.sum.weight += job.priority;
        match solution.0.get(&job.id).filter(|segments| !segments.is_empty()) {
            Some(segments) => tally.add(job, segments),
            None => tally.sum.not_run += 1,
        }
    }
    let ids: BTreeSet<&str> = instance.jobs.iter().map(|job| job.id.as_str()).collect();
    for id in solution.0.keys().filter(|id| !ids.contains(id.as_str())) {
        tally.note(id, "not in the instance".to_owned(), "a job of it".to_owned());
    }
    tally.check_capacity();
    if tally.violations.is_empty() { Ok(tally.sum) } else { Err(tally.violations) }
}

/// Sums under way.
struct Tally<'a> {
    instance: &'a Instance,
    intensity: Intensity,
    /// What is held, `[cluster · slots + slot]`.
    held: Vec<[f64; 3]>,
    sum: Evaluation,
    violations: Vec<Violation>,
}

impl Tally<'_> {
    fn note(&mut self, job: &str, found: String, expected: String) {
        self.push(Violation::Job { job: job.to_owned(), found, expected });
    }

    fn push(&mut self, violation: Violation) {
        if self.violations.len() < ERRORS_MAX {
            self.violations.push(violation);
        }
    }

    /// The runs of a job in order, those that touch made one; `None` when they are beyond counting.
    fn runs(&mut self, job: &Job, segments: &[Segment]) -> Option<(usize, Vec<(usize, usize)>)> {
        let instance = self.instance;
        let mut segments = segments.to_vec();
        segments.sort_by_key(|segment| segment.start);
        let cluster = segments.first()?.cluster;
        if cluster >= instance.clusters.len() {
            self.note(&job.id, format!("cluster {cluster}"), "a cluster of the instance".to_owned());
            return None;
        }
        if segments.iter().any(|segment| segment.cluster != cluster) {
            self.note(&job.id, "more than one cluster".to_owned(), "one".to_owned());
        }
        if !job.allows(cluster) {
            self.note(&job.id, format!("cluster {cluster}"), "a cluster it may run on".to_owned());
        }
        if let Some(bad) = segments.iter().find(|s| s.start >= s.end || s.end > instance.slots) {
            let found = format!("slots {} to {}", bad.start, bad.end);
            self.note(&job.id, found, format!("at least one slot, within 0 to {}", instance.slots));
            return None;
        }
        let mut runs: Vec<(usize, usize)> = Vec::with_capacity(segments.len());
        for segment in segments {
            match runs.last_mut() {
                Some(last) if segment.start < last.1 => {
                    let found = format!("slot {} twice", segment.start);
                    self.note(&job.id, found, "runs that do not overlap".to_owned());
                    return None;
                }
                Some(last) if segment.start == last.1 => last.1 = segment.end,
                _ => runs.push((segment.start, segment.end)),
            }
        }
        Some((cluster, runs))
    }

    fn add(&mut self, job: &Job, segments: &[Segment]) {
        let Some((cluster, runs)) = self.runs(job, segments) else { return };
        let (instance, place) = (self.instance, &self.instance.clusters[cluster]);
        let (start, end) = (runs[0].0, runs[runs.len() - 1].1);
        let length: usize = runs.iter().map(|run| run.1 - run.0).sum();
        if start < job.arrival {
            self.note(&job.id, format!("starts in slot {start}"), format!("{} or later", job.arrival));
        }
        if length != job.duration {
            self.note(&job.id, format!("runs {length} slots"), job.duration.to_string());
        }
        if runs.len() > 1 && !job.interruptible {
            self.note(&job.id, format!("{} runs", runs.len()), "one: it may not pause".to_owned());
        }
        let [cores, _, gpus] = job.need;
        let kw = (cores * place.watt_core + gpus * place.watt_gpu) * place.pue / 1000.0;
        let kwh = kw * instance.slot_hours();
        let intensity = place.intensity(self.intensity);
        for (nth, run) in runs.iter().enumerate() {
            for (slot, grams) in intensity.iter().enumerate().take(run.1).skip(run.0) {
                self.sum.carbon_run_g += kwh * grams;
                self.sum.energy_kwh += kwh;
                let held = &mut self.held[cluster * instance.slots + slot];
                held.iter_mut().zip(job.need).for_each(|(held, need)| *held += need);
            }
            if nth > 0 {
                self.sum.carbon_resume_g += job.resume_kwh * intensity[run.0];
                self.sum.energy_kwh += job.resume_kwh;
            }
        }
        self.sum.carbon_transfer_g += instance.transfer_grams(job, cluster);
        self.sum.money += instance.money(job, cluster);
        if end <= job.deadline {
            self.sum.in_time += 1;
            self.sum.weight_in_time += job.priority;
        } else {
            self.sum.late += 1;
        }
    }

    fn check_capacity(&mut self) {
        for (index, cluster) in self.instance.clusters.iter().enumerate() {
            for (resource, name) in AMOUNTS.into_iter().enumerate() {
                for slot in 0..self.instance.slots {
                    let held = self.held[index * self.instance.slots + slot][resource];
                    let room = cluster.room_at(resource, slot);
                    if held > room + ROUNDING {
                        let cluster = cluster.name.clone();
                        self.push(Violation::Capacity { cluster, slot, resource: name, held, room });
                    }
                }
            }
        }
    }
}
