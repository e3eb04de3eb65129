//! Adds hours and days up to [`Accounts`]: lines come one at a time, and only sums are kept.
//!
//! A month of fifty clusters has some fifteen thousand pieces of work, each in thirty days. What a row of a day is of is read the first
//! time it comes, and found by its bytes afterwards; what came of it is added to sums that lie side by side.
//!
//! Invariant: the answer is the same whether hours come, or days that were made of them, and in whichever order.

use crate::accounts::{AccountRow, Accounts, Coverage, Part, Question, newer, nothing, pieces, worse};
use crate::day::{Error, Kept, Key, Level};
use crate::expected::{Ahead, Expected, HOURS, Seen, Shape, Spent, month, recent_from, spent};
use crate::meter::Amounts;
use crate::usage::HourEntry;
use fleet::{ClusterId, Instant, Provenance, Span};
use std::collections::BTreeMap;
use std::ops::Range;

/// What came of a part.
#[derive(Clone, Debug, Default)]
struct Sum {
    amounts: Amounts,
    idle: Amounts,
    shared: Amounts,
    month: Spent,
    /// By the number of a cluster, in that order.
    shapes: Vec<(usize, Shape)>,
}

impl Sum {
    fn asked(&mut self, [amounts, idle, shared]: [Amounts; 3]) {
        self.amounts += amounts;
        self.idle += idle;
        self.shared += shared;
    }
    fn shape(&mut self, cluster: usize) -> &mut Shape {
        let at = match self.shapes.binary_search_by_key(&cluster, |(number, _)| *number) {
            Ok(at) => at,
            Err(at) => {
                self.shapes.insert(at, (cluster, Shape::default()));
                at
            }
        };
        &mut self.shapes[at].1
    }
}

/// A cluster that lines came of.
#[derive(Clone, Debug, Default)]
struct Read {
    /// How long it was seen lately; none where it was not.
    seen: Option<Seen>,
    coverage: Option<Coverage>,
    /// Sums of rows of its days, by what says what they are of.
    rows: BTreeMap<Box<[u8]>, usize>,
}

/// Adds hours and days up.
#[derive(Clone, Debug)]
pub struct Fold {
    question: Question,
    parts: BTreeMap<Part, usize>,
    sums: Vec<Sum>,
    numbers: BTreeMap<ClusterId, usize>,
    clusters: Vec<Read>,
    carbon_from: Option<Provenance>,
    use_from: Option<Provenance>,
}

impl Fold {
    /// Nothing read yet.
    pub fn new(question: Question) -> Fold {
        let (parts, numbers) = (BTreeMap::new(), BTreeMap::new());
        let (sums, clusters) = (Vec::new(), Vec::new());
        Fold { question, parts, sums, numbers, clusters, carbon_from: None, use_from: None }
    }

    /// The same sums, asked at another time of the same hour.
    pub fn at(mut self, now: Instant) -> Fold {
        self.question.now = now;
        self
    }

    /// How finely days must be added up to be taken in.
    pub fn level(&self) -> Level {
        Level::of(&self.question.by)
    }

    /// Bytes it takes, roughly: whether it is worth keeping.
    pub fn bytes(&self) -> usize {
        let shapes =
            |sum: &Sum| sum.shapes.iter().map(|(_, shape)| size_of_val(shape) + shape.bytes()).sum::<usize>();
        let keys = self.clusters.iter().flat_map(|read| read.rows.keys());
        self.sums.iter().map(|sum| size_of_val(sum) + shapes(sum)).sum::<usize>()
            + keys.map(|key| 2 * key.len() + size_of::<Part>()).sum::<usize>()
    }

    fn cluster(&mut self, cluster: &ClusterId) -> usize {
        if let Some(number) = self.numbers.get(cluster) {
            return *number;
        }
        self.numbers.insert(cluster.clone(), self.clusters.len());
        self.clusters.push(Read::default());
        self.clusters.len() - 1
    }

    fn part(&mut self, part: Part) -> usize {
        let next = self.sums.len();
        let at = *self.parts.entry(part).or_insert(next);
        if at == next {
            self.sums.push(Sum::default());
        }
        at
    }

    /// Where a row of a day belongs.
    fn place(&mut self, number: usize, cluster: &ClusterId, key: &[u8]) -> Result<usize, Error> {
        if let Some(at) = self.clusters[number].rows.get(key) {
            return Ok(*at);
        }
        let at = self.part(Key::read(key)?.part(&self.question.by, cluster));
        self.clusters[number].rows.insert(key.into(), at);
        Ok(at)
    }

    /// Hours of this month so far, and hours of late: both with their ends.
    fn spans(&self) -> [(Instant, Instant); 2] {
        let now = self.question.now;
        [(month(now).0, now), (recent_from(now), now)]
    }

    /// Takes in an hour as it is known last; each hour of a cluster once.
    pub fn take_in(&mut self, entry: &HourEntry) {
        let asked = entry.hour >= self.question.from && entry.hour < self.question.to;
        let within = |(from, to): (Instant, Instant)| entry.hour >= from && entry.hour <= to;
        let [in_month, recent] = self.spans().map(within);
        let cluster = self.cluster(&entry.cluster);
        if recent {
            self.clusters[cluster].seen.get_or_insert_default().take_in(entry.hour, entry.span());
        }
        for (part, amounts) in pieces(&self.question.by, entry) {
            let at = self.part(part);
            let (sum, spent) = (&mut self.sums[at], spent(&amounts[0]));
            if asked {
                sum.asked(amounts);
            }
            if in_month {
                sum.month.add(spent);
            }
            if recent {
                sum.shape(cluster).take_in(entry.hour, spent);
            }
        }
        if asked {
            self.cover(cluster, &entry.cluster, entry.hour, entry.span());
            self.source(Some(&entry.intensity_from), entry.use_from.as_ref());
        }
    }

    /// Whether the hours of `[day, until)`, which are of one day, may be taken in together: all are asked for, or none.
    pub fn takes_whole(&self, day: Instant, until: Instant) -> bool {
        let (from, to, last) = (self.question.from, self.question.to, until - Span::HOUR);
        (from <= day && last < to) || to <= day || last < from
    }

    /// Takes in a day, or the hours of it that are over, in place of its hours: one that [may be](Fold::takes_whole), of the
    /// [`Level`] of the question.
    ///
    /// # Errors
    /// Where a row is of nothing that can be read; nothing is taken in then.
    pub fn take_in_day(&mut self, day: &Kept<'_>) -> Result<(), Error> {
        let asked = day.day() >= self.question.from && day.day() < self.question.to;
        let [in_month, recent] = self.spans().map(|span| hours_within(day.day(), span));
        let cluster = self.cluster(day.cluster());
        let places: Vec<usize> = day
            .rows()
            .map(|(key, _)| self.place(cluster, day.cluster(), key))
            .collect::<Result<_, Error>>()?;
        for (hour, span) in day.hours() {
            if recent.contains(&hour_of(day.day(), hour)) {
                self.clusters[cluster].seen.get_or_insert_default().take_in(hour, span);
            }
            if asked {
                self.cover(cluster, day.cluster(), hour, span);
            }
        }
        for (at, (_, came)) in places.into_iter().zip(day.rows()) {
            let sum = &mut self.sums[at];
            if asked {
                sum.asked(came.sums);
            }
            came.hourly[in_month.clone()].iter().for_each(|spent| sum.month.add(*spent));
            let lately = &came.hourly[recent.clone()];
            if lately.iter().any(|spent| *spent != Spent::default()) {
                sum.shape(cluster).take_in_hours(day.day(), recent.start, lately);
            }
        }
        if asked {
            let (carbon, used) = day.sources();
            self.source(carbon, used);
        }
        Ok(())
    }

    fn source(&mut self, carbon: Option<&Provenance>, used: Option<&Provenance>) {
        self.carbon_from = worse(self.carbon_from.take(), carbon);
        self.use_from = newer(self.use_from.take(), used);
    }

    fn cover(&mut self, number: usize, cluster: &ClusterId, hour: Instant, span: Span) {
        let fresh = || Coverage { cluster: cluster.clone(), since: hour, seen: Span::ZERO, of: Span::ZERO };
        let coverage = self.clusters[number].coverage.get_or_insert_with(fresh);
        coverage.since = coverage.since.min(hour);
        coverage.seen += span;
    }

    /// The answer.
    pub fn finish(self) -> Accounts {
        let Question { now, to, .. } = self.question;
        let ahead: Vec<Option<Ahead>> = self
            .clusters
            .iter()
            .map(|read| read.seen.as_ref().map(|seen| seen.ahead(now, month(now).1)))
            .collect();
        let row = |(part, at): (Part, usize)| account(part, &self.sums[at], &ahead);
        let there = |row: &AccountRow| row.amounts != Amounts::default();
        let mut rows: Vec<AccountRow> = self.parts.into_iter().map(row).filter(there).collect();
        rows.sort_by(|a, b| {
            let rest = |row: &AccountRow| !matches!(row.part, Part::Named { .. });
            let size = |row: &AccountRow| (row.amounts.cost, row.amounts.energy);
            let by_size = || size(b).cmp(&size(a));
            // Named ones by size; of the rest the order of `Part`.
            rest(a).cmp(&rest(b)).then_with(|| if rest(a) { a.part.cmp(&b.part) } else { by_size() })
        });
        let until = to.min(now);
        let of_clusters = self.numbers.values().map(|number| &self.clusters[*number]);
        let coverage = of_clusters.clone().filter_map(|read| read.coverage.clone());
        let seen = || of_clusters.clone().filter_map(|read| read.seen.as_ref());
        let days = seen().map(Seen::days).fold(f64::INFINITY, f64::min);
        let known = seen().map(Seen::known).fold(f64::INFINITY, f64::min);
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        Accounts {
            total: total(&rows),
            rows,
            coverage: coverage.map(|c| Coverage { of: (until - c.since).max(c.seen), ..c }).collect(),
            days: finite(days),
            hours_known: finite(known),
            carbon_from: self.carbon_from,
            use_from: self.use_from,
            question: self.question,
        }
    }
}

/// The row of a part.
fn account(part: Part, sum: &Sum, ahead: &[Option<Ahead>]) -> AccountRow {
    let (cost, carbon) = (sum.month.cost(), sum.month.carbon());
    let mut expected = Expected { cost_so_far: cost, carbon_so_far: carbon, cost, carbon };
    for (cluster, shape) in &sum.shapes {
        let Some(Some(ahead)) = ahead.get(*cluster) else { continue };
        let (cost, carbon) = shape.rest(ahead);
        expected.cost += cost;
        expected.carbon += carbon;
    }
    AccountRow { part, amounts: sum.amounts, idle: sum.idle, shared: sum.shared, expected }
}

fn total(rows: &[AccountRow]) -> AccountRow {
    rows.iter().fold(nothing(), |mut total, row| {
        total.amounts += row.amounts;
        total.idle += row.idle;
        total.shared += row.shared;
        if row.part == Part::Shared {
            total.shared += row.amounts;
        }
        total.expected += row.expected;
        total
    })
}

/// Number of an hour of a day.
fn hour_of(day: Instant, hour: Instant) -> usize {
    usize::try_from((hour - day).as_seconds() / 3600).unwrap_or(0)
}

/// Numbers of the hours of a day that begin in a span, its end included.
fn hours_within(day: Instant, (from, to): (Instant, Instant)) -> Range<usize> {
    let begins = |number: usize| day + Span::HOUR.scaled(number as i64, 1);
    let first = (0..HOURS).find(|number| begins(*number) >= from).unwrap_or(HOURS);
    let end = (first..HOURS).find(|number| begins(*number) > to).unwrap_or(HOURS);
    first..end
}
