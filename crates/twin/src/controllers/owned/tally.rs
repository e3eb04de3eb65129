//! What the pods of one owner come to, kept as they change.
//!
//! A look at a set of which one pod changed then costs what changed, and not all its pods. Invariant: a tally is what
//! counting the pods anew would give ([`Tally::of`]); each look asserts it where assertions are on.

use crate::controllers::is_terminal;
use crate::controllers::podcontrol::{is_active, ready_since};
use crate::controllers::scheduler::Labels;
use fleet::{Instant, Span};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;

/// What counts of one pod.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Part {
    /// Counts as a replica.
    active: bool,
    /// Is being deleted, and has not ended.
    terminating: bool,
    /// Since when it is ready, of one that counts.
    ready: Option<Instant>,
}

impl Part {
    fn of(pod: &Pod) -> Part {
        let active = is_active(pod);
        let terminating = pod.metadata.deletion_timestamp.is_some() && !is_terminal(pod);
        Part { active, terminating, ready: ready_since(pod).filter(|_| active) }
    }
}

/// Counts of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All, those that have ended included.
    all: usize,
    /// Those that count as replicas.
    pub(crate) active: usize,
    /// Those being deleted that have not ended.
    pub(crate) terminating: usize,
    /// Those of the active that are ready.
    pub(crate) ready: usize,
    /// How many of the active have been ready since when.
    since: BTreeMap<Instant, usize>,
}

impl Counts {
    fn add(&mut self, part: Part) {
        self.all += 1;
        self.active += usize::from(part.active);
        self.terminating += usize::from(part.terminating);
        if let Some(since) = part.ready {
            self.ready += 1;
            *self.since.entry(since).or_default() += 1;
        }
    }
    fn take(&mut self, part: Part) {
        self.all -= 1;
        self.active -= usize::from(part.active);
        self.terminating -= usize::from(part.terminating);
        if let Some(since) = part.ready {
            self.ready -= 1;
            if let Some(count) = self.since.get_mut(&since) {
                *count -= 1;
                if *count == 0 {
                    self.since.remove(&since);
                }
            }
        }
    }
    /// How many are available, having been ready for so long, and when the next will be.
    pub(crate) fn available(&self, min_ready: Span, now: Instant) -> (usize, Option<Instant>) {
        let (mut available, mut next) = (self.ready, None);
        for (since, count) in self.since.iter().rev() {
            let at = *since + min_ready;
            if at <= now {
                break;
            }
            available -= count;
            next = Some(at);
        }
        (available, next)
    }
}

/// Counts of pods by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<Labels, Counts>);

impl Tally {
    /// Counts pods.
    pub(crate) fn of<'a>(pods: impl Iterator<Item = &'a Pod>) -> Tally {
        let mut tally = Tally::default();
        pods.for_each(|pod| tally.change(None, Some(pod)));
        tally
    }
    /// Keeps up with a pod that comes, changes or goes.
    pub(super) fn change(&mut self, before: Option<&Pod>, after: Option<&Pod>) {
        if let (Some(before), Some(after)) = (before, after)
            && before.metadata.labels == after.metadata.labels
        {
            let (old, new) = (Part::of(before), Part::of(after));
            if old != new
                && let Some(counts) = self.counts(after)
            {
                counts.take(old);
                counts.add(new);
            }
            return;
        }
        if let Some(before) = before
            && let Some(counts) = self.counts(before)
        {
            counts.take(Part::of(before));
            if counts.all == 0 {
                self.0.remove(before.metadata.labels.as_ref().unwrap_or(&Labels::new()));
            }
        }
        if let Some(after) = after {
            match self.counts(after) {
                Some(counts) => counts.add(Part::of(after)),
                None => {
                    let labels = after.metadata.labels.clone().unwrap_or_default();
                    self.0.entry(labels).or_default().add(Part::of(after));
                }
            }
        }
    }
    /// The counts of pods labelled as this one.
    fn counts(&mut self, pod: &Pod) -> Option<&mut Counts> {
        match &pod.metadata.labels {
            Some(labels) => self.0.get_mut(labels),
            None => self.0.get_mut(&Labels::new()),
        }
    }
    /// The labels there are, with the counts of those that have them.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Labels, &Counts)> {
        self.0.iter()
    }
    /// A sum over all pods.
    pub(crate) fn sum(&self, count: impl Fn(&Counts) -> usize) -> usize {
        self.0.values().map(count).sum()
    }
    /// How many are available, having been ready for so long, and when the next will be.
    pub(crate) fn available(&self, min_ready: Span, now: Instant) -> (usize, Option<Instant>) {
        self.0.values().fold((0, None), |(sum, first), counts| {
            let (available, next) = counts.available(min_ready, now);
            (sum + available, first.into_iter().chain(next).min())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// A pod in one of the ways that count.
    fn pod((labels, phase, ready, deleting): (u8, u8, Option<u8>, bool)) -> Pod {
        let labels =
            [json!(null), json!({}), json!({"a": "b"}), json!({"a": "c"})][usize::from(labels)].clone();
        let at = |second: u8| format!("2026-01-01T00:00:{second:02}Z");
        let conditions: Vec<_> = ready
            .map(|second| json!({"type": "Ready", "status": "True", "lastTransitionTime": at(second)}))
            .into_iter()
            .collect();
        let phase = ["Pending", "Running", "Failed"][usize::from(phase)];
        serde_json::from_value(json!({
            "metadata": {"labels": labels, "deletionTimestamp": deleting.then(|| at(0))},
            "status": {"phase": phase, "conditions": conditions},
        }))
        .unwrap()
    }

    proptest! {
        /// Kept by change, it is what counting anew gives; availability is what each pod's own is.
        #[test]
        fn kept_is_counted(
            changes in prop::collection::vec((0usize..6, prop::option::of((0u8..4, 0u8..3, prop::option::of(0u8..6), any::<bool>()))), 0..60),
            min_ready in 0i64..8,
        ) {
            let (mut pods, mut tally): ([Option<Pod>; 6], _) = (Default::default(), Tally::default());
            for (at, state) in changes {
                let new = state.map(pod);
                tally.change(pods[at].as_ref(), new.as_ref());
                pods[at] = new;
                let all = || pods.iter().flatten();
                prop_assert_eq!(&tally, &Tally::of(all()));
                let now = Instant::parse("2026-01-01T00:00:07Z").unwrap();
                let min_ready = Span::from_seconds(min_ready);
                let ready: Vec<Instant> = all().filter(|p| is_active(p)).filter_map(ready_since).collect();
                let due = ready.iter().map(|since| *since + min_ready);
                let available = due.clone().filter(|at| *at <= now).count();
                prop_assert_eq!(tally.available(min_ready, now), (available, due.filter(|at| *at > now).min()));
                prop_assert_eq!(tally.sum(|c| c.ready), ready.len());
                prop_assert_eq!(tally.sum(|c| c.active), all().filter(|p| is_active(p)).count());
            }
        }
    }
}
