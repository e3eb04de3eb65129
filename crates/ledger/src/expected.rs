//! What a month will come to: what was counted so far, and for the rest what the same hours of the week came to lately.
//!
//! Lately is today so far and the [`WINDOW`] before it: whole days, so that what came of a day that is over need not be taken apart.
//! An hour of the week counts where at least half an hour of it was seen then; the others are expected to be like the mean of all
//! that was seen. Both are expectations: they say from how many days they are made, and
//! nothing is counted for time that was not seen. Hours and months are UTC.

use crate::meter::Amounts;
use fleet::{GramsCo2, Instant, Money, Span};
use serde::{Deserialize, Serialize};

/// How far back from the start of today hours are looked at: four weeks, so that each hour of the week is there four times.
pub const WINDOW: Span = Span::from_seconds(28 * 86_400);
/// Hours of a day.
pub(crate) const HOURS: usize = 24;
/// Days of a week.
const DAYS: usize = 7;
/// Hours of a week.
const SLOTS: usize = DAYS * HOURS;
/// Seen time an hour of the week counts from, in ns.
const SEEN_MIN: i128 = 1_800_000_000_000;
const HOUR: i128 = 3_600_000_000_000;

/// Start and end of the UTC month of an instant.
pub fn month(at: Instant) -> (Instant, Instant) {
    let (year, month, _, _) = at.utc_parts();
    let start = |year: i16, month: u8| {
        let text = format!("{year:04}-{month:02}-01T00:00:00Z");
        Instant::parse(&text).unwrap_or(at)
    };
    let next = if month == 12 { start(year + 1, 1) } else { start(year, month + 1) };
    (start(year, month), next)
}

/// Of the hours that are looked at, the first.
pub(crate) fn recent_from(now: Instant) -> Instant {
    now.floor_to(Span::DAY) - WINDOW
}

/// Which hour of the week; hour of the day and day of the week are its remainder and quotient by [`HOURS`].
fn slot(hour: Instant) -> usize {
    hour.as_unix_seconds().div_euclid(3600).rem_euclid(SLOTS as i64) as usize
}

/// How long a cluster was seen in each hour of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    ns: Vec<i128>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { ns: vec![0; SLOTS] }
    }
}

impl Seen {
    /// An hour was seen for so long.
    pub fn take_in(&mut self, hour: Instant, span: Span) {
        self.ns[slot(hour)] += i128::from(span.as_nanos());
    }
    /// Days seen in all.
    pub fn days(&self) -> f64 {
        self.ns.iter().sum::<i128>() as f64 / (24 * HOUR) as f64
    }
    /// Share of the hours of the week that count.
    pub fn known(&self) -> f64 {
        self.ns.iter().filter(|ns| **ns >= SEEN_MIN).count() as f64 / SLOTS as f64
    }
    /// How often each hour of the week comes again in `[from, to)`, measured in what was seen of it.
    pub(crate) fn ahead(&self, from: Instant, to: Instant) -> Ahead {
        let (mut spans, mut unknown) = ([0i128; SLOTS], 0);
        let (mut at, time) = (from, self.ns.iter().sum::<i128>());
        while at < to && time > 0 {
            let until = (at.floor_to(Span::HOUR) + Span::HOUR).min(to);
            let (span, i) = (i128::from((until - at).as_nanos()), slot(at));
            let counts = self.ns[i] >= SEEN_MIN;
            *(if counts { &mut spans[i] } else { &mut unknown }) += span;
            at = until;
        }
        let come = spans.iter().zip(&self.ns).enumerate().filter(|(_, (span, _))| **span > 0);
        Ahead {
            slots: come.map(|(i, (span, seen))| (i, Ratio::new(*span, *seen))).collect(),
            mean: (unknown > 0).then(|| Ratio::new(unknown, time)),
        }
    }
}

/// A part of a sum, in lowest terms: mostly a quarter, so that what is shared need not be multiplied by billions.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    of: i128,
    over: i128,
}

impl Ratio {
    fn new(of: i128, over: i128) -> Ratio {
        let (mut a, mut b) = (of, over);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        Ratio { of: of / a.max(1), over: over / a.max(1) }
    }
    fn take(self, sum: i128) -> i128 {
        let small = |value: i128| i64::try_from(value).ok();
        let quick = || Some((small(sum)?.checked_mul(small(self.of)?)?, small(self.over)?));
        quick().map_or_else(|| sum * self.of / self.over, |(sum, over)| i128::from(sum / over))
    }
}

/// What is to come of a cluster, by the hours of the week.
#[derive(Clone, Debug)]
pub(crate) struct Ahead {
    slots: Vec<(usize, Ratio)>,
    /// Of hours of the week that do not count, measured in all that was seen.
    mean: Option<Ratio>,
}

/// Money, in 10⁻⁹ units, and emissions, in µg: of what is counted, what is expected too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent(pub [i128; 2]);

/// Of all amounts.
pub(crate) fn spent(amounts: &Amounts) -> Spent {
    Spent([amounts.cost.as_nanos(), amounts.carbon.as_micrograms()])
}

impl Spent {
    /// And as much more.
    pub fn add(&mut self, more: Spent) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum += more);
    }
    /// The money.
    pub fn cost(&self) -> Money {
        Money::from_nanos(self.0[0])
    }
    /// The emissions.
    pub fn carbon(&self) -> GramsCo2 {
        GramsCo2::from_micrograms(self.0[1])
    }
}

/// What something came to in each hour of the week.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// By day of the week, of those in which there was any.
    days: [Option<Box<[Spent; HOURS]>>; DAYS],
}

impl Shape {
    fn day(&mut self, hour: Instant) -> &mut [Spent; HOURS] {
        self.days[slot(hour) / HOURS].get_or_insert_with(|| Box::new([Spent::default(); HOURS]))
    }
    /// It came to this in an hour.
    pub fn take_in(&mut self, hour: Instant, came: Spent) {
        self.day(hour)[slot(hour) % HOURS].add(came);
    }
    /// It came to this in the hours of a day from number `first` on.
    pub fn take_in_hours(&mut self, day: Instant, first: usize, came: &[Spent]) {
        let sums = self.day(day).iter_mut().skip(first);
        sums.zip(came).for_each(|(sum, came)| sum.add(*came));
    }
    /// What it will come to; nothing where the cluster was never seen.
    pub fn rest(&self, ahead: &Ahead) -> (Money, GramsCo2) {
        let mut rest = [0i128; 2];
        let mut take = |ratio: Ratio, sums: Spent| {
            rest.iter_mut().zip(sums.0).for_each(|(rest, sum)| *rest += ratio.take(sum));
        };
        for (i, ratio) in &ahead.slots {
            if let Some(day) = &self.days[i / HOURS] {
                take(*ratio, day[i % HOURS]);
            }
        }
        if let Some(ratio) = ahead.mean {
            take(ratio, self.all());
        }
        (Money::from_nanos(rest[0]), GramsCo2::from_micrograms(rest[1]))
    }
    fn all(&self) -> Spent {
        let hours = self.days.iter().flatten().flat_map(|day| day.iter());
        hours.fold(Spent::default(), |mut sum, more| {
            sum.add(*more);
            sum
        })
    }
    /// Bytes it takes beside itself.
    pub fn bytes(&self) -> usize {
        self.days.iter().flatten().map(|day| size_of_val(day.as_ref())).sum()
    }
}

/// What a month will come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    /// Money counted so far this month.
    pub cost_so_far: Money,
    /// Emissions counted so far this month.
    pub carbon_so_far: GramsCo2,
    /// Money by the month's end: expected.
    pub cost: Money,
    /// Emissions by the month's end: expected.
    pub carbon: GramsCo2,
}

impl std::ops::AddAssign for Expected {
    fn add_assign(&mut self, other: Expected) {
        self.cost_so_far += other.cost_so_far;
        self.carbon_so_far += other.carbon_so_far;
        self.cost += other.cost;
        self.carbon += other.carbon;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        Instant::parse(text).unwrap()
    }
    fn amounts(units: f64) -> Amounts {
        Amounts { cost: Money::from_units_f64(units), ..Amounts::default() }
    }

    #[test]
    fn months_begin_and_end_at_midnight() {
        assert_eq!(
            month(at("2026-12-31T23:59:59Z")),
            (at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z"))
        );
        assert_eq!(month(at("2028-02-01T00:00:00Z")).1, at("2028-03-01T00:00:00Z"));
    }

    #[test]
    fn hours_of_the_week_are_expected_to_come_again_and_others_like_the_mean() {
        let (mut shape, mut seen) = (Shape::default(), Seen::default());
        let first = at("2026-11-02T00:00:00Z");
        let hour = |i: i64| first + Span::HOUR.scaled(i, 1);
        // A day: dear from eight to twelve, nothing else.
        for i in 0..24 {
            seen.take_in(hour(i), Span::HOUR);
            if (8..12).contains(&i) {
                shape.take_in(hour(i), spent(&amounts(6.0)));
            }
        }
        assert_eq!(seen.days(), 1.0);
        let rest = |from, to| shape.rest(&seen.ahead(from, to)).0;
        assert_eq!(rest(hour(24), hour(48)), Money::from_units_f64(24.0), "a day never seen: as the mean");
        assert_eq!(rest(hour(168), hour(168 + 24)), Money::from_units_f64(24.0));
        assert_eq!(rest(hour(168 + 8), hour(168 + 9)), Money::from_units_f64(6.0), "that hour of the week");
        assert_eq!(rest(hour(168 + 12), hour(168 + 24)), Money::ZERO);
        assert_eq!(rest(hour(8) + Span::from_seconds(900), hour(9)), Money::from_units_f64(4.5));
        assert_eq!(shape.rest(&Seen::default().ahead(hour(0), hour(9))), (Money::ZERO, GramsCo2::ZERO));
    }

    #[test]
    fn an_hour_seen_in_part_counts_for_what_was_seen() {
        let (mut shape, mut seen) = (Shape::default(), Seen::default());
        let hour = at("2026-11-02T08:00:00Z");
        seen.take_in(hour, Span::from_seconds(2700));
        shape.take_in(hour, spent(&amounts(3.0)));
        let next = hour + Span::DAY.scaled(7, 1);
        assert_eq!(shape.rest(&seen.ahead(next, next + Span::HOUR)).0, Money::from_units_f64(4.0));
    }

    #[test]
    fn a_part_of_a_sum_is_the_same_small_or_large() {
        let quarter = Ratio::new(3_600_000_000_000, 4 * 3_600_000_000_000);
        assert_eq!((quarter.of, quarter.over), (1, 4));
        assert_eq!((quarter.take(-9), quarter.take(11)), (-2, 2));
        let huge = i128::from(i64::MAX) * 8;
        assert_eq!(quarter.take(huge), i128::from(i64::MAX) * 2);
        assert_eq!(Ratio::new(i128::from(i64::MAX), 2).take(6), i128::from(i64::MAX) * 3);
        assert_eq!(Ratio::new(0, 7).take(5), 0);
    }
}
