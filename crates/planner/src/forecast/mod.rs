//! Carbon intensity ahead, from its own past, for where a provider has no forecast (PRODUCT row S6).
//!
//! Hourly, in UTC, gCO2e/kWh, never below zero. Only steps that had ended by `at` count: nothing from the
//! future leaks in. Pure, by + − × ÷ alone; about a third of a millisecond for 14 days from 30.
//!
//! Method. Every hour to come starts from its *day profile*: the same hour of the last seven known days,
//! weighted 7, 6, … 1. Seven *signs* move it off that profile (`past`): the last known same hour, the mean
//! of all same hours, the same hours of the same day of the week, how far the last hour, the one before and
//! the last day were off their profiles, and the level of the week. How much each counts depends on how far
//! ahead the hour is (`learn`), in eight ranges. Each range starts from weights that fit many zones, and moves
//! to what would have been right in this one: the same forecast is remade at past issues, four a day, and
//! its errors decide by ridge regression (Hoerl and Kennard, Technometrics 12, 1970) reweighted towards
//! absolute errors. Where repeating the last day did clearly better, that counts instead: some grids are
//! published as a fixed day. The *spread* is the 10 % and 90 % quantile of what really happened, relative
//! to what would have been expected, at those past issues. It is the same for all hours of a range.
//!
//! With about a week of history there are no past issues to learn from: weights and spread common to all
//! zones stand. With less than a day, or where the last known hour is more than a week old, the last value
//! is held, and nothing is known of its spread. At most the last 30 days are read.
//!
//! How good it is, and on what settings were chosen: `docs/results.md`, `benches/forecast.rs`.
//! Leaves out weather, prices, outages and holidays, which no past of intensity alone tells.

mod learn;
mod past;

use fleet::{GramsCo2PerKwh, Instant, Series, Span, Spread, SpreadStep};
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

/// What a forecast made here says of where it comes from, given where its history does.
pub fn source(history: &str) -> String {
    format!("learnt from the last 30 days of {history}")
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

/// How far off [`forecast`] may be by how far ahead an hour lies, as the zone's own past suggests; `None` where too
/// little is known to say. Stands in for forecasts of others, which seldom say how far off they are.
pub fn spread(history: &Series, at: Instant) -> Option<Spread> {
    let past = Past::new(history, at, AGE_HOURS_MAX)?;
    let forecaster = Forecaster::new(&past)?;
    let age = at.floor_to(Span::HOUR) - past.end;
    let steps = forecaster.spreads().map(|(first, half)| SpreadStep {
        ahead: (Span::HOUR.scaled(first as i64, 1) - age).max(Span::ZERO),
        permille: (half * 1000.0 + 0.5) as i64,
    });
    Some(Spread::new(steps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn a_day_of_the_week_is_told_from_the_others() {
        let values: Vec<f64> =
            (0..24 * 30).map(|h| if (h / 24) % 7 >= 5 { 200.0 } else { 400.0 } + (h % 24) as f64).collect();
        let seen = forecast(&series(&values[..24 * 26]), at(24 * 26), 96);
        let errors =
            seen.values().iter().zip(&values[24 * 26..]).map(|(v, really)| (v.as_grams_f64() - really).abs());
        let (all, count) = errors.fold((0.0, 0), |(sum, count), off| (sum + off, count + 1));
        let naive: f64 = (24 * 26..24 * 30).map(|h| (values[h % 24 + 24 * 25] - values[h]).abs()).sum();
        assert_eq!(count, 96);
        assert!(all < 0.5 * naive, "{all} against {naive} of the same hour of yesterday");
    }

    #[test]
    fn nine_of_ten_hours_are_above_low_and_below_high() {
        let truth = grid(24 * 120);
        let (mut under, mut over, mut hours) = (0.0, 0.0, 0.0);
        for now in (24 * 30..24 * 116).step_by(7) {
            let seen = forecast_with_spread(&series(&truth[now - 24 * 30..now]), at(24 * 30), 96);
            for ahead in 0..96 {
                let really = GramsCo2PerKwh::from_grams_f64(truth[now + ahead]);
                under += f64::from(u8::from(really < seen.low.values()[ahead]));
                over += f64::from(u8::from(really > seen.high.values()[ahead]));
                hours += 1.0;
            }
        }
        for share in [under / hours, over / hours] {
            assert!((0.05..0.2).contains(&share), "{share} of hours outside one end");
        }
    }

    #[test]
    fn the_spread_is_half_of_what_lies_between_the_quantiles_and_an_old_history_knows_less() {
        let truth = series(&grid(24 * 40));
        let seen = forecast_with_spread(&truth, at(24 * 30), 96);
        let spread = spread(&truth, at(24 * 30)).unwrap();
        for ahead in 0..96 {
            let [low, expected, high] =
                [&seen.low, &seen.expected, &seen.high].map(|s| s.values()[ahead].as_grams_f64());
            let off =
                500.0 * (high - low) / expected - spread.permille(Span::HOUR.scaled(ahead as i64, 1)) as f64;
            assert!(off.abs() < 0.51, "{ahead} hours ahead: {off}");
        }
        let old = super::spread(&series(&grid(24 * 30 - 12)), at(24 * 30)).unwrap();
        assert!(old.permille(Span::ZERO) > 2 * spread.permille(Span::ZERO), "{old:?} {spread:?}");
        assert_eq!(super::spread(&series(&[300.0, 200.0]), at(2)), None);
    }

    #[test]
    fn a_first_step_after_weeks_without_one_stays_within_reason() {
        let mut values = vec![300.0; 24 * 30];
        values[24 * 30 - 1] = 360.0;
        let seen = forecast_with_spread(&series(&values), at(24 * 30), 96);
        for series in [seen.low, seen.expected, seen.high] {
            assert!(series.values().iter().all(|v| (150.0..600.0).contains(&v.as_grams_f64())), "{series:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_the_history(
            values in prop::collection::vec(prop_oneof![Just(0.0), 0.0f64..900.0, Just(5e5)], 1..900),
            minutes in prop::sample::select(vec![7i64, 15, 30, 60, 90, 180, 1440]), offset in 0i64..100,
            now in 0.0f64..1.3, hours in 0usize..400, other in 0.0f64..900.0
        ) {
            let step = Span::MINUTE.scaled(minutes, 1);
            let start = at(1000) + Span::MINUTE.scaled(offset, 1);
            let length = step.scaled(values.len() as i64, 1).as_nanos() as f64;
            let now = start + Span::MINUTE.scaled((now * length / Span::MINUTE.as_nanos() as f64) as i64, 1);
            let of = |values: &[f64]| {
                Series::new(start, step, values.iter().map(|v| GramsCo2PerKwh::from_grams_f64(*v)).collect()).unwrap()
            };
            let seen = forecast_with_spread(&of(&values), now, hours);
            prop_assert_eq!(&seen, &forecast_with_spread(&of(&values), now, hours));
            prop_assert_eq!(&seen.expected, &forecast(&of(&values), now, hours));
            prop_assert_eq!(seen.expected.start(), now.floor_to(Span::HOUR));
            prop_assert_eq!(seen.expected.values().len(), hours.clamp(1, HOURS_MAX));
            for (hour, value) in seen.expected.values().iter().enumerate() {
                let (low, high) = (seen.low.values()[hour], seen.high.values()[hour]);
                prop_assert!(GramsCo2PerKwh::ZERO <= low && low <= *value && *value <= high);
            }
            // What had not ended by now may be anything. With no step ended, the first value stands in.
            let ended = (0..values.len()).take_while(|i| start + step.scaled(*i as i64 + 1, 1) <= now).count();
            let changed: Vec<f64> =
                values.iter().enumerate().map(|(i, v)| if i < ended.max(1) { *v } else { other }).collect();
            prop_assert_eq!(&seen, &forecast_with_spread(&of(&changed), now, hours));
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
