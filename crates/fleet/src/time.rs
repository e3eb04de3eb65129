//! Time as data: an [`Instant`] is whole nanoseconds since the Unix epoch (UTC), a [`Span`] the gap
//! between two. Nothing here reads a clock; whoever owns one passes the instant in.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A point in time, in nanoseconds since 1970-01-01T00:00:00Z. Range: years 1678 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

/// A length of time in nanoseconds; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

/// What was wrong with a time or duration somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a point in time.
    #[error("\"{found}\" is not a time: expected RFC 3339, e.g. 2026-05-01T09:00:00Z")]
    Instant {
        /// What stood there.
        found: String,
    },
    /// Not a duration.
    #[error(
        "\"{found}\" is not a duration: expected a number and a unit of s, m, h or d, e.g. 90s, 15m, 1h30m, 7d"
    )]
    Span {
        /// What stood there.
        found: String,
    },
}

impl Instant {
    /// The Unix epoch.
    pub const EPOCH: Instant = Instant(0);
    /// Later than any instant that occurs.
    pub const FAR_FUTURE: Instant = Instant(i64::MAX);

    /// From whole seconds since the epoch; saturates at the ends of the range.
    pub const fn from_unix_seconds(seconds: i64) -> Instant {
        Instant(seconds.saturating_mul(1_000_000_000))
    }
    /// From nanoseconds since the epoch.
    pub const fn from_unix_nanos(nanos: i64) -> Instant {
        Instant(nanos)
    }
    /// Whole seconds since the epoch, rounded down.
    pub const fn as_unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
    /// Nanoseconds since the epoch.
    pub const fn as_unix_nanos(self) -> i64 {
        self.0
    }
    /// The last multiple of `step` (counted from the epoch) at or before this instant.
    pub const fn floor_to(self, step: Span) -> Instant {
        Instant(self.0 - self.0.rem_euclid(step.0))
    }
    /// The first multiple of `step` at or after this instant.
    pub const fn ceil_to(self, step: Span) -> Instant {
        let down = self.floor_to(step);
        if down.0 == self.0 { down } else { Instant(down.0 + step.0) }
    }
    /// Adds without wrapping round.
    pub const fn saturating_add(self, span: Span) -> Instant {
        Instant(self.0.saturating_add(span.0))
    }
    /// Reads RFC 3339 (any offset).
    pub fn parse(text: &str) -> Result<Instant, Error> {
        let found = || Error::Instant { found: text.chars().take(80).collect() };
        let stamp: jiff::Timestamp = text.trim().parse().map_err(|_| found())?;
        i64::try_from(stamp.as_nanosecond()).map(Instant).map_err(|_| found())
    }
    /// Calendar parts in UTC: (year, month 1–12, day 1–31, hour 0–23).
    pub fn utc_parts(self) -> (i16, u8, u8, u8) {
        let z = self.to_jiff().to_zoned(jiff::tz::TimeZone::UTC);
        (z.year(), z.month() as u8, z.day() as u8, z.hour() as u8)
    }
    /// As the calendar library's type (whole nanoseconds, nothing lost).
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::MAX)
    }
    /// From the calendar library's type; saturates outside the years 1678 to 2262.
    pub fn from_jiff(stamp: jiff::Timestamp) -> Instant {
        let nanos = stamp.as_nanosecond();
        Instant(nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }
    /// Whole seconds as the Kubernetes API writes them: `2026-05-01T09:00:00Z`.
    pub fn to_rfc3339_seconds(self) -> String {
        Instant::from_unix_seconds(self.as_unix_seconds()).to_jiff().to_string()
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// One hour.
    pub const HOUR: Span = Span::from_seconds(3600);
    /// One minute.
    pub const MINUTE: Span = Span::from_seconds(60);
    /// Twenty-four hours.
    pub const DAY: Span = Span::from_seconds(86_400);

    /// From whole seconds; saturates.
    pub const fn from_seconds(seconds: i64) -> Span {
        Span(seconds.saturating_mul(1_000_000_000))
    }
    /// From whole milliseconds; saturates.
    pub const fn from_millis(millis: i64) -> Span {
        Span(millis.saturating_mul(1_000_000))
    }
    /// From nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Span {
        Span(nanos)
    }
    /// In nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
    /// Whole seconds, rounded towards zero.
    pub const fn as_seconds(self) -> i64 {
        self.0 / 1_000_000_000
    }
    /// In hours, for solvers and display.
    pub fn as_hours_f64(self) -> f64 {
        self.0 as f64 / 3.6e12
    }
    /// From hours as a trace gives them, rounded to the nanosecond; `None` if not finite or too large.
    pub fn from_hours_f64(hours: f64) -> Option<Span> {
        let nanos = hours * 3.6e12;
        (nanos.is_finite() && nanos.abs() < 9.0e18).then(|| Span(nanos.round() as i64))
    }
    /// Whether it is no time at all.
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }
    /// The larger of two.
    pub fn max(self, other: Span) -> Span {
        Span(self.0.max(other.0))
    }
    /// This span times `numerator / denominator`, rounded towards zero; saturates.
    pub fn scaled(self, numerator: i64, denominator: i64) -> Span {
        let wide = i128::from(self.0) * i128::from(numerator) / i128::from(denominator.max(1));
        Span(wide.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }
    /// Reads `90s`, `15m`, `1h30m`, `7d`, `500ms`. Nothing negative; at most 100 years.
    pub fn parse(text: &str) -> Result<Span, Error> {
        let error = || Error::Span { found: text.chars().take(80).collect() };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(error());
        }
        let mut nanos: i128 = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 || digits > 12 {
                return Err(error());
            }
            let amount: i128 = rest[..digits].parse().map_err(|_| error())?;
            rest = &rest[digits..];
            let (unit, used) = unit_nanos(rest).ok_or_else(error)?;
            nanos += amount * unit;
            rest = &rest[used..];
        }
        if nanos > 100 * 365 * 86_400 * 1_000_000_000 {
            return Err(error());
        }
        Ok(Span(nanos as i64))
    }
}

/// The unit at the head of `rest`: its nanoseconds and its length in bytes.
fn unit_nanos(rest: &str) -> Option<(i128, usize)> {
    const SECOND: i128 = 1_000_000_000;
    if rest.starts_with("ms") {
        return Some((1_000_000, 2));
    }
    match rest.as_bytes().first()? {
        b's' => Some((SECOND, 1)),
        b'm' => Some((60 * SECOND, 1)),
        b'h' => Some((3600 * SECOND, 1)),
        b'd' => Some((86_400 * SECOND, 1)),
        _ => None,
    }
}

impl Add<Span> for Instant {
    type Output = Instant;
    fn add(self, span: Span) -> Instant {
        self.saturating_add(span)
    }
}
impl AddAssign<Span> for Instant {
    fn add_assign(&mut self, span: Span) {
        *self = self.saturating_add(span);
    }
}
impl Sub<Span> for Instant {
    type Output = Instant;
    fn sub(self, span: Span) -> Instant {
        Instant(self.0.saturating_sub(span.0))
    }
}
impl Sub for Instant {
    type Output = Span;
    fn sub(self, other: Instant) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}
impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}
impl AddAssign for Span {
    fn add_assign(&mut self, other: Span) {
        *self = *self + other;
    }
}
impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_jiff().fmt(f)
    }
}

/// `1d2h`, `45m`, `90s`, `1.5s`: the two largest units that are not zero.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            write!(f, "-")?;
        }
        let total = self.0.unsigned_abs();
        let seconds = total / 1_000_000_000;
        let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        match (d, h, m, s) {
            (0, 0, 0, s) => {
                let millis = total / 1_000_000 % 1000;
                if millis == 0 { write!(f, "{s}s") } else { write!(f, "{s}.{millis:03}s") }
            }
            (0, 0, m, 0) => write!(f, "{m}m"),
            (0, 0, m, s) => write!(f, "{m}m{s}s"),
            (0, h, 0, _) => write!(f, "{h}h"),
            (0, h, m, _) => write!(f, "{h}h{m}m"),
            (d, 0, _, _) => write!(f, "{d}d"),
            (d, h, _, _) => write!(f, "{d}d{h}h"),
        }
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Instant, D::Error> {
        let text = String::deserialize(d)?;
        Instant::parse(&text).map_err(serde::de::Error::custom)
    }
}
/// Exact seconds and nanoseconds: `2700s`, `500ms`, `5ns` (see [`Span::parse`] for what people write).
impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1_000_000_000 == 0 {
            s.collect_str(&format_args!("{}s", self.0 / 1_000_000_000))
        } else {
            s.collect_str(&format_args!("{}ns", self.0))
        }
    }
}
impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Span, D::Error> {
        let text = String::deserialize(d)?;
        let exact = text.strip_suffix("ns").and_then(|n| n.parse().ok());
        let negative = text.strip_prefix('-').and_then(|t| Span::parse(t).ok());
        match (exact, negative) {
            (Some(nanos), _) => Ok(Span(nanos)),
            (None, Some(span)) => Ok(Span(-span.0)),
            (None, None) => Span::parse(&text).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_people_write() {
        let seconds = |text| Span::parse(text).map(Span::as_seconds);
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("7d"), Ok(604_800));
        for wrong in ["", "12", "h", "-5m", "1y", "99999999999999h", "1h 30m", "36501d"] {
            assert!(Span::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Span::from_seconds(5400).to_string(), "1h30m");
        assert_eq!(Span::from_millis(1500).to_string(), "1.500s");
    }

    #[test]
    fn instants_floor_and_ceil_to_steps() {
        let t = Instant::parse("2022-01-01T10:20:30Z").unwrap();
        assert_eq!(t.floor_to(Span::HOUR).to_string(), "2022-01-01T10:00:00Z");
        assert_eq!(t.ceil_to(Span::HOUR).to_string(), "2022-01-01T11:00:00Z");
        assert_eq!(t.utc_parts(), (2022, 1, 1, 10));
        assert!(Instant::parse("yesterday").is_err());
    }

    proptest! {
        #[test]
        fn serde_keeps_every_nanosecond(nanos in any::<i64>()) {
            let (t, d) = (Instant::from_unix_nanos(nanos), Span::from_nanos(nanos));
            prop_assert_eq!(serde_json::from_str::<Instant>(&serde_json::to_string(&t).unwrap()).unwrap(), t);
            prop_assert_eq!(serde_json::from_str::<Span>(&serde_json::to_string(&d).unwrap()).unwrap(), d);
        }
    }
}
