//! The invariants, held against what really is in the clusters: nothing here asks the loop what it thinks.

use crate::faults::{FAILURE_COSTS, Outages};
use crate::owners::Wanted;
use control::{JobPhase, JobView, RunView, View};
use fleet::{ClusterId, Instant, Policy, Span};
use k8s_openapi::api::batch::v1::Job;
use std::collections::{BTreeMap, BTreeSet};
use twin::{Kind, Object, World};

/// What the API server's clock may lag behind in a status: whole seconds, and KWOK-like delays of a twin's pods.
const ROUNDING: Span = Span::from_seconds(30);

/// What is known of one Job's life.
#[derive(Clone, Debug, Default)]
pub struct Life {
    pub uid: String,
    pub created: Option<Instant>,
    /// Uids of all copies there ever were, and whether each ended well or not.
    pub copies: BTreeMap<String, bool>,
    /// Copies its owner deleted, or took the marks off: each may be followed by another.
    pub excused: usize,
    /// Clusters its work was, or was to be in.
    pub places: BTreeSet<ClusterId>,
    /// What faults of its calls may have cost at most.
    pub cost: Span,
    /// When it has to be done: as last stated, and since when that is known.
    pub deadline: Option<(Instant, Instant)>,
    /// Its owner meddled with its start or run: no promise about when.
    pub meddled: bool,
    /// Its owner took the label off: it is nobody's to account for.
    pub freed: bool,
    /// The same, before we had a hand in it, or its owner suspended it since: it stays as it is.
    pub left: bool,
    /// Its owner deleted it.
    pub deleted: bool,
    /// A run that was not to be interrupted was.
    started: Option<Instant>,
}

pub fn annotation<'a>(job: &'a Job, key: &str) -> Option<&'a str> {
    job.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub fn label<'a>(job: &'a Job, key: &str) -> Option<&'a str> {
    job.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn ended(job: &Job) -> Option<bool> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
    if is("Complete") { Some(true) } else { is("Failed").then_some(false) }
}

/// When a Job ended, by its own status.
pub fn end(job: &Job) -> Option<Instant> {
    ended(job)?;
    let status = job.status.as_ref()?;
    let failed = || {
        let all = status.conditions.as_ref()?;
        all.iter().find(|c| c.type_ == "Failed")?.last_transition_time.clone()
    };
    status.completion_time.clone().or_else(failed).map(|t| Instant::from_jiff(t.0))
}

pub fn jobs(world: &World, cluster: &ClusterId) -> Vec<Job> {
    let objects = world.objects(cluster).unwrap();
    let job = |stored: &std::sync::Arc<twin::Stored>| match &stored.object {
        Object::Job(job) => Some((**job).clone()),
        _ => None,
    };
    objects.list(Kind::Job, None).filter_map(job).collect()
}

pub fn home(world: &World, wanted: &Wanted) -> Option<Job> {
    jobs(world, &wanted.home).into_iter().find(|job| job.metadata.name.as_deref() == Some(&wanted.name))
}

/// Whether pods of a copy may run.
fn active(job: &Job) -> bool {
    let suspended = job.spec.as_ref().and_then(|s| s.suspend).unwrap_or(false);
    ended(job).is_none() && !suspended && job.metadata.deletion_timestamp.is_none()
}

/// Held after every event: one copy at a time, and no second one without need.
pub fn of_copies(world: &World, wanted: &[Wanted], lives: &mut [Life]) -> Result<(), String> {
    let mut running: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for cluster in world.clusters() {
        for copy in jobs(world, cluster) {
            let Some(of) = label(&copy, control::ORIGIN_UID_LABEL) else { continue };
            let name = copy.metadata.name.clone().unwrap_or_default();
            let uid = copy.metadata.uid.clone().unwrap_or_default();
            if active(&copy) {
                running.entry(of.to_owned()).or_default().push(format!("{cluster}/{name}"));
            }
            if let Some(life) = lives.iter_mut().find(|life| life.uid == of) {
                life.places.insert(cluster.clone());
                *life.copies.entry(uid).or_default() |= ended(&copy).is_some();
            }
        }
    }
    if let Some((uid, places)) = running.iter().find(|(_, places)| places.len() > 1) {
        return Err(format!("{uid} runs twice at once: {}", places.join(", ")));
    }
    for (wanted, life) in wanted.iter().zip(lives.iter_mut()) {
        if life.copies.len() > 1 + life.excused {
            return Err(format!("{} was started {} times", wanted.name, life.copies.len()));
        }
        if let Some(job) = home(world, wanted)
            && job.metadata.uid.as_deref() == Some(life.uid.as_str())
        {
            let target = annotation(&job, control::TARGET_ANNOTATION).and_then(|c| ClusterId::new(c).ok());
            life.places.extend(target.filter(|_| annotation(&job, control::COPY_ANNOTATION).is_some()));
            uninterrupted(wanted, life, &job)?;
        }
    }
    Ok(())
}

/// A run in place that was not to be interrupted goes on until it ends.
fn uninterrupted(wanted: &Wanted, life: &mut Life, job: &Job) -> Result<(), String> {
    if wanted.managed || wanted.interruptible || life.meddled {
        return Ok(());
    }
    let started = job.status.as_ref().and_then(|s| s.start_time.clone()).map(|t| Instant::from_jiff(t.0));
    let before = std::mem::replace(&mut life.started, started);
    match before {
        Some(before) if started != Some(before) => {
            Err(format!("{} was interrupted: started at {before}, now {started:?}", wanted.name))
        }
        _ => Ok(()),
    }
}

/// Held when everything has had time to end: every Job is done, mirrored, accounted for, and in time.
pub fn at_the_end(
    world: &World,
    wanted: &Wanted,
    life: &Life,
    ledger: Option<&BTreeMap<String, ledger::Entry>>,
) -> Result<(), String> {
    let name = &wanted.name;
    let job = home(world, wanted).ok_or_else(|| format!("{name} is lost"))?;
    if end(&job).is_none() {
        return Err(format!("{name} never ended: {:?}", job.status));
    }
    if ended(&job) != Some(wanted.succeeds) {
        return Err(format!("{name} ended {:?}, expected {}", ended(&job), wanted.succeeds));
    }
    // Without any signal nobody knows what it saved.
    if let Some(ledger) = ledger.filter(|_| !life.freed) {
        accounted(name, life, &job, ledger)?;
    }
    if wanted.managed { mirrored(world, life, &job) } else { Ok(()) }
}

/// Held of every plan when it is made: at no time is more promised to Jobs that wait than is left beside those that
/// have started, and nothing to any in a cluster that does not answer.
pub fn promises(view: &View, packing_percent: i64) -> Result<(), String> {
    for cluster in &view.clusters {
        let id = &cluster.facts.id;
        let here: Vec<&JobView> = view.jobs.iter().filter(|job| job.cluster.as_ref() == Some(id)).collect();
        let waits = |job: &JobView| matches!(job.phase, JobPhase::Held | JobPhase::Paused);
        let most = cluster.allocatable.cpu.as_nanos() / 100 * packing_percent;
        let starts = here.iter().flat_map(|job| &job.planned).map(|run| run.from.max(view.at));
        for at in starts.collect::<BTreeSet<Instant>>() {
            let runs = |run: &RunView| run.from.max(view.at) <= at && run.to.is_none_or(|to| at < to);
            let then: Vec<&&JobView> = here.iter().filter(|job| job.planned.iter().any(runs)).collect();
            if !then.iter().any(|job| waits(job)) {
                continue;
            }
            let all: i64 = then.iter().map(|job| job.demand.cpu.as_nanos()).sum();
            if all > most {
                let names: Vec<String> = then.iter().map(|j| format!("{} ({:?})", j.key, j.phase)).collect();
                return Err(format!(
                    "at {at} {all} of {most} ncores are promised in {id}: {}",
                    names.join(", ")
                ));
            }
            let lost = |job: &&&JobView| job.phase == JobPhase::Held && job.key.cluster != *id;
            if let Some(job) = then.iter().find(|job| lost(job)).filter(|_| !cluster.reachable) {
                return Err(format!("{} is planned in {id}, which does not answer", job.key));
            }
        }
    }
    Ok(())
}

/// The Job says what its line of the ledger says.
fn accounted(
    name: &str,
    life: &Life,
    job: &Job,
    ledger: &BTreeMap<String, ledger::Entry>,
) -> Result<(), String> {
    let entry = ledger.get(&format!("job/{}", life.uid));
    let entry = entry.ok_or_else(|| format!("{name} has no line in the ledger"))?;
    let saved = fleet::quantity::significant(entry.saved_carbon().as_grams_f64());
    let said = annotation(job, control::SAVED_ANNOTATION);
    if said == Some(&saved) { Ok(()) } else { Err(format!("{name} says {said:?}, the ledger {saved}")) }
}

/// The home Job says what its copy does.
fn mirrored(world: &World, life: &Life, job: &Job) -> Result<(), String> {
    let of_it = |copy: &Job| label(copy, control::ORIGIN_UID_LABEL) == Some(&life.uid);
    let all: Vec<Job> = world.clusters().flat_map(|c| jobs(world, c)).filter(of_it).collect();
    let [copy] = &all[..] else { return Err(format!("{} copies at the end", all.len())) };
    let (ours, theirs) = (job.status.clone().unwrap_or_default(), copy.status.clone().unwrap_or_default());
    let same = (&ours.completion_time, ours.succeeded, ours.failed, ours.active.unwrap_or(0))
        == (&theirs.completion_time, theirs.succeeded, theirs.failed, 0);
    if same && ended(job) == ended(copy) { Ok(()) } else { Err(format!("home {ours:?}, copy {theirs:?}")) }
}

/// A Job that could have been in time is late by no more than what kept it from being started.
pub fn in_time(
    world: &World,
    wanted: &Wanted,
    life: &Life,
    outages: &BTreeMap<ClusterId, Outages>,
) -> Result<(), String> {
    let Some(end) = home(world, wanted).as_ref().and_then(end) else {
        return Err(format!("{} never ended", wanted.name));
    };
    let Some((deadline, known)) = life.deadline.filter(|_| !life.meddled && life.excused == 0) else {
        return Ok(());
    };
    let safe = control::guard::safe_duration(wanted.expected, &Policy::default());
    let latest = deadline - safe;
    if known > latest {
        return Ok(());
    }
    let from = latest.min(known) - FAILURE_COSTS;
    let kept = [&wanted.home].into_iter().chain(&life.places).collect::<BTreeSet<_>>();
    let kept = kept.into_iter().filter_map(|c| outages.get(c)).map(|o| o.within(from, end));
    let allowed = kept.fold(life.cost + ROUNDING, |sum, part| sum + part);
    if end <= deadline + allowed {
        return Ok(());
    }
    Err(format!("{} ended at {end}, deadline {deadline}, {allowed} for faults", wanted.name))
}

/// Held when every Job was deleted: nothing of ours is left.
pub fn nothing_left(world: &World) -> Result<(), String> {
    for cluster in world.clusters() {
        if let Some(job) = jobs(world, cluster).first() {
            let meta = &job.metadata;
            return Err(format!("left behind in {cluster}: {:?} {:?}", meta.name, meta.finalizers));
        }
        let pods = world.objects(cluster).unwrap().count(Kind::Pod);
        if pods > 0 {
            return Err(format!("{pods} pods left behind in {cluster}"));
        }
    }
    Ok(())
}
