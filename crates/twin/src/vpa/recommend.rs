//! What containers ought to ask for.
//!
//! Target: what 90 % of the weight does not exceed, and 15 % more. The lower bound is made of the median, the upper one of
//! the 95th percentile, and both are wider apart the less is known: after a day of samples once a minute the upper one is
//! doubled, after a week a seventh is added. A pod asks for at least 25 millicores and 250 MiB, shared by its containers.

use super::usage::Aggregate;
use std::collections::BTreeMap;

/// What a pod asks for at least.
const POD_CPU_MILLIS_MIN: f64 = 25.0;
const POD_MEMORY_BYTES_MIN: f64 = 250.0 * 1024.0 * 1024.0;
/// Added to what was used.
const MARGIN: f64 = 0.15;
/// Largest amount, in millicores or bytes.
const AMOUNT_MAX: f64 = 1e14;

/// Millicores and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amounts {
    /// Thousandths of a core.
    pub cpu_millis: i64,
    /// Bytes.
    pub memory_bytes: i64,
}

/// What a container ought to ask for. Within the bounds there is no need to change anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recommendation {
    /// What to ask for.
    pub target: Amounts,
    /// Less than this is too little.
    pub lower: Amounts,
    /// More than this is wasted.
    pub upper: Amounts,
    /// The target before any policy.
    pub uncapped: Amounts,
}

/// A whole amount; more than the largest is the largest.
fn whole(amount: f64) -> i64 {
    amount.clamp(0.0, AMOUNT_MAX) as i64
}

fn scaled(amount: i64, by: f64) -> i64 {
    whole(amount as f64 * by)
}

/// A percentile of what was used, and the margin.
fn used(aggregate: &Aggregate, share: f64) -> Amounts {
    let with_margin = |base: i64| base + scaled(base, MARGIN);
    Amounts {
        cpu_millis: with_margin(whole(aggregate.cpu.percentile(share) * 1000.0)),
        memory_bytes: with_margin(whole(aggregate.memory.percentile(share))),
    }
}

/// Recommendations for the containers of a pod, by name.
pub fn recommend(containers: &BTreeMap<String, Aggregate>) -> BTreeMap<String, Recommendation> {
    let share = 1.0 / containers.len().max(1) as f64;
    let least = Amounts {
        cpu_millis: scaled(whole(POD_CPU_MILLIS_MIN), share),
        memory_bytes: scaled(whole(POD_MEMORY_BYTES_MIN), share),
    };
    let of = |aggregate: &Aggregate| {
        let confidence = aggregate.confidence();
        let (narrow, wide) = (1.0 + 0.001 / confidence, 1.0 + 1.0 / confidence);
        let at = |share: f64, factor: Option<f64>| {
            let mut amounts = used(aggregate, share);
            if let Some(factor) = factor {
                amounts.cpu_millis = scaled(amounts.cpu_millis, factor);
                amounts.memory_bytes = scaled(amounts.memory_bytes, factor);
            }
            Amounts {
                cpu_millis: amounts.cpu_millis.max(least.cpu_millis),
                memory_bytes: amounts.memory_bytes.max(least.memory_bytes),
            }
        };
        let target = at(0.9, None);
        let (lower, upper) = (at(0.5, Some(1.0 / (narrow * narrow))), at(0.95, Some(wide)));
        Recommendation { target, lower, upper, uncapped: target }
    };
    containers.iter().map(|(name, aggregate)| (name.clone(), of(aggregate))).collect()
}

/// Between what amounts have to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// At least.
    pub min: Option<i64>,
    /// At most; comes after `min`.
    pub max: Option<i64>,
}

impl Bounds {
    fn cap(self, amount: i64) -> i64 {
        let amount = self.min.map_or(amount, |min| amount.max(min));
        self.max.map_or(amount, |max| amount.min(max))
    }
}

/// What an autoscaler's owner allows for a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Millicores.
    pub cpu_millis: Bounds,
    /// Bytes.
    pub memory_bytes: Bounds,
}

impl Policy {
    /// Holds a recommendation between the bounds.
    pub fn cap(&self, recommendation: Recommendation) -> Recommendation {
        let cap = |amounts: Amounts| Amounts {
            cpu_millis: self.cpu_millis.cap(amounts.cpu_millis),
            memory_bytes: self.memory_bytes.cap(amounts.memory_bytes),
        };
        let Recommendation { target, lower, upper, uncapped } = recommendation;
        Recommendation { target: cap(target), lower: cap(lower), upper: cap(upper), uncapped }
    }
}

#[cfg(test)]
mod tests {
    use super::super::usage::Container;
    use super::*;
    use fleet::{Instant, Span};

    /// A container that uses half a core and 1 GB for so many hours, seen once a minute.
    fn seen(hours: i64) -> Aggregate {
        let (mut aggregate, mut container) = (Aggregate::default(), Container::default());
        for minute in 0..=hours * 60 {
            let at = Instant::from_unix_seconds(1_767_614_400) + Span::MINUTE.scaled(minute, 1);
            container.cpu(&mut aggregate, at, 500);
            container.memory(&mut aggregate, at, 1_000_000_000);
        }
        aggregate
    }

    fn one(hours: i64) -> Recommendation {
        recommend(&BTreeMap::from([("app".to_owned(), seen(hours))]))["app"]
    }

    #[test]
    fn bounds_close_in_as_more_is_known() {
        let [half, day, week] = [12, 24, 168].map(one);
        assert_eq!(half.target.cpu_millis, week.target.cpu_millis);
        assert!((575..=604).contains(&day.target.cpu_millis), "500 m, at most 5 % more, and 15 % of it");
        let ratio = |r: Recommendation| r.upper.cpu_millis as f64 / r.target.cpu_millis as f64;
        for (found, expected) in [(half, 3.0), (day, 2.0), (week, 8.0 / 7.0)] {
            assert!((ratio(found) - expected).abs() < 0.01, "{found:?}");
        }
        assert!(half.lower.cpu_millis < day.lower.cpu_millis && day.lower < day.target);
    }

    #[test]
    fn nothing_seen_is_the_least_of_all() {
        let none = BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), Aggregate::default())));
        let least = Amounts { cpu_millis: 12, memory_bytes: 125 << 20 };
        assert_eq!(recommend(&none)["a"].upper, least);
        assert_eq!(recommend(&none)["b"].target, least);
        assert!(recommend(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn one_sample_says_nothing_of_what_would_be_too_much() {
        let first = one(0);
        assert_eq!(first.upper.memory_bytes, AMOUNT_MAX as i64);
        assert_eq!(first.lower.cpu_millis, 25);
    }

    #[test]
    fn the_most_allowed_comes_after_the_least() {
        let policy = Policy {
            cpu_millis: Bounds { min: Some(800), max: Some(600) },
            memory_bytes: Bounds { min: None, max: Some(1 << 20) },
        };
        let capped = policy.cap(one(24));
        assert_eq!(capped.target, Amounts { cpu_millis: 600, memory_bytes: 1 << 20 });
        assert_eq!(capped.uncapped, one(24).target);
    }
}
