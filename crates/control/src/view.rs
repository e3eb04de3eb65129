//! What people see: a snapshot of everything, ready to be served.

use crate::clusters::{Cluster, Silence};
use crate::event::ClusterFacts;
use crate::jobs::{self, Style, Tracked};
use crate::lease::Leader;
use crate::state::Control;
use fleet::{
    ClusterId, GramsCo2PerKwh, Instant, JobKey, Mode, MoneyPerHour, PlacementContract, PolicyKind,
    Provenance, Resources, Series, Watts, builtin,
};
use ledger::Footprint;
use ledger::meter::{Rate, Totals};
use serde::{Deserialize, Serialize};

/// Everything, at one instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The fleet's time.
    pub at: Instant,
    /// Who may change clusters (that of the first cluster; all share it).
    pub mode: Mode,
    /// Placement policy.
    pub policy: PolicyKind,
    /// ISO 4217 code of every price.
    pub currency: String,
    /// The clusters, by name.
    pub clusters: Vec<ClusterView>,
    /// Home Jobs under the contract, by key.
    pub jobs: Vec<JobView>,
    /// Sums over the fleet.
    pub totals: TotalsView,
    /// When the schedule in force was made.
    pub planned_at: Option<Instant>,
    /// Forecast emissions of the schedule in force, and by which share of what it minimises it can be
    /// above the least possible at most (0.01 is 1 %); Jobs thought to come take part in that.
    pub planned_carbon: Option<(fleet::GramsCo2, Option<f64>)>,
    /// Whether room is scarce, so that no Job is deferred for carbon.
    pub scarce: bool,
}

/// A cluster as people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Facts about it.
    pub facts: ClusterFacts,
    /// Name of its grid zone.
    pub zone_name: Option<String>,
    /// Whether its API answers, and has been listed.
    pub reachable: bool,
    /// Since when it does not answer, and why; what else stands here is what was last known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
    /// Who may write to it, where several processes share the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,
    /// Since when, as far as this process has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_since: Option<Instant>,
    /// Nodes that are ready, and all.
    pub nodes: (usize, usize),
    /// Sum of allocatable of ready, schedulable nodes.
    pub allocatable: Resources,
    /// Requests of pods bound to nodes.
    pub requested: Resources,
    /// Intensity now.
    pub intensity: Option<GramsCo2PerKwh>,
    /// Where it came from.
    pub intensity_from: Option<Provenance>,
    /// Forecast from the present hour on.
    pub forecast: Option<Series>,
    /// Actual values of the past.
    pub actual: Option<Series>,
    /// Where the forecast came from.
    pub forecast_from: Option<Provenance>,
    /// Power drawn now: measured where a meter says, else by the model.
    pub power: Watts,
    /// What its nodes cost.
    pub price: MoneyPerHour,
    /// What flows now, by part.
    pub draw: Draw,
    /// Who measured use; `None`: requests stand for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_from: Option<Provenance>,
    /// Since it was first seen in this run.
    pub totals: Option<Totals>,
    /// Jobs held, running, paused that run or are planned here.
    pub held: usize,
    /// Running here.
    pub running: usize,
}

/// What flows in a cluster now: power, money, CPU and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draw {
    /// To nobody: idle power, and what no pod holds.
    pub idle: Rate,
    /// To Jobs of ours.
    pub managed: Rate,
    /// To all other pods.
    pub other: Rate,
}

impl Draw {
    /// What pods bear.
    pub fn busy(&self) -> Rate {
        self.managed + self.other
    }
    /// Power of all.
    pub fn power(&self) -> Watts {
        self.idle.power + self.busy().power
    }
    /// Price of all.
    pub fn price(&self) -> MoneyPerHour {
        self.idle.price + self.busy().price
    }
}

/// Where a Job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobPhase {
    /// Waits for its slot.
    Held,
    /// On its way: committed, not yet running.
    Starting,
    /// Running.
    Running,
    /// Paused through dirty hours.
    Paused,
    /// Finished well.
    Succeeded,
    /// Failed.
    Failed,
    /// Being deleted.
    Deleting,
}

/// One run, planned or done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// From.
    pub from: Instant,
    /// Until; `None` while it runs.
    pub to: Option<Instant>,
}

/// A Job as people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Home cluster, namespace, name.
    pub key: JobKey,
    /// Uid at home.
    pub uid: String,
    /// Where it stands.
    pub phase: JobPhase,
    /// Whether it may leave home (`managedBy`).
    pub movable: bool,
    /// When it was created.
    pub created: Instant,
    /// What its owner allows.
    pub contract: PlacementContract,
    /// What is wrong with the contract.
    pub errors: Vec<String>,
    /// What its pods ask for together.
    pub demand: Resources,
    /// Value of its PriorityClass.
    pub priority: i32,
    /// Whether it waits for a person's yes (mode `approve`).
    #[serde(default)]
    pub awaits_yes: bool,
    /// The guard's instant while it waits.
    pub latest_start: Option<Instant>,
    /// Cluster it is planned for or runs in.
    pub cluster: Option<ClusterId>,
    /// Its copy's name there.
    pub copy: Option<String>,
    /// Planned runs from now on.
    pub planned: Vec<RunView>,
    /// Runs so far.
    pub runs: Vec<RunView>,
    /// Forecast of what remains.
    pub forecast: Option<Footprint>,
    /// Who else keeps it, by kind and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who else keeps it, and what is therefore done differently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned: Option<String>,
    /// Why it will be late, if it will.
    pub late: Option<String>,
    /// What it waits for or did, in words.
    pub sentence: String,
}

/// Sums over the fleet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TotalsView {
    /// Jobs held (paused ones included).
    pub held: usize,
    /// Jobs running or on their way.
    pub running: usize,
    /// Jobs finished that are still listed.
    pub finished: usize,
    /// Jobs named late.
    pub late: usize,
}

impl Control {
    /// Everything, as people see it, at `now`.
    pub fn view(&self, now: Instant) -> View {
        let now = now.max(self.now);
        let jobs: Vec<JobView> = self.jobs.values().map(|t| self.job_view(t)).collect();
        let count = |wanted: &[JobPhase]| jobs.iter().filter(|j| wanted.contains(&j.phase)).count();
        let totals = TotalsView {
            held: count(&[JobPhase::Held, JobPhase::Paused]),
            running: count(&[JobPhase::Running, JobPhase::Starting]),
            finished: count(&[JobPhase::Succeeded, JobPhase::Failed]),
            late: jobs.iter().filter(|j| j.late.is_some()).count(),
        };
        View {
            at: now,
            mode: self.clusters.values().next().map_or(Mode::Observe, |c| c.facts.mode),
            policy: self.settings.policy.kind,
            currency: self.settings.currency.clone(),
            clusters: self.clusters.values().map(|c| cluster_view(c, now, &jobs)).collect(),
            jobs,
            totals,
            planned_at: self.planned_at,
            planned_carbon: self.schedule.as_ref().map(|s| (s.carbon, s.gap())),
            scarce: self.scarce,
        }
    }

    fn phase(&self, tracked: &Tracked) -> JobPhase {
        if jobs::deleting(&tracked.job) {
            return JobPhase::Deleting;
        }
        match tracked.finished() {
            Some(true) => return JobPhase::Succeeded,
            Some(false) => return JobPhase::Failed,
            None => {}
        }
        let progress = self.progress(tracked);
        let begun = match tracked.style {
            Style::Mirrored => tracked.committed().is_some(),
            Style::InPlace => !jobs::suspended(&tracked.job),
        };
        match (progress.running_since, progress.paused, begun) {
            (Some(_), _, _) => JobPhase::Running,
            (None, true, _) => JobPhase::Paused,
            (None, false, true) => JobPhase::Starting,
            (None, false, false) => JobPhase::Held,
        }
    }

    fn job_view(&self, tracked: &Tracked) -> JobView {
        let phase = self.phase(tracked);
        let waits = matches!(phase, JobPhase::Held | JobPhase::Paused);
        let open = waits || matches!(phase, JobPhase::Starting | JobPhase::Running);
        let assignment = self.assignment(&tracked.key).filter(|_| open);
        let committed = tracked.committed();
        let home = tracked.style == Style::InPlace && !waits;
        let planned = assignment.map_or(Vec::new(), |a| {
            let ahead = a.runs.iter().filter(|run| run.to > self.now);
            ahead.map(|run| RunView { from: run.from, to: Some(run.to) }).collect()
        });
        let unplaced = || {
            let all = &self.schedule.as_ref()?.unplaced;
            all.iter().find(|u| u.key == tracked.key).map(|u| u.reason.clone())
        };
        let late = if open { self.late(tracked).or_else(unplaced) } else { None };
        let cluster = committed
            .as_ref()
            .map(|(cluster, _)| cluster.clone())
            .or_else(|| assignment.map(|a| a.cluster.clone()))
            .or_else(|| home.then(|| tracked.key.cluster.clone()));
        let sentence = match (&cluster, phase) {
            (_, JobPhase::Held | JobPhase::Paused) => self.waiting_sentence(tracked),
            (Some(cluster), JobPhase::Starting) => match self.waits_in(tracked) {
                Some(wait) => wait,
                None => format!("starts in {cluster}"),
            },
            (Some(cluster), JobPhase::Running) => format!("runs in {cluster}"),
            (Some(cluster), _) => format!("ran in {cluster}"),
            (None, _) => String::new(),
        };
        JobView {
            key: tracked.key.clone(),
            uid: jobs::uid(&tracked.job).to_owned(),
            phase,
            movable: tracked.style == Style::Mirrored,
            created: tracked.created,
            contract: tracked.contract.clone(),
            errors: tracked.errors.clone(),
            demand: tracked.demand(),
            priority: tracked.priority,
            awaits_yes: waits && self.awaits_yes(tracked),
            latest_start: self.latest_start(tracked).filter(|_| waits),
            cluster,
            copy: committed.map(|(_, name)| name),
            planned,
            runs: self.run_intervals(tracked).into_iter().map(|(from, to)| RunView { from, to }).collect(),
            forecast: assignment.map(|a| a.footprint),
            owner: crate::owner::of(&tracked.job).map(|owner| owner.name()),
            owned: crate::owner::sentence(&tracked.job),
            late,
            sentence,
        }
    }
}

fn cluster_view(cluster: &Cluster, now: Instant, jobs: &[JobView]) -> ClusterView {
    let draw = cluster.draw();
    let here = |phases: &[JobPhase]| {
        let at = |j: &&JobView| j.cluster.as_ref() == Some(&cluster.facts.id) && phases.contains(&j.phase);
        jobs.iter().filter(at).count()
    };
    let signal = cluster.signal.as_ref();
    ClusterView {
        facts: cluster.facts.clone(),
        zone_name: builtin::zone_name(&cluster.facts.grid_zone).map(str::to_owned),
        reachable: cluster.reachable && cluster.synced,
        silence: cluster.silence.clone(),
        leader: cluster.leader.clone(),
        leader_since: cluster.leader_since,
        nodes: (cluster.nodes.values().filter(|n| n.ready).count(), cluster.nodes.len()),
        allocatable: cluster.allocatable(),
        requested: cluster.requested(),
        intensity: signal.map(|s| s.actual.at(now)),
        intensity_from: signal.map(|s| s.actual_from.clone()),
        forecast: signal.map(|s| s.forecast.clone()),
        actual: signal.map(|s| s.actual.clone()),
        forecast_from: signal.map(|s| s.forecast_from.clone()),
        power: draw.power(),
        price: draw.price(),
        draw,
        use_from: cluster.use_from().cloned(),
        totals: cluster.totals(now),
        held: here(&[JobPhase::Held, JobPhase::Paused]),
        running: here(&[JobPhase::Running, JobPhase::Starting]),
    }
}
