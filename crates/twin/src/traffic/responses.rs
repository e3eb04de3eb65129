//! How many requests took how long: a histogram with classes a fifteenth wide, from 10 µs to a day.
//!
//! Counts are whole thousandths of requests, so that parts sum to the whole; a quantile is the upper end of its class, at
//! most 7 % above what it stands for.

use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Upper end of the first class, in seconds.
const LEAST: f64 = 1e-5;
/// Each class ends so much above the one before.
const RATIO: f64 = 1.0 + 1.0 / 15.0;
/// How many classes there are: 10 µs × 1.0667³⁵⁴ is a day.
const CLASSES: usize = 356;

/// Upper ends of the classes, in seconds.
static ENDS: LazyLock<[f64; CLASSES]> = LazyLock::new(|| {
    let mut end = LEAST / RATIO;
    [(); CLASSES].map(|()| {
        end *= RATIO;
        end
    })
});

/// Requests by how long they took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responses {
    /// Thousandths of requests by class; as long as it has to be.
    classes: Vec<i64>,
}

impl Responses {
    /// Takes in `count` thousandths of requests, of which `tail` says which share took longer than so many seconds.
    pub fn add(&mut self, count: i64, tail: impl Fn(f64) -> f64) {
        if count <= 0 {
            return;
        }
        // What is at most so slow, of all: differences of whole numbers sum to the whole.
        let at_most = |end: f64| count - (tail(end) * count as f64).round() as i64;
        // Nobody is answered within the first classes: they are passed over by halves.
        let first = ENDS.partition_point(|end| at_most(*end) <= 0);
        let mut before = 0;
        for (class, end) in ENDS.iter().enumerate().skip(first.min(CLASSES - 1)) {
            let below = if class + 1 == CLASSES { count } else { at_most(*end) };
            if below > before {
                if self.classes.len() <= class {
                    self.classes.resize(class + 1, 0);
                }
                self.classes[class] += below - before;
                before = below;
            }
            if before == count {
                return;
            }
        }
    }
    /// Seconds within which this share of the requests was answered, 0 to 1; `None`: there were none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let wanted = (share * all as f64).ceil() as i64;
        let mut sum = 0;
        let reached = self.classes.iter().position(|count| {
            sum += count;
            sum >= wanted.max(1)
        });
        Some(ENDS[reached.unwrap_or(CLASSES - 1)])
    }
    /// Thousandths of requests in all.
    pub fn count(&self) -> i64 {
        self.classes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_parts() {
        let mut all = Responses::default();
        assert_eq!(all.quantile(0.5), None);
        all.add(900_000, |t| if t < 0.1 { 1.0 } else { 0.0 });
        all.add(100_001, |t| if t < 2.0 { 1.0 } else { 0.0 });
        assert_eq!(all.count(), 1_000_001);
        for (share, seconds) in [(0.5, 0.1), (0.89, 0.1), (0.95, 2.0)] {
            let found = all.quantile(share).unwrap();
            assert!(found >= seconds && found < seconds * 1.07, "{share}: {found}");
        }
        let mut slow = Responses::default();
        slow.add(1000, |_| 1.0);
        assert!(slow.quantile(0.5).unwrap() > 86_000.0, "nothing gets lost at the end");
    }

    #[test]
    fn an_exponential_has_its_own_quantiles() {
        let mut all = Responses::default();
        all.add(1_000_000_000, |t| (-t / 0.05f64).exp());
        for share in [0.5, 0.95, 0.99] {
            let exact = -0.05 * (1.0f64 - share).ln();
            let found = all.quantile(share).unwrap();
            assert!(found >= exact && found < exact * 1.07, "{share}: {found} {exact}");
        }
    }
}
