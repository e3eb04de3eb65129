//! The accounts of clusters: hours closed on time, lines corrected when carbon comes to be known better.
//!
//! Invariants: an hour is closed at its end and at an orderly stop, exactly once a version; while a cluster does not answer, or
//! nobody looked for longer than [`Settings::unseen_after`](crate::Settings), nothing is counted. A line handed over is never
//! changed: what is learnt later is a line of its own ([`ledger::usage`], [`ledger::correction`]). After a restart the hour
//! goes on from its stored line.

use crate::clusters::{Cluster, Signal};
use crate::effect::Effect;
use crate::shared::Shared;
use crate::state::Control;
use fleet::{ClusterId, GramsCo2PerKwh, GridZone, Instant, Provenance, Span};
use ledger::Labels;
use ledger::allocation::{Allocation, Hour, Owner, Stretch, Work};
use ledger::correction::{Known, VERSIONS_MAX, corrected};
use ledger::meter::Amounts;
use ledger::usage::{CarbonCorrection, Heading, HourEntry, HourLine, Replaces, carbon_at, hour_id};
use ledger::{Entry, take_in};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far back lines are corrected: providers revise their figures for days, not for weeks.
pub const CORRECTED_WITHIN: Span = Span::from_seconds(7 * 86_400);
/// Most Jobs' lines kept to be corrected.
const ENTRIES_MAX: usize = 10_000;
/// Most hours of one cluster kept to be corrected, and recalled after a restart.
const HEADS_MAX: usize = 7 * 24;

/// What is kept of a line that may be corrected.
#[derive(Clone, Debug)]
struct Head {
    id: String,
    version: u32,
    seen: Vec<Stretch>,
    intensity: GramsCo2PerKwh,
    from: Provenance,
    total: Amounts,
}

/// One cluster's account.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub running: Allocation,
    /// When the hour under way began.
    hour: Instant,
    /// The line of this hour that an earlier process wrote, which it goes on from.
    before: Option<(u32, String)>,
    heads: BTreeMap<Instant, Head>,
    /// The latest report of use is too old.
    pub stale: bool,
    works: Shared<Work>,
    labels: Shared<Labels>,
    /// Names of namespaces, of labels and their values, of owners and their kinds: few, and in each piece of work.
    names: Shared<str>,
}

impl Books {
    pub fn new(pue_milli: i64, now: Instant) -> Books {
        let mut running = Allocation::new(pue_milli);
        running.advance(now);
        Books {
            running,
            hour: now.floor_to(Span::HOUR),
            before: None,
            heads: BTreeMap::new(),
            stale: false,
            works: Shared::default(),
            labels: Shared::default(),
            names: Shared::default(),
        }
    }

    /// One copy of each piece of work, and of each set of labels, for all pods that have it.
    pub fn work(&mut self, namespace: &str, owner: Owner, labels: Labels) -> Arc<Work> {
        let (known, names) = (self.labels.get(&labels), &mut self.names);
        let labels = known.unwrap_or_else(|| {
            let share = |(key, value): (&Arc<str>, &Arc<str>)| (names.share(key), names.share(value));
            self.labels.share(&Arc::new(labels.iter().map(share).collect()))
        });
        let work = Work { namespace: Arc::from(namespace), owner, labels };
        self.works.get(&work).unwrap_or_else(|| {
            let Work { namespace, owner, labels } = work;
            let owner = Owner { kind: names.share(&owner.kind), name: names.share(&owner.name) };
            self.works.share(&Arc::new(Work { namespace: names.share(&namespace), owner, labels }))
        })
    }

    /// When the hour under way ends.
    fn ends(&self) -> Instant {
        self.hour + Span::HOUR
    }

    fn prune(&mut self, now: Instant) {
        self.heads.retain(|hour, _| *hour >= now - CORRECTED_WITHIN);
        while self.heads.len() > HEADS_MAX {
            self.heads.pop_first();
        }
    }

    fn remember(&mut self, entry: &HourEntry) {
        let head = Head {
            id: entry.id.clone(),
            version: entry.version,
            seen: entry.seen.clone(),
            intensity: entry.intensity,
            from: entry.intensity_from.clone(),
            total: entry.total(),
        };
        self.heads.insert(entry.hour, head);
    }
}

/// Mean of a series over the time that was seen.
fn mean(series: &fleet::Series, seen: &[Stretch]) -> Option<GramsCo2PerKwh> {
    let span: i128 = seen.iter().map(|s| i128::from((s.to - s.from).as_nanos())).sum();
    let dose: i128 = seen.iter().map(|s| series.dose(s.from, s.to)).sum();
    (span > 0).then(|| GramsCo2PerKwh::from_milligrams(((dose + span / 2) / span) as i64))
}

/// Whether a signal says more of that time than what a line was made from.
fn betters(signal: &Signal, head_from: &Provenance, seen: &[Stretch]) -> bool {
    let known = Known { actual: &signal.actual, from: &signal.actual_from };
    let (first, last) = (seen.first(), seen.last());
    first.zip(last).is_some_and(|(first, last)| known.betters(head_from, first.from, last.to))
}

impl Cluster {
    fn heading(
        &self,
        hour: Instant,
        version: u32,
        replaces: Option<Replaces>,
        now: Instant,
    ) -> Option<Heading> {
        Some(Heading {
            cluster: self.facts.id.clone(),
            hour,
            version,
            replaces,
            recorded: now,
            intensity_from: self.signal.as_ref()?.actual_from.clone(),
            use_from: self.use_from().cloned(),
        })
    }

    fn line(&self, hour: Hour, now: Instant) -> Option<HourEntry> {
        let (version, replaces) = match &self.books.before {
            Some((version, id)) => {
                let why = "the hour went on after a restart".to_owned();
                (version + 1, Some(Replaces { id: id.clone(), why }))
            }
            None => (1, None),
        };
        let heading = self.heading(self.books.hour, version, replaces, now)?;
        let entry = HourEntry::new(heading, hour);
        // The signal may have come a moment after its hour began: the line says what is known by now.
        let signal = self.signal.as_ref()?;
        let known =
            mean(&signal.actual, &entry.seen).filter(|_| betters(signal, &signal.actual_from, &entry.seen));
        Some(match known {
            Some(known) if known != entry.intensity => entry.at(known),
            _ => entry,
        })
    }

    /// The hour under way, as it would be written now.
    pub fn running_hour(&self, now: Instant) -> Option<HourEntry> {
        self.line(self.books.running.hour(now)?, now)
    }

    /// Closes what is under way at `at`, the end of the hour or of the process.
    fn close_hour(&mut self, at: Instant) -> Option<HourEntry> {
        let hour = self.books.running.close(at);
        let line = hour.and_then(|hour| self.line(hour, at));
        if let Some(line) = &line {
            self.books.remember(line);
            // Should it go on after all, the next line replaces this one.
            self.books.before = Some((line.version, line.id.clone()));
        }
        self.books.prune(at);
        line
    }

    /// Goes on from the line of the hour under way that an earlier process wrote.
    fn recall(&mut self, entry: &HourEntry, now: Instant) {
        self.books.remember(entry);
        if entry.hour == now.floor_to(Span::HOUR) {
            self.books.hour = entry.hour;
            self.books.before = Some((entry.version, entry.id.clone()));
            self.books.running.resume(&entry.to_hour());
        }
    }

    /// Lines whose intensity the present signal knows better.
    fn corrections(&mut self, now: Instant) -> Vec<HourLine> {
        let Some(signal) = &self.signal else { return Vec::new() };
        let mut lines = Vec::new();
        for (hour, head) in &mut self.books.heads {
            // The hour under way is written anew anyway.
            if *hour == self.books.hour
                || head.version >= VERSIONS_MAX
                || !betters(signal, &head.from, &head.seen)
            {
                continue;
            }
            let Some(known) = mean(&signal.actual, &head.seen).filter(|known| *known != head.intensity)
            else {
                continue;
            };
            let (version, carbon) = (head.version + 1, carbon_at(&head.total, head.intensity, known));
            let why =
                format!("the intensity of this hour is known better now, from {}", signal.actual_from.source);
            let line = CarbonCorrection {
                id: hour_id(&self.facts.id, *hour, version),
                cluster: self.facts.id.clone(),
                hour: *hour,
                version,
                replaces: Replaces { id: head.id.clone(), why },
                recorded: now,
                intensity: known,
                intensity_from: signal.actual_from.clone(),
                carbon: (head.total.carbon, carbon),
            };
            (head.id, head.version) = (line.id.clone(), version);
            (head.intensity, head.from) = (known, line.intensity_from.clone());
            head.total.carbon = carbon;
            lines.push(HourLine::Carbon(Box::new(line)));
        }
        lines
    }
}

/// Lines of Jobs that may be corrected, the latest version of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    entries: Vec<Entry>,
    place: BTreeMap<String, usize>,
}

impl Recent {
    pub fn take_in(&mut self, entry: &Entry) {
        if self.entries.len() >= 2 * ENTRIES_MAX {
            self.keep(|_| true);
        }
        take_in(&mut self.entries, &mut self.place, entry.clone());
    }

    /// The latest version of a Job's line.
    pub fn latest(&self, uid: &str) -> Option<&Entry> {
        self.place.get(&format!("job/{uid}")).map(|at| &self.entries[*at])
    }

    /// Forgets what is not wanted, and of the rest all but the newest.
    fn keep(&mut self, wanted: impl Fn(&Entry) -> bool) {
        let kept: Vec<Entry> = std::mem::take(&mut self.entries).into_iter().filter(|e| wanted(e)).collect();
        self.place.clear();
        let first = kept.len().saturating_sub(ENTRIES_MAX);
        kept.into_iter().skip(first).for_each(|entry| take_in(&mut self.entries, &mut self.place, entry));
    }
}

impl Control {
    /// Closes every hour that has ended by now, at its end; and says where nobody looked for too long.
    pub(crate) fn keep_books(&mut self, before: Instant) {
        let now = self.now;
        let unseen = self.settings.unseen_after.is_some_and(|most| now - before > most);
        let mut lines = Vec::new();
        for cluster in self.clusters.values_mut() {
            if unseen {
                cluster.advance(before);
                cluster.books.running.see(false);
            }
            while cluster.books.ends() <= now {
                let end = cluster.books.ends();
                lines.extend(cluster.close_hour(end));
                cluster.books.before = None;
                cluster.books.hour = end;
            }
            cluster.advance(now);
            if unseen {
                cluster.look();
            }
            cluster.forget_stale_usage(now);
        }
        self.hand_over(lines.into_iter().map(|entry| HourLine::Whole(Box::new(entry))));
    }

    fn hand_over(&mut self, lines: impl IntoIterator<Item = HourLine>) {
        self.out.extend(lines.into_iter().map(|line| Effect::Usage(Box::new(line))));
    }

    /// When the next hour ends, if any cluster has an account.
    pub(crate) fn hour_ends(&self) -> Option<Instant> {
        self.clusters.values().map(|cluster| cluster.books.ends()).min()
    }

    /// Orderly stop: what the hours under way came to by `now`, to be written down.
    pub fn stop(&mut self, now: Instant) -> Vec<HourLine> {
        let before = self.now;
        self.now = self.now.max(now);
        self.keep_books(before);
        let now = self.now;
        let open: Vec<HourEntry> = self.clusters.values_mut().filter_map(|c| c.close_hour(now)).collect();
        let whole = |entry| HourLine::Whole(Box::new(entry));
        let closed = std::mem::take(&mut self.out).into_iter().filter_map(|effect| match effect {
            Effect::Usage(line) => Some(*line),
            _ => None,
        });
        closed.chain(open.into_iter().map(whole)).collect()
    }

    /// What an earlier process wrote of an hour, as it is known last: goes on from it, and corrects it when more is known. Hours
    /// come in order; only the last of a cluster may be gone on from, so of the others no more than the total is kept.
    pub fn recall(&mut self, entry: HourEntry) {
        let hours = self.recalled.entry(entry.cluster.clone()).or_default();
        if let Some(before) = hours.pop() {
            hours.push(before.to_total());
        }
        hours.push(entry);
    }

    /// Gives a cluster that has just come what was recalled of it.
    pub(crate) fn give_back(&mut self, id: &ClusterId) {
        let now = self.now;
        let (Some(entries), Some(cluster)) = (self.recalled.remove(id), self.clusters.get_mut(id)) else {
            return;
        };
        let recent = |entry: &&HourEntry| entry.hour >= now - CORRECTED_WITHIN && entry.hour <= now;
        entries.iter().filter(recent).for_each(|entry| cluster.recall(entry, now));
    }

    /// The hours under way, as they would be written now.
    pub fn running_hours(&self, now: Instant) -> Vec<HourEntry> {
        let now = now.max(self.now);
        self.clusters.values().filter_map(|cluster| cluster.running_hour(now)).collect()
    }

    /// A zone's past is known anew: lines it makes others are written again. When it is known for the first time, Jobs
    /// that have ended already get theirs.
    pub(crate) fn correct(&mut self, zone: &GridZone, first: bool) {
        if first {
            self.look_at_all();
        }
        let now = self.now;
        let mut lines = Vec::new();
        for cluster in self.clusters.values_mut().filter(|c| c.facts.grid_zone == *zone) {
            lines.extend(cluster.corrections(now));
        }
        self.hand_over(lines);
        self.recent.keep(|entry| entry.finished >= now - CORRECTED_WITHIN);
        let known = |id: &ClusterId| {
            let cluster = self.clusters.get(id).filter(|c| c.facts.grid_zone == *zone)?;
            let signal = cluster.signal.as_ref()?;
            Some(Known { actual: &signal.actual, from: &signal.actual_from })
        };
        let touched = |entry: &&Entry| {
            let there = |id: &ClusterId| self.clusters.get(id).is_some_and(|c| c.facts.grid_zone == *zone);
            there(&entry.job.cluster) || entry.runs.iter().any(|line| there(&line.run.cluster))
        };
        let anew =
            self.recent.entries.iter().filter(touched).filter_map(|entry| corrected(entry, now, known));
        let anew: Vec<Entry> = anew.collect();
        for entry in anew {
            self.recent.take_in(&entry);
            self.tell_corrected(&entry);
            self.out.push(Effect::Ledger(Box::new(entry)));
        }
    }
}
