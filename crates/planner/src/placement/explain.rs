//! Why a Job runs where and when it does, and what else would have cost.
//!
//! Alternatives are judged with everybody else where the schedule has them; the counterfactual "at
//! once, at home" whether or not there is room. Starts of one cluster are shown an hour apart at
//! least: quarters of an hour of the same grid hour tell nobody anything.

use super::limit::limit;
use super::model::Model;
use super::problem::{Amounts, Job, Place, Problem, Value};
use super::saving::{Asked, Saving};
use super::schedule::{Assignment, Interval, Schedule};
use super::state::State;
use super::{interruptible::Search, scan::Scan};
use fleet::quantity::{counted, plain as figure};
use fleet::{
    ClusterId, GramsCo2, Instant, JobKey, Joules, Money, Policy, PolicyKind, Snapshot, Span, Workload,
};
use serde::{Deserialize, Serialize};

/// Most alternatives given, whatever is asked for.
const ALTERNATIVES_MAX: usize = 100;
/// Starts of the same cluster nearer than this are the same alternative.
const APART: Span = Span::HOUR;

/// A place and time, and what it would burn and cost by the forecast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alternative {
    /// Where.
    pub cluster: ClusterId,
    /// First start.
    pub start: Instant,
    /// Last end.
    pub end: Instant,
    /// Pods at a time.
    pub parallelism: i64,
    /// Emissions, transfer included, and embodied ones where they are counted.
    pub carbon: GramsCo2,
    /// Of those, embodied in the nodes; zero where they are not counted.
    #[serde(default, skip_serializing_if = "GramsCo2::is_zero")]
    pub embodied: GramsCo2,
    /// Money, transfer included.
    pub cost: Money,
    /// Energy, transfer included.
    pub energy: Joules,
    /// Whether it ends by the deadline; true without one.
    pub in_time: bool,
}

/// A cluster that was out of the question, and the limit that excluded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exclusion {
    /// Which.
    pub cluster: ClusterId,
    /// Why.
    pub limit: String,
}

/// Why here, why then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was chosen.
    pub chosen: Alternative,
    /// The next best, best first.
    pub alternatives: Vec<Alternative>,
    /// What running at once in the home cluster would burn; `None` for a home outside the fleet.
    pub at_once_at_home: Option<Alternative>,
    /// Clusters out of the question.
    pub excluded: Vec<Exclusion>,
    /// What could be otherwise and would save, best first.
    #[serde(default)]
    pub would_save: Vec<Saving>,
    /// The decision in plain words; what would save has sentences of its own.
    pub sentence: String,
}

impl From<&Assignment> for Alternative {
    fn from(assignment: &Assignment) -> Alternative {
        Alternative {
            cluster: assignment.cluster.clone(),
            start: assignment.start(),
            end: assignment.end(),
            parallelism: assignment.parallelism,
            carbon: assignment.footprint.carbon,
            embodied: assignment.footprint.embodied,
            cost: assignment.footprint.cost,
            energy: assignment.footprint.energy,
            in_time: assignment.in_time,
        }
    }
}

/// Explains the assignment of `key` in `schedule`; `None` when it has none or is not in the snapshot.
pub fn explain(
    snapshot: &Snapshot,
    policy: &Policy,
    schedule: &Schedule,
    key: &JobKey,
    alternatives: usize,
) -> Option<Explanation> {
    let chosen = schedule.get(key)?;
    let model = Model::new(snapshot, policy, None);
    let index = snapshot.workloads.iter().position(|w| w.key == *key)?;
    let workload = &snapshot.workloads[index];
    let mut excluded = Vec::new();
    let mut found = Vec::new();
    let job = model.jobs.iter().position(|i| *i == index);
    let state = job.map(|job| (job, others(&model, schedule, job)));
    if let Some((job, state)) = &state {
        found = options(&model, state, *job, workload, &mut excluded);
    } else {
        let stays = format!("it runs in {} already", chosen.cluster);
        let rest = snapshot.clusters.iter().filter(|c| c.id != chosen.cluster);
        excluded.extend(rest.map(|c| Exclusion { cluster: c.id.clone(), limit: stays.clone() }));
    }
    let open = found.first().map(|best| &best.1);
    let room = state.as_ref().map(|(job, state)| (*job, &state.room[..]));
    let would_save = Asked { snapshot, policy, schedule, model: &model, room, index, chosen, open }.savings();
    let mut shown: Vec<Alternative> = vec![Alternative::from(chosen)];
    for (_, option) in found {
        if shown.len() > alternatives.min(ALTERNATIVES_MAX) {
            break;
        }
        let near = |a: &Alternative| a.cluster == option.cluster && distance(a.start, option.start) < APART;
        if !shown.iter().any(near) {
            shown.push(option);
        }
    }
    let chosen_so = shown.remove(0);
    let at_once_at_home = home(&model, workload);
    let sentence = sentence(workload, policy, chosen, &shown, at_once_at_home.as_ref(), &excluded)
        + &unknown(&model, &chosen.cluster);
    Some(Explanation {
        chosen: chosen_so,
        alternatives: shown,
        at_once_at_home,
        excluded,
        would_save,
        sentence,
    })
}

fn distance(a: Instant, b: Instant) -> Span {
    (a - b).max(b - a)
}

/// Everybody else where the schedule has them.
pub(super) fn others<'m>(model: &'m Model<'_>, schedule: &Schedule, job: usize) -> State<'m> {
    let mut state = State::new(&model.problem);
    for (other, index) in model.jobs.iter().enumerate() {
        let Some(held) = schedule.get(&model.snapshot.workloads[*index].key).filter(|_| other != job) else {
            continue;
        };
        let Some(cluster) = model.snapshot.clusters.iter().position(|c| c.id == held.cluster) else {
            continue;
        };
        let run = |run: &Interval| (model.time(run.from).max(0), model.time(run.to).max(0));
        let mode = model.mode_of(&model.modes[other], &model.snapshot.workloads[*index], held).unwrap_or(0);
        state.put(other, Place { cluster, mode, runs: held.runs.iter().map(run).collect() });
    }
    state
}

/// Every place open to the job, best first; clusters without one go to `excluded`.
fn options(
    model: &Model<'_>,
    state: &State<'_>,
    job: usize,
    workload: &Workload,
    excluded: &mut Vec<Exclusion>,
) -> Vec<(Value, Alternative)> {
    let item = &model.problem.jobs[job];
    let mut found: Vec<(Value, Alternative)> = Vec::new();
    for (c, cluster) in model.snapshot.clusters.iter().enumerate() {
        let modes: Vec<&Job> = item.modes().filter(|mode| mode.sites[c].is_some()).collect();
        if modes.is_empty() {
            let why =
                limit(cluster, &model.sizes[c], workload).map_or_else(String::new, |limit| limit.to_string());
            excluded.push(Exclusion { cluster: cluster.id.clone(), limit: why });
            continue;
        }
        let places = modes.iter().flat_map(|mode| places_in(&model.problem, &state.room, mode, c));
        let places: Vec<Place> = places.collect();
        if places.is_empty() {
            let why = "no room for it within the horizon, given what else is planned".to_owned();
            excluded.push(Exclusion { cluster: cluster.id.clone(), limit: why });
        } else if workload.deadline.is_some() && places.iter().all(|place| place.end() > item.deadline) {
            let why = "no room for it before its deadline, given what else is planned".to_owned();
            excluded.push(Exclusion { cluster: cluster.id.clone(), limit: why });
        }
        for place in places {
            let assignment = model.placed(&model.modes[job], workload, &place);
            found.push((model.problem.value(item, &place), Alternative::from(&assignment)));
        }
    }
    found.sort_by(|a, b| a.0.rank(&b.0));
    found
}

/// Places in one cluster and mode: every start that is in time, the best with pauses, else the earliest.
pub(super) fn places_in(problem: &Problem, room: &[Amounts], item: &Job, cluster: usize) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let last = item.deadline.saturating_sub(item.length);
    let first_slot = (item.from + problem.slot - 1) / problem.slot;
    let boundaries =
        (first_slot..problem.slots as i64).map(|slot| slot * problem.slot).filter(|_| !item.running);
    let starts = item.extra_starts.iter().copied().chain(boundaries);
    for start in starts.filter(|start| *start <= last && !item.prompt) {
        let place = Place::contiguous(item, cluster, start);
        if problem.has_room(room, item, &place) {
            places.push(place);
        }
    }
    let (mut work, prices) = (0, None);
    if item.pausable {
        let search = Search { problem, room, prices, job: item, cluster, pause_now: false };
        places.extend(search.cheapest(item.deadline, &mut work).map(|found| found.1));
    }
    if places.is_empty() && item.mode == 0 {
        let start = Scan { problem, room, prices, job: item }.earliest_in(cluster, &mut work);
        places.extend(start.map(|start| Place::contiguous(item, cluster, start)));
    }
    places
}

/// What running at once at home would burn, room or not.
fn home(model: &Model<'_>, workload: &Workload) -> Option<Alternative> {
    let cluster = model.snapshot.clusters.iter().position(|c| c.id == workload.key.cluster)?;
    let from = workload.release.max(model.snapshot.at);
    let run = Interval { from, to: from + super::model::length(workload) };
    Some(Alternative::from(&model.assignment(workload, cluster, vec![run])))
}

/// `2026-05-01 03:00 UTC`.
pub(super) fn clock(at: Instant) -> String {
    let text = at.to_rfc3339_seconds();
    match (text.get(0..10), text.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text,
    }
}

/// ` (38 % less than 193 g …)`, in words.
fn compared(chosen: GramsCo2, other: GramsCo2) -> String {
    let (a, b) = (chosen.as_grams_f64(), other.as_grams_f64());
    if b <= 0.0 || a == b {
        return "the same as".to_owned();
    }
    let share = (b - a) / b * 100.0;
    if share >= 0.0 {
        format!("{} % less than", figure(share))
    } else {
        format!("{} % more than", figure(-share))
    }
}

/// `, of which embodied 3.10 g`, where that is counted.
fn of_which(embodied: GramsCo2) -> String {
    if embodied.is_zero() { String::new() } else { format!(", of which embodied {embodied}") }
}

/// Where embodied emissions are counted but of some of a cluster's nodes unknown, that.
fn unknown(model: &Model<'_>, chosen: &ClusterId) -> String {
    let cluster = model.snapshot.clusters.iter().find(|c| c.id == *chosen);
    match cluster.and_then(|c| c.rates.embodied).filter(|rate| rate.unknown_permille > 0) {
        Some(rate) => format!(
            "; embodied emissions of {} % of the vCPUs of {chosen} are unknown and count as 0",
            figure(rate.unknown_permille as f64 / 10.0)
        ),
        None => String::new(),
    }
}

/// `, 4 pods at a time instead of 2,`, where it is to run with others than asked for.
fn other_pods(workload: &Workload, chosen: &Assignment) -> String {
    match workload.parallelism.max(1) {
        asked if asked == chosen.parallelism => String::new(),
        asked => {
            let pods = counted(chosen.parallelism as f64, "pod", "pods");
            format!(", {pods} at a time instead of {asked},")
        }
    }
}

/// What of a Job that stops at its deadline is left undone.
fn left_undone(chosen: &Assignment) -> String {
    if chosen.undone.is_zero() {
        return String::new();
    }
    format!(
        ": not all of it fits before its deadline, where it is to stop, so the last {} of its work are left undone",
        chosen.undone
    )
}

fn sentence(
    workload: &Workload,
    policy: &Policy,
    chosen: &Assignment,
    next: &[Alternative],
    home: Option<&Alternative>,
    excluded: &[Exclusion],
) -> String {
    let (carbon, of_which) = (chosen.footprint.carbon, of_which(chosen.footprint.embodied));
    let (from, to) = (clock(chosen.start()), clock(chosen.end()));
    let pauses = match chosen.runs.len() {
        0 | 1 => String::new(),
        runs => format!(" in {runs} runs, pausing through dirtier hours,"),
    };
    let pods = other_pods(workload, chosen);
    let mut text = if workload.running {
        format!("runs in {} until {to}{pauses} for {carbon} CO2e more{of_which}", chosen.cluster)
    } else {
        format!("planned in {} from {from} to {to}{pauses}{pods} for {carbon} CO2e{of_which}", chosen.cluster)
    };
    text += &left_undone(chosen);
    text += &match (policy.kind, workload.real_deadline()) {
        _ if !chosen.in_time => ": it cannot be in time and runs as soon as it can".to_owned(),
        (PolicyKind::Score, _) => ": the lowest score at its earliest start".to_owned(),
        (PolicyKind::Soonest, _) => ": the earliest start".to_owned(),
        (PolicyKind::Optimal, None) => {
            ": without a deadline it may not wait, and starts as early as it can".to_owned()
        }
        (PolicyKind::Optimal, Some(deadline)) if workload.prompt => {
            format!(
                ", before its deadline {}: room is scarce, so nothing waits for cleaner hours",
                clock(deadline)
            )
        }
        (PolicyKind::Optimal, Some(deadline)) => format!(", before its deadline {}", clock(deadline)),
    };
    if let Some(home) = home.filter(|_| !workload.running) {
        text += &format!(
            "; {} at once at home ({}, {})",
            compared(carbon, home.carbon),
            home.cluster,
            home.carbon
        );
    }
    if let Some(other) = next.first() {
        text += &format!("; next best: {} from {} for {}", other.cluster, clock(other.start), other.carbon);
        if policy.carbon_price_per_tonne.is_some_and(|price| price > 0.0) {
            let (ours, theirs) = (chosen.footprint.cost.as_units_f64(), other.cost.as_units_f64());
            text += &format!(" and {} in money against {}", figure(theirs), figure(ours));
        } else if policy.kind == PolicyKind::Optimal
            && other.in_time
            && other.carbon < carbon
            && workload.deadline.is_some()
            && !workload.prompt
        {
            text += " (less, but its room there is worth more to other Jobs, here or thought to come)";
        }
    }
    for exclusion in excluded {
        text += &format!("; not {}: {}", exclusion.cluster, exclusion.limit);
    }
    text
}
