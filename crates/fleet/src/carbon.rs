//! Carbon intensity over time, and where a figure came from.

use crate::quantity::{GramsCo2, GramsCo2PerKwh, Joules, Watts};
use crate::time::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a figure was come by, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalKind {
    /// Metered or published as final.
    Measured,
    /// A provider's or our own forecast.
    Forecast,
    /// Modelled by the source from other data.
    Estimated,
    /// A stand-in: typical year, yearly mean, built-in table.
    Assumed,
}

/// Where a figure came from; every figure shown to a person carries one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// E.g. `typical-year 2021-2022 (Electricity Maps, built in)`, `csv:carbon.csv`.
    pub source: String,
    /// Measured, forecast, estimated or assumed.
    pub kind: SignalKind,
    /// When the source gave it.
    pub as_of: Instant,
}

/// A step function of time: value `i` holds in `[start + i·step, start + (i+1)·step)`. Before the
/// first step the first value holds, after the last the last. Cheap to clone; never empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    start: Instant,
    step: Span,
    values: Arc<[GramsCo2PerKwh]>,
}

impl Series {
    /// A series from its first step on; `None` when there is no value or the step is not positive.
    pub fn new(start: Instant, step: Span, values: Vec<GramsCo2PerKwh>) -> Option<Series> {
        (!values.is_empty() && step > Span::ZERO).then(|| Series { start, step, values: values.into() })
    }
    /// The same value for ever.
    pub fn constant(value: GramsCo2PerKwh) -> Series {
        Series { start: Instant::EPOCH, step: Span::HOUR, values: Arc::from([value]) }
    }
    /// Start of the first step.
    pub fn start(&self) -> Instant {
        self.start
    }
    /// Length of a step.
    pub fn step(&self) -> Span {
        self.step
    }
    /// End of the last step.
    pub fn end(&self) -> Instant {
        let steps = i64::try_from(self.values.len()).unwrap_or(i64::MAX);
        self.start + self.step.scaled(steps, 1)
    }
    /// The values, first step first.
    pub fn values(&self) -> &[GramsCo2PerKwh] {
        &self.values
    }
    fn index(&self, at: Instant) -> i64 {
        (at - self.start).as_nanos().div_euclid(self.step.as_nanos())
    }
    fn value(&self, index: i64) -> GramsCo2PerKwh {
        let last = self.values.len() - 1;
        self.values[usize::try_from(index).unwrap_or(0).min(last)]
    }
    /// The intensity at an instant.
    pub fn at(&self, at: Instant) -> GramsCo2PerKwh {
        self.value(self.index(at))
    }
    /// Whether the series really says something about `at` (not just its first or last value held).
    pub fn covers(&self, at: Instant) -> bool {
        at >= self.start && at < self.end()
    }
    /// Hands each piece of `[from, to)` in which the intensity stays the same to `each`, with its length, in order.
    /// Nothing when `to` is not after `from`.
    fn each_piece(&self, from: Instant, to: Instant, mut each: impl FnMut(Span, GramsCo2PerKwh)) {
        let mut at = from;
        while at < to {
            let index = self.index(at);
            let boundary = if index < 0 {
                self.start
            } else if index as usize >= self.values.len() - 1 {
                to
            } else {
                self.start + self.step.scaled(index + 1, 1)
            };
            let until = boundary.min(to);
            each(until - at, self.value(index));
            at = until;
        }
    }
    /// Emissions of a constant `power` over `[from, to)`, exact at every step boundary.
    pub fn emissions(&self, power: Watts, from: Instant, to: Instant) -> GramsCo2 {
        let mut total = GramsCo2::ZERO;
        self.each_piece(from, to, |span, intensity| total += (power * span) * intensity);
        total
    }
    /// The intensity integrated over `[from, to)`, exactly, in mg/kWh · ns: power times it is what a constant power emits.
    /// Nothing when `to` is not after `from`.
    pub fn dose(&self, from: Instant, to: Instant) -> i128 {
        let mut total = 0i128;
        self.each_piece(from, to, |span, intensity| {
            total += i128::from(intensity.as_milligrams()) * i128::from(span.as_nanos());
        });
        total
    }
    /// The mean intensity over `[from, to)`, weighted by time; the value at `from` when empty.
    pub fn mean(&self, from: Instant, to: Instant) -> GramsCo2PerKwh {
        if to <= from {
            return self.at(from);
        }
        let power = Watts::from_watts_f64(1000.0);
        let energy: Joules = power * (to - from);
        let grams = self.emissions(power, from, to).as_grams_f64();
        GramsCo2PerKwh::from_grams_f64(grams / energy.as_kwh_f64())
    }
    /// `count` steps of `step` from `start` on, each the mean over its length.
    pub fn resample(&self, start: Instant, step: Span, count: usize) -> Vec<GramsCo2PerKwh> {
        (0..count as i64)
            .map(|i| {
                let from = start + step.scaled(i, 1);
                self.mean(from, from + step)
            })
            .collect()
    }
}

/// How far off a forecast may be, by how far ahead an hour lies. Small: a dozen steps at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spread(Vec<SpreadStep>);

/// From `ahead` on, half of what lies between the 10 % and the 90 % quantile, in thousandths of what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpreadStep {
    /// From so far ahead on, until the next step.
    pub ahead: Span,
    /// How far off, in thousandths.
    pub permille: i64,
}

impl Spread {
    /// Steps in any order; of those that begin together the last holds.
    pub fn new(steps: impl IntoIterator<Item = SpreadStep>) -> Spread {
        let mut sorted: Vec<SpreadStep> = Vec::new();
        for step in steps {
            match sorted.binary_search_by(|other| other.ahead.cmp(&step.ahead)) {
                Ok(at) => sorted[at] = step,
                Err(at) => sorted.insert(at, step),
            }
        }
        Spread(sorted)
    }
    /// In thousandths, for what lies `ahead`; before the first step the first holds, and without steps nothing is off.
    pub fn permille(&self, ahead: Span) -> i64 {
        let begun = self.0.iter().rfind(|step| step.ahead <= ahead);
        begun.or(self.0.first()).map_or(0, |step| step.permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grams(values: &[f64]) -> Series {
        let values = values.iter().map(|v| GramsCo2PerKwh::from_grams_f64(*v)).collect();
        Series::new(Instant::EPOCH, Span::HOUR, values).unwrap()
    }
    fn at(seconds: i64) -> Instant {
        Instant::from_unix_seconds(seconds)
    }

    #[test]
    fn emissions_split_at_the_hour() {
        let series = grams(&[100.0, 300.0]);
        let kw = Watts::from_watts_f64(1000.0);
        assert_eq!(series.emissions(kw, at(1800), at(5400)), GramsCo2::from_grams_f64(200.0));
        assert_eq!(series.emissions(kw, at(-3600), at(0)), GramsCo2::from_grams_f64(100.0));
        assert_eq!(series.emissions(kw, at(7200), at(14_400)), GramsCo2::from_grams_f64(600.0));
        assert_eq!(series.mean(at(0), at(7200)), GramsCo2PerKwh::from_grams_f64(200.0));
        assert!(!series.covers(at(7200)) && series.covers(at(7199)));
    }

    #[test]
    fn a_spread_holds_until_the_next_step() {
        let step = |hours, permille| SpreadStep { ahead: Span::HOUR.scaled(hours, 1), permille };
        let spread = Spread::new([step(24, 200), step(1, 40), step(24, 190)]);
        let found = [0, 1, 23, 24, 99].map(|hours| spread.permille(Span::HOUR.scaled(hours, 1)));
        assert_eq!(found, [40, 40, 40, 190, 190]);
        assert_eq!(Spread::default().permille(Span::DAY), 0);
    }

    #[test]
    fn a_dose_times_a_power_is_what_it_emits() {
        let series = grams(&[100.0, 300.0]);
        let kw = Watts::from_watts_f64(1000.0);
        for (from, to) in [(1800, 5400), (-3600, 0), (7200, 14_400), (5, 5), (9, 3)] {
            let dose = series.dose(at(from), at(to));
            // µW · mg/kWh · ns to µg: 3.6 × 10¹⁸.
            let grams =
                GramsCo2::from_micrograms(i128::from(kw.as_microwatts()) * dose / 3_600_000_000_000_000_000);
            assert_eq!(grams, series.emissions(kw, at(from), at(to)), "{from} to {to}");
        }
    }

    proptest! {
        #[test]
        fn emissions_do_not_depend_on_where_the_interval_is_cut(
            values in prop::collection::vec(0.0f64..1000.0, 1..30), a in -5000i64..90_000, b in 0i64..90_000, c in 0i64..90_000
        ) {
            let series = grams(&values);
            let power = Watts::from_watts_f64(3600.0);
            let (from, mid, to) = (at(a), at(a + b), at(a + b + c));
            let whole = series.emissions(power, from, to);
            let parts = series.emissions(power, from, mid) + series.emissions(power, mid, to);
            prop_assert!((whole - parts).as_micrograms().abs() <= 1);
        }
    }
}
