//! From what was observed to a schedule: the snapshot the planner sees, and when it is asked.

use crate::clusters::Cluster;
use crate::guard;
use crate::job::Job;
use crate::jobs::{self, Style, Tracked};
use crate::learnt::{RunTime, RunTimeFrom};
use crate::state::Control;
use crate::work::Begun;
use fleet::{
    ClusterId, ClusterSnapshot, Instant, JobKey, PlacementContract, Policy, Resources, Series, Snapshot,
    Span, Workload,
};
use planner::placement::{self, Assignment};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A run that takes longer than expected is given this much more, again and again, at least.
const OVERRUN_MIN: Span = Span::from_seconds(300);
/// Room is scarce from where this much of the work thought to come finds no room in time, in thousandths and as
/// a mean of late, until it is at most so much while nothing is deferred.
const SCARCE_FROM: i64 = 100;
const SCARCE_UNTIL: i64 = 50;
const CROWDED_OVER: Span = Span::from_seconds(900);
/// Plans know sums of room, not nodes. A Job that takes a whole node or cluster is planned to end this much
/// earlier, a smaller one less in proportion: so long it can look for room.
const BULK_MARGIN: Span = Span::from_seconds(2 * 3600);
/// From this part of a node or cluster on, in thousandths, half of the slack may go into that margin instead
/// of a quarter.
const BULKY_PERMILLE: i64 = 250;
/// Of what happens together (nodes of a zone lost, forecasts of all zones) the first is planned for at once and the rest
/// after so long.
const PROMPT: Span = Span::from_seconds(1);
/// A forecast that differs by so many thousandths of its mean over the next day is planned for promptly: by that much
/// a planned Job may move (docs/decisions/0015). What differs less waits for the next regular plan.
const NEWS_PERMILLE: i64 = 50;

/// How far a Job's work has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Runs that ended in a pause.
    pub earlier: Vec<(Instant, Instant)>,
    /// Start of the run under way: since when all the pods it needs at a time run.
    pub running_since: Option<Instant>,
    /// Started, but not all the pods it needs run yet.
    pub starting: bool,
    /// Started once, and suspended now.
    pub paused: bool,
}

impl Progress {
    /// Run time so far.
    pub fn done(&self, now: Instant) -> Span {
        let earlier = self.earlier.iter().fold(Span::ZERO, |sum, (from, to)| sum + (*to - *from));
        earlier + self.running_since.map_or(Span::ZERO, |since| (now - since).max(Span::ZERO))
    }
}

/// How much of the work thought to come plans leave out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CrowdedOut {
    /// By the last plan, in thousandths.
    last: u64,
    /// Of late, in millionths: the mean over time, what was more than `CROWDED_OVER` ago counting less than half.
    /// One large Job that fits nowhere just now is no want of room.
    mean: i64,
}

/// How soon a plan is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Haste {
    /// With the next regular one.
    Regular,
    /// Within [`PROMPT`]: there is less room, or the grid is not as foreseen.
    Prompt,
    /// In this step: somebody waits to hear when a Job will start.
    AtOnce,
}

/// Whether a forecast says so much else about the next day that plans may change.
pub(crate) fn says_more(before: &Series, after: &Series, now: Instant) -> bool {
    let hours = |series: &Series| series.resample(now.floor_to(Span::HOUR), Span::HOUR, 24);
    let (before, after) = (hours(before), hours(after));
    let apart: u64 =
        before.iter().zip(&after).map(|(a, b)| a.as_milligrams().abs_diff(b.as_milligrams())).sum();
    let whole: i64 = before.iter().map(|value| value.as_milligrams()).sum();
    i128::from(apart) * 1000 >= i128::from(whole) * i128::from(NEWS_PERMILLE) && apart > 0
}

impl CrowdedOut {
    /// Time passed with the last plan.
    fn pass(&mut self, time: Span) {
        let passed = time.as_seconds().max(0);
        self.mean += (self.last as i64 * 1000 - self.mean) * passed / (passed + CROWDED_OVER.as_seconds());
    }

    /// Whether room is scarce, given whether it was.
    fn scarce(&self, was: bool) -> bool {
        let permille = self.mean / 1000;
        if was { permille > SCARCE_UNTIL } else { permille >= SCARCE_FROM }
    }
}

impl Control {
    /// The object that runs: the copy of a mirrored Job, the Job itself otherwise.
    pub(crate) fn executing(&self, tracked: &Tracked) -> Option<Arc<Job>> {
        match tracked.style {
            Style::InPlace => Some(tracked.job.clone()),
            Style::Mirrored => self.copies.get(tracked.copy_at.as_ref()?).cloned(),
        }
    }

    /// The cluster its work is in, or would be as far as is written down.
    pub(crate) fn work_place(&self, tracked: &Tracked) -> ClusterId {
        let copy = tracked.copy_at.as_ref().filter(|_| tracked.style == Style::Mirrored);
        copy.map_or(&tracked.key.cluster, |(cluster, ..)| cluster).clone()
    }

    /// How the run of the object that runs began.
    pub(crate) fn begun(&self, tracked: &Tracked, executing: &Job) -> Option<Begun> {
        self.clusters.get(&self.work_place(tracked))?.begun(executing)
    }

    pub(crate) fn progress(&self, tracked: &Tracked) -> Progress {
        let Some(job) = self.executing(tracked) else { return Progress::default() };
        let earlier = jobs::earlier_runs(&job);
        let suspended = jobs::suspended(&job);
        let running = !suspended && jobs::finished(&job).is_none();
        let begun = running.then(|| self.begun(tracked, &job)).flatten().and_then(|begun| begun.whole);
        Progress {
            running_since: begun,
            starting: running && begun.is_none(),
            paused: suspended && !earlier.is_empty(),
            earlier,
        }
    }

    /// What a Job is expected to run in all: stated, learnt, or the policy's stand-in; with a copy, at the pods
    /// at a time that has.
    pub(crate) fn run_time(&self, tracked: &Tracked) -> RunTime {
        let stated = tracked.contract.expected_duration;
        let stated = stated.map(|expected| RunTime { expected, from: RunTimeFrom::Stated });
        let learnt = || self.learnt.expected(&jobs::stem(&tracked.job));
        let assumed = RunTime { expected: self.settings.policy.unknown_duration, from: RunTimeFrom::Assumed };
        let found = stated.or_else(learnt).unwrap_or(assumed);
        RunTime { expected: tracked.at_pods(found.expected, tracked.pods()), ..found }
    }

    pub(crate) fn expected(&self, tracked: &Tracked) -> Span {
        self.run_time(tracked).expected
    }

    /// What is left to run as far as one expects, without margins; not negative.
    pub(crate) fn expected_left(&self, tracked: &Tracked) -> Span {
        self.left_after(tracked, &self.progress(tracked))
    }

    /// The same, of a Job that got so far.
    pub(crate) fn left_after(&self, tracked: &Tracked, progress: &Progress) -> Span {
        (self.expected(tracked) - progress.done(self.now)).max(Span::ZERO)
    }

    /// The guard's instant for a Job that is held or paused, by a clock that may be behind those of the clusters.
    pub(crate) fn latest_start(&self, tracked: &Tracked) -> Option<Instant> {
        let left = self.expected_left(tracked);
        let latest = guard::latest_start(tracked.contract.deadline, left, &self.settings.policy)?;
        Some(latest - self.behind)
    }

    pub(crate) fn assignment(&self, key: &JobKey) -> Option<&Assignment> {
        self.schedule.as_ref()?.get(key)
    }

    /// Reads the contract of a Job; what is wrong comes as texts.
    pub(crate) fn contract(&self, job: &Job, created: Instant) -> (PlacementContract, Vec<String>) {
        let none = BTreeMap::new();
        let annotations = job.metadata.annotations.as_ref().unwrap_or(&none);
        let known: BTreeSet<ClusterId> = self.clusters.keys().cloned().collect();
        let (contract, errors) = planner::contract::parse(annotations, created, &known);
        (contract, errors.iter().map(ToString::to_string).collect())
    }

    /// What can be said of a Job's window before anything is planned, as of its creation so that it is
    /// told once. That a pod is larger than every node is the planner's to say: it knows the nodes.
    pub(crate) fn window_errors(&self, tracked: &Tracked) -> Vec<String> {
        if tracked.finished().is_some() || tracked.committed().is_some() {
            return Vec::new();
        }
        let (contract, created, pod) = (&tracked.contract, tracked.created, tracked.pod);
        let lasts = self.quickest(tracked);
        let errors = planner::contract::check_window(contract, created, created, lasts, pod, &[pod]);
        errors.iter().map(ToString::to_string).collect()
    }

    /// A Job as it came: nothing of it has run, and no margin is kept.
    pub(crate) fn as_it_came(&self, tracked: &Tracked) -> Workload {
        Workload {
            key: tracked.key.clone(),
            release: tracked.created,
            deadline: tracked.contract.deadline,
            margin: Span::ZERO,
            prompt: false,
            duration: guard::safe_duration(self.expected(tracked), &self.settings.policy),
            duration_stated: tracked.contract.expected_duration.is_some(),
            pod: tracked.pod,
            parallelism: tracked.pods(),
            interruptible: tracked.contract.interruptible,
            allowed: self.allowed(tracked),
            data: tracked.contract.data.clone(),
            priority: tracked.priority,
            pinned: None,
            running: false,
            shapes: self.shapes(tracked),
            may_be_cut: tracked.contract.stop_at_deadline,
        }
    }

    /// The workload the planner sees for a Job in clusters of these sizes; `None` when there is nothing left
    /// to place.
    pub(crate) fn workload(&self, tracked: &Tracked, sizes: &[Size]) -> Option<Workload> {
        if tracked.finished().is_some() || jobs::deleting(&tracked.job) || !tracked.wanted() {
            return None;
        }
        let progress = self.progress(tracked);
        let committed = match tracked.style {
            Style::Mirrored => tracked.committed().map(|(cluster, _)| cluster),
            Style::InPlace => {
                let begun = !jobs::suspended(&tracked.job) || progress.paused;
                begun.then(|| tracked.key.cluster.clone())
            }
        };
        if self.executing(tracked).is_some_and(|job| committed.is_some() && jobs::finished(&job).is_some()) {
            return None;
        }
        let running = committed.is_some() && !progress.paused;
        let came = self.as_it_came(tracked);
        let left = came.duration - progress.done(self.now);
        let overrun = OVERRUN_MIN.max(self.expected(tracked).scaled(1, 10));
        let duration =
            if running && left <= Span::ZERO { overrun } else { left.max(self.settings.policy.start_margin) };
        let (deadline, margin) = self.planned_deadline(tracked, came.duration, sizes).unzip();
        Some(Workload {
            release: came.release.max(self.now),
            deadline,
            margin: margin.unwrap_or_default(),
            prompt: self.scarce || !self.may_be_put_off(tracked),
            duration,
            pinned: committed,
            running,
            ..came
        })
    }

    /// The deadline plans are made for, before the real one where there is slack, and how much before.
    fn planned_deadline(&self, tracked: &Tracked, whole: Span, sizes: &[Size]) -> Option<(Instant, Span)> {
        let deadline = tracked.contract.deadline.filter(|_| !tracked.released)?;
        let slack = (deadline - tracked.created - whole).max(Span::ZERO);
        let bulk = bulk_permille(tracked, sizes);
        let margin = self.settings.plan_margin + BULK_MARGIN.scaled(bulk, 1000);
        let most = if bulk >= BULKY_PERMILLE { slack.scaled(1, 2) } else { slack.scaled(1, 4) };
        let margin = margin.min(most);
        Some((deadline - margin, margin))
    }

    /// Clusters the Job may run in: its selector, less those that refused it, or home only when it
    /// cannot leave. `None`: all.
    pub(crate) fn allowed(&self, tracked: &Tracked) -> Option<Vec<ClusterId>> {
        if tracked.style == Style::InPlace {
            return Some(vec![tracked.key.cluster.clone()]);
        }
        let now = self.now;
        let refused = |id: &ClusterId| tracked.refused.get(id).is_some_and(|r| r.until > now);
        let selector = match tracked.contract.clusters.as_deref().map(planner::selector::Selector::parse) {
            // Nobody can say where it may go, so it stays where it is.
            Some(Err(_)) => return Some(vec![tracked.key.cluster.clone()]),
            Some(Ok(selector)) => Some(selector),
            None => None,
        };
        if selector.is_none() && tracked.refused.is_empty() {
            return None;
        }
        let selects = |c: &Cluster| selector.as_ref().is_none_or(|s| s.matches(&c.facts.labels));
        Some(
            self.clusters
                .values()
                .filter(|c| selects(c) && !refused(&c.facts.id))
                .map(|c| c.facts.id.clone())
                .collect(),
        )
    }

    /// Jobs that have not finished.
    pub(crate) fn open_jobs(&self) -> impl Iterator<Item = &Tracked> {
        self.open.iter().filter_map(|key| self.jobs.get(key))
    }

    /// What the planner sees.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let packing = self.settings.packing_percent;
        let clusters: Vec<ClusterSnapshot> = self
            .clusters
            .values()
            .filter_map(|c| cluster_snapshot(c, packing, self.settings.policy.embodied))
            .collect();
        let sizes = sizes(&clusters);
        let pairs = |f: &dyn Fn(&ClusterSnapshot, &ClusterSnapshot) -> f64| -> Vec<Vec<f64>> {
            clusters
                .iter()
                .map(|a| clusters.iter().map(|b| if a.id == b.id { 0.0 } else { f(a, b) }).collect())
                .collect()
        };
        let latency_ms = pairs(&|a, b| self.distances.latency_ms((&a.id, &a.region), (&b.id, &b.region)));
        let transfer_kwh_per_gb = pairs(&|a, b| self.transfer_kwh_per_gb(&a.id, &b.id));
        Snapshot {
            at: self.now,
            workloads: self.open_jobs().filter_map(|t| self.workload(t, &sizes)).collect(),
            expected: self.expected_jobs(),
            latency_ms,
            transfer_kwh_per_gb,
            transfer_price_per_gb: self.settings.transfer_price_per_gb,
            clusters,
        }
    }

    /// When the plan in force was made, and for how many Jobs.
    pub fn planned(&self) -> Option<(Instant, usize)> {
        Some((self.planned_at?, self.schedule.as_ref()?.assignments.len()))
    }

    /// Plans when something changed: at once if it is urgent, else at most every plan interval.
    pub(crate) fn plan_if_due(&mut self) {
        let Some(haste) = self.plan_wanted else { return };
        let rested = self.planned_at.is_none_or(|last| self.now - last >= self.rest_before(haste));
        if !rested || !self.ready() {
            return;
        }
        self.plan_wanted = None;
        self.plans += 1;
        let since = self.planned_at.replace(self.now).map_or(Span::ZERO, |last| self.now - last);
        self.crowded_out.pass(since);
        self.scarce = self.crowded_out.scarce(self.scarce);
        self.crowded_out.last = self.plan();
    }

    /// How long after a plan the next one is made.
    fn rest_before(&self, haste: Haste) -> Span {
        match haste {
            Haste::Regular => self.settings.plan_interval,
            Haste::Prompt => PROMPT,
            Haste::AtOnce => Span::ZERO,
        }
    }

    /// Plans, and says how much of what is thought to come found no room in time, in thousandths.
    fn plan(&mut self) -> u64 {
        let snapshot = self.snapshot();
        let policy: &Policy = &self.settings.policy;
        let schedule = placement::plan(&snapshot, policy, self.schedule.as_ref(), self.settings.effort);
        self.dirty.extend(snapshot.workloads.into_iter().map(|w| w.key));
        self.schedule.insert(schedule).crowded_out_permille
    }

    /// Whether enough is known to plan: every reachable cluster has been listed and has a signal.
    pub(crate) fn ready(&self) -> bool {
        let complete = |c: &Cluster| !c.reachable || (c.synced && c.signal.is_some());
        !self.clusters.is_empty() && self.clusters.values().all(complete)
    }

    /// When `Control` has something to do although nothing happens: a start, a pause or resume, a
    /// guard, a retry, a plan, the end of an hour to be accounted for. Drivers of twins never let time pass this instant unasked.
    pub fn next_timer(&self) -> Option<Instant> {
        let plan = self.plan_wanted.zip(self.planned_at).map(|(haste, last)| last + self.rest_before(haste));
        let sweep = self.sweeping.values().min().copied();
        let later = |at: &Instant| *at > self.now;
        [self.timers.next(), plan, sweep, self.hour_ends()].into_iter().flatten().filter(later).min()
    }

    /// When a Job wants to be looked at next although nothing happens.
    pub(crate) fn job_timer(&self, tracked: &Tracked) -> Option<Instant> {
        let refusals = tracked.refused.values().map(|r| r.until);
        let put_off = tracked.retry_at.into_iter().chain(tracked.quiet_until).chain(refusals);
        let put_off = put_off.filter(|at| *at > self.now);
        if tracked.finished().is_some() {
            return put_off.min();
        }
        let runs = self.assignment(&tracked.key).into_iter().flat_map(|a| &a.runs);
        let guard = self.latest_start(tracked).into_iter().chain(self.late_from(tracked));
        let guard = guard.chain(self.unplanned_start(tracked));
        let starts = runs.flat_map(|run| [run.from, run.to]).chain(guard).filter(|at| *at > self.now);
        put_off.chain(starts).min()
    }
}

/// A reachable cluster's largest node, and all of its nodes together.
pub(crate) struct Size {
    node: Resources,
    all: Resources,
}

/// The sizes of the clusters that can be reached: worked out once a plan, since every Job asks.
pub(crate) fn sizes(clusters: &[ClusterSnapshot]) -> Vec<Size> {
    let size = |c: &ClusterSnapshot| Size {
        node: c.nodes.iter().copied().fold(Resources::ZERO, Resources::max),
        all: c.allocatable,
    };
    clusters.iter().filter(|c| c.reachable).map(size).collect()
}

/// How hard it may be to find room for a Job on nodes that are partly full, in thousandths: the part of
/// a node that a pod asks for, or of a cluster that all of them do, in the cluster where that is least.
fn bulk_permille(tracked: &Tracked, sizes: &[Size]) -> i64 {
    let part = |need: i64, whole: i64| {
        (i128::from(need) * 1000).checked_div(i128::from(whole)).unwrap_or(0).clamp(0, 1000) as i64
    };
    let larger = |need: Resources, whole: Resources| {
        let cpu = part(need.cpu.as_nanos(), whole.cpu.as_nanos());
        cpu.max(part(need.memory.as_bytes(), whole.memory.as_bytes()))
    };
    let (pod, all) = (tracked.pod, tracked.demand());
    sizes.iter().map(|size| larger(pod, size.node).max(larger(all, size.all))).min().unwrap_or(0)
}

fn cluster_snapshot(cluster: &Cluster, packing_percent: i64, embodied: bool) -> Option<ClusterSnapshot> {
    let signal = cluster.signal.as_ref()?;
    let allocatable = cluster.allocatable();
    let free = allocatable.saturating_sub(cluster.held_by_others());
    let part = |amount: i64| (i128::from(amount) * i128::from(packing_percent) / 100) as i64;
    let free = Resources {
        cpu: fleet::Cpu::from_nanos(part(free.cpu.as_nanos())),
        memory: fleet::Bytes::from_bytes(part(free.memory.as_bytes())),
        ..free
    };
    Some(ClusterSnapshot {
        id: cluster.facts.id.clone(),
        region: cluster.facts.region.clone(),
        grid_zone: cluster.facts.grid_zone.clone(),
        reachable: cluster.reachable && cluster.synced,
        labels: cluster.facts.labels.clone(),
        allocatable,
        free,
        nodes: cluster.node_sizes(),
        rates: cluster.rates(embodied),
        intensity: signal.forecast.clone(),
        spread: signal.spread.clone(),
        intensity_from: signal.forecast_from.clone(),
    })
}

#[cfg(test)]
mod tests {
    use crate::Event;
    use crate::twin_driver::{TwinDriver, settings};
    use fleet::{GramsCo2PerKwh, GridZone, Instant, Provenance, Series, SignalKind, Span};
    use twin::World;

    #[test]
    fn plans_know_how_far_off_a_forecast_is_but_not_how_far_a_stand_in() {
        let spec = fleet::file::parse(include_str!("../../../examples/fleet.yaml")).unwrap();
        let now = Instant::parse("2026-05-01T00:00:00Z").unwrap();
        let mut driver = TwinDriver::new(World::new(&spec, now, 1), settings(&spec));
        let hours =
            (0..24 * 20).map(|hour| GramsCo2PerKwh::from_grams_f64(f64::from(300 + hour % 24 + hour % 7)));
        let actual = Series::new(now - Span::DAY.scaled(20, 1), Span::HOUR, hours.collect()).unwrap();
        for (zone, kind) in [("KR", SignalKind::Forecast), ("JP-TK", SignalKind::Assumed)] {
            let from = Provenance { source: "test".to_owned(), kind, as_of: now };
            driver.tell(Event::Intensity {
                zone: GridZone::new(zone).unwrap(),
                forecast: planner::forecast::forecast(&actual, now, 96),
                actual: actual.clone(),
                actual_from: from.clone(),
                forecast_from: from,
            });
        }
        driver.begin();
        driver.run_until(now + Span::MINUTE);
        for cluster in driver.control.snapshot().clusters {
            let known = cluster.spread.map(|spread| spread.permille(Span::DAY) > 0);
            assert_eq!(known, (cluster.grid_zone.as_str() == "KR").then_some(true), "{}", cluster.id);
        }
        assert_eq!(driver.control.snapshot().clusters.len(), 2);
    }
}
