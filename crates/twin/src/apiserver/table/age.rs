//! Lengths of time as people read them (`k8s.io/apimachinery/pkg/util/duration`).

use fleet::{Instant, Span};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// `5s`, `3m20s`, `2h`, `4d3h`, `2y40d`; `<invalid>` when it ended before it began.
pub fn human(span: Span) -> String {
    let seconds = span.as_seconds();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
    };
    if seconds < -1 {
        "<invalid>".to_owned()
    } else if seconds < 0 {
        "0s".to_owned()
    } else if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(hours / 24, "d", hours % 24, "h")
    } else if hours < 24 * 365 * 2 {
        format!("{}d", hours / 24)
    } else if hours < 24 * 365 * 8 {
        two(hours / 24 / 365, "y", hours / 24 % 365, "d")
    } else {
        format!("{}y", hours / 24 / 365)
    }
}

/// How long ago an instant was; `<unknown>` when there is none.
pub(super) fn since(then: Option<Instant>, now: Instant) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |then| human(now - then))
}

/// A Kubernetes time as an instant.
pub(super) fn instant(time: Option<&Time>) -> Option<Instant> {
    time.map(|t| Instant::from_jiff(t.0))
}

/// A Kubernetes time with microseconds as an instant.
pub(super) fn micro(time: Option<&MicroTime>) -> Option<Instant> {
    time.map(|t| Instant::from_jiff(t.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_has_its_form() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (86_400 * 8, "8d"),
            (86_400 * 729, "729d"),
            (86_400 * 731, "2y1d"),
            (86_400 * 365 * 9, "9y"),
        ] {
            assert_eq!(human(Span::from_seconds(seconds)), text);
        }
    }
}
