//! Whether a cluster answers, from whether the stream of each kind does.
//!
//! Invariant: a cluster is reachable while every stream is fine or has been failing for less than
//! [`UNREACHABLE_AFTER`]: half a picture is none, so one kind that is refused makes it unreachable.
//! Timers are the runtime's; no wall clock.

use super::kinds::WatchedKind;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a stream may fail before the cluster counts as unreachable: longer than the restart of an
/// API server behind a load balancer, short against the minutes plans are made for.
pub const UNREACHABLE_AFTER: Duration = Duration::from_secs(5);

/// What is known of the streams.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Since when, and the last reason.
    failing: BTreeMap<WatchedKind, (Instant, String)>,
    listed: BTreeSet<WatchedKind>,
    synced: bool,
    /// What was told last; `None`: nothing yet.
    told: Option<bool>,
}

impl Health {
    /// A stream answers. Returns whether the cluster has become reachable.
    pub fn fine(&mut self, kind: WatchedKind) -> bool {
        self.failing.remove(&kind);
        let became = self.failing.is_empty() && self.told != Some(true);
        if became {
            self.told = Some(true);
        }
        became
    }
    /// An attempt failed.
    pub fn failed(&mut self, kind: WatchedKind, now: Instant, why: String) {
        self.failing.entry(kind).or_insert((now, String::new())).1 = why;
    }
    /// When the cluster is to be called unreachable unless it recovers; `None`: no reason to.
    pub fn due(&self) -> Option<Instant> {
        let first = self.failing.values().map(|(since, _)| *since).min()?;
        (self.told != Some(false)).then(|| first + UNREACHABLE_AFTER)
    }
    /// The time of [`Health::due`] has come. Returns the kind that has failed longest, and why.
    pub fn unreachable(&mut self) -> String {
        self.told = Some(false);
        let longest = self.failing.iter().min_by_key(|(_, (since, _))| *since);
        longest.map(|(kind, (_, why))| format!("{kind}: {why}")).unwrap_or_default()
    }
    /// A list is complete. Returns whether it was the last one of the first lists.
    pub fn listed(&mut self, kind: WatchedKind) -> bool {
        self.listed.insert(kind);
        let complete = !self.synced && self.listed.len() == WatchedKind::ALL.len();
        self.synced |= complete;
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_short_failure_is_not_told() {
        let start = Instant::now();
        let mut health = Health::default();
        assert!(health.fine(WatchedKind::Node), "the first answer is told");
        assert!(!health.fine(WatchedKind::Pod), "and only the first");
        health.failed(WatchedKind::Pod, start, "refused".to_owned());
        health.failed(WatchedKind::Pod, start + Duration::from_secs(1), "reset".to_owned());
        assert_eq!(health.due(), Some(start + UNREACHABLE_AFTER), "counted from the first failure");
        assert!(!health.fine(WatchedKind::Pod));
        assert_eq!(health.due(), None);
    }

    #[tokio::test]
    async fn reachable_again_only_when_every_stream_is_fine() {
        let start = Instant::now();
        let mut health = Health::default();
        health.fine(WatchedKind::Node);
        health.failed(WatchedKind::Job, start, "refused".to_owned());
        health.failed(WatchedKind::Node, start + Duration::from_secs(2), "reset".to_owned());
        health.failed(WatchedKind::Job, start + Duration::from_secs(3), "too large".to_owned());
        assert_eq!(health.unreachable(), "Job: too large", "what has failed longest, as it failed last");
        assert_eq!(health.due(), None, "told once");
        assert!(!health.fine(WatchedKind::Node));
        assert!(health.fine(WatchedKind::Job));
    }

    #[test]
    fn synced_once_after_four_lists() {
        let mut health = Health::default();
        let told: Vec<bool> =
            WatchedKind::ALL.iter().chain(&WatchedKind::ALL).map(|kind| health.listed(*kind)).collect();
        assert_eq!(told, [false, false, false, true, false, false, false, false]);
    }
}
