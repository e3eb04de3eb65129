//! Figures as people read them: three significant digits, a unit they know, times in the reader's zone.
//!
//! Left out: full precision (the API and the CSVs have it).

use super::text::{Lang, M};
use control::JobPhase;
use fleet::quantity::significant;
use fleet::{GramsCo2, Instant, MoneyPerHour, SignalKind, Span, Watts};

/// Furthest a time zone lies from UTC, in minutes.
const ZONE_MINUTES_MAX: i32 = 14 * 60;

/// How one reader wants times and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Language.
    pub lang: Lang,
    /// Offset of the reader's clock from UTC, in minutes east; 0 until the browser has said.
    pub zone_minutes: i32,
}

impl Reader {
    /// With an offset, bounded to what there is on earth.
    pub fn new(lang: Lang, zone_minutes: i32) -> Reader {
        Reader { lang, zone_minutes: zone_minutes.clamp(-ZONE_MINUTES_MAX, ZONE_MINUTES_MAX) }
    }
    /// The message.
    pub fn say(self, message: M) -> &'static str {
        self.lang.say(message)
    }
    /// The reader's wall time as if it were UTC.
    fn local(self, at: Instant) -> Instant {
        at + Span::MINUTE.scaled(i64::from(self.zone_minutes), 1)
    }
    /// Back from [`Reader::local`].
    pub fn instant(self, local: Instant) -> Instant {
        local - Span::MINUTE.scaled(i64::from(self.zone_minutes), 1)
    }
    /// The last local multiple of `step` at or before `at`, as an instant.
    pub fn floor(self, at: Instant, step: Span) -> Instant {
        self.instant(self.local(at).floor_to(step))
    }
    /// `14:05`.
    pub fn clock(self, at: Instant) -> String {
        let text = self.local(at).to_rfc3339_seconds();
        text.get(11..16).unwrap_or_default().to_owned()
    }
    /// `11-24`.
    pub fn day(self, at: Instant) -> String {
        let text = self.local(at).to_rfc3339_seconds();
        text.get(5..10).unwrap_or_default().to_owned()
    }
    /// `11-24 14:05`.
    pub fn moment(self, at: Instant) -> String {
        format!("{} {}", self.day(at), self.clock(at))
    }
    /// `2026-11-24 14:05`.
    pub fn date_time(self, at: Instant) -> String {
        let text = self.local(at).to_rfc3339_seconds();
        format!("{} {}", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
    }
    /// `UTC`, `UTC+9`, `UTC-3:30`.
    pub fn zone(self) -> String {
        let (sign, minutes) = (if self.zone_minutes < 0 { '-' } else { '+' }, self.zone_minutes.abs());
        match (minutes / 60, minutes % 60) {
            (0, 0) => "UTC".to_owned(),
            (hours, 0) => format!("UTC{sign}{hours}"),
            (hours, minutes) => format!("UTC{sign}{hours}:{minutes:02}"),
        }
    }
    /// A signal's kind.
    pub fn kind(self, kind: SignalKind) -> &'static str {
        self.say(match kind {
            SignalKind::Measured => M::Measured,
            SignalKind::Forecast => M::Forecast,
            SignalKind::Estimated => M::Estimated,
            SignalKind::Assumed => M::Assumed,
        })
    }
    /// A Job's phase.
    pub fn phase(self, phase: JobPhase) -> &'static str {
        self.say(match phase {
            JobPhase::Held => M::Held,
            JobPhase::Starting => M::Starting,
            JobPhase::Running => M::Running,
            JobPhase::Paused => M::PausedPhase,
            JobPhase::Succeeded => M::Succeeded,
            JobPhase::Failed => M::Failed,
            JobPhase::Deleting => M::Deleting,
        })
    }
    /// How old something is: `12m old`, or `fresh` under a minute.
    pub fn age(self, as_of: Instant, now: Instant) -> String {
        let age = now - as_of;
        if age < Span::MINUTE {
            return self.say(M::Fresh).to_owned();
        }
        self.lang.fill(M::AgeOld, &[&rough(age)])
    }
}

/// A span to the minute (to the second under ten minutes).
pub fn rough(span: Span) -> String {
    let step = if span < Span::MINUTE.scaled(10, 1) { 1 } else { 60 };
    Span::from_seconds(span.as_seconds() / step * step).to_string()
}

/// Digits in groups of three.
fn grouped(whole: &str) -> String {
    let mut out = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with three significant digits, thousands apart, a true minus sign.
pub fn number(value: f64) -> String {
    let text = significant(value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut out = grouped(whole);
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    if value < 0.0 && text != "0" { format!("−{out}") } else { out }
}

/// A count: whole, thousands apart.
pub fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// `12.3 kg`, `−4.5 g`: emissions with their unit.
pub fn carbon(value: GramsCo2) -> String {
    let text = value.to_string();
    text.strip_prefix('-').map_or(text.clone(), |rest| format!("−{rest}"))
}

/// Money: `$12.34`, `−$0.00123`, `CHF 4.10`.
pub fn money(units: f64, currency: &str) -> String {
    let size = units.abs();
    let text = match size {
        s if s >= 1000.0 => number(s.round()),
        s if s >= 1.0 => format!("{s:.2}"),
        0.0 => "0".to_owned(),
        s => number(s),
    };
    let sign = if units < 0.0 && text != "0" { "−" } else { "" };
    match currency {
        "USD" => format!("{sign}${text}"),
        "EUR" => format!("{sign}€{text}"),
        "KRW" => format!("{sign}₩{text}"),
        "JPY" => format!("{sign}¥{text}"),
        other => format!("{sign}{other} {text}"),
    }
}

/// A price per hour without its unit.
pub fn price(value: MoneyPerHour, currency: &str) -> String {
    money(value.as_units_f64(), currency)
}

/// `1.23 kW`, `830 W`.
pub fn power(value: Watts) -> String {
    let watts = value.as_watts_f64();
    if watts.abs() >= 1000.0 {
        format!("{} kW", number(watts / 1000.0))
    } else {
        format!("{} W", number(watts))
    }
}

/// A share in per cent, at most one decimal.
pub fn percent(share: f64) -> String {
    let value = share.abs() * 100.0;
    let text = if value >= 10.0 || value == 0.0 { format!("{value:.0}%") } else { format!("{value:.1}%") };
    if share < 0.0 { format!("−{text}") } else { text }
}

/// Position or width in an SVG, in per cent of it.
pub fn share(value: f64) -> String {
    format!("{:.3}%", value * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(-12.345), "−12.3");
        assert_eq!(number(0.0), "0");
        assert_eq!(count(1_234), "1,234");
        assert_eq!(money(-0.001234, "USD"), "−$0.00123");
        assert_eq!(money(12.3, "USD"), "$12.30");
        assert_eq!(money(4.0, "CHF"), "CHF 4.00");
        assert_eq!(carbon(GramsCo2::from_grams_f64(-1250.0)), "−1.25 kg");
        assert_eq!(power(Watts::from_watts_f64(1234.0)), "1.23 kW");
        assert_eq!(percent(0.0532), "5.3%");
        assert_eq!(percent(0.382), "38%");
        assert_eq!(percent(-0.382), "−38%");
    }

    #[test]
    fn times_in_the_readers_zone() {
        let at = Instant::parse("2026-11-21T22:45:10Z").unwrap();
        let seoul = Reader::new(Lang::Ko, 540);
        assert_eq!(seoul.moment(at), "11-22 07:45");
        assert_eq!(seoul.zone(), "UTC+9");
        assert_eq!(seoul.floor(at, Span::DAY), Instant::parse("2026-11-21T15:00:00Z").unwrap());
        assert_eq!(Reader::new(Lang::En, -210).zone(), "UTC-3:30");
        assert_eq!(Reader::new(Lang::En, 99_999).zone(), "UTC+14");
        assert_eq!(Reader::new(Lang::En, 0).age(at, at + Span::from_seconds(725)), "12m old");
    }
}
