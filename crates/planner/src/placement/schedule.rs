//! The outcome of planning: who runs where and when, who will be late, who fits nowhere.
//!
//! A schedule is state that rolls on with every planning round; what is due of it becomes a Plan.

use super::model::{Model, length};
use super::problem::RESOURCES;
use super::solve::Solution;
use fleet::{ClusterId, GramsCo2, Instant, JobKey, Joules, Money, Policy, PolicyKind, Span, Workload};
use ledger::Footprint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run, `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// Start.
    pub from: Instant,
    /// End.
    pub to: Instant,
}

/// Where and when one Job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Which Job.
    pub key: JobKey,
    /// Where.
    pub cluster: ClusterId,
    /// When, in order; more than one where it pauses.
    pub runs: Vec<Interval>,
    /// With how many pods at a time.
    pub parallelism: i64,
    /// How much longer it would have to run to do all its work; zero but for Jobs that are stopped at their
    /// deadline.
    #[serde(default, skip_serializing_if = "Span::is_zero")]
    pub undone: Span,
    /// What it is forecast to burn, transfer included.
    pub footprint: Footprint,
    /// Whether it ends by its deadline; true without one.
    pub in_time: bool,
}

impl Assignment {
    /// First start.
    pub fn start(&self) -> Instant {
        self.runs.first().map_or(Instant::EPOCH, |run| run.from)
    }
    /// Last end.
    pub fn end(&self) -> Instant {
        self.runs.last().map_or(Instant::EPOCH, |run| run.to)
    }
    /// Whether it is to run at `at`.
    pub fn runs_at(&self, at: Instant) -> bool {
        self.runs.iter().any(|run| run.from <= at && at < run.to)
    }
}

/// A Job that will not be in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Late {
    /// Which Job.
    pub key: JobKey,
    /// When it is expected to end.
    pub finish: Instant,
    /// When it should have.
    pub deadline: Instant,
    /// Why.
    pub reason: String,
}

/// A Job that cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unplaced {
    /// Which Job.
    pub key: JobKey,
    /// Why, with the figures.
    pub reason: String,
}

/// What capacity can be short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// CPU.
    Cpu,
    /// Memory.
    Memory,
    /// GPUs.
    Gpu,
    /// Pod places.
    Pods,
}

impl Resource {
    /// In the solver's order.
    pub(crate) const ALL: [Resource; 4] = [Resource::Cpu, Resource::Memory, Resource::Gpu, Resource::Pods];
}

/// What a slot of a cluster's capacity is worth: what all of it would save if there were more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// Where.
    pub cluster: ClusterId,
    /// Of what.
    pub resource: Resource,
    /// Start of the slot.
    pub from: Instant,
    /// Grams for the whole of the cluster's room in that slot.
    pub grams: GramsCo2,
}

/// A plan of all Jobs of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// When it was made.
    pub at: Instant,
    /// By which method.
    pub policy: PolicyKind,
    /// Where and when each Job runs, sorted by key.
    pub assignments: Vec<Assignment>,
    /// Jobs that will be late, sorted by key.
    pub late: Vec<Late>,
    /// Jobs that fit nowhere, sorted by key.
    pub unplaced: Vec<Unplaced>,
    /// Forecast emissions of all assignments.
    pub carbon: GramsCo2,
    /// Forecast money of all assignments.
    pub cost: Money,
    /// Forecast energy of all assignments.
    pub energy: Joules,
    /// What was minimised: emissions, plus money at the carbon price where there is one; Jobs thought to come
    /// take part.
    pub objective: GramsCo2,
    /// No plan in which the same Jobs are in time and none of the others ends later has a smaller
    /// objective than this; `None` when the method proves nothing.
    pub lower_bound: Option<GramsCo2>,
    /// Length of a slot.
    pub slot: Span,
    /// When prices and bound were worked out: earlier than `at` in fleets too large to do so in every plan.
    pub priced_at: Instant,
    /// Prices of scarce capacity behind the bound: where planning goes on from in the next round.
    pub prices: Vec<Price>,
    /// Work units used.
    pub effort: u64,
    /// How much of the work thought to come ([`fleet::Snapshot::expected`]) found no room in time, in
    /// thousandths; of the resource it is most of.
    #[serde(default)]
    pub crowded_out_permille: u64,
}

impl Schedule {
    /// The assignment of a Job.
    pub fn get(&self, key: &JobKey) -> Option<&Assignment> {
        let at = self.assignments.binary_search_by(|a| a.key.cmp(key)).ok()?;
        self.assignments.get(at)
    }
    /// The assignments of some Jobs, in their order; quick where that is the order of keys.
    pub(super) fn of_each<'s>(
        &'s self,
        jobs: impl Iterator<Item = &'s JobKey>,
    ) -> impl Iterator<Item = Option<&'s Assignment>> {
        let mut next = 0;
        jobs.map(move |key| {
            let here = self.assignments.get(next).filter(|a| a.key == *key);
            let at = match here {
                Some(_) => next,
                None => self.assignments.binary_search_by(|a| a.key.cmp(key)).ok()?,
            };
            next = at + 1;
            self.assignments.get(at)
        })
    }
    /// How far the objective can be from the optimum at most, as a share of it (0.01 is 1 %).
    pub fn gap(&self) -> Option<f64> {
        let (bound, objective) = (self.lower_bound?.as_grams_f64(), self.objective.as_grams_f64());
        Some(if objective > 0.0 { (objective - bound) / objective } else { 0.0 })
    }
}

/// Puts a schedule together from the solver's places.
pub(super) fn assemble(model: Model<'_>, policy: &Policy, solution: &Solution) -> Schedule {
    let snapshot = model.snapshot;
    let mut assignments = Vec::with_capacity(snapshot.workloads.len());
    let mut unplaced = model.unplaced.clone();
    let mut fixed = Footprint::ZERO;
    for (index, cluster) in &model.fixed {
        let workload = &snapshot.workloads[*index];
        let run = Interval { from: snapshot.at, to: snapshot.at + length(workload) };
        let assignment = model.assignment(workload, *cluster, vec![run]);
        fixed += assignment.footprint;
        assignments.push(assignment);
    }
    for (job, (index, place)) in model.jobs.iter().zip(&solution.places).enumerate() {
        let workload = &snapshot.workloads[*index];
        match place {
            Some(place) => assignments.push(model.placed(&model.modes[job], workload, place)),
            None => {
                let days = super::model::HORIZON_MAX.as_seconds() / 86_400;
                let reason = format!("no room for it in any allowed cluster within {days} days");
                unplaced.push(Unplaced { key: workload.key.clone(), reason });
            }
        }
    }
    assignments.sort_by(|a, b| a.key.cmp(&b.key));
    unplaced.sort_by(|a, b| a.key.cmp(&b.key));
    let total: Footprint = assignments.iter().map(|a| a.footprint).sum();
    let money = policy.grams_per_money();
    let priced = |f: Footprint| f.carbon + GramsCo2::from_grams_f64(f.cost.as_units_f64() * money);
    let (expected, crowded_out_permille) = expected(&model, solution);
    let objective = priced(total) + GramsCo2::from_grams_f64(expected);
    let lower_bound =
        solution.bound.map(|grams| (GramsCo2::from_grams_f64(grams) + priced(fixed)).min(objective));
    let late = late(&model, &assignments);
    let prices = model.price_list(&solution.prices);
    let (at, policy, slot, effort) = (snapshot.at, policy.kind, model.slot, solution.work);
    let (carbon, cost, energy) = (total.carbon, total.cost, total.energy);
    Schedule {
        at,
        policy,
        assignments,
        late,
        unplaced,
        carbon,
        cost,
        energy,
        objective,
        lower_bound,
        slot,
        priced_at: at,
        prices,
        effort,
        crowded_out_permille,
    }
}

/// What the Jobs thought to come cost in the plan, in grams, and how much of their work found no room.
fn expected(model: &Model<'_>, solution: &Solution) -> (f64, u64) {
    let problem = &model.problem;
    let (mut grams, mut all, mut out) = (0.0, [0i128; RESOURCES], [0i128; RESOURCES]);
    for (job, place) in problem.jobs.iter().zip(&solution.places).skip(model.jobs.len()) {
        let work = job.demand.map(|need| i128::from(need) * i128::from(job.length));
        let missed = place.as_ref().is_none_or(|place| place.end() > job.deadline);
        grams += place.as_ref().map_or(0.0, |place| problem.cost(job, place));
        for (resource, work) in work.into_iter().enumerate() {
            all[resource] += work;
            out[resource] += if missed { work } else { 0 };
        }
    }
    let permille = |(out, all): (&i128, &i128)| (out * 1000).checked_div(*all).unwrap_or(0) as u64;
    (grams, out.iter().zip(&all).map(permille).max().unwrap_or(0))
}

/// Names the Jobs that will be late.
fn late(model: &Model<'_>, assignments: &[Assignment]) -> Vec<Late> {
    let missed: BTreeMap<&JobKey, &Assignment> =
        assignments.iter().filter(|a| !a.in_time).map(|a| (&a.key, a)).collect();
    let mut late = Vec::new();
    for workload in model.snapshot.workloads.iter().filter(|_| !missed.is_empty()) {
        let Some(deadline) = workload.real_deadline() else { continue };
        let Some(assignment) = missed.get(&workload.key) else { continue };
        let reason = reason(model, workload, deadline);
        late.push(Late { key: workload.key.clone(), finish: assignment.end(), deadline, reason });
    }
    late.sort_by(|a, b| a.key.cmp(&b.key));
    late
}

fn reason(model: &Model<'_>, workload: &Workload, deadline: Instant) -> String {
    let (at, lasts) = (model.snapshot.at, length(workload));
    let ready = workload.release.max(at);
    if deadline <= at {
        return format!("its deadline {deadline} has passed");
    }
    if workload.running {
        return format!("it runs and needs {lasts} more, but only {} are left", deadline - at);
    }
    if ready + lasts > deadline {
        let window = Span::ZERO.max(deadline - ready);
        let from = ready.to_rfc3339_seconds();
        let cut =
            if workload.may_be_cut { ", at which it is stopped, with most of its work undone" } else { "" };
        return format!("it lasts {lasts}, but only {window} are left between {from} and its deadline{cut}");
    }
    let higher =
        model.snapshot.workloads.iter().filter(|w| w.key != workload.key && w.priority >= workload.priority);
    format!(
        "no room for {lasts} before its deadline in any cluster it may run in: {} other Jobs of the same or higher priority compete",
        higher.count()
    )
}
