//! How far off the forecasts in use really were: each is kept as it was when it was used, and held against what came.
//!
//! Every [`ISSUE_EVERY`] the forecast in use of a zone is kept for its first 96 hours; when an hour has passed and its
//! source says what it was, every kept forecast that speaks of it is scored once: |expected − actual| ÷ actual, by hour.
//! Figures: the mean of that in % (MAPE) over hours 0 to 23 and 0 to 95 ahead, over the last [`DAYS_MAX`] days, by
//! source and by whether the forecast was its own. Invariants: a source's forecast is held against that source's figures
//! alone, and against no assumed ones; nothing grows without a bound; integers, so that what is kept and read back is
//! the same. Left out: corrections that come later than an hour's first figure; hours without emissions, which have no
//! percentage. Behind the end of a source's own forecast, what is learnt from the past goes on, and is scored with it.

use fleet::{GramsCo2PerKwh, Instant, Series, Span};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How far ahead is scored, in hours.
pub const LEADS: [i64; 2] = [24, 96];
/// A forecast is kept so often: the hours of a day at which it is made all count.
pub const ISSUE_EVERY: Span = Span::from_seconds(6 * 3600);
/// Hours kept of a forecast.
const HOURS: usize = 96;
/// Forecasts kept at most: those that may still speak of an hour to come, and some more as sources change.
const ISSUES_MAX: usize = 24;
/// How many days figures are means over.
pub const DAYS_MAX: i64 = 30;
/// Days of scores kept at most over all sources of a zone: eight of them.
const SCORES_MAX: usize = 8 * DAYS_MAX as usize;
/// Most that an hour's error counts, in hundredths of a per cent: 100 times what came.
const ERROR_MAX: u64 = 1_000_000;
/// Longest name of a source that is kept, in bytes.
const SOURCE_MAX: usize = 300;

/// Who made a forecast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecaster {
    /// The source of the zone's figures.
    pub source: String,
    /// Whether it is the source's own, or learnt from its past.
    pub own: bool,
}

/// A figure to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastError {
    /// Whether the forecasts are the source's own, or learnt from its past.
    pub own: bool,
    /// Hours ahead, up to this.
    pub lead_hours: i64,
    /// Mean absolute percentage error.
    pub mape_percent: f64,
    /// How many hours that is a mean of.
    pub hours: u64,
    /// Start of the first day counted.
    pub since: Instant,
}

/// What is kept of a zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneErrors {
    issues: VecDeque<Issue>,
    /// Hours before this have been scored.
    scored_until: Option<Instant>,
    scores: VecDeque<Score>,
}

/// A forecast as it was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Issue {
    /// Its first hour.
    at: Instant,
    by: Forecaster,
    milligrams: Vec<i64>,
}

/// One day's scores of one forecaster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Score {
    day: Instant,
    by: Forecaster,
    /// For each of [`LEADS`].
    sums: [Sum; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    hours: u64,
    /// Hundredths of a per cent.
    error: u64,
}

impl ZoneErrors {
    /// Takes in what came, then keeps the forecast that is used from `now` on. `by`: who made it; its source is that of
    /// `actual` as well.
    pub fn take_in(&mut self, by: &Forecaster, actual: &Series, forecast: &Series, now: Instant) {
        self.score(&by.source, actual, now);
        let hour = now.floor_to(Span::HOUR);
        let last = self.issues.back();
        let due = last.is_none_or(|last| last.by != *by || hour >= last.at + ISSUE_EVERY || hour < last.at);
        if due && by.source.len() <= SOURCE_MAX && forecast.end() > hour {
            let hours = forecast.resample(hour, Span::HOUR, HOURS);
            let milligrams = hours.into_iter().map(GramsCo2PerKwh::as_milligrams).collect();
            self.issues.push_back(Issue { at: hour, by: by.clone(), milligrams });
        }
        self.issues.retain(|issue| issue.at + Span::HOUR.scaled(HOURS as i64, 1) > hour && issue.at <= hour);
        while self.issues.len() > ISSUES_MAX {
            self.issues.pop_front();
        }
    }

    /// Scores the hours that have passed.
    fn score(&mut self, source: &str, actual: &Series, now: Instant) {
        let Some(first) = self.issues.iter().map(|issue| issue.at).min() else { return };
        let until = actual.end().min(now).floor_to(Span::HOUR);
        // A clock that was set back scores no hour twice.
        let mut hour = self.scored_until.unwrap_or(first).max(first).max(actual.start().ceil_to(Span::HOUR));
        while hour < until {
            let was = actual.mean(hour, hour + Span::HOUR).as_milligrams();
            let day = hour.floor_to(Span::DAY);
            for i in 0..self.issues.len() {
                let issue = &self.issues[i];
                let ahead = (hour - issue.at).as_seconds().div_euclid(3600);
                let expected = usize::try_from(ahead).ok().and_then(|ahead| issue.milligrams.get(ahead));
                if let Some(expected) = expected.filter(|_| was > 0 && issue.by.source == source) {
                    let off = expected.abs_diff(was).saturating_mul(10_000) / was.unsigned_abs();
                    let by = issue.by.clone();
                    self.count(day, by, ahead, off.min(ERROR_MAX));
                }
            }
            hour += Span::HOUR;
        }
        self.scored_until = Some(self.scored_until.map_or(until, |before| before.max(until)));
        let oldest = now.floor_to(Span::DAY) - Span::DAY.scaled(DAYS_MAX, 1);
        self.scores.retain(|score| score.day > oldest);
        while self.scores.len() > SCORES_MAX {
            self.scores.pop_front();
        }
    }

    fn count(&mut self, day: Instant, by: Forecaster, ahead: i64, off: u64) {
        let known = self.scores.iter().rposition(|score| score.day == day && score.by == by);
        let at = known.unwrap_or_else(|| {
            self.scores.push_back(Score { day, by, sums: Default::default() });
            self.scores.len() - 1
        });
        for (sum, lead) in self.scores[at].sums.iter_mut().zip(LEADS) {
            if ahead < lead {
                sum.hours += 1;
                sum.error += off;
            }
        }
    }

    /// What is known of a source's forecasts: of its own first, then of those learnt from its past.
    pub fn of(&self, source: &str) -> Vec<ForecastError> {
        let mut all = Vec::new();
        for own in [true, false] {
            let of_it = || self.scores.iter().filter(move |s| s.by.own == own && s.by.source == source);
            let Some(since) = of_it().map(|score| score.day).min() else { continue };
            for (i, lead_hours) in LEADS.into_iter().enumerate() {
                let sum = of_it().fold(Sum::default(), |sum, score| Sum {
                    hours: sum.hours + score.sums[i].hours,
                    error: sum.error + score.sums[i].error,
                });
                if sum.hours > 0 {
                    let mape_percent = sum.error as f64 / sum.hours as f64 / 100.0;
                    all.push(ForecastError { own, lead_hours, mape_percent, hours: sum.hours, since });
                }
            }
        }
        all
    }

    /// What was kept by an earlier run, if it can be: of this shape, within the bounds, and of no time after `now`.
    pub fn restored(mut self, now: Instant) -> Option<ZoneErrors> {
        let bounded = self.issues.len() <= ISSUES_MAX
            && self.scores.len() <= SCORES_MAX
            && self.issues.iter().all(|issue| issue.milligrams.len() == HOURS)
            && self.scores.iter().flat_map(|score| score.sums).all(|sum| {
                sum.hours <= 24 * 4 * HOURS as u64 && sum.error <= sum.hours.saturating_mul(ERROR_MAX)
            });
        let past = self.scores.iter().all(|score| score.day <= now);
        if !bounded || !past {
            return None;
        }
        self.issues.retain(|issue| issue.at <= now);
        self.scored_until = self.scored_until.map(|until| until.min(now.floor_to(Span::HOUR)));
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hour(i: i64) -> Instant {
        Instant::parse("2026-05-02T00:00:00Z").unwrap() + Span::HOUR.scaled(i, 1)
    }
    fn series(from: i64, grams: impl IntoIterator<Item = f64>) -> Series {
        let grams = grams.into_iter().map(GramsCo2PerKwh::from_grams_f64).collect();
        Series::new(hour(from), Span::HOUR, grams).unwrap()
    }
    fn by(source: &str, own: bool) -> Forecaster {
        Forecaster { source: source.to_owned(), own }
    }
    fn figures(errors: &ZoneErrors, source: &str) -> Vec<(bool, i64, f64, u64)> {
        errors.of(source).into_iter().map(|e| (e.own, e.lead_hours, e.mape_percent, e.hours)).collect()
    }

    /// Tells hour after hour what was (always `was`), and a forecast of `expected`.
    fn run(errors: &mut ZoneErrors, by: &Forecaster, hours: std::ops::Range<i64>, was: f64, expected: f64) {
        for i in hours {
            let actual = series(i - 24, std::iter::repeat_n(was, 24));
            errors.take_in(by, &actual, &series(i, std::iter::repeat_n(expected, 200)), hour(i));
        }
    }

    #[test]
    fn each_forecast_is_held_against_what_came() {
        let mut errors = ZoneErrors::default();
        run(&mut errors, &by("A", true), 0..7, 200.0, 220.0);
        // Six hours of the first forecast have passed; the second was kept at hour 6.
        assert_eq!(figures(&errors, "A"), [(true, 24, 10.0, 6), (true, 96, 10.0, 6)]);
        run(&mut errors, &by("A", true), 7..31, 200.0, 220.0);
        // Hours 0 to 29; forecasts of hours 0, 6, 12, 18, 24 speak of 30, 24, 18, 12 and 6 of them.
        assert_eq!(figures(&errors, "A"), [(true, 24, 10.0, 24 + 24 + 18 + 12 + 6), (true, 96, 10.0, 90)]);
        assert_eq!(errors.of("A")[0].since, hour(0));
        assert!(errors.of("B").is_empty());
    }

    #[test]
    fn a_source_is_held_against_itself_alone() {
        let mut errors = ZoneErrors::default();
        run(&mut errors, &by("A", true), 0..4, 200.0, 100.0);
        // B stands in for three hours, with figures of its own.
        run(&mut errors, &by("B", false), 4..7, 1000.0, 1000.0);
        run(&mut errors, &by("A", true), 7..9, 200.0, 100.0);
        assert_eq!(figures(&errors, "A")[0].2, 50.0);
        assert_eq!(figures(&errors, "B"), [(false, 24, 0.0, 2), (false, 96, 0.0, 2)]);
        let mut errors = ZoneErrors::default();
        run(&mut errors, &by("A", true), 0..13, 0.0, 100.0);
        assert!(errors.of("A").is_empty(), "no percentage of nothing");
    }

    #[test]
    fn late_figures_and_a_clock_set_back_count_once() {
        let mut errors = ZoneErrors::default();
        let (a, ahead) = (by("A", true), series(0, std::iter::repeat_n(300.0, 100)));
        errors.take_in(&a, &series(-24, std::iter::repeat_n(200.0, 24)), &ahead, hour(0));
        // The source is three hours late.
        errors.take_in(&a, &series(-24, std::iter::repeat_n(200.0, 25)), &ahead, hour(4));
        assert_eq!(figures(&errors, "A")[0].3, 1);
        errors.take_in(&a, &series(-24, std::iter::repeat_n(200.0, 29)), &ahead, hour(5));
        assert_eq!(figures(&errors, "A")[0], (true, 24, 50.0, 5));
        errors.take_in(&a, &series(-24, std::iter::repeat_n(200.0, 29)), &ahead, hour(2));
        errors.take_in(&a, &series(-24, std::iter::repeat_n(200.0, 29)), &ahead, hour(5));
        assert_eq!(figures(&errors, "A")[0].3, 5);
    }

    #[test]
    fn what_is_kept_comes_back_unless_it_cannot_be() {
        let mut errors = ZoneErrors::default();
        run(&mut errors, &by("A", true), 0..40, 200.0, 220.0);
        let text = serde_json::to_string(&errors).unwrap();
        let back = || serde_json::from_str::<ZoneErrors>(&text).unwrap();
        assert_eq!(back().restored(hour(39)), Some(errors.clone()));
        assert_eq!(back().restored(hour(-1)), None, "scores of days to come");
        let earlier = back().restored(hour(30)).unwrap();
        assert!(earlier.issues.iter().all(|issue| issue.at <= hour(30)));
        let mut wrong = back();
        wrong.issues[0].milligrams.pop();
        assert_eq!(wrong.restored(hour(39)), None);
        let mut wrong = back();
        wrong.scores[0].sums[0].hours = u64::MAX;
        assert_eq!(wrong.restored(hour(39)), None);
    }

    proptest! {
        #[test]
        fn nothing_grows_without_a_bound(
            steps in prop::collection::vec((0i64..200, 0usize..12, 0.0f64..900.0, 0.0f64..900.0, any::<bool>()), 1..80)
        ) {
            let (mut errors, mut at) = (ZoneErrors::default(), 0);
            for (ahead, source, was, expected, own) in steps {
                at += ahead;
                let (actual, next) = (series(at - 200, std::iter::repeat_n(was, 200)), series(at, [expected; 120]));
                errors.take_in(&by(&source.to_string(), own), &actual, &next, hour(at));
                prop_assert!(errors.issues.len() <= ISSUES_MAX && errors.scores.len() <= SCORES_MAX);
                let back: ZoneErrors = serde_json::from_str(&serde_json::to_string(&errors).unwrap()).unwrap();
                prop_assert_eq!(back.restored(hour(at)), Some(errors.clone()));
            }
        }
    }
}
