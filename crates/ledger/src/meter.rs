//! What flows, integrated exactly between changes: energy, carbon, money, and CPU and memory over time.
//!
//! A [`Rate`] is constant from one [`Integral::set`] to the next, so nothing is sampled. Sums are kept in the product
//! of the smallest units (µW · ns, µW · ns · mg/kWh, 10⁻⁹ money/h · ns…), so they are exact: parts sum to the
//! whole whatever changes when. [`rounded`] brings several of them to the units people use, by largest remainder.
//! Time and intensity come as a [`Clock`], which its owner moves: an integral that nothing happens to costs nothing.
//! Embodied emissions flow like money, where they are counted, and stand apart from those of energy.

use crate::footprint::Footprint;
use fleet::{Bytes, Cpu, GramsCo2, GramsCo2PerHour, Instant, Joules, Money, MoneyPerHour, Watts};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// µW · ns in a µJ.
const ENERGY: i128 = 1_000_000_000;
/// µW · ns · mg/kWh in a µg.
const CARBON: i128 = 3_600_000_000_000_000_000;
/// 10⁻⁹ money/h · ns in 10⁻⁹ money.
const COST: i128 = 3_600_000_000_000;
/// µg/h · ns in a µg.
const EMBODIED: i128 = 3_600_000_000_000;
/// Nanocores · ns in a core-millisecond.
const CORE_TIME: i128 = 1_000_000_000_000_000;
/// Bytes · ns in a MiB-second.
const MEMORY_TIME: i128 = (1 << 20) * 1_000_000_000;

/// What flows at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// Power drawn, PUE included.
    pub power: Watts,
    /// Money spent.
    pub price: MoneyPerHour,
    /// CPU requested; of idle capacity: not requested.
    pub cpu_requested: Cpu,
    /// CPU used; of idle capacity: not used.
    pub cpu_used: Cpu,
    /// Of `cpu_used`, what was measured; requests stand for the rest.
    pub cpu_measured: Cpu,
    /// Memory requested; of idle capacity: not requested.
    pub memory_requested: Bytes,
    /// Memory used; of idle capacity: not used.
    pub memory_used: Bytes,
    /// Embodied emissions, where they are counted.
    #[serde(default)]
    pub embodied: GramsCo2PerHour,
}

impl Add for Rate {
    type Output = Rate;
    fn add(self, other: Rate) -> Rate {
        Rate {
            power: self.power + other.power,
            price: self.price + other.price,
            cpu_requested: self.cpu_requested + other.cpu_requested,
            cpu_used: self.cpu_used + other.cpu_used,
            cpu_measured: self.cpu_measured + other.cpu_measured,
            memory_requested: self.memory_requested + other.memory_requested,
            memory_used: self.memory_used + other.memory_used,
            embodied: self.embodied + other.embodied,
        }
    }
}
impl Sub for Rate {
    type Output = Rate;
    fn sub(self, other: Rate) -> Rate {
        Rate {
            power: self.power - other.power,
            price: self.price - other.price,
            cpu_requested: self.cpu_requested - other.cpu_requested,
            cpu_used: self.cpu_used - other.cpu_used,
            cpu_measured: self.cpu_measured - other.cpu_measured,
            memory_requested: self.memory_requested - other.memory_requested,
            memory_used: self.memory_used - other.memory_used,
            embodied: self.embodied - other.embodied,
        }
    }
}
impl AddAssign for Rate {
    fn add_assign(&mut self, other: Rate) {
        *self = *self + other;
    }
}

/// Time that was seen, and the intensity integrated over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds.
    pub seen_ns: i128,
    /// mg/kWh · ns ([`fleet::Series::dose`]).
    pub dose: i128,
}

/// The fields of [`Sums`] and [`Amounts`], in this order.
pub(crate) const FIELDS: usize = 9;
/// Without embodied emissions, which are the last.
const FIELDS_PLAIN: usize = 8;
const UNITS: [i128; FIELDS] =
    [ENERGY, CARBON, COST, CORE_TIME, CORE_TIME, CORE_TIME, MEMORY_TIME, MEMORY_TIME, EMBODIED];

/// Exact sums, in products of the smallest units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums([i128; FIELDS]);

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        for (mine, more) in self.0.iter_mut().zip(other.0) {
            *mine += more;
        }
    }
}
impl std::iter::Sum for Sums {
    fn sum<I: Iterator<Item = Sums>>(all: I) -> Sums {
        all.fold(Sums::default(), |mut sum, more| {
            sum += more;
            sum
        })
    }
}

impl Sums {
    /// Whether nothing flowed.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; FIELDS]
    }
    /// These amounts exactly.
    pub fn of(amounts: Amounts) -> Sums {
        let mut fields = amounts.fields();
        for (field, unit) in fields.iter_mut().zip(UNITS) {
            *field *= unit;
        }
        Sums(fields)
    }
}

/// A rate, and what has flowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Integral {
    rate: Rate,
    sums: Sums,
    at: Clock,
}

impl Integral {
    /// Nothing flows yet.
    pub fn new(at: Clock) -> Integral {
        Integral { at, ..Integral::default() }
    }
    /// What flows since the last change.
    pub fn rate(&self) -> Rate {
        self.rate
    }
    /// Counts up to `at`, then goes on with another rate.
    pub fn set(&mut self, at: Clock, rate: Rate) {
        self.sums = self.read(at);
        (self.at, self.rate) = (at, rate);
    }
    /// Adds what flowed elsewhere.
    pub fn add(&mut self, sums: Sums) {
        self.sums += sums;
    }
    /// What has flowed by `at`.
    pub fn read(&self, at: Clock) -> Sums {
        let (span, dose) = (at.seen_ns - self.at.seen_ns, at.dose - self.at.dose);
        let (r, power) = (&self.rate, i128::from(self.rate.power.as_microwatts()));
        let over = |amount: i64| i128::from(amount) * span;
        let mut sums = self.sums;
        sums += Sums([
            power * span,
            power * dose,
            over(r.price.as_nanos()),
            over(r.cpu_requested.as_nanos()),
            over(r.cpu_used.as_nanos()),
            over(r.cpu_measured.as_nanos()),
            over(r.memory_requested.as_bytes()),
            over(r.memory_used.as_bytes()),
            over(r.embodied.as_micrograms()),
        ]);
        sums
    }
    /// Takes out what has flowed by `at`.
    pub fn take(&mut self, at: Clock) -> Sums {
        let sums = self.read(at);
        (self.at, self.sums) = (at, Sums::default());
        sums
    }
}

/// Cores over time, in core-milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CoreTime(i64);

impl CoreTime {
    /// From core-milliseconds.
    pub const fn from_core_millis(millis: i64) -> CoreTime {
        CoreTime(millis)
    }
    /// In core-milliseconds.
    pub const fn as_core_millis(self) -> i64 {
        self.0
    }
    /// In core-hours.
    pub fn as_core_hours_f64(self) -> f64 {
        self.0 as f64 / 3.6e6
    }
}

/// Memory over time, in MiB-seconds (2²⁰ bytes for a second).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemoryTime(i64);

impl MemoryTime {
    /// In MiB-seconds.
    pub const fn as_mib_seconds(self) -> i64 {
        self.0
    }
    /// In GiB-hours.
    pub fn as_gib_hours_f64(self) -> f64 {
        self.0 as f64 / (1024.0 * 3600.0)
    }
}

/// What the numbers of [`Amounts`] are, where they are written down as a list.
pub const COLUMNS: &str = "energy uJ, carbon ug CO2e, cost 1e-9, CPU requested, used and measured core-ms, memory requested and used MiB-s, \
and where they are counted embodied ug CO2e";

/// What flowed, in the units people use. Written down as the list that [`COLUMNS`] names: lines have hundreds of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Energy, in µJ, PUE included.
    pub energy: Joules,
    /// Emissions of that energy, in µg CO2e; embodied ones are not in it.
    pub carbon: GramsCo2,
    /// Money, in 10⁻⁹ of the fleet's currency.
    pub cost: Money,
    /// CPU requested.
    pub cpu_requested: CoreTime,
    /// CPU used: measured, else what running pods request.
    pub cpu_used: CoreTime,
    /// Of that, what was measured.
    pub cpu_measured: CoreTime,
    /// Memory requested.
    pub memory_requested: MemoryTime,
    /// Memory used.
    pub memory_used: MemoryTime,
    /// Embodied emissions, in µg CO2e; nothing where they are not counted. Not in `carbon`.
    pub embodied: GramsCo2,
}

impl Amounts {
    fn fields(&self) -> [i128; FIELDS] {
        [
            self.energy.as_microjoules(),
            self.carbon.as_micrograms(),
            self.cost.as_nanos(),
            self.cpu_requested.0.into(),
            self.cpu_used.0.into(),
            self.cpu_measured.0.into(),
            self.memory_requested.0.into(),
            self.memory_used.0.into(),
            self.embodied.as_micrograms(),
        ]
    }
    fn from_fields(fields: [i128; FIELDS]) -> Amounts {
        let small = |i: usize| fields[i].clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        Amounts {
            energy: Joules::from_microjoules(fields[0]),
            carbon: GramsCo2::from_micrograms(fields[1]),
            cost: Money::from_nanos(fields[2]),
            cpu_requested: CoreTime(small(3)),
            cpu_used: CoreTime(small(4)),
            cpu_measured: CoreTime(small(5)),
            memory_requested: MemoryTime(small(6)),
            memory_used: MemoryTime(small(7)),
            embodied: GramsCo2::from_micrograms(fields[8]),
        }
    }
    /// Energy, its carbon and money alone.
    pub fn footprint(&self) -> Footprint {
        Footprint { energy: self.energy, carbon: self.carbon, embodied: GramsCo2::ZERO, cost: self.cost }
    }
}

impl From<Amounts> for [i128; FIELDS] {
    fn from(amounts: Amounts) -> [i128; FIELDS] {
        amounts.fields()
    }
}
impl From<[i128; FIELDS]> for Amounts {
    fn from(fields: [i128; FIELDS]) -> Amounts {
        Amounts::from_fields(fields)
    }
}

/// As a list; of eight where no embodied emissions are counted, as before they ever were.
impl Serialize for Amounts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let count = if self.embodied.is_zero() { FIELDS_PLAIN } else { FIELDS };
        to.collect_seq(&self.fields()[..count])
    }
}
impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Amounts, D::Error> {
        from.deserialize_seq(List)
    }
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Amounts;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FIELDS_PLAIN} or {FIELDS} numbers: {COLUMNS}")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Amounts, A::Error> {
        let (mut fields, mut count) = ([0; FIELDS], 0);
        while let Some(value) = seq.next_element()? {
            let field = fields.get_mut(count).ok_or_else(|| A::Error::invalid_length(count + 1, &self))?;
            (*field, count) = (value, count + 1);
        }
        if count < FIELDS_PLAIN {
            return Err(A::Error::invalid_length(count, &self));
        }
        Ok(Amounts::from_fields(fields))
    }
}

impl Add for Amounts {
    type Output = Amounts;
    fn add(self, other: Amounts) -> Amounts {
        let (mut fields, more) = (self.fields(), other.fields());
        for (mine, more) in fields.iter_mut().zip(more) {
            *mine += more;
        }
        Amounts::from_fields(fields)
    }
}
impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Amounts) {
        *self = *self + other;
    }
}
impl Sub for Amounts {
    type Output = Amounts;
    /// May go below zero: a difference.
    fn sub(self, other: Amounts) -> Amounts {
        let (mut fields, less) = (self.fields(), other.fields());
        for (mine, less) in fields.iter_mut().zip(less) {
            *mine -= less;
        }
        Amounts::from_fields(fields)
    }
}
impl std::iter::Sum for Amounts {
    fn sum<I: Iterator<Item = Amounts>>(all: I) -> Amounts {
        all.fold(Amounts::default(), Add::add)
    }
}

/// Whole units of each part that sum to `target` (largest remainder; ties to the earlier part). A part of nothing stays
/// nothing while `target` is what the parts sum to, rounded.
fn whole(parts: &[i128], unit: i128, target: i128) -> Vec<i128> {
    let mut out: Vec<i128> = parts.iter().map(|part| part.div_euclid(unit)).collect();
    let missing = target - out.iter().sum::<i128>();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let steps = usize::try_from(missing.unsigned_abs()).unwrap_or(usize::MAX);
    if missing >= 0 {
        order.sort_by_key(|i| (std::cmp::Reverse(parts[*i].rem_euclid(unit)), *i));
        order.iter().take(steps).for_each(|i| out[*i] += 1);
    } else {
        // Taken where there is something to take from first.
        order.sort_by_key(|i| (out[*i] <= 0, parts[*i].rem_euclid(unit), *i));
        order.iter().take(steps).for_each(|i| out[*i] -= 1);
    }
    out
}

/// The parts in whole units; their sum is the sum of the exact parts, rounded half up, to the last unit.
pub fn rounded(parts: &[Sums]) -> Vec<Amounts> {
    let total: Sums = parts.iter().copied().sum();
    let mut target = [0; FIELDS];
    for (i, unit) in UNITS.into_iter().enumerate() {
        target[i] = (total.0[i] + unit / 2).div_euclid(unit);
    }
    rounded_to(parts, Amounts::from_fields(target))
}

/// The parts in whole units that sum to `target`, which lies within a unit a part of their exact sum.
pub fn rounded_to(parts: &[Sums], target: Amounts) -> Vec<Amounts> {
    let target = target.fields();
    let mut out = vec![[0; FIELDS]; parts.len()];
    for field in 0..FIELDS {
        let exact: Vec<i128> = parts.iter().map(|part| part.0[field]).collect();
        for (part, value) in out.iter_mut().zip(whole(&exact, UNITS[field], target[field])) {
            part[field] = value;
        }
    }
    out.into_iter().map(Amounts::from_fields).collect()
}

/// Readings of a cluster over the time it was seen in `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// When it was first seen.
    pub from: Instant,
    /// When it was read.
    pub to: Instant,
    /// Nodes at no load, and the share of their price that no pod holds.
    pub idle: Footprint,
    /// Jobs of ours.
    pub managed: Footprint,
    /// All other pods.
    pub other: Footprint,
    /// Money for the nodes: of the three parts together.
    pub cost: Money,
}

impl Totals {
    /// Energy of all three parts.
    pub fn total_energy(&self) -> Joules {
        self.idle.energy + self.managed.energy + self.other.energy
    }
    /// Emissions of all three parts.
    pub fn total_carbon(&self) -> GramsCo2 {
        self.idle.carbon + self.managed.carbon + self.other.carbon
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{GramsCo2PerKwh, Series, Span};
    use proptest::prelude::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_unix_seconds(seconds)
    }
    fn clock(series: &Series, seconds: i64) -> Clock {
        let seen_ns = i128::from((at(seconds) - at(0)).as_nanos());
        Clock { seen_ns, dose: series.dose(at(0), at(seconds)) }
    }
    fn rate(watts: f64) -> Rate {
        let price = MoneyPerHour::from_units_f64(0.384);
        Rate {
            power: Watts::from_watts_f64(watts),
            price,
            cpu_requested: Cpu::from_millis(1500),
            memory_used: Bytes::from_gib(3),
            ..Rate::default()
        }
    }

    #[test]
    fn power_changes_count_from_when_they_happen() {
        let hours = [100.0, 400.0].map(GramsCo2PerKwh::from_grams_f64).to_vec();
        let series = Series::new(at(0), Span::HOUR, hours).unwrap();
        let mut meter = Integral::new(clock(&series, 0));
        meter.set(clock(&series, 1800), rate(1000.0));
        meter.set(clock(&series, 5400), rate(0.0));
        let amounts = rounded(&[meter.read(clock(&series, 7200))])[0];
        assert_eq!(amounts.energy, Joules::from_kwh_f64(1.0));
        assert_eq!(amounts.carbon, GramsCo2::from_grams_f64(250.0));
        assert_eq!(amounts.cost, Money::from_units_f64(0.576));
        assert_eq!(amounts.cpu_requested.as_core_hours_f64(), 2.25);
        assert_eq!(amounts.memory_used.as_gib_hours_f64(), 4.5);
        let taken = meter.take(clock(&series, 7200));
        assert_eq!(Sums::of(amounts), taken, "nothing was rounded here");
        assert!(meter.read(clock(&series, 7200)).is_zero());
    }

    #[test]
    fn a_part_of_nothing_stays_nothing() {
        assert_eq!(whole(&[0, 5, 0, 5], 10, 1), [0, 1, 0, 0]);
        assert_eq!(whole(&[10, 0], 10, 0), [0, 0], "taken where something is");
    }

    proptest! {
        #[test]
        fn an_integral_set_more_often_reads_the_same(
            values in prop::collection::vec(0.0f64..1200.0, 1..20), watts in 0.0f64..50_000.0,
            mut cuts in prop::collection::vec(0i64..80_000, 0..20)
        ) {
            cuts.sort_unstable();
            let values = values.into_iter().map(GramsCo2PerKwh::from_grams_f64).collect();
            let series = Series::new(at(500), Span::HOUR, values).unwrap();
            let mut once = Integral::new(clock(&series, 0));
            once.set(clock(&series, 0), rate(watts));
            let mut often = once;
            for cut in cuts {
                often.set(clock(&series, cut), rate(watts));
            }
            prop_assert_eq!(once.read(clock(&series, 80_000)), often.read(clock(&series, 80_000)));
        }

        #[test]
        fn rounded_parts_sum_to_the_rounded_whole(
            parts in prop::collection::vec(prop::array::uniform9(0i128..10i128.pow(30)), 1..20)
        ) {
            let parts: Vec<Sums> = parts.into_iter().map(Sums).collect();
            let total = rounded(&[parts.iter().copied().sum()])[0];
            let out = rounded(&parts);
            prop_assert_eq!(out.iter().copied().sum::<Amounts>(), total);
            for (part, exact) in out.iter().zip(&parts) {
                for (field, unit) in UNITS.iter().enumerate() {
                    prop_assert!((part.fields()[field] * unit - exact.0[field]).abs() < *unit);
                }
            }
            let mut less = parts.clone();
            less.push(Sums::default());
            prop_assert_eq!(rounded_to(&less, total).into_iter().sum::<Amounts>(), total);
        }
    }
}
