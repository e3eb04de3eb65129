//! How long a failed pod of a DaemonSet is left on its node before another takes its place.
//!
//! As `flowcontrol.Backoff` of client-go 0.36, by set, generation and node: the first failed pod goes at once; after that
//! one is left for a second, for two, and so on, up to a quarter of an hour, counted from when the one before went. Half an hour
//! without a failure begins anew. Pure.

use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// First time a failed pod is left, and the longest (`failedPodsBackoff` of the controller).
const FIRST: Span = Span::from_seconds(1);
const LONGEST: Span = Span::from_seconds(15 * 60);

/// When the last failed pod went, and how long the next is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    delay: Span,
    went: Instant,
}

impl Mark {
    fn is_past(&self, now: Instant) -> bool {
        now - self.went > LONGEST.scaled(2, 1)
    }
}

/// The failures that are remembered, by set, generation and node.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct BackOffs(BTreeMap<Arc<str>, Mark>);

impl BackOffs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// A failed pod is found. `None`: it goes now. Else it is looked at again after so long: the whole delay, as the
    /// controller does, which does not reckon how much of it is over.
    pub(super) fn fail(&mut self, key: &str, now: Instant) -> Option<Span> {
        self.0.retain(|_, mark| !mark.is_past(now));
        let delay = match self.0.get(key) {
            Some(mark) if now - mark.went < mark.delay => return Some(mark.delay),
            Some(mark) => mark.delay.scaled(2, 1).min(LONGEST),
            None => FIRST,
        };
        self.0.insert(key.into(), Mark { delay, went: now });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_pods_are_left_twice_as_long_each_time() {
        let second = |n| Instant::EPOCH + Span::from_seconds(n);
        let mut all = BackOffs::default();
        let (mut now, mut went) = (0, vec![]);
        // One fails a second after the one before it went.
        for _ in 0..13 {
            while let Some(wait) = all.fail("a", second(now)) {
                now += wait.as_seconds();
            }
            went.push(now);
            now += 1;
        }
        let gaps: Vec<i64> = went.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [1, 3, 5, 9, 17, 33, 65, 129, 257, 513, 901, 901]);
        assert_eq!(all.fail("b", second(now)), None, "other nodes have nothing to do with it");
        assert_eq!(all.fail("a", second(now)), Some(LONGEST));
    }

    #[test]
    fn half_an_hour_without_a_failure_begins_anew() {
        let second = |n| Instant::EPOCH + Span::from_seconds(n);
        let mut all = BackOffs::default();
        assert_eq!([0, 1, 3].map(|n| all.fail("a", second(n))), [None; 3]);
        assert_eq!(all.fail("a", second(5)), Some(Span::from_seconds(4)));
        assert_eq!(all.fail("a", second(3 + 1801)), None);
        assert_eq!(all.fail("a", second(3 + 1801)), Some(FIRST));
    }
}
