//! What a change would save: an hour more of slack, another cluster open to the Job, ten more cores.
//!
//! Slack and clusters are judged as alternatives are: everybody else stays where the schedule has them,
//! and the Job takes the best place it then has. What it saves is counted against the better of what
//! was chosen and what is open to it anyway, so planning that Job alone again, with the change, saves
//! at least as much. Room kept for Jobs thought to come counts as free, as it does for alternatives.
//!
//! Cores are judged by the schedule's prices of capacity, in grams with money at the carbon price, for
//! all Jobs together: price per core × ten, summed over the slots of the Job's window. With prices λ ≥ 0
//! the proven bound is a sum over Jobs less λ · room, so it falls by exactly λ · Δ when room grows by Δ:
//! no plan with the ten cores (the same Jobs in time, none of the others ending later) has an objective
//! below `lower_bound` less this figure. What ten cores save a plan is therefore at most this figure
//! *and* the gap of the plan; the figure alone bounds only what the relaxation can gain. It may promise
//! too much: prices fall as room grows. Left out: Jobs that only the ten cores would let in.

use super::explain::{Alternative, clock, others, places_in};
use super::limit::{Limit, limit};
use super::model::{Model, weigh};
use super::modes::Mode;
use super::prices::Prices;
use super::problem::{Amounts, Job, Place, RESOURCES, Value};
use super::schedule::{Assignment, Schedule};
use fleet::quantity::plain as figure;
use fleet::{ClusterId, Cpu, GramsCo2, Instant, Money, Policy, PolicyKind, Snapshot, Span, Workload};
use serde::{Deserialize, Serialize};

/// Most of them given.
const SAVINGS_MAX: usize = 5;
/// How much more slack is asked about.
const SLACK: Span = Span::HOUR;
/// How many more cores are asked about.
const CORES: Cpu = Cpu::from_millis(10_000);
/// What saves less than this share of what the Job itself costs tells nobody anything.
const WORTH_TELLING: f64 = 0.001;
/// Index of CPU among the solver's resources.
const CPU: usize = 0;

/// What could be otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// A later deadline.
    Slack {
        /// How much later.
        by: Span,
        /// When it would be then.
        deadline: Instant,
    },
    /// A cluster that the contract does not allow, allowed.
    Cluster {
        /// Which.
        cluster: ClusterId,
        /// The limit that excludes it.
        limit: String,
    },
    /// Nodes that the Job's pods fit on, with no more room in all.
    Nodes {
        /// Where.
        cluster: ClusterId,
        /// The limit that excludes it.
        limit: String,
    },
    /// More cores in a cluster, over the time the Job may run in.
    Cores {
        /// Where.
        cluster: ClusterId,
        /// How many more.
        cores: Cpu,
        /// From when.
        from: Instant,
        /// Until when.
        to: Instant,
    },
}

/// A change and what it would save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saving {
    /// What could be otherwise.
    pub change: Change,
    /// Emissions saved; below zero where it is money that is saved. Of more cores: of all Jobs together,
    /// money at the carbon price included, to first order.
    pub carbon: GramsCo2,
    /// Money saved; below zero where it costs more. `None` for more cores.
    pub cost: Option<Money>,
    /// Where and when the Job would run; `None` for more cores.
    pub instead: Option<Assignment>,
    /// All of it in plain words.
    pub sentence: String,
}

/// What a place is worth by a Job's own order, whatever model it was found in; smaller is better.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Worth {
    late: bool,
    /// Counts only where the Job may not wait, or is late.
    end: Option<Instant>,
    /// Grams, money at the carbon price included.
    grams: f64,
}

/// The question asked about one Job.
pub(super) struct Asked<'a> {
    pub snapshot: &'a Snapshot,
    pub policy: &'a Policy,
    pub schedule: &'a Schedule,
    pub model: &'a Model<'a>,
    /// The Job's index in the model, and what room everybody else leaves; `None`: it stays where it runs.
    pub room: Option<(usize, &'a [Amounts])>,
    /// The Job's index in the snapshot.
    pub index: usize,
    pub chosen: &'a Assignment,
    /// The best place open to it as things are, if there is one.
    pub open: Option<&'a Alternative>,
}

impl Asked<'_> {
    /// What would save, best first.
    pub fn savings(&self) -> Vec<Saving> {
        // The other methods look neither ahead nor at prices.
        if self.policy.kind != PolicyKind::Optimal {
            return Vec::new();
        }
        let mut found: Vec<(f64, Saving)> = self.clusters();
        found.extend(self.slack());
        found.extend(self.cores());
        let least = self.worth(&self.chosen.into()).grams * WORTH_TELLING;
        found.retain(|(grams, _)| *grams > least.max(0.0));
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.into_iter().take(SAVINGS_MAX).map(|(_, saving)| saving).collect()
    }

    fn workload(&self) -> &Workload {
        &self.snapshot.workloads[self.index]
    }

    /// An hour more of slack; nothing for Jobs that do not wait, and those that cannot be moved any more.
    fn slack(&self) -> Option<(f64, Saving)> {
        let workload = self.workload();
        if workload.prompt || (workload.running && !workload.interruptible) {
            return None;
        }
        let deadline = workload.deadline? + SLACK;
        let later = Workload { deadline: Some(deadline), ..workload.clone() };
        let instead = match self.room {
            Some((job, room)) if deadline < self.horizon() => {
                // How much is left undone hangs on the deadline.
                let (mut item, modes) = self.model.item(&later, self.policy).ok()?;
                weigh(&mut item, &modes, self.model.problem.jobs[job].weight);
                place(self.model, room, (&item, &modes), &later)?
            }
            _ => self.beyond(&later)?,
        };
        let what = format!("an hour more of slack (until {})", clock(deadline + workload.margin));
        self.saving(Change::Slack { by: SLACK, deadline }, &what, instead)
    }

    /// The best place with a deadline that the model does not reach, or of a Job that now stays where it runs.
    fn beyond(&self, later: &Workload) -> Option<Assignment> {
        let mut changed = self.snapshot.clone();
        changed.workloads[self.index] = later.clone();
        let model = Model::new(&changed, self.policy, None);
        let job = model.jobs.iter().position(|index| *index == self.index)?;
        let state = others(&model, self.schedule, job);
        place(&model, &state.room, (&model.problem.jobs[job], &model.modes[job]), later)
    }

    /// End of the model's last slot.
    fn horizon(&self) -> Instant {
        self.model.origin + self.model.slot.scaled(self.model.problem.slots as i64, 1)
    }

    /// Each cluster that one limit excludes which a person could lift.
    fn clusters(&self) -> Vec<(f64, Saving)> {
        let (model, workload) = (self.model, self.workload());
        let Some((job, room)) = self.room else { return Vec::new() };
        let allowed = Workload { allowed: None, ..workload.clone() };
        let mut found = Vec::new();
        for (c, cluster) in self.snapshot.clusters.iter().enumerate() {
            let Some(why) = limit(cluster, &model.sizes[c], workload) else { continue };
            let (id, says) = (cluster.id.clone(), why.to_string());
            let (what, change) = match why {
                // One limit at a time: where another one remains, leave alone would not help.
                Limit::NotAllowed if limit(cluster, &model.sizes[c], &allowed).is_none() => {
                    (format!("leave to run in {id}"), Change::Cluster { cluster: id, limit: says })
                }
                Limit::Pod(..) | Limit::Pods(..) => (
                    format!("nodes in {id} that its pods fit on"),
                    Change::Nodes { cluster: id, limit: says },
                ),
                _ => continue,
            };
            let mut item = model.problem.jobs[job].clone();
            // Elsewhere it could run before.
            let only = |item: &mut Job, workload: &Workload| {
                let site = Some(model.site(c, workload, self.policy));
                item.sites = (0..model.problem.clusters).map(|other| site.filter(|_| other == c)).collect();
            };
            let shaped = |mode: usize| model.modes[job].get(mode).map(|mode| mode.of(workload));
            only(&mut item, &shaped(0).unwrap_or_else(|| workload.clone()));
            for (mode, other) in item.others.iter_mut().enumerate() {
                shaped(mode + 1).iter().for_each(|workload| only(other, workload));
            }
            let instead = place(model, room, (&item, &model.modes[job]), workload);
            found.extend(instead.and_then(|instead| self.saving(change, &what, instead)));
        }
        found
    }

    /// A change that lets the Job run elsewhere or at another time, where that saves.
    fn saving(&self, change: Change, what: &str, instead: Assignment) -> Option<(f64, Saving)> {
        let chosen = Alternative::from(self.chosen);
        let open = self.open.filter(|open| self.worth(open) < self.worth(&chosen)).unwrap_or(&chosen);
        let (before, after) = (self.worth(open), self.worth(&(&instead).into()));
        let saved = before.grams - after.grams;
        // Grams that are saved because less of the work is done are no saving.
        if after >= before || saved <= 0.0 || instead.undone > self.chosen.undone {
            return None;
        }
        let (carbon, cost) = (open.carbon - instead.footprint.carbon, open.cost - instead.footprint.cost);
        let sentence = format!(
            "{what} would save {}: in {} from {}",
            amounts_saved(carbon, cost),
            instead.cluster,
            clock(instead.start())
        );
        Some((saved, Saving { change, carbon, cost: Some(cost), instead: Some(instead), sentence }))
    }

    fn worth(&self, place: &Alternative) -> Worth {
        let (late, prompt) = (!place.in_time, self.workload().prompt || self.workload().deadline.is_none());
        let grams = place.carbon.as_grams_f64() + place.cost.as_units_f64() * self.policy.grams_per_money();
        Worth { late, end: (late || prompt).then_some(place.end), grams }
    }

    /// Ten more cores in the cluster where the prices of the Job's window are highest.
    fn cores(&self) -> Option<(f64, Saving)> {
        let (model, workload) = (self.model, self.workload());
        let now = self.snapshot.at;
        let from = if workload.running { now } else { workload.release.max(now) };
        let to = workload.deadline.unwrap_or(now).max(self.chosen.end()).min(self.horizon());
        if from >= to {
            return None;
        }
        let slots = model.problem.overlapped((model.time(from), model.time(to)));
        let prices = model.prices(Some(self.schedule));
        let share = Prices::zero(&model.problem).scale;
        let worth = |c: usize| {
            let row = c * RESOURCES + CPU;
            let sum: f64 = prices[row * model.problem.slots..][slots.clone()].iter().sum();
            sum * share[row] * CORES.as_nanos() as f64
        };
        let all = (0..model.problem.clusters).map(|c| (worth(c), c));
        let (grams, c) = all.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
        let (cluster, carbon) = (self.snapshot.clusters[c].id.clone(), GramsCo2::from_grams_f64(grams));
        let sentence = format!(
            "{} more cores in {cluster} from {} to {} would save all Jobs together about {carbon} CO2e{}, to \
             first order: at most that and the plan's gap",
            figure(CORES.as_cores_f64()),
            clock(from),
            clock(to),
            if self.policy.grams_per_money() > 0.0 { " (money at the carbon price included)" } else { "" },
        );
        let change = Change::Cores { cluster, cores: CORES, from, to };
        Some((grams, Saving { change, carbon, cost: None, instead: None, sentence }))
    }
}

/// The best place of a job (what it may do, in which modes) in the room left.
fn place(
    model: &Model<'_>,
    room: &[Amounts],
    (job, modes): (&Job, &[Mode]),
    workload: &Workload,
) -> Option<Assignment> {
    let problem = &model.problem;
    let open = |c: usize| job.modes().filter(move |mode| mode.sites[c].is_some()).map(move |mode| (mode, c));
    let places = (0..problem.clusters).flat_map(open).flat_map(|(mode, c)| places_in(problem, room, mode, c));
    let valued = places.map(|place| (problem.value(job, &place), place));
    let best = valued.min_by(|a: &(Value, Place), b| a.0.rank(&b.0))?.1;
    Some(model.placed(modes, workload, &best))
}

/// `3.20 g CO2e and 0.01 in money`, `3.20 g CO2e for 0.01 more in money`.
fn amounts_saved(carbon: GramsCo2, cost: Money) -> String {
    let money = |cost: Money| figure(cost.as_units_f64());
    if carbon <= GramsCo2::ZERO {
        return format!("{} in money for {} CO2e more", money(cost), GramsCo2::ZERO - carbon);
    }
    match cost.cmp(&Money::ZERO) {
        std::cmp::Ordering::Greater => format!("{carbon} CO2e and {} in money", money(cost)),
        std::cmp::Ordering::Equal => format!("{carbon} CO2e"),
        std::cmp::Ordering::Less => format!("{carbon} CO2e for {} more in money", money(Money::ZERO - cost)),
    }
}
