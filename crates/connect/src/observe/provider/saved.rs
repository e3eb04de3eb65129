//! What is known of a zone from one provider, as it is kept over a restart.
//!
//! Bounded: at most [`points::HISTORY`] of figures of five minutes, so some 70 KB of JSON a zone; a forecast of at most
//! [`points::POINTS_MAX`] figures. Invariants: what comes back is checked like an answer, and nothing is taken in that
//! is of another address, of another basis, of the future, or beyond a bound; when the provider was asked comes back
//! with it, so that a restart asks no sooner than its terms allow. Denials are not kept: people restart to mend them.
//! Units: mg CO2e per kWh, seconds, UTC.

use super::points::{self, Steps};
use super::{Ahead, Basis};
use crate::observe::carbon::GRAMS_MAX;
use fleet::{GramsCo2PerKwh, Instant, SignalKind, Span};
use serde::{Deserialize, Serialize};

/// The shape written here; another one is not taken in.
const VERSION: u32 = 1;

/// A zone as one provider told it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Saved {
    version: u32,
    /// Base address of the provider: another address may be another service.
    address: String,
    /// `average` or `marginal`.
    basis: String,
    /// When it was asked, and until when it is not to be asked again.
    asked: (Instant, Instant),
    /// For all its zones: not to be asked before, because it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    busy_until: Option<Instant>,
    past: SavedSteps,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<SavedAhead>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SavedAhead {
    made: Instant,
    steps: SavedSteps,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SavedSteps {
    start: Instant,
    step_seconds: i64,
    filled: usize,
    milligrams_per_kwh: Vec<i64>,
    /// How the figures were come by, each kind with how many in a row.
    kinds: Vec<(SignalKind, usize)>,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// What was.
    pub past: Steps,
    /// The last forecast.
    pub ahead: Option<Ahead>,
    /// When the provider was asked, and until when it is not to be asked again.
    pub asked: (Instant, Instant),
    /// Not to be asked before, because it said so.
    pub busy_until: Option<Instant>,
}

impl Saved {
    /// As it is to be kept.
    pub(super) fn new(address: &str, basis: Basis, kept: &Restored) -> Saved {
        Saved {
            version: VERSION,
            address: address.to_owned(),
            basis: basis.to_string(),
            asked: kept.asked,
            busy_until: kept.busy_until,
            past: SavedSteps::of(&kept.past),
            ahead: kept.ahead.as_ref().map(|a| SavedAhead { made: a.made, steps: SavedSteps::of(&a.steps) }),
        }
    }

    /// Checks what was kept.
    ///
    /// # Errors
    /// Why it is not taken in, in words.
    pub(super) fn restore(&self, address: &str, basis: Basis, now: Instant) -> Result<Restored, String> {
        if self.version != VERSION {
            return Err(format!("version {}: expected {VERSION}", self.version));
        }
        if self.address != address {
            return Err(format!("of {}: expected {address}", super::short(&self.address)));
        }
        if self.basis != basis.to_string() {
            return Err(format!("{} figures: expected {basis} ones", super::short(&self.basis)));
        }
        let past = self.past.steps().ok_or("past: figures that cannot be")?;
        if past.start > now || self.asked.0 > now {
            return Err(format!("of {}: expected the past before {now}", past.start.max(self.asked.0)));
        }
        let ahead = match &self.ahead {
            None => None,
            Some(saved) if saved.made > now => None,
            Some(saved) => {
                let steps = saved.steps.steps().filter(|steps| steps.start <= now + points::HISTORY);
                let steps = steps.ok_or("forecast: figures that cannot be")?;
                Some(Ahead { steps, made: saved.made })
            }
        };
        Ok(Restored { past, ahead, asked: self.asked, busy_until: self.busy_until })
    }
}

impl SavedSteps {
    fn of(steps: &Steps) -> SavedSteps {
        let mut kinds: Vec<(SignalKind, usize)> = Vec::new();
        for (_, kind) in &steps.figures {
            match kinds.last_mut() {
                Some((last, count)) if last == kind => *count += 1,
                _ => kinds.push((*kind, 1)),
            }
        }
        SavedSteps {
            start: steps.start,
            step_seconds: steps.step.as_seconds(),
            filled: steps.filled,
            milligrams_per_kwh: steps.figures.iter().map(|figure| figure.0.as_milligrams()).collect(),
            kinds,
        }
    }

    /// The figures, if they can be.
    fn steps(&self) -> Option<Steps> {
        let most = (GRAMS_MAX * 1000.0) as i64;
        let step = Some(self.step_seconds).filter(|s| (300..=3600).contains(s) && 3600 % s == 0)?;
        let (step, count) = (Span::from_seconds(step), self.milligrams_per_kwh.len());
        let told = self.kinds.iter().try_fold(0_usize, |sum, (_, count)| sum.checked_add(*count))?;
        let whole = self.start.floor_to(step) == self.start && (1..=points::POINTS_MAX).contains(&count);
        if !whole || told != count || self.filled > count {
            return None;
        }
        let kinds = self.kinds.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        let figures = self.milligrams_per_kwh.iter().zip(kinds).map(|(milligrams, kind)| {
            let within = (0..=most).contains(milligrams);
            within.then(|| (GramsCo2PerKwh::from_milligrams(*milligrams), kind))
        });
        Some(Steps { start: self.start, step, figures: figures.collect::<Option<_>>()?, filled: self.filled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Instant {
        Instant::parse("2026-05-02T00:00:00Z").unwrap() + Span::HOUR.scaled(hour, 1)
    }

    fn kept() -> Restored {
        let figure = |i: i64| {
            let kind = if i < 20 { SignalKind::Measured } else { SignalKind::Estimated };
            (GramsCo2PerKwh::from_milligrams(300_000 + i), kind)
        };
        let steps = |from: i64, to: i64| Steps {
            start: at(from),
            step: Span::HOUR,
            figures: (from..to).map(figure).collect(),
            filled: 1,
        };
        Restored {
            past: steps(0, 24),
            ahead: Some(Ahead { steps: steps(24, 96), made: at(24) }),
            asked: (at(24), at(25)),
            busy_until: Some(at(26)),
        }
    }

    #[test]
    fn what_is_kept_comes_back_the_same() {
        let saved = Saved::new("https://x", Basis::Average, &kept());
        let text = serde_json::to_string(&saved).unwrap();
        let back: Saved = serde_json::from_str(&text).unwrap();
        assert_eq!(back.restore("https://x", Basis::Average, at(25)).unwrap(), kept());
        assert_eq!(saved.past.kinds, [(SignalKind::Measured, 20), (SignalKind::Estimated, 4)]);
    }

    #[test]
    fn what_is_of_something_else_or_cannot_be_is_not_taken_in() {
        let saved = Saved::new("https://x", Basis::Average, &kept());
        let why = |change: &dyn Fn(&mut Saved), at| {
            let mut saved = saved.clone();
            change(&mut saved);
            saved.restore("https://x", Basis::Average, at).unwrap_err()
        };
        let now = at(25);
        assert_eq!(why(&|s| s.version = 2, now), "version 2: expected 1");
        assert_eq!(why(&|s| s.address = "https://y".into(), now), "of https://y: expected https://x");
        assert_eq!(why(&|s| s.basis = "marginal".into(), now), "marginal figures: expected average ones");
        assert!(why(&|_| (), at(-1)).ends_with("expected the past before 2026-05-01T23:00:00Z"));
        type Change = fn(&mut SavedSteps);
        let wrong: [Change; 7] = [
            |s| s.milligrams_per_kwh[3] = -1,
            |s| s.milligrams_per_kwh[3] = 10_000_001,
            |s| s.step_seconds = 0,
            |s| s.step_seconds = 2700,
            |s| s.kinds = vec![(SignalKind::Measured, usize::MAX), (SignalKind::Measured, 25)],
            |s| s.filled = 99,
            |s| s.start += Span::MINUTE,
        ];
        for change in wrong {
            assert_eq!(why(&|s| change(&mut s.past), now), "past: figures that cannot be");
            let ahead = |s: &mut Saved| change(&mut s.ahead.as_mut().unwrap().steps);
            assert_eq!(why(&ahead, now), "forecast: figures that cannot be");
        }
        let mut many = saved.clone();
        many.past.milligrams_per_kwh = vec![1; points::POINTS_MAX + 1];
        many.past.kinds = vec![(SignalKind::Measured, points::POINTS_MAX + 1)];
        assert!(many.restore("https://x", Basis::Average, now).is_err());
    }
}
