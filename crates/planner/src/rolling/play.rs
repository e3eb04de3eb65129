//! Plays a scenario slot by slot: shows what is known, runs what is decided.

use super::{Forecast, Known, Rolling, Round, Scenario, Settings};
use crate::instance::{self, Segment, Solution};

/// How far a job has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    done: usize,
    segments: Vec<Segment>,
}

/// A scenario under way; each item it yields is a slot played, as the slot's index.
pub struct Play<'a> {
    scenario: &'a Scenario,
    forecast: Forecast,
    rolling: Rolling,
    ahead: usize,
    announced: bool,
    now: usize,
    progress: Vec<Progress>,
}

impl<'a> Play<'a> {
    /// At slot 0.
    pub fn new(scenario: &'a Scenario, forecast: Forecast, settings: Settings) -> Play<'a> {
        Play {
            scenario,
            forecast,
            rolling: Rolling::new(settings),
            ahead: settings.ahead,
            announced: false,
            now: 0,
            progress: vec![Progress::default(); scenario.instance.jobs.len()],
        }
    }

    /// With arrivals known as far ahead as is planned: not honest, to tell what not knowing them costs.
    #[must_use]
    pub fn announced(self) -> Play<'a> {
        Play { announced: true, ..self }
    }

    /// What ran where and when so far.
    pub fn solution(&self) -> Solution {
        let jobs = self.scenario.instance.jobs.iter().zip(&self.progress);
        let run = jobs.filter(|(_, progress)| progress.done > 0);
        Solution(run.map(|(job, progress)| (job.id.clone(), progress.segments.clone())).collect())
    }

    /// Jobs that have arrived and not ended.
    fn open(&self) -> Vec<usize> {
        let jobs = self.scenario.instance.jobs.iter().zip(&self.progress).enumerate();
        let open =
            jobs.filter(|(_, (job, progress))| job.arrival <= self.now && progress.done < job.duration);
        open.map(|(index, _)| index).collect()
    }
}

impl Iterator for Play<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let instance = &self.scenario.instance;
        if self.now >= instance.slots {
            return None;
        }
        let now = self.now;
        let open = self.open();
        let known = |index: &usize| {
            let (job, progress) = (&instance.jobs[*index], &self.progress[*index]);
            let last = progress.segments.last();
            let (cluster, running) = (last.map(|s| s.cluster), last.is_some_and(|s| s.end == now));
            Known { job, done: progress.done, cluster, running }
        };
        let jobs: Vec<Known<'_>> = open.iter().map(known).collect();
        let intensity = self.forecast.curves(self.scenario, now, self.ahead);
        let later = |job: &&instance::Job| (now + 1..now + self.ahead).contains(&job.arrival);
        let coming: Vec<&instance::Job> = instance.jobs.iter().filter(later).collect();
        let coming = self.announced.then_some(coming.as_slice());
        let round = Round { now, instance, intensity: &intensity, jobs: &jobs, coming };
        let decided = self.rolling.plan(&round);
        for (index, cluster) in decided {
            let progress = &mut self.progress[open[index]];
            progress.done += 1;
            match progress.segments.last_mut() {
                Some(last) if last.end == now => last.end += 1,
                _ => progress.segments.push(Segment { cluster, start: now, end: now + 1 }),
            }
        }
        self.now += 1;
        Some(now)
    }
}
