//! Requests a second over time: steps, with ramps cut into steps of their mean, once or over and over.
//!
//! As text: `200` (a constant), or `0s=50,5m=400,20m=50`: from each time on, so many a second; `~` instead of `=` has the
//! rate change evenly from the entry before to this one, and `every 1d` at the end repeats it all. Rates are Kubernetes
//! quantities (`500m` is one request in two seconds). Units: millionths of a request a second. Invariant: the integral over
//! whole steps is that of the ramp, but for less than a millionth of a request a second.

use crate::apiserver::quantity::Quantity;
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};

/// Most steps of a curve: a recorded quarter of a year by the minute.
pub const STEPS_MAX: usize = 150_000;
/// Shortest time after which steps may repeat.
pub const EVERY_MIN: Span = Span::from_seconds(60);
/// Most requests a second: as much as the largest sites have; bounds all products in this module.
pub const RATE_MAX: i64 = 10_000_000 * PER_SECOND;
/// A request a second, in the unit of rates.
pub const PER_SECOND: i64 = 1_000_000;
/// Into how many steps a ramp is cut: each is off by at most a sixtieth of what the ramp changes.
const RAMP_STEPS: i64 = 30;

/// Requests a second over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curve {
    /// From when on, and how many millionths a second; in order of time, the first at 0.
    steps: Vec<(Span, i64)>,
    every: Option<Span>,
}

/// Which part of a recorded trace is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The column of counts.
    pub column: String,
    /// Time of each row.
    pub width: Span,
    /// Rows left out at the start.
    pub skip: usize,
    /// Rows that are used.
    pub take: usize,
    /// Thousandths that each count is multiplied by.
    pub scale_milli: u64,
}

/// A rate as text.
fn rate(text: &str) -> Option<i64> {
    let nanos = Quantity::parse(text.trim()).ok()?.nanos();
    i64::try_from(nanos / 1000).ok().filter(|rate| (0..=RATE_MAX).contains(rate))
}

impl Curve {
    /// Always the same, in millionths of a request a second.
    pub fn constant(rate: i64) -> Curve {
        Curve { steps: vec![(Span::ZERO, rate.clamp(0, RATE_MAX))], every: None }
    }
    /// Steps at times after the start, in millionths of a request a second; `None`: they are too many, out of order,
    /// more than [`RATE_MAX`], or repeat within [`EVERY_MIN`] or with more than one step a second.
    pub fn steps(steps: Vec<(Span, i64)>, every: Option<Span>) -> Option<Curve> {
        let mut steps = steps;
        if steps.first().is_none_or(|(at, _)| *at > Span::ZERO) {
            steps.insert(0, (Span::ZERO, 0));
        }
        let ordered = steps.is_sorted_by(|a, b| a.0 < b.0) && steps[0].0 == Span::ZERO;
        let sane = steps.iter().all(|(_, rate)| (0..=RATE_MAX).contains(rate));
        let last = steps.last().map_or(Span::ZERO, |(at, _)| *at);
        let often = |every: Span| every < EVERY_MIN || (steps.len() as i64) > every.as_seconds();
        let fits = every.is_none_or(|every| every > last && !often(every));
        (ordered && sane && fits && steps.len() <= STEPS_MAX).then_some(Curve { steps, every })
    }
    /// A trace of counts, each over `width`.
    pub fn counts(counts: &[u64], width: Span) -> Option<Curve> {
        Curve::parts(counts, 1, width)
    }
    /// The same of counts of so many parts of a request.
    fn parts(counts: &[u64], parts: i128, width: Span) -> Option<Curve> {
        let nanos = i128::from(width.as_nanos()) * parts;
        if nanos <= 0 {
            return None;
        }
        let rate = |count: u64| {
            i64::try_from(i128::from(count) * i128::from(PER_SECOND) * 1_000_000_000 / nanos).ok()
        };
        let all = counts.iter().zip(0..).map(|(count, i)| Some((width.scaled(i, 1), rate(*count)?)));
        let mut steps: Vec<(Span, i64)> = all.collect::<Option<_>>()?;
        steps.push((width.scaled(i64::try_from(counts.len()).ok()?, 1), 0));
        Curve::steps(steps, None)
    }
    /// Reads a recorded trace: a table with a header, one row for each `width`, whose `column` says how many requests came in
    /// it; so many rows from `skip` on, each count times `scale` thousandths.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn read_trace(text: &str, trace: &Trace) -> Result<Curve, String> {
        let mut lines = text.lines().enumerate();
        let head = lines.next().map(|(_, line)| line).unwrap_or_default();
        let column = head.split(',').position(|name| name.trim() == trace.column);
        let column =
            column.ok_or_else(|| format!("line 1: {head:?}: expected a column {:?}", trace.column))?;
        let mut counts = Vec::new();
        for (number, line) in lines.skip(trace.skip).take(trace.take.min(STEPS_MAX - 1)) {
            let cell = line.split(',').nth(column).unwrap_or_default().trim();
            let count = cell.parse::<u64>().ok().and_then(|count| count.checked_mul(trace.scale_milli));
            let count = count.ok_or_else(|| format!("line {}: {cell:?}: expected a count", number + 1))?;
            counts.push(count);
        }
        let curve = Curve::parts(&counts, 1000, trace.width).filter(|_| !counts.is_empty());
        curve.ok_or_else(|| {
            format!(
                "{} rows of {}: expected some, with at most {} requests a second",
                counts.len(),
                trace.width,
                RATE_MAX / PER_SECOND
            )
        })
    }
    /// Reads one; `None`: it cannot be read.
    pub fn parse(text: &str) -> Option<Curve> {
        let (text, every) = match text.split_once(" every ") {
            Some((text, every)) => (text, Some(Span::parse(every.trim()).ok()?)),
            None => (text, None),
        };
        if !text.contains(['=', '~']) {
            return every.is_none().then(|| rate(text)).flatten().map(Curve::constant);
        }
        let mut steps: Vec<(Span, i64)> = Vec::new();
        for entry in text.split(',').take(STEPS_MAX) {
            let sign = entry.find(['=', '~'])?;
            let (at, value) = (Span::parse(entry[..sign].trim()).ok()?, rate(&entry[sign + 1..])?);
            if entry.as_bytes()[sign] == b'~' {
                let (from, before) = *steps.last().filter(|(from, _)| *from < at)?;
                steps.pop();
                steps.extend(ramp((from, before), (at, value)));
            }
            steps.push((at, value));
        }
        Curve::steps(steps, every)
    }
    /// Whether it repeats itself, so that its times are times of the day.
    pub fn repeats(&self) -> bool {
        self.every.is_some()
    }
    /// When it begins for something that was made at `made`: then, or at the last multiple of its period since 1970.
    pub fn origin(&self, made: Instant) -> Instant {
        self.every.map_or(made, |every| made.floor_to(every))
    }
    /// What it says at `now` for something that was made at `made`, and when that changes next.
    pub fn now(&self, made: Instant, now: Instant) -> (i64, Option<Instant>) {
        let origin = self.origin(made);
        let (rate, next) = self.at(now - origin);
        (rate, next.map(|next| origin + next))
    }
    /// Millionths of a request a second, `since` after its beginning; and when that changes next, if it does.
    pub fn at(&self, since: Span) -> (i64, Option<Span>) {
        if since < Span::ZERO {
            return (0, Some(Span::ZERO));
        }
        let turn = self.every.map_or(Span::ZERO, |every| {
            Span::from_nanos(since.as_nanos() / every.as_nanos() * every.as_nanos())
        });
        let within = since - turn;
        let next = self.steps.partition_point(|(at, _)| *at <= within);
        let rate = self.steps[next.saturating_sub(1)].1;
        let then = self.steps[next..].iter().find(|(_, other)| *other != rate).map(|(at, _)| *at);
        let constant = self.steps.iter().all(|(_, other)| *other == rate);
        let then = then.or(self.every.filter(|_| !constant));
        (rate, then.map(|then| turn + then))
    }
}

/// Steps from one point to another, each the mean of its part.
fn ramp((from, before): (Span, i64), (to, after): (Span, i64)) -> Vec<(Span, i64)> {
    let length = (to - from).as_nanos();
    let pieces = RAMP_STEPS.min(length.max(1));
    let each = |i: i64| {
        let at = from + Span::from_nanos((i128::from(length) * i128::from(i) / i128::from(pieces)) as i64);
        let part = i128::from(after - before) * i128::from(2 * i + 1) / i128::from(2 * pieces);
        (at, before + i64::try_from(part).unwrap_or(0))
    };
    (0..pieces).map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(curve: &Curve, seconds: i64) -> i64 {
        curve.at(Span::from_seconds(seconds)).0 / 1000
    }

    #[test]
    fn curves_are_read() {
        let steps = Curve::parse("0s=50, 5m=400,20m=500m").unwrap();
        assert_eq!(
            [0, 299, 300, 1199, 1200, 9999].map(|t| at(&steps, t)),
            [50_000, 50_000, 400_000, 400_000, 500, 500]
        );
        assert_eq!(steps.at(Span::from_seconds(300)).1, Some(Span::from_seconds(1200)));
        assert_eq!(steps.at(Span::from_seconds(1200)).1, None, "it stays");
        assert_eq!(at(&Curve::parse("200").unwrap(), 7), 200_000);
        assert_eq!(at(&Curve::parse("10s=1").unwrap(), 3), 0, "nothing before the first step");
        let daily = Curve::parse("0h=20,8h~300,18h=300,22h~20 every 1d").unwrap();
        assert!(daily.repeats());
        assert_eq!([0, 86_400, 10 * 86_400 + 12 * 3600].map(|t| at(&daily, t)), [24_666, 24_666, 300_000]);
        assert_eq!(daily.at(Span::from_seconds(23 * 3600)).1, Some(Span::DAY));
        for wrong in [
            "",
            "x",
            "5y",
            "-1",
            "0s=1,0s=2",
            "1h=1,0s=2",
            "0s~5",
            "200 every 1d",
            "2h=1 every 1h",
            "1e30",
            "0s=1,1ms=2 every 2ms",
            "0s=1,1s=2 every 59s",
            "0s=1,30s~2,59s~1 every 60s",
        ] {
            assert_eq!(Curve::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn years_of_hours_are_read() {
        let text = format!("n\n{}", "3600\n".repeat(20_000));
        let trace =
            Trace { column: "n".to_owned(), width: Span::HOUR, skip: 0, take: STEPS_MAX, scale_milli: 500 };
        let curve = Curve::read_trace(&text, &trace).unwrap();
        assert_eq!((at(&curve, 19_999 * 3600), at(&curve, 20_000 * 3600)), (500, 0));
        let most = format!("n\n{}", "60\n".repeat(STEPS_MAX + 7));
        let minutes = Trace { width: Span::MINUTE, scale_milli: 1000, ..trace };
        assert!(Curve::read_trace(&most, &minutes).is_ok(), "as many as are taken");
    }

    #[test]
    fn a_ramp_has_the_integral_of_its_line() {
        let curve = Curve::parse("0s=10,1h~100,2h=0").unwrap();
        let (mut sum, mut now) = (0i128, Span::ZERO);
        while now < Span::HOUR {
            let (rate, next) = curve.at(now);
            let next = next.unwrap();
            sum += i128::from(rate) * i128::from((next - now).as_nanos());
            now = next;
        }
        let line = 55 * i128::from(PER_SECOND) * i128::from(Span::HOUR.as_nanos());
        assert!((sum - line).abs() <= i128::from(Span::HOUR.as_nanos()), "{sum} {line}");
    }

    #[test]
    fn traces_are_counts_over_time() {
        let curve = Curve::counts(&[60, 120, 0], Span::MINUTE).unwrap();
        assert_eq!([0, 61, 121, 500].map(|t| at(&curve, t)), [1000, 2000, 0, 0]);
        assert_eq!(Curve::counts(&[1], Span::ZERO), None);
        let trace = |column: &str, skip| Trace {
            column: column.to_owned(),
            width: Span::MINUTE,
            skip,
            take: 2,
            scale_milli: 500,
        };
        let text = "time_utc,n\na,60\nb,120\nc,600\nd,x\n";
        let read = Curve::read_trace(text, &trace("n", 1)).unwrap();
        assert_eq!([0, 61, 121].map(|t| at(&read, t)), [1000, 5000, 0]);
        for (trace, wrong) in [
            (trace("m", 0), "line 1: \"time_utc,n\": expected a column \"m\""),
            (trace("n", 2), "line 5: \"x\": expected a count"),
            (trace("n", 9), "0 rows of 1m: expected some, with at most 10000000 requests a second"),
        ] {
            assert_eq!(Curve::read_trace(text, &trace).unwrap_err(), wrong);
        }
    }
}
