//! Durations and points in time, as Go reads and prints them.
//!
//! Nanoseconds, years 1 to 9999. Leaves out time zones by name: `UTC` and offsets such as `+09:00` are known.

/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND as i128;
/// The first and the last instant there are, in nanoseconds since 1970.
const FIRST: i128 = -62_135_596_800 * SECOND as i128;
const LAST: i128 = 253_402_300_800 * SECOND as i128 - 1;
/// Longest text read.
const TEXT_MAX: usize = 64;

/// A duration such as `1h30m`, in nanoseconds.
pub(crate) fn duration_of(text: &str) -> Option<i64> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, after) = rest.split_at(number);
        let unit = after.len() - after.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.').len();
        let (unit, after) = after.split_at(unit);
        let each: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND.into(),
            "m" => 60 * i128::from(SECOND),
            "h" => 3600 * i128::from(SECOND),
            _ => return None,
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(each)?)?;
        let mut part = each;
        for digit in fraction.bytes() {
            if !digit.is_ascii_digit() {
                return None;
            }
            part /= 10;
            total += part * i128::from(digit - b'0');
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Days since 1970 of a day of the calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Counted from March, so that the leap day comes last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month (from one) and day of so many days since 1970.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// A time of day by RFC 3339, in nanoseconds since 1970.
pub(crate) fn timestamp_of(text: &str) -> Option<i128> {
    if text.len() > TEXT_MAX || !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let marks = [(4, '-'), (7, '-'), (10, 'T'), (13, ':'), (16, ':')];
    if marks.iter().any(|(at, mark)| text.as_bytes()[*at] != *mark as u8) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let day_number = days(year, month, day);
    if !(1..=12).contains(&month) || date(day_number) != (year, month, day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[19..];
    let mut nanos: i128 = 0;
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let count = fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if count == 0 {
            return None;
        }
        let mut part: i128 = SECOND.into();
        for digit in fraction[..count].bytes() {
            part /= 10;
            nanos += part * i128::from(digit - b'0');
        }
        rest = &fraction[count..];
    }
    let shift = if rest == "Z" { 0 } else { offset_of(rest)? };
    let seconds = i128::from(day_number) * 86_400 + i128::from(hour * 3600 + minute * 60 + second - shift);
    in_range(seconds * i128::from(SECOND) + nanos)
}

/// An instant, if it is one of the years there are.
pub(crate) fn in_range(nanos: i128) -> Option<i128> {
    (FIRST..=LAST).contains(&nanos).then_some(nanos)
}

/// `+09:00` in seconds.
fn offset_of(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// An instant as RFC 3339, in UTC.
pub(crate) fn show_timestamp(nanos: i128) -> String {
    let parts = parts(nanos);
    let fraction = match nanos.rem_euclid(SECOND.into()) {
        0 => String::new(),
        part => format!(".{part:09}").trim_end_matches('0').to_owned(),
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{fraction}Z",
        parts.year, parts.month, parts.day, parts.hour, parts.minute, parts.second
    )
}

/// A duration in seconds, as CEL turns one to text.
pub(crate) fn show_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, part) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    let fraction = match part {
        0 => String::new(),
        part => format!(".{part:09}").trim_end_matches('0').to_owned(),
    };
    format!("{sign}{whole}{fraction}s")
}

struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i128,
    minute: i128,
    second: i128,
    days: i64,
}

fn parts(nanos: i128) -> Parts {
    let days = i64::try_from(nanos.div_euclid(DAY)).unwrap_or_default();
    let (year, month, day) = date(days);
    let second = nanos.rem_euclid(DAY) / i128::from(SECOND);
    Parts { year, month, day, hour: second / 3600, minute: second / 60 % 60, second: second % 60, days }
}

/// Part of an instant by the function's name, in a time zone; the error is in words.
pub(crate) fn part_of(name: &str, nanos: i128, zone: &str) -> Result<i64, String> {
    let shift = match zone {
        "" | "UTC" | "Z" => 0,
        zone => {
            let signed = if zone.starts_with(['+', '-']) { zone.to_owned() } else { format!("+{zone}") };
            offset_of(&signed).ok_or_else(|| format!("unknown time zone {zone}"))?
        }
    };
    let local = nanos + i128::from(shift) * i128::from(SECOND);
    let parts = parts(local);
    let small = |n: i128| i64::try_from(n).unwrap_or_default();
    Ok(match name {
        "getFullYear" => parts.year,
        "getMonth" => parts.month - 1,
        "getDate" => parts.day,
        "getDayOfMonth" => parts.day - 1,
        "getDayOfYear" => parts.days - days(parts.year, 1, 1),
        // The first of January 1970 was a Thursday.
        "getDayOfWeek" => (parts.days + 4).rem_euclid(7),
        "getHours" => small(parts.hour),
        "getMinutes" => small(parts.minute),
        "getSeconds" => small(parts.second),
        _ => small(local.rem_euclid(SECOND.into()) / 1_000_000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_in_go() {
        for (text, nanos) in [
            ("1h30m", Some(5400 * SECOND)),
            ("-1.5s", Some(-1_500_000_000)),
            ("100ms", Some(100_000_000)),
            ("0", Some(0)),
            (".5s", Some(500_000_000)),
            ("1", None),
            ("", None),
            ("s", None),
            ("1d", None),
            ("9223372036s", Some(9_223_372_036 * SECOND)),
            ("9223372037s", None),
        ] {
            assert_eq!(duration_of(text), nanos, "{text:?}");
        }
    }

    #[test]
    fn instants_read_and_print() {
        for (text, shown) in [
            ("1970-01-01T00:00:00Z", Some("1970-01-01T00:00:00Z")),
            ("2024-02-29T23:59:59.120Z", Some("2024-02-29T23:59:59.12Z")),
            ("2024-01-01T08:00:00+09:00", Some("2023-12-31T23:00:00Z")),
            ("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z")),
            ("2023-02-29T00:00:00Z", None),
            ("2023-02-28 00:00:00Z", None),
            ("2023-02-28T24:00:00Z", None),
            ("2023-02-28", None),
        ] {
            assert_eq!(timestamp_of(text).map(show_timestamp).as_deref(), shown, "{text:?}");
        }
        let at = timestamp_of("2024-03-01T10:20:30.405Z").expect("an instant");
        let get = |name: &str| part_of(name, at, "").expect("in UTC");
        assert_eq!((get("getDayOfYear"), get("getDayOfWeek"), get("getMonth")), (60, 5, 2));
        assert_eq!((get("getDate"), get("getDayOfMonth"), get("getMilliseconds")), (1, 0, 405));
        assert_eq!(part_of("getHours", at, "-02:30"), Ok(7));
        assert!(part_of("getHours", at, "Asia/Seoul").is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos in FIRST..=LAST) {
            prop_assert_eq!(timestamp_of(&show_timestamp(nanos)), Some(nanos));
        }
    }
}
