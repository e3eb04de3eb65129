//! Carbon intensity ahead, from its own past, for where a provider has no forecast (PRODUCT row S6).
//!
//! Method: the profile of the last seven days by hour of day (weights 7, 6, … 1 from yesterday back),
//! plus how far the last known hour stands from its profile, fading by a tenth an hour. Hourly, in
//! UTC, never below zero. Only steps that had ended by `at` count: nothing from the future leaks in.

use fleet::{GramsCo2PerKwh, Instant, Series, Span};

/// Days the profile looks back.
const DAYS: i64 = 7;
/// How much of a deviation is left an hour later: persistence of grid intensity, about 0.9 in hourly
/// autocorrelation of the published zones.
const PERSISTENCE: f64 = 0.9;
/// Longest forecast, in hours.
pub const HOURS_MAX: usize = 24 * 14;

/// The mean over an hour whose every step was known at `at`.
fn known(history: &Series, hour: Instant, at: Instant) -> Option<f64> {
    let end = hour + Span::HOUR;
    let step = history.step();
    // The end of the last step that overlaps the hour.
    let nanos = (end - history.start()).as_nanos() - 1;
    let last = history.start() + step.scaled(nanos.div_euclid(step.as_nanos()) + 1, 1);
    let inside = hour >= history.start() && end <= history.end();
    (inside && last <= at).then(|| history.mean(hour, end).as_grams_f64())
}

/// What past days say of this hour of the day; days not known are left out.
fn profile(history: &Series, hour: Instant, at: Instant) -> Option<f64> {
    let day_of = |back: i64| hour - Span::DAY.scaled(back, 1);
    // The last day whose same hour has ended.
    let nearest = 1 + ((hour - at).as_nanos().max(0)) / Span::DAY.as_nanos();
    let (mut sum, mut weights) = (0.0, 0.0);
    for age in 0..=DAYS {
        let weight = (DAYS - age) as f64;
        if let Some(value) = known(history, day_of(nearest + age), at).filter(|_| weight > 0.0) {
            sum += weight * value;
            weights += weight;
        }
    }
    (weights > 0.0).then(|| sum / weights)
}

/// The hourly forecast of `hours` (1 to [`HOURS_MAX`]) from the hour of `at` on. Where the history
/// says nothing of an hour of the day, its last known value stands in.
pub fn forecast(history: &Series, at: Instant, hours: usize) -> Series {
    let first = at.floor_to(Span::HOUR);
    // The hour before the present one may still lack its last steps.
    let latest = (1..=24)
        .map(|back| first - Span::HOUR.scaled(back, 1))
        .find_map(|hour| Some((hour, known(history, hour, at)?)));
    let held =
        latest.map_or_else(|| history.at(at.min(history.end()) - history.step()).as_grams_f64(), |l| l.1);
    let deviation = latest.and_then(|(hour, value)| Some((hour, value - profile(history, hour, at)?)));
    let hours = hours.clamp(1, HOURS_MAX);
    let mut values = Vec::with_capacity(hours);
    for ahead in 0..hours as i64 {
        let hour = first + Span::HOUR.scaled(ahead, 1);
        let Some(profile) = profile(history, hour, at) else {
            values.push(GramsCo2PerKwh::from_grams_f64(held.max(0.0)));
            continue;
        };
        let off = deviation.map_or(0.0, |(latest, off)| {
            let age = (hour - latest).as_nanos() / Span::HOUR.as_nanos();
            (0..age).fold(off, |off, _| off * PERSISTENCE)
        });
        values.push(GramsCo2PerKwh::from_grams_f64((profile + off).max(0.0)));
    }
    let series = Series::new(first, Span::HOUR, values);
    series.unwrap_or_else(|| Series::constant(GramsCo2PerKwh::from_grams_f64(held)))
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
