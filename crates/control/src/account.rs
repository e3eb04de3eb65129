//! Ledger lines of finished Jobs, and the sentences their owners read.

use crate::effect::Effect;
use crate::jobs::{self, Tracked};
use crate::notices::Tone;
use crate::state::{Control, CopyKey};
use fleet::{ClusterId, Instant, Mode, Span};
use ledger::{Account, Entry, Place, Run};
use std::collections::BTreeMap;

impl Control {
    /// The ledger line of a finished Job, handed over once; `None` while something it needs is missing
    /// (its copy has not been listed yet, say).
    pub(crate) fn account(&mut self, tracked: &Tracked) -> Option<Entry> {
        let succeeded = tracked.finished()?;
        if let Some(entry) = self.jobs.get(&tracked.key).and_then(|t| t.accounted.as_deref()) {
            return Some(entry.clone());
        }
        let cluster = self.work_place(tracked);
        if self.clusters.get(&cluster).is_some_and(|c| !c.synced) {
            return None;
        }
        let executed = self.executing(tracked).or_else(|| {
            // The copy is gone already: the home Job carries start and end of its last run.
            Some(tracked.job.clone())
        })?;
        let finished = jobs::finish_time(&executed).or_else(|| jobs::finish_time(&tracked.job))?;
        let mut runs: Vec<Run> = Vec::new();
        for (from, to) in jobs::earlier_runs(&executed) {
            runs.push(Run { cluster: cluster.clone(), from, to });
        }
        if let Some(from) = self.begun(tracked, &executed).map(|begun| begun.mean)
            && runs.last().is_none_or(|last| last.to <= from)
        {
            runs.push(Run { cluster: cluster.clone(), from, to: finished.max(from) });
        }
        let length = runs.iter().map(|run| run.to - run.from).fold(Span::ZERO, |a, b| a + b);
        let asked = tracked.asked();
        let baseline = (tracked.pods() != asked.parallelism)
            .then(|| (tracked.pod.times(asked.parallelism), tracked.as_asked(length, tracked.pods())));
        let places = self.places();
        let data_at = tracked.contract.data.as_ref().map_or(&cluster, |data| &data.at);
        let account = Account {
            job: tracked.key.clone(),
            uid: jobs::uid(&tracked.job).to_owned(),
            recorded: self.now,
            created: tracked.created,
            finished,
            deadline: tracked.contract.deadline,
            succeeded,
            demand: tracked.demand(),
            baseline,
            data: tracked.contract.data.clone(),
            runs,
            places: &places,
            transfer_kwh_per_gb: self.transfer_kwh_per_gb(data_at, &cluster),
            transfer_price_per_gb: self.settings.transfer_price_per_gb,
        };
        let entry = ledger::account(&account).ok()?;
        if let Some(known) = self.jobs.get_mut(&tracked.key) {
            known.accounted = Some(std::sync::Arc::new(entry.clone()));
            if succeeded {
                self.learnt.take_in(jobs::stem(&tracked.job), entry.baseline.to - entry.baseline.from);
            }
            self.recent.take_in(&entry);
            self.out.push(Effect::Ledger(Box::new(entry.clone())));
        }
        Some(entry)
    }

    /// Rates and actual intensity of every cluster that has a signal.
    fn places(&self) -> BTreeMap<ClusterId, Place> {
        let place = |c: &crate::clusters::Cluster| {
            let signal = c.signal.as_ref()?;
            Some(Place {
                rates: c.rates(self.settings.policy.embodied),
                intensity: signal.actual.clone(),
                provenance: signal.actual_from.clone(),
            })
        };
        self.clusters.iter().filter_map(|(id, c)| Some((id.clone(), place(c)?))).collect()
    }

    /// Why a held or paused Job waits, for its `Suspended` condition.
    pub(crate) fn waiting_sentence(&self, tracked: &Tracked) -> String {
        let paused = self.progress(tracked).paused;
        let verb = if paused { "paused" } else { "held" };
        let latest = self.latest_start(tracked).map(Instant::to_rfc3339_seconds);
        let next = self.assignment(&tracked.key).and_then(|a| {
            let run = a.runs.iter().find(|run| run.to > self.now)?;
            Some(format!("planned for {} in {}", run.from.to_rfc3339_seconds(), a.cluster))
        });
        let next = next.or_else(|| {
            let schedule = self.schedule.as_ref()?;
            schedule.unplaced.iter().find(|u| u.key == tracked.key).map(|u| u.reason.clone())
        });
        let next = next.unwrap_or_else(|| "not planned yet".to_owned());
        if self.mode(&tracked.key.cluster) == Mode::Observe {
            let latest = latest.map(|at| format!("; to be in time it has to be started by {at}"));
            let latest = latest.unwrap_or_default();
            return format!("{verb}, and in mode observe nothing is started from here: {next}{latest}");
        }
        let scarce = if self.scarce { "; room is scarce, so it starts as soon as it can" } else { "" };
        let (asks, latest) = match (self.awaits_yes(tracked), latest) {
            (true, Some(at)) => {
                ("waits for a yes; ", format!("; latest safe start {at}, then without a yes"))
            }
            (true, None) => ("waits for a yes; ", "; it has no deadline: without a yes it stays".to_owned()),
            (false, Some(at)) => ("", format!("; latest safe start {at}")),
            (false, None) => ("", String::new()),
        };
        format!("{verb} by Kuber Carbon: {asks}{next}{scarce}{latest}")
    }

    /// Whether a person has to say yes before it is started, or it has no time left.
    pub(crate) fn awaits_yes(&self, tracked: &Tracked) -> bool {
        let asked = self.mode(&tracked.key.cluster) == Mode::Approve;
        asked && !tracked.approved && !tracked.released
    }

    /// Tells why a Job waits, when its plan is new to it.
    pub(crate) fn tell_waiting(&mut self, tracked: &Tracked) {
        let key = &tracked.key;
        let unplaced = self.schedule.as_ref().and_then(|s| s.unplaced.iter().find(|u| u.key == *key));
        if let Some(text) = unplaced.map(|u| u.reason.clone()) {
            self.tell(key, Tone::Warning, "Unplaceable", &text);
        }
        let Some(assignment) = self.assignment(key) else { return };
        let planned = (assignment.cluster.to_string(), assignment.start().to_rfc3339_seconds());
        let written = |name: &str| jobs::annotation(&tracked.job, name);
        if written(jobs::TARGET_ANNOTATION) == Some(&planned.0)
            && written(jobs::PLANNED_START_ANNOTATION) == Some(&planned.1)
        {
            return;
        }
        let carbon = assignment.footprint.carbon;
        let at_once = match self.run_now(tracked, &key.cluster).map(|home| home.carbon) {
            Some(grams) if grams > carbon => format!(", against {grams} at once at home"),
            Some(grams) if !self.has_room(tracked, &key.cluster) => {
                format!("; at once at home ({grams}) there is no room")
            }
            _ => String::new(),
        };
        let pods = match (assignment.parallelism, tracked.asked().parallelism) {
            (pods, asked) if pods != asked && tracked.committed().is_none() => {
                let pods = fleet::quantity::counted(pods as f64, "pod", "pods");
                format!(", {pods} at a time instead of {asked}")
            }
            _ => String::new(),
        };
        let text =
            format!("planned for {} in {}{pods}: forecast {carbon} CO2e{at_once}", planned.1, planned.0);
        self.tell(key, Tone::Normal, "Planned", &text);
    }

    pub(crate) fn tell_started(&mut self, tracked: &Tracked, place: &CopyKey) {
        let context =
            self.clusters.get(&place.0).map_or_else(|| place.0.to_string(), |c| c.facts.context.clone());
        let (cluster, namespace, name) = place;
        let text = format!(
            "started in {cluster} as {name}; logs: kubectl --context {context} -n {namespace} logs job/{name}"
        );
        self.tell(&tracked.key, Tone::Normal, "Started", &text);
    }

    pub(crate) fn tell_saved(&mut self, tracked: &Tracked, entry: &Entry) {
        let saved = entry.saved_carbon();
        let place = entry.cluster();
        let word = if saved >= fleet::GramsCo2::ZERO { "saved" } else { "spent" };
        let amount = if saved >= fleet::GramsCo2::ZERO { saved } else { -saved };
        let cost = |money: fleet::Money| fleet::quantity::significant(money.as_units_f64());
        let text = format!(
            "{} in {place}: {word} {amount} CO2e of {}{} against at once at home ({}); it cost {} {} instead of {}",
            if entry.succeeded { "completed" } else { "failed" },
            entry.baseline.footprint.carbon,
            if entry.counts_embodied() { ", embodied included," } else { "" },
            kind_word(entry.provenance().kind),
            cost(entry.actual.cost),
            self.settings.currency,
            cost(entry.baseline.footprint.cost)
        );
        self.tell(&tracked.key, Tone::Normal, "Accounted", &text);
    }

    /// Tells the owner of a Job that is still there what it saved as it is known now; its annotation follows.
    pub(crate) fn tell_corrected(&mut self, entry: &Entry) {
        let there = self.jobs.get(&entry.job).is_some_and(|t| jobs::uid(&t.job) == entry.uid);
        if !there || !self.may_write(&entry.job.cluster) {
            return;
        }
        let why = entry.replaces.as_ref().map_or("", |replaces| replaces.why.as_str());
        let text = format!("saved {} CO2e against at once at home: {why}", entry.saved_carbon());
        self.tell(&entry.job, Tone::Normal, "Corrected", &text);
        self.dirty.insert(entry.job.clone());
    }

    /// What a Job saved as its annotation should say, where its line has been corrected.
    pub(crate) fn corrected_grams(&self, tracked: &Tracked) -> Option<String> {
        let entry = self.recent.latest(jobs::uid(&tracked.job)).filter(|entry| entry.replaces.is_some())?;
        Some(fleet::quantity::significant(entry.saved_carbon().as_grams_f64()))
    }

    /// A finished run's interval for display: start and end, the latest run last.
    pub(crate) fn run_intervals(&self, tracked: &Tracked) -> Vec<(Instant, Option<Instant>)> {
        let Some(job) = self.executing(tracked) else { return Vec::new() };
        let mut runs: Vec<_> =
            jobs::earlier_runs(&job).into_iter().map(|(from, to)| (from, Some(to))).collect();
        if !jobs::suspended(&job)
            && let Some(from) = self.begun(tracked, &job).map(|begun| begun.mean)
        {
            runs.push((from, jobs::finish_time(&job)));
        }
        runs
    }
}

/// As people read it.
fn kind_word(kind: fleet::SignalKind) -> &'static str {
    match kind {
        fleet::SignalKind::Measured => "measured intensity",
        fleet::SignalKind::Forecast => "forecast intensity",
        fleet::SignalKind::Estimated => "estimated intensity",
        fleet::SignalKind::Assumed => "assumed intensity",
    }
}
