//! An amount over the time since a container's start: `2Gi`, or `0s=100Mi,5m=2Gi`.

use crate::apiserver::quantity::{NANO, Quantity};
use fleet::Span;

/// Most steps read of a profile.
const STEPS_MAX: usize = 100;

/// Amounts in whole units, each from a time after the start on; in order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile(Vec<(Span, i64)>);

/// An amount in so many parts of its unit.
fn amount(text: &str, parts: i128) -> Option<i64> {
    let nanos = Quantity::parse(text.trim()).ok()?.nanos();
    i64::try_from(nanos / (NANO / parts)).ok().filter(|amount| *amount >= 0)
}

impl Profile {
    /// Reads one, in `parts` of its unit, a divisor of 10⁹; `None`: it cannot be read.
    pub(crate) fn parse(text: &str, parts: i128) -> Option<Profile> {
        if !text.contains('=') {
            return Some(Profile(vec![(Span::ZERO, amount(text, parts)?)]));
        }
        let steps = text.split(',').take(STEPS_MAX + 1).map(|step| {
            let (at, size) = step.split_once('=')?;
            Some((Span::parse(at.trim()).ok()?, amount(size, parts)?))
        });
        let steps: Vec<(Span, i64)> = steps.collect::<Option<_>>()?;
        (steps.len() <= STEPS_MAX && steps.is_sorted_by_key(|(at, _)| *at)).then_some(Profile(steps))
    }
    /// The amount so long after the start; before the first step it is none.
    pub(crate) fn at(&self, since_start: Span) -> i64 {
        self.0.iter().rev().find(|(at, _)| *at <= since_start).map_or(0, |(_, amount)| *amount)
    }
    /// How long after the start it is another amount for the next time after `from`.
    pub(crate) fn next(&self, from: Span) -> Option<Span> {
        let now = self.at(from);
        self.0.iter().find(|(at, amount)| *at > from && *amount != now).map(|(at, _)| *at)
    }
    /// How long after the start it is more than `limit` for the first time from `from` on.
    pub(crate) fn exceeds(&self, limit: i64, from: Span) -> Option<Span> {
        if self.at(from) > limit {
            return Some(from);
        }
        self.0.iter().find(|(at, amount)| *at > from && *amount > limit).map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        let profile = Profile::parse("0s=100Mi, 5m=2Gi,10m=1Gi", 1).unwrap();
        let minutes = |n| Span::MINUTE.scaled(n, 1);
        assert_eq!([0, 4, 5, 20].map(|n| profile.at(minutes(n)) >> 20), [100, 100, 2048, 1024]);
        assert_eq!(profile.exceeds(1 << 30, Span::ZERO), Some(minutes(5)));
        assert_eq!(profile.exceeds(1 << 31, Span::ZERO), None);
        assert_eq!(Profile::parse("512Mi", 1).unwrap().exceeds(1, minutes(3)), Some(minutes(3)));
        assert_eq!(Profile::parse("5m=1Gi", 1).unwrap().at(minutes(1)), 0);
        assert_eq!([0, 5, 10].map(|n| profile.next(minutes(n))), [Some(minutes(5)), Some(minutes(10)), None]);
        let cores = Profile::parse("0s=250m,1m=1.5", NANO).unwrap();
        assert_eq!([0, 1].map(|n| cores.at(minutes(n))), [250_000_000, 1_500_000_000]);
        for wrong in ["", "x", "1m=1Gi,0s=2Gi", "1m=", "=1", "-1"] {
            assert_eq!(Profile::parse(wrong, 1), None, "{wrong}");
        }
    }
}
