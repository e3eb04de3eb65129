//! The copies there are, by place and by the Job they were made of, and what becomes of those nobody waits for.
//!
//! A copy is *ours to delete* only when its original is gone, or has its copy elsewhere. Either is known from watches,
//! which may be behind: so the original is read anew first, and a copy whose original says that it belongs there
//! stays. A copy whose original knows of none is taken up where it is: its work counts.

use crate::clusters::Cluster;
use crate::effect::ApiCall;
use crate::event::{Failure, Outcome};
use crate::job::Job;
use crate::jobs::{self, Tracked};
use crate::state::{Control, CopyKey, Purpose};
use fleet::{ClusterId, Instant, JobKey, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long after a copy was looked into it is looked into again, when it is still there and nobody's.
const ASK_AGAIN: Span = Span::from_seconds(60);
/// How often all are looked into, whatever happened.
const ALL_EVERY: Span = Span::HOUR;
/// How long after a failed attempt.
const AFTER_FAILURE: Span = Span::from_seconds(30);
/// Digits of a copy's name and the dash before them.
const NAME_TAIL: usize = 9;

/// Home cluster and uid of an original.
type Origin = (ClusterId, String);

/// Every copy seen, by its place and by its original, and which of them somebody may not wait for any more.
///
/// Invariant: a copy that is new, or whose original went or says another place, is a suspect until it is looked into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copies {
    at: BTreeMap<CopyKey, Arc<Job>>,
    of: BTreeMap<Origin, BTreeSet<CopyKey>>,
    suspects: BTreeSet<CopyKey>,
    /// When all were looked into.
    all_at: Option<Instant>,
}

/// Where a copy's original lives, and its uid.
fn origin(copy: &Job) -> Option<Origin> {
    let cluster = ClusterId::new(jobs::label(copy, jobs::ORIGIN_CLUSTER_LABEL)?).ok()?;
    Some((cluster, jobs::label(copy, jobs::ORIGIN_UID_LABEL)?.to_owned()))
}

/// The original's name: as written on the copy, else the copy's own without what was added to it.
fn origin_name(copy: &Job) -> String {
    let name = copy.metadata.name.as_deref().unwrap_or_default();
    let cut = || name.get(..name.len().saturating_sub(NAME_TAIL)).unwrap_or_default();
    jobs::annotation(copy, jobs::ORIGIN_NAME_ANNOTATION).unwrap_or_else(cut).to_owned()
}

impl Copies {
    pub fn get(&self, place: &CopyKey) -> Option<&Arc<Job>> {
        self.at.get(place)
    }
    pub fn insert(&mut self, place: CopyKey, copy: Arc<Job>) {
        if !self.remove(&place) {
            self.suspects.insert(place.clone());
        }
        if let Some(origin) = origin(&copy) {
            self.of.entry(origin).or_default().insert(place.clone());
        }
        self.at.insert(place, copy);
    }
    /// Whether there was one.
    pub fn remove(&mut self, place: &CopyKey) -> bool {
        let Some(old) = self.at.remove(place) else { return false };
        if let Some(origin) = origin(&old)
            && let Some(places) = self.of.get_mut(&origin)
        {
            places.remove(place);
            if places.is_empty() {
                self.of.remove(&origin);
            }
        }
        true
    }
    /// An original changed or is gone: its copies are to be looked into.
    pub fn suspect_of(&mut self, origin: &Origin) {
        self.suspects.extend(self.of.get(origin).into_iter().flatten().cloned());
    }
    /// All are to be looked into.
    pub fn suspect_all(&mut self) {
        self.all_at = None;
    }
    /// Those that are to be looked into, and `others`.
    fn take_suspects(&mut self, others: Vec<CopyKey>, now: Instant) -> Vec<(CopyKey, Arc<Job>)> {
        let mut some = std::mem::take(&mut self.suspects);
        let pair = |(place, copy): (&CopyKey, &Arc<Job>)| (place.clone(), copy.clone());
        if self.all_at.is_none_or(|at| now - at >= ALL_EVERY) {
            self.all_at = Some(now);
            return self.at.iter().map(pair).collect();
        }
        some.extend(others);
        some.iter().filter_map(|place| self.at.get_key_value(place)).map(pair).collect()
    }
    /// The copies of an original.
    fn of(&self, origin: &Origin) -> impl Iterator<Item = (&CopyKey, &Arc<Job>)> {
        let places = self.of.get(origin).into_iter().flatten();
        places.filter_map(|place| Some((place, self.at.get(place)?)))
    }
}

impl Control {
    /// A copy of a Job that knows of none: it was written down by who lost the word, or its marks were taken off by
    /// hand.
    pub(crate) fn unknown_copy(&self, tracked: &Tracked) -> Option<ClusterId> {
        let origin = (tracked.key.cluster.clone(), jobs::uid(&tracked.job).to_owned());
        let name = jobs::copy_name(&tracked.job);
        let here = |place: &CopyKey| place.1 == tracked.key.namespace.as_str() && place.2 == name;
        let mut all = self.copies.of(&origin).filter(|(place, copy)| here(place) && !jobs::deleting(copy));
        all.find(|(place, _)| self.may_write(&place.0)).map(|(place, _)| place.0.clone())
    }

    /// Looks into copies that nobody waits for, one call each: their originals are read first. A copy whose home only
    /// bears the name of one of our clusters is another fleet's, and its work stays.
    pub(crate) fn sweep(&mut self) {
        let now = self.now;
        let again: Vec<CopyKey> =
            self.sweeping.extract_if(.., |_, retry| *retry <= now).map(|(place, _)| place).collect();
        for (place, copy) in self.copies.take_suspects(again, now) {
            // One that was looked into just now is looked into again when its time comes.
            let due = !self.sweeping.contains_key(&place);
            if !(due && self.may_write(&place.0) && self.nobody_waits(&place, &copy)) {
                continue;
            }
            let Some((home, _)) = origin(&copy) else { continue };
            self.sweeping.insert(place.clone(), self.now + ASK_AGAIN);
            let (namespace, name) = (place.1.clone(), origin_name(&copy));
            self.call(Purpose::Confirm(place), home, ApiCall::ReadJob { namespace, name });
        }
    }

    /// Whether, as far as is known, a copy's original is gone, or has its copy elsewhere.
    fn nobody_waits(&self, place: &CopyKey, copy: &Job) -> bool {
        let Some(from) = origin(copy).filter(|_| !jobs::deleting(copy)) else { return false };
        let stated = jobs::label(copy, jobs::ORIGIN_CLUSTER_UID_LABEL);
        let same = |c: &Cluster| c.facts.uid.is_none() || c.facts.uid.as_deref() == stated;
        let listed = self.clusters.get(&from.0).is_some_and(|c| c.reachable && c.synced && same(c));
        listed && self.original(&from).is_none_or(|tracked| elsewhere(&tracked.job, place))
    }

    fn original(&self, from: &Origin) -> Option<&Tracked> {
        self.jobs.get(self.by_uid.get(from)?)
    }

    /// The original of a copy was read anew.
    pub(crate) fn confirmed(&mut self, place: CopyKey, result: Result<Outcome, Failure>) {
        let Some(copy) = self.copies.get(&place).cloned() else { return };
        let Some((home, uid)) = origin(&copy) else { return };
        let gone = match result {
            Ok(Outcome::Job(answer)) if jobs::uid(&answer.job) == uid => {
                let elsewhere = elsewhere(&answer.job, &place);
                self.take_in_job(&home, answer.job);
                elsewhere
            }
            Ok(Outcome::Job(_)) => true,
            Err(Failure::Refused { code: 404, .. }) => true,
            _ => {
                self.sweeping.insert(place, self.now + AFTER_FAILURE);
                return;
            }
        };
        if gone && self.may_write(&place.0) {
            let key = self.by_uid.get(&(home, uid)).map_or_else(|| place_text(&place), JobKey::to_string);
            self.note(key, "delete copy", format!("nobody waits for {} in {}", place.2, place.0));
            let (cluster, namespace, name) = place.clone();
            let uid = jobs::uid(&copy).to_owned();
            self.call(Purpose::Sweep(place), cluster, ApiCall::DeleteJob { namespace, name, uid });
        }
    }

    /// A copy could not be deleted.
    pub(crate) fn sweep_failed(&mut self, place: CopyKey) {
        self.sweeping.insert(place, self.now + AFTER_FAILURE);
    }
}

/// Whether a Job says that its copy is, or may be, in another place than this one.
fn elsewhere(home: &Job, place: &CopyKey) -> bool {
    let (cluster, name) =
        (jobs::annotation(home, jobs::TARGET_ANNOTATION), jobs::annotation(home, jobs::COPY_ANNOTATION));
    name.is_some_and(|name| name != place.2 || cluster != Some(place.0.as_str()))
}

fn place_text((cluster, namespace, name): &CopyKey) -> String {
    format!("{cluster}/{namespace}/{name}")
}
