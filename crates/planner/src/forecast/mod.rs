//! Carbon intensity ahead, from its own past, for where a provider has no forecast (PRODUCT row S6).

mod learn;
mod past;

use fleet::{GramsCo2PerKwh, Instant, Series, Span};
use learn::Forecaster;
use past::Past;

/// Longest forecast, in hours.
pub const HOURS_MAX: usize = 24 * 14;
/// Oldest last known hour, in hours before `at`, that a forecast is made from; of an older history, the
/// last value stands in.
const AGE_HOURS_MAX: i64 = 24 * 7;

/// An hourly forecast in gCO2e/kWh and how far off it may be. All three begin at the same hour;
/// `low` ≤ `expected` ≤ `high` in every hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// As likely too low as too high.
    pub expected: Series,
    /// Nine of ten hours are above.
    pub low: Series,
    /// Nine of ten hours are below.
    pub high: Series,
}

/// The hourly forecast of `hours` (1 to [`HOURS_MAX`]) from the hour of `at` on. Where the history
/// says nothing of an hour of the day, its last known value stands in.
pub fn forecast(history: &Series, at: Instant, hours: usize) -> Series {
    forecast_with_spread(history, at, hours).expected
}

/// As [`forecast`], with the 10 % and 90 % quantiles that the zone's own past suggests.
pub fn forecast_with_spread(history: &Series, at: Instant, hours: usize) -> Forecast {
    let first = at.floor_to(Span::HOUR);
    let past = Past::new(history, at, AGE_HOURS_MAX);
    let last = past.as_ref().and_then(|past| past.values.last().copied());
    let held = last.unwrap_or_else(|| history.at(at.min(history.end()) - history.step()).as_grams_f64());
    let forecaster = past.as_ref().and_then(Forecaster::new);
    // Hours since the end of the last known one.
    let age = past.as_ref().map_or(0, |past| (first - past.end).as_nanos() / Span::HOUR.as_nanos());
    let age = usize::try_from(age).unwrap_or(0);
    let hours = hours.clamp(1, HOURS_MAX);
    let mut columns = [(); 3].map(|()| Vec::with_capacity(hours));
    for ahead in 0..hours {
        let (expected, low, high) =
            forecaster.as_ref().map_or((held, held, held), |forecaster| forecaster.expect(age + ahead));
        for (column, value) in columns.iter_mut().zip([expected, low, high]) {
            column.push(GramsCo2PerKwh::from_grams_f64(value.max(0.0)));
        }
    }
    let [expected, low, high] = columns.map(|values| {
        let series = Series::new(first, Span::HOUR, values);
        series.unwrap_or_else(|| Series::constant(GramsCo2PerKwh::from_grams_f64(held)))
    });
    Forecast { expected, low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Instant {
        Instant::from_unix_seconds(hours * 3600)
    }

    /// Days with a solar dip, a slow weather wave, and small noise from a fixed recurrence.
    fn grid(hours: i64) -> Vec<f64> {
        let mut noise = 0.0;
        let mut seed = 12_345u64;
        let mut weather = 0.0;
        (0..hours)
            .map(|h| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let draw = (seed >> 33) as f64 / (1u64 << 31) as f64 - 0.5;
                weather = 0.97 * weather + 18.0 * draw;
                noise = 0.5 * noise + 4.0 * draw;
                let sun = if (7..17).contains(&(h % 24)) { 120.0 } else { 0.0 };
                400.0 - sun + weather + noise
            })
            .collect()
    }
    fn series(values: &[f64]) -> Series {
        let values = values.iter().map(|v| GramsCo2PerKwh::from_grams_f64(*v)).collect();
        Series::new(at(0), Span::HOUR, values).unwrap()
    }

    #[test]
    fn nearer_than_the_same_hour_of_yesterday() {
        let truth = grid(24 * 40);
        let (mut ours, mut naive) = (0.0, 0.0);
        for now in (24 * 8..24 * 38).step_by(7) {
            let seen = forecast(&series(&truth), at(now), 24);
            for ahead in 0..24 {
                let really = truth[(now + ahead) as usize];
                ours += (seen.values()[ahead as usize].as_grams_f64() - really).abs();
                naive += (truth[(now + ahead - 24) as usize] - really).abs();
            }
        }
        assert!(ours < 0.9 * naive, "mean error {ours} against {naive} of the same hour of yesterday");
    }

    #[test]
    fn the_future_does_not_leak_in() {
        let truth = grid(24 * 20);
        let mut other = truth.clone();
        for value in &mut other[24 * 10..] {
            *value = 9999.0;
        }
        for minutes in [0, 1, 30, 59] {
            let now = at(24 * 10) + Span::MINUTE.scaled(minutes, 1);
            assert_eq!(
                forecast(&series(&truth), now, 72),
                forecast(&series(&other), now, 72),
                "{minutes} minutes"
            );
        }
    }

    #[test]
    fn a_short_or_zero_history_still_gives_a_forecast() {
        let short = forecast(&series(&[300.0, 200.0]), at(2), 30);
        assert_eq!(short.values().len(), 30);
        assert_eq!(short.at(at(10)), GramsCo2PerKwh::from_grams_f64(200.0));
        let none = forecast(&Series::constant(GramsCo2PerKwh::from_grams_f64(431.0)), at(500_000), 3);
        assert_eq!(none.at(at(500_001)), GramsCo2PerKwh::from_grams_f64(431.0));
        let falling: Vec<f64> = (0..240).map(|h| if h < 216 { 50.0 } else { 0.0 }).collect();
        let seen = forecast(&series(&falling), at(240), 48);
        assert!(seen.values().iter().all(|v| *v >= GramsCo2PerKwh::ZERO));
        assert_eq!(seen.start(), at(240));
        assert_eq!(forecast(&series(&falling), at(240), 0).values().len(), 1);
    }
}
