//! What is known of a zone, hour by hour, and what it says of an hour to come.
//!
//! Pure; values in gCO2e/kWh. An *issue* is an hour from which on one forecasts: the hours before it are
//! known, the others are not. The *lead* of an hour is how many hours after the issue it begins.

use fleet::{Instant, Series, Span};

/// Hours in a day.
pub(super) const DAY: usize = 24;
/// Hours in a week.
const WEEK: usize = 7 * DAY;
/// Most hours of history looked at: what the product keeps of a zone.
const PAST_HOURS_MAX: usize = 30 * DAY;
/// Weights of the day profile, yesterday first.
const RECENT: [f64; 7] = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
/// Same hours of the same day of the week that the week profile looks back on.
const WEEKS: usize = 4;
/// How many things are said of an hour beyond its day profile.
pub(super) const SIGNS: usize = 7;
/// Least level, in gCO2e/kWh, that errors are taken relative to: a grid without carbon has no scale.
pub(super) const LEVEL_MIN: f64 = 1.0;

/// What the past of an issue says of one hour to come.
pub(super) struct Outlook {
    /// Its day profile.
    pub profile: f64,
    /// What may move it off its profile, each in gCO2e/kWh: the last known same hour, the mean of all same
    /// hours, the mean of the same hours of the same day of the week, each less the profile; how far the
    /// last hour, the last day, and the last hour but one were off theirs; the level of the last week.
    pub signs: [f64; SIGNS],
}

/// The state of the grid at an issue: the same for every lead.
pub(super) struct State {
    pub issue: usize,
    last: f64,
    day: f64,
    before: f64,
    /// Mean of the last week, at least [`LEVEL_MIN`].
    pub level: f64,
}

/// Consecutive known hours.
pub(super) struct Past {
    /// Start of the hour after the last known one.
    pub end: Instant,
    /// Known hours, oldest first.
    pub values: Vec<f64>,
    /// The least value known.
    pub least: f64,
    /// The greatest value known, at least `least`.
    pub most: f64,
    /// Day profile of hour `i` from the days before it; reaches a day beyond `values`.
    profiles: Vec<f64>,
    /// Sum of the values of hour `i` and the same hour of all days before.
    sums: Vec<f64>,
}

/// The mean over an hour whose every step was known at `at`.
fn known(history: &Series, hour: Instant, at: Instant) -> Option<f64> {
    let end = hour + Span::HOUR;
    let step = history.step();
    // The end of the last step that overlaps the hour.
    let nanos = (end - history.start()).as_nanos() - 1;
    let last = history.start() + step.scaled(nanos.div_euclid(step.as_nanos()) + 1, 1);
    let inside = hour >= history.start() && end <= history.end();
    if !inside || last > at {
        return None;
    }
    // Most series are hourly: their values need no mean.
    let whole = step == Span::HOUR && last == end;
    Some(if whole { history.at(hour) } else { history.mean(hour, end) }.as_grams_f64())
}

impl Past {
    /// The hours that had ended by `at`; `None` where there is none in the `back` hours before.
    pub fn new(history: &Series, at: Instant, back: i64) -> Option<Past> {
        let first = at.floor_to(Span::HOUR);
        let hour = |back: i64| first - Span::HOUR.scaled(back, 1);
        let latest = (1..=back).find(|back| known(history, hour(*back), at).is_some())?;
        let hours = latest..latest + PAST_HOURS_MAX as i64;
        let mut values: Vec<f64> = hours.map_while(|back| known(history, hour(back), at)).collect();
        values.reverse();
        Some(Past::of(hour(latest - 1), values))
    }

    fn of(end: Instant, values: Vec<f64>) -> Past {
        let mut sums = values.clone();
        for hour in DAY..sums.len() {
            sums[hour] += sums[hour - DAY];
        }
        let profile = |hour: usize| {
            let days = RECENT.iter().zip((0..=hour.checked_sub(DAY)?).rev().step_by(DAY));
            let (sum, weights) =
                days.fold((0.0, 0.0), |(sum, all), (weight, day)| (sum + weight * values[day], all + weight));
            Some(sum / weights)
        };
        // The first day has no day before it, and nothing reads its profile but where there is no better.
        let profiles = (0..values.len() + DAY)
            .map(|hour| profile(hour).unwrap_or_else(|| values[hour.min(values.len() - 1)]));
        let profiles = profiles.collect();
        let least = values.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0);
        let most = values.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0);
        Past { end, values, least, most, profiles, sums }
    }

    /// The state at an issue at least a day after the first known hour.
    pub fn state(&self, issue: usize) -> Option<State> {
        if issue < DAY || issue > self.values.len() {
            return None;
        }
        let off = |hour: usize| self.values[hour] - self.profiles[hour];
        let mean = |hours: usize, value: &dyn Fn(usize) -> f64| {
            let hours = hours.min(issue);
            (issue - hours..issue).map(value).sum::<f64>() / hours as f64
        };
        let level = mean(WEEK, &|hour| self.values[hour]).max(LEVEL_MIN);
        Some(State { issue, last: off(issue - 1), before: off(issue - 2), day: mean(DAY, &off), level })
    }

    /// What was known at an issue of the hour `lead` hours on.
    pub fn outlook(&self, state: &State, lead: usize) -> Outlook {
        let hour = state.issue + lead;
        // Days back to the last same hour that is known.
        let days = lead / DAY + 1;
        let nearest = hour - days * DAY;
        let profile = self.profiles[nearest + DAY];
        let yesterday = self.values[nearest];
        let all = self.sums[nearest] / (nearest / DAY + 1) as f64;
        let (mut sum, mut count) = (0.0, 0.0);
        for back in (1..=WEEKS).map(|weeks| weeks * WEEK).filter(|back| *back >= days * DAY && *back <= hour)
        {
            sum += self.values[hour - back];
            count += 1.0;
        }
        let week = if count > 0.0 { sum / count - profile } else { 0.0 };
        let signs =
            [yesterday - profile, all - profile, week, state.last, state.day, state.before, state.level];
        Outlook { profile, signs }
    }
}
