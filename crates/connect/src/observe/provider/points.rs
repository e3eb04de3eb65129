//! Takes a provider's figures in: from times and values as they came to steps of equal length without gaps.
//!
//! Refused: a time that goes back or stands off the steps, two values for one time, a value that is
//! negative, no number or above [`GRAMS_MAX`], a gap of more than [`FILL_MAX`] hours. A shorter gap is filled
//! by the value before it, counted, and makes the figure *estimated*: the same rule as for files. Units: g/kWh, UTC.

use super::{Error, Field};
use crate::observe::carbon::{FILL_MAX, GRAMS_MAX};
use fleet::{GramsCo2PerKwh, Instant, Series, SignalKind, Span};
use std::collections::BTreeMap;

/// Most figures of one answer: 32 days of 5 minutes are 9,216.
pub const POINTS_MAX: usize = 20_000;
/// Shortest step: providers give 5 minutes at best.
const STEP_MIN: Span = Span::from_seconds(300);
/// How long what was is kept: as far back as a ledger line and a forecast look.
pub const HISTORY: Span = Span::from_seconds(30 * 86_400);

/// A figure as it came.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    /// Start of its step.
    pub at: Instant,
    /// g/kWh; `None`: the provider has none.
    pub grams: Option<f64>,
    /// How the provider came by it.
    pub kind: SignalKind,
}

/// One step's figure.
type Figure = (GramsCo2PerKwh, SignalKind);

/// Figures at steps of equal length, one after the other, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    /// Start of the first.
    pub start: Instant,
    /// Length of each: divides the hour.
    pub step: Span,
    /// The figures.
    pub figures: Vec<Figure>,
    /// How many of them stand in for missing ones.
    pub filled: usize,
}

impl Steps {
    /// End of the last step.
    pub fn end(&self) -> Instant {
        self.start + self.step.scaled(i64::try_from(self.figures.len()).unwrap_or(i64::MAX), 1)
    }
    /// The worst kind among the figures.
    pub fn kind(&self) -> SignalKind {
        self.figures.iter().map(|figure| figure.1).max().unwrap_or(SignalKind::Assumed)
    }
    /// As a series.
    pub fn series(&self) -> Option<Series> {
        Series::new(self.start, self.step, self.figures.iter().map(|figure| figure.0).collect())
    }
}

/// Checks figures in the order they came. `step`: as the provider says; else the smallest distance, or an hour.
///
/// # Errors
/// See the module's text; the error names the time.
pub fn check(field: Field<'_>, raw: &[Raw], step: Option<Span>) -> Result<Steps, Error> {
    if raw.len() > POINTS_MAX {
        return Err(field.bad(format!("{} values", raw.len()), format!("at most {POINTS_MAX}")));
    }
    let mut known: Vec<(Instant, Figure)> = Vec::with_capacity(raw.len());
    let mut last: Option<(Instant, Option<f64>)> = None;
    for Raw { at, grams, kind } in raw.iter().copied() {
        if let Some((before, value)) = last.filter(|(before, _)| *before >= at) {
            if before == at && value == grams {
                continue;
            }
            let found = if before == at { "a second value" } else { "a time that goes back" };
            return Err(
                field.bad(format!("{found} at {at} after {before}"), "times in order, one value each")
            );
        }
        last = Some((at, grams));
        let Some(grams) = grams else { continue };
        if !(0.0..=GRAMS_MAX).contains(&grams) {
            return Err(field.bad(format!("{grams} g/kWh at {at}"), format!("0 to {GRAMS_MAX} g/kWh")));
        }
        known.push((at, (GramsCo2PerKwh::from_grams_f64(grams), kind)));
    }
    let step = match step {
        Some(step) => step,
        None => {
            let gaps = raw.windows(2).map(|w| w[1].at - w[0].at).filter(|gap| *gap > Span::ZERO);
            gaps.min().unwrap_or(Span::HOUR)
        }
    };
    if step < STEP_MIN || Span::HOUR.as_nanos() % step.as_nanos() != 0 {
        return Err(field.bad(format!("steps of {} s", step.as_seconds()), "300 s to an hour, a part of it"));
    }
    join(field, &known, step)
}

/// Puts figures at steps, with short gaps filled.
fn join(field: Field<'_>, known: &[(Instant, Figure)], step: Span) -> Result<Steps, Error> {
    let Some((start, _)) = known.first().copied() else {
        return Err(field.bad("no value", "at least one"));
    };
    let mut steps = Steps { start, step, figures: Vec::with_capacity(known.len()), filled: 0 };
    for (at, figure) in known.iter().copied() {
        if at.floor_to(step) != at {
            return Err(field.bad(format!("a value at {at}"), format!("one every {} s", step.as_seconds())));
        }
        let end = steps.end();
        if at > end {
            if at - end > Span::HOUR.scaled(FILL_MAX, 1) {
                let expected = format!("no gap of more than {FILL_MAX} h");
                return Err(field.bad(format!("no value from {end} to {at}"), expected));
            }
            let missing = ((at - end).as_nanos() / step.as_nanos()) as usize;
            let hold =
                steps.figures.last().map_or(figure, |last| (last.0, SignalKind::Estimated.max(last.1)));
            steps.figures.extend(std::iter::repeat_n(hold, missing));
            steps.filled += missing;
        }
        steps.figures.push(figure);
    }
    Ok(steps)
}

/// What was in a zone, as answers told it one after the other: newer ones correct older ones.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    figures: BTreeMap<Instant, Figure>,
    step: Option<Span>,
    filled: usize,
}

impl Memory {
    /// Takes an answer in, and lets go of what is older than [`HISTORY`], of another step, or before a gap.
    pub fn take_in(&mut self, steps: &Steps, now: Instant) {
        let apart = self.end().is_some_and(|end| end < steps.start);
        if self.step != Some(steps.step) || apart {
            self.figures.clear();
        }
        self.step = Some(steps.step);
        self.filled = steps.filled;
        let mut at = steps.start;
        for figure in &steps.figures {
            self.figures.insert(at, *figure);
            at += steps.step;
        }
        self.figures = self.figures.split_off(&(now - HISTORY));
    }
    /// Where the last step ends.
    pub fn end(&self) -> Option<Instant> {
        Some(*self.figures.last_key_value()?.0 + self.step?)
    }
    /// All of it.
    pub fn steps(&self) -> Option<Steps> {
        let (start, step) = (*self.figures.first_key_value()?.0, self.step?);
        Some(Steps { start, step, figures: self.figures.values().copied().collect(), filled: self.filled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SignalKind::{Estimated, Measured};
    use fleet::GridZone;

    fn at(minutes: i64) -> Instant {
        Instant::parse("2026-05-02T00:00:00Z").unwrap() + Span::MINUTE.scaled(minutes, 1)
    }
    fn raw(pairs: &[(i64, f64)]) -> Vec<Raw> {
        let raw = |(minutes, grams): &(i64, f64)| Raw {
            at: at(*minutes),
            grams: (!grams.is_infinite()).then_some(*grams),
            kind: Measured,
        };
        pairs.iter().map(raw).collect()
    }
    fn checked(pairs: &[(i64, f64)], step: Option<i64>) -> Result<Steps, String> {
        let zone = GridZone::new("KR").unwrap();
        let field = Field { provider: "Test", zone: &zone, field: "data" };
        check(field, &raw(pairs), step.map(Span::from_seconds)).map_err(|error| error.to_string())
    }

    const NULL: f64 = f64::INFINITY;

    #[test]
    fn short_gaps_are_filled_and_said_to_be() {
        let steps =
            checked(&[(0, 100.0), (60, NULL), (120, 300.0), (120, 300.0), (180, 400.0)], None).unwrap();
        assert_eq!((steps.start, steps.end(), steps.filled), (at(0), at(240), 1));
        let grams: Vec<f64> = steps.figures.iter().map(|f| f.0.as_grams_f64()).collect();
        assert_eq!(grams, [100.0, 100.0, 300.0, 400.0]);
        assert_eq!((steps.figures[1].1, steps.kind()), (Estimated, Estimated));
        assert_eq!(checked(&[(0, 1.0)], Some(300)).unwrap().end(), at(5));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        for (pairs, step, said) in [
            (&[(60, 1.0), (0, 1.0)][..], None, "found a time that goes back at 2026-05-02T00:00:00Z"),
            (&[(0, 1.0), (0, 2.0)], None, "found a second value at 2026-05-02T00:00:00Z"),
            (&[(0, -1.0)], None, "found -1 g/kWh at 2026-05-02T00:00:00Z: expected 0 to 10000 g/kWh"),
            (&[(0, 10_001.0)], None, "found 10001 g/kWh"),
            (&[(0, f64::NAN)], None, "found NaN g/kWh"),
            (
                &[(0, 1.0), (30, 1.0), (300, 1.0)],
                None,
                "no value from 2026-05-02T01:00:00Z to 2026-05-02T05:00:00Z",
            ),
            (&[(0, 1.0), (45, 1.0)], None, "steps of 2700 s"),
            (
                &[(0, 1.0), (7, 1.0)],
                Some(300),
                "found a value at 2026-05-02T00:07:00Z: expected one every 300 s",
            ),
            (&[(0, NULL)], None, "found no value: expected at least one"),
            (&[], None, "found no value"),
        ] {
            let error = checked(pairs, step).unwrap_err();
            assert!(error.starts_with("Test: zone KR: data: ") && error.contains(said), "{error}");
        }
        let many = vec![(0, 1.0); POINTS_MAX + 1];
        assert!(checked(&many, None).unwrap_err().contains("20001 values: expected at most 20000"));
    }

    #[test]
    fn newer_answers_correct_older_ones_and_old_ones_go() {
        let mut memory = Memory::default();
        let steps = |pairs: &[(i64, f64)]| checked(pairs, Some(3600)).unwrap();
        memory.take_in(&steps(&[(0, 1.0), (60, 2.0)]), at(120));
        memory.take_in(&steps(&[(60, 3.0), (120, 4.0)]), at(180));
        let grams = |memory: &Memory| -> Vec<f64> {
            memory.steps().unwrap().figures.iter().map(|f| f.0.as_grams_f64()).collect()
        };
        assert_eq!(grams(&memory), [1.0, 3.0, 4.0]);
        memory.take_in(&steps(&[(240, 5.0)]), at(300));
        assert_eq!(grams(&memory), [5.0], "nothing from before a gap");
        memory.take_in(&steps(&[(300, 6.0)]), at(240) + HISTORY + Span::MINUTE);
        assert_eq!(grams(&memory), [6.0], "nothing older than is kept");
    }
}
