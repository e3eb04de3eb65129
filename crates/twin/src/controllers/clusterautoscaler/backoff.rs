//! What was asked of node groups and did not come: requests with their deadline, and how long a group is left alone after one
//! failed.
//!
//! A group is left alone for 5 minutes, twice as long each time it fails again, at most half an hour; that is forgotten once
//! all its machines are there, or after three hours. Method: `clusterstate.go` and `exponential_backoff.go` of
//! cluster-autoscaler 1.36.

use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// First and longest time for which a group is left alone, and when its failures are forgotten (flags
/// `--initial-node-group-backoff-duration`, `--max-node-group-backoff-duration`, `--node-group-backoff-reset-timeout`).
const FIRST: Span = Span::from_seconds(300);
const LONGEST: Span = Span::from_seconds(1800);
const FORGOTTEN: Span = Span::from_seconds(3 * 3600);

/// Nodes that were asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// When last.
    pub(super) at: Instant,
    /// When they have to be there.
    expected: Instant,
    increase: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Failure {
    duration: Span,
    until: Instant,
    last: Instant,
}

/// By group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Backoffs {
    requests: BTreeMap<Arc<str>, Request>,
    failures: BTreeMap<Arc<str>, Failure>,
}

impl Backoffs {
    /// So many nodes were asked for, which may take so long.
    pub(super) fn asked(&mut self, group: &str, increase: u32, patience: Span, now: Instant) {
        let fresh = Request { at: now, expected: now + patience, increase: 0 };
        let request = self.requests.entry(group.into()).or_insert_with(|| fresh.clone());
        *request = Request { increase: request.increase + increase, ..fresh };
    }
    /// So many of them will not come.
    pub(super) fn lost(&mut self, group: &str, nodes: u32) {
        let Some(request) = self.requests.get_mut(group) else { return };
        request.increase = request.increase.saturating_sub(nodes);
        if request.increase == 0 {
            self.requests.remove(group);
        }
    }
    /// Whether nodes of a group are on their way.
    pub(super) fn is_scaling_up(&self, group: &str) -> bool {
        self.requests.contains_key(group)
    }
    /// Whether nodes of any group are.
    pub(super) fn is_any_scaling_up(&self) -> bool {
        !self.requests.is_empty()
    }
    /// Closes the requests of groups that have nobody on the way, and gives those that took too long: group and since when.
    pub(super) fn close(&mut self, awaited: &dyn Fn(&str) -> bool, now: Instant) -> Vec<(Arc<str>, Instant)> {
        let mut late = Vec::new();
        let failures = &mut self.failures;
        self.requests.retain(|group, request| {
            if !awaited(group) {
                failures.remove(group);
                return false;
            }
            if request.expected < now {
                late.push((group.clone(), request.at));
                return false;
            }
            true
        });
        for (group, _) in &late {
            self.failed(group, now);
        }
        late
    }
    /// A group did not give what was asked for.
    pub(super) fn failed(&mut self, group: &str, now: Instant) {
        self.failures.retain(|_, failure| failure.last + FORGOTTEN >= now);
        // Several failures at a time count once.
        let duration = match self.failures.get(group) {
            Some(failure) if failure.until < now => (failure.duration + failure.duration).min(LONGEST),
            Some(failure) => failure.duration,
            None => FIRST,
        };
        self.failures.insert(group.into(), Failure { duration, until: now + duration, last: now });
    }
    /// Until when a group is left alone, if it is.
    pub(super) fn until(&self, group: &str, now: Instant) -> Option<Instant> {
        self.failures.get(group).map(|failure| failure.until).filter(|until| *until > now)
    }
    /// When something of this changes by itself.
    pub(super) fn next(&self, now: Instant) -> impl Iterator<Item = Instant> {
        let requests = self.requests.values().map(|request| request.expected);
        // Its end is no longer part of it.
        let failures = self.failures.values().map(|failure| failure.until - Span::from_nanos(1));
        requests.chain(failures).filter(move |at| *at >= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_fails_again_and_again_is_left_alone_for_longer() {
        let mut all = Backoffs::default();
        let mut now = Instant::from_unix_seconds(1_000_000);
        let mut waits = Vec::new();
        for _ in 0..5 {
            all.failed("a", now);
            all.failed("a", now + Span::from_seconds(10));
            let until = all.until("a", now).unwrap();
            waits.push((until - now).as_seconds() - 10);
            now = until + Span::from_seconds(1);
            assert_eq!(all.until("a", now), None);
        }
        assert_eq!(waits, [300, 600, 1200, 1800, 1800]);
        all.failed("a", now + Span::from_seconds(3 * 3600 + 1));
        let later = now + Span::from_seconds(3 * 3600 + 1);
        assert_eq!(all.until("a", later), Some(later + FIRST), "forgotten");
    }

    #[test]
    fn what_comes_in_time_clears_the_record_and_what_does_not_is_told() {
        let mut all = Backoffs::default();
        let now = Instant::from_unix_seconds(0);
        all.failed("a", now);
        all.asked("a", 2, Span::from_seconds(900), now);
        assert!(all.close(&|_| true, now + Span::from_seconds(900)).is_empty());
        assert!(all.is_scaling_up("a"));
        assert!(all.close(&|_| false, now + Span::from_seconds(200)).is_empty());
        assert_eq!((all.is_scaling_up("a"), all.until("a", now)), (false, None));
        all.asked("b", 2, Span::from_seconds(900), now);
        all.asked("b", 1, Span::from_seconds(900), now + Span::from_seconds(60));
        all.lost("b", 1);
        let late = all.close(&|_| true, now + Span::from_seconds(961));
        assert_eq!(late, [(Arc::from("b"), now + Span::from_seconds(60))]);
        assert!(all.until("b", now + Span::from_seconds(961)).is_some());
    }
}
